/* SPDX-License-Identifier: BSD-3-Clause */
/* A port that the kernel shares: whose each frame is, both ways, and rules that change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include <rte_ether.h>
#include <rte_ip.h>

#include "frames.h"
#include "mpool.h"

/* far --wire--> port of the stack;  exception port --wire--> kernel */
static struct rte_mempool *mp;
static struct sluice_driver far, shared, kernel;

static struct sluice_kernel_rule rule(const char *text)
{
	struct sluice_kernel_rule r;

	assert_int_equal(sluice_kernel_rule_parse(text, &r), 0);
	return r;
}

static void start(uint16_t queues, uint32_t depth, const char *const *text, unsigned int n)
{
	struct sluice_wire_params p = {
	    .size = sizeof(p), .nqueues = {queues, queues}, .depth = depth};
	struct sluice_kernel_rule r[16];
	struct sluice_kernel_params kp = {.size = sizeof(kp), .rules = r, .nrules = n};
	struct sluice_driver a[2], b[2];

	mp = tp_create(2048, 0);
	for (unsigned int i = 0; i < n; i++)
		r[i] = rule(text[i]);
	assert_int_equal(sluice_wire_create(&p, a), 0);
	assert_int_equal(sluice_wire_create(&p, b), 0);
	kp.lower = a[1];
	kp.except = b[0];
	far = a[0];
	kernel = b[1];
	assert_int_equal(sluice_kernel_create(&kp, &shared), 0);
}

static void stop(void)
{
	shared.ops->destroy(shared.ctx);
	far.ops->destroy(far.ctx);
	kernel.ops->destroy(kernel.ctx);
	assert_int_equal(tp_destroy(mp), 0);
}

/* Takes one packet of any queue; its number, or 0. */
static uint32_t take(struct sluice_driver d)
{
	struct sluice_port_info info = {.size = sizeof(info)};
	struct rte_mbuf *m;
	uint32_t id;

	assert_int_equal(d.ops->info(d.ctx, &info), 0);
	for (uint16_t q = 0; q < info.nqueues; q++) {
		if (d.ops->rx(d.ctx, q, &m, 1, 1) == 0)
			continue;
		id = fr_id(m);
		rte_pktmbuf_free(m);
		return id;
	}
	return 0;
}

static void put(struct sluice_driver d, struct rte_mbuf *m)
{
	assert_int_equal(d.ops->tx(d.ctx, 0, &m, 1, 1), 1);
}

enum {
	NOBODY,
	STACK,
	KERNEL,
	BOTH
};

/* Who got frame `m`, whose number is id? */
static int whose(struct rte_mbuf *m, uint32_t id)
{
	uint32_t s, k;

	put(far, m);
	s = take(shared);
	k = take(kernel);
	assert_true((s == 0 || s == id) && (k == 0 || k == id));
	return (s != 0 ? STACK : NOBODY) | (k != 0 ? KERNEL : NOBODY);
}

static int whose_frame(struct fr f)
{
	static uint32_t id;

	f.len = 120;
	f.id = ++id;
	return whose(fr_make(mp, &f, (uint16_t)(id % 2 ? 2000 : 20)), id);
}

static const char *const usual[] = {"kernel tcp 22", "stack tcp 0.0.0.7 80-90",
    "stack tcp ::/0 1000", "kernel any 0.0.0.9", "stack udp", "stack 132 0.0.0.0/24"};

static void rules_decide(void **state)
{
	struct sluice_kernel_stats s = {.size = sizeof(s)};

	start(1, 64, usual, RTE_DIM(usual));
	assert_int_equal(whose_frame((struct fr){.kind = FR_TCP4, .dst = 7, .dport = 22}), KERNEL);
	assert_int_equal(whose_frame((struct fr){.kind = FR_TCP4, .dst = 7, .dport = 79}), KERNEL);
	assert_int_equal(whose_frame((struct fr){.kind = FR_TCP4, .dst = 7, .dport = 80}), STACK);
	assert_int_equal(whose_frame((struct fr){.kind = FR_TCP4, .dst = 7, .dport = 90}), STACK);
	assert_int_equal(whose_frame((struct fr){.kind = FR_TCP4, .dst = 7, .dport = 91}), KERNEL);
	assert_int_equal(whose_frame((struct fr){.kind = FR_TCP4, .dst = 6, .dport = 80}), KERNEL);
	/* ::/0 holds v4-mapped ones too */
	assert_int_equal(whose_frame((struct fr){.kind = FR_TCP6, .dst = 7, .dport = 1000}), STACK);
	assert_int_equal(whose_frame((struct fr){.kind = FR_TCP6, .dst = 7, .dport = 22}), KERNEL);
	assert_int_equal(whose_frame((struct fr){.kind = FR_UDP4, .dst = 8, .dport = 5}), STACK);
	assert_int_equal(whose_frame((struct fr){.kind = FR_UDP4, .dst = 9, .dport = 5}), KERNEL);
	assert_int_equal(whose_frame((struct fr){.kind = FR_ICMP4, .dst = 7}), KERNEL);
	assert_int_equal(whose_frame((struct fr){.kind = FR_ARP}), BOTH);
	assert_int_equal(whose_frame((struct fr){.kind = FR_ND, .dst = 7}), BOTH);
	assert_int_equal(
	    whose_frame((struct fr){.kind = FR_TCP4, .dst = 7, .dport = 80, .vlans = 1}), STACK);
	assert_int_equal(
	    whose_frame((struct fr){.kind = FR_TCP4, .dst = 7, .dport = 22, .vlans = 2}), KERNEL);
	assert_int_equal(sluice_kernel_stats(shared, &s), 0);
	assert_int_equal(s.to_stack, 7);
	assert_int_equal(s.to_kernel, 10);
	stop();
}

/* What is said of one of our packets goes to whoever sent it. */
static void icmp_errors(void **state)
{
	static uint32_t id = 100;

	start(1, 64, usual, RTE_DIM(usual));
	for (int quoted_port = 79; quoted_port <= 80; quoted_port++) {
		struct fr f = {.kind = FR_ICMP4, .dst = 7, .len = 200, .id = ++id};
		struct rte_mbuf *m = fr_make(mp, &f, 2000);
		uint8_t *icmp = rte_pktmbuf_mtod_offset(m, uint8_t *, 34), *q = icmp + 8;

		memset(icmp, 0, 40);
		icmp[0] = 3;
		q[0] = 0x45;
		q[9] = 6;
		q[15] = 7; /* from us */
		fr_put16(q + 20, (uint16_t)quoted_port);
		assert_int_equal(whose(m, id), quoted_port == 80 ? STACK : KERNEL);
	}
	stop();
}

/* Later fragments have no ports, and headers that end early are the kernel's to judge. */
static void odd_frames(void **state)
{
	struct rte_mbuf *m;

	start(1, 64, usual, RTE_DIM(usual));
	/* The first rule for its protocol and address: "kernel tcp 22" fits without ports. */
	m = fr_make(
	    mp, &(struct fr){.kind = FR_TCP4, .dst = 7, .dport = 80, .len = 100, .id = 900}, 2000);
	fr_put16(rte_pktmbuf_mtod_offset(m, uint8_t *, 20), 0x2001);
	assert_int_equal(whose(m, 900), KERNEL);
	for (uint16_t len = 1; len < 60; len++) {
		struct fr f = {.kind = FR_TCP4, .dst = 7, .dport = 80, .len = 100};
		int got;

		m = fr_make(mp, &f, 13);
		assert_int_equal(rte_pktmbuf_trim(m, 1), 0); /* of the last part */
		rte_pktmbuf_free(m);
		m = tp_exact(mp, (uint8_t[64]){0}, len, 0);
		memcpy(rte_pktmbuf_mtod(m, void *),
		    (uint8_t[64]){[12] = 8, [14] = 0x45, [23] = 6, [33] = 7, [37] = 80}, len);
		put(far, m);
		got = 0;
		got |= shared.ops->rx(shared.ctx, 0, &m, 1, 1) ? STACK : 0;
		if (got == 0)
			assert_int_equal(kernel.ops->rx(kernel.ctx, 0, &m, 1, 1), 1);
		assert_int_equal(got, len >= 14 + 20 + 4 ? STACK : 0);
		rte_pktmbuf_free(m);
	}
	stop();
}

/* A tag that the card took off is put back, and its marks are gone. */
static void dressed(void **state)
{
	struct rte_mbuf *m;

	start(1, 64, NULL, 0);
	m = fr_tcp(mp, 5);
	put(far, m);
	/* The wire keeps no such mark: it is made here, as a card would. */
	m->ol_flags |=
	    RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	m->vlan_tci = 9;
	assert_int_equal(take(shared), 0);
	assert_int_equal(kernel.ops->rx(kernel.ctx, 0, &m, 1, 1), 1);
	assert_int_equal(m->pkt_len, 104);
	assert_int_equal(rte_pktmbuf_mtod_offset(m, uint8_t *, 12)[0], 0x81);
	assert_int_equal(rte_pktmbuf_mtod_offset(m, uint8_t *, 14)[1], 9);
	rte_pktmbuf_free(m);
	stop();
}

/* The port is full: the kernel's packets wait in order and go first, the rest stays with the kernel. */
static void from_the_kernel(void **state)
{
	struct sluice_kernel_stats s = {.size = sizeof(s)};
	struct rte_mbuf *m[64];
	uint32_t next = 1;

	start(1, 64, NULL, 0);
	for (uint32_t i = 0; i < 64; i++)
		m[i] = fr_tcp(mp, 1000 + i);
	assert_int_equal(shared.ops->tx(shared.ctx, 0, m, 64, 1), 64); /* the stack fills it */
	for (uint32_t i = 1; i <= 60; i++)
		put(kernel, fr_tcp(mp, i));
	assert_int_equal(take(shared), 0);
	assert_int_equal(sluice_kernel_stats(shared, &s), 0);
	assert_int_equal(s.from_kernel, 32); /* one burst, and no more while it waits */
	assert_true(s.from_kernel_waits > 0);
	m[0] = fr_tcp(mp, 5000);
	assert_int_equal(shared.ops->tx(shared.ctx, 0, m, 1, 1), 0);
	for (uint32_t i = 0; i < 64; i++)
		assert_int_equal(take(far), 1000 + i);
	assert_int_equal(shared.ops->tx(shared.ctx, 0, m, 1, 1), 1);
	for (uint32_t got; next <= 32; next++) {
		got = take(far);
		assert_int_equal(got, next);
	}
	assert_int_equal(take(far), 5000);
	while (next <= 60) {
		uint32_t got;

		assert_int_equal(take(shared), 0);
		while ((got = take(far)) != 0)
			assert_int_equal(got, next++);
	}
	stop();
}

/* The kernel's device is full: dropped and counted. */
static void to_a_full_kernel(void **state)
{
	struct sluice_kernel_stats s = {.size = sizeof(s)};

	start(1, 16, NULL, 0);
	for (uint32_t i = 1; i <= 20; i++) {
		put(far, fr_tcp(mp, i));
		assert_int_equal(take(shared), 0);
	}
	assert_int_equal(sluice_kernel_stats(shared, &s), 0);
	assert_int_equal(s.to_kernel, 16);
	assert_int_equal(s.to_kernel_drops, 4);
	stop();
}

/* ---- rules that change while others look ---- */

static atomic_bool done;

static void *changer(void *arg)
{
	struct sluice_kernel_rule r[2] = {rule("stack tcp"), rule("kernel tcp")};

	for (int i = 0; i < 2000; i++)
		if (sluice_kernel_rules(shared, &r[i % 2], 1) != 0)
			abort();
	atomic_store(&done, true);
	return NULL;
}

static void changing(void **state)
{
	pthread_t t;
	uint32_t id = 0;

	start(1, 64, NULL, 0);
	atomic_store(&done, false);
	assert_int_equal(whose(fr_tcp(mp, 7), 7), KERNEL);
	assert_int_equal(pthread_create(&t, NULL, changer, NULL), 0);
	do {
		int w = whose(fr_tcp(mp, id + 1), id + 1);

		id++;
		assert_true(w == STACK || w == KERNEL); /* never lost, never doubled */
	} while (!atomic_load(&done));
	pthread_join(t, NULL);
	assert_int_equal(whose(fr_tcp(mp, 7), 7), KERNEL);
	assert_int_equal(sluice_kernel_rules(far, NULL, 0), -EINVAL); /* not such a driver */
	assert_int_equal(sluice_kernel_rules(shared, NULL, 1), -EINVAL);
	stop();
}

static void refused(void **state)
{
	static const char *const bad[] = {"", "stack", "stick tcp", "stack tcp 0",
	    "stack tcp 65536", "stack tcp 9-8", "stack tcp 80-", "stack tcp 1.2.3",
	    "stack tcp 1.2.3.4/33", "stack tcp fd00::/129", "stack tcp 1.2.3.4/", "stack any 80",
	    "stack icmp 8", "stack 256", "stack 0", "stack tcp 80 90", "stack tcp x",
	    "stack tcp 80 1.2.3.4"};
	struct sluice_kernel_rule r;
	struct sluice_wire_params p = {.size = sizeof(p), .nqueues = {2, 1}};
	struct sluice_kernel_params kp = {.size = sizeof(kp)};
	struct sluice_driver w[2], out;

	for (size_t i = 0; i < RTE_DIM(bad); i++)
		assert_int_equal(sluice_kernel_rule_parse(bad[i], &r), -EINVAL);
	r = rule(" kernel  icmp  fd00::1/64 ");
	assert_true(r.to_kernel && r.proto == 1 && r.plen == 64 && r.port_last == 0);
	r = rule("stack 6 10.0.0.0/8 80-81");
	assert_true(!r.to_kernel && r.plen == 104 && r.port_first == 80 && r.port_last == 81);
	assert_int_equal(sluice_wire_create(&p, w), 0);
	kp.lower = w[0];
	kp.except = w[1]; /* one queue for two */
	assert_int_equal(sluice_kernel_create(&kp, &out), -EINVAL);
	w[0].ops->destroy(w[0].ctx);
	w[1].ops->destroy(w[1].ctx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(rules_decide),
	    cmocka_unit_test(icmp_errors), cmocka_unit_test(odd_frames), cmocka_unit_test(dressed),
	    cmocka_unit_test(from_the_kernel), cmocka_unit_test(to_a_full_kernel),
	    cmocka_unit_test(changing), cmocka_unit_test(refused)};

	return cmocka_run_group_tests_name("kernel", tests, NULL, NULL);
}
