/* SPDX-License-Identifier: BSD-3-Clause */
/* Every socket option: default, set, read back, range, length; and what it does to segments. */
#include "script.h"

static int get(struct script *s, sluice_conn_t c, int level, int name)
{
	int v = -12345;
	socklen_t len = sizeof(v);

	assert_int_equal(sluice_getsockopt(s->st, c, level, name, &v, &len), 0);
	assert_int_equal(len, sizeof(v));
	return v;
}

static int set(struct script *s, sluice_conn_t c, int level, int name, int v)
{
	return sluice_setsockopt(s->st, c, level, name, &v, sizeof(v));
}

static sluice_conn_t make(struct script *s, int family)
{
	sluice_conn_t c;

	assert_int_equal(sluice_create(s->st, family, SOCK_STREAM, 0, 0, 0, &c), 0);
	assert_int_equal(sluice_activate(s->st, c, &script_upcalls, s), 0);
	return c;
}

static const struct {
	int level, name, def, good, back, low, high; /* low, high: just out of range; 0: none */
} ints[] = {
    {SOL_SOCKET, SO_KEEPALIVE, 0, -1, 1, 0, 0},
    {SOL_SOCKET, SO_OOBINLINE, 0, 7, 1, 0, 0},
    {SOL_SOCKET, SO_REUSEADDR, 1, 0, 1, 0, 0},
    {SOL_SOCKET, SO_REUSEPORT, 0, -1, 1, 0, 0},
    {SOL_SOCKET, SO_SNDBUF, 1048576, 4096, 4096, 2047, (1 << 30) + 1},
    {SOL_SOCKET, SO_RCVBUF, 1048576, 4096, 4096, 2047, (1 << 30) + 1},
    {IPPROTO_TCP, TCP_NODELAY, 0, 1, 1, 0, 0},
    {IPPROTO_TCP, TCP_CORK, 0, 1, 1, 0, 0},
    {IPPROTO_TCP, TCP_MAXSEG, 536, 1000, 1000, 87, 65496},
    {IPPROTO_TCP, TCP_KEEPIDLE, 7200, 10, 10, 0, 32768},
    {IPPROTO_TCP, TCP_KEEPINTVL, 75, 10, 10, 0, 32768},
    {IPPROTO_TCP, TCP_KEEPCNT, 9, 3, 3, 0, 128},
    {IPPROTO_TCP, TCP_SYNCNT, 8, 3, 3, 0, 128},
    {IPPROTO_TCP, TCP_LINGER2, 60, 86401, 86400, 0, 0},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, 0, 1500, 1500, -1, 0},
    {IPPROTO_TCP, TCP_QUICKACK, 0, 1, 0, 0, 0}, /* tcp.quickack is 0 here */
    {IPPROTO_TCP, TCP_WINDOW_CLAMP, 0, 10, 1152, 0, 0},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP, 0, 5000, 5000, 0, 0},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0, 16384, 16384, 0, 0},
    {IPPROTO_TCP, SLUICE_TCP_RTO_INITIAL, 1000, 300, 300, 0, 60001},
    {IPPROTO_TCP, SLUICE_TCP_RTO_MIN, 200, 5, 5, 0, 60001},
    {IPPROTO_TCP, SLUICE_TCP_RTO_MAX, 60000, 2000, 2000, 999, 600001},
    {IPPROTO_TCP, SLUICE_TCP_INIT_CWND, 10, 4, 4, 0, 1001},
    {IPPROTO_TCP, SLUICE_TCP_DELACK, 40, 200, 200, 0, 501},
    {IPPROTO_IP, IP_TTL, 64, 9, 9, 0, 256},
    {IPPROTO_IP, IP_TOS, 0, 0x1ff, 0xfc, 0, 0},
    {IPPROTO_IP, IP_MINTTL, 0, 255, 255, -1, 256},
    {IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_PMTUDISC_WANT, IP_PMTUDISC_DO, 0, 3},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, 64, 9, 9, 0, 256},
    {IPPROTO_IPV6, IPV6_TCLASS, 0, 0x20, 0x20, -2, 256},
    {IPPROTO_IPV6, IPV6_V6ONLY, 0, 2, 1, 0, 0},
    {IPPROTO_IPV6, IPV6_MINHOPCOUNT, 0, 1, 1, -1, 256},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO, 2, IPV6_PMTUDISC_DO, 0, 3},
    {IPPROTO_IPV6, IPV6_DONTFRAG, 1, 0, 1, 0, 0},
};

/* Every row of the table has its test here, but for those that take no number. */
static void all_rows(void **state)
{
	const struct sluice_option_info *o;
	unsigned int rows = 0;

	for (unsigned int i = 0; (o = sluice_option_info(i)) != NULL; i++) {
		bool found = false;

		rows++;
		if (o->socket || !o->writable ||
		    (strcmp(o->form, "INT") != 0 && strcmp(o->form, "CLAMP") != 0 &&
			strcmp(o->form, "BOOL") != 0))
			continue;
		for (unsigned int k = 0; k < RTE_DIM(ints); k++)
			found |= ints[k].level == o->level && ints[k].name == o->name;
		if (!found)
			print_error("no test of %s\n", o->text);
		assert_true(found);
	}
	assert_in_range(rows, 50, 100);
}

static void integers(void **state)
{
	struct script *s = script_start(NULL);

	for (unsigned int i = 0; i < RTE_DIM(ints); i++) {
		sluice_conn_t c = make(s, AF_INET6);
		int level = ints[i].level, name = ints[i].name;
		char small[2] = {0};
		socklen_t len = sizeof(small);

		assert_int_equal(get(s, c, level, name), ints[i].def);
		if (ints[i].low != 0)
			assert_int_equal(set(s, c, level, name, ints[i].low), -EINVAL);
		if (ints[i].high != 0)
			assert_int_equal(set(s, c, level, name, ints[i].high), -EINVAL);
		assert_int_equal(sluice_setsockopt(s->st, c, level, name, small, 2), -EINVAL);
		assert_int_equal(get(s, c, level, name), ints[i].def);
		assert_int_equal(set(s, c, level, name, ints[i].good), 0);
		assert_int_equal(get(s, c, level, name), ints[i].back);
		/* Room for less: the first bytes, and how many. */
		assert_int_equal(sluice_getsockopt(s->st, c, level, name, small, &len), 0);
		assert_int_equal(len, 2);
		assert_memory_equal(small, &ints[i].back, 2);
		assert_int_equal(sluice_close(s->st, c), 0);
		script_settle(s);
	}
	script_stop(s);
}

static void constants_and_strangers(void **state)
{
	static const int ro[] = {SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ACCEPTCONN, SO_ERROR};
	struct script *s = script_start(NULL);
	sluice_conn_t c = make(s, AF_INET);
	struct linger lg = {0, 0}, back;
	socklen_t len = sizeof(back);
	int v;

	assert_int_equal(get(s, c, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
	assert_int_equal(get(s, c, SOL_SOCKET, SO_DOMAIN), AF_INET);
	assert_int_equal(get(s, c, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
	assert_int_equal(get(s, c, SOL_SOCKET, SO_ACCEPTCONN), 0);
	assert_int_equal(get(s, c, SOL_SOCKET, SO_ERROR), 0);
	for (unsigned int i = 0; i < RTE_DIM(ro); i++)
		assert_int_equal(set(s, c, SOL_SOCKET, ro[i], 1), -ENOPROTOOPT);
	assert_int_equal(set(s, c, 12345, 1, 1), -ENOPROTOOPT);
	len = sizeof(v);
	assert_int_equal(sluice_getsockopt(s->st, c, IPPROTO_TCP, 9999, &v, &len), -ENOPROTOOPT);
	assert_int_equal(set(s, 77, SOL_SOCKET, SO_KEEPALIVE, 1), -EBADF);
	assert_int_equal(set(s, 77, IPPROTO_TCP, TCP_NODELAY, 1), -EBADF);
	/* An IPv4 socket. */
	assert_int_equal(set(s, c, IPPROTO_IPV6, IPV6_V6ONLY, 1), -ENOPROTOOPT);
	len = sizeof(v);
	assert_int_equal(
	    sluice_getsockopt(s->st, c, IPPROTO_IPV6, IPV6_TCLASS, &v, &len), -ENOPROTOOPT);
	len = sizeof(v);
	assert_int_equal(sluice_getsockopt(s->st, c, IPPROTO_IP, IP_MTU, &v, &len), -ENOTCONN);
	assert_int_equal(set(s, c, IPPROTO_TCP, TCP_INFO, 1), -ENOPROTOOPT);
	assert_int_equal(get(s, c, SOL_SOCKET, SO_INCOMING_CPU), 0);
	/* SO_LINGER */
	len = sizeof(back);
	assert_int_equal(sluice_getsockopt(s->st, c, SOL_SOCKET, SO_LINGER, &back, &len), 0);
	assert_int_equal(back.l_onoff, 0);
	lg = (struct linger){1, 7};
	assert_int_equal(sluice_setsockopt(s->st, c, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)), 0);
	assert_int_equal(sluice_getsockopt(s->st, c, SOL_SOCKET, SO_LINGER, &back, &len), 0);
	assert_true(back.l_onoff == 1 && back.l_linger == 7);
	assert_int_equal(sluice_setsockopt(s->st, c, SOL_SOCKET, SO_LINGER, &lg, 4), -EINVAL);
	lg.l_linger = -1;
	assert_int_equal(
	    sluice_setsockopt(s->st, c, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)), -EINVAL);
	lg = (struct linger){0, 0};
	assert_int_equal(sluice_setsockopt(s->st, c, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)), 0);
	assert_int_equal(sluice_getsockopt(s->st, c, SOL_SOCKET, SO_LINGER, &back, &len), 0);
	assert_int_equal(back.l_onoff, 0);
	script_listen(s);
	assert_int_equal(get(s, s->listener, SOL_SOCKET, SO_ACCEPTCONN), 1);
	script_stop(s);
}

static void congestion(void **state)
{
	struct script *s = script_start(NULL);
	char name[16];
	socklen_t len = sizeof(name);
	sluice_conn_t c = make(s, AF_INET);
	uint32_t cwnd;

	assert_int_equal(sluice_getsockopt(s->st, c, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
	assert_string_equal(name, "cubic");
	assert_int_equal(sluice_setsockopt(s->st, c, IPPROTO_TCP, TCP_CONGESTION, "newreno", 7), 0);
	len = sizeof(name);
	assert_int_equal(sluice_getsockopt(s->st, c, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
	assert_string_equal(name, "newreno");
	assert_int_equal(
	    sluice_setsockopt(s->st, c, IPPROTO_TCP, TCP_CONGESTION, "vegas", 5), -ENOENT);
	assert_int_equal(sluice_setsockopt(s->st, c, IPPROTO_TCP, TCP_CONGESTION, "", 0), -EINVAL);
	/* In the middle of things: the window stays. */
	script_accept(s);
	script_say(s, 30000, 0);
	for (int i = 0; i < 20; i++)
		IN(s, .flags = A, .seq = 1, .ack = script_conn(s)->snd_max - s->iss);
	cwnd = script_conn(s)->cc.cwnd;
	assert_true(cwnd > 14480);
	assert_int_equal(
	    sluice_setsockopt(s->st, s->c, IPPROTO_TCP, TCP_CONGESTION, "newreno", 7), 0);
	assert_ptr_equal(script_conn(s)->cc.ops, &sl_cc_newreno);
	assert_int_equal(script_conn(s)->cc.cwnd, cwnd);
	script_stop(s);
}

static void what_segments_show(void **state)
{
	struct script *s = script_start(NULL);
	struct out *o;

	script_listen(s);
	assert_int_equal(set(s, s->listener, IPPROTO_TCP, TCP_MAXSEG, 600), 0);
	assert_int_equal(sluice_close(s->st, s->listener), 0);
	script_settle(s);
	s->dport = 81;
	s->listener = make(s, AF_INET);
	assert_int_equal(set(s, s->listener, IPPROTO_TCP, TCP_MAXSEG, 600), 0);
	assert_int_equal(set(s, s->listener, IPPROTO_IP, IP_TTL, 33), 0);
	assert_int_equal(set(s, s->listener, IPPROTO_IP, IP_TOS, 0x48), 0);
	assert_int_equal(set(s, s->listener, SOL_SOCKET, SO_RCVBUF, 20000), 0);
	{
		struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(81)};

		assert_int_equal(sluice_bind(s->st, s->listener, (void *)&a, sizeof(a)), 0);
		assert_int_equal(sluice_listen(s->st, s->listener, 5), 0);
	}
	IN(s, .flags = S);
	o = script_out(s);
	assert_int_equal(o->ttl, 33);
	assert_int_equal(o->tos, 0x48);
	assert_int_equal(o->mss, 600);
	assert_int_equal(o->wnd, 20000);
	IN(s, .flags = A, .seq = 1, .ack = 1);
	assert_int_equal(get(s, s->c, IPPROTO_TCP, TCP_MAXSEG), 588);
	assert_int_equal(get(s, s->c, SOL_SOCKET, SO_RCVBUF), 20000);
	script_say(s, 1000, 0);
	o = script_out(s);
	assert_int_equal(o->len, 588);
	assert_int_equal(o->ttl, 33);
	assert_int_equal(o->tos, 0x48);
	assert_int_equal(set(s, s->c, IPPROTO_IP, IP_TTL, 44), 0);
	assert_int_equal(set(s, s->c, IPPROTO_TCP, TCP_MAXSEG, 200), 0);
	IN(s, .flags = A, .seq = 1, .ack = 589);
	o = script_out(s);
	assert_int_equal(o->ttl, 44);
	assert_int_equal(o->len, 188);
	/* SO_ERROR: told once. */
	script_icmp(s, 3, 1, 589, 0);
	assert_int_equal(get(s, s->c, SOL_SOCKET, SO_ERROR), EHOSTUNREACH);
	assert_int_equal(get(s, s->c, SOL_SOCKET, SO_ERROR), 0);
	/* A larger receive buffer opens the window at once. */
	s->hold = true;
	script_forget(s);
	assert_int_equal(set(s, s->c, SOL_SOCKET, SO_RCVBUF, 60000), 0);
	script_settle(s);
	assert_true(s->nout > 0);
	assert_int_equal(s->out[s->nout - 1].wnd, 60000);
	assert_int_equal(set(s, s->c, IPPROTO_TCP, TCP_QUICKACK, 1), 0);
	assert_int_equal(get(s, s->c, IPPROTO_TCP, TCP_QUICKACK), 0); /* the tunable is 0 here */
	script_stop(s);
}

/* Inherited, though the option was set when the listener listened already. */
static void listener_learns(void **state)
{
	struct script *s = script_start(NULL);

	script_listen(s);
	assert_int_equal(set(s, s->listener, IPPROTO_TCP, TCP_NODELAY, 1), 0);
	assert_int_equal(set(s, s->listener, SOL_SOCKET, SO_KEEPALIVE, 1), 0);
	assert_int_equal(set(s, s->listener, IPPROTO_TCP, TCP_KEEPIDLE, 11), 0);
	assert_int_equal(set(s, s->listener, SOL_SOCKET, SO_SNDBUF, 5000), 0);
	assert_int_equal(set(s, s->listener, IPPROTO_TCP, TCP_KEEPIDLE, 12), 0);
	IN(s, .flags = S);
	(void)script_out(s);
	IN(s, .flags = A, .seq = 1, .ack = 1);
	assert_int_equal(get(s, s->c, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(get(s, s->c, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(get(s, s->c, IPPROTO_TCP, TCP_KEEPIDLE), 12);
	assert_int_equal(get(s, s->c, SOL_SOCKET, SO_SNDBUF), 5000);
	assert_int_equal(get(s, s->c, IPPROTO_IP, IP_MTU), 1500);
	script_stop(s);
}

/* RFC 5082: what has come too far is not seen. The peer's segments have a TTL of 64. */
static void min_ttl(void **state)
{
	struct script *s = script_start(NULL);
	uint32_t before;

	script_accept(s);
	assert_int_equal(set(s, s->c, IPPROTO_IP, IP_MINTTL, 64), 0);
	IN(s, .flags = A | P, .seq = 1, .ack = 1, .len = 10);
	assert_int_equal(s->got, 10);
	assert_int_equal(set(s, s->c, IPPROTO_IP, IP_MINTTL, 65), 0);
	before = script_conn(s)->segs_in;
	IN(s, .flags = A | P, .seq = 11, .ack = 1, .len = 10);
	IN(s, .flags = R, .seq = 11);
	assert_int_equal(s->got, 10);
	assert_int_equal(script_conn(s)->segs_in, before);
	assert_int_equal(CTR(s, tcp_in_minttl), 2);
	assert_int_equal(set(s, s->c, IPPROTO_IP, IP_MINTTL, 0), 0);
	IN(s, .flags = A | P, .seq = 11, .ack = 1, .len = 10);
	assert_int_equal(s->got, 20);
	/* A listener does not answer, nor does it believe the end of a handshake. */
	assert_int_equal(set(s, s->listener, IPPROTO_IP, IP_MINTTL, 65), 0);
	script_forget(s);
	s->sport++;
	IN(s, .flags = S);
	script_none(s);
	assert_int_equal(CTR(s, tcp_in_minttl), 3);
	script_stop(s);
}

/* TCP_NOTSENT_LOWAT: what waits unsent is bounded, what is in flight does not count. */
static void notsent(void **state)
{
	struct script *s = script_start(NULL);
	static char b[40000];
	ssize_t room;

	script_accept(s);
	script_forget(s);
	assert_int_equal(set(s, s->c, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 3000), 0);
	assert_int_equal(sluice_sendable(s->st, s->c), 3000);
	/* All of it is sent at once, and the next as well, until the window is full. */
	for (int i = 0; i < 30; i++) {
		room = sluice_sendable(s->st, s->c);
		if (room == 0)
			break;
		script_say(s, (size_t)room, 0);
		script_settle(s);
	}
	assert_int_equal(room, 0);
	assert_true(sl_flight(script_conn(s)) > 10000);
	assert_int_equal(script_conn(s)->sndq_bytes - sl_flight(script_conn(s)), 3000);
	assert_int_equal(sluice_send_copy(s->st, s->c, b, 10, 0), -EAGAIN);
	script_settle(s);
	assert_true(s->full);
	IN(s, .flags = A, .seq = 1, .ack = 2897); /* two segments of what waited go */
	assert_false(s->full);
	assert_true(sluice_sendable(s->st, s->c) >= 2896);
	script_stop(s);
}

/* TCP_WINDOW_CLAMP bounds the window; SO_RCVBUF comes back when it goes. */
static void clamp(void **state)
{
	struct script *s = script_start(NULL);

	script_listen(s);
	assert_int_equal(set(s, s->listener, IPPROTO_TCP, TCP_WINDOW_CLAMP, 0), -EINVAL);
	assert_int_equal(set(s, s->listener, IPPROTO_TCP, TCP_WINDOW_CLAMP, 4000), 0);
	assert_int_equal(get(s, s->listener, SOL_SOCKET, SO_RCVBUF), 1048576);
	IN(s, .flags = S);
	assert_int_equal(script_out(s)->wnd, 4000);
	IN(s, .flags = A, .seq = 1, .ack = 1);
	assert_int_equal(set(s, s->c, SOL_SOCKET, SO_RCVBUF, 50000), 0);
	assert_int_equal(script_conn(s)->rcvbuf, 4000);
	assert_int_equal(get(s, s->c, SOL_SOCKET, SO_RCVBUF), 50000);
	assert_int_equal(set(s, s->c, IPPROTO_TCP, TCP_WINDOW_CLAMP, 60000), 0);
	assert_int_equal(script_conn(s)->rcvbuf, 50000);
	script_stop(s);
}

static void tcp_info(void **state)
{
	struct script *s = script_start(NULL);
	struct sluice_tcp_info i, part;
	socklen_t len = sizeof(i);

	script_listen(s);
	assert_int_equal(sluice_getsockopt(s->st, s->listener, IPPROTO_TCP, TCP_INFO, &i, &len), 0);
	assert_int_equal(i.state, 10);
	assert_true(i.sacked > 0 && i.unacked == 0); /* backlog, and who waits in it */
	IN(s, .flags = S);
	(void)script_out(s);
	s->now += SLUICE_MS(5);
	IN(s, .flags = A, .seq = 1, .ack = 1);
	script_say(s, 5000, 0);
	IN(s, .flags = A | P, .seq = 1, .ack = 1449, .len = 100);
	assert_int_equal(sluice_getsockopt(s->st, s->c, IPPROTO_TCP, TCP_INFO, &i, &len), 0);
	assert_int_equal(len, sizeof(i));
	assert_int_equal(i.state, 1);
	assert_int_equal(i.options & 7, 7);
	assert_int_equal(i.snd_mss, 1448);
	assert_int_equal(i.pmtu, 1500);
	assert_in_range(i.rtt, 1, 6000);
	assert_int_equal(i.unacked, 2);
	assert_int_equal(i.notsent_bytes, 5000 - 3 * 1448); /* the Nagle algorithm has it */
	assert_int_equal(i.bytes_acked, 1448);
	assert_int_equal(i.bytes_sent, 3 * 1448);
	assert_int_equal(i.bytes_received, 100);
	assert_true(i.snd_cwnd >= 10 && i.total_retrans == 0 && i.rto >= 200000);
	script_run(s, SLUICE_SEC(1));
	assert_int_equal(sluice_getsockopt(s->st, s->c, IPPROTO_TCP, TCP_INFO, &i, &len), 0);
	assert_true(i.total_retrans > 0 && i.ca_state == 4 && i.backoff > 0);
	/* A program of an older Linux has less room. */
	memset(&part, 0xee, sizeof(part));
	len = 104;
	assert_int_equal(sluice_getsockopt(s->st, s->c, IPPROTO_TCP, TCP_INFO, &part, &len), 0);
	assert_int_equal(len, 104);
	assert_memory_equal(&part, &i, 104);
	assert_int_equal(((uint8_t *)&part)[104], 0xee);
	script_stop(s);
}

/* The send buffer: what is taken, refused, and told. */
static void send_buffer(void **state)
{
	struct script *s = script_start(NULL);
	static char b[10000];

	script_accept(s);
	assert_int_equal(set(s, s->c, SOL_SOCKET, SO_SNDBUF, 4096), 0);
	script_say(s, 4096, 0);
	assert_int_equal(sluice_sendable(s->st, s->c), 0);
	assert_int_equal(sluice_send_copy(s->st, s->c, b, 10, 0), -EAGAIN);
	script_settle(s);
	assert_true(s->full);
	assert_true(CTR(s, tcp_send_eagain) > 0);
	IN(s, .flags = A, .seq = 1, .ack = 1449);
	assert_true(s->full); /* not yet half empty */
	IN(s, .flags = A, .seq = 1, .ack = 2897);
	assert_false(s->full);
	assert_int_equal(sluice_sendable(s->st, s->c), 2896);
	script_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(integers),
	    cmocka_unit_test(all_rows),
	    cmocka_unit_test(listener_learns),
	    cmocka_unit_test(min_ttl),
	    cmocka_unit_test(notsent),
	    cmocka_unit_test(clamp),
	    cmocka_unit_test(tcp_info),
	    cmocka_unit_test(constants_and_strangers),
	    cmocka_unit_test(congestion),
	    cmocka_unit_test(what_segments_show),
	    cmocka_unit_test(send_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
