/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a stranger must not guess: initial sequence numbers, ports, timestamp offsets, IP
 * identification. Counts of a fixed seed against what fair coins would give: a bound of six
 * standard deviations fails by chance once in a thousand million seeds, and never from run to run.
 */
#include <math.h>

#include "script.h"

#define NISN 100000

static uint32_t isn_of(struct script *s, uint32_t n)
{
	struct sl_key k = {.laddr = sl_addr4(htonl(0x0a000001)),
	    .raddr = sl_addr4(htonl(0x0b000000 + n / 50000)),
	    .lport = htons(80),
	    .rport = htons((uint16_t)(1024 + n % 50000))};

	return sl_tcp_iss(s->sq, &k);
}

static void fair(const uint32_t *count, unsigned int n, uint32_t total)
{
	double want = (double)total / n, sum = 0;

	for (unsigned int i = 0; i < n; i++)
		sum += (count[i] - want) * (count[i] - want) / want;
	/* Chi-square with n - 1 degrees of freedom. */
	assert_true(fabs(sum - (n - 1)) < 6 * sqrt(2.0 * (n - 1)));
}

/* Numbers of neighbouring tuples, taken at one moment: no bit, no byte and no difference of them
 * tells the next (RFC 6528). */
static void isn_of_other_tuples(void **state)
{
	struct script *s = script_start(NULL);
	static uint32_t high[256], low[256], diff[256], diff2[256], bit[32];
	uint32_t before = 0, before_diff = 0;

	for (uint32_t n = 0; n < NISN; n++) {
		uint32_t v = isn_of(s, n), d = v - before;

		high[v >> 24]++;
		low[v & 255]++;
		diff[d >> 24]++;
		diff2[(d - before_diff) >> 24]++;
		for (int b = 0; b < 32; b++)
			bit[b] += d >> b & 1;
		before = v;
		before_diff = d;
	}
	fair(high, 256, NISN);
	fair(low, 256, NISN);
	fair(diff, 256, NISN);
	fair(diff2, 256, NISN);
	for (int b = 0; b < 32; b++)
		assert_true(fabs(bit[b] - NISN / 2.0) < 6 * sqrt(NISN / 4.0));
	script_stop(s);
}

/* Of one tuple they go up with the clock; and the number on the wire is that one. */
static void isn_of_one_tuple(void **state)
{
	struct script *s = script_start(NULL);
	uint32_t first = isn_of(s, 7);
	struct sl_key k = {.laddr = sl_addr4(htonl(0x0a000001)),
	    .raddr = sl_addr4(htonl(0x0a000009)),
	    .lport = htons(80),
	    .rport = htons(5555)};

	script_listen(s);
	IN(s, .flags = S);
	assert_int_equal(script_out(s)->raw_seq, sl_tcp_iss(s->sq, &k));
	s->now += SLUICE_SEC(1);
	script_settle(s);
	assert_int_equal(isn_of(s, 7) - first, 250000);
	script_stop(s);
}

static struct sluice_stack *another(uint64_t seed, struct rte_mempool *pool)
{
	struct sluice_stack_params sp = {.size = sizeof(sp),
	    .name = "other",
	    .nsqueues = 1,
	    .max_connections = 16,
	    .hdr_pool = pool,
	    .seed = seed};
	struct sluice_stack *st;

	assert_int_equal(sluice_stack_create(&sp, &st, NULL), 0);
	return st;
}

/* Secrets are the stack's own: another stack has others, for numbers, timestamps and the table. */
static void secrets_differ(void **state)
{
	struct rte_mempool *pool = tp_create(2048, 0);
	struct sluice_leaks l = {.size = sizeof(l)};
	struct sluice_stack *st[3];

	for (unsigned int i = 0; i < 3; i++) /* 0: seeded by the system */
		st[i] = another(i == 2 ? 7 : 0, pool);
	for (unsigned int i = 0; i < 3; i++)
		for (unsigned int j = 0; j < i; j++) {
			assert_memory_not_equal(&st[i]->secret_iss, &st[j]->secret_iss, 16);
			assert_memory_not_equal(&st[i]->secret_ts, &st[j]->secret_ts, 16);
		}
	assert_memory_not_equal(&st[0]->secret_iss, &st[0]->secret_ts, 16);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(sluice_stack_destroy(st[i], &l), 0);
	tp_destroy(pool);
}

/* Offsets of timestamps: other for each pair of addresses, the same for all ports of one. */
static void timestamp_offsets(void **state)
{
	struct script *s = script_start(NULL);
	static uint32_t high[64], diff[64];
	uint32_t before = 0;

	for (uint32_t n = 0; n < 20000; n++) {
		struct sl_key k = {.laddr = sl_addr4(htonl(0x0a000001)),
		    .raddr = sl_addr4(htonl(0x0b000000 + n)),
		    .lport = htons(80),
		    .rport = htons((uint16_t)n)};
		uint32_t v = sl_tcp_ts_offset(s->sq, &k);

		k.rport ^= 0x5555;
		assert_int_equal(sl_tcp_ts_offset(s->sq, &k), v);
		high[v >> 26]++;
		diff[(v - before) >> 26]++;
		before = v;
	}
	fair(high, 64, 20000);
	fair(diff, 64, 20000);
	script_stop(s);
}

/* Ephemeral ports (RFC 6056): spread over the range, and the last one does not tell the next. */
static void ports(void **state)
{
	struct sockaddr_in a = {
	    .sin_family = AF_INET, .sin_port = htons(9999), .sin_addr.s_addr = htonl(0x0a000009)};
	struct script *s = script_start(NULL);
	static uint32_t where[32], step[32];
	uint32_t before = 0, near = 0, n = 8000;
	static uint8_t seen[65536];

	s->deaf = true;
	memset(seen, 0, sizeof(seen));
	for (uint32_t i = 0; i < n; i++) {
		struct sockaddr_in me;
		socklen_t len = sizeof(me);
		uint32_t port;
		sluice_conn_t c;

		assert_int_equal(sluice_create(s->st, AF_INET, SOCK_STREAM, 0, 0, 0, &c), 0);
		assert_int_equal(sluice_activate(s->st, c, &script_upcalls, s), 0);
		assert_int_equal(
		    sluice_connect(s->st, c, (struct sockaddr *)&a, sizeof(a), NULL), -EINPROGRESS);
		assert_int_equal(sluice_getsockname(s->st, c, (struct sockaddr *)&me, &len), 0);
		port = ntohs(me.sin_port);
		assert_in_range(port, 32768, 65535);
		where[(port - 32768) / 1024]++;
		step[((port - before) & 32767) / 1024]++;
		near += i > 0 && ((port - before) & 32767) < 16;
		before = port;
		assert_false(seen[port]); /* none comes again before all have had their turn */
		seen[port] = 1;
		assert_int_equal(sluice_abort(s->st, c), 0);
		script_settle(s);
	}
	fair(where, 32, n);
	fair(step, 32, n);
	/* Of 8,000, about four are near by chance. */
	assert_true(near < 20);
	script_stop(s);
}

/* No counter that strangers can read: packets that may not be fragmented carry no identification
 * at all (RFC 6864 4.1). */
static void ip_identification(void **state)
{
	struct script *s = script_start(NULL);

	script_accept(s);
	script_say(s, 5000, 0);
	assert_true(s->nout >= 3);
	IN(s, .flags = A, .seq = 1, .ack = 1, .sport = 999);
	for (unsigned int i = 0; i < s->nout; i++)
		assert_int_equal(s->out[i].id, 0);
	script_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(isn_of_other_tuples),
	    cmocka_unit_test(isn_of_one_tuple),
	    cmocka_unit_test(secrets_differ),
	    cmocka_unit_test(timestamp_offsets),
	    cmocka_unit_test(ports),
	    cmocka_unit_test(ip_identification),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
