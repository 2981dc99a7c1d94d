/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The transport over sluice's event API. An endpoint is a stack in hosted mode: its lcores poll one
 * squeue each, and the engine runs in upcalls and in the application's poll hook. Small messages
 * are copied into a buffer of the data pool, large ones go out by reference to the pattern.
 */
#include "testtcp.h"

#include <errno.h>
#include <string.h>
#include <rte_mbuf.h>

#define COPY_MAX 1920

/** Lcores come and go: a shard may be served by another lcore than its own, and its connections stay with
 * it. */
static bool lcores_move(const struct endpoint *ep)
{
	return ep->cfg->lcore_cycle != 0 || ep->cfg->interactive;
}

static int on_recv(void *arg, sluice_conn_t h, size_t avail, bool push)
{
	struct conn *c = arg;
	struct sluice_stack *st = c->sh->ep->stack.st;

	if (c->sh->cfg->verify || c->http != NULL) {
		size_t left = avail;

		while (left != 0) {
			struct iovec iov[32];
			size_t len = 0;
			int n = sluice_peek(st, h, iov, 32);

			for (int i = 0; i < n && len < left; i++) {
				size_t part =
				    iov[i].iov_len < left - len ? iov[i].iov_len : left - len;

				conn_check(c, iov[i].iov_base, part);
				len += part;
			}
			if (n <= 0 || len == 0 || sluice_consume(st, h, len) != 0) {
				bump(&c->sh->stats.errors, left); /* promised, not there */
				return 0;
			}
			left -= len;
		}
	} else if (sluice_consume(st, h, avail) != 0) {
		bump(&c->sh->stats.errors, avail);
		return 0;
	}
	if (!c->closing)
		conn_received(c, avail);
	else
		bump(&c->sh->stats.rx_bytes, avail);
	return 0;
}

static void on_connected(void *arg, sluice_conn_t h, uint32_t connid)
{
	struct conn *c = arg;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (c->closing || c->open)
		return;
	if (sluice_getsockname(c->sh->ep->stack.st, h, (struct sockaddr *)&ss, &len) == 0)
		conn_place(c, (struct sockaddr *)&ss);
	conn_opened(c);
}

static void on_disconnected(void *arg, sluice_conn_t h, int err)
{
	conn_lost(arg, err < 0 ? -err : err);
}

static void on_opctl(void *arg, sluice_conn_t h, enum sluice_opctl op, uint64_t value)
{
	struct conn *c = arg;

	if (op == SLUICE_OPCTL_SHUT_RECV && !c->closing)
		conn_ended(c);
}

static void on_txq_full(void *arg, sluice_conn_t h, bool full)
{
	struct conn *c = arg;

	c->blocked = full;
	if (full || c->closing)
		return;
	conn_push(c);
	if (c->tx_want == 0 && !c->closing && c->sh->role->writable != NULL)
		c->sh->role->writable(c);
}

static void on_closed(void *arg, sluice_conn_t h)
{
	conn_gone(arg);
}

static const struct sluice_upcalls conn_upcalls = {
    .size = sizeof(conn_upcalls),
    .connected = on_connected,
    .disconnected = on_disconnected,
    .opctl = on_opctl,
    .recv = on_recv,
    .txq_full = on_txq_full,
    .closed = on_closed,
};

static int on_newconn(void *arg, sluice_conn_t listener, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct endpoint *ep = arg;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct shard *sh = &ep->shard[sluice_conn_squeue(ep->stack.st, eager)];
	struct conn *c;

	if (sh->live >= ep->cfg->connections + 4096)
		return -ENOBUFS;
	c = conn_new(sh);
	if (c == NULL)
		return -ENOMEM;
	c->handle = eager;
	if (sluice_getpeername(ep->stack.st, eager, (struct sockaddr *)&ss, &len) == 0)
		conn_place(c, (struct sockaddr *)&ss);
	conn_fresh(c);
	*up_arg = c;
	*up = &conn_upcalls;
	sluice_accept(ep->stack.st, listener, eager);
	if (lcores_move(ep))
		sluice_pin(ep->stack.st, eager, true);
	return 0;
}

static const struct sluice_upcalls listener_upcalls = {
    .size = sizeof(listener_upcalls),
    .newconn = on_newconn,
};

/* ---- downcalls ---- */

/** A connect chooses among all addresses of this end. */
static int set_sources(struct endpoint *ep, sluice_conn_t h)
{
	const struct sockaddr_storage *a = &ep->own.first;
	struct sluice_addr first = {.b = {0}};

	if (ep->own.n <= 1)
		return 0;
	if (a->ss_family == AF_INET) {
		first.b[10] = first.b[11] = 0xff;
		memcpy(&first.b[12], &((const struct sockaddr_in *)a)->sin_addr, 4);
	} else {
		memcpy(first.b, &((const struct sockaddr_in6 *)a)->sin6_addr, 16);
	}
	return sluice_set_sources(ep->stack.st, h, &first, ep->own.n);
}

static int sl_open(struct conn *c)
{
	struct shard *sh = c->sh;
	struct endpoint *ep = sh->ep;
	struct sluice_stack *st = ep->stack.st;
	struct sockaddr_storage to;
	int rc;

	app_span_at(&ep->servers, sh->next_peer, &to);
	rc = sluice_create(st, to.ss_family, SOCK_STREAM, IPPROTO_TCP, (uint32_t)ep->cfg->vrf,
	    (int)sh->id, &c->handle);
	if (rc != 0) {
		c->handle = SLUICE_CONN_NONE;
		return rc;
	}
	rc = sluice_activate(st, c->handle, &conn_upcalls, c);
	if (rc == 0)
		rc = set_sources(ep, c->handle);
	if (rc == 0)
		rc = sluice_connect(st, c->handle, (struct sockaddr *)&to, app_addr_len(&to), NULL);
	if (rc != -EINPROGRESS)
		return rc;
	if (lcores_move(ep))
		sluice_pin(st, c->handle, true);
	sh->next_peer += ep->nshards;
	return 0;
}

static ssize_t sl_send(struct conn *c, size_t n)
{
	struct sluice_stack *st = c->sh->ep->stack.st;
	struct rte_mbuf *m;
	int rc;

	if (n > COPY_MAX) {
		rc = sluice_send_external(
		    st, c->handle, pattern + c->tx_idx, pattern_iova + c->tx_idx, n, NULL, 0);
		return rc != 0 ? rc : (ssize_t)n;
	}
	m = rte_pktmbuf_alloc(c->sh->pool);
	if (m == NULL)
		return -ENOBUFS;
	memcpy(rte_pktmbuf_mtod(m, void *), pattern + c->tx_idx, n);
	m->data_len = (uint16_t)n;
	m->pkt_len = (uint32_t)n;
	rc = sluice_send(st, c->handle, m, 0);
	if (rc == 0)
		return (ssize_t)n;
	rte_pktmbuf_free(m);
	return rc;
}

static void sl_close(struct conn *c)
{
	if (c->handle == SLUICE_CONN_NONE) /* create refused */
		conn_gone(c);
	else
		sluice_close(c->sh->ep->stack.st, c->handle);
}

static void sl_finish(struct conn *c)
{
	sluice_shutdown(c->sh->ep->stack.st, c->handle, SLUICE_SHUT_WR);
}

static void sl_reset(struct conn *c)
{
	sluice_abort(c->sh->ep->stack.st, c->handle);
}

static uint64_t sl_unacked(struct conn *c)
{
	struct sluice_conn_info info = {.size = sizeof(info)};

	return sluice_conn_info(c->sh->ep->stack.st, c->handle, &info) == 0 ? info.sndq : 0;
}

static int sl_poll(struct shard *sh)
{
	return sluice_squeue_poll(sh->tp_data, sh->now, 0);
}

static int app_poll(struct sluice_squeue *sq, void *arg)
{
	struct endpoint *ep = arg;
	struct shard *sh = &ep->shard[sluice_squeue_id(sq)];

	if (lcores_move(ep)) { /* its own lcore may be away */
		enum phase ph = __atomic_load_n(ep->phase, __ATOMIC_ACQUIRE);

		sh->now = sluice_squeue_now(sq);
		if (sh->phase != ph)
			shard_enter(sh, ph);
	}
	return shard_tick(sh);
}

/* ---- set-up ---- */

static int tunables(const struct endpoint *ep, struct sluice_tunables *t)
{
	char err[200];

	sluice_tunables_default(t);
	t->tcp_nodelay = 1;
	if (ep->cfg->burst != 0)
		t->sq_rx_burst = ep->cfg->burst;
	if (ep->cfg->link == LINK_WIRE)
		t->ip_dad_probes = 0; /* nobody else is on it */
	if (ep->cfg->role == ROLE_BOTH)
		t->tcp_time_wait_reuse = SLUICE_MS(2); /* both clocks tick once a millisecond */
	if (ep->client && ep->own.port[0] != 0) {
		t->tcp_port_min = ep->own.port[0];
		t->tcp_port_max = ep->own.port[1];
	}
	for (unsigned int i = 0; i < ep->cfg->ntunable; i++)
		if (app_tunable_set(t, ep->cfg->tunable[i], err, sizeof(err)) != 0) {
			app_err("%s", err);
			return -EINVAL;
		}
	return 0;
}

#define MAX_EACH 1024   /* addresses of their own; more of them are held as prefixes */
#define MAX_PREFIXES 64 /* a span of 65536 falls into 32 at most */

/** The largest prefix that begins with address i of the span and does not go beyond it. */
static unsigned int prefix_bits(const struct app_span *s, uint32_t i)
{
	const struct sockaddr_storage *a = &s->first;
	uint32_t low = ntohl(a->ss_family == AF_INET
				 ? ((const struct sockaddr_in *)a)->sin_addr.s_addr
				 : ((const struct sockaddr_in6 *)a)->sin6_addr.s6_addr32[3]) +
		       i;
	unsigned int bits = low != 0 ? (unsigned int)__builtin_ctz(low) : 31;

	while (bits != 0 && (i + (1ull << bits) > s->n || bits > 16))
		bits--;
	return bits;
}

static void address_text(const struct app_span *s, uint32_t i, unsigned int plen, char text[64])
{
	char buf[INET6_ADDRSTRLEN];
	struct sockaddr_storage a = s->first;

	app_addr_add(&a, i);
	snprintf(text, 64, "%s/%u", app_addr_text(&a, buf, sizeof(buf)), plen);
}

static int addresses(struct endpoint *ep)
{
	static char text[MAX_EACH + MAX_PREFIXES][64];
	static const char *addr[MAX_EACH + MAX_PREFIXES];
	const struct config *cfg = ep->cfg;
	const char *gw = cfg->side_gateway[ep->client];
	bool v6 = ep->own.first.ss_family == AF_INET6;
	unsigned int plen = opts_given(cfg, "prefix") ? (unsigned int)cfg->prefix : v6 ? 64 : 24;
	uint32_t each = ep->own.n <= MAX_EACH ? ep->own.n : 1;
	struct app_net net = {.ifname = "net0",
	    .port = (unsigned int)ep->port,
	    .vlan = {cfg->vlan[ep->client][0], cfg->vlan[ep->client][1]},
	    .vrf = (uint32_t)cfg->vrf,
	    .addr = addr,
	    .prefix = addr + each};

	for (uint32_t i = 0; i < each; i++)
		address_text(&ep->own, i, plen, text[net.naddr++]);
	for (uint32_t i = each; i < ep->own.n;) {
		unsigned int bits = prefix_bits(&ep->own, i);

		address_text(&ep->own, i, (v6 ? 128 : 32) - bits, text[net.naddr + net.nprefix++]);
		i += 1u << bits;
	}
	for (unsigned int i = 0; i < net.naddr + net.nprefix; i++)
		addr[i] = text[i];
	if (gw != NULL) {
		net.route[0] = (struct app_route){v6 ? "::/0" : "0.0.0.0/0", gw};
		net.nroute = 1;
	}
	return app_net_up(&ep->stack, &net);
}

/* With the kernel on it, when that was asked for: without rules of the user's, TCP to the ports that
 * we listen on or connect from is ours. */
static int share_port(struct endpoint *ep, struct sluice_ethdev_params *p)
{
	const struct config *cfg = ep->cfg;
	const struct app_span *own = &ep->own;
	struct app_kernel k = {.port = -1};

	if (!opts_given(cfg, "kernel"))
		return app_ethdev_add(&ep->stack, p);
	k.port = (int)cfg->kernel_port;
	if (cfg->kernel_rules != NULL) {
		if (app_kernel_rules(&k, cfg->kernel_rules) != 0)
			return -EINVAL;
	} else {
		k.nrules = 1;
		k.rule[0] = (struct sluice_kernel_rule){.proto = IPPROTO_TCP,
		    .port_first = own->port[0] != 0 ? own->port[0] : 32768,
		    .port_last = own->port[0] != 0 ? own->port[1] : 65535};
	}
	return app_ethdev_share(&ep->stack, p, &k);
}

static int add_port(struct endpoint *ep)
{
	const struct config *cfg = ep->cfg;
	uint16_t port = (uint16_t)cfg->port_id[ep->client];
	uint64_t asked = cfg->rxq != 0 ? cfg->rxq : cfg->txq;
	/* With fewer queues than squeues the stack spreads packets itself. */
	uint16_t nq = (uint16_t)(asked != 0 ? asked : app_port_queues(port, ep->nshards));
	struct sluice_ethdev_params p = {.size = sizeof(p),
	    .nqueues = nq,
	    .rxd = (uint16_t)cfg->rxd,
	    .txd = (uint16_t)cfg->txd,
	    .mtu = (uint16_t)cfg->mtu,
	    .no_offload = !cfg->offload,
	    .port_id = port};

	if (ep->driver.ops == NULL)
		return share_port(ep, &p);
	ep->port = sluice_port_add(ep->stack.st, ep->driver);
	if (ep->port < 0)
		app_err("wire: cannot be added: %s", strerror(-ep->port));
	return ep->port;
}

/**
 * Connections that a squeue must have room for. A stack keeps four TIME_WAIT entries for each: an
 * end that closes first needs as many as it has tuples, up to the tunable's limit.
 */
static uint32_t room(const struct endpoint *ep, const struct sluice_tunables *t)
{
	const struct config *cfg = ep->cfg;
	bool reopen = ep->shard[0].engine->reopen;
	uint64_t held = reopen && cfg->active != 0 ? cfg->active : cfg->connections;
	uint64_t ports = ep->own.port[0] != 0 && ep->client ? app_span_ports(&ep->own) : 32768;
	uint64_t tuples = ports * ep->own.n * ep->servers.n * app_span_ports(&ep->servers);
	uint64_t per = (held + ep->nshards - 1) / ep->nshards;
	uint64_t n = per + per / 8 + 1023 + app_span_ports(&ep->servers);

	if (reopen && cfg->close_with == CLOSE_FIN)
		n += RTE_MIN(tuples, t->tcp_time_wait_max) / 4;
	return (uint32_t)RTE_MIN(n, (1ull << 24) - 1);
}

static int sl_up(struct endpoint *ep)
{
	struct sluice_tunables t;
	struct app_stack_params p = {.name = ep->name,
	    .nsqueues = ep->nshards,
	    .mbufs = (unsigned int)ep->cfg->mbufs,
	    .tunables = &t};
	struct sluice_app app = {.size = sizeof(app), .poll = app_poll, .arg = ep};
	int rc = tunables(ep, &t);

	if (rc != 0)
		return rc;
	p.max_connections = room(ep, &t);
	rc = app_stack_up(&p, &ep->stack);
	if (rc != 0)
		return rc;
	ep->port = add_port(ep);
	if (ep->port < 0)
		return ep->port;
	rc = sluice_app_register(ep->stack.st, &app);
	if (rc == 0)
		rc = addresses(ep);
	for (unsigned int i = 0; i < ep->nshards; i++) {
		ep->shard[i].tp_data = sluice_squeue(ep->stack.st, i);
		ep->shard[i].pool = ep->stack.data_pool;
	}
	return rc;
}

static int listen_port(struct endpoint *ep, uint16_t port)
{
	struct sluice_stack *st = ep->stack.st;
	struct sockaddr_storage any;
	sluice_conn_t l;
	int rc;

	app_parse_addr(ep->own.first.ss_family == AF_INET ? "0.0.0.0" : "::", port, &any);
	rc = sluice_create(
	    st, any.ss_family, SOCK_STREAM, IPPROTO_TCP, (uint32_t)ep->cfg->vrf, 0, &l);
	if (rc == 0)
		rc = sluice_activate(st, l, &listener_upcalls, ep);
	if (rc == 0)
		rc = sluice_bind(st, l, (struct sockaddr *)&any, app_addr_len(&any));
	if (rc == 0)
		rc = sluice_listen(st, l, 4096);
	if (rc != 0)
		app_err("listen on port %u: %s", port, strerror(-rc));
	return rc;
}

static int sl_listen(struct endpoint *ep)
{
	int rc = 0;

	for (unsigned int p = ep->servers.port[0]; p <= ep->servers.port[1] && rc == 0; p++)
		rc = listen_port(ep, (uint16_t)p);
	return rc;
}

static void sl_leave(struct shard *sh)
{
	sluice_squeue_release(sh->tp_data);
}

static int sl_down(struct endpoint *ep)
{
	return ep->stack.st != NULL ? app_stack_down(&ep->stack) : 0;
}

const struct transport transport_sluice = {
    .name = "sluice",
    .up = sl_up,
    .listen = sl_listen,
    .open = sl_open,
    .send = sl_send,
    .finish = sl_finish,
    .close = sl_close,
    .reset = sl_reset,
    .unacked = sl_unacked,
    .poll = sl_poll,
    .leave = sl_leave,
    .down = sl_down,
};
