/* SPDX-License-Identifier: BSD-3-Clause */
/* Which backend is chosen: shares, order, movement, slow start, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>

#include <cmocka.h>
#include <arpa/inet.h>

#include "../../../app/proxy/proxy.h"

#define MAX 16

static struct pool pl;
static struct backend be[MAX], *list[MAX];
static struct share share[MAX];

static void make(enum balance how, unsigned int n, const unsigned int *weight)
{
	memset(&pl, 0, sizeof(pl));
	memset(be, 0, sizeof(be));
	memset(share, 0, sizeof(share));
	pl.cfg.balance = how;
	pl.backend = list;
	pl.nbackends = n;
	for (unsigned int i = 0; i < n; i++) {
		list[i] = &be[i];
		be[i].pool = &pl;
		be[i].share = &share[i];
		share[i].up = true;
		be[i].cfg.weight = weight != NULL ? weight[i] : 1;
		snprintf(be[i].cfg.name, NAME_LEN, "b%u", i);
	}
}

static struct sockaddr_storage client(uint32_t i)
{
	struct sockaddr_storage ss = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&ss;

	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(0x0a000000 + i);
	in->sin_port = htons((uint16_t)(i * 7)); /* must not matter */
	return ss;
}

static unsigned int pick(uint32_t i, uint64_t now)
{
	struct sockaddr_storage ss = client(i);
	struct backend *b = balance_pick(&pl, &ss, now, NOT_FAILED_EVER);

	assert_non_null(b);
	return (unsigned int)(b - be);
}

/** Exactly by weight in each round, and no backend twice in a row where that can be. */
static void test_roundrobin(void **state)
{
	static const unsigned int weight[] = {5, 1, 3, 0};
	unsigned int last = MAX, row = 0;

	make(BALANCE_ROUNDROBIN, 4, weight);
	for (int round = 0; round < 10; round++) {
		unsigned int hits[4] = {0};

		for (uint32_t i = 0; i < 9; i++) {
			unsigned int b = pick(i, 0);

			hits[b]++;
			row = b == last ? row + 1 : 0;
			assert_true(row < 2);
			last = b;
		}
		for (unsigned int i = 0; i < 4; i++)
			assert_int_equal(hits[i], weight[i]);
	}
}

static void test_leastconn(void **state)
{
	static const unsigned int weight[] = {4, 2, 1};

	make(BALANCE_LEASTCONN, 3, weight);
	for (uint32_t i = 0; i < 70; i++)
		be[pick(i, 0)].share->active++;
	assert_int_equal(be[0].share->active, 40);
	assert_int_equal(be[1].share->active, 20);
	assert_int_equal(be[2].share->active, 10);
	be[1].share->active = 0; /* it has become free: the next ones go there */
	for (uint32_t i = 0; i < 19; i++) {
		unsigned int b = pick(i, 0);

		assert_int_equal(b, 1);
		be[b].share->active++;
	}
	make(BALANCE_LEASTCONN, 3, NULL); /* equals take turns */
	for (uint32_t i = 0; i < 9; i++)
		assert_int_equal(pick(i, 0), i % 3);
}

#define CLIENTS 20000

/** Shares follow weights; the same client goes to the same backend from whatever port. */
static void test_hash_shares(void **state)
{
	static const unsigned int weight[] = {1, 1, 2, 4};
	unsigned int hits[4] = {0};

	make(BALANCE_HASH, 4, weight);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct sockaddr_storage ss = client(i);
		unsigned int b = pick(i, 0);

		((struct sockaddr_in *)&ss)->sin_port ^= 0x1234;
		assert_ptr_equal(balance_pick(&pl, &ss, 0, NOT_FAILED_EVER), &be[b]);
		hits[b]++;
	}
	for (unsigned int i = 0; i < 4; i++) {
		unsigned int want = CLIENTS * weight[i] / 8;

		assert_in_range(hits[i], want * 95 / 100, want * 105 / 100);
	}
}

/** When one goes, only its clients move, and to all others; when it comes back so do they. */
static void test_hash_moves_little(void **state)
{
	static unsigned int before[CLIENTS];
	unsigned int moved = 0, to[MAX] = {0};

	make(BALANCE_HASH, 10, NULL);
	for (uint32_t i = 0; i < CLIENTS; i++)
		before[i] = pick(i, 0);
	be[3].share->up = false;
	for (uint32_t i = 0; i < CLIENTS; i++) {
		unsigned int b = pick(i, 0);

		assert_int_not_equal(b, 3);
		if (before[i] != 3) {
			assert_int_equal(b, before[i]);
		} else {
			moved++;
			to[b]++;
		}
	}
	assert_in_range(moved, CLIENTS / 10 * 9 / 10, CLIENTS / 10 * 11 / 10);
	for (unsigned int i = 0; i < 10; i++)
		if (i != 3)
			assert_in_range(to[i], moved / 9 / 2, moved / 9 * 2);
	be[3].share->up = true;
	for (uint32_t i = 0; i < CLIENTS; i++)
		assert_int_equal(pick(i, 0), before[i]);
	be[5].cfg.weight = 2; /* more weight draws clients to it, and moves none between others */
	for (uint32_t i = 0; i < CLIENTS; i++) {
		unsigned int b = pick(i, 0);

		assert_true(b == before[i] || b == 5);
	}
}

/** The order of backends in the file does not matter. */
static void test_hash_order(void **state)
{
	static unsigned int before[1000];

	make(BALANCE_HASH, 5, NULL);
	for (uint32_t i = 0; i < 1000; i++)
		before[i] = pick(i, 0);
	for (unsigned int i = 0; i < 5; i++)
		list[i] = &be[4 - i];
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(pick(i, 0), before[i]);
}

/** The weight grows evenly from nearly nothing to all of it, and shares follow. */
static void test_slow_start(void **state)
{
	uint64_t up = SLUICE_SEC(100), t;
	unsigned int hits = 0;
	uint32_t last = 0;

	make(BALANCE_ROUNDROBIN, 2, NULL);
	pl.cfg.slow_start = SLUICE_SEC(10);
	be[1].share->up_since = up;
	assert_int_equal(balance_weight(&be[0], up), 256);
	assert_int_equal(balance_weight(&be[1], up), 1);
	for (t = up; t <= up + SLUICE_SEC(10); t += SLUICE_MS(100)) {
		uint32_t w = balance_weight(&be[1], t);

		assert_true(w >= last);
		last = w;
	}
	assert_int_equal(balance_weight(&be[1], up + SLUICE_SEC(5)), 128);
	assert_int_equal(balance_weight(&be[1], up + SLUICE_SEC(10)), 256);
	assert_int_equal(balance_weight(&be[1], up + SLUICE_SEC(1000000)), 256);
	for (uint32_t i = 0; i < 1000; i++) /* the integral of w/(1+w) over the ramp: 1 - ln 2 */
		hits += pick(i, up + i * SLUICE_MS(10));
	assert_in_range(hits, 297, 317);
}

static void test_unusable(void **state)
{
	static const enum balance how[] = {BALANCE_ROUNDROBIN, BALANCE_LEASTCONN, BALANCE_HASH};
	struct sockaddr_storage ss = client(1);

	for (unsigned int k = 0; k < 3; k++) {
		make(how[k], 4, NULL);
		be[0].share->up = false;
		be[1].no_port_until = 10;
		be[2].cfg.max_connections = 3;
		be[2].share->active = 3;
		be[3].cfg.weight = 0;
		assert_null(balance_pick(&pl, &ss, 0, NOT_FAILED_EVER));
		be[2].share->active = 2;
		for (uint32_t i = 0; i < 10; i++)
			assert_int_equal(pick(i, 0), 2);
		be[0].share->up =
		    true; /* one that failed is passed over, for who began before that */
		be[0].failed_at = 5;
		assert_ptr_equal(balance_pick(&pl, &ss, 0, 5), &be[2]);
		be[2].failed_at = 6;
		assert_null(balance_pick(&pl, &ss, 0, 5));
		assert_ptr_equal(balance_pick(&pl, &ss, 0, 6), &be[0]);
		assert_true(balance_wants_port(&pl, 9));
		assert_false(balance_wants_port(&pl, 10));
		assert_ptr_equal(balance_pick(&pl, &ss, 10, 5), &be[1]);
		pl.nbackends = 0;
		assert_null(balance_pick(&pl, &ss, 0, NOT_FAILED_EVER));
	}
}

/** Counts per source and listener come and go; entries never outnumber what they count. */
static void test_sources(void **state)
{
	struct source *s[100];
	struct sources t;
	struct sockaddr_storage a = client(1), b = client(2);

	assert_int_equal(sources_init(&t, 9), 0);
	for (int i = 0; i < 5; i++) {
		s[i] = source_get(&t, &pl, &a, 5);
		assert_non_null(s[i]);
		((struct sockaddr_in *)&a)->sin_port++;
	}
	assert_null(source_get(&t, &pl, &a, 5));
	s[5] = source_get(&t, &be, &a, 5); /* another listener */
	s[6] = source_get(&t, &pl, &b, 5);
	assert_non_null(s[5]);
	assert_non_null(s[6]);
	assert_int_equal(t.n, 3);
	source_put(&t, s[0]);
	s[0] = source_get(&t, &pl, &a, 5);
	assert_non_null(s[0]);
	for (int i = 0; i < 7; i++)
		source_put(&t, s[i]);
	source_put(&t, NULL);
	assert_int_equal(t.n, 0);
	sources_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_roundrobin),
	    cmocka_unit_test(test_leastconn),
	    cmocka_unit_test(test_hash_shares),
	    cmocka_unit_test(test_hash_moves_little),
	    cmocka_unit_test(test_hash_order),
	    cmocka_unit_test(test_slow_start),
	    cmocka_unit_test(test_unusable),
	    cmocka_unit_test(test_sources),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
