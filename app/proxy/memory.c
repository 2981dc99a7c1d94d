/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Relaying without copying means that the port's receive buffers are held while they wait to be
 * sent. Clients that stop reading hold them for as long as they like, and once none is free the
 * port can receive nothing, not even the ACKs that would free some. So the pools are watched: when
 * few buffers are left nobody new is let in, and of the sessions that do not move the one that has
 * stood longest is reset, one after the other, until there is room again.
 */
#include "proxy.h"

#include <rte_mempool.h>

#define TICK SLUICE_MS(10)
#define STALLED_MIN SLUICE_MS(100) /* who stands shorter may be about to move */
#define SHARE 64 /* one of so many stalled sessions goes in a tick: its buffers come back later */

int memory_poll(struct proxy *p)
{
	struct session *last = TAILQ_LAST(&p->starved, session_list), *s = NULL;
	int n = 0;

	/* Who finds none again stands behind `last`. */
	while (last != NULL && s != last) {
		s = TAILQ_FIRST(&p->starved);
		TAILQ_REMOVE(&p->starved, s, starved);
		s->is_starved = false;
		relay_run(s);
		n++;
	}
	return n;
}

static bool is_short(const struct proxy *p)
{
	for (unsigned int i = 0; i < 2; i++) {
		const struct rte_mempool *mp = p->mp[i];

		if (mp != NULL && (uint64_t)rte_mempool_avail_count(mp) * 100 <
				      (uint64_t)mp->size * p->cfg.memory_low)
			return true;
	}
	return false;
}

static void tick(struct sluice_squeue *sq, void *arg)
{
	struct proxy *p = arg;
	uint64_t now = sluice_squeue_now(sq);
	unsigned int most = 1 + p->nstalled / SHARE;
	struct session *s;

	p->tick = 0;
	p->short_of_memory = is_short(p);
	for (unsigned int i = 0; p->short_of_memory && i < most; i++) {
		s = TAILQ_FIRST(&p->stalled);
		if (s == NULL || now - s->moved < STALLED_MIN)
			break;
		session_reset(s, REASON_MEMORY);
		relay_unlist(s);
	}
	memory_start(p);
}

void memory_start(struct proxy *p)
{
	if (p->tick == 0 && !p->stopped && p->cfg.memory_low != 0 &&
	    (p->mp[0] != NULL || p->mp[1] != NULL))
		(void)sluice_timer_start(p->sq, sluice_squeue_now(p->sq) + TICK, tick, p, &p->tick);
}
