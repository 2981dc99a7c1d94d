/* SPDX-License-Identifier: BSD-3-Clause */
/* Many packets of strangers, and peers that hold on: memory, answers and time are bounded. */
#include <netinet/tcp.h>

#include "script.h"

/* Half-open memory is what tcp.backlog_q0 says, however many SYNs come; who answers gets in. */
static void syn_flood(void **state)
{
	struct sluice_tunables t;
	struct script *s;
	uint32_t base;

	script_tunables(&t);
	t.tcp_backlog_q0 = 1000;
	s = script_start(&t);
	script_listen(s);
	s->deaf = true;
	base = tp_out(s->pool);
	for (uint32_t i = 0; i < 50000; i++) {
		IN(s, .flags = S, .seq = i, .sport = (uint16_t)(1024 + i));
		assert_true(s->sq->tcp->nhalf <= 1000);
	}
	assert_int_equal(s->sq->tcp->halves.inuse, 1000);
	assert_int_equal(s->sq->tcp->conns.inuse, 1); /* the listener */
	assert_int_equal(tp_out(s->pool), base);
	assert_int_equal(CTR(s, tcp_listen_drop_q0), 49000);
	/* The strangers have not answered in a second: they make way. */
	script_run(s, SLUICE_MS(1100));
	s->deaf = false;
	script_forget(s);
	for (uint32_t i = 0; i < 100; i++) {
		s->sport = (uint16_t)(60000 + i);
		IN(s, .flags = S);
		assert_int_equal(script_out(s)->flags, S | A);
		IN(s, .flags = R, .seq = 1);
	}
	/* And all of them go in time. */
	script_run(s, SLUICE_SEC(120));
	assert_int_equal(s->sq->tcp->halves.inuse, 0);
	script_stop(s);
}

/* ACK, SYN-ACK, FIN, RST, XMAS, NULL and data of strangers, to a listener and to nothing: no state,
 * and RSTs at the rate of tcp.rst_rate. */
static void stateless_floods(void **state)
{
	static const uint8_t flags[] = {
	    A, S | A, F, F | A, R, R | A, F | P | U, 0, P | A, S | F, S | R, 63};
	struct sluice_tunables t;
	struct script *s;
	uint32_t base;

	script_tunables(&t);
	t.tcp_rst_rate = 100;
	s = script_start(&t);
	script_listen(s);
	s->deaf = true;
	base = tp_out(s->pool);
	for (uint32_t i = 0; i < 60000; i++) {
		s->dport = i & 1 ? 80 : 81;
		IN(s, .flags = flags[i % RTE_DIM(flags)], .seq = i, .ack = i * 7,
		    .sport = (uint16_t)(1024 + i), .len = i % 3);
		s->now += 50000; /* three seconds in all */
	}
	assert_int_equal(s->sq->tcp->nhalf, 0);
	assert_int_equal(s->sq->tcp->conns.inuse, 1);
	assert_int_equal(s->sq->tcp->tws.inuse, 0);
	assert_int_equal(tp_out(s->pool), base);
	assert_in_range(CTR(s, tcp_out_rsts), 300, 410);
	assert_true(CTR(s, tcp_out_rsts_limited) > 10000);
	script_stop(s);
}

/* An end that never believes our ACKs, for five seconds: two answers a second and no more, in every
 * state (RFC 5961 section 7). */
static void ack_war(void **state)
{
	for (int what = 0; what < 5; what++) {
		struct script *s = script_start(NULL);
		uint64_t from;
		uint32_t out = 0;

		if (what == 0) {
			script_listen(s);
			IN(s, .flags = S);
		} else {
			script_accept(s);
		}
		if (what == 2 || what == 3)
			assert_int_equal(sluice_shutdown(s->st, s->c, SHUT_WR), 0);
		if (what == 4)
			assert_int_equal(sluice_close(s->st, s->c), 0);
		script_settle(s);
		if (what >= 3) /* TIME_WAIT, held and compact */
			IN(s, .flags = F | A, .seq = 1, .ack = 2);
		script_forget(s);
		from = s->now;
		while (s->now < from + SLUICE_SEC(5)) {
			uint32_t i = (uint32_t)((s->now - from) / 1000000);

			/* Left, right, unsent, too old: bare ACKs, RSTs and SYNs by turns. */
			IN(s, .flags = A, .seq = 0u - 100000, .ack = 1);
			IN(s, .flags = A, .seq = 9000000, .ack = 1);
			IN(s, .flags = S, .seq = 0u - i - 2, .ts_back = 900000); /* old */
			IN(s, .flags = R, .seq = 5, .no_ts = true);
			if (what != 0)
				IN(s, .flags = A, .seq = 2, .ack = 100000);
			for (; s->next < s->nout; s->next++)
				out += !(s->out[s->next].flags & (S | F)); /* no repeats of ours */
			script_forget(s);
			s->now += SLUICE_MS(1);
		}
		assert_in_range(out, 9, 11);
		script_stop(s);
	}
}

/* Whether a stranger's guess hit another connection does not show in the challenge ACKs that the
 * attacker's own gets (CVE-2016-5696): the limit is each connection's own. */
static uint32_t challenges_of_own(bool guess_hits)
{
	struct script *s = script_start(NULL);
	uint32_t isn = s->isn, victim_isn = 0x12345678, n = 0;

	s->isn = victim_isn;
	s->sport = 7777;
	script_accept(s);
	s->isn = isn;
	s->sport = 5555;
	script_accept(s);
	script_forget(s);
	for (int i = 0; i < 1000; i++) {
		/* To the victim: in its window or not. */
		s->isn = victim_isn;
		IN(s, .flags = R, .seq = guess_hits ? 100 : 0u - 100, .no_ts = true, .sport = 7777);
		s->isn = isn;
		IN(s, .flags = R, .seq = 100, .no_ts = true); /* to the own one */
		for (; s->next < s->nout; s->next++)
			n += s->out[s->next].dport == 5555;
		script_forget(s);
		s->now += SLUICE_MS(1);
	}
	script_stop(s);
	return n;
}

static void challenge_side_channel(void **state)
{
	uint32_t n = challenges_of_own(false);

	assert_int_equal(n, 2);
	assert_int_equal(challenges_of_own(true), n);
}

/* A peer that asks, never reads and answers every probe. The user's limit ends it; without one it
 * lasts as long as the user wants; and without a user it ends. */
static uint64_t hold(struct script *s, uint64_t most)
{
	uint64_t from = s->now;
	uint32_t una = script_conn(s)->snd_una - s->iss;

	while (s->now < from + most) {
		script_forget(s);
		script_run(s, SLUICE_MS(500));
		if (s->gone || s->closed)
			break;
		IN(s, .flags = A, .seq = 1, .ack = una, .wnd = -1);
	}
	return s->now - from;
}

static void zero_window_hold(void **state)
{
	for (int what = 0; what < 3; what++) {
		struct script *s = script_start(NULL);
		int ms = 30000;
		uint64_t took;

		script_accept(s);
		if (what == 1)
			assert_int_equal(sluice_setsockopt(s->st, s->c, IPPROTO_TCP,
					     TCP_USER_TIMEOUT, &ms, sizeof(ms)),
			    0);
		IN(s, .flags = A, .seq = 1, .ack = 1, .wnd = -1);
		script_say(s, 5000, 0);
		if (what == 2)
			assert_int_equal(sluice_close(s->st, s->c), 0);
		took = hold(s, SLUICE_SEC(3600));
		if (what == 0) {
			assert_false(s->gone); /* MUST-36 */
		} else if (what == 1) {
			assert_true(s->gone);
			assert_int_equal(s->err, ETIMEDOUT);
			assert_in_range(took, SLUICE_SEC(29), SLUICE_SEC(95));
		} else {
			assert_true(s->closed);
			assert_in_range(took, SLUICE_SEC(290), SLUICE_SEC(420));
			assert_int_equal(s->sq->tcp->conns.inuse, 1);
		}
		script_stop(s);
	}
}

/* Many such peers: each holds its connection and what its user queued, nothing more. */
static void sockstress(void **state)
{
	struct script *s = script_start(NULL);
	uint32_t base, n = 16;

	script_listen(s);
	base = tp_out(s->pool);
	for (uint32_t i = 0; i < n; i++) {
		s->sport = (uint16_t)(10000 + i);
		s->deaf = false;
		script_accept(s);
		s->deaf = true;
		IN(s, .flags = A | P, .seq = 1, .ack = 1, .len = 50, .wnd = -1);
		s->said = s->got = 0;
		script_say(s, 1000, 0);
	}
	script_run(s, SLUICE_SEC(200));
	assert_true(tp_out(s->pool) - base <= n);
	s->deaf = false;
	script_forget(s);
	s->sport = 20000; /* others are served */
	script_accept(s);
	s->said = s->got = 0;
	script_say(s, 100, 0);
	WANT(s, A, 1, 1, 100);
	s->deaf = true;
	script_run(s, SLUICE_SEC(700)); /* none of them answered: all are given up */
	assert_true(CTR(s, tcp_rto_drop) >= n);
	assert_int_equal(tp_out(s->pool), base);
	script_stop(s);
}

/* The clock jumps by thirty years, and stands still: timers fire once, on what is there; a pass
 * does bounded work. */
static void clock_jumps(void **state)
{
	struct script *s = script_start(NULL);
	unsigned int passes = 0;

	script_listen(s);
	for (uint32_t i = 0; i < 16; i++) {
		s->sport = (uint16_t)(10000 + i);
		if (i % 3 == 0) {
			IN(s, .flags = S);
			continue;
		}
		IN(s, .flags = S);
		script_forget(s);
		IN(s, .flags = A, .seq = 1, .ack = 1);
		s->said = s->got = 0;
		script_say(s, 100, 0);
		if (i % 3 == 2)
			assert_int_equal(sluice_close(s->st, s->c), 0);
		script_settle(s);
		script_forget(s);
	}
	s->deaf = true;
	s->now += SLUICE_SEC(30ull * 365 * 86400);
	while (sluice_squeue_poll(s->sq, s->now, 0) > 0 && passes < 10000)
		passes++;
	assert_true(passes < 200);
	for (int i = 0; i < 100; i++) /* time stands still: nothing more */
		assert_true(sluice_squeue_poll(s->sq, s->now, 0) <= 0);
	for (int i = 0; i < 20; i++) {
		s->now += SLUICE_SEC(365ull * 86400);
		script_settle(s);
	}
	assert_int_equal(s->sq->tcp->nhalf, 0);
	assert_true(CTR(s, tcp_rto_drop) > 0);
	s->deaf = false;
	script_forget(s);
	s->sport = 20000;
	script_accept(s); /* and the stack works */
	script_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(syn_flood),
	    cmocka_unit_test(stateless_floods),
	    cmocka_unit_test(ack_war),
	    cmocka_unit_test(challenge_side_channel),
	    cmocka_unit_test(zero_window_hold),
	    cmocka_unit_test(sockstress),
	    cmocka_unit_test(clock_jumps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
