/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections that move between squeues. First against a model: two stacks of several squeues, which
 * are polled in any order, connections with bytes both ways over a lossy wire, and moves of any of
 * them at any moment, from upcalls, inline, posted; sends inline and as entries; ends of every kind.
 * Each byte must arrive once and in its place, each upcall on the squeue where the connection is and
 * in the order of the table, and at the end nothing may be left. Then what the model does not meet.
 */
#include "script.h"

#include "duo.h"

#define NSQ_MAX 8
#define CONNS 12

struct conn_end {
	struct world *w;
	unsigned int side, n;
	sluice_conn_t c;
	uint16_t port; /* its own */
	bool fin_sent, fin_seen, ended, closing;
	int closed, moved, last_up; /* last_up: upcall + 1 */
	uint64_t sent, got;
};

struct world {
	struct duo d;
	unsigned int seed, loss;
	uint32_t rng;
	int polled[2]; /* squeue in whose pass we are, -1 none */
	struct conn_end e[2][CONNS];
	int accepted, aborts;
	uint64_t moves, posted;
	bool quiet; /* nobody moves by chance */
};

/* Of all seeds. */
static struct {
	uint64_t accepted, bytes, moved;
	uint32_t states; /* in which a connection arrived somewhere */
} all;

static uint32_t rnd(struct world *w, uint32_t n)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 17;
	w->rng ^= w->rng << 5;
	return w->rng % n;
}

/* Byte `at` of what side `side` of connection n sends. */
static uint8_t byte_of(unsigned int side, unsigned int n, uint64_t at)
{
	return (uint8_t)((at * 131 + (at >> 8) * 17 + n * 29 + side * 7) & 255);
}

/* ---- upcalls ---- */

static void upcall(struct conn_end *e, sluice_conn_t c, enum sluice_upcall up)
{
	struct world *w = e->w;

	int at = sluice_conn_squeue(w->d.st[e->side], c);

	/* An inline call makes upcalls outside of any pass of ours. */
	if (c != e->c || at < 0 || (w->polled[e->side] >= 0 && at != w->polled[e->side]))
		fail_msg("seed %u: upcall %d of %u/%u on squeue %d, it is on %d", w->seed, up,
		    e->side, e->n, w->polled[e->side], at);
	if (e->last_up != 0 && !sluice_upcall_may_follow((enum sluice_upcall)(e->last_up - 1), up))
		fail_msg("seed %u: upcall %d after %d", w->seed, up, e->last_up - 1);
	e->last_up = (int)up + 1;
}

static void maybe_move(struct conn_end *e, uint32_t one_in)
{
	struct world *w = e->w;

	if (w->quiet || rnd(w, one_in) != 0)
		return;
	(void)sluice_move(w->d.st[e->side], e->c, rnd(w, w->d.nsq));
	w->moves++;
}

static const struct sluice_upcalls up;

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **ups)
{
	struct world *w = arg;
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	struct conn_end *e;

	assert_int_equal(sluice_getpeername(w->d.st[1], eager, (void *)&sa, &len), 0);
	for (unsigned int i = 0; i < CONNS; i++) {
		if (w->e[0][i].port != sa.sin_port)
			continue;
		e = &w->e[1][i];
		assert_int_equal(e->c, 0);
		*e = (struct conn_end){.w = w, .side = 1, .n = i, .c = eager};
		e->last_up = SLUICE_UP_CONNECTED + 1;
		*up_arg = e;
		*ups = &up;
		w->accepted++;
		/* Not accepted yet: it is the listener's. */
		assert_int_equal(
		    sluice_move(w->d.st[1], eager, (unsigned int)(w->polled[1] + 1) % w->d.nsq),
		    -EBUSY);
		assert_int_equal(sluice_accept(w->d.st[1], l, eager), 0);
		maybe_move(e, 2);
		return 0;
	}
	fail_msg("nobody's connection");
	return -1;
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	upcall(arg, c, SLUICE_UP_CONNECTED);
	maybe_move(arg, 2);
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	struct conn_end *e = arg;

	upcall(e, c, SLUICE_UP_DISCONNECTED);
	e->ended = true;
	maybe_move(e, 3);
}

static void on_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	struct conn_end *e = arg;
	enum sluice_state state = SLUICE_CLOSED;

	upcall(e, c, SLUICE_UP_OPCTL);
	if (op == SLUICE_OPCTL_MOVED) {
		assert_int_equal(value, sluice_conn_squeue(e->w->d.st[e->side], c));
		e->moved++;
		sluice_getstate(e->w->d.st[e->side], c, &state);
		all.states |= 1u << state;
	} else if (op == SLUICE_OPCTL_SHUT_RECV) {
		e->fin_seen = true;
		maybe_move(e, 4);
	}
}

/* Up to `want` of what is readable. */
static void read_some(struct conn_end *e, size_t want)
{
	struct sluice_stack *st = e->w->d.st[e->side];
	struct iovec iov[16];
	size_t done = 0;
	int n = sluice_peek(st, e->c, iov, 16);

	for (int i = 0; i < n && done < want; i++)
		for (size_t k = 0; k < iov[i].iov_len && done < want; k++, done++)
			if (((uint8_t *)iov[i].iov_base)[k] !=
			    byte_of(!e->side, e->n, e->got + done))
				fail_msg("seed %u: byte %zu of %u/%u is wrong", e->w->seed,
				    (size_t)e->got + done, e->side, e->n);
	e->got += done;
	if (n > 0)
		assert_int_equal(sluice_consume(st, e->c, done), 0);
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct conn_end *e = arg;

	upcall(e, c, SLUICE_UP_RECV);
	assert_false(e->fin_seen);
	assert_int_equal(sluice_readable(e->w->d.st[e->side], c), avail);
	if (rnd(e->w, 8) == 0)
		return -ENOSPC;
	read_some(e, 1 + rnd(e->w, (uint32_t)avail));
	maybe_move(e, 6);
	return 0;
}

static void on_full(void *arg, sluice_conn_t c, bool full)
{
	upcall(arg, c, SLUICE_UP_TXQ_FULL);
	maybe_move(arg, 4);
}

static void on_error(void *arg, sluice_conn_t c, int err)
{
	upcall(arg, c, SLUICE_UP_SET_ERROR);
}

static void on_closed(void *arg, sluice_conn_t c)
{
	struct conn_end *e = arg;

	upcall(e, c, SLUICE_UP_CLOSED);
	e->closed++;
}

static const struct sluice_upcalls up_listener = {
    .size = sizeof(up_listener), .newconn = on_newconn};
static const struct sluice_upcalls up = {.size = sizeof(up),
    .connected = on_connected,
    .disconnected = on_disconnected,
    .opctl = on_opctl,
    .recv = on_recv,
    .txq_full = on_full,
    .set_error = on_error,
    .closed = on_closed};

/* ---- polling: any squeue, any order ---- */

static int poll_one(struct world *w, unsigned int side, unsigned int q)
{
	int rc;

	w->polled[side] = (int)q;
	rc = sluice_squeue_poll(sluice_squeue(w->d.st[side], q), w->d.now, rnd(w, 4) == 0 ? 1 : 0);
	w->polled[side] = -1;
	assert_true(rc >= 0);
	return rc;
}

static void some_polls(struct world *w)
{
	for (uint32_t n = rnd(w, 3 * w->d.nsq); n > 0; n--)
		(void)poll_one(w, rnd(w, 2), rnd(w, w->d.nsq));
	w->d.now += rnd(w, 4) == 0 ? rnd(w, 3000000) : rnd(w, 20000);
}

/* Everybody until nothing is to do, and then time goes on; for ns. */
static void run(struct world *w, uint64_t ns)
{
	uint64_t end = w->d.now + ns, next;

	while (w->d.now < end) {
		int work = 0;

		next = UINT64_MAX;
		for (unsigned int i = 0; i < 2 * w->d.nsq; i++)
			work += poll_one(w, i % 2, i / 2);
		if (work > 0) {
			w->d.now += 1000;
			continue;
		}
		for (unsigned int i = 0; i < 2 * w->d.nsq; i++)
			next =
			    RTE_MIN(next, sluice_squeue_next(sluice_squeue(w->d.st[i % 2], i / 2)));
		w->d.now = RTE_MAX(RTE_MIN(next, end), w->d.now + 1000);
	}
}

/* ---- what the application does ---- */

static struct rte_mbuf *chain_of(struct conn_end *e, uint32_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(e->w->d.pool[e->side]);

	assert_non_null(m);
	for (uint32_t i = 0; i < len; i++)
		*(uint8_t *)rte_pktmbuf_append(m, 1) = byte_of(e->side, e->n, e->sent + i);
	return m;
}

/* As the squeue's thread, or as another one would: by an entry. */
static void send_some(struct conn_end *e)
{
	struct sluice_stack *st = e->w->d.st[e->side];
	uint32_t len = 1 + rnd(e->w, rnd(e->w, 3) == 0 ? 1700 : 200);
	struct rte_mbuf *m;
	int rc;

	if (e->fin_sent || e->closing || e->ended || sluice_sendable(st, e->c) <= 0)
		return;
	m = chain_of(e, len);
	if (rnd(e->w, 2) == 0)
		rc = sluice_send(st, e->c, m, 0);
	else
		rc = sl_chain_push(st, e->c, m, len, 0);
	if (rc == 0)
		e->sent += len;
	else
		rte_pktmbuf_free(m);
}

static void act(struct world *w)
{
	struct conn_end *e = &w->e[rnd(w, 2)][rnd(w, CONNS)];
	struct sluice_args args = {{rnd(w, w->d.nsq)}};
	struct sluice_stack *st = w->d.st[e->side];
	struct sluice_conn_info info = {.size = sizeof(info)};

	if (e->c == 0 || e->closed > 0)
		return;
	switch (rnd(w, 40)) {
	case 0: /* posted, as from a control thread */
	case 1:
	case 2:
		w->posted += sl_conn_post(st, SL_OP_MOVE, e->c, &args) == 0;
		break;
	case 3:
	case 4:
	case 5:
		maybe_move(e, 1);
		break;
	case 6:
		if (e->last_up != 0 && !e->closing) {
			(void)sluice_shutdown(st, e->c, SHUT_WR);
			e->fin_sent = true;
		}
		break;
	case 7:
	case 8:
		(void)sluice_clr_flowctrl(st, e->c);
		break;
	case 9:
		if (rnd(w, 6) == 0 && !e->closing) {
			e->closing = true;
			w->aborts++;
			assert_int_equal(sluice_abort(st, e->c), 0);
		}
		break;
	case 10:
		/* Where it is, or refused while it is on its way; but never a stranger's answer. */
		if (sluice_conn_info(st, e->c, &info) == 0)
			assert_true(info.bytes_in >= e->got);
		break;
	default:
		send_some(e);
		break;
	}
}

/* ---- the end ---- */

static void close_all(struct world *w)
{
	for (unsigned int i = 0; i < 2 * CONNS; i++) {
		struct conn_end *e = &w->e[i % 2][i / 2];

		if (e->c == 0 || e->closing)
			continue;
		e->closing = true;
		assert_int_equal(sluice_close(w->d.st[e->side], e->c), 0);
		if (rnd(w, 2) == 0 && !w->quiet)
			(void)sluice_move(w->d.st[e->side], e->c, rnd(w, w->d.nsq));
	}
}

static void nothing_left(struct world *w)
{
	for (unsigned int i = 0; i < 2 * w->d.nsq; i++) {
		const struct sl_tcp *t = sluice_squeue(w->d.st[i % 2], i / 2)->tcp;

		assert_int_equal(t->conns.inuse, 0);
		assert_int_equal(t->fwds.inuse, 0);
		assert_int_equal(t->tws.inuse, 0);
		assert_int_equal(t->tab.count, 0);
		assert_int_equal(atomic_load(&t->seats), 0);
		assert_null(t->guests);
		assert_null(t->late);
	}
	for (unsigned int side = 0; side < 2; side++) {
		struct sluice_counters ctr;

		sluice_counters_sum(w->d.st[side], &ctr);
		assert_int_equal(ctr.sq_moves_in, ctr.sq_moves_out);
		assert_int_equal(ctr.tcp_curr_estab, 0);
		assert_int_equal(ctr.sq_fwd_drops, 0);
	}
	assert_int_equal(duo_stop(&w->d), 0);
}

static bool lossy(struct duo *d, unsigned int side, struct rte_mbuf *m)
{
	struct world *w = d->arg;

	return w->loss != 0 && rnd(w, w->loss) == 0;
}

static void world_start(struct world *w, unsigned int seed, unsigned int nsq, uint32_t conns)
{
	struct sluice_tunables tun;
	struct duo_params p = {.nsq = nsq, .seed = seed, .max_connections = conns};
	struct sockaddr_in to;
	sluice_conn_t l;

	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->rng = seed * 2654435761u + 1;
	w->polled[0] = w->polled[1] = -1;
	sluice_tunables_default(&tun);
	tun.tcp_sndbuf = 2048 + rnd(w, 30000);
	tun.tcp_rcvbuf = 2048 + rnd(w, 30000);
	tun.sq_call_slots = 64;
	tun.tcp_time_wait = SLUICE_SEC(1);
	p.tun[0] = p.tun[1] = &tun;
	duo_start(&w->d, &p);
	w->d.filter = lossy;
	w->d.arg = w;
	to = duo_addr4(1, 80);
	assert_int_equal(
	    sluice_create(w->d.st[1], AF_INET, SOCK_STREAM, 0, 0, (int)rnd(w, nsq), &l), 0);
	assert_int_equal(sluice_activate(w->d.st[1], l, &up_listener, w), 0);
	assert_int_equal(sluice_bind(w->d.st[1], l, (void *)&to, sizeof(to)), 0);
	assert_int_equal(sluice_listen(w->d.st[1], l, 64), 0);
	w->e[1][CONNS - 1].sent = l; /* see world_stop */
}

static void open_one(struct world *w, unsigned int i, uint16_t bound)
{
	struct conn_end *e = &w->e[0][i];
	struct sockaddr_in to = duo_addr4(1, 80), from = duo_addr4(0, bound);
	struct sluice_stack *st = w->d.st[0];
	socklen_t len = sizeof(from);

	*e = (struct conn_end){.w = w, .side = 0, .n = i};
	assert_int_equal(
	    sluice_create(st, AF_INET, SOCK_STREAM, 0, 0, (int)rnd(w, w->d.nsq), &e->c), 0);
	/* set_proto_props is not asked for: the table says that it may come at any time */
	assert_int_equal(sluice_activate(st, e->c, &up, e), 0);
	if (bound != 0)
		assert_int_equal(sluice_bind(st, e->c, (void *)&from, sizeof(from)), 0);
	assert_int_equal(sluice_connect(st, e->c, (void *)&to, sizeof(to), NULL), -EINPROGRESS);
	assert_int_equal(sluice_getsockname(st, e->c, (void *)&from, &len), 0);
	e->port = from.sin_port;
	maybe_move(e, 3); /* in SYN_SENT */
}

static sluice_conn_t listener_of(struct world *w)
{
	sluice_conn_t l = w->e[1][CONNS - 1].sent;

	w->e[1][CONNS - 1].sent = 0;
	return l;
}

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
	l = listener_of(w);
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

static void pair_start(struct world *w, unsigned int nsq, uint32_t conns, unsigned int n)
{
	world_start(w, 1, nsq, conns);
	w->quiet = true;
	for (unsigned int i = 0; i < n; i++)
		open_one(w, i, 0);
	run(w, SLUICE_MS(500));
	assert_int_equal(w->accepted, n);
}

static void pair_stop(struct world *w)
{
	assert_int_equal(sluice_close(w->d.st[1], listener_of(w)), 0);
	close_all(w);
	run(w, SLUICE_SEC(100));
	nothing_left(w);
}

static void move_to(struct world *w, struct conn_end *e, unsigned int to)
{
	struct sluice_stack *st = w->d.st[e->side];

	assert_int_equal(sluice_move(st, e->c, to), 0);
	for (unsigned int i = 0; i < 10 && sluice_conn_squeue(st, e->c) != (int)to; i++)
		run(w, 10000);
	assert_int_equal(sluice_conn_squeue(st, e->c), to);
}

/* Bytes each way; and read, wherever the two ends are. */
static void talk(struct world *w, unsigned int n)
{
	for (unsigned int side = 0; side < 2; side++)
		for (unsigned int i = 0; i < 5; i++)
			send_some(&w->e[side][n]);
	run(w, SLUICE_MS(500));
	for (unsigned int side = 0; side < 2; side++) {
		read_some(&w->e[side][n], SIZE_MAX);
		assert_int_equal(w->e[side][n].got, w->e[!side][n].sent);
	}
}

static uint64_t refused(struct world *w, unsigned int side)
{
	struct sluice_counters c;

	sluice_counters_sum(w->d.st[side], &c);
	return c.sq_moves_refused;
}

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
