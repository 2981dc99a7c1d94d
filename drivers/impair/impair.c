/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * impair: trouble over any driver.
 *
 * The big idea. Each packet handed to tx gets its fate at once, from a seeded generator: lost,
 * doubled, corrupted, truncated, and the time at which it is to leave. Then it waits in a heap
 * ordered by (time, order of arrival) until that time has come. The wrapper has no thread and no
 * clock: it gets control in tx and rx, and lets go what is due in both; next() tells when the
 * earliest leaves.
 *
 * Order. Packets keep their order however the jitter falls: none leaves before the one ahead of it.
 * A reordered packet steps out of that chain: it is held back by itself and those behind overtake
 * it.
 *
 * Threads. All state (generator, burst-loss state, heap, counters) is per queue, and a queue has
 * one owner; so a seed replays per queue whatever the threads do. Only the count that drop_nth
 * needs is shared. Parameters are shared too, and change between two passes only.
 *
 * Back-pressure. What is due and not taken below stays; while that lasts tx takes nothing, as the
 * driver below would.
 *
 * Checksums. A corrupted frame must reach a verifying receiver with the checksum of the intact one,
 * so transmit checksums and TSO are not offered. Over a port that is PERFECT, received packets lose
 * their "good" marks: nobody has verified them. Such a wire must be wrapped at both ends, or the
 * bare end would neither make nor check checksums.
 */
#include <sluice/driver.h>

#include "base/check.h"
#include "base/counter.h"
#include "base/rng.h"
#include "../frame.h"

#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_mbuf.h>

#define IMPAIR_QUEUE_DEFAULT 4096u
#define IMPAIR_QUEUE_MAX (1u << 24)
#define IMPAIR_REORDER_DEFAULT 1000000u /* ns */
#define IMPAIR_BURST 32
/* When the driver below is full, next() asks to be polled again after this: time must go on for it
 * to drain. */
#define IMPAIR_RETRY 1000u /* ns */
#define IMPAIR_CAPS_OFF \
	(SLUICE_CAP_PERFECT | SLUICE_CAP_TX_IP4_CKSUM | SLUICE_CAP_TX_L4_CKSUM | SLUICE_CAP_TX_TSO)
/* ICMPv6 types of neighbour discovery (RFC 4861 section 4). */
#define IMPAIR_ND_FIRST 133
#define IMPAIR_ND_LAST 137
#define IMPAIR_PPM 1000000u
#define IMPAIR_DELAY_MAX (1ull << 60) /* ns, 36 years: sums of times do not wrap */

/* A held packet. */
struct impair_held {
	uint64_t at;  /* leaves at this time */
	uint64_t seq; /* breaks ties: order of arrival */
	struct rte_mbuf *m;
};

/* What one queue's owner alone touches; counters are read by others. */
struct impair_q {
	alignas(64) struct sl_rng rng;
	struct impair_held *heap; /* binary heap, earliest first */
	uint32_t n, room;
	uint64_t seq;
	uint64_t last;  /* no in-order packet leaves before this */
	uint64_t retry; /* when the driver below is asked again */
	bool blocked;   /* it did not take all that was due */
	bool bad;       /* burst loss: the bad state */
	struct sluice_impair_stats st;
};

struct impair {
	struct sluice_driver_ops ops;
	struct sluice_driver lower;
	struct sluice_impair_params p;
	struct impair_q *q;
	uint16_t nq;
	bool l3;
	bool unmark;            /* the port below is PERFECT: its receive marks mean nothing here */
	_Atomic uint64_t count; /* packets of all queues, kept while drop_nth is set */
};

/* ---- heap ---- */

static inline bool impair_before(const struct impair_held *a, const struct impair_held *b)
{
	return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static int impair_grow(struct impair_q *q, uint32_t limit)
{
	uint32_t room = q->room ? q->room * 2 : 64;
	struct impair_held *h;

	if (room > limit)
		room = limit;
	h = realloc(q->heap, (size_t)room * sizeof(*h));
	if (!h)
		return -ENOMEM;
	q->heap = h;
	q->room = room;
	return 0;
}

static void impair_push(struct impair_q *q, struct rte_mbuf *m, uint64_t at)
{
	struct impair_held x = {.at = at, .seq = q->seq++, .m = m};
	uint32_t i = q->n++;

	while (i) {
		uint32_t up = (i - 1) / 2;

		if (!impair_before(&x, &q->heap[up]))
			break;
		q->heap[i] = q->heap[up];
		i = up;
	}
	q->heap[i] = x;
}

static struct impair_held impair_pop(struct impair_q *q)
{
	struct impair_held top = q->heap[0], x = q->heap[--q->n];
	uint32_t i = 0;

	for (;;) {
		uint32_t k = 2 * i + 1;

		if (k >= q->n)
			break;
		if (k + 1 < q->n && impair_before(&q->heap[k + 1], &q->heap[k]))
			k++;
		if (!impair_before(&q->heap[k], &x))
			break;
		q->heap[i] = q->heap[k];
		i = k;
	}
	if (q->n)
		q->heap[i] = x;
	return top;
}

/* A packet that was popped and not taken goes back to its old place: same time, same number. */
static void impair_unpop(struct impair_q *q, const struct impair_held *h)
{
	uint64_t seq = q->seq;

	q->seq = h->seq;
	impair_push(q, h->m, h->at);
	q->seq = seq;
}

/* Let go what is due. */
static void impair_release(struct impair *im, uint16_t qid, uint64_t now)
{
	struct impair_q *q = &im->q[qid];

	q->blocked = false;
	while (q->n && q->heap[0].at <= now) {
		struct impair_held h[IMPAIR_BURST];
		struct rte_mbuf *m[IMPAIR_BURST];
		uint16_t n = 0, sent;

		while (n < IMPAIR_BURST && q->n && q->heap[0].at <= now) {
			h[n] = impair_pop(q);
			m[n] = h[n].m;
			n++;
		}
		sent = im->lower.ops->tx(im->lower.ctx, qid, m, n, now);
		for (uint16_t i = sent; i < n; i++) {
			h[i].m = m[i];
			impair_unpop(q, &h[i]);
		}
		if (sent < n) {
			q->blocked = true;
			q->retry = now + IMPAIR_RETRY;
			return;
		}
	}
}

/* ---- the fate of a packet ---- */

/* ARP and neighbour discovery have no checksum worth the name, or none: corrupted, they would
 * poison a table. */
static bool impair_exempt(const struct impair *im, const struct rte_mbuf *m)
{
	uint32_t off;
	uint16_t type = sl_frame_l3(m, im->l3, &off);
	struct rte_ipv6_hdr b;
	const struct rte_ipv6_hdr *h;
	const uint8_t *icmp;
	uint8_t t;

	if (type == RTE_ETHER_TYPE_ARP)
		return true;
	if (type != RTE_ETHER_TYPE_IPV6)
		return false;
	h = rte_pktmbuf_read(m, off, sizeof(b), &b);
	if (!h || h->proto != IPPROTO_ICMPV6)
		return false;
	icmp = rte_pktmbuf_read(m, off + (uint32_t)sizeof(b), 1, &t);
	return icmp && *icmp >= IMPAIR_ND_FIRST && *icmp <= IMPAIR_ND_LAST;
}

/* First byte that may be touched: the addresses of an Ethernet frame say who gets it, no checksum
 * covers them. */
static uint32_t impair_first(const struct impair *im)
{
	return im->l3 ? 0 : 2 * RTE_ETHER_ADDR_LEN;
}

/* The first `len` bytes of a packet in memory of our own; NULL when the pool is empty (counted). */
static struct rte_mbuf *impair_copy(
    struct impair *im, struct impair_q *q, const struct rte_mbuf *m, uint32_t len)
{
	struct rte_mbuf *c = rte_pktmbuf_copy(m, im->p.pool, 0, len);

	if (!c)
		sl_ctr_add(&q->st.nomem, 1);
	return c;
}

/* Where a frame may be cut: behind the Ethernet header, or behind the first byte. */
static uint32_t impair_least(const struct impair *im)
{
	return im->l3 ? 1 : RTE_ETHER_HDR_LEN;
}

/* Returns the copy with one bit flipped (the original is freed), or the original when there is no
 * such bit or no memory. */
static struct rte_mbuf *impair_corrupt(
    struct impair *im, struct impair_q *q, struct rte_mbuf *m, uint64_t bit)
{
	struct rte_mbuf *c, *seg;
	uint64_t off = bit / 8;

	if (off < impair_first(im) || off >= m->pkt_len)
		return m;
	c = impair_copy(im, q, m, UINT32_MAX);
	if (!c)
		return m;
	for (seg = c; off >= seg->data_len; seg = seg->next)
		off -= seg->data_len;
	*rte_pktmbuf_mtod_offset(seg, uint8_t *, off) ^= (uint8_t)(1u << (bit % 8));
	rte_pktmbuf_free(m);
	sl_ctr_add(&q->st.corrupted, 1);
	return c;
}

/* Likewise: the first `len` bytes stay, at least one is lost. */
static struct rte_mbuf *impair_truncate(
    struct impair *im, struct impair_q *q, struct rte_mbuf *m, uint32_t len)
{
	struct rte_mbuf *c;

	if (len < impair_least(im) || len >= m->pkt_len)
		return m;
	c = impair_copy(im, q, m, len);
	if (!c)
		return m;
	rte_pktmbuf_free(m);
	sl_ctr_add(&q->st.truncated, 1);
	return c;
}

/* Loss of every kind. */
static bool impair_lost(struct impair *im, struct impair_q *q, uint64_t now)
{
	const struct sluice_impair_params *p = &im->p;
	bool lost = sl_rng_ppm(&q->rng, p->loss_ppm);
	bool turn = sl_rng_ppm(&q->rng, q->bad ? p->gilbert_bad_good_ppm : p->gilbert_good_bad_ppm);

	if (turn)
		q->bad = !q->bad;
	lost |= q->bad;
	/* Relaxed: only the count matters, each value goes to one packet. */
	if (p->drop_nth)
		lost |= atomic_fetch_add_explicit(&im->count, 1, memory_order_relaxed) + 1 ==
			p->drop_nth;
	if (p->blackout_len)
		lost |= now >= p->blackout_start && now - p->blackout_start < p->blackout_len;
	return lost;
}

/* Chance decides; what cannot be done to this packet is not drawn. */
static void impair_draw(
    struct impair *im, struct impair_q *q, const struct rte_mbuf *m, struct sluice_impair_fate *f)
{
	const struct sluice_impair_params *p = &im->p;
	uint32_t len = m->pkt_len, first = impair_first(im), least = impair_least(im);
	bool corrupt, cut;

	f->delay = p->delay;
	if (p->jitter)
		f->delay += sl_rng_below(&q->rng, p->jitter + 1);
	f->hold = sl_rng_ppm(&q->rng, p->reorder_ppm)
		      ? (p->reorder_delay ? p->reorder_delay : IMPAIR_REORDER_DEFAULT)
		      : 0;
	f->flip = -1;
	f->cut = 0;
	corrupt = sl_rng_ppm(&q->rng, p->corrupt_ppm);
	cut = sl_rng_ppm(&q->rng, p->truncate_ppm);
	if (!(corrupt || cut) || impair_exempt(im, m))
		return;
	if (cut && len > least)
		f->cut = len = least + (uint32_t)sl_rng_below(&q->rng, len - least);
	if (corrupt && len > first)
		f->flip = (int64_t)first * 8 +
			  (int64_t)sl_rng_below(&q->rng, (uint64_t)(len - first) * 8);
}

/* When a packet leaves that came now; in-order packets push `last` on. */
static uint64_t impair_when(struct impair_q *q, const struct sluice_impair_fate *f, uint64_t now)
{
	uint64_t at = now + f->delay;

	at = at > q->last ? at : q->last;
	if (f->hold) {
		sl_ctr_add(&q->st.reordered, 1);
		return at + f->hold;
	}
	q->last = at;
	return at;
}

/* One packet, or one of a pair of doubles, on its way into the heap. */
static void impair_one(struct impair *im, struct impair_q *q, struct rte_mbuf *m,
    const struct sluice_impair_fate *f, uint64_t now)
{
	const struct sluice_impair_params *p = &im->p;
	uint64_t at = impair_when(q, f, now);

	if (q->n >= p->queue || (q->n == q->room && impair_grow(q, p->queue))) {
		sl_ctr_add(&q->st.queue_drops, 1);
		rte_pktmbuf_free(m);
		return;
	}
	if ((f->cut || f->flip >= 0) && !impair_exempt(im, m)) {
		if (f->cut)
			m = impair_truncate(im, q, m, f->cut);
		if (f->flip >= 0)
			m = impair_corrupt(im, q, m, (uint64_t)f->flip);
	}
	if (at > now)
		sl_ctr_add(&q->st.delayed, 1);
	impair_push(q, m, at);
}

/* ---- driver ---- */

static void impair_packet(struct impair *im, uint16_t qid, struct rte_mbuf *m, uint64_t now)
{
	const struct sluice_impair_params *p = &im->p;
	struct impair_q *q = &im->q[qid];
	struct sluice_impair_fate f = {.lose = impair_lost(im, q, now)}, second;
	struct rte_mbuf *dup = NULL;

	sl_ctr_add(&q->st.packets, 1);
	if (!f.lose) {
		f.dup = sl_rng_ppm(&q->rng, p->dup_ppm);
		impair_draw(im, q, m, &f);
	}
	if (p->fate)
		p->fate(p->fate_arg, qid, m, now, false, &f);
	if (f.lose) {
		sl_ctr_add(&q->st.lost, 1);
		rte_pktmbuf_free(m);
		return;
	}
	if (f.dup)
		dup = impair_copy(im, q, m, UINT32_MAX);
	impair_one(im, q, m, &f, now);
	if (!dup)
		return;
	sl_ctr_add(&q->st.duplicated, 1);
	second = (struct sluice_impair_fate){.flip = -1};
	impair_draw(im, q, dup, &second);
	if (p->fate)
		p->fate(p->fate_arg, qid, dup, now, true, &second);
	impair_one(im, q, dup, &second, now);
}

static uint16_t impair_tx(void *ctx, uint16_t qid, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct impair *im = ctx;
	struct impair_q *q = &im->q[qid];

	impair_release(im, qid, now);
	if (q->blocked)
		return 0;
	for (uint16_t i = 0; i < n; i++)
		impair_packet(im, qid, pkts[i], now);
	impair_release(im, qid, now);
	return n;
}

static uint16_t impair_rx(void *ctx, uint16_t qid, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct impair *im = ctx;
	uint16_t got;

	impair_release(im, qid, now);
	got = im->lower.ops->rx(im->lower.ctx, qid, pkts, n, now);
	for (uint16_t i = 0; im->unmark && i < got; i++)
		pkts[i]->ol_flags &=
		    ~(uint64_t)(RTE_MBUF_F_RX_IP_CKSUM_MASK | RTE_MBUF_F_RX_L4_CKSUM_MASK);
	return got;
}

static uint64_t impair_next(void *ctx, uint16_t qid)
{
	struct impair *im = ctx;
	struct impair_q *q = &im->q[qid];
	uint64_t next = im->lower.ops->next ? im->lower.ops->next(im->lower.ctx, qid) : UINT64_MAX,
		 at;

	if (!q->n)
		return next;
	at = q->heap[0].at;
	if (q->blocked && at < q->retry)
		at = q->retry;
	return at < next ? at : next;
}

static int impair_info(void *ctx, struct sluice_port_info *info)
{
	struct impair *im = ctx;
	int rc = im->lower.ops->info(im->lower.ctx, info);

	if (rc)
		return rc;
	if (info->caps & SLUICE_CAP_PERFECT)
		info->caps &= ~(uint32_t)SLUICE_CAP_RX_CKSUM;
	info->caps &= ~(uint32_t)IMPAIR_CAPS_OFF;
	info->tso_max = 0;
	return 0;
}

static void impair_port_stats(void *ctx, struct sluice_port_stats *s)
{
	struct impair *im = ctx;

	im->lower.ops->stats(im->lower.ctx, s);
}

static void impair_idle(void *ctx, uint16_t qid)
{
	struct impair *im = ctx;

	im->lower.ops->idle(im->lower.ctx, qid);
}

static int impair_arm(void *ctx, uint16_t qid, int *fds, unsigned int max)
{
	struct impair *im = ctx;

	return im->lower.ops->arm(im->lower.ctx, qid, fds, max);
}

static void impair_disarm(void *ctx, uint16_t qid)
{
	struct impair *im = ctx;

	im->lower.ops->disarm(im->lower.ctx, qid);
}

static int impair_steer(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sport, uint16_t dport)
{
	struct impair *im = ctx;

	return im->lower.ops->steer(im->lower.ctx, src, dst, sport, dport);
}

static int impair_arrives(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sport, uint16_t dport)
{
	struct impair *im = ctx;

	return im->lower.ops->arrives(im->lower.ctx, src, dst, sport, dport);
}

static int impair_spread(void *ctx, uint64_t queues)
{
	struct impair *im = ctx;

	return im->lower.ops->spread(im->lower.ctx, queues);
}

static void impair_events(void *ctx, void (*event)(void *arg, enum sluice_port_event ev), void *arg)
{
	struct impair *im = ctx;

	im->lower.ops->events(im->lower.ctx, event, arg);
}

static int impair_reset(void *ctx)
{
	struct impair *im = ctx;

	return im->lower.ops->reset(im->lower.ctx);
}

static void impair_free(struct impair *im)
{
	for (uint16_t k = 0; im->q && k < im->nq; k++) {
		for (uint32_t i = 0; i < im->q[k].n; i++)
			rte_pktmbuf_free(im->q[k].heap[i].m);
		free(im->q[k].heap);
	}
	free(im->q);
	free(im);
}

static void impair_destroy(void *ctx)
{
	struct impair *im = ctx;
	struct sluice_driver lower = im->lower;

	impair_free(im);
	lower.ops->destroy(lower.ctx);
}

static const struct sluice_driver_ops impair_ops = {
    .size = sizeof(struct sluice_driver_ops),
    .name = "impair",
    .rx = impair_rx,
    .tx = impair_tx,
    .info = impair_info,
    .stats = impair_port_stats,
    .next = impair_next,
    .arm = impair_arm,
    .disarm = impair_disarm,
    .idle = impair_idle,
    .steer = impair_steer,
    .spread = impair_spread,
    .arrives = impair_arrives,
    .events = impair_events,
    .reset = impair_reset,
    .destroy = impair_destroy,
};

/* Takes over all but seed and pool; -EINVAL leaves things as they are. */
static int impair_take(
    struct impair *im, const struct sluice_impair_params *p, struct rte_mempool *pool)
{
	struct sluice_impair_params n;

	if (!p || p->size < sizeof(*p) || p->queue > IMPAIR_QUEUE_MAX)
		return -EINVAL;
	n = *p;
	if (n.loss_ppm > IMPAIR_PPM || n.dup_ppm > IMPAIR_PPM || n.reorder_ppm > IMPAIR_PPM ||
	    n.corrupt_ppm > IMPAIR_PPM || n.truncate_ppm > IMPAIR_PPM ||
	    n.gilbert_good_bad_ppm > IMPAIR_PPM || n.gilbert_bad_good_ppm > IMPAIR_PPM)
		return -EINVAL;
	if (n.delay > IMPAIR_DELAY_MAX || n.jitter > IMPAIR_DELAY_MAX ||
	    n.reorder_delay > IMPAIR_DELAY_MAX)
		return -EINVAL;
	if ((n.dup_ppm || n.corrupt_ppm || n.truncate_ppm || n.fate) && !pool)
		return -EINVAL;
	n.seed = im->p.seed;
	n.pool = pool;
	if (!n.queue)
		n.queue = IMPAIR_QUEUE_DEFAULT;
	im->p = n;
	return 0;
}

int sluice_impair_create(
    const struct sluice_impair_params *p, struct sluice_driver lower, struct sluice_driver *out)
{
	struct sluice_port_info info = {.size = sizeof(info)};
	struct impair *im;
	int rc;

	if (!p || p->size < sizeof(*p) || !lower.ops || !out)
		return -EINVAL;
	rc = lower.ops->info(lower.ctx, &info);
	if (rc)
		return rc;
	im = calloc(1, sizeof(*im));
	if (!im)
		return -ENOMEM;
	im->lower = lower;
	im->nq = info.nqueues;
	im->l3 = info.caps & SLUICE_CAP_L3;
	im->unmark = info.caps & SLUICE_CAP_PERFECT;
	im->ops = impair_ops;
	im->ops.idle = lower.ops->idle ? impair_idle : NULL;
	im->ops.arm = lower.ops->arm ? impair_arm : NULL;
	im->ops.disarm = lower.ops->disarm ? impair_disarm : NULL;
	im->ops.steer = lower.ops->steer ? impair_steer : NULL;
	im->ops.reset = lower.ops->reset ? impair_reset : NULL;
	im->ops.spread = lower.ops->spread ? impair_spread : NULL;
	im->ops.arrives = lower.ops->arrives ? impair_arrives : NULL;
	im->ops.events = lower.ops->events ? impair_events : NULL;
	rc = impair_take(im, p, p->pool);
	if (rc) {
		impair_free(im);
		return rc;
	}
	im->p.seed = p->seed;
	im->q = aligned_alloc(64, im->nq * sizeof(im->q[0]));
	if (!im->q) {
		impair_free(im);
		return -ENOMEM;
	}
	memset(im->q, 0, im->nq * sizeof(im->q[0]));
	for (uint16_t k = 0; k < im->nq; k++)
		sl_rng_seed(&im->q[k].rng, p->seed, k);
	out->ops = &im->ops;
	out->ctx = im;
	return 0;
}

int sluice_impair_set(struct sluice_driver d, const struct sluice_impair_params *p)
{
	struct impair *im = d.ctx;
	uint32_t nth;
	int rc;

	if (!d.ops || d.ops->destroy != impair_destroy)
		return -EINVAL;
	nth = im->p.drop_nth;
	rc = impair_take(im, p, im->p.pool);
	/* A new number counts from here. */
	if (!rc && im->p.drop_nth != nth)
		atomic_store_explicit(&im->count, 0, memory_order_relaxed);
	/* Without burst loss nobody would come back from the bad state. */
	for (uint16_t k = 0; !rc && !im->p.gilbert_good_bad_ppm && k < im->nq; k++)
		im->q[k].bad = false;
	return rc;
}

void sluice_impair_stats(struct sluice_driver d, struct sluice_impair_stats *out)
{
	static const size_t nctr =
	    (sizeof(*out) - offsetof(struct sluice_impair_stats, packets)) / sizeof(uint64_t);
	size_t size = out->size;
	uint64_t *sum = &out->packets;
	struct impair *im = d.ctx;

	memset(out, 0, sizeof(*out));
	out->size = size;
	if (!d.ops || d.ops->destroy != impair_destroy)
		return;
	for (uint16_t k = 0; k < im->nq; k++) {
		const uint64_t *c = &im->q[k].st.packets;

		for (size_t i = 0; i < nctr; i++)
			sum[i] += __atomic_load_n(&c[i], __ATOMIC_RELAXED);
	}
}
