/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Socket options: one table; get, set, length and range checks follow it. Values and lengths are
 * Linux's. What is set on a listener is inherited by the connections that it accepts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sock/sock_int.h>

enum opt_type {
	OPT_INT,
	OPT_LINGER,
	OPT_NAME
};

struct opt_row {
	int level, name;
	enum opt_type type;
	int min, max;
	int (*get)(struct sluice_squeue *sq, struct sl_conn *c, int id);
	int (*set)(struct sluice_squeue *sq, struct sl_conn *c, int id, int v);
	int id;
};

/* Values that live in struct sl_opt, of a scale against the unit of the option. */
enum opt_id {
	ID_KEEPIDLE,
	ID_KEEPINTVL,
	ID_KEEPCNT,
	ID_USER_TIMEOUT,
	ID_SYNCNT,
	ID_LINGER2,
	ID_MAXSEG,
	ID_TTL,
	ID_TOS,
	ID_REUSEPORT,
	ID_V6ONLY
};

struct sl_opt *sl_conn_opt(struct sl_conn *c)
{
	if (c->opt == NULL)
		c->opt = calloc(1, sizeof(*c->opt));
	return c->opt;
}

static int get_stored(struct sluice_squeue *sq, struct sl_conn *c, int id)
{
	switch (id) {
	case ID_KEEPIDLE:
		return (int)(SL_CONN_TUN(sq, c, tcp_keepidle, keepidle) / 1000000000u);
	case ID_KEEPINTVL:
		return (int)(SL_CONN_TUN(sq, c, tcp_keepintvl, keepintvl) / 1000000000u);
	case ID_KEEPCNT:
		return (int)SL_CONN_TUN(sq, c, tcp_keepcnt, keepcnt);
	case ID_USER_TIMEOUT:
		return c->opt != NULL ? (int)(c->opt->user_timeout / 1000000u) : 0;
	case ID_SYNCNT:
		return (int)SL_CONN_TUN(sq, c, tcp_syn_retries, syn_retries);
	case ID_LINGER2:
		return (int)(SL_CONN_TUN(sq, c, tcp_fin_wait2, fin_wait2) / 1000000000u);
	case ID_MAXSEG:
		return c->mss != 0                             ? (int)c->mss
		       : c->opt != NULL && c->opt->maxseg != 0 ? (int)c->opt->maxseg
							       : 536;
	case ID_TTL:
		return (int)SL_CONN_TUN(sq, c, ip_ttl, ttl);
	case ID_TOS:
		return c->opt != NULL ? c->opt->tos : 0;
	case ID_REUSEPORT:
		return c->opt != NULL && c->opt->reuseport;
	default:
		return c->opt != NULL && c->opt->v6only;
	}
}

static int set_stored(struct sluice_squeue *sq, struct sl_conn *c, int id, int v)
{
	struct sl_opt *o = sl_conn_opt(c);

	if (o == NULL)
		return -ENOMEM;
	switch (id) {
	case ID_KEEPIDLE:
		o->keepidle = (uint64_t)v * 1000000000u;
		break;
	case ID_KEEPINTVL:
		o->keepintvl = (uint64_t)v * 1000000000u;
		break;
	case ID_KEEPCNT:
		o->keepcnt = (uint64_t)v;
		break;
	case ID_USER_TIMEOUT:
		o->user_timeout = (uint64_t)v * 1000000u;
		break;
	case ID_SYNCNT:
		o->syn_retries = (uint64_t)v;
		break;
	case ID_LINGER2:
		o->fin_wait2 = (uint64_t)v * 1000000000u;
		break;
	case ID_MAXSEG:
		o->maxseg = (uint32_t)v;
		if (c->state >= SLUICE_ESTABLISHED)
			sl_tcp_set_mss(sq, c);
		break;
	case ID_TTL:
		o->ttl = c->flow.ttl = (uint8_t)v;
		break;
	case ID_TOS:
		o->tos = c->flow.tos = (uint8_t)(v & ~3); /* the ECN bits are TCP's */
		break;
	case ID_REUSEPORT: /* counts when it binds */
		o->reuseport = v != 0;
		break;
	default:
		if (c->state != SLUICE_IDLE || sl_conn_door(sq, c)->pub.family != AF_INET6)
			return -EINVAL;
		o->v6only = v != 0;
		break;
	}
	if (c->state >= SLUICE_SYN_RCVD && (c->flags & SL_C_KEEPALIVE) && id <= ID_KEEPCNT)
		sl_keepalive_restart(sq, c);
	return 0;
}

static int get_flag(struct sluice_squeue *sq, struct sl_conn *c, int flag)
{
	return (c->flags & (uint32_t)flag) != 0;
}

static int set_flag(struct sluice_squeue *sq, struct sl_conn *c, int flag, int v)
{
	if (v)
		c->flags |= (uint32_t)flag;
	else
		c->flags &= ~(uint32_t)flag;
	if (flag == SL_C_KEEPALIVE && c->state >= SLUICE_SYN_RCVD)
		sl_keepalive_restart(sq, c);
	if (flag == SL_C_MORE && !v && c->state >= SLUICE_ESTABLISHED)
		sl_output_schedule(sq, c); /* uncork */
	return 0;
}

static int get_nodelay(struct sluice_squeue *sq, struct sl_conn *c, int id)
{
	return atomic_load_explicit(&sl_conn_door(sq, c)->pub.nodelay, memory_order_relaxed);
}

static int get_buf(struct sluice_squeue *sq, struct sl_conn *c, int rcv)
{
	return (int)(rcv ? c->rcvbuf : c->sndbuf);
}

static int set_buf(struct sluice_squeue *sq, struct sl_conn *c, int rcv, int v)
{
	if (rcv) {
		/* What was offered stays offered: the right edge never moves left (RFC 9293 3.8.6).
		 */
		c->rcvbuf = (uint32_t)v;
		if (c->state >= SLUICE_ESTABLISHED)
			sl_rcv_opened(sq, c);
	} else {
		c->sndbuf = (uint32_t)v;
		sl_conn_publish(sq, c);
	}
	return 0;
}

static int get_const(struct sluice_squeue *sq, struct sl_conn *c, int id)
{
	switch (id) {
	case SO_TYPE:
		return SOCK_STREAM;
	case SO_PROTOCOL:
		return IPPROTO_TCP;
	case SO_DOMAIN:
		return sl_conn_door(sq, c)->pub.family;
	case SO_ACCEPTCONN:
		return c->state == SLUICE_LISTEN;
	default:
		return 1; /* SO_REUSEADDR: TIME_WAIT never holds a port */
	}
}

static int set_ignored(struct sluice_squeue *sq, struct sl_conn *c, int id, int v)
{
	return 0;
}

static int get_error(struct sluice_squeue *sq, struct sl_conn *c, int id)
{
	int err = c->err != 0 ? c->err : c->soft_err;

	c->err = c->soft_err = 0; /* reading clears it */
	return err;
}

static int get_quickack(struct sluice_squeue *sq, struct sl_conn *c, int id)
{
	return c->quickack > 0;
}

static int set_quickack(struct sluice_squeue *sq, struct sl_conn *c, int id, int v)
{
	c->quickack = v ? (uint8_t)RTE_MIN(sq->tun.tcp_quickack, 255u) : 0;
	return 0;
}

#define INT_MAX_ 0x7fffffff
static const struct opt_row table[] = {
    {SOL_SOCKET, SO_TYPE, OPT_INT, 0, 0, get_const, NULL, SO_TYPE},
    {SOL_SOCKET, SO_DOMAIN, OPT_INT, 0, 0, get_const, NULL, SO_DOMAIN},
    {SOL_SOCKET, SO_PROTOCOL, OPT_INT, 0, 0, get_const, NULL, SO_PROTOCOL},
    {SOL_SOCKET, SO_ACCEPTCONN, OPT_INT, 0, 0, get_const, NULL, SO_ACCEPTCONN},
    {SOL_SOCKET, SO_ERROR, OPT_INT, 0, 0, get_error, NULL, 0},
    {SOL_SOCKET, SO_REUSEADDR, OPT_INT, 0, INT_MAX_, get_const, set_ignored, SO_REUSEADDR},
    {SOL_SOCKET, SO_REUSEPORT, OPT_INT, 0, INT_MAX_, get_stored, set_stored, ID_REUSEPORT},
    {SOL_SOCKET, SO_KEEPALIVE, OPT_INT, 0, INT_MAX_, get_flag, set_flag, SL_C_KEEPALIVE},
    {SOL_SOCKET, SO_OOBINLINE, OPT_INT, 0, INT_MAX_, get_flag, set_flag, SL_C_OOBINLINE},
    {SOL_SOCKET, SO_SNDBUF, OPT_INT, 2048, 1 << 30, get_buf, set_buf, 0},
    {SOL_SOCKET, SO_RCVBUF, OPT_INT, 2048, 1 << 30, get_buf, set_buf, 1},
    {SOL_SOCKET, SO_LINGER, OPT_LINGER, 0, 0, NULL, NULL, 0},
    {IPPROTO_TCP, TCP_NODELAY, OPT_INT, 0, INT_MAX_, get_nodelay,
	NULL /* needs no entry: sluice_setsockopt */, 0},
    {IPPROTO_TCP, TCP_CORK, OPT_INT, 0, INT_MAX_, get_flag, set_flag, SL_C_MORE},
    {IPPROTO_TCP, TCP_MAXSEG, OPT_INT, 88, 65495, get_stored, set_stored, ID_MAXSEG},
    {IPPROTO_TCP, TCP_KEEPIDLE, OPT_INT, 1, 32767, get_stored, set_stored, ID_KEEPIDLE},
    {IPPROTO_TCP, TCP_KEEPINTVL, OPT_INT, 1, 32767, get_stored, set_stored, ID_KEEPINTVL},
    {IPPROTO_TCP, TCP_KEEPCNT, OPT_INT, 1, 127, get_stored, set_stored, ID_KEEPCNT},
    {IPPROTO_TCP, TCP_SYNCNT, OPT_INT, 1, 127, get_stored, set_stored, ID_SYNCNT},
    {IPPROTO_TCP, TCP_LINGER2, OPT_INT, 1, 86400, get_stored, set_stored, ID_LINGER2},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, OPT_INT, 0, INT_MAX_, get_stored, set_stored, ID_USER_TIMEOUT},
    {IPPROTO_TCP, TCP_QUICKACK, OPT_INT, 0, INT_MAX_, get_quickack, set_quickack, 0},
    {IPPROTO_TCP, TCP_CONGESTION, OPT_NAME, 0, 0, NULL, NULL, 0},
    {IPPROTO_IP, IP_TTL, OPT_INT, 1, 255, get_stored, set_stored, ID_TTL},
    {IPPROTO_IP, IP_TOS, OPT_INT, 0, 255, get_stored, set_stored, ID_TOS},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, OPT_INT, 1, 255, get_stored, set_stored, ID_TTL},
    {IPPROTO_IPV6, IPV6_TCLASS, OPT_INT, 0, 255, get_stored, set_stored, ID_TOS},
    {IPPROTO_IPV6, IPV6_V6ONLY, OPT_INT, 0, 1, get_stored, set_stored, ID_V6ONLY},
};

static const struct opt_row *find(int level, int name)
{
	for (size_t i = 0; i < RTE_DIM(table); i++)
		if (table[i].level == level && table[i].name == name)
			return &table[i];
	return NULL;
}

/* The length is value-result: the smaller of both (seed). */
static void put(void *val, socklen_t *len, const void *from, socklen_t full)
{
	if (*len > full)
		*len = full;
	memcpy(val, from, *len);
}

int sl_sock_getopt(
    struct sluice_squeue *sq, struct sl_conn *c, int level, int name, void *val, socklen_t *len)
{
	const struct opt_row *r = find(level, name);
	struct linger lg = {
	    .l_onoff = c->linger != 0, .l_linger = c->linger != 0 ? c->linger - 1 : 0};
	const struct sl_cc_ops *cc;
	int v;

	if (r == NULL)
		return -ENOPROTOOPT;
	switch (r->type) {
	case OPT_LINGER:
		put(val, len, &lg, sizeof(lg));
		break;
	case OPT_NAME:
		cc = c->cc.ops;
		if (cc == NULL)
			cc = sl_cc_by_index(c->opt != NULL && c->opt->cc_set
						? c->opt->cc_set - 1u
						: (unsigned int)sq->tun.tcp_cc);
		put(val, len, cc->name, sizeof(cc->name));
		break;
	default:
		v = r->get(sq, c, r->id);
		put(val, len, &v, sizeof(v));
		break;
	}
	return 0;
}

static int set_congestion(
    struct sluice_squeue *sq, struct sl_conn *c, const char *val, socklen_t len)
{
	const struct sl_cc_ops *ops;
	char name[16] = "";

	if (len == 0)
		return -EINVAL;
	memcpy(name, val, RTE_MIN(len, (socklen_t)sizeof(name) - 1));
	ops = sl_cc_by_name(name);
	if (ops == NULL)
		return -ENOENT;
	if (sl_conn_opt(c) == NULL)
		return -ENOMEM;
	for (uint8_t i = 0; sl_cc_by_index(i) != NULL; i++)
		if (sl_cc_by_index(i) == ops)
			c->opt->cc_set = i + 1;
	if (c->state >= SLUICE_ESTABLISHED && c->cc.ops != ops) {
		/* The new algorithm starts from the present window, not from the initial one. */
		uint32_t cwnd = c->cc.cwnd, ssthresh = c->cc.ssthresh;
		struct sl_cc_ev ev = {.now = sq->now, .mss = c->mss, .init_cwnd = cwnd};

		c->cc.ops = ops;
		ops->init(&c->cc, &ev);
		c->cc.cwnd = cwnd;
		c->cc.ssthresh = ssthresh;
	}
	return 0;
}

static int set_linger(struct sl_conn *c, const void *val, socklen_t len)
{
	struct linger lg;

	if (len != sizeof(lg))
		return -EINVAL;
	memcpy(&lg, val, sizeof(lg));
	if (lg.l_linger < 0)
		return -EINVAL;
	c->linger = lg.l_onoff ? (uint16_t)(1 + RTE_MIN(lg.l_linger, 65534)) : 0;
	return 0;
}

int sl_sock_setopt(struct sluice_squeue *sq, struct sl_conn *c, int level, int name,
    const void *val, socklen_t len)
{
	const struct opt_row *r = find(level, name);
	int v;

	if (r == NULL)
		return -ENOPROTOOPT;
	if (r->type == OPT_LINGER)
		return set_linger(c, val, len);
	if (r->type == OPT_NAME)
		return set_congestion(sq, c, val, len);
	if (r->set == NULL)
		return -ENOPROTOOPT;
	if (len != sizeof(v))
		return -EINVAL;
	memcpy(&v, val, sizeof(v));
	if (v < r->min || v > r->max)
		return -EINVAL;
	return r->set(sq, c, r->id, v);
}
