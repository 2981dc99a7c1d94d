/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ICMP and ICMPv6: echo, errors about our segments to their connection, errors of our own. An error
 * counts only when it quotes a TCP segment from one of our addresses; whether its sequence number
 * is in flight TCP judges (RFC 5927). Source quench (RFC 6633) and redirects are ignored.
 */
#include "ip_priv.h"

static void deliver_error(struct ip_in *in, struct ip_pkt *p, struct sl_icmp_err *e)
{
	struct sluice_squeue *sq = in->sq;
	unsigned int to;

	if (sq->stack->nsq > 1 &&
	    ip_elsewhere(sq, in->port, &e->key, in->forwarded && !p->whole, &to) != NULL) {
		ip_forward(in, p, to, &sq->ctr.steer_icmp);
		return;
	}
	sq->ip->hooks->tcp_icmp(sq, e);
	rte_pktmbuf_free(p->m);
}

/* The quoted segment, q points to its TCP header (8 bytes at least: ports and sequence number). */
static bool quote_key(
    struct ip_in *in, const struct ip_pkt *p, struct sl_icmp_err *e, const uint8_t *q)
{
	e->key.vrf = p->vrf;
	memcpy(&e->key.lport, q, 2);
	memcpy(&e->key.rport, q + 2, 2);
	e->seq = rd32(q + 4);
	e->key.laddr = sl_addr_zoned(e->key.laddr, p->ifidx + 1u);
	e->key.raddr = sl_addr_zoned(e->key.raddr, p->ifidx + 1u);
	return sl_ip_is_local(in->sq, p->vrf, &e->key.laddr);
}

/* Type and code to errno (RFC 1122 4.2.3.9, Linux's choice of numbers). False: not an error that we
 * know. */
static bool error4(
    struct ip_in *in, uint8_t type, uint8_t code, uint32_t rest, struct sl_icmp_err *e)
{
	static const uint8_t unreach[] = {ENETUNREACH, EHOSTUNREACH, ENOPROTOOPT, ECONNREFUSED,
	    EMSGSIZE, EOPNOTSUPP, ENETUNREACH, EHOSTUNREACH, EHOSTUNREACH, ENETUNREACH,
	    EHOSTUNREACH, ENETUNREACH, EHOSTUNREACH, EHOSTUNREACH, EHOSTUNREACH, EHOSTUNREACH};

	if (type == 11 || type == 12) {
		e->err = type == 11 ? EHOSTUNREACH : EPROTO;
		return true;
	}
	if (type != 3 || code >= sizeof(unreach))
		return false;
	e->err = unreach[code];
	e->hard = code == 2 || code == 3;
	if (code == 4 && (rest & 0xffff) != 0)
		e->mtu = RTE_MAX(rest & 0xffff, (uint32_t)in->sq->tun.ip_min_pmtu);
	return true;
}

static bool error6(uint8_t type, uint8_t code, uint32_t rest, struct sl_icmp_err *e)
{
	switch (type) {
	case 1:
		e->err = code == 0 ? ENETUNREACH : code == 4 ? ECONNREFUSED : EHOSTUNREACH;
		e->hard = code == 4;
		return true;
	case 2:
		e->err = EMSGSIZE;
		e->mtu = RTE_MIN(RTE_MAX(rest, (uint32_t)IP6_MIN_MTU), 65535u);
		return true;
	case 3:
		e->err = EHOSTUNREACH;
		return true;
	case 4:
		e->err = EPROTO;
		e->hard = code == 1;
		return true;
	default:
		return false;
	}
}

static void icmp_error_in(struct ip_in *in, struct ip_pkt *p, bool v4)
{
	struct sluice_squeue *sq = in->sq;
	struct sl_icmp_err e = {.err = 0};
	uint32_t n = RTE_MIN((uint32_t)p->l4len, 512u), hl;
	const uint8_t *b, *q;

	if (!ip_pull(sq, &p->m, p->l4off + n)) {
		ip_drop(sq, p->m, &sq->ctr.icmp_in_bad);
		return;
	}
	b = rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->l4off);
	q = b + 8;
	n -= 8;
	if (v4 ? !error4(in, b[0], b[1], rd32(b + 4), &e) : !error6(b[0], b[1], rd32(b + 4), &e)) {
		ip_drop(sq, p->m, &sq->ctr.icmp_in_ignored);
		return;
	}
	if (v4) {
		hl = n >= IP4_HLEN ? (uint32_t)(q[0] & 15) * 4 : 0;
		if (hl < IP4_HLEN || q[0] >> 4 != 4 || n < hl + 8 || (rd16(q + 6) & 0x1fff) != 0 ||
		    q[9] != PROTO_TCP)
			goto unmatched;
		e.key.laddr = rd_addr4(q + 12);
		e.key.raddr = rd_addr4(q + 16);
	} else {
		uint8_t proto;
		uint32_t frag;
		bool cut;
		int ext;

		if (n < IP6_HLEN || q[0] >> 4 != 6)
			goto unmatched;
		proto = q[6];
		ext = ip6_walk(q + IP6_HLEN, n - IP6_HLEN, &proto, &frag, &cut);
		if (ext < 0 || frag != 0 || proto != PROTO_TCP || n < IP6_HLEN + (uint32_t)ext + 8)
			goto unmatched;
		hl = IP6_HLEN + (uint32_t)ext;
		e.key.laddr = rd_addr6(q + 8);
		e.key.raddr = rd_addr6(q + 24);
		if (sl_addr_is4(&e.key.laddr) || sl_addr_is4(&e.key.raddr))
			goto unmatched;
	}
	if (!quote_key(in, p, &e, q + hl))
		goto unmatched;
	deliver_error(in, p, &e);
	return;
unmatched:
	ip_drop(sq, p->m, &sq->ctr.icmp_in_unmatched);
}

static void echo(struct ip_in *in, struct ip_pkt *p, bool v4)
{
	struct sluice_squeue *sq = in->sq;
	struct rte_mbuf *m;
	uint8_t *b;
	uint16_t c;

	if (p->l2multi || sl_addr_multicast(&p->dst) || sl_addr_any(&p->src)) {
		ip_drop(sq, p->m, &sq->ctr.icmp_in_ignored); /* RFC 1122 3.2.2.6 */
		return;
	}
	if (!ip_rate(&sq->ip->echo_bucket, sq->now, sq->tun.ip_echo_rate)) {
		ip_drop(sq, p->m, &sq->ctr.icmp_out_limited);
		return;
	}
	m = rte_pktmbuf_copy(p->m, ip_data_pool(sq), p->l4off, p->l4len);
	rte_pktmbuf_free(p->m);
	if (m == NULL) {
		SL_COUNT(sq, port_tx_nomem);
		return;
	}
	b = rte_pktmbuf_mtod(m, uint8_t *);
	b[0] = v4 ? 0 : 129;
	b[2] = b[3] = 0;
	c = (uint16_t)~ip_sum_mbuf(
	    m, 0, m->pkt_len, v4 ? 0 : ip_pseudo(&p->dst, &p->src, PROTO_ICMP6, m->pkt_len));
	memcpy(b + 2, &c, 2);
	SL_COUNT(sq, icmp_echo);
	SL_COUNT(sq, icmp_out);
	ip_send(sq, p->vrf, p->ifidx, &p->dst, &p->src, v4 ? PROTO_ICMP : PROTO_ICMP6,
	    p->tos & 0xfc, m);
}

/* Common start: at least 8 bytes, checksum right. False: dropped and counted. */
static bool icmp_ok(struct ip_in *in, struct ip_pkt *p, uint32_t pseudo)
{
	struct sluice_squeue *sq = in->sq;

	SL_COUNT(sq, icmp_in);
	if (p->l4len < 8 || !ip_pull(sq, &p->m, p->l4off + 8) ||
	    (!p->trusted && ip_sum_mbuf(p->m, p->l4off, p->l4len, pseudo) != 0xffff)) {
		ip_drop(sq, p->m, &sq->ctr.icmp_in_bad);
		return false;
	}
	return true;
}

void ip_icmp4(struct ip_in *in, struct ip_pkt *p)
{
	uint8_t type;

	if (!icmp_ok(in, p, 0))
		return;
	type = *rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->l4off);
	if (type == 8)
		echo(in, p, true);
	else if (type == 3 || type == 11 || type == 12)
		icmp_error_in(in, p, true);
	else
		ip_drop(in->sq, p->m, &in->sq->ctr.icmp_in_ignored);
}

void ip_icmp6(struct ip_in *in, struct ip_pkt *p)
{
	uint8_t type;

	if (!icmp_ok(in, p, ip_pseudo(&p->src, &p->dst, PROTO_ICMP6, p->l4len)))
		return;
	type = *rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->l4off);
	if (type == 128)
		echo(in, p, false);
	else if (type >= 1 && type <= 4)
		icmp_error_in(in, p, false);
	else if (type >= 133 && type <= 136)
		ip_nd_input(in, p);
	else if (type == 130)
		ip_mld_input(in, p);
	else
		ip_drop(in->sq, p->m, &in->sq->ctr.icmp_in_ignored);
}

void ip_icmp_error(struct sluice_squeue *sq, const struct ip_pkt *p, uint8_t type, uint8_t code)
{
	bool v4 = sl_addr_is4(&p->dst);
	uint32_t most = v4 ? 576 - IP4_HLEN - 8 : IP6_MIN_MTU - IP6_HLEN - 8;
	uint32_t len = RTE_MIN(p->m->pkt_len - p->off, most);
	struct rte_mbuf *m;
	uint8_t *b;
	uint16_t c;

	if (p->l2multi || sl_addr_multicast(&p->dst) || sl_addr_any(&p->src) ||
	    sl_addr_multicast(&p->src))
		return;
	if (!ip_rate(&sq->ip->icmp_bucket, sq->now, sq->tun.ip_icmp_rate)) {
		SL_COUNT(sq, icmp_out_limited);
		return;
	}
	m = rte_pktmbuf_copy(p->m, ip_data_pool(sq), p->off, len);
	b = m != NULL ? (uint8_t *)rte_pktmbuf_prepend(m, 8) : NULL;
	if (b == NULL) {
		SL_COUNT(sq, port_tx_nomem);
		rte_pktmbuf_free(m);
		return;
	}
	memset(b, 0, 8);
	b[0] = type;
	b[1] = code;
	if (!v4 && type == 4)
		wr32(b + 4, 6); /* pointer: the next header field */
	c = (uint16_t)~ip_sum_mbuf(
	    m, 0, m->pkt_len, v4 ? 0 : ip_pseudo(&p->dst, &p->src, PROTO_ICMP6, m->pkt_len));
	memcpy(b + 2, &c, 2);
	SL_COUNT(sq, icmp_out);
	ip_send(sq, p->vrf, p->ifidx, &p->dst, &p->src, v4 ? PROTO_ICMP : PROTO_ICMP6, 0, m);
}
