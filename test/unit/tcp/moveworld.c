/* SPDX-License-Identifier: BSD-3-Clause */
#include "moveworld.h"

struct of_all all;

uint32_t rnd(struct world *w, uint32_t n)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 17;
	w->rng ^= w->rng << 5;
	return w->rng % n;
}

/* Byte `at` of what side `side` of connection n sends. */
uint8_t byte_of(unsigned int side, unsigned int n, uint64_t at)
{
	return (uint8_t)((at * 131 + (at >> 8) * 17 + n * 29 + side * 7) & 255);
}

/* ---- upcalls ---- */

void upcall(struct conn_end *e, sluice_conn_t c, enum sluice_upcall what)
{
	struct world *w = e->w;

	int at = sluice_conn_squeue(w->d.st[e->side], c);

	/* An inline call makes upcalls outside of any pass of ours. */
	if (c != e->c || at < 0 ||
	    (w->polled[e->side] >= 0 && at != w->polled[e->side] && !w->gone[e->side][at]))
		fail_msg("seed %u: upcall %d of %u/%u on squeue %d, it is on %d", w->seed,
		    (int)what, e->side, e->n, w->polled[e->side], at);
	if (e->last_up != 0 &&
	    !sluice_upcall_may_follow((enum sluice_upcall)(e->last_up - 1), what))
		fail_msg("seed %u: upcall %d after %d", w->seed, (int)what, e->last_up - 1);
	e->last_up = (int)what + 1;
}

void maybe_move(struct conn_end *e, uint32_t one_in)
{
	struct world *w = e->w;

	if (w->quiet || rnd(w, one_in) != 0)
		return;
	(void)sluice_move(w->d.st[e->side], e->c, rnd(w, w->d.nsq));
	w->moves++;
}

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
void read_some(struct conn_end *e, size_t want)
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
	e->closed_at = sluice_conn_squeue(e->w->d.st[e->side], c);
	e->closed++;
}

static const struct sluice_upcalls up_listener = {
    .size = sizeof(up_listener), .newconn = on_newconn};
const struct sluice_upcalls up = {.size = sizeof(up),
    .connected = on_connected,
    .disconnected = on_disconnected,
    .opctl = on_opctl,
    .recv = on_recv,
    .txq_full = on_full,
    .set_error = on_error,
    .closed = on_closed};

/* ---- polling: any squeue, any order ---- */

int poll_one(struct world *w, unsigned int side, unsigned int q)
{
	int rc;

	if (w->gone[side][q])
		return 0;
	w->polled[side] = (int)q;
	rc = sluice_squeue_poll(sluice_squeue(w->d.st[side], q), w->d.now, rnd(w, 4) == 0 ? 1 : 0);
	w->polled[side] = -1;
	assert_true(rc >= 0);
	return rc;
}

void some_polls(struct world *w)
{
	for (uint32_t n = rnd(w, 3 * w->d.nsq); n > 0; n--)
		(void)poll_one(w, rnd(w, 2), rnd(w, w->d.nsq));
	w->d.now += rnd(w, 4) == 0 ? rnd(w, 3000000) : rnd(w, 20000);
}

/* Everybody until nothing is to do, and then time goes on; for ns. */
void run(struct world *w, uint64_t ns)
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
			if (!w->gone[i % 2][i / 2])
				next = RTE_MIN(
				    next, sluice_squeue_next(sluice_squeue(w->d.st[i % 2], i / 2)));
		w->d.now = RTE_MAX(RTE_MIN(next, end), w->d.now + 1000);
	}
}

/* ---- what the application does ---- */

struct rte_mbuf *chain_of(struct conn_end *e, uint32_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(e->w->d.pool[e->side]);

	assert_non_null(m);
	for (uint32_t i = 0; i < len; i++)
		*(uint8_t *)rte_pktmbuf_append(m, 1) = byte_of(e->side, e->n, e->sent + i);
	return m;
}

/* As the squeue's thread, or as another one would: by an entry. */
void send_some(struct conn_end *e)
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

void act(struct world *w)
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

void close_all(struct world *w)
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

void nothing_left(struct world *w)
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

void world_start(struct world *w, unsigned int seed, unsigned int nsq, uint32_t conns)
{
	struct sluice_tunables tun;
	struct duo_params p = {.nsq = nsq, .seed = seed, .max_connections = conns};
	struct sockaddr_in to;
	sluice_conn_t l;

	p.nic_queues = w->nic_queues;
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
	w->l = l;
}

void open_one(struct world *w, unsigned int i, uint16_t bound)
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

void pair_start(struct world *w, unsigned int nsq, uint32_t conns, unsigned int n)
{
	world_start(w, 1, nsq, conns);
	w->quiet = true;
	for (unsigned int i = 0; i < n; i++)
		open_one(w, i, 0);
	run(w, SLUICE_MS(500));
	assert_int_equal(w->accepted, n);
}

void pair_stop(struct world *w)
{
	assert_int_equal(sluice_close(w->d.st[1], w->l), 0);
	close_all(w);
	run(w, SLUICE_SEC(100));
	nothing_left(w);
}

void move_to(struct world *w, struct conn_end *e, unsigned int to)
{
	struct sluice_stack *st = w->d.st[e->side];

	assert_int_equal(sluice_move(st, e->c, to), 0);
	for (unsigned int i = 0; i < 10 && sluice_conn_squeue(st, e->c) != (int)to; i++)
		run(w, 10000);
	assert_int_equal(sluice_conn_squeue(st, e->c), to);
}

/* Bytes each way; and read, wherever the two ends are. */
void talk(struct world *w, unsigned int n)
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

uint64_t refused(struct world *w, unsigned int side)
{
	struct sluice_counters c;

	sluice_counters_sum(w->d.st[side], &c);
	return c.sq_moves_refused;
}
