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

struct conn *conn_new(struct shard *sh)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	if (sh->ep->client && sh->cfg->depth > 1) {
		c->when = calloc(sh->cfg->depth, sizeof(*c->when));
		if (c->when == NULL) {
			free(c);
			return NULL;
		}
	}
	c->sh = sh;
	TAILQ_INSERT_TAIL(&sh->conns, c, link);
	sh->live++;
	return c;
}

void conn_place(struct conn *c, const struct sockaddr *client)
{
	uint64_t h;
	uint32_t out, back;

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
	back = (uint32_t)(h >> 8) % PATTERN_LEN;
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

static void starve(struct conn *c)
{
	bump(&c->sh->stats.nomem, 1);
	if (!c->starved)
		TAILQ_INSERT_TAIL(&c->sh->starved, c, pending);
	c->starved = true;
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
		if (c->tx_idx >= PATTERN_LEN)
			c->tx_idx %= PATTERN_LEN;
		bump(&sh->stats.tx_bytes, (uint64_t)n);
	}
}

void conn_send(struct conn *c, uint64_t n)
{
	c->tx_want += n;
	if (!c->starved && !c->fresh)
		conn_push(c);
}

void conn_check(struct conn *c, const void *data, size_t n)
{
	const uint8_t *p = data;

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

void conn_close(struct conn *c)
{
	struct shard *sh = c->sh;

	if (c->closing)
		return;
	c->closing = true;
	if (c->starved)
		TAILQ_REMOVE(&sh->starved, c, pending);
	if (c->fresh)
		TAILQ_REMOVE(&sh->fresh, c, pending);
	c->starved = c->fresh = false;
	if (c->open)
		sh->established--;
	else if (sh->ep->client)
		sh->opening--;
	sh->inflight -= c->inflight;
	c->inflight = 0;
	sh->tp->close(c);
}

/** Has the load asked for this end? Otherwise it is a loss. */
static bool may_end(const struct conn *c)
{
	return c->sh->engine->reopen || c->sh->phase >= PH_CLOSE || c->closing;
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

	/* After its FIN a client may reset what is left; before, or while opening, it is lost. */
	if (!c->closing && !c->ended && err != 0 && sh->phase < PH_CLOSE) {
		bump(&sh->stats.lost, 1);
		if (sh->stats.lost <= 5)
			app_err("%s: connection lost: %s", sh->ep->name, strerror(err));
	}
	conn_close(c);
}

void conn_gone(struct conn *c)
{
	struct shard *sh = c->sh;

	if (!c->closing) { /* the stack is being destroyed */
		c->closing = true;
		if (c->starved)
			TAILQ_REMOVE(&sh->starved, c, pending);
		if (c->fresh)
			TAILQ_REMOVE(&sh->fresh, c, pending);
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
		free(c->when);
		free(c);
	}
}

void conn_fresh(struct conn *c)
{
	c->fresh = true;
	TAILQ_INSERT_TAIL(&c->sh->fresh, c, pending);
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

static int open_more(struct shard *sh)
{
	int work = 0;

	while (sh->live < sh->target && sh->opening < sh->cfg->opening && work < 64) {
		struct conn *c = conn_new(sh);
		int rc;

		if (c == NULL) {
			bump(&sh->stats.refused, 1);
			break;
		}
		sh->opening++;
		c->when1 = rte_rdtsc();
		rc = sh->tp->open(c);
		if (rc != 0) { /* no port or address now, say: a later pass tries again */
			if (sh->stats.refused == 0)
				app_err("connect: %s (trying again)", strerror(-rc));
			bump(&sh->stats.refused, 1);
			conn_close(c);
			break;
		}
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
	if (ph >= PH_MEASURE && sh->phase < PH_MEASURE) {
		sh->base = sh->stats;
		if (!sh->engine->whole)
			hist_reset(&sh->hist);
	}
	if (ph > PH_MEASURE && sh->phase <= PH_MEASURE)
		sh->end = sh->stats;
	sh->phase = ph;
	if (ph == PH_CLOSE)
		begin_close(sh);
}

int shard_tick(struct shard *sh)
{
	struct conns again = TAILQ_HEAD_INITIALIZER(again);
	struct conn *c;
	int work = 0;

	conn_reap(sh);
	while ((c = TAILQ_FIRST(&sh->fresh)) != NULL) {
		TAILQ_REMOVE(&sh->fresh, c, pending);
		c->fresh = false;
		conn_opened(c);
		if (!c->closing)
			conn_push(c);
		work++;
	}
	TAILQ_CONCAT(&again, &sh->starved, pending);
	while ((c = TAILQ_FIRST(&again)) != NULL) {
		TAILQ_REMOVE(&again, c, pending);
		c->starved = false;
		conn_push(c);
		if (c->tx_want == 0 && !c->blocked && !c->closing && sh->role->writable != NULL)
			sh->role->writable(c);
		work++;
	}
	if (sh->ep->client && sh->phase < (sh->engine->reopen ? PH_DRAIN : PH_WARMUP))
		work += open_more(sh);
	if (sh->role->tick != NULL)
		work += sh->role->tick(sh);
	__atomic_store_n(&sh->shown_live, sh->live, __ATOMIC_RELAXED);
	__atomic_store_n(&sh->shown_established, sh->established, __ATOMIC_RELAXED);
	__atomic_store_n(&sh->shown_idle,
	    sh->phase >= PH_DRAIN && sh->inflight == 0 &&
		(!sh->engine->whole || !sh->ep->client || sh->due >= sh->live),
	    __ATOMIC_RELAXED);
	return work;
}
