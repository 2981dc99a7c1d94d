/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The transport over kernel sockets: non-blocking, one edge-triggered epoll set per shard, the same
 * engines above. So the kernel's figures differ from sluice's by the stack alone. CUBIC on both.
 */
#include "testtcp.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define EVENTS 256
#define RX_BUF (256 * 1024)
#define LISTENER 1u /* mark of a listener's descriptor among the epoll set's pointers */

struct kernel {
	int epfd;
	int *listener;
	unsigned int nlistener;
	uint64_t next_local; /* member of the clients for the next connection */
	uint8_t *buf;
};

static int set_cubic(int fd)
{
	static const char name[] = "cubic";
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, sizeof(name) - 1) != 0 ? -errno
											: 0;
}

static int watch(struct shard *sh, struct conn *c)
{
	struct kernel *k = sh->tp_data;
	struct epoll_event ev = {
	    .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};

	return epoll_ctl(k->epfd, EPOLL_CTL_ADD, (int)c->handle, &ev) != 0 ? -errno : 0;
}

#define BIND_TRIES 64

/**
 * Addresses of --clients in turn, and their ports when it has any: a port may be taken again for
 * another server, or out of TIME_WAIT as far as net.ipv4.tcp_tw_reuse allows. -EADDRNOTAVAIL: the
 * kernel has none.
 */
static int bind_client(struct endpoint *ep, struct kernel *k, int fd)
{
	bool ports = ep->own.port[0] != 0;
	struct sockaddr_storage from;
	int one = 1;

	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (ports)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	app_span_at(&ep->own, k->next_local++, &from);
	if (bind(fd, (struct sockaddr *)&from, app_addr_len(&from)) == 0)
		return 0;
	return errno == EADDRINUSE ? -EADDRNOTAVAIL : -errno;
}

/** One try: a socket connecting from the next local address and port. Descriptor or -errno. */
static int dial(struct endpoint *ep, struct kernel *k, const struct sockaddr_storage *to)
{
	int fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		return -errno;
	rc = set_cubic(fd);
	if (rc == 0 && ep->own_given)
		rc = bind_client(ep, k, fd);
	if (rc == 0 && connect(fd, (const struct sockaddr *)to, app_addr_len(to)) != 0 &&
	    errno != EINPROGRESS)
		rc = errno == EADDRINUSE ? -EADDRNOTAVAIL : -errno;
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

static int kn_open(struct conn *c)
{
	struct shard *sh = c->sh;
	unsigned int tries = sh->ep->own.port[0] != 0 ? BIND_TRIES : 1;
	struct sockaddr_storage to;
	int fd = -EADDRNOTAVAIL;

	app_span_at(&sh->ep->servers, sh->next_peer, &to);
	while (tries-- != 0 && fd == -EADDRNOTAVAIL)
		fd = dial(sh->ep, sh->tp_data, &to);
	c->handle = fd < 0 ? UINT64_MAX : (uint64_t)fd;
	if (fd < 0)
		return fd;
	sh->next_peer += sh->ep->nshards;
	return watch(sh, c);
}

static ssize_t kn_send(struct conn *c, size_t n)
{
	ssize_t rc = send((int)c->handle, pattern + c->tx_idx, n, MSG_NOSIGNAL);

	if (rc >= 0)
		return rc;
	return errno == EWOULDBLOCK ? -EAGAIN : errno == ENOMEM ? -ENOBUFS : -errno;
}

static void kn_close(struct conn *c)
{
	if (c->handle != UINT64_MAX)
		close((int)c->handle);
	conn_gone(c);
}

static void kn_finish(struct conn *c)
{
	shutdown((int)c->handle, SHUT_WR);
}

static void kn_reset(struct conn *c)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	setsockopt((int)c->handle, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	kn_close(c);
}

static uint64_t kn_unacked(struct conn *c)
{
	int n = 0;

	return ioctl((int)c->handle, SIOCOUTQ, &n) == 0 ? (uint64_t)n : 0;
}

static void accept_all(struct shard *sh, int listener)
{
	for (unsigned int i = 0; i < EVENTS; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		int fd =
		    accept4(listener, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct conn *c;

		if (fd < 0)
			return;
		c = conn_new(sh);
		if (c == NULL) {
			close(fd);
			return;
		}
		c->handle = (uint64_t)fd;
		set_cubic(fd);
		conn_place(c, (struct sockaddr *)&ss);
		watch(sh, c);
		conn_fresh(c);
	}
}

/** Read until nothing is left; returns false when c is closed. */
static bool read_all(struct conn *c)
{
	struct kernel *k = c->sh->tp_data;

	for (;;) {
		ssize_t n = recv((int)c->handle, k->buf, RX_BUF, 0);

		if (n < 0) {
			if (errno == EAGAIN)
				return true;
			conn_lost(c, errno);
			return false;
		}
		if (n == 0) {
			conn_ended(c);
			return false;
		}
		conn_check(c, k->buf, (size_t)n);
		conn_received(c, (size_t)n);
		if (c->closing)
			return false;
	}
}

static void on_event(struct conn *c, uint32_t events)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct shard *sh = c->sh;

	if (c->closing)
		return;
	if (!c->open && sh->ep->client) {
		int err = 0;
		socklen_t elen = sizeof(err);

		getsockopt((int)c->handle, SOL_SOCKET, SO_ERROR, &err, &elen);
		if (err != 0) {
			conn_lost(c, err);
			return;
		}
		if ((events & EPOLLOUT) == 0)
			return;
		if (getsockname((int)c->handle, (struct sockaddr *)&ss, &len) == 0)
			conn_place(c, (struct sockaddr *)&ss);
		conn_opened(c);
		if (c->closing)
			return;
	}
	if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0 && !read_all(c))
		return;
	if ((events & EPOLLOUT) != 0 && c->blocked) {
		c->blocked = false;
		conn_push(c);
		if (!c->closing && c->tx_want == 0 && !c->blocked && sh->role->writable != NULL)
			sh->role->writable(c);
	}
}

static int kn_poll(struct shard *sh)
{
	struct kernel *k = sh->tp_data;
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(k->epfd, ev, EVENTS, 0);

	for (int i = 0; i < n; i++) {
		if (ev[i].data.u64 & LISTENER)
			accept_all(sh, (int)(ev[i].data.u64 >> 1));
		else
			on_event(ev[i].data.ptr, ev[i].events);
	}
	return (n > 0 ? n : 0) + shard_tick(sh);
}

static int kn_up(struct endpoint *ep)
{
	struct rlimit rl;
	uint64_t need = ep->cfg->connections * (ep->cfg->role == ROLE_BOTH ? 2 : 1) + 64;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	if (ep->cfg->role != ROLE_SERVER && rl.rlim_cur < need) {
		app_err("%llu descriptors are needed, %llu allowed (ulimit -n)",
		    (unsigned long long)need, (unsigned long long)rl.rlim_cur);
		return -EMFILE;
	}
	for (unsigned int i = 0; i < ep->nshards; i++) {
		struct kernel *k = calloc(1, sizeof(*k));

		if (k == NULL)
			return -ENOMEM;
		ep->shard[i].tp_data = k;
		k->epfd = epoll_create1(EPOLL_CLOEXEC);
		k->buf = malloc(RX_BUF);
		if (k->epfd < 0 || k->buf == NULL)
			return -ENOMEM;
	}
	return 0;
}

/** Listen on a port: of the only address, or of all when there are several. */
static int listen_port(struct endpoint *ep, struct kernel *k, uint16_t port)
{
	struct sockaddr_storage at = ep->servers.first;
	int fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, rc;
	struct epoll_event ev = {.events = EPOLLIN};

	if (fd < 0)
		return -errno;
	k->listener[k->nlistener++] = fd;
	ev.data.u64 = (uint64_t)fd << 1 | LISTENER;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ep->nshards > 1)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	rc = set_cubic(fd);
	if (rc != 0) {
		app_err("the kernel has no cubic congestion control: %s", strerror(-rc));
		return rc;
	}
	if (ep->servers.n > 1)
		app_parse_addr(at.ss_family == AF_INET ? "0.0.0.0" : "::", port, &at);
	else
		app_addr_set_port(&at, port);
	if (bind(fd, (struct sockaddr *)&at, app_addr_len(&at)) != 0 || listen(fd, 4096) != 0 ||
	    epoll_ctl(k->epfd, EPOLL_CTL_ADD, fd, &ev) != 0)
		return -errno;
	return 0;
}

static int listen_all(struct endpoint *ep, struct kernel *k)
{
	int rc = 0;

	k->listener = calloc(app_span_ports(&ep->servers), sizeof(*k->listener));
	if (k->listener == NULL)
		return -ENOMEM;
	for (unsigned int p = ep->servers.port[0]; p <= ep->servers.port[1] && rc == 0; p++) {
		rc = listen_port(ep, k, (uint16_t)p);
		if (rc != 0)
			app_err("listen on port %u: %s", p, strerror(-rc));
	}
	return rc;
}

static int kn_listen(struct endpoint *ep)
{
	int rc = 0;

	for (unsigned int i = 0; i < ep->nshards && rc == 0; i++)
		rc = listen_all(ep, ep->shard[i].tp_data);
	return rc;
}

static void kn_leave(struct shard *sh)
{
}

static int kn_down(struct endpoint *ep)
{
	for (unsigned int i = 0; i < ep->nshards; i++) {
		struct kernel *k = ep->shard[i].tp_data;
		struct conn *c;

		while ((c = TAILQ_FIRST(&ep->shard[i].conns)) != NULL)
			conn_close(c);
		if (k == NULL)
			continue;
		for (unsigned int n = 0; n < k->nlistener; n++)
			close(k->listener[n]);
		free(k->listener);
		close(k->epfd);
		free(k->buf);
		free(k);
	}
	return 0;
}

const struct transport transport_kernel = {
    .name = "kernel",
    .up = kn_up,
    .listen = kn_listen,
    .open = kn_open,
    .send = kn_send,
    .finish = kn_finish,
    .close = kn_close,
    .reset = kn_reset,
    .unacked = kn_unacked,
    .poll = kn_poll,
    .leave = kn_leave,
    .down = kn_down,
};
