/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How work of other threads reaches a squeue.
 *
 * One list per squeue, of chains to be sent, rings, and calls. A producer links its entry in front
 * with one compare-and-swap; the squeue takes the whole list with one exchange and turns it round.
 * So the list itself is the order: entries of one producer run in the order in which they were made
 * whatever their shape, and sends of several threads on one connection keep one order. A producer
 * that is stopped in the middle has published nothing and holds up nobody; and the list cannot be
 * full, for each entry brings its own memory: a chain its first mbuf, a ring the connection's door,
 * a call its slot. An entry is pushed only by who owns it, and only whole lists are taken, so there
 * is no ABA.
 *
 * A door has one node for each thing that is asked once in a connection's life, and one for the
 * rest, each with the bits that it carries. A node stands in the list once. What is rung while it
 * stands there behind nothing newer shares its place. Otherwise the ring goes as a call, which is
 * exact too; and when no call slot is free, the node runs a second time, at the end of the list:
 * never before what its producer made earlier, but maybe after something that it made later
 * (sq_rings_late). Only clr_flowctrl asked again and again, and a slot's next life, come to that.
 *
 * A thread on the squeue runs its calls at once. So that they keep the order with what it left in
 * the list (a send behind other threads' sends, a close), a call on a connection first runs what
 * stands in the list for that connection.
 *
 * Measured against the alternative, an SPSC ring per producer and squeue (test/bench/bench_entry.c;
 * 2 shared cores, everybody yields when idle; list / ring, ns an entry): one producer with 256 in
 * flight 9.6 / 9.8, two producers 9.9 / 24.0; one entry at a time there and back 1298 / 791 with
 * one producer, 1728 / 2021 with two, where the scheduler is most of it. The list needs no memory
 * per thread, no registration of threads, no overflow path, and one look per pass instead of one
 * per producer: it stayed, the ring went.
 *
 * What is asked of a connection always enters at the squeue where it was born, also when it has moved
 * since: that squeue hands entries on to the owner, in their order (mail.c). So there is one place
 * where their order is made, and a producer that was stopped between reading who the owner is and
 * its push cannot come too late. The owner's thread runs its own calls inline all the same.
 *
 * A door's word holds generation, OPEN, and the bits that were rung. A thread with a stale handle
 * fails the comparison inside its own compare-and-swap, so it can never ring the slot's next life.
 * A chain carries the generation, and is freed when that is over.
 *
 * Memory orders, by pair:
 *  - push (seq_cst, of which release is what the entry needs) / take (acquire): link, chain,
 *    arguments, and all that the producer wrote before. Sequential consistency: sleeping and
 *    unowned squeues.
 *  - ring (acq_rel) / run_node (acq_rel): what was written before a ring is seen by the bell, also
 *    when the node stood in the list already; and the new ringer may overwrite the link only after
 *    the squeue has read it.
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

/* ---- the list ---- */

/* The whole list, oldest first; 0: there is nothing. */
static sl_entry_t take(struct sluice_squeue *sq)
{
	sl_entry_t e, oldest = 0;

	if (atomic_load_explicit(&sq->entries, memory_order_relaxed) == 0)
		return 0;
	e = atomic_exchange_explicit(&sq->entries, 0, memory_order_acquire);
	while (e != 0) {
		uint64_t *link = sl_link_of(sq, e);
		sl_entry_t next = __atomic_load_n(link, __ATOMIC_RELAXED);

		__atomic_store_n(link, oldest, __ATOMIC_RELAXED);
		oldest = e;
		e = next;
	}
	sl_arrivals(sq);
	return oldest;
}

/* Refill the run list, which is empty. */
static inline bool refill(struct sluice_squeue *sq)
{
	return (sq->priv->run = take(sq)) != 0;
}

/* ---- doors ---- */

#define GEN(word) ((uint32_t)((word) >> 32))
#define QUEUED(node) ((uint64_t)SL_BELL_QUEUED << (node))
#define ALL_QUEUED (QUEUED(SL_NODES) - QUEUED(0))

static const uint32_t node_bits[SL_NODES] = {
    [SL_NODE_SHUT_WR] = SL_BELL_SHUT_WR,
    [SL_NODE_SHUT_RD] = SL_BELL_SHUT_RD,
    [SL_NODE_CLOSE] = SL_BELL_CLOSE,
    [SL_NODE_ABORT] = SL_BELL_ABORT,
    [SL_NODE_MISC] = SL_BELL_FLOWCTRL | SL_BELL_ROOM | SL_BELL_FLUSH,
};

static inline sl_entry_t node_entry(uint32_t idx, unsigned int node)
{
	return SL_ENTRY(idx | node << SL_ID_NODE);
}

static uint32_t call_alloc(struct sluice_stack *st);
static void post_conn(struct sluice_stack *st, uint32_t slot, unsigned int tag, sluice_conn_t c,
    const struct sluice_args *args);

/* No place of its own for this ring: the node, which waits, runs once more after its turn. */
static void ring_again(
    struct sluice_squeue *sq, struct sl_door *d, sluice_conn_t c, unsigned int node, uint32_t bits)
{
	uint64_t w = atomic_load_explicit(&d->word, memory_order_relaxed), n;

	do {
		if (GEN(w) != SL_HANDLE_GEN(c))
			return; /* as if it had ended right after the ring */
		n = w & QUEUED(node) ? w | (uint64_t)bits << SL_BELL_AGAIN
				     : w | bits | QUEUED(node);
	} while (!atomic_compare_exchange_weak_explicit(
	    &d->word, &w, n, memory_order_acq_rel, memory_order_relaxed));
	atomic_fetch_add_explicit(&sq->stack->rings_late, 1, memory_order_relaxed);
	if ((w & QUEUED(node)) == 0)
		sl_entry_push(sq, node_entry(SL_HANDLE_IDX(c), node), &d->node[node]);
}

/* The node stands in the list, with newer entries behind it. */
static void ring_late(
    struct sluice_squeue *sq, struct sl_door *d, sluice_conn_t c, unsigned int node, uint32_t bits)
{
	struct sluice_args args = {{bits}};
	uint32_t slot = call_alloc(sq->stack);

	if (slot != 0)
		post_conn(sq->stack, slot, SL_OP_DOOR, c, &args);
	else
		ring_again(sq, d, c, node, bits);
}

/* `once`: sticky bits that go with these, and must not have been set before. */
static int ring_node(struct sluice_squeue *sq, struct sl_door *d, sluice_conn_t c,
    unsigned int node, uint32_t bits, uint32_t once)
{
	sl_entry_t e = node_entry(SL_HANDLE_IDX(c), node);
	uint64_t w = atomic_load_explicit(&d->word, memory_order_relaxed), n;
	bool late;

	do {
		if (GEN(w) != SL_HANDLE_GEN(c) || (w & SL_BELL_OPEN) == 0)
			return -EBADF;
		if ((w & once) != 0)
			return -EALREADY;
		late = (w & QUEUED(node)) != 0 &&
		       atomic_load_explicit(&sq->entries, memory_order_relaxed) != e;
		n = w | once | (late ? SL_BELL_LATE : bits | QUEUED(node));
	} while (!atomic_compare_exchange_weak_explicit(
	    &d->word, &w, n, memory_order_acq_rel, memory_order_relaxed));
	if (SL_UNLIKELY(late))
		ring_late(sq, d, c, node, bits);
	else if ((w & QUEUED(node)) == 0)
		sl_entry_push(sq, e, &d->node[node]);
	return 0;
}

int sl_ring(struct sluice_stack *st, sluice_conn_t c, uint32_t bits)
{
	struct sl_door *d = sl_door_of(st, c);
	uint32_t once = bits & (SL_BELL_CLOSED_ONCE | SL_BELL_ABORTED_ONCE);
	int rc = 0;

	if (d == NULL)
		return -EBADF;
	for (unsigned int node = 0; node < SL_NODES && rc == 0; node++)
		if (bits & node_bits[node]) {
			rc = ring_node(
			    st->sq[SL_HANDLE_SQ(c)], d, c, node, bits & node_bits[node], once);
			once = 0;
		}
	return rc;
}

int sl_chain_push(
    struct sluice_stack *st, sluice_conn_t c, struct rte_mbuf *chain, uint32_t len, uint32_t flags)
{
	struct sl_door *d = sl_door_of(st, c);

	if (d == NULL || !sl_handle_live(st, c))
		return -EBADF;
	SL_CHECK(len == rte_pktmbuf_pkt_len(chain) && flags < 256);
	sl_pkt_word(chain)[0] = SL_HANDLE_GEN(c);
	sl_pkt_word(chain)[1] = SL_HANDLE_IDX(c) << 8 | flags;
	chain->port = (uint16_t)SL_HANDLE_SQ(c);
	atomic_fetch_add_explicit(&d->queued, len, memory_order_relaxed);
	sl_entry_push(st->sq[SL_HANDLE_SQ(c)], (uintptr_t)chain, &chain->tx_offload);
	return 0;
}

uint32_t sl_door_open(struct sluice_squeue *sq, uint32_t idx)
{
	struct sl_door *d = &sq->doors[idx];
	uint64_t w = atomic_load_explicit(&d->word, memory_order_relaxed), n;

	SL_CHECK((w & SL_BELL_OPEN) == 0);
	atomic_store_explicit(&d->owner, sq->id, memory_order_relaxed);
	/* Chains of an earlier life that are still in the list count until they are found. */
	atomic_store_explicit(&d->pub.credit, d->taken, memory_order_relaxed);
	/* QUEUED survives: nodes may still stand in the list from the last life. */
	do {
		uint32_t gen = GEN(w) == 0 ? 1 : GEN(w);

		n = (uint64_t)gen << 32 | SL_BELL_OPEN | (w & ALL_QUEUED);
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

		n = (uint64_t)gen << 32 | (w & ALL_QUEUED);
	} while (!atomic_compare_exchange_weak_explicit(
	    &d->word, &w, n, memory_order_acq_rel, memory_order_relaxed));
}

static void run_node(struct sluice_squeue *sq, sl_entry_t e)
{
	uint32_t birth = (uint32_t)(e >> SL_ENTRY_BIRTH), id = (uint32_t)(e >> 1);
	uint32_t idx = SL_NAME_IDX(id), node = id >> SL_ID_NODE;
	struct sl_door *d = sl_entry_door(sq, e);
	uint64_t mask = node_bits[node], again;
	uint64_t w, n;

	if (birth == 0 && SL_UNLIKELY(d->away != 0) && sl_mail_on(sq, d, e))
		return;
	w = atomic_load_explicit(&d->word, memory_order_relaxed);
	do {
		n = w & ~(mask | mask << SL_BELL_AGAIN | QUEUED(node));
		again = (w >> SL_BELL_AGAIN) & mask;
		if (SL_UNLIKELY(again != 0))
			n |= again | QUEUED(node);
	} while (!atomic_compare_exchange_weak_explicit(
	    &d->word, &w, n, memory_order_acq_rel, memory_order_relaxed));
	if (SL_UNLIKELY(again != 0)) /* where all that is new goes in */
		sl_entry_push(sq->stack->sq[birth ^ sq->id], node_entry(idx, node), &d->node[node]);
	sl_ctr_add(&sq->priv->st.tag_count[SL_OP_DOOR], 1);
	if (SL_UNLIKELY((w & SL_BELL_OPEN) == 0))
		SL_COUNT(sq, sq_stale);
	else if ((w & mask) != 0)
		sq->hooks->bell(sq, birth << 24 | idx, (uint32_t)(w & mask));
}

static void run_chain(struct sluice_squeue *sq, struct rte_mbuf *m)
{
	uint32_t idx = sl_pkt_word(m)[1] >> 8, len = rte_pktmbuf_pkt_len(m), birth = m->port;
	struct sl_door *d = &sq->doors[idx];
	uint64_t w;

	if (SL_UNLIKELY(birth != sq->id))
		d = &sq->stack->sq[birth]->doors[idx];
	else if (SL_UNLIKELY(d->away != 0) && sl_mail_on(sq, d, (uintptr_t)m))
		return;
	w = atomic_load_explicit(&d->word, memory_order_relaxed);
	sl_ctr_add(&sq->priv->st.tag_count[SL_OP_DATA], 1);
	d->taken += len;
	if (SL_LIKELY(GEN(w) == sl_pkt_word(m)[0] && (w & SL_BELL_OPEN) != 0)) {
		sq->hooks->data(sq, SL_NAME(sq, birth, idx), m, sl_pkt_word(m)[1] & 255);
		return;
	}
	SL_COUNT(sq, sq_stale);
	atomic_store_explicit(&d->pub.credit,
	    atomic_load_explicit(&d->pub.credit, memory_order_relaxed) + len, memory_order_release);
	rte_pktmbuf_free(m);
}

/* A ring that went as a call. */
static int64_t run_ring(struct sluice_squeue *sq, sluice_conn_t c, uint32_t bits)
{
	if (sl_handle_live(sq->stack, c) && sl_door_owner(sl_door_of(sq->stack, c)) == sq->id)
		sq->hooks->bell(sq, SL_NAME(sq, SL_HANDLE_SQ(c), SL_HANDLE_IDX(c)), bits);
	else
		SL_COUNT(sq, sq_stale);
	return 0;
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
	call->by_conn = false;
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
	sl_entry_push(st->sq[sq_id], SL_ENTRY(SL_ID_CALL | slot), &st->calls[slot].link);
}

/* To the squeue where the connection was born, which hands it on. */
static void post_conn(struct sluice_stack *st, uint32_t slot, unsigned int tag, sluice_conn_t c,
    const struct sluice_args *args)
{
	struct sl_call *call = call_fill(st, slot, tag, c, args, true);

	call->by_conn = true;
	sl_entry_push(st->sq[SL_HANDLE_SQ(c)], SL_ENTRY(SL_ID_CALL | slot), &call->link);
}

int sl_conn_post(
    struct sluice_stack *st, unsigned int tag, sluice_conn_t c, const struct sluice_args *args)
{
	uint32_t slot;

	if (!sl_handle_live(st, c))
		return -EBADF;
	slot = call_alloc(st);
	if (slot == 0)
		return -ENOBUFS;
	post_conn(st, slot, tag, c, args);
	return 0;
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
	if (tag < 0 || (unsigned int)tag >= st->nops)
		return -EINVAL;
	return sl_conn_post(st, SL_OP_USER + (unsigned int)tag, c, args);
}

/* ---- running ---- */

static int64_t run_op(
    struct sluice_squeue *sq, unsigned int tag, sluice_conn_t c, const struct sluice_args *args)
{
	static const struct sluice_args none;

	sl_ctr_add(&sq->priv->st.tag_count[tag], 1);
	if (args == NULL)
		args = &none;
	if (tag >= SL_OP_USER) {
		const struct sl_op_reg *op = &sq->stack->op[tag - SL_OP_USER];

		return op->fn(sq, c, args, op->arg);
	}
	if (SL_UNLIKELY(tag == SL_OP_DOOR))
		return run_ring(sq, c, (uint32_t)args->a[0]);
	if (SL_UNLIKELY(tag == SL_OP_PORT))
		return sl_port_op(sq, args);
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

	if (c->by_conn && SL_HANDLE_SQ(c->conn) == sq->id) {
		struct sl_door *d = &sq->doors[SL_HANDLE_IDX(c->conn)];

		if (SL_UNLIKELY(d->away != 0) && sl_mail_on(sq, d, SL_ENTRY(SL_ID_CALL | slot)))
			return;
	}
	if (SL_UNLIKELY(c->tag == SL_OP_ENTER)) {
		/* Handed over at the end of the pass, when nothing is half done. */
		__atomic_store_n(&c->next, 0, __ATOMIC_RELAXED);
		if (p->enter == 0)
			p->enter = slot;
		else
			__atomic_store_n(
			    &sq->stack->calls[p->enter_tail].next, slot, __ATOMIC_RELAXED);
		p->enter_tail = slot;
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

static void run_entry(struct sluice_squeue *sq, sl_entry_t e)
{
	uint32_t id = (uint32_t)(e >> 1);

	if ((e & 3) == 0)
		run_chain(sq, (struct rte_mbuf *)(uintptr_t)e);
	else if ((e & 1) == 0)
		sq->hooks->note(sq, (struct sl_note *)(uintptr_t)(e - SL_ENTRY_NOTE));
	else if (id & SL_ID_CALL)
		run_call(sq, id & ~SL_ID_CALL);
	else
		run_node(sq, e);
}

static inline void run_one(struct sluice_squeue *sq)
{
	sl_entry_t e = sq->priv->run;

	/* The link belongs to others once the entry has run. */
	sq->priv->run = sl_link_get(sq, e);
	run_entry(sq, e);
}

unsigned int sl_entries_run(struct sluice_squeue *sq, unsigned int budget)
{
	unsigned int n = 0;

	sl_arrivals(sq);
	while (sq->priv->run != 0 || refill(sq)) {
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

	sl_arrivals(sq);
	for (int round = 0; round < 2; round++) {
		for (; sq->priv->run != 0; n++)
			run_one(sq);
		if (round == 0 && !refill(sq))
			break;
	}
	if (n > 0)
		SL_COUNT_N(sq, sq_entries, n);
}

static bool entry_is_of(struct sluice_squeue *sq, sl_entry_t e, sluice_conn_t c)
{
	uint32_t id = (uint32_t)(e >> 1);

	if ((e & 3) == 0) {
		struct rte_mbuf *m = (struct rte_mbuf *)(uintptr_t)e;

		return sl_pkt_word(m)[1] >> 8 == SL_HANDLE_IDX(c) && m->port == SL_HANDLE_SQ(c);
	}
	if ((e & 1) == 0)
		return false;
	if (id & SL_ID_CALL)
		return sq->stack->calls[id & ~SL_ID_CALL].tag == SL_OP_DOOR &&
		       sq->stack->calls[id & ~SL_ID_CALL].conn == c;
	return sl_entry_door(sq, e) == sl_door_of(sq->stack, c);
}

/* What stands in the list for the connection runs now, in its order. */
static void run_of_conn(struct sluice_squeue *sq, sluice_conn_t c)
{
	sl_entry_t mine = 0, *tail = &sq->priv->run, *mine_tail = &mine, e;
	unsigned int n = 0;

	for (int round = 0; round < 2; round++) {
		while ((e = *tail) != 0) {
			if (!entry_is_of(sq, e, c)) {
				tail = sl_link_of(sq, e);
				continue;
			}
			*tail = *sl_link_of(sq, e);
			*mine_tail = e;
			mine_tail = sl_link_of(sq, e);
			*mine_tail = 0;
		}
		if (round == 0)
			*tail = take(sq);
	}
	for (; (e = mine) != 0; n++) {
		mine = sl_link_get(sq, e);
		run_entry(sq, e);
	}
	SL_COUNT_N(sq, sq_entries, n);
}

/*
 * Before a call that a thread on the squeue makes in the middle of something: what stands in the
 * list for the connection runs now. A walk through the list, but only while there is something. Of a
 * connection that has moved, the list of the squeue where it was born comes first, if this thread
 * has that one too; what is still there otherwise comes after the call.
 */
static void drain_conn(struct sluice_squeue *sq, sluice_conn_t c)
{
	struct sluice_squeue *box;
	struct sl_door *d;

	if (!sl_handle_live(sq->stack, c))
		return;
	d = sl_door_of(sq->stack, c);
	box = sq->stack->sq[SL_HANDLE_SQ(c)];
	if (sl_door_owner(d) != sq->id)
		return;
	if (!sl_door_has_chains(d) && (atomic_load_explicit(&d->word, memory_order_relaxed) &
					  (ALL_QUEUED | SL_BELL_LATE)) == 0)
		return;
	atomic_fetch_and_explicit(&d->word, ~(uint64_t)SL_BELL_LATE, memory_order_relaxed);
	if (SL_UNLIKELY(box != sq) && sl_on_squeue(box))
		run_of_conn(box, c);
	run_of_conn(sq, c);
}

static void cancel_call(struct sluice_squeue *sq, uint32_t slot)
{
	struct sl_call *c = &sq->stack->calls[slot];

	if (c->async)
		call_free(sq->stack, slot);
	else
		sl_call_complete(sq, c, -ECANCELED);
}

/* What the stack orders itself to do has no meaning when it ends. */
static bool counts(const struct sl_call *c)
{
	return c->tag != SL_OP_PARK && c->tag != SL_OP_RECALL;
}

/* Destroy: nothing runs. Returns how many calls there were; who waits is told. */
uint64_t sl_entries_cancel(struct sluice_squeue *sq)
{
	struct sl_sq_priv *p = sq->priv;
	uint64_t calls = 0;

	for (; p->enter != 0; calls++) {
		uint32_t slot = p->enter;

		p->enter = __atomic_load_n(&sq->stack->calls[slot].next, __ATOMIC_RELAXED);
		cancel_call(sq, slot);
	}
	while (p->run != 0 || refill(sq)) {
		sl_entry_t e = p->run;
		uint32_t id = (uint32_t)(e >> 1);

		p->run = sl_link_get(sq, e);
		if ((e & 3) == 0) {
			rte_pktmbuf_free((struct rte_mbuf *)(uintptr_t)e);
		} else if ((e & 1) != 0 && (id & SL_ID_CALL)) {
			calls += counts(&sq->stack->calls[id & ~SL_ID_CALL]);
			cancel_call(sq, id & ~SL_ID_CALL);
		}
	}
	return calls;
}

/* ---- synchronous calls ---- */

static int64_t run_inline(
    struct sluice_squeue *sq, unsigned int tag, sluice_conn_t c, const struct sluice_args *args)
{
	bool nested = sq->in_pass;
	int64_t result;

	SL_COUNT(sq, sq_calls_inline);
	if (nested) {
		if (c != SLUICE_CONN_NONE)
			drain_conn(sq, c);
		return run_op(sq, tag, c, args);
	}
	sq->in_pass = true;
	if (c != SLUICE_CONN_NONE && SL_UNLIKELY(SL_HANDLE_SQ(c) != sq->id))
		drain_conn(sq, c);
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

/* To the squeue's list, and wait. */
static int64_t ship(struct sluice_squeue *sq, unsigned int tag, sluice_conn_t c,
    const struct sluice_args *args, bool by_conn)
{
	struct sluice_stack *st = sq->stack;
	struct sl_call *call;
	int64_t result;
	uint32_t slot;

	if (sl_thread_polls()) {
		atomic_fetch_add_explicit(&st->exdev, 1, memory_order_relaxed);
		return -EXDEV;
	}
	slot = call_alloc(st);
	if (slot == 0)
		return -ENOBUFS;
	call = call_fill(st, slot, tag, c, args, false);
	call->by_conn = by_conn;
	atomic_fetch_add(&sq->priv->waiters, 1);
	sl_entry_push(sq, SL_ENTRY(SL_ID_CALL | slot), &call->link);
	/* Push, then try; a leaving owner gives up, then looks: one of the two runs the entry. */
	if (sl_try_own(sq))
		sl_unown(sq);
	wait_done(sq, call);
	result = call->result;
	call_free(st, slot);
	return result;
}

/* Nobody's squeue can be taken without waiting, by a thread that polls others too. */
static bool run_unowned(struct sluice_squeue *sq, unsigned int tag, sluice_conn_t c,
    const struct sluice_args *args, int64_t *result)
{
	if (!sl_try_own(sq))
		return false;
	*result = run_inline(sq, tag, c, args);
	sl_unown(sq);
	return true;
}

int64_t sl_synch_call(struct sluice_stack *st, unsigned int sq_id, unsigned int tag,
    sluice_conn_t c, const struct sluice_args *args)
{
	struct sluice_squeue *sq;
	int64_t result;

	if (sq_id >= st->nsq || tag >= SL_OP_MAX || tag == SL_OP_ENTER)
		return -EINVAL;
	sq = st->sq[sq_id];
	if (sl_on_squeue(sq))
		return run_inline(sq, tag, c, args);
	if (run_unowned(sq, tag, c, args, &result))
		return result;
	return ship(sq, tag, c, args, false);
}

int64_t sl_conn_call(
    struct sluice_stack *st, unsigned int tag, sluice_conn_t c, const struct sluice_args *args)
{
	struct sl_door *d = sl_door_of(st, c);
	struct sluice_squeue *box;
	uint32_t owner;
	int64_t result;

	if (d == NULL || !sl_handle_live(st, c))
		return -EBADF;
	box = st->sq[SL_HANDLE_SQ(c)];
	owner = sl_door_owner(d);
	if (tag != SL_OP_ENTER && owner != SL_NOBODY) {
		if (sl_on_squeue(st->sq[owner]))
			return run_inline(st->sq[owner], tag, c, args);
		/* While it is nobody's, a connection can leave its squeue only by our doing. */
		if (owner == box->id && sl_try_own(box)) {
			bool here = sl_door_owner(d) == box->id;

			if (here)
				result = run_inline(box, tag, c, args);
			sl_unown(box);
			if (here)
				return result;
		}
	}
	return ship(box, tag, c, args, true);
}

int64_t sluice_synch_call(struct sluice_stack *st, unsigned int sq_id, int tag, sluice_conn_t c,
    const struct sluice_args *args)
{
	if (tag < 0 || (unsigned int)tag >= st->nops)
		return -EINVAL;
	return sl_synch_call(st, sq_id, SL_OP_USER + (unsigned int)tag, c, args);
}
