/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire: a perfect link in memory, between two squeues or two stacks.
 *
 * The big idea. Each direction is a set of single-producer single-consumer rings of mbuf pointers.
 * A packet is put into its receive state by the sender, while its headers are hot in the sender's
 * cache; the receiver only takes pointers. Nothing is ever lost: a full ring makes tx take fewer
 * packets. What the sender made (header mbuf, indirect segments) is what the receiver gets and
 * frees, unless `copy` asks for memory of the receiver's own.
 *
 * Rings. The queue of the receiving end follows from the packet (below), not from the sender's
 * queue. With one thread and no delay all transmit queues share one ring per receiving queue. With
 * `threads`, or with delivery times, each pair (transmit queue, receive queue) has a ring: so each
 * ring has one producer and one consumer, and the delivery times within a ring never decrease. The
 * receiver takes the earliest first among timed rings, and turn by turn among the others.
 *
 * Steering. TCP and UDP packets without IP fragmentation (and, over IPv6, without extension
 * headers) are spread by a hash over source, destination and ports that is not symmetric; steer()
 * computes the same. All else (ARP, ICMP, ND, fragments) comes to queue 0. An end with one queue
 * computes nothing.
 *
 * Ends. Destroying an end frees what waits for it; what it has sent still arrives. The other end's
 * packets then go nowhere, counted as tx_errors. The rings themselves go with the second end. With
 * `copy` and `threads`, the pool of an end must outlive the other end's last tx.
 */
#include <sluice/driver.h>

#include "base/check.h"
#include "base/counter.h"
#include "../frame.h"

#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>

#define WIRE_LINE 64
#define WIRE_DEPTH_MAX (1u << 20)
/* Largest payload of a TSO packet: the IPv4 total length holds 65535, headers with all options take
 * 120. */
#define WIRE_TSO_MAX (65535u - 120u)
/* What a frame may be longer than its IP packet: Ethernet header and two VLAN tags. */
#define WIRE_L2_MAX (RTE_ETHER_HDR_LEN + 2 * RTE_VLAN_HLEN)
/* These say how the mbuf's memory is held, and so survive the way over the wire. */
#define WIRE_KEEP (RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL)
#define WIRE_CKSUM_GOOD (RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD)

/* One producer, one consumer; indices run freely modulo 2^32. */
struct wire_ring {
	/* The producer's own line. */
	alignas(WIRE_LINE) uint32_t head; /* next slot to fill, not yet published beyond `pub` */
	uint32_t tail_seen;               /* the producer's last look at `tail` */
	/*
	 * Slots below are filled: release by the producer, acquire by the consumer, who asks again and
	 * again. Alone on its line, which so travels once for what is published, and not for each
	 * packet that the producer counts meanwhile.
	 */
	alignas(WIRE_LINE) uint32_t pub;
	/* The consumer's line. Slots below `tail` are free: release by consumer, acquire by producer,
	 * who looks when the ring seems full. */
	alignas(WIRE_LINE) uint32_t tail;
	uint32_t pub_seen; /* the consumer's last look at `pub` */
	/* Constant. */
	alignas(WIRE_LINE) uint32_t mask;
	uint32_t depth;
	struct rte_mbuf **slot;
	uint64_t *due; /* delivery time of each slot; NULL on a wire without delay */
};

/* Counters are written by the owner of the queue only. */
struct wire_txq {
	alignas(WIRE_LINE) uint64_t pkts;
	uint64_t bytes, errors;
	uint64_t peer_nomem; /* copies not made: the receiver's pool was empty */
	uint64_t busy;       /* the serialiser is busy until then */
	uint64_t frac; /* remainder of the last division by the rate: rounding must not add up */
};

struct wire_rxq {
	alignas(WIRE_LINE) uint64_t pkts;
	uint64_t bytes;
	uint16_t turn; /* lane that is asked first */
};

struct wire;

struct wire_end {
	struct sluice_driver_ops ops;
	struct wire *w;
	struct wire_end *peer;
	/* in[lane * nq + queue]: towards this end; a lane per transmit queue of the peer, or one */
	struct wire_ring *in;
	struct wire_txq *txq;
	struct wire_rxq *rxq;
	uint16_t nq, lanes;
	uint8_t mac[6];
	bool link_seen; /* what events() said last */
	uint8_t to
	    [SLUICE_PORT_QUEUES]; /* what is for a queue goes to that one: spread; relaxed atomics */
	atomic_bool gone;         /* destroyed: release by destroy, acquire by the peer's tx */
};

struct wire {
	struct wire_end end[2];
	uint64_t latency, rate;
	uint32_t caps, tso_max, max_len;
	uint16_t mtu;
	bool timed, copy, parse_l3;
	struct rte_mempool *pool[2];
	atomic_uint refs; /* ends that live */
};

/* ---- ring ---- */

static inline bool wire_ring_room(struct wire_ring *r)
{
	if (SL_LIKELY(r->head - r->tail_seen < r->depth))
		return true;
	/* Pairs with the release in wire_ring_taken(): the consumer has read the slots that it gave
	 * back. */
	r->tail_seen = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
	return r->head - r->tail_seen < r->depth;
}

static inline void wire_ring_publish(struct wire_ring *r)
{
	/* Pairs with the acquire in wire_ring_avail(): slots and mbufs are written before they can
	 * be seen. */
	if (r->head != r->pub)
		__atomic_store_n(&r->pub, r->head, __ATOMIC_RELEASE);
}

static inline uint32_t wire_ring_avail(struct wire_ring *r, uint32_t want)
{
	if (r->pub_seen - r->tail < want)
		r->pub_seen = __atomic_load_n(&r->pub, __ATOMIC_ACQUIRE);
	return r->pub_seen - r->tail;
}

static inline void wire_ring_taken(struct wire_ring *r, uint32_t n)
{
	__atomic_store_n(&r->tail, r->tail + n, __ATOMIC_RELEASE);
}

static int wire_ring_init(struct wire_ring *r, uint32_t depth, bool timed)
{
	uint32_t size = 1;

	while (size < depth)
		size <<= 1;
	r->depth = depth;
	r->mask = size - 1;
	r->slot = calloc(size, sizeof(r->slot[0]));
	if (timed)
		r->due = calloc(size, sizeof(r->due[0]));
	return r->slot && (!timed || r->due) ? 0 : -ENOMEM;
}

/* Frees what waits in a ring. The caller is its consumer, or nobody else is left. */
static void wire_ring_drain(struct wire_ring *r)
{
	uint32_t n = wire_ring_avail(r, UINT32_MAX);

	for (uint32_t i = 0; i < n; i++)
		rte_pktmbuf_free(r->slot[(r->tail + i) & r->mask]);
	wire_ring_taken(r, n);
}

/* ---- steering ---- */

static inline uint64_t wire_fold(uint64_t x, uint64_t k)
{
	unsigned __int128 p = (unsigned __int128)x * k;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/*
 * The queue of a tuple (network byte order, v4-mapped): multiply and fold each word in turn, so the
 * order of source and destination matters; then the upper half scaled to the number of queues. Not
 * keyed: who is on the wire is our own.
 */
static unsigned int wire_hash(const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sport, uint16_t dport, unsigned int nq)
{
	uint64_t h = 0x9e3779b97f4a7c15ull;

	h = wire_fold(h ^ src->q[0], 0xa0761d6478bd642full);
	h = wire_fold(h ^ src->q[1], 0xe7037ed1a0b428dbull);
	h = wire_fold(h ^ dst->q[0], 0x8ebc6af09c88c6e3ull);
	h = wire_fold(h ^ dst->q[1], 0x589965cc75374cc3ull);
	h = wire_fold(h ^ ((uint64_t)sport << 16 | dport), 0x1d8e4e27c47d124full);
	return (unsigned int)(((h >> 32) * nq) >> 32);
}

static inline void wire_map4(struct sluice_addr *a, uint32_t be)
{
	a->q[0] = 0;
	a->w[2] = RTE_BE32(0xffff);
	a->w[3] = be;
}

/* The queue at which a packet arrives; headers may lie across segments. */
static unsigned int wire_pick(const struct rte_mbuf *m, bool raw, unsigned int nq)
{
	struct rte_ipv4_hdr b4;
	struct rte_ipv6_hdr b6;
	struct sluice_addr src, dst;
	uint16_t bp[2], ports[2];
	const void *pp;
	uint32_t off;
	uint16_t type = sl_frame_l3(m, raw, &off);
	uint8_t proto;

	if (type == RTE_ETHER_TYPE_IPV4) {
		const struct rte_ipv4_hdr *h = rte_pktmbuf_read(m, off, sizeof(b4), &b4);

		if (!h || (h->fragment_offset &
			      RTE_BE16(RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK)))
			return 0;
		wire_map4(&src, h->src_addr);
		wire_map4(&dst, h->dst_addr);
		proto = h->next_proto_id;
		off += (h->version_ihl & 15u) * 4u;
	} else if (type == RTE_ETHER_TYPE_IPV6) {
		const struct rte_ipv6_hdr *h = rte_pktmbuf_read(m, off, sizeof(b6), &b6);

		if (!h)
			return 0;
		memcpy(&src, h->src_addr, sizeof(src));
		memcpy(&dst, h->dst_addr, sizeof(dst));
		proto = h->proto;
		off += sizeof(*h);
	} else {
		return 0;
	}
	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return 0;
	pp = rte_pktmbuf_read(m, off, sizeof(bp), bp);
	if (!pp)
		return 0;
	memcpy(ports, pp, sizeof(ports));
	return wire_hash(&src, &dst, ports[0], ports[1], nq);
}

static int wire_steer(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sport, uint16_t dport)
{
	const struct wire_end *e = ctx;

	return (int)wire_hash(src, dst, sport, dport, e->nq);
}

static inline unsigned int wire_now(const struct wire_end *e, unsigned int q)
{
	return __atomic_load_n(&e->to[q], __ATOMIC_RELAXED);
}

static int wire_arrives(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sport, uint16_t dport)
{
	const struct wire_end *e = ctx;

	return (int)wire_now(e, wire_hash(src, dst, sport, dport, e->nq));
}

/* What a queue would get that is not to have any goes to one of the others, the next in turn. */
static int wire_spread(void *ctx, uint64_t queues)
{
	struct wire_end *e = ctx;
	unsigned int next = 0;

	if (e->nq < 64)
		queues &= (1ull << e->nq) - 1;
	if (queues == 0)
		return -EINVAL;
	for (unsigned int q = 0; q < e->nq; q++) {
		unsigned int to = q;

		if (!(queues >> q & 1)) {
			while (!(queues >> next & 1))
				next = (next + 1) % e->nq;
			to = next;
			next = (next + 1) % e->nq;
		}
		__atomic_store_n(&e->to[q], (uint8_t)to, __ATOMIC_RELAXED);
	}
	return 0;
}

/* ---- transmit ---- */

/* From the sender's marks to the receiver's; what the sender asked the port to do, the wire "did".
 */
static inline void wire_mark(struct rte_mbuf *m, bool perfect)
{
	uint64_t ol = m->ol_flags, keep = ol & WIRE_KEEP, rx = perfect ? WIRE_CKSUM_GOOD : 0;

	if (ol & (RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_SEG))
		rx |= RTE_MBUF_F_RX_IP_CKSUM_GOOD;
	if ((ol & RTE_MBUF_F_TX_L4_MASK) || (ol & RTE_MBUF_F_TX_TCP_SEG))
		rx |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	m->ol_flags = keep | rx;
	m->packet_type = 0;
	m->vlan_tci = 0;
	m->vlan_tci_outer = 0;
	m->hash.rss = 0;
	/* Lies in the second cache line: written only where the sender wrote it. */
	if (ol & RTE_MBUF_F_TX_OFFLOAD_MASK)
		m->tx_offload = 0;
}

/* Rare: copies and tags. Returns what travels, NULL when the packet is dropped (and freed,
 * counted). */
static struct rte_mbuf *wire_prepare(
    const struct wire_end *e, struct wire_txq *t, struct rte_mbuf *m)
{
	const struct wire *w = e->w;
	struct rte_mbuf *mc;

	if ((m->ol_flags & RTE_MBUF_F_TX_VLAN) && rte_vlan_insert(&m)) {
		rte_pktmbuf_free(m);
		sl_ctr_add(&t->errors, 1);
		return NULL;
	}
	if (!w->copy)
		return m;
	mc = rte_pktmbuf_copy(m, w->pool[e->peer - w->end], 0, UINT32_MAX);
	rte_pktmbuf_free(m);
	if (!mc)
		sl_ctr_add(&t->peer_nomem, 1);
	return mc;
}

static inline uint64_t wire_due(
    const struct wire *w, struct wire_txq *t, uint32_t len, uint64_t now)
{
	uint64_t x;

	if (!w->rate)
		return now + w->latency;
	if (now > t->busy) {
		t->busy = now;
		t->frac = 0;
	}
	x = (uint64_t)len * 8 * 1000000000ull + t->frac;
	t->busy += x / w->rate;
	t->frac = x % w->rate;
	return t->busy + w->latency;
}

static uint16_t wire_sink(struct wire_txq *t, struct rte_mbuf **pkts, uint16_t n)
{
	rte_pktmbuf_free_bulk(pkts, n);
	sl_ctr_add(&t->errors, n);
	return n;
}

static uint16_t wire_tx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct wire_end *e = ctx, *peer = e->peer;
	struct wire *w = e->w;
	struct wire_txq *t = &e->txq[q];
	unsigned int nq = peer->nq;
	struct wire_ring *lane = peer->in + (peer->lanes > 1 ? q * nq : 0), *r = lane;
	bool perfect = w->caps & SLUICE_CAP_PERFECT;
	uint64_t bytes = 0, sent = 0;
	uint16_t i;

	if (SL_UNLIKELY(atomic_load_explicit(&peer->gone, memory_order_acquire)))
		return wire_sink(t, pkts, n);
	for (i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];
		uint32_t len = m->pkt_len;

		if (nq > 1)
			r = &lane[wire_now(peer, wire_pick(m, w->parse_l3, nq))];
		if (!wire_ring_room(r))
			break;
		if (SL_UNLIKELY(len - 1 >= w->max_len &&
				(!len || !(m->ol_flags & RTE_MBUF_F_TX_TCP_SEG)))) {
			wire_sink(t, &m, 1);
			continue;
		}
		if (SL_UNLIKELY(w->copy || (m->ol_flags & RTE_MBUF_F_TX_VLAN))) {
			m = wire_prepare(e, t, m);
			if (!m)
				continue;
		}
		if (perfect || (m->ol_flags & ~WIRE_KEEP))
			wire_mark(m, perfect);
		r->slot[r->head & r->mask] = m;
		if (w->timed)
			r->due[r->head & r->mask] = wire_due(w, t, len, now);
		r->head++;
		bytes += len;
		sent++;
	}
	for (unsigned int k = 0; k < nq; k++)
		wire_ring_publish(&lane[k]);
	sl_ctr_add(&t->pkts, sent);
	sl_ctr_add(&t->bytes, bytes);
	return i;
}

/* ---- receive ---- */

static inline uint16_t wire_take(
    struct wire_ring *r, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	uint32_t avail = wire_ring_avail(r, n);
	uint16_t i;

	if (n > avail)
		n = (uint16_t)avail;
	for (i = 0; i < n; i++) {
		uint32_t k = (r->tail + i) & r->mask;

		if (r->due && r->due[k] > now)
			break;
		pkts[i] = r->slot[k];
		/* Both lines, should another core have written them: all at once, not one by one. */
		rte_prefetch0(pkts[i]);
		rte_prefetch0((const char *)pkts[i] + WIRE_LINE);
	}
	if (i)
		wire_ring_taken(r, i);
	return i;
}

/* The lane of queue q whose first packet is due first; NULL when all are empty. */
static struct wire_ring *wire_earliest(struct wire_end *e, uint16_t q, uint64_t *due)
{
	struct wire_ring *best = NULL;

	for (uint16_t l = 0; l < e->lanes; l++) {
		struct wire_ring *r = &e->in[l * e->nq + q];
		uint64_t d;

		if (!wire_ring_avail(r, 1))
			continue;
		d = r->due ? r->due[r->tail & r->mask] : 0;
		if (!best || d < *due) {
			best = r;
			*due = d;
		}
	}
	return best;
}

static uint16_t wire_rx_lanes(
    struct wire_end *e, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct wire_rxq *x = &e->rxq[q];
	struct wire_ring *r;
	uint16_t got = 0;
	uint64_t due = 0;

	if (e->w->timed) {
		while (got < n && (r = wire_earliest(e, q, &due)) && due <= now)
			got += wire_take(r, &pkts[got], 1, now);
		return got;
	}
	for (uint16_t l = 0; l < e->lanes && got < n; l++) {
		uint16_t lane = (uint16_t)((x->turn + l) % e->lanes);

		got += wire_take(&e->in[lane * e->nq + q], &pkts[got], (uint16_t)(n - got), now);
	}
	x->turn = (uint16_t)((x->turn + 1) % e->lanes);
	return got;
}

static uint16_t wire_rx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct wire_end *e = ctx;
	struct wire_rxq *x = &e->rxq[q];
	uint64_t bytes = 0;
	uint16_t got;

	got =
	    e->lanes == 1 ? wire_take(&e->in[q], pkts, n, now) : wire_rx_lanes(e, q, pkts, n, now);
	if (!got)
		return 0;
	for (uint16_t i = 0; i < got; i++)
		bytes += pkts[i]->pkt_len;
	sl_ctr_add(&x->pkts, got);
	sl_ctr_add(&x->bytes, bytes);
	return got;
}

static uint64_t wire_next(void *ctx, uint16_t q)
{
	uint64_t due = UINT64_MAX;

	return wire_earliest(ctx, q, &due) ? due : UINT64_MAX;
}

/* ---- the rest ---- */

static int wire_info(void *ctx, struct sluice_port_info *info)
{
	const struct wire_end *e = ctx;
	const struct wire *w = e->w;

	info->caps = w->caps;
	info->mtu = w->mtu;
	info->nqueues = e->nq;
	info->tso_max = w->tso_max;
	info->tso_max_segs = 0;
	memcpy(info->mac, e->mac, sizeof(info->mac));
	info->link_up = !atomic_load_explicit(&e->peer->gone, memory_order_acquire);
	info->socket = -1;
	return 0;
}

static inline uint64_t wire_read(const uint64_t *c)
{
	return __atomic_load_n(c, __ATOMIC_RELAXED);
}

static void wire_stats(void *ctx, struct sluice_port_stats *s)
{
	const struct wire_end *e = ctx;
	size_t size = s->size;

	memset(s, 0, sizeof(*s));
	s->size = size;
	for (uint16_t q = 0; q < e->nq; q++) {
		s->rx_pkts += wire_read(&e->rxq[q].pkts);
		s->rx_bytes += wire_read(&e->rxq[q].bytes);
		s->tx_pkts += wire_read(&e->txq[q].pkts);
		s->tx_bytes += wire_read(&e->txq[q].bytes);
		s->tx_errors += wire_read(&e->txq[q].errors);
	}
	for (uint16_t q = 0; q < e->peer->nq; q++)
		s->rx_nomem += wire_read(&e->peer->txq[q].peer_nomem);
}

static void wire_events(void *ctx, void (*event)(void *arg, enum sluice_port_event ev), void *arg)
{
	struct wire_end *e = ctx;

	if (e->link_seen && atomic_load_explicit(&e->peer->gone, memory_order_acquire)) {
		e->link_seen = false;
		event(arg, SLUICE_PORT_LINK_DOWN);
	}
}

/* Both ends are gone, or creation failed half-way. */
static void wire_free(struct wire *w)
{
	for (int k = 0; k < 2; k++) {
		struct wire_end *e = &w->end[k];

		for (unsigned int i = 0; e->in && i < (unsigned int)e->lanes * e->nq; i++) {
			if (e->in[i].slot)
				wire_ring_drain(&e->in[i]);
			free(e->in[i].slot);
			free(e->in[i].due);
		}
		free(e->in);
		free(e->txq);
		free(e->rxq);
	}
	free(w);
}

static void wire_destroy(void *ctx)
{
	struct wire_end *e = ctx;
	struct wire *w = e->w;

	/* A sender that has not seen the flag yet may still fill a ring; wire_free() empties it
	 * then. */
	atomic_store_explicit(&e->gone, true, memory_order_release);
	for (unsigned int i = 0; i < (unsigned int)e->lanes * e->nq; i++)
		wire_ring_drain(&e->in[i]);
	/* Release: the rings as this end left them; acquire: the last one sees the other's work. */
	if (atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) == 1)
		wire_free(w);
}

static const struct sluice_driver_ops wire_ops = {
    .size = sizeof(struct sluice_driver_ops),
    .name = "wire",
    .rx = wire_rx,
    .tx = wire_tx,
    .info = wire_info,
    .stats = wire_stats,
    .next = wire_next,
    .steer = wire_steer,
    .spread = wire_spread,
    .arrives = wire_arrives,
    .events = wire_events,
    .destroy = wire_destroy,
};

static void *wire_zalloc(size_t n, size_t size)
{
	void *p = aligned_alloc(WIRE_LINE, n * size);

	if (p)
		memset(p, 0, n * size);
	return p;
}

static int wire_end_init(struct wire *w, int k, const struct sluice_wire_params *p, uint32_t depth)
{
	struct wire_end *e = &w->end[k];
	uint16_t peer_nq = p->nqueues[!k];
	static const uint8_t zero[6];

	e->ops = wire_ops;
	e->w = w;
	e->peer = &w->end[!k];
	e->nq = p->nqueues[k];
	e->lanes = p->threads || w->timed ? peer_nq : 1;
	e->link_seen = true;
	if (e->nq == 1) {
		e->ops.steer = e->ops.arrives = NULL;
		e->ops.spread = NULL;
	}
	for (unsigned int q = 0; q < e->nq; q++)
		e->to[q] = (uint8_t)q;
	memcpy(e->mac, p->mac[k], sizeof(e->mac));
	if (!memcmp(e->mac, zero, sizeof(zero))) {
		e->mac[0] = RTE_ETHER_LOCAL_ADMIN_ADDR;
		e->mac[5] = (uint8_t)(k + 1);
	}
	if (p->caps & SLUICE_CAP_L3)
		memset(e->mac, 0, sizeof(e->mac));
	e->txq = wire_zalloc(e->nq, sizeof(e->txq[0]));
	e->rxq = wire_zalloc(e->nq, sizeof(e->rxq[0]));
	e->in = wire_zalloc((size_t)e->lanes * e->nq, sizeof(e->in[0]));
	if (!e->txq || !e->rxq || !e->in)
		return -ENOMEM;
	for (unsigned int i = 0; i < (unsigned int)e->lanes * e->nq; i++) {
		if (wire_ring_init(&e->in[i], depth, w->timed))
			return -ENOMEM;
	}
	return 0;
}

static bool wire_params_ok(const struct sluice_wire_params *p)
{
	if (!p || p->size < sizeof(*p) || p->depth > WIRE_DEPTH_MAX || (p->mtu && p->mtu < 68))
		return false;
	for (int k = 0; k < 2; k++) {
		if (!p->nqueues[k] || p->nqueues[k] > SLUICE_PORT_QUEUES ||
		    (p->copy && !p->pool[k]))
			return false;
	}
	return true;
}

int sluice_wire_create(const struct sluice_wire_params *p, struct sluice_driver out[2])
{
	uint32_t depth,
	    cksum = SLUICE_CAP_TX_IP4_CKSUM | SLUICE_CAP_TX_L4_CKSUM | SLUICE_CAP_PERFECT;
	struct wire *w;

	if (!wire_params_ok(p) || !out)
		return -EINVAL;
	w = wire_zalloc(1, RTE_ALIGN_CEIL(sizeof(*w), WIRE_LINE));
	if (!w)
		return -ENOMEM;
	depth = p->depth ? p->depth : 1024;
	w->latency = p->latency;
	w->rate = p->rate;
	w->timed = p->latency || p->rate;
	w->mtu = p->mtu ? p->mtu : 1500;
	w->copy = p->copy;
	w->pool[0] = p->pool[0];
	w->pool[1] = p->pool[1];
	w->caps = p->caps | SLUICE_CAP_TX_MULTISEG | SLUICE_CAP_TX_INDIRECT;
	/* What one end did not compute, the other is told to be good. */
	if (w->caps & cksum)
		w->caps |= SLUICE_CAP_RX_CKSUM;
	if (w->caps & SLUICE_CAP_TX_TSO) {
		w->caps |= SLUICE_CAP_RX_LRO;
		w->tso_max = p->tso_max && p->tso_max < WIRE_TSO_MAX ? p->tso_max : WIRE_TSO_MAX;
	}
	w->parse_l3 = w->caps & SLUICE_CAP_L3;
	w->max_len = w->mtu + (w->parse_l3 ? 0u : WIRE_L2_MAX);
	atomic_init(&w->refs, 2);
	for (int k = 0; k < 2; k++) {
		if (wire_end_init(w, k, p, depth)) {
			wire_free(w);
			return -ENOMEM;
		}
	}
	for (int k = 0; k < 2; k++) {
		out[k].ops = &w->end[k].ops;
		out[k].ctx = &w->end[k];
	}
	return 0;
}
