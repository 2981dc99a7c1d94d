/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hierarchical timer wheel: 4 levels of 256 slots, tick 2^16 ns (65.5 us), intrusive nodes, one
 * owner.
 *
 * A node's `expires` is the tick at which its owner wants to run; the wheel fires it at the first
 * advance whose time is not before that tick: never early, late by at most one tick plus the time
 * between polls. Re-arming a node for LATER than where it is filed costs one store: it fires where
 * it is, sees the later deadline and is filed again. Beyond the wheel's span (78 h) a node is filed
 * at its end and filed again. Work per advance is bounded by `budget`, also when the clock jumps:
 * what is due and over the budget stays first in line for the next call.
 */
#ifndef SL_SQUEUE_WHEEL_H
#define SL_SQUEUE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#define SL_TICK_SHIFT 16
#define SL_TICK_NS (1ull << SL_TICK_SHIFT)

struct sl_timer {
	struct sl_timer *next, **pprev; /* pprev NULL: not filed */
	uint64_t expires;               /* tick wanted */
	uint32_t kind;                  /* index of the callback in sl_wheel.fn */
	uint32_t filed_lo;              /* low bits of the tick under which it is filed */
};

#define SL_WHEEL_KINDS 8

struct sl_wheel {
	struct sl_timer *slot[4][256];
	uint64_t occupied[4][4];  /* bit per slot */
	uint64_t tick;            /* all before this have been fired */
	struct sl_timer *due;     /* due, over the budget of the last advance */
	struct sl_timer *late[2]; /* armed for a tick that has passed; [late_in] takes new ones */
	uint32_t late_in;
	uint64_t count; /* nodes filed */
	void (*fn[SL_WHEEL_KINDS])(
	    void *arg, struct sl_timer *t); /* node is unfiled when called; may re-arm any node */
	void *arg[SL_WHEEL_KINDS];
};

void sl_wheel_init(struct sl_wheel *w, uint64_t now);
/** Arm or re-arm for time `at` (ns, rounded up to a tick; a past time means the next advance). */
void sl_timer_set(struct sl_wheel *w, struct sl_timer *t, uint64_t at);
void sl_timer_cancel(struct sl_wheel *w, struct sl_timer *t);
static inline bool sl_timer_armed(const struct sl_timer *t)
{
	return t->pprev != 0;
}
/** Fire what is due at `now`; returns how many callbacks ran, at most budget. A clock that goes
 * back fires nothing. */
uint32_t sl_wheel_advance(struct sl_wheel *w, uint64_t now, uint32_t budget);
/** A time (ns) not after the earliest deadline, good enough to sleep until; UINT64_MAX when empty.
 */
uint64_t sl_wheel_next(const struct sl_wheel *w);

#endif
