/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <rte_common.h>

/* "POLICY,...": of the first lcore, of the second, and so on. */
static int parse_idle(struct app_options *o, const char *text)
{
	static const char *const name[] = {"spin", "yield", "sleep"};
	const char *end;

	for (o->nidle = 0;; text = end + 1) {
		unsigned int i = 0;

		end = text + strcspn(text, ",");
		while (i < RTE_DIM(name) && (strlen(name[i]) != (size_t)(end - text) ||
						strncmp(name[i], text, strlen(name[i])) != 0))
			i++;
		if (i == RTE_DIM(name))
			return -EINVAL;
		if (o->nidle == RTE_DIM(o->idle))
			return -ENOSPC;
		o->idle[o->nidle++] = (enum sluice_idle)i;
		if (*end == '\0')
			return 0;
	}
}

static int push_word(const char **list, unsigned int *n, const char *word)
{
	if (*n == APP_MAX_WORDS)
		return -ENOSPC;
	list[(*n)++] = word;
	return 0;
}

/* "PREFIX via GW": one word of the shell, or three. */
static int parse_route(struct app_options *o, char *word, int argc, char **argv)
{
	struct sockaddr_storage prefix, via;
	unsigned int len;
	char *gw = strstr(word, " via ");

	if (o->nroute == RTE_DIM(o->route))
		return -ENOSPC;
	if (gw != NULL) {
		*gw = '\0';
		gw += 5;
	} else if (optind + 1 < argc && strcmp(argv[optind], "via") == 0) {
		gw = argv[optind + 1];
		optind += 2;
	}
	if (gw == NULL || app_parse_prefix(word, &prefix, &len) != 0 ||
	    app_parse_addr(gw, 0, &via) != 0 || prefix.ss_family != via.ss_family)
		return -EINVAL;
	o->route[o->nroute++] = (struct app_route){word, gw};
	return 0;
}

static int parse_shared(struct app_options *o, int opt, char *text, int argc, char **argv)
{
	struct sockaddr_storage ss;
	unsigned int len;
	uint64_t kernel;
	int rc;

	switch ((enum app_opt)opt) {
	case APP_OPT_CONFIG:
		o->config = text;
		return 0;
	case APP_OPT_ADDR:
		rc = app_parse_prefix(text, &ss, &len);
		return rc != 0 ? rc : push_word(o->addr, &o->naddr, text);
	case APP_OPT_ROUTE:
		return parse_route(o, text, argc, argv);
	case APP_OPT_CONNECTIONS:
		return app_parse_u64(text, 16, (1 << 24) - 1, &o->connections);
	case APP_OPT_MBUFS:
		return app_parse_size(text, 1 << 24, &o->mbufs);
	case APP_OPT_RXD:
		return app_parse_u64(text, 64, 32768, &o->rxd);
	case APP_OPT_TXD:
		return app_parse_u64(text, 64, 32768, &o->txd);
	case APP_OPT_MTU:
		return app_parse_u64(text, 576, 9600, &o->mtu);
	case APP_OPT_OFFLOAD:
		return app_parse_bool(text, &o->offload);
	case APP_OPT_IDLE:
		return parse_idle(o, text);
	case APP_OPT_TUNABLE:
		return push_word(o->tunable, &o->ntunable, text);
	case APP_OPT_FORCE:
		app_force = true;
		return 0;
	case APP_OPT_KERNEL:
		o->kernel_port = text;
		return app_parse_u64(text, 0, RTE_MAX_ETHPORTS - 1, &kernel);
	case APP_OPT_KERNEL_RULES:
		o->kernel_rules = text;
		return 0;
	case APP_OPT_MIRROR:
		o->mirror = text;
		return 0;
	case APP_OPT_VERBOSE:
		app_log_level = 7;
		return 0;
	default:
		return -EINVAL;
	}
}

int app_options_kernel(
    const struct app_options *o, const uint16_t *port, unsigned int n, struct app_kernel *k)
{
	uint64_t id;

	k->port = -1;
	k->nrules = 0;
	if (o->kernel_port == NULL && o->kernel_rules != NULL) {
		app_err("--kernel-rules without --kernel");
		return -EINVAL;
	}
	if (o->kernel_port == NULL)
		return 0;
	if (app_parse_u64(o->kernel_port, 0, RTE_MAX_ETHPORTS - 1, &id) != 0)
		return -EINVAL;
	k->port = (int)id;
	if (o->kernel_rules != NULL)
		return app_kernel_rules(k, o->kernel_rules);
	for (unsigned int i = 0; i < n && i < SLUICE_KERNEL_RULES; i++)
		k->rule[k->nrules++] = (struct sluice_kernel_rule){
		    .proto = IPPROTO_TCP, .port_first = port[i], .port_last = port[i]};
	if (n == 0)
		k->rule[k->nrules++] = (struct sluice_kernel_rule){.proto = IPPROTO_TCP};
	return 0;
}

static int set_tunables(const struct app_options *o, struct sluice_tunables *t)
{
	char err[200];

	sluice_tunables_default(t);
	for (unsigned int i = 0; i < o->ntunable; i++)
		if (app_tunable_set(t, o->tunable[i], err, sizeof(err)) != 0) {
			app_err("%s", err);
			return -EINVAL;
		}
	return 0;
}

int app_options_parse(struct app_options *o, struct sluice_tunables *t, int argc, char **argv,
    const struct option *table, int (*own)(void *arg, int opt, const char *text), void *arg)
{
	int opt, index = 0, rc;

	optind = 1;
	while ((opt = getopt_long(argc, argv, "", table, &index)) != -1) {
		if (opt == '?')
			return -EINVAL; /* getopt has said what */
		rc = opt < APP_OPT_OWN ? parse_shared(o, opt, optarg, argc, argv)
				       : own(arg, opt, optarg);
		if (rc != 0) {
			app_err("--%s %s: %s", table[index].name, optarg,
			    rc == -ENOSPC   ? "given too often"
			    : rc == -ERANGE ? "out of range"
					    : "not understood");
			return -EINVAL;
		}
	}
	if (optind < argc) {
		app_err("\"%s\" is no option", argv[optind]);
		return -EINVAL;
	}
	return set_tunables(o, t);
}
