/* SPDX-License-Identifier: BSD-3-Clause */
/* Small windows between a thread and a squeue: what unmodified programs have found. */
#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "live.h"

#define PORT 80

static struct live L;
static int lfd, c, s;

#define C (L.st[0]) /* the client's stack */
#define S (L.st[1])

static int setup(void **state)
{
	live_start(&L, 1);
	lfd = live_listen(&L, PORT, 16);
	live_pair(&L, lfd, PORT, &c, &s);
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(sluice_so_close(C, c), 0);
	assert_int_equal(sluice_so_close(S, s), 0);
	assert_int_equal(sluice_so_close(S, lfd), 0);
	live_stop(&L);
	return 0;
}

/* ---- what is counted as readable is there ---- */

#define VOLUME (16u << 20)

static uint8_t byte_at(uint64_t off)
{
	return (uint8_t)(off * 31 + (off >> 8));
}

static void *writer(void *arg)
{
	uint8_t buf[65536];
	uint64_t off = 0;

	while (off < VOLUME) {
		for (size_t i = 0; i < sizeof(buf); i++)
			buf[i] = byte_at(off + i);
		if (sluice_so_send(C, c, buf, sizeof(buf), 0) != (ssize_t)sizeof(buf))
			break;
		off += sizeof(buf);
	}
	return NULL;
}

/* A read of more than there is, made over and over while the squeue pushes. */
static void reader_beside_the_squeue(void **state)
{
	static uint8_t buf[262144];
	uint64_t off = 0, wrong = 0;
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, writer, NULL), 0);
	while (off < VOLUME) {
		ssize_t n = sluice_so_recv(S, s, buf, sizeof(buf), MSG_DONTWAIT);

		if (n == -EAGAIN)
			continue;
		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i += 61)
			wrong += buf[i] != byte_at(off + (uint64_t)i);
		off += (uint64_t)n;
	}
	pthread_join(t, NULL);
	assert_int_equal(wrong, 0);
}

/* ---- who only looks is no sleeper ---- */

#define ROUNDS 4000

static sem_t woken;
static _Atomic int go,
    made; /* the round that may become ready now, -1: the end; the last one done */

static void wake(void *arg)
{
	sem_post(&woken);
}

static void set_lowat(int n)
{
	assert_int_equal(sluice_so_setsockopt(S, s, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n)), 0);
}

/* One byte is there all the time: it is enough, or not. */
static void *maker(void *arg)
{
	for (int i = 1; i <= ROUNDS; i++) {
		int now;

		while ((now = atomic_load(&go)) < i && now >= 0)
			;
		if (now < 0)
			break;
		for (volatile int k = 0; k < i % 200; k++)
			;
		set_lowat(1);
		atomic_store(&made, i);
	}
	return NULL;
}

/* Looks, and sleeps elsewhere until `wake` is called. False: there was an event, and no wake. */
static bool look_and_sleep(int ep)
{
	struct epoll_event ev;
	struct timespec ts;

	while (sluice_so_epoll_wait(S, ep, &ev, 1, 0) == 0) {
		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_sec += 5;
		if (sem_timedwait(&woken, &ts) != 0 && errno == ETIMEDOUT)
			return false;
	}
	return true;
}

static void wake_between_look_and_sleep(void **state)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int ep = sluice_so_epoll_create(S), i;
	bool ok = true;
	pthread_t t;

	sem_init(&woken, 0, 0);
	atomic_store(&go, 0);
	atomic_store(&made, 0);
	assert_int_equal(sluice_so_send(C, c, "x", 1, 0), 1);
	assert_int_equal(sluice_so_recv(S, s, &(char){0}, 1, MSG_PEEK), 1);
	set_lowat(2);
	assert_int_equal(sluice_so_epoll_wake(S, ep, wake, NULL), 0);
	assert_int_equal(sluice_so_epoll_ctl(S, ep, EPOLL_CTL_ADD, s, &ev), 0);
	assert_int_equal(pthread_create(&t, NULL, maker, NULL), 0);
	for (i = 1; i <= ROUNDS && ok; i++) {
		atomic_store(&go, i);
		ok = look_and_sleep(ep);
		while (atomic_load(&made) < i)
			;
		set_lowat(2);
		while (sem_trywait(&woken) == 0) /* one that came too late helps nobody */
			;
	}
	atomic_store(&go, -1);
	pthread_join(t, NULL);
	assert_true(ok);
	assert_int_equal(sluice_so_close(S, ep), 0);
	assert_int_equal(sluice_so_recv(S, s, &(char){0}, 1, 0), 1);
	sem_destroy(&woken);
}

/* ---- an instance is looked at without taking anything from it ---- */

static int looks_ready(int ep)
{
	struct pollfd p = {.fd = ep, .events = POLLIN};
	int n = sluice_so_poll(S, &p, 1, 0);

	assert_int_equal(p.revents, n == 1 ? POLLIN : 0);
	return n;
}

static void look_at_an_instance(void **state)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	int ep = sluice_so_epoll_create(S);
	struct pollfd none = {.fd = ep + 1, .events = POLLIN};

	assert_int_equal(sluice_so_epoll_ctl(S, ep, EPOLL_CTL_ADD, s, &ev), 0);
	assert_int_equal(looks_ready(ep), 0);
	assert_int_equal(sluice_so_send(C, c, "x", 1, 0), 1);
	while (looks_ready(ep) == 0)
		sched_yield();
	assert_int_equal(looks_ready(ep), 1);
	assert_int_equal(sluice_so_epoll_wait(S, ep, &ev, 1, 0), 1);
	assert_int_equal(looks_ready(ep), 0); /* the edge has been told */
	ev.events = EPOLLIN;
	assert_int_equal(sluice_so_epoll_ctl(S, ep, EPOLL_CTL_MOD, s, &ev), 0);
	assert_int_equal(looks_ready(ep), 1);
	assert_int_equal(sluice_so_recv(S, s, &(char){0}, 1, 0), 1);
	assert_int_equal(looks_ready(ep), 0); /* what was queued does not hold any more */
	assert_int_equal(sluice_so_poll(S, &none, 1, 0), 1);
	assert_int_equal(none.revents, POLLNVAL);
	assert_int_equal(sluice_so_close(S, ep), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(reader_beside_the_squeue), T(wake_between_look_and_sleep), T(look_at_an_instance)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
