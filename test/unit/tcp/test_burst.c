/* SPDX-License-Identifier: BSD-3-Clause */
/* Input in bursts, as a port brings it, and the corners of its checks where a segment is not
 * acceptable but not nothing either. */
#include "script.h"

#define BURST 32

struct burst {
	struct script *s;
	struct sl_pkt pkts[BURST];
	unsigned int n;
};

/* Without options: the peer of these tests knows no timestamps. */
static void add(struct burst *b, uint8_t flags, uint32_t seq, uint32_t ack, uint16_t len)
{
	struct script *s = b->s;
	struct sl_pkt *p = &b->pkts[b->n++];
	struct rte_mbuf *m = rte_pktmbuf_alloc(s->pool);
	uint32_t v[2] = {htonl(seq + s->isn), htonl(ack + s->iss)};
	uint8_t *h;

	assert_non_null(m);
	assert_true(b->n <= BURST && !s->ts);
	h = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(20 + len));
	memset(h, 0, 20);
	memcpy(h + 4, v, sizeof(v));
	h[12] = 5 << 4;
	h[13] = flags;
	h[14] = (uint8_t)(s->wnd >> 8);
	h[15] = (uint8_t)s->wnd;
	for (uint16_t i = 0; i < len; i++)
		h[20 + i] = script_byte(seq - 1 + i, true);
	*p = (struct sl_pkt){.m = m, .len = (uint16_t)(20 + len), .ttl = 64};
}

static void run(struct burst *b, const struct sl_key *k)
{
	for (unsigned int i = 0; i < b->n; i++)
		b->pkts[i].key = *k;
	b->s->sq->now = b->s->now;
	b->s->sq->in_pass = true;
	sl_tcp_input(b->s->sq, b->pkts, b->n);
	b->s->sq->in_pass = false;
	b->n = 0;
	script_settle(b->s);
}

static struct script *plain(bool sack)
{
	struct script *s = script_start(NULL);

	s->ts = false;
	s->sack = sack;
	return s;
}

static void one_ack_for_a_burst(void **state)
{
	struct burst b = {.s = plain(true)};

	script_accept(b.s);
	for (uint32_t i = 0; i < 20; i++)
		add(&b, A, 1 + 1000 * i, 1, 1000);
	run(&b, &script_conn(b.s)->key);
	assert_int_equal(b.s->got, 20000);
	WANT(b.s, A, 1, 20001, 0);
	script_none(b.s);
	assert_int_equal(script_conn(b.s)->snd_wl1 - b.s->isn, 19001);
	script_stop(b.s);
}

/* What came before the reset is read, the end of the stream heard, and only then the reset. */
static void reset_behind_data(void **state)
{
	struct burst b = {.s = plain(true)};

	script_accept(b.s);
	add(&b, A | P, 1, 1, 100);
	add(&b, F | A, 101, 1, 50);
	add(&b, R, 152, 0, 0);
	add(&b, A, 152, 1, 10); /* for what is no more */
	run(&b, &script_conn(b.s)->key);
	assert_int_equal(b.s->got, 150);
	assert_true(b.s->eof && b.s->gone);
	assert_int_equal(b.s->err, ECONNRESET);
	STATE(b.s, CLOSED);
	script_stop(b.s);
}

/* The handshake's last ACK, data and FIN together: each finds what the one before has made. */
static void handshake_within_a_burst(void **state)
{
	struct burst b = {.s = plain(true)};
	struct sl_key k;

	script_listen(b.s);
	IN(b.s, .flags = S);
	WANT(b.s, S | A, 0, 1, 0);
	k = sl_tcp_of(b.s->sq)->half_head->key;
	add(&b, A, 1, 1, 0);
	add(&b, A, 1, 1, 100);
	add(&b, F | A, 101, 1, 100);
	run(&b, &k);
	assert_int_equal(b.s->accepted, 1);
	assert_int_equal(b.s->got, 200);
	assert_true(b.s->eof);
	STATE(b.s, CLOSE_WAIT);
	script_stop(b.s);
}

/* RFC 5681 4.2: a peer without SACK counts duplicates, so each leaves; with SACK one tells all. */
static void duplicates_of_a_burst(void **state)
{
	for (int sack = 0; sack < 2; sack++) {
		struct burst b = {.s = plain(sack != 0)};

		script_accept(b.s);
		for (uint32_t i = 1; i <= 5; i++)
			add(&b, A, 1 + 1000 * i, 1, 1000);
		run(&b, &script_conn(b.s)->key);
		for (int i = 0; i < (sack ? 1 : 5); i++)
			WANT(b.s, A, 1, 1, 0);
		script_none(b.s);
		script_stop(b.s);
	}
}

static void urgent_in_a_part_duplicate(void **state)
{
	struct script *s = script_start(NULL);

	script_accept(s);
	s->hold = true;
	IN(s, .flags = A, .seq = 1, .ack = 1, .len = 100);
	IN(s, .flags = A | U, .seq = 51, .ack = 1, .len = 100, .urp = 100);
	assert_int_equal(s->oob, 1);
	assert_int_equal(script_conn(s)->rcv_up - s->isn, 151);
	assert_int_equal(s->mark, 149);
	script_stop(s);
}

/* A pointer that 2^31 bytes have left behind is none. */
static void urgent_after_a_long_stream(void **state)
{
	struct script *s = script_start(NULL);

	script_accept(s);
	s->hold = true;
	script_conn(s)->rcv_up = script_conn(s)->rcv_nxt + 0x90000000u;
	IN(s, .flags = A | U, .seq = 1, .ack = 1, .len = 10, .urp = 10);
	assert_int_equal(s->oob, 1);
	assert_int_equal(s->mark, 9);
	script_stop(s);
}

/* MUST-66: at a closed window ACK, URG and RST of a segment count; its byte does not. */
static void closed_window(void **state)
{
	struct sluice_tunables t;
	struct script *s;
	uint32_t nxt;

	script_tunables(&t);
	t.tcp_rcvbuf = 4096;
	s = script_start(&t);
	script_accept(s);
	s->hold = true;
	for (uint32_t at = 1; at < 4096; at += 1024)
		IN(s, .flags = A, .seq = at, .ack = 1, .len = 1024);
	nxt = script_conn(s)->rcv_nxt - s->isn;
	assert_int_equal(script_conn(s)->rcv_adv, script_conn(s)->rcv_nxt);
	script_forget(s);
	script_say(s, 500, 0);
	WANT(s, A, 1, nxt, 500);
	IN(s, .flags = A | U, .seq = nxt, .ack = 501, .len = 1, .urp = 1);
	WANT(s, A, 501, nxt, 0);
	assert_int_equal(sl_flight(script_conn(s)), 0);
	assert_int_equal(s->oob, 1);
	/* A FIN takes no room. */
	IN(s, .flags = F | A, .seq = nxt, .ack = 501);
	STATE(s, CLOSE_WAIT);
	WANT(s, A, 501, nxt + 1, 0);
	script_stop(s);
}

/* The ACK of a retransmission may be the only one that tells. */
static void news_in_a_duplicate(void **state)
{
	struct script *s = script_start(NULL);

	script_accept(s);
	IN(s, .flags = A, .seq = 1, .ack = 1, .len = 100);
	script_run(s, SLUICE_MS(50));
	script_forget(s);
	script_say(s, 1000, 0);
	WANT(s, A, 1, 101, 1000);
	/* Far below the window it is no retransmission. */
	IN(s, .flags = A, .seq = 1u - 0x40000000u, .ack = 1001, .len = 100);
	assert_int_equal(sl_flight(script_conn(s)), 1000);
	IN(s, .flags = A, .seq = 1, .ack = 1001, .len = 100);
	assert_int_equal(sl_flight(script_conn(s)), 0);
	assert_int_equal(s->got, 100);
	script_forget(s);
	/* Also that of a FIN. */
	assert_int_equal(sluice_shutdown(s->st, s->c, SHUT_WR), 0);
	script_settle(s);
	WANT(s, F | A, 1001, 101, 0);
	IN(s, .flags = A, .seq = 1, .ack = 1002, .len = 100);
	STATE(s, FIN_WAIT_2);
	script_stop(s);
}

/* A peer that has filled the window, and lost some of it, says its ACKs from the right edge. */
static void ack_from_the_right_edge(void **state)
{
	struct script *s = script_start(NULL);
	uint32_t edge;

	script_accept(s);
	script_say(s, 1000, 0);
	WANT(s, A, 1, 1, 1000);
	edge = script_conn(s)->rcv_adv - s->isn;
	IN(s, .flags = A, .seq = edge + 1, .ack = 1001);
	assert_int_equal(sl_flight(script_conn(s)), 1000);
	IN(s, .flags = A, .seq = edge, .ack = 1001);
	assert_int_equal(sl_flight(script_conn(s)), 0);
	/* A reset there is outside. */
	script_forget(s);
	IN(s, .flags = R, .seq = edge, .no_ts = true);
	script_none(s);
	STATE(s, ESTABLISHED);
	script_stop(s);
}

/* RFC 5961 4.2 comes before RFC 7323 3.2: a peer that has lost the connection knows no timestamps.
 */
static void syn_without_timestamp(void **state)
{
	struct script *s = script_start(NULL);

	script_accept(s);
	s->ts = false;
	IN(s, .flags = S, .seq = 5000);
	WANT(s, A, 1, 1, 0);
	assert_int_equal(CTR(s, tcp_in_syn_synchronized), 1);
	assert_int_equal(CTR(s, tcp_in_no_ts), 0);
	/* With data across the left edge: no byte of it is taken. */
	s->now += SLUICE_SEC(1);
	IN(s, .flags = S, .seq = 0, .len = 50);
	assert_int_equal(s->got, 0);
	WANT(s, A, 1, 1, 0);
	script_stop(s);
}

/* RFC 5681 3.1: a SYN that was lost leaves one segment to begin with. */
static void lost_syn(void **state)
{
	struct script *s = script_start(NULL);

	script_connect_syn(s);
	script_run(s, SLUICE_MS(1500));
	assert_int_equal(script_out(s)->flags, S);
	IN(s, .flags = S | A, .ack = 1);
	STATE(s, ESTABLISHED);
	assert_int_equal(script_conn(s)->cc.cwnd, script_conn(s)->mss);
	script_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_ack_for_a_burst),
	    cmocka_unit_test(reset_behind_data),
	    cmocka_unit_test(handshake_within_a_burst),
	    cmocka_unit_test(duplicates_of_a_burst),
	    cmocka_unit_test(urgent_in_a_part_duplicate),
	    cmocka_unit_test(urgent_after_a_long_stream),
	    cmocka_unit_test(closed_window),
	    cmocka_unit_test(news_in_a_duplicate),
	    cmocka_unit_test(ack_from_the_right_edge),
	    cmocka_unit_test(syn_without_timestamp),
	    cmocka_unit_test(lost_syn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
