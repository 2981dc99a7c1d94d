/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <rte_mbuf.h>

#include <squeue/squeue_int.h>

#include "live.h"
#include "mpool.h"

struct loop_arg {
	struct live *l;
	struct sluice_squeue *sq;
};

static struct loop_arg args[2][LIVE_NSQ];

static void *loop(void *arg)
{
	struct loop_arg *a = arg;

	(void)sluice_squeue_run(a->sq, SLUICE_IDLE_SLEEP, &a->l->stop, NULL);
	return NULL;
}

static void configure(struct live *l, unsigned int i)
{
	struct sluice_if_params ifp = {
	    .size = sizeof(ifp), .name = "wire0", .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_txn *t;

	assert_int_equal(sluice_txn_begin(l->st[i], &t), 0);
	assert_int_equal(sluice_if_add(t, &ifp), 0);
	assert_int_equal(
	    sluice_addr_add(t, "wire0", i == 0 ? "10.0.0.1/24" : "10.0.0.2/24", false), 0);
	assert_int_equal(sluice_tunable_set(t, "ip.dad_probes", 0), 0);
	assert_int_equal(sluice_tunable_set(t, "tcp.time_wait", SLUICE_MS(20)), 0);
	assert_int_equal(sluice_txn_commit(t, NULL), 0);
}

void live_make(struct live *l, unsigned int nsq, unsigned int sockets, unsigned int buf)
{
	struct sluice_wire_params wp = {.size = sizeof(wp),
	    .nqueues = {(uint16_t)nsq, (uint16_t)nsq},
	    .depth = 1024,
	    .copy = true,
	    .threads = true};
	struct sluice_driver end[2];
	struct sluice_tunables tun;

	memset(l, 0, sizeof(*l));
	sluice_tunables_default(&tun);
	tun.tcp_rcvbuf = tun.tcp_sndbuf = buf != 0 ? buf : 65536;
	tun.sock_max = sockets;
	for (int i = 0; i < 2; i++)
		wp.pool[i] = l->pool[i] = tp_create(2048, 0);
	assert_int_equal(sluice_wire_create(&wp, end), 0);
	for (unsigned int i = 0; i < 2; i++) {
		struct sluice_stack_params sp = {.size = sizeof(sp),
		    .name = i == 0 ? "left" : "right",
		    .nsqueues = nsq,
		    .max_connections = 512,
		    .hdr_pool = l->pool[i],
		    .tunables = &tun,
		    .seed = i + 1};

		assert_int_equal(sluice_stack_create(&sp, &l->st[i], NULL), 0);
		assert_int_equal(sluice_port_add(l->st[i], end[i]), 0);
		configure(l, i);
	}
}

void live_lcore(struct live *l, unsigned int side, unsigned int q)
{
	args[side][q] = (struct loop_arg){l, sluice_squeue(l->st[side], q)};
	assert_int_equal(pthread_create(&l->loop[side][q], NULL, loop, &args[side][q]), 0);
}

void live_start(struct live *l, unsigned int nsq)
{
	live_make(l, nsq, 512, 0);
	for (unsigned int i = 0; i < 2; i++) {
		for (unsigned int k = 0; k < nsq; k++)
			live_lcore(l, i, k);
	}
}

/* Nothing asks for an end of FIN_WAIT but the peer, who has closed too. */
static void quiet(struct live *l)
{
	struct timespec ts = {0, 1000000};
	struct sluice_counters c;

	for (unsigned int i = 0; i < 2; i++) {
		unsigned int ms = 0;

		do {
			nanosleep(&ts, NULL);
			sluice_counters_sum(l->st[i], &c);
			assert_true(ms++ < 10000); /* a test that failed has left some */
		} while (c.tcp_curr_estab != 0);
	}
	/* A listener's close goes to its squeue, from there to all, and back: calls behind each. */
	for (unsigned int i = 0; i < 2 * 3; i++)
		for (unsigned int k = 0; k < l->st[i % 2]->nsq; k++)
			(void)sl_synch_call(l->st[i % 2], k, SL_OP_MISC, SLUICE_CONN_NONE, NULL);
}

void live_stop(struct live *l)
{
	unsigned int nsq = sluice_stack_nsqueues(l->st[0]);

	quiet(l);
	__atomic_store_n(&l->stop, 1, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < 2; i++)
		for (unsigned int k = 0; k < nsq; k++)
			pthread_join(l->loop[i][k], NULL);
	live_unmake(l);
}

void live_unmake(struct live *l)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct sluice_leaks leaks = {.size = sizeof(leaks)};

		assert_int_equal(sluice_stack_destroy(l->st[i], &leaks), 0);
		assert_int_equal(leaks.sockets, 0);
		assert_int_equal(leaks.timers + leaks.calls + leaks.records, 0);
	}
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(tp_out(l->pool[i]), 0);
	for (unsigned int i = 0; i < 2; i++)
		tp_destroy(l->pool[i]);
}

struct sockaddr_in live_addr(unsigned int side, uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
	    .sin_port = htons(port),
	    .sin_addr.s_addr = htonl(0x0a000001 + side)};
}

int live_listen(struct live *l, uint16_t port, int backlog)
{
	struct sockaddr_in a = live_addr(1, port);
	int fd = sluice_so_socket(l->st[1], AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(sluice_so_bind(l->st[1], fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(sluice_so_listen(l->st[1], fd, backlog), 0);
	return fd;
}

void live_pair(struct live *l, int listener, uint16_t port, int *c, int *s)
{
	struct sockaddr_in a = live_addr(1, port);

	*c = sluice_so_socket(l->st[0], AF_INET, SOCK_STREAM, 0);
	assert_true(*c >= 0);
	assert_int_equal(sluice_so_connect(l->st[0], *c, (struct sockaddr *)&a, sizeof(a)), 0);
	*s = sluice_so_accept4(l->st[1], listener, NULL, NULL, 0);
	assert_true(*s >= 0);
}

/* ---- the fixture ---- */

struct live live_one;
int live_lfd;

static int begin(unsigned int nsq)
{
	live_start(&live_one, nsq);
	live_lfd = live_listen(&live_one, LIVE_PORT, 16);
	return 0;
}

int live_setup(void **state)
{
	return begin(1);
}

int live_setup2(void **state)
{
	return begin(2);
}

int live_teardown(void **state)
{
	assert_int_equal(sluice_so_close(live_one.st[1], live_lfd), 0);
	live_stop(&live_one);
	return 0;
}

void live_nap(unsigned int ms)
{
	struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}
