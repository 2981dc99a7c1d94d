/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Health checks: a connect to each backend every interval. That it is accepted is all that is
 * asked; then it is reset, which costs the backend no TIME_WAIT. `fall` failures in a row take a
 * backend down, `rise` successes bring it up again, with a slow start when the pool has one. A
 * backend that is down gets no new sessions; live ones find out for themselves. The first squeue
 * checks for all.
 */
#include "proxy.h"

#include <errno.h>
#include <stdlib.h>

struct check {
	struct proxy *p;
	struct backend *b; /* counted; NULL: stopped, only `closed` is waited for */
	sluice_conn_t c;   /* SLUICE_CONN_NONE: waits for the next check */
	sluice_timer_t timer;
	unsigned int streak; /* results in a row that speak against `up` */
};

static void begin(struct sluice_squeue *sq, void *arg);

static void wait_for(struct check *k, uint64_t ns, sluice_timer_fn fn)
{
	if (k->timer != 0)
		sluice_timer_stop(k->p->sq, k->timer);
	k->timer = 0;
	(void)sluice_timer_start(k->p->sq, sluice_squeue_now(k->p->sq) + ns, fn, k, &k->timer);
}

static void result(struct check *k, bool good)
{
	struct backend *b = k->b;

	COUNT(k->p, checks);
	if (!good)
		COUNT(k->p, checks_failed);
	if (good == SHARED_GET(b->share->up)) {
		k->streak = 0;
		return;
	}
	if (++k->streak < (good ? b->pool->cfg.rise : b->pool->cfg.fall))
		return;
	k->streak = 0;
	if (good)
		SHARED_SET(b->share->up_since, sluice_squeue_now(k->p->sq));
	SHARED_SET(b->share->up, good);
	if (good) {
		COUNT(k->p, backends_up);
	} else {
		COUNT(k->p, backends_down);
	}
}

/* This check is over; the next one begins an interval after this one did. */
static void finish(struct check *k, bool good)
{
	uint64_t interval = k->b->pool->cfg.health_interval;

	result(k, good);
	wait_for(k, interval, begin);
	if (k->c != SLUICE_CONN_NONE)
		sluice_abort(k->p->st, k->c);
}

static void timed_out(struct sluice_squeue *sq, void *arg)
{
	struct check *k = arg;

	k->timer = 0;
	finish(k, false);
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	struct check *k = arg;

	if (k->b != NULL)
		finish(k, true);
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	struct check *k = arg;

	if (k->b != NULL)
		finish(k, false);
}

static void on_closed(void *arg, sluice_conn_t c)
{
	struct check *k = arg;

	k->c = SLUICE_CONN_NONE;
	if (k->b == NULL)
		free(k);
}

static const struct sluice_upcalls upcalls = {
    .size = sizeof(upcalls),
    .connected = on_connected,
    .disconnected = on_disconnected,
    .closed = on_closed,
};

static void begin(struct sluice_squeue *sq, void *arg)
{
	struct check *k = arg;
	const struct pool_config *cfg = &k->b->pool->cfg;
	const struct sockaddr_storage *a = &k->b->cfg.addr;
	bool six = a->ss_family == AF_INET6;
	struct sluice_stack *st = k->p->st;
	int rc;

	k->timer = 0;
	if (k->c != SLUICE_CONN_NONE || /* the last one is still on its way out */
	    sluice_create(st, a->ss_family, SOCK_STREAM, IPPROTO_TCP, (uint32_t)cfg->vrf,
		(int)k->p->id, &k->c) != 0) {
		wait_for(k, cfg->health_interval, begin);
		return; /* says nothing about the backend */
	}
	rc = sluice_activate(st, k->c, &upcalls, k);
	if (rc == 0)
		rc = sluice_pin(st, k->c, true);
	if (rc == 0 && cfg->source[six].n != 0)
		rc = sluice_set_sources(st, k->c, &cfg->source[six].first, cfg->source[six].n);
	if (rc == 0)
		rc = sluice_connect(st, k->c, (const struct sockaddr *)a,
		    six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in), NULL);
	if (rc == -EINPROGRESS) {
		wait_for(k, cfg->health_timeout, timed_out);
	} else if (rc == -EADDRNOTAVAIL) { /* our ports have run out: no news of the backend */
		wait_for(k, cfg->health_interval, begin);
		sluice_abort(st, k->c);
	} else {
		finish(k, false);
	}
}

void health_start(struct proxy *p, struct backend *b, uint64_t first_in)
{
	struct check *k;

	if (b->check != NULL)
		return;
	k = calloc(1, sizeof(*k));
	if (k == NULL)
		return; /* unchecked: it stays as it is */
	k->p = p;
	k->b = b;
	b->check = k;
	backend_ref(b);
	wait_for(k, first_in, begin);
}

void health_stop(struct proxy *p, struct backend *b)
{
	struct check *k = b->check;

	if (k == NULL)
		return;
	b->check = NULL;
	k->b = NULL;
	if (k->timer != 0)
		sluice_timer_stop(p->sq, k->timer);
	if (k->c != SLUICE_CONN_NONE)
		sluice_abort(p->st, k->c);
	else
		free(k);
	backend_unref(b);
}
