/* SPDX-License-Identifier: BSD-3-Clause */
/* What any frame that the stack sends must hold, whatever was done to it. */
#ifndef TEST_FUZZ_SENT_H
#define TEST_FUZZ_SENT_H

#include <rte_mbuf.h>
#include <stdbool.h>

/** A TCP segment on the wire, in host order. */
struct sent {
	bool v6;
	uint8_t flags;
	uint16_t sport, dport, wnd, urp;
	uint32_t seq, ack, len;
	int wscale; /* -1: none */
	bool ts;
	uint32_t tsval;
};

/** Checks a sent frame of at most 1514 octets: lengths, checksums, flags, options. True and *s when
 * it is TCP over IP without extension headers. */
bool fuzz_sent(const struct rte_mbuf *m, struct sent *s);

#endif
