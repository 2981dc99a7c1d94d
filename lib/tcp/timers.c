/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The timers of a connection: five deadlines and one node in the squeue's wheel.
 *
 * The node is filed for the earliest deadline. Moving a deadline later, which is what almost every
 * ACK does, is one store: the node fires where it is, finds nothing due, and is filed again.
 *
 *	RTX	the oldest unacknowledged byte, or the SYN, is overdue (RFC 6298)
 *	PERSIST	the peer's window is closed on what is queued (RFC 9293 3.8.6.1); or a held partial
 *		segment has waited long enough
 *	DELACK	an ACK has been held back (RFC 9293 3.8.6.3)
 *	KEEP	nothing has been heard for long (RFC 9293 3.8.4)
 *	MISC	FIN_WAIT_2 of a closed connection, or TIME_WAIT of one that is not closed, is over
 */
#include <errno.h>

#include <tcp/tcp_int.h>

static uint32_t tick_of(uint64_t at)
{
	uint32_t t = (uint32_t)((at + SL_TICK_NS - 1) >> SL_TICK_SHIFT);

	return t == 0 ? 1 : t; /* 0 means off */
}

void sl_conn_timer_set(
    struct sluice_squeue *sq, struct sl_conn *c, enum sl_tcp_timer which, uint64_t at)
{
	c->deadline[which] = tick_of(at);
	if (!sl_timer_armed(&c->timer) || (at + SL_TICK_NS - 1) >> SL_TICK_SHIFT < c->timer.expires)
		sl_timer_set(&sq->wheel, &c->timer, at);
}

void sl_conn_timer_cancel(struct sluice_squeue *sq, struct sl_conn *c, enum sl_tcp_timer which)
{
	c->deadline[which] = 0; /* the node may stay: it finds nothing due */
}

void sl_conn_timers_off(struct sluice_squeue *sq, struct sl_conn *c)
{
	for (unsigned int i = 0; i < SL_T_COUNT; i++)
		c->deadline[i] = 0;
	sl_timer_cancel(&sq->wheel, &c->timer);
}

/* ---- what to do when one is due ---- */

static bool given_up(
    struct sluice_squeue *sq, const struct sl_conn *c, uint64_t since, uint64_t limit)
{
	return sq->now >= since + limit;
}

/* R2 of RFC 9293 3.8.3, or what the user says (RFC 5482). */
static uint64_t abort_after(const struct sluice_squeue *sq, const struct sl_conn *c)
{
	if (c->opt != NULL && c->opt->user_timeout != 0)
		return c->opt->user_timeout;
	return c->state < SLUICE_ESTABLISHED ? sq->tun.tcp_abort_connect
					     : sq->tun.tcp_abort_established;
}

/* When the retransmission timer is due next: a user's time-out is kept to the moment. */
uint64_t sl_rtx_at(const struct sluice_squeue *sq, const struct sl_conn *c)
{
	uint64_t at = sq->now + sl_rto(sq, c);

	if (SL_UNLIKELY(c->opt != NULL && c->opt->user_timeout != 0))
		at = RTE_MIN(at, RTE_MAX(sq->now, c->first_unacked_at + c->opt->user_timeout));
	return at;
}

#define R1 3 /* retransmissions without an answer (RFC 9293 3.8.3, SHLD-10) */

/* The network layer is to look for another way, and the user is told; the connection goes on. */
static void silent(struct sluice_squeue *sq, struct sl_conn *c)
{
	sl_flow_doubt(sq, &c->flow);
	if (c->soft_err == 0) /* what ICMP said says more */
		c->soft_err = ETIMEDOUT;
	sl_up(sq, c, SL_D_ERROR);
}

static void give_up(struct sluice_squeue *sq, struct sl_conn *c)
{
	SL_COUNT(sq, tcp_rto_drop);
	sl_conn_drop(sq, c, c->soft_err != 0 ? c->soft_err : ETIMEDOUT);
}

/*
 * There is no route, or no neighbour. What is in flight has its retransmission timer; what has never
 * left asks again, ever more seldom, until R2.
 */
void sl_unreachable(struct sluice_squeue *sq, struct sl_conn *c, int err)
{
	uint64_t wait;

	c->soft_err = err;
	if (c->state < SLUICE_ESTABLISHED || c->rec_head != NULL || c->snd_nxt == sl_snd_end(c))
		return;
	if (c->no_way_since == 0)
		c->no_way_since = sq->now;
	if (given_up(sq, c, c->no_way_since, abort_after(sq, c))) {
		give_up(sq, c);
		return;
	}
	wait = RTE_MAX(sl_rto(sq, c), sq->now - c->no_way_since);
	sl_conn_timer_set(
	    sq, c, SL_T_PERSIST, sq->now + RTE_MIN(wait, SL_CONN_TUN(sq, c, tcp_rto_max, rto_max)));
}

static void due_syn(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (c->rtx_shift >= SL_CONN_TUN(sq, c, tcp_syn_retries, syn_retries) ||
	    given_up(sq, c, c->first_unacked_at, abort_after(sq, c))) {
		give_up(sq, c);
		return;
	}
	c->rtx_shift++;
	c->flags |= SL_C_ACK_NOW;
	sl_conn_timer_set(sq, c, SL_T_RTX, sl_rtx_at(sq, c));
	sl_output_schedule(sq, c);
	if (c->rtx_shift == R1)
		silent(sq, c);
}

static void due_rtx(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (c->state == SLUICE_SYN_SENT || c->state == SLUICE_SYN_RCVD) {
		due_syn(sq, c);
		return;
	}
	if (c->rec_head == NULL)
		return;
	if (given_up(sq, c, c->first_unacked_at, abort_after(sq, c))) {
		give_up(sq, c);
		return;
	}
	sl_recovery_rto(sq, c);
	if (c->rtx_shift < 16)
		c->rtx_shift++;
	sl_conn_timer_set(sq, c, SL_T_RTX, sl_rtx_at(sq, c));
	sl_output_schedule(sq, c);
	if (c->rtx_silent < R1 && ++c->rtx_silent == R1)
		silent(sq, c); /* last: the user may do anything */
}

static bool window_closed(const struct sl_conn *c)
{
	return !seq_lt(c->snd_nxt, c->snd_una + c->snd_wnd);
}

static void due_persist(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (c->snd_nxt == sl_snd_end(c) || c->rec_head != NULL)
		return;
	if (!window_closed(c)) {
		c->force_push = 1;
		sl_output_schedule(sq, c);
		return;
	}
	/* The probe is data of its own right: the retransmission timer repeats it, and backs off.
	 */
	sl_output_probe(sq, c);
	if (c->state != SLUICE_CLOSED && c->rec_head == NULL &&
	    !sl_conn_timer_armed(c, SL_T_PERSIST)) /* it could not leave: again */
		sl_conn_timer_set(sq, c, SL_T_PERSIST, sq->now + sl_rto(sq, c));
}

static void due_delack(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (!(c->flags & SL_C_ACK_DELAYED))
		return;
	SL_COUNT(sq, tcp_out_ack_delayed);
	c->flags &= ~SL_C_ACK_DELAYED;
	sl_ack_now(sq, c);
}

static void due_keep(struct sluice_squeue *sq, struct sl_conn *c)
{
	uint64_t idle = SL_CONN_TUN(sq, c, tcp_keepidle, keepidle),
		 intvl = SL_CONN_TUN(sq, c, tcp_keepintvl, keepintvl);

	if (!(c->flags & SL_C_KEEPALIVE) || c->state < SLUICE_ESTABLISHED ||
	    c->state == SLUICE_TIME_WAIT)
		return;
	SL_COUNT(sq, tcp_keepalive);
	if (sq->now < c->last_rcv + idle) {
		c->keep_probes = 0;
		sl_conn_timer_set(sq, c, SL_T_KEEP, c->last_rcv + idle);
		return;
	}
	if (c->rec_head != NULL) { /* data in flight asks the same question */
		sl_conn_timer_set(sq, c, SL_T_KEEP, sq->now + intvl);
		return;
	}
	if (c->keep_probes >= SL_CONN_TUN(sq, c, tcp_keepcnt, keepcnt)) {
		SL_COUNT(sq, tcp_keepalive_drop);
		sl_conn_drop(sq, c, c->soft_err != 0 ? c->soft_err : ETIMEDOUT);
		return;
	}
	/* One that could not leave counts too: a peer without a way to it is gone as well. */
	c->keep_probes++;
	if (sl_output_ctl(sq, c, c->snd_una - 1, SL_TH_ACK))
		SL_COUNT(sq, tcp_keepalive_probe);
	sl_conn_timer_set(sq, c, SL_T_KEEP, sq->now + intvl);
}

static void due_misc(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (c->misc_why == SL_MISC_FIN_WAIT2 && c->state == SLUICE_FIN_WAIT_2)
		SL_COUNT(sq, tcp_fin_wait2_drop);
	else if (c->misc_why != SL_MISC_TIME_WAIT || c->state != SLUICE_TIME_WAIT)
		return;
	sl_conn_drop(sq, c, 0);
}

static void (*const due[SL_T_COUNT])(struct sluice_squeue *sq, struct sl_conn *c) = {
    [SL_T_RTX] = due_rtx,
    [SL_T_PERSIST] = due_persist,
    [SL_T_DELACK] = due_delack,
    [SL_T_KEEP] = due_keep,
    [SL_T_MISC] = due_misc,
};

void sl_conn_timers_file(struct sluice_squeue *sq, struct sl_conn *c)
{
	uint32_t now = (uint32_t)(sq->now >> SL_TICK_SHIFT);
	int32_t first = INT32_MAX;

	for (unsigned int i = 0; i < SL_T_COUNT; i++)
		if (c->deadline[i] != 0 && (int32_t)(c->deadline[i] - now) < first)
			first = (int32_t)(c->deadline[i] - now);
	if (first == INT32_MAX)
		return;
	/* A callback may have filed the node already, for an earlier deadline of its own at most.
	 */
	sl_timer_set(&sq->wheel, &c->timer,
	    ((sq->now >> SL_TICK_SHIFT) + (uint64_t)RTE_MAX(first, 0)) << SL_TICK_SHIFT);
}

void sl_conn_timer(void *arg, struct sl_timer *timer)
{
	struct sluice_squeue *sq = arg;
	struct sl_conn *c = SL_CONTAINER_OF(timer, struct sl_conn, timer);
	uint32_t now = (uint32_t)(sq->now >> SL_TICK_SHIFT);

	for (unsigned int i = 0; i < SL_T_COUNT; i++) {
		if (c->deadline[i] == 0 || (int32_t)(c->deadline[i] - now) > 0)
			continue;
		c->deadline[i] = 0;
		due[i](sq, c);
		if (c->state == SLUICE_CLOSED)
			return;
	}
	sl_conn_timers_file(sq, c);
}

/* ---- arming ---- */

void sl_rtx_rearm(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (c->rec_head != NULL) {
		sl_conn_timer_set(sq, c, SL_T_RTX, sl_rtx_at(sq, c)); /* RFC 6298 5.1, 5.3 */
		sl_conn_timer_cancel(sq, c, SL_T_PERSIST);
		return;
	}
	sl_conn_timer_cancel(sq, c, SL_T_RTX); /* 5.2 */
	if (c->snd_nxt == sl_snd_end(c)) {
		sl_conn_timer_cancel(sq, c, SL_T_PERSIST);
	} else if (!sl_conn_timer_armed(c, SL_T_PERSIST)) {
		/* Nothing in flight and something to send: whatever holds it back, the connection
		 * asks again. At an open window that is the override of the sender's silly window
		 * avoidance: within a second (RFC 9293 3.8.6.2.1). */
		uint64_t wait = sl_rto(sq, c);

		if (!window_closed(c))
			wait = RTE_MIN(wait, SLUICE_SEC(1));
		sl_conn_timer_set(sq, c, SL_T_PERSIST, sq->now + wait);
	}
}

void sl_keepalive_restart(struct sluice_squeue *sq, struct sl_conn *c)
{
	c->keep_probes = 0;
	if (c->flags & SL_C_KEEPALIVE)
		sl_conn_timer_set(sq, c, SL_T_KEEP,
		    RTE_MAX(sq->now, c->last_rcv + SL_CONN_TUN(sq, c, tcp_keepidle, keepidle)));
	else
		sl_conn_timer_cancel(sq, c, SL_T_KEEP);
}
