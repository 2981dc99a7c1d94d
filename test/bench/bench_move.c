/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a move costs: a connection goes to another squeue and back, with nothing or ten segments in
 * flight. Both squeues are polled by this thread, as often as it takes; `passes` is the same number
 * of passes without a move, for comparison.
 */
#include <stdlib.h>

#include <rte_mbuf.h>

#include <duo.h>

#include "bench.h"

struct ctx {
	struct duo d;
	sluice_conn_t listener, c;
	unsigned int at;
};

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	return 0;
}

static const struct sluice_upcalls up = {.size = sizeof(up), .newconn = on_newconn};

static void teardown(void *arg)
{
	struct ctx *x = arg;

	(void)duo_stop(&x->d);
	free(x);
}

/* arg: segments in flight + 1 */
static void *setup(int64_t arg)
{
	struct ctx *x = calloc(1, sizeof(*x));
	struct duo_params p = {.nsq = 2, .seed = 1};
	struct sockaddr_in to = duo_addr4(1, 80);
	static char bytes[20000];

	if (x == NULL)
		return NULL;
	duo_start(&x->d, &p);
	if (sluice_create(x->d.st[1], AF_INET, SOCK_STREAM, 0, 0, 0, &x->listener) < 0 ||
	    sluice_activate(x->d.st[1], x->listener, &up, NULL) < 0 ||
	    sluice_bind(x->d.st[1], x->listener, (void *)&to, sizeof(to)) < 0 ||
	    sluice_listen(x->d.st[1], x->listener, 8) < 0 ||
	    sluice_create(x->d.st[0], AF_INET, SOCK_STREAM, 0, 0, 0, &x->c) < 0 ||
	    sluice_activate(x->d.st[0], x->c, &up, NULL) < 0)
		return NULL;
	(void)sluice_connect(x->d.st[0], x->c, (void *)&to, sizeof(to), NULL);
	duo_run(&x->d, SLUICE_MS(50));
	x->d.cut[0] = true;
	if (arg > 1)
		(void)sluice_send_copy(
		    x->d.st[0], x->c, bytes, (size_t)(arg - 1) * 1448, SLUICE_MSG_MORE);
	for (unsigned int q = 0; q < 2; q++)
		(void)sluice_squeue_poll(sluice_squeue(x->d.st[0], q), x->d.now, 0);
	return x;
}

static void both(struct ctx *x)
{
	for (unsigned int q = 0; q < 2; q++)
		(void)sluice_squeue_poll(sluice_squeue(x->d.st[0], q), x->d.now, 0);
}

static void run_move(void *arg, uint64_t n)
{
	struct ctx *x = arg;

	for (uint64_t i = 0; i < n; i++) {
		x->at ^= 1;
		if (sluice_move(x->d.st[0], x->c, x->at) < 0)
			abort();
		while (sluice_conn_squeue(x->d.st[0], x->c) != (int)x->at)
			both(x);
	}
	bench_keep(x->at);
}

/* Out takes one round, home two. */
static void run_passes(void *arg, uint64_t n)
{
	struct ctx *x = arg;

	for (uint64_t i = 0; i < n; i++) {
		both(x);
		if (i & 1)
			both(x);
	}
}

static const int64_t flight[] = {1, 11, 0}, none[] = {1, 0};
const struct bench_case bench_cases[] = {
    {"move/1+segments", setup, run_move, teardown, flight},
    {"passes", setup, run_passes, teardown, none},
    {NULL, NULL, NULL, NULL, NULL},
};
