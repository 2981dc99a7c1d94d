/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What instructions.sh counts under callgrind: two stacks over a wire, in virtual time. The passes
 * that count are functions of their own, so that callgrind can be told to look at nothing else.
 *
 * stream: one connection. Each round the left side sends BURST full segments and the right side
 * receives them in one pass.
 *	insn_send	sluice_send of each segment, and the pass that transmits them
 *	insn_receive	the pass that receives them, recv and consume in it, and the ACKs it causes
 *	insn_idle	a pass that finds nothing
 * rr: BURST connections, a request of 64 bytes under way on each; whoever receives answers with 64
 * bytes from within the upcall.
 *	insn_rr		a pass of each stack: BURST requests in and answers out, and the same back
 * sockets: a thread outside of the EAL sends BURST messages of 64 bytes by a socket, and they leave.
 *	insn_so_send	sluice_so_send of each message
 *	insn_so_pass	the pass that takes and transmits them
 *	insn_so_freed	the pass that receives the ACK of the last, and gives back what held them
 *
 * usage: insn stream|rr|sockets port|software BURST ROUNDS
 *	port		the wire makes and checks the checksums, as a NIC would
 *	software	the stacks do
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_mbuf.h>
#include <sluice/sluice.h>

#define SEGMENT 1448 /* 1500 - IPv4 - TCP - timestamps */
#define SMALL 64     /* of rr */
#define BURST_MAX 64
#define WARM 200 /* rounds before callgrind's count begins to matter: slow start is over */

#define MUST(cond)                                                                        \
	do {                                                                              \
		if (!(cond)) {                                                            \
			fprintf(stderr, "%s:%d: %s failed\n", __FILE__, __LINE__, #cond); \
			exit(1);                                                          \
		}                                                                         \
	} while (0)

static struct sluice_stack *st[2];
static struct sluice_squeue *sq[2];
static struct rte_mempool *pool;
static sluice_conn_t sender;
static unsigned int nconnected;
static bool answering; /* rr: recv sends as many bytes as came */
static uint64_t received, now = SLUICE_SEC(1);

void insn_send(struct rte_mbuf **m, unsigned int n);
void insn_receive(void);
void insn_idle(void);
void insn_rr(void);
void insn_so_send(unsigned int n);
void insn_so_pass(void);
void insn_so_freed(void);

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	nconnected++;
}

static void say(struct sluice_stack *s, sluice_conn_t c, size_t n)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	MUST(m != NULL);
	memset(rte_pktmbuf_append(m, (uint16_t)n), 'x', n);
	MUST(sluice_send(s, c, m, 0) == 0);
}

/* arg: the stack that receives */
static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	MUST(sluice_consume(arg, c, avail) == 0);
	received += avail;
	if (answering)
		say(arg, c, avail);
	return 0;
}

static const struct sluice_upcalls ups = {
    .size = sizeof(ups), .connected = on_connected, .recv = on_recv};

static int on_newconn(void *arg, sluice_conn_t listener, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	*up = &ups;
	*up_arg = st[1];
	return sluice_accept(st[1], listener, eager);
}

static const struct sluice_upcalls listener_ups = {
    .size = sizeof(listener_ups), .newconn = on_newconn};

static const struct sockaddr_in right = {
    .sin_family = AF_INET, .sin_port = RTE_BE16(7000), .sin_addr.s_addr = RTE_BE32(0x0a000002)};
static sluice_conn_t opened[BURST_MAX];

static void make_stack(unsigned int i, struct sluice_driver wire)
{
	struct sluice_if_params ifp = {
	    .size = sizeof(ifp), .name = "wire0", .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_stack_params sp = {.size = sizeof(sp),
	    .name = i == 0 ? "left" : "right",
	    .nsqueues = 1,
	    .max_connections = 256,
	    .hdr_pool = pool,
	    .data_pool = pool,
	    .seed = i + 1};
	struct sluice_txn *txn;
	const char *why = NULL;

	MUST(sluice_stack_create(&sp, &st[i], &why) == 0);
	MUST(sluice_port_add(st[i], wire) == 0);
	MUST(sluice_txn_begin(st[i], &txn) == 0);
	MUST(sluice_if_add(txn, &ifp) == 0);
	MUST(sluice_addr_add(txn, "wire0", i == 0 ? "10.0.0.1/24" : "10.0.0.2/24", false) == 0);
	MUST(sluice_tunable_set(txn, "ip.dad_probes", 0) == 0);
	MUST(sluice_txn_commit(txn, &why) == 0);
	sq[i] = sluice_squeue(st[i], 0);
}

static void settle(uint64_t ns)
{
	for (uint64_t end = now + ns; now < end; now += 10000)
		for (unsigned int i = 0; i < 2; i++)
			while (sluice_squeue_poll(sq[i], now, 0) > 0)
				;
}

static void listen_and_wire(uint32_t caps)
{
	struct sluice_wire_params wp = {
	    .size = sizeof(wp), .nqueues = {1, 1}, .depth = 1024, .caps = caps};
	struct sluice_driver wire[2];
	sluice_conn_t l;

	MUST(sluice_wire_create(&wp, wire) == 0);
	for (unsigned int i = 0; i < 2; i++)
		make_stack(i, wire[i]);
	settle(SLUICE_MS(1));
	MUST(sluice_create(st[1], AF_INET, SOCK_STREAM, 0, 0, 0, &l) == 0);
	MUST(sluice_activate(st[1], l, &listener_ups, NULL) == 0);
	MUST(sluice_bind(st[1], l, (const struct sockaddr *)&right, sizeof(right)) == 0);
	MUST(sluice_listen(st[1], l, 64) == 0);
}

static void open_connections(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		MUST(sluice_create(st[0], AF_INET, SOCK_STREAM, 0, 0, 0, &sender) == 0);
		MUST(sluice_activate(st[0], sender, &ups, st[0]) == 0);
		MUST(sluice_connect(st[0], sender, (const struct sockaddr *)&right, sizeof(right),
			 NULL) == -EINPROGRESS);
		opened[i] = sender;
	}
	settle(SLUICE_MS(20));
	MUST(nconnected == n);
}

__attribute__((noinline)) void insn_send(struct rte_mbuf **m, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		MUST(sluice_send(st[0], sender, m[i], 0) == 0);
	MUST(sluice_squeue_poll(sq[0], now, 0) >= 0);
}

__attribute__((noinline)) void insn_receive(void)
{
	MUST(sluice_squeue_poll(sq[1], now, 0) >= 0);
}

__attribute__((noinline)) void insn_idle(void)
{
	MUST(sluice_squeue_poll(sq[0], now, 0) == 0);
}

__attribute__((noinline)) void insn_rr(void)
{
	MUST(sluice_squeue_poll(sq[1], now, 0) > 0);
	now += 5000;
	MUST(sluice_squeue_poll(sq[0], now, 0) > 0);
	now += 5000;
}

static void stream_round(unsigned int burst, bool counted)
{
	struct rte_mbuf *m[BURST_MAX];
	uint64_t before = received;

	MUST(rte_pktmbuf_alloc_bulk(pool, m, burst) == 0);
	for (unsigned int i = 0; i < burst; i++)
		memset(rte_pktmbuf_append(m[i], SEGMENT), 'x', SEGMENT);
	now += 10000;
	if (counted) {
		insn_send(m, burst);
		insn_receive();
	} else {
		for (unsigned int i = 0; i < burst; i++)
			MUST(sluice_send(st[0], sender, m[i], 0) == 0);
		MUST(sluice_squeue_poll(sq[0], now, 0) >= 0);
		MUST(sluice_squeue_poll(sq[1], now, 0) >= 0);
	}
	/* All in one pass each, or the counts would mean something else. */
	MUST(!counted || received == before + (uint64_t)burst * SEGMENT);
	while (sluice_squeue_poll(sq[0], now, 0) > 0)
		;
	if (counted)
		insn_idle();
}

static void stream(unsigned int burst, unsigned int rounds)
{
	open_connections(1);
	for (unsigned int i = 0; i < WARM; i++)
		stream_round(burst, false);
	settle(SLUICE_MS(100));
	for (unsigned int i = 0; i < rounds; i++)
		stream_round(burst, true);
}

static void rr(unsigned int burst, unsigned int rounds)
{
	open_connections(burst);
	answering = true;
	for (unsigned int i = 0; i < burst; i++)
		say(st[0], opened[i], SMALL);
	for (unsigned int i = 0; i < WARM; i++) {
		(void)sluice_squeue_poll(sq[0], now, 0);
		(void)sluice_squeue_poll(sq[1], now, 0);
		now += 10000;
	}
	MUST(sluice_squeue_poll(sq[0], now, 0) > 0);
	for (unsigned int i = 0; i < rounds; i++) {
		uint64_t before = received;

		insn_rr();
		MUST(received == before + 2 * (uint64_t)burst * SMALL);
	}
	answering = false;
	settle(SLUICE_MS(20));
}

/* ---- sockets: the thread that calls takes turns with the one that polls ---- */

static struct {
	int fd;
	unsigned int n; /* messages to send; 0: end */
	sem_t turn, done;
} caller;

__attribute__((noinline)) void insn_so_send(unsigned int n)
{
	static const char bytes[SMALL];

	for (unsigned int i = 0; i < n; i++)
		MUST(sluice_so_send(st[0], caller.fd, bytes, sizeof(bytes), 0) == sizeof(bytes));
}

__attribute__((noinline)) void insn_so_pass(void)
{
	MUST(sluice_squeue_poll(sq[0], now, 0) > 0);
}

__attribute__((noinline)) void insn_so_freed(void)
{
	MUST(sluice_squeue_poll(sq[0], now, 0) > 0);
}

static void *call(void *arg)
{
	while (sem_wait(&caller.turn) == 0 && caller.n > 0) {
		insn_so_send(caller.n);
		sem_post(&caller.done);
	}
	return NULL;
}

static void sockets(unsigned int burst, unsigned int rounds)
{
	struct sluice_txn *txn;
	pthread_t t;
	int on = 1;

	/* All leaves in one pass, and is acknowledged in one. */
	MUST(sluice_txn_begin(st[1], &txn) == 0);
	MUST(sluice_tunable_set(txn, "tcp.delack", 0) == 0);
	MUST(sluice_txn_commit(txn, NULL) == 0);
	caller.fd = sluice_so_socket(st[0], AF_INET, SOCK_STREAM, 0);
	MUST(caller.fd >= 0);
	MUST(sluice_so_connect(st[0], caller.fd, (const struct sockaddr *)&right, sizeof(right)) ==
	     -EINPROGRESS);
	settle(SLUICE_MS(20));
	MUST(
	    sluice_so_setsockopt(st[0], caller.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0);
	MUST(sem_init(&caller.turn, 0, 0) == 0 && sem_init(&caller.done, 0, 0) == 0);
	MUST(pthread_create(&t, NULL, call, NULL) == 0);
	for (unsigned int i = 0; i < rounds; i++) {
		uint64_t before = received;

		caller.n = burst;
		sem_post(&caller.turn);
		sem_wait(&caller.done);
		now += 10000;
		insn_so_pass();
		now += 10000;
		insn_receive();
		now += 10000;
		insn_so_freed();
		settle(SLUICE_MS(1));
		MUST(received == before + (uint64_t)burst * SMALL);
	}
	caller.n = 0;
	sem_post(&caller.turn);
	MUST(pthread_join(t, NULL) == 0);
	MUST(sluice_so_close(st[0], caller.fd) == 0);
	settle(SLUICE_MS(20));
}

static void start_eal(void)
{
	static char words[][16] = {"insn", "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry",
	    "-m", "64", "-l", "0", "--log-level", "error"};
	char *eal[RTE_DIM(words) + 1] = {NULL};

	for (unsigned int i = 0; i < RTE_DIM(words); i++)
		eal[i] = words[i];
	MUST(rte_eal_init((int)RTE_DIM(words), eal) >= 0);
	pool = rte_pktmbuf_pool_create("insn", 8191, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, -1);
	MUST(pool != NULL);
}

int main(int argc, char **argv)
{
	unsigned int burst = argc == 5 ? (unsigned int)atoi(argv[3]) : 0;
	unsigned int rounds = argc == 5 ? (unsigned int)atoi(argv[4]) : 0;

	if (burst == 0 || burst > BURST_MAX || rounds == 0) {
		fprintf(stderr,
		    "usage: insn stream|rr|sockets port|software BURST ROUNDS (burst <= %u)\n",
		    BURST_MAX);
		return 2;
	}
	start_eal();
	listen_and_wire(strcmp(argv[2], "port") == 0
			    ? SLUICE_CAP_TX_IP4_CKSUM | SLUICE_CAP_TX_L4_CKSUM | SLUICE_CAP_RX_CKSUM
			    : 0);
	if (strcmp(argv[1], "rr") == 0)
		rr(burst, rounds);
	else if (strcmp(argv[1], "sockets") == 0)
		sockets(burst, rounds);
	else
		stream(burst, rounds);
	for (unsigned int i = 0; i < 2; i++) {
		MUST(sluice_squeue_release(sq[i]) == 0);
		MUST(sluice_stack_destroy(st[i], NULL) == 0);
	}
	rte_mempool_free(pool);
	return rte_eal_cleanup() == 0 ? 0 : 1;
}
