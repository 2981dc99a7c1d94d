/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ethdev: a port of DPDK's as a driver.
 *
 * The big idea. The fast paths are rte_eth_rx_burst and rte_eth_tx_burst with nothing around them.
 * Capabilities tell the stack what the port cannot do, so the stack seldom hands over what it may
 * not; but memory safety does not hang on that: where a port sends no chains or no indirect mbufs,
 * tx looks at each packet and sends a copy in one buffer. rte_eth_tx_prepare runs over bursts in
 * which a packet asks for an offload, as the API wants it.
 *
 * Ownership. The caller's array is never changed: copies lie in an array beside it, and only for
 * packets that the port took is the original freed. So what is not taken is the caller's as before.
 * A packet that the port can never send (refused by prepare, too long for one buffer) is taken,
 * freed and counted in tx_errors.
 *
 * Letting go. A port frees what it sent when it sends more, or when it is told to (idle). Some cannot be
 * told (net_virtio): they would hold an application's memory until something else fills their ring,
 * so the completion of a zero-copy send might never come. Such a port gets copies of external
 * memory; buffers of pools, which nobody waits for, it may hold.
 *
 * Events. The port's callbacks come on a thread of EAL; they only set flags, which events() takes
 * on squeue 0.
 */
#include "ethdev.h"

#include "base/check.h"
#include "base/counter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_mbuf.h>
#include <rte_thash.h>

#define ETHDEV_BURST 64
#define ETHDEV_UNREGISTER_TRIES 1000

/* ---- receive ---- */

static uint16_t ethdev_rx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct ethdev *d = ctx;
	uint16_t got = rte_eth_rx_burst(d->port_id, q, pkts, n);

	if (SL_UNLIKELY(d->clean_rx)) {
		for (uint16_t i = 0; i < got; i++)
			pkts[i]->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
	}
	return got;
}

/* ---- transmit ---- */

static bool ethdev_sendable(const struct ethdev *d, const struct rte_mbuf *m)
{
	if (m->nb_segs > 1 &&
	    (!(d->caps & SLUICE_CAP_TX_MULTISEG) || (d->seg_max && m->nb_segs > d->seg_max)))
		return false;
	if ((d->caps & SLUICE_CAP_TX_INDIRECT) && !d->keeps)
		return true;
	for (; m; m = m->next) {
		if (d->keeps ? RTE_MBUF_HAS_EXTBUF(m) : !RTE_MBUF_DIRECT(m))
			return false;
	}
	return true;
}

static bool ethdev_fits(struct rte_mempool *mp, uint32_t len)
{
	return mp && len + RTE_PKTMBUF_HEADROOM <= rte_pktmbuf_data_room_size(mp);
}

/* The pool whose buffers hold `len` bytes: of the receive queues, else one of those that the packet
 * came from. */
static struct rte_mempool *ethdev_pool(const struct ethdev *d, struct rte_mbuf *m, uint32_t len)
{
	if (ethdev_fits(d->rx_pool, len))
		return d->rx_pool;
	for (; m; m = m->next) {
		struct rte_mempool *mp =
		    RTE_MBUF_CLONED(m) ? rte_mbuf_from_indirect(m)->pool : m->pool;

		if (ethdev_fits(mp, len))
			return mp;
	}
	return NULL;
}

/* 1: *out is what to send. 0: no buffer now. -1: never. */
static int ethdev_linearize(
    struct ethdev *d, struct ethdev_q *q, struct rte_mbuf *m, struct rte_mbuf **out)
{
	/* A port that sends chains gets one. */
	struct rte_mempool *mp =
	    ethdev_pool(d, m, d->caps & SLUICE_CAP_TX_MULTISEG ? 1 : m->pkt_len);

	if (!mp || !m->pkt_len)
		return -1;
	*out = rte_pktmbuf_copy(m, mp, 0, UINT32_MAX);
	if (!*out) {
		sl_ctr_add(&q->nomem, 1);
		return 0;
	}
	if (d->seg_max && (*out)->nb_segs > d->seg_max) {
		rte_pktmbuf_free(*out);
		return -1;
	}
	sl_ctr_add(&q->linearized, 1);
	return 1;
}

/*
 * A burst with copies and offloads. `send` mirrors `pkts` up to the first packet that cannot go
 * now; returns how many were taken, counting a packet that can never go and stopped the rest.
 */
static uint16_t ethdev_tx_slow(struct ethdev *d, uint16_t qid, struct rte_mbuf **pkts, uint16_t n)
{
	struct ethdev_q *q = &d->q[qid];
	struct rte_mbuf *send[ETHDEV_BURST];
	uint16_t made = 0, ready, sent;
	bool bad = false;

	for (; made < n; made++) {
		int rc = 1;

		send[made] = pkts[made];
		if (SL_UNLIKELY(!ethdev_sendable(d, pkts[made])))
			rc = ethdev_linearize(d, q, pkts[made], &send[made]);
		bad = rc < 0;
		if (rc <= 0)
			break;
	}
	ready = rte_eth_tx_prepare(d->port_id, qid, send, made);
	bad |= ready < made;
	sent = rte_eth_tx_burst(d->port_id, qid, send, ready);
	for (uint16_t i = 0; i < made; i++) {
		if (send[i] != pkts[i])
			rte_pktmbuf_free(i < sent ? pkts[i] : send[i]);
	}
	if (bad && sent == ready) {
		rte_pktmbuf_free(pkts[sent]);
		sl_ctr_add(&q->tx_errors, 1);
		sent++;
	}
	return sent;
}

static bool ethdev_plain(const struct ethdev *d, struct rte_mbuf **pkts, uint16_t n)
{
	uint64_t ol = 0;

	for (uint16_t i = 0; i < n; i++)
		ol |= pkts[i]->ol_flags;
	if (ol & RTE_MBUF_F_TX_OFFLOAD_MASK)
		return false;
	if ((d->caps & SLUICE_CAP_TX_INDIRECT) && (d->caps & SLUICE_CAP_TX_MULTISEG) &&
	    !d->seg_max && !d->keeps)
		return true;
	for (uint16_t i = 0; i < n; i++) {
		if (!ethdev_sendable(d, pkts[i]))
			return false;
	}
	return true;
}

static uint16_t ethdev_tx(void *ctx, uint16_t qid, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct ethdev *d = ctx;
	uint16_t done = 0;

	if (SL_LIKELY(ethdev_plain(d, pkts, n)))
		return rte_eth_tx_burst(d->port_id, qid, pkts, n);
	while (done < n) {
		uint16_t want = RTE_MIN((uint16_t)(n - done), (uint16_t)ETHDEV_BURST);
		uint16_t sent = ethdev_tx_slow(d, qid, &pkts[done], want);

		done += sent;
		if (!sent)
			break;
	}
	return done;
}

static void ethdev_idle(void *ctx, uint16_t qid)
{
	struct ethdev *d = ctx;

	if (d->q[qid].no_cleanup)
		return;
	if (rte_eth_tx_done_cleanup(d->port_id, qid, 0) < 0)
		d->q[qid].no_cleanup = true;
}

/* ---- what the stack asks ---- */

static bool ethdev_link(const struct ethdev *d)
{
	struct rte_eth_link l;

	return rte_eth_link_get_nowait(d->port_id, &l) == 0 && l.link_status == RTE_ETH_LINK_UP;
}

static int ethdev_info(void *ctx, struct sluice_port_info *info)
{
	struct ethdev *d = ctx;
	struct rte_ether_addr mac = {0};
	int rc = d->l3 ? 0 : rte_eth_macaddr_get(d->port_id, &mac);

	if (rc)
		return rc;
	info->caps = d->caps;
	info->mtu = d->mtu;
	info->nqueues = d->nq;
	info->tso_max = d->tso_max;
	info->tso_max_segs = d->seg_max;
	memcpy(info->mac, mac.addr_bytes, sizeof(info->mac));
	info->link_up = ethdev_link(d);
	info->socket = rte_eth_dev_socket_id(d->port_id);
	return 0;
}

static void ethdev_stats(void *ctx, struct sluice_port_stats *s)
{
	struct ethdev *d = ctx;
	struct rte_eth_stats e;
	size_t size = s->size;

	memset(s, 0, sizeof(*s));
	s->size = size;
	if (rte_eth_stats_get(d->port_id, &e) == 0) {
		s->rx_pkts = e.ipackets;
		s->rx_bytes = e.ibytes;
		s->tx_pkts = e.opackets;
		s->tx_bytes = e.obytes;
		s->rx_missed = e.imissed;
		s->rx_nomem = e.rx_nombuf;
		s->rx_errors = e.ierrors;
		s->tx_errors = e.oerrors;
	}
	for (uint16_t q = 0; q < d->nq; q++)
		s->tx_errors += __atomic_load_n(&d->q[q].tx_errors, __ATOMIC_RELAXED);
}

/* The table's entry for a tuple, -1: nobody knows. */
static int ethdev_entry(const struct ethdev *d, const struct sluice_addr *src,
    const struct sluice_addr *dst, uint16_t sport, uint16_t dport)
{
	bool v4 = !src->q[0] && src->w[2] == RTE_BE32(0xffff);
	uint64_t need = v4 ? RTE_ETH_RSS_NONFRAG_IPV4_TCP : RTE_ETH_RSS_NONFRAG_IPV6_TCP;
	/* Input of the Toeplitz hash: addresses and ports in their order on the wire, as words of
	 * the host. */
	uint32_t in[9], n = 0;

	if (!d->reta_size || !(d->rss_hf & need))
		return -1;
	for (int i = v4 ? 3 : 0; i < 4; i++)
		in[n++] = rte_be_to_cpu_32(src->w[i]);
	for (int i = v4 ? 3 : 0; i < 4; i++)
		in[n++] = rte_be_to_cpu_32(dst->w[i]);
	in[n++] = (uint32_t)rte_be_to_cpu_16(sport) << 16 | rte_be_to_cpu_16(dport);
	return (int)(rte_softrss(in, n, d->key) % d->reta_size);
}

static int ethdev_steer(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sport, uint16_t dport)
{
	const struct ethdev *d = ctx;
	int i = ethdev_entry(d, src, dst, sport, dport);

	return i >= 0 && d->reta[i] < d->nq ? d->reta[i] : -1;
}

static int ethdev_arrives(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sport, uint16_t dport)
{
	const struct ethdev *d = ctx;
	int i = ethdev_entry(d, src, dst, sport, dport);
	uint16_t q = i < 0 ? d->nq : __atomic_load_n(&d->reta_now[i], __ATOMIC_RELAXED);

	return q < d->nq ? q : -1;
}

/* Rewrites the port's table: entries of queues that are to have nothing go to the others in turn. */
static int ethdev_spread(void *ctx, uint64_t queues)
{
	struct rte_eth_rss_reta_entry64 r[ETHDEV_RETA_MAX / RTE_ETH_RETA_GROUP_SIZE] = {0};
	struct ethdev *d = ctx;
	unsigned int next = 0;
	int rc;

	queues &= d->nq < 64 ? (1ull << d->nq) - 1 : UINT64_MAX;
	if (!queues)
		return -EINVAL;
	if (!d->reta_size || !d->ours)
		return -ENOTSUP; /* an adopted port's table is not ours to write */
	for (uint16_t i = 0; i < d->reta_size; i++) {
		uint16_t q = d->reta[i];

		if (q < 64 && !(queues >> q & 1)) {
			while (!(queues >> next & 1))
				next = (next + 1) % d->nq;
			q = (uint16_t)next;
			next = (next + 1) % d->nq;
		}
		r[i / RTE_ETH_RETA_GROUP_SIZE].mask |= 1ull << (i % RTE_ETH_RETA_GROUP_SIZE);
		r[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] = q;
	}
	pthread_mutex_lock(&d->table_lock);
	/* A port that is being reset gets it with its table. */
	rc = d->down ? 0 : rte_eth_dev_rss_reta_update(d->port_id, r, d->reta_size);
	for (uint16_t i = 0; !rc && i < d->reta_size; i++)
		__atomic_store_n(&d->reta_now[i],
		    r[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE],
		    __ATOMIC_RELAXED);
	pthread_mutex_unlock(&d->table_lock);
	return rc;
}

static int ethdev_callback(uint16_t port_id, enum rte_eth_event_type ev, void *arg, void *ret)
{
	struct ethdev *d = arg;

	if (ev == RTE_ETH_EVENT_INTR_RESET)
		atomic_store_explicit(&d->reset, true, memory_order_release);
	else if (ev == RTE_ETH_EVENT_INTR_RMV)
		atomic_store_explicit(&d->removed, true, memory_order_release);
	return 0;
}

static void ethdev_events(void *ctx, void (*event)(void *arg, enum sluice_port_event ev), void *arg)
{
	struct ethdev *d = ctx;
	bool up;

	if (atomic_exchange_explicit(&d->removed, false, memory_order_acq_rel)) {
		event(arg, SLUICE_PORT_REMOVED);
		return;
	}
	if (atomic_exchange_explicit(&d->reset, false, memory_order_acq_rel))
		event(arg, SLUICE_PORT_RESET);
	/* Drivers without a link interrupt tell only when asked. */
	up = ethdev_link(d);
	if (up != atomic_exchange_explicit(&d->link_up, up, memory_order_relaxed))
		event(arg, up ? SLUICE_PORT_LINK_UP : SLUICE_PORT_LINK_DOWN);
}

/* ---- life ---- */

/* A callback that runs just now holds up its removal: -EAGAIN. After that it cannot run any more.
 */
static void ethdev_unregister(struct ethdev *d, enum rte_eth_event_type ev)
{
	for (int i = 0; i < ETHDEV_UNREGISTER_TRIES; i++) {
		if (rte_eth_dev_callback_unregister(d->port_id, ev, ethdev_callback, d) != -EAGAIN)
			return;
	}
}

static void ethdev_destroy(void *ctx)
{
	struct ethdev *d = ctx;

	if (d->callbacks) {
		ethdev_unregister(d, RTE_ETH_EVENT_INTR_RESET);
		ethdev_unregister(d, RTE_ETH_EVENT_INTR_RMV);
	}
	if (d->q)
		ethdev_intr_fini(d);
	if (d->ours && d->started) {
		rte_eth_dev_stop(d->port_id);
		rte_eth_dev_close(d->port_id);
	} else if (!d->ours && d->allmulti_set) {
		rte_eth_allmulticast_disable(d->port_id);
	}
	pthread_mutex_destroy(&d->table_lock);
	free(d->reta);
	free(d->reta_now);
	free(d->q);
	free(d);
}

static const struct sluice_driver_ops ethdev_ops = {
    .size = sizeof(struct sluice_driver_ops),
    .name = "ethdev",
    .rx = ethdev_rx,
    .tx = ethdev_tx,
    .info = ethdev_info,
    .stats = ethdev_stats,
    .arm = ethdev_arm,
    .disarm = ethdev_disarm,
    .idle = ethdev_idle,
    .steer = ethdev_steer,
    .spread = ethdev_spread,
    .arrives = ethdev_arrives,
    .events = ethdev_events,
    .reset = ethdev_reset,
    .destroy = ethdev_destroy,
};

int sluice_ethdev_create(const struct sluice_ethdev_params *p, struct sluice_driver *out)
{
	struct ethdev *d;
	int rc;

	if (!p || p->size < sizeof(*p) || !out || !p->nqueues || p->nqueues > SLUICE_PORT_QUEUES ||
	    (!p->adopt && !p->rx_pool))
		return -EINVAL;
	if (!rte_eth_dev_is_valid_port(p->port_id))
		return -ENODEV;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->ops = ethdev_ops;
	pthread_mutex_init(&d->table_lock, NULL);
	d->p = *p;
	d->p.rss_key = NULL;
	d->port_id = p->port_id;
	d->nq = p->nqueues;
	d->ours = !p->adopt;
	d->l3 = p->l3;
	d->q = aligned_alloc(64, d->nq * sizeof(d->q[0]));
	if (d->q)
		memset(d->q, 0, d->nq * sizeof(d->q[0]));
	rc = d->q ? ethdev_setup(d, p) : -ENOMEM;
	if (rc) {
		/* The port may be started, but stays open: the caller may try again. */
		if (d->started)
			rte_eth_dev_stop(d->port_id);
		d->started = false;
		ethdev_destroy(d);
		return rc;
	}
	if (!d->ours)
		d->ops.reset = NULL; /* who set it up does that */
	if (p->rx_intr)
		ethdev_intr_init(d);
	if (d->nq == 1) {
		d->ops.steer = d->ops.arrives = NULL;
		d->ops.spread = NULL;
	}
	atomic_init(&d->link_up, ethdev_link(d));
	d->callbacks = true;
	rte_eth_dev_callback_register(d->port_id, RTE_ETH_EVENT_INTR_RESET, ethdev_callback, d);
	rte_eth_dev_callback_register(d->port_id, RTE_ETH_EVENT_INTR_RMV, ethdev_callback, d);
	out->ops = &d->ops;
	out->ctx = d;
	return 0;
}
