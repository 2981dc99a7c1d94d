/* SPDX-License-Identifier: BSD-3-Clause */
/* See numa.h. */
#include "numa.h"

#include <stddef.h>

void app_numa_plan(const int *lcore, unsigned int nlcores, const int *port, unsigned int nports,
    struct app_numa *out)
{
	int node = -1;
	bool several = false;

	for (unsigned int i = 0; i < nlcores; i++) {
		several |= app_numa_far(lcore[i], node);
		if (lcore[i] >= 0)
			node = lcore[i];
	}
	out->memory = several ? -1 : node;
	out->control = out->memory;
	for (unsigned int i = 0; i < nports && out->control < 0; i++)
		out->control = port[i];
}

void app_numa_cpus(
    const cpu_set_t *allowed, const cpu_set_t *lcores, const cpu_set_t *node, cpu_set_t *out)
{
	cpu_set_t here;

	CPU_ZERO(out);
	CPU_ZERO(&here);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, allowed) || CPU_ISSET(i, lcores))
			continue;
		CPU_SET(i, out);
		if (node == NULL || CPU_ISSET(i, node))
			CPU_SET(i, &here);
	}
	if (CPU_COUNT(&here) > 0)
		*out = here;
	else if (CPU_COUNT(out) == 0)
		*out = *allowed;
}
