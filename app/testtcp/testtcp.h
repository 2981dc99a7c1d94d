/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sluice-testtcp: for TCP what testpmd is for packets.
 *
 *	engine_*.c	what is said, in numbers of bytes: never touches payload. One file each
 *	conn.c		one end of a connection: payload pattern, what is still to be sent
 *	http.c		stands between the two when the server talks HTTP
 *	sl.c, kern.c	transports: sluice's event API or kernel sockets, so both run the same load
 *	run.c		phases, lcores, intervals; report.c writes what they found
 *	prompt.c	commands while it runs
 *	opts.c, main.c	the table of options, and what is made of them
 *
 * An endpoint is one stack in one role; a shard is its part on one lcore (a squeue, an epoll set).
 * Everything of a shard is touched by its lcore only, but `stats`, which the reporting lcore reads
 * (relaxed).
 */
#ifndef TESTTCP_H
#define TESTTCP_H

#include <sys/queue.h>
#include "../common/app.h"
#include "hist.h"
#include "opts.h"

#define MAX_SHARDS 32
#define PATTERN_LEN \
	16381u /* prime: no power of two hides a shift; small: to read it costs no cache */
#define PATTERN_PIECE \
	64512u /* most that is sent at once: the pattern goes on that far behind PATTERN_LEN */

struct conn;
struct http;
struct shard;

enum phase {
	PH_OPEN,
	PH_PAUSE, /* at the prompt: connections stand, nothing is asked */
	PH_WARMUP,
	PH_MEASURE,
	PH_DRAIN,
	PH_CLOSE,
	PH_END
};

/* ---- engines ---- */

/** What one role of an engine does; any member may be NULL. All on the connection's lcore. */
struct engine_role {
	void (*opened)(struct conn *c);
	void (*received)(struct conn *c, size_t n); /* n bytes more have come (and were checked) */
	void (*writable)(struct conn *c);           /* all that conn_send was asked for is sent */
	void (*ended)(struct conn *c);              /* the peer's FIN; the default closes */
	bool (*reset)(struct conn *c);              /* the peer's RST: was it due? */
	int (*tick)(struct shard *sh);              /* once a pass; returns work done */
};

/** Options that not all engines have. */
enum engine_option {
	ENGINE_RATE = 1,
	ENGINE_DEPTH = 2,
	ENGINE_ACTIVE = 4,
	ENGINE_CLOSE = 8
};

struct engine {
	const char *name, *help;
	uint64_t req, resp; /* default sizes */
	uint64_t min_size;  /* smallest REQ and RESP */
	bool reopen; /* connections come and go: ends are no losses, there is no opening phase */
	bool whole;  /* the opening phase is part of the measurement */
	uint32_t options; /* enum engine_option */
	uint32_t protos;  /* 1 << PROTO_*: servers not ours that it can talk to */
	struct engine_role client, server;
};

extern const struct engine engine_rr, engine_stream, engine_connect, engine_crr, engine_idle;
/** All engines, NULL at the end. */
extern const struct engine *const engines[];

/* ---- transports ---- */

struct endpoint;

struct transport {
	const char *name;
	int (*up)(struct endpoint *ep); /* make the stack; 0 or -errno after a message */
	int (*listen)(struct endpoint *ep);
	int (*open)(struct conn *c); /* begin to connect */
	ssize_t (*send)(struct conn *c,
	    size_t n); /* of the pattern at c->tx_idx; bytes taken, -EAGAIN: blocked, -ENOBUFS */
	void (*finish)(struct conn *c);      /* FIN behind what was sent; the peer's is awaited */
	void (*close)(struct conn *c);       /* conn_gone follows, now or later */
	void (*reset)(struct conn *c);       /* RST now; conn_gone follows as well */
	uint64_t (*unacked)(struct conn *c); /* bytes that the peer has not acknowledged */
	int (*poll)(struct shard *sh);    /* one pass, with shard_tick within; returns work done */
	void (*leave)(struct shard *sh);  /* the lcore polls no more */
	int (*down)(struct endpoint *ep); /* 0, or -errno after a message */
};

extern const struct transport transport_sluice, transport_kernel;

/* ---- state ---- */

/** Numbers of a shard; all u64, so that they can be subtracted as an array. */
struct stats {
	uint64_t transactions, opened, closed, rx_bytes, tx_bytes;
	uint64_t lost;    /* connections that ended without being asked to */
	uint64_t errors;  /* bytes that were not the pattern's */
	uint64_t refused; /* connects that must be tried again (no port, no route yet, no memory) */
	uint64_t no_port; /* of them those that found no free local address and port */
	uint64_t nomem;   /* sends put off: no buffer */
	uint64_t busy_cycles, total_cycles;
};

TAILQ_HEAD(conns, conn);

struct conn {
	TAILQ_ENTRY(conn) link;    /* shard.conns */
	TAILQ_ENTRY(conn) pending; /* of *waits */
	struct conns *waits;       /* shard.fresh, .starved, .resetting, or NULL */
	struct shard *sh;
	struct http *http; /* NULL unless the server talks that */
	uint64_t handle;   /* sluice_conn_t or file descriptor */
	uint64_t tx_want;  /* bytes still to be handed to the stack */
	uint64_t rx_have;  /* bytes of a message not yet complete */
	/* Ring of depth: TSC at which each request under way was due; NULL: when1 */
	uint64_t *when;
	uint64_t when1;
	uint32_t tx_idx, rx_idx; /* places in the pattern */
	uint16_t head, inflight; /* of the ring */
	bool open;               /* established */
	bool blocked;            /* the stack takes no more until it says so */
	bool closing;            /* transport.close or .reset was called */
	bool finished;           /* our FIN is sent, transport.close is due */
	bool served;             /* crr: the response is on its way */
	bool ended;              /* the peer's FIN came */
};
/** Times at a fixed distance, in TSC cycles with 16 fractional bits. step 0: not used. */
struct pace {
	uint64_t due, frac, step;
};

struct shard {
	struct endpoint *ep;
	const struct engine_role *role;
	const struct engine *engine;
	const struct transport *tp;
	const struct config *cfg;
	unsigned int id;
	uint64_t now; /* ns, of this pass */
	enum phase phase;
	/* Connections of a client. */
	uint32_t target;    /* to have at once */
	uint32_t active;    /* of them with requests under way; 0: all */
	uint32_t grown;     /* how many of them the ramp allows by now */
	uint64_t quota;     /* still to be opened */
	uint64_t next_peer; /* member of the servers for the next one */
	uint64_t retry_at;  /* TSC: none is tried before, after one was refused */
	uint32_t live, opening, established;
	bool reopen;       /* those that end are replaced */
	uint64_t inflight; /* requests under way, of all connections */
	struct pace rate, ramp;
	uint64_t asked; /* connections that an engine's tick has served */
	struct conns conns, fresh, starved;
	struct conns resetting; /* to be reset as soon as all is acknowledged */
	struct conns
	    dead; /* gone, freed by the next tick: callers up the stack may still look at them */
	void *tp_data; /* transport's */
	struct rte_mempool *pool;
	struct stats stats;
	struct stats base, end; /* at the begin and end of the measurement */
	struct hist hist;
	uint64_t http_sum; /* of the first body; 0: none yet */
	/* what the reporting lcore reads */
	uint32_t shown_live, shown_established, shown_idle, shown_done, shown_pause;
};

struct endpoint {
	const char *name; /* "client", "server" */
	bool client;
	struct config *cfg;
	const struct transport *tp;
	unsigned int nshards;
	struct shard *shard;
	struct app_stack stack;      /* of the sluice transport */
	struct sluice_driver driver; /* wire end to use; ops NULL: a DPDK port */
	int port;
	struct app_span own;     /* addresses of this end; a server's ports, or a client's */
	struct app_span servers; /* the same for both ends */
	bool own_given;
	void *tp_data;
	const enum phase *phase; /* run.phase */
};

/** The payload: PATTERN_LEN bytes, repeated for another piece. */
extern uint8_t *pattern;
extern uint64_t pattern_iova;
extern uint32_t pattern_len; /* PATTERN_LEN, or the length of an HTTP request */
int pattern_make(void);
/** Something else is sent over and over: len up to PATTERN_LEN. */
void pattern_set(const char *text, uint32_t len);
/** The bytes themselves, the same in every process: PATTERN_LEN + PATTERN_PIECE of them. */
void pattern_fill(uint8_t *p);

/* ---- conn.c ---- */

struct conn *conn_new(struct shard *sh);
/** Addresses are known: place in the pattern. Both ends know the client's address and port. */
void conn_place(struct conn *c, const struct sockaddr *client);
void conn_opened(struct conn *c);
/** Take n more bytes of the pattern into the send queue, now or as soon as there is room. */
void conn_send(struct conn *c, uint64_t n);
/** Go on with what is wanted (after blocked was cleared). */
void conn_push(struct conn *c);
/** Compare and count received bytes; call conn_received once afterwards. */
void conn_check(struct conn *c, const void *data, size_t n);
void conn_ended(struct conn *c);
/** The stack ended the connection with an error; conn_close is done here. */
void conn_lost(struct conn *c, int err);
void conn_close(struct conn *c);
/** FIN, but wait for the peer's: `ended` comes. */
void conn_finish(struct conn *c);
/** RST, now or as soon as the peer has acknowledged all that was sent. */
void conn_reset(struct conn *c);
void conn_reset_when_acked(struct conn *c);
/** The transport has forgotten c. It is freed by the next tick or conn_reap. */
void conn_gone(struct conn *c);
void conn_reap(struct shard *sh);
/** A server's new connection: opened is called by the next tick. */
void conn_fresh(struct conn *c);
/** Once a pass, by the transport. */
int shard_tick(struct shard *sh);
void shard_enter(struct shard *sh, enum phase ph);
/** Round-robin choice of an open connection with fewer than depth requests under way, or NULL. */
struct conn *shard_pick(struct shard *sh);
/** Send a request that was due at TSC `when`; the answer of the oldest has come: its latency is
 * recorded. */
void conn_request(struct conn *c, uint64_t when);
void conn_answered(struct conn *c, uint64_t tsc);

/** Is the next time reached? pace_step then moves on, and returns it. */
static inline bool pace_ready(struct pace *p, uint64_t tsc)
{
	if (p->due == 0)
		p->due = tsc;
	return p->due <= tsc;
}

static inline uint64_t pace_of(uint64_t per_second, unsigned int nshards)
{
	if (per_second == 0)
		return 0;
	return (uint64_t)((double)rte_get_tsc_hz() * 65536.0 * nshards / (double)per_second);
}

static inline uint64_t pace_step(struct pace *p)
{
	uint64_t due = p->due;

	p->frac += p->step & 0xffff;
	p->due += (p->step >> 16) + (p->frac >> 16);
	p->frac &= 0xffff;
	return due;
}

static inline void bump(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline void conn_received(struct conn *c, size_t n)
{
	bump(&c->sh->stats.rx_bytes, n);
	c->sh->role->received(c, n);
}

/* ---- http.c ---- */

/** Make the request the pattern; sets cfg->req and cfg->resp. */
int http_make(struct config *cfg, const struct endpoint *ep, bool keep_alive);
struct http *http_new(void);
/** Payload of c. */
void http_check(struct conn *c, const uint8_t *p, size_t n);
/** The engine's role with each response as one byte received. */
const struct engine_role *http_role(const struct engine_role *of);

/* ---- run.c, report.c ---- */

struct interval {
	double t, tps, cps, gbps, busy;
	uint64_t retrans, drops_port, drops_pool, live;
};

/** Packets that a port dropped or had no room for; that found no buffer, or waited for one. */
struct drops {
	uint64_t port, pool;
};

struct run {
	struct config *cfg;
	const struct engine *engine;
	struct endpoint ep[2]; /* server, client */
	unsigned int nep;
	unsigned int nworkers;
	unsigned int worker_lcore[2 * MAX_SHARDS];
	enum phase phase; /* written by the main lcore, atomic */
	uint64_t start, phase_start, measure_start, measure_end, open_end; /* ns */
	uint64_t next_check, next_line, last_line;
	struct stats last; /* at the last line */
	struct drops last_drops;
	uint64_t last_retrans;
	uint64_t kernel_mem; /* bytes of slabs before the connections */
	struct interval *interval;
	unsigned int ninterval, max_interval;
	uint64_t retrans0, retrans; /* at the begin and during the measurement */
	uint64_t unopened;          /* connections that never came up */
	uint64_t mem_per_conn;
	bool failed;
	bool report_due; /* at the prompt: when all shards have stopped */
	struct cmdline *prompt;
	/* lcores.c */
	struct worker *worker; /* nworkers, the main lcore's first */
	int (*work)(void *worker);
	unsigned int away; /* worker whose lcore is to be away just now; 0: none */
	unsigned int next_away, cycles;
	uint64_t next_cycle;
	int argc;
	char **argv;
};

/** What one lcore does: a shard, or one of each end. */
struct worker {
	struct run *run;
	struct shard *shard[2];
	unsigned int nshards;
	bool main;
};

/* ---- lcores.c: lcores that leave their squeues and come back (sluice only) ---- */

/** Should the lcore of this worker go? Its squeues are parked. */
bool lcore_may_leave(const struct worker *w);
/** On the main lcore, now and then: lcores whose squeues run again come back; --lcore-cycle. */
void lcores_control(struct run *r, uint64_t now);
/** Park a squeue of an end, or let it run again: 0 or -errno. */
int lcore_park(struct endpoint *ep, unsigned int id, bool park);

/* ---- prompt.c: on the main lcore ---- */

int prompt_open(struct run *r);
/** Look for input and do what it says. */
void prompt_poll(struct run *r);
void prompt_close(struct run *r);

/** Begin and end a measurement; false when there is none to begin or end. */
bool run_start(struct run *r);
bool run_stop(struct run *r);
/** Print what there was since the last line. */
void run_line(struct run *r, uint64_t now);
/** Run all phases on the EAL's lcores. */
int run_all(struct run *r);
/** Sum over the shards of an endpoint (all when NULL) of their stats now. */
void run_sum(const struct run *r, const struct endpoint *ep, struct stats *out);
/** Of a stream one way the pieces are counted at the other end; when that is not ours, as sent. */
void run_pieces(const struct run *r, struct stats *sub, const struct stats *all);
uint64_t run_retrans(const struct run *r);
struct drops run_drops(const struct run *r);
/** Times that a client found no free address and port to connect from. */
uint64_t run_no_port(const struct run *r);
void report_text(struct run *r);
int report_json(struct run *r, const char *path);

#endif
