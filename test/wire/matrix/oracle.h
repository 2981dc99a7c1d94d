/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What RFC 9293 3.10.7 says about one segment, with RFC 5961 (blind attacks), RFC 7323 (PAWS), RFC
 * 1337 and RFC 6191 (TIME_WAIT). Written from those texts, and from nothing in lib/: plain numbers
 * that do not wrap, one function that reads from top to bottom. Where the RFCs leave a choice, a
 * comment that begins with "Chosen:" says what this stack does.
 */
#ifndef TEST_WIRE_ORACLE_H
#define TEST_WIRE_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	O_FIN = 1,
	O_SYN = 2,
	O_RST = 4,
	O_PSH = 8,
	O_ACK = 16,
	O_URG = 32
};

enum ora_state {
	O_CLOSED,
	O_LISTEN,
	O_SYN_SENT,
	O_SYN_RCVD,
	O_ESTABLISHED,
	O_FIN_WAIT_1,
	O_FIN_WAIT_2,
	O_CLOSE_WAIT,
	O_CLOSING,
	O_LAST_ACK,
	O_TIME_WAIT,
	O_NSTATES
};
extern const char *const ora_state_names[O_NSTATES];

/** RFC 9293 3.3.1, and what the user has done. Numbers count from the first of each side. */
struct ora_tcb {
	enum ora_state state;
	bool passive;     /* SYN_RCVD: came from LISTEN, an entry of the SYN cache */
	bool listener;    /* somebody listens on the port */
	bool user_closed; /* close() was called: nobody reads */
	bool fin_sent;    /* it has the number snd_nxt - 1 */
	int64_t iss, snd_una, snd_nxt, snd_wnd, max_snd_wnd, snd_wl1, snd_wl2;
	int64_t irs, rcv_nxt, rcv_right; /* rcv_right: RCV.NXT + RCV.WND */
	int64_t rcvbuf, syn_wnd, mss;    /* syn_wnd: window that was offered on our SYN */
	bool ts;                         /* timestamps were negotiated */
	int64_t ts_recent, last_ack_sent;
	int64_t unread; /* bytes that wait for the user */
};

struct ora_seg {
	unsigned int flags;
	int64_t seq, ack, len, wnd, urp;
	bool has_ts;
	int64_t tsval;
};

enum ora_answer {
	O_NOTHING,
	O_ACK_NOW,
	O_ACK_SOON, /* within half a second */
	O_SYNACK,   /* seq: ISS; of a new connection: any number */
	O_RESET,
	O_NANSWERS
};
extern const char *const ora_answer_names[O_NANSWERS];

enum {
	O_EV_NEWCONN = 1,
	O_EV_CONNECTED = 2,
	O_EV_DISCONNECTED = 4,
	O_EV_END = 8,
	O_EV_URGENT = 16,
	O_EV_CLOSED = 32
};

struct ora_outcome {
	enum ora_answer answer;
	bool answer_ack;     /* O_RESET: with the ACK bit */
	int64_t seq, ack;    /* of the answer */
	bool new_iss;        /* a new incarnation: its ISS lies beyond all that the old one sent */
	bool wait_again;     /* TIME_WAIT begins anew */
	unsigned int events; /* O_EV_* */
	int err;             /* of O_EV_DISCONNECTED */
	int64_t mark;        /* of O_EV_URGENT */
	int64_t delivered;   /* bytes that reached the user */
	struct ora_tcb after;
};

void ora_segment(const struct ora_tcb *t, const struct ora_seg *s, struct ora_outcome *o);

#endif
