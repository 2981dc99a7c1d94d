/* SPDX-License-Identifier: BSD-3-Clause */
/* What names a connection: VRF, addresses (IPv4 v4-mapped) and ports. */
#ifndef SL_BASE_KEY_H
#define SL_BASE_KEY_H

#include <sluice/types.h>

/** Everything network byte order but vrf. 40 bytes, no padding, compared and hashed as memory. */
struct sl_key {
	struct sluice_addr laddr, raddr;
	uint16_t lport, rport;
	uint32_t vrf;
};
_Static_assert(sizeof(struct sl_key) == 40, "hashed as memory: no padding");

#endif
