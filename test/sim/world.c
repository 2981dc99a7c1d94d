/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The world of one plan: makes pools, stacks and links, lets applications, events and squeues run in
 * the plan's order on one virtual clock, and at the end asks for everything back.
 *
 * Time: a pass that found work is followed by a short step, an idle round by a jump to what is next.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mbuf.h>

#include "mpool.h"
#include "sim.h"

#define MOST_PASSES 3000000u
#define MOST_TIME \
	SLUICE_SEC(420) /* virtual, after faults have stopped: R2 and FIN_WAIT_2 included */

static const char *const check_names[SIM_NCHECKS] = {
#define X(ck, name, doc) [SIM_CK_##ck] = name,
    SIM_CHECKS(X)
#undef X
};

const char *sim_check_name(enum sim_check ck)
{
	return ck < SIM_NCHECKS ? check_names[ck] : "?";
}

void sim_fail(struct sim *s, enum sim_check ck, const char *fmt, ...)
{
	va_list ap;

	if (s->why[0] != '\0')
		return;
	s->failed = ck;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
}

void sim_say(const struct sim *s, const char *fmt, ...)
{
	uint64_t t = s->now - SIM_START;
	va_list ap;

	printf("%6lu.%06lu ms  ", (unsigned long)(t / 1000000), (unsigned long)(t % 1000000));
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

/* ---- making it ---- */

static void log_line(void *arg, int level, const char *line)
{
	sim_say(arg, "log %d: %s", level, line);
}

static bool make_link(struct sim *s, struct sim_link *l)
{
	struct sluice_wire_params wp = {.size = sizeof(wp),
	    .mtu = l->mtu,
	    .latency = RTE_MAX(l->latency, 1u),
	    .rate = l->rate,
	    .depth = RTE_MAX(l->depth, 2u),
	    .nqueues = {l->nic[0].nq, l->nic[1].nq}};
	struct sluice_driver wire[2];

	if ((l->nic[0].caps | l->nic[1].caps) & SIM_CAP_L3) {
		wp.caps = SLUICE_CAP_L3;
		l->nic[0].caps |= SIM_CAP_L3;
		l->nic[1].caps |= SIM_CAP_L3;
	}
	if (sluice_wire_create(&wp, wire) < 0)
		return false;
	for (unsigned int e = 0; e < 2; e++) {
		struct sim_nic *n = &l->nic[e];

		n->lower = wire[e];
		n->p.pool = s->rxpool[l->a[!e]];
		if (sluice_impair_create(&n->p, wire[e], &n->impair) < 0)
			return false;
	}
	return true;
}

static void names(unsigned int l, unsigned int e, char a[2][48], char name[16])
{
	snprintf(name, 16, "link%u", l);
	snprintf(a[0], 48, "10.0.%u.%u/24", l + 1, e + 1);
	snprintf(a[1], 48, "fd00:%x::%u/64", l + 1, e + 1);
}

static int add_interface(struct sluice_txn *t, unsigned int l, unsigned int e, unsigned int port)
{
	char a[2][48], name[16];
	struct sluice_if_params ifp = {.size = sizeof(ifp),
	    .name = name,
	    .port = port,
	    .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	int rc;

	names(l, e, a, name);
	rc = sluice_if_add(t, &ifp);
	for (unsigned int i = 0; rc == 0 && i < 2; i++)
		rc = sluice_addr_add(t, name, a[i], false);
	return rc;
}

static int configure(struct sim *s, unsigned int stack, const char **why)
{
	struct sluice_txn *t;
	unsigned int port = 0;
	int rc = sluice_txn_begin(s->st[stack], &t);

	for (unsigned int l = 0; rc == 0 && l < SIM_MAX_LINKS; l++)
		for (unsigned int e = 0; rc == 0 && s->link[l].used && e < 2; e++)
			if (s->link[l].a[e] == stack)
				rc = add_interface(t, l, e, port++);
	if (rc < 0) {
		*why = "configuration";
		return rc;
	}
	return sluice_txn_commit(t, why);
}

static int listen_on(struct sim *s, unsigned int i)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
	int on = 1, rc;

	s->larg[i] = (struct sim_listen){.sim = s, .stack = i};
	rc = sluice_create(s->st[i], AF_INET6, SOCK_STREAM, 0, 0, 0, &s->listener[i]);
	if (rc == 0)
		rc = sluice_activate(s->st[i], s->listener[i], &sim_listener_upcalls, &s->larg[i]);
	if (rc == 0) /* inherited */
		rc = sluice_setsockopt(
		    s->st[i], s->listener[i], SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (rc == 0)
		rc = sluice_bind(s->st[i], s->listener[i], (struct sockaddr *)&any, sizeof(any));
	return rc == 0 ? sluice_listen(s->st[i], s->listener[i], 64) : rc;
}

static bool make_stack(struct sim *s, unsigned int i)
{
	struct sluice_stack_params p = {.size = sizeof(p),
	    .nsqueues = s->nsq[i],
	    .max_connections = SIM_SLOTS,
	    .hdr_pool = s->pool[i],
	    .seed = 1000 + i,
	    .tunables = &s->tun[i],
	    .log = s->opt->verbose ? log_line : NULL,
	    .log_arg = s};
	const char *why = NULL;
	char name[8];
	int rc;

	snprintf(name, sizeof(name), "s%u", i);
	p.name = name;
	rc = sluice_stack_create(&p, &s->st[i], &why);
	for (unsigned int l = 0; rc == 0 && l < SIM_MAX_LINKS; l++)
		for (unsigned int e = 0; rc >= 0 && s->link[l].used && e < 2; e++)
			if (s->link[l].a[e] == i) {
				rc = sluice_port_add(s->st[i], sim_nic_driver(&s->link[l].nic[e]));
				rc = rc > 0 ? 0 : rc;
			}
	if (rc == 0)
		rc = configure(s, i, &why);
	if (rc == 0)
		rc = listen_on(s, i);
	if (rc < 0)
		sim_fail(s, SIM_CK_PLAN, "stack %u: %d %s", i, rc, why != NULL ? why : "");
	for (unsigned int q = 0; q < s->nsq[i]; q++) {
		s->shadow[i][q] = calloc(SIM_SLOTS + 1, sizeof(struct sim_shadow));
		if (s->shadow[i][q] == NULL)
			abort();
	}
	return rc >= 0;
}

static bool make(struct sim *s)
{
	for (unsigned int i = 0; i < s->nst; i++) {
		s->pool[i] = tp_create(2048, s->limit[i]);
		s->rxpool[i] =
		    tp_create((uint16_t)(RTE_PKTMBUF_HEADROOM + RTE_MAX(s->room[i], 64u)), 0);
	}
	for (unsigned int l = 0; l < SIM_MAX_LINKS; l++) {
		if (s->link[l].used && !make_link(s, &s->link[l])) {
			sim_fail(s, SIM_CK_PLAN, "link %u", l);
			return false;
		}
	}
	for (unsigned int i = 0; i < s->nst; i++)
		if (!make_stack(s, i))
			return false;
	for (unsigned int i = 0; i < SIM_MAX_CONNS; i++)
		for (unsigned int k = 0; k < 2; k++)
			s->pair[i].end[k].st = s->st[s->pair[i].end[k].stack];
	return true;
}

/* ---- events ---- */

static void change(struct sim *s, unsigned int stack, const struct sim_item *it)
{
	struct sluice_txn *t;
	char a[2][48], name[16];
	const char *why = NULL;
	int rc = sluice_txn_begin(s->st[stack], &t);

	if (rc == 0 && it->op == SIM_SET) {
		const struct sluice_tunable_info *ti = sluice_tunable_info((unsigned int)it->a[2]);

		rc = sluice_tunable_set(t, ti->name, (uint64_t)it->a[3]);
	} else if (rc == 0) {
		names((unsigned int)it->a[1], (unsigned int)it->a[2], a, name);
		for (unsigned int i = 0; i < 2 && rc == 0; i++)
			rc = it->a[3] ? sluice_addr_add(t, name, a[i], false)
				      : sluice_addr_del(t, name, a[i]);
	}
	if (rc == 0)
		rc = sluice_txn_commit(t, &why);
	else
		sluice_txn_abort(t);
	SIM_SAY(s, "stack %u: change: %d %s", stack, rc, why != NULL ? why : "");
	if (rc == 0)
		s->op_done[it->op]++;
}

/* A route to a part of the peer's network, with the peer as the way. */
static void route(struct sim *s, const struct sim_item *it)
{
	unsigned int l = (unsigned int)it->a[1], e = (unsigned int)it->a[2];
	char prefix[48], via[48], name[16];
	struct sluice_txn *t;
	const char *why = NULL;
	int rc = sluice_txn_begin(s->st[s->link[l].a[e]], &t);

	snprintf(prefix, sizeof(prefix), "10.0.%u.%u/32", l + 1, !e + 1);
	snprintf(via, sizeof(via), "10.0.%u.%u", l + 1, it->a[3] == 1 ? 77u : !e + 1u);
	snprintf(name, sizeof(name), "link%u", l);
	if (rc == 0)
		rc = it->a[3] ? sluice_route_add(t, 0, prefix, via, name)
			      : sluice_route_del(t, 0, prefix);
	if (rc == 0)
		rc = sluice_txn_commit(t, &why);
	else
		sluice_txn_abort(t);
	SIM_SAY(s, "route %s via %s: %d %s", prefix, via, rc, why != NULL ? why : "");
	if (rc == 0)
		s->op_done[SIM_ROUTE]++;
}

static void unlisten(struct sim *s, unsigned int i)
{
	int rc;

	if (s->unlistened[i])
		return;
	s->unlistened[i] = true;
	for (unsigned int k = 0; k < SIM_MAX_CONNS; k++) {
		struct sim_pair *p = &s->pair[k];

		if (p->used && p->end[1].stack == i && !p->simul && !p->accepted)
			sim_cut(&p->end[0]);
	}
	rc = sluice_close(s->st[i], s->listener[i]);
	SIM_CHECK(s, SIM_CK_CALLS, rc == 0, "stack %u: the listener does not close: %d", i, rc);
}

static bool is_fault(unsigned int op)
{
	return op == SIM_PMTU || op == SIM_LIMIT || op == SIM_FAILNTH || op == SIM_ADDR ||
	       op == SIM_ROUTE || op == SIM_ICMP;
}

static void happen(struct sim *s, const struct sim_item *it)
{
	const int64_t *a = it->a;
	char text[128];

	if (s->is_quiet && is_fault(it->op))
		return;

	if (s->opt->verbose) {
		sim_item_text(it, text, sizeof(text));
		sim_say(s, "event: %s", text);
	}
	switch (it->op) {
	case SIM_PMTU:
		s->link[a[1]].pmtu = (uint16_t)a[2];
		break;
	case SIM_SET:
		change(s, (unsigned int)a[1], it);
		break;
	case SIM_LIMIT:
		tp_set_limit(s->pool[a[1]], (uint32_t)a[2]);
		s->op_done[it->op]++;
		break;
	case SIM_FAILNTH:
		tp_fail_nth(s->pool[a[1]], (uint32_t)a[2]);
		s->op_done[it->op]++;
		break;
	case SIM_ADDR:
		change(s, s->link[a[1]].a[a[2]], it);
		break;
	case SIM_ROUTE:
		route(s, it);
		break;
	case SIM_UNLISTEN:
		s->op_done[it->op]++;
		unlisten(s, (unsigned int)a[1]);
		break;
	case SIM_ICMP:
		sim_inject_icmp(s, &s->pair[a[1]].end[a[2]], (enum sim_icmp)(a[3] % SIM_NICMP),
		    (int)(a[4] % 3));
		break;
	case SIM_CALL:
		sim_call_end(
		    s, &s->pair[a[1]].end[a[2]], (enum sim_call)(a[3] % SIM_CLOSE_SCRATCH));
		break;
	case SIM_SCRATCH:
		sim_make_scratch(s, (unsigned int)a[1], (unsigned int)a[2], (unsigned int)a[3]);
		s->op_done[it->op]++;
		break;
	case SIM_SCALL:
		sim_call_scratch(s, (unsigned int)a[1], (enum sim_call)(a[2] % SIM_NCALLS));
		break;
	default:
		break;
	}
}

/* Faults stop: what was taken away comes back. */
static void be_quiet(struct sim *s)
{
	s->is_quiet = true;
	SIM_SAY(s, "quiet");
	for (unsigned int i = 0; i < s->nst; i++) {
		tp_set_limit(s->pool[i], 0);
		tp_fail_nth(s->pool[i], 0);
	}
	for (unsigned int i = 0; i < s->nevents; i++) {
		struct sim_item it = *s->event[i];

		it.a[3] = it.op == SIM_ADDR ? 1 : 0;
		if (it.op == SIM_ADDR)
			change(s, s->link[it.a[1]].a[it.a[2]], &it);
		else if (it.op == SIM_ROUTE)
			route(s, &it);
	}
}

/* ---- time ---- */

/* One of the stack's connections, on whatever squeue, is to go to any. */
static void move_one(struct sim *s, unsigned int stack)
{
	uint64_t h = sim_hash(s->order + stack, s->pass);
	struct sim_end *e = &s->pair[h % SIM_MAX_CONNS].end[h / SIM_MAX_CONNS % 2];
	int rc;

	if (e->stack != stack || e->c == 0 || e->closed)
		return;
	rc = sluice_move(s->st[stack], e->c, (unsigned int)(h >> 16) % s->nsq[stack]);
	SIM_CHECK(s, SIM_CK_CALLS,
	    rc == 0 || rc == -EBUSY || rc == -EINVAL || (rc == -ENOBUFS && !s->calm),
	    "conn %u side %u: move %d", e->id, e->side, rc);
	s->op_done[SIM_MOVES] += rc == 0;
	SIM_SAY(s, "conn %u side %u: move: %d", e->id, e->side, rc);
}

/* Some squeue of the stack is parked; or its lcore leaves; or one comes back. */
static void park_one(struct sim *s, unsigned int stack)
{
	uint64_t h = sim_hash(s->order + 7 * stack + 1, s->pass);
	unsigned int q = (unsigned int)(h % s->nsq[stack]);
	struct sluice_stack *st = s->st[stack];
	enum sluice_squeue_state was = sluice_squeue_state(st->sq[q]);
	int rc = 0;

	if (was == SLUICE_SQUEUE_RUNNING) {
		rc = sluice_squeue_park(st, q);
		s->op_done[SIM_PARKS] += rc == 0;
	} else if (!s->gone[stack][q] && (was == SLUICE_SQUEUE_PARKED || h >> 20 & 1)) {
		rc = sluice_squeue_release(st->sq[q]);
		s->gone[stack][q] = true;
		rc = rc == -EPERM ? 0 : rc; /* nobody has polled it since it was to run again */
	} else if (h >> 21 & 1) {
		rc = sluice_squeue_unpark(st, q);
		s->gone[stack][q] &= rc != 0;
		if (rc == 0) /* else any squeue may help, as long as nobody polls */
			(void)sluice_squeue_poll(st->sq[q], s->now, 0);
	}
	SIM_CHECK(s, SIM_CK_CALLS, rc == 0 || rc == -EBUSY || rc == -ENOBUFS,
	    "stack %u squeue %u, %s: %d", stack, q, sluice_squeue_state_name(was), rc);
	SIM_SAY(s, "stack %u squeue %u was %s: %d", stack, q, sluice_squeue_state_name(was), rc);
}

/* The squeue's, and those of the ones that it may have looked after. */
static void check(struct sim *s, unsigned int stack, unsigned int q)
{
	sim_check_squeue(s, stack, q);
	for (unsigned int i = 0; i < s->nsq[stack]; i++)
		if (s->gone[stack][i] && i != q)
			sim_check_squeue(s, stack, i);
}

static int poll_all(struct sim *s)
{
	unsigned int who[SIM_MAX_STACKS * SIM_MAX_SQ], n = 0;
	int work = 0;

	for (unsigned int i = 0; i < s->nst; i++)
		for (unsigned int k = 0; k < s->nsq[i]; k++)
			who[n++] = i * SIM_MAX_SQ + k;
	s->pass++;
	while (n > 0 && s->why[0] == '\0') {
		unsigned int k =
		    s->order != 0 ? (unsigned int)(sim_hash(s->order + n, s->pass) % n) : n - 1;
		unsigned int stack = who[k] / SIM_MAX_SQ, q = who[k] % SIM_MAX_SQ;
		int rc = s->gone[stack][q] ? 0 : sluice_squeue_poll(s->st[stack]->sq[q], s->now, 0);

		SIM_CHECK(s, SIM_CK_CALLS, rc >= 0, "poll: %d", rc);
		work += rc;
		if (s->moves[stack] != 0 && s->nsq[stack] > 1 && !s->done &&
		    sim_hash(s->moves[stack] + k, s->pass) % s->moves[stack] == 0)
			move_one(s, stack);
		if (s->parks[stack] != 0 && s->nsq[stack] > 1 && !s->done &&
		    sim_hash(s->parks[stack] + 3 * k, s->pass) % s->parks[stack] == 0)
			park_one(s, stack);
		check(s, stack, q);
		who[k] = who[--n];
	}
	return work;
}

static uint64_t next_time(const struct sim *s)
{
	uint64_t next = UINT64_MAX;

	for (unsigned int i = 0; i < s->nst; i++)
		for (unsigned int k = 0; k < s->nsq[i]; k++)
			if (!s->gone[i][k])
				next = RTE_MIN(next, sluice_squeue_next(s->st[i]->sq[k]));
	if (s->next_event < s->nevents)
		next = RTE_MIN(next, SIM_START + (uint64_t)s->event[s->next_event]->a[0]);
	if (!s->is_quiet)
		next = RTE_MIN(next, s->quiet);
	for (unsigned int i = 0; i < SIM_MAX_CONNS; i++) {
		const struct sim_pair *p = &s->pair[i];

		if (p->used && !p->opened)
			next = RTE_MIN(next, SIM_START + p->open_at);
		for (unsigned int k = 0; p->opened && k < 2; k++)
			if (p->end[k].act_set && p->end[k].c != 0 && !p->end[k].closed)
				next = RTE_MIN(next, p->end[k].act_at);
	}
	return next;
}

static void act(struct sim *s)
{
	while (s->next_event < s->nevents &&
	       SIM_START + (uint64_t)s->event[s->next_event]->a[0] <= s->now)
		happen(s, s->event[s->next_event++]);
	if (!s->is_quiet && s->now >= s->quiet)
		be_quiet(s);
	for (unsigned int i = 0; i < SIM_MAX_CONNS; i++) {
		struct sim_pair *p = &s->pair[i];

		if (p->used && !p->opened && SIM_START + p->open_at <= s->now)
			sim_open(s, i);
		for (unsigned int k = 0; p->opened && k < 2; k++) {
			struct sim_end *e = &p->end[k];

			if (e->act_set && e->act_at <= s->now)
				sim_act(e);
			if ((e->retry || e->reread) && e->c != 0 && !e->closed)
				sim_retry(e);
			if (e->pipe_to != NULL || e->pipe_from != NULL)
				sim_check_pipe(e);
		}
	}
}

static bool all_ended(const struct sim *s)
{
	if (!s->is_quiet || s->next_event < s->nevents)
		return false;
	for (unsigned int i = 0; i < SIM_MAX_CONNS; i++)
		if (!sim_pair_ended(s, i))
			return false;
	return true;
}

static bool listeners_gone(const struct sim *s)
{
	for (unsigned int i = 0; i < s->nst; i++)
		if (!s->listener_gone[i])
			return false;
	return true;
}

static uint64_t step(const struct sim *s)
{
	return s->order != 0 ? 1000 + sim_hash(s->order, s->pass) % 100000 : 50000;
}

static void run(struct sim *s)
{
	unsigned int idle = 0;

	while (s->why[0] == '\0') {
		int work = poll_all(s);
		uint64_t next;

		act(s);
		if (!s->done && all_ended(s)) {
			s->done = true;
			for (unsigned int k = 0; k < SIM_MAX_SCRATCH; k++)
				if (s->scratch[k].made && !s->scratch[k].closing)
					sim_call_scratch(s, k, SIM_CLOSE_SCRATCH);
			for (unsigned int i = 0; i < s->nst; i++)
				unlisten(s, i);
		}
		next = next_time(s);
		/* Nothing will ever happen again: all timers are off, all TIME_WAIT is over. */
		if (s->done && listeners_gone(s) && work == 0 && next == UINT64_MAX)
			return;
		SIM_CHECK(s, SIM_CK_LIVENESS,
		    s->pass < MOST_PASSES && (s->done || s->now < s->quiet + MOST_TIME),
		    "not ended after %lu passes, %lu s", (unsigned long)s->pass,
		    (unsigned long)((s->now - SIM_START) / SLUICE_SEC(1)));
		idle = work == 0 ? RTE_MIN(idle + 1, 6u) : 0;
		if (work == 0 && next > s->now && next != UINT64_MAX)
			s->now = next;
		else
			s->now += step(s) << idle; /* it waits for room, or for a buffer */
	}
}

/* ---- the end ---- */

static void check_streams(struct sim *s)
{
	for (unsigned int i = 0; i < SIM_MAX_CONNS; i++) {
		struct sim_pair *p = &s->pair[i];
		struct sim_end *a = &p->end[0], *b = &p->end[1];

		if (!p->used)
			continue;
		s->sum->conns++;
		s->sum->cut += p->cut;
		s->sum->bytes += a->received + b->received;
		if (!p->cut)
			SIM_CHECK(s, SIM_CK_STREAM,
			    a->received == b->to_send && b->received == a->to_send,
			    "conn %u: %lu of %lu, %lu of %lu bytes", i, (unsigned long)a->received,
			    (unsigned long)b->to_send, (unsigned long)b->received,
			    (unsigned long)a->to_send);
	}
}

static void collect(struct sim *s)
{
	struct sim_sum *sum = s->sum;

	for (unsigned int i = 0; i < s->nst; i++) {
		struct sluice_counters c;

		if (s->st[i] == NULL)
			continue;
		sluice_counters_sum(s->st[i], &c);
		for (unsigned int k = 0; k < SLUICE_NCOUNTERS; k++)
			((uint64_t *)(void *)&sum->ctr)[k] += ((uint64_t *)(void *)&c)[k];
		for (unsigned int q = 0; q < s->nsq[i]; q++)
			for (unsigned int x = 0; x < SLUICE_NSTATES; x++)
				for (unsigned int y = 0; y < SLUICE_NSTATES; y++)
					sum->edge[x][y] += s->st[i]->sq[q]->tcp->edge[x][y];
	}
	for (unsigned int l = 0; l < SIM_MAX_LINKS; l++) {
		for (unsigned int e = 0; s->link[l].used && e < 2; e++) {
			struct sluice_impair_stats is = {.size = sizeof(is)};

			sluice_impair_stats(s->link[l].nic[e].impair, &is);
			for (unsigned int k = 0; k < RTE_DIM(sum->impair); k++)
				sum->impair[k] += (&is.packets)[k];
		}
	}
	for (unsigned int i = 0; i < SIM_NCHECKS; i++)
		sum->ran[i] += s->ran[i];
	for (unsigned int i = 0; i < SIM_NOPS; i++)
		sum->done[i] += s->op_done[i];
	sum->passes += s->pass;
	sum->virtual_ms += (s->now - SIM_START) / 1000000;
}

static void destroy(struct sim *s)
{
	bool ok = s->why[0] == '\0';

	if (s->plant != 0)
		sim_plant_undo(true);

	for (unsigned int i = 0; i < s->nst; i++) {
		struct sluice_leaks l = {.size = sizeof(l)};

		if (s->st[i] == NULL)
			continue;
		for (unsigned int k = 0; k < 2 * SIM_MAX_CONNS; k++) {
			struct sim_end *e = &s->pair[k / 2].end[k % 2];

			e->closing |= e->stack == i; /* it is the stack that closes now */
		}
		SIM_CHECK(s, SIM_CK_BASELINE, sluice_stack_destroy(s->st[i], &l) == 0,
		    "stack %u is busy", i);
		if (ok)
			SIM_CHECK(s, SIM_CK_BASELINE,
			    !(l.connections || l.timers || l.calls || l.records),
			    "stack %u leaks: %lu connections, %lu timers, %lu calls, %lu records",
			    i, (unsigned long)l.connections, (unsigned long)l.timers,
			    (unsigned long)l.calls, (unsigned long)l.records);
	}
	for (unsigned int i = 0; i < s->nst; i++) {
		if (s->why[0] == '\0')
			SIM_CHECK(s, SIM_CK_BASELINE,
			    tp_out(s->pool[i]) + tp_out(s->rxpool[i]) == 0,
			    "stack %u: buffers did not come back", i);
		tp_destroy(s->pool[i]);
		tp_destroy(s->rxpool[i]);
		for (unsigned int q = 0; q < SIM_MAX_SQ; q++) {
			for (unsigned int k = 0; s->shadow[i][q] != NULL && k <= SIM_SLOTS; k++)
				sim_model_stop(&s->shadow[i][q][k].model);
			free(s->shadow[i][q]);
		}
		free(s->rx[i]);
	}
	for (unsigned int l = 0; l < SIM_MAX_LINKS; l++)
		for (unsigned int e = 0; e < 2; e++)
			free(s->link[l].nic[e].fault);
	for (unsigned int i = 0; i < SIM_MAX_CONNS; i++) {
		for (unsigned int k = 0; k < 2; k++) {
			free(s->pair[i].end[k].w);
			free(s->pair[i].end[k].r);
		}
	}
	for (unsigned int i = 0; i < RTE_DIM(s->flow); i++) {
		for (struct sim_flow *f = s->flow[i], *next; f != NULL; f = next) {
			next = f->next;
			free(f);
		}
	}
	free(s->event);
	if (s->pcap != NULL)
		fclose(s->pcap);
}

/* What is left, for who reads a failure. */
static void dump(struct sim *s)
{
	for (unsigned int i = 0; i < SIM_MAX_CONNS; i++) {
		for (unsigned int k = 0; k < 2; k++) {
			struct sim_end *e = &s->pair[i].end[k];
			struct sluice_conn_info n = {.size = sizeof(n)};

			if (e->c == 0 || e->closed || sluice_conn_info(e->st, e->c, &n) != 0)
				continue;
			sim_say(s,
			    "conn %u side %u %s: sent %lu/%lu (op %u/%u) got %lu; una %u nxt %u "
			    "wnd %u "
			    "flight %u cwnd %u sndq %u; rcvq %u ooo %u rwnd %u; mss %u rto %lu ms "
			    "rtos "
			    "%lu%s%s%s%s%s",
			    i, k, sluice_state_name(n.state), (unsigned long)e->sent,
			    (unsigned long)e->to_send, e->wi, e->nw, (unsigned long)e->received,
			    n.snd_una, n.snd_nxt, n.snd_wnd, n.flight, n.cwnd, n.sndq, n.rcvq,
			    n.ooo, n.rcv_wnd, n.mss, (unsigned long)(n.rto / 1000000),
			    (unsigned long)n.rtos, e->eof ? " eof" : "", e->shut ? " shut" : "",
			    e->rpaused ? " rpaused" : "", e->wpaused ? " wpaused" : "",
			    e->closing ? " closing" : "");
		}
	}
}

int sim_run(const struct sim_plan *p, const struct sim_options *opt, struct sim_sum *sum,
    enum sim_check *failed, char why[256])
{
	static struct sim world; /* large; one at a time per process */
	struct sim *s = &world;

	memset(s, 0, sizeof(*s));
	s->plan = p;
	s->opt = opt;
	s->sum = sum;
	s->now = SIM_START;
	if (!sim_read_plan(s)) {
		sim_fail(s, SIM_CK_PLAN, "it makes no sense");
	} else if (make(s)) {
		if (opt->pcap != NULL)
			sim_pcap_open(s, opt->pcap);
		run(s);
		if (s->why[0] == '\0')
			check_streams(s);
		for (unsigned int l = 0; l < SIM_MAX_LINKS; l++)
			for (unsigned int e = 0; e < 2; e++)
				sim_nic_flush(&s->link[l].nic[e]);
		if (s->why[0] == '\0')
			sim_check_baseline(s);
		if (s->why[0] != '\0' && opt->verbose)
			dump(s);
		collect(s);
	}
	destroy(s);
	sum->seeds++;
	if (failed != NULL)
		*failed = s->failed;
	if (why != NULL)
		memcpy(why, s->why, sizeof(s->why));
	if (s->why[0] == '\0')
		return 0;
	sum->failed++;
	return -1;
}
