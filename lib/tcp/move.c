/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection moves from one squeue to another.
 *
 * Its memory and its door stay in the slab and the array of its birth squeue for life: the handle
 * says so, and pointers to the connection stay good. What moves is who touches it. A connection that
 * lives elsewhere is a guest there. The birth squeue stays its address: packets arrive there (a
 * passive connection is born where its SYN arrives, an active one has a port that steers there) and
 * so do entries (lib/squeue/mail.c), and both go on to the owner, packets by a forwarding entry in
 * the table, entries by the door. Every move therefore begins or ends at the birth squeue, and one
 * from guest to guest is two.
 *
 * Out, to squeue B:	the owner, which is the birth squeue A, lets go at the end of a pass. From then
 *			on A's table forwards the packets, A's door the entries. ARRIVE carries the
 *			connection over; B finds it before any packet or entry that A sent after it
 *			(arrivals).
 * Back:		B asks with FETCH. A lets newer entries wait and answers with MARK, which
 *			stands in B's list behind everything that A has sent on: B runs all that, and
 *			only then lets go. HOME carries the connection back, and the waiting entries
 *			run at A, or follow it to its next squeue. Until MARK the connection goes on
 *			at B as if nothing were.
 *
 * So the order of entries needs no numbers, and nothing waits for anything but a message in a list
 * that is being run. There is at most one message about a connection, which is the link in its
 * `struct sl_transit`; what that holds belongs to who has the message, or owns the connection, but
 * for the waiting entries, which are the birth squeue's.
 *
 * Packets are late when they come to B after the connection has left: those that A had put into the
 * ring before. B's table keeps a forwarding entry to A in its place. A knows how much it had put
 * there, and B drops the entry when its ring has been read so far. The same entry takes the place of
 * a guest that is CLOSED: it goes to A as a message, A drops its own entry and sends it back to be
 * dropped like the other. So a SYN of the next connection on these ports is answered by A alone.
 *
 * A guest's end is a way home too: its door is closed at once, so that its handle is stale; its
 * memory is given back by A at HOME, when no entry is on its way any more. A guest that enters
 * TIME_WAIT and is closed goes home to become a compact entry, where its packets arrive.
 *
 * What does not move: below SYN_SENT there is nothing to move (a listener has shards everywhere). A
 * connection that nobody has accepted is its listener's. Of two that are spliced, each move of one
 * without the other would break the splice: both go, when both live where they were born, which was
 * the same squeue, or go back there; then their messages stand side by side in every list. Else the
 * pair stays.
 *
 * Records of what is in flight are copied to the heap before a move, as their slab is the squeue's
 * (sl_rec_unpin). Times are those of one clock, but squeues read it at different moments: the new
 * owner's `now` is never before that of the old one.
 */
#include <errno.h>
#include <stdlib.h>

#include <tcp/tcp_int.h>

enum stage {
	ARRIVE, /* birth squeue to its guest-to-be's */
	FETCH,  /* owner to birth squeue */
	MARK,   /* birth squeue to owner */
	HOME,   /* owner to birth squeue */
};

static struct sl_transit *transit_of(const struct sl_conn *c)
{
	return c->door->transit;
}

/* ---- room at the other squeue ---- */

bool sl_move_room(const struct sluice_squeue *to)
{
	const struct sl_tcp *t = to->tcp;

	return atomic_load_explicit(&t->seats, memory_order_relaxed) +
		   __atomic_load_n(&t->conns.inuse, __ATOMIC_RELAXED) <
	       to->stack->params.max_connections;
}

static bool seat_take(struct sluice_squeue *to)
{
	struct sl_tcp *t = sl_tcp_of(to);
	uint32_t own = __atomic_load_n(&t->conns.inuse, __ATOMIC_RELAXED);

	if (atomic_fetch_add_explicit(&t->seats, 1, memory_order_relaxed) + own <
	    to->stack->params.max_connections)
		return true;
	atomic_fetch_sub_explicit(&t->seats, 1, memory_order_relaxed);
	return false;
}

static void seat_give(struct sluice_squeue *of)
{
	atomic_fetch_sub_explicit(&sl_tcp_of(of)->seats, 1, memory_order_relaxed);
}

/* ---- the table ---- */

static struct sl_fwd *fwd_at(const struct sl_tcp *t, uint32_t idx)
{
	return sl_slab_get(&t->fwds, idx);
}

/* A forwarding entry for c, not in the table yet; its index, 0 without memory. */
static uint32_t fwd_make(struct sluice_squeue *sq, const struct sl_conn *c, uint32_t to)
{
	uint32_t idx;
	struct sl_fwd *f = sl_slab_alloc(&sl_tcp_of(sq)->fwds, &idx);

	if (f == NULL)
		return 0;
	f->key = c->key;
	f->to = to;
	f->at = sq->id;
	f->idx = idx;
	f->trace = c->birth != sq->id;
	f->transit = transit_of(c);
	f->note.kind = SL_NOTE_FWD;
	return idx;
}

/* Out of the table, if it stands there, and gone. */
static void fwd_drop(struct sluice_squeue *sq, struct sl_fwd *f)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	uint64_t hash = sl_conntab_hash(&t->tab, &f->key);

	if (sl_conntab_lookup(&t->tab, &f->key, hash) == SL_REF(SL_REF_FWD, f->idx))
		sl_conntab_remove(&t->tab, &f->key, hash);
	sl_slab_free(&t->fwds, f->idx);
}

/* B: it goes when all that A had put into the ring has been read. */
static void fwd_late(struct sluice_squeue *sq, struct sl_fwd *f)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	if (sl_fwd_passed(sq, f->to, f->after)) {
		fwd_drop(sq, f);
		return;
	}
	f->note.link = (uintptr_t)t->late;
	t->late = f;
	t->retry = true;
}

/* What stands in the way of an arrival: the rest of an older connection on these ports. False: a
 * connection that lives. */
static bool make_way(struct sluice_squeue *sq, struct sl_conn *c, uint32_t ref)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_fwd *f;

	switch (SL_REF_KIND(ref)) {
	case SL_REF_HALF:
		SL_COUNT(sq, tcp_halfopen_drop);
		sl_half_free(sq, sl_slab_get(&t->halves, SL_REF_IDX(ref)));
		return true;
	case SL_REF_TW:
		SL_COUNT(sq, tcp_timewait_evicted);
		sl_tw_free(sq, sl_slab_get(&t->tws, SL_REF_IDX(ref)));
		return true;
	case SL_REF_FWD:
		/* Its own, of an earlier stay, whose end is on its way; or that of its bound port,
		 * which stands there for as long as it lives. */
		f = fwd_at(t, SL_REF_IDX(ref));
		if (f->bound) {
			transit_of(c)->trace = f->idx;
			transit_of(c)->trace_stays = true;
		}
		sl_conntab_remove(&t->tab, &c->key, sl_conntab_hash(&t->tab, &c->key));
		return true;
	default:
		return false;
	}
}

/* A: B has no connection for these ports any more. */
static void fwd_ended(struct sluice_squeue *sq, struct sl_fwd *f)
{
	struct sl_transit *tr = f->transit;

	if (tr->home_fwd != 0)
		fwd_drop(sq, fwd_at(sl_tcp_of(sq), tr->home_fwd));
	tr->home_fwd = 0;
	f->after = sl_fwd_mark(sq, f->at);
	sl_note_push(sq, sq->stack->sq[f->at], &f->note);
}

/* A guest's row. False: there is no place; packets do not reach it here. */
static bool guest_insert(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	uint64_t hash = sl_conntab_hash(&t->tab, &c->key);
	uint32_t ref = sl_conntab_lookup(&t->tab, &c->key, hash);

	if (ref != 0 && !make_way(sq, c, ref))
		return false;
	if (t->tab.count >= t->tab.max && t->tw_head != NULL) {
		SL_COUNT(sq, tcp_timewait_evicted);
		sl_tw_free(sq, t->tw_head);
	}
	if (sl_conntab_insert(&t->tab, &c->key, hash, SL_REF(SL_REF_CONN, sl_conn_name(sq, c))) < 0)
		return false;
	if (transit_of(c)->trace == 0)
		transit_of(c)->trace = fwd_make(sq, c, c->birth);
	return true;
}

/* Back home: its row is that of the forwarding entry. */
static void home_insert(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_transit *tr = transit_of(c);

	if (tr->home_fwd == 0)
		return;
	if (c->state != SLUICE_CLOSED) {
		sl_conntab_replace(&t->tab, &c->key, sl_conntab_hash(&t->tab, &c->key),
		    SL_REF(SL_REF_CONN, c->idx));
		c->flags |= SL_C_IN_TABLE;
	}
	fwd_drop(sq, fwd_at(t, tr->home_fwd));
	tr->home_fwd = 0;
}

static void guest_remove(struct sluice_squeue *sq, const struct sl_conn *c)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	uint64_t hash = sl_conntab_hash(&t->tab, &c->key);
	uint32_t trace = transit_of(c)->trace;

	if (trace != 0)
		sl_conntab_replace(&t->tab, &c->key, hash, SL_REF(SL_REF_FWD, trace));
	else
		sl_conntab_remove(&t->tab, &c->key, hash);
}

void sl_move_leave_table(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_transit *tr = transit_of(c);

	guest_remove(sq, c);
	if (tr->trace == 0 || tr->trace_stays)
		return; /* the birth squeue hears of it when it comes home */
	sl_note_push(sq, sq->stack->sq[c->birth], &fwd_at(sl_tcp_of(sq), tr->trace)->note);
	tr->trace = 0;
}

/* ---- letting go and taking over ---- */

static void guest_link(struct sluice_squeue *sq, struct sl_transit *tr)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	tr->guest_next = t->guests;
	if (t->guests != NULL)
		transit_of(t->guests)->guest_pprev = &tr->guest_next;
	tr->guest_pprev = &t->guests;
	t->guests = tr->conn;
}

static void guest_unlink(struct sl_transit *tr)
{
	*tr->guest_pprev = tr->guest_next;
	if (tr->guest_next != NULL)
		transit_of(tr->guest_next)->guest_pprev = tr->guest_pprev;
	tr->guest_pprev = NULL;
}

/* A level that is counted where the connection lives. */
static void count_established(struct sluice_squeue *sq, const struct sl_conn *c, uint64_t n)
{
	if (c->state == SLUICE_ESTABLISHED || c->state == SLUICE_CLOSE_WAIT)
		SL_COUNT_N(sq, tcp_curr_estab, n);
}

/* Out of everything of this squeue. The records have been made free of it. */
static void detach(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_transit *tr = transit_of(c);
	struct sl_tcp *t = sl_tcp_of(sq);

	SL_CHECK(!(c->flags & SL_C_TOUCHED));
	sl_up_unlist(sq, c); /* what waits for it goes with it */
	/* One that waits for a neighbour here asks for it again there. */
	tr->output = (c->flags & SL_C_ON_OUTPUT) || c->flow.wpprev != NULL;
	sl_output_unlist(sq, c);
	sl_timer_cancel(&sq->wheel, &c->timer);
	sl_flow_fini(sq, &c->flow);
	if (sl_conn_guest(sq, c)) {
		guest_unlink(tr);
		if (c->flags & SL_C_IN_TABLE)
			guest_remove(sq, c);
	} else if (c->flags & SL_C_IN_TABLE) {
		sl_conntab_replace(&t->tab, &c->key, sl_conntab_hash(&t->tab, &c->key),
		    SL_REF(SL_REF_FWD, tr->home_fwd));
	}
	count_established(sq, c, (uint64_t)-1);
	SL_COUNT(sq, sq_moves_out);
	tr->now = sq->now;
	tr->asked = tr->go = false;
	/* Release: who reads SL_NOBODY or the next owner knows nothing older. */
	atomic_store_explicit(&c->door->owner, SL_NOBODY, memory_order_release);
}

static void attach(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_transit *tr = transit_of(c);

	if (tr->now > sq->now)
		sq->now = tr->now;
	if (sl_conn_guest(sq, c)) {
		guest_link(sq, tr);
		if ((c->flags & SL_C_IN_TABLE) && !guest_insert(sq, c)) {
			SL_COUNT(sq, sq_moves_refused);
			c->flags &= ~SL_C_IN_TABLE;
			tr->want = c->birth;
			c->deferred |= SL_D_MOVE;
		}
	} else {
		home_insert(sq, c);
	}
	sl_flow_moved(sq, &c->flow);
	sl_conn_timers_file(sq, c);
	if (tr->output)
		sl_output_schedule(sq, c);
	count_established(sq, c, 1);
	SL_COUNT(sq, sq_moves_in);
	atomic_store_explicit(&c->door->owner, sq->id, memory_order_release);
	c->deferred |= SL_D_MOVED;
	sl_up_enlist(sq, c);
	sl_drain_look(sq);
	/* Closed, and nobody is to hear of it again: what is left is a compact entry. */
	if (c->state == SLUICE_TIME_WAIT && (c->flags & SL_C_CLOSED_BY_APP))
		sl_tw_enter(sq, c);
	sl_conn_check(sq, c);
}

/* ---- away from home ---- */

static void post(
    struct sluice_squeue *from, struct sluice_squeue *to, struct sl_transit *tr, enum stage stage)
{
	tr->note.kind = SL_NOTE_MOVE;
	tr->stage = (uint8_t)stage;
	if (stage == ARRIVE)
		sl_arrival_push(to, &tr->note);
	else
		sl_note_push(from, to, &tr->note);
}

/* All that can fail. False: refused and counted, nothing has changed. */
static bool prepare(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_transit *tr = transit_of(c);
	struct sluice_squeue *to = sq->stack->sq[tr->want];
	struct sl_tcp *t = sl_tcp_of(sq);

	if (!seat_take(to))
		return false;
	if (c->flags & SL_C_IN_TABLE)
		tr->home_fwd = fwd_make(sq, c, tr->want);
	if ((!(c->flags & SL_C_IN_TABLE) || tr->home_fwd != 0) && sl_rec_unpin(sq, c) == 0)
		return true;
	seat_give(to);
	if (tr->home_fwd != 0)
		sl_slab_free(&t->fwds, tr->home_fwd);
	tr->home_fwd = 0;
	return false;
}

static void unprepare(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_transit *tr = transit_of(c);

	seat_give(sq->stack->sq[tr->want]);
	if (tr->home_fwd != 0)
		sl_slab_free(&sl_tcp_of(sq)->fwds, tr->home_fwd);
	tr->home_fwd = 0;
}

/* Where entries go on to, of a door of this squeue's. */
static void mail_away(struct sluice_squeue *sq, struct sl_door *d, unsigned int to)
{
	sl_mail_to(sq, d, to);
	if (sl_tcp_of(sq)->drain.on)
		d->away |= SL_AWAY_PARKED;
}

static void depart(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_transit *tr = transit_of(c);
	struct sl_door *d = c->door;
	unsigned int to = tr->want;

	detach(sq, c);
	sl_tcp_of(sq)->drain.away++;
	post(sq, sq->stack->sq[to], tr, ARRIVE);
	/* After it, what is asked of the connection from now on. */
	mail_away(sq, d, to);
}

/* Whether it stays, and why: 0, -EINVAL, -EBUSY. */
static int may_move(const struct sl_conn *c)
{
	if (c->state != SLUICE_CLOSED && c->state < SLUICE_SYN_SENT)
		return -EINVAL;
	return c->pinned || (c->flags & (SL_C_HELD | SL_C_ACCEPT_PENDING)) ? -EBUSY : 0;
}

/* The one that it is spliced with, if that lives here too. */
static struct sl_conn *partner(struct sluice_squeue *sq, const struct sl_conn *c)
{
	struct sl_conn *p = c->spliced != 0 ? sl_conn_get(sq, c->spliced) : NULL;

	return p != NULL && p != c && p->spliced == sl_conn_handle(sq, c) ? p : NULL;
}

static int want(struct sluice_squeue *sq, struct sl_conn *c, unsigned int to)
{
	struct sl_transit *tr = transit_of(c);

	if (tr == NULL) {
		tr = calloc(1, sizeof(*tr));
		if (tr == NULL)
			return -ENOBUFS;
		tr->conn = c;
		c->door->transit = tr;
	}
	tr->want = (uint8_t)to;
	c->deferred |= SL_D_MOVE;
	sl_up_enlist(sq, c);
	return 0;
}

static int request(struct sluice_squeue *sq, struct sl_conn *c, unsigned int to)
{
	struct sl_conn *p = partner(sq, c);
	int rc = to < sq->stack->nsq ? may_move(c) : -EINVAL;

	if (rc == 0 && p != NULL) {
		rc = may_move(p);
		if (p->birth != c->birth || (sl_conn_guest(sq, c) && to != c->birth))
			rc = -EBUSY;
	}
	if (rc == 0)
		rc = want(sq, c, to);
	if (rc == 0 && p != NULL)
		rc = want(sq, p, to);
	return rc;
}

int sl_move_request(struct sluice_squeue *sq, struct sl_conn *c, unsigned int to)
{
	int rc = request(sq, c, to);

	if (rc < 0)
		SL_COUNT(sq, sq_moves_refused);
	return rc;
}

int sl_move_away(struct sluice_squeue *sq, struct sl_conn *c, unsigned int to)
{
	return request(sq, c, to);
}

void sl_move_home(struct sluice_squeue *sq, struct sl_conn *c)
{
	c->spliced = 0;
	c->pinned = false;
	(void)want(sq, c, c->birth); /* needs no memory: it has moved before */
}

int sl_move_new(struct sluice_squeue *sq, struct sl_conn *c, unsigned int to)
{
	int rc = want(sq, c, to);

	if (rc == 0)
		c->deferred |= SL_D_NEWCONN;
	return rc;
}

int sl_move_op(struct sluice_squeue *sq, struct sl_conn *c, const struct sluice_args *a)
{
	if (a->a[1] == SL_MOVE_TO)
		return sl_move_request(sq, c, (unsigned int)a->a[0]);
	c->pinned = a->a[1] == SL_MOVE_PIN;
	return 0;
}

/* A guest leaves; only the want of memory for its records can keep it a while. */
static bool go_home(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (sl_rec_unpin(sq, c) < 0) {
		sl_tcp_of(sq)->retry = true;
		return false;
	}
	if (c->state == SLUICE_TIME_WAIT && (c->flags & SL_C_CLOSED_BY_APP))
		sl_up_closed_guest(sq, c);
	detach(sq, c);
	post(sq, sq->stack->sq[c->birth], transit_of(c), HOME);
	return true;
}

/* The owner asks, or goes when it has been answered. True: it has gone. */
static bool guest_due(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_transit *tr = transit_of(c);

	if (tr->go)
		return go_home(sq, c);
	if (!tr->asked && tr->want != sq->id) {
		tr->asked = true;
		post(sq, sq->stack->sq[c->birth], tr, FETCH);
	}
	return false;
}

bool sl_move_due(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_transit *tr = transit_of(c);
	struct sl_conn *p = partner(sq, c);
	bool ready;

	if (sl_conn_guest(sq, c))
		return guest_due(sq, c);
	if (tr->want == sq->id)
		return false;
	if (p != NULL && (p->birth != c->birth || !(p->deferred & SL_D_MOVE) ||
			     transit_of(p)->want != tr->want)) {
		SL_COUNT(sq, sq_moves_refused); /* joined since it was asked */
		return false;
	}
	ready = prepare(sq, c);
	if (ready && p != NULL && !prepare(sq, p)) {
		unprepare(sq, c);
		ready = false;
	}
	if (p != NULL)
		p->deferred &= (uint16_t)~SL_D_MOVE;
	if (!ready) {
		SL_COUNT(sq, sq_moves_refused);
		return false;
	}
	depart(sq, c);
	if (p != NULL)
		depart(sq, p);
	return true;
}

void sl_move_ended(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_transit *tr = transit_of(c);
	struct sluice_squeue *home = sq->stack->sq[c->birth];

	guest_unlink(tr);
	tr->dead = true;
	atomic_store_explicit(&c->door->owner, SL_NOBODY, memory_order_release);
	if (tr->go)
		post(sq, home, tr, HOME);
	else if (!tr->asked)
		post(sq, home, tr, FETCH);
	/* else MARK is on its way */
}

/* ---- messages ---- */

/* A: its memory is free, and so are its ports. */
static void end_at_home(struct sluice_squeue *sq, struct sl_transit *tr)
{
	struct sl_conn *c = tr->conn;
	struct sl_door *d = c->door;

	if (tr->home_fwd != 0)
		fwd_drop(sq, fwd_at(sl_tcp_of(sq), tr->home_fwd));
	sl_mail_to(sq, d, sq->id);
	sl_tcp_of(sq)->drain.away--;
	d->transit = NULL;
	sl_slab_free(&sl_tcp_of(sq)->conns, c->idx);
	free(tr);
}

/* A: what it left at the squeue where it was goes when A's packets there have been seen to. */
static void drop_trace(struct sluice_squeue *sq, struct sluice_squeue *was, struct sl_transit *tr)
{
	struct sl_fwd *f;

	if (tr->trace != 0 && !tr->trace_stays) {
		f = fwd_at(sl_tcp_of(was), tr->trace);
		f->after = sl_fwd_mark(sq, was->id);
		sl_note_push(sq, was, &f->note);
	}
	tr->trace = 0;
	tr->trace_stays = false;
}

static void come_home(struct sluice_squeue *sq, struct sl_transit *tr)
{
	struct sl_conn *c = tr->conn;
	struct sl_door *d = c->door;
	struct sluice_squeue *was = sq->stack->sq[SL_AWAY_SQ(d->away)];
	unsigned int to = tr->want;

	seat_give(was);
	drop_trace(sq, was, tr);
	if (tr->dead) {
		end_at_home(sq, tr);
		return;
	}
	if (to != sq->id && seat_take(sq->stack->sq[to])) {
		if (tr->home_fwd != 0)
			fwd_at(sl_tcp_of(sq), tr->home_fwd)->to = to;
		/* From here on `tr` is the next owner's. */
		post(sq, sq->stack->sq[to], tr, ARRIVE);
		mail_away(sq, d, to);
		return;
	}
	if (to != sq->id)
		SL_COUNT(sq, sq_moves_refused);
	sl_tcp_of(sq)->drain.away--;
	attach(sq, c);
	sl_mail_to(sq, d, sq->id);
}

static void marked(struct sluice_squeue *sq, struct sl_transit *tr)
{
	tr->go = true;
	if (tr->dead) {
		post(sq, sq->stack->sq[tr->conn->birth], tr, HOME);
		return;
	}
	tr->conn->deferred |= SL_D_MOVE;
	sl_up_enlist(sq, tr->conn);
}

static void fetch(struct sluice_squeue *sq, struct sl_transit *tr)
{
	struct sl_door *d = tr->conn->door;
	struct sluice_squeue *owner = sq->stack->sq[SL_AWAY_SQ(d->away)];

	sl_mail_hold(sq, d);
	post(sq, owner, tr, MARK);
}

void sl_move_note(struct sluice_squeue *sq, struct sl_note *n)
{
	struct sl_transit *tr = SL_CONTAINER_OF(n, struct sl_transit, note);

	if (n->kind == SL_NOTE_FWD) {
		struct sl_fwd *f = SL_CONTAINER_OF(n, struct sl_fwd, note);

		if (f->at == sq->id)
			fwd_late(sq, f);
		else
			fwd_ended(sq, f);
		return;
	}
	switch ((enum stage)tr->stage) {
	case ARRIVE:
		attach(sq, tr->conn);
		break;
	case FETCH:
		fetch(sq, tr);
		break;
	case MARK:
		marked(sq, tr);
		break;
	case HOME:
		come_home(sq, tr);
		break;
	}
}

void sl_move_retry(struct sluice_squeue *sq)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_fwd *f = t->late, *next;

	t->retry = false;
	t->late = NULL;
	for (; f != NULL; f = next) {
		next = (struct sl_fwd *)(uintptr_t)f->note.link;
		fwd_late(sq, f);
	}
	for (struct sl_conn *c = t->guests, *after; c != NULL; c = after) {
		after = transit_of(c)->guest_next;
		if (transit_of(c)->go)
			(void)go_home(sq, c);
	}
}

/* ---- teardown ---- */

static void bring_home(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_transit *tr = transit_of(c);
	struct sl_door *d = c->door;
	uint32_t owner = sl_door_owner(d);

	tr->want = (uint8_t)sq->id;
	tr->trace = 0;
	if (tr->dead) {
		end_at_home(sq, tr);
		return;
	}
	if (owner != SL_NOBODY) {
		struct sluice_squeue *at = sq->stack->sq[owner];

		if (sl_rec_unpin(at, c) < 0)
			sl_sendq_clear(at, c);
		detach(at, c);
	}
	attach(sq, c);
	sl_mail_to(sq, d, sq->id);
}

void sl_move_all_home(struct sluice_stack *st)
{
	for (unsigned int i = 0; i < st->nsq; i++)
		if (st->sq[i]->tcp != NULL)
			sl_notes_drop(st->sq[i]);
	for (unsigned int i = 0; i < st->nsq; i++) {
		struct sluice_squeue *sq = st->sq[i];
		struct sl_slab *s = sq->tcp != NULL ? &sq->tcp->conns : NULL;

		for (uint32_t k = s != NULL ? sl_slab_next(s, 0) : 0; k != 0;
		     k = sl_slab_next(s, k))
			if (sq->doors[k].away != 0)
				bring_home(sq, sl_slab_get(s, k));
	}
}
