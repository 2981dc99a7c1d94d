/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sluice-httpd: serves a directory over HTTP. The main lcore runs the one squeue to completion
 * (http.c is what runs on it); a control thread waits for signals: SIGHUP reloads the configuration
 * file, SIGINT and SIGTERM stop, and between them it prints statistics. Only this thread changes
 * the stack while it runs.
 */
#include "httpd.h"
#include "../common/app.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_dev.h>
#include <rte_bus.h>

#define MAX_WORDS 64
#define MAX_LISTENERS 64

struct options {
	const char *root, *config;
	const char *addr[MAX_WORDS], *route[MAX_WORDS][2], *tunable[MAX_WORDS];
	unsigned int naddr, nroute, ntunable;
	uint16_t port[MAX_WORDS]; /* to listen on */
	unsigned int nport;
	uint64_t port_id, connections, mbufs, rxd, txd, mtu, stats, timeout;
	enum sluice_idle idle;
	int zero_copy; /* -1: on virtual devices */
	bool offload;
};

/** A listener that is open, by the name and address under which the configuration knows it. */
struct listener {
	char key[96];
	sluice_conn_t c;
};

struct program {
	struct options o;
	struct app_stack stack;
	struct httpd h;
	struct listener listener[MAX_LISTENERS];
	unsigned int nlisteners;
};

static void usage(FILE *f, bool full)
{
	fprintf(f, "usage: sluice-httpd [EAL options] -- --addr A/LEN --root DIR [options]\n");
	if (!full) {
		fprintf(f, "       sluice-httpd --help tells them all\n");
		return;
	}
	fprintf(f,
	    "\nServes a directory over HTTP/1.1, on one lcore of a DPDK port. Own options:\n"
	    "  --root DIR           what to serve (default: .); replace files by rename, never in "
	    "place\n"
	    "  --addr A/LEN         address of the port, IPv4 or IPv6; may be repeated\n"
	    "  --route PREFIX via GW  route; may be repeated (\"--route 0.0.0.0/0 via "
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
	    "  --idle spin|yield|sleep  what an idle lcore does (default: sleep)\n"
	    "  --stats SECS         print a line this often (default: 0, never)\n"
	    "  --tunable NAME=VALUE set a tunable of the stack; may be repeated\n"
	    "  --verbose            show the stack's log down to debug level\n"
	    "  --help               this text\n"
	    "\nExample, on a network interface of Linux by AF_PACKET:\n"
	    "  sluice-httpd --no-huge --no-pci -m 256 --vdev net_af_packet0,iface=veth1 -- --addr "
	    "10.0.0.2/24 --root /srv\n");
}

enum {
	OPT_ROOT = 1,
	OPT_ADDR,
	OPT_ROUTE,
	OPT_LISTEN,
	OPT_CONFIG,
	OPT_PORT_ID,
	OPT_RXD,
	OPT_TXD,
	OPT_MTU,
	OPT_OFFLOAD,
	OPT_CONNECTIONS,
	OPT_MBUFS,
	OPT_TIMEOUT,
	OPT_ZERO_COPY,
	OPT_IDLE,
	OPT_STATS,
	OPT_TUNABLE,
	OPT_VERBOSE
};

static const struct option longopts[] = {
    {"root", required_argument, NULL, OPT_ROOT},
    {"addr", required_argument, NULL, OPT_ADDR},
    {"route", required_argument, NULL, OPT_ROUTE},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"config", required_argument, NULL, OPT_CONFIG},
    {"port-id", required_argument, NULL, OPT_PORT_ID},
    {"rxd", required_argument, NULL, OPT_RXD},
    {"txd", required_argument, NULL, OPT_TXD},
    {"mtu", required_argument, NULL, OPT_MTU},
    {"offload", required_argument, NULL, OPT_OFFLOAD},
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"mbufs", required_argument, NULL, OPT_MBUFS},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"zero-copy", required_argument, NULL, OPT_ZERO_COPY},
    {"idle", required_argument, NULL, OPT_IDLE},
    {"stats", required_argument, NULL, OPT_STATS},
    {"tunable", required_argument, NULL, OPT_TUNABLE},
    {"verbose", no_argument, NULL, OPT_VERBOSE},
    {NULL, 0, NULL, 0},
};

static int parse_idle(const char *text, enum sluice_idle *idle)
{
	static const char *const name[] = {"spin", "yield", "sleep"};

	for (unsigned int i = 0; i < 3; i++)
		if (strcmp(text, name[i]) == 0) {
			*idle = (enum sluice_idle)i;
			return 0;
		}
	return -EINVAL;
}

static int push_word(const char **list, unsigned int *n, const char *word)
{
	if (*n == MAX_WORDS)
		return -ENOSPC;
	list[(*n)++] = word;
	return 0;
}

/** "PREFIX via GW": one word of the shell, or three. */
static int parse_route(struct options *o, char *word, int argc, char **argv)
{
	struct sockaddr_storage prefix, via;
	unsigned int len;
	char *gw = strstr(word, " via ");

	if (o->nroute == MAX_WORDS)
		return -ENOSPC;
	if (gw != NULL) {
		*gw = '\0';
		gw += 5;
	} else if (optind + 1 < argc && strcmp(argv[optind], "via") == 0) {
		gw = argv[optind + 1];
		optind += 2;
	}
	if (gw == NULL || app_parse_prefix(word, &prefix, &len) != 0 ||
	    app_parse_addr(gw, 0, &via) != 0 || prefix.ss_family != via.ss_family)
		return -EINVAL;
	o->route[o->nroute][0] = word;
	o->route[o->nroute++][1] = gw;
	return 0;
}

static int parse_option(struct options *o, int opt, char *arg, int argc, char **argv)
{
	struct sockaddr_storage ss;
	unsigned int len;
	uint64_t v;
	bool on;
	int rc;

	switch (opt) {
	case OPT_ROOT:
		o->root = arg;
		return 0;
	case OPT_ADDR:
		rc = app_parse_prefix(arg, &ss, &len);
		return rc != 0 ? rc : push_word(o->addr, &o->naddr, arg);
	case OPT_ROUTE:
		return parse_route(o, arg, argc, argv);
	case OPT_LISTEN:
		rc = app_parse_u64(arg, 1, 65535, &v);
		if (rc == 0 && o->nport == MAX_WORDS)
			rc = -ENOSPC;
		if (rc == 0)
			o->port[o->nport++] = (uint16_t)v;
		return rc;
	case OPT_CONFIG:
		o->config = arg;
		return 0;
	case OPT_PORT_ID:
		return app_parse_u64(arg, 0, RTE_MAX_ETHPORTS - 1, &o->port_id);
	case OPT_RXD:
		return app_parse_u64(arg, 64, 32768, &o->rxd);
	case OPT_TXD:
		return app_parse_u64(arg, 64, 32768, &o->txd);
	case OPT_MTU:
		return app_parse_u64(arg, 576, 9600, &o->mtu);
	case OPT_OFFLOAD:
		return app_parse_bool(arg, &o->offload);
	case OPT_CONNECTIONS:
		return app_parse_u64(arg, 16, (1 << 24) - 1, &o->connections);
	case OPT_MBUFS:
		return app_parse_size(arg, 1 << 24, &o->mbufs);
	case OPT_TIMEOUT:
		return app_parse_time(arg, &o->timeout);
	case OPT_ZERO_COPY:
		rc = app_parse_bool(arg, &on);
		if (rc == 0)
			o->zero_copy = on;
		return rc;
	case OPT_IDLE:
		return parse_idle(arg, &o->idle);
	case OPT_STATS:
		return app_parse_u64(arg, 0, 86400, &o->stats);
	case OPT_TUNABLE:
		return push_word(o->tunable, &o->ntunable, arg);
	case OPT_VERBOSE:
		app_log_level = 7;
		return 0;
	default:
		return -EINVAL;
	}
}

/** Own options into *o, tunables into *t. 0, or -EINVAL after a message. */
static int parse_options(struct options *o, struct sluice_tunables *t, int argc, char **argv)
{
	char err[200];
	int opt, index = 0, rc;

	*o = (struct options){.root = ".",
	    .connections = 65536,
	    .mbufs = 16384,
	    .timeout = SLUICE_SEC(60),
	    .idle = SLUICE_IDLE_SLEEP,
	    .zero_copy = -1,
	    .offload = true};
	optind = 1;
	while ((opt = getopt_long(argc, argv, "", longopts, &index)) != -1) {
		if (opt == '?')
			return -EINVAL; /* getopt has said what */
		rc = parse_option(o, opt, optarg, argc, argv);
		if (rc != 0) {
			app_err("--%s %s: %s", longopts[index].name, optarg,
			    rc == -ENOSPC   ? "given too often"
			    : rc == -ERANGE ? "out of range"
					    : "not understood");
			return -EINVAL;
		}
	}
	if (optind < argc) {
		app_err("\"%s\" is no option", argv[optind]);
		return -EINVAL;
	}
	if (o->config != NULL && (o->naddr != 0 || o->nroute != 0 || o->nport != 0)) {
		app_err("--config replaces --addr, --route and --listen");
		return -EINVAL;
	}
	if (o->config == NULL && o->naddr == 0) {
		app_err("an address is needed: --addr A/LEN, or --config FILE");
		return -EINVAL;
	}
	sluice_tunables_default(t);
	for (unsigned int i = 0; i < o->ntunable; i++)
		if (app_tunable_set(t, o->tunable[i], err, sizeof(err)) != 0) {
			app_err("%s", err);
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
	rc = httpd_listen(&p->h, ss->ss_family, (const struct sockaddr *)ss, app_addr_len(ss), vrf,
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
		sluice_close(p->h.st, p->listener[i].c);
		p->listener[i] = p->listener[--p->nlisteners];
		return 0;
	}
	return -ENOENT;
}

static int load_config(struct program *p)
{
	char err[256] = "";
	int rc = sluice_config_load(p->h.st, p->o.config, err, sizeof(err), on_ini_listener, p);

	if (rc != 0)
		app_err("%s", err[0] != '\0' ? err : strerror(-rc));
	return rc;
}

/** Addresses, routes and listeners of the command line. */
static int configure(struct program *p, unsigned int port)
{
	struct app_net net = {
	    .ifname = "net0", .port = port, .addr = p->o.addr, .naddr = p->o.naddr};
	const char *any = "0.0.0.0";
	int rc;

	for (unsigned int i = 0; i < p->o.nroute && i < RTE_DIM(net.route); i++) {
		net.route[i] = (struct app_route){p->o.route[i][0], p->o.route[i][1]};
		net.nroute++;
	}
	rc = app_net_up(&p->stack, &net);
	for (unsigned int i = 0; i < p->o.naddr; i++)
		if (strchr(p->o.addr[i], ':') != NULL)
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

	for (size_t i = 0; i < sizeof(s) / sizeof(uint64_t); i++)
		((uint64_t *)&s)[i] =
		    __atomic_load_n((uint64_t *)&p->h.stats + i, __ATOMIC_RELAXED);
	sluice_counters_sum(p->h.st, &c);
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
	struct timespec period = {.tv_sec = p->o.stats != 0 ? (time_t)p->o.stats : 3600};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	while (!app_stop) {
		int sig = sigtimedwait(&set, NULL, &period);

		if (sig == SIGINT || sig == SIGTERM)
			app_stop = 1;
		else if (sig == SIGHUP && p->o.config == NULL)
			app_err("SIGHUP: there is no --config to reload");
		else if (sig == SIGHUP && load_config(p) == 0)
			app_err("%s reloaded", p->o.config);
		else if (sig < 0 && errno == EAGAIN && p->o.stats != 0)
			print_stats(p, &last, (double)p->o.stats);
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

static int set_up(struct program *p, const struct sluice_tunables *t)
{
	struct app_stack_params sp = {.name = "httpd",
	    .nsqueues = 1,
	    .max_connections = (uint32_t)p->o.connections,
	    .mbufs = (unsigned int)p->o.mbufs,
	    .tunables = t};
	struct sluice_ethdev_params ep = {.size = sizeof(ep),
	    .port_id = (uint16_t)p->o.port_id,
	    .nqueues = 1,
	    .rxd = (uint16_t)p->o.rxd,
	    .txd = (uint16_t)p->o.txd,
	    .mtu = (uint16_t)p->o.mtu,
	    .no_offload = !p->o.offload};
	struct sluice_app app = httpd_app(&p->h);
	int port, rc = app_stack_up(&sp, &p->stack);

	if (rc != 0)
		return rc;
	p->h.st = p->stack.st;
	p->h.pool = p->stack.data_pool;
	p->h.timeout = p->o.timeout;
	port = app_ethdev_add(&p->stack, &ep);
	if (port < 0)
		return port;
	p->h.zero_copy = p->o.zero_copy >= 0 ? p->o.zero_copy : is_virtual(ep.port_id);
	rc = sluice_app_register(p->h.st, &app);
	if (rc != 0) {
		app_err("application: %s", strerror(-rc));
		return rc;
	}
	return p->o.config != NULL ? load_config(p) : configure(p, (unsigned int)port);
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
	rc = httpd_init(&p.h, p.o.root);
	if (rc != 0) {
		app_err("--root %s: %s", p.o.root, strerror(-rc));
		return APP_EXIT_FAIL;
	}
	block_signals();
	if (app_eal_init(&a) != 0)
		return APP_EXIT_FAIL;
	rc = set_up(&p, &tunables);
	if (rc == 0)
		rc = pthread_create(&thread, NULL, control, &p);
	if (rc == 0) {
		printf("sluice-httpd: serving %s\n", p.o.root);
		fflush(stdout);
		rc = sluice_squeue_run(sluice_squeue(p.h.st, 0), p.o.idle, &app_stop, app_clock);
		app_stop = 1;
		pthread_kill(thread, SIGTERM);
		pthread_join(thread, NULL);
		sluice_squeue_release(sluice_squeue(p.h.st, 0));
	}
	if (p.stack.st != NULL && app_stack_down(&p.stack) != 0)
		rc = -EBUSY;
	httpd_fini(&p.h);
	rte_eal_cleanup();
	return rc == 0 ? 0 : APP_EXIT_FAIL;
}
