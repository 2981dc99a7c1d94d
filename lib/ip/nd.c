/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Neighbour discovery (RFC 4861): solicitations and advertisements. Addresses are configured, so
 * router messages are counted and left alone. The validity checks are those of sections 7.1.1
 * and 7.1.2, all of them.
 */
#include "ip_priv.h"

#define NS 135
#define NA 136
#define NA_SOLICITED 0x40
#define NA_OVERRIDE 0x20

struct sluice_addr ip_solicited_node(const struct sluice_addr *a)
{
	struct sluice_addr g = {.b = {0xff, 0x02, [11] = 1, [12] = 0xff}};

	memcpy(&g.b[13], &a->b[13], 3);
	return g;
}

/* One ND packet of 24 bytes and, unless it comes from ::, our link-layer address as option. */
static void nd_send(struct sluice_squeue *sq, uint16_t ifidx, const uint8_t dmac[6],
    const struct sluice_addr *src, const struct sluice_addr *dst, uint8_t type, uint8_t flags,
    const struct sluice_addr *target)
{
	const struct sl_cfg_if *f = &sq->ip->snap->cfg.ifs[ifidx];
	struct rte_mbuf *m = sl_hdr_alloc(sq);
	uint32_t len = 24;
	unsigned int l2len;
	uint8_t *b;
	uint16_t c;

	if (m == NULL)
		return;
	b = rte_pktmbuf_mtod(m, uint8_t *);
	l2len = ip_eth_header(f, dmac, TYPE_IP6, b);
	b += l2len;
	memset(b + IP6_HLEN, 0, 32);
	b[IP6_HLEN] = type;
	b[IP6_HLEN + 4] = flags;
	memcpy(b + IP6_HLEN + 8, target, 16);
	if (!sl_addr_any(src)) {
		b[IP6_HLEN + 24] = type == NS ? 1 : 2;
		b[IP6_HLEN + 25] = 1;
		memcpy(b + IP6_HLEN + 26, f->mac, 6);
		len = 32;
	}
	ip_put6(b, src, dst, PROTO_ICMP6, 255, len);
	m->data_len = (uint16_t)(l2len + IP6_HLEN + len);
	m->pkt_len = m->data_len;
	c = (uint16_t)~ip_sum_mbuf(m, l2len + IP6_HLEN, len, ip_pseudo(src, dst, PROTO_ICMP6, len));
	memcpy(b + IP6_HLEN + 2, &c, 2);
	SL_COUNT(sq, nd_out);
	ip_push(sq, f->port, m);
}

void ip_nd_solicit(struct sluice_squeue *sq, uint16_t ifidx, const struct sluice_addr *target,
    const uint8_t *dmac, bool dad)
{
	const struct ip_snap *s = sq->ip->snap;
	struct sluice_addr src = {.q = {0, 0}}, dst = ip_solicited_node(target);
	uint8_t mac[6] = {0x33, 0x33};
	bool have = false;

	for (uint32_t i = 0; i < s->cfg.naddrs && !dad; i++) {
		const struct sl_cfg_addr *a = &s->cfg.addrs[i];
		bool same;

		if (a->ifidx != ifidx || sl_addr_is4(&a->addr) ||
		    s->ast[i].state != SLUICE_ADDR_READY)
			continue;
		same = ip_prefix_has(&a->addr, a->plen, target);
		if (!have || same)
			src = a->addr;
		have = true;
		if (same)
			break;
	}
	if (!dad && !have)
		/* A question from :: would look like duplicate detection: wait for an address */
		return;
	memcpy(mac + 2, &dst.b[12], 4);
	if (dmac != NULL)
		dst = *target;
	nd_send(sq, ifidx, dmac != NULL ? dmac : mac, &src, &dst, NS, 0, target);
}

/* Walk the options: lengths of 0 or beyond the end are malformed (4.6). *lla: the wanted link-layer
 * address. */
static bool options_ok(const uint8_t *o, uint32_t len, uint8_t want, const uint8_t **lla)
{
	*lla = NULL;
	for (uint32_t i = 0; i < len;) {
		uint32_t n;

		if (i + 8 > len)
			return false;
		n = (uint32_t)o[i + 1] * 8;
		if (n == 0 || i + n > len)
			return false;
		if (o[i] == want && n == 8)
			*lla = o + i + 2;
		i += n;
	}
	return *lla == NULL || !((*lla)[0] & 1);
}

static bool nd_valid(const struct ip_pkt *p, const uint8_t *b, const uint8_t **lla)
{
	struct sluice_addr target = rd_addr6(b + 8), group = ip_solicited_node(&target);
	bool ns = b[0] == NS;

	if (p->ttl != 255 || b[1] != 0 || target.b[0] == 0xff || sl_addr_is4(&target))
		return false;
	if (!options_ok(b + 24, p->l4len - 24u, ns ? 1 : 2, lla))
		return false;
	if (ns && sl_addr_any(&p->src))
		return sl_addr_eq(&p->dst, &group) && *lla == NULL;
	if (!ns && ((p->dst.b[0] == 0xff && (b[4] & NA_SOLICITED)) || sl_addr_any(&p->src)))
		return false;
	return true;
}

static const struct sluice_addr all_nodes = {.b = {0xff, 0x02, [15] = 1}};
static const uint8_t all_nodes_mac[6] = {0x33, 0x33, 0, 0, 0, 1};

void ip_nd_announce(struct sluice_squeue *sq, uint16_t ifidx, const struct sluice_addr *a)
{
	nd_send(sq, ifidx, all_nodes_mac, a, &all_nodes, NA, NA_OVERRIDE, a);
}

void ip_nd_conflict(struct ip_in *in, const struct ip_pkt *p)
{
	struct sluice_squeue *sq = in->sq;
	const struct ip_snap *s = sq->ip->snap;
	int row;

	/* From this link for sure (RFC 4861 3.1), and not our own frame come back. */
	if (p->proto != PROTO_ICMP6 || p->ttl != 255 || (p->flags & SL_PKT_LOCAL) ||
	    p->ifidx >= s->cfg.nifs || memcmp(p->smac, s->cfg.ifs[p->ifidx].mac, 6) == 0)
		return;
	row = ip_find_addr(s, p->vrf, p->ifidx, &p->src);
	if (row >= 0 && s->ast[row].state == SLUICE_ADDR_READY)
		ip_defend(sq, (uint32_t)row, !in->forwarded);
}

static void ns_input(
    struct ip_in *in, const struct ip_pkt *p, const struct sluice_addr *target, const uint8_t *lla)
{
	struct sluice_squeue *sq = in->sq;
	const struct ip_snap *s = sq->ip->snap;
	int row = ip_find_addr(s, p->vrf, p->ifidx, target);
	bool dad = sl_addr_any(&p->src);

	if (row < 0 || memcmp(p->smac, s->cfg.ifs[p->ifidx].mac, 6) == 0)
		return;
	if (s->ast[row].state == SLUICE_ADDR_TENTATIVE && dad)
		ip_dad_duplicate(
		    sq, (uint32_t)row); /* RFC 4862 5.4.3: both probe, neither gets it */
	if (s->ast[row].state != SLUICE_ADDR_READY)
		return;
	if (!dad && ip_on_link(s, p->ifidx, &p->src))
		ip_neigh_learn(
		    sq, p->ifidx, &p->src, lla != NULL ? lla : p->smac, true, false, true);
	if (in->forwarded)
		return;
	if (dad)
		ip_nd_announce(sq, p->ifidx, target);
	else
		nd_send(sq, p->ifidx, lla != NULL ? lla : p->smac, target, &p->src, NA,
		    NA_SOLICITED | NA_OVERRIDE, target);
}

static void na_input(struct ip_in *in, const struct ip_pkt *p, const struct sluice_addr *target,
    const uint8_t *lla, uint8_t flags)
{
	struct sluice_squeue *sq = in->sq;
	const struct ip_snap *s = sq->ip->snap;
	int row = ip_find_addr(s, p->vrf, p->ifidx, target);

	if (row >= 0) {
		if (memcmp(p->smac, s->cfg.ifs[p->ifidx].mac, 6) == 0)
			return;
		if (s->ast[row].state == SLUICE_ADDR_TENTATIVE)
			ip_dad_duplicate(sq, (uint32_t)row);
		else if (s->ast[row].state == SLUICE_ADDR_READY)
			ip_defend(sq, (uint32_t)row, !in->forwarded);
		return;
	}
	/* 7.2.5: without the option the sender's frame address serves a unicast answer (4.4). */
	if (lla != NULL || p->dst.b[0] != 0xff)
		ip_neigh_learn(sq, p->ifidx, target, lla != NULL ? lla : p->smac, false,
		    (flags & NA_SOLICITED) != 0, (flags & NA_OVERRIDE) != 0);
}

void ip_nd_input(struct ip_in *in, struct ip_pkt *p)
{
	struct sluice_squeue *sq = in->sq;
	struct sluice_addr target;
	const uint8_t *b, *lla;

	SL_COUNT(sq, nd_in);
	b = rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->l4off);
	if (b[0] != NS && b[0] != NA) {
		ip_drop(sq, p->m, &sq->ctr.icmp_in_ignored);
		return;
	}
	/* RFC 6980: discovery never comes in fragments; and not from ourselves. */
	if (p->reasm || p->l4len < 24 || !ip_pull(sq, &p->m, p->l4off + p->l4len)) {
		ip_drop(sq, p->m, &sq->ctr.nd_in_bad);
		return;
	}
	b = rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->l4off);
	if (sq->ip->snap->cfg.ifs[p->ifidx].l3 || !nd_valid(p, b, &lla)) {
		ip_drop(sq, p->m, &sq->ctr.nd_in_bad);
		return;
	}
	if (!in->forwarded && sq->stack->nsq > 1)
		ip_copy_to_others(sq, in->port, p->m);
	target = rd_addr6(b + 8);
	if (b[0] == NS)
		ns_input(in, p, &target, lla);
	else
		na_input(in, p, &target, lla, b[4]);
	rte_pktmbuf_free(p->m);
}
