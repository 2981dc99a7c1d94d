/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NewReno: RFC 5681 with the byte counting of RFC 3465. Below ssthresh the window grows by what is
 * acknowledged, so it doubles in a round trip; above, by one segment for each window acknowledged;
 * a loss halves what was in flight. How the window moves during fast recovery is not decided here.
 */
#include <tcp/cc/cc.h>

#define NO_SSTHRESH UINT32_MAX /* "arbitrarily high" (RFC 5681 3.1): no loss has been seen */
#define MAX_CWND (1u << 30)    /* no peer's window is larger (RFC 7323 2.2) */

static uint32_t min32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t max32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static void newreno_init(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	cc->cwnd = ev->init_cwnd;
	cc->ssthresh = NO_SSTHRESH;
	cc->prior_cwnd = cc->prior_ssthresh = 0;
	cc->acked = 0;
}

/*
 * RFC 3465 2.2 and 2.3: at most two segments for an ACK, so that a receiver which acknowledges
 * every second one costs nothing; but only one after a time-out, when an ACK may cover what had
 * arrived long before. With a finite ssthresh slow start is that, or the restart after idle.
 */
static void slow_start(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	uint32_t limit = cc->ssthresh == NO_SSTHRESH ? 2 * ev->mss : ev->mss;

	cc->cwnd = min32(cc->cwnd + min32(ev->acked, limit), MAX_CWND);
}

static void newreno_ack(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	if (!ev->cwnd_limited || ev->in_recovery)
		return;
	if (cc->cwnd < cc->ssthresh) {
		slow_start(cc, ev);
		return;
	}
	/* RFC 3465 2.1. More than a window cannot have been acknowledged in a round trip. */
	cc->acked += min32(ev->acked, cc->cwnd);
	if (cc->acked >= cc->cwnd) {
		cc->acked -= cc->cwnd;
		cc->cwnd = min32(cc->cwnd + ev->mss, MAX_CWND);
	}
}

static void reduce(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	cc->prior_cwnd = cc->cwnd;
	cc->prior_ssthresh = cc->ssthresh;
	cc->ssthresh = max32(ev->flight / 2, 2 * ev->mss); /* RFC 5681 3.1, (4) */
}

static void newreno_loss(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	reduce(cc, ev);
	cc->acked = 0;
}

static void newreno_recovered(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	(void)ev;
	cc->cwnd = cc->ssthresh;
	cc->acked = 0;
}

static void newreno_rto(struct sl_cc *cc, const struct sl_cc_ev *ev, bool first)
{
	if (first)
		reduce(cc, ev);
	cc->cwnd = ev->mss; /* the loss window */
	cc->acked = 0;
}

static void newreno_idle(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	cc->cwnd = min32(cc->cwnd, ev->init_cwnd);
	cc->acked = 0;
}

static void newreno_undo(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	(void)ev;
	if (cc->prior_cwnd == 0)
		return; /* nothing was ever reduced */
	cc->cwnd = max32(cc->cwnd, cc->prior_cwnd);
	cc->ssthresh = cc->prior_ssthresh;
	cc->acked = 0;
}

const struct sl_cc_ops sl_cc_newreno = {
    .name = "newreno",
    .init = newreno_init,
    .ack = newreno_ack,
    .loss = newreno_loss,
    .recovered = newreno_recovered,
    .rto = newreno_rto,
    .idle = newreno_idle,
    .undo = newreno_undo,
};
