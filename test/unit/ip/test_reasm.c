/* SPDX-License-Identifier: BSD-3-Clause */
/* Reassembly: needs the EAL, whose memory holds the tables. */
#include "ipt.h"

#include <rte_eal.h>

static uint8_t whole[8192];

static struct ipt *start_many(unsigned int nsq)
{
	struct ipt *t = ipt_new(0, nsq);

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

static struct ipt *start(void)
{
	return start_many(1);
}

static void proto4(
    struct ipt *t, uint8_t proto, uint16_t id, uint32_t from, uint32_t len, bool more)
{
	uint8_t b[4096], *h = b + 14;
	uint32_t n = ipt_ip(b, "10.0.0.2", "10.0.0.1", proto, whole + 34 + from, len);

	wr16(h + 4, id);
	wr16(h + 6, (uint16_t)(from / 8 | (more ? 0x2000 : 0)));
	ipt_fix4(h);
	ipt_rx(t, 0, b, n);
}

static void proto6(
    struct ipt *t, uint8_t proto, uint32_t id, uint32_t from, uint32_t len, bool more)
{
	uint8_t b[4096], p[4096] = {proto};

	wr16(p + 2, (uint16_t)(from | (more ? 1 : 0)));
	wr32(p + 4, id);
	memcpy(p + 8, whole + 54 + from, len);
	ipt_rx(t, 0, b, ipt_ip(b, "2001:db8::2", "2001:db8::1", 44, p, len + 8));
}

static void frag4(struct ipt *t, uint16_t id, uint32_t from, uint32_t len, bool more)
{
	proto4(t, PROTO_TCP, id, from, len, more);
}

static void frag6(struct ipt *t, uint32_t id, uint32_t from, uint32_t len, bool more)
{
	proto6(t, PROTO_TCP, id, from, len, more);
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

/* Fragments that a port spreads as it likes meet at one squeue, and go on from there when whole. */
static void test_spread(void **state)
{
	static const struct sluice_driver_ops none = {.size = sizeof(none)};
	struct ipt *t = start_many(4);
	unsigned int to[4] = {0}, here = 0, away = 0;

	t->sq.port[0].drv.ops = t->sq.port[1].drv.ops = &none;
	for (uint16_t id = 1; id <= 80; id++) {
		bool v6 = id & 1;

		if (v6) {
			ipt_tcp(whole, "2001:db8::2", "2001:db8::1", id, 2, 1500);
			frag6(t, id, 0, 800, true);
			frag6(t, id, 800, 720, false);
		} else {
			ipt_tcp(whole, "10.0.0.2", "10.0.0.1", id, 2, 1500);
			frag4(t, id, 0, 800, true);
			frag4(t, id, 800, 720, false);
		}
		if (t->nfwd == 2) { /* both parts as they came, to the same one */
			struct rte_mbuf *m[2] = {t->fwd[0], t->fwd[1]};

			assert_int_equal(t->fwd_to[0], t->fwd_to[1]);
			to[t->fwd_to[0]]++;
			t->nfwd = 0;
			sl_ip_input(&t->sq, 0, m, 2, true); /* as if here were there */
		}
		/* Whole: taken here, or handed on bare to its place, where it is taken. */
		here += t->nin;
		if (t->nin == 0) {
			assert_int_equal(t->nfwd, 1);
			away++;
			t->nfwd = 0;
			sl_ip_input(&t->sq, 0, &t->fwd[0], 1, true);
		}
		assert_int_equal(t->nin, 1);
		assert_int_equal(t->in[0].len, 1520);
		ipt_clear(t);
	}
	assert_int_equal(to[0], 0);
	assert_true(to[1] > 5 && to[2] > 5 && to[3] > 5);
	assert_true(here > 5 && away > 30);
	assert_int_equal(t->sq.ctr.steer_frag, 2 * (to[1] + to[2] + to[3]) + away);
	assert_int_equal(t->sq.ctr.ip_frag_ok, 80);
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

#define ECHO_LEN 4008

/* Payload of the fragments sent since `from`, in order; checks all that a receiver would. */
static uint32_t join(struct ipt *t, unsigned int from, uint8_t *out, uint32_t mtu)
{
	uint32_t at = 0, id = 0;

	for (unsigned int i = from; i < t->nout; i++) {
		uint8_t buf[2048];
		const uint8_t *h = rte_pktmbuf_read(t->out[i], 14, t->out[i]->pkt_len - 14, buf);
		bool v4 = h[0] >> 4 == 4, more;
		uint32_t hl = v4 ? 20 : 48, len = t->out[i]->pkt_len - 14 - hl, this_id;

		assert_true(t->out[i]->pkt_len <= mtu + 14);
		if (v4) {
			assert_int_equal(ip_sum_header(h), 0xffff);
			assert_int_equal(rd16(h + 2), len + 20);
			assert_int_equal((rd16(h + 6) & 0x1fff) * 8, at);
			more = rd16(h + 6) & 0x2000;
			this_id = rd16(h + 4);
			assert_int_equal(rd16(h + 6) & 0x4000, 0);
		} else {
			assert_int_equal(h[6], 44);
			assert_int_equal(h[40], PROTO_ICMP6);
			assert_int_equal(rd16(h + 4), len + 8);
			assert_int_equal(rd16(h + 42) & 0xfff8, at);
			more = rd16(h + 42) & 1;
			this_id = rd32(h + 44);
		}
		assert_true(i == from || this_id == id);
		id = this_id;
		assert_int_equal(more, i + 1 < t->nout);
		memcpy(out + at, h + hl, len);
		at += len;
	}
	return at;
}

/* ping -s 4000: the answer goes back in fragments, whole, each within the MTU. */
static void test_big_echo(void **state)
{
	struct ipt *t = start();
	uint8_t got[ECHO_LEN], *e = whole + 34;
	unsigned int before;
	uint32_t s = 0;

	for (int i = 0; i < ECHO_LEN; i++)
		e[i] = (uint8_t)(i * 31);
	e[0] = 8;
	e[1] = e[2] = e[3] = 0;
	for (int i = 0; i < ECHO_LEN; i += 2)
		s += rd16(e + i);
	wr16(e + 2, (uint16_t)~ip_fold(s));
	for (int twice = 0; twice < 2; twice++) {
		before = t->nout;
		proto4(t, PROTO_ICMP, (uint16_t)(7 + twice), 0, 1480, true);
		proto4(t, PROTO_ICMP, (uint16_t)(7 + twice), 1480, 1480, true);
		proto4(t, PROTO_ICMP, (uint16_t)(7 + twice), 2960, ECHO_LEN - 2960, false);
		assert_int_equal(join(t, before, got, 1500), ECHO_LEN);
		assert_int_equal(got[0], 0);
		assert_memory_equal(got + 4, e + 4, ECHO_LEN - 4);
	}
	assert_int_equal(t->sq.ctr.ip_frag_out, 6);
	/* another ID for the other packet */
	assert_true(rd16(rte_pktmbuf_mtod_offset(t->out[0], uint8_t *, 18)) !=
		    rd16(rte_pktmbuf_mtod_offset(t->out[3], uint8_t *, 18)));

	e = whole + 54;
	memmove(e, whole + 34, ECHO_LEN);
	e[0] = 128;
	{
		uint8_t h[40 + ECHO_LEN];
		struct sluice_addr a = ipt_addr("2001:db8::2"), d = ipt_addr("2001:db8::1");

		ip_put6(h, &a, &d, PROTO_ICMP6, 255, ECHO_LEN);
		memcpy(h + 40, e, ECHO_LEN);
		ipt_icmp6_sum(h);
		memcpy(e, h + 40, ECHO_LEN);
	}
	before = t->nout;
	proto6(t, PROTO_ICMP6, 7, 0, 1448, true);
	proto6(t, PROTO_ICMP6, 7, 1448, 1448, true);
	proto6(t, PROTO_ICMP6, 7, 2896, ECHO_LEN - 2896, false);
	assert_int_equal(join(t, before, got, 1500), ECHO_LEN);
	assert_int_equal(got[0], 129);
	assert_memory_equal(got + 4, e + 4, ECHO_LEN - 4);
	/* Without room for all pieces none goes. */
	before = t->nout;
	t->sq.port[0].txq->n = SL_TXQ - SL_TXQ_CTL - 2;
	proto4(t, PROTO_ICMP, 9, 0, 1480, true);
	proto4(t, PROTO_ICMP, 9, 1480, 1480, true);
	proto4(t, PROTO_ICMP, 9, 2960, ECHO_LEN - 2960, false);
	assert_int_equal(t->nout, before);
	ipt_free(t);
}

/* Off the link an IPv6 packet that nobody keeps a path MTU for takes 1280. */
static void test_min_mtu(void **state)
{
	struct ipt *t = start();
	struct sluice_addr s = ipt_addr("2001:db8::1"), d = ipt_addr("2001:db8:9::9");
	struct rte_mbuf *m = rte_pktmbuf_alloc(t->mp);
	uint8_t got[2048];

	ipt_route_add(t, 0, "::", 0, "2001:db8::2", 0);
	ipt_config(t);
	memset(rte_pktmbuf_append(m, 1400), 5, 1400);
	ip_send(&t->sq, 0, 0, &s, &d, PROTO_ICMP6, 0, m);
	assert_int_equal(t->nout, 2);
	assert_int_equal(join(t, 0, got, 1280), 1400);
	ipt_free(t);
}

/* What does not become whole is given up in time, and its source told, if the first piece came. */
static void test_time_exceeded(void **state)
{
	struct ipt *t = start();
	const uint8_t *h;

	ipt_tcp(whole, "10.0.0.2", "10.0.0.1", 1, 2, 2000);
	frag4(t, 1, 0, 800, true);
	frag4(t, 2, 800, 800, true);
	ipt_advance(t, SLUICE_SEC(14));
	frag4(t, 3, 0, 800, true);
	assert_int_equal(t->nout, 0);
	ipt_advance(t, SLUICE_SEC(2));
	assert_int_equal(t->sq.ctr.ip_frag_expired, 2);
	assert_int_equal(t->nout, 1);
	h = rte_pktmbuf_mtod(t->out[0], uint8_t *);
	assert_memory_equal(h, ipt_peer, 6);
	h += 14;
	assert_int_equal(h[9], PROTO_ICMP);
	assert_int_equal(h[20], 11);
	assert_int_equal(h[21], 1);
	assert_int_equal(rd16(h + 28 + 4), 1); /* quotes packet 1 */
	assert_int_equal(ip_sum_mbuf(t->out[0], 34, t->out[0]->pkt_len - 34, 0), 0xffff);
	ipt_advance(t, SLUICE_SEC(14));
	assert_int_equal(t->nout, 2);
	assert_int_equal(t->sq.ctr.ip_frag_expired, 3);
	assert_int_equal(t->sq.wheel.count, 0); /* nothing held, nothing due */
	ipt_tcp(whole, "2001:db8::2", "2001:db8::1", 1, 2, 1500);
	frag6(t, 4, 0, 800, true);
	ipt_advance(t, SLUICE_SEC(16));
	assert_int_equal(t->nout, 3);
	h = rte_pktmbuf_mtod(t->out[2], uint8_t *) + 14;
	assert_int_equal(h[6], PROTO_ICMP6);
	assert_int_equal(h[40], 3);
	assert_int_equal(h[41], 1);
	/* rate limited, as all errors */
	t->sq.tun.ip_icmp_rate = 0;
	frag6(t, 5, 0, 800, true);
	ipt_advance(t, SLUICE_SEC(16));
	assert_int_equal(t->nout, 3);
	assert_int_equal(t->sq.ctr.icmp_out_limited, 1);
	assert_int_equal(t->sq.ctr.ip_frag_expired, 5);
	assert_int_equal(t->sq.ctr.ip_frag_drops, 5);
	assert_int_equal(tp_out(t->mp), 3); /* what was sent and is kept by the test */
	ipt_free(t);
}

int main(void)
{
	char *argv[] = {(char[]){"test"}, (char[]){"--no-huge"}, (char[]){"--no-shconf"},
	    (char[]){"--no-pci"}, (char[]){"--no-telemetry"}, (char[]){"-m"}, (char[]){"64"},
	    (char[]){"--log-level=1"}};
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_reasm),
	    cmocka_unit_test(test_spread), cmocka_unit_test(test_off),
	    cmocka_unit_test(test_big_echo), cmocka_unit_test(test_min_mtu),
	    cmocka_unit_test(test_time_exceeded)};
	int rc;

	if (rte_eal_init(8, argv) < 0)
		return 1;
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	rte_eal_cleanup();
	return rc;
}
