/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Objects of one size that any thread may take and give back without a lock, an lcore too. Memory
 * is type-stable: an object is only ever reused as one of its kind, and nothing goes back to the
 * system before sl_tpool_fini. So a thread with an old index reads an object that may be another
 * one's by now, and never reads unmapped memory: users tell the two apart by a state of their own.
 *
 * Named by an index from 1; 0 is none. The first 32-bit word of each object is the pool's while the
 * object is free, and only then.
 */
#ifndef SL_BASE_TPOOL_H
#define SL_BASE_TPOOL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <base/slab.h>

#define SL_TPOOL_CHUNK 256u /* objects that are made at once */

struct sl_tpool {
	/* Head of the free list: count against ABA << 32 | index */
	_Atomic uint64_t free;
	_Atomic uint32_t fresh; /* so many have been out, ever: indices 1 to fresh */
	_Atomic uint32_t inuse;
	_Atomic uintptr_t *dir; /* chunk -> memory; 0: not made */
	uint32_t obj_size, max, max_chunks;
	struct sl_mem_ops mem;
};

/** Room for max objects of size bytes; nothing but the directory is
 * allocated. 0, -ENOMEM. */
int sl_tpool_init(struct sl_tpool *p, uint32_t size, uint32_t max, const struct sl_mem_ops *mem);
/** All objects must be given back, or nobody must use them any more. Returns how many were out. */
uint32_t sl_tpool_fini(struct sl_tpool *p);
/**
 * An object, NULL beyond max or without memory. Fresh memory is zeroed, an object that was used
 * before is as it was given back, but for its first word.
 */
void *sl_tpool_alloc(struct sl_tpool *p, uint32_t *idx);
void sl_tpool_free(struct sl_tpool *p, uint32_t idx);

/** Object of an index that was given out at some time; NULL for one that never was. */
static inline void *sl_tpool_get(const struct sl_tpool *p, uint32_t idx)
{
	uint32_t chunk = (idx - 1) / SL_TPOOL_CHUNK;
	uintptr_t base;

	if (idx == 0 || chunk >= p->max_chunks)
		return NULL;
	base = atomic_load_explicit(&p->dir[chunk], memory_order_acquire);
	return base == 0 ? NULL
			 : (void *)(base + (size_t)((idx - 1) % SL_TPOOL_CHUNK) * p->obj_size);
}

#endif
