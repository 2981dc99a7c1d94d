/* SPDX-License-Identifier: BSD-3-Clause */
/* What only lib/squeue sees. Grouped by who writes. */
#ifndef SL_SQUEUE_PRIV_H
#define SL_SQUEUE_PRIV_H

#include <base/pkt.h>
#include <squeue/squeue_int.h>

#define SL_RX_MAX 256 /* upper end of squeue.rx_burst */
#define SL_APP_TIMERS_CAP \
	(1u << 20) /* a later change of squeue.app_timers takes effect up to here */

/** One direction between two squeues. Single producer, single consumer; its memory is the
 * consumer's. */
struct sl_fwd_ring {
	uint32_t mask;
	/* producer */
	uint32_t tail_local __attribute__((aligned(64))); /* written, not all published */
	uint32_t head_seen;
	_Atomic uint32_t tail;
	/* consumer */
	_Atomic uint32_t head __attribute__((aligned(64)));
	struct {
		struct rte_mbuf *m;
		uint64_t port;
	} slot[];
};

enum sl_fwd_kind {
	SL_FWD_RX,
	SL_FWD_TX,
	SL_FWD_KINDS
};

struct sl_backlog {
	struct rte_mbuf *head, *tail;
};

#define SL_SLEEP_FDS 64 /* descriptors of ports that a sleeper looks at */

/** How `sleeping` says who must be woken how. */
enum sl_sleep_how {
	SL_SLEEP_NOT,
	SL_SLEEP_FUTEX,
	SL_SLEEP_FDS_TOO, /* in ppoll, with an eventfd among the descriptors */
	/* Besides: another squeue looks after this one, and may sleep */
	SL_SLEEP_PARKED = 0x100,
};

struct sl_sleep {
	bool armed;     /* the ports were asked to tell */
	bool all;       /* and all of them can */
	uint32_t nfds;  /* of ports */
	uint64_t ports; /* bit per port that tells */
	int eventfd;    /* + 1; 0: not made yet */
	int fd[SL_SLEEP_FDS];
};

struct sl_sq_priv {
	/* --- who owns the squeue (a holder counts as owner) --- */
	sl_entry_t run; /* entries taken off the shared list and not yet run, oldest first */
	uint32_t enter, enter_tail;       /* synch_enter calls set aside for the end of the pass */
	uint32_t idle_run;                /* idle passes in a row */
	uint64_t fwd_todo;                /* senders whose rings are not known to be empty */
	uint64_t fwd_dirty[SL_FWD_KINDS]; /* receivers to whom something unpublished was written */
	uint64_t hold_t0;                 /* holder's clock at enter */
	uint64_t handed; /* squeues to which entries went on: nobody may be polling them */
	struct sl_slab timers;
	uint32_t *timer_gen; /* outside the slab, which gives memory back */
	size_t timer_gen_len, doors_len;
	uint32_t timer_cap;
	bool inited; /* app.init ran */
	bool one_cpu;

	/* --- the polling thread, also while a holder has the squeue --- */
	bool polled; /* the owner is a polling thread, not a synchronous call */
	uint64_t poll_now;
	uint64_t tsc_start, tsc_busy; /* of the last pass */
	uint64_t events_at;
	uint32_t nports_seen;
	uint32_t backlog_n;
	struct sl_backlog backlog[SL_MAX_PORTS];
	uint16_t nqueues[SL_MAX_PORTS];
	struct sl_sleep sleep;

	/* --- shared --- */
	_Atomic uintptr_t holder
	    __attribute__((aligned(64)));     /* thread token of synch_enter on a polled squeue */
	_Atomic uint32_t waiters;             /* synchronous calls shipped and not completed */
	_Atomic uint32_t idle;                /* enum sluice_idle of run() */
	struct sluice_squeue *_Atomic keeper; /* who looks after it, NULL while it runs */
	_Atomic uint64_t look_at; /* when the keeper looks at what does not show by itself */
	bool kept;                /* the keeper has it still: a holder has it of him. The owner's */
	_Atomic uint64_t fwd_pending
	    __attribute__((aligned(64))); /* bit per sender that published */

	struct sl_fwd_ring *fwd[SL_FWD_KINDS][SL_MAX_SQUEUES]; /* [sender] */
	struct sluice_squeue_stats st;                         /* single writer, relaxed */
};

/* squeue.c: ownership */
uintptr_t sl_self(void);
void sl_self_add(int n);
bool sl_try_own(struct sluice_squeue *sq);
void sl_unown(struct sluice_squeue *sq);
/** All entries, and what they put off. Owner, outside a pass. */
void sl_sq_run_waiting(struct sluice_squeue *sq);
void *sl_sq_alloc(struct sluice_stack *st, size_t size);
void sl_sq_free(struct sluice_stack *st, void *p, size_t size);

/* entry.c */
unsigned int sl_entries_run(struct sluice_squeue *sq, unsigned int budget);
void sl_entries_drain(struct sluice_squeue *sq);
void sl_arrivals_run(struct sluice_squeue *sq);
void sl_handed_help(struct sluice_stack *st, uint64_t handed);
uint64_t sl_entries_cancel(struct sluice_squeue *sq);
void sl_call_complete(struct sluice_squeue *sq, struct sl_call *c, int64_t result);
long sl_futex(_Atomic uint32_t *word, int op, uint32_t val, uint64_t timeout_ns);

static inline bool sl_entries_pending(struct sluice_squeue *sq)
{
	return sq->priv->run != 0 ||
	       atomic_load_explicit(&sq->entries, memory_order_relaxed) != 0 ||
	       atomic_load_explicit(&sq->arrivals, memory_order_relaxed) != 0;
}

/** Connections that came: before an entry or a packet that was taken off a list or ring after they
 * were sent. */
static inline void sl_arrivals(struct sluice_squeue *sq)
{
	if (SL_UNLIKELY(atomic_load_explicit(&sq->arrivals, memory_order_relaxed) != 0))
		sl_arrivals_run(sq);
}

void sl_sq_wake(struct sluice_squeue *sq);

/** After a change that a sleeper must see, made with sequential consistency: counterpart of
 * sl_idle_sleep. */
static inline void sl_sq_kick(struct sluice_squeue *sq)
{
	if (SL_UNLIKELY(atomic_load(&sq->sleeping) != 0))
		sl_sq_wake(sq);
}

/* entry.c, mail.c: the list */

/** The door of an entry that is one. */
static inline struct sl_door *sl_entry_door(struct sluice_squeue *sq, sl_entry_t e)
{
	uint32_t birth = (uint32_t)(e >> SL_ENTRY_BIRTH);
	struct sluice_squeue *at = SL_LIKELY(birth == 0) ? sq : sq->stack->sq[birth ^ sq->id];

	return &at->doors[SL_NAME_IDX((uint32_t)(e >> 1))];
}

/* Atomic access: who lost a race for the head may still write its link while nobody reads it, and
 * tools should know that this is meant. */
static inline uint64_t *sl_link_of(struct sluice_squeue *sq, sl_entry_t e)
{
	uint32_t id = (uint32_t)(e >> 1);

	if ((e & 1) == 0) {
		if (SL_UNLIKELY(e & SL_ENTRY_NOTE))
			return &((struct sl_note *)(uintptr_t)(e - SL_ENTRY_NOTE))->link;
		return &((struct rte_mbuf *)(uintptr_t)e)->tx_offload;
	}
	if (id & SL_ID_CALL)
		return &sq->stack->calls[id & ~SL_ID_CALL].link;
	return &sl_entry_door(sq, e)->node[(id >> SL_ID_NODE) & 127];
}

static inline sl_entry_t sl_link_get(struct sluice_squeue *sq, sl_entry_t e)
{
	return __atomic_load_n(sl_link_of(sq, e), __ATOMIC_RELAXED);
}

static inline void sl_list_push(_Atomic sl_entry_t *list, sl_entry_t e, uint64_t *link)
{
	sl_entry_t head = atomic_load_explicit(list, memory_order_relaxed);

	do {
		__atomic_store_n(link, head, __ATOMIC_RELAXED);
	} while (!atomic_compare_exchange_weak_explicit(
	    list, &head, e, memory_order_seq_cst, memory_order_relaxed));
}

static inline void sl_entry_push(struct sluice_squeue *sq, sl_entry_t e, uint64_t *link)
{
	sl_list_push(&sq->entries, e, link);
	sl_sq_kick(sq);
}

bool sl_mail_on(struct sluice_squeue *sq, struct sl_door *d, sl_entry_t e);

/* park.c: of other squeues, which this one looks after */
/** What there is to do at them; returns the work found. Owner, outside a pass. */
unsigned int sl_wards_poll(struct sluice_squeue *sq, unsigned int budget);
/** The earliest of `next` and what they wait for. */
uint64_t sl_wards_next(struct sluice_squeue *sq, uint64_t next);
/** Does anything that shows wait at them? Sequentially consistent: see sl_idle_sleep. */
bool sl_wards_pending(struct sluice_squeue *sq);

/* hold.c */
void sl_hold_grant(struct sluice_squeue *sq);
int sl_hold_poll(struct sluice_squeue *sq, uint64_t now, unsigned int budget);
unsigned int sl_backlog_take(
    struct sluice_squeue *sq, unsigned int port, struct rte_mbuf **pkts, unsigned int n);

/* tx.c */
unsigned int sl_tx_flush(struct sluice_squeue *sq);
bool sl_tx_staged(const struct sluice_squeue *sq);
void sl_fwd_publish(struct sluice_squeue *sq);
unsigned int sl_fwd_run(struct sluice_squeue *sq, unsigned int budget);
int sl_fwd_create(struct sluice_squeue *sq);
void sl_fwd_destroy(struct sluice_squeue *sq);

/* apptimer.c */
int sl_app_timers_init(struct sluice_squeue *sq);
void sl_app_timers_fini(struct sluice_squeue *sq);

/* reset.c */
int64_t sl_port_op(struct sluice_squeue *sq, const struct sluice_args *args);

/* sleep.c: for who polls */
void sl_idle_sleep(struct sluice_squeue *sq, uint64_t now);
void sl_ports_disarm(struct sluice_squeue *sq);
void sl_sleep_fini(struct sluice_squeue *sq);

/** There is work: ports need not say any more that packets come. */
static inline void sl_idle_end(struct sluice_squeue *sq)
{
	if (SL_UNLIKELY(sq->priv->sleep.armed))
		sl_ports_disarm(sq);
}

/* loop.c */
unsigned int sl_rx_burst(struct sluice_squeue *sq, unsigned int port, uint16_t q,
    struct rte_mbuf **pkts, unsigned int n, uint64_t now);
void sl_feed(struct sluice_squeue *sq, unsigned int port, struct rte_mbuf **pkts, unsigned int n,
    bool forwarded);

#endif
