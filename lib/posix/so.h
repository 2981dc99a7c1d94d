/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the sockets. See so.c for the big picture. Prototypes stand under the file that
 * implements them.
 */
#ifndef SL_POSIX_SO_H
#define SL_POSIX_SO_H

#include <pthread.h>
#include <stdatomic.h>

#include <base/pkt.h>
#include <base/tpool.h>
#include <sluice/socket.h>
#include <squeue/squeue_int.h>

/** What a socket is. Set and cleared by whoever learns it first, squeue or thread. */
enum sl_so_state {
	SL_SO_LISTENING = 1u << 0,
	SL_SO_CONNECTING = 1u << 1,
	SL_SO_CONNECTED = 1u << 2, /* handshake done at some time */
	SL_SO_TOLD = 1u << 3,      /* connect() has said so */
	SL_SO_EOF = 1u << 4,       /* nothing will be received beyond what is queued */
	SL_SO_RD_SHUT = 1u << 5,   /* shutdown(RD) */
	SL_SO_WR_SHUT = 1u << 6,   /* shutdown(WR) */
	SL_SO_DEAD = 1u << 7,      /* the connection has ended */
	SL_SO_FULL = 1u << 8,      /* the send buffer is full: txq_full(false) will come */
	SL_SO_ROOM = 1u << 9,      /* somebody wants to hear of room: as FULL */
	SL_SO_FLOW = 1u << 10,     /* the window is closed until the reader has caught up */
	SL_SO_OOB = 1u << 11,      /* an urgent byte was announced and not yet read */
	SL_SO_OOBINLINE = 1u << 12,
	SL_SO_NONBLOCK = 1u << 13,
	SL_SO_CLOSED = 1u << 14,     /* close() was called */
	SL_SO_UNACCEPTED = 1u << 15, /* stands in a listener's accept queue */
	SL_SO_DEFERRED = 1u << 16,   /* TCP_DEFER_ACCEPT: waits for data before it goes there */
	SL_SO_FIN = 1u << 17,        /* the peer's FIN was reached: no error comes after that */
	SL_SO_FAILED = 1u << 18,     /* it ended before connect() has said what came of it */
	SL_SO_OOB_READ = 1u << 19,   /* of SL_SO_OOB: MSG_OOB has given the byte out */
	SL_SO_SKIP = 1u << 20,       /* if the next byte is number `skip_at`, no read gets it */
};

/** Options that are only kept, in `kept`. */
enum sl_so_flag {
	SL_SOF_REUSEADDR = 1,
	SL_SOF_DEBUG = 2,
	SL_SOF_BROADCAST = 4,
	SL_SOF_ZEROCOPY = 8
};

/** Options that are numbers and only kept, in `number`. */
enum sl_so_number {
	SL_SON_PRIORITY,
	SL_SON_MARK,
	SL_SON_FASTOPEN,
	SL_SON_COUNT
};

/** Where threads sleep until something changes. */
struct sl_wq {
	_Atomic uint32_t seq; /* futex word */
	_Atomic uint32_t sleepers;
};

/** Bit of `life`: the descriptor is open. The rest counts references: the descriptor's, the
 * connection's, and one for each call that is under way. */
#define SL_SO_OPEN (1u << 31)

struct sl_so {
	uint32_t pool; /* the pool's word */
	uint32_t idx;  /* descriptor + 1 */
	_Atomic uint32_t life;
	_Atomic uint32_t state;
	struct sluice_stack *st;
	_Atomic sluice_conn_t conn;
	_Atomic int error; /* so_error: taken by the first call that can report it */
	_Atomic uint32_t
	    watches; /* list of struct sl_watch; never unlinked while the socket lives */

	/* Receive. The squeue pushes chains, whoever holds rx_lock takes them. */
	_Atomic uintptr_t rx_in __attribute__((aligned(64))); /* newest first */
	_Atomic uint64_t rx_pushed;                           /* bytes, ever */
	_Atomic uint64_t rx_charge;                           /* bytes of buffers that are held */
	_Atomic uint64_t urgent;  /* of SL_SO_OOB: bytes of the stream before the urgent one */
	_Atomic uint64_t skip_at; /* of SL_SO_SKIP: an urgent byte that a newer one has followed */
	_Atomic uint32_t accepted_n; /* listener: sockets in the accept queue */
	_Atomic uint32_t rcvbuf, rcvlowat;
	struct sl_wq rx, tx;

	/* Readers' side, under rx_lock, which no squeue takes. */
	pthread_mutex_t rx_lock __attribute__((aligned(64)));
	struct rte_mbuf *rx_head, *rx_last; /* chains by sl_pkt_next, oldest first */
	uint32_t rx_off;                    /* bytes of the first mbuf that were read */
	_Atomic uint64_t rx_read;           /* bytes, ever */
	uint32_t acc_head;                  /* listener: accepted sockets, oldest first */
	uint32_t acc_next;                  /* in the accept queue of another */
	_Atomic uint32_t acc_in;            /* newest first; pushed by any squeue */
	sluice_conn_t listener;             /* who has our backlog credit, until accepted */

	_Atomic uint64_t rcvtimeo, sndtimeo; /* ns; 0: for ever */
	_Atomic uint32_t kept;               /* enum sl_so_flag */
	_Atomic int number[SL_SON_COUNT];    /* enum sl_so_number */
	_Atomic uint32_t busy_poll;          /* us */
	_Atomic uint32_t defer;              /* listener: s of TCP_DEFER_ACCEPT */
	struct sl_so *defer_of;              /* SL_SO_DEFERRED: the listener, referenced */
	sluice_timer_t defer_timer;
	uint8_t defer_sq; /* whose timer that is */

	/* MSG_ZEROCOPY (zerocopy.c) */
	_Atomic uint32_t zc_next;   /* number of the next call that takes something */
	_Atomic uint32_t zc_ready;  /* calls whose memory is free and that nobody was told of */
	_Atomic uintptr_t zc_done;  /* newest first, pushed by the squeue */
	struct sl_zc_call *zc_head; /* oldest first, under rx_lock */
	uint32_t vrf;
	uint16_t family;
	pthread_mutex_t watch_lock; /* who adds or removes watches */
};

/** A socket in an epoll instance. */
enum sl_watch_flags {
	SL_WATCH_QUEUED = 1, /* stands in the instance's ready list */
	SL_WATCH_OWNED = 2,  /* stands in a socket's list */
};
struct sl_watch {
	uint32_t pool;
	uint32_t idx;
	_Atomic uint32_t flags;
	_Atomic uint32_t ep;   /* instance, 0: none (the node may be used again) */
	_Atomic uint32_t mask; /* EPOLL* of interest; without event bits: disarmed */
	uint32_t next;         /* in the socket's list: set before it is linked */
	_Atomic uint32_t ready_next;
	/* Under the instance's lock */
	uint32_t ep_next, ep_prev;
	uint32_t so; /* of whom */
	epoll_data_t data;
};

typedef void (*sl_ep_wake_fn)(void *arg);

struct sl_ep {
	uint32_t pool;
	uint32_t idx;
	_Atomic uint32_t life;     /* as a socket's */
	_Atomic uint32_t ready_in; /* newest first; pushed by any thread */
	struct sl_wq wq;
	_Atomic sl_ep_wake_fn wake;
	_Atomic(void *) wake_arg;
	pthread_mutex_t lock; /* between threads that change or wait; no squeue takes it */
	uint32_t first;       /* its watches, by ep_next */
	uint32_t ready_head, ready_tail; /* oldest first */
};

/** Of a stack. */
struct sl_posix {
	struct sl_tpool sos, watches, eps;
};

static inline struct sl_posix *sl_posix_of(const struct sluice_stack *st)
{
	return st->posix;
}

/* ==== so.c: life of sockets, upcalls ==== */
extern const struct sluice_upcalls sl_so_upcalls;
/** A socket with one reference for its descriptor; NULL: sock.max or memory. Any thread. */
struct sl_so *sl_so_new(struct sluice_stack *st);
/** Open socket of a descriptor, with a reference more; NULL. Any thread. */
struct sl_so *sl_so_get(struct sluice_stack *st, int fd);
void sl_so_ref(struct sl_so *so);
void sl_so_put(struct sl_so *so);
/** The descriptor ends: true for the one caller that ended it. */
bool sl_so_end(struct sl_so *so);
/** May this call wait? Never on a thread that polls a squeue. */
bool sl_so_may_wait(const struct sl_so *so, int flags);
/** so_error, taken; -errno or 0. */
int sl_so_take_error(struct sl_so *so);
static inline uint32_t sl_so_state(const struct sl_so *so)
{
	return atomic_load_explicit(&so->state, memory_order_acquire);
}
static inline void sl_so_set(struct sl_so *so, uint32_t bits)
{
	atomic_fetch_or_explicit(&so->state, bits, memory_order_acq_rel);
}
/** Returns what the bits were. */
static inline uint32_t sl_so_clear(struct sl_so *so, uint32_t bits)
{
	return atomic_fetch_and_explicit(&so->state, ~bits, memory_order_acq_rel) & bits;
}
/** Bytes that can be read. */
static inline uint64_t sl_so_rx_bytes(const struct sl_so *so)
{
	return atomic_load_explicit(&so->rx_pushed, memory_order_acquire) -
	       atomic_load_explicit(&so->rx_read, memory_order_relaxed);
}

/** Is the next byte the urgent one, which no plain read gets? */
static inline bool sl_so_at_urgent(const struct sl_so *so)
{
	uint32_t s = sl_so_state(so);

	return SL_UNLIKELY(s & SL_SO_OOB) && !(s & SL_SO_OOBINLINE) &&
	       atomic_load_explicit(&so->urgent, memory_order_relaxed) ==
		   atomic_load_explicit(&so->rx_read, memory_order_relaxed);
}

/** Bytes that make the socket readable: what is asked, but never more than can come before the
 * reader has read. */
static inline uint32_t sl_so_lowat(const struct sl_so *so)
{
	uint32_t low = atomic_load_explicit(&so->rcvlowat, memory_order_relaxed),
		 most = atomic_load_explicit(&so->rcvbuf, memory_order_relaxed) / 2;

	return SL_LIKELY(low <= most) ? low : RTE_MAX(most, 1u);
}

/* ==== wait.c ==== */
/** Deadline of a time-out in ns from now (0: never). */
uint64_t sl_wq_deadline(uint64_t ns);
/** Say that one may sleep, then look at what is waited for, then sl_wq_wait with what this
 * returned, in a loop; sl_wq_leave at the end. */
uint32_t sl_wq_enter(struct sl_wq *w);
/** 0 woken (or not: look again), -EINTR, -ETIMEDOUT. */
int sl_wq_wait(struct sl_wq *w, uint32_t seq, uint64_t deadline);
void sl_wq_leave(struct sl_wq *w);
/** After a change: wake all. Returns whether anybody slept. Any thread. */
bool sl_wq_wake(struct sl_wq *w);

/* ==== option.c ==== */
/** What an accepted socket has of its listener. */
void sl_so_inherit(struct sl_so *so, struct sl_so *listener);

/* ==== zerocopy.c ==== */
struct sl_zc_call;
/** A call with MSG_ZEROCOPY begins; NULL without memory. */
struct sl_zc_call *sl_so_zc_begin(struct sl_so *so);
/** As sluice_send_copy. */
ssize_t sl_so_zc_send(
    struct sl_so *so, struct sl_zc_call *z, const void *buf, size_t len, unsigned int flags);
/** The call ends; took: it sent something, and will be reported. */
void sl_so_zc_end(struct sl_so *so, struct sl_zc_call *z, bool took);
/** The zcopy_notify upcall. */
void sl_so_zc_notify(struct sl_so *so, void *cookie);
/** recvmsg(MSG_ERRQUEUE): 0, -EAGAIN. */
ssize_t sl_so_zc_recv(struct sl_so *so, struct msghdr *msg);
void sl_so_zc_free(struct sl_so *so);

/* ==== recv.c ==== */
/** May the squeue hand over what has come? False: no space above; the reader will ring. */
bool sl_so_rx_space(struct sl_so *so);
/** A chain of `len` bytes from the squeue. */
void sl_so_rx_push(struct sl_so *so, struct rte_mbuf *m, uint32_t len);
/** Takes rx_lock; false: it is taken, and this thread, which polls a squeue, must not wait. */
bool sl_so_rx_lock(struct sl_so *so);
/** Drops what was not read. */
void sl_so_rx_purge(struct sl_so *so);
/** The last reference is gone: frees what was not read. */
void sl_so_rx_free(struct sl_so *so);

/** All that nobody has read, as one chain by m->next; NULL: nothing. On the connection's squeue, or
 * nobody pushes any more; rx_lock is held. */
struct rte_mbuf *sl_so_rx_reclaim(struct sl_so *so);

/* ==== owner.c: the operations, on the squeue ==== */
int64_t sl_so_op_detach(struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *args);
int64_t sl_so_op_attach(struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *args);

/* ==== accept.c ==== */
int sl_so_newconn(void *arg, sluice_conn_t listener, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up);
/** SL_SO_DEFERRED is over: data or the end came (`give`: the listener gets it), or nobody will have
 * it. On the connection's squeue. */
void sl_so_undefer(struct sl_so *so, bool give);
/** Resets all that nobody has accepted. */
void sl_so_accept_flush(struct sl_so *so);

/* ==== poll.c ==== */
/** POLL* / EPOLL* bits that hold now. */
uint32_t sl_so_events(struct sl_so *so);
/** Something of `events` has changed: tell who watches. Any thread; never blocks. */
void sl_so_notify(struct sl_so *so, uint32_t events);
/** The descriptor ends: leaves all instances. */
void sl_so_unwatch(struct sl_so *so);
/** The last reference is gone. */
void sl_so_watch_free(struct sl_so *so);
int sl_ep_close(struct sluice_stack *st, int fd);
/** Descriptors of epoll instances: this bit and the index. */
#define SL_EP_FD 0x40000000

/* ==== of a stack ==== */
int sl_posix_create(struct sluice_stack *st);
/** After the last squeue is gone. Returns the sockets that were still open. */
uint64_t sl_posix_destroy(struct sluice_stack *st);

#endif
