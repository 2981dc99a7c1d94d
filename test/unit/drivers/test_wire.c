/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "frames.h"
#include "mpool.h"

static struct rte_mempool *mp;
static struct sluice_driver d[2];

static uint16_t tx(int end, uint16_t q, struct rte_mbuf **m, uint16_t n, uint64_t now)
{
	return d[end].ops->tx(d[end].ctx, q, m, n, now);
}

static uint16_t rx(int end, uint16_t q, struct rte_mbuf **m, uint16_t n, uint64_t now)
{
	return d[end].ops->rx(d[end].ctx, q, m, n, now);
}

static struct sluice_wire_params defaults(void)
{
	return (struct sluice_wire_params){
	    .size = sizeof(struct sluice_wire_params), .nqueues = {1, 1}};
}

static void make(const struct sluice_wire_params *p)
{
	mp = tp_create(2048, 0);
	assert_int_equal(sluice_wire_create(p, d), 0);
}

static void unmake(void)
{
	d[0].ops->destroy(d[0].ctx);
	d[1].ops->destroy(d[1].ctx);
	assert_int_equal(tp_destroy(mp), 0);
}

static struct sluice_port_stats stats(int end)
{
	struct sluice_port_stats s = {.size = sizeof(s)};

	d[end].ops->stats(d[end].ctx, &s);
	return s;
}

static struct sluice_port_info info(int end)
{
	struct sluice_port_info i = {.size = sizeof(i)};

	assert_int_equal(d[end].ops->info(d[end].ctx, &i), 0);
	return i;
}

/* Random bursts both ways against counters of what must come next; depth is never exceeded, nothing
 * is lost. */
static void order_and_fullness(void **state)
{
	struct sluice_wire_params p = defaults();
	uint32_t sent[2] = {0}, got[2] = {0}, full = 0;
	const uint32_t depth = 100;

	p.depth = depth;
	make(&p);
	srandom(7);
	for (int step = 0; step < 20000; step++) {
		struct rte_mbuf *m[64];
		int e = (int)(random() & 1);
		uint16_t n = (uint16_t)(random() % 64), k;

		if (random() & 1) {
			for (uint16_t i = 0; i < n; i++)
				m[i] = fr_tcp(mp, sent[e] + i);
			k = tx(e, 0, m, n, 0);
			assert_int_equal(k, RTE_MIN((uint32_t)n, depth - (sent[e] - got[!e])));
			full += k < n;
			for (uint16_t i = k; i < n; i++)
				rte_pktmbuf_free(m[i]);
			sent[e] += k;
		} else {
			assert_int_equal(
			    d[e].ops->next(d[e].ctx, 0), sent[!e] == got[e] ? UINT64_MAX : 0);
			k = rx(e, 0, m, n, 0);
			assert_int_equal(k, RTE_MIN((uint32_t)n, sent[!e] - got[e]));
			for (uint16_t i = 0; i < k; i++) {
				assert_int_equal(fr_id(m[i]), got[e]++);
				assert_int_equal(m[i]->ol_flags, 0);
				rte_pktmbuf_free(m[i]);
			}
		}
	}
	assert_true(full > 100);
	assert_int_equal(stats(0).tx_pkts, sent[0]);
	assert_int_equal(stats(0).tx_bytes, 100ull * sent[0]);
	assert_int_equal(stats(1).rx_pkts, got[1]);
	assert_int_equal(stats(1).rx_bytes, 100ull * got[1]);
	unmake();
}

static void latency_and_rate(void **state)
{
	struct sluice_wire_params p = defaults();
	struct rte_mbuf *m[8];

	p.latency = 5000;
	p.rate = 1000000000; /* 100 bytes: 800 ns */
	make(&p);
	for (uint32_t i = 0; i < 4; i++)
		m[i] = fr_tcp(mp, i);
	assert_int_equal(tx(0, 0, m, 4, 1000), 4);
	for (uint32_t i = 0; i < 4; i++) {
		uint64_t due = 1000 + 800 * (i + 1) + 5000;

		assert_int_equal(d[1].ops->next(d[1].ctx, 0), due);
		assert_int_equal(rx(1, 0, m, 8, due - 1), 0);
		assert_int_equal(rx(1, 0, m, 8, due), 1);
		assert_int_equal(fr_id(m[0]), i);
		rte_pktmbuf_free(m[0]);
	}
	assert_int_equal(d[1].ops->next(d[1].ctx, 0), UINT64_MAX);
	unmake();
}

/* 3 Gbit/s: 266.67 ns a packet; the thirds must not get lost over 3000 packets. */
static void rate_does_not_drift(void **state)
{
	struct sluice_wire_params p = defaults();
	uint64_t last = 0;

	p.rate = 3000000000;
	p.depth = 4096;
	make(&p);
	for (uint32_t i = 0; i < 3000; i++) {
		struct rte_mbuf *m = fr_tcp(mp, i);

		assert_int_equal(tx(0, 0, &m, 1, 0), 1);
	}
	for (uint32_t i = 0; i < 3000; i++) {
		struct rte_mbuf *m;

		last = d[1].ops->next(d[1].ctx, 0);
		assert_int_equal(rx(1, 0, &m, 1, last), 1);
		rte_pktmbuf_free(m);
	}
	assert_int_equal(last, 800000);
	unmake();
}

/* Whatever the sender's queue and however the headers are cut, a packet arrives where steer() says.
 */
static void steering_with(bool timed, bool raw)
{
	struct sluice_wire_params p = defaults();
	unsigned int seen[3] = {0}, unlike = 0;

	p.nqueues[0] = 2;
	p.nqueues[1] = 3;
	p.latency = timed ? 10 : 0;
	p.caps = raw ? SLUICE_CAP_L3 : 0;
	make(&p);
	srandom(3);
	for (uint32_t i = 0; i < 3000; i++) {
		struct fr f = {.kind = (enum fr_kind)(i % 3),
		    .src = (uint32_t)random(),
		    .dst = (uint32_t)random(),
		    .sport = (uint16_t)random(),
		    .dport = (uint16_t)random(),
		    .vlans = (uint8_t)(random() % 3),
		    .len = 100,
		    .raw = raw};
		struct sluice_addr s = fr_addr(f.kind == FR_TCP6, f.src),
				   t = fr_addr(f.kind == FR_TCP6, f.dst);
		uint16_t sp = rte_cpu_to_be_16(f.sport), dp = rte_cpu_to_be_16(f.dport);
		struct rte_mbuf *m = fr_make(mp, &f, (uint16_t)(1 + random() % 60)), *r = NULL;
		int q = d[1].ops->steer(d[1].ctx, &s, &t, sp, dp);

		assert_in_range(q, 0, 2);
		unlike += q != d[1].ops->steer(d[1].ctx, &t, &s, dp, sp);
		seen[q]++;
		assert_int_equal(tx(0, (uint16_t)(random() & 1), &m, 1, i), 1);
		for (uint16_t k = 0; k < 3; k++)
			assert_int_equal(rx(1, k, &r, 1, i + 10), k == q);
		assert_ptr_equal(r, m);
		rte_pktmbuf_free(r);
	}
	for (int k = 0; k < 3; k++)
		assert_in_range(seen[k], 850, 1150);
	assert_true(unlike > 1000);
	unmake();
}

static void steering(void **state)
{
	steering_with(false, false);
	steering_with(true, false);
	steering_with(false, true);
}

static void others_to_queue_0(void **state)
{
	struct sluice_wire_params p = defaults();

	p.nqueues[1] = 8;
	make(&p);
	for (uint32_t i = 0; i < 400; i++) {
		struct fr f = {.kind = (enum fr_kind)(FR_FRAG4 + i % 4),
		    .src = i * 977,
		    .dst = i * 31,
		    .sport = 5,
		    .dport = (uint16_t)i,
		    .len = 100};
		struct rte_mbuf *m = fr_make(mp, &f, 2000), *r;

		assert_int_equal(tx(0, 0, &m, 1, 0), 1);
		assert_int_equal(rx(1, 0, &r, 1, 0), 1);
		rte_pktmbuf_free(r);
	}
	assert_null(d[0].ops->steer);
	assert_non_null(d[1].ops->steer);
	unmake();
}

static void copies(void **state)
{
	struct sluice_wire_params p = defaults();
	struct rte_mempool *pool[2] = {tp_create(256, 0), tp_create(192 + RTE_PKTMBUF_HEADROOM, 0)};
	struct fr f = {.kind = FR_TCP4, .len = 1500};
	struct rte_mbuf *m, *r;
	uint8_t want[1500], b[1500];

	p.copy = true;
	p.pool[0] = pool[0];
	p.pool[1] = pool[1];
	make(&p);
	fr_bytes(&f, want);
	m = fr_make(mp, &f, 700);
	assert_int_equal(tx(0, 0, &m, 1, 0), 1);
	assert_int_equal(tp_out(mp), 0);
	assert_int_equal(rx(1, 0, &r, 1, 0), 1);
	assert_int_equal(r->pkt_len, 1500);
	assert_int_equal(r->nb_segs, 8);
	assert_memory_equal(rte_pktmbuf_read(r, 0, 1500, b), want, 1500);
	assert_int_equal(rte_mbuf_check(r, 1, &(const char *){NULL}), 0);
	rte_pktmbuf_free(r);
	for (uint32_t k = 1; k <= 8; k++) {
		m = fr_make(mp, &f, 700);
		tp_fail_nth(pool[1], k);
		assert_int_equal(tx(0, 0, &m, 1, 0), 1);
		assert_int_equal(stats(1).rx_nomem, k);
	}
	assert_int_equal(rx(1, 0, &r, 1, 0), 0);
	unmake();
	assert_int_equal(tp_destroy(pool[0]) + tp_destroy(pool[1]), 0);
}

/* The sender's requests become the receiver's marks; the memory's own flags survive. */
static void marks(void **state)
{
	static const struct {
		uint32_t caps;
		uint64_t tx, rx;
	} t[] = {
	    {0, 0, 0},
	    {0, RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_VLAN, 0},
	    {SLUICE_CAP_PERFECT, 0, RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD},
	    {SLUICE_CAP_TX_L4_CKSUM, RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4,
		RTE_MBUF_F_RX_L4_CKSUM_GOOD},
	    {SLUICE_CAP_TX_L4_CKSUM, 0, 0},
	    {SLUICE_CAP_TX_L4_CKSUM | SLUICE_CAP_TX_IP4_CKSUM,
		RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_IPV4,
		RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct sluice_wire_params p = defaults();
		struct rte_mbuf *m, *ind, *data, *r;

		p.caps = t[i].caps;
		make(&p);
		assert_int_equal(info(0).caps, t[i].caps | SLUICE_CAP_TX_MULTISEG |
						   SLUICE_CAP_TX_INDIRECT |
						   (t[i].caps ? SLUICE_CAP_RX_CKSUM : 0));
		m = fr_tcp(mp, 1);
		data = fr_tcp(mp, 2);
		ind = rte_pktmbuf_clone(data, mp);
		rte_pktmbuf_chain(m, ind);
		m->ol_flags = t[i].tx;
		if (t[i].tx & RTE_MBUF_F_TX_TCP_CKSUM)
			m->l4_len = 20;
		assert_int_equal(tx(0, 0, &m, 1, 0), 1);
		assert_int_equal(rx(1, 0, &r, 1, 0), 1);
		assert_int_equal(r->ol_flags, t[i].rx);
		assert_int_equal(r->l4_len, 0);
		assert_int_equal(r->next->ol_flags, RTE_MBUF_F_INDIRECT);
		rte_pktmbuf_free(r);
		rte_pktmbuf_free(data);
		unmake();
	}
}

static void tso_mtu_vlan(void **state)
{
	struct sluice_wire_params p = defaults();
	struct fr f = {.kind = FR_TCP4, .len = 1522};
	struct rte_mbuf *m, *r;

	p.caps = SLUICE_CAP_TX_TSO | SLUICE_CAP_TX_L4_CKSUM | SLUICE_CAP_TX_VLAN;
	make(&p);
	assert_int_equal(info(0).tso_max, 65415);
	assert_int_equal(info(0).mtu, 1500);
	m = fr_make(mp, &f, 1000);
	assert_int_equal(tx(0, 0, &m, 1, 0), 1);
	f.len++;
	m = fr_make(mp, &f, 1000);
	assert_int_equal(tx(0, 0, &m, 1, 0), 1);
	assert_int_equal(stats(0).tx_errors, 1);
	m = fr_make(mp, &f, 1000);
	m->ol_flags = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM;
	assert_int_equal(tx(0, 0, &m, 1, 0), 1);
	assert_int_equal(rx(1, 0, &r, 1, 0), 1);
	assert_int_equal(r->pkt_len, 1522);
	rte_pktmbuf_free(r);
	assert_int_equal(rx(1, 0, &r, 1, 0), 1);
	assert_int_equal(r->pkt_len, 1523);
	rte_pktmbuf_free(r);
	m = fr_tcp(mp, 1);
	m->ol_flags = RTE_MBUF_F_TX_VLAN;
	m->vlan_tci = 77;
	assert_int_equal(tx(0, 0, &m, 1, 0), 1);
	assert_int_equal(rx(1, 0, &r, 1, 0), 1);
	assert_int_equal(r->pkt_len, 104);
	assert_int_equal(r->ol_flags, 0);
	assert_memory_equal(
	    rte_pktmbuf_mtod_offset(r, uint8_t *, 12), "\x81\x00\x00\x4d\x08\x00", 6);
	rte_pktmbuf_free(r);
	unmake();
}

static void count_event(void *arg, enum sluice_port_event ev)
{
	((int *)arg)[ev]++;
}

/* What an end sent arrives after it is gone; what is sent to it then is counted. */
static void one_end_goes(void **state)
{
	struct sluice_wire_params p = defaults();
	struct rte_mbuf *m, *r;
	int ev[4] = {0};

	make(&p);
	assert_true(info(1).link_up);
	assert_int_equal(info(1).mac[5], 2);
	m = fr_tcp(mp, 5);
	assert_int_equal(tx(0, 0, &m, 1, 0), 1);
	m = fr_tcp(mp, 6);
	assert_int_equal(tx(1, 0, &m, 1, 0), 1);
	d[0].ops->destroy(d[0].ctx);
	assert_int_equal(tp_out(mp), 1);
	m = fr_tcp(mp, 7);
	assert_int_equal(tx(1, 0, &m, 1, 0), 1);
	assert_int_equal(stats(1).tx_errors, 1);
	assert_int_equal(rx(1, 0, &r, 1, 0), 1);
	assert_int_equal(fr_id(r), 5);
	rte_pktmbuf_free(r);
	d[1].ops->events(d[1].ctx, count_event, ev);
	d[1].ops->events(d[1].ctx, count_event, ev);
	assert_int_equal(ev[SLUICE_PORT_LINK_DOWN], 1);
	assert_false(info(1).link_up);
	d[1].ops->destroy(d[1].ctx);
	assert_int_equal(tp_destroy(mp), 0);
}

static void bad_parameters(void **state)
{
	struct sluice_wire_params p = defaults();

	p.nqueues[1] = 0;
	assert_int_equal(sluice_wire_create(&p, d), -EINVAL);
	p.nqueues[1] = SLUICE_PORT_QUEUES + 1;
	assert_int_equal(sluice_wire_create(&p, d), -EINVAL);
	p = defaults();
	p.copy = true;
	assert_int_equal(sluice_wire_create(&p, d), -EINVAL);
	p = defaults();
	p.size--;
	assert_int_equal(sluice_wire_create(&p, d), -EINVAL);
	assert_int_equal(sluice_wire_create(NULL, d), -EINVAL);
}

/* Two threads, two queues each; per pair of queues numbers come in order, all come, both ways at
 * once. */
#define T_PKTS 20000u

struct side {
	int end;
	uint32_t got[2][2]; /* [sender's queue][flow], next number expected */
	int failed;
};

static void *side_run(void *arg)
{
	struct side *s = arg;
	uint32_t sent[2] = {0}, total = 0;

	while (total < 2 * T_PKTS || sent[0] < T_PKTS || sent[1] < T_PKTS) {
		struct rte_mbuf *m[16];
		uint16_t n, k;

		for (uint16_t q = 0; q < 2; q++) {
			for (n = 0; n < 16 && sent[q] + n < T_PKTS; n++) {
				struct fr f = {.kind = FR_TCP4,
				    .src = q,
				    .sport = (uint16_t)(n & 1),
				    .len = 80,
				    .id = sent[q] + n};

				m[n] = fr_make(mp, &f, 200);
			}
			k = tx(s->end, q, m, n, 0);
			sent[q] += k;
			for (; k < n; k++)
				rte_pktmbuf_free(m[k]);
		}
		for (uint16_t q = 0; q < 2; q++) {
			n = rx(s->end, q, m, 16, 0);
			for (k = 0; k < n; k++) {
				const uint8_t *b = rte_pktmbuf_mtod(m[k], const uint8_t *);
				uint32_t *next = &s->got[b[29]][b[35]];

				/* Numbers of one flow only grow. */
				s->failed |= fr_id(m[k]) < *next;
				*next = fr_id(m[k]) + 1;
				rte_pktmbuf_free(m[k]);
			}
			total += n;
		}
		sched_yield();
	}
	return NULL;
}

static void threads(void **state)
{
	struct sluice_wire_params p = defaults();
	struct side s[2] = {{.end = 0}, {.end = 1}};
	pthread_t t[2];

	p.nqueues[0] = p.nqueues[1] = 2;
	p.threads = true;
	p.depth = 64;
	make(&p);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, side_run, &s[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < 2; i++) {
		assert_false(s[i].failed);
		assert_int_equal(stats(i).rx_pkts, 2 * T_PKTS);
		assert_int_equal(stats(i).tx_pkts, 2 * T_PKTS);
	}
	unmake();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(order_and_fullness),
	    cmocka_unit_test(latency_and_rate),
	    cmocka_unit_test(rate_does_not_drift),
	    cmocka_unit_test(steering),
	    cmocka_unit_test(others_to_queue_0),
	    cmocka_unit_test(copies),
	    cmocka_unit_test(marks),
	    cmocka_unit_test(tso_mtu_vlan),
	    cmocka_unit_test(one_end_goes),
	    cmocka_unit_test(bad_parameters),
	    cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
