/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A squeue that is parked sends its connections away.
 *
 * A timer of its own walks all that live here, a piece at each tick, and asks each to move: one that was
 * born here to the squeue where the port delivers its packets now, when that can be told, so that they
 * need not be forwarded; else to the running ones in turn; a guest to where it was born, if that runs. A
 * walk that found nothing which leaves ends the drain. What stayed then has to, for now: it waits in a
 * listener's queue, is pinned, is below SYN_SENT, is spliced with one that stays, or nobody has room. The
 * walk is repeated slowly as long as something lives here, for reasons pass: what is accepted moves on.
 *
 * Half-open and TIME_WAIT entries stay where their packets arrive, until they end as they would. A
 * handshake that completes makes a connection which is born here and leaves at the end of the pass;
 * newconn is made where it arrives, so that its user never sees it on a parked squeue (half.c, and
 * begin_life in upcall.c). Hence a listener's shard here needs no change at all.
 *
 * When the squeue runs again, what left it on account of the drain is asked to come back (SL_AWAY_PARKED
 * at its door): its packets arrive here again.
 */
#include <errno.h>

#include <tcp/tcp_int.h>

#define SLICE 256            /* slots looked at in one step */
#define EVERY SLUICE_MS(10)  /* between two walks that find nothing */
#define AGAIN SLUICE_MS(100) /* those that did not come back are asked again */
#define RECALLS 64           /* asked back in one step: call slots are others' too */

/* ---- where to ---- */

static bool takes(const struct sluice_squeue *sq, unsigned int to)
{
	return to != sq->id && sl_running(sq->stack, to) && sl_move_room(sq->stack->sq[to]);
}

int sl_drain_to(struct sluice_squeue *sq, const struct sl_conn *c)
{
	struct sl_drain *d = &sl_tcp_of(sq)->drain;
	int at = sl_flow_arrives(sq, &c->flow, &c->key);

	if (at >= 0 && takes(sq, (unsigned int)at))
		return at;
	for (unsigned int i = 0; i < sq->stack->nsq; i++) {
		d->next = (d->next + 1) % sq->stack->nsq;
		if (takes(sq, d->next))
			return (int)d->next;
	}
	return -1;
}

/* ---- away ---- */

/* True: it leaves, now or when its birth squeue has answered. */
static bool send_away(struct sluice_squeue *sq, struct sl_conn *c)
{
	const struct sl_transit *tr = c->door->transit;
	int to;

	if ((c->deferred & SL_D_MOVE) || (sl_conn_guest(sq, c) && tr->asked))
		return true;
	/* Two that are spliced can only go home together, and on from there. */
	if (sl_conn_guest(sq, c) && (c->spliced != 0 || sl_running(sq->stack, c->birth)))
		to = c->birth;
	else
		to = sl_drain_to(sq, c);
	return to >= 0 && sl_move_away(sq, c, (unsigned int)to) == 0;
}

/* A piece of the slab; true: there is more. */
static bool walk(struct sluice_squeue *sq)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_drain *d = &t->drain;

	for (unsigned int n = 0; n < SLICE; n++) {
		d->at = sl_slab_next(&t->conns, d->at);
		if (d->at == 0)
			return false;
		if (sq->doors[d->at].away == 0)
			d->busy |= send_away(sq, sl_slab_get(&t->conns, d->at));
	}
	return true;
}

static void drain(struct sluice_squeue *sq)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_drain *d = &t->drain;
	bool live = t->guests != NULL || t->conns.inuse != d->away;

	if (live && walk(sq)) {
		sl_timer_set(&sq->wheel, &d->timer, sq->now + SL_TICK_NS);
		return;
	}
	for (struct sl_conn *c = t->guests; c != NULL; c = c->door->transit->guest_next)
		d->busy |= send_away(sq, c);
	if (!d->busy)
		sl_park_done(sq);
	if (live)
		sl_timer_set(&sq->wheel, &d->timer, sq->now + (d->busy ? SLUICE_MS(1) : EVERY));
	d->busy = false;
}

/* ---- and back ---- */

static bool ask_back(struct sluice_squeue *sq, uint32_t idx)
{
	uint64_t w = atomic_load_explicit(&sq->doors[idx].word, memory_order_relaxed);

	return (w & SL_BELL_OPEN) == 0 ||
	       sl_conn_post(sq->stack, SL_OP_RECALL, SL_HANDLE(sq->id, idx, w >> 32), NULL) == 0;
}

/* A piece of the slab. Until all are back: some cannot come yet. */
static void recall(struct sluice_squeue *sq)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_drain *d = &t->drain;
	unsigned int asked = 0;

	for (unsigned int n = 0; n < SLICE && asked < RECALLS; n++) {
		uint32_t at = sl_slab_next(&t->conns, d->at);

		if (at == 0) {
			if (d->busy)
				sl_timer_set(&sq->wheel, &d->timer, sq->now + AGAIN);
			d->recall = d->busy;
			d->busy = false;
			d->at = 0;
			return;
		}
		if (sq->doors[at].away & SL_AWAY_PARKED) {
			if (!ask_back(sq, at))
				break; /* no call slot */
			d->busy = true;
			asked++;
		}
		d->at = at;
	}
	sl_timer_set(&sq->wheel, &d->timer, sq->now + SL_TICK_NS);
}

void sl_drain_timer(void *arg, struct sl_timer *timer)
{
	struct sluice_squeue *sq = arg;
	struct sl_drain *d = &sl_tcp_of(sq)->drain;

	(void)timer;
	if (d->on)
		drain(sq);
	else if (d->recall)
		recall(sq);
}

int64_t sl_drain_op(struct sluice_squeue *sq, bool on)
{
	struct sl_drain *d = &sl_tcp_of(sq)->drain;

	if (on)
		SL_COUNT(sq, sq_parks);
	d->on = on;
	d->recall = !on;
	d->busy = false;
	d->at = 0;
	sl_timer_set(&sq->wheel, &d->timer, sq->now);
	return 0;
}
