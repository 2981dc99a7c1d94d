/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <errno.h>

#include "frames.h"
#include "mpool.h"

#define N 20000u

static struct rte_mempool *mp;
static struct sluice_driver d[2]; /* the wrapper of end 0, and end 1 bare */

static struct sluice_impair_params none(void)
{
	return (struct sluice_impair_params){
	    .size = sizeof(struct sluice_impair_params), .seed = 42, .pool = mp};
}

static struct sluice_wire_params link_params(void)
{
	return (struct sluice_wire_params){
	    .size = sizeof(struct sluice_wire_params), .nqueues = {1, 1}, .depth = 8192};
}

static void make_over(const struct sluice_impair_params *p, const struct sluice_wire_params *w)
{
	struct sluice_driver bare;

	assert_int_equal(sluice_wire_create(w, d), 0);
	bare = d[0];
	assert_int_equal(sluice_impair_create(p, bare, &d[0]), 0);
}

static void make(const struct sluice_impair_params *p)
{
	struct sluice_wire_params w = link_params();

	make_over(p, &w);
}

static void unmake(void)
{
	d[0].ops->destroy(d[0].ctx);
	d[1].ops->destroy(d[1].ctx);
	assert_int_equal(tp_out(mp), 0);
}

static struct sluice_impair_stats stats(void)
{
	struct sluice_impair_stats s = {.size = sizeof(s)};

	sluice_impair_stats(d[0], &s);
	return s;
}

static void send_one(struct rte_mbuf *m, uint64_t now)
{
	assert_int_equal(d[0].ops->tx(d[0].ctx, 0, &m, 1, now), 1);
}

/* What a run gave: a hash over ids, times and bytes; ids by arrival; how many came before a smaller
 * id. */
struct result {
	uint64_t hash;
	uint32_t got, overtaken, longest_gap;
};

static void drain(struct result *r, uint64_t now, uint32_t *max)
{
	struct rte_mbuf *m[64];
	uint16_t n;

	assert_int_equal(d[0].ops->rx(d[0].ctx, 0, m, 64, now), 0);
	while ((n = d[1].ops->rx(d[1].ctx, 0, m, 64, now))) {
		for (uint16_t i = 0; i < n; i++) {
			uint32_t id = fr_id(m[i]);
			uint8_t b[2048];
			const uint8_t *p = rte_pktmbuf_read(m[i], 0, m[i]->pkt_len, b);

			r->hash = (r->hash ^ now) * 0x100000001b3ull;
			for (uint32_t k = 0; k < m[i]->pkt_len; k++)
				r->hash = (r->hash ^ p[k]) * 0x100000001b3ull;
			r->got++;
			if (id < *max)
				r->overtaken++;
			else {
				r->longest_gap = RTE_MAX(r->longest_gap, id - *max);
				*max = id;
			}
			rte_pktmbuf_free(m[i]);
		}
	}
}

/* N packets a microsecond apart, then all that is held, by next(). */
static struct result run(const struct sluice_impair_params *p)
{
	struct result r = {0};
	uint32_t max = 0;

	make(p);
	for (uint32_t i = 0; i < N; i++) {
		send_one(fr_tcp(mp, i), i * 1000);
		drain(&r, i * 1000, &max);
	}
	for (uint64_t t; (t = d[0].ops->next(d[0].ctx, 0)) != UINT64_MAX;)
		drain(&r, t, &max);
	assert_int_equal(stats().packets, N);
	assert_int_equal(r.got, N - stats().lost + stats().duplicated - stats().queue_drops);
	return r;
}

static void clean(void **state)
{
	struct sluice_impair_params p = none();
	struct result r = run(&p);

	assert_int_equal(r.got, N);
	assert_int_equal(r.overtaken, 0);
	assert_int_equal(stats().delayed, 0);
	unmake();
}

static void loss(void **state)
{
	struct sluice_impair_params p = none();

	p.loss_ppm = 50000;
	run(&p);
	assert_in_range(stats().lost, 850, 1150);
	unmake();
}

/* 1 % into the bad state, 10 % out of it: a share of 1/11 is lost, in runs of 10 on average. */
static void burst_loss(void **state)
{
	struct sluice_impair_params p = none();
	struct result r;

	p.gilbert_good_bad_ppm = 10000;
	p.gilbert_bad_good_ppm = 100000;
	r = run(&p);
	assert_in_range(stats().lost, N / 11 * 7 / 10, N / 11 * 13 / 10);
	assert_in_range(r.longest_gap, 25, 200);
	unmake();
}

static void duplication(void **state)
{
	struct sluice_impair_params p = none();
	struct result r;

	p.dup_ppm = 100000;
	r = run(&p);
	assert_in_range(stats().duplicated, 1800, 2200);
	assert_int_equal(r.overtaken, 0);
	unmake();
}

static void reordering(void **state)
{
	struct sluice_impair_params p = none();
	struct result r;

	p.reorder_ppm = 20000;
	p.reorder_delay = 50000;
	r = run(&p);
	assert_in_range(stats().reordered, 300, 500);
	assert_in_range(r.overtaken, stats().reordered - 5, stats().reordered);
	unmake();
}

static void jitter_keeps_order(void **state)
{
	struct sluice_impair_params p = none();
	struct result r;

	p.delay = 30000;
	p.jitter = 20000;
	r = run(&p);
	assert_int_equal(r.got, N);
	assert_int_equal(r.overtaken, 0);
	assert_int_equal(stats().delayed, N);
	unmake();
}

static void delay_is_exact(void **state)
{
	struct sluice_impair_params p = none();
	struct result r = {0};
	uint32_t max = 0;

	p.delay = 700;
	make(&p);
	send_one(fr_tcp(mp, 1), 100);
	assert_int_equal(d[0].ops->next(d[0].ctx, 0), 800);
	drain(&r, 799, &max);
	assert_int_equal(r.got, 0);
	drain(&r, 800, &max);
	assert_int_equal(r.got, 1);
	/* What is held belongs to the wrapper. */
	send_one(fr_tcp(mp, 2), 900);
	unmake();
}

static void same_seed_same_run(void **state)
{
	struct sluice_impair_params p = none();
	struct result a, b, c;

	p.loss_ppm = p.dup_ppm = p.reorder_ppm = p.corrupt_ppm = p.truncate_ppm = 20000;
	p.gilbert_good_bad_ppm = 1000;
	p.gilbert_bad_good_ppm = 300000;
	p.jitter = 5000;
	a = run(&p);
	unmake();
	b = run(&p);
	unmake();
	p.seed++;
	c = run(&p);
	unmake();
	assert_true(a.hash == b.hash && a.got == b.got);
	assert_true(a.hash != c.hash);
}

/* Each frame differs from its original in one bit, never in the addresses; every bit position of a
 * byte is hit. */
static void one_bit_with(bool raw)
{
	struct sluice_wire_params w = link_params();
	struct sluice_impair_params p = none();
	uint32_t lowest = UINT32_MAX, highest = 0, bits = 0;

	w.caps = raw ? SLUICE_CAP_L3 : 0;
	p.corrupt_ppm = 1000000;
	make_over(&p, &w);
	for (uint32_t i = 0; i < 4000; i++) {
		struct fr f = {.kind = (enum fr_kind)(i % 3),
		    .len = 100,
		    .src = i,
		    .dst = 9,
		    .raw = raw,
		    .id = i};
		struct rte_mbuf *m = fr_make(mp, &f, (uint16_t)(13 + i % 100)),
				*keep = rte_pktmbuf_clone(m, mp), *r;
		uint8_t was[100], is[100], again[100];
		uint32_t diff = 0;

		fr_bytes(&f, was);
		send_one(m, i);
		assert_int_equal(d[1].ops->rx(d[1].ctx, 0, &r, 1, i), 1);
		assert_int_equal(r->pkt_len, 100);
		memcpy(is, rte_pktmbuf_read(r, 0, 100, again), 100);
		for (uint32_t k = 0; k < 100; k++) {
			uint8_t x = was[k] ^ is[k];

			diff += (uint32_t)__builtin_popcount(x);
			bits |= x;
			if (x) {
				lowest = RTE_MIN(lowest, k);
				highest = RTE_MAX(highest, k);
			}
		}
		assert_int_equal(diff, 1);
		/* The sender's own bytes, here held by a clone as a send queue would, are as they
		 * were. */
		assert_memory_equal(rte_pktmbuf_read(keep, 0, 100, again), was, 100);
		rte_pktmbuf_free(keep);
		rte_pktmbuf_free(r);
	}
	assert_int_equal(stats().corrupted, 4000);
	assert_int_equal(lowest, raw ? 0 : 12);
	assert_int_equal(highest, 99);
	assert_int_equal(bits, 0xff);
	unmake();
}

static void one_bit(void **state)
{
	one_bit_with(false);
	one_bit_with(true);
}

static void arp_and_nd_exempt(void **state)
{
	struct sluice_impair_params p = none();

	p.corrupt_ppm = p.truncate_ppm = 1000000;
	make(&p);
	for (uint32_t i = 0; i < 200; i++) {
		struct fr f = {
		    .kind = i & 1 ? FR_ARP : FR_ND, .len = 100, .vlans = (uint8_t)(i % 3), .id = i};
		struct rte_mbuf *r;
		uint8_t was[100], b[100];

		fr_bytes(&f, was);
		send_one(fr_make(mp, &f, (uint16_t)(20 + i)), i);
		assert_int_equal(d[1].ops->rx(d[1].ctx, 0, &r, 1, i), 1);
		assert_int_equal(r->pkt_len, 100);
		assert_memory_equal(rte_pktmbuf_read(r, 0, 100, b), was, 100);
		rte_pktmbuf_free(r);
	}
	assert_int_equal(stats().corrupted + stats().truncated, 0);
	unmake();
}

static void truncation(void **state)
{
	struct sluice_impair_params p = none();
	uint32_t shortest = 100, longest = 0;

	p.truncate_ppm = 1000000;
	make(&p);
	for (uint32_t i = 0; i < 2000; i++) {
		struct rte_mbuf *r;

		send_one(fr_tcp(mp, i), i);
		assert_int_equal(d[1].ops->rx(d[1].ctx, 0, &r, 1, i), 1);
		shortest = RTE_MIN(shortest, r->pkt_len);
		longest = RTE_MAX(longest, r->pkt_len);
		rte_pktmbuf_free(r);
	}
	assert_int_equal(shortest, 14);
	assert_int_equal(longest, 99);
	assert_int_equal(stats().truncated, 2000);
	unmake();
}

static void chosen_drops(void **state)
{
	struct sluice_impair_params p = none();
	struct result r = {0};
	uint32_t max = 0;

	p.drop_nth = 3;
	p.blackout_start = 5;
	p.blackout_len = 2;
	make(&p);
	for (uint32_t i = 0; i < 10; i++)
		send_one(fr_tcp(mp, i), i);
	drain(&r, 10, &max);
	assert_int_equal(r.got, 7);
	assert_int_equal(stats().lost, 3);
	p.drop_nth = 1;
	assert_int_equal(sluice_impair_set(d[0], &p), 0);
	send_one(fr_tcp(mp, 10), 10);
	send_one(fr_tcp(mp, 11), 11);
	assert_int_equal(stats().lost, 4);
	unmake();
}

/* The hook sees each packet in its turn, and decides. */
static void chosen(void *arg, uint16_t q, const struct rte_mbuf *m, uint64_t now, bool copy,
    struct sluice_impair_fate *f)
{
	unsigned int *copies = arg;

	assert_int_equal(f->flip, -1);
	assert_false(f->lose);
	*copies += copy;
	switch (fr_id(m)) {
	case 0:
		f->lose = true;
		break;
	case 1:
		f->dup = !copy;
		break;
	case 2:
		f->hold = 5000;
		break;
	case 3:
		f->cut = 60;
		break;
	case 4:
		f->flip = 50 * 8 + 3;
		break;
	case 5:
		f->delay = 2000;
		break;
	default:
		break;
	}
}

static void chosen_fates(void **state)
{
	static const struct {
		uint32_t id, len;
		uint64_t at;
	} want[] = {{1, 100, 0}, {1, 100, 0}, {3, 60, 0}, {4, 100, 0}, {5, 100, 2000},
	    {6, 100, 2000}, {2, 100, 5000}};
	struct sluice_impair_params p = none();
	unsigned int copies = 0, n = 0;

	p.fate = chosen;
	p.fate_arg = &copies;
	make(&p);
	for (uint32_t i = 0; i < 7; i++)
		send_one(fr_tcp(mp, i), 0);
	for (uint64_t now = 0; now <= 5000; now += 1000) {
		struct rte_mbuf *m;

		while (
		    d[0].ops->rx(d[0].ctx, 0, &m, 1, now) + d[1].ops->rx(d[1].ctx, 0, &m, 1, now) >
		    0) {
			uint8_t b;

			assert_true(n < RTE_DIM(want));
			assert_int_equal(m->pkt_len, want[n].len);
			assert_int_equal(now, want[n].at);
			if (want[n].id == 4) {
				struct rte_mbuf *clean = fr_tcp(mp, 4);

				assert_int_equal(
				    *(const uint8_t *)rte_pktmbuf_read(m, 50, 1, &b) ^ 8,
				    *(const uint8_t *)rte_pktmbuf_read(clean, 50, 1, &b));
				rte_pktmbuf_free(clean);
			} else if (want[n].id != 3) { /* whose number is cut off */
				assert_int_equal(fr_id(m), want[n].id);
			}
			n++;
			rte_pktmbuf_free(m);
		}
	}
	assert_int_equal(n, RTE_DIM(want));
	assert_int_equal(copies, 1);
	assert_int_equal(stats().lost, 1);
	assert_int_equal(stats().truncated + stats().corrupted + stats().reordered, 3);
	unmake();
}

static void queue_and_backpressure(void **state)
{
	struct sluice_wire_params w = link_params();
	struct sluice_impair_params p = none();
	struct result r = {0};
	struct rte_mbuf *m;
	uint32_t max = 0;

	p.queue = 10;
	p.delay = 100;
	make(&p);
	for (uint32_t i = 0; i < 15; i++)
		send_one(fr_tcp(mp, i), 0);
	assert_int_equal(stats().queue_drops, 5);
	unmake();

	p.delay = 0;
	w.depth = 4;
	make_over(&p, &w);
	for (uint32_t i = 0; i < 5; i++)
		send_one(fr_tcp(mp, i), 50);
	m = fr_tcp(mp, 5);
	assert_int_equal(d[0].ops->tx(d[0].ctx, 0, &m, 1, 50), 0);
	rte_pktmbuf_free(m);
	/* Blocked: time must go on. */
	assert_true(d[0].ops->next(d[0].ctx, 0) > 50);
	drain(&r, 60, &max);
	drain(&r, 70, &max);
	assert_int_equal(r.got, 5);
	assert_int_equal(r.overtaken, 0);
	assert_int_equal(stats().queue_drops, 0);
	unmake();
}

static void no_memory(void **state)
{
	struct sluice_impair_params p = none();
	struct result r = {0};
	struct rte_mbuf *m;
	uint32_t max = 0;

	p.corrupt_ppm = p.dup_ppm = 1000000;
	make(&p);
	m = fr_tcp(mp, 1);
	tp_set_limit(mp, tp_out(mp));
	send_one(m, 0);
	tp_set_limit(mp, 0);
	drain(&r, 0, &max);
	assert_int_equal(r.got, 1);
	assert_int_equal(max, 1);
	assert_int_equal(stats().nomem, 2);
	assert_int_equal(stats().corrupted, 0);
	unmake();
}

static void capabilities(void **state)
{
	struct sluice_wire_params w = link_params();
	struct sluice_impair_params p = none();
	struct sluice_port_info i = {.size = sizeof(i)};
	struct rte_mbuf *m, *r;

	w.caps = SLUICE_CAP_PERFECT | SLUICE_CAP_TX_TSO | SLUICE_CAP_TX_L4_CKSUM |
		 SLUICE_CAP_TX_IP4_CKSUM;
	make_over(&p, &w);
	assert_int_equal(d[0].ops->info(d[0].ctx, &i), 0);
	assert_int_equal(
	    i.caps, SLUICE_CAP_TX_MULTISEG | SLUICE_CAP_TX_INDIRECT | SLUICE_CAP_RX_LRO);
	assert_int_equal(i.tso_max, 0);
	m = fr_tcp(mp, 1);
	assert_int_equal(d[1].ops->tx(d[1].ctx, 0, &m, 1, 0), 1);
	assert_int_equal(d[0].ops->rx(d[0].ctx, 0, &r, 1, 0), 1);
	assert_int_equal(r->ol_flags, 0);
	rte_pktmbuf_free(r);
	assert_null(d[0].ops->steer);
	unmake();
}

static void bad_parameters(void **state)
{
	struct sluice_impair_params p = none();

	make(&p);
	p.loss_ppm = 1000001;
	assert_int_equal(sluice_impair_set(d[0], &p), -EINVAL);
	p = none();
	p.size = 8;
	assert_int_equal(sluice_impair_set(d[0], &p), -EINVAL);
	assert_int_equal(sluice_impair_set(d[1], &p), -EINVAL);
	p = none();
	p.corrupt_ppm = 1;
	p.pool = NULL;
	assert_int_equal(sluice_impair_create(&p, d[1], &d[0]), -EINVAL);
	unmake();
}

static int begin(void **state)
{
	mp = tp_create(512, 0);
	return mp ? 0 : -1;
}

static int end(void **state)
{
	return tp_destroy(mp) ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(clean),
	    cmocka_unit_test(loss),
	    cmocka_unit_test(burst_loss),
	    cmocka_unit_test(duplication),
	    cmocka_unit_test(reordering),
	    cmocka_unit_test(jitter_keeps_order),
	    cmocka_unit_test(delay_is_exact),
	    cmocka_unit_test(same_seed_same_run),
	    cmocka_unit_test(one_bit),
	    cmocka_unit_test(arp_and_nd_exempt),
	    cmocka_unit_test(truncation),
	    cmocka_unit_test(chosen_drops),
	    cmocka_unit_test(chosen_fates),
	    cmocka_unit_test(queue_and_backpressure),
	    cmocka_unit_test(no_memory),
	    cmocka_unit_test(capabilities),
	    cmocka_unit_test(bad_parameters),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
