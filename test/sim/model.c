/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The receiver, once more, slow and small, written from RFC 9293 section 3.10.7.4 (and RFC 7323 5.3
 * for the timestamp, RFC 5961 for RST and SYN), with one byte of memory for each of the stream: what
 * must be acknowledged, in which state, how much can be delivered.
 *
 * It sees the segments that the port handed up. What it cannot see (the window that was decided but
 * not yet sent, memory that was short) makes it doubt or loose: then it holds the stack to bounds,
 * or learns from it, and that is counted.
 */
#include <stdlib.h>

#include "sim.h"

void sim_model_start(struct sim_model *m, uint32_t irs, uint32_t iss, uint32_t bytes)
{
	sim_model_stop(m);
	*m = (struct sim_model){.on = true,
	    .irs = irs,
	    .nxt = irs + 1,
	    .una = iss + 1,
	    .have = calloc(bytes + 1, 1),
	    .cap = bytes,
	    .state = SLUICE_ESTABLISHED,
	    .maybe = SLUICE_ESTABLISHED};
	if (m->have == NULL)
		abort();
}

void sim_model_stop(struct sim_model *m)
{
	free(m->have);
	*m = (struct sim_model){0};
}

/* ---- states (figure 5) ---- */

static enum sluice_state after_shut(enum sluice_state s)
{
	return s == SLUICE_ESTABLISHED  ? SLUICE_FIN_WAIT_1
	       : s == SLUICE_CLOSE_WAIT ? SLUICE_LAST_ACK
					: s;
}

static enum sluice_state after_fin(enum sluice_state s)
{
	return s == SLUICE_ESTABLISHED  ? SLUICE_CLOSE_WAIT
	       : s == SLUICE_FIN_WAIT_1 ? SLUICE_CLOSING
	       : s == SLUICE_FIN_WAIT_2 ? SLUICE_TIME_WAIT
					: s;
}

static enum sluice_state after_fin_acked(enum sluice_state s)
{
	return s == SLUICE_FIN_WAIT_1 ? SLUICE_FIN_WAIT_2
	       : s == SLUICE_CLOSING  ? SLUICE_TIME_WAIT
	       : s == SLUICE_LAST_ACK ? SLUICE_CLOSED
				      : s;
}

void sim_model_shut(struct sim_model *m)
{
	if (m->fin_out)
		return;
	m->fin_out = true;
	m->state = after_shut(m->state);
	m->maybe = after_shut(m->maybe);
}

/* ---- the checks of 3.10.7.4 ---- */

/* First: the four cases of the table. A FIN alone needs no room. */
static bool acceptable(const struct sim_model *m, const struct sim_seg *g, uint32_t edge)
{
	uint32_t len = g->len + !!(g->flags & SL_TH_FIN);

	if (len == 0)
		return seq_ge(g->seq, m->nxt) && seq_le(g->seq, edge);
	if (edge == m->nxt)
		return g->len == 0 && g->seq == m->nxt;
	return seq_lt(g->seq, edge) && seq_gt(g->seq + len, m->nxt);
}

static bool paws(const struct sim_model *m, const struct sim_seg *g)
{
	return m->ts_known && seq_lt(g->tsval, m->ts_recent);
}

/* Fifth: does the segment acknowledge our FIN? False: the acknowledgement is of nothing sent. */
static bool ack(
    struct sim_model *m, const struct sim_seg *g, const struct sim_model_in *in, bool lenient)
{
	if (seq_gt(g->ack, in->snd_max) || seq_lt(g->ack, m->una - m->max_wnd))
		return false;
	if (seq_ge(g->ack, m->una)) {
		m->una = g->ack;
		m->max_wnd = RTE_MAX(m->max_wnd, (uint32_t)g->wnd << in->snd_wscale);
	}
	if (!in->fin_sent || !m->fin_out || seq_lt(g->ack, in->fin_end))
		return true;
	m->maybe = after_fin_acked(m->maybe);
	if (!lenient)
		m->state = after_fin_acked(m->state);
	return true;
}

static void data(struct sim_model *m, uint32_t seq, uint32_t end, uint32_t edge)
{
	for (; seq_lt(seq, end); seq++) {
		uint32_t at = seq - (m->irs + 1);

		if (seq_ge(seq, m->nxt) && seq_lt(seq, edge) && at < m->cap)
			m->have[at] = 1;
	}
	while (m->nxt - (m->irs + 1) < m->cap && m->have[m->nxt - (m->irs + 1)])
		m->nxt++;
}

static bool receives(enum sluice_state s)
{
	return s == SLUICE_ESTABLISHED || s == SLUICE_FIN_WAIT_1 || s == SLUICE_FIN_WAIT_2;
}

static void text(struct sim_model *m, const struct sim_seg *g, const struct sim_model_in *in)
{
	uint32_t end = g->seq + g->len;

	if (!receives(m->state) || m->fin_done)
		return;
	if (g->len > 0 && in->orphan && seq_gt(end, m->nxt))
		m->reset = true; /* nobody reads any more: the stack resets (3.6.1) */
	data(m, g->seq, end, in->edge_lo);
	if (seq_gt(end, in->edge_lo) && in->edge_hi != in->edge_lo)
		m->doubt = true;
	if ((g->flags & SL_TH_FIN) && seq_le(end, in->edge_hi)) {
		m->fin_known = true;
		m->fin_seq = end;
	}
	if (m->fin_known && m->nxt == m->fin_seq) {
		m->nxt++;
		m->fin_done = true;
		m->state = after_fin(m->state);
		m->maybe = after_fin(m->maybe);
	}
}

void sim_model_feed(struct sim_model *m, const struct sim_seg *g, const struct sim_model_in *in)
{
	bool ok = acceptable(m, g, in->edge_lo), late = acceptable(m, g, in->edge_hi);

	if (m->rst_seen || (g->flags & SL_TH_SYN))
		return; /* ours, or one that is challenged */
	if (g->flags & SL_TH_RST) {
		/* RFC 5961 3.2; in TIME_WAIT none is believed (RFC 1337). */
		m->rst_seen = g->seq == m->nxt && m->state != SLUICE_TIME_WAIT;
		m->doubt |= !m->rst_seen;
		return;
	}
	if (in->ts && paws(m, g)) {
		m->doubt = true; /* between what was acknowledged and what was said of it */
		return;
	}
	if (!ok && late)
		m->doubt = true;
	if (!ok) {
		if (g->flags & SL_TH_ACK)
			(void)ack(m, g, in, true);
		return;
	}
	if (in->ts && g->has_ts && seq_le(g->seq, in->last_ack)) {
		m->ts_known = true;
		m->ts_recent = g->tsval;
	}
	if ((g->flags & SL_TH_ACK) && ack(m, g, in, false))
		text(m, g, in);
}
