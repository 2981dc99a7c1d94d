/* SPDX-License-Identifier: BSD-3-Clause */
/* The functions that stand behind ours: what the program would have called without us. */
#include "preload.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>

struct slp_real slp_real_table;
bool slp_real_loaded;
__thread int slp_inside __attribute__((tls_model("initial-exec")));

/* Of a C library that does not have it. */
static int no_close_range(unsigned int first, unsigned int last, int flags)
{
	return (int)syscall(SYS_close_range, first, last, flags);
}

void slp_real_load(void)
{
#define X(type, name, args) *(void **)(&slp_real_table.name) = dlsym(RTLD_NEXT, #name);
	SLP_REAL(X)
#undef X
	if (slp_real_table.close_range == NULL)
		slp_real_table.close_range = no_close_range;
	__atomic_store_n(&slp_real_loaded, true, __ATOMIC_RELEASE);
}
