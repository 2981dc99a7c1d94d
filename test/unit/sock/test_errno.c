/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * errno by state: one table, every call in every state. A connection is brought into the state by
 * real segments between two stacks; each cell gets a connection of its own, so that no call's
 * effect reaches the next.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <rte_mbuf.h>

#include "duo.h"

enum call {
	BIND,
	LISTEN,
	CONNECT,
	SEND,
	SHUTDOWN,
	PEERNAME,
	UNBIND,
	NCALLS
};
static const char *const call_name[NCALLS] = {
    "bind", "listen", "connect", "send", "shutdown", "getpeername", "unbind"};

struct row {
	enum sluice_state state;
	bool was_connected; /* IDLE and BOUND: never; CLOSED after a reset: yes */
	int want[NCALLS];
};

/* Order: bind, listen, connect, send, shutdown(WR), getpeername, unbind. */
static const struct row table[] = {
    {SLUICE_IDLE, false, {0, 0, -EINPROGRESS, -ENOTCONN, -ENOTCONN, -ENOTCONN, -EINVAL}},
    {SLUICE_BOUND, false, {-EINVAL, 0, -EINPROGRESS, -ENOTCONN, -ENOTCONN, -ENOTCONN, 0}},
    {SLUICE_LISTEN, false, {-EINVAL, 0, -EOPNOTSUPP, -ENOTCONN, -ENOTCONN, -ENOTCONN, -EINVAL}},
    {SLUICE_SYN_SENT, true, {-EINVAL, -EINVAL, -EALREADY, -ENOTCONN, 0, -ENOTCONN, -EINVAL}},
    {SLUICE_SYN_RCVD, true, {-EINVAL, -EINVAL, -EINVAL, -EPIPE, 0, 0, -EINVAL}},
    {SLUICE_ESTABLISHED, true, {-EINVAL, -EINVAL, -EISCONN, 0, 0, 0, -EINVAL}},
    {SLUICE_CLOSE_WAIT, true, {-EINVAL, -EINVAL, -EINVAL, 0, 0, 0, -EINVAL}},
    {SLUICE_FIN_WAIT_1, true, {-EINVAL, -EINVAL, -EINVAL, -EPIPE, 0, 0, -EINVAL}},
    {SLUICE_FIN_WAIT_2, true, {-EINVAL, -EINVAL, -EINVAL, -EPIPE, 0, 0, -EINVAL}},
    {SLUICE_CLOSING, true, {-EINVAL, -EINVAL, -EINVAL, -EPIPE, 0, 0, -EINVAL}},
    {SLUICE_LAST_ACK, true, {-EINVAL, -EINVAL, -EINVAL, -EPIPE, 0, 0, -EINVAL}},
    {SLUICE_TIME_WAIT, true, {-EINVAL, -EINVAL, -EINVAL, -EPIPE, 0, 0, -EINVAL}},
    {SLUICE_CLOSED, true, {-EINVAL, -EINVAL, -EINVAL, -EPIPE, -ENOTCONN, -ENOTCONN, -EINVAL}},
};

struct pair {
	struct duo d;
	sluice_conn_t listener, eager, c;
	bool up;
};

static int newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct pair *p = arg;

	p->eager = eager;
	p->up = true;
	return 0;
}

static const struct sluice_upcalls upcalls = {.size = sizeof(upcalls), .newconn = newconn};

static sluice_conn_t make(struct pair *p, unsigned int side)
{
	sluice_conn_t c;

	assert_int_equal(sluice_create(p->d.st[side], AF_INET, SOCK_STREAM, 0, 0, 0, &c), 0);
	assert_int_equal(sluice_activate(p->d.st[side], c, &upcalls, p), 0);
	return c;
}

static int bind_to(struct pair *p, unsigned int side, sluice_conn_t c, uint16_t port)
{
	struct sockaddr_in a = duo_addr4(side, port);

	return sluice_bind(p->d.st[side], c, (struct sockaddr *)&a, sizeof(a));
}

static int connect_to(struct pair *p, unsigned int from, sluice_conn_t c, uint16_t port)
{
	struct sockaddr_in a = duo_addr4(!from, port);

	return sluice_connect(p->d.st[from], c, (struct sockaddr *)&a, sizeof(a), NULL);
}

static void establish(struct pair *p)
{
	p->listener = make(p, 1);
	assert_int_equal(bind_to(p, 1, p->listener, 80), 0);
	assert_int_equal(sluice_listen(p->d.st[1], p->listener, 8), 0);
	assert_int_equal(connect_to(p, 0, p->c, 80), -EINPROGRESS);
	assert_true(duo_until(&p->d, &p->up, SLUICE_SEC(5)));
	duo_run(&p->d, SLUICE_MS(1));
}

/* Both ends open to each other, and what the other end sends after its SYN is lost. */
static bool only_syn(struct duo *d, unsigned int side, struct rte_mbuf *m)
{
	const uint8_t *f = rte_pktmbuf_mtod(m, const uint8_t *);

	return side == 1 && m->pkt_len >= 54 && f[12] == 8 && f[13] == 0 && f[23] == 6 &&
	       (f[14 + 20 + 13] & 16) != 0;
}

static void reach(struct pair *p, enum sluice_state want)
{
	sluice_conn_t other;

	p->c = make(p, 0);
	switch (want) {
	case SLUICE_IDLE:
		return;
	case SLUICE_BOUND:
		assert_int_equal(bind_to(p, 0, p->c, 1000), 0);
		return;
	case SLUICE_LISTEN:
		assert_int_equal(bind_to(p, 0, p->c, 1000), 0);
		assert_int_equal(sluice_listen(p->d.st[0], p->c, 8), 0);
		return;
	case SLUICE_SYN_SENT:
		p->d.cut[0] = true;
		assert_int_equal(connect_to(p, 0, p->c, 80), -EINPROGRESS);
		duo_settle(&p->d);
		return;
	case SLUICE_SYN_RCVD:
		p->d.filter = only_syn;
		other = make(p, 1);
		assert_int_equal(bind_to(p, 0, p->c, 1000), 0);
		assert_int_equal(bind_to(p, 1, other, 2000), 0);
		assert_int_equal(connect_to(p, 0, p->c, 2000), -EINPROGRESS);
		assert_int_equal(connect_to(p, 1, other, 1000), -EINPROGRESS);
		duo_run(&p->d, SLUICE_MS(1));
		return;
	case SLUICE_CLOSED:
		assert_int_equal(
		    connect_to(p, 0, p->c, 81), -EINPROGRESS); /* nobody listens there */
		duo_run(&p->d, SLUICE_MS(5));
		return;
	default:
		establish(p);
		break;
	}
	/* From ESTABLISHED: who shuts first, and which FIN or ACK is lost. */
	if (want == SLUICE_CLOSE_WAIT || want == SLUICE_LAST_ACK) {
		assert_int_equal(sluice_shutdown(p->d.st[1], p->eager, SHUT_WR), 0);
		duo_run(&p->d, SLUICE_MS(100));
		if (want == SLUICE_LAST_ACK) {
			p->d.cut[0] = true;
			assert_int_equal(sluice_shutdown(p->d.st[0], p->c, SHUT_WR), 0);
			duo_settle(&p->d);
		}
	} else if (want == SLUICE_FIN_WAIT_1) {
		p->d.cut[0] = true;
		assert_int_equal(sluice_shutdown(p->d.st[0], p->c, SHUT_WR), 0);
		duo_settle(&p->d);
	} else if (want == SLUICE_FIN_WAIT_2 || want == SLUICE_TIME_WAIT) {
		assert_int_equal(sluice_shutdown(p->d.st[0], p->c, SHUT_WR), 0);
		duo_run(&p->d, SLUICE_MS(100));
		if (want == SLUICE_TIME_WAIT) {
			assert_int_equal(sluice_shutdown(p->d.st[1], p->eager, SHUT_WR), 0);
			duo_run(&p->d, SLUICE_MS(100));
		}
	} else if (want == SLUICE_CLOSING) {
		/* FINs cross, and ours is lost: the peer's FIN does not acknowledge it. */
		p->d.cut[0] = true;
		assert_int_equal(sluice_shutdown(p->d.st[0], p->c, SHUT_WR), 0);
		assert_int_equal(sluice_shutdown(p->d.st[1], p->eager, SHUT_WR), 0);
		duo_run(&p->d, SLUICE_MS(10));
	}
}

static int make_call(struct pair *p, enum call call)
{
	struct sluice_stack *st = p->d.st[0];
	struct sockaddr_in a = {0};
	socklen_t len = sizeof(a);
	struct rte_mbuf *m;
	int rc;

	switch (call) {
	case BIND:
		return bind_to(p, 0, p->c, 1234);
	case LISTEN:
		return sluice_listen(st, p->c, 4);
	case CONNECT:
		return connect_to(p, 0, p->c, 90);
	case SEND:
		m = rte_pktmbuf_alloc(p->d.pool[0]);
		assert_non_null(m);
		assert_non_null(rte_pktmbuf_append(m, 10));
		memset(rte_pktmbuf_mtod(m, void *), 'x', 10);
		rc = sluice_send(st, p->c, m, 0);
		if (rc < 0)
			rte_pktmbuf_free(m);
		return rc;
	case SHUTDOWN:
		return sluice_shutdown(st, p->c, SHUT_WR);
	case PEERNAME:
		return sluice_getpeername(st, p->c, (struct sockaddr *)&a, &len);
	default:
		return sluice_bind(st, p->c, NULL, 0);
	}
}

static void errno_by_state(void **state)
{
	unsigned int wrong = 0;

	for (size_t r = 0; r < sizeof(table) / sizeof(table[0]); r++) {
		for (enum call call = 0; call < NCALLS; call++) {
			struct pair p = {0};
			struct duo_params dp = {.seed = 1};
			enum sluice_state s;
			int rc;

			duo_start(&p.d, &dp);
			reach(&p, table[r].state);
			assert_int_equal(sluice_getstate(p.d.st[0], p.c, &s), 0);
			if (s != table[r].state) {
				print_error("state %s was not reached: %s\n",
				    sluice_state_name(table[r].state), sluice_state_name(s));
				wrong++;
			}
			rc = make_call(&p, call);
			if (rc != table[r].want[call]) {
				print_error("%s in %s: %d, want %d\n", call_name[call],
				    sluice_state_name(table[r].state), rc, table[r].want[call]);
				wrong++;
			}
			(void)duo_stop(&p.d);
		}
	}
	assert_int_equal(wrong, 0);
}

/* sluice_stack_memory: what connections take is seen to come and to go; the rest stays. */
static void memory(void **state)
{
	struct sluice_memory before = {.size = sizeof(before)}, with = before, after = before;
	struct sluice_memory wrong = {.size = 1};
	static sluice_conn_t c[200];
	struct duo_params dp = {.seed = 1};
	struct pair p = {0};

	duo_start(&p.d, &dp);
	assert_int_equal(sluice_stack_memory(p.d.st[0], &wrong), -EINVAL);
	assert_int_equal(sluice_stack_memory(p.d.st[0], &before), 0);
	for (unsigned int i = 0; i < RTE_DIM(c); i++)
		c[i] = make(&p, 0);
	assert_int_equal(sluice_stack_memory(p.d.st[0], &with), 0);
	assert_in_range(with.slabs - before.slabs, RTE_DIM(c) * 512, RTE_DIM(c) * 640 + 65536);
	assert_in_range(
	    with.doors - before.doors, (RTE_DIM(c) - 64) * 128, RTE_DIM(c) * 128 + 16384);
	assert_int_equal(with.tables, before.tables);
	assert_true(with.tables > 0);
	for (unsigned int i = 0; i < RTE_DIM(c); i++)
		assert_int_equal(sluice_close(p.d.st[0], c[i]), 0);
	duo_run(&p.d, SLUICE_MS(1));
	assert_int_equal(sluice_stack_memory(p.d.st[0], &after), 0);
	assert_true(after.slabs < with.slabs && after.slabs <= before.slabs + 65536);
	assert_int_equal(after.doors, with.doors);
	(void)duo_stop(&p.d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(errno_by_state), cmocka_unit_test(memory)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
