/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Buffers run out: the n-th allocation of one side fails, for every n of a connection's life, and
 * whole pools are empty for a while. The life is the same afterwards: every byte arrives, both ends
 * close, every buffer comes back. Some packets are lost as well, so that recovery allocates too.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <rte_mbuf.h>

#include "duo.h"
#include "mpool.h"

#define BYTES 60000

struct end {
	struct sluice_stack *st;
	sluice_conn_t c;
	size_t said, got;
	bool up, shut, eof, gone, closed;
	struct end *eager;
};

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 7 + (i >> 8));
}

/* As much as goes; the rest when there is room, or with the next try. */
static void say(struct end *e)
{
	uint8_t b[3000];

	while (e->said < BYTES) {
		size_t n = RTE_MIN(sizeof(b), BYTES - e->said);
		ssize_t rc;

		for (size_t i = 0; i < n; i++)
			b[i] = byte_at(e->said + i);
		rc = sluice_send_copy(e->st, e->c, b, n, 0);
		if (rc <= 0)
			return;
		e->said += (size_t)rc;
	}
	if (!e->shut)
		e->shut = sluice_shutdown(e->st, e->c, SLUICE_SHUT_WR) == 0;
}

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct end *e = arg;

	e->eager->c = eager;
	*up_arg = e->eager;
	return sluice_accept(e->st, l, eager);
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	((struct end *)arg)->up = true;
	say(arg);
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct end *e = arg;
	struct iovec iov[4];
	int n;

	while ((n = sluice_peek(e->st, c, iov, 4)) > 0) {
		size_t all = 0;

		for (int i = 0; i < n; i++)
			for (size_t k = 0; k < iov[i].iov_len; k++)
				assert_int_equal(
				    ((uint8_t *)iov[i].iov_base)[k], byte_at(e->got + all++));
		e->got += all;
		assert_int_equal(sluice_consume(e->st, c, all), 0);
	}
	return 0;
}

static void on_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t v)
{
	if (op == SLUICE_OPCTL_SHUT_RECV)
		((struct end *)arg)->eof = true;
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	((struct end *)arg)->gone = true;
}

static void on_closed(void *arg, sluice_conn_t c)
{
	assert_false(((struct end *)arg)->closed);
	((struct end *)arg)->closed = true;
}

static const struct sluice_upcalls ups = {.size = sizeof(ups),
    .newconn = on_newconn,
    .connected = on_connected,
    .recv = on_recv,
    .opctl = on_opctl,
    .disconnected = on_disconnected,
    .closed = on_closed};

/* Some are lost, whichever allocation fails. */
static bool lose(struct duo *d, unsigned int side, struct rte_mbuf *m)
{
	unsigned int *n = d->arg;

	return m->pkt_len > 200 && ++*n % 13 == 0;
}

struct life {
	struct duo d;
	struct end l, a, b;
	unsigned int sent;
};

static void begin(struct life *f)
{
	struct duo_params p = {.seed = 5};
	struct sockaddr_in at = duo_addr4(1, 80);

	memset(f, 0, sizeof(*f));
	duo_start(&f->d, &p);
	f->d.filter = lose;
	f->d.arg = &f->sent;
	f->a.st = f->d.st[0];
	f->b.st = f->l.st = f->d.st[1];
	f->l.eager = &f->b;
	assert_int_equal(sluice_create(f->l.st, AF_INET, SOCK_STREAM, 0, 0, 0, &f->l.c), 0);
	assert_int_equal(sluice_activate(f->l.st, f->l.c, &ups, &f->l), 0);
	assert_int_equal(sluice_bind(f->l.st, f->l.c, (const struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(sluice_listen(f->l.st, f->l.c, 4), 0);
	duo_settle(&f->d);
	assert_int_equal(sluice_create(f->a.st, AF_INET, SOCK_STREAM, 0, 0, 0, &f->a.c), 0);
	assert_int_equal(sluice_activate(f->a.st, f->a.c, &ups, &f->a), 0);
}

static void connect_a(struct life *f)
{
	struct sockaddr_in at = duo_addr4(1, 80);

	assert_int_equal(
	    sluice_connect(f->a.st, f->a.c, (const struct sockaddr *)&at, sizeof(at), NULL),
	    -EINPROGRESS);
}

/* What the application does anyway: it tries again what was refused. */
static void live(struct life *f, uint64_t ns)
{
	uint64_t end = f->d.now + ns;

	while (f->d.now < end && !(f->a.eof && f->b.eof)) {
		duo_run(&f->d, SLUICE_MS(50));
		if (f->a.up)
			say(&f->a);
		if (f->b.c != 0)
			say(&f->b);
	}
}

static void complete(struct life *f, const char *what, uint32_t n)
{
	live(f, SLUICE_SEC(120));
	if (f->a.got != BYTES || f->b.got != BYTES || !f->a.eof || !f->b.eof || f->a.gone ||
	    f->b.gone)
		fail_msg("%s %u: got %zu and %zu", what, n, f->a.got, f->b.got);
	assert_int_equal(sluice_close(f->a.st, f->a.c), 0);
	assert_int_equal(sluice_close(f->b.st, f->b.c), 0);
	assert_int_equal(sluice_close(f->l.st, f->l.c), 0);
	duo_run(&f->d, SLUICE_SEC(200));
	assert_true(f->a.closed && f->b.closed && f->l.closed);
	if (duo_stop(&f->d) != 0)
		fail_msg("%s %u: something was left", what, n);
}

static void every_allocation(void **state)
{
	static struct life f;

	for (unsigned int side = 0; side < 2; side++)
		for (uint32_t n = 1; n <= 240; n += n < 40 ? 1 : 7) {
			begin(&f);
			tp_fail_nth(f.d.pool[side], n);
			connect_a(&f);
			complete(&f, side == 0 ? "opener, allocation" : "listener, allocation", n);
		}
}

/* No buffer at all for a while, at several times of the life: nothing can be received, answered or
 * sent again. */
static void empty_for_a_while(void **state)
{
	static struct life f;

	for (unsigned int side = 0; side < 2; side++)
		for (uint32_t at = 0; at < 12; at++) {
			begin(&f);
			connect_a(&f);
			duo_run(&f.d, 7000ull * at * at);
			tp_set_limit(f.d.pool[side], 1);
			live(&f, SLUICE_MS(700));
			tp_set_limit(f.d.pool[side], 0);
			complete(&f, "empty pool at", at);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_allocation),
	    cmocka_unit_test(empty_for_a_while),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
