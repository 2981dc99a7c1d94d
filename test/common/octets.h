/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers in network order and Internet checksums, as tests read and make packets with: byte by
 * byte, so that nothing is shared with what is tested. */
#ifndef TEST_OCTETS_H
#define TEST_OCTETS_H

#include <stdint.h>

static inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static inline void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16));
	put16(p + 2, (uint16_t)v);
}

/** RFC 1071: acc and n more bytes; acc may hold the sum of an even number of bytes before. */
static inline uint32_t sum16(const uint8_t *p, uint32_t n, uint32_t acc)
{
	for (uint32_t i = 0; i + 1 < n; i += 2)
		acc += get16(p + i);
	return n & 1 ? acc + ((uint32_t)p[n - 1] << 8) : acc;
}

/** What goes into the field; 0 when what was summed holds a right one. */
static inline uint16_t sum16_end(uint32_t acc)
{
	while (acc >> 16)
		acc = (acc & 0xffff) + (acc >> 16);
	return (uint16_t)~acc;
}

#endif
