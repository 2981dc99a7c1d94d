/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sluice-testtcp: for TCP what testpmd is for packets.
 *
 *	engine (rr, stream, connect, idle)	what is said, in numbers of bytes: never touches payload
 *	conn.c		one end of a connection: payload pattern, what is still to be sent
 *	sl.c, kern.c	transports, sluice's event API and kernel sockets: both run the very same load
 *	run.c		phases, lcores, intervals
 *	report.c	writes what they found
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
struct shard;

enum phase {
	PH_OPEN,
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
	int (*tick)(struct shard *sh);              /* once a pass; returns work done */
};

struct engine {
	const char *name, *help;
	uint64_t req, resp; /* default sizes */
	uint64_t min_size;  /* smallest REQ and RESP */
	bool reopen; /* connections come and go: ends are no losses, there is no opening phase */
	bool whole;  /* the opening phase is part of the measurement */
	struct engine_role client, server;
};

extern const struct engine engine_rr, engine_stream, engine_connect, engine_idle;
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
	void (*close)(struct conn *c);    /* conn_gone follows, now or later */
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
	uint64_t nomem;   /* sends put off: no buffer */
	uint64_t busy_cycles, total_cycles;
};

struct conn {
	TAILQ_ENTRY(conn) link;    /* shard.conns */
	TAILQ_ENTRY(conn) pending; /* shard.fresh or shard.starved */
	struct shard *sh;
	uint64_t handle;  /* sluice_conn_t or file descriptor */
	uint64_t tx_want; /* bytes still to be handed to the stack */
	uint64_t rx_have; /* bytes of a message not yet complete */
	/* Ring of depth: TSC at which each request under way was due; NULL: when1 */
	uint64_t *when;
	uint64_t when1;
	uint32_t tx_idx, rx_idx; /* places in the pattern */
	uint16_t head, inflight; /* of the ring */
	bool open;               /* established */
	bool blocked;            /* the stack takes no more until it says so */
	bool starved, fresh;     /* which list `pending` is on */
	bool closing;            /* transport.close was called */
	bool ended;              /* the peer's FIN came */
};
TAILQ_HEAD(conns, conn);

struct shard {
	struct endpoint *ep;
	const struct engine_role *role;
	const struct engine *engine;
	const struct transport *tp;
	const struct config *cfg;
	unsigned int id;
	uint64_t now; /* ns, of this pass */
	enum phase phase;
	uint32_t target; /* connections to have (client) */
	uint32_t live, opening, established;
	uint64_t inflight; /* requests under way, of all connections */
	/* Open loop: when the next request is due, TSC with 16 fractional bits in due_frac */
	uint64_t due, due_step;
	uint64_t due_frac;
	struct conns conns, fresh, starved;
	/* Gone, freed by the next tick: callers up the stack may still look at them */
	struct conns dead;
	void *tp_data; /* transport's */
	struct rte_mempool *pool;
	struct stats stats;
	struct stats base, end; /* at the begin and end of the measurement */
	struct hist hist;
	/* what the reporting lcore reads */
	uint32_t shown_live, shown_established, shown_idle;
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
	struct sockaddr_storage local, peer; /* peer: the server's address, of both roles */
	uint32_t nlocal;
	uint64_t mem_before, mem_open; /* bytes of the stack before and with the connections */
	void *tp_data;
};

/** The payload: PATTERN_LEN bytes, repeated for another piece. */
extern uint8_t *pattern;
extern uint64_t pattern_iova;
int pattern_make(void);
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

static inline void bump(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline void conn_received(struct conn *c, size_t n)
{
	bump(&c->sh->stats.rx_bytes, n);
	c->sh->role->received(c, n);
}

/* ---- run.c, report.c ---- */

struct interval {
	double t, tps, cps, gbps, busy;
	uint64_t retrans, drops, live;
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
	uint64_t last_retrans, last_drops;
	uint64_t kernel_mem; /* bytes of slabs before the connections */
	struct interval *interval;
	unsigned int ninterval, max_interval;
	uint64_t retrans0, retrans; /* at the begin and during the measurement */
	uint64_t unopened;          /* connections that never came up */
	uint64_t mem_per_conn;
	bool failed;
	int argc;
	char **argv;
};

/** Run all phases on the EAL's lcores. */
int run_all(struct run *r);
/** Sum over the shards of an endpoint (all when NULL) of their stats now. */
void run_sum(const struct run *r, const struct endpoint *ep, struct stats *out);
uint64_t run_retrans(const struct run *r);
uint64_t run_drops(const struct run *r);
void report_text(struct run *r);
int report_json(struct run *r, const char *path);

#endif
