/* SPDX-License-Identifier: BSD-3-Clause */
/* Loss recovery by scripted ACKs. The scoreboard's counters are compared with a recomputation after
 * every segment by the stack's own check in debug builds; here it is called in all builds. */
#include "script.h"

#define MSS 1448u

static struct script *sender(bool sack, bool ts, uint64_t cc)
{
	struct sluice_tunables t;
	struct script *s;

	script_tunables(&t);
	t.tcp_cc = cc;
	s = script_start(&t);
	s->sack = sack;
	s->ts = ts;
	if (!ts)
		s->mss = MSS;
	script_accept(s);
	return s;
}

static void ack(struct script *s, uint32_t n)
{
	IN(s, .flags = A, .seq = 1, .ack = n);
	sl_recovery_check(script_conn(s));
}

static void sack1(struct script *s, uint32_t n, uint32_t from, uint32_t to)
{
	IN(s, .flags = A, .seq = 1, .ack = n, .nsack = 1, .sack = {{from, to}});
	sl_recovery_check(script_conn(s));
}

/* Sequence number of segment i of a stream of full segments. */
static uint32_t at(uint32_t i)
{
	return 1 + i * MSS;
}

static void burst(struct script *s, unsigned int n)
{
	script_say(s, (size_t)n * MSS, 0);
	script_forget(s);
	assert_int_equal(script_conn(s)->snd_max - s->iss, at(n));
}

/* RFC 6675: three segments above the hole, and it goes again; once. */
static void sack_fast_retransmit(void **state)
{
	struct script *s = sender(true, true, 0);
	struct sl_conn *c = script_conn(s);
	uint32_t cwnd;

	burst(s, 10);
	cwnd = c->cc.cwnd;
	assert_int_equal(cwnd, 10 * MSS);
	sack1(s, 1, at(1), at(2));
	assert_int_equal(c->pipe_sacked, MSS);
	sack1(s, 1, at(1), at(3));
	script_none(s);
	assert_false(c->flags & SL_C_RECOVERY);
	sack1(s, 1, at(1), at(4));
	assert_true(c->flags & SL_C_RECOVERY);
	assert_int_equal(c->cc.ssthresh, cwnd / 2);
	WANT(s, A, at(0), 1, MSS);
	assert_int_equal(CTR(s, tcp_recoveries), 1);
	assert_int_equal(CTR(s, tcp_out_sack_retrans), 1);
	for (uint32_t i = 5; i <= 10; i++)
		sack1(s, 1, at(1), at(i));
	assert_int_equal(CTR(s, tcp_out_sack_retrans), 1);
	ack(s, at(10));
	assert_false(c->flags & SL_C_RECOVERY);
	assert_int_equal(c->cc.cwnd, c->cc.ssthresh);
	assert_int_equal(c->pipe_sacked, 0);
	assert_int_equal(c->pipe_lost, 0);
	assert_null(c->rec_head);
	script_stop(s);
}

/* Two holes: both are resent in one round trip, what lies between is not. */
static void sack_two_holes(void **state)
{
	struct script *s = sender(true, true, 0);
	struct sl_conn *c = script_conn(s);
	bool first = false, third = false;

	burst(s, 10);
	IN(s, .flags = A, .seq = 1, .ack = 1, .nsack = 2, .sack = {{at(3), at(9)}, {at(1), at(2)}});
	sl_recovery_check(c);
	assert_true(c->flags & SL_C_RECOVERY);
	/* Segment 9 is not below enough to be lost. */
	assert_true(c->pipe_lost <= 2 * MSS);
	IN(s, .flags = A, .seq = 1, .ack = 1, .nsack = 2,
	    .sack = {{at(3), at(10)}, {at(1), at(2)}});
	for (int i = 0; i < 4; i++)
		ack(s, 1);
	while (s->next < s->nout) {
		struct out *o = script_out(s);

		first |= o->seq == at(0);
		third |= o->seq == at(2);
		assert_true(o->seq == at(0) || o->seq == at(2));
	}
	assert_true(first);
	ack(s, at(2));
	while (s->next < s->nout)
		third |= script_out(s)->seq == at(2);
	assert_true(third);
	ack(s, at(10));
	assert_false(c->flags & SL_C_RECOVERY);
	script_stop(s);
}

/* Blocks that begin and end within segments: records are split, sums stay. */
static void sack_partial_blocks(void **state)
{
	struct script *s = sender(true, true, 0);
	struct sl_conn *c = script_conn(s);

	burst(s, 6);
	sack1(s, 1, at(1) + 100, at(2) - 100);
	assert_int_equal(c->pipe_sacked, MSS - 200);
	sack1(s, 1, at(1) + 50, at(3) + 7);
	assert_int_equal(c->pipe_sacked, 2 * MSS - 50 + 7);
	ack(s, at(0) + 500); /* cumulative into a record */
	ack(s, at(1) + 60);  /* into a SACKed one */
	assert_int_equal(c->pipe_sacked, 2 * MSS - 60 + 7);
	ack(s, at(6));
	assert_int_equal(c->pipe_sacked, 0);
	script_stop(s);
}

static void sack_validation(void **state)
{
	struct script *s = sender(true, true, 0);
	struct sl_conn *c = script_conn(s);

	burst(s, 8);
	ack(s, at(2));
	sack1(s, at(2), at(5), at(4));       /* inverted */
	sack1(s, at(2), at(5), at(5));       /* empty */
	sack1(s, at(2), at(7), at(9));       /* beyond what was sent */
	sack1(s, at(2), 1u - 100000, at(4)); /* from below */
	assert_int_equal(c->pipe_sacked, 0);
	assert_int_equal(CTR(s, tcp_sack_bad), 4);
	sack1(s, at(2), at(0), at(1)); /* below the ACK: a DSACK (RFC 2883) */
	assert_int_equal(CTR(s, tcp_dsack_in), 1);
	IN(s, .flags = A, .seq = 1, .ack = at(2), .nsack = 2,
	    .sack = {{at(4), at(5)}, {at(4), at(6)}});
	assert_int_equal(CTR(s, tcp_dsack_in), 2);
	assert_int_equal(c->pipe_sacked, 2 * MSS);
	assert_false(c->flags & SL_C_RECOVERY);
	script_stop(s);
}

/* RFC 5681 and RFC 6582 without SACK: numbers of the standard. */
static void newreno_partial_acks(void **state)
{
	struct script *s = sender(false, true, 0);
	struct sl_conn *c = script_conn(s);

	assert_false(c->flags & SL_C_SACK);
	burst(s, 10);
	ack(s, 1);
	ack(s, 1);
	script_none(s);
	assert_int_equal(c->dupacks, 2);
	ack(s, 1);
	WANT(s, A, at(0), 1, MSS);
	assert_true(c->flags & SL_C_RECOVERY);
	assert_int_equal(c->cc.ssthresh, 5 * MSS);
	assert_int_equal(c->cc.cwnd, 8 * MSS);
	assert_int_equal(CTR(s, tcp_out_fast_retrans), 1);
	ack(s, 1);
	assert_int_equal(c->cc.cwnd, 9 * MSS); /* inflated by each further one */
	ack(s, at(4));                         /* partial: the next hole at once, deflated */
	WANT(s, A, at(4), 1, MSS);
	assert_int_equal(c->cc.cwnd, (9 - 4 + 1) * MSS);
	assert_true(c->flags & SL_C_RECOVERY);
	ack(s, at(10));
	assert_false(c->flags & SL_C_RECOVERY);
	assert_true(c->cc.cwnd <= 5 * MSS);
	/* Late duplicates of that window do not start another recovery (RFC 6582 4). */
	script_say(s, MSS, 0);
	assert_int_equal(CTR(s, tcp_recoveries), 1);
	script_stop(s);
}

static void limited_transmit(void **state)
{
	struct script *s = sender(false, true, 0);

	script_say(s, 20 * MSS, 0);
	assert_int_equal(s->nout, 10);
	script_forget(s);
	ack(s, 1);
	WANT(s, A, at(10), 1, MSS); /* RFC 3042 */
	ack(s, 1);
	WANT(s, A, at(11), 1, MSS);
	script_none(s);
	ack(s, 1);
	WANT(s, A, at(0), 1, MSS);
	script_stop(s);
}

/* What is no duplicate: with data, with another window, old. */
static void not_duplicates(void **state)
{
	struct script *s = sender(false, true, 0);
	struct sl_conn *c = script_conn(s);

	burst(s, 5);
	for (uint32_t i = 0; i < 5; i++)
		IN(s, .flags = A, .seq = 1 + i * 10, .ack = 1, .len = 10);
	assert_int_equal(c->dupacks, 0);
	for (int i = 1; i < 5; i++)
		IN(s, .flags = A, .seq = 51, .ack = 1, .wnd = 50000 + i);
	assert_int_equal(c->dupacks, 0);
	assert_int_equal(CTR(s, tcp_in_win_update), 4);
	assert_int_equal(CTR(s, tcp_recoveries), 0);
	script_stop(s);
}

/* PRR (RFC 9937): in recovery what leaves is in proportion to what arrives. */
static void prr_numbers(void **state)
{
	struct script *s = sender(true, true, 0);
	struct sl_conn *c = script_conn(s);
	unsigned int sent = 0;

	script_say(s, 40 * MSS, 0);
	assert_int_equal(s->nout, 10);
	script_forget(s);
	for (uint32_t i = 2; i <= 10; i++) {
		sack1(s, 1, at(1), at(i));
		sent += s->nout;
		script_forget(s);
	}
	assert_int_equal(c->cc.ssthresh, 5 * MSS);
	assert_int_equal(c->prr_delivered >= 6 * MSS, true);
	/* Two by limited transmit; since then about half of each segment that arrived. */
	assert_in_range(sent, 5, 8);
	assert_true(sl_pipe(c) <= 6 * MSS);
	assert_true(c->cc.cwnd <= 6 * MSS);
	script_stop(s);
}

static void time_out_and_backoff(void **state)
{
	struct script *s = sender(true, true, 0);
	struct sl_conn *c = script_conn(s);
	uint64_t rto, before;

	burst(s, 5);
	rto = sl_rto_estimate(c);
	before = s->now;
	for (int i = 0; i < 4; i++) {
		unsigned int n;

		script_forget(s);
		script_run(s, (sl_rto(s->sq, c)) + SLUICE_MS(5));
		n = s->nout;
		assert_true(n >= 1);
		assert_int_equal(s->out[0].seq, at(0));
		assert_int_equal(c->cc.cwnd, MSS);
		sl_recovery_check(c);
	}
	assert_true(s->now - before > 14 * (rto < SLUICE_MS(200) ? SLUICE_MS(200) : rto));
	assert_int_equal(CTR(s, tcp_rto), 4);
	assert_true(c->flags & SL_C_RTO_RECOVERY);
	/* The ACK lets two more go (slow start), and so on to the end. */
	script_forget(s);
	IN(s, .flags = A, .seq = 1, .ack = at(1));
	assert_in_range(s->nout, 1, 2);
	assert_int_equal(s->out[0].seq, at(1));
	ack(s, at(5));
	assert_false(c->flags & SL_C_RTO_RECOVERY);
	assert_int_equal(c->pipe_lost, 0);
	script_stop(s);
}

/* RFC 2018 section 8: SACKed, and not acknowledged at the time-out. */
static void reneging(void **state)
{
	struct script *s = sender(true, true, 0);
	struct sl_conn *c = script_conn(s);

	burst(s, 6);
	sack1(s, 1, at(1), at(3));
	IN(s, .flags = A, .seq = 1, .ack = at(1)); /* only the first: 1 and 2 were taken back */
	assert_int_equal(c->pipe_sacked, 2 * MSS);
	assert_true(c->rec_head->flags & SL_REC_SACKED);
	script_run(s, SLUICE_SEC(2));
	assert_int_equal(CTR(s, tcp_sack_reneg), 1);
	assert_int_equal(c->pipe_sacked, 0);
	sl_recovery_check(c);
	ack(s, at(6));
	assert_null(c->rec_head);
	script_stop(s);
}

/* RFC 3522 and RFC 4015: the echo of the first transmission says that the time-out was wrong. */
static void eifel(void **state)
{
	struct script *s = sender(true, true, 0);
	struct sl_conn *c = script_conn(s);
	uint32_t cwnd, first_ts;

	burst(s, 10);
	ack(s, at(5));
	script_forget(s);
	cwnd = c->cc.cwnd;
	first_ts = s->last_tsval;
	script_run(s, sl_rto(s->sq, c) + SLUICE_MS(5));
	assert_int_equal(CTR(s, tcp_rto), 1);
	assert_int_equal(c->cc.cwnd, MSS);
	IN(s, .flags = A, .seq = 1, .ack = at(6), .ecr = first_ts);
	assert_int_equal(CTR(s, tcp_spurious_rto), 1);
	assert_true(c->cc.cwnd >= cwnd);
	assert_false(c->flags & SL_C_RTO_RECOVERY);
	sl_recovery_check(c);
	script_stop(s);

	/* The echo of the retransmission says nothing of the kind. */
	s = sender(true, true, 1);
	c = script_conn(s);
	burst(s, 10);
	script_run(s, sl_rto(s->sq, c) + SLUICE_MS(5));
	IN(s, .flags = A, .seq = 1, .ack = at(1));
	assert_int_equal(CTR(s, tcp_spurious_rto), 0);
	assert_true(c->cc.cwnd < 4 * MSS);
	script_stop(s);
}

/* Both a lost segment and its retransmission: found again by what was sent later. */
static void lost_retransmission(void **state)
{
	struct script *s = sender(true, true, 0);
	struct sl_conn *c = script_conn(s);
	unsigned int times = 0;

	script_say(s, 60 * MSS, 0);
	script_forget(s);
	script_run(s, SLUICE_MS(20));
	sack1(s, 1, at(1), at(10));
	assert_true(c->flags & SL_C_RECOVERY);
	for (unsigned int round = 0; round < 6; round++) {
		uint32_t top = c->snd_max - s->iss;

		for (unsigned int i = 0; i < s->nout; i++)
			times += s->out[i].seq == at(0);
		script_forget(s);
		script_run(s, SLUICE_MS(20));
		sack1(s, 1, at(1), top);
	}
	for (unsigned int i = 0; i < s->nout; i++)
		times += s->out[i].seq == at(0);
	assert_true(times >= 2);
	assert_int_equal(CTR(s, tcp_rto), 0);
	script_stop(s);
}

/* Random SACKs and ACKs of a receiver that keeps what it gets: all is delivered, and the counters
 * equal what the list says, always. */
static void random_receiver(void **state)
{
	for (uint32_t seed = 1; seed <= 6; seed++) {
		struct script *s = sender(seed % 3 != 0, seed % 2, seed & 1);
		struct sl_conn *c = script_conn(s);
		uint32_t total = 300 * 1000, nxt = 1, x = seed;
		uint8_t *have = calloc(1, total + 2);

		script_say(s, total, 0);
		for (int i = 0; i < 20000 && nxt <= total; i++) {
			struct seg g = {.flags = A, .seq = 1};

			if (s->next >= s->nout) {
				script_forget(s);
				script_run(s, SLUICE_MS(50));
				continue;
			}
			while (s->next < s->nout) {
				struct out *o = script_out(s);

				x = x * 1664525 + 1013904223;
				if (x >> 28 == 0)
					continue; /* lost */
				memset(have + o->seq, 1, o->len);
			}
			script_forget(s);
			while (nxt <= total && have[nxt])
				nxt++;
			g.ack = nxt;
			for (uint32_t p = nxt; s->sack && p <= total && g.nsack < 3; p++) {
				if (!have[p])
					continue;
				g.sack[g.nsack][0] = p;
				while (p <= total && have[p])
					p++;
				g.sack[g.nsack++][1] = p;
			}
			s->now += SLUICE_MS(1);
			script_in(s, &g);
			sl_recovery_check(c);
		}
		assert_int_equal(nxt, total + 1);
		assert_int_equal(c->sndq_bytes, 0);
		assert_null(c->rec_head);
		free(have);
		script_stop(s);
	}
}

static void no_record_no_buffer(void **state)
{
	struct script *s = sender(true, true, 0);
	struct sl_conn *c = script_conn(s);

	script_say(s, 1000, 0);
	ack(s, 1001);
	script_forget(s);
	tp_fail_nth(s->pool, 3); /* data mbuf, header, then the indirect one */
	script_say(s, 500, 0);
	tp_fail_nth(s->pool, 0);
	script_run(s, SLUICE_SEC(1));
	assert_int_equal(c->snd_max - s->iss, 1501);
	assert_int_equal(script_out(s)->len, 500);
	s->port.stuck = true; /* the port takes nothing: all waits */
	ack(s, 1501);
	script_forget(s);
	script_say(s, 5000, 0);
	script_none(s);
	s->port.stuck = false;
	script_run(s, SLUICE_MS(10));
	assert_true(s->nout > 0);
	script_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sack_fast_retransmit),
	    cmocka_unit_test(sack_two_holes),
	    cmocka_unit_test(sack_partial_blocks),
	    cmocka_unit_test(sack_validation),
	    cmocka_unit_test(newreno_partial_acks),
	    cmocka_unit_test(limited_transmit),
	    cmocka_unit_test(not_duplicates),
	    cmocka_unit_test(prr_numbers),
	    cmocka_unit_test(time_out_and_backoff),
	    cmocka_unit_test(reneging),
	    cmocka_unit_test(eifel),
	    cmocka_unit_test(lost_retransmission),
	    cmocka_unit_test(random_receiver),
	    cmocka_unit_test(no_record_no_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
