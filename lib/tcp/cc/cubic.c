/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CUBIC: RFC 9438. After a loss at the window W_max the window follows, in time and not in round
 * trips,
 *
 *	W(t) = C (t - K)^3 + W_max,	K = cbrt((W_max - cwnd_epoch) / C),	C = 0.4 segments/s^3
 *
 * where t counts from the start of congestion avoidance (the epoch): steep at first, flat around
 * W_max, steep beyond it. W_est beside it is what a Reno sender that shares the path would have by
 * now; where that is more, it rules. A loss leaves beta = 0.7 of what was in flight.
 *
 * Bytes and integers throughout. The cube is taken in microseconds, with the scale divided out
 * after each product so that 64 bits hold it; what that loses is below a byte. All growth keeps the
 * remainder of its division, or a large window would never grow at all by small ACKs.
 */
#include <tcp/cc/cc.h>

#define NO_SSTHRESH UINT32_MAX /* RFC 5681 3.1: no loss has been seen */
#define MAX_CWND (1u << 30)    /* no peer's window is larger (RFC 7323 2.2) */
#define CUBE_US (1ull << 27)   /* 134 s: the cube is beyond all windows from here on */

static uint32_t min32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t max32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* ---- the curve ---- */

/* The largest r with r^3 <= v, bit by bit from the top: 21 bits of root have a cube of 63. */
static uint32_t cube_root(uint64_t v)
{
	uint64_t r = 0;

	for (uint64_t bit = 1u << 20; bit != 0; bit >>= 1) {
		uint64_t try = r | bit;

		if (try * try * try <= v)
			r = try;
	}
	return (uint32_t)r;
}

/*
 * K for a way of `up` bytes. up / (C mss) s^3 is, in ms^3, up * 5e9 / (2 mss), which fits for all
 * windows. Multiplied by 8 as long as it stays below 2^63, its root has 20 significant bits; each
 * doubled the root.
 */
static uint64_t time_to_rise(uint32_t up, uint32_t mss)
{
	uint64_t v = (uint64_t)up * 5000000000u / (2 * (uint64_t)mss);
	unsigned int shift = 0;

	while (v != 0 && v < 1ull << 60) {
		v <<= 3;
		shift++;
	}
	return (uint64_t)cube_root(v) * 1000000 >> shift;
}

/* C d^3 in bytes, d in ns. */
static uint32_t cube(uint64_t d, uint32_t mss)
{
	uint64_t us = d / 1000, v;

	if (us >= CUBE_US)
		return UINT32_MAX;
	v = us * us / 1000000; /* 1e-6 s^2, < 2^35 */
	v = v * us / 1000000;  /* 1e-6 s^3, < 2^42 */
	v = v * mss / 2500000; /* times 0.4 */
	return v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
}

/* W(t), between 0 and the largest window. */
static uint32_t curve(const struct sl_cc *cc, uint64_t t, uint32_t mss)
{
	uint32_t w_max = cc->cubic.w_max, d;

	if (t < cc->cubic.k) {
		d = cube(cc->cubic.k - t, mss);
		return d < w_max ? w_max - d : 0;
	}
	d = cube(t - cc->cubic.k, mss);
	return d < MAX_CWND - w_max ? w_max + d : MAX_CWND;
}

/* ---- growth ---- */

static void no_epoch(struct sl_cc *cc)
{
	cc->cubic.epoch_start = 0;
	cc->acked = cc->cubic.acked_est = 0;
}

/* Congestion avoidance begins: RFC 9438 4.2. From W_max or above (after a time-out always, 4.8) the
 * curve starts on its plateau. */
static void start_epoch(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	no_epoch(cc);
	cc->cubic.epoch_start = ev->now != 0 ? ev->now : 1;
	cc->cubic.w_est = cc->cwnd;
	cc->cubic.k = 0;
	if (cc->cwnd < cc->cubic.w_max)
		cc->cubic.k = time_to_rise(cc->cubic.w_max - cc->cwnd, ev->mss);
	else
		cc->cubic.w_max = min32(cc->cwnd, MAX_CWND);
}

/*
 * RFC 9438 4.3: alpha segments for each window acknowledged, where alpha = 3 (1 - beta) / (1 +
 * beta) = 9/17 makes up for the smaller reduction; one, as Reno, from the window of the last
 * reduction on.
 */
static void grow_estimate(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	uint64_t per = cc->cwnd;

	if (cc->cubic.w_est < cc->prior_cwnd)
		per = per * 17 / 9;
	cc->cubic.acked_est += min32(ev->acked, cc->cwnd);
	if (cc->cubic.acked_est >= per) {
		cc->cubic.acked_est -= (uint32_t)per;
		cc->cubic.w_est = min32(cc->cubic.w_est + ev->mss, MAX_CWND);
	}
}

/* RFC 9438 4.4, 4.5: towards where the curve will be in a round trip, by the share of the window
 * that was acknowledged. */
static void follow_curve(struct sl_cc *cc, const struct sl_cc_ev *ev, uint64_t t)
{
	uint32_t target = curve(cc, t + ev->srtt, ev->mss), inc;
	uint64_t way;

	target = min32(target, cc->cwnd + cc->cwnd / 2);
	if (target <= cc->cwnd) {
		cc->acked = 0;
		return;
	}
	way = target - cc->cwnd;
	cc->acked = min32(cc->acked + min32(ev->acked, cc->cwnd), cc->cwnd);
	inc = (uint32_t)(way * cc->acked / cc->cwnd);
	/* The bytes that bought this are spent; the rest counts towards the next one. */
	cc->acked -= (uint32_t)(((uint64_t)inc * cc->cwnd + way - 1) / way);
	cc->cwnd += inc;
}

static void avoid_congestion(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	uint64_t t;

	if (cc->cubic.epoch_start == 0)
		start_epoch(cc, ev);
	t = ev->now - cc->cubic.epoch_start;
	if (ev->now < cc->cubic.epoch_start) /* only when now is 0: the epoch is 1 then */
		t = 0;
	grow_estimate(cc, ev);
	if (curve(cc, t, ev->mss) < cc->cubic.w_est) {
		cc->acked = 0;
		cc->cwnd = max32(cc->cwnd, cc->cubic.w_est);
	} else {
		follow_curve(cc, ev, t);
	}
}

static void cubic_ack(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	if (ev->in_recovery)
		return;
	if (!ev->cwnd_limited) {
		/* RFC 9438 4.2: time in which the application limits is no time of the curve. An
		 * ACK behind others of one batch also finds room in the window, so only half of it
		 * unused says so. */
		if (ev->flight < cc->cwnd / 2)
			no_epoch(cc);
		return;
	}
	if (cc->cwnd < cc->ssthresh) {
		/* RFC 9438 4.10 leaves slow start as it is; RFC 3465 2.3: two segments for an ACK,
		 * but one after a time-out. */
		uint32_t limit = cc->ssthresh == NO_SSTHRESH ? 2 * ev->mss : ev->mss;

		cc->cwnd = min32(cc->cwnd + min32(ev->acked, limit), MAX_CWND);
		return;
	}
	avoid_congestion(cc, ev);
}

/* ---- reduction ---- */

static void reduce(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	cc->prior_cwnd = cc->cwnd;
	cc->prior_ssthresh = cc->ssthresh;
	cc->cubic.w_last_max = cc->cubic.w_max;
	cc->ssthresh = max32((uint32_t)((uint64_t)ev->flight * 7 / 10), 2 * ev->mss);
}

static void cubic_loss(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	reduce(cc, ev);
	/* Fast convergence, RFC 9438 4.7: the window did not come back to where it was, another
	 * flow has joined: make room, (1 + beta) / 2. */
	if (cc->cwnd < cc->cubic.w_max)
		cc->cubic.w_max = (uint32_t)((uint64_t)cc->cwnd * 17 / 20);
	else
		cc->cubic.w_max = min32(cc->cwnd, MAX_CWND);
	no_epoch(cc);
}

static void cubic_recovered(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	(void)ev;
	cc->cwnd = cc->ssthresh;
	no_epoch(cc);
}

/* RFC 9438 4.8: the curve after a time-out has K = 0 and W_max where congestion avoidance starts,
 * which w_max = 0 brings about. */
static void cubic_rto(struct sl_cc *cc, const struct sl_cc_ev *ev, bool first)
{
	if (first) {
		reduce(cc, ev);
		cc->cubic.w_max = 0;
	}
	cc->cwnd = ev->mss;
	no_epoch(cc);
}

static void cubic_idle(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	cc->cwnd = min32(cc->cwnd, ev->init_cwnd);
	no_epoch(cc);
}

/* RFC 9438 4.9. The epoch begins anew: below W_max that is the same place of the same curve. */
static void cubic_undo(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	(void)ev;
	if (cc->prior_cwnd == 0)
		return; /* nothing was ever reduced */
	cc->cwnd = max32(cc->cwnd, cc->prior_cwnd);
	cc->ssthresh = cc->prior_ssthresh;
	cc->cubic.w_max = cc->cubic.w_last_max;
	no_epoch(cc);
}

static void cubic_init(struct sl_cc *cc, const struct sl_cc_ev *ev)
{
	cc->cwnd = ev->init_cwnd;
	cc->ssthresh = NO_SSTHRESH;
	cc->prior_cwnd = cc->prior_ssthresh = 0;
	cc->cubic.w_max = cc->cubic.w_last_max = cc->cubic.w_est = 0;
	cc->cubic.k = 0;
	no_epoch(cc);
}

const struct sl_cc_ops sl_cc_cubic = {
    .name = "cubic",
    .init = cubic_init,
    .ack = cubic_ack,
    .loss = cubic_loss,
    .recovered = cubic_recovered,
    .rto = cubic_rto,
    .idle = cubic_idle,
    .undo = cubic_undo,
};
