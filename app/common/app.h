/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What both applications share: start of the EAL, clock, signals, packet pools, and a stack with
 * addresses on it. Unlike the library these print (to stderr) and keep a few globals: an
 * application is one per process.
 */
#ifndef APP_H
#define APP_H

#include <pthread.h>
#include <stdio.h>
#include <rte_cycles.h>
#include <sluice/sluice.h>
#include "parse.h"

#define APP_EXIT_FAIL 1
#define APP_EXIT_USAGE 2

/** "prog: message" on stderr. */
void app_err(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
extern const char *app_name;

/* ---- command line: EAL options, "--", own options ---- */

struct app_args {
	int eal_argc; /* for rte_eal_init */
	char **eal_argv;
	int argc; /* own: argv[0] is the program's name, as getopt wants */
	char **argv;
	bool help; /* --help stood anywhere */
	bool none; /* nothing but the name was given */
};
/** Cut the command line in two. Changes argv (the "--" becomes the name). */
void app_args_split(int argc, char **argv, struct app_args *out);
/** rte_eal_init with a readable complaint. 0 or -errno. */
int app_eal_init(struct app_args *a);

/** Set by SIGINT and SIGTERM. */
extern volatile int app_stop;
/** Set it in one thread while others run on it. */
static inline void app_end(void)
{
	__atomic_store_n(&app_stop, 1, __ATOMIC_RELEASE);
}
/** Install the handlers that set app_stop; the second signal kills. */
void app_signals(void);

/* ---- clock: the TSC in ns since an arbitrary start; valid after app_clock_init (which needs the
 * EAL) ---- */

extern uint64_t app_ns_per_cycle_q32; /* ns per TSC cycle, 32 fractional bits */
void app_clock_init(void);

static inline uint64_t app_cycles_to_ns(uint64_t cycles)
{
	return (uint64_t)(((unsigned __int128)cycles * app_ns_per_cycle_q32) >> 32);
}

/** The clock in the form that sluice_squeue_run takes. */
uint64_t app_clock(void);

static inline uint64_t app_now(void)
{
	return app_cycles_to_ns(rte_rdtsc());
}

/* ---- stacks ---- */

/** "name=value" into *t. 0, or -errno after a message in err. */
int app_tunable_set(struct sluice_tunables *t, const char *word, char *err, size_t len);
/** One line on stderr per line of the stack's log up to this syslog(3) level. */
extern int app_log_level;

struct rte_mempool *app_pool(
    const char *stack, const char *what, unsigned int n, uint16_t room, int socket);

struct app_stack {
	struct sluice_stack *st;
	struct rte_mempool *hdr_pool, *data_pool, *rx_pool[2], *except_pool;
	uint64_t mem; /* bytes that the stack holds now; relaxed atomic */
	unsigned int rx_mbufs;
};

/** The plan for the EAL's lcores and ports (numa.h). */
struct app_numa;
void app_numa_here(struct app_numa *plan);

struct app_stack_params {
	const char *name;
	unsigned int nsqueues;
	uint32_t max_connections; /* of each squeue */
	unsigned int mbufs;       /* in the data pool; headers get twice as many */
	const struct sluice_tunables *tunables;
	unsigned int rx_mbufs; /* receive buffers of each port, if more than its queues need */
};
/** In telemetry.c: what DPDK's telemetry shows of a stack. The name must live as long. */
void app_telemetry_add(struct sluice_stack *st);
void app_telemetry_remove(const struct sluice_stack *st);

/** Pools and a stack, shown in DPDK's telemetry. 0 or -errno after a message. Undone by app_stack_down. */
int app_stack_up(const struct app_stack_params *p, struct app_stack *out);
/** Destroy the stack and free the pools. Returns 0, or -EBUSY when the stack reports leaks of its
 * own (after a message). */
int app_stack_down(struct app_stack *s);

/** Take also a port over the interface of the machine's default route. */
extern bool app_force;
/** The interface's name if a default route (main table, IPv4 or IPv6) leads there, else NULL. */
const char *app_default_route(unsigned int ifindex, char name[16]);

/** The kernel beside us on a port: the exception port (a DPDK port), and whose packets are whose. */
struct app_kernel {
	int port; /* -1: none */
	struct sluice_kernel_rule rule[SLUICE_KERNEL_RULES];
	unsigned int nrules;
};
/** "RULE, RULE": 0, or -EINVAL after a message. */
int app_kernel_rules(struct app_kernel *k, const char *text);

/** One line of warning when the lcore and the port are on different NUMA nodes: each packet then crosses
 * between them. */
void app_numa_warn(unsigned int lcore, uint16_t port_id);
/** The same for all lcores of the EAL. */
void app_numa_warn_all(uint16_t port_id);
/** A control thread: off the lcores' CPUs and on their NUMA node, where that can be. 0 or errno. */
int app_control_thread(pthread_t *t, void *(*fn)(void *arg), void *arg);

/** Now and then, on a control thread: resets what asks for it, with a line on stderr. */
void app_ports_serve(struct sluice_stack *st);

/** Queue pairs to ask of a port for so many squeues: as many, or as many as it has. */
uint16_t app_port_queues(uint16_t port_id, unsigned int nsqueues);

/** Set up ethdev port_id with rx_pool memory of its own and add it. Returns the port's number or
 * -errno after a message. */
int app_ethdev_add(struct app_stack *s, struct sluice_ethdev_params *p);
/** The same with the kernel on it, unless k is NULL or has no port. */
int app_ethdev_share(
    struct app_stack *s, struct sluice_ethdev_params *p, const struct app_kernel *k);

/** --mirror: DEV[=IF], kept up by app_mirror_serve on a control thread. */
struct app_mirror {
	struct sluice_mirror *m;
	int last; /* what the last run said: a message for each other thing */
};
/** Without text nothing happens. 0 or -errno after a message. */
int app_mirror_open(struct app_mirror *m, struct sluice_stack *st, const char *text);
void app_mirror_serve(struct app_mirror *m);
void app_mirror_close(struct app_mirror *m);

struct app_net {
	const char *ifname;
	unsigned int port;
	uint16_t vlan[2]; /* outer and inner tag; 0: none */
	uint32_t vrf;
	uint16_t mtu;
	const char *const *addr; /* "A/len" */
	unsigned int naddr;
	const char *const *prefix; /* "A/len": every address in it */
	unsigned int nprefix;
	struct app_route {
		const char *prefix, *via;
	} route[16];
	unsigned int nroute;
};
/** One interface with addresses and routes, in one transaction. 0 or -errno after a message. */
int app_net_up(struct app_stack *s, const struct app_net *n);

#endif
