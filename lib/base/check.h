/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Assertions of what the code itself guarantees, never of input. SL_CHECK costs nothing in release
 * builds and runs in debug_checks and sanitizer builds, at the end of each entry point.
 */
#ifndef SL_BASE_CHECK_H
#define SL_BASE_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#ifdef SLUICE_DEBUG_CHECKS
#define SL_CHECK(cond)                                                                       \
	do {                                                                                 \
		if (__builtin_expect(!(cond), 0)) {                                          \
			fprintf(stderr, "%s:%d: %s: check failed: %s\n", __FILE__, __LINE__, \
			    __func__, #cond);                                                \
			abort();                                                             \
		}                                                                            \
	} while (0)
#else
#define SL_CHECK(cond) ((void)sizeof(cond))
#endif

#define SL_LIKELY(x) __builtin_expect(!!(x), 1)
#define SL_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define SL_CONTAINER_OF(p, type, field) ((type *)(void *)((char *)(p)-offsetof(type, field)))

#endif
