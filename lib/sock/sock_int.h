/* SPDX-License-Identifier: BSD-3-Clause */
/* The downcalls' half that runs on the squeue: what the stack hooks in. */
#ifndef SL_SOCK_INT_H
#define SL_SOCK_INT_H

#include <tcp/tcp_int.h>

/** Internal flag of a send: the chain carries external memory. */
#define SL_MSG_ZC (1u << 7)

/* downcall.c */
/** The `data` and `bell` hooks: a chain that another thread sends; shutdown, clr_flowctrl, close,
 * abort. */
void sl_sock_data(struct sluice_squeue *sq, uint32_t name, struct rte_mbuf *m, uint32_t flags);
void sl_sock_bell(struct sluice_squeue *sq, uint32_t name, uint32_t bits);
/** Library operations of connections. */
int64_t sl_sock_op(
    struct sluice_squeue *sq, enum sl_op op, sluice_conn_t c, const struct sluice_args *args);

/* data.c */
int sl_sock_create(struct sluice_squeue *sq);
void sl_sock_destroy(struct sluice_squeue *sq);
/** zcopy_notify for external sends that nobody references any more; returns how many. */
unsigned int sl_sock_zcopy_run(struct sluice_squeue *sq);
bool sl_sock_zcopy_pending(const struct sluice_squeue *sq);
/** One chain into the send queue of a connection that may have ended meanwhile (then it is freed
 * and counted). */
void sl_sock_append(
    struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf *m, uint32_t flags);
/** After sends from elsewhere: tells txq_full. refused: one of them got -EAGAIN. */
void sl_sock_sent(struct sluice_squeue *sq, struct sl_conn *c, bool refused);

/* option.c */
int sl_sock_getopt(
    struct sluice_squeue *sq, struct sl_conn *c, int level, int name, void *val, socklen_t *len);
int sl_sock_setopt(struct sluice_squeue *sq, struct sl_conn *c, int level, int name,
    const void *val, socklen_t len);
/* report.c */
void sl_sock_tcp_info(
    const struct sluice_squeue *sq, const struct sl_conn *c, struct sluice_tcp_info *out);
/** Operations of this file: see there. */
int64_t sl_sock_abort_some(struct sluice_squeue *sq, const struct sluice_args *a);
int64_t sl_sock_ifs(struct sluice_squeue *sq, const struct sluice_args *a);

/** An interface, as ioctls report it. */
struct sl_if_report {
	char name[16];
	uint32_t addr4, mask4; /* network order; 0: none */
	uint16_t index, mtu;   /* index from 1 */
	uint8_t mac[6];
	bool l3, up; /* up: it has a port */
};
/** The interfaces with their first IPv4 address, into up to n rows of *out; returns how many there
 * are. -EXDEV as synchronous calls. */
int sl_sock_interfaces(struct sluice_stack *st, struct sl_if_report *out, unsigned int n);

/* stash.c */
/** A buffer of the data pool, for a thread that is not on a squeue: from the thread's own stash. */
struct rte_mbuf *sl_stash_alloc(struct sluice_stack *st);
/** The stack ends: all that threads have in stash goes back to the pool. */
void sl_stash_drop_all(struct sluice_stack *st);

/** The connection's own options, made when first needed; NULL without memory. */
struct sl_opt *sl_conn_opt(struct sl_conn *c);

#endif
