/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Users who do what they may not: calls in any order on any handle, from inside every upcall, with
 * the smallest limits; allocations that fail, each of them in turn. Nothing may crash, `closed`
 * comes exactly once, and everything comes back.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <rte_mbuf.h>

#include "duo.h"
#include "mpool.h"

/* ---- allocations that fail (the linker sends the library's here) ---- */

static unsigned long alloc_fail, alloc_count;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);

static bool fails(void)
{
	return ++alloc_count == alloc_fail;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
	return fails() ? NULL : __real_aligned_alloc(align, n);
}

/* ---- the mob: connections of two stacks, and what they do ---- */

#define NUSERS 96

struct user {
	struct mob *mob;
	struct sluice_stack *st;
	sluice_conn_t c;
	unsigned int side;
	bool used, active, closed, in_newconn;
};

struct mob {
	struct duo d;
	struct user user[NUSERS];
	unsigned int nusers, depth;
	uint64_t rng;
	char zc[64];
};

static uint32_t rnd(struct mob *b, uint32_t n)
{
	b->rng = b->rng * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(b->rng >> 33) % n;
}

static void act(struct mob *b);

static struct user *user_new(struct mob *b, unsigned int side)
{
	struct user *u;

	if (b->nusers == NUSERS)
		return NULL;
	u = &b->user[b->nusers++];
	*u = (struct user){.mob = b, .side = side, .st = b->d.st[side], .used = true};
	return u;
}

static void at(struct user *u)
{
	assert_false(u->closed);
	if (u->mob->depth >= 4)
		return;
	u->mob->depth++;
	for (uint32_t n = rnd(u->mob, 3); n > 0; n--)
		act(u->mob);
	if (rnd(u->mob, 12) == 0)
		(void)sluice_close(u->st, u->c);
	if (rnd(u->mob, 12) == 0)
		(void)sluice_abort(u->st, u->c);
	u->mob->depth--;
}

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct user *lu = arg, *u = user_new(lu->mob, lu->side);
	uint32_t k = rnd(lu->mob, 16);

	if (u == NULL)
		return -ENOMEM;
	u->c = eager;
	u->active = true;
	*up_arg = u;
	if (k == 0) {
		(void)sluice_close(lu->st, l);
	} else if (k == 1) {
		(void)sluice_close(lu->st, eager);
	} else if (k == 2) {
		(void)sluice_abort(lu->st, eager);
	} else if (k == 3) {
		u->active = false;
		u->used = false;
		return -ECONNREFUSED;
	} else if (k == 4) {
		u->active = false;
		u->used = false;
		*up = NULL;
		return 0;
	} else if (k == 5) {
		(void)sluice_send_copy(lu->st, eager, "hello", 5, 0);
	}
	if (k < 12)
		(void)sluice_accept(lu->st, l, eager);
	at(lu);
	return 0;
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	at(arg);
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	at(arg);
}

static void on_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t v)
{
	at(arg);
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct user *u = arg;

	assert_int_equal(sluice_readable(u->st, c), avail);
	assert_int_equal(sluice_consume(u->st, c, avail + 1), -EINVAL);
	if (rnd(u->mob, 2))
		(void)sluice_consume(u->st, c, avail);
	at(u);
	return rnd(u->mob, 8) == 0 ? -ENOSPC : 0;
}

static void on_full(void *arg, sluice_conn_t c, bool full)
{
	at(arg);
}

static void on_oob(void *arg, sluice_conn_t c, size_t mark)
{
	at(arg);
}

static void on_zc(void *arg, sluice_conn_t c, void *cookie)
{
	at(arg);
}

static void on_error(void *arg, sluice_conn_t c, int err)
{
	at(arg);
}

static void on_props(void *arg, sluice_conn_t c, size_t snd, size_t rcv, uint32_t mss)
{
	at(arg);
}

static void on_closed(void *arg, sluice_conn_t c)
{
	struct user *u = arg;

	assert_false(u->closed);
	at(u);
	u->closed = true;
}

static const struct sluice_upcalls ups = {.size = sizeof(ups),
    .newconn = on_newconn,
    .connected = on_connected,
    .disconnected = on_disconnected,
    .opctl = on_opctl,
    .recv = on_recv,
    .txq_full = on_full,
    .signal_oob = on_oob,
    .zcopy_notify = on_zc,
    .set_error = on_error,
    .set_proto_props = on_props,
    .closed = on_closed};

/* ---- what one can do ---- */

static void act_open(struct mob *b)
{
	struct user *u = user_new(b, rnd(b, 2));
	bool v6 = rnd(b, 3) == 0;

	if (u == NULL)
		return;
	if (sluice_create(u->st, v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0, 0, -1, &u->c) < 0) {
		u->used = false;
		return;
	}
	u->active = true;
	if (sluice_activate(u->st, u->c, &ups, u) < 0)
		u->active = false;
}

static void act_address(struct mob *b, struct user *u, bool connect)
{
	unsigned int side = connect && rnd(b, 4) ? !u->side : u->side;
	struct sockaddr_in a4 = duo_addr4(side, (uint16_t)(80 + rnd(b, 3)));
	struct sockaddr_in6 a6 = duo_addr6(side, (uint16_t)(80 + rnd(b, 3)));
	const struct sockaddr *sa = (const struct sockaddr *)&a4;
	socklen_t len = sizeof(a4);

	if (rnd(b, 4) == 0) {
		sa = (const struct sockaddr *)&a6;
		len = rnd(b, 8) == 0 ? 5 : sizeof(a6);
	}
	if (connect)
		(void)sluice_connect(u->st, u->c, sa, len, NULL);
	else
		(void)sluice_bind(u->st, u->c, rnd(b, 10) ? sa : NULL, len);
}

static void act_send(struct mob *b, struct user *u)
{
	static const char data[5000];
	/* Any flags, those that mean nothing too. */
	unsigned int flags = rnd(b, 4) ? rnd(b, 4) : 0xffffffffu;
	struct rte_mbuf *m;

	switch (rnd(b, 3)) {
	case 0:
		(void)sluice_send_copy(u->st, u->c, data, rnd(b, sizeof(data)), flags);
		break;
	case 1:
		(void)sluice_send_external(u->st, u->c, b->zc, 0, rnd(b, sizeof(b->zc)), u, flags);
		break;
	default:
		m = rte_pktmbuf_alloc(b->d.pool[u->side]);
		if (m == NULL)
			break;
		(void)rte_pktmbuf_append(m, (uint16_t)rnd(b, 1000));
		if (sluice_send(u->st, u->c, m, flags) < 0)
			rte_pktmbuf_free(m);
		break;
	}
}

static void act_read(struct mob *b, struct user *u, struct user *v)
{
	struct rte_mbuf *m = NULL;
	struct iovec iov[2];

	switch (rnd(b, 5)) {
	case 0:
		(void)sluice_take(u->st, u->c, rnd(b, 3000), &m);
		rte_pktmbuf_free(m);
		break;
	case 1:
		(void)sluice_splice(u->st, u->c, rnd(b, 3) ? v->c : u->c, rnd(b, 5000));
		break;
	case 2:
		(void)sluice_peek(u->st, u->c, iov, (int)rnd(b, 4) - 1);
		break;
	case 3:
		(void)sluice_consume(u->st, u->c, rnd(b, 2000));
		break;
	default:
		(void)sluice_clr_flowctrl(u->st, u->c);
		break;
	}
}

static void act_option(struct mob *b, struct user *u)
{
	static const int sizes[] = {0, 1, 4, 8, 16};
	uint8_t val[16];
	socklen_t len = (socklen_t)sizes[rnd(b, 5)];
	int level = rnd(b, 2) ? IPPROTO_TCP : SOL_SOCKET, name = (int)rnd(b, 48);
	struct sluice_conn_info info = {.size = sizeof(info)};

	memset(val, (int)rnd(b, 3) - 1, sizeof(val));
	(void)sluice_setsockopt(u->st, u->c, level, name, val, len);
	(void)sluice_getsockopt(u->st, u->c, level, name, val, &len);
	(void)sluice_conn_info(u->st, u->c, &info);
}

static void act(struct mob *b)
{
	struct user *u, *v;

	if (b->nusers < 4 || rnd(b, 6) == 0)
		act_open(b);
	if (b->nusers == 0)
		return;
	u = &b->user[rnd(b, b->nusers)];
	v = &b->user[rnd(b, b->nusers)];
	switch (rnd(b, 20)) {
	case 0:
		(void)sluice_close(u->st, u->c);
		break;
	case 1:
		(void)sluice_abort(u->st, u->c);
		break;
	case 2:
		(void)sluice_shutdown(u->st, u->c, (int)rnd(b, 4));
		break;
	case 3:
	case 4:
		(void)sluice_listen(u->st, u->c, (int)rnd(b, 4) - 1);
		break;
	case 5:
		act_address(b, u, false);
		break;
	case 6:
	case 7:
	case 8:
		act_address(b, u, true);
		break;
	case 9:
		(void)sluice_accept(u->st, u->c, v->c);
		break;
	case 10:
		act_option(b, u);
		break;
	case 11:
		tp_fail_nth(b->d.pool[u->side], rnd(b, 20));
		break;
	case 12:
	case 13:
	case 14:
		act_read(b, u, v);
		break;
	default:
		act_send(b, u);
		break;
	}
}

static void mob_run(uint64_t seed)
{
	static struct mob mob;
	struct sluice_tunables t;
	struct duo_params p = {
	    .seed = seed, .max_connections = 16, .nsq = seed % 3 == 2 ? 2 : 1, .tun = {&t, &t}};
	struct mob *b = &mob;
	bool orderly;

	memset(b, 0, sizeof(*b));
	b->rng = seed * 77;
	sluice_tunables_default(&t);
	if (seed % 4 != 0) {
		t.sq_call_slots = 16;
		t.app_timers = 0;
		t.ip_neigh_max = 16;
		t.tcp_rec_max = 64;
		t.tcp_ooo_max = 1;
		t.tcp_backlog_max = 1 + rnd(b, 2);
		t.tcp_sndbuf = t.tcp_rcvbuf = 2048;
		t.tcp_time_wait_max = rnd(b, 3);
		p.pool_limit = seed % 4 == 1 ? 64 : 0;
	}
	orderly = seed % 2 == 0;
	duo_start(&b->d, &p);
	for (unsigned int i = 0; i < 120; i++) {
		act(b);
		b->d.cut[rnd(b, 2)] = rnd(b, 6) == 0;
		if (rnd(b, 3) == 0)
			duo_settle(&b->d);
		if (rnd(b, 4) == 0)
			duo_run(&b->d, 1000ull << rnd(b, 20));
	}
	if (orderly) {
		b->d.cut[0] = b->d.cut[1] = false;
		for (unsigned int k = 0; k < 3; k++) {
			for (unsigned int i = 0; i < b->nusers; i++)
				(void)sluice_abort(b->user[i].st, b->user[i].c);
			b->depth = 4; /* no more acts */
			tp_fail_nth(b->d.pool[0], 0);
			tp_fail_nth(b->d.pool[1], 0);
			duo_run(&b->d, SLUICE_SEC(100));
		}
		for (unsigned int i = 0; i < b->nusers; i++)
			if (b->user[i].active && !b->user[i].closed)
				fail_msg(
				    "seed %lu: user %u was not closed", (unsigned long)seed, i);
	}
	b->depth = 4;
	for (unsigned int i = 0; i < 2; i++) {
		struct sluice_leaks l = {.size = sizeof(l)};

		assert_int_equal(sluice_stack_destroy(b->d.st[i], &l), 0);
		assert_int_equal(l.records, 0);
		if (orderly)
			assert_int_equal(l.connections, 0);
	}
	for (unsigned int i = 0; i < b->nusers; i++)
		if (b->user[i].active && !b->user[i].closed)
			fail_msg(
			    "seed %lu: user %u was not closed by destroy", (unsigned long)seed, i);
	for (unsigned int i = 0; i < 2; i++) {
		if (tp_out(b->d.pool[i]) != 0)
			fail_msg(
			    "seed %lu: %u mbufs out", (unsigned long)seed, tp_out(b->d.pool[i]));
		tp_destroy(b->d.pool[i]);
	}
}

static void test_mob(void **state)
{
	const char *from = getenv("ATTACK_SEED"), *runs = getenv("ATTACK_RUNS");
	uint64_t first = from != NULL ? strtoull(from, NULL, 0) : 1;
	uint64_t n = runs != NULL ? strtoull(runs, NULL, 0) : 400;

	for (uint64_t seed = first; seed < first + n; seed++) {
		if (runs != NULL)
			fprintf(stderr, "seed %lu\n", (unsigned long)seed);
		mob_run(seed);
	}
}

/* ---- each allocation of a life fails once ---- */

struct life {
	struct sluice_stack *st;
	sluice_conn_t l, c;
	unsigned int closed, made;
	char zc[512];
};

static int life_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct life *f = arg;

	f->made++;
	return sluice_accept(f->st, l, eager);
}

static int life_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct life *f = arg;

	if (sluice_splice(f->st, c, c, avail) < 0)
		(void)sluice_consume(f->st, c, avail);
	return 0;
}

static void life_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t v)
{
	struct life *f = arg;

	if (op == SLUICE_OPCTL_SHUT_RECV)
		(void)sluice_close(f->st, c);
}

static void life_closed(void *arg, sluice_conn_t c)
{
	((struct life *)arg)->closed++;
}

static const struct sluice_upcalls life_ups = {.size = sizeof(life_ups),
    .newconn = life_newconn,
    .recv = life_recv,
    .opctl = life_opctl,
    .closed = life_closed};

static void life_poll(struct life *f, uint64_t *now)
{
	for (unsigned int i = 0; i < 40; i++, *now += SLUICE_MS(5))
		for (unsigned int q = 0; q < 2; q++)
			assert_true(sluice_squeue_poll(sluice_squeue(f->st, q), *now, 0) >= 0);
}

static void on_timer(struct sluice_squeue *sq, void *arg)
{
}

static void life_configure(struct life *f)
{
	struct sluice_if_params ifp = {.size = sizeof(ifp),
	    .name = "home",
	    .virt = true,
	    .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_txn *t;
	char err[100];

	(void)sluice_config_load(f->st, ATTACK_INI, err, sizeof(err), NULL, NULL);
	if (sluice_txn_begin(f->st, &t) < 0)
		return;
	(void)sluice_vrf_add(t, 9);
	if (sluice_if_add(t, &ifp) < 0 || sluice_addr_add(t, "home", "10.0.0.1/32", false) < 0 ||
	    sluice_tunable_set(t, "ip.dad_probes", 0) < 0) {
		sluice_txn_abort(t);
		return;
	}
	(void)sluice_txn_commit(t, NULL);
}

static bool one_life(struct rte_mempool *pool, unsigned long fail)
{
	struct sluice_stack_params sp = {.size = sizeof(sp),
	    .name = "life",
	    .nsqueues = 2,
	    .max_connections = 16,
	    .hdr_pool = pool,
	    .seed = 1};
	struct sluice_leaks leaks = {.size = sizeof(leaks)};
	struct sockaddr_in a = duo_addr4(0, 80);
	struct life f = {0};
	uint64_t now = SLUICE_SEC(1);
	sluice_timer_t timer;
	int on = 1;

	alloc_count = 0;
	alloc_fail = fail;
	if (sluice_stack_create(&sp, &f.st, NULL) < 0)
		goto out;
	life_configure(&f);
	if (sluice_create(f.st, AF_INET, SOCK_STREAM, 0, 0, 0, &f.l) == 0) {
		(void)sluice_activate(f.st, f.l, &life_ups, &f);
		(void)sluice_bind(f.st, f.l, (const struct sockaddr *)&a, sizeof(a));
		(void)sluice_listen(f.st, f.l, 4);
	}
	life_poll(&f, &now);
	if (sluice_create(f.st, AF_INET, SOCK_STREAM, 0, 0, 1, &f.c) == 0) {
		(void)sluice_activate(f.st, f.c, &life_ups, &f);
		(void)sluice_setsockopt(f.st, f.c, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
		(void)sluice_setsockopt(f.st, f.c, IPPROTO_TCP, TCP_KEEPCNT, &on, sizeof(on));
		(void)sluice_connect(f.st, f.c, (const struct sockaddr *)&a, sizeof(a), NULL);
	}
	(void)sluice_timer_start(sluice_squeue(f.st, 0), now + 1, on_timer, NULL, &timer);
	life_poll(&f, &now);
	(void)sluice_send_copy(f.st, f.c, f.zc, sizeof(f.zc), 0);
	(void)sluice_send_external(f.st, f.c, f.zc, 0, sizeof(f.zc), NULL, 0);
	life_poll(&f, &now);
	(void)sluice_close(f.st, f.c);
	life_poll(&f, &now);
	(void)sluice_close(f.st, f.l);
	life_poll(&f, &now);
	assert_int_equal(sluice_stack_destroy(f.st, &leaks), 0);
	assert_int_equal(leaks.records, 0);
out:
	alloc_fail = 0;
	if (tp_out(pool) != 0)
		fail_msg("allocation %lu failed: %u mbufs out", fail, tp_out(pool));
	if (fail != ~0ul && alloc_count < fail && f.made == 0)
		fail_msg("nothing failed and there was no connection");
	return alloc_count >= fail;
}

static void test_no_memory(void **state)
{
	struct rte_mempool *pool = tp_create(2048, 0);
	unsigned long n = 1;

	while (one_life(pool, n))
		n++;
	assert_true(n > 20);
	assert_int_equal(tp_destroy(pool), 0);
}

/* The same with mbufs instead of memory. */
static void test_no_mbuf(void **state)
{
	for (uint32_t n = 1; n < 60; n++) {
		struct rte_mempool *pool = tp_create(2048, 0);

		tp_fail_nth(pool, n);
		(void)one_life(pool, ~0ul);
		assert_int_equal(tp_destroy(pool), 0);
	}
}

/* A pool whose buffers hold no byte is refused, not found out by the first copy. */
static void test_data_pool(void **state)
{
	struct rte_mempool *pool = tp_create(2048, 0), *small = tp_create(RTE_PKTMBUF_HEADROOM, 0);
	struct sluice_stack_params sp = {.size = sizeof(sp),
	    .name = "small",
	    .nsqueues = 1,
	    .max_connections = 16,
	    .hdr_pool = pool,
	    .data_pool = small,
	    .seed = 1};
	struct sluice_stack *st;
	const char *why = NULL;

	assert_int_equal(sluice_stack_create(&sp, &st, &why), -EINVAL);
	assert_string_equal(why, "data_pool");
	tp_destroy(pool);
	tp_destroy(small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_mob),
	    cmocka_unit_test(test_no_memory),
	    cmocka_unit_test(test_no_mbuf),
	    cmocka_unit_test(test_data_pool),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
