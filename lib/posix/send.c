/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sending: the bytes are copied in the caller's thread and left in the connection's inbox
 * (sluice_send_copy); the squeue hears of them by the doorbell, if it had not been rung already. A
 * full send buffer refuses, and refusing is what makes TCP tell when there is room again: so who
 * sleeps was refused after it had said that it may sleep.
 */
#include <posix/so.h>

#include <errno.h>

struct request {
	const struct iovec *iov; /* where the next byte lies */
	size_t niov, off;
	uint64_t left, done;
	int flags;
	struct sl_zc_call *zc; /* MSG_ZEROCOPY, else NULL */
};

static unsigned int conn_flags(int flags, bool last)
{
	return (flags & MSG_OOB && last ? SLUICE_MSG_OOB : 0) |
	       (flags & MSG_MORE || !last ? SLUICE_MSG_MORE : 0);
}

static void advance(struct request *r, size_t n)
{
	r->done += n;
	r->left -= n;
	r->off += n;
	while (r->niov > 0 && r->off >= r->iov->iov_len) {
		r->off -= r->iov->iov_len;
		r->iov++;
		r->niov--;
	}
}

static ssize_t send_piece(
    struct sl_so *so, const struct request *r, const char *p, size_t n, unsigned int flags)
{
	if (SL_UNLIKELY(r->zc != NULL))
		return sl_so_zc_send(so, r->zc, p, n, flags);
	return sluice_send_copy(
	    so->st, atomic_load_explicit(&so->conn, memory_order_acquire), p, n, flags);
}

/* As much as the send buffer takes now: 0 when all is sent, else -errno. */
static int push(struct sl_so *so, struct request *r)
{
	while (r->left > 0) {
		size_t n = RTE_MIN((uint64_t)(r->iov->iov_len - r->off), r->left);
		ssize_t rc;

		if (n == 0) {
			advance(r, 0);
			continue;
		}
		rc = send_piece(so, r, (const char *)r->iov->iov_base + r->off, n,
		    conn_flags(r->flags, n == r->left));
		if (rc < 0)
			return (int)rc;
		advance(r, (size_t)rc);
	}
	return 0;
}

/* May this socket send? 1: it is still connecting. */
static int check(struct sl_so *so)
{
	uint32_t s = sl_so_state(so);
	int rc;

	if (s & SL_SO_CLOSED)
		return -EBADF;
	rc = s & SL_SO_DEAD ? sl_so_take_error(so) : 0;
	if (rc < 0)
		return rc;
	if (s & (SL_SO_WR_SHUT | SL_SO_DEAD))
		return -EPIPE;
	if (s & SL_SO_CONNECTING)
		return 1;
	return s & SL_SO_CONNECTED ? 0 : -EPIPE;
}

/* 0 done, 1 wait, -errno. */
static int attempt(struct sl_so *so, struct request *r)
{
	int rc = check(so);

	if (rc != 0)
		return rc;
	rc = push(so, r);
	if (rc == -EAGAIN)
		return 1;
	/* It ended between the check and the send: what is said then is what check would say. */
	if (rc == -EBADF || rc == -EPIPE || rc == -ENOTCONN) {
		rc = check(so);
		return rc < 0 ? rc : -EPIPE;
	}
	return rc;
}

static int send_wait(struct sl_so *so, struct request *r)
{
	uint64_t deadline = sl_wq_deadline(atomic_load(&so->sndtimeo));
	uint32_t seq = sl_wq_enter(&so->tx);
	int rc;

	while ((rc = attempt(so, r)) == 1) {
		rc = sl_wq_wait(&so->tx, seq, deadline);
		if (rc < 0) {
			rc = rc == -ETIMEDOUT ? -EAGAIN : rc;
			break;
		}
		seq = atomic_load(&so->tx.seq);
	}
	sl_wq_leave(&so->tx);
	return rc;
}

static ssize_t do_send(struct sluice_stack *st, int fd, struct request *r)
{
	struct sl_so *so = sl_so_get(st, fd);
	int rc;

	if (so == NULL)
		return -EBADF;
	if (SL_UNLIKELY(r->flags & MSG_ZEROCOPY) && r->left > 0 &&
	    (atomic_load_explicit(&so->kept, memory_order_relaxed) & SL_SOF_ZEROCOPY)) {
		r->zc = sl_so_zc_begin(so);
		if (r->zc == NULL) {
			sl_so_put(so);
			return -ENOBUFS;
		}
	}
	rc = attempt(so, r);
	if (rc == 1)
		rc = sl_so_may_wait(so, r->flags) ? send_wait(so, r) : -EAGAIN;
	if (r->zc != NULL)
		sl_so_zc_end(so, r->zc, r->done > 0);
	sl_so_put(so);
	return r->done > 0 ? (ssize_t)r->done : rc;
}

ssize_t sluice_so_send(struct sluice_stack *st, int fd, const void *buf, size_t len, int flags)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	struct request r = {.iov = &iov, .niov = 1, .left = len, .flags = flags};

	return do_send(st, fd, &r);
}

ssize_t sluice_so_sendmsg(struct sluice_stack *st, int fd, const struct msghdr *msg, int flags)
{
	struct request r = {.iov = msg->msg_iov, .niov = msg->msg_iovlen, .flags = flags};

	if (msg->msg_iovlen > 1024)
		return -EMSGSIZE;
	if (msg->msg_controllen > 0)
		return -EINVAL;
	for (size_t i = 0; i < msg->msg_iovlen; i++)
		r.left += msg->msg_iov[i].iov_len;
	return do_send(st, fd, &r);
}
