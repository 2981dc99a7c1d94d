/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ethernet: up to two VLAN tags (in the frame, or stripped by the NIC), which of our interfaces a
 * frame belongs to, and whether it is for us. A priority tag (VLAN 0) does not count as a tag. Raw
 * IP ports have none of this.
 */
#include "ip_priv.h"

static const uint8_t zero_mac[6];

/* Collect tags into v[]; returns the offset of the EtherType's payload, *type; 0 when too short. */
static uint32_t parse_tags(
    struct sluice_squeue *sq, struct rte_mbuf **m, uint16_t v[2], uint16_t *type, bool *many)
{
	uint32_t off = 12;
	unsigned int n = 0;

	v[0] = v[1] = SLUICE_VLAN_NONE;
	*many = false;
	if ((*m)->ol_flags & RTE_MBUF_F_RX_QINQ_STRIPPED)
		v[n++] = (*m)->vlan_tci_outer & 0xfff;
	if (((*m)->ol_flags & (RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_QINQ_STRIPPED)) &&
	    ((*m)->vlan_tci & 0xfff) != 0)
		v[n++] = (*m)->vlan_tci & 0xfff;
	for (;;) {
		const uint8_t *p;

		if (!ip_pull(sq, m, off + 2))
			return 0;
		*type = rd16(rte_pktmbuf_mtod_offset(*m, const uint8_t *, off));
		if (*type != TYPE_VLAN && *type != TYPE_QINQ)
			return off + 2;
		if (!ip_pull(sq, m, off + 6))
			return 0;
		p = rte_pktmbuf_mtod_offset(*m, const uint8_t *, off + 2);
		off += 4;
		if ((rd16(p) & 0xfff) == 0 && n < 2)
			continue;
		if (n == 2) {
			*many = true;
			return off;
		}
		v[n++] = rd16(p) & 0xfff;
	}
}

static void ip_by_type(struct ip_in *in, struct ip_pkt *p, uint16_t type)
{
	if (type == TYPE_IP4)
		ip_input4(in, p);
	else
		ip_input6(in, p);
}

static void l3_input(struct ip_in *in, struct ip_pkt *p)
{
	struct sluice_squeue *sq = in->sq;
	const struct ip_snap *s = sq->ip->snap;
	int ifx = ip_find_if(s, in->port, SLUICE_VLAN_NONE, SLUICE_VLAN_NONE);
	uint8_t ver;

	if (!ip_pull(sq, &p->m, 1)) {
		ip_drop(sq, p->m, &sq->ctr.eth_in_runt);
		return;
	}
	if (ifx < 0) {
		ip_foreign(in, p->m, &sq->ctr.ip_in_no_vrf);
		return;
	}
	p->ifidx = (uint16_t)ifx;
	p->vrf = s->cfg.ifs[ifx].vrf;
	ver = *rte_pktmbuf_mtod(p->m, const uint8_t *) >> 4;
	if (ver != 4 && ver != 6) {
		ip_foreign(in, p->m, &sq->ctr.ip_in_hdr_errors);
		return;
	}
	ip_by_type(in, p, ver == 4 ? TYPE_IP4 : TYPE_IP6);
}

void ip_eth_input(struct ip_in *in, struct rte_mbuf *m)
{
	struct sluice_squeue *sq = in->sq;
	const struct ip_snap *s = sq->ip->snap;
	const struct sl_cfg_if *f;
	uint32_t caps = sq->port[in->port].info.caps;
	struct ip_pkt p;
	const uint8_t *e;
	uint16_t type, v[2];
	bool many;
	int ifx;

	p = (struct ip_pkt){.m = m, .trusted = (caps & SLUICE_CAP_PERFECT) != 0};
	if (caps & SLUICE_CAP_L3) {
		l3_input(in, &p);
		return;
	}
	p.off = parse_tags(sq, &p.m, v, &type, &many);
	if (p.off == 0) {
		ip_drop(sq, p.m, &sq->ctr.eth_in_runt);
		return;
	}
	if (SL_UNLIKELY(in->ifx < 0 || in->vlan[0] != v[0] || in->vlan[1] != v[1])) {
		in->ifx = ip_find_if(s, in->port, v[0], v[1]);
		memcpy(in->vlan, v, sizeof(v));
	}
	ifx = many ? -1 : in->ifx;
	if (ifx < 0) {
		ip_foreign(in, p.m,
		    v[0] == SLUICE_VLAN_NONE ? &sq->ctr.ip_in_no_vrf
					     : &sq->ctr.eth_in_vlan_unknown);
		return;
	}
	f = &s->cfg.ifs[ifx];
	p.ifidx = (uint16_t)ifx;
	p.vrf = f->vrf;
	e = rte_pktmbuf_mtod(p.m, const uint8_t *);
	p.l2multi = (e[0] & 1) != 0;
	if (!p.l2multi && memcmp(e, f->mac, 6) != 0) {
		ip_foreign(in, p.m, &sq->ctr.eth_in_not_ours);
		return;
	}
	memcpy(p.smac, e + 6, 6);
	if (SL_LIKELY(type == TYPE_IP4 || type == TYPE_IP6))
		ip_by_type(in, &p, type);
	else if (type == TYPE_ARP)
		ip_arp_input(in, p.m, p.off, p.ifidx);
	else
		ip_foreign(in, p.m, &sq->ctr.eth_in_type_unknown);
}

/* From another squeue or from ourselves: an IP packet whose VRF and interface travel in the mbuf.
 */
void ip_marked_input(struct ip_in *in, struct rte_mbuf *m)
{
	const struct ip_snap *s = in->sq->ip->snap;
	struct ip_pkt p = {
	    .m = m, .vrf = sl_pkt_word(m)[0], .ifidx = (uint16_t)sl_pkt_word(m)[1], .reasm = true};

	if (m->packet_type & IP_MARK_LOCAL) {
		p.flags = SL_PKT_LOCAL;
		p.trusted = true;
	}
	m->packet_type = 0;
	if ((p.ifidx >= s->cfg.nifs && p.ifidx != 0) || !ip_pull(in->sq, &p.m, 1)) {
		ip_drop(in->sq, p.m, &in->sq->ctr.ip_in_no_vrf);
		return;
	}
	ip_by_type(in, &p, *rte_pktmbuf_mtod(p.m, const uint8_t *) >> 4 == 4 ? TYPE_IP4 : TYPE_IP6);
}

unsigned int ip_eth_header(
    const struct sl_cfg_if *f, const uint8_t dst[6], uint16_t type, uint8_t *l2)
{
	unsigned int n = 12;
	bool two = f->vlan[0] != SLUICE_VLAN_NONE && f->vlan[1] != SLUICE_VLAN_NONE;

	memcpy(l2, dst != NULL ? dst : zero_mac, 6);
	memcpy(l2 + 6, f->mac, 6);
	for (unsigned int i = 0; i < 2 && f->vlan[i] != SLUICE_VLAN_NONE; i++) {
		/* 802.1ad: the outer of two tags is a service tag. */
		wr16(l2 + n, two && i == 0 ? TYPE_QINQ : TYPE_VLAN);
		wr16(l2 + n + 2, f->vlan[i]);
		n += 4;
	}
	wr16(l2 + n, type);
	return n + 2;
}
