/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The IP layer: everything between a driver's frame and a TCP segment, both ways, for both
 * families.
 *
 * One struct sl_ip per squeue, touched only by its owner. Configuration comes as an immutable
 * snapshot (snap.c) that is swapped between two passes; `generation` then moves, and each flow
 * routes again when it next wants to send. Nothing is pushed to flows, so a change costs nothing for
 * connections that are idle.
 *
 *	in:	eth.c (tags, whose interface, ARP)
 *		-> ipv4.c / ipv6.c (checks, options; fragments to reasm.c)
 *		-> ip_tcp: which squeue (steer.c), checksum, batch -> the tcp_input hook, once a burst
 *		-> icmp.c (echo, errors to their connection) -> nd.c
 *	out:	sl_flow_ready (cached next hop; route.c, neigh.c when it is out of date)
 *		-> sl_flow_send (output.c)
 *	self:	packets to our own addresses stand in a bounded queue and run through the same input
 *		once a pass
 *
 * A frame is not changed before it is known to be ours, so that what is not can go to the embedder
 * as it came. Every offset is checked against pkt_len, and headers are pulled into the first mbuf
 * before a byte of them is read.
 *
 * What waits for a neighbour is the flow, never a packet: an attacker who makes us talk to absent
 * hosts can fill the (bounded) neighbour table but holds no buffer.
 */
#include "ip_priv.h"

bool sl_addr_multicast(const struct sluice_addr *a)
{
	if (sl_addr_is4(a))
		return (a->b[12] & 0xf0) == 0xe0 || a->w[3] == 0xffffffffu;
	return a->b[0] == 0xff;
}

void ip_drop(struct sluice_squeue *sq, struct rte_mbuf *m, uint64_t *counter)
{
	sl_ctr_add(counter, 1);
	rte_pktmbuf_free(m);
}

struct rte_mempool *ip_data_pool(const struct sluice_squeue *sq)
{
	const struct sluice_stack_params *p = &sq->stack->params;

	return p->data_pool != NULL ? p->data_pool : p->hdr_pool;
}

/* Not the stack's: to the embedder, else counted and freed. True when the embedder has it. */
bool ip_foreign(struct ip_in *in, struct rte_mbuf *m, uint64_t *counter)
{
	struct sluice_squeue *sq = in->sq;
	const struct sluice_stack_params *p = &sq->stack->params;

	if (in->port < SL_MAX_PORTS) {
		if (in->back != NULL) {
			SL_COUNT(sq, eth_in_passed);
			in->back[in->nback++] = m;
			return true;
		}
		if (p->foreign != NULL && p->foreign(p->foreign_arg, sq, in->port, m)) {
			SL_COUNT(sq, eth_in_passed);
			return true;
		}
	}
	ip_drop(sq, m, counter);
	return false;
}

/* Strip the first n bytes of a chain, segments that become empty included. */
static struct rte_mbuf *chain_strip(struct rte_mbuf *m, uint32_t n)
{
	while (m != NULL && n >= m->data_len) {
		struct rte_mbuf *next = m->next;

		n -= m->data_len;
		m->next = NULL;
		m->nb_segs = 1;
		rte_pktmbuf_free_seg(m);
		m = next;
	}
	if (m != NULL) {
		m->data_off = (uint16_t)(m->data_off + n);
		m->data_len = (uint16_t)(m->data_len - n);
	}
	return m;
}

/* The first `need` bytes are not all in the first mbuf. */
bool ip_pull_slow(struct sluice_squeue *sq, struct rte_mbuf **pm, uint32_t need)
{
	struct rte_mbuf *m = *pm, *h, *rest;
	uint16_t segs = 1;
	const void *src;

	if (m->pkt_len < need)
		return false;
	h = rte_pktmbuf_alloc(ip_data_pool(sq));
	if (h == NULL || rte_pktmbuf_tailroom(h) < need) {
		SL_COUNT(sq, port_tx_nomem);
		rte_pktmbuf_free(h);
		return false;
	}
	/* Empty leading segments: what is read may lie whole in a later one, and is then not
	 * copied. */
	src = rte_pktmbuf_read(m, 0, need, rte_pktmbuf_mtod(h, void *));
	if (src != rte_pktmbuf_mtod(h, void *))
		memcpy(rte_pktmbuf_mtod(h, void *), src, need);
	h->data_len = (uint16_t)need;
	h->pkt_len = m->pkt_len;
	h->ol_flags = m->ol_flags & ~(RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL);
	h->port = m->port;
	h->packet_type = m->packet_type;
	h->vlan_tci = m->vlan_tci;
	h->vlan_tci_outer = m->vlan_tci_outer;
	h->hash = m->hash;
	rest = chain_strip(m, need);
	h->next = rest;
	for (; rest != NULL; rest = rest->next)
		segs++;
	h->nb_segs = segs;
	*pm = h;
	return true;
}

bool ip_rate(struct ip_bucket *b, uint64_t now, uint64_t rate)
{
	const uint64_t one = 1000000000ull;
	uint64_t dt = now - b->last, max = (rate / 10 + 1) * one;

	if (rate == 0)
		return false;
	if (b->last == 0 || dt > one)
		b->credit = max;
	else
		b->credit = RTE_MIN(max, b->credit + dt * rate);
	b->last = now;
	if (b->credit < one)
		return false;
	b->credit -= one;
	return true;
}

void ip_bump(struct sl_ip *ip)
{
	if (++ip->generation == 0)
		ip->generation = 1;
}

void ip_in_flush(struct ip_in *in)
{
	if (in->npkts == 0)
		return;
	in->sq->ip->hooks->tcp_input(in->sq, in->pkts, in->npkts);
	in->npkts = 0;
}

/* To another squeue: the frame as it came, or the bare IP packet when there is none (any more). */
void ip_forward(struct ip_in *in, const struct ip_pkt *p, unsigned int to, uint64_t *cause)
{
	bool local = (p->flags & SL_PKT_LOCAL) != 0;

	sl_ctr_add(cause, 1);
	p->m->packet_type = 0;
	if (p->reasm || local) {
		rte_pktmbuf_adj(p->m, (uint16_t)p->off); /* a frame's header is that of one part */
		p->m->packet_type = IP_MARK | (local ? IP_MARK_LOCAL : 0);
		sl_pkt_word(p->m)[0] = p->vrf;
		sl_pkt_word(p->m)[1] = p->ifidx;
	}
	sl_forward(in->sq, to, in->port < SL_MAX_PORTS ? in->port : 0, p->m);
}

/* 0: goes on here; 1: forwarded. */
static int tcp_route(struct ip_in *in, struct ip_pkt *p, const struct sl_key *key)
{
	uint64_t *cause;
	unsigned int to;

	if (in->sq->stack->nsq == 1)
		return 0;
	cause = ip_elsewhere(in->sq, in->port, key, in->forwarded && !p->whole, &to);
	if (cause == NULL)
		return 0;
	if (p->flags & SL_PKT_LOCAL)
		cause = &in->sq->ctr.steer_local;
	else if (p->whole)
		cause = &in->sq->ctr.steer_frag;
	ip_forward(in, p, to, cause);
	return 1;
}

static bool tcp_cksum_ok(const struct ip_pkt *p)
{
	uint64_t l4 = p->m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;

	/* Also NONE, which has this bit: the data is sound, only the sum was not written (virtio). */
	if (p->trusted || (l4 & RTE_MBUF_F_RX_L4_CKSUM_GOOD))
		return true;
	if (l4 == RTE_MBUF_F_RX_L4_CKSUM_BAD)
		return false;
	return ip_sum_mbuf(p->m, p->l4off, p->l4len,
		   ip_pseudo(&p->src, &p->dst, PROTO_TCP, p->l4len)) == 0xffff;
}

/* A TCP segment with sound IP headers: owner, header length, checksum; then it joins the batch. */
void ip_tcp(struct ip_in *in, struct ip_pkt *p)
{
	struct sluice_squeue *sq = in->sq;
	struct sl_pkt *o;
	struct sl_key key = {.laddr = sl_addr_zoned(p->dst, p->ifidx + 1u),
	    .raddr = sl_addr_zoned(p->src, p->ifidx + 1u),
	    .vrf = p->vrf};
	const uint8_t *th;
	uint32_t hl;

	if (p->l2multi) { /* RFC 1122 3.3.6: a broadcast frame carries no unicast packet */
		ip_drop(sq, p->m, &sq->ctr.eth_in_not_ours);
		return;
	}
	if (p->l4len < 20 || !ip_pull(sq, &p->m, p->l4off + 20)) {
		ip_drop(sq, p->m, &sq->ctr.tcp_in_hdr_errors);
		return;
	}
	th = rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->l4off);
	hl = (uint32_t)(th[12] >> 4) * 4;
	if (hl < 20 || hl > p->l4len || !ip_pull(sq, &p->m, p->l4off + hl)) {
		ip_drop(sq, p->m, &sq->ctr.tcp_in_hdr_errors);
		return;
	}
	th = rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->l4off);
	memcpy(&key.rport, th, 2);
	memcpy(&key.lport, th + 2, 2);
	if (tcp_route(in, p, &key))
		return;
	if (!tcp_cksum_ok(p)) {
		ip_drop(sq, p->m, &sq->ctr.tcp_in_bad_cksum);
		return;
	}
	if (in->npkts == SL_BURST)
		ip_in_flush(in);
	o = &in->pkts[in->npkts++];
	*o = (struct sl_pkt){.m = p->m,
	    .key = key,
	    .len = p->l4len,
	    .ifidx = p->ifidx,
	    .ttl = p->ttl,
	    .tos = p->tos,
	    .flags = p->flags,
	    .port = (uint8_t)in->port};
	if ((p->tos & 3) == 3)
		o->flags |= SL_PKT_CE;
	if (in->forwarded)
		o->flags |= SL_PKT_FORWARDED;
	if (p->m->ol_flags & RTE_MBUF_F_RX_LRO)
		o->flags |= SL_PKT_LRO;
	p->m->data_off = (uint16_t)(p->m->data_off + p->l4off);
	p->m->data_len = (uint16_t)(p->m->data_len - p->l4off);
	p->m->pkt_len -= p->l4off;
}

/* ---- entry points ---- */

/* Member by member: the batch itself is large and needs no zeroes. */
static void in_begin(struct ip_in *in, struct sluice_squeue *sq, unsigned int port,
    struct rte_mbuf **back, bool forwarded)
{
	in->sq = sq;
	in->back = back;
	in->nback = in->npkts = 0;
	in->port = port;
	in->forwarded = forwarded;
	in->ifx = in->plain = -1;
	in->dst.set = in->src.set = in->pair_set = false;
}

static void input_burst(struct ip_in *in, struct rte_mbuf **pkts, unsigned int n)
{
	uint32_t caps = in->port < SL_MAX_PORTS ? in->sq->port[in->port].info.caps : 0;

	if (in->port < SL_MAX_PORTS && !(caps & SLUICE_CAP_L3)) {
		in->vlan[0] = in->vlan[1] = SLUICE_VLAN_NONE;
		in->ifx = in->plain =
		    ip_find_if(in->sq->ip->snap, in->port, SLUICE_VLAN_NONE, SLUICE_VLAN_NONE);
		if (in->plain >= 0)
			in->mac = ip_word(in->sq->ip->snap->cfg.ifs[in->plain].mac) << 16;
	}
	for (unsigned int i = 0; i < n; i++) {
		if (i + 2 < n)
			__builtin_prefetch(rte_pktmbuf_mtod(pkts[i + 2], void *));
		if (SL_UNLIKELY(in->forwarded && (pkts[i]->packet_type & 0xff000000u) == IP_MARK))
			ip_marked_input(in, pkts[i]);
		else if (SL_UNLIKELY(in->plain < 0 || !ip_fast4(in, pkts[i], caps)))
			ip_eth_input(in, pkts[i]);
	}
	ip_in_flush(in);
}

void sl_ip_input(struct sluice_squeue *sq, unsigned int port, struct rte_mbuf **pkts,
    unsigned int n, bool forwarded)
{
	struct ip_in in;

	in_begin(&in, sq, port, NULL, forwarded);
	input_burst(&in, pkts, n);
}

/* Foreign frames are written over the front of pkts: never past the frame being looked at. */
unsigned int sl_ip_input_push(
    struct sluice_squeue *sq, unsigned int port, struct rte_mbuf **pkts, unsigned int n)
{
	struct ip_in in;

	in_begin(&in, sq, port, pkts, false);
	input_burst(&in, pkts, n);
	return in.nback;
}

unsigned int sl_ip_run_local(struct sluice_squeue *sq)
{
	struct sl_ip *ip = sq->ip;
	unsigned int n = ip->nlocal;
	struct ip_in in;

	if (n == 0)
		return 0;
	in_begin(&in, sq, SL_IP_PORT_NONE, NULL, false);
	/* Only what stands here now: answers to it run in the next pass. */
	for (unsigned int i = 0; i < n && ip->local_head != NULL; i++) {
		struct rte_mbuf *m = ip->local_head;

		ip->local_head = sl_pkt_next(m);
		ip->nlocal--;
		sl_pkt_set_next(m, NULL);
		ip_marked_input(&in, m);
	}
	ip_in_flush(&in);
	return n;
}

bool sl_ip_local_pending(const struct sluice_squeue *sq)
{
	return sq->ip->nlocal > 0;
}

/* ---- life ---- */

static void ip_timer(void *arg, struct sl_timer *t)
{
	struct sluice_squeue *sq = arg;

	if (t == &sq->ip->frag_timer) {
		ip_reasm_timer(sq);
		return;
	}
	if (t == &sq->ip->mld_timer) {
		ip_mld_timer(sq);
		return;
	}
	if (t == &sq->ip->pmtu_timer) {
		ip_bump(sq->ip);
		sq->ip->pmtu_gen = sq->ip->generation;
		sq->ip->pmtu_since = 0;
		return;
	}
	ip_dad_timer(sq, t);
}

int sl_ip_create(struct sluice_squeue *sq, const struct sl_ip_hooks *hooks)
{
	const struct sl_mem_ops *mem = &sq->stack->mem;
	struct sl_cfg none = {.tun = sq->tun};
	struct sl_ip *ip = mem->alloc != NULL ? mem->alloc(mem->arg, sizeof(*ip), 64)
					      : aligned_alloc(64, (sizeof(*ip) + 63) & ~(size_t)63);
	struct sl_cfg *cfg;

	if (ip == NULL)
		return -ENOMEM;
	memset(ip, 0, sizeof(*ip));
	ip->hooks = hooks;
	ip->generation = ip->pmtu_gen = 1;
	sq->ip = ip;
	cfg = sl_cfg_copy(&none);
	if (cfg == NULL || ip_neigh_init(sq) < 0) {
		free(cfg);
		if (mem->alloc != NULL)
			mem->free(mem->arg, ip, sizeof(*ip));
		else
			free(ip);
		sq->ip = NULL;
		return -ENOMEM;
	}
	ip->snap = (struct ip_snap *)cfg;
	sq->wheel.fn[SL_TIMER_NEIGH] = ip_neigh_timer;
	sq->wheel.arg[SL_TIMER_NEIGH] = sq;
	sq->wheel.fn[SL_TIMER_IP] = ip_timer;
	sq->wheel.arg[SL_TIMER_IP] = sq;
	ip->pmtu_timer.kind = ip->frag_timer.kind = ip->mld_timer.kind = SL_TIMER_IP;
	ip->frag_id = (uint32_t)sl_rng_u64(&sq->rng);
	return 0;
}

void sl_ip_destroy(struct sluice_squeue *sq)
{
	const struct sl_mem_ops *mem = &sq->stack->mem;
	struct sl_ip *ip = sq->ip;

	if (ip == NULL)
		return;
	while (ip->local_head != NULL) {
		struct rte_mbuf *m = ip->local_head;

		ip->local_head = sl_pkt_next(m);
		rte_pktmbuf_free(m);
	}
	sl_timer_cancel(&sq->wheel, &ip->pmtu_timer);
	sl_timer_cancel(&sq->wheel, &ip->frag_timer);
	sl_timer_cancel(&sq->wheel, &ip->mld_timer);
	ip_dad_stop(sq);
	ip_neigh_fini(sq);
	ip_reasm_fini(ip);
	free(ip->snap);
	sq->ip = NULL;
	if (mem->alloc != NULL)
		mem->free(mem->arg, ip, sizeof(*ip));
	else
		free(ip);
}

void sl_ip_config(struct sluice_squeue *sq, struct sl_cfg *cfg)
{
	struct sl_ip *ip = sq->ip;
	struct ip_snap *old = ip->snap;

	ip->snap = (struct ip_snap *)cfg;
	ip_bump(ip);
	ip_mld_config(sq, old); /* first: a switch must let the answers to our questions through */
	ip_dad_config(sq, old);
	ip_neigh_config(sq, old);
	free(old);
}

const struct sl_cfg *sl_ip_cfg(const struct sluice_squeue *sq)
{
	return &sq->ip->snap->cfg;
}

/* Which link does a link-local address mean that is said without one? The only one there is. */
int sl_ip_zone(struct sluice_squeue *sq, uint32_t vrf, const struct sluice_addr *a, uint32_t scope)
{
	const struct ip_snap *s = sq->ip->snap;
	int zone = 0;

	if (scope != 0)
		return scope <= s->cfg.nifs && s->cfg.ifs[scope - 1].used &&
			       s->cfg.ifs[scope - 1].vrf == vrf
			   ? (int)scope
			   : -EINVAL;
	for (uint32_t i = 0; i < s->cfg.naddrs; i++) {
		const struct sl_cfg_addr *r = &s->cfg.addrs[i];

		if (!r->linklocal || s->cfg.ifs[r->ifidx].vrf != vrf || r->ifidx + 1 == zone)
			continue;
		if (zone != 0)
			return -EINVAL;
		zone = r->ifidx + 1;
	}
	return zone == 0 ? -ENETUNREACH : zone;
}

int sl_ip_addr_state(struct sluice_squeue *sq, uint16_t ifidx, const struct sluice_addr *a)
{
	const struct ip_snap *s = sq->ip->snap;
	int row;

	if (ifidx >= s->cfg.nifs || !s->cfg.ifs[ifidx].used)
		return -ENOENT;
	row = ip_find_addr(s, s->cfg.ifs[ifidx].vrf, ifidx, a);
	return row < 0 ? -ENOENT : s->ast[row].state;
}
