/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stack as an application sets it up: two pools, memory accounted, a port, one interface with
 * addresses. The pools outlive the stack, since its ports give mbufs back while they are destroyed.
 */
#include "app.h"
#include "numa.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <numa.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#define POOL_CACHE 256

int app_log_level = 5; /* LOG_NOTICE */

int app_tunable_set(struct sluice_tunables *t, const char *word, char *err, size_t len)
{
	const char *eq = strchr(word, '=');
	char name[64];
	uint64_t value;
	int i, rc;

	if (eq == NULL || (size_t)(eq - word) >= sizeof(name)) {
		snprintf(err, len, "tunable \"%s\": want name=value", word);
		return -EINVAL;
	}
	memcpy(name, word, (size_t)(eq - word));
	name[eq - word] = '\0';
	i = sluice_tunable_find(name);
	if (i < 0) {
		snprintf(err, len, "no tunable is named \"%s\"", name);
		return i;
	}
	rc = sluice_tunable_parse((unsigned int)i, eq + 1, &value);
	if (rc != 0) {
		const struct sluice_tunable_info *info = sluice_tunable_info((unsigned int)i);

		snprintf(err, len, "tunable %s: \"%s\" is not a value in %llu..%llu (%s)", name,
		    eq + 1, (unsigned long long)info->min, (unsigned long long)info->max,
		    info->unit);
		return rc;
	}
	((uint64_t *)t)[i] = value; /* the struct is the table's rows in order, all u64 */
	return 0;
}

static void log_line(void *arg, int level, const char *line)
{
	const char *name = arg;

	if (level <= app_log_level)
		fprintf(stderr, "%s: %s: %s\n", app_name, name, line);
}

static void *mem_alloc(void *arg, size_t size, size_t align)
{
	struct app_stack *s = arg;
	void *p;

	if (align < sizeof(void *))
		align = sizeof(void *);
	if (posix_memalign(&p, align, size) != 0)
		return NULL;
	__atomic_fetch_add(&s->mem, size, __ATOMIC_RELAXED);
	return p;
}

static void mem_free(void *arg, void *p, size_t size)
{
	struct app_stack *s = arg;

	if (p != NULL)
		__atomic_fetch_sub(&s->mem, size, __ATOMIC_RELAXED);
	free(p);
}

struct rte_mempool *app_pool(
    const char *stack, const char *what, unsigned int n, uint16_t room, int socket)
{
	char name[RTE_MEMPOOL_NAMESIZE];
	struct rte_mempool *mp;

	snprintf(name, sizeof(name), "%.12s_%.8s", stack, what);
	mp = sluice_ethdev_pool(name, n, POOL_CACHE, room, socket);
	if (mp == NULL && socket != SOCKET_ID_ANY) {
		mp = sluice_ethdev_pool(name, n, POOL_CACHE, room, SOCKET_ID_ANY);
		if (mp != NULL)
			app_err("warning: no memory on NUMA node %d for pool %s", socket, name);
	}
	if (mp == NULL)
		app_err("pool %s of %u buffers of %u bytes: %s (EAL option -m, or fewer --mbufs)",
		    name, n, room, rte_strerror(rte_errno));
	return mp;
}

int app_stack_up(const struct app_stack_params *p, struct app_stack *out)
{
	struct sluice_stack_params sp = {
	    .size = sizeof(sp),
	    .name = p->name,
	    .nsqueues = p->nsqueues,
	    .max_connections = p->max_connections,
	    .privileged = true,
	    .tunables = p->tunables,
	    .log = log_line,
	    .log_arg = (void *)(uintptr_t)p->name,
	    .mem_alloc = mem_alloc,
	    .mem_free = mem_free,
	    .mem_arg = out,
	};
	const char *why = NULL;
	struct app_numa plan;
	bool bind;
	int rc;

	app_numa_here(&plan);
	memset(out, 0, sizeof(*out));
	out->rx_mbufs = p->rx_mbufs;
	out->hdr_pool =
	    app_pool(p->name, "hdr", 2 * p->mbufs, RTE_PKTMBUF_HEADROOM + 512, plan.memory);
	out->data_pool =
	    app_pool(p->name, "data", p->mbufs, RTE_MBUF_DEFAULT_BUF_SIZE, plan.memory);
	if (out->hdr_pool == NULL || out->data_pool == NULL) {
		app_stack_down(out);
		return -ENOMEM;
	}
	sp.hdr_pool = out->hdr_pool;
	sp.data_pool = out->data_pool;
	/* Tables that are made now; what lcores make later they touch first. */
	bind = plan.memory >= 0 && numa_available() >= 0 && numa_max_node() > 0;
	if (bind)
		numa_set_preferred(plan.memory);
	rc = sluice_stack_create(&sp, &out->st, &why);
	if (bind)
		numa_set_localalloc();
	if (rc != 0) {
		app_err("stack %s: %s%s%s", p->name, strerror(-rc), why != NULL ? ": " : "",
		    why != NULL ? why : "");
		out->st = NULL;
		app_stack_down(out);
		return rc;
	}
	app_telemetry_add(out->st);
	return 0;
}

int app_stack_down(struct app_stack *s)
{
	struct sluice_leaks leaks = {.size = sizeof(leaks)};
	int rc = 0;

	if (s->st != NULL) {
		app_telemetry_remove(s->st);
		rc = sluice_stack_destroy(s->st, &leaks);
		if (rc != 0) {
			app_err("the stack cannot be destroyed: %s", strerror(-rc));
			return rc; /* it still uses the pools */
		}
		if (leaks.records != 0) {
			app_err("the stack leaks %llu records", (unsigned long long)leaks.records);
			rc = -EBUSY;
		}
		s->st = NULL;
	}
	rte_mempool_free(s->data_pool);
	rte_mempool_free(s->hdr_pool);
	rte_mempool_free(s->rx_pool[0]);
	rte_mempool_free(s->rx_pool[1]);
	rte_mempool_free(s->except_pool);
	memset(s, 0, sizeof(*s));
	return rc;
}

void app_numa_warn(unsigned int lcore, uint16_t port_id)
{
	int port = rte_eth_dev_is_valid_port(port_id) ? rte_eth_dev_socket_id(port_id) : -1;
	int node = (int)rte_lcore_to_socket_id(lcore);

	if (app_numa_far(node, port))
		app_err("warning: lcore %u is on NUMA node %d, port %u on node %d", lcore, node,
		    port_id, port);
}

void app_numa_warn_all(uint16_t port_id)
{
	unsigned int lcore;

	RTE_LCORE_FOREACH(lcore)
	{
		app_numa_warn(lcore, port_id);
	}
}

void app_numa_here(struct app_numa *plan)
{
	int lcore[RTE_MAX_LCORE], port[RTE_MAX_ETHPORTS];
	unsigned int nl = 0, np = 0, i;
	uint16_t id;

	RTE_LCORE_FOREACH(i)
	{
		lcore[nl++] = (int)rte_lcore_to_socket_id(i);
	}
	RTE_ETH_FOREACH_DEV(id)
	{
		port[np++] = rte_eth_dev_socket_id(id);
	}
	app_numa_plan(lcore, nl, port, np, plan);
}

void app_ports_serve(struct sluice_stack *st)
{
	static int last;
	int rc = sluice_ports_serve(st);

	if (rc > 0)
		app_err("%d port%s reset", rc, rc == 1 ? " was" : "s were");
	else if (rc < 0 && rc != last)
		app_err("a port cannot be reset: %s; tried again", strerror(-rc));
	last = rc;
}

uint16_t app_port_queues(uint16_t port_id, unsigned int nsqueues)
{
	struct rte_eth_dev_info info;
	unsigned int most = SLUICE_PORT_QUEUES;

	if (rte_eth_dev_is_valid_port(port_id) && rte_eth_dev_info_get(port_id, &info) == 0)
		most = RTE_MIN(most, (unsigned int)RTE_MIN(info.max_rx_queues, info.max_tx_queues));
	return (uint16_t)RTE_MAX(RTE_MIN(most, nsqueues), 1u);
}

int app_kernel_rules(struct app_kernel *k, const char *text)
{
	char word[128];

	for (const char *end; *text != '\0'; text = *end != '\0' ? end + 1 : end) {
		end = text + strcspn(text, ",");
		snprintf(word, sizeof(word), "%.*s", (int)(end - text), text);
		if ((size_t)(end - text) >= sizeof(word) || k->nrules == SLUICE_KERNEL_RULES ||
		    sluice_kernel_rule_parse(word, &k->rule[k->nrules]) != 0) {
			app_err("\"%s\" is no rule: stack|kernel any|tcp|udp|icmp|NUMBER "
				"[ADDRESS[/LEN]] [PORT[-PORT]]",
			    word);
			return -EINVAL;
		}
		k->nrules++;
	}
	return 0;
}

/* A port, ready. The pool of its own for receive: held data can never keep headers, hence ACKs, from
 * being built. */
static int make_ethdev(struct app_stack *s, struct sluice_ethdev_params *p,
    struct rte_mempool **pool, struct sluice_driver *d)
{
	struct rte_eth_dev_info info;
	char what[16], name[16];
	unsigned int n;
	uint16_t room;
	int rc;

	if (!rte_eth_dev_is_valid_port(p->port_id)) {
		app_err("there is no port %u (the EAL found %u; see its options -a and --vdev)",
		    p->port_id, rte_eth_dev_count_avail());
		return -ENODEV;
	}
	if (!app_force && rte_eth_dev_info_get(p->port_id, &info) == 0 &&
	    app_default_route(info.if_index, name) != NULL) {
		app_err("port %u is %s, where the default route leads: the machine may become "
			"unreachable. --force takes it all the same",
		    p->port_id, name);
		return -EPERM;
	}
	n = (unsigned int)p->nqueues * ((p->rxd != 0 ? p->rxd : 1024) + 512u) + 8192;
	if (pool != &s->except_pool) /* what is received there is sent on at once */
		n = RTE_MAX(n, s->rx_mbufs);
	room = RTE_MBUF_DEFAULT_BUF_SIZE;
	if (p->mtu > 2000)
		room = (uint16_t)(RTE_PKTMBUF_HEADROOM + RTE_MIN(p->mtu + 64u, 9700u));
	snprintf(what, sizeof(what), "rx%u", p->port_id);
	p->rx_pool =
	    app_pool(sluice_stack_name(s->st), what, n, room, rte_eth_dev_socket_id(p->port_id));
	if (p->rx_pool == NULL)
		return -ENOMEM;
	*pool = p->rx_pool;
	rc = sluice_ethdev_create(p, d);
	if (rc != 0)
		app_err("port %u: %s", p->port_id, strerror(-rc));
	return rc;
}

/* The exception port, and the two as one. On failure the port is gone. */
static int share_ethdev(struct app_stack *s, const struct sluice_ethdev_params *p,
    const struct app_kernel *k, struct sluice_driver *d)
{
	struct sluice_kernel_params kp = {
	    .size = sizeof(kp), .lower = *d, .rules = k->rule, .nrules = k->nrules};
	struct sluice_ethdev_params ep = *p;
	int rc;

	ep.port_id = (uint16_t)k->port;
	rc = make_ethdev(s, &ep, &s->except_pool, &kp.except);
	if (rc == 0) {
		rc = sluice_kernel_create(&kp, d);
		if (rc != 0) {
			app_err("port %u cannot be shared with the kernel through port %d: %s",
			    p->port_id, k->port, strerror(-rc));
			kp.except.ops->destroy(kp.except.ctx);
		}
	}
	if (rc != 0)
		kp.lower.ops->destroy(kp.lower.ctx);
	return rc;
}

int app_ethdev_add(struct app_stack *s, struct sluice_ethdev_params *p)
{
	return app_ethdev_share(s, p, NULL);
}

int app_ethdev_share(
    struct app_stack *s, struct sluice_ethdev_params *p, const struct app_kernel *k)
{
	struct sluice_driver d;
	int rc = make_ethdev(s, p, &s->rx_pool[s->rx_pool[0] != NULL], &d);

	if (rc == 0 && k != NULL && k->port >= 0)
		rc = share_ethdev(s, p, k, &d);
	if (rc != 0)
		return rc;
	rc = sluice_port_add(s->st, d);
	if (rc < 0) {
		app_err("port %u: cannot be added: %s", p->port_id, strerror(-rc));
		d.ops->destroy(d.ctx);
	}
	return rc;
}

static int fill_txn(struct sluice_txn *t, const struct app_net *n, const char **what)
{
	struct sluice_if_params ip = {
	    .size = sizeof(ip),
	    .name = n->ifname,
	    .port = n->port,
	    .vlan = {n->vlan[0] != 0 ? n->vlan[0] : SLUICE_VLAN_NONE,
		n->vlan[1] != 0 ? n->vlan[1] : SLUICE_VLAN_NONE},
	    .vrf = n->vrf,
	    .mtu = n->mtu,
	};
	int rc = 0;

	if (n->vrf != 0) {
		*what = "vrf";
		rc = sluice_vrf_add(t, n->vrf);
	}
	if (rc == 0) {
		*what = n->ifname;
		rc = sluice_if_add(t, &ip);
	}
	for (unsigned int i = 0; i < n->naddr && rc == 0; i++) {
		*what = n->addr[i];
		rc = sluice_addr_add(t, n->ifname, n->addr[i], false);
	}
	for (unsigned int i = 0; i < n->nprefix && rc == 0; i++) {
		*what = n->prefix[i];
		rc = sluice_addr_add(t, n->ifname, n->prefix[i], true);
	}
	for (unsigned int i = 0; i < n->nroute && rc == 0; i++) {
		*what = n->route[i].prefix;
		rc = sluice_route_add(t, n->vrf, n->route[i].prefix, n->route[i].via, n->ifname);
	}
	return rc;
}

int app_net_up(struct app_stack *s, const struct app_net *n)
{
	const char *what = "transaction", *why = NULL;
	struct sluice_txn *t;
	int rc = sluice_txn_begin(s->st, &t);

	if (rc == 0) {
		rc = fill_txn(t, n, &what);
		if (rc == 0) {
			what = "commit";
			rc = sluice_txn_commit(t, &why);
		} else {
			sluice_txn_abort(t);
		}
	}
	if (rc != 0)
		app_err("addresses and routes: %s: %s%s%s", what, strerror(-rc),
		    why != NULL ? ": " : "", why != NULL ? why : "");
	return rc;
}
