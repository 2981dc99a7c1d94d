/* SPDX-License-Identifier: BSD-3-Clause */
/* The pure parts of the applications: histogram against sorted values, words to numbers and
 * addresses, option table. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>

#include "../../../app/common/parse.h"
#include "../../../app/testtcp/hist.h"
#include "../../../app/testtcp/opts.h"

static uint64_t rnd = 88172645463325252ull;

static uint64_t next_random(void)
{
	rnd ^= rnd << 13;
	rnd ^= rnd >> 7;
	rnd ^= rnd << 17;
	return rnd;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/** Buckets cover all values without gap or overlap, each at most 1/32 wide. */
static void test_hist_buckets(void **state)
{
	assert_int_equal(hist_index(0), 0);
	assert_int_equal(hist_index(UINT64_MAX), HIST_BUCKETS - 1);
	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		uint64_t low = hist_low(i);
		uint64_t high = i + 1 < HIST_BUCKETS ? hist_low(i + 1) - 1 : UINT64_MAX;

		assert_true(high >= low);
		assert_int_equal(hist_index(low), i);
		assert_int_equal(hist_index(high), i);
		assert_true(high - low <= low / 32);
	}
}

/** Quantiles against a sorted array: never below the true value, above by at most 1/32. */
static void test_hist_quantiles(void **state)
{
	enum {
		N = 20000
	};
	static const double q[] = {0, 0.01, 0.5, 0.9, 0.99, 0.999, 1};
	static uint64_t v[N];
	static struct hist a, b;

	hist_reset(&a);
	hist_reset(&b);
	assert_int_equal(hist_quantile(&a, 0.5), 0);
	for (unsigned int i = 0; i < N; i++) {
		v[i] = next_random() >> (next_random() % 60);
		hist_record(i % 3 != 0 ? &a : &b, v[i]);
	}
	hist_merge(&a, &b);
	qsort(v, N, sizeof(v[0]), compare);
	assert_int_equal(a.count, N);
	assert_true(a.min == v[0] && a.max == v[N - 1]);
	for (size_t i = 0; i < sizeof(q) / sizeof(q[0]); i++) {
		double rank = q[i] * N;
		size_t k = (size_t)rank;
		uint64_t is, got = hist_quantile(&a, q[i]);

		if ((double)k < rank)
			k++;
		is = v[k == 0 ? 0 : k - 1];
		assert_true(got >= is);
		assert_true(got - is <= is / 32);
	}
}

static void test_sizes(void **state)
{
	uint64_t v = 7, w = 7;
	bool both;

	assert_int_equal(app_parse_size("64", 1 << 30, &v), 0);
	assert_int_equal(v, 64);
	assert_int_equal(app_parse_size("64k", 1 << 30, &v), 0);
	assert_int_equal(v, 65536);
	assert_int_equal(app_parse_size("1G", 1 << 30, &v), 0);
	assert_int_equal(v, 1 << 30);
	assert_int_equal(app_parse_size("2g", 1 << 30, &v), -ERANGE);
	assert_int_equal(app_parse_size("99999999999999999999", UINT64_MAX, &v), -ERANGE);
	assert_int_equal(app_parse_size("16777216t", UINT64_MAX, &v), -EINVAL);
	assert_int_equal(app_parse_size("64kk", 1 << 30, &v), -EINVAL);
	assert_int_equal(app_parse_size("-1", 1 << 30, &v), -EINVAL);
	assert_int_equal(app_parse_size("", 1 << 30, &v), -EINVAL);
	assert_int_equal(app_parse_sizes("100,2k", 1 << 30, &v, &w, &both), 0);
	assert_true(both && v == 100 && w == 2048);
	w = 5;
	assert_int_equal(app_parse_sizes("8", 1 << 30, &v, &w, &both), 0);
	assert_true(!both && v == 8 && w == 5);
	assert_int_equal(app_parse_sizes("8,", 1 << 30, &v, &w, &both), -EINVAL);
	assert_int_equal(app_parse_sizes(",8", 1 << 30, &v, &w, &both), -EINVAL);
	assert_true(v == 8 && w == 5);
}

static void test_times(void **state)
{
	uint64_t v;

	assert_int_equal(app_parse_time("10", &v), 0);
	assert_int_equal(v, 10000000000ull);
	assert_int_equal(app_parse_time("0.5", &v), 0);
	assert_int_equal(v, 500000000ull);
	assert_int_equal(app_parse_time("250us", &v), 0);
	assert_int_equal(v, 250000);
	assert_int_equal(app_parse_time("2min", &v), 0);
	assert_int_equal(v, 120000000000ull);
	assert_int_equal(app_parse_time("1h", &v), -EINVAL);
	assert_int_equal(app_parse_time("-1", &v), -EINVAL);
	assert_int_equal(app_parse_time("1e30", &v), -ERANGE);
}

static void test_addresses(void **state)
{
	struct sockaddr_storage ss;
	char text[INET6_ADDRSTRLEN];
	unsigned int len;
	uint32_t n;

	assert_int_equal(app_parse_addr("10.1.2.3", 80, &ss), 0);
	assert_int_equal(((struct sockaddr_in *)&ss)->sin_port, htons(80));
	assert_int_equal(app_parse_addr("10.1.2", 80, &ss), -EINVAL);
	assert_int_equal(app_parse_prefix("2001:db8::1/64", &ss, &len), 0);
	assert_int_equal(len, 64);
	assert_int_equal(app_parse_prefix("10.0.0.1/33", &ss, &len), -EINVAL);
	assert_int_equal(app_parse_prefix("10.0.0.1", &ss, &len), -EINVAL);
	assert_int_equal(app_parse_range("10.0.0.250-10.0.1.3", 1024, &ss, &n), 0);
	assert_int_equal(n, 10);
	app_addr_add(&ss, 9);
	assert_string_equal(app_addr_text(&ss, text, sizeof(text)), "10.0.1.3");
	assert_int_equal(app_parse_range("fd00::1-fd00::ff", 1024, &ss, &n), 0);
	assert_int_equal(n, 255);
	assert_int_equal(app_parse_range("fd00::1-fd01::ff", 1024, &ss, &n), -EINVAL);
	assert_int_equal(app_parse_range("10.0.0.2-10.0.0.1", 1024, &ss, &n), -EINVAL);
	assert_int_equal(app_parse_range("10.0.0.1-fd00::1", 1024, &ss, &n), -EINVAL);
	assert_int_equal(app_parse_range("10.0.0.1-10.1.0.1", 1024, &ss, &n), -ERANGE);
}

/** Each member of a span once: addresses first, then the next port. */
static void test_spans(void **state)
{
	struct app_span s, untouched;
	struct sockaddr_storage ss;
	char text[INET6_ADDRSTRLEN];

	assert_int_equal(app_parse_span("10.0.0.254-10.0.1.1:80-82", 65536, &s), 0);
	assert_true(s.n == 4 && s.port[0] == 80 && s.port[1] == 82);
	assert_int_equal(app_span_ports(&s), 3);
	for (unsigned int i = 0; i < 24; i++) {
		static const char *const addr[] = {
		    "10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1"};

		app_span_at(&s, i, &ss);
		assert_string_equal(app_addr_text(&ss, text, sizeof(text)), addr[i % 4]);
		assert_int_equal(ntohs(((struct sockaddr_in *)&ss)->sin_port), 80 + i / 4 % 3);
	}
	assert_int_equal(app_parse_span("10.0.0.1", 1, &s), 0);
	assert_true(s.n == 1 && s.port[0] == 0 && app_span_ports(&s) == 1);
	assert_int_equal(app_parse_span("10.0.0.1:7", 1, &s), 0);
	assert_true(s.port[0] == 7 && s.port[1] == 7);
	assert_int_equal(app_parse_span("fd00::1-fd00::9", 9, &s), 0);
	assert_true(s.n == 9 && s.port[0] == 0);
	assert_int_equal(app_parse_span("[fd00::1-fd00::9]:1-65535", 9, &s), 0);
	assert_true(s.n == 9 && s.port[0] == 1 && s.port[1] == 65535);
	assert_int_equal(app_parse_span("[fd00::1]-[fd00::2]:443", 9, &s), 0);
	assert_true(s.n == 2 && s.port[0] == 443);
	app_span_at(&s, 3, &ss);
	assert_string_equal(app_addr_text(&ss, text, sizeof(text)), "fd00::2");
	assert_int_equal(ntohs(((struct sockaddr_in6 *)&ss)->sin6_port), 443);
	assert_int_equal(app_parse_span("[::1]", 9, &s), 0);
	assert_true(s.n == 1 && s.port[0] == 0);
	untouched = s;
	assert_int_equal(app_parse_span("10.0.0.1-10.0.0.9", 8, &s), -ERANGE);
	static const char *const bad[] = {"", ":", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536",
	    "10.0.0.1:9-8", "10.0.0.1:8-", "10.0.0.1:-8", "10.0.0.1:8-9-10", "10.0.0.1:8x",
	    "10.0.0.2-10.0.0.1:8", "[10.0.0.1]:8", "[fd00::1", "fd00::1]", "[fd00::1]8",
	    "[fd00::1]:", "[fd00::1]:8:9", "fd00::1]:8", "x[fd00::1]:8", "10.0.0.1-fd00::1"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(app_parse_span(bad[i], 65536, &s), -EINVAL);
	assert_memory_equal(&s, &untouched, sizeof(s));
}

#define MAX_WORDS 16

static int parse(struct config *c, const char *line, char err[200])
{
	static char copy[400];
	char *argv[MAX_WORDS], *save = NULL;
	int argc = 1;

	snprintf(copy, sizeof(copy), "%s", line);
	argv[0] = copy;
	err[0] = '\0';
	for (char *w = strtok_r(copy, " ", &save); w != NULL && argc < MAX_WORDS;
	     w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	return opts_parse(c, argc, argv, err, 200);
}

static void test_options(void **state)
{
	struct config c;
	char err[200];

	assert_int_equal(parse(&c, "", err), 0);
	assert_true(c.role == ROLE_BOTH && c.link == LINK_WIRE && c.stack == STACK_SLUICE &&
		    c.checksum && !c.offload);
	assert_true(c.connections == 1 && c.depth == 1 && c.duration == 10000000000ull);
	assert_int_equal(parse(&c,
			     "--role=both --engine stream --size 1k,2k --depth 8 --duration 3 "
			     "--verify --checksum off",
			     err),
	    0);
	assert_true(c.req == 1024 && c.resp == 2048 && c.has_resp && c.depth == 8 && c.verify &&
		    !c.checksum);
	assert_string_equal(c.engine, "stream");
	assert_int_equal(parse(&c,
			     "--role client --local 10.0.0.1-10.0.0.9 --peer 10.0.0.99 --tunable "
			     "a=1 --tunable b=2",
			     err),
	    0);
	assert_true(c.link == LINK_PORT && c.clients.n == 9 && c.ntunable == 2 && c.offload);
	assert_true(c.servers.n == 1 && c.servers.port[0] == 7000 && c.servers.port[1] == 7000);
	assert_int_equal(parse(&c, "--role server --local fd00::1 --ports 3", err), 0);
	assert_true(c.duration == 0 && c.port_id[SIDE_SERVER] == 3 && c.servers.n == 1);
	assert_int_equal(parse(&c, "--stack kernel --connections 64", err), 0);
	assert_true(c.stack == STACK_KERNEL && c.connections == 64);
}

static void test_new_options(void **state)
{
	struct config c;
	char err[200];

	assert_int_equal(
	    parse(&c,
		"--engine crr --close server --close-with rst --active 5 --connections 99 "
		"--ramp 100/s",
		err),
	    0);
	assert_true(c.close == CLOSE_SERVER && c.close_with == CLOSE_RST && c.active == 5 &&
		    c.connections == 99 && c.ramp == 100);
	assert_true(opts_given(&c, "ramp") && !opts_given(&c, "rate") && !opts_given(&c, "size"));
	assert_int_equal(parse(&c, "--active 7 --rate 12", err), 0);
	assert_true(c.connections == 7 && c.rate == 12);
	assert_int_equal(
	    parse(&c, "--link port --ports 4,9 --client-vlan 5 --server-vlan 6,7", err), 0);
	assert_true(c.port_id[SIDE_CLIENT] == 4 && c.port_id[SIDE_SERVER] == 9);
	assert_true(c.vlan[SIDE_CLIENT][0] == 5 && c.vlan[SIDE_CLIENT][1] == 0);
	assert_true(c.vlan[SIDE_SERVER][0] == 6 && c.vlan[SIDE_SERVER][1] == 7);
	assert_int_equal(parse(&c, "--gateway 10.0.0.9 --server-gateway 10.1.0.9", err), 0);
	assert_string_equal(c.side_gateway[SIDE_CLIENT], "10.0.0.9");
	assert_string_equal(c.side_gateway[SIDE_SERVER], "10.1.0.9");
	assert_int_equal(parse(&c,
			     "--clients 10.0.0.1-10.0.0.4:1000-1999 --servers "
			     "10.0.1.1:80-89 --port 5",
			     err),
	    0);
	assert_true(c.clients.n == 4 && c.clients.port[0] == 1000 && c.clients.port[1] == 1999);
	assert_true(c.servers.n == 1 && c.servers.port[0] == 80 && c.servers.port[1] == 89);
	assert_int_equal(
	    parse(&c, "--role client --clients ::2 --peer [::1]:80 --proto http", err), 0);
	assert_true(c.proto == PROTO_HTTP && c.close == CLOSE_SERVER && c.servers.port[0] == 80);
	assert_int_equal(
	    parse(&c, "--role client --local ::2 --peer ::1 --proto http --close client", err), 0);
	assert_true(c.close == CLOSE_CLIENT && c.servers.port[0] == 7000);
}

/** Every option stands in the help, under a heading, with what the parser wants. */
static void test_help(void **state)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	static const char *const some[] = {"\n  --role server|client|both ", "\n  --ramp N/s ",
	    "\n  --clients A[-B][:P-Q] ", "\n  --close client|server ", "\n  --verify "};

	assert_non_null(f);
	opts_help(f);
	fclose(f);
	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++)
		assert_non_null(strstr(text, some[i]));
	assert_int_equal(text[0], ' ');
	free(text);
}

/** Each of these is refused, with a reason that names the option. */
static void test_bad_options(void **state)
{
	static const struct {
		const char *line, *says;
	} bad[] = {
	    {"--bogus 1", "bogus"},
	    {"word", "word"},
	    {"--depth", "depth"},
	    {"--depth 0", "depth"},
	    {"--depth 12x", "depth"},
	    {"--verify=1", "verify"},
	    {"--role none", "role"},
	    {"--role serve", "role"},
	    {"--size 1x", "size"},
	    {"--local 10.0.0", "local"},
	    {"--role client --local 10.0.0.1", "peer"},
	    {"--role server", "local"},
	    {"--role server --link wire --local 10.0.0.1", "wire"},
	    {"--local 10.0.0.1 --peer fd00::1", "families"},
	    {"--link port --checksum off", "checksum"},
	    {"--rxq 2 --txq 3", "txq"},
	    {"--stack kernel --tunable a=1", "tunable"},
	    {"--duration 0", "duration"},
	    {"--ports 1,x", "ports"},
	    {"--gateway 10", "gateway"},
	    {"--client-gateway 10", "gateway"},
	    {"--clients 10.0.0.1:9-8", "clients"},
	    {"--servers 10.0.0.1:0", "servers"},
	    {"--clients 10.0.0.1 --local 10.0.0.2", "local"},
	    {"--servers 10.0.0.1 --peer 10.0.0.2", "peer"},
	    {"--servers 10.0.0.1:1-1025", "servers"},
	    {"--client-vlan 4095", "client-vlan"},
	    {"--server-vlan 1,0", "server-vlan"},
	    {"--ramp 1/m", "ramp"},
	    {"--ramp 0", "ramp"},
	    {"--rate /s", "rate"},
	    {"--close never", "close"},
	    {"--proto http", "proto"},
	    {"--role server --local 10.0.0.1 --proto echo", "proto"},
	    {"--active 9 --connections 8", "active"},
	    {"--what runs", "what"},
	};
	struct config c;
	char err[200];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse(&c, bad[i].line, err), -EINVAL);
		assert_non_null(strstr(err, bad[i].says));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hist_buckets),
	    cmocka_unit_test(test_hist_quantiles),
	    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_times),
	    cmocka_unit_test(test_addresses),
	    cmocka_unit_test(test_spans),
	    cmocka_unit_test(test_options),
	    cmocka_unit_test(test_new_options),
	    cmocka_unit_test(test_help),
	    cmocka_unit_test(test_bad_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
