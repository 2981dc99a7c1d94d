/* SPDX-License-Identifier: BSD-3-Clause */
/* Which node things go to, on machines that are made up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../../app/common/numa.h"

static void plans(void **state)
{
	static const struct {
		int lcore[4], port[2];
		unsigned int nl, np;
		int memory, control;
	} t[] = {
	    {{0, 0}, {0}, 2, 1, 0, 0},
	    {{1, 1, 1}, {0}, 3, 1, 1, 1}, /* a far port: tables stay with the lcores */
	    {{0, 1}, {1}, 2, 1, -1, 1},   /* lcores on two nodes */
	    {{1, 0, 1}, {-1, 0}, 3, 2, -1, 0},
	    {{0, 1}, {-1}, 2, 1, -1, -1}, /* a virtual port */
	    {{-1, 1}, {0}, 2, 1, 1, 1},   /* one that nobody knows */
	    {{-1}, {1}, 1, 1, -1, 1},
	    {{2}, {0}, 1, 0, 2, 2},
	};

	for (unsigned int i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct app_numa p;

		app_numa_plan(t[i].lcore, t[i].nl, t[i].port, t[i].np, &p);
		assert_int_equal(p.memory, t[i].memory);
		assert_int_equal(p.control, t[i].control);
	}
	assert_true(app_numa_far(0, 1));
	assert_false(app_numa_far(1, 1));
	assert_false(app_numa_far(-1, 1));
	assert_false(app_numa_far(0, -1));
}

static cpu_set_t cpus(uint32_t mask)
{
	cpu_set_t s;

	CPU_ZERO(&s);
	for (int i = 0; i < 32; i++)
		if (mask & 1u << i)
			CPU_SET(i, &s);
	return s;
}

static void control(void **state)
{
	/* allowed, lcores, node (0: any), wanted; node 0 is CPUs 0 to 3, node 1 is 4 to 7 */
	static const uint32_t t[][4] = {
	    {0xff, 0x03, 0x0f, 0x0c}, {0xff, 0x0f, 0x0f, 0xf0}, /* lcores have the node */
	    {0xff, 0x30, 0xf0, 0xc0}, {0xff, 0x01, 0, 0xfe}, {0x3c, 0x04, 0x0f, 0x08},
	    {0x03, 0x03, 0x0f, 0x03}, /* lcores have all */
	    {0x30, 0x10, 0x0f, 0x20}, /* the node is not ours to use */
	};

	for (unsigned int i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		cpu_set_t allowed = cpus(t[i][0]), lcores = cpus(t[i][1]), node = cpus(t[i][2]);
		cpu_set_t want = cpus(t[i][3]), got;

		app_numa_cpus(&allowed, &lcores, t[i][2] != 0 ? &node : NULL, &got);
		assert_true(CPU_EQUAL(&got, &want));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(plans), cmocka_unit_test(control)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
