/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that an application had better not make, and ICMP that a router had better not send. The
 * table of results by state is that of test/unit/sock/test_errno.c, which brings a connection into
 * each state; here they are made whenever the plan says, in whatever state the connection is.
 */
#include <errno.h>
#include <string.h>

#include <rte_mbuf.h>

#include "sim.h"

int sim_errno_want(enum sluice_state st, enum sim_call call)
{
	/* bind, listen, connect, send, shutdown(WR), getpeername, unbind */
	static const int want[SLUICE_NSTATES][SIM_STATE_CALLS] = {
	    [SLUICE_IDLE] = {0, 0, -EINPROGRESS, -ENOTCONN, -ENOTCONN, -ENOTCONN, -EINVAL},
	    [SLUICE_BOUND] = {-EINVAL, 0, -EINPROGRESS, -ENOTCONN, -ENOTCONN, -ENOTCONN, 0},
	    [SLUICE_LISTEN] = {-EINVAL, 0, -EOPNOTSUPP, -ENOTCONN, -ENOTCONN, -ENOTCONN, -EINVAL},
	    [SLUICE_SYN_SENT] = {-EINVAL, -EINVAL, -EALREADY, -ENOTCONN, 0, -ENOTCONN, -EINVAL},
	    [SLUICE_SYN_RCVD] = {-EINVAL, -EINVAL, -EINVAL, -EPIPE, 0, 0, -EINVAL},
	    [SLUICE_ESTABLISHED] = {-EINVAL, -EINVAL, -EISCONN, 0, 0, 0, -EINVAL},
	    [SLUICE_CLOSE_WAIT] = {-EINVAL, -EINVAL, -EINVAL, 0, 0, 0, -EINVAL},
	    [SLUICE_FIN_WAIT_1] = {-EINVAL, -EINVAL, -EINVAL, -EPIPE, 0, 0, -EINVAL},
	    [SLUICE_FIN_WAIT_2] = {-EINVAL, -EINVAL, -EINVAL, -EPIPE, 0, 0, -EINVAL},
	    [SLUICE_CLOSING] = {-EINVAL, -EINVAL, -EINVAL, -EPIPE, 0, 0, -EINVAL},
	    [SLUICE_LAST_ACK] = {-EINVAL, -EINVAL, -EINVAL, -EPIPE, 0, 0, -EINVAL},
	    [SLUICE_TIME_WAIT] = {-EINVAL, -EINVAL, -EINVAL, -EPIPE, 0, 0, -EINVAL},
	    [SLUICE_CLOSED] = {-EINVAL, -EINVAL, -EINVAL, -EPIPE, -ENOTCONN, -ENOTCONN, -EINVAL},
	};

	return want[st][call];
}

static const char *const names[SIM_NCALLS] = {"bind", "listen", "connect", "send", "shutdown",
    "getpeername", "unbind", "stale handle", "setsockopt", "getsockopt", "conn_info", "close",
    "abort"};

static int try_send(struct sim *s, unsigned int stack, sluice_conn_t c)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(s->pool[stack]);
	int rc;

	if (m == NULL)
		return 1; /* no buffer to try with */
	memset(rte_pktmbuf_append(m, 10), 'x', 10);
	rc = sluice_send(s->st[stack], c, m, 0);
	if (rc < 0)
		rte_pktmbuf_free(m);
	return rc;
}

/* Another port of the opposite end of the first link that the stack is on: nobody listens there. */
static struct sockaddr_in6 nobody(const struct sim *s, unsigned int stack)
{
	for (unsigned int l = 0; l < SIM_MAX_LINKS; l++)
		for (unsigned int e = 0; e < 2; e++)
			if (s->link[l].used && s->link[l].a[e] == stack)
				return sim_addr(l, !e, true, 81);
	return sim_addr(0, 0, true, 81);
}

static int make(struct sim *s, unsigned int stack, sluice_conn_t c, enum sim_call call, int port)
{
	struct sluice_stack *st = s->st[stack];
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)}, p;
	socklen_t len = sizeof(p);

	switch (call) {
	case SIM_BIND:
		return sluice_bind(st, c, (struct sockaddr *)&a, sizeof(a));
	case SIM_LISTEN:
		return sluice_listen(st, c, 4);
	case SIM_CONNECT:
		p = nobody(s, stack);
		return sluice_connect(st, c, (struct sockaddr *)&p, sizeof(p), NULL);
	case SIM_SEND:
		return try_send(s, stack, c);
	case SIM_SHUTDOWN:
		return sluice_shutdown(st, c, SHUT_WR);
	case SIM_PEERNAME:
		return sluice_getpeername(st, c, (struct sockaddr *)&p, &len);
	default:
		return sluice_bind(st, c, NULL, 0);
	}
}

/* A synchronous call about a guest of a squeue that is parked, from a thread that polls others. */
static bool nobody_there(const struct sim *s, unsigned int stack, int rc)
{
	return rc == -EXDEV && s->parks[stack] != 0;
}

/* Calls whose result is the same in every state, while the handle lives. */
static void stateless(struct sim *s, unsigned int stack, sluice_conn_t c, enum sim_call call)
{
	struct sluice_stack *st = s->st[stack];
	struct sluice_conn_info info = {.size = sizeof(info)};
	int v = 0, rc = 0;
	socklen_t len = sizeof(v);
	struct iovec iov;

	switch (call) {
	case SIM_STALE:
		SIM_CHECK(s, SIM_CK_ERRNO,
		    sluice_close(st, c ^ 0x10000) == -EBADF &&
			sluice_shutdown(st, c ^ 0x10000, SHUT_WR) == -EBADF &&
			sluice_peek(st, c ^ 0x10000, &iov, 1) == -EBADF,
		    "a stale handle answers");
		break;
	case SIM_SETOPT:
		rc = sluice_setsockopt(st, c, 12345, 1, &v, sizeof(v));
		SIM_CHECK(s, SIM_CK_ERRNO, rc == -ENOPROTOOPT || nobody_there(s, stack, rc),
		    "unknown option: %d", rc);
		rc = sluice_setsockopt(st, c, SOL_SOCKET, SO_KEEPALIVE, &v, 1);
		SIM_CHECK(s, SIM_CK_ERRNO, rc == -EINVAL || nobody_there(s, stack, rc),
		    "option of a wrong length: %d", rc);
		break;
	case SIM_GETOPT:
		rc = sluice_getsockopt(st, c, SOL_SOCKET, SO_ERROR, &v, &len);
		SIM_CHECK(
		    s, SIM_CK_ERRNO, rc == 0 || nobody_there(s, stack, rc), "SO_ERROR: %d", rc);
		break;
	default:
		rc = sluice_conn_info(st, c, &info);
		SIM_CHECK(
		    s, SIM_CK_ERRNO, rc == 0 || nobody_there(s, stack, rc), "conn_info: %d", rc);
		info.size = 1;
		rc = sluice_conn_info(st, c, &info);
		SIM_CHECK(s, SIM_CK_ERRNO, rc == -EINVAL || nobody_there(s, stack, rc),
		    "conn_info of a wrong size: %d", rc);
		break;
	}
}

/* Would the call change what the application's end does? */
static bool mutates(int want, enum sim_call call)
{
	return call != SIM_PEERNAME && (want == 0 || want == -EINPROGRESS);
}

void sim_call_end(struct sim *s, struct sim_end *e, enum sim_call call)
{
	enum sluice_state st;
	int want, rc;

	if (e->c == 0)
		return;
	if (e->closed) {
		SIM_CHECK(s, SIM_CK_ERRNO,
		    sluice_shutdown(e->st, e->c, SHUT_WR) == -EBADF &&
			sluice_abort(e->st, e->c) == -EBADF &&
			sluice_getstate(e->st, e->c, &st) == -EBADF,
		    "conn %u side %u: a closed connection answers", e->id, e->side);
		return;
	}
	if (e->closing && call != SIM_STALE) {
		SIM_CHECK(s, SIM_CK_ERRNO, sluice_close(e->st, e->c) == -EALREADY,
		    "conn %u side %u: closed twice", e->id, e->side);
		return;
	}
	if (sluice_conn_squeue(e->st, e->c) == -EAGAIN)
		return; /* it is on its way to another squeue: no call of this thread finds it */
	s->op_done[SIM_CALL]++;
	if (call >= SIM_STATE_CALLS) {
		stateless(s, e->stack, e->c, call);
		return;
	}
	(void)sluice_getstate(e->st, e->c, &st);
	want = sim_errno_want(st, call);
	if (e->shut && call == SIM_SEND && (st == SLUICE_ESTABLISHED || st == SLUICE_CLOSE_WAIT))
		want = -EPIPE; /* known at once; the FIN goes through the squeue */
	if (mutates(want, call))
		return;
	if (sim_plant_errno(s))
		want--;
	rc = make(s, e->stack, e->c, call, 5999);
	SIM_CHECK(s, SIM_CK_ERRNO, rc == want || rc == 1 || nobody_there(s, e->stack, rc),
	    "conn %u side %u: %s in %s: %d, not %d", e->id, e->side, names[call],
	    sluice_state_name(st), rc, want);
}

/* ---- scratch connections: any call in any order ---- */

static void scratch_saw(struct sim_scratch *x, enum sluice_upcall up)
{
	SIM_CHECK(x->sim, SIM_CK_UPCALLS, !x->any_upcall || sluice_upcall_may_follow(x->last, up),
	    "scratch: upcall %d after %d", up, x->last);
	x->any_upcall = true;
	x->last = up;
}

static int x_newconn(
    void *arg, sluice_conn_t l, sluice_conn_t e, void **up_arg, const struct sluice_upcalls **up)
{
	return -ECONNREFUSED;
}

static void x_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	scratch_saw(arg, SLUICE_UP_CONNECTED);
}

static void x_disconnected(void *arg, sluice_conn_t c, int err)
{
	scratch_saw(arg, SLUICE_UP_DISCONNECTED);
}

static void x_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	scratch_saw(arg, SLUICE_UP_OPCTL);
}

static void x_closed(void *arg, sluice_conn_t c)
{
	struct sim_scratch *x = arg;

	scratch_saw(x, SLUICE_UP_CLOSED);
	SIM_CHECK(x->sim, SIM_CK_UPCALLS, x->closing && !x->closed,
	    "scratch: closed twice, or without close()");
	x->closed = true;
}

static const struct sluice_upcalls scratch_upcalls = {.size = sizeof(scratch_upcalls),
    .newconn = x_newconn,
    .connected = x_connected,
    .disconnected = x_disconnected,
    .opctl = x_opctl,
    .closed = x_closed};

void sim_make_scratch(struct sim *s, unsigned int k, unsigned int stack, unsigned int sq)
{
	struct sim_scratch *x = &s->scratch[k];
	int rc;

	if (x->made)
		return;
	*x = (struct sim_scratch){.sim = s, .made = true, .stack = stack};
	rc = sluice_create(
	    s->st[stack], AF_INET6, SOCK_STREAM, 0, 0, (int)(sq % s->nsq[stack]), &x->c);
	if (rc == 0)
		rc = sluice_activate(s->st[stack], x->c, &scratch_upcalls, x);
	SIM_CHECK(s, SIM_CK_CALLS, rc == 0, "scratch: create %d", rc);
	SIM_CHECK(s, SIM_CK_ERRNO,
	    sluice_activate(s->st[stack], x->c, &scratch_upcalls, x) == -EALREADY,
	    "activated twice");
}

static void end_scratch(struct sim *s, struct sim_scratch *x, bool abortive)
{
	int rc =
	    abortive ? sluice_abort(s->st[x->stack], x->c) : sluice_close(s->st[x->stack], x->c);

	/* An abort after a close is heard once. */
	SIM_CHECK(
	    s, SIM_CK_ERRNO, rc == 0 || (x->closing && rc == -EALREADY), "scratch: close %d", rc);
	x->closing = true;
}

void sim_call_scratch(struct sim *s, unsigned int k, enum sim_call call)
{
	struct sim_scratch *x = &s->scratch[k];
	enum sluice_state st;
	int want, rc;

	if (!x->made || x->closed)
		return;
	s->op_done[SIM_SCALL]++;
	if (call >= SIM_CLOSE_SCRATCH) {
		end_scratch(s, x, call == SIM_ABORT_SCRATCH);
		return;
	}
	if (x->closing)
		return;
	if (call >= SIM_STATE_CALLS) {
		stateless(s, x->stack, x->c, call);
		return;
	}
	(void)sluice_getstate(s->st[x->stack], x->c, &st);
	want = sim_errno_want(st, call);
	rc = make(s, x->stack, x->c, call, 5000 + (int)k);
	/* IDLE binds to an ephemeral port; without addresses nothing is reached. */
	SIM_CHECK(s, SIM_CK_ERRNO,
	    rc == want || rc == 1 || nobody_there(s, x->stack, rc) ||
		(!s->calm && (rc == -ENETUNREACH || rc == -EADDRNOTAVAIL)) ||
		(st == SLUICE_CLOSED && call == SIM_SEND && rc == -ENOTCONN),
	    "scratch: %s in %s: %d, not %d", names[call], sluice_state_name(st), rc, want);
}

/* ---- ICMP that is forged, or real ---- */

void sim_inject_icmp(struct sim *s, struct sim_end *e, enum sim_icmp kind, int where)
{
	static const uint8_t types4[SIM_NICMP][2] = {{3, 1}, {3, 3}, {3, 4}, {4, 0}, {11, 0}};
	static const uint8_t types6[SIM_NICMP][2] = {{1, 3}, {1, 4}, {2, 0}, {4, 0}, {3, 0}};
	struct sim_pair *p = &s->pair[e->id];
	unsigned int at = e->side == 0 ? p->from : !p->from;
	struct sl_conn *c;
	uint8_t q[60] = {0}, *t;
	uint32_t seq;
	int home;

	if (e->c == 0 || e->closed)
		return;
	home = sluice_conn_squeue(s->st[e->stack], e->c);
	c = home < 0 ? NULL : sl_conn_get(s->st[e->stack]->sq[home], e->c);
	if (c == NULL || c->state < SLUICE_SYN_SENT)
		return;
	seq = where == 0 ? c->snd_una : where == 1 ? c->snd_una - 5000 : c->snd_max + 5000;
	if (p->v6) {
		q[0] = 0x60;
		q[5] = 20;
		q[6] = 6;
		memcpy(q + 8, &c->key.laddr, 16);
		memcpy(q + 24, &c->key.raddr, 16);
		t = q + 40;
	} else {
		q[0] = 0x45;
		q[3] = 40;
		q[9] = 6;
		memcpy(q + 12, &c->key.laddr.w[3], 4);
		memcpy(q + 16, &c->key.raddr.w[3], 4);
		t = q + 20;
	}
	memcpy(t, &c->key.lport, 2);
	memcpy(t + 2, &c->key.rport, 2);
	seq = htonl(seq);
	memcpy(t + 4, &seq, 4);
	if (where == 0 && (c->state == SLUICE_SYN_SENT || c->state == SLUICE_SYN_RCVD))
		sim_cut(e); /* a hard error may end what has not begun (RFC 5461) */
	sim_nic_icmp(&s->link[p->link].nic[at], q, p->v6 ? 60 : 40,
	    p->v6 ? types6[kind][0] : types4[kind][0], p->v6 ? types6[kind][1] : types4[kind][1],
	    kind == SIM_ICMP_BIG ? 68 : 0);
	s->op_done[SIM_ICMP]++;
}
