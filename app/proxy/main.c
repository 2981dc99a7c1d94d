/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sluice-proxy: the main lcore runs the one squeue and with it the whole proxy; a control thread
 * waits for signals, reads configuration files, and writes the access log. What it wants of the
 * proxy goes to the squeue as an operation.
 *
 * SIGHUP reads the configuration again, SIGUSR1 prints counters, SIGTERM drains and ends, a second
 * one ends at once.
 */
#include "proxy.h"
#include "../common/app.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_telemetry.h>

#define MAX_WORDS 64
#define MAX_PORTS 2
#define DUMP_LEN (256u << 10)

struct options {
	const char *config, *log;
	const char *addr[MAX_WORDS], *route[MAX_WORDS][2], *tunable[MAX_WORDS];
	unsigned int naddr, nroute, ntunable;
	uint64_t port_id[MAX_PORTS];
	unsigned int nports;
	uint64_t connections, mbufs, rx_mbufs, rxd, txd, mtu;
	enum sluice_idle idle;
	bool offload;
};

enum op {
	OP_APPLY,
	OP_DRAIN,
	OP_STOP,
	OP_DUMP,
	NOPS
};

struct program {
	struct options o;
	struct app_stack stack;
	struct proxy proxy;
	int tag[NOPS];
	int good;  /* memory file with the configuration that holds, -1: none */
	FILE *log; /* NULL: none */
	int rc;
};

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
	    "\nRelays TCP from listeners to backends, on one lcore. Own options:\n"
	    "  --config FILE        listeners, pools, backends; SIGHUP reads it again. It may also "
	    "have the stack's own\n"
	    "                       sections (interfaces, routes, tunables); else:\n"
	    "  --addr A/LEN         address of the (one) port, IPv4 or IPv6; up to 64 times\n"
	    "  --route PREFIX via GW  route, as one word or three; up to 16 times\n"
	    "  --port-id N          DPDK port (default: 0); twice for two ports\n"
	    "  --access-log FILE    a line for each session that ended, \"-\" for stdout "
	    "(default: none)\n"
	    "  --connections N      connections at once, 16..16777215 (default: 131072); each "
	    "session has two\n"
	    "  --rx-mbufs N         receive buffers of each port, up to 16777216 (default: 65536): "
	    "what is relayed is held in them\n"
	    "  --mbufs N            buffers for data, up to 16777216 (default: 16384); headers get "
	    "twice as many\n"
	    "  --rxd N, --txd N     descriptors of a port's queues, 64..32768 (default: 1024)\n"
	    "  --mtu N              MTU to set, 576..9600 (default: the port's)\n"
	    "  --offload on|off     use the port's checksum and segmentation offloads (default: "
	    "on)\n"
	    "  --idle spin|yield|sleep  what an idle lcore does (default: sleep)\n"
	    "  --tunable NAME=VALUE set a tunable of the stack; up to 64 times; a file with the "
	    "stack's sections sets them all\n"
	    "  --verbose            show the stack's log down to debug level\n"
	    "  --help               this text\n"
	    "\nSections of the configuration file and their entries:\n");
	config_help(help_line, f);
	fprintf(f,
	    "\nSIGHUP reads the file again, SIGUSR1 prints counters, SIGTERM drains and ends; a "
	    "second one ends at once.\n");
}

enum {
	OPT_CONFIG = 1,
	OPT_ADDR,
	OPT_ROUTE,
	OPT_PORT_ID,
	OPT_ACCESS_LOG,
	OPT_CONNECTIONS,
	OPT_RX_MBUFS,
	OPT_MBUFS,
	OPT_RXD,
	OPT_TXD,
	OPT_MTU,
	OPT_OFFLOAD,
	OPT_IDLE,
	OPT_TUNABLE,
	OPT_VERBOSE
};

static const struct option longopts[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"addr", required_argument, NULL, OPT_ADDR},
    {"route", required_argument, NULL, OPT_ROUTE},
    {"port-id", required_argument, NULL, OPT_PORT_ID},
    {"access-log", required_argument, NULL, OPT_ACCESS_LOG},
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"rx-mbufs", required_argument, NULL, OPT_RX_MBUFS},
    {"mbufs", required_argument, NULL, OPT_MBUFS},
    {"rxd", required_argument, NULL, OPT_RXD},
    {"txd", required_argument, NULL, OPT_TXD},
    {"mtu", required_argument, NULL, OPT_MTU},
    {"offload", required_argument, NULL, OPT_OFFLOAD},
    {"idle", required_argument, NULL, OPT_IDLE},
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

	if (o->nroute == RTE_DIM(((struct app_net *)NULL)->route))
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
	int rc;

	switch (opt) {
	case OPT_CONFIG:
		o->config = arg;
		return 0;
	case OPT_ADDR:
		rc = app_parse_prefix(arg, &ss, &len);
		return rc != 0 ? rc : push_word(o->addr, &o->naddr, arg);
	case OPT_ROUTE:
		return parse_route(o, arg, argc, argv);
	case OPT_PORT_ID:
		if (o->nports == MAX_PORTS)
			return -ENOSPC;
		return app_parse_u64(arg, 0, RTE_MAX_ETHPORTS - 1, &o->port_id[o->nports++]);
	case OPT_ACCESS_LOG:
		o->log = arg;
		return 0;
	case OPT_CONNECTIONS:
		return app_parse_u64(arg, 16, (1 << 24) - 1, &o->connections);
	case OPT_RX_MBUFS:
		return app_parse_size(arg, 1 << 24, &o->rx_mbufs);
	case OPT_MBUFS:
		return app_parse_size(arg, 1 << 24, &o->mbufs);
	case OPT_RXD:
		return app_parse_u64(arg, 64, 32768, &o->rxd);
	case OPT_TXD:
		return app_parse_u64(arg, 64, 32768, &o->txd);
	case OPT_MTU:
		return app_parse_u64(arg, 576, 9600, &o->mtu);
	case OPT_OFFLOAD:
		return app_parse_bool(arg, &o->offload);
	case OPT_IDLE:
		return parse_idle(arg, &o->idle);
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

	*o = (struct options){.connections = 131072,
	    .mbufs = 16384,
	    .rx_mbufs = 65536,
	    .idle = SLUICE_IDLE_SLEEP,
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
	if (o->config == NULL) {
		app_err("--config FILE is needed");
		return -EINVAL;
	}
	if (o->nports == 0)
		o->nports = 1;
	sluice_tunables_default(t);
	for (unsigned int i = 0; i < o->ntunable; i++)
		if (app_tunable_set(t, o->tunable[i], err, sizeof(err)) != 0) {
			app_err("%s", err);
			return -EINVAL;
		}
	return 0;
}

/* ---- operations: the control thread's wishes, on the squeue ---- */

static int64_t do_apply(
    struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *a, void *arg)
{
	struct program *g = arg;

	return proxy_apply(&g->proxy, (const struct config *)(uintptr_t)a->a[0],
	    (char *)(uintptr_t)a->a[1], a->a[2]);
}

static int64_t do_drain(
    struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *a, void *arg)
{
	proxy_drain(&((struct program *)arg)->proxy);
	return 0;
}

static int64_t do_stop(
    struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *a, void *arg)
{
	proxy_stop(&((struct program *)arg)->proxy);
	return 0;
}

static int64_t do_dump(
    struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *a, void *arg)
{
	struct program *g = arg;

	return (int64_t)proxy_dump(&g->proxy, (char *)(uintptr_t)a->a[0], a->a[1]);
}

static const struct {
	const char *name;
	sluice_op_fn fn;
} ops[NOPS] = {
    [OP_APPLY] = {"proxy_apply", do_apply},
    [OP_DRAIN] = {"proxy_drain", do_drain},
    [OP_STOP] = {"proxy_stop", do_stop},
    [OP_DUMP] = {"proxy_dump", do_dump},
};

static int64_t call(struct program *g, enum op op, uint64_t a0, uint64_t a1, uint64_t a2)
{
	struct sluice_args args = {{a0, a1, a2}};

	return sluice_synch_call(g->stack.st, 0, g->tag[op], SLUICE_CONN_NONE, &args);
}

/* ---- configuration ---- */

/* The file as it is now, in a file in memory, so that the proxy and the stack read the same one.
 * Returns its descriptor and its text, or -errno. */
static int read_file(const char *path, char **text, size_t *len)
{
	int in = open(path, O_RDONLY | O_CLOEXEC), out = -1, rc = 0;
	size_t n = 0;
	ssize_t got;
	char *p;

	if (in < 0)
		return -errno;
	p = malloc(CONFIG_MAX_BYTES);
	if (p == NULL)
		rc = -ENOMEM;
	while (rc == 0 && (got = read(in, p + n, CONFIG_MAX_BYTES - n)) != 0) {
		if (got < 0)
			rc = -errno;
		else if ((n += (size_t)got) == CONFIG_MAX_BYTES)
			rc = -EFBIG;
	}
	close(in);
	if (rc == 0) {
		out = memfd_create("sluice-proxy", MFD_CLOEXEC);
		if (out < 0 || write(out, p, n) != (ssize_t)n)
			rc = -errno;
	}
	if (rc != 0) {
		if (out >= 0)
			close(out);
		free(p);
		return rc;
	}
	*text = p;
	*len = n;
	return out;
}

/* Give the stack its sections. */
static int load_stack(struct program *g, int fd, const char *name)
{
	char path[32], err[256] = "";
	int rc;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rc = sluice_config_load(g->stack.st, path, err, sizeof(err), NULL, NULL);
	if (rc != 0) /* the name that people know instead of the one that was read */
		app_err("%s%s", name,
		    strncmp(err, path, strlen(path)) == 0 ? err + strlen(path) : strerror(-rc));
	return rc;
}

static int apply(struct program *g, const struct config *c, int fd)
{
	char err[256] = "";
	int rc = 0;

	if (c->has_stack && g->o.naddr != 0) {
		app_err("%s:0: has sections of the stack, and so --addr and --route have no place",
		    g->o.config);
		return -EINVAL;
	}
	if (c->has_stack)
		rc = load_stack(g, fd, g->o.config);
	if (rc != 0)
		return rc;
	rc = (int)call(g, OP_APPLY, (uintptr_t)c, (uintptr_t)err, sizeof(err));
	if (rc != 0) {
		app_err("%s:%s", g->o.config, err[0] != '\0' ? err : strerror(-rc));
		if (c->has_stack && g->good >= 0)
			(void)load_stack(g, g->good, "the former configuration");
	}
	return rc;
}

/* All of the file, or nothing of it. 0 or -errno after a message. */
static int load_config(struct program *g)
{
	char err[256], *text = NULL;
	struct config *c = NULL;
	size_t len = 0;
	int fd = read_file(g->o.config, &text, &len), rc;

	if (fd < 0) {
		app_err("%s:0: %s", g->o.config, strerror(-fd));
		return fd;
	}
	rc = config_parse(text, len, g->o.config, &c, err, sizeof(err));
	free(text);
	if (rc != 0)
		app_err("%s", err);
	else
		rc = apply(g, c, fd);
	config_free(c);
	if (rc != 0) {
		close(fd);
		return rc;
	}
	if (g->good >= 0)
		close(g->good);
	g->good = fd;
	return 0;
}

/* Addresses and routes of the command line. */
static int configure(struct program *g)
{
	struct app_net net = {.ifname = "net0", .addr = g->o.addr, .naddr = g->o.naddr};

	for (unsigned int i = 0; i < g->o.nroute; i++)
		net.route[net.nroute++] = (struct app_route){g->o.route[i][0], g->o.route[i][1]};
	return net.naddr == 0 ? 0 : app_net_up(&g->stack, &net);
}

/* ---- what is told ---- */

static void write_log(struct program *g)
{
	struct access_record r;
	char line[400], stamp[40];
	time_t t = time(NULL);
	struct tm tm;

	if (g->log == NULL)
		return;
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
	while (access_pop(&g->proxy.log, &r)) {
		access_line(&r, line, sizeof(line));
		fprintf(g->log, "%s %s", stamp, line);
	}
	fflush(g->log);
}

static const char *const counter_name[] = {
#define X(name, doc) #name,
    PROXY_COUNTERS(X)
#undef X
};

static void print_counters(struct program *g, bool with_dump)
{
	struct proxy_counters n;
	struct sluice_counters c;
	const uint64_t *v = (const uint64_t *)&n;

	proxy_counters_get(&g->proxy, &n);
	sluice_counters_sum(g->stack.st, &c);
	for (size_t i = 0; i < RTE_DIM(counter_name); i++)
		if (v[i] != 0)
			printf("%s %llu\n", counter_name[i], (unsigned long long)v[i]);
	for (unsigned int i = 0; i < NREASONS; i++)
		if (n.ended[i] != 0)
			printf("ended %s %llu\n", reason_text((enum reason)i),
			    (unsigned long long)n.ended[i]);
	for (size_t i = 0; i < SLUICE_NCOUNTERS; i++)
		if (((const uint64_t *)&c)[i] != 0)
			printf("stack %s %llu\n", sluice_counter_name((unsigned int)i),
			    (unsigned long long)((const uint64_t *)&c)[i]);
	if (with_dump) {
		char *buf = malloc(DUMP_LEN);

		if (buf != NULL && call(g, OP_DUMP, (uintptr_t)buf, DUMP_LEN, 0) > 0)
			fputs(buf, stdout);
		free(buf);
	}
	fflush(stdout);
}

static struct program *telemetry_of; /* rte_telemetry's callbacks have no argument */

static int telemetry_counters(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct proxy_counters n;

	rte_tel_data_start_dict(d);
	proxy_counters_get(&telemetry_of->proxy, &n);
	for (size_t i = 0; i < RTE_DIM(counter_name); i++)
		rte_tel_data_add_dict_u64(d, counter_name[i], ((const uint64_t *)&n)[i]);
	for (unsigned int i = 0; i < NREASONS; i++) {
		char name[RTE_TEL_MAX_STRING_LEN];

		snprintf(name, sizeof(name), "ended_%s", reason_text((enum reason)i));
		for (char *p = name; *p != '\0'; p++)
			if (*p == '-')
				*p = '_';
		rte_tel_data_add_dict_u64(d, name, n.ended[i]);
	}
	return 0;
}

/* ---- the control thread ---- */

static void own_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR1);
}

/* Reset what is left, and give the squeue time to say so to the peers. */
static void end_now(struct program *g)
{
	struct timespec ms = {.tv_nsec = 1000000};

	call(g, OP_STOP, 0, 0, 0);
	for (unsigned int i = 0;
	     i < 1000 && __atomic_load_n(&g->proxy.n.open, __ATOMIC_RELAXED) > 0; i++)
		nanosleep(&ms, NULL);
	app_stop = 1;
}

static void *control(void *arg)
{
	struct program *g = arg;
	struct timespec period = {.tv_nsec = 50000000};
	bool draining = false;
	sigset_t set;

	own_signals(&set);
	g->rc = load_config(g);
	if (g->rc != 0) {
		app_stop = 1;
		return NULL;
	}
	printf("sluice-proxy: ready\n");
	fflush(stdout);
	while (!app_stop) {
		int sig = sigtimedwait(&set, NULL, &period);

		if ((sig == SIGINT || sig == SIGTERM) && draining)
			end_now(g);
		else if (sig == SIGINT || sig == SIGTERM)
			draining = call(g, OP_DRAIN, 0, 0, 0) == 0;
		else if (sig == SIGHUP && load_config(g) == 0)
			app_err("%s applied", g->o.config);
		else if (sig == SIGUSR1)
			print_counters(g, true);
		if (draining && __atomic_load_n(&g->proxy.n.open, __ATOMIC_RELAXED) == 0)
			end_now(g);
		write_log(g);
	}
	write_log(g);
	return NULL;
}

/* ---- start ---- */

static int add_ports(struct program *g)
{
	for (unsigned int i = 0; i < g->o.nports; i++) {
		struct sluice_ethdev_params ep = {.size = sizeof(ep),
		    .port_id = (uint16_t)g->o.port_id[i],
		    .nqueues = 1,
		    .rxd = (uint16_t)g->o.rxd,
		    .txd = (uint16_t)g->o.txd,
		    .mtu = (uint16_t)g->o.mtu,
		    .no_offload = !g->o.offload};
		int rc = app_ethdev_add(&g->stack, &ep);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int set_up(struct program *g, const struct sluice_tunables *t)
{
	struct app_stack_params sp = {.name = "proxy",
	    .nsqueues = 1,
	    .max_connections = (uint32_t)g->o.connections,
	    .mbufs = (unsigned int)g->o.mbufs,
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
	for (unsigned int i = 0; i < NOPS && rc == 0; i++) {
		g->tag[i] = sluice_op_register(g->stack.st, ops[i].name, ops[i].fn, g);
		rc = g->tag[i] < 0 ? g->tag[i] : 0;
	}
	if (rc == 0)
		rc = sluice_app_register(g->stack.st, &app);
	if (rc != 0)
		app_err("the proxy cannot be made: %s", strerror(-rc));
	else
		rc = configure(g);
	telemetry_of = g;
	if (rte_telemetry_register_cmd("/sluice_proxy/counters", telemetry_counters,
		"Counters of the proxy. No parameters.") != 0)
		app_err("no telemetry");
	return rc;
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

int main(int argc, char **argv)
{
	static struct program g = {.good = -1};
	struct sluice_tunables tunables;
	struct app_args a;
	pthread_t thread;
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
	own_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (app_eal_init(&a) != 0)
		return APP_EXIT_FAIL;
	rc = set_up(&g, &tunables);
	if (rc == 0)
		rc = pthread_create(&thread, NULL, control, &g);
	if (rc == 0) {
		rc =
		    sluice_squeue_run(sluice_squeue(g.stack.st, 0), g.o.idle, &app_stop, app_clock);
		app_stop = 1;
		pthread_join(thread, NULL);
		sluice_squeue_release(sluice_squeue(g.stack.st, 0));
		rc = rc < 0 ? rc : g.rc;
		print_counters(&g, false);
	}
	g.proxy.stopped = true;
	if (g.stack.st != NULL && app_stack_down(&g.stack) != 0)
		rc = -EBUSY;
	proxy_fini(&g.proxy);
	if (g.log != NULL && g.log != stdout)
		fclose(g.log);
	rte_eal_cleanup();
	return rc == 0 ? 0 : APP_EXIT_FAIL;
}
