/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SipHash after the paper of Aumasson and Bernstein (2012): four words of state, c rounds for each
 * 8 bytes of input, d rounds at the end. One always-inlined body; c and d are constants in each of
 * the two entry points.
 */
#include <base/siphash.h>

#include <string.h>

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

struct sip_state {
	uint64_t a, b, c, d;
};

static inline __attribute__((always_inline)) void sip_rounds(struct sip_state *v, int n)
{
	for (int i = 0; i < n; i++) {
		v->a += v->b;
		v->c += v->d;
		v->b = ROTL(v->b, 13) ^ v->a;
		v->d = ROTL(v->d, 16) ^ v->c;
		v->a = ROTL(v->a, 32);
		v->c += v->b;
		v->a += v->d;
		v->b = ROTL(v->b, 17) ^ v->c;
		v->d = ROTL(v->d, 21) ^ v->a;
		v->c = ROTL(v->c, 32);
	}
}

static inline __attribute__((always_inline)) uint64_t sip(
    const struct sl_sipkey *key, const void *data, size_t len, int c, int d)
{
	struct sip_state v = {
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
		sip_rounds(&v, c);
		v.a ^= m;
	}
	for (size_t i = 0; i < left; i++)
		last |= (uint64_t)p[i] << (8 * i);
	v.d ^= last;
	sip_rounds(&v, c);
	v.a ^= last;
	v.c ^= 0xff;
	sip_rounds(&v, d);
	return v.a ^ v.b ^ v.c ^ v.d;
}

uint64_t sl_siphash13(const struct sl_sipkey *key, const void *data, size_t len)
{
	if (len == 40) /* a connection's key: constant, so that the loops are unrolled */
		return sip(key, data, 40, 1, 3);
	return sip(key, data, len, 1, 3);
}

uint64_t sl_siphash24(const struct sl_sipkey *key, const void *data, size_t len)
{
	return sip(key, data, len, 2, 4);
}
