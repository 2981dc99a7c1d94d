/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * IPv4 input: the checks of RFC 1122 section 3.2.1 in the order of their cost. Packets with options
 * are looked through (lengths must fit, source routes are refused) and then treated as if they had
 * none.
 */
#include "ip_priv.h"

void ip_not_ours(struct ip_in *in, struct ip_pkt *p, uint64_t *counter)
{
	if (p->reasm)
		ip_drop(in->sq, p->m, counter);
	else
		ip_foreign(in, p->m, counter);
}

/* Another protocol for our address: the embedder's, else refused with an ICMP error (RFC
 * 1122 3.2.2.1). */
void ip_refuse(struct ip_in *in, struct ip_pkt *p, uint8_t type, uint8_t code)
{
	struct sluice_squeue *sq = in->sq;

	if (!p->reasm && (in->back != NULL || sq->stack->params.foreign != NULL)) {
		const struct sluice_stack_params *sp = &sq->stack->params;

		if (in->back != NULL) {
			ip_foreign(in, p->m, &sq->ctr.ip_in_proto_unknown);
			return;
		}
		if (sp->foreign(sp->foreign_arg, sq, in->port, p->m)) {
			SL_COUNT(sq, eth_in_passed);
			return;
		}
	}
	ip_icmp_error(sq, p, type, code);
	ip_drop(sq, p->m, &sq->ctr.ip_in_proto_unknown);
}

/* RFC 791 3.1. False: malformed, or a source route (RFC 6274 3.13: drop). */
static bool options_ok(const uint8_t *o, uint32_t len)
{
	uint32_t i = 0;

	while (i < len) {
		if (o[i] == 0)
			return true;
		if (o[i] == 1) {
			i++;
			continue;
		}
		if (i + 1 >= len || o[i + 1] < 2 || i + o[i + 1] > len)
			return false;
		if (o[i] == 131 || o[i] == 137)
			return false;
		i += o[i + 1];
	}
	return true;
}

/* From outside. */
static inline bool source_ok(
    struct ip_in *in, uint32_t vrf, const struct sluice_addr *s, const struct sluice_addr *dst)
{
	if ((s->b[12] & 0xf0) == 0xe0 || (s->b[12] & 0xf0) == 0xf0 || s->b[12] == 127 ||
	    s->b[12] == 0)
		return false;
	/* Our own address from outside: forged, LAND among others. */
	return !ip_is_local(in->sq, &in->src, vrf, s) && dst->b[12] != 127;
}

static bool header_ok(struct ip_in *in, struct ip_pkt *p, uint32_t *hl, uint32_t *total)
{
	struct sluice_squeue *sq = in->sq;
	uint64_t ipc = p->m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
	const uint8_t *h;

	if (p->m->pkt_len < p->off + IP4_HLEN || !ip_pull(sq, &p->m, p->off + IP4_HLEN))
		goto bad;
	h = rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->off);
	*hl = (uint32_t)(h[0] & 15) * 4;
	*total = rd16(h + 2);
	if (h[0] >> 4 != 4 || *hl < IP4_HLEN || *total < *hl || *total > p->m->pkt_len - p->off ||
	    !ip_pull(sq, &p->m, p->off + *hl))
		goto bad;
	if (!p->trusted && !(p->reasm && !(p->flags & SL_PKT_LOCAL)) &&
	    !(ipc & RTE_MBUF_F_RX_IP_CKSUM_GOOD) &&
	    (ipc == RTE_MBUF_F_RX_IP_CKSUM_BAD || ip_sum_mbuf(p->m, p->off, *hl, 0) != 0xffff)) {
		ip_drop(sq, p->m, &sq->ctr.ip_in_bad_cksum);
		return false;
	}
	return true;
bad:
	ip_drop(sq, p->m, &sq->ctr.ip_in_hdr_errors);
	return false;
}

/* The address pair of an untagged packet, remembered for the next ones of the burst. */
static bool pair_ok(struct ip_in *in, uint32_t vrf, const uint8_t *h)
{
	struct sluice_addr src = rd_addr4(h + 12), dst = rd_addr4(h + 16);

	if (!ip_is_local(in->sq, &in->dst, vrf, &dst) || !source_ok(in, vrf, &src, &dst))
		return false;
	in->pair = ip_word(h + 12);
	in->pair_set = true;
	return true;
}

/* Checksums: right by the port's word, or by our own sum. */
static inline bool header_sum_ok(const struct rte_mbuf *m, const uint8_t *h)
{
	uint64_t by_port = m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;

	return (by_port & RTE_MBUF_F_RX_IP_CKSUM_GOOD) || /* or NONE */
	       (by_port != RTE_MBUF_F_RX_IP_CKSUM_BAD && ip_sum_header(h) == 0xffff);
}

static inline bool tcp_sum_ok(
    const struct rte_mbuf *m, const struct sl_key *k, const uint8_t *th, uint32_t len)
{
	uint64_t by_port = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK, pseudo;

	if (by_port != 0) /* NONE, which a virtual port says of what nobody wrote, is both bits */
		return (by_port & RTE_MBUF_F_RX_L4_CKSUM_GOOD) != 0;
	pseudo = ip_pseudo4(k->raddr.w[3], k->laddr.w[3], PROTO_TCP, len);
	if (SL_LIKELY(m->nb_segs == 1))
		return ip_fold(ip_sum_add(pseudo, ip_sum(th, len))) == 0xffff;
	return ip_sum_mbuf(m, ETH_HLEN + IP4_HLEN, len, ip_fold(pseudo)) == 0xffff;
}

_Static_assert(offsetof(struct sl_cfg_if, mac) + 8 <= sizeof(struct sl_cfg_if), "read as a word");

/*
 * The packet that nearly all are: an untagged frame for us, headers in the first buffer and no
 * padding behind the last one when there are more, TCP over IPv4 without options or fragments, checksums right, for an address of ours, from elsewhere, not to another
 * squeue. False: it is something else, untouched and uncounted, and the long way finds out what.
 */
bool ip_fast4(struct ip_in *in, struct rte_mbuf *m, uint32_t caps)
{
	struct sluice_squeue *sq = in->sq;
	const uint64_t stripped = RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_QINQ_STRIPPED;
	const uint8_t *e = rte_pktmbuf_mtod(m, const uint8_t *), *h = e + ETH_HLEN,
		      *th = h + IP4_HLEN;
	bool trusted = (caps & SLUICE_CAP_PERFECT) != 0;
	const struct sl_cfg_if *f;
	uint32_t total, hl;
	uint64_t *cause;
	unsigned int to;
	struct sl_pkt *o;

	if (m->data_len < ETH_HLEN + IP4_HLEN + 20 || (m->ol_flags & stripped) ||
	    ip_word(e) << 16 != in->mac || rd16(e + 12) != TYPE_IP4)
		return false;
	f = &sq->ip->snap->cfg.ifs[in->plain];
	total = rd16(h + 2);
	hl = (uint32_t)(th[12] >> 4) * 4;
	if (h[0] != 0x45 || (rd16(h + 6) & 0x3fff) != 0 || h[9] != PROTO_TCP || hl < 20 ||
	    IP4_HLEN + hl > total)
		return false;
	if (SL_LIKELY(m->nb_segs == 1)
		? total + ETH_HLEN > m->data_len
		: total + ETH_HLEN != m->pkt_len || ETH_HLEN + IP4_HLEN + hl > m->data_len)
		return false;
	if (SL_UNLIKELY(!in->pair_set || ip_word(h + 12) != in->pair) && !pair_ok(in, f->vrf, h))
		return false;
	if (!trusted && SL_UNLIKELY(!header_sum_ok(m, h)))
		return false;
	if (in->npkts == SL_BURST)
		ip_in_flush(in);
	o = &in->pkts[in->npkts];
	o->key.laddr = rd_addr4(h + 16);
	o->key.raddr = rd_addr4(h + 12);
	memcpy(&o->key.rport, th, 2);
	memcpy(&o->key.lport, th + 2, 2);
	o->key.vrf = f->vrf;
	if (SL_UNLIKELY(sq->stack->nsq > 1)) {
		cause = ip_elsewhere(sq, in->port, &o->key, in->forwarded, &to);
		if (SL_UNLIKELY(cause != NULL)) { /* whoever gets it looks at the rest */
			SL_COUNT(sq, ip_in);
			sl_ctr_add(cause, 1);
			m->packet_type = 0;
			sl_forward(sq, to, in->port, m);
			return true;
		}
	}
	if (!trusted && SL_UNLIKELY(!tcp_sum_ok(m, &o->key, th, total - IP4_HLEN)))
		return false;
	SL_COUNT(sq, ip_in);
	in->npkts++;
	o->m = m;
	o->len = (uint16_t)(total - IP4_HLEN);
	o->ifidx = (uint16_t)in->plain;
	o->ttl = h[8];
	o->tos = h[1];
	o->port = (uint8_t)in->port;
	o->flags = in->forwarded ? SL_PKT_FORWARDED : 0;
	if (SL_UNLIKELY((h[1] & 3) == 3))
		o->flags |= SL_PKT_CE;
	if (SL_UNLIKELY(m->ol_flags & RTE_MBUF_F_RX_LRO))
		o->flags |= SL_PKT_LRO;
	m->data_off = (uint16_t)(m->data_off + ETH_HLEN + IP4_HLEN);
	m->data_len = m->nb_segs == 1 ? o->len : (uint16_t)(m->data_len - ETH_HLEN - IP4_HLEN);
	m->pkt_len = o->len;
	return true;
}

/* Take off link-layer padding: nothing above looks behind the datagram. */
void ip_trim(struct ip_pkt *p, uint32_t total)
{
	uint32_t cut = p->m->pkt_len - p->off - total;
	struct rte_mbuf *m = p->m;
	uint32_t keep = p->off + total;

	if (SL_LIKELY(cut == 0))
		return;
	m->pkt_len = keep;
	while (keep > m->data_len) {
		keep -= m->data_len;
		m = m->next;
	}
	m->data_len = (uint16_t)keep;
	if (m->next != NULL) {
		struct rte_mbuf *rest = m->next;

		m->next = NULL;
		while (rest != NULL) {
			struct rte_mbuf *next = rest->next;

			rest->next = NULL;
			rest->nb_segs = 1;
			rte_pktmbuf_free_seg(rest);
			p->m->nb_segs--;
			rest = next;
		}
	}
}

static void deliver(struct ip_in *in, struct ip_pkt *p)
{
	switch (p->proto) {
	case PROTO_TCP:
		ip_tcp(in, p);
		return;
	case PROTO_ICMP:
		ip_icmp4(in, p);
		return;
	default:
		break;
	}
	ip_refuse(in, p, 3, p->proto == PROTO_UDP ? 3 : 2);
}

void ip_input4(struct ip_in *in, struct ip_pkt *p)
{
	struct sluice_squeue *sq = in->sq;
	uint32_t hl, total, frag;
	const uint8_t *h;

	SL_COUNT(sq, ip_in);
	if (!header_ok(in, p, &hl, &total))
		return;
	h = rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->off);
	p->src = rd_addr4(h + 12);
	p->dst = rd_addr4(h + 16);
	if (SL_UNLIKELY(!ip_is_local(sq, &in->dst, p->vrf, &p->dst))) {
		ip_not_ours(in, p, &sq->ctr.ip_in_not_local);
		return;
	}
	if (SL_UNLIKELY(!(p->flags & SL_PKT_LOCAL) && !source_ok(in, p->vrf, &p->src, &p->dst))) {
		ip_drop(sq, p->m, &sq->ctr.ip_in_bad_src);
		return;
	}
	if (SL_UNLIKELY(hl > IP4_HLEN)) {
		SL_COUNT(sq, ip_in_options);
		if (!options_ok(h + IP4_HLEN, hl - IP4_HLEN)) {
			ip_drop(sq, p->m, &sq->ctr.ip_in_hdr_errors);
			return;
		}
	}
	p->tos = h[1];
	p->ttl = h[8];
	p->proto = h[9];
	frag = rd16(h + 6);
	if (SL_UNLIKELY(frag & 0x3fff)) {
		if (ip_frag_elsewhere(in, p, rd16(h + 4) | (uint32_t)p->proto << 16))
			return;
		ip_trim(p, total);
		p->m = ip_reasm(in, p, hl, 0);
		if (p->m == NULL)
			return;
		p->reasm = p->whole = true;
		total = p->m->pkt_len - p->off;
		if (total > 65535 || !ip_pull(sq, &p->m, p->off + hl)) {
			ip_drop(sq, p->m, &sq->ctr.ip_in_hdr_errors);
			return;
		}
	}
	p->l4off = p->off + hl;
	p->l4len = (uint16_t)(total - hl);
	if (p->proto == PROTO_TCP || p->proto == PROTO_ICMP)
		ip_trim(p, total);
	deliver(in, p);
}
