/* SPDX-License-Identifier: BSD-3-Clause */
/* A configuration that changes while the proxy runs: nothing that lives notices. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trio.h"

#define BACKEND_OF(name, pool, port) \
	"[proxy.backend " name "]\npool = " pool "\naddress = 10.0.1.2\nport = " port "\n"
#define LISTENER(more) "[proxy.listener l]\nport = 80\npool = p\n" more
#define POOL(more) "[proxy.pool p]\n" more

static struct trio t;

static void start(const char *config)
{
	struct trio_params p = {.seed = 3};

	trio_start(&t, &p, true);
	trio_backend(&t, 0, "10.0.1.2", 8080);
	trio_backend(&t, 1, "10.0.1.2", 8081);
	trio_config(&t, config);
}

static struct backend *backend(unsigned int k)
{
	return t.proxy.of[0].pool[0]->backend[k];
}

/** While 20 clients move data the configuration changes to and fro; none of them notices. */
static void test_reload_under_load(void **state)
{
	static const char *const config[] = {
	    LISTENER("") POOL("") BACKEND_OF("b", "p", "8080"),
	    LISTENER("idle_timeout = 100s\n") POOL("balance = leastconn\n")
		BACKEND_OF("c", "p", "8081") "[proxy.listener m]\nport = 81\npool = p\n",
	    LISTENER("") POOL("") BACKEND_OF("b", "p", "8080") BACKEND_OF("c", "p", "8081"),
	    "[proxy.listener m]\nport = 81\npool = q\n[proxy.pool q]\n" BACKEND_OF(
		"b", "q", "8080"),
	    "",
	};
	uint64_t started = 0;

	start(config[0]);
	for (int round = 0; round < 60; round++) {
		if (round % 5 != 3 && round % 5 != 4)
			for (int i = 0; i < 3; i++, started++)
				trio_client(&t, "10.0.0.2", 80, 1000 + (uint64_t)round * 20000,
				    (uint64_t)i * 50000);
		trio_run(&t, SLUICE_MS(2)); /* their handshakes are done, their data is not */
		trio_config(&t, config[(round + 1) % 5]);
	}
	assert_true(trio_finish(&t, SLUICE_SEC(60)));
	assert_int_equal(t.done, started);
	assert_int_equal(trio_n(&t).reloads, 61);
	trio_stop(&t);
}

static int last_has_no_memory(
    void *arg, struct proxy *p, enum change_step step, const struct change *ch)
{
	if (step == CHANGE_PLAN && p->id == p->group->n - 1)
		return -ENOMEM;
	return proxy_change(p, step, ch);
}

/** The last squeue cannot do what the others have planned: nothing has happened. */
static void test_reload_undone(void **state)
{
	static const char text[] = LISTENER("") POOL("") BACKEND_OF("b", "p", "8080")
	    BACKEND_OF("c", "p", "8081") "[proxy.listener m]\nport = 81\npool = p\n";
	struct config *c;
	char err[256];

	start(LISTENER("") POOL("") BACKEND_OF("b", "p", "8080"));
	assert_int_equal(config_parse(text, strlen(text), "conf", &c, err, sizeof(err)), 0);
	assert_int_equal(
	    proxy_apply(&t.proxy, c, err, sizeof(err), last_has_no_memory, NULL), -ENOMEM);
	config_free(c);
	for (unsigned int i = 0; i < t.proxy.n; i++) {
		assert_int_equal(t.proxy.of[i].nlisteners, 1);
		assert_int_equal(t.proxy.of[i].pool[0]->nbackends, 1);
		assert_null(t.proxy.of[i].plan);
	}
	trio_client(&t, "10.0.0.2", 80, 10, 10);
	trio_client(&t, "10.0.0.2", 81, 10, 10);
	trio_run(&t, SLUICE_SEC(1));
	assert_int_equal(t.done, 1);
	assert_int_equal(t.failed, 1);
	trio_config(&t, text);
	trio_client(&t, "10.0.0.2", 81, 10, 10);
	assert_true(trio_finish(&t, SLUICE_SEC(1)));
	assert_int_equal(t.done, 2);
	trio_stop(&t);
}

/** A configuration that cannot be is refused whole. */
static void test_reload_refused(void **state)
{
	struct listener *l;
	struct pool *pl;
	sluice_conn_t c;
	char err[256];

	start(LISTENER("") POOL("") BACKEND_OF("b", "p", "8080"));
	l = t.proxy.of[0].listener[0];
	pl = t.proxy.of[0].pool[0];
	c = l->door->c;
	trio_idle_client(&t, "10.0.0.2", 80);
	trio_run(&t, SLUICE_MS(100));
	/* 10.0.0.77 is not ours: the listener before it was open already, and is closed again. */
	assert_int_equal(
	    trio_try_config(&t,
		"[proxy.listener m]\nport = 81\npool = q\n[proxy.pool q]\n"
		"[proxy.listener n]\naddress = 10.0.0.77\nport = 82\npool = q\n" BACKEND_OF(
		    "c", "q", "8081"),
		err),
	    -EADDRNOTAVAIL);
	assert_non_null(strstr(err, "5: listener n "));
	assert_int_equal(
	    trio_try_config(&t, "[proxy.global]\nmax_sessions = 100000\n", err), -EINVAL);
	assert_non_null(strstr(err, "squeue.app_timers"));
	assert_true(trio_try_config(&t, "[proxy.global]\nmax_sessions = x\n", err) < 0);
	trio_run(&t, SLUICE_MS(100));
	assert_int_equal(t.proxy.of[0].nlisteners, 1);
	assert_int_equal(t.proxy.of[0].npools, 1);
	assert_ptr_equal(t.proxy.of[0].listener[0], l);
	assert_ptr_equal(t.proxy.of[0].pool[0], pl);
	assert_true(t.proxy.of[0].listener[0]->door->c == c);
	assert_int_equal(t.nclients, 1);
	assert_int_equal(trio_n(&t).reloads_refused, 2);
	trio_client(&t, "10.0.0.2", 80, 10, 10);
	trio_client(&t, "10.0.0.2", 81, 10, 10);
	trio_run(&t, SLUICE_MS(100));
	assert_int_equal(t.done, 1);
	assert_int_equal(t.failed, 1); /* nobody listens there */
	trio_abort_clients(&t);
	trio_config(&t, LISTENER("") POOL("") BACKEND_OF("b", "p", "8080")); /* and it goes on */
	trio_stop(&t);
}

/** Health and counts outlive a reload; a backend that comes in a reload starts slowly. */
static void test_reload_keeps(void **state)
{
	static const char *const base =
	    LISTENER("") POOL("health_interval = 1s\nfall = 1\nslow_start = 10s\n")
		BACKEND_OF("b", "p", "8080") BACKEND_OF("dead", "p", "9999");
	char more[1000];

	start(base);
	trio_idle_client(&t, "10.0.0.2", 80);
	trio_run(&t, SLUICE_SEC(3));
	assert_false(backend(1)->share->up);
	snprintf(more, sizeof(more), "%s%s", base, BACKEND_OF("new", "p", "8081"));
	trio_config(&t, more);
	assert_false(backend(1)->share->up);
	assert_int_equal(backend(0)->share->active, 1);
	assert_int_equal(balance_weight(backend(0), t.now), 256);
	assert_true(balance_weight(backend(2), t.now) < 10);
	trio_abort_clients(&t);
	trio_stop(&t);
}

/** One value of a backend is changed, until the next reload; a wrong one is refused. */
static void test_set(void **state)
{
	static const char *const base =
	    LISTENER("") POOL("") BACKEND_OF("b", "p", "8080") BACKEND_OF("c", "p", "8081");

	start(base);
	trio_idle_client(&t, "10.0.0.2", 80);
	trio_run(&t, SLUICE_MS(10));
	assert_int_equal(t.hits[0], 1);
	for (unsigned int i = 0; i < t.proxy.n; i++)
		assert_int_equal(proxy_set(&t.proxy.of[i], "p", "b", "weight", "0"), 0);
	for (int i = 0; i < 10; i++)
		trio_client(&t, "10.0.0.2", 80, 10, 10);
	assert_false(trio_finish(&t, SLUICE_SEC(1))); /* the first one stays */
	assert_int_equal(t.hits[0], 1);
	assert_int_equal(t.hits[1], 10);
	assert_int_equal(t.nclients, 1);
	assert_int_equal(proxy_set(&t.proxy.of[0], "p", "b", "weight", "257"), -ERANGE);
	assert_int_equal(proxy_set(&t.proxy.of[0], "p", "b", "weight", "x"), -EINVAL);
	assert_int_equal(proxy_set(&t.proxy.of[0], "p", "b", "port", "1"), -ENOENT);
	assert_int_equal(proxy_set(&t.proxy.of[0], "p", "d", "weight", "1"), -ENOENT);
	assert_int_equal(proxy_set(&t.proxy.of[0], "q", "b", "weight", "1"), -ENOENT);
	assert_int_equal(backend(0)->cfg.weight, 0);
	trio_config(&t, base);
	assert_int_equal(backend(0)->cfg.weight, 1);
	trio_abort_clients(&t);
	trio_stop(&t);
}

/** A client says what it wants after its listener, the route and the pool have gone from the
 * configuration: it gets there all the same. */
static void test_first_bytes_outlive(void **state)
{
	static const char ask[] = "GET / HTTP/1.1\r\nHost: one.example\r\n\r\n";
	struct peer *p[2];

	start("[proxy.listener l]\nport = 80\nhook = host\npool = p\n"
	      "[proxy.pool p]\n[proxy.pool q]\n"
	      "[proxy.route r]\nlistener = l\nhost = one.example\npool = q\n" BACKEND_OF(
		  "b", "p", "8080") BACKEND_OF("c", "q", "8081"));
	t.raw_server = true;
	for (int i = 0; i < 2; i++) {
		p[i] = trio_client_new(&t, 0, 0);
		p[i]->silent = true;
		trio_client_connect(p[i], "10.0.0.2", 80);
	}
	trio_run(&t, SLUICE_MS(10));
	trio_config(&t, "");
	assert_int_equal(t.proxy.of[0].npools, 0);
	trio_send(p[0], ask, strlen(ask));
	trio_send(p[1], "GET / HTTP/1.1\r\n\r\n", 18);
	trio_run(&t, SLUICE_MS(10));
	assert_int_equal(t.hits[1], 1);
	assert_int_equal(t.hits[0], 1);
	assert_int_equal(t.nraw, strlen(ask) + 18);
	trio_abort_clients(&t);
	trio_stop(&t);
}

/** What a client must begin with is what its listener wanted when it came. */
static void test_first_bytes_as_promised(void **state)
{
	static const char *const config[] = {
	    LISTENER("hook = host\nmax_per_source = 3\n") POOL("") BACKEND_OF("b", "p", "8080"),
	    LISTENER("hook = host\nmax_per_source = 3\naccept_proxy = on\n") POOL("")
		BACKEND_OF("b", "p", "8080"),
	};
	static const char with[] =
	    "PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\nGET / HTTP/1.1\r\n\r\n";
	const char *ask[] = {strchr(with, 'G'), with};

	for (int i = 0; i < 2; i++) {
		struct peer *p;

		start(config[i]);
		t.raw_server = true;
		p = trio_client_new(&t, 0, 0);
		p->silent = true;
		trio_client_connect(p, "10.0.0.2", 80);
		trio_run(&t, SLUICE_MS(10));
		trio_config(&t, config[!i]);
		trio_send(p, ask[i], strlen(ask[i]));
		trio_run(&t, SLUICE_MS(10));
		assert_int_equal(t.hits[0], 1);
		assert_int_equal(t.nraw, strlen(ask[0]));
		trio_abort_clients(&t);
		trio_stop(&t);
	}
}

/** A client whose connect waits when its pool goes; then one whose backend is replaced. */
static void test_connect_outlives(void **state)
{
	static const char *const config[] = {
	    LISTENER("") POOL("retries = 20\n") BACKEND_OF("b", "p", "8080"),
	    LISTENER("") POOL("retries = 20\n") BACKEND_OF("c", "p", "8081"),
	};

	start(config[0]);
	trio_backend_close(&t, 0);
	trio_client(&t, "10.0.0.2", 80, 1000, 1000);
	trio_run(&t, SLUICE_MS(250));
	trio_config(&t, "");
	assert_int_equal(trio_n(&t).open, 1);
	trio_backend(&t, 0, "10.0.1.2", 8080);
	assert_true(trio_finish(&t, SLUICE_SEC(1)));
	assert_int_equal(t.done, 1);
	assert_int_equal(t.hits[0], 1);

	trio_config(&t, config[0]);
	trio_backend_close(&t, 0);
	trio_client(&t, "10.0.0.2", 80, 1000, 1000);
	trio_run(&t, SLUICE_MS(250));
	trio_config(&t, config[1]);
	assert_true(trio_finish(&t, SLUICE_SEC(1)));
	assert_int_equal(t.done, 2);
	assert_int_equal(t.hits[1], 1);
	trio_stop(&t);
}

int main(int argc, char **argv)
{
	trio_squeues = argc > 1 ? (unsigned int)atoi(argv[1]) : 1;

	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reload_under_load),
	    cmocka_unit_test(test_reload_refused),
	    cmocka_unit_test(test_reload_undone),
	    cmocka_unit_test(test_reload_keeps),
	    cmocka_unit_test(test_set),
	    cmocka_unit_test(test_first_bytes_outlive),
	    cmocka_unit_test(test_first_bytes_as_promised),
	    cmocka_unit_test(test_connect_outlives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
