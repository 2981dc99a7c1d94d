/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * IPv6 input (RFC 8200). Extension headers are walked at most EXT_MAX deep and EXT_BYTES far;
 * routing headers with segments left are refused (RFC 5095), unknown options obey their top two
 * bits as far as dropping goes.
 */
#include "ip_priv.h"

#define EXT_MAX 8
#define EXT_BYTES 512

/* Hop-by-hop and destination options: TLVs must fit; an option that says "discard" discards (4.2).
 */
static bool tlvs_ok(const uint8_t *b, uint32_t len)
{
	uint32_t i = 2;

	while (i < len) {
		if (b[i] == 0) {
			i++;
			continue;
		}
		if (i + 1 >= len || i + 2 + b[i + 1] > len)
			return false;
		/* Known: PadN 1, router alert 5, jumbo 0xc2 (not supported), the rest by its action
		 * bits. */
		if (b[i] != 1 && b[i] != 5 && b[i] >> 6 != 0)
			return false;
		i += 2u + b[i + 1];
	}
	return true;
}

int ip6_walk(const uint8_t *b, uint32_t len, uint8_t *proto, uint32_t *frag, bool *truncated)
{
	uint32_t off = 0;

	*frag = 0;
	*truncated = false;
	for (unsigned int i = 0; i <= EXT_MAX; i++) {
		uint32_t n;

		if (*proto != 0 && *proto != 43 && *proto != 44 && *proto != 60)
			return (int)off;
		if (i == EXT_MAX)
			return -1;
		if (off + 8 > len) {
			*truncated = true;
			return -1;
		}
		if (*proto == 44) {
			*frag = IP6_HLEN + off;
			*proto = b[off];
			/* Only a first fragment shows what follows; the caller reassembles either
			 * way. */
			return (int)(off + 8);
		}
		n = ((uint32_t)b[off + 1] + 1) * 8;
		if (off + n > len) {
			*truncated = true;
			return -1;
		}
		if (*proto == 0 && i != 0) /* hop-by-hop stands first or nowhere */
			return -1;
		if (*proto == 43 ? b[off + 3] != 0 : !tlvs_ok(b + off, n))
			return -1;
		*proto = b[off];
		off += n;
	}
	return -1;
}

static bool source_ok(struct ip_in *in, const struct ip_pkt *p)
{
	static const struct sluice_addr loop = {.b = {[15] = 1}};
	bool mapped = sl_addr_is4(&p->src) || sl_addr_is4(&p->dst);
	struct sluice_addr src;

	/* Where the stack keeps the link of a link-local address there is nothing on the wire. */
	if (p->src.b[0] == 0xff || mapped || sl_addr_zone(&p->src) != 0 ||
	    sl_addr_zone(&p->dst) != 0)
		return false;
	if (p->flags & SL_PKT_LOCAL)
		return true;
	if (sl_addr_eq(&p->src, &loop) || sl_addr_eq(&p->dst, &loop))
		return false;
	src = sl_addr_zoned(p->src, p->ifidx + 1u);
	return sl_addr_any(&p->src) || !ip_is_local(in->sq, &in->src, p->vrf, &src);
}

/* Multicast that we listen to: all-nodes, and the solicited-node groups of our addresses, tentative
 * ones included. */
static bool our_group(struct ip_in *in, const struct ip_pkt *p)
{
	static const uint8_t sol[13] = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
	static const uint8_t all[16] = {0xff, 0x02, [15] = 1};
	const struct ip_snap *s = in->sq->ip->snap;

	if (memcmp(p->dst.b, all, 16) == 0)
		return true;
	if (memcmp(p->dst.b, sol, 13) != 0)
		return false;
	for (uint32_t i = 0; i < s->cfg.naddrs; i++) {
		const struct sl_cfg_addr *a = &s->cfg.addrs[i];

		if (a->ifidx == p->ifidx && !sl_addr_is4(&a->addr) &&
		    (a->on_prefix || memcmp(&a->addr.b[13], &p->dst.b[13], 3) == 0))
			return true;
	}
	return false;
}

/* Is it for us? Tentative addresses take neighbour discovery only, which nd.c sees to. */
static bool dst_ok(struct ip_in *in, const struct ip_pkt *p)
{
	struct sluice_addr dst = sl_addr_zoned(p->dst, p->ifidx + 1u);

	if (SL_LIKELY(ip_is_local(in->sq, &in->dst, p->vrf, &dst)))
		return true;
	if (p->flags & SL_PKT_LOCAL)
		return false;
	return p->dst.b[0] == 0xff && our_group(in, p);
}

static bool extensions(struct ip_in *in, struct ip_pkt *p, uint32_t *plen)
{
	struct sluice_squeue *sq = in->sq;
	uint32_t frag, look = RTE_MIN(*plen, (uint32_t)EXT_BYTES);
	bool truncated;
	int n;

	if (SL_LIKELY(p->proto == PROTO_TCP || p->proto == PROTO_ICMP6))
		return true;
	if (p->proto != 0 && p->proto != 43 && p->proto != 44 && p->proto != 60)
		return true;
	SL_COUNT(sq, ip_in_options);
	if (!ip_pull(sq, &p->m, p->off + IP6_HLEN + look)) {
		ip_drop(sq, p->m, &sq->ctr.ip_in_ext_bad);
		return false;
	}
	n = ip6_walk(rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->off + IP6_HLEN), look,
	    &p->proto, &frag, &truncated);
	if (n < 0) {
		ip_drop(sq, p->m, &sq->ctr.ip_in_ext_bad);
		return false;
	}
	if (frag == 0) {
		p->l4off = p->off + IP6_HLEN + (uint32_t)n;
		*plen -= (uint32_t)n;
		return true;
	}
	/* rte_ip_frag wants the fragment header right behind the fixed one; senders put it there.
	 */
	if (frag != IP6_HLEN) {
		SL_COUNT(sq, ip_frag_in);
		ip_drop(sq, p->m, &sq->ctr.ip_frag_drops);
		return false;
	}
	if (ip_frag_elsewhere(
		in, p, rd32(rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->off + frag + 4))))
		return false;
	ip_trim(p, IP6_HLEN + *plen);
	p->m = ip_reasm(in, p, IP6_HLEN, frag);
	if (p->m == NULL)
		return false;
	p->reasm = p->whole = true;
	p->proto = rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->off)[6];
	p->l4off = p->off + IP6_HLEN;
	*plen = p->m->pkt_len - p->l4off;
	/* Behind a fragment header only the transport may follow: nested chains are a hiding place
	 * (RFC 7112). */
	if (p->proto != PROTO_TCP && p->proto != PROTO_ICMP6 && p->proto != PROTO_UDP) {
		ip_drop(sq, p->m, &sq->ctr.ip_in_ext_bad);
		return false;
	}
	return true;
}

void ip_input6(struct ip_in *in, struct ip_pkt *p)
{
	struct sluice_squeue *sq = in->sq;
	uint32_t plen;
	const uint8_t *h;

	SL_COUNT(sq, ip_in);
	if (p->m->pkt_len < p->off + IP6_HLEN || !ip_pull(sq, &p->m, p->off + IP6_HLEN)) {
		ip_drop(sq, p->m, &sq->ctr.ip_in_hdr_errors);
		return;
	}
	h = rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->off);
	plen = rd16(h + 4);
	if (h[0] >> 4 != 6 || plen > p->m->pkt_len - p->off - IP6_HLEN) {
		ip_drop(sq, p->m, &sq->ctr.ip_in_hdr_errors);
		return;
	}
	p->src = rd_addr6(h + 8);
	p->dst = rd_addr6(h + 24);
	p->tos = (uint8_t)(rd16(h) >> 4);
	p->proto = h[6];
	p->ttl = h[7];
	if (SL_UNLIKELY(!source_ok(in, p))) {
		ip_nd_conflict(in, p);
		ip_drop(sq, p->m, &sq->ctr.ip_in_bad_src);
		return;
	}
	/* A duplicate address test is answered by a unicast or all-nodes advertisement: let ND see
	 * tentative ones. */
	if (SL_UNLIKELY(!dst_ok(in, p))) {
		ip_not_ours(in, p, &sq->ctr.ip_in_not_local);
		return;
	}
	p->l4off = p->off + IP6_HLEN;
	if (!extensions(in, p, &plen))
		return;
	if (plen > 65535) {
		ip_drop(sq, p->m, &sq->ctr.ip_in_hdr_errors);
		return;
	}
	p->l4len = (uint16_t)plen;
	if (p->proto == PROTO_TCP || p->proto == PROTO_ICMP6)
		ip_trim(p, p->l4off - p->off + plen);
	if (p->proto == PROTO_TCP && p->dst.b[0] != 0xff && !sl_addr_any(&p->src))
		ip_tcp(in, p);
	else if (p->proto == PROTO_TCP)
		ip_drop(sq, p->m, &sq->ctr.ip_in_bad_src);
	else if (p->proto == PROTO_ICMP6)
		ip_icmp6(in, p);
	else
		ip_refuse(in, p, p->proto == PROTO_UDP ? 1 : 4, p->proto == PROTO_UDP ? 4 : 1);
}
