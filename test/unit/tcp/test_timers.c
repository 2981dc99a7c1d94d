/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens when nothing happens: keepalive, persist, delayed ACKs, Nagle, cork, FIN_WAIT_2, R2;
 * in virtual time. */
#include "script.h"

#include "duo.h"

static void set_int(struct script *s, int level, int name, int v)
{
	assert_int_equal(sluice_setsockopt(s->st, s->c, level, name, &v, sizeof(v)), 0);
}

static void keepalive_drops(void **state)
{
	struct script *s = script_start(NULL);
	uint64_t start;

	script_accept(s);
	start = s->now;
	set_int(s, IPPROTO_TCP, TCP_KEEPIDLE, 10);
	set_int(s, IPPROTO_TCP, TCP_KEEPINTVL, 2);
	set_int(s, IPPROTO_TCP, TCP_KEEPCNT, 3);
	script_run(s, SLUICE_SEC(30));
	script_none(s); /* not asked for */
	set_int(s, SOL_SOCKET, SO_KEEPALIVE, 1);
	IN(s, .flags = A | P, .seq = 1, .ack = 1, .len = 10);
	script_run(s, SLUICE_SEC(9));
	WANT(s, A, 1, 11, 0); /* the delayed ACK, no probe yet */
	script_none(s);
	script_run(s, SLUICE_SEC(2));
	WANT(s, A, 0, 11, 0); /* snd_una - 1 */
	script_none(s);
	IN(s, .flags = A, .seq = 11, .ack = 1); /* it lives */
	script_run(s, SLUICE_SEC(9));
	script_none(s);
	script_run(s, SLUICE_SEC(20));
	WANT(s, A, 0, 11, 0);
	WANT(s, A, 0, 11, 0);
	WANT(s, A, 0, 11, 0);
	assert_true(s->gone);
	assert_int_equal(s->err, ETIMEDOUT);
	assert_int_equal(CTR(s, tcp_keepalive_drop), 1);
	assert_int_equal(CTR(s, tcp_keepalive_probe), 4);
	assert_true(s->now > start);
	script_stop(s);

	/* Off again; and with data in flight the data asks. */
	s = script_start(NULL);
	script_accept(s);
	set_int(s, IPPROTO_TCP, TCP_KEEPIDLE, 1);
	set_int(s, SOL_SOCKET, SO_KEEPALIVE, 1);
	script_say(s, 10, 0);
	script_run(s, SLUICE_SEC(10));
	assert_int_equal(CTR(s, tcp_keepalive_probe), 0);
	assert_true(CTR(s, tcp_keepalive) > 0);
	IN(s, .flags = A, .seq = 1, .ack = 11);
	set_int(s, SOL_SOCKET, SO_KEEPALIVE, 0);
	script_run(s, SLUICE_SEC(100));
	assert_int_equal(CTR(s, tcp_keepalive_probe), 0);
	script_stop(s);
}

/* A byte that probed a closed window was not taken: a RST behind it would lie outside of the peer's
 * window, and the peer would wait for ever. */
static void abort_at_closed_window(void **state)
{
	struct script *s = script_start(NULL);

	script_accept(s);
	script_say(s, 100, 0);
	IN(s, .flags = A, .seq = 1, .ack = 101, .wnd = -1);
	script_say(s, 3000, 0);
	script_run(s, SLUICE_SEC(10)); /* probes */
	assert_true(CTR(s, tcp_out_win_probe) > 0);
	IN(s, .flags = A, .seq = 1, .ack = 101, .wnd = -1);
	script_forget(s);
	assert_int_equal(sluice_abort(s->st, s->c), 0);
	script_run(s, SLUICE_MS(1));
	assert_int_equal(s->nout, 1);
	assert_int_equal(s->out[0].flags, R | A);
	assert_int_equal(s->out[0].seq, 101);
	script_stop(s);
}

static void persist_and_reopen(void **state)
{
	struct script *s = script_start(NULL);
	unsigned int probes = 0;
	uint64_t last = 0, gap = 0;

	script_accept(s);
	script_say(s, 100, 0);
	IN(s, .flags = A, .seq = 1, .ack = 101, .wnd = -1);
	script_forget(s);
	script_say(s, 3000, 0);
	script_none(s);
	script_run(s, SLUICE_SEC(100));
	for (unsigned int i = 0; i < s->nout; i++) {
		assert_int_equal(s->out[i].seq, 101);
		assert_int_equal(s->out[i].len, 1);
		if (last != 0) {
			assert_true(s->out[i].at - last >= gap); /* backs off */
			gap = s->out[i].at - last;
		}
		last = s->out[i].at;
		probes++;
	}
	assert_in_range(probes, 4, 15);
	assert_true(CTR(s, tcp_out_win_probe) > 0);
	/* The peer answers, and keeps it shut: for as long as it likes (MUST-37). */
	for (int i = 0; i < 30; i++) {
		script_forget(s);
		IN(s, .flags = A, .seq = 1, .ack = 101, .wnd = -1);
		script_run(s, SLUICE_SEC(61));
		STATE(s, ESTABLISHED);
	}
	script_forget(s);
	IN(s, .flags = A, .seq = 1, .ack = 101, .wnd = 60000);
	script_run(s, SLUICE_MS(100));
	assert_true(s->nout > 0);
	assert_int_equal(s->out[0].seq, 101);
	for (int i = 0; i < 10; i++)
		IN(s, .flags = A, .seq = 1, .ack = script_conn(s)->snd_max - s->iss);
	assert_int_equal(script_conn(s)->snd_una - s->iss, 3101);
	assert_int_equal(script_conn(s)->sndq_bytes, 0);
	script_forget(s);
	script_run(s, SLUICE_SEC(10));
	script_none(s);
	script_stop(s);

	/* A FIN before a closed window. */
	s = script_start(NULL);
	script_accept(s);
	IN(s, .flags = A, .seq = 1, .ack = 1, .wnd = -1);
	assert_int_equal(sluice_shutdown(s->st, s->c, SHUT_WR), 0);
	script_run(s, SLUICE_SEC(5));
	assert_true(s->nout > 0);
	assert_int_equal(s->out[0].flags & F, F);
	script_stop(s);
}

static void delayed_acks(void **state)
{
	struct script *s = script_start(NULL);
	uint64_t t0;

	script_accept(s);
	/* The window of the SYN was not scaled: the first data brings a window update. */
	IN(s, .flags = A, .seq = 1, .ack = 1, .len = 10);
	WANT(s, A, 1, 11, 0);
	assert_int_equal(CTR(s, tcp_out_win_update), 1);
	script_run(s, SLUICE_MS(60));
	script_none(s);
	s->isn += 10;
	s->got = 0;
	t0 = s->now;
	IN(s, .flags = A, .seq = 1, .ack = 1, .len = 1448);
	script_none(s);
	script_run(s, SLUICE_MS(38));
	script_none(s);
	script_run(s, SLUICE_MS(5));
	assert_in_range(s->out[0].at - t0, SLUICE_MS(39), SLUICE_MS(43));
	WANT(s, A, 1, 1449, 0);
	assert_int_equal(CTR(s, tcp_out_ack_delayed), 1);
	IN(s, .flags = A, .seq = 1449, .ack = 1, .len = 1448);
	script_none(s);
	IN(s, .flags = A, .seq = 2897, .ack = 1, .len = 1448); /* every second (MUST-58) */
	WANT(s, A, 1, 4345, 0);
	/* An answer carries it. */
	IN(s, .flags = A, .seq = 4345, .ack = 1, .len = 10);
	script_say(s, 10, 0);
	WANT(s, A, 1, 4355, 10);
	script_run(s, SLUICE_MS(60));
	script_none(s);
	script_stop(s);
}

static void quick_acks(void **state)
{
	struct sluice_tunables t;
	struct script *s;

	sluice_tunables_default(&t);
	t.tcp_quickack = 3;
	s = script_start(&t);
	script_accept(s);
	for (uint32_t i = 0; i < 3; i++) {
		IN(s, .flags = A, .seq = 1 + i * 10, .ack = 1, .len = 10);
		WANT(s, A, 1, 11 + i * 10, 0);
	}
	IN(s, .flags = A, .seq = 31, .ack = 1, .len = 10);
	script_none(s);
	script_stop(s);
	t.tcp_quickack = 0;
	t.tcp_delack = 0;
	s = script_start(&t);
	script_accept(s);
	IN(s, .flags = A, .seq = 1, .ack = 1, .len = 10);
	WANT(s, A, 1, 11, 0);
	script_stop(s);
}

static void nagle_cork_more(void **state)
{
	struct script *s = script_start(NULL);

	script_accept(s);
	script_say(s, 10, 0);
	WANT(s, A, 1, 1, 10);
	script_say(s, 10, 0);
	script_say(s, 10, 0);
	script_none(s);
	IN(s, .flags = A, .seq = 1, .ack = 11);
	WANT(s, A, 11, 1, 20);
	script_say(s, 10, 0);
	script_none(s);
	set_int(s, IPPROTO_TCP, TCP_NODELAY, 1);
	script_say(s, 10, 0); /* the option holds from the next call on */
	WANT(s, A, 31, 1, 20);
	IN(s, .flags = A, .seq = 1, .ack = 51);
	/* More follows: a partial segment waits 200 ms at most, or for the rest. */
	script_say(s, 10, SLUICE_MSG_MORE);
	script_none(s);
	script_say(s, 10, 0);
	WANT(s, A, 51, 1, 20);
	IN(s, .flags = A, .seq = 1, .ack = 71);
	script_say(s, 10, SLUICE_MSG_MORE);
	script_run(s, SLUICE_MS(190));
	script_none(s);
	script_run(s, SLUICE_MS(20));
	WANT(s, A, 71, 1, 10);
	IN(s, .flags = A, .seq = 1, .ack = 81);
	set_int(s, IPPROTO_TCP, TCP_CORK, 1);
	script_say(s, 2000, 0);
	WANT(s, A, 81, 1, 1448);
	script_none(s);
	set_int(s, IPPROTO_TCP, TCP_CORK, 0);
	script_settle(s);
	WANT(s, A, 1529, 1, 552);
	script_stop(s);
}

static void fin_wait_2_flush(void **state)
{
	struct script *s = script_start(NULL);

	script_accept(s);
	set_int(s, IPPROTO_TCP, TCP_LINGER2, 5);
	assert_int_equal(sluice_close(s->st, s->c), 0);
	script_settle(s);
	IN(s, .flags = A, .seq = 1, .ack = 2);
	script_run(s, SLUICE_SEC(4));
	assert_false(s->closed);
	script_run(s, SLUICE_SEC(2));
	assert_true(s->closed);
	assert_int_equal(CTR(s, tcp_fin_wait2_drop), 1);
	script_stop(s);

	/* Half-closed first, closed in FIN_WAIT_2: the wait begins then. */
	s = script_start(NULL);
	script_accept(s);
	assert_int_equal(sluice_shutdown(s->st, s->c, SHUT_WR), 0);
	script_settle(s);
	IN(s, .flags = A, .seq = 1, .ack = 2);
	script_run(s, SLUICE_SEC(200));
	STATE(s, FIN_WAIT_2);
	assert_int_equal(sluice_close(s->st, s->c), 0);
	script_run(s, SLUICE_SEC(61));
	assert_true(s->closed);
	script_stop(s);
}

static void given_up(void **state)
{
	struct script *s = script_start(NULL);

	script_accept(s);
	script_say(s, 10, 0);
	script_icmp(s, 3, 1, 1, 0);
	assert_int_equal(s->soft, EHOSTUNREACH);
	script_run(s, SLUICE_SEC(400));
	assert_int_equal(s->err, EHOSTUNREACH); /* the soft error tells why */
	assert_int_equal(CTR(s, tcp_rto_drop), 1);
	script_stop(s);

	s = script_start(NULL);
	script_accept(s);
	set_int(s, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
	script_say(s, 10, 0);
	script_run(s, SLUICE_SEC(4));
	assert_false(s->gone);
	script_run(s, SLUICE_SEC(10));
	assert_int_equal(s->err, ETIMEDOUT);
	script_stop(s);
}

static void synack_is_resent(void **state)
{
	struct script *s = script_start(NULL);

	script_listen(s);
	IN(s, .flags = S);
	script_run(s, SLUICE_SEC(200));
	assert_int_equal(s->nout, 1 + 5);
	for (unsigned int i = 0; i < s->nout; i++)
		assert_int_equal(s->out[i].flags, S | A);
	assert_int_equal(CTR(s, tcp_halfopen_drop), 1);
	script_forget(s);
	IN(s, .flags = A, .seq = 1, .ack = 1);
	assert_int_equal(script_out(s)->flags, R);
	assert_int_equal(s->accepted, 0);
	script_stop(s);
}

static void idle_restart(void **state)
{
	struct script *s = script_start(NULL);
	uint32_t nxt = 1;

	script_accept(s);
	for (int i = 0; i < 6; i++) {
		script_say(s, 1448 * 30, 0);
		nxt += 1448 * 30;
		for (int k = 0; k < 10; k++)
			IN(s, .flags = A, .seq = 1, .ack = script_conn(s)->snd_max - s->iss);
		script_forget(s);
	}
	assert_int_equal(script_conn(s)->snd_una - s->iss, nxt);
	assert_true(script_conn(s)->cc.cwnd > 12 * 1448);
	script_run(s, SLUICE_SEC(30));
	script_say(s, 1448 * 40, 0);
	assert_int_equal(s->nout, 10); /* RFC 5681 4.1 */
	script_stop(s);
}

static void duo_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	*(bool *)arg = true;
}

static int duo_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	return 0;
}

static uint64_t arp_out(const struct duo *d)
{
	struct sluice_counters c;

	sluice_counters_sum(d->st[0], &c);
	return c.arp_out;
}

/* R1 (RFC 9293 3.8.3): after three retransmissions the neighbour is asked, though it counts as
 * reachable. */
static void silence_is_doubted(void **state)
{
	static const struct sluice_upcalls up = {
	    .size = sizeof(up), .newconn = duo_newconn, .connected = duo_connected};
	struct sockaddr_in to = duo_addr4(1, 80);
	struct duo_params p = {.seed = 3};
	struct duo d = {0};
	bool connected = false, none = false;
	sluice_conn_t l, c;
	uint64_t before;

	duo_start(&d, &p);
	assert_int_equal(sluice_create(d.st[1], AF_INET, SOCK_STREAM, 0, 0, 0, &l), 0);
	assert_int_equal(sluice_activate(d.st[1], l, &up, &none), 0);
	assert_int_equal(sluice_bind(d.st[1], l, (void *)&to, sizeof(to)), 0);
	assert_int_equal(sluice_listen(d.st[1], l, 4), 0);
	assert_int_equal(sluice_create(d.st[0], AF_INET, SOCK_STREAM, 0, 0, 0, &c), 0);
	assert_int_equal(sluice_activate(d.st[0], c, &up, &connected), 0);
	assert_int_equal(sluice_connect(d.st[0], c, (void *)&to, sizeof(to), NULL), -EINPROGRESS);
	assert_true(duo_until(&d, &connected, SLUICE_SEC(1)));
	duo_run(&d, SLUICE_MS(100));
	d.cut[0] = d.cut[1] = true;
	before = arp_out(&d);
	assert_int_equal(sluice_send_copy(d.st[0], c, "x", 1, 0), 1);
	duo_run(&d, SLUICE_MS(1390)); /* sent again at 0.2, 0.6 s */
	assert_int_equal(arp_out(&d), before);
	duo_run(&d, SLUICE_MS(20)); /* and at 1.4 s */
	assert_int_equal(arp_out(&d), before + 1);
	(void)duo_stop(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(silence_is_doubted),
	    cmocka_unit_test(keepalive_drops),
	    cmocka_unit_test(abort_at_closed_window),
	    cmocka_unit_test(persist_and_reopen),
	    cmocka_unit_test(delayed_acks),
	    cmocka_unit_test(quick_acks),
	    cmocka_unit_test(nagle_cork_more),
	    cmocka_unit_test(fin_wait_2_flush),
	    cmocka_unit_test(given_up),
	    cmocka_unit_test(synack_is_resent),
	    cmocka_unit_test(idle_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
