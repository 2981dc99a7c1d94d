/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The matrix: every state against every kind of segment, at every position of its sequence and
 * acknowledgement numbers, compared with an oracle that was written from the RFCs.
 *
 *	oracle.c	what the RFCs say about one segment
 *	states.c	one connection brought into each state, and its variables
 *	matrix.c	the cells: segments made, outcomes compared
 */
#ifndef TEST_WIRE_MATRIX_H
#define TEST_WIRE_MATRIX_H

#include <errno.h>

#include "oracle.h"
#include "wire.h"

#define MX_WND 1000     /* the peer's window */
#define MX_CELL_WND 777 /* that of the segment of a cell */
#define MX_RCVBUF 4096
#define MX_URP 4

enum mx_ts {
	TS_GOOD,   /* as negotiated */
	TS_ABSENT, /* no option */
	TS_OLD     /* older than the last one */
};

struct matrix {
	struct wire_world w;
	struct wire_sock *listener, *s;
	uint16_t port;
	int noted;
	int64_t right, edge_fault; /* right edge offered; how far it once moved left */
	int64_t last_tsval;
	struct ora_tcb t;
};

/** NULL, or why not. */
const char *mx_start(struct matrix *m, bool ts);
/** NULL beyond the last. */
const char *mx_state_name(unsigned int i);
bool mx_state_numbers(unsigned int i);
/** A new connection in state i; m->t describes it. False: it did not get there. */
bool mx_enter(struct matrix *m, unsigned int i, bool ts);
void mx_inject(struct matrix *m, const struct ora_seg *s, enum mx_ts ts);
void mx_note_edges(struct matrix *m);

/** What a timestamp of the peer says now. */
static inline int64_t mx_tsval(const struct matrix *m)
{
	return (int64_t)((m->w.now - m->w.t0) / 1000000) + 1000;
}

#endif
