/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transmit is staged per port and flushed once per pass: one burst per pass and port, however many
 * connections made the packets. What a driver does not take stays at the front of the stage; the
 * layers above see the room (sl_tx_room) shrink and hold data back, so that nothing is lost.
 *
 * Between squeues packets travel in SPSC rings, one per pair and kind: received packets to the
 * squeue that owns their connection, and packets to transmit to the squeue `via` that has a queue
 * of the port. They are separate, for a full transmit stage must not stop received packets. The
 * producer writes slots all through its pass and publishes at the end, with one store of `tail`
 * (release; the consumer acquires it) and one bit in the consumer's fwd_pending (sequentially
 * consistent: a sleeper looks at it after it has said that it sleeps). `head` goes the other way.
 */
#include "sq_priv.h"

#include <errno.h>
#include <string.h>

bool sl_tx_push(struct sluice_squeue *sq, unsigned int port, struct rte_mbuf *m)
{
	struct sl_txq *t = sq->port[port].txq;

	if (SL_UNLIKELY(t->n == SL_TXQ))
		return false;
	t->pkts[t->n++] = m;
	return true;
}

/* ---- rings ---- */

int sl_fwd_create(struct sluice_squeue *sq)
{
	struct sluice_stack *st = sq->stack;
	uint32_t n = 64;

	while (n < st->tun.sq_fwd_ring)
		n *= 2;
	for (unsigned int from = 0; from < st->params.nsqueues; from++) {
		for (int kind = 0; kind < SL_FWD_KINDS && from != sq->id; kind++) {
			struct sl_fwd_ring *r =
			    sl_sq_alloc(st, sizeof(*r) + n * sizeof(r->slot[0]));

			if (r == NULL) {
				sl_fwd_destroy(sq);
				return -ENOMEM;
			}
			r->mask = n - 1;
			sq->priv->fwd[kind][from] = r;
		}
	}
	return 0;
}

void sl_fwd_destroy(struct sluice_squeue *sq)
{
	for (unsigned int from = 0; from < SL_MAX_SQUEUES; from++) {
		for (int kind = 0; kind < SL_FWD_KINDS; kind++) {
			struct sl_fwd_ring *r = sq->priv->fwd[kind][from];

			if (r == NULL)
				continue;
			for (uint32_t h = atomic_load(&r->head); h != r->tail_local; h++)
				rte_pktmbuf_free(r->slot[h & r->mask].m);
			sl_sq_free(sq->stack, r, sizeof(*r) + (r->mask + 1) * sizeof(r->slot[0]));
			sq->priv->fwd[kind][from] = NULL;
		}
	}
}

static bool ring_put(struct sluice_squeue *sq, unsigned int to, enum sl_fwd_kind kind,
    unsigned int port, struct rte_mbuf *m)
{
	struct sl_fwd_ring *r = sq->stack->sq[to]->priv->fwd[kind][sq->id];

	if (r->tail_local - r->head_seen > r->mask) {
		r->head_seen = atomic_load_explicit(&r->head, memory_order_acquire);
		if (r->tail_local - r->head_seen > r->mask)
			return false;
	}
	r->slot[r->tail_local & r->mask].m = m;
	r->slot[r->tail_local & r->mask].port = port;
	r->tail_local++;
	sq->priv->fwd_dirty[kind] |= 1ull << to;
	return true;
}

void sl_forward(struct sluice_squeue *sq, unsigned int to, unsigned int port, struct rte_mbuf *m)
{
	SL_CHECK(to < sq->stack->nsq && to != sq->id);
	if (ring_put(sq, to, SL_FWD_RX, port, m)) {
		SL_COUNT(sq, sq_fwd_out);
	} else {
		SL_COUNT(sq, sq_fwd_drops);
		rte_pktmbuf_free(m);
	}
}

uint32_t sl_fwd_mark(struct sluice_squeue *sq, unsigned int to)
{
	return sq->stack->sq[to]->priv->fwd[SL_FWD_RX][sq->id]->tail_local;
}

bool sl_fwd_passed(struct sluice_squeue *sq, unsigned int from, uint32_t mark)
{
	struct sl_fwd_ring *r = sq->priv->fwd[SL_FWD_RX][from];

	return (int32_t)(atomic_load_explicit(&r->head, memory_order_relaxed) - mark) >= 0;
}

void sl_fwd_publish(struct sluice_squeue *sq)
{
	struct sl_sq_priv *p = sq->priv;
	uint64_t all = p->fwd_dirty[SL_FWD_RX] | p->fwd_dirty[SL_FWD_TX];

	if (SL_LIKELY(all == 0))
		return;
	for (; all != 0; all &= all - 1) {
		unsigned int to = (unsigned int)__builtin_ctzll(all);
		struct sluice_squeue *other = sq->stack->sq[to];

		for (int kind = 0; kind < SL_FWD_KINDS; kind++) {
			struct sl_fwd_ring *r = other->priv->fwd[kind][sq->id];

			if (p->fwd_dirty[kind] & 1ull << to)
				atomic_store_explicit(
				    &r->tail, r->tail_local, memory_order_release);
		}
		atomic_fetch_or(&other->priv->fwd_pending, 1ull << sq->id);
		sl_sq_kick(other);
	}
	memset(p->fwd_dirty, 0, sizeof(p->fwd_dirty));
}

/* Received packets of one sender, at most `budget`. */
static unsigned int take_rx(struct sluice_squeue *sq, unsigned int from, unsigned int budget)
{
	struct sl_fwd_ring *r = sq->priv->fwd[SL_FWD_RX][from];
	uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	uint32_t avail = atomic_load_explicit(&r->tail, memory_order_acquire) - head;
	unsigned int done = 0;

	if (avail > budget)
		avail = budget;
	sl_arrivals(sq);
	sq->from = (uint16_t)from;
	while (done < avail) {
		struct rte_mbuf *pkts[SL_BURST];
		uint64_t port = r->slot[head & r->mask].port;
		unsigned int n = 0;

		while (done < avail && n < SL_BURST && r->slot[head & r->mask].port == port) {
			pkts[n++] = r->slot[head++ & r->mask].m;
			done++;
		}
		/* The slots are free before the packets run: input may forward on its own. */
		atomic_store_explicit(&r->head, head, memory_order_release);
		SL_COUNT_N(sq, sq_fwd_in, n);
		sl_feed(sq, (unsigned int)port, pkts, n, true);
	}
	sq->from = sq->id;
	return done;
}

/* Packets to transmit, as long as there is room; the rest waits in the ring and fills it up. */
static unsigned int take_tx(struct sluice_squeue *sq, struct sl_fwd_ring *r)
{
	uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_acquire), n = 0;

	for (; head != tail; head++, n++) {
		unsigned int port = (unsigned int)r->slot[head & r->mask].port;

		if (sl_tx_room(sq, port) == 0)
			break;
		sl_tx_push(sq, port, r->slot[head & r->mask].m);
	}
	atomic_store_explicit(&r->head, head, memory_order_release);
	return n;
}

static bool ring_empty(const struct sl_fwd_ring *r)
{
	return atomic_load_explicit(&r->head, memory_order_relaxed) ==
	       atomic_load_explicit(&r->tail, memory_order_acquire);
}

unsigned int sl_fwd_run(struct sluice_squeue *sq, unsigned int budget)
{
	struct sl_sq_priv *p = sq->priv;
	unsigned int n = 0;
	uint64_t todo;

	if (atomic_load_explicit(&p->fwd_pending, memory_order_relaxed) != 0)
		p->fwd_todo |= atomic_exchange_explicit(&p->fwd_pending, 0, memory_order_acq_rel);
	for (todo = p->fwd_todo; todo != 0; todo &= todo - 1) {
		unsigned int from = (unsigned int)__builtin_ctzll(todo);
		struct sl_fwd_ring *rx = p->fwd[SL_FWD_RX][from], *tx = p->fwd[SL_FWD_TX][from];

		n += take_rx(sq, from, budget);
		n += take_tx(sq, tx);
		if (ring_empty(rx) && ring_empty(tx))
			p->fwd_todo &= ~(1ull << from);
	}
	return n;
}

/* ---- flush ---- */

static uint64_t bytes_of(struct rte_mbuf **pkts, unsigned int n)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < n; i++)
		sum += pkts[i]->pkt_len;
	return sum;
}

static unsigned int send_staged(struct sluice_squeue *sq, unsigned int i)
{
	struct sl_sqport *port = &sq->port[i];
	struct sl_txq *t = port->txq;
	unsigned int n = 0;
	uint64_t bytes;

	if (port->queue < 0) {
		while (n < t->n && ring_put(sq, port->via, SL_FWD_TX, i, t->pkts[n]))
			n++;
		SL_COUNT_N(sq, steer_tx, n);
		return n;
	}
	bytes = bytes_of(t->pkts, t->n);
	n = port->drv.ops->tx(port->drv.ctx, (uint16_t)port->queue, t->pkts, t->n, sq->now);
	SL_CHECK(n <= t->n);
	if (n > 0) {
		/* What was taken is the driver's and must not be looked at again. */
		SL_COUNT_N(sq, port_tx_pkts, n);
		SL_COUNT_N(sq, port_tx_bytes, bytes - bytes_of(t->pkts + n, t->n - n));
	}
	return n;
}

unsigned int sl_tx_flush(struct sluice_squeue *sq)
{
	unsigned int total = 0;

	for (unsigned int i = 0; i < sq->nports; i++) {
		struct sl_txq *t = sq->port[i].txq;
		unsigned int n;

		if (t->n == 0)
			continue;
		n = send_staged(sq, i);
		total += n;
		t->stuck = n < t->n;
		if (t->stuck) {
			SL_COUNT(sq, port_tx_full);
			memmove(t->pkts, t->pkts + n, (t->n - n) * sizeof(t->pkts[0]));
		}
		t->n = (uint16_t)(t->n - n);
	}
	return total;
}

bool sl_tx_staged(const struct sluice_squeue *sq)
{
	for (unsigned int i = 0; i < sq->nports; i++)
		if (sq->port[i].txq->n != 0)
			return true;
	return false;
}
