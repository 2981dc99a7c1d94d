/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Output is pull. A connection that may have something to send stands in the squeue's output list;
 * at the end of a pass sl_tcp_output serves the list round robin, a few segments a turn, while the
 * ports have room. What is sent is decided here and nowhere else: first what is lost, then what is
 * new, and if neither goes, the ACK that is due.
 *
 * A connection that waits for something else (window, ACK, neighbour) is not in the list; whoever
 * brings that puts it back. One that could not go on for want of room or memory is held in the list of
 * its port, which is served first, and only as far as there is room: with many connections and a
 * full port a pass costs what it sends, not what waits.
 */
#include <errno.h>
#include <string.h>

#include <tcp/tcp_int.h>

#define TURN 16u /* segments of one connection in one turn */

/* ---- the lists ---- */

static void put_last(struct sl_outq *q, struct sl_conn *c)
{
	c->flags |= SL_C_ON_OUTPUT;
	c->out_next = NULL;
	c->out_pprev = q->tail;
	*q->tail = c;
	q->tail = &c->out_next;
}

/* The first of a list that is not empty. */
static inline struct sl_conn *pop(struct sl_outq *q)
{
	struct sl_conn *c = q->head;

	q->head = c->out_next;
	if (c->out_next != NULL)
		c->out_next->out_pprev = &q->head;
	else
		q->tail = &q->head;
	c->flags &= ~SL_C_ON_OUTPUT;
	return c;
}

/* What cannot be sent now stands apart, so that a pass does not walk all of it to learn that its
 * port is still full. */
static void hold(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	unsigned int port = sl_flow_port(sq, &c->flow);

	put_last(&t->held[port], c);
	t->held_mask |= UINT64_C(1) << port;
}

/* Routes have changed: they may have another port now. */
static void release_held(struct sl_tcp *t)
{
	for (unsigned int p = 0; p <= SL_MAX_PORTS; p++) {
		struct sl_outq *q = &t->held[p];

		if (q->head == NULL)
			continue;
		*t->out.tail = q->head;
		q->head->out_pprev = t->out.tail;
		t->out.tail = q->tail;
		q->head = NULL;
		q->tail = &q->head;
	}
	t->held_mask = 0;
}

void sl_output_init(struct sl_tcp *t)
{
	t->out.tail = &t->out.head;
	for (unsigned int p = 0; p <= SL_MAX_PORTS; p++)
		t->held[p].tail = &t->held[p].head;
}

void sl_output_schedule(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (!(c->flags & SL_C_ON_OUTPUT))
		put_last(&sl_tcp_of(sq)->out, c);
}

void sl_output_unlist(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	if (!(c->flags & SL_C_ON_OUTPUT))
		return;
	c->flags &= ~SL_C_ON_OUTPUT;
	*c->out_pprev = c->out_next;
	if (c->out_next != NULL) {
		c->out_next->out_pprev = c->out_pprev;
		return;
	}
	if (t->out.tail == &c->out_next)
		t->out.tail = c->out_pprev;
	for (unsigned int p = 0; p <= SL_MAX_PORTS; p++)
		if (t->held[p].tail == &c->out_next)
			t->held[p].tail = c->out_pprev;
}

bool sl_output_pending(const struct sluice_squeue *sq)
{
	const struct sl_tcp *t = sq->tcp;

	if (t->out.head != NULL)
		return true;
	for (uint64_t m = t->held_mask; m != 0; m &= m - 1)
		if (t->held[__builtin_ctzll(m)].head != NULL)
			return true;
	return false;
}

/* ---- headers ---- */

static void put_header(uint8_t *p, const struct sl_key *k, uint32_t seq, uint32_t ack,
    unsigned int th_len, uint8_t flags, uint16_t wnd, uint16_t urp)
{
	const uint32_t w[4] = {htonl(seq), flags & SL_TH_ACK ? htonl(ack) : 0,
	    htonl((uint32_t)th_len << 26 | (uint32_t)flags << 16 | wnd), htonl(urp)};

	memcpy(p, &k->lport, 4); /* both ports */
	memcpy(p + 4, w, sizeof(w));
}

struct rte_mbuf *sl_output_header(struct sluice_squeue *sq, const struct sl_key *k, uint32_t seq,
    uint32_t ack, uint8_t flags, uint16_t wnd, const uint8_t *opts, unsigned int optlen)
{
	struct rte_mbuf *m = sl_hdr_alloc(sq);
	uint8_t *p;

	if (m == NULL)
		return NULL;
	p = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(20 + optlen));
	put_header(p, k, seq, ack, 20 + optlen, flags, wnd, 0);
	if (optlen > 0)
		memcpy(p + 20, opts, optlen);
	SL_COUNT(sq, tcp_out_segs);
	return m;
}

/* The ACK that every segment carries has left: none is due any more. */
static inline void ack_left(struct sluice_squeue *sq, struct sl_conn *c, uint32_t wnd)
{
	uint32_t edge = c->rcv_nxt + wnd;

	if (seq_gt(edge, c->rcv_adv))
		c->rcv_adv = edge;
	c->last_ack_sent = c->rcv_nxt;
	c->delack_segs = 0;
	if (SL_UNLIKELY(c->ooo != NULL))
		sl_rcv_acked(c);
	if (c->flags & (SL_C_ACK_NOW | SL_C_ACK_DELAYED | SL_C_WUPDATE)) {
		if (c->flags & SL_C_ACK_DELAYED)
			sl_conn_timer_cancel(sq, c, SL_T_DELACK);
		c->flags &= ~(SL_C_ACK_NOW | SL_C_ACK_DELAYED | SL_C_WUPDATE);
	}
}

/* Header of a segment of a synchronized connection, with its options and window. */
static inline struct rte_mbuf *conn_header(
    struct sluice_squeue *sq, struct sl_conn *c, uint32_t seq, uint8_t flags, unsigned int *th_len)
{
	struct rte_mbuf *m = sl_hdr_alloc(sq);
	unsigned int optlen;
	uint32_t wnd;
	uint16_t urp = 0;
	uint8_t *p;

	if (m == NULL)
		return NULL;
	p = rte_pktmbuf_mtod(m, uint8_t *);
	optlen = sl_opts_established(c, p + 20, sl_ts_now(sq, c->ts_offset));
	wnd = sl_rcv_window(sq, c) >> c->rcv_wscale;
	if (wnd > 65535)
		wnd = 65535;
	if ((c->flags & SL_C_URG_OUT) && seq_gt(c->snd_up, seq)) {
		/* The pointer names the octet after the urgent one, as all implementations have it
		 * (RFC 6093 section 2.1). */
		urp = (uint16_t)RTE_MIN(c->snd_up - seq, 65535u);
		flags |= SL_TH_URG;
		SL_COUNT(sq, tcp_out_urg);
	}
	put_header(p, &c->key, seq, c->rcv_nxt, 20 + optlen, flags, (uint16_t)wnd, urp);
	m->data_len = (uint16_t)(20 + optlen);
	m->pkt_len = m->data_len;
	*th_len = 20 + optlen;
	return m;
}

static inline void sent(struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf *m,
    unsigned int th_len, uint16_t tso)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	uint16_t wnd;

	memcpy(&wnd, p + 14, sizeof(wnd));
	ack_left(sq, c, (uint32_t)ntohs(wnd) << c->rcv_wscale);
	c->segs_out++;
	c->last_snd = sq->now;
	SL_COUNT(sq, tcp_out_segs);
	sl_flow_send(sq, &c->flow, &c->key, m, (uint8_t)th_len, tso);
}

/* ---- control segments ---- */

static bool send_syn(struct sluice_squeue *sq, struct sl_conn *c, uint8_t flags)
{
	uint32_t wnd = RTE_MIN(c->rcvbuf, 65535u); /* never scaled on a SYN (RFC 7323 2.2) */
	bool reply = (flags & SL_TH_ACK) != 0;
	uint8_t opts[40];
	unsigned int len;
	struct rte_mbuf *m;

	if (sl_flow_ready(sq, &c->flow, &c->key) != 0)
		return false;
	len = sl_opts_syn(opts, sl_tcp_offer_mss(sq, &c->flow, &c->key, c->opt),
	    c->flags & SL_C_SACK, c->flags & SL_C_TS, sl_ts_now(sq, c->ts_offset),
	    reply ? c->ts_recent : 0, c->flags & SL_C_WSCALE, c->rcv_wscale);
	m = sl_output_header(sq, &c->key, c->iss, c->rcv_nxt, flags, (uint16_t)wnd, opts, len);
	if (m == NULL)
		return false;
	if (reply) {
		c->last_ack_sent = c->rcv_nxt;
		c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt + wnd);
	}
	c->segs_out++;
	SL_COUNT(sq, tcp_out_control);
	if (c->rtx_shift > 0) {
		SL_COUNT(sq, tcp_retrans_segs);
		c->retrans++;
	}
	c->last_snd = sq->now;
	sl_flow_send(sq, &c->flow, &c->key, m, (uint8_t)(20 + len), 0);
	return true;
}

/* A segment without text on a flow that is ready. */
static bool send_bare(struct sluice_squeue *sq, struct sl_conn *c, uint32_t seq, uint8_t flags)
{
	unsigned int th_len;
	struct rte_mbuf *m = conn_header(sq, c, seq, flags, &th_len);

	if (m == NULL)
		return false;
	SL_COUNT(sq, tcp_out_ack);
	if (c->flags & SL_C_WUPDATE)
		SL_COUNT(sq, tcp_out_win_update);
	sent(sq, c, m, th_len, 0);
	return true;
}

bool sl_output_ctl(struct sluice_squeue *sq, struct sl_conn *c, uint32_t seq, uint8_t flags)
{
	struct rte_mbuf *m;

	if (flags & SL_TH_SYN)
		return send_syn(sq, c, flags);
	if (sl_flow_ready(sq, &c->flow, &c->key) != 0)
		return false;
	if (flags & SL_TH_RST) {
		m = sl_output_header(sq, &c->key, seq, c->rcv_nxt, flags, 0, NULL, 0);
		if (m == NULL)
			return false;
		SL_COUNT(sq, tcp_out_rsts);
		sl_flow_send(sq, &c->flow, &c->key, m, 20, 0);
		return true;
	}
	return send_bare(sq, c, seq, flags);
}

/* ---- ACKs that are due ---- */

void sl_ack_now(struct sluice_squeue *sq, struct sl_conn *c)
{
	c->flags |= SL_C_ACK_NOW;
	sl_output_schedule(sq, c);
}

void sl_ack_data(struct sluice_squeue *sq, struct sl_conn *c, uint32_t len)
{
	uint32_t segs = len > c->mss ? (len + c->mss - 1) / c->mss : 1;

	if (c->quickack > 0) {
		c->quickack--;
		sl_ack_now(sq, c);
		return;
	}
	/* RFC 9293 3.8.6.3: at least every second full segment, and within half a second. */
	segs += c->delack_segs;
	c->delack_segs = (uint8_t)RTE_MIN(segs, 255u);
	if (sq->tun.tcp_delack == 0 || segs >= sq->tun.tcp_delack_segs) {
		sl_ack_now(sq, c);
		return;
	}
	if (!(c->flags & SL_C_ACK_DELAYED)) {
		c->flags |= SL_C_ACK_DELAYED;
		sl_conn_timer_set(
		    sq, c, SL_T_DELACK, sq->now + SL_CONN_TUN(sq, c, tcp_delack, delack));
	}
}

/* ---- data ---- */

/* What a segment may carry beside the options that it will have. */
static inline uint32_t payload_room(const struct sl_conn *c)
{
	if (SL_LIKELY(c->ooo == NULL)) /* nothing to report: mss it is */
		return c->mss;
	return c->mss + (c->flags & SL_C_TS ? 12 : 0) - sl_opts_len(c);
}

static void advance_cursor(struct sl_conn *c, uint32_t n)
{
	c->snd_off += n;
	while (c->snd_m != NULL && c->snd_off >= c->snd_m->data_len) {
		c->snd_off -= c->snd_m->data_len;
		c->snd_m = c->snd_m->next;
	}
}

/* Send `len` new bytes, and the FIN behind them if `fin`. 0, or -ENOBUFS with nothing changed. */
static int send_new(
    struct sluice_squeue *sq, struct sl_conn *c, uint32_t len, bool fin, uint32_t seg)
{
	uint32_t seq = c->snd_nxt, end = seq + len + fin;
	bool last = seq + len == c->snd_una + c->sndq_bytes;
	uint8_t flags = SL_TH_ACK | (fin ? SL_TH_FIN : 0) | (last && len > 0 ? SL_TH_PUSH : 0);
	unsigned int th_len;
	struct rte_mbuf *m = conn_header(sq, c, seq, flags, &th_len);

	if (m == NULL)
		return -ENOBUFS;
	if (sl_sendq_attach(sq, c, m, c->snd_m, c->snd_off, len) < 0 ||
	    sl_rec_add(sq, c, seq, end, len > 0 ? c->snd_m : NULL, c->snd_off,
		fin ? SL_REC_FIN : 0) == NULL) {
		rte_pktmbuf_free(m);
		return -ENOBUFS;
	}
	if (c->snd_una == c->snd_max) {
		c->first_unacked_at = sq->now;
		c->no_way_since = 0;
	}
	if (end < seq)
		SL_COUNT(sq, tcp_seq_wraps);
	c->snd_nxt = c->snd_max = end;
	advance_cursor(c, len);
	if (fin) {
		c->flags |= SL_C_FIN_SENT;
		SL_COUNT(sq, tcp_out_control);
	}
	if (len > 0) {
		SL_COUNT(sq, tcp_out_data_segs);
		SL_COUNT_N(sq, tcp_out_data_bytes, len);
		c->bytes_out += len;
	}
	if (c->flags & SL_C_RECOVERY)
		c->prr_out += len;
	if (!sl_conn_timer_armed(c, SL_T_RTX))
		sl_rtx_rearm(sq, c);
	sent(sq, c, m, th_len, len > seg ? (uint16_t)seg : 0);
	return 0;
}

/*
 * How many new bytes may go in the next packet; 0: none. The whole of the sender's silly window
 * avoidance (RFC 9293 3.8.6.2.1), the Nagle algorithm (3.7.4), and limited transmit (RFC 3042).
 */
static uint32_t may_send(
    struct sluice_squeue *sq, struct sl_conn *c, uint32_t seg, uint32_t tso_max)
{
	uint32_t avail = c->snd_una + c->sndq_bytes - c->snd_nxt, right = c->snd_una + c->snd_wnd,
		 pipe = sl_pipe(c);
	uint32_t usable = seq_gt(right, c->snd_nxt) ? right - c->snd_nxt : 0, cwnd = c->cc.cwnd,
		 len, most = seg;

	/* With SACK, pipe has shrunk by what duplicates reported already (RFC 6675 section 5). */
	if (c->dupacks > 0 && c->dupacks < 3 && !(c->flags & (SL_C_RECOVERY | SL_C_SACK)))
		cwnd += c->dupacks * c->mss;
	len = RTE_MIN(avail, usable);
	if (len > (cwnd > pipe ? cwnd - pipe : 0)) {
		c->cwnd_stopped = true;
		c->cc.stop_seq = c->snd_max;
		len = cwnd > pipe ? cwnd - pipe : 0;
	}
	if (len == 0)
		return 0;
	if (tso_max > seg)
		most = tso_max - tso_max % seg;
	if (len >= seg) {
		if (len > most)
			return most;
		/* Whole segments only, unless the rest of the queue fits. */
		return len == avail && (len % seg == 0 || sl_conn_door(sq, c)->pub.nodelay)
			   ? len
			   : len - len % seg;
	}
	/* Cut by a window: wait for more of it, unless it is half of all that the peer ever
	 * offered, or has been waited for long enough. */
	if (len < avail)
		return len >= c->max_sndwnd / 2 || c->force_push ? len : 0;
	if (c->force_push || (c->flags & (SL_C_FIN_QUEUED | SL_C_URG_OUT)))
		return len;
	if (c->flags & (SL_C_MORE | SL_C_MSG_MORE)) {
		if (!sl_conn_timer_armed(c, SL_T_PERSIST))
			sl_conn_timer_set(sq, c, SL_T_PERSIST, sq->now + SLUICE_MS(200));
		return 0;
	}
	if (c->snd_una == c->snd_nxt ||
	    atomic_load_explicit(&sl_conn_door(sq, c)->pub.nodelay, memory_order_relaxed))
		return len;
	return 0;
}

/* Is a FIN to go with (or without) `len` bytes? It takes a sequence number, so it needs window. */
static bool may_fin(const struct sl_conn *c, uint32_t len)
{
	uint32_t after = c->snd_nxt + len;

	return (c->flags & SL_C_FIN_QUEUED) && !(c->flags & SL_C_FIN_SENT) &&
	       after == c->snd_una + c->sndq_bytes && seq_lt(after, c->snd_una + c->snd_wnd);
}

/* One new packet. 1 sent, 0 nothing may go, -ENOBUFS. */
static int output_new(struct sluice_squeue *sq, struct sl_conn *c, uint32_t seg, uint32_t tso_max)
{
	uint32_t len = may_send(sq, c, seg, tso_max);
	bool fin = may_fin(c, len);
	int rc;

	if (len == 0 && !fin)
		return 0;
	rc = send_new(sq, c, len, fin, seg);
	if (rc == 0)
		c->force_push = 0;
	return rc < 0 ? rc : 1;
}

/* Send a record again. 1 sent, 0 not now, -ENOBUFS. */
static int output_again(struct sluice_squeue *sq, struct sl_conn *c, struct sl_rec *r, uint32_t seg)
{
	bool fin = (r->flags & SL_REC_FIN) != 0;
	uint32_t len = r->end - r->start - fin;
	unsigned int th_len;
	struct rte_mbuf *m;

	/* Within the window that the peer offers now (RFC 9293 MUST-34 as the sender sees it); the
	 * first byte is a probe. */
	if (r != c->rec_head && !seq_lt(r->start, c->snd_una + c->snd_wnd))
		return 0;
	if (len > seg) {
		if (sl_rec_split(sq, c, r, r->start + seg) == NULL)
			return -ENOBUFS;
		fin = false;
		len = seg;
	}
	m = conn_header(sq, c, r->start, SL_TH_ACK | SL_TH_PUSH | (fin ? SL_TH_FIN : 0), &th_len);
	if (m == NULL)
		return -ENOBUFS;
	if (sl_sendq_attach(sq, c, m, r->m, r->off, len) < 0) {
		rte_pktmbuf_free(m);
		return -ENOBUFS;
	}
	if (r->flags & SL_REC_LOST) {
		r->flags &= (uint8_t)~SL_REC_LOST;
		c->pipe_lost -= r->end - r->start;
	}
	r->flags |= SL_REC_RETRANS;
	r->sent_at = sq->now;
	r->delivered = c->delivered;
	if (r->xmits < 255)
		r->xmits++;
	c->retrans++;
	SL_COUNT(sq, tcp_retrans_segs);
	SL_COUNT_N(sq, tcp_retrans_bytes, len);
	if (c->flags & SL_C_RECOVERY) {
		c->prr_out += len;
		if (c->flags & SL_C_SACK)
			SL_COUNT(sq, tcp_out_sack_retrans);
		else
			SL_COUNT(sq, tcp_out_fast_retrans);
	}
	if (!sl_conn_timer_armed(c, SL_T_RTX))
		sl_rtx_rearm(sq, c);
	sent(sq, c, m, th_len, 0);
	return 1;
}

enum served {
	SERVED_DONE,
	SERVED_MORE,
	SERVED_STUCK
};

/* The flow cannot send now: who will bring the connection back? */
static enum served not_ready(struct sluice_squeue *sq, struct sl_conn *c, int rc)
{
	if (rc == -EAGAIN)
		return SERVED_STUCK;
	if (rc != -EINPROGRESS) {
		if (c->state == SLUICE_SYN_SENT)
			sl_conn_drop(sq, c, -rc);
		else
			sl_unreachable(sq, c, -rc);
	}
	return SERVED_DONE;
}

void sl_output_probe(struct sluice_squeue *sq, struct sl_conn *c)
{
	bool byte = c->snd_nxt != c->snd_una + c->sndq_bytes && !(c->flags & SL_C_FIN_SENT);
	bool fin = !byte && (c->flags & SL_C_FIN_QUEUED) && !(c->flags & SL_C_FIN_SENT);
	int rc;

	if (!byte && !fin)
		return;
	rc = sl_flow_ready(sq, &c->flow, &c->key);
	if (rc < 0) {
		(void)not_ready(sq, c, rc);
		return;
	}
	if (send_new(sq, c, byte, fin, c->mss) == 0)
		SL_COUNT(sq, tcp_out_win_probe);
}

/* ---- service ---- */

static enum served serve_handshake(struct sluice_squeue *sq, struct sl_conn *c, unsigned int *n)
{
	uint8_t flags = c->state == SLUICE_SYN_SENT ? SL_TH_SYN : SL_TH_SYN | SL_TH_ACK;
	int rc;

	if ((c->flags & SL_C_HELD) || !(c->flags & SL_C_ACK_NOW))
		return SERVED_DONE;
	/* The timer runs whether the SYN can leave or not: a neighbour that never answers is a
	 * time-out too. */
	if (!sl_conn_timer_armed(c, SL_T_RTX))
		sl_conn_timer_set(sq, c, SL_T_RTX, sl_rtx_at(sq, c));
	rc = sl_flow_ready(sq, &c->flow, &c->key);
	if (rc < 0)
		return not_ready(sq, c, rc);
	if (!send_syn(sq, c, flags))
		return SERVED_STUCK;
	c->flags &= ~SL_C_ACK_NOW;
	(*n)++;
	return SERVED_DONE;
}

/* After an idle time of one RTO the window starts anew (RFC 5681 4.1). */
static void restart_idle(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_cc_ev ev = {.now = sq->now, .mss = c->mss, .srtt = c->srtt};

	ev.init_cwnd = sl_tcp_init_cwnd(sq, c);
	c->cc.ops->idle(&c->cc, &ev);
}

static enum served serve(
    struct sluice_squeue *sq, struct sl_conn *c, unsigned int turn, unsigned int *n)
{
	uint32_t seg, tso_max = 0;
	int rc;

	if (c->state == SLUICE_SYN_SENT || c->state == SLUICE_SYN_RCVD)
		return serve_handshake(sq, c, n);
	if (c->state < SLUICE_ESTABLISHED)
		return SERVED_DONE;
	if (c->snd_una == c->snd_max && c->sndq_bytes > 0 && c->last_snd != 0 &&
	    sq->now - c->last_snd >= SL_TICK_NS && sq->now - c->last_snd > sl_rto(sq, c))
		restart_idle(sq, c);
	for (unsigned int i = 0; i < turn; i++) {
		struct sl_rec *lost = c->pipe_lost > 0 ? sl_recovery_next(sq, c) : NULL;
		bool more = c->snd_nxt != sl_snd_end(c);

		if (lost == NULL && !more)
			break;
		rc = sl_flow_ready(sq, &c->flow, &c->key);
		if (SL_UNLIKELY(rc < 0))
			return not_ready(sq, c, rc);
		if (SL_UNLIKELY(c->flow.mtu != c->flow.mss_mtu))
			sl_tcp_set_mss(sq, c); /* another route, or a lowered MTU that has aged */
		seg = payload_room(c);
		if (lost != NULL)
			rc = output_again(sq, c, lost, seg);
		if (rc == 0 && more) {
			/* Ports copy the urgent pointer into each part, where it would
			 * point further each time: so none is cut in urgent mode. */
			if (c->sndq_bytes > seg && !(c->flags & SL_C_URG_OUT))
				(void)sl_flow_caps(sq, &c->flow, &tso_max);
			rc = output_new(sq, c, seg, tso_max);
		}
		if (rc < 0)
			return SERVED_STUCK;
		if (rc == 0)
			break;
		(*n)++;
		if (i + 1 == turn)
			return SERVED_MORE;
	}
	if (c->flags & SL_C_ACK_NOW) {
		rc = sl_flow_ready(sq, &c->flow, &c->key);
		if (rc < 0)
			return not_ready(sq, c, rc);
		if (!send_bare(sq, c, c->snd_max, SL_TH_ACK))
			return SERVED_STUCK;
		(*n)++;
	}
	if (c->rec_head == NULL && c->snd_nxt != sl_snd_end(c))
		sl_rtx_rearm(sq, c); /* a closed window is watched by the persist timer */
	if (SL_UNLIKELY(c->flags & SL_C_SPECIAL))
		sl_sendq_moved(sq, c); /* last: the user may do anything */
	return SERVED_DONE;
}

/* Some of those that waited for room, in their order, until there is none again. */
static void serve_held(struct sluice_squeue *sq, unsigned int budget, unsigned int *n)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	if (t->held_gen != sl_ip_generation(sq)) {
		release_held(t);
		return;
	}
	for (uint64_t m = t->held_mask; m != 0; m &= m - 1) {
		unsigned int port = (unsigned int)__builtin_ctzll(m);
		struct sl_outq *q = &t->held[port];
		enum served s = SERVED_DONE;

		while (q->head != NULL && s != SERVED_STUCK && *n < budget &&
		       (port == SL_MAX_PORTS || sl_tx_room(sq, port) > 0)) {
			struct sl_conn *c = pop(q);

			s = serve(sq, c, RTE_MIN(TURN, budget - *n), n);
			if (s == SERVED_STUCK)
				hold(sq, c);
			else if (s == SERVED_MORE)
				sl_output_schedule(sq, c);
			sl_conn_check(sq, c);
		}
		if (q->head == NULL)
			t->held_mask &= ~(UINT64_C(1) << port);
	}
}

unsigned int sl_tcp_output(struct sluice_squeue *sq, unsigned int budget)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	unsigned int n = 0;

	if (SL_UNLIKELY(t->held_mask != 0))
		serve_held(sq, budget, &n);
	t->held_gen = sl_ip_generation(sq);
	while (t->out.head != NULL) {
		struct sl_conn *c;
		enum served s;

		if (n >= budget) {
			SL_COUNT(sq, sq_budget_output);
			break;
		}
		c = pop(&t->out);
		s = serve(sq, c, RTE_MIN(TURN, budget - n), &n);
		if (s == SERVED_STUCK)
			hold(sq, c);
		else if (s == SERVED_MORE)
			sl_output_schedule(sq, c);
		sl_conn_check(sq, c);
	}
	return n;
}

void sl_flow_is_ready(struct sluice_squeue *sq, struct sl_flow *f, int err)
{
	struct sl_conn *c;

	if (f->kind == SL_FLOW_HALF) {
		sl_half_flow_ready(sq, SL_CONTAINER_OF(f, struct sl_half, flow), err);
		return;
	}
	c = SL_CONTAINER_OF(f, struct sl_conn, flow);
	if (err == 0)
		sl_output_schedule(sq, c);
	else if (c->state == SLUICE_SYN_SENT)
		sl_conn_drop(sq, c, -err);
	else
		sl_unreachable(sq, c, -err);
}
