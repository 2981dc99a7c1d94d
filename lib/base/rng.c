/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * xoshiro256** of Blackman and Vigna, its state filled by splitmix64. Not for secrets: those come
 * from the system, or from a keyed hash. A stream number moves the start of splitmix64 by a hashed
 * distance, so streams do not overlap.
 */
#include <base/rng.h>

static uint64_t splitmix(uint64_t *x)
{
	uint64_t z = (*x += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static inline uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

void sl_rng_seed(struct sl_rng *r, uint64_t seed, uint64_t stream)
{
	uint64_t x = seed;

	if (stream != 0) {
		uint64_t y = stream ^ 0xd1b54a32d192ed03ull;

		x ^= splitmix(&y);
	}
	for (int i = 0; i < 4; i++)
		r->s[i] = splitmix(&x);
	/* All zero is the one state that xoshiro never leaves; four outputs of a bijection cannot
	 * all be zero. */
}

uint64_t sl_rng_u64(struct sl_rng *r)
{
	uint64_t *s = r->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

uint64_t sl_rng_below(struct sl_rng *r, uint64_t n)
{
	/* The 2^64 mod n smallest values are drawn again: what remains is a whole number of n. */
	uint64_t x, reject = (0 - n) % n;

	do
		x = sl_rng_u64(r);
	while (x < reject);
	return x % n;
}

int sl_rng_ppm(struct sl_rng *r, uint32_t ppm)
{
	return sl_rng_below(r, 1000000) < ppm;
}
