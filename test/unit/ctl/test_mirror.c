/* SPDX-License-Identifier: BSD-3-Clause */
/* What is done to an interface of the kernel's, in a namespace of our own, is done to the stack's. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "duo.h"

static struct duo d;
static struct sluice_mirror *m;

static void ip(const char *command)
{
	char line[200];

	snprintf(line, sizeof(line), "ip %s", command);
	assert_int_equal(system(line), 0);
}

static bool has_addr(const char *addr)
{
	enum sluice_addr_state s;

	return sluice_addr_state(d.st[0], "wire0", addr, &s) == 0;
}

/* Is there a way to this address? A connect says. */
static bool has_route(int family, const char *to)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(80)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
	static const struct sluice_upcalls none = {.size = sizeof(none)};
	sluice_conn_t c;
	int rc;

	assert_int_equal(
	    inet_pton(family, to, family == AF_INET ? (void *)&a4.sin_addr : (void *)&a6.sin6_addr),
	    1);
	assert_int_equal(sluice_create(d.st[0], family, SOCK_STREAM, 0, 0, -1, &c), 0);
	assert_int_equal(sluice_activate(d.st[0], c, &none, NULL), 0);
	rc = sluice_connect(d.st[0], c, family == AF_INET ? (void *)&a4 : (void *)&a6,
	    family == AF_INET ? sizeof(a4) : sizeof(a6), NULL);
	assert_true(rc == -EINPROGRESS || rc == -ENETUNREACH || rc == -EADDRNOTAVAIL);
	(void)sluice_abort(d.st[0], c);
	duo_run(&d, SLUICE_MS(1));
	return rc == -EINPROGRESS;
}

/* The kernel has said something, and it came to `changes`. */
static void changed(int changes)
{
	struct pollfd p = {.fd = sluice_mirror_fd(m), .events = POLLIN};

	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(sluice_mirror_run(m), changes);
	assert_int_equal(sluice_mirror_run(m), 0);
}

static void mirrored(void **state)
{
	struct duo_params p = {.nsq = 2, .seed = 1};
	struct sluice_txn *t;

	ip("link add d0 type veth peer name d1");
	ip("link set d0 up");
	ip("link set d1 up");
	ip("addr add 10.9.0.1/24 dev d0");
	ip("addr add fd09::1/64 dev d0 nodad");
	ip("addr add 10.0.0.1/24 dev d0"); /* the user's own on the stack */
	ip("route add 10.50.0.0/16 via 10.9.0.2");
	ip("-6 route add fd50::/32 via fd09::2");
	ip("route add 10.60.0.0/16 dev d1");
	duo_start(&d, &p);
	assert_int_equal(sluice_mirror_open(d.st[0], "d9", "wire0", 0, &m), -ENODEV);
	assert_int_equal(sluice_mirror_open(d.st[0], "d0", "wire9", 0, &m), -ENOENT);
	assert_false(has_addr("10.9.0.1/24") || has_route(AF_INET, "10.50.1.1"));
	assert_int_equal(sluice_mirror_open(d.st[0], "d0", "wire0", 0, &m), 0);
	assert_true(has_addr("10.9.0.1/24") && has_addr("fd09::1/64"));
	assert_true(has_route(AF_INET, "10.50.1.1") && has_route(AF_INET6, "fd50::1"));
	assert_false(has_route(AF_INET, "10.60.1.1")); /* another interface's */

	ip("addr add 10.8.0.1/24 dev d0");
	ip("route add default via 10.8.0.2");
	changed(2);
	assert_true(has_addr("10.8.0.1/24") && has_route(AF_INET, "192.0.2.1"));
	ip("route change default via 10.9.0.7"); /* away and there again */
	changed(2);
	assert_true(has_route(AF_INET, "192.0.2.1"));

	/* A transaction that is open holds it up, and is not disturbed. */
	ip("addr del 10.8.0.1/24 dev d0");
	assert_int_equal(sluice_txn_begin(d.st[0], &t), 0);
	assert_int_equal(sluice_mirror_run(m), -EBUSY);
	sluice_txn_abort(t);
	assert_int_equal(sluice_mirror_run(m), 1);
	assert_false(has_addr("10.8.0.1/24"));

	/* What the user has is his. */
	ip("addr del 10.0.0.1/24 dev d0");
	changed(0);
	assert_true(has_addr("10.0.0.1/24"));

	ip("link del d0");
	assert_true(sluice_mirror_run(m) >= 5);
	assert_false(has_addr("10.9.0.1/24") || has_addr("fd09::1/64"));
	assert_false(has_route(AF_INET, "10.50.1.1") || has_route(AF_INET6, "fd50::1") ||
		     has_route(AF_INET, "192.0.2.1"));
	sluice_mirror_close(m);
	sluice_mirror_close(NULL);
	assert_int_equal(duo_stop(&d), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(mirrored)};

	if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0 ||
	    system("ip link set lo up 2>/dev/null") != 0) {
		printf("skipped: needs root, namespaces and ip\n");
		return 77;
	}
	return cmocka_run_group_tests_name("mirror", tests, NULL, NULL);
}
