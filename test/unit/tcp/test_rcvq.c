/* SPDX-License-Identifier: BSD-3-Clause */
/* The receive queue against a stream of known bytes: random segments, overlaps, wraps; what is
 * readable, what is reported, and what the window says. */
#include "script.h"

static uint32_t rnd_state = 7;

static uint32_t rnd(uint32_t n)
{
	rnd_state = rnd_state * 1664525 + 1013904223;
	return (rnd_state >> 8) % n;
}

struct rq {
	struct script *s;
	struct sluice_squeue *sq;
	struct sl_conn *c;
	uint32_t base; /* sequence number of byte 0 */
};

static void open_rq(struct rq *q, uint32_t base, uint32_t rcvbuf)
{
	q->s = script_start(NULL);
	q->sq = q->s->sq;
	q->c = sl_conn_alloc(q->sq, AF_INET, 0);
	assert_non_null(q->c);
	q->base = base;
	q->c->flags |= SL_C_SACK;
	q->c->state = SLUICE_ESTABLISHED;
	q->c->rcv_nxt = q->c->last_ack_sent = base;
	q->c->rcvbuf = rcvbuf;
	q->c->rcv_adv = base + rcvbuf;
	q->c->mss = 1000;
}

static void close_rq(struct rq *q)
{
	sl_conn_free(q->sq, q->c);
	script_stop(q->s);
}

static uint8_t byte_at(uint32_t off)
{
	return script_byte(off, true);
}

/* A segment of the stream in 1 to 3 mbufs that end where their data end. */
static struct rte_mbuf *piece(struct rq *q, uint32_t off, uint32_t len, unsigned int parts)
{
	uint8_t b[4096];
	struct rte_mbuf *head = NULL;

	assert_true(len <= sizeof(b));
	for (uint32_t i = 0; i < len; i++)
		b[i] = byte_at(off + i);
	for (unsigned int k = 0; k < parts; k++) {
		uint32_t from = len * k / parts, to = len * (k + 1) / parts;
		struct rte_mbuf *m = tp_exact(q->s->pool, b + from, (uint16_t)(to - from), 0);

		if (head == NULL)
			head = m;
		else
			assert_int_equal(rte_pktmbuf_chain(head, m), 0);
	}
	return head;
}

/* What input does before: cut at rcv_nxt. */
static bool push(struct rq *q, uint32_t off, uint32_t len, uint8_t flags)
{
	uint32_t done = q->c->rcv_nxt - q->base;
	struct sl_seg seg = {.flags = flags};
	bool in_order;

	if (off + len <= done && len > 0)
		return false;
	if (off < done) {
		len -= done - off;
		off = done;
	}
	seg.seq = q->base + off;
	seg.len = len;
	if (len > 0)
		seg.m = piece(q, off, len, 1 + rnd(len > 2 ? 3 : 1));
	in_order = sl_rcv_data(q->sq, q->c, &seg);
	assert_null(seg.m);
	return in_order;
}

/* Reads some of what is readable by one of the two ways, and compares. */
static void read_some(struct rq *q, uint32_t *read)
{
	uint32_t want = 1 + rnd(3000), len;

	if (rnd(2)) {
		struct rte_mbuf *m = sl_rcv_take(q->sq, q->c, want, &len);
		uint32_t at = 0;

		assert_true(len <= want);
		if (len == 0) {
			assert_null(m);
			return;
		}
		assert_int_equal(m->pkt_len, len);
		rte_mbuf_sanity_check(m, 1);
		for (struct rte_mbuf *p = m; p != NULL; p = p->next)
			for (uint32_t i = 0; i < p->data_len; i++, at++)
				assert_int_equal(
				    *rte_pktmbuf_mtod_offset(p, uint8_t *, i), byte_at(*read + at));
		assert_int_equal(at, len);
		rte_pktmbuf_free(m);
	} else {
		const struct rte_mbuf *p = q->c->rcvq_head;
		uint32_t at = 0, n = RTE_MIN(want, q->c->rcvq_bytes);

		for (; p != NULL; p = p->next)
			for (uint32_t i = 0; i < p->data_len; i++, at++)
				assert_int_equal(*rte_pktmbuf_mtod_offset(p, const uint8_t *, i),
				    byte_at(*read + at));
		assert_int_equal(at, q->c->rcvq_bytes);
		len = (uint32_t)sl_rcv_consume(q->sq, q->c, n);
		assert_int_equal(len, n);
	}
	*read += len;
}

#define MODEL 200000
static void random_segments(void **state)
{
	static uint8_t have[MODEL];

	for (int round = 0; round < 6; round++) {
		struct rq q;
		uint32_t read = 0, edge;

		open_rq(&q, round % 2 ? 0xffff0000u : 5, 1 << 20);
		memset(have, 0, sizeof(have));
		edge = q.c->rcv_adv;
		for (int i = 0; i < 3000; i++) {
			uint32_t nxt = q.c->rcv_nxt - q.base, off, len, first, bytes = 0, wnd, nblk;
			uint32_t blk[4][2];

			off = nxt + rnd(rnd(3) ? 6000 : 200);
			off = off > 500 && rnd(8) == 0 ? off - 400 : off;
			len = 1 + rnd(rnd(2) ? 1400 : 60);
			if (rnd(3) == 0)
				off = nxt;
			if (off + len > MODEL)
				break;
			push(&q, off, len, 0);
			/* A later part of a segment whose middle is known may be let go. */
			for (first = nxt; first < MODEL && have[first]; first++)
				;
			if (off <= first)
				memset(have + nxt, 1, q.c->rcv_nxt - q.base - nxt);
			assert_true(q.c->rcv_nxt - q.base >= nxt);
			nblk = sl_rcv_sack(q.c, 4, blk);
			for (uint32_t k = 0; k < nblk; k++)
				assert_true(seq_lt(blk[k][0], blk[k][1]));
			bytes = sl_rcv_ooo_bytes(q.c);
			assert_true(bytes <= 8000);
			sl_rcv_acked(q.c);
			wnd = sl_rcv_window(q.sq, q.c);
			assert_true(seq_ge(q.c->rcv_nxt + wnd, edge)); /* not scaled: never left */
			edge = q.c->rcv_adv = seq_max(edge, q.c->rcv_nxt + wnd);
			if (rnd(4) == 0)
				read_some(&q, &read);
		}
		while (q.c->rcvq_bytes > 0)
			read_some(&q, &read);
		assert_int_equal(read, q.c->rcv_nxt - q.base);
		assert_int_equal(q.c->rcvq_charge, 0);
		close_rq(&q);
	}
}

static void blocks_newest_first(void **state)
{
	struct rq q;
	uint32_t blk[4][2];

	open_rq(&q, 0xfffffff0u, 1 << 20);
	assert_int_equal(sl_rcv_sack(q.c, 4, blk), 0);
	push(&q, 100, 50, 0);
	push(&q, 300, 50, 0);
	push(&q, 500, 50, 0);
	assert_int_equal(sl_rcv_sack(q.c, 4, blk), 3);
	assert_int_equal(blk[0][0], q.base + 500);
	assert_int_equal(blk[1][0], q.base + 300);
	assert_int_equal(blk[2][0], q.base + 100);
	push(&q, 150, 50, 0); /* grows the oldest: now the newest, and whole */
	assert_int_equal(sl_rcv_sack(q.c, 4, blk), 3);
	assert_int_equal(blk[0][0], q.base + 100);
	assert_int_equal(blk[0][1], q.base + 200);
	assert_int_equal(sl_rcv_sack(q.c, 2, blk), 2);
	push(&q, 700, 50, 0);
	push(&q, 900, 50, 0);
	assert_int_equal(sl_rcv_sack(q.c, 4, blk), 4);
	/* The same bytes again: a DSACK before all others, told once. */
	push(&q, 300, 50, 0);
	assert_int_equal(sl_rcv_sack(q.c, 3, blk), 3);
	assert_int_equal(blk[0][0], q.base + 300);
	assert_int_equal(blk[0][1], q.base + 350);
	assert_int_equal(blk[1][0], q.base + 300); /* the block that it is part of (RFC 2883) */
	assert_int_equal(blk[2][0], q.base + 900);
	sl_rcv_acked(q.c);
	assert_int_equal(sl_rcv_sack(q.c, 4, blk), 4);
	assert_int_equal(blk[1][0], q.base + 900);
	assert_int_equal(sl_rcv_ooo_bytes(q.c), 300);
	/* The hole is filled bit by bit. */
	assert_true(push(&q, 0, 120, 0));
	assert_int_equal(q.c->rcv_nxt - q.base, 200);
	assert_true(push(&q, 200, 800, 0));
	assert_int_equal(q.c->rcv_nxt - q.base, 1000);
	assert_int_equal(sl_rcv_ooo_bytes(q.c), 0);
	sl_rcv_acked(q.c);
	assert_null(q.c->ooo);
	close_rq(&q);
}

static void dsack_rules(void **state)
{
	struct rq q;
	uint32_t blk[4][2];

	open_rq(&q, 0, 1 << 20);
	sl_rcv_dsack(q.c, 10, 10); /* empty */
	assert_null(q.c->ooo);
	sl_rcv_dsack(q.c, 10, 20);
	assert_int_equal(sl_rcv_sack(q.c, 4, blk), 1);
	sl_rcv_acked(q.c);
	assert_null(q.c->ooo);
	q.c->flags &= ~SL_C_SACK; /* a peer that does not know SACK hears none */
	sl_rcv_dsack(q.c, 10, 20);
	assert_null(q.c->ooo);
	close_rq(&q);
}

static void fin_out_of_order(void **state)
{
	struct rq q;

	open_rq(&q, 0xffffff00u, 1 << 20);
	assert_false(push(&q, 200, 100, SL_TH_FIN));
	assert_false(sl_rcv_fin_ready(q.c));
	assert_true(push(&q, 0, 200, 0));
	assert_true(sl_rcv_fin_ready(q.c));
	assert_int_equal(q.c->rcv_nxt - q.base, 300);
	close_rq(&q);
}

static void limit_of_segments(void **state)
{
	struct sluice_counters *k;
	struct rq q;

	open_rq(&q, 0, 1 << 20);
	k = &q.sq->ctr;
	q.sq->tun.tcp_ooo_max = 5;
	for (uint32_t i = 0; i < 10; i++)
		push(&q, 100 + 20 * i, 10, 0);
	assert_int_equal(k->tcp_ooo_drop, 5);
	assert_int_equal(sl_rcv_ooo_bytes(q.c), 50);
	close_rq(&q);
}

/* One byte a segment in full-sized buffers: copied together, and the window closes. */
static void small_segments(void **state)
{
	struct rq q;
	uint32_t read = 0, n = 0;

	open_rq(&q, 0, 65536);
	for (; n < 3000; n++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(q.s->pool);
		struct sl_seg seg = {.m = m, .seq = n, .len = 1};

		*rte_pktmbuf_append(m, 1) = (char)byte_at(n);
		assert_true(sl_rcv_data(q.sq, q.c, &seg));
	}
	assert_true(q.sq->ctr.tcp_rx_compact > 2000);
	assert_true(tp_out(q.s->pool) < 500);
	assert_int_equal(q.c->rcvq_bytes, 3000);
	while (q.c->rcvq_bytes > 0)
		read_some(&q, &read);
	assert_int_equal(read, 3000);
	close_rq(&q);
}

static void window_rules(void **state)
{
	struct rq q;

	open_rq(&q, 0, 10000);
	assert_int_equal(sl_rcv_window(q.sq, q.c), 10000);
	push(&q, 0, 2000, 0);
	assert_int_equal(sl_rcv_window(q.sq, q.c), 8000);
	sl_rcv_consume(q.sq, q.c, 500); /* less than a segment: no silly window */
	assert_int_equal(sl_rcv_window(q.sq, q.c), 8000);
	sl_rcv_consume(q.sq, q.c, 500);
	assert_int_equal(sl_rcv_window(q.sq, q.c), 9000);
	q.c->rcvbuf = 3000; /* smaller than what was offered: stays offered */
	assert_int_equal(sl_rcv_window(q.sq, q.c), 8000);
	q.c->rcvbuf = 200000; /* not scaled: 65535 at most */
	assert_int_equal(sl_rcv_window(q.sq, q.c), 65535);
	q.c->rcv_wscale = 2;
	assert_int_equal(sl_rcv_window(q.sq, q.c), (200000 - 1000) & ~3u);
	q.c->flags |= SL_C_FLOWCTRL;
	assert_int_equal(sl_rcv_window(q.sq, q.c), 8000);
	q.c->rcv_adv = q.c->rcv_nxt;
	assert_int_equal(sl_rcv_window(q.sq, q.c), 0);
	q.c->flags &= ~SL_C_FLOWCTRL;
	q.c->flags &= ~SL_C_ACK_NOW;
	sl_rcv_opened(q.sq, q.c);
	assert_true((q.c->flags & SL_C_ACK_NOW) && (q.c->flags & SL_C_WUPDATE));
	close_rq(&q);
}

/* shutdown(RD) and close: acknowledged, not kept. */
static void nobody_reads(void **state)
{
	struct rq q;

	open_rq(&q, 0, 10000);
	q.c->flags |= SL_C_RCV_SHUT;
	assert_true(push(&q, 0, 500, 0));
	assert_int_equal(q.c->rcv_nxt, 500);
	assert_int_equal(q.c->rcvq_bytes, 0);
	assert_null(q.c->rcvq_head);
	close_rq(&q);
}

static void no_buffer_for_a_copy(void **state)
{
	struct rq q;
	struct rte_mbuf *m;
	uint32_t len;

	open_rq(&q, 0, 10000);
	push(&q, 0, 1, 0);
	push(&q, 1, 600, 0);
	tp_fail_nth(q.s->pool, 1);
	m = sl_rcv_take(q.sq, q.c, 51, &len);
	/* What needs no copy is given, or all by copies: never a hole. */
	assert_true(len <= 51);
	for (uint32_t i = 0; m != NULL && i < m->data_len; i++)
		assert_int_equal(*rte_pktmbuf_mtod_offset(m, uint8_t *, i), byte_at(i));
	rte_pktmbuf_free(m);
	tp_fail_nth(q.s->pool, 0);
	assert_int_equal(q.c->rcvq_bytes, 601 - len);
	close_rq(&q);
}

static void chains(void **state)
{
	struct rq q;

	open_rq(&q, 0, 10000);
	for (uint32_t n = 0; n <= 90; n++) {
		struct rte_mbuf *m = piece(&q, 0, 90, 3);

		sl_chain_chop(&m, n);
		if (n == 90) {
			assert_null(m);
		} else {
			assert_int_equal(m->pkt_len, 90 - n);
			assert_int_equal(*rte_pktmbuf_mtod(m, uint8_t *), byte_at(n));
			rte_mbuf_sanity_check(m, 1);
			rte_pktmbuf_free(m);
		}
		if (n == 0)
			continue;
		m = piece(&q, 0, 90, 3);
		sl_chain_keep(m, n);
		assert_int_equal(m->pkt_len, n);
		rte_mbuf_sanity_check(m, 1);
		rte_pktmbuf_free(m);
	}
	close_rq(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_segments),
	    cmocka_unit_test(blocks_newest_first),
	    cmocka_unit_test(dsack_rules),
	    cmocka_unit_test(fin_out_of_order),
	    cmocka_unit_test(limit_of_segments),
	    cmocka_unit_test(small_segments),
	    cmocka_unit_test(window_rules),
	    cmocka_unit_test(nobody_reads),
	    cmocka_unit_test(no_buffer_for_a_copy),
	    cmocka_unit_test(chains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
