/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two stacks of 1, 2 and 4 squeues behind cards that spread packets rightly, wrongly, by nobody
 * knows what, at random, or not at all: whatever a card does, connections opened from either side
 * carry their bytes, and the counters say what it cost.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <rte_mbuf.h>

#include <squeue/squeue_int.h>

#include "duo.h"

#define CONNS 48
#define PORT 7000
#define BYTES 30000u

struct end {
	struct sluice_stack *st;
	sluice_conn_t c;
	uint32_t sent, got;
	bool eof, closed;
	int err;
};

struct world {
	struct duo d;
	sluice_conn_t listener[2];
	struct end act[CONNS], pas[CONNS];
	unsigned int npas, done, squeues_seen;
};

static struct world *w;

static uint8_t byte_at(uint32_t i)
{
	return (uint8_t)(i * 2654435761u >> 13);
}

static void send_more(struct end *e)
{
	uint8_t b[1000];

	while (e->sent < BYTES) {
		uint32_t n = BYTES - e->sent < sizeof(b) ? BYTES - e->sent : (uint32_t)sizeof(b);
		ssize_t rc;

		for (uint32_t i = 0; i < n; i++)
			b[i] = byte_at(e->sent + i);
		rc = sluice_send_copy(e->st, e->c, b, n, 0);
		if (rc < 0)
			return;
		e->sent += (uint32_t)rc;
	}
	(void)sluice_shutdown(e->st, e->c, SLUICE_SHUT_WR);
}

static const struct sluice_upcalls up_of_all;

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct end *e = &w->pas[w->npas++];

	assert_true(w->npas <= CONNS);
	*e = (struct end){.st = arg, .c = eager};
	w->squeues_seen |= 1u << (eager >> 56);
	*up_arg = e;
	*up = &up_of_all;
	return sluice_accept(arg, l, eager) == 0 ? 0 : -EINVAL;
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	send_more(arg);
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct end *e = arg;
	struct iovec iov;

	while (sluice_peek(e->st, c, &iov, 1) == 1) {
		for (size_t i = 0; i < iov.iov_len; i++)
			assert_int_equal(((uint8_t *)iov.iov_base)[i], byte_at(e->got++));
		assert_int_equal(sluice_consume(e->st, c, iov.iov_len), 0);
	}
	return 0;
}

static void on_full(void *arg, sluice_conn_t c, bool full)
{
	if (!full)
		send_more(arg);
}

static void on_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	struct end *e = arg;

	if (op != SLUICE_OPCTL_SHUT_RECV)
		return;
	e->eof = true;
	if (e->sent == 0)
		send_more(e);
	(void)sluice_close(e->st, c);
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	((struct end *)arg)->err = err;
}

static void on_closed(void *arg, sluice_conn_t c)
{
	((struct end *)arg)->closed = true;
	w->done++;
}

static const struct sluice_upcalls up_of_all = {.size = sizeof(up_of_all),
    .newconn = on_newconn,
    .connected = on_connected,
    .recv = on_recv,
    .txq_full = on_full,
    .opctl = on_opctl,
    .disconnected = on_disconnected,
    .closed = on_closed};

static const struct sluice_upcalls listener_up = {
    .size = sizeof(listener_up), .newconn = on_newconn};

static void listen_on(unsigned int side, bool v6)
{
	struct sluice_stack *st = w->d.st[side];
	struct sockaddr_in6 a6 = duo_addr6(side, PORT);
	struct sockaddr_in a4 = duo_addr4(side, PORT);
	sluice_conn_t *l = &w->listener[side];

	assert_int_equal(sluice_create(st, v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0, 0, -1, l), 0);
	assert_int_equal(sluice_activate(st, *l, &listener_up, st), 0);
	assert_int_equal(
	    sluice_bind(st, *l, v6 ? (void *)&a6 : (void *)&a4, v6 ? sizeof(a6) : sizeof(a4)), 0);
	assert_int_equal(sluice_listen(st, *l, CONNS), 0);
}

/* squeue -1: as it comes; lport 0: chosen by the stack. */
static void open_one(struct end *e, unsigned int from, unsigned int to, bool v6, uint16_t lport)
{
	struct sluice_stack *st = w->d.st[from];
	struct sockaddr_in6 a6 = duo_addr6(to, PORT), b6 = duo_addr6(from, lport);
	struct sockaddr_in a4 = duo_addr4(to, PORT), b4 = duo_addr4(from, lport);
	socklen_t len = v6 ? sizeof(a6) : sizeof(a4);

	*e = (struct end){.st = st};
	assert_int_equal(
	    sluice_create(st, v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0, 0, -1, &e->c), 0);
	assert_int_equal(sluice_activate(st, e->c, &up_of_all, e), 0);
	if (lport != 0)
		assert_int_equal(sluice_bind(st, e->c, v6 ? (void *)&b6 : (void *)&b4, len), 0);
	assert_int_equal(
	    sluice_connect(st, e->c, v6 ? (void *)&a6 : (void *)&a4, len, NULL), -EINPROGRESS);
}

static struct sluice_counters sum(unsigned int side)
{
	struct sluice_counters c;

	sluice_counters_sum(w->d.st[side], &c);
	return c;
}

static void run_until_done(unsigned int n)
{
	for (unsigned int i = 0; i < 3000 && w->done < n; i++)
		duo_run(&w->d, SLUICE_MS(10));
	assert_int_equal(w->done, n);
	for (unsigned int i = 0; i < n / 2; i++) {
		assert_int_equal(w->act[i].err, 0);
		assert_int_equal(w->act[i].got, BYTES);
		assert_int_equal(w->pas[i].got, BYTES);
		assert_true(w->act[i].eof && w->pas[i].eof);
	}
}

static void begin(unsigned int nsq, unsigned int queues, enum rssnic_mode mode)
{
	struct duo_params p = {.nsq = nsq, .seed = 7, .nic_queues = queues, .nic_mode = mode};

	memset(w, 0, sizeof(*w));
	duo_start(&w->d, &p);
}

static void finish(void)
{
	for (unsigned int i = 0; i < 2; i++)
		if (w->listener[i] != 0)
			(void)sluice_close(w->d.st[i], w->listener[i]);
	duo_run(&w->d, SLUICE_SEC(120)); /* beyond TIME_WAIT */
	assert_int_equal(duo_stop(&w->d), 0);
}

/* Every third one binds its port first, which need not steer home. */
static void world_of(unsigned int nsq, unsigned int queues, enum rssnic_mode mode, bool v6)
{
	struct sluice_counters c[2];

	begin(nsq, queues, mode);
	listen_on(1, v6);
	for (unsigned int i = 0; i < CONNS; i++)
		open_one(&w->act[i], 0, 1, v6, i % 3 == 0 ? (uint16_t)(20000 + i) : 0);
	run_until_done(2 * CONNS);
	assert_int_equal(w->squeues_seen, (1u << nsq) - 1);
	for (unsigned int side = 0; side < 2; side++) {
		c[side] = sum(side);
		/* At random means out of order: a late segment may find its connection gone. */
		if (mode != RSSNIC_RANDOM)
			assert_int_equal(c[side].tcp_in_no_conn + c[side].tcp_out_rsts, 0);
		assert_int_equal(c[side].sq_fwd_drops, 0);
		if (nsq == 1) {
			assert_int_equal(c[side].sq_fwd_out, 0);
			continue;
		}
		if (queues < nsq || mode == RSSNIC_UNKNOWN)
			assert_int_equal(c[side].steer_wrong, 0);
		else
			assert_int_equal(c[side].steer_soft, 0);
		assert_int_equal(c[side].steer_tx > 0, queues < nsq);
	}
	if (nsq > 1 && queues >= nsq && mode == RSSNIC_RIGHT)
		assert_int_equal(c[0].steer_wrong + c[1].steer_wrong + c[1].steer_owner, 0);
	else if (nsq > 1)
		assert_true(c[1].steer_wrong + c[1].steer_soft > CONNS);
	if (nsq > 1) /* the bound ones */
		assert_true(c[0].steer_owner > 0);
	finish();
}

static void matrix(void **state)
{
	for (unsigned int nsq = 1; nsq <= 4; nsq *= 2)
		for (unsigned int mode = 0; mode < RSSNIC_MODES; mode++)
			for (unsigned int v6 = 0; v6 < 2; v6++)
				world_of(nsq, nsq, mode, v6);
}

/* Fewer queues than squeues, and more. */
static void queues(void **state)
{
	world_of(2, 1, RSSNIC_RIGHT, false);
	world_of(4, 1, RSSNIC_RIGHT, true);
	world_of(4, 2, RSSNIC_RIGHT, false);
	world_of(2, 5, RSSNIC_RIGHT, false);
	world_of(2, 8, RSSNIC_UNKNOWN, true);
}

/* Packets that side 1 hands on, of CONNS connections to it. */
static uint64_t handed_on(unsigned int nsq, enum rssnic_mode mode, bool follow, uint64_t *followed)
{
	struct sluice_counters c;

	begin(nsq, nsq, mode);
	for (unsigned int i = 0; i < nsq; i++)
		w->d.st[1]->sq[i]->tun.steer_follow = follow;
	listen_on(1, false);
	for (unsigned int i = 0; i < CONNS; i++)
		open_one(&w->act[i], 0, 1, false, 0);
	run_until_done(2 * CONNS);
	c = sum(1);
	*followed = c.steer_follow;
	if (mode != RSSNIC_RANDOM)
		assert_int_equal(c.tcp_in_no_conn + c.tcp_out_rsts, 0);
	finish();
	return c.steer_soft + c.steer_wrong + c.steer_owner;
}

/* A card that nobody knows is learned from: connections live where it delivers, and little is handed on. */
static void follow(void **state)
{
	uint64_t n, none;

	for (unsigned int nsq = 2; nsq <= 4; nsq *= 2)
		for (unsigned int mode = 0; mode < RSSNIC_MODES; mode++) {
			uint64_t off = handed_on(nsq, mode, false, &none);
			uint64_t on = handed_on(nsq, mode, true, &n);

			assert_int_equal(none, 0);
			if (mode == RSSNIC_RIGHT) {
				assert_int_equal(n + on, 0);
			} else if (mode != RSSNIC_RANDOM) {
				assert_in_range(n, 1, CONNS);
				/* SYN, ACK, and what came with it: not what follows. */
				assert_true(on < off && on <= 14 * n);
			}
		}
}

/* Both ends on one stack: what we send ourselves comes by no port. */
static void self(void **state)
{
	for (unsigned int mode = 0; mode < RSSNIC_MODES; mode++) {
		begin(4, 4, mode);
		listen_on(0, mode & 1);
		for (unsigned int i = 0; i < CONNS; i++)
			open_one(&w->act[i], 0, 0, mode & 1, 0);
		run_until_done(2 * CONNS);
		assert_int_equal(sum(0).tcp_out_rsts, 0);
		assert_true(sum(0).steer_local > 0);
		finish();
	}
}

/* What `show steering` says is where packets arrive and where the connection is. */
static void show(void **state)
{
	struct sluice_steering s = {.size = sizeof(s)};
	struct sluice_tuple t = {
	    .size = sizeof(t), .laddr = "10.0.0.1", .raddr = "10.0.0.2", .rport = PORT};
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);

	for (unsigned int mode = 0; mode < RSSNIC_MODES; mode++) {
		begin(4, 4, mode);
		listen_on(1, false);
		for (unsigned int i = 0; i < CONNS; i++) {
			open_one(&w->act[i], 0, 1, false, 0);
			assert_int_equal(sluice_getsockname(
					     w->d.st[0], w->act[i].c, (struct sockaddr *)&sa, &len),
			    0);
			t.lport = ntohs(sa.sin_port);
			assert_int_equal(sluice_steering(w->d.st[0], 0, &t, &s), 0);
			assert_int_equal(s.kind, mode == RSSNIC_UNKNOWN ? SLUICE_STEERING_UNKNOWN
									: SLUICE_STEERING_KNOWN);
			assert_int_equal(s.queue >= 0, mode != RSSNIC_UNKNOWN);
			if (s.queue >= 0)
				assert_int_equal(s.squeue, s.queue);
			assert_int_equal(s.owner, s.squeue); /* its port steers home */
			duo_run(&w->d, SLUICE_MS(1));
			t.lport++;
			if (i == 0) {
				assert_int_equal(sluice_steering(w->d.st[0], 0, &t, &s), 0);
				assert_int_equal(s.owner, -1);
			}
		}
		run_until_done(2 * CONNS);
		assert_int_equal(sluice_steering(w->d.st[0], 1, &t, &s), -ENOENT);
		t.raddr = "fd00::2";
		assert_int_equal(sluice_steering(w->d.st[0], 0, &t, &s), -EINVAL);
		t.raddr = "10.0.0.2";
		finish();
	}
}

int main(void)
{
	static struct world world;
	const struct CMUnitTest tests[] = {cmocka_unit_test(matrix), cmocka_unit_test(queues),
	    cmocka_unit_test(follow), cmocka_unit_test(self), cmocka_unit_test(show)};

	w = &world;
	return cmocka_run_group_tests_name("steering", tests, NULL, NULL);
}
