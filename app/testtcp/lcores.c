/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lcores that leave while connections live, and come back. The squeue is parked; when that is done its
 * lcore ends its loop, and the EAL has it back. Connections are pinned: each stays with its shard, which
 * is then served by the lcore of another squeue, as is the shard's own work (app_poll in sl.c). The main
 * lcore looks now and then whose squeue runs again, and launches its loop.
 */
#include "testtcp.h"

#include <errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>

static bool comes_and_goes(const struct run *r)
{
	return r->cfg->stack == STACK_SLUICE && (r->cfg->lcore_cycle != 0 || r->cfg->interactive);
}

static bool parked(const struct worker *w)
{
	for (unsigned int i = 0; i < w->nshards; i++)
		if (sluice_squeue_state(w->shard[i]->tp_data) != SLUICE_SQUEUE_PARKED)
			return false;
	return true;
}

bool lcore_may_leave(const struct worker *w)
{
	return !w->main && comes_and_goes(w->run) && parked(w);
}

int lcore_park(struct endpoint *ep, unsigned int id, bool park)
{
	if (ep->cfg->stack != STACK_SLUICE)
		return -ENOTSUP;
	if (id >= ep->nshards)
		return -EINVAL;
	return park ? sluice_squeue_park(ep->stack.st, id) : sluice_squeue_unpark(ep->stack.st, id);
}

/* All squeues of a worker. The last one that runs of an end says -EBUSY: then this lcore stays. */
static int park_worker(struct run *r, unsigned int i, bool park)
{
	struct shard *sh = r->worker[i].shard[0];

	return lcore_park(sh->ep, sh->id, park);
}

static void cycle(struct run *r, uint64_t now)
{
	int rc;

	if (r->away != 0) {
		rc = park_worker(r, r->away, false);
		if (rc == 0) {
			r->away = 0;
			r->cycles++;
		}
	} else {
		r->next_away = r->next_away % (r->nworkers - 1) + 1; /* not the main one */
		rc = r->phase < PH_DRAIN ? park_worker(r, r->next_away, true) : -EBUSY;
		if (rc == 0)
			r->away = r->next_away;
	}
	if (rc != -EAGAIN) /* tables were just being changed */
		r->next_cycle = now + r->cfg->lcore_cycle;
}

void lcores_control(struct run *r, uint64_t now)
{
	if (!comes_and_goes(r))
		return;
	for (unsigned int i = 1; i < r->nworkers; i++) {
		unsigned int lcore = r->worker_lcore[i];

		if (rte_eal_get_lcore_state(lcore) != WAIT || parked(&r->worker[i]))
			continue;
		rte_eal_wait_lcore(lcore);
		(void)rte_eal_remote_launch(r->work, &r->worker[i], lcore);
	}
	if (r->cfg->lcore_cycle != 0 && r->nworkers > 1 && now >= r->next_cycle)
		cycle(r, now);
}
