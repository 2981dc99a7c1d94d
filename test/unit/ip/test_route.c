/* SPDX-License-Identifier: BSD-3-Clause */
/* Longest prefix match against a linear model, source selection, path MTU. */
#include "ipt.h"

static const struct sl_cfg_route *model(
    const struct ipt *t, uint32_t vrf, const struct sluice_addr *d)
{
	const struct sl_cfg_route *best = NULL;

	for (uint32_t i = 0; i < t->cfg.nroutes; i++) {
		const struct sl_cfg_route *r = &t->routes[i];
		bool eq = r->vrf == vrf && (r->plen >= 96 || !sl_addr_is4(d));

		for (unsigned int b = 0; b < r->plen && eq; b++)
			eq = ((r->prefix.b[b / 8] ^ d->b[b / 8]) >> (7 - b % 8) & 1) == 0;
		if (eq && (best == NULL || r->plen > best->plen))
			best = r;
	}
	return best;
}

static struct sluice_addr random_addr(struct sl_rng *g)
{
	struct sluice_addr a = ipt_addr("2001:db8::");

	if (sl_rng_below(g, 2))
		return sl_addr4(htonl(0x0a000000u | (uint32_t)(sl_rng_u64(g) & 0x0f0f0fff)));
	a.w[1] |= (uint32_t)sl_rng_u64(g) & 0x07070707;
	a.w[3] = (uint32_t)sl_rng_u64(g) & 0x03030303;
	return a;
}

static void test_lpm(void **state)
{
	struct sl_rng g;
	unsigned int hits = 0;

	sl_rng_seed(&g, 4711, 0);
	for (int round = 0; round < 10; round++) {
		struct ipt *t = ipt_new(0, 1);

		ipt_if(t, 0, SLUICE_VLAN_NONE, SLUICE_VLAN_NONE, 0);
		for (int i = 0; i < 500; i++) {
			struct sl_cfg_route *r = &t->routes[t->cfg.nroutes++];

			*r = (struct sl_cfg_route){
			    .prefix = random_addr(&g), .vrf = (uint32_t)sl_rng_below(&g, 3)};
			r->plen = (uint8_t)(sl_addr_is4(&r->prefix) ? 96 + sl_rng_below(&g, 33)
								    : sl_rng_below(&g, 129));
			if (sl_addr_is4(&r->prefix) == false && r->plen < 4)
				r->plen = 0;
			for (unsigned int b = r->plen; b < 128; b++)
				r->prefix.b[b / 8] &= (uint8_t) ~(0x80 >> (b % 8));
		}
		ipt_config(t);
		for (int i = 0; i < 5000; i++) {
			struct sluice_addr d = random_addr(&g);
			uint32_t vrf = (uint32_t)sl_rng_below(&g, 4);
			const struct sl_cfg_route *m = model(t, vrf, &d),
						  *r = ip_route(t->sq.ip->snap, vrf, &d);

			assert_int_equal(m != NULL, r != NULL);
			if (m != NULL) {
				assert_int_equal(m->plen, r->plen);
				assert_true(sl_addr_eq(&m->prefix, &r->prefix));
				hits++;
			}
		}
		ipt_free(t);
	}
	assert_true(hits > 1000);
}

/* Who is on the link: by an on-link route, or as a gateway; many routes do not make it slow. */
static void test_on_link(void **state)
{
	struct ipt *t = ipt_new(0, 1);
	struct sluice_addr a;
	char p[32];

	ipt_if(t, 0, SLUICE_VLAN_NONE, SLUICE_VLAN_NONE, 0);
	ipt_if(t, 1, SLUICE_VLAN_NONE, SLUICE_VLAN_NONE, 0);
	ipt_addr_add(t, 0, "10.0.0.1", 24);
	for (int i = 0; i < 1000; i++) {
		snprintf(p, sizeof(p), "20.%d.%d.0", i / 256, i % 256);
		ipt_route_add(t, 0, p, 24, i % 2 == 0 ? "172.16.0.1" : "10.0.0.254", i % 2 == 0);
	}
	ipt_config(t);
	assert_int_equal(t->sq.ip->snap->ngateways, 2);
	a = ipt_addr("10.0.0.77");
	assert_true(ip_on_link(t->sq.ip->snap, 0, &a));
	assert_false(ip_on_link(t->sq.ip->snap, 1, &a));
	a = ipt_addr("172.16.0.1");
	assert_true(ip_on_link(t->sq.ip->snap, 1, &a));
	assert_false(ip_on_link(t->sq.ip->snap, 0, &a));
	a = ipt_addr("172.16.0.2");
	assert_false(ip_on_link(t->sq.ip->snap, 1, &a));
	ipt_free(t);
}

static void expect_source(struct ipt *t, uint32_t vrf, const char *dst, const char *src)
{
	struct sluice_addr d = ipt_addr(dst), want = ipt_addr(src), got;

	want = sl_addr_zoned(want, 1); /* a link-local source says its link: the first interface */
	assert_int_equal(sl_ip_source(&t->sq, vrf, &d, &got), 0);
	assert_true(sl_addr_eq(&got, &want));
}

static void test_source(void **state)
{
	struct ipt *t = ipt_new(0, 1);
	struct sluice_addr d, got;

	ipt_if(t, 0, SLUICE_VLAN_NONE, SLUICE_VLAN_NONE, 0);
	ipt_if(t, 1, SLUICE_VLAN_NONE, SLUICE_VLAN_NONE, 0);
	ipt_addr_add(t, 0, "10.0.0.1", 24);
	ipt_addr_add(t, 0, "10.0.9.1", 24);
	ipt_addr_add(t, 1, "192.168.1.1", 24);
	ipt_addr_add(t, 0, "fe80::1", 64);
	ipt_addr_add(t, 0, "2001:db8:1::1", 64);
	ipt_addr_add(t, 1, "2001:db8:2::1", 64);
	ipt_route_add(t, 0, "0.0.0.0", 0, "192.168.1.254", 1);
	ipt_config(t);
	expect_source(t, 0, "10.0.0.7", "10.0.0.1");
	expect_source(t, 0, "10.0.9.7", "10.0.9.1");
	expect_source(t, 0, "8.8.8.8", "192.168.1.1");
	expect_source(t, 0, "10.0.9.1", "10.0.9.1");
	expect_source(t, 0, "127.0.0.5", "127.0.0.5");
	expect_source(t, 0, "fe80::99", "fe80::1");
	expect_source(t, 0, "2001:db8:1::9", "2001:db8:1::1");
	expect_source(t, 0, "2001:db8:2::9", "2001:db8:2::1");
	d = ipt_addr("2001:dead::1"); /* the IPv4 default route is none for IPv6 */
	assert_int_equal(sl_ip_source(&t->sq, 0, &d, &got), -ENETUNREACH);
	d = ipt_addr("8.8.8.8");
	assert_int_equal(sl_ip_source(&t->sq, 9, &d, &got), -ENETUNREACH);
	ipt_free(t);
}

static void test_pmtu(void **state)
{
	struct ipt *t = ipt_new(0, 1);
	struct sl_key k = ipt_key(0, "10.0.0.1", 1, "10.0.0.2", 2);
	struct sl_flow f = {0};

	ipt_if(t, 0, SLUICE_VLAN_NONE, SLUICE_VLAN_NONE, 0);
	ipt_addr_add(t, 0, "10.0.0.1", 24);
	t->neighs[0] = (struct sl_cfg_neigh){.addr = ipt_addr("10.0.0.2")};
	t->cfg.nneighs = 1;
	ipt_config(t);
	sl_flow_init(&t->sq, &f, &k, SL_FLOW_CONN);
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), 0);
	sl_flow_mtu(&t->sq, &f, 1400);
	sl_flow_mtu(&t->sq, &f, 1450);
	assert_int_equal(f.mtu, 1400);
	ipt_config(t); /* a change elsewhere does not forget it */
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), 0);
	assert_int_equal(f.mtu, 1400);
	ipt_advance(t, SLUICE_SEC(599));
	sl_flow_ready(&t->sq, &f, &k);
	assert_int_equal(f.mtu, 1400);
	ipt_advance(t, SLUICE_SEC(2));
	assert_int_equal(sl_flow_ready(&t->sq, &f, &k), 0);
	assert_int_equal(f.mtu, 1500);
	ipt_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_lpm),
	    cmocka_unit_test(test_on_link), cmocka_unit_test(test_source),
	    cmocka_unit_test(test_pmtu)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
