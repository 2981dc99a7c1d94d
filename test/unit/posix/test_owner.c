/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection that changes its owner: from a socket to event callbacks and back, with bytes unread,
 * bytes unsent, threads blocked, an urgent byte ahead, the end or an error reached. Squeues run in
 * threads of their own.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include <cmocka.h>

#include "live.h"

#define PORT 80

static struct live L;
static int lfd, cfd, sfd; /* client's end on stack 0; the other, which changes, on stack 1 */

#define C (L.st[0])
#define S (L.st[1])

/* The event owner: reads what it may, and keeps what it was told. */
static struct owner {
	_Atomic uint64_t budget;      /* bytes it may still read */
	_Atomic uint64_t at;          /* of the stream: the next byte that is read */
	_Atomic uint32_t wrong, told; /* told: a bit for each of enum told */
	_Atomic uint64_t mark;
	_Atomic int err;
	_Atomic bool closed;
	_Atomic bool give; /* the next recv upcall gives the connection to a socket... */
	_Atomic int fd;    /* ... this one */
} E;

enum told {
	PROPS = 1,
	RECV = 2,
	EOF_ = 4,
	SHUT_SEND = 8,
	FULL = 16,
	CLEAR = 32,
	OOB = 64,
	GONE = 128
};

static uint8_t byte_at(uint64_t off)
{
	return (uint8_t)(off * 31 + (off >> 8));
}

static void check(const uint8_t *p, size_t n)
{
	uint64_t at = atomic_load(&E.at);

	for (size_t i = 0; i < n; i++)
		if (p[i] != byte_at(at + i))
			atomic_fetch_add(&E.wrong, 1);
	atomic_store(&E.at, at + n);
}

static void tell(enum told what)
{
	atomic_fetch_or(&E.told, what);
}

static int up_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct iovec iov[8];
	uint64_t budget;
	int n;

	if (atomic_load(&E.told) & EOF_)
		atomic_fetch_add(&E.wrong, 1); /* no recv after the end */
	tell(RECV);
	if (atomic_load(&E.give)) {
		atomic_store(&E.fd, sluice_so_attach(S, c));
		return -ENOSPC; /* of what is not its any more */
	}
	while ((budget = atomic_load(&E.budget)) > 0 && (n = sluice_peek(S, c, iov, 8)) > 0) {
		size_t sum = 0;

		for (int i = 0; i < n && sum < budget; i++) {
			size_t len = iov[i].iov_len < budget - sum ? iov[i].iov_len : budget - sum;

			check(iov[i].iov_base, len);
			sum += len;
		}
		if (sluice_consume(S, c, sum) != 0)
			atomic_fetch_add(&E.wrong, 1);
		atomic_fetch_sub(&E.budget, sum);
	}
	return budget == 0 ? -ENOSPC : 0;
}

static void up_disconnected(void *arg, sluice_conn_t c, int err)
{
	atomic_store(&E.err, err);
	tell(GONE);
}

static void up_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	if (op == SLUICE_OPCTL_SHUT_RECV)
		tell(EOF_);
	if (op == SLUICE_OPCTL_SHUT_SEND)
		tell(SHUT_SEND);
}

static void up_full(void *arg, sluice_conn_t c, bool full)
{
	tell(full ? FULL : CLEAR);
}

static void up_oob(void *arg, sluice_conn_t c, size_t mark)
{
	atomic_store(&E.mark, mark);
	tell(OOB);
}

static void up_props(void *arg, sluice_conn_t c, size_t snd, size_t rcv, uint32_t mss)
{
	tell(PROPS);
}

static void up_closed(void *arg, sluice_conn_t c)
{
	atomic_store(&E.closed, true);
}

static const struct sluice_upcalls ups = {.size = sizeof(ups),
    .recv = up_recv,
    .disconnected = up_disconnected,
    .opctl = up_opctl,
    .txq_full = up_full,
    .signal_oob = up_oob,
    .set_proto_props = up_props,
    .closed = up_closed};

static int setup_n(unsigned int nsq)
{
	live_start(&L, nsq);
	lfd = live_listen(&L, PORT, 16);
	live_pair(&L, lfd, PORT, &cfd, &sfd);
	memset(&E, 0, sizeof(E));
	return 0;
}

static int setup(void **state)
{
	return setup_n(1);
}

static int setup2(void **state)
{
	return setup_n(2);
}

static int teardown(void **state)
{
	if (cfd >= 0)
		assert_int_equal(sluice_so_close(C, cfd), 0);
	if (sfd >= 0)
		assert_int_equal(sluice_so_close(S, sfd), 0);
	assert_int_equal(sluice_so_close(S, lfd), 0);
	live_stop(&L);
	return 0;
}

static void nap(unsigned int ms)
{
	struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

#define UNTIL(cond)                                                    \
	do {                                                           \
		for (unsigned int ms = 0; !(cond) && ms < 10000; ms++) \
			nap(1);                                        \
		assert_true(cond);                                     \
	} while (0)

static bool told(uint32_t bits)
{
	return (atomic_load(&E.told) & bits) == bits;
}

static sluice_conn_t detach(void)
{
	sluice_conn_t c;

	atomic_store(&E.told, 0);
	assert_int_equal(sluice_so_detach(S, sfd, &ups, NULL, &c), 0);
	assert_true(told(PROPS)); /* before it returns */
	assert_int_equal(sluice_so_recv(S, sfd, &(char){0}, 1, MSG_DONTWAIT), -EBADF);
	assert_int_equal(sluice_so_close(S, sfd), -EBADF);
	sfd = -1;
	return c;
}

static void attach(sluice_conn_t c)
{
	sfd = sluice_so_attach(S, c);
	assert_true(sfd >= 0);
	assert_true(sluice_so_conn(S, sfd) == c);
}

static void client_sends(uint64_t off, size_t n)
{
	uint8_t *p = malloc(n);

	for (size_t i = 0; i < n; i++)
		p[i] = byte_at(off + i);
	assert_int_equal(sluice_so_send(C, cfd, p, n, 0), n);
	free(p);
}

/* The socket reads n bytes, which continue the stream. */
static void socket_reads(size_t n)
{
	uint8_t *p = malloc(n);

	assert_int_equal(sluice_so_recv(S, sfd, p, n, MSG_WAITALL), n);
	check(p, n);
	free(p);
}

static short events(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLPRI | POLLRDHUP};

	assert_in_range(sluice_so_poll(S, &p, 1, 0), 0, 1);
	return p.revents;
}

static int readable(int fd)
{
	int n = -1;

	assert_int_equal(sluice_so_ioctl(S, fd, FIONREAD, &n), 0);
	return n;
}

/* ---- what was not read goes over ---- */

static void unread_bytes(void **state)
{
	sluice_conn_t c;

	client_sends(0, 10000);
	UNTIL(readable(sfd) == 10000);
	socket_reads(1);
	socket_reads(2999);
	atomic_store(&E.budget, 4000);
	c = detach();
	assert_int_equal(atomic_load(&E.at), 7000);
	attach(c);
	assert_int_equal(readable(sfd), 3000);
	socket_reads(3000);
	client_sends(10000, 100000); /* the window that ENOSPC had closed is open again */
	socket_reads(100000);
	assert_int_equal(atomic_load(&E.wrong), 0);
}

/* More than the window, both ways of filling it: nothing is lost, and it goes on. */
static void full_window(void **state)
{
	static uint8_t buf[1 << 20];
	size_t sent = 0;
	sluice_conn_t c;
	ssize_t n;

	do {
		for (size_t i = 0; i < sizeof(buf); i++)
			buf[i] = byte_at(sent + i);
		n = sluice_so_send(C, cfd, buf, sizeof(buf), MSG_DONTWAIT);
		sent += n > 0 ? (size_t)n : 0;
		nap(20);
	} while (n > 0);
	c = detach();
	assert_true(told(RECV)); /* answered with -ENOSPC: nothing may be read */
	attach(c);
	c = detach();
	atomic_store(&E.budget, UINT64_MAX / 2);
	assert_int_equal(sluice_clr_flowctrl(S, c), 0);
	UNTIL(atomic_load(&E.at) == sent);
	attach(c);
	assert_int_equal(atomic_load(&E.wrong), 0);
}

/* ---- ends ---- */

static void end_of_stream(void **state)
{
	sluice_conn_t c;

	client_sends(0, 100);
	assert_int_equal(sluice_so_shutdown(C, cfd, SHUT_WR), 0);
	UNTIL(readable(sfd) == 100);
	assert_int_equal(sluice_so_shutdown(S, sfd, SHUT_WR), 0);
	UNTIL(events(sfd) & POLLHUP); /* both ways */
	c = detach();
	UNTIL(told(RECV | EOF_ | SHUT_SEND));
	assert_false(told(GONE));
	attach(c);
	assert_int_equal(sluice_so_send(S, sfd, "x", 1, 0), -EPIPE);
	socket_reads(100);
	assert_int_equal(sluice_so_recv(S, sfd, &(char){0}, 1, 0), 0);
	assert_int_equal(atomic_load(&E.wrong), 0);
}

static void reset(void **state)
{
	sluice_conn_t c;
	struct linger lg = {.l_onoff = 1};

	client_sends(0, 100);
	UNTIL(readable(sfd) == 100);
	assert_int_equal(sluice_so_setsockopt(C, cfd, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)), 0);
	assert_int_equal(sluice_so_close(C, cfd), 0);
	cfd = -1;
	UNTIL(events(sfd) & POLLERR);
	c = detach();
	assert_true(told(RECV | GONE));
	assert_int_equal(atomic_load(&E.err), ECONNRESET);
	attach(c);
	socket_reads(100);
	assert_int_equal(sluice_so_recv(S, sfd, &(char){0}, 1, 0), -ECONNRESET);
	assert_int_equal(sluice_so_recv(S, sfd, &(char){0}, 1, 0), 0);
	assert_int_equal(atomic_load(&E.wrong), 0);
}

/* The callbacks close it, and hear `closed`. */
static void closed_by_callbacks(void **state)
{
	sluice_conn_t c = detach();

	assert_int_equal(sluice_close(S, c), 0);
	assert_int_equal(sluice_so_recv(C, cfd, &(char){0}, 1, 0), 0);
	assert_int_equal(sluice_so_close(C, cfd), 0);
	cfd = -1;
	UNTIL(atomic_load(&E.closed));
	assert_int_equal(sluice_so_attach(S, c), -EBADF);
}

/* ---- urgent data ---- */

static void urgent_byte(void **state)
{
	sluice_conn_t c;
	char b;

	client_sends(0, 50);
	assert_int_equal(sluice_so_send(C, cfd, "!", 1, MSG_OOB), 1);
	client_sends(51, 9);
	UNTIL(readable(sfd) >= 50 && (events(sfd) & POLLPRI));
	socket_reads(20);
	c = detach();
	assert_true(told(OOB | RECV));
	assert_int_equal(atomic_load(&E.mark), 30);
	attach(c);
	socket_reads(30);
	assert_int_equal(sluice_so_recv(S, sfd, &b, 1, MSG_OOB), 1);
	assert_int_equal(b, '!');
	atomic_store(&E.at, 51); /* the stream goes on behind it */
	socket_reads(9);
	c = detach();
	assert_false(told(OOB)); /* it lies behind */
	attach(c);
	assert_int_equal(atomic_load(&E.wrong), 0);
}

/* ---- a full send buffer ---- */

static void full_send_buffer(void **state)
{
	static uint8_t buf[1 << 20];
	uint64_t got = 0, sent = 0;
	sluice_conn_t c;
	ssize_t n;

	/* Full for good: the peer's window is full too. */
	for (unsigned int again = 0; again < 10; again += n == -EAGAIN) {
		n = sluice_so_send(S, sfd, buf, sizeof(buf), MSG_DONTWAIT);
		sent += n > 0 ? (uint64_t)n : 0;
		c = detach();
		again = told(FULL) ? again : 0;
		attach(c);
		nap(1);
	}
	c = detach();
	assert_true(told(FULL));
	attach(c);
	assert_int_equal(sluice_so_send(S, sfd, buf, 1, MSG_DONTWAIT), -EAGAIN);
	c = detach();
	while (got < sent) {
		n = sluice_so_recv(C, cfd, buf, sizeof(buf), 0);
		assert_true(n > 0);
		got += (uint64_t)n;
	}
	UNTIL(told(CLEAR));
	assert_int_equal(sluice_send_copy(S, c, "x", 1, 0), 1);
	assert_int_equal(sluice_so_recv(C, cfd, buf, sizeof(buf), 0), 1);
	attach(c);
}

/* ---- threads that are blocked ---- */

struct waiter {
	pthread_t t;
	_Atomic bool began, done;
	ssize_t rc;
};

static void *wait_recv(void *arg)
{
	struct waiter *w = arg;
	uint8_t buf[100];

	atomic_store(&w->began, true);
	w->rc = sluice_so_recv(S, sfd, buf, sizeof(buf), MSG_WAITALL);
	atomic_store(&w->done, true);
	return NULL;
}

static void *wait_send(void *arg)
{
	struct waiter *w = arg;
	static uint8_t buf[4 << 20];

	atomic_store(&w->began, true);
	w->rc = sluice_so_send(S, sfd, buf, sizeof(buf), 0);
	atomic_store(&w->done, true);
	return NULL;
}

static void *wait_poll(void *arg)
{
	struct waiter *w = arg;
	struct pollfd p = {.fd = sfd, .events = POLLIN};

	atomic_store(&w->began, true);
	w->rc = sluice_so_poll(S, &p, 1, -1);
	if (w->rc == 1)
		w->rc = p.revents;
	atomic_store(&w->done, true);
	return NULL;
}

static bool client_has_some(void)
{
	int n = 0;

	assert_int_equal(sluice_so_ioctl(C, cfd, FIONREAD, &n), 0);
	return n > 0;
}

static void blocked_threads(void **state)
{
	void *(*const fn[])(void *) = {wait_recv, wait_send, wait_poll};
	struct waiter w[3] = {{0}};
	sluice_conn_t c;
	int fd = sfd;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(pthread_create(&w[i].t, NULL, fn[i], &w[i]), 0);
		UNTIL(atomic_load(&w[i].began));
	}
	UNTIL(client_has_some());
	for (int i = 0; i < 3; i++)
		assert_false(atomic_load(&w[i].done));
	assert_int_equal(sluice_so_detach(S, fd, &ups, NULL, &c), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_join(w[i].t, NULL), 0);
	assert_int_equal(w[0].rc, -EBADF);
	assert_in_range(w[1].rc, 1, (4 << 20) - 1); /* what it has sent */
	assert_int_equal(w[2].rc, POLLNVAL);
	attach(c);
}

/* ---- on the squeue itself, in the middle of an upcall ---- */

static void within_an_upcall(void **state)
{
	(void)detach();
	atomic_store(&E.fd, -1);
	atomic_store(&E.give, true);
	client_sends(0, 1000);
	UNTIL(atomic_load(&E.fd) >= 0);
	sfd = atomic_load(&E.fd);
	socket_reads(1000);
	client_sends(1000, 100000); /* more than a window that nobody opens */
	socket_reads(100000);
	/* The last bytes and the end in one burst: each is told once, to the socket. */
	(void)detach();
	atomic_store(&E.fd, -1);
	client_sends(101000, 10);
	assert_int_equal(sluice_so_shutdown(C, cfd, SHUT_WR), 0);
	UNTIL(atomic_load(&E.fd) >= 0);
	sfd = atomic_load(&E.fd);
	socket_reads(10);
	assert_int_equal(sluice_so_recv(S, sfd, &(char){0}, 1, 0), 0);
	assert_false(told(EOF_));
	assert_int_equal(atomic_load(&E.wrong), 0);
}

/* ---- what is refused ---- */

static void refusals(void **state)
{
	struct sockaddr_in a = live_addr(1, PORT + 1);
	int fd = sluice_so_socket(S, AF_INET, SOCK_STREAM, 0), fd2;
	struct sluice_upcalls bad = ups;
	sluice_conn_t c, other;

	bad.size--;
	assert_int_equal(sluice_so_detach(S, sfd, &bad, NULL, &c), -EINVAL);
	assert_int_equal(sluice_so_detach(S, sfd, NULL, NULL, &c), -EINVAL);
	assert_int_equal(sluice_so_detach(S, sfd, &ups, NULL, NULL), -EINVAL);
	assert_int_equal(sluice_so_detach(S, -1, &ups, NULL, &c), -EBADF);
	assert_int_equal(sluice_so_detach(S, fd, &ups, NULL, &c), -ENOTCONN);
	assert_int_equal(sluice_so_detach(S, lfd, &ups, NULL, &c), -EINVAL);
	assert_int_equal(sluice_so_attach(S, sluice_so_conn(S, sfd)), -EINVAL);
	assert_int_equal(sluice_so_attach(S, sluice_so_conn(S, lfd)), -ENOTCONN);
	assert_int_equal(sluice_so_attach(S, SLUICE_CONN_NONE), -EBADF);
	assert_int_equal(sluice_so_close(S, fd), 0);
	/* A connection of callbacks that does not stand yet. */
	assert_int_equal(sluice_create(S, AF_INET, SOCK_STREAM, 0, 0, -1, &other), 0);
	assert_int_equal(sluice_activate(S, other, &ups, NULL), 0);
	assert_int_equal(sluice_bind(S, other, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(sluice_so_attach(S, other), -ENOTCONN);
	assert_int_equal(sluice_close(S, other), 0);
	/* The socket is what it was. */
	client_sends(0, 10);
	socket_reads(10);
	c = detach();
	attach(c);
	fd2 = sluice_so_attach(S, c);
	assert_int_equal(fd2, -EINVAL);
	client_sends(10, 10);
	socket_reads(10);
}

/* Memory that is out belongs to who sent it: the connection stays. */
static void memory_out(void **state)
{
	static uint8_t out[60000], buf[1 << 20];
	uint64_t got = 0, sent = 0;
	sluice_conn_t c = detach();
	int rc;

	for (;;) {
		rc = sluice_send_external(S, c, out, 0, sizeof(out), out, 0);
		if (rc < 0)
			break;
		sent += sizeof(out);
		nap(5);
	}
	assert_int_equal(rc, -EAGAIN);
	assert_int_equal(sluice_so_attach(S, c), -EBUSY);
	while (got < sent) {
		ssize_t n = sluice_so_recv(C, cfd, buf, sizeof(buf), 0);

		assert_true(n > 0);
		got += (uint64_t)n;
	}
	for (unsigned int ms = 0; (sfd = sluice_so_attach(S, c)) == -EBUSY && ms < 10000; ms++)
		nap(1);
	assert_true(sfd >= 0);
}

/* The same for a socket, which is one still after the refusal. */
static void memory_of_a_socket_out(void **state)
{
	static uint8_t out[1 << 20], buf[1 << 20];
	uint64_t got = 0;
	struct sluice_txn *t;
	sluice_conn_t c;
	ssize_t n;
	int on = 1, rc;

	assert_int_equal(sluice_txn_begin(S, &t), 0);
	assert_int_equal(sluice_tunable_set(t, "sock.zerocopy", 1), 0);
	assert_int_equal(sluice_txn_commit(t, NULL), 0);
	assert_int_equal(sluice_so_setsockopt(S, sfd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)), 0);
	n = sluice_so_send(S, sfd, out, sizeof(out), MSG_ZEROCOPY | MSG_DONTWAIT);
	assert_true(n > 0);
	assert_int_equal(sluice_so_detach(S, sfd, &ups, NULL, &c), -EBUSY);
	assert_true(c == SLUICE_CONN_NONE);
	client_sends(0, 1000);
	socket_reads(1000);
	while (got < (uint64_t)n) {
		ssize_t more = sluice_so_recv(C, cfd, buf, sizeof(buf), 0);

		assert_true(more > 0);
		got += (uint64_t)more;
	}
	for (unsigned int ms = 0; ms < 10000; ms++) {
		rc = sluice_so_detach(S, sfd, &ups, NULL, &c);
		if (rc != -EBUSY)
			break;
		nap(1);
	}
	assert_int_equal(rc, 0);
	attach(c);
	assert_int_equal(atomic_load(&E.wrong), 0);
}

/* ---- streams both ways, the owner changing all the time ---- */

#define VOLUME (2u << 20)
static _Atomic uint64_t client_got;
static _Atomic uint32_t client_wrong;

static void *client_writes(void *arg)
{
	uint32_t seed = (uint32_t)(uintptr_t)arg;
	static uint8_t buf[20000];
	uint64_t off = 0;

	while (off < VOLUME) {
		size_t n = 1 + (size_t)rand_r(&seed) % sizeof(buf);

		n = n < VOLUME - off ? n : VOLUME - off;
		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(off + i);
		if (sluice_so_send(C, cfd, buf, n, 0) != (ssize_t)n)
			atomic_fetch_add(&client_wrong, 1);
		off += n;
	}
	(void)sluice_so_shutdown(C, cfd, SHUT_WR);
	return NULL;
}

static void *client_reads(void *arg)
{
	static uint8_t buf[30000];
	uint64_t off = 0;
	ssize_t n;

	while ((n = sluice_so_recv(C, cfd, buf, sizeof(buf), 0)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != byte_at(off + (uint64_t)i))
				atomic_fetch_add(&client_wrong, 1);
		off += (uint64_t)n;
		atomic_store(&client_got, off);
	}
	return NULL;
}

/* Sends up to n bytes of the other stream by whoever has the connection; returns how many. */
static size_t send_some(uint64_t off, size_t n, sluice_conn_t c)
{
	static uint8_t buf[30000];
	ssize_t rc;

	for (size_t i = 0; i < n; i++)
		buf[i] = byte_at(off + i);
	rc = sfd >= 0 ? sluice_so_send(S, sfd, buf, n, MSG_DONTWAIT)
		      : sluice_send_copy(S, c, buf, n, 0);
	assert_true(rc > 0 || rc == -EAGAIN);
	return rc > 0 ? (size_t)rc : 0;
}

static void one_stream(uint32_t seed)
{
	static uint8_t buf[30000];
	uint64_t sent = 0;
	sluice_conn_t c = 0;
	unsigned int changes = 0;
	pthread_t w, r;
	bool end = false;

	atomic_store(&client_got, 0);
	assert_int_equal(pthread_create(&w, NULL, client_writes, (void *)(uintptr_t)seed), 0);
	assert_int_equal(pthread_create(&r, NULL, client_reads, NULL), 0);
	while (!end || sent < VOLUME) {
		size_t n = 1 + (size_t)rand_r(&seed) % 30000;

		switch (rand_r(&seed) % 4) {
		case 0: /* some bytes are read */
			if (sfd >= 0) {
				ssize_t got = sluice_so_recv(S, sfd, buf, n, MSG_DONTWAIT);

				if (got > 0)
					check(buf, (size_t)got);
				end = got == 0;
			} else {
				atomic_fetch_add(&E.budget, n);
				assert_int_equal(sluice_clr_flowctrl(S, c), 0);
			}
			break;
		case 1: /* some are sent */
			n = n < VOLUME - sent ? n : VOLUME - sent;
			if (n > 0)
				sent += send_some(sent, n, c);
			break;
		case 2:
			if (rand_r(&seed) % 4 == 0)
				(void)sluice_move(S, sfd >= 0 ? sluice_so_conn(S, sfd) : c,
				    (unsigned int)rand_r(&seed) % sluice_stack_nsqueues(S));
			break;
		default:
			changes++;
			if (sfd >= 0)
				c = detach();
			else
				attach(c);
		}
	}
	if (sfd < 0)
		attach(c);
	assert_int_equal(sluice_so_shutdown(S, sfd, SHUT_WR), 0);
	assert_int_equal(pthread_join(w, NULL), 0);
	assert_int_equal(pthread_join(r, NULL), 0);
	assert_int_equal(atomic_load(&E.at), VOLUME);
	assert_int_equal(atomic_load(&client_got), VOLUME);
	assert_int_equal(atomic_load(&E.wrong) + atomic_load(&client_wrong), 0);
	assert_true(changes > 10);
}

static void streams(void **state)
{
	one_stream(7);
	for (uint32_t seed = 8; seed < (getenv("SLUICE_LONG") != NULL ? 200u : 11u); seed++) {
		assert_int_equal(sluice_so_close(C, cfd), 0);
		assert_int_equal(sluice_so_close(S, sfd), 0);
		live_pair(&L, lfd, PORT, &cfd, &sfd);
		memset(&E, 0, sizeof(E));
		one_stream(seed);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(unread_bytes),
	    T(full_window),
	    T(end_of_stream),
	    T(reset),
	    T(closed_by_callbacks),
	    T(urgent_byte),
	    T(full_send_buffer),
	    T(blocked_threads),
	    T(within_an_upcall),
	    T(refusals),
	    T(memory_out),
	    T(memory_of_a_socket_out),
	    T(streams),
	    cmocka_unit_test_setup_teardown(streams, setup2, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
