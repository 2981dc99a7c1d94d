/* SPDX-License-Identifier: BSD-3-Clause */
/* Buffers that sending threads keep (lib/sock/stash.c): they come back whoever ends first. */
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "live.h"
#include "mpool.h"

#define PORT LIVE_PORT
#define STASH 32 /* sock.stash */

#define L live_one
#define lfd live_lfd

/* A thread that sends a message each time it is told to, until it is told to end. */
struct sender {
	pthread_t thread;
	struct sluice_stack *st;
	int fd;
	bool end;
	ssize_t rc;
	sem_t go, done;
};

static void *send_each(void *arg)
{
	struct sender *w = arg;

	for (;;) {
		sem_wait(&w->go);
		if (w->end)
			return NULL;
		w->rc = sluice_so_send(w->st, w->fd, "message", 7, 0);
		sem_post(&w->done);
	}
}

static void sender_start(struct sender *w)
{
	memset(w, 0, sizeof(*w));
	assert_int_equal(sem_init(&w->go, 0, 0), 0);
	assert_int_equal(sem_init(&w->done, 0, 0), 0);
	assert_int_equal(pthread_create(&w->thread, NULL, send_each, w), 0);
}

static void sender_end(struct sender *w)
{
	w->end = true;
	sem_post(&w->go);
	assert_int_equal(pthread_join(w->thread, NULL), 0);
	sem_destroy(&w->go);
	sem_destroy(&w->done);
}

/* The sender sends over a connection of its own, and the other end has read it; of the pool's
 * allocations from then on the first fails, if asked. */
static void exchange_failing(struct sender *w, bool fail)
{
	char buf[7];
	int s;

	live_pair(&L, lfd, PORT, &w->fd, &s);
	w->st = L.st[0];
	tp_fail_nth(L.pool[0], fail);
	sem_post(&w->go);
	sem_wait(&w->done);
	assert_int_equal(w->rc, 7);
	assert_int_equal(sluice_so_recv(L.st[1], s, buf, sizeof(buf), MSG_WAITALL), 7);
	assert_int_equal(sluice_so_close(L.st[0], w->fd), 0);
	assert_int_equal(sluice_so_close(L.st[1], s), 0);
}

static void exchange(struct sender *w)
{
	exchange_failing(w, false);
}

/* Nothing is in flight any more. */
static void assert_out(uint32_t n)
{
	struct timespec ts = {0, 1000000};

	for (unsigned int ms = 0; tp_out(L.pool[0]) != n && ms < 10000; ms++)
		nanosleep(&ts, NULL);
	assert_int_equal(tp_out(L.pool[0]), n);
}

static void thread_ends_first(void **state)
{
	struct sender w;

	sender_start(&w);
	exchange(&w);
	assert_out(STASH - 1);
	exchange(&w);
	assert_out(STASH - 2);
	sender_end(&w);
	assert_out(0);
}

static void stack_ends_first(void **state)
{
	struct sender w;

	sender_start(&w);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(live_setup(NULL), 0);
		exchange(&w);
		assert_out(STASH - 1);
		assert_int_equal(live_teardown(NULL), 0); /* asserts that nothing is out */
	}
	assert_int_equal(live_setup(NULL), 0);
	exchange(&w);
	sender_end(&w);
	assert_out(0);
	assert_int_equal(live_teardown(NULL), 0);
}

static void an_eighth_of_the_pool(void **state)
{
	struct sender w[6];

	tp_set_limit(L.pool[0], 4 * 8 * STASH);
	for (int i = 0; i < 6; i++) {
		sender_start(&w[i]);
		exchange(&w[i]);
		assert_out((uint32_t)(i < 4 ? i + 1 : 4) * (STASH - 1));
	}
	for (int i = 5; i >= 0; i--)
		sender_end(&w[i]);
	assert_out(0);
	sender_start(&w[0]); /* there is room again */
	exchange(&w[0]);
	assert_out(STASH - 1);
	sender_end(&w[0]);
}

/* The pool has no whole stash left: the thread goes on with single buffers. */
static void pool_is_nearly_empty(void **state)
{
	struct sender w;

	tp_set_limit(L.pool[0], 16 * STASH);
	sender_start(&w);
	exchange(&w);
	for (int i = 1; i < STASH; i++)
		exchange(&w);
	assert_out(0); /* the stash is empty */
	exchange_failing(&w, true);
	assert_out(0);
	exchange(&w);
	assert_out(STASH - 1);
	sender_end(&w);
}

/* The thread sanitizer follows no child of several threads. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NO_FORK
#endif
#endif

#ifndef NO_FORK
static uint32_t kept;

static void at_end_of_child(void)
{
	_exit(tp_out(L.pool[0]) == kept ? 0 : 1);
}

/* Returns the child's status. */
static void *send_and_fork(void *arg)
{
	struct timespec ts = {0, 1000000};
	int status = -1;
	pid_t pid;

	(void)sluice_so_send(L.st[0], *(int *)arg, "message", 7, 0);
	while (tp_out(L.pool[0]) != STASH - 1)
		nanosleep(&ts, NULL);
	kept = STASH - 1;
	pid = fork();
	if (pid == 0) {
		atexit(at_end_of_child);
		pthread_exit(NULL); /* of the last thread: exit(0) */
	}
	(void)waitpid(pid, &status, 0);
	return (void *)(intptr_t)status;
}

/* The buffers are the parent's: in a child the end of a thread touches no pool. */
static void not_in_a_child(void **state)
{
	pthread_t t;
	void *status;
	int c, s;

	live_pair(&L, lfd, PORT, &c, &s);
	assert_int_equal(pthread_create(&t, NULL, send_and_fork, &c), 0);
	assert_int_equal(pthread_join(t, &status), 0);
	assert_int_equal((intptr_t)status, 0);
	assert_out(0);
	assert_int_equal(sluice_so_close(L.st[0], c), 0);
	assert_int_equal(sluice_so_close(L.st[1], s), 0);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(thread_ends_first, live_setup, live_teardown),
	    cmocka_unit_test(stack_ends_first),
	    cmocka_unit_test_setup_teardown(an_eighth_of_the_pool, live_setup, live_teardown),
	    cmocka_unit_test_setup_teardown(pool_is_nearly_empty, live_setup, live_teardown),
#ifndef NO_FORK
	    cmocka_unit_test_setup_teardown(not_in_a_child, live_setup, live_teardown),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
