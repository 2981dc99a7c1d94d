/* SPDX-License-Identifier: BSD-3-Clause */
/* Own options of sluice-testtcp: one table, from which the parser and --help are made. */
#ifndef TESTTCP_OPTS_H
#define TESTTCP_OPTS_H

#include <stdio.h>
#include "../common/parse.h"

enum {
	ROLE_SERVER,
	ROLE_CLIENT,
	ROLE_BOTH
};
enum {
	LINK_WIRE,
	LINK_PORT
};
enum {
	STACK_SLUICE,
	STACK_KERNEL
};

enum {
	CLOSE_CLIENT,
	CLOSE_SERVER
};
enum {
	CLOSE_FIN,
	CLOSE_RST
};
/** What the server talks. */
enum {
	PROTO_OWN,
	PROTO_ECHO,
	PROTO_DISCARD,
	PROTO_HTTP
};
/** Index of what there is for each end. */
enum {
	SIDE_SERVER,
	SIDE_CLIENT
};

#define MAX_ADDRS 65536
#define MAX_SERVER_PORTS 1024 /* to listen on */
#define MAX_TUNABLES 32

struct config {
	uint64_t role, link, stack, idle, close, close_with, proto;
	const char *engine, *clients_text, *servers_text, *local_text, *peer_text, *size_text,
	    *gateway, *json, *ports_text, *path, *kernel_rules;
	const char *side_gateway[2], *side_vlan[2];
	uint64_t connections, active, depth, rate, ramp, duration, warmup, drain, opening,
	    lcore_cycle;
	uint64_t rxq, txq, rxd, txd, burst, mtu, port, vrf, prefix, mbufs, kernel_port;
	bool checksum, offload, tso, verify, nat, verbose, interactive, force;
	const char *tunable[MAX_TUNABLES];
	unsigned int ntunable;
	/* made of the texts and of what was not given */
	bool has_size, has_resp;
	bool total; /* connections are so many in all, none of them before the measurement */
	uint64_t req, resp;
	struct app_span clients, servers; /* n 0: the default */
	uint64_t port_id[2];              /* by side */
	uint16_t vlan[2][2];              /* by side: outer, inner; 0: none */
	uint64_t given;                   /* rows that stood on the command line */
};

/** argv[0] is skipped. 0, or -EINVAL with the reason in err. */
int opts_parse(struct config *c, int argc, char **argv, char *err, size_t errlen);
/** Was the option of that name given? */
bool opts_given(const struct config *c, const char *name);
/** The table as text. */
void opts_help(FILE *f);

#endif
