/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RFC 6298: the numbers of its section 2 worked by hand, then random samples against the formulas
 * in double; limits, back-off and the options that override the tunables.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include <base/rng.h>
#include <tcp/tcp_int.h>

#define MS(n) ((uint64_t)(n)*1000000)
#define SEC(n) MS((n)*1000ull)

struct world {
	struct sluice_squeue *sq;
	struct sl_conn *c;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->sq = calloc(1, sizeof(*w->sq));
	w->c = calloc(1, sizeof(*w->c));
	assert_non_null(w->sq);
	assert_non_null(w->c);
	w->sq->tun.tcp_rto_initial = SEC(1);
	w->sq->tun.tcp_rto_min = MS(200);
	w->sq->tun.tcp_rto_max = SEC(60);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	free(w->c);
	free(w->sq);
	free(w);
	return 0;
}

static void test_before_a_sample(void **state)
{
	struct world *w = *state;

	assert_int_equal(sl_rto(w->sq, w->c), SEC(1)); /* 2.1 */
	w->c->rtx_shift = 1;
	assert_int_equal(sl_rto(w->sq, w->c), SEC(2)); /* 5.5 */
	w->c->rtx_shift = 5;
	assert_int_equal(sl_rto(w->sq, w->c), SEC(32));
	w->c->rtx_shift = 6;
	assert_int_equal(sl_rto(w->sq, w->c), SEC(60)); /* 2.5 */
	w->c->rtx_shift = 255;
	assert_int_equal(sl_rto(w->sq, w->c), SEC(60));
	w->c->rtx_shift = 0;
	w->c->rttvar = SEC(3); /* 5.7: set by who knows that the SYN was lost */
	assert_int_equal(sl_rto(w->sq, w->c), SEC(3));
	assert_int_equal(w->sq->ctr.tcp_rtt_update, 0);
}

static void test_by_hand(void **state)
{
	struct world *w = *state;

	sl_rtt_sample(w->sq, w->c, MS(100)); /* 2.2 */
	assert_int_equal(w->c->srtt, MS(100));
	assert_int_equal(w->c->rttvar, MS(50));
	assert_int_equal(sl_rto_estimate(w->c), MS(300));
	assert_int_equal(sl_rto(w->sq, w->c), MS(300));
	/* 2.3: RTTVAR with the SRTT before this sample, 3/4 * 50 + 1/4 * 100 */
	sl_rtt_sample(w->sq, w->c, MS(200));
	assert_int_equal(w->c->rttvar, 62500000);
	assert_int_equal(w->c->srtt, 112500000);
	assert_int_equal(sl_rto(w->sq, w->c), 362500000);
	/* below the mean: |SRTT - R'| = 62.5 */
	sl_rtt_sample(w->sq, w->c, MS(50));
	assert_int_equal(w->c->rttvar, 62500000);
	assert_int_equal(w->c->srtt, 104687500);
	assert_int_equal(sl_rto(w->sq, w->c), 354687500);
	assert_int_equal(w->sq->ctr.tcp_rtt_update, 3);
	/* The first sample replaces what was set without one. */
	w->c->srtt = 0;
	w->c->rttvar = SEC(3);
	sl_rtt_sample(w->sq, w->c, MS(100));
	assert_int_equal(sl_rto_estimate(w->c), MS(300));
}

/* Without variation the clock's granularity is the least that is added. */
static void test_granularity(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 200; i++)
		sl_rtt_sample(w->sq, w->c, MS(400));
	assert_int_equal(w->c->srtt, MS(400));
	assert_true(w->c->rttvar < SL_TICK_NS / 4);
	assert_int_equal(sl_rto(w->sq, w->c), MS(400) + SL_TICK_NS);
	/* A sample of nothing is still a sample. */
	w->c->srtt = 0;
	sl_rtt_sample(w->sq, w->c, 0);
	assert_int_not_equal(w->c->srtt, 0);
	assert_int_equal(sl_rto_estimate(w->c), w->c->srtt + SL_TICK_NS);
}

static void test_limits(void **state)
{
	struct world *w = *state;

	sl_rtt_sample(w->sq, w->c, MS(1));
	assert_int_equal(sl_rto_estimate(w->c), MS(3));
	assert_int_equal(sl_rto(w->sq, w->c), MS(200)); /* the smallest... */
	w->c->rtx_shift = 2;
	assert_int_equal(sl_rto(w->sq, w->c), MS(800)); /* ...is what is doubled */
	w->c->rtx_shift = 0;
	w->sq->tun.tcp_rto_min = MS(2);
	assert_int_equal(sl_rto(w->sq, w->c), MS(3));
	w->c->srtt = 0;
	sl_rtt_sample(w->sq, w->c, SEC(100));
	assert_int_equal(sl_rto(w->sq, w->c), SEC(60));
	/* set crosswise, the largest rules */
	w->sq->tun.tcp_rto_max = SEC(1);
	w->sq->tun.tcp_rto_min = SEC(5);
	assert_int_equal(sl_rto(w->sq, w->c), SEC(1));
}

static void test_options(void **state)
{
	struct world *w = *state;
	struct sl_opt opt = {.rto_initial = MS(500)};

	w->c->opt = &opt;
	assert_int_equal(sl_rto(w->sq, w->c), MS(500));
	opt.rto_min = MS(700);
	assert_int_equal(sl_rto(w->sq, w->c), MS(700));
	opt.rto_max = SEC(2);
	w->c->rtx_shift = 1;
	assert_int_equal(sl_rto(w->sq, w->c), MS(1400));
	w->c->rtx_shift = 2;
	assert_int_equal(sl_rto(w->sq, w->c), SEC(2));
	w->c->opt = NULL;
	assert_int_equal(sl_rto(w->sq, w->c), SEC(4));
}

static void test_random(void **state)
{
	struct world *w = *state;
	double srtt = 0, var = 0;
	struct sl_rng rng;

	sl_rng_seed(&rng, 6298, 0);
	for (int i = 0; i < 20000; i++) {
		/* magnitudes from a microsecond to a minute */
		unsigned int bits = (unsigned int)sl_rng_below(&rng, 26);
		uint64_t r = 1000 + sl_rng_below(&rng, 1000ull << bits), want;

		sl_rtt_sample(w->sq, w->c, r);
		if (i == 0) {
			srtt = (double)r;
			var = (double)r / 2;
		} else {
			var = 0.75 * var + 0.25 * fabs(srtt - (double)r);
			srtt = 0.875 * srtt + 0.125 * (double)r;
		}
		assert_true(fabs((double)w->c->srtt - srtt) < 16);
		assert_true(fabs((double)w->c->rttvar - var) < 32);
		want = (uint64_t)(srtt + fmax((double)SL_TICK_NS, 4 * var));
		want = want < MS(200) ? MS(200) : want > SEC(60) ? SEC(60) : want;
		assert_in_range(sl_rto(w->sq, w->c), want - RTE_MIN(want, 150u), want + 150);
	}
	assert_int_equal(w->sq->ctr.tcp_rtt_update, 20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_before_a_sample, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_by_hand, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_granularity, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_options, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_random, setup, teardown),
	};

	return cmocka_run_group_tests_name("rtt", tests, NULL, NULL);
}
