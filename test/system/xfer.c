/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One file, one connection, one direction: the sluice end of the system tests, over any DPDK port.
 *
 *	xfer [EAL options] -- --addr A/LEN... (--listen PORT | --connect ADDR,PORT) (--send FILE |
 * --recv FILE) [--l3]
 *
 * The main thread owns the only squeue; all work happens in its upcalls and in its poll hook. It
 * waits for its addresses, opens, moves the bytes until both directions are shut, closes, and
 * destroys the stack. What it prints is made for the scripts: "ready", "connected", then "bytes N
 * retrans N drops N" and "left ..." with everything that did not come back. Exit status: 0 all well,
 * 1 usage or set-up, 3 the connection ended by an error ("error NAME"), 4 something was left behind.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <sluice/sluice.h>

#define MAX_ADDRS 8
#define EXIT_PEER 3
#define EXIT_LEFT 4
#define SEND_CHUNK (256u * 1024)

struct xfer {
	/* What to do. */
	const char *addr[MAX_ADDRS];
	unsigned int naddr;
	struct sockaddr_storage peer; /* of --connect */
	uint16_t listen;
	uint64_t keepalive; /* seconds, 0: off */
	uint64_t linger;    /* ms */
	bool sleep;         /* when idle, woken by the port's interrupt */
	bool sending, l3;   /* l3: the port carries no Ethernet headers */
	const uint8_t *map; /* file to send */
	int fd;             /* file to receive into */
	uint64_t size;

	/* Where it stands; touched on the squeue only once that runs. */
	struct sluice_stack *st;
	sluice_conn_t listener, conn;
	bool opened, accepted, full, fin_sent, fin_seen, closing, down;
	uint64_t done; /* bytes sent or received */
	int error;
};

static volatile int stop;

static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("xfer: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
	fflush(stdout);
}

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

/* ---- the connection ---- */

static void maybe_close(struct xfer *x)
{
	bool finished = x->fin_seen && (x->fin_sent || !x->sending);

	if (x->closing || (!finished && !x->down))
		return;
	x->closing = true;
	sluice_close(x->st, x->conn);
	if (x->listener != SLUICE_CONN_NONE)
		sluice_close(x->st, x->listener);
}

/** Send until the buffer is full; the FIN behind the last byte. */
static void pump(struct xfer *x)
{
	while (x->done < x->size && !x->full) {
		uint64_t left = x->size - x->done;
		ssize_t n = sluice_send_copy(x->st, x->conn, x->map + x->done,
		    left < SEND_CHUNK ? (size_t)left : SEND_CHUNK, 0);

		if (n == -EAGAIN)
			x->full = true; /* txq_full(false) comes */
		if (n <= 0)
			return; /* -ENOBUFS: the poll hook tries again */
		x->done += (uint64_t)n;
	}
	if (x->done == x->size && !x->fin_sent) {
		x->fin_sent = true;
		sluice_shutdown(x->st, x->conn, SLUICE_SHUT_WR);
		maybe_close(x);
	}
}

/** Write what is readable to the file. */
static void drain(struct xfer *x)
{
	struct iovec iov[64];
	int n;

	while ((n = sluice_peek(x->st, x->conn, iov, 64)) > 0) {
		size_t len = 0;

		for (int i = 0; i < n; i++)
			len += iov[i].iov_len;
		if (!x->sending && writev(x->fd, iov, n) != (ssize_t)len)
			die("write: %s", strerror(errno));
		if (!x->sending)
			x->done += len;
		sluice_consume(x->st, x->conn, len);
	}
}

static void up_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	(void)arg, (void)c, (void)connid;
	say("connected");
}

static int up_newconn(void *arg, sluice_conn_t listener, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct xfer *x = arg;

	(void)listener, (void)up;
	if (x->conn != SLUICE_CONN_NONE)
		return -ECONNREFUSED;
	x->conn = eager;
	*up_arg = x;
	say("connected");
	return 0;
}

static void up_disconnected(void *arg, sluice_conn_t c, int err)
{
	struct xfer *x = arg;

	(void)c;
	x->error = err;
	x->down = true;
	maybe_close(x);
}

static void up_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	struct xfer *x = arg;

	(void)c, (void)value;
	if (op != SLUICE_OPCTL_SHUT_RECV)
		return;
	drain(x);
	x->fin_seen = true;
	maybe_close(x);
}

static int up_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	(void)c, (void)avail, (void)push;
	drain(arg);
	return 0;
}

static void up_txq_full(void *arg, sluice_conn_t c, bool full)
{
	struct xfer *x = arg;

	(void)c;
	x->full = full;
	if (!full && x->sending)
		pump(x);
}

static void up_closed(void *arg, sluice_conn_t c)
{
	struct xfer *x = arg;

	if (c == x->listener)
		x->listener = SLUICE_CONN_NONE;
	else
		x->conn = SLUICE_CONN_NONE;
	if (x->listener == SLUICE_CONN_NONE && x->conn == SLUICE_CONN_NONE)
		stop = 1;
}

static const struct sluice_upcalls upcalls = {
    .size = sizeof(upcalls),
    .newconn = up_newconn,
    .connected = up_connected,
    .disconnected = up_disconnected,
    .opctl = up_opctl,
    .recv = up_recv,
    .txq_full = up_txq_full,
    .closed = up_closed,
};

static void check(int rc, const char *what)
{
	if (rc < 0)
		die("%s: %s", what, strerror(-rc));
}

static void set_keepalive(struct xfer *x, sluice_conn_t c)
{
	int on = 1, secs = (int)x->keepalive, count = 2;

	if (x->keepalive == 0)
		return;
	check(
	    sluice_setsockopt(x->st, c, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)), "SO_KEEPALIVE");
	check(sluice_setsockopt(x->st, c, IPPROTO_TCP, TCP_KEEPIDLE, &secs, sizeof(secs)),
	    "KEEPIDLE");
	check(sluice_setsockopt(x->st, c, IPPROTO_TCP, TCP_KEEPINTVL, &secs, sizeof(secs)),
	    "KEEPINTVL");
	check(sluice_setsockopt(x->st, c, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count)),
	    "KEEPCNT");
}

/** Are all addresses usable (duplicate address detection done)? */
static bool addresses_ready(struct xfer *x)
{
	for (unsigned int i = 0; i < x->naddr; i++) {
		enum sluice_addr_state state;

		check(sluice_addr_state(x->st, "net0", x->addr[i], &state), x->addr[i]);
		if (state == SLUICE_ADDR_DUPLICATE)
			die("%s: somebody else has this address", x->addr[i]);
		if (state != SLUICE_ADDR_READY)
			return false;
	}
	return true;
}

static socklen_t addr_len(int family)
{
	return family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static void open_listener(struct xfer *x)
{
	/* One listener for both families: IPv6, not v6-only. */
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(x->listen)};

	check(sluice_create(x->st, AF_INET6, SOCK_STREAM, 0, 0, 0, &x->listener), "create");
	check(sluice_activate(x->st, x->listener, &upcalls, x), "activate");
	check(sluice_bind(x->st, x->listener, (struct sockaddr *)&any, sizeof(any)), "bind");
	check(sluice_listen(x->st, x->listener, 16), "listen");
}

static void open_connection(struct xfer *x)
{
	int rc;

	check(sluice_create(x->st, x->peer.ss_family, SOCK_STREAM, 0, 0, 0, &x->conn), "create");
	check(sluice_activate(x->st, x->conn, &upcalls, x), "activate");
	set_keepalive(x, x->conn);
	rc = sluice_connect(
	    x->st, x->conn, (struct sockaddr *)&x->peer, addr_len(x->peer.ss_family), NULL);
	if (rc != -EINPROGRESS)
		die("connect: %s", strerror(-rc));
}

/** Once a pass: open when the addresses are there, then keep the sender going. */
static int app_poll(struct sluice_squeue *sq, void *arg)
{
	struct xfer *x = arg;
	enum sluice_state state;

	(void)sq;
	if (!x->opened) {
		if (!addresses_ready(x))
			return 0;
		x->opened = true;
		if (x->listen != 0)
			open_listener(x);
		else
			open_connection(x);
		say("ready");
		return 1;
	}
	if (x->conn == SLUICE_CONN_NONE || x->closing)
		return 0;
	if (x->listener != SLUICE_CONN_NONE && !x->accepted) {
		x->accepted = true;
		sluice_accept(x->st, x->listener, x->conn);
		set_keepalive(x, x->conn);
	}
	if (!x->sending || x->full || x->fin_sent || x->down)
		return 0;
	if (sluice_getstate(x->st, x->conn, &state) != 0 || state < SLUICE_ESTABLISHED)
		return 0;
	pump(x);
	return 0;
}

/* ---- set-up and end ---- */

static void parse_peer(struct xfer *x, char *text)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&x->peer;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&x->peer;
	char *comma = strchr(text, ',');

	if (comma == NULL)
		die("--connect wants ADDR,PORT");
	*comma = '\0';
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)atoi(comma + 1));
	} else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)atoi(comma + 1));
	} else {
		die("%s is no address", text);
	}
}

static void open_file(struct xfer *x, const char *path, bool sending)
{
	struct stat sb;

	x->sending = sending;
	x->fd = sending ? open(path, O_RDONLY) : open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (x->fd < 0 || fstat(x->fd, &sb) != 0)
		die("%s: %s", path, strerror(errno));
	if (!sending || sb.st_size == 0)
		return;
	x->size = (uint64_t)sb.st_size;
	x->map = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_SHARED, x->fd, 0);
	if (x->map == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
}

static void set_tunable(struct sluice_tunables *t, char *word)
{
	char *eq = strchr(word, '=');
	uint64_t value;
	int i;

	if (eq == NULL)
		die("--tunable wants NAME=VALUE");
	*eq = '\0';
	i = sluice_tunable_find(word);
	check(i, word);
	check(sluice_tunable_parse((unsigned int)i, eq + 1, &value), eq + 1);
	((uint64_t *)t)[i] = value; /* the struct is the table's rows in order */
}

static void parse_options(struct xfer *x, struct sluice_tunables *t, int argc, char **argv)
{
	static const struct option options[] = {
	    {"addr", required_argument, NULL, 'a'},
	    {"listen", required_argument, NULL, 'l'},
	    {"connect", required_argument, NULL, 'c'},
	    {"send", required_argument, NULL, 's'},
	    {"recv", required_argument, NULL, 'r'},
	    {"keepalive", required_argument, NULL, 'k'},
	    {"linger", required_argument, NULL, 'L'},
	    {"tunable", required_argument, NULL, 't'},
	    {"l3", no_argument, NULL, '3'},
	    {"sleep", no_argument, NULL, 'S'},
	    {NULL, 0, NULL, 0},
	};
	int opt;

	x->fd = -1;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'a':
			if (x->naddr == MAX_ADDRS)
				die("too many addresses");
			x->addr[x->naddr++] = optarg;
			break;
		case 'l':
			x->listen = (uint16_t)atoi(optarg);
			break;
		case 'c':
			parse_peer(x, optarg);
			break;
		case 's':
		case 'r':
			open_file(x, optarg, opt == 's');
			break;
		case 'k':
			x->keepalive = strtoull(optarg, NULL, 10);
			break;
		case 'L':
			x->linger = strtoull(optarg, NULL, 10);
			break;
		case 't':
			set_tunable(t, optarg);
			break;
		case '3':
			x->l3 = true;
			break;
		case 'S':
			x->sleep = true;
			break;
		default:
			exit(1);
		}
	}
	if (x->fd < 0 || x->naddr == 0 || (x->listen != 0) == (x->peer.ss_family != 0))
		die("want --addr, one of --listen and --connect, one of --send and --recv");
}

static void log_line(void *arg, int level, const char *line)
{
	(void)arg, (void)level;
	fprintf(stderr, "xfer: %s\n", line);
}

static struct rte_mempool *pool(const char *name, unsigned int n, uint16_t room)
{
	struct rte_mempool *mp = sluice_ethdev_pool(name, n, 256, room, SOCKET_ID_ANY);

	if (mp == NULL)
		die("no memory for pool %s", name);
	return mp;
}

/**
 * Buffers of the receive pool that a port may keep for good. net_af_xdp never takes back what
 * stands in its fill ring, filled when the port starts, and in its receive and completion rings.
 */
static unsigned int port_keeps(uint16_t port_id, const struct rte_mempool *rx)
{
	struct rte_eth_dev_info info;

	check(rte_eth_dev_info_get(port_id, &info), "port");
	if (strcmp(info.driver_name, "net_af_xdp") != 0)
		return 0;
	return rte_mempool_in_use_count(rx) + 3 * 1024;
}

static void configure(struct xfer *x, unsigned int port)
{
	struct sluice_if_params ifp = {.size = sizeof(ifp),
	    .name = "net0",
	    .port = port,
	    .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	const char *why = "";
	struct sluice_txn *t;

	check(sluice_txn_begin(x->st, &t), "transaction");
	check(sluice_if_add(t, &ifp), "interface");
	for (unsigned int i = 0; i < x->naddr; i++)
		check(sluice_addr_add(t, "net0", x->addr[i], false), x->addr[i]);
	if (sluice_txn_commit(t, &why) != 0)
		die("configuration: %s", why);
}

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* The port goes with the process, and what is under way on a port of shared memory with it: a peer
 * of our own may still need an answer. */
static void linger(const struct xfer *x)
{
	uint64_t end = clock_ns() + x->linger * 1000000;

	while (clock_ns() < end) {
		sluice_squeue_poll(sluice_squeue(x->st, 0), clock_ns(), 0);
		sched_yield();
	}
}

int main(int argc, char **argv)
{
	struct xfer x = {0};
	struct sluice_tunables tunables;
	struct sluice_leaks leaks = {.size = sizeof(leaks)};
	struct sluice_port_stats ps = {.size = sizeof(ps)};
	struct sluice_app app = {.size = sizeof(app), .poll = app_poll, .arg = &x};
	struct rte_mempool *mp[3];
	struct sluice_driver drv;
	struct sluice_counters c;
	const char *why = "";
	unsigned int out, rx_out, keeps;
	int used, port;

	used = rte_eal_init(argc, argv);
	if (used < 0)
		die("EAL does not start");
	sluice_tunables_default(&tunables);
	parse_options(&x, &tunables, argc - used, argv + used);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);

	mp[0] = pool("hdr", 16384, RTE_PKTMBUF_HEADROOM + 512);
	mp[1] = pool("data", 8192, RTE_MBUF_DEFAULT_BUF_SIZE);
	mp[2] = pool("rx", 8192, RTE_MBUF_DEFAULT_BUF_SIZE);
	struct sluice_stack_params sp = {.size = sizeof(sp),
	    .name = "xfer",
	    .nsqueues = 1,
	    .max_connections = 64,
	    .hdr_pool = mp[0],
	    .data_pool = mp[1],
	    .tunables = &tunables,
	    .log = log_line};
	struct sluice_ethdev_params ep = {
	    .size = sizeof(ep), .nqueues = 1, .rx_pool = mp[2], .l3 = x.l3, .rx_intr = x.sleep};

	if (sluice_stack_create(&sp, &x.st, &why) != 0)
		die("stack: %s", why);
	check(sluice_ethdev_create(&ep, &drv), "port");
	keeps = port_keeps(ep.port_id, mp[2]);
	port = sluice_port_add(x.st, drv);
	check(port, "port");
	check(sluice_app_register(x.st, &app), "application");
	configure(&x, (unsigned int)port);

	check(sluice_squeue_run(sluice_squeue(x.st, 0),
		  x.sleep ? SLUICE_IDLE_SLEEP : SLUICE_IDLE_YIELD, &stop, NULL),
	    "run");
	linger(&x);
	sluice_squeue_release(sluice_squeue(x.st, 0));

	sluice_counters_sum(x.st, &c);
	sluice_port_stats(x.st, (unsigned int)port, &ps);
	say("segments in %llu out %llu", (unsigned long long)c.tcp_in_segs,
	    (unsigned long long)c.tcp_out_segs);
	say("bytes %llu retrans %llu drops %llu", (unsigned long long)x.done,
	    (unsigned long long)c.tcp_retrans_segs,
	    (unsigned long long)(ps.rx_missed + ps.rx_nomem + ps.rx_errors + ps.tx_errors));
	say("sleeps %llu packet %llu entry %llu passes %llu", (unsigned long long)c.sq_sleeps,
	    (unsigned long long)c.sq_wakeups_rx, (unsigned long long)c.sq_wakeups,
	    (unsigned long long)c.sq_polls);
	if (x.error != 0)
		say("error %s", strerrorname_np(x.error));
	check(sluice_stack_destroy(x.st, &leaks), "destroy");
	out = rte_mempool_in_use_count(mp[0]) + rte_mempool_in_use_count(mp[1]);
	rx_out = rte_mempool_in_use_count(mp[2]);
	out += rx_out > keeps ? rx_out - keeps : 0;
	say("left connections %llu timers %llu calls %llu records %llu mbufs %u",
	    (unsigned long long)leaks.connections, (unsigned long long)leaks.timers,
	    (unsigned long long)leaks.calls, (unsigned long long)leaks.records, out);
	for (unsigned int i = 0; i < 3; i++)
		rte_mempool_free(mp[i]);
	rte_eal_cleanup();
	if (leaks.connections + leaks.timers + leaks.calls + leaks.records + out != 0)
		return EXIT_LEFT;
	return x.error != 0 ? EXIT_PEER : 0;
}
