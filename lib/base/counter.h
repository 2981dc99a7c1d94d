/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters have one writer (the squeue's owner) and any number of readers: relaxed load and store,
 * no lock prefix. */
#ifndef SL_BASE_COUNTER_H
#define SL_BASE_COUNTER_H

#include <sluice/counters.h>

static inline void sl_ctr_add(uint64_t *c, uint64_t n)
{
#if defined(__x86_64__) && !defined(SLUICE_DEBUG_CHECKS)
	/* The same load and store, in one instruction: compilers do not join relaxed ones. */
	__asm__("addq %1, %0" : "+m"(*c) : "er"(n) : "cc");
#else
	__atomic_store_n(c, __atomic_load_n(c, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
#endif
}

#endif
