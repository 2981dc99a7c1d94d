/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Socket options of connections: option_table.h is the table, here are its functions. Values and
 * lengths are Linux's, but that a number has the length of an int and no other (seed). What is set on
 * a listener is inherited by the connections that it accepts from then on.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <sock/option_table.h>
#include <sock/sock_int.h>
#include <sluice/socket.h>

/* Not in every header that glibc has. */
#ifndef SO_INCOMING_CPU
#define SO_INCOMING_CPU 49
#endif

struct opt_row {
	int level, name;
	enum sl_opt_form form;
	int min, max;
	int (*get)(struct sluice_squeue *sq, struct sl_conn *c, int id);
	int (*set)(struct sluice_squeue *sq, struct sl_conn *c, int id, int v);
	int id;
};

/* Values that live in struct sl_opt. */
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
	ID_V6ONLY,
	ID_CLAMP,
	ID_LOWAT,
	ID_RTO_INITIAL,
	ID_RTO_MIN,
	ID_RTO_MAX,
	ID_INIT_CWND,
	ID_DELACK,
	ID_MINTTL
};

struct sl_opt *sl_conn_opt(struct sl_conn *c)
{
	if (c->opt == NULL)
		c->opt = calloc(1, sizeof(*c->opt));
	return c->opt;
}

#define S_NS 1000000000u
#define MS_NS 1000000u

static int get_maxseg(const struct sl_conn *c)
{
	if (c->mss != 0)
		return (int)c->mss;
	return c->opt != NULL && c->opt->maxseg != 0 ? (int)c->opt->maxseg : 536;
}

static int get_stored(struct sluice_squeue *sq, struct sl_conn *c, int id)
{
	static const struct sl_opt none;
	const struct sl_opt *o = c->opt != NULL ? c->opt : &none;

	switch (id) {
	case ID_KEEPIDLE:
		return (int)(SL_CONN_TUN(sq, c, tcp_keepidle, keepidle) / S_NS);
	case ID_KEEPINTVL:
		return (int)(SL_CONN_TUN(sq, c, tcp_keepintvl, keepintvl) / S_NS);
	case ID_KEEPCNT:
		return (int)SL_CONN_TUN(sq, c, tcp_keepcnt, keepcnt);
	case ID_USER_TIMEOUT:
		return (int)(o->user_timeout / MS_NS);
	case ID_SYNCNT:
		return (int)SL_CONN_TUN(sq, c, tcp_syn_retries, syn_retries);
	case ID_LINGER2:
		return (int)(SL_CONN_TUN(sq, c, tcp_fin_wait2, fin_wait2) / S_NS);
	case ID_MAXSEG:
		return get_maxseg(c);
	case ID_TTL:
		return (int)SL_CONN_TUN(sq, c, ip_ttl, ttl);
	case ID_TOS:
		return o->tos;
	case ID_REUSEPORT:
		return c->reuseport;
	case ID_V6ONLY:
		return o->v6only;
	case ID_CLAMP:
		return (int)o->window_clamp;
	case ID_LOWAT:
		return (int)o->notsent_lowat;
	case ID_RTO_INITIAL:
		return (int)(SL_CONN_TUN(sq, c, tcp_rto_initial, rto_initial) / MS_NS);
	case ID_RTO_MIN:
		return (int)(SL_CONN_TUN(sq, c, tcp_rto_min, rto_min) / MS_NS);
	case ID_RTO_MAX:
		return (int)(SL_CONN_TUN(sq, c, tcp_rto_max, rto_max) / MS_NS);
	case ID_INIT_CWND:
		return (int)SL_CONN_TUN(sq, c, tcp_init_cwnd, init_cwnd);
	case ID_DELACK:
		return (int)(SL_CONN_TUN(sq, c, tcp_delack, delack) / MS_NS);
	default:
		return o->minttl;
	}
}

/* SO_RCVBUF, below it TCP_WINDOW_CLAMP. */
static void set_rcvbuf(struct sluice_squeue *sq, struct sl_conn *c, uint32_t v)
{
	if (c->opt != NULL && c->opt->window_clamp != 0) {
		c->opt->rcvbuf_asked = v;
		v = RTE_MIN(v, c->opt->window_clamp);
	}
	/* What was offered stays offered: the right edge never moves left (RFC 9293 3.8.6). */
	c->rcvbuf = v;
	if (c->state >= SLUICE_ESTABLISHED)
		sl_rcv_opened(sq, c);
}

static uint32_t rcvbuf_asked(const struct sl_conn *c)
{
	return c->opt != NULL && c->opt->window_clamp != 0 ? c->opt->rcvbuf_asked : c->rcvbuf;
}

#define CLAMP_MIN 1152 /* bytes, as Linux has it */

static int set_clamp(struct sluice_squeue *sq, struct sl_conn *c, uint32_t v)
{
	uint32_t asked = rcvbuf_asked(c);

	if (v == 0 && c->state >= SLUICE_LISTEN)
		return -EINVAL;
	c->opt->window_clamp = v == 0 ? 0 : RTE_MAX(v, (uint32_t)CLAMP_MIN);
	set_rcvbuf(sq, c, asked);
	return 0;
}

static int set_stored(struct sluice_squeue *sq, struct sl_conn *c, int id, int v)
{
	struct sl_opt *o = sl_conn_opt(c);

	if (o == NULL)
		return -ENOMEM;
	switch (id) {
	case ID_KEEPIDLE:
		o->keepidle = (uint64_t)v * S_NS;
		break;
	case ID_KEEPINTVL:
		o->keepintvl = (uint64_t)v * S_NS;
		break;
	case ID_KEEPCNT:
		o->keepcnt = (uint64_t)v;
		break;
	case ID_USER_TIMEOUT:
		o->user_timeout = (uint64_t)v * MS_NS;
		break;
	case ID_SYNCNT:
		o->syn_retries = (uint64_t)v;
		break;
	case ID_LINGER2:
		o->fin_wait2 = (uint64_t)v * S_NS;
		break;
	case ID_TOS:
		/* -1 of IPV6_TCLASS is none; the ECN bits are TCP's */
		o->tos = c->flow.tos = (uint8_t)(v == -1 ? 0 : v & 0xfc);
		break;
	case ID_CLAMP:
		return set_clamp(sq, c, (uint32_t)v);
	case ID_LOWAT:
		o->notsent_lowat = (uint32_t)v;
		sl_conn_special(c);
		sl_sendq_moved(sq, c);
		break;
	case ID_RTO_INITIAL:
		o->rto_initial = (uint64_t)v * MS_NS;
		break;
	case ID_RTO_MIN:
		o->rto_min = (uint64_t)v * MS_NS;
		break;
	case ID_RTO_MAX:
		o->rto_max = (uint64_t)v * MS_NS;
		break;
	case ID_INIT_CWND:
		o->init_cwnd = (uint32_t)v;
		break;
	case ID_REUSEPORT: /* counts when it binds */
		c->reuseport = v != 0;
		break;
	default:
		o->delack = (uint64_t)v * MS_NS;
		break;
	}
	if (c->state >= SLUICE_SYN_RCVD && (c->flags & SL_C_KEEPALIVE) && id <= ID_KEEPCNT)
		sl_keepalive_restart(sq, c);
	return 0;
}

static int set_maxseg(struct sluice_squeue *sq, struct sl_conn *c, int id, int v)
{
	if (v != 0 && v < 88)
		return -EINVAL;
	if (sl_conn_opt(c) == NULL)
		return -ENOMEM;
	c->opt->maxseg = (uint32_t)v;
	if (c->state >= SLUICE_ESTABLISHED)
		sl_tcp_set_mss(sq, c);
	return 0;
}

static int set_ttl(struct sluice_squeue *sq, struct sl_conn *c, int id, int v)
{
	if (v == 0)
		return -EINVAL;
	if (sl_conn_opt(c) == NULL)
		return -ENOMEM;
	c->opt->ttl = v == -1 ? 0 : (uint8_t)v;
	c->flow.ttl = v == -1 ? (uint8_t)sq->tun.ip_ttl : (uint8_t)v;
	return 0;
}

static int set_minttl(struct sluice_squeue *sq, struct sl_conn *c, int id, int v)
{
	if (sl_conn_opt(c) == NULL)
		return -ENOMEM;
	c->opt->minttl = (uint8_t)v;
	sl_conn_special(c);
	return 0;
}

static int set_v6only(struct sluice_squeue *sq, struct sl_conn *c, int id, int v)
{
	if (c->state != SLUICE_IDLE)
		return -EINVAL;
	if (sl_conn_opt(c) == NULL)
		return -ENOMEM;
	c->opt->v6only = v != 0;
	return 0;
}

static int get_mtu(struct sluice_squeue *sq, struct sl_conn *c, int id)
{
	return c->state >= SLUICE_SYN_SENT && c->flow.mtu != 0 ? c->flow.mtu : -ENOTCONN;
}

static int get_pmtudisc(struct sluice_squeue *sq, struct sl_conn *c, int id)
{
	return IP_PMTUDISC_DO;
}

/* WANT and DO are what is done; the others of Linux would be something else. */
static int set_pmtudisc(struct sluice_squeue *sq, struct sl_conn *c, int id, int v)
{
	return 0;
}

static int get_dontfrag(struct sluice_squeue *sq, struct sl_conn *c, int id)
{
	return 1;
}

static int get_cpu(struct sluice_squeue *sq, struct sl_conn *c, int id)
{
	return sq->id;
}

static int get_timestamp(struct sluice_squeue *sq, struct sl_conn *c, int id)
{
	return (int)sl_ts_now(sq, c->ts_offset);
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
	return (int)(rcv ? rcvbuf_asked(c) : c->sndbuf);
}

static int set_buf(struct sluice_squeue *sq, struct sl_conn *c, int rcv, int v)
{
	if (rcv) {
		set_rcvbuf(sq, c, (uint32_t)v);
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

#define ROW(level, name, form, min, max, def, inh, where, get, set, id, doc) \
	{level, name, SL_OPT_##form, min, max, get, set, id},
static const struct opt_row table[] = {SL_CONN_OPTIONS(ROW)};
#undef ROW

static const struct opt_row *find(int level, int name)
{
	for (size_t i = 0; i < RTE_DIM(table); i++)
		if (table[i].level == level && table[i].name == name)
			return &table[i];
	return NULL;
}

/* IPv6 options are none of an IPv4 connection. */
static const struct opt_row *row_for(
    struct sluice_squeue *sq, const struct sl_conn *c, int level, int name)
{
	if (level == IPPROTO_IPV6 && sl_conn_door(sq, c)->pub.family != AF_INET6)
		return NULL;
	return find(level, name);
}

/* The length is value-result: the smaller of both (seed). */
static void put(void *val, socklen_t *len, const void *from, socklen_t full)
{
	if (*len > full)
		*len = full;
	memcpy(val, from, *len);
}

static const char *cc_name(const struct sluice_squeue *sq, const struct sl_conn *c)
{
	if (c->cc.ops != NULL)
		return c->cc.ops->name;
	return sl_cc_by_index(
	    c->opt != NULL && c->opt->cc_set ? c->opt->cc_set - 1u : (unsigned int)sq->tun.tcp_cc)
	    ->name;
}

int sl_sock_getopt(
    struct sluice_squeue *sq, struct sl_conn *c, int level, int name, void *val, socklen_t *len)
{
	const struct opt_row *r = row_for(sq, c, level, name);
	struct linger lg = {
	    .l_onoff = c->linger != 0, .l_linger = c->linger != 0 ? c->linger - 1 : 0};
	struct sluice_tcp_info info;
	int v;

	if (r == NULL)
		return -ENOPROTOOPT;
	switch (r->form) {
	case SL_OPT_LINGER:
		put(val, len, &lg, sizeof(lg));
		break;
	case SL_OPT_NAME:
		put(val, len, cc_name(sq, c), sizeof(c->cc.ops->name));
		break;
	case SL_OPT_INFO:
		sl_sock_tcp_info(sq, c, &info);
		put(val, len, &info, sizeof(info));
		break;
	default:
		v = r->get(sq, c, r->id);
		if (r->get == get_mtu && v < 0)
			return v;
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

static int set_number(struct sluice_squeue *sq, struct sl_conn *c, const struct opt_row *r,
    const void *val, socklen_t len)
{
	int v, rc;

	if (r->set == NULL)
		return -ENOPROTOOPT;
	if (len != sizeof(v))
		return -EINVAL;
	memcpy(&v, val, sizeof(v));
	rc = sl_opt_check(r->form, r->min, r->max, &v);
	return rc < 0 ? rc : r->set(sq, c, r->id, v);
}

int sl_sock_setopt(struct sluice_squeue *sq, struct sl_conn *c, int level, int name,
    const void *val, socklen_t len)
{
	const struct opt_row *r = row_for(sq, c, level, name);
	int rc;

	if (r == NULL || r->form == SL_OPT_INFO)
		rc = -ENOPROTOOPT;
	else if (r->form == SL_OPT_LINGER)
		rc = set_linger(c, val, len);
	else if (r->form == SL_OPT_NAME)
		rc = set_congestion(sq, c, val, len);
	else
		rc = set_number(sq, c, r, val, len);
	if (rc == 0 && c->state == SLUICE_LISTEN)
		rc = sl_conn_to_group(c, c->group);
	return rc;
}

/* ---- the table, for who asks ---- */

#define IS_Y true
#define IS_N false
#define IS_SQUEUE true
#define IS_THREAD false
/* Those that are no numbers have their functions by form. */
#define WRITABLE(name, form, set)                                                               \
	((set)[0] != 'N' || (SL_OPT_##form >= SL_OPT_LINGER && SL_OPT_##form != SL_OPT_INFO) || \
	    (name) == TCP_NODELAY)
#define CONN(level, name, form, min, max, def, inh, where, get, set, id, doc)                 \
	{level, name, #name, #form, min, max, def, doc, WRITABLE(name, form, #set), IS_##inh, \
	    false, IS_##where},
#define SOCK(level, name, form, min, max, def, inh, where, get, set, id, doc)                 \
	{level, name, #name, #form, min, max, def, doc, WRITABLE(name, form, #set), IS_##inh, \
	    true, IS_##where},
static const struct sluice_option_info infos[] = {SL_CONN_OPTIONS(CONN) SL_SOCKET_OPTIONS(SOCK)};

const struct sluice_option_info *sluice_option_info(unsigned int i)
{
	return i < RTE_DIM(infos) ? &infos[i] : NULL;
}
