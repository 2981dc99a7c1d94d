/* SPDX-License-Identifier: BSD-3-Clause */
/* What a run found, as text and as JSON (doc/testtcp.md tells each field). Read after all lcores
 * have stopped. */
#include "testtcp.h"

#include <string.h>
#include <sys/utsname.h>
#include <rte_version.h>

struct result {
	double secs, open_secs;
	struct stats sub; /* of the subject, over the measurement */
	struct stats all; /* of both ends */
	struct hist hist;
	double tps, cps, gbps, cycles;
};

static void add_diff(struct stats *out, const struct stats *end, const struct stats *base)
{
	for (size_t i = 0; i < sizeof(*out) / sizeof(uint64_t); i++)
		((uint64_t *)out)[i] += ((const uint64_t *)end)[i] - ((const uint64_t *)base)[i];
}

static void compute(const struct run *r, struct result *x)
{
	memset(x, 0, sizeof(*x));
	hist_reset(&x->hist);
	x->secs = (double)(r->measure_end - r->measure_start) * 1e-9;
	x->open_secs = (double)(r->open_end - r->start) * 1e-9;
	for (unsigned int e = 0; e < r->nep; e++)
		for (unsigned int i = 0; i < r->ep[e].nshards; i++) {
			const struct shard *sh = &r->ep[e].shard[i];

			add_diff(&x->all, &sh->end, &sh->base);
			if (e + 1 != r->nep)
				continue;
			add_diff(&x->sub, &sh->end, &sh->base);
			hist_merge(&x->hist, &sh->hist);
		}
	if (x->secs <= 0)
		return;
	run_pieces(r, &x->sub, &x->all);
	x->tps = (double)x->sub.transactions / x->secs;
	x->cps = (double)x->sub.opened / x->secs;
	if (r->engine->whole && x->open_secs > 0) {
		struct stats total;

		run_sum(r, &r->ep[r->nep - 1], &total);
		x->cps = (double)total.opened / x->open_secs;
	}
	/* The payload that crossed the link, both ways. */
	x->gbps = (double)(x->sub.tx_bytes + x->sub.rx_bytes) * 8e-9 / x->secs;
	if (x->sub.transactions != 0)
		x->cycles = (double)x->all.busy_cycles / (double)x->sub.transactions;
}

/* ---- who closed, and what that left ---- */

struct ending {
	const char *closer, *with, *holder; /* holder of TIME_WAIT: client, server, none */
	double seconds;                     /* length of TIME_WAIT */
	bool counted;                       /* reused and evicted are known */
	uint64_t reused, evicted;           /* in this process */
	uint64_t no_port;
};

/** What both ends of this process count, or the one that is here. */
static void time_wait_counts(const struct run *r, struct ending *e)
{
	for (unsigned int i = 0; i < r->nep; i++) {
		struct sluice_counters c;

		sluice_counters_sum(r->ep[i].stack.st, &c);
		e->reused += c.tcp_timewait_reused;
		e->evicted += c.tcp_timewait_evicted;
	}
	e->counted = true;
}

static void get_ending(const struct run *r, struct ending *e)
{
	const struct config *cfg = r->cfg;
	uint64_t ns = 0;

	memset(e, 0, sizeof(*e));
	e->closer = cfg->close == CLOSE_CLIENT ? "client" : "server";
	e->with = cfg->close_with == CLOSE_FIN ? "fin" : "rst";
	e->holder = cfg->close_with == CLOSE_FIN ? e->closer : "none";
	e->no_port = run_no_port(r);
	e->seconds = 60; /* TCP_TIMEWAIT_LEN: the kernel has no other */
	if (cfg->stack == STACK_KERNEL)
		return;
	sluice_tunable_get(r->ep[0].stack.st, "tcp.time_wait", &ns);
	e->seconds = (double)ns * 1e-9;
	time_wait_counts(r, e);
}

static void text_ending(FILE *f, const struct run *r)
{
	struct ending e;

	get_ending(r, &e);
	if (r->engine->reopen) {
		fprintf(f, "closed first by the %s with %s; TIME_WAIT ", e.closer, e.with);
		if (strcmp(e.holder, "none") == 0)
			fprintf(f, "none");
		else
			fprintf(f, "%.3g s at the %s", e.seconds, e.holder);
		if (e.counted)
			fprintf(f, ", %llu tuples reused, %llu evicted",
			    (unsigned long long)e.reused, (unsigned long long)e.evicted);
		fputc('\n', f);
	}
	if (e.no_port != 0)
		fprintf(f,
		    "PORTS LIMIT THIS RUN: %llu times no free local address and port was found "
		    "(more --clients, or --close server, or rst)\n",
		    (unsigned long long)e.no_port);
}

void report_text(struct run *r)
{
	FILE *f = r->cfg->json != NULL && strcmp(r->cfg->json, "-") == 0 ? stderr : stdout;
	struct drops d = run_drops(r);
	struct stats total;
	static struct result x;

	compute(r, &x);
	run_sum(r, NULL, &total);
	fprintf(f, "%s %s: %.0f trans/s  %.0f conn/s  %.3f Gbit/s  over %.1f s\n",
	    r->cfg->stack == STACK_KERNEL ? "kernel" : "sluice", r->engine->name, x.tps, x.cps,
	    x.gbps, x.secs);
	if (x.hist.count != 0)
		fprintf(f, "latency us: min %.2f  p50 %.2f  p99 %.2f  p999 %.2f  max %.2f\n",
		    (double)x.hist.min * 1e-3, (double)hist_quantile(&x.hist, 0.5) * 1e-3,
		    (double)hist_quantile(&x.hist, 0.99) * 1e-3,
		    (double)hist_quantile(&x.hist, 0.999) * 1e-3, (double)x.hist.max * 1e-3);
	fprintf(f,
	    "cycles/trans %.0f  retransmits %llu  drops port %llu pool %llu  bytes/connection %llu "
	    " lost %llu  "
	    "wrong bytes %llu\n",
	    x.cycles, (unsigned long long)r->retrans, (unsigned long long)d.port,
	    (unsigned long long)d.pool, (unsigned long long)r->mem_per_conn,
	    (unsigned long long)(total.lost + r->unopened), (unsigned long long)total.errors);
	text_ending(f, r);
	fflush(f);
}

/* ---- JSON ---- */

static void put_string(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s != '\0'; s++) {
		if (*s == '"' || *s == '\\')
			fprintf(f, "\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			fprintf(f, "\\u%04x", (unsigned char)*s);
		else
			fputc(*s, f);
	}
	fputc('"', f);
}

static void put_environment(FILE *f, const struct run *r)
{
	char cpu[256] = "", line[256];
	struct utsname u;
	FILE *p = fopen("/proc/cpuinfo", "r");

	while (p != NULL && fgets(line, sizeof(line), p) != NULL)
		if (sscanf(line, "model name : %255[^\n]", cpu) == 1)
			break;
	if (p != NULL)
		fclose(p);
	uname(&u);
	fprintf(f, "  \"environment\": {\"sluice\": \"%s\", \"dpdk\": \"%s\", \"compiler\": ",
	    sluice_version(), rte_version());
	put_string(f, __VERSION__);
	fprintf(f, ", \"kernel\": ");
	put_string(f, u.release);
	fprintf(f, ", \"cpu\": ");
	put_string(f, cpu);
	fprintf(f, ", \"tsc_hz\": %llu, \"options\": [", (unsigned long long)rte_get_tsc_hz());
	for (int i = 1; i < r->argc; i++) {
		fputs(i > 1 ? ", " : "", f);
		put_string(f, r->argv[i]);
	}
	fprintf(f, "]},\n");
}

static void put_latency(FILE *f, const struct hist *h)
{
	bool first = true;

	fprintf(f,
	    "  \"latency_ns\": {\"count\": %llu, \"min\": %llu, \"p50\": %llu, \"p99\": %llu, "
	    "\"p999\": %llu, \"max\": %llu, \"histogram\": [",
	    (unsigned long long)h->count, (unsigned long long)(h->count != 0 ? h->min : 0),
	    (unsigned long long)hist_quantile(h, 0.5), (unsigned long long)hist_quantile(h, 0.99),
	    (unsigned long long)hist_quantile(h, 0.999), (unsigned long long)h->max);
	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		if (h->bucket[i] == 0)
			continue;
		fprintf(f, "%s[%llu, %llu]", first ? "" : ", ", (unsigned long long)hist_low(i),
		    (unsigned long long)h->bucket[i]);
		first = false;
	}
	fprintf(f, "]},\n");
}

static void put_span(FILE *f, const char *name, const struct app_span *s)
{
	char a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];
	struct sockaddr_storage last = s->first;

	app_addr_add(&last, s->n - 1);
	fprintf(f, "  \"%s\": {\"first\": \"%s\", \"last\": \"%s\", \"ports\": ", name,
	    app_addr_text(&s->first, a, sizeof(a)), app_addr_text(&last, b, sizeof(b)));
	if (s->port[0] != 0)
		fprintf(f, "[%u, %u]},\n", s->port[0], s->port[1]);
	else
		fprintf(f, "null},\n");
}

/** Addresses of both ends, as far as they are known here. */
static void put_addresses(FILE *f, const struct run *r)
{
	const struct endpoint *ep = &r->ep[r->nep - 1];

	if (ep->client && (ep->own_given || r->cfg->stack == STACK_SLUICE))
		put_span(f, "clients", &ep->own);
	else
		fprintf(f, "  \"clients\": null,\n");
	put_span(f, "servers", &ep->servers);
}

static void put_ending(FILE *f, const struct run *r)
{
	struct ending e;

	get_ending(r, &e);
	fprintf(f,
	    "  \"close\": {\"first\": \"%s\", \"with\": \"%s\"},\n  \"time_wait\": {\"held_by\": "
	    "\"%s\", \"seconds\": %.9g, ",
	    e.closer, e.with, e.holder, e.seconds);
	if (e.counted)
		fprintf(f, "\"reused\": %llu, \"evicted\": %llu},\n", (unsigned long long)e.reused,
		    (unsigned long long)e.evicted);
	else
		fprintf(f, "\"reused\": null, \"evicted\": null},\n");
	fprintf(f, "  \"ports_exhausted\": %llu,\n", (unsigned long long)e.no_port);
}

static void put_ports(FILE *f, const struct run *r)
{
	fprintf(f, "  \"ports\": [");
	for (unsigned int e = 0; e < r->nep && r->cfg->stack == STACK_SLUICE; e++) {
		struct sluice_port_stats s = {.size = sizeof(s)};
		struct sluice_port_info info = {.size = sizeof(info)};
		const struct endpoint *ep = &r->ep[e];

		if (sluice_port_stats(ep->stack.st, (unsigned int)ep->port, &s) != 0 ||
		    sluice_port_info(ep->stack.st, (unsigned int)ep->port, &info) != 0)
			continue;
		fprintf(f,
		    "%s{\"role\": \"%s\", \"mtu\": %u, \"queues\": %u, \"caps\": %u, "
		    "\"rx_packets\": %llu, \"rx_bytes\": %llu, ",
		    e != 0 ? ",\n    " : "\n    ", ep->name, info.mtu, info.nqueues, info.caps,
		    (unsigned long long)s.rx_pkts, (unsigned long long)s.rx_bytes);
		fprintf(f,
		    "\"tx_packets\": %llu, \"tx_bytes\": %llu, \"rx_missed\": %llu, \"rx_nomem\": "
		    "%llu, \"rx_errors\": %llu, \"tx_errors\": %llu}",
		    (unsigned long long)s.tx_pkts, (unsigned long long)s.tx_bytes,
		    (unsigned long long)s.rx_missed, (unsigned long long)s.rx_nomem,
		    (unsigned long long)s.rx_errors, (unsigned long long)s.tx_errors);
	}
	fprintf(f, "],\n");
}

static void put_lcores(FILE *f, const struct run *r)
{
	unsigned int w = 0;

	fprintf(f, "  \"lcores\": [");
	for (unsigned int e = r->nep; e-- > 0;)
		for (unsigned int i = 0; i < r->ep[e].nshards; i++, w++) {
			const struct shard *sh = &r->ep[e].shard[i];
			struct stats d = {0};

			add_diff(&d, &sh->end, &sh->base);
			fprintf(f,
			    "%s{\"lcore\": %u, \"role\": \"%s\", \"busy_cycles\": %llu, "
			    "\"total_cycles\": %llu, \"busy\": %.4f, \"stages\": {",
			    w != 0 ? ",\n    " : "\n    ", r->worker_lcore[w < r->nworkers ? w : 0],
			    r->ep[e].name, (unsigned long long)d.busy_cycles,
			    (unsigned long long)d.total_cycles,
			    d.total_cycles != 0 ? (double)d.busy_cycles / (double)d.total_cycles
						: 0);
			if (r->cfg->stack == STACK_SLUICE) {
				static struct sluice_squeue_stats s;

				s.size = sizeof(s);
				sluice_squeue_stats(sh->tp_data, &s);
				for (unsigned int k = 0; k < SLUICE_NSTAGES; k++)
					fprintf(f, "%s\"%s\": [%llu, %llu]", k != 0 ? ", " : "",
					    sluice_stage_name((enum sluice_stage)k),
					    (unsigned long long)s.stage_items[k],
					    (unsigned long long)s.stage_cycles[k]);
			}
			fprintf(f, "}}");
		}
	fprintf(f, "],\n");
}

static const char *link_name(const struct config *c)
{
	if (c->stack == STACK_KERNEL)
		return c->role == ROLE_BOTH ? "loopback" : "kernel";
	return c->link == LINK_WIRE ? "wire" : "port";
}

static void put_asked(FILE *f, const struct run *r)
{
	static const char *const role[] = {"server", "client", "both"};
	static const char *const proto[] = {"own", "echo", "discard", "http"};
	const struct config *c = r->cfg;

	fprintf(f, "  \"mode\": \"%s\",\n  \"role\": \"%s\",\n  \"stack\": \"%s\",\n",
	    r->engine->name, role[c->role], c->stack == STACK_KERNEL ? "kernel" : "sluice");
	fprintf(f, "  \"link\": \"%s\",\n  \"proto\": \"%s\",\n", link_name(c), proto[c->proto]);
	put_addresses(f, r);
	fprintf(f, "  \"checksum\": %s,\n  \"verify\": %s,\n", c->checksum ? "true" : "false",
	    c->verify ? "true" : "false");
	fprintf(f,
	    "  \"connections\": %llu,\n  \"active\": %llu,\n  \"depth\": %llu,\n  \"rate\": "
	    "%llu,\n  "
	    "\"ramp\": %llu,\n  \"size\": [%llu, %llu],\n",
	    (unsigned long long)c->connections, (unsigned long long)c->active,
	    (unsigned long long)c->depth, (unsigned long long)c->rate, (unsigned long long)c->ramp,
	    (unsigned long long)c->req, (unsigned long long)(c->proto == PROTO_HTTP ? 0 : c->resp));
}

static void put_result(FILE *f, const struct run *r)
{
	static struct result x;
	struct drops d = run_drops(r);
	struct stats total;

	compute(r, &x);
	run_sum(r, NULL, &total);
	fprintf(f, "  \"seconds\": %.6f,\n  \"opening_seconds\": %.6f,\n", x.secs, x.open_secs);
	fprintf(f,
	    "  \"transactions\": %llu,\n  \"transactions_per_s\": %.1f,\n  "
	    "\"connections_per_s\": %.1f,\n  \"gbit_per_s\": %.4f,\n",
	    (unsigned long long)x.sub.transactions, x.tps, x.cps, x.gbps);
	put_latency(f, &x.hist);
	fprintf(f,
	    "  \"cycles_per_transaction\": %.1f,\n  \"retransmits\": %llu,\n  \"drops\": %llu,\n  "
	    "\"drops_port\": %llu,\n  \"drops_pool\": %llu,\n",
	    x.cycles, (unsigned long long)r->retrans, (unsigned long long)(d.port + d.pool),
	    (unsigned long long)d.port, (unsigned long long)d.pool);
	fprintf(f,
	    "  \"bytes_per_connection\": %llu,\n  \"lost\": %llu,\n  \"wrong_bytes\": %llu,\n  "
	    "\"refused\": %llu,\n",
	    (unsigned long long)r->mem_per_conn, (unsigned long long)(total.lost + r->unopened),
	    (unsigned long long)total.errors, (unsigned long long)total.refused);
	put_ending(f, r);
}

static void put_intervals(FILE *f, const struct run *r)
{
	fprintf(f, "  \"intervals\": [");
	for (unsigned int i = 0; i < r->ninterval; i++) {
		const struct interval *v = &r->interval[i];

		fprintf(f,
		    "%s{\"t\": %.3f, \"transactions_per_s\": %.1f, \"connections_per_s\": %.1f, "
		    "\"gbit_per_s\": %.4f, \"retransmits\": %llu, ",
		    i != 0 ? ",\n    " : "\n    ", v->t, v->tps, v->cps, v->gbps,
		    (unsigned long long)v->retrans);
		fprintf(f,
		    "\"drops\": %llu, \"drops_port\": %llu, \"drops_pool\": %llu, "
		    "\"connections\": %llu, \"busy\": %.4f}",
		    (unsigned long long)(v->drops_port + v->drops_pool),
		    (unsigned long long)v->drops_port, (unsigned long long)v->drops_pool,
		    (unsigned long long)v->live, v->busy);
	}
	fprintf(f, "]\n");
}

int report_json(struct run *r, const char *path)
{
	FILE *f = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");

	if (f == NULL) {
		app_err("--json %s: cannot be written", path);
		return -1;
	}
	fprintf(f, "{\n  \"schema\": \"sluice-testtcp/1\",\n");
	put_environment(f, r);
	put_asked(f, r);
	put_result(f, r);
	put_ports(f, r);
	put_lcores(f, r);
	put_intervals(f, r);
	fprintf(f, "}\n");
	if (ferror(f) != 0 || (f != stdout && fclose(f) != 0)) {
		app_err("--json %s: write error", path);
		return -1;
	}
	return 0;
}
