/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets out. sl_flow_ready answers whether a segment can go now, from the flow's cached
 * neighbour; sl_flow_send then cannot fail: it prepends the IP header, makes the checksums (or
 * leaves them to the port), copies the neighbour's finished L2 header in front, and stages the
 * frame. Chains that the port cannot send are copied into one buffer.
 */
#include "ip_priv.h"

#define TX_FLAGS_TCP4 (RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM)
#define TX_FLAGS_TCP6 (RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_TCP_CKSUM)

/* Bytes in front of the packet; sl_hdr_alloc left room for all headers. */
static inline uint8_t *front(struct rte_mbuf *m, unsigned int n)
{
	m->data_off = (uint16_t)(m->data_off - n);
	m->data_len = (uint16_t)(m->data_len + n);
	m->pkt_len += n;
	return rte_pktmbuf_mtod(m, uint8_t *);
}

static inline void put4(uint8_t *h, uint32_t src, uint32_t dst, uint8_t proto, uint8_t tos,
    uint8_t ttl, uint32_t len, bool sum)
{
	/* RFC 6864 4.1: an atomic datagram, DF, needs no ID. */
	const uint32_t w[5] = {htonl(0x45000000u | (uint32_t)tos << 16 | len), htonl(0x4000),
	    htonl((uint32_t)ttl << 24 | (uint32_t)proto << 16), src, dst};
	uint16_t c;

	memcpy(h, w, sizeof(w));
	if (sum) {
		c = (uint16_t)~ip_fold((uint64_t)w[0] + w[1] + w[2] + w[3] + w[4]);
		memcpy(h + 10, &c, 2);
	}
}

void ip_put6(uint8_t *h, const struct sluice_addr *s, const struct sluice_addr *d, uint8_t proto,
    uint8_t hops, uint32_t len)
{
	wr32(h, 6u << 28);
	wr16(h + 4, (uint16_t)len);
	h[6] = proto;
	h[7] = hops;
	memcpy(h + 8, s, 16);
	memcpy(h + 24, d, 16);
	if (SL_UNLIKELY(sl_addr_zone(s) != 0))
		wr16(h + 10, 0);
	if (SL_UNLIKELY(sl_addr_zone(d) != 0))
		wr16(h + 26, 0);
}

#define FETCH 3u /* how far ahead what the pool will give is fetched */

/* From this lcore's cache of the pool; of many in flight what comes next is in no other cache. */
static inline struct rte_mbuf *take(struct rte_mempool *mp)
{
	struct rte_mempool_cache *c = rte_mempool_default_cache(mp, rte_lcore_id());
	const char *next;

	if (SL_UNLIKELY(c == NULL || c->len <= FETCH))
		return rte_mbuf_raw_alloc(mp);
	next = c->objs[c->len - 1 - FETCH];
	rte_prefetch0(next);
	rte_prefetch0(next + 64);
	rte_prefetch0(next + sizeof(struct rte_mbuf) + SL_IP_HEADROOM);
	return c->objs[--c->len];
}

struct rte_mbuf *sl_hdr_alloc(struct sluice_squeue *sq)
{
	struct rte_mbuf *m = take(sq->stack->params.hdr_pool);

	if (SL_UNLIKELY(m == NULL)) {
		SL_COUNT(sq, port_tx_nomem);
		return NULL;
	}
	rte_pktmbuf_reset(m);
	if (RTE_PKTMBUF_HEADROOM < SL_IP_HEADROOM)
		m->data_off = SL_IP_HEADROOM;
	return m;
}

/* ---- what a port cannot send is copied ---- */

static bool sendable(const struct sluice_port_info *info, const struct rte_mbuf *m)
{
	if (m->nb_segs > 1 && !(info->caps & SLUICE_CAP_TX_MULTISEG))
		return false;
	if (info->tso_max_segs != 0 && m->nb_segs > info->tso_max_segs)
		return false;
	if (info->caps & SLUICE_CAP_TX_INDIRECT)
		return true;
	for (; m != NULL; m = m->next)
		if (!RTE_MBUF_DIRECT(m))
			return false;
	return true;
}

static struct rte_mbuf *linear_from(struct rte_mempool *mp, const struct rte_mbuf *m)
{
	struct rte_mbuf *c;
	const void *src;

	if (mp == NULL || rte_pktmbuf_data_room_size(mp) < RTE_PKTMBUF_HEADROOM + m->pkt_len)
		return NULL;
	c = rte_pktmbuf_alloc(mp);
	if (c == NULL)
		return NULL;
	if (rte_pktmbuf_tailroom(c) < m->pkt_len) {
		rte_pktmbuf_free(c);
		return NULL;
	}
	src = rte_pktmbuf_read(m, 0, m->pkt_len, rte_pktmbuf_mtod(c, void *));
	if (src != rte_pktmbuf_mtod(c, void *))
		memcpy(rte_pktmbuf_mtod(c, void *), src, m->pkt_len);
	c->data_len = (uint16_t)m->pkt_len;
	c->pkt_len = m->pkt_len;
	c->ol_flags = m->ol_flags & ~(RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL);
	c->tx_offload = m->tx_offload;
	return c;
}

static struct rte_mbuf *linearize(
    struct sluice_squeue *sq, const struct sluice_port_info *info, struct rte_mbuf *m)
{
	struct rte_mbuf *c = linear_from(sq->stack->params.hdr_pool, m);

	if (c == NULL)
		c = linear_from(ip_data_pool(sq), m);
	if (c == NULL &&
	    (info->caps & SLUICE_CAP_TX_MULTISEG)) { /* too long for one buffer: a direct chain */
		c = rte_pktmbuf_copy(m, ip_data_pool(sq), 0, UINT32_MAX);
		if (c != NULL && !sendable(info, c)) {
			rte_pktmbuf_free(c);
			c = NULL;
		}
	}
	if (c == NULL)
		SL_COUNT(sq, port_tx_nomem); /* lost like on any wire: TCP sends it again */
	else
		SL_COUNT(sq, port_tx_linearized);
	rte_pktmbuf_free(m);
	return c;
}

void ip_push(struct sluice_squeue *sq, uint16_t port, struct rte_mbuf *m)
{
	const struct sluice_port_info *info = &sq->port[port].info;

	if (SL_UNLIKELY((m->nb_segs > 1 || !RTE_MBUF_DIRECT(m)) && !sendable(info, m))) {
		m = linearize(sq, info, m);
		if (m == NULL)
			return;
	}
	if (!sl_tx_push(sq, port, m))
		ip_drop(sq, m, &sq->ctr.port_tx_ctl_drops);
}

static void push_local(struct sluice_squeue *sq, uint32_t vrf, uint16_t ifidx, struct rte_mbuf *m)
{
	struct sl_ip *ip = sq->ip;

	if (ip->nlocal >= sq->tun.ip_loop_max) {
		ip_drop(sq, m, &sq->ctr.ip_loop_drops);
		return;
	}
	SL_COUNT(sq, ip_out_local);
	m->packet_type = IP_MARK | IP_MARK_LOCAL;
	m->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
	sl_pkt_word(m)[0] = vrf;
	sl_pkt_word(m)[1] = ifidx;
	sl_pkt_set_next(m, NULL);
	if (ip->local_head == NULL)
		ip->local_head = m;
	else
		sl_pkt_set_next(ip->local_tail, m);
	ip->local_tail = m;
	ip->nlocal++;
}

/* ---- flows ---- */

int sl_flow_ready(struct sluice_squeue *sq, struct sl_flow *f, const struct sl_key *key)
{
	struct sl_ip *ip = sq->ip;
	struct neigh *n;
	int rc;

	if (SL_LIKELY(f->gen == ip->generation && f->state == SL_FLOW_OK)) {
		if (f->nh == 0) /* a raw IP port */
			return sl_flow_room(sq, f) > 0 ? 0 : -EAGAIN;
		n = ip_neigh_of(ip, f->nh);
		if (SL_LIKELY(n != NULL && n->state != NEIGH_STALE))
			return SL_LIKELY(sl_tx_room(sq, n->port) > 0) ? 0 : -EAGAIN;
	}
	if (f->wpprev != NULL && f->gen == ip->generation)
		return -EINPROGRESS;
	rc = sl_flow_resolve(sq, f, key);
	if (rc < 0)
		return rc;
	return sl_flow_room(sq, f) > 0 ? 0 : -EAGAIN;
}

unsigned int sl_flow_port(const struct sluice_squeue *sq, const struct sl_flow *f)
{
	const struct sl_cfg *c = &sq->ip->snap->cfg;

	if (f->state == SL_FLOW_LOCAL || f->ifidx >= c->nifs || c->ifs[f->ifidx].port >= sq->nports)
		return SL_MAX_PORTS;
	return c->ifs[f->ifidx].port;
}

uint32_t sl_ip_generation(const struct sluice_squeue *sq)
{
	return sq->ip->generation;
}

unsigned int sl_flow_room(struct sluice_squeue *sq, const struct sl_flow *f)
{
	const struct sl_ip *ip = sq->ip;
	const struct sl_cfg *c = &ip->snap->cfg;

	if (f->state == SL_FLOW_LOCAL)
		return ip->nlocal < sq->tun.ip_loop_max
			   ? (unsigned int)(sq->tun.ip_loop_max - ip->nlocal)
			   : 0;
	if (f->ifidx >= c->nifs || c->ifs[f->ifidx].port >= sq->nports)
		return 0;
	return sl_tx_room(sq, c->ifs[f->ifidx].port);
}

/* TCP checksum: by the port (pseudo-header sum only, without length for TSO), in software, or not
 * at all. m begins at the TCP header. */
static inline void tcp_cksum(struct rte_mbuf *m, const struct sl_key *key, uint32_t caps,
    uint8_t th_len, uint16_t tso_mss, bool v4)
{
	bool port = (caps & SLUICE_CAP_TX_L4_CKSUM) || tso_mss > 0;
	uint8_t *th = rte_pktmbuf_mtod(m, uint8_t *);
	uint32_t len = tso_mss > 0 ? 0 : m->pkt_len;
	uint64_t pseudo;
	uint16_t sum;

	if (!port && (caps & SLUICE_CAP_PERFECT))
		return;
	pseudo = v4 ? ip_pseudo4(key->laddr.w[3], key->raddr.w[3], PROTO_TCP, len)
		    : ip_pseudo(&key->laddr, &key->raddr, PROTO_TCP, len);
	if (port) {
		m->ol_flags |= v4 ? TX_FLAGS_TCP4 : TX_FLAGS_TCP6;
		m->l3_len = v4 ? IP4_HLEN : IP6_HLEN;
		m->l4_len = th_len;
		sum = ip_fold(pseudo);
	} else if (SL_LIKELY(m->nb_segs == 1)) {
		sum = (uint16_t)~ip_fold(ip_sum_add(pseudo, ip_sum(th, len)));
	} else {
		sum = (uint16_t)~ip_sum_mbuf(m, 0, len, ip_fold(pseudo));
	}
	if (tso_mss > 0) {
		m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | (v4 ? RTE_MBUF_F_TX_IP_CKSUM : 0);
		m->tso_segsz = tso_mss;
	}
	memcpy(th + 16, &sum, 2);
}

static inline void ip_header(struct rte_mbuf *m, uint8_t *h, const struct sl_flow *f,
    const struct sl_key *key, uint32_t len, uint32_t caps, uint16_t tso_mss, bool v4)
{
	bool hw = (caps & SLUICE_CAP_TX_IP4_CKSUM) || tso_mss > 0;
	bool none = (caps & SLUICE_CAP_PERFECT) != 0;

	if (v4) {
		put4(h, key->laddr.w[3], key->raddr.w[3], PROTO_TCP, f->tos, f->ttl, len + IP4_HLEN,
		    !hw && !none);
		if (hw && !none) {
			m->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
			m->l3_len = IP4_HLEN;
		}
		return;
	}
	ip_put6(h, &key->laddr, &key->raddr, PROTO_TCP, f->ttl, len);
	wr32(h, 6u << 28 | (uint32_t)f->tos << 20 | (ntohl(f->flowlabel) & 0xfffff));
}

/* To a port, over neighbour n (NULL: a raw IP port). Made twice, once for each family. */
static inline __attribute__((always_inline)) void send_port(struct sluice_squeue *sq,
    const struct sl_flow *f, const struct sl_key *key, struct rte_mbuf *m, const struct neigh *n,
    uint16_t port, uint8_t th_len, uint16_t tso_mss, bool v4)
{
	unsigned int hl = v4 ? IP4_HLEN : IP6_HLEN, l2len = n != NULL ? n->l2len : 0;
	uint32_t caps = sq->port[port].info.caps, len = m->pkt_len;
	uint8_t *p;

	tcp_cksum(m, key, caps, th_len, tso_mss, v4);
	p = front(m, l2len + hl);
	ip_header(m, p + l2len, f, key, len, caps, tso_mss, v4);
	if (SL_LIKELY(l2len == ETH_HLEN)) /* a length that the compiler knows */
		memcpy(p, n->l2, ETH_HLEN);
	else if (n != NULL)
		memcpy(p, n->l2, l2len);
	if (m->ol_flags & (RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM))
		m->l2_len = l2len;
	ip_push(sq, port, m);
}

void sl_flow_send(struct sluice_squeue *sq, struct sl_flow *f, const struct sl_key *key,
    struct rte_mbuf *m, uint8_t th_len, uint16_t tso_mss)
{
	struct sl_ip *ip = sq->ip;
	struct neigh *n = NULL;
	bool v4 = sl_addr_is4(&key->raddr);
	uint16_t port;

	SL_CHECK(m->data_len >= th_len && rte_pktmbuf_headroom(m) >= IP6_HLEN + L2_MAX);
	SL_COUNT(sq, ip_out);
	m->tx_offload = 0;
	m->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
	if (SL_UNLIKELY(f->state == SL_FLOW_LOCAL)) {
		uint32_t len = m->pkt_len;

		ip_header(
		    m, front(m, v4 ? IP4_HLEN : IP6_HLEN), f, key, len, SLUICE_CAP_PERFECT, 0, v4);
		push_local(sq, key->vrf, f->ifidx, m);
		return;
	}
	if (SL_LIKELY(f->nh != 0)) {
		n = ip_neigh_of(ip, f->nh);
		if (SL_UNLIKELY(n == NULL)) {
			ip_drop(sq, m, &sq->ctr.ip_out_no_neigh);
			return;
		}
		n->used = sq->now;
		port = n->port;
	} else {
		port = ip->snap->cfg.ifs[f->ifidx].port;
	}
	if (SL_LIKELY(v4))
		send_port(sq, f, key, m, n, port, th_len, tso_mss, true);
	else
		send_port(sq, f, key, m, n, port, th_len, tso_mss, false);
}

/* A flow for one packet; nothing waits. False: counted, m is still the caller's. */
static bool one_shot(struct sluice_squeue *sq, struct sl_flow *f, const struct sl_key *key,
    int scope, struct sluice_addr *hop)
{
	struct neigh *n;

	if (ip_route_flow(sq, f, key, hop, scope) < 0) {
		SL_COUNT(sq, ip_out_no_route);
		return false;
	}
	if (f->state != SL_FLOW_NEW)
		return true;
	n = ip_neigh_get(sq, f->ifidx, hop);
	if (n == NULL || n->state == NEIGH_INCOMPLETE) {
		SL_COUNT(sq, ip_out_no_neigh);
		return false;
	}
	if (n->state == NEIGH_STALE)
		ip_neigh_probe(sq, n);
	f->nh = ip_neigh_name(n);
	f->state = SL_FLOW_OK;
	return true;
}

void sl_ip_send_stateless(struct sluice_squeue *sq, const struct sl_key *key, struct rte_mbuf *m,
    uint8_t th_len, uint8_t tos)
{
	struct sl_flow f = {.ttl = (uint8_t)sq->tun.ip_ttl, .tos = tos};
	struct sluice_addr hop;

	if (!one_shot(sq, &f, key, -1, &hop)) {
		rte_pktmbuf_free(m);
		return;
	}
	sl_flow_send(sq, &f, key, m, th_len, 0);
}

/* A finished IP packet along a one-shot flow. */
static void emit(
    struct sluice_squeue *sq, const struct sl_flow *f, uint32_t vrf, struct rte_mbuf *m)
{
	SL_COUNT(sq, ip_out);
	m->tx_offload = 0;
	m->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
	if (f->state == SL_FLOW_LOCAL) {
		push_local(sq, vrf, f->ifidx, m);
		return;
	}
	if (f->nh != 0) {
		struct neigh *n = ip_neigh_at(sq->ip, f->nh & NEIGH_IDX_MASK);

		memcpy(rte_pktmbuf_prepend(m, n->l2len), n->l2, n->l2len);
		n->used = sq->now;
	}
	ip_push(sq, sq->ip->snap->cfg.ifs[f->ifidx].port, m);
}

/* Header of a fragment: `at` bytes into the payload, id, more to come. RFC 791 3.2, RFC 8200 4.5. */
static void frag_header(struct rte_mbuf *m, const struct sl_flow *f, const struct sl_key *key,
    uint8_t proto, uint32_t at, uint32_t id, bool more)
{
	uint32_t len = m->pkt_len;
	uint16_t c;
	uint8_t *h;

	if (sl_addr_is4(&key->raddr)) {
		h = (uint8_t *)rte_pktmbuf_prepend(m, IP4_HLEN);
		put4(h, key->laddr.w[3], key->raddr.w[3], proto, f->tos, f->ttl, len + IP4_HLEN,
		    false);
		wr16(h + 4, (uint16_t)id);
		wr16(h + 6, (uint16_t)(at / 8 | (more ? 0x2000u : 0)));
		c = (uint16_t)~ip_sum_header(h);
		memcpy(h + 10, &c, 2);
		return;
	}
	h = (uint8_t *)rte_pktmbuf_prepend(m, IP6_HLEN + IP6_FRAG_HLEN);
	ip_put6(h, &key->laddr, &key->raddr, PROTO_FRAG, f->ttl, len + IP6_FRAG_HLEN);
	h += IP6_HLEN;
	h[0] = proto;
	h[1] = 0;
	wr16(h + 2, (uint16_t)(at | (more ? 1 : 0)));
	wr32(h + 4, id);
}

/*
 * Longer than the path takes: pieces, copied, as this is rare. All or none, as far as room to
 * transmit goes. IPv4's ID counts, so that it does not come again soon (RFC 6864 4.3); IPv6's is
 * random (RFC 7739).
 */
static void fragment(struct sluice_squeue *sq, const struct sl_flow *f, const struct sl_key *key,
    uint8_t proto, uint32_t mtu, struct rte_mbuf *m)
{
	bool v4 = sl_addr_is4(&key->raddr);
	uint32_t step = (mtu - (v4 ? IP4_HLEN : IP6_HLEN + IP6_FRAG_HLEN)) & ~7u, len = m->pkt_len;
	uint32_t id =
	    v4 ? sq->ip->frag_id++ * sq->stack->nsq + sq->id : (uint32_t)sl_rng_u64(&sq->rng);

	if (sl_flow_room(sq, f) < (len + step - 1) / step) {
		ip_drop(sq, m, &sq->ctr.port_tx_ctl_drops);
		return;
	}
	for (uint32_t at = 0; at < len; at += step) {
		struct rte_mbuf *c =
		    rte_pktmbuf_copy(m, ip_data_pool(sq), at, RTE_MIN(step, len - at));

		if (c == NULL) {
			SL_COUNT(sq, port_tx_nomem);
			break;
		}
		SL_COUNT(sq, ip_frag_out);
		frag_header(c, f, key, proto, at, id, at + step < len);
		emit(sq, f, key->vrf, c);
	}
	rte_pktmbuf_free(m);
}

void ip_send(struct sluice_squeue *sq, uint32_t vrf, int scope, const struct sluice_addr *src,
    const struct sluice_addr *dst, uint8_t proto, uint8_t tos, struct rte_mbuf *m)
{
	struct sl_flow f = {.ttl = (uint8_t)sq->tun.ip_ttl, .tos = tos};
	struct sl_key key = {.laddr = sl_addr_zoned(*src, (unsigned int)(scope + 1)),
	    .raddr = sl_addr_zoned(*dst, (unsigned int)(scope + 1)),
	    .vrf = vrf};
	uint32_t len = m->pkt_len, hl = sl_addr_is4(dst) ? IP4_HLEN : IP6_HLEN, mtu;
	struct sluice_addr hop;
	uint8_t *h;

	if (!one_shot(sq, &f, &key, scope, &hop)) {
		rte_pktmbuf_free(m);
		return;
	}
	mtu = f.mtu;
	/* Nobody keeps a path MTU for these; off the link, what every IPv6 link takes (RFC 8201 4). */
	if (hl == IP6_HLEN && f.state != SL_FLOW_LOCAL && !sl_addr_eq(&hop, dst))
		mtu = RTE_MIN(mtu, (uint32_t)IP6_MIN_MTU);
	if (len + hl > mtu) {
		fragment(sq, &f, &key, proto, mtu, m);
		return;
	}
	h = (uint8_t *)rte_pktmbuf_prepend(m, (uint16_t)hl);
	if (hl == IP4_HLEN)
		put4(h, src->w[3], dst->w[3], proto, tos, f.ttl, len + hl, true);
	else
		ip_put6(h, src, dst, proto, f.ttl, len);
	emit(sq, &f, vrf, m);
}
