/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A port that asks to be reset while squeues run on it. The port of this test is a loop: what is sent
 * through queue q arrives at queue q. It fails when rx or tx runs during its reset, and loses then
 * what is in it, as cards do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sluice/sluice.h>
#include <squeue/squeue_int.h>

#include "mpool.h"

#define MAXQ 4
#define RESETS 10

struct tport {
	struct sluice_driver_ops ops;
	struct rte_mempool *mp;
	uint16_t nq;
	atomic_bool down; /* reset runs */
	_Atomic uint32_t asks, resets, tx, rx, fails, infos;
	_Atomic uint32_t bad; /* rx or tx while it was down */
	_Atomic uint32_t in[MAXQ];
};

static struct tport *port;
static struct sluice_stack *st;
static volatile int stop;

/* Long enough for a reset to come between. */
static void enter(struct tport *p, uint16_t q)
{
	atomic_fetch_add(&p->in[q], 1);
	if (atomic_load(&p->down))
		atomic_fetch_add(&p->bad, 1);
	sched_yield();
	if (atomic_load(&p->down))
		atomic_fetch_add(&p->bad, 1);
	atomic_fetch_sub(&p->in[q], 1);
}

static uint16_t rx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct tport *p = ctx;

	enter(p, q);
	pkts[0] = rte_pktmbuf_alloc(p->mp);
	assert_non_null(pkts[0]);
	memset(rte_pktmbuf_append(pkts[0], 60), 0xff, 60);
	atomic_fetch_add(&p->rx, 1);
	return 1;
}

static uint16_t tx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct tport *p = ctx;

	enter(p, q);
	atomic_fetch_add(&p->tx, n);
	rte_pktmbuf_free_bulk(pkts, n);
	return n;
}

static int info(void *ctx, struct sluice_port_info *i)
{
	struct tport *p = ctx;

	atomic_fetch_add(&p->infos, 1);
	i->mtu = 1500;
	i->nqueues = p->nq;
	i->link_up = true;
	i->socket = -1;
	return 0;
}

static void events(void *ctx, void (*event)(void *arg, enum sluice_port_event ev), void *arg)
{
	struct tport *p = ctx;

	if (atomic_load(&p->asks) > 0) {
		atomic_fetch_sub(&p->asks, 1);
		event(arg, SLUICE_PORT_RESET);
	}
}

static int reset(void *ctx)
{
	struct tport *p = ctx;

	atomic_store(&p->down, true);
	for (uint16_t q = 0; q < p->nq; q++)
		if (atomic_load(&p->in[q]) != 0)
			atomic_fetch_add(&p->bad, 1);
	sched_yield();
	if (atomic_load(&p->fails) > 0) {
		atomic_fetch_sub(&p->fails, 1);
		return -EIO; /* still down */
	}
	atomic_fetch_add(&p->resets, 1);
	atomic_store(&p->down, false);
	return 0;
}

static void gone(void *ctx)
{
}

static void up(unsigned int nsq, uint16_t nq)
{
	struct sluice_stack_params sp = {
	    .size = sizeof(sp), .name = "reset", .nsqueues = nsq, .max_connections = 64, .seed = 1};

	port = calloc(1, sizeof(*port));
	assert_non_null(port);
	port->mp = tp_create(2048, 0);
	port->nq = nq;
	port->ops = (struct sluice_driver_ops){.size = sizeof(port->ops),
	    .name = "test",
	    .rx = rx,
	    .tx = tx,
	    .info = info,
	    .events = events,
	    .reset = reset,
	    .destroy = gone};
	sp.hdr_pool = port->mp;
	assert_int_equal(sluice_stack_create(&sp, &st, NULL), 0);
	assert_int_equal(sluice_port_add(st, (struct sluice_driver){&port->ops, port}), 0);
	stop = 0;
}

/* Each pass of a squeue has something to send. */
static int send_one(struct sluice_squeue *sq, void *arg)
{
	struct rte_mbuf *m;

	if (sl_tx_room(sq, 0) == 0)
		return 0;
	m = rte_pktmbuf_alloc(port->mp);
	assert_non_null(m);
	assert_non_null(rte_pktmbuf_append(m, 60));
	assert_true(sl_tx_push(sq, 0, m));
	return 1;
}

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec) * 200; /* events often */
}

static void *lcore(void *arg)
{
	assert_int_equal(sluice_squeue_run(arg, SLUICE_IDLE_YIELD, &stop, clock_ns), 0);
	return NULL;
}

static void down(void)
{
	struct sluice_leaks l = {.size = sizeof(l)};

	assert_int_equal(sluice_stack_destroy(st, &l), 0);
	assert_int_equal(atomic_load(&port->bad), 0);
	assert_int_equal(tp_out(port->mp), 0);
	tp_destroy(port->mp);
	free(port);
}

static void busy(unsigned int nsq, uint16_t nq)
{
	struct sluice_app app = {.size = sizeof(app), .poll = send_one};
	pthread_t t[MAXQ];
	uint32_t tx_was, rx_was;
	int n = 0, failed = 0;

	up(nsq, nq);
	assert_int_equal(sluice_app_register(st, &app), 0);
	atomic_store(&port->fails, 3);
	for (unsigned int i = 0; i < nsq; i++)
		pthread_create(&t[i], NULL, lcore, sluice_squeue(st, i));
	for (uint32_t i = 0; i < RESETS; i++) {
		uint32_t was = (uint32_t)n;

		if (i % 2 == 0)
			atomic_store(&port->asks, 1);
		else
			assert_int_equal(sluice_port_reset(st, 0), 0);
		while ((uint32_t)n == was) {
			int rc = sluice_ports_serve(st);

			if (rc < 0) {
				assert_int_equal(rc, -EIO);
				failed++;
			} else {
				n += rc;
			}
			sched_yield();
		}
		/* All come back, or nothing would move. */
		tx_was = atomic_load(&port->tx);
		rx_was = atomic_load(&port->rx);
		while (atomic_load(&port->tx) - tx_was < 200 ||
		       atomic_load(&port->rx) - rx_was < 200) {
			assert_int_equal(sluice_ports_serve(st), 0);
			sched_yield();
		}
	}
	assert_int_equal(failed, 3);
	assert_int_equal(atomic_load(&port->resets), RESETS);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < nsq; i++)
		pthread_join(t[i], NULL);
	down();
}

static void one_squeue(void **state)
{
	busy(1, 1);
}

static void four_squeues(void **state)
{
	busy(4, 4);
}

/* Squeues without a queue of their own, and one with two. */
static void one_queue(void **state)
{
	busy(3, 1);
}

static void more_queues(void **state)
{
	busy(2, 3);
}

/* One thread polls all squeues and serves: nothing waits for it. What is staged stays until the port is
 * back. */
static void hosted(void **state)
{
	uint64_t now = SLUICE_SEC(1);
	struct sluice_counters c;
	uint32_t rx_was;

	up(2, 2);
	for (unsigned int i = 0; i < 2; i++)
		assert_true(sluice_squeue_poll(sluice_squeue(st, i), now, 0) >= 0);
	assert_int_equal(sluice_ports_serve(st), 0);
	assert_int_equal(sluice_port_reset(st, 1), -ENOENT);
	assert_int_equal(sluice_port_reset(st, 0), 0);
	assert_int_equal(sluice_ports_serve(st), 0); /* squeues are told */
	assert_true(sluice_squeue_poll(sluice_squeue(st, 0), now, 0) >= 0);
	assert_int_equal(sluice_ports_serve(st), 0); /* squeue 1 is still there */
	rx_was = atomic_load(&port->rx);
	send_one(sluice_squeue(st, 0), NULL);
	assert_true(sluice_squeue_poll(sluice_squeue(st, 0), now, 0) >= 0);
	assert_int_equal(atomic_load(&port->rx), rx_was);
	assert_int_equal(atomic_load(&port->tx), 0);
	sluice_counters_sum(st, &c);
	assert_true(c.port_tx_full > 0);
	assert_true(sluice_squeue_poll(sluice_squeue(st, 1), now, 0) >= 0);
	assert_int_equal(sluice_ports_serve(st), 1);
	assert_true(sluice_squeue_poll(sluice_squeue(st, 0), now, 0) >= 0);
	assert_int_equal(atomic_load(&port->tx), 1);
	assert_true(sluice_squeue_poll(sluice_squeue(st, 1), now, 0) >= 0);
	assert_int_equal(sluice_ports_serve(st), 0);
	/* All look at it anew. */
	rx_was = atomic_load(&port->infos);
	for (unsigned int i = 0; i < 2; i++)
		assert_true(sluice_squeue_poll(sluice_squeue(st, i), now, 0) >= 0);
	assert_int_equal(atomic_load(&port->infos), rx_was + 2);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(sluice_squeue_release(sluice_squeue(st, i)), 0);
	down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hosted),
	    cmocka_unit_test(one_squeue),
	    cmocka_unit_test(four_squeues),
	    cmocka_unit_test(one_queue),
	    cmocka_unit_test(more_queues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
