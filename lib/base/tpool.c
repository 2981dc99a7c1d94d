/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The free list is a stack with a count against ABA. Its links stand in the free objects: a thread
 * that lost a race may read the link of an object that is in use by now, which type stability makes
 * harmless, for the count has moved and its exchange fails. Objects that were never out do not stand
 * in it: a counter says which is the next. So nobody is refused while there is one, whatever another
 * thread was doing when it was stopped.
 */
#include <base/tpool.h>

#include <errno.h>
#include <string.h>

#define IDX(head) ((uint32_t)(head))

int sl_tpool_init(struct sl_tpool *p, uint32_t size, uint32_t max, const struct sl_mem_ops *mem)
{
	memset(p, 0, sizeof(*p));
	p->obj_size = (size + 63) & ~63u;
	p->max = max;
	p->max_chunks = (max + SL_TPOOL_CHUNK - 1) / SL_TPOOL_CHUNK;
	p->mem = *mem;
	if (p->max_chunks == 0)
		return 0;
	p->dir = mem->alloc(mem->arg, p->max_chunks * sizeof(p->dir[0]), 64);
	if (p->dir == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->max_chunks; i++)
		atomic_init(&p->dir[i], 0);
	return 0;
}

uint32_t sl_tpool_fini(struct sl_tpool *p)
{
	uint32_t inuse = atomic_load(&p->inuse);

	if (p->dir == NULL)
		return 0;
	for (uint32_t i = 0; i < p->max_chunks; i++)
		if (p->dir[i] != 0)
			p->mem.free(
			    p->mem.arg, (void *)p->dir[i], (size_t)SL_TPOOL_CHUNK * p->obj_size);
	p->mem.free(p->mem.arg, p->dir, p->max_chunks * sizeof(p->dir[0]));
	p->dir = NULL;
	return inuse;
}

/* The memory of a chunk, made when its first object is asked for. Of several threads that make it at
 * once one wins, and nobody waits. 0: no memory. */
static uintptr_t chunk_of(struct sl_tpool *p, uint32_t chunk)
{
	uintptr_t base = atomic_load_explicit(&p->dir[chunk], memory_order_acquire);
	size_t bytes = (size_t)SL_TPOOL_CHUNK * p->obj_size;
	void *mine;

	if (base != 0)
		return base;
	mine = p->mem.alloc(p->mem.arg, bytes, 64);
	if (mine == NULL)
		return 0;
	memset(mine, 0, bytes);
	if (atomic_compare_exchange_strong_explicit(
		&p->dir[chunk], &base, (uintptr_t)mine, memory_order_acq_rel, memory_order_acquire))
		return (uintptr_t)mine;
	p->mem.free(p->mem.arg, mine, bytes);
	return base;
}

/* One that was never out. NULL: there is none, or no memory for it. */
static void *fresh(struct sl_tpool *p, uint32_t *idx)
{
	uint32_t i = atomic_load_explicit(&p->fresh, memory_order_relaxed);

	do {
		if (i >= p->max || chunk_of(p, i / SL_TPOOL_CHUNK) == 0)
			return NULL;
	} while (!atomic_compare_exchange_weak_explicit(
	    &p->fresh, &i, i + 1, memory_order_relaxed, memory_order_relaxed));
	*idx = i + 1;
	return sl_tpool_get(p, i + 1);
}

void *sl_tpool_alloc(struct sl_tpool *p, uint32_t *idx)
{
	uint64_t head = atomic_load_explicit(&p->free, memory_order_acquire), n;
	uint32_t *obj;

	do {
		if (IDX(head) == 0) {
			obj = fresh(p, idx);
			if (obj == NULL)
				return NULL;
			break;
		}
		*idx = IDX(head);
		obj = sl_tpool_get(p, *idx);
		n = ((head >> 32) + 1) << 32 | __atomic_load_n(obj, __ATOMIC_RELAXED);
	} while (!atomic_compare_exchange_weak_explicit(
	    &p->free, &head, n, memory_order_acquire, memory_order_acquire));
	__atomic_store_n(obj, 0, __ATOMIC_RELAXED);
	atomic_fetch_add_explicit(&p->inuse, 1, memory_order_relaxed);
	return obj;
}

void sl_tpool_free(struct sl_tpool *p, uint32_t idx)
{
	uint32_t *obj = sl_tpool_get(p, idx);
	uint64_t head = atomic_load_explicit(&p->free, memory_order_relaxed), n;

	atomic_fetch_sub_explicit(&p->inuse, 1, memory_order_relaxed);
	do {
		__atomic_store_n(obj, IDX(head), __ATOMIC_RELAXED);
		n = ((head >> 32) + 1) << 32 | idx;
	} while (!atomic_compare_exchange_weak_explicit(
	    &p->free, &head, n, memory_order_release, memory_order_relaxed));
}
