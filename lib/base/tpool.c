/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The free list is a stack with a count against ABA. Its links stand in the free objects: a thread
 * that lost a race may read the link of an object that is in use by now, which type stability makes
 * harmless, for the count has moved and its exchange fails.
 */
#include <base/tpool.h>

#include <errno.h>
#include <string.h>

#include <rte_pause.h>

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

static void push(struct sl_tpool *p, uint32_t first, uint32_t *last_link)
{
	uint64_t head = atomic_load_explicit(&p->free, memory_order_relaxed), n;

	do {
		__atomic_store_n(last_link, IDX(head), __ATOMIC_RELAXED);
		n = ((head >> 32) + 1) << 32 | first;
	} while (!atomic_compare_exchange_weak_explicit(
	    &p->free, &head, n, memory_order_release, memory_order_relaxed));
}

/* One more chunk: its first object is the caller's, the others become free. 0: no room. Memory comes
 * first, so that between taking a number and filling the list there is nothing that takes time. */
static uint32_t grow(struct sl_tpool *p)
{
	uint32_t chunk = atomic_load_explicit(&p->nchunks, memory_order_relaxed), first, n;
	size_t bytes = (size_t)SL_TPOOL_CHUNK * p->obj_size;
	char *base;

	if (chunk >= p->max_chunks)
		return 0;
	base = p->mem.alloc(p->mem.arg, bytes, 64);
	if (base == NULL)
		return 0;
	memset(base, 0, bytes);
	do {
		if (chunk >= p->max_chunks) { /* others were faster: theirs will do */
			p->mem.free(p->mem.arg, base, bytes);
			return 0;
		}
	} while (!atomic_compare_exchange_weak_explicit(
	    &p->nchunks, &chunk, chunk + 1, memory_order_relaxed, memory_order_relaxed));
	first = chunk * SL_TPOOL_CHUNK + 1;
	n = p->max - chunk * SL_TPOOL_CHUNK; /* the last chunk may not be needed whole */
	if (n > SL_TPOOL_CHUNK)
		n = SL_TPOOL_CHUNK;
	for (uint32_t i = 1; i + 1 < n; i++)
		*(uint32_t *)(void *)(base + (size_t)i * p->obj_size) = first + i + 1;
	atomic_store_explicit(&p->dir[chunk], (uintptr_t)base, memory_order_release);
	if (n > 1)
		push(p, first + 1, (uint32_t *)(void *)(base + (size_t)(n - 1) * p->obj_size));
	return first;
}

static uint32_t pop(struct sl_tpool *p)
{
	uint64_t head = atomic_load_explicit(&p->free, memory_order_acquire), n;

	do {
		if (IDX(head) == 0)
			return 0;
		n = ((head >> 32) + 1) << 32 |
		    __atomic_load_n((uint32_t *)sl_tpool_get(p, IDX(head)), __ATOMIC_RELAXED);
	} while (!atomic_compare_exchange_weak_explicit(
	    &p->free, &head, n, memory_order_acquire, memory_order_acquire));
	return IDX(head);
}

/*
 * Nothing is free and no chunk is left, and yet not all is out: another thread is a few instructions from
 * filling the list. A little patience, but no more: it may have been stopped just there.
 */
#define PATIENCE 1000

void *sl_tpool_alloc(struct sl_tpool *p, uint32_t *idx)
{
	uint32_t *obj;

	for (unsigned int i = 0; (*idx = pop(p)) == 0 && (*idx = grow(p)) == 0; i++) {
		if (i == PATIENCE ||
		    atomic_load_explicit(&p->nchunks, memory_order_relaxed) < p->max_chunks ||
		    atomic_load_explicit(&p->inuse, memory_order_relaxed) >= p->max)
			return NULL;
		rte_pause();
	}
	obj = sl_tpool_get(p, *idx);
	__atomic_store_n(obj, 0, __ATOMIC_RELAXED);
	atomic_fetch_add_explicit(&p->inuse, 1, memory_order_relaxed);
	return obj;
}

void sl_tpool_free(struct sl_tpool *p, uint32_t idx)
{
	atomic_fetch_sub_explicit(&p->inuse, 1, memory_order_relaxed);
	push(p, idx, sl_tpool_get(p, idx));
}
