/* SPDX-License-Identifier: BSD-3-Clause */
/* From the items of a plan to a world that is ready to be made: what each says, and whether they make
 * sense together. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* ---- the plan's items, by what they are about ---- */

static bool arg_ok(const struct sim_item *it, unsigned int i)
{
	int64_t v = it->a[i];

	switch (sim_item_kind((enum sim_op)it->op, i)) {
	case 's':
		return v >= 0 && v < SIM_MAX_STACKS;
	case 'l':
		return v >= 0 && v < SIM_MAX_LINKS;
	case 'e':
	case 'd':
		return v == 0 || v == 1;
	case 'c':
		return v >= 0 && v < SIM_MAX_CONNS;
	case 'p':
		return v >= 0 && v <= 1000000;
	case 'k':
		return v >= 0 && v < (int64_t)SLUICE_NTUNABLES;
	default:
		return v >= 0;
	}
}

static bool item_ok(const struct sim_item *it)
{
	for (unsigned int i = 0; i < sim_item_args((enum sim_op)it->op); i++)
		if (!arg_ok(it, i))
			return false;
	if (it->op == SIM_SCRATCH || it->op == SIM_SCALL)
		return it->a[1] < SIM_MAX_SCRATCH;
	if (it->op == SIM_STACKS)
		return it->a[0] >= 1 && it->a[0] <= SIM_MAX_STACKS;
	if (it->op == SIM_SQUEUES)
		return it->a[1] >= 1 && it->a[1] <= SIM_MAX_SQ;
	return true;
}

static uint64_t *tunable(struct sluice_tunables *t, int64_t k)
{
	return (uint64_t *)(void *)t + k;
}

static void defaults(struct sim *s)
{
	s->nst = 2;
	s->quiet = SIM_START + SLUICE_SEC(2);
	s->calm = true;
	for (unsigned int i = 0; i < SIM_MAX_STACKS; i++) {
		struct sluice_tunables *t = &s->tun[i];

		s->nsq[i] = 1;
		s->room[i] = 2048;
		sluice_tunables_default(t);
		t->ip_dad_probes = 0;
		t->ip_neigh_tries = 12; /* lossy links lose questions too */
		t->tcp_keepidle = SLUICE_SEC(30);
		t->tcp_keepintvl = SLUICE_SEC(2);
		t->tcp_keepcnt = 5;
		t->tcp_abort_established = SLUICE_SEC(120);
		t->tcp_time_wait = SLUICE_SEC(10);
		t->tcp_rto_max = SLUICE_SEC(20);
	}
	for (unsigned int l = 0; l < SIM_MAX_LINKS; l++) {
		s->link[l].mtu = 1500;
		s->link[l].depth = 1024;
		s->link[l].latency = 100000;
		for (unsigned int e = 0; e < 2; e++) {
			struct sim_nic *n = &s->link[l].nic[e];

			n->sim = s;
			n->link = &s->link[l];
			n->end = e;
			n->nq = SIM_MAX_SQ;
			n->p = (struct sluice_impair_params){
			    .size = sizeof(n->p), .fate = sim_nic_fate, .fate_arg = n};
		}
	}
	for (unsigned int i = 0; i < SIM_MAX_CONNS; i++) {
		for (unsigned int k = 0; k < 2; k++) {
			s->pair[i].end[k] = (struct sim_end){.sim = s,
			    .peer = &s->pair[i].end[!k],
			    .id = (uint8_t)i,
			    .side = (uint8_t)k,
			    .linger = -1,
			    .born = -1,
			    .key = (i * 2 + k + 1) * 1000003u};
		}
	}
}

static void set_world(struct sim *s, const struct sim_item *it)
{
	const int64_t *a = it->a;

	switch (it->op) {
	case SIM_STACKS:
		s->nst = (unsigned int)a[0];
		break;
	case SIM_SQUEUES:
		s->nsq[a[0]] = (unsigned int)a[1];
		break;
	case SIM_TUN:
		*tunable(&s->tun[a[0]], a[1]) = (uint64_t)a[2];
		break;
	case SIM_ROOM:
		s->room[a[0]] = (uint32_t)a[1];
		break;
	case SIM_POOL:
		s->limit[a[0]] = (uint32_t)a[1];
		break;
	case SIM_MOVES:
		s->moves[a[0]] = (uint32_t)a[1];
		s->detours[a[0]] = true;
		break;
	case SIM_PARKS:
		s->parks[a[0]] = (uint32_t)a[1];
		s->detours[a[0]] = true;
		break;
	case SIM_ORDER:
		s->order = (uint64_t)a[0];
		break;
	case SIM_QUIET:
		s->quiet = SIM_START + (uint64_t)a[0];
		break;
	case SIM_PLANT:
		s->plant = (int)a[0];
		s->plant_at = (uint64_t)a[1];
		break;
	default:
		break;
	}
}

static void set_link(struct sim *s, const struct sim_item *it)
{
	const int64_t *a = it->a;
	struct sim_link *l = &s->link[a[0]];

	switch (it->op) {
	case SIM_LINK:
		l->used = true;
		l->a[0] = l->nic[0].stack = (unsigned int)a[1];
		l->a[1] = l->nic[1].stack = (unsigned int)a[2];
		break;
	case SIM_MTU:
		l->mtu = (uint16_t)a[1];
		break;
	case SIM_LATENCY:
		l->latency = (uint64_t)a[1];
		break;
	case SIM_RATE:
		l->rate = (uint64_t)a[1];
		break;
	case SIM_DEPTH:
		l->depth = (uint32_t)a[1];
		break;
	default:
		break;
	}
}

static void set_nic(struct sim *s, const struct sim_item *it)
{
	struct sim_nic *n = &s->link[it->a[0]].nic[it->a[1]];
	struct sluice_impair_params *p = &n->p;
	uint64_t v = (uint64_t)it->a[2];

	switch (it->op) {
	case SIM_QUEUES:
		n->nq = (uint16_t)RTE_MAX(v, 1u);
		break;
	case SIM_CAPS:
		n->caps = (unsigned int)v;
		break;
	case SIM_STEER:
		n->steer = (enum sim_steer)(v % SIM_NSTEER);
		break;
	case SIM_TXPART:
		n->txpart = (unsigned int)v;
		break;
	case SIM_RXPART:
		n->rxpart = (unsigned int)v;
		break;
	case SIM_TXHOLD:
		n->txhold = v;
		break;
	case SIM_NOISE:
		p->seed = v;
		break;
	case SIM_LOSS:
		p->loss_ppm = (uint32_t)v;
		break;
	case SIM_GILBERT:
		p->gilbert_good_bad_ppm = (uint32_t)v;
		p->gilbert_bad_good_ppm = (uint32_t)it->a[3];
		break;
	case SIM_DUP:
		p->dup_ppm = (uint32_t)v;
		break;
	case SIM_REORDER:
		p->reorder_ppm = (uint32_t)v;
		p->reorder_delay = (uint64_t)it->a[3];
		break;
	case SIM_CORRUPT:
		p->corrupt_ppm = (uint32_t)v;
		break;
	case SIM_TRUNCATE:
		p->truncate_ppm = (uint32_t)v;
		break;
	case SIM_DELAY:
		p->delay = v;
		break;
	case SIM_JITTER:
		p->jitter = v;
		break;
	case SIM_QUEUE:
		p->queue = (uint32_t)v;
		break;
	case SIM_NTH:
		p->drop_nth = (uint32_t)v;
		break;
	case SIM_LOSEFLAG:
		n->flag_mask = (unsigned int)v;
		n->flag_left = (unsigned int)it->a[3];
		break;
	default: /* the fate of one packet */
		n->fault = realloc(n->fault, (n->nfaults + 1) * sizeof(n->fault[0]));
		if (n->fault == NULL)
			abort();
		n->fault[n->nfaults++] = (struct sim_fault){.n = v, .it = it};
		break;
	}
}

static void append(const struct sim_item ***v, unsigned int *n, const struct sim_item *it)
{
	if ((*n & (*n + 7) & ~7u) == *n && *n % 8 == 0) {
		const struct sim_item **p = realloc(*v, (*n + 8) * sizeof(**v));

		if (p == NULL)
			abort();
		*v = p;
	}
	(*v)[(*n)++] = it;
}

static void set_pair(struct sim *s, const struct sim_item *it)
{
	const int64_t *a = it->a;
	struct sim_pair *p = &s->pair[a[0]];

	switch (it->op) {
	case SIM_CONN:
		p->used = true;
		p->link = (uint8_t)a[1];
		p->from = (uint8_t)a[2];
		p->v6 = a[3] != 0;
		p->simul = a[4] != 0;
		break;
	case SIM_OPEN:
		p->open_at = (uint64_t)a[1];
		break;
	case SIM_WRAP:
		p->has_wrap = true;
		p->wrap = (uint32_t)a[1];
		break;
	case SIM_ACCEPTAT:
		p->accept_after = (uint64_t)a[1];
		break;
	default:
		p->refused = true;
		break;
	}
}

static void set_end(struct sim *s, const struct sim_item *it)
{
	const int64_t *a = it->a;
	struct sim_end *e = &s->pair[a[0]].end[a[1]];

	switch (it->op) {
	case SIM_BORN:
		e->born = (int)a[2];
		break;
	case SIM_EARLYSHUT:
		e->early_shut = true;
		break;
	case SIM_CLOSEAT:
	case SIM_ABORTAT:
		e->act_set = true;
		e->act_abort = it->op == SIM_ABORTAT;
		e->act_at = (uint64_t)a[2];
		break;
	case SIM_LINGER:
		e->linger = (int)a[2];
		break;
	case SIM_PIPE:
		e->pipe_to = &s->pair[a[2]].end[a[3]];
		e->pipe_to->pipe_from = e;
		break;
	case SIM_TAKE:
	case SIM_CONSUME:
	case SIM_RPAUSE:
	case SIM_NOSPACE:
	case SIM_SHUTRD:
		append(&e->r, &e->nr, it);
		break;
	case SIM_CHAIN:
	case SIM_COPY:
	case SIM_EXT:
	case SIM_OOB:
	case SIM_MORE:
		e->to_send += (uint64_t)a[2];
		/* fall through */
	default:
		append(&e->w, &e->nw, it);
		break;
	}
}

/* Something that may end a connection by itself, or keep it from beginning. */
static bool disturbs(const struct sim_item *it)
{
	unsigned int k = it->op == SIM_SET ? 2 : 1;

	/* A TIME_WAIT shorter than the peer's retransmission of its FIN answers it with a RST. */
	if ((it->op == SIM_SET || it->op == SIM_TUN) &&
	    it->a[k] == sluice_tunable_find("tcp.time_wait"))
		return true;
	return it->op == SIM_BLACKOUT || it->op == SIM_ADDR || it->op == SIM_ROUTE ||
	       it->op == SIM_LOSEFLAG;
}

static bool event_before(const struct sim_item *a, const struct sim_item *b)
{
	return a->a[0] < b->a[0];
}

static void add_event(struct sim *s, const struct sim_item *it)
{
	unsigned int i;

	append(&s->event, &s->nevents, it);
	for (i = s->nevents - 1; i > 0 && event_before(it, s->event[i - 1]); i--)
		s->event[i] = s->event[i - 1];
	s->event[i] = it;
}

static void set_item(struct sim *s, const struct sim_item *it)
{
	s->calm &= !disturbs(it);
	if (it->op < SIM_LINK || it->op == SIM_PLANT)
		set_world(s, it);
	else if (it->op < SIM_QUEUES)
		set_link(s, it);
	else if (it->op < SIM_CONN)
		set_nic(s, it);
	else if (it->op == SIM_CONN || it->op == SIM_OPEN || it->op == SIM_WRAP ||
		 it->op == SIM_ACCEPTAT || it->op == SIM_REFUSE)
		set_pair(s, it);
	else if (it->op < SIM_BLACKOUT)
		set_end(s, it);
	else
		add_event(s, it);
}

static int by_number(const void *x, const void *y)
{
	const struct sim_fault *a = x, *b = y;

	return a->n < b->n ? -1 : a->n > b->n;
}

/* What is left of the stacks and links that an item speaks of; false: it makes no sense. */
static bool settle(struct sim *s)
{
	for (unsigned int l = 0; l < SIM_MAX_LINKS; l++) {
		struct sim_link *k = &s->link[l];

		if (!k->used)
			continue;
		if (k->a[0] >= s->nst || k->a[1] >= s->nst || k->a[0] == k->a[1])
			return false;
		for (unsigned int e = 0; e < 2; e++) {
			struct sim_nic *n = &k->nic[e];

			if (n->nq > s->nsq[n->stack])
				n->nq = (uint16_t)s->nsq[n->stack];
			s->detours[n->stack] |= n->steer != SIM_STEER_RIGHT;
			if (n->nfaults > 0)
				qsort(n->fault, n->nfaults, sizeof(n->fault[0]), by_number);
		}
	}
	for (unsigned int i = 0; i < SIM_MAX_CONNS; i++) {
		struct sim_pair *p = &s->pair[i];

		if (!p->used)
			continue;
		if (!s->link[p->link].used)
			return false;
		for (unsigned int k = 0; k < 2; k++) {
			struct sim_end *e = &p->end[k];

			e->stack = (uint8_t)s->link[p->link].a[k == 0 ? p->from : !p->from];
			if (e->born >= (int)s->nsq[e->stack])
				e->born = 0;
		}
	}
	/* A pipe joins two ends of one stack; its writer writes nothing of its own. */
	for (unsigned int i = 0; i < SIM_MAX_CONNS; i++) {
		for (unsigned int k = 0; k < 2; k++) {
			struct sim_end *e = &s->pair[i].end[k], *to = e->pipe_to;

			if (to == NULL)
				continue;
			if (!s->pair[i].used || !s->pair[to->id].used || to->id == i ||
			    to->stack != e->stack || to->nw > 0 || e->peer->pipe_from != NULL)
				return false;
			to->key = e->peer->key;
			to->to_send = e->peer->to_send;
		}
	}
	for (unsigned int i = 0; i < s->nevents; i++) {
		const struct sim_item *it = s->event[i];

		for (unsigned int k = 0; k < sim_item_args((enum sim_op)it->op); k++)
			if (sim_item_kind((enum sim_op)it->op, k) == 's' &&
			    it->a[k] >= (int64_t)s->nst)
				return false;
		if ((it->op == SIM_ADDR || it->op == SIM_ROUTE || it->op == SIM_PMTU ||
			it->op == SIM_BLACKOUT) &&
		    !s->link[it->a[1]].used)
			return false;
		if ((it->op == SIM_CALL || it->op == SIM_ICMP) && !s->pair[it->a[1]].used)
			return false;
	}
	return true;
}

bool sim_read_plan(struct sim *s)
{
	defaults(s);
	for (unsigned int i = 0; i < s->plan->n; i++) {
		const struct sim_item *it = &s->plan->v[i];

		if (!item_ok(it))
			return false;
		s->sum->op[it->op]++;
		set_item(s, it);
	}
	return settle(s);
}
