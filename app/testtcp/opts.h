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

#define MAX_LOCAL 1024
#define MAX_TUNABLES 32

struct config {
	uint64_t role, link, stack, idle;
	const char *engine, *local_text, *peer_text, *size_text, *gateway, *json, *port_id_text;
	uint64_t connections, depth, rate, duration, warmup, opening;
	uint64_t rxq, txq, rxd, txd, burst, mtu, port, vrf, prefix, mbufs;
	bool checksum, offload, tso, verify, verbose;
	const char *tunable[MAX_TUNABLES];
	unsigned int ntunable;
	/* made of the texts */
	bool has_size, has_resp;
	uint64_t req, resp;
	struct sockaddr_storage local; /* family AF_UNSPEC: the default */
	uint32_t nlocal;
	struct sockaddr_storage peer;
	uint64_t port_id[2];
	bool has_local, has_peer, has_prefix, has_checksum, has_offload;
};

/** argv[0] is skipped. 0, or -EINVAL with the reason in err. */
int opts_parse(struct config *c, int argc, char **argv, char *err, size_t errlen);
/** The table as text. */
void opts_help(FILE *f);

#endif
