/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Histogram of latencies, log-linear: each power of two is cut into 32 equal buckets, so a value is
 * known to 1/32 (3 %) over the whole range of 64 bits, in a fixed 15 KiB, and recording is a shift
 * and an increment.
 */
#ifndef TESTTCP_HIST_H
#define TESTTCP_HIST_H

#include <stdint.h>

#define HIST_SUB_BITS 5
#define HIST_SUB (1u << HIST_SUB_BITS)
#define HIST_BUCKETS ((64 - HIST_SUB_BITS + 1) * HIST_SUB)

struct hist {
	uint64_t count, min, max;
	uint64_t bucket[HIST_BUCKETS];
};

/** Values below 2 * HIST_SUB have a bucket each; above, the bucket is the exponent and the 5 bits
 * below the top one. */
static inline unsigned int hist_index(uint64_t v)
{
	unsigned int shift;

	if (v < HIST_SUB)
		return (unsigned int)v;
	shift = 63u - (unsigned int)__builtin_clzll(v) - HIST_SUB_BITS;
	return (shift << HIST_SUB_BITS) + (unsigned int)(v >> shift);
}

/** Lowest value of a bucket. */
uint64_t hist_low(unsigned int index);
void hist_reset(struct hist *h);
/** Add what b has to a. */
void hist_merge(struct hist *a, const struct hist *b);
/** The value that a share q (0..1) of all does not exceed; 0 when empty. Highest of its bucket,
 * never above max. */
uint64_t hist_quantile(const struct hist *h, double q);

static inline void hist_record(struct hist *h, uint64_t v)
{
	h->count++;
	h->min = v < h->min ? v : h->min;
	h->max = v > h->max ? v : h->max;
	h->bucket[hist_index(v)]++;
}

#endif
