/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TCP (RFC 9293): the big picture.
 *
 * One `struct sl_tcp` per squeue holds everything: slabs of connections, of half-open entries
 * (half.c), of TIME_WAIT entries (timewait.c) and of transmission records (sendq.c), and one table
 * that finds any of them by its four-tuple (conntab.c).
 *
 * The state machine is split by what it does, not by state:
 *	input.c		a burst of segments: find, check in the order of RFC 9293 3.10.7, deliver
 *	recovery.c	what an ACK means; rtt.c and cc/ what is learned from it
 *	rcvq.c		in order, out of order, the window
 *	output.c	what may be sent, and its headers
 *	timers.c	what happens when nothing happens
 *	open.c, listen.c, half.c, bind.c, timewait.c	how connections begin and end
 *	upcall.c	what the user hears of it
 *	move.c		from one squeue to another
 *	drain.c		all of them, from a squeue that is parked
 *
 * Life of a connection: sl_conn_alloc opens its door; sl_conn_drop ends it for TCP (out of table,
 * timers and lists, queues emptied, state CLOSED); the user's close, before or after, leads to
 * `closed`, and only then is it freed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <tcp/tcp_int.h>

/* What the receive fast path reads and writes stands in the first two lines. */
_Static_assert(offsetof(struct sl_conn, key) == 0, "the table compares it where the object begins");
_Static_assert(offsetof(struct sl_conn, snd_nxt) < 64, "identity and fast path: line 0");
_Static_assert(offsetof(struct sl_conn, keep_probes) < 128, "receive and acknowledge: line 1");
_Static_assert(offsetof(struct sl_conn, out_pprev) < 192 + 8, "transmit: line 2");
_Static_assert(
    sizeof(struct sl_conn) <= 640, "ten lines: each one more is paid by every idle connection");

/* ---- handles ---- */

sluice_conn_t sl_conn_handle(struct sluice_squeue *sq, const struct sl_conn *c)
{
	uint64_t w = atomic_load_explicit(&c->door->word, memory_order_relaxed);

	(void)sq;
	return SL_HANDLE(c->birth, c->idx, (uint32_t)(w >> 32));
}

struct sl_conn *sl_conn_get(struct sluice_squeue *sq, sluice_conn_t h)
{
	if (!sl_handle_live(sq->stack, h) || sl_door_owner(sl_door_of(sq->stack, h)) != sq->id)
		return NULL;
	return sl_conn_named(sq, SL_NAME(sq, SL_HANDLE_SQ(h), SL_HANDLE_IDX(h)));
}

/* ---- create, destroy ---- */

static const struct sl_key *key_of(void *arg, uint32_t ref)
{
	struct sl_tcp *t = arg;

	switch (SL_REF_KIND(ref)) {
	case SL_REF_CONN:
		return &sl_conn_named(t->sq, ref)->key;
	case SL_REF_HALF:
		return &((struct sl_half *)sl_slab_get(&t->halves, SL_REF_IDX(ref)))->key;
	case SL_REF_TW:
		return &((struct sl_tw *)sl_slab_get(&t->tws, SL_REF_IDX(ref)))->key;
	default:
		return &((struct sl_fwd *)sl_slab_get(&t->fwds, SL_REF_IDX(ref)))->key;
	}
}

/* Half-open and TIME_WAIT entries share the table with connections: room for some of each per
 * connection. */
static uint64_t table_size(const struct sluice_squeue *sq)
{
	uint64_t conns = sq->stack->params.max_connections;

	return conns + RTE_MIN(sq->tun.tcp_backlog_q0, 2 * conns + 1024) +
	       RTE_MIN(sq->tun.tcp_time_wait_max, 4 * conns + 1024);
}

int sl_tcp_create(struct sluice_squeue *sq)
{
	const struct sl_mem_ops *mem = &sq->stack->mem;
	uint32_t max = sq->stack->params.max_connections;
	struct sl_tcp *t = calloc(1, sizeof(*t));
	int rc;

	if (t == NULL)
		return -ENOMEM;
	t->sq = sq;
	rc = sl_slab_init(&t->conns, sizeof(struct sl_conn), max, mem);
	if (rc == 0)
		rc = sl_slab_init(
		    &t->halves, sizeof(struct sl_half), RTE_MIN(2 * max + 1024, 1u << 24), mem);
	if (rc == 0)
		rc = sl_slab_init(&t->tws, sizeof(struct sl_tw),
		    RTE_MIN(4 * (uint64_t)max + 1024, 1u << 24), mem);
	if (rc == 0)
		rc = sl_slab_init(
		    &t->recs, sizeof(struct sl_rec), (uint32_t)sq->tun.tcp_rec_max, mem);
	if (rc == 0) /* bound ports, and per connection what it leaves where it was */
		rc = sl_slab_init(&t->fwds, sizeof(struct sl_fwd),
		    (uint32_t)RTE_MIN(65536 + 2 * (uint64_t)max, 1u << 24), mem);
	if (rc == 0)
		rc = sl_conntab_init(
		    &t->tab, table_size(sq), &sq->stack->secret_table, key_of, t, mem);
	if (rc < 0) {
		sl_slab_fini(&t->conns);
		sl_slab_fini(&t->halves);
		sl_slab_fini(&t->tws);
		sl_slab_fini(&t->recs);
		sl_slab_fini(&t->fwds);
		free(t);
		return rc;
	}
	t->tab.conns = &t->conns;
	sl_output_init(t);
	t->half_tail = &t->half_head;
	t->tw_tail = &t->tw_head;
	t->tw_timer.kind = SL_TIMER_TW;
	t->rst_tokens = sq->tun.tcp_rst_rate;
	sq->wheel.fn[SL_TIMER_CONN] = sl_conn_timer;
	sq->wheel.fn[SL_TIMER_HALF] = sl_half_timer;
	sq->wheel.fn[SL_TIMER_TW] = sl_tw_timer;
	t->drain.timer.kind = SL_TIMER_DRAIN;
	sq->wheel.fn[SL_TIMER_DRAIN] = sl_drain_timer;
	sq->wheel.arg[SL_TIMER_DRAIN] = sq;
	sq->wheel.arg[SL_TIMER_CONN] = sq->wheel.arg[SL_TIMER_HALF] = sq->wheel.arg[SL_TIMER_TW] =
	    sq;
	sq->tcp = t;
	return 0;
}

/* What is still open is ended without a packet; its user hears `closed`. */
static void end_all(struct sluice_squeue *sq, struct sluice_leaks *leaks)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	while (t->half_head != NULL)
		sl_half_free(sq, t->half_head);
	while (t->tw_head != NULL)
		sl_tw_free(sq, t->tw_head);
	for (uint32_t i = sl_slab_next(&t->conns, 0); i != 0; i = sl_slab_next(&t->conns, i)) {
		struct sl_conn *c = sl_slab_get(&t->conns, i);

		leaks->connections++;
		c->flags |= SL_C_CLOSED_BY_APP;
		c->zc_out = 0; /* nobody will say that external memory is free: the stack goes */
		if (c->opt != NULL && c->opt->fwd_slot != 0) { /* nor will anybody run an entry */
			sl_calls_unreserve(sq->stack, 1, &c->opt->fwd_slot);
			c->opt->fwd_slot = 0;
		}
		if (c->state == SLUICE_LISTEN && c->group != NULL) {
			sl_group_unref(c->group);
			c->group = NULL;
		}
		sl_conn_drop(sq, c, 0);
	}
	for (uint32_t i = 0; i < t->nlisteners; i++)
		sl_group_unref(t->listeners[i]);
	t->nlisteners = 0;
	(void)sl_up_run_deferred(sq);
}

void sl_tcp_destroy(struct sluice_squeue *sq, struct sluice_leaks *leaks)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	end_all(sq, leaks);
	sl_timer_cancel(&sq->wheel, &t->tw_timer);
	sl_timer_cancel(&sq->wheel, &t->drain.timer);
	/* Of connections that were ended just now: their removal is an entry that never runs */
	(void)sl_slab_fini(&t->fwds);
	sl_rec_spare_free(t);
	leaks->records += sl_slab_fini(&t->conns);
	leaks->records += sl_slab_fini(&t->halves);
	leaks->records += sl_slab_fini(&t->tws);
	leaks->records += sl_slab_fini(&t->recs);
	sl_conntab_fini(&t->tab);
	free(t->listeners);
	free(t);
	sq->tcp = NULL;
}

/* ---- life ---- */

struct sl_conn *sl_conn_alloc(struct sluice_squeue *sq, int family, uint32_t vrf)
{
	uint32_t idx;
	struct sl_tcp *t = sl_tcp_of(sq);
	uint32_t guests = atomic_load_explicit(&t->seats, memory_order_relaxed);
	struct sl_conn *c = NULL;
	struct sl_door *d;

	if (t->conns.inuse + guests < sq->stack->params.max_connections)
		c = sl_slab_alloc(&t->conns, &idx);
	if (c == NULL) {
		SL_COUNT(sq, tcp_conn_nomem);
		return NULL;
	}
	c->idx = idx;
	c->birth = (uint8_t)sq->id;
	c->door = &sq->doors[idx];
	c->state = SLUICE_IDLE;
	c->key.vrf = vrf;
	c->timer.kind = SL_TIMER_CONN;
	c->sndbuf = (uint32_t)sq->tun.tcp_sndbuf;
	c->rcvbuf = (uint32_t)sq->tun.tcp_rcvbuf;
	c->last_rcv = sq->now;
	if (family == AF_INET)
		c->key.laddr = sl_addr4(0);
	d = sl_conn_door(sq, c);
	(void)sl_door_open(sq, idx);
	__atomic_store_n(&d->pub.family, (uint8_t)family, __ATOMIC_RELAXED);
	atomic_store_explicit(&d->pub.nodelay, sq->tun.tcp_nodelay != 0, memory_order_relaxed);
	atomic_store_explicit(&d->pub.shut, 0, memory_order_relaxed);
	atomic_store_explicit(&d->pub.connid, 0, memory_order_relaxed);
	sl_conn_publish(sq, c);
	sl_drain_look(sq);
	return c;
}

static void release_credit(struct sl_conn *c)
{
	if (!(c->flags & SL_C_ACCEPT_PENDING))
		return;
	c->flags &= ~SL_C_ACCEPT_PENDING;
	atomic_fetch_sub_explicit(&c->group->pending, 1, memory_order_relaxed);
	sl_group_unref(c->group);
	c->group = NULL;
}

void sl_conn_free(struct sluice_squeue *sq, struct sl_conn *c)
{
	uint32_t idx = c->idx;

	sl_conn_timers_off(sq, c);
	sl_output_unlist(sq, c);
	sl_flow_fini(sq, &c->flow);
	sl_conn_remove(sq, c);
	/* In this order: who gets the port next may ask for a forwarding entry of its own. */
	sl_fwd_release(sq, c);
	sl_tcp_do_unbind(sq, c);
	c->state = SLUICE_CLOSED;
	sl_sendq_clear(sq, c);
	sl_rcv_clear(sq, c);
	release_credit(c);
	free(c->opt);
	c->opt = NULL;
	sl_door_close(sq->stack->sq[c->birth], idx);
	if (SL_UNLIKELY(sl_conn_guest(sq, c))) {
		sl_move_ended(sq, c);
		return;
	}
	if (SL_UNLIKELY(c->door->transit != NULL)) {
		free(c->door->transit);
		c->door->transit = NULL;
	}
	sl_slab_free(&sl_tcp_of(sq)->conns, idx);
}

static bool counts_as_established(enum sluice_state s)
{
	return s == SLUICE_ESTABLISHED || s == SLUICE_CLOSE_WAIT;
}

void sl_conn_state(struct sluice_squeue *sq, struct sl_conn *c, enum sluice_state s)
{
	enum sluice_state was = (enum sluice_state)c->state;

	if (s == was)
		return;
	sl_tcp_of(sq)->edge[was][s]++;
	if (counts_as_established(s) && !counts_as_established(was))
		SL_COUNT(sq, tcp_curr_estab);
	else if (!counts_as_established(s) && counts_as_established(was))
		SL_COUNT_N(sq, tcp_curr_estab, (uint64_t)-1);
	c->state = (uint8_t)s;
	/* Release: who sees the state sees the addresses and the credit that belong to it. */
	atomic_store_explicit(&sl_conn_door(sq, c)->pub.state, (uint8_t)s, memory_order_release);
}

void sl_conn_publish(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_pub *p = &sl_conn_door(sq, c)->pub;
	uint32_t seq = atomic_load_explicit(&p->seq, memory_order_relaxed);

	/* Odd while the fields change. The fences pair with those of the readers (lib/sock,
	 * read_pub). */
	atomic_store_explicit(&p->seq, seq + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	for (int i = 0; i < 2; i++) {
		__atomic_store_n(&p->laddr.q[i], c->key.laddr.q[i], __ATOMIC_RELAXED);
		__atomic_store_n(&p->raddr.q[i], c->key.raddr.q[i], __ATOMIC_RELAXED);
	}
	__atomic_store_n(&p->lport, c->key.lport, __ATOMIC_RELAXED);
	__atomic_store_n(&p->rport, c->key.rport, __ATOMIC_RELAXED);
	atomic_store_explicit(&p->sndbuf, sl_sendq_limit(c), memory_order_relaxed);
	atomic_store_explicit(&p->state, c->state, memory_order_release);
	atomic_store_explicit(&p->seq, seq + 2, memory_order_release);
}

int sl_conn_insert(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	uint64_t hash = sl_conntab_hash(&t->tab, &c->key);
	int rc = sl_conntab_insert(&t->tab, &c->key, hash, SL_REF(SL_REF_CONN, c->idx));
	uint32_t ref, iss_min, ts_min;

	if (rc == -EEXIST) { /* an old incarnation's TIME_WAIT may give way (RFC 6191) */
		ref = sl_conntab_lookup(&t->tab, &c->key, hash);
		if (SL_REF_KIND(ref) == SL_REF_TW &&
		    sl_tw_reuse(sq, sl_slab_get(&t->tws, SL_REF_IDX(ref)), &iss_min, &ts_min)) {
			c->iss = iss_min;
			rc = sl_conntab_insert(&t->tab, &c->key, hash, SL_REF(SL_REF_CONN, c->idx));
		}
	}
	if (rc == -ENOSPC && t->tw_head != NULL) {
		SL_COUNT(sq, tcp_timewait_evicted);
		sl_tw_free(sq, t->tw_head);
		rc = sl_conntab_insert(&t->tab, &c->key, hash, SL_REF(SL_REF_CONN, c->idx));
	}
	if (rc == 0)
		c->flags |= SL_C_IN_TABLE;
	return rc == -EEXIST ? -EADDRINUSE : rc == -ENOSPC ? -ENOBUFS : rc;
}

void sl_conn_remove(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	if (!(c->flags & SL_C_IN_TABLE))
		return;
	c->flags &= ~SL_C_IN_TABLE;
	if (SL_UNLIKELY(sl_conn_guest(sq, c)))
		sl_move_leave_table(sq, c);
	else
		sl_conntab_remove(&t->tab, &c->key, sl_conntab_hash(&t->tab, &c->key));
}

static void count_end(struct sluice_squeue *sq, const struct sl_conn *c, int err)
{
	if (err != 0 && counts_as_established((enum sluice_state)c->state))
		SL_COUNT(sq, tcp_estab_resets);
	else if (c->state == SLUICE_SYN_SENT || c->state == SLUICE_SYN_RCVD)
		SL_COUNT(sq, tcp_attempt_fails);
}

void sl_conn_drop(struct sluice_squeue *sq, struct sl_conn *c, int err)
{
	bool was_alive;

	/* What came before the end, in the same burst, is heard before the end. */
	if (err != 0 && c->batch != 0)
		sl_input_deliver(sq, c);
	was_alive = c->state != SLUICE_CLOSED;
	count_end(sq, c, err);
	sl_conn_timers_off(sq, c);
	sl_output_unlist(sq, c);
	sl_flow_fini(sq, &c->flow);
	sl_conn_remove(sq, c);
	/* In this order: who gets the port next may ask for a forwarding entry of its own. */
	sl_fwd_release(sq, c);
	sl_tcp_do_unbind(sq, c);
	sl_conn_state(sq, c, SLUICE_CLOSED);
	sl_conn_publish(sq, c);
	sl_sendq_clear(sq, c);
	/* After an orderly end what arrived may still be read; after an error it is not the whole
	 * stream. */
	if (err != 0 || (c->flags & SL_C_CLOSED_BY_APP))
		sl_rcv_clear(sq, c);
	if (c->flags & SL_C_CLOSED_BY_APP) {
		if (!(c->deferred & SL_D_CLOSED))
			sl_up(sq, c, SL_D_CLOSED);
	} else if (err != 0 && was_alive) {
		c->err = (int16_t)err;
		sl_up(sq, c, SL_D_DISCONNECTED);
	}
}

/* ---- what a listener hands down ---- */

#define INHERITED_FLAGS (SL_C_KEEPALIVE | SL_C_OOBINLINE | SL_C_MORE)

void sl_conn_special(struct sl_conn *c)
{
	c->flags &= ~SL_C_SPECIAL;
	if (c->opt != NULL && (c->opt->minttl != 0 || c->opt->notsent_lowat != 0))
		c->flags |= SL_C_SPECIAL;
}

int sl_conn_to_group(const struct sl_conn *c, struct sl_group *g)
{
	struct sl_inherit *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return -ENOMEM;
	if (c->opt != NULL)
		h->opt = *c->opt;
	h->opt.src_count = 0;
	h->opt.fwd_slot = 0;
	h->sndbuf = c->sndbuf;
	h->rcvbuf = c->rcvbuf;
	h->flags = c->flags & INHERITED_FLAGS;
	h->linger = c->linger;
	h->reuseport = c->reuseport;
	h->older = atomic_load_explicit(&g->inherit, memory_order_relaxed);
	/* Release: pairs with sl_group_inherit on the squeues of the shards. */
	atomic_store_explicit(&g->inherit, h, memory_order_release);
	return 0;
}

int sl_conn_from_group(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_group *g)
{
	static const struct sl_opt none;
	const struct sl_inherit *h = sl_group_inherit(g);
	struct sl_door *listener = sl_door_of(g->st, g->handle);

	c->sndbuf = h->sndbuf;
	c->rcvbuf = h->rcvbuf;
	c->flags |= h->flags;
	c->linger = h->linger;
	c->reuseport = h->reuseport;
	atomic_store_explicit(&sl_conn_door(sq, c)->pub.nodelay,
	    atomic_load_explicit(&listener->pub.nodelay, memory_order_relaxed),
	    memory_order_relaxed);
	if (memcmp(&h->opt, &none, sizeof(none)) == 0)
		return 0;
	c->opt = malloc(sizeof(*c->opt));
	if (c->opt == NULL)
		return -ENOMEM;
	*c->opt = h->opt;
	c->flow.ttl = h->opt.ttl; /* 0: the tunable's, by sl_flow_init */
	c->flow.tos = h->opt.tos;
	sl_conn_special(c);
	return 0;
}

/* ---- invariants ---- */

void sl_conn_check(struct sluice_squeue *sq, struct sl_conn *c)
{
#ifdef SLUICE_DEBUG_CHECKS
	SL_CHECK(c->state != SLUICE_CLOSED ||
		 (!(c->flags & (SL_C_IN_TABLE | SL_C_BOUND_PORT)) && !sl_timer_armed(&c->timer) &&
		     c->sndq_head == NULL && c->rec_head == NULL));
	if ((c->segs_in & 7) == 0) /* it walks the queues: now and then */
		sl_rcv_check(c);
	if (c->state < SLUICE_ESTABLISHED)
		return;
	SL_CHECK(seq_ge(c->rcv_adv, c->rcv_nxt));
	SL_CHECK(seq_le(c->snd_una, c->snd_nxt) && seq_le(c->snd_nxt, c->snd_max));
	SL_CHECK(seq_le(c->snd_nxt, sl_snd_end(c)));
	SL_CHECK(c->cc.cwnd >= c->mss || c->mss == 0);
	SL_CHECK((c->rcvq_head == NULL) == (c->rcvq_bytes == 0) || c->rcvq_bytes == 0);
	SL_CHECK((c->sndq_head == NULL) == (c->sndq_bytes == 0));
	sl_recovery_check(c);
	/* Data in flight is watched, or about to be sent again. */
	SL_CHECK(
	    c->rec_head == NULL || sl_conn_timer_armed(c, SL_T_RTX) || (c->flags & SL_C_ON_OUTPUT));
#else
	(void)sq;
	(void)c;
#endif
}
