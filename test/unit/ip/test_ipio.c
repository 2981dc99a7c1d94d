/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets in and out: validation, ICMP, all forms of output, local delivery, VRFs, steering. */
#include "ipt.h"

#include <rte_ip.h>

#define CAPS (SLUICE_CAP_TX_MULTISEG | SLUICE_CAP_TX_INDIRECT)

static struct ipt *start(uint32_t caps, unsigned int nsq)
{
	struct ipt *t = ipt_new(caps, nsq);

	ipt_if(t, 0, SLUICE_VLAN_NONE, SLUICE_VLAN_NONE, 0);
	ipt_addr_add(t, 0, "10.0.0.1", 24);
	ipt_addr_add(t, 0, "2001:db8::1", 64);
	t->neighs[0] = (struct sl_cfg_neigh){.addr = ipt_addr("10.0.0.2")};
	t->neighs[1] = (struct sl_cfg_neigh){.addr = ipt_addr("2001:db8::2")};
	memcpy(t->neighs[0].mac, ipt_peer, 6);
	memcpy(t->neighs[1].mac, ipt_peer, 6);
	t->cfg.nneighs = 2;
	ipt_config(t);
	return t;
}

static void test_tcp_in(void **state)
{
	struct ipt *t = start(CAPS, 1);
	uint8_t b[2048];
	uint32_t n;

	n = ipt_tcp(b, "10.0.0.2", "10.0.0.1", 1000, 80, 101);
	memset(b + n, 0xee, 9); /* padding is cut */
	ipt_rx(t, 0, b, n + 9);
	ipt_rx(t, 0, b, ipt_tcp(b, "2001:db8::2", "2001:db8::1", 1000, 80, 100));
	assert_int_equal(t->nin, 2);
	assert_int_equal(t->in[0].len, 121);
	assert_int_equal(t->in[0].key.lport, htons(80));
	assert_int_equal(t->in[1].len, 120);
	/* One bit of the segment wrong. */
	n = ipt_tcp(b, "10.0.0.2", "10.0.0.1", 1000, 80, 101);
	b[60] ^= 1;
	ipt_rx(t, 0, b, n);
	n = ipt_tcp(b, "2001:db8::2", "2001:db8::1", 1000, 80, 100);
	b[100] ^= 4;
	ipt_rx(t, 0, b, n);
	assert_int_equal(t->sq.ctr.tcp_in_bad_cksum, 2);
	ipt_free(t);
}

static void test_split_headers(void **state)
{
	struct ipt *t = start(CAPS, 1);
	uint8_t b[256];
	uint32_t n = ipt_tcp(b, "10.0.0.2", "10.0.0.1", 1000, 80, 33);

	for (uint32_t cut = 1; cut < n; cut++) {
		struct rte_mbuf *m = tp_exact(t->mp, b, (uint16_t)cut, 0),
				*r = tp_exact(t->mp, b + cut, (uint16_t)(n - cut), 0);

		m->next = r;
		m->nb_segs = 2;
		m->pkt_len = n;
		sl_ip_input(&t->sq, 0, &m, 1, false);
		assert_int_equal(t->nin, cut);
		assert_true(t->in[cut - 1].m->data_len >= 20);
	}
	ipt_free(t);
}

/* Each length and field wrong in turn: the right counter, nothing delivered. */
static void test_malformed(void **state)
{
	struct ipt *t = start(CAPS, 1);
	struct sluice_counters *c = &t->sq.ctr;
	uint8_t b[256], w[256], *h = w + 14;
	uint32_t n = ipt_tcp(b, "10.0.0.2", "10.0.0.1", 1000, 80, 8);
	struct {
		unsigned int off;
		uint8_t val;
		bool fix;
		uint64_t *ctr;
	} row[] = {
	    {0, 0x35, true, &c->ip_in_hdr_errors},
	    {0, 0x44, true, &c->ip_in_hdr_errors},
	    {0, 0x4f, true, &c->ip_in_hdr_errors},
	    {3, 19, true, &c->ip_in_hdr_errors},
	    {3, 49, true, &c->ip_in_hdr_errors},
	    {2, 1, true, &c->ip_in_hdr_errors},
	    {10, 0, false, &c->ip_in_bad_cksum},
	    {12, 127, true, &c->ip_in_bad_src},
	    {12, 0, true, &c->ip_in_bad_src},
	    {12, 224, true, &c->ip_in_bad_src},
	    {12, 255, true, &c->ip_in_bad_src},
	    {15, 1, true, &c->ip_in_bad_src},
	    {19, 9, true, &c->ip_in_not_local},
	    {16, 224, true, &c->ip_in_not_local},
	    {32, 0x40, false, &c->tcp_in_hdr_errors},
	    {32, 0xf0, false, &c->tcp_in_hdr_errors},
	    {3, 39, true, &c->tcp_in_hdr_errors},
	};

	for (unsigned int i = 0; i < RTE_DIM(row); i++) {
		uint64_t before = *row[i].ctr;

		memcpy(w, b, n);
		h[row[i].off] = row[i].val;
		if (row[i].fix && (h[0] & 15) <= 6)
			ipt_fix4(h);
		ipt_rx(t, 0, w, n);
		assert_int_equal(*row[i].ctr, before + 1);
		assert_int_equal(t->nin, 0);
	}
	for (uint32_t cut = 0; cut < n; cut++) /* every truncation */
		ipt_rx(t, 0, b, cut);
	n = ipt_tcp(b, "2001:db8::2", "2001:db8::1", 1000, 80, 8);
	for (uint32_t cut = 0; cut < n; cut++)
		ipt_rx(t, 0, b, cut);
	memcpy(w, b, n);
	memcpy(h + 8, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\2", 16); /* v4-mapped on the wire */
	ipt_rx(t, 0, w, n);
	assert_int_equal(t->nin, 0);
	assert_int_equal(t->nerr, 0);
	ipt_free(t);
}

static void test_ext_headers(void **state)
{
	struct ipt *t = start(CAPS, 1);
	uint8_t b[512], p[256] = {0}, *tcp;
	uint32_t n = ipt_tcp(b, "2001:db8::2", "2001:db8::1", 1, 2, 4);

	tcp = b + 54;
	for (unsigned int depth = 1; depth < 10; depth++) { /* destination options, bounded */
		uint8_t w[512];

		memset(p, 0, sizeof(p));
		for (unsigned int i = 0; i < depth; i++) {
			p[i * 8] = i + 1 < depth ? 60 : PROTO_TCP;
			p[i * 8 + 2] = 1;
			p[i * 8 + 3] = 4;
		}
		memcpy(p + depth * 8, tcp, n - 54);
		ipt_rx(t, 0, w, ipt_ip(w, "2001:db8::2", "2001:db8::1", 60, p, depth * 8 + n - 54));
		assert_int_equal(t->nin, depth < 8 ? depth : 8);
		if (depth ==
		    1) { /* a length beyond the packet; a routing header with segments left */
			p[1] = 200;
			ipt_rx(t, 0, w, ipt_ip(w, "2001:db8::2", "2001:db8::1", 60, p, 32));
			p[1] = 0;
			p[3] = 1;
			ipt_rx(t, 0, w, ipt_ip(w, "2001:db8::2", "2001:db8::1", 43, p, 32));
			assert_int_equal(t->sq.ctr.ip_in_ext_bad, 2);
		}
	}
	ipt_free(t);
}

/* What a virtual port says of a packet whose checksums nobody wrote: the data is sound. */
static void test_cksum_none(void **state)
{
	struct ipt *t = start(0, 1);
	const char *src[] = {"10.0.0.2", "2001:db8::2"}, *dst[] = {"10.0.0.1", "2001:db8::1"};
	uint8_t b[256];

	for (int i = 0; i < 2; i++) {
		uint32_t n = ipt_tcp(b, src[i], dst[i], 1, 2, 30);
		uint64_t fl[] = {RTE_MBUF_F_RX_L4_CKSUM_NONE | RTE_MBUF_F_RX_IP_CKSUM_NONE,
		    RTE_MBUF_F_RX_L4_CKSUM_BAD, 0};

		b[14 + (i == 0 ? 20 : 40) + 16] ^= 0x55;
		if (i == 0)
			b[14 + 10] ^= 0x55;
		for (int k = 0; k < 3; k++) {
			struct rte_mbuf *m = tp_exact(t->mp, b, (uint16_t)n, 0);

			m->ol_flags = fl[k];
			sl_ip_input(&t->sq, 0, &m, 1, false);
			assert_int_equal(t->nin, i + 1);
		}
	}
	assert_int_equal(t->sq.ctr.tcp_in_bad_cksum + t->sq.ctr.ip_in_bad_cksum, 4);
	ipt_free(t);
}

/* RFC 1071 as it stands, a word at a time. */
static uint16_t plain_sum(const uint8_t *b, uint32_t len)
{
	uint64_t s = 0;
	uint16_t w;

	for (uint32_t i = 0; i + 1 < len; i += 2) {
		memcpy(&w, b + i, 2);
		s += w;
	}
	s += len & 1 ? b[len - 1] : 0;
	while (s >> 16 != 0)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

/* All lengths around the steps of the sums, at all alignments; bytes that make carries too. */
static void test_sums(void **state)
{
	static uint8_t b[2100];
	struct sl_rng g;

	sl_rng_seed(&g, 7, 0);
	for (int round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < sizeof(b); i++)
			b[i] = round == 0 ? 0xff : round == 1 ? 0x80 : (uint8_t)sl_rng_u64(&g);
		for (uint32_t len = 0; len < 1600; len += len < 700 ? 1 : 31) {
			for (uint32_t off = 0; off < 33; off += 8 - len % 8) {
				uint16_t want = plain_sum(b + off, len);

				assert_int_equal(ip_fold(ip_sum(b + off, len)), want);
				assert_int_equal(ip_fold(ip_sum_short(b + off, len)), want);
				assert_int_equal(ip_fold(ip_sum_long(b + off, len)), want);
			}
		}
	}
}

static void test_echo(void **state)
{
	struct ipt *t = start(CAPS, 1);
	uint8_t b[256], e[64] = {8, 0, 0, 0, 1, 2, 3, 4, 5};
	uint32_t n, s = 0;

	for (int i = 0; i < 64; i += 2)
		s += rd16(e + i);
	wr16(e + 2, (uint16_t)~ip_fold(s));
	n = ipt_ip(b, "10.0.0.2", "10.0.0.1", PROTO_ICMP, e, 64);
	ipt_rx(t, 0, b, n);
	assert_int_equal(t->nout, 1);
	assert_int_equal(rte_pktmbuf_mtod(t->out[0], uint8_t *)[34], 0);
	assert_int_equal(ip_sum_mbuf(t->out[0], 34, 64, 0), 0xffff);
	assert_int_equal(ip_sum_mbuf(t->out[0], 14, 20, 0), 0xffff);
	b[50] ^= 1;
	ipt_rx(t, 0, b, n);
	assert_int_equal(t->sq.ctr.icmp_in_bad, 1);
	memset(e, 0, 64);
	e[0] = 128;
	n = ipt_ip(b, "2001:db8::2", "2001:db8::1", PROTO_ICMP6, e, 64);
	ipt_icmp6_sum(b + 14);
	ipt_rx(t, 0, b, n);
	assert_int_equal(t->nout, 2);
	assert_int_equal(rte_pktmbuf_mtod(t->out[1], uint8_t *)[54], 129);
	t->sq.tun.ip_echo_rate = 0;
	ipt_rx(t, 0, b, n);
	assert_int_equal(t->nout, 2);
	assert_int_equal(t->sq.ctr.icmp_out_limited, 1);
	ipt_free(t);
}

static uint32_t icmp4_error(
    uint8_t *b, uint8_t type, uint8_t code, uint16_t mtu, uint32_t quote, const char *inner_src)
{
	uint8_t e[128] = {type, code}, q[256];
	uint32_t s = 0;

	ipt_tcp(q, inner_src, "10.0.0.2", 80, 1000, 8);
	wr16(e + 6, mtu);
	memcpy(e + 8, q + 14, quote);
	for (uint32_t i = 0; i < 8 + ((quote + 1) & ~1u); i += 2)
		s += rd16(e + i);
	wr16(e + 2, (uint16_t)~ip_fold(s));
	return ipt_ip(b, "10.0.0.77", "10.0.0.1", PROTO_ICMP, e, 8 + quote);
}

static void test_icmp_errors(void **state)
{
	struct ipt *t = start(CAPS, 1);
	uint8_t b[512], e[64 + 40] = {2}, q[256];
	uint32_t n;

	ipt_rx(t, 0, b, icmp4_error(b, 3, 3, 0, 28, "10.0.0.1"));
	assert_int_equal(t->nerr, 1);
	assert_int_equal(t->err[0].err, ECONNREFUSED);
	assert_true(t->err[0].hard);
	assert_int_equal(t->err[0].seq, 1000);
	assert_int_equal(t->err[0].key.lport, htons(80));
	ipt_rx(
	    t, 0, b, icmp4_error(b, 3, 4, 68, 28, "10.0.0.1")); /* spoofed small MTU: the floor */
	assert_int_equal(t->err[1].mtu, 552);
	ipt_rx(t, 0, b, icmp4_error(b, 3, 4, 1400, 28, "10.0.0.1"));
	assert_int_equal(t->err[2].mtu, 1400);
	ipt_rx(t, 0, b, icmp4_error(b, 3, 4, 0, 28, "10.0.0.1"));
	assert_int_equal(t->err[3].mtu, 0);
	for (uint32_t short_q = 0; short_q < 28; short_q++)
		ipt_rx(t, 0, b, icmp4_error(b, 3, 1, 0, short_q, "10.0.0.1"));
	ipt_rx(t, 0, b, icmp4_error(b, 3, 1, 0, 28, "10.0.0.5")); /* not from us */
	assert_int_equal(t->sq.ctr.icmp_in_unmatched, 29);
	ipt_rx(t, 0, b, icmp4_error(b, 4, 0, 0, 28, "10.0.0.1"));
	assert_int_equal(t->sq.ctr.icmp_in_ignored, 1);
	assert_int_equal(t->nerr, 4);
	ipt_tcp(q, "2001:db8::1", "2001:db8::2", 80, 1000, 0);
	memcpy(e + 8, q + 14, 60);
	wr32(e + 4, 600);
	n = ipt_ip(b, "2001:db8::77", "2001:db8::1", PROTO_ICMP6, e, 68);
	ipt_icmp6_sum(b + 14);
	ipt_rx(t, 0, b, n);
	assert_int_equal(t->nerr, 5);
	assert_int_equal(t->err[4].mtu, 1280);
	ipt_free(t);
}

static void test_refuse_and_foreign(void **state)
{
	struct ipt *t = start(CAPS, 1);
	uint8_t b[256], u[16] = {0};
	struct rte_mbuf *m[3];
	uint32_t n;

	ipt_rx(t, 0, b, ipt_ip(b, "10.0.0.2", "10.0.0.1", PROTO_UDP, u, 16));
	assert_int_equal(t->nforeign, 1);
	assert_int_equal(t->nout, 1);
	assert_int_equal(rd16(rte_pktmbuf_mtod_offset(t->out[0], uint8_t *, 34)), 0x0303);
	t->take_foreign = true;
	ipt_rx(t, 0, b, ipt_ip(b, "10.0.0.2", "10.0.0.1", PROTO_UDP, u, 16));
	assert_int_equal(t->nout, 1);
	assert_int_equal(t->sq.ctr.eth_in_passed, 1);
	t->take_foreign = false;
	b[0] = 2;
	b[5] = 9;
	ipt_rx(t, 0, b, 50);
	assert_int_equal(t->sq.ctr.eth_in_not_ours, 1);
	ipt_eth(b, ipt_mac, 0x88cc);
	ipt_rx(t, 0, b, 50);
	assert_int_equal(t->sq.ctr.eth_in_type_unknown, 1);
	m[1] = tp_exact(t->mp, b, 50, 0);
	n = ipt_tcp(b, "10.0.0.2", "10.0.0.1", 1, 2, 3);
	m[0] = tp_exact(t->mp, b, (uint16_t)n, 0);
	m[2] = tp_exact(t->mp, b, (uint16_t)n, 0);
	assert_int_equal(sl_ip_input_push(&t->sq, 0, m, 3), 1);
	assert_int_equal(m[0]->pkt_len, 50);
	rte_pktmbuf_free(m[0]);
	assert_int_equal(t->nin, 2);
	assert_int_equal(t->nbatches, 1);
	ipt_free(t);
}

static void test_vlan(void **state)
{
	struct ipt *t = ipt_new(CAPS, 1);
	struct sl_key k;
	struct sl_flow f = {0};
	uint8_t b[256], w[256];
	uint32_t n;

	ipt_if(t, 0, 7, SLUICE_VLAN_NONE, 0);
	ipt_if(t, 0, 7, 8, 5); /* the same addresses in two VRFs */
	ipt_addr_add(t, 0, "10.0.0.1", 24);
	ipt_addr_add(t, 1, "10.0.0.1", 24);
	ipt_config(t);
	n = ipt_tcp(b, "10.0.0.2", "10.0.0.1", 1, 2, 3);
	memcpy(w, b, 12);
	wr16(w + 12, TYPE_QINQ);
	wr16(w + 14, 7);
	wr16(w + 16, TYPE_VLAN);
	wr16(w + 18, 8);
	memcpy(w + 20, b + 12, n - 12);
	ipt_rx(t, 0, w, n + 8);
	assert_int_equal(t->in[0].key.vrf, 5);
	wr16(w + 12, TYPE_VLAN);
	memcpy(w + 16, b + 12, n - 12);
	ipt_rx(t, 0, w, n + 4);
	assert_int_equal(t->in[1].key.vrf, 0);
	w[15] = 9;
	ipt_rx(t, 0, w, n + 4);
	assert_int_equal(t->sq.ctr.eth_in_vlan_unknown, 1);
	ipt_rx(t, 0, b, n);
	assert_int_equal(t->sq.ctr.ip_in_no_vrf, 1);
	t->neighs[0] = (struct sl_cfg_neigh){.addr = ipt_addr("10.0.0.2"), .ifidx = 1};
	t->cfg.nneighs = 1;
	ipt_config(t);
	k = ipt_key(5, "10.0.0.1", 1, "10.0.0.2", 2);
	assert_int_equal(sl_flow_init(&t->sq, &f, &k, SL_FLOW_CONN), 0);
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), 0);
	sl_flow_send(&t->sq, &f, &k, ipt_seg(t, 5, 1), 20, 0);
	assert_int_equal(
	    rd32(rte_pktmbuf_mtod_offset(t->out[0], uint8_t *, 12)), (uint32_t)TYPE_QINQ << 16 | 7);
	assert_int_equal(
	    rd32(rte_pktmbuf_mtod_offset(t->out[0], uint8_t *, 16)), (uint32_t)TYPE_VLAN << 16 | 8);
	ipt_free(t);
}

/* All forms of output against DPDK's own verification. */
static void test_output(void **state)
{
	static const uint32_t lens[] = {0, 1, 7, 536, 1460, 8000};

	for (unsigned int v6 = 0; v6 < 2; v6++)
		for (unsigned int form = 0; form < 4; form++)
			for (unsigned int i = 0; i < RTE_DIM(lens); i++) {
				uint32_t caps = form == 0   ? CAPS
						: form == 1 ? SLUICE_CAP_TX_MULTISEG
						: form == 2 ? 0
							    : CAPS | SLUICE_CAP_TX_L4_CKSUM |
								  SLUICE_CAP_TX_IP4_CKSUM;
				struct ipt *t = start(caps, 1);
				struct sl_key k =
				    v6 ? ipt_key(0, "2001:db8::1", 5, "2001:db8::2", 6)
				       : ipt_key(0, "10.0.0.1", 5, "10.0.0.2", 6);
				struct sl_flow f = {0};
				struct rte_mbuf *m;
				uint8_t flat[9000], *h = flat + 14;

				sl_flow_init(&t->sq, &f, &k, SL_FLOW_CONN);
				assert_int_equal(sl_flow_ready(&t->sq, &f, &k), 0);
				sl_flow_send(&t->sq, &f, &k,
				    ipt_seg(t, lens[i],
					lens[i] > 1000 ? 5
					: lens[i] > 2  ? 3
						       : 1),
				    20, 0);
				if (form == 2 && lens[i] > 2000) { /* no buffer is that long */
					assert_int_equal(t->nout, 0);
					assert_int_equal(t->sq.ctr.port_tx_nomem, 1);
					ipt_free(t);
					continue;
				}
				m = t->out[0];
				assert_int_equal(m->pkt_len, 14 + (v6 ? 40 : 20) + 20 + lens[i]);
				if (form == 2)
					assert_int_equal(m->nb_segs, 1);
				if (rte_pktmbuf_read(m, 0, m->pkt_len, flat) != flat)
					memcpy(flat, rte_pktmbuf_mtod(m, void *), m->pkt_len);
				if (form == 3) {
					assert_true(m->ol_flags & RTE_MBUF_F_TX_TCP_CKSUM);
					assert_int_equal(m->l2_len, 14);
					wr16(h + (v6 ? 56 : 36), 0);
					if (v6)
						*(unaligned_uint16_t *)(h + 56) =
						    rte_ipv6_udptcp_cksum((void *)h, h + 40);
					else {
						*(unaligned_uint16_t *)(h + 36) =
						    rte_ipv4_udptcp_cksum((void *)h, h + 20);
						*(unaligned_uint16_t *)(h + 10) =
						    rte_ipv4_cksum((void *)h);
					}
				}
				if (v6) {
					assert_int_equal(
					    rte_ipv6_udptcp_cksum_verify((void *)h, h + 40), 0);
				} else {
					assert_int_equal(
					    rte_ipv4_udptcp_cksum_verify((void *)h, h + 20), 0);
					assert_int_equal(rte_raw_cksum(h, 20), 0xffff);
					assert_int_equal(rd32(h + 4), 0x4000);
				}
				ipt_free(t);
			}
}

static void test_local(void **state)
{
	struct ipt *t = start(CAPS, 1);
	struct sl_key k = ipt_key(0, "10.0.0.1", 5, "10.0.0.1", 6),
		      l6 = ipt_key(0, "::1", 5, "::1", 6);
	struct sl_flow f = {0}, g = {0};

	t->sq.tun.ip_loop_max = 4;
	sl_flow_init(&t->sq, &f, &k, SL_FLOW_CONN);
	sl_flow_init(&t->sq, &g, &l6, SL_FLOW_CONN);
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), 0);
	assert_int_equal(sl_flow_ready(&t->sq, &g, &l6), 0);
	for (int i = 0; i < 3; i++)
		sl_flow_send(&t->sq, &f, &k, ipt_seg(t, 3000, 2), 20, 0);
	sl_flow_send(&t->sq, &g, &l6, ipt_seg(t, 9, 1), 20, 0);
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), -EAGAIN);
	sl_flow_send(&t->sq, &f, &k, ipt_seg(t, 3, 1), 20, 0);
	assert_int_equal(t->sq.ctr.ip_loop_drops, 1);
	assert_true(sl_ip_local_pending(&t->sq));
	assert_int_equal(sl_ip_run_local(&t->sq), 4);
	assert_int_equal(t->nin, 4);
	assert_true(t->in[0].flags & SL_PKT_LOCAL);
	assert_int_equal(t->in[0].len, 3020);
	assert_false(sl_ip_local_pending(&t->sq));
	sl_flow_send(&t->sq, &f, &k, ipt_seg(t, 3, 1), 20, 0); /* left over at destroy */
	ipt_free(t);
}

static void test_steer(void **state)
{
	struct ipt *t = start(CAPS, 4);
	uint8_t b[256];
	unsigned int here = 0;

	t->sq.port[0].info.nqueues = 1;
	for (uint16_t p = 1; p <= 40; p++) {
		struct sl_key k = ipt_key(0, "10.0.0.1", 80, "10.0.0.2", p);

		ipt_rx(t, 0, b, ipt_tcp(b, "10.0.0.2", "10.0.0.1", p, 80, 4));
		if (sl_steer(&t->sq, 0, &k) == 0)
			here++;
		else
			assert_int_equal(t->fwd_to[t->nfwd - 1], sl_steer(&t->sq, 0, &k));
	}
	assert_int_equal(t->nin, here);
	assert_int_equal(t->nfwd, 40 - here);
	assert_true(here > 0 && here < 40);
	while (t->nfwd > 0) { /* classified already: it stays */
		struct rte_mbuf *m = t->fwd[--t->nfwd];

		sl_ip_input(&t->sq, 0, &m, 1, true);
	}
	assert_int_equal(t->nin, 40);
	ipt_rx(t, 0, b, ipt_arp(b, 1, ipt_peer, "10.0.0.9", "10.0.0.1"));
	assert_int_equal(t->nfwd, 3);
	assert_int_equal(t->nout, 1);
	ipt_free(t);
}

static int says_two(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
    uint16_t sport, uint16_t dport)
{
	return src->q[0] == 0 ? 6 : -1; /* of IPv6 it knows nothing */
}

/* A port that says where packets arrive, and lies; ICMP errors go where what they quote lives. */
static void test_steer_known(void **state)
{
	static const struct sluice_driver_ops ops = {.size = sizeof(ops), .steer = says_two};
	struct ipt *t = start(CAPS, 4);
	struct sl_key k6 = ipt_key(0, "2001:db8::1", 80, "2001:db8::2", 1);
	uint8_t b[512];

	t->sq.port[0].drv.ops = &ops;
	t->sq.port[0].info.nqueues = 8;
	ipt_rx(t, 0, b, ipt_tcp(b, "10.0.0.2", "10.0.0.1", 1, 80, 4));
	ipt_rx(t, 0, b, icmp4_error(b, 3, 3, 0, 28, "10.0.0.1"));
	assert_int_equal(t->nfwd, 2);
	assert_int_equal(t->fwd_to[0], 2); /* queue 6 of 8 is polled by squeue 2 of 4 */
	assert_int_equal(t->fwd_to[1], 2);
	assert_int_equal(t->sq.ctr.steer_wrong, 1);
	assert_int_equal(t->sq.ctr.steer_icmp, 1);
	assert_int_equal(t->nin + t->nerr, 0);
	while (sl_steer(&t->sq, 0, &k6) == 0)
		k6.rport = htons((uint16_t)(ntohs(k6.rport) + 1));
	ipt_rx(t, 0, b, ipt_tcp(b, "2001:db8::2", "2001:db8::1", ntohs(k6.rport), 80, 4));
	assert_int_equal(t->fwd_to[2], sl_steer(&t->sq, 0, &k6));
	assert_int_equal(t->sq.ctr.steer_soft, 1);
	t->owner = 3; /* the table knows better, also about what was handed over */
	ipt_rx(t, 0, b, ipt_tcp(b, "10.0.0.2", "10.0.0.1", 1, 80, 4));
	sl_ip_input(&t->sq, 0, &t->fwd[--t->nfwd], 1, true);
	assert_int_equal(t->fwd_to[3], 3);
	assert_int_equal(t->sq.ctr.steer_owner, 2);
	t->owner = 0;
	ipt_rx(t, 0, b, ipt_tcp(b, "10.0.0.2", "10.0.0.1", 1, 80, 4));
	ipt_rx(t, 0, b, icmp4_error(b, 3, 3, 0, 28, "10.0.0.1"));
	assert_int_equal(t->nin, 1);
	assert_int_equal(t->nerr, 1);
	ipt_free(t);
}

/* Raw IP port: no frame, no neighbour. */
static void test_l3(void **state)
{
	struct ipt *t = start(CAPS | SLUICE_CAP_L3, 1);
	struct sl_key k = ipt_key(0, "10.0.0.1", 5, "10.0.0.9", 6);
	struct sl_flow f = {0};
	uint8_t b[256];
	uint32_t n = ipt_tcp(b, "10.0.0.2", "10.0.0.1", 1, 2, 3);

	ipt_rx(t, 0, b + 14, n - 14);
	assert_int_equal(t->nin, 1);
	assert_int_equal(sl_flow_init(&t->sq, &f, &k, SL_FLOW_CONN), 0);
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), 0);
	sl_flow_send(&t->sq, &f, &k, ipt_seg(t, 5, 1), 20, 0);
	assert_int_equal(rte_pktmbuf_mtod(t->out[0], uint8_t *)[0], 0x45);
	ipt_free(t);
}

/* Frames of every kind with bytes changed, cut and split at random: no read beyond, no mbuf lost.
 */
static void test_mutations(void **state)
{
	struct ipt *t = start(CAPS, 1);
	uint8_t kind[6][512], w[512], e[64] = {8}, ns[32] = {135};
	struct sluice_addr a6 = ipt_addr("2001:db8::1");
	uint32_t len[6];
	struct sl_rng g;

	sl_rng_seed(&g, 99, 1);
	memcpy(ns + 8, &a6, 16);
	ns[24] = ns[25] = 1;
	len[0] = ipt_tcp(kind[0], "10.0.0.2", "10.0.0.1", 1, 2, 20);
	len[1] = ipt_tcp(kind[1], "2001:db8::2", "2001:db8::1", 1, 2, 20);
	len[2] = ipt_arp(kind[2], 1, ipt_peer, "10.0.0.2", "10.0.0.1");
	len[3] = icmp4_error(kind[3], 3, 3, 0, 28, "10.0.0.1");
	len[4] = ipt_ip(kind[4], "2001:db8::2", "2001:db8::1", PROTO_ICMP6, ns, 32);
	len[5] = ipt_ip(kind[5], "10.0.0.2", "10.0.0.1", PROTO_ICMP, e, 64);
	for (int i = 0; i < 30000; i++) {
		unsigned int kd = (unsigned int)sl_rng_below(&g, 6),
			     changes = (unsigned int)sl_rng_below(&g, 4);
		uint32_t n =
		    len[kd] - (uint32_t)(sl_rng_below(&g, 3) == 0 ? sl_rng_below(&g, len[kd]) : 0);
		uint32_t cut = (uint32_t)sl_rng_below(&g, n + 1);
		struct rte_mbuf *m, *r;

		memcpy(w, kind[kd], len[kd]);
		for (unsigned int j = 0; j < changes; j++)
			w[12 + sl_rng_below(&g, len[kd] - 12)] = (uint8_t)sl_rng_u64(&g);
		if (sl_rng_below(&g, 2) && rd16(w + 12) == TYPE_IP4 && (w[14] & 15) == 5)
			ipt_fix4(w + 14);
		m = tp_exact(t->mp, w, (uint16_t)cut, 0);
		if (cut < n) {
			r = tp_exact(t->mp, w + cut, (uint16_t)(n - cut), 0);
			m->next = r;
			m->nb_segs = 2;
			m->pkt_len = n;
		}
		/* A random verdict of the NIC lets wrong checksums through, to reach what lies
		 * behind. */
		if (sl_rng_below(&g, 2))
			m->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
		t->sq.tun.ip_frag_max = 0; /* tables need the EAL */
		sl_ip_input(&t->sq, 0, &m, 1, false);
		ipt_clear(t);
		assert_int_equal(tp_out(t->mp), 0);
	}
	assert_true(t->sq.ctr.tcp_in_bad_cksum > 100);
	ipt_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_tcp_in),
	    cmocka_unit_test(test_split_headers), cmocka_unit_test(test_malformed),
	    cmocka_unit_test(test_ext_headers), cmocka_unit_test(test_cksum_none),
	    cmocka_unit_test(test_sums), cmocka_unit_test(test_echo),
	    cmocka_unit_test(test_icmp_errors), cmocka_unit_test(test_refuse_and_foreign),
	    cmocka_unit_test(test_vlan), cmocka_unit_test(test_output),
	    cmocka_unit_test(test_local), cmocka_unit_test(test_steer),
	    cmocka_unit_test(test_steer_known), cmocka_unit_test(test_l3),
	    cmocka_unit_test(test_mutations)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
