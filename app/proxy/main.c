/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sluice-proxy: start and end. Each lcore runs a squeue, and with it a share of all sessions; a
 * control thread (control.c) does the rest.
 */
#include "control.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>

/* ---- command line ---- */

static void help_line(void *arg, const char *text)
{
	fprintf(arg, "  %s\n", text);
}

static void usage(FILE *f, bool full)
{
	fprintf(f, "usage: sluice-proxy [EAL options] -- --config FILE [options]\n");
	if (!full) {
		fprintf(f, "       sluice-proxy --help tells them all\n");
		return;
	}
	fprintf(f,
	    "\nRelays TCP from listeners to backends, on all lcores of the EAL (-l, --lcores). Own "
	    "options:\n"
	    "  --config FILE        listeners, pools, backends; SIGHUP reads it again. It may also "
	    "have the stack's own\n"
	    "                       sections (interfaces, routes, tunables); else:\n"
	    "  --addr A/LEN         address of the (one) port, IPv4 or IPv6; up to 64 times\n"
	    "  --route PREFIX via GW  route, as one word or three; up to 16 times\n"
	    "  --port-id N          DPDK port (default: 0); twice for two ports\n"
	    "  --access-log FILE    a line for each session that ended, \"-\" for stdout "
	    "(default: none)\n"
	    "  --connections N      connections at once on each lcore, 16..16777215 (default: "
	    "131072); each session has two\n"
	    "  --rx-mbufs N         receive buffers of each port, up to 16777216 (default: 65536): "
	    "what is relayed is held in them\n"
	    "  --mbufs N            buffers for data, up to 16777216 (default: 16384); headers get "
	    "twice as many\n"
	    "  --rxd N, --txd N     descriptors of a port's queues, 64..32768 (default: 1024)\n"
	    "  --mtu N              MTU to set, 576..9600 (default: the port's)\n"
	    "  --offload on|off     use the port's checksum and segmentation offloads (default: "
	    "on)\n"
	    "  --idle POLICY[,...]      what an idle lcore does: spin, yield or sleep; for the "
	    "first lcore,\n"
	    "                           the second, and so on, the last also for the rest "
	    "(default: sleep)\n"
	    "  --tunable NAME=VALUE set a tunable of the stack; up to 64 times; a file with the "
	    "stack's sections sets them all\n" APP_OPT_KERNEL_HELP("all of TCP") APP_OPT_MIRROR_HELP
	    "  --force              take also a port over the interface of the default route\n"
	    "  --verbose            show the stack's log down to debug level\n"
	    "  --help               this text\n"
	    "\nSections of the configuration file and their entries:\n");
	config_help(help_line, f);
	fprintf(f,
	    "\nSIGHUP reads the file again, SIGUSR1 prints counters, SIGTERM drains and ends; a "
	    "second one ends at once.\n");
}

enum {
	OPT_PORT_ID = APP_OPT_OWN,
	OPT_ACCESS_LOG,
	OPT_RX_MBUFS
};

static const struct option longopts[] = {
    APP_OPT_ROWS,
    {"port-id", required_argument, NULL, OPT_PORT_ID},
    {"access-log", required_argument, NULL, OPT_ACCESS_LOG},
    {"rx-mbufs", required_argument, NULL, OPT_RX_MBUFS},
    {NULL, 0, NULL, 0},
};

static int parse_own(void *arg, int opt, const char *text)
{
	struct options *o = arg;

	switch (opt) {
	case OPT_PORT_ID:
		if (o->nports == MAX_PORTS)
			return -ENOSPC;
		return app_parse_u64(text, 0, RTE_MAX_ETHPORTS - 1, &o->port_id[o->nports++]);
	case OPT_ACCESS_LOG:
		o->log = text;
		return 0;
	default:
		return app_parse_size(text, 1 << 24, &o->rx_mbufs);
	}
}

/** Own options into *o, tunables into *t. 0, or -EINVAL after a message. */
static int parse_options(struct options *o, struct sluice_tunables *t, int argc, char **argv)
{
	*o = (struct options){
	    .app = {.connections = 131072, .mbufs = 16384, .offload = true}, .rx_mbufs = 65536};
	if (app_options_parse(&o->app, t, argc, argv, longopts, parse_own, o) != 0)
		return -EINVAL;
	if (o->app.config == NULL) {
		app_err("--config FILE is needed");
		return -EINVAL;
	}
	if (o->nports == 0)
		o->nports = 1;
	return 0;
}

/* Addresses and routes of the command line. */
static int configure(struct program *g)
{
	const struct app_options *o = &g->o.app;
	struct app_net net = {
	    .ifname = "net0", .addr = o->addr, .naddr = o->naddr, .nroute = o->nroute};

	memcpy(net.route, o->route, sizeof(net.route));
	return net.naddr == 0 && o->mirror == NULL ? 0 : app_net_up(&g->stack, &net);
}

/* ---- start ---- */

/* A queue pair for each lcore, or as many as the port has: its packets are handed on then. */
static uint16_t queues_of(uint16_t port)
{
	struct rte_eth_dev_info info;
	uint16_t n = (uint16_t)rte_lcore_count();

	if (rte_eth_dev_info_get(port, &info) != 0 || info.max_rx_queues == 0 ||
	    info.max_tx_queues == 0)
		return 1;
	n = RTE_MIN(n, info.max_rx_queues);
	return RTE_MIN(n, info.max_tx_queues);
}

static int add_ports(struct program *g)
{
	struct app_kernel kernel;

	if (app_options_kernel(&g->o.app, NULL, 0, &kernel) != 0)
		return -EINVAL;
	for (unsigned int i = 0; i < g->o.nports; i++) {
		struct sluice_ethdev_params ep = {.size = sizeof(ep),
		    .port_id = (uint16_t)g->o.port_id[i],
		    .nqueues = queues_of((uint16_t)g->o.port_id[i]),
		    .rxd = (uint16_t)g->o.app.rxd,
		    .txd = (uint16_t)g->o.app.txd,
		    .mtu = (uint16_t)g->o.app.mtu,
		    .no_offload = !g->o.app.offload,
		    .rx_intr = app_idle_sleeps(&g->o.app)};
		int rc = app_ethdev_share(&g->stack, &ep, i == 0 ? &kernel : NULL);

		if (rc < 0)
			return rc;
		app_numa_warn_all(ep.port_id);
	}
	return 0;
}

static int set_up(struct program *g, const struct sluice_tunables *t)
{
	struct app_stack_params sp = {.name = "proxy",
	    .nsqueues = rte_lcore_count(),
	    .max_connections = (uint32_t)g->o.app.connections,
	    .mbufs = (unsigned int)g->o.app.mbufs,
	    .rx_mbufs = (unsigned int)g->o.rx_mbufs,
	    .tunables = t};
	struct proxy_params pp = {.access_log = g->log != NULL};
	struct sluice_app app = proxy_app(&g->proxy);
	int rc = app_stack_up(&sp, &g->stack);

	if (rc == 0)
		rc = add_ports(g);
	if (rc != 0)
		return rc;
	pp.st = g->stack.st;
	pp.pool[0] = g->stack.rx_pool[0];
	pp.pool[1] = g->stack.rx_pool[1];
	if (getrandom(&pp.seed, sizeof(pp.seed), 0) < 0)
		return -errno;
	rc = proxy_init(&g->proxy, &pp);
	if (rc == 0)
		rc = control_register(g);
	if (rc == 0)
		rc = sluice_app_register(g->stack.st, &app);
	if (rc != 0)
		app_err("the proxy cannot be made: %s", strerror(-rc));
	else
		rc = configure(g);
	return rc == 0 ? app_mirror_open(&g->mirror, g->stack.st, g->o.app.mirror) : rc;
}

static int open_log(struct program *g)
{
	if (g->o.log == NULL)
		return 0;
	g->log = strcmp(g->o.log, "-") == 0 ? stdout : fopen(g->o.log, "ae");
	if (g->log == NULL)
		app_err("%s: %s", g->o.log, strerror(errno));
	return g->log == NULL ? -errno : 0;
}

/* An lcore: its squeue, until the control thread ends it. */
static int run_squeue(void *arg)
{
	struct program *g = arg;
	struct sluice_squeue *sq = sluice_squeue(g->stack.st, rte_lcore_index(-1));
	enum sluice_idle idle = app_idle(&g->o.app, sluice_squeue_id(sq));
	struct timespec pause = {.tv_nsec = (long)SLUICE_MS(5)};
	int rc;

	/* Parked (lcores = N): nothing to do here until it runs again. */
	while ((rc = sluice_squeue_run(sq, idle, &app_stop, app_clock)) > 0)
		while (__atomic_load_n(&app_stop, __ATOMIC_ACQUIRE) == 0 &&
		       sluice_squeue_state(sq) == SLUICE_SQUEUE_PARKED)
			nanosleep(&pause, NULL);
	sluice_squeue_release(sq);
	if (rc < 0)
		app_end();
	return rc;
}

/* All lcores, from start to end. */
static int run_all(struct program *g)
{
	unsigned int lcore;
	pthread_t thread;
	int rc = app_control_thread(&thread, control, g), one;

	if (rc != 0)
		return -rc;
	rte_eal_mp_remote_launch(run_squeue, g, SKIP_MAIN);
	rc = run_squeue(g);
	RTE_LCORE_FOREACH_WORKER (lcore) {
		one = rte_eal_wait_lcore(lcore);
		rc = rc < 0 ? rc : one;
	}
	control_ends(g);
	app_end();
	pthread_join(thread, NULL);
	return rc < 0 ? rc : g->rc;
}

int main(int argc, char **argv)
{
	static struct program g = {.good = -1, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct sluice_tunables tunables;
	struct app_args a;
	sigset_t set;
	int rc;

	app_name = "sluice-proxy";
	app_args_split(argc, argv, &a);
	if (a.help || a.none) {
		usage(a.help ? stdout : stderr, a.help);
		return a.help ? 0 : APP_EXIT_USAGE;
	}
	if (parse_options(&g.o, &tunables, a.argc, a.argv) != 0) {
		usage(stderr, false);
		return APP_EXIT_USAGE;
	}
	if (open_log(&g) != 0)
		return APP_EXIT_FAIL;
	/* Signals go to the control thread alone: blocked before the EAL makes threads, which
	 * inherit that. */
	control_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (app_eal_init(&a) != 0)
		return APP_EXIT_FAIL;
	rc = set_up(&g, &tunables);
	if (rc == 0) {
		rc = run_all(&g);
		print_counters(&g, false);
	}
	for (unsigned int i = 0; i < g.proxy.n; i++)
		g.proxy.of[i].stopped = true;
	app_mirror_close(&g.mirror);
	if (g.stack.st != NULL && app_stack_down(&g.stack) != 0)
		rc = -EBUSY;
	proxy_fini(&g.proxy);
	if (g.log != NULL && g.log != stdout)
		fclose(g.log);
	rte_eal_cleanup();
	return rc == 0 ? 0 : APP_EXIT_FAIL;
}
