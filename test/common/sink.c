/* SPDX-License-Identifier: BSD-3-Clause */
/* See sink.h. */
#include "sink.h"

#include <rte_mbuf.h>

static uint16_t sink_rx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	return 0;
}

static uint16_t sink_tx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct sink *s = ctx;

	if (s->stuck)
		return 0;
	for (uint16_t i = 0; i < n; i++) {
		s->took(s->arg, pkts[i]);
		rte_pktmbuf_free(pkts[i]);
	}
	return n;
}

static int sink_info(void *ctx, struct sluice_port_info *info)
{
	struct sink *s = ctx;

	*info = s->info;
	info->size = sizeof(*info);
	if (info->nqueues == 0)
		info->nqueues = 1;
	info->link_up = true;
	info->socket = -1;
	return 0;
}

static void sink_destroy(void *ctx)
{
}

static const struct sluice_driver_ops sink_ops = {.size = sizeof(sink_ops),
    .name = "sink",
    .rx = sink_rx,
    .tx = sink_tx,
    .info = sink_info,
    .destroy = sink_destroy};

struct sluice_driver sink_driver(struct sink *s)
{
	return (struct sluice_driver){.ops = &sink_ops, .ctx = s};
}
