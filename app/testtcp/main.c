/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sluice-testtcp: reads options, makes the ends and what joins them, runs, reports. Exit status: 0;
 * 1 when bytes were wrong, connections were lost or something did not start; 2 for a mistake on the
 * command line.
 */
#include "testtcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <rte_eal.h>
#include <rte_lcore.h>

const struct engine *const engines[] = {
    &engine_rr, &engine_stream, &engine_connect, &engine_crr, &engine_idle, NULL};

static void usage(FILE *f, bool full)
{
	fprintf(f, "usage: sluice-testtcp [EAL options] -- [--engine NAME] [--role "
		   "server|client|both] [options]\n");
	if (!full) {
		fprintf(f, "       sluice-testtcp --no-huge --no-pci -m 512 -- --role both --link "
			   "wire --engine rr\n"
			   "       sluice-testtcp --help tells all\n");
		return;
	}
	fprintf(f, "\nLoad for TCP, and what it takes: over DPDK ports, over memory, or on the "
		   "kernel's sockets.\n\nEngines:\n");
	for (unsigned int i = 0; engines[i] != NULL; i++)
		fprintf(f, "  %-8s %s\n", engines[i]->name, engines[i]->help);
	fprintf(f, "\nOptions (sizes take k, m, g; times ns, us, ms, s, min):\n");
	opts_help(f);
	fprintf(f, "  --help                        this text\n"
		   "\nEach EAL lcore polls one squeue. With --role both the lcores are shared out "
		   "between the two stacks; a single one\n"
		   "runs both. Exit status: 1 when bytes were wrong or connections were lost, 2 "
		   "for a wrong command line.\n"
		   "\nNo NIC, hugepage or second core is needed for:\n"
		   "  sluice-testtcp --no-huge --no-pci -m 512 -- --role both --link wire --engine "
		   "rr --connections 64\n");
}

static const struct engine *find_engine(const char *name)
{
	for (unsigned int i = 0; engines[i] != NULL; i++)
		if (strcmp(engines[i]->name, name) == 0)
			return engines[i];
	return NULL;
}

/** Options that not every engine has. NULL, or the one that is wrong. */
static const char *unwanted(const struct config *cfg, const struct engine *e)
{
	static const struct {
		const char *name;
		enum engine_option needs;
	} rows[] = {
	    {"rate", ENGINE_RATE},
	    {"depth", ENGINE_DEPTH},
	    {"active", ENGINE_ACTIVE},
	    {"close", ENGINE_CLOSE},
	    {"close-with", ENGINE_CLOSE},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++)
		if (opts_given(cfg, rows[i].name) && !(e->options & rows[i].needs))
			return rows[i].name;
	if (cfg->proto != PROTO_OWN && !(e->protos & 1u << cfg->proto))
		return "proto";
	return NULL;
}

static int settle_sizes(struct config *cfg, const struct engine *e)
{
	if (!cfg->has_size) {
		cfg->req = e->req;
		cfg->resp = e->resp;
	} else if (!cfg->has_resp) {
		cfg->resp = e->min_size != 0 ? cfg->req : e->resp;
	}
	if (cfg->proto == PROTO_ECHO) /* what comes back is what was sent */
		cfg->resp = cfg->req;
	if (cfg->proto == PROTO_DISCARD)
		cfg->resp = 0;
	if (cfg->req >= e->min_size && cfg->resp >= e->min_size &&
	    (e != &engine_stream || cfg->req + cfg->resp != 0))
		return 0;
	app_err("--size: engine %s needs at least one byte", e->name);
	return -EINVAL;
}

/** Options that depend on the engine. 0, or -EINVAL after a message. */
static int settle(struct config *cfg, const struct engine *e)
{
	struct sluice_tunables t;
	const char *name;
	char err[200];

	if (e == NULL) {
		app_err("--engine %s: there is no such engine", cfg->engine);
		return -EINVAL;
	}
	name = unwanted(cfg, e);
	if (name != NULL) {
		app_err("engine %s does not go with this --%s", e->name, name);
		return -EINVAL;
	}
	if (e == &engine_connect)
		cfg->close = CLOSE_SERVER;
	sluice_tunables_default(&t);
	for (unsigned int i = 0; i < cfg->ntunable; i++)
		if (app_tunable_set(&t, cfg->tunable[i], err, sizeof(err)) != 0) {
			app_err("%s", err);
			return -EINVAL;
		}
	/* A number of connections in all: as long as they take, all of them measured. */
	cfg->total = e->reopen && cfg->active != 0 && opts_given(cfg, "connections");
	if (cfg->total) {
		cfg->warmup = 0;
		if (!opts_given(cfg, "duration") && cfg->role != ROLE_SERVER)
			cfg->duration = UINT64_MAX;
	}
	return settle_sizes(cfg, e);
}

#define PORTS_OF_ONE 24000 /* connections of one local address: of 32768 ephemeral ports */

/** The client's own addresses on a wire, so many that their ports suffice. */
static void enough_addresses(struct app_span *s, const struct config *cfg)
{
	uint64_t at_once = cfg->total ? cfg->active : cfg->connections;
	uint64_t n = (at_once + PORTS_OF_ONE - 1) / PORTS_OF_ONE;

	if (n <= 1 || cfg->stack == STACK_KERNEL || cfg->link != LINK_WIRE)
		return;
	app_addr_add(&s->first, 2); /* beyond the server's */
	s->n = (uint32_t)RTE_MIN(n, 200u);
}

/** Addresses: as given, else 10.0.0.1 (client; .3 and up for many connections) and .2 on a wire,
 * loopback for the kernel. */
static void set_addresses(struct endpoint *ep, const struct config *cfg)
{
	const struct app_span *given = cfg->servers.n != 0 ? &cfg->servers : &cfg->clients;
	bool v6 = given->n != 0 && given->first.ss_family == AF_INET6;
	bool kernel = cfg->stack == STACK_KERNEL;
	struct app_span clients = cfg->clients;

	ep->servers = cfg->servers;
	if (ep->servers.n == 0) {
		ep->servers.n = 1;
		app_parse_addr(kernel ? (v6 ? "::1" : "127.0.0.1") : (v6 ? "fd00::2" : "10.0.0.2"),
		    0, &ep->servers.first);
	}
	if (clients.n == 0) {
		clients.n = 1;
		app_parse_addr(v6 ? "fd00::1" : "10.0.0.1", 0, &clients.first);
		enough_addresses(&clients, cfg);
	}
	ep->own = ep->client ? clients : ep->servers;
	ep->own_given = (ep->client ? cfg->clients.n : cfg->servers.n) != 0;
}

/** Part i of n of a total. */
static uint64_t share(uint64_t total, unsigned int i, unsigned int n)
{
	return total / n + (i < total % n);
}

static void make_shard(struct run *r, struct endpoint *ep, unsigned int i)
{
	const struct config *cfg = r->cfg;
	struct shard *sh = &ep->shard[i];
	bool at_once = r->engine->reopen && cfg->active != 0;
	unsigned int n = ep->nshards;

	sh->ep = ep;
	sh->engine = r->engine;
	sh->role = ep->client ? &r->engine->client : &r->engine->server;
	if (cfg->proto == PROTO_HTTP)
		sh->role = http_role(sh->role);
	sh->tp = ep->tp;
	sh->cfg = cfg;
	sh->id = i;
	sh->next_peer = i;
	sh->reopen = r->engine->reopen || cfg->proto == PROTO_HTTP;
	sh->target = (uint32_t)share(at_once ? cfg->active : cfg->connections, i, n);
	sh->quota = UINT64_MAX;
	if (cfg->total)
		sh->quota = share(cfg->connections, i, n);
	if (!at_once)
		sh->active = (uint32_t)share(cfg->active, i, n);
	sh->rate.step = pace_of(cfg->rate, n);
	sh->ramp.step = pace_of(cfg->ramp, n);
	TAILQ_INIT(&sh->conns);
	TAILQ_INIT(&sh->fresh);
	TAILQ_INIT(&sh->starved);
	TAILQ_INIT(&sh->resetting);
	TAILQ_INIT(&sh->dead);
	hist_reset(&sh->hist);
}

static int make_endpoint(struct run *r, struct endpoint *ep, bool client, unsigned int nshards)
{
	struct config *cfg = r->cfg;

	ep->name = client ? "client" : "server";
	ep->client = client;
	ep->cfg = cfg;
	ep->tp = cfg->stack == STACK_KERNEL ? &transport_kernel : &transport_sluice;
	ep->nshards = nshards;
	ep->shard = calloc(nshards, sizeof(struct shard));
	if (ep->shard == NULL)
		return -ENOMEM;
	set_addresses(ep, cfg);
	for (unsigned int i = 0; i < nshards; i++)
		make_shard(r, ep, i);
	return 0;
}

static int make_wire(struct run *r, unsigned int nshards)
{
	const struct config *cfg = r->cfg;
	struct sluice_wire_params p = {.size = sizeof(p),
	    .nqueues = {(uint16_t)nshards, (uint16_t)nshards},
	    .depth = (uint32_t)cfg->rxd,
	    .mtu = (uint16_t)cfg->mtu,
	    .threads = rte_lcore_count() > 1};
	struct sluice_driver d[2];
	int rc;

	if (!cfg->checksum)
		p.caps |= SLUICE_CAP_PERFECT;
	if (cfg->offload || cfg->tso)
		p.caps |= SLUICE_CAP_TX_IP4_CKSUM | SLUICE_CAP_TX_L4_CKSUM | SLUICE_CAP_RX_CKSUM;
	if (cfg->tso) {
		p.caps |= SLUICE_CAP_TX_TSO | SLUICE_CAP_RX_LRO;
		p.tso_max = 65160;
	}
	rc = sluice_wire_create(&p, d);
	if (rc != 0) {
		app_err("wire: %s", strerror(-rc));
		return rc;
	}
	r->ep[0].driver = d[0];
	r->ep[1].driver = d[1];
	return 0;
}

static int set_up(struct run *r)
{
	struct config *cfg = r->cfg;
	unsigned int n = rte_lcore_count(), ns;
	int rc = 0;

	r->nep = cfg->role == ROLE_BOTH ? 2 : 1;
	ns = RTE_MIN(RTE_MAX(n / r->nep, 1u), (unsigned int)MAX_SHARDS);
	ns = (unsigned int)RTE_MIN(ns, cfg->active != 0 ? cfg->active : cfg->connections);
	if (pattern_make() != 0) {
		app_err("no memory for the payload pattern (EAL option -m)");
		return -ENOMEM;
	}
	for (unsigned int e = 0; e < r->nep && rc == 0; e++)
		rc = make_endpoint(r, &r->ep[e], cfg->role == ROLE_CLIENT || e == 1, ns);
	if (rc == 0 && cfg->proto == PROTO_HTTP &&
	    http_make(cfg, &r->ep[0], !r->engine->reopen || cfg->close == CLOSE_CLIENT) != 0) {
		app_err("--path is too long");
		rc = -EINVAL;
	}
	if (rc == 0 && cfg->stack == STACK_SLUICE && cfg->link == LINK_WIRE)
		rc = make_wire(r, ns);
	for (unsigned int e = 0; e < r->nep && rc == 0; e++) {
		rc = r->ep[e].tp->up(&r->ep[e]);
		if (rc == 0 && !r->ep[e].client)
			rc = r->ep[e].tp->listen(&r->ep[e]);
	}
	return rc;
}

static int tear_down(struct run *r)
{
	int rc = 0;

	for (unsigned int e = r->nep; e-- > 0;) {
		if (r->ep[e].shard == NULL)
			continue;
		if (r->ep[e].tp->down(&r->ep[e]) != 0)
			rc = -1;
		for (unsigned int i = 0; i < r->ep[e].nshards; i++)
			conn_reap(&r->ep[e].shard[i]);
		free(r->ep[e].shard);
	}
	free(r->interval);
	return rc;
}

/** Did every byte arrive, right, and did every connection live as long as it should? */
static bool clean(struct run *r)
{
	struct stats s, c;

	run_sum(r, NULL, &s);
	if (s.errors != 0 || s.lost != 0 || r->unopened != 0 || r->failed)
		return false;
	if (r->nep < 2)
		return true;
	run_sum(r, &r->ep[0], &s);
	run_sum(r, &r->ep[1], &c);
	if (s.rx_bytes == c.tx_bytes)
		return true;
	app_err("the client sent %llu bytes, the server received %llu",
	    (unsigned long long)c.tx_bytes, (unsigned long long)s.rx_bytes);
	return false;
}

int main(int argc, char **argv)
{
	static struct config cfg;
	static struct run r = {.cfg = &cfg};
	struct app_args a;
	char err[200], **words;
	int status = APP_EXIT_FAIL;

	app_name = "sluice-testtcp";
	words = calloc((size_t)argc + 1, sizeof(*words)); /* as typed: the EAL permutes */
	if (words == NULL)
		return APP_EXIT_FAIL;
	memcpy(words, argv, (size_t)argc * sizeof(*words));
	app_args_split(argc, argv, &a);
	if (a.help || a.none) {
		usage(a.help ? stdout : stderr, a.help);
		free(words);
		return a.help ? 0 : APP_EXIT_USAGE;
	}
	if (opts_parse(&cfg, a.argc, a.argv, err, sizeof(err)) != 0) {
		app_err("%s", err);
		usage(stderr, false);
		free(words);
		return APP_EXIT_USAGE;
	}
	r.engine = find_engine(cfg.engine);
	if (settle(&cfg, r.engine) != 0) {
		free(words);
		return APP_EXIT_USAGE;
	}
	if (cfg.verbose)
		app_log_level = 7;
	app_force = cfg.force;
	r.argc = argc;
	r.argv = words;
	app_signals();
	if (app_eal_init(&a) == 0) {
		if (set_up(&r) == 0 && (!cfg.interactive || prompt_open(&r) == 0) &&
		    run_all(&r) == 0) {
			if (!cfg.interactive)
				report_text(&r);
			status = clean(&r) ? 0 : APP_EXIT_FAIL;
			if (cfg.json != NULL && report_json(&r, cfg.json) != 0)
				status = APP_EXIT_FAIL;
		}
		prompt_close(&r);
		if (tear_down(&r) != 0)
			status = APP_EXIT_FAIL;
		rte_eal_cleanup();
	}
	free(words);
	return status;
}
