/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The Internet checksum of much: what does not fit the inline sum of ip_priv.h (RFC 1071).
 *
 * 16-bit words are summed two at a time by one multiply-add, which takes them as signed. With their
 * top bit turned they are: x - 2^15 for each word x; so 2^15 for each word is added at the end. A
 * 32-bit lane holds 2^15 such pairs: more than a megabyte.
 */
#include "ip_priv.h"

#include <immintrin.h>

#define PIECE 32u

/* For a processor that it does not know GCC loads 32 bytes in halves. */
#ifdef __clang__
#define WIDE target("avx2")
#else
#define WIDE target("avx2,tune=haswell")
#endif

/* Lanes summed, and the 2^15 of each word back in it. */
static inline uint64_t finish(__m128i lanes, uint32_t words)
{
	int32_t v[4];

	_mm_storeu_si128((__m128i *)(void *)v, lanes);
	return (uint64_t)((int64_t)v[0] + v[1] + v[2] + v[3] + ((int64_t)words << 15));
}

static uint64_t sum_sse2(const uint8_t *b, uint32_t pieces)
{
	const __m128i turn = _mm_set1_epi16((short)0x8000), one = _mm_set1_epi16(1);
	__m128i s0 = _mm_setzero_si128(), s1 = s0;

	for (uint32_t i = 0; i < pieces; i++, b += PIECE) {
		__m128i x = _mm_loadu_si128((const __m128i *)(const void *)b);
		__m128i y = _mm_loadu_si128((const __m128i *)(const void *)(b + 16));

		s0 = _mm_add_epi32(s0, _mm_madd_epi16(_mm_xor_si128(x, turn), one));
		s1 = _mm_add_epi32(s1, _mm_madd_epi16(_mm_xor_si128(y, turn), one));
	}
	return finish(_mm_add_epi32(s0, s1), pieces * (PIECE / 2));
}

static inline __attribute__((always_inline, WIDE)) __m256i pairs(const uint8_t *b)
{
	__m256i x = _mm256_loadu_si256((const __m256i *)(const void *)b);

	return _mm256_madd_epi16(
	    _mm256_xor_si256(x, _mm256_set1_epi16((short)0x8000)), _mm256_set1_epi16(1));
}

static __attribute__((WIDE)) uint64_t sum_avx2(const uint8_t *b, uint32_t pieces)
{
	__m256i s0 = _mm256_setzero_si256(), s1 = s0;
	uint32_t i = 0;

	for (; i + 4 <= pieces; i += 4, b += 4 * PIECE) {
		s0 = _mm256_add_epi32(s0, pairs(b));
		s1 = _mm256_add_epi32(s1, pairs(b + PIECE));
		s0 = _mm256_add_epi32(s0, pairs(b + 2 * PIECE));
		s1 = _mm256_add_epi32(s1, pairs(b + 3 * PIECE));
	}
	for (; i < pieces; i++, b += PIECE)
		s0 = _mm256_add_epi32(s0, pairs(b));
	s0 = _mm256_add_epi32(s0, s1);
	return finish(_mm_add_epi32(_mm256_castsi256_si128(s0), _mm256_extracti128_si256(s0, 1)),
	    pieces * (PIECE / 2));
}

/* At most 2^15 pieces: the caller's length is that of a packet. */
uint64_t ip_sum_long(const uint8_t *b, uint32_t len)
{
	uint64_t s =
	    __builtin_cpu_supports("avx2") ? sum_avx2(b, len / PIECE) : sum_sse2(b, len / PIECE);

	return ip_sum_add(s, ip_sum_short(b + (len & ~(PIECE - 1)), len & (PIECE - 1)));
}

uint32_t ip_pseudo(
    const struct sluice_addr *s, const struct sluice_addr *d, uint8_t proto, uint32_t len)
{
	if (sl_addr_is4(s))
		return ip_fold(ip_pseudo4(s->w[3], d->w[3], proto, len));
	if (SL_UNLIKELY(s->b[0] == 0xfe || d->b[0] == 0xfe)) { /* as they are on the wire */
		struct sluice_addr a[2] = {sl_addr_zoned(*s, 0), sl_addr_zoned(*d, 0)};

		return ip_fold(ip_sum_add(
		    ip_sum_short(a[0].b, sizeof(a)), (uint64_t)htons(proto) + htonl(len)));
	}
	return ip_fold(ip_sum_add(ip_sum_add(ip_sum_short(s->b, 16), ip_sum_short(d->b, 16)),
	    (uint64_t)htons(proto) + htonl(len)));
}

uint16_t ip_sum_mbuf(const struct rte_mbuf *m, uint32_t off, uint32_t len, uint32_t sum)
{
	uint64_t s = sum;
	bool odd = false;

	while (m != NULL && off >= m->data_len) {
		off -= m->data_len;
		m = m->next;
	}
	for (; m != NULL && len > 0; m = m->next) {
		uint32_t n = RTE_MIN(len, (uint32_t)m->data_len - off);
		uint64_t part = ip_sum(rte_pktmbuf_mtod_offset(m, const uint8_t *, off), n);

		/* RFC 1071 2 (B): a part that begins at an odd offset counts with its bytes
		 * swapped. */
		s = ip_sum_add(s, odd ? __builtin_bswap16(ip_fold(part)) : part);
		odd ^= n & 1;
		len -= n;
		off = 0;
	}
	return ip_fold(s);
}
