/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reassembly by rte_ip_frag, which handles overlaps and limits. Its tables live in EAL memory, and
 * most stacks never see a fragment: a table is made with the first one, per VRF, since its key
 * knows addresses and ID only. What is not whole in time is given up by a timer, or when the next
 * fragment comes; its source is told, if the first fragment was here (RFC 792, RFC 8200 4.5). All
 * fragments that go are freed through a death row and counted.
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
	uint64_t last; /* when a fragment was kept last */
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

/* A first fragment whose packet is given up: time exceeded, code 1. */
static void tell_source(struct sluice_squeue *sq, uint32_t vrf, struct rte_mbuf *m)
{
	const uint8_t *h = rte_pktmbuf_mtod_offset(m, const uint8_t *, m->l2_len);
	bool v4 = h[0] >> 4 == 4;
	struct ip_pkt p = {.m = m,
	    .off = m->l2_len,
	    .vrf = vrf,
	    .ifidx = (uint16_t)sl_pkt_word(m)[0],
	    .l2multi = sl_pkt_word(m)[1] != 0};

	if (v4 ? (rd16(h + 6) & 0x1fff) != 0 : (rd16(h + IP6_HLEN + 2) & 0xfff8) != 0)
		return;
	p.src = v4 ? rd_addr4(h + 12) : rd_addr6(h + 8);
	p.dst = v4 ? rd_addr4(h + 16) : rd_addr6(h + 24);
	ip_icmp_error(sq, &p, v4 ? 11 : 3, 1);
}

static void expire(struct sluice_squeue *sq, struct ip_reasm *r)
{
	for (unsigned int i = 0; i < r->n; i++) {
		uint32_t n;

		if (r->t[i].tbl == NULL)
			continue;
		do { /* as often as the death row is full */
			rte_ip_frag_table_del_expired_entries(r->t[i].tbl, &r->dr, sq->now);
			for (uint32_t k = 0; k < r->dr.cnt; k++)
				tell_source(sq, r->t[i].vrf, r->dr.row[k]);
			SL_COUNT_N(sq, ip_frag_drops, r->dr.cnt);
			SL_COUNT_N(sq, ip_frag_expired, r->dr.cnt);
			n = r->dr.cnt;
			rte_ip_frag_free_death_row(&r->dr, 0);
		} while (n > 0);
	}
}

void ip_reasm_timer(struct sluice_squeue *sq)
{
	struct ip_reasm *r = sq->ip->reasm;
	uint64_t end = r->last + sq->tun.ip_frag_ttl + 1;

	expire(sq, r);
	if (sq->now < end)
		sl_timer_set(&sq->wheel, &sq->ip->frag_timer, end);
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
	expire(sq, r);
	m = p->m;
	h = rte_pktmbuf_mtod_offset(m, uint8_t *, p->off);
	m->l2_len = p->off;
	m->l3_len = hdr_len + (frag_off != 0 ? 8 : 0);
	sl_pkt_word(m)[0] = p->ifidx;
	sl_pkt_word(m)[1] = p->l2multi;
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
	if (out != NULL) {
		SL_COUNT(sq, ip_frag_ok);
		return out;
	}
	r->last = sq->now;
	if (!sl_timer_armed(&sq->ip->frag_timer))
		sl_timer_set(&sq->wheel, &sq->ip->frag_timer, sq->now + sq->tun.ip_frag_ttl + 1);
	return NULL;
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
