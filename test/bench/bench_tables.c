/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two tables that every connection is in: timer wheel and connection table, at a thousand
 * entries (in L1 or L2), 64 Ki and 1 Mi (in memory), and the hash under the latter. Entries are
 * visited in an order that no prefetcher guesses, by a full-period generator.
 */
#include <stdlib.h>
#include <string.h>

#include <base/rng.h>
#include <base/siphash.h>
#include <squeue/wheel.h>
#include <tcp/conntab.h>

#include "bench.h"

static const int64_t entries[] = {1 << 10, 1 << 16, 1 << 20, 0};
static const int64_t lengths[] = {16, 40, 64, 0}; /* 40 is a connection's key */

static const struct sl_sipkey secret = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};

/* All numbers below n, a power of two, in a fixed jumbled order. */
static inline uint64_t jump(uint64_t i, uint64_t n)
{
	return (i * 6364136223846793005ull + 1442695040888963407ull) & (n - 1);
}

/* ---- timer wheel ---- */

struct conn { /* a timer as it lies in a connection: on a cache line of its own */
	struct sl_timer t;
	uint64_t period;
} __attribute__((aligned(64)));

struct wheel_ctx {
	struct sl_wheel w;
	struct conn *c;
	uint64_t n, i, now, fired;
};

static void fire(void *arg, struct sl_timer *t)
{
	struct wheel_ctx *x = arg;
	struct conn *c = (struct conn *)(void *)t; /* first member */

	x->fired++;
	sl_timer_set(&x->w, t, x->now + c->period);
}

/* n timers, deadlines over the next two seconds: what retransmission, delayed and keep-alive
 * timers of many connections look like. */
static void *wheel_setup(int64_t n)
{
	struct wheel_ctx *x = calloc(1, sizeof(*x));
	struct sl_rng rng;

	if (x == NULL)
		return NULL;
	x->n = (uint64_t)n;
	x->c = aligned_alloc(64, x->n * sizeof(*x->c));
	if (x->c == NULL) {
		free(x);
		return NULL;
	}
	memset(x->c, 0, x->n * sizeof(*x->c));
	x->now = 1000000007ull * 3600;
	sl_wheel_init(&x->w, x->now);
	x->w.fn[0] = fire;
	x->w.arg[0] = x;
	sl_rng_seed(&rng, 1, 0);
	for (uint64_t i = 0; i < x->n; i++) {
		x->c[i].period = 1000000 + sl_rng_below(&rng, 2000000000);
		sl_timer_set(&x->w, &x->c[i].t, x->now + x->c[i].period);
	}
	return x;
}

static void wheel_teardown(void *ctx)
{
	struct wheel_ctx *x = ctx;

	free(x->c);
	free(x);
}

/* Cancel one and arm it again. */
static void wheel_arm(void *ctx, uint64_t n)
{
	struct wheel_ctx *x = ctx;

	while (n-- > 0) {
		struct conn *c = &x->c[x->i = jump(x->i, x->n)];

		sl_timer_cancel(&x->w, &c->t);
		sl_timer_set(&x->w, &c->t, x->now + c->period);
	}
}

/* As each acknowledgement does: later than before. */
static void wheel_rearm_later(void *ctx, uint64_t n)
{
	struct wheel_ctx *x = ctx;

	while (n-- > 0) {
		struct conn *c = &x->c[x->i = jump(x->i, x->n)];

		x->now++;
		sl_timer_set(&x->w, &c->t, x->now + 3000000000);
	}
}

/* Earlier than where it is filed, so that it moves: 64 times, then as a new timer. */
static void wheel_rearm_earlier(void *ctx, uint64_t n)
{
	struct wheel_ctx *x = ctx;

	while (n-- > 0) {
		struct conn *c = &x->c[x->i = jump(x->i, x->n)];
		uint64_t at = c->t.expires << SL_TICK_SHIFT;

		if (at < x->now + (c->period >> 6)) {
			sl_timer_cancel(&x->w, &c->t);
			at = x->now + 2 * c->period;
		}
		sl_timer_set(&x->w, &c->t, at - (c->period >> 6));
	}
}

/* A poll a microsecond after the last, and what falls due meanwhile. */
static void wheel_poll(void *ctx, uint64_t n)
{
	struct wheel_ctx *x = ctx;

	while (n-- > 0) {
		x->now += 1000;
		bench_keep(sl_wheel_advance(&x->w, x->now, 64));
	}
}

/* One timer fired and armed again, all cascades on its way included; no time between. */
static void wheel_fire(void *ctx, uint64_t n)
{
	struct wheel_ctx *x = ctx;

	for (uint64_t until = x->fired + n; x->fired < until;) {
		uint64_t next = sl_wheel_next(&x->w), left = until - x->fired;

		if (next > x->now)
			x->now = next;
		sl_wheel_advance(&x->w, x->now, left < 64 ? (uint32_t)left : 64);
	}
}

/* ---- connection table ---- */

struct object { /* a key as it lies in a connection: on a cache line of its own */
	struct sl_key key;
} __attribute__((aligned(64)));

struct table_ctx {
	struct sl_conntab t;
	struct object *o;
	uint64_t n, i;
};

/* The key of connection i. A lookup's key comes from a packet, which is in the cache already: so
 * it is made here and not read from the object. */
static inline void make_key(struct sl_key *k, uint64_t i)
{
	memset(k, 0, sizeof(*k));
	k->laddr.q[1] = 0x0100000affff0000;
	k->raddr.q[1] = 0x0000000affff0000 | i >> 12 << 40;
	k->lport = 0x5000;
	k->rport = (uint16_t)(1024 + (i & 0xfff));
}

static const struct sl_key *key_of(void *arg, uint32_t ref)
{
	const struct table_ctx *x = arg;

	return &x->o[ref - 1].key;
}

static void table_teardown(void *ctx)
{
	struct table_ctx *x = ctx;

	sl_conntab_fini(&x->t);
	free(x->o);
	free(x);
}

/* What is to be a hit is one, and what is to be a miss. */
static bool table_right(const struct table_ctx *x)
{
	struct sl_key k;
	bool hit, miss;

	make_key(&k, x->n / 2);
	hit = sl_conntab_lookup(&x->t, &k, sl_conntab_hash(&x->t, &k)) == x->n / 2 + 1;
	k.vrf = 1;
	miss = sl_conntab_lookup(&x->t, &k, sl_conntab_hash(&x->t, &k)) == 0;
	return hit && miss;
}

/* Full: as many connections as the table was made for. */
static void *table_setup(int64_t n)
{
	struct table_ctx *x = calloc(1, sizeof(*x));
	bool ok;

	if (x == NULL)
		return NULL;
	x->n = (uint64_t)n;
	x->o = aligned_alloc(64, x->n * sizeof(*x->o));
	ok = x->o != NULL && sl_conntab_init(&x->t, x->n, &secret, key_of, x, NULL) == 0;
	for (uint64_t i = 0; ok && i < x->n; i++) {
		struct sl_key *k = &x->o[i].key;

		make_key(k, i);
		ok = sl_conntab_insert(&x->t, k, sl_conntab_hash(&x->t, k), (uint32_t)i + 1) == 0;
	}
	if (!ok || !table_right(x)) {
		table_teardown(x);
		return NULL;
	}
	return x;
}

/* In VRF 0 all are there, in VRF 1 none. */
static inline void lookups(struct table_ctx *x, uint64_t n, uint32_t vrf)
{
	struct sl_key k;

	while (n-- > 0) {
		make_key(&k, x->i = jump(x->i, x->n));
		k.vrf = vrf;
		bench_keep(sl_conntab_lookup(&x->t, &k, sl_conntab_hash(&x->t, &k)));
	}
}

static void table_hit(void *ctx, uint64_t n)
{
	lookups(ctx, n, 0);
}

static void table_miss(void *ctx, uint64_t n)
{
	lookups(ctx, n, 1);
}

/* Bursts of 32, all present. */
static void table_bulk(void *ctx, uint64_t n)
{
	struct table_ctx *x = ctx;
	struct sl_key key[32];
	const struct sl_key *k[32];
	uint32_t refs[32];

	for (uint64_t done = 0; done < n; done += 32) {
		uint32_t m = n - done < 32 ? (uint32_t)(n - done) : 32;

		for (uint32_t i = 0; i < m; i++) {
			x->i = jump(x->i, x->n);
			make_key(&key[i], x->i);
			k[i] = &key[i];
		}
		sl_conntab_lookup_bulk(&x->t, k, m, refs);
		bench_keep(refs[0]);
	}
}

/* One connection goes and comes again. */
static void table_insert_delete(void *ctx, uint64_t n)
{
	struct table_ctx *x = ctx;

	while (n-- > 0) {
		const struct sl_key *k = &x->o[x->i = jump(x->i, x->n)].key;
		uint64_t hash = sl_conntab_hash(&x->t, k);

		bench_keep((uint64_t)sl_conntab_remove(&x->t, k, hash));
		bench_keep((uint64_t)sl_conntab_insert(&x->t, k, hash, (uint32_t)x->i + 1));
	}
}

/* ---- the hash ---- */

struct sip_ctx {
	uint64_t len;
	unsigned char data[64];
};

static void *sip_setup(int64_t len)
{
	struct sip_ctx *x = calloc(1, sizeof(*x));

	if (x != NULL)
		x->len = (uint64_t)len;
	return x;
}

/* Each input takes from the last output: the time is latency, not throughput. */
static void sip13(void *ctx, uint64_t n)
{
	struct sip_ctx *x = ctx;
	uint64_t h = 0;

	while (n-- > 0) {
		memcpy(x->data, &h, sizeof(h));
		h = sl_siphash13(&secret, x->data, x->len);
	}
	bench_keep(h);
}

static void sip24(void *ctx, uint64_t n)
{
	struct sip_ctx *x = ctx;
	uint64_t h = 0;

	while (n-- > 0) {
		memcpy(x->data, &h, sizeof(h));
		h = sl_siphash24(&secret, x->data, x->len);
	}
	bench_keep(h);
}

const struct bench_case bench_cases[] = {
    {"wheel_arm", wheel_setup, wheel_arm, wheel_teardown, entries},
    {"wheel_rearm_later", wheel_setup, wheel_rearm_later, wheel_teardown, entries},
    {"wheel_rearm_earlier", wheel_setup, wheel_rearm_earlier, wheel_teardown, entries},
    {"wheel_poll", wheel_setup, wheel_poll, wheel_teardown, entries},
    {"wheel_fire", wheel_setup, wheel_fire, wheel_teardown, entries},
    {"conntab_hit", table_setup, table_hit, table_teardown, entries},
    {"conntab_miss", table_setup, table_miss, table_teardown, entries},
    {"conntab_bulk", table_setup, table_bulk, table_teardown, entries},
    {"conntab_insert_delete", table_setup, table_insert_delete, table_teardown, entries},
    {"siphash13", sip_setup, sip13, free, lengths},
    {"siphash24", sip_setup, sip24, free, lengths},
    {NULL},
};
