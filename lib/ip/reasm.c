/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reassembly by rte_ip_frag, which handles overlaps and limits. Its tables live in EAL memory, and
 * most stacks never see a fragment: a table is made with the first one, per VRF, since its key
 * knows addresses and ID only. Fragments that time out are found when others come, and freed
 * through the death row; each one is counted.
 */
#include <rte_ip_frag.h>

#include "ip_priv.h"

#define BUCKET_ENTRIES 16
#define MAX_TABLES 64

struct ip_reasm {
	struct {
		uint32_t vrf;
		struct rte_ip_frag_tbl *tbl;
	} t[MAX_TABLES];
	unsigned int n;
	struct rte_ip_frag_death_row dr;
};

static struct rte_ip_frag_tbl *table_of(struct sluice_squeue *sq, uint32_t vrf)
{
	struct sl_ip *ip = sq->ip;
	struct ip_reasm *r = ip->reasm;
	uint32_t max = (uint32_t)sq->tun.ip_frag_max;
	uint32_t buckets;

	if (max == 0)
		return NULL;
	if (r == NULL) {
		r = ip->reasm = calloc(1, sizeof(*r));
		if (r == NULL)
			return NULL;
	}
	for (unsigned int i = 0; i < r->n; i++)
		if (r->t[i].vrf == vrf)
			return r->t[i].tbl;
	if (r->n == MAX_TABLES)
		return NULL;
	buckets = (max + BUCKET_ENTRIES - 1) / BUCKET_ENTRIES;
	/* Cycles of its clock are our nanoseconds. The table holds at most buckets * entries
	 * packets. */
	r->t[r->n].tbl = rte_ip_frag_table_create(buckets, BUCKET_ENTRIES,
	    RTE_MIN(max, buckets * BUCKET_ENTRIES), sq->tun.ip_frag_ttl, -1);
	/* Also when it could not be made: that is not tried again for every fragment. */
	r->t[r->n].vrf = vrf;
	return r->t[r->n++].tbl;
}

/* A packet, complete, or NULL: kept, or dropped and counted. p->m is taken either way. */
struct rte_mbuf *ip_reasm(struct ip_in *in, struct ip_pkt *p, uint32_t hdr_len, uint32_t frag_off)
{
	struct sluice_squeue *sq = in->sq;
	struct rte_ip_frag_tbl *t = table_of(sq, p->vrf);
	struct rte_mbuf *m = p->m, *out;
	struct ip_reasm *r = sq->ip->reasm;
	uint8_t *h;

	SL_COUNT(sq, ip_frag_in);
	if (t == NULL || !ip_pull(sq, &p->m, p->off + hdr_len + (frag_off != 0 ? 8 : 0))) {
		ip_drop(sq, p->m, &sq->ctr.ip_frag_drops);
		return NULL;
	}
	m = p->m;
	h = rte_pktmbuf_mtod_offset(m, uint8_t *, p->off);
	m->l2_len = p->off;
	m->l3_len = hdr_len + (frag_off != 0 ? 8 : 0);
	/* What the NIC said about the checksum of a piece says nothing of the whole. */
	m->ol_flags &= ~(RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_IP_CKSUM_MASK);
	if (frag_off == 0)
		out = rte_ipv4_frag_reassemble_packet(
		    t, &r->dr, m, sq->now, (struct rte_ipv4_hdr *)(void *)h);
	else
		out = rte_ipv6_frag_reassemble_packet(t, &r->dr, m, sq->now,
		    (struct rte_ipv6_hdr *)(void *)h,
		    (struct rte_ipv6_fragment_ext *)(void *)(h + frag_off));
	SL_COUNT_N(sq, ip_frag_drops, r->dr.cnt);
	rte_ip_frag_free_death_row(&r->dr, 0);
	if (out != NULL)
		SL_COUNT(sq, ip_frag_ok);
	return out;
}

void ip_reasm_fini(struct sl_ip *ip)
{
	struct ip_reasm *r = ip->reasm;

	if (r == NULL)
		return;
	for (unsigned int i = 0; i < r->n; i++) {
		if (r->t[i].tbl != NULL)
			rte_ip_frag_table_destroy(r->t[i].tbl);
	}
	free(r);
	ip->reasm = NULL;
}
