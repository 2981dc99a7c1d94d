/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sluice-proxy: TCP from listeners to backends, on the event API, without copying.
 *
 *	listener.c   a client comes: limits, then a session
 *	first.c      looks at its first bytes when the listener asks for that
 *	  proxyproto.c   the PROXY header, both ways
 *	  hook_sni.c, hook_host.c   which host does the client want?
 *	session.c    its life: states, time-outs, upcalls, end
 *	connect.c    the way to a backend, and the next try when it fails
 *	relay.c      moves bytes and FINs between its two connections
 *	pool.c       backends that one kind of client may go to
 *	  balance.c      which of them
 *	  health.c       which of them are up
 *	source.c     sessions per client address
 *	memory.c     what is done when buffers run short
 *	access.c     a line for each session that ended
 *	config.c     the file to values; reload.c values to a running proxy, and the end of it
 *	main.c       options, EAL; control.c signals, files, the log
 *
 * There is a struct proxy for each squeue, with sessions, pools and timers of its own; everything in
 * it belongs to that squeue and runs in its upcalls, timers and operations; only counters and the
 * access log are read from outside. What all of them must agree about is in struct proxy_group and
 * what hangs on it: a listener's open connection (door), whether a backend is up, and how many
 * sessions there are (share), so that limits hold for the sum. Nothing here but main.c and control.c
 * needs the EAL, a thread or a clock: the tests run it in virtual time.
 */
#ifndef PROXY_H
#define PROXY_H

#include <sys/queue.h>
#include <rte_spinlock.h>
#include "config.h"

struct proxy;
struct proxy_group;
struct session;
struct check;

/* ---- numbers that all squeues count together ---- */

#define SHARED_GET(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define SHARED_SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define SHARED_ADD(x, v) __atomic_fetch_add(&(x), (v), __ATOMIC_RELAXED)

/** One more, unless there are `limit` already (0: there is none). False: nothing was counted. */
static inline bool shared_enter(uint32_t *n, uint64_t limit)
{
	if (__atomic_fetch_add(n, 1, __ATOMIC_RELAXED) < limit || limit == 0)
		return true;
	__atomic_fetch_sub(n, 1, __ATOMIC_RELAXED);
	return false;
}

static inline void shared_leave(uint32_t *n)
{
	__atomic_fetch_sub(n, 1, __ATOMIC_RELAXED);
}

/** Was that the last reference? What others did with the object is seen then. */
static inline bool shared_unref(uint32_t *refs)
{
	return __atomic_fetch_sub(refs, 1, __ATOMIC_ACQ_REL) == 1;
}

/* ---- pool.c ---- */

/** What the squeues' views of one backend have in common; atomic. */
struct share {
	uint32_t refs;     /* the views */
	uint32_t active;   /* connections to it, being made or made */
	uint64_t up_since; /* 0: ever since */
	uint64_t total, failed;
	bool up; /* the first squeue's checks say so */
};

struct backend {
	struct backend_config cfg;
	struct pool *pool; /* whose member it is; NULL: no more in the configuration */
	struct share *share;
	uint32_t refs;          /* the pool, and sessions on it */
	uint64_t failed_at;     /* the last connect that failed; 0: none has */
	uint64_t no_port_until; /* no local port to it was free a moment ago */
	int64_t credit;         /* of the round robin */
	struct check *check;    /* health.c; NULL: none runs */
};

struct pool {
	struct pool_config cfg;
	struct backend **backend;
	unsigned int nbackends;
	unsigned int turn; /* where equals are looked for first */
	uint32_t refs;     /* configuration, listeners, sessions on their way to it */
};

/** share: of another squeue's view of it; NULL: this is the first one. */
struct backend *backend_new(const struct backend_config *cfg, struct share *share);
void backend_ref(struct backend *b);
void backend_unref(struct backend *b);
struct pool *pool_new(const struct pool_config *cfg);
void pool_ref(struct pool *pl);
void pool_unref(struct pool *pl);
/** Same backend to go on with after a change of the configuration? */
bool backend_same(const struct backend *b, const struct backend_config *cfg);

/* ---- balance.c ---- */

/** The weight that counts now, in 1/256 of the configured unit; 0: takes no new sessions. */
uint32_t balance_weight(const struct backend *b, uint64_t now);
/** Choose for a client, among those to which no connect has failed since then (ns); NOT_FAILED_EVER
 * asks for all. NULL: there is none. */
#define NOT_FAILED_EVER UINT64_MAX
struct backend *balance_pick(struct pool *pl, const struct sockaddr_storage *client, uint64_t now,
    uint64_t not_failed_since);

/** Is a backend passed over only because no local port to it is free? */
bool balance_wants_port(const struct pool *pl, uint64_t now);

/* ---- health.c ---- */

/** Begin and end checks as the pool says. On the squeue, which is the first one. */
void health_start(struct proxy *p, struct backend *b, uint64_t first_in);
void health_stop(struct proxy *p, struct backend *b);

/* ---- proxyproto.c ---- */

#define PROXY_HEADER_MAX 108 /* of those sent */

struct proxy_header {
	bool local; /* no addresses: those of the connection hold */
	struct sockaddr_storage src, dst;
};

/** Length of the header at the front of p, 0: more bytes are needed, -EINVAL: not a header. */
int proxyproto_parse(const uint8_t *p, size_t n, struct proxy_header *h);
/** Make a header of version 1 or 2; returns its length. src and dst are of one family. */
size_t proxyproto_make(uint8_t out[PROXY_HEADER_MAX], enum send_proxy version,
    const struct sockaddr_storage *src, const struct sockaddr_storage *dst);

/* ---- hook_*.c: pure functions over the first n bytes of a stream ---- */

enum verdict {
	VERDICT_MORE, /* undecided */
	VERDICT_NAME, /* host[] is what the client asks for, lower case */
	VERDICT_NONE, /* well-formed, and names no host */
	VERDICT_BAD
};
#define HOST_LEN 256

enum verdict hook_sni(const uint8_t *p, size_t n, char host[HOST_LEN]);
enum verdict hook_host(const uint8_t *p, size_t n, char host[HOST_LEN]);
/** Copy a host name in lower case, without a last dot. False: empty, too long, or not a name. */
bool hook_name(const uint8_t *p, size_t n, char host[HOST_LEN]);

/* ---- source.c ---- */

struct source;
struct sources {
	rte_spinlock_t lock; /* of all squeues; never held for longer than a search */
	LIST_HEAD(source_chain, source) * bucket;
	uint32_t mask;
	uint32_t seed;
	uint32_t n;
};

int sources_init(struct sources *t, uint32_t seed);
void sources_fini(struct sources *t);
/** Count one more session of the address at a door. NULL: `limit` is reached (or no memory). */
struct source *source_get(
    struct sources *t, const void *door, const struct sockaddr_storage *ss, uint64_t limit);
void source_put(struct sources *t, struct source *src);

/* ---- access.c: from the squeue to one reader, without waiting ---- */

struct access_record {
	char listener[NAME_LEN], backend[NAME_LEN]; /* backend "-": none was reached */
	struct sockaddr_storage client;
	uint64_t to_backend, to_client; /* bytes */
	uint64_t duration;              /* ns */
	uint32_t retries;
	enum reason reason;
};
#define ACCESS_RECORDS 4096

struct access_log {
	struct access_record *rec;
	uint32_t head, tail; /* atomic; head: the writer's */
};

int access_init(struct access_log *a);
void access_fini(struct access_log *a);
bool access_push(struct access_log *a, const struct access_record *r);
bool access_pop(struct access_log *a, struct access_record *r);
/** The line, with its newline. Returns its length. */
int access_line(const struct access_record *r, char *buf, size_t len);
const char *reason_text(enum reason r);

/* ---- listener.c ---- */

struct route {
	const char *host; /* in the listener's own memory */
	struct pool *pool;
};

/** The open connection of a listener, which all squeues have together. */
struct door {
	struct proxy_group *group;
	sluice_conn_t c; /* the first squeue's; SLUICE_CONN_NONE: closed */
	uint32_t refs;   /* atomic; the squeues' listeners, and the connection until `closed` */
	uint32_t active; /* atomic; sessions */
	/* Each squeue's own, used on it alone. NULL: it takes no clients (yet, any more) */
	struct listener *of[];
};

struct listener {
	struct proxy *p;
	struct listener_config cfg;
	struct door *door;
	struct pool *pool; /* NULL: only routes */
	struct route *route;
	unsigned int nroutes;
	uint32_t refs; /* configuration, sessions */
};

/** door: of another squeue's listener; NULL: a new one, closed. */
struct listener *listener_new(
    struct proxy *p, const struct listener_config *cfg, struct door *door);
void listener_unref(struct listener *l);
/** Open and close the door. On the first squeue. */
int listener_open(struct listener *l);
void listener_close(struct listener *l);
/** Take clients on this squeue, or take no more. */
void listener_serve(struct listener *l, bool serve);
/** Where its clients go from now on. It takes over route and what hangs on it, and refers to the
 * pools for as long as it lives: a client whose first bytes have not come yet may outlive the
 * configuration. */
void listener_set_pools(
    struct listener *l, struct pool *pl, struct route *route, unsigned int nroutes);
/** The pool for a host, NULL: none. */
struct pool *listener_route(const struct listener *l, const char *host);

/* ---- session.c, connect.c, first.c, relay.c ---- */

enum session_state {
	S_FIRST,   /* waits for first bytes */
	S_CONNECT, /* a connect is on its way, or its connection on its way out */
	S_WAIT,    /* until the next connect */
	S_RELAY,
	S_END /* closes; freed when both connections have gone */
};

/** One of the two connections; the upper handle of its upcalls. */
struct side {
	struct session *s;
	sluice_conn_t c; /* SLUICE_CONN_NONE: not there (yet, any more) */
	bool eof;        /* its FIN has come */
	bool shut;       /* our FIN was sent behind the last byte */
	bool closing;    /* closed or aborted by us: nothing but `closed` comes */
	bool stalled;    /* did not take all that there was */
	uint64_t bytes;  /* that came from it and went to the other */
};

struct session {
	TAILQ_ENTRY(session) all;
	TAILQ_ENTRY(session) starved; /* in p->starved while is_starved */
	TAILQ_ENTRY(session) stalled; /* in p->stalled while a side is */
	struct proxy *p;
	struct listener *l;
	struct pool *pool; /* from its choice until S_RELAY */
	struct backend *b; /* while its connection lives */
	struct source *source;
	struct side client, server;
	enum session_state state;
	enum reason reason;
	uint8_t tries;
	bool is_starved, is_stalled;
	bool header_due;         /* a PROXY header must come first */
	bool port_wait;          /* the last connect found no local port */
	uint64_t started, phase; /* when it began, when its state did; ns */
	uint64_t moved;          /* last progress */
	uint64_t connect_began;  /* the first try */
	uint64_t timer_at;
	uint64_t sample_at; /* when `acked` was read */
	uint32_t acked; /* where both send queues stood: they may drain while nothing new moves */
	sluice_timer_t timer; /* 0: none */
	/* The client's view: of its connection, or the header's */
	struct sockaddr_storage src, dst;
	char backend_name[NAME_LEN];
};
TAILQ_HEAD(session_list, session);

/** A client has come. 0, or -errno: it is refused. */
int session_new(struct listener *l, sluice_conn_t c, struct session **out);
extern const struct sluice_upcalls session_upcalls;
/** Go on to another state, whose time-out begins now. */
void session_enter(struct session *s, enum session_state state);
/** End it. DONE closes both connections in order, everything else resets what is left. */
void session_end(struct session *s, enum reason why);
/** The same for a session that may be ending in order: then it ends at once. */
void session_reset(struct session *s, enum reason why);
/** The state has changed, or its time-outs. */
void session_rearm(struct session *s);
struct side *side_peer(struct side *d);
/** Close it, or abort it. Nothing but `closed` comes from it any more. */
void side_close(struct side *d, bool in_order);
/** Its connection to a backend counts no more. */
void session_leave_backend(struct session *s);

/** Pool chosen: go and connect. */
void connect_begin(struct session *s, struct pool *pl);
/** The wait before the next try is over. */
void connect_again(struct session *s);
/** The try failed: its connection goes. */
void connect_failed(struct session *s);
/** It has gone: the next try, or the end. */
void connect_retry(struct session *s);
/** The PROXY header, if the pool wants one, as the first bytes. False: no buffer. */
bool connect_send_header(struct session *s);

/** More bytes, or the end of them, in S_FIRST. */
void first_run(struct session *s);
/** Move what can be moved, both ways, and end the session when both ways are closed. */
void relay_run(struct session *s);
void relay_unlist(struct session *s);
/** Nothing is relayed any more; in order: what is left goes out still. */
void relay_ended(struct session *s, bool in_order);

/* ---- memory.c ---- */

/** Once a pass: sessions that found no buffer try again. Returns how many. */
int memory_poll(struct proxy *p);
/** Begin to watch the pools. */
void memory_start(struct proxy *p);

/* ---- reload.c ---- */

struct plan;

struct proxy_params {
	struct sluice_stack *st;
	struct rte_mempool *pool[2]; /* of receive buffers, watched by memory_low; may be NULL */
	uint32_t seed;
	bool access_log;
};

struct proxy {
	struct proxy_group *group;
	struct sluice_stack *st;
	struct sluice_squeue *sq;
	unsigned int id;   /* of the squeue; the first one opens listeners and checks backends */
	struct plan *plan; /* between CHANGE_PLAN and what ends it */
	struct rte_mempool *mp[2];
	struct global_config cfg;
	struct listener **listener;
	struct pool **pool;
	unsigned int nlisteners, npools;
	struct access_log log;
	bool log_on;
	bool short_of_memory;
	bool draining, stopped;
	struct session_list all, starved, stalled; /* stalled: the longest first */
	unsigned int nstalled;
	sluice_timer_t tick, drain;
	struct proxy_counters n; /* one writer; others read with proxy_counters_get */
};

#define COUNT(p, name) COUNT_N(p, name, 1)
#define COUNT_N(p, name, by) \
	__atomic_store_n(&(p)->n.name, (p)->n.name + (uint64_t)(by), __ATOMIC_RELAXED)

struct proxy_group {
	struct proxy *of; /* n, one for each squeue */
	unsigned int n;
	uint32_t open; /* atomic; sessions */
	struct sources sources;
};

/** Before the first pass. 0 or -ENOMEM. */
int proxy_init(struct proxy_group *g, const struct proxy_params *pp);
/** To be registered with the stack. */
struct sluice_app proxy_app(struct proxy_group *g);

/** A new configuration comes in steps, each on every squeue before the next one begins. */
enum change_step {
	CHANGE_PLAN,   /* all that can fail; the first squeue goes before the others */
	CHANGE_COMMIT, /* it holds: between two packets of this squeue */
	CHANGE_UNDO    /* it never will: on those that have planned, the first squeue last */
};
struct change {
	const struct config *c;
	char *err; /* a text, when CHANGE_PLAN fails */
	size_t errlen;
};
/** One step, on its squeue or while nobody polls. 0 or -errno (CHANGE_PLAN). */
int proxy_change(struct proxy *p, enum change_step step, const struct change *ch);
/** Make a running proxy what the configuration says, or leave it as it is: -errno and a text. Live
 * sessions go on. `run` brings a step to its squeue; NULL: that is here. */
int proxy_apply(struct proxy_group *g, const struct config *c, char *err, size_t errlen,
    int (*run)(void *arg, struct proxy *p, enum change_step step, const struct change *ch),
    void *arg);
/** Change one value of a backend until the next proxy_apply; live sessions go on. 0, -ENOENT: no such
 * pool, backend or value, -EINVAL, -ERANGE. On the squeue. */
int proxy_set(
    struct proxy *p, const char *pool, const char *backend, const char *name, const char *value);
/** No new clients; what lives has cfg.drain_time. On the squeue. */
void proxy_drain(struct proxy *p);
/** Reset everything at once; nothing new begins. On the squeue, or after its last pass. */
void proxy_stop(struct proxy *p);
/** After the stack was destroyed. */
void proxy_fini(struct proxy_group *g);
/** The sum over all squeues. Any thread. */
void proxy_counters_get(const struct proxy_group *g, struct proxy_counters *out);
/** Listeners and backends as text. On any of the squeues. Returns the length it wanted. */
size_t proxy_dump(struct proxy *p, char *buf, size_t len);

#endif
