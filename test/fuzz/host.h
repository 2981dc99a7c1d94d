/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stack under a fuzz target, in virtual time: two listeners, a port that looks at all it is
 * given, an application whose upcalls do what `behave` says, and peers, each of which stands for one
 * tuple and can be brought into any state of the diagram before the input begins.
 */
#ifndef TEST_FUZZ_HOST_H
#define TEST_FUZZ_HOST_H

#include <netinet/tcp.h>
#include <string.h>

#include <rte_mbuf.h>

#include <sluice/sluice.h>

#include "fuzz.h"
#include "mpool.h"
#include "sink.h"

#define NPEERS 8
#define MAX_FRAME 2048
#define MAX_HELD 8
#define OUR_MAC 2, 0, 0, 0, 0, 1
#define HER_MAC 2, 0, 0, 0, 0, 2

enum {
	F_FIN = 1,
	F_SYN = 2,
	F_RST = 4,
	F_PSH = 8,
	F_ACK = 16,
	F_URG = 32
};

/* One tuple as its peer sees it. */
struct peer {
	bool v6, ts;
	uint16_t lport, rport; /* of the stack; of the peer */
	uint32_t snd, rcv;     /* what the stack has acknowledged; behind the last byte it sent */
	uint32_t tsecr;
	sluice_conn_t c;
};

struct fuzz {
	struct sluice_stack *st;
	struct sluice_squeue *sq;
	struct rte_mempool *pool, *rxpool;
	uint64_t now;
	const uint8_t *p, *end;
	uint8_t behave;
	struct sink port;
	struct peer peer[NPEERS];
	sluice_conn_t listener[2], last_eager;
	unsigned int calls;
	char zc[512];
	uint8_t frame[MAX_FRAME];
	uint16_t len;
	bool hold; /* frames wait for the next poll, as one burst */
	struct rte_mbuf *held[MAX_HELD];
	unsigned int nheld;
};

/* A peer's place when the input begins: the low four bits of its byte. */
enum place {
	AT_NOTHING,
	AT_HALF_OPEN,
	AT_ESTABLISHED,
	AT_SYN_SENT,
	AT_SYN_RCVD, /* of a simultaneous open */
	AT_FIN_WAIT_1,
	AT_FIN_WAIT_2,
	AT_FIN_WAIT_2_OPEN, /* half-closed: the user reads on */
	AT_CLOSING,
	AT_TIME_WAIT,
	AT_TIME_WAIT_HELD, /* the user has not closed */
	AT_CLOSE_WAIT,
	AT_LAST_ACK,
	AT_IN_FLIGHT,  /* established, 4,000 bytes sent */
	AT_GAP,        /* established, data out of order in the queue */
	AT_SHUT_WINDOW /* established, the peer's window closed on data */
};
#define PEER_PLACE 15
#define PEER_ACTIVE 16
#define PEER_PLAIN 32 /* no option in its SYN */
#define PEER_V6 64

extern const uint8_t syn_opts[20];

/* ---- the input: zeroes behind its end ---- */

uint8_t u8(struct fuzz *f);
uint16_t u16(struct fuzz *f);
/** Small most of the time: 1, 2 or 4 bytes by the top bits of the first. */
int32_t delta(struct fuzz *f);

/* ---- life ---- */

/** Stack, port, pools, listeners. `limits`: bits that make something small. */
void fuzz_start(struct fuzz *f, const uint8_t *data, size_t size, uint8_t limits);
void fuzz_peer(struct fuzz *f, unsigned int i, uint8_t how);
/** All must have come back; the transitions taken are added to what fuzz_states() shows. */
void fuzz_stop(struct fuzz *f);
void poll_some(struct fuzz *f);
/** Prints how often each state was entered so far; false: one never was. */
bool fuzz_states(void);
/** Was a packet put together from fragments? */
bool fuzz_reassembled(void);

/* ---- frames: made in f->frame, f->len ---- */

/** Hands f->frame in, now or with f->hold in a burst, as a chain of cuts + 1 buffers of exactly its
 * size; each must be taken, given back or counted. */
void give(struct fuzz *f, unsigned int cuts);
/** Checksums as they should be, if the frame is what they are of. */
void fix(struct fuzz *f);
/** Ethernet and IP header for `len` bytes of `proto`; returns where those begin. */
uint8_t *ip_hdr(struct fuzz *f, bool v6, uint8_t proto, uint16_t len);
uint8_t *segment(struct fuzz *f, const struct peer *r, uint8_t flags, uint32_t seq, uint32_t ack,
    uint16_t win, const uint8_t *opts, uint8_t optlen, uint16_t len);
/** Timestamp (1), and SACK blocks of what lies above `ack` (2), anything (4). */
uint8_t options(struct fuzz *f, const struct peer *r, uint8_t what, uint8_t o[40]);

/* ---- calls ---- */

void connect_peer(struct fuzz *f, struct peer *r);

#endif
