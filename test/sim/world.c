/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The world of one seed: makes pools, stacks and the wire, runs all squeues in a random order on
 * one virtual clock, and at the end asks for everything back.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <rte_mbuf.h>

#include "mpool.h"
#include "sim.h"

#define SIM_MOST_PASSES 4000000u       /* of one squeue: a run that needs more is stuck */
#define SIM_MOST_TIME SLUICE_SEC(3600) /* virtual */

void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (s->why[0] != '\0')
		return;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
}

static void say(void *arg, int level, const char *line)
{
	fprintf(stderr, "log %d: %s\n", level, line);
}

/* Swarm: each seed switches features off and makes limits tight. */
static void pick_tunables(struct sim *s, struct sluice_tunables *t)
{
	struct sl_rng *r = &s->rng;

	sluice_tunables_default(t);
	t->tcp_wscale = sl_rng_below(r, 4) != 0;
	t->tcp_timestamps = sl_rng_below(r, 3) != 0;
	t->tcp_sack = sl_rng_below(r, 3) != 0;
	t->tcp_cc = sl_rng_below(r, 2);
	t->tcp_nodelay = sl_rng_below(r, 2);
	t->tcp_delack = sl_rng_below(r, 3) * SLUICE_MS(20);
	t->tcp_quickack = sl_rng_below(r, 2) * 16;
	t->tcp_rcvbuf = 2048u << sl_rng_below(r, 9);
	t->tcp_sndbuf = 2048u << sl_rng_below(r, 9);
	t->tcp_time_wait = SLUICE_MS(1) * (1 + sl_rng_below(r, 2000));
	t->tcp_fin_wait2 = SLUICE_SEC(60);
	t->tcp_keepidle = SLUICE_SEC(30);
	t->tcp_keepintvl = SLUICE_SEC(2);
	t->tcp_keepcnt = 5;
	t->tcp_copy_below = sl_rng_below(r, 2) ? 256 : 0;
	t->tcp_mss_max = sl_rng_below(r, 3) == 0 ? 88 + sl_rng_below(r, 1400) : 65495;
	t->tcp_init_cwnd = 1 + sl_rng_below(r, 12);
	t->sq_rx_burst = 1 + sl_rng_below(r, 64);
	t->ip_frag_max = 0;
	t->tcp_ooo_max = sl_rng_below(r, 4) == 0 ? 4 : 4096;
}

static void pick_trouble(struct sim *s, struct sluice_impair_params *p)
{
	struct sl_rng *r = &s->rng;

	p->size = sizeof(*p);
	p->seed = sl_rng_u64(&s->link);
	p->loss_ppm = sl_rng_below(r, 4) == 0 ? 0 : 50000;
	p->dup_ppm = sl_rng_below(r, 3) == 0 ? 20000 : 0;
	p->reorder_ppm = sl_rng_below(r, 2) ? 30000 : 0;
	p->corrupt_ppm = sl_rng_below(r, 2) ? 10000 : 0;
	p->truncate_ppm = sl_rng_below(r, 4) == 0 ? 5000 : 0;
	p->delay = sl_rng_below(r, SLUICE_MS(20));
	p->jitter = sl_rng_below(r, 3) == 0 ? sl_rng_below(r, SLUICE_MS(5)) : 0;
	p->reorder_delay = SLUICE_MS(1) + sl_rng_below(r, SLUICE_MS(10));
	p->queue = sl_rng_below(r, 4) == 0 ? 16 : 4096;
	if (sl_rng_below(r, 8) == 0) {
		p->blackout_start = s->now + sl_rng_below(r, SLUICE_SEC(1));
		p->blackout_len = sl_rng_below(r, SLUICE_SEC(5));
	}
}

static int make_link(struct sim *s, uint16_t mtu)
{
	struct sluice_wire_params wp = {
	    .size = sizeof(wp), .mtu = mtu, .latency = 1 + sl_rng_below(&s->rng, SLUICE_MS(1))};
	struct sluice_driver wire[2];

	wp.nqueues[0] = wp.nqueues[1] = (uint16_t)s->nsq;
	wp.depth = sl_rng_below(&s->rng, 3) == 0 ? 16 : 1024;
	wp.rate = sl_rng_below(&s->rng, 2) ? 10000000u << sl_rng_below(&s->rng, 8) : 0;
	if (sluice_wire_create(&wp, wire) < 0)
		return -1;
	for (int i = 0; i < 2; i++) {
		struct sluice_impair_params ip = {.pool = s->pool[i]};

		pick_trouble(s, &ip);
		if (sluice_impair_create(&ip, wire[i], &s->port[i]) < 0)
			return -1;
	}
	return 0;
}

static int configure(struct sluice_stack *st, int side, const char **why)
{
	struct sluice_if_params ifp = {
	    .size = sizeof(ifp), .name = "wire0", .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_txn *t;
	int rc = sluice_txn_begin(st, &t);

	if (rc < 0)
		return rc;
	rc = sluice_if_add(t, &ifp);
	if (rc == 0)
		rc = sluice_addr_add(t, "wire0", side == 0 ? "10.0.0.1/24" : "10.0.0.2/24", false);
	if (rc == 0)
		rc = sluice_addr_add(t, "wire0", side == 0 ? "fd00::1/64" : "fd00::2/64", false);
	if (rc == 0)
		rc = sluice_tunable_set(t, "ip.dad_probes", 0);
	if (rc < 0) {
		sluice_txn_abort(t);
		return rc;
	}
	return sluice_txn_commit(t, why);
}

static int make_stacks(struct sim *s)
{
	for (int i = 0; i < 2; i++) {
		struct sluice_tunables tun;
		struct sluice_stack_params p = {.size = sizeof(p),
		    .name = i == 0 ? "a" : "b",
		    .nsqueues = s->nsq,
		    .max_connections = 64,
		    .hdr_pool = s->pool[i],
		    .seed = sl_rng_u64(&s->rng) | 1,
		    .tunables = &tun,
		    .log = s->opt->verbose ? say : NULL};
		const char *why = NULL;

		pick_tunables(s, &tun);
		if (sluice_stack_create(&p, &s->st[i], &why) < 0 ||
		    sluice_port_add(s->st[i], s->port[i]) != 0 ||
		    configure(s->st[i], i, &why) < 0) {
			sim_fail(s, "stack %d: %s", i, why != NULL ? why : "set-up");
			return -1;
		}
	}
	return 0;
}

static void make_ends(struct sim *s)
{
	s->nconns = 1 + (unsigned int)sl_rng_below(&s->rng, SIM_MAX_CONNS);
	for (unsigned int i = 0; i < s->nconns; i++) {
		s->kind[i] = (enum sim_kind)sl_rng_below(&s->rng, SIM_KINDS);
		for (unsigned int k = 0; k < 2; k++) {
			struct sim_end *e = &s->end[i][k];
			uint64_t most = 1ull << (4 + sl_rng_below(&s->rng, 15));

			*e = (struct sim_end){.sim = s,
			    .peer = &s->end[i][!k],
			    .st = s->st[k],
			    .id = i,
			    .side = (uint8_t)k,
			    .to_send = sl_rng_below(&s->rng, most),
			    .act_at = UINT64_MAX};
		}
	}
}

static int listen_on(struct sim *s)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
	int rc = sluice_create(s->st[1], AF_INET6, SOCK_STREAM, 0, 0, 0, &s->listener), on = 1;

	if (rc == 0)
		rc = sluice_activate(s->st[1], s->listener, &sim_listener_upcalls, s);
	if (rc == 0) /* inherited */
		rc = sluice_setsockopt(
		    s->st[1], s->listener, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (rc == 0)
		rc = sluice_bind(s->st[1], s->listener, (struct sockaddr *)&any, sizeof(any));
	if (rc == 0)
		rc = sluice_listen(s->st[1], s->listener, 64);
	if (rc < 0)
		sim_fail(s, "listen: %d", rc);
	return rc;
}

/* ---- time ---- */

static int poll_all(struct sim *s)
{
	struct sluice_squeue *sq[2 * SIM_MAX_SQ];
	unsigned int n = 0;
	int work = 0;

	for (unsigned int i = 0; i < 2; i++)
		for (unsigned int k = 0; k < s->nsq; k++)
			sq[n++] = sluice_squeue(s->st[i], k);
	while (n > 0) { /* another order each time */
		unsigned int k = (unsigned int)sl_rng_below(&s->rng, n);
		int rc = sluice_squeue_poll(sq[k], s->now, 0);

		if (rc < 0)
			sim_fail(s, "poll: %d", rc);
		work += rc;
		sq[k] = sq[--n];
	}
	return work;
}

static uint64_t next_time(const struct sim *s)
{
	uint64_t next = UINT64_MAX;

	for (unsigned int i = 0; i < 2; i++)
		for (unsigned int k = 0; k < s->nsq; k++)
			next = RTE_MIN(next, sluice_squeue_next(sluice_squeue(s->st[i], k)));
	for (unsigned int i = 0; i < s->nconns; i++)
		for (unsigned int k = 0; k < 2; k++)
			next = RTE_MIN(next, s->end[i][k].act_at);
	return next;
}

static void act(struct sim *s)
{
	for (unsigned int i = 0; i < s->opened; i++)
		for (unsigned int k = 0; k < 2; k++)
			if (s->end[i][k].act_at <= s->now)
				sim_act(&s->end[i][k]);
	if (s->opened < s->nconns && sl_rng_below(&s->rng, 4) == 0)
		sim_open_next(s);
	if (sl_rng_below(&s->rng, 200) == 0)
		sim_illegal_calls(s);
	/* Senders that found the pool empty. */
	if (sl_rng_below(&s->rng, 50) == 0)
		for (unsigned int i = 0; i < s->opened; i++)
			for (unsigned int k = 0; k < 2; k++)
				if (s->end[i][k].up && !s->end[i][k].closed && !s->end[i][k].ended)
					sim_pump(&s->end[i][k]);
}

static void run(struct sim *s)
{
	uint64_t start = s->now, passes = 0;
	bool done = false;

	while (s->why[0] == '\0') {
		int work = poll_all(s);
		uint64_t next;

		act(s);
		if (!done && sim_all_ended(s)) {
			done = true;
			if (sluice_close(s->st[1], s->listener) != 0)
				sim_fail(s, "the listener does not close");
		}
		next = next_time(s);
		if (done && s->listener_closed && work == 0 && next == UINT64_MAX)
			/*
			 * Nothing will ever happen again: all timers are off, all TIME_WAIT is over
			 */
			return;
		/* Once all have ended, what is left (neighbours that age) may take its time. */
		if (++passes > SIM_MOST_PASSES || (!done && s->now - start > SIM_MOST_TIME))
			sim_fail(s, "stuck: %lu passes, %lu ms", (unsigned long)passes,
			    (unsigned long)((s->now - start) / 1000000));
		if (work == 0 && s->opened == s->nconns && next > s->now && next != UINT64_MAX)
			s->now = next;
		else
			s->now += 1000 + sl_rng_below(&s->rng, 100000);
	}
}

/* ---- the end ---- */

static void check_streams(struct sim *s)
{
	for (unsigned int i = 0; i < s->nconns; i++) {
		struct sim_end *a = &s->end[i][0], *b = &s->end[i][1];

		if (a->broke || b->broke || s->kind[i] == SIM_CLOSE_EARLY)
			continue;
		/* Blackouts and time-outs end connections; whoever was not told of an error has it
		 * all. */
		if (a->err == 0 && b->err == 0 &&
		    (a->received != b->to_send || b->received != a->to_send))
			sim_fail(s, "conn %u: %lu of %lu, %lu of %lu bytes", i,
			    (unsigned long)a->received, (unsigned long)b->to_send,
			    (unsigned long)b->received, (unsigned long)a->to_send);
	}
}

static void add_counters(struct sim_sum *sum, const struct sluice_counters *c)
{
	const uint64_t *from = (const uint64_t *)(const void *)c;
	uint64_t *to = (uint64_t *)(void *)&sum->ctr;

	for (unsigned int i = 0; i < SLUICE_NCOUNTERS; i++)
		to[i] += from[i];
}

static void collect(struct sim *s, struct sim_sum *sum)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct sluice_counters c;
		struct sluice_impair_stats is = {.size = sizeof(is)};
		uint64_t *to = &sum->impair.packets, *from = &is.packets;

		sluice_counters_sum(s->st[i], &c);
		add_counters(sum, &c);
		if (c.tcp_curr_estab != 0)
			sim_fail(s, "stack %u: tcp_curr_estab is %lu at the end", i,
			    (unsigned long)c.tcp_curr_estab);
		sluice_impair_stats(s->port[i], &is);
		for (size_t k = 0;
		     k < (sizeof(is) - offsetof(struct sluice_impair_stats, packets)) / 8; k++)
			to[k] += from[k];
		for (unsigned int q = 0; q < s->nsq; q++)
			for (unsigned int x = 0; x < SLUICE_NSTATES; x++)
				for (unsigned int y = 0; y < SLUICE_NSTATES; y++)
					sum->edge[x][y] += s->st[i]->sq[q]->tcp->edge[x][y];
	}
	for (unsigned int i = 0; i < s->nconns; i++) {
		sum->bytes += s->end[i][0].received + s->end[i][1].received;
		sum->aborted += s->end[i][0].broke;
	}
	sum->conns += s->nconns;
}

static void destroy(struct sim *s, bool strict)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct sluice_leaks leaks = {.size = sizeof(leaks)};

		if (s->st[i] == NULL)
			continue;
		if (sluice_stack_destroy(s->st[i], &leaks) != 0)
			sim_fail(s, "stack %u is busy", i);
		if (strict && (leaks.connections || leaks.timers || leaks.calls || leaks.records))
			sim_fail(s,
			    "stack %u leaks: %lu connections, %lu timers, %lu calls, %lu records",
			    i, (unsigned long)leaks.connections, (unsigned long)leaks.timers,
			    (unsigned long)leaks.calls, (unsigned long)leaks.records);
	}
	for (unsigned int i = 0; i < 2; i++) {
		uint32_t out = tp_out(s->pool[i]);

		if (out != 0)
			sim_fail(s, "pool %u: %u mbufs did not come back", i, out);
		tp_destroy(s->pool[i]);
	}
}

/* What is left, for who reads a failure. */
static void dump(struct sim *s)
{
	fprintf(stderr, "  now %lu ms, next %lu ms, listener %s\n",
	    (unsigned long)(s->now / 1000000), (unsigned long)(next_time(s) / 1000000),
	    s->listener_closed ? "closed" : "open");
	for (unsigned int i = 0; i < s->opened; i++) {
		for (unsigned int k = 0; k < 2; k++) {
			struct sim_end *e = &s->end[i][k];
			struct sluice_conn_info n = {.size = sizeof(n)};

			if (e->c == 0 || e->closed || sluice_conn_info(e->st, e->c, &n) != 0)
				continue;
			fprintf(stderr,
			    "  conn %u side %u kind %d %s: sent %lu/%lu got %lu; una +%u nxt +%u "
			    "wnd %u flight %u "
			    "cwnd %u sndq %u; rcvq %u ooo %u rwnd %u; mss %u rto %lu ms rtos "
			    "%lu%s%s%s%s\n",
			    i, k, s->kind[i], sluice_state_name(n.state), (unsigned long)e->sent,
			    (unsigned long)e->to_send, (unsigned long)e->received, n.snd_una,
			    n.snd_nxt, n.snd_wnd, n.flight, n.cwnd, n.sndq, n.rcvq, n.ooo,
			    n.rcv_wnd, n.mss, (unsigned long)(n.rto / 1000000),
			    (unsigned long)n.rtos, e->eof ? " eof" : "", e->shut ? " shut" : "",
			    e->paused ? " paused" : "", e->closing ? " closing" : "");
		}
	}
}

int sim_run(uint64_t seed, const struct sim_options *opt, struct sim_sum *sum)
{
	static struct sim world; /* large; one at a time per process */
	struct sim *s = &world;
	bool ok;

	memset(s, 0, sizeof(*s));
	s->seed = seed;
	s->opt = opt;
	s->now = SLUICE_SEC(1);
	sl_rng_seed(&s->rng, seed, 1);
	sl_rng_seed(&s->link, seed, 2);
	s->nsq = opt->squeues != 0 ? opt->squeues : 1 + (unsigned int)(seed & 1);
	for (int i = 0; i < 2; i++)
		s->pool[i] = tp_create(2048, sl_rng_below(&s->rng, 8) == 0 ? 600 : 0);
	if (make_link(s, sl_rng_below(&s->rng, 4) == 0 ? 9000 : 1500) == 0 && make_stacks(s) == 0) {
		make_ends(s);
		if (listen_on(s) == 0)
			run(s);
		check_streams(s);
		if (s->why[0] != '\0')
			dump(s);
		collect(s, sum);
	}
	ok = s->why[0] == '\0';
	sum->virtual_ms += (s->now - SLUICE_SEC(1)) / 1000000;
	destroy(s, ok);
	sum->seeds++;
	if (s->why[0] == '\0')
		return 0;
	sum->failed++;
	fprintf(stderr, "seed %lu: %s (%u squeues, %lu ms)\n", (unsigned long)seed, s->why, s->nsq,
	    (unsigned long)((s->now - SLUICE_SEC(1)) / 1000000));
	return -1;
}
