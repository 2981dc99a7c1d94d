/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Congestion control through its table of functions. What both algorithms must do is asked of both;
 * CUBIC's curve, its K and its Reno-friendly estimate are compared with the formulas of RFC 9438 in
 * double, written here in segments and seconds as the RFC has them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include <base/rng.h>
#include <tcp/cc/cc.h>

#define MSS 1448u
#define T0 5000000000ull
#define MS(n) ((uint64_t)(n)*1000000)
#define NONE UINT32_MAX
#define MAX_CWND (1u << 30)

static const struct sl_cc_ops *const both[] = {&sl_cc_newreno, &sl_cc_cubic};

static struct sl_cc_ev event(uint64_t now, uint32_t acked, uint32_t flight)
{
	struct sl_cc_ev ev = {.now = now, .mss = MSS, .acked = acked, .flight = flight};

	ev.cwnd_limited = true;
	ev.init_cwnd = 10 * MSS;
	return ev;
}

static void start(struct sl_cc *cc, const struct sl_cc_ops *ops)
{
	struct sl_cc_ev ev = event(T0, 0, 0);

	memset(cc, 0xa5, sizeof(*cc));
	cc->ops = ops;
	ops->init(cc, &ev);
}

static void ack(struct sl_cc *cc, uint64_t now, uint32_t acked)
{
	struct sl_cc_ev ev = event(now, acked, cc->cwnd);

	cc->ops->ack(cc, &ev);
}

/* A loss with the whole window in flight, and the end of the recovery. */
static void lose(struct sl_cc *cc, uint64_t now)
{
	struct sl_cc_ev ev = event(now, 0, cc->cwnd);
	uint32_t cwnd = cc->cwnd;

	cc->ops->loss(cc, &ev);
	assert_int_equal(cc->cwnd, cwnd); /* recovery's to move */
	cc->cwnd = cwnd / 3;              /* wherever recovery took it */
	cc->ops->recovered(cc, &ev);
	assert_int_equal(cc->cwnd, cc->ssthresh);
}

static void rto(struct sl_cc *cc, bool first)
{
	struct sl_cc_ev ev = event(T0, 0, cc->cwnd);

	cc->ops->rto(cc, &ev, first);
}

/* Below 2^n for an n below `bits`: all magnitudes alike. */
static uint64_t magnitude(struct sl_rng *rng, unsigned int bits)
{
	unsigned int n = (unsigned int)sl_rng_below(rng, bits);

	return sl_rng_below(rng, 1ull << n);
}

/* ---- both ---- */

static void test_table(void **state)
{
	(void)state;
	assert_ptr_equal(sl_cc_by_index(0), &sl_cc_newreno);
	assert_ptr_equal(sl_cc_by_index(1), &sl_cc_cubic);
	assert_null(sl_cc_by_index(2));
	assert_null(sl_cc_by_index(UINT32_MAX));
	assert_ptr_equal(sl_cc_by_name("newreno"), &sl_cc_newreno);
	assert_ptr_equal(sl_cc_by_name("cubic"), &sl_cc_cubic);
	assert_null(sl_cc_by_name("cubi"));
	assert_null(sl_cc_by_name(""));
}

static void slow_start_of(const struct sl_cc_ops *ops)
{
	struct sl_cc cc;

	start(&cc, ops);
	assert_int_equal(cc.cwnd, 10 * MSS);
	assert_int_equal(cc.ssthresh, NONE);
	ack(&cc, T0, 100);
	assert_int_equal(cc.cwnd, 10 * MSS + 100); /* bytes, not ACKs */
	ack(&cc, T0, 2 * MSS);
	assert_int_equal(cc.cwnd, 12 * MSS + 100);
	ack(&cc, T0, 9 * MSS); /* L = 2 SMSS */
	assert_int_equal(cc.cwnd, 14 * MSS + 100);

	/* A round trip of delayed ACKs doubles it. */
	start(&cc, ops);
	for (int i = 0; i < 5; i++)
		ack(&cc, T0, 2 * MSS);
	assert_int_equal(cc.cwnd, 20 * MSS);

	/* After a time-out an ACK counts for one segment. */
	rto(&cc, true);
	assert_int_equal(cc.cwnd, MSS);
	ack(&cc, T0, 9 * MSS);
	assert_int_equal(cc.cwnd, 2 * MSS);
}

static void test_slow_start(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		slow_start_of(both[i]);
}

static void test_no_growth(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct sl_cc cc;
		struct sl_cc_ev ev = event(T0, 2 * MSS, 10 * MSS);

		start(&cc, both[i]);
		for (int avoid = 0; avoid < 2; avoid++) {
			uint32_t cwnd = cc.cwnd;

			for (int n = 0; n < 1000; n++) {
				ev.now += MS(10);
				ev.cwnd_limited = n & 1;
				ev.in_recovery = n & 1;
				cc.ops->ack(&cc, &ev);
			}
			assert_int_equal(cc.cwnd, cwnd);
			lose(&cc, ev.now);
		}
	}
}

static void test_reductions(void **state)
{
	static const uint32_t tenths[] = {5, 7};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct sl_cc cc;
		struct sl_cc_ev ev = event(T0, 0, 70 * MSS);

		start(&cc, both[i]);
		cc.cwnd = 100 * MSS;
		cc.ops->loss(&cc, &ev); /* by what is in flight, not by the window */
		assert_int_equal(cc.ssthresh, 7 * tenths[i] * MSS);
		assert_int_equal(cc.prior_cwnd, 100 * MSS);
		assert_int_equal(cc.prior_ssthresh, NONE);

		start(&cc, both[i]);
		ev.flight = 2 * MSS;
		cc.ops->loss(&cc, &ev);
		assert_int_equal(cc.ssthresh, 2 * MSS);

		start(&cc, both[i]);
		rto(&cc, true);
		assert_int_equal(cc.cwnd, MSS);
		assert_int_equal(cc.ssthresh, tenths[i] * MSS);
		rto(&cc, false);
		assert_int_equal(cc.cwnd, MSS);
		assert_int_equal(cc.ssthresh, tenths[i] * MSS);
		assert_int_equal(cc.prior_cwnd, 10 * MSS);
	}
}

static void test_idle(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct sl_cc cc;
		struct sl_cc_ev ev = event(T0, 0, 0);

		start(&cc, both[i]);
		cc.cwnd = 4 * MSS;
		cc.ssthresh = 33 * MSS;
		cc.ops->idle(&cc, &ev);
		assert_int_equal(cc.cwnd, 4 * MSS);
		cc.cwnd = 40 * MSS;
		cc.ops->idle(&cc, &ev);
		assert_int_equal(cc.cwnd, 10 * MSS);
		assert_int_equal(cc.ssthresh, 33 * MSS);
	}
}

static void test_undo(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct sl_cc cc;
		struct sl_cc_ev ev = event(T0, 0, 0);

		start(&cc, both[i]);
		cc.ops->undo(&cc, &ev); /* nothing to undo */
		assert_int_equal(cc.cwnd, 10 * MSS);
		assert_int_equal(cc.ssthresh, NONE);

		cc.cwnd = 50 * MSS;
		rto(&cc, true);
		rto(&cc, false); /* a second one for the same segment changes nothing of what was */
		cc.ops->undo(&cc, &ev);
		assert_int_equal(cc.cwnd, 50 * MSS);
		assert_int_equal(cc.ssthresh, NONE);

		lose(&cc, T0);
		cc.ops->undo(&cc, &ev);
		assert_int_equal(cc.cwnd, 50 * MSS);
		assert_int_equal(cc.ssthresh, NONE);

		lose(&cc, T0);
		cc.cwnd = 60 * MSS; /* the present window stays when it is the larger */
		cc.ops->undo(&cc, &ev);
		assert_int_equal(cc.cwnd, 60 * MSS);
	}
}

/* Whatever comes in whatever order: one segment at least, the largest window at most, and an ACK
 * never gives more than half of the window or two segments. */
static void test_random_events(void **state)
{
	static const uint32_t sizes[] = {1, 64, 536, 1448, 8948, 65535};
	struct sl_rng rng;

	(void)state;
	sl_rng_seed(&rng, 9438, 0);
	for (int run = 0; run < 400; run++) {
		struct sl_cc cc;
		struct sl_cc_ev ev = event(run & 2 ? 0 : T0, 0, 0);

		ev.mss = sizes[sl_rng_below(&rng, 6)];
		ev.init_cwnd = ev.mss * 10;
		start(&cc, both[run & 1]);
		cc.ops->init(&cc, &ev);
		if (run & 4)
			cc.cwnd = MAX_CWND - (uint32_t)(sl_rng_below(&rng, 100));
		if (run & 8)
			cc.ssthresh = cc.cwnd; /* avoidance from the start */
		for (int i = 0; i < 500; i++) {
			uint32_t cwnd = cc.cwnd, most, pick = (uint32_t)sl_rng_below(&rng, 100);

			ev.now += magnitude(&rng, 38);
			ev.srtt = magnitude(&rng, 36);
			ev.flight = (uint32_t)sl_rng_below(&rng, (uint64_t)cwnd + 1);
			ev.acked = (uint32_t)sl_rng_below(&rng, (uint64_t)ev.flight + 1);
			ev.cwnd_limited = sl_rng_below(&rng, 4) != 0;
			if (pick < 90) {
				cc.ops->ack(&cc, &ev);
				most = cwnd / 2 > 2 * ev.mss ? cwnd / 2 : 2 * ev.mss;
				assert_in_range(cc.cwnd, cwnd, (uint64_t)cwnd + most);
			} else if (pick < 95) {
				cc.ops->loss(&cc, &ev);
				cc.ops->recovered(&cc, &ev);
			} else if (pick < 97) {
				cc.ops->rto(&cc, &ev, pick & 1);
			} else if (pick < 98) {
				cc.ops->idle(&cc, &ev);
			} else if (pick < 99) {
				cc.ops->undo(&cc, &ev);
			}
			assert_in_range(cc.cwnd, ev.mss, MAX_CWND);
			assert_true(cc.ssthresh >= 2 * ev.mss);
		}
	}
}

/* ---- NewReno ---- */

/* RFC 3465 2.1: a segment for each window acknowledged, however the ACKs cut it. */
static void test_newreno_avoidance(void **state)
{
	static const uint32_t cut[] = {1, 100, MSS, 2 * MSS, 7 * MSS};
	struct sl_cc cc;

	(void)state;
	for (unsigned int i = 0; i < 5; i++) {
		start(&cc, &sl_cc_newreno);
		cc.cwnd = 40 * MSS;
		lose(&cc, T0);
		assert_int_equal(cc.cwnd, 20 * MSS);
		for (uint32_t w = 20; w < 30; w++) {
			uint32_t left = w * MSS;

			while (left > 0) {
				uint32_t n = left < cut[i] ? left : cut[i];

				assert_int_equal(cc.cwnd, w * MSS);
				ack(&cc, T0, n);
				left -= n;
			}
			assert_int_equal(cc.cwnd, (w + 1) * MSS);
		}
	}
	/* What is beyond a window counts towards the next: 15, 30 >= 20, 25 >= 21, 19, 34 >= 22. */
	start(&cc, &sl_cc_newreno);
	cc.cwnd = 40 * MSS;
	lose(&cc, T0);
	for (unsigned int i = 0; i < 5; i++) {
		static const uint32_t after[] = {20, 21, 22, 22, 23};

		ack(&cc, T0, 15 * MSS);
		assert_int_equal(cc.cwnd, after[i] * MSS);
	}
}

/* ---- CUBIC ---- */

struct curve {
	double w_max, epoch, k; /* segments, segments, s */
};

static double w_cubic(const struct curve *c, double t)
{
	return 0.4 * pow(t - c->k, 3) + c->w_max;
}

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

/*
 * One point of one curve: a loss at `cwnd`, an ACK of nothing that starts the epoch, then an ACK of
 * a whole window at t, which moves the window all the way to its target.
 */
static void one_point(uint32_t mss, uint32_t cwnd, uint64_t t, uint64_t srtt, uint64_t *cubic)
{
	struct sl_cc_ev ev = event(T0, 0, cwnd);
	struct curve c = {.w_max = (double)cwnd / mss};
	double want, tolerance, ts = seconds(t + srtt);
	struct sl_cc cc;

	start(&cc, &sl_cc_cubic);
	ev.mss = mss;
	ev.srtt = srtt;
	cc.cwnd = cwnd;
	cc.ops->loss(&cc, &ev);
	cc.ops->recovered(&cc, &ev);
	assert_int_equal(cc.cwnd, (uint64_t)cwnd * 7 / 10);
	c.epoch = (double)cc.cwnd / mss;
	c.k = cbrt((c.w_max - c.epoch) / 0.4);
	cc.ops->ack(&cc, &ev);
	/* K has 20 significant bits. */
	assert_true(fabs(seconds(cc.cubic.k) - c.k) < 4e-6 * c.k + 1e-9);
	cc.cwnd = cwnd / 10 * 7; /* where the ACK of nothing found it, give or take the rounding */
	cc.cubic.w_est = cc.cwnd;
	ev.now += t;
	ev.acked = ev.flight = cc.cwnd;
	cc.ops->ack(&cc, &ev);
	tolerance = 4 + mss * 1.2 * pow(ts - c.k, 2) * (4e-6 * c.k + 2e-6);
	want = w_cubic(&c, ts) * mss;
	if (w_cubic(&c, seconds(t)) * mss < cwnd / 10 * 7 - tolerance)
		return;
	want = fmax(want, (double)(cwnd / 10 * 7));
	want = fmin(fmin(want, cwnd / 10 * 7 * 1.5), MAX_CWND);
	if (fabs(cc.cwnd - want) > tolerance)
		fail_msg("mss %u cwnd %u t %f rtt %f: %u, want %f +- %f", mss, cwnd, seconds(t),
		    seconds(srtt), cc.cwnd, want, tolerance);
	(*cubic) += want > cwnd / 10 * 7 + tolerance && want < cwnd / 10 * 10.4;
}

static void test_cubic_curve(void **state)
{
	static const uint32_t sizes[] = {536, 1448, 8948};
	struct sl_rng rng;
	uint64_t cubic = 0, t;

	(void)state;
	sl_rng_seed(&rng, 8312, 0);
	for (int i = 0; i < 20000; i++) {
		uint32_t mss = sizes[sl_rng_below(&rng, 3)];
		uint64_t cwnd = mss * (10 + sl_rng_below(&rng, 1ull << (4 + i % 13)));
		double k = cbrt(0.75 * (double)cwnd / mss);

		cwnd = cwnd < MAX_CWND / 10 * 10 ? cwnd / 10 * 10 : MAX_CWND / 10 * 10;
		t = sl_rng_below(&rng, (uint64_t)(k * 1.5e9) + 1); /* both sides of the plateau */
		one_point(mss, (uint32_t)cwnd, t, sl_rng_below(&rng, MS(300)), &cubic);
	}
	assert_true(cubic > 5000); /* points that were on the curve, at neither bound */
}

/* The numbers of a textbook sawtooth: from 100 segments K is cbrt(75) = 4.217 s, and W(K) is W_max
 * again. */
static void test_cubic_plateau(void **state)
{
	struct sl_cc cc;

	(void)state;
	start(&cc, &sl_cc_cubic);
	cc.cwnd = 100 * MSS;
	lose(&cc, T0);
	assert_int_equal(cc.cwnd, 70 * MSS);
	assert_int_equal(cc.cubic.w_max, 100 * MSS);
	ack(&cc, T0, 0);
	assert_in_range(cc.cubic.k, 4217100000, 4217200000);
	ack(&cc, T0 + 4217163000, cc.cwnd);
	assert_in_range(cc.cwnd, 100 * MSS - 1, 100 * MSS + 1);
	/* 2 s beyond it, 0.4 * 8 segments more */
	ack(&cc, T0 + 6217163000, cc.cwnd);
	assert_in_range(cc.cwnd, 10320 * MSS / 100 - 3, 10320 * MSS / 100 + 3);
	/* and never more than half at once */
	ack(&cc, T0 + 100000000000, cc.cwnd);
	assert_in_range(cc.cwnd, 15480 * MSS / 100 - 6, 15480 * MSS / 100 + 6);
}

/* Where the arithmetic could run over: far beyond the plateau, a clock that starts at 0, and
 * segments that become larger within an epoch. */
static void test_cubic_edges(void **state)
{
	struct sl_cc_ev ev;
	struct sl_cc cc;

	(void)state;
	start(&cc, &sl_cc_cubic);
	cc.cwnd = 100 * MSS;
	lose(&cc, T0);
	ack(&cc, T0, 0);
	ack(&cc, T0 + cc.cubic.k + 1000 * (1ull << 32), cc.cwnd); /* its square in us is 2^64 */
	assert_int_equal(cc.cwnd, 105 * MSS);

	start(&cc, &sl_cc_cubic);
	cc.cwnd = 100 * MSS;
	lose(&cc, 0);
	ack(&cc, 0, cc.cwnd);
	assert_in_range(cc.cwnd, 70 * MSS, 70 * MSS + 2);

	start(&cc, &sl_cc_cubic);
	cc.cwnd = 100 * MSS;
	lose(&cc, T0);
	ack(&cc, T0, 0);
	ev = event(T0, cc.cwnd, cc.cwnd);
	ev.mss = 8 * MSS; /* W(0) would be below 0 */
	cc.ops->ack(&cc, &ev);
	assert_in_range(cc.cwnd, 70 * MSS, 70 * MSS + 2);
}

/* 100 ms round trips of ACKs for two segments, beside the RFC's per-ACK rule in double. */
static void test_cubic_stream(void **state)
{
	const uint64_t rtt = MS(100);
	struct curve c = {.w_max = 1000, .epoch = 700};
	double w = 700;
	struct sl_cc cc;
	uint64_t now = T0;

	(void)state;
	c.k = cbrt(300 / 0.4);
	start(&cc, &sl_cc_cubic);
	cc.cwnd = 1000 * MSS;
	lose(&cc, T0);
	for (int round = 0; round < 150; round++) { /* K is 9.1 s: to 15 s */
		uint32_t acks = cc.cwnd / MSS / 2;

		for (uint32_t i = 0; i < acks; i++) {
			struct sl_cc_ev ev;
			double target;

			ev = event(now + rtt * i / acks, 2 * MSS, cc.cwnd);
			ev.srtt = rtt;
			cc.ops->ack(&cc, &ev);
			target = w_cubic(&c, seconds(ev.now - T0 + rtt));
			target = fmin(fmax(target, w), 1.5 * w);
			w += 2 * (target - w) / w;
		}
		now += rtt;
		assert_true(fabs((double)cc.cwnd / MSS - w) < 0.002 * w);
	}
	assert_true(w > 1050);
	/* Small ACKs of a large window move it as far: the remainders are kept. */
	start(&cc, &sl_cc_cubic);
	cc.cwnd = 100000 * MSS;
	lose(&cc, T0);
	ack(&cc, T0, 0);
	for (uint32_t i = 0; i < 70000 * 4; i++)
		ack(&cc, T0 + MS(100), MSS / 4);
	c = (struct curve){.w_max = 100000, .k = cbrt(30000 / 0.4)};
	w = 70000 + (w_cubic(&c, 0.1) - 70000) * (1 - exp(-1)); /* a window of ACKs: 1 - 1/e */
	assert_true(fabs((double)cc.cwnd / MSS - w) < 0.01 * (w - 70000));
}

/* Short round trips: the estimate rules. alpha = 9/17 up to the window before the loss, then 1. */
static void test_cubic_reno_friendly(void **state)
{
	double w = 14;
	struct sl_cc cc;

	(void)state;
	start(&cc, &sl_cc_cubic);
	cc.cwnd = 20 * MSS;
	lose(&cc, T0);
	for (uint64_t round = 0; round < 60; round++) {
		uint32_t acks = cc.cwnd / MSS;

		for (uint32_t i = 0; i < acks; i++) {
			ack(&cc, T0 + round * MS(1), MSS);
			w += (w < 20 ? 9.0 / 17 : 1) / w;
		}
		/* The very first ACK finds the curve where it starts, give or take the rounding. */
		assert_in_range(cc.cwnd, cc.cubic.w_est, cc.cubic.w_est + 1);
		/* whole segments, so up to one behind */
		assert_true((double)cc.cwnd / MSS <= w + 0.3 && (double)cc.cwnd / MSS > w - 1.3);
	}
	/* 11.3 rounds to 20, and the rest at one a round */
	assert_in_range(cc.cwnd / MSS, 66, 69);
}

static void test_cubic_fast_convergence(void **state)
{
	struct sl_cc cc;

	(void)state;
	start(&cc, &sl_cc_cubic);
	cc.cwnd = 100 * MSS;
	lose(&cc, T0);
	assert_int_equal(cc.cubic.w_max, 100 * MSS);
	cc.cwnd = 80 * MSS; /* not back yet: W_max = 80 * 1.7 / 2 */
	lose(&cc, T0);
	assert_int_equal(cc.cubic.w_max, 68 * MSS);
	assert_int_equal(cc.cwnd, 56 * MSS);
	cc.cwnd = 90 * MSS; /* beyond: as it is */
	lose(&cc, T0);
	assert_int_equal(cc.cubic.w_max, 90 * MSS);
}

/* RFC 9438 4.8: after a time-out K = 0 and the curve rises from where slow start ended; 4.9:
 * undone, the old curve is back. */
static void test_cubic_rto(void **state)
{
	struct sl_cc cc;
	struct sl_cc_ev ev = event(T0, 0, 0);

	(void)state;
	start(&cc, &sl_cc_cubic);
	cc.cwnd = 100 * MSS;
	lose(&cc, T0);
	rto(&cc, true);
	assert_int_equal(cc.ssthresh, 49 * MSS);
	while (cc.cwnd < cc.ssthresh)
		ack(&cc, T0, MSS);
	assert_int_equal(cc.cwnd, 49 * MSS);
	ack(&cc, T0, 0);
	assert_int_equal(cc.cubic.k, 0);
	assert_int_equal(cc.cubic.w_max, 49 * MSS);
	ack(&cc, T0 + 2000000000, cc.cwnd);
	assert_in_range(cc.cwnd, 522 * MSS / 10 - 2, 522 * MSS / 10 + 2);

	start(&cc, &sl_cc_cubic);
	cc.cwnd = 100 * MSS;
	lose(&cc, T0);
	rto(&cc, true);
	cc.ops->undo(&cc, &ev);
	assert_int_equal(cc.cwnd, 70 * MSS);
	assert_int_equal(cc.ssthresh, 70 * MSS);
	assert_int_equal(cc.cubic.w_max, 100 * MSS);
	ack(&cc, T0, 0);
	assert_in_range(cc.cubic.k, 4217100000, 4217200000);
}

/* Time without a full window does not move along the curve; a batch's later ACKs do not stop it. */
static void test_cubic_app_limited(void **state)
{
	struct sl_cc cc;
	struct sl_cc_ev ev;

	(void)state;
	start(&cc, &sl_cc_cubic);
	cc.cwnd = 100 * MSS;
	lose(&cc, T0);
	ack(&cc, T0, 0);
	ev = event(T0 + MS(1), MSS, 20 * MSS);
	ev.cwnd_limited = false;
	cc.ops->ack(&cc, &ev);
	ack(&cc, T0 + MS(60000), cc.cwnd); /* a minute later: the curve begins here */
	assert_in_range(cc.cwnd, 70 * MSS, 70 * MSS + 2);
	assert_int_equal(cc.cubic.epoch_start, T0 + MS(60000));
	ev = event(T0 + MS(60001), MSS, 60 * MSS);
	ev.cwnd_limited = false;
	cc.ops->ack(&cc, &ev);
	assert_int_equal(cc.cubic.epoch_start, T0 + MS(60000));
	cc.ops->idle(&cc, &ev);
	assert_int_equal(cc.cubic.epoch_start, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_slow_start),
	    cmocka_unit_test(test_no_growth),
	    cmocka_unit_test(test_reductions),
	    cmocka_unit_test(test_idle),
	    cmocka_unit_test(test_undo),
	    cmocka_unit_test(test_random_events),
	    cmocka_unit_test(test_newreno_avoidance),
	    cmocka_unit_test(test_cubic_curve),
	    cmocka_unit_test(test_cubic_plateau),
	    cmocka_unit_test(test_cubic_edges),
	    cmocka_unit_test(test_cubic_stream),
	    cmocka_unit_test(test_cubic_reno_friendly),
	    cmocka_unit_test(test_cubic_fast_convergence),
	    cmocka_unit_test(test_cubic_rto),
	    cmocka_unit_test(test_cubic_app_limited),
	};

	return cmocka_run_group_tests_name("cc", tests, NULL, NULL);
}
