/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions and the ini file: what applies, what is refused, and that a refusal changes nothing.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <ctl/ctl_int.h>

#include <rte_cfgfile.h>

#include "duo.h"
#include "mpool.h"

struct world {
	struct duo d;
	char path[64];
	char log[512];
	int refuse;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct duo_params p = {.nsq = 2, .seed = 5};
	int fd;

	assert_non_null(w);
	strcpy(w->path, "/tmp/sluice-config-XXXXXX");
	fd = mkstemp(w->path);
	assert_true(fd >= 0);
	close(fd);
	duo_start(&w->d, &p);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	unlink(w->path);
	assert_int_equal(duo_stop(&w->d), 0);
	free(w);
	return 0;
}

static int listener(void *arg, const struct sluice_ini_listener *l, bool add)
{
	struct world *w = arg;
	size_t n = strlen(w->log);

	if (add && w->refuse)
		return -EADDRINUSE;
	snprintf(w->log + n, sizeof(w->log) - n, "%c%s:%u ", add ? '+' : '-', l->name, l->port);
	return 0;
}

static int load(struct world *w, const char *text, char err[256])
{
	FILE *f = fopen(w->path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	f = NULL;
	err[0] = '\0';
	return sluice_config_load(w->d.st[0], w->path, err, 256, listener, w);
}

static uint64_t applied(struct world *w)
{
	struct sluice_counters c;

	sluice_counters_sum(w->d.st[0], &c);
	return c.ctl_applied;
}

static void prefixes_parse(void **state)
{
	static const struct {
		const char *text;
		int rc;
		uint8_t plen;
	} t[] = {{"10.0.0.1/24", 0, 120}, {"10.0.0.1", 0, 128}, {"0.0.0.0/0", 0, 96},
	    {"::/0", 0, 0}, {"fd00::1/64", 0, 64}, {"10.0.0.1/33", -EINVAL, 0},
	    {"10.0.0/24", -EINVAL, 0}, {"fd00::1/129", -EINVAL, 0}, {"/24", -EINVAL, 0},
	    {"10.0.0.1/", -EINVAL, 0}, {"10.0.0.1/-1", -EINVAL, 0}, {"10.0.0.1/24x", -EINVAL, 0},
	    {"", -EINVAL, 0}};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct sluice_addr a;
		uint8_t plen = 0;

		assert_int_equal(sl_parse_prefix(t[i].text, &a, &plen), t[i].rc);
		if (t[i].rc == 0)
			assert_int_equal(plen, t[i].plen);
	}
}

static void rows_are_checked(void **state)
{
	struct world *w = *state;
	struct sluice_if_params p = {
	    .size = sizeof(p), .name = "v100", .vlan = {100, SLUICE_VLAN_NONE}, .vrf = 7};
	struct sluice_txn *t, *second;

	assert_int_equal(sluice_txn_begin(w->d.st[0], &t), 0);
	assert_int_equal(sluice_txn_begin(w->d.st[0], &second), -EBUSY);
	assert_int_equal(sluice_if_add(t, &p), -EINVAL); /* no such VRF */
	assert_int_equal(sluice_vrf_add(t, 7), 0);
	assert_int_equal(sluice_vrf_add(t, 7), -EEXIST);
	assert_int_equal(sluice_if_add(t, &p), 0);
	assert_int_equal(sluice_if_add(t, &p), -EEXIST);
	p.name = "again";
	assert_int_equal(sluice_if_add(t, &p), -EEXIST); /* the same port and tag */
	p.vlan[0] = 4095;
	assert_int_equal(sluice_if_add(t, &p), -EINVAL);
	p.vlan[0] = 101;
	p.port = 5;
	assert_int_equal(sluice_if_add(t, &p), -EINVAL); /* no such port */
	assert_int_equal(sluice_addr_add(t, "v100", "10.1.0.1/24", false), 0);
	assert_int_equal(sluice_addr_add(t, "v100", "10.1.0.1/24", false), -EEXIST);
	assert_int_equal(sluice_addr_add(t, "v100", "224.0.0.1/24", false), -EINVAL);
	assert_int_equal(sluice_addr_add(t, "none", "10.1.0.2/24", false), -ENOENT);
	assert_int_equal(sluice_vrf_del(t, 7), -EBUSY);
	assert_int_equal(sluice_if_del(t, "v100"), -EBUSY);
	assert_int_equal(sluice_route_add(t, 7, "10.9.0.0/16", "10.1.0.254", NULL), 0);
	assert_int_equal(sluice_route_add(t, 7, "10.9.0.0/16", "10.1.0.254", NULL), -EEXIST);
	assert_int_equal(
	    sluice_route_add(t, 7, "10.9.0.1/16", "10.1.0.254", NULL), -EINVAL); /* host bits */
	assert_int_equal(
	    sluice_route_add(t, 7, "::/0", "10.1.0.254", NULL), -EINVAL); /* families */
	assert_int_equal(
	    sluice_route_add(t, 0, "10.9.0.0/16", NULL, "v100"), -EINVAL); /* another VRF's */
	assert_int_equal(sluice_tunable_set(t, "tcp.cc", 17), -ERANGE);
	assert_int_equal(sluice_tunable_set(t, "no.such", 1), -ENOENT);
	assert_int_equal(sluice_tunable_set(t, "squeue.call_slots", 64), -EBUSY);
	assert_int_equal(sluice_txn_commit(t, NULL), 0);
	assert_int_equal(sl_ip_cfg(w->d.st[0]->sq[1])->nifs, 2);
	assert_int_equal(sl_ip_cfg(w->d.st[0]->sq[1])->nvrfs, 2);
}

static void commit_is_all_or_nothing(void **state)
{
	struct world *w = *state;
	const char *why = NULL;
	struct sluice_txn *t;
	uint64_t before = applied(w), value;

	assert_int_equal(sluice_txn_begin(w->d.st[0], &t), 0);
	assert_int_equal(sluice_tunable_set_text(t, "tcp.delack", "17ms"), 0);
	assert_int_equal(
	    sluice_route_add(t, 0, "10.9.0.0/16", "172.16.0.1", NULL), 0); /* on no link */
	assert_int_equal(sluice_txn_commit(t, &why), -ENETUNREACH);
	assert_non_null(strstr(why, "gateway"));
	assert_int_equal(applied(w), before);
	assert_int_equal(sluice_tunable_get(w->d.st[0], "tcp.delack", &value), 0);
	assert_int_equal(value, SLUICE_MS(40));

	assert_int_equal(sluice_txn_begin(w->d.st[0], &t), 0);
	assert_int_equal(sluice_tunable_set_text(t, "tcp.delack", "17ms"), 0);
	assert_int_equal(sluice_txn_commit(t, &why), 0);
	assert_int_equal(applied(w), before + 2);
	assert_int_equal(w->d.st[0]->sq[1]->tun.tcp_delack, SLUICE_MS(17));
}

static void routes_are_derived(void **state)
{
	struct world *w = *state;
	const struct sl_cfg *c = sl_ip_cfg(w->d.st[0]->sq[0]);
	bool v4 = false, ll = false;

	for (uint32_t i = 0; i < c->nroutes; i++) {
		assert_true(i == 0 || c->routes[i - 1].vrf < c->routes[i].vrf ||
			    c->routes[i - 1].plen >= c->routes[i].plen);
		v4 |= c->routes[i].plen == 120 && c->routes[i].prefix.w[3] == htonl(0x0a000000);
	}
	for (uint32_t i = 0; i < c->naddrs; i++)
		ll |= c->addrs[i].linklocal && c->addrs[i].addr.b[0] == 0xfe;
	assert_true(v4);
	assert_true(ll);
}

#define BASE "[interface wire0]\nport = 0\naddress = 10.0.0.1/24, fd00::1/64\n"

static void ini_applies(void **state)
{
	struct world *w = *state;
	char err[256];
	uint64_t v;

	assert_int_equal(
	    load(w,
		"[listener web]\nport = 80\n[route out]\nprefix = 0.0.0.0/0\nvia = 10.0.0.254\n"
		"[neighbour gw]\ninterface = wire0\naddress = 10.0.0.254\nmac = "
		"02:00:00:00:00:09\n" BASE
		"[tunables]\ntcp.cc = newreno\ntcp.rcvbuf = 64k ; small\n",
		err),
	    0);
	assert_string_equal(err, "");
	assert_string_equal(w->log, "+web:80 ");
	assert_int_equal(sluice_tunable_get(w->d.st[0], "tcp.rcvbuf", &v), 0);
	assert_int_equal(v, 65536);
	assert_int_equal(sl_ip_cfg(w->d.st[0]->sq[0])->nneighs, 1);

	/* A reload applies the difference: what is the same is not touched, what is gone goes. */
	w->log[0] = '\0';
	assert_int_equal(
	    load(w, BASE "[listener web]\nport = 80\n[listener alt]\nport = 81\n", err), 0);
	assert_string_equal(w->log, "+alt:81 ");
	assert_int_equal(sluice_tunable_get(w->d.st[0], "tcp.rcvbuf", &v), 0);
	assert_int_equal(v, 1048576);
	assert_int_equal(sl_ip_cfg(w->d.st[0]->sq[0])->nneighs, 0);
	w->log[0] = '\0';
	assert_int_equal(load(w, BASE, err), 0);
	assert_string_equal(w->log, "-web:80 -alt:81 ");
}

/* A kind with a dot is a program's own section: skipped, wherever it stands; syntax is checked all
 * the same. */
static void ini_leaves_program_sections(void **state)
{
	struct world *w = *state;
	char err[256];

	assert_int_equal(load(w,
			     "[proxy.pool a b]\ncolour = red\nport = zero\n" BASE
			     "[proxy.global]\n[x.listener y]\nport = 1\n",
			     err),
	    0);
	assert_string_equal(w->log, "");
	assert_true(load(w, BASE "[proxy.pool a]\nwords\n", err) < 0);
	assert_non_null(strstr(err, ":5: "));
	assert_true(load(w, BASE "[proxy a.b]\n", err) < 0); /* the dot is in the name */
}

/* What the library writes to stderr meanwhile; it should be nothing. */
static int muted, catcher;

static void mute(void)
{
	char path[] = "/tmp/sluice-stderr-XXXXXX";

	fflush(stderr);
	catcher = mkstemp(path);
	assert_true(catcher >= 0);
	unlink(path);
	muted = dup(2);
	dup2(catcher, 2);
}

static long unmute(void)
{
	long n = lseek(catcher, 0, SEEK_END);

	dup2(muted, 2);
	close(muted);
	close(catcher);
	return n;
}

static void bad_ini_changes_nothing(void **state)
{
	static const struct {
		const char *text;
		int line;
		const char *word;
	} bad[] = {
	    {"[interface wire0\n", 1, "section"},
	    {"x = 1\n", 1, "before"},
	    {"[tunables]\n\ntcp.cc = vegas\n", 3, "tcp.cc"},
	    {"[tunables]\ntcp.rcvbuf = 1\n", 2, "range"},
	    {"[tunables]\ntcp.nothing = 1\n", 2, "no such"},
	    {"[tunables]\njust words\n", 2, "name = value"},
	    {"[tunables]\ntcp.cc =\n", 2, "no value"},
	    {"[tunables]\ntcp.cc = ; newreno\n", 2, "no value"},
	    {"[tunables]\ntcp.cc = \\; newreno\n", 2, "tcp.cc"},
	    {"[tunables]\n= newreno\n", 2, "name = value"},
	    {"[tunables] x\n", 1, "section"},
	    {"[]\n", 1, "section"},
	    {"[interface wire0]\nport = 9\n", 1, "interface"},
	    {"[interface wire0]\nport = zero\n", 2, "port"},
	    {"[interface wire0]\nport = 0\ncolour = red\n", 3, "colour"},
	    {BASE "[route x]\nprefix = 10.0.0.1/24\nvia = 10.0.0.9\n", 5, "prefix"},
	    {BASE "[neighbour x]\ninterface = wire0\naddress = 10.0.0.9\nmac = 1:2\n", 7, "mac"},
	    {BASE "[listener x]\n", 4, "port"},
	    {BASE "[nonsense]\na = b\n", 4, "unknown"},
	    {BASE "[route x]\nprefix = 10.9.0.0/16\nvia = 172.16.0.1\n", 0, "gateway"},
	};
	struct world *w = *state;
	char err[256], want[128];
	uint64_t before = applied(w);

	mute();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_true(load(w, bad[i].text, err) < 0);
		snprintf(want, sizeof(want), "%s:%d: ", w->path, bad[i].line);
		if (strncmp(err, want, strlen(want)) != 0 || strstr(err, bad[i].word) == NULL)
			fail_msg("%s gives: %s", bad[i].text, err);
	}
	assert_int_equal(unmute(), 0);
	assert_int_equal(applied(w), before);
	assert_string_equal(w->log, "");
	assert_int_equal(
	    sluice_config_load(w->d.st[0], "/nonexistent/file", err, sizeof(err), NULL, NULL),
	    -ENOENT);
}

/* Around the lengths at which rte_cfgfile gives up or cuts, without a newline at the end. */
static void long_lines_are_refused(void **state)
{
	struct world *w = *state;
	char err[256], text[800];

	mute();
	for (int len = 200; len < 700; len++) {
		snprintf(text, sizeof(text), "[p.x]\na = %0*d", len, 7);
		if (load(w, text, err) == 0)
			assert_true(len < CFG_VALUE_LEN);
		else
			assert_true(len >= CFG_VALUE_LEN && strstr(err, ":2: ") != NULL);
		snprintf(text, sizeof(text), "[p.x]\n%0*d = 7", len - 200, 7);
		if (load(w, text, err) == 0)
			assert_true(len - 200 < CFG_NAME_LEN);
		else
			assert_true(len - 200 >= CFG_NAME_LEN && strstr(err, ":2: ") != NULL);
	}
	assert_int_equal(unmute(), 0);
}

/* Memory that fails at the n-th request. */
static uint64_t allocs_left, allocs_out;

static void *scarce_alloc(void *arg, size_t size, size_t align)
{
	if (allocs_left == 0)
		return NULL;
	allocs_left--;
	allocs_out++;
	return aligned_alloc(align, (size + align - 1) / align * align);
}

static void scarce_free(void *arg, void *p, size_t size)
{
	allocs_out--;
	free(p);
}

static uint16_t no_burst(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	return 0;
}

static int two_queues(void *ctx, struct sluice_port_info *info)
{
	info->mtu = 1500;
	info->nqueues = 2;
	return 0;
}

static void no_destroy(void *ctx)
{
}

/* A port that fails at the second squeue is with none. */
static void port_add_rolls_back(void **state)
{
	static const struct sluice_driver_ops ops = {.size = sizeof(ops),
	    .name = "none",
	    .rx = no_burst,
	    .tx = no_burst,
	    .info = two_queues,
	    .destroy = no_destroy};
	struct rte_mempool *mp = tp_create(2048, 0);
	struct sluice_stack_params p = {.size = sizeof(p),
	    .name = "scarce",
	    .nsqueues = 3,
	    .max_connections = 64,
	    .hdr_pool = mp,
	    .data_pool = mp,
	    .seed = 1,
	    .mem_alloc = scarce_alloc,
	    .mem_free = scarce_free};
	struct sluice_driver d = {&ops, NULL};
	struct sluice_stack *st;

	allocs_left = UINT64_MAX;
	assert_int_equal(sluice_stack_create(&p, &st, NULL), 0);
	assert_int_equal(sluice_port_add(st, d), 0);
	for (unsigned int n = 0; n < 3; n++) {
		uint64_t out = allocs_out;

		allocs_left = n;
		assert_int_equal(sluice_port_add(st, d), -ENOMEM);
		assert_int_equal(allocs_out, out);
		for (unsigned int i = 0; i < 3; i++)
			assert_int_equal(st->sq[i]->nports, 1);
	}
	allocs_left = UINT64_MAX;
	assert_int_equal(sluice_port_add(st, d), 1);
	assert_int_equal(st->sq[2]->nports, 2);
	assert_int_equal(sluice_stack_destroy(st, NULL), 0);
	assert_int_equal(allocs_out, 0);
	assert_int_equal(tp_destroy(mp), 0);
}

/* Rules of a port that the kernel shares: as the file says, and as they were when it says nothing. */
static void kernel_rules(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {{"[kernel 0]\nrule1 = stack tcp\n", ":1: kernel: not the number"},
	    {"[kernel 2]\nrule1 = stack tcp\n", ":1: kernel: not the number"},
	    {"[kernel]\nrule1 = stack tcp\n", ":1: kernel: not the number"},
	    {"[kernel 1]\nrule1 = stack tcp\nrule2 = stack udp x\n", ":3: rule2: not a valid"},
	    {"[kernel 1]\nrule1 = stack tcp\nport = 80\n", ":3: port: unknown name"}};
	static const struct {
		const char *text;
		bool stack;
	} good[] = {{"", false}, {"[kernel 1]\nrule1 = kernel udp\nrule2 = stack any\n", true},
	    {"[vrf 1]\n", true}, {"[kernel 1]\nrule1 = kernel tcp\nrule2 = stack any\n", false}};
	struct sluice_wire_params wp = {.size = sizeof(wp), .nqueues = {1, 1}};
	struct sluice_kernel_params kp = {.size = sizeof(kp)};
	struct sluice_kernel_stats s = {.size = sizeof(s)}, was;
	struct sluice_driver a[2], b[2], d;
	struct world *w = *state;
	struct rte_mbuf *m;
	char err[256];

	assert_int_equal(sluice_wire_create(&wp, a), 0);
	assert_int_equal(sluice_wire_create(&wp, b), 0);
	kp.lower = a[1];
	kp.except = b[1];
	assert_int_equal(sluice_kernel_create(&kp, &d), 0);
	assert_int_equal(sluice_port_add(w->d.st[0], d), 1);
	for (size_t i = 0; i < RTE_DIM(bad); i++) {
		assert_int_equal(load(w, bad[i].text, err), -EINVAL);
		assert_non_null(strstr(err, bad[i].why));
	}
	for (size_t i = 0; i < RTE_DIM(good); i++) {
		assert_int_equal(load(w, good[i].text, err), 0);
		m = rte_pktmbuf_alloc(w->d.pool[0]); /* TCP over IPv4 */
		memset(rte_pktmbuf_append(m, 60), 0, 60);
		rte_pktmbuf_mtod(m, uint8_t *)[12] = 8;
		rte_pktmbuf_mtod(m, uint8_t *)[14] = 0x45;
		rte_pktmbuf_mtod(m, uint8_t *)[23] = 6;
		was = s;
		assert_int_equal(a[0].ops->tx(a[0].ctx, 0, &m, 1, 0), 1);
		if (d.ops->rx(d.ctx, 0, &m, 1, 0) == 1)
			rte_pktmbuf_free(m);
		assert_int_equal(sluice_kernel_stats(d, &s), 0);
		assert_int_equal(s.to_stack - was.to_stack, good[i].stack);
		assert_int_equal(s.to_kernel - was.to_kernel, !good[i].stack);
	}
	a[0].ops->destroy(a[0].ctx);
	b[0].ops->destroy(b[0].ctx);
}

static void refused_listener_rolls_back(void **state)
{
	struct world *w = *state;
	char err[256];
	uint64_t v;

	assert_int_equal(load(w, BASE "[listener a]\nport = 1\n", err), 0);
	w->refuse = 1;
	w->log[0] = '\0';
	assert_int_equal(
	    load(w, BASE "[tunables]\ntcp.delack = 1ms\n[listener b]\nport = 2\n", err),
	    -EADDRINUSE);
	assert_non_null(strstr(err, "listener b"));
	assert_int_equal(sluice_tunable_get(w->d.st[0], "tcp.delack", &v), 0);
	assert_int_equal(v, SLUICE_MS(40));
	w->refuse = 0;
	w->log[0] = '\0';
	assert_int_equal(load(w, BASE "[listener a]\nport = 1\n", err), 0);
	assert_string_equal(w->log, ""); /* still known as open */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(prefixes_parse),
	    cmocka_unit_test_setup_teardown(rows_are_checked, setup, teardown),
	    cmocka_unit_test_setup_teardown(commit_is_all_or_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(routes_are_derived, setup, teardown),
	    cmocka_unit_test_setup_teardown(ini_applies, setup, teardown),
	    cmocka_unit_test_setup_teardown(ini_leaves_program_sections, setup, teardown),
	    cmocka_unit_test_setup_teardown(bad_ini_changes_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(long_lines_are_refused, setup, teardown),
	    cmocka_unit_test(port_add_rolls_back),
	    cmocka_unit_test_setup_teardown(kernel_rules, setup, teardown),
	    cmocka_unit_test_setup_teardown(refused_listener_rolls_back, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
