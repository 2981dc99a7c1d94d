/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The SYN cache: SYN_RCVD of a passive open, in a fraction of a connection's memory. An entry holds
 * what the SYN said and what we answered, no buffer, and its SYN-ACK is rebuilt each time, so a
 * neighbour that is not resolved yet holds up an entry and never a packet. A full connection is
 * made when the handshake completes.
 */
#include <errno.h>
#include <string.h>

#include <tcp/tcp_int.h>

/* ---- the list, oldest first ---- */

static void half_link(struct sl_tcp *t, struct sl_half *h)
{
	h->next = NULL;
	h->pprev = t->half_tail;
	*t->half_tail = h;
	t->half_tail = &h->next;
	t->nhalf++;
}

static void half_unlink(struct sl_tcp *t, struct sl_half *h)
{
	*h->pprev = h->next;
	if (h->next != NULL)
		h->next->pprev = h->pprev;
	else
		t->half_tail = h->pprev;
	t->nhalf--;
}

/* Let go of everything but the table's row. */
static void half_release(struct sluice_squeue *sq, struct sl_half *h)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	half_unlink(t, h);
	sl_timer_cancel(&sq->wheel, &h->timer);
	sl_flow_fini(sq, &h->flow);
	sl_group_unref(h->group);
	sl_slab_free(&t->halves, h->idx);
}

void sl_half_free(struct sluice_squeue *sq, struct sl_half *h)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	sl_conntab_remove(&t->tab, &h->key, sl_conntab_hash(&t->tab, &h->key));
	half_release(sq, h);
}

/* The entry ends without a connection: back to LISTEN in the state diagram. */
static void half_fail(struct sluice_squeue *sq, struct sl_half *h)
{
	sl_tcp_of(sq)->edge[SLUICE_SYN_RCVD][SLUICE_LISTEN]++;
	SL_COUNT(sq, tcp_halfopen_drop);
	SL_COUNT(sq, tcp_attempt_fails);
	sl_half_free(sq, h);
}

/* ---- SYN-ACK ---- */

static uint32_t offered_window(const struct sl_half *h)
{
	/* The window of a SYN is never scaled (RFC 7323 2.2). */
	return RTE_MIN(sl_group_inherit(h->group)->rcvbuf, 65535u);
}

static void send_synack(struct sluice_squeue *sq, struct sl_half *h)
{
	uint16_t mss = sl_tcp_offer_mss(sq, &h->flow, &h->key, &sl_group_inherit(h->group)->opt);
	uint8_t opts[40];
	unsigned int len;
	struct rte_mbuf *m;
	int rc = sl_flow_ready(sq, &h->flow, &h->key);

	h->synack_pending = true;
	if (rc == -EINPROGRESS || rc == -EAGAIN)
		return; /* flow_ready or the timer tries again */
	if (rc < 0) {
		half_fail(sq, h);
		return;
	}
	len = sl_opts_syn(opts, mss, h->sack, h->ts, sl_ts_now(sq, h->ts_offset), h->ts_recent,
	    h->has_wscale, h->rcv_wscale);
	m = sl_output_header(sq, &h->key, h->iss, h->irs + 1, SL_TH_SYN | SL_TH_ACK,
	    (uint16_t)offered_window(h), opts, len);
	if (m == NULL)
		return;
	h->synack_pending = false;
	h->sent_at = sq->now;
	SL_COUNT(sq, tcp_out_control);
	if (h->retries > 0)
		SL_COUNT(sq, tcp_retrans_segs);
	sl_flow_send(sq, &h->flow, &h->key, m, (uint8_t)(20 + len), 0);
}

static void arm(struct sluice_squeue *sq, struct sl_half *h)
{
	uint64_t rto = sq->tun.tcp_rto_initial << RTE_MIN(h->retries, 16);

	sl_timer_set(&sq->wheel, &h->timer, sq->now + RTE_MIN(rto, sq->tun.tcp_rto_max));
}

void sl_half_timer(void *arg, struct sl_timer *timer)
{
	struct sluice_squeue *sq = arg;
	struct sl_half *h = SL_CONTAINER_OF(timer, struct sl_half, timer);

	if (h->retries >= sq->tun.tcp_synack_retries) {
		half_fail(sq, h);
		return;
	}
	h->retries++;
	arm(sq, h);
	send_synack(sq, h); /* last: it may free h */
}

void sl_half_flow_ready(struct sluice_squeue *sq, struct sl_half *h, int err)
{
	if (err < 0)
		half_fail(sq, h);
	else if (h->synack_pending)
		send_synack(sq, h);
}

/* An error about our SYN-ACK. Unreachable for now is the timer's to judge (RFC 5461); that there is
 * nobody is the end. */
void sl_half_icmp(struct sluice_squeue *sq, struct sl_half *h, const struct sl_icmp_err *e)
{
	if (e->seq != h->iss) {
		SL_COUNT(sq, icmp_in_unmatched);
		return;
	}
	SL_COUNT(sq, icmp_in_errors);
	if (e->hard)
		half_fail(sq, h);
}

/* ---- a SYN for a listener (RFC 9293 3.10.7.2) ---- */

/* Room for one more: the oldest entry that did not answer its first SYN-ACK in time makes way. */
static bool make_room(struct sluice_squeue *sq)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	if (t->nhalf < sq->tun.tcp_backlog_q0)
		return true;
	SL_COUNT(sq, tcp_listen_drop_q0);
	if (t->half_head == NULL || t->half_head->retries == 0)
		return false;
	half_fail(sq, t->half_head);
	return true;
}

static bool backlog_full(const struct sl_group *g)
{
	return atomic_load_explicit(&g->pending, memory_order_relaxed) >=
	       atomic_load_explicit(&g->backlog, memory_order_relaxed);
}

static void remember_syn(struct sluice_squeue *sq, struct sl_half *h, const struct sl_seg *seg)
{
	h->irs = seg->seq;
	h->peer_wnd = seg->wnd;
	h->mss = seg->o.mss;
	h->wscale = seg->o.wscale;
	h->has_wscale = seg->o.has_wscale && sq->tun.tcp_wscale;
	/* Said once and for all: the tunable and the buffer may change before the SYN-ACK is sent
	 * again. */
	h->rcv_wscale = sl_tcp_wscale(sq, sl_group_inherit(h->group)->rcvbuf);
	h->sack = seg->o.sack_ok && sq->tun.tcp_sack;
	h->ts = seg->o.has_ts && sq->tun.tcp_timestamps;
	h->ts_recent = seg->o.tsval;
	h->ts_offset = sl_tcp_ts_offset(sq, &h->key);
}

void sl_half_syn(
    struct sluice_squeue *sq, struct sl_group *g, struct sl_seg *seg, const uint32_t *iss_min)
{
	const struct sl_opt *o = &sl_group_inherit(g)->opt;
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_half *h;
	uint32_t idx;

	if (seg->pkt->ttl < o->minttl) {
		SL_COUNT(sq, tcp_in_minttl);
		return;
	}
	if (backlog_full(g)) {
		SL_COUNT(sq, tcp_listen_drop);
		return;
	}
	if (!make_room(sq))
		return;
	h = sl_slab_alloc(&t->halves, &idx);
	if (h == NULL) {
		SL_COUNT(sq, tcp_conn_nomem);
		return;
	}
	h->idx = idx;
	h->key = seg->pkt->key;
	h->timer.kind = SL_TIMER_HALF;
	h->flow.ttl = o->ttl;
	h->flow.tos = o->tos;
	if (sl_flow_init(sq, &h->flow, &h->key, SL_FLOW_HALF) < 0) {
		sl_slab_free(&t->halves, idx);
		return; /* counted by the route lookup */
	}
	if (sl_conntab_insert(&t->tab, &h->key, sl_conntab_hash(&t->tab, &h->key),
		SL_REF(SL_REF_HALF, idx)) < 0) {
		SL_COUNT(sq, tcp_conn_nomem);
		sl_flow_fini(sq, &h->flow);
		sl_slab_free(&t->halves, idx);
		return;
	}
	h->group = g;
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	h->first_at = sq->now;
	h->iss = sl_tcp_iss(sq, &h->key);
	if (iss_min != NULL && seq_lt(h->iss, *iss_min))
		h->iss = *iss_min;
	remember_syn(sq, h, seg);
	half_link(t, h);
	t->edge[SLUICE_LISTEN][SLUICE_SYN_RCVD]++;
	SL_COUNT(sq, tcp_passive_opens);
	arm(sq, h);
	send_synack(sq, h);
}

/* ---- a segment for an entry (RFC 9293 3.10.7.4 with state SYN-RECEIVED) ---- */

/* ACK for what is not acceptable; an entry answers as seldom as a connection would (RFC 5961
 * section 7). */
static void half_challenge(struct sluice_squeue *sq, struct sl_half *h)
{
	struct rte_mbuf *m;
	uint8_t opts[12] = {1, 1, 8, 10};
	uint32_t wnd = offered_window(h) >> (h->has_wscale ? h->rcv_wscale : 0); /* not a SYN's */
	unsigned int len = 0;

	if (h->sent_at != 0 && sq->now - h->sent_at < sq->tun.tcp_ack_war) {
		SL_COUNT(sq, tcp_out_challenge_limited);
		return;
	}
	if (sl_flow_ready(sq, &h->flow, &h->key) != 0)
		return;
	if (h->ts) {
		uint32_t v[2] = {htonl(sl_ts_now(sq, h->ts_offset)), htonl(h->ts_recent)};

		memcpy(opts + 4, v, sizeof(v));
		len = sizeof(opts);
	}
	m = sl_output_header(
	    sq, &h->key, h->iss + 1, h->irs + 1, SL_TH_ACK, (uint16_t)wnd, opts, len);
	if (m == NULL)
		return;
	h->sent_at = sq->now;
	SL_COUNT(sq, tcp_out_challenge);
	sl_flow_send(sq, &h->flow, &h->key, m, (uint8_t)(20 + len), 0);
}

/* First to fourth check. True: the segment completes the handshake. */
static bool half_acceptable(struct sluice_squeue *sq, struct sl_half *h, struct sl_seg *seg)
{
	uint32_t rcv_nxt = h->irs + 1, wnd = offered_window(h),
		 len = seg->len + !!(seg->flags & SL_TH_FIN);

	if ((seg->flags & (SL_TH_SYN | SL_TH_ACK | SL_TH_RST)) == SL_TH_SYN && seg->seq == h->irs) {
		SL_COUNT(sq, tcp_in_syn_again);
		/* Our SYN-ACK was lost: again, but not for each duplicate in a burst. */
		if (!h->synack_pending && sq->now - h->sent_at >= sq->tun.tcp_ack_war)
			send_synack(sq, h);
		return false;
	}
	if (seg->flags & SL_TH_SYN) { /* RFC 5961 4.2 */
		SL_COUNT(sq, tcp_in_syn_synchronized);
		half_challenge(sq, h);
		return false;
	}
	if (seg->flags & SL_TH_RST) { /* RFC 5961 3.2: by its own number alone */
		if (seg->seq == rcv_nxt) {
			half_fail(sq, h);
		} else if (seq_in(seg->seq, rcv_nxt, rcv_nxt + wnd)) {
			SL_COUNT(sq, tcp_in_rst_inexact);
			half_challenge(sq, h);
		} else {
			SL_COUNT(sq, tcp_in_rst_ignored);
		}
		return false;
	}
	if (h->ts) {
		if (!seg->o.has_ts) { /* RFC 7323 3.2 */
			SL_COUNT(sq, tcp_in_no_ts);
			return false;
		}
		if (seq_lt(seg->o.tsval, h->ts_recent)) {
			SL_COUNT(sq, tcp_in_paws);
			half_challenge(sq, h);
			return false;
		}
	}
	/* Acceptable: begins inside the window (which is never zero here), overlaps its left edge,
	 * or says nothing but an ACK from the right edge. */
	if (!seq_in(seg->seq, rcv_nxt, rcv_nxt + wnd + (len == 0)) &&
	    !(seq_lt(seg->seq, rcv_nxt) && seq_gt(seg->seq + len, rcv_nxt))) {
		half_challenge(sq, h);
		return false;
	}
	if (!(seg->flags & SL_TH_ACK)) {
		SL_COUNT(sq, tcp_in_no_ack);
		return false;
	}
	if (seg->ack != h->iss + 1) {
		SL_COUNT(sq, tcp_in_bad_ack);
		sl_tcp_reset_reply(sq, seg);
		return false;
	}
	return true;
}

/* The options of the SYN, as it sent them. */
static struct sl_opts half_opts(const struct sl_half *h)
{
	return (struct sl_opts){.mss = h->mss,
	    .wscale = h->wscale,
	    .has_wscale = h->has_wscale,
	    .has_ts = h->ts,
	    .sack_ok = h->sack,
	    .tsval = h->ts_recent};
}

static void fill_conn(
    struct sluice_squeue *sq, struct sl_conn *c, struct sl_half *h, const struct sl_seg *seg)
{
	struct sl_opts o = half_opts(h);

	c->irs = h->irs;
	c->rcv_nxt = c->last_ack_sent = c->rcv_up = h->irs + 1;
	c->rcv_adv = c->rcv_nxt + offered_window(h);
	c->iss = h->iss;
	c->snd_una = c->snd_nxt = c->snd_max = c->snd_up = c->recover = c->high_sacked = h->iss + 1;
	c->rcv_wscale = h->rcv_wscale;
	c->ts_offset = h->ts_offset;
	c->flags |= SL_C_SACK | SL_C_TS | SL_C_WSCALE;
	sl_tcp_negotiate(sq, c, &o);
	c->snd_wnd = seg->wnd << c->snd_wscale;
	c->max_sndwnd = c->snd_wnd;
	c->snd_wl1 = seg->seq;
}

/* Makes the full connection; NULL (counted): the entry stays, and the peer's next ACK tries again.
 */
static struct sl_conn *promote(
    struct sluice_squeue *sq, struct sl_half *h, const struct sl_seg *seg)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_group *g = h->group;
	struct sl_conn *c = sl_conn_alloc(sq, g->is6 ? AF_INET6 : AF_INET, h->key.vrf);

	if (c == NULL)
		return NULL;
	c->key = h->key;
	c->up = g->up;
	c->up_arg = g->up_arg;
	if (sl_conn_from_group(sq, c, g) < 0 ||
	    sl_flow_init(sq, &c->flow, &c->key, SL_FLOW_CONN) < 0) {
		SL_COUNT(sq, tcp_conn_nomem);
		sl_conn_free(sq, c);
		return NULL;
	}
	fill_conn(sq, c, h, seg);
	sl_conntab_replace(
	    &t->tab, &c->key, sl_conntab_hash(&t->tab, &c->key), SL_REF(SL_REF_CONN, c->idx));
	c->flags |= SL_C_IN_TABLE | SL_C_ACCEPT_PENDING | SL_C_ACTIVATED;
	c->group = g;
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&g->pending, 1, memory_order_relaxed);
	if (++t->next_connid == 0)
		t->next_connid = 1;
	atomic_store_explicit(
	    &sl_conn_door(sq, c)->pub.connid, t->next_connid, memory_order_release);
	c->state = SLUICE_SYN_RCVD; /* the edge into it was counted when the entry was made */
	/* Karn: a sample only of a SYN-ACK sent once. Sent again, the RTO is 3 s (RFC 6298 5.7) and
	 * the first window one segment (RFC 5681 3.1). */
	if (h->retries == 0) {
		sl_rtt_sample(sq, c, sq->now - h->sent_at);
	} else {
		c->rttvar = SLUICE_SEC(3);
		c->cc.cwnd = c->mss;
	}
	return c;
}

/* The squeue is parked: another one gets the connection, and makes newconn. Data that has come already
 * travels with it. */
static bool give_away(struct sluice_squeue *sq, struct sl_conn *c)
{
	int to = sl_drain_to(sq, c);

	if (to < 0 || sl_move_new(sq, c, (unsigned int)to) < 0)
		return false;
	c->up = NULL;
	SL_COUNT(sq, sq_parked_conns);
	return true;
}

/*
 * What completes the handshake has been handed to us: that of a port whose steering nobody knows (or
 * that steers otherwise than it says), so the squeue where it arrived is where all of the connection's
 * packets will. It gets the connection, and finds them in its own table from then on.
 */
static bool follow(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sluice_stack *st = sq->stack;

	if (sq->from == sq->id || !sq->tun.steer_follow || sl_flow_queues(sq, &c->flow) < st->nsq ||
	    !sl_running(st, sq->from) || !sl_move_room(st->sq[sq->from]) ||
	    sl_move_new(sq, c, sq->from) < 0)
		return false;
	c->up = NULL;
	SL_COUNT(sq, steer_follow);
	return true;
}

void sl_half_segment(struct sluice_squeue *sq, struct sl_half *h, struct sl_seg *seg)
{
	struct sl_group *g = h->group;
	struct sl_conn *c;

	if (seg->pkt->ttl < sl_group_inherit(g)->opt.minttl) {
		SL_COUNT(sq, tcp_in_minttl);
		goto drop;
	}
	if (!half_acceptable(sq, h, seg))
		goto drop;
	if (backlog_full(g)) {
		/* The peer believes it is connected; its data and our SYN-ACK's timer bring it here
		 * again. */
		SL_COUNT(sq, tcp_listen_drop);
		goto drop;
	}
	c = promote(sq, h, seg);
	if (c == NULL)
		goto drop;
	half_release(sq, h);
	sl_tcp_established(sq, c);
	if (SL_UNLIKELY((sl_tcp_of(sq)->drain.on && give_away(sq, c)) || follow(sq, c))) {
		sl_conn_segment(sq, c, seg);
		return;
	}
	if (sl_up_newconn(sq, g, c) < 0) {
		c->flags |= SL_C_CLOSED_BY_APP;
		(void)sl_output_ctl(sq, c, c->snd_max, SL_TH_RST | SL_TH_ACK);
		sl_conn_drop(sq, c, ECONNREFUSED);
		goto drop;
	}
	sl_up_props(sq, c);
	sl_conn_segment(sq, c, seg);
	return;
drop:
	if (seg->m != NULL) {
		rte_pktmbuf_free(seg->m);
		seg->m = NULL;
	}
}
