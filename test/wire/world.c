/* SPDX-License-Identifier: BSD-3-Clause */
/* One stack in virtual time, without EAL: a raw IP port that takes apart all that is sent, and an
 * application of named sockets that keeps what it is told. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>

#include "octets.h"
#include "wire.h"

const char *const wire_event_names[WIRE_NEVENTS] = {
    [WE_NEWCONN] = "newconn",
    [WE_CONNECTED] = "connected",
    [WE_DISCONNECTED] = "disconnected",
    [WE_SHUT_RECV] = "end",
    [WE_URGENT] = "urgent",
    [WE_ERROR] = "error",
    [WE_FULL] = "full",
    [WE_ROOM] = "room",
    [WE_CLOSED] = "closed",
};

/* ---- the port ---- */

/* What a port does that makes checksums: it needs the header lengths that it was told, and the sum
 * of the pseudo-header in the field. */
static const char *fill_in(const struct rte_mbuf *m, uint8_t *p, uint32_t len)
{
	uint32_t ip = p[0] >> 4 == 6 ? 40 : 20;
	uint8_t *th = p + ip;

	if (m->l2_len != 0 || m->l3_len != ip || len < ip + 20 || m->l4_len != (th[12] >> 4) * 4u)
		return "the port was told wrong header lengths";
	put16(th + 16, sum16_end(sum16(th, len - ip, 0)));
	return NULL;
}

static void took(void *arg, struct rte_mbuf *m)
{
	static uint8_t pkt[65536];
	struct wire_world *w = arg;
	const uint8_t *p = rte_pktmbuf_read(m, 0, m->pkt_len, pkt);
	struct wire_pkt *o = &w->out[w->nout];
	const char *why = NULL;
	char text[256];

	if (p == NULL || w->nout == WIRE_OUT) {
		w->broken = "more packets than can be kept";
		return;
	}
	if (m->ol_flags & RTE_MBUF_F_TX_TCP_CKSUM) {
		memmove(pkt, p, m->pkt_len);
		p = pkt;
		why = fill_in(m, pkt, m->pkt_len);
	}
	if (why == NULL)
		why = wire_capture(w, p, m->pkt_len, o);
	if (why != NULL && w->broken == NULL)
		w->broken = why;
	w->nout++;
	if (w->verbose) {
		wire_pkt_text(o, text, sizeof(text));
		printf("#   %11.6f > %s\n", (double)(w->now - w->t0) / 1e9, text);
	}
}

/* ---- the application ---- */

static void event(
    struct wire_sock *s, enum wire_event_kind kind, struct wire_sock *eager, int64_t v)
{
	struct wire_world *w = s->w;

	if (w->nev == (int)(sizeof(w->ev) / sizeof(w->ev[0]))) {
		w->broken = "more events than can be kept";
		return;
	}
	w->ev[w->nev++] =
	    (struct wire_event){.kind = kind, .s = s, .eager = eager, .v = v, .at = w->now};
	if (w->verbose)
		printf("#   %11.6f event %s %s %lld\n", (double)(w->now - w->t0) / 1e9, s->name,
		    wire_event_names[kind], (long long)v);
}

static const struct sluice_upcalls upcalls, upcalls_no_errors;

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct wire_sock *ls = arg, *s;

	if (ls->refuse)
		return -ECONNREFUSED;
	s = wire_new_sock(ls->w, "");
	if (s == NULL)
		return -ENOBUFS;
	s->c = eager;
	s->hold = ls->hold;
	s->no_space = ls->no_space;
	*up_arg = s;
	if (ls->no_errors)
		*up = &upcalls_no_errors;
	if (!ls->no_accept)
		(void)sluice_accept(ls->w->st, l, eager);
	event(ls, WE_NEWCONN, s, 0);
	return 0;
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	event(arg, WE_CONNECTED, NULL, 0);
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	event(arg, WE_DISCONNECTED, NULL, err);
}

static void on_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	if (op == SLUICE_OPCTL_SHUT_RECV)
		event(arg, WE_SHUT_RECV, NULL, 0);
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct wire_sock *s = arg;
	struct iovec iov[8];
	int n;

	s->pushes += push;
	while (!s->hold && (n = sluice_peek(s->w->st, c, iov, 8)) > 0) {
		size_t all = 0;

		for (int i = 0; i < n; i++)
			for (size_t k = 0; k < iov[i].iov_len; k++, all++)
				s->bad_byte |= ((uint8_t *)iov[i].iov_base)[k] !=
					       wire_byte((uint32_t)(s->got + all), true);
		s->got += all;
		if (sluice_consume(s->w->st, c, all) != 0)
			break;
	}
	return s->no_space ? -ENOSPC : 0;
}

static void on_full(void *arg, sluice_conn_t c, bool full)
{
	event(arg, full ? WE_FULL : WE_ROOM, NULL, 0);
}

static void on_oob(void *arg, sluice_conn_t c, size_t mark)
{
	event(arg, WE_URGENT, NULL, (int64_t)mark);
}

static void on_error(void *arg, sluice_conn_t c, int err)
{
	event(arg, WE_ERROR, NULL, err);
}

static void on_closed(void *arg, sluice_conn_t c)
{
	event(arg, WE_CLOSED, NULL, 0);
}

static const struct sluice_upcalls upcalls = {.size = sizeof(upcalls),
    .newconn = on_newconn,
    .connected = on_connected,
    .disconnected = on_disconnected,
    .opctl = on_opctl,
    .recv = on_recv,
    .txq_full = on_full,
    .signal_oob = on_oob,
    .set_error = on_error,
    .closed = on_closed};

/* Of a listener with no_errors: whoever does not want error reports leaves the member out. */
static const struct sluice_upcalls upcalls_no_errors = {.size = sizeof(upcalls_no_errors),
    .disconnected = on_disconnected,
    .opctl = on_opctl,
    .recv = on_recv,
    .closed = on_closed};

struct wire_sock *wire_find(struct wire_world *w, const char *name)
{
	for (int i = 0; i < w->nsocks; i++)
		if (strcmp(w->sock[i].name, name) == 0)
			return &w->sock[i];
	return NULL;
}

struct wire_sock *wire_new_sock(struct wire_world *w, const char *name)
{
	struct wire_sock *s;

	if (w->nsocks == WIRE_SOCKS)
		return NULL;
	s = &w->sock[w->nsocks++];
	*s = (struct wire_sock){.w = w};
	(void)snprintf(s->name, sizeof(s->name), "%s", name);
	return s;
}

int wire_sock_create(struct wire_sock *s)
{
	struct wire_world *w = s->w;
	int rc =
	    sluice_create(w->st, w->cfg.ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0, 0, 0, &s->c);

	return rc < 0 ? rc : sluice_activate(w->st, s->c, &upcalls, s);
}

ssize_t wire_send(struct wire_sock *s, uint32_t n, unsigned int flags)
{
	uint8_t *b = malloc(n + 1);
	ssize_t rc;

	if (b == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		b[i] = wire_byte((uint32_t)(s->said + i), false);
	rc = sluice_send_copy(s->w->st, s->c, b, n, flags);
	free(b);
	if (rc > 0)
		s->said += (uint64_t)rc;
	return rc;
}

int wire_addr(const struct wire_world *w, const char *text, uint16_t port,
    struct sockaddr_storage *sa, socklen_t *len)
{
	struct sockaddr_in *a = (struct sockaddr_in *)sa;
	struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)sa;

	memset(sa, 0, sizeof(*sa));
	if (w->cfg.ipv6) {
		a6->sin6_family = AF_INET6;
		a6->sin6_port = htons(port);
		*len = sizeof(*a6);
		return text == NULL || inet_pton(AF_INET6, text, &a6->sin6_addr) == 1 ? 0 : -EINVAL;
	}
	a->sin_family = AF_INET;
	a->sin_port = htons(port);
	*len = sizeof(*a);
	return text == NULL || inet_pton(AF_INET, text, &a->sin_addr) == 1 ? 0 : -EINVAL;
}

/* ---- the world ---- */

unsigned int wire_squeues = 1;

void wire_config_default(struct wire_config *cfg)
{
	*cfg = (struct wire_config){.mtu = 1500,
	    .isn = 0xfffffff0u, /* wraps soon */
	    .max_conns = 64,
	    .peer = {{.kind = WO_MSS, .n = 1, .v = {1460}}},
	    .npeer = 1,
	    .peer_win = 60000};
	sluice_tunables_default(&cfg->tun);
	cfg->tun.ip_dad_probes = 0;
}

static const char *configure(struct wire_world *w)
{
	struct sluice_if_params ifp = {
	    .size = sizeof(ifp), .name = "p0", .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	static const char *const addr[2][3] = {{"10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24"},
	    {"fd00::1/64", "fd00::2/64", "fd00::3/64"}};
	struct sluice_txn *txn;

	if (sluice_txn_begin(w->st, &txn) != 0)
		return "no transaction";
	if (sluice_if_add(txn, &ifp) != 0) {
		sluice_txn_abort(txn);
		return "no interface";
	}
	for (int i = 0; i < 3; i++)
		if (sluice_addr_add(txn, "p0", addr[w->cfg.ipv6][i], false) != 0) {
			sluice_txn_abort(txn);
			return "no address";
		}
	return sluice_txn_commit(txn, NULL) == 0 ? NULL : "configuration refused";
}

static bool start_eal(void)
{
	char *argv[] = {(char[]){"wire"}, (char[]){"--no-huge"}, (char[]){"--no-shconf"},
	    (char[]){"--no-pci"}, (char[]){"--no-telemetry"}, (char[]){"-m"}, (char[]){"64"},
	    (char[]){"--log-level=1"}};

	return rte_eal_init(RTE_DIM(argv), argv) >= 0;
}

const char *wire_start(struct wire_world *w, const struct wire_config *cfg)
{
	struct sluice_stack_params sp = {.size = sizeof(sp),
	    .name = "wire",
	    .nsqueues = wire_squeues,
	    .max_connections = cfg->max_conns,
	    .seed = 42};
	const char *why = "";
	bool verbose = w->verbose;

	if (cfg->eal && !start_eal())
		return "no EAL";
	memset(w, 0, sizeof(*w));
	w->verbose = verbose;
	w->cfg = *cfg;
	w->nsq = wire_squeues;
	w->out = calloc(WIRE_OUT, sizeof(*w->out));
	if (w->out == NULL)
		return "no memory";
	sp.tunables = &w->cfg.tun;
	w->pool = tp_create(2048, 0);
	sp.hdr_pool = w->pool;
	w->t0 = w->now = SLUICE_SEC(1000);
	if (sluice_stack_create(&sp, &w->st, &why) != 0)
		return why;
	w->port = (struct sink){
	    .info = {.caps = SLUICE_CAP_L3 | SLUICE_CAP_TX_MULTISEG | SLUICE_CAP_TX_INDIRECT |
			     (w->cfg.offload ? SLUICE_CAP_TX_L4_CKSUM : 0),
		.mtu = w->cfg.mtu,
		.nqueues = (uint16_t)w->nsq},
	    .took = took,
	    .arg = w};
	if (sluice_port_add(w->st, sink_driver(&w->port)) != 0)
		return "no port";
	why = configure(w);
	if (why != NULL)
		return why;
	wire_settle(w);
	w->nout = w->next = 0; /* what interfaces say when they come up (IPv6) */
	w->broken = NULL;
	return NULL;
}

const char *wire_stop(struct wire_world *w)
{
	struct sluice_leaks l = {.size = sizeof(l)};
	uint32_t out;

	tp_set_limit(w->pool, 0);
	for (unsigned int i = 0; i < w->nheld; i++)
		rte_pktmbuf_free(w->held[i]);
	w->nheld = 0;
	wire_settle(w);
	for (unsigned int i = 0; i < w->nsq; i++)
		if (sluice_squeue_release(sluice_squeue(w->st, i)) != 0)
			return "a squeue could not be released";
	if (sluice_stack_destroy(w->st, &l) != 0)
		return "the stack could not be ended";
	out = tp_out(w->pool);
	free(w->out);
	w->out = NULL;
	if (out == 0)
		tp_destroy(w->pool);
	return l.records != 0 ? "transmission records, half-open or TIME_WAIT entries were left"
	       : l.calls != 0 ? "entries were never run"
	       : out != 0     ? "buffers were not given back"
			      : NULL;
}

void wire_settle(struct wire_world *w)
{
	for (int i = 0; i < 1000; i++) {
		int work = 0;

		for (unsigned int k = 0; k < w->nsq; k++)
			work += sluice_squeue_poll(sluice_squeue(w->st, k), w->now, 0);
		if (work <= 0)
			return;
	}
	w->broken = "the stack finds work for ever without time going on";
}

void wire_advance(struct wire_world *w, uint64_t end, bool stop)
{
	wire_settle(w);
	for (int i = 0; i < 1000000; i++) {
		uint64_t next = UINT64_MAX;

		for (unsigned int k = 0; k < w->nsq; k++)
			next = RTE_MIN(next, sluice_squeue_next(sluice_squeue(w->st, k)));
		if (stop && w->next < w->nout)
			return;
		if (next > end)
			break;
		w->now = next > w->now ? next : w->now + 1000;
		wire_settle(w);
	}
	if (end > w->now)
		w->now = end;
	wire_settle(w);
}

struct wire_flow *wire_flow(struct wire_world *w, uint16_t peer_port)
{
	struct wire_flow *f;

	for (int i = 0; i < w->nflows; i++)
		if (w->flow[i].peer_port == peer_port)
			return &w->flow[i];
	if (w->nflows == (int)(sizeof(w->flow) / sizeof(w->flow[0]))) {
		w->broken = "more ports of the peer than can be kept";
		return &w->flow[0];
	}
	f = &w->flow[w->nflows++];
	*f = (struct wire_flow){.peer_port = peer_port,
	    .port = WIRE_PORT,
	    .isn = w->cfg.isn + 1000u * (uint32_t)(w->nflows - 1)};
	return f;
}

static void hold(struct wire_world *w, const uint8_t *b, uint16_t len)
{
	struct rte_mbuf *m = tp_exact(w->pool, b, len, 0);

	if (m == NULL || len == 0 || w->nheld == SL_BURST)
		w->broken = "the script's packet could not be made";
	else
		w->held[w->nheld++] = m;
	if (w->broken != NULL)
		rte_pktmbuf_free(m);
}

void wire_inject(struct wire_world *w, const struct wire_spec *p)
{
	static uint8_t b[65536], part[65536];
	uint16_t len = wire_build(w, p, b, sizeof(b) - 16), n;

	if (!p->f[WF_frag].set)
		hold(w, b, len);
	for (unsigned int i = 0; p->f[WF_frag].set && len > 0; i++) {
		n = wire_fragment(w, b, len, (uint16_t)p->f[WF_frag].lo, i, part);
		if (n == 0)
			break;
		if (!p->f[WF_lose].set || i != p->f[WF_lose].lo)
			hold(w, part, n);
	}
	if (p->hold && w->nheld < SL_BURST)
		return;
	/* What is not the stack's comes back. */
	w->dice = w->dice * 1103515245u + 12345u;
	n = (uint16_t)sluice_input(
	    sluice_squeue(w->st, (w->dice >> 16) % w->nsq), 0, w->held, w->nheld, w->now);
	for (unsigned int i = 0; i < n; i++)
		rte_pktmbuf_free(w->held[i]);
	w->nheld = 0;
	wire_settle(w);
}

int wire_counter_find(const char *name)
{
	for (unsigned int i = 0; i < SLUICE_NCOUNTERS; i++)
		if (strcmp(sluice_counter_name(i), name) == 0)
			return (int)i;
	return -1;
}

uint64_t wire_counter(struct wire_world *w, unsigned int i)
{
	struct sluice_counters c;
	uint64_t v;

	sluice_counters_sum(w->st, &c);
	memcpy(&v, (char *)&c + i * sizeof(v), sizeof(v));
	return v;
}
