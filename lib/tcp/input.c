/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Segments in, as RFC 9293 section 3.10.7 tells it: parse, find, the fast path, then one function
 * per check in the section's order.
 *
 * A burst is one batch: all keys are looked up together, each segment runs through its connection,
 * and each connection that got something gets one `recv` at the end. ACKs only leave marks; output
 * sends them, or the data on which they ride. Nothing is transmitted from here but replies for what
 * is no connection.
 */
#include <errno.h>
#include <string.h>

#include <rte_prefetch.h>

#include <tcp/tcp_int.h>

/* ---- what belongs to nothing ---- */

static bool rst_allowed(struct sluice_squeue *sq)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	uint64_t rate = sq->tun.tcp_rst_rate, gained;

	if (rate == 0)
		return false;
	gained = (sq->now - t->rst_at) / (SLUICE_SEC(1) / rate);
	if (gained > 0) {
		t->rst_at = sq->now;
		t->rst_tokens = RTE_MIN(t->rst_tokens + gained, rate);
	}
	if (t->rst_tokens == 0) {
		SL_COUNT(sq, tcp_out_rsts_limited);
		return false;
	}
	t->rst_tokens--;
	return true;
}

void sl_tcp_reset_reply(struct sluice_squeue *sq, const struct sl_seg *seg)
{
	uint32_t seq = 0, ack = 0;
	uint8_t flags = SL_TH_RST;
	struct rte_mbuf *m;

	if ((seg->flags & SL_TH_RST) || !rst_allowed(sq))
		return;
	if (seg->flags & SL_TH_ACK) {
		seq = seg->ack;
	} else {
		flags |= SL_TH_ACK;
		ack = seg->seq + seg->len + !!(seg->flags & SL_TH_SYN) + !!(seg->flags & SL_TH_FIN);
	}
	m = sl_output_header(sq, &seg->pkt->key, seq, ack, flags, 0, NULL, 0);
	if (m == NULL)
		return;
	SL_COUNT(sq, tcp_out_rsts);
	sl_ip_send_stateless(sq, &seg->pkt->key, m, 20, 0);
}

void sl_tcp_challenge(struct sluice_squeue *sq, struct sl_conn *c)
{
	uint32_t now = (uint32_t)(sq->now >> SL_TICK_SHIFT);

	if (c->challenge_at != 0 && now - c->challenge_at < sq->tun.tcp_ack_war >> SL_TICK_SHIFT) {
		SL_COUNT(sq, tcp_out_challenge_limited);
		return;
	}
	c->challenge_at = now != 0 ? now : 1;
	SL_COUNT(sq, tcp_out_challenge);
	sl_ack_now(sq, c);
}

/* ---- parse ---- */

static void drop(struct sl_seg *seg)
{
	if (seg->m != NULL)
		rte_pktmbuf_free(seg->m);
	seg->m = NULL;
}

static uint32_t be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return ntohl(v);
}

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* Header fields in host order, header cut off. False: dropped and counted. */
static bool parse(struct sluice_squeue *sq, struct sl_pkt *pkt, struct sl_seg *seg)
{
	uint8_t copy[60];
	const uint8_t *th;
	unsigned int th_len;

	seg->m = pkt->m;
	seg->pkt = pkt;
	SL_COUNT(sq, tcp_in_segs);
	th = rte_pktmbuf_mtod(pkt->m, const uint8_t *);
	th_len = (th[12] >> 4) * 4u;
	if (th_len < 20 || th_len > pkt->len) {
		SL_COUNT(sq, tcp_in_hdr_errors);
		drop(seg);
		return false;
	}
	if (SL_UNLIKELY(pkt->m->data_len < th_len))
		th = rte_pktmbuf_read(pkt->m, 0, th_len, copy);
	seg->seq = be32(th + 4);
	seg->ack = be32(th + 8);
	seg->flags = th[13];
	seg->wnd = be16(th + 14);
	seg->urp = be16(th + 18);
	seg->len = pkt->len - th_len;
	seg->tos = pkt->tos;
	seg->pflags = pkt->flags;
	/* SYN+FIN, SYN+RST, no flag at all: never right, beloved of port scanners. */
	if ((seg->flags & SL_TH_SYN && seg->flags & (SL_TH_FIN | SL_TH_RST)) ||
	    !(seg->flags & (SL_TH_SYN | SL_TH_FIN | SL_TH_RST | SL_TH_ACK))) {
		SL_COUNT(sq, tcp_in_bad_flags);
		drop(seg);
		return false;
	}
	sl_opts_parse(sq, th, th_len, (seg->flags & SL_TH_SYN) != 0, &seg->o);
	if (seg->len == 0)
		drop(seg);
	else
		sl_chain_chop(&seg->m, th_len);
	return true;
}

/* ---- bookkeeping of the batch ---- */

static void touch(struct sluice_squeue *sq, struct sl_conn *c, enum sl_batch what)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	c->batch |= (uint8_t)what;
	if (c->flags & SL_C_TOUCHED)
		return;
	c->flags |= SL_C_TOUCHED;
	SL_CHECK(t->ntouched < SL_BURST);
	t->touched[t->ntouched++] = c;
}

void sl_input_deliver(struct sluice_squeue *sq, struct sl_conn *c)
{
	/* URG first: the mark counts from the bytes that are not read yet. */
	static const uint8_t bits[] = {SL_B_URG, SL_B_DATA, SL_B_FIN};
	static const enum sl_deferred ups[] = {SL_D_OOB, SL_D_RECV, SL_D_SHUT_RECV};

	/* An upcall may change the owner, who is told what holds then. */
	for (unsigned int i = 0; i < RTE_DIM(bits) && c->batch != 0; i++)
		if (c->batch & bits[i]) {
			c->batch &= (uint8_t)~bits[i];
			sl_up(sq, c, ups[i]);
		}
}

static void end_batch(struct sluice_squeue *sq)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	for (uint32_t i = 0; i < t->ntouched; i++) {
		struct sl_conn *c = t->touched[i];

		c->flags &= ~SL_C_TOUCHED;
		sl_input_deliver(sq, c);
		sl_conn_check(sq, c);
	}
	t->ntouched = 0;
}

/* ---- the fast path ---- */

/*
 * ESTABLISHED, nothing but ACK (and PSH), at rcv_nxt, inside the window, nothing out of order: most
 * of all segments ever received. RFC 7323 appendix A's order of checks holds here too.
 */
static bool fast_path(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	if ((seg->flags & ~SL_TH_PUSH) != SL_TH_ACK || c->state != SLUICE_ESTABLISHED ||
	    seg->seq != c->rcv_nxt || seg->len > c->rcv_adv - c->rcv_nxt || c->ooo != NULL ||
	    seg->o.nsack > 0 || (c->flags & (SL_C_CLOSED_BY_APP | SL_C_RCV_SHUT | SL_C_URG_IN)))
		return false;
	if (c->flags & SL_C_TS) {
		if (!seg->o.has_ts || seq_lt(seg->o.tsval, c->ts_recent))
			return false;
		if (seq_le(seg->seq, c->last_ack_sent)) {
			c->ts_recent = seg->o.tsval;
			c->ts_recent_ms = (uint32_t)(sq->now / 1000000);
		}
	}
	if (seg->len == 0 || seg->ack != c->snd_una || seg->wnd << c->snd_wscale != c->snd_wnd) {
		/* It may end in an upcall, and that in anything. */
		if (!sl_ack_process(sq, c, seg) || c->state != SLUICE_ESTABLISHED) {
			drop(seg);
			return true;
		}
	} else {
		c->snd_wl1 = seg->seq; /* else it falls 2^31 behind on a one-way stream */
	}
	if (seg->len > 0) {
		uint32_t len = seg->len;

		if (seg->flags & SL_TH_PUSH)
			c->flags |= SL_C_PUSH_SEEN;
		sl_rcv_data(sq, c, seg);
		touch(sq, c, SL_B_DATA);
		sl_ack_data(sq, c, len);
	}
	return true;
}

/* ---- timestamps (RFC 7323 5.3) ---- */

#define PAWS_AGE_MS (24u * 24 * 3600 * 1000) /* beyond this ts_recent proves nothing (5.5) */

static bool paws_ok(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	if (!(c->flags & SL_C_TS) || (seg->flags & SL_TH_RST))
		return true;
	if (!seg->o.has_ts) {
		SL_COUNT(sq, tcp_in_no_ts);
		return false;
	}
	if (!seq_lt(seg->o.tsval, c->ts_recent) ||
	    (uint32_t)(sq->now / 1000000) - c->ts_recent_ms > PAWS_AGE_MS)
		return true;
	SL_COUNT(sq, tcp_in_paws);
	if (seg->len > 0)
		sl_ack_now(sq, c);
	else
		sl_tcp_challenge(sq, c);
	return false;
}

static void note_timestamp(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_seg *seg)
{
	if ((c->flags & SL_C_TS) && seg->o.has_ts && seq_le(seg->seq, c->last_ack_sent)) {
		c->ts_recent = seg->o.tsval;
		c->ts_recent_ms = (uint32_t)(sq->now / 1000000);
	}
}

/* ---- first: the sequence number ---- */

static void count_unacceptable(
    struct sluice_squeue *sq, const struct sl_conn *c, const struct sl_seg *seg)
{
	if (seg->len == 0)
		return;
	if (seq_le(seg->seq + seg->len, c->rcv_nxt)) {
		SL_COUNT(sq, tcp_in_data_dup_segs);
		SL_COUNT_N(sq, tcp_in_data_dup_bytes, seg->len);
	} else if (seg->seq == c->rcv_nxt) {
		SL_COUNT(sq, tcp_in_win_probe);
	} else {
		SL_COUNT(sq, tcp_in_data_past_win_segs);
		SL_COUNT_N(sq, tcp_in_data_past_win_bytes, seg->len);
	}
}

/*
 * An ACK tells so. What lies below the window is a retransmission (our ACK was lost), what stands
 * at a closed window is a probe: neither answer may wait, or the peer backs off. What lies beyond,
 * or carries nothing, is answered seldom: two ends that do not accept each other's ACKs would never
 * stop.
 */
static void not_acceptable(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	uint32_t fin = !!(seg->flags & SL_TH_FIN);

	if (seg->flags & SL_TH_RST) {
		SL_COUNT(sq, tcp_in_rst_ignored);
		return;
	}
	count_unacceptable(sq, c, seg);
	if (seg->len + fin == 0 || seq_gt(seg->seq, c->rcv_nxt)) {
		sl_tcp_challenge(sq, c);
		return;
	}
	if (seq_le(seg->seq + seg->len, c->rcv_nxt))
		sl_rcv_dsack(c, seg->seq, seg->seq + seg->len);
	sl_ack_now(sq, c);
}

static uint32_t window(const struct sl_conn *c)
{
	return seq_gt(c->rcv_adv, c->rcv_nxt) ? c->rcv_adv - c->rcv_nxt : 0;
}

/* The four cases of RFC 9293 3.10.7.4. */
static bool acceptable(const struct sl_conn *c, const struct sl_seg *seg)
{
	uint32_t len = seg->len + !!(seg->flags & SL_TH_FIN), wnd = window(c);

	/* RST counts by its own number alone (RFC 5961 3.2), also at a closed window (MUST-66). */
	if (seg->flags & SL_TH_RST)
		return seg->seq == c->rcv_nxt || seq_in(seg->seq, c->rcv_nxt, c->rcv_nxt + wnd);
	/* A peer that has filled the window, and lost some of it, says its ACKs from the right
	 * edge. */
	if (len == 0)
		return seg->seq - c->rcv_nxt <= wnd;
	/* A bare FIN takes no room: it is heard at a closed window too. */
	if (wnd == 0)
		return seg->seq == c->rcv_nxt && seg->len == 0;
	return seq_in(seg->seq, c->rcv_nxt, c->rcv_nxt + wnd) ||
	       seq_in(seg->seq + len - 1, c->rcv_nxt, c->rcv_nxt + wnd) ||
	       (seq_lt(seg->seq, c->rcv_nxt) && seq_ge(seg->seq + len, c->rcv_nxt + wnd));
}

/* Keep what lies in the window. */
static void trim(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	uint32_t right = c->rcv_adv;

	if (seq_lt(seg->seq, c->rcv_nxt)) {
		if (seg->len > 0) {
			uint32_t n = RTE_MIN(c->rcv_nxt - seg->seq, seg->len);

			SL_COUNT(sq, tcp_in_data_part_dup_segs);
			sl_rcv_dsack(c, seg->seq, seg->seq + n);
			sl_chain_chop(&seg->m, n);
			seg->len -= n;
		}
		seg->seq = c->rcv_nxt;
	}
	if (seg->len > 0 && seq_gt(seg->seq + seg->len, right)) {
		uint32_t keep = seq_gt(right, seg->seq) ? right - seg->seq : 0;

		SL_COUNT(sq, tcp_in_data_past_win_segs);
		SL_COUNT_N(sq, tcp_in_data_past_win_bytes, seg->len - keep);
		seg->flags &= (uint8_t)~SL_TH_FIN;
		seg->len = keep;
		if (keep == 0)
			drop(seg);
		else
			sl_chain_keep(seg->m, keep);
		sl_ack_now(sq, c);
	}
}

/* ---- second: RST (RFC 5961 section 3) ---- */

static int reset_error(const struct sl_conn *c)
{
	switch (c->state) {
	case SLUICE_SYN_RCVD:
		return ECONNREFUSED;
	case SLUICE_CLOSING:
	case SLUICE_LAST_ACK:
		return c->sndq_bytes > 0 ? ECONNRESET : 0;
	default:
		return ECONNRESET;
	}
}

/* True: the segment is done with. */
static bool check_rst(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	if (!(seg->flags & SL_TH_RST))
		return false;
	if (seg->seq != c->rcv_nxt) {
		SL_COUNT(sq, tcp_in_rst_inexact);
		sl_tcp_challenge(sq, c);
	} else {
		sl_conn_drop(sq, c, reset_error(c));
	}
	return true;
}

/* ---- fourth: SYN (RFC 5961 section 4) ---- */

/* Whatever its sequence number, a SYN is never part of what is known: the peer must show with a RST
 * that it has lost the connection. True: the segment is done with. */
static bool check_syn(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	if (!(seg->flags & SL_TH_SYN))
		return false;
	SL_COUNT(sq, tcp_in_syn_synchronized);
	sl_tcp_challenge(sq, c);
	return true;
}

/* ---- fifth: ACK ---- */

static void wake_window(struct sl_conn *c, const struct sl_seg *seg, uint8_t shift)
{
	c->snd_wnd = seg->wnd << shift;
	if (c->snd_wnd > c->max_sndwnd)
		c->max_sndwnd = c->snd_wnd;
	c->snd_wl1 = seg->seq;
}

/* RFC 5681 3.1: one segment to begin with when the SYN was lost. */
static void lost_syn(struct sl_conn *c)
{
	if (c->rtx_shift > 0)
		c->cc.cwnd = c->mss;
}

/* Our SYN is acknowledged, in SYN_RCVD of a simultaneous open. */
static bool ack_of_syn(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	if (seg->ack != c->snd_max) {
		SL_COUNT(sq, tcp_in_bad_ack);
		sl_tcp_reset_reply(sq, seg);
		return false;
	}
	c->snd_una = c->snd_max;
	c->recover = c->high_sacked = c->snd_una;
	wake_window(c, seg, c->snd_wscale);
	lost_syn(c);
	sl_tcp_established(sq, c);
	return c->state != SLUICE_CLOSED;
}

static void to_fin_wait_2(struct sluice_squeue *sq, struct sl_conn *c)
{
	sl_conn_state(sq, c, SLUICE_FIN_WAIT_2);
	if (SL_UNLIKELY(c->linger > 1))
		sl_up_lingered(sq, c);
	if (!(c->flags & SL_C_CLOSED_BY_APP))
		return; /* half-closed by a user who still reads: for as long as it takes */
	c->misc_why = SL_MISC_FIN_WAIT2;
	sl_conn_timer_set(sq, c, SL_T_MISC, sq->now + SL_CONN_TUN(sq, c, tcp_fin_wait2, fin_wait2));
}

/* Our FIN is acknowledged; true when that was all. */
static bool fin_progress(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_seg *seg)
{
	if (!sl_fin_acked(c))
		return false;
	if (c->state == SLUICE_CLOSING) {
		sl_tw_enter(sq, c);
		return true;
	}
	if (c->state == SLUICE_LAST_ACK) {
		sl_conn_drop(sq, c, 0);
		return true;
	}
	/* With the peer's FIN in the same segment the next state is TIME_WAIT. */
	if (c->state == SLUICE_FIN_WAIT_1 &&
	    !((seg->flags & SL_TH_FIN) && seg->seq + seg->len == c->rcv_nxt))
		to_fin_wait_2(sq, c);
	return false;
}

/* True: the segment is done with. */
static bool check_ack(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	if (!(seg->flags & SL_TH_ACK)) {
		SL_COUNT(sq, tcp_in_no_ack);
		return true;
	}
	if (c->state == SLUICE_SYN_RCVD)
		return !ack_of_syn(sq, c, seg);
	return !sl_ack_process(sq, c, seg) || c->state == SLUICE_CLOSED || fin_progress(sq, c, seg);
}

/*
 * A segment whose text is not acceptable may still bring an ACK: at a closed window it counts, with
 * URG (MUST-66), and so does that of a retransmission when it is news.
 */
static bool ack_counts(const struct sl_conn *c, const struct sl_seg *seg)
{
	if ((seg->flags & (SL_TH_ACK | SL_TH_RST)) != SL_TH_ACK || c->state < SLUICE_ESTABLISHED)
		return false;
	if (seg->seq == c->rcv_nxt)
		return true;
	return seq_lt(seg->seq, c->rcv_nxt) && seq_ge(seg->seq, c->rcv_nxt - c->rcvbuf) &&
	       seq_gt(seg->ack, c->snd_una) && seq_le(seg->ack, c->snd_max);
}

/* ---- sixth: URG (RFC 9293 3.8.5, RFC 6093) ---- */

static bool takes_data(const struct sl_conn *c)
{
	return c->state == SLUICE_ESTABLISHED || c->state == SLUICE_FIN_WAIT_1 ||
	       c->state == SLUICE_FIN_WAIT_2;
}

/* `up`: the number after the urgent octet's, as all implementations have it (RFC 6093 section 2.1).
 * The octet stays in the stream. */
static void check_urg(struct sluice_squeue *sq, struct sl_conn *c, uint32_t up)
{
	/* Only forward, and only within what may ever be received: a wild pointer is no pointer. */
	if (!takes_data(c) || (c->flags & SL_C_RCV_SHUT) || !seq_gt(up, c->rcv_nxt) ||
	    seq_gt(up, c->rcv_adv + 65535) || ((c->flags & SL_C_URG_IN) && !seq_gt(up, c->rcv_up)))
		return;
	c->rcv_up = up;
	c->urg_mib = (uint32_t)(c->bytes_in >> 20);
	c->flags |= SL_C_URG_IN;
	touch(sq, c, SL_B_URG);
}

/* ---- seventh: data ---- */

/* Data for a user who is gone: a RST tells the peer that it is lost (RFC 9293 3.6.1). */
static void data_after_close(struct sluice_squeue *sq, struct sl_conn *c)
{
	SL_COUNT(sq, tcp_in_closed);
	(void)sl_output_ctl(sq, c, sl_rst_seq(c), SL_TH_RST | SL_TH_ACK);
	sl_conn_drop(sq, c, ECONNABORTED);
}

/* True when everything up to the end of the segment has been reached. */
static bool take_data(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	uint32_t len = seg->len;
	bool gap = c->ooo != NULL, in_order;

	if (seg->flags & SL_TH_PUSH)
		c->flags |= SL_C_PUSH_SEEN;
	in_order = sl_rcv_data(sq, c, seg);
	if (in_order && len > 0) {
		if (!(c->flags & SL_C_RCV_SHUT))
			touch(sq, c, SL_B_DATA);
		if (gap)
			sl_ack_now(sq, c); /* a gap was filled (RFC 5681 4.2) */
		else
			sl_ack_data(sq, c, len);
	} else if (!in_order) {
		/* Without SACK the peer counts duplicate ACKs: each leaves (RFC 5681 4.2). */
		if ((c->flags & SL_C_SACK) || !sl_output_ctl(sq, c, c->snd_max, SL_TH_ACK))
			sl_ack_now(sq, c);
	}
	if (SL_UNLIKELY(c->flags & SL_C_URG_IN) && seq_ge(c->rcv_nxt, c->rcv_up))
		c->flags &= ~SL_C_URG_IN;
	return in_order;
}

/* ---- eighth: FIN ---- */

static void take_fin(struct sluice_squeue *sq, struct sl_conn *c)
{
	c->rcv_nxt++;
	if (c->rcv_nxt == 0)
		SL_COUNT(sq, tcp_seq_wraps);
	c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt); /* a FIN needs no window */
	c->flags |= SL_C_FIN_RCVD;
	sl_ack_now(sq, c);
	if (!(c->flags & SL_C_RCV_SHUT))
		touch(sq, c, SL_B_FIN);
	switch (c->state) {
	case SLUICE_ESTABLISHED:
		sl_conn_state(sq, c, SLUICE_CLOSE_WAIT);
		break;
	case SLUICE_FIN_WAIT_1:
		if (sl_fin_acked(c))
			sl_tw_enter(sq, c);
		else
			sl_conn_state(sq, c, SLUICE_CLOSING);
		break;
	case SLUICE_FIN_WAIT_2:
		sl_tw_enter(sq, c);
		break;
	default:
		break;
	}
}

/* Seventh and eighth, also for what came with a SYN-ACK. */
static void text_and_fin(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	bool fin, reached = false;
	uint32_t fin_seq;

	if (!takes_data(c) || (seg->len == 0 && !(seg->flags & SL_TH_FIN))) {
		drop(seg);
		return;
	}
	trim(sq, c, seg);
	fin = (seg->flags & SL_TH_FIN) != 0;
	fin_seq = seg->seq + seg->len;
	if (seg->len > 0 && (c->flags & SL_C_CLOSED_BY_APP)) {
		drop(seg);
		data_after_close(sq, c);
		return;
	}
	reached = take_data(sq, c, seg);
	if ((reached && fin && c->rcv_nxt == fin_seq) || sl_rcv_fin_ready(c))
		take_fin(sq, c);
}

/* ---- SYN_SENT (RFC 9293 3.10.7.3) ---- */

static void learn_peer(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	c->irs = seg->seq;
	c->rcv_nxt = seg->seq + 1;
	c->rcv_adv = c->rcv_nxt + RTE_MIN(c->rcvbuf, 65535u);
	c->last_ack_sent = c->rcv_up = c->rcv_nxt;
	sl_tcp_negotiate(sq, c, &seg->o);
	wake_window(c, seg, 0); /* never scaled on a SYN */
}

static void syn_sent(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	bool acks = (seg->flags & SL_TH_ACK) != 0;

	if (acks && seg->ack != c->snd_max) {
		SL_COUNT(sq, tcp_in_bad_ack);
		sl_tcp_reset_reply(sq, seg);
		drop(seg);
		return;
	}
	if (seg->flags & SL_TH_RST) {
		if (acks)
			sl_conn_drop(sq, c, ECONNREFUSED);
		else
			SL_COUNT(sq, tcp_in_rst_ignored);
		drop(seg);
		return;
	}
	if (!(seg->flags & SL_TH_SYN)) {
		SL_COUNT(sq, tcp_in_no_syn);
		drop(seg);
		return;
	}
	learn_peer(sq, c, seg);
	if (!acks) { /* simultaneous open: figure 7 */
		sl_conn_state(sq, c, SLUICE_SYN_RCVD);
		sl_conn_publish(sq, c);
		sl_ack_now(sq, c); /* the SYN-ACK */
		drop(seg);
		return;
	}
	c->snd_una = c->recover = c->high_sacked = seg->ack;
	if (c->rtx_shift == 0)
		sl_rtt_sample(sq, c, sq->now - c->last_snd);
	c->flags &= ~SL_C_ACK_NOW;
	lost_syn(c);
	sl_tcp_established(sq, c);
	if (c->state == SLUICE_CLOSED) {
		drop(seg);
		return;
	}
	sl_ack_now(sq, c);
	if (seg->flags & SL_TH_URG)
		check_urg(sq, c, seg->seq + seg->urp);
	seg->seq++;
	seg->flags &= (uint8_t)~SL_TH_SYN;
	text_and_fin(sq, c, seg);
}

/* ---- the connection's way through ---- */

/* RFC 9293 3.10.7.4. */
static void synchronized(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	bool urg = (seg->flags & SL_TH_URG) != 0;
	uint32_t up = seg->seq + seg->urp;

	if (c->state == SLUICE_TIME_WAIT) {
		sl_tw_held_segment(sq, c, seg);
		drop(seg);
		return;
	}
	/* The other end's SYN-ACK of a simultaneous open: its SYN is the one we know (figure 7). */
	if (c->state == SLUICE_SYN_RCVD && (seg->flags & SL_TH_SYN) && (seg->flags & SL_TH_ACK) &&
	    seg->seq == c->irs) {
		seg->seq++;
		seg->flags &= (uint8_t)~SL_TH_SYN;
		seg->wnd >>= c->snd_wscale; /* of a SYN: not scaled */
	}
	if (check_syn(sq, c, seg) || !paws_ok(sq, c, seg)) {
		drop(seg);
		return;
	}
	if (!acceptable(c, seg)) {
		not_acceptable(sq, c, seg);
		seg->flags &= (uint8_t)~SL_TH_FIN; /* not taken: whatever its ACK says */
		if (ack_counts(c, seg) && !check_ack(sq, c, seg) && urg)
			check_urg(sq, c, up);
		drop(seg);
		return;
	}
	if (check_rst(sq, c, seg)) {
		drop(seg);
		return;
	}
	note_timestamp(sq, c, seg);
	if (check_ack(sq, c, seg)) {
		drop(seg);
		return;
	}
	if (urg)
		check_urg(sq, c, up);
	text_and_fin(sq, c, seg);
}

void sl_conn_segment(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	/* RFC 5082 3: as if it had not come. */
	if (SL_UNLIKELY(c->flags & SL_C_SPECIAL) && seg->pkt->ttl < c->opt->minttl) {
		SL_COUNT(sq, tcp_in_minttl);
		drop(seg);
		return;
	}
	c->segs_in++;
	c->last_rcv = sq->now;
	if (SL_LIKELY(fast_path(sq, c, seg)))
		return;
	if (c->state < SLUICE_SYN_SENT) { /* it ended earlier in this batch */
		sl_tcp_reset_reply(sq, seg);
		drop(seg);
		return;
	}
	if (c->state == SLUICE_SYN_SENT) {
		syn_sent(sq, c, seg);
		return;
	}
	synchronized(sq, c, seg);
}

/* ---- no connection: a listener, or nothing (RFC 9293 3.10.7.1, 3.10.7.2) ---- */

static void no_connection(struct sluice_squeue *sq, struct sl_seg *seg)
{
	const struct sl_key *k = &seg->pkt->key;
	struct sl_group *g = sl_listener_find(sq, k);

	if (sl_ip_is_broadcast(sq, k->vrf, &k->raddr)) { /* MUST-63; nor is it answered */
		SL_COUNT(sq, ip_in_bad_src);
	} else if (g != NULL && (seg->flags & (SL_TH_SYN | SL_TH_ACK | SL_TH_RST)) == SL_TH_SYN) {
		sl_half_syn(sq, g, seg, NULL);
	} else if (g != NULL && !(seg->flags & (SL_TH_ACK | SL_TH_RST))) {
		SL_COUNT(sq, tcp_in_no_conn); /* LISTEN answers ACKs alone (3.10.7.2, fourth) */
	} else {
		SL_COUNT(sq, tcp_in_no_conn);
		sl_tcp_reset_reply(sq, seg);
	}
	drop(seg);
}

static void dispatch(struct sluice_squeue *sq, struct sl_pkt *pkt, uint32_t ref)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_conn *c;
	struct sl_seg seg;

	if (!parse(sq, pkt, &seg))
		return;
	/*
	 * Connections keep their memory to the end of the pass; whether one still has its tuple is
	 * seen in its flags. All else may have changed since the lookup, by segments of this very
	 * burst.
	 */
	if (ref != 0 && SL_REF_KIND(ref) == SL_REF_CONN) {
		c = sl_conn_named(sq, ref);
		if (SL_UNLIKELY(ref > SL_REF_OWN_MAX))
			SL_COUNT(sq, sq_moves_pkts);
		if (SL_LIKELY(c->flags & SL_C_IN_TABLE)) {
			sl_conn_segment(sq, c, &seg);
			return;
		}
	}
	ref = sl_conntab_lookup(&t->tab, &pkt->key, sl_conntab_hash(&t->tab, &pkt->key));
	if (ref == 0 || SL_REF_KIND(ref) == SL_REF_FWD)
		no_connection(sq, &seg);
	else if (SL_REF_KIND(ref) == SL_REF_CONN)
		sl_conn_segment(sq, sl_conn_named(sq, ref), &seg);
	else if (SL_REF_KIND(ref) == SL_REF_HALF)
		sl_half_segment(sq, sl_slab_get(&t->halves, SL_REF_IDX(ref)), &seg);
	else
		sl_tw_segment(sq, sl_slab_get(&t->tws, SL_REF_IDX(ref)), &seg);
}

#define AHEAD 3u /* segments between the fetch of a connection and its turn: about 1,000 cycles */

/* All of a connection that a segment touches: with more than a few connections, it is not in the
 * nearest cache. */
static void fetch_ahead(struct sluice_squeue *sq, uint32_t ref)
{
	const struct sl_tcp *t = sl_tcp_of(sq);
	const char *c;

	if (ref == 0 || ref > SL_REF_OWN_MAX)
		return;
	c = sl_slab_get(&t->conns, ref);
	for (unsigned int i = 64; i < sizeof(struct sl_conn); i += 64)
		rte_prefetch0(c + i);
	rte_prefetch0(&sq->doors[ref]);
	rte_prefetch0(&sq->doors[ref].pub);
}

void sl_tcp_input(struct sluice_squeue *sq, struct sl_pkt *pkts, unsigned int n)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	const struct sl_key *keys[SL_BURST] = {NULL};
	uint32_t refs[SL_BURST];

	if (n == 1) {
		refs[0] = sl_conntab_lookup(
		    &t->tab, &pkts[0].key, sl_conntab_hash(&t->tab, &pkts[0].key));
	} else {
		for (unsigned int i = 0; i < n; i++)
			keys[i] = &pkts[i].key;
		sl_conntab_lookup_bulk(&t->tab, keys, n, refs);
		for (unsigned int i = 0; i < RTE_MIN(n, AHEAD); i++)
			fetch_ahead(sq, refs[i]);
	}
	for (unsigned int i = 0; i < n; i++) {
		if (i + AHEAD < n)
			fetch_ahead(sq, refs[i + AHEAD]);
		dispatch(sq, &pkts[i], refs[i]);
	}
	end_batch(sq);
}
