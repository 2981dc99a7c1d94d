/* SPDX-License-Identifier: BSD-3-Clause */
#include "rssnic.h"

#include <stdlib.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_thash.h>

#define QMAX 8
#define FIFO 4096
#define RETA 128
#define KEY_LEN 40

struct rssnic {
	struct sluice_driver lower;
	enum rssnic_mode mode;
	uint16_t nq;
	uint64_t seed;
	uint8_t key[KEY_LEN], told[KEY_LEN]; /* the card's, and what it says that it is */
	struct rte_mbuf *fifo[QMAX][FIFO];
	uint32_t head[QMAX], tail[QMAX];
};

static uint64_t dice(uint64_t *s)
{
	*s += 0x9e3779b97f4a7c15ull;
	uint64_t z = (*s ^ (*s >> 30)) * 0xbf58476d1ce4e5b9ull;

	return z ^ (z >> 29);
}

/* Addresses n words each, network order; ports NULL: a fragment. */
static uint16_t toeplitz(const struct rssnic *c, const uint8_t *key, const uint32_t *src,
    const uint32_t *dst, unsigned int n, const uint16_t *ports)
{
	uint32_t in[9];
	unsigned int k = 0;

	for (unsigned int i = 0; i < n; i++)
		in[k++] = rte_be_to_cpu_32(src[i]);
	for (unsigned int i = 0; i < n; i++)
		in[k++] = rte_be_to_cpu_32(dst[i]);
	if (ports != NULL)
		in[k++] = (uint32_t)rte_be_to_cpu_16(ports[0]) << 16 | rte_be_to_cpu_16(ports[1]);
	return (uint16_t)(rte_softrss(in, k, key) % RETA * 7 % RETA % c->nq);
}

static uint16_t pick(struct rssnic *c, const struct rte_mbuf *m)
{
	const struct rte_ether_hdr *e = rte_pktmbuf_mtod(m, const void *);
	const uint8_t *ip = (const uint8_t *)(e + 1);
	uint32_t a[8];
	uint16_t ports[2];
	bool v4 = e->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4), frag = false;
	unsigned int n = v4 ? 1 : 4;
	const uint8_t *l4;

	if (!v4 && e->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV6))
		return 0;
	if (c->mode == RSSNIC_RANDOM)
		return (uint16_t)(dice(&c->seed) % c->nq);
	l4 = ip + (v4 ? (ip[0] & 15u) * 4u : 40u);
	if ((v4 ? ip[9] : ip[6]) != IPPROTO_TCP)
		return 0;
	if (v4)
		frag = ((ip[6] & 0x3f) | ip[7]) != 0;
	memcpy(a, ip + (v4 ? 12 : 8), n * 8);
	memcpy(ports, l4, sizeof(ports));
	return toeplitz(c, c->key, a, a + n, n, frag ? NULL : ports);
}

static void pull(struct rssnic *c, uint64_t now)
{
	struct rte_mbuf *m[32];
	uint16_t got;

	do {
		got = c->lower.ops->rx(c->lower.ctx, 0, m, 32, now);
		for (uint16_t i = 0; i < got; i++) {
			uint16_t q = pick(c, m[i]);

			if (c->tail[q] - c->head[q] == FIFO)
				abort(); /* a test that overruns it is wrong */
			c->fifo[q][c->tail[q]++ % FIFO] = m[i];
		}
	} while (got == 32);
}

static uint16_t nic_rx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct rssnic *c = ctx;
	uint16_t got = 0;

	pull(c, now);
	while (got < n && c->head[q] != c->tail[q])
		pkts[got++] = c->fifo[q][c->head[q]++ % FIFO];
	return got;
}

static uint16_t nic_tx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct rssnic *c = ctx;

	(void)q;
	return c->lower.ops->tx(c->lower.ctx, 0, pkts, n, now);
}

static int nic_info(void *ctx, struct sluice_port_info *info)
{
	struct rssnic *c = ctx;
	int rc = c->lower.ops->info(c->lower.ctx, info);

	info->nqueues = c->nq;
	return rc;
}

static uint64_t nic_next(void *ctx, uint16_t q)
{
	struct rssnic *c = ctx;

	return c->head[q] != c->tail[q] ? 0 : c->lower.ops->next(c->lower.ctx, 0);
}

static int nic_steer(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sport, uint16_t dport)
{
	struct rssnic *c = ctx;
	bool v4 = src->q[0] == 0 && src->w[2] == RTE_BE32(0xffff);
	uint16_t ports[2] = {sport, dport};

	if (c->mode == RSSNIC_UNKNOWN)
		return -1;
	return toeplitz(c, c->told, &src->w[v4 ? 3 : 0], &dst->w[v4 ? 3 : 0], v4 ? 1 : 4, ports);
}

static void nic_destroy(void *ctx)
{
	struct rssnic *c = ctx;

	for (unsigned int q = 0; q < c->nq; q++)
		while (c->head[q] != c->tail[q])
			rte_pktmbuf_free(c->fifo[q][c->head[q]++ % FIFO]);
	c->lower.ops->destroy(c->lower.ctx);
	free(c);
}

static const struct sluice_driver_ops nic_ops = {.size = sizeof(nic_ops),
    .name = "rssnic",
    .rx = nic_rx,
    .tx = nic_tx,
    .info = nic_info,
    .next = nic_next,
    .steer = nic_steer,
    .destroy = nic_destroy};

struct sluice_driver rssnic_create(
    struct sluice_driver lower, uint16_t nqueues, enum rssnic_mode mode, uint64_t seed)
{
	struct rssnic *c = calloc(1, sizeof(*c));

	if (c == NULL || nqueues == 0 || nqueues > QMAX)
		abort();
	c->lower = lower;
	c->mode = mode;
	c->nq = nqueues;
	c->seed = seed;
	for (unsigned int i = 0; i < KEY_LEN; i++)
		c->key[i] = (uint8_t)dice(&seed);
	memcpy(c->told, c->key, KEY_LEN);
	for (unsigned int i = 0; mode == RSSNIC_WRONG && i < KEY_LEN; i++)
		c->told[i] = (uint8_t)dice(&seed);
	return (struct sluice_driver){.ops = &nic_ops, .ctx = c};
}
