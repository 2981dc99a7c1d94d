/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pass: rx and input, entries, timers, application, output, tx; each with a budget, so that
 * none starves the next, and each with its counts. `now` is taken once and holds for the whole
 * pass.
 *
 * Statistics read the TSC once per idle pass, and once more after each stage that found work: a
 * stage that found nothing costs no reading, its few cycles go to the next one that did. Nothing
 * but statistics looks at the TSC.
 */
#include "sq_priv.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include <rte_cycles.h>
#include <rte_pause.h>
#include <rte_prefetch.h>

#define EVENTS_EVERY SLUICE_MS(100) /* of squeue 0: link, reset, removal */
#define DONE_CLEANUP_MASK 1023      /* idle passes between two calls of a driver's idle() */
#define SLEEP_AFTER 64              /* idle passes before the policy sleep sleeps */

struct pass {
	uint64_t t;        /* TSC of the last stage that found work */
	unsigned int work; /* found so far */
};

static inline void stage_done(
    struct sluice_squeue *sq, struct pass *ps, enum sluice_stage s, unsigned int items)
{
	uint64_t t;

	if (SL_LIKELY(items == 0))
		return;
	t = rte_rdtsc();
	sl_ctr_add(&sq->priv->st.stage_items[s], items);
	sl_ctr_add(&sq->priv->st.stage_cycles[s], t - ps->t);
	ps->t = t;
}

/* ---- receive ---- */

unsigned int sl_rx_burst(struct sluice_squeue *sq, unsigned int port, uint16_t q,
    struct rte_mbuf **pkts, unsigned int n, uint64_t now)
{
	const struct sluice_driver *d = &sq->port[port].drv;
	unsigned int got = d->ops->rx(d->ctx, q, pkts, (uint16_t)n, now);
	uint64_t bytes = 0;

	if (SL_LIKELY(got == 0))
		return 0;
	for (unsigned int i = 0; i < got; i++) {
		bytes += pkts[i]->pkt_len;
		rte_prefetch0(rte_pktmbuf_mtod(pkts[i], void *));
	}
	SL_COUNT_N(sq, port_rx_pkts, got);
	SL_COUNT_N(sq, port_rx_bytes, bytes);
	return got;
}

void sl_feed(struct sluice_squeue *sq, unsigned int port, struct rte_mbuf **pkts, unsigned int n,
    bool forwarded)
{
	for (unsigned int i = 0; i < n; i += SL_BURST)
		sq->hooks->input(
		    sq, port, pkts + i, n - i < SL_BURST ? n - i : SL_BURST, forwarded);
}

/* One driver queue. What a hold left over comes first, for it is older. */
static void rx_queue(struct sluice_squeue *sq, struct pass *ps, unsigned int port, unsigned int q,
    unsigned int budget)
{
	struct rte_mbuf *pkts[SL_RX_MAX];
	unsigned int burst = (unsigned int)sq->tun.sq_rx_burst, got = 0;

	while (got < budget) {
		unsigned int ask = budget - got < burst ? budget - got : burst, n;

		if (SL_UNLIKELY(sq->priv->backlog[port].head != NULL))
			n = sl_backlog_take(sq, port, pkts, ask);
		else
			n = sl_rx_burst(sq, port, (uint16_t)q, pkts, ask, sq->now);
		if (n == 0)
			break;
		stage_done(sq, ps, SLUICE_STAGE_RX, n);
		sl_feed(sq, port, pkts, n, false);
		stage_done(sq, ps, SLUICE_STAGE_INPUT, n);
		got += n;
		/* A short burst says empty; asking again would cost a look at the ring. */
		if (n < ask)
			break;
	}
	if (got >= budget)
		SL_COUNT(sq, sq_budget_rx);
	ps->work += got;
}

static void stage_rx(struct sluice_squeue *sq, struct pass *ps, unsigned int budget)
{
	unsigned int step = sq->stack->params.nsqueues, n;

	for (unsigned int port = 0; port < sq->nports; port++)
		for (unsigned int q = sq->id; q < sq->priv->nqueues[port]; q += step)
			rx_queue(sq, ps, port, q, budget);
	if (step > 1) {
		n = sl_fwd_run(sq, budget);
		stage_done(sq, ps, SLUICE_STAGE_INPUT, n);
		ps->work += n;
	}
}

/* ---- ports ---- */

struct asked {
	struct sluice_stack *st;
	unsigned int port;
};

static void on_event(void *arg, enum sluice_port_event ev)
{
	struct asked *a = arg;
	struct sluice_stack *st = a->st;

	if (ev == SLUICE_PORT_RESET)
		(void)sluice_port_reset(st, a->port);
	atomic_fetch_add_explicit(&st->nports_changed, 1, memory_order_release);
}

/* Squeue 0 asks the drivers; all of them renew their copies when one of them had something. */
static void port_events(struct sluice_squeue *sq)
{
	struct sluice_stack *st = sq->stack;
	uint32_t seen;

	if (sq->id == 0 && sq->now >= sq->priv->events_at) {
		sq->priv->events_at = sq->now + EVENTS_EVERY;
		for (unsigned int i = 0; i < sq->nports; i++) {
			const struct sluice_driver *d = &sq->port[i].drv;
			struct asked a = {st, i};

			if (d->ops->events != NULL)
				d->ops->events(d->ctx, on_event, &a);
		}
	}
	seen = atomic_load_explicit(&st->nports_changed, memory_order_acquire);
	if (SL_LIKELY(seen == sq->priv->nports_seen))
		return;
	sq->priv->nports_seen = seen;
	for (unsigned int i = 0; i < sq->nports; i++) {
		struct sluice_port_info info = {.size = sizeof(info)};
		const struct sluice_driver *d = &sq->port[i].drv;

		if (d->ops->info(d->ctx, &info) == 0)
			sq->port[i].info = info;
	}
}

/* Drivers free what they sent when they send; an idle port must be told to. */
static void port_idle(struct sluice_squeue *sq)
{
	if ((sq->priv->idle_run++ & DONE_CLEANUP_MASK) != 64)
		return;
	for (unsigned int i = 0; i < sq->nports; i++) {
		const struct sl_sqport *p = &sq->port[i];

		if (p->queue >= 0 && p->drv.ops->idle != NULL)
			p->drv.ops->idle(p->drv.ctx, (uint16_t)p->queue);
	}
}

/* ---- the pass ---- */

static void run_pass(struct sluice_squeue *sq, struct pass *ps, unsigned int budget)
{
	const struct sluice_app *app = &sq->stack->app;
	unsigned int n, sent;
	int rc;

	stage_rx(sq, ps, budget);

	n = sl_entries_run(sq, (unsigned int)sq->tun.sq_entry_budget);
	stage_done(sq, ps, SLUICE_STAGE_ENTRIES, n);
	ps->work += n;

	n = sl_wheel_advance(&sq->wheel, sq->now, (uint32_t)sq->tun.sq_timer_budget);
	stage_done(sq, ps, SLUICE_STAGE_TIMERS, n);
	ps->work += n;

	n = 0;
	if (app->poll != NULL) {
		rc = app->poll(sq, app->arg);
		n = rc > 0 ? (unsigned int)rc : 0;
	}
	n += sq->hooks->deferred(sq);
	stage_done(sq, ps, SLUICE_STAGE_APP, n);
	ps->work += n;

	n = sq->hooks->output(sq, (unsigned int)sq->tun.sq_output_budget);
	if (n >= sq->tun.sq_output_budget)
		SL_COUNT(sq, sq_budget_output);
	stage_done(sq, ps, SLUICE_STAGE_OUTPUT, n);
	ps->work += n;
	/* Output makes upcalls too (local delivery, completions): none is left for another pass. */
	n = sq->hooks->deferred(sq);
	stage_done(sq, ps, SLUICE_STAGE_APP, n);
	ps->work += n;

	sent = sl_tx_flush(sq);
	sl_fwd_publish(sq);
	stage_done(sq, ps, SLUICE_STAGE_TX, sent);
	/* Packets of this pass were counted where they came from; older ones are work found now. */
	if (ps->work == 0)
		ps->work = sent;
}

/* First poll of this thread. */
static int start_polling(struct sluice_squeue *sq)
{
	struct sluice_stack *st = sq->stack;
	int rc = 0;

	if (!sl_try_own(sq))
		return -EBUSY;
	atomic_store(&st->running, true);
	sq->priv->polled = true;
	if (!sq->priv->inited && st->app.init != NULL) {
		sq->in_pass = true;
		rc = st->app.init(sq, st->app.arg);
		sq->in_pass = false;
	}
	if (rc < 0) {
		sluice_squeue_release(sq);
		return rc;
	}
	sq->priv->inited = true;
	return 0;
}

/* What is rare: squeues that nobody polls, squeues that this one looks after, and who asked for it. */
static __attribute__((noinline)) unsigned int after_pass(
    struct sluice_squeue *sq, unsigned int budget)
{
	struct sl_sq_priv *p = sq->priv;
	uint64_t handed = p->handed, t = rte_rdtsc();
	unsigned int work = 0;

	p->handed = 0;
	if (handed != 0)
		sl_handed_help(sq->stack, handed);
	if (atomic_load_explicit(&sq->wards, memory_order_relaxed) != 0)
		work = sl_wards_poll(sq, budget);
	if (work > 0) /* busy with others: they count it */
		p->tsc_busy += rte_rdtsc() - t;
	if (p->enter != 0) {
		work++;
		sl_hold_grant(sq);
	}
	return work;
}

int sluice_squeue_poll(struct sluice_squeue *sq, uint64_t now, unsigned int budget)
{
	struct sl_sq_priv *p = sq->priv;
	struct pass ps = {.t = 0, .work = 0};
	uint64_t start;
	int rc;

	if (SL_UNLIKELY(atomic_load_explicit(&sq->owner, memory_order_relaxed) != sl_self())) {
		rc = start_polling(sq);
		if (rc < 0)
			return rc;
	}
	if (budget == 0)
		budget = (unsigned int)sq->tun.sq_rx_budget;
	/* Acquires what the holder did, and released in synch_exit. */
	if (SL_UNLIKELY(atomic_load_explicit(&p->holder, memory_order_acquire) != 0))
		return sl_hold_poll(sq, now, budget);
	if (SL_UNLIKELY(sq->in_pass))
		return -EBUSY;
	if (now > p->poll_now)
		p->poll_now = now;
	if (p->poll_now > sq->now)
		sq->now = p->poll_now;

	start = ps.t = rte_rdtsc();
	if (SL_LIKELY(p->tsc_start != 0))
		sl_ctr_add(&p->st.idle_cycles, start - p->tsc_start - p->tsc_busy);
	sq->in_pass = true;
	port_events(sq);
	run_pass(sq, &ps, budget);
	SL_CHECK(sq->depth == 0);
	SL_COUNT(sq, sq_polls);
	if (ps.work == 0) {
		SL_COUNT(sq, sq_idle_polls);
		port_idle(sq);
	} else {
		p->idle_run = 0;
		sl_ctr_add(&p->st.busy_cycles, ps.t - start);
	}
	p->tsc_start = start;
	p->tsc_busy = ps.t - start;
	sq->in_pass = false;
	if (SL_UNLIKELY((p->handed | p->enter |
			    atomic_load_explicit(&sq->wards, memory_order_relaxed)) != 0))
		ps.work += after_pass(sq, budget);
	/* From here on the squeue may be a holder's. */
	return (int)ps.work;
}

uint64_t sluice_squeue_next(struct sluice_squeue *sq)
{
	struct sl_sq_priv *p = sq->priv;
	unsigned int step = sq->stack->params.nsqueues;
	uint64_t next;

	if (atomic_load_explicit(&p->holder, memory_order_acquire) != 0)
		return p->poll_now;
	if (sl_entries_pending(sq) || p->enter != 0 || p->fwd_todo != 0 || p->backlog_n != 0 ||
	    atomic_load_explicit(&p->fwd_pending, memory_order_relaxed) != 0 || sl_tx_staged(sq) ||
	    sq->hooks->pending(sq))
		return sq->now;
	next = sl_wheel_next(&sq->wheel);
	for (unsigned int i = 0; i < sq->nports; i++) {
		const struct sluice_driver *d = &sq->port[i].drv;

		for (unsigned int q = sq->id; d->ops->next != NULL && q < p->nqueues[i];
		     q += step) {
			uint64_t t = d->ops->next(d->ctx, (uint16_t)q);

			if (t < next)
				next = t;
		}
	}
	if (SL_UNLIKELY(atomic_load_explicit(&sq->wards, memory_order_relaxed) != 0))
		next = sl_wards_next(sq, next);
	return next < sq->now ? sq->now : next;
}

/* ---- pinned ---- */

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static bool parked(const struct sluice_squeue *sq)
{
	return atomic_load_explicit(&sq->state, memory_order_acquire) == SLUICE_SQUEUE_PARKED;
}

static void idle_policy(struct sluice_squeue *sq, enum sluice_idle idle, uint64_t now, int rc)
{
	if (idle == SLUICE_IDLE_SPIN)
		rte_pause();
	else if (idle == SLUICE_IDLE_YIELD || rc < 0 || sq->priv->idle_run < SLEEP_AFTER)
		sched_yield();
	else if (sq->priv->enter == 0)
		sl_idle_sleep(sq, now);
}

int sluice_squeue_run(struct sluice_squeue *sq, enum sluice_idle idle, const volatile int *stop,
    uint64_t (*clock)(void))
{
	bool owned = atomic_load_explicit(&sq->owner, memory_order_relaxed) == sl_self();
	bool left = false;
	int rc = 0;

	if ((unsigned int)idle > SLUICE_IDLE_SLEEP)
		return -EINVAL;
	if (clock == NULL)
		clock = clock_ns;
	atomic_store_explicit(&sq->priv->idle, idle, memory_order_relaxed);
	while (__atomic_load_n(stop, __ATOMIC_ACQUIRE) == 0 && !(left = parked(sq))) {
		uint64_t now = clock();

		rc = sluice_squeue_poll(sq, now, 0);
		if (rc > 0) {
			sl_idle_end(sq);
			continue;
		}
		if (rc < 0 && rc != -EBUSY)
			return rc;
		idle_policy(sq, idle, now, rc);
	}
	sl_idle_end(sq);
	/* A holder still has it: wait, for release must not pull it away. */
	while (!owned && (rc = sluice_squeue_release(sq)) == -EBUSY) {
		sched_yield();
		sluice_squeue_poll(sq, clock(), 0);
	}
	return left;
}
