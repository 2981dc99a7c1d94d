/* SPDX-License-Identifier: BSD-3-Clause */
/* What names a connection: VRF, addresses (IPv4 v4-mapped) and ports. */
#ifndef SL_BASE_KEY_H
#define SL_BASE_KEY_H

#include <arpa/inet.h>
#include <stdbool.h>

#include <sluice/types.h>

/* ---- addresses ---- */
static inline bool sl_addr_is4(const struct sluice_addr *a)
{
	return a->q[0] == 0 && a->w[2] == htonl(0xffff);
}
static inline struct sluice_addr sl_addr4(uint32_t be)
{
	struct sluice_addr a = {.w = {0, 0, htonl(0xffff), be}};

	return a;
}
static inline bool sl_addr_eq(const struct sluice_addr *a, const struct sluice_addr *b)
{
	return a->q[0] == b->q[0] && a->q[1] == b->q[1];
}
/** Unspecified of either family: ::, ::ffff:0.0.0.0. */
static inline bool sl_addr_any(const struct sluice_addr *a)
{
	return a->q[0] == 0 && (a->q[1] == 0 || (a->w[2] == htonl(0xffff) && a->w[3] == 0));
}

/** Everything network byte order but vrf. 40 bytes, no padding, compared and hashed as memory. */
struct sl_key {
	struct sluice_addr laddr, raddr;
	uint16_t lport, rport;
	uint32_t vrf;
};
_Static_assert(sizeof(struct sl_key) == 40, "hashed as memory: no padding");

#endif
