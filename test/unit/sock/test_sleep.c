/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sleeping squeues. The port of this test tells only while it is armed, and only of packets that come
 * after that, as cards do; and sleeps are so long that whoever is not woken sleeps until the test
 * times out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sluice/sluice.h>
#include <squeue/squeue_int.h>

#include "mpool.h"

#define ROUNDS 3000
#define QUEUES 4 /* of the port: each squeue polls as many as there are for it */

struct tport {
	struct sluice_driver_ops ops;
	struct rte_mempool *mp;
	struct {
		_Atomic uint32_t left; /* packets that wait */
		_Atomic bool armed;
		int fd;
		uint32_t arms, disarms;
	} q[QUEUES];
	_Atomic uint32_t got;
	_Atomic uint32_t sneaks; /* times that a packet comes just before arm */
};

static struct tport *port;
static struct sluice_stack *st;
static volatile int stop;

static uint16_t rx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct tport *p = ctx;

	if (atomic_load(&p->q[q].left) == 0 || n == 0)
		return 0;
	/* No frame that anybody knows: the stack drops it. */
	pkts[0] = rte_pktmbuf_alloc(p->mp);
	assert_non_null(pkts[0]);
	memset(rte_pktmbuf_append(pkts[0], 60), 0xff, 60);
	atomic_fetch_sub(&p->q[q].left, 1);
	atomic_fetch_add(&p->got, 1);
	return 1;
}

static uint16_t tx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	rte_pktmbuf_free_bulk(pkts, n);
	return n;
}

static int info(void *ctx, struct sluice_port_info *i)
{
	i->mtu = 1500;
	i->nqueues = QUEUES;
	i->link_up = true;
	i->socket = -1;
	return 0;
}

static int arm(void *ctx, uint16_t q, int *fds, unsigned int max)
{
	struct tport *p = ctx;
	eventfd_t n;

	(void)eventfd_read(p->q[q].fd, &n);
	p->q[q].arms++;
	if (atomic_load(&p->sneaks) > 0) {
		atomic_fetch_sub(&p->sneaks, 1);
		atomic_fetch_add(&p->q[q].left, 1);
	}
	atomic_store(&p->q[q].armed, true);
	if (max == 0)
		return -ENOSPC;
	fds[0] = p->q[q].fd;
	return 1;
}

static void disarm(void *ctx, uint16_t q)
{
	struct tport *p = ctx;

	p->q[q].disarms++;
	atomic_store(&p->q[q].armed, false);
}

static void gone(void *ctx)
{
}

static void send_packet(unsigned int q)
{
	atomic_fetch_add(&port->q[q].left, 1);
	if (atomic_load(&port->q[q].armed))
		(void)eventfd_write(port->q[q].fd, 1);
}

static void up(unsigned int nsq, bool tells)
{
	struct sluice_stack_params sp = {
	    .size = sizeof(sp), .name = "sleep", .nsqueues = nsq, .max_connections = 64, .seed = 1};
	struct sluice_tunables t;

	port = calloc(1, sizeof(*port));
	assert_non_null(port);
	port->mp = tp_create(2048, 0);
	port->ops = (struct sluice_driver_ops){.size = sizeof(port->ops),
	    .name = "test",
	    .rx = rx,
	    .tx = tx,
	    .info = info,
	    .destroy = gone};
	if (tells) {
		port->ops.arm = arm;
		port->ops.disarm = disarm;
	}
	for (unsigned int q = 0; q < QUEUES; q++)
		port->q[q].fd = eventfd(0, EFD_NONBLOCK);
	sluice_tunables_default(&t);
	sp.tunables = &t;
	sp.hdr_pool = port->mp;
	assert_int_equal(sluice_stack_create(&sp, &st, NULL), 0);
	/* Beyond the table's range: the test is about being woken. */
	for (unsigned int i = 0; i < nsq; i++) {
		st->sq[i]->tun.sq_idle_max = SLUICE_SEC(3600);
		st->sq[i]->tun.sq_idle_sleep = tells ? SLUICE_SEC(3600) : SLUICE_MS(1);
	}
	assert_int_equal(sluice_port_add(st, (struct sluice_driver){&port->ops, port}), 0);
	stop = 0;
}

static void *lcore(void *arg)
{
	struct sluice_squeue *sq = arg;

	assert_int_equal(sluice_squeue_run(sq, SLUICE_IDLE_SLEEP, &stop, NULL), 0);
	return NULL;
}

/* The entry that wakes the squeue for its end. */
static int64_t nothing(
    struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *args, void *arg)
{
	return 7;
}

static void down(pthread_t *t, unsigned int nsq, int tag)
{
	struct sluice_leaks l = {.size = sizeof(l)};
	struct sluice_args a = {{0}};

	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < nsq; i++) {
		(void)sluice_post(st, i, tag, SLUICE_CONN_NONE, &a);
		pthread_join(t[i], NULL);
	}
	assert_int_equal(sluice_stack_destroy(st, &l), 0);
	for (unsigned int q = 0; q < QUEUES; q++) {
		assert_int_equal(port->q[q].arms != 0, port->q[q].disarms != 0);
		assert_false(atomic_load(&port->q[q].armed));
		close(port->q[q].fd);
	}
	assert_int_equal(tp_out(port->mp), 0);
	tp_destroy(port->mp);
	free(port);
}

static bool asleep(unsigned int i)
{
	return atomic_load(&st->sq[i]->sleeping) != 0;
}

/* Packets to all queues, waited for one by one; with `calls` entries among them. */
static void wakes(unsigned int nsq, bool tells, unsigned int rounds, bool calls)
{
	struct sluice_counters c;
	struct sluice_args a = {{0}};
	pthread_t t[QUEUES];
	int tag;

	up(nsq, tells);
	tag = sluice_op_register(st, "nothing", nothing, NULL);
	for (unsigned int i = 0; i < nsq; i++)
		pthread_create(&t[i], NULL, lcore, sluice_squeue(st, i));
	for (uint32_t i = 0; i < rounds; i++) {
		unsigned int q = i % QUEUES;

		/* Each fourth time to one that sleeps, else into whatever it does. */
		if (i % 16 < 4)
			while (!asleep(q % nsq))
				sched_yield();
		if (calls && i % 3 == 0)
			assert_int_equal(
			    sluice_synch_call(st, q % nsq, tag, SLUICE_CONN_NONE, &a), 7);
		send_packet(q);
		while (atomic_load(&port->got) != i + 1)
			sched_yield();
	}
	sluice_counters_sum(st, &c);
	assert_true(c.sq_sleeps > 0);
	if (tells)
		assert_true(c.sq_wakeups_rx > 0);
	else
		assert_int_equal(c.sq_wakeups_rx, 0);
	down(t, nsq, tag);
}

static void by_packet(void **state)
{
	wakes(1, true, ROUNDS, false);
}

static void by_packet_and_entry(void **state)
{
	wakes(1, true, ROUNDS, true);
}

static void two_squeues(void **state)
{
	wakes(2, true, ROUNDS, true);
}

/* A port that cannot tell is polled every so often. */
static void by_time(void **state)
{
	wakes(1, false, 200, true);
}

/* A packet that comes after the last poll and before arm is told by nobody: it does not wait. */
static void before_arm(void **state)
{
	pthread_t t;
	int tag;

	up(1, true);
	atomic_store(&port->sneaks, 100);
	tag = sluice_op_register(st, "nothing", nothing, NULL);
	pthread_create(&t, NULL, lcore, sluice_squeue(st, 0));
	while (atomic_load(&port->got) < 100)
		sched_yield();
	down(&t, 1, tag);
}

/* Idle is idle: no passes but those that lead to the sleep. */
static void costs_nothing(void **state)
{
	struct sluice_counters c;
	struct timespec ts = {0, 50000000};
	uint64_t passes;
	pthread_t t;
	int tag;

	up(1, true);
	tag = sluice_op_register(st, "nothing", nothing, NULL);
	pthread_create(&t, NULL, lcore, sluice_squeue(st, 0));
	while (!asleep(0))
		sched_yield();
	sluice_counters_get(st->sq[0], &c);
	passes = c.sq_polls;
	nanosleep(&ts, NULL);
	sluice_counters_get(st->sq[0], &c);
	assert_int_equal(c.sq_polls, passes);
	down(&t, 1, tag);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(by_packet),
	    cmocka_unit_test(by_packet_and_entry),
	    cmocka_unit_test(two_squeues),
	    cmocka_unit_test(by_time),
	    cmocka_unit_test(before_arm),
	    cmocka_unit_test(costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
