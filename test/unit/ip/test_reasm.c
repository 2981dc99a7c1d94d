/* SPDX-License-Identifier: BSD-3-Clause */
/* Reassembly: needs the EAL, whose memory holds the tables. */
#include "ipt.h"

#include <rte_eal.h>

static uint8_t whole[4096];

static struct ipt *start(void)
{
	struct ipt *t = ipt_new(0, 1);

	ipt_if(t, 0, SLUICE_VLAN_NONE, SLUICE_VLAN_NONE, 0);
	ipt_addr_add(t, 0, "10.0.0.1", 24);
	ipt_addr_add(t, 0, "2001:db8::1", 64);
	ipt_config(t);
	return t;
}

static void frag4(struct ipt *t, uint16_t id, uint32_t from, uint32_t len, bool more)
{
	uint8_t b[4096], *h = b + 14;
	uint32_t n = ipt_ip(b, "10.0.0.2", "10.0.0.1", PROTO_TCP, whole + 34 + from, len);

	wr16(h + 4, id);
	wr16(h + 6, (uint16_t)(from / 8 | (more ? 0x2000 : 0)));
	ipt_fix4(h);
	ipt_rx(t, 0, b, n);
}

static void frag6(struct ipt *t, uint32_t id, uint32_t from, uint32_t len, bool more)
{
	uint8_t b[4096], p[4096] = {PROTO_TCP};

	wr16(p + 2, (uint16_t)(from | (more ? 1 : 0)));
	wr32(p + 4, id);
	memcpy(p + 8, whole + 54 + from, len);
	ipt_rx(t, 0, b, ipt_ip(b, "2001:db8::2", "2001:db8::1", 44, p, len + 8));
}

static void test_reasm(void **state)
{
	struct ipt *t = start();

	ipt_tcp(whole, "10.0.0.2", "10.0.0.1", 1, 2, 2000); /* 2020 bytes of TCP */
	frag4(t, 1, 800, 800, true);
	frag4(t, 1, 1600, 420, false);
	assert_int_equal(t->nin, 0);
	frag4(t, 1, 0, 800, true);
	assert_int_equal(t->nin, 1);
	assert_int_equal(t->in[0].len, 2020);
	ipt_tcp(whole, "2001:db8::2", "2001:db8::1", 1, 2, 1500);
	frag6(t, 2, 800, 720, false);
	frag6(t, 2, 0, 800, true);
	assert_int_equal(t->nin, 2);
	assert_int_equal(t->in[1].len, 1520);
	assert_int_equal(t->sq.ctr.ip_frag_ok, 2);
	assert_int_equal(t->sq.ctr.ip_frag_in, 5);
	/* A flood of halves is bounded, and what stays is freed with the stack. */
	for (uint16_t id = 10; id < 1000; id++)
		frag6(t, id, 0, 800, true);
	assert_true(tp_out(t->mp) < 300);
	assert_true(t->sq.ctr.ip_frag_drops > 600);
	ipt_free(t);
}

static void test_off(void **state)
{
	struct ipt *t = start();

	t->sq.tun.ip_frag_max = 0;
	ipt_tcp(whole, "10.0.0.2", "10.0.0.1", 1, 2, 2000);
	frag4(t, 1, 0, 800, true);
	assert_int_equal(t->sq.ctr.ip_frag_drops, 1);
	ipt_free(t);
}

int main(void)
{
	char *argv[] = {(char[]){"test"}, (char[]){"--no-huge"}, (char[]){"--no-shconf"},
	    (char[]){"--no-pci"}, (char[]){"--no-telemetry"}, (char[]){"-m"}, (char[]){"64"},
	    (char[]){"--log-level=1"}};
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reasm), cmocka_unit_test(test_off)};
	int rc;

	if (rte_eal_init(8, argv) < 0)
		return 1;
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	rte_eal_cleanup();
	return rc;
}
