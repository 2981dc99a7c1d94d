/* SPDX-License-Identifier: BSD-3-Clause */
/* At the end of a libFuzzer run: what the inputs reached. */
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

static void at_end(void)
{
	(void)fuzz_report();
	fflush(stdout);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return atexit(at_end);
}
