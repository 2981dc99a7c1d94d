/* SPDX-License-Identifier: BSD-3-Clause */
/* See trio.h. A peer that has sent all and got all closes; one whose connection ends otherwise
 * counts as failed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <rte_mbuf.h>

#include "mpool.h"
#include "trio.h"
#include "../../../app/common/parse.h"

#define CHUNK 16384

unsigned int trio_squeues = 1;

/* ---- bytes ---- */

static uint8_t byte_at(uint64_t id, bool up, uint64_t i)
{
	return (uint8_t)((i * 167 + (i >> 8) * 13 + (i >> 16)) ^ id * (up ? 5 : 11));
}

static void push(struct peer *p);

static void count_end(struct peer *p, bool good)
{
	if (p->server || p->counted)
		return;
	p->counted = true;
	if (good)
		p->t->done++;
	else
		p->t->failed++;
}

static void leave(struct peer *p, bool abort)
{
	if (p->closing)
		return;
	p->closing = true;
	if (abort)
		sluice_abort(p->st, p->c);
	else
		sluice_close(p->st, p->c);
}

/* All said and all heard? */
static void check_end(struct peer *p)
{
	if (!p->eof || !p->fin_sent || p->closing || p->hold)
		return;
	if (!p->server && !p->struck && (p->got != p->to_get || p->sent != p->to_send))
		p->t->cut_short++;
	count_end(p, p->got == p->to_get && p->sent == p->to_send);
	leave(p, false);
}

static void push(struct peer *p)
{
	uint8_t buf[CHUNK];
	ssize_t n;

	if (p->closing || p->fin_sent || p->gone)
		return;
	while (p->prefix_sent < p->nprefix) {
		n = sluice_send_copy(
		    p->st, p->c, p->prefix + p->prefix_sent, p->nprefix - p->prefix_sent, 0);
		if (n <= 0)
			return;
		p->prefix_sent += (size_t)n;
	}
	if (p->silent)
		return;
	if (!p->server && !p->head_done) {
		n = sluice_send_copy(p->st, p->c, p->head, sizeof(p->head), 0);
		if (n == -ENOTCONN)
			return; /* its handshake goes on */
		assert_int_equal(n, sizeof(p->head));
		p->head_done = true;
	}
	if (p->server && (!p->head_done || (!p->t->server_fin_first && p->got < p->to_get)))
		return; /* a server answers when it has heard all */
	while (p->sent < p->to_send) {
		size_t want = RTE_MIN(p->to_send - p->sent, (uint64_t)CHUNK);

		for (size_t i = 0; i < want; i++)
			buf[i] = byte_at(p->id, !p->server, p->sent + i);
		n = sluice_send_copy(p->st, p->c, buf, want, 0);
		if (n <= 0)
			return;
		p->sent += (uint64_t)n;
	}
	if (p->no_fin)
		return;
	sluice_shutdown(p->st, p->c, SLUICE_SHUT_WR);
	p->fin_sent = true;
	check_end(p);
}

static void take_bytes(struct peer *p, const uint8_t *b, size_t n)
{
	if (p->server && p->t->raw_server) {
		for (; n > 0 && p->t->nraw < sizeof(p->t->raw); n--)
			p->t->raw[p->t->nraw++] = *b++;
		return;
	}
	for (; n > 0 && p->server && !p->head_done; n--) {
		p->head[p->nhead++] = *b++;
		if (p->nhead == sizeof(p->head)) {
			memcpy(&p->id, p->head, 8);
			memcpy(&p->to_get, p->head + 8, 8);
			memcpy(&p->to_send, p->head + 16, 8);
			p->head_done = true;
		}
	}
	for (size_t i = 0; i < n; i++)
		if (b[i] != byte_at(p->id, p->server, p->got + i))
			fail_msg("%s %llu: wrong byte at %llu", p->server ? "server" : "client",
			    (unsigned long long)p->id, (unsigned long long)(p->got + i));
	p->got += n;
	p->t->bytes += n;
	if (p->got > p->to_get)
		fail_msg("more than was sent");
}

static void drain(struct peer *p)
{
	const struct rte_mempool *theirs = p->t->pool[p->server ? CLIENT : BACKEND];
	struct rte_mbuf *chain;

	while (!p->hold && sluice_take(p->st, p->c, SIZE_MAX, &chain) > 0) {
		for (struct rte_mbuf *m = chain; m != NULL; m = m->next) {
			struct rte_mbuf *owner = RTE_MBUF_CLONED(m) ? rte_mbuf_from_indirect(m) : m;

			if (owner->pool == theirs)
				p->t->in_place += m->data_len;
			take_bytes(p, rte_pktmbuf_mtod(m, const uint8_t *), m->data_len);
		}
		rte_pktmbuf_free(chain);
	}
}

static void run(struct peer *p)
{
	if (p->closing || p->gone)
		return;
	drain(p);
	push(p);
	check_end(p);
}

/* ---- upcalls ---- */

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push_seen)
{
	run(arg);
	return 0;
}

static void on_full(void *arg, sluice_conn_t c, bool full)
{
	if (!full)
		run(arg);
}

static void on_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	struct peer *p = arg;

	if (op != SLUICE_OPCTL_SHUT_RECV)
		return;
	drain(p);
	p->eof = true;
	if (p->server && p->t->raw_server)
		leave(p, false);
	else if (p->server && !p->head_done && !p->hold)
		leave(p, true);
	else
		run(p);
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	run(arg);
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	struct peer *p = arg;

	p->gone = true;
	p->err = err;
	count_end(p, false);
	leave(p, false);
}

static void on_closed(void *arg, sluice_conn_t c)
{
	struct peer *p = arg;

	count_end(p, false);
	TAILQ_REMOVE(p->server ? &p->t->servers : &p->t->clients, p, link);
	if (p->server)
		p->t->nservers--;
	else
		p->t->nclients--;
	free(p);
}

static const struct sluice_upcalls peer_upcalls = {.size = sizeof(peer_upcalls),
    .connected = on_connected,
    .disconnected = on_disconnected,
    .opctl = on_opctl,
    .recv = on_recv,
    .txq_full = on_full,
    .closed = on_closed};

static int on_newconn(void *arg, sluice_conn_t listener, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct trio *t = arg;
	struct peer *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->t = t;
	p->st = t->st[BACKEND];
	p->c = eager;
	p->server = true;
	p->hold = t->server_hold;
	TAILQ_INSERT_TAIL(&t->servers, p, link);
	t->nservers++;
	t->reached++;
	for (unsigned int i = 0; i < 8; i++)
		if (t->listener[i] == listener)
			t->hits[i]++;
	*up_arg = p;
	*up = &peer_upcalls;
	assert_int_equal(sluice_accept(p->st, listener, eager), 0);
	if (t->server_abort_at_once)
		leave(p, true);
	return 0;
}

static const struct sluice_upcalls listener_upcalls = {
    .size = sizeof(listener_upcalls), .newconn = on_newconn};

/* ---- ends ---- */

static struct sockaddr_storage address(const char *addr, uint16_t port)
{
	struct sockaddr_storage ss;

	assert_int_equal(app_parse_addr(addr, port, &ss), 0);
	return ss;
}

void trio_backend(struct trio *t, unsigned int which, const char *addr, uint16_t port)
{
	struct sockaddr_storage ss = address(addr, port);
	struct sluice_stack *st = t->st[BACKEND];
	sluice_conn_t *c = &t->listener[which];

	assert_int_equal(sluice_create(st, ss.ss_family, SOCK_STREAM, 0, 0, -1, c), 0);
	assert_int_equal(sluice_activate(st, *c, &listener_upcalls, t), 0);
	assert_int_equal(sluice_bind(st, *c, (struct sockaddr *)&ss, app_addr_len(&ss)), 0);
	assert_int_equal(sluice_listen(st, *c, 4096), 0);
}

void trio_backend_close(struct trio *t, unsigned int which)
{
	sluice_close(t->st[BACKEND], t->listener[which]);
	t->listener[which] = 0;
}

struct peer *trio_client_new(struct trio *t, uint64_t up, uint64_t down)
{
	static uint64_t id;
	struct peer *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	id += 0x9e3779b9;
	p->t = t;
	p->st = t->st[CLIENT];
	p->id = id;
	p->to_send = up;
	p->to_get = down;
	memcpy(p->head, &p->id, 8);
	memcpy(p->head + 8, &up, 8);
	memcpy(p->head + 16, &down, 8);
	TAILQ_INSERT_TAIL(&t->clients, p, link);
	t->nclients++;
	return p;
}

void trio_client_connect(struct peer *p, const char *addr, uint16_t port)
{
	struct sockaddr_storage ss = address(addr, port);

	assert_int_equal(sluice_create(p->st, ss.ss_family, SOCK_STREAM, 0, 0, -1, &p->c), 0);
	assert_int_equal(sluice_activate(p->st, p->c, &peer_upcalls, p), 0);
	assert_int_equal(
	    sluice_connect(p->st, p->c, (struct sockaddr *)&ss, app_addr_len(&ss), NULL),
	    -EINPROGRESS);
}

struct peer *trio_client(
    struct trio *t, const char *addr, uint16_t port, uint64_t up, uint64_t down)
{
	struct peer *p = trio_client_new(t, up, down);

	trio_client_connect(p, addr, port);
	return p;
}

struct peer *trio_idle_client(struct trio *t, const char *addr, uint16_t port)
{
	struct peer *p = trio_client(t, addr, port, 10, 0);

	p->no_fin = true;
	return p;
}

void trio_abort_clients(struct trio *t)
{
	struct peer *p;

	TAILQ_FOREACH (p, &t->clients, link)
		trio_abort(p);
	trio_run(t, SLUICE_SEC(1));
	assert_int_equal(t->nclients, 0);
}

void trio_release(struct peer *p)
{
	p->hold = false;
	run(p);
}

void trio_abort(struct peer *p)
{
	leave(p, true);
}

void trio_close(struct peer *p)
{
	leave(p, false);
}

void trio_send(struct peer *p, const void *data, size_t n)
{
	assert_int_equal(sluice_send_copy(p->st, p->c, data, n, 0), n);
}

/* ---- stacks and wires ---- */

static void make_stack(struct trio *t, const struct trio_params *p, unsigned int i)
{
	static const char *const name[NSTACKS] = {"client", "proxy", "backend"};
	struct sluice_stack_params sp = {.size = sizeof(sp),
	    .name = name[i],
	    .nsqueues = i == PROXY ? trio_squeues : 1,
	    .max_connections = p->max_connections != 0 ? p->max_connections : 512,
	    .seed = p->seed * 3 + i + 1,
	    .tunables = p->tun[i]};

	t->pool[i] = tp_create(2048, 0);
	sp.hdr_pool = t->pool[i];
	assert_int_equal(sluice_stack_create(&sp, &t->st[i], NULL), 0);
}

static void add_port(struct trio *t, const struct trio_params *p, unsigned int i,
    struct sluice_driver d, const char *ifname)
{
	struct sluice_impair_params ip = {.size = sizeof(ip),
	    .seed = p->seed + i + 7,
	    .loss_ppm = p->loss_ppm,
	    .pool = t->pool[i]};
	struct sluice_if_params ifp = {
	    .size = sizeof(ifp), .name = ifname, .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_txn *txn;
	int port;

	if (p->loss_ppm != 0)
		assert_int_equal(sluice_impair_create(&ip, d, &d), 0);
	port = sluice_port_add(t->st[i], d);
	assert_true(port >= 0);
	ifp.port = (unsigned int)port;
	assert_int_equal(sluice_txn_begin(t->st[i], &txn), 0);
	assert_int_equal(sluice_if_add(txn, &ifp), 0);
	assert_int_equal(sluice_tunable_set(txn, "ip.dad_probes", 0), 0);
	assert_int_equal(sluice_txn_commit(txn, NULL), 0);
}

static void add_addr(struct trio *t, unsigned int i, const char *ifname, const char *addr)
{
	struct sluice_txn *txn;

	assert_int_equal(sluice_txn_begin(t->st[i], &txn), 0);
	assert_int_equal(sluice_addr_add(txn, ifname, addr, false), 0);
	assert_int_equal(sluice_txn_commit(txn, NULL), 0);
}

static void add_addresses(struct trio *t)
{
	add_addr(t, CLIENT, "net0", "10.0.0.1/24");
	add_addr(t, CLIENT, "net0", "fd00::1/64");
	add_addr(t, PROXY, "in", "10.0.0.2/24");
	add_addr(t, PROXY, "in", "fd00::2/64");
	add_addr(t, PROXY, "out", "10.0.1.1/24");
	add_addr(t, PROXY, "out", "fd01::1/64");
	add_addr(t, BACKEND, "net0", "10.0.1.2/24");
	add_addr(t, BACKEND, "net0", "10.0.1.3/24");
	add_addr(t, BACKEND, "net0", "fd01::2/64");
	for (int i = 0; i < 4; i++) {
		char a[32];

		snprintf(a, sizeof(a), "10.0.1.%d/24", 10 + i);
		add_addr(t, PROXY, "out", a);
		snprintf(a, sizeof(a), "fd01::1%d/64", i);
		add_addr(t, PROXY, "out", a);
	}
}

void trio_start(struct trio *t, const struct trio_params *p, bool access_log)
{
	struct sluice_wire_params wp = {.size = sizeof(wp), .latency = 10000, .depth = 16384};
	uint16_t nsq = (uint16_t)trio_squeues;
	struct proxy_params pp = {.seed = 5, .access_log = access_log};
	struct sluice_driver front[2], back[2];
	struct sluice_app app;

	memset(t, 0, sizeof(*t));
	TAILQ_INIT(&t->clients);
	TAILQ_INIT(&t->servers);
	t->now = SLUICE_SEC(1);
	for (unsigned int i = 0; i < NSTACKS; i++)
		make_stack(t, p, i);
	wp.nqueues[0] = 1, wp.nqueues[1] = nsq;
	assert_int_equal(sluice_wire_create(&wp, front), 0);
	wp.nqueues[0] = nsq, wp.nqueues[1] = 1;
	assert_int_equal(sluice_wire_create(&wp, back), 0);
	add_port(t, p, CLIENT, front[0], "net0");
	add_port(t, p, PROXY, front[1], "in");
	add_port(t, p, PROXY, back[0], "out");
	add_port(t, p, BACKEND, back[1], "net0");
	add_addresses(t);
	pp.st = t->st[PROXY];
	pp.pool[0] = t->pool[CLIENT]; /* a wire hands over the sender's own buffers */
	pp.pool[1] = t->pool[BACKEND];
	assert_int_equal(proxy_init(&t->proxy, &pp), 0);
	app = proxy_app(&t->proxy);
	assert_int_equal(sluice_app_register(t->st[PROXY], &app), 0);
	trio_run(t, SLUICE_MS(1));
}

int trio_try_config(struct trio *t, const char *text, char err[256])
{
	struct config *c;
	int rc = config_parse(text, strlen(text), "conf", &c, err, 256);

	if (rc != 0)
		return rc;
	rc = proxy_apply(&t->proxy, c, err, 256, NULL, NULL);
	config_free(c);
	return rc;
}

void trio_config(struct trio *t, const char *text)
{
	char err[256];

	if (trio_try_config(t, text, err) != 0)
		fail_msg("%s", err);
	trio_run(t, SLUICE_MS(1));
}

static int poll_all(struct trio *t)
{
	int work = 0;

	for (unsigned int i = 0; i < NSTACKS; i++)
		for (unsigned int k = 0; k < sluice_stack_nsqueues(t->st[i]); k++) {
			int rc = sluice_squeue_poll(sluice_squeue(t->st[i], k), t->now, 0);

			assert_true(rc >= 0);
			work += rc;
		}
	return work;
}

/* One step; false when `end` was reached. */
static bool step(struct trio *t, uint64_t end)
{
	uint64_t next = UINT64_MAX;

	if (poll_all(t) > 0)
		return true;
	for (unsigned int i = 0; i < NSTACKS; i++)
		for (unsigned int k = 0; k < sluice_stack_nsqueues(t->st[i]); k++)
			next = RTE_MIN(next, sluice_squeue_next(sluice_squeue(t->st[i], k)));
	if (next <= t->now)
		next = t->now + 1000;
	if (next > end) {
		t->now = end;
		return false;
	}
	t->now = next;
	return true;
}

void trio_run(struct trio *t, uint64_t ns)
{
	uint64_t end = t->now + ns;

	while (step(t, end))
		;
	(void)poll_all(t);
}

bool trio_finish(struct trio *t, uint64_t ns)
{
	uint64_t end = t->now + ns;

	while (t->nclients > 0 && step(t, end))
		;
	return t->nclients == 0;
}

uint32_t trio_mbufs(const struct trio *t)
{
	uint32_t n = 0;

	for (unsigned int i = 0; i < NSTACKS; i++)
		n += tp_out(t->pool[i]);
	return n;
}

static void is_quiet(const struct proxy *p)
{
	assert_int_equal(p->n.open, 0);
	assert_true(TAILQ_EMPTY(&p->all));
	assert_true(TAILQ_EMPTY(&p->stalled));
	assert_true(TAILQ_EMPTY(&p->starved));
	for (unsigned int i = 0; i < p->nlisteners; i++)
		assert_int_equal(p->listener[i]->door->active, 0);
}

static void holds_nothing(const struct proxy *p)
{
	for (unsigned int i = 0; i < p->npools; i++)
		for (unsigned int k = 0; k < p->pool[i]->nbackends; k++) {
			assert_int_equal(p->pool[i]->backend[k]->share->active, 0);
			assert_int_equal(p->pool[i]->backend[k]->share->refs, p->group->n);
			assert_int_equal(p->pool[i]->backend[k]->refs, 1);
		}
}

struct proxy_counters trio_n(const struct trio *t)
{
	struct proxy_counters n;

	proxy_counters_get(&t->proxy, &n);
	return n;
}

void trio_stop(struct trio *t)
{
	/* Half-open ends and TIME_WAIT take their time, stale SYNs of a lossy wire too. */
	trio_run(t, SLUICE_SEC(400));
	assert_int_equal(t->proxy.open, 0);
	assert_int_equal(t->proxy.sources.n, 0);
	for (unsigned int i = 0; i < t->proxy.n; i++)
		is_quiet(&t->proxy.of[i]);
	for (unsigned int i = 0; i < t->proxy.n; i++)
		proxy_stop(&t->proxy.of[i]);
	trio_run(t, SLUICE_SEC(2));
	for (unsigned int i = 0; i < t->proxy.n; i++)
		holds_nothing(&t->proxy.of[i]);
	for (unsigned int i = 0; i < 8; i++)
		if (t->listener[i] != 0)
			trio_backend_close(t, i);
	trio_run(t, SLUICE_SEC(100));
	assert_int_equal(t->nclients, 0);
	assert_int_equal(t->nservers, 0);
	for (unsigned int i = 0; i < NSTACKS; i++) {
		struct sluice_leaks l = {.size = sizeof(l)};

		assert_int_equal(sluice_stack_destroy(t->st[i], &l), 0);
		assert_int_equal(l.connections + l.timers + l.calls + l.records, 0);
	}
	for (unsigned int i = 0; i < NSTACKS; i++)
		assert_int_equal(tp_destroy(t->pool[i]), 0);
	proxy_fini(&t->proxy);
}
