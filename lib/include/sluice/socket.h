/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets: the calls of <sys/socket.h>, <poll.h> and <sys/epoll.h> over the downcalls and upcalls
 * of sluice/conn.h, for programs that were written that way.
 *
 * Any thread may use any socket, also one that another thread is using: read while another writes,
 * accept in several, close while another is blocked (who then gets -EBADF). A call blocks unless
 * the socket has O_NONBLOCK or the call SLUICE_SO_DONTWAIT; on a thread that polls a squeue no call
 * ever blocks: what would have, returns -EAGAIN (connect: -EINPROGRESS).
 *
 * Meaning and errno are Linux's, given back as -errno. There is no SIGPIPE. Descriptors are numbers
 * of the stack (from 0), not of the kernel; a closed one is used again when its connection has
 * ended. A signal ends a blocked call with -EINTR; with SA_RESTART it goes on, as in the kernel.
 */
#ifndef SLUICE_SOCKET_H
#define SLUICE_SOCKET_H

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <sluice/conn.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * AF_INET or AF_INET6, SOCK_STREAM (| SOCK_NONBLOCK | SOCK_CLOEXEC, which means nothing here), 0 or
 * IPPROTO_TCP. Returns a descriptor. -EAFNOSUPPORT, -ESOCKTNOSUPPORT, -EPROTONOSUPPORT, -EINVAL
 * (unknown type flags); -ENFILE beyond sock.max; -ENOBUFS without memory or connections.
 */
SLUICE_API int sluice_so_socket(struct sluice_stack *st, int domain, int type, int protocol);
/** As sluice_so_socket, in a VRF. */
SLUICE_API int sluice_so_socket_vrf(
    struct sluice_stack *st, int domain, int type, int protocol, uint32_t vrf);
/** -EBADF, -EINVAL, -EADDRINUSE, -EADDRNOTAVAIL, -EAFNOSUPPORT, -EACCES. */
SLUICE_API int sluice_so_bind(
    struct sluice_stack *st, int fd, const struct sockaddr *sa, socklen_t len);
SLUICE_API int sluice_so_listen(struct sluice_stack *st, int fd, int backlog);
/**
 * Waits until connected or refused, or returns -EINPROGRESS at once when it must not wait. Later
 * calls: -EALREADY while under way, what came of it once, then -EISCONN. After a failure the socket
 * may be connected again.
 */
SLUICE_API int sluice_so_connect(
    struct sluice_stack *st, int fd, const struct sockaddr *sa, socklen_t len);
/** flags: SOCK_NONBLOCK, SOCK_CLOEXEC. Returns a descriptor; -EAGAIN, -EINVAL (not listening). */
SLUICE_API int sluice_so_accept4(
    struct sluice_stack *st, int fd, struct sockaddr *sa, socklen_t *len, int flags);
SLUICE_API int sluice_so_getsockname(
    struct sluice_stack *st, int fd, struct sockaddr *sa, socklen_t *len);
SLUICE_API int sluice_so_getpeername(
    struct sluice_stack *st, int fd, struct sockaddr *sa, socklen_t *len);
/** The connection under the socket, for the calls of sluice/conn.h that only ask; 0 for none. */
SLUICE_API sluice_conn_t sluice_so_conn(struct sluice_stack *st, int fd);

/**
 * flags: MSG_OOB, MSG_MORE, MSG_DONTWAIT, MSG_ZEROCOPY (with SO_ZEROCOPY: the memory is the stack's
 * until recvmsg(MSG_ERRQUEUE) reports the call; tunable sock.zerocopy), MSG_NOSIGNAL (always so),
 * MSG_EOR and others are ignored. Returns the bytes taken: all of them when the call may block, but for a signal, time-out or error in between.
 * -EAGAIN, -EPIPE, -ENOTCONN, -ECONNRESET and what else ended the connection, -ENOBUFS. Bytes of one
 * call stay together up to what the send buffer takes at once.
 */
SLUICE_API ssize_t sluice_so_send(
    struct sluice_stack *st, int fd, const void *buf, size_t len, int flags);
SLUICE_API ssize_t sluice_so_sendmsg(
    struct sluice_stack *st, int fd, const struct msghdr *msg, int flags);
/**
 * flags: MSG_PEEK, MSG_WAITALL, MSG_TRUNC (the bytes are dropped, not copied), MSG_DONTWAIT, MSG_OOB
 * (the urgent byte), MSG_ERRQUEUE (recvmsg: ranges of MSG_ZEROCOPY calls, as Linux reports them). 0 is the end of the stream. -EAGAIN, -ENOTCONN, what ended the connection once,
 * -EINVAL (MSG_OOB with no urgent byte, or SO_OOBINLINE).
 */
SLUICE_API ssize_t sluice_so_recv(
    struct sluice_stack *st, int fd, void *buf, size_t len, int flags);
SLUICE_API ssize_t sluice_so_recvmsg(
    struct sluice_stack *st, int fd, struct msghdr *msg, int flags);
/**
 * From a file of the kernel, at *offset (which moves), or at its own position when offset is NULL.
 * Returns the bytes taken, 0 at the end of the file; -EBADF, -EINVAL (offset, a file without
 * positions), -EAGAIN and what sluice_so_send and pread(2) give.
 */
SLUICE_API ssize_t sluice_so_sendfile(
    struct sluice_stack *st, int out, int in_kernel_fd, off_t *offset, size_t count);

/** -ENOTCONN, -EINVAL. */
SLUICE_API int sluice_so_shutdown(struct sluice_stack *st, int fd, int how);
/**
 * Gives the descriptor up. Blocked calls on it end. What is queued is still sent, but for unread
 * data or a linger time of 0: reset. With a positive linger time, on a blocking socket, waits until
 * all was acknowledged, for that time at most.
 */
SLUICE_API int sluice_so_close(struct sluice_stack *st, int fd);

/**
 * The connection of a socket goes to event callbacks (sluice/conn.h), under its squeue and without
 * losing a byte: what was received and not read, and what is queued to be sent, stays. The descriptor
 * ends as if it had been closed: calls that are blocked on it return, with -EBADF if they have moved no
 * byte. *c is set before the first upcall. The new owner hears on the squeue, before this returns,
 * what holds: set_proto_props, signal_oob with an unread urgent byte ahead (which for callbacks is
 * part of the stream, also if MSG_OOB has read it), recv, opctl(SHUT_SEND), opctl(SHUT_RECV),
 * txq_full(true), disconnected; and has to close it. What shutdown(SHUT_RD) refused to read goes over
 * too. -EBADF, -EINVAL (a listener), -ENOTCONN (never connected); -EBUSY while MSG_ZEROCOPY has memory
 * out; -EAGAIN on a thread that polls, while another is reading; -EXDEV, -ENOBUFS.
 */
SLUICE_API int sluice_so_detach(
    struct sluice_stack *st, int fd, const struct sluice_upcalls *up, void *arg, sluice_conn_t *c);
/**
 * The way back: a socket for a connection that has callbacks, which hear nothing more of it from then
 * on. Returns a descriptor (blocking, options of the socket at their defaults); what callbacks have
 * not consumed can be read from it, an end or error is found as if the socket had been there.
 * -EBADF, -ENOTCONN (not yet connected), -EINVAL (a socket's already; within newconn), -EBUSY while
 * sluice_send_external has memory out, -ENFILE; -EXDEV, -ENOBUFS.
 */
SLUICE_API int sluice_so_attach(struct sluice_stack *st, sluice_conn_t c);

/** doc/options.md lists them. -ENOPROTOOPT, -EINVAL (length, value), -EDOM (time), -EFAULT. */
SLUICE_API int sluice_so_getsockopt(
    struct sluice_stack *st, int fd, int level, int name, void *val, socklen_t *len);
SLUICE_API int sluice_so_setsockopt(
    struct sluice_stack *st, int fd, int level, int name, const void *val, socklen_t len);
/** F_GETFL and F_SETFL, of which O_NONBLOCK counts. Else -EINVAL. */
SLUICE_API int sluice_so_fcntl(struct sluice_stack *st, int fd, int cmd, int arg);
/** FIONREAD, FIONBIO, FIOASYNC (taken and ignored), SIOCATMARK, SIOCOUTQ, SIOCOUTQNSD: arg is an
 * int. SIOCGIFCONF (struct ifconf), SIOCGIF{NAME, INDEX, ADDR, DSTADDR, NETMASK, BRDADDR, FLAGS, MTU,
 * METRIC, HWADDR} (struct ifreq) of the stack's interfaces. Else -ENOTTY. */
SLUICE_API int sluice_so_ioctl(struct sluice_stack *st, int fd, unsigned long request, void *arg);

/** As poll(2), over descriptors of the stack; timeout in ms, -1 for ever. Of an epoll instance it
 * says whether epoll_wait would report something; that becoming true does not end a wait. */
SLUICE_API int sluice_so_poll(struct sluice_stack *st, struct pollfd *fds, nfds_t n, int timeout);

/** As select(2), over descriptors of the stack below FD_SETSIZE; *timeout becomes what is left of it. */
SLUICE_API int sluice_so_select(struct sluice_stack *st, int nfds, fd_set *in, fd_set *out,
    fd_set *ex, struct timeval *timeout);

/** An epoll instance: a descriptor of its own kind, only for the three calls below and close. */
SLUICE_API int sluice_so_epoll_create(struct sluice_stack *st);
/** As epoll_ctl(2): level and edge triggered, EPOLLONESHOT, EPOLLEXCLUSIVE, EPOLLRDHUP. */
SLUICE_API int sluice_so_epoll_ctl(
    struct sluice_stack *st, int ep, int op, int fd, struct epoll_event *ev);
/** As epoll_wait(2); timeout in ms, -1 for ever. */
SLUICE_API int sluice_so_epoll_wait(
    struct sluice_stack *st, int ep, struct epoll_event *evs, int max, int timeout);
/**
 * `wake` is called, on whatever thread brings the event, when the instance becomes ready and nobody
 * sleeps in epoll_wait: for who waits elsewhere, such as on an eventfd in a kernel's epoll. It must
 * neither block nor call sluice_so_*. Once, before the first epoll_ctl.
 */
SLUICE_API int sluice_so_epoll_wake(
    struct sluice_stack *st, int ep, void (*wake)(void *arg), void *arg);

#ifdef __cplusplus
}
#endif
#endif
