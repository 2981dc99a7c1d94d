/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How work of other threads reaches a squeue.
 *
 * One list per squeue, of 32-bit ids: doors of connections and call slots. A producer links its id
 * in front with one compare-and-swap; the squeue takes the whole list with one exchange and turns
 * it round. So entries of one producer run in the order in which they were made, whatever their
 * shape; a producer that is stopped in the middle has published nothing and holds up nobody; and
 * the list cannot be full: each id stands in at most one list, once. An id is pushed only by who
 * owns it (the thread that set SL_BELL_QUEUED in a door, or that allocated a call slot), and only
 * whole lists are taken, so there is no ABA.
 *
 * A door stands in the list once, so what is rung while it waits there runs at its earlier place:
 * it may overtake a post that the same producer made in between, and is never overtaken. A
 * synchronous call comes after all that its caller rang and posted, for the caller waits for it.
 *
 * Measured against the alternative, an SPSC ring per producer and squeue (test/bench/bench_entry.c;
 * 2 shared cores, everybody yields when idle; list / ring, ns an entry): one producer with 256 in
 * flight 9.6 / 9.8, two producers 9.9 / 24.0; one entry at a time there and back 1298 / 791 with
 * one producer, 1728 / 2021 with two, where the scheduler is most of it. The list needs no memory
 * per thread, no registration of threads, no overflow path, and one look per pass instead of one
 * per producer: it stayed, the ring went.
 *
 * A door's word holds generation, OPEN, and the bits that were rung. A thread with a stale handle
 * fails the comparison inside its own compare-and-swap, so it can never ring the slot's next life.
 *
 * Memory orders, by pair:
 *  - push (seq_cst, of which release is what the entry needs) / take (acquire): link, arguments,
 * and all that the producer wrote before. Sequential consistency: sleeping and unowned squeues.
 *  - ring (acq_rel) / run_door's fetch_and (acq_rel): what was written before a ring is seen by the
 *    bell, also when the door stood in the list already; and the new ringer may overwrite the link
 *    only after the squeue has read it.
 *  - inbox push (release) / inbox take (acquire).
 *  - call completion (exchange acq_rel) / wait (acquire): the result.
 */
#include "sq_priv.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <rte_pause.h>

long sl_futex(_Atomic uint32_t *word, int op, uint32_t val, uint64_t timeout_ns)
{
	struct timespec ts = {.tv_sec = (time_t)(timeout_ns / 1000000000),
	    .tv_nsec = (long)(timeout_ns % 1000000000)};

	return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, val,
	    timeout_ns == UINT64_MAX ? NULL : &ts, NULL, 0);
}

/* Only one producer of many pays for the system call: who turns the word from 1 to 0. */
void sl_sq_wake(struct sluice_squeue *sq)
{
	if (atomic_exchange(&sq->sleeping, 0) != 0)
		sl_futex(&sq->sleeping, FUTEX_WAKE, 1, UINT64_MAX);
}

/* ---- the list ---- */

/* Atomic access: a thread that lost the race for a free slot may still read the link of the
 * winner's. */
static inline uint32_t *link_of(struct sluice_squeue *sq, uint32_t id)
{
	if (id & SL_ID_CALL)
		return &sq->stack->calls[id & ~SL_ID_CALL].next;
	return &sq->doors[id].next;
}

static inline uint32_t link_get(struct sluice_squeue *sq, uint32_t id)
{
	return __atomic_load_n(link_of(sq, id), __ATOMIC_RELAXED);
}

static inline void link_set(struct sluice_squeue *sq, uint32_t id, uint32_t next)
{
	__atomic_store_n(link_of(sq, id), next, __ATOMIC_RELAXED);
}

static void push(struct sluice_squeue *sq, uint32_t id)
{
	uint32_t head = atomic_load_explicit(&sq->entries, memory_order_relaxed);

	do {
		link_set(sq, id, head);
	} while (!atomic_compare_exchange_weak_explicit(
	    &sq->entries, &head, id, memory_order_seq_cst, memory_order_relaxed));
	sl_sq_kick(sq);
}

/* Refill the run list, which is empty. False: there is nothing. */
static bool take(struct sluice_squeue *sq)
{
	uint32_t id, oldest = 0;

	if (atomic_load_explicit(&sq->entries, memory_order_relaxed) == 0)
		return false;
	id = atomic_exchange_explicit(&sq->entries, 0, memory_order_acquire);
	while (id != 0) {
		uint32_t next = link_get(sq, id);

		link_set(sq, id, oldest);
		oldest = id;
		id = next;
	}
	sq->priv->run = oldest;
	return true;
}

/* ---- doors ---- */

#define GEN(word) ((uint32_t)((word) >> 32))

int sl_ring(struct sluice_stack *st, sluice_conn_t c, uint32_t bits)
{
	struct sl_door *d = sl_door_of(st, c);
	uint64_t w;

	if (d == NULL)
		return -EBADF;
	w = atomic_load_explicit(&d->word, memory_order_relaxed);
	do {
		if (GEN(w) != SL_HANDLE_GEN(c) || (w & SL_BELL_OPEN) == 0)
			return -EBADF;
		if ((w & bits & (SL_BELL_CLOSED_ONCE | SL_BELL_ABORTED_ONCE)) != 0)
			return -EALREADY;
	} while (!atomic_compare_exchange_weak_explicit(
	    &d->word, &w, w | bits | SL_BELL_QUEUED, memory_order_acq_rel, memory_order_relaxed));
	if ((w & SL_BELL_QUEUED) == 0)
		push(st->sq[SL_HANDLE_SQ(c)], SL_HANDLE_IDX(c));
	return 0;
}

int sl_inbox_push(
    struct sluice_stack *st, sluice_conn_t c, struct rte_mbuf *chain, uint32_t len, uint32_t flags)
{
	struct sl_door *d = sl_door_of(st, c);
	uintptr_t head;

	if (d == NULL || !sl_handle_live(st, c))
		return -EBADF;
	SL_CHECK(len == rte_pktmbuf_pkt_len(chain));
	sl_pkt_word(chain)[0] = SL_HANDLE_GEN(c);
	sl_pkt_word(chain)[1] = flags;
	atomic_fetch_add_explicit(&d->queued, len, memory_order_relaxed);
	head = atomic_load_explicit(&d->inbox, memory_order_relaxed);
	do {
		sl_pkt_set_next(chain, (struct rte_mbuf *)head);
	} while (!atomic_compare_exchange_weak_explicit(
	    &d->inbox, &head, (uintptr_t)chain, memory_order_release, memory_order_relaxed));
	if (sl_ring(st, c, SL_BELL_DATA) == 0)
		return 0;
	/*
	 * The connection ended between check and push: the same to the caller as ending right after
	 * it. The door goes through the list once more, so that the squeue frees the chain.
	 */
	if ((atomic_fetch_or_explicit(&d->word, SL_BELL_QUEUED, memory_order_acq_rel) &
		SL_BELL_QUEUED) == 0)
		push(st->sq[SL_HANDLE_SQ(c)], SL_HANDLE_IDX(c));
	return 0;
}

/* All chains, oldest first; those of another generation are freed and taken out of `queued`. */
static struct rte_mbuf *inbox_take(struct sl_door *d, uint32_t gen, uint32_t *stale)
{
	struct rte_mbuf *m, *oldest = NULL;

	if (atomic_load_explicit(&d->inbox, memory_order_relaxed) == 0)
		return NULL;
	m = (struct rte_mbuf *)atomic_exchange_explicit(&d->inbox, 0, memory_order_acquire);
	while (m != NULL) {
		struct rte_mbuf *next = sl_pkt_next(m);

		if (SL_LIKELY(sl_pkt_word(m)[0] == gen)) {
			sl_pkt_set_next(m, oldest);
			oldest = m;
		} else {
			atomic_fetch_sub_explicit(
			    &d->queued, rte_pktmbuf_pkt_len(m), memory_order_relaxed);
			rte_pktmbuf_free(m);
			(*stale)++;
		}
		m = next;
	}
	return oldest;
}

struct rte_mbuf *sl_inbox_take(struct sluice_squeue *sq, uint32_t idx)
{
	struct sl_door *d = &sq->doors[idx];
	uint32_t stale = 0;
	struct rte_mbuf *m =
	    inbox_take(d, GEN(atomic_load_explicit(&d->word, memory_order_relaxed)), &stale);

	if (SL_UNLIKELY(stale != 0))
		SL_COUNT_N(sq, sq_stale, stale);
	return m;
}

/* Generation 0 is nobody's: everything is stale. */
void sl_inbox_free(struct sl_door *d)
{
	uint32_t stale = 0;

	inbox_take(d, 0, &stale);
}

uint32_t sl_door_open(struct sluice_squeue *sq, uint32_t idx)
{
	struct sl_door *d = &sq->doors[idx];
	uint64_t w = atomic_load_explicit(&d->word, memory_order_relaxed), n;

	SL_CHECK((w & SL_BELL_OPEN) == 0);
	if (idx > sq->priv->door_hi)
		sq->priv->door_hi = idx;
	sl_inbox_free(d);
	atomic_store_explicit(&d->owner, sq->id, memory_order_relaxed);
	atomic_store_explicit(&d->pub.credit,
	    atomic_load_explicit(&d->queued, memory_order_relaxed), memory_order_relaxed);
	/* QUEUED survives: the door may still stand in the list from its last life. */
	do {
		uint32_t gen = GEN(w) == 0 ? 1 : GEN(w);

		n = (uint64_t)gen << 32 | SL_BELL_OPEN | (w & SL_BELL_QUEUED);
	} while (!atomic_compare_exchange_weak_explicit(
	    &d->word, &w, n, memory_order_release, memory_order_relaxed));
	return GEN(n);
}

void sl_door_close(struct sluice_squeue *sq, uint32_t idx)
{
	struct sl_door *d = &sq->doors[idx];
	uint64_t w = atomic_load_explicit(&d->word, memory_order_relaxed), n;

	do {
		uint32_t gen = GEN(w) + 1 == 0 ? 1 : GEN(w) + 1;

		n = (uint64_t)gen << 32 | (w & SL_BELL_QUEUED);
	} while (!atomic_compare_exchange_weak_explicit(
	    &d->word, &w, n, memory_order_acq_rel, memory_order_relaxed));
	sl_inbox_free(d);
}

static void run_door(struct sluice_squeue *sq, uint32_t idx)
{
	struct sl_door *d = &sq->doors[idx];
	uint64_t w = atomic_fetch_and_explicit(
	    &d->word, ~(uint64_t)(SL_BELL_QUEUED | SL_BELL_ALL), memory_order_acq_rel);

	sl_ctr_add(&sq->priv->st.tag_count[SL_OP_DOOR], 1);
	if (SL_UNLIKELY((w & SL_BELL_OPEN) == 0)) {
		SL_COUNT(sq, sq_stale);
		sl_inbox_free(d);
	} else if ((w & SL_BELL_ALL) != 0) {
		sq->hooks->bell(sq, idx, (uint32_t)w & SL_BELL_ALL);
	}
}

/* What was rung before a synchronous operation on the connection runs before it. */
static void drain_door(struct sluice_squeue *sq, sluice_conn_t c)
{
	struct sl_door *d;
	uint64_t w;

	if (SL_HANDLE_SQ(c) != sq->id || !sl_handle_live(sq->stack, c))
		return;
	d = &sq->doors[SL_HANDLE_IDX(c)];
	if ((atomic_load_explicit(&d->word, memory_order_relaxed) & SL_BELL_ALL) == 0)
		return;
	/* QUEUED stays: only the turn of the door in the list takes it off. */
	w = atomic_fetch_and_explicit(&d->word, ~(uint64_t)SL_BELL_ALL, memory_order_acq_rel);
	sq->hooks->bell(sq, SL_HANDLE_IDX(c), (uint32_t)w & SL_BELL_ALL);
}

/* ---- call slots: a free list with a count against ABA, as threads of all kinds allocate ---- */

int sl_calls_init(struct sluice_stack *st)
{
	uint32_t n = (uint32_t)st->tun.sq_call_slots;

	st->calls = sl_sq_alloc(st, ((size_t)n + 1) * sizeof(struct sl_call));
	if (st->calls == NULL)
		return -ENOMEM;
	for (uint32_t i = 1; i < n; i++)
		st->calls[i].next = i + 1;
	atomic_store(&st->call_free, 1);
	return 0;
}

void sl_calls_fini(struct sluice_stack *st)
{
	sl_sq_free(st, st->calls, (st->tun.sq_call_slots + 1) * sizeof(struct sl_call));
	st->calls = NULL;
}

static uint32_t call_alloc(struct sluice_stack *st)
{
	uint64_t head = atomic_load_explicit(&st->call_free, memory_order_acquire), n;
	uint32_t slot;

	do {
		slot = (uint32_t)head;
		if (slot == 0) {
			atomic_fetch_add_explicit(&st->slots_empty, 1, memory_order_relaxed);
			return 0;
		}
		n = ((head >> 32) + 1) << 32 |
		    __atomic_load_n(&st->calls[slot].next, __ATOMIC_RELAXED);
	} while (!atomic_compare_exchange_weak_explicit(
	    &st->call_free, &head, n, memory_order_acquire, memory_order_acquire));
	return slot;
}

static void call_free(struct sluice_stack *st, uint32_t slot)
{
	uint64_t head = atomic_load_explicit(&st->call_free, memory_order_relaxed), n;

	do {
		__atomic_store_n(&st->calls[slot].next, (uint32_t)head, __ATOMIC_RELAXED);
		n = ((head >> 32) + 1) << 32 | slot;
	} while (!atomic_compare_exchange_weak_explicit(
	    &st->call_free, &head, n, memory_order_release, memory_order_relaxed));
}

int sl_calls_reserve(struct sluice_stack *st, unsigned int n, uint32_t *slots)
{
	for (unsigned int i = 0; i < n; i++) {
		slots[i] = call_alloc(st);
		if (slots[i] == 0) {
			sl_calls_unreserve(st, i, slots);
			return -ENOBUFS;
		}
	}
	return 0;
}

void sl_calls_unreserve(struct sluice_stack *st, unsigned int n, const uint32_t *slots)
{
	for (unsigned int i = 0; i < n; i++)
		call_free(st, slots[i]);
}

static struct sl_call *call_fill(struct sluice_stack *st, uint32_t slot, unsigned int tag,
    sluice_conn_t c, const struct sluice_args *args, bool async)
{
	struct sl_call *call = &st->calls[slot];

	call->tag = (uint16_t)tag;
	call->async = async;
	call->conn = c;
	if (args != NULL)
		call->args = *args;
	else
		memset(&call->args, 0, sizeof(call->args));
	atomic_store_explicit(&call->state, SL_CALL_POSTED, memory_order_relaxed);
	return call;
}

/* ---- posts ---- */

void sl_post_reserved(struct sluice_stack *st, unsigned int sq_id, uint32_t slot, unsigned int tag,
    sluice_conn_t c, const struct sluice_args *args)
{
	call_fill(st, slot, tag, c, args, true);
	push(st->sq[sq_id], SL_ID_CALL | slot);
}

int sl_post(struct sluice_stack *st, unsigned int sq_id, unsigned int tag, sluice_conn_t c,
    const struct sluice_args *args)
{
	uint32_t slot;

	if (sq_id >= st->nsq || tag >= SL_OP_MAX || tag == SL_OP_ENTER)
		return -EINVAL;
	slot = call_alloc(st);
	if (slot == 0)
		return -ENOBUFS;
	sl_post_reserved(st, sq_id, slot, tag, c, args);
	return 0;
}

int sluice_post(struct sluice_stack *st, unsigned int sq_id, int tag, sluice_conn_t c,
    const struct sluice_args *args)
{
	if (tag < 0 || (unsigned int)tag >= st->nops)
		return -EINVAL;
	return sl_post(st, sq_id, SL_OP_USER + (unsigned int)tag, c, args);
}

int sluice_post_conn(
    struct sluice_stack *st, int tag, sluice_conn_t c, const struct sluice_args *args)
{
	if (!sl_handle_live(st, c)) {
		atomic_fetch_add_explicit(&st->calls_stale, 1, memory_order_relaxed);
		return -EBADF;
	}
	return sluice_post(st,
	    atomic_load_explicit(&sl_door_of(st, c)->owner, memory_order_relaxed), tag, c, args);
}

/* ---- running ---- */

static int64_t run_op(
    struct sluice_squeue *sq, unsigned int tag, sluice_conn_t c, const struct sluice_args *args)
{
	static const struct sluice_args none;

	sl_ctr_add(&sq->priv->st.tag_count[tag], 1);
	if (args == NULL)
		args = &none;
	if (c != SLUICE_CONN_NONE)
		drain_door(sq, c);
	if (tag >= SL_OP_USER) {
		const struct sl_op_reg *op = &sq->stack->op[tag - SL_OP_USER];

		return op->fn(sq, c, args, op->arg);
	}
	return sq->hooks->op(sq, tag, c, args);
}

/* The caller may free the slot, and return, as soon as the state says DONE. */
void sl_call_complete(struct sluice_squeue *sq, struct sl_call *c, int64_t result)
{
	c->result = result;
	atomic_fetch_sub(&sq->priv->waiters, 1);
	if (atomic_exchange_explicit(&c->state, SL_CALL_DONE, memory_order_acq_rel) ==
	    SL_CALL_WAITED)
		sl_futex(&c->state, FUTEX_WAKE, 1, UINT64_MAX);
}

static void run_call(struct sluice_squeue *sq, uint32_t slot)
{
	struct sl_call *c = &sq->stack->calls[slot];
	struct sl_sq_priv *p = sq->priv;
	int64_t result;

	if (SL_UNLIKELY(c->tag == SL_OP_ENTER)) {
		/* Handed over at the end of the pass, when nothing is half done. */
		link_set(sq, SL_ID_CALL | slot, 0);
		if (p->enter == 0)
			p->enter = SL_ID_CALL | slot;
		else
			link_set(sq, p->enter_tail, SL_ID_CALL | slot);
		p->enter_tail = SL_ID_CALL | slot;
		return;
	}
	result = run_op(sq, c->tag, c->conn, &c->args);
	if (c->async) {
		call_free(sq->stack, slot);
	} else {
		SL_COUNT(sq, sq_calls_remote);
		sl_call_complete(sq, c, result);
	}
}

static void run_one(struct sluice_squeue *sq)
{
	uint32_t id = sq->priv->run;

	/* The link belongs to others once the entry has run. */
	sq->priv->run = link_get(sq, id);
	if (id & SL_ID_CALL)
		run_call(sq, id & ~SL_ID_CALL);
	else
		run_door(sq, id);
}

unsigned int sl_entries_run(struct sluice_squeue *sq, unsigned int budget)
{
	unsigned int n = 0;

	while (sq->priv->run != 0 || take(sq)) {
		if (n == budget) {
			SL_COUNT(sq, sq_budget_entries);
			break;
		}
		run_one(sq);
		n++;
	}
	if (n > 0)
		SL_COUNT_N(sq, sq_entries, n);
	return n;
}

/* All that stood in the list when this was called: what came before a synchronous call. */
void sl_entries_drain(struct sluice_squeue *sq)
{
	unsigned int n = 0;

	for (int round = 0; round < 2; round++) {
		for (; sq->priv->run != 0; n++)
			run_one(sq);
		if (round == 0 && !take(sq))
			break;
	}
	if (n > 0)
		SL_COUNT_N(sq, sq_entries, n);
}

/* Destroy: nothing runs. Returns how many calls there were; who waits is told. */
uint64_t sl_entries_cancel(struct sluice_squeue *sq)
{
	struct sl_sq_priv *p = sq->priv;
	uint64_t calls = 0;

	do {
		while (p->run != 0 || p->enter != 0) {
			uint32_t *list = p->run != 0 ? &p->run : &p->enter, id = *list;
			struct sl_call *c = &sq->stack->calls[id & ~SL_ID_CALL];

			*list = link_get(sq, id);
			if ((id & SL_ID_CALL) == 0)
				continue;
			calls++;
			if (c->async)
				call_free(sq->stack, id & ~SL_ID_CALL);
			else
				sl_call_complete(sq, c, -ECANCELED);
		}
	} while (take(sq));
	return calls;
}

/* ---- synchronous calls ---- */

static int64_t run_inline(
    struct sluice_squeue *sq, unsigned int tag, sluice_conn_t c, const struct sluice_args *args)
{
	bool nested = sq->in_pass;
	int64_t result;

	SL_COUNT(sq, sq_calls_inline);
	if (nested)
		return run_op(sq, tag, c, args);
	sq->in_pass = true;
	sl_entries_drain(sq);
	result = run_op(sq, tag, c, args);
	sq->hooks->deferred(sq);
	sl_fwd_publish(sq);
	sq->in_pass = false;
	return result;
}

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* The caller's side, on a thread that owns nothing. */
static void wait_done(struct sluice_squeue *sq, struct sl_call *c)
{
	struct sl_sq_priv *p = sq->priv;
	bool yield =
	    p->one_cpu || atomic_load_explicit(&p->idle, memory_order_relaxed) == SLUICE_IDLE_YIELD;
	uint64_t end = clock_ns() + __atomic_load_n(&sq->stack->tun.sq_spin, __ATOMIC_RELAXED);
	uint32_t state = SL_CALL_POSTED;

	do {
		for (int i = 0; i < 64; i++) {
			if (atomic_load_explicit(&c->state, memory_order_acquire) == SL_CALL_DONE)
				return;
			if (yield)
				sched_yield();
			else
				rte_pause();
		}
	} while (clock_ns() < end);
	atomic_compare_exchange_strong_explicit(
	    &c->state, &state, SL_CALL_WAITED, memory_order_acquire, memory_order_acquire);
	while (atomic_load_explicit(&c->state, memory_order_acquire) != SL_CALL_DONE)
		sl_futex(&c->state, FUTEX_WAIT, SL_CALL_WAITED, UINT64_MAX);
}

int64_t sl_synch_call(struct sluice_stack *st, unsigned int sq_id, unsigned int tag,
    sluice_conn_t c, const struct sluice_args *args)
{
	struct sluice_squeue *sq;
	struct sl_call *call;
	int64_t result;
	uint32_t slot;

	if (sq_id >= st->nsq || tag >= SL_OP_MAX)
		return -EINVAL;
	sq = st->sq[sq_id];
	if (sl_on_squeue(sq) && tag != SL_OP_ENTER)
		return run_inline(sq, tag, c, args);
	/* Nobody's squeue can be taken without waiting, by a thread that polls others too. */
	if (tag != SL_OP_ENTER && sl_try_own(sq)) {
		result = run_inline(sq, tag, c, args);
		sl_unown(sq);
		return result;
	}
	if (sl_thread_polls()) {
		atomic_fetch_add_explicit(&st->exdev, 1, memory_order_relaxed);
		return -EXDEV;
	}
	slot = call_alloc(st);
	if (slot == 0)
		return -ENOBUFS;
	call = call_fill(st, slot, tag, c, args, false);
	atomic_fetch_add(&sq->priv->waiters, 1);
	push(sq, SL_ID_CALL | slot);
	/* Push, then try; a leaving owner gives up, then looks: one of the two runs the entry. */
	if (sl_try_own(sq))
		sl_unown(sq);
	wait_done(sq, call);
	result = call->result;
	call_free(st, slot);
	return result;
}

int64_t sluice_synch_call(struct sluice_stack *st, unsigned int sq_id, int tag, sluice_conn_t c,
    const struct sluice_args *args)
{
	if (tag < 0 || (unsigned int)tag >= st->nops)
		return -EINVAL;
	return sl_synch_call(st, sq_id, SL_OP_USER + (unsigned int)tag, c, args);
}
