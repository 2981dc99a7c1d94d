/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stream: as many bytes as go through, in pieces of REQ from client to server and, when RESP is
 * given, in pieces of RESP the other way at the same time. A piece counts as a transaction when it
 * has arrived whole.
 */
#include "testtcp.h"

static uint64_t piece(const struct conn *c)
{
	return c->sh->ep->client ? c->sh->cfg->req : c->sh->cfg->resp;
}

static void more(struct conn *c)
{
	/* A server with a peer elsewhere is not told when that one drains: it stops when the
	 * connection ends. */
	while (c->tx_want == 0 && !c->blocked && !c->closing && c->waits == NULL && !c->ended &&
	       c->sh->phase < PH_DRAIN && c->sh->phase != PH_PAUSE && piece(c) != 0)
		for (unsigned int i = 0; i < 4 && c->tx_want == 0 && !c->blocked && !c->closing;
		     i++)
			conn_send(c, piece(c));
}

/** Those that a pause has stopped go on. */
static int resume(struct shard *sh)
{
	struct conn *c, *next;

	if (sh->asked != 0 || sh->phase != PH_MEASURE)
		return 0;
	sh->asked = 1;
	for (c = TAILQ_FIRST(&sh->conns); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->open)
			more(c);
	}
	return 1;
}

static void received(struct conn *c, size_t n)
{
	uint64_t size = c->sh->ep->client ? c->sh->cfg->resp : c->sh->cfg->req;

	c->rx_have += n;
	if (size != 0 && c->rx_have >= size) {
		bump(&c->sh->stats.transactions, c->rx_have / size);
		c->rx_have %= size;
	}
}

const struct engine engine_stream = {
    .name = "stream",
    .help = "bytes in bulk, client to server in pieces of REQ (64k); with RESP, back as well",
    .req = 64512,
    .resp = 0,
    .protos = 1 << PROTO_ECHO | 1 << PROTO_DISCARD,
    .client = {.opened = more, .received = received, .writable = more, .tick = resume},
    .server = {.opened = more, .received = received, .writable = more, .tick = resume},
};
