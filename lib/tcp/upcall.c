/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Upcalls: all of them leave through here.
 *
 * Rules. An upcall is made at once, at most two deep: what an upcall causes on another connection
 * runs inside it, what that causes waits for the end of the pass. `closed` always waits. What waits
 * is a set of bits in the connection, made in the order of enum sl_deferred; an upcall never
 * overtakes one that waits. After close() the user hears nothing but zcopy_notify and closed, and
 * closed waits for the last zcopy_notify.
 *
 * A connection is freed here and only here, after `closed`: so pointers to it stay good during a
 * pass.
 */
#include <errno.h>

#include <tcp/tcp_int.h>

/* ---- the table of order ---- */

#define U(x) (1u << SLUICE_UP_##x)
#define U_END (U(ZCOPY_NOTIFY) | U(CLOSED))
#define U_LIVE                                                                               \
	(U(DISCONNECTED) | U(OPCTL) | U(RECV) | U(TXQ_FULL) | U(SIGNAL_OOB) | U(SET_ERROR) | \
	    U(SET_PROTO_PROPS) | U_END)

static const uint32_t may_follow[SLUICE_NUPCALLS] = {
    [SLUICE_UP_NEWCONN] = U(NEWCONN) | U(OPCTL) | U(SET_ERROR) | U(DISCONNECTED) | U_END,
    [SLUICE_UP_CONNECTED] = U_LIVE,
    [SLUICE_UP_DISCONNECTED] = U_END,
    [SLUICE_UP_OPCTL] = U_LIVE | U(CONNECTED) | U(NEWCONN),
    [SLUICE_UP_RECV] = U_LIVE,
    [SLUICE_UP_TXQ_FULL] = U_LIVE,
    [SLUICE_UP_SIGNAL_OOB] = U_LIVE,
    [SLUICE_UP_ZCOPY_NOTIFY] = U_LIVE,
    [SLUICE_UP_SET_ERROR] = U_LIVE | U(CONNECTED),
    [SLUICE_UP_SET_PROTO_PROPS] = U_LIVE | U(CONNECTED) | U(NEWCONN),
    [SLUICE_UP_CLOSED] = 0,
};

bool sluice_upcall_may_follow(enum sluice_upcall last, enum sluice_upcall next)
{
	return last < SLUICE_NUPCALLS && next < SLUICE_NUPCALLS &&
	       (may_follow[last] >> next & 1) != 0;
}

static void begin(struct sluice_squeue *sq, struct sl_conn *c, enum sluice_upcall up)
{
	SL_CHECK(
	    c->last_up == 0 || sluice_upcall_may_follow((enum sluice_upcall)(c->last_up - 1), up));
	c->last_up = (uint8_t)(up + 1);
	sl_upcall_begin(sq);
}

/* ---- making them ---- */

static void do_recv(struct sluice_squeue *sq, struct sl_conn *c, sluice_conn_t h)
{
	bool push = (c->flags & SL_C_PUSH_SEEN) != 0;
	const void *who = c->up_arg;
	int rc;

	c->flags &= ~SL_C_PUSH_SEEN;
	if (c->rcvq_bytes == 0 || c->up->recv == NULL)
		return;
	begin(sq, c, SLUICE_UP_RECV);
	rc = c->up->recv(c->up_arg, h, c->rcvq_bytes, push);
	sl_upcall_end(sq);
	if (rc == -ENOSPC && c->up_arg == who) /* not if it has given the connection away */
		c->flags |= SL_C_FLOWCTRL;
}

static void do_opctl(
    struct sluice_squeue *sq, struct sl_conn *c, enum sluice_opctl op, uint64_t value)
{
	if (c->up == NULL || c->up->opctl == NULL)
		return;
	begin(sq, c, SLUICE_UP_OPCTL);
	c->up->opctl(c->up_arg, sl_conn_handle(sq, c), op, value);
	sl_upcall_end(sq);
}

static void do_oob(struct sluice_squeue *sq, struct sl_conn *c, sluice_conn_t h)
{
	uint32_t end = c->rcv_nxt - !!(c->flags & SL_C_FIN_RCVD), first = end - c->rcvq_bytes,
		 mark = c->rcv_up - 1 - first;

	if (c->up->signal_oob == NULL)
		return;
	begin(sq, c, SLUICE_UP_SIGNAL_OOB);
	c->up->signal_oob(c->up_arg, h, (int32_t)mark < 0 ? 0 : mark);
	sl_upcall_end(sq);
}

#define MAKE(UP, member, ...)                                       \
	do {                                                        \
		if (c->up->member != NULL) {                        \
			begin(sq, c, UP);                           \
			c->up->member(c->up_arg, h, ##__VA_ARGS__); \
			sl_upcall_end(sq);                          \
		}                                                   \
	} while (0)

static void make(struct sluice_squeue *sq, struct sl_conn *c, enum sl_deferred what)
{
	sluice_conn_t h = sl_conn_handle(sq, c);

	if (c->up == NULL)
		return;
	/* A bell that was rung before the end (shutdown, a refused send) may be heard after it. */
	if (c->last_up == SLUICE_UP_DISCONNECTED + 1 && what != SL_D_CLOSED)
		return;
	switch (what) {
	case SL_D_MOVED:
		do_opctl(sq, c, SLUICE_OPCTL_MOVED, sq->id);
		break;
	case SL_D_CONNECTED:
		MAKE(SLUICE_UP_CONNECTED, connected, atomic_load(&sl_conn_door(sq, c)->pub.connid));
		break;
	case SL_D_SHUT_SEND:
		do_opctl(sq, c, SLUICE_OPCTL_SHUT_SEND, 0);
		break;
	case SL_D_SHUT_RECV:
		do_opctl(sq, c, SLUICE_OPCTL_SHUT_RECV, 0);
		break;
	case SL_D_RECV:
		do_recv(sq, c, h);
		break;
	case SL_D_OOB:
		do_oob(sq, c, h);
		break;
	case SL_D_TXQ_CLEAR:
		MAKE(SLUICE_UP_TXQ_FULL, txq_full, false);
		break;
	case SL_D_TXQ_FULL:
		MAKE(SLUICE_UP_TXQ_FULL, txq_full, true);
		break;
	case SL_D_ERROR:
		MAKE(SLUICE_UP_SET_ERROR, set_error, c->soft_err);
		break;
	case SL_D_DISCONNECTED:
		MAKE(SLUICE_UP_DISCONNECTED, disconnected, c->err);
		break;
	case SL_D_CLOSED:
		MAKE(SLUICE_UP_CLOSED, closed);
		break;
	default:
		break;
	}
}

/* ---- putting off ---- */

void sl_up_enlist(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	if (c->deferred & SL_D_LISTED)
		return;
	c->deferred |= SL_D_LISTED;
	c->def_next = 0;
	if (t->def_head == NULL)
		t->def_head = c;
	else
		t->def_last->def_next = sl_conn_name(sq, c);
	t->def_last = c;
}

void sl_up_unlist(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_conn *prev = NULL, *p = t->def_head;

	if (!(c->deferred & SL_D_LISTED))
		return;
	for (; p != c; p = sl_conn_named(sq, p->def_next))
		prev = p;
	if (prev != NULL)
		prev->def_next = c->def_next;
	else
		t->def_head = c->def_next != 0 ? sl_conn_named(sq, c->def_next) : NULL;
	if (t->def_last == c)
		t->def_last = prev;
	c->deferred &= (uint16_t)~SL_D_LISTED;
}

void sl_up(struct sluice_squeue *sq, struct sl_conn *c, enum sl_deferred what)
{
	if (what != SL_D_CLOSED && (c->flags & SL_C_CLOSED_BY_APP))
		return;
	/* Of full and clear only the last is true. It is told even when it is what was told last:
	 * who was refused in between waits for it. */
	if (what == SL_D_TXQ_FULL)
		c->deferred &= (uint16_t)~SL_D_TXQ_CLEAR;
	else if (what == SL_D_TXQ_CLEAR)
		c->deferred &= (uint16_t)~SL_D_TXQ_FULL;
	if (what == SL_D_CLOSED || sq->depth >= 2 || (c->deferred & SL_D_UPCALLS) != 0) {
		if (what != SL_D_CLOSED)
			SL_COUNT(sq, sq_deferred);
		c->deferred |= (uint16_t)what;
		sl_up_enlist(sq, c);
		return;
	}
	make(sq, c, what);
}

void sl_up_zcopy_done(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (c->deferred & SL_D_CLOSED)
		sl_up_enlist(sq, c);
}

static void run_one(struct sluice_squeue *sq, struct sl_conn *c);

/* Nobody above has heard of this connection: it is to leave for its squeue, or is there. */
static void begin_life(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (c->state != SLUICE_CLOSED && (c->deferred & SL_D_MOVE)) {
		c->deferred &= (uint16_t)~SL_D_MOVE;
		if (sl_move_due(sq, c))
			return;
	}
	c->deferred &= (uint16_t) ~(SL_D_NEWCONN | SL_D_MOVED);
	if (c->state != SLUICE_CLOSED && !atomic_load(&c->group->closing) &&
	    sl_up_newconn(sq, c->group, c) == 0) {
		sl_up_props(sq, c);
		if ((c->deferred & SL_D_LISTED) == 0)
			run_one(sq, c);
		return;
	}
	c->up = NULL;
	c->flags |= SL_C_CLOSED_BY_APP;
	if (c->state != SLUICE_CLOSED)
		(void)sl_output_ctl(sq, c, sl_rst_seq(c), SL_TH_RST | SL_TH_ACK);
	sl_conn_drop(sq, c, ECONNREFUSED);
}

static void run_one(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (SL_UNLIKELY(c->deferred & SL_D_NEWCONN)) {
		begin_life(sq, c);
		return;
	}
	/* Until nothing but `closed` is left; an upcall may add to the set. */
	for (;;) {
		uint16_t bits = c->deferred & (uint16_t)(SL_D_UPCALLS & ~SL_D_CLOSED);
		enum sl_deferred what = (enum sl_deferred)(bits & -bits);

		if (bits == 0)
			break;
		c->deferred &= (uint16_t)~what;
		if (!(c->flags & SL_C_CLOSED_BY_APP))
			make(sq, c, what);
	}
	/* An upcall has put it into the list again (a call in it ran a close that waited): later. */
	if (c->deferred & SL_D_LISTED)
		return;
	if ((c->deferred & SL_D_CLOSED) && c->zc_out == 0) {
		make(sq, c, SL_D_CLOSED);
		sl_conn_free(sq, c);
		return;
	}
	if (SL_UNLIKELY(c->deferred & SL_D_MOVE)) {
		c->deferred &= (uint16_t)~SL_D_MOVE;
		(void)sl_move_due(sq, c);
	}
}

unsigned int sl_up_run_deferred(struct sluice_squeue *sq)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	unsigned int n = 0;

	while (t->def_head != NULL) {
		struct sl_conn *c = t->def_head;

		t->def_head = c->def_next != 0 ? sl_conn_named(sq, c->def_next) : NULL;
		c->deferred &= (uint16_t)~SL_D_LISTED;
		run_one(sq, c);
		n++;
	}
	return n;
}

void sl_up_closed_guest(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (c->zc_out != 0)
		return;
	make(sq, c, SL_D_CLOSED);
	c->up = NULL;
}

/* ---- those that answer, or are made once ---- */

void sl_up_opctl(struct sluice_squeue *sq, struct sl_conn *c, enum sluice_opctl op, uint64_t value)
{
	if (!(c->flags & SL_C_CLOSED_BY_APP))
		do_opctl(sq, c, op, value);
}

void sl_up_lingered(struct sluice_squeue *sq, struct sl_conn *c)
{
	if ((c->deferred & ~SL_D_LISTED) == 0)
		do_opctl(sq, c, SLUICE_OPCTL_LINGERED, 0);
}

int sl_up_newconn(struct sluice_squeue *sq, struct sl_group *g, struct sl_conn *eager)
{
	const struct sluice_upcalls *up = g->up;
	void *arg = g->up_arg;
	int rc;

	if (g->up == NULL || g->up->newconn == NULL)
		return -ECONNREFUSED;
	sl_upcall_begin(sq);
	rc = g->up->newconn(g->up_arg, g->handle, sl_conn_handle(sq, eager), &arg, &up);
	sl_upcall_end(sq);
	if (rc < 0 || up == NULL) {
		eager->up = NULL; /* refused: nobody hears of it again */
		return rc < 0 ? rc : -EINVAL;
	}
	eager->up = up;
	eager->up_arg = arg;
	eager->last_up = SLUICE_UP_CONNECTED + 1; /* implied */
	return 0;
}

void sl_up_props(struct sluice_squeue *sq, struct sl_conn *c)
{
	sluice_conn_t h = sl_conn_handle(sq, c);

	if (c->up != NULL && !(c->flags & SL_C_CLOSED_BY_APP) && (c->deferred & SL_D_UPCALLS) == 0)
		MAKE(SLUICE_UP_SET_PROTO_PROPS, set_proto_props, c->sndbuf, c->rcvbuf, c->mss);
}

/* ---- another owner ---- */

/* Is an urgent byte announced that was not read yet? rcv_up is right for 2^31 bytes. */
static bool urgent_ahead(const struct sl_conn *c)
{
	uint32_t end = c->rcv_nxt - !!(c->flags & SL_C_FIN_RCVD);

	if (c->flags & SL_C_URG_IN)
		return true;
	return end - c->rcv_up < c->rcvq_bytes && (uint32_t)(c->bytes_in >> 20) - c->urg_mib < 2048;
}

void sl_up_change(
    struct sluice_squeue *sq, struct sl_conn *c, const struct sluice_upcalls *up, void *arg)
{
	bool moved = (c->deferred & SL_D_MOVED) != 0;

	c->up = up;
	c->up_arg = arg;
	c->last_up = SLUICE_UP_CONNECTED + 1; /* implied */
	/* What waits for the old one is told to the new one from the state that it came from. */
	c->deferred &= (uint16_t) ~(SL_D_UPCALLS & ~SL_D_CLOSED);
	c->batch = 0;
	c->flags &= ~SL_C_FLOWCTRL;
	sl_rcv_opened(sq, c);
	sl_up_props(sq, c);
	if (moved)
		sl_up(sq, c, SL_D_MOVED);
	if (urgent_ahead(c))
		sl_up(sq, c, SL_D_OOB);
	if (c->rcvq_bytes > 0)
		sl_up(sq, c, SL_D_RECV);
	if (c->flags & SL_C_FIN_QUEUED)
		sl_up(sq, c, SL_D_SHUT_SEND);
	if (c->flags & (SL_C_FIN_RCVD | SL_C_RCV_SHUT))
		sl_up(sq, c, SL_D_SHUT_RECV);
	if (c->flags & SL_C_TXQ_FULL)
		sl_up(sq, c, SL_D_TXQ_FULL);
	if (c->state == SLUICE_CLOSED && c->err != 0)
		sl_up(sq, c, SL_D_DISCONNECTED);
}
