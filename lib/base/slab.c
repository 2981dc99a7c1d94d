/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A chunk is [objects | bitmap of those in use]. Chunks with a free object stand in a list; the
 * free objects of a chunk are chained through their first word. A chunk number keeps its meaning
 * when its memory goes back to the system and comes again, so index - 1 = chunk number * objects
 * per chunk + place holds for ever.
 *
 * Invariants: a chunk is in the partial list iff it has memory and a free object; in the vacant
 * list iff its number was used before and its memory went back; empty_chunks counts those with
 * memory and no object in use, 0 or 1 between calls.
 */
#include <base/check.h>
#include <base/slab.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define SLAB_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_ASAN 1
#endif
#endif
#ifdef SLAB_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define POISON(p, n) ((void)(p))
#define UNPOISON(p, n) ((void)(p))
#endif

#define CHUNK_BYTES 65536u
#define CACHE_LINE 64u
#define NONE UINT32_MAX

static void *libc_alloc(void *arg, size_t size, size_t align)
{
	return aligned_alloc(align, (size + align - 1) / align * align);
}

static void libc_free(void *arg, void *p, size_t size)
{
	free(p);
}

static uint32_t chunk_objs(const struct sl_slab *s)
{
	return 1u << s->per_shift;
}

static uint64_t *chunk_bits(const struct sl_slab *s, uint32_t c)
{
	return (uint64_t *)(void *)((char *)s->chunks[c] + ((size_t)s->obj_size << s->per_shift));
}

static size_t chunk_size(const struct sl_slab *s)
{
	return ((size_t)s->obj_size << s->per_shift) + (chunk_objs(s) + 63) / 64 * sizeof(uint64_t);
}

static void *object(const struct sl_slab *s, uint32_t c, uint32_t i)
{
	return (char *)s->chunks[c] + (size_t)i * s->obj_size;
}

static void partial_push(struct sl_slab *s, uint32_t c)
{
	s->prev_partial[c] = NONE;
	s->next_partial[c] = s->partial;
	if (s->partial != NONE)
		s->prev_partial[s->partial] = c;
	s->partial = c;
}

static void partial_remove(struct sl_slab *s, uint32_t c)
{
	uint32_t next = s->next_partial[c], prev = s->prev_partial[c];

	if (prev == NONE)
		s->partial = next;
	else
		s->next_partial[prev] = next;
	if (next != NONE)
		s->prev_partial[next] = prev;
}

int sl_slab_init(struct sl_slab *s, uint32_t size, uint32_t max, const struct sl_mem_ops *mem)
{
	uint32_t n;

	memset(s, 0, sizeof(*s));
	if (size == 0 || size > (1u << 30) || max == 0 || max == UINT32_MAX)
		return -EINVAL;
	s->obj_size =
	    size >= CACHE_LINE ? (size + CACHE_LINE - 1) & ~(CACHE_LINE - 1) : (size + 7) & ~7u;
	while ((uint64_t)s->obj_size << (s->per_shift + 1) <= CHUNK_BYTES)
		s->per_shift++;
	n = (uint32_t)(((uint64_t)max + chunk_objs(s) - 1) >> s->per_shift);
	s->max_chunks = n;
	s->max_objs = max;
	s->partial = s->vacant = NONE;
	s->mem = mem != NULL ? *mem : (struct sl_mem_ops){libc_alloc, libc_free, NULL};
	s->chunks = calloc(n, sizeof(*s->chunks));
	s->used = calloc(n, sizeof(*s->used));
	s->free_head = calloc(n, sizeof(*s->free_head));
	s->next_partial = calloc(n, sizeof(*s->next_partial));
	s->prev_partial = calloc(n, sizeof(*s->prev_partial));
	if (s->chunks == NULL || s->used == NULL || s->free_head == NULL ||
	    s->next_partial == NULL || s->prev_partial == NULL) {
		sl_slab_fini(s);
		return -ENOMEM;
	}
	return 0;
}

static void chunk_release(struct sl_slab *s, uint32_t c)
{
	UNPOISON(s->chunks[c], chunk_size(s));
	__atomic_store_n(&s->bytes, s->bytes - chunk_size(s), __ATOMIC_RELAXED);
	s->mem.free(s->mem.arg, s->chunks[c], chunk_size(s));
	s->chunks[c] = NULL;
}

uint32_t sl_slab_fini(struct sl_slab *s)
{
	uint32_t leaks = s->inuse;

	for (uint32_t c = 0; c < s->nchunks; c++)
		if (s->chunks[c] != NULL)
			chunk_release(s, c);
	free(s->chunks);
	free(s->used);
	free(s->free_head);
	free(s->next_partial);
	free(s->prev_partial);
	memset(s, 0, sizeof(*s));
	return leaks;
}

/* Memory for a chunk: a number that was given back, else a new one. The last chunk ends at
 * max_objs. */
static uint32_t chunk_make(struct sl_slab *s)
{
	uint32_t c = s->vacant != NONE ? s->vacant : s->nchunks, n, i;
	void *p;

	if (c >= s->max_chunks)
		return NONE;
	p = s->mem.alloc(s->mem.arg, chunk_size(s), CACHE_LINE);
	if (p == NULL)
		return NONE;
	__atomic_store_n(&s->bytes, s->bytes + chunk_size(s), __ATOMIC_RELAXED);
	if (c == s->vacant)
		s->vacant = s->next_partial[c];
	else
		__atomic_store_n(&s->nchunks, s->nchunks + 1, __ATOMIC_RELAXED);
	s->chunks[c] = p;
	memset(chunk_bits(s, c), 0, chunk_size(s) - ((size_t)s->obj_size << s->per_shift));
	n = s->max_objs - (c << s->per_shift);
	if (n > chunk_objs(s))
		n = chunk_objs(s);
	for (i = 0; i < n; i++)
		*(uint32_t *)object(s, c, i) = i + 1 < n ? i + 2 : 0;
	POISON(p, (size_t)s->obj_size << s->per_shift);
	s->free_head[c] = 1;
	s->used[c] = 0;
	s->empty_chunks++;
	partial_push(s, c);
	return c;
}

void *sl_slab_alloc(struct sl_slab *s, uint32_t *idx)
{
	void *obj = sl_slab_alloc_raw(s, idx);

	if (obj != NULL)
		memset(obj, 0, s->obj_size);
	return obj;
}

void *sl_slab_alloc_raw(struct sl_slab *s, uint32_t *idx)
{
	uint32_t c = s->partial, i;
	void *obj;

	/* The empty chunk that is kept comes last, so that chunks in use fill up and it may go. */
	if (c != NONE && s->used[c] == 0 && s->next_partial[c] != NONE)
		c = s->next_partial[c];
	if (c == NONE)
		c = chunk_make(s);
	if (c == NONE)
		return NULL;
	i = s->free_head[c] - 1;
	obj = object(s, c, i);
	UNPOISON(obj, s->obj_size);
	s->free_head[c] = *(uint32_t *)obj;
	if (s->free_head[c] == 0)
		partial_remove(s, c);
	if (s->used[c]++ == 0)
		s->empty_chunks--;
	chunk_bits(s, c)[i / 64] |= 1ull << (i % 64);
	__atomic_store_n(&s->inuse, s->inuse + 1, __ATOMIC_RELAXED);
	*idx = (c << s->per_shift) + i + 1;
	return obj;
}

void sl_slab_free(struct sl_slab *s, uint32_t idx)
{
	uint32_t c = (idx - 1) >> s->per_shift, i = (idx - 1) & (chunk_objs(s) - 1);
	uint64_t *bits = chunk_bits(s, c) + i / 64;
	void *obj = object(s, c, i);

	SL_CHECK(idx != 0 && idx <= s->max_objs && (*bits >> (i % 64) & 1) != 0);
	*bits &= ~(1ull << (i % 64));
	if (s->free_head[c] == 0)
		partial_push(s, c);
	*(uint32_t *)obj = s->free_head[c];
	s->free_head[c] = i + 1;
	POISON(obj, s->obj_size);
	__atomic_store_n(&s->inuse, s->inuse - 1, __ATOMIC_RELAXED);
	if (--s->used[c] != 0)
		return;
	if (s->empty_chunks == 0) {
		s->empty_chunks = 1;
		return;
	}
	partial_remove(s, c);
	chunk_release(s, c);
	s->next_partial[c] = s->vacant;
	s->vacant = c;
}

uint32_t sl_slab_next(const struct sl_slab *s, uint32_t after)
{
	/* Index after + 1 is place `after`. */
	uint32_t c = after >> s->per_shift, i = after & (chunk_objs(s) - 1);

	for (; c < s->nchunks; c++, i = 0) {
		if (s->chunks[c] == NULL || s->used[c] == 0)
			continue;
		while (i < chunk_objs(s)) {
			uint64_t w = chunk_bits(s, c)[i / 64] >> (i % 64);

			if (w != 0)
				return (c << s->per_shift) + i + (uint32_t)__builtin_ctzll(w) + 1;
			i = (i / 64 + 1) * 64;
		}
	}
	return 0;
}
