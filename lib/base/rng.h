/* SPDX-License-Identifier: BSD-3-Clause */
/* The stack's own random numbers (xoshiro256**, seeded): randomness is an input, so that a seed
 * replays. */
#ifndef SL_BASE_RNG_H
#define SL_BASE_RNG_H

#include <stdint.h>

struct sl_rng {
	uint64_t s[4];
};

/** Seed from one word through splitmix64; different `stream`s of one seed are independent. */
void sl_rng_seed(struct sl_rng *r, uint64_t seed, uint64_t stream);
uint64_t sl_rng_u64(struct sl_rng *r);
/** Uniform in [0, n), n > 0, without modulo bias. */
uint64_t sl_rng_below(struct sl_rng *r, uint64_t n);
/** True with probability ppm / 1,000,000. */
int sl_rng_ppm(struct sl_rng *r, uint32_t ppm);

#endif
