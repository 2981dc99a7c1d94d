/* SPDX-License-Identifier: BSD-3-Clause */
/* The type-stable pool against a model, with memory that runs out, and by several threads at once. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/tpool.h>

static int chunks_left = 1000, chunks_out;

static void *limited_alloc(void *arg, size_t size, size_t align)
{
	if (chunks_left == 0)
		return NULL;
	chunks_left--;
	chunks_out++;
	return aligned_alloc(align, (size + align - 1) & ~(align - 1));
}

static void counted_free(void *arg, void *p, size_t size)
{
	chunks_out--;
	free(p);
}

static const struct sl_mem_ops mem = {.alloc = limited_alloc, .free = counted_free};

struct obj {
	uint32_t pool;
	uint32_t owner;
	uint8_t body[100];
};

#define MAX (2 * SL_TPOOL_CHUNK + 77)

static void against_a_model(void **state)
{
	struct sl_tpool p;
	bool out[MAX + 1] = {false};
	uint32_t idx, n = 0;
	struct obj *o;

	chunks_left = 1000;
	assert_int_equal(sl_tpool_init(&p, sizeof(*o), MAX, &mem), 0);
	assert_null(sl_tpool_get(&p, 0));
	assert_null(sl_tpool_get(&p, 1));
	srandom(1);
	for (int i = 0; i < 200000; i++) {
		if (random() % 5 < (i / 20000 % 2 ? 2 : 3)) {
			o = sl_tpool_alloc(&p, &idx);
			if (o == NULL) {
				assert_int_equal(n, MAX);
				continue;
			}
			assert_in_range(idx, 1, MAX);
			assert_false(out[idx]);
			assert_ptr_equal(o, sl_tpool_get(&p, idx));
			o->owner = idx;
			memset(o->body, (int)idx, sizeof(o->body));
			out[idx] = true;
			n++;
		} else {
			idx = (uint32_t)random() % MAX + 1;
			if (!out[idx])
				continue;
			o = sl_tpool_get(&p, idx);
			assert_int_equal(o->owner, idx);
			assert_int_equal(o->body[99], (uint8_t)idx);
			sl_tpool_free(&p, idx);
			out[idx] = false;
			n--;
		}
	}
	assert_int_equal(sl_tpool_fini(&p), n);
	assert_int_equal(chunks_out, 0);
}

/* Without memory for a chunk: refused, and again possible later. */
static void without_memory(void **state)
{
	struct sl_tpool p;
	uint32_t idx;

	chunks_left = 0;
	assert_int_equal(sl_tpool_init(&p, sizeof(struct obj), MAX, &mem), -ENOMEM);
	chunks_left = 1;
	assert_int_equal(sl_tpool_init(&p, sizeof(struct obj), MAX, &mem), 0);
	assert_null(sl_tpool_alloc(&p, &idx));
	chunks_left = 1;
	for (unsigned int i = 0; i < SL_TPOOL_CHUNK; i++)
		assert_non_null(sl_tpool_alloc(&p, &idx));
	assert_null(sl_tpool_alloc(&p, &idx));
	chunks_left = 1000;
	for (unsigned int i = SL_TPOOL_CHUNK; i < MAX; i++)
		assert_non_null(sl_tpool_alloc(&p, &idx));
	assert_null(sl_tpool_alloc(&p, &idx));
	assert_int_equal(sl_tpool_fini(&p), MAX);
	assert_int_equal(chunks_out, 0);
	chunks_left = 0;
	assert_int_equal(sl_tpool_init(&p, sizeof(struct obj), 0, &mem), 0); /* no room at all */
	assert_null(sl_tpool_alloc(&p, &idx));
	assert_int_equal(sl_tpool_fini(&p), 0);
}

static struct sl_tpool shared;
static _Atomic int clashes;

/* An object is one thread's at a time. */
static void *churn(void *arg)
{
	uint32_t me = (uint32_t)(uintptr_t)arg, idx[8], n = 0;

	for (int i = 0; i < 30000; i++) {
		struct obj *o;

		if (n < 8 && (o = sl_tpool_alloc(&shared, &idx[n])) != NULL) {
			if (__atomic_exchange_n(&o->owner, me, __ATOMIC_RELAXED) != 0)
				atomic_fetch_add(&clashes, 1);
			n++;
		}
		if (n == 8 || (n > 0 && i % 3 == 0)) {
			o = sl_tpool_get(&shared, idx[--n]);
			if (__atomic_exchange_n(&o->owner, 0, __ATOMIC_RELAXED) != me)
				atomic_fetch_add(&clashes, 1);
			sl_tpool_free(&shared, idx[n]);
		}
	}
	while (n > 0) {
		__atomic_store_n(
		    &((struct obj *)sl_tpool_get(&shared, idx[--n]))->owner, 0, __ATOMIC_RELAXED);
		sl_tpool_free(&shared, idx[n]);
	}
	return NULL;
}

static void by_threads(void **state)
{
	pthread_t t[4];

	chunks_left = 1000;
	assert_int_equal(sl_tpool_init(&shared, sizeof(struct obj), SL_TPOOL_CHUNK, &mem), 0);
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, churn, (void *)(i + 1)), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(atomic_load(&clashes), 0);
	assert_int_equal(sl_tpool_fini(&shared), 0);
}

/* Memory that takes its time: who comes meanwhile is not refused, as long as there is room. */
static void *slow_alloc(void *arg, size_t size, size_t align)
{
	usleep(2000);
	return aligned_alloc(align, (size + align - 1) & ~(align - 1));
}

static void plain_free(void *arg, void *p, size_t size)
{
	free(p);
}

static void *first_one(void *arg)
{
	uint32_t idx;

	pthread_barrier_wait(arg);
	return sl_tpool_alloc(&shared, &idx);
}

static void nobody_is_refused_while_it_grows(void **state)
{
	static const struct sl_mem_ops slow = {.alloc = slow_alloc, .free = plain_free};
	pthread_barrier_t all;
	pthread_t t[4];
	void *got;

	pthread_barrier_init(&all, NULL, 4);
	for (int round = 0; round < 10; round++) {
		assert_int_equal(
		    sl_tpool_init(&shared, sizeof(struct obj), SL_TPOOL_CHUNK, &slow), 0);
		for (int i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&t[i], NULL, first_one, &all), 0);
		for (int i = 0; i < 4; i++) {
			pthread_join(t[i], &got);
			assert_non_null(got);
		}
		assert_int_equal(sl_tpool_fini(&shared), 4);
	}
	pthread_barrier_destroy(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(against_a_model),
	    cmocka_unit_test(without_memory), cmocka_unit_test(by_threads),
	    cmocka_unit_test(nobody_is_refused_while_it_grows)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
