/* SPDX-License-Identifier: BSD-3-Clause */
/* All that surrounds the relaying: limits, time-outs, first bytes, health, drain, memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <arpa/inet.h>

#include "mpool.h"
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

static struct access_record ended(void)
{
	struct access_record r;

	for (unsigned int i = 0; i < t.proxy.n; i++)
		if (access_pop(&t.proxy.of[i].log, &r))
			return r;
	fail_msg("nothing was logged");
	return r;
}

/* ---- limits ---- */

static void test_source_limit(void **state)
{
	start(LISTENER("max_per_source = 3\n") POOL("") BACKEND_OF("b", "p", "8080"));
	for (int i = 0; i < 5; i++) {
		trio_idle_client(&t, "10.0.0.2", 80);
		trio_idle_client(&t, "fd00::2", 80); /* the same host, another address */
	}
	trio_run(&t, SLUICE_SEC(1));
	assert_int_equal(t.nclients, 6);
	assert_int_equal(trio_n(&t).refused_source, 4);
	assert_int_equal(t.proxy.sources.n, 2);
	trio_abort_clients(&t);
	trio_idle_client(&t, "10.0.0.2", 80);
	trio_run(&t, SLUICE_SEC(1));
	assert_int_equal(t.nclients, 1);
	trio_abort_clients(&t);
	trio_stop(&t);
}

static void test_session_limits(void **state)
{
	start(LISTENER("max_connections = 4\n") POOL("") BACKEND_OF("b", "p",
	    "8080") "[proxy.listener m]\nport = 81\npool = p\n[proxy.global]\nmax_sessions = 6\n");
	for (int i = 0; i < 5; i++)
		trio_idle_client(&t, "10.0.0.2", 80);
	trio_run(&t, SLUICE_SEC(1));
	assert_int_equal(trio_n(&t).refused_listener, 1);
	for (int i = 0; i < 5; i++)
		trio_client(&t, "10.0.0.2", 81, 1, 0)->no_fin = true;
	trio_run(&t, SLUICE_SEC(1));
	assert_int_equal(trio_n(&t).refused_sessions, 3);
	assert_int_equal(trio_n(&t).open, 6);
	trio_abort_clients(&t);
	trio_stop(&t);
}

static void test_backend_limit(void **state)
{
	start(LISTENER("") POOL("") BACKEND_OF("b", "p", "8080") "max_connections = 2\n" BACKEND_OF(
	    "c", "p", "8081") "max_connections = 1\n");
	for (int i = 0; i < 4; i++)
		trio_idle_client(&t, "10.0.0.2", 80);
	trio_run(&t, SLUICE_SEC(1));
	assert_int_equal(t.hits[0], 2);
	assert_int_equal(t.hits[1], 1);
	assert_int_equal(trio_n(&t).ended[REASON_NO_BACKEND], 1);
	trio_abort_clients(&t);
	trio_stop(&t);
}

/* ---- time-outs ---- */

static void test_idle(void **state)
{
	struct peer *p;

	start(LISTENER("idle_timeout = 10s\nhalf_closed_timeout = 3s\n") POOL("")
		BACKEND_OF("b", "p", "8080"));
	p = trio_client_new(&t, 10, 0);
	p->to_send = 3; /* of 10 */
	p->no_fin = true;
	trio_client_connect(p, "10.0.0.2", 80);
	trio_run(&t, SLUICE_SEC(9));
	assert_int_equal(t.nclients, 1);
	p->to_send = 6;
	trio_release(p);
	trio_run(&t, SLUICE_MS(9900));
	assert_int_equal(t.nclients, 1);
	trio_run(&t, SLUICE_MS(200));
	assert_int_equal(t.nclients, 0);
	assert_int_equal(t.nservers, 0);
	assert_int_equal(ended().reason, REASON_IDLE);
	/* The client's FIN, and a server that does not answer it. */
	t.server_hold = true;
	trio_client(&t, "10.0.0.2", 80, 10, 0);
	trio_run(&t, SLUICE_MS(2900));
	assert_int_equal(t.nclients, 1);
	trio_run(&t, SLUICE_MS(200));
	assert_int_equal(t.nclients, 0);
	assert_int_equal(ended().reason, REASON_HALF_CLOSED);
	trio_stop(&t);
}

static void start_small(const char *config)
{
	static struct sluice_tunables small;
	struct trio_params p = {.seed = 4, .tun = {[CLIENT] = &small}};

	sluice_tunables_default(&small);
	small.tcp_rcvbuf = 4096;
	trio_start(&t, &p, true);
	trio_backend(&t, 0, "10.0.1.2", 8080);
	trio_config(&t, config);
}

/** A client that reads slowly is not idle, though nothing new moves; one that has stopped is. */
static void test_slow_reader(void **state)
{
	struct peer *p;
	uint64_t moved;

	start_small(LISTENER("idle_timeout = 4s\nhalf_closed_timeout = 4s\n") POOL("")
		BACKEND_OF("b", "p", "8080"));
	p = trio_client(&t, "10.0.0.2", 80, 10, 500000);
	p->no_fin = true;
	p->hold = true;
	trio_run(&t, SLUICE_SEC(1));
	moved = trio_n(&t).bytes_to_client;
	assert_int_equal(moved, 500000);
	for (int i = 0; i < 30; i++) {
		ssize_t n;

		assert_int_equal(t.nclients, 1);
		n = sluice_readable(p->st, p->c);
		assert_int_equal(sluice_consume(p->st, p->c, n < 3000 ? (size_t)n : 3000), 0);
		trio_run(&t, SLUICE_SEC(1));
	}
	assert_int_equal(trio_n(&t).bytes_to_client, moved);
	assert_int_equal(t.nclients, 1);
	trio_run(&t, SLUICE_MS(6100));
	assert_int_equal(t.nclients, 0);
	assert_int_equal(ended().reason, REASON_HALF_CLOSED);
	trio_stop(&t);
}

/** Both sides have sent all, and the client does not read the rest. */
static void test_linger(void **state)
{
	struct peer *p;

	start_small(LISTENER("linger_timeout = 5s\n") POOL("") BACKEND_OF("b", "p", "8080"));
	p = trio_client(&t, "10.0.0.2", 80, 10, 500000);
	p->hold = true;
	trio_run(&t, SLUICE_MS(4900));
	assert_int_equal(t.nservers, 0);
	assert_int_equal(t.nclients, 1);
	assert_int_equal(trio_n(&t).open, 1);
	trio_run(&t, SLUICE_MS(300));
	assert_int_equal(trio_n(&t).open, 0);
	assert_int_equal(t.nclients, 0);
	assert_int_equal(ended().reason, REASON_LINGER);
	trio_stop(&t);
}

/** Those too go when buffers run short. */
static void test_linger_memory(void **state)
{
	start_small(
	    LISTENER("") POOL("") BACKEND_OF("b", "p", "8080") "[proxy.global]\nmemory_low = 50\n");
	for (int i = 0; i < 6; i++)
		trio_client(&t, "10.0.0.2", 80, 10, 500000)->hold = true;
	trio_run(&t, SLUICE_SEC(1));
	assert_int_equal(t.nservers, 0);
	assert_int_equal(trio_n(&t).open, 6);
	tp_set_limit(t.pool[BACKEND], tp_out(t.pool[BACKEND]) * 3 / 2);
	trio_run(&t, SLUICE_MS(500));
	assert_in_range(trio_n(&t).ended[REASON_MEMORY], 2, 4);
	assert_false(t.proxy.of[0].short_of_memory);
	tp_set_limit(t.pool[BACKEND], 0);
	trio_abort_clients(&t);
	trio_stop(&t);
}

static void test_connect_timeout(void **state)
{
	start(LISTENER("")
		POOL("connect_timeout = 2s\nretries = 1\n") "[proxy.backend b]\npool = p\naddress "
							    "= 10.0.1.99\nport = 1\n" BACKEND_OF(
								"c", "p", "8080"));
	for (int i = 0; i < 4; i++)
		trio_client(&t, "10.0.0.2", 80, 10, 10);
	trio_run(&t, SLUICE_MS(100));
	assert_int_equal(t.done, 2);
	trio_run(&t, SLUICE_MS(2000));
	assert_int_equal(t.done, 4);
	assert_int_equal(trio_n(&t).connect_failed, 2);
	trio_stop(&t);
}

/* ---- first bytes ---- */

#define HOOKED(hook)                                                                          \
	"[proxy.listener l]\nport = 80\nhook = " hook "\nfirst_timeout = 2s\n"                \
	"[proxy.pool one]\n[proxy.pool two]\n" BACKEND_OF("b", "one", "8080") BACKEND_OF("c", \
	    "two", "8081") "[proxy.route r]\nlistener = l\nhost = one.example\npool = one\n"  \
			   "[proxy.route s]\nlistener = l\nhost = *.example\npool = two\n"    \
			   "[proxy.route d]\nlistener = l\nhost = *.deep.example\npool = one\n"

static void raw_client(const char *bytes, size_t n)
{
	struct peer *p = trio_client_new(&t, 0, 0);

	p->prefix = (const uint8_t *)bytes;
	p->nprefix = n;
	p->silent = true;
	trio_client_connect(p, "10.0.0.2", 80);
	trio_run(&t, SLUICE_MS(100));
}

static void test_host_routing(void **state)
{
	static const char one[] = "GET / HTTP/1.1\r\nHost: One.Example:80\r\n\r\nand more",
			  two[] = "GET / HTTP/1.1\r\nHost: a.b.example\r\n\r\n",
			  deep[] = "GET / HTTP/1.1\r\nHost: x.deep.example\r\n\r\n",
			  none[] = "GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n",
			  bad[] = "GET / HTTP/1.1\r\nHost : one.example\r\n\r\n",
			  half[] = "GET / HTTP/1.1\r\nHost: one.exam";

	start(HOOKED("host"));
	t.raw_server = true;
	raw_client(one, strlen(one));
	assert_int_equal(t.hits[0], 1);
	assert_int_equal(t.nraw, strlen(one)); /* unchanged, and what follows too */
	assert_memory_equal(t.raw, one, t.nraw);
	t.nraw = 0;
	raw_client(two, strlen(two));
	assert_int_equal(t.hits[1], 1);
	assert_memory_equal(t.raw, two, t.nraw);
	raw_client(deep, strlen(deep)); /* the longer pattern wins */
	assert_int_equal(t.hits[0], 2);
	raw_client(none, strlen(none));
	assert_int_equal(trio_n(&t).ended[REASON_NO_ROUTE], 1);
	raw_client(bad, strlen(bad));
	assert_int_equal(trio_n(&t).ended[REASON_FIRST_BAD], 1);
	raw_client(half, strlen(half));
	assert_int_equal(trio_n(&t).open, 4);
	trio_run(&t, SLUICE_SEC(2));
	assert_int_equal(trio_n(&t).ended[REASON_FIRST_TIMEOUT], 1);
	trio_abort_clients(&t);
	trio_stop(&t);
}

/** Byte by byte: decided when the last one has come. Then too many bytes without a decision. */
static void test_first_bytes_bounded(void **state)
{
	static const char one[] = "GET / HTTP/1.1\r\nHost: one.example\r\n\r\n";
	char line[200];
	struct peer *p;

	start(HOOKED("host") "[proxy.listener m]\nport = 81\nhook = host\nfirst_bytes = 1000\n");
	t.raw_server = true;
	p = trio_client_new(&t, 0, 0);
	p->silent = true;
	trio_client_connect(p, "10.0.0.2", 80);
	trio_run(&t, SLUICE_MS(1));
	for (size_t i = 0; i < strlen(one); i++) {
		assert_int_equal(t.hits[0], 0);
		trio_send(p, one + i, 1);
		trio_run(&t, SLUICE_MS(20));
	}
	assert_int_equal(t.hits[0], 1);
	assert_memory_equal(t.raw, one, strlen(one));
	p = trio_client_new(&t, 0, 0);
	p->silent = true;
	trio_client_connect(p, "10.0.0.2", 81);
	trio_run(&t, SLUICE_MS(1));
	snprintf(line, sizeof(line), "GET / HTTP/1.1\r\nA: %080d\r\n", 1);
	trio_send(p, line, strlen(line));
	for (int i = 0; i < 9; i++) {
		trio_run(&t, SLUICE_MS(1));
		assert_int_equal(trio_n(&t).ended[REASON_FIRST_BAD], 0);
		snprintf(line, sizeof(line), "X-%05d: %089d\r\n", i, 1);
		trio_send(p, line, 100);
	}
	trio_run(&t, SLUICE_MS(1));
	assert_int_equal(trio_n(&t).ended[REASON_FIRST_BAD], 1);
	trio_abort_clients(&t);
	trio_stop(&t);
}

static void test_sni_routing(void **state)
{
	static const char hello[] = "\x16\x03\x01\x00\x44\x01\x00\x00\x40\x03\x03"
				    "0123456789abcdef0123456789abcdef\x00\x00\x02\x13\x01\x01\x00"
				    "\x00\x15\x00\x00\x00\x11\x00\x0f\x00\x00\x0c"
				    "two2.example";

	start(HOOKED("sni"));
	t.raw_server = true;
	raw_client(hello, sizeof(hello) - 1);
	assert_int_equal(t.hits[1], 1);
	assert_int_equal(t.nraw, sizeof(hello) - 1);
	assert_memory_equal(t.raw, hello, t.nraw);
	raw_client("GET / HTTP/1.1\r\n", 16);
	assert_int_equal(trio_n(&t).ended[REASON_FIRST_BAD], 1);
	trio_abort_clients(&t);
	trio_stop(&t);
}

static void test_proxy_out(void **state)
{
	struct proxy_header h;
	int n;

	start(LISTENER("") POOL("send_proxy = v1\n")
		BACKEND_OF("b", "p", "8080") "[proxy.listener m]\nport = 81\npool = q\n[proxy.pool "
					     "q]\nsend_proxy = v2\n" BACKEND_OF("c", "q", "8080"));
	t.raw_server = true;
	for (int v = 0; v < 4; v++) {
		struct peer *p;

		t.nraw = 0;
		p = trio_client_new(&t, 100, 0);
		trio_client_connect(p, v < 2 ? "10.0.0.2" : "fd00::2", 80 + v % 2);
		trio_run(&t, SLUICE_SEC(1));
		n = proxyproto_parse(t.raw, t.nraw, &h);
		assert_true(n > 0);
		assert_int_equal(t.raw[0], v % 2 == 0 ? 'P' : '\r');
		assert_int_equal(t.nraw, n + 24 + 100);
		assert_int_equal(h.src.ss_family, v < 2 ? AF_INET : AF_INET6);
		if (v < 2)
			assert_int_equal(
			    ((struct sockaddr_in *)&h.src)->sin_addr.s_addr, inet_addr("10.0.0.1"));
		assert_int_equal(((struct sockaddr_in *)&h.dst)->sin_port, htons(80 + v % 2));
	}
	trio_stop(&t);
}

/** A header in, the same client in the header out, in the log, and in the count of sources. */
static void test_proxy_in(void **state)
{
	static const char h1[] = "PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n";
	struct proxy_header h;
	struct access_record r;
	struct peer *p[3];

	start(LISTENER("accept_proxy = on\nmax_per_source = 2\n") POOL("send_proxy = v2\n")
		BACKEND_OF("b", "p", "8080"));
	t.raw_server = true;
	for (int i = 0; i < 3; i++) {
		p[i] = trio_client_new(&t, 100, 0);
		p[i]->prefix = (const uint8_t *)h1;
		p[i]->nprefix = strlen(h1);
		p[i]->no_fin = true;
		trio_client_connect(p[i], "10.0.0.2", 80);
		trio_run(&t, SLUICE_MS(100));
		if (i == 0) {
			int n = proxyproto_parse(t.raw, t.nraw, &h);

			assert_int_equal(n, 28);
			assert_int_equal(t.nraw, 28 + 124);
			assert_int_equal(((struct sockaddr_in *)&h.src)->sin_addr.s_addr,
			    inet_addr("192.0.2.7"));
			assert_int_equal(((struct sockaddr_in *)&h.src)->sin_port, htons(1234));
		}
	}
	assert_int_equal(t.nclients, 2);
	assert_int_equal(trio_n(&t).ended[REASON_SOURCE_LIMIT], 1);
	r = ended();
	assert_int_equal(
	    ((struct sockaddr_in *)&r.client)->sin_addr.s_addr, inet_addr("192.0.2.7"));
	raw_client("PROXY TCP4 192.0.2.7 192.0.2.8 1234 080\r\n", 41);
	assert_int_equal(trio_n(&t).ended[REASON_FIRST_BAD], 1);
	raw_client("GET / HTTP/1.1\r\n\r\n", 18); /* without one nobody comes in */
	assert_int_equal(trio_n(&t).ended[REASON_FIRST_BAD], 2);
	trio_abort_clients(&t);
	trio_stop(&t);
}

/** A header that announces more than first_bytes is not waited for. */
static void test_proxy_in_bounded(void **state)
{
	static const uint8_t v2[16 + 200] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\x40";

	start(LISTENER("accept_proxy = on\nfirst_bytes = 128\n") POOL("")
		BACKEND_OF("b", "p", "8080"));
	raw_client((const char *)v2, 127);
	assert_int_equal(trio_n(&t).open, 1);
	raw_client((const char *)v2, 128);
	assert_int_equal(trio_n(&t).open, 1);
	assert_int_equal(ended().reason, REASON_FIRST_BAD);
	trio_abort_clients(&t);
	trio_stop(&t);
}

/* ---- health ---- */

static struct backend *backend(unsigned int k)
{
	return t.proxy.of[0].pool[0]->backend[k];
}

static void test_health(void **state)
{
	start(LISTENER("") POOL("health_interval = 1s\nhealth_timeout = 500ms\nrise = 2\nfall = 3\n"
				"slow_start = 20s\n") BACKEND_OF("b", "p", "8080")
		BACKEND_OF("c", "p", "8081"));
	trio_run(&t, SLUICE_MS(5500));
	assert_true(backend(0)->share->up && backend(1)->share->up);
	assert_int_equal(trio_n(&t).checks_failed, 0);
	assert_in_range(trio_n(&t).checks, 10, 12);
	trio_backend_close(&t, 1);
	trio_run(&t, SLUICE_MS(2000)); /* two failures are not three */
	assert_true(backend(1)->share->up);
	trio_run(&t, SLUICE_MS(1500));
	assert_false(backend(1)->share->up);
	assert_true(backend(0)->share->up);
	for (int i = 0; i < 6; i++)
		trio_client(&t, "10.0.0.2", 80, 10, 10);
	assert_true(trio_finish(&t, SLUICE_SEC(1)));
	assert_int_equal(trio_n(&t).connect_failed, 0); /* none of them went there */
	trio_backend(&t, 1, "10.0.1.2", 8081);
	while (!backend(1)->share->up)
		trio_run(&t, SLUICE_MS(100));
	assert_int_equal(trio_n(&t).backends_down, 1);
	assert_int_equal(trio_n(&t).backends_up, 1);
	assert_true(balance_weight(backend(1), t.now) < 20);
	trio_run(&t, SLUICE_SEC(10));
	assert_in_range(balance_weight(backend(1), t.now), 120, 135);
	trio_stop(&t);
}

/** A backend that says nothing at all is down by time-outs; the check does not pile up. */
static void test_health_silent(void **state)
{
	start(LISTENER("") POOL(
	    "health_interval = 100ms\nhealth_timeout = 1s\nfall = 2\n") "[proxy.backend b]\npool = "
									"p\naddress = "
									"10.0.1.99\nport = 1\n");
	trio_run(&t, SLUICE_MS(1500));
	assert_true(backend(0)->share->up);
	trio_run(&t, SLUICE_MS(1000));
	assert_false(backend(0)->share->up);
	trio_client(&t, "10.0.0.2", 80, 10, 10);
	trio_run(&t, SLUICE_MS(100));
	assert_int_equal(ended().reason, REASON_NO_BACKEND);
	trio_stop(&t);
}

/** Checks end and begin with the backends and pools that they are of, in the middle of a connect
 * too. */
static void test_health_and_reload(void **state)
{
	static const char *const config[] = {
	    LISTENER("") POOL("health_interval = 50ms\nhealth_timeout = 2s\nfall = 1\n") BACKEND_OF(
		"b", "p", "8080") "[proxy.backend mute]\npool = p\naddress = 10.0.1.99\nport = 1\n",
	    LISTENER("") POOL("") BACKEND_OF(
		"b", "p", "8080") "[proxy.backend mute]\npool = p\naddress = 10.0.1.99\nport = 1\n",
	    "",
	};

	start(config[0]);
	for (int i = 0; i < 30; i++) {
		trio_run(&t, SLUICE_MS((uint64_t)(i * 37) % 200));
		trio_config(&t, config[i % 3]);
	}
	trio_config(&t, config[0]);
	trio_run(&t, SLUICE_SEC(3));
	assert_true(backend(0)->share->up);
	assert_false(backend(1)->share->up);
	trio_config(&t, config[1]); /* without checks everybody is up */
	assert_true(backend(1)->share->up);
	trio_stop(&t);
}

/* ---- the end ---- */

static void test_drain(void **state)
{
	struct peer *p;

	start(LISTENER("") POOL("")
		BACKEND_OF("b", "p", "8080") "[proxy.global]\ndrain_time = 10s\n");
	p = trio_idle_client(&t, "10.0.0.2", 80);
	trio_idle_client(&t, "10.0.0.2", 80);
	trio_run(&t, SLUICE_MS(100));
	for (unsigned int i = 0; i < t.proxy.n; i++)
		proxy_drain(&t.proxy.of[i]);
	trio_client(&t, "10.0.0.2", 80, 10, 10);
	trio_run(&t, SLUICE_SEC(5));
	assert_int_equal(t.failed, 1); /* the new one */
	assert_int_equal(trio_n(&t).open, 2);
	p->no_fin = false;
	trio_release(p); /* one ends by itself */
	trio_run(&t, SLUICE_SEC(1));
	assert_int_equal(t.done, 1);
	assert_int_equal(trio_n(&t).open, 1);
	trio_run(&t, SLUICE_MS(3800));
	assert_int_equal(trio_n(&t).open, 1);
	trio_run(&t, SLUICE_MS(300));
	assert_int_equal(trio_n(&t).open, 0);
	assert_int_equal(t.nclients, 0);
	assert_int_equal(trio_n(&t).ended[REASON_DRAIN], 1);
	trio_stop(&t);
}

/** Who moves on and stalls again goes behind those that have stood all the while. */
static void test_stalled_order(void **state)
{
	struct session *one, *two;
	struct peer *s;

	if (trio_squeues > 1) /* each squeue has an order of its own */
		return;
	start(LISTENER("") POOL("") BACKEND_OF("b", "p", "8080"));
	t.server_hold = true;
	trio_client(&t, "10.0.0.2", 80, 100000000, 10);
	trio_run(&t, SLUICE_MS(500));
	trio_client(&t, "10.0.0.2", 80, 100000000, 10);
	trio_run(&t, SLUICE_MS(500));
	one = TAILQ_FIRST(&t.proxy.of[0].all);
	two = TAILQ_NEXT(one, all);
	assert_ptr_equal(TAILQ_FIRST(&t.proxy.of[0].stalled), one);
	assert_ptr_equal(TAILQ_LAST(&t.proxy.of[0].stalled, session_list), two);
	s = TAILQ_FIRST(&t.servers);
	trio_release(s); /* what is there, and no more */
	s->hold = true;
	trio_run(&t, SLUICE_MS(500));
	assert_ptr_equal(TAILQ_FIRST(&t.proxy.of[0].stalled), two);
	assert_ptr_equal(TAILQ_LAST(&t.proxy.of[0].stalled, session_list), one);
	assert_int_equal(t.proxy.of[0].nstalled, 2);
	trio_abort_clients(&t);
	assert_int_equal(t.proxy.of[0].nstalled, 0);
	trio_stop(&t);
}

/** Receive buffers run short: the sessions that stand longest go, those that move live. */
static void test_memory(void **state)
{

	start(LISTENER("idle_timeout = 1000s\n") POOL("")
		BACKEND_OF("b", "p", "8080") "[proxy.global]\nmemory_low = 50\n");
	/* Stopped clients: each holds up to 2 MB of the client's buffers in the proxy. */
	t.server_hold = true;
	for (int i = 0; i < 10; i++)
		trio_client(&t, "10.0.0.2", 80, 10000000, 10);
	trio_run(&t, SLUICE_SEC(1));
	assert_int_equal(trio_n(&t).open, 10);
	t.server_hold = false;
	trio_client(&t, "10.0.0.2", 80, 100000000, 10);
	trio_run(&t, SLUICE_MS(100));
	tp_set_limit(t.pool[CLIENT], tp_out(t.pool[CLIENT]) * 3 / 2);
	trio_run(&t, SLUICE_MS(200));
	assert_in_range(trio_n(&t).ended[REASON_MEMORY], 2, 6); /* a third must come free */
	assert_false(t.proxy.of[0].short_of_memory);
	assert_int_equal(t.failed, trio_n(&t).ended[REASON_MEMORY]);
	while (t.done == 0)
		trio_run(&t, SLUICE_MS(100));
	assert_int_equal(t.done, 1);
	tp_set_limit(t.pool[CLIENT], 0);
	trio_abort_clients(&t);
	trio_stop(&t);
}

/** The pool that parts of buffers are copied to is empty now and then: the relay tries again by
 * itself. */
static void test_starved(void **state)
{
	struct sluice_tunables small;
	struct trio_params p = {.seed = 6, .tun = {[PROXY] = &small}};

	sluice_tunables_default(&small);
	small.tcp_sndbuf = 5000; /* hardly a splice without a cut buffer */
	trio_start(&t, &p, true);
	trio_backend(&t, 0, "10.0.1.2", 8080);
	trio_config(&t, LISTENER("") POOL("") BACKEND_OF("b", "p", "8080"));
	trio_client(&t, "10.0.0.2", 80, 1000000, 1000000);
	for (int i = 0; t.nclients > 0 && i < 20000; i++) {
		tp_set_limit(
		    t.pool[PROXY], i % 4 == 0 ? 0 : tp_out(t.pool[PROXY]) + (uint32_t)i % 3);
		trio_run(&t, 3000 + (uint64_t)i * 977 % 11000);
	}
	tp_set_limit(t.pool[PROXY], 0);
	assert_true(trio_finish(&t, SLUICE_SEC(60)));
	assert_int_equal(t.done, 1);
	assert_true(
	    trio_n(&t).starved > 0 || trio_squeues > 1); /* the moments are chosen for one */
	trio_stop(&t);
}

int main(int argc, char **argv)
{
	trio_squeues = argc > 1 ? (unsigned int)atoi(argv[1]) : 1;

	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_source_limit),
	    cmocka_unit_test(test_session_limits),
	    cmocka_unit_test(test_backend_limit),
	    cmocka_unit_test(test_idle),
	    cmocka_unit_test(test_slow_reader),
	    cmocka_unit_test(test_linger),
	    cmocka_unit_test(test_linger_memory),
	    cmocka_unit_test(test_connect_timeout),
	    cmocka_unit_test(test_host_routing),
	    cmocka_unit_test(test_first_bytes_bounded),
	    cmocka_unit_test(test_sni_routing),
	    cmocka_unit_test(test_proxy_out),
	    cmocka_unit_test(test_proxy_in),
	    cmocka_unit_test(test_proxy_in_bounded),
	    cmocka_unit_test(test_health),
	    cmocka_unit_test(test_health_silent),
	    cmocka_unit_test(test_health_and_reload),
	    cmocka_unit_test(test_drain),
	    cmocka_unit_test(test_stalled_order),
	    cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_starved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
