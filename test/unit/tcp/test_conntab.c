/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connection table against a model: an array of objects that know whether they are in. The
 * hash is an argument of each operation, so the crowded cases choose it: a few home buckets, one
 * tag, or what SipHash gives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/rng.h>
#include <tcp/conntab.h>

#define KINDS 2 /* an object may be named by either of two references */

struct obj {
	struct sl_key key;
	uint64_t hash;
	uint32_t ref; /* 0: not in the table */
};

static struct world {
	struct sl_conntab t;
	struct obj *o;
	uint32_t objs, in;
	uint64_t asked; /* calls of key_of */
	struct sl_rng rng;
} m;

static const struct sl_sipkey secret_a = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};
static const struct sl_sipkey secret_b = {{0x9e3779b97f4a7c15, 0xd1b54a32d192ed03}};

static const struct sl_key *key_of(void *arg, uint32_t ref)
{
	struct obj *o;

	assert_ptr_equal(arg, &m);
	assert_true(SL_REF_KIND(ref) < KINDS);
	assert_true(SL_REF_IDX(ref) >= 1 && SL_REF_IDX(ref) <= m.objs);
	o = &m.o[SL_REF_IDX(ref) - 1];
	assert_int_equal(o->ref, ref); /* never asked about what is not in, or not so named */
	m.asked++;
	return &o->key;
}

/* Key number n: few distinct addresses, so that keys differ in one field only, any of them. */
static void make_key(struct sl_key *k, uint32_t n)
{
	memset(k, 0, sizeof(*k));
	k->laddr.q[1] = 0x0100000affff0000;
	k->raddr.q[1] = 0x0000000affff0000 | (uint64_t)(n % 7) << 56;
	k->raddr.q[0] = n % 3;
	k->laddr.q[0] = n % 2;
	k->lport = (uint16_t)(n / 42 % 5);
	k->rport = (uint16_t)(n / 210 % 65536);
	k->vrf = n / (210u * 65536);
}

enum spread {
	SPREAD_SIP,
	SPREAD_CROWD,
	SPREAD_ONE_TAG,
	SPREAD_LAST
};

static uint64_t hash_of(const struct sl_key *k, enum spread s)
{
	uint64_t h = sl_conntab_hash(&m.t, k);

	switch (s) {
	case SPREAD_CROWD: /* three homes, the last bucket among them */
		return h >> 62 == 0 ? h | m.t.mask : (h & ~m.t.mask) | (h >> 62 & 2 & m.t.mask);
	case SPREAD_ONE_TAG: /* tag 0, which stands for 1, and tag 1 */
		return h & 0x0001ffffffffffff;
	case SPREAD_LAST: /* all at one home and with one tag: the table as a list */
		return m.t.mask;
	default:
		return h;
	}
}

static void make(uint64_t max, uint32_t objs, enum spread s, uint64_t seed)
{
	memset(&m, 0, sizeof(m));
	sl_rng_seed(&m.rng, seed, 0);
	m.o = calloc(objs, sizeof(*m.o));
	assert_non_null(m.o);
	m.objs = objs;
	assert_int_equal(sl_conntab_init(&m.t, max, &secret_a, key_of, &m, NULL), 0);
	assert_int_equal(m.t.max, max);
	for (uint32_t i = 0; i < objs; i++) {
		make_key(&m.o[i].key, i);
		m.o[i].hash = hash_of(&m.o[i].key, s);
	}
}

static uint32_t ref_of(uint32_t i)
{
	return SL_REF(sl_rng_below(&m.rng, KINDS), i + 1);
}

static int insert(uint32_t i)
{
	struct obj *o = &m.o[i];
	uint32_t ref = ref_of(i), was = o->ref;
	int rc = sl_conntab_insert(&m.t, &o->key, o->hash, ref);

	if (was != 0) {
		assert_int_equal(rc, -EEXIST);
	} else if (m.in == m.t.max) {
		assert_int_equal(rc, -ENOSPC);
	} else {
		assert_int_equal(rc, 0);
		o->ref = ref;
		m.in++;
	}
	return rc;
}

static int replace(uint32_t i)
{
	struct obj *o = &m.o[i];
	uint32_t ref = ref_of(i);
	int rc = sl_conntab_replace(&m.t, &o->key, o->hash, ref);

	assert_int_equal(rc, o->ref != 0 ? 0 : -ENOENT);
	if (rc == 0)
		o->ref = ref;
	return rc;
}

static int take_out(uint32_t i)
{
	struct obj *o = &m.o[i];
	int rc = sl_conntab_remove(&m.t, &o->key, o->hash);

	assert_int_equal(rc, o->ref != 0 ? 0 : -ENOENT);
	if (rc == 0) {
		o->ref = 0;
		m.in--;
	}
	return rc;
}

static void look(uint32_t i)
{
	assert_int_equal(sl_conntab_lookup(&m.t, &m.o[i].key, m.o[i].hash), m.o[i].ref);
}

static void look_at_all(void)
{
	assert_int_equal(m.t.count, m.in);
	for (uint32_t i = 0; i < m.objs; i++)
		look(i);
}

/* An empty table is what it was after init: no tombstones, no counts that stayed behind. */
static void unmake(void)
{
	const unsigned char *p = m.t.buckets;

	for (uint32_t i = 0; i < m.objs; i++)
		take_out(i);
	assert_int_equal(m.t.count, 0);
	for (size_t i = 0; i < m.t.bytes; i++)
		assert_int_equal(p[i], 0);
	sl_conntab_fini(&m.t);
	assert_null(m.t.buckets);
	free(m.o);
	m.o = NULL;
}

static void sizes(void **state)
{
	static const uint64_t max[] = {1, 2, 6, 7, 12, 13, 1000, 65536};
	struct sl_conntab t;

	for (unsigned int i = 0; i < sizeof(max) / sizeof(max[0]); i++) {
		assert_int_equal(sl_conntab_init(&t, max[i], &secret_a, key_of, &m, NULL), 0);
		assert_int_equal((t.mask + 1) & t.mask, 0);
		assert_true((t.mask + 1) * 8 * 7 >= max[i] * 8);
		assert_int_equal(t.bytes, (t.mask + 1) * 64);
		sl_conntab_fini(&t);
	}
	assert_int_equal(sl_conntab_init(&t, 0, &secret_a, key_of, &m, NULL), -EINVAL);
	assert_int_equal(
	    sl_conntab_init(&t, (1ull << 32) + 1, &secret_a, key_of, &m, NULL), -EINVAL);
	assert_int_equal(sl_conntab_init(&t, 1, NULL, key_of, &m, NULL), -EINVAL);
	assert_int_equal(sl_conntab_init(&t, 1, &secret_a, NULL, &m, NULL), -EINVAL);
}

static size_t mem_out;

static void *mem_alloc(void *arg, size_t size, size_t align)
{
	void *p = arg == NULL ? NULL : aligned_alloc(align, size);

	mem_out += p != NULL ? size : 0;
	return p;
}

static void mem_free(void *arg, void *p, size_t size)
{
	mem_out -= size;
	free(p);
}

static void memory(void **state)
{
	struct sl_mem_ops mem = {mem_alloc, mem_free, &mem_out};
	struct sl_conntab t;

	assert_int_equal(sl_conntab_init(&t, 500, &secret_a, key_of, &m, &mem), 0);
	assert_int_equal(mem_out, t.bytes);
	sl_conntab_fini(&t);
	assert_int_equal(mem_out, 0);
	sl_conntab_fini(&t); /* twice does no harm */
	mem.arg = NULL;
	assert_int_equal(sl_conntab_init(&t, 500, &secret_a, key_of, &m, &mem), -ENOMEM);
	sl_conntab_fini(&t);
	assert_int_equal(mem_out, 0);
}

static void one_key(void **state)
{
	struct sl_key k;

	make(10, 2, SPREAD_SIP, 1);
	look_at_all();
	assert_int_equal(sl_conntab_insert(&m.t, &m.o[0].key, m.o[0].hash, 0), -EINVAL);
	assert_int_equal(insert(0), 0);
	look_at_all();
	assert_int_equal(insert(0), -EEXIST);
	assert_int_equal(sl_conntab_replace(&m.t, &m.o[0].key, m.o[0].hash, 0), -EINVAL);
	assert_int_equal(take_out(0), 0);
	look_at_all();
	assert_int_equal(insert(0), 0);
	/* with one bit of one field changed it is another key, even under the same hash */
	for (unsigned int bit = 0; bit < 8 * sizeof(k); bit++) {
		k = m.o[0].key;
		((unsigned char *)&k)[bit / 8] ^= (unsigned char)(1u << bit % 8);
		assert_int_equal(sl_conntab_lookup(&m.t, &k, m.o[0].hash), 0);
		assert_int_equal(sl_conntab_remove(&m.t, &k, m.o[0].hash), -ENOENT);
		assert_int_equal(sl_conntab_replace(&m.t, &k, m.o[0].hash, 5), -ENOENT);
		assert_true(sl_conntab_hash(&m.t, &k) != m.o[0].hash);
	}
	assert_int_equal(replace(0), 0);
	look_at_all();
	unmake();
}

/* n random keys, looked up as one burst and one by one. */
static void bulk(uint32_t n)
{
	const struct sl_key *k[64] = {NULL};
	uint32_t refs[64], which[64];

	for (uint32_t i = 0; i < n; i++) {
		which[i] = (uint32_t)sl_rng_below(&m.rng, m.objs);
		k[i] = &m.o[which[i]].key;
		refs[i] = 0xdeadbeef;
	}
	sl_conntab_lookup_bulk(&m.t, k, n, refs);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(refs[i], m.o[which[i]].ref);
}

static void random_ops(uint64_t max, uint32_t objs, enum spread s, uint64_t seed)
{
	uint32_t ops = s == SPREAD_LAST ? 4000 : 20000, bias = 5;

	make(max, objs, s, seed);
	for (uint32_t i = 0; i < ops; i++) {
		uint32_t j = (uint32_t)sl_rng_below(&m.rng, objs);
		uint64_t r = sl_rng_below(&m.rng, 12);

		if (i % 1000 == 0) { /* fill up, then empty, by turns */
			bias = i / 1000 % 3 == 2 ? 2 : 7;
			look_at_all();
		}
		if (r < bias)
			insert(j);
		else if (r < 9)
			take_out(j);
		else if (r < 10)
			replace(j);
		else if (r < 11 || s != SPREAD_SIP)
			look(j);
		else
			bulk((uint32_t)sl_rng_below(&m.rng, 65));
		assert_int_equal(m.t.count, m.in);
	}
	look_at_all();
	unmake();
}

static void model_sip(void **state)
{
	static const uint64_t max[] = {1, 3, 6, 7, 48, 96, 768};

	for (unsigned int i = 0; i < sizeof(max) / sizeof(max[0]); i++)
		for (uint64_t seed = 1; seed < 4; seed++)
			random_ops(
			    max[i], (uint32_t)max[i] + 1 + (uint32_t)max[i] / 3, SPREAD_SIP, seed);
}

static void model_crowded(void **state)
{
	for (uint64_t seed = 10; seed < 14; seed++) {
		random_ops(48, 60, SPREAD_CROWD, seed);
		random_ops(192, 250, SPREAD_CROWD, seed);
		random_ops(6, 9, SPREAD_CROWD, seed);
		random_ops(192, 250, SPREAD_ONE_TAG, seed);
		random_ops(96, 120, SPREAD_LAST, seed);
	}
}

/* Full to the last: all are found, one more is refused and changes nothing, a place given up is
 * taken again, over and over (no decay). */
static void full(void **state)
{
	const uint32_t max = 6 * 256;

	make(max, max + 100, SPREAD_SIP, 3);
	assert_int_equal(m.t.mask, 255); /* as full as a table may be: six keys for eight places */
	for (uint32_t i = 0; i < max; i++)
		assert_int_equal(insert(i), 0);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(insert(max + i), -ENOSPC);
	assert_int_equal(insert(7), -EEXIST);
	look_at_all();
	for (uint32_t i = 0; i < 50; i++)
		bulk(64);
	for (uint32_t round = 0; round < 40; round++) {
		for (uint32_t i = 0; i < m.objs; i++)
			if (sl_rng_below(&m.rng, 8) == 0)
				take_out(i);
		for (uint32_t n = 0; m.in < max; n++)
			insert((uint32_t)sl_rng_below(&m.rng, m.objs));
		look_at_all();
	}
	m.asked = 0;
	for (uint32_t i = 0; i < m.objs; i++)
		look(i);
	/* one object touched for each hit, and hardly any in vain (tags of 16 bits) */
	assert_true(m.asked >= max && m.asked <= max + max / 20);
	unmake();
}

/* Two places of overflow: what is in the middle goes, what is behind is still found. */
static void overflow_chain(void **state)
{
	make(96, 20, SPREAD_LAST, 1);
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(insert(i), 0);
	for (uint32_t i = 0; i < 16; i++) { /* empties the home and its neighbour */
		assert_int_equal(take_out(i), 0);
		look_at_all();
	}
	for (uint32_t i = 0; i < 3; i++) { /* goes home again, in front of the others */
		assert_int_equal(insert(i), 0);
		look_at_all();
	}
	unmake();
}

/* Each bucket has been passed by some key, and that shows in all of them: a search for what is
 * absent ends after one round. Without overflow it ends at home. */
static void all_passed(void **state)
{
	make(12, 30, SPREAD_LAST, 1);
	assert_int_equal(m.t.mask, 1);
	for (uint32_t i = 0; i < 30; i++)
		m.o[i].hash = i < 15 ? 0 : 1; /* home; one tag for all */
	insert(0);
	insert(15);
	m.asked = 0;
	look(1);
	look(16);
	assert_int_equal(m.asked, 2); /* not who lives next door */
	take_out(15);
	for (uint32_t i = 1; i < 9; i++) /* the last passes bucket 0 */
		assert_int_equal(insert(i), 0);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(take_out(i), 0);
	for (uint32_t i = 15; i < 23; i++) /* and the last of these bucket 1 */
		assert_int_equal(insert(i), 0);
	look_at_all();
	assert_int_equal(insert(0), 0);
	look_at_all();
	unmake();
}

/* How many keys the fullest home bucket has, under a secret. */
static uint32_t fullest(const struct sl_sipkey *secret)
{
	uint32_t *n = calloc(m.t.mask + 1, sizeof(*n)), most = 0;
	struct sl_conntab t = m.t;

	assert_non_null(n);
	t.secret = *secret;
	for (uint32_t i = 0; i < m.objs; i++) {
		uint32_t c = ++n[sl_conntab_hash(&t, &m.o[i].key) & t.mask];

		most = c > most ? c : most;
	}
	free(n);
	return most;
}

/* Keys chosen so that all meet in one bucket under one secret spread as random ones do under
 * another; and under the first the table is slow, not wrong. */
static void flood(void **state)
{
	const uint32_t count = 768;
	struct sl_key k;

	make(count, count, SPREAD_SIP, 1);
	for (uint32_t n = 0, got = 0; got < count; n++) {
		make_key(&k, n);
		if ((sl_conntab_hash(&m.t, &k) & m.t.mask) != 5)
			continue;
		m.o[got].key = k;
		m.o[got++].hash = sl_conntab_hash(&m.t, &k);
	}
	assert_int_equal(fullest(&secret_a), count);
	assert_true(fullest(&secret_b) <= 20); /* six each, if even */
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(insert(i), 0);
	look_at_all();
	bulk(64);
	for (uint32_t i = 0; i < count; i += 2)
		take_out(i);
	look_at_all();
	unmake();
}

/* Every bit of the key, its VRF and both ports included, goes into the hash, of either family; so
 * does the secret. */
static void keyed_by(const struct sl_key *k)
{
	uint64_t hash = sl_conntab_hash(&m.t, k);
	unsigned int low = 0;

	for (unsigned int bit = 0; bit < sizeof(*k) * 8; bit++) {
		struct sl_key other = *k;
		uint64_t h;

		((uint8_t *)&other)[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		h = sl_conntab_hash(&m.t, &other);
		assert_true(h != hash);
		low += (h ^ hash) & 1;
	}
	/* 320 fair coins: six standard deviations either way. */
	assert_in_range(low, 160 - 54, 160 + 54);
	m.t.secret = secret_b;
	assert_true(sl_conntab_hash(&m.t, k) != hash);
	m.t.secret = secret_a;
}

static void keyed(void **state)
{
	struct sl_key v4 = {.laddr = sl_addr4(htonl(0x0a000001)),
	    .raddr = sl_addr4(htonl(0x0a000002)),
	    .lport = htons(80),
	    .rport = htons(40000)};
	struct sl_key v6 = v4;

	v6.laddr.b[0] = v6.raddr.b[0] = 0xfd;
	make(10, 1, SPREAD_SIP, 1);
	keyed_by(&v4);
	keyed_by(&v6);
	unmake();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sizes),
	    cmocka_unit_test(memory),
	    cmocka_unit_test(one_key),
	    cmocka_unit_test(model_sip),
	    cmocka_unit_test(model_crowded),
	    cmocka_unit_test(full),
	    cmocka_unit_test(overflow_chain),
	    cmocka_unit_test(all_passed),
	    cmocka_unit_test(flood),
	    cmocka_unit_test(keyed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
