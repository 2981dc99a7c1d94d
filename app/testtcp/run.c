/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The phases of a run, and the loop of an lcore. The main lcore decides about phases and prints;
 * the others follow what it writes to run.phase, each at its next pass. open -> warm-up -> measure
 * -> drain (nothing new is asked, what is under way may finish) -> close -> end.
 */
#include "testtcp.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#define OPEN_LIMIT SLUICE_SEC(30)
#define CLOSE_LIMIT SLUICE_SEC(10)
#define DRAIN_LEAST SLUICE_MS(200)
#define CHECK_EVERY SLUICE_MS(1)

void run_sum(const struct run *r, const struct endpoint *ep, struct stats *out)
{
	memset(out, 0, sizeof(*out));
	for (unsigned int e = 0; e < r->nep; e++) {
		if (ep != NULL && ep != &r->ep[e])
			continue;
		for (unsigned int i = 0; i < r->ep[e].nshards; i++) {
			const uint64_t *from = (const uint64_t *)&r->ep[e].shard[i].stats;

			for (size_t j = 0; j < sizeof(*out) / sizeof(uint64_t); j++)
				((uint64_t *)out)[j] += __atomic_load_n(from + j, __ATOMIC_RELAXED);
		}
	}
}

/** A row "Slab: 123 kB" or the column RetransSegs of a file in /proc; 0 when absent. */
static uint64_t proc_slab(void)
{
	unsigned long long kb = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");

	if (f == NULL)
		return 0;
	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "Slab: %llu", &kb) == 1)
			break;
	fclose(f);
	return kb * 1024;
}

static uint64_t proc_retrans(void)
{
	unsigned long long v = 0;
	char line[512];
	FILE *f = fopen("/proc/net/snmp", "r");

	if (f == NULL)
		return 0;
	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "Tcp: %*u %*u %*u %*d %*u %*u %*u %*u %*u %*u %*u %llu", &v) == 1)
			break;
	fclose(f);
	return v;
}

uint64_t run_retrans(const struct run *r)
{
	struct sluice_counters c;
	uint64_t n = 0;

	if (r->cfg->stack == STACK_KERNEL)
		return proc_retrans();
	for (unsigned int e = 0; e < r->nep; e++) {
		sluice_counters_sum(r->ep[e].stack.st, &c);
		n += c.tcp_retrans_segs;
	}
	return n;
}

struct drops run_drops(const struct run *r)
{
	struct drops d = {0, 0};
	struct sluice_counters c;
	struct stats s;

	if (r->cfg->stack == STACK_KERNEL)
		return d;
	for (unsigned int e = 0; e < r->nep; e++) {
		struct sluice_port_stats ps = {.size = sizeof(ps)};

		sluice_counters_sum(r->ep[e].stack.st, &c);
		d.port += c.port_tx_ctl_drops;
		d.pool += c.port_tx_nomem;
		if (sluice_port_stats(r->ep[e].stack.st, (unsigned int)r->ep[e].port, &ps) != 0)
			continue;
		d.port += ps.rx_missed + ps.rx_errors + ps.tx_errors;
		d.pool += ps.rx_nomem;
	}
	run_sum(r, NULL, &s);
	d.pool += s.nomem;
	return d;
}

uint64_t run_no_port(const struct run *r)
{
	const struct endpoint *ep = &r->ep[r->nep - 1];
	struct sluice_counters c;
	struct stats s;

	if (!ep->client)
		return 0;
	run_sum(r, ep, &s);
	if (r->cfg->stack == STACK_KERNEL)
		return s.no_port;
	sluice_counters_sum(ep->stack.st, &c); /* addresses not yet ready are no shortage */
	return c.tcp_ports_exhausted;
}

/** The endpoint whose figures are the result: the client, if it is here. */
static struct endpoint *subject(struct run *r)
{
	return &r->ep[r->nep - 1];
}

static uint32_t level(const struct run *r, const struct endpoint *ep, size_t offset)
{
	uint32_t n = 0;

	for (unsigned int e = 0; e < r->nep; e++)
		for (unsigned int i = 0; i < r->ep[e].nshards; i++)
			if (ep == NULL || ep == &r->ep[e])
				n += __atomic_load_n(
				    (const uint32_t *)((const char *)&r->ep[e].shard[i] + offset),
				    __ATOMIC_RELAXED);
	return n;
}

#define LEVEL(r, ep, field) level(r, ep, offsetof(struct shard, field))

void run_pieces(const struct run *r, struct stats *sub, const struct stats *all)
{
	if (sub->transactions == 0)
		sub->transactions = all->transactions;
	if (sub->transactions == 0 && r->cfg->proto == PROTO_DISCARD)
		sub->transactions = sub->tx_bytes / r->cfg->req;
}

void run_line(struct run *r, uint64_t now)
{
	static const char *const name[] = {
	    "open", "pause", "warmup", "measure", "drain", "close", "end"};
	struct stats s, *l = &r->last, all;
	double secs = (double)(now - r->last_line) * 1e-9, busy;
	static struct stats last_all;
	struct interval iv;
	uint64_t retrans = run_retrans(r);
	struct drops drops = run_drops(r);

	run_sum(r, subject(r), &s);
	run_sum(r, NULL, &all);
	run_pieces(r, &s, &all);
	busy = all.total_cycles > last_all.total_cycles
		   ? (double)(all.busy_cycles - last_all.busy_cycles) /
			 (double)(all.total_cycles - last_all.total_cycles)
		   : 0;
	iv = (struct interval){.t = (double)(now - r->start) * 1e-9,
	    .tps = (double)(s.transactions - l->transactions) / secs,
	    .cps = (double)(s.opened - l->opened) / secs,
	    .gbps = (double)(s.rx_bytes + s.tx_bytes - l->rx_bytes - l->tx_bytes) * 8e-9 / secs,
	    .busy = busy,
	    .retrans = retrans - r->last_retrans,
	    .drops_port = drops.port - r->last_drops.port,
	    .drops_pool = drops.pool - r->last_drops.pool,
	    .live = LEVEL(r, subject(r), shown_live)};
	fprintf(r->cfg->json != NULL && strcmp(r->cfg->json, "-") == 0 ? stderr : stdout,
	    "%6.1fs %-7s conns %llu  trans/s %.0f  conn/s %.0f  Gbit/s %.3f  retrans %llu  drops "
	    "port %llu pool %llu  busy %.0f%%\n",
	    iv.t, name[r->phase], (unsigned long long)iv.live, iv.tps, iv.cps, iv.gbps,
	    (unsigned long long)iv.retrans, (unsigned long long)iv.drops_port,
	    (unsigned long long)iv.drops_pool, iv.busy * 100);
	fflush(stdout);
	if (r->phase == PH_MEASURE && r->ninterval < r->max_interval)
		r->interval[r->ninterval++] = iv;
	r->last = s;
	last_all = all;
	r->last_retrans = retrans;
	r->last_drops = drops;
	r->last_line = now;
	r->next_line = now + SLUICE_SEC(1);
}

/** Bytes that the connections of an end take: slabs, doors and tables. */
static uint64_t held(const struct endpoint *ep)
{
	struct sluice_memory m = {.size = sizeof(m)};

	return sluice_stack_memory(ep->stack.st, &m) == 0 ? m.slabs + m.doors + m.tables : 0;
}

static void set_phase(struct run *r, enum phase ph, uint64_t now)
{
	struct endpoint *ep =
	    &r->ep[0]; /* the server where there is one: what memory a listener's owner needs */

	if (ph == PH_WARMUP || (ph == PH_PAUSE && r->phase == PH_OPEN))
		r->open_end = now;
	if (ph == PH_PAUSE && r->phase == PH_MEASURE)
		r->report_due = true;
	if (ph == PH_MEASURE) {
		uint64_t n = r->cfg->role == ROLE_SERVER ? 1
			     : r->cfg->total             ? r->cfg->active
							 : r->cfg->connections;

		r->measure_start = now;
		r->retrans0 = run_retrans(r);
		if (r->cfg->stack == STACK_SLUICE)
			r->mem_per_conn = held(ep) / n;
		else if (proc_slab() > r->kernel_mem)
			r->mem_per_conn = (proc_slab() - r->kernel_mem) / (n * r->nep);
	}
	if (r->phase == PH_MEASURE) {
		r->measure_end = now;
		r->retrans = run_retrans(r) - r->retrans0;
	}
	r->phase_start = now;
	__atomic_store_n(&r->phase, ph, __ATOMIC_RELEASE);
}

/** How long the ramp takes. */
static uint64_t ramp_time(const struct run *r)
{
	const struct config *cfg = r->cfg;
	uint64_t n = r->engine->reopen && cfg->active != 0 ? cfg->active : cfg->connections;

	return cfg->ramp != 0 ? n * SLUICE_SEC(1) / cfg->ramp : 0;
}

/** Is the opening phase over? Too late: what is missing counts as lost. */
static void check_open(struct run *r, uint64_t now)
{
	enum phase next = r->prompt != NULL ? PH_PAUSE : PH_WARMUP;
	uint64_t have;

	if (r->cfg->role == ROLE_SERVER) {
		set_phase(r, PH_MEASURE, now);
		return;
	}
	have = LEVEL(r, subject(r), shown_established);
	if (r->engine->reopen) {
		if (r->cfg->total || now - r->phase_start >= ramp_time(r))
			set_phase(r, next, now);
	} else if (have >= r->cfg->connections) {
		set_phase(r, next, now);
	} else if (now - r->phase_start > OPEN_LIMIT + ramp_time(r)) {
		r->unopened = r->cfg->connections - have;
		app_err("only %llu of %llu connections opened in time", (unsigned long long)have,
		    (unsigned long long)r->cfg->connections);
		set_phase(r, PH_CLOSE, now);
	}
}

static uint32_t all_shards(const struct run *r)
{
	uint32_t shards = 0;

	for (unsigned int e = 0; e < r->nep; e++)
		shards += r->ep[e].nshards;
	return shards;
}

static void check_drain(struct run *r, uint64_t now)
{
	if (now - r->phase_start >= DRAIN_LEAST && LEVEL(r, NULL, shown_idle) == all_shards(r)) {
		set_phase(r, PH_CLOSE, now);
	} else if (now - r->phase_start > r->cfg->drain) {
		app_err("requests were not answered within %.1f s",
		    (double)r->cfg->drain / SLUICE_SEC(1));
		r->failed = true;
		set_phase(r, PH_CLOSE, now);
	}
}

bool run_start(struct run *r)
{
	if (r->phase != PH_PAUSE || r->report_due)
		return false;
	r->ninterval = 0;
	set_phase(r, PH_MEASURE, app_now());
	return true;
}

bool run_stop(struct run *r)
{
	if (r->phase != PH_MEASURE)
		return false;
	set_phase(r, PH_PAUSE, app_now());
	return true;
}

/** What the main lcore decides, now and then. */
static void control(struct run *r, uint64_t now)
{
	uint64_t since = now - r->phase_start;

	r->next_check = now + CHECK_EVERY;
	for (unsigned int e = 0; e < r->nep; e++)
		if (r->ep[e].stack.st != NULL)
			app_ports_serve(r->ep[e].stack.st);
	lcores_control(r, now);
	if (r->prompt != NULL)
		prompt_poll(r);
	else if (now >= r->next_line)
		run_line(r, now);
	if (app_stop && r->phase < PH_DRAIN) {
		if (r->phase < PH_MEASURE && r->phase != PH_PAUSE)
			r->failed = true; /* nothing was measured */
		set_phase(
		    r, r->phase == PH_MEASURE || r->prompt != NULL ? PH_DRAIN : PH_CLOSE, now);
		return;
	}
	switch (r->phase) {
	case PH_OPEN:
		check_open(r, now);
		break;
	case PH_PAUSE:
		if (r->report_due && LEVEL(r, NULL, shown_pause) == all_shards(r)) {
			report_text(r);
			r->report_due = false;
		}
		break;
	case PH_WARMUP:
		if (since >= r->cfg->warmup)
			set_phase(r, PH_MEASURE, now);
		break;
	case PH_MEASURE:
		if ((r->cfg->duration != 0 && since >= r->cfg->duration) ||
		    LEVEL(r, subject(r), shown_done) == subject(r)->nshards)
			set_phase(r, r->prompt != NULL ? PH_PAUSE : PH_DRAIN, now);
		break;
	case PH_DRAIN:
		check_drain(r, now);
		break;
	case PH_CLOSE:
		if (LEVEL(r, NULL, shown_live) == 0 && since > SLUICE_MS(20))
			set_phase(r, PH_END, now);
		else if (since > CLOSE_LIMIT) {
			app_err(
			    "%u connections did not close within 10 s", LEVEL(r, NULL, shown_live));
			r->failed = true;
			set_phase(r, PH_END, now);
		}
		break;
	case PH_END:
		break;
	}
}

static int work_loop(void *arg)
{
	struct worker *w = arg;
	struct run *r = w->run;
	uint64_t t = rte_rdtsc(), t2;

	for (;;) {
		enum phase ph = __atomic_load_n(&r->phase, __ATOMIC_ACQUIRE);
		int any = 0;

		if (ph == PH_END)
			break;
		for (unsigned int i = 0; i < w->nshards; i++) {
			struct shard *sh = w->shard[i];
			int work;

			sh->now = app_cycles_to_ns(t);
			if (sh->phase != ph)
				shard_enter(sh, ph);
			work = sh->tp->poll(sh);
			t2 = rte_rdtsc();
			if (work > 0)
				bump(&sh->stats.busy_cycles, t2 - t);
			bump(&sh->stats.total_cycles, t2 - t);
			t = t2;
			any |= work > 0;
		}
		if (lcore_may_leave(w))
			break;
		if (w->main && app_cycles_to_ns(t) >= r->next_check)
			control(r, app_cycles_to_ns(t));
		if (!any && r->cfg->idle == 1) {
			sched_yield();
			t = rte_rdtsc();
		}
	}
	for (unsigned int i = 0; i < w->nshards; i++)
		w->shard[i]->tp->leave(w->shard[i]);
	return 0;
}

/* The lcore of each shard against the port of its end. */
static void numa_look(const struct run *r)
{
	unsigned int lcore = rte_get_main_lcore();

	for (unsigned int e = r->nep; e-- > 0;)
		for (unsigned int i = 0; i < r->ep[e].nshards && lcore < RTE_MAX_LCORE; i++) {
			if (r->ep[e].driver.ops == NULL && r->cfg->stack == STACK_SLUICE)
				app_numa_warn(lcore, (uint16_t)r->cfg->port_id[r->ep[e].client]);
			if (r->nworkers > 1)
				lcore = rte_get_next_lcore(
				    lcore == rte_get_main_lcore() ? (unsigned int)-1 : lcore, 1, 0);
		}
}

int run_all(struct run *r)
{
	static struct worker worker[RTE_MAX_LCORE];
	unsigned int n = 0, lcore, main_lcore = rte_get_main_lcore();
	uint64_t now = app_now();
	bool shared = r->nep == 2 && rte_lcore_count() == 1;

	/* Shards over lcores: one each, the client first (the main lcore), or both ends on the only
	 * one. */
	for (unsigned int e = r->nep; e-- > 0;)
		for (unsigned int i = 0; i < r->ep[e].nshards; i++) {
			struct worker *w = &worker[shared ? 0 : n];

			w->run = r;
			w->shard[w->nshards++] = &r->ep[e].shard[i];
			n++;
		}
	if (shared)
		n = 1;
	r->worker = worker;
	r->work = work_loop;
	for (unsigned int e = 0; e < r->nep; e++)
		r->ep[e].phase = &r->phase;
	r->nworkers = n;
	numa_look(r);
	worker[0].main = true;
	r->max_interval = 86400;
	r->interval = calloc(r->max_interval, sizeof(*r->interval));
	if (r->interval == NULL)
		return -1;
	r->kernel_mem = proc_slab();
	r->start = r->phase_start = r->last_line = now;
	r->next_line = now + SLUICE_SEC(1);
	r->last_retrans = run_retrans(r);
	r->last_drops = run_drops(r);
	r->worker_lcore[0] = main_lcore;
	n = 1;
	RTE_LCORE_FOREACH_WORKER (lcore) {
		if (n == r->nworkers)
			break;
		r->worker_lcore[n] = lcore;
		if (rte_eal_remote_launch(work_loop, &worker[n], lcore) != 0)
			return -1;
		n++;
	}
	work_loop(&worker[0]);
	rte_eal_mp_wait_lcore();
	if (r->cfg->lcore_cycle != 0)
		fprintf(stderr, "%s: lcores left and came back %u times\n", app_name, r->cycles);
	if (r->measure_end == 0)
		r->measure_end = r->measure_start;
	return 0;
}
