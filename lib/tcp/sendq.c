/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The send queue: one stream of bytes in mbufs that are never changed and never given to a driver,
 * and the records of what of it is in flight.
 *
 * Each transmission is a header mbuf of ours, followed by indirect mbufs on the payload (or a copy
 * of it when it is short). So a retransmission needs no copy, and a driver may hold what it sends
 * for as long as it likes. Records lie end to end from snd_una to snd_max; each knows where in the
 * queue its first byte is, so no search is ever needed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <tcp/tcp_int.h>

/* ---- bytes ---- */

/* Step over what holds no byte: a cursor is always at a byte, or NULL at the end. */
static void normalize(struct rte_mbuf **m, uint32_t *off)
{
	while (*m != NULL && *off >= (*m)->data_len) {
		*off -= (*m)->data_len;
		*m = (*m)->next;
	}
}

void sl_sendq_append(struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf *chain,
    uint32_t len, uint32_t flags)
{
	struct rte_mbuf *last = chain->next == NULL ? chain : rte_pktmbuf_lastseg(chain);

	if (c->sndq_tail == NULL)
		c->sndq_head = chain;
	else
		c->sndq_tail->next = chain;
	c->sndq_tail = last;
	if (c->snd_m == NULL) {
		c->snd_m = chain;
		c->snd_off = 0;
		normalize(&c->snd_m, &c->snd_off);
	}
	c->sndq_bytes += len;
	if (flags & SLUICE_MSG_OOB) {
		c->snd_up = c->snd_una + c->sndq_bytes;
		/* The pointer leaves at once, in an ACK if nothing else may go (RFC 9293 3.8.5). */
		c->flags |= SL_C_URG_OUT | SL_C_ACK_NOW;
	}
	if (flags & SLUICE_MSG_MORE)
		c->flags |= SL_C_MSG_MORE;
	else
		c->flags &= ~SL_C_MSG_MORE;
}

/* Room behind the last byte of the queue: only in a buffer that is ours alone. */
static uint32_t tail_room(const struct sl_conn *c)
{
	const struct rte_mbuf *t = c->sndq_tail;

	if (t == NULL || !RTE_MBUF_DIRECT(t) || rte_mbuf_refcnt_read(t) != 1)
		return 0;
	return rte_pktmbuf_tailroom(t);
}

uint32_t sl_sendq_absorb(struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf **chain)
{
	struct rte_mbuf *t = c->sndq_tail, *m = *chain, *next;
	uint32_t total = m->pkt_len, segs = m->nb_segs, n = 0;

	for (; m != NULL && m->data_len <= sq->tun.tcp_copy_below && m->data_len <= tail_room(c);
	     m = next, segs--) {
		if (c->snd_m == NULL && m->data_len > 0) { /* all was sent: it goes on here */
			c->snd_m = t;
			c->snd_off = t->data_len;
		}
		memcpy(rte_pktmbuf_mtod_offset(t, char *, t->data_len),
		    rte_pktmbuf_mtod(m, const char *), m->data_len);
		t->data_len = (uint16_t)(t->data_len + m->data_len);
		n += m->data_len;
		next = m->next;
		m->next = NULL;
		m->nb_segs = 1;
		rte_pktmbuf_free_seg(m);
	}
	if (m != NULL) {
		m->pkt_len = total - n;
		m->nb_segs = (uint16_t)segs;
	}
	c->sndq_bytes += n;
	*chain = m;
	return n;
}

/* Of the queue, what was sent at least once. */
static uint32_t sent_bytes(const struct sl_conn *c)
{
	return RTE_MIN(c->snd_max - c->snd_una, c->sndq_bytes);
}

uint32_t sl_sendq_limit(const struct sl_conn *c)
{
	uint64_t most;

	if (SL_LIKELY(!(c->flags & SL_C_SPECIAL)) || c->opt->notsent_lowat == 0)
		return c->sndbuf;
	most = (uint64_t)sent_bytes(c) + c->opt->notsent_lowat;
	return (uint32_t)RTE_MIN(most, (uint64_t)c->sndbuf);
}

/* Has the buffer drained so far that a sender who waits is to go on? */
static bool drained(const struct sluice_squeue *sq, const struct sl_conn *c, uint32_t held)
{
	if (held > (uint64_t)c->sndbuf * sq->tun.tcp_sndbuf_clear / 100)
		return false;
	return !(c->flags & SL_C_SPECIAL) || c->opt->notsent_lowat == 0 || held < sl_sendq_limit(c);
}

void sl_sendq_moved(struct sluice_squeue *sq, struct sl_conn *c)
{
	atomic_store_explicit(
	    &sl_conn_door(sq, c)->pub.sndbuf, sl_sendq_limit(c), memory_order_relaxed);
	if (c->flags & SL_C_TXQ_FULL)
		sl_sendq_room(sq, c);
}

void sl_sendq_room(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_door *d = sl_conn_door(sq, c);
	uint32_t held = atomic_load_explicit(&d->queued, memory_order_relaxed) -
			atomic_load_explicit(&d->pub.credit, memory_order_relaxed);

	if ((c->flags & SL_C_TXQ_FULL) && drained(sq, c, held)) {
		c->flags &= ~SL_C_TXQ_FULL;
		sl_up(sq, c, SL_D_TXQ_CLEAR);
	}
}

/* Free the queue up to `bytes` further. */
static void drop_bytes(struct sl_conn *c, uint32_t bytes)
{
	c->sndq_head_off += bytes;
	while (c->sndq_head != NULL && c->sndq_head_off >= c->sndq_head->data_len) {
		struct rte_mbuf *m = c->sndq_head;

		c->sndq_head_off -= m->data_len;
		c->sndq_head = m->next;
		m->next = NULL;
		m->nb_segs = 1;
		rte_pktmbuf_free_seg(m);
	}
	if (c->sndq_head == NULL)
		c->sndq_tail = NULL;
}

void sl_sendq_acked(struct sluice_squeue *sq, struct sl_conn *c, uint32_t una)
{
	uint32_t bytes = una - c->snd_una;

	/* The FIN's number is the last one and no byte. */
	if ((c->flags & SL_C_FIN_SENT) && una == c->snd_max && bytes > 0)
		bytes--;
	c->snd_una = una;
	if (bytes == 0)
		return;
	c->sndq_bytes -= bytes;
	drop_bytes(c, bytes);
	sl_sendq_give_credit(sq, c, bytes);
	if ((c->flags & SL_C_URG_OUT) && seq_ge(una, c->snd_up))
		c->flags &= ~SL_C_URG_OUT;
	if (SL_UNLIKELY(c->flags & SL_C_SPECIAL))
		sl_sendq_moved(sq, c);
	else if (c->flags & SL_C_TXQ_FULL)
		sl_sendq_room(sq, c);
}

void sl_sendq_clear(struct sluice_squeue *sq, struct sl_conn *c)
{
	while (c->rec_head != NULL)
		sl_rec_unlink(sq, c, c->rec_head);
	c->pipe_sacked = c->pipe_lost = 0;
	if (c->sndq_bytes > 0)
		sl_sendq_give_credit(sq, c, c->sndq_bytes);
	rte_pktmbuf_free(c->sndq_head);
	c->sndq_head = c->sndq_tail = c->snd_m = NULL;
	c->sndq_head_off = c->snd_off = c->sndq_bytes = 0;
}

static struct rte_mbuf *attach_piece(
    struct sluice_squeue *sq, struct rte_mbuf *m, uint32_t off, uint32_t n)
{
	struct rte_mbuf *mi = rte_pktmbuf_alloc(sq->stack->params.hdr_pool);

	if (mi == NULL)
		return NULL;
	rte_pktmbuf_attach(mi, m);
	mi->data_off = (uint16_t)(m->data_off + off);
	mi->data_len = (uint16_t)n;
	return mi;
}

static inline void copy_bytes(
    struct rte_mbuf *hdr, const struct rte_mbuf *m, uint32_t off, uint32_t len)
{
	uint8_t *to = rte_pktmbuf_mtod_offset(hdr, uint8_t *, hdr->data_len);

	hdr->data_len = (uint16_t)(hdr->data_len + len);
	hdr->pkt_len += len;
	while (len > 0) {
		uint32_t n = RTE_MIN(len, m->data_len - off);

		memcpy(to, rte_pktmbuf_mtod_offset(m, const uint8_t *, off), n);
		to += n;
		len -= n;
		off = 0;
		m = m->next;
	}
}

int sl_sendq_attach(struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf *hdr,
    struct rte_mbuf *m, uint32_t off, uint32_t len)
{
	struct rte_mbuf *tail = hdr;

	if (len == 0)
		return 0;
	if (len <= sq->tun.tcp_copy_below && len <= rte_pktmbuf_tailroom(hdr)) {
		copy_bytes(hdr, m, off, len);
		return 0;
	}
	for (; len > 0; m = m->next, off = 0) {
		uint32_t n = RTE_MIN(len, m->data_len - off);

		if (n == 0)
			continue;
		tail->next = attach_piece(sq, m, off, n);
		if (tail->next == NULL) {
			SL_COUNT(sq, port_tx_nomem);
			return -ENOBUFS; /* the caller frees header and pieces */
		}
		tail = tail->next;
		hdr->nb_segs++;
		hdr->pkt_len += n;
		len -= n;
	}
	return 0;
}

/* ---- records ---- */

#define SPARE 64u /* records */

/* Not cleared, but for its index. */
static inline struct sl_rec *rec_get(struct sluice_squeue *sq)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_rec *r = t->rec_spare;
	uint32_t idx;

	if (SL_LIKELY(r != NULL)) {
		t->rec_spare = r->next;
		t->nrec_spare--;
		return r;
	}
	r = sl_slab_alloc_raw(&t->recs, &idx);
	if (r == NULL)
		SL_COUNT(sq, tcp_rec_nomem);
	else
		r->idx = idx;
	return r;
}

static void rec_free(struct sl_tcp *t, struct sl_rec *r)
{
	if (r->idx == 0)
		free(r);
	else
		sl_slab_free(&t->recs, r->idx);
}

static inline void rec_put(struct sluice_squeue *sq, struct sl_rec *r)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	if (SL_UNLIKELY(t->nrec_spare >= SPARE)) {
		rec_free(t, r);
		return;
	}
	r->next = t->rec_spare;
	t->rec_spare = r;
	t->nrec_spare++;
}

void sl_rec_spare_free(struct sl_tcp *t)
{
	struct sl_rec *r;

	while ((r = t->rec_spare) != NULL) {
		t->rec_spare = r->next;
		rec_free(t, r);
	}
	t->nrec_spare = 0;
}

/* Copies of records that move: from the heap, with index 0. */
static struct sl_rec *copy_records(const struct sl_conn *c)
{
	struct sl_rec *first = NULL, **tail = &first;

	for (struct sl_rec *r = c->rec_head; r != NULL; r = r->next) {
		*tail = malloc(sizeof(**tail));
		if (*tail == NULL) {
			while ((r = first) != NULL) {
				first = r->next;
				free(r);
			}
			return NULL;
		}
		**tail = *r;
		(*tail)->idx = 0;
		(*tail)->next = NULL;
		tail = &(*tail)->next;
	}
	return first;
}

int sl_rec_unpin(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_rec *copy = copy_records(c), *prev = NULL, *next;

	if (copy == NULL && c->rec_head != NULL)
		return -ENOMEM;
	for (struct sl_rec *r = c->rec_head, *n = copy; r != NULL; r = next, n = n->next) {
		next = r->next;
		n->prev = prev;
		prev = n;
		if (c->sack_hint == r)
			c->sack_hint = n;
		if (c->lost_hint == r)
			c->lost_hint = n;
		rec_put(sq, r);
	}
	c->rec_head = copy;
	c->rec_tail = prev;
	return 0;
}

struct sl_rec *sl_rec_add(struct sluice_squeue *sq, struct sl_conn *c, uint32_t start, uint32_t end,
    struct rte_mbuf *m, uint32_t off, uint8_t flags)
{
	struct sl_rec *r = rec_get(sq);

	if (SL_UNLIKELY(r == NULL))
		return NULL;
	r->next = NULL;
	r->prev = c->rec_tail;
	r->start = start;
	r->end = end;
	r->sent_at = sq->now;
	r->delivered = c->delivered;
	r->m = m;
	r->off = off;
	r->flags = flags;
	r->xmits = 1;
	if (c->rec_tail != NULL)
		c->rec_tail->next = r;
	else
		c->rec_head = r;
	c->rec_tail = r;
	c->rec_n++;
	return r;
}

void sl_rec_unlink(struct sluice_squeue *sq, struct sl_conn *c, struct sl_rec *r)
{
	if (r->prev != NULL)
		r->prev->next = r->next;
	else
		c->rec_head = r->next;
	if (r->next != NULL)
		r->next->prev = r->prev;
	else
		c->rec_tail = r->prev;
	if (c->sack_hint == r)
		c->sack_hint = r->prev;
	if (c->lost_hint == r)
		c->lost_hint = r->next;
	c->rec_n--;
	rec_put(sq, r);
}

void sl_rec_trim(struct sl_conn *c, struct sl_rec *r, uint32_t at)
{
	r->off += at - r->start;
	r->start = at;
	normalize(&r->m, &r->off);
}

struct sl_rec *sl_rec_split(
    struct sluice_squeue *sq, struct sl_conn *c, struct sl_rec *r, uint32_t at)
{
	struct sl_rec *n = rec_get(sq);
	uint32_t idx;

	if (n == NULL)
		return NULL;
	idx = n->idx;
	*n = *r;
	n->idx = idx;
	n->prev = r;
	if (n->next != NULL)
		n->next->prev = n;
	else
		c->rec_tail = n;
	r->next = n;
	c->rec_n++;
	r->end = at;
	r->flags &= (uint8_t)~SL_REC_FIN; /* the FIN is at the end: the second half's */
	sl_rec_trim(c, n, at);
	return n;
}
