/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ARP (RFC 826) with the conflict rules of RFC 5227. Learning is deliberately narrow: who asks for
 * us is entered, an entry that exists is updated, and nothing else is believed; senders must be on
 * the link by our routes.
 */
#include "ip_priv.h"

#define ARP_LEN 28
static const uint8_t bcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t none[6];

void ip_arp_send(struct sluice_squeue *sq, uint16_t ifidx, uint16_t op, const uint8_t dmac[6],
    const struct sluice_addr *spa, const uint8_t tha[6], const struct sluice_addr *tpa)
{
	const struct sl_cfg_if *f = &sq->ip->snap->cfg.ifs[ifidx];
	struct rte_mbuf *m = sl_hdr_alloc(sq);
	unsigned int l2len;
	uint8_t *a;

	if (m == NULL)
		return;
	a = rte_pktmbuf_mtod(m, uint8_t *);
	l2len = ip_eth_header(f, dmac != NULL ? dmac : bcast, TYPE_ARP, a);
	a += l2len;
	wr16(a, 1);
	wr16(a + 2, TYPE_IP4);
	a[4] = 6;
	a[5] = 4;
	wr16(a + 6, op);
	memcpy(a + 8, f->mac, 6);
	memcpy(a + 14, &spa->b[12], 4);
	memcpy(a + 18, tha != NULL ? tha : none, 6);
	memcpy(a + 24, &tpa->b[12], 4);
	m->data_len = (uint16_t)(l2len + ARP_LEN);
	m->pkt_len = m->data_len;
	SL_COUNT(sq, arp_out);
	ip_push(sq, f->port, m);
}

static bool arp_sound(const uint8_t *a, const uint8_t mac[6], const struct sluice_addr *spa)
{
	uint16_t op = rd16(a + 6);

	if (rd16(a) != 1 || rd16(a + 2) != TYPE_IP4 || a[4] != 6 || a[5] != 4 ||
	    (op != 1 && op != 2))
		return false;
	if ((mac[0] & 1) || memcmp(mac, none, 6) == 0)
		return false;
	return !sl_addr_multicast(spa) && spa->b[12] != 127;
}

/* RFC 5227: 2.1.1 while an address is tentative, 2.4 once it is ours. True: the packet is about a
 * conflict. */
static bool arp_conflict(struct ip_in *in, uint16_t ifidx, const struct sluice_addr *spa,
    const struct sluice_addr *tpa, uint16_t op)
{
	struct sluice_squeue *sq = in->sq;
	const struct ip_snap *s = sq->ip->snap;
	uint32_t vrf = s->cfg.ifs[ifidx].vrf;
	int row = ip_find_addr(s, vrf, ifidx, spa);

	if (row >= 0 && !sl_addr_any(spa)) {
		if (s->ast[row].state == SLUICE_ADDR_TENTATIVE)
			ip_dad_duplicate(sq, (uint32_t)row);
		else if (s->ast[row].state == SLUICE_ADDR_READY)
			ip_defend(sq, (uint32_t)row, !in->forwarded);
		return true;
	}
	row = ip_find_addr(s, vrf, ifidx, tpa);
	if (op == 1 && sl_addr_any(spa) && row >= 0 && s->ast[row].state == SLUICE_ADDR_TENTATIVE) {
		ip_dad_duplicate(sq, (uint32_t)row); /* somebody probes for the same address */
		return true;
	}
	return false;
}

void ip_arp_input(struct ip_in *in, struct rte_mbuf *m, uint32_t off, uint16_t ifidx)
{
	struct sluice_squeue *sq = in->sq;
	const struct ip_snap *s = sq->ip->snap;
	const struct sl_cfg_if *f = &s->cfg.ifs[ifidx];
	struct sluice_addr spa, tpa;
	const uint8_t *a;
	uint8_t mac[6];
	bool for_us;
	uint16_t op;
	int row;

	SL_COUNT(sq, arp_in);
	if (!ip_pull(sq, &m, off + ARP_LEN)) {
		ip_drop(sq, m, &sq->ctr.arp_in_bad);
		return;
	}
	a = rte_pktmbuf_mtod_offset(m, const uint8_t *, off);
	memcpy(mac, a + 8, 6);
	spa = rd_addr4(a + 14);
	tpa = rd_addr4(a + 24);
	op = rd16(a + 6);
	if (!arp_sound(a, mac, &spa)) {
		ip_drop(sq, m, &sq->ctr.arp_in_bad);
		return;
	}
	if (!in->forwarded && sq->stack->nsq > 1)
		ip_copy_to_others(sq, in->port, m);
	rte_pktmbuf_free(m);
	if (memcmp(mac, f->mac, 6) == 0 || arp_conflict(in, ifidx, &spa, &tpa, op))
		return; /* our own frame came back, or dealt with */
	row = ip_find_addr(s, f->vrf, ifidx, &tpa);
	for_us = row >= 0 && s->ast[row].state == SLUICE_ADDR_READY;
	if (!sl_addr_any(&spa) && ip_on_link(s, ifidx, &spa))
		ip_neigh_learn(sq, ifidx, &spa, mac, for_us && op == 1, for_us && op == 2, true);
	if (op == 1 && for_us && !in->forwarded)
		ip_arp_send(sq, ifidx, 2, mac, &tpa, mac, &spa);
}
