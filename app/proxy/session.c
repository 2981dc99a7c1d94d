/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session: one client, and the connection to a backend that is made for it.
 *
 *	newconn -> S_FIRST -> S_CONNECT -> S_RELAY -> S_END -> freed
 *	              |        ^    |                   ^
 *	              |      S_WAIT <+ retry            |
 *	              +-----------------> any failure --+
 *
 * Until S_RELAY what the client sends stays in its receive queue. Both connections have the same
 * upcalls; their upper handle is the side, which knows its session. A connection that we closed or
 * aborted tells nothing any more but `closed`, so a session ends in two steps: session_end closes
 * what is open, and the last `closed` frees it. A failed connect does the same on its own side
 * only, and its `closed` begins the next try (connect.c).
 *
 * One timer per session watches the time-out of its state. It is not moved when bytes move: it
 * fires, sees that there was progress, and sleeps again. In S_RELAY a slow reader makes progress
 * too while nothing moves, so in the middle of an idle time it is looked how far the send queues
 * have come. In S_END the timer limits how long a peer may take for what we still have for it.
 */
#include "proxy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/tcp.h>

struct side *side_peer(struct side *d)
{
	return d == &d->s->client ? &d->s->server : &d->s->client;
}

static uint64_t now_of(const struct session *s)
{
	return sluice_squeue_now(s->p->sq);
}

/* ---- time-outs ---- */

static uint64_t idle_limit(const struct session *s)
{
	bool half = s->client.eof != s->server.eof;

	return half ? s->l->cfg.half_closed_timeout : s->l->cfg.idle_timeout;
}

/* Does `acked` say something about the time since the last byte moved? */
static bool is_sampled(const struct session *s)
{
	return s->sample_at > s->moved;
}

/* A number that changes when one of the peers acknowledges something. */
static uint32_t read_acked(const struct session *s)
{
	struct sluice_conn_info i = {.size = sizeof(i)};
	uint32_t sum = 0;

	if (sluice_conn_info(s->p->st, s->client.c, &i) == 0)
		sum += i.snd_una;
	if (sluice_conn_info(s->p->st, s->server.c, &i) == 0)
		sum += i.snd_una;
	return sum;
}

/* Half of the idle time is over, or all of it. True when the session is idle. */
static bool is_idle(struct session *s)
{
	uint64_t now = now_of(s);
	uint32_t acked = read_acked(s);

	if (is_sampled(s) && acked == s->acked)
		return true;
	if (is_sampled(s))
		s->moved = now;
	else
		s->sample_at = now;
	s->acked = acked;
	return false;
}

static uint64_t due(const struct session *s)
{
	switch (s->state) {
	case S_FIRST:
		return s->started + s->l->cfg.first_timeout;
	case S_CONNECT:
		return s->phase + s->pool->cfg.connect_timeout;
	case S_WAIT:
		return s->phase + s->pool->cfg.retry_delay;
	case S_RELAY:
		return s->moved + (is_sampled(s) ? idle_limit(s) : idle_limit(s) / 2);
	case S_END:
		return s->phase + s->l->cfg.linger_timeout;
	}
	return UINT64_MAX;
}

static void on_timer(struct sluice_squeue *sq, void *arg)
{
	struct session *s = arg;

	s->timer = 0;
	if (due(s) > now_of(s)) {
		session_rearm(s);
		return;
	}
	switch (s->state) {
	case S_FIRST:
		session_end(s, REASON_FIRST_TIMEOUT);
		break;
	case S_CONNECT:
		connect_failed(s);
		break;
	case S_WAIT:
		connect_again(s);
		break;
	case S_RELAY:
		if (!is_idle(s))
			session_rearm(s);
		else
			session_end(
			    s, s->client.eof != s->server.eof ? REASON_HALF_CLOSED : REASON_IDLE);
		break;
	case S_END:
		session_reset(s, REASON_LINGER);
		break;
	}
}

void session_rearm(struct session *s)
{
	uint64_t at = due(s);

	if (s->timer != 0 && s->timer_at <= at)
		return;
	if (s->timer != 0)
		sluice_timer_stop(s->p->sq, s->timer);
	s->timer = 0;
	s->timer_at = at;
	/* There are timers for max_sessions: proxy_apply has seen to that. */
	if (sluice_timer_start(s->p->sq, at, on_timer, s, &s->timer) != 0)
		session_reset(s, REASON_MEMORY);
}

static void timer_off(struct session *s)
{
	if (s->timer != 0)
		sluice_timer_stop(s->p->sq, s->timer);
	s->timer = 0;
}

void session_enter(struct session *s, enum session_state state)
{
	s->state = state;
	s->phase = s->moved = now_of(s);
	session_rearm(s);
}

/* ---- the end ---- */

static void log_session(struct session *s)
{
	struct access_record r = {.client = s->src,
	    .to_backend = s->client.bytes,
	    .to_client = s->server.bytes,
	    .duration = now_of(s) - s->started,
	    .retries = s->tries,
	    .reason = s->reason};

	if (!s->p->log_on)
		return;
	strcpy(r.listener, s->l->cfg.name);
	strcpy(r.backend, s->backend_name[0] != '\0' ? s->backend_name : "-");
	if (!access_push(&s->p->log, &r))
		COUNT(s->p, log_dropped);
}

static void session_free(struct session *s)
{
	struct proxy *p = s->p;

	timer_off(s);
	relay_unlist(s);
	log_session(s);
	COUNT_N(p, open, -1);
	COUNT(p, ended[s->reason]);
	TAILQ_REMOVE(&p->all, s, all);
	source_put(&p->group->sources, s->source);
	shared_leave(&s->l->door->active);
	shared_leave(&p->group->open);
	listener_unref(s->l);
	free(s);
}

void side_close(struct side *d, bool in_order)
{
	struct sluice_stack *st = d->s->p->st;

	if (d->c == SLUICE_CONN_NONE || d->closing)
		return;
	d->closing = true;
	if (in_order)
		sluice_close(st, d->c);
	else
		sluice_abort(st, d->c);
}

static void pool_leave(struct session *s)
{
	if (s->pool != NULL)
		pool_unref(s->pool);
	s->pool = NULL;
}

void session_leave_backend(struct session *s)
{
	if (s->b == NULL)
		return;
	shared_leave(&s->b->share->active);
	backend_unref(s->b);
	s->b = NULL;
}

void session_end(struct session *s, enum reason why)
{
	if (s->state == S_END)
		return;
	s->reason = why;
	pool_leave(s);
	relay_ended(s, why == REASON_DONE);
	side_close(&s->client, why == REASON_DONE);
	side_close(&s->server, why == REASON_DONE);
	session_enter(s, S_END);
}

void session_reset(struct session *s, enum reason why)
{
	session_end(s, why);
	s->reason = why;
	if (s->client.c != SLUICE_CONN_NONE)
		sluice_abort(s->p->st, s->client.c);
	if (s->server.c != SLUICE_CONN_NONE)
		sluice_abort(s->p->st, s->server.c);
}

/* ---- upcalls ---- */

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	struct side *d = arg;
	struct session *s = d->s;

	if (s->state != S_CONNECT)
		return;
	if (!connect_send_header(s)) {
		session_end(s, REASON_MEMORY);
		return;
	}
	COUNT(s->p, relayed);
	session_enter(s, S_RELAY);
	if (s->state == S_RELAY) {
		pool_leave(s);
		relay_run(s);
	}
}

static void run(struct session *s)
{
	if (s->state == S_FIRST)
		first_run(s);
	else if (s->state == S_RELAY)
		relay_run(s);
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct side *d = arg;

	run(d->s);
	return 0;
}

static void on_txq_full(void *arg, sluice_conn_t c, bool full)
{
	struct side *d = arg;

	if (!full)
		run(d->s);
}

static void on_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	struct side *d = arg;

	if (op != SLUICE_OPCTL_SHUT_RECV)
		return;
	d->eof = true;
	run(d->s);
	if (d->s->state == S_RELAY)
		session_rearm(d->s); /* half_closed_timeout may be the shorter one */
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	struct side *d = arg, *peer = side_peer(d);
	struct session *s = d->s;
	bool client = d == &s->client;

	if (s->state == S_CONNECT && !client) {
		connect_failed(s);
		return;
	}
	/* It had sent all, and all was handed on: who only waited to be heard to the end may
	 * finish. (A server that answers early and does not read the rest ends so.) */
	if (s->state == S_RELAY && peer->shut) {
		sluice_shutdown(s->p->st, peer->c, SLUICE_SHUT_RD);
		side_close(peer, true);
	}
	session_end(s, client ? REASON_CLIENT_RESET : REASON_BACKEND_RESET);
}

static void on_closed(void *arg, sluice_conn_t c)
{
	struct side *d = arg;
	struct session *s = d->s;

	d->c = SLUICE_CONN_NONE;
	d->closing = false;
	if (d == &s->server && s->state == S_CONNECT) {
		connect_retry(s);
		return;
	}
	if (d == &s->server)
		session_leave_backend(s);
	if (s->client.c == SLUICE_CONN_NONE && s->server.c == SLUICE_CONN_NONE)
		session_free(s);
	else if (s->state != S_END) /* the stack is being destroyed */
		session_end(s, REASON_STOP);
}

const struct sluice_upcalls session_upcalls = {
    .size = sizeof(session_upcalls),
    .connected = on_connected,
    .disconnected = on_disconnected,
    .opctl = on_opctl,
    .recv = on_recv,
    .txq_full = on_txq_full,
    .closed = on_closed,
};

/* ---- the beginning ---- */

/* IPv4 clients of an IPv6 listener are IPv4 clients. */
static void unmap(struct sockaddr_storage *ss)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)ss;
	struct sockaddr_in in = {.sin_family = AF_INET};

	if (ss->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
		return;
	in.sin_port = six->sin6_port;
	memcpy(&in.sin_addr, &six->sin6_addr.s6_addr[12], 4);
	memset(ss, 0, sizeof(*ss));
	memcpy(ss, &in, sizeof(in));
}

static int addresses(struct session *s)
{
	socklen_t a = sizeof(s->src), b = sizeof(s->dst);
	int rc = sluice_getpeername(s->p->st, s->client.c, (struct sockaddr *)&s->src, &a);

	if (rc == 0)
		rc = sluice_getsockname(s->p->st, s->client.c, (struct sockaddr *)&s->dst, &b);
	unmap(&s->src);
	unmap(&s->dst);
	return rc;
}

int session_new(struct listener *l, sluice_conn_t c, struct session **out)
{
	struct session *s = calloc(1, sizeof(*s));
	struct proxy *p = l->p;
	int on = 1;

	if (s == NULL) {
		COUNT(p, refused_memory);
		return -ENOMEM;
	}
	s->p = p;
	s->l = l;
	s->client = (struct side){.s = s, .c = c};
	s->server = (struct side){.s = s};
	if (addresses(s) != 0) {
		free(s);
		return -ECONNABORTED;
	}
	if (l->cfg.max_per_source != 0 && !l->cfg.accept_proxy) {
		s->source = source_get(&p->group->sources, l->door, &s->src, l->cfg.max_per_source);
		if (s->source == NULL) {
			COUNT(p, refused_source);
			free(s);
			return -ENOBUFS;
		}
	}
	s->header_due = l->cfg.accept_proxy;
	s->state = S_FIRST;
	s->started = s->moved = now_of(s);
	s->timer_at = due(s);
	if (sluice_timer_start(p->sq, s->timer_at, on_timer, s, &s->timer) != 0) {
		COUNT(p, refused_memory);
		source_put(&p->group->sources, s->source);
		free(s);
		return -ENOBUFS;
	}
	sluice_setsockopt(p->st, c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	l->refs++;
	TAILQ_INSERT_TAIL(&p->all, s, all);
	COUNT(p, accepted);
	COUNT(p, open);
	*out = s;
	if (l->cfg.hook == HOOK_NONE && !l->cfg.accept_proxy)
		connect_begin(s, l->pool);
	return 0;
}
