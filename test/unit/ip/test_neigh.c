/* SPDX-License-Identifier: BSD-3-Clause */
/* ARP, neighbour discovery, duplicate address detection, and flows that wait for a neighbour. */
#include "ipt.h"

static struct ipt *start(uint64_t dad)
{
	struct ipt *t = ipt_new(SLUICE_CAP_TX_MULTISEG | SLUICE_CAP_TX_INDIRECT, 1);

	t->sq.tun.ip_dad_probes = dad;
	ipt_if(t, 0, SLUICE_VLAN_NONE, SLUICE_VLAN_NONE, 0);
	ipt_addr_add(t, 0, "10.0.0.1", 24);
	ipt_addr_add(t, 0, "2001:db8::1", 64);
	ipt_addr_add(t, 0, "fe80::1", 64);
	ipt_config(t);
	return t;
}

static void test_arp_request(void **state)
{
	struct ipt *t = start(0);
	uint8_t b[64];
	const uint8_t *f;

	ipt_rx(t, 0, b, ipt_arp(b, 1, ipt_peer, "10.0.0.2", "10.0.0.1"));
	assert_int_equal(t->nout, 1);
	f = rte_pktmbuf_mtod(t->out[0], const uint8_t *);
	assert_memory_equal(f, ipt_peer, 6);
	assert_int_equal(rd16(f + 12), TYPE_ARP);
	assert_int_equal(rd16(f + 20), 2);
	assert_memory_equal(f + 22, ipt_mac, 6);
	/* Asked for another: silence. A probe (sender 0) is answered and teaches nothing. */
	ipt_rx(t, 0, b, ipt_arp(b, 1, ipt_peer, "10.0.0.2", "10.0.0.9"));
	assert_int_equal(t->nout, 1);
	ipt_rx(t, 0, b, ipt_arp(b, 1, ipt_peer, "0.0.0.0", "10.0.0.1"));
	assert_int_equal(t->nout, 2);
	assert_int_equal(t->sq.ip->nused, 1);
	ipt_free(t);
}

static void test_arp_bad(void **state)
{
	struct ipt *t = start(0);
	uint8_t b[64], c[64];

	ipt_arp(b, 1, ipt_peer, "10.0.0.2", "10.0.0.1");
	for (unsigned int i = 14; i < 22; i++) { /* every byte of the fixed part */
		memcpy(c, b, 42);
		c[i] ^= 0x40;
		ipt_rx(t, 0, c, 42);
	}
	assert_int_equal(t->sq.ctr.arp_in_bad, 8);
	for (uint32_t n = 14; n < 42; n++)
		ipt_rx(t, 0, b, n);
	assert_int_equal(t->sq.ctr.arp_in_bad, 8 + 28);
	for (uint32_t n = 1; n < 14; n++)
		ipt_rx(t, 0, b, n);
	assert_int_equal(t->sq.ctr.eth_in_runt, 13);
	assert_int_equal(t->nout, 0);
	ipt_free(t);
}

static void test_conflict(void **state)
{
	struct ipt *t = start(0);
	uint8_t b[64];

	for (int i = 0; i < 5; i++)
		ipt_rx(t, 0, b, ipt_arp(b, 1, ipt_peer, "10.0.0.1", "10.0.0.1"));
	assert_int_equal(t->sq.ctr.addr_conflicts, 5);
	assert_int_equal(t->nout, 1); /* one defence per interval */
	ipt_advance(t, SLUICE_SEC(11));
	ipt_rx(t, 0, b, ipt_arp(b, 2, ipt_peer, "10.0.0.1", "10.0.0.7"));
	assert_int_equal(t->nout, 2);
	ipt_free(t);
}

static void test_dad(void **state)
{
	struct ipt *t = start(2);
	struct sluice_addr a4 = ipt_addr("10.0.0.1"), a6 = ipt_addr("2001:db8::1"),
			   ll = ipt_addr("fe80::1");
	uint8_t b[128], na[24] = {136};

	assert_int_equal(t->nout, 3); /* a probe each */
	assert_int_equal(sl_ip_addr_state(&t->sq, 0, &a4), SLUICE_ADDR_TENTATIVE);
	assert_false(sl_ip_is_local(&t->sq, 0, &a4));
	/* Another station has the global address; a reinstalled snapshot keeps the states. */
	memcpy(na + 8, &a6, 16);
	ipt_ip(b, "2001:db8::9", "ff02::1", PROTO_ICMP6, na, 24);
	ipt_icmp6_sum(b + 14);
	memcpy(b, "\x33\x33\0\0\0\1", 6);
	ipt_rx(t, 0, b, 14 + 40 + 24);
	assert_int_equal(sl_ip_addr_state(&t->sq, 0, &a6), SLUICE_ADDR_DUPLICATE);
	ipt_config(t);
	assert_int_equal(t->nout, 3);
	ipt_advance(t, SLUICE_SEC(2));
	assert_int_equal(sl_ip_addr_state(&t->sq, 0, &a4), SLUICE_ADDR_READY);
	assert_int_equal(sl_ip_addr_state(&t->sq, 0, &ll), SLUICE_ADDR_READY);
	assert_int_equal(sl_ip_addr_state(&t->sq, 0, &a6), SLUICE_ADDR_DUPLICATE);
	assert_true(sl_ip_is_local(&t->sq, 0, &a4));
	ipt_advance(t, SLUICE_SEC(3));
	assert_int_equal(t->sq.ctr.arp_out, 4); /* two probes, two announcements */
	assert_int_equal(t->sq.ctr.addr_dad_failed, 1);
	ipt_free(t);
}

static void test_dad_arp_conflict(void **state)
{
	struct ipt *t = start(1);
	struct sluice_addr a4 = ipt_addr("10.0.0.1");
	uint8_t b[64];

	ipt_rx(t, 0, b, ipt_arp(b, 1, ipt_peer, "0.0.0.0", "10.0.0.1"));
	assert_int_equal(sl_ip_addr_state(&t->sq, 0, &a4), SLUICE_ADDR_DUPLICATE);
	ipt_advance(t, SLUICE_SEC(5));
	assert_false(sl_ip_is_local(&t->sq, 0, &a4));
	ipt_free(t);
}

static void test_ns(void **state)
{
	struct ipt *t = start(0);
	struct sluice_addr a6 = ipt_addr("2001:db8::1");
	uint8_t b[128], ns[32] = {135}, *h = b + 14;

	memcpy(ns + 8, &a6, 16);
	ns[24] = 1;
	ns[25] = 1;
	memcpy(ns + 26, ipt_peer, 6);
	ipt_ip(b, "2001:db8::2", "ff02::1:ff00:1", PROTO_ICMP6, ns, 32);
	ipt_icmp6_sum(h);
	memcpy(b, "\x33\x33\xff\0\0\1", 6);
	ipt_rx(t, 0, b, 86);
	assert_int_equal(t->nout, 1);
	h = rte_pktmbuf_mtod(t->out[0], uint8_t *);
	assert_memory_equal(h, ipt_peer, 6);
	assert_int_equal(h[14 + 7], 255);
	assert_int_equal(h[54], 136);
	assert_int_equal(h[58] & 0xe0, 0x60);
	h = b + 14;
	/* RFC 4861 7.1.1, each check broken alone. */
	h[7] = 254;
	ipt_rx(t, 0, b, 86);
	h[7] = 255;
	h[41] = 1; /* code */
	ipt_icmp6_sum(h);
	ipt_rx(t, 0, b, 86);
	h[41] = 0;
	h[48] = 0xff; /* multicast target */
	ipt_icmp6_sum(h);
	ipt_rx(t, 0, b, 86);
	h[48] = 0x20;
	h[65] = 0; /* option of length 0 */
	ipt_icmp6_sum(h);
	ipt_rx(t, 0, b, 86);
	h[65] = 2; /* beyond the end */
	ipt_icmp6_sum(h);
	ipt_rx(t, 0, b, 86);
	h[65] = 1;
	memset(h + 8, 0, 16); /* from :: with a link-layer option */
	ipt_icmp6_sum(h);
	ipt_rx(t, 0, b, 86);
	assert_int_equal(t->sq.ctr.nd_in_bad, 6);
	assert_int_equal(t->nout, 1);
	ipt_free(t);
}

#define NFLOWS 10000

static void test_waiting(void **state)
{
	struct ipt *t = start(0);
	struct sl_flow *f = calloc(NFLOWS, sizeof(*f));
	struct sl_key k = ipt_key(0, "10.0.0.1", 1, "10.0.0.2", 2);
	uint8_t b[64];

	for (int i = 0; i < NFLOWS; i++) {
		assert_int_equal(sl_flow_init(&t->sq, &f[i], &k, SL_FLOW_CONN), 0);
		assert_int_equal(sl_flow_ready(&t->sq, &f[i], &k), -EINPROGRESS);
	}
	assert_int_equal(sl_flow_ready(&t->sq, &f[7], &k), -EINPROGRESS);
	assert_int_equal(t->nout, 1); /* one question */
	for (int i = 0; i < NFLOWS; i += 3)
		sl_flow_fini(&t->sq, &f[i]);
	ipt_rx(t, 0, b, ipt_arp(b, 2, ipt_peer, "10.0.0.2", "10.0.0.1"));
	assert_int_equal(t->nready, NFLOWS - (NFLOWS + 2) / 3);
	assert_int_equal(sl_flow_ready(&t->sq, &f[1], &k), 0);
	sl_flow_send(&t->sq, &f[1], &k, ipt_seg(t, 10, 1), 20, 0);
	assert_memory_equal(rte_pktmbuf_mtod(t->out[1], uint8_t *), ipt_peer, 6);
	free(f);
	ipt_free(t);
}

static void test_failure(void **state)
{
	struct ipt *t = start(0);
	struct sl_flow f = {0}, g = {0};
	struct sl_key k = ipt_key(0, "10.0.0.1", 1, "10.0.0.2", 2),
		      k6 = ipt_key(0, "2001:db8::1", 1, "2001:db8::2", 2);

	sl_flow_init(&t->sq, &f, &k, SL_FLOW_CONN);
	sl_flow_init(&t->sq, &g, &k6, SL_FLOW_CONN);
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), -EINPROGRESS);
	assert_int_equal(sl_flow_ready(&t->sq, &g, &k6), -EINPROGRESS);
	ipt_advance(t, SLUICE_MS(2900));
	assert_int_equal(t->nout, 6);
	assert_int_equal(t->nfailed, 0);
	ipt_advance(t, SLUICE_MS(300));
	assert_int_equal(t->nfailed, 2);
	assert_int_equal(t->sq.ctr.neigh_failed, 2);
	assert_int_equal(t->sq.ip->nused, 0);
	assert_int_equal(f.state, SL_FLOW_FAILED);
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), -EINPROGRESS); /* asks anew */
	sl_flow_fini(&t->sq, &f);
	ipt_free(t);
}

static void test_ageing(void **state)
{
	struct ipt *t = start(0);
	struct sl_flow f = {0};
	struct sl_key k = ipt_key(0, "10.0.0.1", 1, "10.0.0.2", 2);
	uint8_t b[64];

	sl_flow_init(&t->sq, &f, &k, SL_FLOW_CONN);
	sl_flow_ready(&t->sq, &f, &k);
	ipt_rx(t, 0, b, ipt_arp(b, 2, ipt_peer, "10.0.0.2", "10.0.0.1"));
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), 0);
	ipt_clear(t);
	ipt_advance(t, SLUICE_SEC(20));
	sl_flow_confirm(&t->sq, &f); /* acknowledged data puts the question off */
	ipt_advance(t, SLUICE_SEC(20));
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), 0);
	assert_int_equal(t->nout, 0);
	ipt_advance(t, SLUICE_SEC(11));
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), 0); /* stale: usable, and asked directly */
	assert_int_equal(t->nout, 1);
	assert_memory_equal(rte_pktmbuf_mtod(t->out[0], uint8_t *), ipt_peer, 6);
	ipt_advance(t, SLUICE_SEC(4)); /* no answer: gone, the flow asks from the start */
	assert_int_equal(t->sq.ctr.neigh_failed, 1);
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), -EINPROGRESS);
	ipt_rx(t, 0, b, ipt_arp(b, 2, ipt_peer, "10.0.0.2", "10.0.0.1"));
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), 0);
	ipt_advance(t, SLUICE_SEC(1300));
	assert_int_equal(t->sq.ctr.neigh_aged, 1);
	assert_int_equal(t->sq.ip->nused, 0);
	ipt_free(t);
}

/* TCP heard nothing for long (R1): a neighbour that counts as reachable is asked all the same. */
static void test_doubted(void **state)
{
	struct ipt *t = start(0);
	struct sl_flow f = {0};
	struct sl_key k = ipt_key(0, "10.0.0.1", 1, "10.0.0.2", 2);
	uint8_t b[64];

	sl_flow_init(&t->sq, &f, &k, SL_FLOW_CONN);
	sl_flow_doubt(&t->sq, &f); /* no neighbour yet: nothing to doubt */
	sl_flow_ready(&t->sq, &f, &k);
	ipt_rx(t, 0, b, ipt_arp(b, 2, ipt_peer, "10.0.0.2", "10.0.0.1"));
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), 0);
	ipt_clear(t);
	sl_flow_doubt(&t->sq, &f);
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), 0); /* usable, and asked directly */
	assert_int_equal(t->nout, 1);
	sl_flow_doubt(&t->sq, &f); /* it is being asked */
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), 0);
	assert_int_equal(t->nout, 1);
	ipt_advance(t, SLUICE_SEC(4)); /* no answer: another one is looked for */
	assert_int_equal(t->sq.ctr.neigh_failed, 1);
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), -EINPROGRESS);
	sl_flow_fini(&t->sq, &f);
	ipt_free(t);
}

static void test_full(void **state)
{
	struct ipt *t = start(0);
	uint8_t b[64];
	char a[32];

	t->sq.tun.ip_neigh_max = 16;
	for (int i = 2; i < 200; i++) {
		snprintf(a, sizeof(a), "10.0.0.%d", i);
		ipt_rx(t, 0, b, ipt_arp(b, 1, ipt_peer, a, "10.0.0.1"));
		assert_true(t->sq.ip->nused <= 16);
	}
	assert_int_equal(t->sq.ctr.neigh_full, 198 - 16);
	ipt_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_arp_request),
	    cmocka_unit_test(test_arp_bad), cmocka_unit_test(test_conflict),
	    cmocka_unit_test(test_dad), cmocka_unit_test(test_dad_arp_conflict),
	    cmocka_unit_test(test_ns), cmocka_unit_test(test_waiting),
	    cmocka_unit_test(test_failure), cmocka_unit_test(test_ageing),
	    cmocka_unit_test(test_doubted), cmocka_unit_test(test_full)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
