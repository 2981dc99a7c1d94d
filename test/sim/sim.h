/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Simulator: two stacks, an impaired wire between them, one virtual clock, one seed. A seed decides
 * everything: sizes, timing, trouble of the link, tunables, who closes when. It runs without EAL
 * and with libc's memory, so that the address sanitizer sees every packet.
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stdint.h>

#include <base/rng.h>
#include <sluice/sluice.h>
#include <tcp/tcp_int.h>

#define SIM_MAX_CONNS 12
#define SIM_MAX_SQ 4

/** What a run exercised; summed over seeds, across processes (plain sums: associative). */
struct sim_sum {
	uint64_t seeds, failed, bytes, conns, aborted, virtual_ms;
	struct sluice_counters ctr;
	struct sluice_impair_stats impair;
	uint64_t edge[SLUICE_NSTATES][SLUICE_NSTATES];
};

struct sim_options {
	unsigned int squeues; /* 0: by seed */
	bool verbose;
};

/** How the two ends of a connection behave. */
enum sim_kind {
	SIM_NORMAL, /* the client closes when it has all */
	SIM_SERVER_CLOSES,
	SIM_BOTH_CLOSE,   /* each closes as soon as it has sent all: crossing FINs */
	SIM_SIMULTANEOUS, /* both connect to each other */
	SIM_SIMUL_SHUT,   /* the same, and shut the send side at once: SYN_RCVD to FIN_WAIT_1 */
	SIM_ABORT,        /* one side aborts in the middle */
	SIM_CLOSE_EARLY,  /* close in SYN_SENT */
	SIM_KINDS
};

struct sim;

/** One end of one connection. */
struct sim_end {
	struct sim *sim;
	struct sim_end *peer;
	struct sluice_stack *st;
	sluice_conn_t c;
	unsigned int id; /* number of the pair */
	uint8_t side;    /* 0 client, 1 server */
	uint64_t to_send, sent, received;
	uint64_t act_at; /* when to close or abort out of turn; UINT64_MAX: never */
	bool broke;      /* it was closed or aborted out of turn: the stream may be cut */
	bool up, eof, shut, closing, closed, ended, paused;
	int err;
	enum sluice_upcall last;
	bool any_upcall;
	uint32_t reads;
};

struct sim {
	uint64_t seed, now;
	struct sl_rng rng, link; /* application and configuration; link */
	struct sluice_stack *st[2];
	struct sluice_driver port[2]; /* impaired ends, for their statistics */
	struct rte_mempool *pool[2];
	unsigned int nsq, nconns;
	enum sim_kind kind[SIM_MAX_CONNS];
	struct sim_end end[SIM_MAX_CONNS][2];
	sluice_conn_t listener;
	bool listener_closed;
	unsigned int opened;
	char why[256]; /* first failure */
	const struct sim_options *opt;
};

/** Remember the first failure. */
void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** Byte at an offset of a stream: any shift, swap or repeat shows. */
static inline uint8_t sim_byte(uint64_t key, uint64_t off)
{
	uint64_t x = (off + 1) * 0x9e3779b97f4a7c15ull ^ key;

	return (uint8_t)(x >> 37 ^ x >> 11);
}
static inline uint64_t sim_key(const struct sim *s, unsigned int id, unsigned int from)
{
	return s->seed * 1000003u + id * 2u + from;
}

/* app.c */
extern const struct sluice_upcalls sim_client_upcalls, sim_server_upcalls, sim_listener_upcalls;
void sim_open_next(struct sim *s);
void sim_pump(struct sim_end *e);
void sim_act(struct sim_end *e);
void sim_illegal_calls(struct sim *s);
bool sim_all_ended(const struct sim *s);

/* world.c */
/** Run one seed; 0, or -1 with the reason on stderr. */
int sim_run(uint64_t seed, const struct sim_options *opt, struct sim_sum *sum);

#endif
