/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections that move between squeues. First against a model: two stacks of several squeues, which
 * are polled in any order, connections with bytes both ways over a lossy wire, and moves of any of
 * them at any moment, from upcalls, inline, posted; sends inline and as entries; ends of every kind.
 * Each byte must arrive once and in its place, each upcall on the squeue where the connection is and
 * in the order of the table, and at the end nothing may be left. Then what the model does not meet.
 */
#include "moveworld.h"

static void model(unsigned int seed)
{
	struct world *w = calloc(1, sizeof(*w));
	unsigned int nsq = 1;
	uint64_t bytes = 0, moved = 0;
	sluice_conn_t l;

	assert_non_null(w);
	while (nsq == 1)
		nsq = 2 + (seed * 7 + seed / 5) % (NSQ_MAX - 1);
	world_start(w, seed, nsq, 64);
	l = w->l;
	for (unsigned int i = 0; i < CONNS; i++)
		open_one(w, i, i % 3 == 0 ? (uint16_t)(3000 + i) : 0);
	w->loss = seed % 3 == 0 ? 0 : 20 + rnd(w, 60);
	for (unsigned int step = 0; step < 3000; step++) {
		act(w);
		if (rnd(w, 3) == 0)
			some_polls(w);
	}
	assert_int_equal(sluice_close(w->d.st[1], l), 0);
	w->loss = 0;
	/* What was sent arrives, unless somebody aborted. */
	for (unsigned int k = 0; k < 40; k++) {
		run(w, SLUICE_MS(200));
		for (unsigned int i = 0; i < 2 * CONNS; i++) {
			struct conn_end *e = &w->e[i % 2][i / 2];

			if (e->c == 0 || e->closed != 0)
				continue;
			(void)sluice_clr_flowctrl(w->d.st[e->side], e->c);
			read_some(e, SIZE_MAX);
		}
	}
	for (unsigned int i = 0; i < 2 * CONNS; i++) {
		struct conn_end *e = &w->e[i % 2][i / 2], *o = &w->e[!(i % 2)][i / 2];

		bytes += e->got;
		moved += (uint64_t)e->moved;
		if (e->c != 0 && o->c != 0 && !e->ended && !e->closing && !o->ended &&
		    !o->closing && e->got != o->sent)
			fail_msg("seed %u: %u/%u got %zu of %zu", seed, e->side, e->n,
			    (size_t)e->got, (size_t)o->sent);
	}
	all.accepted += (uint64_t)w->accepted;
	all.bytes += bytes;
	all.moved += moved;
	close_all(w);
	run(w, SLUICE_SEC(700));
	for (unsigned int i = 0; i < 2 * CONNS; i++)
		if (w->e[i % 2][i / 2].c != 0)
			assert_int_equal(w->e[i % 2][i / 2].closed, 1);
	nothing_left(w);
	free(w);
}

static void moves_lose_nothing(void **state)
{
	const char *one = getenv("MOVE_SEED");
	unsigned int n = getenv("SLUICE_LONG") != NULL ? 2000 : 60;

	if (one != NULL) {
		model((unsigned int)atoi(one));
		return;
	}
	for (unsigned int seed = 1; seed <= n; seed++)
		model(seed);
	/* Not one of these is what a lucky seed does. */
	assert_true(all.accepted > n * CONNS / 2);
	assert_true(all.bytes > n * 10000);
	assert_true(all.moved > n * 40);
	for (unsigned int st = SLUICE_SYN_SENT; st < SLUICE_NSTATES; st++)
		if (st != SLUICE_SYN_RCVD && !(all.states >> st & 1))
			fail_msg("no move in %s", sluice_state_name((enum sluice_state)st));
}

/* ---- one thing at a time ---- */

static void there_and_back(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct sluice_stack *st;
	sluice_conn_t idle;

	pair_start(w, 3, 64, 1);
	st = w->d.st[0];
	for (unsigned int i = 0; i < 12; i++) {
		move_to(w, &w->e[0][0], i % 3);
		move_to(w, &w->e[1][0], (i / 2) % 3);
		talk(w, 0);
	}
	/* To where it is, and nowhere. */
	move_to(w, &w->e[0][0], (unsigned int)sluice_conn_squeue(st, w->e[0][0].c));
	assert_int_equal(sluice_move(st, w->e[0][0].c, 3), -EINVAL);
	assert_int_equal(sluice_create(st, AF_INET, SOCK_STREAM, 0, 0, 0, &idle), 0);
	assert_int_equal(sluice_move(st, idle, 1), -EINVAL);
	assert_int_equal(sluice_conn_squeue(st, idle), 0);
	assert_int_equal(sluice_close(st, idle), 0);
	run(w, SLUICE_MS(1));
	assert_int_equal(sluice_move(st, idle, 1), -EBADF);
	assert_int_equal(sluice_conn_squeue(st, idle), -EBADF);
	pair_stop(w);
	free(w);
}

/* No room at the other squeue: it stays, that is counted, and it goes on. */
static void a_full_squeue_takes_nobody(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct sluice_stack *st;
	sluice_conn_t full[16];
	unsigned int home, other, n;

	pair_start(w, 2, 16, 1);
	st = w->d.st[0];
	home = (unsigned int)sluice_conn_squeue(st, w->e[0][0].c);
	other = home ^ 1;
	for (n = 0; n < 16; n++)
		assert_int_equal(
		    sluice_create(st, AF_INET, SOCK_STREAM, 0, 0, (int)other, &full[n]), 0);
	assert_int_equal(sluice_move(st, w->e[0][0].c, other), 0);
	run(w, SLUICE_MS(1));
	assert_int_equal(sluice_conn_squeue(st, w->e[0][0].c), home);
	assert_int_equal(refused(w, 0), 1);
	talk(w, 0);
	/* One place: it goes, and then there is none for a new one. */
	assert_int_equal(sluice_close(st, full[--n]), 0);
	run(w, SLUICE_MS(1));
	move_to(w, &w->e[0][0], other);
	assert_int_equal(
	    sluice_create(st, AF_INET, SOCK_STREAM, 0, 0, (int)other, &full[n]), -ENOBUFS);
	talk(w, 0);
	move_to(w, &w->e[0][0], home);
	assert_int_equal(sluice_create(st, AF_INET, SOCK_STREAM, 0, 0, (int)other, &full[n++]), 0);
	while (n > 0)
		assert_int_equal(sluice_close(st, full[--n]), 0);
	pair_stop(w);
	free(w);
}

/* Two that are spliced go together, or not at all. */
static void a_pair_stays_together(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct conn_end *a, *b;
	struct sluice_stack *st;
	unsigned int home, far;

	pair_start(w, 4, 64, CONNS - 1);
	st = w->d.st[0];
	a = &w->e[0][0];
	home = (unsigned int)sluice_conn_squeue(st, a->c);
	for (b = a + 1; b->c != 0 && sluice_conn_squeue(st, b->c) != (int)home; b++)
		;
	assert_int_not_equal(b->c, 0);
	far = (home + 1) % 4;
	assert_true(sluice_splice(st, a->c, b->c, 100) <= 0); /* nothing there, but joined */
	move_to(w, a, far);
	assert_int_equal(sluice_conn_squeue(st, b->c), far);
	assert_int_equal(sluice_move(st, b->c, (far + 1) % 4), -EBUSY); /* home first */
	assert_int_equal(refused(w, 0), 1);
	move_to(w, b, home);
	assert_int_equal(sluice_conn_squeue(st, a->c), home);
	/* One of them has gone: the other is free. */
	a->closing = true;
	assert_int_equal(sluice_abort(st, a->c), 0);
	run(w, SLUICE_MS(10));
	move_to(w, b, far);
	move_to(w, b, (far + 1) % 4);
	pair_stop(w);
	free(w);
}

static struct {
	int notified;
	sluice_conn_t c;
} zc;

static void on_zcopy(void *arg, sluice_conn_t c, void *cookie)
{
	upcall(arg, c, SLUICE_UP_ZCOPY_NOTIFY);
	zc.notified++;
}

/* The memory is let go after the connection has moved, and after it has ended. */
static void external_memory_finds_it(void **state)
{
	static uint8_t buf[1000];
	static struct sluice_upcalls mine;
	struct world *w = calloc(1, sizeof(*w));
	struct conn_end *e = &w->e[0][0];
	struct sluice_stack *st;
	unsigned int home;

	mine = up;
	mine.zcopy_notify = on_zcopy;
	zc.notified = 0;
	pair_start(w, 3, 64, 1);
	st = w->d.st[0];
	sl_conn_get(sluice_squeue(st, (unsigned int)sluice_conn_squeue(st, e->c)), e->c)->up =
	    &mine;
	home = (unsigned int)sluice_conn_squeue(st, e->c);
	for (unsigned int i = 0; i < 3; i++) {
		for (unsigned int k = 0; k < sizeof(buf); k++)
			buf[k] = byte_of(0, 0, e->sent + k);
		w->d.cut[0] = true;
		assert_int_equal(sluice_send_external(st, e->c, buf, 0, sizeof(buf), buf, 0), 0);
		e->sent += sizeof(buf);
		move_to(w, e, (home + 1 + i) % 3);
		assert_int_equal(zc.notified, i);
		w->d.cut[0] = false;
		run(w, SLUICE_SEC(5));
		read_some(&w->e[1][0], SIZE_MAX); /* of the same buffer: the wire copies nothing */
		run(w, SLUICE_MS(1));
		assert_int_equal(zc.notified, i + 1);
		assert_int_equal(w->e[1][0].got, e->sent);
	}
	move_to(w, e, (home + 1) % 3);
	for (unsigned int k = 0; k < sizeof(buf); k++)
		buf[k] = byte_of(0, 0, e->sent + k);
	assert_int_equal(sluice_send_external(st, e->c, buf, 0, sizeof(buf), buf, 0), 0);
	e->closing = true;
	assert_int_equal(sluice_abort(st, e->c), 0);
	run(w, SLUICE_MS(10));
	assert_int_equal(zc.notified, 4);
	assert_int_equal(e->closed, 1);
	pair_stop(w);
	free(w);
}

static void on_opctl_close(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	struct conn_end *e = arg;
	struct sluice_conn_info info = {.size = sizeof(info)};

	upcall(e, c, SLUICE_UP_OPCTL);
	if (op != SLUICE_OPCTL_MOVED)
		return;
	e->closing = true;
	assert_int_equal(sluice_abort(e->w->d.st[0], c), 0);
	/* A call that runs what waits for the connection: its end, in the middle of an upcall that
	 * was put off. */
	assert_int_equal(sluice_conn_info(e->w->d.st[0], c, &info), -EBADF);
}

static void an_end_in_a_deferred_upcall(void **state)
{
	static struct sluice_upcalls mine;
	struct world *w = calloc(1, sizeof(*w));
	struct conn_end *e = &w->e[0][0];
	struct sluice_stack *st;
	unsigned int home;

	mine = up;
	mine.opctl = on_opctl_close;
	pair_start(w, 2, 64, 1);
	st = w->d.st[0];
	home = (unsigned int)sluice_conn_squeue(st, e->c);
	sl_conn_get(sluice_squeue(st, home), e->c)->up = &mine;
	assert_int_equal(sluice_move(st, e->c, home ^ 1), 0);
	run(w, SLUICE_MS(10));
	assert_int_equal(e->closed, 1);
	pair_stop(w);
	free(w);
}

/* Squeues that nobody polls: a hold and a call go where the connection is, and behind what was asked
 * before. */
static void a_hold_finds_it(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct conn_end *e = &w->e[0][0];
	struct sluice_conn_info info = {.size = sizeof(info)};
	struct sluice_squeue *sq;
	struct sluice_stack *st;
	struct rte_mbuf *m;
	unsigned int home;

	pair_start(w, 3, 64, 1);
	st = w->d.st[0];
	home = (unsigned int)sluice_conn_squeue(st, e->c);
	move_to(w, e, (home + 1) % 3);
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(sluice_squeue_release(sluice_squeue(w->d.st[i % 2], i / 2)), 0);
	m = chain_of(e, 100);
	assert_int_equal(sluice_send(st, e->c, m, 0), 0);
	e->sent += 100;
	assert_int_equal(sluice_squeue_synch_enter(st, e->c, &sq), 0);
	assert_int_equal(sluice_squeue_id(sq), (home + 1) % 3);
	assert_int_equal(sluice_conn_info(st, e->c, &info), 0);
	assert_int_equal(info.sndq, 100);
	assert_int_equal(sluice_move(st, e->c, home), 0); /* at the end of the hold */
	assert_int_equal(sluice_conn_squeue(st, e->c), (home + 1) % 3);
	sluice_squeue_synch_exit(sq);
	run(w, SLUICE_MS(10));
	assert_int_equal(sluice_conn_squeue(st, e->c), home);
	move_to(w, e, (home + 2) % 3);
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(sluice_squeue_release(sluice_squeue(w->d.st[i % 2], i / 2)), 0);
	m = chain_of(e, 50);
	assert_int_equal(sluice_send(st, e->c, m, 0), 0);
	e->sent += 50;
	assert_int_equal(sluice_conn_info(st, e->c, &info), 0);
	assert_int_equal(info.sndq, 50);
	/* The same while it is on its way: it has asked to go home, and nobody polls any more. */
	run(w, SLUICE_MS(10));
	for (unsigned int k = 0; k < 3; k++) {
		move_to(w, e, (home + 1) % 3);
		assert_int_equal(sluice_move(st, e->c, (home + k) % 3), 0);
		for (unsigned int i = 0; i < k; i++)
			(void)poll_one(w, 0, (home + 1) % 3);
		for (unsigned int i = 0; i < 6; i++)
			assert_int_equal(
			    sluice_squeue_release(sluice_squeue(w->d.st[i % 2], i / 2)), 0);
		assert_int_equal(sluice_conn_info(st, e->c, &info), 0);
		run(w, SLUICE_MS(10));
	}
	talk(w, 0);
	pair_stop(w);
	free(w);
}

/* A stack goes while connections are elsewhere, or on their way: all is accounted for. */
static void destroyed_in_the_middle(void **state)
{
	for (unsigned int polls = 0; polls < 8; polls++) {
		struct world *w = calloc(1, sizeof(*w));
		struct sluice_leaks l = {.size = sizeof(l)};
		uint64_t out = 0;

		pair_start(w, 3, 64, 6);
		for (unsigned int i = 0; i < 6; i++) {
			struct conn_end *e = &w->e[0][i];
			unsigned int at = (unsigned int)sluice_conn_squeue(w->d.st[0], e->c);

			if (i % 2 == 0)
				move_to(w, e, (at + 1) % 3);
			send_some(e);
			assert_int_equal(sluice_move(w->d.st[0], e->c, (at + 2) % 3), 0);
			assert_int_equal(
			    sl_chain_push(w->d.st[0], e->c, chain_of(e, 10), 10, 0), 0);
		}
		for (unsigned int i = 0; i < polls; i++)
			(void)poll_one(w, 0, i % 3);
		for (unsigned int side = 0; side < 2; side++) {
			assert_int_equal(sluice_stack_destroy(w->d.st[side], &l), 0);
			out += l.records + l.calls;
		}
		assert_int_equal(out, 0);
		for (unsigned int i = 0; i < 6; i++)
			assert_int_equal(w->e[0][i].closed, 1);
		for (unsigned int side = 0; side < 2; side++) {
			assert_int_equal(tp_out(w->d.pool[side]), 0);
			tp_destroy(w->d.pool[side]);
		}
		free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(moves_lose_nothing),
	    cmocka_unit_test(there_and_back), cmocka_unit_test(a_full_squeue_takes_nobody),
	    cmocka_unit_test(a_pair_stays_together), cmocka_unit_test(external_memory_finds_it),
	    cmocka_unit_test(an_end_in_a_deferred_upcall), cmocka_unit_test(a_hold_finds_it),
	    cmocka_unit_test(destroyed_in_the_middle)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
