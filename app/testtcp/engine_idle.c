/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * idle: many connections that do nothing. Each exchanges one request and response when it opens,
 * and once more at the end: one that died meanwhile does not answer. What counts is the memory that
 * they take and how fast they opened.
 */
#include "testtcp.h"

static void client_opened(struct conn *c)
{
	conn_request(c, rte_rdtsc());
}

static void client_received(struct conn *c, size_t n)
{
	c->rx_have += n;
	if (c->rx_have >= c->sh->cfg->resp && c->inflight != 0) {
		c->rx_have -= c->sh->cfg->resp;
		conn_answered(c, rte_rdtsc());
	}
}

static void server_received(struct conn *c, size_t n)
{
	c->rx_have += n;
	while (c->rx_have >= c->sh->cfg->req && !c->closing) {
		c->rx_have -= c->sh->cfg->req;
		bump(&c->sh->stats.transactions, 1);
		conn_send(c, c->sh->cfg->resp);
	}
}

/** The last round, some at a time: asked counts those that were asked. */
static int client_tick(struct shard *sh)
{
	int work = 0;

	if (sh->phase != PH_DRAIN)
		return 0;
	for (; sh->asked < sh->live && work < 64; sh->asked++) {
		struct conn *c = TAILQ_FIRST(&sh->conns);

		TAILQ_REMOVE(&sh->conns, c, link);
		TAILQ_INSERT_TAIL(&sh->conns, c, link);
		if (c->open && !c->closing && c->inflight == 0)
			conn_request(c, rte_rdtsc());
		work++;
	}
	return work;
}

const struct engine engine_idle = {
    .name = "idle",
    .help = "connections that do nothing; each proves at both ends of its life that it works",
    .req = 64,
    .resp = 64,
    .min_size = 1,
    .protos = 1 << PROTO_ECHO,
    .whole = true,
    .client = {.opened = client_opened, .received = client_received, .tick = client_tick},
    .server = {.received = server_received},
};
