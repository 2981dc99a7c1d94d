/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Squeues that are parked and run again, at any moment. First against the model of moveworld.c: whoever
 * polls goes away when its squeue is parked, and comes back; nothing is lost or left, no connection stays
 * on a parked squeue that could leave. Then one thing at a time.
 */
#include "moveworld.h"

static enum sluice_squeue_state state_of(struct world *w, unsigned int side, unsigned int q)
{
	return sluice_squeue_state(sluice_squeue(w->d.st[side], q));
}

/* Who polled it leaves. */
static void leave(struct world *w, unsigned int side, unsigned int q)
{
	if (w->gone[side][q])
		return;
	(void)sluice_squeue_release(sluice_squeue(w->d.st[side], q)); /* unless it never polled */
	w->gone[side][q] = true;
}

static void park(struct world *w, unsigned int side, unsigned int q)
{
	assert_int_equal(sluice_squeue_park(w->d.st[side], q), 0);
	for (unsigned int i = 0; i < 50 && state_of(w, side, q) != SLUICE_SQUEUE_PARKED; i++)
		run(w, SLUICE_MS(1));
	assert_int_equal(state_of(w, side, q), SLUICE_SQUEUE_PARKED);
}

static uint64_t counted(struct world *w, unsigned int side, unsigned int q, size_t offset)
{
	struct sluice_counters c;

	sluice_counters_get(sluice_squeue(w->d.st[side], q), &c);
	return *(uint64_t *)((char *)&c + offset);
}
#define COUNTED(w, side, q, name) counted(w, side, q, offsetof(struct sluice_counters, name))

/* ---- the model ---- */

static struct {
	uint64_t parks, unparks, kept, given, drained;
} sum;

static void park_or_not(struct world *w)
{
	unsigned int side = rnd(w, 2), q = rnd(w, w->d.nsq);
	enum sluice_squeue_state s = state_of(w, side, q);

	if (s == SLUICE_SQUEUE_RUNNING) {
		int rc = sluice_squeue_park(w->d.st[side], q);

		assert_true(rc == 0 || rc == -EBUSY || rc == -ENOBUFS);
		sum.parks += rc == 0;
	} else if (rnd(w, 3) != 0) {
		/* An lcore may go before the drain is over: the keeper ends it. */
		if (s == SLUICE_SQUEUE_PARKED || rnd(w, 4) == 0)
			leave(w, side, q);
	} else {
		int rc = sluice_squeue_unpark(w->d.st[side], q);

		assert_true(rc == 0 || rc == -ENOBUFS);
		if (rc == 0) {
			w->gone[side][q] = false;
			(void)poll_one(w, side, q); /* while nobody polls, any squeue may help */
			sum.unparks++;
		}
	}
}

static void all_have_left(struct world *w)
{
	for (unsigned int i = 0; i < 2 * CONNS; i++) {
		struct conn_end *e = &w->e[i % 2][i / 2];
		enum sluice_state state = SLUICE_CLOSED;
		int at =
		    e->c != 0 && e->closed == 0 ? sluice_conn_squeue(w->d.st[e->side], e->c) : -1;

		if (at < 0 || sluice_getstate(w->d.st[e->side], e->c, &state) != 0 ||
		    state < SLUICE_SYN_SENT)
			continue;
		if (state_of(w, e->side, (unsigned int)at) != SLUICE_SQUEUE_RUNNING)
			fail_msg("seed %u: %u/%u lives on squeue %d, which is %s", w->seed, e->side,
			    e->n, at,
			    sluice_squeue_state_name(state_of(w, e->side, (unsigned int)at)));
	}
}

static void read_all(struct world *w)
{
	for (unsigned int i = 0; i < 2 * CONNS; i++) {
		struct conn_end *e = &w->e[i % 2][i / 2];

		if (e->c == 0 || e->closed != 0)
			continue;
		(void)sluice_clr_flowctrl(w->d.st[e->side], e->c);
		read_some(e, SIZE_MAX);
	}
}

static void model(unsigned int seed)
{
	struct world *w = calloc(1, sizeof(*w));
	unsigned int nsq = 2 + (seed * 5 + seed / 3) % 6, opened = 0;
	struct sluice_counters c;
	sluice_conn_t l;

	assert_non_null(w);
	world_start(w, seed, nsq, 64);
	l = w->l;
	w->loss = seed % 3 == 0 ? 0 : 20 + rnd(w, 60);
	w->quiet = seed % 2 == 0; /* half of them: nobody else moves anything */
	for (unsigned int step = 0; step < 3000; step++) {
		if (step % 150 == 0 && opened < CONNS) {
			open_one(w, opened, opened % 3 == 0 ? (uint16_t)(3000 + opened) : 0);
			opened++;
		}
		if (rnd(w, 25) == 0)
			park_or_not(w);
		act(w);
		if (rnd(w, 3) == 0)
			some_polls(w);
	}
	assert_int_equal(sluice_close(w->d.st[1], l), 0);
	w->loss = 0;
	w->quiet = true;
	for (unsigned int k = 0; k < 40; k++) {
		run(w, SLUICE_MS(200));
		read_all(w);
	}
	all_have_left(w);
	for (unsigned int i = 0; i < 2 * CONNS; i++) {
		struct conn_end *e = &w->e[i % 2][i / 2], *o = &w->e[!(i % 2)][i / 2];

		all.bytes += e->got;
		if (e->c != 0 && o->c != 0 && !e->ended && !e->closing && !o->ended &&
		    !o->closing && e->got != o->sent)
			fail_msg("seed %u: %u/%u got %zu of %zu", seed, e->side, e->n,
			    (size_t)e->got, (size_t)o->sent);
	}
	all.accepted += (uint64_t)w->accepted;
	close_all(w);
	run(w, SLUICE_SEC(700));
	for (unsigned int i = 0; i < 2 * CONNS; i++)
		if (w->e[i % 2][i / 2].c != 0)
			assert_int_equal(w->e[i % 2][i / 2].closed, 1);
	for (unsigned int side = 0; side < 2; side++) {
		sluice_counters_sum(w->d.st[side], &c);
		sum.kept += c.sq_kept_polls;
		sum.given += c.sq_parked_conns;
		sum.drained += c.sq_moves_out;
	}
	nothing_left(w);
	free(w);
}

static void parking_loses_nothing(void **state)
{
	const char *one = getenv("MOVE_SEED");
	unsigned int n = getenv("SLUICE_LONG") != NULL ? 2000 : 60;

	if (one != NULL) {
		model((unsigned int)atoi(one));
		return;
	}
	for (unsigned int seed = 1; seed <= n; seed++)
		model(seed);
	assert_true(all.accepted > n * CONNS / 2);
	assert_true(all.bytes > n * 10000);
	assert_true(sum.parks > n * 10 && sum.unparks > n * 5);
	assert_true(sum.kept > n * 100 && sum.given > n / 2 && sum.drained > n * 10);
}

/* ---- one thing at a time ---- */

static void what_is_refused(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct sluice_stack *st;

	pair_start(w, 3, 64, 1);
	st = w->d.st[0];
	assert_int_equal(sluice_squeue_park(st, 3), -EINVAL);
	assert_int_equal(sluice_squeue_unpark(st, 0), -EALREADY);
	park(w, 0, 0);
	assert_int_equal(sluice_squeue_park(st, 0), -EALREADY);
	assert_int_equal(sluice_squeue_park(st, 2), 0);
	assert_int_equal(state_of(w, 0, 2), SLUICE_SQUEUE_DRAINING);
	assert_int_equal(sluice_squeue_park(st, 1), -EBUSY); /* the last one */
	assert_int_equal(sluice_move(st, w->e[0][0].c, 0), -EBUSY);
	assert_string_equal(sluice_squeue_state_name(SLUICE_SQUEUE_PARKED), "parked");
	assert_int_equal(sluice_squeue_unpark(st, 2), 0);
	assert_int_equal(state_of(w, 0, 2), SLUICE_SQUEUE_RUNNING);
	/* Nobody is told to run a squeue that is parked. */
	assert_int_equal(
	    sluice_squeue_run(sluice_squeue(st, 0), SLUICE_IDLE_YIELD, &(volatile int){0}, NULL),
	    1);
	assert_int_equal(sluice_squeue_unpark(st, 0), 0);
	talk(w, 0);
	pair_stop(w);
	free(w);
}

/* All leave; their lcore goes; they talk; it comes back, and so do those that were born there. */
static void away_and_back(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	pair_start(w, 4, 64, CONNS);
	for (unsigned int q = 0; q < 4; q++) {
		unsigned int born = 0, back = 0;
		uint64_t forwarded;

		park(w, 1, q);
		leave(w, 1, q);
		run(w, SLUICE_MS(10));
		forwarded = COUNTED(w, 1, q, steer_owner);
		for (unsigned int i = 0; i < CONNS; i++) {
			born += SL_HANDLE_SQ(w->e[1][i].c) == q;
			assert_int_not_equal(sluice_conn_squeue(w->d.st[1], w->e[1][i].c), q);
			talk(w, i);
		}
		/* Its packets come where the connections are: nothing is forwarded. */
		assert_int_equal(COUNTED(w, 1, q, steer_owner), forwarded);
		assert_int_equal(sluice_squeue_unpark(w->d.st[1], q), 0);
		w->gone[1][q] = false;
		run(w, SLUICE_MS(20));
		for (unsigned int i = 0; i < CONNS; i++) {
			back += SL_HANDLE_SQ(w->e[1][i].c) == q &&
				sluice_conn_squeue(w->d.st[1], w->e[1][i].c) == (int)q;
			talk(w, i);
		}
		assert_true(born > 0);
		assert_int_equal(back, born);
	}
	assert_int_equal(refused(w, 1), CONNS); /* of on_newconn */
	pair_stop(w);
	free(w);
}

/* What somebody moved by hand stays where he put it. */
static void only_the_parked_come_back(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct conn_end *e;
	unsigned int home, other;

	pair_start(w, 3, 64, 1);
	e = &w->e[1][0];
	home = SL_HANDLE_SQ(e->c);
	other = (home + 1) % 3;
	move_to(w, e, other);
	park(w, 1, home);
	assert_int_equal(sluice_squeue_unpark(w->d.st[1], home), 0);
	run(w, SLUICE_MS(20));
	assert_int_equal(sluice_conn_squeue(w->d.st[1], e->c), other);
	/* A guest goes home when its host is parked, and then stays there. */
	park(w, 1, other);
	assert_int_equal(sluice_conn_squeue(w->d.st[1], e->c), home);
	assert_int_equal(sluice_squeue_unpark(w->d.st[1], other), 0);
	run(w, SLUICE_MS(20));
	assert_int_equal(sluice_conn_squeue(w->d.st[1], e->c), home);
	talk(w, 0);
	pair_stop(w);
	free(w);
}

/* Handshakes with a parked squeue: their user hears of them elsewhere. By a port that spreads as it is
 * told, and by one of a single queue, where all is forwarded. */
static void begin_while_parked(unsigned int nic_queues)
{
	struct world *w = calloc(1, sizeof(*w));
	unsigned int born = 0;

	assert_non_null(w);
	w->nic_queues = nic_queues;
	world_start(w, 1, 4, 64);
	w->quiet = true;
	park(w, 1, 1);
	leave(w, 1, 1);
	park(w, 1, 2);
	leave(w, 1, 2);
	for (unsigned int i = 0; i < CONNS; i++)
		open_one(w, i, 0);
	/* Data is on its heels: some comes before the connection has left. */
	for (unsigned int i = 0; i < CONNS; i++)
		send_some(&w->e[0][i]);
	run(w, SLUICE_MS(500));
	assert_int_equal(w->accepted, CONNS);
	for (unsigned int i = 0; i < CONNS; i++) {
		unsigned int birth = SL_HANDLE_SQ(w->e[1][i].c);
		int at = sluice_conn_squeue(w->d.st[1], w->e[1][i].c);

		born += birth == 1 || birth == 2;
		assert_true(at == 0 || at == 3);
		assert_int_equal(w->e[1][i].moved, 0); /* it began there, for its user */
		talk(w, i);
	}
	assert_true(born > 0);
	assert_int_equal(
	    COUNTED(w, 1, 1, sq_parked_conns) + COUNTED(w, 1, 2, sq_parked_conns), born);
	assert_true(COUNTED(w, 1, 1, sq_kept_polls) > 0 && COUNTED(w, 1, 2, sq_kept_polls) > 0);
	pair_stop(w);
	free(w);
}

static void a_port_that_spreads(void **state)
{
	begin_while_parked(0);
}

static void a_port_of_one_queue(void **state)
{
	begin_while_parked(1);
}

/* Before anybody has polled at all: a stack that begins with fewer lcores than squeues. */
static void parked_from_the_first(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	world_start(w, 1, 4, 64);
	w->quiet = true;
	for (unsigned int q = 1; q < 4; q++) {
		w->gone[1][q] = true;
		assert_int_equal(sluice_squeue_park(w->d.st[1], q), 0);
	}
	for (unsigned int i = 0; i < CONNS; i++)
		open_one(w, i, 0);
	run(w, SLUICE_MS(500));
	assert_int_equal(w->accepted, CONNS);
	for (unsigned int i = 0; i < CONNS; i++) {
		assert_int_equal(sluice_conn_squeue(w->d.st[1], w->e[1][i].c), 0);
		talk(w, i);
	}
	for (unsigned int q = 1; q < 4; q++) {
		assert_int_equal(state_of(w, 1, q), SLUICE_SQUEUE_PARKED);
		assert_int_equal(sluice_squeue_unpark(w->d.st[1], q), 0);
		w->gone[1][q] = false;
	}
	run(w, SLUICE_MS(50));
	for (unsigned int i = 0; i < CONNS; i++)
		assert_int_equal(
		    sluice_conn_squeue(w->d.st[1], w->e[1][i].c), SL_HANDLE_SQ(w->e[1][i].c));
	pair_stop(w);
	free(w);
}

/* Nobody else has room: it stays, its user hears of it where it is, and the keeper serves it. */
static void no_room_elsewhere(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	sluice_conn_t full[16];
	unsigned int n = 0, there = 0;

	world_start(w, 1, 2, 16);
	w->quiet = true;
	while (sluice_create(w->d.st[1], AF_INET, SOCK_STREAM, 0, 0, 0, &full[n]) == 0)
		n++;
	park(w, 1, 1);
	leave(w, 1, 1);
	for (unsigned int i = 0; i < 8; i++)
		open_one(w, i, 0);
	run(w, SLUICE_MS(100));
	for (unsigned int i = 0; i < 8; i++) {
		if (w->e[1][i].c == 0)
			continue; /* its place is the full one */
		there++;
		assert_int_equal(sluice_conn_squeue(w->d.st[1], w->e[1][i].c), 1);
	}
	assert_true(there > 0 && there < 8);
	assert_int_equal(COUNTED(w, 1, 1, sq_parked_conns), 0);
	/* Room: all of them leave by themselves, and the others come in. */
	while (n-- > 0)
		assert_int_equal(sluice_close(w->d.st[1], full[n]), 0);
	run(w, SLUICE_SEC(10));
	assert_int_equal(w->accepted, 8);
	for (unsigned int i = 0; i < 8; i++) {
		assert_int_equal(sluice_conn_squeue(w->d.st[1], w->e[1][i].c), 0);
		talk(w, i);
	}
	pair_stop(w);
	free(w);
}

/* A pinned connection stays; the squeue is parked all the same. Let go, it leaves. */
static void pinned(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct sluice_squeue *keeper;
	struct conn_end *e;
	int home;

	pair_start(w, 2, 64, 2);
	e = &w->e[1][0];
	home = sluice_conn_squeue(w->d.st[1], e->c);
	assert_int_equal(sluice_pin(w->d.st[1], e->c, true), 0);
	assert_int_equal(sluice_move(w->d.st[1], e->c, (unsigned int)!home), -EBUSY);
	park(w, 1, (unsigned int)home);
	assert_int_equal(sluice_conn_squeue(w->d.st[1], e->c), home);
	leave(w, 1, (unsigned int)home);
	for (unsigned int i = 0; i < 5; i++)
		send_some(&w->e[0][0]);
	for (unsigned int q = 0; q < 2; q++)
		(void)poll_one(w, 0, q);
	keeper = sluice_squeue(w->d.st[1], (unsigned int)!home);
	while (sluice_squeue_next(keeper) <= w->d.now)
		(void)poll_one(w, 1, (unsigned int)!home);
	/* The keeper says when there will be something, and finds it then. */
	w->d.now = sluice_squeue_next(keeper);
	assert_true(poll_one(w, 1, (unsigned int)!home) > 0);
	run(w, SLUICE_MS(100));
	assert_true(e->got > 0);
	assert_int_equal(sluice_pin(w->d.st[1], e->c, false), 0);
	run(w, SLUICE_MS(30));
	assert_int_equal(sluice_conn_squeue(w->d.st[1], e->c), !home);
	talk(w, 0);
	talk(w, 1);
	pair_stop(w);
	free(w);
}

/* A guest that is closed and ends in TIME_WAIT: its user hears `closed` at once and where it lived, also
 * when the one that it was spliced with stays. */
static void closed_where_it_lived(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct conn_end *e, *other;
	int home, at;

	pair_start(w, 3, 64, 2);
	e = &w->e[1][0];
	other = &w->e[1][1];
	home = sluice_conn_squeue(w->d.st[1], e->c);
	at = (home + 1) % 3;
	if (sluice_conn_squeue(w->d.st[1], other->c) != at)
		move_to(w, other, (unsigned int)at);
	move_to(w, e, (unsigned int)at);
	assert_int_equal(sluice_pin(w->d.st[1], e->c, true), 0);
	assert_int_equal(sluice_splice(w->d.st[1], other->c, e->c, 1), 0);
	e->closing = true;
	assert_int_equal(sluice_close(w->d.st[1], e->c), 0);
	run(w, SLUICE_MS(10));
	assert_int_equal(e->closed, 0); /* FIN_WAIT_2 */
	w->e[0][0].closing = true;
	assert_int_equal(sluice_close(w->d.st[0], w->e[0][0].c), 0);
	run(w, SLUICE_MS(10));
	assert_int_equal(e->closed, 1);
	assert_int_equal(e->closed_at, at);
	/* What is left of it is where its packets arrive. */
	assert_int_equal(sluice_squeue(w->d.st[1], (unsigned int)home)->tcp->tws.inuse, 1);
	pair_stop(w);
	free(w);
}

/* ---- a listener's, not accepted yet ---- */

struct waiting {
	struct world *w;
	sluice_conn_t c[CONNS];
	unsigned int n, gone;
};

static void waiting_disconnected(void *arg, sluice_conn_t c, int err)
{
	((struct waiting *)arg)->gone++;
}

static const struct sluice_upcalls up_waiting;

static int waiting_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **ups)
{
	struct waiting *q = arg;

	q->c[q->n++] = eager;
	*ups = &up_waiting;
	return 0;
}

static const struct sluice_upcalls up_waiting = {
    .size = sizeof(up_waiting), .newconn = waiting_newconn, .disconnected = waiting_disconnected};

static void opener_gone(void *arg, sluice_conn_t c, int err)
{
	++*(unsigned int *)arg;
}

static const struct sluice_upcalls up_opener = {
    .size = sizeof(up_opener), .disconnected = opener_gone};

/* The listener closes when connections that a parked squeue handed over wait for accept, and others are
 * on their way: all are reset. */
static void listener_closes(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	for (unsigned int steps = 0; steps < 60; steps++) {
		unsigned int home = (steps + steps / 3) % 3; /* parked, or the one that runs */
		struct waiting q = {.w = w};
		struct sockaddr_in at = duo_addr4(1, 90);
		sluice_conn_t l, c[CONNS];
		unsigned int reset = 0;

		memset(w, 0, sizeof(*w));
		world_start(w, steps + 1, 3, 64);
		w->quiet = true;
		assert_int_equal(
		    sluice_create(w->d.st[1], AF_INET, SOCK_STREAM, 0, 0, (int)home, &l), 0);
		assert_int_equal(sluice_activate(w->d.st[1], l, &up_waiting, &q), 0);
		assert_int_equal(sluice_bind(w->d.st[1], l, (void *)&at, sizeof(at)), 0);
		assert_int_equal(sluice_listen(w->d.st[1], l, 64), 0);
		park(w, 1, steps % 3);
		leave(w, 1, steps % 3);
		park(w, 1, (steps + 1) % 3);
		for (unsigned int i = 0; i < CONNS; i++) {
			assert_int_equal(
			    sluice_create(w->d.st[0], AF_INET, SOCK_STREAM, 0, 0, -1, &c[i]), 0);
			assert_int_equal(sluice_activate(w->d.st[0], c[i], &up_opener, &reset), 0);
			assert_int_equal(
			    sluice_connect(w->d.st[0], c[i], (void *)&at, sizeof(at), NULL),
			    -EINPROGRESS);
		}
		for (unsigned int k = 0; k < steps / 2; k++)
			run(w, 2500); /* the handshake's three packets take 30 us */
		assert_int_equal(sluice_close(w->d.st[1], l), 0);
		run(w, SLUICE_SEC(5));
		assert_int_equal(q.gone, q.n);
		assert_int_equal(reset, CONNS);
		for (unsigned int i = 0; i < CONNS; i++)
			assert_int_equal(sluice_close(w->d.st[0], c[i]), 0);
		for (unsigned int i = 0; i < q.n; i++)
			assert_int_equal(sluice_close(w->d.st[1], q.c[i]), 0);
		pair_stop(w);
	}
	free(w);
}

/* One that waits for accept stays where it is until then. */
static void accepted_late(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct waiting q = {.w = w};
	struct sockaddr_in at = duo_addr4(1, 90);
	unsigned int reset = 0;
	sluice_conn_t l, c;
	int home;

	world_start(w, 1, 2, 64);
	w->quiet = true;
	assert_int_equal(sluice_create(w->d.st[1], AF_INET, SOCK_STREAM, 0, 0, 0, &l), 0);
	assert_int_equal(sluice_activate(w->d.st[1], l, &up_waiting, &q), 0);
	assert_int_equal(sluice_bind(w->d.st[1], l, (void *)&at, sizeof(at)), 0);
	assert_int_equal(sluice_listen(w->d.st[1], l, 64), 0);
	assert_int_equal(sluice_create(w->d.st[0], AF_INET, SOCK_STREAM, 0, 0, -1, &c), 0);
	assert_int_equal(sluice_activate(w->d.st[0], c, &up_opener, &reset), 0);
	assert_int_equal(
	    sluice_connect(w->d.st[0], c, (void *)&at, sizeof(at), NULL), -EINPROGRESS);
	run(w, SLUICE_MS(1));
	assert_int_equal(q.n, 1);
	home = sluice_conn_squeue(w->d.st[1], q.c[0]);
	park(w, 1, (unsigned int)home);
	leave(w, 1, (unsigned int)home);
	run(w, SLUICE_MS(50));
	assert_int_equal(sluice_conn_squeue(w->d.st[1], q.c[0]), home);
	assert_int_equal(sluice_accept(w->d.st[1], l, q.c[0]), 0);
	run(w, SLUICE_MS(30));
	assert_int_equal(sluice_conn_squeue(w->d.st[1], q.c[0]), !home);
	assert_int_equal(sluice_close(w->d.st[0], c), 0);
	assert_int_equal(sluice_close(w->d.st[1], q.c[0]), 0);
	assert_int_equal(sluice_close(w->d.st[1], l), 0);
	run(w, SLUICE_SEC(1));
	assert_int_equal(reset, 0);
	pair_stop(w);
	free(w);
}

/* ---- what else a parked squeue does ---- */

static void tick(struct sluice_squeue *sq, void *arg)
{
	++*(unsigned int *)arg;
}

/* Timers of the application fire, calls run, opens with -1 go elsewhere, a hold is a hold. */
static void it_still_serves(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct sluice_squeue *sq, *held;
	sluice_conn_t c;
	unsigned int fired = 0;
	sluice_timer_t t;

	pair_start(w, 2, 64, 1);
	sq = sluice_squeue(w->d.st[0], 1);
	assert_int_equal(sluice_timer_start(sq, w->d.now + SLUICE_MS(20), tick, &fired, &t), 0);
	park(w, 0, 1);
	leave(w, 0, 1);
	run(w, SLUICE_MS(40));
	assert_int_equal(fired, 1);
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(sluice_create(w->d.st[0], AF_INET, SOCK_STREAM, 0, 0, -1, &c), 0);
		assert_int_equal(sluice_conn_squeue(w->d.st[0], c), 0);
		assert_int_equal(sluice_close(w->d.st[0], c), 0);
	}
	/* Who insists gets it, and it lives there until it can leave. */
	assert_int_equal(sluice_create(w->d.st[0], AF_INET, SOCK_STREAM, 0, 0, 1, &c), 0);
	assert_int_equal(sluice_conn_squeue(w->d.st[0], c), 1);
	/* A thread that polls another squeue cannot be handed this one. */
	assert_int_equal(sluice_squeue_synch_enter(w->d.st[0], c, &held), -EXDEV);
	run(w, SLUICE_MS(30));
	assert_int_equal(sluice_conn_squeue(w->d.st[0], c), 1);
	assert_int_equal(sluice_close(w->d.st[0], c), 0);
	run(w, SLUICE_MS(30));
	talk(w, 0);
	pair_stop(w);
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(parking_loses_nothing),
	    cmocka_unit_test(what_is_refused), cmocka_unit_test(away_and_back),
	    cmocka_unit_test(only_the_parked_come_back), cmocka_unit_test(a_port_that_spreads),
	    cmocka_unit_test(a_port_of_one_queue), cmocka_unit_test(parked_from_the_first),
	    cmocka_unit_test(no_room_elsewhere), cmocka_unit_test(pinned),
	    cmocka_unit_test(closed_where_it_lived), cmocka_unit_test(listener_closes),
	    cmocka_unit_test(accepted_late), cmocka_unit_test(it_still_serves)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
