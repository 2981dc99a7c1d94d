/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SipHash after the paper of Aumasson and Bernstein (2012): four words of state, c rounds for each
 * 8 bytes of input, d rounds at the end. The body stands in the header; c and d are constants here.
 */
#include <base/siphash.h>

uint64_t sl_siphash13(const struct sl_sipkey *key, const void *data, size_t len)
{
	return sl_siphash_inline(key, data, len, 1, 3);
}

uint64_t sl_siphash24(const struct sl_sipkey *key, const void *data, size_t len)
{
	return sl_siphash_inline(key, data, len, 2, 4);
}
