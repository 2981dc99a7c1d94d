/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The port of the plug-in: raw IP packets, put in and taken out by other threads than the one that
 * polls. Two bounded queues under a mutex; who waits for a packet sleeps.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_mbuf.h>

#include "plugin.h"

#define DEPTH 1024

struct queue {
	struct rte_mbuf *m[DEPTH];
	unsigned int head, n;
};

struct pd_port {
	pthread_mutex_t lock;
	pthread_cond_t came;
	struct queue in, out;
	struct rte_mempool *pool;
	struct sluice_port_stats stats;
};

static bool put(struct queue *q, struct rte_mbuf *m)
{
	if (q->n == DEPTH)
		return false;
	q->m[(q->head + q->n++) % DEPTH] = m;
	return true;
}

static struct rte_mbuf *get(struct queue *q)
{
	struct rte_mbuf *m = q->n == 0 ? NULL : q->m[q->head];

	if (m != NULL) {
		q->head = (q->head + 1) % DEPTH;
		q->n--;
	}
	return m;
}

static uint16_t rx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct pd_port *p = ctx;
	uint16_t i = 0;

	pthread_mutex_lock(&p->lock);
	while (i < n && (pkts[i] = get(&p->in)) != NULL)
		i++;
	p->stats.rx_pkts += i;
	pthread_mutex_unlock(&p->lock);
	return i;
}

static uint16_t tx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct pd_port *p = ctx;
	uint16_t i = 0;

	pthread_mutex_lock(&p->lock);
	while (i < n && put(&p->out, pkts[i]))
		i++;
	p->stats.tx_pkts += i;
	if (i > 0)
		pthread_cond_signal(&p->came);
	pthread_mutex_unlock(&p->lock);
	return i;
}

static int info(void *ctx, struct sluice_port_info *i)
{
	*i = (struct sluice_port_info){.size = sizeof(*i),
	    .caps = SLUICE_CAP_L3 | SLUICE_CAP_TX_MULTISEG | SLUICE_CAP_TX_INDIRECT,
	    .nqueues = 1,
	    .mtu = 1500,
	    .link_up = true};
	return 0;
}

static void stats(void *ctx, struct sluice_port_stats *s)
{
	*s = ((struct pd_port *)ctx)->stats;
}

static void destroy(void *ctx)
{
	struct pd_port *p = ctx;
	struct rte_mbuf *m;

	while ((m = get(&p->in)) != NULL || (m = get(&p->out)) != NULL)
		rte_pktmbuf_free(m);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->came);
	free(p);
}

static const struct sluice_driver_ops ops = {.size = sizeof(ops),
    .name = "packetdrill",
    .rx = rx,
    .tx = tx,
    .info = info,
    .stats = stats,
    .destroy = destroy};

struct pd_port *pd_port_create(struct rte_mempool *pool, struct sluice_driver *d)
{
	struct pd_port *p = calloc(1, sizeof(*p));
	pthread_condattr_t a;

	if (p == NULL)
		return NULL;
	p->pool = pool;
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->came, &a);
	pthread_condattr_destroy(&a);
	*d = (struct sluice_driver){&ops, p};
	return p;
}

int pd_port_in(struct pd_port *p, const void *b, size_t n)
{
	struct rte_mbuf *m;
	bool ok;

	pthread_mutex_lock(&p->lock);
	m = n > 1500 ? NULL : rte_pktmbuf_alloc(p->pool);
	if (m != NULL)
		memcpy(rte_pktmbuf_append(m, (uint16_t)n), b, n);
	ok = m != NULL && put(&p->in, m);
	if (m != NULL && !ok)
		rte_pktmbuf_free(m);
	pthread_mutex_unlock(&p->lock);
	return ok ? 0 : -ENOBUFS;
}

/* rte_pktmbuf_free takes the pool's lock-free path of its own: the pool is made for several threads. */
size_t pd_port_out(struct pd_port *p, void *b, size_t room, unsigned int wait_ms)
{
	struct timespec until;
	struct rte_mbuf *m;
	size_t n = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_ms / 1000;
	until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&p->lock);
	while ((m = get(&p->out)) == NULL &&
	       pthread_cond_timedwait(&p->came, &p->lock, &until) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&p->lock);
	for (const struct rte_mbuf *s = m; s != NULL && n + s->data_len <= room; s = s->next) {
		memcpy((char *)b + n, rte_pktmbuf_mtod(s, const void *), s->data_len);
		n += s->data_len;
	}
	rte_pktmbuf_free(m);
	return n;
}
