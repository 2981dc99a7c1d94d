/* SPDX-License-Identifier: BSD-3-Clause */
/* Input by crafted segments: what RFC 9293 3.10.7, RFC 5961, RFC 7323 and RFC 1337 say to each. */
#include "script.h"

static void handshake_and_data(void **state)
{
	struct script *s = script_start(NULL);
	struct out *o;

	script_listen(s);
	IN(s, .flags = S);
	o = script_out(s);
	assert_int_equal(o->flags, S | A);
	assert_int_equal(o->mss, 1460);
	assert_true(o->ts && o->sack_ok);
	assert_int_equal(o->wscale, 5);
	assert_int_equal(o->wnd, 65535);
	IN(s, .flags = A | P, .seq = 1, .ack = 1, .len = 100);
	assert_int_equal(s->got, 100);
	script_run(s, SLUICE_MS(50));
	WANT(s, A, 1, 101, 0);
	script_say(s, 3000, 0);
	WANT(s, A, 1, 101, 1448);
	WANT(s, A, 1449, 101, 1448);
	script_none(s); /* Nagle keeps the rest */
	IN(s, .flags = A, .seq = 101, .ack = 2897);
	WANT(s, A | P, 2897, 101, 104);
	IN(s, .flags = A, .seq = 101, .ack = 3001);
	script_none(s);
	assert_true(CTR(s, tcp_seq_wraps) > 0);
	script_stop(s);
}

/* Brings a connection that the peer opened into a state, by what both sides do. */
static void reach(struct script *s, enum sluice_state want)
{
	script_accept(s);
	switch (want) {
	case SLUICE_CLOSE_WAIT:
	case SLUICE_LAST_ACK:
		IN(s, .flags = F | A, .seq = 1, .ack = 1);
		WANT(s, A, 1, 2, 0);
		if (want == SLUICE_LAST_ACK) {
			assert_int_equal(sluice_shutdown(s->st, s->c, SHUT_WR), 0);
			script_settle(s);
			WANT(s, F | A, 1, 2, 0);
		}
		break;
	case SLUICE_FIN_WAIT_1:
	case SLUICE_FIN_WAIT_2:
	case SLUICE_CLOSING:
	case SLUICE_TIME_WAIT:
		assert_int_equal(sluice_shutdown(s->st, s->c, SHUT_WR), 0);
		script_settle(s);
		WANT(s, F | A, 1, 1, 0);
		if (want == SLUICE_CLOSING) {
			IN(s, .flags = F | A, .seq = 1, .ack = 1);
			WANT(s, A, 2, 2, 0);
		} else if (want != SLUICE_FIN_WAIT_1) {
			IN(s, .flags = A, .seq = 1, .ack = 2);
			if (want == SLUICE_TIME_WAIT) {
				IN(s, .flags = F | A, .seq = 1, .ack = 2);
				WANT(s, A, 2, 2, 0);
			}
		}
		break;
	default:
		break;
	}
	assert_string_equal(sluice_state_name(script_state(s)), sluice_state_name(want));
	script_none(s);
	assert_non_null(script_conn(s));
}

static const enum sluice_state synchronized[] = {SLUICE_ESTABLISHED, SLUICE_CLOSE_WAIT,
    SLUICE_FIN_WAIT_1, SLUICE_FIN_WAIT_2, SLUICE_CLOSING, SLUICE_LAST_ACK, SLUICE_TIME_WAIT};

/* RFC 5961 section 3: the exact number resets, one in the window is asked back, others are nothing.
 */
static void rst_in_every_state(void **state)
{
	for (unsigned int i = 0; i < RTE_DIM(synchronized); i++) {
		struct script *s = script_start(NULL);
		uint32_t nxt;

		reach(s, synchronized[i]);
		nxt = script_conn(s)->rcv_nxt - s->isn;
		IN(s, .flags = R, .seq = nxt - 1, .no_ts = true);
		script_none(s);
		IN(s, .flags = R, .seq = nxt + 2000000, .no_ts = true);
		script_none(s);
		assert_int_equal(script_state(s), synchronized[i]);
		if (synchronized[i] == SLUICE_TIME_WAIT) { /* RFC 1337: none does anything */
			IN(s, .flags = R, .seq = nxt + 1, .no_ts = true);
			IN(s, .flags = R, .seq = nxt, .no_ts = true);
			script_none(s);
			STATE(s, TIME_WAIT);
		} else {
			IN(s, .flags = R, .seq = nxt + 1, .no_ts = true);
			WANT(s, A, script_conn(s)->snd_max - s->iss, nxt, 0);
			assert_int_equal(CTR(s, tcp_in_rst_inexact), 1);
			/* Section 7: limited. */
			IN(s, .flags = R, .seq = nxt + 1, .no_ts = true);
			script_none(s);
			assert_int_equal(CTR(s, tcp_out_challenge_limited), 1);
			assert_int_equal(script_state(s), synchronized[i]);
			IN(s, .flags = R, .seq = nxt, .no_ts = true);
			script_none(s);
			STATE(s, CLOSED);
			/* After both FINs an orderly end is all that is left. */
			if (synchronized[i] != SLUICE_CLOSING &&
			    synchronized[i] != SLUICE_LAST_ACK) {
				assert_true(s->gone);
				assert_int_equal(s->err, ECONNRESET);
			}
		}
		script_stop(s);
	}
}

/* RFC 5961 section 4: never more than a challenge ACK. */
static void syn_in_every_state(void **state)
{
	for (unsigned int i = 0; i < RTE_DIM(synchronized); i++) {
		struct sluice_tunables t;
		struct script *s;
		uint32_t nxt, snd;

		script_tunables(&t);
		t.tcp_ack_war = 0;
		s = script_start(&t);
		reach(s, synchronized[i]);
		nxt = script_conn(s)->rcv_nxt - s->isn;
		snd = script_conn(s)->snd_max - s->iss;
		IN(s, .flags = S, .seq = nxt - 5000);
		WANT(s, A, snd, nxt, 0);
		assert_int_equal(CTR(s, tcp_in_syn_synchronized), 1);
		assert_int_equal(script_state(s), synchronized[i]);
		IN(s, .flags = S, .seq = nxt + 10);        /* inside: the same */
		if (synchronized[i] == SLUICE_TIME_WAIT) { /* but here it opens anew (MAY-2) */
			assert_int_equal(script_out(s)->flags, S | A);
			STATE(s, CLOSED);
		} else {
			WANT(s, A, snd, nxt, 0);
			assert_int_equal(script_state(s), synchronized[i]);
		}
		script_stop(s);
	}
}

static void ack_checks(void **state)
{
	struct script *s = script_start(NULL);

	script_accept(s);
	script_say(s, 1000, 0);
	WANT(s, A, 1, 1, 1000);
	IN(s, .flags = A, .seq = 1, .ack = 1002); /* of data never sent */
	WANT(s, A, 1001, 1, 0);
	assert_int_equal(CTR(s, tcp_in_ack_unsent), 1);
	s->now += SLUICE_SEC(1) / 10;
	IN(s, .flags = A, .seq = 1, .ack = 1001);
	IN(s, .flags = A, .seq = 1, .ack = 1u - 8000000u); /* RFC 5961 5.2 */
	assert_int_equal(CTR(s, tcp_in_ack_old), 1);
	script_none(s); /* limited */
	/* Data of a segment whose ACK is bad is not taken. */
	IN(s, .flags = A, .seq = 1, .ack = 5000, .len = 10);
	assert_int_equal(s->got, 0);
	IN(s, .flags = A, .seq = 1, .ack = 900, .len = 10); /* an old ACK is no fault */
	assert_int_equal(s->got, 10);
	IN(s, .flags = P, .seq = 11, .len = 10); /* no ACK bit at all */
	assert_int_equal(s->got, 10);
	assert_int_equal(CTR(s, tcp_in_bad_flags), 1);
	script_stop(s);
}

static void paws_and_timestamps(void **state)
{
	struct script *s = script_start(NULL);

	script_accept(s);
	s->now += SLUICE_MS(100);
	IN(s, .flags = A, .seq = 1, .ack = 1, .len = 10);
	assert_int_equal(s->got, 10);
	script_run(s, SLUICE_MS(50));
	script_forget(s);
	IN(s, .flags = A, .seq = 11, .ack = 1, .len = 10, .ts_back = 5000);
	assert_int_equal(CTR(s, tcp_in_paws), 1);
	assert_int_equal(s->got, 10);
	WANT(s, A, 1, 11, 0);
	IN(s, .flags = A, .seq = 11, .ack = 1, .ts_back = 5000); /* without data: a limited ACK */
	WANT(s, A, 1, 11, 0);
	IN(s, .flags = A, .seq = 11, .ack = 1, .ts_back = 5000);
	script_none(s);
	IN(s, .flags = A, .seq = 11, .ack = 1, .len = 10, .no_ts = true); /* RFC 7323 3.2 */
	assert_int_equal(CTR(s, tcp_in_no_ts), 1);
	assert_int_equal(s->got, 10);
	script_none(s);
	/* After 24 days the last timestamp proves nothing. */
	s->now += SLUICE_SEC(25ull * 86400);
	IN(s, .flags = A, .seq = 11, .ack = 1, .len = 10);
	assert_int_equal(s->got, 20);
	/* The echo is that of the segment at the left edge (RFC 7323 4.3). */
	script_run(s, SLUICE_MS(100));
	{
		struct out *o = script_out(s);

		assert_true(o->ts);
		assert_int_equal(o->tsecr, script_conn(s)->ts_recent);
	}
	script_stop(s);
}

static void malformed(void **state)
{
	static const uint8_t bad[][8] = {{2, 0, 1, 1}, {8, 1, 1, 1}, {8, 60, 0, 0}, {2, 3, 5, 0}};
	struct script *s = script_start(NULL);
	uint8_t flags[] = {0, P, U, S | F, S | R, S | F | A, P | U};

	script_accept(s);
	for (unsigned int i = 0; i < sizeof(flags); i++)
		IN(s, .flags = flags[i], .seq = 1, .ack = 1);
	assert_int_equal(CTR(s, tcp_in_bad_flags), sizeof(flags));
	IN(s, .flags = A, .seq = 1, .ack = 1, .doff = 4);
	IN(s, .flags = A, .seq = 1, .ack = 1, .doff = 15);
	assert_int_equal(CTR(s, tcp_in_hdr_errors), 2);
	IN(s, .flags = A, .seq = 1, .ack = 1, .len = 5, .bad_cksum = true);
	assert_int_equal(CTR(s, tcp_in_bad_cksum), 1);
	for (unsigned int i = 0; i < RTE_DIM(bad); i++)
		IN(s, .flags = A, .seq = 1, .ack = 1, .raw = bad[i], .rawlen = 4);
	assert_int_equal(CTR(s, tcp_in_bad_opts), RTE_DIM(bad));
	assert_int_equal(s->got, 0);
	script_none(s);
	STATE(s, ESTABLISHED);
	script_stop(s);
}

static void no_connection(void **state)
{
	struct script *s = script_start(NULL);
	struct sluice_tunables t;

	s->ts = false;
	IN(s, .flags = S, .seq = 0);
	WANT(s, R | A, 0u - s->iss, 1, 0);
	IN(s, .flags = S, .seq = 0, .len = 5);
	assert_int_equal(script_out(s)->ack, 6);
	IN(s, .flags = A, .seq = 7, .ack = 1234);
	assert_int_equal(script_out(s)->seq, 1234);
	IN(s, .flags = F, .seq = 7);
	assert_int_equal(script_out(s)->ack, 8);
	IN(s, .flags = R | A, .seq = 7, .ack = 8); /* never a reset for a reset */
	script_none(s);
	assert_int_equal(CTR(s, tcp_in_no_conn), 5);
	/* To a listener: ACK is reset, RST and bare FIN are not answered with a SYN-ACK. */
	script_listen(s);
	IN(s, .flags = A, .seq = 7, .ack = 99);
	assert_int_equal(script_out(s)->flags, R);
	IN(s, .flags = S | A, .seq = 7, .ack = 99);
	assert_int_equal(script_out(s)->flags, R);
	IN(s, .flags = R, .seq = 7);
	script_none(s);
	script_stop(s);

	script_tunables(&t);
	t.tcp_rst_rate = 3;
	s = script_start(&t);
	for (int i = 0; i < 10; i++)
		IN(s, .flags = A, .seq = 7, .ack = 1);
	assert_int_equal(s->nout, 3);
	assert_int_equal(CTR(s, tcp_out_rsts_limited), 7);
	s->now += SLUICE_SEC(1);
	IN(s, .flags = A, .seq = 7, .ack = 1);
	assert_int_equal(s->nout, 4);
	script_stop(s);
	t.tcp_rst_rate = 0;
	s = script_start(&t);
	IN(s, .flags = A, .seq = 7, .ack = 1);
	script_none(s);
	script_stop(s);
}

static void out_of_order(void **state)
{
	struct script *s = script_start(NULL);
	struct out *o;

	script_accept(s);
	IN(s, .flags = A, .seq = 1001, .ack = 1, .len = 500);
	o = script_out(s);
	assert_int_equal(o->ack, 1);
	assert_int_equal(o->nsack, 1);
	assert_int_equal(o->sack[0][0], 1001);
	assert_int_equal(o->sack[0][1], 1501);
	IN(s, .flags = A, .seq = 2001, .ack = 1, .len = 500);
	o = script_out(s);
	assert_int_equal(o->nsack, 2); /* newest first */
	assert_int_equal(o->sack[0][0], 2001);
	assert_int_equal(o->sack[1][0], 1001);
	IN(s, .flags = A, .seq = 1, .ack = 1, .len = 1000);
	assert_int_equal(s->got, 1500);
	o = script_out(s); /* a gap was filled: at once */
	assert_int_equal(o->ack, 1501);
	assert_int_equal(o->nsack, 1);
	/* The FIN came out of order too. */
	IN(s, .flags = F | A, .seq = 2501, .ack = 1);
	assert_false(s->eof);
	script_forget(s);
	IN(s, .flags = A, .seq = 1501, .ack = 1, .len = 500);
	assert_int_equal(s->got, 2500);
	assert_true(s->eof);
	STATE(s, CLOSE_WAIT);
	WANT(s, A, 1, 2502, 0);
	/* Data after the FIN is not taken. */
	IN(s, .flags = A, .seq = 2502, .ack = 1, .len = 10);
	assert_int_equal(s->got, 2500);
	script_stop(s);
}

static void duplicates_and_trimming(void **state)
{
	struct sluice_tunables t;
	struct script *s;
	struct out *o;

	script_tunables(&t);
	t.tcp_rcvbuf = 8192;
	s = script_start(&t);
	script_accept(s);
	IN(s, .flags = A, .seq = 1, .ack = 1, .len = 1000);
	script_run(s, SLUICE_MS(50));
	script_forget(s);
	IN(s, .flags = A, .seq = 1, .ack = 1, .len = 1000); /* again: DSACK */
	o = script_out(s);
	assert_int_equal(o->ack, 1001);
	assert_int_equal(o->nsack, 1);
	assert_int_equal(o->sack[0][0], 1);
	assert_int_equal(o->sack[0][1], 1001);
	assert_int_equal(CTR(s, tcp_in_data_dup_segs), 1);
	IN(s, .flags = A, .seq = 501, .ack = 1, .len = 1000); /* half of it new */
	assert_int_equal(s->got, 1500);
	assert_int_equal(CTR(s, tcp_in_data_part_dup_segs), 1);
	script_run(s, SLUICE_MS(50));
	script_forget(s);
	/* Beyond the window: cut, and the FIN with it. */
	s->hold = true;
	IN(s, .flags = A, .seq = 1501, .ack = 1, .len = 1400);
	IN(s, .flags = A, .seq = 2901, .ack = 1, .len = 1400);
	IN(s, .flags = A, .seq = 4301, .ack = 1, .len = 1400);
	IN(s, .flags = A, .seq = 5701, .ack = 1, .len = 1400);
	IN(s, .flags = A, .seq = 7101, .ack = 1, .len = 1400);
	IN(s, .flags = F | A, .seq = 8501, .ack = 1, .len = 1400);
	assert_false(s->eof);
	assert_true(CTR(s, tcp_in_data_past_win_segs) > 0);
	assert_int_equal(script_conn(s)->rcv_nxt, script_conn(s)->rcv_adv);
	script_run(s, SLUICE_MS(50));
	assert_int_equal(s->out[s->nout - 1].wnd, 0);
	script_forget(s);
	/* A probe of the closed window: its ACK counts, its byte does not (MUST-66). */
	{
		uint32_t nxt = script_conn(s)->rcv_nxt - s->isn;

		IN(s, .flags = A, .seq = nxt, .ack = 1, .len = 1);
		WANT(s, A, 1, nxt, 0);
		assert_int_equal(CTR(s, tcp_in_win_probe), 1);
		IN(s, .flags = A, .seq = nxt + 20, .ack = 1); /* not even an ACK beyond it */
		IN(s, .flags = A, .seq = nxt + 20, .ack = 1, .len = 10);
		assert_int_equal(script_conn(s)->rcv_nxt - s->isn, nxt);
		script_forget(s);
		/* The application reads: a window update. */
		s->now += SLUICE_SEC(1);
		assert_int_equal(sluice_consume(s->st, s->c, sluice_readable(s->st, s->c)), 0);
		script_settle(s);
		o = script_out(s);
		assert_true(o->wnd > 0);
		assert_int_equal(CTR(s, tcp_out_win_update), 1);
		/* A reset in a closed window and one byte with RST were covered by acceptance. */
		IN(s, .flags = R, .seq = nxt, .len = 0);
		STATE(s, CLOSED);
	}
	script_stop(s);
}

static void wild_urgent_pointers(void **state)
{
	struct script *s = script_start(NULL);

	script_accept(s);
	s->hold = true;
	IN(s, .flags = A | U, .seq = 1, .ack = 1, .len = 10, .urp = 0); /* points behind */
	assert_int_equal(s->oob, 0);
	IN(s, .flags = A | U, .seq = 11, .ack = 1, .len = 10, .urp = 5);
	assert_int_equal(s->oob, 1);
	assert_int_equal(s->mark, 14);
	IN(s, .flags = A | U, .seq = 21, .ack = 1, .urp = 65535); /* far ahead, yet possible */
	assert_int_equal(s->oob, 2);
	IN(s, .flags = A | U, .seq = 21, .ack = 1, .len = 5, .urp = 10); /* never backwards */
	assert_int_equal(s->oob, 2);
	assert_int_equal(script_conn(s)->rcv_up - s->isn, 21 + 65535);
	IN(s, .flags = F | A | U, .seq = 26, .ack = 1, .urp = 65535);
	STATE(s, CLOSE_WAIT);
	IN(s, .flags = A | U, .seq = 27, .ack = 1, .urp = 65535); /* after the FIN: nothing */
	assert_int_equal(s->oob, 3);
	script_stop(s);
}

static void syn_sent_answers(void **state)
{
	struct script *s = script_start(NULL);

	script_connect_syn(s);
	IN(s, .flags = A, .ack = 77); /* wrong ACK: reset (RFC 9293 3.10.7.3) */
	WANT(s, R, 77, 0, 0);
	IN(s, .flags = S | A, .ack = 0);
	WANT(s, R, 0, 0, 0);
	IN(s, .flags = R | A, .ack = 9); /* not of our SYN: nothing at all */
	IN(s, .flags = R, .seq = 0);
	IN(s, .flags = A, .ack = 1); /* no SYN */
	IN(s, .flags = F, .seq = 3);
	script_none(s);
	STATE(s, SYN_SENT);
	IN(s, .flags = R | A, .ack = 1);
	STATE(s, CLOSED);
	assert_int_equal(s->err, ECONNREFUSED);
	script_none(s);
	script_stop(s);

	/* Data and FIN on the SYN-ACK. */
	s = script_start(NULL);
	script_connect_syn(s);
	IN(s, .flags = S | A | F, .ack = 1, .len = 50);
	assert_int_equal(s->got, 0); /* SYN with FIN is never right */
	STATE(s, SYN_SENT);
	IN(s, .flags = S | A, .ack = 1, .len = 50);
	assert_int_equal(s->got, 50);
	STATE(s, ESTABLISHED);
	WANT(s, A, 1, 51, 0);
	script_stop(s);

	/* The SYN is resent, then given up. */
	s = script_start(NULL);
	script_connect_syn(s);
	script_run(s, SLUICE_SEC(400));
	assert_true(s->nout > 5);
	for (unsigned int i = 1; i < s->nout; i++)
		assert_int_equal(s->out[i].flags, S);
	assert_int_equal(s->err, ETIMEDOUT);
	script_stop(s);
}

static void simultaneous_open(void **state)
{
	struct script *s = script_start(NULL);

	script_connect_syn(s);
	IN(s, .flags = S);
	STATE(s, SYN_RCVD);
	WANT(s, S | A, 0, 1, 0);
	IN(s, .flags = A, .seq = 1, .ack = 55); /* not our SYN */
	WANT(s, R, 55, 0, 0);
	IN(s, .flags = S | A, .seq = 0, .ack = 1); /* figure 7 */
	STATE(s, ESTABLISHED);
	assert_int_equal(s->connected, 1);
	script_forget(s);
	IN(s, .flags = A, .seq = 1, .ack = 1, .len = 20);
	assert_int_equal(s->got, 20);
	script_stop(s);

	/* With the plain ACK, data on it, and a FIN asked for before. */
	s = script_start(NULL);
	script_connect_syn(s);
	assert_int_equal(sluice_shutdown(s->st, s->c, SHUT_WR), 0);
	IN(s, .flags = S);
	WANT(s, S | A, 0, 1, 0);
	script_run(s, SLUICE_SEC(1) + SLUICE_MS(1)); /* resent */
	WANT(s, S | A, 0, 1, 0);
	IN(s, .flags = A, .seq = 1, .ack = 1);
	STATE(s, FIN_WAIT_1);
	WANT(s, F | A, 1, 1, 0);
	script_stop(s);

	/* Reset in SYN_RCVD of an opener: refused. */
	s = script_start(NULL);
	script_connect_syn(s);
	IN(s, .flags = S);
	IN(s, .flags = R, .seq = 1);
	STATE(s, CLOSED);
	assert_int_equal(s->err, ECONNREFUSED);
	script_stop(s);
}

static void closing_states(void **state)
{
	struct script *s = script_start(NULL);

	reach(s, SLUICE_CLOSING);
	IN(s, .flags = A, .seq = 2, .ack = 2);
	STATE(s, TIME_WAIT);
	IN(s, .flags = F | A, .seq = 1, .ack = 2); /* again: the wait begins anew */
	WANT(s, A, 2, 2, 0);
	script_run(s, SLUICE_SEC(59));
	STATE(s, TIME_WAIT);
	script_run(s, SLUICE_SEC(2));
	STATE(s, CLOSED);
	assert_false(s->gone); /* an orderly end is no disconnect */
	assert_int_equal(sluice_close(s->st, s->c), 0);
	script_settle(s);
	assert_true(s->closed);
	script_stop(s);

	s = script_start(NULL);
	reach(s, SLUICE_LAST_ACK);
	IN(s, .flags = A, .seq = 2, .ack = 2);
	STATE(s, CLOSED);
	script_stop(s);

	/* FIN and the ACK of ours in one segment: straight to TIME_WAIT. */
	s = script_start(NULL);
	reach(s, SLUICE_FIN_WAIT_1);
	IN(s, .flags = F | A, .seq = 1, .ack = 2);
	STATE(s, TIME_WAIT);
	assert_int_equal(sluice_close(s->st, s->c), 0);
	script_settle(s);
	assert_true(s->closed);
	script_forget(s);
	IN(s, .flags = F | A, .seq = 1, .ack = 2);
	WANT(s, A, 2, 2, 0);
	script_stop(s);

	/* Data in FIN_WAIT_2 of a user who still reads. */
	s = script_start(NULL);
	reach(s, SLUICE_FIN_WAIT_2);
	IN(s, .flags = A, .seq = 1, .ack = 2, .len = 30);
	assert_int_equal(s->got, 30);
	script_stop(s);
}

static void data_after_close(void **state)
{
	struct script *s = script_start(NULL);

	reach(s, SLUICE_ESTABLISHED);
	assert_int_equal(sluice_close(s->st, s->c), 0);
	script_settle(s);
	WANT(s, F | A, 1, 1, 0);
	IN(s, .flags = A, .seq = 1, .ack = 2, .len = 10);
	WANT(s, R | A, 2, 1, 0);
	assert_true(s->closed);
	assert_int_equal(CTR(s, tcp_in_closed), 1);
	IN(s, .flags = A, .seq = 11, .ack = 2, .len = 10); /* it is gone */
	assert_int_equal(script_out(s)->flags, R);
	script_stop(s);

	/* shutdown(RD): acknowledged and dropped, nobody is told. */
	s = script_start(NULL);
	reach(s, SLUICE_ESTABLISHED);
	assert_int_equal(sluice_shutdown(s->st, s->c, SHUT_RD), 0);
	script_settle(s);
	s->eof = false;
	script_forget(s);
	IN(s, .flags = A, .seq = 1, .ack = 1, .len = 10);
	assert_int_equal(s->got, 0);
	script_run(s, SLUICE_MS(100));
	WANT(s, A, 1, 11, 0);
	IN(s, .flags = F | A, .seq = 11, .ack = 1);
	WANT(s, A, 1, 12, 0);
	assert_false(s->eof);
	script_stop(s);
}

static void icmp_errors(void **state)
{
	struct script *s = script_start(NULL);

	script_accept(s);
	script_say(s, 4000, 0);
	WANT(s, A, 1, 1, 1448);
	WANT(s, A, 1449, 1, 1448);
	script_icmp(s, 3, 4, 900000, 600); /* not in flight (RFC 5927) */
	script_icmp(s, 3, 4, 0, 600);
	assert_int_equal(CTR(s, icmp_in_unmatched), 2);
	assert_int_equal(script_conn(s)->mss, 1448);
	script_icmp(s, 3, 4, 1, 1000);
	assert_int_equal(script_conn(s)->mss, 1000 - 52);
	/* Sent again at once, in smaller pieces, without a congestion response. */
	assert_true(s->nout - s->next >= 4);
	while (s->next < s->nout)
		assert_true(script_out(s)->len <= 948);
	assert_int_equal(CTR(s, tcp_recoveries), 0);
	assert_int_equal(CTR(s, tcp_rto), 0);
	script_icmp(s, 3, 4, 1, 1400); /* never up again */
	assert_int_equal(script_conn(s)->mss, 948);
	script_icmp(s, 3, 1, 1, 0);
	assert_int_equal(s->soft, EHOSTUNREACH);
	STATE(s, ESTABLISHED); /* RFC 5461 */
	script_icmp(s, 3, 3, 1, 0);
	STATE(s, ESTABLISHED);
	script_stop(s);

	/* Before that, a hard error ends the attempt and a soft one does not. */
	s = script_start(NULL);
	script_connect_syn(s);
	script_icmp(s, 3, 1, 0, 0);
	STATE(s, SYN_SENT);
	script_icmp(s, 3, 4, 0, 800);
	STATE(s, SYN_SENT);
	script_icmp(s, 3, 3, 0, 0);
	STATE(s, CLOSED);
	assert_int_equal(s->err, ECONNREFUSED);
	script_icmp(s, 3, 3, 0, 0); /* of nothing */
	script_stop(s);
}

static void land(void **state)
{
	struct script *s = script_start(NULL);
	uint8_t b[40] = {
	    0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 1, 0, 80, 0, 80};
	uint64_t in;

	script_listen(s);
	b[32] = 0x50;
	b[33] = S;
	b[10] = 0x66; /* header checksum: 0x45+... computed below */
	{
		uint32_t acc = 0;

		b[10] = b[11] = 0;
		for (int i = 0; i < 20; i += 2)
			acc += (uint32_t)(b[i] << 8 | b[i + 1]);
		acc = ~((acc & 0xffff) + (acc >> 16));
		b[10] = (uint8_t)(acc >> 8);
		b[11] = (uint8_t)acc;
	}
	in = CTR(s, ip_in_bad_src);
	script_raw(s, b, sizeof(b));
	assert_int_equal(CTR(s, ip_in_bad_src), in + 1);
	script_none(s);
	script_stop(s);
}

/* Everything of one burst is looked up before the first of it is processed. */
static void closed_within_a_burst(void **state)
{
	struct script *s = script_start(NULL);

	script_accept(s);
	IN(s, .flags = R, .seq = 1, .no_ts = true);
	IN(s, .flags = A, .seq = 1, .ack = 1, .len = 5);
	assert_int_equal(script_out(s)->flags, R);
	assert_int_equal(s->got, 0);
	script_stop(s);
}

static void no_space_above(void **state)
{
	struct script *s = script_start(NULL);
	uint32_t edge;

	script_accept(s);
	s->no_space = true;
	edge = script_conn(s)->rcv_adv;
	for (uint32_t at = 1; at < 30000; at += 1000)
		IN(s, .flags = A, .seq = at, .ack = 1, .len = 1000);
	assert_int_equal(script_conn(s)->rcv_adv, edge); /* neither left nor right */
	s->no_space = false;
	script_forget(s);
	assert_int_equal(sluice_clr_flowctrl(s->st, s->c), 0);
	script_settle(s);
	assert_true(seq_gt(script_conn(s)->rcv_adv, edge));
	script_stop(s);
}

/* Byte by byte into a buffer that nobody reads: the window closes all the same, whatever it is
 * scaled by. */
static void the_window_closes(void **state)
{
	struct sluice_tunables t;
	struct script *s;
	uint32_t at = 1;

	script_tunables(&t);
	t.tcp_rcvbuf = 70000; /* scaled by one */
	s = script_start(&t);
	script_accept(s);
	s->hold = true;
	for (; at < 69901; at += 1398)
		IN(s, .flags = A, .seq = at, .ack = 1, .len = 1398);
	for (int i = 0; i < 2000; i++, at++)
		IN(s, .flags = A, .seq = at, .ack = 1, .len = 1);
	assert_in_range(script_conn(s)->rcvq_bytes, 69000, 70001);
	script_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(handshake_and_data),
	    cmocka_unit_test(rst_in_every_state),
	    cmocka_unit_test(syn_in_every_state),
	    cmocka_unit_test(ack_checks),
	    cmocka_unit_test(paws_and_timestamps),
	    cmocka_unit_test(malformed),
	    cmocka_unit_test(no_connection),
	    cmocka_unit_test(out_of_order),
	    cmocka_unit_test(duplicates_and_trimming),
	    cmocka_unit_test(wild_urgent_pointers),
	    cmocka_unit_test(syn_sent_answers),
	    cmocka_unit_test(simultaneous_open),
	    cmocka_unit_test(closing_states),
	    cmocka_unit_test(data_after_close),
	    cmocka_unit_test(icmp_errors),
	    cmocka_unit_test(land),
	    cmocka_unit_test(closed_within_a_burst),
	    cmocka_unit_test(no_space_above),
	    cmocka_unit_test(the_window_closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
