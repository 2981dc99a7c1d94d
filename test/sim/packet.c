/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets as the simulator reads them: its own parser, that trusts nothing of the stack's. */
#include <string.h>

#include "sim.h"

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)be16(p) << 16 | be16(p + 2);
}

uint16_t sim_sum(const uint8_t *p, uint32_t len, uint32_t sum)
{
	uint64_t s = sum;

	for (; len > 1; len -= 2, p += 2)
		s += be16(p);
	if (len > 0)
		s += (uint32_t)p[0] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

/* Of the pseudo-header; not folded. */
uint32_t sim_pseudo(const uint8_t *f, const struct sim_seg *g)
{
	const uint8_t *h = f + g->l3;
	uint32_t len = g->iplen - (uint32_t)(g->l4 - g->l3);

	if (g->v6)
		return sim_sum(h + 8, 32, 0) + (len >> 16) + (len & 0xffff) + 6;
	return sim_sum(h + 12, 8, 0) + len + 6;
}

static bool one_option(struct sim_seg *g, const uint8_t *p, unsigned int len, bool syn)
{
	switch (p[0]) {
	case 2:
		g->mss = be16(p + 2);
		return len == 4 && syn;
	case 3:
		g->has_ws = true;
		g->ws = p[2];
		return len == 3 && syn && g->ws <= 14;
	case 4:
		g->sackok = true;
		return len == 2 && syn;
	case 5:
		if (syn || len < 10 || len > 34 || (len - 2) % 8 != 0 || g->nsack != 0)
			return false;
		for (unsigned int i = 2; i < len; i += 8) {
			g->sack[g->nsack][0] = be32(p + i);
			g->sack[g->nsack++][1] = be32(p + i + 4);
		}
		return true;
	case 8:
		if (len != 10 || g->has_ts)
			return false;
		g->has_ts = true;
		g->tsval = be32(p + 2);
		g->tsecr = be32(p + 6);
		return true;
	default:
		return false;
	}
}

static bool options(struct sim_seg *g, const uint8_t *p, const uint8_t *end)
{
	bool syn = (g->flags & SL_TH_SYN) != 0;

	while (p < end && *p != 0) {
		if (*p == 1) {
			p++;
			continue;
		}
		if (end - p < 2 || p[1] < 2 || p[1] > end - p || !one_option(g, p, p[1], syn))
			return false;
		p += p[1];
	}
	for (; p < end; p++)
		if (*p != 0)
			return false;
	return true;
}

static void addresses(struct sim_seg *g, const uint8_t *h, bool rx)
{
	struct sluice_addr s, d;

	memset(&g->key, 0, sizeof(g->key));
	if (g->v6) {
		memcpy(&s, h + 8, 16);
		memcpy(&d, h + 24, 16);
	} else {
		uint32_t w;

		memcpy(&w, h + 12, 4);
		s = sl_addr4(w);
		memcpy(&w, h + 16, 4);
		d = sl_addr4(w);
	}
	g->key.laddr = rx ? d : s;
	g->key.raddr = rx ? s : d;
}

static bool network(const uint8_t *f, uint32_t len, bool l3, struct sim_seg *g, uint8_t *proto)
{
	const uint8_t *h;
	uint16_t hlen;

	g->l3 = l3 ? 0 : 14;
	if (len < g->l3 + 20u)
		return false;
	h = f + g->l3;
	if (l3 ? h[0] >> 4 == 4 : be16(f + 12) == 0x0800) {
		hlen = (uint16_t)((h[0] & 15) * 4);
		g->iplen = be16(h + 2);
		*proto = h[9];
		if (h[0] >> 4 != 4 || hlen < 20 || (be16(h + 6) & 0x3fff) != 0 ||
		    len < g->l3 + hlen || sim_sum(h, hlen, 0) != 0xffff)
			return false;
	} else if (l3 ? h[0] >> 4 == 6 : be16(f + 12) == 0x86dd) {
		hlen = 40;
		g->v6 = true;
		if (len < g->l3 + 40u || h[0] >> 4 != 6)
			return false;
		g->iplen = (uint16_t)(be16(h + 4) + 40);
		*proto = h[6];
	} else {
		return false;
	}
	g->l4 = (uint16_t)(g->l3 + hlen);
	return g->iplen >= hlen && len >= (uint32_t)g->l3 + g->iplen;
}

bool sim_parse(const uint8_t *f, uint32_t len, bool l3, bool rx, struct sim_seg *g)
{
	const uint8_t *t;
	uint8_t proto;

	memset(g, 0, sizeof(*g));
	if (!network(f, len, l3, g, &proto))
		return false;
	addresses(g, f + g->l3, rx);
	t = f + g->l4;
	if (proto != 6)
		return true;
	if (g->l3 + g->iplen < g->l4 + 20)
		return false;
	g->th_len = (uint16_t)((t[12] >> 4) * 4);
	if (g->th_len < 20 || g->l4 + g->th_len > g->l3 + g->iplen)
		return false;
	g->tcp = true;
	memcpy(&g->key.lport, t + (rx ? 2 : 0), 2);
	memcpy(&g->key.rport, t + (rx ? 0 : 2), 2);
	g->seq = be32(t + 4);
	g->ack = be32(t + 8);
	g->flags = t[13];
	g->wnd = be16(t + 14);
	g->urp = be16(t + 18);
	g->len = (uint32_t)(g->l3 + g->iplen - g->l4 - g->th_len);
	g->sum_ok = sim_sum(t, (uint32_t)(g->l3 + g->iplen - g->l4), sim_pseudo(f, g)) == 0xffff;
	g->wellformed = options(g, t + 20, t + g->th_len);
	return true;
}

void sim_seg_text(const struct sim_seg *g, char *buf, size_t len)
{
	static const char names[] = "FSRPAUEC";
	char flags[9];
	unsigned int n = 0;

	for (unsigned int i = 0; i < 8; i++)
		if (g->flags >> i & 1)
			flags[n++] = names[i];
	flags[n] = '\0';
	snprintf(buf, len, "%u>%u %s seq %u len %u ack %u wnd %u%s%s", ntohs(g->key.lport),
	    ntohs(g->key.rport), flags, g->seq, g->len, g->ack, g->wnd, g->has_ts ? " ts" : "",
	    g->nsack > 0 ? " sack" : "");
}
