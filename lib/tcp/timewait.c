/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TIME_WAIT (RFC 9293 3.6.1 and 3.10.7.4, RFC 1337, RFC 6191). A connection whose user has closed
 * it leaves its memory and stays as a compact entry: the key, what to acknowledge, and the last
 * timestamp. Entries stand in one list by expiry (all wait equally long), watched by one timer of
 * the squeue.
 */
#include <string.h>

#include <tcp/tcp_int.h>

static void tw_link(struct sl_tcp *t, struct sl_tw *tw)
{
	tw->next = NULL;
	tw->pprev = t->tw_tail;
	*t->tw_tail = tw;
	t->tw_tail = &tw->next;
}

static void tw_unlink(struct sl_tcp *t, struct sl_tw *tw)
{
	*tw->pprev = tw->next;
	if (tw->next != NULL)
		tw->next->pprev = tw->pprev;
	else
		t->tw_tail = tw->pprev;
}

static void arm(struct sluice_squeue *sq)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	if (t->tw_head != NULL && !sl_timer_armed(&t->tw_timer))
		sl_timer_set(&sq->wheel, &t->tw_timer, t->tw_head->expires);
}

/* TIME_WAIT to CLOSED. */
void sl_tw_free(struct sluice_squeue *sq, struct sl_tw *tw)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	sl_conntab_remove(&t->tab, &tw->key, sl_conntab_hash(&t->tab, &tw->key));
	tw_unlink(t, tw);
	t->edge[SLUICE_TIME_WAIT][SLUICE_CLOSED]++;
	sl_slab_free(&t->tws, tw->idx);
}

#define TW_PER_TICK 1024 /* a wave of expiries is spread over ticks */

void sl_tw_timer(void *arg, struct sl_timer *timer)
{
	struct sluice_squeue *sq = arg;
	struct sl_tcp *t = sl_tcp_of(sq);

	for (unsigned int n = 0;
	     t->tw_head != NULL && t->tw_head->expires <= sq->now && n < TW_PER_TICK; n++)
		sl_tw_free(sq, t->tw_head);
	arm(sq);
}

static struct sl_tw *tw_alloc(struct sluice_squeue *sq)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_tw *tw;
	uint32_t idx;

	if (sq->tun.tcp_time_wait == 0 || sq->tun.tcp_time_wait_max == 0)
		return NULL;
	if (t->tws.inuse >= sq->tun.tcp_time_wait_max && t->tw_head != NULL) {
		SL_COUNT(sq, tcp_timewait_evicted);
		sl_tw_free(sq, t->tw_head);
	}
	tw = sl_slab_alloc(&t->tws, &idx);
	if (tw == NULL) {
		SL_COUNT(sq, tcp_timewait_evicted);
		return NULL;
	}
	tw->idx = idx;
	return tw;
}

static void tw_from_conn(struct sluice_squeue *sq, struct sl_tw *tw, const struct sl_conn *c)
{
	tw->key = c->key;
	tw->snd_nxt = c->snd_max;
	tw->rcv_nxt = c->rcv_nxt;
	/* As it stands in our segments: already scaled down. */
	tw->rcv_wnd = RTE_MIN((c->rcv_adv - c->rcv_nxt) >> c->rcv_wscale, 65535u);
	tw->ts_recent = c->ts_recent;
	tw->ts_recent_ms = c->ts_recent_ms;
	tw->ts_offset = c->ts_offset;
	tw->ts = (c->flags & SL_C_TS) != 0;
	tw->snd_wscale = c->snd_wscale;
	tw->expires = sq->now + sq->tun.tcp_time_wait;
}

void sl_tw_enter(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_tw *tw;

	if (c->state != SLUICE_TIME_WAIT) {
		SL_COUNT(sq, tcp_timewait_in);
		sl_conn_state(sq, c, SLUICE_TIME_WAIT);
		sl_conn_timers_off(sq, c);
	}
	if (!(c->flags & SL_C_CLOSED_BY_APP) || sl_conn_guest(sq, c)) {
		c->misc_why = SL_MISC_TIME_WAIT;
		sl_conn_timer_set(sq, c, SL_T_MISC, sq->now + sq->tun.tcp_time_wait);
		/* The entry is to stand where its packets arrive: at home it gets there. */
		if (c->flags & SL_C_CLOSED_BY_APP)
			sl_move_home(sq, c);
		return;
	}
	/* A pure ACK of the peer's FIN may be due still; the entry would only send it when the FIN
	 * comes again. */
	if (c->flags & (SL_C_ACK_NOW | SL_C_ACK_DELAYED))
		(void)sl_output_ctl(sq, c, c->snd_max, SL_TH_ACK);
	tw = c->flags & SL_C_IN_TABLE ? tw_alloc(sq) : NULL;
	if (tw == NULL) {
		sl_conn_drop(sq, c, 0);
		return;
	}
	tw_from_conn(sq, tw, c);
	sl_conntab_replace(
	    &t->tab, &tw->key, sl_conntab_hash(&t->tab, &tw->key), SL_REF(SL_REF_TW, tw->idx));
	c->flags &= ~SL_C_IN_TABLE;
	tw_link(t, tw);
	arm(sq);
	/* The user's end is over; the entry, not this edge, goes from TIME_WAIT to CLOSED. */
	c->state = SLUICE_CLOSED;
	sl_conn_drop(sq, c, 0);
}

/* ---- segments ---- */

enum tw_verdict {
	TW_NOTHING,
	TW_ACK,
	TW_FIN_AGAIN
};

/*
 * What a segment gets (RFC 9293 3.10.7.4), whoever keeps the state. All is answered but the bare ACK
 * that belongs here, so that two ends in TIME_WAIT do not answer each other.
 */
static enum tw_verdict judge(struct sluice_squeue *sq, const struct sl_seg *seg, uint32_t rcv_nxt,
    bool ts, uint32_t ts_recent)
{
	bool fin = (seg->flags & SL_TH_FIN) != 0;

	if (seg->flags & SL_TH_RST) { /* RFC 1337: assassination is ignored */
		SL_COUNT(sq, tcp_in_rst_ignored);
		return TW_NOTHING;
	}
	if (seg->flags & SL_TH_SYN) {
		SL_COUNT(sq, tcp_in_syn_synchronized);
		return TW_ACK;
	}
	if (ts && !seg->o.has_ts) { /* RFC 7323 3.2 */
		SL_COUNT(sq, tcp_in_no_ts);
		return TW_NOTHING;
	}
	if (ts && seq_lt(seg->o.tsval, ts_recent)) {
		SL_COUNT(sq, tcp_in_paws);
		return TW_ACK;
	}
	if (fin && seg->seq + seg->len + 1 == rcv_nxt)
		return TW_FIN_AGAIN; /* our last ACK was lost: the wait begins anew (eighth) */
	return seg->len > 0 || fin || seg->seq != rcv_nxt ? TW_ACK : TW_NOTHING;
}

static void tw_ack(struct sluice_squeue *sq, struct sl_tw *tw, uint8_t tos)
{
	uint8_t opts[12] = {1, 1, 8, 10};
	unsigned int len = 0;
	struct rte_mbuf *m;

	if (tw->challenge_at != 0 && sq->now - tw->challenge_at < sq->tun.tcp_ack_war) {
		SL_COUNT(sq, tcp_out_challenge_limited);
		return;
	}
	if (tw->ts) {
		uint32_t v[2] = {htonl(sl_ts_now(sq, tw->ts_offset)), htonl(tw->ts_recent)};

		memcpy(opts + 4, v, sizeof(v));
		len = sizeof(opts);
	}
	m = sl_output_header(
	    sq, &tw->key, tw->snd_nxt, tw->rcv_nxt, SL_TH_ACK, (uint16_t)tw->rcv_wnd, opts, len);
	if (m == NULL)
		return;
	tw->challenge_at = sq->now;
	SL_COUNT(sq, tcp_out_ack);
	sl_ip_send_stateless(sq, &tw->key, m, (uint8_t)(20 + len), tos);
}

/* Newer than anything of the old incarnation: by timestamp (RFC 6191 section 2), else by sequence
 * number (RFC 9293). */
static bool syn_is_newer(bool ts, uint32_t ts_recent, uint32_t rcv_nxt, const struct sl_seg *seg)
{
	if (ts && seg->o.has_ts && seg->o.tsval != ts_recent)
		return seq_gt(seg->o.tsval, ts_recent);
	return seq_gt(seg->seq, rcv_nxt);
}

/* The listener for which a SYN is a new incarnation's; NULL: it is none. Only where somebody
 * listens: else any SYN could end the wait. */
static struct sl_group *reopens(struct sluice_squeue *sq, const struct sl_seg *seg, bool ts,
    uint32_t ts_recent, uint32_t rcv_nxt)
{
	if ((seg->flags & (SL_TH_SYN | SL_TH_ACK | SL_TH_RST)) != SL_TH_SYN ||
	    !syn_is_newer(ts, ts_recent, rcv_nxt, seg))
		return NULL;
	return sl_listener_find(sq, &seg->pkt->key);
}

/* The old incarnation is out of the way. snd_nxt: of its own numbers; the new ones begin beyond any
 * window of it that is likely. */
static void open_anew(
    struct sluice_squeue *sq, struct sl_group *g, struct sl_seg *seg, uint32_t snd_nxt)
{
	uint32_t iss_min = snd_nxt + 65536;

	SL_COUNT(sq, tcp_timewait_reused);
	sl_half_syn(sq, g, seg, &iss_min);
}

void sl_tw_held_segment(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	bool ts = (c->flags & SL_C_TS) != 0;
	struct sl_group *g = reopens(sq, seg, ts, c->ts_recent, c->rcv_nxt);
	uint32_t snd_nxt = c->snd_max;

	if (g != NULL) {
		/* The wait is all that is left of it: for its user it ends as if the time were
		 * over. */
		sl_conn_drop(sq, c, 0);
		open_anew(sq, g, seg, snd_nxt);
		return;
	}
	switch (judge(sq, seg, c->rcv_nxt, ts, c->ts_recent)) {
	case TW_FIN_AGAIN:
		sl_conn_timer_set(sq, c, SL_T_MISC, sq->now + sq->tun.tcp_time_wait);
		sl_ack_now(sq, c);
		break;
	case TW_ACK:
		sl_tcp_challenge(sq, c);
		break;
	default:
		break;
	}
}

void sl_tw_segment(struct sluice_squeue *sq, struct sl_tw *tw, struct sl_seg *seg)
{
	struct sl_group *g = reopens(sq, seg, tw->ts, tw->ts_recent, tw->rcv_nxt);
	struct sl_tcp *t = sl_tcp_of(sq);
	uint32_t snd_nxt = tw->snd_nxt;

	if (g != NULL) {
		sl_tw_free(sq, tw);
		open_anew(sq, g, seg, snd_nxt);
		goto drop;
	}
	switch (judge(sq, seg, tw->rcv_nxt, tw->ts, tw->ts_recent)) {
	case TW_FIN_AGAIN:
		tw->expires = sq->now + sq->tun.tcp_time_wait;
		tw_unlink(t, tw);
		tw_link(t, tw);
		tw->challenge_at = 0;
		tw_ack(sq, tw, 0);
		break;
	case TW_ACK:
		tw_ack(sq, tw, 0);
		break;
	default:
		break;
	}
drop:
	if (seg->m != NULL) {
		rte_pktmbuf_free(seg->m);
		seg->m = NULL;
	}
}

bool sl_tw_reuse(struct sluice_squeue *sq, struct sl_tw *tw, uint32_t *iss_min, uint32_t *ts_min)
{
	/*
	 * RFC 6191 for the opener: with timestamps that go on from the old incarnation's, whatever
	 * of it still travels is stopped by PAWS, here and at the peer. So both clocks must have
	 * ticked since the last segment either way: ours once a millisecond, the peer's as the
	 * tunable says.
	 */
	uint64_t heard = (uint64_t)((uint32_t)(sq->now / 1000000) - tw->ts_recent_ms) * 1000000;

	if (!tw->ts || heard <= sq->tun.tcp_time_wait_reuse)
		return false;
	if (tw->challenge_at != 0 && sq->now - tw->challenge_at <= sq->tun.tcp_time_wait_reuse)
		return false;
	*iss_min = tw->snd_nxt + 65536;
	*ts_min = tw->ts_recent;
	SL_COUNT(sq, tcp_timewait_reused);
	sl_tw_free(sq, tw);
	return true;
}
