/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SipHash-c-d of Aumasson and Bernstein: a keyed hash that an attacker without the key cannot
 * collide. 1-3 for tables (flood-proof), 2-4 for what an attacker may observe (ISN, ports,
 * timestamp offsets).
 */
#ifndef SL_BASE_SIPHASH_H
#define SL_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct sl_sipkey {
	uint64_t k[2];
};

struct sl_sip_state {
	uint64_t a, b, c, d;
};

static inline __attribute__((always_inline)) void sl_sip_rounds(struct sl_sip_state *v, int n)
{
#define SL_ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
	for (int i = 0; i < n; i++) {
		v->a += v->b;
		v->c += v->d;
		v->b = SL_ROTL(v->b, 13) ^ v->a;
		v->d = SL_ROTL(v->d, 16) ^ v->c;
		v->a = SL_ROTL(v->a, 32);
		v->c += v->b;
		v->a += v->d;
		v->b = SL_ROTL(v->b, 17) ^ v->c;
		v->d = SL_ROTL(v->d, 21) ^ v->a;
		v->c = SL_ROTL(v->c, 32);
	}
#undef SL_ROTL
}

/** SipHash-c-d. For a caller with a constant length: the loops are unrolled into it. */
static inline __attribute__((always_inline)) uint64_t sl_siphash_inline(
    const struct sl_sipkey *key, const void *data, size_t len, int c, int d)
{
	struct sl_sip_state v = {
	    key->k[0] ^ 0x736f6d6570736575ull,
	    key->k[1] ^ 0x646f72616e646f6dull,
	    key->k[0] ^ 0x6c7967656e657261ull,
	    key->k[1] ^ 0x7465646279746573ull,
	};
	const unsigned char *p = data;
	uint64_t m, last = (uint64_t)len << 56;
	size_t left = len;

	for (; left >= 8; left -= 8, p += 8) {
		memcpy(&m, p, 8);
		v.d ^= m;
		sl_sip_rounds(&v, c);
		v.a ^= m;
	}
	for (size_t i = 0; i < left; i++)
		last |= (uint64_t)p[i] << (8 * i);
	v.d ^= last;
	sl_sip_rounds(&v, c);
	v.a ^= last;
	v.c ^= 0xff;
	sl_sip_rounds(&v, d);
	return v.a ^ v.b ^ v.c ^ v.d;
}

uint64_t sl_siphash13(const struct sl_sipkey *key, const void *data, size_t len);
uint64_t sl_siphash24(const struct sl_sipkey *key, const void *data, size_t len);

#endif
