/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A peer that lies about what it has received. Work is counted in records of the scoreboard walked,
 * as the stack itself counts them (sack_debt, loss_debt); memory in records.
 */
#include "script.h"

#define MSS 1460u

static struct script *sender(bool sack, uint16_t mss, uint64_t init_cwnd)
{
	struct sluice_tunables t;
	struct script *s;

	script_tunables(&t);
	t.tcp_sndbuf = 4 << 20;
	t.tcp_init_cwnd = init_cwnd;
	t.tcp_nodelay = 1;
	s = script_start(&t);
	s->sack = sack;
	s->ts = false;
	s->mss = mss;
	script_accept(s);
	s->deaf = true;
	return s;
}

static void ack(struct script *s, uint32_t n)
{
	IN(s, .flags = A, .seq = 1, .ack = n);
}

static uint32_t snd_max(struct script *s)
{
	return script_conn(s)->snd_max - s->iss;
}

struct work {
	uint64_t acks, steps;
	uint32_t sack, loss; /* debts before */
};

/* Steps that the last ACK took: debts have grown by them, after what it paid. */
static void count_work(struct script *s, struct work *w)
{
	const struct sl_conn *c = script_conn(s);
	uint32_t was = w->sack > 256 ? w->sack - 256 : 0;

	w->acks++;
	if (c->sack_debt > was)
		w->steps += c->sack_debt - was;
	was = w->loss > 256 ? w->loss - 256 : 0;
	if (c->loss_debt > was)
		w->steps += c->loss_debt - was;
	w->sack = c->sack_debt;
	w->loss = c->loss_debt;
}

/* All is acknowledged and the connection works on; nothing is left behind. */
static void recovers(struct script *s)
{
	struct sl_conn *c = script_conn(s);

	sl_recovery_check(c);
	for (int i = 0; i < 20000 && c->sndq_bytes > 0; i++) {
		uint32_t una = c->snd_una;

		ack(s, snd_max(s));
		if (c->snd_una == una) /* a time-out, or a window that is asked about */
			script_run(s, SLUICE_MS(300));
	}
	assert_int_equal(c->sndq_bytes, 0);
	assert_int_equal(c->pipe_sacked, 0);
	assert_int_equal(c->rec_n, 0);
	assert_int_equal(s->sq->tcp->recs.inuse, s->sq->tcp->nrec_spare);
	s->deaf = false;
	script_forget(s);
	script_say(s, 10, 0);
	assert_int_equal(s->nout, 1);
	ack(s, snd_max(s));
	script_stop(s);
}

/* 25,000 blocks of one byte, from both ends by turns, so that each is far from the one before. */
static void one_byte_holes(void **state)
{
	struct script *s = sender(true, MSS, 1000);
	struct sl_conn *c = script_conn(s);
	uint32_t bytes = 50000, bound = 64 + 2 * (bytes / MSS) + 2;
	struct work w = {0};

	script_say(s, bytes, 0);
	assert_int_equal(c->snd_max - c->snd_una, bytes);
	for (uint32_t i = 0; i < bytes / 4; i += 2) {
		uint32_t lo = 2 + 2 * i, hi = bytes - 2 * i;

		IN(s, .flags = A, .seq = 1, .ack = 1, .nsack = 4,
		    .sack = {{hi, hi + 1}, {lo, lo + 1}, {hi - 2, hi - 1}, {lo + 2, lo + 3}});
		assert_true(c->rec_n <= bound);
		assert_true(s->sq->tcp->recs.inuse <= bound);
		count_work(s, &w);
		if (i % 256 == 0)
			sl_recovery_check(c);
	}
	assert_true(CTR(s, tcp_sack_limited) > 1000);
	assert_true(w.steps <= w.acks * 8 * bound);
	recovers(s);
}

/* Thousands of segments of the smallest size that a peer can impose, every second one SACKED, in the
 * order that makes the way longest. */
static void many_small_segments(void **state)
{
	struct script *s = sender(true, 1, 1000);
	struct sl_conn *c = script_conn(s);
	uint32_t mss = c->mss, n, una;
	struct work w = {0};

	assert_int_equal(mss, 48); /* tcp.mss_min: not 1 */
	script_say(s, 3000000, 0);
	for (int i = 0; i < 20000 && c->snd_max - c->snd_una < 8000 * mss; i++)
		ack(s, c->snd_una - s->iss + 2 * mss);
	n = (c->snd_max - c->snd_una) / mss;
	assert_true(n >= 8000);
	una = c->snd_una - s->iss;
	for (uint32_t i = 0; i < n / 4; i++) {
		/* The middle, then the ends. */
		uint32_t lo = una + (2 * i + 1) * mss, mid = una + (n / 2 + (i & ~1u)) * mss;

		IN(s, .flags = A, .seq = 1, .ack = una, .nsack = 2,
		    .sack = {{i & 1 ? lo : mid, (i & 1 ? lo : mid) + mss},
			{i & 1 ? mid : lo, (i & 1 ? mid : lo) + mss}});
		count_work(s, &w);
		if (i % 512 == 0)
			sl_recovery_check(c);
	}
	/* What each ACK earned, and what may be owed once. */
	assert_true(w.steps <= w.acks * 2 * 256 + 2 * (8192 + 4ull * c->rec_n));
	recovers(s);
}

/* SACK of record i of those that were sent, the first of which begins at `una`. */
static uint32_t sack_one(struct script *s, uint32_t una, uint32_t i)
{
	struct sl_conn *c = script_conn(s);
	uint32_t owed = c->sack_debt > 256 ? c->sack_debt - 256 : 0;

	IN(s, .flags = A, .seq = 1, .ack = c->snd_una - s->iss, .nsack = 1,
	    .sack = {{una + i * c->mss, una + (i + 1) * c->mss}});
	return c->sack_debt - owed;
}

/* Each record on the way is counted, and the way begins at the nearest place that is known: the
 * head, the tail, or where the last block lay, also when what was before that has gone. */
static void way_is_counted(void **state)
{
	struct script *s = sender(true, 1, 1000);
	struct sl_conn *c = script_conn(s);
	uint32_t mss = c->mss;

	script_say(s, 1000 * mss, 0);
	assert_int_equal(c->rec_n, 1000);
	assert_int_equal(sack_one(s, 1, 400), 400); /* from the head */
	assert_int_equal(sack_one(s, 1, 990), 9);   /* from the tail */
	assert_int_equal(sack_one(s, 1, 980), 10);  /* from the last one, back */
	assert_int_equal(sack_one(s, 1, 985), 5);   /* and on */
	ack(s, 1 + 100 * mss);
	assert_int_equal(sack_one(s, 1, 987), 2);
	ack(s, 1 + 988 * mss);
	assert_int_equal(sack_one(s, 1, 989), 1); /* it has gone: from the head */
	recovers(s);
}

/* Split at every edge and joined again, by retransmissions of another size too: counts stay right
 * (CVE-2019-11477 had 16-bit ones). */
static void split_and_join(void **state)
{
	struct script *s = sender(true, 1, 1000);
	struct sl_conn *c = script_conn(s);
	uint32_t x = 1, una;

	script_say(s, 1000000, 0);
	for (int i = 0; i < 60; i++)
		ack(s, snd_max(s) - 48 * 17);
	una = c->snd_una - s->iss;
	for (uint32_t i = 0; i < 3000; i++) {
		uint32_t flight = c->snd_max - c->snd_una, a, b;

		x = x * 1664525 + 1013904223;
		a = una + 1 + (x >> 8) % (flight - 2);
		b = a + 1 + (x >> 4) % RTE_MIN(flight - (a - una), 2000u);
		IN(s, .flags = A, .seq = 1, .ack = una, .nsack = 1, .sack = {{a, b}});
		if (i % 100 == 0)
			sl_recovery_check(c);
		if (i == 1500) /* time-out: what was SACKED stays so, the rest is sent again */
			script_run(s, SLUICE_SEC(3));
	}
	recovers(s);
}

/* Below, beyond, inverted, empty, overlapping, the same four times, forged duplicates. */
static void lies(void **state)
{
	struct script *s = sender(true, MSS, 10);
	struct sl_conn *c = script_conn(s);
	uint32_t end = 1 + 10 * MSS;

	script_say(s, 10 * MSS, 0);
	IN(s, .flags = A, .seq = 1, .ack = 1, .nsack = 4,
	    .sack = {{end, end + 100}, {0u - 5000, 0u - 4000}, {end - 10, end + 10}, {500, 400}});
	IN(s, .flags = A, .seq = 1, .ack = 1, .nsack = 2, .sack = {{700, 700}, {0x80000001, 2}});
	assert_int_equal(c->pipe_sacked, 0);
	assert_true(CTR(s, tcp_sack_bad) >= 4);
	for (int i = 0; i < 3; i++)
		IN(s, .flags = A, .seq = 1, .ack = 1, .nsack = 4,
		    .sack = {{1 + MSS, 1 + 2 * MSS}, {1 + MSS, 1 + 2 * MSS}, {1 + MSS, 1 + 2 * MSS},
			{1 + MSS, 1 + 2 * MSS}});
	assert_int_equal(c->pipe_sacked, MSS);
	IN(s, .flags = A, .seq = 1, .ack = 1, .nsack = 3,
	    .sack = {{1 + 3 * MSS, 1 + 5 * MSS}, {1 + 2 * MSS, 1 + 4 * MSS}, {1 + MSS, end}});
	assert_int_equal(c->pipe_sacked, 9 * MSS);
	sl_recovery_check(c);
	/* A duplicate that never was: nothing but a count. */
	IN(s, .flags = A, .seq = 1, .ack = 1 + MSS, .nsack = 1, .sack = {{0u - 100, 1}});
	sl_recovery_check(c);
	recovers(s);
}

/* SACKED and taken back: sent again, and not freed before it is acknowledged. */
static void reneging(void **state)
{
	struct script *s = sender(true, MSS, 10);
	struct sl_conn *c = script_conn(s);

	script_say(s, 10 * MSS, 0);
	IN(s, .flags = A, .seq = 1, .ack = 1, .nsack = 1, .sack = {{1 + MSS, 1 + 10 * MSS}});
	assert_int_equal(c->sndq_bytes, 10 * MSS);
	ack(s, 1 + MSS); /* the hole is filled, and the rest not acknowledged */
	assert_int_equal(c->sndq_bytes, 9 * MSS);
	script_run(s, SLUICE_SEC(2));
	assert_true(CTR(s, tcp_sack_reneg) >= 1);
	assert_int_equal(c->pipe_sacked, 0);
	assert_true(CTR(s, tcp_retrans_segs) >= 1);
	recovers(s);
}

/* An ACK of what was never sent changes nothing, and is answered twice a second. */
static void ack_beyond(void **state)
{
	struct script *s = sender(false, MSS, 10);
	struct sl_conn *c = script_conn(s);
	uint32_t cwnd = c->cc.cwnd;

	script_say(s, 20 * MSS, 0);
	s->deaf = false;
	script_forget(s);
	for (uint32_t i = 1; i < 1000; i++)
		ack(s, snd_max(s) + i * MSS);
	assert_int_equal(c->snd_una - s->iss, 1);
	assert_int_equal(c->cc.cwnd, cwnd);
	assert_int_equal(s->nout, 1);
	assert_int_equal(CTR(s, tcp_in_ack_unsent), 999);
	s->deaf = true;
	recovers(s);
}

/* Acknowledged before it can have arrived: the window grows by what was outstanding and no more. */
static void optimistic_ack(void **state)
{
	struct script *s = sender(false, MSS, 10);
	struct sl_conn *c = script_conn(s);
	uint32_t cwnd = c->cc.cwnd, all = 200 * MSS;

	script_say(s, all, 0);
	for (int i = 0; i < 5; i++) {
		uint32_t flight = c->snd_max - c->snd_una;

		ack(s, snd_max(s));
		assert_true(c->cc.cwnd <= cwnd + flight);
		cwnd = c->cc.cwnd;
	}
	recovers(s);
}

/* An ACK for each byte: growth by bytes (RFC 3465), not by ACKs. */
static void ack_division(void **state)
{
	struct script *s = sender(false, MSS, 10);
	struct sl_conn *c = script_conn(s);
	uint32_t cwnd = c->cc.cwnd;

	script_say(s, 10 * MSS, 0);
	for (uint32_t i = 1; i <= MSS; i++)
		ack(s, 1 + i);
	assert_true(c->cc.cwnd <= cwnd + MSS);
	recovers(s);
}

/* Duplicates made up by the thousand: no more inflation than segments were in flight. */
static void dupack_spoofing(void **state)
{
	struct script *s = sender(false, MSS, 10);
	struct sl_conn *c = script_conn(s);

	for (int i = 0; i < 1000; i++)
		ack(s, 1); /* nothing outstanding: nothing */
	assert_int_equal(CTR(s, tcp_in_dup_ack), 0);
	script_say(s, 1000 * MSS, 0);
	for (int i = 0; i < 5000; i++)
		ack(s, 1);
	assert_true(c->flags & SL_C_RECOVERY);
	assert_true(c->cc.cwnd <= c->cc.ssthresh + 13 * MSS); /* limited transmit sent two more */
	assert_true(c->snd_max - c->snd_una <= 22 * MSS);
	recovers(s);
}

/* The right edge moves left under what was sent: nothing underflows, nothing new is sent beyond it,
 * and the connection goes on when it opens. */
static void negative_window(void **state)
{
	struct script *s = sender(false, MSS, 10);
	struct sl_conn *c = script_conn(s);

	script_say(s, 30 * MSS, 0);
	assert_int_equal(c->snd_max - c->snd_una, 10 * MSS);
	IN(s, .flags = A, .seq = 1, .ack = 1, .wnd = 8); /* 1,024 bytes */
	for (int i = 0; i < 100; i++) {
		uint32_t was = snd_max(s);

		IN(s, .flags = A, .seq = 1, .ack = 1, .wnd = i & 1 ? 8 : -1);
		script_run(s, SLUICE_MS(100));
		assert_int_equal(snd_max(s), was);
		sl_recovery_check(c);
	}
	ack(s, snd_max(s));
	recovers(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_byte_holes),
	    cmocka_unit_test(many_small_segments),
	    cmocka_unit_test(way_is_counted),
	    cmocka_unit_test(split_and_join),
	    cmocka_unit_test(lies),
	    cmocka_unit_test(reneging),
	    cmocka_unit_test(ack_beyond),
	    cmocka_unit_test(optimistic_ack),
	    cmocka_unit_test(ack_division),
	    cmocka_unit_test(dupack_spoofing),
	    cmocka_unit_test(negative_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
