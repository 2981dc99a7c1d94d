/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sluice-httpd: serves a directory over HTTP. The main lcore runs the one squeue to completion
 * (http.c is what runs on it); a control thread waits for signals: SIGHUP reloads the configuration
 * file, SIGINT and SIGTERM stop, and between them it prints statistics. Only this thread changes
 * the stack while it runs.
 */
#include "httpd.h"
#include "../common/options.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_dev.h>
#include <rte_bus.h>

#define MAX_LISTENERS 64
#define MAX_LCORES 64u

struct options {
	struct app_options app;
	const char *root;
	uint16_t port[MAX_LISTENERS]; /* to listen on */
	unsigned int nport;
	uint64_t port_id, stats, timeout;
	int zero_copy; /* -1: on virtual devices */
};

/** A listener that is open, by the name and address under which the configuration knows it. */
struct listener {
	char key[96];
	sluice_conn_t c;
};

struct program {
	struct options o;
	struct app_stack stack;
	struct httpd h[MAX_LCORES]; /* of each squeue; it begins at the first */
	unsigned int nh;
	struct listener listener[MAX_LISTENERS];
	unsigned int nlisteners;
	struct app_kernel kernel;
	struct app_mirror mirror;
};

static void usage(FILE *f, bool full)
{
	fprintf(f, "usage: sluice-httpd [EAL options] -- --addr A/LEN --root DIR [options]\n");
	if (!full) {
		fprintf(f, "       sluice-httpd --help tells them all\n");
		return;
	}
	fprintf(f,
	    "\nServes a directory over HTTP/1.1, on each lcore that the EAL has. Own options:\n"
	    "  --root DIR           what to serve (default: .); replace files by rename, never in "
	    "place\n"
	    "  --addr A/LEN         address of the port, IPv4 or IPv6; up to 64 times\n"
	    "  --route PREFIX via GW  route; up to 16 times (\"--route 0.0.0.0/0 via "
	    "10.0.0.254\")\n"
	    "  --listen PORT        TCP port, on all addresses (default: 80); may be repeated\n"
	    "  --config FILE        addresses, routes, listeners, tunables from an ini file "
	    "instead; SIGHUP reloads it\n"
	    "  --port-id N          DPDK port (default: 0)\n"
	    "  --rxd N, --txd N     descriptors of its queues (default: 1024)\n"
	    "  --mtu N              MTU to set (default: the port's)\n"
	    "  --offload on|off     use the port's checksum and segmentation offloads (default: "
	    "on)\n"
	    "  --connections N      most connections at once (default: 65536)\n"
	    "  --mbufs N            buffers for data; headers get twice as many (default: 16384)\n"
	    "  --timeout TIME       close connections without progress after this (default: 60s)\n"
	    "  --zero-copy on|off   send mapped files by reference (default: on for virtual "
	    "devices, which need no DMA\n"
	    "                       mapping of file memory)\n"
	    "  --idle POLICY[,...]  what an idle lcore does: spin, yield or sleep; for the first "
	    "lcore, the\n"
	    "                       second, and so on, the last also for the rest (default: "
	    "sleep)\n"
	    "  --stats SECS         print a line this often (default: 0, never)\n"
	    "  --tunable NAME=VALUE set a tunable of the stack; may be "
	    "repeated\n" APP_OPT_KERNEL_HELP("TCP to the --listen ports") APP_OPT_MIRROR_HELP
	    "  --force              take also a port over the interface of the default route\n"
	    "  --verbose            show the stack's log down to debug level\n"
	    "  --help               this text\n"
	    "\nExample, on a network interface of Linux by AF_PACKET:\n"
	    "  sluice-httpd --no-huge --no-pci -m 256 --vdev net_af_packet0,iface=veth1 -- --addr "
	    "10.0.0.2/24 --root /srv\n");
}

enum {
	OPT_ROOT = APP_OPT_OWN,
	OPT_LISTEN,
	OPT_PORT_ID,
	OPT_TIMEOUT,
	OPT_ZERO_COPY,
	OPT_STATS
};

static const struct option longopts[] = {
    APP_OPT_ROWS,
    {"root", required_argument, NULL, OPT_ROOT},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"port-id", required_argument, NULL, OPT_PORT_ID},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"zero-copy", required_argument, NULL, OPT_ZERO_COPY},
    {"stats", required_argument, NULL, OPT_STATS},
    {NULL, 0, NULL, 0},
};

static int parse_own(void *arg, int opt, const char *text)
{
	struct options *o = arg;
	uint64_t v;
	bool on;
	int rc;

	switch (opt) {
	case OPT_ROOT:
		o->root = text;
		return 0;
	case OPT_LISTEN:
		rc = app_parse_u64(text, 1, 65535, &v);
		if (rc == 0 && o->nport == MAX_LISTENERS)
			rc = -ENOSPC;
		if (rc == 0)
			o->port[o->nport++] = (uint16_t)v;
		return rc;
	case OPT_PORT_ID:
		return app_parse_u64(text, 0, RTE_MAX_ETHPORTS - 1, &o->port_id);
	case OPT_TIMEOUT:
		return app_parse_time(text, &o->timeout);
	case OPT_ZERO_COPY:
		rc = app_parse_bool(text, &on);
		if (rc == 0)
			o->zero_copy = on;
		return rc;
	default:
		return app_parse_u64(text, 0, 86400, &o->stats);
	}
}

/** Own options into *o, tunables into *t. 0, or -EINVAL after a message. */
static int parse_options(struct options *o, struct sluice_tunables *t, int argc, char **argv)
{
	struct app_options *a = &o->app;

	*o = (struct options){.app = {.connections = 65536, .mbufs = 16384, .offload = true},
	    .root = ".",
	    .timeout = SLUICE_SEC(60),
	    .zero_copy = -1};
	if (app_options_parse(a, t, argc, argv, longopts, parse_own, o) != 0)
		return -EINVAL;
	if (a->config != NULL && (a->naddr != 0 || a->nroute != 0 || o->nport != 0)) {
		app_err("--config replaces --addr, --route and --listen");
		return -EINVAL;
	}
	if (a->config == NULL && a->naddr == 0 && a->mirror == NULL) {
		app_err("an address is needed: --addr A/LEN, --mirror DEV, or --config FILE");
		return -EINVAL;
	}
	if (o->nport == 0)
		o->port[o->nport++] = 80;
	return 0;
}

/* ---- listeners ---- */

static int listener_open(struct program *p, const char *key, const struct sockaddr_storage *ss,
    uint32_t vrf, int backlog)
{
	struct listener *l = &p->listener[p->nlisteners];
	int rc;

	if (p->nlisteners == MAX_LISTENERS)
		return -ENOSPC;
	rc = httpd_listen(p->h, ss->ss_family, (const struct sockaddr *)ss, app_addr_len(ss), vrf,
	    backlog, &l->c);
	if (rc != 0) {
		app_err("listen on %s: %s", key, strerror(-rc));
		return rc;
	}
	snprintf(l->key, sizeof(l->key), "%s", key);
	p->nlisteners++;
	return 0;
}

/** A listener of the configuration file appears or goes. Connections that it accepted live on. */
static int on_ini_listener(void *arg, const struct sluice_ini_listener *il, bool add)
{
	struct program *p = arg;
	struct sockaddr_storage ss;
	char key[96];

	snprintf(key, sizeof(key), "%s %s port %u vrf %u", il->name != NULL ? il->name : "",
	    il->addr != NULL ? il->addr : "*", il->port, il->vrf);
	if (add) {
		if (app_parse_addr(il->addr != NULL && strcmp(il->addr, "*") != 0 ? il->addr : "::",
			il->port, &ss) != 0)
			return -EINVAL;
		return listener_open(p, key, &ss, il->vrf, il->backlog);
	}
	for (unsigned int i = 0; i < p->nlisteners; i++) {
		if (strcmp(p->listener[i].key, key) != 0)
			continue;
		sluice_close(p->h[0].st, p->listener[i].c);
		p->listener[i] = p->listener[--p->nlisteners];
		return 0;
	}
	return -ENOENT;
}

static int load_config(struct program *p)
{
	char err[256] = "";
	int rc =
	    sluice_config_load(p->h[0].st, p->o.app.config, err, sizeof(err), on_ini_listener, p);

	if (rc != 0)
		app_err("%s", err[0] != '\0' ? err : strerror(-rc));
	return rc;
}

/** Addresses, routes and listeners of the command line. */
static int configure(struct program *p, unsigned int port)
{
	const struct app_options *o = &p->o.app;
	struct app_net net = {.ifname = "net0",
	    .port = port,
	    .addr = o->addr,
	    .naddr = o->naddr,
	    .nroute = o->nroute};
	const char *any = "0.0.0.0";
	int rc;

	memcpy(net.route, o->route, sizeof(net.route));
	rc = app_net_up(&p->stack, &net);
	for (unsigned int i = 0; i < o->naddr; i++)
		if (strchr(o->addr[i], ':') != NULL)
			any = "::"; /* a listener of both families */
	for (unsigned int i = 0; i < p->o.nport && rc == 0; i++) {
		struct sockaddr_storage ss;
		char key[64];

		app_parse_addr(any, p->o.port[i], &ss);
		snprintf(key, sizeof(key), "%s port %u", any, p->o.port[i]);
		rc = listener_open(p, key, &ss, 0, 4096);
	}
	return rc;
}

/* ---- the control thread ---- */

static void print_stats(struct program *p, struct httpd_stats *last, double secs)
{
	struct httpd_stats s;
	struct sluice_counters c;

	memset(&s, 0, sizeof(s));
	for (unsigned int k = 0; k < p->nh; k++)
		for (size_t i = 0; i < sizeof(s) / sizeof(uint64_t); i++)
			((uint64_t *)&s)[i] +=
			    __atomic_load_n((uint64_t *)&p->h[k].stats + i, __ATOMIC_RELAXED);
	sluice_counters_sum(p->h[0].st, &c);
	printf("open %llu  conn/s %.0f  req/s %.0f  Gbit/s %.2f  errors %llu  retrans %llu  nomem "
	       "%llu\n",
	    (unsigned long long)s.open, (double)(s.conns - last->conns) / secs,
	    (double)(s.requests - last->requests) / secs,
	    (double)(s.bytes - last->bytes) * 8e-9 / secs, (unsigned long long)s.errors,
	    (unsigned long long)c.tcp_retrans_segs, (unsigned long long)c.port_tx_nomem);
	fflush(stdout);
	*last = s;
}

static void *control(void *arg)
{
	struct program *p = arg;
	struct httpd_stats last = {0};
	struct timespec period = {.tv_nsec = 500000000};
	uint64_t next = app_now() + SLUICE_SEC(p->o.stats);
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	while (!app_stop) {
		int sig = sigtimedwait(&set, NULL, &period);

		if (sig == SIGINT || sig == SIGTERM)
			app_end();
		else if (sig == SIGHUP && p->o.app.config == NULL)
			app_err("SIGHUP: there is no --config to reload");
		else if (sig == SIGHUP && load_config(p) == 0)
			app_err("%s reloaded", p->o.app.config);
		else if (p->o.stats != 0 && app_now() >= next) {
			print_stats(p, &last, (double)p->o.stats);
			next += SLUICE_SEC(p->o.stats);
		}
		app_ports_serve(p->h[0].st);
		app_mirror_serve(&p->mirror);
	}
	return NULL;
}

/** Signals go to the control thread alone: blocked before the EAL makes threads, which inherit
 * that. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/** Memory of files is not mapped for DMA: only devices without hardware may get it by reference. */
static bool is_virtual(uint16_t port_id)
{
	struct rte_eth_dev_info info;

	return rte_eth_dev_info_get(port_id, &info) == 0 && info.device != NULL &&
	       strcmp(rte_bus_name(rte_dev_bus(info.device)), "vdev") == 0;
}

/* The application of each squeue. */
static int set_up_each(struct program *p, bool zero_copy)
{
	for (unsigned int i = 0; i < rte_lcore_count(); i++) {
		int rc = i == 0 ? 0 : httpd_init(&p->h[i], p->o.root);

		if (rc != 0) {
			app_err("--root %s: %s", p->o.root, strerror(-rc));
			return rc;
		}
		p->nh = i + 1;
		p->h[i].st = p->stack.st;
		p->h[i].pool = p->stack.data_pool;
		p->h[i].timeout = p->o.timeout;
		p->h[i].zero_copy = zero_copy;
	}
	return 0;
}

static int set_up(struct program *p, const struct sluice_tunables *t)
{
	struct app_stack_params sp = {.name = "httpd",
	    .nsqueues = rte_lcore_count(),
	    .max_connections = (uint32_t)p->o.app.connections,
	    .mbufs = (unsigned int)p->o.app.mbufs,
	    .tunables = t};
	struct sluice_ethdev_params ep = {.size = sizeof(ep),
	    .port_id = (uint16_t)p->o.port_id,
	    .nqueues = app_port_queues((uint16_t)p->o.port_id, rte_lcore_count()),
	    .rxd = (uint16_t)p->o.app.rxd,
	    .txd = (uint16_t)p->o.app.txd,
	    .mtu = (uint16_t)p->o.app.mtu,
	    .no_offload = !p->o.app.offload,
	    .rx_intr = app_idle_sleeps(&p->o.app)};
	struct sluice_app app = httpd_app(p->h);
	int port, rc = app_stack_up(&sp, &p->stack);

	if (rc != 0)
		return rc;
	rc = app_options_kernel(&p->o.app, p->o.port, p->o.nport, &p->kernel);
	if (rc != 0)
		return rc;
	port = app_ethdev_share(&p->stack, &ep, &p->kernel);
	if (port < 0)
		return port;
	app_numa_warn_all(ep.port_id);
	rc = set_up_each(p, p->o.zero_copy >= 0 ? p->o.zero_copy : is_virtual(ep.port_id));
	if (rc != 0)
		return rc;
	rc = sluice_app_register(p->h[0].st, &app);
	if (rc != 0) {
		app_err("application: %s", strerror(-rc));
		return rc;
	}
	rc = p->o.app.config != NULL ? load_config(p) : configure(p, (unsigned int)port);
	return rc == 0 ? app_mirror_open(&p->mirror, p->h[0].st, p->o.app.mirror) : rc;
}

/* An lcore: its squeue, until the control thread ends all of them. */
static int run_squeue(void *arg)
{
	struct program *p = arg;
	struct sluice_squeue *sq = sluice_squeue(p->stack.st, (unsigned int)rte_lcore_index(-1));
	int rc =
	    sluice_squeue_run(sq, app_idle(&p->o.app, sluice_squeue_id(sq)), &app_stop, app_clock);

	app_end();
	sluice_squeue_release(sq);
	return rc;
}

static int run_all(struct program *p)
{
	unsigned int lcore;
	int rc, one;

	rte_eal_mp_remote_launch(run_squeue, p, SKIP_MAIN);
	rc = run_squeue(p);
	RTE_LCORE_FOREACH_WORKER (lcore) {
		one = rte_eal_wait_lcore(lcore);
		rc = rc < 0 ? rc : one;
	}
	return rc;
}

int main(int argc, char **argv)
{
	static struct program p;
	struct sluice_tunables tunables;
	struct app_args a;
	pthread_t thread;
	int rc;

	app_name = "sluice-httpd";
	app_args_split(argc, argv, &a);
	if (a.help || a.none) {
		usage(a.help ? stdout : stderr, a.help);
		return a.help ? 0 : APP_EXIT_USAGE;
	}
	if (parse_options(&p.o, &tunables, a.argc, a.argv) != 0) {
		usage(stderr, false);
		return APP_EXIT_USAGE;
	}
	rc = httpd_init(&p.h[0], p.o.root);
	if (rc != 0) {
		app_err("--root %s: %s", p.o.root, strerror(-rc));
		return APP_EXIT_FAIL;
	}
	block_signals();
	if (app_eal_init(&a) != 0)
		return APP_EXIT_FAIL;
	if (rte_lcore_count() > MAX_LCORES) {
		app_err("%u lcores at most", MAX_LCORES);
		return APP_EXIT_FAIL;
	}
	rc = set_up(&p, &tunables);
	if (rc == 0)
		rc = app_control_thread(&thread, control, &p);
	if (rc == 0) {
		printf("sluice-httpd: serving %s\n", p.o.root);
		fflush(stdout);
		rc = run_all(&p);
		pthread_kill(thread, SIGTERM);
		pthread_join(thread, NULL);
	}
	app_mirror_close(&p.mirror);
	if (p.stack.st != NULL && app_stack_down(&p.stack) != 0)
		rc = -EBUSY;
	for (unsigned int i = 0; i < p.nh; i++)
		httpd_fini(&p.h[i]);
	rte_eal_cleanup();
	return rc == 0 ? 0 : APP_EXIT_FAIL;
}
