/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Neighbours of both families, one table per squeue. States follow RFC 4861 section 7.3.2, without
 * DELAY: INCOMPLETE -> REACHABLE -> STALE -> PROBE (unicast questions while packets go on) ->
 * REACHABLE, or gone.
 *
 * Slots live in chunks that stay; a flow names a slot and its generation (ip_priv.h). Each entry
 * holds the finished L2 header, so that sending is one copy. One timer per entry: its meaning
 * follows the state. What waits is a list of flows; it is taken off whole before anybody is called,
 * so callbacks may do to their flows what they like.
 */
#include "ip_priv.h"

static void *mem_get(const struct sluice_squeue *sq, size_t size)
{
	const struct sl_mem_ops *mem = &sq->stack->mem;

	size = (size + 63) & ~(size_t)63;
	return mem->alloc != NULL ? mem->alloc(mem->arg, size, 64) : aligned_alloc(64, size);
}

static void mem_put(const struct sluice_squeue *sq, void *p, size_t size)
{
	const struct sl_mem_ops *mem = &sq->stack->mem;

	if (p == NULL)
		return;
	if (mem->alloc != NULL)
		mem->free(mem->arg, p, (size + 63) & ~(size_t)63);
	else
		free(p);
}

int ip_neigh_init(struct sluice_squeue *sq)
{
	struct sl_ip *ip = sq->ip;
	uint32_t n = 64;

	while (n < sq->tun.ip_neigh_max && n < 1u << NEIGH_IDX_BITS)
		n *= 2;
	ip->nhash = mem_get(sq, n * sizeof(*ip->nhash));
	ip->chunk = mem_get(sq, NEIGH_CHUNKS * sizeof(*ip->chunk));
	if (ip->nhash == NULL || ip->chunk == NULL) {
		mem_put(sq, ip->nhash, n * sizeof(*ip->nhash));
		mem_put(sq, ip->chunk, NEIGH_CHUNKS * sizeof(*ip->chunk));
		return -ENOMEM;
	}
	memset(ip->nhash, 0, n * sizeof(*ip->nhash));
	memset(ip->chunk, 0, NEIGH_CHUNKS * sizeof(*ip->chunk));
	ip->nhash_mask = n - 1;
	ip->nslots = 1; /* slot 0 names nobody */
	return 0;
}

static uint32_t *bucket(const struct sl_ip *ip, const struct sluice_squeue *sq, uint16_t ifidx,
    const struct sluice_addr *a)
{
	struct {
		struct sluice_addr a;
		uint64_t ifidx;
	} k = {*a, ifidx};

	/* Keyed: a remote station chooses these addresses. */
	return &ip->nhash[sl_siphash13(&sq->stack->secret_table, &k, sizeof(k)) & ip->nhash_mask];
}

struct neigh *ip_neigh_find(
    struct sl_ip *ip, const struct sluice_squeue *sq, uint16_t ifidx, const struct sluice_addr *a)
{
	for (uint32_t i = *bucket(ip, sq, ifidx, a); i != 0;) {
		struct neigh *n = ip_neigh_at(ip, i);

		if (n->ifidx == ifidx && sl_addr_eq(&n->addr, a))
			return n;
		i = n->hnext;
	}
	return NULL;
}

/* Unlinks and frees; returns the flows that waited. */
static struct sl_flow *neigh_remove(struct sluice_squeue *sq, struct neigh *n)
{
	struct sl_ip *ip = sq->ip;
	struct sl_flow *wait = n->wait;
	uint32_t *p = bucket(ip, sq, n->ifidx, &n->addr);

	while (*p != n->idx)
		p = &ip_neigh_at(ip, *p)->hnext;
	*p = n->hnext;
	sl_timer_cancel(&sq->wheel, &n->t);
	n->state = NEIGH_FREE;
	n->wait = NULL;
	n->sgen = (n->sgen + 1) & 0xfff;
	if (n->sgen == 0)
		ip_bump(ip); /* the names of this slot begin again: nobody may hold an old one */
	n->hnext = ip->nfree_head;
	ip->nfree_head = n->idx;
	ip->nused--;
	return wait;
}

static void wake(struct sluice_squeue *sq, struct sl_flow *list, int err)
{
	if (list != NULL)
		list->wpprev = &list;
	while (list != NULL) {
		struct sl_flow *f = list;

		list = f->wnext;
		if (list != NULL)
			list->wpprev = &list;
		f->wnext = NULL;
		f->wpprev = NULL;
		f->state = err == 0 ? SL_FLOW_NEW : SL_FLOW_FAILED;
		sq->ip->hooks->flow_ready(sq, f, err);
	}
}

/* Table full: the least recently used of a few, never one that flows wait for or that is permanent.
 */
static bool evict(struct sluice_squeue *sq)
{
	struct sl_ip *ip = sq->ip;
	struct neigh *best = NULL;

	for (unsigned int i = 0; i < 32; i++) {
		struct neigh *n;

		ip->nhand = ip->nhand + 1 < ip->nslots ? ip->nhand + 1 : 1;
		n = ip_neigh_at(ip, ip->nhand);
		if (n->state == NEIGH_FREE || n->state == NEIGH_PERMANENT || n->wait != NULL)
			continue;
		if (best == NULL || n->used < best->used)
			best = n;
	}
	SL_COUNT(sq, neigh_full);
	if (best == NULL)
		return false;
	neigh_remove(sq, best);
	return true;
}

static struct neigh *slot_get(struct sluice_squeue *sq)
{
	struct sl_ip *ip = sq->ip;
	struct neigh *n;
	uint32_t i;

	if (ip->nused >= sq->tun.ip_neigh_max && !evict(sq))
		return NULL;
	if (ip->nfree_head != 0) {
		n = ip_neigh_at(ip, ip->nfree_head);
		ip->nfree_head = n->hnext;
	} else {
		i = ip->nslots;
		if (i > NEIGH_IDX_MASK)
			return NULL;
		if (ip->chunk[i >> NEIGH_CHUNK_SHIFT] == NULL) {
			n = mem_get(sq, NEIGH_CHUNK * sizeof(*n));
			if (n == NULL) {
				SL_COUNT(sq, neigh_full);
				return NULL;
			}
			memset(n, 0, NEIGH_CHUNK * sizeof(*n));
			ip->chunk[i >> NEIGH_CHUNK_SHIFT] = n;
		}
		n = ip_neigh_at(ip, i);
		n->idx = i;
		ip->nslots++;
	}
	ip->nused++;
	return n;
}

static struct neigh *neigh_create(
    struct sluice_squeue *sq, uint16_t ifidx, const struct sluice_addr *a)
{
	const struct sl_cfg_if *f = &sq->ip->snap->cfg.ifs[ifidx];
	struct neigh *n = slot_get(sq);
	uint32_t *b;

	if (n == NULL)
		return NULL;
	n->ifidx = ifidx;
	n->port = f->port;
	n->addr = *a;
	n->state = NEIGH_INCOMPLETE;
	n->tries = 0;
	n->wait = NULL;
	n->used = n->confirmed = sq->now;
	n->l2len = (uint8_t)ip_eth_header(f, NULL, sl_addr_is4(a) ? TYPE_IP4 : TYPE_IP6, n->l2);
	memset(&n->t, 0, sizeof(n->t));
	n->t.kind = SL_TIMER_NEIGH;
	b = bucket(sq->ip, sq, ifidx, a);
	n->hnext = *b;
	*b = n->idx;
	SL_COUNT(sq, neigh_created);
	return n;
}

/* The source of a question: the first ready address of the interface, best in the neighbour's
 * subnet. */
static void solicit(struct sluice_squeue *sq, struct neigh *n)
{
	const struct ip_snap *s = sq->ip->snap;
	const struct sl_cfg_addr *best = NULL;
	const uint8_t *dmac = n->state == NEIGH_PROBE ? n->l2 : NULL;
	struct sluice_addr zero = sl_addr4(0);

	n->tries++;
	if (!sl_addr_is4(&n->addr)) {
		ip_nd_solicit(sq, n->ifidx, &n->addr, dmac, false);
		return;
	}
	for (uint32_t i = 0; i < s->cfg.naddrs; i++) {
		const struct sl_cfg_addr *a = &s->cfg.addrs[i];

		if (a->ifidx != n->ifidx || !sl_addr_is4(&a->addr) ||
		    s->ast[i].state != SLUICE_ADDR_READY)
			continue;
		if (best == NULL)
			best = a;
		if (ip_prefix_has(&a->addr, a->plen, &n->addr)) {
			best = a;
			break;
		}
	}
	ip_arp_send(sq, n->ifidx, 1, dmac, best != NULL ? &best->addr : &zero, NULL, &n->addr);
}

struct neigh *ip_neigh_get(struct sluice_squeue *sq, uint16_t ifidx, const struct sluice_addr *a)
{
	struct neigh *n = ip_neigh_find(sq->ip, sq, ifidx, a);

	if (n != NULL)
		return n;
	n = neigh_create(sq, ifidx, a);
	if (n == NULL)
		return NULL;
	solicit(sq, n);
	sl_timer_set(&sq->wheel, &n->t, sq->now + sq->tun.ip_neigh_retry);
	return n;
}

/* A stale neighbour is used again (RFC 4861 7.3.3): ask it directly, and go on sending. */
void ip_neigh_probe(struct sluice_squeue *sq, struct neigh *n)
{
	n->state = NEIGH_PROBE;
	n->tries = 0;
	solicit(sq, n);
	sl_timer_set(&sq->wheel, &n->t, sq->now + sq->tun.ip_neigh_retry);
}

static void neigh_failed(struct sluice_squeue *sq, struct neigh *n)
{
	SL_COUNT(sq, neigh_failed);
	wake(sq, neigh_remove(sq, n), -EHOSTUNREACH);
}

void ip_neigh_timer(void *arg, struct sl_timer *t)
{
	struct sluice_squeue *sq = arg;
	struct neigh *n = SL_CONTAINER_OF(t, struct neigh, t);
	const struct sluice_tunables *tun = &sq->tun;

	switch (n->state) {
	case NEIGH_INCOMPLETE:
	case NEIGH_PROBE:
		if (n->tries >= tun->ip_neigh_tries) {
			neigh_failed(sq, n);
			break;
		}
		solicit(sq, n);
		sl_timer_set(&sq->wheel, t, sq->now + tun->ip_neigh_retry);
		break;
	case NEIGH_REACHABLE:
		if (sq->now - n->confirmed >= tun->ip_neigh_reachable) {
			n->state = NEIGH_STALE;
			sl_timer_set(&sq->wheel, t, RTE_MAX(n->used + tun->ip_neigh_gc, sq->now));
		} else {
			sl_timer_set(&sq->wheel, t, n->confirmed + tun->ip_neigh_reachable);
		}
		break;
	case NEIGH_STALE:
		if (sq->now - n->used >= tun->ip_neigh_gc) {
			SL_COUNT(sq, neigh_aged);
			neigh_remove(sq, n);
		} else {
			sl_timer_set(&sq->wheel, t, n->used + tun->ip_neigh_gc);
		}
		break;
	default:
		break;
	}
}

/* RFC 4861 7.2.5 for both families: what an answer or a question of the neighbour tells about it.
 */
void ip_neigh_learn(struct sluice_squeue *sq, uint16_t ifidx, const struct sluice_addr *a,
    const uint8_t mac[6], bool create, bool solicited, bool override)
{
	struct neigh *n = ip_neigh_find(sq->ip, sq, ifidx, a);
	bool changed;

	if (n == NULL) {
		if (!create)
			return;
		n = neigh_create(sq, ifidx, a);
		if (n == NULL)
			return;
	}
	if (n->state == NEIGH_PERMANENT)
		return;
	changed = n->state == NEIGH_INCOMPLETE || memcmp(n->l2, mac, 6) != 0;
	if (changed && n->state != NEIGH_INCOMPLETE && !override) {
		if (n->state == NEIGH_REACHABLE) {
			n->state = NEIGH_STALE;
			sl_timer_set(&sq->wheel, &n->t, sq->now + sq->tun.ip_neigh_gc);
		}
		return;
	}
	memcpy(n->l2, mac, 6);
	if (solicited) {
		n->state = NEIGH_REACHABLE;
		n->confirmed = sq->now;
		sl_timer_set(&sq->wheel, &n->t, sq->now + sq->tun.ip_neigh_reachable);
	} else if (changed) {
		n->state = NEIGH_STALE;
		sl_timer_set(&sq->wheel, &n->t, sq->now + sq->tun.ip_neigh_gc);
	}
	if (n->wait != NULL) {
		struct sl_flow *list = n->wait;

		n->wait = NULL;
		wake(sq, list, 0);
	}
}

static void make_permanent(struct sluice_squeue *sq, const struct sl_cfg_neigh *c)
{
	struct neigh *n = ip_neigh_find(sq->ip, sq, c->ifidx, &c->addr);
	struct sl_flow *list;

	if (n == NULL)
		n = neigh_create(sq, c->ifidx, &c->addr);
	if (n == NULL)
		return;
	sl_timer_cancel(&sq->wheel, &n->t);
	n->state = NEIGH_PERMANENT;
	memcpy(n->l2, c->mac, 6);
	list = n->wait;
	n->wait = NULL;
	wake(sq, list, 0);
}

/* After a new snapshot: entries of interfaces that are gone or changed go, permanent ones are set
 * afresh. */
void ip_neigh_config(struct sluice_squeue *sq, const struct ip_snap *old)
{
	struct sl_ip *ip = sq->ip;
	const struct sl_cfg *c = &ip->snap->cfg;

	for (uint32_t i = 1; i < ip->nslots; i++) {
		struct neigh *n = ip_neigh_at(ip, i);
		const struct sl_cfg_if *f, *o;

		if (n->state == NEIGH_FREE)
			continue;
		f = n->ifidx < c->nifs ? &c->ifs[n->ifidx] : NULL;
		o = &old->cfg.ifs[n->ifidx];
		if (n->state == NEIGH_PERMANENT || f == NULL || !f->used || f->port != n->port ||
		    memcmp(f->vlan, o->vlan, sizeof(f->vlan)) != 0 ||
		    memcmp(f->mac, o->mac, 6) != 0)
			/* Waiting flows ask again, along the new routes. */
			wake(sq, neigh_remove(sq, n), 0);
	}
	for (uint32_t i = 0; i < c->nneighs; i++)
		if (c->neighs[i].ifidx < c->nifs && c->ifs[c->neighs[i].ifidx].used)
			make_permanent(sq, &c->neighs[i]);
}

void ip_neigh_fini(struct sluice_squeue *sq)
{
	struct sl_ip *ip = sq->ip;

	for (uint32_t i = 1; i < ip->nslots; i++) {
		struct neigh *n = ip_neigh_at(ip, i);

		sl_timer_cancel(&sq->wheel, &n->t);
		while (
		    n->wait != NULL) { /* their owners go too: leave no pointer into this table */
			struct sl_flow *f = n->wait;

			n->wait = f->wnext;
			f->wnext = NULL;
			f->wpprev = NULL;
		}
	}
	for (uint32_t i = 0; i < NEIGH_CHUNKS; i++)
		mem_put(sq, ip->chunk[i], NEIGH_CHUNK * sizeof(struct neigh));
	mem_put(sq, ip->chunk, NEIGH_CHUNKS * sizeof(*ip->chunk));
	mem_put(sq, ip->nhash, (ip->nhash_mask + 1) * sizeof(*ip->nhash));
}
