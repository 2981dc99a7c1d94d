/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rr: each connection keeps `depth` requests under way. Closed loop: an answer sends the next
 * request, one time stamp serves both. Open loop (--rate): requests are due at fixed times whatever
 * the answers do; one that finds all connections busy waits, and its wait counts, or the latency
 * would leave out just the bad moments. With --active each answer passes the turn to the next
 * connection, so that only so many have requests under way.
 */
#include "testtcp.h"

static bool loaded(const struct shard *sh)
{
	return sh->phase == PH_WARMUP || sh->phase == PH_MEASURE;
}

static void client_opened(struct conn *c)
{
	/* The load begins when all are open: see tick. */
	struct shard *sh = c->sh;

	if (!loaded(sh) || sh->cfg->rate != 0)
		return;
	if (sh->active != 0 && sh->inflight >= sh->active * sh->cfg->depth)
		return;
	while (c->inflight < sh->cfg->depth && !c->closing)
		conn_request(c, rte_rdtsc());
}

static void client_received(struct conn *c, size_t n)
{
	struct shard *sh = c->sh;
	uint64_t resp = sh->cfg->resp, tsc;
	bool more = loaded(sh) && sh->cfg->rate == 0;
	struct conn *next;

	c->rx_have += n;
	if (c->rx_have < resp)
		return;
	tsc = rte_rdtsc();
	while (c->rx_have >= resp && c->inflight != 0) {
		c->rx_have -= resp;
		conn_answered(c, tsc);
		if (more && sh->active == 0)
			conn_request(c, tsc);
		else if (more && (next = shard_pick(sh)) != NULL)
			conn_request(next, tsc); /* it is another one's turn */
		if (c->closing)
			return;
	}
}

static void server_received(struct conn *c, size_t n)
{
	const struct config *cfg = c->sh->cfg;
	uint64_t k = 1;

	c->rx_have += n;
	if (c->rx_have < cfg->req)
		return;
	if (c->rx_have != cfg->req)
		k = c->rx_have / cfg->req;
	c->rx_have -= k * cfg->req;
	bump(&c->sh->stats.transactions, k);
	conn_send(c, k * cfg->resp);
}

/** Start the closed loop on every connection, once. */
static int start_all(struct shard *sh)
{
	struct conn *c;
	int work = 0;

	for (uint32_t i = sh->live; i > 0; i--) {
		c = TAILQ_FIRST(&sh->conns);
		if (c == NULL)
			break;
		TAILQ_REMOVE(&sh->conns, c, link);
		TAILQ_INSERT_TAIL(&sh->conns, c, link);
		if (c->open && !c->closing)
			client_opened(c);
		work++;
	}
	return work;
}

static int client_tick(struct shard *sh)
{
	uint64_t tsc;
	int work = 0;

	if (!loaded(sh) || (sh->cfg->rate == 0 && sh->asked != 0))
		return 0;
	if (sh->cfg->rate == 0) {
		sh->asked = 1;
		return start_all(sh);
	}
	tsc = rte_rdtsc();
	while (pace_ready(&sh->rate, tsc) && work < 1024) {
		struct conn *c = shard_pick(sh);

		if (c == NULL)
			break; /* what is due stays due */
		conn_request(c, pace_step(&sh->rate));
		work++;
	}
	return work;
}

const struct engine engine_rr = {
    .name = "rr",
    .help = "requests and responses (64 bytes each)",
    .req = 64,
    .resp = 64,
    .min_size = 1,
    .options = ENGINE_RATE | ENGINE_DEPTH | ENGINE_ACTIVE,
    .protos = 1 << PROTO_ECHO | 1 << PROTO_HTTP,
    .client = {.opened = client_opened, .received = client_received, .tick = client_tick},
    .server = {.received = server_received},
};
