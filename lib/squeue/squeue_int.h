/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of stack and squeue: what the layers above build on. See squeue.c for the big picture.
 *
 * Work enters a squeue from outside in two shapes, both named by a 32-bit id, so that no producer
 * ever needs memory:
 *  - doors: one per connection slot, outside the connection's slab and never given back, so that
 * any thread may ring with a stale handle. A door stands in the entry list at most once, however
 * many bits are set.
 *  - call slots: operation tag, handle, plain words, completion word.
 */
#ifndef SL_SQUEUE_INT_H
#define SL_SQUEUE_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include <base/check.h>
#include <base/counter.h>
#include <base/log.h>
#include <base/rng.h>
#include <base/siphash.h>
#include <base/slab.h>
#include <squeue/wheel.h>
#include <sluice/sluice.h>

#define SL_MAX_SQUEUES 64
#define SL_MAX_PORTS 32
#define SL_BURST 64 /* packets that travel together inside a pass */
#define SL_TXQ 512  /* packets staged per port */
#define SL_TXQ_CTL \
	32 /* of these, kept for control packets: data output stops at SL_TXQ - SL_TXQ_CTL */

/* ---- handles ---- */
#define SL_HANDLE(sq, idx, gen) (((uint64_t)(sq) << 56) | ((uint64_t)(idx) << 32) | (gen))
#define SL_HANDLE_SQ(h) ((uint32_t)((h) >> 56))
#define SL_HANDLE_IDX(h) ((uint32_t)((h) >> 32) & 0xffffffu)
#define SL_HANDLE_GEN(h) ((uint32_t)(h))

/* ---- doors ---- */
/*
 * What may be rung. Each of the first four has a place of its own in the entry list, the rest share
 * one (enum sl_door_node).
 */
enum sl_bell {
	SL_BELL_SHUT_WR = 1u << 0,
	SL_BELL_SHUT_RD = 1u << 1,
	SL_BELL_CLOSE = 1u << 2,
	SL_BELL_ABORT = 1u << 3,
	SL_BELL_FLOWCTRL = 1u << 4, /* clr_flowctrl */
	SL_BELL_ROOM = 1u << 5,     /* a sender was refused: it wants txq_full(false) */
	SL_BELL_FLUSH = 1u << 6,    /* NODELAY was set: what waits may go */
	SL_BELL_ALL = (1u << 7) - 1,
	SL_BELL_AGAIN = 8,               /* shift of the bits that run once more at the end */
	SL_BELL_QUEUED = 1u << 16,       /* << node: that node stands in the entry list */
	SL_BELL_LATE = 1u << 24,         /* a ring went as a call */
	SL_BELL_ABORTED_ONCE = 1u << 28, /* abort was asked, maybe after a close: as sticky */
	SL_BELL_OPEN = 1u << 29, /* the slot lives: between sl_door_open and sl_door_close */
	/* close or abort was asked: sticky, a second one gets -EALREADY */
	SL_BELL_CLOSED_ONCE = 1u << 30,
};

/** Nodes of a door in the entry list; the first four are numbered as their bits. */
enum sl_door_node {
	SL_NODE_SHUT_WR,
	SL_NODE_SHUT_RD,
	SL_NODE_CLOSE,
	SL_NODE_ABORT,
	SL_NODE_MISC,
	SL_NODES
};

/** Published state of a connection, read by any thread under its sequence count. */
struct sl_pub {
	_Atomic uint32_t seq; /* odd while being written */
	/* Acked: bytes ever given back by the squeue, modulo 2^32 (release) */
	_Atomic uint32_t credit;
	_Atomic uint8_t state;   /* enum sluice_state (release) */
	_Atomic uint8_t nodelay; /* written by setsockopt from any thread: the one exception */
	_Atomic uint8_t shut;    /* 1 send side closed by the application */
	uint8_t family;          /* AF_INET or AF_INET6, as created */
	_Atomic uint32_t connid; /* 0: never connected */
	_Atomic uint32_t sndbuf; /* bytes */
	uint16_t lport, rport;   /* network order; under seq, like the addresses */
	struct sluice_addr laddr, raddr;
};

/**
 * A message between squeues that brings its own memory: an entry like any other. What it is part of
 * knows what it means; `kind` says which hook of the table it is for (enum sl_note_kind).
 */
struct sl_note {
	uint64_t link;
	uint32_t kind;
};

/**
 * A connection that has moved at least once: how it travels (lib/tcp/move.c). Made at the birth
 * squeue, and freed there with the connection.
 */
struct sl_transit {
	struct sl_note note; /* the one message about the connection that is on its way */
	/* Entries that wait at the birth squeue while it is on its way back, newest first */
	uint64_t held;
	struct sl_conn *conn;
	struct sl_conn *guest_next, **guest_pprev; /* guests of the squeue that owns it */
	uint64_t now;                              /* of the squeue that it left */
	uint32_t home_fwd, trace; /* forwarding entries, at the birth squeue and at the owner */
	uint8_t stage;            /* of the message: enum in move.c */
	uint8_t want;             /* squeue to which it is to go */
	bool asked;               /* the owner has asked for it to be fetched */
	bool go;                  /* ... and nothing of it is on its way to the owner any more */
	bool dead;                /* it has ended: only its memory goes home */
	bool output;              /* it stood in the output list */
	bool trace_stays;         /* the owner's forwarding entry is that of a bound port */
};

struct sl_door {
	_Atomic uint64_t word; /* generation << 32 | enum sl_bell; generation 0: never used */
	/*
	 * Bytes ever handed in by sl_chain_push, and of these taken off the entry list by the
	 * squeue, both modulo 2^32 and over all lives of the slot. Bytes in the send buffer are
	 * (int32_t)(queued - pub.credit).
	 */
	_Atomic uint32_t queued;
	uint32_t taken;
	/* Squeue that owns the connection now, written by it alone; SL_NOBODY: it is on its way */
	_Atomic uint32_t owner;
	/* Birth squeue only: where entries go on to; 0: they run here */
	uint32_t away;
	/* Links: owned by who set the node's SL_BELL_QUEUED, then by the squeue. */
	uint64_t node[SL_NODES];
	struct sl_pub pub;
	struct sl_transit *transit; /* NULL: it has never moved */
} __attribute__((aligned(64)));
#define SL_NOBODY SL_MAX_SQUEUES
/* Of `away`, beside squeue + 1: entries wait / the birth squeue was parked when it left */
#define SL_AWAY_HELD 0x80000000u
#define SL_AWAY_PARKED 0x40000000u
#define SL_AWAY_SQ(away) (((away)&0xffffu) - 1)
_Static_assert(sizeof(struct sl_door) == 128, "a door is two cache lines: bell, published");

/* ---- calls ---- */
/** Tags of the library's own operations; the embedder's follow from SL_OP_USER. X(tag, name) */
#define SL_OPS(X)                                                             \
	X(SL_OP_DOOR, "door") /* rings; as a call, a[0]: bits */              \
	X(SL_OP_DATA, "data") /* pseudo tag that counts chains */             \
	X(SL_OP_ENTER, "synch_enter")                                         \
	X(SL_OP_CONFIG, "config") /* a[0]: snapshot */                        \
	X(SL_OP_CREATE, "create")                                             \
	X(SL_OP_ACTIVATE, "activate")                                         \
	X(SL_OP_BIND, "bind")                                                 \
	X(SL_OP_LISTEN, "listen")                                             \
	X(SL_OP_LISTEN_ADD, "listen_add") /* a[0]: shard; async broadcast */  \
	X(SL_OP_LISTEN_DEL, "listen_del")                                     \
	X(SL_OP_CONNECT, "connect")                                           \
	X(SL_OP_GETOPT, "getsockopt")                                         \
	X(SL_OP_SETOPT, "setsockopt")                                         \
	X(SL_OP_INFO, "conn_info")                                            \
	X(SL_OP_SOURCES, "set_sources")                                       \
	X(SL_OP_ADDR_STATE, "addr_state")                                     \
	X(SL_OP_ACCEPT, "accept")                                             \
	X(SL_OP_FWD_ADD, "fwd_add")                                           \
	X(SL_OP_FWD_DEL, "fwd_del")                                           \
	X(SL_OP_STEER, "steering") /* key; a[5]: port */                      \
	X(SL_OP_MOVE, "move")      /* a[0]: to; a[1]: enum sl_move_what */    \
	X(SL_OP_IFS, "interfaces")                                            \
	X(SL_OP_RESET, "reset") /* as if the peer had reset it, and it too */ \
	X(SL_OP_ABORT_SOME, "abort_matching")                                 \
	X(SL_OP_PORT, "port")        /* leave it, or come back: reset.c */    \
	X(SL_OP_PARK, "park")        /* a[0]: 1 drain, 0 run again */         \
	X(SL_OP_RECALL, "recall")    /* its birth squeue wishes it back */    \
	X(SL_OP_DETACH, "so_detach") /* socket, upcalls, upper handle */      \
	X(SL_OP_ATTACH, "so_attach") /* socket */                             \
	X(SL_OP_MISC, "misc")
enum sl_op {
#define X(tag, name) tag,
	SL_OPS(X)
#undef X
	SL_OP_NLIB,
	SL_OP_USER = 32, /* public tag t is SL_OP_USER + t internally */
	SL_OP_MAX = SL_OP_USER + SLUICE_MAX_OPS,
};

enum sl_call_state {
	SL_CALL_FREE,
	SL_CALL_POSTED,
	SL_CALL_WAITED,
	SL_CALL_DONE
};

struct sl_call {
	uint64_t link; /* entry list */
	uint32_t next; /* free list, or list of synch_enter calls */
	uint16_t tag;
	uint8_t async;   /* nobody waits: the squeue frees the slot */
	uint8_t by_conn; /* goes where the connection is */
	sluice_conn_t conn;
	/* Of a synchronous call: may hold pointers into the waiting caller's memory */
	struct sluice_args args;
	int64_t result;
	_Atomic uint32_t state; /* futex word */
	uint32_t pad2;
} __attribute__((aligned(64)));

/**
 * An entry is a word. 0 ends a list. Even: the address of a chain's first mbuf, or, with
 * SL_ENTRY_NOTE, of a note. Odd: an id << 1 | 1, which is SL_ID_CALL | call slot, or a door's index |
 * node << SL_ID_NODE; above, a door's birth squeue, as its number xor that of the list's squeue: so
 * that nothing stands there when they are the same.
 */
typedef uint64_t sl_entry_t;
#define SL_ID_CALL 0x80000000u
#define SL_ID_NODE 24
#define SL_ENTRY(id) ((sl_entry_t)(id) << 1 | 1)
#define SL_ENTRY_NOTE 2u
#define SL_ENTRY_BIRTH 33

/** What a connection is called on a squeue: its birth squeue xor this one, above its index. So the
 * name of one that was born here is its index. */
#define SL_NAME(sq, birth, idx) (((uint32_t)((birth) ^ (sq)->id) << 24) | (idx))
#define SL_NAME_SQ(sq, name) ((name) >> 24 ^ (sq)->id)
#define SL_NAME_IDX(name) ((name)&0xffffffu)

enum sl_note_kind {
	SL_NOTE_MOVE, /* struct sl_transit */
	SL_NOTE_FWD,  /* struct sl_fwd */
};

/* ---- what the layers above hook in (set once by stack creation) ---- */
struct sl_hooks {
	/** Packets of a port, up to SL_BURST; takes them all. verified: forwarded by another
	 * squeue, classified there. */
	void (*input)(struct sluice_squeue *sq, unsigned int port, struct rte_mbuf **pkts,
	    unsigned int n, bool forwarded);
	/** A chain for a live connection (generation checked) of this squeue, to be sent; takes it. */
	void (*data)(
	    struct sluice_squeue *sq, uint32_t name, struct rte_mbuf *chain, uint32_t flags);
	/** Bits taken off the door of a live connection (generation checked) of this squeue. */
	void (*bell)(struct sluice_squeue *sq, uint32_t name, uint32_t bits);
	/** A library operation other than ENTER. */
	int64_t (*op)(struct sluice_squeue *sq, enum sl_op op, sluice_conn_t c,
	    const struct sluice_args *args);
	/** Serve connections that have something to send, at most budget segments; returns segments
	 * sent. */
	unsigned int (*output)(struct sluice_squeue *sq, unsigned int budget);
	/** Run what upcalls put off (nested work, `closed`): end of the pass and of an inline
	 * downcall. Returns work done. */
	unsigned int (*deferred)(struct sluice_squeue *sq);
	/** Is output pending, that only waits for another pass? */
	bool (*pending)(const struct sluice_squeue *sq);
	/** A note has come. */
	void (*note)(struct sluice_squeue *sq, struct sl_note *n);
};

/** One port, as a squeue sees it. */
struct sl_txq {
	uint16_t n; /* staged */
	bool stuck; /* the last flush did not go out whole */
	struct rte_mbuf *pkts[SL_TXQ];
};

struct sl_sqport {
	struct sluice_driver drv;
	struct sluice_port_info info; /* private copy, refreshed by events */
	/*
	 * Driver queue of this squeue, -1: none (receive by forwarding, send through squeue `via`)
	 */
	int queue;
	uint16_t via;
	struct sl_txq *txq;
};

struct sl_ip;  /* lib/ip: per squeue */
struct sl_tcp; /* lib/tcp: per squeue */
struct sl_fwd_ring;

struct sluice_squeue {
	struct sluice_stack *stack;
	uint64_t now;
	struct sl_ip *ip;
	struct sl_tcp *tcp;
	const struct sl_hooks *hooks;
	/* Indexed by slot, reserved for max_connections + 1, touched lazily */
	struct sl_door *doors;
	uint16_t id;
	uint16_t nports;
	uint16_t from; /* the squeue at which the packets arrived that are being fed */
	uint8_t depth; /* upcalls on the stack (0, 1: inline data calls; deeper: deferred) */
	bool in_pass;  /* inside poll, or a holder's critical section, or an inline downcall */
	struct sl_sqport port[SL_MAX_PORTS];
	struct sl_wheel wheel;
	struct sluice_tunables tun; /* private copy */
	struct sl_rng rng;
	struct sluice_counters ctr;

	/* below: squeue.c's own */
	_Atomic sl_entry_t entries __attribute__((aligned(64))); /* list, newest first */
	_Atomic sl_entry_t arrivals; /* connections that move here: a list of notes, newest first */
	_Atomic uint32_t sleeping;   /* enum sl_sleep_how; a futex word */
	_Atomic uint32_t state;      /* enum sluice_squeue_state */
	_Atomic uintptr_t owner;     /* thread token, 0 nobody */
	_Atomic uint64_t wards;      /* parked squeues that this one looks after: park.c */
	struct sl_sq_priv *priv;
};

struct sl_op_reg {
	char name[24];
	sluice_op_fn fn;
	void *arg;
};

struct sl_stash;

/** A port that is set up anew: reset.c. */
struct sl_port_reset {
	_Atomic bool wanted;
	enum sl_reset_step {
		SL_RESET_NONE,
		SL_RESET_LEAVING,
		SL_RESET_RETURNING
	} step;               /* under reset_lock, as `told` */
	uint64_t told;        /* bit per squeue that got the entry of this step */
	_Atomic uint64_t did; /* and has run it */
	struct sluice_driver_ops off;
};

struct sluice_stack {
	char name[32];
	struct sluice_stack_params params;
	struct sluice_tunables tun; /* master; under lock */
	struct sl_log log;
	struct sl_mem_ops mem;
	unsigned int nsq;
	struct sluice_squeue *sq[SL_MAX_SQUEUES];
	struct sluice_driver port[SL_MAX_PORTS];
	unsigned int nports;
	struct sl_port_reset reset[SL_MAX_PORTS];
	pthread_mutex_t reset_lock;
	/* A squeue was polled: ports, operations and the application are fixed */
	_Atomic bool running;
	struct sl_op_reg op[SLUICE_MAX_OPS];
	unsigned int nops;
	struct sluice_app app;
	/* Stack-wide tables: bind, listeners, configuration. lcores only try it */
	pthread_mutex_t lock;
	struct sl_call *calls;      /* sq_call_slots + 1; 0 unused */
	_Atomic uint64_t call_free; /* head of the free list: ABA count << 32 | index */
	_Atomic uint32_t next_sq;   /* round robin of create */
	_Atomic uint32_t nports_changed;
	struct sl_rng rng; /* under lock */
	struct sl_sipkey secret_table, secret_iss, secret_port, secret_ts;
	/* Refusals counted by threads that own no squeue; folded into counters_sum */
	_Atomic uint64_t exdev, slots_empty, calls_stale, rings_late;
	void *ip_master;  /* lib/ip: configuration master; under lock */
	void *tcp_master; /* lib/tcp: bind table, listener groups; under lock */
	void *ctl;        /* lib/ctl */
	void *posix;      /* lib/posix: sockets */
	/* lib/sock/stash.c, under its lock: buffers that threads keep for sends; how many at most */
	struct sl_stash *stashes;
	uint32_t stashed;
};

#define SL_COUNT(sq, name) sl_ctr_add(&(sq)->ctr.name, 1)
#define SL_COUNT_N(sq, name, n) sl_ctr_add(&(sq)->ctr.name, (n))

/* ---- squeue.c, entry.c, loop.c, hold.c ---- */
int sl_squeue_create(struct sluice_stack *st, unsigned int id, const struct sl_hooks *hooks,
    struct sluice_squeue **out);
/**
 * Frees staged packets, rings, backlog, unrun entries (counted into *calls; waiting
 * callers get -ECANCELED). Runs nothing. Destroy all squeues of a stack before the next one is
 * polled: forwarding rings of a squeue are its receiver's.
 */
void sl_squeue_destroy(struct sluice_squeue *sq, uint64_t *calls);
/** What destroy does with entries; first of all squeues, as entries of one may belong to another's
 * connections. */
void sl_squeue_cancel(struct sluice_squeue *sq, uint64_t *calls);
/** Application timers that are armed. Owner. */
uint32_t sl_app_timers(const struct sluice_squeue *sq);
int sl_calls_init(struct sluice_stack *st);
void sl_calls_fini(struct sluice_stack *st);
/** Give squeue `sq` its view of port number n (nqueues pairs mapped q -> squeue q % nsq). */
int sl_squeue_add_port(struct sluice_squeue *sq, unsigned int n, struct sluice_driver d,
    const struct sluice_port_info *info);
/** Take back the port that was added last. Before the first poll. */
void sl_squeue_drop_port(struct sluice_squeue *sq);

/** Does the calling thread own the squeue (polls it, holds it, or runs an inline call on it)? */
bool sl_on_squeue(const struct sluice_squeue *sq);
/** Does the calling thread poll any squeue of any stack? */
bool sl_thread_polls(void);

/**
 * Ring: what the bits ask for runs at this place among the entries (see entry.c), when the handle's
 * generation matches. 0, -EBADF; -EALREADY when bits hold SL_BELL_CLOSED_ONCE or _ABORTED_ONCE and
 * that was set before (nothing is rung). Any thread, also the owner. Release: what was written
 * before is seen by the bell hook. Cannot fail otherwise.
 */
int sl_ring(struct sluice_stack *st, sluice_conn_t c, uint32_t bits);
/** Enter a chain of `len` bytes, for the data hook; flags < 256. 0, or -EBADF (the chain is still
 * the caller's). Any thread. */
int sl_chain_push(
    struct sluice_stack *st, sluice_conn_t c, struct rte_mbuf *chain, uint32_t len, uint32_t flags);
/** Owner: begin a life of slot idx; returns the generation. / end it: late ringers get -EBADF, late
 * chains are freed and counted. */
uint32_t sl_door_open(struct sluice_squeue *sq, uint32_t idx);
void sl_door_close(struct sluice_squeue *sq, uint32_t idx);
/** Door of a handle, NULL when squeue or index are out of range (the generation may be stale). Any
 * thread. */
static inline struct sl_door *sl_door_of(struct sluice_stack *st, sluice_conn_t c)
{
	uint32_t sq = SL_HANDLE_SQ(c), idx = SL_HANDLE_IDX(c);

	if (sq >= st->nsq || idx == 0 || idx > st->params.max_connections)
		return NULL;
	return &st->sq[sq]->doors[idx];
}
/** The owner: SL_NOBODY while the connection is on its way. Any thread; true for as long as the
 * caller is on that squeue. */
static inline uint32_t sl_door_owner(const struct sl_door *d)
{
	return atomic_load_explicit(&d->owner, memory_order_acquire);
}
/** On the squeue: do chains for this door stand in the list? */
static inline bool sl_door_has_chains(const struct sl_door *d)
{
	return atomic_load_explicit(&d->queued, memory_order_acquire) != d->taken;
}
/** Is the generation current? Any thread. */
static inline bool sl_handle_live(struct sluice_stack *st, sluice_conn_t c)
{
	struct sl_door *d = sl_door_of(st, c);
	uint64_t w;

	if (d == NULL)
		return false;
	w = atomic_load_explicit(&d->word, memory_order_acquire);
	return (uint32_t)(w >> 32) == SL_HANDLE_GEN(c) && (w & SL_BELL_OPEN) != 0;
}

/** The engine under sluice_synch_call, for library operations too (tag = enum sl_op). Errors as
 * there, -EXDEV, -ENOBUFS. */
int64_t sl_synch_call(struct sluice_stack *st, unsigned int sq_id, unsigned int tag,
    sluice_conn_t c, const struct sluice_args *args);
int sl_post(struct sluice_stack *st, unsigned int sq_id, unsigned int tag, sluice_conn_t c,
    const struct sluice_args *args);
/** The same, to where the connection is, in one order with all that is asked of it. -EBADF. */
int64_t sl_conn_call(
    struct sluice_stack *st, unsigned int tag, sluice_conn_t c, const struct sluice_args *args);
int sl_conn_post(
    struct sluice_stack *st, unsigned int tag, sluice_conn_t c, const struct sluice_args *args);
/** Reserve n call slots for posts that must not fail later (broadcasts); 0 or -ENOBUFS. */
int sl_calls_reserve(struct sluice_stack *st, unsigned int n, uint32_t *slots);
void sl_calls_unreserve(struct sluice_stack *st, unsigned int n, const uint32_t *slots);
void sl_post_reserved(struct sluice_stack *st, unsigned int sq_id, uint32_t slot, unsigned int tag,
    sluice_conn_t c, const struct sluice_args *args);

/* ---- park.c ---- */
/** Is it to get new connections? Any thread. */
static inline bool sl_running(const struct sluice_stack *st, unsigned int id)
{
	return atomic_load_explicit(&st->sq[id]->state, memory_order_acquire) ==
	       SLUICE_SQUEUE_RUNNING;
}
/** Owner of a squeue that drains: all that could leave has left. */
void sl_park_done(struct sluice_squeue *sq);

/* ---- moving connections: see lib/tcp/move.c ---- */
/** Send a note to a squeue, behind all entries there; or, as an arrival, before whatever entry and
 * packet about the connection comes after it. The note is the receiver's. */
void sl_note_push(struct sluice_squeue *from, struct sluice_squeue *to, struct sl_note *n);
void sl_arrival_push(struct sluice_squeue *to, struct sl_note *n);
/** Birth squeue: entries of the door wait / go on to squeue `to`, those that waited first. to ==
 * the birth squeue: they run there, before all others. */
void sl_mail_hold(struct sluice_squeue *sq, struct sl_door *d);
void sl_mail_to(struct sluice_squeue *sq, struct sl_door *d, unsigned int to);
/** Teardown: take all notes out of the lists; what they are part of may go. */
void sl_notes_drop(struct sluice_squeue *sq);
/** Packets ever forwarded to squeue `to`, modulo 2^32 / has that one taken as many of ours? */
uint32_t sl_fwd_mark(struct sluice_squeue *sq, unsigned int to);
bool sl_fwd_passed(struct sluice_squeue *sq, unsigned int from, uint32_t mark);

/* Transmit: staged here, flushed once per pass. */
/** Room for data packets on a port (control packets have SL_TXQ_CTL more). */
static inline unsigned int sl_tx_room(const struct sluice_squeue *sq, unsigned int port)
{
	unsigned int n = sq->port[port].txq->n;

	return n < SL_TXQ - SL_TXQ_CTL ? SL_TXQ - SL_TXQ_CTL - n : 0;
}
/** Stage a frame that the driver can take as it is. Ownership passes. False (mbuf still the
 * caller's) only when even the control room is full. */
bool sl_tx_push(struct sluice_squeue *sq, unsigned int port, struct rte_mbuf *m);
/** Forward a received packet to the squeue that owns it; frees and counts when the ring is full. */
void sl_forward(struct sluice_squeue *sq, unsigned int to, unsigned int port, struct rte_mbuf *m);

/** Bracket every upcall: counts depth; data calls test it. */
static inline void sl_upcall_begin(struct sluice_squeue *sq)
{
	sq->depth++;
}
static inline void sl_upcall_end(struct sluice_squeue *sq)
{
	sq->depth--;
}

/** Timer kinds of the wheel. */
enum sl_timer_kind {
	SL_TIMER_CONN,
	SL_TIMER_HALF,
	SL_TIMER_TW,
	SL_TIMER_NEIGH,
	SL_TIMER_IP,
	SL_TIMER_APP,
	SL_TIMER_DRAIN
};

#endif
