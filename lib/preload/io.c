/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes: every call that reads or writes a descriptor, in the forms that programs are compiled to
 * (the checked ones of _FORTIFY_SOURCE too). sendfile and splice copy through a buffer: what the
 * socket does not take is not taken from the file.
 */
#include "preload.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include <netinet/in.h>
#include <sys/sendfile.h>

#define COPY_BUF 32768

/* Who writes to what cannot be written any more is told by a signal, too. */
static ssize_t sent(ssize_t rc, int flags)
{
	if (SLP_UNLIKELY(rc == -EPIPE) && !(flags & MSG_NOSIGNAL))
		(void)raise(SIGPIPE);
	return slp_retn(rc);
}

/* ---- receive ---- */

static ssize_t recv_own(struct slp_file *f, void *buf, size_t len, int flags)
{
	bool bad = buf == NULL && len > 0 && !(flags & (MSG_TRUNC | MSG_ERRQUEUE));
	ssize_t rc = bad ? -EFAULT : slp_eng->recv(slp_st, f->so, buf, len, flags);

	slp_put(f);
	return slp_retn(rc);
}

SLP_EXPORT ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);

	if (f == NULL)
		return rc == 1 ? slp_real()->recv(fd, buf, len, flags) : slp_ret(rc);
	return recv_own(f, buf, len, flags);
}

SLP_EXPORT ssize_t read(int fd, void *buf, size_t len)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);

	if (SLP_LIKELY(f == NULL))
		return rc == 1 ? slp_real()->read(fd, buf, len) : slp_ret(rc);
	return recv_own(f, buf, len, 0);
}

SLP_EXPORT ssize_t recvfrom(
    int fd, void *buf, size_t len, int flags, struct sockaddr *sa, socklen_t *salen)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);

	if (f == NULL)
		return rc == 1 ? slp_real()->recvfrom(fd, buf, len, flags, sa, salen) : slp_ret(rc);
	if (sa != NULL && salen != NULL)
		*salen = 0; /* a stream does not say from whom */
	return recv_own(f, buf, len, flags);
}

static int check_iov(const struct iovec *iov, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (iov[i].iov_base == NULL && iov[i].iov_len > 0)
			return -EFAULT;
	return 0;
}

static ssize_t recvmsg_own(struct slp_file *f, struct msghdr *msg, int flags)
{
	int rc = check_iov(msg->msg_iov, msg->msg_iovlen);

	return rc < 0 ? rc : slp_eng->recvmsg(slp_st, f->so, msg, flags);
}

SLP_EXPORT ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);
	ssize_t n;

	if (f == NULL)
		return rc == 1 ? slp_real()->recvmsg(fd, msg, flags) : slp_ret(rc);
	n = slp_retn(recvmsg_own(f, msg, flags));
	slp_put(f);
	return n;
}

SLP_EXPORT ssize_t readv(int fd, const struct iovec *iov, int n)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};
	ssize_t got;

	if (f == NULL)
		return rc == 1 ? slp_real()->readv(fd, iov, n) : slp_ret(rc);
	got = slp_retn(n < 0 || n > IOV_MAX ? -EINVAL : recvmsg_own(f, &m, 0));
	slp_put(f);
	return got;
}

SLP_EXPORT int recvmmsg(
    int fd, struct mmsghdr *v, unsigned int n, int flags, struct timespec *timeout)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);
	unsigned int i;
	ssize_t got = 0;

	if (f == NULL)
		return rc == 1 ? slp_real()->recvmmsg(fd, v, n, flags, timeout) : slp_ret(rc);
	for (i = 0; i < n; i++) {
		got = recvmsg_own(f, &v[i].msg_hdr, flags & ~MSG_WAITFORONE);
		if (got < 0)
			break;
		v[i].msg_len = (unsigned int)got;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
	}
	slp_put(f);
	return i > 0 ? (int)i : slp_ret((int)got);
}

/* ---- send ---- */

static ssize_t send_own(struct slp_file *f, const void *buf, size_t len, int flags)
{
	ssize_t rc =
	    buf == NULL && len > 0 ? -EFAULT : slp_eng->send(slp_st, f->so, buf, len, flags);

	slp_put(f);
	return sent(rc, flags);
}

SLP_EXPORT ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);

	if (f == NULL)
		return rc == 1 ? slp_real()->send(fd, buf, len, flags) : slp_ret(rc);
	return send_own(f, buf, len, flags);
}

SLP_EXPORT ssize_t write(int fd, const void *buf, size_t len)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);

	if (SLP_LIKELY(f == NULL))
		return rc == 1 ? slp_real()->write(fd, buf, len) : slp_ret(rc);
	return send_own(f, buf, len, 0);
}

SLP_EXPORT ssize_t sendto(
    int fd, const void *buf, size_t len, int flags, const struct sockaddr *sa, socklen_t salen)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);

	if (f == NULL)
		return rc == 1 ? slp_real()->sendto(fd, buf, len, flags, sa, salen) : slp_ret(rc);
	return send_own(f, buf, len, flags); /* a connection knows where to */
}

/* A descriptor of the dataplane is nothing in another process. */
static bool passes_own(const struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL;
	     c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
			struct slp_file *f;
			bool own;
			int fd;

			memcpy(&fd, (char *)c + at, sizeof(fd));
			f = slp_get(fd);
			own =
			    f != NULL && f->kind == SLP_SOCKET && atomic_load(&f->state) == SLP_OWN;
			if (f != NULL)
				slp_put(f);
			if (own)
				return true;
		}
	}
	return false;
}

static ssize_t sendmsg_own(struct slp_file *f, const struct msghdr *msg, int flags)
{
	int rc = check_iov(msg->msg_iov, msg->msg_iovlen);

	return rc < 0 ? rc : slp_eng->sendmsg(slp_st, f->so, msg, flags);
}

SLP_EXPORT ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);
	ssize_t n;

	if (f == NULL && rc == 1 && msg != NULL && msg->msg_controllen > 0 && slp_running() &&
	    !slp_inside && passes_own(msg)) {
		slp_log(LOG_ERR, "a socket of the dataplane cannot be passed to another process");
		return slp_ret(-EOPNOTSUPP);
	}
	if (f == NULL)
		return rc == 1 ? slp_real()->sendmsg(fd, msg, flags) : slp_ret(rc);
	n = sent(sendmsg_own(f, msg, flags), flags);
	slp_put(f);
	return n;
}

SLP_EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};
	ssize_t put;

	if (f == NULL)
		return rc == 1 ? slp_real()->writev(fd, iov, n) : slp_ret(rc);
	put = sent(n < 0 || n > IOV_MAX ? -EINVAL : sendmsg_own(f, &m, 0), 0);
	slp_put(f);
	return put;
}

SLP_EXPORT int sendmmsg(int fd, struct mmsghdr *v, unsigned int n, int flags)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);
	unsigned int i;
	ssize_t put = 0;

	if (f == NULL)
		return rc == 1 ? slp_real()->sendmmsg(fd, v, n, flags) : slp_ret(rc);
	for (i = 0; i < n; i++) {
		put = sendmsg_own(f, &v[i].msg_hdr, flags);
		if (put < 0)
			break;
		v[i].msg_len = (unsigned int)put;
	}
	slp_put(f);
	return i > 0 ? (int)i : (int)sent(put, flags);
}

/* ---- from a file ---- */

/* All that the socket takes of what lies at *off: bytes, or -errno when there were none. */
static ssize_t send_file(struct slp_file *f, int in, off64_t *off, size_t count)
{
	char buf[COPY_BUF];
	size_t done = 0;

	while (done < count) {
		size_t want = count - done < sizeof(buf) ? count - done : sizeof(buf);
		ssize_t got = slp_real()->pread64(in, buf, want, *off), put;

		if (got <= 0) {
			got = got == 0 ? 0 : errno == ESPIPE ? -EINVAL : -errno;
			return done > 0 ? (ssize_t)done : got;
		}
		put = slp_eng->send(slp_st, f->so, buf, (size_t)got,
		    done + (size_t)got < count && (size_t)got == want ? MSG_MORE : 0);
		if (put < 0)
			return done > 0 ? (ssize_t)done : put;
		done += (size_t)put;
		*off += put;
		if (put < got)
			break;
	}
	return (ssize_t)done;
}

SLP_EXPORT ssize_t sendfile64(int out, int in, off64_t *off, size_t count)
{
	int rc;
	struct slp_file *f = slp_own(out, &rc);
	off64_t at;
	ssize_t n;

	if (f == NULL)
		return rc == 1 ? slp_real()->sendfile64(out, in, off, count) : slp_ret(rc);
	at = off != NULL ? *off : lseek64(in, 0, SEEK_CUR);
	if (at < 0) {
		n = off != NULL || errno == ESPIPE ? -EINVAL : -errno;
	} else {
		n = send_file(f, in, &at, count < SSIZE_MAX ? count : SSIZE_MAX);
		if (off != NULL)
			*off = at;
		else
			(void)lseek64(in, at, SEEK_SET);
	}
	slp_put(f);
	return sent(n, 0);
}

SLP_EXPORT ssize_t sendfile(int out, int in, off_t *off, size_t count)
{
	_Static_assert(sizeof(off_t) == sizeof(off64_t), "files of any size");
	return sendfile64(out, in, off, count);
}

/* ---- splice ---- */

static bool ready(int fd, short events, int timeout)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, timeout) > 0;
}

static bool nonblocking(int fd)
{
	int fl = slp_real()->fcntl(fd, F_GETFL);

	return fl >= 0 && (fl & O_NONBLOCK);
}

/* Takes out of the pipe what the socket has room for. */
static ssize_t splice_to(struct slp_file *f, int pipe, int sock, size_t len, unsigned int flags)
{
	char buf[COPY_BUF];
	ssize_t room, got, put;
	size_t done = 0;

	if (!ready(sock, POLLOUT, nonblocking(sock) ? 0 : -1))
		return -EAGAIN;
	room = slp_eng->sendable(slp_st, slp_eng->conn(slp_st, f->so));
	if (room <= 0)
		room = 1; /* it is the send that knows why */
	if (len > (size_t)room)
		len = (size_t)room;
	if (len > sizeof(buf))
		len = sizeof(buf);
	if ((flags & SPLICE_F_NONBLOCK) && !ready(pipe, POLLIN, 0))
		return -EAGAIN;
	got = slp_real()->read(pipe, buf, len);
	if (got <= 0)
		return got == 0 ? 0 : -errno;
	/* Another thread may have taken the room: what is out of the pipe must go. */
	while (done < (size_t)got) {
		put = slp_eng->send(slp_st, f->so, buf + done, (size_t)got - done,
		    flags & SPLICE_F_MORE ? MSG_MORE : 0);
		if (put == -EAGAIN || put == -EINTR)
			(void)ready(sock, POLLOUT, 100);
		else if (put < 0)
			return done > 0 ? (ssize_t)done : put;
		else
			done += (size_t)put;
	}
	return got;
}

/* What the pipe takes leaves the socket, nothing else. */
static ssize_t splice_from(struct slp_file *f, int pipe, size_t len, unsigned int flags)
{
	char buf[COPY_BUF];
	ssize_t got, put;

	if (!ready(pipe, POLLOUT, flags & SPLICE_F_NONBLOCK ? 0 : -1))
		return -EAGAIN;
	/* A pipe that can be written takes a page without waiting. */
	if (len > 4096)
		len = 4096;
	got = slp_eng->recv(
	    slp_st, f->so, buf, len, MSG_PEEK | (flags & SPLICE_F_NONBLOCK ? MSG_DONTWAIT : 0));
	if (got <= 0)
		return got;
	put = slp_real()->write(pipe, buf, (size_t)got);
	if (put < 0)
		return -errno;
	(void)slp_eng->recv(slp_st, f->so, buf, (size_t)put, MSG_DONTWAIT);
	return put;
}

SLP_EXPORT ssize_t splice(
    int in, off64_t *in_off, int out, off64_t *out_off, size_t len, unsigned int flags)
{
	int rc_in, rc_out;
	struct slp_file *fi = slp_own(in, &rc_in), *fo = slp_own(out, &rc_out);
	ssize_t n;

	if (rc_in < 0 || rc_out < 0)
		n = slp_retn(rc_in < 0 ? rc_in : rc_out);
	else if (fi == NULL && fo == NULL)
		n = slp_real()->splice(in, in_off, out, out_off, len, flags);
	else if (fi != NULL && fo != NULL)
		n = slp_retn(-EINVAL);
	else if (in_off != NULL || out_off != NULL)
		n = slp_retn(-ESPIPE);
	else
		n = fo != NULL ? sent(splice_to(fo, in, out, len, flags), 0)
			       : slp_retn(splice_from(fi, out, len, flags));
	if (fi != NULL)
		slp_put(fi);
	if (fo != NULL)
		slp_put(fo);
	return n;
}

/* ---- the checked forms ---- */

__attribute__((noreturn)) void __chk_fail(void);
ssize_t __read_chk(int fd, void *buf, size_t len, size_t room);
ssize_t __recv_chk(int fd, void *buf, size_t len, size_t room, int flags);
ssize_t __recvfrom_chk(
    int fd, void *buf, size_t len, size_t room, int flags, struct sockaddr *sa, socklen_t *salen);

SLP_EXPORT ssize_t __read_chk(int fd, void *buf, size_t len, size_t room)
{
	if (len > room)
		__chk_fail();
	return read(fd, buf, len);
}

SLP_EXPORT ssize_t __recv_chk(int fd, void *buf, size_t len, size_t room, int flags)
{
	if (len > room)
		__chk_fail();
	return recv(fd, buf, len, flags);
}

SLP_EXPORT ssize_t __recvfrom_chk(
    int fd, void *buf, size_t len, size_t room, int flags, struct sockaddr *sa, socklen_t *salen)
{
	if (len > room)
		__chk_fail();
	return recvfrom(fd, buf, len, flags, sa, salen);
}
