/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dataplane for the preload library (lib/preload/engine.h): EAL, one stack with one squeue, and
 * all ports that the EAL finds, on one thread. sluice-run has read and checked the options; here
 * they come as lines "key value":
 *
 *	eal WORD	an argument of rte_eal_init
 *	claim NAME	of the ports: one process at a time in a network namespace
 *	connections, mbufs, rxd, txd, mtu, offload, idle	numbers, as in struct app_options
 *	tunable NAME=VALUE
 *	addr A/LEN	of the interface, on port 0
 *	route PREFIX GATEWAY
 *	config FILE	an ini file in place of addr and route
 *
 * Lines with other keys are the preload library's.
 */
#include "common/app.h"
#include "common/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/un.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_memory.h>

#include "preload/engine.h"

#define MAX_EAL 64
#define MAX_PORTS 2 /* struct app_stack's */

struct engine {
	char *text; /* the lines, cut into words: what follows points into it */
	struct app_options o;
	char *eal[MAX_EAL + 1];
	int neal;
	const char *claim;
	int claim_fd;
	struct app_stack stack;
	int call_tag;
	void (*log)(int level, const char *line);
};

static struct engine engine;

static void say(struct engine *e, const char *what, int rc)
{
	char line[300];

	snprintf(line, sizeof(line), "%s: %s", what, strerror(-rc));
	e->log(LOG_ERR, line);
}

/* ---- words ---- */

static void number(struct engine *e, const char *key, const char *val)
{
	uint64_t v = strtoull(val, NULL, 10);
	const struct {
		const char *key;
		uint64_t *at;
	} rows[] = {
	    {"connections", &e->o.connections},
	    {"mbufs", &e->o.mbufs},
	    {"rxd", &e->o.rxd},
	    {"txd", &e->o.txd},
	    {"mtu", &e->o.mtu},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++)
		if (strcmp(rows[i].key, key) == 0)
			*rows[i].at = v;
	if (strcmp(key, "offload") == 0)
		e->o.offload = v != 0;
	else if (strcmp(key, "idle") == 0)
		e->o.idle[0] = (enum sluice_idle)v, e->o.nidle = 1;
	else if (strcmp(key, "force") == 0)
		app_force = v != 0;
	else if (strcmp(key, "log") == 0)
		app_log_level = (int)v;
}

static int push(const char **list, unsigned int *n, const char *val)
{
	if (*n == APP_MAX_WORDS)
		return -ENOSPC;
	list[(*n)++] = val;
	return 0;
}

static int take_route(struct engine *e, char *val)
{
	char *gw = strchr(val, ' ');

	if (gw == NULL || e->o.nroute == RTE_DIM(e->o.route))
		return -EINVAL;
	*gw++ = '\0';
	e->o.route[e->o.nroute++] = (struct app_route){val, gw};
	return 0;
}

static int take_line(struct engine *e, const char *key, char *val)
{
	if (strcmp(key, "eal") == 0) {
		if (e->neal == MAX_EAL)
			return -ENOSPC;
		e->eal[e->neal++] = val;
		return 0;
	}
	if (strcmp(key, "tunable") == 0)
		return push(e->o.tunable, &e->o.ntunable, val);
	if (strcmp(key, "addr") == 0)
		return push(e->o.addr, &e->o.naddr, val);
	if (strcmp(key, "route") == 0)
		return take_route(e, val);
	if (strcmp(key, "config") == 0)
		e->o.config = val;
	else if (strcmp(key, "kernel") == 0)
		e->o.kernel_port = val;
	else if (strcmp(key, "kernel-rules") == 0)
		e->o.kernel_rules = val;
	else if (strcmp(key, "claim") == 0)
		e->claim = val;
	else
		number(e, key, val);
	return 0;
}

static int read_words(struct engine *e, const char *words)
{
	char *save = NULL, *line, *val;
	int rc = 0;

	e->text = strdup(words);
	if (e->text == NULL)
		return -ENOMEM;
	for (line = strtok_r(e->text, "\n", &save); line != NULL && rc == 0;
	     line = strtok_r(NULL, "\n", &save)) {
		val = strchr(line, ' ');
		if (val == NULL)
			continue;
		*val++ = '\0';
		rc = take_line(e, line, val);
		if (rc != 0)
			say(e, val, rc);
	}
	return rc;
}

/* ---- one process for a port ---- */

/* An abstract name: it belongs to the network namespace, as the port does, and ends with us. */
static int claim(struct engine *e)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int n;

	if (e->claim == NULL)
		return 0;
	n = snprintf(sun.sun_path + 1, sizeof(sun.sun_path) - 1, "sluice-run:%s", e->claim);
	n = RTE_MIN(n, (int)sizeof(sun.sun_path) - 2);
	e->claim_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (e->claim_fd < 0)
		return -errno;
	if (bind(e->claim_fd, (struct sockaddr *)&sun,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) == 0)
		return 0;
	n = errno;
	close(e->claim_fd);
	if (n == EADDRINUSE)
		e->log(LOG_ERR, "another process has these ports");
	return -n;
}

/* ---- memory ---- */

static int dont_fork(const struct rte_memseg_list *msl, const struct rte_memseg *ms, void *arg)
{
	(void)madvise(ms->addr, ms->len, MADV_DONTFORK);
	return 0;
}

/*
 * Packets lie in memory that a child would share with us, not copy; and rings that the kernel maps
 * keep their socket, hence the port, for as long as a child lives. Children get neither.
 */
static void keep_from_children(void)
{
	char line[512];
	FILE *f;

	(void)rte_memseg_walk(dont_fork, NULL);
	f = fopen("/proc/thread-self/maps", "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		uintptr_t from, to;

		if (strstr(line, "socket:[") != NULL &&
		    sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &from, &to) == 2)
			(void)madvise((void *)from, to - from, MADV_DONTFORK);
	}
	if (f != NULL)
		fclose(f);
}

/* ---- set-up ---- */

static int64_t run_call(
    struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *a, void *arg)
{
	int64_t (*fn)(uint64_t arg);

	memcpy(&fn, &a->a[0], sizeof(fn));
	return fn(a->a[1]);
}

static int add_ports(struct engine *e)
{
	struct app_kernel kernel;
	uint16_t id;
	int rc = app_options_kernel(&e->o, NULL, 0, &kernel), n = 0;

	if (rc != 0)
		return rc;
	RTE_ETH_FOREACH_DEV(id)
	{
		struct sluice_ethdev_params p = {.size = sizeof(p),
		    .port_id = id,
		    .nqueues = 1,
		    .rxd = (uint16_t)e->o.rxd,
		    .txd = (uint16_t)e->o.txd,
		    .mtu = (uint16_t)e->o.mtu,
		    .no_offload = !e->o.offload};

		if (id == kernel.port)
			continue;
		if (n++ == MAX_PORTS)
			break;
		rc = app_ethdev_share(&e->stack, &p, n == 1 ? &kernel : NULL);
		if (rc < 0)
			return rc;
	}
	if (n > 0)
		return 0;
	e->log(LOG_ERR, "the EAL found no port: give --vdev, or --eal for hardware");
	return -ENODEV;
}

static int configure(struct engine *e)
{
	struct app_net net = {
	    .ifname = "net0", .addr = e->o.addr, .naddr = e->o.naddr, .nroute = e->o.nroute};
	char err[256] = "";
	int rc;

	if (e->o.config == NULL) {
		memcpy(net.route, e->o.route, sizeof(net.route));
		return app_net_up(&e->stack, &net);
	}
	rc = sluice_config_load(e->stack.st, e->o.config, err, sizeof(err), NULL, NULL);
	if (rc != 0)
		e->log(LOG_ERR, err[0] != '\0' ? err : strerror(-rc));
	return rc;
}

static int stack_up(struct engine *e)
{
	struct sluice_tunables t;
	struct app_stack_params sp = {.name = "run",
	    .nsqueues = 1,
	    .max_connections = (uint32_t)e->o.connections,
	    .mbufs = (unsigned int)e->o.mbufs,
	    .tunables = &t};
	char err[200];
	int rc = 0;

	sluice_tunables_default(&t);
	/* A command must not wait half a second for an address that its user gave it. */
	t.ip_dad_probes = 0;
	for (unsigned int i = 0; i < e->o.ntunable && rc == 0; i++)
		rc = app_tunable_set(&t, e->o.tunable[i], err, sizeof(err));
	if (rc != 0) {
		e->log(LOG_ERR, err);
		return rc;
	}
	rc = app_stack_up(&sp, &e->stack);
	if (rc != 0)
		return rc;
	e->call_tag = sluice_op_register(e->stack.st, "preload", run_call, NULL);
	if (e->call_tag < 0)
		return e->call_tag;
	rc = add_ports(e);
	return rc != 0 ? rc : configure(e);
}

static int eal_up(struct engine *e)
{
	e->eal[e->neal] = NULL;
	if (rte_eal_init(e->neal, e->eal) >= 0) {
		app_clock_init();
		return 0;
	}
	say(e, "the EAL does not start", rte_errno != 0 ? -rte_errno : -EINVAL);
	return rte_errno != 0 ? -rte_errno : -EINVAL;
}

/* ---- life ---- */

/* What the last calls made leaves, as long as there is something. */
static void drain(struct sluice_squeue *sq)
{
	uint64_t end = app_clock() + SLUICE_MS(100), idle = 0;

	while (app_clock() < end && idle < 64)
		idle = sluice_squeue_poll(sq, app_clock(), 0) > 0 ? 0 : idle + 1;
}

static void ports_down(void)
{
	uint16_t id;

	/* Nobody polls them any more. The stack stays: threads may still be in its calls. */
	RTE_ETH_FOREACH_DEV(id)
	{
		(void)rte_eth_dev_stop(id);
		(void)rte_eth_dev_close(id);
	}
}

static int run(const char *words, const volatile int *stop, void (*up)(struct sluice_stack *st),
    void (*down)(void), void (*log)(int level, const char *line))
{
	struct engine *e = &engine;
	struct sluice_squeue *sq;
	int rc;

	app_name = "sluice-run";
	*e = (struct engine){.log = log, .o = {.connections = 65536, .mbufs = 16384}};
	rc = read_words(e, words);
	if (rc == 0)
		rc = claim(e);
	if (rc == 0)
		rc = eal_up(e);
	if (rc == 0)
		rc = stack_up(e);
	if (rc != 0)
		return rc;
	keep_from_children();
	sq = sluice_squeue(e->stack.st, 0);
	/* From here on this thread owns the squeue, and still does behind sluice_squeue_run. */
	(void)sluice_squeue_poll(sq, app_clock(), 0);
	up(e->stack.st);
	rc = sluice_squeue_run(sq, app_idle(&e->o, 0), stop, app_clock);
	down();
	drain(sq);
	ports_down();
	return rc;
}

static int64_t call(int64_t (*fn)(uint64_t arg), uint64_t arg)
{
	struct sluice_args a = {.a = {0, arg}};

	memcpy(&a.a[0], &fn, sizeof(fn));
	return sluice_synch_call(engine.stack.st, 0, engine.call_tag, SLUICE_CONN_NONE, &a);
}

const struct slp_engine *sluice_preload_engine(void);

__attribute__((visibility("default"))) const struct slp_engine *sluice_preload_engine(void)
{
	static const struct slp_engine me = {.abi = SLP_ENGINE_ABI,
	    .run = run,
	    .call = call,
#define X(name, function) .name = function,
	    SLP_ENGINE_CALLS(X)
#undef X
	};

	return &me;
}
