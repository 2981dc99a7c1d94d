/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The option table. Each row says where the value goes and what may stand there; what depends on
 * several options is checked once at the end. Nothing is printed and nothing kept but pointers into
 * argv.
 */
#include "opts.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

enum type {
	T_U64,
	T_SIZE,
	T_TIME,
	T_BOOL,
	T_FLAG,
	T_TEXT,
	T_CHOICE,
	T_TUNABLE
};

struct row {
	const char *name;
	enum type type;
	size_t offset;
	uint64_t min, max;
	const char *arg, *help;
};

#define AT(f) offsetof(struct config, f)
#define SECOND 1000000000ull

static const struct row rows[] = {
    {"engine", T_TEXT, AT(engine), 0, 0, "NAME",
	"the load (below); both ends need the same (default: rr)"},
    {"role", T_CHOICE, AT(role), 0, 0, "server|client|both",
	"both is two stacks in this process (default: both)"},
    {"link", T_CHOICE, AT(link), 0, 0, "wire|port",
	"memory between the two, or DPDK ports (default: wire for both)"},
    {"stack", T_CHOICE, AT(stack), 0, 0, "sluice|kernel",
	"kernel: the same load on kernel sockets, over loopback"},
    {"local", T_TEXT, AT(local_text), 0, 0, "A[-B]",
	"own addresses; a client spreads connections over them"},
    {"peer", T_TEXT, AT(peer_text), 0, 0, "A", "the server's address"},
    {"prefix", T_U64, AT(prefix), 0, 128, "LEN",
	"prefix length of --local (default: 24, IPv6: 64)"},
    {"gateway", T_TEXT, AT(gateway), 0, 0, "A", "next hop of the default route"},
    {"vrf", T_U64, AT(vrf), 0, UINT32_MAX, "ID", "VRF of all that (default: 0)"},
    {"port", T_U64, AT(port), 1, 65535, "N", "TCP port of the server (default: 7000)"},
    {"port-id", T_TEXT, AT(port_id_text), 0, 0, "N[,M]",
	"DPDK port, of the client too with --role both (default: 0,1)"},
    {"connections", T_U64, AT(connections), 1, 10000000, "N",
	"connections; of a server: at most (default: 1; server 1000000)"},
    {"opening", T_U64, AT(opening), 1, 1000000, "N",
	"handshakes under way at once, of each lcore (default: 256)"},
    {"size", T_TEXT, AT(size_text), 0, 0, "REQ[,RESP]",
	"bytes of request and response (default: by engine; RESP as REQ)"},
    {"depth", T_U64, AT(depth), 1, 1024, "N", "requests under way on a connection (default: 1)"},
    {"rate", T_U64, AT(rate), 0, 1000000000, "N",
	"requests a second in all, open loop: latency counts from when each was due"},
    {"duration", T_TIME, AT(duration), 0, 0, "TIME",
	"of the measurement (default: 10s; a server runs until a signal)"},
    {"warmup", T_TIME, AT(warmup), 0, 0, "TIME", "load before it (default: 1s)"},
    {"verify", T_FLAG, AT(verify), 0, 0, NULL,
	"the receiver compares every byte with the payload pattern"},
    {"checksum", T_BOOL, AT(checksum), 0, 0, "on|off",
	"off: the wire carries no checksums (default: on)"},
    {"offload", T_BOOL, AT(offload), 0, 0, "on|off",
	"the port (default: on) or wire (off) does checksums"},
    {"tso", T_FLAG, AT(tso), 0, 0, NULL, "the wire carries segments larger than its MTU"},
    {"rxq", T_U64, AT(rxq), 1, 64, "N", "receive queues of a port (default: one per squeue)"},
    {"txq", T_U64, AT(txq), 1, 64, "N",
	"transmit queues; queues come in pairs, so the same as --rxq"},
    {"rxd", T_U64, AT(rxd), 32, 32768, "N",
	"receive descriptors, packets held by a wire (default: 1024)"},
    {"txd", T_U64, AT(txd), 32, 32768, "N", "transmit descriptors (default: 1024)"},
    {"burst", T_U64, AT(burst), 1, 256, "N",
	"packets asked of a driver at once (tunable squeue.rx_burst)"},
    {"mtu", T_U64, AT(mtu), 576, 65535, "N", "MTU (default: the port's, wire 1500)"},
    {"mbufs", T_SIZE, AT(mbufs), 512, 1 << 24, "N",
	"data buffers of each stack; headers twice (default: 16384)"},
    {"idle", T_CHOICE, AT(idle), 0, 0, "spin|yield",
	"what an lcore without work does (default: spin)"},
    {"tunable", T_TUNABLE, 0, 0, 0, "NAME=VALUE", "set a tunable of the stacks; may be repeated"},
    {"json", T_TEXT, AT(json), 0, 0, "FILE", "write the results; - is standard output"},
    {"verbose", T_FLAG, AT(verbose), 0, 0, NULL, "show the stacks' log down to debug level"},
};

void opts_help(FILE *f)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int n =
		    fprintf(f, "  --%s %s", rows[i].name, rows[i].arg != NULL ? rows[i].arg : "");

		fprintf(f, "%*s %s\n", n < 30 ? 30 - n : 0, "", rows[i].help);
	}
}

/** Which of "a|b|c" is text? -EINVAL for none. */
static int choice(const char *list, const char *text, uint64_t *out)
{
	size_t n = strlen(text);

	for (uint64_t i = 0; list != NULL; i++) {
		if (strcspn(list, "|") == n && strncmp(list, text, n) == 0) {
			*out = i;
			return 0;
		}
		list = strchr(list, '|');
		list = list != NULL ? list + 1 : NULL;
	}
	return -EINVAL;
}

static int set_row(struct config *c, const struct row *r, const char *text)
{
	void *p = (char *)c + r->offset;
	int rc;

	switch (r->type) {
	case T_U64:
		return app_parse_u64(text, r->min, r->max, p);
	case T_SIZE:
		rc = app_parse_size(text, r->max, p);
		return rc == 0 && *(uint64_t *)p < r->min ? -ERANGE : rc;
	case T_TIME:
		return app_parse_time(text, p);
	case T_BOOL:
		return app_parse_bool(text, p);
	case T_FLAG:
		*(bool *)p = true;
		return 0;
	case T_TEXT:
		*(const char **)p = text;
		return 0;
	case T_CHOICE:
		return choice(r->arg, text, p);
	case T_TUNABLE:
		if (c->ntunable == MAX_TUNABLES)
			return -ENOSPC;
		c->tunable[c->ntunable++] = text;
		return 0;
	}
	return -EINVAL;
}

static const struct row *find_row(const char *arg, const char **value)
{
	if (strncmp(arg, "--", 2) != 0)
		return NULL;
	arg += 2;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n = strlen(rows[i].name);

		if (strncmp(arg, rows[i].name, n) == 0 && (arg[n] == '\0' || arg[n] == '=')) {
			*value = arg[n] == '=' ? arg + n + 1 : NULL;
			return &rows[i];
		}
	}
	return NULL;
}

static bool given(int argc, char **argv, const char *name)
{
	const char *value;
	const struct row *r;

	for (int i = 1; i < argc; i++)
		if ((r = find_row(argv[i], &value)) != NULL && strcmp(r->name, name) == 0)
			return true;
	return false;
}

static int parse_texts(struct config *c, char *err, size_t len)
{
	const char *comma;
	struct sockaddr_storage gw;

	if (c->size_text != NULL &&
	    app_parse_sizes(c->size_text, 1u << 30, &c->req, &c->resp, &c->has_resp) != 0) {
		snprintf(err, len, "--size %s: want REQ or REQ,RESP, up to 1g", c->size_text);
		return -EINVAL;
	}
	c->has_size = c->size_text != NULL;
	c->has_local = c->local_text != NULL;
	c->has_peer = c->peer_text != NULL;
	if (c->has_local && app_parse_range(c->local_text, MAX_LOCAL, &c->local, &c->nlocal) != 0) {
		snprintf(err, len, "--local %s: want an address or A-B, at most %u of them",
		    c->local_text, MAX_LOCAL);
		return -EINVAL;
	}
	if (c->has_peer && app_parse_addr(c->peer_text, (uint16_t)c->port, &c->peer) != 0) {
		snprintf(err, len, "--peer %s: no address", c->peer_text);
		return -EINVAL;
	}
	if (c->gateway != NULL && app_parse_addr(c->gateway, 0, &gw) != 0) {
		snprintf(err, len, "--gateway %s: no address", c->gateway);
		return -EINVAL;
	}
	if (c->port_id_text != NULL) {
		uint64_t a, b = 0;
		bool both;

		comma = strchr(c->port_id_text, ',');
		if (app_parse_sizes(c->port_id_text, 1023, &a, &b, &both) != 0) {
			snprintf(err, len, "--port-id %s: want N or N,M", c->port_id_text);
			return -EINVAL;
		}
		c->port_id[0] = a;
		c->port_id[1] = comma != NULL ? b : a + 1;
	}
	return 0;
}

static int check(struct config *c, char *err, size_t len)
{
	const char *why = NULL;

	if (c->has_local && c->has_peer && c->local.ss_family != c->peer.ss_family)
		why = "--local and --peer are of different families";
	else if (c->stack == STACK_SLUICE && c->role != ROLE_BOTH && c->link == LINK_WIRE)
		why = "--link wire joins two stacks of one process: --role both, or --link port";
	else if (c->role == ROLE_CLIENT && !c->has_peer)
		why = "--role client needs --peer";
	else if (c->role != ROLE_BOTH && !c->has_local && c->stack == STACK_SLUICE)
		why = "--link port needs --local";
	else if (c->stack == STACK_SLUICE && c->link == LINK_PORT && c->has_checksum &&
		 !c->checksum)
		why = "--checksum off is for --link wire only";
	else if (c->rxq != 0 && c->txq != 0 && c->rxq != c->txq)
		why = "--rxq and --txq must be the same: queues come in pairs";
	else if (c->stack == STACK_KERNEL && c->ntunable != 0)
		why = "--tunable is of the sluice stack";
	else if (c->role != ROLE_SERVER && c->duration == 0)
		why = "--duration must be positive";
	if (why == NULL)
		return 0;
	snprintf(err, len, "%s", why);
	return -EINVAL;
}

int opts_parse(struct config *c, int argc, char **argv, char *err, size_t errlen)
{
	int rc;

	*c = (struct config){.role = ROLE_BOTH,
	    .engine = "rr",
	    .depth = 1,
	    .duration = 10 * SECOND,
	    .warmup = SECOND,
	    .opening = 256,
	    .port = 7000,
	    .mbufs = 16384,
	    .checksum = true,
	    .port_id = {0, 1},
	    .nlocal = 1};
	for (int i = 1; i < argc; i++) {
		const char *value, *name = argv[i];
		const struct row *r = find_row(name, &value);

		if (r == NULL) {
			snprintf(err, errlen, "\"%s\" is no option", name);
			return -EINVAL;
		}
		if (r->type == T_FLAG ? value != NULL : value == NULL && i + 1 == argc) {
			snprintf(err, errlen, "--%s: %s", r->name,
			    value != NULL ? "takes no value" : "needs a value");
			return -EINVAL;
		}
		if (r->type != T_FLAG && value == NULL)
			value = argv[++i];
		rc = set_row(c, r, value);
		if (rc != 0) {
			snprintf(err, errlen, "--%s %s: %s; want %s", r->name, value,
			    rc == -ERANGE   ? "out of range"
			    : rc == -ENOSPC ? "given too often"
					    : "not understood",
			    r->arg);
			return -EINVAL;
		}
	}
	c->has_prefix = given(argc, argv, "prefix");
	c->has_checksum = given(argc, argv, "checksum");
	c->has_offload = given(argc, argv, "offload");
	if (c->role != ROLE_BOTH && !given(argc, argv, "link"))
		c->link = LINK_PORT;
	if (c->role == ROLE_SERVER && !given(argc, argv, "duration"))
		c->duration = 0;
	if (c->connections == 0)
		c->connections = c->role == ROLE_SERVER ? 1000000 : 1;
	if (!c->has_offload)
		c->offload = c->link == LINK_PORT;
	rc = parse_texts(c, err, errlen);
	return rc != 0 ? rc : check(c, err, errlen);
}
