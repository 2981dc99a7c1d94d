/* SPDX-License-Identifier: BSD-3-Clause */
/* The event API between two stacks: data calls, back-pressure, zero copy, splice, the order of
 * upcalls, and who gives what back. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <netinet/tcp.h>
#include <rte_mbuf.h>

#include "duo.h"
#include "mpool.h"

struct end {
	struct sluice_stack *st;
	sluice_conn_t c;
	struct end *next_eager; /* what newconn hands out */
	char got[4096];
	size_t ngot, to_read;
	bool up, eof, gone, closed, full, recv_called;
	int err, soft, full_calls, zc_calls;
	void *zc_cookie;
	size_t mark;
	int recv_rc;
	bool hold; /* do not read */
	enum sluice_upcall seen[64];
	int nseen;
};

static void saw(struct end *e, enum sluice_upcall up)
{
	if (e->nseen > 0 && !sluice_upcall_may_follow(e->seen[e->nseen - 1], up))
		fail_msg("upcall %d after %d", up, e->seen[e->nseen - 1]);
	if (e->nseen < 64)
		e->seen[e->nseen++] = up;
	assert_false(e->closed);
}

static void read_all(struct end *e)
{
	struct iovec iov[4];
	int n;

	while (!e->hold && (n = sluice_peek(e->st, e->c, iov, 4)) > 0) {
		size_t sum = 0;

		for (int i = 0; i < n; i++) {
			size_t room = sizeof(e->got) - e->ngot;

			memcpy(e->got + e->ngot, iov[i].iov_base,
			    iov[i].iov_len < room ? iov[i].iov_len : room);
			e->ngot += iov[i].iov_len < room ? iov[i].iov_len : room;
			sum += iov[i].iov_len;
		}
		e->to_read += sum;
		assert_int_equal(sluice_consume(e->st, e->c, sum), 0);
	}
}

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct end *e = arg, *mine = e->next_eager;

	saw(e, SLUICE_UP_NEWCONN);
	if (mine == NULL)
		return -ECONNREFUSED;
	e->next_eager = NULL;
	mine->c = eager;
	mine->st = e->st;
	mine->up = true;
	*up_arg = mine;
	return 0;
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	struct end *e = arg;

	saw(e, SLUICE_UP_CONNECTED);
	assert_true(connid != 0);
	e->up = true;
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	struct end *e = arg;

	saw(e, SLUICE_UP_DISCONNECTED);
	e->gone = true;
	e->err = err;
}

static void on_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	struct end *e = arg;

	saw(e, SLUICE_UP_OPCTL);
	if (op == SLUICE_OPCTL_SHUT_RECV)
		e->eof = true;
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct end *e = arg;

	saw(e, SLUICE_UP_RECV);
	assert_int_equal(sluice_readable(e->st, e->c), avail);
	e->recv_called = true;
	read_all(e);
	return e->recv_rc;
}

static void on_full(void *arg, sluice_conn_t c, bool full)
{
	struct end *e = arg;

	saw(e, SLUICE_UP_TXQ_FULL);
	assert_true(e->full != full); /* told once each way */
	e->full = full;
	e->full_calls++;
}

static void on_oob(void *arg, sluice_conn_t c, size_t mark)
{
	struct end *e = arg;

	saw(e, SLUICE_UP_SIGNAL_OOB);
	e->mark = mark;
}

static void on_zcopy(void *arg, sluice_conn_t c, void *cookie)
{
	struct end *e = arg;

	saw(e, SLUICE_UP_ZCOPY_NOTIFY);
	e->zc_calls++;
	e->zc_cookie = cookie;
}

static void on_error(void *arg, sluice_conn_t c, int err)
{
	struct end *e = arg;

	saw(e, SLUICE_UP_SET_ERROR);
	e->soft = err;
}

static void on_closed(void *arg, sluice_conn_t c)
{
	struct end *e = arg;

	saw(e, SLUICE_UP_CLOSED);
	e->closed = true;
}

static const struct sluice_upcalls upcalls = {.size = sizeof(upcalls),
    .newconn = on_newconn,
    .connected = on_connected,
    .disconnected = on_disconnected,
    .opctl = on_opctl,
    .recv = on_recv,
    .txq_full = on_full,
    .signal_oob = on_oob,
    .zcopy_notify = on_zcopy,
    .set_error = on_error,
    .closed = on_closed};

struct world {
	struct duo d;
	struct end l, s, c;
};

static void open_end(struct world *w, struct end *e, unsigned int side)
{
	e->st = w->d.st[side];
	assert_int_equal(sluice_create(e->st, AF_INET, SOCK_STREAM, 0, 0, -1, &e->c), 0);
	assert_int_equal(sluice_activate(e->st, e->c, &upcalls, e), 0);
}

static void listen_on(struct world *w, struct end *l, unsigned int side, uint16_t port, int backlog)
{
	struct sockaddr_in a = duo_addr4(side, port);

	open_end(w, l, side);
	assert_int_equal(sluice_bind(l->st, l->c, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(sluice_listen(l->st, l->c, backlog), 0);
}

static void connect_to(
    struct world *w, struct end *e, unsigned int from, unsigned int to, uint16_t port)
{
	struct sockaddr_in a = duo_addr4(to, port);

	open_end(w, e, from);
	assert_int_equal(
	    sluice_connect(e->st, e->c, (struct sockaddr *)&a, sizeof(a), NULL), -EINPROGRESS);
}

static struct world *start(const struct sluice_tunables *left, const struct sluice_tunables *right)
{
	struct world *w = calloc(1, sizeof(*w));
	struct duo_params p = {.seed = 11, .tun = {left, right}};

	assert_non_null(w);
	duo_start(&w->d, &p);
	return w;
}

static void establish(struct world *w)
{
	listen_on(w, &w->l, 1, 80, 8);
	w->l.next_eager = &w->s;
	connect_to(w, &w->c, 0, 1, 80);
	assert_true(duo_until(&w->d, &w->s.up, SLUICE_SEC(3)));
	assert_true(w->c.up);
	assert_int_equal(sluice_accept(w->s.st, w->l.c, w->s.c), 0);
	assert_int_equal(sluice_accept(w->s.st, w->l.c, w->s.c), -EINVAL); /* once */
}

static void finish(struct world *w)
{
	duo_run(&w->d, SLUICE_SEC(130)); /* TIME_WAIT, FIN_WAIT_2 */
	assert_int_equal(duo_stop(&w->d), 0);
	free(w);
}

static void close_end(struct end *e)
{
	if (e->c == 0)
		return;
	assert_int_equal(sluice_close(e->st, e->c), 0);
	assert_int_equal(sluice_close(e->st, e->c), -EALREADY);
}

static void put(struct end *e, const char *text)
{
	assert_int_equal(sluice_send_copy(e->st, e->c, text, strlen(text), 0), strlen(text));
}

static void talk_and_close(void **state)
{
	struct world *w = start(NULL, NULL);
	enum sluice_state s;

	establish(w);
	put(&w->c, "hello");
	put(&w->s, "world!");
	duo_run(&w->d, SLUICE_MS(100));
	assert_memory_equal(w->s.got, "hello", 5);
	assert_memory_equal(w->c.got, "world!", 6);
	close_end(&w->c);
	duo_run(&w->d, SLUICE_MS(100));
	assert_true(w->s.eof);
	/* Half closed: the peer's application is gone, so this is answered by a reset */
	put(&w->s, "after the FIN");
	duo_run(&w->d, SLUICE_MS(100));
	assert_true(w->s.gone);
	assert_int_equal(w->s.err, ECONNRESET);
	close_end(&w->s);
	close_end(&w->l);
	duo_run(&w->d, SLUICE_SEC(1));
	assert_true(w->c.closed && w->s.closed && w->l.closed);
	assert_int_equal(sluice_getstate(w->d.st[0], w->c.c, &s), -EBADF);
	assert_int_equal(sluice_send_copy(w->d.st[0], w->c.c, "x", 1, 0), -EBADF);
	finish(w);
}

static void half_close(void **state)
{
	struct world *w = start(NULL, NULL);

	establish(w);
	assert_int_equal(sluice_shutdown(w->c.st, w->c.c, SHUT_WR), 0);
	duo_run(&w->d, SLUICE_MS(100));
	assert_true(w->s.eof);
	assert_int_equal(sluice_send_copy(w->c.st, w->c.c, "x", 1, 0), -EPIPE);
	put(&w->s, "still talking");
	duo_run(&w->d, SLUICE_MS(100));
	assert_memory_equal(w->c.got, "still talking", 13);
	close_end(&w->s);
	duo_run(&w->d, SLUICE_MS(100));
	assert_true(w->c.eof && w->s.closed);
	close_end(&w->c);
	close_end(&w->l);
	duo_run(&w->d, SLUICE_MS(1));
	assert_true(w->c.closed);
	finish(w);
}

static void unread_data_resets(void **state)
{
	struct world *w = start(NULL, NULL);

	establish(w);
	w->s.hold = true;
	put(&w->c, "unread");
	duo_run(&w->d, SLUICE_MS(100));
	close_end(&w->s);
	duo_run(&w->d, SLUICE_MS(100));
	assert_int_equal(w->c.err, ECONNRESET);
	close_end(&w->c);
	close_end(&w->l);
	finish(w);
}

static void back_pressure(void **state)
{
	struct sluice_tunables t;
	struct world *w;
	char block[1024];
	size_t sent = 0;
	ssize_t n;

	sluice_tunables_default(&t);
	t.tcp_sndbuf = 8192;
	t.tcp_rcvbuf = 4096;
	w = start(&t, &t);
	establish(w);
	w->s.hold = true;
	memset(block, 'b', sizeof(block));
	for (int i = 0; i < 200; i++) {
		n = sluice_send_copy(w->c.st, w->c.c, block, sizeof(block), 0);
		if (n > 0)
			sent += (size_t)n;
		else
			assert_int_equal(n, -EAGAIN);
		duo_run(&w->d, SLUICE_MS(20));
	}
	/* Both buffers are full and nothing grows; the sender was told once. */
	assert_true(sent >= 8192 && sent <= 8192 + 4096 + 2048);
	assert_true(w->c.full);
	assert_int_equal(w->c.full_calls, 1);
	/* The window stays shut for long: probed, never dropped (RFC 9293 MUST-37) */
	duo_run(&w->d, SLUICE_SEC(100));
	assert_false(w->c.gone);
	w->s.hold = false;
	read_all(&w->s);
	duo_run(&w->d, SLUICE_SEC(200));
	assert_int_equal(w->s.to_read, sent);
	assert_false(w->c.full);
	close_end(&w->c);
	close_end(&w->s);
	close_end(&w->l);
	finish(w);
}

static void no_space_above(void **state)
{
	struct world *w = start(NULL, NULL);
	struct sluice_conn_info i = {.size = sizeof(i)};

	establish(w);
	w->s.recv_rc = -ENOSPC; /* taken, but close the window */
	put(&w->c, "one");
	duo_run(&w->d, SLUICE_MS(500));
	assert_memory_equal(w->s.got, "one", 3);
	assert_int_equal(sluice_conn_info(w->c.st, w->c.c, &i), 0);
	/* The right edge never moves left (RFC 9293 3.8.6): what was offered may still come, no
	 * more. */
	put(&w->c, "two");
	duo_run(&w->d, SLUICE_MS(500));
	assert_int_equal(w->s.ngot, 6);
	w->s.recv_rc = 0;
	assert_int_equal(sluice_clr_flowctrl(w->s.st, w->s.c), 0);
	duo_run(&w->d, SLUICE_MS(500));
	close_end(&w->c);
	close_end(&w->s);
	close_end(&w->l);
	finish(w);
}

static void take_gives_the_chain(void **state)
{
	struct world *w = start(NULL, NULL);
	struct rte_mbuf *m;

	establish(w);
	w->s.hold = true;
	put(&w->c, "abcdefgh");
	duo_run(&w->d, SLUICE_MS(100));
	assert_int_equal(sluice_take(w->s.st, w->s.c, 3, &m), 3);
	assert_memory_equal(rte_pktmbuf_mtod(m, char *), "abc", 3);
	rte_pktmbuf_free(m);
	assert_int_equal(sluice_consume(w->s.st, w->s.c, 6), -EINVAL);
	assert_int_equal(sluice_take(w->s.st, w->s.c, 100, &m), 5);
	assert_int_equal(m->pkt_len, 5);
	assert_memory_equal(rte_pktmbuf_mtod(m, char *), "defgh", 5);
	rte_pktmbuf_free(m);
	assert_int_equal(sluice_take(w->s.st, w->s.c, 100, &m), 0);
	assert_null(m);
	close_end(&w->c);
	close_end(&w->s);
	close_end(&w->l);
	finish(w);
}

static void external_memory(void **state)
{
	static char page[60000];
	struct world *w = start(NULL, NULL);

	establish(w);
	for (size_t i = 0; i < sizeof(page); i++)
		page[i] = (char)(i * 7);
	assert_int_equal(sluice_send_external(w->c.st, w->c.c, page, 0, sizeof(page), page, 0), 0);
	assert_int_equal(sluice_send_external(w->c.st, w->c.c, page, 0, 0, page, 0), -EINVAL);
	close_end(&w->c); /* closed waits until the memory is free */
	duo_run(&w->d, SLUICE_SEC(1));
	assert_int_equal(w->s.to_read, sizeof(page));
	assert_memory_equal(w->s.got, page, sizeof(w->s.got));
	assert_int_equal(w->c.zc_calls, 1);
	assert_ptr_equal(w->c.zc_cookie, page);
	close_end(&w->s);
	close_end(&w->l);
	finish(w);
}

static void external_memory_of_an_abort(void **state)
{
	static char page[30000];
	struct world *w = start(NULL, NULL);

	establish(w);
	w->d.cut[0] = true;
	assert_int_equal(sluice_send_external(w->c.st, w->c.c, page, 0, sizeof(page), page, 0), 0);
	duo_run(&w->d, SLUICE_MS(10));
	assert_int_equal(sluice_abort(w->c.st, w->c.c), 0);
	duo_run(&w->d, SLUICE_MS(10));
	assert_int_equal(w->c.zc_calls, 1);
	assert_true(w->c.closed);
	assert_int_equal(w->c.seen[w->c.nseen - 1], SLUICE_UP_CLOSED);
	close_end(&w->l);
	assert_int_equal(sluice_abort(w->s.st, w->s.c), 0);
	finish(w);
}

static void splice_moves_bytes(void **state)
{
	struct world *w = start(NULL, NULL);
	struct end c2 = {0}, s2 = {0};

	establish(w);
	w->l.next_eager = &s2;
	connect_to(w, &c2, 0, 1, 80);
	assert_true(duo_until(&w->d, &s2.up, SLUICE_SEC(3)));
	w->s.hold = true;
	put(&w->c, "through the middle");
	duo_run(&w->d, SLUICE_MS(100));
	assert_int_equal(sluice_splice(w->d.st[1], w->s.c, s2.c, 7), 7);
	assert_int_equal(sluice_splice(w->d.st[1], w->s.c, s2.c, 1000), 11);
	assert_int_equal(sluice_splice(w->d.st[1], w->s.c, s2.c, 1000), 0);
	duo_run(&w->d, SLUICE_MS(100));
	assert_memory_equal(c2.got, "through the middle", 18);
	close_end(&w->c);
	close_end(&w->s);
	close_end(&c2);
	close_end(&s2);
	close_end(&w->l);
	finish(w);
}

/** Bytes that come one by one and cannot go on share buffers in the send queue; they arrive in
 * order. */
static void splice_small_pieces(void **state)
{
	struct world *w = start(NULL, NULL);
	struct end c2 = {0}, s2 = {0};
	int on = 1, small = 2048;
	uint32_t before, held;

	establish(w);
	w->l.next_eager = &s2;
	open_end(w, &c2, 0);
	assert_int_equal(
	    sluice_setsockopt(c2.st, c2.c, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	{
		struct sockaddr_in a = duo_addr4(1, 80);

		assert_int_equal(
		    sluice_connect(c2.st, c2.c, (struct sockaddr *)&a, sizeof(a), NULL),
		    -EINPROGRESS);
	}
	assert_true(duo_until(&w->d, &s2.up, SLUICE_SEC(3)));
	assert_int_equal(
	    sluice_setsockopt(w->c.st, w->c.c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	w->s.hold = true;
	c2.hold = true;
	duo_run(&w->d, SLUICE_MS(100));
	before = tp_out(w->d.pool[0]) + tp_out(w->d.pool[1]);
	for (int i = 0; i < 5000; i++) {
		char b = (char)(i * 7 + i / 256);

		assert_int_equal(sluice_send_copy(w->c.st, w->c.c, &b, 1, 0), 1);
		duo_run(&w->d, 20000);
		if (i % 5 == 0) /* one at a time, and a few together */
			assert_true(sluice_splice(w->d.st[1], w->s.c, s2.c, 1000) > 0);
	}
	duo_run(&w->d, SLUICE_MS(100));
	while (sluice_splice(w->d.st[1], w->s.c, s2.c, 1000) > 0)
		;
	duo_run(&w->d, SLUICE_MS(100));
	held = tp_out(w->d.pool[0]) + tp_out(w->d.pool[1]);
	assert_in_range(held - before, 3, 40);
	while (c2.to_read < 5000) {
		size_t at = c2.to_read;

		c2.hold = false;
		c2.ngot = 0;
		read_all(&c2);
		for (size_t i = 0; i < c2.ngot; i++)
			assert_int_equal(c2.got[i], (char)((at + i) * 7 + (at + i) / 256));
		c2.hold = true;
		duo_run(&w->d, SLUICE_MS(500));
	}
	assert_int_equal(c2.to_read, 5000);
	c2.hold = false;
	close_end(&w->c);
	close_end(&w->s);
	close_end(&c2);
	close_end(&s2);
	close_end(&w->l);
	finish(w);
}

/** A close waits for a peer that does not read, for tcp.abort_established; an abort ends the wait.
 */
static void abort_after_close(void **state)
{
	struct world *w = start(NULL, NULL);
	char buf[4096] = {0};
	sluice_conn_t c;

	establish(w);
	c = w->c.c;
	w->s.hold = true;
	while (sluice_send_copy(w->c.st, c, buf, sizeof(buf), 0) > 0)
		duo_run(&w->d, 10000);
	duo_run(&w->d, SLUICE_SEC(100)); /* probes of the closed window */
	close_end(&w->c);
	duo_run(&w->d, SLUICE_SEC(150));
	assert_false(w->c.closed);
	assert_false(w->s.gone);
	assert_int_equal(sluice_abort(w->c.st, c), 0);
	assert_int_equal(sluice_abort(w->c.st, c), -EALREADY);
	assert_int_equal(sluice_close(w->c.st, c), -EALREADY);
	duo_run(&w->d, SLUICE_MS(10));
	assert_true(w->c.closed);
	assert_true(w->s.gone);
	assert_int_equal(w->s.err, ECONNRESET);
	assert_int_equal(sluice_abort(w->c.st, c), -EBADF);
	close_end(&w->s);
	close_end(&w->l);
	finish(w);
}

static void urgent_byte(void **state)
{
	struct world *w = start(NULL, NULL);

	establish(w);
	w->s.hold = true;
	put(&w->c, "before");
	assert_int_equal(sluice_send_copy(w->c.st, w->c.c, "!", 1, SLUICE_MSG_OOB), 1);
	duo_run(&w->d, SLUICE_MS(100));
	assert_int_equal(w->s.mark, 6);
	close_end(&w->c);
	close_end(&w->s);
	close_end(&w->l);
	finish(w);
}

static void refusals(void **state)
{
	struct world *w = start(NULL, NULL);
	struct end e2 = {0}, e3 = {0};

	connect_to(w, &w->c, 0, 1, 80); /* nobody listens */
	duo_run(&w->d, SLUICE_MS(100));
	assert_int_equal(w->c.err, ECONNREFUSED);
	listen_on(w, &w->l, 1, 80, 1);
	w->l.next_eager = NULL; /* newconn says no: reset after the handshake */
	connect_to(w, &e2, 0, 1, 80);
	duo_run(&w->d, SLUICE_MS(200));
	assert_true(e2.gone);
	assert_int_equal(e2.err, ECONNRESET);
	/* Backlog of one: the second waits until the first is accepted. */
	w->l.next_eager = &w->s;
	connect_to(w, &e3, 0, 1, 80);
	assert_true(duo_until(&w->d, &w->s.up, SLUICE_SEC(1)));
	{
		struct end e4 = {0}, s4 = {0};

		w->l.next_eager = &s4;
		connect_to(w, &e4, 0, 1, 80);
		duo_run(&w->d, SLUICE_MS(500));
		assert_false(s4.up);
		assert_int_equal(sluice_accept(w->d.st[1], w->l.c, w->s.c), 0);
		assert_true(duo_until(&w->d, &s4.up, SLUICE_SEC(10)));
		close_end(&w->c);
		close_end(&e2);
		/* The listener goes: what it did not accept is reset, what it did lives. */
		close_end(&w->l);
		duo_run(&w->d, SLUICE_MS(200));
		assert_true(w->l.closed);
		assert_int_equal(e4.err, ECONNRESET);
		assert_false(e3.gone);
		assert_int_equal(s4.err, ECONNABORTED);
		close_end(&e3);
		close_end(&w->s);
		close_end(&e4);
		close_end(&s4);
		finish(w);
	}
}

static void peer_goes_silent(void **state)
{
	struct world *w = start(NULL, NULL);

	establish(w);
	put(&w->c, "into the void");
	w->d.cut[0] = w->d.cut[1] = true;
	put(&w->c, "and more");
	duo_run(&w->d, SLUICE_SEC(400));
	assert_true(w->c.gone);
	/* The time-out tells the reason that is known: the neighbour did not answer either. */
	assert_int_equal(w->c.err, EHOSTUNREACH);
	close_end(&w->c);
	assert_int_equal(sluice_abort(w->s.st, w->s.c), 0);
	close_end(&w->l);
	finish(w);
}

/* Three unanswered solicitations, a second each, are an answer: no need to wait for the SYN's. */
static void opens_to_no_neighbour(void **state)
{
	struct world *w = start(NULL, NULL);

	w->d.cut[0] = w->d.cut[1] = true;
	connect_to(w, &w->c, 0, 1, 80);
	duo_run(&w->d, SLUICE_MS(2900));
	assert_false(w->c.gone);
	duo_run(&w->d, SLUICE_MS(300));
	assert_true(w->c.gone);
	assert_int_equal(w->c.err, EHOSTUNREACH);
	close_end(&w->c);
	finish(w);
}

static void route(struct world *w, const char *prefix, const char *via)
{
	struct sluice_txn *t;

	assert_int_equal(sluice_txn_begin(w->d.st[0], &t), 0);
	if (via != NULL)
		assert_int_equal(sluice_route_add(t, 0, prefix, via, NULL), 0);
	else
		assert_int_equal(sluice_route_del(t, 0, prefix), 0);
	assert_int_equal(sluice_txn_commit(t, NULL), 0);
}

/* The SYN got lost behind a router; when it is to be sent again there is no route any more. */
static void opens_and_loses_its_route(void **state)
{
	struct world *w = start(NULL, NULL);
	struct sockaddr_in a = duo_addr4(1, 80);
	char via[INET_ADDRSTRLEN];

	assert_non_null(inet_ntop(AF_INET, &a.sin_addr, via, sizeof(via)));
	route(w, "198.51.100.0/24", via);
	a.sin_addr.s_addr = htonl(0xc6336401);
	open_end(w, &w->c, 0);
	assert_int_equal(
	    sluice_connect(w->c.st, w->c.c, (struct sockaddr *)&a, sizeof(a), NULL), -EINPROGRESS);
	duo_run(&w->d, SLUICE_MS(900));
	route(w, "198.51.100.0/24", NULL);
	assert_false(w->c.gone);
	duo_run(&w->d, SLUICE_MS(300));
	assert_true(w->c.gone);
	assert_int_equal(w->c.err, ENETUNREACH);
	close_end(&w->c);
	finish(w);
}

/* A connection whose route goes keeps its data until there is a way again, or for as long as data
 * may wait for an answer; the time begins when it could not be sent. */
static void stands_without_a_route(void **state)
{
	for (int back = 0; back < 2; back++) {
		struct sluice_tunables tun;
		struct world *w;
		struct sockaddr_in a = duo_addr4(1, 80);
		char via[INET_ADDRSTRLEN];
		struct sluice_txn *t;

		sluice_tunables_default(&tun);
		tun.tcp_abort_established = SLUICE_SEC(60);
		w = start(&tun, NULL);
		assert_int_equal(sluice_txn_begin(w->d.st[1], &t), 0);
		assert_int_equal(sluice_addr_add(t, "wire0", "198.51.100.1/32", false), 0);
		assert_int_equal(sluice_txn_commit(t, NULL), 0);
		assert_non_null(inet_ntop(AF_INET, &a.sin_addr, via, sizeof(via)));
		route(w, "198.51.100.0/24", via);
		duo_run(&w->d, SLUICE_SEC(5)); /* the address is nobody else's */
		a.sin_addr.s_addr = 0;
		open_end(w, &w->l, 1);
		assert_int_equal(sluice_bind(w->l.st, w->l.c, (struct sockaddr *)&a, sizeof(a)), 0);
		assert_int_equal(sluice_listen(w->l.st, w->l.c, 8), 0);
		w->l.next_eager = &w->s;
		a.sin_addr.s_addr = htonl(0xc6336401);
		open_end(w, &w->c, 0);
		assert_int_equal(
		    sluice_connect(w->c.st, w->c.c, (struct sockaddr *)&a, sizeof(a), NULL),
		    -EINPROGRESS);
		assert_true(duo_until(&w->d, &w->s.up, SLUICE_SEC(3)));
		assert_int_equal(sluice_accept(w->s.st, w->l.c, w->s.c), 0);
		route(w, "198.51.100.0/24", NULL);
		duo_run(&w->d, SLUICE_SEC(70)); /* nothing waits: no time begins */
		put(&w->c, "is there a way?");
		duo_run(&w->d, SLUICE_SEC(50));
		assert_false(w->c.gone);
		if (back) {
			route(w, "198.51.100.0/24", via);
			duo_run(&w->d, SLUICE_SEC(60));
			assert_false(w->c.gone);
			assert_int_equal(w->s.ngot, strlen("is there a way?"));
		} else {
			duo_run(&w->d, SLUICE_SEC(75)); /* seen when the next try fails */
			assert_true(w->c.gone);
			assert_int_equal(w->c.err, ENETUNREACH);
		}
		close_end(&w->c);
		(void)sluice_abort(w->s.st, w->s.c);
		close_end(&w->l);
		finish(w);
	}
}

static void talks_to_itself(void **state)
{
	struct world *w = start(NULL, NULL);

	listen_on(w, &w->l, 0, 80, 8);
	w->l.next_eager = &w->s;
	connect_to(w, &w->c, 0, 0, 80);
	assert_true(duo_until(&w->d, &w->s.up, SLUICE_SEC(3)));
	put(&w->c, "echo");
	duo_run(&w->d, SLUICE_MS(100));
	assert_memory_equal(w->s.got, "echo", 4);
	close_end(&w->c);
	close_end(&w->s);
	close_end(&w->l);
	finish(w);
}

static void order_table(void **state)
{
	for (int up = 0; up < SLUICE_NUPCALLS; up++) {
		assert_false(sluice_upcall_may_follow(SLUICE_UP_CLOSED, (enum sluice_upcall)up));
		assert_true(sluice_upcall_may_follow((enum sluice_upcall)up, SLUICE_UP_CLOSED) ==
			    (up != SLUICE_UP_CLOSED));
	}
	assert_false(sluice_upcall_may_follow(SLUICE_UP_DISCONNECTED, SLUICE_UP_RECV));
	assert_false(sluice_upcall_may_follow(SLUICE_UP_RECV, SLUICE_UP_CONNECTED));
	assert_true(sluice_upcall_may_follow(SLUICE_UP_DISCONNECTED, SLUICE_UP_ZCOPY_NOTIFY));
}

/* 10,000 connects at once to a neighbour that nobody has heard of yet: connections wait for it, not
 * packets. */
#define MANY 10000
static void ten_thousand_wait_for_a_neighbour(void **state)
{
	struct sluice_tunables t;
	struct duo_params p = {.seed = 3, .max_connections = 2 * MANY, .tun = {&t, &t}};
	struct duo d = {0};
	struct end *c = calloc(MANY, sizeof(*c)), *s = calloc(MANY, sizeof(*s)), l = {0};
	struct world w;
	uint64_t got = 0;

	assert_non_null(c);
	assert_non_null(s);
	sluice_tunables_default(&t);
	t.tcp_backlog_max = MANY;
	duo_start(&d, &p);
	w.d = d; /* only for its stacks and addresses */
	listen_on(&w, &l, 1, 80, MANY);
	for (int i = 0; i < MANY; i++)
		connect_to(&w, &c[i], 0, 1, 80);
	/* newconn hands out the ends one by one. */
	for (int i = 0, next = 0; i < 30000 && got < MANY; i++) {
		if (l.next_eager == NULL && next < MANY)
			l.next_eager = &s[next++];
		assert_true(sluice_squeue_poll(sluice_squeue(d.st[0], 0), d.now, 0) >= 0);
		assert_true(sluice_squeue_poll(sluice_squeue(d.st[1], 0), d.now, 1) >= 0);
		d.now += SLUICE_MS(1);
		for (int k = 0; l.next_eager == NULL && k < next; k++) {
			if (s[k].up && !s[k].full) {
				s[k].full = true; /* used as "has sent" here */
				put(&s[k], "bytes");
				got++;
			}
		}
	}
	assert_int_equal(got, MANY);
	duo_run(&d, SLUICE_SEC(30));
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(c[i].ngot, 5);
		assert_int_equal(sluice_abort(c[i].st, c[i].c), 0);
	}
	duo_run(&d, SLUICE_SEC(1));
	for (int i = 0; i < MANY; i++)
		close_end(&s[i]);
	close_end(&l);
	duo_run(&d, SLUICE_SEC(100));
	assert_int_equal(duo_stop(&d), 0);
	free(c);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(order_table),
	    cmocka_unit_test(talk_and_close),
	    cmocka_unit_test(half_close),
	    cmocka_unit_test(unread_data_resets),
	    cmocka_unit_test(back_pressure),
	    cmocka_unit_test(no_space_above),
	    cmocka_unit_test(take_gives_the_chain),
	    cmocka_unit_test(external_memory),
	    cmocka_unit_test(external_memory_of_an_abort),
	    cmocka_unit_test(splice_moves_bytes),
	    cmocka_unit_test(abort_after_close),
	    cmocka_unit_test(splice_small_pieces),
	    cmocka_unit_test(urgent_byte),
	    cmocka_unit_test(refusals),
	    cmocka_unit_test(peer_goes_silent),
	    cmocka_unit_test(opens_to_no_neighbour),
	    cmocka_unit_test(opens_and_loses_its_route),
	    cmocka_unit_test(stands_without_a_route),
	    cmocka_unit_test(talks_to_itself),
	    cmocka_unit_test(ten_thousand_wait_for_a_neighbour),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
