/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Squeues that are parked, and who looks after them.
 *
 * Parking is about who does the work, not about who owns what. A parked squeue keeps its place in
 * everything: it is the address of the connections that were born there, its table says where their
 * packets go on to, its list takes entries, its half-open and TIME_WAIT entries end there. So nothing
 * has to be agreed upon between squeues, and unparking is only to stop. What changes: connections that
 * can leave do (lib/tcp/drain.c), those that begin here are handed over before anybody hears of them,
 * opens choose other squeues, and ports that can be told deliver elsewhere.
 *
 * What is left is little, and its lcore may go: while nobody owns a squeue that does not run, its
 * keeper polls it after its own pass, the next running squeue. It takes it and gives it back each time, as
 * a synchronous call would, so that whoever comes to poll again finds it free after at most one pass.
 * Entries, moves and forwarded packets show in the squeue's own words; what does not show (receive
 * queues, timers, output) is looked at when `look_at` is reached, at the latest every squeue.park_look.
 *
 * Who is whose keeper changes only with park and unpark, under the stack's mutex, after the states. Two
 * may believe it for a moment: the word `owner` decides.
 *
 * A producer that pushes to a parked squeue finds SL_SLEEP_PARKED in `sleeping` and wakes the keeper if that
 * one sleeps. The keeper says that it sleeps, and looks at its wards' lists afterwards: sequentially
 * consistent on both sides, so one of the two sees the other, as with a squeue's own list.
 */
#include "sq_priv.h"

#include <errno.h>

enum sluice_squeue_state sluice_squeue_state(const struct sluice_squeue *sq)
{
	/* Acquire: who sees PARKED sees what the drain left behind. */
	return (enum sluice_squeue_state)atomic_load_explicit(&sq->state, memory_order_acquire);
}

const char *sluice_squeue_state_name(enum sluice_squeue_state s)
{
	static const char *const name[] = {"running", "draining", "parked"};

	return (unsigned int)s < 3 ? name[s] : NULL;
}

/* ---- who runs, and who looks after whom: under the mutex ---- */

static unsigned int count_running(const struct sluice_stack *st)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < st->nsq; i++)
		n += sl_running(st, i);
	return n;
}

static void appoint(struct sluice_stack *st)
{
	uint64_t wards[SL_MAX_SQUEUES] = {0};

	for (unsigned int i = 0; i < st->nsq; i++) {
		unsigned int k = i;

		while (!sl_running(st, k))
			k = (k + 1) % st->nsq;
		atomic_store(&st->sq[i]->priv->keeper, k != i ? st->sq[k] : NULL);
		if (k != i)
			wards[k] |= 1ull << i;
	}
	for (unsigned int i = 0; i < st->nsq; i++)
		atomic_store(&st->sq[i]->wards, wards[i]);
}

/* Ports deliver to the squeues that run, where they can be told, and where one of these has a queue. */
static void spread(struct sluice_stack *st)
{
	for (unsigned int p = 0; p < st->nports; p++) {
		const struct sluice_driver *d = &st->port[p];
		unsigned int n = st->sq[0]->priv->nqueues[p];
		uint64_t queues = 0;

		if (d->ops->spread == NULL)
			continue;
		for (unsigned int q = 0; q < n; q++)
			if (sl_running(st, q % st->nsq))
				queues |= 1ull << q;
		if (queues != 0)
			(void)d->ops->spread(d->ctx, queues); /* else it is forwarded */
	}
}

static int change(struct sluice_stack *st, unsigned int id, bool park)
{
	struct sluice_squeue *sq = st->sq[id], *keeper;
	struct sluice_args args = {{park}};
	uint32_t slot;

	if (sl_running(st, id) != park)
		return -EALREADY;
	if (park && count_running(st) == 1)
		return -EBUSY;
	if (sl_calls_reserve(st, 1, &slot) < 0)
		return -ENOBUFS;
	atomic_store(&sq->state, park ? SLUICE_SQUEUE_DRAINING : SLUICE_SQUEUE_RUNNING);
	atomic_store(&sq->priv->look_at, 0);
	appoint(st);
	if (park)
		atomic_fetch_or(&sq->sleeping, SL_SLEEP_PARKED);
	else
		atomic_fetch_and(&sq->sleeping, ~(uint32_t)SL_SLEEP_PARKED);
	spread(st);
	/* Its keeper may sleep, and have gone to sleep when it had nobody to look after: all are told,
	 * for those of others have changed too. */
	sl_post_reserved(st, id, slot, SL_OP_PARK, SLUICE_CONN_NONE, &args);
	for (unsigned int i = 0; i < st->nsq; i++) {
		keeper = atomic_load(&st->sq[i]->priv->keeper);
		if (keeper != NULL)
			sl_sq_kick(keeper);
	}
	return 0;
}

static int change_locked(struct sluice_stack *st, unsigned int id, bool park)
{
	int rc;

	if (id >= st->nsq)
		return -EINVAL;
	if (!sl_thread_polls())
		pthread_mutex_lock(&st->lock);
	else if (pthread_mutex_trylock(&st->lock) != 0) /* an lcore waits for nobody */
		return -EAGAIN;
	rc = change(st, id, park);
	pthread_mutex_unlock(&st->lock);
	return rc;
}

int sluice_squeue_park(struct sluice_stack *st, unsigned int sq_id)
{
	return change_locked(st, sq_id, true);
}

int sluice_squeue_unpark(struct sluice_stack *st, unsigned int sq_id)
{
	return change_locked(st, sq_id, false);
}

void sl_park_done(struct sluice_squeue *sq)
{
	uint32_t draining = SLUICE_SQUEUE_DRAINING;

	/* Unless it is to run again meanwhile. Release: sluice_squeue_state. */
	atomic_compare_exchange_strong(&sq->state, &draining, SLUICE_SQUEUE_PARKED);
}

/* ---- the keeper's side ---- */

#define FOR_EACH_WARD(w, sq, mask)                                                                \
	for (uint64_t mask = atomic_load_explicit(&(sq)->wards, memory_order_acquire); mask != 0; \
	     mask &= mask - 1)                                                                    \
		for (struct sluice_squeue *w = (sq)->stack->sq[__builtin_ctzll(mask)]; w != NULL; \
		     w = NULL)

static bool shows(struct sluice_squeue *w)
{
	return atomic_load(&w->entries) != 0 || atomic_load(&w->arrivals) != 0 ||
	       atomic_load(&w->priv->fwd_pending) != 0;
}

/* Is it for this thread to poll? */
static bool free_to_take(const struct sluice_squeue *w)
{
	uintptr_t owner = atomic_load_explicit(&w->owner, memory_order_relaxed);

	return owner == 0 || (owner == sl_self() && w->priv->kept);
}

static unsigned int poll_ward(struct sluice_squeue *w, uint64_t now, unsigned int budget)
{
	struct sl_sq_priv *p = w->priv;
	uint64_t next;
	int rc;

	atomic_store_explicit(&p->look_at, now + w->tun.sq_park_look, memory_order_relaxed);
	rc = sluice_squeue_poll(w, now, budget);
	if (atomic_load_explicit(&w->owner, memory_order_relaxed) != sl_self())
		return 0; /* somebody was faster */
	SL_COUNT(w, sq_kept_polls);
	next = rc > 0 ? now : sluice_squeue_next(w);
	if (next < now + w->tun.sq_park_look)
		atomic_store_explicit(&p->look_at, next, memory_order_relaxed);
	/* Who was handed it by synch_enter has it of the one that polls: not to be given back yet. */
	p->kept = true;
	if (atomic_load_explicit(&p->holder, memory_order_acquire) == 0) {
		p->kept = false;
		(void)sluice_squeue_release(w);
	}
	return rc > 0 ? (unsigned int)rc : 0;
}

unsigned int sl_wards_poll(struct sluice_squeue *sq, unsigned int budget)
{
	uint64_t now = sq->priv->poll_now;
	unsigned int work = 0;

	FOR_EACH_WARD(w, sq, mask)
	{
		if (!free_to_take(w))
			continue;
		if (shows(w) ||
		    now >= atomic_load_explicit(&w->priv->look_at, memory_order_relaxed))
			work += poll_ward(w, now, budget);
	}
	return work;
}

uint64_t sl_wards_next(struct sluice_squeue *sq, uint64_t next)
{
	FOR_EACH_WARD(w, sq, mask)
	{
		uint64_t t;

		if (!sl_try_own(w))
			continue;
		t = sluice_squeue_next(w);
		/* What is promised here must be kept by the poll at that time. */
		if (t < atomic_load_explicit(&w->priv->look_at, memory_order_relaxed))
			atomic_store_explicit(&w->priv->look_at, t, memory_order_relaxed);
		sl_unown(w);
		if (t < next)
			next = t;
	}
	return next;
}

bool sl_wards_pending(struct sluice_squeue *sq)
{
	bool any = false;

	FOR_EACH_WARD(w, sq, mask)
	any |= free_to_take(w) && shows(w);
	return any;
}
