/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients, the proxy and backends as three stacks over two wires in virtual time, polled by one
 * thread.
 *
 *	CLIENT 10.0.0.1 fd00::1 ---- 10.0.0.2 fd00::2 PROXY 10.0.1.1 fd01::1 ---- 10.0.1.2 fd01::2
 * BACKEND
 *
 * The proxy also has 10.0.1.10 to .13 and fd01::10 to ::13 as sources. A client (struct peer) says
 * in a head of 24 bytes who it is and how much goes either way; the backend finds its data by that.
 * Each byte that arrives is compared.
 */
#ifndef TEST_TRIO_H
#define TEST_TRIO_H

#include "../../../app/proxy/proxy.h"

enum {
	CLIENT,
	PROXY,
	BACKEND,
	NSTACKS
};

/** Squeues of the proxy's stack, 1 or more. */
extern unsigned int trio_squeues;

struct trio_params {
	uint32_t max_connections; /* of each squeue; 0: 512 */
	uint32_t loss_ppm;        /* on each of the four ways */
	const struct sluice_tunables *tun[NSTACKS];
	uint64_t seed;
};

TAILQ_HEAD(peers, peer);

struct trio {
	struct sluice_stack *st[NSTACKS];
	struct rte_mempool *pool[NSTACKS];
	uint64_t now;
	struct proxy_group proxy;
	struct peers clients, servers; /* all that live */
	unsigned int nclients, nservers;
	/* Clients that got all and both FINs, that did not; bytes got */
	uint64_t done, failed, bytes;
	uint64_t reached;      /* connections that backends accepted, health checks too */
	bool server_fin_first; /* servers send their FIN before they have read all */
	bool server_hold;      /* servers do not read */
	bool server_abort_at_once;
	sluice_conn_t listener[8];
	unsigned int hits[8]; /* connections of each listener of the backend */
	uint8_t raw[512];     /* what a raw server got first */
	size_t nraw;
	bool raw_server;    /* servers keep bytes instead of reading a head */
	uint64_t cut_short; /* clients that saw an end of stream too early, and nobody was struck */
	uint64_t in_place;  /* bytes that peers got in the very buffers that their peer sent */
};

struct peer {
	TAILQ_ENTRY(peer) link;
	struct trio *t;
	struct sluice_stack *st;
	sluice_conn_t c;
	bool server, head_done, fin_sent, eof, gone, hold, silent, closing;
	bool no_fin; /* keeps its connection open */
	uint8_t head[24];
	const uint8_t *prefix; /* sent before the head; must live */
	size_t nprefix, prefix_sent;
	size_t nhead;
	uint64_t id, to_send, sent, to_get, got;
	int err;
	bool counted;
	bool struck; /* somebody did something to it or to its peer: it need not end well */
};

void trio_start(struct trio *t, const struct trio_params *p, bool access_log);
/** Parse and apply; fails the test when that fails. */
void trio_config(struct trio *t, const char *text);
int trio_try_config(struct trio *t, const char *text, char err[256]);
/** A listener of the backend stack, number `which` (0..7). v6: on fd01::2. */
void trio_backend(struct trio *t, unsigned int which, const char *addr, uint16_t port);
void trio_backend_close(struct trio *t, unsigned int which);
/** A client connects to the proxy and sends `up` bytes, and wants `down` back. */
struct peer *trio_client(
    struct trio *t, const char *addr, uint16_t port, uint64_t up, uint64_t down);
/** Not yet connected: for a prefix, or a source address. */
struct peer *trio_client_new(struct trio *t, uint64_t up, uint64_t down);
void trio_client_connect(struct peer *p, const char *addr, uint16_t port);
/** A client whose few bytes have come and that stays. */
struct peer *trio_idle_client(struct trio *t, const char *addr, uint16_t port);
void trio_abort_clients(struct trio *t);
void trio_release(struct peer *p); /* of hold */
void trio_abort(struct peer *p);
void trio_close(struct peer *p);
/** Raw bytes to the peer's connection. */
void trio_send(struct peer *p, const void *data, size_t n);

void trio_run(struct trio *t, uint64_t ns);
/** Until no client lives, at most ns. */
bool trio_finish(struct trio *t, uint64_t ns);
/** Everything must have come back: sessions, connections, timers, buffers. */
void trio_stop(struct trio *t);
/** Counters of the proxy. */
struct proxy_counters trio_n(const struct trio *t);
uint32_t trio_mbufs(const struct trio *t); /* of the proxy, in use */

#endif
