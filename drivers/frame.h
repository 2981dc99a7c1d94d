/* SPDX-License-Identifier: BSD-3-Clause */
/* The little that drivers must know of a frame's headers, which may lie across segments. */
#ifndef SL_DRIVERS_FRAME_H
#define SL_DRIVERS_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ether.h>
#include <rte_mbuf.h>

/*
 * EtherType and offset of the network header, VLAN tags passed; 0 for what is too short. `raw`: no
 * Ethernet header, the type follows from the IP version.
 */
static inline uint16_t sl_frame_l3(const struct rte_mbuf *m, bool raw, uint32_t *off)
{
	uint8_t b[4];
	const uint8_t *p;

	if (raw) {
		*off = 0;
		p = rte_pktmbuf_read(m, 0, 1, b);
		if (!p)
			return 0;
		return *p >> 4 == 4 ? RTE_ETHER_TYPE_IPV4
				    : (*p >> 4 == 6 ? RTE_ETHER_TYPE_IPV6 : 0);
	}
	*off = 2 * RTE_ETHER_ADDR_LEN;
	for (int tags = 0; tags < 3; tags++) {
		uint16_t type;

		p = rte_pktmbuf_read(m, *off, 2, b);
		if (!p)
			return 0;
		type = (uint16_t)(p[0] << 8 | p[1]);
		*off += 2;
		if (type != RTE_ETHER_TYPE_VLAN && type != RTE_ETHER_TYPE_QINQ)
			return type;
		*off += 2;
	}
	return 0;
}

#endif
