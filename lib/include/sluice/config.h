/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runtime configuration: from any control thread, in transactions that apply wholly or not at all.
 * Changes are checked when added, built into a new snapshot at commit, and reach each squeue as an
 * entry between two passes; commit returns when all squeues that are polled have installed it (or
 * at once for those that nobody owns).
 */
#ifndef SLUICE_CONFIG_H
#define SLUICE_CONFIG_H

#include <sluice/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sluice_txn;

/** Begin a transaction over the present configuration. One at a time per stack: -EBUSY. Not from a
 * squeue: -EXDEV. */
SLUICE_API int sluice_txn_begin(struct sluice_stack *st, struct sluice_txn **t);
/** Apply all. On failure nothing has changed, *why (if not NULL) points to text that lives until
 * the next call. */
SLUICE_API int sluice_txn_commit(struct sluice_txn *t, const char **why);
SLUICE_API void sluice_txn_abort(struct sluice_txn *t);

#define SLUICE_VLAN_NONE 0xffffu

struct sluice_if_params {
	size_t size;
	const char *name;  /* unique in the stack, up to 15 characters */
	unsigned int port; /* of sluice_port_add; ignored for virtual ones */
	uint16_t vlan[2];  /* SLUICE_VLAN_NONE, or outer and inner tag */
	uint32_t vrf;      /* must exist (0 always does) */
	uint16_t mtu;      /* 0: the port's */
	bool virt;         /* no port: carries addresses only (loopback, VIPs) */
};

/** Errors of all: -EINVAL, -EEXIST, -ENOENT, -ENOSPC, -ENOMEM. Removing an object that others use:
 * -EBUSY. */
SLUICE_API int sluice_vrf_add(struct sluice_txn *t, uint32_t vrf);
SLUICE_API int sluice_vrf_del(struct sluice_txn *t, uint32_t vrf);
SLUICE_API int sluice_if_add(struct sluice_txn *t, const struct sluice_if_params *p);
/** Number of an interface, 1 or more: what sin6_scope_id means. Stable while the interface lives.
 * -ENOENT; -EBUSY while a transaction is open. Control thread. */
SLUICE_API int sluice_if_index(struct sluice_stack *st, const char *name);
SLUICE_API int sluice_if_del(struct sluice_txn *t, const char *name);
/**
 * Address of an interface: "10.0.0.1/24", "2001:db8::1/64". on_prefix: every address of the prefix
 * is local (any-IP). IPv6 interfaces have their link-local address by themselves (EUI-64).
 */
SLUICE_API int sluice_addr_add(
    struct sluice_txn *t, const char *ifname, const char *addr, bool on_prefix);
SLUICE_API int sluice_addr_del(struct sluice_txn *t, const char *ifname, const char *addr);
/** prefix "0.0.0.0/0" or "::/0" for default; via NULL: on link of ifname; ifname NULL: found from
 * via. */
SLUICE_API int sluice_route_add(
    struct sluice_txn *t, uint32_t vrf, const char *prefix, const char *via, const char *ifname);
SLUICE_API int sluice_route_del(struct sluice_txn *t, uint32_t vrf, const char *prefix);
/** Permanent neighbour. */
SLUICE_API int sluice_neigh_add(
    struct sluice_txn *t, const char *ifname, const char *addr, const uint8_t mac[6]);
SLUICE_API int sluice_neigh_del(struct sluice_txn *t, const char *ifname, const char *addr);
SLUICE_API int sluice_tunable_set(struct sluice_txn *t, const char *name, uint64_t value);
/** As text, with suffixes; see sluice_tunable_parse. */
SLUICE_API int sluice_tunable_set_text(struct sluice_txn *t, const char *name, const char *value);
/** Present value. Any thread. */
SLUICE_API int sluice_tunable_get(const struct sluice_stack *st, const char *name, uint64_t *value);

/** State of an address on an interface. */
enum sluice_addr_state {
	SLUICE_ADDR_TENTATIVE,
	SLUICE_ADDR_READY,
	SLUICE_ADDR_DUPLICATE
};
/** Synchronous; -ENOENT. */
SLUICE_API int sluice_addr_state(
    struct sluice_stack *st, const char *ifname, const char *addr, enum sluice_addr_state *state);

/** How a port spreads what it receives (doc/steering.md). */
enum sluice_steering_kind {
	SLUICE_STEERING_ONE,    /* one squeue: there is nothing to spread */
	SLUICE_STEERING_KNOWN,  /* the port says at which of its queues the tuple arrives */
	SLUICE_STEERING_UNKNOWN /* too few queues, or the port cannot say: by the stack's own hash */
};
/** A TCP tuple as the stack sees it from inside: local is ours. Ports in host order. */
struct sluice_tuple {
	size_t size;
	const char *laddr, *raddr; /* as text, of one family */
	uint16_t lport, rport;
	uint32_t vrf;
};
struct sluice_steering {
	size_t size;
	enum sluice_steering_kind kind;
	int queue;           /* the port's queue at which packets should arrive, -1: unknown */
	unsigned int squeue; /* where packets of an unknown connection are handed to */
	/*
	 * Where the connection (half-open, in TIME_WAIT) lives; -1: there is none
	 */
	int owner;
};
/**
 * `show steering`: where packets of a tuple go that arrive at this port. Asks each squeue, one after
 * the other. -EINVAL, -ENOENT (no such port), or as sluice_synch_call. Control thread.
 */
SLUICE_API int sluice_steering(struct sluice_stack *st, unsigned int port,
    const struct sluice_tuple *t, struct sluice_steering *out);

/**
 * Load an ini file (rte_cfgfile syntax; doc/configuration.md) and make the stack's configuration
 * equal to it, in one transaction: what the file does not have any more is removed, what is the
 * same is left alone. On error nothing changes and err holds "file:line: reason". Listeners of the
 * file are handed to `listener` (may be NULL) as (name, address or NULL, port, backlog, vrf).
 */
struct sluice_ini_listener {
	const char *name, *addr;
	uint16_t port;
	int backlog;
	uint32_t vrf;
};
SLUICE_API int sluice_config_load(struct sluice_stack *st, const char *path, char *err,
    size_t errlen, int (*listener)(void *arg, const struct sluice_ini_listener *l, bool add),
    void *arg);

/**
 * Mirror the addresses and routes (main table) of a kernel's interface, of the caller's network namespace,
 * onto an interface of the stack: now, and with each sluice_mirror_run, which is due when the
 * descriptor is readable. Link-local and not yet usable addresses, and what the user has configured
 * already, are left out. -EINVAL, -ENODEV (no such interface of the kernel's), -ENOENT (of the stack's),
 * -EBUSY (a transaction is open: try again), -ENOSPC (over 4096), or what netlink or the commit said.
 * Control thread, one at a time.
 */
struct sluice_mirror;
SLUICE_API int sluice_mirror_open(struct sluice_stack *st, const char *kernel_if,
    const char *ifname, uint32_t vrf, struct sluice_mirror **out);
SLUICE_API int sluice_mirror_fd(const struct sluice_mirror *m);
/** Number of changes made, 0: none; errors as above: nothing has changed then, and the next run tries
 * again. */
SLUICE_API int sluice_mirror_run(struct sluice_mirror *m);
/** What was mirrored stays. NULL: nothing happens. */
SLUICE_API void sluice_mirror_close(struct sluice_mirror *m);

#ifdef __cplusplus
}
#endif
#endif
