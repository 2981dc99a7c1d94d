/* SPDX-License-Identifier: BSD-3-Clause */
/* The type-stable pool against a model, with memory that runs out, and by several threads at once. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <base/tpool.h>

static _Atomic int chunks_left = 1000, chunks_out;

static void *limited_alloc(void *arg, size_t size, size_t align)
{
	if (atomic_fetch_sub(&chunks_left, 1) <= 0) {
		atomic_fetch_add(&chunks_left, 1);
		return NULL;
	}
	atomic_fetch_add(&chunks_out, 1);
	sched_yield(); /* the others' turn, in the middle of it */
	return aligned_alloc(align, (size + align - 1) & ~(align - 1));
}

static void counted_free(void *arg, void *p, size_t size)
{
	atomic_fetch_sub(&chunks_out, 1);
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
static _Atomic int clashes, refusals;
static pthread_barrier_t all_here;

/* An object is one thread's at a time. */
static void *churn(void *arg)
{
	uint32_t me = (uint32_t)(uintptr_t)arg, idx[8], n = 0;

	pthread_barrier_wait(&all_here);
	for (int i = 0; i < 1000; i++) {
		struct obj *o;

		if (n < 8) {
			o = sl_tpool_alloc(&shared, &idx[n]);
			if (o == NULL) {
				atomic_fetch_add(&refusals, 1);
				continue;
			}
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

/* There is one for each at any time, so none is refused: not while another makes memory either. */
static void by_threads(void **state)
{
	pthread_t t[4];

	assert_int_equal(pthread_barrier_init(&all_here, NULL, 4), 0);
	for (int round = 0; round < 50; round++) {
		chunks_left = 1000;
		assert_int_equal(sl_tpool_init(&shared, sizeof(struct obj), 4 * 8, &mem), 0);
		for (uintptr_t i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&t[i], NULL, churn, (void *)(i + 1)), 0);
		for (int i = 0; i < 4; i++)
			pthread_join(t[i], NULL);
		assert_int_equal(atomic_load(&clashes), 0);
		assert_int_equal(atomic_load(&refusals), 0);
		assert_int_equal(sl_tpool_fini(&shared), 0);
		assert_int_equal(chunks_out, 0);
	}
	pthread_barrier_destroy(&all_here);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(against_a_model),
	    cmocka_unit_test(without_memory), cmocka_unit_test(by_threads)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
