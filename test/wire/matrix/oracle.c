/* SPDX-License-Identifier: BSD-3-Clause */
/* The oracle of the state and segment matrix: see oracle.h. */
#include <errno.h>

#include "oracle.h"

const char *const ora_state_names[O_NSTATES] = {"CLOSED", "LISTEN", "SYN_SENT", "SYN_RCVD",
    "ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "LAST_ACK", "TIME_WAIT"};
const char *const ora_answer_names[O_NANSWERS] = {
    "nothing", "ACK now", "ACK soon", "SYN-ACK", "RST"};

static int64_t min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t max(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static bool has(const struct ora_seg *s, unsigned int flags)
{
	return (s->flags & flags) == flags;
}

/* ---- answers ---- */

/* <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK> */
static void answer_ack(struct ora_outcome *o)
{
	o->answer = O_ACK_NOW;
	o->seq = o->after.snd_nxt;
	o->ack = o->after.rcv_nxt;
	/* Chosen: while a simultaneous open is not complete the ACK repeats our SYN, which the peer
	 * may have lost. It says the same. */
	if (o->after.state == O_SYN_RCVD && !o->after.passive) {
		o->answer = O_SYNACK;
		o->seq = o->after.iss;
	}
}

/* 3.10.7.1: to what belongs to nothing. */
static void answer_reset(struct ora_outcome *o, const struct ora_seg *s)
{
	if (has(s, O_RST))
		return;
	o->answer = O_RESET;
	o->answer_ack = !has(s, O_ACK);
	o->seq = has(s, O_ACK) ? s->ack : 0;
	o->ack = s->seq + s->len + has(s, O_SYN) + has(s, O_FIN);
}

/* ---- ends ---- */

static void gone(struct ora_outcome *o, int err)
{
	o->after.state = O_CLOSED;
	if (o->after.user_closed) {
		o->events |= O_EV_CLOSED;
	} else if (err != 0) {
		o->events |= O_EV_DISCONNECTED;
		o->err = err;
		o->delivered = -o->after.unread; /* "All segment queues should be flushed." */
	}
}

static void time_wait(struct ora_outcome *o)
{
	o->after.state = O_TIME_WAIT;
	if (o->after.user_closed) /* for its user it is over, only the tuple waits */
		o->events |= O_EV_CLOSED;
}

/* ---- 3.10.7.2 LISTEN ---- */

static void in_syn(struct ora_outcome *o, const struct ora_seg *s)
{
	/* Third. Chosen: text that comes with a SYN is not kept (no fast open): it is not
	 * acknowledged, so it comes again. */
	o->after.state = O_SYN_RCVD;
	o->after.passive = true;
	o->after.user_closed = false;
	o->after.irs = s->seq;
	o->after.rcv_nxt = s->seq + 1;
	o->answer = O_SYNACK;
	o->seq = o->after.iss;
	o->ack = s->seq + 1;
	o->new_iss = true;
}

static void in_listen(struct ora_outcome *o, const struct ora_seg *s)
{
	if (has(s, O_RST)) /* first */
		return;
	if (has(s, O_ACK)) { /* second */
		answer_reset(o, s);
		return;
	}
	if (has(s, O_SYN))
		in_syn(o, s);
	/* Fourth: anything else is dropped. */
}

/* ---- sixth to eighth ---- */

static bool user_reads(enum ora_state st)
{
	return st == O_ESTABLISHED || st == O_FIN_WAIT_1 || st == O_FIN_WAIT_2;
}

/* Sixth (3.8.5). The pointer names the octet behind the urgent one, as all implementations have it
 * (RFC 6093 2.1); the octet stays in the stream. */
static void check_urg(struct ora_outcome *o, const struct ora_seg *s)
{
	int64_t up = s->seq + s->urp;

	if (!has(s, O_URG) || !user_reads(o->after.state) || up <= o->after.rcv_nxt)
		return;
	/* Chosen: a user who has closed is told nothing. */
	if (o->after.user_closed)
		return;
	o->events |= O_EV_URGENT;
	o->mark = o->after.unread + up - 1 - o->after.rcv_nxt;
}

/* Seventh: what lies in the window. *reached: no gap is left before its end. False: the connection
 * has ended. */
static bool segment_text(
    struct ora_outcome *o, const struct ora_seg *s, int64_t text, bool *reached, bool *fin)
{
	int64_t left = max(text, o->after.rcv_nxt), right = min(text + s->len, o->after.rcv_right),
		end = text + s->len;

	*reached = text <= o->after.rcv_nxt;
	if (end > o->after.rcv_right)
		*fin = false; /* cut off with the text in front of it */
	if (right <= left) {
		if (s->len > 0 && end > o->after.rcv_right)
			answer_ack(o); /* nothing of it fits */
		return true;
	}
	/* 3.6.1: a user who has closed does not get new data, and the peer is told. */
	if (o->after.user_closed) {
		o->answer = O_RESET;
		o->answer_ack = true;
		o->seq = o->after.snd_nxt;
		o->ack = o->after.rcv_nxt;
		gone(o, ECONNABORTED);
		return false;
	}
	if (!*reached) {
		answer_ack(o); /* RFC 5681 4.2: out of order, at once */
		return true;
	}
	o->delivered = right - left;
	o->after.rcv_nxt = right;
	/* 3.8.6.3, RFC 5681 4.2: within half a second, and at least every second full segment. */
	answer_ack(o);
	/* Chosen: what was cut off is answered at once. */
	if (o->delivered < 2 * o->after.mss && end <= o->after.rcv_right)
		o->answer = O_ACK_SOON;
	return true;
}

/* Eighth. */
static void take_fin(struct ora_outcome *o)
{
	o->after.rcv_nxt++;
	o->after.rcv_right = max(o->after.rcv_right, o->after.rcv_nxt);
	if (!o->after.user_closed)
		o->events |= O_EV_END;
	answer_ack(o);
	if (o->after.state == O_ESTABLISHED)
		o->after.state = O_CLOSE_WAIT;
	else if (o->after.state == O_FIN_WAIT_1 && o->after.snd_una < o->after.snd_nxt)
		o->after.state = O_CLOSING;
	else
		time_wait(o);
}

/* `text`: number of the first octet of data. */
static void text_and_fin(struct ora_outcome *o, const struct ora_seg *s, int64_t text)
{
	bool fin = has(s, O_FIN), reached;

	/* "This should not occur since a FIN has been received": ignored. */
	if (!user_reads(o->after.state))
		return;
	if (s->len == 0 && !fin)
		return;
	if (!segment_text(o, s, text, &reached, &fin) || !fin)
		return;
	if (reached)
		take_fin(o);
	else
		answer_ack(o); /* kept until the gap is filled */
}

/* ---- 3.10.7.3 SYN_SENT ---- */

static void in_syn_sent(struct ora_outcome *o, const struct ora_seg *s)
{
	struct ora_tcb *t = &o->after;

	if (has(s, O_ACK) && (s->ack <= t->iss || s->ack > t->snd_nxt)) { /* first */
		answer_reset(o, s);
		return;
	}
	if (has(s, O_RST)) { /* second: only with an acceptable ACK */
		if (has(s, O_ACK))
			gone(o, ECONNREFUSED);
		return;
	}
	if (!has(s, O_SYN)) /* fifth */
		return;
	t->irs = s->seq; /* fourth */
	t->rcv_nxt = s->seq + 1;
	t->rcv_right = t->rcv_nxt + t->syn_wnd;
	t->snd_wnd = t->max_snd_wnd = s->wnd;
	t->snd_wl1 = s->seq;
	t->snd_wl2 = s->ack;
	t->ts_recent = s->tsval;
	if (!has(s, O_ACK)) {
		/* Chosen: text is not queued until ESTABLISHED; our SYN-ACK leaves it
		 * unacknowledged. */
		t->state = O_SYN_RCVD;
		t->passive = false;
		answer_ack(o);
		return;
	}
	t->snd_una = s->ack;
	t->state = O_ESTABLISHED;
	o->events |= O_EV_CONNECTED;
	check_urg(o, s);
	text_and_fin(o, s, s->seq + 1);
	if (t->state != O_CLOSED)
		answer_ack(o); /* at once, whatever came with it */
}

/* ---- TIME_WAIT (3.10.7.4, RFC 1337, RFC 6191) ---- */

static bool newer_incarnation(const struct ora_tcb *t, const struct ora_seg *s)
{
	if (t->ts && s->has_ts && s->tsval != t->ts_recent) /* RFC 6191 2 */
		return s->tsval > t->ts_recent;
	return s->seq > t->rcv_nxt; /* MAY-2 */
}

/* "The only thing that can arrive in this state is a retransmission of the remote FIN." */
static void in_time_wait(struct ora_outcome *o, const struct ora_seg *s)
{
	struct ora_tcb *t = &o->after;

	if (has(s, O_RST)) /* RFC 1337: no RST ends it, wherever it stands */
		return;
	/* Chosen: also when the user still holds the old one, which then has ended; but not where
	 * nobody listens, or any SYN could end the wait. */
	if (has(s, O_SYN) && !has(s, O_ACK) && t->listener && newer_incarnation(t, s)) {
		in_syn(o, s);
		return;
	}
	if (has(s, O_SYN)) { /* RFC 5961 4 */
		answer_ack(o);
		return;
	}
	if (t->ts && !s->has_ts) /* RFC 7323 3.2 */
		return;
	if (t->ts && s->tsval < t->ts_recent) { /* RFC 7323 5.3 */
		answer_ack(o);
		return;
	}
	if (has(s, O_FIN) && s->seq + s->len == t->rcv_nxt - 1) {
		answer_ack(o);
		o->wait_again = true;
		return;
	}
	/* Chosen: all else is answered, acceptable or not (the text of 3.10.7.4 only knows what is
	 * above), but for the bare ACK that belongs here: so two ends in TIME_WAIT do not answer
	 * each other. */
	if (s->len > 0 || has(s, O_FIN) || s->seq != t->rcv_nxt)
		answer_ack(o);
}

/* ---- 3.10.7.4: SYN_RCVD and the synchronized states ---- */

static bool acceptable(const struct ora_tcb *t, const struct ora_seg *s)
{
	int64_t len = s->len + has(s, O_FIN), last = s->seq + len - 1;

	if (has(s, O_RST)) /* RFC 5961 3.2; MUST-66 at a closed window */
		return s->seq == t->rcv_nxt || (t->rcv_nxt < s->seq && s->seq < t->rcv_right);
	/* Chosen: an empty segment just at the right edge too: a peer that has filled the window,
	 * part of it lost, says its ACKs from there. */
	if (len == 0)
		return t->rcv_nxt <= s->seq && s->seq <= t->rcv_right;
	/* Chosen: a FIN without text needs no room. */
	if (t->rcv_right == t->rcv_nxt)
		return s->len == 0 && s->seq == t->rcv_nxt;
	if ((t->rcv_nxt <= s->seq && s->seq < t->rcv_right) ||
	    (t->rcv_nxt <= last && last < t->rcv_right))
		return true;
	/* Chosen: also what covers the whole window; the four cases forget it. */
	return s->seq < t->rcv_nxt && last >= t->rcv_right;
}

/* Fifth. False: the segment is done with. */
static bool check_ack(struct ora_outcome *o, const struct ora_seg *s)
{
	struct ora_tcb *t = &o->after;

	if (!has(s, O_ACK))
		return false;
	if (t->state == O_SYN_RCVD) {
		if (!(t->snd_una < s->ack && s->ack <= t->snd_nxt)) {
			answer_reset(o, s);
			return false;
		}
		t->state = O_ESTABLISHED;
		t->snd_una = s->ack;
		t->snd_wnd = t->max_snd_wnd = s->wnd;
		t->snd_wl1 = s->seq;
		t->snd_wl2 = s->ack;
		o->events |= t->passive ? O_EV_NEWCONN : O_EV_CONNECTED;
		return true;
	}
	/* RFC 5961 5.2 */
	if (s->ack > t->snd_nxt || s->ack < t->snd_una - t->max_snd_wnd) {
		answer_ack(o);
		return false;
	}
	if (s->ack >= t->snd_una &&
	    (t->snd_wl1 < s->seq || (t->snd_wl1 == s->seq && t->snd_wl2 <= s->ack))) {
		t->snd_wnd = s->wnd;
		t->max_snd_wnd = max(t->max_snd_wnd, s->wnd);
		t->snd_wl1 = s->seq;
		t->snd_wl2 = s->ack;
	} else if (s->ack > t->snd_una) {
		/* Chosen: the ACK of a segment too old to say the window moves no right edge. */
		t->snd_wnd = max(t->snd_wnd - (s->ack - t->snd_una), 0);
	}
	t->snd_una = max(t->snd_una, s->ack);
	if (!t->fin_sent || t->snd_una < t->snd_nxt)
		return true;
	/* Our FIN is acknowledged. */
	if (t->state == O_FIN_WAIT_1)
		t->state = O_FIN_WAIT_2;
	if (t->state == O_CLOSING) {
		time_wait(o);
		return false;
	}
	if (t->state == O_LAST_ACK) {
		gone(o, 0);
		return false;
	}
	return true;
}

static void not_acceptable(struct ora_outcome *o, const struct ora_seg *s)
{
	struct ora_tcb *t = &o->after;
	bool at_closed_window = s->seq == t->rcv_nxt, old, news;

	if (has(s, O_RST))
		return;
	answer_ack(o);
	if (!has(s, O_ACK) || t->state == O_SYN_RCVD)
		return;
	/* "If the RCV.WND is zero, no segments will be acceptable, but special allowance should be
	 * made to accept valid ACKs, URGs, and RSTs." (MUST-66)
	 * Chosen: the ACK and URG of a retransmission count as well when the ACK is news: both ends
	 * may have lost something. */
	old = s->seq < t->rcv_nxt && s->seq >= t->rcv_nxt - t->rcvbuf;
	news = s->ack > t->snd_una && s->ack <= t->snd_nxt;
	if ((at_closed_window || (old && news)) && check_ack(o, s))
		check_urg(o, s);
	if (t->state != O_CLOSED && t->state != O_SYN_RCVD)
		answer_ack(o);    /* as it stands now */
	if (t->state == O_CLOSED) /* nothing is left that could answer */
		o->answer = O_NOTHING;
}

/* Second. */
static void reset(struct ora_outcome *o, const struct ora_seg *s)
{
	struct ora_tcb *t = &o->after;
	bool unsent = t->snd_una < t->snd_nxt - t->fin_sent;

	if (s->seq != t->rcv_nxt) { /* RFC 5961 3.2 */
		answer_ack(o);
		return;
	}
	switch (t->state) {
	case O_SYN_RCVD:
		if (t->passive)
			t->state = O_LISTEN;
		else
			gone(o, ECONNREFUSED);
		break;
	case O_CLOSING:
	case O_LAST_ACK:
		/* Chosen: a user whose data was not acknowledged learns it here as well. */
		gone(o, unsent ? ECONNRESET : 0);
		break;
	default:
		gone(o, ECONNRESET);
		break;
	}
}

static void in_synchronized(struct ora_outcome *o, const struct ora_seg *seg)
{
	struct ora_tcb *t = &o->after;
	struct ora_seg s = *seg;
	int64_t urg_from = s.seq;

	if (t->state == O_SYN_RCVD && has(&s, O_SYN) && s.seq == t->irs) {
		/* Figure 7: the peer's SYN-ACK. Its SYN is known; the rest of it begins behind.
		 * Of a passive open it is nothing that can be. */
		if (!t->passive && has(&s, O_ACK)) {
			s.seq++;
			s.flags &= ~(unsigned int)O_SYN;
		} else if (!has(&s, O_ACK)) {
			/* Chosen: the SYN again is answered by the SYN-ACK again. */
			o->answer = O_SYNACK;
			o->seq = t->iss;
			o->ack = t->rcv_nxt;
			return;
		}
	}
	/* Fourth, before the first: RFC 5961 4.2 answers a SYN whatever its number.
	 * Chosen: in SYN_RCVD too, of a passive open too (3.10.7.4 would go back to LISTEN: a blind
	 * SYN would be enough); and before timestamps are looked at, for a peer that has begun anew
	 * has others. */
	if (has(&s, O_SYN)) {
		answer_ack(o);
		return;
	}
	if (t->ts && !has(&s, O_RST)) {
		if (!s.has_ts) /* RFC 7323 3.2 */
			return;
		if (s.tsval < t->ts_recent) { /* RFC 7323 5.3 R1 */
			answer_ack(o);
			return;
		}
	}
	if (!acceptable(t, &s)) { /* first */
		not_acceptable(o, &s);
		return;
	}
	if (has(&s, O_RST)) {
		reset(o, &s);
		return;
	}
	if (t->ts && s.seq <= t->last_ack_sent) /* RFC 7323 4.3 */
		t->ts_recent = s.tsval;
	if (!check_ack(o, &s))
		return;
	s.urp += urg_from - s.seq;
	check_urg(o, &s);
	text_and_fin(o, &s, s.seq);
}

void ora_segment(const struct ora_tcb *t, const struct ora_seg *s, struct ora_outcome *o)
{
	*o = (struct ora_outcome){.after = *t};
	/* Chosen: SYN with FIN or RST, and none of SYN, FIN, RST, ACK, are dropped in every state:
	 * no end ever means them. */
	if ((has(s, O_SYN) && (s->flags & (O_FIN | O_RST))) ||
	    !(s->flags & (O_SYN | O_FIN | O_RST | O_ACK)))
		return;
	switch (t->state) {
	case O_CLOSED:
		answer_reset(o, s);
		break;
	case O_LISTEN:
		in_listen(o, s);
		break;
	case O_SYN_SENT:
		in_syn_sent(o, s);
		break;
	case O_TIME_WAIT:
		in_time_wait(o, s);
		break;
	default:
		in_synchronized(o, s);
		break;
	}
}
