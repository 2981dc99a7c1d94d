/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel beside us on one port: a wrapper over the port's driver and an exception port, whose
 * other end is a network device of the kernel's (a TAP, or virtio_user with vhost-net).
 *
 *	port   --rx--> whose? --> stack
 *	                 `------> exception port --> kernel
 *	kernel --> exception port --rx--> port's tx, ahead of what the stack sends
 *
 * Both have the port's hardware address, and they may share an IP address: rules (rules.c) divide
 * it by protocol and port. The stack sees the port as if it were alone on it.
 *
 * Queue q of the exception port belongs to the squeue that polls queue q of the port, so nothing here
 * needs a lock. The kernel's packets wait in a small array until the port has taken them, and no
 * more are read meanwhile: the kernel sees its device full and slows down, and what the stack has to
 * send cannot keep them out, for they go first. Towards the kernel nothing can wait: what its
 * device does not take is dropped and counted, as a card would.
 *
 * Rules change at run time. A new set is published by one pointer; the old one is kept until each
 * queue has begun another pass.
 */
#include "rules.h"

#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ether.h>
#include <rte_mbuf.h>

#include "base/check.h"
#include "base/counter.h"

#define BURST 32

struct kernel_q {
	alignas(64) uint64_t to_stack; /* counters: one writer, read by anybody */
	uint64_t to_kernel, drops, from_kernel, waits;
	_Atomic uint64_t passes; /* odd: rules are being looked at */
	struct rte_mbuf *pending[BURST];
	uint16_t npending;
};

struct kernel {
	struct sluice_driver_ops ops;
	struct sluice_driver lower, except;
	uint16_t nq;
	_Atomic(struct kernel_rules *) rules;
	pthread_mutex_t lock; /* of those who change rules */
	struct kernel_rules *old;
	struct kernel_q *q;
};

/* ---- port to kernel ---- */

/* Marks and offsets of the port's are not the exception port's; a tag that was taken off goes back. */
static bool dress(struct rte_mbuf **m)
{
	bool tag = ((*m)->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0;

	(*m)->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
	(*m)->tx_offload = 0;
	return !tag || rte_vlan_insert(m) == 0;
}

static void to_kernel(
    struct kernel *k, uint16_t qid, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct kernel_q *q = &k->q[qid];
	uint16_t good = 0, sent = 0;

	for (uint16_t i = 0; i < n; i++) {
		if (SL_LIKELY(dress(&pkts[i])))
			pkts[good++] = pkts[i];
		else
			rte_pktmbuf_free(pkts[i]);
	}
	if (good > 0)
		sent = k->except.ops->tx(k->except.ctx, qid, pkts, good, now);
	for (uint16_t i = sent; i < good; i++)
		rte_pktmbuf_free(pkts[i]);
	sl_ctr_add(&q->to_kernel, sent);
	sl_ctr_add(&q->drops, (uint64_t)(n - sent));
}

/* Those of the stack stay at the front of pkts; returns their number. */
static uint16_t sort(
    struct kernel *k, uint16_t qid, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct kernel_q *q = &k->q[qid];
	const struct kernel_rules *r;
	struct rte_mbuf *theirs[BURST];
	uint16_t ours = 0, nk = 0;

	/* Sequentially consistent with kernel_retire: it sees that we look, or we see its new set. */
	atomic_fetch_add(&q->passes, 1);
	r = atomic_load(&k->rules);
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];
		enum kernel_whose w = kernel_classify(r, m);

		if (w == KERNEL_BOTH) {
			struct rte_mbuf *c = rte_pktmbuf_copy(m, m->pool, 0, UINT32_MAX);

			pkts[ours++] = m;
			if (c == NULL)
				sl_ctr_add(&q->drops, 1);
			m = c;
		} else if (w == KERNEL_STACK) {
			pkts[ours++] = m;
			m = NULL;
		}
		if (m == NULL)
			continue;
		theirs[nk++] = m;
		if (nk == BURST) {
			to_kernel(k, qid, theirs, nk, now);
			nk = 0;
		}
	}
	atomic_fetch_add_explicit(&q->passes, 1, memory_order_release);
	if (nk > 0)
		to_kernel(k, qid, theirs, nk, now);
	sl_ctr_add(&q->to_stack, ours);
	return ours;
}

/* ---- kernel to port ---- */

static void flush(struct kernel *k, uint16_t qid, uint64_t now)
{
	struct kernel_q *q = &k->q[qid];
	uint16_t sent;

	if (SL_LIKELY(q->npending == 0))
		return;
	sent = k->lower.ops->tx(k->lower.ctx, qid, q->pending, q->npending, now);
	q->npending = (uint16_t)(q->npending - sent);
	memmove(q->pending, q->pending + sent, q->npending * sizeof(q->pending[0]));
	if (q->npending > 0)
		sl_ctr_add(&q->waits, 1);
}

static void from_kernel(struct kernel *k, uint16_t qid, uint64_t now)
{
	struct kernel_q *q = &k->q[qid];

	flush(k, qid, now);
	if (q->npending > 0)
		return;
	q->npending = k->except.ops->rx(k->except.ctx, qid, q->pending, BURST, now);
	if (SL_LIKELY(q->npending == 0))
		return;
	for (uint16_t i = 0; i < q->npending; i++) {
		q->pending[i]->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
		q->pending[i]->tx_offload = 0;
	}
	sl_ctr_add(&q->from_kernel, q->npending);
	flush(k, qid, now);
}

/* ---- the driver ---- */

static uint16_t kernel_rx(void *ctx, uint16_t qid, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct kernel *k = ctx;
	uint16_t got;

	from_kernel(k, qid, now);
	got = k->lower.ops->rx(k->lower.ctx, qid, pkts, n, now);
	return got == 0 ? 0 : sort(k, qid, pkts, got, now);
}

static uint16_t kernel_tx(void *ctx, uint16_t qid, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct kernel *k = ctx;

	flush(k, qid, now);
	return k->q[qid].npending > 0 ? 0 : k->lower.ops->tx(k->lower.ctx, qid, pkts, n, now);
}

static int kernel_info(void *ctx, struct sluice_port_info *info)
{
	struct kernel *k = ctx;

	return k->lower.ops->info(k->lower.ctx, info);
}

static void kernel_port_stats(void *ctx, struct sluice_port_stats *stats)
{
	struct kernel *k = ctx;

	k->lower.ops->stats(k->lower.ctx, stats);
}

static uint64_t kernel_next(void *ctx, uint16_t qid)
{
	struct kernel *k = ctx;
	uint64_t a =
	    k->lower.ops->next != NULL ? k->lower.ops->next(k->lower.ctx, qid) : UINT64_MAX;
	uint64_t b =
	    k->except.ops->next != NULL ? k->except.ops->next(k->except.ctx, qid) : UINT64_MAX;

	return a < b ? a : b;
}

static void disarm(struct sluice_driver *d, uint16_t qid)
{
	if (d->ops->disarm != NULL)
		d->ops->disarm(d->ctx, qid);
}

static void kernel_disarm(void *ctx, uint16_t qid)
{
	struct kernel *k = ctx;

	disarm(&k->lower, qid);
	disarm(&k->except, qid);
}

static int kernel_arm(void *ctx, uint16_t qid, int *fds, unsigned int max)
{
	struct kernel *k = ctx;
	int n, m;

	n = k->lower.ops->arm(k->lower.ctx, qid, fds, max);
	if (n < 0)
		return n;
	m = k->except.ops->arm(k->except.ctx, qid, fds + n, max - (unsigned int)n);
	if (m < 0)
		disarm(&k->lower, qid);
	return m < 0 ? m : n + m;
}

static void kernel_idle(void *ctx, uint16_t qid)
{
	struct kernel *k = ctx;

	if (k->lower.ops->idle != NULL)
		k->lower.ops->idle(k->lower.ctx, qid);
	if (k->except.ops->idle != NULL)
		k->except.ops->idle(k->except.ctx, qid);
}

static int kernel_steer(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sport, uint16_t dport)
{
	struct kernel *k = ctx;

	return k->lower.ops->steer(k->lower.ctx, src, dst, sport, dport);
}

static int kernel_arrives(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sport, uint16_t dport)
{
	struct kernel *k = ctx;

	return k->lower.ops->arrives(k->lower.ctx, src, dst, sport, dport);
}

static int kernel_spread(void *ctx, uint64_t queues)
{
	struct kernel *k = ctx;

	return k->lower.ops->spread(k->lower.ctx, queues);
}

static void kernel_events(void *ctx, void (*event)(void *arg, enum sluice_port_event ev), void *arg)
{
	struct kernel *k = ctx;

	if (k->lower.ops->events != NULL)
		k->lower.ops->events(k->lower.ctx, event, arg);
}

static int kernel_reset(void *ctx)
{
	struct kernel *k = ctx;

	return k->lower.ops->reset(k->lower.ctx);
}

static void rules_free(struct kernel_rules *r)
{
	if (r == NULL)
		return;
	free(r->seen);
	free(r);
}

static void kernel_destroy(void *ctx)
{
	struct kernel *k = ctx;

	for (uint16_t i = 0; i < k->nq; i++)
		rte_pktmbuf_free_bulk(k->q[i].pending, k->q[i].npending);
	while (k->old != NULL) {
		struct kernel_rules *r = k->old;

		k->old = r->next;
		rules_free(r);
	}
	rules_free(atomic_load(&k->rules));
	k->except.ops->destroy(k->except.ctx);
	k->lower.ops->destroy(k->lower.ctx);
	pthread_mutex_destroy(&k->lock);
	free(k->q);
	free(k);
}

static const struct sluice_driver_ops kernel_ops = {
    .size = sizeof(struct sluice_driver_ops),
    .name = "kernel",
    .rx = kernel_rx,
    .tx = kernel_tx,
    .info = kernel_info,
    .stats = kernel_port_stats,
    .next = kernel_next,
    .arm = kernel_arm,
    .disarm = kernel_disarm,
    .idle = kernel_idle,
    .steer = kernel_steer,
    .spread = kernel_spread,
    .arrives = kernel_arrives,
    .events = kernel_events,
    .reset = kernel_reset,
    .destroy = kernel_destroy,
};

/* ---- rules at run time ---- */

static struct kernel_rules *rules_new(
    const struct sluice_kernel_rule *rule, unsigned int n, uint16_t nq)
{
	struct kernel_rules *r;

	r = calloc(1, sizeof(*r) + n * sizeof(r->rule[0]));
	if (r == NULL)
		return NULL;
	r->seen = calloc(nq, sizeof(r->seen[0]));
	if (r->seen == NULL) {
		free(r);
		return NULL;
	}
	r->n = n;
	if (n > 0)
		memcpy(r->rule, rule, n * sizeof(*rule));
	return r;
}

/* No queue looks at r: each was between two passes when it was set aside, or has gone on since. */
static bool rules_idle(const struct kernel *k, const struct kernel_rules *r)
{
	for (uint16_t i = 0; i < k->nq; i++)
		if ((r->seen[i] & 1) != 0 && atomic_load(&k->q[i].passes) == r->seen[i])
			return false;
	return true;
}

static void kernel_retire(struct kernel *k, struct kernel_rules *was)
{
	struct kernel_rules **p = &k->old;

	for (uint16_t i = 0; i < k->nq; i++)
		was->seen[i] = atomic_load(&k->q[i].passes);
	was->next = k->old;
	k->old = was;
	while (*p != NULL) {
		struct kernel_rules *r = *p;

		if (!rules_idle(k, r)) {
			p = &r->next;
			continue;
		}
		*p = r->next;
		rules_free(r);
	}
}

int sluice_kernel_rules(
    struct sluice_driver d, const struct sluice_kernel_rule *rules, unsigned int n)
{
	struct kernel *k = d.ctx;
	struct kernel_rules *r;

	if (d.ops == NULL || d.ops->rx != kernel_rx || n > SLUICE_KERNEL_RULES ||
	    (n > 0 && rules == NULL))
		return -EINVAL;
	r = rules_new(rules, n, k->nq);
	if (r == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&k->lock);
	kernel_retire(k, atomic_exchange(&k->rules, r));
	pthread_mutex_unlock(&k->lock);
	return 0;
}

int sluice_kernel_stats(struct sluice_driver d, struct sluice_kernel_stats *out)
{
	const struct kernel *k = d.ctx;
	size_t size = out->size;

	if (d.ops == NULL || d.ops->rx != kernel_rx || size < sizeof(*out))
		return -EINVAL;
	memset(out, 0, sizeof(*out));
	out->size = size;
	for (uint16_t i = 0; i < k->nq; i++) {
		out->to_stack += __atomic_load_n(&k->q[i].to_stack, __ATOMIC_RELAXED);
		out->to_kernel += __atomic_load_n(&k->q[i].to_kernel, __ATOMIC_RELAXED);
		out->to_kernel_drops += __atomic_load_n(&k->q[i].drops, __ATOMIC_RELAXED);
		out->from_kernel += __atomic_load_n(&k->q[i].from_kernel, __ATOMIC_RELAXED);
		out->from_kernel_waits += __atomic_load_n(&k->q[i].waits, __ATOMIC_RELAXED);
	}
	return 0;
}

/* ---- life ---- */

int sluice_kernel_create(const struct sluice_kernel_params *p, struct sluice_driver *out)
{
	struct sluice_port_info lower = {.size = sizeof(lower)}, except = {.size = sizeof(except)};
	struct kernel_rules *r;
	struct kernel *k;
	int rc;

	if (p == NULL || p->size < sizeof(*p) || out == NULL || p->lower.ops == NULL ||
	    p->except.ops == NULL || p->nrules > SLUICE_KERNEL_RULES)
		return -EINVAL;
	rc = p->lower.ops->info(p->lower.ctx, &lower);
	if (rc == 0)
		rc = p->except.ops->info(p->except.ctx, &except);
	if (rc < 0)
		return rc;
	if (except.nqueues < lower.nqueues || ((lower.caps | except.caps) & SLUICE_CAP_L3))
		return -EINVAL;
	k = calloc(1, sizeof(*k));
	r = rules_new(p->rules, p->nrules, lower.nqueues);
	if (k != NULL)
		k->q = aligned_alloc(64, lower.nqueues * sizeof(k->q[0]));
	if (k == NULL || k->q == NULL || r == NULL) {
		rules_free(r);
		free(k);
		return -ENOMEM;
	}
	memset(k->q, 0, lower.nqueues * sizeof(k->q[0]));
	k->ops = kernel_ops;
	if (p->lower.ops->steer == NULL)
		k->ops.steer = NULL;
	if (p->lower.ops->arm == NULL || p->except.ops->arm == NULL)
		k->ops.arm = NULL;
	if (p->lower.ops->reset == NULL)
		k->ops.reset = NULL;
	if (p->lower.ops->spread == NULL) {
		k->ops.spread = NULL;
		k->ops.arrives = NULL;
	}
	k->lower = p->lower;
	k->except = p->except;
	k->nq = lower.nqueues;
	atomic_init(&k->rules, r);
	pthread_mutex_init(&k->lock, NULL);
	*out = (struct sluice_driver){.ops = &k->ops, .ctx = k};
	return 0;
}
