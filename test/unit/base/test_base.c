/* SPDX-License-Identifier: BSD-3-Clause */
/* Hashes against published vectors, the slab against a model, and the tables. */
#include <base/log.h>
#include <base/rng.h>
#include <base/seq.h>
#include <base/siphash.h>
#include <base/slab.h>
#include <sluice/counters.h>
#include <sluice/tunables.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_siphash(void **state)
{
	const struct sl_sipkey key = {{0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull}};
	unsigned char in[16];

	for (unsigned int i = 0; i < sizeof(in); i++)
		in[i] = (unsigned char)i;
	/* The paper's appendix and the reference implementation's vectors. */
	assert_true(sl_siphash24(&key, in, 0) == 0x726fdb47dd0e0e31ull);
	assert_true(sl_siphash24(&key, in, 1) == 0x74f839c593dc67fdull);
	assert_true(sl_siphash24(&key, in, 15) == 0xa129ca6149be45e5ull);
	assert_true(sl_siphash13(&key, in, 0) == 0xabac0158050fc4dcull);
	assert_true(sl_siphash13(&key, in, 1) == 0xc9f49bf37d57ca93ull);
	assert_true(sl_siphash13(&key, in, 2) == 0x82cb9b024dc7d44dull);
}

static void test_rng(void **state)
{
	struct sl_rng a, b, c;
	unsigned int hits[7] = {0}, ppm = 0, same = 0;

	sl_rng_seed(&a, 1, 0);
	sl_rng_seed(&b, 1, 0);
	sl_rng_seed(&c, 1, 1);
	for (int i = 0; i < 70000; i++) {
		uint64_t x = sl_rng_u64(&a);

		assert_true(x == sl_rng_u64(&b));
		same += x == sl_rng_u64(&c);
		hits[sl_rng_below(&a, 7)]++;
		(void)sl_rng_below(&b, 7);
		ppm += (unsigned int)sl_rng_ppm(&c, 100000);
	}
	assert_int_equal(same, 0);
	for (int i = 0; i < 7; i++)
		assert_in_range(hits[i], 9500, 10500);
	assert_in_range(ppm, 6600, 7400);
	assert_false(sl_rng_ppm(&a, 0));
	assert_true(sl_rng_ppm(&a, 1000000));
}

struct mem_count {
	size_t bytes;
	int fail;
};

static void *count_alloc(void *arg, size_t size, size_t align)
{
	struct mem_count *mc = arg;
	void *p;

	if (mc->fail || posix_memalign(&p, align, size) != 0)
		return NULL;
	mc->bytes += size;
	return p;
}

static void count_free(void *arg, void *p, size_t size)
{
	((struct mem_count *)arg)->bytes -= size;
	free(p);
}

#define SLAB_MAX 3000

static void slab_random(uint32_t size)
{
	struct mem_count mc = {0};
	struct sl_mem_ops ops = {count_alloc, count_free, &mc};
	unsigned char *model[SLAB_MAX + 1] = {0};
	uint32_t n = 0, idx, i;
	struct sl_slab s;
	struct sl_rng r;
	size_t peak = 0;

	sl_rng_seed(&r, size, 3);
	assert_int_equal(sl_slab_init(&s, size, SLAB_MAX, &ops), 0);
	for (int op = 0; op < 40000; op++) {
		/* Long stretches of growth, then of shrinking. */
		if (sl_rng_below(&r, 10) < (op / 8000 % 2 ? 3 : 7)) {
			unsigned char *p = sl_slab_alloc(&s, &idx);

			assert_int_equal(p == NULL, n == SLAB_MAX);
			if (p == NULL)
				continue;
			assert_in_range(idx, 1, SLAB_MAX);
			assert_null(model[idx]);
			for (i = 0; i < size; i++)
				assert_int_equal(p[i], 0);
			memset(p, (int)(idx & 0xff) | 1, size);
			model[idx] = p;
			n++;
		} else {
			idx = (uint32_t)sl_rng_below(&r, SLAB_MAX) + 1;
			if (model[idx] == NULL)
				continue;
			assert_ptr_equal(sl_slab_get(&s, idx), model[idx]);
			assert_int_equal(model[idx][size - 1], (idx & 0xff) | 1);
			sl_slab_free(&s, idx);
			model[idx] = NULL;
			n--;
		}
		assert_int_equal(s.inuse, n);
		peak = mc.bytes > peak ? mc.bytes : peak;
	}
	for (idx = 0, i = 1; i <= SLAB_MAX; i++)
		if (model[i] != NULL) {
			idx = sl_slab_next(&s, idx);
			assert_int_equal(idx, i);
		}
	assert_int_equal(sl_slab_next(&s, idx), 0);
	for (i = 1; i <= SLAB_MAX; i++)
		if (model[i] != NULL)
			sl_slab_free(&s, i);
	/* All but the one kept chunk went back. */
	assert_in_range(mc.bytes, 1, peak < 70000 ? peak : 70000);
	assert_int_equal(s.empty_chunks, 1);
	assert_int_equal(sl_slab_fini(&s), 0);
	assert_int_equal(mc.bytes, 0);
}

static void test_slab(void **state)
{
	struct mem_count mc = {0, 1};
	struct sl_mem_ops ops = {count_alloc, count_free, &mc};
	struct sl_slab s;
	uint32_t idx;

	slab_random(4);
	slab_random(24);
	slab_random(200);
	slab_random(768);
	assert_int_equal(sl_slab_init(&s, 0, 1, NULL), -EINVAL);
	assert_int_equal(sl_slab_init(&s, 64, 10, &ops), 0);
	assert_null(sl_slab_alloc(&s, &idx));
	mc.fail = 0;
	assert_non_null(sl_slab_alloc(&s, &idx));
	assert_int_equal(sl_slab_fini(&s), 1);
	assert_int_equal(mc.bytes, 0);
}

static void test_seq(void **state)
{
	assert_true(seq_lt(0xffffffff, 0) && seq_gt(0, 0xffffffff) && !seq_lt(5, 5));
	assert_true(seq_le(5, 5) && seq_ge(5, 5) && seq_max(0xfffffff0, 3) == 3);
	assert_true(seq_min(0xfffffff0, 3) == 0xfffffff0);
	assert_true(seq_in(1, 0xfffffff0, 2) && !seq_in(2, 0xfffffff0, 2) && !seq_in(7, 7, 7));
}

static void count_line(void *arg, int level, const char *line)
{
	++*(int *)arg;
}

static void test_log(void **state)
{
	int lines = 0;
	struct sl_log l = {.fn = count_line, .arg = &lines};

	for (int i = 0; i < 25; i++)
		sl_log(&l, 5, SL_LOG_INFO, "line %d", i);
	assert_int_equal(lines, 10);
	sl_log(&l, 1000000005, SL_LOG_INFO, "next");
	assert_int_equal(lines, 12); /* how many were not shown, and the line */
	l.fn = NULL;
	sl_log(&l, 1000000005, SL_LOG_INFO, "nobody listens");
	assert_int_equal(lines, 12);
}

static int parse(const char *name, const char *text, uint64_t *v)
{
	return sluice_tunable_parse((unsigned int)sluice_tunable_find(name), text, v);
}

static void test_tunables(void **state)
{
	struct sluice_tunables t;
	uint64_t v = 0, *field = (uint64_t *)&t;

	sluice_tunables_default(&t);
	for (unsigned int i = 0; i < SLUICE_NTUNABLES; i++) {
		const struct sluice_tunable_info *ti = sluice_tunable_info(i);

		assert_int_equal(sluice_tunable_find(ti->name), i);
		assert_true(field[i] == ti->def && ti->def >= ti->min && ti->def <= ti->max);
		assert_non_null(strchr("SRL", ti->scope));
	}
	assert_null(sluice_tunable_info(SLUICE_NTUNABLES));
	assert_int_equal(sluice_tunable_find("no.such"), -ENOENT);
	assert_int_equal(sluice_tunable_parse(SLUICE_NTUNABLES, "1", &v), -ENOENT);
	assert_true(parse("tcp.delack", "500ms", &v) == 0 && v == 500000000);
	assert_true(parse("tcp.keepidle", "2min", &v) == 0 && v == 120000000000ull);
	assert_true(parse("tcp.sndbuf", "64k", &v) == 0 && v == 65536);
	assert_true(parse("tcp.sack", "on", &v) == 0 && v == 1);
	assert_true(parse("tcp.cc", "newreno", &v) == 0 && v == 0);
	v = 77;
	assert_int_equal(parse("tcp.delack", "2s", &v), -ERANGE);
	assert_int_equal(parse("tcp.sndbuf", "99999999999999999999", &v), -ERANGE);
	assert_int_equal(parse("tcp.sndbuf", "99999999999999999g", &v), -ERANGE);
	assert_int_equal(parse("tcp.sndbuf", "5ms", &v), -EINVAL);
	assert_int_equal(parse("tcp.delack", "5k", &v), -EINVAL);
	assert_int_equal(parse("tcp.sndbuf", "-1", &v), -EINVAL);
	assert_int_equal(parse("tcp.sndbuf", "", &v), -EINVAL);
	assert_int_equal(parse("tcp.sack", "1k", &v), -EINVAL);
	assert_true(v == 77);
}

static void test_names(void **state)
{
	for (unsigned int i = 0; i < SLUICE_NCOUNTERS; i++) {
		assert_non_null(sluice_counter_name(i));
		assert_true(strlen(sluice_counter_doc(i)) > 3);
		for (unsigned int j = 0; j < i; j++)
			assert_string_not_equal(sluice_counter_name(i), sluice_counter_name(j));
	}
	assert_string_equal(sluice_counter_name(0), "sq_polls");
	assert_null(sluice_counter_name(SLUICE_NCOUNTERS));
	assert_null(sluice_counter_doc(SLUICE_NCOUNTERS));
	assert_string_equal(sluice_state_name(SLUICE_TIME_WAIT), "TIME_WAIT");
	assert_string_equal(sluice_state_name(SLUICE_NSTATES), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_siphash),
	    cmocka_unit_test(test_rng),
	    cmocka_unit_test(test_slab),
	    cmocka_unit_test(test_seq),
	    cmocka_unit_test(test_log),
	    cmocka_unit_test(test_tunables),
	    cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
