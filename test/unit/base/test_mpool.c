/* SPDX-License-Identifier: BSD-3-Clause */
/* The test pool itself: what it gives must be ordinary mbufs to every function of rte_mbuf.h, with
 * no EAL started. */
#include <mpool.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_alloc_free(void **state)
{
	struct rte_mempool *mp = tp_create(2048 + RTE_PKTMBUF_HEADROOM, 0);
	struct rte_mbuf *m, *bulk[32];

	assert_non_null(mp);
	assert_int_equal(rte_pktmbuf_data_room_size(mp), 2048 + RTE_PKTMBUF_HEADROOM);
	assert_int_equal(rte_pktmbuf_priv_size(mp), 0);
	m = rte_pktmbuf_alloc(mp);
	assert_non_null(m);
	assert_int_equal(rte_pktmbuf_headroom(m), RTE_PKTMBUF_HEADROOM);
	assert_int_equal(rte_pktmbuf_tailroom(m), 2048);
	memset(rte_pktmbuf_append(m, 2048), 1, 2048);
	assert_null(rte_pktmbuf_append(m, 1));
	rte_mbuf_sanity_check(m, 1);
	assert_int_equal(tp_out(mp), 1);
	assert_int_equal(rte_mempool_in_use_count(mp), 1);
	rte_pktmbuf_free(m);
	assert_int_equal(rte_pktmbuf_alloc_bulk(mp, bulk, 32), 0);
	assert_int_equal(tp_out(mp), 32);
	rte_pktmbuf_free_bulk(bulk, 32);
	assert_int_equal(tp_destroy(mp), 0);
}

static void test_indirect(void **state)
{
	struct rte_mempool *mp = tp_create(512, 0), *hdr = tp_create(128, 0);
	struct rte_mbuf *m = rte_pktmbuf_alloc(mp), *mi, *clone, *copy;

	memcpy(rte_pktmbuf_append(m, 5), "hello", 5);
	mi = rte_pktmbuf_alloc(hdr);
	rte_pktmbuf_attach(mi, m);
	assert_int_equal(rte_mbuf_refcnt_read(m), 2);
	assert_memory_equal(rte_pktmbuf_mtod(mi, char *), "hello", 5);
	rte_pktmbuf_detach(mi);
	assert_int_equal(mi->buf_len, 128);
	assert_ptr_equal(mi->buf_addr, mi + 1);
	rte_pktmbuf_attach(mi, m);
	assert_int_equal(rte_pktmbuf_chain(mi, rte_pktmbuf_clone(m, hdr)), 0);
	assert_int_equal(mi->nb_segs, 2);
	clone = rte_pktmbuf_clone(mi, hdr);
	assert_int_equal(clone->pkt_len, 10);
	copy = rte_pktmbuf_copy(clone, mp, 0, UINT32_MAX);
	assert_memory_equal(rte_pktmbuf_mtod(copy, char *), "hellohello", 10);
	rte_pktmbuf_free(m);
	rte_pktmbuf_free(mi);
	assert_int_equal(tp_out(mp), 2);
	rte_pktmbuf_free(clone);
	rte_pktmbuf_free(copy);
	assert_int_equal(tp_destroy(mp), 0);
	assert_int_equal(tp_destroy(hdr), 0);
}

static void test_limits(void **state)
{
	struct rte_mempool *mp = tp_create(256, 3);
	struct rte_mbuf *m[4];

	assert_int_not_equal(rte_pktmbuf_alloc_bulk(mp, m, 4), 0);
	assert_int_equal(tp_out(mp), 0);
	assert_int_equal(rte_pktmbuf_alloc_bulk(mp, m, 3), 0);
	assert_null(rte_pktmbuf_alloc(mp));
	assert_int_equal(rte_mempool_avail_count(mp), 0);
	tp_set_limit(mp, 0);
	m[3] = rte_pktmbuf_alloc(mp);
	assert_non_null(m[3]);
	rte_pktmbuf_free_bulk(m, 4);
	tp_fail_nth(mp, 2);
	m[0] = rte_pktmbuf_alloc(mp);
	assert_non_null(m[0]);
	assert_null(rte_pktmbuf_alloc(mp));
	m[1] = rte_pktmbuf_alloc(mp);
	assert_non_null(m[1]);
	rte_pktmbuf_free(m[0]);
	assert_int_equal(tp_destroy(mp), 1);
	/* Its pool is gone: give the object back to libc by hand, so that the leak checker stays
	 * quiet. */
	free((char *)m[1] - 64);
}

static void test_exact(void **state)
{
	struct rte_mempool *mp = tp_create(2048, 0);
	struct rte_mbuf *m = tp_exact(mp, "abc", 3, 0);

	assert_int_equal(rte_pktmbuf_headroom(m), 0);
	assert_int_equal(rte_pktmbuf_tailroom(m), 0);
	assert_memory_equal(rte_pktmbuf_mtod(m, char *), "abc", 3);
	rte_pktmbuf_free(m);
	m = tp_exact(mp, "abc", 3, 14);
	assert_non_null(rte_pktmbuf_prepend(m, 14));
	rte_pktmbuf_free(m);
	assert_null(tp_exact(mp, "abc", 65535, 1));
	assert_int_equal(tp_destroy(mp), 0);
}

static void *hammer(void *arg)
{
	struct rte_mbuf *m[8];

	for (int i = 0; i < 2000; i++)
		if (rte_pktmbuf_alloc_bulk(arg, m, 8) == 0)
			rte_pktmbuf_free_bulk(m, 8);
	return NULL;
}

static void test_threads(void **state)
{
	struct rte_mempool *mp = tp_create(256, 20);
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hammer, mp), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(tp_destroy(mp), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_alloc_free),
	    cmocka_unit_test(test_indirect),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_exact),
	    cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
