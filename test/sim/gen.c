/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plan out of a seed. Each subject (the world, each link, each connection, the events) draws from
 * a stream of its own, so that a change of how one is made leaves the others as they were.
 *
 * Swarm: of every feature a seed uses some and leaves out the rest; a world with everything in it
 * hides more than it shows. Worlds are small: a few connections, mostly some kilobytes.
 */
#include "sim.h"

struct gen {
	struct sim_plan *p;
	uint64_t seed;
	unsigned int nst, nlinks, nconns, nsq[SIM_MAX_STACKS];
	unsigned int link[SIM_MAX_LINKS][2];
	bool rough; /* events that may end connections */
	bool tiny;  /* buffers of a few segments: little data */
};

/* In which order the arguments of a call are evaluated is the compiler's: where there are two draws,
 * they are made before, or a seed would mean one thing here and another there. */
static uint64_t below(struct sl_rng *r, uint64_t n)
{
	return sl_rng_below(r, n);
}

static bool one_in(struct sl_rng *r, unsigned int n)
{
	return below(r, n) == 0;
}

static uint64_t between(struct sl_rng *r, uint64_t lo, uint64_t hi)
{
	return lo + below(r, hi - lo + 1);
}

/* Of any order of magnitude up to 2^bits. */
static uint64_t scale(struct sl_rng *r, unsigned int bits)
{
	return 1 + below(r, 1ull << (1 + below(r, bits)));
}

/* ---- the world ---- */

static void tun(struct gen *g, unsigned int stack, const char *name, uint64_t v)
{
	SIM_ADD(g->p, SIM_TUN, stack, sluice_tunable_find(name), (int64_t)v);
}

static void features(struct gen *g, struct sl_rng *r, unsigned int i)
{
	if (one_in(r, 4))
		tun(g, i, "tcp.wscale", 0);
	if (one_in(r, 3))
		tun(g, i, "tcp.timestamps", 0);
	if (one_in(r, 3))
		tun(g, i, "tcp.sack", 0);
	if (one_in(r, 2))
		tun(g, i, "tcp.cc", 0);
	if (one_in(r, 2))
		tun(g, i, "tcp.nodelay", 1);
	if (one_in(r, 2))
		tun(g, i, "tcp.delack", below(r, 3) * SLUICE_MS(20));
	if (one_in(r, 2))
		tun(g, i, "tcp.quickack", 0);
	if (one_in(r, 3))
		tun(g, i, "tcp.mss_max", between(r, 88, 1500));
	if (one_in(r, 3))
		tun(g, i, "tcp.init_cwnd", between(r, 1, 12));
	if (one_in(r, 3))
		tun(g, i, "tcp.copy_below", one_in(r, 2) ? 0 : scale(r, 11));
	if (one_in(r, 6))
		tun(g, i, "tcp.ooo_max", between(r, 1, 6));
	if (one_in(r, 4))
		tun(g, i, "tcp.time_wait", SLUICE_MS(1) * below(r, 2000));
	if (one_in(r, 4))
		tun(g, i, "tcp.delack_segs", between(r, 1, 4));
}

static void limits(struct gen *g, struct sl_rng *r, unsigned int i)
{
	if (one_in(r, 2))
		tun(g, i, "tcp.rcvbuf", 2048u << below(r, 9));
	if (one_in(r, 2))
		tun(g, i, "tcp.sndbuf", 2048u << below(r, 9));
	if (one_in(r, 2))
		tun(g, i, "squeue.rx_burst", between(r, 1, 64));
	if (one_in(r, 4))
		tun(g, i, "squeue.rx_budget", between(r, 1, 64));
	if (one_in(r, 4))
		tun(g, i, "squeue.output_budget", between(r, 1, 32));
	if (one_in(r, 4))
		tun(g, i, "squeue.entry_budget", between(r, 1, 16));
	if (one_in(r, 8))
		tun(g, i, "tcp.rto_min", SLUICE_MS(1) * between(r, 5, 1000));
	if (one_in(r, 4)) /* small: what arrives comes in chains */
		SIM_ADD(g->p, SIM_ROOM, i, between(r, 100, 600));
	if (one_in(r, 6))
		SIM_ADD(g->p, SIM_POOL, i, between(r, 20, 200));
}

static void world(struct gen *g, unsigned int squeues)
{
	struct sl_rng r;

	sl_rng_seed(&r, g->seed, 1);
	g->nst = one_in(&r, 2) ? 2 : one_in(&r, 8) ? 4 : 3;
	g->rough = one_in(&r, 4);
	g->tiny = one_in(&r, 3);
	SIM_ADD(g->p, SIM_STACKS, g->nst);
	SIM_ADD(g->p, SIM_ORDER, between(&r, 0, 1u << 30));
	SIM_ADD(g->p, SIM_QUIET, SLUICE_MS(1) * between(&r, 200, 5000));
	for (unsigned int i = 0; i < g->nst; i++) {
		g->nsq[i] = squeues != 0    ? squeues
			    : one_in(&r, 2) ? 1
			    : one_in(&r, 8) ? (unsigned int)between(&r, 5, SIM_MAX_SQ)
					    : (unsigned int)between(&r, 2, 4);
		if (g->nsq[i] > 1)
			SIM_ADD(g->p, SIM_SQUEUES, i, g->nsq[i]);
		if (g->nsq[i] > 1 && one_in(&r, 2))
			tun(g, i, "steer.follow", 1);
		if (g->nsq[i] > 1 && one_in(&r, 2))
			SIM_ADD(g->p, SIM_MOVES, i, scale(&r, 8));
		if (g->nsq[i] > 1 && one_in(&r, 3))
			SIM_ADD(g->p, SIM_PARKS, i, scale(&r, 8));
		features(g, &r, i);
		limits(g, &r, i);
		if (g->tiny)
			tun(g, i, "tcp.rcvbuf", between(&r, 2048, 6000));
	}
}

/* ---- links ---- */

static void noise(struct gen *g, struct sl_rng *r, unsigned int l, unsigned int e)
{
	struct sim_plan *p = g->p;
	uint64_t x, y;

	SIM_ADD(p, SIM_NOISE, l, e, between(r, 1, 1ull << 40));
	if (!one_in(r, 3))
		SIM_ADD(p, SIM_LOSS, l, e, between(r, 2000, 100000));
	if (one_in(r, 6)) {
		x = between(r, 1000, 30000);
		y = 200000 + below(r, 600000);
		SIM_ADD(p, SIM_GILBERT, l, e, x, y);
	}
	if (one_in(r, 3))
		SIM_ADD(p, SIM_DUP, l, e, between(r, 2000, 60000));
	if (one_in(r, 2)) {
		x = between(r, 5000, 150000);
		y = SLUICE_MS(1) + below(r, SLUICE_MS(20));
		SIM_ADD(p, SIM_REORDER, l, e, x, y);
	}
	if (one_in(r, 3))
		SIM_ADD(p, SIM_CORRUPT, l, e, between(r, 2000, 40000));
	if (one_in(r, 5))
		SIM_ADD(p, SIM_TRUNCATE, l, e, between(r, 1000, 20000));
	if (one_in(r, 3))
		SIM_ADD(p, SIM_JITTER, l, e, below(r, SLUICE_MS(5)));
	if (one_in(r, 8))
		SIM_ADD(p, SIM_NTH, l, e, between(r, 1, 20));
	if (g->rough && one_in(r, 4)) {
		x = 1u << below(r, 6);
		y = between(r, 1, 6);
		SIM_ADD(p, SIM_LOSEFLAG, l, e, x, y);
	}
}

static void port(struct gen *g, struct sl_rng *r, unsigned int l, unsigned int e)
{
	struct sim_plan *p = g->p;
	unsigned int caps = 0, nsq = g->nsq[g->link[l][e]];

	if (one_in(r, 3))
		caps |= SIM_CAP_CKSUM | (one_in(r, 2) ? SIM_CAP_TSO : 0);
	if (one_in(r, 3))
		caps |= SIM_CAP_RXCKSUM;
	if (one_in(r, 6) && !(caps & SIM_CAP_TSO))
		caps |= SIM_CAP_ONESEG;
	if (one_in(r, 6) && !(caps & SIM_CAP_TSO))
		caps |= SIM_CAP_DIRECT;
	if (caps != 0)
		SIM_ADD(p, SIM_CAPS, l, e, caps);
	if (nsq > 1 && one_in(r, 3))
		SIM_ADD(p, SIM_QUEUES, l, e, between(r, 1, nsq));
	if (nsq > 1 && one_in(r, 3))
		SIM_ADD(p, SIM_STEER, l, e, between(r, 1, SIM_NSTEER - 1));
	if (one_in(r, 4))
		SIM_ADD(p, SIM_TXPART, l, e, between(r, 1, 1000));
	if (one_in(r, 4))
		SIM_ADD(p, SIM_RXPART, l, e, between(r, 1, 1000));
	if (one_in(r, 3))
		SIM_ADD(p, SIM_TXHOLD, l, e, below(r, SLUICE_MS(50)));
	SIM_ADD(p, SIM_DELAY, l, e, one_in(r, 3) ? 0 : below(r, SLUICE_MS(1) << below(r, 6)));
	if (one_in(r, 4))
		SIM_ADD(p, SIM_QUEUE, l, e, between(r, 4, 40));
	if (!one_in(r, 6))
		noise(g, r, l, e);
}

static void one_link(struct gen *g, unsigned int a, unsigned int b)
{
	unsigned int l = g->nlinks++;
	struct sl_rng r;

	sl_rng_seed(&r, g->seed, 10 + l);
	g->link[l][0] = a;
	g->link[l][1] = b;
	SIM_ADD(g->p, SIM_LINK, l, a, b);
	SIM_ADD(g->p, SIM_LATENCY, l, between(&r, 1, SLUICE_MS(1)));
	if (one_in(&r, 4))
		SIM_ADD(g->p, SIM_MTU, l, one_in(&r, 2) ? 9000 : between(&r, 1280, 2000));
	if (one_in(&r, 3))
		SIM_ADD(g->p, SIM_RATE, l, 1000000ull << below(&r, 10));
	if (one_in(&r, 4))
		SIM_ADD(g->p, SIM_DEPTH, l, between(&r, 2, 20));
	port(g, &r, l, 0);
	port(g, &r, l, 1);
}

/* Each two stacks have a link of their own: the third routes nothing, and talks to both. */
static void links(struct gen *g)
{
	for (unsigned int a = 0; a < g->nst; a++)
		for (unsigned int b = a + 1; b < g->nst; b++)
			one_link(g, a, b);
}

/* ---- connections ---- */

static void write_op(
    struct gen *g, struct sl_rng *r, unsigned int c, unsigned int side, uint64_t *left)
{
	static const enum sim_op ops[] = {
	    SIM_CHAIN, SIM_CHAIN, SIM_COPY, SIM_EXT, SIM_MORE, SIM_OOB};
	enum sim_op op = ops[below(r, 6)];
	uint64_t n = scale(r, 14);

	if (n > *left)
		n = *left;
	if (op == SIM_OOB && !one_in(r, 4))
		op = SIM_CHAIN;
	SIM_ADD(g->p, op, c, side, (int64_t)n);
	*left -= n;
	if (one_in(r, 12))
		SIM_ADD(g->p, SIM_WPAUSE, c, side, below(r, SLUICE_MS(1) << below(r, 10)));
}

static void reads(
    struct gen *g, struct sl_rng *r, unsigned int c, unsigned int side, uint64_t total)
{
	unsigned int n = (unsigned int)below(r, 4);

	/* A reader that falls behind: the window closes, and opens when it comes back. */
	if (g->tiny || one_in(r, 3))
		SIM_ADD(g->p, SIM_RPAUSE, c, side, below(r, SLUICE_MS(1) << below(r, 12)));
	for (unsigned int i = 0; i < n; i++) {
		enum sim_op op = one_in(r, 2) ? SIM_TAKE : SIM_CONSUME;

		SIM_ADD(g->p, op, c, side, 1 + total / 100 + below(r, 3000));
	}
	if (one_in(r, 8))
		SIM_ADD(g->p, SIM_NOSPACE, c, side, below(r, SLUICE_MS(500)));
	if (one_in(r, 40))
		SIM_ADD(g->p, SIM_SHUTRD, c, side);
}

static void talk(struct gen *g, struct sl_rng *r, unsigned int c)
{
	unsigned int order = (unsigned int)below(r, 4);
	uint64_t total[2];

	for (unsigned int k = 0; k < 2; k++) {
		uint64_t left = one_in(r, 4) ? 0
				: g->tiny    ? between(r, 1, 20000)
					     : scale(r, one_in(r, 16) ? 18 : 15);

		total[k] = left;
		while (left > 0)
			write_op(g, r, c, k, &left);
		/* One side waits for the other's end, or their FINs cross. */
		if (order == k)
			SIM_ADD(g->p, SIM_WAITEND, c, k);
	}
	for (unsigned int k = 0; k < 2; k++)
		reads(g, r, c, k, total[!k]);
}

static void ending(struct gen *g, struct sl_rng *r, unsigned int c, bool simul)
{
	unsigned int k = (unsigned int)below(r, 2);

	switch (below(r, 14)) {
	case 0:
		SIM_ADD(g->p, SIM_ABORTAT, c, k, below(r, SLUICE_MS(500)));
		break;
	case 1: /* at once, or when the SYN is on the wire: then the half-open end meets a RST */
		SIM_ADD(g->p, SIM_CLOSEAT, c, 0, below(r, SLUICE_MS(1) << below(r, 6)));
		break;
	case 2:
		SIM_ADD(g->p, SIM_CLOSE, c, k);
		break;
	case 3:
		SIM_ADD(g->p, SIM_ABORT, c, k);
		break;
	case 4:
		SIM_ADD(g->p, SIM_LINGER, c, 0, below(r, 3));
		break;
	case 5:
		if (!simul)
			SIM_ADD(g->p, SIM_REFUSE, c);
		break;
	case 6:
		if (!simul)
			SIM_ADD(g->p, SIM_ACCEPTAT, c,
			    one_in(r, 4) ? SLUICE_SEC(4000) : below(r, SLUICE_SEC(1)));
		break;
	default:
		break;
	}
}

static void one_conn(struct gen *g, unsigned int c)
{
	struct sl_rng r;
	uint64_t from, v6;
	bool simul;
	unsigned int l;

	sl_rng_seed(&r, g->seed, 100 + c);
	simul = one_in(&r, 7);
	l = (unsigned int)below(&r, g->nlinks);
	from = below(&r, 2);
	v6 = below(&r, 2);
	SIM_ADD(g->p, SIM_CONN, c, l, from, v6, simul);
	if (!one_in(&r, 3))
		SIM_ADD(g->p, SIM_OPEN, c, below(&r, SLUICE_MS(1) << below(&r, 10)));
	if (one_in(&r, 2))
		SIM_ADD(g->p, SIM_WRAP, c, scale(&r, 15));
	for (unsigned int k = 0; k < 2; k++)
		if (one_in(&r, 2))
			SIM_ADD(g->p, SIM_BORN, c, k, below(&r, SIM_MAX_SQ));
	if (simul && one_in(&r, 2)) {
		SIM_ADD(g->p, SIM_EARLYSHUT, c, 0);
		SIM_ADD(g->p, SIM_EARLYSHUT, c, 1);
		return;
	}
	talk(g, &r, c);
	ending(g, &r, c, simul);
}

/* What the first of two connections brings to a stack goes out by the second. */
static bool pipe_pair(struct gen *g, unsigned int c)
{
	struct sl_rng r;
	unsigned int l, l2, from, mid;

	sl_rng_seed(&r, g->seed, 200 + c);
	if (!one_in(&r, 6))
		return false;
	l = (unsigned int)below(&r, g->nlinks);
	l2 = (unsigned int)below(&r, g->nlinks);
	from = (unsigned int)below(&r, 2);
	mid = g->link[l][!from];
	if (g->link[l2][0] != mid && g->link[l2][1] != mid)
		return false;
	SIM_ADD(g->p, SIM_CONN, c, l, from, below(&r, 2), 0);
	SIM_ADD(g->p, SIM_CONN, c + 1, l2, g->link[l2][0] == mid ? 0 : 1, below(&r, 2), 0);
	SIM_ADD(g->p, SIM_PIPE, c, 1, c + 1, 0);
	if (one_in(&r, 2))
		SIM_ADD(g->p, SIM_PIPE, c + 1, 0, c, 1);
	for (unsigned int k = 0; k < 2; k++) {
		uint64_t left = scale(&r, 15);

		reads(g, &r, k == 0 ? c + 1 : c, k == 0 ? 1 : 0, left);
		while (left > 0)
			write_op(g, &r, k == 0 ? c : c + 1, k == 0 ? 0 : 1, &left);
	}
	return true;
}

static void connections(struct gen *g)
{
	struct sl_rng r;

	sl_rng_seed(&r, g->seed, 2);
	g->nconns = 1 + (unsigned int)below(&r, one_in(&r, 6) ? 10 : 4);
	for (unsigned int c = 0; c < g->nconns; c++) {
		if (c + 1 < g->nconns && pipe_pair(g, c))
			c++;
		else
			one_conn(g, c);
	}
}

/* ---- events ---- */

static uint64_t some_time(struct sl_rng *r)
{
	return below(r, SLUICE_MS(1) << below(r, 11));
}

static void a_change(struct gen *g, struct sl_rng *r)
{
	static const struct {
		const char *name;
		uint64_t v[3];
	} knobs[] = {{"tcp.delack", {0, SLUICE_MS(10), SLUICE_MS(500)}}, {"tcp.nodelay", {0, 1, 1}},
	    {"tcp.sack", {0, 1, 0}}, {"tcp.timestamps", {0, 1, 0}}, {"tcp.wscale", {0, 1, 0}},
	    {"tcp.cc", {0, 1, 0}}, {"tcp.rcvbuf", {2048, 65536, 1 << 20}},
	    {"tcp.sndbuf", {2048, 65536, 1 << 20}}, {"tcp.copy_below", {0, 256, 2048}},
	    {"tcp.mss_max", {88, 536, 65495}}, {"tcp.ooo_max", {1, 10, 4096}},
	    {"tcp.time_wait", {0, SLUICE_MS(10), SLUICE_SEC(1)}},
	    {"tcp.ack_war", {0, SLUICE_MS(1), SLUICE_SEC(1)}}, {"squeue.rx_burst", {1, 8, 64}},
	    {"squeue.output_budget", {1, 8, 256}}, {"tcp.delack_segs", {1, 2, 16}},
	    {"tcp.rto_min", {SLUICE_MS(1), SLUICE_MS(50), SLUICE_SEC(1)}},
	    {"ip.neigh_reachable", {SLUICE_MS(100), SLUICE_SEC(1), SLUICE_SEC(30)}}};
	unsigned int k = (unsigned int)below(r, sizeof(knobs) / sizeof(knobs[0]));

	uint64_t t = some_time(r), st = below(r, g->nst), v = below(r, 3);

	SIM_ADD(g->p, SIM_SET, t, st, sluice_tunable_find(knobs[k].name), (int64_t)knobs[k].v[v]);
}

static void calm_event(struct gen *g, struct sl_rng *r)
{
	unsigned int c = (unsigned int)below(r, g->nconns), l = (unsigned int)below(r, g->nlinks);
	unsigned int st = (unsigned int)below(r, g->nst);
	uint64_t t = some_time(r), side = below(r, 2), what;

	switch (below(r, 6)) {
	case 0:
		a_change(g, r);
		break;
	case 1:
		SIM_ADD(g->p, SIM_PMTU, t, l, between(r, 1280, 1500));
		break;
	case 2:
		SIM_ADD(g->p, SIM_LIMIT, t, st, between(r, 1, 60));
		SIM_ADD(g->p, SIM_LIMIT, t + below(r, SLUICE_MS(300)), st, 0);
		break;
	case 3:
		SIM_ADD(g->p, SIM_FAILNTH, t, st, between(r, 1, 30));
		break;
	case 4:
		what = below(r, SIM_NICMP);
		SIM_ADD(g->p, SIM_ICMP, t, c, side, what, below(r, 3));
		break;
	default:
		SIM_ADD(g->p, SIM_CALL, t, c, side, below(r, SIM_CLOSE_SCRATCH));
		break;
	}
}

static void rough_event(struct gen *g, struct sl_rng *r)
{
	unsigned int l = (unsigned int)below(r, g->nlinks), e = (unsigned int)below(r, 2);
	uint64_t t = some_time(r);

	switch (below(r, 5)) {
	case 0:
	case 1:
		SIM_ADD(g->p, SIM_BLACKOUT, t, l, e, below(r, SLUICE_MS(1) << below(r, 13)));
		break;
	case 2:
		SIM_ADD(g->p, SIM_ADDR, t, l, e, 0);
		SIM_ADD(g->p, SIM_ADDR, t + below(r, SLUICE_SEC(1)), l, e, 1);
		break;
	case 3:
		SIM_ADD(g->p, SIM_ROUTE, t, l, e, between(r, 1, 2));
		SIM_ADD(g->p, SIM_ROUTE, t + below(r, SLUICE_SEC(1)), l, e, 0);
		break;
	default:
		SIM_ADD(g->p, SIM_UNLISTEN, t, below(r, g->nst));
		break;
	}
}

static void scratch(struct gen *g, struct sl_rng *r, unsigned int k)
{
	uint64_t t = some_time(r), st;
	unsigned int n = 1 + (unsigned int)below(r, 12);

	st = below(r, g->nst);
	SIM_ADD(g->p, SIM_SCRATCH, t, k, st, below(r, SIM_MAX_SQ));
	for (unsigned int i = 0; i < n; i++) {
		t += one_in(r, 2) ? 0 : below(r, SLUICE_MS(1) << below(r, 6));
		SIM_ADD(
		    g->p, SIM_SCALL, t, k, below(r, one_in(r, 6) ? SIM_NCALLS : SIM_CLOSE_SCRATCH));
	}
}

static void events(struct gen *g)
{
	struct sl_rng r;
	unsigned int n;

	sl_rng_seed(&r, g->seed, 3);
	n = one_in(&r, 3) ? 0 : (unsigned int)below(&r, 6);
	for (unsigned int i = 0; i < n; i++)
		calm_event(g, &r);
	sl_rng_seed(&r, g->seed, 4);
	n = g->rough ? 1 + (unsigned int)below(&r, 3) : 0;
	for (unsigned int i = 0; i < n; i++)
		rough_event(g, &r);
	sl_rng_seed(&r, g->seed, 5);
	n = one_in(&r, 3) ? 1 + (unsigned int)below(&r, SIM_MAX_SCRATCH) : 0;
	for (unsigned int i = 0; i < n; i++)
		scratch(g, &r, i);
}

void sim_plan_of_seed(struct sim_plan *p, uint64_t seed, unsigned int squeues)
{
	struct gen g = {.p = p, .seed = seed};

	world(&g, squeues);
	links(&g);
	connections(&g);
	events(&g);
}
