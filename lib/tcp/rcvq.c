/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The receive queue: what is in order is one chain of the NIC's own mbufs; what is not waits beside
 * it in blocks, which exist only while there is something out of order.
 *
 * A block is a run of bytes without a hole, one chain of mbufs. Blocks stand in an array, sorted,
 * disjoint and never touching, so that a place is found by bisection however many holes a hostile
 * peer makes, and a SACK block is a block. Of bytes that come twice the copy that came first stays,
 * in order or not: what is new in a segment is cut out of it.
 *
 * The window is what the receive buffer has left, and its right edge never moves left (RFC
 * 9293 3.8.6). What is charged against memory is the size of buffers, not of payload: a peer that
 * sends one byte a segment does not get two kilobytes of pool for each. Beyond four buffers' worth
 * of charge small segments are copied together, and the window closes.
 */
#include <stdlib.h>
#include <string.h>

#include <tcp/tcp_int.h>

#define RECENT 8

struct block {
	uint32_t start, end;
	struct rte_mbuf *head, *tail; /* by m->next */
	uint32_t segs, charge;
};

struct sl_reasm {
	struct block *b; /* n of cap, ascending; b[0] begins beyond rcv_nxt */
	uint32_t n, cap;
	uint32_t segs, bytes, charge; /* sums over the blocks */
	/* A byte of each of the blocks that changed last, newest first: the order of SACK blocks.
	 */
	uint32_t recent[RECENT];
	unsigned int nrecent;
	uint32_t dsack[2];
	bool has_dsack, has_fin;
	uint32_t fin_seq; /* no data at or beyond it */
};

/* ---- chains ---- */

static inline uint32_t chain_charge(const struct rte_mbuf *m)
{
	uint32_t n = 0;

	for (; m != NULL; m = m->next)
		n += m->buf_len + (uint32_t)sizeof(*m);
	return n;
}

void sl_chain_chop_far(struct rte_mbuf **pm, uint32_t n)
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

/*
 * m keeps its first n bytes (0 < n < its length); returns the rest as a chain of its own, for which
 * the bytes behind the cut in one mbuf are copied. NULL without a buffer: the rest is gone.
 */
static struct rte_mbuf *chain_split(struct sluice_squeue *sq, struct rte_mbuf *m, uint32_t n)
{
	uint32_t total = m->pkt_len, off = n, tail;
	struct rte_mbuf *s = m, *rest;
	uint16_t segs = 1;

	while (off > s->data_len) {
		off -= s->data_len;
		s = s->next;
		segs++;
	}
	tail = s->data_len - off;
	rest = s->next;
	if (tail > 0) {
		rest = rte_pktmbuf_alloc(sq->stack->params.data_pool);
		if (rest == NULL || rte_pktmbuf_tailroom(rest) < tail) {
			rte_pktmbuf_free(rest);
			SL_COUNT(sq, tcp_ooo_drop);
			sl_chain_keep(m, n);
			return NULL;
		}
		memcpy(rte_pktmbuf_append(rest, (uint16_t)tail),
		    rte_pktmbuf_mtod_offset(s, char *, off), tail);
		rest->next = s->next;
	}
	rest->nb_segs = (uint16_t)(m->nb_segs - segs + (tail > 0));
	rest->pkt_len = total - n;
	s->data_len = (uint16_t)off;
	s->next = NULL;
	m->nb_segs = segs;
	m->pkt_len = n;
	return rest;
}

/* ---- in order ---- */

/* Small and the tail has room: the bytes move, the buffer goes back. */
static bool compact(struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf *m, uint32_t len)
{
	struct rte_mbuf *t = c->rcvq_tail;

	if (c->rcvq_charge < c->rcvbuf || c->rcvq_charge / 4 < c->rcvq_bytes || t == NULL ||
	    m->next != NULL)
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

/* A chain that begins at rcv_nxt. */
static void append(struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf *m,
    struct rte_mbuf *tail, uint32_t len, uint32_t charge)
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
	c->rcvq_tail = tail;
	c->rcvq_charge += charge;
	c->rcvq_bytes += len;
}

/* ---- out of order ---- */

static struct sl_reasm *reasm(struct sl_conn *c)
{
	if (c->ooo == NULL)
		c->ooo = calloc(1, sizeof(*c->ooo));
	return c->ooo;
}

static void reasm_free(struct sl_conn *c)
{
	for (uint32_t i = 0; i < c->ooo->n; i++)
		rte_pktmbuf_free(c->ooo->b[i].head);
	free(c->ooo->b);
	free(c->ooo);
	c->ooo = NULL;
}

/* Nothing waits and nothing is to be reported: the memory goes. */
static void reasm_done(struct sl_conn *c)
{
	if (c->ooo != NULL && c->ooo->n == 0 && !c->ooo->has_fin && !c->ooo->has_dsack)
		reasm_free(c);
}

void sl_rcv_dsack(struct sl_conn *c, uint32_t start, uint32_t end)
{
	if (!(c->flags & SL_C_SACK) || !seq_lt(start, end) || reasm(c) == NULL)
		return;
	c->ooo->dsack[0] = start;
	c->ooo->dsack[1] = end;
	c->ooo->has_dsack = true;
}

/* The first block that ends beyond seq; n: none does. The end is looked at first: most go there. */
static uint32_t block_after(const struct sl_reasm *r, uint32_t seq)
{
	uint32_t lo = 0, hi = r->n;

	if (hi > 0 && seq_le(r->b[hi - 1].end, seq))
		return hi;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (seq_gt(r->b[mid].end, seq))
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static void block_remove(struct sl_reasm *r, uint32_t i)
{
	r->n--;
	memmove(&r->b[i], &r->b[i + 1], (r->n - i) * sizeof(r->b[0]));
}

static bool block_make(
    const struct sluice_squeue *sq, struct sl_reasm *r, uint32_t i, const struct block *b)
{
	/* What a segment costs must not grow with the holes that a peer makes (CVE-2018-5390). */
	if (r->n >= sq->tun.tcp_ooo_holes)
		return false;
	if (r->n == r->cap) {
		uint32_t cap = r->cap == 0 ? 8 : 2 * r->cap;
		struct block *p = realloc(r->b, cap * sizeof(*p));

		if (p == NULL)
			return false;
		r->b = p;
		r->cap = cap;
	}
	memmove(&r->b[i + 1], &r->b[i], (r->n - i) * sizeof(r->b[0]));
	r->b[i] = *b;
	r->n++;
	return true;
}

/* `after` begins where `b` ends. */
static void block_join(struct block *b, const struct block *after)
{
	b->tail->next = after->head;
	b->tail = after->tail;
	b->end = after->end;
	b->segs += after->segs;
	b->charge += after->charge;
}

/* The block that has just changed comes first; what it has swallowed is no block any more. */
static void note_recent(struct sl_reasm *r, const struct block *b, uint32_t seq)
{
	uint32_t keep[RECENT];
	unsigned int k = 0;

	for (unsigned int i = 0; i < r->nrecent && k < RECENT - 1; i++)
		if (!seq_in(r->recent[i], b->start, b->end))
			keep[k++] = r->recent[i];
	memcpy(&r->recent[1], keep, k * sizeof(keep[0]));
	r->recent[0] = seq;
	r->nrecent = k + 1;
}

/* Bytes that no block has, before block i. False: no memory, or too many blocks. */
static bool place(const struct sluice_squeue *sq, struct sl_reasm *r, uint32_t i,
    struct rte_mbuf *m, uint32_t seq, uint32_t len)
{
	uint32_t charge = chain_charge(m);
	struct block piece = {seq, seq + len, m, rte_pktmbuf_lastseg(m), 1, charge};
	bool left = i > 0 && r->b[i - 1].end == seq, right = i < r->n && r->b[i].start == piece.end;

	if (left) {
		block_join(&r->b[--i], &piece);
		if (right) {
			block_join(&r->b[i], &r->b[i + 1]);
			block_remove(r, i + 1);
		}
	} else if (right) {
		block_join(&piece, &r->b[i]);
		r->b[i] = piece;
	} else if (!block_make(sq, r, i, &piece)) {
		return false;
	}
	r->segs++;
	r->bytes += len;
	r->charge += charge;
	note_recent(r, &r->b[i], seq);
	return true;
}

/* What is new in m goes to its places. */
static void insert(
    struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf *m, uint32_t seq, uint32_t len)
{
	struct sl_reasm *r = c->ooo;
	uint32_t before = r->bytes;

	while (m != NULL) {
		uint32_t i = block_after(r, seq), keep = len;
		struct rte_mbuf *rest = NULL;

		if (i < r->n && seq_le(r->b[i].start, seq)) {
			keep = RTE_MIN(r->b[i].end - seq, len);
			sl_rcv_dsack(c, seq, seq + keep);
			/* The block of a duplicate follows its DSACK (RFC 2883 section 4). */
			note_recent(r, &r->b[i], seq);
			sl_chain_chop(&m, keep);
			seq += keep;
			len -= keep;
			continue;
		}
		if (r->segs >= sq->tun.tcp_ooo_max) {
			SL_COUNT(sq, tcp_ooo_drop);
			rte_pktmbuf_free(m);
			break;
		}
		if (i < r->n && seq_lt(r->b[i].start, seq + len)) {
			keep = r->b[i].start - seq;
			rest = chain_split(sq, m, keep);
		}
		if (!place(sq, r, i, m, seq, keep)) {
			SL_COUNT(sq, tcp_ooo_drop);
			rte_pktmbuf_free(m);
			rte_pktmbuf_free(rest);
			break;
		}
		m = rest;
		seq += keep;
		len -= keep;
	}
	if (r->bytes == before) {
		SL_COUNT(sq, tcp_in_data_dup_segs);
		return;
	}
	SL_COUNT(sq, tcp_in_data_unorder_segs);
	SL_COUNT_N(sq, tcp_in_data_unorder_bytes, r->bytes - before);
}

/* The first block moves over when rcv_nxt has reached it; the next one cannot touch it. */
static void pull(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_reasm *r = c->ooo;
	struct block b;

	if (r->n == 0 || r->b[0].start != c->rcv_nxt)
		return;
	b = r->b[0];
	block_remove(r, 0);
	r->segs -= b.segs;
	r->bytes -= b.end - b.start;
	r->charge -= b.charge;
	append(sq, c, b.head, b.tail, b.end - b.start, b.charge);
}

/* Data at rcv_nxt while blocks wait: piece by piece, with the blocks between. */
static void fill(struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf *m, uint32_t len)
{
	struct sl_reasm *r = c->ooo;

	while (m != NULL) {
		uint32_t at = c->rcv_nxt, keep = len, cut;
		struct rte_mbuf *rest = NULL;

		if (r->n > 0 && seq_lt(r->b[0].start, at + len)) {
			keep = r->b[0].start - at;
			rest = chain_split(sq, m, keep);
		}
		append(sq, c, m, rte_pktmbuf_lastseg(m), keep, chain_charge(m));
		pull(sq, c);
		m = rest;
		len -= keep;
		if (m == NULL)
			return;
		cut = RTE_MIN(c->rcv_nxt - (at + keep), len);
		sl_rcv_dsack(c, at + keep, at + keep + cut);
		sl_chain_chop(&m, cut);
		len -= cut;
	}
	pull(sq, c);
}

/* ---- segments ---- */

/* A FIN says where the data ends. One that contradicts what is here is not believed; in order it is
 * the blocks beyond that are not. */
static void note_fin(struct sl_conn *c, uint32_t fin_seq, bool in_order)
{
	struct sl_reasm *r = c->ooo;

	while (in_order && r->n > 0 && seq_gt(r->b[r->n - 1].end, fin_seq)) {
		struct block *b = &r->b[--r->n];

		r->segs -= b->segs;
		r->bytes -= b->end - b->start;
		r->charge -= b->charge;
		rte_pktmbuf_free(b->head);
	}
	if (r->has_fin || (r->n > 0 && seq_gt(r->b[r->n - 1].end, fin_seq)))
		return;
	r->has_fin = true;
	r->fin_seq = fin_seq;
}

/* Nothing comes after the FIN. False: nothing is left of the segment. */
static bool cut_at_fin(const struct sl_reasm *r, struct sl_seg *seg)
{
	if (!r->has_fin || seq_le(seg->seq + seg->len, r->fin_seq))
		return true;
	if (seq_ge(seg->seq, r->fin_seq)) {
		rte_pktmbuf_free(seg->m);
		seg->m = NULL;
		seg->len = 0;
		return false;
	}
	seg->len = r->fin_seq - seg->seq;
	sl_chain_keep(seg->m, seg->len);
	return true;
}

static void in_order_slow(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	if (seg->flags & SL_TH_FIN)
		note_fin(c, seg->seq + seg->len, true);
	if (seg->len > 0 && cut_at_fin(c->ooo, seg))
		fill(sq, c, seg->m, seg->len);
	else
		pull(sq, c);
	reasm_done(c);
}

static void out_of_order(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	if (reasm(c) == NULL) {
		SL_COUNT(sq, tcp_ooo_drop);
		rte_pktmbuf_free(seg->m);
		return;
	}
	if (seg->flags & SL_TH_FIN)
		note_fin(c, seg->seq + seg->len, false);
	if (seg->len > 0 && cut_at_fin(c->ooo, seg))
		insert(sq, c, seg->m, seg->seq, seg->len);
	reasm_done(c);
}

bool sl_rcv_data(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg)
{
	bool in_order = seg->seq == c->rcv_nxt;

	if (SL_LIKELY(in_order)) {
		if (seg->len > 0) {
			SL_COUNT(sq, tcp_in_data_inorder_segs);
			SL_COUNT_N(sq, tcp_in_data_inorder_bytes, seg->len);
		}
		if (SL_UNLIKELY(c->ooo != NULL))
			in_order_slow(sq, c, seg);
		else if (seg->len > 0)
			append(sq, c, seg->m,
			    seg->m->next == NULL ? seg->m : rte_pktmbuf_lastseg(seg->m), seg->len,
			    chain_charge(seg->m));
	} else {
		out_of_order(sq, c, seg);
	}
	seg->m = NULL;
	return in_order;
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

unsigned int sl_rcv_sack(const struct sl_conn *c, unsigned int n, uint32_t (*blk)[2])
{
	const struct sl_reasm *r = c->ooo;
	unsigned int k = 0;

	if (r == NULL)
		return 0;
	if (r->has_dsack && k < n) {
		blk[k][0] = r->dsack[0];
		blk[k++][1] = r->dsack[1];
	}
	for (unsigned int i = 0; i < r->nrecent && k < n; i++) {
		uint32_t b = block_after(r, r->recent[i]);

		if (b == r->n || seq_gt(r->b[b].start, r->recent[i]))
			continue; /* read meanwhile */
		blk[k][0] = r->b[b].start;
		blk[k++][1] = r->b[b].end;
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

/* What the buffer has room for, as far as the header can say it. */
static uint32_t space(const struct sl_conn *c)
{
	uint32_t used = c->rcvq_bytes, most = 65535u << c->rcv_wscale, n,
		 charge = c->rcvq_charge + (c->ooo != NULL ? c->ooo->charge : 0);

	if (c->flags & SL_C_FLOWCTRL)
		return 0;
	if (SL_UNLIKELY(charge > c->rcvbuf) && charge / 4 > used)
		used = charge / 4;
	n = used < c->rcvbuf ? c->rcvbuf - used : 0;
	n &= ~((1u << c->rcv_wscale) - 1);
	return RTE_MIN(n, most);
}

static uint32_t offered(const struct sl_conn *c)
{
	return seq_gt(c->rcv_adv, c->rcv_nxt) ? c->rcv_adv - c->rcv_nxt : 0;
}

uint32_t sl_rcv_window(const struct sluice_squeue *sq, const struct sl_conn *c)
{
	uint32_t now = offered(c), room = space(c), mask = (1u << c->rcv_wscale) - 1;
	/* RFC 9293 3.8.6.2.2: the edge moves by a segment or half the buffer, or not at all. */
	uint32_t step = RTE_MIN(c->mss != 0 ? c->mss : 536, c->rcvbuf / 2);

	if (room > now && room - now >= step)
		return room;
	/* What was offered stays offered. Rounded up to what a scaled window can say, so that it
	 * does not shrink by that; but not beyond what there is room for, or bytes that come one by
	 * one would find a full buffer's window open for ever. Then it is said rounded down, and
	 * accepted up to rcv_adv (RFC 7323 2.4). */
	step = (now + mask) & ~mask;
	return room == 0 || step > room + 2 * (mask + 1) ? now & ~mask : step;
}

void sl_rcv_opened(struct sluice_squeue *sq, struct sl_conn *c)
{
	uint32_t now = offered(c), room, half = c->rcvbuf / 2, gain;

	/* Mostly there is not even that much between the buffer and the offer. */
	if (SL_LIKELY(now >= c->mss && now + RTE_MIN(2 * c->mss, half) > c->rcvbuf))
		return;
	room = space(c);
	gain = room - now;
	if (c->state < SLUICE_ESTABLISHED || (c->flags & SL_C_FIN_RCVD) ||
	    c->state > SLUICE_FIN_WAIT_2 || room <= now)
		return;
	/* Two segments are worth an ACK of their own; at a closed window one is. */
	if (gain < RTE_MIN(2 * c->mss, half) && (now >= c->mss || gain < RTE_MIN(c->mss, half)))
		return;
	c->flags |= SL_C_WUPDATE;
	sl_ack_now(sq, c);
}

/* ---- reading ---- */

static void uncharge(struct sl_conn *c, const struct rte_mbuf *m)
{
	c->rcvq_charge -= m->buf_len + (uint32_t)sizeof(*m);
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

/* All of it: nothing is left to be accounted for. */
static void consume_all(struct sl_conn *c)
{
	struct rte_mbuf *m = c->rcvq_head, *next;

	c->rcvq_head = c->rcvq_tail = NULL;
	c->rcvq_bytes = c->rcvq_charge = 0;
	for (; m != NULL; m = next) {
		next = m->next;
		m->next = NULL;
		m->nb_segs = 1;
		rte_pktmbuf_free_seg(m);
	}
}

size_t sl_rcv_consume(struct sluice_squeue *sq, struct sl_conn *c, size_t n)
{
	size_t left = n;

	if (SL_LIKELY(n == c->rcvq_bytes)) {
		consume_all(c);
		return n;
	}
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

void sl_rcv_unread(struct sl_conn *c, struct rte_mbuf *m)
{
	struct rte_mbuf *tail = NULL, *s;

	c->rcvq_charge += chain_charge(m);
	for (s = m; s != NULL; s = s->next) {
		c->rcvq_bytes += s->data_len;
		tail = s;
	}
	tail->next = c->rcvq_head;
	c->rcvq_head = m;
	if (c->rcvq_tail == NULL)
		c->rcvq_tail = tail;
}

void sl_rcv_clear(struct sluice_squeue *sq, struct sl_conn *c)
{
	rte_pktmbuf_free(c->rcvq_head);
	c->rcvq_head = c->rcvq_tail = NULL;
	c->rcvq_bytes = c->rcvq_charge = 0;
	/* What waits beyond a hole was reported as held: only an end makes that void. */
	if (c->state == SLUICE_CLOSED && c->ooo != NULL)
		reasm_free(c);
}

void sl_rcv_check(const struct sl_conn *c)
{
	uint32_t bytes = 0, charge = 0, segs = 0, sum[2] = {0, 0};
	const struct sl_reasm *r = c->ooo;
	const struct rte_mbuf *last = NULL;

	for (const struct rte_mbuf *m = c->rcvq_head; m != NULL; m = m->next) {
		bytes += m->data_len;
		last = m;
	}
	SL_CHECK(bytes == c->rcvq_bytes && last == c->rcvq_tail);
	SL_CHECK(chain_charge(c->rcvq_head) == c->rcvq_charge);
	for (uint32_t i = 0; r != NULL && i < r->n; i++) {
		const struct block *b = &r->b[i];

		SL_CHECK(seq_gt(b->start, i == 0 ? c->rcv_nxt : b[-1].end));
		bytes = 0;
		for (const struct rte_mbuf *m = b->head; m != NULL; m = m->next) {
			bytes += m->data_len;
			last = m;
		}
		SL_CHECK(bytes == b->end - b->start && last == b->tail);
		SL_CHECK(chain_charge(b->head) == b->charge);
		segs += b->segs;
		charge += b->charge;
		sum[0] += bytes;
	}
	SL_CHECK(r == NULL || (segs == r->segs && charge == r->charge && sum[0] == r->bytes));
	(void)last;
	(void)sum;
}
