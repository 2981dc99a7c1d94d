/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The relay. splice moves what one connection has received to the send queue of the other: the
 * very buffers that the port filled, without a look at what is in them.
 *
 * Back-pressure needs no code of its own. When a side's send buffer is full, splice moves nothing,
 * what its peer has sent stays in that peer's receive queue, and TCP closes the window. When the
 * buffer has drained, txq_full(false) runs the relay again. So a session holds at most two receive
 * and two send buffers, whatever its ends do.
 *
 * A FIN is handed on when all bytes before it have been.
 */
#include "proxy.h"

#include <errno.h>

static void list_starved(struct session *s)
{
	if (s->is_starved)
		return;
	COUNT(s->p, starved);
	TAILQ_INSERT_TAIL(&s->p->starved, s, starved);
	s->is_starved = true;
}

static void unlist_stalled(struct session *s)
{
	TAILQ_REMOVE(&s->p->stalled, s, stalled);
	s->p->nstalled--;
	s->is_stalled = false;
}

/* In the order in which they stalled, for when memory is short. One that moves goes to the end. */
static void list_stalled(struct session *s, bool progress)
{
	bool is = s->client.stalled || s->server.stalled;

	if (s->is_stalled && (!is || progress))
		unlist_stalled(s);
	if (is && !s->is_stalled) {
		TAILQ_INSERT_TAIL(&s->p->stalled, s, stalled);
		s->p->nstalled++;
		s->is_stalled = true;
	}
}

void relay_ended(struct session *s, bool in_order)
{
	relay_unlist(s);
	if (!in_order)
		return;
	/* What it has left to send is held until it is acknowledged: it counts as stalled. */
	TAILQ_INSERT_TAIL(&s->p->stalled, s, stalled);
	s->p->nstalled++;
	s->is_stalled = true;
}

void relay_unlist(struct session *s)
{
	if (s->is_stalled)
		unlist_stalled(s);
	if (s->is_starved)
		TAILQ_REMOVE(&s->p->starved, s, starved);
	s->is_starved = false;
}

/* One direction. Returns the bytes moved. */
static uint64_t move(struct session *s, struct side *from, struct side *to)
{
	struct sluice_stack *st = s->p->st;
	uint64_t moved = 0;
	ssize_t n;

	to->stalled = false;
	while ((n = sluice_splice(st, from->c, to->c, SIZE_MAX)) > 0)
		moved += (uint64_t)n;
	if (n == -EAGAIN && sluice_readable(st, from->c) > 0) {
		to->stalled = true;
		COUNT(s->p, stalls);
	} else if (n == 0 && sluice_readable(st, from->c) > 0) {
		list_starved(s); /* a part of a buffer is copied, and there was none for the copy */
	}
	from->bytes += moved;
	if (from->eof && !to->shut && sluice_readable(st, from->c) == 0) {
		sluice_shutdown(st, to->c, SLUICE_SHUT_WR);
		to->shut = true;
		s->moved = sluice_squeue_now(s->p->sq);
	}
	return moved;
}

void relay_run(struct session *s)
{
	struct proxy *p = s->p;
	uint64_t up = move(s, &s->client, &s->server), down = move(s, &s->server, &s->client);

	COUNT_N(p, bytes_to_backend, up);
	COUNT_N(p, bytes_to_client, down);
	if (up + down > 0)
		s->moved = sluice_squeue_now(p->sq);
	if (s->client.shut && s->server.shut) {
		session_end(s, REASON_DONE);
		return;
	}
	list_stalled(s, up + down > 0);
}
