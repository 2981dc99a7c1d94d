/* SPDX-License-Identifier: BSD-3-Clause */
/* The slow half of the histogram: reading it. */
#include "hist.h"

#include <string.h>

uint64_t hist_low(unsigned int index)
{
	unsigned int shift;

	if (index < 2 * HIST_SUB)
		return index;
	shift = (index >> HIST_SUB_BITS) - 1;
	return (uint64_t)(HIST_SUB + (index & (HIST_SUB - 1))) << shift;
}

void hist_reset(struct hist *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

void hist_merge(struct hist *a, const struct hist *b)
{
	a->count += b->count;
	a->min = b->min < a->min ? b->min : a->min;
	a->max = b->max > a->max ? b->max : a->max;
	for (unsigned int i = 0; i < HIST_BUCKETS; i++)
		a->bucket[i] += b->bucket[i];
}

uint64_t hist_quantile(const struct hist *h, double q)
{
	uint64_t rank, sum = 0;

	if (h->count == 0)
		return 0;
	rank = (uint64_t)(q * (double)h->count);
	if ((double)rank < q * (double)h->count)
		rank++;
	if (rank == 0)
		return h->min;
	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		sum += h->bucket[i];
		if (sum >= rank) {
			uint64_t high = i + 1 < HIST_BUCKETS ? hist_low(i + 1) - 1 : UINT64_MAX;

			return high < h->max ? high : h->max;
		}
	}
	return h->max;
}
