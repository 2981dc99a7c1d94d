/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sluice as an appliance embeds it: the EAL, threads, loops, ports and pools are all the program's
 * own.
 *
 * Two stacks, each polled by a plain pthread of ours with sluice_squeue_poll (hosted mode), joined
 * by two ports that this program makes of rte_rings, configures and starts; the stacks only adopt
 * them. Stack "server" echoes, stack "client" sends a pattern and checks what comes back. Meanwhile
 * the main thread puts frames of an EtherType on the server's port that TCP/IP knows nothing of: the
 * stack hands each to our callback, which counts it as the appliance would forward it. In the end
 * both stacks are destroyed and everything must have come back.
 *
 *	server thread: stack A -- port 0 ==rings== port 1 -- stack B :client thread
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <sluice/sluice.h>

#define FOREIGN_TYPE 0x88b5 /* IEEE: local experiments */
#define FOREIGN_FRAMES 100
#define TOTAL (16u * 1024 * 1024)
#define PORT 7
#define LIMIT_SECONDS 60

struct node {
	const char *name, *addr;
	uint16_t port_id;
	struct rte_mempool *rx_pool, *hdr_pool, *data_pool;
	struct sluice_stack *st;
	sluice_conn_t listener, conn;
	pthread_t thread;
	uint64_t sent, received;
	_Atomic uint64_t foreign;
	bool full, fin_seen, fin_sent;
	_Atomic bool done;
	int error;
};

static struct node server = {.name = "server", .addr = "10.9.0.1/24"};
static struct node client = {.name = "client", .addr = "10.9.0.2/24"};
static struct rte_ring *to_server;
static _Atomic bool stop;

static void check(int rc, const char *what)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "embed: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static void want(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "embed: %s\n", what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint8_t pattern(uint64_t i)
{
	return (uint8_t)(i * 31 + (i >> 13));
}

/* ---- the application: echo and its client ---- */

static int up_newconn(void *arg, sluice_conn_t listener, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct node *n = arg;

	(void)up;
	n->conn = eager;
	*up_arg = n;
	/* What is not accepted when its listener closes is reset. */
	check(sluice_accept(n->st, listener, eager), "accept");
	return 0;
}

/** The server sends back what it has, as it came: spliced from the receive queue to the send queue.
 */
static void echo(struct node *n)
{
	ssize_t got;

	while ((got = sluice_splice(n->st, n->conn, n->conn, SIZE_MAX)) > 0)
		n->received += (uint64_t)got;
	if (n->fin_seen && !n->fin_sent && sluice_readable(n->st, n->conn) == 0) {
		n->fin_sent = true;
		check(sluice_close(n->st, n->conn), "close");
		check(sluice_close(n->st, n->listener), "close the listener");
	}
}

static void client_send(struct node *n)
{
	uint8_t buf[8192];

	while (n->sent < TOTAL && !n->full) {
		size_t len =
		    TOTAL - n->sent < sizeof(buf) ? (size_t)(TOTAL - n->sent) : sizeof(buf);
		ssize_t took;

		for (size_t i = 0; i < len; i++)
			buf[i] = pattern(n->sent + i);
		took = sluice_send_copy(n->st, n->conn, buf, len, 0);
		if (took <= 0)
			return;
		n->sent += (uint64_t)took;
	}
	if (n->sent == TOTAL && !n->fin_sent) {
		n->fin_sent = true;
		check(sluice_shutdown(n->st, n->conn, SLUICE_SHUT_WR), "shutdown");
	}
}

static void client_verify(struct node *n)
{
	struct iovec iov[32];
	int k;

	while ((k = sluice_peek(n->st, n->conn, iov, 32)) > 0) {
		size_t len = 0;

		for (int v = 0; v < k; v++) {
			const uint8_t *p = iov[v].iov_base;

			for (size_t i = 0; i < iov[v].iov_len; i++)
				want(p[i] == pattern(n->received + len + i),
				    "a byte came back changed");
			len += iov[v].iov_len;
		}
		n->received += len;
		check(sluice_consume(n->st, n->conn, len), "consume");
	}
}

static int up_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct node *n = arg;

	(void)c, (void)avail, (void)push;
	if (n == &server)
		echo(n);
	else
		client_verify(n);
	return 0;
}

static void up_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	(void)c, (void)connid;
	client_send(arg);
}

static void up_txq_full(void *arg, sluice_conn_t c, bool full)
{
	struct node *n = arg;

	(void)c;
	n->full = full;
	if (full)
		return;
	if (n == &server)
		echo(n);
	else
		client_send(n);
}

static void up_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	struct node *n = arg;

	(void)c, (void)value;
	if (op != SLUICE_OPCTL_SHUT_RECV)
		return;
	n->fin_seen = true;
	if (n == &server) {
		echo(n);
		return;
	}
	client_verify(n);
	check(sluice_close(n->st, n->conn), "close");
}

static void up_disconnected(void *arg, sluice_conn_t c, int err)
{
	struct node *n = arg;

	n->error = err;
	sluice_close(n->st, c);
}

static void up_closed(void *arg, sluice_conn_t c)
{
	struct node *n = arg;

	if (c == n->conn)
		n->done = true;
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

/** Frames that are not the stack's: an appliance would forward them; we count what is really ours
 * and take it. */
static bool on_foreign(void *arg, struct sluice_squeue *sq, unsigned int port, struct rte_mbuf *m)
{
	struct node *n = arg;
	const struct rte_ether_hdr *eh = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);

	(void)sq, (void)port;
	if (eh->ether_type != htons(FOREIGN_TYPE))
		return false;
	n->foreign++;
	rte_pktmbuf_free(m);
	return true;
}

/* ---- the embedder's loop ---- */

static bool address_ready(struct node *n)
{
	enum sluice_addr_state state;

	check(sluice_addr_state(n->st, "net0", n->addr, &state), "address");
	want(state != SLUICE_ADDR_DUPLICATE, "somebody else has our address");
	return state == SLUICE_ADDR_READY;
}

static void open_client(struct node *n)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(PORT)};

	inet_pton(AF_INET, "10.9.0.1", &sin.sin_addr);
	check(sluice_create(n->st, AF_INET, SOCK_STREAM, 0, 0, -1, &n->conn), "create");
	check(sluice_activate(n->st, n->conn, &upcalls, n), "activate");
	want(sluice_connect(n->st, n->conn, (struct sockaddr *)&sin, sizeof(sin), NULL) ==
		 -EINPROGRESS,
	    "connect");
}

static void *loop(void *arg)
{
	struct node *n = arg;
	struct sluice_squeue *sq = sluice_squeue(n->st, 0);
	bool opened = n == &server;

	while (!stop) {
		int work = sluice_squeue_poll(sq, now_ns(), 0);

		check(work, "poll");
		if (!opened && address_ready(n)) {
			opened = true;
			open_client(n);
		}
		if (opened && n == &client && !n->full && n->sent > 0 && !n->fin_sent)
			client_send(n); /* after -ENOBUFS */
		if (work == 0)
			sched_yield();
	}
	check(sluice_squeue_release(sq), "release");
	return NULL;
}

/* ---- ports, pools, stacks ---- */

static struct rte_mempool *pool(const char *node, const char *what, unsigned int n, uint16_t room)
{
	char name[RTE_MEMPOOL_NAMESIZE];
	struct rte_mempool *mp;

	snprintf(name, sizeof(name), "%s_%s", node, what);
	mp = rte_pktmbuf_pool_create(name, n, 64, 0, room, SOCKET_ID_ANY);
	want(mp != NULL, "no memory for a pool");
	return mp;
}

/** A ring port, configured and started by us, before any stack knows of it. */
static void make_port(struct node *n, struct rte_ring *rx, struct rte_ring *tx, uint8_t last)
{
	struct rte_ether_addr mac = {{0x02, 0x53, 0x4c, 0, 0, last}};
	struct rte_eth_conf conf = {0};
	int id = rte_eth_from_rings(n->name, &rx, 1, &tx, 1, 0);

	check(id, "ring port");
	n->port_id = (uint16_t)id;
	n->rx_pool = pool(n->name, "rx", 4096, RTE_MBUF_DEFAULT_BUF_SIZE);
	n->hdr_pool = pool(n->name, "hdr", 8192, RTE_PKTMBUF_HEADROOM + 512);
	n->data_pool = pool(n->name, "data", 4096, RTE_MBUF_DEFAULT_BUF_SIZE);
	check(rte_eth_dev_configure(n->port_id, 1, 1, &conf), "configure the port");
	/* Ring ports have no address; the first one added takes that place. */
	check(rte_eth_dev_mac_addr_add(n->port_id, &mac, 0), "hardware address");
	check(rte_eth_rx_queue_setup(n->port_id, 0, 512, 0, NULL, n->rx_pool), "receive queue");
	check(rte_eth_tx_queue_setup(n->port_id, 0, 512, 0, NULL), "transmit queue");
	check(rte_eth_dev_start(n->port_id), "start the port");
}

static void make_stack(struct node *n)
{
	struct sluice_stack_params sp = {.size = sizeof(sp),
	    .name = n->name,
	    .nsqueues = 1,
	    .max_connections = 64,
	    .hdr_pool = n->hdr_pool,
	    .data_pool = n->data_pool,
	    .foreign = on_foreign,
	    .foreign_arg = n};
	struct sluice_ethdev_params ep = {
	    .size = sizeof(ep), .port_id = n->port_id, .adopt = true, .nqueues = 1};
	struct sluice_if_params ifp = {
	    .size = sizeof(ifp), .name = "net0", .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_driver drv;
	struct sluice_txn *t;
	const char *why = "";
	int port;

	if (sluice_stack_create(&sp, &n->st, &why) != 0)
		want(false, why);
	check(sluice_ethdev_create(&ep, &drv), "adopt the port");
	port = sluice_port_add(n->st, drv);
	check(port, "add the port");
	ifp.port = (unsigned int)port;
	check(sluice_txn_begin(n->st, &t), "transaction");
	check(sluice_if_add(t, &ifp), "interface");
	check(sluice_addr_add(t, "net0", n->addr, false), "address");
	if (sluice_txn_commit(t, &why) != 0)
		want(false, why);
}

static void open_server(struct node *n)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(PORT)};

	check(sluice_create(n->st, AF_INET, SOCK_STREAM, 0, 0, 0, &n->listener), "create");
	check(sluice_activate(n->st, n->listener, &upcalls, n), "activate");
	check(sluice_bind(n->st, n->listener, (struct sockaddr *)&sin, sizeof(sin)), "bind");
	check(sluice_listen(n->st, n->listener, 1), "listen");
}

/** Put frames of a foreign EtherType on the server's link. */
static void inject(struct rte_mempool *mp)
{
	for (unsigned int i = 0; i < FOREIGN_FRAMES; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(mp);
		struct rte_ether_hdr *eh;

		want(m != NULL, "no buffer for a foreign frame");
		eh = (struct rte_ether_hdr *)rte_pktmbuf_append(m, 60);
		want(eh != NULL, "a buffer has no room");
		memset(eh, 0, 60);
		eh->dst_addr = (struct rte_ether_addr){{0x02, 0x53, 0x4c, 0, 0, 1}};
		eh->src_addr = (struct rte_ether_addr){{0x02, 0x53, 0x4c, 0, 0, 9}};
		eh->ether_type = htons(FOREIGN_TYPE);
		while (rte_ring_enqueue(to_server, m) != 0)
			sched_yield();
	}
}

static void take_down(struct node *n)
{
	struct sluice_leaks leaks = {.size = sizeof(leaks)};

	check(sluice_stack_destroy(n->st, &leaks), "destroy");
	want(
	    leaks.connections + leaks.timers + leaks.calls + leaks.records == 0, "the stack leaks");
	/* The port is ours and lives on; stop it before we look at what its pools miss. */
	check(rte_eth_dev_stop(n->port_id), "stop the port");
}

static void drain_ring(struct rte_ring *r)
{
	struct rte_mbuf *m = NULL;

	while (rte_ring_dequeue(r, (void **)&m) == 0)
		rte_pktmbuf_free(m);
}

static void pools_whole(struct node *n)
{
	want(rte_mempool_in_use_count(n->rx_pool) == 0, "receive buffers are missing");
	want(rte_mempool_in_use_count(n->hdr_pool) == 0, "header buffers are missing");
	want(rte_mempool_in_use_count(n->data_pool) == 0, "data buffers are missing");
	check(rte_eth_dev_close(n->port_id), "close the port");
}

int main(int argc, char **argv)
{
	uint64_t end = now_ns() + LIMIT_SECONDS * 1000000000ull;
	struct rte_ring *to_client;

	check(rte_eal_init(argc, argv) < 0 ? -EIO : 0, "EAL");
	to_server = rte_ring_create("to_server", 2048, SOCKET_ID_ANY, 0);
	to_client = rte_ring_create("to_client", 2048, SOCKET_ID_ANY, 0);
	want(to_server != NULL && to_client != NULL, "no memory for rings");
	make_port(&server, to_server, to_client, 1);
	make_port(&client, to_client, to_server, 2);
	make_stack(&server);
	make_stack(&client);
	open_server(&server);
	want(pthread_create(&server.thread, NULL, loop, &server) == 0, "thread");
	want(pthread_create(&client.thread, NULL, loop, &client) == 0, "thread");

	inject(server.data_pool);
	while (!(server.done && client.done && server.foreign == FOREIGN_FRAMES)) {
		want(now_ns() < end, "not done in time");
		sched_yield();
	}
	stop = true;
	pthread_join(server.thread, NULL);
	pthread_join(client.thread, NULL);

	check(-server.error, "connection of the server");
	check(-client.error, "connection of the client");
	want(client.sent == TOTAL && server.received == TOTAL && client.received == TOTAL,
	    "bytes are missing");
	take_down(&server);
	take_down(&client);
	drain_ring(to_server);
	drain_ring(to_client);
	pools_whole(&server);
	pools_whole(&client);
	printf("embed: sluice %s, %u bytes there and back, %u foreign frames\n", sluice_version(),
	    TOTAL, FOREIGN_FRAMES);
	rte_eal_cleanup();
	return 0;
}
