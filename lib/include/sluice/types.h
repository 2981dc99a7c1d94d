/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Types that every public header shares.
 *
 * Conventions of the whole API:
 *  - Functions return 0 (or a count) on success and -errno on failure. Nothing prints, exits or
 * aborts on input.
 *  - Every struct that the caller fills begins with `size`, set to sizeof(the struct): so it can
 * grow later.
 *  - "any thread" in a docstring means any pthread; "on the squeue" means inside an upcall, hook or
 * operation of the connection's squeue, or on the thread that owns (polls) the squeue.
 *  - Times are u64 nanoseconds of the clock that is handed to sluice_squeue_poll(); durations
 * likewise.
 */
#ifndef SLUICE_TYPES_H
#define SLUICE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_VERSION "0.1.0"
#define SLUICE_API __attribute__((visibility("default")))

/** Version of the library that is linked, as opposed to SLUICE_VERSION of the header. Any thread.
 */
SLUICE_API const char *sluice_version(void);

struct rte_mbuf;
struct rte_mempool;
struct sluice_stack;
struct sluice_squeue;
struct sluice_port;

/**
 * A connection (or listener), named by value: valid from any thread, survives the object, never
 * reused within 2^32 generations of its slot. Layout (private): birth squeue 8 bits, slot index 24
 * bits, generation 32 bits. 0 names nothing. Use of a stale handle returns -EBADF.
 */
typedef uint64_t sluice_conn_t;
#define SLUICE_CONN_NONE ((sluice_conn_t)0)

/** An address of either family; IPv4 is kept v4-mapped (::ffff:a.b.c.d), network byte order. */
struct sluice_addr {
	union {
		uint8_t b[16];
		uint32_t w[4];
		uint64_t q[2];
	};
};

/**
 * Connection states of RFC 9293 section 3.3.2, ordered so that < and > mean "before" and "beyond",
 * as in the seed system; IDLE and BOUND come before the RFC's states.
 */
enum sluice_state {
	SLUICE_CLOSED,
	SLUICE_IDLE,
	SLUICE_BOUND,
	SLUICE_LISTEN,
	SLUICE_SYN_SENT,
	SLUICE_SYN_RCVD,
	SLUICE_ESTABLISHED,
	SLUICE_CLOSE_WAIT,
	SLUICE_FIN_WAIT_1,
	SLUICE_CLOSING,
	SLUICE_LAST_ACK,
	SLUICE_FIN_WAIT_2,
	SLUICE_TIME_WAIT,
	SLUICE_NSTATES
};

/** Name of a state ("ESTABLISHED"); "?" beyond the enum. Any thread. */
SLUICE_API const char *sluice_state_name(enum sluice_state s);

#ifdef __cplusplus
}
#endif
#endif
