/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two stacks, 10.0.0.1 / fd00::1 and 10.0.0.2 / fd00::2, over a wire in virtual time: what most
 * tests of connections begin with. One thread polls all.
 */
#ifndef TEST_DUO_H
#define TEST_DUO_H

#include <sluice/sluice.h>

#include "rssnic.h"

struct duo {
	struct sluice_stack *st[2];
	struct rte_mempool *pool[2];
	uint64_t now;
	unsigned int nsq;
	bool cut[2]; /* what side i sends is dropped */
	bool (*filter)(struct duo *d, unsigned int side, struct rte_mbuf *m); /* true: drop */
	void *arg;
};

struct duo_params {
	unsigned int nsq;                     /* 0: 1 */
	uint32_t max_connections;             /* 0: 256 */
	const struct sluice_tunables *tun[2]; /* NULL: defaults */
	uint64_t seed;
	uint32_t pool_limit;
	unsigned int nic_queues; /* both ends behind such cards; 0: none, a queue per squeue */
	enum rssnic_mode nic_mode;
};

/** Asserts (aborts with a message) on failure of set-up. */
void duo_start(struct duo *d, const struct duo_params *p);
/** Destroys both; returns the sum of leaks and of mbufs that did not come back. */
uint64_t duo_stop(struct duo *d);
/** Poll all squeues until a pass finds nothing, without moving time. */
void duo_settle(struct duo *d);
/** Run for `ns` of virtual time, jumping to what is next. */
void duo_run(struct duo *d, uint64_t ns);
/** Run until *flag or for at most `ns`; returns *flag. */
bool duo_until(struct duo *d, const bool *flag, uint64_t ns);
struct sockaddr_in duo_addr4(unsigned int side, uint16_t port);
struct sockaddr_in6 duo_addr6(unsigned int side, uint16_t port);

#endif
