/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A port of a simulated stack: what a NIC and the first router would do, over drivers/impair, over
 * drivers/wire. It checks what the stack sends; makes the checksums and cuts the large segments
 * that it said it would; takes and gives bursts in parts; keeps what was sent for a while before it
 * frees it, as hardware does; drops what is larger than the path's MTU and says so by ICMP; notes
 * what arrives, for the model and the capture. The frame travels as a copy in a buffer of the
 * receiver's pool: when that is empty, it is lost as a NIC would lose it.
 */
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <rte_mbuf.h>

#include "mpool.h"
#include "sim.h"

#define FRAME_MAX 70000u

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static bool is_l3(const struct sim_nic *n)
{
	return n->caps & SIM_CAP_L3;
}

/* ---- capture: pcap with nanoseconds ---- */

void sim_pcap_open(struct sim *s, const char *path)
{
	struct {
		uint32_t magic;
		uint16_t major, minor;
		uint32_t zone, sig, snap, link;
	} h = {0xa1b23c4d, 2, 4, 0, 0, 262144, s->link[0].nic[0].caps & SIM_CAP_L3 ? 101 : 1};

	s->pcap = fopen(path, "w");
	if (s->pcap != NULL)
		fwrite(&h, sizeof(h), 1, s->pcap);
}

static void capture(struct sim *s, const uint8_t *f, uint32_t len, uint64_t now)
{
	uint32_t h[4] = {
	    (uint32_t)(now / SLUICE_SEC(1)), (uint32_t)(now % SLUICE_SEC(1)), len, len};

	fwrite(h, sizeof(h), 1, s->pcap);
	fwrite(f, len, 1, s->pcap);
}

/* ---- buffers ---- */

/* A frame in buffers of the stack at the other end; NULL: none was left. */
static struct rte_mbuf *frame(struct rte_mempool *mp, const uint8_t *f, uint32_t len)
{
	struct rte_mbuf *head = NULL, *tail = NULL;

	while (len > 0) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(mp);
		uint32_t n;

		if (m == NULL) {
			rte_pktmbuf_free(head);
			return NULL;
		}
		n = RTE_MIN(len, (uint32_t)rte_pktmbuf_tailroom(m));
		memcpy(rte_pktmbuf_append(m, (uint16_t)n), f, n);
		f += n;
		len -= n;
		if (head == NULL) {
			head = m;
		} else {
			tail->next = m;
			head->nb_segs++;
			head->pkt_len += n;
		}
		tail = m;
	}
	return head;
}

static struct rte_mempool *pool_of_peer(const struct sim_nic *n)
{
	return n->sim->rxpool[n->link->a[!n->end]];
}

/* ---- ICMP, as a router says it ---- */

void sim_nic_icmp(
    struct sim_nic *to, const uint8_t *q, uint32_t qlen, uint8_t type, uint8_t code, uint32_t rest)
{
	uint8_t f[14 + 40 + 8 + 128] = {0}, *h = f, *icmp;
	bool v6 = q[0] >> 4 == 6;
	uint32_t hlen = v6 ? 40 : 20, len;
	struct sluice_port_info info = {.size = sizeof(info)};
	struct rte_mbuf *m;

	qlen = RTE_MIN(qlen, v6 ? 128u : 28u);
	len = hlen + 8 + qlen;
	if (!is_l3(to)) {
		(void)to->lower.ops->info(to->lower.ctx, &info);
		memcpy(f, info.mac, 6);
		f[6] = 2;
		f[11] = 99;
		put16(f + 12, v6 ? 0x86dd : 0x0800);
		h += 14;
	}
	icmp = h + hlen;
	if (v6) {
		put32(h, 6u << 28);
		put16(h + 4, 8 + qlen);
		h[6] = 58;
		h[7] = 64;
		memcpy(h + 8, q + 24, 16);
		h[8 + 15] = 254;
		memcpy(h + 24, q + 8, 16);
	} else {
		h[0] = 0x45;
		put16(h + 2, len);
		h[8] = 64;
		h[9] = 1;
		memcpy(h + 12, q + 16, 4);
		h[12 + 3] = 254;
		memcpy(h + 16, q + 12, 4);
		put16(h + 10, (uint16_t)~sim_sum(h, 20, 0));
	}
	icmp[0] = type;
	icmp[1] = code;
	put32(icmp + 4, rest);
	memcpy(icmp + 8, q, qlen);
	put16(icmp + 2,
	    (uint16_t)~sim_sum(icmp, 8 + qlen, v6 ? sim_sum(h + 8, 32, 0) + 8 + qlen + 58 : 0));
	if (to->ninject == RTE_DIM(to->inject))
		return;
	m = frame(to->sim->rxpool[to->stack], f, (uint32_t)(h - f) + len);
	if (m == NULL)
		return;
	to->inject[to->ninject++] = m;
	SIM_SAY(to->sim, "link %ld end %u: ICMP type %u code %u rest %u",
	    (long)(to->link - to->sim->link), to->end, type, code, rest);
}

static bool too_large(struct sim_nic *n, const uint8_t *f, const struct sim_seg *g)
{
	uint32_t pmtu = n->link->pmtu;

	if (pmtu == 0 || g->iplen <= pmtu || n->sim->is_quiet)
		return false;
	n->sim->op_done[SIM_PMTU]++;
	sim_nic_icmp(n, f + g->l3, g->iplen, g->v6 ? 2 : 3, g->v6 ? 0 : 4, pmtu);
	return true;
}

/* ---- transmit ---- */

static void make_sums(uint8_t *f, const struct sim_seg *g)
{
	uint8_t *h = f + g->l3, *t = f + g->l4;

	if (!g->v6) {
		put16(h + 10, 0);
		put16(h + 10, (uint16_t)~sim_sum(h, (uint32_t)(g->l4 - g->l3), 0));
	}
	put16(t + 16, 0);
	put16(
	    t + 16, (uint16_t)~sim_sum(t, (uint32_t)(g->l3 + g->iplen - g->l4), sim_pseudo(f, g)));
}

/* `alter`: what no checksum shows. */
static void alter(struct sim_nic *n, uint8_t *f, uint32_t len, uint64_t number)
{
	struct sim_seg g;

	for (unsigned int i = 0; i < n->nfaults; i++) {
		if (n->fault[i].it->op != SIM_ALTER || n->fault[i].n != number ||
		    !sim_parse(f, len, is_l3(n), false, &g) || !g.tcp || g.len == 0)
			continue;
		f[g.l4 + g.th_len] ^= 1;
		make_sums(f, &g);
		n->sim->op_done[SIM_ALTER]++;
		SIM_SAY(n->sim, "link %ld end %u packet %lu: altered",
		    (long)(n->link - n->sim->link), n->end, (unsigned long)number);
	}
}

/* One packet, as it goes over the wire. */
static void emit(struct sim_nic *n, uint16_t q, uint8_t *f, uint32_t len, uint64_t now)
{
	struct sim *s = n->sim;
	struct rte_mbuf *m;

	alter(n, f, len, n->count + n->nbacklog + 1);
	m = frame(pool_of_peer(n), f, len);
	if (m == NULL) {
		SIM_SAY(s, "link %ld end %u: receiver has no buffer", (long)(n->link - s->link),
		    n->end);
		return;
	}
	if (n->nbacklog > 0 || n->impair.ops->tx(n->impair.ctx, q, &m, 1, now) == 0) {
		if (n->nbacklog == RTE_DIM(n->backlog))
			abort(); /* a large segment has fewer parts than that */
		n->backlog[n->nbacklog].m = m;
		n->backlog[n->nbacklog++].q = q;
	}
}

/* What the wire had no room for goes first; until it has gone the port takes nothing. */
static bool flush_backlog(struct sim_nic *n, uint64_t now)
{
	unsigned int k = 0;

	while (k < n->nbacklog &&
	       n->impair.ops->tx(n->impair.ctx, n->backlog[k].q, &n->backlog[k].m, 1, now) == 1)
		k++;
	n->nbacklog -= k;
	memmove(n->backlog, n->backlog + k, n->nbacklog * sizeof(n->backlog[0]));
	return n->nbacklog == 0;
}

static void segment(struct sim_nic *n, uint16_t q, const uint8_t *f, const struct sim_seg *g,
    uint32_t seg, uint64_t now)
{
	uint32_t hlen = (uint32_t)g->l4 + g->th_len;
	uint8_t part[10000]; /* larger than any MTU here */

	for (uint32_t off = 0; off < g->len; off += seg) {
		uint32_t len = RTE_MIN(seg, g->len - off);
		struct sim_seg p = *g;
		bool last = off + len == g->len;

		memcpy(part, f, hlen);
		memcpy(part + hlen, f + hlen + off, len);
		p.iplen = (uint16_t)(hlen - g->l3 + len);
		put16(part + g->l3 + (g->v6 ? 4 : 2), g->v6 ? p.iplen - 40u : p.iplen);
		put32(part + g->l4 + 4, g->seq + off);
		if (!last)
			part[g->l4 + 13] &= (uint8_t) ~(SL_TH_FIN | SL_TH_PUSH);
		make_sums(part, &p);
		emit(n, q, part, hlen + len, now);
	}
}

/*
 * What a port needs that fills checksums in or cuts segments: where the headers lie, and the sum of
 * the pseudo-header in the field, without the length when the port cuts (each part has its own).
 */
static void check_offload(struct sim_nic *n, const struct rte_mbuf *m, const uint8_t *f,
    const struct sim_seg *g, bool tso)
{
	uint32_t all = g->iplen - (uint32_t)(g->l4 - g->l3);
	uint32_t want = sim_pseudo(f, g) - (tso ? (all >> 16) + (all & 0xffff) : 0);
	uint16_t field = (uint16_t)(f[g->l4 + 16] << 8 | f[g->l4 + 17]);

	SIM_CHECK(n->sim, SIM_CK_WIRE_SUM,
	    m->l2_len == g->l3 && m->l3_len == g->l4 - g->l3 && m->l4_len == g->th_len,
	    "headers of %u, %u and %u bytes, the port was told %u, %u and %u", g->l3, g->l4 - g->l3,
	    g->th_len, m->l2_len, m->l3_len, m->l4_len);
	SIM_CHECK(n->sim, SIM_CK_WIRE_SUM, field % 0xffff == sim_sum(f, 0, want) % 0xffff,
	    "the sum of the pseudo-header, for the port, is %u", field);
}

/* What the stack left to the port. False: it is not IP, or malformed. */
static bool offload(
    struct sim_nic *n, const struct rte_mbuf *m, uint8_t *f, struct sim_seg *g, uint32_t *seg)
{
	struct sim *s = n->sim;
	bool tso = m->ol_flags & RTE_MBUF_F_TX_TCP_SEG;
	bool sum = tso || (m->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM;
	uint32_t l3 = is_l3(n) ? 0 : 14;

	if ((m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM) && m->pkt_len >= l3 + 20) {
		uint32_t hlen = (f[l3] & 15u) * 4;

		put16(f + l3 + 10, 0);
		put16(f + l3 + 10, (uint16_t)~sim_sum(f + l3, hlen, 0));
	}
	if (!sim_parse(f, m->pkt_len, is_l3(n), false, g))
		return false;
	SIM_CHECK(s, SIM_CK_WIRE_SUM,
	    !(m->ol_flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_IP_CKSUM)) ||
		(n->caps & SIM_CAP_CKSUM),
	    "a checksum is left to a port that makes none");
	SIM_CHECK(s, SIM_CK_WIRE_SIZE, !tso || (n->caps & SIM_CAP_TSO),
	    "a large segment for a port that cuts none");
	*seg = tso && m->tso_segsz > 0 && g->len > m->tso_segsz ? m->tso_segsz : g->len;
	if (sum && g->tcp) {
		check_offload(n, m, f, g, tso);
		make_sums(f, g);
		g->sum_ok = true;
	}
	return true;
}

static void keep(struct sim_nic *n, struct rte_mbuf *m, uint64_t now)
{
	if (n->txhold == 0 || n->nheld == RTE_DIM(n->held)) {
		rte_pktmbuf_free(m);
		return;
	}
	n->held[n->nheld].m = m;
	n->held[n->nheld++].at = now;
}

static void let_go(struct sim_nic *n, uint64_t now)
{
	unsigned int k = 0;

	while (k < n->nheld && n->held[k].at + n->txhold <= now)
		rte_pktmbuf_free(n->held[k++].m);
	n->nheld -= k;
	memmove(n->held, n->held + k, n->nheld * sizeof(n->held[0]));
}

void sim_nic_flush(struct sim_nic *n)
{
	let_go(n, UINT64_MAX - n->txhold);
	while (n->ninject > 0)
		rte_pktmbuf_free(n->inject[--n->ninject]);
	while (n->nbacklog > 0)
		rte_pktmbuf_free(n->backlog[--n->nbacklog].m);
}

static void send_frame(struct sim_nic *n, uint16_t q, struct rte_mbuf *m, uint64_t now)
{
	static uint8_t f[FRAME_MAX];
	struct sim *s = n->sim;
	uint32_t len = m->pkt_len, off = 0, seg = 0, mtu = n->link->mtu;
	struct sim_seg g;
	char text[128];

	SIM_CHECK(s, SIM_CK_WIRE_SIZE, !(n->caps & SIM_CAP_ONESEG) || m->nb_segs == 1,
	    "a chain for a port that sends none");
	for (const struct rte_mbuf *p = m; p != NULL && off + p->data_len <= FRAME_MAX;
	     p = p->next) {
		SIM_CHECK(s, SIM_CK_WIRE_SIZE, !(n->caps & SIM_CAP_DIRECT) || RTE_MBUF_DIRECT(p),
		    "an indirect buffer for a port that sends none");
		memcpy(f + off, rte_pktmbuf_mtod(p, const uint8_t *), p->data_len);
		off += p->data_len;
	}
	SIM_CHECK(s, SIM_CK_WIRE_SUM, off == len, "a chain of %u bytes that says %u", off, len);
	if (!offload(n, m, f, &g, &seg)) {
		SIM_CHECK(s, SIM_CK_WIRE_SUM, !is_l3(n) && f[12] == 8 && f[13] == 6,
		    "neither IP nor ARP, or malformed");
		emit(n, q, f, len, now);
		return;
	}
	if (g.tcp) {
		if (s->plant != 0)
			sim_plant(s, &g, &seg);
		SIM_CHECK(s, SIM_CK_WIRE_SUM, g.sum_ok, "TCP checksum");
		/* What a squeue could not send yet is overtaken by what the connection sends from
		 * the next one. */
		sim_wire_check(s, &g, seg, mtu,
		    (s->moves[n->stack] == 0 && s->parks[n->stack] == 0) ||
			(n->txpart == 0 && n->link->depth >= 1024));
		if (s->opt->verbose) {
			sim_seg_text(&g, text, sizeof(text));
			sim_say(s, "stack %u link %ld packet %lu > %s", n->stack,
			    (long)(n->link - s->link), (unsigned long)n->count + 1, text);
		}
	}
	if (g.tcp && seg < g.len) {
		s->op_done[SIM_CAPS]++;
		segment(n, q, f, &g, seg, now);
	} else if (!too_large(n, f, &g)) {
		emit(n, q, f, len, now);
	}
}

static uint16_t nic_tx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct sim_nic *nic = ctx;
	struct sim *s = nic->sim;
	uint16_t take = n;

	let_go(nic, now);
	if (!flush_backlog(nic, now))
		return 0;
	if (nic->txpart != 0 && !s->is_quiet && sim_hash(nic->txpart, ++nic->calls) % 8 == 0) {
		take = (uint16_t)(sim_hash(nic->txpart + 1, nic->calls) % (n + 1u));
		s->op_done[SIM_TXPART] += take < n;
	}
	for (uint16_t i = 0; i < take; i++) {
		if (nic->nbacklog > 0) {
			s->op_done[SIM_DEPTH]++;
			return i;
		}
		send_frame(nic, q, pkts[i], now);
		keep(nic, pkts[i], now);
	}
	return take;
}

/* ---- receive ---- */

/* What a port says of the checksums that it looked at. */
static void mark(struct rte_mbuf *m, const uint8_t *f, uint32_t len, bool l3)
{
	struct sim_seg g;

	if (!sim_parse(f, len, l3, true, &g) || !g.tcp)
		return;
	if (!g.v6)
		m->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD;
	m->ol_flags |= g.sum_ok ? RTE_MBUF_F_RX_L4_CKSUM_GOOD : RTE_MBUF_F_RX_L4_CKSUM_BAD;
}

static void note(struct sim *s, unsigned int stack, const struct sim_seg *g)
{
	if (s->nrx[stack] == s->caprx[stack]) {
		s->caprx[stack] = s->caprx[stack] == 0 ? 64 : 2 * s->caprx[stack];
		s->rx[stack] = realloc(s->rx[stack], s->caprx[stack] * sizeof(*g));
		if (s->rx[stack] == NULL)
			abort();
	}
	s->rx[stack][s->nrx[stack]++] = *g;
}

static void arrived(struct sim_nic *n, uint16_t q, struct rte_mbuf *m, uint64_t now)
{
	static uint8_t f[FRAME_MAX];
	struct sim *s = n->sim;
	uint32_t len = m->pkt_len, off = 0;
	struct sim_seg g;
	char text[128];

	for (const struct rte_mbuf *p = m; p != NULL && off + p->data_len <= FRAME_MAX;
	     p = p->next) {
		memcpy(f + off, rte_pktmbuf_mtod(p, const uint8_t *), p->data_len);
		off += p->data_len;
	}
	if (s->pcap != NULL)
		capture(s, f, len, now);
	if (n->caps & SIM_CAP_RXCKSUM)
		mark(m, f, len, is_l3(n));
	if (!sim_parse(f, len, is_l3(n), true, &g) || !g.tcp)
		return;
	if (s->opt->verbose) {
		sim_seg_text(&g, text, sizeof(text));
		sim_say(s, "stack %u link %ld < %s%s", n->stack, (long)(n->link - s->link), text,
		    g.sum_ok ? "" : " (bad checksum)");
	}
	g.sq = q % s->nsq[n->stack];
	if (g.sum_ok)
		note(s, n->stack, &g);
}

/* The queue of the wire that is read as queue q. */
static uint16_t behind(struct sim_nic *n, uint16_t q)
{
	if (n->nq == 1 || n->steer == SIM_STEER_RIGHT)
		return q;
	n->sim->op_done[SIM_STEER]++;
	if (n->steer == SIM_STEER_PERMUTED)
		return (uint16_t)((q + 1u) % n->nq);
	return (uint16_t)((q + sim_hash(n->sim->order + n->end, ++n->calls)) % n->nq);
}

static uint16_t nic_rx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct sim_nic *nic = ctx;
	struct sim *s = nic->sim;
	uint16_t got = 0;

	let_go(nic, now);
	(void)flush_backlog(nic, now);
	if (nic->rxpart != 0 && n > 1 && !s->is_quiet &&
	    sim_hash(nic->rxpart, ++nic->calls) % 4 == 0) {
		n = (uint16_t)(1 + sim_hash(nic->rxpart + 1, nic->calls) % (n - 1u));
		s->op_done[SIM_RXPART]++;
	}
	while (q == 0 && nic->ninject > 0 && got < n) {
		pkts[got++] = nic->inject[0];
		nic->ninject--;
		memmove(nic->inject, nic->inject + 1, nic->ninject * sizeof(nic->inject[0]));
	}
	got = (uint16_t)(got + nic->impair.ops->rx(nic->impair.ctx, behind(nic, q), pkts + got,
				   (uint16_t)(n - got), now));
	for (uint16_t i = 0; i < got; i++)
		arrived(nic, q, pkts[i], now);
	return got;
}

static uint64_t nic_next(void *ctx, uint16_t q)
{
	struct sim_nic *n = ctx;

	if ((q == 0 && n->ninject > 0) || n->nbacklog > 0)
		return 0;
	if (n->steer != SIM_STEER_RIGHT) {
		uint64_t next = UINT64_MAX;

		for (uint16_t i = 0; i < n->nq; i++)
			next = RTE_MIN(next, n->impair.ops->next(n->impair.ctx, i));
		return next;
	}
	return n->impair.ops->next(n->impair.ctx, q);
}

static int nic_info(void *ctx, struct sluice_port_info *info)
{
	struct sim_nic *n = ctx;
	int rc = n->impair.ops->info(n->impair.ctx, info);

	if (n->caps & SIM_CAP_CKSUM)
		info->caps |= SLUICE_CAP_TX_IP4_CKSUM | SLUICE_CAP_TX_L4_CKSUM;
	if (n->caps & SIM_CAP_TSO) {
		info->caps |= SLUICE_CAP_TX_TSO;
		info->tso_max = 20000;
	}
	if (n->caps & SIM_CAP_RXCKSUM)
		info->caps |= SLUICE_CAP_RX_CKSUM;
	if (n->caps & SIM_CAP_ONESEG)
		info->caps &= ~(uint32_t)SLUICE_CAP_TX_MULTISEG;
	if (n->caps & SIM_CAP_DIRECT)
		info->caps &= ~(uint32_t)SLUICE_CAP_TX_INDIRECT;
	return rc;
}

static void nic_stats(void *ctx, struct sluice_port_stats *st)
{
	struct sim_nic *n = ctx;

	n->impair.ops->stats(n->impair.ctx, st);
}

static int nic_steer(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sport, uint16_t dport)
{
	struct sim_nic *n = ctx;

	if (n->steer == SIM_STEER_UNKNOWN)
		return -1;
	return n->impair.ops->steer(n->impair.ctx, src, dst, sport, dport);
}

static int nic_arrives(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sport, uint16_t dport)
{
	struct sim_nic *n = ctx;

	if (n->steer == SIM_STEER_UNKNOWN)
		return -1;
	return n->impair.ops->arrives(n->impair.ctx, src, dst, sport, dport);
}

static int nic_spread(void *ctx, uint64_t queues)
{
	struct sim_nic *n = ctx;

	return n->impair.ops->spread(n->impair.ctx, queues);
}

static void nic_destroy(void *ctx)
{
	struct sim_nic *n = ctx;

	sim_nic_flush(n);
	n->impair.ops->destroy(n->impair.ctx);
}

static const struct sluice_driver_ops nic_ops = {.size = sizeof(nic_ops),
    .name = "simnic",
    .rx = nic_rx,
    .tx = nic_tx,
    .info = nic_info,
    .stats = nic_stats,
    .next = nic_next,
    .steer = nic_steer,
    .destroy = nic_destroy};

struct sluice_driver sim_nic_driver(struct sim_nic *n)
{
	n->ops = nic_ops;
	if (n->impair.ops->steer == NULL) /* one queue */
		n->ops.steer = NULL;
	if (n->impair.ops->spread != NULL) {
		n->ops.spread = nic_spread;
		n->ops.arrives = nic_arrives;
	}
	return (struct sluice_driver){.ops = &n->ops, .ctx = n};
}

/* ---- the fate of a packet ---- */

static void apply(struct sim_nic *n, const struct sim_item *it, struct sluice_impair_fate *f)
{
	uint64_t v = (uint64_t)it->a[3];

	switch (it->op) {
	case SIM_LOSE:
		f->lose = true;
		break;
	case SIM_TWICE:
		f->dup = true;
		break;
	case SIM_LATE:
		f->delay += v;
		break;
	case SIM_HOLD:
		f->hold = v;
		break;
	case SIM_FLIP:
		f->flip = (int64_t)v;
		break;
	case SIM_CUT:
		f->cut = (uint32_t)v;
		break;
	default:
		return;
	}
	n->sim->op_done[it->op]++;
}

static bool in_blackout(struct sim_nic *n, uint64_t now)
{
	const struct sim *s = n->sim;

	for (unsigned int i = 0; i < s->nevents; i++) {
		const struct sim_item *it = s->event[i];
		uint64_t from = SIM_START + (uint64_t)it->a[0];

		if (it->op == SIM_BLACKOUT && &s->link[it->a[1]].nic[it->a[2]] == n &&
		    now >= from && now - from < (uint64_t)it->a[3])
			return true;
	}
	return false;
}

static bool by_flag(struct sim_nic *n, const struct rte_mbuf *m)
{
	uint8_t buf[256];
	uint32_t len = RTE_MIN(m->pkt_len, (uint32_t)sizeof(buf)), l3 = is_l3(n) ? 0 : 14, th;
	const uint8_t *f;

	if (n->flag_left == 0 || len < l3 + 40)
		return false;
	f = rte_pktmbuf_read(m, 0, len, buf);
	th = l3 + (f[l3] >> 4 == 4 ? 20 : 40);
	if (f[l3 + (f[l3] >> 4 == 4 ? 9 : 6)] != 6 || len < th + 20 ||
	    (f[th + 13] & n->flag_mask) == 0)
		return false;
	n->flag_left--;
	return true;
}

/* Everything that was decided goes to the record: the plan without chance. */
static void record(struct sim_nic *n, const struct sluice_impair_fate *f)
{
	struct sim_plan *r = n->sim->opt->record;
	int64_t l = n->link - n->sim->link, e = n->end, c = (int64_t)n->count;

	if (f->lose) {
		SIM_ADD(r, SIM_LOSE, l, e, c);
		return;
	}
	if (f->dup)
		SIM_ADD(r, SIM_TWICE, l, e, c);
	if (f->delay > n->p.delay)
		SIM_ADD(r, SIM_LATE, l, e, c, (int64_t)(f->delay - n->p.delay));
	if (f->hold != 0)
		SIM_ADD(r, SIM_HOLD, l, e, c, (int64_t)f->hold);
	if (f->flip >= 0)
		SIM_ADD(r, SIM_FLIP, l, e, c, f->flip);
	if (f->cut != 0)
		SIM_ADD(r, SIM_CUT, l, e, c, f->cut);
}

void sim_nic_fate(void *arg, uint16_t q, const struct rte_mbuf *m, uint64_t now, bool copy,
    struct sluice_impair_fate *f)
{
	struct sim_nic *n = arg;
	struct sim *s = n->sim;
	uint64_t base = n->p.delay;

	n->count++;
	if (s->is_quiet) { /* delay remains */
		*f = (struct sluice_impair_fate){.delay = base, .flip = -1};
		return;
	}
	while (n->at_fault < n->nfaults && n->fault[n->at_fault].n < n->count)
		n->at_fault++;
	for (; n->at_fault < n->nfaults && n->fault[n->at_fault].n == n->count; n->at_fault++)
		apply(n, n->fault[n->at_fault].it, f);
	if (s->opt->record != NULL)
		record(n, f);
	if (!f->lose && by_flag(n, m)) {
		f->lose = true;
		s->op_done[SIM_LOSEFLAG]++;
	}
	if (!f->lose && in_blackout(n, now)) {
		f->lose = true;
		s->op_done[SIM_BLACKOUT]++;
	}
	if (s->opt->verbose &&
	    (f->lose || f->dup || f->hold || f->flip >= 0 || f->cut || f->delay > base))
		sim_say(s, "link %ld end %u packet %lu:%s%s late %lu hold %lu flip %ld cut %u",
		    (long)(n->link - s->link), n->end, (unsigned long)n->count,
		    f->lose ? " lost" : "", f->dup ? " twice" : "",
		    (unsigned long)(f->delay - base), (unsigned long)f->hold, (long)f->flip,
		    f->cut);
}
