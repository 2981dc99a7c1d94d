/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * synch_enter and synch_exit: the squeue in the hands of another thread.
 *
 * The request is a call like any other, so it waits for its turn. The squeue hands itself over as
 * the last act of a pass: nothing is half done, no upcall is on the stack. On a polled squeue the
 * poller stays `owner` and is locked out by `holder`; it goes on taking packets off the NIC into
 * a backlog, which it alone touches, and which the first passes after the hold process before
 * anything newer of the same port. A squeue that nobody polls is given away altogether.
 *
 * The hand-over is the completion of the call (release; acquired by the waiting holder); the way
 * back is the store of `holder` (release; acquired by the next poll) or sl_unown. A counter field
 * has one writer at any time: the poller counts what is received, the holder everything else.
 */
#include "sq_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Hand over to the first who asked. After the completion the squeue is the other thread's. */
void sl_hold_grant(struct sluice_squeue *sq)
{
	struct sl_sq_priv *p = sq->priv;
	struct sl_call *c = &sq->stack->calls[p->enter];
	bool polled = p->polled;

	p->enter = __atomic_load_n(&c->next, __ATOMIC_RELAXED);
	sq->in_pass = true;
	sl_ctr_add(&p->st.tag_count[SL_OP_ENTER], 1);
	if (polled)
		atomic_store_explicit(&p->holder, c->args.a[0], memory_order_relaxed);
	else
		atomic_store_explicit(&sq->owner, c->args.a[0], memory_order_relaxed);
	sl_call_complete(sq, c, sq->id);
}

int sluice_squeue_synch_enter(struct sluice_stack *st, sluice_conn_t c, struct sluice_squeue **out)
{
	struct sluice_args args = {{sl_self()}};

	for (;;) {
		struct sl_door *d = sl_door_of(st, c);
		uint32_t id;
		int64_t rc;

		if (d == NULL || !sl_handle_live(st, c))
			return -EBADF;
		id = sl_door_owner(d);
		if (id == SL_NOBODY)
			id = SL_HANDLE_SQ(c);
		if (sl_on_squeue(st->sq[id]) ||
		    atomic_load_explicit(&st->sq[id]->owner, memory_order_relaxed) == sl_self())
			return -EDEADLK;
		/* Goes where the connection is, behind all that was asked of it before. */
		rc = sl_conn_call(st, SL_OP_ENTER, c, &args);
		if (rc < 0)
			return (int)rc;
		id = (uint32_t)rc;
		sl_self_add(1);
		st->sq[id]->priv->hold_t0 = clock_ns();
		/* It may have ended, or moved, while this thread waited. */
		if (sl_handle_live(st, c) && sl_door_owner(d) == id) {
			*out = st->sq[id];
			return 0;
		}
		sluice_squeue_synch_exit(st->sq[id]);
	}
}

static void account(struct sluice_squeue *sq)
{
	uint64_t ns = clock_ns() - sq->priv->hold_t0;
	unsigned int bucket = ns == 0 ? 0 : 63 - (unsigned int)__builtin_clzll(ns);

	SL_COUNT(sq, sq_holds);
	sl_ctr_add(&sq->priv->st.hold_hist[bucket < 32 ? bucket : 31], 1);
	if (ns > sq->tun.sq_hold_warn) {
		SL_COUNT(sq, sq_holds_long);
		sl_log(&sq->stack->log, sq->now, SL_LOG_WARN,
		    "squeue %u was held for %" PRIu64 " us", sq->id, ns / 1000);
	}
}

void sluice_squeue_synch_exit(struct sluice_squeue *sq)
{
	struct sl_sq_priv *p = sq->priv;

	if (!sl_on_squeue(sq))
		return;
	sq->hooks->deferred(sq);
	sl_fwd_publish(sq);
	account(sq);
	sq->in_pass = false;
	if (atomic_load_explicit(&p->holder, memory_order_relaxed) != 0) {
		sl_self_add(-1);
		atomic_store_explicit(&p->holder, 0, memory_order_release);
	} else {
		sl_unown(sq);
	}
}

/* ---- the poller's side ---- */

static void backlog_put(struct sluice_squeue *sq, unsigned int port, struct rte_mbuf *m)
{
	struct sl_sq_priv *p = sq->priv;
	struct sl_backlog *b = &p->backlog[port];

	if (p->backlog_n >= sq->tun.sq_backlog) {
		SL_COUNT(sq, sq_backlog_drops);
		rte_pktmbuf_free(m);
		return;
	}
	SL_COUNT(sq, sq_backlog_pkts);
	sl_pkt_set_next(m, NULL);
	if (b->head == NULL)
		b->head = m;
	else
		sl_pkt_set_next(b->tail, m);
	b->tail = m;
	p->backlog_n++;
}

/* A poll during a hold: packets come off the NIC, nothing else happens. */
int sl_hold_poll(struct sluice_squeue *sq, uint64_t now, unsigned int budget)
{
	struct rte_mbuf *pkts[SL_RX_MAX];
	uint64_t burst = sq->tun.sq_rx_burst;

	if (now > sq->priv->poll_now)
		sq->priv->poll_now = now;
	for (unsigned int port = 0; port < sq->nports; port++) {
		unsigned int step = sq->stack->params.nsqueues;

		if (sq->port[port].queue < 0)
			continue;
		for (unsigned int q = sq->id; q < sq->priv->nqueues[port]; q += step) {
			for (unsigned int got = 0; got < budget;) {
				unsigned int ask = budget - got < burst ? budget - got : burst;
				unsigned int n = sl_rx_burst(
				    sq, port, (uint16_t)q, pkts, ask, sq->priv->poll_now);

				for (unsigned int i = 0; i < n; i++)
					backlog_put(sq, port, pkts[i]);
				got += n;
				if (n < ask)
					break;
			}
		}
	}
	return -EBUSY;
}

unsigned int sl_backlog_take(
    struct sluice_squeue *sq, unsigned int port, struct rte_mbuf **pkts, unsigned int n)
{
	struct sl_backlog *b = &sq->priv->backlog[port];
	unsigned int got = 0;

	while (got < n && b->head != NULL) {
		pkts[got++] = b->head;
		b->head = sl_pkt_next(b->head);
	}
	sq->priv->backlog_n -= got;
	return got;
}
