/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors and rules of the preload library. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "preload/preload.h"

#define MAX 1000

/* What the library has elsewhere. */
struct slp_real slp_real_table = {.close = close};
bool slp_real_loaded = true;
__thread int slp_inside;
void slp_real_load(void)
{
}

static _Atomic int released;

static void on_release(struct slp_file *f)
{
	atomic_fetch_add(&released, 1);
}

static int setup(void **state)
{
	slp_on_release = on_release;
	return slp_table_init(MAX);
}

/* ---- table ---- */

static struct slp_file *put_at(int fd)
{
	struct slp_file *f = slp_file_new(SLP_SOCKET);

	assert_non_null(f);
	assert_int_equal(slp_install(fd, f), 0);
	return f;
}

static void drop(int fd)
{
	struct slp_file *f = slp_remove(fd);

	assert_non_null(f);
	slp_put(f);
}

static void a_file_lives_as_long_as_it_is_used(void **state)
{
	struct slp_file *f = put_at(5), *g;

	atomic_store(&released, 0);
	assert_null(slp_get(4));
	assert_null(slp_get(-1));
	assert_null(slp_get(MAX));
	assert_ptr_equal(slp_get(5), f);
	slp_ref(f);
	assert_int_equal(slp_install(9, f), 0); /* a second number */
	drop(5);
	assert_null(slp_get(5));
	assert_null(slp_remove(5));
	assert_int_equal(atomic_load(&released), 0);
	drop(9);
	assert_int_equal(atomic_load(&released), 0); /* a call is under way */
	slp_put(f);
	assert_int_equal(atomic_load(&released), 1);
	g = put_at(5); /* the same memory, perhaps: as new */
	assert_int_equal(g->so, -1);
	assert_int_equal(atomic_load(&g->state), SLP_NEW);
	drop(5);
}

static void a_number_that_is_taken_lets_go(void **state)
{
	struct slp_file *f;

	put_at(7);
	atomic_store(&released, 0);
	f = put_at(7);
	assert_int_equal(atomic_load(&released), 1);
	assert_ptr_equal(slp_get(7), f);
	slp_put(f);
	assert_int_equal(slp_install(MAX, f), -EMFILE);
	drop(7);
}

static void count(int fd, struct slp_file *f, void *arg)
{
	*(int *)arg += fd;
}

static void all_are_found(void **state)
{
	int sum = 0;

	put_at(3);
	put_at(40);
	put_at(999);
	slp_each(count, &sum);
	assert_int_equal(sum, 3 + 40 + 999);
	assert_int_equal(slp_next(0, ~0U), 3);
	assert_int_equal(slp_next(4, ~0U), 40);
	assert_int_equal(slp_next(4, 39), -1);
	assert_int_equal(slp_next(41, ~0U), 999);
	drop(3);
	drop(40);
	drop(999);
	assert_int_equal(slp_next(0, ~0U), -1);
}

static void the_dataplane_has_no_descriptors_here(void **state)
{
	put_at(3);
	slp_inside = 1;
	assert_null(slp_get(3));
	assert_null(slp_remove(3));
	slp_inside = 0;
	drop(3);
}

static void a_child_keeps_what_it_can_use(void **state)
{
	struct slp_file *f = put_at(300), *e = slp_file_new(SLP_EPOLL), *i;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(slp_install(301, e), 0);
	atomic_store(&e->ep, 77);
	i = slp_file_new(SLP_INTERNAL);
	assert_int_equal(slp_install(fds[0], i), 0);
	slp_epoch++;
	slp_table_child();
	assert_ptr_equal(slp_get(300), f);
	assert_int_not_equal(f->epoch, slp_epoch);
	assert_int_equal(atomic_load(&e->ep), -1);
	assert_null(slp_get(fds[0]));
	assert_int_equal(close(fds[0]), -1); /* is closed */
	close(fds[1]);
	slp_put(f);
	drop(300);
	drop(301);
}

static void options_in_their_order(void **state)
{
	struct slp_file *f = put_at(3);
	int one = 1, two = 2, got;

	assert_int_equal(slp_opt_add(f, 1, 10, &one, sizeof(one)), 0);
	assert_int_equal(slp_opt_add(f, 1, 11, &one, sizeof(one)), 0);
	assert_int_equal(slp_opt_add(f, 1, 10, &two, sizeof(two)), 0);
	assert_int_equal(f->opts->name, 11);
	assert_int_equal(f->opts->next->name, 10);
	memcpy(&got, f->opts->next->val, sizeof(got));
	assert_int_equal(got, 2);
	assert_null(f->opts->next->next);
	drop(3);
}

/* ---- threads: numbers come and go, and nobody gets another's file ---- */

#define ROUNDS 20000

static _Atomic int stop;

static void *user(void *arg)
{
	int wrong = 0;

	while (!atomic_load(&stop)) {
		for (int fd = 100; fd < 104; fd++) {
			struct slp_file *f = slp_get(fd);

			if (f == NULL)
				continue;
			/* It was made for this number, and stays so while it is held. */
			wrong += f->domain != fd || atomic_load(&f->refs) == 0;
			slp_put(f);
		}
	}
	return (void *)(intptr_t)wrong;
}

static void *changer(void *arg)
{
	int fd = (int)(intptr_t)arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct slp_file *f = slp_file_new(SLP_SOCKET);

		f->domain = fd;
		if (slp_install(fd, f) != 0)
			break;
		f = slp_remove(fd);
		slp_put(f);
	}
	return NULL;
}

static void numbers_come_and_go(void **state)
{
	pthread_t u[2], c[4];
	void *wrong;

	atomic_store(&released, 0);
	atomic_store(&stop, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&u[i], NULL, user, NULL), 0);
	for (intptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&c[i], NULL, changer, (void *)(100 + i)), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(c[i], NULL);
	atomic_store(&stop, 1);
	for (int i = 0; i < 2; i++) {
		pthread_join(u[i], &wrong);
		assert_null(wrong);
	}
	assert_int_equal(atomic_load(&released), 4 * ROUNDS);
}

/* ---- rules ---- */

static bool ours(const struct slp_rules *rs, enum slp_dir dir, const char *addr, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	if (inet_pton(AF_INET, addr, &in.sin_addr) == 1)
		return slp_rules_match(rs, dir, (struct sockaddr *)&in, sizeof(in));
	assert_int_equal(inet_pton(AF_INET6, addr, &in6.sin6_addr), 1);
	return slp_rules_match(rs, dir, (struct sockaddr *)&in6, sizeof(in6));
}

static struct slp_rules make(const char *const *text)
{
	struct slp_rules rs = {0};
	struct slp_rule r;

	for (; *text != NULL; text++) {
		assert_int_equal(slp_rule_parse(*text, &r), 0);
		assert_int_equal(slp_rules_add(&rs, &r), 0);
	}
	return rs;
}

static void the_first_rule_decides(void **state)
{
	static const char *const text[] = {"kernel both 127.0.0.0/8",
	    "sluice connect 10.1.2.0/23 80", "kernel  connect\t10.0.0.0/8",
	    "sluice connect fd00::/8 1000-2000", "sluice listen 0.0.0.0", "kernel listen * 22",
	    "sluice both *", NULL};
	struct slp_rules rs = make(text);

	assert_false(ours(&rs, SLP_CONNECT, "127.0.0.1", 80));
	assert_false(ours(&rs, SLP_CONNECT, "::ffff:127.0.0.1", 80));
	assert_true(ours(&rs, SLP_CONNECT, "10.1.2.1", 80));
	assert_true(ours(&rs, SLP_CONNECT, "10.1.3.255", 80));
	assert_true(ours(&rs, SLP_CONNECT, "::ffff:10.1.3.255", 80));
	assert_false(ours(&rs, SLP_CONNECT, "10.1.3.255", 81));
	assert_false(ours(&rs, SLP_CONNECT, "10.1.4.0", 80));
	assert_true(ours(&rs, SLP_CONNECT, "11.1.4.0", 80));
	assert_true(ours(&rs, SLP_CONNECT, "fd12::1", 1000));
	assert_true(ours(&rs, SLP_LISTEN, "0.0.0.0", 22));
	assert_false(ours(&rs, SLP_LISTEN, "::", 22));
	assert_true(ours(&rs, SLP_LISTEN, "::", 23));
	slp_rules_free(&rs);
}

static void without_a_rule_the_kernel(void **state)
{
	static const char *const text[] = {"sluice connect fd00::1 443", NULL};
	struct slp_rules rs = make(text);
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr un = {.sa_family = AF_UNIX};

	assert_true(ours(&rs, SLP_CONNECT, "fd00::1", 443));
	assert_false(ours(&rs, SLP_LISTEN, "fd00::1", 443));
	assert_false(ours(&rs, SLP_CONNECT, "fd00::2", 443));
	assert_false(ours(&rs, SLP_CONNECT, "10.0.0.1", 443));
	assert_false(slp_rules_match(&rs, SLP_CONNECT, &un, sizeof(un)));
	assert_false(slp_rules_match(&rs, SLP_CONNECT, NULL, 0));
	assert_false(slp_rules_match(&rs, SLP_CONNECT, (struct sockaddr *)&in, 3));
	slp_rules_free(&rs);
}

static void rules_that_are_none(void **state)
{
	static const char *const text[] = {"", "sluice", "sluice connect", "ours connect *",
	    "sluice to *", "sluice both 10.0.0", "sluice both 10.0.0.0/33", "sluice both ::/129",
	    "sluice both 10.0.0.0/", "sluice both * 70000", "sluice both * 20-10",
	    "sluice both * 80 more", "sluice both * -1", "sluice both * 1-",
	    "sluice both 10.0.0.0/+8", "sluicesluice both *",
	    "sluice both 1111111111111111111111111111111111111111111111111111111111111111111",
	    NULL};
	struct slp_rule r;

	for (size_t i = 0; text[i] != NULL; i++)
		assert_int_equal(slp_rule_parse(text[i], &r), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_file_lives_as_long_as_it_is_used),
	    cmocka_unit_test(a_number_that_is_taken_lets_go),
	    cmocka_unit_test(all_are_found),
	    cmocka_unit_test(the_dataplane_has_no_descriptors_here),
	    cmocka_unit_test(a_child_keeps_what_it_can_use),
	    cmocka_unit_test(options_in_their_order),
	    cmocka_unit_test(numbers_come_and_go),
	    cmocka_unit_test(the_first_rule_decides),
	    cmocka_unit_test(without_a_rule_the_kernel),
	    cmocka_unit_test(rules_that_are_none),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
