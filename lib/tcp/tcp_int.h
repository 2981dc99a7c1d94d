/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TCP's inside: the connection and what its parts call of each other. Prototypes stand under the
 * file that implements them. Everything runs on the connection's squeue unless it says otherwise.
 * See tcp.c for the big picture.
 */
#ifndef SL_TCP_INT_H
#define SL_TCP_INT_H

#include <netinet/tcp.h>
#include <string.h>

#include <base/pkt.h>
#include <base/seq.h>
#include <ip/ip_int.h>
#include <squeue/squeue_int.h>
#include <tcp/cc/cc.h>
#include <tcp/conntab.h>

/* ---- segments ---- */
enum {
	SL_TH_FIN = 1,
	SL_TH_SYN = 2,
	SL_TH_RST = 4,
	SL_TH_PUSH = 8,
	SL_TH_ACK = 16,
	SL_TH_URG = 32,
	SL_TH_ECE = 64,
	SL_TH_CWR = 128
};

#define SL_MAX_SACK 4
struct sl_opts {
	uint32_t tsval, tsecr;
	uint16_t mss;   /* 0: absent */
	uint8_t wscale; /* already clamped to 14 */
	uint8_t nsack;
	bool has_ts, has_wscale, sack_ok;
	struct {
		uint32_t start, end;
	} sack[SL_MAX_SACK];
};

/** A segment in input: header fields in host order. Trimming moves seq, len and m together. */
struct sl_seg {
	struct rte_mbuf *m;     /* payload when len > 0 (header removed); NULL once queued */
	uint32_t seq, ack, wnd; /* wnd not scaled */
	uint32_t len;           /* payload bytes */
	uint16_t urp;
	uint8_t flags, tos;
	uint8_t pflags; /* enum sl_pkt_flags */
	struct sl_opts o;
	const struct sl_pkt *pkt;
};

/* ---- timers of a connection: one wheel node, an array of deadlines ---- */
enum sl_tcp_timer {
	SL_T_RTX,
	SL_T_PERSIST,
	SL_T_DELACK,
	SL_T_KEEP,
	SL_T_MISC,
	SL_T_COUNT
};

/* ---- transmission records: exist only in flight ---- */
enum sl_rec_flags {
	SL_REC_SACKED = 1,  /* the peer holds it */
	SL_REC_LOST = 2,    /* deemed lost, not yet sent again */
	SL_REC_RETRANS = 4, /* sent more than once: no RTT sample (Karn) without timestamps */
	SL_REC_FIN = 8,     /* its last sequence number is the FIN */
	SL_REC_APPLIM = 16, /* sent while limited by the application */
};
/** [start, end): one transmission; ordered by start without holes from snd_una to snd_max. */
struct sl_rec {
	struct sl_rec *next, *prev;
	uint32_t start, end;
	uint64_t sent_at;   /* last time, ns */
	uint64_t delivered; /* conn->delivered when it was sent */
	struct rte_mbuf *m; /* where `start` lies in the send queue; NULL for a bare FIN */
	uint32_t off;
	uint32_t idx; /* slab index */
	uint8_t flags, xmits;
};

enum sl_conn_flags {
	/* opt holds what each segment must be looked at for: minttl, notsent_lowat */
	SL_C_SPECIAL = 1u << 0,
	SL_C_SACK = 1u << 1,
	SL_C_TS = 1u << 2,
	SL_C_WSCALE = 1u << 3,
	SL_C_ACK_NOW = 1u << 4,     /* an ACK must leave in this pass */
	SL_C_ACK_DELAYED = 1u << 5, /* the delayed ACK timer runs */
	SL_C_FIN_QUEUED = 1u << 6, /* the application shut the send side: FIN after the last byte */
	SL_C_FIN_SENT = 1u << 7,   /* snd_max covers the FIN */
	SL_C_FIN_RCVD = 1u << 8,   /* the peer's FIN was reached in order */
	SL_C_CLOSED_BY_APP =
	    1u << 9,               /* close or abort ran: no upcalls but zcopy_notify and closed */
	SL_C_RCV_SHUT = 1u << 10,  /* shutdown(RD): data is acknowledged and dropped */
	SL_C_FLOWCTRL = 1u << 11,  /* recv said no space: window closed until clr_flowctrl */
	SL_C_TXQ_FULL = 1u << 12,  /* txq_full(true) was told */
	SL_C_ON_OUTPUT = 1u << 13, /* stands in the output list */
	SL_C_TOUCHED = 1u << 14,   /* stands in the touched list of this input batch */
	SL_C_ACCEPT_PENDING = 1u << 15, /* holds a backlog credit of its listener */
	SL_C_RECOVERY = 1u << 16,       /* fast recovery until snd_una reaches recover */
	SL_C_RTO_RECOVERY = 1u << 17,   /* after a time-out, until snd_una reaches recover */
	SL_C_KEEPALIVE = 1u << 18,
	SL_C_OOBINLINE = 1u << 19,
	SL_C_URG_OUT = 1u << 20,   /* snd_up is ahead of snd_una */
	SL_C_URG_IN = 1u << 21,    /* rcv_up is ahead of what was read */
	SL_C_PUSH_SEEN = 1u << 22, /* of this batch */
	/* Opened by connect (SYN_RCVD of a simultaneous open goes back to CLOSED, not LISTEN) */
	SL_C_ACTIVE = 1u << 23,
	SL_C_HELD = 1u << 24,       /* SYN waits for a forwarding entry on another squeue */
	SL_C_BOUND_PORT = 1u << 25, /* holds a reservation in the bind table */
	SL_C_IN_TABLE = 1u << 26,
	SL_C_EPHEMERAL = 1u << 27,
	SL_C_MORE = 1u << 28,    /* MSG_MORE or cork: hold a partial segment */
	SL_C_WUPDATE = 1u << 29, /* the ACK to send is a window update */
	SL_C_ACTIVATED = 1u << 30,
	SL_C_MSG_MORE = 1u << 31, /* the last send said that more follows */
};

/** Upcalls that wait for the end of the pass. Order of the bits is the order in which they are
 * made. */
enum sl_deferred {
	SL_D_MOVED = 1,
	SL_D_CONNECTED = 2,
	SL_D_SHUT_SEND = 4,
	SL_D_RECV = 8,
	SL_D_OOB = 16,
	SL_D_SHUT_RECV = 32,
	SL_D_TXQ_CLEAR = 64,
	SL_D_TXQ_FULL = 128,
	SL_D_ERROR = 256,
	SL_D_DISCONNECTED = 512,
	SL_D_CLOSED = 1024,
	/* Its user has not heard of it: before all others, where it is to live */
	SL_D_NEWCONN = 2048,
	SL_D_UPCALLS = 4095,
	SL_D_MOVE = 0x4000,   /* no upcall: it is to leave this squeue, or to ask for that */
	SL_D_LISTED = 0x8000, /* stands in the deferred list */
};

struct sl_reasm; /* out-of-order segments, allocated when the first one comes */
struct sl_group;

/**
 * An established connection: ten lines. With its door (two lines) and its share of the table it is to
 * cost at most 768 bytes: for that one line must go yet.
 * Lines: identity + hot receive, hot transmit, recovery, cold.
 */
struct sl_conn {
	/* line 0: identity and the receive fast path */
	struct sl_key key;
	uint32_t flags; /* enum sl_conn_flags */
	uint32_t idx;   /* slab and door index, at the birth squeue */
	uint32_t rcv_nxt;
	uint32_t rcv_adv; /* right edge advertised: never moves left */
	uint32_t snd_una;
	/*
	 * Next new or resent sequence number; after a time-out records are marked lost instead:
	 * equals snd_max
	 */
	uint32_t snd_nxt;

	/* line 1: receive and acknowledge */
	uint32_t snd_max; /* highest sequence sent + 1 */
	uint32_t snd_wnd; /* peer's window, scaled */
	/* RFC 9293's SND.WL2 is never more than snd_una, so an ACK that is not below that passes */
	uint32_t snd_wl1;
	uint32_t ts_recent; /* RFC 7323 4.3 */
	uint32_t last_ack_sent;
	uint32_t ts_offset;    /* added to our clock */
	uint32_t ts_recent_ms; /* squeue time of ts_recent, ms: aging after 24 days */
	uint32_t rcv_up;       /* sequence after the urgent byte received */
	/* Readable, one chain by m->next; pkt_len of inner mbufs is not kept */
	struct rte_mbuf *rcvq_head, *rcvq_tail;
	uint32_t rcvq_bytes;
	uint32_t rcvq_charge;           /* buffer bytes held */
	uint8_t state;                  /* enum sluice_state */
	uint8_t snd_wscale, rcv_wscale; /* shifts: of the peer's, of our advertisements */
	uint8_t quickack;               /* segments still acknowledged at once */
	uint8_t delack_segs;            /* full segments not yet acknowledged */
	uint8_t dupacks;
	uint8_t rtx_shift; /* RTO back-off */
	uint8_t keep_probes;

	/* line 2: transmit */
	struct rte_mbuf *sndq_head, *sndq_tail; /* from snd_una, by m->next */
	/*
	 * Where snd_nxt lies: mbuf and offset; NULL: at the end (re-found from sndq_head or the
	 * tail)
	 */
	struct rte_mbuf *snd_m;
	struct sl_door *door; /* at the birth squeue */
	uint32_t snd_off;
	uint32_t sndq_head_off; /* bytes of sndq_head that are acknowledged already */
	uint32_t sndq_bytes;    /* snd_una to the end of the queue, without FIN */
	/* Payload of a full segment, options of the established state already taken off */
	uint32_t mss;
	uint32_t max_sndwnd;
	uint16_t peer_mss;
	uint8_t misc_why;                      /* what SL_T_MISC means now: enum sl_misc */
	bool reuseport;                        /* SO_REUSEPORT, or inherited */
	struct sl_conn *out_next, **out_pprev; /* output list (round robin) */

	/* line 3: recovery */
	struct sl_rec *rec_head, *rec_tail;
	uint64_t delivered; /* bytes the peer has, SACKed ones too */
	/* ns; srtt 0: no sample yet, rttvar is then the RTO to begin with, 0: the tunable's */
	uint64_t srtt, rttvar;
	uint32_t recover;                /* snd_max when recovery began */
	uint32_t pipe_sacked, pipe_lost; /* bytes of records SACKED / LOST: equal recomputation */
	uint32_t prr_delivered, prr_out, recover_fs;
	uint32_t high_sacked; /* highest sequence SACKed */
	uint32_t iss, irs;
	uint32_t rto_at_una; /* snd_una at the last time-out (spurious detection) */
	uint64_t rack_at;    /* latest sent_at of what was delivered (RFC 8985's RACK.xmit_ts) */

	/* line 4: congestion control */
	struct sl_cc cc;

	/* cold */
	uint32_t deadline[SL_T_COUNT]; /* wheel ticks, low 32 bits; 0: off */
	uint32_t zc_out;               /* external sends not yet let go: `closed` waits for them */
	struct sl_timer timer;
	struct sl_flow flow;
	struct sl_reasm *ooo;
	const struct sluice_upcalls *up;
	void *up_arg;
	struct sl_binding *binding; /* SL_C_BOUND_PORT: the row of the bind table */
	struct sl_group *group; /* listener: its group; eager with ACCEPT_PENDING: its listener's */
	struct sl_opt *opt; /* options that differ from the tunables: allocated when first set */
	/* R2: when the oldest unacknowledged byte was first sent (or the window closed) */
	uint64_t first_unacked_at;
	/* Nothing could be sent for want of a route or neighbour since then; 0: it can */
	uint64_t no_way_since;
	uint64_t last_rcv; /* keepalive */
	uint64_t last_snd; /* idle restart */
	uint64_t bytes_in, bytes_out;
	uint32_t segs_in, segs_out, retrans;
	uint16_t rtos, recoveries; /* stay at their largest value */
	uint32_t challenge_at;     /* tick of the last ACK for an invalid segment, 0: none */
	uint32_t def_next;         /* deferred list: name of the next connection, 0: none */
	uint32_t sndbuf, rcvbuf;
	uint16_t deferred; /* enum sl_deferred */
	uint16_t linger;   /* seconds + 1; 0: off; 1: linger 0 */
	int16_t err;       /* errno: of disconnected, so_error */
	int16_t soft_err;
	uint8_t last_up;    /* last upcall made + 1: the order is checked in debug builds */
	uint8_t batch;      /* enum sl_batch: what this input batch brought */
	bool cwnd_stopped;  /* cwnd held data back when cc.stop_seq was snd_max */
	uint8_t rtx_silent; /* time-outs since the peer was heard, up to R1 (RFC 9293 3.8.3) */
	bool rescued;       /* this recovery has resent the tail (RFC 6675 NextSeg 4) */
	uint8_t force_push; /* the hold of MSG_MORE or cork is over: send the partial segment */
	uint8_t birth;      /* squeue whose slab and doors it is in */
	bool pinned;        /* sluice_pin: it does not move */
	/* Places in the list of records, so that no ACK has to walk all of it. */
	struct sl_rec *sack_hint;      /* where the newest SACK block lay; NULL: nowhere */
	struct sl_rec *lost_hint;      /* no record before it is LOST; NULL: none at all is */
	uint32_t rec_n;                /* records in the list */
	uint32_t sack_debt, loss_debt; /* records walked and not yet paid for by ACKs */
	uint32_t snd_up;               /* sequence after the urgent byte sent */
	sluice_conn_t spliced;         /* bytes went to or came from this one: they move together */
	uint32_t urg_mib;              /* MiB of bytes_in when rcv_up was set */
};

enum sl_batch {
	SL_B_DATA = 1,
	SL_B_FIN = 2,
	SL_B_URG = 4
};

enum sl_misc {
	SL_MISC_NONE,
	SL_MISC_FIN_WAIT2,
	SL_MISC_TIME_WAIT
};

/** Per-connection values of L-scope tunables, set by setsockopt or inherited. 0 fields: the tunable
 * rules. */
struct sl_opt {
	uint64_t keepidle, keepintvl, keepcnt, user_timeout, syn_retries, fin_wait2, delack,
	    rto_min, rto_max, rto_initial;
	uint32_t maxseg, init_cwnd, notsent_lowat;
	uint32_t window_clamp; /* rcvbuf of the connection is min(rcvbuf_asked, this) */
	uint32_t rcvbuf_asked; /* of window_clamp only */
	struct sluice_addr src_first;
	uint32_t src_count;
	uint8_t ttl, tos, cc_set, minttl;
	bool v6only;
	uint32_t fwd_slot; /* reserved for FWD_DEL; 0: no forwarding entry */
	uint16_t fwd_to;
};

/* ---- half-open: SYN cache ---- */
struct sl_half {
	struct sl_key key;
	struct sl_timer timer;
	struct sl_flow flow;
	struct sl_group *group;
	struct sl_half *next, **pprev; /* all of the squeue, oldest first */
	uint32_t idx;
	uint32_t iss, irs;
	uint32_t ts_recent, ts_offset;
	uint32_t peer_wnd; /* of the SYN, not scaled */
	uint64_t first_at, sent_at;
	uint16_t mss;
	uint8_t wscale, rcv_wscale; /* the peer's shift, and ours */
	uint8_t retries;
	bool sack, ts, has_wscale, synack_pending;
};

/* ---- TIME_WAIT ---- */
struct sl_tw {
	struct sl_key key;
	struct sl_tw *next, **pprev; /* by expiry */
	uint64_t expires;
	uint32_t idx;
	uint32_t snd_nxt, rcv_nxt, rcv_wnd;
	uint32_t ts_recent, ts_offset, ts_recent_ms;
	uint64_t challenge_at;
	bool ts;
	uint8_t snd_wscale;
};

/* ---- listeners ---- */
/**
 * What eagers begin with, but for NODELAY, which is read from the listener's published line. Never
 * changed: an option of a listener makes a new one, and those before stay, by `older`, as long as the
 * group: a squeue may be reading them.
 */
struct sl_inherit {
	struct sl_inherit *older;
	struct sl_opt opt;
	uint32_t sndbuf, rcvbuf, flags;
	uint16_t linger;
	bool reuseport;
};
/** The listener of all squeues; found by its shards. Memory lives until the last shard, half-open
 * entry and eager let go. */
struct sl_group {
	struct sluice_stack *st;
	sluice_conn_t handle;    /* the listening connection, on its birth squeue */
	uint64_t salt;           /* of its draws with tuples */
	struct sluice_addr addr; /* any: all */
	uint16_t port;
	uint32_t vrf;
	bool v6only, is6;
	_Atomic uint32_t backlog;
	/* Announced by newconn, not yet accepted; plus handshakes about to complete */
	_Atomic uint32_t pending;
	_Atomic uint32_t refs; /* shards installed, half-open, pending eagers */
	_Atomic bool closing;
	const struct sluice_upcalls *up;
	void *up_arg;
	struct sl_inherit *_Atomic inherit; /* the newest; written by the home squeue */
	uint32_t del_slot[SL_MAX_SQUEUES];  /* reserved: the close of a listener must not fail */
	uint32_t ack_slot[SL_MAX_SQUEUES];
	uint32_t acks_left; /* squeues that still have a shard; home squeue only */
};

/** Packets of this key belong to another squeue: a bound port that does not steer home, or a
 * connection that has moved. */
struct sl_fwd {
	struct sl_key key;
	uint32_t to;
	uint32_t idx;
	uint16_t at; /* the squeue in whose table it is */
	bool bound;
	bool trace; /* left behind by a guest */
	/* Of one that a moved connection leaves behind, see move.c */
	uint32_t after;
	struct sl_note note;
	struct sl_transit *transit;
};

/** Connections by out_next, first come first served. */
struct sl_outq {
	struct sl_conn *head, **tail;
};

/** What a squeue does that is to be parked, or runs again: drain.c. */
struct sl_drain {
	struct sl_timer timer;
	uint32_t at;   /* slab index where the sweep is */
	uint32_t next; /* squeue that gets the next connection */
	uint32_t away; /* connections born here that live elsewhere */
	bool on;       /* what can leave is to leave */
	bool recall;   /* what left on that account is to come back */
	bool busy;     /* this sweep found something that leaves */
};

/** TCP of one squeue. */
struct sl_tcp {
	struct sluice_squeue *sq;
	struct sl_slab conns, halves, tws, recs, fwds;
	struct sl_rec
	    *rec_spare; /* a few freed records, by `next`: most are needed again at once */
	uint32_t nrec_spare;
	struct sl_conntab tab;
	struct sl_group **listeners; /* this squeue's shards */
	uint32_t nlisteners, cap_listeners;
	struct sl_outq out; /* with something to send: the output list */
	/* Those of the output list that their port has no room for, or a pool no buffer, by port;
	 * the last: what is delivered here. held_mask: lists that may not be empty. */
	struct sl_outq held[SL_MAX_PORTS + 1];
	uint64_t held_mask;
	uint32_t held_gen; /* of the routes that they stand there by */
	/* Those that this input batch brought something: each segment at most one. */
	struct sl_conn *touched[SL_BURST];
	uint32_t ntouched;
	struct sl_conn *def_head, *def_last; /* deferred list */
	struct sl_half *half_head, **half_tail;
	uint32_t nhalf;
	struct sl_tw *tw_head, **tw_tail;
	struct sl_timer tw_timer;
	struct sl_flow *ready;  /* flows whose neighbour came: served by output */
	struct sl_conn *guests; /* that were born elsewhere */
	_Atomic uint32_t seats; /* guests, also those on their way here */
	struct sl_fwd *late;    /* forwarding entries that wait for packets still in a ring */
	bool retry; /* some of these, or a guest that could not leave for want of memory */
	struct sl_drain drain;
	uint64_t rst_tokens, rst_at;
	uint32_t next_connid;
	uint32_t port_next[256]; /* RFC 6056 perturbation table */
	struct sl_zc *zc;        /* lib/sock: finished external sends, pushed from any thread */
	uint64_t edge[SLUICE_NSTATES]
		     [SLUICE_NSTATES]; /* transitions taken: the state diagram's coverage */
};

static inline struct sl_tcp *sl_tcp_of(struct sluice_squeue *sq)
{
	return sq->tcp;
}
static inline struct sl_door *sl_conn_door(struct sluice_squeue *sq, const struct sl_conn *c)
{
	(void)sq;
	return c->door;
}
static inline bool sl_conn_guest(const struct sluice_squeue *sq, const struct sl_conn *c)
{
	return c->birth != sq->id;
}
static inline uint32_t sl_conn_name(const struct sluice_squeue *sq, const struct sl_conn *c)
{
	return SL_NAME(sq, c->birth, c->idx);
}
/** The connection that is called so on this squeue; also that of a reference of kind
 * SL_REF_CONN, which is the same. */
static inline struct sl_conn *sl_conn_named(const struct sluice_squeue *sq, uint32_t name)
{
	const struct sl_tcp *t = sq->tcp;

	if (SL_UNLIKELY(name > SL_NAME_IDX(UINT32_MAX)))
		t = sq->stack->sq[SL_NAME_SQ(sq, name)]->tcp;
	return sl_slab_get(&t->conns, SL_NAME_IDX(name));
}
sluice_conn_t sl_conn_handle(struct sluice_squeue *sq, const struct sl_conn *c);
/** Live connection of a handle, when it is on this squeue, else NULL. */
struct sl_conn *sl_conn_get(struct sluice_squeue *sq, sluice_conn_t h);

/** Bytes of new data and FIN that may be counted against the window: sequence after the last queued
 * byte (and FIN). */
static inline uint32_t sl_snd_end(const struct sl_conn *c)
{
	return c->snd_una + c->sndq_bytes + !!(c->flags & SL_C_FIN_QUEUED);
}
static inline uint32_t sl_flight(const struct sl_conn *c)
{
	return c->snd_max - c->snd_una;
}
/** RFC 6675 pipe from the counters of the scoreboard. */
static inline uint32_t sl_pipe(const struct sl_conn *c)
{
	return sl_flight(c) - c->pipe_sacked - c->pipe_lost;
}

/* ==== tcp.c: life of a connection (any state) ==== */
int sl_tcp_create(struct sluice_squeue *sq);
/** Aborts all locally without a packet; counts what is left. */
void sl_tcp_destroy(struct sluice_squeue *sq, struct sluice_leaks *leaks);
/** A connection in IDLE with its door open; NULL: max or memory. */
struct sl_conn *sl_conn_alloc(struct sluice_squeue *sq, int family, uint32_t vrf);
/** Unlink from everything, free queues, close the door. The `closed` upcall must have been made. */
void sl_conn_free(struct sluice_squeue *sq, struct sl_conn *c);
/** Counts the edge, publishes, keeps tcp_curr_estab. */
void sl_conn_state(struct sluice_squeue *sq, struct sl_conn *c, enum sluice_state s);
void sl_conn_publish(
    struct sluice_squeue *sq, struct sl_conn *c); /* addresses, connid, state, sndbuf */
int sl_conn_insert(
    struct sluice_squeue *sq, struct sl_conn *c); /* into the table: 0, -EADDRINUSE, -ENOBUFS */
void sl_conn_remove(struct sluice_squeue *sq, struct sl_conn *c);
/** The connection has ended: CLOSED, queues emptied, timers off; disconnected(err) when the
 * application has not closed, else closed + free. err 0: normal end. */
void sl_conn_drop(struct sluice_squeue *sq, struct sl_conn *c, int err);
/** Effective value of an L-scope tunable: sl_opt first. */
#define SL_CONN_TUN(sq, c, field, optfield) \
	((c)->opt && (c)->opt->optfield ? (c)->opt->optfield : (sq)->tun.field)
/** What connections of group g inherit from now on is what listener c has. 0, -ENOMEM. Home squeue. */
int sl_conn_to_group(const struct sl_conn *c, struct sl_group *g);
/** An eager takes what it inherits. 0, -ENOMEM. */
int sl_conn_from_group(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_group *g);
static inline const struct sl_inherit *sl_group_inherit(const struct sl_group *g)
{
	return atomic_load_explicit(&g->inherit, memory_order_acquire);
}
/** SL_C_SPECIAL follows from opt. */
void sl_conn_special(struct sl_conn *c);
void sl_conn_check(struct sluice_squeue *sq,
    struct sl_conn *c); /* invariants; debug builds, end of each entry point */

/* ==== upcall.c: every upcall leaves through here; depth and order rules ==== */
/** Make the upcall now, or at the end of the pass when depth >= 2 (closed: always). */
void sl_up(struct sluice_squeue *sq, struct sl_conn *c, enum sl_deferred what);
void sl_up_opctl(struct sluice_squeue *sq, struct sl_conn *c, enum sluice_opctl op, uint64_t value);
/** The FIN of a connection that lingers was acknowledged. */
void sl_up_lingered(struct sluice_squeue *sq, struct sl_conn *c);
int sl_up_newconn(struct sluice_squeue *sq, struct sl_group *g, struct sl_conn *eager);
void sl_up_props(struct sluice_squeue *sq, struct sl_conn *c);
/** The connection, which stands or has ended, gets another owner, who is told at once what holds:
 * props, urgent mark, bytes to read, ends of both directions, a full send buffer, the error. What
 * `up` tells may change or end it again. */
void sl_up_change(
    struct sluice_squeue *sq, struct sl_conn *c, const struct sluice_upcalls *up, void *arg);
/** A guest in TIME_WAIT that its user has closed goes home to become a compact entry: its user hears
 * `closed` where it has lived. Not while external memory is out: then at home. */
void sl_up_closed_guest(struct sluice_squeue *sq, struct sl_conn *c);
/** The last external send was let go: makes a `closed` that waited. */
void sl_up_zcopy_done(struct sluice_squeue *sq, struct sl_conn *c);
/** The `deferred` hook: run what waits. `closed` is held back while zc_out > 0. */
unsigned int sl_up_run_deferred(struct sluice_squeue *sq);

/** To the end of the deferred list, unless it stands there; for SL_D_MOVE. */
void sl_up_enlist(struct sluice_squeue *sq, struct sl_conn *c);
/** Out of the list; a walk. What waits stays in `deferred`. */
void sl_up_unlist(struct sluice_squeue *sq, struct sl_conn *c);

/* ==== move.c: from one squeue to another ==== */
/** On the squeue: the connection, and the one that it is spliced with, is to move at the end of the
 * pass. 0, -EINVAL (no such squeue, below SYN_SENT), -EBUSY (not accepted yet, waiting for a
 * forwarding entry, spliced with one that has to stay), -ENOBUFS. */
int sl_move_request(struct sluice_squeue *sq, struct sl_conn *c, unsigned int to);
enum sl_move_what {
	SL_MOVE_TO, /* the application's wish */
	SL_MOVE_PIN,
	SL_MOVE_UNPIN
};
int sl_move_op(struct sluice_squeue *sq, struct sl_conn *c, const struct sluice_args *a);
/** The same for what the stack itself wishes: a refusal is not counted. */
int sl_move_away(struct sluice_squeue *sq, struct sl_conn *c, unsigned int to);
/** A guest that its user has done with goes home, whatever kept it: no splice or pin counts any more. */
void sl_move_home(struct sluice_squeue *sq, struct sl_conn *c);
/** A connection that its user has not heard of is to live on another squeue. */
int sl_move_new(struct sluice_squeue *sq, struct sl_conn *c, unsigned int to);
/** Might another connection live there? Any thread; it may be another one that does. */
bool sl_move_room(const struct sluice_squeue *to);
/** SL_D_MOVE is due. True: c has gone from here. */
bool sl_move_due(struct sluice_squeue *sq, struct sl_conn *c);
/** A guest has ended, its door is closed: its memory goes home. */
void sl_move_ended(struct sluice_squeue *sq, struct sl_conn *c);
/** A guest leaves the table: packets that still come are its birth squeue's. */
void sl_move_leave_table(struct sluice_squeue *sq, struct sl_conn *c);
void sl_move_note(struct sluice_squeue *sq, struct sl_note *n); /* hook of the squeue */
void sl_move_retry(struct sluice_squeue *sq);                   /* sl_tcp.retry: what had to wait */

/* ==== drain.c: a squeue that is parked ==== */
/** The operation SL_OP_PARK. */
int64_t sl_drain_op(struct sluice_squeue *sq, bool on);
void sl_drain_timer(void *arg, struct sl_timer *timer);
/** Something has come to live here: it is to leave again. */
static inline void sl_drain_look(struct sluice_squeue *sq)
{
	if (SL_UNLIKELY(sq->tcp->drain.on) && !sl_timer_armed(&sq->tcp->drain.timer))
		sl_timer_set(&sq->wheel, &sq->tcp->drain.timer, sq->now + SLUICE_MS(10));
}
/** Where a connection goes that is not to be here; -1: nowhere. */
int sl_drain_to(struct sluice_squeue *sq, const struct sl_conn *c);

/** Teardown, nobody polls: every connection is brought back to where it was born. */
void sl_move_all_home(struct sluice_stack *st);

/* ==== input.c: RFC 9293 3.10.7 ==== */
void sl_tcp_input(struct sluice_squeue *sq, struct sl_pkt *pkts, unsigned int n); /* hook of IP */
/** One segment for a full connection (also used for the segment that completes a handshake). Frees
 * or queues seg->m. */
void sl_conn_segment(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg);
/** Make the upcalls for what this batch brought so far: at its end, or before the connection ends
 * in the middle of it. */
void sl_input_deliver(struct sluice_squeue *sq, struct sl_conn *c);
/** RST for a segment that belongs to nothing (RFC 9293 3.10.7.1), rate-limited. */
void sl_tcp_reset_reply(struct sluice_squeue *sq, const struct sl_seg *seg);
/** ACK for an unacceptable segment: limited per connection by tcp.ack_war (RFC 5961 section 7). */
void sl_tcp_challenge(struct sluice_squeue *sq, struct sl_conn *c);
/* ==== icmp.c ==== */
void sl_tcp_icmp(struct sluice_squeue *sq, const struct sl_icmp_err *e);
int sl_tcp_owner(struct sluice_squeue *sq, const struct sl_key *key); /* hook of IP */

/* ==== options.c ==== */
/** Options that are not just timestamps; o is zeroed but for its blocks. */
void sl_opts_parse_any(
    struct sluice_squeue *sq, const uint8_t *th, unsigned int th_len, bool syn, struct sl_opts *o);
/** Parse options of a header of th_len bytes; malformed ones end the parse and count
 * tcp_in_bad_opts. */
static inline void sl_opts_parse(
    struct sluice_squeue *sq, const uint8_t *th, unsigned int th_len, bool syn, struct sl_opts *o)
{
	uint32_t w[3];

	memset(o, 0, offsetof(struct sl_opts, sack));
	if (th_len == 20)
		return;
	memcpy(w, th + 20, 4);
	/* What nearly every segment carries: nop, nop, timestamps. */
	if (SL_LIKELY(th_len == 32 && w[0] == htonl(0x0101080a))) {
		memcpy(w, th + 20, sizeof(w));
		o->has_ts = true;
		o->tsval = ntohl(w[1]);
		o->tsecr = ntohl(w[2]);
	} else {
		sl_opts_parse_any(sq, th, th_len, syn, o);
	}
}
/** SYN options in the order mss,sackOK,TS,nop,wscale; returns bytes (multiple of 4). */
unsigned int sl_opts_syn(uint8_t *p, uint16_t mss, bool sack, bool ts, uint32_t tsval,
    uint32_t tsecr, bool wscale, uint8_t shift);
/** nop,nop,TS; returns bytes. */
static inline unsigned int sl_opts_ts(const struct sl_conn *c, uint8_t *p, uint32_t tsval)
{
	const uint32_t w[3] = {htonl(0x0101080a), htonl(tsval), htonl(c->ts_recent)};

	if (!(c->flags & SL_C_TS))
		return 0;
	memcpy(p, w, sizeof(w));
	return sizeof(w);
}
/** The same and SACK blocks (newest first, DSACK before) that fit; returns bytes. */
unsigned int sl_opts_sack(const struct sl_conn *c, uint8_t *p, uint32_t tsval);
static inline unsigned int sl_opts_established(const struct sl_conn *c, uint8_t *p, uint32_t tsval)
{
	return SL_LIKELY(c->ooo == NULL) ? sl_opts_ts(c, p, tsval) : sl_opts_sack(c, p, tsval);
}
unsigned int sl_opts_len(const struct sl_conn *c); /* the same length without writing */
/** Our timestamp clock: 1 ms ticks + offset. */
static inline uint32_t sl_ts_now(const struct sluice_squeue *sq, uint32_t offset)
{
	return (uint32_t)(sq->now / 1000000) + offset;
}

/* ==== rcvq.c: receive queue and reassembly ==== */
/** Cut n bytes off the front of a chain of len bytes / keep its first n bytes. *m becomes NULL when
 * nothing is left. */
void sl_chain_chop_far(struct rte_mbuf **m, uint32_t n); /* when mbufs become empty by it */
static inline void sl_chain_chop(struct rte_mbuf **pm, uint32_t n)
{
	struct rte_mbuf *m = *pm;

	if (SL_UNLIKELY(n >= m->data_len)) {
		sl_chain_chop_far(pm, n);
		return;
	}
	m->data_off = (uint16_t)(m->data_off + n);
	m->data_len = (uint16_t)(m->data_len - n);
	m->pkt_len -= n;
}
void sl_chain_keep(struct rte_mbuf *m, uint32_t n);
/** Data came that we have: reported by the next ACK (RFC 2883). */
void sl_rcv_dsack(struct sl_conn *c, uint32_t start, uint32_t end);
/** Queue acceptable data (already trimmed to the window): in order → rcvq (and what becomes
 * contiguous), else ooo. Takes seg->m. True when in order. FIN in seg is remembered out of order
 * too. */
bool sl_rcv_data(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg);
/** Window to offer now (bytes), right edge never left of rcv_adv, silly window avoided (RFC
 * 9293 3.8.6.2.2). */
uint32_t sl_rcv_window(const struct sluice_squeue *sq, const struct sl_conn *c);
size_t sl_rcv_consume(
    struct sluice_squeue *sq, struct sl_conn *c, size_t n); /* frees; then sl_rcv_opened */
struct rte_mbuf *sl_rcv_take(
    struct sluice_squeue *sq, struct sl_conn *c, size_t max, uint32_t *len);
/** After the application made room: schedules a window update when the peer gains >= min(2 MSS,
 * rcvbuf/2) or the window was 0. */
void sl_rcv_opened(struct sluice_squeue *sq, struct sl_conn *c);
/** Puts a chain (by m->next) back in front of what is readable. */
void sl_rcv_unread(struct sl_conn *c, struct rte_mbuf *m);
void sl_rcv_clear(struct sluice_squeue *sq, struct sl_conn *c);
/** SACK blocks to report, most recent first, at most n; a pending DSACK first. */
unsigned int sl_rcv_sack(const struct sl_conn *c, unsigned int n, uint32_t (*blk)[2]);
void sl_rcv_acked(struct sl_conn *c); /* an ACK left: a DSACK is reported once */
uint32_t sl_rcv_ooo_bytes(const struct sl_conn *c);
/** Did a FIN come out of order that is now at rcv_nxt? */
bool sl_rcv_fin_ready(const struct sl_conn *c);
void sl_rcv_check(const struct sl_conn *c); /* counters equal recomputation */

/* ==== listen.c, half.c: groups, SYN cache ==== */
/** The listener of a SYN with this key, NULL: none. */
struct sl_group *sl_listener_find(struct sluice_squeue *sq, const struct sl_key *key);
void sl_half_syn(struct sluice_squeue *sq, struct sl_group *g, struct sl_seg *seg,
    const uint32_t
	*iss_min); /* a SYN for a listener; iss_min: beyond an old incarnation, or NULL */
void sl_half_segment(struct sluice_squeue *sq, struct sl_half *h,
    struct sl_seg *seg); /* a segment for a half-open entry */
void sl_half_icmp(struct sluice_squeue *sq, struct sl_half *h, const struct sl_icmp_err *e);
void sl_half_flow_ready(struct sluice_squeue *sq, struct sl_half *h, int err);
void sl_half_timer(void *arg, struct sl_timer *t);
void sl_half_free(struct sluice_squeue *sq, struct sl_half *h);
void sl_group_unref(struct sl_group *g);
int sl_tcp_do_listen(struct sluice_squeue *sq, struct sl_conn *c, int backlog);
int64_t sl_listen_add(struct sluice_squeue *sq, struct sl_group *g);
int64_t sl_listen_del(struct sluice_squeue *sq, struct sl_group *g);
int64_t sl_listen_del_ack(struct sluice_squeue *sq,
    struct sl_group *g); /* a[1] of SL_OP_LISTEN_DEL is set: back at home */
void sl_tcp_unlisten(struct sluice_squeue *sq,
    struct sl_conn *c); /* close of a listener: shards, half-open and unaccepted go */

/* ==== bind.c: the bind table of the stack (mutex; lcores only try it), ephemeral ports ==== */
int sl_tcp_master_create(struct sluice_stack *st);
void sl_tcp_master_destroy(struct sluice_stack *st);
int sl_tcp_do_bind(
    struct sluice_squeue *sq, struct sl_conn *c, const struct sluice_addr *a, uint16_t port);
void sl_tcp_do_unbind(struct sluice_squeue *sq, struct sl_conn *c);
/** RFC 6056 algorithm 3 (keyed hash + perturbation), only ports that steer home; fills key.lport.
 * -EADDRNOTAVAIL. */
int sl_tcp_pick_port(struct sluice_squeue *sq, struct sl_conn *c);

/* ==== open.c: connect, close, abort, shutdown ==== */
uint32_t sl_tcp_iss(struct sluice_squeue *sq, const struct sl_key *k); /* RFC 6528 */
uint32_t sl_tcp_ts_offset(struct sluice_squeue *sq, const struct sl_key *k);
int sl_tcp_do_connect(struct sluice_squeue *sq, struct sl_conn *c, const struct sluice_addr *a,
    uint16_t port, uint32_t scope, uint32_t *connid);
/** Established parameters from the options of SYN or SYN-ACK, for opener and eager: mss, scales,
 * flags, cwnd. */
void sl_tcp_negotiate(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_opts *o);
/** Initial and restart window, bytes (RFC 6928 section 2). */
uint32_t sl_tcp_init_cwnd(const struct sluice_squeue *sq, const struct sl_conn *c);
void sl_tcp_established(
    struct sluice_squeue *sq, struct sl_conn *c); /* both ways: state, timers, props */
uint8_t sl_tcp_wscale(
    const struct sluice_squeue *sq, uint32_t rcvbuf); /* smallest shift that can offer rcvbuf */
int64_t sl_fwd_op(
    struct sluice_squeue *sq, enum sl_op op, sluice_conn_t c, const struct sluice_args *args);
void sl_fwd_release(struct sluice_squeue *sq,
    struct sl_conn *c); /* at the end of a connection: removes its forwarding entry */
void sl_tcp_do_shutdown_wr(struct sluice_squeue *sq, struct sl_conn *c);
void sl_tcp_do_close(struct sluice_squeue *sq, struct sl_conn *c);
void sl_tcp_do_abort(struct sluice_squeue *sq, struct sl_conn *c, bool send_rst);
/** MSS for this path and peer: RFC 6691, RFC 9293 3.7.1; called again when the path MTU changes. */
void sl_tcp_set_mss(struct sluice_squeue *sq, struct sl_conn *c);
uint16_t sl_tcp_offer_mss(struct sluice_squeue *sq, const struct sl_flow *f, const struct sl_key *k,
    const struct sl_opt *o);

/* ==== timewait.c ==== */
/** Full connection enters TIME_WAIT: compact when the application has closed, else kept until it
 * does. */
void sl_tw_enter(struct sluice_squeue *sq, struct sl_conn *c);
void sl_tw_segment(struct sluice_squeue *sq, struct sl_tw *tw, struct sl_seg *seg);
/** The same for a connection in TIME_WAIT that its user has not closed. */
void sl_tw_held_segment(struct sluice_squeue *sq, struct sl_conn *c, struct sl_seg *seg);
void sl_tw_timer(void *arg, struct sl_timer *t);
/** May an opener reuse this tuple now (RFC 6191)? Frees it and sets *iss_min beyond its sequence
 * numbers. */
bool sl_tw_reuse(struct sluice_squeue *sq, struct sl_tw *tw, uint32_t *iss_min, uint32_t *ts_min);
void sl_tw_free(struct sluice_squeue *sq, struct sl_tw *tw);

/* ==== sendq.c: byte stream and transmission records ==== */
/** Append a chain of len bytes; takes it. Caller schedules output. */
void sl_sendq_append(struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf *chain,
    uint32_t len, uint32_t flags);
/** Of the door's credit only the squeue is a writer. Release: pairs with the acquire of a sender
 * elsewhere that computes its room. */
static inline void sl_sendq_give_credit(struct sluice_squeue *sq, struct sl_conn *c, uint32_t bytes)
{
	_Atomic uint32_t *credit = &sl_conn_door(sq, c)->pub.credit;
	uint32_t v = atomic_load_explicit(credit, memory_order_relaxed);

	atomic_store_explicit(credit, v + bytes, memory_order_release);
}
/** Sent on the squeue itself: the same as `queued` plus `bytes`, without a locked instruction. */
static inline void sl_sendq_take_credit(struct sluice_squeue *sq, struct sl_conn *c, uint32_t bytes)
{
	sl_sendq_give_credit(sq, c, -bytes);
}
/**
 * Copy small mbufs (up to tcp.copy_below) from the front of a chain behind the last byte of the
 * queue, as long as the last buffer has room and is nobody else's; returns the bytes, *chain the
 * rest (NULL: none). Caller takes the credit and schedules output.
 */
uint32_t sl_sendq_absorb(struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf **chain);
/** snd_una moves to `una`: frees mbufs below, gives back credit, txq_full(false). Records are the
 * caller's (recovery.c). */
void sl_sendq_acked(struct sluice_squeue *sq, struct sl_conn *c, uint32_t una);
/** The send buffer's limit now: sndbuf, and below it what TCP_NOTSENT_LOWAT leaves. */
uint32_t sl_sendq_limit(const struct sl_conn *c);
/** The limit may have changed: publishes it, and tells of room. */
void sl_sendq_moved(struct sluice_squeue *sq, struct sl_conn *c);
/** txq_full(false) when it is due. */
void sl_sendq_room(struct sluice_squeue *sq, struct sl_conn *c);
void sl_sendq_clear(
    struct sluice_squeue *sq, struct sl_conn *c); /* all mbufs and records; credit is given back */
struct sl_rec *sl_rec_add(struct sluice_squeue *sq, struct sl_conn *c, uint32_t start, uint32_t end,
    struct rte_mbuf *m, uint32_t off, uint8_t flags);
void sl_rec_unlink(struct sluice_squeue *sq, struct sl_conn *c, struct sl_rec *r); /* and free */
void sl_rec_spare_free(struct sl_tcp *t); /* the spare ones, before the slab ends */
/** Make the records independent of this squeue: any may free them. 0, or -ENOMEM with nothing
 * changed. */
int sl_rec_unpin(struct sluice_squeue *sq, struct sl_conn *c);
/** Move the start of a record forward to `at`, with its place in the queue. */
void sl_rec_trim(struct sl_conn *c, struct sl_rec *r, uint32_t at);
struct sl_rec *sl_rec_split(struct sluice_squeue *sq, struct sl_conn *c, struct sl_rec *r,
    uint32_t at); /* NULL: no record; the second half */
/** Payload of len bytes from (m, off) attached (or copied below tcp.copy_below) behind the header
 * mbuf. 0 or -ENOBUFS. */
int sl_sendq_attach(struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf *hdr,
    struct rte_mbuf *m, uint32_t off, uint32_t len);

/* ==== output.c ==== */
/** Put on the output list (idempotent). What is to be sent is decided when it is served. */
void sl_output_init(struct sl_tcp *t);
void sl_output_schedule(struct sluice_squeue *sq, struct sl_conn *c);
void sl_output_unlist(struct sluice_squeue *sq, struct sl_conn *c);
unsigned int sl_tcp_output(struct sluice_squeue *sq, unsigned int budget); /* hook of the squeue */
void sl_flow_is_ready(
    struct sluice_squeue *sq, struct sl_flow *f, int err); /* hook of IP: conn or half */
/** Build and send one control segment now, if it can go: SYN, SYN-ACK (simultaneous open), RST,
 * probe, pure ACK. False: not sent (no room, no neighbour, no buffer). */
bool sl_output_ctl(struct sluice_squeue *sq, struct sl_conn *c, uint32_t seq, uint8_t flags);
/**
 * Where a RST of a connection stands: behind all that was sent, as far as the peer's window
 * reaches. A byte that only probed a closed window was not taken, and a RST behind it would not be
 * believed (RFC 9293 3.10.7.4, first).
 */
static inline uint32_t sl_rst_seq(const struct sl_conn *c)
{
	uint32_t right = c->snd_una + c->snd_wnd;

	return c->state >= SLUICE_ESTABLISHED && seq_gt(c->snd_max, right) ? right : c->snd_max;
}
/** One byte (or the FIN) beyond a closed window (RFC 9293 3.8.6.1). */
void sl_output_probe(struct sluice_squeue *sq, struct sl_conn *c);
bool sl_output_pending(const struct sluice_squeue *sq); /* hook */
/** A bare header for a key: used by half.c, timewait.c, input.c for replies. NULL without buffer.
 */
struct rte_mbuf *sl_output_header(struct sluice_squeue *sq, const struct sl_key *k, uint32_t seq,
    uint32_t ack, uint8_t flags, uint16_t wnd, const uint8_t *opts, unsigned int optlen);
/** An ACK is due: now, or by the delayed ACK rules (RFC 9293 3.8.6.3, RFC 5681 4.2). */
void sl_ack_now(struct sluice_squeue *sq, struct sl_conn *c);
void sl_ack_data(struct sluice_squeue *sq, struct sl_conn *c, uint32_t len);

/* ==== recovery.c: what an ACK means ==== */
/** ACK field, window and SACK of an acceptable segment in a synchronized state (RFC 9293 3.10.7.4
 * fifth). Returns false when the segment must be dropped (ack beyond snd_max: ACK sent; too old:
 * challenge). */
bool sl_ack_process(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_seg *seg);
/** Has the FIN been acknowledged? */
static inline bool sl_fin_acked(const struct sl_conn *c)
{
	return (c->flags & SL_C_FIN_SENT) && c->snd_una == c->snd_max;
}
void sl_recovery_rto(struct sluice_squeue *sq, struct sl_conn *c); /* mark all lost, back off cc */
/** The path MTU went down: what is too large now goes again, at once and without a congestion
 * response (RFC 1191 6.4). */
void sl_recovery_resize(struct sluice_squeue *sq, struct sl_conn *c);
void sl_recovery_check(const struct sl_conn *c); /* counters equal recomputation */
/** Next record to resend, or NULL. */
struct sl_rec *sl_recovery_next(struct sluice_squeue *sq, struct sl_conn *c);

/* ==== rtt.c: RFC 6298 ==== */
void sl_rtt_sample(struct sluice_squeue *sq, struct sl_conn *c, uint64_t rtt);
uint64_t sl_rto_estimate(const struct sl_conn *c);
uint64_t sl_rto(
    const struct sluice_squeue *sq, const struct sl_conn *c); /* with back-off, clamped */

/* ==== timers.c ==== */
void sl_conn_timer(void *arg, struct sl_timer *t); /* of the wheel */
void sl_conn_timer_set(
    struct sluice_squeue *sq, struct sl_conn *c, enum sl_tcp_timer which, uint64_t at);
void sl_conn_timer_cancel(struct sluice_squeue *sq, struct sl_conn *c, enum sl_tcp_timer which);
static inline bool sl_conn_timer_armed(const struct sl_conn *c, enum sl_tcp_timer which)
{
	return c->deadline[which] != 0;
}
void sl_conn_timers_off(struct sluice_squeue *sq, struct sl_conn *c);
/** File the node for the earliest of the deadlines. */
void sl_conn_timers_file(struct sluice_squeue *sq, struct sl_conn *c);
/** (Re)start or stop the retransmission or persist timer by what is outstanding (RFC 6298 5.1-5.3).
 */
void sl_rtx_rearm(struct sluice_squeue *sq, struct sl_conn *c);
/** When the retransmission timer is due next. */
uint64_t sl_rtx_at(const struct sluice_squeue *sq, const struct sl_conn *c);
void sl_keepalive_restart(struct sluice_squeue *sq, struct sl_conn *c);
/** Nothing can be sent for want of a route or neighbour: the persist timer asks again, and gives up
 * at R2. May drop c. */
void sl_unreachable(struct sluice_squeue *sq, struct sl_conn *c, int err);

#endif
