/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The application of the simulator: sends and checks a known stream in sizes, pauses and reading
 * styles that the seed decides, and holds TCP to the order of upcalls.
 */
#include <errno.h>
#include <string.h>

#include <rte_mbuf.h>

#include "sim.h"

static void saw(struct sim_end *e, enum sluice_upcall up)
{
	if (e->any_upcall && !sluice_upcall_may_follow(e->last, up))
		sim_fail(
		    e->sim, "conn %u side %u: upcall %d after %d", e->id, e->side, up, e->last);
	e->any_upcall = true;
	e->last = up;
}

static struct sluice_squeue *squeue_of(struct sim_end *e)
{
	return sluice_squeue(e->st, (unsigned int)(e->c >> 56));
}

/* ---- sending ---- */

static void finish_sending(struct sim_end *e)
{
	enum sim_kind k = e->sim->kind[e->id];

	if (e->shut || e->closing)
		return;
	/* One side waits for the other's end in NORMAL and SERVER_CLOSES; the rest shut at once, so
	 * that FINs cross. */
	if (((k == SIM_NORMAL && e->side == 1) || (k == SIM_SERVER_CLOSES && e->side == 0)) &&
	    !e->eof)
		return;
	e->shut = true;
	(void)sluice_shutdown(e->st, e->c, SHUT_WR);
}

static void try_close(struct sim_end *e)
{
	if (e->closing || !e->eof || !e->shut || sluice_readable(e->st, e->c) > 0)
		return;
	e->closing = true;
	if (sluice_close(e->st, e->c) != 0)
		sim_fail(e->sim, "conn %u side %u: close refused", e->id, e->side);
}

static struct rte_mbuf *make_chain(struct sim_end *e, uint32_t len)
{
	struct rte_mempool *mp = e->sim->pool[e->side];
	uint64_t key = sim_key(e->sim, e->id, e->side);
	struct rte_mbuf *head = NULL, *tail = NULL;
	uint32_t done = 0;

	while (done < len) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(mp);
		uint32_t n = len - done;
		uint8_t *p;

		if (m == NULL)
			break;
		n = RTE_MIN(n, (uint32_t)rte_pktmbuf_tailroom(m));
		if (n > 1 && sl_rng_below(&e->sim->rng, 4) == 0)
			n = 1 + (uint32_t)sl_rng_below(&e->sim->rng, n);
		p = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)n);
		for (uint32_t i = 0; i < n; i++)
			p[i] = sim_byte(key, e->sent + done + i);
		done += n;
		if (head == NULL) {
			head = m;
		} else {
			tail->next = m;
			head->nb_segs++;
			head->pkt_len += n;
		}
		tail = m;
	}
	return head;
}

void sim_pump(struct sim_end *e)
{
	while (e->up && !e->shut && !e->closing && e->sent < e->to_send) {
		uint64_t left = e->to_send - e->sent;
		uint32_t len = 1 + (uint32_t)sl_rng_below(&e->sim->rng, RTE_MIN(left, 9000u));
		struct rte_mbuf *m = make_chain(e, len);
		int rc;

		if (m == NULL)
			return; /* the pool is empty: the poll hook tries again */
		len = m->pkt_len;
		rc = sluice_send(e->st, e->c, m, 0);
		if (rc < 0) {
			rte_pktmbuf_free(m);
			if (rc != -EAGAIN && !e->ended && !e->broke)
				sim_fail(e->sim, "conn %u side %u: send %d", e->id, e->side, rc);
			return;
		}
		e->sent += len;
	}
	if (e->up && e->sent == e->to_send)
		finish_sending(e);
	try_close(e);
}

/* ---- receiving ---- */

static void check_bytes(struct sim_end *e, const uint8_t *p, uint32_t n)
{
	uint64_t key = sim_key(e->sim, e->id, !e->side);

	for (uint32_t i = 0; i < n; i++) {
		if (p[i] != sim_byte(key, e->received + i)) {
			sim_fail(e->sim, "conn %u side %u: wrong byte at %lu", e->id, e->side,
			    (unsigned long)(e->received + i));
			break;
		}
	}
	e->received += n;
	if (e->received > e->peer->sent)
		sim_fail(e->sim, "conn %u side %u: more received than sent", e->id, e->side);
}

static void read_by_consume(struct sim_end *e, size_t most)
{
	struct iovec iov[8];
	int n = sluice_peek(e->st, e->c, iov, 8);
	size_t done = 0;

	for (int i = 0; i < n && done < most; i++) {
		size_t len = RTE_MIN(iov[i].iov_len, most - done);

		check_bytes(e, iov[i].iov_base, (uint32_t)len);
		done += len;
	}
	if (sluice_consume(e->st, e->c, done) != 0)
		sim_fail(e->sim, "conn %u side %u: consume %zu refused", e->id, e->side, done);
}

static void read_by_take(struct sim_end *e, size_t most)
{
	struct rte_mbuf *m;
	ssize_t len = sluice_take(e->st, e->c, most, &m), sum = 0;

	for (struct rte_mbuf *s = m; s != NULL; s = s->next) {
		check_bytes(e, rte_pktmbuf_mtod(s, uint8_t *), s->data_len);
		sum += s->data_len;
	}
	if (len != sum || (m != NULL && m->pkt_len != (uint32_t)sum))
		sim_fail(e->sim, "conn %u side %u: take says %zd, chain has %zd", e->id, e->side,
		    len, sum);
	rte_pktmbuf_free(m);
}

static void resume(struct sluice_squeue *sq, void *arg);

static void read_some(struct sim_end *e)
{
	while (!e->paused && !e->closing) {
		ssize_t avail = sluice_readable(e->st, e->c);
		size_t most;

		if (avail <= 0)
			break;
		e->reads++;
		/* A reader that falls behind: the window closes, and opens when it comes back. */
		if (sl_rng_below(&e->sim->rng, 60) == 0) {
			sluice_timer_t t;

			e->paused = true;
			(void)sluice_timer_start(squeue_of(e),
			    e->sim->now + sl_rng_below(&e->sim->rng, SLUICE_MS(2000)), resume, e,
			    &t);
			break;
		}
		most = 1 + sl_rng_below(&e->sim->rng, (uint64_t)avail);
		if (sl_rng_below(&e->sim->rng, 2))
			read_by_take(e, most);
		else
			read_by_consume(e, most);
	}
}

static void check_eof(struct sim_end *e)
{
	ssize_t left = e->closing ? 0 : sluice_readable(e->st, e->c);

	if (e->eof && left == 0)
		try_close(e);
}

static void resume(struct sluice_squeue *sq, void *arg)
{
	struct sim_end *e = arg;

	if (e->closed)
		return;
	e->paused = false;
	read_some(e);
	check_eof(e);
}

/* ---- upcalls ---- */

static int up_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct sim_end *e = arg;

	saw(e, SLUICE_UP_RECV);
	if (e->eof && !e->paused && e->reads == 0)
		sim_fail(e->sim, "conn %u side %u: recv after the end", e->id, e->side);
	read_some(e);
	sim_pump(e);
	return 0;
}

static void up_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	struct sim_end *e = arg;

	saw(e, SLUICE_UP_OPCTL);
	if (op != SLUICE_OPCTL_SHUT_RECV)
		return;
	e->eof = true;
	read_some(e);
	sim_pump(e);
	check_eof(e);
}

static void up_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	struct sim_end *e = arg;

	saw(e, SLUICE_UP_CONNECTED);
	e->up = true;
	sim_pump(e);
}

static void up_disconnected(void *arg, sluice_conn_t c, int err)
{
	struct sim_end *e = arg;

	saw(e, SLUICE_UP_DISCONNECTED);
	e->ended = true;
	e->err = err;
	if (!e->closing) {
		e->closing = true;
		(void)sluice_close(e->st, c);
	}
}

static void up_txq_full(void *arg, sluice_conn_t c, bool full)
{
	struct sim_end *e = arg;

	saw(e, SLUICE_UP_TXQ_FULL);
	if (!full)
		sim_pump(e);
}

static void up_props(void *arg, sluice_conn_t c, size_t sndbuf, size_t rcvbuf, uint32_t mss)
{
	struct sim_end *e = arg;

	saw(e, SLUICE_UP_SET_PROTO_PROPS);
}

static void up_closed(void *arg, sluice_conn_t c)
{
	struct sim_end *e = arg;

	saw(e, SLUICE_UP_CLOSED);
	if (e->closed)
		sim_fail(e->sim, "conn %u side %u: closed twice", e->id, e->side);
	e->closed = true;
}

#define COMMON                                                                               \
	.size = sizeof(struct sluice_upcalls), .recv = up_recv, .opctl = up_opctl,           \
	.connected = up_connected, .disconnected = up_disconnected, .txq_full = up_txq_full, \
	.set_proto_props = up_props, .closed = up_closed

const struct sluice_upcalls sim_client_upcalls = {COMMON};
const struct sluice_upcalls sim_server_upcalls = {COMMON};

/* The pair that this eager belongs to: the one whose client has its peer's address. */
static int up_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct sim *s = arg;
	struct sockaddr_in6 peer, local;
	socklen_t len = sizeof(peer);

	if (sluice_getpeername(s->st[1], eager, (struct sockaddr *)&peer, &len) != 0)
		sim_fail(s, "eager without a peer");
	for (unsigned int i = 0; i < s->nconns; i++) {
		struct sim_end *e = &s->end[i][1];

		if (s->kind[i] == SIM_SIMULTANEOUS || s->kind[i] == SIM_SIMUL_SHUT || e->c != 0 ||
		    s->end[i][0].c == 0)
			continue;
		len = sizeof(local);
		if (sluice_getsockname(s->st[0], s->end[i][0].c, (struct sockaddr *)&local, &len) !=
			0 ||
		    local.sin6_port != peer.sin6_port ||
		    memcmp(&local.sin6_addr, &peer.sin6_addr, sizeof(peer.sin6_addr)) != 0)
			continue;
		e->c = eager;
		e->up = true;
		*up_arg = e;
		*up = &sim_server_upcalls;
		(void)sluice_accept(s->st[1], l, eager);
		(void)sluice_timer_start(squeue_of(e), 0, resume, e, &(sluice_timer_t){0});
		return 0;
	}
	return -ECONNREFUSED; /* its client has given up */
}

static void listener_closed(void *arg, sluice_conn_t c)
{
	struct sim *s = arg;

	if (s->listener_closed)
		sim_fail(s, "listener closed twice");
	s->listener_closed = true;
}

const struct sluice_upcalls sim_listener_upcalls = {
    .size = sizeof(struct sluice_upcalls), .newconn = up_newconn, .closed = listener_closed};

/* ---- opening ---- */

static struct sockaddr_in6 addr_of(const struct sim *s, unsigned int side, bool v6, uint16_t port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	if (v6) {
		a.sin6_addr.s6_addr[0] = 0xfd;
		a.sin6_addr.s6_addr[15] = (uint8_t)(side + 1);
	} else {
		a.sin6_addr.s6_addr[10] = a.sin6_addr.s6_addr[11] = 0xff;
		a.sin6_addr.s6_addr[12] = 10;
		a.sin6_addr.s6_addr[15] = (uint8_t)(side + 1);
	}
	return a;
}

/* An abort's RST may be lost: without keepalive its peer would wait for ever, and rightly so. */
static int keep_alive(struct sluice_stack *st, sluice_conn_t c)
{
	int on = 1;

	return sluice_setsockopt(st, c, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static int open_end(struct sim *s, struct sim_end *e, const struct sluice_upcalls *up,
    uint16_t lport, uint16_t rport, bool v6)
{
	struct sockaddr_in6 l = addr_of(s, e->side, v6, lport), r = addr_of(s, !e->side, v6, rport);
	int rc = sluice_create(
	    e->st, AF_INET6, SOCK_STREAM, 0, 0, (int)sl_rng_below(&s->rng, s->nsq), &e->c);

	if (rc < 0)
		return rc;
	rc = sluice_activate(e->st, e->c, up, e);
	if (rc == 0)
		rc = keep_alive(e->st, e->c);
	if (rc == 0 && lport != 0)
		rc = sluice_bind(e->st, e->c, (struct sockaddr *)&l, sizeof(l));
	if (rc == 0)
		rc = sluice_connect(e->st, e->c, (struct sockaddr *)&r, sizeof(r), NULL);
	return rc == -EINPROGRESS ? 0 : rc;
}

/* Half of the connections begin just before the sequence number wraps. The SYN has not left yet:
 * output runs later. */
static void near_wrap(struct sim *s, struct sim_end *e)
{
	struct sluice_squeue *sq = squeue_of(e);
	struct sl_conn *c = sl_conn_get(sq, e->c);

	if (c == NULL || c->state != SLUICE_SYN_SENT || sl_rng_below(&s->rng, 2))
		return;
	c->iss = c->snd_una = c->snd_up = (uint32_t)(0 - 1 - sl_rng_below(&s->rng, 30000));
	c->snd_nxt = c->snd_max = c->iss + 1;
}

static void open_pair(struct sim *s, unsigned int i)
{
	struct sim_end *a = &s->end[i][0], *b = &s->end[i][1];
	bool v6 = sl_rng_below(&s->rng, 2),
	     simul = s->kind[i] == SIM_SIMULTANEOUS || s->kind[i] == SIM_SIMUL_SHUT;
	int rc = open_end(s, a, &sim_client_upcalls, simul ? (uint16_t)(2000 + i) : 0,
	    simul ? (uint16_t)(3000 + i) : 80, v6);

	if (rc == 0 && simul)
		rc = open_end(
		    s, b, &sim_client_upcalls, (uint16_t)(3000 + i), (uint16_t)(2000 + i), v6);
	if (rc != 0) {
		sim_fail(s, "conn %u: open %d", i, rc);
		return;
	}
	near_wrap(s, a);
	if (s->kind[i] == SIM_SIMUL_SHUT) {
		a->shut = b->shut = true;
		a->to_send = b->to_send = 0;
		(void)sluice_shutdown(a->st, a->c, SHUT_WR);
		(void)sluice_shutdown(b->st, b->c, SHUT_WR);
	}
	/* At once, or when the SYN is on the wire: then the half-open end meets a RST. */
	if (s->kind[i] == SIM_CLOSE_EARLY)
		a->act_at = s->now + sl_rng_below(&s->rng, SLUICE_MS(3));
	if (s->kind[i] == SIM_ABORT)
		s->end[i][sl_rng_below(&s->rng, 2)].act_at =
		    s->now + sl_rng_below(&s->rng, SLUICE_MS(500));
}

/* The deed of SIM_CLOSE_EARLY and SIM_ABORT. */
void sim_act(struct sim_end *e)
{
	e->act_at = UINT64_MAX;
	if (e->c == 0 || e->closing || e->closed)
		return;
	e->closing = true;
	e->broke = e->peer->broke = true;
	if (e->sim->kind[e->id] == SIM_ABORT)
		(void)sluice_abort(e->st, e->c);
	else
		(void)sluice_close(e->st, e->c);
}

void sim_open_next(struct sim *s)
{
	if (s->opened < s->nconns)
		open_pair(s, s->opened++);
}

/* ---- calls that must fail, and must not harm ---- */

void sim_illegal_calls(struct sim *s)
{
	struct sim_end *e = &s->end[sl_rng_below(&s->rng, s->nconns)][sl_rng_below(&s->rng, 2)];
	struct sockaddr_in6 a = addr_of(s, 0, true, 1);
	struct sluice_conn_info info = {.size = sizeof(info)};

	if (e->c == 0)
		return;
	if (sluice_close(e->st, e->c ^ 0x10000) != -EBADF)
		sim_fail(s, "a stale handle was closed");
	if (e->closed) {
		if (sluice_shutdown(e->st, e->c, SHUT_WR) != -EBADF ||
		    sluice_abort(e->st, e->c) != -EBADF)
			sim_fail(s, "a closed connection answers");
		return;
	}
	(void)sluice_conn_info(e->st, e->c, &info);
	if (sluice_bind(e->st, e->c, (struct sockaddr *)&a, sizeof(a)) == 0)
		sim_fail(s, "bound twice");
	if (sluice_shutdown(e->st, e->c, 17) == 0)
		sim_fail(s, "shutdown of nothing");
	if (sluice_setsockopt(e->st, e->c, 12345, 1, &a, 4) == 0)
		sim_fail(s, "unknown option set");
}

static bool end_done(const struct sim_end *e)
{
	return e->c == 0 || e->closed;
}

bool sim_all_ended(const struct sim *s)
{
	if (s->opened < s->nconns)
		return false;
	for (unsigned int i = 0; i < s->nconns; i++)
		if (!end_done(&s->end[i][0]) || !end_done(&s->end[i][1]))
			return false;
	return true;
}
