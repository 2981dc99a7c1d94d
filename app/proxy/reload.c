/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A new configuration, and the end.
 *
 * A change is planned first: all that is new is made and its listeners are opened, which is all
 * that can fail; then the plan takes the place of what was, in one step, between two packets. What
 * has the same name stays the same object (a pool; a backend with its address; a listener is known
 * by its address), so health, connection counts and live sessions go on. What is gone takes no new
 * sessions and is freed by its last one.
 *
 * Each squeue has a plan of the same configuration, hence of the same shape: the others find what
 * they share (doors, shares of backends) in the first one's, at the same place. Only when all have
 * planned do they commit, the first one last, so that its plan is there to the end of all others'.
 */
#include "proxy.h"
#include "../common/parse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPARE_TIMERS 8

struct plan {
	const struct config *c;
	const struct plan *first;   /* the first squeue's; NULL: this is it */
	struct listener **listener; /* c->nlisteners; of them those that are_new are open */
	struct pool **pool;
	struct backend ***backend; /* of each pool, as many as nbackends says */
	unsigned int *nbackends;
	bool *new_listener, *new_pool;
	struct route **route;
	unsigned int *nroutes;
};

static int fail(char *err, size_t errlen, int rc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int fail(char *err, size_t errlen, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, errlen, fmt, ap);
	va_end(ap);
	return rc;
}

/* ---- the plan ---- */

static struct pool *find_pool(struct proxy *p, const char *name)
{
	for (unsigned int i = 0; i < p->npools; i++)
		if (strcmp(p->pool[i]->cfg.name, name) == 0)
			return p->pool[i];
	return NULL;
}

static struct listener *find_listener(struct proxy *p, const struct listener_config *lc)
{
	for (unsigned int i = 0; i < p->nlisteners; i++)
		if (p->listener[i]->cfg.vrf == lc->vrf &&
		    memcmp(&p->listener[i]->cfg.addr, &lc->addr, sizeof(lc->addr)) == 0)
			return p->listener[i];
	return NULL;
}

static struct backend *find_backend(struct pool *pl, const struct backend_config *bc)
{
	for (unsigned int i = 0; i < pl->nbackends; i++)
		if (backend_same(pl->backend[i], bc))
			return pl->backend[i];
	return NULL;
}

/* A backend that an existing pool has already; else it is new. */
static bool is_member(const struct pool *pl, const struct backend *b)
{
	for (unsigned int i = 0; i < pl->nbackends; i++)
		if (pl->backend[i] == b)
			return true;
	return false;
}

static int plan_pools(struct proxy *p, struct plan *n)
{
	const struct config *c = n->c;

	for (unsigned int i = 0; i < c->npools; i++) {
		n->pool[i] = find_pool(p, c->pool[i].name);
		n->new_pool[i] = n->pool[i] == NULL;
		if (n->new_pool[i])
			n->pool[i] = pool_new(&c->pool[i]);
		if (n->pool[i] == NULL)
			return -ENOMEM;
		n->backend[i] = calloc(c->nbackends + 1, sizeof(*n->backend[i]));
		if (n->backend[i] == NULL)
			return -ENOMEM;
		for (unsigned int k = 0; k < c->nbackends; k++) {
			struct backend *b;

			if (c->backend[k].pool != (int)i)
				continue;
			b = find_backend(n->pool[i], &c->backend[k]);
			if (b == NULL)
				b = backend_new(&c->backend[k],
				    n->first != NULL ? n->first->backend[i][n->nbackends[i]]->share
						     : NULL);
			if (b == NULL)
				return -ENOMEM;
			n->backend[i][n->nbackends[i]++] = b;
		}
	}
	return 0;
}

/* A listener's routes, with the text of their hosts behind them. */
static int plan_routes(struct plan *n, unsigned int i)
{
	const struct config *c = n->c;
	unsigned int count = 0;
	size_t text = 0;
	char *host;

	for (unsigned int k = 0; k < c->nroutes; k++)
		if (c->route[k].listener == (int)i) {
			count++;
			text += strlen(c->route[k].host) + 1;
		}
	n->route[i] = malloc(count * sizeof(struct route) + text + 1);
	if (n->route[i] == NULL)
		return -ENOMEM;
	host = (char *)(n->route[i] + count);
	for (unsigned int k = 0; k < c->nroutes; k++)
		if (c->route[k].listener == (int)i) {
			n->route[i][n->nroutes[i]++] =
			    (struct route){host, n->pool[c->route[k].pool]};
			strcpy(host, c->route[k].host);
			host += strlen(host) + 1;
		}
	return 0;
}

static int plan_listeners(struct proxy *p, struct plan *n, char *err, size_t errlen)
{
	for (unsigned int i = 0; i < n->c->nlisteners; i++) {
		const struct listener_config *lc = &n->c->listener[i];
		int rc = plan_routes(n, i);

		if (rc != 0)
			return rc;
		n->listener[i] = find_listener(p, lc);
		if (n->listener[i] != NULL)
			continue;
		n->listener[i] =
		    listener_new(p, lc, n->first != NULL ? n->first->listener[i]->door : NULL);
		if (n->listener[i] == NULL)
			return -ENOMEM;
		n->new_listener[i] = true;
		rc = n->first == NULL ? listener_open(n->listener[i]) : 0;
		if (rc != 0)
			return fail(err, errlen, rc, "%d: listener %s cannot be opened: %s",
			    lc->line, lc->name, strerror(-rc));
	}
	return 0;
}

static void plan_free(struct plan *n)
{
	for (unsigned int i = 0; n->backend != NULL && i < n->c->npools; i++)
		free(n->backend[i]);
	free(n->backend);
	free(n->nbackends);
	free(n->new_listener);
	free(n->new_pool);
	free(n->route);
	free(n->nroutes);
}

/* Nothing of it came to be. */
static void plan_undo(struct plan *n)
{
	for (unsigned int i = 0; n->listener != NULL && i < n->c->nlisteners; i++)
		if (n->new_listener[i]) {
			if (n->first == NULL)
				listener_close(n->listener[i]);
			listener_unref(n->listener[i]);
		}
	for (unsigned int i = 0; n->pool != NULL && i < n->c->npools; i++) {
		struct pool *pl = n->pool[i];

		for (unsigned int k = 0; pl != NULL && k < n->nbackends[i]; k++)
			if (!is_member(pl, n->backend[i][k]))
				backend_unref(n->backend[i][k]);
		if (pl != NULL && n->new_pool[i])
			pool_unref(pl);
	}
	for (unsigned int i = 0; n->route != NULL && i < n->c->nlisteners; i++)
		free(n->route[i]);
	free(n->listener);
	free(n->pool);
	plan_free(n);
}

static int plan_alloc(struct plan *n)
{
	size_t nl = n->c->nlisteners + 1u, np = n->c->npools + 1u;

	n->listener = calloc(nl, sizeof(*n->listener));
	n->new_listener = calloc(nl, sizeof(*n->new_listener));
	n->route = calloc(nl, sizeof(*n->route));
	n->nroutes = calloc(nl, sizeof(*n->nroutes));
	n->pool = calloc(np, sizeof(*n->pool));
	n->new_pool = calloc(np, sizeof(*n->new_pool));
	n->backend = calloc(np, sizeof(*n->backend));
	n->nbackends = calloc(np, sizeof(*n->nbackends));
	return n->listener == NULL || n->new_listener == NULL || n->route == NULL ||
		       n->nroutes == NULL || n->pool == NULL || n->new_pool == NULL ||
		       n->backend == NULL || n->nbackends == NULL
		   ? -ENOMEM
		   : 0;
}

/* ---- the step ---- */

static void backend_drop(struct proxy *p, struct backend *b)
{
	b->pool = NULL;
	health_stop(p, b);
	backend_unref(b);
}

/* Nobody new finds it. Clients that were on their way to it still arrive. */
static void pool_drop(struct proxy *p, struct pool *pl)
{
	for (unsigned int i = 0; i < pl->nbackends; i++)
		health_stop(p, pl->backend[i]);
	pool_unref(pl);
}

static bool is_planned(const struct plan *n, unsigned int i, const struct backend *b)
{
	for (unsigned int k = 0; k < n->nbackends[i]; k++)
		if (n->backend[i][k] == b)
			return true;
	return false;
}

/* Checks as the pool wants them now, spread over the interval. */
static void backend_check(struct proxy *p, struct pool *pl, unsigned int k)
{
	struct backend *b = pl->backend[k];

	if (pl->cfg.health_interval == 0) {
		health_stop(p, b);
		SHARED_SET(b->share->up, true);
	} else if (!p->draining && p->id == 0) {
		health_start(p, b, pl->cfg.health_interval * k / pl->nbackends);
	}
}

static void commit_pool(struct proxy *p, struct plan *n, unsigned int i, bool first)
{
	struct pool *pl = n->pool[i];
	struct backend **was = pl->backend;
	unsigned int nwas = pl->nbackends, at = 0;

	for (unsigned int k = 0; k < n->nbackends[i]; k++) {
		struct backend *b = n->backend[i][k];

		if (!is_member(pl, b) && !first && p->id == 0)
			SHARED_SET(b->share->up_since, sluice_squeue_now(p->sq));
		b->pool = pl;
	}
	for (unsigned int k = 0; k < nwas; k++)
		if (!is_planned(n, i, was[k]))
			backend_drop(p, was[k]);
	free(was);
	pl->cfg = n->c->pool[i];
	pl->backend = n->backend[i];
	pl->nbackends = n->nbackends[i];
	n->backend[i] = NULL;
	for (unsigned int k = 0; k < n->c->nbackends; k++)
		if (n->c->backend[k].pool == (int)i) /* in the order in which they were planned */
			pl->backend[at++]->cfg = n->c->backend[k];
	for (unsigned int k = 0; k < pl->nbackends; k++)
		backend_check(p, pl, k);
}

static void commit_listeners(struct proxy *p, struct plan *n)
{
	const struct config *c = n->c;

	for (unsigned int i = 0; i < p->nlisteners; i++) {
		bool kept = false;

		for (unsigned int k = 0; k < c->nlisteners; k++)
			kept |= n->listener[k] == p->listener[i];
		if (!kept) {
			listener_serve(p->listener[i], false);
			if (p->id == 0)
				listener_close(p->listener[i]);
			listener_unref(p->listener[i]);
		}
	}
	for (unsigned int i = 0; i < c->nlisteners; i++) {
		struct listener *l = n->listener[i];

		if (p->id == 0 && l->cfg.backlog != c->listener[i].backlog)
			(void)sluice_listen(p->st, l->door->c, (int)c->listener[i].backlog);
		l->cfg = c->listener[i];
		listener_set_pools(
		    l, l->cfg.pool < 0 ? NULL : n->pool[l->cfg.pool], n->route[i], n->nroutes[i]);
		listener_serve(l, true);
	}
}

static void commit(struct proxy *p, struct plan *n)
{
	const struct config *c = n->c;
	bool first = p->npools == 0 && p->nlisteners == 0;

	commit_listeners(p, n);
	for (unsigned int i = 0; i < p->npools; i++) {
		bool kept = false;

		for (unsigned int k = 0; k < c->npools; k++)
			kept |= n->pool[k] == p->pool[i];
		if (!kept)
			pool_drop(p, p->pool[i]);
	}
	for (unsigned int i = 0; i < c->npools; i++)
		commit_pool(p, n, i, first);
	free(p->listener);
	free(p->pool);
	p->listener = n->listener;
	p->nlisteners = c->nlisteners;
	p->pool = n->pool;
	p->npools = c->npools;
	p->cfg = c->global;
	plan_free(n);
	if (p->id == 0)
		COUNT(p, reloads);
	memory_start(p);
}

static int check_limits(struct proxy *p, const struct config *c, char *err, size_t errlen)
{
	uint64_t timers = 0, need = c->global.max_sessions + c->nbackends + SPARE_TIMERS;

	if (p->draining || p->stopped)
		return fail(err, errlen, -ESHUTDOWN, "0: the proxy is about to end");
	(void)sluice_tunable_get(p->st, "squeue.app_timers", &timers);
	if (timers < need)
		return fail(err, errlen, -EINVAL,
		    "0: this many sessions and backends need the tunable squeue.app_timers to be "
		    "%llu or more",
		    (unsigned long long)need);
	return 0;
}

static int plan(struct proxy *p, const struct change *ch)
{
	struct plan *n = calloc(1, sizeof(*n));
	int rc = n == NULL ? -ENOMEM : check_limits(p, ch->c, ch->err, ch->errlen);

	if (rc != 0) {
		free(n);
		COUNT(p, reloads_refused);
		return rc;
	}
	n->c = ch->c;
	n->first = p->id == 0 ? NULL : p->group->of[0].plan;
	rc = plan_alloc(n);
	if (rc == 0)
		rc = plan_pools(p, n);
	if (rc == 0)
		rc = plan_listeners(p, n, ch->err, ch->errlen);
	if (rc != 0) {
		plan_undo(n);
		free(n);
		COUNT(p, reloads_refused);
		return rc;
	}
	p->plan = n;
	return 0;
}

int proxy_change(struct proxy *p, enum change_step step, const struct change *ch)
{
	if (step == CHANGE_PLAN)
		return plan(p, ch);
	if (step == CHANGE_COMMIT)
		commit(p, p->plan);
	else
		plan_undo(p->plan);
	free(p->plan);
	p->plan = NULL;
	return 0;
}

static int run_here(void *arg, struct proxy *p, enum change_step step, const struct change *ch)
{
	return proxy_change(p, step, ch);
}

int proxy_apply(struct proxy_group *g, const struct config *c, char *err, size_t errlen,
    int (*run)(void *arg, struct proxy *p, enum change_step step, const struct change *ch),
    void *arg)
{
	struct change ch = {.c = c, .err = err, .errlen = errlen};
	enum change_step last = CHANGE_COMMIT;
	unsigned int planned = 0;
	int rc = 0;

	if (run == NULL)
		run = run_here;
	err[0] = '\0';
	while (rc == 0 && planned < g->n) {
		rc = run(arg, &g->of[planned], CHANGE_PLAN, &ch);
		planned += rc == 0;
	}
	if (rc != 0) {
		last = CHANGE_UNDO;
		if (err[0] == '\0')
			fail(err, errlen, rc, "0: %s", strerror(-rc));
	}
	while (planned > 0)
		(void)run(arg, &g->of[--planned], last, &ch);
	return rc;
}

int proxy_set(
    struct proxy *p, const char *pool, const char *backend, const char *name, const char *value)
{
	struct pool *pl = find_pool(p, pool);

	for (unsigned int i = 0; pl != NULL && i < pl->nbackends; i++)
		if (strcmp(pl->backend[i]->cfg.name, backend) == 0)
			return config_backend_set(&pl->backend[i]->cfg, name, value);
	return -ENOENT;
}

/* ---- the end ---- */

static void reset_all(struct proxy *p, enum reason why)
{
	struct session *s;

	TAILQ_FOREACH (s, &p->all, all)
		session_reset(s, why);
}

static void drain_is_over(struct sluice_squeue *sq, void *arg)
{
	struct proxy *p = arg;

	p->drain = 0;
	reset_all(p, REASON_DRAIN);
}

static void close_doors(struct proxy *p)
{
	for (unsigned int i = 0; i < p->nlisteners; i++) {
		listener_serve(p->listener[i], false);
		if (p->id == 0)
			listener_close(p->listener[i]);
	}
	for (unsigned int i = 0; i < p->npools; i++)
		for (unsigned int k = 0; k < p->pool[i]->nbackends; k++)
			health_stop(p, p->pool[i]->backend[k]);
}

void proxy_drain(struct proxy *p)
{
	if (p->draining || p->stopped)
		return;
	p->draining = true;
	close_doors(p);
	if (sluice_timer_start(p->sq, sluice_squeue_now(p->sq) + p->cfg.drain_time, drain_is_over,
		p, &p->drain) != 0)
		reset_all(p, REASON_DRAIN);
}

void proxy_stop(struct proxy *p)
{
	if (p->stopped)
		return;
	p->stopped = true;
	close_doors(p);
	if (p->tick != 0)
		sluice_timer_stop(p->sq, p->tick);
	if (p->drain != 0)
		sluice_timer_stop(p->sq, p->drain);
	p->tick = p->drain = 0;
	reset_all(p, REASON_STOP);
}

/* ---- the beginning ---- */

static int app_poll(struct sluice_squeue *sq, void *arg)
{
	struct proxy_group *g = arg;

	return memory_poll(&g->of[sluice_squeue_id(sq)]);
}

struct sluice_app proxy_app(struct proxy_group *g)
{
	return (struct sluice_app){.size = sizeof(struct sluice_app), .poll = app_poll, .arg = g};
}

static int init_one(struct proxy *p, struct proxy_group *g, const struct proxy_params *pp)
{
	p->group = g;
	p->id = (unsigned int)(p - g->of);
	p->st = pp->st;
	p->sq = sluice_squeue(pp->st, p->id);
	p->mp[0] = pp->pool[0];
	p->mp[1] = pp->pool[1];
	p->log_on = pp->access_log;
	TAILQ_INIT(&p->all);
	TAILQ_INIT(&p->starved);
	TAILQ_INIT(&p->stalled);
	return access_init(&p->log);
}

int proxy_init(struct proxy_group *g, const struct proxy_params *pp)
{
	int rc;

	memset(g, 0, sizeof(*g));
	g->n = sluice_stack_nsqueues(pp->st);
	g->of = calloc(g->n, sizeof(*g->of));
	rc = g->of == NULL ? -ENOMEM : sources_init(&g->sources, pp->seed);
	for (unsigned int i = 0; rc == 0 && i < g->n; i++)
		rc = init_one(&g->of[i], g, pp);
	if (rc != 0)
		proxy_fini(g);
	return rc;
}

static void fini_one(struct proxy *p)
{
	for (unsigned int i = 0; i < p->nlisteners; i++)
		listener_unref(p->listener[i]);
	for (unsigned int i = 0; i < p->npools; i++)
		pool_unref(p->pool[i]);
	free(p->listener);
	free(p->pool);
	access_fini(&p->log);
}

void proxy_fini(struct proxy_group *g)
{
	for (unsigned int i = 0; g->of != NULL && i < g->n; i++)
		fini_one(&g->of[i]);
	free(g->of);
	g->of = NULL;
	g->n = 0;
	sources_fini(&g->sources);
}

void proxy_counters_get(const struct proxy_group *g, struct proxy_counters *out)
{
	memset(out, 0, sizeof(*out));
	for (unsigned int k = 0; k < g->n; k++) {
		const uint64_t *from = (const uint64_t *)&g->of[k].n;

		for (size_t i = 0; i < sizeof(*out) / sizeof(uint64_t); i++)
			((uint64_t *)out)[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	}
}

static void say(char *buf, size_t len, size_t *at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void say(char *buf, size_t len, size_t *at, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(*at < len ? buf + *at : NULL, *at < len ? len - *at : 0, fmt, ap);
	va_end(ap);
	*at += n > 0 ? (size_t)n : 0;
}

size_t proxy_dump(struct proxy *p, char *buf, size_t len)
{
	uint64_t now = sluice_squeue_now(p->sq);
	size_t at = 0;

	for (unsigned int i = 0; i < p->nlisteners; i++)
		say(buf, len, &at, "listener %s: %u sessions\n", p->listener[i]->cfg.name,
		    SHARED_GET(p->listener[i]->door->active));
	for (unsigned int i = 0; i < p->npools; i++)
		for (unsigned int k = 0; k < p->pool[i]->nbackends; k++) {
			const struct backend *b = p->pool[i]->backend[k];
			const struct share *sh = b->share;
			char a[INET6_ADDRSTRLEN];

			say(buf, len, &at,
			    "backend %s/%s %s port %llu: %s, weight %.2f, %u connections, %llu in "
			    "all, %llu failed\n",
			    p->pool[i]->cfg.name, b->cfg.name,
			    app_addr_text(&b->cfg.addr, a, sizeof(a)),
			    (unsigned long long)b->cfg.port, SHARED_GET(sh->up) ? "up" : "down",
			    balance_weight(b, now) / 256.0, SHARED_GET(sh->active),
			    (unsigned long long)SHARED_GET(sh->total),
			    (unsigned long long)SHARED_GET(sh->failed));
		}
	return at;
}
