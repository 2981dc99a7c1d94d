/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a stack may send. Each direction of each four-tuple has a record of what was said in it: the
 * options of its SYN, the highest sequence number, acknowledgement, right edge and timestamp. A
 * segment is held to the records of both directions. Sent is counted, not arrived: so a bound from
 * the other direction is never too tight.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static unsigned int bucket(const struct sl_key *k)
{
	return (ntohs(k->lport) * 31u + ntohs(k->rport) + k->raddr.b[15]) % 64;
}

struct sim_flow *sim_flow_find(struct sim *s, const struct sl_key *sender, bool make)
{
	struct sim_flow **b = &s->flow[bucket(sender)], *f;

	for (f = *b; f != NULL; f = f->next)
		if (memcmp(&f->key, sender, sizeof(*sender)) == 0)
			return f;
	if (!make)
		return NULL;
	f = calloc(1, sizeof(*f));
	if (f == NULL)
		abort();
	f->key = *sender;
	f->next = *b;
	*b = f;
	return f;
}

static struct sl_key turned(const struct sl_key *k)
{
	return (struct sl_key){.laddr = k->raddr,
	    .raddr = k->laddr,
	    .lport = k->rport,
	    .rport = k->lport,
	    .vrf = k->vrf};
}

static void check_syn(struct sim *s, struct sim_flow *f, const struct sim_seg *g, uint32_t mtu)
{
	uint32_t hdr = g->v6 ? 60 : 40;

	SIM_CHECK(s, SIM_CK_WIRE_SIZE, g->mss == 0 || g->mss <= mtu - hdr,
	    "MSS %u offered on a link of %u", g->mss, mtu);
	if (!f->syn || f->isn != g->seq) {
		struct sl_key key = f->key;
		struct sim_flow *next = f->next;
		uint32_t tsval = f->tsval;
		bool ts = f->ts && g->has_ts;

		*f = (struct sim_flow){.key = key, .next = next, .syn = true, .isn = g->seq};
		f->end = g->seq + 1;
		f->tsval = ts ? tsval : g->tsval; /* goes on from one incarnation to the next */
	}
	f->ts = g->has_ts;
	f->sack = g->sackok;
	f->mss = RTE_MAX(f->mss, g->mss); /* sent again after a change: either may have arrived */
	f->ws = g->has_ws ? (int8_t)g->ws : -1;
}

static bool both_ts(const struct sim_flow *f, const struct sim_flow *p)
{
	return f->ts && p->ts;
}

static void check_options(
    struct sim *s, const struct sim_flow *f, const struct sim_flow *p, const struct sim_seg *g)
{
	unsigned int most = g->has_ts ? 3 : 4;

	SIM_CHECK(s, SIM_CK_WIRE_OPTS, g->has_ts == both_ts(f, p), "timestamps %d, negotiated %d",
	    g->has_ts, both_ts(f, p));
	SIM_CHECK(s, SIM_CK_WIRE_OPTS, g->nsack == 0 || (f->sack && p->sack),
	    "SACK that was not negotiated");
	SIM_CHECK(s, SIM_CK_WIRE_OPTS, g->nsack <= most, "%u SACK blocks", g->nsack);
	for (unsigned int i = 0; i < g->nsack; i++) {
		uint32_t a = g->sack[i][0], b = g->sack[i][1];
		bool dsack =
		    i == 0 && (seq_le(b, g->ack) || (g->nsack > 1 && seq_ge(a, g->sack[1][0]) &&
							seq_le(b, g->sack[1][1])));

		SIM_CHECK(s, SIM_CK_WIRE_OPTS,
		    seq_lt(a, b) && seq_le(b, p->end) && (dsack || seq_gt(a, g->ack)),
		    "SACK block %u: %u..%u, ack %u, sent up to %u", i, a, b, g->ack, p->end);
	}
}

/* The right edge: what the window says may be up to a unit of its scale less than was promised (RFC
 * 7323 2.4). */
static void check_edge(struct sim *s, struct sim_flow *f, const struct sim_flow *p,
    const struct sim_seg *g, bool ordered)
{
	unsigned int shift = f->ws >= 0 && p->ws >= 0 ? (unsigned int)f->ws : 0;
	uint32_t edge = g->ack + ((uint32_t)g->wnd << shift), slack = (1u << shift) - 1;

	if (g->flags & SL_TH_SYN)
		edge = g->ack + g->wnd;
	if (f->acked && ordered) {
		SIM_CHECK(s, SIM_CK_EDGE, seq_ge(edge + slack, f->edge),
		    "edge %u after %u: ack %u wnd %u << %u", edge, f->edge, g->ack, g->wnd, shift);
		SIM_CHECK(
		    s, SIM_CK_WIRE_SEQ, seq_ge(g->ack, f->ack), "ack %u after %u", g->ack, f->ack);
	}
	SIM_CHECK(s, SIM_CK_WIRE_SEQ, seq_le(g->ack, p->end), "ack %u of what was sent up to %u",
	    g->ack, p->end);
	f->edge = f->acked ? seq_max(f->edge, edge) : edge;
	f->ack = f->acked ? seq_max(f->ack, g->ack) : g->ack;
	f->acked = true;
}

static void check_sequence(
    struct sim *s, struct sim_flow *f, const struct sim_flow *p, const struct sim_seg *g)
{
	uint32_t end = g->seq + g->len + !!(g->flags & SL_TH_FIN);

	if (g->len > 0 || (g->flags & SL_TH_FIN))
		SIM_CHECK(s, SIM_CK_WIRE_SEQ, p->acked && seq_le(end, p->edge + 1),
		    "up to %u, the window ends at %u", end, p->edge);
	SIM_CHECK(s, SIM_CK_WIRE_SEQ, !f->fin || seq_le(end, f->fin_end), "up to %u after FIN %u",
	    end, f->fin_end);
	if (g->flags & SL_TH_FIN) {
		f->fin = true;
		f->fin_end = end;
	}
	f->end = seq_max(f->end, end);
}

void sim_wire_check(
    struct sim *s, const struct sim_seg *g, uint32_t seg, uint32_t mtu, bool ordered)
{
	struct sl_key back = turned(&g->key);
	struct sim_flow *f, *p;
	uint32_t mss, opts = g->th_len - 20u;

	SIM_CHECK(s, SIM_CK_WIRE_OPTS, g->wellformed, "options of %u bytes are malformed",
	    g->th_len - 20u);
	SIM_CHECK(s, SIM_CK_WIRE_SIZE, (uint32_t)(g->l4 - g->l3) + g->th_len + seg <= mtu,
	    "%u bytes of payload on a link of %u", seg, mtu);
	if (g->flags & SL_TH_RST)
		return;
	f = sim_flow_find(s, &g->key, true);
	if (g->flags & SL_TH_SYN)
		check_syn(s, f, g, mtu);
	if (g->has_ts) {
		SIM_CHECK(s, SIM_CK_WIRE_TS, !ordered || seq_ge(g->tsval, f->tsval),
		    "timestamp %u after %u", g->tsval, f->tsval);
		f->tsval = seq_max(f->tsval, g->tsval);
	}
	p = sim_flow_find(s, &back, false);
	if (p == NULL || !p->syn || !f->syn)
		return;
	if (g->flags & SL_TH_ACK)
		check_edge(s, f, p, g, ordered);
	if (g->flags & SL_TH_SYN)
		return;
	check_options(s, f, p, g);
	check_sequence(s, f, p, g);
	mss = p->mss != 0 ? p->mss : g->v6 ? 1220 : 536;
	SIM_CHECK(s, SIM_CK_WIRE_SIZE, seg + opts <= mss,
	    "%u bytes and %u of options for an MSS of %u", seg, opts, mss);
}
