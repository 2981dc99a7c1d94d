/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The receive queue against a model that has one cell per byte of the stream: who brought it first,
 * and when. Every segment carries bytes of its own value, so that a byte of the wrong copy shows.
 */
#include "script.h"

#include <base/rng.h>

#define CELLS 120000u

static struct {
	uint8_t value[CELLS];       /* of the copy that came first */
	uint32_t stamp[CELLS];      /* when it came last, 0: not yet */
	uint32_t nxt, read, beyond; /* rcv_nxt; read by the user; bytes held beyond rcv_nxt */
} model;

static struct sl_rng rng;
static struct script *scr;
static struct sl_conn *conn;
static uint32_t base;

static void open_conn(uint32_t first)
{
	scr = script_start(NULL);
	conn = sl_conn_alloc(scr->sq, AF_INET, 0);
	assert_non_null(conn);
	base = first;
	conn->state = SLUICE_ESTABLISHED;
	conn->flags |= SL_C_SACK;
	conn->rcv_nxt = conn->rcv_adv = conn->last_ack_sent = base;
	conn->rcv_adv += CELLS;
	conn->rcvbuf = 1 << 20;
	conn->mss = 1000;
	memset(&model, 0, sizeof(model));
}

static void close_conn(void)
{
	sl_conn_free(scr->sq, conn);
	script_stop(scr);
}

static struct rte_mbuf *filled(uint32_t len, uint8_t value)
{
	uint8_t b[4096];
	struct rte_mbuf *head = NULL;

	assert_true(len <= sizeof(b));
	memset(b, value, len);
	while (len > 0) {
		uint32_t n = rng.s[0] & 1 ? len : 1 + (uint32_t)sl_rng_below(&rng, len);
		struct rte_mbuf *m = tp_exact(scr->pool, b, (uint16_t)n, 0);

		(void)sl_rng_u64(&rng);
		if (head == NULL)
			head = m;
		else
			assert_int_equal(rte_pktmbuf_chain(head, m), 0);
		len -= n;
	}
	return head;
}

static bool push(uint32_t off, uint32_t len, uint8_t value, uint8_t flags)
{
	struct sl_seg seg = {.seq = base + off, .len = len, .flags = flags};
	bool in_order;

	if (len > 0)
		seg.m = filled(len, value);
	in_order = sl_rcv_data(scr->sq, conn, &seg);
	assert_null(seg.m);
	sl_rcv_check(conn);
	return in_order;
}

static void model_push(uint32_t off, uint32_t len, uint8_t value, uint32_t now)
{
	for (uint32_t i = off; i < off + len; i++) {
		if (model.stamp[i] == 0) {
			model.value[i] = value;
			model.beyond++;
		}
		model.stamp[i] = now; /* a duplicate makes its block the latest too */
	}
	while (model.nxt < CELLS && model.stamp[model.nxt] != 0) {
		model.nxt++;
		model.beyond--;
	}
}

/* A run of cells that holds `at`: its ends, and when it last changed. */
static uint32_t run_of(uint32_t at, uint32_t *start, uint32_t *end)
{
	uint32_t newest = 0;

	for (*start = at; *start > 0 && model.stamp[*start - 1] != 0; (*start)--)
		;
	for (*end = at; *end < CELLS && model.stamp[*end] != 0; (*end)++)
		;
	for (uint32_t i = *start; i < *end; i++)
		newest = RTE_MAX(newest, model.stamp[i]);
	return newest;
}

/* Each block is a whole run of the model, and they stand in the order of their last change. */
static void check_sack(uint32_t last_change)
{
	uint32_t blk[4][2], n, before = UINT32_MAX;

	sl_rcv_acked(conn);
	n = sl_rcv_sack(conn, 4, blk);
	assert_true((n == 0) == (model.beyond == 0));
	for (uint32_t i = 0; i < n; i++) {
		uint32_t start, end, stamp = run_of(blk[i][0] - base, &start, &end);

		assert_int_equal(blk[i][0] - base, start);
		assert_int_equal(blk[i][1] - base, end);
		assert_true(start > model.nxt);
		for (uint32_t j = 0; j < i; j++)
			assert_true(blk[j][0] != blk[i][0]);
		assert_true(stamp <= before);
		before = stamp;
		if (i == 0 && last_change != 0)
			assert_int_equal(stamp, last_change);
	}
}

static void read_some(uint32_t most)
{
	uint32_t len = 0, at = model.read;
	struct rte_mbuf *m = sl_rcv_take(scr->sq, conn, 1 + sl_rng_below(&rng, most), &len);

	for (const struct rte_mbuf *p = m; p != NULL; p = p->next)
		for (uint32_t i = 0; i < p->data_len; i++, at++)
			assert_int_equal(
			    *rte_pktmbuf_mtod_offset(p, const uint8_t *, i), model.value[at]);
	assert_int_equal(at - model.read, len);
	model.read = at;
	assert_true(model.read <= model.nxt);
	rte_pktmbuf_free(m);
	sl_rcv_check(conn);
}

static void one_round(uint64_t seed)
{
	uint32_t now = 0, pieces = 0;

	sl_rng_seed(&rng, seed, 1);
	/* Around 2^32, around 2^31, and anywhere. */
	open_conn(seed % 3 == 0 ? 0u - 30000 : seed % 3 == 1 ? 0x7fff0000u : (uint32_t)seed * 77);
	for (int i = 0; i < 1500; i++) {
		uint32_t len = 1 + (uint32_t)sl_rng_below(&rng, sl_rng_below(&rng, 4) ? 40 : 1500),
			 off = model.nxt, was = model.beyond, nxt = model.nxt;
		uint8_t value = (uint8_t)sl_rng_u64(&rng);

		if (sl_rng_below(&rng, 4) != 0)
			off += (uint32_t)sl_rng_below(&rng, 2500);
		if (off + len > CELLS)
			break;
		assert_int_equal(push(off, len, value, 0), off == nxt);
		model_push(off, len, value, ++now);
		assert_int_equal(conn->rcv_nxt, base + model.nxt);
		assert_int_equal(sl_rcv_ooo_bytes(conn), model.beyond);
		check_sack(off != nxt ? now : 0);
		pieces += model.beyond > was;
		if (sl_rng_below(&rng, 3) == 0)
			read_some(4000);
	}
	assert_true(pieces > 50);
	while (conn->rcvq_bytes > 0)
		read_some(4000);
	assert_int_equal(model.read, model.nxt);
	assert_int_equal(conn->rcvq_charge, 0);
	assert_int_equal(scr->sq->ctr.tcp_ooo_drop, 0);
	close_conn();
}

static void random_streams(void **state)
{
	for (uint64_t seed = 0; seed < 12; seed++)
		one_round(seed);
}

/* A segment over three holes and the blocks between them: what is new of it, and nothing else. */
static void over_several_holes(void **state)
{
	open_conn(0u - 50);
	for (uint32_t off = 100; off < 600; off += 100) {
		push(off, 20, 'a', 0);
		model_push(off, 20, 'a', off);
	}
	assert_false(push(90, 450, 'b', 0));
	model_push(90, 450, 'b', 1000);
	assert_int_equal(sl_rcv_ooo_bytes(conn), 450);
	check_sack(1000);
	assert_true(push(0, 700, 'c', 0));
	model_push(0, 700, 'c', 2000);
	assert_int_equal(conn->rcv_nxt, base + 700);
	while (conn->rcvq_bytes > 0)
		read_some(100);
	assert_int_equal(model.read, 700);
	close_conn();
}

/* Without a buffer to cut into, what lies beyond the block is let go; the stream stays right. */
static void no_buffer_to_cut(void **state)
{
	open_conn(0);
	push(200, 20, 'a', 0);
	model_push(200, 20, 'a', 1);
	struct rte_mbuf *m = filled(300, 'b');
	struct sl_seg seg = {.seq = base + 100, .len = 300, .m = m};

	tp_set_limit(scr->pool, tp_out(scr->pool));
	assert_false(sl_rcv_data(scr->sq, conn, &seg));
	tp_set_limit(scr->pool, 0);
	model_push(100, 100, 'b', 2);
	/* The cut may have fallen between two mbufs, which needs no buffer. */
	if (sl_rcv_ooo_bytes(conn) != model.beyond)
		model_push(220, 180, 'b', 2);
	else
		assert_int_equal(scr->sq->ctr.tcp_ooo_drop, 1);
	assert_int_equal(sl_rcv_ooo_bytes(conn), model.beyond);
	sl_rcv_check(conn);
	push(0, 100, 'c', 0);
	model_push(0, 100, 'c', 3);
	assert_int_equal(conn->rcv_nxt, base + model.nxt);
	while (conn->rcvq_bytes > 0)
		read_some(100);
	close_conn();
}

/* The end of the stream, told before or after what lies around it. */
static void fin_and_what_contradicts_it(void **state)
{
	/* Data beyond a FIN is none. */
	open_conn(0u - 100);
	assert_false(push(150, 50, 'a', SL_TH_FIN));
	assert_false(push(180, 100, 'b', 0));
	assert_false(push(300, 10, 'b', 0));
	assert_int_equal(sl_rcv_ooo_bytes(conn), 50);
	assert_false(sl_rcv_fin_ready(conn));
	assert_true(push(0, 400, 'c', 0));
	assert_int_equal(conn->rcv_nxt, base + 200);
	assert_true(sl_rcv_fin_ready(conn));
	close_conn();

	/* A FIN out of order below what has come is not believed. */
	open_conn(0);
	assert_false(push(300, 50, 'a', 0));
	assert_false(push(100, 50, 'b', SL_TH_FIN));
	assert_true(push(0, 300, 'c', 0));
	assert_int_equal(conn->rcv_nxt, base + 350);
	assert_false(sl_rcv_fin_ready(conn));
	close_conn();

	/* One in order is: what was held beyond it goes. */
	open_conn(0);
	assert_false(push(300, 50, 'a', 0));
	assert_true(push(0, 100, 'b', SL_TH_FIN));
	assert_int_equal(conn->rcv_nxt, base + 100);
	assert_true(sl_rcv_fin_ready(conn));
	assert_int_equal(sl_rcv_ooo_bytes(conn), 0);
	close_conn();

	/* A bare FIN, twice. */
	open_conn(0u - 1);
	assert_false(push(10, 0, 0, SL_TH_FIN));
	assert_false(push(10, 0, 0, SL_TH_FIN));
	assert_true(push(0, 10, 'a', 0));
	assert_true(sl_rcv_fin_ready(conn));
	close_conn();
}

/* RFC 2883 section 4: a duplicate above the cumulative ACK is followed by the block it is part of.
 */
static void dsack_before_its_block(void **state)
{
	uint32_t blk[4][2];

	open_conn(0);
	push(100, 100, 'a', 0);
	push(300, 100, 'a', 0);
	push(120, 10, 'b', 0);
	assert_int_equal(sl_rcv_sack(conn, 4, blk), 3);
	assert_int_equal(blk[0][0], base + 120);
	assert_int_equal(blk[0][1], base + 130);
	assert_int_equal(blk[1][0], base + 100);
	assert_int_equal(blk[1][1], base + 200);
	assert_int_equal(blk[2][0], base + 300);
	close_conn();
}

/* The worst order that a peer can think of: one byte in every two, from behind, then the rest. */
static void four_thousand_holes(void **state)
{
	uint32_t n = 4000;

	open_conn(0u - 4000);
	scr->sq->tun.tcp_ooo_holes = 4096;
	for (uint32_t i = n; i > 0; i--) {
		assert_false(push(2 * i, 1, (uint8_t)i, 0));
		model_push(2 * i, 1, (uint8_t)i, n - i + 1);
		if (i % 64 == 0)
			check_sack(n - i + 1);
	}
	assert_int_equal(sl_rcv_ooo_bytes(conn), n);
	/* It counts against the window: buffers, not bytes. */
	assert_true(sl_rcv_window(scr->sq, conn) <= conn->rcvbuf);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t off = i == 0 ? 0 : 2 * i + 1;

		push(off, i == 0 ? 2 : 1, 'x', 0);
		model_push(off, i == 0 ? 2 : 1, 'x', n + i);
		assert_int_equal(conn->rcv_nxt, base + model.nxt);
	}
	assert_int_equal(sl_rcv_ooo_bytes(conn), 0);
	while (conn->rcvq_bytes > 0)
		read_some(3000);
	close_conn();
}

/* Small segments in large buffers, some of them late: copied together where they can be, and never
 * anything else than the stream. */
static void small_and_late(void **state)
{
	sl_rng_seed(&rng, 99, 1);
	open_conn(0u - 1000);
	conn->rcvbuf = 20000;
	for (uint32_t off = 0; off < 6000; off += 20) {
		/* Every eighth comes last of its eight. */
		for (uint32_t k = 0; k < 8 && off + 20 * k < 6000; k++) {
			uint32_t at = off + 20 * ((k + 1) % 8);
			struct rte_mbuf *m = rte_pktmbuf_alloc(scr->pool);
			struct sl_seg seg = {.seq = base + at, .len = 20, .m = m};

			assert_non_null(m);
			memset(rte_pktmbuf_append(m, 20), (int)(at / 20 + 1), 20);
			(void)sl_rcv_data(scr->sq, conn, &seg);
			sl_rcv_check(conn);
			model_push(at, 20, (uint8_t)(at / 20 + 1), at + 1);
			assert_int_equal(conn->rcv_nxt, base + model.nxt);
		}
		off += 140;
		if (off % 1600 == 1420)
			read_some(60);
	}
	assert_true(scr->sq->ctr.tcp_rx_compact > 10);
	while (conn->rcvq_bytes > 0)
		read_some(700);
	assert_int_equal(model.read, model.nxt);
	assert_int_equal(model.nxt, 5920); /* the last eight are not complete */
	close_conn();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_streams),
	    cmocka_unit_test(over_several_holes),
	    cmocka_unit_test(no_buffer_to_cut),
	    cmocka_unit_test(fin_and_what_contradicts_it),
	    cmocka_unit_test(dsack_before_its_block),
	    cmocka_unit_test(four_thousand_holes),
	    cmocka_unit_test(small_and_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
