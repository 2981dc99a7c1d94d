/* SPDX-License-Identifier: BSD-3-Clause */
/* What a fuzz target shows to libFuzzer or to replay.c. */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Prints what the inputs reached so far; false: something that the corpus must reach was not. */
bool fuzz_report(void);

/* The input that runs, for messages; replay.c counts it. */
extern uint64_t fuzz_input_number;

#define FUZZ_MUST(cond)                                                                \
	do {                                                                           \
		if (!(cond)) {                                                         \
			fprintf(stderr, "%s:%d: input %llu: %s\n", __FILE__, __LINE__, \
			    (unsigned long long)fuzz_input_number, #cond);             \
			abort();                                                       \
		}                                                                      \
	} while (0)

#endif
