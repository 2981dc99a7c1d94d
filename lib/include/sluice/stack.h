/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stack: squeues, ports, addresses, connections, and nothing outside of it. Any number per
 * process; destroying one gives everything back and reports what its user still holds. The library
 * never starts the EAL, a thread or a signal handler, and never exits.
 */
#ifndef SLUICE_STACK_H
#define SLUICE_STACK_H

#include <sluice/driver.h>
#include <sluice/tunables.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sluice_stack_params {
	size_t size;
	const char *name;      /* [a-z0-9_-]{1,31}: labels logs, telemetry, pools */
	unsigned int nsqueues; /* 1..64 */
	/* Per squeue, 16..2^24-1; tables are sized by it, memory is taken as used */
	uint32_t max_connections;
	/*
	 * Headers and copied small payloads: >= 384 bytes of room; receive data never comes from it
	 */
	struct rte_mempool *hdr_pool;
	/* Data of calls that copy, packets copied out; NULL: hdr_pool */
	struct rte_mempool *data_pool;
	bool privileged; /* may bind below tcp.privileged_port */
	uint64_t seed;   /* seeds all randomness and secrets; 0: from getrandom(2) */
	const struct sluice_tunables *tunables; /* NULL: defaults */
	void (*log)(void *arg, int level,
	    const char *line); /* any thread; NULL: no log. level as syslog(3) */
	void *log_arg;
	/**
	 * Frames and packets that are not the stack's (another station's, unknown EtherType,
	 * protocol, VLAN or address): return true to take the mbuf, false to let it be counted and
	 * freed. On the squeue. `port` is that of sluice_port_add. The frame begins at its Ethernet
	 * header (raw IP on L3 ports). NULL: none.
	 */
	bool (*foreign)(void *arg, struct sluice_squeue *sq, unsigned int port, struct rte_mbuf *m);
	void *foreign_arg;
	/** Memory of slabs and tables; NULL: libc. size and align in bytes. */
	void *(*mem_alloc)(void *arg, size_t size, size_t align);
	void (*mem_free)(void *arg, void *p, size_t size);
	void *mem_arg;
};

/** What destroy found still in use (all returned to the system except mbufs that others hold). */
struct sluice_leaks {
	size_t size;
	/* Still open: they were aborted without a packet; their `closed` was called */
	uint64_t connections;
	uint64_t timers; /* application timers armed */
	uint64_t calls;  /* entries never run */
	/*
	 * Transmission records, half-open and TIME_WAIT entries that teardown could not account
	 * for: a bug
	 */
	uint64_t records;
	uint64_t sockets; /* descriptors still open */
};

/** -EINVAL (a field out of range; *why, when not NULL, says which), -ENOMEM. Control thread. */
SLUICE_API int sluice_stack_create(
    const struct sluice_stack_params *p, struct sluice_stack **out, const char **why);
/** All squeues released. Connections are closed locally, ports destroyed. leaks may be NULL. -EBUSY
 * while a squeue is polled. */
SLUICE_API int sluice_stack_destroy(struct sluice_stack *st, struct sluice_leaks *leaks);
/** Memory that a stack holds for its connections now, bytes. */
struct sluice_memory {
	size_t size;
	uint64_t slabs; /* of connections; places that are free in them included */
	uint64_t doors; /* of all slots that were ever used: a door outlives its connection */
	uint64_t
	    tables; /* connection tables: for max_connections, and half-open and TIME_WAIT entries
			    beside them */
};
/** Any thread; while squeues run, the parts may be of different moments. -EINVAL: m->size. */
SLUICE_API int sluice_stack_memory(const struct sluice_stack *st, struct sluice_memory *m);
SLUICE_API const char *sluice_stack_name(const struct sluice_stack *st);
SLUICE_API unsigned int sluice_stack_nsqueues(const struct sluice_stack *st);

/**
 * Add a port, which is the stack's from here on. Queue q is polled by squeue q % nsqueues. With fewer
 * queues than squeues packets are classified in software and forwarded. Returns the port's number,
 * -ENOSPC, -EINVAL, -EBUSY (running), -ENOMEM; after an error the driver is the caller's still.
 */
SLUICE_API int sluice_port_add(struct sluice_stack *st, struct sluice_driver d);
SLUICE_API int sluice_port_info(
    const struct sluice_stack *st, unsigned int port, struct sluice_port_info *info);
SLUICE_API int sluice_port_stats(
    const struct sluice_stack *st, unsigned int port, struct sluice_port_stats *stats);

/**
 * Set up anew the ports that have asked for it (SLUICE_PORT_RESET), or for which sluice_port_reset()
 * has. Squeues leave such a port, the port is reset, they come back; connections only see a link that
 * was silent. Goes on without waiting, so call it now and then (say ten times a second) while squeues
 * are polled. Returns the number of ports that were reset in this call, or -errno of one that would not
 * be: it stays silent and is tried again at the next call. Only the reset itself takes time. Any
 * thread.
 */
SLUICE_API int sluice_ports_serve(struct sluice_stack *st);
/** Have sluice_ports_serve() reset a port. -ENOENT, -ENOTSUP (its driver cannot). Any thread. */
SLUICE_API int sluice_port_reset(struct sluice_stack *st, unsigned int port);

/**
 * Push frames in instead of letting a driver pull: takes ownership of the n mbufs; those that are
 * not the stack's come back at the front of pkts, and their number is returned. On the squeue's
 * owner, outside a pass; the next poll runs what they cause.
 */
SLUICE_API unsigned int sluice_input(struct sluice_squeue *sq, unsigned int port,
    struct rte_mbuf **pkts, unsigned int n, uint64_t now);

#ifdef __cplusplus
}
#endif
#endif
