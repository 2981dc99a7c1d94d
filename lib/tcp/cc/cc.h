/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Congestion control: a table of functions, a file each, one argument struct. Integer arithmetic
 * only, so that a seed replays on any compiler. cwnd and ssthresh are bytes. Growth is by bytes
 * acknowledged (RFC 3465) and only while cwnd limits (RFC 7661's spirit).
 */
#ifndef SL_TCP_CC_H
#define SL_TCP_CC_H

#include <stdbool.h>
#include <stdint.h>

struct sl_cc_ops;

struct sl_cc {
	const struct sl_cc_ops *ops;
	uint32_t cwnd, ssthresh;             /* bytes */
	uint32_t prior_cwnd, prior_ssthresh; /* before the last reduction: to undo a spurious one */
	uint32_t acked;                      /* bytes since the last increase */
	uint32_t stop_seq;                   /* not the algorithm's: see sl_conn.cwnd_stopped */
	union {
		struct {
			uint64_t epoch_start;       /* ns, 0: none */
			uint64_t k;                 /* ns */
			uint32_t w_max, w_last_max; /* bytes */
			uint32_t w_est, acked_est;
		} cubic;
	};
};

/** What an algorithm is told; all times ns, all sizes bytes. */
struct sl_cc_ev {
	uint64_t now;
	uint32_t mss;
	uint32_t acked;  /* newly acknowledged (or SACKed in recovery) */
	uint32_t flight; /* outstanding before this ACK */
	/* The sender was stopped by cwnd, not by the application or the peer's window */
	bool cwnd_limited;
	bool in_recovery;
	uint64_t srtt;      /* 0: no sample */
	uint32_t init_cwnd; /* bytes; of init and idle only */
};

struct sl_cc_ops {
	char name[16];
	void (*init)(struct sl_cc *cc, const struct sl_cc_ev *ev);
	void (*ack)(struct sl_cc *cc, const struct sl_cc_ev *ev); /* outside recovery */
	void (*loss)(struct sl_cc *cc,
	    const struct sl_cc_ev
		*ev); /* entering fast recovery: sets ssthresh (cwnd is recovery's to move) */
	void (*recovered)(struct sl_cc *cc, const struct sl_cc_ev *ev); /* cwnd = ssthresh */
	void (*rto)(struct sl_cc *cc, const struct sl_cc_ev *ev,
	    bool first); /* RFC 5681 3.1: cwnd = 1 MSS; ssthresh only at the first */
	void (*idle)(struct sl_cc *cc,
	    const struct sl_cc_ev *ev); /* restart after idle > RTO (RFC 5681 4.1) */
	void (*undo)(struct sl_cc *cc, const struct sl_cc_ev *ev); /* the reduction was spurious */
};

extern const struct sl_cc_ops sl_cc_newreno, sl_cc_cubic;
/** By number of the tunable tcp.cc, or by name; NULL when there is none. */
const struct sl_cc_ops *sl_cc_by_index(unsigned int i);
const struct sl_cc_ops *sl_cc_by_name(const char *name);

#endif
