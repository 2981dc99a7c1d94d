/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One end of a connection, above the transport and below the engine. It knows two places in the
 * payload pattern, a fixed random string that both ends have: what is sent next and what must come
 * next. Where a connection begins in it follows from the client's address and port, so a byte that
 * belongs elsewhere in the stream, or to another connection, differs.
 */
#include "testtcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <rte_memzone.h>
#include <rte_prefetch.h>

uint8_t *pattern;
uint64_t pattern_iova;
uint32_t pattern_len = PATTERN_LEN;

void pattern_fill(uint8_t *p)
{
	uint64_t x = 0x9e3779b97f4a7c15ull;

	for (unsigned int i = 0; i < PATTERN_LEN; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = (uint8_t)(x >> 32);
	}
	for (unsigned int i = 0; i < PATTERN_PIECE; i++)
		p[PATTERN_LEN + i] = p[i];
}

int pattern_make(void)
{
	const struct rte_memzone *mz;

	mz = rte_memzone_reserve_aligned("testtcp_pattern", PATTERN_LEN + PATTERN_PIECE,
	    SOCKET_ID_ANY, RTE_MEMZONE_IOVA_CONTIG, 64);
	if (mz == NULL)
		return -ENOMEM;
	pattern = mz->addr;
	pattern_iova = mz->iova;
	pattern_fill(pattern);
	return 0;
}

void pattern_set(const char *text, uint32_t len)
{
	for (uint32_t i = 0; i < PATTERN_LEN + PATTERN_PIECE; i++)
		pattern[i] = (uint8_t)text[i % len];
	pattern_len = len;
}

static void conn_free(struct conn *c)
{
	free(c->http);
	free(c->when);
	free(c);
}

struct conn *conn_new(struct shard *sh)
{
	struct conn *c = calloc(1, sizeof(*c));
	bool http = sh->cfg->proto == PROTO_HTTP, ring = sh->ep->client && sh->cfg->depth > 1;

	if (c == NULL)
		return NULL;
	if (ring)
		c->when = calloc(sh->cfg->depth, sizeof(*c->when));
	if (http)
		c->http = http_new();
	if ((ring && c->when == NULL) || (http && c->http == NULL)) {
		conn_free(c);
		return NULL;
	}
	c->sh = sh;
	TAILQ_INSERT_TAIL(&sh->conns, c, link);
	sh->live++;
	return c;
}

void conn_place(struct conn *c, const struct sockaddr *client)
{
	const struct config *cfg = c->sh->cfg;
	uint64_t h;
	uint32_t out, back;

	if (cfg->nat || cfg->proto == PROTO_HTTP)
		return; /* all begin at 0 */
	if (client->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)client;

		h = (uint64_t)ntohl(in->sin_addr.s_addr) << 16 | ntohs(in->sin_port);
	} else {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)client;

		h = (uint64_t)ntohl(in6->sin6_addr.s6_addr32[3]) << 16 | ntohs(in6->sin6_port);
		/* A v4-mapped client counts as the IPv4 one: the other end may see it so. */
	}
	h *= 0x9e3779b97f4a7c15ull;
	out = (uint32_t)(h >> 40) % PATTERN_LEN;
	back = cfg->proto == PROTO_ECHO ? out : (uint32_t)(h >> 8) % PATTERN_LEN;
	c->tx_idx = c->sh->ep->client ? out : back;
	c->rx_idx = c->sh->ep->client ? back : out;
}

void conn_opened(struct conn *c)
{
	struct shard *sh = c->sh;

	c->open = true;
	sh->established++;
	if (sh->ep->client)
		sh->opening--;
	bump(&sh->stats.opened, 1);
	if (sh->role->opened != NULL)
		sh->role->opened(c);
}

static void wait_on(struct conn *c, struct conns *list)
{
	TAILQ_INSERT_TAIL(list, c, pending);
	c->waits = list;
}

static void wait_off(struct conn *c)
{
	if (c->waits != NULL)
		TAILQ_REMOVE(c->waits, c, pending);
	c->waits = NULL;
}

static void starve(struct conn *c)
{
	bump(&c->sh->stats.nomem, 1);
	if (c->waits == NULL)
		wait_on(c, &c->sh->starved);
}

void conn_push(struct conn *c)
{
	struct shard *sh = c->sh;

	while (c->tx_want != 0 && !c->blocked && !c->closing) {
		ssize_t n = sh->tp->send(
		    c, c->tx_want < PATTERN_PIECE ? (size_t)c->tx_want : PATTERN_PIECE);

		if (n < 0) {
			if (n == -EAGAIN)
				c->blocked = true;
			else if (n == -ENOBUFS)
				starve(c);
			else
				conn_lost(c, (int)-n);
			return;
		}
		c->tx_want -= (uint64_t)n;
		c->tx_idx += (uint32_t)n;
		if (c->tx_idx >= pattern_len)
			c->tx_idx %= pattern_len;
		bump(&sh->stats.tx_bytes, (uint64_t)n);
	}
}

void conn_send(struct conn *c, uint64_t n)
{
	c->tx_want += n;
	if (c->waits == NULL)
		conn_push(c);
}

void conn_check(struct conn *c, const void *data, size_t n)
{
	const uint8_t *p = data;

	if (c->http != NULL) {
		http_check(c, p, n);
		return;
	}
	if (!c->sh->cfg->verify)
		return;
	while (n != 0) {
		size_t part = n < PATTERN_PIECE ? n : PATTERN_PIECE;

		if (memcmp(p, pattern + c->rx_idx, part) != 0) {
			for (size_t i = 0; i < part; i++)
				if (p[i] != pattern[c->rx_idx + i])
					bump(&c->sh->stats.errors, 1);
		}
		c->rx_idx = (uint32_t)((c->rx_idx + part) % PATTERN_LEN);
		p += part;
		n -= part;
	}
}

/** What closing and resetting have in common; false when it was done before. */
static bool begin_end(struct conn *c)
{
	struct shard *sh = c->sh;

	if (c->closing)
		return false;
	c->closing = true;
	wait_off(c);
	if (c->open)
		sh->established--;
	else if (sh->ep->client)
		sh->opening--;
	sh->inflight -= c->inflight;
	c->inflight = 0;
	return true;
}

void conn_close(struct conn *c)
{
	if (begin_end(c))
		c->sh->tp->close(c);
}

void conn_reset(struct conn *c)
{
	if (begin_end(c))
		c->sh->tp->reset(c);
}

void conn_reset_when_acked(struct conn *c)
{
	if (!c->closing && c->waits == NULL)
		wait_on(c, &c->sh->resetting);
}

void conn_finish(struct conn *c)
{
	if (c->closing || c->finished)
		return;
	c->finished = true;
	c->sh->tp->finish(c);
}

#define RETRY_MS 10

static void retry_later(struct shard *sh)
{
	sh->retry_at = rte_rdtsc() + rte_get_tsc_hz() * RETRY_MS / 1000;
}

/** Has the load asked for this end? Otherwise it is a loss. */
static bool may_end(const struct conn *c)
{
	return c->sh->reopen || c->sh->phase >= PH_CLOSE || c->closing;
}

void conn_ended(struct conn *c)
{
	struct shard *sh = c->sh;

	c->ended = true;
	if (sh->ep->client && !may_end(c))
		bump(&sh->stats.lost, 1); /* servers close after their client only */
	if (sh->role->ended != NULL)
		sh->role->ended(c);
	else
		conn_close(c);
}

void conn_lost(struct conn *c, int err)
{
	struct shard *sh = c->sh;

	bool due = !c->closing && sh->role->reset != NULL && sh->role->reset(c);

	/* After its FIN a client may reset what is left; before, or while opening, it is lost. */
	if (!due && !c->closing && !c->ended && err != 0 && sh->phase < PH_CLOSE) {
		bump(&sh->stats.lost, 1);
		if (sh->stats.lost <= 5)
			app_err("%s: connection lost: %s", sh->ep->name, strerror(err));
		if (!c->open)
			retry_later(sh);
	}
	conn_close(c);
}

void conn_gone(struct conn *c)
{
	struct shard *sh = c->sh;

	if (!c->closing) { /* the stack is being destroyed */
		c->closing = true;
		wait_off(c);
	}
	TAILQ_REMOVE(&sh->conns, c, link);
	sh->live--;
	bump(&sh->stats.closed, 1);
	TAILQ_INSERT_TAIL(&sh->dead, c, link);
}

void conn_reap(struct shard *sh)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&sh->dead)) != NULL) {
		TAILQ_REMOVE(&sh->dead, c, link);
		conn_free(c);
	}
}

void conn_fresh(struct conn *c)
{
	wait_on(c, &c->sh->fresh);
}

/* ---- requests and answers ---- */

void conn_request(struct conn *c, uint64_t when)
{
	if (c->when == NULL) {
		c->when1 = when;
	} else {
		c->when[c->head] = when;
		if (++c->head == c->sh->cfg->depth)
			c->head = 0;
	}
	c->inflight++;
	c->sh->inflight++;
	conn_send(c, c->sh->cfg->req);
}

void conn_answered(struct conn *c, uint64_t tsc)
{
	struct shard *sh = c->sh;
	uint64_t when = c->when1;

	if (c->when != NULL) {
		unsigned int depth = (unsigned int)sh->cfg->depth;

		when = c->when[(c->head + depth - c->inflight) % depth];
	}
	c->inflight--;
	sh->inflight--;
	bump(&sh->stats.transactions, 1);
	if (sh->phase == PH_MEASURE || sh->engine->whole)
		hist_record(&sh->hist, tsc > when ? app_cycles_to_ns(tsc - when) : 0);
}

struct conn *shard_pick(struct shard *sh)
{
	if (sh->inflight >= (uint64_t)sh->established * sh->cfg->depth)
		return NULL;
	for (uint32_t i = 0; i < sh->live; i++) {
		struct conn *c = TAILQ_FIRST(&sh->conns);

		TAILQ_REMOVE(&sh->conns, c, link);
		TAILQ_INSERT_TAIL(&sh->conns, c, link);
		if (c->open && !c->closing && c->inflight < sh->cfg->depth)
			return c;
	}
	return NULL;
}

/* ---- once a pass ---- */

/** Slots that the ramp allows by now. */
static uint32_t allowed(struct shard *sh, uint64_t tsc)
{
	if (sh->ramp.step == 0)
		return sh->target;
	while (sh->grown < sh->target && pace_ready(&sh->ramp, tsc)) {
		pace_step(&sh->ramp);
		sh->grown++;
	}
	return sh->grown;
}

/** Begin to connect; what fails for now (no port or address, no memory) is tried again later. */
static bool open_one(struct shard *sh, uint64_t when)
{
	struct conn *c = conn_new(sh);
	int rc = -ENOMEM;

	if (c != NULL) {
		sh->opening++;
		c->when1 = when;
		rc = sh->tp->open(c);
		if (rc == 0)
			return true;
		conn_close(c);
	}
	if (sh->stats.refused == 0)
		app_err("connect: %s (trying again)", strerror(-rc));
	bump(&sh->stats.refused, 1);
	if (rc == -EADDRNOTAVAIL)
		bump(&sh->stats.no_port, 1);
	retry_later(sh);
	return false;
}

static int open_more(struct shard *sh)
{
	bool paced = sh->engine->reopen && sh->rate.step != 0;
	uint64_t tsc = rte_rdtsc();
	uint32_t most = allowed(sh, tsc);
	int work = 0;

	if (tsc < sh->retry_at)
		return 0;
	while (sh->live < most && sh->opening < sh->cfg->opening && sh->quota != 0 && work < 64) {
		if (paced && !pace_ready(&sh->rate, tsc))
			break; /* what is due and finds no slot stays due */
		if (!open_one(sh, paced ? sh->rate.due : rte_rdtsc()))
			break;
		if (paced)
			pace_step(&sh->rate);
		sh->quota--;
		work++;
	}
	return work;
}

static void begin_close(struct shard *sh)
{
	struct conn *c, *next;

	/* Servers follow their clients; one that is alone must end them itself. */
	for (c = TAILQ_FIRST(&sh->conns); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		if (sh->ep->client || sh->cfg->role == ROLE_SERVER)
			conn_close(c);
	}
}

void shard_enter(struct shard *sh, enum phase ph)
{
	if (sh->phase == PH_PAUSE) { /* a prompt may have set another rate */
		sh->rate = (struct pace){.step = pace_of(sh->cfg->rate, sh->ep->nshards)};
		sh->asked = 0;
	}
	if (ph >= PH_MEASURE && sh->phase < PH_MEASURE &&
	    (ph == PH_MEASURE || sh->phase != PH_PAUSE)) {
		sh->base = sh->stats;
		if (!sh->engine->whole)
			hist_reset(&sh->hist);
	}
	if ((ph > PH_MEASURE && sh->phase <= PH_MEASURE && sh->phase != PH_PAUSE) ||
	    (ph == PH_PAUSE && sh->phase == PH_MEASURE))
		sh->end = sh->stats;
	sh->phase = ph;
	if (ph == PH_CLOSE)
		begin_close(sh);
}

/** Servers' new connections. */
static int tick_fresh(struct shard *sh)
{
	struct conn *c;
	int work = 0;

	while ((c = TAILQ_FIRST(&sh->fresh)) != NULL) {
		wait_off(c);
		conn_opened(c);
		if (!c->closing)
			conn_push(c);
		if (!c->closing && c->tx_want == 0 && !c->blocked && sh->role->writable != NULL)
			sh->role->writable(c);
		work++;
	}
	return work;
}

/** Those that found no buffer: each once, they may come back behind the last. */
static int tick_starved(struct shard *sh)
{
	struct conn *c, *last = TAILQ_LAST(&sh->starved, conns);
	int work = 0;

	while (work < 1024 && (c = TAILQ_FIRST(&sh->starved)) != NULL) {
		wait_off(c);
		conn_push(c);
		if (c->tx_want == 0 && !c->blocked && !c->closing && sh->role->writable != NULL)
			sh->role->writable(c);
		work++;
		if (c == last)
			break;
	}
	return work;
}

static int tick_resetting(struct shard *sh)
{
	struct conn *c, *next;
	int work = 0;

	for (c = TAILQ_FIRST(&sh->resetting); c != NULL; c = next) {
		next = TAILQ_NEXT(c, pending);
		if (sh->tp->unacked(c) != 0)
			continue;
		conn_reset(c);
		work++;
	}
	return work;
}

static bool may_open(const struct shard *sh)
{
	enum phase first = sh->cfg->total ? PH_MEASURE : PH_OPEN;

	return sh->ep->client && sh->phase >= first && sh->phase != PH_PAUSE &&
	       sh->phase < (sh->reopen ? PH_DRAIN : PH_WARMUP);
}

/** Nothing is under way: what the reporting lcore waits for at the end. */
static bool shard_idle(const struct shard *sh)
{
	if (sh->phase < PH_DRAIN || sh->inflight != 0)
		return false;
	if (!sh->ep->client)
		return true;
	return (!sh->engine->reopen || sh->opening == 0) &&
	       (!sh->engine->whole || sh->asked >= sh->live);
}

int shard_tick(struct shard *sh)
{
	int work;

	conn_reap(sh);
	work = tick_fresh(sh) + tick_starved(sh) + tick_resetting(sh);
	if (may_open(sh))
		work += open_more(sh);
	if (sh->role->tick != NULL)
		work += sh->role->tick(sh);
	__atomic_store_n(&sh->shown_live, sh->live, __ATOMIC_RELAXED);
	__atomic_store_n(&sh->shown_established, sh->established, __ATOMIC_RELAXED);
	__atomic_store_n(&sh->shown_idle, shard_idle(sh), __ATOMIC_RELAXED);
	__atomic_store_n(
	    &sh->shown_pause, sh->phase == PH_PAUSE && sh->inflight == 0, __ATOMIC_RELAXED);
	__atomic_store_n(&sh->shown_done, sh->quota == 0 && sh->live == 0, __ATOMIC_RELAXED);
	return work;
}
