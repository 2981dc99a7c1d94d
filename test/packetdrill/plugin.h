/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TEST_PACKETDRILL_PLUGIN_H
#define TEST_PACKETDRILL_PLUGIN_H

#include <sluice/sluice.h>

struct pd_port;
/** A one-queue port of raw IP; the stack it is added to owns it. NULL without memory. */
struct pd_port *pd_port_create(struct rte_mempool *pool, struct sluice_driver *d);
/** A packet for the stack. 0, -ENOBUFS. Any thread. */
int pd_port_in(struct pd_port *p, const void *b, size_t n);
/** The next packet of the stack, or 0 when none comes for so long. Any thread. */
size_t pd_port_out(struct pd_port *p, void *b, size_t room, unsigned int wait_ms);

#endif
