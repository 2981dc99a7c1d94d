/* SPDX-License-Identifier: BSD-3-Clause */
/* The downcalls' half that runs on the squeue: what the stack hooks in. */
#ifndef SL_SOCK_INT_H
#define SL_SOCK_INT_H

#include <tcp/tcp_int.h>

/** The `bell` hook: data, shutdown, clr_flowctrl, close, abort, in this order. */
void sl_sock_bell(struct sluice_squeue *sq, uint32_t idx, uint32_t bits);
/** Library operations of connections (SL_OP_CREATE ... SL_OP_SOURCES). */
int64_t sl_sock_op(struct sluice_squeue *sq, enum sl_op op, sluice_conn_t c, const struct sluice_args *args);
/** zcopy_notify for external sends that nobody references any more; returns how many. */
unsigned int sl_sock_zcopy_run(struct sluice_squeue *sq);
/** External sends still referenced (destroy waits for none: it reports). */
uint64_t sl_sock_zcopy_pending(const struct sluice_squeue *sq);

#endif
