/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How connections begin and how their users end them: connect (RFC 9293 3.10.1), shutdown and close
 * (3.10.4), abort (3.10.5), and what both ends learn from the options of a SYN.
 *
 * A FIN is never sent from here. Shutting the send side sets SL_C_FIN_QUEUED and the state that
 * follows; output sends the FIN behind the last byte. What was asked before the handshake completed
 * is done when it has.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <tcp/tcp_int.h>

/* ---- what is derived from addresses and secrets ---- */

uint32_t sl_tcp_iss(struct sluice_squeue *sq, const struct sl_key *k)
{
	/* RFC 6528: ISN = M + F(tuple, secret), M a clock of 4 microseconds. */
	return (uint32_t)(sq->now / 4000) +
	       (uint32_t)sl_siphash24(&sq->stack->secret_iss, k, sizeof(*k));
}

uint32_t sl_tcp_ts_offset(struct sluice_squeue *sq, const struct sl_key *k)
{
	struct {
		struct sluice_addr l, r;
		uint64_t vrf;
	} pair = {k->laddr, k->raddr, k->vrf};

	/* Per address pair and constant, so that timestamps of successive connections go up (RFC
	 * 7323 5.4, RFC 6191). */
	return (uint32_t)sl_siphash24(&sq->stack->secret_ts, &pair, sizeof(pair));
}

uint8_t sl_tcp_wscale(const struct sluice_squeue *sq, uint32_t rcvbuf)
{
	uint8_t shift = 0;

	if (!sq->tun.tcp_wscale)
		return 0;
	while (shift < 14 && (rcvbuf >> shift) > 65535) /* RFC 7323 2.3: at most 14 */
		shift++;
	return shift;
}

static uint32_t ip_tcp_headers(const struct sl_key *k)
{
	return sl_addr_is4(&k->raddr) ? 40 : 60;
}

uint16_t sl_tcp_offer_mss(struct sluice_squeue *sq, const struct sl_flow *f, const struct sl_key *k,
    const struct sl_opt *o)
{
	uint32_t mss = f->mtu > ip_tcp_headers(k) + 88 ? f->mtu - ip_tcp_headers(k) : 88;

	if (mss > sq->tun.tcp_mss_max)
		mss = (uint32_t)sq->tun.tcp_mss_max;
	if (o != NULL && o->maxseg != 0 && mss > o->maxseg)
		mss = o->maxseg;
	return (uint16_t)mss;
}

void sl_tcp_set_mss(struct sluice_squeue *sq, struct sl_conn *c)
{
	uint32_t path = c->flow.mtu - ip_tcp_headers(&c->key), mss = c->peer_mss;

	/* A peer may ask for less than it needs (CVE-2019-11479): there is a floor. */
	if (mss < sq->tun.tcp_mss_min)
		mss = (uint32_t)sq->tun.tcp_mss_min;
	if (mss > path)
		mss = path;
	if (c->opt != NULL && c->opt->maxseg != 0 && mss > c->opt->maxseg)
		mss = c->opt->maxseg;
	/* RFC 6691: the MSS counts no options; a segment's payload shrinks by those that it always
	 * carries. */
	c->mss = c->flags & SL_C_TS ? mss - 12 : mss;
	c->flow.mss_mtu = c->flow.mtu;
	if (c->cc.cwnd < c->mss)
		c->cc.cwnd = c->mss;
}

static const struct sl_cc_ops *cc_of(struct sluice_squeue *sq, const struct sl_conn *c)
{
	return sl_cc_by_index(
	    c->opt != NULL && c->opt->cc_set ? c->opt->cc_set - 1u : (unsigned int)sq->tun.tcp_cc);
}

uint32_t sl_tcp_init_cwnd(const struct sluice_squeue *sq, const struct sl_conn *c)
{
	uint32_t n = (uint32_t)SL_CONN_TUN(sq, c, tcp_init_cwnd, init_cwnd);

	/* min(n MSS, max(2 MSS, n 1460)): large segments count by their bytes. */
	return RTE_MIN(n * c->mss, RTE_MAX(2 * c->mss, n * 1460));
}

void sl_tcp_negotiate(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_opts *o)
{
	struct sl_cc_ev ev = {.now = sq->now};

	/* RFC 9293 3.7.1: without the option 536, or 1220 for IPv6. */
	c->peer_mss = o->mss != 0 ? o->mss : sl_addr_is4(&c->key.raddr) ? 536 : 1220;
	if (!o->has_ts)
		c->flags &= ~SL_C_TS;
	if (!o->sack_ok)
		c->flags &= ~SL_C_SACK;
	if (!o->has_wscale)
		c->flags &= ~SL_C_WSCALE;
	if (c->flags & SL_C_WSCALE)
		c->snd_wscale = o->wscale;
	else
		c->snd_wscale = c->rcv_wscale = 0;
	if (c->flags & SL_C_TS) {
		c->ts_recent = o->tsval;
		c->ts_recent_ms = (uint32_t)(sq->now / 1000000);
	}
	sl_tcp_set_mss(sq, c);
	c->quickack = (uint8_t)RTE_MIN(sq->tun.tcp_quickack, 255u);
	ev.mss = c->mss;
	ev.init_cwnd = sl_tcp_init_cwnd(sq, c);
	c->cc.ops = cc_of(sq, c);
	c->cc.ops->init(&c->cc, &ev);
}

void sl_tcp_established(struct sluice_squeue *sq, struct sl_conn *c)
{
	/* A shutdown asked for during the handshake takes effect now: SYN_RCVD to FIN_WAIT_1 of the
	 * state diagram. */
	if (c->flags & SL_C_FIN_QUEUED)
		sl_conn_state(sq, c, SLUICE_FIN_WAIT_1);
	else
		sl_conn_state(sq, c, SLUICE_ESTABLISHED);
	/* RFC 6298 5.7: the SYN timed out, so the path may be slower than the initial RTO. */
	if (c->rtx_shift > 0 && c->srtt == 0)
		c->rttvar = SLUICE_SEC(3);
	c->rtx_shift = 0;
	c->soft_err = 0; /* of ICMP or R1: it answers */
	c->last_rcv = c->last_snd = sq->now;
	c->first_unacked_at = 0;
	sl_conn_timer_cancel(sq, c, SL_T_RTX);
	sl_keepalive_restart(sq, c);
	sl_conn_publish(sq, c);
	if (c->flags & SL_C_ACTIVE) {
		sl_up(sq, c, SL_D_CONNECTED);
		sl_up_props(sq, c);
	}
	if (c->sndq_bytes > 0 || (c->flags & SL_C_FIN_QUEUED))
		sl_output_schedule(sq, c);
}

/* ---- connect ---- */

static int connect_state(enum sluice_state s)
{
	switch (s) {
	case SLUICE_IDLE:
	case SLUICE_BOUND:
		return 0;
	case SLUICE_SYN_SENT:
		return -EALREADY;
	case SLUICE_ESTABLISHED:
		return -EISCONN;
	case SLUICE_LISTEN:
		return -EOPNOTSUPP;
	default:
		return -EINVAL;
	}
}

/* The remote side: 0 means loopback (seed); families must agree. */
static int set_remote(
    struct sluice_squeue *sq, struct sl_conn *c, const struct sluice_addr *a, uint16_t port)
{
	bool sock6 = sl_conn_door(sq, c)->pub.family == AF_INET6, to4 = sl_addr_is4(a);

	if (port == 0)
		return -EADDRNOTAVAIL;
	if (sl_addr_multicast(a) || sl_ip_is_broadcast(sq, c->key.vrf, a)) /* MUST-46 */
		return -ENETUNREACH;
	if (sock6 && to4 && c->opt != NULL && c->opt->v6only)
		return -ENETUNREACH;
	/* A local address of the other family cannot be left from. */
	if (c->state == SLUICE_BOUND && !sl_addr_any(&c->key.laddr) &&
	    sl_addr_is4(&c->key.laddr) != to4)
		return -EAFNOSUPPORT;
	c->key.raddr = *a;
	c->key.rport = port;
	if (sl_addr_any(a)) {
		if (to4 || !sock6)
			c->key.raddr = sl_addr4(htonl(INADDR_LOOPBACK));
		else
			c->key.raddr = (struct sluice_addr){.b = {[15] = 1}};
	}
	return 0;
}

/* A link-local destination lies on the link that the scope names, else on that of the local address,
 * else on the only one there is. */
static int set_zone(struct sluice_squeue *sq, struct sl_conn *c, uint32_t scope)
{
	unsigned int ours = sl_addr_zone(&c->key.laddr);
	int zone;

	if (!sl_addr_linklocal6(&c->key.raddr))
		return 0;
	if (scope == 0)
		scope = ours;
	zone = sl_ip_zone(sq, c->key.vrf, &c->key.raddr, scope);
	if (zone < 0)
		return zone;
	if (ours != 0 && ours != (unsigned int)zone)
		return -EINVAL;
	c->key.raddr = sl_addr_zoned(c->key.raddr, (unsigned int)zone);
	return 0;
}

/* Address n of the pool that begins at first: addition to the low 32 bits, as a prefix counts. */
static struct sluice_addr pool_addr(const struct sluice_addr *first, uint32_t n)
{
	struct sluice_addr a = *first;

	a.w[3] = htonl(ntohl(a.w[3]) + n);
	return a;
}

static int pick_port_of_pool(struct sluice_squeue *sq, struct sl_conn *c)
{
	uint32_t n = c->opt->src_count, start = (uint32_t)sl_rng_below(&sq->rng, n);
	int rc = -EADDRNOTAVAIL;

	for (uint32_t i = 0; i < n && rc == -EADDRNOTAVAIL; i++) {
		c->key.laddr = pool_addr(&c->opt->src_first, (start + i) % n);
		if (!sl_ip_is_local(sq, c->key.vrf, &c->key.laddr))
			continue;
		rc = sl_tcp_pick_port(sq, c);
	}
	return rc;
}

static int set_local(struct sluice_squeue *sq, struct sl_conn *c)
{
	bool pool = c->opt != NULL && c->opt->src_count > 0 && c->state == SLUICE_IDLE;
	int rc;

	if (pool)
		c->key.laddr = c->opt->src_first;
	else if (c->state == SLUICE_IDLE || sl_addr_any(&c->key.laddr)) {
		rc = sl_ip_source(sq, c->key.vrf, &c->key.raddr, &c->key.laddr);
		if (rc < 0)
			return rc;
	}
	rc = sl_flow_init(sq, &c->flow, &c->key, SL_FLOW_CONN);
	if (rc < 0)
		return rc;
	if (pool)
		return pick_port_of_pool(sq, c);
	if (c->state == SLUICE_IDLE) {
		c->flags |= SL_C_EPHEMERAL;
		return sl_tcp_pick_port(sq, c);
	}
	if (c->key.lport == c->key.rport && sl_addr_eq(&c->key.laddr, &c->key.raddr))
		return -EADDRNOTAVAIL;
	c->iss = 0;
	return 0;
}

static void syn_sent(struct sluice_squeue *sq, struct sl_conn *c)
{
	uint32_t iss = sl_tcp_iss(sq, &c->key);

	/* An earlier incarnation's TIME_WAIT asked for more than its sequence numbers (RFC 6191,
	 * RFC 9293 3.4.3). */
	if (c->iss != 0 && seq_lt(iss, c->iss))
		iss = c->iss;
	c->iss = iss;
	c->snd_una = iss;
	c->snd_nxt = c->snd_max = iss + 1;
	c->snd_up = iss;
	c->rcv_wscale = sl_tcp_wscale(sq, c->rcvbuf);
	c->ts_offset = sl_tcp_ts_offset(sq, &c->key);
	c->flags |= SL_C_ACTIVE | (sq->tun.tcp_timestamps ? SL_C_TS : 0) |
		    (sq->tun.tcp_sack ? SL_C_SACK : 0) | (sq->tun.tcp_wscale ? SL_C_WSCALE : 0);
	c->first_unacked_at = sq->now;
}

/* ---- a bound port that does not steer home: another squeue gets a forwarding entry before the SYN
 * leaves ---- */

static struct sluice_args fwd_args(const struct sl_key *k, uint64_t word)
{
	struct sluice_args a;

	memcpy(a.a, k, sizeof(*k));
	a.a[5] = word;
	return a;
}

#define FWD_ACK (1ull << 32)   /* the entry is in place: back at home */
#define FWD_NO (1ull << 33)    /* of an acknowledgement: it is not, the tuple is somebody's, */
#define FWD_NOMEM (1ull << 34) /* or there is no memory */

static int fwd_begin(struct sluice_squeue *sq, struct sl_conn *c)
{
	unsigned int to = sl_flow_steer(sq, &c->flow, &c->key);
	struct sluice_args args = fwd_args(&c->key, sq->id);
	uint32_t slots[3];

	if (to == sq->id)
		return 0;
	if (c->opt == NULL)
		c->opt = calloc(1, sizeof(*c->opt));
	if (c->opt == NULL || sl_calls_reserve(sq->stack, 3, slots) < 0)
		return -ENOBUFS;
	/* Slot numbers fit 16 bits (tunable's range): the acknowledgement's travels with the
	 * request. */
	args.a[5] |= (uint64_t)slots[1] << 33;
	c->opt->fwd_slot = slots[2];
	c->opt->fwd_to = (uint16_t)to;
	c->flags |= SL_C_HELD;
	sl_post_reserved(sq->stack, to, slots[0], SL_OP_FWD_ADD, sl_conn_handle(sq, c), &args);
	return 0;
}

void sl_fwd_release(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sluice_args args;

	if (c->opt == NULL || c->opt->fwd_slot == 0)
		return;
	args = fwd_args(&c->key, c->birth);
	sl_post_reserved(
	    sq->stack, c->opt->fwd_to, c->opt->fwd_slot, SL_OP_FWD_DEL, SLUICE_CONN_NONE, &args);
	c->opt->fwd_slot = 0;
}

/* 0, or what the acknowledgement says instead. */
static uint64_t fwd_insert(struct sluice_squeue *sq, const struct sl_key *k, uint32_t home)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	uint32_t idx;
	struct sl_fwd *f = sl_slab_alloc(&t->fwds, &idx);
	int rc;

	if (f == NULL) {
		SL_COUNT(sq, tcp_conn_nomem);
		return FWD_NOMEM;
	}
	f->key = *k;
	f->to = home;
	f->idx = idx;
	f->at = sq->id;
	f->bound = true;
	rc = sl_conntab_insert(&t->tab, k, sl_conntab_hash(&t->tab, k), SL_REF(SL_REF_FWD, idx));
	if (rc == 0)
		return 0;
	sl_slab_free(&t->fwds, idx);
	if (rc == -EEXIST)
		return FWD_NO;
	SL_COUNT(sq, tcp_conn_nomem);
	return FWD_NOMEM;
}

/* The place has answered: the SYN may go, or there is no connection to be had. */
static void fwd_acked(struct sluice_squeue *sq, struct sl_conn *c, uint64_t word)
{
	c->flags &= ~SL_C_HELD;
	if (c->opt->fwd_slot == 0) /* it has ended meanwhile */
		return;
	if ((word & (FWD_NO | FWD_NOMEM)) == 0) {
		sl_output_schedule(sq, c);
		return;
	}
	sl_calls_unreserve(sq->stack, 1, &c->opt->fwd_slot);
	c->opt->fwd_slot = 0;
	sl_conn_drop(sq, c, word & FWD_NO ? EADDRNOTAVAIL : ENOBUFS);
}

/* Whoever was refused here asks for this too, when it was closed before it knew. */
static void fwd_delete(
    struct sluice_squeue *sq, const struct sl_key *k, uint64_t hash, uint32_t idx, uint32_t home)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	const struct sl_fwd *f = sl_slab_get(&t->fwds, idx);

	if (!f->bound || f->to != home)
		return;
	sl_conntab_remove(&t->tab, k, hash);
	sl_slab_free(&t->fwds, idx);
}

int64_t sl_fwd_op(
    struct sluice_squeue *sq, enum sl_op op, sluice_conn_t h, const struct sluice_args *args)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	uint32_t home = (uint32_t)args->a[5];
	struct sl_key k;
	uint64_t hash;
	uint32_t ref;

	memcpy(&k, args->a, sizeof(k));
	hash = sl_conntab_hash(&t->tab, &k);
	if (op == SL_OP_FWD_DEL) {
		ref = sl_conntab_lookup(&t->tab, &k, hash);
		if (ref != 0 && SL_REF_KIND(ref) == SL_REF_FWD)
			fwd_delete(sq, &k, hash, SL_REF_IDX(ref), home);
		return 0;
	}
	if (args->a[5] & FWD_ACK) {
		struct sl_conn *c = sl_conn_get(sq, h);

		if (c != NULL)
			fwd_acked(sq, c, args->a[5]);
		return 0;
	}
	{
		struct sluice_args ack = fwd_args(&k, home | FWD_ACK | fwd_insert(sq, &k, home));

		sl_post_reserved(
		    sq->stack, home, (uint32_t)(args->a[5] >> 33), SL_OP_FWD_ADD, h, &ack);
	}
	return 0;
}

/* A connect that failed leaves the connection as it was. */
static void connect_undo(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_key *was)
{
	sl_flow_fini(sq, &c->flow);
	memset(&c->flow, 0, sizeof(c->flow));
	if (c->opt != NULL) {
		c->flow.ttl = c->opt->ttl;
		c->flow.tos = c->opt->tos;
	}
	c->key = *was;
	c->iss = 0;
	c->flags &= ~SL_C_EPHEMERAL;
}

int sl_tcp_do_connect(struct sluice_squeue *sq, struct sl_conn *c, const struct sluice_addr *a,
    uint16_t port, uint32_t scope, uint32_t *connid)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_key was = c->key;
	int rc = connect_state(c->state);

	if (rc < 0)
		return rc;
	rc = set_remote(sq, c, a, port);
	if (rc == 0)
		rc = set_zone(sq, c, scope);
	if (rc == 0)
		rc = set_local(sq, c);
	if (rc == 0)
		rc = sl_conn_insert(sq, c);
	if (rc == -EADDRINUSE) /* of several that are bound to the port one has the tuple */
		rc = -EADDRNOTAVAIL;
	if (rc == 0 && sq->stack->nsq > 1 && c->state == SLUICE_BOUND) {
		rc = fwd_begin(sq, c);
		if (rc < 0)
			sl_conn_remove(sq, c);
	}
	if (rc < 0) {
		connect_undo(sq, c, &was);
		return rc;
	}
	syn_sent(sq, c);
	/* The connection id goes up before the SYN leaves: a send that fails later says EPIPE, not
	 * ENOTCONN (seed). */
	if (++t->next_connid == 0)
		t->next_connid = 1;
	atomic_store_explicit(
	    &sl_conn_door(sq, c)->pub.connid, t->next_connid, memory_order_release);
	if (connid != NULL)
		*connid = t->next_connid;
	SL_COUNT(sq, tcp_active_opens);
	sl_conn_state(sq, c, SLUICE_SYN_SENT);
	sl_conn_publish(sq, c);
	c->flags |= SL_C_ACK_NOW; /* in SYN_SENT: the SYN is due */
	sl_output_schedule(sq, c);
	return 0;
}

/* ---- shutdown, close, abort ---- */

void sl_tcp_do_shutdown_wr(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (c->flags & SL_C_FIN_QUEUED)
		return;
	switch (c->state) {
	case SLUICE_SYN_SENT:
	case SLUICE_SYN_RCVD:
		c->flags |= SL_C_FIN_QUEUED; /* remembered: the seed loses it */
		return;
	case SLUICE_ESTABLISHED:
		c->flags |= SL_C_FIN_QUEUED;
		sl_conn_state(sq, c, SLUICE_FIN_WAIT_1);
		break;
	case SLUICE_CLOSE_WAIT:
		c->flags |= SL_C_FIN_QUEUED;
		sl_conn_state(sq, c, SLUICE_LAST_ACK);
		break;
	default:
		return;
	}
	sl_output_schedule(sq, c);
}

void sl_tcp_do_abort(struct sluice_squeue *sq, struct sl_conn *c, bool send_rst)
{
	if (send_rst && c->state >= SLUICE_SYN_SENT && c->state != SLUICE_TIME_WAIT) {
		/* RFC 9293 3.10.5: RST at SND.NXT; with the ACK bit it is acceptable in every state
		 * of the peer. */
		uint8_t flags = c->state == SLUICE_SYN_SENT ? SL_TH_RST : SL_TH_RST | SL_TH_ACK;

		(void)sl_output_ctl(sq, c, sl_rst_seq(c), flags);
	}
	SL_COUNT(sq, tcp_aborts);
	c->flags |= SL_C_CLOSED_BY_APP;
	if (c->state == SLUICE_LISTEN)
		sl_tcp_unlisten(sq, c);
	else
		sl_conn_drop(sq, c, ECONNABORTED);
}

/* After a close nobody reads: what is queued or comes later is of no use (RFC 9293 3.6.1: then a
 * RST says so). */
static void close_gracefully(struct sluice_squeue *sq, struct sl_conn *c)
{
	sl_tcp_do_shutdown_wr(sq, c);
	c->flags |= SL_C_CLOSED_BY_APP;
	if (c->state == SLUICE_FIN_WAIT_2) {
		c->misc_why = SL_MISC_FIN_WAIT2;
		sl_conn_timer_set(
		    sq, c, SL_T_MISC, sq->now + SL_CONN_TUN(sq, c, tcp_fin_wait2, fin_wait2));
	}
}

void sl_tcp_do_close(struct sluice_squeue *sq, struct sl_conn *c)
{
	bool reset = c->linger == 1 || c->rcvq_bytes > 0;

	if (c->flags & SL_C_CLOSED_BY_APP)
		return;
	switch (c->state) {
	case SLUICE_LISTEN:
		c->flags |= SL_C_CLOSED_BY_APP;
		sl_tcp_unlisten(sq, c);
		break;
	case SLUICE_SYN_SENT:
		sl_tcp_do_abort(sq, c, true);
		break;
	case SLUICE_SYN_RCVD:
	case SLUICE_ESTABLISHED:
	case SLUICE_CLOSE_WAIT:
	case SLUICE_FIN_WAIT_1:
	case SLUICE_FIN_WAIT_2:
		/* RFC 2525 2.17: unread data must be answered by a RST, else the peer believes that
		 * it arrived. */
		if (reset)
			sl_tcp_do_abort(sq, c, true);
		else
			close_gracefully(sq, c);
		break;
	case SLUICE_CLOSING:
	case SLUICE_LAST_ACK:
		c->flags |= SL_C_CLOSED_BY_APP;
		sl_rcv_clear(sq, c);
		break;
	case SLUICE_TIME_WAIT:
		c->flags |= SL_C_CLOSED_BY_APP;
		sl_tw_enter(sq, c);
		break;
	default:
		c->flags |= SL_C_CLOSED_BY_APP;
		sl_conn_drop(sq, c, 0);
		break;
	}
}
