/* SPDX-License-Identifier: BSD-3-Clause */
/* How connections begin and what is left of them: SYN cache, backlog, TIME_WAIT and its reuse,
 * binds, ports, sources. */
#include "script.h"

static sluice_conn_t make(struct script *s, int family)
{
	sluice_conn_t c;

	assert_int_equal(sluice_create(s->st, family, SOCK_STREAM, 0, 0, 0, &c), 0);
	assert_int_equal(sluice_activate(s->st, c, &script_upcalls, s), 0);
	return c;
}

static int bind4(struct script *s, sluice_conn_t c, uint32_t addr, uint16_t port)
{
	struct sockaddr_in a = {
	    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(addr)};

	return sluice_bind(s->st, c, (struct sockaddr *)&a, sizeof(a));
}

static int bind6(struct script *s, sluice_conn_t c, uint16_t port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	return sluice_bind(s->st, c, (struct sockaddr *)&a, sizeof(a));
}

static int dial(struct script *s, sluice_conn_t c, uint16_t port)
{
	struct sockaddr_in a = {
	    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x0a000009)};

	return sluice_connect(s->st, c, (struct sockaddr *)&a, sizeof(a), NULL);
}

static void syn_flood(void **state)
{
	struct sluice_tunables t;
	struct script *s;

	script_tunables(&t);
	t.tcp_backlog_q0 = 20;
	s = script_start(&t);
	script_listen(s);
	for (uint16_t i = 0; i < 200; i++)
		IN(s, .flags = S, .sport = (uint16_t)(1000 + i));
	assert_int_equal(s->nout, 20);
	assert_int_equal(CTR(s, tcp_listen_drop_q0), 180);
	/* Who did not answer the first SYN-ACK in time makes way for others. */
	script_run(s, SLUICE_SEC(1) + SLUICE_MS(10));
	script_forget(s);
	for (uint16_t i = 0; i < 10; i++)
		IN(s, .flags = S, .sport = (uint16_t)(3000 + i));
	assert_int_equal(s->nout, 10);
	assert_int_equal(s->sq->tcp->nhalf, 20);
	s->sport = 3009;
	IN(s, .flags = A, .seq = 1, .ack = 1);
	assert_int_equal(s->accepted, 1);
	script_stop(s);
}

#define TUPLES 100000

/* Chi squared of 256 classes: 255 on average, 22.6 the standard deviation. */
static void assert_uniform(const uint32_t *class, uint32_t n)
{
	double chi = 0, want = n / 256.0;

	for (int i = 0; i < 256; i++)
		chi += (class[i] - want) * (class[i] - want) / want;
	if (chi > 255 + 5 * 22.6)
		fail_msg("not uniform: chi squared %.0f", chi);
}

/*
 * RFC 6528: the clock, plus what nobody can compute who has not the key. From one tuple to the next
 * neither the high nor the low byte of the step says anything, nor does the number under another
 * key.
 */
static void isn_is_keyed(void **state)
{
	struct script *s = script_start(NULL);
	struct sl_key k = {.vrf = 0, .lport = htons(80)};
	uint32_t high[256] = {0}, low[256] = {0}, other[256] = {0}, last = 0, iss, again;

	k.laddr = sl_addr4(htonl(0x0a000001));
	for (uint32_t i = 0; i < TUPLES; i++) {
		k.raddr = sl_addr4(htonl(0x0a000009 + i / 50000));
		k.rport = htons((uint16_t)(1024 + i % 50000));
		iss = sl_tcp_iss(s->sq, &k);
		high[(iss - last) >> 24]++;
		low[(iss - last) & 255]++;
		last = iss;
		s->st->secret_iss.k[0] ^= 1; /* one bit of the key */
		other[(sl_tcp_iss(s->sq, &k) - iss) >> 24]++;
		s->st->secret_iss.k[0] ^= 1;
	}
	assert_uniform(high, TUPLES);
	assert_uniform(low, TUPLES);
	assert_uniform(other, TUPLES);
	s->now += SLUICE_SEC(1);
	script_settle(s);
	again = sl_tcp_iss(s->sq, &k);
	assert_int_equal(again - iss, 250000); /* a tick each 4 us */
	script_stop(s);
}

static void half_open_segments(void **state)
{
	struct sluice_tunables t;
	struct script *s;

	script_tunables(&t);
	t.tcp_ack_war = 0;
	s = script_start(&t);
	script_listen(s);
	IN(s, .flags = S);
	WANT(s, S | A, 0, 1, 0);
	IN(s, .flags = A, .seq = 1, .ack = 7); /* not of our SYN-ACK */
	WANT(s, R, 7, 0, 0);
	IN(s, .flags = A, .seq = 1, .ack = 1, .no_ts = true);
	assert_int_equal(CTR(s, tcp_in_no_ts), 1);
	IN(s, .flags = A, .seq = 1, .ack = 1, .ts_back = 5000);
	assert_int_equal(CTR(s, tcp_in_paws), 1);
	WANT(s, A, 1, 1, 0);
	IN(s, .flags = A, .seq = 900000, .ack = 1);
	WANT(s, A, 1, 1, 0);
	IN(s, .flags = S, .seq = 5);
	WANT(s, A, 1, 1, 0);
	IN(s, .flags = R, .seq = 900000);
	IN(s, .flags = F, .seq = 1); /* without ACK: nothing */
	script_none(s);
	IN(s, .flags = R, .seq = 10);
	WANT(s, A, 1, 1, 0);
	script_icmp(s, 3, 3, 1, 0); /* not of our SYN-ACK */
	script_icmp(s, 3, 1, 0, 0); /* unreachable for now: its timer's to judge */
	assert_int_equal(s->accepted, 0);
	IN(s, .flags = F | A, .seq = 1, .ack = 1, .len = 12); /* all in one */
	assert_int_equal(s->accepted, 1);
	assert_int_equal(s->got, 12);
	assert_true(s->eof);
	STATE(s, CLOSE_WAIT);
	script_stop(s);

	s = script_start(NULL);
	script_listen(s);
	IN(s, .flags = S);
	WANT(s, S | A, 0, 1, 0);
	IN(s, .flags = S); /* in a burst: not again */
	script_none(s);
	s->now += SLUICE_MS(500);
	IN(s, .flags = S);
	WANT(s, S | A, 0, 1, 0);
	IN(s, .flags = R, .seq = 1);
	assert_int_equal(s->sq->tcp->nhalf, 0);
	s->refuse = true;
	script_forget(s);
	IN(s, .flags = S);
	WANT(s, S | A, 0, 1, 0);
	IN(s, .flags = A, .seq = 1, .ack = 1);
	assert_int_equal(script_out(s)->flags & R, R);
	/* The listener goes, and what was half open with it. */
	IN(s, .flags = S);
	assert_int_equal(s->sq->tcp->nhalf, 1);
	assert_int_equal(sluice_close(s->st, s->listener), 0);
	script_settle(s);
	assert_int_equal(s->sq->tcp->nhalf, 0);
	script_stop(s);
}

static void plain_peers(void **state)
{
	/* What the peer does not offer is not used; what it does not say has defaults. */
	struct script *s = script_start(NULL);
	struct out *o;

	s->ts = s->sack = false;
	s->wscale = -1;
	s->mss = 0;
	script_listen(s);
	IN(s, .flags = S);
	o = script_out(s);
	assert_false(o->ts || o->sack_ok);
	assert_int_equal(o->wscale, -1);
	IN(s, .flags = A, .seq = 1, .ack = 1);
	assert_int_equal(script_conn(s)->mss, 536);
	script_say(s, 2000, 0);
	WANT(s, A, 1, 1, 536);
	script_stop(s);

	s = script_start(NULL);
	s->ts = false;
	script_connect_syn(s);
	IN(s, .flags = S | A, .ack = 1, .mss = 10); /* absurd: there is a floor */
	assert_int_equal(script_conn(s)->mss, 48);
	script_stop(s);
}

static void time_wait(struct script *s)
{
	script_accept(s);
	assert_int_equal(sluice_close(s->st, s->c), 0);
	script_settle(s);
	WANT(s, F | A, 1, 1, 0);
	IN(s, .flags = F | A, .seq = 1, .ack = 2);
	WANT(s, A, 2, 2, 0);
	assert_true(s->closed);
	s->closed = false;
	assert_non_null(s->sq->tcp->tw_head);
}

static void time_wait_segments(void **state)
{
	struct sluice_tunables t;
	struct script *s;

	script_tunables(&t);
	t.tcp_ack_war = 0;
	s = script_start(&t);
	time_wait(s);
	IN(s, .flags = R, .seq = 2); /* RFC 1337 */
	script_none(s);
	IN(s, .flags = F | A, .seq = 1, .ack = 2);
	WANT(s, A, 2, 2, 0);
	IN(s, .flags = A, .seq = 2, .ack = 2);
	script_none(s);
	IN(s, .flags = A, .seq = 2, .ack = 2, .len = 10);
	WANT(s, A, 2, 2, 0);
	IN(s, .flags = A, .seq = 2, .ack = 2, .ts_back = 5000);
	WANT(s, A, 2, 2, 0);
	assert_int_equal(CTR(s, tcp_in_paws), 1);
	IN(s, .flags = S, .seq = 1, .ts_back = 9000); /* old SYN */
	WANT(s, A, 2, 2, 0);
	assert_int_equal(CTR(s, tcp_timewait_reused), 0);
	script_run(s, SLUICE_SEC(61));
	assert_null(s->sq->tcp->tw_head);
	IN(s, .flags = A, .seq = 2, .ack = 2);
	assert_int_equal(script_out(s)->flags, R);
	script_stop(s);

	/* Answers are limited. */
	s = script_start(NULL);
	time_wait(s);
	IN(s, .flags = A, .seq = 2, .ack = 2, .len = 1);
	IN(s, .flags = A, .seq = 2, .ack = 2, .len = 1);
	assert_int_equal(s->nout - s->next, 1);
	assert_int_equal(CTR(s, tcp_out_challenge_limited), 1);
	script_stop(s);

	/* Full: the oldest goes. None at all: at once. */
	t.tcp_time_wait_max = 2;
	s = script_start(&t);
	for (int i = 0; i < 4; i++) {
		s->sport++;
		time_wait(s);
		s->got = s->said = 0;
	}
	assert_int_equal(CTR(s, tcp_timewait_evicted), 2);
	script_stop(s);
	t.tcp_time_wait = 0;
	s = script_start(&t);
	script_accept(s);
	assert_int_equal(sluice_close(s->st, s->c), 0);
	script_settle(s);
	IN(s, .flags = F | A, .seq = 1, .ack = 2);
	assert_null(s->sq->tcp->tw_head);
	assert_true(s->closed);
	script_stop(s);
}

static void time_wait_reuse_passive(void **state)
{
	for (int ts = 0; ts < 2; ts++) {
		struct script *s = script_start(NULL);
		uint32_t old;

		s->ts = ts;
		time_wait(s);
		old = s->iss + 2;
		s->now += SLUICE_MS(10);
		IN(s, .flags = S, .seq = ts ? 0u - 100 : 1000); /* newer by time, or by number */
		assert_int_equal(CTR(s, tcp_timewait_reused), 1);
		assert_int_equal(script_out(s)->flags, S | A);
		assert_true(seq_ge(s->iss, old + 65536));
		script_stop(s);
	}
	/* Without a listener any more nothing can follow: the wait goes on. */
	{
		struct script *s = script_start(NULL);

		time_wait(s);
		assert_int_equal(sluice_close(s->st, s->listener), 0);
		script_settle(s);
		s->now += SLUICE_MS(10);
		IN(s, .flags = S, .seq = 1000);
		WANT(s, A, 2, 2, 0);
		assert_int_equal(CTR(s, tcp_timewait_reused), 0);
		assert_int_equal(s->sq->tcp->tws.inuse, 1);
		script_stop(s);
	}
	/* The user has not closed yet: for him the wait is over. */
	{
		struct script *s = script_start(NULL);

		script_accept(s);
		assert_int_equal(sluice_shutdown(s->st, s->c, SHUT_WR), 0);
		script_settle(s);
		IN(s, .flags = F | A, .seq = 1, .ack = 2);
		STATE(s, TIME_WAIT);
		script_forget(s);
		s->now += SLUICE_MS(10);
		IN(s, .flags = S, .seq = 0u - 100, .ts_back = 1000);
		WANT(s, A, 2, 2, 0);
		STATE(s, TIME_WAIT);
		IN(s, .flags = S, .seq = 0u - 100);
		assert_int_equal(script_out(s)->flags, S | A);
		STATE(s, CLOSED);
		assert_int_equal(CTR(s, tcp_timewait_reused), 1);
		script_stop(s);
	}
}

static void time_wait_reuse_active(void **state)
{
	struct sluice_tunables t;
	struct script *s;
	uint32_t old;

	script_tunables(&t);
	t.tcp_port_min = t.tcp_port_max = 4000; /* one port only */
	s = script_start(&t);
	script_connect(s);
	assert_int_equal(s->dport, 4000);
	assert_int_equal(sluice_close(s->st, s->c), 0);
	script_settle(s);
	IN(s, .flags = F | A, .seq = 1, .ack = 2);
	assert_non_null(s->sq->tcp->tw_head);
	old = s->iss + 2;
	s->c = make(s, AF_INET);
	assert_int_equal(dial(s, s->c, s->sport), -EADDRNOTAVAIL); /* too soon */
	assert_int_equal(CTR(s, tcp_ports_exhausted), 1);
	STATE(s, IDLE);
	script_run(s, SLUICE_SEC(2));
	script_forget(s);
	assert_int_equal(dial(s, s->c, s->sport), -EINPROGRESS);
	script_settle(s);
	assert_int_equal(script_out(s)->flags, S);
	assert_true(seq_ge(s->iss, old + 65536));
	assert_int_equal(CTR(s, tcp_timewait_reused), 1);
	script_stop(s);
}

/** The wait is the tunable's, and begins anew with each ACK that TIME_WAIT sends. */
static void time_wait_reuse_delay(void **state)
{
	struct sluice_tunables t;
	struct script *s;

	script_tunables(&t);
	t.tcp_port_min = t.tcp_port_max = 4000;
	t.tcp_time_wait_reuse = SLUICE_MS(5);
	s = script_start(&t);
	script_connect(s);
	assert_int_equal(sluice_close(s->st, s->c), 0);
	script_settle(s);
	IN(s, .flags = F | A, .seq = 1, .ack = 2);
	assert_non_null(s->sq->tcp->tw_head);
	s->c = make(s, AF_INET);
	s->now += SLUICE_MS(5);
	assert_int_equal(dial(s, s->c, s->sport), -EADDRNOTAVAIL);
	IN(s, .flags = F | A, .seq = 1, .ack = 2); /* answered with a newer timestamp */
	s->now += SLUICE_MS(4);
	script_settle(s);
	assert_int_equal(dial(s, s->c, s->sport), -EADDRNOTAVAIL);
	s->now += SLUICE_MS(2);
	script_settle(s);
	assert_int_equal(dial(s, s->c, s->sport), -EINPROGRESS);
	assert_int_equal(CTR(s, tcp_timewait_reused), 1);
	script_stop(s);
}

static void ports_run_out(void **state)
{
	struct sluice_tunables t;
	struct script *s;
	sluice_conn_t c;

	script_tunables(&t);
	t.tcp_port_min = 4000;
	t.tcp_port_max = 4009;
	s = script_start(&t);
	for (int i = 0; i < 10; i++)
		assert_int_equal(dial(s, make(s, AF_INET), 99), -EINPROGRESS);
	c = make(s, AF_INET);
	assert_int_equal(dial(s, c, 99), -EADDRNOTAVAIL);
	assert_int_equal(dial(s, c, 98), -EINPROGRESS); /* another destination: all free */
	for (int i = 0; i < 10; i++)
		assert_int_equal(bind4(s, make(s, AF_INET), 0, 0), 0);
	assert_int_equal(bind4(s, make(s, AF_INET), 0, 0), -EADDRNOTAVAIL);
	assert_int_equal(CTR(s, tcp_ports_exhausted), 2);
	script_stop(s);
}

#define DIALS 8192

/* RFC 6056: which port goes to a destination says nothing of which goes to the next one. */
static void ports_are_spread(void **state)
{
	struct script *s = script_start(NULL);
	uint32_t class[256] = {0}, step[256] = {0}, last = 0;

	for (uint16_t i = 0; i < DIALS; i++) {
		sluice_conn_t c = make(s, AF_INET);
		uint16_t port;

		assert_int_equal(dial(s, c, (uint16_t)(1000 + i)), -EINPROGRESS);
		script_settle(s);
		port = script_out(s)->sport;
		assert_true(port >= 32768);
		class[(port - 32768) >> 7]++;
		step[((port - last) & 32767) >> 7]++;
		last = port;
		assert_int_equal(sluice_abort(s->st, c), 0);
		script_settle(s);
		script_forget(s);
	}
	assert_uniform(class, DIALS);
	assert_uniform(step, DIALS);
	script_stop(s);
}

static void bind_conflicts(void **state)
{
	struct sluice_tunables t;
	struct script *s;
	sluice_conn_t a, b, six;
	int one = 1;

	script_tunables(&t);
	t.tcp_privileged_port = 100;
	s = script_start(&t);
	a = make(s, AF_INET);
	assert_int_equal(bind4(s, a, 0x0a000001, 80), -EACCES);
	assert_int_equal(bind4(s, a, 0x0a000063, 800), -EADDRNOTAVAIL);
	assert_int_equal(bind4(s, a, 0x0a000001, 800), 0);
	assert_int_equal(bind4(s, a, 0x0a000001, 801), -EINVAL);
	b = make(s, AF_INET);
	assert_int_equal(bind4(s, b, 0x0a000001, 800), -EADDRINUSE);
	assert_int_equal(bind4(s, b, 0, 800), -EADDRINUSE);
	assert_int_equal(bind4(s, b, 0x0a000002, 800), 0);
	six = make(s, AF_INET6);
	assert_int_equal(bind6(s, six, 800), -EADDRINUSE); /* dual stack */
	assert_int_equal(
	    sluice_setsockopt(s->st, six, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)), 0);
	assert_int_equal(bind6(s, six, 800), 0);
	assert_int_equal(bind6(s, make(s, AF_INET6), 800), -EADDRINUSE);
	/* Given back. */
	assert_int_equal(sluice_bind(s->st, a, NULL, 0), 0);
	assert_int_equal(bind4(s, make(s, AF_INET), 0x0a000001, 800), 0);
	assert_int_equal(sluice_close(s->st, b), 0);
	script_settle(s);
	assert_int_equal(bind4(s, make(s, AF_INET), 0x0a000002, 800), 0);
	script_stop(s);
}

static void connect_refusals(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(1)};
	struct script *s = script_start(NULL);
	sluice_conn_t c = make(s, AF_INET);

	assert_int_equal(dial(s, c, 0), -EADDRNOTAVAIL);
	a.sin_addr.s_addr = htonl(0xe0000001);
	assert_int_equal(sluice_connect(s->st, c, (void *)&a, sizeof(a), NULL), -ENETUNREACH);
	a.sin_addr.s_addr = htonl(0x08080808);
	assert_int_equal(sluice_connect(s->st, c, (void *)&a, sizeof(a), NULL), -ENETUNREACH);
	assert_int_equal(sluice_connect(s->st, c, (void *)&a, 3, NULL), -EINVAL);
	a.sin_family = AF_INET6;
	assert_int_equal(sluice_connect(s->st, c, (void *)&a, sizeof(a), NULL), -EAFNOSUPPORT);
	/* To itself: port and address. */
	assert_int_equal(bind4(s, c, 0x0a000001, 700), 0);
	a.sin_family = AF_INET;
	a.sin_addr.s_addr = htonl(0x0a000001);
	a.sin_port = htons(700);
	assert_int_equal(sluice_connect(s->st, c, (void *)&a, sizeof(a), NULL), -EADDRNOTAVAIL);
	assert_int_equal(dial(s, c, 99), -EINPROGRESS);
	assert_int_equal(dial(s, c, 99), -EALREADY);
	script_stop(s);
}

static void pool_of_sources(void **state)
{
	struct sluice_addr first = sl_addr4(htonl(0x0a000001));
	struct script *s = script_start(NULL);
	unsigned int seen = 0;

	for (int i = 0; i < 40; i++) {
		sluice_conn_t c = make(s, AF_INET);
		struct out *o;

		assert_int_equal(
		    sluice_set_sources(s->st, c, &first, 4), 0); /* the fourth is not ours */
		assert_int_equal(dial(s, c, 99), -EINPROGRESS);
		script_settle(s);
		o = script_out(s);
		assert_in_range(o->src, 0x0a000001, 0x0a000003);
		seen |= 1u << (o->src & 3);
		assert_int_equal(sluice_set_sources(s->st, c, &first, 4), -EINVAL);
	}
	assert_int_equal(seen, 14);
	script_stop(s);
}

static void close_before_the_end(void **state)
{
	struct linger lg = {.l_onoff = 1};
	struct script *s = script_start(NULL);

	script_connect_syn(s);
	assert_int_equal(sluice_close(s->st, s->c), 0);
	script_settle(s);
	assert_true(s->closed);
	script_stop(s);

	s = script_start(NULL);
	script_accept(s);
	assert_int_equal(sluice_setsockopt(s->st, s->c, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)), 0);
	script_say(s, 10, 0);
	script_forget(s);
	assert_int_equal(sluice_close(s->st, s->c), 0);
	script_settle(s);
	assert_int_equal(script_out(s)->flags, R | A);
	assert_true(s->closed);
	script_stop(s);

	/* What is queued goes before the FIN. */
	s = script_start(NULL);
	script_accept(s);
	script_say(s, 2000, 0);
	script_forget(s);
	assert_int_equal(sluice_close(s->st, s->c), 0);
	script_settle(s);
	WANT(s, F | A, 1449, 1, 552);
	IN(s, .flags = A, .seq = 1, .ack = 2002);
	IN(s, .flags = F | A, .seq = 1, .ack = 2002);
	assert_true(s->closed);
	script_stop(s);
}

/* Each connect raises the connection id; the caller is told, and any thread reads it at the door. */
static void connect_has_an_id(void **state)
{
	struct script *s = script_start(NULL);
	struct sockaddr_in a = {
	    .sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(0x0a000063)};
	uint32_t id[2] = {0, 0};

	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(sluice_create(s->st, AF_INET, SOCK_STREAM, 0, 0, 0, &s->c), 0);
		assert_int_equal(sluice_activate(s->st, s->c, &script_upcalls, s), 0);
		assert_int_equal(
		    sluice_connect(s->st, s->c, (struct sockaddr *)&a, sizeof(a), &id[i]),
		    -EINPROGRESS);
		assert_int_not_equal(id[i], 0);
		assert_int_equal(
		    atomic_load(&sl_conn_door(s->sq, script_conn(s))->pub.connid), id[i]);
		assert_int_equal(sluice_abort(s->st, s->c), 0);
		script_settle(s);
	}
	assert_int_not_equal(id[0], id[1]);
	script_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(syn_flood),
	    cmocka_unit_test(isn_is_keyed),
	    cmocka_unit_test(half_open_segments),
	    cmocka_unit_test(plain_peers),
	    cmocka_unit_test(time_wait_segments),
	    cmocka_unit_test(time_wait_reuse_passive),
	    cmocka_unit_test(time_wait_reuse_active),
	    cmocka_unit_test(time_wait_reuse_delay),
	    cmocka_unit_test(ports_run_out),
	    cmocka_unit_test(ports_are_spread),
	    cmocka_unit_test(bind_conflicts),
	    cmocka_unit_test(connect_refusals),
	    cmocka_unit_test(pool_of_sources),
	    cmocka_unit_test(close_before_the_end),
	    cmocka_unit_test(connect_has_an_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
