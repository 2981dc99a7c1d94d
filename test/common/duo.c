/* SPDX-License-Identifier: BSD-3-Clause */
/* A driver of the test's own sits between stack and wire, so that a test can cut the link or pick
 * out segments. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mbuf.h>

#include "duo.h"
#include "mpool.h"

#define MUST(cond)                                                                                \
	do {                                                                                      \
		if (!(cond)) {                                                                    \
			fprintf(stderr, "%s:%d: set-up failed: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                                  \
		}                                                                                 \
	} while (0)

struct tap {
	struct sluice_driver_ops ops;
	struct duo *d;
	unsigned int side;
	struct sluice_driver lower;
};

static uint16_t tap_rx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct tap *t = ctx;

	return t->lower.ops->rx(t->lower.ctx, q, pkts, n, now);
}

static uint16_t tap_tx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct tap *t = ctx;

	for (uint16_t i = 0; i < n; i++) {
		if (t->d->cut[t->side] ||
		    (t->d->filter != NULL && t->d->filter(t->d, t->side, pkts[i]))) {
			rte_pktmbuf_free(pkts[i]);
			continue;
		}
		if (t->lower.ops->tx(t->lower.ctx, q, &pkts[i], 1, now) == 0)
			return i;
	}
	return n;
}

static int tap_info(void *ctx, struct sluice_port_info *info)
{
	struct tap *t = ctx;

	return t->lower.ops->info(t->lower.ctx, info);
}

static uint64_t tap_next(void *ctx, uint16_t q)
{
	struct tap *t = ctx;

	return t->lower.ops->next(t->lower.ctx, q);
}

static int tap_steer(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sp, uint16_t dp)
{
	struct tap *t = ctx;

	return t->lower.ops->steer == NULL ? 0
					   : t->lower.ops->steer(t->lower.ctx, src, dst, sp, dp);
}

static int tap_arrives(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sp, uint16_t dp)
{
	struct tap *t = ctx;

	return t->lower.ops->arrives(t->lower.ctx, src, dst, sp, dp);
}

static int tap_spread(void *ctx, uint64_t queues)
{
	struct tap *t = ctx;

	return t->lower.ops->spread(t->lower.ctx, queues);
}

static void tap_destroy(void *ctx)
{
	struct tap *t = ctx;

	t->lower.ops->destroy(t->lower.ctx);
	free(t);
}

static const struct sluice_driver_ops tap_ops = {.size = sizeof(tap_ops),
    .name = "tap",
    .rx = tap_rx,
    .tx = tap_tx,
    .info = tap_info,
    .next = tap_next,
    .steer = tap_steer,
    .destroy = tap_destroy};

static void add_side(
    struct duo *d, const struct duo_params *p, unsigned int i, struct sluice_driver wire)
{
	struct sluice_if_params ifp = {
	    .size = sizeof(ifp), .name = "wire0", .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_stack_params sp = {.size = sizeof(sp),
	    .name = i == 0 ? "left" : "right",
	    .nsqueues = d->nsq,
	    .max_connections = p->max_connections != 0 ? p->max_connections : 256,
	    .hdr_pool = d->pool[i],
	    .seed = p->seed + i + 1,
	    .tunables = p->tun[i]};
	struct tap *t = calloc(1, sizeof(*t));
	struct sluice_txn *txn;
	const char *why = NULL;

	MUST(t != NULL);
	*t = (struct tap){.ops = tap_ops, .d = d, .side = i, .lower = wire};
	if (wire.ops->spread != NULL) {
		t->ops.spread = tap_spread;
		t->ops.arrives = tap_arrives;
	}
	MUST(sluice_stack_create(&sp, &d->st[i], &why) == 0);
	MUST(sluice_port_add(d->st[i], (struct sluice_driver){.ops = &t->ops, .ctx = t}) == 0);
	MUST(sluice_txn_begin(d->st[i], &txn) == 0);
	MUST(sluice_if_add(txn, &ifp) == 0);
	MUST(sluice_addr_add(txn, "wire0", i == 0 ? "10.0.0.1/24" : "10.0.0.2/24", false) == 0);
	MUST(sluice_addr_add(txn, "wire0", i == 0 ? "fd00::1/64" : "fd00::2/64", false) == 0);
	MUST(sluice_tunable_set(txn, "ip.dad_probes", 0) == 0);
	MUST(sluice_txn_commit(txn, &why) == 0);
}

void duo_start(struct duo *d, const struct duo_params *p)
{
	struct sluice_wire_params wp = {.size = sizeof(wp), .latency = 10000};
	struct sluice_driver wire[2];
	unsigned int nq;

	d->nsq = p->nsq != 0 ? p->nsq : 1;
	d->now = SLUICE_SEC(1);
	nq = p->nic_queues != 0 ? 1 : d->nsq;
	wp.nqueues[0] = wp.nqueues[1] = (uint16_t)nq;
	wp.depth = 4096;
	MUST(sluice_wire_create(&wp, wire) == 0);
	for (unsigned int i = 0; i < 2; i++) {
		d->pool[i] = tp_create(2048, p->pool_limit);
		if (p->nic_queues != 0)
			wire[i] = rssnic_create(
			    wire[i], (uint16_t)p->nic_queues, p->nic_mode, p->seed + i);
		add_side(d, p, i, wire[i]);
	}
}

uint64_t duo_stop(struct duo *d)
{
	uint64_t lost = 0;

	for (unsigned int i = 0; i < 2; i++) {
		struct sluice_leaks l = {.size = sizeof(l)};

		MUST(sluice_stack_destroy(d->st[i], &l) == 0);
		lost += l.connections + l.timers + l.calls + l.records;
	}
	for (unsigned int i = 0; i < 2; i++)
		lost += tp_out(d->pool[i]);
	for (unsigned int i = 0; i < 2; i++)
		tp_destroy(d->pool[i]);
	return lost;
}

static int poll_all(struct duo *d)
{
	int work = 0;

	for (unsigned int i = 0; i < 2; i++) {
		for (unsigned int k = 0; k < d->nsq; k++) {
			int rc = sluice_squeue_poll(sluice_squeue(d->st[i], k), d->now, 0);

			MUST(rc >= 0);
			work += rc;
		}
	}
	return work;
}

static uint64_t next_time(const struct duo *d)
{
	uint64_t next = UINT64_MAX;

	for (unsigned int i = 0; i < 2; i++)
		for (unsigned int k = 0; k < d->nsq; k++)
			next = RTE_MIN(next, sluice_squeue_next(sluice_squeue(d->st[i], k)));
	return next;
}

void duo_settle(struct duo *d)
{
	for (unsigned int i = 0; i < 100000 && poll_all(d) > 0; i++)
		;
}

/* One step; false when `end` was reached. */
static bool step(struct duo *d, uint64_t end)
{
	uint64_t next;

	if (poll_all(d) > 0)
		return true;
	next = next_time(d);
	if (next <= d->now)
		next = d->now + 10000; /* the latency of the wire */
	if (next > end) {
		d->now = end;
		return false;
	}
	d->now = next;
	return true;
}

void duo_run(struct duo *d, uint64_t ns)
{
	uint64_t end = d->now + ns;

	while (step(d, end))
		;
	(void)poll_all(d);
}

bool duo_until(struct duo *d, const bool *flag, uint64_t ns)
{
	uint64_t end = d->now + ns;

	while (!*flag && step(d, end))
		;
	return *flag;
}

struct sockaddr_in duo_addr4(unsigned int side, uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
	    .sin_port = htons(port),
	    .sin_addr.s_addr = htonl(0x0a000001u + side)};
}

struct sockaddr_in6 duo_addr6(unsigned int side, uint16_t port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	a.sin6_addr.s6_addr[0] = 0xfd;
	a.sin6_addr.s6_addr[15] = (uint8_t)(side + 1);
	return a;
}
