/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which backend? All three ways look at each backend of the pool once, so their cost is its number.
 *
 * Round robin: each backend earns its weight in each round, and the richest pays the round's sum.
 * So a backend of weight 5 beside one of weight 1 does not get five in a row. Least connections:
 * the fewest per weight. Hash: each backend draws a number from the client's address and its own
 * name, scaled by its weight, and the smallest wins ("rendezvous"). What one backend draws does not
 * depend on the others, so when one goes only its own clients move, and when one comes they move
 * only to it; that holds for a change of weight too.
 */
#include "proxy.h"

#include <math.h>
#include <string.h>

uint32_t balance_weight(const struct backend *b, uint64_t now)
{
	uint64_t w = b->cfg.weight * 256, ramp = b->pool != NULL ? b->pool->cfg.slow_start : 0;
	uint64_t since = SHARED_GET(b->share->up_since), age = now > since ? now - since : 0;

	if (w == 0 || since == 0 || age >= ramp)
		return (uint32_t)w;
	w = (uint64_t)((unsigned __int128)w * age / ramp);
	return w > 0 ? (uint32_t)w : 1;
}

static bool in_service(const struct backend *b)
{
	return SHARED_GET(b->share->up) && b->cfg.weight > 0 &&
	       (b->cfg.max_connections == 0 ||
		   SHARED_GET(b->share->active) < b->cfg.max_connections);
}

static bool usable(const struct backend *b, uint64_t now, uint64_t not_failed_since)
{
	return in_service(b) && b->failed_at < not_failed_since && now >= b->no_port_until;
}

bool balance_wants_port(const struct pool *pl, uint64_t now)
{
	for (unsigned int i = 0; i < pl->nbackends; i++)
		if (in_service(pl->backend[i]) && now < pl->backend[i]->no_port_until)
			return true;
	return false;
}

static struct backend *pick_roundrobin(struct pool *pl, uint64_t now, uint64_t not_failed_since)
{
	struct backend *best = NULL;
	int64_t sum = 0;

	for (unsigned int i = 0; i < pl->nbackends; i++) {
		struct backend *b = pl->backend[i];
		uint32_t w = balance_weight(b, now);

		if (!usable(b, now, not_failed_since))
			continue;
		b->credit += w;
		sum += w;
		if (best == NULL || b->credit > best->credit)
			best = b;
	}
	if (best != NULL)
		best->credit -= sum;
	return best;
}

static struct backend *pick_leastconn(struct pool *pl, uint64_t now, uint64_t not_failed_since)
{
	struct backend *best = NULL;
	uint64_t best_weight = 1, best_active = 0;
	unsigned int at = 0;

	for (unsigned int k = 0; k < pl->nbackends; k++) {
		unsigned int i = (pl->turn + k) % pl->nbackends;
		struct backend *b = pl->backend[i];
		uint64_t w = balance_weight(b, now), active = SHARED_GET(b->share->active);

		if (!usable(b, now, not_failed_since))
			continue;
		/* (active + 1) / weight, without dividing */
		if (best == NULL || (active + 1) * best_weight < (best_active + 1) * w) {
			best = b;
			best_weight = w;
			best_active = active;
			at = i;
		}
	}
	if (best != NULL)
		pl->turn = at + 1; /* among equals the next one follows */
	return best;
}

static uint64_t mix(uint64_t h)
{
	/* A finalizer in the manner of MurmurHash3: each bit of the input turns half of the output.
	 */
	h = (h ^ h >> 33) * 0xff51afd7ed558ccdull;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53ull;
	return h ^ h >> 33;
}

static uint64_t hash_bytes(uint64_t h, const void *data, size_t n)
{
	for (const uint8_t *p = data; n > 0; n--)
		h = (h ^ *p++) * 1099511628211ull; /* FNV-1a */
	return mix(h);
}

static uint64_t hash_client(const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET)
		return hash_bytes(
		    14695981039346656037ull, &((const struct sockaddr_in *)ss)->sin_addr, 4);
	return hash_bytes(
	    14695981039346656037ull, &((const struct sockaddr_in6 *)ss)->sin6_addr, 16);
}

static struct backend *pick_hash(
    struct pool *pl, const struct sockaddr_storage *client, uint64_t now, uint64_t not_failed_since)
{
	uint64_t h = hash_client(client);
	struct backend *best = NULL;
	double least = 0;

	for (unsigned int i = 0; i < pl->nbackends; i++) {
		struct backend *b = pl->backend[i];
		double u, draw;

		if (!usable(b, now, not_failed_since))
			continue;
		/* Uniform in (0, 1); -log(u) / weight is exponential with the weight as its rate,
		 * and of such draws each is the smallest with a probability that is its share. */
		u = (double)((hash_bytes(h, b->cfg.name, strlen(b->cfg.name)) >> 12) | 1) * 0x1p-52;
		draw = -log(u) / balance_weight(b, now);
		if (best == NULL || draw < least) {
			best = b;
			least = draw;
		}
	}
	return best;
}

struct backend *balance_pick(
    struct pool *pl, const struct sockaddr_storage *client, uint64_t now, uint64_t not_failed_since)
{
	switch (pl->cfg.balance) {
	case BALANCE_LEASTCONN:
		return pick_leastconn(pl, now, not_failed_since);
	case BALANCE_HASH:
		return pick_hash(pl, client, now, not_failed_since);
	default:
		return pick_roundrobin(pl, now, not_failed_since);
	}
}
