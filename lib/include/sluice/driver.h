/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver interface: how packets come and go. Nothing above knows which driver is below.
 *
 * A port has up to SLUICE_PORT_QUEUES queue pairs; queue q belongs to one squeue, only its owner
 * calls rx/tx on it. Calls never block. mbufs that rx gives belong to the stack; mbufs that tx
 * takes belong to the driver.
 */
#ifndef SLUICE_DRIVER_H
#define SLUICE_DRIVER_H

#include <sluice/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_PORT_QUEUES 64

/** What a port can do by itself; the stack does the rest in software. */
enum sluice_port_caps {
	SLUICE_CAP_TX_IP4_CKSUM =
	    1u << 0, /* fills the IPv4 header checksum (RTE_MBUF_F_TX_IP_CKSUM) */
	SLUICE_CAP_TX_L4_CKSUM =
	    1u << 1, /* fills TCP checksums from the pseudo-header's (RTE_MBUF_F_TX_TCP_CKSUM) */
	/* Segments up to tso_max bytes (RTE_MBUF_F_TX_TCP_SEG, l2/l3/l4_len, tso_segsz) */
	SLUICE_CAP_TX_TSO = 1u << 2,
	SLUICE_CAP_TX_MULTISEG = 1u << 3, /* sends chains */
	SLUICE_CAP_TX_INDIRECT =
	    1u << 4, /* sends indirect and external-buffer mbufs (AF_XDP does not) */
	SLUICE_CAP_RX_CKSUM =
	    1u << 5, /* marks verified checksums RTE_MBUF_F_RX_{IP,L4}_CKSUM_{GOOD,BAD} */
	SLUICE_CAP_RX_LRO = 1u << 6,  /* may hand up coalesced segments larger than the MTU */
	SLUICE_CAP_L3 = 1u << 7,      /* frames are raw IP packets without an Ethernet header */
	SLUICE_CAP_TX_VLAN = 1u << 8, /* inserts the outer tag (RTE_MBUF_F_TX_VLAN) */
	/* Never corrupts (wire without --checksum on): checksums need not be made or checked */
	SLUICE_CAP_PERFECT = 1u << 9,
};

struct sluice_port_info {
	size_t size;
	uint32_t caps;         /* enum sluice_port_caps */
	uint16_t mtu;          /* largest IP packet, bytes */
	uint16_t nqueues;      /* queue pairs */
	uint32_t tso_max;      /* largest payload of one TSO packet, bytes; 0 without TSO */
	uint16_t tso_max_segs; /* most mbufs in a chain handed to tx; 0: no limit */
	uint8_t mac[6];        /* zero on L3 ports */
	bool link_up;
	int socket; /* NUMA node, -1 unknown */
};

/** Counters of a port, summed over queues by the driver. */
struct sluice_port_stats {
	size_t size;
	uint64_t rx_pkts, rx_bytes, tx_pkts, tx_bytes;
	uint64_t rx_missed; /* dropped by device or driver: queue full */
	uint64_t rx_nomem;  /* dropped: pool empty */
	uint64_t rx_errors, tx_errors;
};

enum sluice_port_event {
	SLUICE_PORT_LINK_UP,
	SLUICE_PORT_LINK_DOWN,
	SLUICE_PORT_RESET,
	SLUICE_PORT_REMOVED
};

/** A driver: a table of functions that gets its own context. */
struct sluice_driver_ops {
	size_t size;
	const char *name;
	/** Receive up to n packets of queue q. `now` is the squeue's time (a virtual wire delivers
	 * by it). */
	uint16_t (*rx)(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now);
	/** Send up to n; returns how many were taken, from the front. The rest stays the caller's.
	 */
	uint16_t (*tx)(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now);
	/** Fill *info. Called when the port is added and after link or reset events. */
	int (*info)(void *ctx, struct sluice_port_info *info);
	void (*stats)(void *ctx, struct sluice_port_stats *stats);
	/** Earliest time at which rx of queue q will give something, UINT64_MAX for none or
	 * unknown. Optional. */
	uint64_t (*next)(void *ctx, uint16_t q);
	/**
	 * Sleeping until a packet comes. arm: from now on a packet that comes for queue q makes one of
	 * fds[] readable, until disarm; returns their number, at most max, or -errno when the port
	 * cannot tell. What came before does not count, so the owner polls once more before it sleeps;
	 * a descriptor may be readable with nothing there. Both optional: a sleeper then polls every so
	 * often (squeue.idle_sleep). Owner of the queue.
	 */
	int (*arm)(void *ctx, uint16_t q, int *fds, unsigned int max);
	void (*disarm)(void *ctx, uint16_t q);
	/** Idle housekeeping (rte_eth_tx_done_cleanup). Optional. */
	void (*idle)(void *ctx, uint16_t q);
	/**
	 * The queue at which a TCP/UDP packet with these fields (network byte order, v4-mapped)
	 * arrives, or -1 when the driver does not know: the same answer each time. Any squeue.
	 * Optional; absent on one-queue ports.
	 */
	int (*steer)(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
	    uint16_t sport, uint16_t dport);
	/**
	 * Deliver to these queues only (a bit each, at least one), until told otherwise, as far as the
	 * port can: packets may go on coming anywhere. `steer` answers as if all were in use; `arrives`
	 * with the queue where they come now. Control threads, one at a time; `arrives` any squeue. 0, or
	 * -errno: nothing has changed. Optional, both or none.
	 */
	int (*spread)(void *ctx, uint64_t queues);
	int (*arrives)(void *ctx, const struct sluice_addr *src, const struct sluice_addr *dst,
	    uint16_t sport, uint16_t dport);
	/** Poll for link, reset and removal; calls `event` for each. Called by squeue 0 now and
	 * then. Optional. */
	void (*events)(void *ctx, void (*event)(void *arg, enum sluice_port_event ev), void *arg);
	/**
	 * Set the port up anew: stop, reset, configure, start; queues, key and table as before. No rx or tx
	 * runs meanwhile, and the thread may be any. 0 or -errno: the port is down, and asked for again.
	 * Optional: a port without it keeps the state it is in. See sluice_ports_serve().
	 */
	int (*reset)(void *ctx);
	/** Release everything. Queued packets are freed. */
	void (*destroy)(void *ctx);
};

/** Make a port object of a driver; it is handed to sluice_port_add() of a stack, which then owns
 * it. */
struct sluice_driver {
	const struct sluice_driver_ops *ops;
	void *ctx;
};

/* ---- ethdev: a port of DPDK's ---- */

struct sluice_ethdev_params {
	size_t size;
	uint16_t port_id;
	/* The port is configured and started; else it is set up here and closed by destroy */
	bool adopt;
	uint16_t nqueues;            /* queue pairs to set up (or that an adopted port has) */
	uint16_t rxd, txd;           /* descriptors; 0: 1024 */
	uint16_t mtu;                /* 0: as the port has it */
	bool l3;                     /* frames have no Ethernet header */
	bool no_offload;             /* use none of the port's offloads */
	bool lro;                    /* ask for LRO */
	bool rx_intr;                /* ask for receive interrupts: lcores will sleep */
	struct rte_mempool *rx_pool; /* set-up only */
	const uint8_t *rss_key;      /* 40 bytes; NULL: random (set-up only) */
};

/**
 * A pool of n mbufs of `room` bytes (headroom included). As rte_pktmbuf_pool_create, but last in, first
 * out (the mempool driver "stack", where the platform has no pools of its own), and such that
 * buffers lie without gaps also when pages are small (--no-huge): net_af_xdp hands the pool to
 * the kernel as one array of buffers, and computes its size so. NULL with rte_errno. Control
 * thread.
 */
SLUICE_API struct rte_mempool *sluice_ethdev_pool(
    const char *name, unsigned int n, unsigned int cache, uint16_t room, int socket);

/** Wrap or set up a DPDK port. -EINVAL, -ENODEV, or what the port's set-up said. Control thread. */
SLUICE_API int sluice_ethdev_create(
    const struct sluice_ethdev_params *p, struct sluice_driver *out);

/* ---- wire: a perfect link in memory ---- */

struct sluice_wire_params {
	size_t size;
	uint16_t nqueues[2]; /* queue pairs of each end */
	uint32_t depth;      /* packets per queue; 0: 1024 */
	uint64_t latency;    /* ns of the squeues' clock; 0: at the next poll */
	uint64_t rate;       /* bits per second, 0: none (virtual serialisation delay, per queue) */
	uint16_t mtu;        /* 0: 1500 */
	/* SLUICE_CAP_* both ends show, beside MULTISEG|INDIRECT; PERFECT skips checksums */
	uint32_t caps;
	uint32_t tso_max; /* with CAP_TX_TSO: the wire carries such packets whole (as LRO would) */
	/*
	 * Copy each packet into rx_pool of the receiving end (two stacks with memory of their own)
	 */
	bool copy;
	struct rte_mempool *pool[2]; /* with copy: pool of each end */
	bool threads;                /* the ends are polled by different threads (SPSC rings) */
	uint8_t mac[2][6];           /* zero: made up */
};

/** Both ends of a wire. Destroying one end leaves the other, whose packets then go nowhere
 * (counted). */
SLUICE_API int sluice_wire_create(const struct sluice_wire_params *p, struct sluice_driver out[2]);

/* ---- impair: trouble over any driver, seeded ---- */

/** What becomes of one packet. */
struct sluice_impair_fate {
	bool lose;
	bool dup;       /* a second copy follows, with a fate of its own */
	uint64_t delay; /* ns until it leaves; never before the one ahead of it */
	uint64_t hold;  /* ns that it is held back besides, and overtaken; 0: it keeps its place */
	int64_t flip;   /* bit to flip, counted from the frame's first; -1: none */
	uint32_t cut;   /* bytes that stay; 0: all */
};

struct sluice_impair_params {
	size_t size;
	uint64_t seed;
	/* Probabilities in parts per million, on the transmit side of the wrapped port. */
	uint32_t loss_ppm, dup_ppm, reorder_ppm, corrupt_ppm, truncate_ppm;
	/* Burst loss: all packets of the bad state are lost */
	uint32_t gilbert_good_bad_ppm, gilbert_bad_good_ppm;
	/* ns; every packet, and uniform 0..jitter more (keeps order unless reordered) */
	uint64_t delay, jitter;
	uint64_t reorder_delay; /* ns that a reordered packet is held back; 0: 1 ms */
	uint32_t queue;         /* packets held at most; 0: 4096; beyond it tail drop */
	uint32_t drop_nth;      /* drop exactly the n-th packet, once; 0: none */
	uint64_t blackout_start, blackout_len; /* drop all in this span of time */
	struct rte_mempool *pool; /* copies of packets that are corrupted, truncated or doubled */
	/**
	 * Chosen segments: sees the fate of each packet as chance (or drop_nth, or the blackout)
	 * decided it, and may change it. `copy`: the second of two, whose lose and dup do not
	 * count. On the thread that polls; NULL: none.
	 */
	void (*fate)(void *arg, uint16_t q, const struct rte_mbuf *m, uint64_t now, bool copy,
	    struct sluice_impair_fate *f);
	void *fate_arg;
};

struct sluice_impair_stats {
	size_t size;
	uint64_t packets, lost, duplicated, reordered, corrupted, truncated, delayed, queue_drops,
	    nomem;
};

/**
 * Wrap a driver (whose ownership passes to the wrapper). Impairs what is transmitted: each
 * direction of a link is wrapped at its sender. Corruption flips one bit of one frame, beyond the
 * Ethernet addresses, in a private copy; ARP and neighbour discovery are exempt from corruption and
 * truncation. The wrapper removes CAP_PERFECT and, since a corrupted frame must be caught, the
 * transmit checksum offloads of a wire.
 */
SLUICE_API int sluice_impair_create(
    const struct sluice_impair_params *p, struct sluice_driver lower, struct sluice_driver *out);
/** Change the parameters of a wrapper between two passes (seed and pool are kept). On the thread
 * that polls it. */
SLUICE_API int sluice_impair_set(struct sluice_driver d, const struct sluice_impair_params *p);
SLUICE_API void sluice_impair_stats(struct sluice_driver d, struct sluice_impair_stats *out);

/* ---- kernel: the kernel beside us on one port ---- */

#define SLUICE_KERNEL_RULES 256

/**
 * Whose are packets to `addr`/`plen` (v4-mapped; plen counts from the top: 96 + n for IPv4, 0 all
 * addresses of both families), of this protocol (0 any; ICMP means ICMPv6 too), to these ports (host
 * order; port_last 0: any; TCP and UDP only)?
 */
struct sluice_kernel_rule {
	bool to_kernel; /* else the stack's */
	uint8_t proto;
	uint8_t plen;
	struct sluice_addr addr;
	uint16_t port_first, port_last;
};

struct sluice_kernel_params {
	size_t size;
	struct sluice_driver lower; /* the port; with an Ethernet header */
	/*
	 * Whose other end is the kernel's: as many queues as the port at least, the same hardware address
	 */
	struct sluice_driver except;
	const struct sluice_kernel_rule *rules; /* copied; the first that fits decides, */
	unsigned int nrules;                    /* what fits none is the kernel's */
};

struct sluice_kernel_stats {
	size_t size;
	uint64_t to_stack, to_kernel, from_kernel; /* packets; ARP and ND count for both */
	uint64_t to_kernel_drops;                  /* its device was full, or no buffer */
	uint64_t from_kernel_waits; /* times the port was full for the kernel's packets */
};

/**
 * Divide a port with the kernel. Both drivers become the wrapper's. ARP and neighbour discovery go to
 * both, ICMP errors to whoever sent what they quote, all that is not IP to the kernel; the rest by
 * the rules. -EINVAL (also: too few queues, a raw IP port), -ENOMEM; then they are the caller's still.
 */
SLUICE_API int sluice_kernel_create(
    const struct sluice_kernel_params *p, struct sluice_driver *out);
/** Other rules from the next burst on. Control threads. -EINVAL (not such a wrapper, too many),
 * -ENOMEM. */
SLUICE_API int sluice_kernel_rules(
    struct sluice_driver d, const struct sluice_kernel_rule *rules, unsigned int n);
/** "stack|kernel any|tcp|udp|icmp|NUMBER [ADDRESS[/LEN]] [PORT[-PORT]]". -EINVAL. Any thread. */
SLUICE_API int sluice_kernel_rule_parse(const char *text, struct sluice_kernel_rule *out);
/** Any thread. -EINVAL. */
SLUICE_API int sluice_kernel_stats(struct sluice_driver d, struct sluice_kernel_stats *out);

#ifdef __cplusplus
}
#endif
#endif
