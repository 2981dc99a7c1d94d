/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Downcalls: what a user asks of TCP, from any thread.
 *
 * There are three ways in. What only reads (getpeername, getsockname, getstate, the state check of
 * send) looks at the published line and never enters. What must not fail (data within the send
 * credit, shutdown, clr_flowctrl, close, abort) rings the connection's door. The rest is a
 * synchronous call: the operation travels to the squeue, which runs the second half of this file
 * (sl_sock_op), and the caller waits; on the squeue itself it runs inline.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include <sock/sock_int.h>

/* ---- addresses ---- */

struct remote {
	struct sluice_addr addr;
	uint16_t port; /* network order */
	uint32_t scope;
};

/* The family of the connection decides which structure is right (EINVAL length, EAFNOSUPPORT
 * family). */
static int parse_sockaddr(int family, const struct sockaddr *sa, socklen_t len, struct remote *r)
{
	if (sa == NULL || len < sizeof(sa->sa_family))
		return -EINVAL;
	memset(r, 0, sizeof(*r));
	if (sa->sa_family != family)
		return -EAFNOSUPPORT;
	if (family == AF_INET) {
		struct sockaddr_in in;

		if (len != sizeof(in))
			return -EINVAL;
		memcpy(&in, sa, sizeof(in));
		r->addr = sl_addr4(in.sin_addr.s_addr);
		r->port = in.sin_port;
	} else {
		struct sockaddr_in6 in6;

		if (len != sizeof(in6))
			return -EINVAL;
		memcpy(&in6, sa, sizeof(in6));
		memcpy(r->addr.b, &in6.sin6_addr, sizeof(r->addr));
		r->port = in6.sin6_port;
		r->scope = in6.sin6_scope_id;
		if (sl_addr_zone(&r->addr) != 0) /* no such address: RFC 4291 2.5.6 */
			return -EINVAL;
	}
	return 0;
}

static void fill_sockaddr(
    int family, const struct sluice_addr *a, uint16_t port, struct sockaddr *sa, socklen_t *len)
{
	struct sockaddr_in in = {
	    .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = a->w[3]};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = port};
	const void *from = &in;
	socklen_t full = sizeof(in);

	if (family == AF_INET6) {
		struct sluice_addr plain = sl_addr_zoned(*a, 0);

		memcpy(&in6.sin6_addr, plain.b, sizeof(plain.b));
		in6.sin6_scope_id = sl_addr_zone(a);
		from = &in6;
		full = sizeof(in6);
	}
	memcpy(sa, from, *len < full ? *len : full);
	*len = full;
}

/* ---- the published line ---- */

struct pub_copy {
	enum sluice_state state;
	int family;
	uint32_t connid;
	struct sluice_addr laddr, raddr;
	uint16_t lport, rport;
};

/*
 * A consistent copy: retried while the squeue writes. The acquire fence pairs with the release
 * stores of sl_conn_publish; the generation is looked at last, so that what was copied is this
 * connection's.
 */
static int read_pub(struct sluice_stack *st, sluice_conn_t c, struct pub_copy *out)
{
	struct sl_door *d = sl_door_of(st, c);
	uint32_t seq;

	if (d == NULL || !sl_handle_live(st, c))
		return -EBADF;
	do {
		seq = atomic_load_explicit(&d->pub.seq, memory_order_acquire);
		out->state =
		    (enum sluice_state)atomic_load_explicit(&d->pub.state, memory_order_relaxed);
		out->connid = atomic_load_explicit(&d->pub.connid, memory_order_relaxed);
		out->family = __atomic_load_n(&d->pub.family, __ATOMIC_RELAXED);
		for (int i = 0; i < 2; i++) {
			out->laddr.q[i] = __atomic_load_n(&d->pub.laddr.q[i], __ATOMIC_RELAXED);
			out->raddr.q[i] = __atomic_load_n(&d->pub.raddr.q[i], __ATOMIC_RELAXED);
		}
		out->lport = __atomic_load_n(&d->pub.lport, __ATOMIC_RELAXED);
		out->rport = __atomic_load_n(&d->pub.rport, __ATOMIC_RELAXED);
		atomic_thread_fence(memory_order_acquire);
	} while ((seq & 1) || seq != atomic_load_explicit(&d->pub.seq, memory_order_relaxed));
	return sl_handle_live(st, c) ? 0 : -EBADF;
}

int sluice_getstate(struct sluice_stack *st, sluice_conn_t c, enum sluice_state *state)
{
	struct pub_copy p;
	int rc = read_pub(st, c, &p);

	if (rc == 0)
		*state = p.state;
	return rc;
}

int sluice_getsockname(
    struct sluice_stack *st, sluice_conn_t c, struct sockaddr *sa, socklen_t *len)
{
	struct pub_copy p;
	int rc = read_pub(st, c, &p);

	if (rc == 0)
		fill_sockaddr(p.family, &p.laddr, p.lport, sa, len);
	return rc;
}

int sluice_getpeername(
    struct sluice_stack *st, sluice_conn_t c, struct sockaddr *sa, socklen_t *len)
{
	struct pub_copy p;
	int rc = read_pub(st, c, &p);

	if (rc < 0)
		return rc;
	if (p.state < SLUICE_SYN_RCVD)
		return -ENOTCONN;
	fill_sockaddr(p.family, &p.raddr, p.rport, sa, len);
	return 0;
}

/* ---- synchronous downcalls: the caller's half ---- */

static int call_conn(
    struct sluice_stack *st, enum sl_op op, sluice_conn_t c, const struct sluice_args *args)
{
	return (int)sl_conn_call(st, op, c, args);
}

/* The bind table was busy on the squeue, which must not wait; a control thread may. */
static int call_patiently(
    struct sluice_stack *st, enum sl_op op, sluice_conn_t c, const struct sluice_args *args)
{
	int rc;

	while ((rc = call_conn(st, op, c, args)) == -EAGAIN && !sl_thread_polls())
		sched_yield();
	return rc;
}

/* Where a connection is born: the caller's own squeue, else round robin; one that runs. */
static unsigned int birth_squeue(struct sluice_stack *st, int want)
{
	unsigned int at;

	if (want >= 0)
		return (unsigned int)want;
	for (unsigned int i = 0; i < st->nsq; i++)
		if (sl_on_squeue(st->sq[i]) && sl_running(st, i))
			return i;
	at = atomic_fetch_add_explicit(&st->next_sq, 1, memory_order_relaxed) % st->nsq;
	for (unsigned int i = 0; i < st->nsq && !sl_running(st, at); i++)
		at = (at + 1) % st->nsq;
	return at;
}

int sluice_create(struct sluice_stack *st, int family, int type, int proto, uint32_t vrf,
    int squeue, sluice_conn_t *c)
{
	struct sluice_args args = {{(uint64_t)family, vrf, (uintptr_t)c}};

	if (type != SOCK_STREAM || (family != AF_INET && family != AF_INET6) ||
	    (proto != 0 && proto != IPPROTO_TCP))
		return -EPROTONOSUPPORT;
	if (squeue >= (int)st->nsq || c == NULL)
		return -EINVAL;
	return (int)sl_synch_call(
	    st, birth_squeue(st, squeue), SL_OP_CREATE, SLUICE_CONN_NONE, &args);
}

int sluice_activate(
    struct sluice_stack *st, sluice_conn_t c, const struct sluice_upcalls *up, void *arg)
{
	struct sluice_args args = {{(uintptr_t)up, (uintptr_t)arg}};

	if (up == NULL || up->size != sizeof(*up))
		return -EINVAL;
	return call_conn(st, SL_OP_ACTIVATE, c, &args);
}

int sluice_bind(struct sluice_stack *st, sluice_conn_t c, const struct sockaddr *sa, socklen_t len)
{
	struct sl_door *d = sl_door_of(st, c);
	struct sluice_args args = {{0}};
	struct remote r;
	int rc;

	if (d == NULL)
		return -EBADF;
	if (sa != NULL) {
		rc = parse_sockaddr(__atomic_load_n(&d->pub.family, __ATOMIC_RELAXED), sa, len, &r);
		if (rc < 0)
			return rc;
		args.a[0] = (uintptr_t)&r;
	}
	return call_patiently(st, SL_OP_BIND, c, &args);
}

/* Other squeues install their shards by entries: an empty call behind them makes listen mean what
 * it says. */
static void settle(struct sluice_stack *st)
{
	struct sluice_args none = {{0}};

	if (sl_thread_polls())
		return;
	for (unsigned int i = 0; i < st->nsq; i++)
		(void)sl_synch_call(st, i, SL_OP_MISC, SLUICE_CONN_NONE, &none);
}

int sluice_listen(struct sluice_stack *st, sluice_conn_t c, int backlog)
{
	struct sluice_args args = {{(uint64_t)(int64_t)backlog}};
	int rc = call_patiently(st, SL_OP_LISTEN, c, &args);

	if (rc == 0 && st->nsq > 1)
		settle(st);
	return rc;
}

int sluice_connect(struct sluice_stack *st, sluice_conn_t c, const struct sockaddr *sa,
    socklen_t len, uint32_t *connid)
{
	struct sl_door *d = sl_door_of(st, c);
	struct remote r;
	struct sluice_args args = {{(uintptr_t)&r, (uintptr_t)connid}};
	int rc;

	if (d == NULL)
		return -EBADF;
	rc = parse_sockaddr(__atomic_load_n(&d->pub.family, __ATOMIC_RELAXED), sa, len, &r);
	if (rc < 0)
		return rc;
	rc = call_conn(st, SL_OP_CONNECT, c, &args);
	return rc == 0 ? -EINPROGRESS : rc;
}

int sluice_set_sources(
    struct sluice_stack *st, sluice_conn_t c, const struct sluice_addr *first, uint32_t n)
{
	struct sluice_args args = {{(uintptr_t)first, n}};

	if (n > 65536 || (n > 0 && first == NULL))
		return -EINVAL;
	return call_conn(st, SL_OP_SOURCES, c, &args);
}

int sluice_accept(struct sluice_stack *st, sluice_conn_t listener, sluice_conn_t eager)
{
	struct sluice_args args = {{listener}};

	return call_conn(st, SL_OP_ACCEPT, eager, &args);
}

int sluice_getsockopt(
    struct sluice_stack *st, sluice_conn_t c, int level, int name, void *val, socklen_t *len)
{
	struct sluice_args args = {
	    {(uint64_t)(int64_t)level, (uint64_t)(int64_t)name, (uintptr_t)val, (uintptr_t)len}};
	int rc;

	if (val == NULL || len == NULL)
		return -EINVAL;
	rc = call_conn(st, SL_OP_GETOPT, c, &args);
	return rc == -ENOBUFS ? -ENOMEM : rc;
}

int sluice_setsockopt(
    struct sluice_stack *st, sluice_conn_t c, int level, int name, const void *val, socklen_t len)
{
	struct sluice_args args = {
	    {(uint64_t)(int64_t)level, (uint64_t)(int64_t)name, (uintptr_t)val, len}};
	struct sl_door *d = sl_door_of(st, c);
	int rc;

	if (val == NULL)
		return -EINVAL;
	/* The one option that needs no entry (as in the seed): output reads it from the published
	 * line. */
	if (level == IPPROTO_TCP && name == TCP_NODELAY) {
		int on;

		if (d == NULL || !sl_handle_live(st, c))
			return -EBADF;
		if (len != sizeof(on))
			return -EINVAL;
		memcpy(&on, val, sizeof(on));
		atomic_store_explicit(&d->pub.nodelay, on != 0, memory_order_relaxed);
		/* What the Nagle algorithm holds back goes now; nobody waits for that. */
		return on ? sl_ring(st, c, SL_BELL_FLUSH) : 0;
	}
	rc = call_conn(st, SL_OP_SETOPT, c, &args);
	return rc == -ENOBUFS ? -ENOMEM : rc;
}

int sluice_conn_info(struct sluice_stack *st, sluice_conn_t c, struct sluice_conn_info *info)
{
	struct sluice_args args = {{(uintptr_t)info}};

	if (info->size != sizeof(*info))
		return -EINVAL;
	return call_conn(st, SL_OP_INFO, c, &args);
}

/* ---- where it lives ---- */

int sluice_move(struct sluice_stack *st, sluice_conn_t c, unsigned int to)
{
	struct sluice_args args = {{to}};
	struct sl_door *d = sl_door_of(st, c);
	uint32_t owner;

	if (d == NULL || !sl_handle_live(st, c))
		return -EBADF;
	if (to >= st->nsq)
		return -EINVAL;
	if (!sl_running(st, to))
		return -EBUSY;
	owner = sl_door_owner(d);
	if (owner != SL_NOBODY && sl_on_squeue(st->sq[owner]))
		return (int)sl_conn_call(st, SL_OP_MOVE, c, &args);
	return sl_conn_post(st, SL_OP_MOVE, c, &args);
}

int sluice_pin(struct sluice_stack *st, sluice_conn_t c, bool pin)
{
	struct sluice_args args = {{0, pin ? SL_MOVE_PIN : SL_MOVE_UNPIN}};

	return call_conn(st, SL_OP_MOVE, c, &args);
}

int sluice_conn_squeue(struct sluice_stack *st, sluice_conn_t c)
{
	struct sl_door *d = sl_door_of(st, c);
	uint32_t owner = d == NULL ? SL_NOBODY : sl_door_owner(d);

	if (d == NULL || !sl_handle_live(st, c))
		return -EBADF;
	return owner == SL_NOBODY ? -EAGAIN : (int)owner;
}

/* ---- asynchronous downcalls: the door ---- */

int sluice_shutdown(struct sluice_stack *st, sluice_conn_t c, int how)
{
	uint32_t bits =
	    (how != SHUT_RD ? SL_BELL_SHUT_WR : 0) | (how != SHUT_WR ? SL_BELL_SHUT_RD : 0);
	enum sluice_state s = SLUICE_CLOSED;
	int rc = sluice_getstate(st, c, &s);

	if (rc < 0)
		return rc;
	if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
		return -EINVAL;
	if (s < SLUICE_SYN_SENT)
		return -ENOTCONN;
	/* At once, so that this thread's next send is refused; the FIN itself goes through the
	 * squeue. */
	if (how != SHUT_RD)
		atomic_store_explicit(&sl_door_of(st, c)->pub.shut, 1, memory_order_relaxed);
	return sl_ring(st, c, bits);
}

int sluice_clr_flowctrl(struct sluice_stack *st, sluice_conn_t c)
{
	return sl_ring(st, c, SL_BELL_FLOWCTRL);
}

/* CLOSED_ONCE is sticky: the second close, or a close after an abort, is told so. Always through
 * the door, on the squeue too: a close inside an upcall waits for the end of the pass. */
static int end(struct sluice_stack *st, sluice_conn_t c, uint32_t bits)
{
	return sl_ring(st, c, bits | SL_BELL_CLOSED_ONCE);
}

int sluice_close(struct sluice_stack *st, sluice_conn_t c)
{
	return end(st, c, SL_BELL_CLOSE);
}

int sluice_abort(struct sluice_stack *st, sluice_conn_t c)
{
	uint32_t bits = SL_BELL_ABORT | SL_BELL_ABORTED_ONCE;
	int rc = end(st, c, bits);

	/* After a close: what it still waits for is given up. */
	return rc == -EALREADY ? sl_ring(st, c, bits) : rc;
}

/* ---- on the squeue ---- */

static int op_create(struct sluice_squeue *sq, const struct sluice_args *a)
{
	const struct sl_cfg *cfg = sl_ip_cfg(sq);
	uint32_t vrf = (uint32_t)a->a[1];
	bool known = false;
	struct sl_conn *c;

	for (uint32_t i = 0; i < cfg->nvrfs; i++)
		known |= cfg->vrfs[i] == vrf;
	if (!known)
		return -EINVAL;
	c = sl_conn_alloc(sq, (int)a->a[0], vrf);
	if (c == NULL)
		return -ENOBUFS;
	*(sluice_conn_t *)(uintptr_t)a->a[2] = sl_conn_handle(sq, c);
	return 0;
}

static int op_activate(struct sluice_squeue *sq, struct sl_conn *c, const struct sluice_args *a)
{
	if (c->flags & SL_C_ACTIVATED)
		return -EALREADY;
	c->flags |= SL_C_ACTIVATED;
	c->up = (const struct sluice_upcalls *)(uintptr_t)a->a[0];
	c->up_arg = (void *)(uintptr_t)a->a[1];
	sl_up_props(sq, c);
	return 0;
}

static int op_bind(struct sluice_squeue *sq, struct sl_conn *c, const struct remote *r)
{
	if (r != NULL) {
		struct sluice_addr a = r->addr;

		if (sl_addr_linklocal6(&a)) {
			int zone = sl_ip_zone(sq, c->key.vrf, &a, r->scope);

			if (zone < 0)
				return zone == -EINVAL ? -EINVAL : -EADDRNOTAVAIL;
			a = sl_addr_zoned(a, (unsigned int)zone);
		}
		return sl_tcp_do_bind(sq, c, &a, r->port);
	}
	if (c->state != SLUICE_BOUND)
		return -EINVAL;
	sl_tcp_do_unbind(sq, c);
	memset(&c->key.laddr, 0, sizeof(c->key.laddr));
	c->key.lport = 0;
	sl_conn_state(sq, c, SLUICE_IDLE);
	sl_conn_publish(sq, c);
	return 0;
}

static int op_accept(struct sluice_squeue *sq, struct sl_conn *c, sluice_conn_t listener)
{
	struct sl_group *g = c->group;

	if (!(c->flags & SL_C_ACCEPT_PENDING) || g->handle != listener)
		return -EINVAL;
	c->flags &= ~SL_C_ACCEPT_PENDING;
	c->group = NULL;
	atomic_fetch_sub_explicit(&g->pending, 1, memory_order_relaxed);
	sl_group_unref(g);
	return c->state == SLUICE_CLOSED ? -ECONNABORTED : 0;
}

static int op_sources(struct sl_conn *c, const struct sluice_addr *first, uint32_t n)
{
	if (c->state != SLUICE_IDLE)
		return -EINVAL;
	if (sl_conn_opt(c) == NULL)
		return -ENOBUFS;
	c->opt->src_count = n;
	if (n > 0)
		c->opt->src_first = *first;
	return 0;
}

static int op_info(
    const struct sluice_squeue *sq, const struct sl_conn *c, struct sluice_conn_info *i)
{
	*i = (struct sluice_conn_info){.size = sizeof(*i),
	    .state = (enum sluice_state)c->state,
	    .mss = c->mss,
	    .cwnd = c->cc.cwnd,
	    .ssthresh = c->cc.ssthresh,
	    .snd_wnd = c->snd_wnd,
	    .rcv_wnd = c->rcv_adv - c->rcv_nxt,
	    .flight = sl_flight(c),
	    .srtt = c->srtt,
	    .rttvar = c->srtt != 0 ? c->rttvar : 0,
	    .rto = sl_rto(sq, c),
	    .bytes_in = c->bytes_in,
	    .bytes_out = c->bytes_out,
	    .segs_in = c->segs_in,
	    .segs_out = c->segs_out,
	    .retrans = c->retrans,
	    .rtos = c->rtos,
	    .recoveries = c->recoveries,
	    .snd_una = c->snd_una,
	    .snd_nxt = c->snd_nxt,
	    .rcv_nxt = c->rcv_nxt,
	    .sndq = c->sndq_bytes,
	    .rcvq = c->rcvq_bytes,
	    .ooo = sl_rcv_ooo_bytes(c),
	    .sack = (c->flags & SL_C_SACK) != 0,
	    .timestamps = (c->flags & SL_C_TS) != 0,
	    .snd_wscale = c->snd_wscale,
	    .rcv_wscale = c->rcv_wscale};
	if (c->cc.ops != NULL)
		memcpy(i->cc, c->cc.ops->name, sizeof(i->cc));
	return 0;
}

int64_t sl_sock_op(
    struct sluice_squeue *sq, enum sl_op op, sluice_conn_t h, const struct sluice_args *a)
{
	struct sl_group *g = (struct sl_group *)(uintptr_t)a->a[0];
	struct sl_conn *c;

	switch (op) {
	case SL_OP_CREATE:
		return op_create(sq, a);
	case SL_OP_LISTEN_ADD:
		return sl_listen_add(sq, g);
	case SL_OP_LISTEN_DEL:
		return a->a[1] ? sl_listen_del_ack(sq, g) : sl_listen_del(sq, g);
	case SL_OP_FWD_ADD:
	case SL_OP_FWD_DEL:
		return sl_fwd_op(sq, op, h, a);
	case SL_OP_STEER: {
		struct sl_key key;

		memcpy(&key, a->a, sizeof(key));
		return sl_steer_show(sq, (unsigned int)a->a[5], &key);
	}
	case SL_OP_IFS:
		return sl_sock_ifs(sq, a);
	case SL_OP_ABORT_SOME:
		return sl_sock_abort_some(sq, a);
	default:
		break;
	}
	c = sl_conn_get(sq, h);
	if (c == NULL) {
		SL_COUNT(sq, sq_stale);
		return -EBADF;
	}
	if (op == SL_OP_MOVE)
		return sl_move_op(sq, c, a);
	if (op == SL_OP_RECALL)
		return sl_move_away(sq, c, c->birth);
	if (c->flags & SL_C_CLOSED_BY_APP)
		return -EBADF;
	switch (op) {
	case SL_OP_ACTIVATE:
		return op_activate(sq, c, a);
	case SL_OP_BIND:
		return op_bind(sq, c, (const struct remote *)(uintptr_t)a->a[0]);
	case SL_OP_LISTEN:
		return sl_tcp_do_listen(sq, c, (int)(int64_t)a->a[0]);
	case SL_OP_CONNECT: {
		const struct remote *r = (const struct remote *)(uintptr_t)a->a[0];

		return sl_tcp_do_connect(
		    sq, c, &r->addr, r->port, r->scope, (uint32_t *)(uintptr_t)a->a[1]);
	}
	case SL_OP_ACCEPT:
		return op_accept(sq, c, a->a[0]);
	case SL_OP_SOURCES:
		return op_sources(
		    c, (const struct sluice_addr *)(uintptr_t)a->a[0], (uint32_t)a->a[1]);
	case SL_OP_GETOPT:
		return sl_sock_getopt(sq, c, (int)(int64_t)a->a[0], (int)(int64_t)a->a[1],
		    (void *)(uintptr_t)a->a[2], (socklen_t *)(uintptr_t)a->a[3]);
	case SL_OP_SETOPT:
		return sl_sock_setopt(sq, c, (int)(int64_t)a->a[0], (int)(int64_t)a->a[1],
		    (const void *)(uintptr_t)a->a[2], (socklen_t)a->a[3]);
	case SL_OP_RESET:
		if (c->state >= SLUICE_SYN_SENT && c->state != SLUICE_TIME_WAIT) {
			(void)sl_output_ctl(sq, c, sl_rst_seq(c), SL_TH_RST | SL_TH_ACK);
			sl_conn_drop(sq, c, ECONNRESET);
		}
		return 0;
	case SL_OP_INFO:
		return op_info(sq, c, (struct sluice_conn_info *)(uintptr_t)a->a[0]);
	default:
		return -ENOSYS;
	}
}

/* ---- entries of other threads ---- */

void sl_sock_data(struct sluice_squeue *sq, uint32_t name, struct rte_mbuf *m, uint32_t flags)
{
	struct sl_conn *c = sl_conn_named(sq, name);

	sl_sock_append(sq, c, m, flags);
	if (!(c->flags & SL_C_CLOSED_BY_APP))
		sl_sock_sent(sq, c, false);
}

void sl_sock_bell(struct sluice_squeue *sq, uint32_t name, uint32_t bits)
{
	struct sl_conn *c = sl_conn_named(sq, name);

	if (c->flags & SL_C_CLOSED_BY_APP) {
		if (bits & SL_BELL_ABORT && c->state >= SLUICE_SYN_SENT)
			sl_tcp_do_abort(sq, c, true);
		return;
	}
	if (bits & SL_BELL_ROOM)
		sl_sock_sent(sq, c, true);
	if ((bits & SL_BELL_FLUSH) && c->sndq_bytes > 0)
		sl_output_schedule(sq, c);
	if (bits & SL_BELL_SHUT_WR) {
		sl_tcp_do_shutdown_wr(sq, c);
		sl_up(sq, c, SL_D_SHUT_SEND);
	}
	if (bits & SL_BELL_SHUT_RD && !(c->flags & SL_C_RCV_SHUT)) {
		c->flags |= SL_C_RCV_SHUT;
		sl_rcv_clear(sq, c);
		sl_rcv_opened(sq, c);
		if (!(c->flags & SL_C_FIN_RCVD))
			sl_up(sq, c, SL_D_SHUT_RECV);
	}
	if (bits & SL_BELL_FLOWCTRL && c->flags & SL_C_FLOWCTRL) {
		c->flags &= ~SL_C_FLOWCTRL;
		sl_rcv_opened(sq, c);
		if (c->rcvq_bytes > 0 && !(c->flags & SL_C_FIN_RCVD))
			sl_up(sq, c, SL_D_RECV); /* what was left because there was no space */
	}
	if (bits & SL_BELL_ABORT)
		sl_tcp_do_abort(sq, c, true);
	else if (bits & SL_BELL_CLOSE)
		sl_tcp_do_close(sq, c);
}
