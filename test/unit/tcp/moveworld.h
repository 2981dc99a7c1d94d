/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two stacks of several squeues that are polled in any order, connections with bytes both ways, and an
 * application that looks at each upcall: it must come on the squeue where the connection is, in the order
 * of the table, and bring the right bytes.
 */
#ifndef TEST_MOVEWORLD_H
#define TEST_MOVEWORLD_H

#include "script.h"

#include "duo.h"

#define NSQ_MAX 8
#define CONNS 12

struct conn_end {
	struct world *w;
	unsigned int side, n;
	sluice_conn_t c;
	uint16_t port; /* its own */
	bool fin_sent, fin_seen, ended, closing;
	int closed, closed_at, moved, last_up; /* squeue; last_up: upcall + 1 */
	uint64_t sent, got;
};

struct world {
	struct duo d;
	sluice_conn_t l; /* that side 1 listens with */
	unsigned int seed, loss;
	uint32_t rng;
	int polled[2]; /* squeue in whose pass we are, -1 none */
	struct conn_end e[2][CONNS];
	int accepted, aborts;
	uint64_t moves, posted;
	bool quiet;              /* nobody moves by chance */
	bool gone[2][NSQ_MAX];   /* nobody polls it: it is parked */
	unsigned int nic_queues; /* before world_start: of a card of the test's, 0: none */
};

/* Of all seeds. */
extern struct of_all {
	uint64_t accepted, bytes, moved;
	uint32_t states; /* in which a connection arrived somewhere */
} all;

uint32_t rnd(struct world *w, uint32_t n);
/* Byte `at` of what side `side` of connection n sends; and as many of them as come next. */
uint8_t byte_of(unsigned int side, unsigned int n, uint64_t at);
struct rte_mbuf *chain_of(struct conn_end *e, uint32_t len);
/* Of all connections; and what each of these upcalls checks. */
extern const struct sluice_upcalls up;
void upcall(struct conn_end *e, sluice_conn_t c, enum sluice_upcall what);
/* Up to `want` of what is readable. */
void read_some(struct conn_end *e, size_t want);
/* By chance, one time in so many. */
void maybe_move(struct conn_end *e, uint32_t one_in);
void send_some(struct conn_end *e);
/* Something happens to some connection. */
void act(struct world *w);
int poll_one(struct world *w, unsigned int side, unsigned int q);
void some_polls(struct world *w);
/* Everybody until nothing is to do, and then time goes on; for ns. */
void run(struct world *w, uint64_t ns);
/* Side 1 listens. */
void world_start(struct world *w, unsigned int seed, unsigned int nsq, uint32_t conns);
/* From port `bound`, 0: any. */
void open_one(struct world *w, unsigned int i, uint16_t bound);
void close_all(struct world *w);
/* Nothing is left; destroys both stacks. */
void nothing_left(struct world *w);

/* One thing at a time: n connections that nobody moves by chance. */
void pair_start(struct world *w, unsigned int nsq, uint32_t conns, unsigned int n);
void pair_stop(struct world *w);
void move_to(struct world *w, struct conn_end *e, unsigned int to);
/* Bytes each way; and read, wherever the two ends are. */
void talk(struct world *w, unsigned int n);
uint64_t refused(struct world *w, unsigned int side);

#endif
