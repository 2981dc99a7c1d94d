/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a link sees of our IPv6 addresses: that they are defended, that switches are told their
 * groups, and that link-local ones of two links are two things.
 */
#include "ipt.h"

static struct ipt *start(bool mld, unsigned int probes)
{
	struct ipt *t = ipt_new(0, 1);

	t->sq.tun.ip_mld = mld;
	t->sq.tun.ip_dad_probes = probes;
	ipt_if(t, 0, SLUICE_VLAN_NONE, SLUICE_VLAN_NONE, 0);
	ipt_if(t, 0, 7, SLUICE_VLAN_NONE, 0);
	ipt_addr_add(t, 0, "fe80::1", 64);
	ipt_addr_add(t, 0, "2001:db8::1", 64);
	ipt_addr_add(t, 1, "fe80::1", 64);
	return t;
}

static const uint8_t *frame(struct ipt *t, unsigned int i)
{
	assert_true(i < t->nout);
	return rte_pktmbuf_mtod(t->out[i], const uint8_t *);
}

/* ---- conflicts ---- */

/* A neighbour advertises (or sends from) our address: told to all, once per interval. */
static void test_conflict(void **state)
{
	struct ipt *t = start(false, 0);
	struct sluice_addr a6 = ipt_addr("2001:db8::1");
	uint8_t b[128], na[32] = {136}, ns[24] = {135};
	const uint8_t *h;
	uint32_t n;

	ipt_config(t);
	memcpy(na + 8, &a6, 16);
	na[4] = 0x20;
	na[24] = 2;
	na[25] = 1;
	memcpy(na + 26, ipt_peer, 6);
	n = ipt_ip(b, "fe80::2", "ff02::1", PROTO_ICMP6, na, 32);
	ipt_icmp6_sum(b + 14);
	memcpy(b, "\x33\x33\0\0\0\1", 6);
	ipt_rx(t, 0, b, n);
	ipt_rx(t, 0, b, n);
	assert_int_equal(t->sq.ctr.addr_conflicts, 2);
	assert_int_equal(t->nout, 1);
	h = frame(t, 0);
	assert_memory_equal(h, "\x33\x33\0\0\0\1", 6);
	assert_memory_equal(h + 6, ipt_mac, 6);
	assert_memory_equal(h + 22, &a6, 16);
	assert_int_equal(h[54], 136);
	assert_int_equal(h[58], 0x20); /* override, not solicited */
	assert_memory_equal(h + 62, &a6, 16);
	assert_memory_equal(h + 80, ipt_mac, 6);
	ipt_advance(t, SLUICE_SEC(10));
	/* and by its source address */
	memcpy(ns + 8, &(struct sluice_addr){.b = {0x20, 1, 0xd, 0xb8, [15] = 9}}, 16);
	n = ipt_ip(b, "2001:db8::1", "2001:db8::9", PROTO_ICMP6, ns, 24);
	ipt_icmp6_sum(b + 14);
	b[14 + 7] = 64; /* maybe from afar: no proof */
	ipt_rx(t, 0, b, n);
	assert_int_equal(t->nout, 1);
	b[14 + 7] = 255;
	ipt_rx(t, 0, b, n);
	assert_int_equal(t->nout, 2);
	assert_int_equal(t->sq.ctr.addr_conflicts, 3);
	assert_int_equal(t->sq.ctr.ip_in_bad_src, 2);
	memcpy(b + 6, ipt_mac, 6); /* our own frame, come back */
	ipt_advance(t, SLUICE_SEC(10));
	ipt_rx(t, 0, b, n);
	assert_int_equal(t->sq.ctr.addr_conflicts, 3);
	ipt_free(t);
}

/* ---- MLD ---- */

/* Records of a report: checks the packet, returns their number. */
static unsigned int report(
    struct ipt *t, unsigned int i, const char *src, uint8_t type, const char *g1, const char *g2)
{
	const uint8_t *h = frame(t, i) + 14, *r;
	struct sluice_addr s = ipt_addr(src), all = ipt_addr("ff02::16"), g;
	uint32_t len;

	if (rd16(h - 2) == TYPE_VLAN)
		h += 4;
	r = h + 48;
	len = rd16(h + 4);
	assert_memory_equal(frame(t, i), "\x33\x33\0\0\0\x16", 6);
	assert_memory_equal(h + 8, &s, 16);
	assert_memory_equal(h + 24, &all, 16);
	assert_int_equal(h[6], 0);
	assert_int_equal(h[7], 1);
	assert_memory_equal(h + 40, "\x3a\0\5\2\0\0\1\0", 8);
	assert_int_equal(t->out[i]->pkt_len, (uint32_t)(h - frame(t, i)) + 40 + len);
	assert_int_equal(ip_sum_mbuf(t->out[i], (uint32_t)(r - frame(t, i)), len - 8,
			     ip_pseudo(&s, &all, PROTO_ICMP6, len - 8)),
	    0xffff);
	assert_int_equal(r[0], 143);
	for (unsigned int k = 0; k < rd16(r + 6); k++) {
		assert_int_equal(r[8 + k * 20], type);
		assert_int_equal(rd16(r + 10 + k * 20), 0);
		g = ipt_addr(k == 0 ? g1 : g2);
		assert_memory_equal(r + 12 + k * 20, &g, 16);
	}
	assert_int_equal(len, 16 + rd16(r + 6) * 20u);
	return rd16(r + 6);
}

static void query(struct ipt *t, const char *dst, const char *group, uint16_t code, uint32_t len)
{
	uint8_t b[128], q[8 + 28] = {PROTO_ICMP6, 0, 5, 2, 0, 0, 1, 0, 130};
	struct sluice_addr g = ipt_addr(group);
	uint8_t *h = b + 14;
	uint32_t sum, n;
	struct sluice_addr s = ipt_addr("fe80::99"), d = ipt_addr(dst);
	uint16_t c;

	wr16(q + 12, code);
	memcpy(q + 16, &g, 16);
	n = ipt_ip(b, "fe80::99", dst, 0, q, 8 + len);
	h[7] = 1;
	memcpy(b, "\x33\x33", 2);
	memcpy(b + 2, &d.b[12], 4);
	sum = ip_pseudo(&s, &d, PROTO_ICMP6, len);
	for (uint32_t i = 0; i < len; i += 2) {
		memcpy(&c, h + 48 + i, 2);
		sum += c;
	}
	c = (uint16_t)~ip_fold(sum);
	memcpy(h + 50, &c, 2);
	ipt_rx(t, 0, b, n);
}

static void test_mld_changes(void **state)
{
	struct ipt *t = start(true, 1);

	ipt_addr_add(t, 0, "2001:db8:1::1", 64); /* the same group as ::1 */
	ipt_addr_add(t, 0, "2001:db8::beef", 64);
	ipt_config(t);
	/* Before the duplicate questions, from :: as there is no other address yet. */
	assert_int_equal(report(t, 0, "::", 4, "ff02::1:ff00:1", "ff02::1:ff00:beef"), 2);
	assert_int_equal(report(t, 1, "::", 4, "ff02::1:ff00:1", NULL), 1);
	assert_int_equal(frame(t, 2)[54], 135);
	ipt_clear(t);
	ipt_advance(t, SLUICE_SEC(3));
	/* Again, and again once the link-local address is there. */
	assert_true(t->sq.ctr.mld_out >= 4 && t->sq.ctr.mld_out <= 6);
	assert_int_equal(
	    report(t, t->nout - 1, "fe80::1", 4, "ff02::1:ff00:1",
		rd16(frame(t, t->nout - 1) + 12) == TYPE_VLAN ? NULL : "ff02::1:ff00:beef"),
	    rd16(frame(t, t->nout - 1) + 12) == TYPE_VLAN ? 1 : 2);
	ipt_clear(t);
	/* Nothing new: nothing said. */
	ipt_config(t);
	ipt_advance(t, SLUICE_SEC(3));
	assert_int_equal(t->nout, 0);
	/* One goes (its group with it), one comes. */
	t->addrs[t->cfg.naddrs - 1].addr = ipt_addr("2001:db8::cafe");
	ipt_config(t);
	assert_int_equal(report(t, 0, "fe80::1", 3, "ff02::1:ff00:beef", NULL), 1);
	assert_int_equal(report(t, 1, "fe80::1", 4, "ff02::1:ff00:cafe", NULL), 1);
	ipt_free(t);
}

static void test_mld_queries(void **state)
{
	struct ipt *t = start(true, 0);
	uint64_t in;

	ipt_config(t);
	ipt_advance(t, SLUICE_SEC(3));
	ipt_clear(t);
	query(t, "ff02::1", "::", 2000, 28);
	assert_int_equal(t->nout, 0);
	ipt_advance(t, SLUICE_MS(2020));
	assert_int_equal(t->nout, 1);
	assert_int_equal(report(t, 0, "fe80::1", 2, "ff02::1:ff00:1", NULL), 1);
	ipt_clear(t);
	/* for a group of ours, for another's */
	query(t, "ff02::1:ff00:1", "ff02::1:ff00:1", 0, 28);
	ipt_advance(t, SLUICE_MS(20));
	assert_int_equal(t->nout, 1);
	query(t, "ff02::1", "ff02::1:ff00:2", 0, 28);
	ipt_advance(t, SLUICE_SEC(1));
	assert_int_equal(t->nout, 1);
	/* a flood of queries is one answer */
	for (int i = 0; i < 1000; i++)
		query(t, "ff02::1", "::", 0x8000, 28);
	ipt_advance(t, SLUICE_SEC(40));
	assert_int_equal(t->nout, 2);
	ipt_clear(t);
	/* neither 24 nor 28 bytes */
	in = t->sq.ctr.icmp_in_ignored;
	query(t, "ff02::1", "::", 0, 26);
	assert_int_equal(t->sq.ctr.icmp_in_ignored, in + 1);
	/* a querier of version 1 gets its reports, to the group */
	query(t, "ff02::1", "::", 10, 24);
	ipt_advance(t, SLUICE_MS(40));
	assert_int_equal(t->nout, 1);
	assert_memory_equal(frame(t, 0), "\x33\x33\xff\0\0\1", 6);
	assert_int_equal(frame(t, 0)[14 + 48], 131);
	assert_int_equal(rd16(frame(t, 0) + 18), 32);
	ipt_clear(t);
	ipt_advance(t, SLUICE_SEC(261));
	query(t, "ff02::1", "::", 10, 28);
	ipt_advance(t, SLUICE_MS(40));
	assert_int_equal(report(t, 0, "fe80::1", 2, "ff02::1:ff00:1", NULL), 1);
	ipt_free(t);
}

/* Many addresses: more than one report, each of which fits. */
static void test_mld_many(void **state)
{
	struct ipt *t = ipt_new(0, 1);
	unsigned int sum = 0;
	char a[64];

	t->sq.tun.ip_mld = 1;
	ipt_if(t, 0, SLUICE_VLAN_NONE, SLUICE_VLAN_NONE, 0);
	for (int i = 0; i < 60; i++) {
		snprintf(a, sizeof(a), "2001:db8::%x", 0x100 + i);
		ipt_addr_add(t, 0, a, 64);
	}
	ipt_config(t);
	for (unsigned int i = 0; i < t->nout; i++) {
		assert_true(t->out[i]->pkt_len <= 14 + 1280);
		sum += rd16(frame(t, i) + 14 + 54);
	}
	assert_int_equal(sum, 60);
	ipt_free(t);
}

/* ---- link-local addresses of two links ---- */

static void test_zones(void **state)
{
	struct ipt *t = start(false, 0);
	struct sluice_addr ll = ipt_addr("fe80::2"), src, z1 = sl_addr_zoned(ll, 1),
			   z2 = sl_addr_zoned(ll, 2);
	struct sl_flow f1 = {0}, f2 = {0};
	struct sl_key k1, k2;
	uint8_t b[256];
	uint32_t n;

	ipt_config(t);
	assert_int_equal(sl_ip_zone(&t->sq, 0, &ll, 0), -EINVAL); /* which? */
	assert_int_equal(sl_ip_zone(&t->sq, 0, &ll, 2), 2);
	assert_int_equal(sl_ip_zone(&t->sq, 0, &ll, 3), -EINVAL);
	assert_int_equal(sl_ip_zone(&t->sq, 1, &ll, 2), -EINVAL); /* another VRF's */
	assert_int_equal(sl_ip_source(&t->sq, 0, &z2, &src), 0);
	assert_int_equal(sl_addr_zone(&src), 2);
	/* Keys differ, each leaves by its link, and on the wire there is no zone. */
	k1 = ipt_key(0, "fe80::1", 1, "fe80::2", 2);
	k2 = k1;
	k1.laddr = sl_addr_zoned(k1.laddr, 1);
	k1.raddr = z1;
	k2.laddr = sl_addr_zoned(k2.laddr, 2);
	k2.raddr = z2;
	sl_flow_init(&t->sq, &f1, &k1, SL_FLOW_CONN);
	sl_flow_init(&t->sq, &f2, &k2, SL_FLOW_CONN);
	assert_int_equal(f1.ifidx, 0);
	assert_int_equal(f2.ifidx, 1);
	assert_int_equal(sl_flow_ready(&t->sq, &f2, &k2), -EINPROGRESS);
	assert_int_equal(rd16(frame(t, 0) + 12), TYPE_VLAN);
	ll = ipt_addr("fe80::2");
	assert_memory_equal(frame(t, 0) + 18 + 48, &ll, 16); /* target */
	ip_neigh_learn(&t->sq, 1, &ll, ipt_peer, true, true, true);
	assert_int_equal(sl_flow_ready(&t->sq, &f2, &k2), 0);
	assert_int_equal(sl_flow_ready(&t->sq, &f1, &k1), -EINPROGRESS); /* not of its link */
	ipt_clear(t);
	sl_flow_send(&t->sq, &f2, &k2, ipt_seg(t, 10, 1), 20, 0);
	src = ipt_addr("fe80::1");
	assert_memory_equal(frame(t, 0) + 18 + 8, &src, 16);
	assert_memory_equal(frame(t, 0) + 18 + 24, &ll, 16);
	assert_int_equal(
	    ip_sum_mbuf(t->out[0], 18 + 40, 30, ip_pseudo(&src, &ll, PROTO_TCP, 30)), 0xffff);
	sl_flow_fini(&t->sq, &f1);
	sl_flow_fini(&t->sq, &f2);
	/* In: by the link of arrival. */
	n = ipt_tcp(b, "fe80::2", "fe80::1", 2, 1, 5);
	ipt_rx(t, 0, b, n);
	assert_int_equal(t->nin, 1);
	assert_int_equal(sl_addr_zone(&t->in[0].key.raddr), 1);
	assert_int_equal(sl_addr_zone(&t->in[0].key.laddr), 1);
	memmove(b + 18, b + 14, n - 14);
	wr16(b + 12, TYPE_VLAN);
	wr16(b + 14, 7);
	wr16(b + 16, TYPE_IP6);
	ipt_rx(t, 0, b, n + 4);
	assert_int_equal(t->nin, 2);
	assert_int_equal(sl_addr_zone(&t->in[1].key.raddr), 2);
	/* Addresses that carry something there already are nobody's. */
	n = ipt_tcp(b, "fe80::2", "fe80::1", 2, 1, 5);
	b[14 + 8 + 3] = 2;
	ipt_rx(t, 0, b, n);
	b[14 + 8 + 3] = 0;
	b[14 + 24 + 3] = 1;
	ipt_rx(t, 0, b, n);
	assert_int_equal(t->nin, 2);
	assert_int_equal(t->sq.ctr.ip_in_bad_src, 2);
	ipt_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_conflict),
	    cmocka_unit_test(test_mld_changes), cmocka_unit_test(test_mld_queries),
	    cmocka_unit_test(test_mld_many), cmocka_unit_test(test_zones)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
