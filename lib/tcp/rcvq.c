/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The receive queue: what is in order is one chain of the NIC's own mbufs; what is not waits in a
 * sorted list beside it, which exists only while there is something out of order.
 *
 * The window is what the receive buffer has left, and its right edge never moves left (RFC
 * 9293 3.8.6). What is charged against memory is the size of buffers, not of payload: a peer that
 * sends one byte a segment does not get two kilobytes of pool for each. Beyond four buffers' worth
 * of charge small segments are copied together, and the window closes.
 */
#include <stdlib.h>
#include <string.h>

#include <tcp/tcp_int.h>

#define RECENT 4

/*
 * Out of order: packets linked by sl_pkt_next, words: sequence number and length. Sorted, disjoint,
 * never adjacent to rcv_nxt. Of what overlaps, the copy that came first stays.
 */
struct sl_reasm {
	struct rte_mbuf *head, *tail;
	uint32_t count, bytes;
	uint32_t recent[RECENT]; /* where the last arrivals began, newest first: the order of SACK
				    blocks */
	unsigned int nrecent;
	uint32_t dsack[2];
	bool has_dsack, has_fin;
	uint32_t fin_seq;
};

/* ---- chains ---- */

static uint32_t chain_charge(const struct rte_mbuf *m)
{
	uint32_t n = 0;

	for (; m != NULL; m = m->next)
		n += m->buf_len + (uint32_t)sizeof(*m);
	return n;
}

void sl_chain_chop(struct rte_mbuf **pm, uint32_t n)
{
	struct rte_mbuf *m = *pm;
	uint32_t left = m->pkt_len - n;
	uint16_t segs = m->nb_segs;

	while (m != NULL && n >= m->data_len) {
		struct rte_mbuf *next = m->next;

		n -= m->data_len;
		m->next = NULL;
		m->nb_segs = 1;
		rte_pktmbuf_free_seg(m);
		m = next;
		segs--;
	}
	if (m != NULL) {
		m->data_off = (uint16_t)(m->data_off + n);
		m->data_len = (uint16_t)(m->data_len - n);
		m->pkt_len = left;
		m->nb_segs = segs;
	}
	*pm = m;
}

void sl_chain_keep(struct rte_mbuf *m, uint32_t n)
{
	struct rte_mbuf *s = m;
	uint16_t segs = 1;

	m->pkt_len = n;
	while (n > s->data_len) {
		n -= s->data_len;
		s = s->next;
		segs++;
	}
	s->data_len = (uint16_t)n;
	rte_pktmbuf_free(s->next);
	s->next = NULL;
	m->nb_segs = segs;
}

/* ---- in order ---- */

/* Small and the tail has room: the bytes move, the buffer goes back. */
static bool compact(struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf *m, uint32_t len)
{
	struct rte_mbuf *t = c->rcvq_tail;

	if (c->rcvq_charge < c->rcvbuf || c->rcvq_charge / 4 < c->rcvq_bytes || t == NULL ||
	    m->nb_segs != 1)
		return false;
	if (!RTE_MBUF_DIRECT(t) || rte_mbuf_refcnt_read(t) != 1 || rte_pktmbuf_tailroom(t) < len)
		return false;
	memcpy(rte_pktmbuf_mtod_offset(t, char *, t->data_len), rte_pktmbuf_mtod(m, char *), len);
	t->data_len = (uint16_t)(t->data_len + len);
	c->rcvq_bytes += len;
	rte_pktmbuf_free(m);
	SL_COUNT(sq, tcp_rx_compact);
	return true;
}

static void append(struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf *m, uint32_t len)
{
	uint32_t before = c->rcv_nxt;

	c->rcv_nxt += len;
	if (c->rcv_nxt < before)
		SL_COUNT(sq, tcp_seq_wraps);
	c->bytes_in += len;
	if (c->flags & (SL_C_RCV_SHUT | SL_C_CLOSED_BY_APP)) { /* acknowledged and dropped */
		rte_pktmbuf_free(m);
		return;
	}
	if (compact(sq, c, m, len))
		return;
	if (c->rcvq_tail == NULL)
		c->rcvq_head = m;
	else
		c->rcvq_tail->next = m;
	c->rcvq_charge += chain_charge(m);
	c->rcvq_tail = rte_pktmbuf_lastseg(m);
	c->rcvq_bytes += len;
}

/* ---- out of order ---- */

static uint32_t seq_of(struct rte_mbuf *m)
{
	return sl_pkt_word(m)[0];
}

static uint32_t end_of(struct rte_mbuf *m)
{
	return sl_pkt_word(m)[0] + sl_pkt_word(m)[1];
}

static struct sl_reasm *reasm(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (c->ooo == NULL)
		c->ooo = calloc(1, sizeof(*c->ooo));
	return c->ooo;
}

/* Nothing waits and nothing is to be reported: the memory goes. */
static void reasm_done(struct sl_conn *c)
{
	if (c->ooo != NULL && c->ooo->head == NULL && !c->ooo->has_fin && !c->ooo->has_dsack) {
		free(c->ooo);
		c->ooo = NULL;
	}
}

static void note_recent(struct sl_reasm *r, uint32_t seq)
{
	memmove(&r->recent[1], &r->recent[0], (RECENT - 1) * sizeof(r->recent[0]));
	r->recent[0] = seq;
	if (r->nrecent < RECENT)
		r->nrecent++;
}

void sl_rcv_dsack(struct sl_conn *c, uint32_t start, uint32_t end)
{
	if (!(c->flags & SL_C_SACK) || !seq_lt(start, end))
		return;
	if (c->ooo == NULL)
		c->ooo = calloc(1, sizeof(*c->ooo));
	if (c->ooo == NULL)
		return;
	c->ooo->dsack[0] = start;
	c->ooo->dsack[1] = end;
	c->ooo->has_dsack = true;
}

/* Cut what is there already off both ends; false when nothing is left. `prev`: last packet that
 * begins not after it. */
static bool trim_overlap(
    struct sl_conn *c, struct sl_seg *seg, struct rte_mbuf *prev, struct rte_mbuf *next)
{
	if (prev != NULL && seq_gt(end_of(prev), seg->seq)) {
		uint32_t cut = end_of(prev) - seg->seq;

		sl_rcv_dsack(c, seg->seq, seg->seq + RTE_MIN(cut, seg->len));
		if (cut >= seg->len)
			return false;
		sl_chain_chop(&seg->m, cut);
		seg->seq += cut;
		seg->len -= cut;
	}
	if (next != NULL && seq_gt(seg->seq + seg->len, seq_of(next))) {
		uint32_t keep = seq_of(next) - seg->seq;

		sl_rcv_dsack(c, seq_of(next), seq_min(seg->seq + seg->len, end_of(next)));
		if (keep == 0)
			return false;
		sl_chain_keep(seg->m,
		    keep); /* what lies beyond the next packet comes again when it is missed */
		seg->len = keep;
	}
	return true;
}

static void insert(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	struct sl_reasm *r = reasm(sq, c);
	struct rte_mbuf *prev = NULL, *next;

	if (r == NULL || r->count >= sq->tun.tcp_ooo_max) {
		SL_COUNT(sq, tcp_ooo_drop);
		rte_pktmbuf_free(seg->m);
		return;
	}
	/* Nearly always it goes to the end. */
	if (r->tail != NULL && seq_ge(seg->seq, seq_of(r->tail))) {
		prev = r->tail;
		next = NULL;
	} else {
		for (next = r->head; next != NULL && seq_le(seq_of(next), seg->seq);
		     next = sl_pkt_next(next))
			prev = next;
	}
	if (!trim_overlap(c, seg, prev, next)) {
		SL_COUNT(sq, tcp_in_data_dup_segs);
		rte_pktmbuf_free(seg->m);
		return;
	}
	sl_pkt_word(seg->m)[0] = seg->seq;
	sl_pkt_word(seg->m)[1] = seg->len;
	sl_pkt_set_next(seg->m, next);
	if (prev == NULL)
		r->head = seg->m;
	else
		sl_pkt_set_next(prev, seg->m);
	if (next == NULL)
		r->tail = seg->m;
	r->count++;
	r->bytes += seg->len;
	note_recent(r, seg->seq);
	SL_COUNT(sq, tcp_in_data_unorder_segs);
	SL_COUNT_N(sq, tcp_in_data_unorder_bytes, seg->len);
}

/* What has become contiguous moves over. */
static void pull(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_reasm *r = c->ooo;
	struct rte_mbuf *m;

	while ((m = r->head) != NULL && seq_le(seq_of(m), c->rcv_nxt)) {
		uint32_t start = seq_of(m), len = sl_pkt_word(m)[1], cut = c->rcv_nxt - start;

		r->head = sl_pkt_next(m);
		if (r->head == NULL)
			r->tail = NULL;
		r->count--;
		r->bytes -= len;
		if (cut >= len) {
			rte_pktmbuf_free(m);
			continue;
		}
		if (cut > 0)
			sl_chain_chop(&m, cut);
		append(sq, c, m, len - cut);
	}
	if (r->head == NULL)
		r->nrecent = 0;
	reasm_done(c);
}

bool sl_rcv_data(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	uint32_t len = seg->len;

	if (seg->seq == c->rcv_nxt) {
		if (len > 0)
			append(sq, c, seg->m, len);
		seg->m = NULL;
		SL_COUNT(sq, tcp_in_data_inorder_segs);
		SL_COUNT_N(sq, tcp_in_data_inorder_bytes, len);
		if (SL_UNLIKELY(c->ooo != NULL))
			pull(sq, c);
		return true;
	}
	if ((seg->flags & SL_TH_FIN) && reasm(sq, c) != NULL) {
		c->ooo->has_fin = true;
		c->ooo->fin_seq = seg->seq + len;
	}
	if (len > 0)
		insert(sq, c, seg);
	seg->m = NULL;
	return false;
}

bool sl_rcv_fin_ready(const struct sl_conn *c)
{
	return c->ooo != NULL && c->ooo->has_fin && c->ooo->fin_seq == c->rcv_nxt;
}

uint32_t sl_rcv_ooo_bytes(const struct sl_conn *c)
{
	return c->ooo != NULL ? c->ooo->bytes : 0;
}

/* ---- SACK ---- */

/* The run of contiguous packets that holds sequence number x. */
static bool block_of(const struct sl_reasm *r, uint32_t x, uint32_t blk[2])
{
	struct rte_mbuf *m = r->head;

	while (m != NULL) {
		uint32_t start = seq_of(m), end = end_of(m);

		for (m = sl_pkt_next(m); m != NULL && seq_of(m) == end; m = sl_pkt_next(m))
			end = end_of(m);
		if (seq_in(x, start, end)) {
			blk[0] = start;
			blk[1] = end;
			return true;
		}
	}
	return false;
}

unsigned int sl_rcv_sack(const struct sl_conn *c, unsigned int n, uint32_t (*blk)[2])
{
	struct sl_reasm *r = c->ooo;
	unsigned int k = 0;

	if (r == NULL)
		return 0;
	if (r->has_dsack) {
		blk[k][0] = r->dsack[0];
		blk[k++][1] = r->dsack[1];
	}
	for (unsigned int i = 0; i < r->nrecent && k < n; i++) {
		uint32_t b[2];
		bool again = false;

		if (!block_of(r, r->recent[i], b))
			continue;
		for (unsigned int j = r->has_dsack; j < k; j++)
			again |= blk[j][0] == b[0];
		if (!again) {
			blk[k][0] = b[0];
			blk[k++][1] = b[1];
		}
	}
	return k;
}

void sl_rcv_acked(struct sl_conn *c)
{
	if (c->ooo != NULL) {
		c->ooo->has_dsack = false; /* reported once (RFC 2883 section 4) */
		reasm_done(c);
	}
}

/* ---- the window ---- */

uint32_t sl_rcv_window(const struct sluice_squeue *sq, const struct sl_conn *c)
{
	uint32_t offered = seq_gt(c->rcv_adv, c->rcv_nxt) ? c->rcv_adv - c->rcv_nxt : 0,
		 mask = (1u << c->rcv_wscale) - 1;
	uint32_t used = c->rcvq_bytes, free_bytes, step;

	if (c->rcvq_charge / 4 > used && c->rcvq_charge / 4 > c->rcvbuf / 4)
		used = c->rcvq_charge / 4;
	free_bytes = used < c->rcvbuf && !(c->flags & SL_C_FLOWCTRL) ? c->rcvbuf - used : 0;
	free_bytes &= ~mask;
	if (c->rcv_wscale == 0 && free_bytes > 65535)
		free_bytes = 65535;
	/* RFC 9293 3.8.6.2.2: the edge moves by a segment or half the buffer, or not at all. */
	step = RTE_MIN(c->mss != 0 ? c->mss : 536, c->rcvbuf / 2);
	if (free_bytes > offered && free_bytes - offered >= step)
		return free_bytes;
	/* What was offered stays offered. Rounded up to what a scaled window can say, so that it
	 * does not shrink by that. */
	return (offered + mask) & ~mask;
}

void sl_rcv_opened(struct sluice_squeue *sq, struct sl_conn *c)
{
	uint32_t offered = c->rcv_adv - c->rcv_nxt, gain;

	if (c->state < SLUICE_ESTABLISHED || (c->flags & SL_C_FIN_RCVD) ||
	    c->state > SLUICE_FIN_WAIT_2)
		return;
	gain = sl_rcv_window(sq, c) - offered;
	if ((int32_t)gain <= 0 || (gain < RTE_MIN(2 * c->mss, c->rcvbuf / 2) && offered >= c->mss))
		return;
	c->flags |= SL_C_WUPDATE;
	sl_ack_now(sq, c);
}

/* ---- reading ---- */

static void uncharge(struct sl_conn *c, const struct rte_mbuf *m)
{
	uint32_t n = m->buf_len + (uint32_t)sizeof(*m);

	c->rcvq_charge -= RTE_MIN(n, c->rcvq_charge);
}

/* Take the first mbuf off the queue. */
static struct rte_mbuf *pop(struct sl_conn *c)
{
	struct rte_mbuf *m = c->rcvq_head;

	c->rcvq_head = m->next;
	if (c->rcvq_head == NULL)
		c->rcvq_tail = NULL;
	m->next = NULL;
	m->nb_segs = 1;
	m->pkt_len = m->data_len;
	uncharge(c, m);
	c->rcvq_bytes -= m->data_len;
	return m;
}

size_t sl_rcv_consume(struct sluice_squeue *sq, struct sl_conn *c, size_t n)
{
	size_t left = n;

	while (left > 0 && c->rcvq_head != NULL) {
		struct rte_mbuf *m = c->rcvq_head;

		if (left < m->data_len) {
			m->data_off = (uint16_t)(m->data_off + left);
			m->data_len = (uint16_t)(m->data_len - left);
			c->rcvq_bytes -= (uint32_t)left;
			return n;
		}
		left -= m->data_len;
		rte_pktmbuf_free_seg(pop(c));
	}
	return n - left;
}

/* The first n bytes of the first mbuf, which stays: a copy. NULL without a buffer. */
static struct rte_mbuf *copy_front(struct sluice_squeue *sq, struct sl_conn *c, uint32_t n)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(sq->stack->params.data_pool);

	if (m == NULL) {
		SL_COUNT(sq, port_tx_nomem);
		return NULL;
	}
	n = RTE_MIN(n, (uint32_t)rte_pktmbuf_tailroom(m));
	memcpy(rte_pktmbuf_append(m, (uint16_t)n), rte_pktmbuf_mtod(c->rcvq_head, char *), n);
	sl_rcv_consume(sq, c, n);
	return m;
}

struct rte_mbuf *sl_rcv_take(struct sluice_squeue *sq, struct sl_conn *c, size_t max, uint32_t *len)
{
	struct rte_mbuf *head = NULL, *tail = NULL, *m;

	*len = 0;
	while (*len < max && c->rcvq_head != NULL) {
		if (c->rcvq_head->data_len <= max - *len)
			m = pop(c);
		else
			m = copy_front(sq, c, (uint32_t)(max - *len));
		if (m == NULL)
			break;
		*len += m->data_len;
		if (m->data_len == 0) {
			rte_pktmbuf_free_seg(m);
			continue;
		}
		if (head == NULL) {
			head = m;
		} else {
			tail->next = m;
			head->nb_segs++;
			head->pkt_len += m->data_len;
		}
		tail = m;
		if (head->nb_segs == UINT16_MAX)
			break;
	}
	return head;
}

void sl_rcv_clear(struct sluice_squeue *sq, struct sl_conn *c)
{
	rte_pktmbuf_free(c->rcvq_head);
	c->rcvq_head = c->rcvq_tail = NULL;
	c->rcvq_bytes = c->rcvq_charge = 0;
	if (c->state != SLUICE_CLOSED || c->ooo == NULL)
		return;
	while (c->ooo->head != NULL) {
		struct rte_mbuf *m = c->ooo->head;

		c->ooo->head = sl_pkt_next(m);
		rte_pktmbuf_free(m);
	}
	free(c->ooo);
	c->ooo = NULL;
}
