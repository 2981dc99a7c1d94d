/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A port is set up anew, because it asked for that (RTE_ETH_EVENT_INTR_RESET) or somebody else did,
 * while squeues run on it and connections live.
 *
 * What must not happen is that a squeue is in the port's rx or tx meanwhile. So each squeue is told by
 * an entry to leave the port: from then on it has, in its own copy, a driver in the port's place
 * that receives nothing and takes nothing, as a port does whose link is down and whose ring is full.
 * What waits to be sent stays staged. When all have left, the driver's `reset` runs; then entries
 * give them the port back. Where packets arrive is asked of the port itself all the time: the driver
 * keeps key and table over a reset, or a tuple would change its place.
 *
 * Nobody waits: sluice_ports_serve() goes as far as it can, and on the next time. Only the reset
 * itself takes the time that the port needs, on the thread that serves.
 */
#include "sq_priv.h"

#include <errno.h>

enum step {
	LEAVE,
	COME_BACK,
};

static uint16_t off_rx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	return 0;
}

static uint16_t off_tx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	return 0;
}

static void off_make(struct sl_port_reset *r, const struct sluice_driver *d)
{
	r->off = *d->ops;
	r->off.rx = off_rx;
	r->off.tx = off_tx;
	r->off.next = NULL;
	r->off.idle = NULL;
	r->off.arm = NULL;
	r->off.disarm = NULL;
	r->off.events = NULL;
}

/* An entry of sluice_ports_serve. */
int64_t sl_port_op(struct sluice_squeue *sq, const struct sluice_args *args)
{
	unsigned int port = (unsigned int)args->a[0];
	struct sl_port_reset *r = &sq->stack->reset[port];

	if (args->a[1] == LEAVE) {
		sl_idle_end(sq);
		sq->port[port].drv.ops = &r->off;
	} else {
		sq->port[port].drv.ops = sq->stack->port[port].ops;
	}
	/* Releases what this squeue did with the port; acquired in all_did. */
	atomic_fetch_or(&r->did, 1ull << sq->id);
	return 0;
}

/* Tell the squeues that were not told yet. */
static void tell(struct sluice_stack *st, unsigned int port, enum step step)
{
	struct sl_port_reset *r = &st->reset[port];
	struct sluice_args a = {.a = {port, step}};

	for (unsigned int i = 0; i < st->nsq; i++)
		if ((r->told & 1ull << i) == 0 &&
		    sl_post(st, i, SL_OP_PORT, SLUICE_CONN_NONE, &a) == 0)
			r->told |= 1ull << i;
}

static bool all_did(struct sluice_stack *st, struct sl_port_reset *r)
{
	uint64_t all = st->nsq == 64 ? UINT64_MAX : (1ull << st->nsq) - 1;

	return atomic_load(&r->did) == all;
}

static void next_step(struct sl_port_reset *r, enum sl_reset_step to)
{
	r->told = 0;
	atomic_store(&r->did, 0);
	r->step = to;
}

/* As far as it goes now. 1: a reset was made, 0, or what it said. */
static int serve(struct sluice_stack *st, unsigned int port)
{
	struct sl_port_reset *r = &st->reset[port];
	struct sluice_driver *d = &st->port[port];
	int rc = 0;

	if (r->step == SL_RESET_NONE) {
		if (!atomic_exchange(&r->wanted, false))
			return 0;
		off_make(r, d);
		next_step(r, SL_RESET_LEAVING);
	}
	if (r->step == SL_RESET_LEAVING) {
		tell(st, port, LEAVE);
		if (!all_did(st, r))
			return 0;
		rc = d->ops->reset(d->ctx);
		if (rc < 0) {
			/* It stays without us; whoever serves tries again. */
			return rc;
		}
		next_step(r, SL_RESET_RETURNING);
		rc = 1;
	}
	if (r->step == SL_RESET_RETURNING) {
		tell(st, port, COME_BACK);
		if (all_did(st, r)) {
			r->step = SL_RESET_NONE;
			atomic_fetch_add_explicit(&st->nports_changed, 1, memory_order_release);
		}
	}
	return rc;
}

int sluice_ports_serve(struct sluice_stack *st)
{
	int n = 0, err = 0;

	if (pthread_mutex_trylock(&st->reset_lock) != 0)
		return 0; /* somebody does */
	for (unsigned int port = 0; port < st->nports; port++) {
		int rc = st->port[port].ops->reset == NULL ? 0 : serve(st, port);

		if (rc > 0)
			n++;
		else if (rc < 0)
			err = rc;
	}
	pthread_mutex_unlock(&st->reset_lock);
	return err < 0 ? err : n;
}

int sluice_port_reset(struct sluice_stack *st, unsigned int port)
{
	if (port >= st->nports)
		return -ENOENT;
	if (st->port[port].ops->reset == NULL)
		return -ENOTSUP;
	atomic_store(&st->reset[port].wanted, true);
	return 0;
}
