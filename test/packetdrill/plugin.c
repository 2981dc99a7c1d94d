/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * packetdrill plug-in: a stack of its own in the tool's process, one squeue polled by a thread in real
 * time, one port of raw IP between the tool's packets and the stack.
 *
 * packetdrill names sockets by descriptors of the kernel: each socket of ours has an eventfd that
 * stands for it, and that the tool may close with the kernel's close() at the end. Any address of
 * 192.168.0.0/16 and fd00::/8 is local, all else is behind the port. No EAL: buffers come from a pool
 * over libc, so neither hugepages nor locked memory are asked for. The thread has the scheduling of
 * everybody, whatever the tool has given itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "interface.h"
#include "mpool.h"
#include "octets.h"
#include "plugin.h"

#define FDS 1024

struct pd {
	struct sluice_stack *st;
	struct pd_port *port;
	struct rte_mempool *pool;
	pthread_t loop;
	volatile int stop;
	pthread_mutex_t lock;
	int ours[FDS]; /* of a kernel's descriptor: ours + 1; 0: none */
};

static void die(const char *what, int rc)
{
	fprintf(stderr, "packetdrill plug-in: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static int ret(long rc)
{
	if (rc >= 0)
		return (int)rc;
	errno = (int)-rc;
	return -1;
}

static ssize_t retn(ssize_t rc)
{
	if (rc >= 0)
		return rc;
	errno = (int)-rc;
	return -1;
}

/* ---- descriptors ---- */

static int ours(struct pd *p, int fd)
{
	int v;

	if (fd < 0 || fd >= FDS)
		return -1;
	pthread_mutex_lock(&p->lock);
	v = p->ours[fd] - 1;
	pthread_mutex_unlock(&p->lock);
	return v;
}

/* A kernel's descriptor for `fd` of ours, which is closed when there is none. */
static int adopt(struct pd *p, int fd)
{
	int k;

	if (fd < 0)
		return ret(fd);
	k = eventfd(0, EFD_NONBLOCK);
	if (k < 0 || k >= FDS) {
		if (k >= 0)
			close(k);
		(void)sluice_so_close(p->st, fd);
		return ret(-EMFILE);
	}
	pthread_mutex_lock(&p->lock);
	/* The tool has closed an earlier one behind our back. */
	if (p->ours[k] != 0)
		(void)sluice_so_close(p->st, p->ours[k] - 1);
	p->ours[k] = fd + 1;
	pthread_mutex_unlock(&p->lock);
	return k;
}

/* ---- sockets ---- */

static int pd_socket(void *u, int domain, int type, int protocol)
{
	struct pd *p = u;

	return adopt(p, sluice_so_socket(p->st, domain, type, protocol));
}

static int pd_bind(void *u, int fd, const struct sockaddr *a, socklen_t len)
{
	struct pd *p = u;

	return ret(sluice_so_bind(p->st, ours(p, fd), a, len));
}

static int pd_listen(void *u, int fd, int backlog)
{
	struct pd *p = u;

	return ret(sluice_so_listen(p->st, ours(p, fd), backlog));
}

static int pd_accept(void *u, int fd, struct sockaddr *a, socklen_t *len)
{
	struct pd *p = u;

	return adopt(p, sluice_so_accept4(p->st, ours(p, fd), a, len, 0));
}

static int pd_connect(void *u, int fd, const struct sockaddr *a, socklen_t len)
{
	struct pd *p = u;

	return ret(sluice_so_connect(p->st, ours(p, fd), a, len));
}

static ssize_t pd_recvmsg(void *u, int fd, struct msghdr *m, int flags)
{
	struct pd *p = u;

	return retn(sluice_so_recvmsg(p->st, ours(p, fd), m, flags));
}

static ssize_t pd_recv(void *u, int fd, void *b, size_t n, int flags)
{
	struct pd *p = u;

	return retn(sluice_so_recv(p->st, ours(p, fd), b, n, flags));
}

static ssize_t pd_recvfrom(
    void *u, int fd, void *b, size_t n, int flags, struct sockaddr *a, socklen_t *len)
{
	if (len != NULL)
		*len = 0; /* a stream has none */
	return pd_recv(u, fd, b, n, flags);
}

static ssize_t pd_read(void *u, int fd, void *b, size_t n)
{
	struct pd *p = u;

	return ours(p, fd) < 0 ? read(fd, b, n) : pd_recv(u, fd, b, n, 0);
}

static ssize_t pd_readv(void *u, int fd, const struct iovec *v, int n)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)v, .msg_iovlen = (size_t)n};

	return pd_recvmsg(u, fd, &m, 0);
}

static ssize_t pd_sendmsg(void *u, int fd, const struct msghdr *m, int flags)
{
	struct pd *p = u;

	return retn(sluice_so_sendmsg(p->st, ours(p, fd), m, flags));
}

static ssize_t pd_send(void *u, int fd, const void *b, size_t n, int flags)
{
	struct pd *p = u;

	return retn(sluice_so_send(p->st, ours(p, fd), b, n, flags));
}

static ssize_t pd_sendto(
    void *u, int fd, const void *b, size_t n, int flags, const struct sockaddr *a, socklen_t len)
{
	return pd_send(u, fd, b, n, flags);
}

static ssize_t pd_write(void *u, int fd, const void *b, size_t n)
{
	struct pd *p = u;

	return ours(p, fd) < 0 ? write(fd, b, n) : pd_send(u, fd, b, n, 0);
}

static ssize_t pd_writev(void *u, int fd, const struct iovec *v, int n)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)v, .msg_iovlen = (size_t)n};

	return pd_sendmsg(u, fd, &m, 0);
}

static int pd_fcntl(void *u, int fd, int cmd, ...)
{
	struct pd *p = u;
	va_list ap;
	int arg;

	va_start(ap, cmd);
	arg = va_arg(ap, int);
	va_end(ap);
	if (ours(p, fd) < 0)
		return fcntl(fd, cmd, arg);
	return ret(sluice_so_fcntl(p->st, ours(p, fd), cmd, arg));
}

static int pd_ioctl(void *u, int fd, unsigned long request, ...)
{
	struct pd *p = u;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (ours(p, fd) < 0)
		return ioctl(fd, request, arg);
	return ret(sluice_so_ioctl(p->st, ours(p, fd), request, arg));
}

static int pd_close(void *u, int fd)
{
	struct pd *p = u;
	int mine = ours(p, fd);

	if (mine >= 0) {
		pthread_mutex_lock(&p->lock);
		p->ours[fd] = 0;
		pthread_mutex_unlock(&p->lock);
		(void)sluice_so_close(p->st, mine);
	}
	return close(fd);
}

static int pd_shutdown(void *u, int fd, int how)
{
	struct pd *p = u;

	return ret(sluice_so_shutdown(p->st, ours(p, fd), how));
}

static int pd_getsockopt(void *u, int fd, int level, int name, void *v, socklen_t *len)
{
	struct pd *p = u;

	return ret(sluice_so_getsockopt(p->st, ours(p, fd), level, name, v, len));
}

static int pd_setsockopt(void *u, int fd, int level, int name, const void *v, socklen_t len)
{
	struct pd *p = u;

	return ret(sluice_so_setsockopt(p->st, ours(p, fd), level, name, v, len));
}

static int pd_poll(void *u, struct pollfd *fds, nfds_t n, int timeout)
{
	struct pollfd mine[64];
	struct pd *p = u;
	int rc;

	if (n > 64)
		return ret(-EINVAL);
	for (nfds_t i = 0; i < n; i++)
		mine[i] = (struct pollfd){.fd = ours(p, fds[i].fd), .events = fds[i].events};
	rc = sluice_so_poll(p->st, mine, n, timeout);
	for (nfds_t i = 0; i < n; i++)
		fds[i].revents = mine[i].revents;
	return ret(rc);
}

/* ---- epoll, pipe, splice ---- */

static int pd_epoll_create(void *u, int size)
{
	struct pd *p = u;

	return size <= 0 ? ret(-EINVAL) : adopt(p, sluice_so_epoll_create(p->st));
}

static int pd_epoll_ctl(void *u, int ep, int op, int fd, struct epoll_event *ev)
{
	struct pd *p = u;

	return ret(sluice_so_epoll_ctl(p->st, ours(p, ep), op, ours(p, fd), ev));
}

static int pd_epoll_wait(void *u, int ep, struct epoll_event *ev, int max, int timeout)
{
	struct pd *p = u;

	return ret(sluice_so_epoll_wait(p->st, ours(p, ep), ev, max, timeout));
}

static int pd_pipe(void *u, int fd[2])
{
	return pipe(fd);
}

/* One end is a pipe of the kernel's: through a buffer, and no more than the other end takes. */
static int pd_splice(
    void *u, int in, loff_t *in_off, int out, loff_t *out_off, size_t n, unsigned int flags)
{
	int dontwait = flags & 2 /* SPLICE_F_NONBLOCK */ ? MSG_DONTWAIT : 0;
	struct pd *p = u;
	char b[65536];
	ssize_t got;

	if (in_off != NULL || out_off != NULL)
		return ret(-ESPIPE);
	if (n > sizeof(b))
		n = sizeof(b);
	got = ours(p, in) < 0 ? read(in, b, n) : pd_recv(u, in, b, n, dontwait);
	if (got <= 0)
		return (int)got;
	return (int)(ours(p, out) < 0 ? write(out, b, (size_t)got)
				      : pd_send(u, out, b, (size_t)got, 0));
}

/* ---- packets and time ---- */

static int pd_netdev_send(void *u, const void *b, size_t n)
{
	struct pd *p = u;

	return ret(pd_port_in(p->port, b, n));
}

/* Sums to 0 over pseudo-header and segment, and over an IPv4 header: what we made is right. */
static bool sound(const uint8_t *b, size_t n)
{
	bool v4 = n >= 20 && b[0] >> 4 == 4;
	size_t hl = v4 ? (size_t)(b[0] & 15) * 4 : 40;
	uint8_t proto;
	uint32_t acc;

	if (n < hl || (!v4 && (n < 40 || b[0] >> 4 != 6)))
		return false;
	if (v4 && sum16_end(sum16(b, (uint32_t)hl, 0)) != 0)
		return false;
	proto = v4 ? b[9] : b[6];
	if (proto != IPPROTO_TCP)
		return true;
	acc = sum16(v4 ? b + 12 : b + 8, v4 ? 8 : 32, (uint32_t)(n - hl) + proto);
	return sum16_end(sum16(b + hl, (uint32_t)(n - hl), acc)) == 0;
}

#define WAIT_MS 2000

static int pd_netdev_receive(void *u, void *b, size_t *n, long long *time_us)
{
	struct pd *p = u;
	struct timeval tv;

	*n = pd_port_out(p->port, b, *n, WAIT_MS);
	gettimeofday(&tv, NULL);
	*time_us = tv.tv_sec * 1000000ll + tv.tv_usec;
	if (*n > 0 && !sound(b, *n)) {
		fprintf(stderr, "packetdrill plug-in: a packet with a wrong checksum\n");
		return ret(-EBADMSG);
	}
	return 0;
}

static int pd_usleep(void *u, useconds_t us)
{
	return usleep(us);
}

static int pd_gettimeofday(void *u, struct timeval *tv, struct timezone *tz)
{
	return gettimeofday(tv, tz);
}

/* ---- life ---- */

static void pd_free(void *u)
{
	struct pd *p = u;

	for (int i = 0; i < FDS; i++) {
		if (p->ours[i] == 0)
			continue;
		(void)sluice_so_close(p->st, p->ours[i] - 1);
		p->ours[i] = 0;
	}
	p->stop = 1;
	pthread_join(p->loop, NULL);
	(void)sluice_stack_destroy(p->st, NULL);
	(void)tp_destroy(p->pool);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void *loop(void *arg)
{
	struct pd *p = arg;

	(void)sluice_squeue_run(sluice_squeue(p->st, 0), SLUICE_IDLE_YIELD, &p->stop, NULL);
	return NULL;
}

static void start_thread(struct pd *p)
{
	struct sched_param sp = {0};
	pthread_attr_t a;
	int rc;

	pthread_attr_init(&a);
	pthread_attr_setinheritsched(&a, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&a, SCHED_OTHER);
	pthread_attr_setschedparam(&a, &sp);
	rc = pthread_create(&p->loop, &a, loop, p);
	pthread_attr_destroy(&a);
	if (rc != 0)
		die("thread", -rc);
}

static void set_tunables(struct sluice_txn *t, const char *flags)
{
	char *text = strdup(flags), *at = NULL;

	for (char *f = strtok_r(text, ",", &at); f != NULL; f = strtok_r(NULL, ",", &at)) {
		char *eq = strchr(f, '=');
		int rc = -EINVAL;

		if (eq != NULL) {
			*eq = '\0';
			rc = sluice_tunable_set_text(t, f, eq + 1);
		}
		if (rc < 0)
			die(f, rc);
	}
	free(text);
}

static void configure(struct pd *p, const char *flags)
{
	struct sluice_if_params ifp = {
	    .size = sizeof(ifp), .name = "tun0", .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_txn *t;
	const char *why = "";
	int rc = sluice_txn_begin(p->st, &t);

	if (rc == 0)
		rc = sluice_if_add(t, &ifp);
	if (rc == 0)
		rc = sluice_addr_add(t, "tun0", "192.168.0.1/16", true);
	if (rc == 0)
		rc = sluice_addr_add(t, "tun0", "fd00::1/8", true);
	if (rc == 0)
		rc = sluice_route_add(t, 0, "0.0.0.0/0", NULL, "tun0");
	if (rc == 0)
		rc = sluice_route_add(t, 0, "::/0", NULL, "tun0");
	if (rc == 0)
		rc = sluice_tunable_set(t, "ip.dad_probes", 0);
	if (rc == 0)
		rc = sluice_tunable_set(t, "ip.mld", 0);
	if (rc == 0 && flags != NULL)
		set_tunables(t, flags);
	if (rc == 0)
		rc = sluice_txn_commit(t, &why);
	if (rc < 0)
		die(why[0] != '\0' ? why : "configuration", rc);
}

__attribute__((visibility("default"))) void packetdrill_interface_init(
    const char *flags, struct packetdrill_interface *out)
{
	struct sluice_stack_params sp = {
	    .size = sizeof(sp), .name = "packetdrill", .nsqueues = 1, .max_connections = 1024};
	struct pd *p = calloc(1, sizeof(*p));
	struct sluice_driver d;
	const char *why = "";
	int rc;

	if (p == NULL)
		die("memory", -ENOMEM);
	pthread_mutex_init(&p->lock, NULL);
	p->pool = sp.hdr_pool = tp_create(2048, 0);
	rc = sluice_stack_create(&sp, &p->st, &why);
	if (rc < 0)
		die(why, rc);
	p->port = pd_port_create(p->pool, &d);
	rc = p->port == NULL ? -ENOMEM : sluice_port_add(p->st, d);
	if (rc < 0)
		die("port", rc);
	configure(p, flags);
	start_thread(p);
	*out = (struct packetdrill_interface){p, pd_free, pd_socket, pd_bind, pd_listen, pd_accept,
	    pd_connect, pd_read, pd_readv, pd_recv, pd_recvfrom, pd_recvmsg, pd_write, pd_writev,
	    pd_send, pd_sendto, pd_sendmsg, pd_fcntl, pd_ioctl, pd_close, pd_shutdown,
	    pd_getsockopt, pd_setsockopt, pd_poll, pd_netdev_send, pd_netdev_receive, pd_usleep,
	    pd_gettimeofday, pd_epoll_create, pd_epoll_ctl, pd_epoll_wait, pd_pipe, pd_splice};
}
