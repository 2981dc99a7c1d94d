/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Wire scripts: what comes to a stack over the wire, what it answers, when, and what its user sees,
 * written as text. doc/testing.md describes the form.
 *
 *	pkt.c	packets: made from a description, taken apart, compared, printed
 *	world.c	one stack in virtual time: a driver that takes everything apart, named sockets
 *	parse.c	a script's text to statements; whatever is wrong with the text is found here
 *	run.c	statements against a world
 *	main.c	all scripts of folders, each in a process of its own, reported as TAP
 *	matrix/	every state against every kind of segment, compared with an oracle
 *
 * The peer is the script. All sequence numbers are relative: those of the peer count from its own
 * initial number, those of the stack from the stack's, so a SYN has 0 and the first byte has 1.
 * Payload follows one pattern by its place in the stream: every byte is checked by itself.
 */
#ifndef TEST_WIRE_H
#define TEST_WIRE_H

#include <sluice/sluice.h>
#include <tcp/tcp_int.h>

#include "mpool.h"
#include "sink.h"

#define WIRE_PEER_PORT 5555u
#define WIRE_PORT 80u

/* ---- packets ---- */

/** Fields of a packet that are one number. X(name in scripts, what it is). */
/* clang-format off */
#define WIRE_FIELDS(X) \
	X(seq, "first sequence number") \
	X(abs, "sequence number as it is, not relative (out only)") \
	X(len, "bytes of payload") \
	X(ack, "acknowledgement number") \
	X(win, "window as the header has it, not scaled") \
	X(urg, "urgent pointer as the header has it") \
	X(ttl, "TTL or hop limit") \
	X(tos, "TOS or traffic class, ECN bits included") \
	X(port, "the peer's port") \
	X(to, "the stack's port") \
	X(doff, "data offset, words (in only: written whatever is true)") \
	X(cut, "bytes missing at the end (in only)") \
	X(fill, "payload is this byte instead of the pattern (in only)") \
	X(rebase, "the peer's initial number moves by this much first (in only)") \
	X(mtu, "ICMP: bytes 4 to 7") \
	X(quote, "ICMP: sequence number of the quoted segment") \
	X(quotelen, "ICMP: bytes of TCP header quoted (in only)") \
	X(rsv, "the four bits beside the data offset") \
	X(id, "IPv4: identification (out only)") \
	X(df, "IPv4: the bit don't fragment (out only)") \
	X(ipopt, "an IP option of this kind, 4 bytes (IPv6: in a destination options header; in only)") \
	X(frag, "comes in IP fragments of so many bytes (in only)") \
	X(lose, "number of the fragment that does not come (in only)")
/* clang-format on */
enum wire_field {
#define X(name, doc) WF_##name,
	WIRE_FIELDS(X)
#undef X
	WIRE_NFIELDS
};

/** A number, or in an expected packet a range. */
struct wire_val {
	int64_t lo, hi;
	bool set;
};

enum wire_opt_kind {
	WO_MSS,
	WO_WSCALE,
	WO_SACKOK,
	WO_SACK,
	WO_TS,
	WO_RAW
};
#define WIRE_ANY INT64_MIN /* "*": whatever it is */
struct wire_opt {
	enum wire_opt_kind kind;
	bool absent; /* "no mss" */
	int n;
	int64_t v[40]; /* values, SACK edges in pairs, raw bytes */
};

#define WIRE_OPTS 8
/** A packet as a script writes it. */
struct wire_spec {
	uint8_t flags, clear; /* clear: must not be set ("!PSH") */
	bool icmp, badsum, newiss, hold;
	uint8_t type, code;
	const char *src, *dst; /* other addresses than usual (in only) */
	struct wire_val f[WIRE_NFIELDS];
	bool opts; /* "[...]" was written */
	int nopt;
	struct wire_opt opt[WIRE_OPTS];
};

/** A packet that the stack sent; numbers are relative. */
struct wire_pkt {
	uint64_t at;
	bool icmp, syn_changed;
	uint8_t type, code;
	uint8_t flags, ttl, tos, rsv;
	bool df;
	uint16_t id;
	uint16_t peer_port, port, win, urg, mss;
	uint32_t seq, ack, len, mtu, raw_seq, raw_ack;
	bool ts, sackok, bad_payload;
	int wscale; /* -1: none */
	uint32_t tsval, tsecr;
	int nsack;
	uint32_t sack[4][2];
};

/** Numbers of one pair of ports. */
struct wire_flow {
	uint16_t peer_port, port;
	uint32_t isn, iss, ts_base, last_tsval;
	bool have_iss, have_ts;
};

/* ---- a world ---- */

enum wire_event_kind {
	WE_NEWCONN,
	WE_CONNECTED,
	WE_DISCONNECTED,
	WE_SHUT_RECV,
	WE_URGENT,
	WE_ERROR,
	WE_FULL,
	WE_ROOM,
	WE_CLOSED,
	WIRE_NEVENTS
};
extern const char *const wire_event_names[WIRE_NEVENTS];

struct wire_sock {
	char name[16]; /* "": accepted, and not named yet */
	struct wire_world *w;
	sluice_conn_t c;
	bool hold, refuse, no_space, no_accept, no_errors;
	uint64_t got, said;
	uint32_t pushes; /* upcalls of recv with push */
	bool bad_byte;   /* the application was given a byte that is not of the pattern */
};

struct wire_event {
	enum wire_event_kind kind;
	struct wire_sock *s, *eager;
	int64_t v; /* errno, mark */
	uint64_t at;
};

struct wire_config {
	bool ipv6, eal; /* eal: reassembly has its tables in EAL's memory */
	bool offload;   /* the port makes TCP checksums */
	uint16_t mtu;
	uint32_t isn, max_conns;
	struct wire_opt peer[WIRE_OPTS]; /* options of a SYN of the peer that says nothing else */
	int npeer;
	uint16_t peer_win;
	struct sluice_tunables tun;
};

/** Squeues of the stack (wire -q): with several, each burst arrives at any of them. */
extern unsigned int wire_squeues;

#define WIRE_SOCKS 256
#define WIRE_OUT 8192
struct wire_world {
	struct wire_config cfg;
	struct sluice_stack *st;
	unsigned int nsq;
	uint32_t dice; /* at which squeue the next packets arrive */
	struct rte_mempool *pool;
	uint64_t t0, now;
	struct sink port;
	bool verbose;
	struct wire_flow flow[64];
	int nflows;
	struct wire_sock sock[WIRE_SOCKS];
	int nsocks;
	struct wire_pkt *out; /* captured, next .. nout not yet expected */
	int nout, next;
	struct wire_event ev[1024];
	int nev, next_ev;
	struct rte_mbuf *held[SL_BURST];
	unsigned int nheld;
	const char *broken; /* the stack sent a packet that is wrong in itself */
};

void wire_config_default(struct wire_config *cfg);
/** NULL, or what could not be set up. */
const char *wire_start(struct wire_world *w, const struct wire_config *cfg);
/** Ends the stack; NULL, or what it left behind. */
const char *wire_stop(struct wire_world *w);
void wire_settle(struct wire_world *w);
/** Let virtual time run to `end`; with stop, only until a packet waits to be expected. */
void wire_advance(struct wire_world *w, uint64_t end, bool stop);
struct wire_flow *wire_flow(struct wire_world *w, uint16_t peer_port);
struct wire_sock *wire_find(struct wire_world *w, const char *name);
struct wire_sock *wire_new_sock(struct wire_world *w, const char *name);
int wire_sock_create(struct wire_sock *s);
/** The packet into the stack; with hold, together with the next. */
void wire_inject(struct wire_world *w, const struct wire_spec *p);
ssize_t wire_send(struct wire_sock *s, uint32_t n, unsigned int flags);
int wire_addr(const struct wire_world *w, const char *text, uint16_t port,
    struct sockaddr_storage *sa, socklen_t *len);
uint64_t wire_counter(struct wire_world *w, unsigned int i);
int wire_counter_find(const char *name);

/* ---- pkt.c ---- */

uint8_t wire_byte(uint32_t at, bool of_peer);
/** Writes the packet; returns its length. */
uint16_t wire_build(struct wire_world *w, const struct wire_spec *p, uint8_t *b, size_t room);
/** Fragment n of the packet in b, of `size` bytes each, to `to`; returns its length, 0: there is none. */
uint16_t wire_fragment(const struct wire_world *w, const uint8_t *b, uint16_t len, uint16_t size,
    unsigned int n, uint8_t *to);
/** Takes a packet of the stack apart; NULL or what is wrong with it whatever was expected. */
const char *wire_capture(struct wire_world *w, const uint8_t *p, uint32_t len, struct wire_pkt *o);
/** NULL, or the first way in which o is not as described. */
const char *wire_differs(
    const struct wire_world *w, const struct wire_spec *p, const struct wire_pkt *o);
void wire_flags_text(uint8_t flags, char *b, size_t len);
void wire_pkt_text(const struct wire_pkt *o, char *b, size_t len);
bool wire_has_opt(const struct wire_world *w, enum wire_opt_kind kind);

/* ---- scripts ---- */

enum wire_stmt_kind {
	WS_IN,
	WS_OUT,
	WS_QUIET,
	WS_SET,
	WS_CALL,
	WS_EVENT,
	WS_COUNTER,
	WS_TABLE,
	WS_HANDSHAKE
};

#define WIRE_ARGS 6
struct wire_stmt {
	enum wire_stmt_kind kind;
	int line;
	const char *text; /* as it stands in the file */
	bool absolute;    /* at is counted from the start */
	uint64_t at;
	struct wire_spec pkt;
	char name[16], verb[16];
	int nargs;
	char arg[WIRE_ARGS][64];
	int64_t num[WIRE_ARGS]; /* numbers of the arguments, where they are some */
	bool has_result;
	int64_t result;
	bool negate;
};

struct wire_script {
	char *path, *text;
	char *title, *proves, *reason; /* reason: of expect-fail, else NULL */
	int fail_line;                 /* the failure must come behind this line */
	bool ip4, ip6;
	unsigned int squeues; /* on no more than so many; 0: any number */
	uint64_t tolerance;
	struct wire_config cfg;
	struct wire_stmt *stmt;
	int nstmts;
	char error[256]; /* "file:line: what" when it could not be read */
};

/** False: sc->error says why. */
bool wire_parse(struct wire_script *sc, const char *path, char *text);
void wire_script_free(struct wire_script *sc);
bool wire_errno(const char *name, int *v);
const char *wire_errno_name(int v);
/** Runs it; false: `why` says where and how it failed. *line: of the statement. */
bool wire_run(
    const struct wire_script *sc, bool ipv6, bool verbose, char *why, size_t len, int *line);

#endif
