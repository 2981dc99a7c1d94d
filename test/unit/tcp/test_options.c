/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP options: each kind, each wrong length, each cut; in buffers that end where the header ends,
 * so that one byte too far is a report of the sanitizer. */
#include "script.h"

static struct script *scr;

static int setup(void **state)
{
	scr = script_start(NULL);
	return 0;
}

static int teardown(void **state)
{
	script_stop(scr);
	return 0;
}

/* Parses a header with these options; returns whether it was counted as malformed. */
static bool parse(const uint8_t *opt, unsigned int len, bool syn, struct sl_opts *o)
{
	uint64_t before = scr->sq->ctr.tcp_in_bad_opts;
	uint8_t *h = malloc(20 + len);

	assert_non_null(h);
	memset(h, 0, 20);
	if (len > 0)
		memcpy(h + 20, opt, len);
	sl_opts_parse(scr->sq, h, 20 + len, syn, o);
	free(h);
	return scr->sq->ctr.tcp_in_bad_opts != before;
}

static void syn_options(void **state)
{
	static const uint8_t all[] = {
	    2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 9};
	struct sl_opts o;

	assert_false(parse(all, sizeof(all), true, &o));
	assert_int_equal(o.mss, 1460);
	assert_true(o.sack_ok && o.has_ts && o.has_wscale);
	assert_int_equal(o.wscale, 9);
	assert_int_equal(o.tsval, 0x01020304);
	assert_int_equal(o.tsecr, 0x05060708);
	/* Outside of a SYN only the timestamp means anything. */
	assert_false(parse(all, sizeof(all), false, &o));
	assert_int_equal(o.mss, 0);
	assert_false(o.sack_ok || o.has_wscale);
	assert_true(o.has_ts);
	assert_false(parse(NULL, 0, true, &o));
	assert_false(o.has_ts || o.sack_ok || o.has_wscale || o.mss != 0);
}

static void shift_is_clamped(void **state)
{
	struct sl_opts o;

	for (unsigned int s = 0; s < 256; s++) {
		uint8_t b[4] = {3, 3, (uint8_t)s, 0};

		assert_false(parse(b, 4, true, &o));
		assert_int_equal(o.wscale, s > 14 ? 14 : s);
	}
}

static void sack_blocks(void **state)
{
	uint8_t b[40] = {1, 1, 5, 34};
	struct sl_opts o;

	for (unsigned int i = 0; i < 8; i++)
		b[4 + 4 * i + 3] = (uint8_t)(i + 1);
	for (unsigned int n = 1; n <= 4; n++) {
		b[3] = (uint8_t)(2 + 8 * n);
		assert_false(parse(b, 4 + 8 * n, false, &o));
		assert_int_equal(o.nsack, n);
		for (unsigned int i = 0; i < n; i++) {
			assert_int_equal(o.sack[i].start, 2 * i + 1);
			assert_int_equal(o.sack[i].end, 2 * i + 2);
		}
		assert_false(parse(b, 4 + 8 * n, true, &o)); /* nothing in a SYN */
		assert_int_equal(o.nsack, 0);
	}
}

/* Every kind with every length, in exactly as many bytes as it says, and cut short. */
static void lengths(void **state)
{
	static const struct {
		uint8_t kind;
		uint64_t good; /* bit n: length n is right */
	} kinds[] = {{2, 1ull << 4}, {3, 1ull << 3}, {4, 1ull << 2},
	    {5, 1ull << 10 | 1ull << 18 | 1ull << 26 | 1ull << 34}, {8, 1ull << 10}, {99, ~3ull},
	    {30, ~3ull}};
	struct sl_opts o;

	for (unsigned int k = 0; k < RTE_DIM(kinds); k++) {
		for (unsigned int len = 0; len <= 40; len++) {
			uint8_t b[44] = {kinds[k].kind, (uint8_t)len};
			bool good = len >= 2 && (kinds[k].good >> len & 1);

			for (unsigned int room = 4; room <= 40; room += 4)
				for (int syn = 0; syn < 2; syn++)
					assert_int_equal(
					    parse(b, room, syn, &o), !(good && len <= room));
		}
		for (unsigned int len = 41; len < 256; len++) {
			uint8_t b[40] = {kinds[k].kind, (uint8_t)len};

			assert_true(parse(b, 40, true, &o));
		}
		{
			/* The length octet itself is missing. */
			uint8_t b[4] = {1, 1, 1, kinds[k].kind};

			assert_true(parse(b, 4, true, &o));
		}
	}
}

static void end_and_padding(void **state)
{
	static const uint8_t ended[] = {0, 2, 4, 1, 1, 1, 1, 1}, nops[] = {1, 1, 1, 1, 1, 1, 1, 1};
	static const uint8_t twice[] = {
	    8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0};
	static const uint8_t broken_after[] = {2, 4, 1, 0, 8, 9, 0, 0};
	static const uint8_t usual[] = {1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 8};
	struct sl_opts o;

	assert_false(parse(ended, sizeof(ended), true, &o));
	assert_int_equal(o.mss, 0);
	assert_false(parse(nops, sizeof(nops), true, &o));
	assert_false(parse(twice, sizeof(twice), false, &o));
	assert_int_equal(o.tsval, 1); /* the first counts */
	assert_true(parse(broken_after, sizeof(broken_after), true, &o));
	assert_int_equal(o.mss, 256); /* what came before the fault stands */
	assert_false(parse(usual, sizeof(usual), false, &o));
	assert_true(o.has_ts && o.tsval == 7 && o.tsecr == 8);
}

/* Random bytes in exact buffers: nothing but the sanitizer has an opinion, and lengths hold. */
static void noise(void **state)
{
	uint32_t x = 1;
	struct sl_opts o;

	for (int i = 0; i < 100000; i++) {
		uint8_t b[40];
		unsigned int len;

		for (unsigned int k = 0; k < sizeof(b); k++) {
			x = x * 1664525 + 1013904223;
			b[k] = (uint8_t)(x >> 24) % (i % 2 ? 12 : 255);
		}
		len = (x >> 8) % 11 * 4;
		(void)parse(b, len, i % 3 == 0, &o);
		assert_true(o.nsack <= SL_MAX_SACK && o.wscale <= 14);
	}
}

static void syn_as_written(void **state)
{
	struct sl_opts o;

	for (int bits = 0; bits < 8; bits++) {
		bool sack = bits & 1, ts = bits & 2, ws = bits & 4;
		uint8_t *p = malloc(40), *exact;
		unsigned int n = sl_opts_syn(p, 1400, sack, ts, 11, 22, ws, 6);

		assert_int_equal(n % 4, 0);
		exact = malloc(n);
		assert_int_equal(sl_opts_syn(exact, 1400, sack, ts, 11, 22, ws, 6), n);
		assert_memory_equal(exact, p, n);
		assert_int_equal(p[0], 2); /* MSS first */
		if (bits == 7) {
			static const uint8_t kinds[] = {2, 4, 8, 1, 3};

			assert_int_equal(n, 20);
			assert_int_equal(p[4], kinds[1]);
			assert_int_equal(p[6], kinds[2]);
			assert_int_equal(p[16], kinds[3]);
			assert_int_equal(p[17], kinds[4]);
		}
		assert_false(parse(p, n, true, &o));
		assert_int_equal(o.mss, 1400);
		assert_int_equal(o.sack_ok, sack);
		assert_int_equal(o.has_ts, ts);
		assert_int_equal(o.has_wscale, ws);
		if (ts)
			assert_true(o.tsval == 11 && o.tsecr == 22);
		if (ws)
			assert_int_equal(o.wscale, 6);
		free(p);
		free(exact);
	}
}

/* What is written and what its length was said to be, for connections of all kinds. */
static void established_as_written(void **state)
{
	for (int bits = 0; bits < 8; bits++) {
		struct sl_conn *c = sl_conn_alloc(scr->sq, AF_INET, 0);
		struct sl_opts o;
		uint8_t *p;
		unsigned int n;

		c->flags |= (bits & 1 ? SL_C_TS : 0) | (bits & 2 ? SL_C_SACK : 0);
		c->rcvbuf = 1 << 20;
		c->rcv_nxt = 0;
		c->ts_recent = 77;
		if (bits & 4) {
			for (uint32_t i = 0; i < 6; i++) {
				struct rte_mbuf *m = rte_pktmbuf_alloc(scr->pool);
				struct sl_seg seg = {.m = m, .seq = 1000 + i * 200, .len = 100};

				rte_pktmbuf_append(m, 100);
				sl_rcv_data(scr->sq, c, &seg);
			}
			sl_rcv_dsack(c, 10, 20);
		}
		n = sl_opts_len(c);
		p = malloc(n > 0 ? n : 1);
		assert_int_equal(sl_opts_established(c, p, 99), n);
		assert_false(parse(p, n, false, &o));
		assert_int_equal(o.has_ts, bits & 1);
		if (o.has_ts)
			assert_true(o.tsval == 99 && o.tsecr == 77);
		assert_int_equal(o.nsack, (bits & 6) != 6 ? 0 : bits & 1 ? 3 : 4);
		if (o.nsack > 0) {
			assert_int_equal(o.sack[0].start, 10); /* the DSACK, then the newest */
			assert_int_equal(o.sack[1].start, 2000);
			assert_int_equal(o.sack[2].start, 1800);
		}
		free(p);
		sl_conn_free(scr->sq, c);
	}
}

/* The clock of a connection's timestamps begins at a number of the address pair's own, and not at
 * that of the stack's clock, which would tell how long it has run. */
static void timestamps_begin_elsewhere(void **state)
{
	struct script *s = script_start(NULL);
	uint32_t ms = (uint32_t)(s->now / 1000000);

	script_connect_syn(s);
	assert_true(s->out[0].ts);
	assert_int_not_equal(s->out[0].tsval - ms, 0);
	assert_int_equal(s->out[0].tsval - ms, script_conn(s)->ts_offset);
	script_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(syn_options),
	    cmocka_unit_test(shift_is_clamped),
	    cmocka_unit_test(sack_blocks),
	    cmocka_unit_test(lengths),
	    cmocka_unit_test(end_and_padding),
	    cmocka_unit_test(noise),
	    cmocka_unit_test(syn_as_written),
	    cmocka_unit_test(established_as_written),
	    cmocka_unit_test(timestamps_begin_elsewhere),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
