/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The payload check of testtcp must bite: two conns of one connection with a made-up transport
 * between them; each byte that is changed, lost, doubled or moved, or of another connection, is an
 * error. The order of latencies with depth > 1. Who closes, and how, in crr. Responses of HTTP
 * servers in pieces of all sizes.
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

static unsigned int finished, closed, reset;
static uint64_t unacked;

static void line_finish(struct conn *c)
{
	finished++;
}

static void line_close(struct conn *c)
{
	closed++;
	conn_gone(c);
}

static void line_reset(struct conn *c)
{
	reset++;
	conn_gone(c);
}

static uint64_t line_unacked(struct conn *c)
{
	return unacked;
}

static const struct transport transport_line = {.name = "line",
    .send = line_send,
    .finish = line_finish,
    .close = line_close,
    .reset = line_reset,
    .unacked = line_unacked};
static struct config cfg = {.verify = true, .depth = 3, .req = 10, .resp = 10};
static struct endpoint client = {.name = "client", .client = true, .cfg = &cfg},
		       server = {.name = "server", .cfg = &cfg};
static struct shard cs, ss;

static struct conn *make_for(
    const struct engine *e, struct endpoint *ep, struct shard *sh, uint16_t port)
{
	struct sockaddr_in in = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000001), .sin_port = htons(port)};
	struct conn *c;

	sh->ep = ep;
	sh->cfg = &cfg;
	sh->tp = &transport_line;
	sh->engine = e;
	sh->reopen = e->reopen;
	sh->role = ep->client ? &e->client : &e->server;
	c = conn_new(sh);
	assert_non_null(c);
	conn_place(c, (struct sockaddr *)&in);
	return c;
}

static struct conn *make(struct endpoint *ep, struct shard *sh, uint16_t port)
{
	return make_for(&engine_connect, ep, sh, port);
}

static void clear(struct shard *sh)
{
	memset(sh, 0, sizeof(*sh));
	TAILQ_INIT(&sh->conns);
	TAILQ_INIT(&sh->fresh);
	TAILQ_INIT(&sh->starved);
	TAILQ_INIT(&sh->resetting);
	TAILQ_INIT(&sh->dead);
	hist_reset(&sh->hist);
}

static int setup(void **state)
{
	clear(&cs);
	clear(&ss);
	cfg = (struct config){.verify = true, .depth = 3, .req = 10, .resp = 10};
	pattern_fill(pattern);
	pattern_len = PATTERN_LEN;
	nline = 0;
	limit = sizeof(line);
	finished = closed = reset = 0;
	unacked = 0;
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

/** All connections carry the same bytes behind a NAT; an echo is what was sent. */
static void test_places(void **state)
{
	struct conn *c, *s;

	cfg.nat = true;
	c = make(&client, &cs, 1000);
	s = make(&server, &ss, 2000);
	assert_true(c->tx_idx == s->rx_idx && c->rx_idx == s->tx_idx);
	end(c);
	end(s);
	cfg.nat = false;
	cfg.proto = PROTO_ECHO;
	c = make(&client, &cs, 1000);
	assert_true(c->tx_idx == c->rx_idx && c->tx_idx != 0);
	conn_send(c, 1000);
	conn_check(c, line, 1000);
	assert_int_equal(cs.stats.errors, 0);
	end(c);
}

/* ---- crr ---- */

static struct conn *crr_client(void)
{
	struct conn *c = make_for(&engine_crr, &client, &cs, 1000);

	cs.phase = PH_MEASURE;
	cs.opening = 1;
	c->when1 = rte_rdtsc();
	conn_opened(c);
	assert_true(c->inflight == 1 && nline == 10);
	return c;
}

static struct conn *crr_server(void)
{
	struct conn *c = make_for(&engine_crr, &server, &ss, 1000);

	ss.phase = PH_MEASURE;
	conn_opened(c);
	return c;
}

static void crr_over(struct shard *sh, uint64_t transactions, uint64_t lost)
{
	assert_int_equal(sh->stats.transactions, transactions);
	assert_int_equal(sh->stats.lost, lost);
	assert_int_equal(sh->stats.errors, 0);
	assert_int_equal(sh->inflight + sh->established + sh->live, 0);
	conn_reap(sh);
}

static void test_crr_client_closes(void **state)
{
	struct conn *c = crr_client(), *s = crr_server();

	cfg.depth = 1;
	conn_received(s, 9);
	assert_int_equal(ss.stats.transactions, 0);
	conn_received(s, 1);
	conn_received(c, 10);
	assert_true(finished == 1 && closed == 0 && cs.stats.transactions == 0);
	conn_ended(s);
	assert_int_equal(closed, 1);
	crr_over(&ss, 1, 0);
	conn_ended(c);
	assert_true(closed == 2 && finished == 1 && reset == 0);
	crr_over(&cs, 1, 0);
	assert_int_equal(cs.hist.count, 1);

	setup(NULL);
	cfg.close_with = CLOSE_RST;
	c = crr_client();
	s = crr_server();
	conn_received(s, 10);
	conn_received(c, 10);
	assert_true(finished == 0 && closed == 0 && reset == 1);
	crr_over(&cs, 1, 0);
	conn_lost(s, ECONNRESET);
	crr_over(&ss, 1, 0);
}

static void test_crr_server_closes(void **state)
{
	struct conn *c, *s;

	cfg.close = CLOSE_SERVER;
	c = crr_client();
	s = crr_server();
	limit = nline + 4; /* the response waits for room */
	conn_received(s, 10);
	assert_true(closed == 0 && s->blocked && s->tx_want == 6);
	limit = sizeof(line);
	s->blocked = false;
	conn_push(s);
	engine_crr.server.writable(s);
	assert_int_equal(closed, 1);
	conn_received(c, 10);
	assert_int_equal(finished, 0);
	conn_ended(c);
	assert_true(closed == 2 && finished == 0);
	crr_over(&cs, 1, 0);
	crr_over(&ss, 1, 0);

	setup(NULL);
	cfg.close = CLOSE_SERVER;
	cfg.close_with = CLOSE_RST;
	c = crr_client();
	s = crr_server();
	unacked = 10;
	conn_received(s, 10);
	shard_tick(&ss);
	assert_int_equal(reset, 0); /* a RST would overtake the response */
	unacked = 0;
	shard_tick(&ss);
	assert_int_equal(reset, 1);
	crr_over(&ss, 1, 0);
	conn_received(c, 10);
	conn_lost(c, ECONNRESET);
	crr_over(&cs, 1, 0);
}

/** What ends early, or by a RST that was not asked for, is lost; too many bytes are wrong. */
static void test_crr_faults(void **state)
{
	struct conn *c = crr_client();

	conn_received(c, 9);
	conn_ended(c);
	crr_over(&cs, 0, 1);
	setup(NULL);
	c = crr_client();
	conn_received(c, 10);
	conn_lost(c, ECONNRESET);
	crr_over(&cs, 0, 1);
	setup(NULL);
	cfg.close = CLOSE_SERVER;
	cfg.close_with = CLOSE_RST;
	c = crr_client();
	conn_received(c, 9);
	conn_lost(c, ECONNRESET);
	crr_over(&cs, 0, 1);
	setup(NULL);
	c = crr_server();
	conn_ended(c);
	crr_over(&ss, 0, 1);
	setup(NULL);
	c = crr_client();
	conn_received(c, 12);
	assert_int_equal(cs.stats.errors, 2);
	conn_ended(c);
	conn_reap(&cs);
}

/** Numbers in all: so many are opened, then none; a pace holds them back. */
static int never(struct conn *c)
{
	return 0;
}

static void test_opening(void **state)
{
	struct transport t = transport_line;
	struct conn *c;

	t.open = never;
	cfg.opening = 100;
	make_for(&engine_crr, &client, &cs, 1);
	conn_close(TAILQ_FIRST(&cs.conns));
	cs.opening = 0;
	cs.tp = &t;
	cs.target = 4;
	cs.quota = 6;
	shard_tick(&cs);
	assert_true(cs.live == 4 && cs.quota == 2 && cs.shown_done == 0);
	while ((c = TAILQ_FIRST(&cs.conns)) != NULL)
		conn_close(c);
	shard_tick(&cs);
	assert_true(cs.live == 2 && cs.quota == 0);
	while ((c = TAILQ_FIRST(&cs.conns)) != NULL)
		conn_close(c);
	shard_tick(&cs);
	assert_true(cs.live == 0 && cs.shown_done == 1);
	/* A slow ramp gives one at once and no more. */
	cs.quota = UINT64_MAX;
	cs.ramp.step = 1ull << 60; /* hours */
	shard_tick(&cs);
	shard_tick(&cs);
	assert_true(cs.live == 1 && cs.grown == 1);
	conn_close(TAILQ_FIRST(&cs.conns));
	conn_reap(&cs);
}

static void test_pace(void **state)
{
	struct pace p = {.step = (3ull << 16) / 2}; /* 1.5 cycles */

	assert_true(pace_ready(&p, 100));
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(pace_step(&p), 100 + i * 3 / 2);
	assert_false(pace_ready(&p, 100 + 1499));
	assert_true(pace_ready(&p, 100 + 1500));
}

/* ---- http ---- */

static struct conn *http_conn(void)
{
	cfg.proto = PROTO_HTTP;
	cfg.path = "/x";
	cfg.depth = 1;
	app_parse_addr("10.0.0.2", 0, &client.servers.first);
	client.servers.n = 1;
	client.servers.port[0] = client.servers.port[1] = 80;
	assert_int_equal(http_make(&cfg, &client, true), 0);
	make_for(&engine_crr, &client, &cs, 1);
	cs.role = http_role(&engine_crr.client);
	cs.phase = PH_MEASURE;
	cs.opening = 1;
	conn_opened(TAILQ_FIRST(&cs.conns));
	return TAILQ_FIRST(&cs.conns);
}

static const char OK_LENGTH[] = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello";
static const char OK_CHUNKS[] = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"
				"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n"
				"T: v\r\n\r\n";

/** One response, fed in pieces: complete at the last byte and not before. */
static void feed(const char *text, size_t len, size_t piece)
{
	struct conn *c = http_conn();

	assert_memory_equal(line, "GET /x HTTP/1.1\r\nHost: 10.0.0.2:80\r\n", 36);
	assert_int_equal(nline, cfg.req);
	for (size_t i = 0; i < len; i += piece) {
		size_t n = len - i < piece ? len - i : piece;

		assert_int_equal(c->rx_have, 0);
		conn_check(c, text + i, n);
		conn_received(c, n);
	}
	assert_int_equal(c->rx_have, 1);
	assert_int_equal(finished, 1);
	assert_int_equal(cs.stats.errors, 0);
	conn_ended(c);
	crr_over(&cs, 1, 0);
}

static void test_http(void **state)
{
	for (size_t piece = 1; piece < 200; piece++) {
		setup(NULL);
		feed(OK_LENGTH, sizeof(OK_LENGTH) - 1, piece);
		cs.http_sum = 0;
		setup(NULL);
		feed(OK_CHUNKS, sizeof(OK_CHUNKS) - 1, piece);
	}
}

static void test_http_faults(void **state)
{
	static const char *const bad[] = {
	    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
	    "HTTP/1.1 200 OK\r\n\r\nhello",
	    "220 mail ESMTP\r\n",
	    "HTTP/1.1 200 OK\r\nno header\r\n",
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct conn *c;

		setup(NULL);
		c = http_conn();
		conn_check(c, bad[i], strlen(bad[i]));
		assert_int_equal(cs.stats.errors, 1);
		conn_received(c, strlen(bad[i]));
		assert_int_equal(cs.stats.lost, 1);
		assert_int_equal(cs.live, 0);
		conn_reap(&cs);
	}
	/* Bodies that differ. */
	setup(NULL);
	feed(OK_LENGTH, sizeof(OK_LENGTH) - 1, 7);
	{
		struct conn *c = http_conn();
		char other[sizeof(OK_LENGTH)];

		memcpy(other, OK_LENGTH, sizeof(other));
		other[sizeof(other) - 2] ^= 1;
		conn_check(c, other, sizeof(other) - 1);
		assert_int_equal(cs.stats.errors, 1);
		conn_close(c);
		conn_reap(&cs);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_clean, setup),
	    cmocka_unit_test_setup(test_bites, setup),
	    cmocka_unit_test_setup(test_latency, setup),
	    cmocka_unit_test_setup(test_places, setup),
	    cmocka_unit_test_setup(test_pace, setup),
	    cmocka_unit_test_setup(test_opening, setup),
	    cmocka_unit_test_setup(test_crr_client_closes, setup),
	    cmocka_unit_test_setup(test_crr_server_closes, setup),
	    cmocka_unit_test_setup(test_crr_faults, setup),
	    cmocka_unit_test_setup(test_http, setup),
	    cmocka_unit_test_setup(test_http_faults, setup),
	};

	pattern = malloc(PATTERN_LEN + PATTERN_PIECE);
	if (pattern == NULL)
		return 1;
	pattern_fill(pattern);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
