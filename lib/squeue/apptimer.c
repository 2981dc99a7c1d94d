/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Timers of the application: nodes of the squeue's wheel in a slab. The handle is generation << 32
 * | slab index; the generations lie outside the slab, whose memory comes and goes. A generation is
 * odd while its timer is armed, so a handle of a timer that fired never matches.
 */
#include "sq_priv.h"

#include <errno.h>
#include <sys/mman.h>

struct app_timer {
	struct sl_timer t;
	sluice_timer_fn fn;
	void *arg;
	uint32_t idx;
};

static void give_back(struct sl_sq_priv *p, uint32_t idx)
{
	p->timer_gen[idx]++;
	sl_slab_free(&p->timers, idx);
}

static void fire(void *arg, struct sl_timer *t)
{
	struct sluice_squeue *sq = arg;
	struct app_timer *a = SL_CONTAINER_OF(t, struct app_timer, t);
	sluice_timer_fn fn = a->fn;
	void *fn_arg = a->arg;

	/* Before the call, which may start another one. */
	give_back(sq->priv, a->idx);
	fn(sq, fn_arg);
}

int sl_app_timers_init(struct sluice_squeue *sq)
{
	struct sl_sq_priv *p = sq->priv;
	void *gen;
	int rc;

	p->timer_cap = SL_APP_TIMERS_CAP;
	if (sq->tun.app_timers > p->timer_cap)
		p->timer_cap = (uint32_t)sq->tun.app_timers;
	rc = sl_slab_init(&p->timers, sizeof(struct app_timer), p->timer_cap,
	    sq->stack->mem.alloc != NULL ? &sq->stack->mem : NULL);
	if (rc < 0)
		return rc;
	p->timer_gen_len = ((size_t)p->timer_cap + 1) * sizeof(uint32_t);
	gen = mmap(NULL, p->timer_gen_len, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (gen == MAP_FAILED) {
		sl_slab_fini(&p->timers);
		return -ENOMEM;
	}
	p->timer_gen = gen;
	sq->wheel.fn[SL_TIMER_APP] = fire;
	sq->wheel.arg[SL_TIMER_APP] = sq;
	return 0;
}

void sl_app_timers_fini(struct sluice_squeue *sq)
{
	munmap(sq->priv->timer_gen, sq->priv->timer_gen_len);
	sl_slab_fini(&sq->priv->timers);
}

uint32_t sl_app_timers(const struct sluice_squeue *sq)
{
	return sq->priv->timers.inuse;
}

int sluice_timer_start(
    struct sluice_squeue *sq, uint64_t at, sluice_timer_fn fn, void *arg, sluice_timer_t *t)
{
	struct sl_sq_priv *p = sq->priv;
	struct app_timer *a;
	uint32_t idx;

	if (!sl_on_squeue(sq))
		return -EPERM;
	if (p->timers.inuse >= sq->tun.app_timers)
		return -ENOBUFS;
	a = sl_slab_alloc(&p->timers, &idx);
	if (a == NULL)
		return -ENOBUFS;
	a->fn = fn;
	a->arg = arg;
	a->idx = idx;
	a->t.kind = SL_TIMER_APP;
	p->timer_gen[idx]++;
	SL_CHECK(p->timer_gen[idx] & 1);
	sl_timer_set(&sq->wheel, &a->t, at);
	*t = (uint64_t)p->timer_gen[idx] << 32 | idx;
	return 0;
}

int sluice_timer_stop(struct sluice_squeue *sq, sluice_timer_t t)
{
	struct sl_sq_priv *p = sq->priv;
	uint32_t idx = (uint32_t)t, gen = (uint32_t)(t >> 32);
	struct app_timer *a;

	if (!sl_on_squeue(sq))
		return -EPERM;
	if (idx == 0 || idx > p->timer_cap || (gen & 1) == 0 || p->timer_gen[idx] != gen)
		return -ENOENT;
	a = sl_slab_get(&p->timers, idx);
	sl_timer_cancel(&sq->wheel, &a->t);
	give_back(p, idx);
	return 0;
}
