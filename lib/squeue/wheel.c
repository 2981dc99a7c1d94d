/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Level k has 256 slots of 256^k ticks each. A node d ticks ahead is filed at the level whose span
 * holds d, in the slot of its own digit k of the tick; when the wheel comes to the first tick of
 * that slot, its nodes are filed again, lower (a cascade), and from level 0 they fire. Empty
 * stretches are skipped with the bitmaps, so a jump of the clock costs what is in the wheel and not
 * what is between.
 *
 * Invariants: a filed tick is never before w->tick, so the slot of a filed node is unambiguous; a
 * cascade that ran out of its share leaves w->tick at the slot's first tick, and goes on from
 * there. What is armed for a tick that has passed goes to one of two lists, `late`: one takes, the
 * other is being fired, so a callback that arms for the past cannot keep one advance going for
 * ever.
 */
#include <base/check.h>
#include <squeue/wheel.h>

#include <stddef.h>
#include <string.h>

#define MASK 255u
#define SPAN 0xffffffffull /* furthest that a node is filed */

void sl_wheel_init(struct sl_wheel *w, uint64_t now)
{
	memset(w, 0, sizeof(*w));
	w->tick = now >> SL_TICK_SHIFT;
}

static void link_node(struct sl_timer **head, struct sl_timer *t)
{
	t->next = *head;
	if (t->next != NULL)
		t->next->pprev = &t->next;
	t->pprev = head;
	*head = t;
}

static void unlink_node(struct sl_wheel *w, struct sl_timer *t)
{
	size_t place = ((uintptr_t)t->pprev - (uintptr_t)w->slot) / sizeof(w->slot[0][0]);

	*t->pprev = t->next;
	if (t->next != NULL)
		t->next->pprev = t->pprev;
	else if (place < 4 * 256 && (uintptr_t)t->pprev >= (uintptr_t)w->slot)
		w->occupied[place >> 8][(place & MASK) >> 6] &= ~(1ull << (place & 63));
	t->pprev = NULL;
	w->count--;
}

static void file(struct sl_wheel *w, struct sl_timer *t)
{
	uint64_t f = t->expires, d;
	unsigned int level, s;

	w->count++;
	t->filed_lo = (uint32_t)f;
	if (f < w->tick) {
		link_node(&w->late[w->late_in], t);
		return;
	}
	d = f - w->tick;
	if (d > SPAN) {
		d = SPAN;
		f = w->tick + SPAN;
		t->filed_lo = (uint32_t)f;
	}
	level = d < 256 ? 0 : (63 - (unsigned int)__builtin_clzll(d)) / 8;
	s = (f >> (8 * level)) & MASK;
	w->occupied[level][s >> 6] |= 1ull << (s & 63);
	link_node(&w->slot[level][s], t);
}

void sl_timer_set(struct sl_wheel *w, struct sl_timer *t, uint64_t at)
{
	uint64_t e = (at >> SL_TICK_SHIFT) + ((at & (SL_TICK_NS - 1)) != 0);

	t->expires = e;
	if (t->pprev != NULL) {
		/*
		 * Distances from w->tick of what is filed ahead are exact in 32 bits. For a node of
		 * the late and due lists the distance means nothing, and either branch is right:
		 * these look at `expires` again.
		 */
		if (e >= w->tick && e - w->tick >= (uint32_t)(t->filed_lo - (uint32_t)w->tick))
			return;
		unlink_node(w, t);
	}
	file(w, t);
}

void sl_timer_cancel(struct sl_wheel *w, struct sl_timer *t)
{
	if (t->pprev != NULL)
		unlink_node(w, t);
}

/* First set bit at or after `from`, going round; -1 when none is set. */
static int next_bit(const uint64_t *bits, unsigned int from)
{
	uint64_t word = bits[from >> 6] & (~0ull << (from & 63));

	for (unsigned int i = 0; i < 5; i++) {
		unsigned int n = ((from >> 6) + i) & 3;

		if (i != 0)
			word = bits[n];
		if (word != 0)
			return (int)(n * 64 + (unsigned int)__builtin_ctzll(word));
	}
	return -1;
}

/* The first tick, not before w->tick, at which a slot fires or cascades. */
static uint64_t next_event(const struct sl_wheel *w)
{
	uint64_t best = UINT64_MAX;

	for (unsigned int k = 0; k < 4; k++) {
		uint64_t cur = w->tick >> (8 * k), e;
		/* Within a slot's stretch its cascade is behind us: the same slot now means the
		 * next round. */
		unsigned int begun = (w->tick & ((1ull << (8 * k)) - 1)) != 0;
		int s = next_bit(w->occupied[k], (unsigned int)(cur + begun) & MASK);

		if (s < 0)
			continue;
		e = (cur + begun + (((unsigned int)s - (unsigned int)(cur + begun)) & MASK))
		    << (8 * k);
		if (e < best)
			best = e;
	}
	return best;
}

/* File the nodes of the slots that begin at w->tick again, lower; false when the share ran out. */
static bool cascade(struct sl_wheel *w, uint64_t *share)
{
	for (unsigned int k = 3; k > 0; k--) {
		struct sl_timer *t;
		unsigned int s = (w->tick >> (8 * k)) & MASK;

		if ((w->tick & ((1ull << (8 * k)) - 1)) != 0)
			continue;
		while ((t = w->slot[k][s]) != NULL) {
			if (*share == 0)
				return false;
			--*share;
			unlink_node(w, t);
			file(w, t);
		}
	}
	return true;
}

/* Fire the list; false when budget or share ran out before its end. */
static bool drain(struct sl_wheel *w, struct sl_timer **list, uint32_t *left, uint64_t *share)
{
	struct sl_timer *t;

	while ((t = *list) != NULL) {
		if (t->expires >= w->tick) { /* moved to later since it was filed */
			if (*share == 0)
				return false;
			--*share;
			unlink_node(w, t);
			file(w, t);
			continue;
		}
		if (*left == 0)
			return false;
		--*left;
		unlink_node(w, t);
		w->fn[t->kind](w->arg[t->kind], t);
	}
	return true;
}

/* Take the level 0 slot of w->tick as the due list, and step over the tick. */
static void take_slot(struct sl_wheel *w)
{
	unsigned int s = w->tick & MASK;

	SL_CHECK(w->due == NULL);
	w->due = w->slot[0][s];
	if (w->due != NULL)
		w->due->pprev = &w->due;
	w->slot[0][s] = NULL;
	w->occupied[0][s >> 6] &= ~(1ull << (s & 63));
	w->tick++;
}

uint32_t sl_wheel_advance(struct sl_wheel *w, uint64_t now, uint32_t budget)
{
	uint64_t target = now >> SL_TICK_SHIFT, share = 8ull * budget + 64, e;
	uint32_t left = budget;

	if (target + 1 < w->tick)
		return 0;
	if (w->late[w->late_in ^ 1] == NULL)
		w->late_in ^= 1;
	if (!drain(w, &w->due, &left, &share) || !drain(w, &w->late[w->late_in ^ 1], &left, &share))
		return budget - left;
	while (w->tick <= target) {
		e = w->count != 0 ? next_event(w) : UINT64_MAX;
		if (e > target) {
			w->tick = target + 1;
			break;
		}
		w->tick = e;
		if (left == 0 || !cascade(w, &share))
			break;
		take_slot(w);
		if (!drain(w, &w->due, &left, &share))
			break;
	}
	return budget - left;
}

uint64_t sl_wheel_next(const struct sl_wheel *w)
{
	if (w->count == 0)
		return UINT64_MAX;
	if (w->due != NULL || w->late[0] != NULL || w->late[1] != NULL)
		return 0;
	return next_event(w) << SL_TICK_SHIFT;
}
