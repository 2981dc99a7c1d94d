/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Multicast listener discovery, the host's side (MLDv2, RFC 3810; version 1 while its querier is
 * present). The only groups that the stack listens to are the solicited-node groups of its IPv6
 * addresses. A switch that snoops forwards them only to ports that asked: without reports nobody
 * would find us.
 *
 * So there is no state per group: the configuration is the state. Each interface owes at most one
 * answer to a query and some repetitions of its last change; both tell all of its groups. Squeue 0
 * tells changes; a query is answered by the squeue that received it.
 */
#include "ip_priv.h"

#define MLD_QUERY 130
#define MLD_REPORT1 131
#define MLD_REPORT2 143
#define IS_EX 2 /* RFC 3810 5.2.12: records without sources */
#define TO_IN 3
#define TO_EX 4
#define RECORD_LEN 20
#define HBH_LEN 8
#define ROBUSTNESS 2                  /* 9.1 */
#define UNSOLICITED SLUICE_SEC(1)     /* 9.11 */
#define OLDER_QUERIER SLUICE_SEC(260) /* 9.12 */

static bool speaks(const struct ip_snap *s, uint16_t ifidx)
{
	const struct sl_cfg_if *f = &s->cfg.ifs[ifidx];

	return ifidx < s->cfg.nifs && f->used && !f->l3 && f->port != SL_IP_PORT_NONE &&
	       s->cfg.tun.ip_mld != 0;
}

static bool has_group(const struct sl_cfg_addr *a, uint16_t ifidx)
{
	return a->ifidx == ifidx && !sl_addr_is4(&a->addr) && !a->on_prefix;
}

/* Does one of the first n addresses have the group of `a` on this interface? */
static bool listens(
    const struct ip_snap *s, uint32_t n, uint16_t ifidx, const struct sluice_addr *a)
{
	for (uint32_t i = 0; i < n; i++)
		if (has_group(&s->cfg.addrs[i], ifidx) &&
		    memcmp(&s->cfg.addrs[i].addr.b[13], &a->b[13], 3) == 0)
			return true;
	return false;
}

/* RFC 3590: from a link-local address, or from :: while there is none. */
static struct sluice_addr source(const struct ip_snap *s, uint16_t ifidx)
{
	for (uint32_t i = 0; i < s->cfg.naddrs; i++)
		if (s->cfg.addrs[i].linklocal && s->cfg.addrs[i].ifidx == ifidx &&
		    s->ast[i].state == SLUICE_ADDR_READY)
			return s->cfg.addrs[i].addr;
	return (struct sluice_addr){.q = {0, 0}};
}

/* Ethernet, IPv6, router alert in front of `len` bytes of ICMPv6, which are at b + the result. */
static unsigned int headers(const struct sl_cfg_if *f, const struct sluice_addr *src,
    const struct sluice_addr *dst, uint32_t len, uint8_t *b)
{
	static const uint8_t alert[HBH_LEN] = {PROTO_ICMP6, 0, 5, 2, 0, 0, 1, 0};
	uint8_t mac[6] = {0x33, 0x33};
	unsigned int l2len;

	memcpy(mac + 2, &dst->b[12], 4);
	l2len = ip_eth_header(f, mac, TYPE_IP6, b);
	ip_put6(b + l2len, src, dst, 0, 1, len + HBH_LEN);
	memcpy(b + l2len + IP6_HLEN, alert, HBH_LEN);
	return l2len + IP6_HLEN + HBH_LEN;
}

static void finish(struct sluice_squeue *sq, const struct sl_cfg_if *f, struct rte_mbuf *m,
    uint32_t at, uint32_t len, const struct sluice_addr *src, const struct sluice_addr *dst)
{
	uint16_t c;

	m->data_len = (uint16_t)(at + len);
	m->pkt_len = m->data_len;
	c = (uint16_t)~ip_sum_mbuf(m, at, len, ip_pseudo(src, dst, PROTO_ICMP6, len));
	memcpy(rte_pktmbuf_mtod_offset(m, uint8_t *, at + 2), &c, 2);
	SL_COUNT(sq, mld_out);
	ip_push(sq, f->port, m);
}

/* Groups of s that are not in `but`, as records of a type; in as many reports as it takes. */
static void report2(struct sluice_squeue *sq, const struct ip_snap *s, const struct ip_snap *but,
    uint16_t ifidx, uint8_t type, struct sluice_addr src)
{
	static const struct sluice_addr routers = {.b = {0xff, 0x02, [15] = 0x16}};
	const struct sl_cfg_if *f = &s->cfg.ifs[ifidx];
	struct sluice_addr group;
	struct rte_mbuf *m = NULL;
	uint32_t n = 0, at = 0;

	for (uint32_t i = 0; i < s->cfg.naddrs; i++) {
		const struct sl_cfg_addr *a = &s->cfg.addrs[i];
		uint8_t *r;

		if (!has_group(a, ifidx) || listens(s, i, ifidx, &a->addr) ||
		    (but != NULL && listens(but, but->cfg.naddrs, ifidx, &a->addr)))
			continue;
		if (m == NULL) {
			m = sl_hdr_alloc(sq);
			if (m == NULL)
				return;
			at = headers(f, &src, &routers, 0, rte_pktmbuf_mtod(m, uint8_t *));
			n = 0;
		}
		r = rte_pktmbuf_mtod_offset(m, uint8_t *, at + 8 + n * RECORD_LEN);
		group = ip_solicited_node(&a->addr);
		r[0] = type;
		memset(r + 1, 0, 3);
		memcpy(r + 4, &group, 16);
		n++;
		r = rte_pktmbuf_mtod_offset(m, uint8_t *, at);
		memset(r, 0, 8);
		r[0] = MLD_REPORT2;
		wr16(r + 6, (uint16_t)n);
		wr16(r - HBH_LEN - IP6_HLEN + 4, (uint16_t)(HBH_LEN + 8 + n * RECORD_LEN));
		/* As many records as fit into the buffer; a packet of those fits every link. */
		if (rte_pktmbuf_tailroom(m) < at + 8 + (n + 1) * RECORD_LEN ||
		    at + 8 + (n + 1) * RECORD_LEN > IP6_MIN_MTU) {
			finish(sq, f, m, at, 8 + n * RECORD_LEN, &src, &routers);
			m = NULL;
		}
	}
	if (m != NULL)
		finish(sq, f, m, at, 8 + n * RECORD_LEN, &src, &routers);
}

/* RFC 2710: one report per group, to the group. */
static void report1(struct sluice_squeue *sq, uint16_t ifidx)
{
	const struct ip_snap *s = sq->ip->snap;
	const struct sl_cfg_if *f = &s->cfg.ifs[ifidx];
	struct sluice_addr src = source(s, ifidx);

	for (uint32_t i = 0; i < s->cfg.naddrs; i++) {
		const struct sl_cfg_addr *a = &s->cfg.addrs[i];
		struct sluice_addr group = ip_solicited_node(&a->addr);
		struct rte_mbuf *m;
		uint32_t at;
		uint8_t *r;

		if (!has_group(a, ifidx) || listens(s, i, ifidx, &a->addr))
			continue;
		m = sl_hdr_alloc(sq);
		if (m == NULL)
			return;
		at = headers(f, &src, &group, 24, rte_pktmbuf_mtod(m, uint8_t *));
		r = rte_pktmbuf_mtod_offset(m, uint8_t *, at);
		memset(r, 0, 8);
		r[0] = MLD_REPORT1;
		memcpy(r + 8, &group, 16);
		finish(sq, f, m, at, 24, &src, &group);
	}
}

/* ---- when ---- */

static void schedule(struct sluice_squeue *sq, uint16_t ifidx, uint64_t at)
{
	struct ip_mld *m = &sq->ip->mld[ifidx];
	struct sl_timer *t = &sq->ip->mld_timer;

	if (m->at == 0 || at < m->at)
		m->at = at;
	if (!sl_timer_armed(t) || at < t->expires << SL_TICK_SHIFT)
		sl_timer_set(&sq->wheel, t, at);
}

static uint64_t within(struct sluice_squeue *sq, uint64_t span)
{
	return sq->now + 1 + sl_rng_below(&sq->rng, span);
}

void ip_mld_timer(struct sluice_squeue *sq)
{
	struct ip_snap *s = sq->ip->snap;

	for (uint16_t i = 0; i < s->cfg.nifs; i++) {
		struct ip_mld *m = &sq->ip->mld[i];
		bool asked = m->asked;

		if (m->at == 0)
			continue;
		if (m->at > sq->now) {
			schedule(sq, i, m->at);
			continue;
		}
		m->at = 0;
		m->asked = false;
		if (!speaks(s, i))
			continue;
		if (sq->now < m->v1_until)
			report1(sq, i);
		else
			report2(
			    sq, s, NULL, i, asked && m->left == 0 ? IS_EX : TO_EX, source(s, i));
		if (m->left > 0 && --m->left > 0)
			schedule(sq, i, within(sq, UNSOLICITED));
	}
}

void ip_mld_again(struct sluice_squeue *sq, uint16_t ifidx)
{
	struct ip_mld *m = &sq->ip->mld[ifidx];

	if (sq->id != 0 || !speaks(sq->ip->snap, ifidx))
		return;
	m->left = RTE_MAX(m->left, (uint8_t)1);
	schedule(sq, ifidx, within(sq, UNSOLICITED));
}

void ip_mld_config(struct sluice_squeue *sq, const struct ip_snap *old)
{
	const struct ip_snap *s = sq->ip->snap;

	for (uint16_t i = 0; i < s->cfg.nifs && sq->id == 0; i++) {
		bool was = i < old->cfg.nifs && speaks(old, i);
		struct sluice_addr src = {.q = {0, 0}};
		bool changed = false;

		if (!speaks(s, i))
			continue;
		if (was) /* states are handed over only after this */
			src = source(old, i);
		if (ip_find_addr(s, s->cfg.ifs[i].vrf, i, &src) < 0)
			src = (struct sluice_addr){.q = {0, 0}};
		for (uint32_t k = 0; k < s->cfg.naddrs && !changed; k++)
			changed =
			    has_group(&s->cfg.addrs[k], i) &&
			    (!was || !listens(old, old->cfg.naddrs, i, &s->cfg.addrs[k].addr));
		if (was)
			report2(sq, old, s, i, TO_IN, src);
		if (!changed)
			continue;
		report2(sq, s, was ? old : NULL, i, TO_EX, src);
		sq->ip->mld[i].left = ROBUSTNESS - 1;
		schedule(sq, i, within(sq, UNSOLICITED));
	}
}

/* ---- queries ---- */

/* RFC 3810 6.2: from a neighbour, with a router alert. */
static bool sound(const struct ip_pkt *p, const uint8_t *ip)
{
	const uint8_t *o = ip + IP6_HLEN;

	if (p->ttl != 1 || !sl_addr_linklocal6(&p->src) || ip[6] != 0 || p->reasm)
		return false;
	for (uint32_t i = 2, len = ((uint32_t)o[1] + 1) * 8; i + 1 < len;) {
		if (o[i] == 5)
			return true;
		i += o[i] == 0 ? 1 : 2u + o[i + 1];
	}
	return false;
}

/* 5.1.3: milliseconds, from 32768 on as a floating-point number. */
static uint64_t max_delay(uint16_t code)
{
	uint64_t ms = code;

	if (code >= 0x8000)
		ms = (uint64_t)((code & 0xfff) | 0x1000) << (((code >> 12) & 7) + 3);
	return SLUICE_MS(ms);
}

void ip_mld_input(struct ip_in *in, struct ip_pkt *p)
{
	struct sluice_squeue *sq = in->sq;
	struct ip_mld *m = &sq->ip->mld[p->ifidx];
	const struct ip_snap *s = sq->ip->snap;
	struct sluice_addr group;
	const uint8_t *b;
	bool v1 = p->l4len == 24;

	SL_COUNT(sq, mld_in);
	if ((!v1 && p->l4len < 28) || !ip_pull(sq, &p->m, p->l4off + 24) || !speaks(s, p->ifidx) ||
	    !sound(p, rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->off))) {
		ip_drop(sq, p->m, &sq->ctr.icmp_in_ignored);
		return;
	}
	b = rte_pktmbuf_mtod_offset(p->m, const uint8_t *, p->l4off);
	group = rd_addr6(b + 8);
	if (v1)
		m->v1_until = sq->now + OLDER_QUERIER;
	if (sl_addr_any(&group) || listens(s, s->cfg.naddrs, p->ifidx, &group)) {
		m->asked = true;
		schedule(sq, p->ifidx, within(sq, max_delay(rd16(b + 4)) + 1));
	}
	rte_pktmbuf_free(p->m);
}
