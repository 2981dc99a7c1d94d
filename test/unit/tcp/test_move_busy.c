/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thousand busy connections move to and fro, all of them every 10 ms, and their streams are right.
 * Half a second of virtual time; a minute of it with SLUICE_LONG.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <tcp/tcp_int.h>

#include "duo.h"

#define N 1000
#define NSQ 4

struct busy {
	struct duo *d;
	unsigned int side, n;
	sluice_conn_t c;
	uint16_t port;
	uint64_t sent, got;
	bool dead;
};

static struct busy ends[2][N];

static uint8_t byte_of(const struct busy *b, uint64_t at)
{
	return (uint8_t)(at * 7 + (at >> 9) + b->n + b->side * 100u);
}

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct duo *d = arg;
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);

	assert_int_equal(sluice_getpeername(d->st[1], eager, (void *)&sa, &len), 0);
	for (unsigned int i = 0; i < N; i++) {
		if (ends[0][i].port != sa.sin_port)
			continue;
		ends[1][i] = (struct busy){.d = d, .side = 1, .n = i, .c = eager};
		*up_arg = &ends[1][i];
		assert_int_equal(sluice_accept(d->st[1], l, eager), 0);
		return 0;
	}
	return -ENOENT;
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct busy *b = arg;
	struct sluice_stack *st = b->d->st[b->side];
	const struct busy *from = &ends[!b->side][b->n];
	struct iovec iov[32];
	size_t sum = 0;
	int n = sluice_peek(st, c, iov, 32);

	for (int i = 0; i < n; i++)
		for (size_t k = 0; k < iov[i].iov_len; k++, sum++)
			if (((uint8_t *)iov[i].iov_base)[k] != byte_of(from, b->got + sum))
				fail_msg("connection %u side %u: byte %zu is wrong", b->n, b->side,
				    (size_t)b->got + sum);
	b->got += sum;
	assert_int_equal(sluice_consume(st, c, sum), 0);
	return 0;
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	((struct busy *)arg)->dead = true;
}

static const struct sluice_upcalls up = {
    .size = sizeof(up), .newconn = on_newconn, .recv = on_recv, .disconnected = on_disconnected};

static void feed(struct busy *b)
{
	uint8_t buf[600];

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = byte_of(b, b->sent + i);
	ssize_t rc = sluice_send_copy(b->d->st[b->side], b->c, buf, sizeof(buf), 0);

	assert_true(rc > 0 || rc == -EAGAIN);
	b->sent += rc > 0 ? (uint64_t)rc : 0;
}

static void open_all(struct duo *d, sluice_conn_t *l)
{
	struct sockaddr_in to = duo_addr4(1, 80), me;
	socklen_t len = sizeof(me);

	assert_int_equal(sluice_create(d->st[1], AF_INET, SOCK_STREAM, 0, 0, 0, l), 0);
	assert_int_equal(sluice_activate(d->st[1], *l, &up, d), 0);
	assert_int_equal(sluice_bind(d->st[1], *l, (void *)&to, sizeof(to)), 0);
	assert_int_equal(sluice_listen(d->st[1], *l, N), 0);
	for (unsigned int i = 0; i < N; i++) {
		struct busy *b = &ends[0][i];

		*b = (struct busy){.d = d, .n = i};
		assert_int_equal(
		    sluice_create(d->st[0], AF_INET, SOCK_STREAM, 0, 0, (int)(i % NSQ), &b->c), 0);
		assert_int_equal(sluice_activate(d->st[0], b->c, &up, b), 0);
		assert_int_equal(
		    sluice_connect(d->st[0], b->c, (void *)&to, sizeof(to), NULL), -EINPROGRESS);
		assert_int_equal(sluice_getsockname(d->st[0], b->c, (void *)&me, &len), 0);
		b->port = me.sin_port;
	}
	duo_run(d, SLUICE_SEC(4));
}

static void a_thousand_to_and_fro(void **state)
{
	unsigned int rounds = getenv("SLUICE_LONG") != NULL ? 6000 : 50;
	struct duo_params p = {.nsq = NSQ, .seed = 3, .max_connections = 2 * N};
	struct sluice_counters ctr;
	struct duo d = {0};
	sluice_conn_t l;

	duo_start(&d, &p);
	open_all(&d, &l);
	for (unsigned int r = 0; r < rounds; r++) {
		for (unsigned int i = 0; i < 2 * N; i++) {
			struct busy *b = &ends[i % 2][i / 2];

			assert_int_not_equal(b->c, 0);
			feed(b);
			assert_int_equal(sluice_move(d.st[b->side], b->c, (r + b->n / 2) % NSQ), 0);
			feed(b);
		}
		duo_run(&d, SLUICE_MS(10));
	}
	duo_run(&d, SLUICE_SEC(10));
	for (unsigned int i = 0; i < 2 * N; i++) {
		struct busy *b = &ends[i % 2][i / 2];

		assert_false(b->dead);
		assert_int_equal(b->got, ends[!b->side][b->n].sent);
		assert_true(b->sent > rounds * 500);
		assert_int_equal(sluice_close(d.st[b->side], b->c), 0);
	}
	for (unsigned int side = 0; side < 2; side++) {
		sluice_counters_sum(d.st[side], &ctr);
		assert_true(ctr.sq_moves_in > (uint64_t)rounds * N / 2);
		assert_int_equal(ctr.sq_moves_refused, 0);
	}
	assert_int_equal(sluice_close(d.st[1], l), 0);
	duo_run(&d, SLUICE_SEC(200));
	for (unsigned int i = 0; i < 2 * NSQ; i++)
		assert_int_equal(sluice_squeue(d.st[i % 2], i / 2)->tcp->fwds.inuse, 0);
	assert_int_equal(duo_stop(&d), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_thousand_to_and_fro)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
