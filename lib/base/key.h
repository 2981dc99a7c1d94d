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

/*
 * Link-local IPv6 addresses mean something on one link only. Inside the stack they carry their
 * link, interface index + 1, in bytes 2 and 3, which are zero on the wire (RFC 4291 2.5.6): so keys,
 * bindings and sources of different links differ by themselves.
 */
static inline bool sl_addr_linklocal6(const struct sluice_addr *a)
{
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}
/** Interface index + 1, 0: none. */
static inline unsigned int sl_addr_zone(const struct sluice_addr *a)
{
	return sl_addr_linklocal6(a) ? (unsigned int)a->b[2] << 8 | a->b[3] : 0;
}
/** The address with its link, when it is link-local. zone: interface index + 1; 0 takes it off. */
static inline struct sluice_addr sl_addr_zoned(struct sluice_addr a, unsigned int zone)
{
	if (sl_addr_linklocal6(&a)) {
		a.b[2] = (uint8_t)(zone >> 8);
		a.b[3] = (uint8_t)zone;
	}
	return a;
}

/** Everything network byte order but vrf. 40 bytes, no padding, compared and hashed as memory. */
struct sl_key {
	struct sluice_addr laddr, raddr;
	uint16_t lport, rport;
	uint32_t vrf;
};
_Static_assert(sizeof(struct sl_key) == 40, "hashed as memory: no padding");

#endif
