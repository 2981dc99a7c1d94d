/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SO_REUSEPORT: several listeners of one application on one address and port, on 1, 2 and 4 squeues.
 * A tuple comes to the same listener as long as that one listens, whoever else comes and goes; and a
 * listener that closes takes nobody's established connection with it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <rte_mbuf.h>

#include "duo.h"

#define LISTENERS 5
#define TUPLES 150
#define PORT 7000

struct end {
	sluice_conn_t c;
	int listener; /* that announced it, -1 none yet */
	uint32_t got;
	bool up, gone, closed;
	int err;
};

static struct duo duo;
static sluice_conn_t listener[LISTENERS];
static bool listener_closed[LISTENERS];
static struct end act[TUPLES], pas[TUPLES];
static sluice_conn_t eagers[64]; /* of open_shared */
static unsigned int neagers;

/* Both ends of tuple i: source port 10000 + i. */
static unsigned int tuple_of(struct sluice_stack *st, sluice_conn_t c)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);

	assert_int_equal(sluice_getpeername(st, c, (struct sockaddr *)&sa, &len), 0);
	return ntohs(sa.sin_port) - 10000u;
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct end *e = arg;

	e->got += avail;
	return sluice_consume(duo.st[e >= pas && e < pas + TUPLES], c, avail);
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	((struct end *)arg)->up = true;
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	((struct end *)arg)->gone = true;
	((struct end *)arg)->err = err;
}

static void on_closed(void *arg, sluice_conn_t c)
{
	((struct end *)arg)->closed = true;
}

static const struct sluice_upcalls end_up = {.size = sizeof(end_up),
    .recv = on_recv,
    .connected = on_connected,
    .disconnected = on_disconnected,
    .closed = on_closed};

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct end *e = &pas[tuple_of(duo.st[1], eager)];

	*e = (struct end){.c = eager, .listener = (int)((sluice_conn_t *)arg - listener)};
	assert_int_equal(l, listener[e->listener]);
	if (neagers < 64)
		eagers[neagers++] = eager;
	*up_arg = e;
	*up = &end_up;
	return sluice_accept(duo.st[1], l, eager);
}

static void on_listener_closed(void *arg, sluice_conn_t c)
{
	listener_closed[(sluice_conn_t *)arg - listener] = true;
}

static const struct sluice_upcalls listener_up = {
    .size = sizeof(listener_up), .newconn = on_newconn, .closed = on_listener_closed};

static int listen_as(unsigned int i, bool share, const struct sockaddr_in *at)
{
	int rc, v = share;

	assert_int_equal(sluice_create(duo.st[1], AF_INET, SOCK_STREAM, 0, 0, -1, &listener[i]), 0);
	assert_int_equal(sluice_activate(duo.st[1], listener[i], &listener_up, &listener[i]), 0);
	assert_int_equal(
	    sluice_setsockopt(duo.st[1], listener[i], SOL_SOCKET, SO_REUSEPORT, &v, sizeof(v)), 0);
	rc = sluice_bind(duo.st[1], listener[i], (const void *)at, sizeof(*at));
	if (rc == 0)
		rc = sluice_listen(duo.st[1], listener[i], 256);
	if (rc != 0)
		(void)sluice_close(duo.st[1], listener[i]);
	duo_settle(&duo);
	return rc;
}

static void connect_all(void)
{
	struct sockaddr_in to = duo_addr4(1, PORT);

	for (unsigned int i = 0; i < TUPLES; i++) {
		struct sockaddr_in from = duo_addr4(0, (uint16_t)(10000 + i));

		act[i] = (struct end){.listener = -1};
		pas[i] = (struct end){.listener = -1};
		assert_int_equal(
		    sluice_create(duo.st[0], AF_INET, SOCK_STREAM, 0, 0, -1, &act[i].c), 0);
		assert_int_equal(sluice_activate(duo.st[0], act[i].c, &end_up, &act[i]), 0);
		assert_int_equal(sluice_bind(duo.st[0], act[i].c, (void *)&from, sizeof(from)), 0);
		assert_int_equal(sluice_connect(duo.st[0], act[i].c, (void *)&to, sizeof(to), NULL),
		    -EINPROGRESS);
	}
	duo_run(&duo, SLUICE_MS(50));
	for (unsigned int i = 0; i < TUPLES; i++) {
		assert_true(act[i].up && !act[i].gone);
		assert_true(pas[i].listener >= 0);
	}
}

/* A byte each way on every connection. */
static void talk(void)
{
	uint32_t before = act[0].got;

	for (unsigned int i = 0; i < TUPLES; i++) {
		assert_int_equal(sluice_send_copy(duo.st[0], act[i].c, "a", 1, 0), 1);
		assert_int_equal(sluice_send_copy(duo.st[1], pas[i].c, "b", 1, 0), 1);
	}
	duo_run(&duo, SLUICE_MS(50));
	for (unsigned int i = 0; i < TUPLES; i++) {
		assert_int_equal(act[i].got, before + 1);
		assert_int_equal(pas[i].got, before + 1);
	}
}

static void abort_all(void)
{
	for (unsigned int i = 0; i < TUPLES; i++)
		assert_int_equal(sluice_abort(duo.st[0], act[i].c), 0);
	duo_run(&duo, SLUICE_MS(50));
	for (unsigned int i = 0; i < TUPLES; i++) {
		assert_true(act[i].closed && pas[i].gone && pas[i].err == ECONNRESET);
		if (!pas[i].closed)
			(void)sluice_close(duo.st[1], pas[i].c);
	}
	duo_run(&duo, SLUICE_MS(50));
}

static void shares(int of[TUPLES], unsigned int n[LISTENERS])
{
	memset(n, 0, LISTENERS * sizeof(n[0]));
	for (unsigned int i = 0; i < TUPLES; i++) {
		of[i] = pas[i].listener;
		n[of[i]]++;
	}
}

static void come_and_go(unsigned int nsq)
{
	struct duo_params p = {.nsq = nsq, .seed = 3, .max_connections = 1024};
	struct sockaddr_in at = duo_addr4(1, PORT),
			   any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int first[TUPLES], then[TUPLES], last[TUPLES];
	unsigned int n[LISTENERS];

	memset(listener_closed, 0, sizeof(listener_closed));
	duo_start(&duo, &p);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(listen_as(i, true, i == 3 ? &any : &at), 0);
	connect_all();
	shares(first, n);
	for (unsigned int i = 0; i < 3; i++)
		assert_in_range(n[i], TUPLES / 6, TUPLES / 2);
	assert_int_equal(n[3], 0); /* the exact address is the better match */
	talk();
	/* One goes; its connections stay. */
	assert_int_equal(sluice_close(duo.st[1], listener[1]), 0);
	duo_run(&duo, SLUICE_MS(10));
	assert_true(listener_closed[1]);
	talk();
	abort_all();
	/* The same tuples again: only those of the one that went have another. */
	connect_all();
	shares(then, n);
	for (unsigned int i = 0; i < TUPLES; i++)
		assert_true(first[i] == 1 ? then[i] == 0 || then[i] == 2 : then[i] == first[i]);
	abort_all();
	/* One comes: what it takes, it takes from all. */
	assert_int_equal(listen_as(4, true, &at), 0);
	connect_all();
	shares(last, n);
	for (unsigned int i = 0; i < TUPLES; i++)
		assert_true(last[i] == then[i] || last[i] == 4);
	assert_in_range(n[4], TUPLES / 6, TUPLES / 2);
	abort_all();
	for (unsigned int i = 0; i < LISTENERS; i++)
		if (!listener_closed[i])
			assert_int_equal(sluice_close(duo.st[1], listener[i]), 0);
	duo_run(&duo, SLUICE_SEC(1));
	assert_int_equal(duo_stop(&duo), 0);
}

static void groups(void **state)
{
	come_and_go(1);
	come_and_go(2);
	come_and_go(4);
}

/* ---- the backlog is counted on the group, whatever squeue an eager is on ---- */

#define BACKLOG 6
#define WANT 30u
static sluice_conn_t waiting[WANT];
static unsigned int nwaiting;

static int on_newconn_wait(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	assert_true(nwaiting < WANT);
	waiting[nwaiting] = eager;
	*up_arg = &pas[nwaiting++];
	*up = &end_up;
	return 0;
}

static const struct sluice_upcalls waiting_up = {
    .size = sizeof(waiting_up), .newconn = on_newconn_wait};

static void backlog_on(unsigned int nsq)
{
	struct duo_params p = {.nsq = nsq, .seed = 5};
	struct sockaddr_in at = duo_addr4(1, PORT);
	static const uint64_t wait[WANT / BACKLOG] = {500, 1500, 2000, 6000, 10000};
	unsigned int accepted = 0, squeues = 0;
	struct sluice_counters c;
	sluice_conn_t l;

	nwaiting = 0;
	duo_start(&duo, &p);
	assert_int_equal(sluice_create(duo.st[1], AF_INET, SOCK_STREAM, 0, 0, -1, &l), 0);
	assert_int_equal(sluice_activate(duo.st[1], l, &waiting_up, NULL), 0);
	assert_int_equal(sluice_bind(duo.st[1], l, (void *)&at, sizeof(at)), 0);
	assert_int_equal(sluice_listen(duo.st[1], l, BACKLOG), 0);
	for (unsigned int i = 0; i < WANT; i++) {
		act[i] = (struct end){.listener = -1};
		pas[i] = act[i];
		assert_int_equal(
		    sluice_create(duo.st[0], AF_INET, SOCK_STREAM, 0, 0, -1, &act[i].c), 0);
		assert_int_equal(sluice_activate(duo.st[0], act[i].c, &end_up, &act[i]), 0);
		assert_int_equal(sluice_connect(duo.st[0], act[i].c, (void *)&at, sizeof(at), NULL),
		    -EINPROGRESS);
	}
	/*
	 * Full, not a connection more however often the others try; each accept lets one in. A
	 * final ACK that found no room is asked for again after 1, 3, 7 and 15 s.
	 */
	for (unsigned int round = 0; round < RTE_DIM(wait); round++) {
		unsigned int most = accepted + BACKLOG < WANT ? accepted + BACKLOG : WANT;

		duo_run(&duo, SLUICE_MS(wait[round]));
		assert_int_equal(nwaiting, most);
		for (; accepted < most; accepted++) {
			squeues |= 1u << (waiting[accepted] >> 56);
			assert_int_equal(sluice_accept(duo.st[1], l, waiting[accepted]), 0);
		}
	}
	assert_int_equal(squeues, (1u << nsq) - 1);
	sluice_counters_sum(duo.st[1], &c);
	assert_true(c.tcp_listen_drop > 0);
	for (unsigned int i = 0; i < WANT; i++) {
		assert_int_equal(sluice_abort(duo.st[0], act[i].c), 0);
		(void)sluice_abort(duo.st[1], waiting[i]);
	}
	assert_int_equal(sluice_close(duo.st[1], l), 0);
	duo_run(&duo, SLUICE_SEC(1));
	assert_int_equal(duo_stop(&duo), 0);
}

static void backlog(void **state)
{
	backlog_on(1);
	backlog_on(2);
	backlog_on(4);
}

/* Both must ask for it. */
static void refused(void **state)
{
	struct duo_params p = {.nsq = 2, .seed = 4};
	struct sockaddr_in at = duo_addr4(1, PORT);

	memset(listener_closed, 0, sizeof(listener_closed));
	duo_start(&duo, &p);
	assert_int_equal(listen_as(0, false, &at), 0);
	assert_int_equal(listen_as(1, false, &at), -EADDRINUSE);
	assert_int_equal(listen_as(1, true, &at), -EADDRINUSE);
	assert_int_equal(sluice_close(duo.st[1], listener[0]), 0);
	duo_settle(&duo);
	assert_int_equal(listen_as(0, true, &at), 0);
	assert_int_equal(listen_as(1, false, &at), -EADDRINUSE);
	assert_int_equal(sluice_close(duo.st[1], listener[0]), 0);
	duo_run(&duo, SLUICE_SEC(1));
	assert_int_equal(duo_stop(&duo), 0);
}

/* Opens act[i] of stack 0 from a shared port to a port of stack 1, on a squeue. What connect says, or how
 * it went on: 0, or the error. */
static int open_from(unsigned int i, unsigned int squeue, struct sockaddr_in from, uint16_t port)
{
	struct sockaddr_in to = duo_addr4(1, port);
	int one = 1, rc;

	act[i] = (struct end){.listener = -1};
	assert_int_equal(
	    sluice_create(duo.st[0], AF_INET, SOCK_STREAM, 0, 0, (int)squeue, &act[i].c), 0);
	assert_int_equal(sluice_activate(duo.st[0], act[i].c, &end_up, &act[i]), 0);
	assert_int_equal(
	    sluice_setsockopt(duo.st[0], act[i].c, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
	assert_int_equal(sluice_bind(duo.st[0], act[i].c, (void *)&from, sizeof(from)), 0);
	rc = sluice_connect(duo.st[0], act[i].c, (void *)&to, sizeof(to), NULL);
	if (rc != -EINPROGRESS) {
		assert_int_equal(sluice_close(duo.st[0], act[i].c), 0);
		act[i].closed = true;
		return rc;
	}
	duo_run(&duo, SLUICE_MS(20));
	return act[i].gone ? -act[i].err : act[i].up ? 0 : -EINPROGRESS;
}

/*
 * From a port that several are bound to: each tuple once, as on Linux, from whichever squeue. What was
 * refused leaves the other one's way alone, also when it is closed before it knows.
 */
static void open_shared_on(unsigned int nsq)
{
	struct duo_params p = {.nsq = nsq, .seed = 9};
	struct sockaddr_in at = duo_addr4(1, PORT), at2 = duo_addr4(1, PORT + 1),
			   from = duo_addr4(0, 10000), to = duo_addr4(1, PORT);
	unsigned int open[64], nopen = 0;
	char byte = 'x';
	int one = 1;

	duo_start(&duo, &p);
	neagers = 0;
	memset(act, 0, sizeof(act));
	assert_int_equal(listen_as(0, true, &at), 0);
	assert_int_equal(listen_as(1, true, &at2), 0);
	for (unsigned int k = 0; k < 8; k++) { /* source ports: places differ */
		from.sin_port = htons((uint16_t)(10000 + k));
		for (unsigned int i = 0; i < nsq; i++) {
			unsigned int n = k * 8 + i;
			int rc = open_from(n, i, from, PORT);

			assert_int_equal(rc, i == 0 ? 0 : -EADDRNOTAVAIL);
			if (rc == 0)
				open[nopen++] = n;
		}
		/* One that does not wait for the answer. */
		act[k * 8 + 6] = (struct end){.listener = -1};
		assert_int_equal(sluice_create(duo.st[0], AF_INET, SOCK_STREAM, 0, 0,
				     (int)(nsq - 1), &act[k * 8 + 6].c),
		    0);
		assert_int_equal(
		    sluice_activate(duo.st[0], act[k * 8 + 6].c, &end_up, &act[k * 8 + 6]), 0);
		assert_int_equal(sluice_setsockopt(duo.st[0], act[k * 8 + 6].c, SOL_SOCKET,
				     SO_REUSEPORT, &one, sizeof(one)),
		    0);
		assert_int_equal(
		    sluice_bind(duo.st[0], act[k * 8 + 6].c, (void *)&from, sizeof(from)), 0);
		(void)sluice_connect(duo.st[0], act[k * 8 + 6].c, (void *)&to, sizeof(to), NULL);
		assert_int_equal(sluice_abort(duo.st[0], act[k * 8 + 6].c), 0);
		duo_run(&duo, SLUICE_MS(5));
		/* Another destination is another tuple. */
		assert_int_equal(open_from(k * 8 + 7, nsq - 1, from, PORT + 1), 0);
		open[nopen++] = k * 8 + 7;
	}
	for (unsigned int i = 0; i < nopen; i++)
		assert_int_equal(sluice_send_copy(duo.st[0], act[open[i]].c, &byte, 1, 0), 1);
	duo_run(&duo, SLUICE_MS(20));
	for (unsigned int k = 0; k < 8; k++)
		assert_int_equal(pas[k].got, 2); /* a byte on each */
	for (unsigned int i = 0; i < 64; i++)
		if (act[i].c != 0 && !act[i].closed)
			(void)sluice_abort(duo.st[0], act[i].c);
	duo_run(&duo, SLUICE_SEC(1));
	assert_int_equal(neagers, nopen);
	for (unsigned int i = 0; i < neagers; i++)
		assert_int_equal(sluice_close(duo.st[1], eagers[i]), 0);
	assert_int_equal(sluice_close(duo.st[1], listener[0]), 0);
	assert_int_equal(sluice_close(duo.st[1], listener[1]), 0);
	duo_run(&duo, SLUICE_SEC(1));
	assert_int_equal(duo_stop(&duo), 0);
}

static void open_shared(void **state)
{
	open_shared_on(1);
	open_shared_on(2);
	open_shared_on(4);
}

/* Whom a listener that shares has accepted says that it shares. */
static void inherited(void **state)
{
	struct duo_params p = {.nsq = 2, .seed = 3};
	struct sockaddr_in at = duo_addr4(1, PORT);
	socklen_t len = sizeof(int);
	int v = 0;

	for (int share = 0; share < 2; share++) {
		duo_start(&duo, &p);
		memset(act, 0, sizeof(act));
		assert_int_equal(listen_as(0, share, &at), 0);
		connect_all();
		for (unsigned int i = 0; i < TUPLES; i++) {
			assert_int_equal(sluice_getsockopt(duo.st[1], pas[i].c, SOL_SOCKET,
					     SO_REUSEPORT, &v, &len),
			    0);
			assert_int_equal(v, share);
		}
		v = 1 - share;
		assert_int_equal(
		    sluice_setsockopt(duo.st[1], pas[0].c, SOL_SOCKET, SO_REUSEPORT, &v, len), 0);
		assert_int_equal(
		    sluice_getsockopt(duo.st[1], pas[0].c, SOL_SOCKET, SO_REUSEPORT, &v, &len), 0);
		assert_int_equal(v, 1 - share);
		abort_all();
		assert_int_equal(sluice_close(duo.st[1], listener[0]), 0);
		duo_run(&duo, SLUICE_SEC(1));
		assert_int_equal(duo_stop(&duo), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(groups), cmocka_unit_test(refused),
	    cmocka_unit_test(backlog), cmocka_unit_test(open_shared), cmocka_unit_test(inherited)};

	return cmocka_run_group_tests_name("reuseport", tests, NULL, NULL);
}
