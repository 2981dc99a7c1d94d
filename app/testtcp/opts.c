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
	T_HEAD, /* no option: a heading of the help */
	T_U64,
	T_RATE, /* a number, "/s" may follow */
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
#define HEAD(text)                   \
	{                            \
		.name = text, T_HEAD \
	}

static const struct row rows[] = {
    HEAD("what runs"),
    {"engine", T_TEXT, AT(engine), 0, 0, "NAME",
	"the load (above); both ends need the same (default: rr)"},
    {"role", T_CHOICE, AT(role), 0, 0, "server|client|both",
	"both is two stacks in this process (default: both)"},
    {"link", T_CHOICE, AT(link), 0, 0, "wire|port",
	"memory between the two, or DPDK ports (default: wire for both)"},
    {"stack", T_CHOICE, AT(stack), 0, 0, "sluice|kernel",
	"kernel: the same load on kernel sockets"},
    {"proto", T_CHOICE, AT(proto), 0, 0, "own|echo|discard|http",
	"what a server that is not ours talks (--role client)"},
    {"path", T_TEXT, AT(path), 0, 0, "PATH", "what --proto http asks for (default: /)"},

    HEAD("addresses"),
    {"clients", T_TEXT, AT(clients_text), 0, 0, "A[-B][:P-Q]",
	"clients' addresses and ports; IPv6 in brackets: [A-B]:P-Q"},
    {"servers", T_TEXT, AT(servers_text), 0, 0, "A[-B][:P-Q]",
	"servers' addresses and ports: connections take them in turn"},
    {"local", T_TEXT, AT(local_text), 0, 0, "A[-B]",
	"own addresses: --clients, of a server --servers"},
    {"peer", T_TEXT, AT(peer_text), 0, 0, "A", "the server's address: --servers of a client"},
    {"port", T_U64, AT(port), 1, 65535, "N", "port of servers without P-Q (default: 7000)"},
    {"prefix", T_U64, AT(prefix), 0, 128, "LEN",
	"prefix length of own addresses (default: 24, IPv6: 64)"},
    {"gateway", T_TEXT, AT(gateway), 0, 0, "A", "next hop of the default route, of both sides"},
    {"client-gateway", T_TEXT, AT(side_gateway[SIDE_CLIENT]), 0, 0, "A", "of the clients only"},
    {"server-gateway", T_TEXT, AT(side_gateway[SIDE_SERVER]), 0, 0, "A", "of the servers only"},
    {"client-vlan", T_TEXT, AT(side_vlan[SIDE_CLIENT]), 0, 0, "ID[,ID]",
	"VLAN of the clients' port, outer and inner tag"},
    {"server-vlan", T_TEXT, AT(side_vlan[SIDE_SERVER]), 0, 0, "ID[,ID]", "of the servers' port"},
    {"vrf", T_U64, AT(vrf), 0, UINT32_MAX, "ID", "VRF of all that (default: 0)"},

    HEAD("load"),
    {"connections", T_U64, AT(connections), 1, 10000000, "N",
	"connections; of a server: at most (default: 1; server 1000000)"},
    {"active", T_U64, AT(active), 1, 10000000, "N",
	"rr: so many of them have requests under way; connect, crr: so many at once, "
	"--connections in all"},
    {"ramp", T_RATE, AT(ramp), 1, 1000000000, "N/s",
	"connections a second until all are there (default: as fast as goes)"},
    {"opening", T_U64, AT(opening), 1, 1000000, "N",
	"handshakes under way at once, of each lcore (default: 256)"},
    {"size", T_TEXT, AT(size_text), 0, 0, "REQ[,RESP]",
	"bytes of request and response (default: by engine; RESP as REQ)"},
    {"depth", T_U64, AT(depth), 1, 1024, "N",
	"rr: requests under way on a connection (default: 1)"},
    {"rate", T_RATE, AT(rate), 1, 1000000000, "N/s",
	"open loop, all lcores: requests (rr), connections (connect, crr) a second; latency counts "
	"from when each was due"},
    {"close", T_CHOICE, AT(close), 0, 0, "client|server",
	"crr: who closes first (default: client; --proto http: server)"},
    {"close-with", T_CHOICE, AT(close_with), 0, 0, "fin|rst",
	"crr: how; rst leaves no TIME_WAIT (default: fin)"},
    {"duration", T_TIME, AT(duration), 0, 0, "TIME",
	"of the measurement (default: 10s; a server runs until a signal)"},
    {"warmup", T_TIME, AT(warmup), 0, 0, "TIME", "load before it (default: 1s)"},
    {"drain", T_TIME, AT(drain), 0, 0, "TIME",
	"after it, requests still under way are waited for so long, then lost (default: 30s)"},
    {"lcore-cycle", T_TIME, AT(lcore_cycle), 0, 0, "TIME",
	"every so often a lcore other than the main one leaves its squeue, or comes back; needs "
	"two "
	"of an end"},
    {"verify", T_FLAG, AT(verify), 0, 0, NULL,
	"the receiver compares every byte with the payload pattern; http: all bodies are the same"},
    {"nat", T_FLAG, AT(nat), 0, 0, NULL,
	"a device between the ends changes addresses: all connections carry the same bytes"},

    HEAD("ports, packets, memory"),
    {"ports", T_TEXT, AT(ports_text), 0, 0, "N[,M]",
	"DPDK port; with --role both the clients', the servers' (default: 0,1)"},
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
    {"kernel", T_U64, AT(kernel_port), 0, 1023, "PORT",
	"the port is shared with the kernel, whose device is behind this DPDK port "
	"(doc/kernel.md)"},
    {"kernel-rules", T_TEXT, AT(kernel_rules), 0, 0, "RULE,...",
	"whose packets are whose (default: TCP to our addresses' ports is the stack's)"},
    {"force", T_FLAG, AT(force), 0, 0, NULL,
	"take also a port over the interface of the machine's default route"},
    {"mtu", T_U64, AT(mtu), 576, 65535, "N", "MTU (default: the port's, wire 1500)"},
    {"mbufs", T_SIZE, AT(mbufs), 512, 1 << 24, "N",
	"data buffers of each stack; headers twice (default: 16384)"},
    {"idle", T_CHOICE, AT(idle), 0, 0, "spin|yield",
	"what an lcore without work does (default: spin)"},
    {"tunable", T_TUNABLE, 0, 0, 0, "NAME=VALUE", "set a tunable of the stacks; may be repeated"},

    HEAD("output"),
    {"interactive", T_FLAG, AT(interactive), 0, 0, NULL,
	"a prompt: start, stop, show, set; its help tells more (not for --role server)"},
    {"json", T_TEXT, AT(json), 0, 0, "FILE", "write the results; - is standard output"},
    {"verbose", T_FLAG, AT(verbose), 0, 0, NULL, "show the stacks' log down to debug level"},
};

#define NROWS (sizeof(rows) / sizeof(rows[0]))
_Static_assert(NROWS <= 64, "config.given has a bit for each row");

void opts_help(FILE *f)
{
	for (size_t i = 0; i < NROWS; i++) {
		int n;

		if (rows[i].type == T_HEAD) {
			fprintf(f, " %s\n", rows[i].name);
			continue;
		}
		n = fprintf(f, "  --%s %s", rows[i].name, rows[i].arg != NULL ? rows[i].arg : "");
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

static int set_rate(const struct row *r, const char *text, uint64_t *out)
{
	size_t n = strlen(text);
	char number[24];

	if (n > 2 && strcmp(text + n - 2, "/s") == 0)
		n -= 2;
	if (n >= sizeof(number))
		return -EINVAL;
	memcpy(number, text, n);
	number[n] = '\0';
	return app_parse_u64(number, r->min, r->max, out);
}

static int set_row(struct config *c, const struct row *r, const char *text)
{
	void *p = (char *)c + r->offset;
	int rc;

	switch (r->type) {
	case T_HEAD:
		break;
	case T_RATE:
		return set_rate(r, text, p);
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
	for (size_t i = 0; i < NROWS; i++) {
		size_t n = strlen(rows[i].name);

		if (rows[i].type != T_HEAD && strncmp(arg, rows[i].name, n) == 0 &&
		    (arg[n] == '\0' || arg[n] == '=')) {
			*value = arg[n] == '=' ? arg + n + 1 : NULL;
			return &rows[i];
		}
	}
	return NULL;
}

bool opts_given(const struct config *c, const char *name)
{
	for (size_t i = 0; i < NROWS; i++)
		if (strcmp(rows[i].name, name) == 0)
			return (c->given >> i & 1) != 0;
	return false;
}

/* ---- what the texts mean ---- */

static int bad(char *err, size_t len, const char *name, const char *text, const char *want)
{
	snprintf(err, len, "--%s %s: want %s", name, text, want);
	return -EINVAL;
}

/** --local and --peer are short for the one of --clients and --servers that fits the role. */
static int short_forms(struct config *c, char *err, size_t len)
{
	const char **local = c->role == ROLE_SERVER ? &c->servers_text : &c->clients_text;

	if (c->local_text != NULL && *local != NULL)
		return bad(err, len, "local", c->local_text, "this or the long form, not both");
	if (c->local_text != NULL)
		*local = c->local_text;
	if (c->peer_text == NULL || c->role == ROLE_SERVER)
		return 0;
	if (c->servers_text != NULL)
		return bad(err, len, "peer", c->peer_text, "this or --servers, not both");
	c->servers_text = c->peer_text;
	return 0;
}

static int parse_span(const char *name, const char *text, struct app_span *s, char *err, size_t len)
{
	if (text == NULL || app_parse_span(text, MAX_ADDRS, s) == 0)
		return 0;
	return bad(
	    err, len, name, text, "A[-B][:P-Q], at most 65536 addresses; [A-B]:P-Q for IPv6");
}

static int parse_addresses(struct config *c, char *err, size_t len)
{
	const char *gw[3] = {c->gateway, c->side_gateway[0], c->side_gateway[1]};
	struct sockaddr_storage ss;
	int rc = short_forms(c, err, len);

	if (rc == 0)
		rc = parse_span(c->clients_text == c->local_text ? "local" : "clients",
		    c->clients_text, &c->clients, err, len);
	if (rc == 0)
		rc = parse_span(c->servers_text == c->peer_text    ? "peer"
				: c->servers_text == c->local_text ? "local"
								   : "servers",
		    c->servers_text, &c->servers, err, len);
	for (unsigned int i = 0; i < 3 && rc == 0; i++)
		if (gw[i] != NULL && app_parse_addr(gw[i], 0, &ss) != 0)
			rc = bad(err, len, "gateway", gw[i], "an address");
	for (unsigned int i = 0; i < 2; i++)
		if (c->side_gateway[i] == NULL)
			c->side_gateway[i] = c->gateway;
	if (c->servers.port[0] == 0)
		c->servers.port[0] = c->servers.port[1] = (uint16_t)c->port;
	return rc;
}

static int parse_vlan(const char *text, uint16_t vlan[2])
{
	uint64_t outer, inner = 0;
	bool both;

	if (app_parse_sizes(text, 4094, &outer, &inner, &both) != 0 || outer == 0 ||
	    (both && inner == 0))
		return -EINVAL;
	vlan[0] = (uint16_t)outer;
	vlan[1] = (uint16_t)inner;
	return 0;
}

static int parse_ports(struct config *c, char *err, size_t len)
{
	uint64_t a, b = 0;
	bool both;

	for (unsigned int i = 0; i < 2; i++)
		if (c->side_vlan[i] != NULL && parse_vlan(c->side_vlan[i], c->vlan[i]) != 0)
			return bad(err, len, i == SIDE_CLIENT ? "client-vlan" : "server-vlan",
			    c->side_vlan[i], "ID or OUTER,INNER in 1..4094");
	if (c->ports_text == NULL)
		return 0;
	if (app_parse_sizes(c->ports_text, 1023, &a, &b, &both) != 0)
		return bad(err, len, "ports", c->ports_text, "N or N,M");
	c->port_id[SIDE_CLIENT] = a;
	c->port_id[SIDE_SERVER] = both ? b : c->role == ROLE_BOTH ? a + 1 : a;
	return 0;
}

static int parse_texts(struct config *c, char *err, size_t len)
{
	int rc = parse_addresses(c, err, len);

	if (rc == 0)
		rc = parse_ports(c, err, len);
	if (rc != 0)
		return rc;
	c->has_size = c->size_text != NULL;
	if (c->has_size &&
	    app_parse_sizes(c->size_text, 1u << 30, &c->req, &c->resp, &c->has_resp) != 0)
		return bad(err, len, "size", c->size_text, "REQ or REQ,RESP, up to 1g");
	return 0;
}

static int check(struct config *c, char *err, size_t len)
{
	bool port = c->stack == STACK_SLUICE && c->link == LINK_PORT;
	const char *why = NULL;

	if (c->clients.n != 0 && c->servers.n != 0 &&
	    c->clients.first.ss_family != c->servers.first.ss_family)
		why = "clients and servers are of different families";
	else if (c->stack == STACK_SLUICE && c->role != ROLE_BOTH && c->link == LINK_WIRE)
		why = "--link wire joins two stacks of one process: --role both, or --link port";
	else if (c->role == ROLE_CLIENT && c->servers.n == 0)
		why = "--role client needs --servers or --peer";
	else if (c->role == ROLE_CLIENT && c->clients.n == 0 && port)
		why = "--role client on a port needs --clients or --local";
	else if (c->role == ROLE_SERVER && c->servers.n == 0 && port)
		why = "--role server on a port needs --servers or --local";
	else if (c->proto != PROTO_OWN && c->role != ROLE_CLIENT)
		why = "--proto names what a server talks that is not ours: --role client";
	else if (c->role != ROLE_CLIENT && app_span_ports(&c->servers) > MAX_SERVER_PORTS)
		why = "--servers has more ports than can be listened on (1024)";
	else if (port && opts_given(c, "checksum") && !c->checksum)
		why = "--checksum off is for --link wire only";
	else if (opts_given(c, "kernel") && (!port || c->role == ROLE_BOTH))
		why = "--kernel shares one port: --link port, and not --role both";
	else if (c->rxq != 0 && c->txq != 0 && c->rxq != c->txq)
		why = "--rxq and --txq must be the same: queues come in pairs";
	else if (c->stack == STACK_KERNEL && c->ntunable != 0)
		why = "--tunable is of the sluice stack";
	else if (c->active > c->connections)
		why = "--active is more than --connections";
	else if (c->interactive && (c->role == ROLE_SERVER || c->active != 0))
		why = "--interactive goes neither with --role server nor with --active";
	else if (c->role != ROLE_SERVER && c->duration == 0)
		why = "--duration must be positive";
	if (why == NULL)
		return 0;
	snprintf(err, len, "%s", why);
	return -EINVAL;
}

/** What is not given and follows from other options. */
static void set_defaults(struct config *c)
{
	if (c->role != ROLE_BOTH && !opts_given(c, "link"))
		c->link = LINK_PORT;
	if (c->role == ROLE_SERVER && !opts_given(c, "duration"))
		c->duration = 0;
	if (c->connections == 0)
		c->connections = c->role == ROLE_SERVER ? 1000000 : c->active != 0 ? c->active : 1;
	if (!opts_given(c, "offload"))
		c->offload = c->link == LINK_PORT;
	if (c->proto == PROTO_HTTP && !opts_given(c, "close"))
		c->close = CLOSE_SERVER;
}

int opts_parse(struct config *c, int argc, char **argv, char *err, size_t errlen)
{
	int rc;

	*c = (struct config){.role = ROLE_BOTH,
	    .engine = "rr",
	    .depth = 1,
	    .duration = 10 * SECOND,
	    .warmup = SECOND,
	    .drain = 30 * SECOND,
	    .opening = 256,
	    .port = 7000,
	    .mbufs = 16384,
	    .checksum = true,
	    .path = "/",
	    .port_id = {[SIDE_CLIENT] = 0, [SIDE_SERVER] = 1}};
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
		c->given |= 1ull << (r - rows);
	}
	set_defaults(c);
	rc = parse_texts(c, err, errlen);
	return rc != 0 ? rc : check(c, err, errlen);
}
