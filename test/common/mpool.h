/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An rte_mempool made by hand over libc: each mbuf is one malloc of its own ([mbuf | priv |
 * headroom | data]), freed by the put. It needs no EAL, and the address sanitizer sees every use
 * after free and every read past a buffer. Counts what is out, can fail the n-th allocation, can be
 * empty.
 */
#ifndef TEST_MPOOL_H
#define TEST_MPOOL_H

#include <rte_mbuf.h>
#include <stdbool.h>
#include <stdint.h>

/** A pool whose mbufs have data_room bytes (headroom included) and that gives out at most `limit`
 * (0: no limit). */
struct rte_mempool *tp_create(uint16_t data_room, uint32_t limit);
/** Frees the pool; returns how many mbufs were still out (they are leaked, and ASan tells where
 * they came from). */
uint32_t tp_destroy(struct rte_mempool *mp);
uint32_t tp_out(const struct rte_mempool *mp);
/** The n-th allocation from now fails (1 = the next); 0 cancels. */
void tp_fail_nth(struct rte_mempool *mp, uint32_t n);
void tp_set_limit(struct rte_mempool *mp, uint32_t limit);
/** An mbuf that holds exactly these bytes: no headroom unless asked, not one byte behind (reading
 * past is a report). */
struct rte_mbuf *tp_exact(
    struct rte_mempool *mp, const void *data, uint16_t len, uint16_t headroom);

#endif
