/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One stack against a hand-written peer. The peer is the test: it pushes crafted segments in and
 * reads what the stack sent. All sequence numbers are relative: `seq` of a segment of the peer
 * counts from the peer's initial number, its `ack` from the stack's, and the other way round for
 * what is captured. Payload follows one pattern by its place in the stream, so every byte that the
 * stack sends or delivers is checked by itself.
 */
#ifndef TEST_TCP_SCRIPT_H
#define TEST_TCP_SCRIPT_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sluice/sluice.h>
#include <tcp/tcp_int.h>

#include "mpool.h"
#include "sink.h"

enum {
	F = SL_TH_FIN,
	S = SL_TH_SYN,
	R = SL_TH_RST,
	P = SL_TH_PUSH,
	A = SL_TH_ACK,
	U = SL_TH_URG
};

struct seg {
	uint8_t flags;
	uint32_t seq, ack; /* relative */
	int wnd;           /* 0: script's window, -1: zero */
	uint16_t urp;
	uint32_t len;
	uint16_t mss; /* SYN only: options */
	bool no_ts, bad_cksum;
	int32_t ts_back; /* timestamp that much in the past, ms */
	uint32_t ecr;    /* echo this instead of the last value seen */
	unsigned int nsack;
	uint32_t sack[4][2]; /* relative to the stack's numbers */
	const uint8_t *raw;  /* instead of all options */
	unsigned int rawlen;
	uint8_t doff;   /* not 0: data offset as written */
	uint16_t sport; /* not 0: another port of the peer */
};

/** What the stack sent. */
struct out {
	uint8_t flags, ttl, tos;
	uint32_t seq, ack, raw_seq, raw_ack;
	uint32_t wnd, len;
	uint16_t urp, sport, dport, mss, id;
	uint32_t src;
	bool ts, sack_ok;
	int wscale; /* -1: none */
	uint32_t tsval, tsecr;
	unsigned int nsack;
	uint32_t sack[4][2];
	uint64_t at;
};

#define SCRIPT_OUT 4096
struct script {
	struct sluice_stack *st;
	struct sluice_squeue *sq;
	struct rte_mempool *pool;
	uint64_t now;
	bool ts, sack; /* what the peer offers */
	int wscale;    /* -1: none */
	uint16_t mss;  /* 0: no option */
	uint16_t wnd;  /* of segments that say nothing else */
	uint16_t sport, dport;
	uint32_t isn, iss; /* the peer's and the stack's first numbers */
	uint32_t last_tsval;
	struct sink port;
	bool roomy; /* segments come in buffers of a pool, not of exactly their size */
	bool deaf;  /* what the stack sends is freed and not kept */
	struct out *out;
	unsigned int nout, next;
	/* the application */
	sluice_conn_t listener, c, eager;
	bool hold, up, gone, closed, eof, full, refuse, no_space;
	int err, soft, connected, accepted, oob;
	size_t mark, got, said;
	bool eager_accept;
};

/** tun NULL: defaults with quick ACKs off. */
struct script *script_start(const struct sluice_tunables *tun);
/** Ends the stack; nothing may be left but what `leaks` says (connections still open). */
void script_stop(struct script *s);
void script_tunables(struct sluice_tunables *t);
void script_in(struct script *s, const struct seg *g);
/** Raw IP packet whose checksums are right as they stand. */
void script_raw(struct script *s, const void *pkt, uint16_t len);
/** The next captured segment; fails when there is none. */
struct out *script_out(struct script *s);
/** Nothing was sent. */
void script_none(struct script *s);
void script_forget(struct script *s);
void script_settle(struct script *s);
void script_run(struct script *s, uint64_t ns);
void script_listen(struct script *s);
/** Three-way handshake from the peer. */
void script_accept(struct script *s);
/** And from the stack. */
void script_connect_syn(struct script *s);
void script_connect(struct script *s);
/** The application sends n bytes of its stream. */
void script_say(struct script *s, size_t n, unsigned int flags);
struct sl_conn *script_conn(struct script *s);
uint64_t script_ctr(struct script *s, size_t offset);
enum sluice_state script_state(struct script *s);
/** ICMP "fragmentation needed" that quotes relative sequence number seq. type 3, code 4 and others.
 */
void script_icmp(struct script *s, uint8_t type, uint8_t code, uint32_t seq, uint16_t mtu);
uint8_t script_byte(uint32_t at, bool of_peer);
extern const struct sluice_upcalls script_upcalls;

#define IN(s, ...) script_in(s, &(struct seg){__VA_ARGS__})
#define CTR(s, name) script_ctr(s, offsetof(struct sluice_counters, name))
#define WANT(s, f, q, a, n)                                       \
	do {                                                      \
		struct out *o_;                                   \
		if ((s)->next >= (s)->nout)                       \
			fail_msg("nothing was sent");             \
		o_ = script_out(s);                               \
		assert_int_equal(o_->flags & ~P, (f) & ~P);       \
		assert_int_equal(o_->seq, (uint32_t)(q));         \
		if ((f)&A)                                        \
			assert_int_equal(o_->ack, (uint32_t)(a)); \
		assert_int_equal(o_->len, (uint32_t)(n));         \
	} while (0)
#define STATE(s, x) assert_string_equal(sluice_state_name(script_state(s)), #x)

#endif
