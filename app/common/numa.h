/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What lies on which NUMA node, decided. Receive buffers and queues go to the node of their port (DPDK
 * does that, told which); here is the rest: the stack's tables, buffers for what is sent, the CPUs of
 * control threads. No side effects: stack.c finds out and carries out.
 */
#ifndef APP_NUMA_H
#define APP_NUMA_H

#include <sched.h>
#include <stdbool.h>

struct app_numa {
	/* Of tables and buffers; -1: lcores are on several nodes, memory is where it is touched first */
	int memory;
	int control; /* of control threads; -1: any */
};

/** Nodes of the lcores and of the ports, -1: unknown. */
void app_numa_plan(const int *lcore, unsigned int nlcores, const int *port, unsigned int nports,
    struct app_numa *out);
/** Does each packet cross between nodes? */
static inline bool app_numa_far(int lcore, int port)
{
	return lcore >= 0 && port >= 0 && lcore != port;
}
/**
 * CPUs of a control thread: of the node (NULL: any), without those of lcores, which poll; else of
 * another node; else, when lcores have them all, what the process may use.
 */
void app_numa_cpus(
    const cpu_set_t *allowed, const cpu_set_t *lcores, const cpu_set_t *node, cpu_set_t *out);

#endif
