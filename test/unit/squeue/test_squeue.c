/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * squeues against a stack made by hand: hooks that record what reaches them, a driver that is a
 * pair of arrays. Everything that uses threads also runs under the thread sanitizer (suite tsan).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <stdlib.h>
#include <string.h>

#include <base/pkt.h>
#include <mpool.h>
#include <squeue/squeue_int.h>

/* ---- a driver: rx from an endless or counted source, tx that takes what it is told to ---- */

struct tdrv {
	struct rte_mempool *mp;
	_Atomic uint32_t rx_left; /* packets still to be received */
	uint32_t rx_seq, rx_calls;
	uint32_t tx_room;         /* packets that tx still takes */
	uint32_t tx_n, tx_expect; /* taken so far; they must come in order */
	uint64_t next;
};

static uint16_t tdrv_rx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct tdrv *d = ctx;
	uint16_t i = 0;

	d->rx_calls++;
	for (; i < n && atomic_load(&d->rx_left) > 0; i++) {
		pkts[i] = rte_pktmbuf_alloc(d->mp);
		assert_non_null(pkts[i]);
		memcpy(rte_pktmbuf_append(pkts[i], 4), &d->rx_seq, 4);
		d->rx_seq++;
		atomic_fetch_sub(&d->rx_left, 1);
	}
	return i;
}

static uint16_t tdrv_tx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct tdrv *d = ctx;
	uint16_t i = 0;

	for (; i < n && d->tx_room > 0; i++, d->tx_room--) {
		assert_int_equal(*rte_pktmbuf_mtod(pkts[i], uint32_t *), d->tx_expect);
		d->tx_expect++;
		d->tx_n++;
		rte_pktmbuf_free(pkts[i]);
	}
	return i;
}

static int tdrv_info(void *ctx, struct sluice_port_info *info)
{
	return 0;
}

static uint64_t tdrv_next(void *ctx, uint16_t q)
{
	return ((struct tdrv *)ctx)->next;
}

static const struct sluice_driver_ops tdrv_ops = {
    .size = sizeof(tdrv_ops),
    .name = "test",
    .rx = tdrv_rx,
    .tx = tdrv_tx,
    .info = tdrv_info,
    .next = tdrv_next,
};

/* ---- hooks and stack ---- */

#define MAXP 4

static struct fix {
	struct sluice_stack st;
	struct rte_mempool *mp;
	struct tdrv drv;
	uint32_t in_n, in_expect, in_fwd, in_order_errors; /* input hook */
	unsigned int in_max;
	int fwd_to; /* input forwards to this squeue, -1: frees */
	uint32_t bells, bell_bits, chains;
	uint64_t ops;
	uint32_t next_val[MAXP], next_chain[MAXP], chains_of[MAXP], fifo_errors, ran;
	uint64_t deferred_calls;
	uint32_t output_left;
	bool pending;
	sluice_conn_t c;
	uint32_t idx;
} * f;

static void h_input(
    struct sluice_squeue *sq, unsigned int port, struct rte_mbuf **pkts, unsigned int n, bool fwd)
{
	assert_true(n >= 1 && n <= SL_BURST);
	for (unsigned int i = 0; i < n; i++) {
		if (!fwd && f->fwd_to >= 0) {
			sl_forward(sq, (unsigned int)f->fwd_to, port, pkts[i]);
			continue;
		}
		if (*rte_pktmbuf_mtod(pkts[i], uint32_t *) != f->in_expect)
			f->in_order_errors++;
		f->in_expect++;
		f->in_n++;
		f->in_fwd += fwd;
		rte_pktmbuf_free(pkts[i]);
	}
	if (n > f->in_max)
		f->in_max = n;
}

static void h_data(struct sluice_squeue *sq, uint32_t idx, struct rte_mbuf *m, uint32_t flags)
{
	uint32_t v = *rte_pktmbuf_mtod(m, uint32_t *);

	if (v < f->next_chain[flags])
		f->fifo_errors++;
	f->next_chain[flags] = v + 1;
	f->chains_of[flags]++;
	f->chains++;
	rte_pktmbuf_free(m);
}

static void h_bell(struct sluice_squeue *sq, uint32_t idx, uint32_t bits)
{
	f->bells++;
	f->bell_bits |= bits;
}

/* Returns how many packets came in. */
static int64_t h_op(
    struct sluice_squeue *sq, enum sl_op op, sluice_conn_t c, const struct sluice_args *args)
{
	f->ops++;
	return f->in_n;
}

static unsigned int h_output(struct sluice_squeue *sq, unsigned int budget)
{
	unsigned int n = f->output_left < budget ? f->output_left : budget;

	f->output_left -= n;
	return n;
}

static unsigned int h_deferred(struct sluice_squeue *sq)
{
	f->deferred_calls++;
	return 0;
}

static bool h_pending(const struct sluice_squeue *sq)
{
	return f->pending;
}

static const struct sl_hooks hooks = {
    h_input, h_data, h_bell, h_op, h_output, h_deferred, h_pending};

/* a[0] producer, a[1] running number, a[2] its chains so far. Returns the number. */
static int64_t op_seq(
    struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *args, void *arg)
{
	assert_true(sl_on_squeue(sq));
	f->ran++;
	if (args->a[1] < f->next_val[args->a[0]])
		f->fifo_errors++;
	f->next_val[args->a[0]] = (uint32_t)args->a[1] + 1;
	/* chains that this producer handed in before */
	if (f->chains_of[args->a[0]] < args->a[2])
		f->fifo_errors++;
	return (int64_t)args->a[1];
}

static int seq_tag;

static void add_port(unsigned int nqueues)
{
	struct sluice_port_info info = {
	    .size = sizeof(info), .mtu = 1500, .nqueues = (uint16_t)nqueues};
	struct sluice_driver d = {&tdrv_ops, &f->drv};

	for (unsigned int i = 0; i < f->st.nsq; i++)
		assert_int_equal(sl_squeue_add_port(f->st.sq[i], f->st.nports, d, &info), 0);
	f->st.nports++;
}

static void make(unsigned int nsq)
{
	f = aligned_alloc(64, (sizeof(*f) + 63) & ~(size_t)63);
	memset(f, 0, sizeof(*f));
	f->mp = tp_create(256, 0);
	f->drv.mp = f->mp;
	f->drv.tx_room = UINT32_MAX;
	f->drv.next = UINT64_MAX;
	f->fwd_to = -1;
	f->st.params.nsqueues = nsq;
	f->st.params.max_connections = 64;
	sluice_tunables_default(&f->st.tun);
	f->st.tun.sq_call_slots = 64;
	f->st.tun.sq_fwd_ring = 64;
	f->st.tun.sq_spin = 1000;
	pthread_mutex_init(&f->st.lock, NULL);
	assert_int_equal(sl_calls_init(&f->st), 0);
	for (unsigned int i = 0; i < nsq; i++) {
		assert_int_equal(sl_squeue_create(&f->st, i, &hooks, &f->st.sq[i]), 0);
		f->st.nsq++;
	}
	seq_tag = sluice_op_register(&f->st, "seq", op_seq, NULL);
	assert_int_equal(seq_tag, 0);
	f->idx = 3;
	f->c = SL_HANDLE(0, 3, sl_door_open(f->st.sq[0], 3));
}

static uint64_t unmake(void)
{
	uint64_t calls = 0;

	for (unsigned int i = 0; i < f->st.nsq; i++)
		sl_squeue_destroy(f->st.sq[i], &calls);
	sl_calls_fini(&f->st);
	pthread_mutex_destroy(&f->st.lock);
	assert_int_equal(tp_destroy(f->mp), 0);
	free(f);
	f = NULL;
	return calls;
}

static void polls(unsigned int n)
{
	static uint64_t now;

	while (n-- > 0)
		assert_true(sluice_squeue_poll(f->st.sq[0], now += 1000, 0) >= 0);
}

static struct rte_mbuf *pkt(uint32_t v)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(f->mp);

	memcpy(rte_pktmbuf_append(m, 4), &v, 4);
	return m;
}

static struct sluice_counters sum(void)
{
	struct sluice_counters c;

	sluice_counters_sum(&f->st, &c);
	return c;
}

/* ---- one thread ---- */

static void doors(void **state)
{
	struct sluice_squeue *sq;
	sluice_conn_t old;

	make(1);
	sq = f->st.sq[0];
	assert_int_equal(sl_ring(&f->st, f->c, SL_BELL_SHUT_WR), 0);
	assert_int_equal(sl_ring(&f->st, f->c, SL_BELL_FLOWCTRL), 0);
	/* nothing came between: the same place */
	assert_int_equal(sl_ring(&f->st, f->c, SL_BELL_FLUSH), 0);
	assert_int_equal(sl_ring(&f->st, f->c, SL_BELL_FLOWCTRL), 0);
	assert_int_equal(sl_chain_push(&f->st, f->c, pkt(0), 4, 0), 0);
	assert_int_equal(sl_chain_push(&f->st, f->c, pkt(1), 4, 0), 0);
	assert_int_equal(atomic_load(&sq->doors[3].queued), 8);
	assert_int_equal(sl_ring(&f->st, f->c, SL_BELL_ROOM), 0); /* a place of its own */
	assert_true(sluice_squeue_next(sq) == sq->now);
	polls(1);
	assert_int_equal(f->bells, 3);
	assert_int_equal(
	    f->bell_bits, SL_BELL_SHUT_WR | SL_BELL_FLOWCTRL | SL_BELL_ROOM | SL_BELL_FLUSH);
	assert_int_equal(f->chains, 2);
	assert_int_equal(f->fifo_errors, 0);

	/* sticky close */
	assert_int_equal(sl_ring(&f->st, f->c, SL_BELL_CLOSE | SL_BELL_CLOSED_ONCE), 0);
	polls(1);
	assert_int_equal(sl_ring(&f->st, f->c, SL_BELL_CLOSE | SL_BELL_CLOSED_ONCE), -EALREADY);

	/* a life ends with chains and bits under way; the next one sees neither */
	old = f->c;
	assert_int_equal(sl_chain_push(&f->st, f->c, pkt(2), 4, 0), 0);
	sl_door_close(sq, 3);
	assert_false(sl_handle_live(&f->st, old));
	assert_false(sl_handle_live(&f->st, old + 1)); /* guessed, not opened yet */
	assert_int_equal(sl_ring(&f->st, old + 1, SL_BELL_ABORT), -EBADF);
	f->c = SL_HANDLE(0, 3, sl_door_open(sq, 3));
	assert_true(f->c != old && sl_handle_live(&f->st, f->c));
	assert_int_equal(sl_ring(&f->st, old, SL_BELL_ABORT), -EBADF);
	{
		struct rte_mbuf *m = pkt(9);

		assert_int_equal(sl_chain_push(&f->st, old, m, 4, 0), -EBADF);
		rte_pktmbuf_free(m);
	}
	f->bells = 0;
	polls(1);
	assert_int_equal(f->bells, 0);
	assert_int_equal(
	    (int32_t)(atomic_load(&sq->doors[3].queued) - atomic_load(&sq->doors[3].pub.credit)),
	    0);
	/* a door that was closed while it stood in the list */
	sl_ring(&f->st, f->c, SL_BELL_FLUSH);
	sl_door_close(sq, 3);
	polls(1);
	assert_int_equal(f->bells, 0);
	assert_int_equal(sum().sq_stale, 2); /* and the chain of the ended life */
	assert_null(sl_door_of(&f->st, SL_HANDLE(0, 65, 1)));
	assert_null(sl_door_of(&f->st, SL_HANDLE(1, 1, 1)));
	assert_null(sl_door_of(&f->st, SLUICE_CONN_NONE));
	sluice_squeue_release(sq);
	unmake();
}

static void calls(void **state)
{
	struct sluice_args a = {{0, 0}};
	uint32_t slots[64];

	make(2);
	assert_int_equal(sluice_post(&f->st, 0, 7, 0, &a), -EINVAL);
	assert_int_equal(sluice_post(&f->st, 2, seq_tag, 0, &a), -EINVAL);
	/* unowned: earlier entries first, then the call, here */
	for (; a.a[1] < 10; a.a[1]++)
		assert_int_equal(sluice_post(&f->st, 0, seq_tag, 0, &a), 0);
	assert_int_equal(sluice_synch_call(&f->st, 0, seq_tag, 0, &a), 10);
	assert_int_equal(f->ran, 11);
	assert_false(sl_thread_polls());
	assert_true(f->deferred_calls > 0);
	/* owner, between two polls */
	polls(1);
	assert_true(sl_thread_polls());
	a.a[1] = 11;
	assert_int_equal(sluice_post(&f->st, 0, seq_tag, 0, &a), 0);
	a.a[1] = 12;
	assert_int_equal(sluice_synch_call(&f->st, 0, seq_tag, 0, &a), 12);
	assert_int_equal(f->fifo_errors, 0);
	/* the door of the connection is drained before an operation on it */
	assert_int_equal(sl_chain_push(&f->st, f->c, pkt(13), 4, 0), 0);
	a.a[1] = 14;
	assert_int_equal(sluice_synch_call(&f->st, 0, seq_tag, f->c, &a), 14);
	assert_int_equal(f->chains, 1);
	assert_int_equal(f->fifo_errors, 0);
	/* another squeue from a thread that polls: not when somebody would have to answer, but
	 * nobody's can be taken */
	atomic_store(&f->st.sq[1]->owner, 1);
	assert_int_equal(sluice_synch_call(&f->st, 1, seq_tag, 0, &a), -EXDEV);
	atomic_store(&f->st.sq[1]->owner, 0);
	assert_int_equal(sum().sq_calls_exdev, 1);
	/* no slot; reserved ones still post */
	assert_int_equal(sl_calls_reserve(&f->st, 64, slots), 0);
	assert_int_equal(sluice_post(&f->st, 0, seq_tag, 0, &a), -ENOBUFS);
	assert_int_equal(sum().sq_call_slots_empty, 1);
	a.a[1] = 15;
	sl_post_reserved(&f->st, 0, slots[0], SL_OP_USER, 0, &a);
	sl_calls_unreserve(&f->st, 63, slots + 1);
	polls(1);
	assert_int_equal(f->fifo_errors, 0);
	assert_int_equal(f->ran, 15);
	assert_int_equal(sl_calls_reserve(&f->st, 64, slots), 0);
	assert_int_equal(sl_calls_reserve(&f->st, 1, slots), -ENOBUFS);
	sl_calls_unreserve(&f->st, 64, slots);
	/* stale handle */
	assert_int_equal(sluice_post_conn(&f->st, seq_tag, f->c + 1, &a), -EBADF);
	/* registration is over */
	assert_int_equal(sluice_op_register(&f->st, "late", op_seq, NULL), -EBUSY);
	assert_string_equal(sluice_tag_name(&f->st, SL_OP_USER), "seq");
	assert_string_equal(sluice_tag_name(&f->st, SL_OP_DOOR), "door");
	assert_null(sluice_tag_name(&f->st, SL_OP_USER + 1));
	/* destroy counts what never ran */
	sluice_squeue_release(f->st.sq[0]);
	for (int i = 0; i < 3; i++)
		assert_int_equal(sluice_post(&f->st, 1, seq_tag, 0, &a), 0);
	assert_int_equal(unmake(), 3);
}

static void budgets(void **state)
{
	struct sluice_args a = {{0, 0}};
	struct sluice_squeue_stats s;

	make(1);
	add_port(1);
	f->st.sq[0]->tun.sq_rx_budget = 40;
	f->st.sq[0]->tun.sq_entry_budget = 5;
	f->st.sq[0]->tun.sq_output_budget = 7;
	atomic_store(&f->drv.rx_left, 100);
	for (; a.a[1] < 12; a.a[1]++)
		sluice_post(&f->st, 0, seq_tag, 0, &a);
	f->output_left = 10;
	polls(1);
	assert_int_equal(f->in_n, 40);
	assert_int_equal(f->ran, 5);
	assert_int_equal(f->output_left, 3);
	polls(1);
	assert_int_equal(f->in_n, 80);
	assert_int_equal(f->ran, 10);
	polls(2);
	assert_int_equal(f->in_n, 100);
	assert_int_equal(f->ran, 12);
	assert_int_equal(f->fifo_errors + f->in_order_errors, 0);
	assert_int_equal(sum().sq_budget_rx, 2);
	assert_int_equal(sum().sq_budget_entries, 2);
	assert_int_equal(sum().sq_budget_output, 1);
	/* explicit budget, bursts larger than SL_BURST are handed over in pieces */
	f->st.sq[0]->tun.sq_rx_burst = 200;
	atomic_store(&f->drv.rx_left, 200);
	assert_int_equal(sluice_squeue_poll(f->st.sq[0], 0, 150), 150);
	assert_int_equal(f->in_max, SL_BURST);
	polls(2);
	assert_int_equal(sum().port_rx_pkts, 300);
	assert_int_equal(sum().port_rx_bytes, 1200);
	sluice_squeue_stats(f->st.sq[0], &s);
	assert_int_equal(s.stage_items[SLUICE_STAGE_RX], 300);
	assert_int_equal(s.stage_items[SLUICE_STAGE_ENTRIES], 12);
	assert_int_equal(s.tag_count[SL_OP_USER], 12);
	assert_int_equal(sluice_squeue_poll(f->st.sq[0], 0, 0), 0);
	assert_int_equal(sum().sq_idle_polls, 2);
	sluice_squeue_release(f->st.sq[0]);
	unmake();
}

static void time_and_next(void **state)
{
	struct sluice_squeue *sq;

	make(1);
	add_port(1);
	sq = f->st.sq[0];
	assert_int_equal(sluice_squeue_poll(sq, 5000, 0), 0);
	assert_int_equal(sluice_squeue_poll(sq, 4000, 0), 0);
	assert_int_equal(sluice_squeue_now(sq), 5000);
	assert_true(sluice_squeue_next(sq) == UINT64_MAX);
	f->drv.next = 7000;
	assert_true(sluice_squeue_next(sq) == 7000);
	f->drv.next = 10;
	assert_true(sluice_squeue_next(sq) == 5000);
	f->drv.next = UINT64_MAX;
	f->pending = true;
	assert_true(sluice_squeue_next(sq) == 5000);
	sluice_squeue_release(sq);
	assert_int_equal(sluice_squeue_release(sq), -EPERM);
	unmake();
}

static void tx_partial(void **state)
{
	struct sluice_squeue *sq;

	make(1);
	add_port(1);
	sq = f->st.sq[0];
	f->drv.tx_room = 0;
	for (uint32_t i = 0; i < SL_TXQ; i++) {
		assert_int_equal(
		    sl_tx_room(sq, 0), i < SL_TXQ - SL_TXQ_CTL ? SL_TXQ - SL_TXQ_CTL - i : 0);
		assert_true(sl_tx_push(sq, 0, pkt(i)));
	}
	struct rte_mbuf *over = pkt(0);

	assert_false(sl_tx_push(sq, 0, over));
	rte_pktmbuf_free(over);
	polls(1);
	assert_int_equal(f->drv.tx_n, 0);
	assert_true(sq->port[0].txq->stuck);
	assert_true(sluice_squeue_next(sq) == sq->now);
	while (f->drv.tx_n < SL_TXQ) {
		uint32_t before = f->drv.tx_n;

		f->drv.tx_room = 37;
		assert_true(sluice_squeue_poll(sq, 0, 0) > 0);
		assert_int_equal(f->drv.tx_n, before + 37 < SL_TXQ ? before + 37 : SL_TXQ);
	}
	assert_false(sq->port[0].txq->stuck);
	assert_int_equal(sum().port_tx_pkts, SL_TXQ);
	assert_int_equal(sum().port_tx_bytes, SL_TXQ * 4);
	assert_int_equal(sum().port_tx_full, 14);
	/* what is staged at destroy is freed */
	sl_tx_push(sq, 0, pkt(0));
	sluice_squeue_release(sq);
	unmake();
}

static void forwarding(void **state)
{
	struct sluice_squeue *a, *b;

	make(2);
	add_port(1); /* squeue 1 has no queue */
	a = f->st.sq[0];
	b = f->st.sq[1];
	assert_int_equal(b->port[0].queue, -1);
	assert_int_equal(b->port[0].via, 0);
	f->fwd_to = 1;
	atomic_store(&f->drv.rx_left, 50);
	sluice_squeue_poll(a, 0, 0);
	assert_int_equal(f->in_n, 0);
	assert_true(sluice_squeue_next(b) == b->now);
	assert_int_equal(sluice_squeue_poll(b, 0, 0), 50);
	assert_int_equal(f->in_n, 50);
	assert_int_equal(f->in_fwd, 50);
	assert_int_equal(f->in_order_errors, 0);
	assert_true(sluice_squeue_next(b) == UINT64_MAX);
	/* full ring: 64 fit, the rest is counted */
	atomic_store(&f->drv.rx_left, 100);
	sluice_squeue_poll(a, 0, 0);
	assert_int_equal(sum().sq_fwd_drops, 36);
	assert_int_equal(sum().sq_fwd_out, 114);
	sluice_squeue_poll(b, 0, 0);
	assert_int_equal(sum().sq_fwd_in, 114);
	/* transmit through the other: the ring is full, the stage keeps the rest, nothing is lost
	 */
	for (uint32_t i = 0; i < 200; i++)
		sl_tx_push(b, 0, pkt(i));
	for (int i = 0; i < 5; i++) {
		sluice_squeue_poll(b, 0, 0);
		sluice_squeue_poll(a, 0, 0);
	}
	assert_int_equal(f->drv.tx_n, 200);
	/* a port that takes nothing backs up through the ring to the sender */
	f->drv.tx_room = 0;
	for (uint32_t i = 0; i < 400; i++) {
		sl_tx_push(b, 0, pkt(200 + 2 * i));
		sl_tx_push(b, 0, pkt(201 + 2 * i));
		sluice_squeue_poll(b, 0, 0);
		sluice_squeue_poll(a, 0, 0);
	}
	assert_int_equal(a->port[0].txq->n, SL_TXQ - SL_TXQ_CTL);
	f->drv.tx_room = UINT32_MAX;
	for (int i = 0; i < 20; i++) {
		sluice_squeue_poll(b, 0, 0);
		sluice_squeue_poll(a, 0, 0);
	}
	assert_int_equal(f->drv.tx_n, 1000);
	/* left in the ring: freed by destroy */
	atomic_store(&f->drv.rx_left, 10);
	sluice_squeue_poll(a, 0, 0);
	sluice_squeue_release(a);
	sluice_squeue_release(b);
	unmake();
}

/* ---- application timers against a model ---- */

struct timer_model {
	sluice_timer_t h;
	uint64_t at;
	bool armed;
};
static uint32_t tm_fired;

static void tm_fn(struct sluice_squeue *sq, void *arg)
{
	struct timer_model *t = arg;

	assert_true(t->armed);
	assert_true(t->at <= sq->now);
	t->armed = false;
	tm_fired++;
	assert_int_equal(sluice_timer_stop(sq, t->h), -ENOENT);
}

static void app_timers(void **state)
{
	static struct timer_model t[100];
	struct sluice_squeue *sq;
	uint64_t now = 1000000;
	uint32_t seed = 3, armed = 0;
	sluice_timer_t h;

	make(1);
	sq = f->st.sq[0];
	assert_int_equal(sluice_timer_start(sq, 0, tm_fn, NULL, &h), -EPERM);
	assert_int_equal(sluice_squeue_poll(sq, now, 0), 0);
	sq->tun.app_timers = 60;
	memset(t, 0, sizeof(t));
	for (int i = 0; i < 20000; i++) {
		uint32_t r = (seed = seed * 1664525 + 1013904223) >> 8, k = r % 100;

		if ((r >> 8) % 4 == 0) {
			now += (r >> 10) % 300000;
			sluice_squeue_poll(sq, now, 0);
			armed = 0;
			for (int j = 0; j < 100; j++) {
				/* late by at most a tick */
				assert_true(!t[j].armed || t[j].at + SL_TICK_NS > now);
				armed += t[j].armed;
			}
			assert_int_equal(sl_app_timers(sq), armed);
		} else if (t[k].armed) {
			assert_int_equal(sluice_timer_stop(sq, t[k].h), 0);
			assert_int_equal(sluice_timer_stop(sq, t[k].h), -ENOENT);
			t[k].armed = false;
			armed--;
		} else {
			uint64_t at = now + (r >> 9) % 4000000;
			int rc = sluice_timer_start(sq, at, tm_fn, &t[k], &h);

			assert_int_equal(rc, armed < 60 ? 0 : -ENOBUFS);
			if (rc == 0) {
				assert_true(h != 0 && h != t[k].h);
				t[k] = (struct timer_model){h, at, true};
				armed++;
			}
		}
	}
	assert_true(tm_fired > 100);
	assert_int_equal(sluice_timer_stop(sq, 0), -ENOENT);
	assert_int_equal(sluice_timer_stop(sq, UINT64_MAX), -ENOENT);
	sluice_squeue_release(sq);
	unmake();
}

/* ---- hooks of the application ---- */

static int app_init_rc, app_inits, app_polls;

static int app_init(struct sluice_squeue *sq, void *arg)
{
	app_inits++;
	return app_init_rc;
}

static int app_poll(struct sluice_squeue *sq, void *arg)
{
	app_polls++;
	assert_int_equal(sluice_squeue_poll(sq, 0, 0), -EBUSY); /* no pass in a pass */
	assert_int_equal(sluice_squeue_release(sq), -EBUSY);
	return 2;
}

static void app_hooks(void **state)
{
	struct sluice_app app = {.size = sizeof(app), .init = app_init, .poll = app_poll};

	make(1);
	app_inits = app_polls = 0;
	app_init_rc = -ENOMEM;
	assert_int_equal(sluice_app_register(&f->st, &app), 0);
	assert_int_equal(sluice_app_register(&f->st, &app), -EBUSY);
	assert_int_equal(sluice_squeue_poll(f->st.sq[0], 0, 0), -ENOMEM);
	assert_false(sl_thread_polls());
	app_init_rc = 0;
	assert_int_equal(sluice_squeue_poll(f->st.sq[0], 0, 0), 2);
	assert_int_equal(sluice_squeue_poll(f->st.sq[0], 0, 0), 2);
	assert_int_equal(app_inits, 2);
	assert_int_equal(app_polls, 2);
	sluice_squeue_release(f->st.sq[0]);
	unmake();
}

/* ---- threads ---- */

static volatile int stop;
static _Atomic uint32_t producers_done;

struct runner {
	pthread_t t;
	enum sluice_idle idle;
	int rc;
};

static void *run_thread(void *arg)
{
	struct runner *r = arg;

	r->rc = sluice_squeue_run(f->st.sq[0], r->idle, &stop, NULL);
	return NULL;
}

static void run_start(struct runner *r, enum sluice_idle idle)
{
	__atomic_store_n(&stop, 0, __ATOMIC_RELEASE);
	r->idle = idle;
	pthread_create(&r->t, NULL, run_thread, r);
	while (atomic_load(&f->st.sq[0]->owner) == 0)
		sched_yield();
}

static void run_stop(struct runner *r)
{
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	pthread_join(r->t, NULL);
	assert_int_equal(r->rc, 0);
	assert_int_equal(atomic_load(&f->st.sq[0]->owner), 0);
}

#define PER_THREAD 3000

/*
 * Posts, chains and synchronous calls mixed. Calls run in order, chains run in order, and a call
 * never before a chain of the same producer that came earlier.
 */
static void *producer(void *arg)
{
	uint64_t who = (uintptr_t)arg;
	struct sluice_args a = {{who}};

	for (uint32_t i = 0; i < PER_THREAD; i++) {
		a.a[1] = i;
		a.a[2] = (i + 2) / 3;
		if (i % 3 == 0) {
			while (sl_chain_push(&f->st, f->c, pkt(i), 4, (uint32_t)who) != 0)
				sched_yield();
		} else if (i % 3 == 1) {
			int64_t rc;

			while ((rc = sluice_synch_call(&f->st, 0, seq_tag, f->c, &a)) == -ENOBUFS)
				sched_yield();
			if (rc != i)
				abort();
		} else {
			while (sluice_post(&f->st, 0, seq_tag, 0, &a) == -ENOBUFS)
				sched_yield();
		}
	}
	atomic_fetch_add(&producers_done, 1);
	return NULL;
}

static void fifo(enum sluice_idle idle, bool owned)
{
	struct runner r;
	pthread_t t[MAXP];

	make(1);
	if (owned)
		run_start(&r, idle);
	for (uintptr_t i = 0; i < MAXP; i++)
		pthread_create(&t[i], NULL, producer, (void *)i);
	for (int i = 0; i < MAXP; i++)
		pthread_join(t[i], NULL);
	if (owned)
		run_stop(&r);
	polls(1);
	assert_int_equal(f->fifo_errors, 0);
	for (int i = 0; i < MAXP; i++)
		assert_int_equal(f->next_val[i], PER_THREAD);
	assert_int_equal(f->chains, MAXP * PER_THREAD / 3);
	sluice_squeue_release(f->st.sq[0]);
	assert_int_equal(unmake(), 0);
}

static void fifo_yield(void **state)
{
	fifo(SLUICE_IDLE_YIELD, true);
}

static void fifo_sleep(void **state)
{
	fifo(SLUICE_IDLE_SLEEP, true);
}

static void fifo_unowned(void **state)
{
	fifo(SLUICE_IDLE_YIELD, false);
}

/* A sleeper that would sleep for ever but for its producers. */
static void sleep_wake(void **state)
{
	struct runner r;
	struct sluice_args a = {{0}};

	make(1);
	f->st.sq[0]->tun.sq_idle_sleep = f->st.sq[0]->tun.sq_idle_max = SLUICE_SEC(3600);
	run_start(&r, SLUICE_IDLE_SLEEP);
	for (uint32_t i = 0; i < 50; i++) {
		if (i % 2 == 0)
			while (atomic_load(&f->st.sq[0]->sleeping) == 0)
				sched_yield();
		a.a[1] = i;
		assert_int_equal(sluice_synch_call(&f->st, 0, seq_tag, 0, &a), i);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	a.a[1] = 50;
	assert_int_equal(sluice_synch_call(&f->st, 0, seq_tag, 0, &a), 50);
	run_stop(&r);
	assert_int_equal(f->fifo_errors, 0);
	assert_true(sum().sq_wakeups >= 1);
	assert_true(sum().sq_sleeps >= 1);
	unmake();
}

/* A hold while packets come in: below the bound none is lost, and order is kept. */
static void hold(uint32_t traffic, uint32_t bound, uint32_t lost)
{
	struct sluice_squeue *sq;
	struct sluice_squeue_stats s;
	struct sluice_args a = {{0}};
	struct runner r;
	uint32_t before, n = 0;

	make(2);
	add_port(1);
	f->st.sq[0]->tun.sq_backlog = bound;
	f->st.sq[0]->tun.sq_hold_warn = 1000;
	run_start(&r, SLUICE_IDLE_YIELD);
	assert_int_equal(sluice_post(&f->st, 0, seq_tag, 0, &a), 0);
	assert_int_equal(sluice_squeue_synch_enter(&f->st, f->c, &sq), 0);
	assert_ptr_equal(sq, f->st.sq[0]);
	assert_true(sl_on_squeue(sq));
	assert_int_equal(f->ran, 1); /* earlier entries have run */
	assert_int_equal(sluice_squeue_synch_enter(&f->st, f->c, &sq), -EDEADLK);
	atomic_store(&f->st.sq[1]->owner, 1);
	assert_int_equal(sluice_synch_call(&f->st, 1, seq_tag, 0, &a), -EXDEV);
	atomic_store(&f->st.sq[1]->owner, 0);
	before = f->in_n;
	atomic_store(&f->drv.rx_left, traffic);
	while (atomic_load(&f->drv.rx_left) != 0)
		sched_yield();
	a.a[1] = 1;
	assert_int_equal(sluice_synch_call(&f->st, 0, seq_tag, f->c, &a), 1); /* inline */
	{
		struct timespec ts = {0, 100000000};

		nanosleep(&ts, NULL);
	}
	assert_int_equal(f->in_n, before);
	sluice_squeue_synch_exit(sq);
	assert_false(sl_on_squeue(sq));
	a.a[1] = 2;
	assert_int_equal(sluice_synch_call(&f->st, 0, seq_tag, 0, &a), 2);
	while (sl_synch_call(&f->st, 0, SL_OP_MISC, 0, NULL) < (int64_t)(traffic - lost))
		sched_yield();
	run_stop(&r);
	assert_int_equal(f->in_n, traffic - lost);
	assert_int_equal(f->in_order_errors, 0);
	assert_int_equal(sum().sq_backlog_drops, lost);
	assert_int_equal(sum().sq_backlog_pkts, traffic - lost);
	assert_int_equal(sum().sq_holds, 1);
	assert_int_equal(sum().sq_holds_long, 1);
	sluice_squeue_stats(f->st.sq[0], &s);
	n = 0;
	for (int i = 0; i < 32; i++) {
		n += s.hold_hist[i];
		assert_true(i >= 26 || s.hold_hist[i] == 0); /* 100 ms or more */
	}
	assert_int_equal(n, 1);
	unmake();
}

static void hold_in_bound(void **state)
{
	hold(1000, 1000, 0);
}

static void hold_over_bound(void **state)
{
	hold(1000, 600, 400);
}

static uint32_t held;

/* Many holders, polled and not: mutual exclusion shows in a plain counter. */
static void *holder(void *arg)
{
	struct sluice_squeue *sq;

	for (int i = 0; i < 300; i++) {
		int rc = sluice_squeue_synch_enter(&f->st, f->c, &sq);

		if (rc != 0)
			abort();
		held++;
		if (i % 50 == 0)
			sched_yield();
		sluice_squeue_synch_exit(sq);
	}
	return NULL;
}

static void holders(bool owned)
{
	struct runner r;
	pthread_t t[4], p;

	make(1);
	held = 0;
	if (owned)
		run_start(&r, SLUICE_IDLE_YIELD);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, holder, NULL);
	pthread_create(&p, NULL, producer, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	pthread_join(p, NULL);
	if (owned)
		run_stop(&r);
	polls(1);
	assert_int_equal(held, 1200);
	assert_int_equal(sum().sq_holds, 1200);
	assert_int_equal(f->fifo_errors, 0);
	assert_int_equal(f->next_val[0], PER_THREAD);
	sluice_squeue_release(f->st.sq[0]);
	unmake();
}

static void holders_polled(void **state)
{
	holders(true);
}

static void holders_unowned(void **state)
{
	holders(false);
}

static void *other_poll(void *arg)
{
	*(int *)arg = sluice_squeue_poll(f->st.sq[0], 0, 0);
	return NULL;
}

static void hold_misuse(void **state)
{
	struct sluice_squeue *sq;
	pthread_t t;
	int rc = 0;

	make(1);
	assert_int_equal(sluice_squeue_synch_enter(&f->st, f->c + 1, &sq), -EBADF);
	polls(1);
	assert_int_equal(sluice_squeue_synch_enter(&f->st, f->c, &sq), -EDEADLK);
	pthread_create(&t, NULL, other_poll, &rc);
	pthread_join(t, NULL);
	assert_int_equal(rc, -EBUSY);
	sluice_squeue_release(f->st.sq[0]);
	/* nobody polls: given away whole, and others are kept out */
	assert_int_equal(sluice_squeue_synch_enter(&f->st, f->c, &sq), 0);
	pthread_create(&t, NULL, other_poll, &rc);
	pthread_join(t, NULL);
	assert_int_equal(rc, -EBUSY);
	sluice_squeue_synch_exit(sq);
	assert_false(sl_thread_polls());
	assert_int_equal(atomic_load(&sq->owner), 0);
	unmake();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(doors),
	    cmocka_unit_test(calls),
	    cmocka_unit_test(budgets),
	    cmocka_unit_test(time_and_next),
	    cmocka_unit_test(tx_partial),
	    cmocka_unit_test(forwarding),
	    cmocka_unit_test(app_timers),
	    cmocka_unit_test(app_hooks),
	    cmocka_unit_test(fifo_yield),
	    cmocka_unit_test(fifo_sleep),
	    cmocka_unit_test(fifo_unowned),
	    cmocka_unit_test(sleep_wake),
	    cmocka_unit_test(hold_in_bound),
	    cmocka_unit_test(hold_over_bound),
	    cmocka_unit_test(holders_polled),
	    cmocka_unit_test(holders_unowned),
	    cmocka_unit_test(hold_misuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
