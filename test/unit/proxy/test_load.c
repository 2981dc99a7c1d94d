/* SPDX-License-Identifier: BSD-3-Clause */
/* Many at once, many in a row, over bad links, and with ends that die at random. With SLUICE_LONG in the
 * environment ten times as many, and for longer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trio.h"

#define CONFIG(global, pool)                                             \
	"[proxy.listener l]\nport = 80\npool = p\n[proxy.pool p]\n" pool \
	"[proxy.backend b]\npool = p\naddress = 10.0.1.2\nport = 8080\n[proxy.global]\n" global

static struct trio t;

static bool is_long(void)
{
	return getenv("SLUICE_LONG") != NULL;
}

static uint64_t rng = 0x853c49e6748fea9bull;

static uint64_t below(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng % n;
}

/** Connections that only stand cost no buffer; then each moves something and ends. */
static void test_held(void **state)
{
	unsigned int n = is_long() ? 10000 : 1000;
	struct trio_params p = {.seed = 21, .max_connections = 2 * n + 64};
	struct peer *c;
	uint32_t base;

	trio_start(&t, &p, false);
	trio_backend(&t, 0, "10.0.1.2", 8080);
	trio_config(&t, CONFIG("", "balance = leastconn\nsources = 10.0.1.10-10.0.1.13\n"));
	trio_run(&t, SLUICE_SEC(1));
	base = trio_mbufs(&t);
	for (unsigned int i = 0; i < n; i++) {
		c = trio_client(&t, "10.0.0.2", 80, 3000, 3000);
		c->silent = true;
		if (i % 100 == 99)
			trio_run(&t, SLUICE_MS(1));
	}
	trio_run(&t, SLUICE_SEC(5));
	assert_int_equal(trio_n(&t).open, n);
	assert_int_equal(t.nservers, n);
	assert_int_equal(t.proxy.of[0].pool[0]->backend[0]->share->active, n);
	assert_int_equal(trio_mbufs(&t), base);
	TAILQ_FOREACH (c, &t.clients, link) {
		c->silent = false;
		trio_release(c);
	}
	assert_true(trio_finish(&t, SLUICE_SEC(30)));
	assert_int_equal(t.done, n);
	trio_stop(&t);
}

/** (max_connections bounds TIME_WAIT entries too.) Far more short connections to one address and
 * port than there are ports: each opener that would find none takes one out of TIME_WAIT, or waits.
 * None fails. */
static void test_short(void **state)
{
	unsigned int n = is_long() ? 200000 : 20000, at_once = 300, started = 0;
	struct sluice_tunables client, proxy;
	struct trio_params p = {.seed = 22,
	    .max_connections = is_long() ? 65536 : 2048,
	    .tun = {[CLIENT] = &client, [PROXY] = &proxy}};
	struct sluice_counters c;

	sluice_tunables_default(&client);
	client.tcp_time_wait = 0; /* clients are many in truth, with ports of their own */
	sluice_tunables_default(&proxy);
	if (!is_long()) {
		proxy.tcp_port_min = 40000;
		proxy.tcp_port_max = 40999;
	}
	trio_start(&t, &p, false);
	trio_backend(&t, 0, "10.0.1.2", 8080);
	trio_config(&t, CONFIG("", "sources = 10.0.1.10-10.0.1.13\n"));
	while (t.done + t.failed < n) {
		while (started < n && t.nclients < at_once) {
			trio_client(&t, "10.0.0.2", 80, 100, 100);
			started++;
		}
		trio_run(&t, 100000);
	}
	assert_int_equal(t.failed, 0);
	assert_int_equal(t.done, n);
	assert_int_equal(trio_n(&t).ended[REASON_DONE] + trio_n(&t).open, n);
	assert_int_equal(trio_n(&t).connect_failed, 0);
	sluice_counters_sum(t.st[PROXY], &c);
	assert_true(c.tcp_timewait_reused > 1000);
	assert_int_equal(c.tcp_timewait_evicted, 0);
	assert_true(trio_n(&t).port_waits > 0);
	trio_stop(&t);
}

/** One source address and few ports: the waits are seen, and the last resort is an end with a
 * reason. */
static void test_no_ports(void **state)
{
	struct sluice_tunables proxy;
	struct sluice_counters c;
	struct trio_params p = {.seed = 23, .tun = {[PROXY] = &proxy}};

	sluice_tunables_default(&proxy);
	proxy.tcp_port_min = 40000;
	proxy.tcp_port_max = 40009;
	trio_start(&t, &p, false);
	trio_backend(&t, 0, "10.0.1.2", 8080);
	trio_config(&t, CONFIG("", "connect_timeout = 3s\n"));
	for (int i = 0; i < 10; i++)
		trio_client(&t, "10.0.0.2", 80, 10, 10)->no_fin = true;
	trio_run(&t, SLUICE_MS(500));
	trio_client(&t, "10.0.0.2", 80, 10, 10);
	trio_client(&t, "10.0.0.2", 80, 10, 10);
	trio_run(&t, SLUICE_SEC(2));
	assert_int_equal(t.done + t.failed, 0);
	assert_true(trio_n(&t).port_waits > 10);
	sluice_counters_sum(t.st[PROXY], &c);
	assert_true(
	    c.tcp_ports_exhausted * 3 <= trio_n(&t).port_waits * 2); /* one searches for both */
	trio_abort(TAILQ_FIRST(&t.clients)); /* a port comes free, without TIME_WAIT */
	trio_run(&t, SLUICE_MS(500));
	assert_int_equal(t.done, 1);
	trio_run(&t, SLUICE_SEC(3));
	assert_int_equal(trio_n(&t).connect_failed, 0);
	while (t.nclients > 0) {
		trio_abort(TAILQ_FIRST(&t.clients));
		trio_run(&t, SLUICE_MS(10));
	}
	trio_stop(&t);
}

/** Both links lose 2 % each way. */
static void test_loss(void **state)
{
	struct trio_params p = {.seed = 24, .loss_ppm = 20000};
	unsigned int n = is_long() ? 400 : 40;

	trio_start(&t, &p, false);
	trio_backend(&t, 0, "10.0.1.2", 8080);
	trio_config(&t, CONFIG("", "connect_timeout = 60s\n"));
	for (unsigned int i = 0; i < n; i++) {
		trio_client(&t, i % 2 ? "10.0.0.2" : "fd00::2", 80, below(300000), below(300000));
		if (i % 40 == 39)
			assert_true(trio_finish(&t, SLUICE_SEC(600)));
	}
	assert_int_equal(t.done, n);
	trio_stop(&t);
}

/** One transfer both ways, of a size that meets everything that loss can do. */
static void test_big_loss(void **state)
{
	struct trio_params p = {.seed = 26, .loss_ppm = 20000};
	uint64_t size = is_long() ? 1ull << 30 : 8 << 20;
	struct sluice_counters c;

	trio_start(&t, &p, false);
	trio_backend(&t, 0, "10.0.1.2", 8080);
	trio_config(&t, CONFIG("", "connect_timeout = 60s\n"));
	t.server_fin_first = true; /* both ways at once */
	trio_client(&t, "10.0.0.2", 80, size, size);
	assert_true(trio_finish(&t, SLUICE_SEC(100000)));
	/* The client may be gone before the last of what it sent has come to the backend. */
	for (int i = 0; i < 1000 && t.nservers > 0; i++)
		trio_run(&t, SLUICE_MS(100));
	assert_int_equal(t.done, 1);
	assert_int_equal(t.bytes, 2 * size);
	sluice_counters_sum(t.st[PROXY], &c);
	assert_true(c.tcp_retrans_segs > size / 1448 / 50); /* it bit: 2 % of both ways */
	trio_stop(&t);
}

static struct peer *any(struct peers *list, unsigned int n)
{
	struct peer *p = TAILQ_FIRST(list);

	for (uint64_t k = n > 0 ? below(n) : 0; k > 0; k--)
		p = TAILQ_NEXT(p, link);
	return p;
}

/* A transfer whose client or server was struck need not end well; every other one must, or be
 * reset: an end of stream before the last byte is a lie. Which server is a client's is known once
 * the head has come. */
static void mark(struct peer *p)
{
	struct peer *other;

	p->struck = true;
	if (!p->server)
		return;
	TAILQ_FOREACH (other, &t.clients, link)
		if (other->id == p->id)
			other->struck = true;
}

/** Something happens to a client or a server. */
static void strike(struct peer *p)
{
	if (p == NULL || p->closing || p->c == 0)
		return;
	switch (below(5)) {
	case 0:
		mark(p);
		trio_abort(p);
		break;
	case 1:
		if (p->server && !p->head_done)
			break; /* nobody could tell that it was not the proxy */
		mark(p);
		trio_close(p);
		break;
	case 2:
		p->hold = true;
		break;
	default:
		trio_release(p);
		break;
	}
}

static void release_all(struct peers *list)
{
	struct peer *p;

	TAILQ_FOREACH (p, list, link)
		if (p->hold && !p->closing)
			trio_release(p);
}

static void config_for_ends(void)
{
	trio_config(
	    &t, CONFIG("", "retry_delay = 5ms\nconnect_timeout = 100ms\n"
			   "health_interval = 50ms\nsend_proxy = off\n"
			   "[proxy.backend dead]\npool = p\naddress = 10.0.1.2\nport = 9999\n"
			   "[proxy.backend mute]\npool = p\naddress = 10.0.1.99\nport = 1\n"));
}

static void random_event(void)
{
	if (t.nclients < 60)
		trio_client(
		    &t, below(2) ? "10.0.0.2" : "fd00::2", 80, below(200000), below(200000));
	if (below(3) == 0)
		strike(any(&t.clients, t.nclients));
	if (below(3) == 0)
		strike(any(&t.servers, t.nservers));
	if (below(200) == 0)
		t.server_abort_at_once = !t.server_abort_at_once;
	if (below(500) == 0) {
		if (t.listener[0] != 0)
			trio_backend_close(&t, 0);
		else
			trio_backend(&t, 0, "10.0.1.2", 8080);
	}
}

/** A minute (ten with SLUICE_LONG) in which ends die, stop reading, go on, over a lossy link, in all
 * states; whoever saw both ends of stream had every byte, and every object comes back. */
static void test_random_ends(void **state)
{
	struct sluice_tunables small;
	struct trio_params p = {.seed = 25, .loss_ppm = 2000, .tun = {[PROXY] = &small}};
	uint64_t end;

	sluice_tunables_default(&small);
	small.tcp_sndbuf = 20000; /* both sides wait for each other all the time */
	small.tcp_rcvbuf = 20000;
	trio_start(&t, &p, false);
	trio_backend(&t, 0, "10.0.1.2", 8080);
	config_for_ends();
	trio_run(&t, SLUICE_SEC(1));
	end = t.now + SLUICE_SEC(is_long() ? 600 : 10);
	while (t.now < end) {
		random_event();
		trio_run(&t, below(2) ? 50000 : SLUICE_MS(3));
	}
	release_all(&t.clients);
	release_all(&t.servers);
	trio_run(&t, SLUICE_SEC(1000)); /* what is left ends by time-outs */
	assert_int_equal(t.nclients, 0);
	assert_int_equal(t.cut_short, 0);
	assert_true(t.done > 200); /* and all ways to end were taken */
	assert_true(trio_n(&t).ended[REASON_CLIENT_RESET] > 20);
	assert_true(trio_n(&t).ended[REASON_BACKEND_RESET] > 20);
	assert_true(trio_n(&t).ended[REASON_CONNECT_FAILED] > 20);
	trio_stop(&t);
}

int main(int argc, char **argv)
{
	trio_squeues = argc > 1 ? (unsigned int)atoi(argv[1]) : 1;

	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_held),
	    cmocka_unit_test(test_short),
	    cmocka_unit_test(test_no_ports),
	    cmocka_unit_test(test_loss),
	    cmocka_unit_test(test_big_loss),
	    cmocka_unit_test(test_random_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
