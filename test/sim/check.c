/* SPDX-License-Identifier: BSD-3-Clause */
/* What must hold after each pass of a squeue, of each of its connections; and in the end. */
#include <string.h>

#include <rte_mbuf.h>

#include <sock/sock_int.h>
#include <squeue/sq_priv.h>

#include "mpool.h"
#include "sim.h"

struct look { /* one connection, after a pass */
	struct sim *s;
	struct sluice_squeue *sq;
	struct sl_conn *c;
	struct sim_shadow *sh;
	unsigned int stack, fresh; /* segments that came in this pass */
};
#define LOOK_CHECK(l, ck, cond, fmt, ...)                                                  \
	SIM_CHECK((l)->s, ck, cond, "stack %u port %u %s: " fmt, (l)->stack,               \
	    ntohs((l)->c->key.lport), sluice_state_name((enum sluice_state)(l)->c->state), \
	    ##__VA_ARGS__)

/* ---- the sender ---- */

static void send_window(const struct look *l)
{
	const struct sl_conn *c = l->c;
	uint32_t right = c->snd_una + c->snd_wnd;

	l->sh->edge = seq_max(l->sh->edge, right);
	LOOK_CHECK(l, SIM_CK_SEND_WINDOW,
	    seq_le(c->snd_una, c->snd_nxt) && seq_le(c->snd_nxt, c->snd_max) &&
		seq_le(c->snd_max, seq_max(l->sh->edge, c->snd_una) + 1),
	    "una %u nxt %u max %u, the window ever ended at %u", c->snd_una, c->snd_nxt, c->snd_max,
	    l->sh->edge);
}

static void scoreboard(const struct look *l)
{
	const struct sl_conn *c = l->c;
	uint32_t sacked = 0, lost = 0, at = c->snd_una, both = 0;

	for (const struct sl_rec *r = c->rec_head; r != NULL; r = r->next) {
		uint32_t len = r->end - r->start;

		both += r->start != at || !seq_lt(r->start, r->end);
		both += (r->flags & SL_REC_SACKED) && (r->flags & SL_REC_LOST);
		sacked += r->flags & SL_REC_SACKED ? len : 0;
		lost += r->flags & SL_REC_LOST ? len : 0;
		at = r->end;
	}
	LOOK_CHECK(l, SIM_CK_SCOREBOARD,
	    both == 0 && at == c->snd_max && sacked == c->pipe_sacked && lost == c->pipe_lost,
	    "sacked %u (counted %u), lost %u (%u), records end at %u, max %u, %u wrong", sacked,
	    c->pipe_sacked, lost, c->pipe_lost, at, c->snd_max, both);
}

static void queues(const struct look *l)
{
	const struct sl_conn *c = l->c;
	uint32_t snd = 0, rcv = 0;

	for (const struct rte_mbuf *m = c->sndq_head; m != NULL; m = m->next)
		snd += m->data_len;
	for (const struct rte_mbuf *m = c->rcvq_head; m != NULL; m = m->next)
		rcv += m->data_len;
	LOOK_CHECK(l, SIM_CK_QUEUES,
	    (snd == 0 ? c->sndq_bytes == 0 : snd - c->sndq_head_off == c->sndq_bytes) &&
		rcv == c->rcvq_bytes,
	    "send queue %u - %u, counted %u; receive queue %u, counted %u", snd, c->sndq_head_off,
	    c->sndq_bytes, rcv, c->rcvq_bytes);
}

static bool held_by_flow(const struct sl_conn *c)
{
	return c->flow.wpprev != NULL; /* the neighbour's answer, or its failure, wakes it */
}

static void timers(const struct look *l)
{
	const struct sl_conn *c = l->c;
	bool listed = (c->flags & SL_C_ON_OUTPUT) != 0, rtx = sl_conn_timer_armed(c, SL_T_RTX),
	     persist = sl_conn_timer_armed(c, SL_T_PERSIST), unsent = c->snd_nxt != sl_snd_end(c);

	LOOK_CHECK(l, SIM_CK_RTX, c->rec_head == NULL ? !rtx : rtx,
	    "%s is outstanding, the retransmission timer is %s",
	    c->rec_head != NULL ? "something" : "nothing", rtx ? "on" : "off");
	LOOK_CHECK(l, SIM_CK_PERSIST, !persist || (unsent && c->rec_head == NULL) || c->rec_head,
	    "the persist timer is on with nothing to send");
	LOOK_CHECK(l, SIM_CK_PERSIST,
	    !unsent || c->rec_head != NULL || persist || listed || held_by_flow(c),
	    "%u bytes to send, nothing outstanding, no timer, not in the output list: "
	    "window %u, flow state %u",
	    sl_snd_end(c) - c->snd_nxt, c->snd_wnd, c->flow.state);
}

/* ---- the receiver ---- */

static bool all_left(const struct sluice_squeue *sq)
{
	for (unsigned int i = 0; i < sq->nports; i++)
		if (sq->port[i].queue < 0)
			return false; /* what it sends goes by another squeue */
	return !sl_tx_staged(sq);
}

/* Has all that the connection sent reached the wire? Not what found no buffer for its one piece. */
static bool nothing_staged(const struct look *l)
{
	for (unsigned int i = 0; i < l->s->nsq[l->stack]; i++)
		if (l->s->st[l->stack]->sq[i]->ctr.port_tx_nomem != 0)
			return false;
	if (l->s->moves[l->stack] == 0 && l->s->parks[l->stack] == 0)
		return all_left(l->sq);
	for (unsigned int i = 0; i < l->s->nsq[l->stack]; i++) /* it may have been anywhere */
		if (!all_left(l->s->st[l->stack]->sq[i]))
			return false;
	return true;
}

static void edge(const struct look *l)
{
	const struct sl_conn *c = l->c;
	struct sim_flow *f = sim_flow_find(l->s, &c->key, false);

	LOOK_CHECK(l, SIM_CK_EDGE, seq_ge(c->rcv_adv, l->sh->adv) && seq_ge(c->rcv_adv, c->rcv_nxt),
	    "edge %u after %u, rcv_nxt %u", c->rcv_adv, l->sh->adv, c->rcv_nxt);
	/* What is believed to be promised has been: up to a unit of the scale, and the FIN. */
	if (f != NULL && f->acked && nothing_staged(l))
		LOOK_CHECK(l, SIM_CK_EDGE,
		    seq_le(c->rcv_adv, f->edge + (1u << c->rcv_wscale)) &&
			seq_le(f->edge, c->rcv_adv),
		    "the edge is %u, the peer was told %u", c->rcv_adv, f->edge);
}

static struct sim_end *end_of(struct sim *s, unsigned int stack, sluice_conn_t h)
{
	for (unsigned int i = 0; i < SIM_MAX_CONNS; i++)
		for (unsigned int k = 0; k < 2; k++)
			if (s->pair[i].end[k].c == h && s->pair[i].end[k].stack == stack)
				return &s->pair[i].end[k];
	return NULL;
}

/* young: it may have been a half-open entry until now, which counts no segments. */
static void feed(const struct look *l, struct sim_model *m, bool young)
{
	const struct sl_conn *c = l->c;
	struct sim_flow *f = sim_flow_find(l->s, &c->key, false);
	struct sim_model_in in = {.edge_lo = seq_max(l->sh->adv, m->nxt),
	    .edge_hi = c->rcv_adv,
	    .last_ack = l->sh->last_ack,
	    .snd_max = c->snd_max,
	    .snd_wscale = c->snd_wscale,
	    .fin_sent = f != NULL && f->fin,
	    .fin_end = f != NULL ? f->fin_end : 0,
	    .ts = (c->flags & SL_C_TS) != 0,
	    .orphan = l->sh->orphan};
	unsigned int n = 0, left = l->fresh, waiting = 0;
	bool detours = l->s->detours[l->stack];

	for (unsigned int i = 0; i < l->s->nrx[l->stack]; i++) {
		const struct sim_seg *g = &l->s->rx[l->stack][i];
		bool mine = memcmp(&g->key, &c->key, sizeof(g->key)) == 0;

		/* Those that another squeue forwards may be on their way still: as many as the
		 * connection has counted are here. */
		if (mine && (detours || g->sq != l->sq->id) && !(g->flags == SL_TH_SYN && young)) {
			mine = left > 0;
			left -= mine;
			waiting += !mine;
		}
		if (!mine) {
			l->s->rx[l->stack][n++] = *g;
			continue;
		}
		in.edge_lo = seq_max(in.edge_lo, m->nxt);
		in.edge_hi = seq_max(in.edge_hi, m->nxt);
		if (m->on)
			sim_model_feed(m, g, &in);
	}
	l->s->nrx[l->stack] = n;
	/* Of segments that go different ways the last may be first: which are here nobody knows. */
	m->doubt |= detours && waiting > 0;
}

/* Doubt ends with learning: from then on bounds only. */
static void learn(const struct look *l, struct sim_model *m)
{
	const struct sl_conn *c = l->c;

	l->s->sum->model_loose += !m->loose;
	m->loose = true;
	if (seq_gt(c->rcv_nxt, m->nxt))
		m->nxt = c->rcv_nxt;
	m->fin_done = (c->flags & SL_C_FIN_RCVD) != 0;
	m->state = m->maybe = (enum sluice_state)c->state;
}

static void model(const struct look *l)
{
	struct sim_end *e = end_of(l->s, l->stack, l->sh->h);
	const struct sl_conn *c = l->c;
	struct sim_model *m = &l->sh->model;
	uint64_t deliverable;
	bool agree, young = !m->on;

	if (e == NULL)
		return;
	if (young) {
		sim_model_start(m, c->irs, c->iss, (uint32_t)e->peer->to_send);
		m->max_wnd = c->max_sndwnd; /* the SYN's counts */
		if (l->sh->early)
			sim_model_shut(m); /* asked for during the handshake */
	}
	feed(l, m, young);
	if (c->flags & SL_C_FIN_QUEUED)
		sim_model_shut(m);
	if (c->state == SLUICE_CLOSED)
		return;
	l->s->sum->model_doubt += m->doubt;
	agree = m->nxt == c->rcv_nxt && !m->reset && !m->rst_seen &&
		(c->state == m->state || c->state == m->maybe);
	if (!agree && (m->doubt || l->s->drops[l->stack] != 0 || l->s->strays[l->stack]))
		learn(l, m);
	else if (m->loose)
		SIM_CHECK(l->s, SIM_CK_MODEL, seq_le(c->rcv_nxt, m->nxt) || m->doubt,
		    "rcv_nxt %u beyond all that came: %u", c->rcv_nxt, m->nxt);
	else
		LOOK_CHECK(l, SIM_CK_MODEL, agree, "rcv_nxt %u; the model says %u, %s%s%s",
		    c->rcv_nxt, m->nxt, sluice_state_name(m->state),
		    m->reset ? ", reset by data for nobody" : "", m->rst_seen ? ", reset" : "");
	m->doubt = false;
	deliverable = m->nxt - (m->irs + 1) - m->fin_done;
	if (!m->loose && !(c->flags & (SL_C_RCV_SHUT | SL_C_CLOSED_BY_APP)))
		LOOK_CHECK(l, SIM_CK_MODEL, deliverable == e->received + c->rcvq_bytes,
		    "%lu bytes read and %u readable; the model says %lu",
		    (unsigned long)e->received, c->rcvq_bytes, (unsigned long)deliverable);
}

/* ---- after a pass ---- */

static uint64_t drops_of(const struct sluice_squeue *sq, bool calm)
{
	const struct sluice_counters *c = &sq->ctr;

	return c->tcp_ooo_drop + c->sq_fwd_drops + c->tcp_conn_nomem + c->port_tx_nomem +
	       c->tcp_rx_copied_out + (calm ? 0 : c->ip_in_not_local); /* addresses go */
}

static void begin(struct look *l)
{
	const struct sl_conn *c = l->c;
	struct sim_shadow *sh = l->sh;
	sluice_conn_t h = sl_conn_handle(l->sq, c);

	if (sh->h == h)
		return;
	sim_model_stop(&sh->model);
	*sh = (struct sim_shadow){.h = h,
	    .early = sh->early_h == h,
	    .counted_h = h,
	    .counted = sh->counted,
	    .edge = c->snd_una + c->snd_wnd,
	    .adv = c->irs + 1,
	    .last_ack = c->irs + 1};
	if (seq_gt(c->irs + 1 + RTE_MIN(c->rcvbuf, 65535u), c->rcv_adv))
		sh->adv = c->rcv_adv;
	else
		sh->adv = c->irs + 1 + RTE_MIN(c->rcvbuf, 65535u);
}

static void one(struct look *l)
{
	const struct sl_conn *c = l->c;
	sluice_conn_t h = sl_conn_handle(l->sq, c);

	if (l->sh->counted_h != h)
		l->sh->counted = 0;
	l->fresh = c->segs_in - l->sh->counted;
	l->sh->counted_h = h;
	l->sh->counted = c->segs_in;
	if (c->state < SLUICE_ESTABLISHED) {
		struct sim_model none = {0};

		feed(l, &none, true);
		l->sh->early_h = c->flags & SL_C_FIN_QUEUED ? h : 0;
		return;
	}
	begin(l);
	send_window(l);
	LOOK_CHECK(l, SIM_CK_CWND, c->cc.cwnd >= c->mss && c->mss > 0, "cwnd %u, MSS %u",
	    c->cc.cwnd, c->mss);
	scoreboard(l);
	queues(l);
	timers(l);
	edge(l);
	model(l);
	l->sh->adv = c->rcv_adv;
	l->sh->last_ack = c->last_ack_sent;
	l->sh->orphan = (c->flags & SL_C_CLOSED_BY_APP) != 0;
}

/* Segments that no connection claimed: of half-open ends, of TIME_WAIT, of none. One that travels to
 * another squeue, and maybe a third, is claimed in that one's pass, a few of ours later. */
static void forget(struct sim *s, unsigned int stack, unsigned int q)
{
	unsigned int n = 0, most = s->nsq[stack] == 1 ? 0 : s->detours[stack] ? 32 : 4;

	for (unsigned int i = 0; i < s->nrx[stack]; i++) {
		struct sim_seg *g = &s->rx[stack][i];

		if (g->sq == q && g->age++ >= most) {
			/* Maybe another one was taken for it. */
			s->strays[stack] |=
			    s->detours[stack] && (g->len > 0 || (g->flags & SL_TH_FIN));
			continue;
		}
		s->rx[stack][n++] = *g;
	}
	s->nrx[stack] = n;
}

void sim_check_squeue(struct sim *s, unsigned int stack, unsigned int q)
{
	struct sluice_squeue *sq = s->st[stack]->sq[q];
	struct sl_slab *conns = &sq->tcp->conns;
	uint64_t drops = 0;

	for (unsigned int i = 0; i < s->nsq[stack]; i++)
		drops += drops_of(s->st[stack]->sq[i], s->calm);
	s->drops[stack] = drops; /* once short of memory, bounds only */
	if (s->plant != 0)
		sim_plant_pass(s, stack, q);
	for (uint32_t i = sl_slab_next(conns, 0); i != 0; i = sl_slab_next(conns, i)) {
		struct look l = {.s = s,
		    .sq = sq,
		    .c = sl_slab_get(conns, i),
		    .sh = &s->shadow[stack][q][i],
		    .stack = stack};

		if (sl_door_owner(l.c->door) == q)
			one(&l);
	}
	for (struct sl_conn *c = sq->tcp->guests; c != NULL; c = c->door->transit->guest_next) {
		struct look l = {.s = s,
		    .sq = sq,
		    .c = c,
		    .sh = &s->shadow[stack][c->birth][c->idx],
		    .stack = stack};

		one(&l);
	}
	if (s->plant != 0)
		sim_plant_undo(false);
	forget(s, stack, q);
}

/* ---- in the end ---- */

static void squeue_empty(struct sim *s, unsigned int stack, unsigned int q)
{
	const struct sluice_squeue *sq = s->st[stack]->sq[q];
	const struct sl_tcp *t = sq->tcp;
	uint32_t spare = 0; /* records of the slab; such as have moved are none */

	for (const struct sl_rec *r = t->rec_spare; r != NULL; r = r->next)
		spare += r->idx != 0;
	SIM_CHECK(s, SIM_CK_BASELINE,
	    t->conns.inuse == 0 && t->halves.inuse == 0 && t->tws.inuse == 0 &&
		t->recs.inuse == spare && t->fwds.inuse == 0,
	    "stack %u squeue %u: %u connections, %u half-open, %u TIME_WAIT, %u records, "
	    "%u forwarding entries",
	    stack, q, t->conns.inuse, t->halves.inuse, t->tws.inuse, t->recs.inuse - spare,
	    t->fwds.inuse);
	SIM_CHECK(s, SIM_CK_BASELINE,
	    t->out.head == NULL && t->def_head == NULL && t->nlisteners == 0 &&
		!sl_output_pending(sq) && t->guests == NULL && t->late == NULL &&
		t->tab.count == 0 && t->seats == 0,
	    "stack %u squeue %u: something stands in a list", stack, q);
	SIM_CHECK(s, SIM_CK_BASELINE, sl_app_timers(sq) == 0, "stack %u squeue %u: %u timers",
	    stack, q, sl_app_timers(sq));
}

void sim_check_baseline(struct sim *s)
{
	for (unsigned int i = 0; i < s->nst; i++) {
		struct sluice_counters c;

		for (unsigned int q = 0; q < s->nsq[i]; q++)
			squeue_empty(s, i, q);
		sl_stash_drop_all(s->st[i]); /* the thread's own share of the pool */
		sluice_counters_sum(s->st[i], &c);
		SIM_CHECK(s, SIM_CK_BASELINE, c.tcp_curr_estab == 0,
		    "stack %u: tcp_curr_estab is %lu", i, (unsigned long)c.tcp_curr_estab);
		SIM_CHECK(s, SIM_CK_BASELINE, tp_out(s->pool[i]) == 0, "stack %u holds %u buffers",
		    i, tp_out(s->pool[i]));
		SIM_CHECK(s, SIM_CK_BASELINE, tp_out(s->rxpool[i]) == 0,
		    "stack %u holds %u receive buffers", i, tp_out(s->rxpool[i]));
	}
}
