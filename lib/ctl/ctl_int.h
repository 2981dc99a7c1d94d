/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Control: making and destroying stacks, and their runtime configuration.
 *
 * The master configuration is a `struct sl_model`: what users asked for. A transaction works on a
 * private copy of it; commit derives an immutable snapshot (struct sl_cfg: connected routes and
 * link-local addresses added, routes sorted), makes one copy per squeue, and only then, when
 * nothing can fail any more, posts them.
 */
#ifndef SL_CTL_INT_H
#define SL_CTL_INT_H

#include <ip/ip_int.h>

struct sl_model_addr {
	struct sluice_addr addr;
	uint8_t plen;
	bool on_prefix;
	uint16_t ifidx;
};

/** Growable arrays of what was configured, not of what follows from it. */
struct sl_model {
	struct sl_cfg_if ifs[SL_IP_MAX_IFS]; /* mtu 0: the port's */
	struct sl_model_addr *addrs;
	struct sl_cfg_route *routes; /* ifidx SL_IF_AUTO: found from via */
	struct sl_cfg_neigh *neighs;
	uint32_t *vrfs;
	uint32_t naddrs, nroutes, nneighs, nvrfs;
	struct sluice_tunables tun;
};
#define SL_IF_AUTO 0xffff
#define SL_MODEL_MAX 65536 /* rows of each array */

struct sl_ini_row {
	char name[64];
	char addr[64];
	uint16_t port;
	int backlog;
	uint32_t vrf;
};

struct sl_ctl {
	struct sl_model model;
	uint32_t generation;
	_Atomic bool busy; /* a transaction is open */
	_Atomic uint32_t installed[SL_MAX_SQUEUES];
	char why[192];
	struct sl_ini_row *listeners; /* of the ini file loaded last */
	uint32_t nlisteners;
};

struct sluice_txn {
	struct sluice_stack *st;
	struct sl_model model;
};

/* model.c */
void sl_model_init(struct sl_model *m);
int sl_model_copy(struct sl_model *dst, const struct sl_model *src);
void sl_model_fini(struct sl_model *m);
/** Index of the interface, -ENOENT. */
int sl_model_if(const struct sl_model *m, const char *name);
/** "a.b.c.d/n", "x::y/n" (a bare address has the longest prefix). plen is that of the mapped form.
 * 0, -EINVAL. */
int sl_parse_prefix(const char *text, struct sluice_addr *a, uint8_t *plen);
int sl_parse_addr(const char *text, struct sluice_addr *a);

/* snapshot.c */
/** Derive the snapshot; *why says what contradicts what. Free with sl_snapshot_free. */
int sl_snapshot_build(struct sluice_stack *st, const struct sl_model *m, struct sl_cfg *out,
    char *why, size_t whylen);
void sl_snapshot_free(struct sl_cfg *cfg);
/** Post to all squeues and wait until each has it. Nothing changes unless 0. */
int sl_snapshot_install(
    struct sluice_stack *st, const struct sl_model *m, char *why, size_t whylen);
/** The SL_OP_CONFIG operation. */
int64_t sl_snapshot_op(struct sluice_squeue *sq, struct sl_cfg *cfg);

/* txn.c */
int sl_ctl_create(struct sluice_stack *st);
void sl_ctl_destroy(struct sluice_stack *st);
static inline struct sl_ctl *sl_ctl_of(const struct sluice_stack *st)
{
	return st->ctl;
}
int sl_txn_open(struct sluice_stack *st, struct sluice_txn **t);

#endif
