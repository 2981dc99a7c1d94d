/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls that stand beside read and write: select, sendfile, MSG_ZEROCOPY, close that lingers; and
 * sockets on threads that poll a squeue. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <linux/errqueue.h>

#include <cmocka.h>

#include "live.h"
#include "mpool.h"

#define PORT LIVE_PORT

#define L live_one
#define lfd live_lfd

#define C (L.st[0])
#define S (L.st[1])

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void set_int(struct sluice_stack *st, int fd, int level, int name, int v)
{
	assert_int_equal(sluice_so_setsockopt(st, fd, level, name, &v, sizeof(v)), 0);
}

/* ---- select ---- */

static void select_sets(void **state)
{
	struct timeval tv = {0, 0};
	fd_set in, out, ex;
	int c, s, n;
	char b[4];

	live_pair(&L, lfd, PORT, &c, &s);
	n = c + 1;
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&ex);
	FD_SET(c, &in);
	FD_SET(c, &out);
	FD_SET(c, &ex);
	assert_int_equal(sluice_so_select(C, n, &in, &out, &ex, &tv), 1);
	assert_true(!FD_ISSET(c, &in) && FD_ISSET(c, &out) && !FD_ISSET(c, &ex));
	/* The time passes, and is counted down. */
	FD_SET(c, &in);
	tv = (struct timeval){0, 20000};
	assert_int_equal(sluice_so_select(C, n, &in, NULL, NULL, &tv), 0);
	assert_true(!FD_ISSET(c, &in) && tv.tv_sec == 0 && tv.tv_usec == 0);
	/* Data, urgent data. */
	assert_int_equal(sluice_so_send(S, s, "ab", 2, MSG_OOB), 2);
	FD_ZERO(&ex);
	FD_SET(c, &ex);
	tv = (struct timeval){20, 0};
	assert_int_equal(sluice_so_select(C, n, NULL, NULL, &ex, &tv), 1);
	assert_true(FD_ISSET(c, &ex) && tv.tv_sec >= 10);
	FD_SET(c, &in);
	assert_int_equal(sluice_so_select(C, n, &in, NULL, NULL, NULL), 1);
	assert_int_equal(sluice_so_recv(C, c, b, 4, 0), 1);
	/* Hang-up counts as readable. */
	assert_int_equal(sluice_so_close(S, s), 0);
	FD_ZERO(&in);
	FD_SET(c, &in);
	assert_int_equal(sluice_so_select(C, n, &in, NULL, NULL, NULL), 1);
	FD_SET(c, &out);
	assert_int_equal(sluice_so_select(C, n, &in, &out, NULL, NULL), 2);
	assert_int_equal(sluice_so_select(C, -1, &in, &out, NULL, NULL), -EINVAL);
	tv.tv_usec = -1;
	assert_int_equal(sluice_so_select(C, n, &in, NULL, NULL, &tv), -EINVAL);
	assert_int_equal(sluice_so_close(C, c), 0);
	FD_ZERO(&in);
	FD_SET(77, &in);
	assert_int_equal(sluice_so_select(C, 78, &in, NULL, NULL, NULL), -EBADF);
}

/* ---- sendfile ---- */

#define FILE_BYTES 300001

static void *read_all(void *arg)
{
	int s = *(int *)arg;
	static uint8_t b[65536];
	size_t n = 0;
	ssize_t rc;

	while ((rc = sluice_so_recv(S, s, b, sizeof(b), 0)) > 0) {
		for (ssize_t i = 0; i < rc; i++, n++)
			if (b[i] != (uint8_t)(n * 7 + n / 251))
				return (void *)(intptr_t)-1;
	}
	return (void *)(intptr_t)(rc < 0 ? rc : (ssize_t)n);
}

static void send_file(void **state)
{
	char name[] = "/tmp/sluice-sendfile-XXXXXX";
	int f = mkstemp(name), c, s, p[2];
	off_t off = 0;
	pthread_t t;
	void *got;

	assert_true(f >= 0);
	unlink(name);
	for (size_t i = 0; i < FILE_BYTES; i++) {
		uint8_t byte = (uint8_t)(i * 7 + i / 251);

		if (i < 1000 || i >= FILE_BYTES - 1)
			assert_int_equal(pwrite(f, &byte, 1, (off_t)i), 1);
		else if (i % 1000 == 0) {
			uint8_t b[1000];
			size_t n = FILE_BYTES - 1 - i < 1000 ? FILE_BYTES - 1 - i : 1000;

			for (size_t k = 0; k < n; k++)
				b[k] = (uint8_t)((i + k) * 7 + (i + k) / 251);
			assert_int_equal(pwrite(f, b, n, (off_t)i), n);
		}
	}
	live_pair(&L, lfd, PORT, &c, &s);
	assert_int_equal(pthread_create(&t, NULL, read_all, &s), 0);
	/* By its own offset, the file's, and up to the end. */
	assert_int_equal(sluice_so_sendfile(C, c, f, &off, 100000), 100000);
	assert_int_equal(off, 100000);
	assert_int_equal(lseek(f, 100000, SEEK_SET), 100000);
	assert_int_equal(sluice_so_sendfile(C, c, f, NULL, 100000), 100000);
	assert_int_equal(lseek(f, 0, SEEK_CUR), 200000);
	off = 200000;
	assert_int_equal(sluice_so_sendfile(C, c, f, &off, 1 << 20), FILE_BYTES - 200000);
	assert_int_equal(sluice_so_sendfile(C, c, f, &off, 1 << 20), 0);
	assert_int_equal(off, FILE_BYTES);
	off = -1;
	assert_int_equal(sluice_so_sendfile(C, c, f, &off, 10), -EINVAL);
	assert_int_equal(sluice_so_sendfile(C, c, 9999, NULL, 10), -EBADF);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(sluice_so_sendfile(C, c, p[0], NULL, 10), -EINVAL);
	close(p[0]);
	close(p[1]);
	assert_int_equal(sluice_so_shutdown(C, c, SHUT_WR), 0);
	pthread_join(t, &got);
	assert_int_equal((intptr_t)got, FILE_BYTES);
	/* Nobody reads: what the buffers take, then -EAGAIN. */
	assert_int_equal(sluice_so_close(C, c), 0);
	assert_int_equal(sluice_so_close(S, s), 0);
	live_pair(&L, lfd, PORT, &c, &s);
	assert_int_equal(sluice_so_fcntl(C, c, F_SETFL, O_NONBLOCK), 0);
	off = 0;
	for (int i = 0; i < 100; i++) {
		off_t was = off;
		ssize_t n = sluice_so_sendfile(C, c, f, &off, FILE_BYTES);

		assert_int_equal(off, was + (n > 0 ? n : 0));
		if (off == FILE_BYTES)
			off = 0;
		if (n == -EAGAIN && i > 20)
			break;
		live_nap(1);
		assert_true(i < 99);
	}
	assert_int_equal(sluice_so_sendfile(C, 9999, f, NULL, 10), -EBADF);
	assert_int_equal(sluice_so_close(C, c), 0);
	assert_int_equal(sluice_so_close(S, s), 0);
	close(f);
}

/* ---- what no call takes ---- */

/* A descriptor that is none, by every call. */
static void no_descriptor(void **state)
{
	struct sockaddr_in a = live_addr(1, PORT);
	struct sockaddr *sa = (struct sockaddr *)&a;
	struct epoll_event ev = {.events = EPOLLIN};
	struct msghdr m = {0};
	socklen_t len = sizeof(a);
	int bad[] = {-1, 400, 1 << 20, 0x40000005 /* an instance's, which is not there */}, n = 0;
	int ep = sluice_so_epoll_create(S);

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int fd = bad[i];

		assert_int_equal(sluice_so_bind(S, fd, sa, len), -EBADF);
		assert_int_equal(sluice_so_listen(S, fd, 1), -EBADF);
		assert_int_equal(sluice_so_connect(S, fd, sa, len), -EBADF);
		assert_int_equal(sluice_so_accept4(S, fd, NULL, NULL, 0), -EBADF);
		assert_int_equal(sluice_so_getsockname(S, fd, sa, &len), -EBADF);
		assert_int_equal(sluice_so_getpeername(S, fd, sa, &len), -EBADF);
		assert_int_equal(sluice_so_send(S, fd, "x", 1, 0), -EBADF);
		assert_int_equal(sluice_so_sendmsg(S, fd, &m, 0), -EBADF);
		assert_int_equal(sluice_so_recv(S, fd, &n, 1, 0), -EBADF);
		assert_int_equal(sluice_so_recv(S, fd, &n, 1, MSG_OOB), -EBADF);
		assert_int_equal(sluice_so_recv(S, fd, &n, 1, MSG_ERRQUEUE), -EBADF);
		assert_int_equal(sluice_so_recvmsg(S, fd, &m, 0), -EBADF);
		assert_int_equal(sluice_so_shutdown(S, fd, SHUT_RD), -EBADF);
		assert_int_equal(sluice_so_close(S, fd), -EBADF);
		assert_int_equal(sluice_so_fcntl(S, fd, F_GETFL, 0), -EBADF);
		assert_int_equal(sluice_so_ioctl(S, fd, FIONREAD, &n), -EBADF);
		len = sizeof(n);
		assert_int_equal(
		    sluice_so_getsockopt(S, fd, SOL_SOCKET, SO_ERROR, &n, &len), -EBADF);
		assert_int_equal(
		    sluice_so_setsockopt(S, fd, SOL_SOCKET, SO_KEEPALIVE, &n, len), -EBADF);
		assert_int_equal(sluice_so_epoll_ctl(S, ep, EPOLL_CTL_ADD, fd, &ev), -EBADF);
		assert_int_equal(sluice_so_epoll_ctl(S, fd, EPOLL_CTL_ADD, lfd, &ev), -EBADF);
		assert_int_equal(sluice_so_epoll_wait(S, fd, &ev, 1, 0), -EBADF);
		assert_int_equal(sluice_so_epoll_wake(S, fd, NULL, NULL), -EBADF);
		assert_int_equal(sluice_so_conn(S, fd), SLUICE_CONN_NONE);
		len = sizeof(a);
	}
	assert_int_equal(sluice_so_close(S, ep), 0);
}

static void wrong_arguments(void **state)
{
	struct sockaddr_in a = live_addr(1, PORT);
	struct iovec none[2] = {{NULL, 0}, {(void *)(uintptr_t) "x", 1}};
	struct msghdr many = {.msg_iovlen = 1025}, holes = {.msg_iov = none, .msg_iovlen = 2},
		      ctl = {.msg_control = none, .msg_controllen = sizeof(none)};
	struct epoll_event ev = {.events = EPOLLIN};
	int c, s, ep = sluice_so_epoll_create(S), n;
	char b;

	live_pair(&L, lfd, PORT, &c, &s);
	assert_int_equal(sluice_so_socket(S, AF_UNIX, SOCK_STREAM, 0), -EAFNOSUPPORT);
	assert_int_equal(sluice_so_socket(S, AF_INET, SOCK_DGRAM, 0), -ESOCKTNOSUPPORT);
	assert_int_equal(sluice_so_socket(S, AF_INET, 0x100 | SOCK_STREAM, 0), -EINVAL);
	assert_int_equal(sluice_so_socket(S, AF_INET, SOCK_STREAM, IPPROTO_UDP), -EPROTONOSUPPORT);
	assert_true(sluice_so_socket_vrf(S, AF_INET, SOCK_STREAM, 0, 77) < 0);
	assert_int_equal(sluice_so_bind(S, s, NULL, 0), -EFAULT);
	assert_int_equal(sluice_so_connect(S, s, NULL, 0), -EFAULT);
	assert_int_equal(sluice_so_accept4(S, lfd, NULL, NULL, 1), -EINVAL);
	assert_int_equal(sluice_so_accept4(S, s, NULL, NULL, 0), -EINVAL);
	assert_int_equal(sluice_so_shutdown(S, s, 7), -EINVAL);
	assert_int_equal(sluice_so_fcntl(S, s, F_DUPFD, 0), -EINVAL);
	assert_int_equal(sluice_so_ioctl(S, s, 0x1234, &n), -ENOTTY);
	assert_int_equal(sluice_so_sendmsg(S, s, &many, 0), -EMSGSIZE);
	assert_int_equal(sluice_so_recvmsg(S, s, &many, 0), -EMSGSIZE);
	assert_int_equal(sluice_so_sendmsg(S, s, &ctl, 0), -EINVAL);
	assert_int_equal(sluice_so_sendmsg(S, s, &holes, 0), 1);
	assert_int_equal(sluice_so_recv(C, c, &b, 1, 0), 1);
	assert_int_equal(sluice_so_recv(S, s, &b, 1, MSG_ERRQUEUE), -EAGAIN);
	assert_int_equal(sluice_so_epoll_wait(S, ep, &ev, 0, 0), -EINVAL);
	assert_int_equal(sluice_so_epoll_wait(S, ep, NULL, 1, 0), -EFAULT);
	assert_int_equal(sluice_so_epoll_ctl(S, ep, EPOLL_CTL_ADD, s, NULL), -EFAULT);
	assert_int_equal(sluice_so_epoll_ctl(S, ep, 99, s, &ev), -EINVAL);
	assert_int_equal(sluice_so_epoll_ctl(S, ep, EPOLL_CTL_DEL, s, &ev), -ENOENT);
	assert_int_equal(sluice_so_epoll_ctl(S, ep, EPOLL_CTL_MOD, s, &ev), -ENOENT);
	assert_int_equal(sluice_so_epoll_ctl(S, s, EPOLL_CTL_ADD, s, &ev), -EINVAL);
	assert_int_equal(
	    sluice_so_getsockname(S, s, (struct sockaddr *)&a, &(socklen_t){sizeof(a)}), 0);
	assert_int_equal(sluice_so_close(C, c), 0);
	assert_int_equal(sluice_so_close(S, s), 0);
	assert_int_equal(sluice_so_close(S, ep), 0);
}

/* ---- a blocked thread costs no CPU ---- */

enum wait_in {
	IN_RECV,
	IN_SEND,
	IN_ACCEPT,
	IN_POLL,
	IN_EPOLL,
	IN_SELECT,
	NWAITS
};

struct sleeper {
	enum wait_in in;
	int fd, ep;
	_Atomic pid_t tid;
	pthread_t t;
};

static void *sleep_in(void *arg)
{
	struct sleeper *w = arg;
	static char much[1 << 20];
	struct pollfd p = {.fd = w->fd, .events = POLLIN};
	struct epoll_event ev;
	fd_set in;

	atomic_store(&w->tid, (pid_t)syscall(SYS_gettid));
	switch (w->in) {
	case IN_RECV:
		(void)sluice_so_recv(S, w->fd, much, 1, 0);
		break;
	case IN_SEND:
		(void)sluice_so_send(S, w->fd, much, sizeof(much), 0);
		break;
	case IN_ACCEPT:
		(void)sluice_so_accept4(S, w->fd, NULL, NULL, 0);
		break;
	case IN_POLL:
		(void)sluice_so_poll(S, &p, 1, -1);
		break;
	case IN_EPOLL:
		(void)sluice_so_epoll_wait(S, w->ep, &ev, 1, -1);
		break;
	default:
		FD_ZERO(&in);
		FD_SET(w->fd, &in);
		(void)sluice_so_select(S, w->fd + 1, &in, NULL, NULL, NULL);
	}
	return NULL;
}

/* How often the thread was on a CPU and left it, by /proc. */
static long switches(pid_t tid)
{
	char name[64], line[128];
	long sum = 0, n;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/self/task/%d/status", (int)tid);
	f = fopen(name, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1 ||
		    sscanf(line, "nonvoluntary_ctxt_switches: %ld", &n) == 1)
			sum += n;
	fclose(f);
	return sum;
}

static void blocked_threads_sleep(void **state)
{
	struct sleeper w[NWAITS];
	struct epoll_event ev = {.events = EPOLLIN};
	long before[NWAITS], quiet;
	int c[NWAITS], s[NWAITS], l = live_listen(&L, PORT + 7, 1);

	for (int i = 0; i < NWAITS; i++) {
		live_pair(&L, lfd, PORT, &c[i], &s[i]);
		w[i] = (struct sleeper){.in = (enum wait_in)i, .fd = i == IN_ACCEPT ? l : s[i]};
		w[i].ep = sluice_so_epoll_create(S);
		assert_int_equal(sluice_so_epoll_ctl(S, w[i].ep, EPOLL_CTL_ADD, s[i], &ev), 0);
		assert_int_equal(pthread_create(&w[i].t, NULL, sleep_in, &w[i]), 0);
	}
	for (int i = 0; i < NWAITS; i++)
		while (atomic_load(&w[i].tid) == 0)
			live_nap(1);
	/* Once they sleep they do not run: not at all, for 20 looks. */
	for (quiet = 0; quiet < 20; live_nap(10)) {
		bool same = quiet > 0;

		for (int i = 0; i < NWAITS; i++) {
			long n = switches(atomic_load(&w[i].tid));

			same &= quiet > 0 && n == before[i];
			before[i] = n;
		}
		quiet = same ? quiet + 1 : 1;
	}
	assert_int_equal(sluice_so_close(S, l), 0);
	for (int i = 0; i < NWAITS; i++) {
		char b[65536];

		assert_int_equal(sluice_so_send(C, c[i], "x", 1, 0), 1);
		assert_int_equal(sluice_so_shutdown(C, c[i], SHUT_WR), 0);
		for (size_t got = 0; i == IN_SEND && got < 1 << 20;) {
			ssize_t n = sluice_so_recv(C, c[i], b, sizeof(b), 0);

			assert_true(n > 0);
			got += (size_t)n;
		}
		pthread_join(w[i].t, NULL);
		assert_int_equal(sluice_so_close(S, w[i].ep), 0);
		assert_int_equal(sluice_so_close(C, c[i]), 0);
		assert_int_equal(sluice_so_close(S, s[i]), 0);
	}
}

/* ---- MSG_ZEROCOPY ---- */

static ssize_t reports(struct sluice_stack *st, int fd, struct sock_extended_err *e)
{
	char ctl[128];
	struct msghdr m = {.msg_control = ctl, .msg_controllen = sizeof(ctl)};
	ssize_t n = sluice_so_recvmsg(st, fd, &m, MSG_ERRQUEUE);
	struct cmsghdr *cm = CMSG_FIRSTHDR(&m);

	if (n < 0)
		return n;
	assert_int_equal(m.msg_flags, MSG_ERRQUEUE);
	assert_non_null(cm);
	assert_true(cm->cmsg_level == IPPROTO_IP && cm->cmsg_type == IP_RECVERR);
	memcpy(e, CMSG_DATA(cm), sizeof(*e));
	assert_int_equal(e->ee_origin, SO_EE_ORIGIN_ZEROCOPY);
	return n;
}

static void zero_copy(bool in_place)
{
	static uint8_t out[200000];
	struct sock_extended_err e;
	struct pollfd p = {.events = 0};
	struct msghdr small = {0};
	struct sluice_txn *t;
	pthread_t r;
	uint32_t next = 0;
	int c, s;
	void *got;

	assert_int_equal(sluice_txn_begin(C, &t), 0);
	assert_int_equal(sluice_tunable_set(t, "sock.zerocopy", in_place), 0);
	assert_int_equal(sluice_txn_commit(t, NULL), 0);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + i / 251);
	live_pair(&L, lfd, PORT, &c, &s);
	p.fd = c;
	assert_int_equal(pthread_create(&r, NULL, read_all, &s), 0);
	/* Without the option the flag means nothing. */
	assert_int_equal(sluice_so_send(C, c, out, 1000, MSG_ZEROCOPY), 1000);
	assert_int_equal(reports(C, c, &e), -EAGAIN);
	set_int(C, c, SOL_SOCKET, SO_ZEROCOPY, 1);
	assert_int_equal(sluice_so_send(C, c, out + 1000, 0, MSG_ZEROCOPY), 0);
	assert_int_equal(sluice_so_send(C, c, out + 1000, 9000, MSG_ZEROCOPY), 9000);
	assert_int_equal(sluice_so_send(C, c, out + 10000, 90000, MSG_ZEROCOPY), 90000);
	assert_int_equal(sluice_so_send(C, c, out + 100000, 100000, MSG_ZEROCOPY), 100000);
	while (next < 3) { /* ranges in order, each number once */
		assert_int_equal(sluice_so_poll(C, &p, 1, 10000), 1);
		assert_true(p.revents & POLLERR);
		assert_int_equal(reports(C, c, &e), 0);
		assert_int_equal(e.ee_info, next);
		assert_true(e.ee_data >= next && e.ee_data < 3);
		assert_int_equal(e.ee_code, in_place ? 0 : SO_EE_CODE_ZEROCOPY_COPIED);
		assert_int_equal(e.ee_errno, 0);
		next = e.ee_data + 1;
	}
	assert_int_equal(reports(C, c, &e), -EAGAIN);
	assert_int_equal(sluice_so_poll(C, &p, 1, 0), 0);
	assert_int_equal(sluice_so_shutdown(C, c, SHUT_WR), 0);
	pthread_join(r, &got);
	assert_int_equal((intptr_t)got, sizeof(out));
	/* No room for the report, and one that nobody asks for. */
	assert_int_equal(sluice_so_send(S, s, "", 0, MSG_ZEROCOPY), 0);
	set_int(S, s, SOL_SOCKET, SO_ZEROCOPY, 1);
	assert_int_equal(sluice_so_send(S, s, out, 10, MSG_ZEROCOPY), 10);
	p = (struct pollfd){.fd = s};
	assert_int_equal(sluice_so_poll(S, &p, 1, 10000), 1);
	assert_int_equal(sluice_so_recvmsg(S, s, &small, MSG_ERRQUEUE), 0);
	assert_int_equal(small.msg_flags, MSG_ERRQUEUE | MSG_CTRUNC);
	assert_int_equal(sluice_so_send(S, s, out, 10, MSG_ZEROCOPY), 10);
	live_nap(5);
	assert_int_equal(sluice_so_close(C, c), 0);
	assert_int_equal(sluice_so_close(S, s), 0);
	assert_int_equal(sluice_so_recvmsg(S, s, &small, MSG_ERRQUEUE), -EBADF);
}

static void zero_copy_in_place(void **state)
{
	zero_copy(true);
}

static void zero_copy_copied(void **state)
{
	zero_copy(false);
}

/* ---- linger ---- */

static void linger_waits(void **state)
{
	struct linger lg = {1, 1000}; /* longer than this test may take */
	static char b[200000];
	uint64_t t0;
	int c, s;
	ssize_t n, all = 0;

	/* The peer is there: as long as it takes, which is not long. */
	live_pair(&L, lfd, PORT, &c, &s);
	assert_int_equal(sluice_so_setsockopt(C, c, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)), 0);
	assert_int_equal(sluice_so_send(C, c, b, 10000, 0), 10000);
	assert_int_equal(sluice_so_close(C, c), 0);
	while ((n = sluice_so_recv(S, s, b, sizeof(b), 0)) > 0)
		all += n;
	assert_true(n == 0 && all == 10000);
	assert_int_equal(sluice_so_close(S, s), 0);
	/* The peer does not read: for the time, then it goes on without us. */
	live_pair(&L, lfd, PORT, &c, &s);
	lg.l_linger = 1;
	assert_int_equal(sluice_so_setsockopt(C, c, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)), 0);
	assert_int_equal(sluice_so_fcntl(C, c, F_SETFL, O_NONBLOCK), 0);
	for (int full = 0; full < 10; live_nap(5)) /* until nothing moves any more */
		full = sluice_so_send(C, c, b, sizeof(b), 0) > 0 ? 0 : full + 1;
	assert_int_equal(sluice_so_fcntl(C, c, F_SETFL, 0), 0);
	t0 = now_ms();
	assert_int_equal(sluice_so_close(C, c), 0);
	assert_true(now_ms() - t0 >= 950);
	while ((n = sluice_so_recv(S, s, b, sizeof(b), 0)) > 0)
		;
	assert_int_equal(n, 0);
	assert_int_equal(sluice_so_close(S, s), 0);
	/* A non-blocking socket does not wait. */
	live_pair(&L, lfd, PORT, &c, &s);
	lg.l_linger = 1000;
	assert_int_equal(sluice_so_setsockopt(C, c, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)), 0);
	assert_int_equal(sluice_so_fcntl(C, c, F_SETFL, O_NONBLOCK), 0);
	while (sluice_so_send(C, c, b, sizeof(b), 0) > 0)
		;
	assert_int_equal(sluice_so_close(C, c), 0);
	while ((n = sluice_so_recv(S, s, b, sizeof(b), 0)) > 0)
		;
	assert_int_equal(sluice_so_close(S, s), 0);
}

/* ---- on a thread that polls ---- */

/*
 * One thread polls both stacks and makes the calls: each that would wait must return, and what it
 * has begun must go on by itself.
 */
static uint64_t virtual_now = SLUICE_SEC(1);

static void turn(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++, virtual_now += 50000) {
		assert_true(sluice_squeue_poll(sluice_squeue(C, 0), virtual_now, 0) >= 0);
		assert_true(sluice_squeue_poll(sluice_squeue(S, 0), virtual_now, 0) >= 0);
	}
}

static void on_a_polling_thread(void **state)
{
	struct sockaddr_in a = live_addr(1, PORT);
	struct pollfd p = {.events = POLLIN};
	struct epoll_event ev = {.events = EPOLLIN};
	struct linger lg = {1, 10};
	static char b[100000];
	int l, c, s, ep, k;
	fd_set in;
	ssize_t n;

	live_make(&L, 1, 512, 0);
	turn(2);
	l = live_listen(&L, PORT, 4);
	assert_int_equal(sluice_so_accept4(S, l, NULL, NULL, 0), -EAGAIN);
	c = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0);
	assert_true(c >= 0);
	assert_int_equal(sluice_so_connect(C, c, (struct sockaddr *)&a, sizeof(a)), -EINPROGRESS);
	assert_int_equal(sluice_so_connect(C, c, (struct sockaddr *)&a, sizeof(a)), -EALREADY);
	assert_int_equal(sluice_so_send(C, c, b, 10, 0), -EAGAIN);
	turn(20);
	assert_int_equal(sluice_so_connect(C, c, (struct sockaddr *)&a, sizeof(a)), 0);
	s = sluice_so_accept4(S, l, NULL, NULL, 0);
	assert_true(s >= 0);
	assert_int_equal(sluice_so_recv(C, c, b, 10, 0), -EAGAIN);
	assert_int_equal(sluice_so_recv(C, c, b, 10, MSG_WAITALL), -EAGAIN);
	p.fd = c;
	assert_int_equal(sluice_so_poll(C, &p, 1, -1), 0);
	FD_ZERO(&in);
	FD_SET(c, &in);
	assert_int_equal(sluice_so_select(C, c + 1, &in, NULL, NULL, NULL), 0);
	ep = sluice_so_epoll_create(C);
	assert_int_equal(sluice_so_epoll_ctl(C, ep, EPOLL_CTL_ADD, c, &ev), 0);
	assert_int_equal(sluice_so_epoll_wait(C, ep, &ev, 1, -1), 0);
	/* A full buffer: a part, then nothing. */
	for (n = k = 0; k < 100 && (n = sluice_so_send(C, c, b, sizeof(b), 0)) > 0; k++)
		;
	assert_int_equal(n, -EAGAIN);
	assert_true(k > 0);
	turn(50);
	assert_true(sluice_so_recv(S, s, b, 10, 0) == 10);
	/* Options run directly. */
	set_int(C, c, SOL_SOCKET, SO_KEEPALIVE, 1);
	assert_int_equal(sluice_so_setsockopt(C, c, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)), 0);
	assert_int_equal(sluice_so_close(C, c), 0);
	while ((n = sluice_so_recv(S, s, b, sizeof(b), 0)) != 0) {
		assert_true(n > 0 || n == -EAGAIN);
		turn(5);
	}
	assert_int_equal(sluice_so_close(S, s), 0);
	assert_int_equal(sluice_so_close(C, ep), 0);
	assert_int_equal(sluice_so_close(S, l), 0);
	turn(5000);
	live_unmake(&L);
}

/* sock.max on the listener's side: reset, and counted; those before are not disturbed. */
static void no_more_sockets(void **state)
{
	struct sockaddr_in a = live_addr(1, PORT);
	struct sluice_counters ctr;
	int l, c[6], s[6], n = 0, refused = 0;
	char b[4];

	live_make(&L, 1, 4, 0); /* listener and three more */
	turn(2);
	l = live_listen(&L, PORT, 16);
	for (int i = 0; i < 4; i++) {
		c[i] = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0);
		if (c[i] < 0) {
			assert_int_equal(c[i], -ENFILE);
			break;
		}
		assert_int_equal(
		    sluice_so_connect(C, c[i], (struct sockaddr *)&a, sizeof(a)), -EINPROGRESS);
		turn(20);
		n++;
	}
	assert_int_equal(n, 4);
	for (int i = 0; i < 4; i++) {
		s[i] = sluice_so_accept4(S, l, NULL, NULL, 0);
		if (s[i] < 0) {
			assert_int_equal(s[i], -EAGAIN);
			refused++;
		}
		assert_int_equal(
		    sluice_so_recv(C, c[i], b, 4, 0), s[i] < 0 ? -ECONNRESET : -EAGAIN);
	}
	assert_int_equal(refused, 1);
	sluice_counters_sum(S, &ctr);
	assert_int_equal(ctr.sock_refused, 1);
	assert_int_equal(sluice_so_socket(S, AF_INET, SOCK_STREAM, 0), -ENFILE);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(sluice_so_close(C, c[i]), 0);
		if (s[i] >= 0)
			assert_int_equal(sluice_so_close(S, s[i]), 0);
	}
	assert_int_equal(sluice_so_close(S, l), 0);
	turn(5000);
	live_unmake(&L);
}

#define T(f) cmocka_unit_test_setup_teardown(f, live_setup, live_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(select_sets), T(send_file), T(zero_copy_in_place),
	    T(zero_copy_copied), T(linger_waits), T(blocked_threads_sleep), T(no_descriptor),
	    T(wrong_arguments), cmocka_unit_test(on_a_polling_thread),
	    cmocka_unit_test(no_more_sockets)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
