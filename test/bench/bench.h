/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Benchmarks are written in C and run by Google Benchmark, which is C++: bench.cc is all that knows
 * both. A benchmark program is bench.cc with one C file that defines bench_cases.
 *
 * One context is kept at a time, for all the runs that Google Benchmark makes of one case and
 * argument to find how often to repeat it: `run` goes on from where the last one left the context.
 */
#ifndef TEST_BENCH_H
#define TEST_BENCH_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench_case {
	const char *name;
	void *(*setup)(int64_t arg);        /* context, NULL when memory is out; not timed */
	void (*run)(void *ctx, uint64_t n); /* n operations, timed */
	void (*teardown)(void *ctx);
	const int64_t *args; /* ends with 0: once per value; in the output it is name/value */
};

/** Ends with a NULL name. */
extern const struct bench_case bench_cases[];

/** The compiler must have computed v here, and assume that memory has been read and written. */
static inline void bench_keep(uint64_t v)
{
	__asm__ volatile("" : : "r"(v) : "memory");
}

#ifdef __cplusplus
}
#endif

#endif
