/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Simulator: some stacks, impaired links between them, applications above, one virtual clock.
 *
 * The big idea. A run is decided by a plan, and by nothing else: a list of items, each of which
 * says one thing (a tunable of a stack, a write of an application, the loss of the seventh packet
 * of a link). A seed is turned into a plan (gen.c), a plan into a world that runs (world.c). A plan
 * is text too (plan.c): a case in `cases` is one, and means the same whatever becomes of the
 * generator. Shrinking (shrink.c) takes items away, and makes numbers smaller, as long as the same
 * check fails.
 *
 * After each pass of a squeue the named checks of check.c look at its connections; wirecheck.c
 * looks at each packet that a stack sends, model.c, the receiver of RFC 9293 in slow and small, at
 * each that it gets; app.c at what the user sees. The first that does not hold ends the run by its
 * name.
 *
 * It runs without EAL and with libc's memory, so that the address sanitizer sees every packet.
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <base/rng.h>
#include <sluice/sluice.h>
#include <tcp/tcp_int.h>

#define SIM_MAX_STACKS 4
#define SIM_MAX_SQ 16
#define SIM_MAX_LINKS 6
#define SIM_MAX_CONNS 12
#define SIM_MAX_SCRATCH 4
#define SIM_SLOTS 48 /* max_connections of a stack */
#define SIM_START SLUICE_SEC(1)

/* ---- the plan ---- */

/*
 * X(op, name, arguments): n number, t time, k tunable, s stack, l link, e end of a link (as a
 * sender: the direction from it), c connection, d side of a connection (0 opens), p parts per
 * million. Times of events count from the start.
 */
/* clang-format off */
#define SIM_OPS(X) \
	/* the world */ \
	X(STACKS, "stacks", "n") \
	X(SQUEUES, "squeues", "sn") \
	X(TUN, "tun", "skn") \
	X(ROOM, "room", "sn")         /* bytes of a receive buffer of the stack */ \
	X(POOL, "pool", "sn")         /* most buffers that the stack may hold */ \
	X(MOVES, "moves", "sn")       /* after one pass in n of the stack a connection is told to move */ \
	X(PARKS, "parks", "sn")       /* after one pass in n a squeue is parked, left, or runs again */ \
	X(ORDER, "order", "n")        /* in which order squeues are polled; 0: always the same */ \
	X(QUIET, "quiet", "t")        /* from then on nothing is done to packets any more */ \
	/* links */ \
	X(LINK, "link", "lss") \
	X(MTU, "mtu", "ln") \
	X(LATENCY, "latency", "lt") \
	X(RATE, "rate", "ln") \
	X(DEPTH, "depth", "ln") \
	X(QUEUES, "queues", "len") \
	X(STEER, "steer", "len")      /* the port delivers elsewhere than it says: enum sim_steer */ \
	X(CAPS, "caps", "len")        /* enum sim_caps */ \
	X(TXPART, "txpart", "len")    /* one tx call in n takes a part only */ \
	X(RXPART, "rxpart", "len")    /* one rx call in n gives a part only */ \
	X(TXHOLD, "txhold", "let")    /* the driver frees what it sent so much later */ \
	/* chance: decided by drivers/impair, from a seed per direction */ \
	X(NOISE, "noise", "len") \
	X(LOSS, "loss", "lep") \
	X(GILBERT, "gilbert", "lepp") \
	X(DUP, "dup", "lep") \
	X(REORDER, "reorder", "lept") \
	X(CORRUPT, "corrupt", "lep") \
	X(TRUNCATE, "truncate", "lep") \
	X(DELAY, "delay", "let") \
	X(JITTER, "jitter", "let") \
	X(QUEUE, "queue", "len") \
	X(NTH, "nth", "len") \
	X(LOSEFLAG, "loseflag", "lenn") /* the first n packets with one of these TCP flags */ \
	/* what becomes of packet n of a direction, counted from 1 */ \
	X(LOSE, "lose", "len") \
	X(TWICE, "twice", "len") \
	X(LATE, "late", "lent") \
	X(HOLD, "hold", "lent") \
	X(FLIP, "flip", "lenn") \
	X(CUT, "cut", "lenn") \
	X(ALTER, "alter", "len")      /* a payload byte changed and the checksum made right: a fault */ \
	/* connections */ \
	X(CONN, "conn", "clenn")      /* opener's end, IPv6, both open */ \
	X(OPEN, "open", "ct") \
	X(WRAP, "wrap", "cn")         /* opener's first sequence number is so far below 2^32 */ \
	X(BORN, "born", "cdn")        /* squeue */ \
	X(ACCEPTAT, "accept", "ct")   /* so long after newconn */ \
	X(REFUSE, "refuse", "c") \
	X(EARLYSHUT, "earlyshut", "cd") \
	X(CLOSEAT, "closeat", "cdt")  /* so long after the open */ \
	X(ABORTAT, "abortat", "cdt") \
	X(LINGER, "linger", "cdn") \
	X(PIPE, "pipe", "cdcd")       /* what the first end receives, the second sends */ \
	/* what an application writes, in this order; then it shuts, and closes at the peer's end */ \
	X(CHAIN, "chain", "cdn") \
	X(COPY, "copy", "cdn") \
	X(EXT, "ext", "cdn") \
	X(OOB, "oob", "cdn") \
	X(MORE, "more", "cdn") \
	X(WPAUSE, "wpause", "cdt") \
	X(WAITEND, "waitend", "cd") \
	X(SHUT, "shut", "cd") \
	X(CLOSE, "close", "cd") \
	X(ABORT, "abort", "cd") \
	/* how it reads: in turn, pauses once */ \
	X(TAKE, "take", "cdn") \
	X(CONSUME, "consume", "cdn") \
	X(RPAUSE, "rpause", "cdt") \
	X(NOSPACE, "nospace", "cdt") \
	X(SHUTRD, "shutrd", "cd") \
	/* events */ \
	X(BLACKOUT, "blackout", "tlet") \
	X(PMTU, "pmtu", "tln")        /* what is larger is dropped, and ICMP says so */ \
	X(SET, "set", "tskn") \
	X(LIMIT, "limit", "tsn")      /* as pool */ \
	X(FAILNTH, "failnth", "tsn")  /* the n-th allocation from then fails */ \
	X(ADDR, "addr", "tlen")       /* the end's addresses go (0) or come back (1) */ \
	X(ROUTE, "route", "tlen")     /* a route to the peer's network through it comes (1), goes (0) */ \
	X(UNLISTEN, "unlisten", "ts") \
	X(ICMP, "icmp", "tcdnn")      /* an error: enum sim_icmp, 0 in flight, 1 below, 2 beyond */ \
	X(CALL, "call", "tcdn")       /* enum sim_call, where it must be refused or changes nothing */ \
	X(SCRATCH, "scratch", "tnsn") /* connection n is made on a stack's squeue */ \
	X(SCALL, "scall", "tnn")      /* any call on scratch connection n */ \
	/* self-tests: a fault of the simulator's own */ \
	X(PLANT, "plant", "nn")
/* clang-format on */
enum sim_op {
#define X(op, name, args) SIM_##op,
	SIM_OPS(X)
#undef X
	SIM_NOPS
};

#define SIM_ARGS 5
struct sim_item {
	uint8_t op;
	int64_t a[SIM_ARGS];
};
struct sim_plan {
	struct sim_item *v;
	unsigned int n, cap;
};

enum sim_steer {
	SIM_STEER_RIGHT,
	SIM_STEER_PERMUTED, /* always to another queue */
	SIM_STEER_RANDOM,   /* to any, packet by packet */
	SIM_STEER_UNKNOWN,  /* and says nothing */
	SIM_NSTEER
};

enum sim_caps {
	SIM_CAP_CKSUM = 1, /* the port makes checksums */
	SIM_CAP_TSO = 2,
	SIM_CAP_RXCKSUM = 4, /* and checks them */
	SIM_CAP_ONESEG = 8,  /* sends no chains */
	SIM_CAP_DIRECT = 16, /* sends no indirect buffers */
	SIM_CAP_L3 = 32,     /* of both ends: no Ethernet */
};

/* plan.c */
void sim_plan_add(
    struct sim_plan *p, enum sim_op op, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e);
#define SIM_ADD_(p, op, a, b, c, d, e, ...) sim_plan_add(p, op, a, b, c, d, e)
#define SIM_ADD(p, op, ...) SIM_ADD_(p, op, __VA_ARGS__, 0, 0, 0, 0, 0)
void sim_plan_free(struct sim_plan *p);
struct sim_plan sim_plan_copy(const struct sim_plan *p);
void sim_item_text(const struct sim_item *it, char *buf, size_t len);
unsigned int sim_item_args(enum sim_op op);
char sim_item_kind(enum sim_op op, unsigned int arg);
/** 0, or the number of the bad line. */
int sim_plan_read(FILE *f, struct sim_plan *p);
void sim_plan_write(FILE *f, const struct sim_plan *p);
/* gen.c */
void sim_plan_of_seed(struct sim_plan *p, uint64_t seed, unsigned int squeues);

/* ---- checks ---- */

/* X(check, name, what must hold) */
/* clang-format off */
#define SIM_CHECKS(X) \
	X(STREAM, "stream", "what is received is a prefix of what was sent, and in the end all of it") \
	X(SEND_WINDOW, "send-window", "una <= nxt <= the right edge ever offered, and one probe") \
	X(CWND, "cwnd", "cwnd is at least one segment") \
	X(SCOREBOARD, "scoreboard", "counters of the scoreboard equal their recomputation") \
	X(QUEUES, "queues", "counters of the send and receive queues equal their recomputation") \
	X(EDGE, "edge", "the advertised right edge never moves left") \
	X(WIRE_SIZE, "wire-size", "no segment is larger than MSS or MTU") \
	X(WIRE_SUM, "wire-checksum", "lengths and checksums of sent packets are right") \
	X(WIRE_OPTS, "wire-options", "options are well formed and negotiated") \
	X(WIRE_TS, "wire-timestamp", "timestamps never go back") \
	X(WIRE_SEQ, "wire-sequence", "nothing is sent beyond the offered window, nor acknowledged that was not sent") \
	X(RTX, "retransmit-timer", "armed when, and only when, something is outstanding") \
	X(PERSIST, "persist-timer", "what is queued is watched by some timer") \
	X(BASELINE, "baseline", "after all is closed nothing is left") \
	X(UPCALLS, "upcalls", "order and number of upcalls") \
	X(LIVENESS, "liveness", "once faults have stopped, all ends in time") \
	X(MODEL, "model", "the receiver agrees with the model") \
	X(ERRNO, "errno", "results of calls, by state") \
	X(CALLS, "calls", "calls that must succeed do") \
	X(CAUSE, "cause", "no connection ends with an error that nothing caused") \
	X(URGENT, "urgent", "the urgent mark stands where the sender set it") \
	X(CRASH, "crash", "no assertion, no report of a sanitizer") \
	X(PLAN, "plan", "the plan makes sense")
/* clang-format on */
enum sim_check {
#define X(ck, name, doc) SIM_CK_##ck,
	SIM_CHECKS(X)
#undef X
	SIM_NCHECKS
};
const char *sim_check_name(enum sim_check ck);

/* ---- packets, as the simulator reads them ---- */

struct sim_seg {
	struct sl_key key; /* local: the end that it is seen from (sender at tx, receiver at rx) */
	uint32_t seq, ack, len;
	uint16_t wnd, urp;
	uint8_t flags;
	bool v6, tcp, sum_ok, wellformed; /* options */
	uint16_t l3, l4, th_len, iplen;   /* offsets, lengths */
	bool has_ts, has_ws, sackok;
	uint8_t ws, nsack;
	uint16_t mss;
	uint32_t tsval, tsecr, sack[4][2];
	unsigned int sq, age; /* receiving squeue; its passes since */
};
/** False: not IP, or not whole. `pseudo_ok`: the checksum field holds the pseudo-header's sum. */
bool sim_parse(const uint8_t *f, uint32_t len, bool l3, bool rx, struct sim_seg *g);
uint16_t sim_sum(const uint8_t *p, uint32_t len, uint32_t sum);
uint32_t sim_pseudo(const uint8_t *f, const struct sim_seg *g);
void sim_seg_text(const struct sim_seg *g, char *buf, size_t len);

/* ---- flows: what one end has said to another, as seen on the wire ---- */

struct sim_flow {
	struct sl_key key; /* local: the sender */
	struct sim_flow *next;
	bool syn, ts, sack, acked, fin;
	int8_t ws; /* -1: not offered */
	uint16_t mss;
	uint32_t isn, edge, end, ack, tsval, fin_end;
};
struct sim;
struct sim_flow *sim_flow_find(struct sim *s, const struct sl_key *sender, bool make);
/** Check a segment that a stack hands to its port; `seg`: payload of each packet of it; ordered: it
 * cannot have been overtaken on its way from the connection. */
void sim_wire_check(
    struct sim *s, const struct sim_seg *g, uint32_t seg, uint32_t mtu, bool ordered);

/* ---- the receiver of RFC 9293 ---- */

struct sim_model {
	bool on, loose, doubt, reset, rst_seen;
	uint32_t irs, nxt, una, max_wnd, cap;
	uint8_t *have; /* a byte for each of the stream */
	bool fin_known, fin_done, ts_known, fin_out, fin_acked, fin_acked_maybe;
	uint32_t fin_seq, ts_recent;
	enum sluice_state state, maybe;
};
struct sim_model_in {
	uint32_t edge_lo, edge_hi; /* the window's right edge lies between */
	uint32_t last_ack, snd_max;
	uint32_t fin_end; /* of our FIN, when sent */
	uint8_t snd_wscale;
	bool fin_sent, ts, orphan;
};
void sim_model_start(struct sim_model *m, uint32_t irs, uint32_t iss, uint32_t bytes);
void sim_model_feed(struct sim_model *m, const struct sim_seg *g, const struct sim_model_in *in);
/** The user has shut the send side. */
void sim_model_shut(struct sim_model *m);
void sim_model_stop(struct sim_model *m);

/* ---- ends of connections ---- */

struct sim_end {
	struct sim *sim;
	struct sim_end *peer, *pipe_to, *pipe_from;
	struct sluice_stack *st;
	sluice_conn_t c;
	uint8_t id, side, stack;
	int born;
	const struct sim_item **w, **r; /* of the plan */
	unsigned int nw, nr, wi, ri;
	uint64_t woff, to_send, sent, received, pulled;
	uint64_t oob[8]; /* places of urgent bytes */
	unsigned int noob;
	uint64_t act_at; /* closeat, abortat */
	bool act_abort, act_set;
	int linger; /* -1: none */
	bool up, eof, shut, closing, closed, ended, rpaused, wpaused, retry, reread, rcv_shut,
	    early_shut;
	bool noflow, any_upcall;
	uint64_t once; /* read operations that were done once */
	int err;
	enum sluice_upcall last;
	uint32_t ext_out;
	uint64_t key; /* of the stream that it sends */
};

struct sim_pair {
	bool used, v6, simul, cut, refused, opened, announced, accepted;
	uint8_t link, from; /* end of the link that opens */
	uint64_t open_at, accept_after;
	uint32_t wrap;
	bool has_wrap;
	struct sim_end end[2];
};

struct sim_scratch {
	struct sim *sim;
	bool made, closed, closing, any_upcall;
	unsigned int stack;
	sluice_conn_t c;
	enum sluice_upcall last;
};

/* ---- links ---- */

struct sim_fault {
	uint64_t n;
	const struct sim_item *it;
};
struct sim_nic {
	struct sluice_driver_ops ops;
	struct sim *sim;
	struct sim_link *link;
	struct sluice_driver lower, impair;
	unsigned int end, stack, caps;
	uint16_t nq;
	enum sim_steer steer;
	uint64_t count; /* packets sent: the number by which faults are chosen */
	unsigned int txpart, rxpart;
	uint64_t txhold, calls;
	struct {
		struct rte_mbuf *m;
		uint64_t at;
	} held[64];
	unsigned int nheld;
	struct {
		struct rte_mbuf *m;
		uint16_t q;
	} backlog[512];
	unsigned int nbacklog;
	struct rte_mbuf *inject[16];
	unsigned int ninject;
	struct sluice_impair_params p;
	struct sim_fault *fault;
	unsigned int nfaults, at_fault, flag_left, flag_mask;
};
struct sim_link {
	bool used;
	unsigned int a[2]; /* stacks */
	uint16_t mtu, pmtu;
	uint32_t depth;
	uint64_t latency, rate;
	struct sim_nic nic[2];
};

/* ---- the world ---- */

/** What a run exercised; summed over seeds, across processes (plain sums: associative). */
struct sim_sum {
	uint64_t seeds, failed, bytes, conns, cut, virtual_ms, passes;
	struct sluice_counters ctr;
	uint64_t impair[8]; /* packets .. queue_drops of sluice_impair_stats */
	uint64_t edge[SLUICE_NSTATES][SLUICE_NSTATES];
	uint64_t op[SIM_NOPS];     /* plans that had it */
	uint64_t done[SIM_NOPS];   /* times it took effect */
	uint64_t ran[SIM_NCHECKS]; /* evaluations */
	uint64_t tun_off[SLUICE_NTUNABLES];
	uint64_t model_doubt, model_loose;
};

struct sim_options {
	bool verbose;
	const char *pcap;
	struct sim_plan *record; /* fates of packets are noted here */
	bool stats;
};

struct sim_shadow { /* what a check remembers of a connection */
	sluice_conn_t h;
	uint32_t edge; /* right edge that the peer ever offered */
	uint32_t adv;  /* that we ever offered */
	uint32_t last_ack;
	bool orphan;             /* closed by its user */
	sluice_conn_t counted_h; /* whose segments were counted */
	uint32_t counted;
	sluice_conn_t early_h; /* shut during the handshake */
	bool early;
	struct sim_model model;
};

struct sim {
	uint64_t now;
	const struct sim_plan *plan;
	const struct sim_options *opt;
	struct sim_sum *sum;
	unsigned int nst, nsq[SIM_MAX_STACKS], nlinks;
	struct sluice_stack *st[SIM_MAX_STACKS];
	struct rte_mempool *pool[SIM_MAX_STACKS], *rxpool[SIM_MAX_STACKS];
	uint32_t room[SIM_MAX_STACKS], limit[SIM_MAX_STACKS], moves[SIM_MAX_STACKS],
	    parks[SIM_MAX_STACKS];
	bool gone[SIM_MAX_STACKS][SIM_MAX_SQ]; /* parked, and its lcore has left */
	struct sluice_tunables tun[SIM_MAX_STACKS];
	/* Packets of one connection go different ways: squeues change, or queues do */
	bool detours[SIM_MAX_STACKS], strays[SIM_MAX_STACKS];
	sluice_conn_t listener[SIM_MAX_STACKS];
	bool unlistened[SIM_MAX_STACKS], listener_gone[SIM_MAX_STACKS];
	struct sim_listen {
		struct sim *sim;
		unsigned int stack;
	} larg[SIM_MAX_STACKS];
	struct sim_link link[SIM_MAX_LINKS];
	struct sim_pair pair[SIM_MAX_CONNS];
	unsigned int nconns;
	struct sim_scratch scratch[SIM_MAX_SCRATCH];
	uint64_t order, quiet, pass, plant_at;
	int plant;
	bool calm; /* nothing in the plan can end a connection by itself */
	bool is_quiet, done;
	const struct sim_item **event;
	unsigned int nevents, next_event;
	struct sim_flow *flow[64];
	struct sim_shadow *shadow[SIM_MAX_STACKS][SIM_MAX_SQ];
	struct sim_seg *rx[SIM_MAX_STACKS];
	unsigned int nrx[SIM_MAX_STACKS], caprx[SIM_MAX_STACKS];
	uint64_t
	    drops[SIM_MAX_STACKS]; /* segments that a stack let go for want of memory, last seen */
	FILE *pcap;
	enum sim_check failed;
	char why[256]; /* first failure */
	uint64_t ran[SIM_NCHECKS], op_done[SIM_NOPS];
};

/** Remember the first failure. */
void sim_fail(struct sim *s, enum sim_check ck, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void sim_say(const struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define SIM_SAY(s, ...)                          \
	do {                                     \
		if ((s)->opt->verbose)           \
			sim_say(s, __VA_ARGS__); \
	} while (0)
/** The check `ck` is made: it counts, and fails when cond does not hold. */
#define SIM_CHECK(s, ck, cond, ...)                   \
	do {                                          \
		(s)->ran[ck]++;                       \
		if (!(cond))                          \
			sim_fail(s, ck, __VA_ARGS__); \
	} while (0)

/** A number that depends on nothing but its arguments: each stream of decisions is its own. */
static inline uint64_t sim_hash(uint64_t stream, uint64_t n)
{
	uint64_t z = stream * 0x9e3779b97f4a7c15ull + n * 0xd1b54a32d192ed03ull + 1;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}
/** Byte at an offset of a stream: any shift, swap or repeat shows. */
static inline uint8_t sim_byte(uint64_t key, uint64_t off)
{
	uint64_t x = (off + 1) * 0x9e3779b97f4a7c15ull ^ key;

	return (uint8_t)(x >> 37 ^ x >> 11);
}

/* nic.c */
struct sluice_driver sim_nic_driver(struct sim_nic *n);
void sim_nic_fate(void *arg, uint16_t q, const struct rte_mbuf *m, uint64_t now, bool copy,
    struct sluice_impair_fate *f);
void sim_nic_flush(struct sim_nic *n);
void sim_nic_icmp(struct sim_nic *to, const uint8_t *quote, uint32_t qlen, uint8_t type,
    uint8_t code, uint32_t rest);
void sim_pcap_open(struct sim *s, const char *path);

/* app.c */
extern const struct sluice_upcalls sim_end_upcalls, sim_listener_upcalls;
void sim_open(struct sim *s, unsigned int i);
void sim_pump(struct sim_end *e);
/** There may be buffers again. */
void sim_retry(struct sim_end *e);
void sim_check_pipe(struct sim_end *e);
/** The stream may be cut, and errors told: both ends, and those that carry it on. */
void sim_cut(struct sim_end *e);
void sim_act(struct sim_end *e);
bool sim_pair_ended(const struct sim *s, unsigned int i);
struct sockaddr_in6 sim_addr(unsigned int link, unsigned int end, bool v6, uint16_t port);

/* calls.c */
enum sim_call {
	SIM_BIND,
	SIM_LISTEN,
	SIM_CONNECT,
	SIM_SEND,
	SIM_SHUTDOWN,
	SIM_PEERNAME,
	SIM_UNBIND,
	SIM_STATE_CALLS, /* the above: results by state */
	SIM_STALE = SIM_STATE_CALLS,
	SIM_SETOPT,
	SIM_GETOPT,
	SIM_INFO,
	SIM_CLOSE_SCRATCH,
	SIM_ABORT_SCRATCH,
	SIM_NCALLS
};
enum sim_icmp {
	SIM_ICMP_HOST,
	SIM_ICMP_PORT,
	SIM_ICMP_BIG,
	SIM_ICMP_QUENCH,
	SIM_ICMP_TTL,
	SIM_NICMP
};
void sim_call_end(struct sim *s, struct sim_end *e, enum sim_call call);
void sim_call_scratch(struct sim *s, unsigned int k, enum sim_call call);
void sim_make_scratch(struct sim *s, unsigned int k, unsigned int stack, unsigned int sq);
void sim_inject_icmp(struct sim *s, struct sim_end *e, enum sim_icmp kind, int where);
/** The errno table: what `call` must return in a state. */
int sim_errno_want(enum sluice_state st, enum sim_call call);

/* check.c */
void sim_check_squeue(struct sim *s, unsigned int stack, unsigned int sq);
void sim_check_baseline(struct sim *s);

/* setup.c */
/** False: the plan makes no sense. */
bool sim_read_plan(struct sim *s);

/* world.c */
/** Run one plan; 0, or -1: *failed and why (when not NULL) say what did not hold. */
int sim_run(const struct sim_plan *p, const struct sim_options *opt, struct sim_sum *sum,
    enum sim_check *failed, char why[256]);

/* shrink.c: runs in a process of its own, since a plan may crash */
struct sim_outcome {
	bool failed;
	enum sim_check ck;
	char why[256];
};
struct sim_outcome sim_try(const struct sim_plan *p, bool quiet);
/** Make *p smaller while the same check fails, for at most `ms` of real time; returns the runs. */
unsigned int sim_shrink(struct sim_plan *p, enum sim_check ck, unsigned int ms);

/* selftest.c */
int sim_selftest(void);
/** A fault in what the checks of the wire see; seg: payload of each packet. */
void sim_plant(struct sim *s, struct sim_seg *g, uint32_t *seg);
/** A fault before the checks of a pass; undone after them (a leak at the end). */
void sim_plant_pass(struct sim *s, unsigned int stack, unsigned int sq);
void sim_plant_undo(bool end);
bool sim_plant_errno(const struct sim *s);

#endif
