/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way to a backend: choose one, connect, and when that fails try again.
 *
 *	connect_next -> connect_to -> connected (session.c: S_RELAY)
 *	     ^              | refused, reset, timed out
 *	     |              v
 *	     |        connect_failed -> (closed) -> connect_retry -> at once, to one that has not failed
 *	     |                                           |
 *	     +------------- S_WAIT: retry_delay ---------+-> or an end with a reason
 *
 * Nothing of the client's bytes moves before a connection stands, so a try costs nothing but time.
 * A backend to which no local port is free is passed over for a moment. When that leaves none, the
 * session waits: ports come free as TIME_WAIT ends, or becomes old enough to be used again.
 */
#include "proxy.h"

#include <errno.h>
#include <string.h>
#include <netinet/tcp.h>

static uint64_t now_of(const struct session *s)
{
	return sluice_squeue_now(s->p->sq);
}

static int set_sources(struct session *s, const struct backend *b)
{
	const struct source_range *r = &s->pool->cfg.source[b->cfg.addr.ss_family == AF_INET6];

	return r->n == 0 ? 0 : sluice_set_sources(s->p->st, s->server.c, &r->first, r->n);
}

static int begin_connect(struct session *s, struct backend *b)
{
	const struct sockaddr_storage *a = &b->cfg.addr;
	struct sluice_stack *st = s->p->st;
	socklen_t len =
	    a->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	int on = 1, rc;

	rc = sluice_create(st, a->ss_family, SOCK_STREAM, IPPROTO_TCP, (uint32_t)s->pool->cfg.vrf,
	    (int)s->p->id, &s->server.c);
	if (rc != 0) {
		s->server.c = SLUICE_CONN_NONE;
		return rc;
	}
	rc = sluice_activate(st, s->server.c, &session_upcalls, &s->server);
	if (rc == 0)
		rc = set_sources(s, b);
	if (rc == 0) /* what the client has sent at once goes on at once */
		rc = sluice_setsockopt(st, s->server.c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (rc == 0) /* both ends of a session stay with the squeue that has it */
		rc = sluice_pin(st, s->server.c, true);
	if (rc == 0)
		rc = sluice_connect(st, s->server.c, (const struct sockaddr *)a, len, NULL);
	return rc == -EINPROGRESS ? 0 : rc;
}

void connect_failed(struct session *s)
{
	if (!s->port_wait) {
		COUNT(s->p, connect_failed);
		SHARED_ADD(s->b->share->failed, 1);
		s->b->failed_at = now_of(s);
	}
	side_close(&s->server, false);
}

/* No try can be made. */
static void wait_for_port(struct session *s)
{
	COUNT(s->p, port_waits);
	s->port_wait = true;
	if (now_of(s) - s->connect_began >= s->pool->cfg.connect_timeout)
		session_end(s, REASON_NO_PORT);
	else
		session_enter(s, S_WAIT);
}

static void connect_to(struct session *s, struct backend *b)
{
	int rc;

	s->b = b;
	backend_ref(b);
	SHARED_ADD(b->share->active, 1);
	SHARED_ADD(b->share->total, 1);
	strcpy(s->backend_name, b->cfg.name);
	COUNT(s->p, connects);
	rc = begin_connect(s, b);
	s->port_wait = rc == -EADDRNOTAVAIL;
	if (s->port_wait) /* that was a long search: it holds for all others, too */
		b->no_port_until = now_of(s) + s->pool->cfg.retry_delay;
	session_enter(s, S_CONNECT);
	if (s->state == S_END)
		return;
	if (s->server.c == SLUICE_CONN_NONE) {
		session_leave_backend(s);
		session_end(s, REASON_MEMORY);
	} else if (rc != 0) {
		connect_failed(s);
	}
}

/* One that has failed nobody since this client came; after a wait, when there is none, any. */
static struct backend *choose(struct session *s)
{
	struct backend *b = balance_pick(s->pool, &s->src, now_of(s), s->connect_began);

	return b != NULL ? b : balance_pick(s->pool, &s->src, now_of(s), NOT_FAILED_EVER);
}

static void connect_next(struct session *s)
{
	struct backend *b = choose(s);

	s->port_wait = false;
	if (b != NULL)
		connect_to(s, b);
	else if (balance_wants_port(s->pool, now_of(s)))
		wait_for_port(s);
	else
		session_end(s, REASON_NO_BACKEND);
}

void connect_again(struct session *s)
{
	if (!s->port_wait)
		COUNT(s->p, retries);
	connect_next(s);
}

void connect_retry(struct session *s)
{
	struct backend *other;

	session_leave_backend(s);
	if (s->port_wait) {
		connect_next(s);
		return;
	}
	if (s->tries++ >= s->pool->cfg.retries) {
		session_end(s, REASON_CONNECT_FAILED);
		return;
	}
	other = balance_pick(s->pool, &s->src, now_of(s), s->connect_began);
	if (other != NULL) {
		COUNT(s->p, retries);
		connect_to(s, other);
	} else {
		session_enter(s, S_WAIT);
	}
}

void connect_begin(struct session *s, struct pool *pl)
{
	s->pool = pl;
	pool_ref(pl);
	s->connect_began = now_of(s);
	connect_next(s);
}

bool connect_send_header(struct session *s)
{
	uint8_t buf[PROXY_HEADER_MAX];
	size_t n;

	if (s->pool->cfg.send_proxy == SEND_PROXY_OFF)
		return true;
	n = proxyproto_make(buf, (enum send_proxy)s->pool->cfg.send_proxy, &s->src, &s->dst);
	return sluice_send_copy(s->p->st, s->server.c, buf, n, SLUICE_MSG_MORE) == (ssize_t)n;
}
