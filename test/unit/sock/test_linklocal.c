/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sin6_scope_id: two stacks on two VLANs of one wire, so that all link-local addresses are there
 * twice. The same ports on both links are two connections, and each says its link.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <rte_mbuf.h>

#include <ip/ip_int.h>

#include "duo.h"

struct end {
	struct sluice_stack *st;
	sluice_conn_t c;
	char got[16];
	bool up, closed;
};

static struct end server[2];
static unsigned int nserver;

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct end *e = &server[nserver];

	assert_true(nserver < 2);
	nserver++;
	*e = (struct end){.st = ((struct end *)arg)->st, .c = eager, .up = true};
	*up_arg = e;
	return 0;
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	((struct end *)arg)->up = true;
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct end *e = arg;
	struct iovec iov;

	if (sluice_peek(e->st, c, &iov, 1) == 1 && avail < sizeof(e->got))
		memcpy(e->got, iov.iov_base, iov.iov_len);
	return sluice_consume(e->st, c, avail);
}

static void on_closed(void *arg, sluice_conn_t c)
{
	((struct end *)arg)->closed = true;
}

static const struct sluice_upcalls up = {.size = sizeof(up),
    .newconn = on_newconn,
    .connected = on_connected,
    .recv = on_recv,
    .closed = on_closed};

static struct sockaddr_in6 ll_of(struct sluice_stack *st, uint32_t scope, uint16_t port)
{
	const struct sl_cfg *c = sl_ip_cfg(st->sq[0]);
	struct sockaddr_in6 sa = {
	    .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = scope};

	for (uint32_t i = 0; i < c->naddrs; i++)
		if (c->addrs[i].linklocal)
			memcpy(&sa.sin6_addr, &c->addrs[i].addr, 16);
	return sa;
}

/* An interface has a link-local address when it has any of IPv6. */
static void add_vlans(struct sluice_stack *st, const char *addr1, const char *addr2)
{
	static const char *const name[] = {"v1", "v2"};
	struct sluice_if_params p = {.size = sizeof(p), .vlan = {0, SLUICE_VLAN_NONE}};
	struct sluice_txn *t;
	const char *why;

	assert_int_equal(sluice_txn_begin(st, &t), 0);
	for (uint16_t i = 0; i < 2; i++) {
		p.name = name[i];
		p.vlan[0] = i + 1;
		assert_int_equal(sluice_if_add(t, &p), 0);
		assert_int_equal(sluice_addr_add(t, name[i], i == 0 ? addr1 : addr2, false), 0);
	}
	assert_int_equal(sluice_txn_commit(t, &why), 0);
}

static sluice_conn_t make(struct sluice_stack *st, void *arg)
{
	sluice_conn_t c;

	assert_int_equal(sluice_create(st, AF_INET6, SOCK_STREAM, 0, 0, -1, &c), 0);
	assert_int_equal(sluice_activate(st, c, &up, arg), 0);
	return c;
}

static int dial(struct sluice_stack *st, sluice_conn_t c, struct sockaddr_in6 sa)
{
	return sluice_connect(st, c, (struct sockaddr *)&sa, sizeof(sa), NULL);
}

static int bind_to(struct sluice_stack *st, sluice_conn_t c, struct sockaddr_in6 sa)
{
	return sluice_bind(st, c, (struct sockaddr *)&sa, sizeof(sa));
}

static uint32_t scope_of(
    int (*get)(struct sluice_stack *, sluice_conn_t, struct sockaddr *, socklen_t *),
    struct sluice_stack *st, sluice_conn_t c, struct sockaddr_in6 *sa)
{
	socklen_t len = sizeof(*sa);

	assert_int_equal(get(st, c, (struct sockaddr *)sa, &len), 0);
	assert_int_equal(sa->sin6_addr.s6_addr[2] | sa->sin6_addr.s6_addr[3], 0);
	return sa->sin6_scope_id;
}

static void two_links(void **state)
{
	struct duo d = {0};
	struct duo_params p = {.seed = 3};
	struct end client[2] = {{0}}, listener;
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(80)}, sa;
	struct sluice_stack *a, *b;
	uint32_t scope[2];

	nserver = 0;
	duo_start(&d, &p);
	a = d.st[0];
	b = d.st[1];
	/* One link: no need to say which. */
	listener = (struct end){.st = b};
	listener.c = make(b, &listener);
	assert_int_equal(bind_to(b, listener.c, any), 0);
	assert_int_equal(sluice_listen(b, listener.c, 8), 0);
	client[0] = (struct end){.st = a};
	client[0].c = make(a, &client[0]);
	assert_int_equal(dial(a, client[0].c, ll_of(b, 0, 80)), -EINPROGRESS);
	assert_true(duo_until(&d, &client[0].up, SLUICE_SEC(5)));
	assert_int_equal(
	    scope_of(sluice_getpeername, a, client[0].c, &sa), sluice_if_index(a, "wire0"));
	sluice_close(a, client[0].c);
	duo_run(&d, SLUICE_MS(50));
	sluice_close(b, server[0].c);
	duo_run(&d, SLUICE_SEC(1));
	assert_true(client[0].closed && server[0].closed);

	add_vlans(a, "fd01::1/64", "fd02::1/64");
	add_vlans(b, "fd01::2/64", "fd02::2/64");
	assert_int_equal(sluice_if_index(a, "none"), -ENOENT);
	nserver = 0;
	for (int i = 0; i < 2; i++) {
		struct sockaddr_in6 from;

		client[i] = (struct end){.st = a};
		client[i].c = make(a, &client[i]);
		scope[i] = (uint32_t)sluice_if_index(a, i == 0 ? "v1" : "v2");
		assert_int_equal(dial(a, client[i].c, ll_of(b, 0, 80)), -EINVAL);
		assert_int_equal(dial(a, client[i].c, ll_of(b, 99, 80)), -EINVAL);
		from = ll_of(a, scope[i], 4000);
		assert_int_equal(bind_to(a, client[i].c, from), 0); /* the same address and port */
		assert_int_equal(dial(a, client[i].c, ll_of(b, 5 - scope[i], 80)), -EINVAL);
		/* that of the bound address */
		assert_int_equal(
		    dial(a, client[i].c, ll_of(b, i == 0 ? 0 : scope[i], 80)), -EINPROGRESS);
		assert_true(duo_until(&d, &client[i].up, SLUICE_SEC(5)));
	}
	duo_run(&d, SLUICE_MS(10)); /* the last ACK arrives */
	assert_int_equal(nserver, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(scope_of(sluice_getsockname, a, client[i].c, &sa), scope[i]);
		assert_int_equal(sa.sin6_port, htons(4000));
		assert_int_equal(scope_of(sluice_getpeername, b, server[i].c, &sa), scope[i]);
		assert_int_equal(sluice_send_copy(a, client[i].c, i == 0 ? "one" : "two", 4, 0), 4);
	}
	duo_run(&d, SLUICE_MS(100));
	assert_string_equal(server[0].got, "one");
	assert_string_equal(server[1].got, "two");
	for (int i = 0; i < 2; i++) {
		sluice_abort(a, client[i].c);
		sluice_abort(b, server[i].c);
	}
	sluice_close(b, listener.c);
	duo_run(&d, SLUICE_SEC(1));
	assert_int_equal(duo_stop(&d), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(two_links)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
