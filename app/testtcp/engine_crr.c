/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crr: connect, request, response, close, and the next. The latency is that of the whole
 * transaction, from the connect to the peer's FIN or to a RST. The side that closes first
 * (--close) keeps the TIME_WAIT, unless it closes with a RST; a server does that only when its
 * response is acknowledged, for a RST overtakes what is still queued.
 */
#include "testtcp.h"

static bool closes_first(const struct conn *c)
{
	return (c->sh->cfg->close == CLOSE_CLIENT) == c->sh->ep->client;
}

/** More bytes of a message than it has are wrong. */
static void add(struct conn *c, size_t n, uint64_t size)
{
	c->rx_have += n;
	if (c->rx_have > size) {
		bump(&c->sh->stats.errors, c->rx_have - size);
		c->rx_have = size;
	}
}

/** The peer ended a connection that had not got so far. */
static void cut_short(struct conn *c)
{
	if (c->sh->phase < PH_CLOSE)
		bump(&c->sh->stats.lost, 1);
}

/* ---- client ---- */

static bool complete(const struct conn *c)
{
	return c->inflight != 0 && c->rx_have == c->sh->cfg->resp;
}

static void client_opened(struct conn *c)
{
	conn_request(c, c->when1); /* the time is the connect's */
}

static void client_received(struct conn *c, size_t n)
{
	add(c, n, c->sh->cfg->resp);
	if (!complete(c) || !closes_first(c))
		return;
	if (c->sh->cfg->close_with == CLOSE_FIN) {
		conn_finish(c);
		return;
	}
	conn_answered(c, rte_rdtsc());
	conn_reset(c);
}

static void client_ended(struct conn *c)
{
	if (complete(c))
		conn_answered(c, rte_rdtsc());
	else
		cut_short(c);
	conn_close(c);
}

static bool client_reset(struct conn *c)
{
	if (!complete(c) || closes_first(c) || c->sh->cfg->close_with != CLOSE_RST)
		return false;
	conn_answered(c, rte_rdtsc());
	return true;
}

/* ---- server ---- */

static void server_sent(struct conn *c)
{
	if (!c->served || c->tx_want != 0 || !closes_first(c))
		return;
	if (c->sh->cfg->close_with == CLOSE_FIN)
		conn_close(c);
	else
		conn_reset_when_acked(c);
}

static void server_received(struct conn *c, size_t n)
{
	add(c, n, c->sh->cfg->req);
	if (c->served || c->rx_have != c->sh->cfg->req)
		return;
	c->served = true;
	bump(&c->sh->stats.transactions, 1);
	conn_send(c, c->sh->cfg->resp);
	server_sent(c);
}

static void server_ended(struct conn *c)
{
	if (!c->served)
		cut_short(c);
	conn_close(c);
}

static bool server_reset(struct conn *c)
{
	return c->served && !closes_first(c) && c->sh->cfg->close_with == CLOSE_RST;
}

const struct engine engine_crr = {
    .name = "crr",
    .help = "connect, request, response (64 bytes each), close, over and over",
    .req = 64,
    .resp = 64,
    .min_size = 1,
    .reopen = true,
    .options = ENGINE_RATE | ENGINE_ACTIVE | ENGINE_CLOSE,
    .protos = 1 << PROTO_ECHO | 1 << PROTO_HTTP,
    .client = {.opened = client_opened,
	.received = client_received,
	.ended = client_ended,
	.reset = client_reset},
    .server = {.received = server_received,
	.writable = server_sent,
	.ended = server_ended,
	.reset = server_reset},
};
