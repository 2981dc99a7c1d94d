/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets from control threads: what a synchronous call costs, and how many small messages a second
 * they send; on sluice, and the same on the kernel's TCP over loopback.
 *
 * An lcore carries two stacks joined by a wire, and reads what arrives (event API). Threads outside
 * of the EAL make the calls, on the other CPUs. For the kernel a thread on that lcore's CPU reads.
 * With one CPU the lcore yields after each pass, or callers would wait for their time slices.
 *
 *	call idle	getsockopt(SO_KEEPALIVE), while nothing else is going on
 *	call busy	the same, while the lcore carries a stream as fast as it can
 *	send N		sendmsg of 64 bytes, blocking, N threads with a connection each
 *
 * usage: bench_sockets [MILLISECONDS [sluice|kernel]]
 * Prints a line for each: name, stack, value, unit, by tabulators.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_pause.h>
#include <sluice/sluice.h>

#define MESSAGE 64
#define THREADS 4
#define PORT 7000

#define MUST(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s failed, errno %d\n", __FILE__, __LINE__, #cond, \
			    errno);                                                                \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static unsigned int ncpus;
static atomic_bool stop_reader, stop_caller;

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Callers have all CPUs but the reader's. */
static void pin(bool reader)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (unsigned int i = 0; i < ncpus; i++)
		if (ncpus == 1 || (i == ncpus - 1) == reader)
			CPU_SET(i, &set);
	MUST(pthread_setaffinity_np(pthread_self(), sizeof(set), &set) == 0);
}

/* ---- callers, of either stack ---- */

struct caller {
	struct sluice_stack *st; /* NULL: the kernel's */
	int fd;
	uint64_t n;
	pthread_t thread;
} __attribute__((aligned(64)));

static void *call(void *arg)
{
	struct caller *c = arg;

	pin(false);
	while (!atomic_load_explicit(&stop_caller, memory_order_relaxed)) {
		socklen_t len = sizeof(int);
		int v;

		if (c->st != NULL)
			MUST(sluice_so_getsockopt(
				 c->st, c->fd, SOL_SOCKET, SO_KEEPALIVE, &v, &len) == 0);
		else
			MUST(getsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &v, &len) == 0);
		c->n++;
	}
	return NULL;
}

static void *send_small(void *arg)
{
	struct caller *c = arg;
	char bytes[MESSAGE] = "";
	struct iovec iov = {bytes, sizeof(bytes)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	pin(false);
	while (!atomic_load_explicit(&stop_caller, memory_order_relaxed)) {
		ssize_t n = c->st != NULL ? sluice_so_sendmsg(c->st, c->fd, &msg, 0)
					  : sendmsg(c->fd, &msg, 0);

		MUST(n == MESSAGE);
		c->n++;
	}
	return NULL;
}

/* Calls per second of n threads together. */
static double measure(void *(*fn)(void *), struct caller *c, unsigned int n, unsigned int ms)
{
	struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};
	uint64_t begin = clock_ns(), sum = 0;

	atomic_store(&stop_caller, false);
	for (unsigned int i = 0; i < n; i++) {
		c[i].n = 0;
		MUST(pthread_create(&c[i].thread, NULL, fn, &c[i]) == 0);
	}
	nanosleep(&ts, NULL);
	atomic_store(&stop_caller, true);
	for (unsigned int i = 0; i < n; i++) {
		MUST(pthread_join(c[i].thread, NULL) == 0);
		sum += c[i].n;
	}
	return (double)sum * 1e9 / (double)(clock_ns() - begin);
}

static void report(const char *name, const char *stack, double rate, bool calls)
{
	if (calls)
		printf("%s\t%s\t%.4g\tns\n", name, stack, 1e9 / rate);
	else
		printf("%s\t%s\t%.4g\tM/s\n", name, stack, rate / 1e6);
	fflush(stdout);
}

/* fn starts and stops the stream that keeps the reader busy. */
static void run_all(struct caller *c, const char *stack, unsigned int ms, void (*stream)(bool on))
{
	report("call idle", stack, measure(call, c, 1, ms), true);
	stream(true);
	report("call busy", stack, measure(call, c, 1, ms), true);
	stream(false);
	report("send 1", stack, measure(send_small, c, 1, ms), false);
	report("send 4", stack, measure(send_small, c, THREADS, ms), false);
}

/* ---- sluice ---- */

static struct sluice_stack *st[2];
static struct rte_mempool *rx_pool, *data_pool;
static struct {
	sluice_conn_t conn;
	_Atomic bool on, full; /* full: txq_full(false) will come */
} source;

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	MUST(sluice_consume(arg, c, avail) == 0);
	return 0;
}

static void on_full(void *arg, sluice_conn_t c, bool full)
{
	atomic_store_explicit(&source.full, full, memory_order_relaxed);
}

static const struct sluice_upcalls sink_up = {.size = sizeof(sink_up), .recv = on_recv};
static const struct sluice_upcalls source_up = {.size = sizeof(source_up), .txq_full = on_full};

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	*up = &sink_up;
	*up_arg = st[1];
	return sluice_accept(st[1], l, eager);
}

static const struct sluice_upcalls listener_up = {
    .size = sizeof(listener_up), .newconn = on_newconn};

static void make_stack(unsigned int i, struct sluice_driver wire)
{
	struct sluice_if_params ifp = {
	    .size = sizeof(ifp), .name = "wire0", .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_stack_params sp = {.size = sizeof(sp),
	    .name = i == 0 ? "left" : "right",
	    .nsqueues = 1,
	    .max_connections = 256,
	    .hdr_pool = rx_pool,
	    .data_pool = data_pool,
	    .seed = i + 1};
	struct sluice_txn *txn;

	MUST(sluice_stack_create(&sp, &st[i], NULL) == 0);
	MUST(sluice_port_add(st[i], wire) == 0);
	MUST(sluice_txn_begin(st[i], &txn) == 0);
	MUST(sluice_if_add(txn, &ifp) == 0);
	MUST(sluice_addr_add(txn, "wire0", i == 0 ? "10.0.0.1/24" : "10.0.0.2/24", false) == 0);
	MUST(sluice_tunable_set(txn, "ip.dad_probes", 0) == 0);
	MUST(sluice_txn_commit(txn, NULL) == 0);
}

static void make_stacks(void)
{
	struct sluice_wire_params wp = {.size = sizeof(wp), .nqueues = {1, 1}, .depth = 1024};
	struct sluice_driver wire[2];

	rx_pool = rte_pktmbuf_pool_create("rx", 32767, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, -1);
	data_pool = rte_pktmbuf_pool_create("data", 131071, 256, 0, 512, -1);
	MUST(rx_pool != NULL && data_pool != NULL);
	MUST(sluice_wire_create(&wp, wire) == 0);
	for (unsigned int i = 0; i < 2; i++)
		make_stack(i, wire[i]);
}

/* The lcore: carries both stacks, and sends what `source` has to send. */
static int lcore(void *arg)
{
	struct sluice_squeue *sq[2] = {sluice_squeue(st[0], 0), sluice_squeue(st[1], 0)};
	static char bytes[16384];

	while (!atomic_load_explicit(&stop_reader, memory_order_relaxed)) {
		uint64_t now = clock_ns();

		(void)sluice_squeue_poll(sq[0], now, 0);
		if (atomic_load_explicit(&source.on, memory_order_relaxed) &&
		    !atomic_load_explicit(&source.full, memory_order_relaxed))
			(void)sluice_send_copy(st[0], source.conn, bytes, sizeof(bytes), 0);
		(void)sluice_squeue_poll(sq[1], now, 0);
		if (ncpus == 1)
			sched_yield();
	}
	MUST(sluice_squeue_release(sq[0]) == 0 && sluice_squeue_release(sq[1]) == 0);
	return 0;
}

static void sluice_stream(bool on)
{
	struct timespec ts = {0, 50000000};

	atomic_store(&source.on, on);
	nanosleep(&ts, NULL); /* it is under way, or has drained */
}

static const struct sockaddr_in to = {
    .sin_family = AF_INET, .sin_port = RTE_BE16(PORT), .sin_addr.s_addr = RTE_BE32(0x0a000002)};

static void connect_all(struct caller *c)
{
	struct timespec ts = {0, 50000000};
	sluice_conn_t l;

	MUST(sluice_create(st[1], AF_INET, SOCK_STREAM, 0, 0, 0, &l) == 0);
	MUST(sluice_activate(st[1], l, &listener_up, NULL) == 0);
	MUST(sluice_bind(st[1], l, (const struct sockaddr *)&to, sizeof(to)) == 0);
	MUST(sluice_listen(st[1], l, 64) == 0);
	MUST(sluice_create(st[0], AF_INET, SOCK_STREAM, 0, 0, 0, &source.conn) == 0);
	MUST(sluice_activate(st[0], source.conn, &source_up, NULL) == 0);
	MUST(sluice_connect(st[0], source.conn, (const struct sockaddr *)&to, sizeof(to), NULL) ==
	     -EINPROGRESS);
	for (unsigned int i = 0; i < THREADS; i++) {
		c[i].st = st[0];
		c[i].fd = sluice_so_socket(st[0], AF_INET, SOCK_STREAM, 0);
		MUST(c[i].fd >= 0);
		MUST(sluice_so_connect(st[0], c[i].fd, (const struct sockaddr *)&to, sizeof(to)) ==
		     0);
	}
	nanosleep(&ts, NULL);
}

static void on_sluice(unsigned int ms)
{
	struct caller c[THREADS] = {{0}};

	make_stacks();
	atomic_store(&stop_reader, false);
	MUST(rte_eal_remote_launch(lcore, NULL, rte_get_next_lcore(-1, 1, 0)) == 0);
	connect_all(c);
	run_all(c, "sluice", ms, sluice_stream);
	for (unsigned int i = 0; i < THREADS; i++)
		MUST(sluice_so_close(st[0], c[i].fd) == 0);
	atomic_store(&stop_reader, true);
	rte_eal_mp_wait_lcore();
	for (unsigned int i = 0; i < 2; i++)
		MUST(sluice_stack_destroy(st[i], NULL) == 0);
}

/* ---- the kernel ---- */

static struct {
	int listener, rd[THREADS], stream[2];
	_Atomic bool on;
} k;

/* Reads what the callers send, and moves a stream when that is asked for. */
static void *reader(void *arg)
{
	static char bytes[65536];

	pin(true);
	while (!atomic_load_explicit(&stop_reader, memory_order_relaxed)) {
		for (unsigned int i = 0; i < THREADS; i++)
			(void)recv(k.rd[i], bytes, sizeof(bytes), MSG_DONTWAIT);
		if (atomic_load_explicit(&k.on, memory_order_relaxed)) {
			(void)send(k.stream[0], bytes, sizeof(bytes), MSG_DONTWAIT);
			(void)recv(k.stream[1], bytes, sizeof(bytes), MSG_DONTWAIT);
		}
		if (ncpus == 1)
			sched_yield();
	}
	return NULL;
}

static void kernel_stream(bool on)
{
	atomic_store(&k.on, on);
}

static void kernel_pair(int *one, int *other)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);

	MUST(getsockname(k.listener, (struct sockaddr *)&a, &len) == 0);
	*one = socket(AF_INET, SOCK_STREAM, 0);
	MUST(*one >= 0 && connect(*one, (struct sockaddr *)&a, len) == 0);
	*other = accept(k.listener, NULL, NULL);
	MUST(*other >= 0);
}

static void on_kernel(unsigned int ms)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = RTE_BE32(0x7f000001)};
	struct caller c[THREADS] = {{0}};
	pthread_t thread;

	k.listener = socket(AF_INET, SOCK_STREAM, 0);
	MUST(k.listener >= 0 && bind(k.listener, (struct sockaddr *)&a, sizeof(a)) == 0);
	MUST(listen(k.listener, 8) == 0);
	for (unsigned int i = 0; i < THREADS; i++)
		kernel_pair(&c[i].fd, &k.rd[i]);
	kernel_pair(&k.stream[0], &k.stream[1]);
	atomic_store(&stop_reader, false);
	MUST(pthread_create(&thread, NULL, reader, NULL) == 0);
	run_all(c, "kernel", ms, kernel_stream);
	atomic_store(&stop_reader, true);
	MUST(pthread_join(thread, NULL) == 0);
	for (unsigned int i = 0; i < THREADS; i++) {
		close(c[i].fd);
		close(k.rd[i]);
	}
	close(k.stream[0]);
	close(k.stream[1]);
	close(k.listener);
}

/* ---- */

static void start_eal(void)
{
	static char words[][24] = {"bench_sockets", "--no-huge", "--no-pci", "--no-shconf",
	    "--no-telemetry", "-m", "512", "--log-level", "error", "--lcores", ""};
	char *eal[RTE_DIM(words) + 1] = {NULL};

	snprintf(words[RTE_DIM(words) - 1], sizeof(words[0]), "0@0,1@%u", ncpus - 1);
	for (unsigned int i = 0; i < RTE_DIM(words); i++)
		eal[i] = words[i];
	MUST(rte_eal_init((int)RTE_DIM(words), eal) >= 0);
}

int main(int argc, char **argv)
{
	unsigned int ms = argc > 1 ? (unsigned int)atoi(argv[1]) : 1000;
	const char *only = argc > 2 ? argv[2] : "";

	if (ms == 0 ||
	    (*only != '\0' && strcmp(only, "sluice") != 0 && strcmp(only, "kernel") != 0)) {
		fprintf(stderr, "usage: bench_sockets [MILLISECONDS [sluice|kernel]]\n");
		return 2;
	}
	ncpus = (unsigned int)sysconf(_SC_NPROCESSORS_ONLN);
	start_eal();
	if (strcmp(only, "kernel") != 0)
		on_sluice(ms);
	if (strcmp(only, "sluice") != 0)
		on_kernel(ms);
	return rte_eal_cleanup() == 0 ? 0 : 1;
}
