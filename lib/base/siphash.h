/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SipHash-c-d of Aumasson and Bernstein: a keyed hash that an attacker without the key cannot
 * collide. 1-3 for tables (flood-proof), 2-4 for what an attacker may observe (ISN, ports,
 * timestamp offsets).
 */
#ifndef SL_BASE_SIPHASH_H
#define SL_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct sl_sipkey {
	uint64_t k[2];
};

uint64_t sl_siphash13(const struct sl_sipkey *key, const void *data, size_t len);
uint64_t sl_siphash24(const struct sl_sipkey *key, const void *data, size_t len);

#endif
