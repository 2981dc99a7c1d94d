/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads: two stacks whose squeues run in threads of their own, and control threads that open, use
 * and close connections, change the configuration, ask stale handles, hold squeues and move
 * connections from squeue to squeue (which their servers do too), all at once.
 * Every byte that a control thread sends comes back; at the end nothing is left. The thread
 * sanitizer watches.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <rte_mbuf.h>

#include <sluice/sluice.h>

#include "mpool.h"

#define NSQ 3
#define ROUNDS 40
#define BYTES 20000

struct net {
	struct sluice_stack *st[2];
	struct rte_mempool *pool[2];
	pthread_t loop[2][NSQ];
	volatile int stop;
	sluice_conn_t listener;
	_Atomic int listener_closed, echoes_closed, echoes;
	_Atomic uint64_t handle_seen; /* the latest handle of any worker: often stale */
	_Atomic int failures;
};

#define CHECK(n, cond)                                                             \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			atomic_fetch_add(&(n)->failures, 1);                       \
		}                                                                  \
	} while (0)

/* ---- the echo server, on its squeues ---- */

struct echo {
	struct net *net;
	sluice_conn_t c;
	bool eof;
	unsigned int n; /* recv upcalls */
};

static void echo_more(struct echo *e)
{
	struct sluice_stack *st = e->net->st[1];

	while (sluice_splice(st, e->c, e->c, BYTES) > 0)
		;
	if (e->eof && sluice_readable(st, e->c) == 0)
		(void)sluice_close(st, e->c);
}

static int echo_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up);

static int echo_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct echo *e = arg;

	echo_more(e);
	(void)sluice_move(e->net->st[1], c, e->n++ % NSQ);
	return 0;
}

static void echo_full(void *arg, sluice_conn_t c, bool full)
{
	if (!full)
		echo_more(arg);
}

static void echo_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t v)
{
	struct echo *e = arg;

	if (op == SLUICE_OPCTL_SHUT_RECV) {
		e->eof = true;
		echo_more(e);
	}
}

static void echo_gone(void *arg, sluice_conn_t c, int err)
{
	struct echo *e = arg;

	(void)sluice_close(e->net->st[1], c);
}

static void echo_closed(void *arg, sluice_conn_t c)
{
	struct echo *e = arg;

	atomic_fetch_add(&e->net->echoes_closed, 1);
	free(e);
}

static const struct sluice_upcalls echo_upcalls = {.size = sizeof(echo_upcalls),
    .recv = echo_recv,
    .txq_full = echo_full,
    .opctl = echo_opctl,
    .disconnected = echo_gone,
    .closed = echo_closed};

static int echo_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct net *n = arg;
	struct echo *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return -ENOMEM;
	e->net = n;
	e->c = eager;
	*up_arg = e;
	*up = &echo_upcalls;
	atomic_fetch_add(&n->echoes, 1);
	(void)sluice_accept(n->st[1], l, eager);
	return 0;
}

static void listener_closed(void *arg, sluice_conn_t c)
{
	struct net *n = arg;

	atomic_store(&n->listener_closed, 1);
}

static const struct sluice_upcalls listener_upcalls = {
    .size = sizeof(listener_upcalls), .newconn = echo_newconn, .closed = listener_closed};

/* ---- a worker: a control thread with one connection at a time; upcalls come on the squeue ---- */

struct worker {
	struct net *net;
	pthread_t thread;
	unsigned int id;
	_Atomic int up, eof, closed, gone;
	_Atomic uint32_t got;
	uint8_t key;
	sluice_conn_t c;
};

static uint8_t byte_at(uint8_t key, uint32_t off)
{
	return (uint8_t)(key + off * 31 + (off >> 8));
}

static void w_connected(void *arg, sluice_conn_t c, uint32_t id)
{
	atomic_store(&((struct worker *)arg)->up, 1);
}

static void w_disconnected(void *arg, sluice_conn_t c, int err)
{
	atomic_store(&((struct worker *)arg)->gone, err);
}

static int w_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct worker *w = arg;
	uint32_t at = atomic_load(&w->got);
	struct iovec iov[4];
	int k;

	while ((k = sluice_peek(w->net->st[0], c, iov, 4)) > 0) {
		size_t sum = 0;

		for (int i = 0; i < k; i++) {
			const uint8_t *p = iov[i].iov_base;

			for (size_t j = 0; j < iov[i].iov_len; j++, at++)
				CHECK(w->net, p[j] == byte_at(w->key, at));
			sum += iov[i].iov_len;
		}
		CHECK(w->net, sluice_consume(w->net->st[0], c, sum) == 0);
	}
	atomic_store(&w->got, at);
	return 0;
}

static void w_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t v)
{
	if (op == SLUICE_OPCTL_SHUT_RECV)
		atomic_store(&((struct worker *)arg)->eof, 1);
}

static void w_closed(void *arg, sluice_conn_t c)
{
	atomic_store(&((struct worker *)arg)->closed, 1);
}

static const struct sluice_upcalls worker_upcalls = {.size = sizeof(worker_upcalls),
    .connected = w_connected,
    .disconnected = w_disconnected,
    .recv = w_recv,
    .opctl = w_opctl,
    .closed = w_closed};

/* Waits as long as it takes: a run that hangs is ended by the test's own time-out. */
static void await(_Atomic int *flag)
{
	struct timespec ts = {0, 100000};

	while (atomic_load(flag) == 0)
		nanosleep(&ts, NULL);
}

static struct sockaddr_in server_addr(void)
{
	return (struct sockaddr_in){
	    .sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(0x0a000002)};
}

static void one_round(struct worker *w, bool abort_it)
{
	struct sluice_stack *st = w->net->st[0];
	struct sockaddr_in a = server_addr(), peer;
	socklen_t len = sizeof(peer);
	uint8_t buf[700];
	uint32_t sent = 0;

	atomic_store(&w->up, 0);
	atomic_store(&w->eof, 0);
	atomic_store(&w->closed, 0);
	atomic_store(&w->gone, 0);
	atomic_store(&w->got, 0);
	CHECK(w->net, sluice_create(st, AF_INET, SOCK_STREAM, 0, 0, -1, &w->c) == 0);
	CHECK(w->net, sluice_activate(st, w->c, &worker_upcalls, w) == 0);
	CHECK(w->net,
	    sluice_connect(st, w->c, (struct sockaddr *)&a, sizeof(a), NULL) == -EINPROGRESS);
	atomic_store(&w->net->handle_seen, w->c);
	await(&w->up);
	CHECK(w->net, sluice_getpeername(st, w->c, (struct sockaddr *)&peer, &len) == 0);
	CHECK(w->net, peer.sin_port == htons(80));
	while (sent < BYTES) {
		uint32_t n = sizeof(buf) < BYTES - sent ? sizeof(buf) : BYTES - sent;
		ssize_t rc;

		for (uint32_t i = 0; i < n; i++)
			buf[i] = byte_at(w->key, sent + i);
		rc = sluice_send_copy(st, w->c, buf, n, 0);
		if (rc == -EAGAIN) {
			sched_yield();
			continue;
		}
		CHECK(w->net, rc > 0);
		if (rc <= 0)
			return;
		sent += (uint32_t)rc;
		if (sent % 3 == 0)
			CHECK(w->net, sluice_move(st, w->c, sent / 3 % NSQ) == 0);
		if (abort_it && sent > BYTES / 2)
			break;
	}
	if (abort_it) {
		CHECK(w->net, sluice_abort(st, w->c) == 0);
	} else {
		CHECK(w->net, sluice_shutdown(st, w->c, SHUT_WR) == 0);
		await(&w->eof);
		CHECK(w->net, atomic_load(&w->got) == BYTES);
		CHECK(w->net, sluice_close(st, w->c) == 0);
	}
	CHECK(w->net, sluice_close(st, w->c) != 0);
	await(&w->closed);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		w->key = (uint8_t)(w->id * 50 + i);
		one_round(w, i % 4 == 3);
	}
	return NULL;
}

/* ---- threads that disturb ---- */

struct disturber {
	struct net *net;
	pthread_t thread;
	_Atomic int stop;
};

static void change_configuration(struct net *n, unsigned int i)
{
	struct sluice_txn *t;

	if (sluice_txn_begin(n->st[0], &t) != 0)
		return;
	if (i & 1)
		CHECK(n, sluice_addr_add(t, "wire0", "10.0.7.1/24", false) == 0);
	else
		(void)sluice_addr_del(t, "wire0", "10.0.7.1/24");
	CHECK(n, sluice_tunable_set(t, "tcp.delack", SLUICE_MS(1 + i % 40)) == 0);
	CHECK(n, sluice_txn_commit(t, NULL) == 0);
}

static void ask_a_stale_handle(struct net *n)
{
	sluice_conn_t c = atomic_load(&n->handle_seen);
	struct sluice_conn_info info = {.size = sizeof(info)};
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);
	enum sluice_state s;
	int rc;

	if (c == 0)
		return;
	rc = sluice_getstate(n->st[0], c, &s);
	CHECK(n, rc == 0 || rc == -EBADF);
	rc = sluice_getsockname(n->st[0], c, (struct sockaddr *)&a, &len);
	CHECK(n, rc == 0 || rc == -EBADF);
	rc = sluice_conn_info(n->st[0], c, &info);
	CHECK(n, rc == 0 || rc == -EBADF);
	rc = sluice_clr_flowctrl(n->st[0], c);
	CHECK(n, rc == 0 || rc == -EBADF);
}

static void hold_briefly(struct net *n)
{
	sluice_conn_t c = atomic_load(&n->handle_seen);
	struct timespec ts = {0, 2000000};
	struct sluice_conn_info info = {.size = sizeof(info)};
	struct sluice_squeue *sq;

	if (c == 0 || sluice_squeue_synch_enter(n->st[0], c, &sq) != 0)
		return;
	(void)sluice_conn_info(n->st[0], c, &info); /* inline: the squeue is ours */
	nanosleep(&ts, NULL);
	sluice_squeue_synch_exit(sq);
}

static void *disturb(void *arg)
{
	struct disturber *d = arg;
	struct sluice_counters ctr;
	struct timespec ts = {0, 300000};

	for (unsigned int i = 0; !atomic_load(&d->stop); i++) {
		change_configuration(d->net, i);
		ask_a_stale_handle(d->net);
		if (i % 8 == 0)
			hold_briefly(d->net);
		else
			(void)sluice_move(
			    d->net->st[0], atomic_load(&d->net->handle_seen), i % NSQ);
		sluice_counters_sum(d->net->st[0], &ctr);
		nanosleep(&ts, NULL);
	}
	return NULL;
}

/* ---- the world ---- */

struct loop_arg {
	struct net *net;
	struct sluice_squeue *sq;
};

static void *loop(void *arg)
{
	struct loop_arg *l = arg;

	CHECK(l->net, sluice_squeue_run(l->sq, SLUICE_IDLE_SLEEP, &l->net->stop, NULL) == 0);
	return NULL;
}

static void configure(struct net *n, unsigned int i)
{
	struct sluice_if_params ifp = {
	    .size = sizeof(ifp), .name = "wire0", .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_txn *t;

	assert_int_equal(sluice_txn_begin(n->st[i], &t), 0);
	assert_int_equal(sluice_if_add(t, &ifp), 0);
	assert_int_equal(
	    sluice_addr_add(t, "wire0", i == 0 ? "10.0.0.1/24" : "10.0.0.2/24", false), 0);
	assert_int_equal(sluice_tunable_set(t, "ip.dad_probes", 0), 0);
	assert_int_equal(sluice_tunable_set(t, "tcp.time_wait", SLUICE_MS(20)), 0);
	assert_int_equal(sluice_txn_commit(t, NULL), 0);
}

static void start(struct net *n, struct loop_arg la[2][NSQ])
{
	struct sluice_wire_params wp = {.size = sizeof(wp),
	    .nqueues = {NSQ, NSQ},
	    .depth = 1024,
	    .copy = true,
	    .threads = true};
	struct sockaddr_in a = server_addr();
	struct sluice_driver end[2];

	for (int i = 0; i < 2; i++)
		wp.pool[i] = n->pool[i] = tp_create(2048, 0);
	assert_int_equal(sluice_wire_create(&wp, end), 0);
	for (unsigned int i = 0; i < 2; i++) {
		struct sluice_stack_params sp = {.size = sizeof(sp),
		    .name = i == 0 ? "left" : "right",
		    .nsqueues = NSQ,
		    .max_connections = 256,
		    .hdr_pool = n->pool[i],
		    .seed = i + 1};

		assert_int_equal(sluice_stack_create(&sp, &n->st[i], NULL), 0);
		assert_int_equal(sluice_port_add(n->st[i], end[i]), 0);
		configure(n, i);
	}
	for (unsigned int i = 0; i < 2; i++) {
		for (unsigned int k = 0; k < NSQ; k++) {
			la[i][k] = (struct loop_arg){n, sluice_squeue(n->st[i], k)};
			assert_int_equal(pthread_create(&n->loop[i][k], NULL, loop, &la[i][k]), 0);
		}
	}
	assert_int_equal(sluice_create(n->st[1], AF_INET, SOCK_STREAM, 0, 0, -1, &n->listener), 0);
	assert_int_equal(sluice_activate(n->st[1], n->listener, &listener_upcalls, n), 0);
	assert_int_equal(sluice_bind(n->st[1], n->listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(sluice_listen(n->st[1], n->listener, 128), 0);
}

static void stop(struct net *n)
{
	assert_int_equal(sluice_close(n->st[1], n->listener), 0);
	await(&n->listener_closed);
	while (atomic_load(&n->echoes) != atomic_load(&n->echoes_closed))
		sched_yield();
	__atomic_store_n(&n->stop, 1, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < 2; i++)
		for (unsigned int k = 0; k < NSQ; k++)
			pthread_join(n->loop[i][k], NULL);
	for (unsigned int i = 0; i < 2; i++) {
		struct sluice_leaks l = {.size = sizeof(l)};

		assert_int_equal(sluice_stack_destroy(n->st[i], &l), 0);
		assert_int_equal(l.connections + l.timers + l.calls + l.records, 0);
	}
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(tp_out(n->pool[i]), 0);
	for (unsigned int i = 0; i < 2; i++)
		tp_destroy(n->pool[i]);
	assert_int_equal(atomic_load(&n->failures), 0);
}

static void all_at_once(void **state)
{
	static struct net n;
	struct loop_arg la[2][NSQ];
	struct worker w[4] = {0};
	struct disturber d = {.net = &n};
	struct sluice_counters ctr;

	start(&n, la);
	assert_int_equal(pthread_create(&d.thread, NULL, disturb, &d), 0);
	for (unsigned int i = 0; i < 4; i++) {
		w[i].net = &n;
		w[i].id = i;
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (unsigned int i = 0; i < 4; i++)
		pthread_join(w[i].thread, NULL);
	atomic_store(&d.stop, 1);
	pthread_join(d.thread, NULL);
	for (unsigned int i = 0; i < 2; i++) {
		sluice_counters_sum(n.st[i], &ctr);
		assert_true(ctr.sq_moves_in > 20); /* of 160 connections */
	}
	stop(&n);
}

/* A hold of 100 ms in the middle of a stream: no packet below the backlog's bound is lost, and the
 * stream is the same. */
static void a_long_hold(void **state)
{
	static struct net n;
	struct loop_arg la[2][NSQ];
	struct sluice_counters before, after;
	struct sluice_squeue_stats s = {.size = sizeof(s)};
	struct timespec ts = {0, 100000000};
	struct worker w = {.net = &n, .id = 9};
	struct sluice_squeue *sq;
	uint64_t holds = 0;

	memset(&n, 0, sizeof(n));
	start(&n, la);
	sluice_counters_sum(n.st[0], &before);
	assert_int_equal(pthread_create(&w.thread, NULL, work, &w), 0);
	await(&w.up);
	while (sluice_squeue_synch_enter(n.st[0], atomic_load(&n.handle_seen), &sq) != 0)
		sched_yield();
	nanosleep(&ts, NULL);
	sluice_squeue_synch_exit(sq);
	pthread_join(w.thread, NULL);
	sluice_counters_sum(n.st[0], &after);
	assert_int_equal(after.sq_backlog_drops, before.sq_backlog_drops);
	assert_true(after.sq_holds_long > before.sq_holds_long);
	sluice_squeue_stats(sq, &s);
	for (unsigned int i = 26; i < 32; i++) /* 2^26 ns: 67 ms */
		holds += s.hold_hist[i];
	assert_true(holds > 0);
	stop(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_at_once), cmocka_unit_test(a_long_hold)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
