/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lcores leave and come back, in threads, while sockets of other threads connect, send, receive and
 * close, their connections are moved besides, and listeners come and go: every byte arrives, nothing is
 * left.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <netinet/tcp.h>

#include <cmocka.h>

#include "live.h"

#define NSQ 3
#define CLIENTS 4
#define BYTES 20000
#define PORT 80

static struct live L;
static int listener;
static atomic_bool enough;
static atomic_uint served, wrong, resets;

static void pause_us(unsigned int us)
{
	struct timespec ts = {0, (long)us * 1000};

	nanosleep(&ts, NULL);
}

static uint8_t byte_of(unsigned int key, size_t at)
{
	return (uint8_t)(at * 131 + (at >> 8) * 17 + key * 29);
}

/* ---- echo ---- */

static void *server_conn(void *arg)
{
	int fd = (int)(intptr_t)arg;
	uint8_t buf[4096];
	ssize_t n;

	while ((n = sluice_so_recv(L.st[1], fd, buf, sizeof(buf), 0)) > 0)
		if (sluice_so_send(L.st[1], fd, buf, (size_t)n, 0) != n)
			atomic_fetch_add(&wrong, 1);
	if (n < 0)
		atomic_fetch_add(&wrong, 1);
	sluice_so_close(L.st[1], fd);
	return NULL;
}

static void *server(void *arg)
{
	pthread_t t[CLIENTS] = {0};
	bool used[CLIENTS] = {false};

	for (unsigned int i = 0;; i = (i + 1) % CLIENTS) {
		int fd = sluice_so_accept4(L.st[1], listener, NULL, NULL, 0);

		if (fd < 0)
			break;
		if (used[i])
			pthread_join(t[i], NULL);
		used[i] = pthread_create(&t[i], NULL, server_conn, (void *)(intptr_t)fd) == 0;
	}
	for (unsigned int i = 0; i < CLIENTS; i++)
		if (used[i])
			pthread_join(t[i], NULL);
	return NULL;
}

/* Sends pieces, reads them back, and lets somebody move the connection in between. */
static bool talk(int fd, unsigned int key)
{
	uint8_t buf[1000];
	size_t at = 0;

	for (; at < BYTES; at += sizeof(buf)) {
		for (size_t i = 0; i < sizeof(buf); i++)
			buf[i] = byte_of(key, at + i);
		if (sluice_so_send(L.st[0], fd, buf, sizeof(buf), 0) != (ssize_t)sizeof(buf))
			return false;
		if (at % 3000 == 0) /* refused when that one is parked, or it is a pair's */
			(void)sluice_move(L.st[0], sluice_so_conn(L.st[0], fd),
			    (key + (unsigned int)at / 3000) % NSQ);
		memset(buf, 0, sizeof(buf));
		if (sluice_so_recv(L.st[0], fd, buf, sizeof(buf), MSG_WAITALL) !=
		    (ssize_t)sizeof(buf))
			return false;
		for (size_t i = 0; i < sizeof(buf); i++)
			if (buf[i] != byte_of(key, at + i))
				return false;
	}
	return true;
}

static void *client(void *arg)
{
	struct sockaddr_in a = live_addr(1, PORT);
	unsigned int key = (unsigned int)(uintptr_t)arg;

	for (; !atomic_load(&enough); key += CLIENTS) {
		int fd = sluice_so_socket(L.st[0], AF_INET, SOCK_STREAM, 0);
		int rc = sluice_so_connect(L.st[0], fd, (struct sockaddr *)&a, sizeof(a));

		if (rc != 0 || !talk(fd, key))
			atomic_fetch_add(&wrong, 1);
		sluice_so_close(L.st[0], fd);
		atomic_fetch_add(&served, 1);
	}
	return NULL;
}

/* ---- listeners that come and go, with connections that nobody accepts ---- */

static void *opener(void *arg)
{
	for (unsigned int n = 0; !atomic_load(&enough); n++) {
		struct sockaddr_in a = live_addr(1, (uint16_t)(1000 + n % 100));
		int l = live_listen(&L, (uint16_t)(1000 + n % 100), 8), fd[6], got = -1;

		for (int i = 0; i < 6; i++) {
			fd[i] = sluice_so_socket(L.st[0], AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
			(void)sluice_so_connect(L.st[0], fd[i], (struct sockaddr *)&a, sizeof(a));
		}
		/* Calls on a squeue that nobody polls do not wait: without a pause they may open more
		 * than a stack has sockets before anybody else runs. */
		pause_us(n % 2 == 0 ? n % 7 * 100 : 1);
		if (n % 3 == 0)
			got = sluice_so_accept4(L.st[1], l, NULL, NULL, SOCK_NONBLOCK);
		sluice_so_close(L.st[1], l);
		if (got >= 0)
			sluice_so_close(L.st[1], got);
		for (int i = 0; i < 6; i++)
			sluice_so_close(L.st[0], fd[i]);
		atomic_fetch_add(&resets, 1);
		pause_us(300);
	}
	return NULL;
}

/* ---- lcores ---- */

static unsigned int rng = 7;

static unsigned int rnd(unsigned int n)
{
	rng ^= rng << 13;
	rng ^= rng >> 17;
	rng ^= rng << 5;
	return rng % n;
}

/* One leaves, or two of the three; and they come back. */
static void cycle(unsigned int side)
{
	unsigned int q = rnd(NSQ), n = 1 + rnd(2);
	struct sluice_stack *st = L.st[side];

	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(sluice_squeue_park(st, (q + i) % NSQ), 0);
	assert_int_equal(n == 2 ? sluice_squeue_park(st, (q + 2) % NSQ) : -EBUSY, -EBUSY);
	for (unsigned int i = 0; i < n; i++) {
		assert_int_equal(pthread_join(L.loop[side][(q + i) % NSQ], NULL), 0);
		assert_int_equal(
		    sluice_squeue_state(sluice_squeue(st, (q + i) % NSQ)), SLUICE_SQUEUE_PARKED);
	}
	pause_us(500 + rnd(4000));
	for (unsigned int i = 0; i < n; i++) {
		assert_int_equal(sluice_squeue_unpark(st, (q + i) % NSQ), 0);
		if (rnd(2) == 0)
			pause_us(rnd(300)); /* nobody has come yet */
		live_lcore(&L, side, (q + i) % NSQ);
	}
	pause_us(rnd(3000));
}

static void all_at_once(void **state)
{
	unsigned int cycles = getenv("SLUICE_LONG") != NULL ? 2000 : 60;
	pthread_t s, o, c[CLIENTS];
	struct sluice_counters ctr;

	live_start(&L, NSQ);
	listener = live_listen(&L, PORT, 64);
	assert_int_equal(pthread_create(&s, NULL, server, NULL), 0);
	assert_int_equal(pthread_create(&o, NULL, opener, NULL), 0);
	for (uintptr_t i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_create(&c[i], NULL, client, (void *)i), 0);
	for (unsigned int i = 0; i < cycles; i++)
		cycle(i % 2);
	atomic_store(&enough, true);
	for (unsigned int i = 0; i < CLIENTS; i++)
		pthread_join(c[i], NULL);
	pthread_join(o, NULL);
	assert_int_equal(sluice_so_shutdown(L.st[1], listener, SHUT_RDWR), 0);
	pthread_join(s, NULL);
	assert_int_equal(sluice_so_close(L.st[1], listener), 0);
	assert_int_equal(atomic_load(&wrong), 0);
	assert_true(atomic_load(&served) > CLIENTS && atomic_load(&resets) > 2);
	for (unsigned int side = 0; side < 2; side++) {
		unsigned int ms = 0;

		do { /* the last are on their way */
			sluice_counters_sum(L.st[side], &ctr);
			pause_us(1000);
		} while (ctr.sq_moves_out != ctr.sq_moves_in && ms++ < 5000);
		assert_true(ctr.sq_parks >= cycles / 2 && ctr.sq_moves_out > cycles / 2);
		assert_int_equal(ctr.sq_moves_out, ctr.sq_moves_in);
		assert_true(ctr.sq_kept_polls > 0);
	}
	live_stop(&L);
}

/* TCP_DEFER_ACCEPT: its timer is of the squeue that made newconn, wherever the connection was born. */
static void deferred_accept(void **state)
{
	struct sockaddr_in a = live_addr(1, PORT);
	int one = 1, fd[8], s;
	char x;

	live_start(&L, NSQ);
	listener = live_listen(&L, PORT, 64);
	assert_int_equal(sluice_so_setsockopt(
			     L.st[1], listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &one, sizeof(one)),
	    0);
	for (unsigned int q = 0; q < NSQ; q += 2) {
		assert_int_equal(sluice_squeue_park(L.st[1], q), 0);
		pthread_join(L.loop[1][q], NULL);
	}
	for (unsigned int i = 0; i < 8; i++) {
		fd[i] = sluice_so_socket(L.st[0], AF_INET, SOCK_STREAM, 0);
		assert_int_equal(
		    sluice_so_connect(L.st[0], fd[i], (struct sockaddr *)&a, sizeof(a)), 0);
	}
	for (unsigned int q = 0; q < NSQ; q += 2) {
		assert_int_equal(sluice_squeue_unpark(L.st[1], q), 0);
		live_lcore(&L, 1, q);
	}
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(sluice_so_send(L.st[0], fd[i], "x", 1, 0), 1);
	for (unsigned int i = 0; i < 8; i++) { /* four at once, four after a second */
		s = sluice_so_accept4(L.st[1], listener, NULL, NULL, 0);
		assert_true(s >= 0);
		if (i < 4)
			assert_int_equal(sluice_so_recv(L.st[1], s, &x, 1, 0), 1);
		sluice_so_close(L.st[1], s);
	}
	for (unsigned int i = 0; i < 8; i++)
		sluice_so_close(L.st[0], fd[i]);
	sluice_so_close(L.st[1], listener);
	live_stop(&L);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_at_once), cmocka_unit_test(deferred_accept)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
