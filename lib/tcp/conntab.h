/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connection table of one squeue: (VRF, addresses, ports) -> 32-bit reference. IPv4 and IPv6
 * share it (v4-mapped).
 *
 * Buckets of one cache line: 16-bit tags compared by SSE2, references, overflow to a neighbour
 * bucket. Keyed with SipHash-1-3 under a secret of the stack. Sized once, by the most connections
 * it may hold: no rehash, ever. The keys live in the objects; the table asks for them through
 * `key_of`.
 */
#ifndef SL_TCP_CONNTAB_H
#define SL_TCP_CONNTAB_H

#include <base/key.h>
#include <base/siphash.h>
#include <base/slab.h>
#include <sluice/types.h>

/** What a reference names, in its top 2 bits. */
enum sl_ref_kind {
	SL_REF_CONN = 0,
	SL_REF_HALF = 1,
	SL_REF_TW = 2,
	SL_REF_FWD = 3
};
#define SL_REF(kind, idx) (((uint32_t)(kind) << 30) | (idx))
#define SL_REF_KIND(ref) ((enum sl_ref_kind)((ref) >> 30))
#define SL_REF_IDX(ref) ((ref)&0x3fffffffu)
/* Of SL_REF_CONN: of this squeue's own slab. One that was born elsewhere has its birth squeue above
 * these bits (SL_NAME of squeue_int.h). */
#define SL_REF_OWN_MAX 0xffffffu

struct sl_conntab {
	void *buckets;
	uint64_t mask; /* buckets - 1 */
	uint64_t count, max;
	struct sl_sipkey secret;
	const struct sl_key *(*key_of)(void *arg, uint32_t ref);
	void *arg;
	const struct sl_slab *conns; /* where SL_REF_CONN up to SL_REF_OWN_MAX lie, their key first:
					key_of is not asked for them; NULL: it is */
	struct sl_mem_ops mem;
	size_t bytes;
};

int sl_conntab_init(struct sl_conntab *t, uint64_t max, const struct sl_sipkey *secret,
    const struct sl_key *(*key_of)(void *arg, uint32_t ref), void *arg,
    const struct sl_mem_ops *mem);
void sl_conntab_fini(struct sl_conntab *t);
uint64_t sl_conntab_hash(const struct sl_conntab *t, const struct sl_key *k);
/** Reference of the key, 0 when absent. */
uint32_t sl_conntab_lookup(const struct sl_conntab *t, const struct sl_key *k, uint64_t hash);
/** Look up n <= 64 keys: hashes all, prefetches buckets, then objects; refs[i] is 0 for absent
 * ones. */
void sl_conntab_lookup_bulk(
    const struct sl_conntab *t, const struct sl_key *const *k, uint32_t n, uint32_t *refs);
/** 0, -EEXIST, -ENOSPC, -EINVAL (reference 0). */
int sl_conntab_insert(struct sl_conntab *t, const struct sl_key *k, uint64_t hash, uint32_t ref);
/** Replace the reference of a key that is present (half-open becomes connection, connection becomes
 * TIME_WAIT). */
int sl_conntab_replace(struct sl_conntab *t, const struct sl_key *k, uint64_t hash, uint32_t ref);
/** 0 or -ENOENT. */
int sl_conntab_remove(struct sl_conntab *t, const struct sl_key *k, uint64_t hash);

#endif
