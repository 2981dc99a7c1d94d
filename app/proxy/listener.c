/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listeners: where clients come in. newconn is the place of all limits that can be checked before a
 * byte has come; refusing there costs one RST and no memory. It is called on the squeue where the
 * client's packets arrive, whose own listener then has it to the end.
 */
#include "proxy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/tcp.h>

/* Counted in, or refused. */
static int enter(struct listener *l)
{
	struct proxy *p = l->p;

	if (p->draining || p->stopped)
		return -ESHUTDOWN;
	if (p->short_of_memory) {
		COUNT(p, refused_memory);
		return -ENOMEM;
	}
	if (!shared_enter(&p->group->open, p->cfg.max_sessions)) {
		COUNT(p, refused_sessions);
		return -ENOBUFS;
	}
	if (!shared_enter(&l->door->active, l->cfg.max_connections)) {
		shared_leave(&p->group->open);
		COUNT(p, refused_listener);
		return -ENOBUFS;
	}
	return 0;
}

static int on_newconn(void *arg, sluice_conn_t listener, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct door *d = arg;
	int here = sluice_conn_squeue(d->group->of[0].st, eager);
	struct listener *l = here < 0 ? NULL : d->of[here];
	struct session *s;
	int rc;

	if (l == NULL) /* it has just been opened, or is about to close */
		return -ESHUTDOWN;
	rc = enter(l);
	if (rc != 0)
		return rc;
	rc = session_new(l, eager, &s);
	if (rc != 0) {
		shared_leave(&l->door->active);
		shared_leave(&d->group->open);
		return rc;
	}
	*up_arg = &s->client;
	*up = &session_upcalls;
	sluice_accept(
	    l->p->st, listener, eager); /* at once: our own limits hold, not the backlog */
	(void)sluice_pin(l->p->st, eager, true);
	return 0;
}

static void door_unref(struct door *d)
{
	if (shared_unref(&d->refs))
		free(d);
}

static void on_closed(void *arg, sluice_conn_t c)
{
	door_unref(arg);
}

static const struct sluice_upcalls upcalls = {
    .size = sizeof(upcalls),
    .newconn = on_newconn,
    .closed = on_closed,
};

struct listener *listener_new(struct proxy *p, const struct listener_config *cfg, struct door *door)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (l != NULL && door == NULL) {
		door = calloc(1, sizeof(*door) + p->group->n * sizeof(door->of[0]));
		if (door != NULL)
			door->group = p->group;
	}
	if (l == NULL || door == NULL) {
		free(l);
		return NULL;
	}
	SHARED_ADD(door->refs, 1);
	l->p = p;
	l->cfg = *cfg;
	l->door = door;
	l->refs = 1;
	return l;
}

void listener_unref(struct listener *l)
{
	if (--l->refs != 0)
		return;
	listener_set_pools(l, NULL, NULL, 0);
	door_unref(l->door);
	free(l);
}

void listener_set_pools(
    struct listener *l, struct pool *pl, struct route *route, unsigned int nroutes)
{
	struct route *was = l->route;
	struct pool *was_pool = l->pool;
	unsigned int nwas = l->nroutes;

	if (pl != NULL)
		pool_ref(pl);
	for (unsigned int i = 0; i < nroutes; i++)
		pool_ref(route[i].pool);
	l->pool = pl;
	l->route = route;
	l->nroutes = nroutes;
	if (was_pool != NULL)
		pool_unref(was_pool);
	for (unsigned int i = 0; i < nwas; i++)
		pool_unref(was[i].pool);
	free(was);
}

int listener_open(struct listener *l)
{
	const struct sockaddr_storage *a = &l->cfg.addr;
	socklen_t len =
	    a->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	struct sluice_stack *st = l->p->st;
	struct door *d = l->door;
	int rc = sluice_create(
	    st, a->ss_family, SOCK_STREAM, IPPROTO_TCP, (uint32_t)l->cfg.vrf, (int)l->p->id, &d->c);

	if (rc != 0)
		return rc;
	rc = sluice_activate(st, d->c, &upcalls, d);
	if (rc != 0) {
		sluice_close(st, d->c);
		d->c = SLUICE_CONN_NONE;
		return rc;
	}
	SHARED_ADD(d->refs, 1); /* until `closed` */
	rc = sluice_bind(st, d->c, (const struct sockaddr *)a, len);
	if (rc == 0)
		rc = sluice_listen(st, d->c, (int)l->cfg.backlog);
	if (rc != 0)
		listener_close(l);
	return rc;
}

void listener_close(struct listener *l)
{
	struct door *d = l->door;

	if (d->c != SLUICE_CONN_NONE)
		sluice_close(l->p->st, d->c);
	d->c = SLUICE_CONN_NONE;
}

void listener_serve(struct listener *l, bool serve)
{
	l->door->of[l->p->id] = serve ? l : NULL;
}

/* "*.example.org" stands for all names below example.org, and not for itself. */
static bool matches(const char *pattern, const char *host)
{
	size_t n, len = strlen(host);

	if (pattern[0] != '*')
		return strcmp(pattern, host) == 0;
	n = strlen(pattern + 1);
	return len > n && strcmp(host + len - n, pattern + 1) == 0;
}

struct pool *listener_route(const struct listener *l, const char *host)
{
	const struct route *best = NULL;

	for (unsigned int i = 0; i < l->nroutes; i++) {
		const struct route *r = &l->route[i];

		if (!matches(r->host, host))
			continue;
		if (r->host[0] != '*')
			return r->pool;
		if (best == NULL || strlen(r->host) > strlen(best->host))
			best = r; /* the longest pattern */
	}
	return best != NULL ? best->pool : l->pool;
}
