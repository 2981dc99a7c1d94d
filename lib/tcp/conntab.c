/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Open addressing over buckets of one cache line. A key belongs in the bucket of its hash, or, that
 * one being full, in the next with a place. `overflow` of a bucket counts the keys that were to go
 * there or further back and had to pass it: a search goes on to the next bucket only while it is
 * not zero, and removal counts down along the same way, so there are no tombstones and no decay.
 * The table has at least 8/7 as many places as keys it may hold; a power of two is mostly more, and
 * half-open and TIME_WAIT entries are seldom all there.
 *
 * Tag 0 marks a free place. The tag comes from the top of the hash, the bucket from its bottom.
 */
#include <base/check.h>
#include <tcp/conntab.h>

#include <emmintrin.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WAYS 8
#define BULK_MAX 64

struct bucket {
	uint16_t tag[WAYS];
	uint32_t ref[WAYS];
	uint32_t overflow;
	uint32_t pad[3];
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct bucket) == 64, "one cache line");

/* Where a key stands. */
struct place {
	struct bucket *b;
	unsigned int way;
};

static void *libc_alloc(void *arg, size_t size, size_t align)
{
	return aligned_alloc(align, size);
}

static void libc_free(void *arg, void *p, size_t size)
{
	free(p);
}

static inline struct bucket *bucket_at(const struct sl_conntab *t, uint64_t n)
{
	return (struct bucket *)t->buckets + (n & t->mask);
}

static inline uint16_t tag_of(uint64_t hash)
{
	uint16_t tag = (uint16_t)(hash >> 48);

	return tag != 0 ? tag : 1;
}

/* Two equal bits per way whose tag is this one, at 2 * way. */
static inline unsigned int match(const struct bucket *b, uint16_t tag)
{
	__m128i tags = _mm_load_si128((const __m128i *)(const void *)b->tag);

	return (unsigned int)_mm_movemask_epi8(_mm_cmpeq_epi16(tags, _mm_set1_epi16((short)tag)));
}

static inline bool key_eq(const struct sl_key *a, const struct sl_key *b)
{
	uint64_t pa, pb;

	memcpy(&pa, &a->lport, 8);
	memcpy(&pb, &b->lport, 8);
	return ((a->raddr.q[0] ^ b->raddr.q[0]) | (a->raddr.q[1] ^ b->raddr.q[1]) |
		   (a->laddr.q[0] ^ b->laddr.q[0]) | (a->laddr.q[1] ^ b->laddr.q[1]) | (pa ^ pb)) ==
	       0;
}

static inline const struct sl_key *key_at(const struct sl_conntab *t, uint32_t ref)
{
	if (SL_LIKELY(t->conns != NULL && ref <= SL_REF_OWN_MAX))
		return sl_slab_get(t->conns, SL_REF_IDX(ref));
	return t->key_of(t->arg, ref);
}

static inline struct place find(const struct sl_conntab *t, const struct sl_key *k, uint64_t hash)
{
	uint16_t tag = tag_of(hash);

	for (uint64_t n = hash;; n++) {
		struct bucket *b = bucket_at(t, n);

		for (unsigned int m = match(b, tag); m != 0; m &= m - 1, m &= m - 1) {
			unsigned int way = (unsigned int)__builtin_ctz(m) / 2;

			if (SL_LIKELY(key_eq(key_at(t, b->ref[way]), k)))
				return (struct place){b, way};
		}
		if (SL_LIKELY(b->overflow == 0) || n - hash == t->mask)
			return (struct place){NULL, 0};
	}
}

int sl_conntab_init(struct sl_conntab *t, uint64_t max, const struct sl_sipkey *secret,
    const struct sl_key *(*key_of)(void *arg, uint32_t ref), void *arg,
    const struct sl_mem_ops *mem)
{
	uint64_t n = 1;

	memset(t, 0, sizeof(*t));
	if (max == 0 || max > (1ull << 32) || secret == NULL || key_of == NULL)
		return -EINVAL;
	while (n * (WAYS - 1) < max)
		n *= 2;
	t->mem = mem != NULL ? *mem : (struct sl_mem_ops){libc_alloc, libc_free, NULL};
	t->bytes = n * sizeof(struct bucket);
	t->buckets = t->mem.alloc(t->mem.arg, t->bytes, sizeof(struct bucket));
	if (t->buckets == NULL)
		return -ENOMEM;
	memset(t->buckets, 0, t->bytes);
	t->mask = n - 1;
	t->max = max;
	t->secret = *secret;
	t->key_of = key_of;
	t->arg = arg;
	return 0;
}

void sl_conntab_fini(struct sl_conntab *t)
{
	if (t->buckets != NULL)
		t->mem.free(t->mem.arg, t->buckets, t->bytes);
	memset(t, 0, sizeof(*t));
}

/* Of IPv4 only what differs is hashed: the length is part of the hash, so that no IPv6 key looks
 * the same. */
static inline __attribute__((always_inline)) uint64_t hash_of(
    const struct sl_conntab *t, const struct sl_key *k)
{
	if (sl_addr_is4(&k->laddr) && sl_addr_is4(&k->raddr)) {
		const uint32_t w[4] = {
		    k->laddr.w[3], k->raddr.w[3], (uint32_t)k->lport << 16 | k->rport, k->vrf};

		return sl_siphash_inline(&t->secret, w, sizeof(w), 1, 3);
	}
	return sl_siphash_inline(&t->secret, k, sizeof(*k), 1, 3);
}

uint64_t sl_conntab_hash(const struct sl_conntab *t, const struct sl_key *k)
{
	return hash_of(t, k);
}

static inline uint32_t lookup(const struct sl_conntab *t, const struct sl_key *k, uint64_t hash)
{
	struct place p = find(t, k, hash);

	return p.b != NULL ? p.b->ref[p.way] : 0;
}

uint32_t sl_conntab_lookup(const struct sl_conntab *t, const struct sl_key *k, uint64_t hash)
{
	return lookup(t, k, hash);
}

/* ---- four hashes at once ---- */

/*
 * The rounds of SipHash are one chain of dependent additions and rotations; four keys are four
 * lanes. Of IPv4 only: what hash_of() does of w[4], lane by lane.
 */
typedef uint64_t lanes __attribute__((vector_size(32)));

#define ROTL(x, n) ((x) << (n) | (x) >> (64 - (n)))

static inline __attribute__((always_inline)) void rounds4(lanes v[4], int n)
{
	for (int i = 0; i < n; i++) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = ROTL(v[1], 13) ^ v[0];
		v[3] = ROTL(v[3], 16) ^ v[2];
		v[0] = ROTL(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = ROTL(v[1], 17) ^ v[2];
		v[3] = ROTL(v[3], 21) ^ v[0];
		v[2] = ROTL(v[2], 32);
	}
}

static __attribute__((target("avx2"))) void hash4(
    const struct sl_conntab *t, const struct sl_key *const *k, uint64_t *hash)
{
#define ALL(x) ((lanes){(x), (x), (x), (x)})
	const uint64_t k0 = t->secret.k[0], k1 = t->secret.k[1];
	const lanes len = ALL(16ull << 56);
	lanes v[4] = {ALL(k0 ^ 0x736f6d6570736575ull), ALL(k1 ^ 0x646f72616e646f6dull),
	    ALL(k0 ^ 0x6c7967656e657261ull), ALL(k1 ^ 0x7465646279746573ull)};
	uint64_t addrs[4], rest[4];
	lanes m;

	for (int i = 0; i < 4; i++) {
		addrs[i] = (uint64_t)k[i]->raddr.w[3] << 32 | k[i]->laddr.w[3];
		rest[i] = (uint64_t)k[i]->vrf << 32 | (uint32_t)k[i]->lport << 16 | k[i]->rport;
	}
	memcpy(&m, addrs, sizeof(m));
	v[3] ^= m;
	rounds4(v, 1);
	v[0] ^= m;
	memcpy(&m, rest, sizeof(m));
	v[3] ^= m;
	rounds4(v, 1);
	v[0] ^= m;
	v[3] ^= len;
	rounds4(v, 1);
	v[0] ^= len;
	v[2] ^= ALL(0xffull);
	rounds4(v, 3);
	m = v[0] ^ v[1] ^ v[2] ^ v[3];
	memcpy(hash, &m, sizeof(m));
#undef ALL
}

static inline bool all4(const struct sl_key *const *k)
{
	for (int i = 0; i < 4; i++)
		if (!sl_addr_is4(&k[i]->laddr) || !sl_addr_is4(&k[i]->raddr))
			return false;
	return true;
}

static void hash_bulk(
    const struct sl_conntab *t, const struct sl_key *const *k, uint32_t n, uint64_t *hash)
{
	bool wide = __builtin_cpu_supports("avx2");
	uint32_t i = 0;

	while (i < n) {
		if (wide && i + 4 <= n && all4(k + i)) {
			hash4(t, k + i, hash + i);
			i += 4;
		} else {
			hash[i] = hash_of(t, k[i]);
			i++;
		}
	}
}

void sl_conntab_lookup_bulk(
    const struct sl_conntab *t, const struct sl_key *const *k, uint32_t n, uint32_t *refs)
{
	uint64_t hash[BULK_MAX];

	SL_CHECK(n <= BULK_MAX);
	hash_bulk(t, k, n, hash);
	for (uint32_t i = 0; i < n; i++)
		__builtin_prefetch(bucket_at(t, hash[i]));
	/* The likely object of each: its key is what the last pass compares. */
	for (uint32_t i = 0; i < n; i++) {
		const struct bucket *b = bucket_at(t, hash[i]);
		unsigned int m = match(b, tag_of(hash[i]));

		if (SL_LIKELY(m != 0))
			__builtin_prefetch(key_at(t, b->ref[__builtin_ctz(m) / 2]));
	}
	for (uint32_t i = 0; i < n; i++)
		refs[i] = lookup(t, k[i], hash[i]);
}

int sl_conntab_insert(struct sl_conntab *t, const struct sl_key *k, uint64_t hash, uint32_t ref)
{
	struct bucket *b;
	unsigned int m;

	if (ref == 0)
		return -EINVAL;
	if (find(t, k, hash).b != NULL)
		return -EEXIST;
	if (t->count >= t->max)
		return -ENOSPC;
	/* There are more places than max, so one is free. */
	for (uint64_t n = hash;; n++) {
		b = bucket_at(t, n);
		m = match(b, 0);
		if (m != 0)
			break;
		b->overflow++;
	}
	b->tag[__builtin_ctz(m) / 2] = tag_of(hash);
	b->ref[__builtin_ctz(m) / 2] = ref;
	t->count++;
	return 0;
}

int sl_conntab_replace(struct sl_conntab *t, const struct sl_key *k, uint64_t hash, uint32_t ref)
{
	struct place p = find(t, k, hash);

	if (ref == 0)
		return -EINVAL;
	if (p.b == NULL)
		return -ENOENT;
	p.b->ref[p.way] = ref;
	return 0;
}

int sl_conntab_remove(struct sl_conntab *t, const struct sl_key *k, uint64_t hash)
{
	struct place p = find(t, k, hash);

	if (p.b == NULL)
		return -ENOENT;
	p.b->tag[p.way] = 0;
	p.b->ref[p.way] = 0;
	for (uint64_t n = hash; bucket_at(t, n) != p.b; n++)
		bucket_at(t, n)->overflow--;
	t->count--;
	return 0;
}
