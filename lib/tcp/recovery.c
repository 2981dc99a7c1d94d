/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an ACK means: which bytes have arrived (cumulatively and by SACK), what that says of the
 * path's round trip, of losses and of the window, and what congestion control is to do about it.
 *
 * The scoreboard is the list of transmission records. Each is in flight, SACKED, or LOST (to be
 * sent again); two counters, pipe_sacked and pipe_lost, are kept beside, so that RFC 6675's pipe is
 * a subtraction. A record is deemed lost when three segments' worth above it arrived (RFC 6675
 * IsLost), or, if it was sent again already, when something that was sent clearly later arrived
 * first (the idea of RFC 8985). Without SACK, duplicate ACKs and partial ACKs tell (RFC 5681, RFC
 * 6582). After a time-out everything not SACKED is lost; nothing is ever "gone back" to.
 */
#include <errno.h>

#include <tcp/tcp_int.h>

#define DUP_THRESH 3 /* RFC 5681, RFC 6675 */

static uint32_t rec_len(const struct sl_rec *r)
{
	return r->end - r->start;
}

static inline struct sl_cc_ev event(
    struct sluice_squeue *sq, const struct sl_conn *c, uint32_t acked, uint32_t flight)
{
	struct sl_cc_ev ev = {
	    .now = sq->now, .mss = c->mss, .acked = acked, .flight = flight, .srtt = c->srtt};

	ev.in_recovery = (c->flags & SL_C_RECOVERY) != 0;
	/*
	 * Data that was sent up to the moment when cwnd stopped the sender used all of it. In slow
	 * start half of the window used is limit enough: it doubles in a round trip (RFC 7661 4.3
	 * in spirit).
	 */
	ev.cwnd_limited = (c->cwnd_stopped && seq_le(c->snd_una, c->cc.stop_seq)) ||
			  flight + c->mss >= c->cc.cwnd ||
			  (c->cc.cwnd < c->cc.ssthresh && 2 * flight >= c->cc.cwnd);
	return ev;
}

/* ---- marks ---- */

static void mark_lost(struct sl_conn *c, struct sl_rec *r)
{
	if (r->flags & (SL_REC_LOST | SL_REC_SACKED))
		return;
	r->flags |= SL_REC_LOST;
	c->pipe_lost += rec_len(r);
	if (c->lost_hint == NULL || seq_lt(r->start, c->lost_hint->start))
		c->lost_hint = r;
}

static void unmark_lost(struct sl_conn *c, struct sl_rec *r)
{
	if (r->flags & SL_REC_LOST) {
		r->flags &= (uint8_t)~SL_REC_LOST;
		c->pipe_lost -= rec_len(r);
	}
}

/* The peer has it: whichever of its transmissions that was, it was sent at the earliest then. */
static void delivered(struct sl_conn *c, const struct sl_rec *r)
{
	c->delivered += rec_len(r);
	/* A record sent twice may have been delivered by its first transmission: it says nothing
	 * about order. */
	if (!(r->flags & SL_REC_RETRANS) && r->sent_at > c->rack_at)
		c->rack_at = r->sent_at;
}

static void mark_sacked(struct sl_conn *c, struct sl_rec *r)
{
	unmark_lost(c, r);
	r->flags |= SL_REC_SACKED;
	c->pipe_sacked += rec_len(r);
	delivered(c, r);
}

/* ---- SACK ---- */

/*
 * A hostile peer chooses blocks that make the list long and the way to them far (CVE-2019-11477,
 * -11478). Records that are SACKED and touch are one; records are not split into many more than
 * there are segments; and the way is paid for: each ACK has earned DEBT_PAID steps, and one that
 * finds more than DEBT_MAX owed leaves its blocks aside.
 */
#define DEBT_PAID 256u
#define DEBT_MAX 8192u

static bool pays(uint32_t *debt)
{
	*debt -= RTE_MIN(*debt, DEBT_PAID);
	return *debt <= DEBT_MAX;
}

/* The first record that ends beyond seq, from the nearest place that is known. */
static struct sl_rec *seek(struct sl_conn *c, uint32_t seq)
{
	struct sl_rec *r = c->rec_head;

	if (r == NULL)
		return NULL;
	if (c->sack_hint != NULL &&
	    (seq_le(c->sack_hint->start, seq) || c->sack_hint->start - seq < seq - r->start))
		r = c->sack_hint;
	if (seq_le(r->end, seq) && c->rec_tail->start - seq < seq - r->end)
		r = c->rec_tail;
	for (; r->prev != NULL && seq_gt(r->prev->end, seq); r = r->prev)
		c->sack_debt++;
	for (; r != NULL && seq_le(r->end, seq); r = r->next)
		c->sack_debt++;
	return r;
}

static struct sl_rec *sack_split(
    struct sluice_squeue *sq, struct sl_conn *c, struct sl_rec *r, uint32_t at)
{
	if (c->rec_n > 64 + 2 * (sl_flight(c) / c->mss)) {
		SL_COUNT(sq, tcp_sack_limited);
		return NULL;
	}
	return sl_rec_split(sq, c, r, at);
}

/* r takes its next one in: both are SACKED, when that was is of no interest any more. */
static void swallow_next(struct sluice_squeue *sq, struct sl_conn *c, struct sl_rec *r)
{
	struct sl_rec *n = r->next;

	r->end = n->end;
	r->flags |= n->flags;
	r->sent_at = RTE_MAX(r->sent_at, n->sent_at);
	r->xmits = RTE_MAX(r->xmits, n->xmits);
	sl_rec_unlink(sq, c, n);
}

static bool is_sacked(const struct sl_rec *r)
{
	return r != NULL && (r->flags & SL_REC_SACKED);
}

/* One valid block: marks what it covers, splitting records at its edges. Returns true when it told
 * something new. */
static bool sack_block(
    struct sluice_squeue *sq, struct sl_conn *c, uint32_t start, uint32_t end, bool newest)
{
	struct sl_rec *r = seek(c, start);
	bool news = false;

	if (newest)
		c->sack_hint = r;
	if (r != NULL && seq_lt(r->start, start) && !is_sacked(r)) {
		/* Without a second half the block's part is passed over. */
		(void)sack_split(sq, c, r, start);
		r = r->next;
	}
	for (; r != NULL && seq_lt(r->start, end); r = r->next) {
		if (is_sacked(r)) {
			c->sack_debt++;
			continue;
		}
		if (seq_gt(r->end, end) && sack_split(sq, c, r, end) == NULL)
			break;
		mark_sacked(c, r);
		news = true;
		if (is_sacked(r->next))
			swallow_next(sq, c, r);
		if (is_sacked(r->prev)) {
			r = r->prev;
			swallow_next(sq, c, r);
		}
	}
	if (news && seq_gt(end, c->high_sacked))
		c->high_sacked = end;
	return news;
}

/*
 * sl_rec_split gives both halves the flags of the whole: their sums stay right. A LOST record that
 * is split counts in pipe_lost as before, for the halves' lengths add up.
 */
static bool sack_update(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_seg *seg)
{
	bool news = false, newest = true;

	if (!pays(&c->sack_debt)) {
		SL_COUNT(sq, tcp_sack_limited);
		return false;
	}
	for (unsigned int i = 0; i < seg->o.nsack; i++) {
		uint32_t start = seg->o.sack[i].start, end = seg->o.sack[i].end;

		/* RFC 2883: the first block, when it lies below the ACK or inside the second,
		 * reports a duplicate. */
		if (i == 0 && seq_lt(start, end) &&
		    (seq_le(end, seg->ack) ||
			(seg->o.nsack > 1 && seq_ge(start, seg->o.sack[1].start) &&
			    seq_le(end, seg->o.sack[1].end)))) {
			SL_COUNT(sq, tcp_dsack_in);
			continue;
		}
		if (!seq_lt(start, end) || seq_lt(start, seg->ack) || seq_gt(end, c->snd_max)) {
			SL_COUNT(sq, tcp_sack_bad);
			continue;
		}
		news |= sack_block(sq, c, start, end, newest);
		newest = false;
	}
	return news;
}

/* Sent again, and something sent clearly later has arrived: that transmission is lost too. */
static bool resent_lost(const struct sl_conn *c, const struct sl_rec *r)
{
	uint64_t window = c->srtt / 4 + SL_TICK_NS;

	return (r->flags & SL_REC_RETRANS) && r->sent_at + window < c->rack_at;
}

/* RFC 6675 IsLost, from the highest record down: how much above each has been SACKED? A long list
 * is not walked for every ACK. */
static void find_losses(struct sl_conn *c)
{
	uint32_t bytes = 0, runs = 0;
	bool in_run = false;

	if (!pays(&c->loss_debt) || c->pipe_sacked == 0)
		return;
	c->loss_debt += c->rec_n;
	for (struct sl_rec *r = c->rec_tail; r != NULL; r = r->prev) {
		if (r->flags & SL_REC_SACKED) {
			bytes += rec_len(r);
			runs += !in_run;
			in_run = true;
			continue;
		}
		in_run = false;
		if (r->flags & SL_REC_LOST)
			continue;
		if (r->flags & SL_REC_RETRANS) {
			if (resent_lost(c, r))
				mark_lost(c, r);
		} else if (runs >= DUP_THRESH || bytes > (DUP_THRESH - 1) * c->mss) {
			mark_lost(c, r);
		}
	}
}

/* ---- recovery ---- */

static void enter_recovery(struct sluice_squeue *sq, struct sl_conn *c)
{
	uint32_t flight = sl_flight(c) - c->pipe_sacked;
	/* Without what limited transmit added beyond cwnd (RFC 5681 3.2, step 2). */
	struct sl_cc_ev ev = event(sq, c, 0, RTE_MIN(sl_flight(c), c->cc.cwnd));

	c->flags |= SL_C_RECOVERY;
	c->recover = c->snd_max;
	c->rescued = false;
	c->recoveries += c->recoveries < UINT16_MAX;
	SL_COUNT(sq, tcp_recoveries);
	c->cc.prior_cwnd = c->cc.cwnd;
	c->cc.prior_ssthresh = c->cc.ssthresh;
	c->cc.ops->loss(&c->cc, &ev);
	c->prr_delivered = c->prr_out = 0;
	c->recover_fs = flight > 0 ? flight : 1;
	if (c->rec_head != NULL && !(c->rec_head->flags & SL_REC_RETRANS))
		mark_lost(c, c->rec_head);
	if (!(c->flags & SL_C_SACK))
		c->cc.cwnd = c->cc.ssthresh + DUP_THRESH * c->mss; /* RFC 5681 3.2, step 3 */
}

/* RFC 9937 (proportional rate reduction): how much may leave for what has arrived. cwnd = pipe +
 * that. */
static void prr(struct sl_conn *c, uint32_t newly, bool safe)
{
	uint32_t pipe = sl_pipe(c), ssthresh = c->cc.ssthresh;
	int64_t sndcnt;

	if (c->prr_delivered == 0) /* what was delivered at the entry counts on both sides */
		c->recover_fs += newly;
	c->prr_delivered += newly;
	if (pipe > ssthresh) {
		sndcnt = (int64_t)(((uint64_t)c->prr_delivered * ssthresh + c->recover_fs - 1) /
				   c->recover_fs) -
			 c->prr_out;
	} else {
		int64_t limit = (int64_t)c->prr_delivered - c->prr_out;

		if (limit < newly)
			limit = newly;
		if (safe) /* the reduction bound of slow start: the path carries again */
			limit += c->mss;
		sndcnt = (int64_t)ssthresh - pipe < limit ? (int64_t)ssthresh - pipe : limit;
	}
	if (c->prr_out == 0 && sndcnt < c->mss)
		sndcnt = c->mss; /* the fast retransmit itself */
	if (sndcnt < 0)
		sndcnt = 0;
	c->cc.cwnd = pipe + (uint32_t)sndcnt;
	if (c->cc.cwnd < c->mss)
		c->cc.cwnd = c->mss;
}

/*
 * RFC 6675 NextSeg: nothing is lost, nothing is new, and there is room. Then a hole below what was
 * SACKed, though not deemed lost (3); else once the last segment, for a tail that is lost too is
 * reported by nobody (4). Only when a retransmission was acknowledged: what was sent before it and
 * has not arrived by then is hardly on its way.
 */
static void nothing_else(struct sl_conn *c)
{
	struct sl_rec *r = c->rec_head;

	if (c->pipe_lost > 0 || c->snd_nxt != sl_snd_end(c) || sl_pipe(c) + c->mss > c->cc.cwnd ||
	    c->loss_debt > DEBT_MAX)
		return;
	for (; r != NULL && (r->flags & (SL_REC_SACKED | SL_REC_RETRANS)); r = r->next)
		c->loss_debt++;
	if (r != NULL && seq_lt(r->start, c->high_sacked)) {
		mark_lost(c, r);
	} else if (!c->rescued && c->rec_tail != NULL) {
		c->rescued = true;
		mark_lost(c, c->rec_tail);
	}
}

static void sack_recovery(struct sl_conn *c, uint32_t newly, bool advanced, bool more_lost)
{
	prr(c, newly, advanced && !more_lost); /* SafeACK of RFC 9937 */
	if (advanced)
		nothing_else(c);
}

static void leave_recovery(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_cc_ev ev = event(sq, c, 0, sl_flight(c));

	c->cc.ops->recovered(&c->cc, &ev);
	c->flags &= ~SL_C_RECOVERY;
	c->dupacks = 0;
}

struct sl_rec *sl_recovery_next(struct sluice_squeue *sq, struct sl_conn *c)
{
	uint32_t pipe = sl_pipe(c);
	struct sl_rec *r = c->lost_hint;

	while (r != NULL && !(r->flags & SL_REC_LOST))
		r = r->next;
	c->lost_hint = r;
	if (r == NULL)
		return NULL;
	/* The head may always go: it is what the connection waits for. */
	if (r != c->rec_head && pipe > 0 && pipe + RTE_MIN(rec_len(r), c->mss) > c->cc.cwnd)
		return NULL;
	return r;
}

void sl_recovery_rto(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_cc_ev ev = event(sq, c, 0, sl_flight(c));
	bool first = c->rto_at_una != c->snd_una || !(c->flags & SL_C_RTO_RECOVERY);
	bool reneged = c->rec_head != NULL && (c->rec_head->flags & SL_REC_SACKED);

	c->rtos += c->rtos < UINT16_MAX;
	SL_COUNT(sq, tcp_rto);
	if (reneged) {
		/* RFC 2018 section 8: SACKED and still not acknowledged at a time-out: it was taken
		 * back. */
		SL_COUNT(sq, tcp_sack_reneg);
		for (struct sl_rec *r = c->rec_head; r != NULL; r = r->next)
			r->flags &= (uint8_t)~SL_REC_SACKED;
		c->pipe_sacked = 0;
	}
	for (struct sl_rec *r = c->rec_head; r != NULL; r = r->next)
		mark_lost(c, r);
	/* A probe of a closed window says nothing about congestion. */
	if (c->snd_wnd > 0) {
		if (first) {
			c->cc.prior_cwnd = c->cc.cwnd;
			c->cc.prior_ssthresh = c->cc.ssthresh;
		}
		c->cc.ops->rto(&c->cc, &ev, first);
	}
	c->flags &= ~SL_C_RECOVERY;
	c->flags |= SL_C_RTO_RECOVERY;
	c->rto_at_una = c->snd_una;
	c->recover = c->snd_max;
	c->dupacks = 0;
}

/* ---- the cumulative part ---- */

struct progress {
	uint64_t rtt;       /* of the latest record sent once, 0: none */
	uint64_t resent_at; /* when the first record was sent again, 0: it was not */
};

static void ack_records(
    struct sluice_squeue *sq, struct sl_conn *c, uint32_t ack, struct progress *p)
{
	bool resent = false;
	struct sl_rec *r;

	if (c->rec_head != NULL && (c->rec_head->flags & SL_REC_RETRANS))
		p->resent_at = c->rec_head->sent_at;
	while ((r = c->rec_head) != NULL && seq_le(r->end, ack)) {
		if (r->flags & SL_REC_SACKED)
			c->pipe_sacked -= rec_len(r);
		else
			delivered(c, r);
		unmark_lost(c, r);
		/*
		 * Karn, in full: what was sent twice gives no sample, nor does what waited at the
		 * receiver for a hole to be filled by it: its ACK tells of the hole's time.
		 */
		resent |= (r->flags & SL_REC_RETRANS) != 0;
		if (!(r->flags & (SL_REC_RETRANS | SL_REC_SACKED)))
			p->rtt = RTE_MAX(sq->now - r->sent_at, 1);
		sl_rec_unlink(sq, c, r);
	}
	if (resent)
		p->rtt = 0;
	if (r != NULL && seq_lt(r->start, ack)) {
		uint32_t n = ack - r->start;

		if (r->flags & SL_REC_SACKED)
			c->pipe_sacked -= n;
		else
			c->delivered += n;
		if (r->flags & SL_REC_LOST)
			c->pipe_lost -= n;
		sl_rec_trim(c, r, ack);
	}
}

/* The echo of the timestamp, as a time: no sample, when it lies in the future or absurdly far back
 * (RFC 7323 4.1). */
static uint64_t ts_rtt(struct sluice_squeue *sq, const struct sl_conn *c, const struct sl_seg *seg)
{
	uint32_t ms = sl_ts_now(sq, c->ts_offset) - seg->o.tsecr;

	if (!(c->flags & SL_C_TS) || !seg->o.has_ts || seg->o.tsecr == 0 || ms > 120000)
		return 0;
	return ms == 0 ? 500000 : (uint64_t)ms * 1000000;
}

/* RFC 3522, RFC 4015: the ACK answers a segment sent before the time-out's retransmission: the
 * time-out was wrong. */
static void detect_spurious(
    struct sluice_squeue *sq, struct sl_conn *c, const struct sl_seg *seg, const struct progress *p)
{
	uint32_t resent_ts;
	struct sl_cc_ev ev;

	if (!(c->flags & SL_C_RTO_RECOVERY) || !(c->flags & SL_C_TS) || !seg->o.has_ts ||
	    p->resent_at == 0 || c->rto_at_una != c->snd_una)
		return;
	resent_ts = (uint32_t)(p->resent_at / 1000000) + c->ts_offset;
	if (!seq_lt(seg->o.tsecr, resent_ts))
		return;
	SL_COUNT(sq, tcp_spurious_rto);
	ev = event(sq, c, 0, sl_flight(c));
	c->cc.ops->undo(&c->cc, &ev);
	c->flags &= ~SL_C_RTO_RECOVERY;
	for (struct sl_rec *r = c->rec_head; r != NULL; r = r->next)
		if (r->xmits == 1)
			unmark_lost(c, r);
}

static void partial_ack(struct sl_conn *c, uint32_t acked)
{
	/* RFC 6582 3.2 step 5, without SACK: the next hole begins here; deflate by what was
	 * acknowledged. */
	if (c->rec_head != NULL)
		mark_lost(c, c->rec_head);
	c->cc.cwnd -= RTE_MIN(acked, c->cc.cwnd);
	if (acked >= c->mss)
		c->cc.cwnd += c->mss;
	if (c->cc.cwnd < c->mss)
		c->cc.cwnd = c->mss;
}

/* It goes on: what ICMP or R1 said of the path says nothing any more of why it might end. */
static void heard(struct sl_conn *c)
{
	c->rtx_silent = 0;
	c->soft_err = 0;
}

static void advance(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_seg *seg)
{
	uint32_t acked = seg->ack - c->snd_una, flight = sl_flight(c);
	struct progress p = {0, 0};
	struct sl_cc_ev ev;
	uint64_t rtt;

	ack_records(sq, c, seg->ack, &p);
	detect_spurious(sq, c, seg, &p);
	rtt = p.rtt != 0 ? p.rtt : p.resent_at != 0 ? ts_rtt(sq, c, seg) : 0;
	if (rtt != 0) {
		sl_rtt_sample(sq, c, rtt);
		c->rtx_shift = 0; /* not before there is a sample (RFC 6298 section 5: Karn) */
	} else {
		SL_COUNT(sq, tcp_rtt_no_update);
	}
	SL_COUNT(sq, tcp_in_ack_segs);
	SL_COUNT_N(sq, tcp_in_ack_bytes, acked);
	sl_sendq_acked(sq, c, seg->ack);
	sl_flow_confirm(sq, &c->flow);
	if (c->cwnd_stopped && seq_gt(c->snd_una, c->cc.stop_seq))
		c->cwnd_stopped = false;
	heard(c);
	c->first_unacked_at = sq->now;
	if (seq_lt(c->high_sacked, c->snd_una))
		c->high_sacked = c->snd_una;
	if (c->flags & SL_C_RECOVERY) {
		if (seq_ge(c->snd_una, c->recover))
			leave_recovery(sq, c);
		else if (!(c->flags & SL_C_SACK))
			partial_ack(c, acked);
	} else {
		if ((c->flags & SL_C_RTO_RECOVERY) && seq_ge(c->snd_una, c->recover))
			c->flags &= ~SL_C_RTO_RECOVERY;
		c->dupacks = 0;
		ev = event(sq, c, acked, flight);
		c->cc.ops->ack(&c->cc, &ev);
	}
	sl_rtx_rearm(sq, c);
}

/* ---- duplicate ACKs ---- */

/* RFC 5681 section 2, conditions (a) to (e). With SACK, what counts is that a block told something
 * new (RFC 6675). */
static bool is_duplicate(const struct sl_conn *c, const struct sl_seg *seg, uint32_t wnd_before)
{
	return seg->len == 0 && !(seg->flags & (SL_TH_SYN | SL_TH_FIN)) && seg->ack == c->snd_una &&
	       c->rec_head != NULL && c->snd_wnd == wnd_before;
}

static void duplicate(struct sluice_squeue *sq, struct sl_conn *c)
{
	SL_COUNT(sq, tcp_in_dup_ack);
	if (c->dupacks < 255)
		c->dupacks++;
	if (c->flags & SL_C_RECOVERY) {
		/* A segment has left the network; no more of them than there were (RFC 5681 3.2),
		 * or duplicates made up would open the window for ever. */
		if (!(c->flags & SL_C_SACK) &&
		    c->cc.cwnd + c->mss <= c->cc.ssthresh + c->recover_fs) {
			c->cc.cwnd += c->mss;
			sl_output_schedule(sq, c);
		}
		return;
	}
	if (c->dupacks < DUP_THRESH)
		sl_output_schedule(sq, c); /* limited transmit (RFC 3042) */
}

/* Enter recovery when the scoreboard, or the third duplicate, says so (RFC 6582: not twice for one
 * window). */
static void maybe_recover(struct sluice_squeue *sq, struct sl_conn *c)
{
	bool loss = c->flags & SL_C_SACK
			? c->pipe_lost > 0 || (c->dupacks >= DUP_THRESH && c->pipe_sacked > 0)
			: c->dupacks >= DUP_THRESH;

	if ((c->flags & (SL_C_RECOVERY | SL_C_RTO_RECOVERY)) || !loss || c->rec_head == NULL ||
	    seq_lt(c->snd_una, c->recover))
		return;
	enter_recovery(sq, c);
}

/* ---- the window ---- */

/* RFC 9293 3.10.7.4, ACK in ESTABLISHED: only from a segment that is not older than the last one
 * used. */
static void update_window(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_seg *seg)
{
	uint32_t wnd = seg->wnd << c->snd_wscale, before = c->snd_wnd;

	if (seq_gt(c->snd_wl1, seg->seq)) {
		/* The window counts from snd_una, which may move now: its right edge does not. */
		c->snd_wnd -= RTE_MIN(seg->ack - c->snd_una, c->snd_wnd);
		return;
	}
	c->snd_wl1 = seg->seq;
	c->snd_wnd = wnd;
	if (wnd > c->max_sndwnd)
		c->max_sndwnd = wnd;
	if (wnd == before)
		return;
	if (seg->ack == c->snd_una && seg->len == 0)
		SL_COUNT(sq, tcp_in_win_update);
	if (wnd == 0 && (c->rec_head != NULL || c->snd_nxt != sl_snd_end(c)))
		SL_COUNT(sq, tcp_zero_window);
	if (wnd > before) {
		if (before == 0) {
			sl_conn_timer_cancel(sq, c, SL_T_PERSIST);
			c->rtx_shift = 0;
			/* What lies beyond the ACK was sent into a closed window, as a probe. */
			if (pays(&c->loss_debt)) {
				c->loss_debt += c->rec_n;
				for (struct sl_rec *r = c->rec_head; r != NULL; r = r->next)
					if (seq_ge(r->start, seg->ack))
						mark_lost(c, r);
			}
		}
		sl_output_schedule(sq, c);
	}
}

/* The peer answers: it may stay so for ever (RFC 9293 MUST-36, MUST-37), unless the user has said
 * how long (RFC 5482), or has gone: nobody else would end what a peer that never reads holds. */
static void zero_window(struct sluice_squeue *sq, struct sl_conn *c)
{
	heard(c);
	if (!(c->flags & SL_C_CLOSED_BY_APP) && (c->opt == NULL || c->opt->user_timeout == 0))
		c->first_unacked_at = sq->now;
}

/* ---- all of it ---- */

bool sl_ack_process(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_seg *seg)
{
	uint32_t wnd_before = c->snd_wnd;
	uint64_t before = c->delivered;
	bool advanced, news = false;

	if (seq_gt(seg->ack, c->snd_max)) {
		SL_COUNT(sq, tcp_in_ack_unsent);
		sl_tcp_challenge(sq, c);
		return false;
	}
	if (seq_lt(seg->ack, c->snd_una - c->max_sndwnd)) { /* RFC 5961 5.2 */
		SL_COUNT(sq, tcp_in_ack_old);
		sl_tcp_challenge(sq, c);
		return false;
	}
	if (seq_lt(seg->ack, c->snd_una))
		return true; /* an old duplicate: nothing of it but its data is news */
	update_window(sq, c, seg);
	if (c->snd_wnd == 0)
		zero_window(sq, c);
	advanced = seg->ack != c->snd_una;
	if ((c->flags & SL_C_SACK) && seg->o.nsack > 0)
		news = sack_update(sq, c, seg);
	if (advanced)
		advance(sq, c, seg);
	else if (c->flags & SL_C_SACK ? news : is_duplicate(c, seg, wnd_before))
		duplicate(sq, c);
	if (c->rec_head != NULL && (advanced || news || c->dupacks > 0)) {
		uint32_t lost = c->pipe_lost;

		if (c->flags & SL_C_SACK)
			find_losses(c);
		maybe_recover(sq, c);
		if ((c->flags & SL_C_RECOVERY) && (c->flags & SL_C_SACK))
			sack_recovery(
			    c, (uint32_t)(c->delivered - before), advanced, c->pipe_lost > lost);
	}
	if (advanced || news ||
	    c->pipe_lost > 0) /* SACKed bytes have left the pipe: others may go */
		sl_output_schedule(sq, c);
	return true;
}

void sl_recovery_resize(struct sluice_squeue *sq, struct sl_conn *c)
{
	for (struct sl_rec *r = c->rec_head; r != NULL; r = r->next)
		if (rec_len(r) > c->mss)
			mark_lost(c, r);
	sl_output_schedule(sq, c);
}

/* The counters beside the scoreboard equal what it says. */
void sl_recovery_check(const struct sl_conn *c)
{
	uint32_t sacked = 0, lost = 0, at = c->snd_una, n = 0;
	bool seen = false;

	for (const struct sl_rec *r = c->rec_head; r != NULL; r = r->next) {
		SL_CHECK(r->start == at && seq_lt(r->start, r->end));
		SL_CHECK(!is_sacked(r) || !is_sacked(r->prev));
		seen |= r == c->lost_hint;
		SL_CHECK(!(r->flags & SL_REC_LOST) || seen);
		n++;
		SL_CHECK(
		    (r->flags & (SL_REC_SACKED | SL_REC_LOST)) != (SL_REC_SACKED | SL_REC_LOST));
		sacked += r->flags & SL_REC_SACKED ? rec_len(r) : 0;
		lost += r->flags & SL_REC_LOST ? rec_len(r) : 0;
		at = r->end;
	}
	SL_CHECK(c->state < SLUICE_ESTABLISHED || at == c->snd_max);
	SL_CHECK(sacked == c->pipe_sacked && lost == c->pipe_lost && n == c->rec_n);
	(void)sacked;
	(void)lost;
	(void)at;
	(void)n;
	(void)seen;
}
