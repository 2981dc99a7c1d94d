/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * connect: open a connection, see the server close it, close, and open the next, on --connections
 * slots. The latency is that of the handshake as the client sees it. The server closes first, so
 * TIME_WAIT is on its side, as with HTTP/1.0.
 */
#include "testtcp.h"

static void client_opened(struct conn *c)
{
	uint64_t tsc = rte_rdtsc();

	bump(&c->sh->stats.transactions, 1);
	if (c->sh->phase == PH_MEASURE)
		hist_record(&c->sh->hist, app_cycles_to_ns(tsc - c->when1));
}

static void server_opened(struct conn *c)
{
	bump(&c->sh->stats.transactions, 1);
	conn_close(c);
}

static void received(struct conn *c, size_t n)
{
	bump(&c->sh->stats.errors, n); /* nobody sends */
}

const struct engine engine_connect = {
    .name = "connect",
    .help = "connections opened and closed, without data",
    .reopen = true,
    .options = ENGINE_RATE | ENGINE_ACTIVE,
    .client = {.opened = client_opened, .received = received},
    .server = {.opened = server_opened, .received = received},
};
