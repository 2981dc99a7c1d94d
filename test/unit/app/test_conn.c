/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The payload check of testtcp must bite: two conns of one connection with a made-up transport
 * between them; each byte that is changed, lost, doubled or moved, or of another connection, is an
 * error. And the order of latencies with depth > 1.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../../app/testtcp/testtcp.h"

const char *app_name = "test_conn";
uint64_t app_ns_per_cycle_q32 = 1ull << 32; /* a cycle is a nanosecond */

void app_err(const char *fmt, ...)
{
}

static char line[4096];
static size_t nline, limit;

static ssize_t line_send(struct conn *c, size_t n)
{
	if (nline == limit)
		return -EAGAIN;
	n = n < limit - nline ? n : limit - nline;
	memcpy(line + nline, pattern + c->tx_idx, n);
	nline += n;
	return (ssize_t)n;
}

static void line_close(struct conn *c)
{
	conn_gone(c);
}

static const struct transport transport_line = {
    .name = "line", .send = line_send, .close = line_close};
static struct config cfg = {.verify = true, .depth = 3, .req = 10, .resp = 10};
static struct endpoint client = {.name = "client", .client = true, .cfg = &cfg},
		       server = {.name = "server", .cfg = &cfg};
static struct shard cs, ss;

static struct conn *make(struct endpoint *ep, struct shard *sh, uint16_t port)
{
	struct sockaddr_in in = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000001), .sin_port = htons(port)};
	struct conn *c;

	sh->ep = ep;
	sh->cfg = &cfg;
	sh->tp = &transport_line;
	sh->engine = &engine_connect;
	sh->role = ep->client ? &engine_connect.client : &engine_connect.server;
	c = conn_new(sh);
	assert_non_null(c);
	conn_place(c, (struct sockaddr *)&in);
	return c;
}

static int setup(void **state)
{
	memset(&cs, 0, sizeof(cs));
	memset(&ss, 0, sizeof(ss));
	TAILQ_INIT(&cs.conns);
	TAILQ_INIT(&cs.fresh);
	TAILQ_INIT(&cs.starved);
	TAILQ_INIT(&cs.dead);
	TAILQ_INIT(&ss.conns);
	TAILQ_INIT(&ss.fresh);
	TAILQ_INIT(&ss.starved);
	TAILQ_INIT(&ss.dead);
	nline = 0;
	limit = sizeof(line);
	return 0;
}

static void end(struct conn *c)
{
	struct shard *sh = c->sh;

	c->open = true;
	sh->established++;
	conn_close(c);
	assert_int_equal(sh->live, 0);
	conn_reap(sh);
}

/** Clean bytes in odd pieces give no error; the receiver's place wraps around the pattern with the
 * sender's. */
static void test_clean(void **state)
{
	struct conn *c = make(&client, &cs, 1000), *s = make(&server, &ss, 1000);
	uint64_t sent = 0;

	while (sent < 3 * PATTERN_LEN) {
		limit = 1 + sent % 4000;
		nline = 0;
		c->blocked = false;
		if (c->tx_want == 0)
			conn_send(c, 100000);
		else
			conn_push(c);
		conn_check(s, line, nline / 3);
		conn_check(s, line + nline / 3, nline - nline / 3);
		sent += nline;
	}
	assert_int_equal(ss.stats.errors, 0);
	assert_int_equal(cs.stats.tx_bytes, sent);
	end(c);
	end(s);
}

static void test_bites(void **state)
{
	for (int kind = 0; kind < 5; kind++) {
		struct conn *c, *s;

		setup(state);
		c = make(&client, &cs, 1000);
		s = make(&server, &ss, kind == 4 ? 1001 : 1000);
		conn_send(c, 1000);
		if (kind == 0)
			line[500] ^= 1;
		if (kind == 1) /* lost */
			memmove(line + 500, line + 501, 499);
		if (kind == 2) /* doubled */
			memmove(line + 501, line + 500, 499);
		if (kind == 3) { /* swapped halves */
			char half[500];

			memcpy(half, line, 500);
			memmove(line, line + 500, 500);
			memcpy(line + 500, half, 500);
		}
		conn_check(s, line, 1000);
		if (kind == 0)
			assert_int_equal(ss.stats.errors, 1);
		else
			assert_true(ss.stats.errors > 400);
		end(c);
		end(s);
	}
}

/** Answers come in the order of requests, so each takes the oldest time. */
static void test_latency(void **state)
{
	struct conn *c = make(&client, &cs, 1000);

	hist_reset(&cs.hist);
	cs.phase = PH_MEASURE;
	for (uint64_t i = 0; i < 10; i++) {
		conn_request(c, 100 * i);
		conn_request(c, 100 * i + 10);
		assert_int_equal(c->inflight, i == 0 ? 2 : 3);
		conn_answered(c, (i == 0 ? 0 : 100 * i - 90) + 20);
		if (i > 0)
			conn_answered(c, 100 * i + 20);
	}
	assert_int_equal(cs.hist.min, 20);
	assert_int_equal(cs.hist.max, 20);
	assert_int_equal(cs.hist.count, 19);
	assert_int_equal(cs.inflight, 1);
	end(c);
	assert_int_equal(cs.inflight, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_clean, setup),
	    cmocka_unit_test_setup(test_bites, setup),
	    cmocka_unit_test_setup(test_latency, setup),
	};

	pattern = malloc(PATTERN_LEN + PATTERN_PIECE);
	if (pattern == NULL)
		return 1;
	pattern_fill(pattern);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
