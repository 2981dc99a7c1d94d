/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Can each check fail? For every one a fault is planted, in what the check looks at or on the wire,
 * in a world that is clean without it; the run must end by the name of that check. And the
 * shrinker: a byte is changed on its way in a large noisy world; what is left must be a few lines
 * that fail alike.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mbuf.h>

#include "sim.h"

enum plant {
	PLANT_NONE,
	PLANT_WIRE_SUM,
	PLANT_WIRE_SIZE,
	PLANT_WIRE_OPTS,
	PLANT_WIRE_TS,
	PLANT_WIRE_SEQ,
	PLANT_WIRE_EDGE,
	PLANT_SEND_WINDOW,
	PLANT_CWND,
	PLANT_SCOREBOARD,
	PLANT_QUEUES,
	PLANT_RTX,
	PLANT_PERSIST,
	PLANT_EDGE,
	PLANT_MODEL,
	PLANT_BASELINE,
	PLANT_LIVENESS,
	PLANT_UPCALLS,
	PLANT_CAUSE,
	PLANT_URGENT,
	PLANT_CALLS,
	PLANT_ERRNO,
	PLANT_CRASH,
	PLANTS
};

static const struct {
	enum plant plant;
	enum sim_check ck;
} plants[] = {{PLANT_WIRE_SUM, SIM_CK_WIRE_SUM}, {PLANT_WIRE_SIZE, SIM_CK_WIRE_SIZE},
    {PLANT_WIRE_OPTS, SIM_CK_WIRE_OPTS}, {PLANT_WIRE_TS, SIM_CK_WIRE_TS},
    {PLANT_WIRE_SEQ, SIM_CK_WIRE_SEQ}, {PLANT_WIRE_EDGE, SIM_CK_EDGE},
    {PLANT_SEND_WINDOW, SIM_CK_SEND_WINDOW}, {PLANT_CWND, SIM_CK_CWND},
    {PLANT_SCOREBOARD, SIM_CK_SCOREBOARD}, {PLANT_QUEUES, SIM_CK_QUEUES}, {PLANT_RTX, SIM_CK_RTX},
    {PLANT_PERSIST, SIM_CK_PERSIST}, {PLANT_EDGE, SIM_CK_EDGE}, {PLANT_MODEL, SIM_CK_MODEL},
    {PLANT_BASELINE, SIM_CK_BASELINE}, {PLANT_LIVENESS, SIM_CK_LIVENESS},
    {PLANT_UPCALLS, SIM_CK_UPCALLS}, {PLANT_CAUSE, SIM_CK_CAUSE}, {PLANT_URGENT, SIM_CK_URGENT},
    {PLANT_CALLS, SIM_CK_CALLS}, {PLANT_ERRNO, SIM_CK_ERRNO}, {PLANT_CRASH, SIM_CK_CRASH}};

/* ---- the faults ---- */

static bool is_time(struct sim *s)
{
	return s->now >= SIM_START + s->plant_at;
}

void sim_plant(struct sim *s, struct sim_seg *g, uint32_t *seg)
{
	bool mid = !(g->flags & (SL_TH_SYN | SL_TH_FIN | SL_TH_RST));

	if (!is_time(s) || !mid)
		return;
	switch ((enum plant)s->plant) {
	case PLANT_WIRE_SUM:
		g->sum_ok = false;
		break;
	case PLANT_WIRE_SIZE:
		*seg += 100;
		break;
	case PLANT_WIRE_OPTS:
		g->nsack = 1;
		g->sack[0][0] = g->sack[0][1] = g->ack + 1;
		break;
	case PLANT_WIRE_TS:
		g->tsval -= 1000000;
		break;
	case PLANT_WIRE_SEQ:
		g->ack += 1000000;
		break;
	case PLANT_WIRE_EDGE:
		g->wnd = 0;
		break;
	default:
		break;
	}
}

static struct sl_conn *some_conn(struct sim *s, unsigned int stack, unsigned int q)
{
	struct sluice_squeue *sq = s->st[stack]->sq[q];
	struct sim_end *e = &s->pair[0].end[0];
	struct sl_conn *c;

	if (e->stack != stack || e->c == 0 || e->c >> 56 != q)
		return NULL;
	c = sl_conn_get(sq, e->c);
	if (c == NULL || (c->state != SLUICE_ESTABLISHED && c->state != SLUICE_CLOSE_WAIT))
		return NULL;
	return s->shadow[stack][q][c->idx].h == e->c ? c : NULL; /* the checks know it */
}

/* What is changed, to be put back: the run goes on to its orderly end. */
static uint32_t *changed, was;
static struct rte_mbuf *leaked;

static void set(uint32_t *p, uint32_t v)
{
	changed = p;
	was = *p;
	*p = v;
}

static void plant_value(struct sim *s, struct sl_conn *c)
{
	switch ((enum plant)s->plant) {
	case PLANT_SEND_WINDOW:
		set(&c->snd_max, c->snd_max + (1u << 24));
		break;
	case PLANT_CWND:
		set(&c->cc.cwnd, c->mss - 1);
		break;
	case PLANT_SCOREBOARD:
		set(&c->pipe_lost, c->pipe_lost + 1);
		break;
	case PLANT_QUEUES:
		set(&c->rcvq_bytes, c->rcvq_bytes + 1);
		break;
	case PLANT_RTX:
		set(&c->deadline[SL_T_RTX], c->rec_head == NULL);
		break;
	case PLANT_PERSIST:
		if (c->rec_head == NULL && c->snd_nxt == sl_snd_end(c))
			set(&c->deadline[SL_T_PERSIST], 1);
		break;
	case PLANT_EDGE:
		set(&c->rcv_adv, c->rcv_adv - 1);
		break;
	case PLANT_MODEL:
		set(&c->rcv_nxt, c->rcv_nxt + 1);
		break;
	default:
		break;
	}
}

static void plant_event(struct sim *s)
{
	struct sim_end *e = &s->pair[0].end[0];

	switch ((enum plant)s->plant) {
	case PLANT_BASELINE:
		if (leaked == NULL)
			leaked = rte_pktmbuf_alloc(s->pool[0]);
		break;
	case PLANT_LIVENESS:
		e->rpaused = true;
		break;
	case PLANT_UPCALLS:
		sim_end_upcalls.connected(e, e->c, 1);
		break;
	case PLANT_CAUSE:
		sim_end_upcalls.disconnected(e, e->c, ECONNRESET);
		break;
	case PLANT_URGENT:
		sim_end_upcalls.signal_oob(e, e->c, 12345);
		break;
	case PLANT_CALLS:
		e->c ^= 0x10000; /* a stale handle: the next call is refused */
		break;
	case PLANT_CRASH:
		abort();
	default:
		break;
	}
}

void sim_plant_pass(struct sim *s, unsigned int stack, unsigned int q)
{
	struct sl_conn *c = some_conn(s, stack, q);

	if (c == NULL || !is_time(s))
		return;
	if (s->plant >= PLANT_BASELINE)
		plant_event(s);
	else
		plant_value(s, c);
}

void sim_plant_undo(bool end)
{
	if (changed != NULL)
		*changed = was;
	changed = NULL;
	if (end) {
		rte_pktmbuf_free(leaked);
		leaked = NULL;
	}
}

bool sim_plant_errno(const struct sim *s)
{
	return s->plant == PLANT_ERRNO;
}

/* ---- the tests ---- */

static struct sim_plan clean(void)
{
	struct sim_plan p = {0};

	SIM_ADD(&p, SIM_LINK, 0, 0, 1);
	SIM_ADD(&p, SIM_CONN, 0, 0, 0, 0, 0);
	SIM_ADD(&p, SIM_CHAIN, 0, 0, 30000);
	SIM_ADD(&p, SIM_CHAIN, 0, 1, 30000);
	SIM_ADD(&p, SIM_WPAUSE, 0, 0, SLUICE_MS(300));
	SIM_ADD(&p, SIM_CHAIN, 0, 0, 3000);
	SIM_ADD(&p, SIM_CALL, SLUICE_MS(10), 0, 0, SIM_LISTEN);
	return p;
}

static unsigned int expect(
    const char *what, const struct sim_plan *p, bool failed, enum sim_check ck)
{
	struct sim_outcome r = sim_try(p, true);
	bool ok = r.failed == failed && (!failed || r.ck == ck);

	printf("%s %s: %s%s%s\n", ok ? "ok  " : "FAIL", what,
	    r.failed ? sim_check_name(r.ck) : "clean", r.failed ? ": " : "", r.failed ? r.why : "");
	return !ok;
}

static unsigned int test_checks(void)
{
	bool seen[SIM_NCHECKS] = {false};
	struct sim_plan p = clean();
	unsigned int bad = expect("no fault", &p, false, SIM_CK_PLAN);
	char what[64];

	for (size_t i = 0; i < sizeof(plants) / sizeof(plants[0]); i++) {
		struct sim_plan q = sim_plan_copy(&p);

		/* Once all has been sent: no window, no queue hides it. */
		SIM_ADD(&q, SIM_PLANT, plants[i].plant,
		    plants[i].plant == PLANT_WIRE_SIZE ? SLUICE_MS(1) : SLUICE_MS(15));
		snprintf(what, sizeof(what), "fault for %s", sim_check_name(plants[i].ck));
		bad += expect(what, &q, true, plants[i].ck);
		seen[plants[i].ck] = true;
		sim_plan_free(&q);
	}
	SIM_ADD(&p, SIM_ALTER, 0, 0, 10);
	bad += expect("fault for stream", &p, true, SIM_CK_STREAM);
	SIM_ADD(&p, SIM_LINK, 1, 0, 0);
	bad += expect("fault for plan", &p, true, SIM_CK_PLAN);
	seen[SIM_CK_STREAM] = seen[SIM_CK_PLAN] = true;
	for (unsigned int i = 0; i < SIM_NCHECKS; i++) {
		if (!seen[i]) {
			printf("FAIL no fault for %s\n", sim_check_name((enum sim_check)i));
			bad++;
		}
	}
	sim_plan_free(&p);
	return bad;
}

/* Text and back. */
static struct sim_plan through_text(const struct sim_plan *p)
{
	FILE *f = tmpfile();
	struct sim_plan q = {0};

	if (f == NULL)
		abort();
	sim_plan_write(f, p);
	rewind(f);
	if (sim_plan_read(f, &q) != 0)
		abort();
	fclose(f);
	return q;
}

static bool same(const struct sim_plan *p, const struct sim_plan *q)
{
	if (p->n != q->n)
		return false;
	for (unsigned int i = 0; i < p->n; i++)
		if (p->v[i].op != q->v[i].op ||
		    memcmp(p->v[i].a, q->v[i].a, sizeof(p->v[i].a)) != 0)
			return false;
	return true;
}

static unsigned int test_text(void)
{
	unsigned int bad = 0;

	for (uint64_t seed = 1; seed < 50; seed++) {
		struct sim_plan p = {0}, q;

		sim_plan_of_seed(&p, seed, 0);
		q = through_text(&p);
		bad += !same(&p, &q);
		sim_plan_free(&p);
		sim_plan_free(&q);
	}
	printf("%s plans survive their text\n", bad == 0 ? "ok  " : "FAIL");
	return bad;
}

/* The noisy world of a seed in which the altered packet carries data that is read. */
static struct sim_plan noisy(void)
{
	for (uint64_t seed = 1; seed < 200; seed++) {
		struct sim_plan p = {0};
		struct sim_outcome r;

		sim_plan_of_seed(&p, seed, 0);
		SIM_ADD(&p, SIM_ALTER, 0, 0, 12);
		r = sim_try(&p, true);
		if (p.n > 60 && r.failed && r.ck == SIM_CK_STREAM)
			return p;
		sim_plan_free(&p);
	}
	abort();
}

#define SMALL 10

static unsigned int test_shrink(void)
{
	struct sim_plan p = noisy(), q;
	unsigned int before = p.n, runs = sim_shrink(&p, SIM_CK_STREAM, 60000), bad;

	printf("%s shrunk from %u items to %u in %u runs:\n", p.n <= SMALL ? "ok  " : "FAIL",
	    before, p.n, runs);
	sim_plan_write(stdout, &p);
	bad = p.n > SMALL;
	q = through_text(&p);
	bad += expect("the shrunk plan, read from its text", &q, true, SIM_CK_STREAM);
	for (unsigned int i = 0; i < q.n; i++)
		bad += q.v[i].op == SIM_NOISE || q.v[i].op == SIM_LOSS;
	sim_plan_free(&p);
	sim_plan_free(&q);
	return bad;
}

int sim_selftest(void)
{
	unsigned int bad = test_checks() + test_text() + test_shrink();

	printf("selftest: %s\n", bad == 0 ? "ok" : "FAILED");
	return bad == 0 ? 0 : 1;
}
