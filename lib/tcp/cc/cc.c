/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The algorithms by number and by name. A connection holds a pointer to one of these tables and its
 * state in the union of struct sl_cc; nothing else in TCP knows which one it is. The numbers are
 * those of the tunable tcp.cc.
 */
#include <stddef.h>
#include <string.h>

#include <tcp/cc/cc.h>

static const struct sl_cc_ops *const algorithms[] = {&sl_cc_newreno, &sl_cc_cubic};

#define COUNT (sizeof(algorithms) / sizeof(algorithms[0]))

const struct sl_cc_ops *sl_cc_by_index(unsigned int i)
{
	return i < COUNT ? algorithms[i] : NULL;
}

const struct sl_cc_ops *sl_cc_by_name(const char *name)
{
	for (unsigned int i = 0; i < COUNT; i++)
		if (strcmp(algorithms[i]->name, name) == 0)
			return algorithms[i];
	return NULL;
}
