/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two stacks, 10.0.0.1 and 10.0.0.2, over a wire, each squeue polled by a thread of its own that
 * sleeps when there is nothing to do: what a test of blocking calls needs.
 */
#ifndef TEST_LIVE_H
#define TEST_LIVE_H

#include <pthread.h>

#include <sluice/sluice.h>

#define LIVE_NSQ 4

struct live {
	struct sluice_stack *st[2];
	struct rte_mempool *pool[2];
	pthread_t loop[2][LIVE_NSQ];
	volatile int stop;
};

void live_make(struct live *l, unsigned int nsq, unsigned int sockets, unsigned int buf);
/** Nobody polls any more: ends the stacks; nothing may be left. */
void live_unmake(struct live *l);
/** A thread that polls a squeue, until it is parked or the end. Parked: its end must be waited for. */
void live_lcore(struct live *l, unsigned int side, unsigned int q);
/** live_make, and threads that poll. */
void live_start(struct live *l, unsigned int nsq);
/** Waits until all connections have ended, then destroys both; asserts that nothing is left. */
void live_stop(struct live *l);
struct sockaddr_in live_addr(unsigned int side, uint16_t port);
/** A listening socket on side 1. */
int live_listen(struct live *l, uint16_t port, int backlog);
/** What most tests begin and end with: live_one, of 1 or 2 squeues a side, and a listener live_lfd on
 * LIVE_PORT of side 1. For cmocka. */
#define LIVE_PORT 80
extern struct live live_one;
extern int live_lfd;
int live_setup(void **state);
int live_setup2(void **state);
int live_teardown(void **state);
void live_nap(unsigned int ms);
/** A connected pair: c on side 0, s on side 1 accepted from the listener. */
void live_pair(struct live *l, int listener, uint16_t port, int *c, int *s);

#endif
