/* SPDX-License-Identifier: BSD-3-Clause */
/* Sockets between two stacks whose squeues run in threads of their own. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <linux/sockios.h>
#include <netinet/tcp.h>

#include <cmocka.h>

#include "live.h"
#include "mpool.h"

#define PORT LIVE_PORT

#define L live_one
#define lfd live_lfd

#define C (L.st[0]) /* the client's stack */
#define S (L.st[1])

static uint8_t byte_at(uint64_t off)
{
	return (uint8_t)(off * 31 + (off >> 8));
}

static void fill(uint8_t *p, uint64_t off, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = byte_at(off + i);
}

static bool same(const uint8_t *p, uint64_t off, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != byte_at(off + i))
			return false;
	return true;
}

static void send_all(struct sluice_stack *st, int fd, uint64_t off, size_t n)
{
	uint8_t *buf = malloc(n);

	fill(buf, off, n);
	assert_int_equal(sluice_so_send(st, fd, buf, n, 0), n);
	free(buf);
}

static void recv_all(struct sluice_stack *st, int fd, uint64_t off, size_t n)
{
	uint8_t *buf = malloc(n);

	assert_int_equal(sluice_so_recv(st, fd, buf, n, MSG_WAITALL), n);
	assert_true(same(buf, off, n));
	free(buf);
}

static void close_both(int c, int s)
{
	assert_int_equal(sluice_so_close(C, c), 0);
	assert_int_equal(sluice_so_close(S, s), 0);
}

/* ---- streams ---- */

static void there_and_back(void **state)
{
	int c, s;
	char b;

	live_pair(&L, lfd, PORT, &c, &s);
	send_all(C, c, 0, 5000);
	recv_all(S, s, 0, 5000);
	send_all(S, s, 7, 3000);
	recv_all(C, c, 7, 3000);
	assert_int_equal(sluice_so_shutdown(C, c, SHUT_WR), 0);
	assert_int_equal(sluice_so_recv(S, s, &b, 1, 0), 0);
	assert_int_equal(sluice_so_send(C, c, "x", 1, 0), -EPIPE);
	send_all(S, s, 0, 100); /* the other half goes on */
	recv_all(C, c, 0, 100);
	close_both(c, s);
	assert_int_equal(sluice_so_close(C, c), -EBADF);
	assert_int_equal(sluice_so_recv(C, c, &b, 1, 0), -EBADF);
}

struct sender {
	int fd;
	size_t n;
	ssize_t rc;
};

static void *send_much(void *arg)
{
	struct sender *w = arg;
	uint8_t *buf = malloc(w->n);

	fill(buf, 0, w->n);
	w->rc = sluice_so_send(C, w->fd, buf, w->n, 0);
	free(buf);
	return NULL;
}

/* The reader sleeps: the sender must block with a bounded amount under way, and all of it comes. */
static void slow_reader(void **state)
{
	struct sender w = {.n = 2000000};
	pthread_t t;
	int c, s, n = 0, before;

	live_pair(&L, lfd, PORT, &c, &s);
	w.fd = c;
	assert_int_equal(pthread_create(&t, NULL, send_much, &w), 0);
	do { /* until it stands still */
		before = n;
		live_nap(30);
		assert_int_equal(sluice_so_ioctl(S, s, FIONREAD, &n), 0);
	} while (n != before || n < 65536);
	assert_in_range(n, 65536, 3 * 65536);
	recv_all(S, s, 0, w.n);
	pthread_join(t, NULL);
	assert_int_equal(w.rc, w.n);
	close_both(c, s);
}

/* One byte a segment: what is held is bounded in buffers, not only in bytes. */
static void small_segments(void **state)
{
	int c, s, on = 1, n = 0, before;
	uint64_t sent = 0;
	uint8_t b;

	live_pair(&L, lfd, PORT, &c, &s);
	assert_int_equal(sluice_so_setsockopt(C, c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	do {
		before = n;
		for (int i = 0; i < 200; i++) {
			b = byte_at(sent);
			if (sluice_so_send(C, c, &b, 1, MSG_DONTWAIT) != 1)
				break;
			sent++;
		}
		live_nap(5);
		assert_int_equal(sluice_so_ioctl(S, s, FIONREAD, &n), 0);
	} while (n != before || n == 0);
	assert_true(tp_out(L.pool[1]) < 2 * 4 * 65536 / 2048 + 128);
	recv_all(S, s, 0, sent);
	close_both(c, s);
}

static void peek_truncate_waitall(void **state)
{
	uint8_t buf[100];
	struct iovec iov[3] = {{buf, 1}, {NULL, 0}, {buf + 1, 9}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 3};
	int c, s;

	live_pair(&L, lfd, PORT, &c, &s);
	assert_int_equal(sluice_so_recv(S, s, buf, 10, MSG_DONTWAIT), -EAGAIN);
	send_all(C, c, 0, 30);
	assert_int_equal(sluice_so_recv(S, s, buf, 30, MSG_WAITALL | MSG_PEEK), 30);
	assert_true(same(buf, 0, 30));
	assert_int_equal(sluice_so_recvmsg(S, s, &m, 0), 10);
	assert_true(same(buf, 0, 10));
	assert_int_equal(sluice_so_recv(S, s, NULL, 5, MSG_TRUNC), 5);
	assert_int_equal(sluice_so_recv(S, s, buf, 100, 0), 15);
	assert_true(same(buf, 15, 15));
	/* As the kernel: none is asked for, but it must be there. */
	assert_int_equal(sluice_so_recv(S, s, buf, 0, MSG_DONTWAIT), -EAGAIN);
	send_all(C, c, 30, 1);
	assert_int_equal(sluice_so_recv(S, s, buf, 0, 0), 0);
	recv_all(S, s, 30, 1);
	close_both(c, s);
}

static void writev_many(void **state)
{
	static uint8_t data[10000];
	struct iovec iov[1000];
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 1000};
	int c, s;

	live_pair(&L, lfd, PORT, &c, &s);
	fill(data, 0, sizeof(data));
	for (size_t i = 0; i < 1000; i++)
		iov[i] = (struct iovec){data + 10 * i, i % 7 == 3 ? 0 : 10};
	for (size_t i = 0, at = 0; i < 1000; i++) {
		iov[i].iov_base = data + at;
		at += iov[i].iov_len;
	}
	assert_int_equal(sluice_so_sendmsg(C, c, &m, 0), 10 * (1000 - 143));
	recv_all(S, s, 0, 10 * (1000 - 143));
	m.msg_iovlen = 1025;
	assert_int_equal(sluice_so_sendmsg(C, c, &m, 0), -EMSGSIZE);
	close_both(c, s);
}

/* ---- opening ---- */

static void refused_then_connected(void **state)
{
	struct sockaddr_in nobody = live_addr(1, 9), a = live_addr(1, PORT);
	int c = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0), s, err = -1;
	socklen_t len = sizeof(err);
	char b;

	assert_int_equal(sluice_so_send(C, c, "x", 1, 0), -EPIPE);
	assert_int_equal(sluice_so_recv(C, c, &b, 1, 0), -ENOTCONN);
	assert_int_equal(
	    sluice_so_connect(C, c, (struct sockaddr *)&nobody, sizeof(nobody)), -ECONNREFUSED);
	assert_int_equal(sluice_so_getsockopt(C, c, SOL_SOCKET, SO_ERROR, &err, &len), 0);
	assert_int_equal(err, 0); /* connect has said it */
	assert_int_equal(sluice_so_connect(C, c, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(sluice_so_connect(C, c, (struct sockaddr *)&a, sizeof(a)), -EISCONN);
	s = sluice_so_accept4(S, lfd, NULL, NULL, 0);
	send_all(C, c, 0, 10);
	recv_all(S, s, 0, 10);
	close_both(c, s);
}

static void connect_without_waiting(void **state)
{
	struct sockaddr_in nobody = live_addr(1, 9), a = live_addr(1, PORT), peer;
	int c = sluice_so_socket(C, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), s, err = -1, rc;
	struct pollfd p = {.fd = c, .events = POLLOUT};
	socklen_t len = sizeof(err);

	rc = sluice_so_connect(C, c, (struct sockaddr *)&nobody, sizeof(nobody));
	assert_int_equal(rc, -EINPROGRESS);
	assert_int_equal(sluice_so_poll(C, &p, 1, -1), 1);
	assert_true(p.revents & POLLERR);
	assert_int_equal(sluice_so_getsockopt(C, c, SOL_SOCKET, SO_ERROR, &err, &len), 0);
	assert_int_equal(err, ECONNREFUSED);
	assert_int_equal(sluice_so_close(C, c), 0);

	c = sluice_so_socket(C, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	rc = sluice_so_connect(C, c, (struct sockaddr *)&a, sizeof(a));
	assert_int_equal(rc, -EINPROGRESS);
	rc = sluice_so_connect(C, c, (struct sockaddr *)&a, sizeof(a));
	assert_true(rc == -EALREADY || rc == 0);
	p.fd = c;
	assert_int_equal(sluice_so_poll(C, &p, 1, -1), 1);
	assert_int_equal(p.revents, POLLOUT);
	assert_int_equal(sluice_so_getsockopt(C, c, SOL_SOCKET, SO_ERROR, &err, &len), 0);
	assert_int_equal(err, 0);
	assert_int_equal(sluice_so_fcntl(C, c, F_GETFL, 0), O_RDWR | O_NONBLOCK);
	len = sizeof(peer);
	s = sluice_so_accept4(S, lfd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK);
	assert_int_equal(len, sizeof(peer));
	assert_int_equal(peer.sin_addr.s_addr, htonl(0x0a000001));
	assert_int_equal(sluice_so_accept4(S, s, NULL, NULL, 0), -EINVAL);
	assert_int_equal(sluice_so_fcntl(S, lfd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(sluice_so_accept4(S, lfd, NULL, NULL, 0), -EAGAIN);
	close_both(c, s);
}

/* What nobody has accepted is reset when the listener goes. */
static void listener_goes(void **state)
{
	struct sockaddr_in a = live_addr(1, PORT);
	int c[3];
	char b;

	for (int i = 0; i < 3; i++) {
		c[i] = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0);
		assert_int_equal(sluice_so_connect(C, c[i], (struct sockaddr *)&a, sizeof(a)), 0);
	}
	send_all(C, c[0], 0, 1000);
	assert_int_equal(sluice_so_close(S, lfd), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(sluice_so_recv(C, c[i], &b, 1, 0), -ECONNRESET);
		assert_int_equal(sluice_so_recv(C, c[i], &b, 1, 0), 0);
		assert_int_equal(sluice_so_send(C, c[i], "x", 1, 0), -EPIPE);
		assert_int_equal(sluice_so_close(C, c[i]), 0);
	}
	lfd = live_listen(&L, PORT, 16);
}

static void bad_arguments(void **state)
{
	struct sockaddr_in a = live_addr(1, PORT), wrong = a;
	struct epoll_event ev = {0};
	int fd = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0), n;
	struct timeval tv = {0, 2000000};

	assert_int_equal(sluice_so_socket(C, AF_UNIX, SOCK_STREAM, 0), -EAFNOSUPPORT);
	assert_int_equal(sluice_so_socket(C, AF_INET, SOCK_DGRAM, 0), -ESOCKTNOSUPPORT);
	assert_int_equal(sluice_so_socket(C, AF_INET, SOCK_STREAM, IPPROTO_UDP), -EPROTONOSUPPORT);
	assert_int_equal(sluice_so_socket(C, AF_INET, SOCK_STREAM | 0x100, 0), -EINVAL);
	for (int bad = -1; bad < 2000000; bad += 999999) {
		assert_int_equal(sluice_so_close(C, bad), -EBADF);
		assert_int_equal(sluice_so_listen(C, bad, 1), -EBADF);
		assert_int_equal(sluice_so_send(C, bad, "x", 1, 0), -EBADF);
		assert_int_equal(sluice_so_ioctl(C, bad, FIONREAD, &n), -EBADF);
		assert_int_equal(sluice_so_epoll_ctl(C, bad, EPOLL_CTL_ADD, fd, &ev), -EBADF);
		assert_int_equal(sluice_so_epoll_wait(C, bad, &ev, 1, 0), -EBADF);
		if (bad == -1)
			bad = 0; /* beyond fd, which is 0 */
	}
	wrong.sin_family = AF_INET6;
	assert_int_equal(
	    sluice_so_connect(C, fd, (struct sockaddr *)&wrong, sizeof(wrong)), -EAFNOSUPPORT);
	assert_int_equal(sluice_so_connect(C, fd, NULL, 0), -EFAULT);
	assert_int_equal(sluice_so_epoll_ctl(C, fd, EPOLL_CTL_ADD, fd, &ev), -EINVAL);
	assert_int_equal(sluice_so_bind(C, fd, NULL, 0), -EFAULT);
	assert_int_equal(sluice_so_bind(C, fd, (struct sockaddr *)&a, sizeof(a)), -EADDRNOTAVAIL);
	assert_int_equal(sluice_so_shutdown(C, fd, SHUT_WR), -ENOTCONN);
	assert_int_equal(sluice_so_shutdown(C, fd, 17), -EINVAL);
	assert_int_equal(sluice_so_accept4(C, fd, NULL, NULL, 0), -EINVAL);
	assert_int_equal(sluice_so_accept4(C, fd, NULL, NULL, 12345), -EINVAL);
	assert_int_equal(sluice_so_ioctl(C, fd, 0xdead, &n), -ENOTTY);
	assert_int_equal(sluice_so_fcntl(C, fd, 1234, 0), -EINVAL);
	assert_int_equal(sluice_so_setsockopt(C, fd, SOL_SOCKET, 9999, &n, 4), -ENOPROTOOPT);
	assert_int_equal(
	    sluice_so_setsockopt(C, fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), -EDOM);
	assert_int_equal(sluice_so_setsockopt(C, fd, SOL_SOCKET, SO_RCVTIMEO, &tv, 3), -EINVAL);
	assert_int_equal(sluice_so_close(C, fd), 0);
}

/* ---- waiting ---- */

static void time_outs(void **state)
{
	struct timeval tv = {0, 20000}, back = {0};
	socklen_t len = sizeof(back);
	static uint8_t much[400000];
	int c, s;
	char b;

	live_pair(&L, lfd, PORT, &c, &s);
	assert_int_equal(sluice_so_setsockopt(C, c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	assert_int_equal(sluice_so_setsockopt(C, c, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)), 0);
	assert_int_equal(sluice_so_getsockopt(C, c, SOL_SOCKET, SO_RCVTIMEO, &back, &len), 0);
	assert_int_equal(back.tv_usec, 20000);
	assert_int_equal(sluice_so_recv(C, c, &b, 1, 0), -EAGAIN);
	while (sluice_so_send(C, c, much, sizeof(much), 0) != -EAGAIN)
		;
	/* Unread data at the server: its close resets. */
	assert_int_equal(sluice_so_close(S, s), 0);
	while (sluice_so_send(C, c, much, 1, 0) != -ECONNRESET)
		;
	assert_int_equal(sluice_so_send(C, c, much, 1, 0), -EPIPE);
	assert_int_equal(sluice_so_close(C, c), 0);
}

struct blocked {
	struct sluice_stack *st;
	int fd, kind;
	ssize_t rc;
	_Atomic int done;
};

static void *block(void *arg)
{
	struct blocked *b = arg;
	static uint8_t much[4000000];
	struct pollfd p = {.fd = b->fd, .events = POLLIN};
	char x;

	switch (b->kind) {
	case 0:
		b->rc = sluice_so_recv(b->st, b->fd, &x, 1, 0);
		break;
	case 1:
		b->rc = sluice_so_accept4(b->st, b->fd, NULL, NULL, 0);
		break;
	case 2:
		b->rc = sluice_so_send(b->st, b->fd, much, sizeof(much), 0);
		break;
	default:
		b->rc = sluice_so_poll(b->st, &p, 1, -1) == 1 && (p.revents & POLLIN) ? 1 : -1;
		break;
	}
	atomic_store(&b->done, 1);
	return NULL;
}

/* Who is blocked on a descriptor that is closed is told so. */
static void closed_while_blocked(void **state)
{
	int extra = live_listen(&L, 81, 4), c, s;
	struct blocked b[3];
	pthread_t t[3];

	live_pair(&L, lfd, PORT, &c, &s);
	b[0] = (struct blocked){.st = S, .fd = s, .kind = 0};
	b[1] = (struct blocked){.st = S, .fd = extra, .kind = 1};
	b[2] = (struct blocked){.st = C, .fd = c, .kind = 2};
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, block, &b[i]), 0);
	live_nap(30);
	assert_int_equal(sluice_so_close(S, s), 0);
	pthread_join(t[0], NULL);
	assert_true(b[0].rc == -EBADF || b[0].rc == 1); /* the sender's first byte may come first */
	assert_int_equal(sluice_so_close(S, extra), 0);
	pthread_join(t[1], NULL);
	assert_int_equal(b[1].rc, -EBADF);
	pthread_join(t[2], NULL); /* its peer has gone: an end, whichever */
	assert_int_equal(sluice_so_close(C, c), 0);
}

static void on_signal(int sig)
{
}

static void a_signal_interrupts(void **state)
{
	struct sigaction sa = {.sa_handler = on_signal};
	struct blocked b = {.st = S, .kind = 0};
	pthread_t t;
	int c, s;

	sigaction(SIGUSR1, &sa, NULL);
	live_pair(&L, lfd, PORT, &c, &s);
	b.fd = s;
	assert_int_equal(pthread_create(&t, NULL, block, &b), 0);
	while (atomic_load(&b.done) == 0) { /* it may not sleep yet when the first one comes */
		live_nap(5);
		pthread_kill(t, SIGUSR1);
	}
	pthread_join(t, NULL);
	assert_int_equal(b.rc, -EINTR);
	close_both(c, s);
}

/* ---- urgent data ---- */

static void urgent(void **state)
{
	uint8_t buf[16];
	int c, s, at = -1, on = 1;
	struct pollfd p = {.events = POLLPRI};

	live_pair(&L, lfd, PORT, &c, &s);
	p.fd = s;
	assert_int_equal(sluice_so_recv(S, s, buf, 1, MSG_OOB), -EINVAL);
	assert_int_equal(sluice_so_send(C, c, "abcX", 4, MSG_OOB), 4);
	assert_int_equal(sluice_so_send(C, c, "def", 3, 0), 3);
	assert_int_equal(sluice_so_poll(S, &p, 1, -1), 1);
	assert_int_equal(p.revents, POLLPRI);
	assert_int_equal(sluice_so_recv(S, s, buf, 7, MSG_PEEK | MSG_WAITALL), 3);
	while (sluice_so_recv(S, s, buf, 1, MSG_OOB) == -EAGAIN)
		live_nap(1);
	assert_int_equal(buf[0], 'X');
	assert_int_equal(sluice_so_recv(S, s, buf, sizeof(buf), 0), 3); /* stops at the mark */
	assert_memory_equal(buf, "abc", 3);
	assert_int_equal(sluice_so_ioctl(S, s, SIOCATMARK, &at), 0);
	assert_int_equal(at, 1);
	assert_int_equal(sluice_so_recv(S, s, buf, 3, MSG_WAITALL), 3);
	assert_memory_equal(buf, "def", 3);

	assert_int_equal(sluice_so_setsockopt(S, s, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)), 0);
	assert_int_equal(sluice_so_send(C, c, "gY", 2, MSG_OOB), 2);
	assert_int_equal(sluice_so_poll(S, &p, 1, -1), 1);
	assert_int_equal(sluice_so_recv(S, s, buf, 1, MSG_OOB), -EINVAL);
	assert_int_equal(sluice_so_recv(S, s, buf, 16, 0), 1);
	assert_int_equal(sluice_so_recv(S, s, buf, 16, 0), 1);
	assert_int_equal(buf[0], 'Y');
	close_both(c, s);
}

/* ---- epoll ---- */

static int wait1(int ep, struct epoll_event *ev, int timeout)
{
	return sluice_so_epoll_wait(S, ep, ev, 1, timeout);
}

static void add(int ep, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	assert_int_equal(sluice_so_epoll_ctl(S, ep, EPOLL_CTL_ADD, fd, &ev), 0);
}

static void level_and_edge(void **state)
{
	int lt = sluice_so_epoll_create(S), et = sluice_so_epoll_create(S), c, s;
	struct epoll_event ev;
	uint8_t buf[100];

	live_pair(&L, lfd, PORT, &c, &s);
	add(lt, s, EPOLLIN);
	add(et, s, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	ev.events = EPOLLIN;
	assert_int_equal(sluice_so_epoll_ctl(S, lt, EPOLL_CTL_ADD, s, &ev), -EEXIST);
	assert_int_equal(wait1(lt, &ev, 0), 0);
	assert_int_equal(wait1(et, &ev, -1), 1);
	assert_int_equal(ev.events, EPOLLOUT);
	assert_int_equal(wait1(et, &ev, 0), 0);

	send_all(C, c, 0, 10);
	assert_int_equal(wait1(lt, &ev, -1), 1);
	assert_int_equal(ev.events, EPOLLIN);
	assert_int_equal(ev.data.fd, s);
	assert_int_equal(wait1(lt, &ev, -1), 1); /* still */
	assert_int_equal(wait1(et, &ev, -1), 1);
	assert_int_equal(ev.events, EPOLLIN | EPOLLOUT);
	assert_int_equal(wait1(et, &ev, 10), 0); /* told once */
	send_all(C, c, 10, 10);
	assert_int_equal(wait1(et, &ev, -1), 1); /* more came */
	recv_all(S, s, 0, 20);
	assert_int_equal(wait1(lt, &ev, 0), 0);

	ev = (struct epoll_event){.events = EPOLLOUT, .data.u64 = 77};
	assert_int_equal(sluice_so_epoll_ctl(S, lt, EPOLL_CTL_MOD, s, &ev), 0);
	assert_int_equal(wait1(lt, &ev, -1), 1);
	assert_int_equal(ev.events, EPOLLOUT);
	assert_int_equal(ev.data.u64, 77);
	assert_int_equal(sluice_so_epoll_ctl(S, lt, EPOLL_CTL_DEL, s, NULL), 0);
	assert_int_equal(sluice_so_epoll_ctl(S, lt, EPOLL_CTL_DEL, s, NULL), -ENOENT);
	assert_int_equal(wait1(lt, &ev, 0), 0);

	assert_int_equal(sluice_so_close(C, c), 0);
	do {
		assert_int_equal(wait1(et, &ev, -1), 1);
	} while (!(ev.events & EPOLLRDHUP));
	assert_true(ev.events & EPOLLIN);
	assert_int_equal(sluice_so_recv(S, s, buf, 1, 0), 0);
	assert_int_equal(sluice_so_close(S, s), 0);
	assert_int_equal(wait1(et, &ev, 0), 0);
	assert_int_equal(sluice_so_close(S, lt), 0);
	assert_int_equal(sluice_so_close(S, et), 0);
	assert_int_equal(wait1(et, &ev, 0), -EBADF);
}

static void one_shot_and_listener(void **state)
{
	int ep = sluice_so_epoll_create(S), c, s;
	struct sockaddr_in a = live_addr(1, PORT);
	struct epoll_event ev;

	add(ep, lfd, EPOLLIN);
	c = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0);
	assert_int_equal(sluice_so_connect(C, c, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(wait1(ep, &ev, -1), 1);
	assert_int_equal(ev.data.fd, lfd);
	s = sluice_so_accept4(S, lfd, NULL, NULL, 0);
	assert_int_equal(wait1(ep, &ev, 0), 0);

	add(ep, s, EPOLLIN | EPOLLONESHOT);
	send_all(C, c, 0, 10);
	assert_int_equal(wait1(ep, &ev, -1), 1);
	send_all(C, c, 10, 10);
	assert_int_equal(wait1(ep, &ev, 20), 0); /* disarmed */
	ev = (struct epoll_event){.events = EPOLLIN | EPOLLONESHOT, .data.fd = s};
	assert_int_equal(sluice_so_epoll_ctl(S, ep, EPOLL_CTL_MOD, s, &ev), 0);
	assert_int_equal(wait1(ep, &ev, -1), 1);
	recv_all(S, s, 0, 20);

	/* Both directions shut: HUP, asked for or not. */
	ev = (struct epoll_event){.events = 0, .data.fd = s};
	assert_int_equal(sluice_so_epoll_ctl(S, ep, EPOLL_CTL_MOD, s, &ev), 0);
	assert_int_equal(sluice_so_shutdown(S, s, SHUT_WR), 0);
	assert_int_equal(sluice_so_shutdown(C, c, SHUT_WR), 0);
	assert_int_equal(wait1(ep, &ev, -1), 1);
	assert_int_equal(ev.events & EPOLLHUP, EPOLLHUP);
	close_both(c, s);
	assert_int_equal(sluice_so_close(S, ep), 0);
}

/* ---- all at once: the thread sanitizer watches ---- */

#define SERVERS 3
#define CLIENTS 4
#define ROUNDS 25

static _Atomic int served, failures, stop_servers;

#define CHECK(cond)                                                                \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			atomic_fetch_add(&failures, 1);                            \
		}                                                                  \
	} while (0)

static void echo_once(int s)
{
	uint8_t buf[3000];
	ssize_t n = sluice_so_recv(S, s, buf, sizeof(buf), MSG_DONTWAIT);

	if (n == -EAGAIN)
		return;
	if (n > 0) {
		CHECK(sluice_so_send(S, s, buf, (size_t)n, 0) == n);
		return;
	}
	/* With several servers on one edge another may have closed it already. */
	if (sluice_so_close(S, s) == 0)
		atomic_fetch_add(&served, 1);
}

/* Several threads on one instance: one-shot watches hand a socket to one of them at a time. */
static void *serve(void *arg)
{
	int ep = *(int *)arg;
	struct epoll_event ev;

	while (!atomic_load(&stop_servers)) {
		int s;

		if (sluice_so_epoll_wait(S, ep, &ev, 1, 5) != 1)
			continue;
		if (ev.data.fd != lfd) {
			echo_once(ev.data.fd);
			ev.events = EPOLLIN | EPOLLONESHOT;
			(void)sluice_so_epoll_ctl(S, ep, EPOLL_CTL_MOD, ev.data.fd, &ev);
			continue;
		}
		s = sluice_so_accept4(S, lfd, NULL, NULL, 0);
		if (s < 0)
			continue;
		ev = (struct epoll_event){.events = EPOLLIN | EPOLLONESHOT, .data.fd = s};
		CHECK(sluice_so_epoll_ctl(S, ep, EPOLL_CTL_ADD, s, &ev) == 0);
	}
	return NULL;
}

struct half {
	int fd;
	uint64_t n;
};

static void *write_half(void *arg)
{
	struct half *h = arg;
	uint8_t buf[999];
	uint64_t off = 0;

	while (off < h->n) {
		size_t k = sizeof(buf) < h->n - off ? sizeof(buf) : h->n - off;

		fill(buf, off, k);
		CHECK(sluice_so_send(C, h->fd, buf, k, 0) == (ssize_t)k);
		off += k;
	}
	return NULL;
}

static void *client(void *arg)
{
	struct sockaddr_in a = live_addr(1, PORT);

	for (int i = 0; i < ROUNDS; i++) {
		struct half h = {.n = 100000};
		uint8_t buf[777];
		uint64_t off = 0;
		pthread_t w;
		ssize_t n;

		h.fd = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0);
		CHECK(h.fd >= 0);
		CHECK(sluice_so_connect(C, h.fd, (struct sockaddr *)&a, sizeof(a)) == 0);
		CHECK(pthread_create(&w, NULL, write_half, &h) == 0);
		while (off < h.n) {
			n = sluice_so_recv(C, h.fd, buf, sizeof(buf), 0);
			CHECK(n > 0 && same(buf, off, (size_t)n));
			if (n <= 0)
				break;
			off += (uint64_t)n;
		}
		pthread_join(w, NULL);
		CHECK(sluice_so_close(C, h.fd) == 0);
	}
	return NULL;
}

static void all_at_once(void **state)
{
	int ep = sluice_so_epoll_create(S);
	pthread_t srv[SERVERS], cli[CLIENTS];

	atomic_store(&served, 0);
	atomic_store(&stop_servers, 0);
	assert_int_equal(sluice_so_fcntl(S, lfd, F_SETFL, O_NONBLOCK), 0);
	add(ep, lfd, EPOLLIN);
	for (int i = 0; i < SERVERS; i++)
		assert_int_equal(pthread_create(&srv[i], NULL, serve, &ep), 0);
	for (int i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_create(&cli[i], NULL, client, NULL), 0);
	for (int i = 0; i < CLIENTS; i++)
		pthread_join(cli[i], NULL);
	while (atomic_load(&served) < CLIENTS * ROUNDS)
		live_nap(1);
	atomic_store(&stop_servers, 1);
	for (int i = 0; i < SERVERS; i++)
		pthread_join(srv[i], NULL);
	assert_int_equal(sluice_so_close(S, ep), 0);
	assert_int_equal(atomic_load(&failures), 0);
}

/* ---- what is left open ---- */

static void leaks_are_reported(void **state)
{
	struct sluice_leaks leaks = {.size = sizeof(leaks)};
	int c, s;

	live_start(&L, 1);
	lfd = live_listen(&L, PORT, 4);
	live_pair(&L, lfd, PORT, &c, &s);
	send_all(C, c, 0, 100);
	assert_int_equal(sluice_so_recv(S, s, &(char){0}, 1, MSG_PEEK), 1);
	__atomic_store_n(&L.stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		pthread_join(L.loop[i][0], NULL);
	assert_int_equal(sluice_stack_destroy(C, &leaks), 0);
	assert_int_equal(leaks.sockets, 1);
	assert_int_equal(sluice_stack_destroy(S, &leaks), 0);
	assert_int_equal(leaks.sockets, 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, live_setup, live_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(there_and_back), T(slow_reader), T(small_segments),
	    T(peek_truncate_waitall), T(writev_many), T(refused_then_connected),
	    T(connect_without_waiting), T(listener_goes), T(bad_arguments), T(time_outs),
	    T(closed_while_blocked), T(a_signal_interrupts), T(urgent), T(level_and_edge),
	    T(one_shot_and_listener), T(all_at_once),
	    cmocka_unit_test_setup_teardown(all_at_once, live_setup2, live_teardown),
	    cmocka_unit_test(leaks_are_reported)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
