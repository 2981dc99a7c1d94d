/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the stack keeps in an mbuf that it owns. Fields of rte_mbuf that mean nothing while a packet
 * waits inside the stack carry the links of our queues: tx_offload (rewritten in every header that
 * is sent) holds a pointer, hash two words.
 */
#ifndef SL_BASE_PKT_H
#define SL_BASE_PKT_H

#include <rte_mbuf.h>

/** Next packet (first mbuf of the next chain) in a list of the stack. */
static inline struct rte_mbuf *sl_pkt_next(const struct rte_mbuf *m)
{
	return (struct rte_mbuf *)(uintptr_t)m->tx_offload;
}

static inline void sl_pkt_set_next(struct rte_mbuf *m, struct rte_mbuf *next)
{
	m->tx_offload = (uintptr_t)next;
}

/** Two words of the owner of the packet: entry list (generation, index and flags), reassembly (seq, flags). */
static inline uint32_t *sl_pkt_word(struct rte_mbuf *m)
{
	return &m->hash.fdir.lo; /* and hash.fdir.hi, reached as [1] */
}

#endif
