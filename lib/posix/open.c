/* SPDX-License-Identifier: BSD-3-Clause */
/* How sockets begin and end: socket, bind, listen, connect, shutdown, close; and their names. */
#include <posix/so.h>

#include <errno.h>
#include <fcntl.h>

static int so_call(struct sluice_stack *st, int fd, struct sl_so **so, sluice_conn_t *c)
{
	*so = sl_so_get(st, fd);
	if (*so == NULL)
		return -EBADF;
	*c = atomic_load_explicit(&(*so)->conn, memory_order_acquire);
	return 0;
}

/* ---- socket ---- */

/* A connection for the socket, which takes a reference for it. */
static int attach(struct sl_so *so, int squeue)
{
	sluice_conn_t c;
	int rc = sluice_create(so->st, so->family, SOCK_STREAM, IPPROTO_TCP, so->vrf, squeue, &c);

	if (rc < 0)
		return rc;
	sl_so_ref(so);
	atomic_store_explicit(&so->conn, c, memory_order_release);
	rc = sluice_activate(so->st, c, &sl_so_upcalls, so);
	if (rc < 0) {
		(void)sluice_abort(so->st, c);
		sl_so_put(so);
	}
	return rc;
}

int sluice_so_socket_vrf(struct sluice_stack *st, int domain, int type, int protocol, uint32_t vrf)
{
	int flags = type & (SOCK_NONBLOCK | SOCK_CLOEXEC), kind = type & ~flags, rc;
	struct sl_so *so;

	if (domain != AF_INET && domain != AF_INET6)
		return -EAFNOSUPPORT;
	if (kind & ~0xf)
		return -EINVAL;
	if (kind != SOCK_STREAM)
		return -ESOCKTNOSUPPORT;
	if (protocol != 0 && protocol != IPPROTO_TCP)
		return -EPROTONOSUPPORT;
	so = sl_so_new(st);
	if (so == NULL)
		return -ENFILE;
	so->family = (uint16_t)domain;
	so->vrf = vrf;
	if (flags & SOCK_NONBLOCK)
		sl_so_set(so, SL_SO_NONBLOCK);
	rc = attach(so, -1);
	if (rc < 0) {
		if (sl_so_end(so))
			sl_so_put(so);
		return rc;
	}
	return (int)so->idx - 1;
}

int sluice_so_socket(struct sluice_stack *st, int domain, int type, int protocol)
{
	return sluice_so_socket_vrf(st, domain, type, protocol, 0);
}

sluice_conn_t sluice_so_conn(struct sluice_stack *st, int fd)
{
	struct sl_so *so;
	sluice_conn_t c = SLUICE_CONN_NONE;

	if (so_call(st, fd, &so, &c) == 0)
		sl_so_put(so);
	return c;
}

/* ---- names ---- */

int sluice_so_bind(struct sluice_stack *st, int fd, const struct sockaddr *sa, socklen_t len)
{
	struct sl_so *so;
	sluice_conn_t c;
	int rc = so_call(st, fd, &so, &c);

	if (rc < 0)
		return rc;
	/* A NULL address means "unbind" below; here it is a bad one. */
	rc = sa == NULL ? -EFAULT : sluice_bind(st, c, sa, len);
	sl_so_put(so);
	return rc;
}

int sluice_so_getsockname(struct sluice_stack *st, int fd, struct sockaddr *sa, socklen_t *len)
{
	struct sl_so *so;
	sluice_conn_t c;
	int rc = so_call(st, fd, &so, &c);

	if (rc < 0)
		return rc;
	rc = sluice_getsockname(st, c, sa, len);
	sl_so_put(so);
	return rc;
}

/* Has the connection ended, orderly or not? TIME_WAIT is TCP's own affair. */
static bool over(const struct sl_so *so, sluice_conn_t c)
{
	enum sluice_state s;

	return (sl_so_state(so) & SL_SO_DEAD) || sluice_getstate(so->st, c, &s) < 0 ||
	       s == SLUICE_CLOSED || s == SLUICE_TIME_WAIT;
}

int sluice_so_getpeername(struct sluice_stack *st, int fd, struct sockaddr *sa, socklen_t *len)
{
	struct sl_so *so;
	sluice_conn_t c;
	int rc = so_call(st, fd, &so, &c);

	if (rc < 0)
		return rc;
	/* Once the connection has ended there is no peer any more, as with Linux. */
	if (!(sl_so_state(so) & SL_SO_CONNECTED) || over(so, c))
		rc = -ENOTCONN;
	else
		rc = sluice_getpeername(st, c, sa, len);
	sl_so_put(so);
	return rc;
}

/* ---- listen ---- */

int sluice_so_listen(struct sluice_stack *st, int fd, int backlog)
{
	struct sl_so *so;
	sluice_conn_t c;
	int rc = so_call(st, fd, &so, &c);

	if (rc < 0)
		return rc;
	/* Before the first connection can arrive. */
	if (!(sl_so_state(so) & (SL_SO_CONNECTED | SL_SO_CONNECTING)))
		sl_so_set(so, SL_SO_LISTENING);
	rc = sluice_listen(st, c, backlog);
	if (rc < 0 && !(sl_so_state(so) & SL_SO_CONNECTED))
		sl_so_clear(so, SL_SO_LISTENING);
	sl_so_put(so);
	return rc;
}

/* ---- connect ---- */

/* After a connect that failed: a connection of its own for each try. What came is dropped. */
static int renew(struct sl_so *so)
{
	int rc;

	(void)sluice_close(so->st, atomic_load(&so->conn));
	sl_so_rx_purge(so);
	rc = attach(so, -1);
	if (rc == 0)
		sl_so_clear(so, SL_SO_DEAD | SL_SO_EOF | SL_SO_FULL | SL_SO_ROOM | SL_SO_CONNECTED |
				    SL_SO_FIN | SL_SO_RD_SHUT | SL_SO_WR_SHUT | SL_SO_OOB |
				    SL_SO_OOB_READ | SL_SO_SKIP | SL_SO_FLOW);
	return rc;
}

/* What a connect that is under way, or over, tells: 1 begin, 2 wait. */
static int connect_state(struct sl_so *so)
{
	uint32_t s = sl_so_state(so);
	int rc;

	if (s & SL_SO_CLOSED)
		return -EBADF;
	if (s & SL_SO_LISTENING)
		return -EISCONN;
	if (s & SL_SO_CONNECTING)
		return 2;
	if (s & SL_SO_DEAD) {
		if (s & SL_SO_TOLD)
			return -EISCONN;
		if (sl_so_clear(so, SL_SO_FAILED) == 0)
			return 1;
		/* Told once, by another call maybe; then the socket is as before. */
		rc = sl_so_take_error(so);
		if (renew(so) == 0)
			sl_so_notify(so, EPOLLOUT | EPOLLHUP);
		return rc < 0 ? rc : -ECONNABORTED;
	}
	if (s & SL_SO_CONNECTED) {
		atomic_fetch_or(&so->state, SL_SO_TOLD);
		return s & SL_SO_TOLD ? -EISCONN : 0;
	}
	return 1;
}

static int begin(struct sl_so *so, const struct sockaddr *sa, socklen_t len)
{
	int rc;

	if (sl_so_state(so) & SL_SO_DEAD) {
		rc = renew(so);
		if (rc < 0)
			return rc;
	}
	/* Set before: the answer may come before the call returns. */
	sl_so_set(so, SL_SO_CONNECTING);
	rc = sluice_connect(so->st, atomic_load(&so->conn), sa, len, NULL);
	if (rc != -EINPROGRESS)
		sl_so_clear(so, SL_SO_CONNECTING);
	return rc;
}

static int connect_wait(struct sl_so *so)
{
	uint64_t deadline = sl_wq_deadline(atomic_load(&so->sndtimeo));
	uint32_t seq = sl_wq_enter(&so->tx);
	int rc;

	while ((rc = connect_state(so)) == 2) {
		rc = sl_wq_wait(&so->tx, seq, deadline);
		if (rc < 0) {
			rc = rc == -ETIMEDOUT ? -EINPROGRESS : rc;
			break;
		}
		seq = atomic_load(&so->tx.seq);
	}
	sl_wq_leave(&so->tx);
	return rc == 1 ? -ECONNABORTED : rc;
}

int sluice_so_connect(struct sluice_stack *st, int fd, const struct sockaddr *sa, socklen_t len)
{
	struct sl_so *so;
	sluice_conn_t c;
	int rc = so_call(st, fd, &so, &c);

	if (rc < 0)
		return rc;
	if (sa == NULL) {
		sl_so_put(so);
		return -EFAULT;
	}
	rc = connect_state(so);
	if (rc == 2)
		rc = sl_so_may_wait(so, 0) ? connect_wait(so) : -EALREADY;
	else if (rc == 1) {
		rc = begin(so, sa, len);
		if (rc == -EINPROGRESS && sl_so_may_wait(so, 0))
			rc = connect_wait(so);
	}
	sl_so_put(so);
	return rc;
}

/* ---- shutdown and close ---- */

/*
 * As Linux: shutdown(RD) ends listening; threads in accept get -EINVAL, and the socket, with a
 * connection of its own again, is bound where it was. What it had not accepted is reset.
 */
static int unlisten(struct sl_so *so)
{
	sluice_conn_t c = atomic_load(&so->conn);
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	int rc = sluice_getsockname(so->st, c, (struct sockaddr *)&a, &len);

	if (sl_so_clear(so, SL_SO_LISTENING) == 0)
		return 0; /* another thread */
	sl_wq_wake(&so->rx);
	(void)sluice_close(so->st, c);
	sl_so_accept_flush(so);
	rc = rc == 0 ? attach(so, (int)SL_HANDLE_SQ(c)) : rc;
	/* After the close, which has given the port back: on one squeue entries of a thread keep their
	 * order. */
	if (rc == 0)
		rc = sluice_bind(so->st, atomic_load(&so->conn), (struct sockaddr *)&a, len);
	sl_so_notify(so, EPOLLIN | EPOLLOUT | EPOLLHUP);
	return rc;
}

int sluice_so_shutdown(struct sluice_stack *st, int fd, int how)
{
	struct sl_so *so;
	sluice_conn_t c;
	uint32_t s;
	int rc;

	if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
		return -EINVAL;
	rc = so_call(st, fd, &so, &c);
	if (rc < 0)
		return rc;
	s = sl_so_state(so);
	if (s & SL_SO_LISTENING) {
		rc = how == SHUT_WR ? 0 : unlisten(so);
		sl_so_put(so);
		return rc;
	}
	if (!(s & (SL_SO_CONNECTED | SL_SO_CONNECTING)) || over(so, c)) {
		sl_so_put(so);
		return -ENOTCONN;
	}
	/* What was received before shutdown(RD) can still be read: TCP goes on, the socket says end. */
	rc = how == SHUT_RD ? 0 : sluice_shutdown(st, c, SHUT_WR);
	if (rc == 0) {
		sl_so_set(so, (how != SHUT_WR ? SL_SO_RD_SHUT : 0) |
				  (how != SHUT_RD ? SL_SO_WR_SHUT : 0) |
				  (s & SL_SO_CONNECTED ? SL_SO_TOLD : 0));
		sl_wq_wake(&so->rx);
		sl_wq_wake(&so->tx);
		sl_so_notify(so, EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLRDHUP);
	}
	sl_so_put(so);
	return rc;
}

/* Positive linger time: until the peer has acknowledged all, which opctl(LINGERED) or closed tells. */
static void linger(struct sl_so *so, sluice_conn_t c, uint64_t ns)
{
	uint64_t deadline = sl_wq_deadline(ns);
	uint32_t seq = sl_wq_enter(&so->tx);
	enum sluice_state s;

	/* From FIN_WAIT_2 on, the peer has everything. */
	while (sluice_getstate(so->st, c, &s) == 0 && s < SLUICE_FIN_WAIT_2 &&
	       sl_wq_wait(&so->tx, seq, deadline) == 0)
		seq = atomic_load(&so->tx.seq);
	sl_wq_leave(&so->tx);
}

static uint64_t linger_time(struct sl_so *so, sluice_conn_t c)
{
	struct linger lg = {0};
	socklen_t len = sizeof(lg);

	if (!sl_so_may_wait(so, 0) || !(sl_so_state(so) & SL_SO_CONNECTED) ||
	    sluice_getsockopt(so->st, c, SOL_SOCKET, SO_LINGER, &lg, &len) < 0 || !lg.l_onoff)
		return 0;
	return SLUICE_SEC((uint64_t)lg.l_linger);
}

int sluice_so_close(struct sluice_stack *st, int fd)
{
	struct sl_so *so;
	sluice_conn_t c;
	uint64_t wait;

	if (fd & SL_EP_FD)
		return sl_ep_close(st, fd);
	if (so_call(st, fd, &so, &c) < 0)
		return -EBADF;
	if (!sl_so_end(so)) {
		sl_so_put(so);
		return -EBADF;
	}
	wait = linger_time(so, c);
	sl_so_set(so, SL_SO_CLOSED);
	sl_wq_wake(&so->rx);
	sl_wq_wake(&so->tx);
	sl_so_unwatch(so);
	if (sl_so_state(so) & SL_SO_LISTENING)
		sl_so_accept_flush(so);
	/* Unread data: the peer must learn that it was lost (RFC 9293 3.6.1, RFC 2525 2.17). */
	if (sl_so_rx_bytes(so) > 0)
		(void)sluice_abort(st, c);
	else
		(void)sluice_close(st, c);
	if (wait > 0)
		linger(so, c, wait);
	sl_so_put(so);
	sl_so_put(so); /* the descriptor's */
	return 0;
}

/* ---- fcntl ---- */

int sluice_so_fcntl(struct sluice_stack *st, int fd, int cmd, int arg)
{
	struct sl_so *so;
	sluice_conn_t c;
	int rc = so_call(st, fd, &so, &c);

	if (rc < 0)
		return rc;
	if (cmd == F_GETFL)
		rc = O_RDWR | (sl_so_state(so) & SL_SO_NONBLOCK ? O_NONBLOCK : 0);
	else if (cmd != F_SETFL)
		rc = -EINVAL;
	else if (arg & O_NONBLOCK)
		sl_so_set(so, SL_SO_NONBLOCK);
	else
		sl_so_clear(so, SL_SO_NONBLOCK);
	sl_so_put(so);
	return rc;
}
