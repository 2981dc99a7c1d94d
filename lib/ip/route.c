/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Routes, source addresses, flows. The snapshot's routes are sorted by VRF, then longest prefix,
 * then address; runs of one length are searched by halves, longest first, so a lookup costs
 * (lengths in use) x log(routes of that length). Connections cache the result: a lookup happens
 * once per connection and change of the configuration.
 *
 * Not rte_fib, which the same routes were measured against (test/bench/bench_routes.c; 10, 1,000
 * and 100,000 IPv4 routes): the array takes 55, 138 and 675 ns a lookup and 40 bytes a route, and
 * a snapshot of it is made in 25 ms at most; rte_fib takes 5 to 36 ns, but 64 MiB and more of EAL
 * memory for each VRF and squeue, and 155 ms to fill. At one lookup per connection the difference
 * is not to be seen, the memory is.
 */
#include "ip_priv.h"

/* RFC 1191 6.3, RFC 8201 4: retry a larger one after 10 minutes. */
#define PMTU_TTL SLUICE_SEC(600)
#define LOCAL_MTU 65535

static bool is_loopback(const struct sluice_addr *a)
{
	if (sl_addr_is4(a))
		return a->b[12] == 127;
	return a->q[0] == 0 && a->w[2] == 0 && a->w[3] == htonl(1);
}

bool sl_ip_is_local(struct sluice_squeue *sq, uint32_t vrf, const struct sluice_addr *a)
{
	const struct ip_snap *s = sq->ip->snap;
	int row = ip_find_addr(s, vrf, -1, a);

	if (row >= 0 && s->ast[row].state == SLUICE_ADDR_READY)
		return true;
	return is_loopback(a);
}

static const struct sl_cfg_route *group_find(
    const struct ip_snap *s, const struct ip_rgroup *g, const struct sluice_addr *dst)
{
	struct sluice_addr masked = *dst;
	uint32_t lo = g->first, hi = g->first + g->n;

	for (unsigned int i = 0; i < 16; i++) {
		unsigned int keep = g->plen > 8 * i ? g->plen - 8 * i : 0;

		if (keep < 8)
			masked.b[i] &= (uint8_t)(0xff00 >> keep);
	}
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		int c = memcmp(&s->cfg.routes[mid].prefix, &masked, 16);

		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	/* Equal prefixes: the first wins. */
	if (lo < g->first + g->n && sl_addr_eq(&s->cfg.routes[lo].prefix, &masked))
		return &s->cfg.routes[lo];
	return NULL;
}

const struct sl_cfg_route *ip_route(
    const struct ip_snap *s, uint32_t vrf, const struct sluice_addr *dst)
{
	bool v4 = sl_addr_is4(dst);

	for (uint32_t i = 0; i < s->nrgroups; i++) {
		const struct ip_rgroup *g = &s->rgroups[i];
		const struct sl_cfg_route *r;

		/* ::/0 and other short IPv6 prefixes do not cover the mapped IPv4 space. */
		if (g->vrf != vrf || (v4 && g->plen < 96))
			continue;
		r = group_find(s, g, dst);
		if (r != NULL)
			return r;
	}
	return NULL;
}

bool ip_on_link(const struct ip_snap *s, uint16_t ifidx, const struct sluice_addr *a)
{
	const struct sl_cfg_route *r;

	if (!sl_addr_is4(a) && sl_addr_linklocal6(a))
		return true;
	r = ip_route(s, s->cfg.ifs[ifidx].vrf, a);
	if (r != NULL && r->ifidx == ifidx && sl_addr_any(&r->via))
		return true;
	return ip_is_gateway(s, ifidx, a);
}

bool sl_ip_is_broadcast(struct sluice_squeue *sq, uint32_t vrf, const struct sluice_addr *a)
{
	const struct sl_cfg_route *r;
	uint32_t host;

	if (!sl_addr_is4(a))
		return false;
	r = ip_route(sq->ip->snap, vrf, a);
	if (r == NULL || !sl_addr_any(&r->via) || r->plen <= 96 || r->plen > 126)
		return false; /* RFC 3021: a prefix of 31 bits has no broadcast address */
	host = UINT32_MAX >> (r->plen - 96);
	return (ntohl(a->w[3]) & host) == host && !sl_ip_is_local(sq, vrf, a);
}

/* ---- source selection ---- */

/* RFC 6724 scopes, as far as TCP meets them: 2 link, 5 site (ULA counts as global), 14 global. */
static unsigned int scope6(const struct sluice_addr *a)
{
	return sl_addr_linklocal6(a) || is_loopback(a) ? 2 : 14;
}

static unsigned int common_bits(const struct sluice_addr *a, const struct sluice_addr *b)
{
	for (unsigned int i = 0; i < 16; i++)
		if (a->b[i] != b->b[i])
			return i * 8 +
			       (unsigned int)__builtin_clz((unsigned int)(a->b[i] ^ b->b[i])) - 24;
	return 128;
}

/* Is x a better source for dst than y? Rules 2 (scope), 5 (outgoing interface), 8 (longest common
 * prefix). */
static bool better(const struct ip_snap *s, const struct sl_cfg_addr *x,
    const struct sl_cfg_addr *y, const struct sluice_addr *dst, int ifidx)
{
	unsigned int sx = scope6(&x->addr), sy = scope6(&y->addr), sd = scope6(dst);

	if (!sl_addr_is4(dst) && sx != sy)
		return sx < sy ? sx >= sd : sy < sd;
	if ((x->ifidx == ifidx) != (y->ifidx == ifidx))
		return x->ifidx == ifidx;
	(void)s;
	return common_bits(&x->addr, dst) > common_bits(&y->addr, dst);
}

int sl_ip_source(
    struct sluice_squeue *sq, uint32_t vrf, const struct sluice_addr *dst, struct sluice_addr *src)
{
	const struct ip_snap *s = sq->ip->snap;
	const struct sl_cfg_addr *best = NULL;
	const struct sl_cfg_route *r = NULL;
	bool v4 = sl_addr_is4(dst), ll = !v4 && sl_addr_linklocal6(dst);
	int link = (int)sl_addr_zone(dst) - 1;

	if (sl_ip_is_local(sq, vrf, dst)) { /* rule 1 */
		*src = *dst;
		return 0;
	}
	if (!ll) {
		r = ip_route(s, vrf, dst);
		if (r == NULL)
			return -ENETUNREACH;
		link = r->ifidx;
	}
	for (uint32_t i = 0; i < s->cfg.naddrs; i++) {
		const struct sl_cfg_addr *a = &s->cfg.addrs[i];

		if (s->cfg.ifs[a->ifidx].vrf != vrf || sl_addr_is4(&a->addr) != v4 ||
		    s->ast[i].state != SLUICE_ADDR_READY || (ll && !a->linklocal))
			continue;
		/* A link-local source only reaches its own link. */
		if (a->linklocal && link >= 0 && a->ifidx != link)
			continue;
		if (best == NULL || better(s, a, best, dst, r != NULL ? r->ifidx : -1))
			best = a;
	}
	if (best == NULL)
		return -EADDRNOTAVAIL;
	*src = sl_addr_zoned(best->addr, best->ifidx + 1u);
	return 0;
}

/* ---- flows ---- */

/* The interface of a link-local or multicast destination: its own, what the caller knows, else that
 * of the source address. */
static int link_scope(const struct ip_snap *s, const struct sl_key *key, int scope)
{
	unsigned int zone = sl_addr_zone(&key->raddr);
	int row;

	if (zone != 0)
		return (int)zone - 1;
	if (scope >= 0)
		return scope;
	row = ip_find_addr(s, key->vrf, -1, &key->laddr);
	return row < 0 ? -1 : s->cfg.addrs[row].ifidx;
}

/* Fill interface, MTU and state; *hop is the neighbour to ask for. State NEW: a neighbour is
 * needed. */
int ip_route_flow(struct sluice_squeue *sq, struct sl_flow *f, const struct sl_key *key,
    struct sluice_addr *hop, int scope)
{
	struct sl_ip *ip = sq->ip;
	const struct ip_snap *s = ip->snap;
	bool keep = f->gen != 0 && f->mtu != 0 && (int32_t)(f->gen - ip->pmtu_gen) >= 0;
	const struct sl_cfg_route *r;
	uint16_t mtu = LOCAL_MTU;
	int ifidx;

	f->nh = 0;
	*hop = sl_addr_zoned(key->raddr, 0);
	if (sl_ip_is_local(sq, key->vrf, &key->raddr)) {
		int row = ip_find_addr(s, key->vrf, -1, &key->raddr);

		if (row < 0)
			row = ip_find_addr(s, key->vrf, -1, &key->laddr);
		f->ifidx = row < 0 ? 0 : s->cfg.addrs[row].ifidx;
		f->state = SL_FLOW_LOCAL;
		f->mtu = LOCAL_MTU;
		f->gen = ip->generation;
		return 0;
	}
	f->state = SL_FLOW_NEW;
	if (is_loopback(&key->laddr)) /* RFC 1122 3.2.1.3 (g): never outside of a host */
		return -ENETUNREACH;
	if (!sl_addr_is4(&key->raddr) &&
	    (sl_addr_linklocal6(&key->raddr) || sl_addr_multicast(&key->raddr))) {
		ifidx = link_scope(s, key, scope);
		if (ifidx < 0)
			return -ENETUNREACH;
	} else {
		r = ip_route(s, key->vrf, &key->raddr);
		if (r == NULL)
			return -ENETUNREACH;
		ifidx = r->ifidx;
		if (!sl_addr_any(&r->via))
			*hop = r->via;
	}
	if ((uint32_t)ifidx >= s->cfg.nifs || !s->cfg.ifs[ifidx].used ||
	    s->cfg.ifs[ifidx].port == SL_IP_PORT_NONE || s->cfg.ifs[ifidx].port >= sq->nports)
		return -ENETUNREACH;
	mtu = s->cfg.ifs[ifidx].mtu;
	f->ifidx = (uint16_t)ifidx;
	f->mtu = keep ? RTE_MIN(f->mtu, mtu) : mtu;
	f->gen = ip->generation;
	if (s->cfg.ifs[ifidx].l3)
		f->state = SL_FLOW_OK;
	return 0;
}

int sl_flow_init(
    struct sluice_squeue *sq, struct sl_flow *f, const struct sl_key *key, enum sl_flow_kind kind)
{
	struct sluice_addr hop;

	f->kind = (uint8_t)kind;
	if (f->ttl == 0)
		f->ttl = (uint8_t)sq->tun.ip_ttl;
	if (f->flowlabel == 0 && !sl_addr_is4(&key->raddr)) {
		/* RFC 6437: stable per flow, not to be guessed. Never 0, which means none. */
		uint32_t l =
		    (uint32_t)sl_siphash13(&sq->stack->secret_port, key, sizeof(*key)) & 0xfffff;

		f->flowlabel = htonl(l != 0 ? l : 1);
	}
	f->gen = 0;
	return ip_route_flow(sq, f, key, &hop, -1);
}

static void unwait(struct sl_flow *f)
{
	if (f->wpprev == NULL)
		return;
	*f->wpprev = f->wnext;
	if (f->wnext != NULL)
		f->wnext->wpprev = f->wpprev;
	f->wnext = NULL;
	f->wpprev = NULL;
}

void sl_flow_fini(struct sluice_squeue *sq, struct sl_flow *f)
{
	unwait(f);
	f->nh = 0;
	f->gen = 0;
	f->state = SL_FLOW_NEW;
}

void sl_flow_moved(struct sluice_squeue *sq, struct sl_flow *f)
{
	const struct sl_cfg *c = &sq->ip->snap->cfg;
	uint16_t mtu = f->mtu;

	f->nh = 0;
	f->state = SL_FLOW_NEW;
	f->gen = sq->ip->generation; /* else the MTU would be forgotten */
	if (f->ifidx < c->nifs && mtu != 0 && mtu < c->ifs[f->ifidx].mtu) {
		f->mtu = c->ifs[f->ifidx].mtu;
		sl_flow_mtu(sq, f, mtu); /* so that it ages here too */
	}
}

/* 0: f->nh names a usable neighbour, or none is needed. */
int sl_flow_resolve(struct sluice_squeue *sq, struct sl_flow *f, const struct sl_key *key)
{
	struct sluice_addr hop;
	struct neigh *n;
	int rc;

	unwait(f);
	rc = ip_route_flow(sq, f, key, &hop, -1);
	if (rc < 0) {
		SL_COUNT(sq, ip_out_no_route);
		f->state = SL_FLOW_FAILED;
		f->gen = 0;
		return rc;
	}
	if (f->state != SL_FLOW_NEW)
		return 0;
	n = ip_neigh_get(sq, f->ifidx, &hop);
	if (n == NULL) {
		f->state = SL_FLOW_FAILED;
		return -EHOSTUNREACH;
	}
	n->used = sq->now;
	if (n->state == NEIGH_INCOMPLETE) {
		f->state = SL_FLOW_WAIT;
		f->wnext = n->wait;
		if (n->wait != NULL)
			n->wait->wpprev = &f->wnext;
		n->wait = f;
		f->wpprev = &n->wait;
		return -EINPROGRESS;
	}
	if (n->state == NEIGH_STALE)
		ip_neigh_probe(sq, n);
	f->nh = ip_neigh_name(n);
	f->state = SL_FLOW_OK;
	return 0;
}

void sl_flow_mtu(struct sluice_squeue *sq, struct sl_flow *f, uint16_t mtu)
{
	struct sl_ip *ip = sq->ip;

	if (f->state == SL_FLOW_LOCAL || mtu == 0 || mtu >= f->mtu)
		return;
	f->mtu = mtu;
	if (ip->pmtu_since == 0)
		ip->pmtu_since = sq->now + 1;
	/* One timer for all flows: a further lowering postpones it, but not for ever. */
	if (!sl_timer_armed(&ip->pmtu_timer) || sq->now + 1 - ip->pmtu_since < PMTU_TTL)
		sl_timer_set(&sq->wheel, &ip->pmtu_timer, sq->now + PMTU_TTL);
}

/* TCP saw progress: the neighbour answers, there is no need to ask it (RFC 4861 7.3.1). */
void sl_flow_confirm(struct sluice_squeue *sq, const struct sl_flow *f)
{
	struct neigh *n = f->nh != 0 ? ip_neigh_of(sq->ip, f->nh) : NULL;

	if (n == NULL)
		return;
	/* The timer that runs finds the later time and moves itself. */
	if (n->state == NEIGH_REACHABLE)
		n->confirmed = sq->now;
	else if (n->state == NEIGH_PROBE) {
		n->state = NEIGH_REACHABLE;
		n->confirmed = sq->now;
		sl_timer_set(&sq->wheel, &n->t, sq->now + sq->tun.ip_neigh_reachable);
	}
}

void sl_flow_doubt(struct sluice_squeue *sq, const struct sl_flow *f)
{
	struct neigh *n = f->nh != 0 ? ip_neigh_of(sq->ip, f->nh) : NULL;

	if (n != NULL && n->state == NEIGH_REACHABLE)
		n->state = NEIGH_STALE; /* the timer that runs sees that */
}

uint32_t sl_flow_caps(const struct sluice_squeue *sq, const struct sl_flow *f, uint32_t *tso_max)
{
	const struct sl_cfg *c = &sq->ip->snap->cfg;
	const struct sluice_port_info *info;

	*tso_max = 0;
	if (f->state == SL_FLOW_LOCAL)
		return SLUICE_CAP_PERFECT | SLUICE_CAP_TX_MULTISEG | SLUICE_CAP_TX_INDIRECT;
	if (f->ifidx >= c->nifs || c->ifs[f->ifidx].port >= sq->nports)
		return 0;
	info = &sq->port[c->ifs[f->ifidx].port].info;
	if (info->caps & SLUICE_CAP_TX_TSO)
		*tso_max = RTE_MIN(info->tso_max, 65535u - 120u);
	return info->caps;
}
