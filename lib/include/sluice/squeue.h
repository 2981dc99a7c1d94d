/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * squeues: serialization queues. One connection, one squeue, one owner; all work of a connection
 * runs there.
 *
 * Pinned: an EAL lcore (or any thread) runs sluice_squeue_run(). Hosted: the embedder calls
 * sluice_squeue_poll() itself. A squeue is owned by the thread that polls it, from its first poll
 * until sluice_squeue_release(). While nobody owns it, a synchronous call takes it for its
 * duration, so a stack can be configured before anything polls.
 */
#ifndef SLUICE_SQUEUE_H
#define SLUICE_SQUEUE_H

#include <sluice/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Plain words that travel with an entry. What an operation needs besides must outlive it. */
struct sluice_args {
	uint64_t a[6];
};

/** An operation of the embedder: runs on the squeue (`c` may be SLUICE_CONN_NONE, may be stale).
 * Returns what synch_call returns. */
typedef int64_t (*sluice_op_fn)(
    struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *args, void *arg);

#define SLUICE_MAX_OPS 64

/**
 * Register an operation before the first poll. Returns its tag (>= 0), -ENOSPC, -EINVAL, -EBUSY
 * once squeues run. The name labels its counter. Control thread.
 */
SLUICE_API int sluice_op_register(
    struct sluice_stack *st, const char *name, sluice_op_fn fn, void *arg);

/** Post an operation to squeue `sq_id`, not waiting. 0, -ENOBUFS (no call slot), -EINVAL. Any
 * thread. In order per producer. */
SLUICE_API int sluice_post(struct sluice_stack *st, unsigned int sq_id, int tag, sluice_conn_t c,
    const struct sluice_args *args);
/** Same, to the squeue that owns connection c; -EBADF when it is stale. */
SLUICE_API int sluice_post_conn(
    struct sluice_stack *st, int tag, sluice_conn_t c, const struct sluice_args *args);

/**
 * Run an operation on a squeue and wait: inline when the caller owns it; -EXDEV (counted) when the
 * caller polls other squeues of any stack and not this one; else shipped, the caller spins shortly
 * and then sleeps. -ENOBUFS: no slot; else what the operation returns. Any thread.
 */
SLUICE_API int64_t sluice_synch_call(struct sluice_stack *st, unsigned int sq_id, int tag,
    sluice_conn_t c, const struct sluice_args *args);

/**
 * The seed's form: the squeue of connection c is handed to the calling thread until
 * sluice_squeue_synch_exit(), which must follow from the same thread. Meanwhile its lcore only
 * takes packets off the NIC, into a bounded backlog. Within, all calls on connections of this
 * squeue run inline. Earlier entries have run. -EDEADLK for the squeue's own owner, -EXDEV for a
 * thread that polls other squeues, -EBADF, -ENOBUFS. For rare multi-step work; downcalls do not
 * need it.
 */
SLUICE_API int sluice_squeue_synch_enter(
    struct sluice_stack *st, sluice_conn_t c, struct sluice_squeue **sq);
SLUICE_API void sluice_squeue_synch_exit(struct sluice_squeue *sq);

/**
 * One pass: rx, tcp input, entries, timers, application polls, output, tx. `now` never decreases (a
 * smaller value is taken as the last one). `budget`: most packets to receive per queue, 0 for the
 * tunable. Returns the amount of work found (packets + entries + timers + segments), 0 for an idle
 * pass; -EBUSY when another thread owns the squeue or a holder has it (packets were still taken to
 * the backlog). Owner.
 */
SLUICE_API int sluice_squeue_poll(struct sluice_squeue *sq, uint64_t now, unsigned int budget);
/** Earliest time at which a poll will find work without new input (timers, pending output, virtual
 * links); UINT64_MAX none. Owner. */
SLUICE_API uint64_t sluice_squeue_next(struct sluice_squeue *sq);
/** Give up ownership, so that another thread may poll. Owner, outside a pass. */
SLUICE_API int sluice_squeue_release(struct sluice_squeue *sq);

/** What an idle squeue does. A sleeper is woken by entries, hand-overs, timers, and packets of ports that
 * can tell (arm in driver.h); it polls the others every squeue.idle_sleep. */
enum sluice_idle {
	SLUICE_IDLE_SPIN,
	SLUICE_IDLE_YIELD,
	SLUICE_IDLE_SLEEP
};

/** Poll until *stop is nonzero (checked every pass, so that a sleeper may see it squeue.idle_max later
 * unless something wakes it), on the clock given (NULL: CLOCK_MONOTONIC). Returns 0, 1 when the squeue is
 * parked, or what init said. Pinned mode. */
SLUICE_API int sluice_squeue_run(struct sluice_squeue *sq, enum sluice_idle idle,
    const volatile int *stop, uint64_t (*clock)(void));

/* ---- squeues that come and go: see doc/lcores.md ---- */

enum sluice_squeue_state {
	SLUICE_SQUEUE_RUNNING,
	SLUICE_SQUEUE_DRAINING, /* park was asked; connections leave */
	SLUICE_SQUEUE_PARKED    /* all that could leave has left: its lcore may go */
};

/**
 * Let squeue sq_id drain, and then be parked: new connections are made on others, live ones move there.
 * Returns at once; sluice_squeue_state() tells when it is done, and sluice_squeue_run() on it returns.
 * Whatever stays or still comes (see doc/lcores.md) is served by the squeue that polls it, or, when
 * nobody does, by another running one. -EINVAL, -EALREADY (it does not run), -EBUSY (the last one that
 * runs), -ENOBUFS (no call slot), -EAGAIN (only on a thread that polls: tables are being changed). Any
 * thread.
 */
SLUICE_API int sluice_squeue_park(struct sluice_stack *st, unsigned int sq_id);
/** It runs again: somebody is to poll it. What left it on account of parking, and was born there, comes
 * back. -EINVAL, -EALREADY, -ENOBUFS, -EAGAIN as above. Any thread. */
SLUICE_API int sluice_squeue_unpark(struct sluice_stack *st, unsigned int sq_id);
/** Any thread. */
SLUICE_API enum sluice_squeue_state sluice_squeue_state(const struct sluice_squeue *sq);
SLUICE_API const char *sluice_squeue_state_name(enum sluice_squeue_state s);

/** Squeue by number, NULL beyond. Any thread. */
SLUICE_API struct sluice_squeue *sluice_squeue(struct sluice_stack *st, unsigned int id);
SLUICE_API unsigned int sluice_squeue_id(const struct sluice_squeue *sq);
SLUICE_API struct sluice_stack *sluice_squeue_stack(const struct sluice_squeue *sq);
/** The time of the current pass. On the squeue. */
SLUICE_API uint64_t sluice_squeue_now(const struct sluice_squeue *sq);

/** Stages of the loop, each with a budget, packets and cycles. */
enum sluice_stage {
	SLUICE_STAGE_RX,
	SLUICE_STAGE_INPUT,
	SLUICE_STAGE_ENTRIES,
	SLUICE_STAGE_TIMERS,
	SLUICE_STAGE_APP,
	SLUICE_STAGE_OUTPUT,
	SLUICE_STAGE_TX,
	SLUICE_NSTAGES
};
SLUICE_API const char *sluice_stage_name(enum sluice_stage s);

struct sluice_squeue_stats {
	size_t size;
	uint64_t stage_items[SLUICE_NSTAGES];
	uint64_t stage_cycles[SLUICE_NSTAGES]; /* TSC; only passes that found work */
	uint64_t busy_cycles, idle_cycles;     /* their ratio is the busy share of the lcore */
	uint64_t hold_hist[32]; /* synch_enter holds: bucket i counts holds of [2^i, 2^(i+1)) ns */
	uint64_t tag_count[SLUICE_MAX_OPS + 32]; /* entries per tag; sluice_tag_name */
};
/** Any thread. */
SLUICE_API void sluice_squeue_stats(
    const struct sluice_squeue *sq, struct sluice_squeue_stats *out);
/** Name of a tag's cause, NULL beyond. Any thread. */
SLUICE_API const char *sluice_tag_name(const struct sluice_stack *st, unsigned int tag);

/* ---- application timers: on the squeue only ---- */
typedef uint64_t sluice_timer_t;
typedef void (*sluice_timer_fn)(struct sluice_squeue *sq, void *arg);
/** Fires once at `at` (ns). 0 in *t is no timer. -ENOBUFS beyond app_timers. */
SLUICE_API int sluice_timer_start(
    struct sluice_squeue *sq, uint64_t at, sluice_timer_fn fn, void *arg, sluice_timer_t *t);
/** -ENOENT when it fired or was stopped already. */
SLUICE_API int sluice_timer_stop(struct sluice_squeue *sq, sluice_timer_t t);

/* ---- per-squeue hooks of the application ---- */
struct sluice_app {
	size_t size;
	int (*init)(struct sluice_squeue *sq, void *arg);  /* before the first pass, on the owner */
	int (*poll)(struct sluice_squeue *sq, void *arg);  /* once a pass; returns the work done */
	void (*fini)(struct sluice_squeue *sq, void *arg); /* at destroy */
	void *arg;
};
/** One application per stack, before the first poll. -EBUSY, -EINVAL. Control thread. */
SLUICE_API int sluice_app_register(struct sluice_stack *st, const struct sluice_app *app);

#ifdef __cplusplus
}
#endif
#endif
