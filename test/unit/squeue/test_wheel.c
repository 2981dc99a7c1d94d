/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The timer wheel against a model that is an array of deadlines. The model lives in the callback
 * (nothing unarmed, nothing early, nothing twice) and in settled() (nothing due is left). All
 * randomness is seeded, so a failing seed replays.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <base/rng.h>
#include <squeue/wheel.h>

#define NONE UINT64_MAX
#define SPAN_TICKS (1ull << 32)
#define AT(tick) ((uint64_t)(tick) << SL_TICK_SHIFT)

struct node {
	struct sl_timer t;
	uint64_t at; /* deadline in ns, NONE when not armed */
	uint32_t fired;
};

static struct world {
	struct sl_wheel w;
	struct node *n;
	uint32_t count;
	uint64_t now, fired;
	struct sl_rng rng;
	void (*on_fire)(struct node *n); /* what the callback does besides */
} m;

static void fire(void *arg, struct sl_timer *t)
{
	struct node *n = (struct node *)(void *)t; /* first member */

	assert_ptr_equal(arg, &m);
	assert_int_equal(t->kind, 3);
	assert_false(sl_timer_armed(t));
	assert_true(n->at != NONE);  /* armed, and not fired yet */
	assert_true(n->at <= m.now); /* never early */
	n->at = NONE;
	n->fired++;
	m.fired++;
	if (m.on_fire != NULL)
		m.on_fire(n);
}

static void make(uint32_t count, uint64_t tick, uint64_t seed)
{
	memset(&m, 0, sizeof(m));
	m.n = calloc(count, sizeof(*m.n));
	assert_non_null(m.n);
	m.count = count;
	m.now = AT(tick);
	sl_wheel_init(&m.w, m.now);
	m.w.fn[3] = fire;
	m.w.arg[3] = &m;
	for (uint32_t i = 0; i < count; i++) {
		m.n[i].at = NONE;
		m.n[i].t.kind = 3;
	}
	sl_rng_seed(&m.rng, seed, 0);
	assert_true(sl_wheel_next(&m.w) == UINT64_MAX);
}

static void unmake(void)
{
	free(m.n);
	m.n = NULL;
}

static void set(uint32_t i, uint64_t at)
{
	m.n[i].at = at;
	sl_timer_set(&m.w, &m.n[i].t, at);
	assert_true(sl_timer_armed(&m.n[i].t));
}

static void cancel(uint32_t i)
{
	m.n[i].at = NONE;
	sl_timer_cancel(&m.w, &m.n[i].t);
	assert_false(sl_timer_armed(&m.n[i].t));
}

static uint64_t earliest(void)
{
	uint64_t best = NONE;

	for (uint32_t i = 0; i < m.count; i++)
		if (m.n[i].at < best)
			best = m.n[i].at;
	return best;
}

static uint64_t armed(void)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < m.count; i++) {
		assert_int_equal(sl_timer_armed(&m.n[i].t), m.n[i].at != NONE);
		n += m.n[i].at != NONE;
	}
	return n;
}

/* What always holds: count, the bitmaps, next() not after the earliest deadline's tick. */
static void consistent(void)
{
	uint64_t first = earliest(), next = sl_wheel_next(&m.w);
	uint64_t n = armed();

	assert_int_equal(m.w.count, n);
	if (n == 0) {
		assert_true(next == UINT64_MAX);
		return;
	}
	/* the deadline is rounded up to a tick, and that is when it runs */
	assert_true((next >> SL_TICK_SHIFT) <=
		    (first >> SL_TICK_SHIFT) + ((first & (SL_TICK_NS - 1)) != 0));
	for (unsigned int k = 0; k < 4; k++)
		for (unsigned int s = 0; s < 256; s++)
			assert_int_equal(
			    m.w.slot[k][s] != NULL, (m.w.occupied[k][s >> 6] >> (s & 63)) & 1);
}

static uint32_t advance(uint64_t now, uint32_t budget)
{
	uint64_t before = m.fired;
	uint32_t n;

	m.now = now;
	n = sl_wheel_advance(&m.w, now, budget);
	assert_int_equal(n, m.fired - before);
	assert_true(n <= budget);
	return n;
}

/* Nothing whose tick has come is still armed. */
static void settled(void)
{
	uint64_t first = earliest();

	if (first != NONE)
		assert_true(first > (m.now & ~(SL_TICK_NS - 1)));
}

/* One timer from `start`, `d` ticks ahead: by one jump, and as a sleeper who trusts next(). */
static void one(uint64_t start, uint64_t d, bool jump)
{
	uint32_t wakes = 0;

	make(1, start, 0);
	set(0, AT(start + d));
	consistent();
	if (jump) {
		if (d != 0) {
			assert_int_equal(advance(AT(start + d) - 1, 4), 0);
			consistent();
		}
		assert_int_equal(advance(AT(start + d), 4), 1);
	} else {
		while (m.fired == 0) {
			uint64_t next = sl_wheel_next(&m.w);

			assert_true(next <= AT(start + d) && next >= m.now);
			advance(next, 4);
			/* one wake per level and one per span, not one per tick */
			assert_true(++wakes <= 4 + 2 * (d / SPAN_TICKS));
		}
		assert_true(m.now == AT(start + d));
	}
	assert_int_equal(m.fired, 1);
	assert_true(sl_wheel_next(&m.w) == UINT64_MAX);
	unmake();
}

static void borders(void **state)
{
	static const int off[] = {-2, -1, 0, 1, 2};

	for (unsigned int k = 0; k < 4; k++) {
		uint64_t unit = 1ull << (8 * k);

		for (unsigned int a = 0; a < 5; a++)
			for (unsigned int mul = 1; mul < 258; mul += mul == 2 ? 252 : 1)
				for (unsigned int b = 0; b < 5; b++) {
					uint64_t start =
					    0x500000000ull + unit * 255 + (uint64_t)off[a];
					uint64_t d = unit * mul + (uint64_t)off[b];

					if ((int64_t)d < 0)
						continue;
					one(start, d, true);
					one(start, d, false);
					one(0, d, true);
					one(0, d, false);
				}
	}
}

static void beyond_span(void **state)
{
	static const uint64_t d[] = {SPAN_TICKS - 1, SPAN_TICKS, SPAN_TICKS + 1, SPAN_TICKS + 257,
	    2 * SPAN_TICKS - 1, 5 * SPAN_TICKS + 3, 1000 * SPAN_TICKS};

	for (unsigned int i = 0; i < sizeof(d) / sizeof(d[0]); i++)
		for (uint64_t start = 0; start < 3; start++) {
			one(start * 0xfffffffull, d[i], false);
			one(start * 0xfffffffull, d[i], d[i] < 100 * SPAN_TICKS);
		}
	/* the furthest that can be asked for, and back again */
	make(1, 7, 0);
	set(0, UINT64_MAX - 1);
	consistent();
	assert_int_equal(advance(AT(3 * SPAN_TICKS), 1), 0);
	set(0, AT(3 * SPAN_TICKS + 2));
	assert_int_equal(advance(AT(3 * SPAN_TICKS + 2) - 1, 1), 0);
	assert_int_equal(advance(AT(3 * SPAN_TICKS + 2), 1), 1);
	unmake();
}

static void rounding(void **state)
{
	make(3, 10, 0);
	set(0, AT(11) + 1);
	set(1, AT(11));
	set(2, AT(12));
	assert_int_equal(advance(AT(11), 9), 1);
	assert_int_equal(m.n[1].fired, 1);
	assert_int_equal(advance(AT(12) - 1, 9), 0);
	assert_int_equal(advance(AT(12), 9), 2);
	unmake();
}

static void lazy_rearm(void **state)
{
	struct sl_timer **where;
	uint32_t filed;

	make(2, 1000, 0);
	set(0, AT(1010));
	where = m.n[0].t.pprev;
	filed = m.n[0].t.filed_lo;
	for (uint64_t t = 1010; t < 100000; t += 37) {
		set(0, AT(t));
		assert_ptr_equal(m.n[0].t.pprev, where); /* a store, nothing more */
		assert_int_equal(m.n[0].t.filed_lo, filed);
	}
	set(0, AT(200000));
	assert_int_equal(advance(AT(1500), 8), 0); /* came by, and was filed again */
	assert_int_equal(m.n[0].t.filed_lo, 200000);
	consistent();
	where = m.n[0].t.pprev;
	set(0, AT(300000)); /* later, then earlier again, but not than where it is filed */
	set(0, AT(200001));
	assert_ptr_equal(m.n[0].t.pprev, where);
	set(0, AT(1600)); /* earlier than that: filed again at once */
	assert_int_equal(m.n[0].t.filed_lo, 1600);
	assert_int_equal(advance(AT(1599), 8), 0);
	assert_int_equal(advance(AT(1600), 8), 1);
	/* moved from the past to later while it waits in the late list */
	set(1, AT(5));
	assert_true(sl_wheel_next(&m.w) <= m.now);
	set(1, AT(1700));
	assert_int_equal(advance(AT(1699), 8), 0);
	assert_int_equal(advance(AT(1700), 8), 1);
	/* the same over more than the span, where distances in 32 bits would lie */
	set(1, AT(5));
	set(1, AT(1700 + SPAN_TICKS + 1));
	assert_int_equal(advance(AT(1700 + SPAN_TICKS), 8), 0);
	assert_int_equal(advance(AT(1700 + SPAN_TICKS + 1), 8), 1);
	unmake();
}

static void rearm_past(struct node *n)
{
	uint32_t i = (uint32_t)(n - m.n);

	set(i, m.now > 0 ? m.now - 1 : 0);
}

static void standstill(void **state)
{
	make(3, 1000, 0);
	set(0, AT(1000));
	assert_int_equal(advance(AT(1000), 8), 1);
	for (int i = 0; i < 5; i++)
		assert_int_equal(advance(AT(1000), 8), 0);
	/* for a past time, and for this very tick: the next advance, same time or not */
	set(0, 0);
	set(1, AT(999));
	set(2, AT(1000));
	assert_true(sl_wheel_next(&m.w) <= m.now);
	consistent();
	assert_int_equal(advance(AT(1000), 8), 3);
	/* who arms for the past runs once per advance, not for ever */
	m.on_fire = rearm_past;
	set(0, 0);
	set(1, 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(advance(AT(1000), 8), 2);
	m.on_fire = NULL;
	assert_int_equal(advance(AT(1001), 8), 2);
	/* back in time: nothing, and nothing is lost */
	set(0, AT(1002));
	set(1, AT(990));
	assert_int_equal(advance(AT(980), 8), 0);
	assert_int_equal(advance(0, 8), 0);
	consistent();
	assert_int_equal(advance(AT(1001), 8), 1);
	assert_int_equal(advance(AT(1002), 8), 1);
	unmake();
}

static void budget(void **state)
{
	uint32_t calls = 0;

	make(1010, 50, 0);
	for (uint32_t i = 0; i < 1000; i++)
		set(i, AT(i < 500 ? 60 : 60 + i));
	assert_int_equal(advance(AT(100000), 0), 0);
	for (uint32_t i = 0; i < 51; i++) {
		assert_int_equal(advance(AT(100000), 10), 10);
		assert_true(sl_wheel_next(&m.w) <= m.now);
		consistent();
		for (uint32_t j = 500; j < 1000; j++) /* the due and the late of before go first */
			assert_int_equal(m.n[j].fired, 0);
		if (i == 20)
			for (uint32_t j = 1000; j < 1010; j++)
				set(j, 0);
	}
	assert_int_equal(m.fired, 510);
	/* the rest cascades first, which takes its share of some calls */
	for (; m.fired < 1010; calls++) {
		assert_true(sl_wheel_next(&m.w) <= m.now);
		assert_true(calls < 50 + 20);
		advance(AT(100000), 10);
	}
	assert_int_equal(advance(AT(100000), 100), 0);
	for (uint32_t i = 0; i < 1010; i++)
		assert_int_equal(m.n[i].fired, 1);
	unmake();
}

static uint64_t length(const struct sl_timer *t)
{
	uint64_t n = 0;

	for (; t != NULL; t = t->next)
		n++;
	return n;
}

/* A cascade of very many nodes is spread over calls; those that wait in it are neither lost nor
 * early, and can be moved and cancelled there. */
static void cascade_share(void **state)
{
	const uint32_t count = 20000;
	uint32_t calls = 0;
	uint64_t had;

	make(count, 0, 1);
	for (uint32_t i = 0; i < count; i++)
		set(i, AT(512 + i % 256));
	assert_int_equal(length(m.w.slot[1][2]), count);
	assert_int_equal(advance(AT(511), 4), 0);
	for (had = count; had != 0; calls++) {
		uint64_t has;

		advance(AT(512), 4);
		has = length(m.w.slot[1][2]);
		assert_true(has < had && had - has <= 8 * 4 + 64);
		assert_true(sl_wheel_next(&m.w) <= m.now);
		if (calls == 10) {
			cancel(0);
			cancel(count / 2);
			set(count / 2 + 1, AT(600));
			set(count / 2 + 2, AT(100000));
			set(count - 1, AT(512));
			set(count - 2, AT(513));
		}
		had = length(m.w.slot[1][2]);
		if (calls % 16 == 0)
			consistent();
	}
	while (advance(AT(768), 4000) != 0)
		;
	settled();
	assert_int_equal(m.fired, count - 3);
	assert_int_equal(armed(), 1);
	unmake();
}

/* Random deadline: near, around the borders, far, past, beyond the span. */
static uint64_t some_time(void)
{
	uint64_t r = sl_rng_below(&m.rng, 100), k = sl_rng_below(&m.rng, 5);
	uint64_t back = sl_rng_below(&m.rng, AT(300));

	if (r < 10)
		return m.now > back ? m.now - back : 0;
	if (r < 40)
		return m.now + sl_rng_below(&m.rng, AT(300));
	if (r < 60)
		return m.now + AT(1ull << (8 * k)) + sl_rng_below(&m.rng, AT(4)) - AT(2);
	if (r < 95)
		return m.now + sl_rng_below(&m.rng, AT(1ull << (8 * k)));
	return m.now + sl_rng_below(&m.rng, AT(3 * SPAN_TICKS));
}

/* From within a callback, whatever an owner may do to this node and others. */
static void meddle(struct node *n)
{
	uint64_t r = sl_rng_below(&m.rng, 8);
	uint32_t other = (uint32_t)sl_rng_below(&m.rng, m.count);

	if (r < 3)
		set((uint32_t)(n - m.n), some_time());
	if (r == 2 || r == 3)
		set(other, some_time());
	if (r == 4)
		cancel(other);
}

static uint64_t step(void)
{
	uint64_t r = sl_rng_below(&m.rng, 100), k = sl_rng_below(&m.rng, 5), next;

	if (r < 30)
		return sl_rng_below(&m.rng, SL_TICK_NS * 2);
	if (r < 60)
		return sl_rng_below(&m.rng, AT(1ull << (8 * k)));
	if (r < 70) { /* to the very border */
		uint64_t unit = AT(1ull << (8 * (k & 3)));

		return unit - (m.now & (unit - 1)) - sl_rng_below(&m.rng, 2);
	}
	next = sl_wheel_next(&m.w);
	return next != UINT64_MAX && next > m.now ? next - m.now : 0;
}

static void random_ops(uint64_t seed, bool meddling)
{
	make(200, seed % 3 == 0 ? 0 : 0xffffffffull * (seed % 7), seed);
	for (int i = 0; i < 6000; i++) {
		uint64_t r = sl_rng_below(&m.rng, 10);
		uint32_t j = (uint32_t)sl_rng_below(&m.rng, m.count), calls = 0;

		if (r < 6) {
			set(j, some_time());
		} else if (r < 7) {
			cancel(j);
		} else if (r < 8) { /* starved: what is left stays, the model goes on checking */
			m.on_fire = meddling ? meddle : NULL;
			advance(m.now + step(), (uint32_t)sl_rng_below(&m.rng, 4));
		} else {
			m.on_fire = meddling ? meddle : NULL;
			advance(m.now + step(), 50);
			/* go on at this time till all that is due has run: bounded, and exact */
			m.on_fire = NULL;
			while (sl_wheel_next(&m.w) <= m.now) {
				advance(m.now, 50);
				assert_true(++calls < 100);
			}
			settled();
		}
		if (i % 4 == 0)
			consistent();
	}
	consistent();
	while (m.w.count != 0)
		advance(sl_wheel_next(&m.w) > m.now ? sl_wheel_next(&m.w) : m.now, 1000);
	consistent();
	unmake();
}

static void model(void **state)
{
	for (uint64_t seed = 1; seed <= 12; seed++)
		random_ops(seed, false);
}

static void model_meddling(void **state)
{
	for (uint64_t seed = 101; seed <= 112; seed++)
		random_ops(seed, true);
}

/* A poll per tick, as a busy stack: each timer fires in the very advance that reaches its tick. */
static void every_tick(void **state)
{
	make(300, 65000, 5);
	for (uint32_t i = 0; i < m.count; i++)
		set(i, m.now + sl_rng_below(&m.rng, AT(70000)));
	for (uint64_t t = 65000; t < 65000 + 70001; t++) {
		advance(AT(t), 300);
		if (t % 16 == 0)
			settled();
	}
	assert_int_equal(m.fired, 300);
	unmake();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(borders),
	    cmocka_unit_test(beyond_span),
	    cmocka_unit_test(rounding),
	    cmocka_unit_test(lazy_rearm),
	    cmocka_unit_test(standstill),
	    cmocka_unit_test(budget),
	    cmocka_unit_test(cascade_share),
	    cmocka_unit_test(model),
	    cmocka_unit_test(model_meddling),
	    cmocka_unit_test(every_tick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
