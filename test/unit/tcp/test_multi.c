/* SPDX-License-Identifier: BSD-3-Clause */
/* Several squeues: listeners with a shard on each, and bound ports whose packets arrive elsewhere.
 */
#include "script.h"

#include "duo.h"

struct side {
	struct sluice_stack *st;
	size_t got;
	int up, closed, gone;
	sluice_conn_t eager[64];
	int n;
};

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct side *s = arg;

	s->eager[s->n++] = eager;
	return 0;
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	((struct side *)arg)->up++;
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	((struct side *)arg)->gone++;
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct side *s = arg;

	s->got += avail;
	assert_int_equal(sluice_consume(s->st, c, avail), 0);
	return 0;
}

static void on_closed(void *arg, sluice_conn_t c)
{
	((struct side *)arg)->closed++;
}

static const struct sluice_upcalls up = {.size = sizeof(up),
    .newconn = on_newconn,
    .connected = on_connected,
    .disconnected = on_disconnected,
    .recv = on_recv,
    .closed = on_closed};

#define N 24
static void bound_ports_and_shards(void **state)
{
	struct duo d = {0};
	struct duo_params p = {.nsq = 3, .seed = 9};
	struct side a, b;
	struct sockaddr_in to;
	sluice_conn_t l, c[N], spare;

	duo_start(&d, &p);
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	a.st = d.st[0];
	b.st = d.st[1];
	to = duo_addr4(1, 80);
	assert_int_equal(sluice_create(b.st, AF_INET, SOCK_STREAM, 0, 0, 1, &l), 0);
	assert_int_equal(sluice_activate(b.st, l, &up, &b), 0);
	assert_int_equal(sluice_bind(b.st, l, (void *)&to, sizeof(to)), 0);
	assert_int_equal(sluice_listen(b.st, l, 64), 0);
	duo_settle(&d);
	for (int i = 0; i < N; i++) {
		struct sockaddr_in from = duo_addr4(0, (uint16_t)(2000 + i));

		assert_int_equal(sluice_create(a.st, AF_INET, SOCK_STREAM, 0, 0, i % 3, &c[i]), 0);
		assert_int_equal(sluice_activate(a.st, c[i], &up, &a), 0);
		assert_int_equal(sluice_bind(a.st, c[i], (void *)&from, sizeof(from)), 0);
		assert_int_equal(
		    sluice_connect(a.st, c[i], (void *)&to, sizeof(to), NULL), -EINPROGRESS);
		/* Squeues have looked at it, held back, before the forwarding entry stands. */
		duo_run(&d, SLUICE_MS(1));
	}
	/* The SYN leaves as soon as the forwarding entry stands, not with the first time-out. */
	duo_run(&d, SLUICE_MS(100));
	assert_int_equal(a.up, N);
	assert_int_equal(b.n, N);
	for (int i = 0; i < N; i++) {
		char text[100] = "over there";

		assert_int_equal(sluice_send_copy(a.st, c[i], text, 100, 0), 100);
		assert_int_equal(sluice_send_copy(b.st, b.eager[i], text, 100, 0), 100);
		if (i < N / 2)
			assert_int_equal(sluice_accept(b.st, l, b.eager[i]), 0);
	}
	duo_run(&d, SLUICE_SEC(1));
	assert_int_equal(a.got, 100 * N);
	assert_int_equal(b.got, 100 * N);
	/* The listener goes from all squeues; what it had not accepted goes with it. */
	assert_int_equal(sluice_close(b.st, l), 0);
	duo_run(&d, SLUICE_SEC(1));
	assert_int_equal(b.closed, 1);
	assert_int_equal(b.gone, N - N / 2);
	assert_int_equal(a.gone, N - N / 2);
	assert_int_equal(sluice_create(a.st, AF_INET, SOCK_STREAM, 0, 0, 0, &spare), 0);
	assert_int_equal(sluice_activate(a.st, spare, &up, &a), 0);
	assert_int_equal(sluice_connect(a.st, spare, (void *)&to, sizeof(to), NULL), -EINPROGRESS);
	duo_run(&d, SLUICE_SEC(1));
	assert_int_equal(a.gone, N - N / 2 + 1); /* refused, on whichever squeue it arrives */
	for (int i = 0; i < N; i++) {
		assert_int_equal(sluice_close(a.st, c[i]), 0);
		assert_int_equal(sluice_close(b.st, b.eager[i]), 0);
	}
	assert_int_equal(sluice_close(a.st, spare), 0);
	duo_run(&d, SLUICE_SEC(200));
	assert_int_equal(a.closed, N + 1);
	assert_int_equal(b.closed, N + 1);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(sluice_squeue(a.st, i)->tcp->fwds.inuse, 0);
	assert_int_equal(duo_stop(&d), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(bound_ports_and_shards)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
