/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration file: what is read, and that each mistake is named with its line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <arpa/inet.h>

#include "../../../app/proxy/proxy.h"

static struct config *parse(const char *text)
{
	struct config *c = NULL;
	char err[256];

	if (config_parse(text, strlen(text), "f", &c, err, sizeof(err)) != 0)
		fail_msg("%s", err);
	assert_string_equal(err, "");
	return c;
}

static void test_all(void **state)
{
	struct config *c =
	    parse("; order is free\n"
		  "[interface eth0]\nport = 0\nany words = at all\n"
		  "[proxy.route r]\nlistener = l\nhost = *.Example.org\npool = q\n"
		  "[proxy.listener l] ; comment\naddress = 10.0.0.1\nport = 443\n"
		  " hook=sni\t\nfirst_timeout = 1500ms\nmax_per_source = 0x10\r\n"
		  "[proxy.backend b]\npool = q\naddress = fd00::9\nport = 8443\nweight = 7\n"
		  "[proxy.pool q]\nbalance = hash\nsend_proxy = v2\n"
		  "sources = 10.0.0.5-10.0.0.9, fd00::5\nslow_start = 2min\n"
		  "[proxy.global]\nmax_sessions = 99\n");
	const struct sockaddr_in *in = (const struct sockaddr_in *)&c->listener[0].addr;

	assert_true(c->has_stack);
	assert_int_equal(c->nlisteners, 1);
	assert_int_equal(in->sin_addr.s_addr, inet_addr("10.0.0.1"));
	assert_int_equal(ntohs(in->sin_port), 443);
	assert_int_equal(c->listener[0].hook, HOOK_SNI);
	assert_int_equal(c->listener[0].first_timeout, SLUICE_MS(1500));
	assert_int_equal(c->listener[0].max_per_source, 16);
	assert_int_equal(c->listener[0].idle_timeout, SLUICE_SEC(300));
	assert_int_equal(c->listener[0].pool, -1);
	assert_int_equal(c->pool[0].balance, BALANCE_HASH);
	assert_int_equal(c->pool[0].send_proxy, SEND_PROXY_V2);
	assert_int_equal(c->pool[0].slow_start, SLUICE_SEC(120));
	assert_int_equal(c->pool[0].source[0].n, 5);
	assert_int_equal(c->pool[0].source[0].first.b[15], 5);
	assert_int_equal(c->pool[0].source[1].n, 1);
	assert_int_equal(c->backend[0].weight, 7);
	assert_int_equal(c->backend[0].pool, 0);
	assert_string_equal(c->route[0].host, "*.example.org");
	assert_int_equal(c->global.max_sessions, 99);
	config_free(c);
	c = parse("");
	assert_false(c->has_stack);
	config_free(c);
}

#define L "[proxy.listener l]\nport = 80\npool = p\n"
#define P "[proxy.pool p]\n"
#define B "[proxy.backend b]\npool = p\naddress = 10.0.0.9\nport = 80\n"

static void test_mistakes(void **state)
{
	static const struct {
		const char *text;
		int line;
		const char *word;
	} bad[] = {
	    {"x = 1\n", 1, "before"},
	    {"[proxy.pool p\n", 1, "[name]"},
	    {"[]\n", 1, "[name]"},
	    {P "words\n", 2, "name = value"},
	    {P "= 3\n", 2, "name = value"},
	    {P "colour = red\n", 2, "colour: no such entry"},
	    {P "\n; x\nretries = 65\n", 4, "retries: out of range 0..64 tries"},
	    {P "retries = -1\n", 2, "retries"},
	    {P "retries = 1x\n", 2, "not a valid"},
	    {P "retries =\n", 2, "retries"},
	    {P "retries = 99999999999999999999\n", 2, "retries"},
	    {P "connect_timeout = 0\n", 2, "out of range"},
	    {P "connect_timeout = 5 apples\n", 2, "connect_timeout"},
	    {P "balance = best\n", 2, "balance"},
	    {P "retries = 1\nretries = 1\n", 3, "twice"},
	    {P "sources = 10.0.0.9-10.0.0.1\n", 2, "sources"},
	    {P "sources = 10.0.0.1, 10.0.0.2\n", 2, "twice"},
	    {P "sources = 10.0.0.1-fd00::1\n", 2, "sources"},
	    {P "sources = 10.0.0.0-10.9.0.0\n", 2, "sources"},
	    {P P, 2, "above"},
	    {"[proxy.pool]\n", 1, "name"},
	    {"[proxy.poll x]\n", 1, "unknown section"},
	    {"[proxy]\n", 1, "unknown section"},
	    {"[proxy.global x]\n", 1, "no name"},
	    {P "[proxy.listener l]\npool = p\n", 2, "without port"},
	    {"[proxy.listener l]\nport = 80\n", 1, "pool"},
	    {"[proxy.listener l]\nport = 80\npool = q\n", 1, "pool"},
	    {"[proxy.listener l]\nport = 80\npool = q\nhook = host\n", 1, "pool"},
	    {P "[proxy.listener l]\nport = 80\naddress = here\n", 4, "address"},
	    {P L "[proxy.listener l]\nport = 81\npool = p\n", 5, "name stands above"},
	    {P L "[proxy.listener m]\nport = 80\npool = p\n", 5, "has this address"},
	    {P L "accept_proxy = maybe\n", 5, "accept_proxy"},
	    {P L "first_bytes = 16385\n", 5, "128..16384"},
	    {B, 1, "pool does not exist"},
	    {P "[proxy.backend b]\npool = p\nport = 80\n", 2, "without address"},
	    {P B B, 6, "above in its pool"},
	    {P "sources = fd00::1\n" B, 3, "other family"},
	    {P B "weight = 257\n", 6, "0..256"},
	    {P L "[proxy.route r]\nlistener = l\npool = p\nhost = a\n", 5, "no hook"},
	    {P L "[proxy.route r]\nlistener = x\npool = p\nhost = a\n", 5, "does not exist"},
	    {P L "[proxy.route r]\nlistener = l\npool = p\n", 5, "without host"},
	    {P L "[proxy.route r]\nhost = *.\n", 6, "host"},
	    {P L "[proxy.route r]\nhost = a b\n", 6, "host"},
	    {P L "hook = host\n[proxy.route r]\nlistener = l\npool = p\nhost = A.b\n"
		 "[proxy.route s]\nlistener = l\npool = p\nhost = a.B\n",
		10, "above"},
	};
	struct config *c = NULL;
	char err[256], want[64];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_true(
		    config_parse(bad[i].text, strlen(bad[i].text), "f", &c, err, sizeof(err)) < 0);
		snprintf(want, sizeof(want), "f:%d: ", bad[i].line);
		if (strncmp(err, want, strlen(want)) != 0 || strstr(err, bad[i].word) == NULL)
			fail_msg("%s gives: %s", bad[i].text, err);
	}
	assert_null(c);
}

/** Long lines, long names, too many sections, NUL bytes, no newline at the end. */
static void test_bounds(void **state)
{
	size_t len = 0, room = 1 << 20;
	char *text = malloc(room), err[256];
	struct config *c = NULL;

	memset(text, 'a', 5000);
	assert_true(config_parse(text, 5000, "f", &c, err, sizeof(err)) < 0);
	assert_non_null(strstr(err, "f:1: line too long"));
	assert_true(config_parse("[proxy.pool p]\n\0\n", 17, "f", &c, err, sizeof(err)) < 0);
	assert_non_null(strstr(err, "f:2: "));
	snprintf(text, room, "[proxy.pool %064d]\n", 1);
	assert_true(config_parse(text, strlen(text), "f", &c, err, sizeof(err)) < 0);
	for (int i = 0; i < CONFIG_MAX_ROWS + 1; i++)
		len += (size_t)snprintf(text + len, room - len, "[proxy.pool p%d]\n", i);
	assert_true(config_parse(text, len, "f", &c, err, sizeof(err)) < 0);
	snprintf(text + len, room - len, "f:%d: ", CONFIG_MAX_ROWS + 1);
	assert_non_null(strstr(err, text + len));
	assert_int_equal(config_parse("[proxy.pool p]", 14, "f", &c, err, sizeof(err)), 0);
	assert_int_equal(c->npools, 1);
	config_free(c);
	free(text);
}

/** A good file with bytes and lines changed: taken or refused, with a reason, and nothing else. */
static void test_noise(void **state)
{
	static const char good[] =
	    P L "hook = sni\nfirst_bytes = 512\n" B
		"[proxy.route r]\nlistener = l\npool = p\nhost = *.a.b\n[tunables]\nx = y\n";
	uint64_t r = 88172645463325252ull;
	unsigned int taken = 0;

	for (int round = 0; round < 20000; round++) {
		char text[sizeof(good)], err[64], *exact;
		size_t n = sizeof(good) - 1;
		struct config *c = NULL;

		memcpy(text, good, sizeof(good));
		for (int i = round % 4; i >= 0; i--) {
			r ^= r << 13;
			r ^= r >> 7;
			r ^= r << 17;
			text[r % n] = (r >> 20 & 3) != 0 ? good[(r >> 32) % n] : (char)(r >> 24);
			if ((r >> 22) % 64 == 0)
				n = 1 + r % n;
		}
		exact = malloc(n); /* not a byte behind it */
		memcpy(exact, text, n);
		if (config_parse(exact, n, "f", &c, err, sizeof(err)) == 0) {
			taken++;
			config_free(c);
		} else {
			assert_null(c);
			assert_int_equal(strncmp(err, "f:", 2), 0);
		}
		free(exact);
	}
	assert_in_range(taken, 100, 19000); /* both happen */
}

static void count_line(void *arg, const char *text)
{
	if (text[0] == ' ')
		(*(unsigned int *)arg)++;
}

/** Every option stands in the help. */
static void test_help(void **state)
{
	unsigned int n = 0, want = 0;

#define X(...) want++;
	PROXY_GLOBAL_OPTIONS(X)
	PROXY_LISTENER_OPTIONS(X)
	PROXY_POOL_OPTIONS(X)
	PROXY_BACKEND_OPTIONS(X)
#undef X
	config_help(count_line, &n);
	assert_int_equal(n, want);
}

/** The ring of the access log: order, and what is too much is refused. */
static void test_access(void **state)
{
	struct access_record r = {.listener = "l", .backend = "b", .client.ss_family = AF_INET};
	struct access_log a;
	char line[400];

	assert_int_equal(access_init(&a), 0);
	a.head = a.tail = UINT32_MAX - 10; /* the counts wrap */
	for (uint32_t i = 0; i < ACCESS_RECORDS; i++) {
		r.retries = i;
		assert_true(access_push(&a, &r));
	}
	assert_false(access_push(&a, &r));
	for (uint32_t i = 0; i < ACCESS_RECORDS; i++) {
		assert_true(access_pop(&a, &r));
		assert_int_equal(r.retries, i);
	}
	assert_false(access_pop(&a, &r));
	r.duration = 1500000;
	r.to_client = 7;
	r.reason = REASON_IDLE;
	r.retries = 1;
	access_line(&r, line, sizeof(line));
	assert_string_equal(
	    line, "0.0.0.0:0 l b to_backend=0 to_client=7 ms=1.500 retries=1 end=idle\n");
	assert_int_equal(access_line(&r, line, 10), 9);
	access_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_all),
	    cmocka_unit_test(test_mistakes),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_noise),
	    cmocka_unit_test(test_help),
	    cmocka_unit_test(test_access),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
