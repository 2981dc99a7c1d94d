/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Entries of connections that have moved.
 *
 * What is asked of a connection enters at the squeue where it was born (entry.c). While it lives
 * elsewhere, its door there says where entries go on to (`away`), and running one means to push it
 * on the owner's list: entries of a connection keep the one order that they were given at the birth
 * squeue. While the connection is on its way back they wait there (`held`), for the owner has let go
 * of it behind all that was sent on before; lib/tcp/move.c tells when. Nothing here needs memory: a
 * waiting entry stands in a list by the link that it has anyway.
 *
 * Two kinds of messages between squeues are notes. One is an entry like any other, and has its place
 * among them. The other, an arrival, has a list of its own: a squeue looks there after it has taken
 * entries off its list, or packets off a ring, and before it runs them. Who sends a connection
 * pushes the arrival first, and then entries and packets about it; so these find it in place.
 */
#include "sq_priv.h"

#include <string.h>

#define GEN(word) ((uint32_t)((word) >> 32))

static struct sl_call *call_of(const struct sluice_squeue *sq, sl_entry_t e)
{
	uint32_t id = (uint32_t)(e >> 1);

	return (e & 1) != 0 && (id & SL_ID_CALL) ? &sq->stack->calls[id & ~SL_ID_CALL] : NULL;
}

/* A waiting caller is the squeue's whose list its call stands in. */
static void hand_on(struct sluice_squeue *sq, unsigned int to, sl_entry_t e)
{
	struct sluice_squeue *other = sq->stack->sq[to];
	struct sl_call *call = call_of(sq, e);
	uint64_t *link = sl_link_of(sq, e);
	bool waited = call != NULL && !call->async;

	if (waited)
		atomic_fetch_add(&other->priv->waiters, 1);
	if (call == NULL && (e & 1) != 0) /* a door: named as seen from there */
		e |= (sl_entry_t)(sq->id ^ to) << SL_ENTRY_BIRTH;
	sl_entry_push(other, e, link);
	if (waited) {
		atomic_fetch_sub(&sq->priv->waiters, 1);
		sq->priv->handed |= 1ull << to;
	}
	SL_COUNT(sq, sq_entries_fwd);
}

/* An entry of a door with `away`. False: it runs here, for it is stale. */
bool sl_mail_on(struct sluice_squeue *sq, struct sl_door *d, sl_entry_t e)
{
	struct sl_call *call = call_of(sq, e);

	if (call != NULL &&
	    GEN(atomic_load_explicit(&d->word, memory_order_relaxed)) != SL_HANDLE_GEN(call->conn))
		return false;
	if (d->away & SL_AWAY_HELD) {
		__atomic_store_n(sl_link_of(sq, e), d->transit->held, __ATOMIC_RELAXED);
		d->transit->held = e;
		if (call != NULL && !call->async) /* it waits for the owner's answer */
			sq->priv->handed |= 1ull << SL_AWAY_SQ(d->away);
	} else {
		hand_on(sq, SL_AWAY_SQ(d->away), e);
	}
	return true;
}

void sl_mail_hold(struct sluice_squeue *sq, struct sl_door *d)
{
	SL_CHECK(d->away != 0 && d->transit->held == 0);
	d->away |= SL_AWAY_HELD;
}

/* What waited, oldest first. */
static sl_entry_t held_take(struct sluice_squeue *sq, struct sl_door *d)
{
	sl_entry_t e = d->transit->held, oldest = 0, next;

	d->transit->held = 0;
	for (; e != 0; e = next) {
		next = sl_link_get(sq, e);
		__atomic_store_n(sl_link_of(sq, e), oldest, __ATOMIC_RELAXED);
		oldest = e;
	}
	return oldest;
}

void sl_mail_to(struct sluice_squeue *sq, struct sl_door *d, unsigned int to)
{
	sl_entry_t e = held_take(sq, d), last, next;

	if (to != sq->id) {
		d->away = to + 1; /* without SL_AWAY_PARKED: that is who parks' */
		for (; e != 0; e = next) {
			next = sl_link_get(sq, e);
			hand_on(sq, to, e);
		}
		return;
	}
	d->away = 0;
	if (e == 0)
		return;
	for (last = e; (next = sl_link_get(sq, last)) != 0; last = next)
		;
	__atomic_store_n(sl_link_of(sq, last), sq->priv->run, __ATOMIC_RELAXED);
	sq->priv->run = e;
}

/* ---- notes ---- */

void sl_note_push(struct sluice_squeue *from, struct sluice_squeue *to, struct sl_note *n)
{
	sl_entry_push(to, (uintptr_t)n + SL_ENTRY_NOTE, &n->link);
	/* Sequentially consistent, like the push: who waits there sees the note, or we see who waits. */
	if (SL_UNLIKELY(atomic_load(&to->priv->waiters) != 0))
		from->priv->handed |= 1ull << to->id;
}

void sl_arrival_push(struct sluice_squeue *to, struct sl_note *n)
{
	sl_list_push(&to->arrivals, (uintptr_t)n + SL_ENTRY_NOTE, &n->link);
	sl_sq_kick(to);
}

void sl_arrivals_run(struct sluice_squeue *sq)
{
	/* Acquire: pairs with the push, and brings all that the sender did to the connection. */
	sl_entry_t e = atomic_exchange_explicit(&sq->arrivals, 0, memory_order_acquire);
	sl_entry_t oldest = 0, next;

	for (; e != 0; e = next) {
		next = sl_link_get(sq, e);
		__atomic_store_n(sl_link_of(sq, e), oldest, __ATOMIC_RELAXED);
		oldest = e;
	}
	for (; oldest != 0; oldest = next) {
		next = sl_link_get(sq, oldest);
		sq->hooks->note(sq, (struct sl_note *)(uintptr_t)(oldest - SL_ENTRY_NOTE));
	}
}

/* A list without its notes; the order stays. */
static sl_entry_t without_notes(struct sluice_squeue *sq, sl_entry_t e)
{
	sl_entry_t first = 0, *tail = &first;

	for (sl_entry_t next; e != 0; e = next) {
		next = sl_link_get(sq, e);
		if ((e & 3) == SL_ENTRY_NOTE)
			continue;
		*tail = e;
		tail = sl_link_of(sq, e);
		*tail = 0;
	}
	return first;
}

void sl_notes_drop(struct sluice_squeue *sq)
{
	atomic_store(&sq->arrivals, 0);
	atomic_store(&sq->entries, without_notes(sq, atomic_load(&sq->entries)));
	sq->priv->run = without_notes(sq, sq->priv->run);
}

/* ---- squeues that nobody polls ---- */

/* Synchronous calls went on to these, or wait for what these have to say. Where nobody polls, this
 * thread runs what there is. */
void sl_handed_help(struct sluice_stack *st, uint64_t handed)
{
	for (; handed != 0; handed &= handed - 1) {
		struct sluice_squeue *sq = st->sq[__builtin_ctzll(handed)];

		if (atomic_load_explicit(&sq->owner, memory_order_relaxed) != 0 || !sl_try_own(sq))
			continue;
		sl_sq_run_waiting(sq);
		sl_unown(sq);
	}
}
