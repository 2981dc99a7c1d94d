/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The transport over kernel sockets: non-blocking, one edge-triggered epoll set per shard, the same
 * engines above. So the kernel's figures differ from sluice's by the stack alone. CUBIC on both.
 */
#include "testtcp.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define EVENTS 256
#define RX_BUF (256 * 1024)

struct kernel {
	int epfd, listener;
	uint32_t next_local;
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

static int kn_open(struct conn *c)
{
	struct endpoint *ep = c->sh->ep;
	struct kernel *k = c->sh->tp_data;
	struct sockaddr_storage from = ep->local;
	int fd = socket(ep->peer.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1,
	    rc;

	if (fd < 0) {
		c->handle = UINT64_MAX;
		return -errno;
	}
	c->handle = (uint64_t)fd;
	rc = set_cubic(fd);
	if (rc != 0)
		return rc;
	if (ep->cfg->has_local) {
		app_addr_add(&from, k->next_local++ % ep->nlocal);
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		if (bind(fd, (struct sockaddr *)&from, app_addr_len(&from)) != 0)
			return -errno;
	}
	if (connect(fd, (struct sockaddr *)&ep->peer, app_addr_len(&ep->peer)) != 0 &&
	    errno != EINPROGRESS)
		return -errno;
	return watch(c->sh, c);
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

static void accept_all(struct shard *sh)
{
	struct kernel *k = sh->tp_data;

	for (unsigned int i = 0; i < EVENTS; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		int fd = accept4(
		    k->listener, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
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
		if (ev[i].data.ptr == NULL)
			accept_all(sh);
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
		k->listener = -1;
		k->epfd = epoll_create1(EPOLL_CLOEXEC);
		k->buf = malloc(RX_BUF);
		if (k->epfd < 0 || k->buf == NULL)
			return -ENOMEM;
	}
	return 0;
}

static int listen_one(struct endpoint *ep, struct kernel *k)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	int one = 1, rc;

	k->listener = socket(ep->peer.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (k->listener < 0)
		return -errno;
	setsockopt(k->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ep->nshards > 1)
		setsockopt(k->listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	rc = set_cubic(k->listener);
	if (rc != 0) {
		app_err("the kernel has no cubic congestion control: %s", strerror(-rc));
		return rc;
	}
	if (bind(k->listener, (struct sockaddr *)&ep->peer, app_addr_len(&ep->peer)) != 0 ||
	    listen(k->listener, 4096) != 0 ||
	    epoll_ctl(k->epfd, EPOLL_CTL_ADD, k->listener, &ev) != 0)
		return -errno;
	return 0;
}

static int kn_listen(struct endpoint *ep)
{
	for (unsigned int i = 0; i < ep->nshards; i++) {
		int rc = listen_one(ep, ep->shard[i].tp_data);

		if (rc != 0) {
			app_err("listen on port %llu: %s", (unsigned long long)ep->cfg->port,
			    strerror(-rc));
			return rc;
		}
	}
	return 0;
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
		if (k->listener >= 0)
			close(k->listener);
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
    .close = kn_close,
    .poll = kn_poll,
    .leave = kn_leave,
    .down = kn_down,
};
