/* SPDX-License-Identifier: BSD-3-Clause */
/* See sent.h. */
#include "sent.h"

#include <string.h>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include <base/seq.h>

#include "fuzz.h"

#define MAX_BYTES 1514u

static uint32_t be(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* What is acknowledged beyond the ACK, each block of some length; a duplicate comes first (RFC
 * 2883). */
static void check_sack(const struct sent *s, const uint8_t *o, unsigned int n)
{
	FUZZ_MUST(n >= 8 && n <= 32 && n % 8 == 0 && !(s->flags & RTE_TCP_SYN_FLAG));
	for (unsigned int k = 0; k < n; k += 8) {
		FUZZ_MUST(seq_lt(be(o + k), be(o + k + 4)));
		FUZZ_MUST(k == 0 || seq_gt(be(o + k), s->ack));
	}
}

static void check_options(struct sent *s, const uint8_t *o, unsigned int n)
{
	bool syn = s->flags & RTE_TCP_SYN_FLAG;

	s->wscale = -1;
	for (unsigned int i = 0; i < n;) {
		if (o[i] == 1) {
			i++;
			continue;
		}
		FUZZ_MUST(n - i >= 2 && o[i + 1] >= 2 && o[i + 1] <= n - i);
		switch (o[i]) {
		case 2:
			FUZZ_MUST(syn && o[i + 1] == 4);
			break;
		case 3:
			FUZZ_MUST(syn && o[i + 1] == 3 && o[i + 2] <= 14);
			s->wscale = o[i + 2];
			break;
		case 4:
			FUZZ_MUST(syn && o[i + 1] == 2);
			break;
		case 5:
			check_sack(s, o + i + 2, o[i + 1] - 2u);
			break;
		default:
			FUZZ_MUST(o[i] == 8 && o[i + 1] == 10 && !s->ts);
			s->ts = true;
			s->tsval = be(o + i + 2);
			break;
		}
		i += o[i + 1];
	}
}

static void check_tcp(struct sent *s, const uint8_t *t, uint32_t len)
{
	uint32_t hl = (t[12] >> 4) * 4u;

	FUZZ_MUST(hl >= 20 && hl <= len && (t[12] & 15) == 0);
	*s = (struct sent){.v6 = s->v6,
	    .flags = t[13],
	    .sport = (uint16_t)(t[0] << 8 | t[1]),
	    .dport = (uint16_t)(t[2] << 8 | t[3]),
	    .seq = be(t + 4),
	    .ack = be(t + 8),
	    .wnd = (uint16_t)(t[14] << 8 | t[15]),
	    .urp = (uint16_t)(t[18] << 8 | t[19]),
	    .len = len - hl};
	FUZZ_MUST(
	    !(s->flags & RTE_TCP_SYN_FLAG) || !(s->flags & (RTE_TCP_FIN_FLAG | RTE_TCP_RST_FLAG)));
	FUZZ_MUST(!(s->flags & (RTE_TCP_RST_FLAG | RTE_TCP_SYN_FLAG)) || s->len == 0);
	FUZZ_MUST(s->flags & (RTE_TCP_SYN_FLAG | RTE_TCP_RST_FLAG | RTE_TCP_ACK_FLAG));
	FUZZ_MUST((s->flags & RTE_TCP_ACK_FLAG) || s->ack == 0);
	FUZZ_MUST(((s->flags & RTE_TCP_URG_FLAG) != 0) == (s->urp != 0));
	check_options(s, t + 20, hl - 20);
}

bool fuzz_sent(const struct rte_mbuf *m, struct sent *s)
{
	uint8_t b[MAX_BYTES];
	const struct rte_ipv4_hdr *ip4 = (const void *)(b + 14);
	const struct rte_ipv6_hdr *ip6 = (const void *)(b + 14);
	uint32_t len = m->pkt_len, n = 0, segs = 0;
	uint16_t type;

	FUZZ_MUST(len >= 14 && len <= MAX_BYTES);
	for (const struct rte_mbuf *k = m; k != NULL; k = k->next, segs++) {
		FUZZ_MUST(n + k->data_len <= len);
		memcpy(b + n, rte_pktmbuf_mtod(k, const void *), k->data_len);
		n += k->data_len;
	}
	FUZZ_MUST(n == len && segs == m->nb_segs);
	type = (uint16_t)(b[12] << 8 | b[13]);
	s->v6 = type == RTE_ETHER_TYPE_IPV6;
	if (type == RTE_ETHER_TYPE_IPV4) {
		FUZZ_MUST(len >= 34 && ip4->version_ihl == 0x45);
		FUZZ_MUST(rte_be_to_cpu_16(ip4->total_length) == len - 14);
		FUZZ_MUST(rte_raw_cksum(ip4, 20) == 0xffff);
		if (ip4->next_proto_id != IPPROTO_TCP)
			return false;
		FUZZ_MUST(len >= 54 && rte_ipv4_udptcp_cksum_verify(ip4, b + 34) == 0);
		check_tcp(s, b + 34, len - 34);
		return true;
	}
	if (!s->v6)
		return false;
	FUZZ_MUST(len >= 54 && rte_be_to_cpu_16(ip6->payload_len) == len - 54);
	if (ip6->proto != IPPROTO_TCP)
		return false;
	FUZZ_MUST(len >= 74 && rte_ipv6_udptcp_cksum_verify(ip6, b + 54) == 0);
	check_tcp(s, b + 54, len - 54);
	return true;
}
