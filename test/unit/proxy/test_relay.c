/* SPDX-License-Identifier: BSD-3-Clause */
/* Relaying between three stacks: streams, FINs, resets, back-pressure, failed connects, and that
 * everything comes back. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trio.h"

#define ONE_BACKEND                                 \
	"[proxy.listener l]\nport = 80\npool = p\n" \
	"[proxy.pool p]\n"                          \
	"[proxy.backend b]\npool = p\naddress = 10.0.1.2\nport = 8080\n"

static struct trio t;

static void start(const char *config)
{
	struct trio_params p = {.seed = 1};

	trio_start(&t, &p, true);
	trio_backend(&t, 0, "10.0.1.2", 8080);
	trio_config(&t, config);
}

static struct access_record ended(void)
{
	struct access_record r;

	assert_true(access_pop(&t.proxy.of[0].log, &r));
	return r;
}

/** Sizes around buffers and segments, both ways, the client's FIN first. */
static void test_streams(void **state)
{
	static const uint64_t size[] = {
	    0, 1, 100, 1447, 1448, 1449, 65535, 1048576, 1048577, 3000000};
	uint64_t up = 0, down = 0;

	start(ONE_BACKEND);
	for (size_t i = 0; i < 10; i++)
		for (size_t k = 0; k < 10; k += 3) {
			trio_client(&t, "10.0.0.2", 80, size[i], size[k]);
			up += size[i] + 24;
			down += size[k];
		}
	assert_true(trio_finish(&t, SLUICE_SEC(60)));
	trio_run(&t, SLUICE_SEC(1));
	assert_int_equal(t.done, 40);
	assert_int_equal(trio_n(&t).bytes_to_backend, up);
	assert_int_equal(trio_n(&t).bytes_to_client, down);
	assert_int_equal(trio_n(&t).ended[REASON_DONE], 40);
	for (unsigned int i = 0; i < t.proxy.n; i++) /* all squeues take part */
		assert_in_range(t.proxy.of[i].n.accepted, 5, 40);
	assert_int_equal(ended().reason, REASON_DONE);
	trio_stop(&t);
}

/** What arrives lies in the buffers that its sender filled: the proxy has moved them, not copied
 * them. Only where a buffer had to be cut is there a copy of a part. */
static void test_zero_copy(void **state)
{
	start(ONE_BACKEND);
	trio_client(&t, "10.0.0.2", 80, 20000000, 20000000);
	assert_true(trio_finish(&t, SLUICE_SEC(60)));
	assert_int_equal(t.done, 1);
	assert_int_equal(t.bytes, 40000000);
	assert_true(t.in_place > t.bytes / 100 * 99);
	trio_stop(&t);
}

/** The backend's FIN comes while the client still sends; what the client sends after it arrives. */
static void test_server_fin_first(void **state)
{
	start(ONE_BACKEND);
	t.server_fin_first = true;
	for (int i = 0; i < 5; i++)
		trio_client(&t, "10.0.0.2", 80, 2000000, 100000);
	assert_true(trio_finish(&t, SLUICE_SEC(60)));
	assert_int_equal(t.done, 5);
	trio_stop(&t);
}

static void test_families(void **state)
{
	struct trio_params p = {.seed = 2};

	trio_start(&t, &p, false);
	trio_backend(&t, 0, "10.0.1.2", 8080);
	trio_backend(&t, 1, "fd01::2", 8080);
	trio_config(&t, "[proxy.listener to4]\nport = 80\npool = four\n"
			"[proxy.listener to6]\nport = 81\npool = six\n"
			"[proxy.pool four]\n[proxy.pool six]\n"
			"[proxy.backend b4]\npool = four\naddress = 10.0.1.2\nport = 8080\n"
			"[proxy.backend b6]\npool = six\naddress = fd01::2\nport = 8080\n");
	trio_client(&t, "10.0.0.2", 80, 100000, 100000);
	trio_client(&t, "10.0.0.2", 81, 100000, 100000);
	trio_client(&t, "fd00::2", 80, 100000, 100000);
	trio_client(&t, "fd00::2", 81, 100000, 100000);
	assert_true(trio_finish(&t, SLUICE_SEC(10)));
	assert_int_equal(t.done, 4);
	assert_int_equal(t.hits[0], 2);
	assert_int_equal(t.hits[1], 2);
	trio_stop(&t);
}

static void test_client_aborts(void **state)
{
	struct peer *p;

	start(ONE_BACKEND);
	p = trio_client(&t, "10.0.0.2", 80, 1000, 1000);
	p->no_fin = true;
	trio_run(&t, SLUICE_SEC(1));
	assert_int_equal(t.nservers, 1);
	trio_abort(p);
	trio_run(&t, SLUICE_MS(10));
	assert_int_equal(t.nservers, 0);
	assert_int_equal(trio_n(&t).open, 0);
	assert_int_equal(ended().reason, REASON_CLIENT_RESET);
	trio_stop(&t);
}

static void test_backend_aborts(void **state)
{
	struct peer *p;

	start(ONE_BACKEND);
	t.server_hold = true; /* it does not come to answer */
	p = trio_client(&t, "10.0.0.2", 80, 1000, 1000);
	p->no_fin = true;
	trio_run(&t, SLUICE_SEC(1));
	trio_abort(TAILQ_FIRST(&t.servers));
	trio_run(&t, SLUICE_MS(10));
	assert_int_equal(t.nclients, 0);
	assert_int_equal(t.failed, 1);
	assert_int_equal(ended().reason, REASON_BACKEND_RESET);
	trio_stop(&t);
}

/** A backend that has answered and then resets has still answered. */
static void test_backend_answers_and_aborts(void **state)
{
	struct peer *p;

	start(ONE_BACKEND);
	p = trio_client(&t, "10.0.0.2", 80, 1000, 3000000);
	p->no_fin = true;
	p->hold = true;
	trio_run(&t, SLUICE_SEC(1));
	trio_release(p);
	while (TAILQ_FIRST(&t.servers)->sent < 3000000 || !t.proxy.of[0].all.tqh_first->client.shut)
		trio_run(&t, 10000);
	assert_true(p->got < 3000000);
	trio_abort(TAILQ_FIRST(&t.servers));
	trio_run(&t, SLUICE_SEC(1));
	assert_int_equal(p->got, 3000000);
	assert_true(p->eof);
	trio_close(p);
	trio_run(&t, SLUICE_SEC(1));
	assert_int_equal(ended().reason, REASON_BACKEND_RESET);
	trio_stop(&t);
}

/** A client that goes while its connect is on its way takes the connect with it. */
static void test_client_aborts_early(void **state)
{
	struct peer *p;

	start("[proxy.listener l]\nport = 80\npool = p\n[proxy.pool p]\n"
	      "[proxy.backend b]\npool = p\naddress = 10.0.1.99\nport = 8080\n"); /* answers nothing
										   */
	p = trio_client(&t, "10.0.0.2", 80, 1000, 1000);
	trio_run(&t, SLUICE_MS(10));
	assert_int_equal(trio_n(&t).open, 1);
	trio_abort(p);
	trio_run(&t, SLUICE_MS(10));
	assert_int_equal(trio_n(&t).open, 0);
	assert_int_equal(ended().reason, REASON_CLIENT_RESET);
	trio_stop(&t);
}

/** A backend that does not read stops its client; buffers do not grow; then all goes on. */
static void test_back_pressure(void **state)
{
	struct peer *p, *s;
	uint32_t mbufs;
	uint64_t sent;

	start(ONE_BACKEND);
	t.server_hold = true;
	p = trio_client(&t, "10.0.0.2", 80, 50000000, 10);
	trio_run(&t, SLUICE_SEC(5));
	sent = p->sent;
	mbufs = trio_mbufs(&t);
	/* Two send buffers, two receive buffers, of a megabyte each. */
	assert_in_range(sent, 2000000, 4 * 1048576 + 200000);
	assert_int_equal(TAILQ_FIRST(&t.proxy.of[0].stalled), TAILQ_FIRST(&t.proxy.of[0].all));
	trio_run(&t, SLUICE_SEC(60));
	assert_int_equal(p->sent, sent);
	assert_true(trio_mbufs(&t) <= mbufs + 16);
	s = TAILQ_FIRST(&t.servers);
	trio_release(s);
	assert_true(trio_finish(&t, SLUICE_SEC(60)));
	assert_int_equal(t.done, 1);
	trio_stop(&t);
}

/** The same the other way. */
static void test_client_back_pressure(void **state)
{
	struct peer *p;
	uint32_t mbufs;
	uint64_t sent;

	start(ONE_BACKEND);
	p = trio_client(&t, "10.0.0.2", 80, 10, 50000000);
	p->hold = true;
	p->no_fin = true; /* or it would be half closed for too long */
	trio_run(&t, SLUICE_SEC(5));
	sent = TAILQ_FIRST(&t.servers)->sent;
	mbufs = trio_mbufs(&t);
	assert_in_range(sent, 2000000, 4 * 1048576 + 200000);
	trio_run(&t, SLUICE_SEC(60));
	assert_int_equal(TAILQ_FIRST(&t.servers)->sent, sent);
	assert_true(trio_mbufs(&t) <= mbufs + 16);
	p->no_fin = false;
	trio_release(p);
	assert_true(trio_finish(&t, SLUICE_SEC(60)));
	assert_int_equal(t.done, 1);
	trio_stop(&t);
}

/** Half of the backends refuse: nobody notices but the counters. */
static void test_retry(void **state)
{
	start(ONE_BACKEND "[proxy.backend dead]\npool = p\naddress = 10.0.1.2\nport = 9999\n");
	for (int i = 0; i < 20; i++)
		trio_client(&t, "10.0.0.2", 80, 1000, 1000);
	assert_true(trio_finish(&t, SLUICE_SEC(10)));
	assert_int_equal(t.done, 20);
	/* Each squeue takes them in turn for itself. */
	assert_in_range(trio_n(&t).connect_failed, 11 - trio_squeues, 9 + trio_squeues);
	assert_int_equal(trio_n(&t).retries, trio_n(&t).connect_failed);
	trio_stop(&t);
}

/** Of three backends only the last one that is tried answers, however they are chosen. */
static void test_retry_all(void **state)
{
	static const char *const how[] = {"roundrobin", "leastconn", "hash"};
	char config[600];

	for (int i = 0; i < 3; i++) {
		snprintf(config, sizeof(config), "%sbalance = %s\nretries = 2\n%s",
		    "[proxy.listener l]\nport = 80\npool = p\n[proxy.pool p]\n", how[i],
		    "[proxy.backend dead]\npool = p\naddress = 10.0.1.2\nport = 9999\n"
		    "[proxy.backend dead2]\npool = p\naddress = 10.0.1.2\nport = 9998\nweight = 9\n"
		    "[proxy.backend b]\npool = p\naddress = 10.0.1.2\nport = 8080\n");
		start(config);
		for (int k = 0; k < 20; k++)
			trio_client(&t, k % 2 ? "10.0.0.2" : "fd00::2", 80, 1000, 1000);
		assert_true(trio_finish(&t, SLUICE_SEC(10)));
		assert_int_equal(t.done, 20);
		assert_true(trio_n(&t).connect_failed > 0);
		trio_stop(&t);
	}
}

/** The only backend refuses: as many tries as the option says, then a reset. */
static void test_refused(void **state)
{
	struct access_record r;

	start("[proxy.listener l]\nport = 80\npool = p\n[proxy.pool p]\nretries = 3\nretry_delay = "
	      "200ms\n"
	      "[proxy.backend b]\npool = p\naddress = 10.0.1.2\nport = 9999\n");
	trio_client(&t, "10.0.0.2", 80, 1000, 1000);
	trio_run(&t, SLUICE_MS(500));
	assert_int_equal(t.failed, 0);
	trio_run(&t, SLUICE_MS(500));
	assert_int_equal(t.failed, 1);
	assert_int_equal(trio_n(&t).connects, 4);
	r = ended();
	assert_int_equal(r.reason, REASON_CONNECT_FAILED);
	assert_true(r.duration >= SLUICE_MS(600) && r.duration < SLUICE_MS(700));
	trio_stop(&t);
}

int main(int argc, char **argv)
{
	trio_squeues = argc > 1 ? (unsigned int)atoi(argv[1]) : 1;

	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_streams),
	    cmocka_unit_test(test_zero_copy),
	    cmocka_unit_test(test_server_fin_first),
	    cmocka_unit_test(test_families),
	    cmocka_unit_test(test_client_aborts),
	    cmocka_unit_test(test_backend_aborts),
	    cmocka_unit_test(test_backend_answers_and_aborts),
	    cmocka_unit_test(test_client_aborts_early),
	    cmocka_unit_test(test_back_pressure),
	    cmocka_unit_test(test_client_back_pressure),
	    cmocka_unit_test(test_retry),
	    cmocka_unit_test(test_retry_all),
	    cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
