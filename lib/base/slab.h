/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Objects of one size, named by a 32-bit index, single owner. Memory comes in slabs of about 64
 * KiB; a slab whose objects are all free goes back to the system (one empty slab is kept, against
 * thrash). Freed objects are poisoned under the address sanitizer. Index 0 is never given out.
 */
#ifndef SL_BASE_SLAB_H
#define SL_BASE_SLAB_H

#include <stddef.h>
#include <stdint.h>

/** Where slabs come from; NULL everywhere means aligned_alloc and free. */
struct sl_mem_ops {
	void *(*alloc)(void *arg, size_t size, size_t align);
	void (*free)(void *arg, void *p, size_t size);
	void *arg;
};

struct sl_slab {
	void **chunks;          /* chunk number -> memory, NULL when given back */
	uint16_t *used;         /* objects in use per chunk */
	uint32_t *free_head;    /* first free object in the chunk, by number in the chunk + 1 */
	uint32_t *next_partial; /* list of chunks with free objects */
	uint32_t *prev_partial;
	uint32_t partial;   /* first chunk with a free object, UINT32_MAX none */
	uint32_t obj_size;  /* rounded up to 64 bytes when >= 64 */
	uint32_t per_shift; /* log2 objects per chunk */
	uint32_t nchunks;   /* chunk numbers ever used; read by any thread (relaxed) */
	uint32_t max_chunks, empty_chunks;
	/* List (next_partial) of chunk numbers whose memory went back, UINT32_MAX none */
	uint32_t vacant;
	uint32_t max_objs;
	uint32_t inuse; /* objects given out; read by any thread (relaxed) */
	uint64_t bytes; /* of chunks, read by any thread (relaxed) */
	struct sl_mem_ops mem;
};

/** Room for max objects of `size` bytes, nothing allocated yet but the chunk directory. 0 or
 * -ENOMEM, -EINVAL. */
int sl_slab_init(struct sl_slab *s, uint32_t size, uint32_t max, const struct sl_mem_ops *mem);
/** Gives everything back, objects in use included; returns how many were still in use (leaks). */
uint32_t sl_slab_fini(struct sl_slab *s);
/** A zeroed object; *idx is its name. NULL when max is reached or memory is out. */
void *sl_slab_alloc(struct sl_slab *s, uint32_t *idx);
/** The same, but not zeroed: for who writes all of it. */
void *sl_slab_alloc_raw(struct sl_slab *s, uint32_t *idx);
void sl_slab_free(struct sl_slab *s, uint32_t idx);
/** First index in use that is > after (0 to begin), 0 when there is none: to walk all objects. */
uint32_t sl_slab_next(const struct sl_slab *s, uint32_t after);

/** Object of an index that is in use. */
static inline void *sl_slab_get(const struct sl_slab *s, uint32_t idx)
{
	uint32_t n = idx - 1;

	return (char *)s->chunks[n >> s->per_shift] +
	       (size_t)(n & ((1u << s->per_shift) - 1)) * s->obj_size;
}

#endif
