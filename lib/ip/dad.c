/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is an address ours alone? RFC 5227 for IPv4 (probes with sender 0, then two announcements), RFC
 * 4862 section 5.4 for IPv6. An address is tentative, ready or duplicate; only ready ones are
 * local. Its state outlives a change of the configuration as long as address, interface and MAC are
 * the same. Virtual and raw IP interfaces have no link to ask.
 *
 * Each squeue runs the same clockwork on its own copy, but only squeue 0 puts probes on the wire;
 * answers reach all.
 */
#include "ip_priv.h"

#define ANNOUNCE_NUM 2 /* RFC 5227 1.1 */
#define ANNOUNCE_INTERVAL SLUICE_SEC(2)

static bool same_if(const struct sl_cfg_if *a, const struct sl_cfg_if *b)
{
	return a->used && b->used && a->port == b->port && a->vrf == b->vrf &&
	       a->vlan[0] == b->vlan[0] && a->vlan[1] == b->vlan[1] &&
	       memcmp(a->mac, b->mac, 6) == 0;
}

static void dad_probe(struct sluice_squeue *sq, const struct sl_cfg_addr *a)
{
	struct sluice_addr zero = sl_addr4(0);

	if (sq->id != 0)
		return;
	if (sl_addr_is4(&a->addr))
		ip_arp_send(sq, a->ifidx, 1, NULL, &zero, NULL, &a->addr);
	else
		ip_nd_solicit(sq, a->ifidx, &a->addr, NULL, true);
}

static void dad_start(struct sluice_squeue *sq, uint32_t row)
{
	struct ip_snap *s = sq->ip->snap;
	const struct sl_cfg_addr *a = &s->cfg.addrs[row];
	const struct sl_cfg_if *f = &s->cfg.ifs[a->ifidx];
	struct ip_addr_st *st = &s->ast[row];

	st->state = SLUICE_ADDR_READY;
	if (f->port == SL_IP_PORT_NONE || f->l3 || a->on_prefix || s->cfg.tun.ip_dad_probes == 0)
		return;
	st->state = SLUICE_ADDR_TENTATIVE;
	st->left = (uint8_t)(s->cfg.tun.ip_dad_probes - 1);
	dad_probe(sq, a);
	sl_timer_set(&sq->wheel, &st->t, sq->now + s->cfg.tun.ip_dad_interval);
}

void ip_dad_config(struct sluice_squeue *sq, const struct ip_snap *old)
{
	struct ip_snap *s = sq->ip->snap;

	for (uint32_t i = 0; i < s->cfg.naddrs; i++) {
		const struct sl_cfg_addr *a = &s->cfg.addrs[i];
		const struct sl_cfg_if *f = &s->cfg.ifs[a->ifidx];
		const struct ip_addr_st *o = NULL;
		struct ip_addr_st *st = &s->ast[i];
		int j = ip_find_addr(old, f->vrf, a->ifidx, &a->addr);

		memset(st, 0, sizeof(*st));
		st->t.kind = SL_TIMER_IP;
		if (j >= 0 && sl_addr_eq(&a->addr, &old->cfg.addrs[j].addr) &&
		    a->on_prefix == old->cfg.addrs[j].on_prefix &&
		    same_if(f, &old->cfg.ifs[a->ifidx]))
			o = &old->ast[j];
		if (o == NULL) {
			dad_start(sq, i);
			continue;
		}
		st->state = o->state;
		st->left = o->left;
		st->defended = o->defended;
		if (sl_timer_armed(&o->t))
			sl_timer_set(&sq->wheel, &st->t, o->t.expires << SL_TICK_SHIFT);
	}
	for (uint32_t j = 0; j < old->cfg.naddrs; j++)
		sl_timer_cancel(&sq->wheel, &old->ast[j].t);
}

void ip_dad_stop(struct sluice_squeue *sq)
{
	struct ip_snap *s = sq->ip->snap;

	for (uint32_t i = 0; i < s->cfg.naddrs; i++)
		sl_timer_cancel(&sq->wheel, &s->ast[i].t);
}

static void announce(struct sluice_squeue *sq, const struct sl_cfg_addr *a)
{
	if (sq->id == 0 && sl_addr_is4(&a->addr))
		ip_arp_send(sq, a->ifidx, 1, NULL, &a->addr, NULL, &a->addr);
}

void ip_dad_timer(struct sluice_squeue *sq, struct sl_timer *t)
{
	struct ip_snap *s = sq->ip->snap;
	struct ip_addr_st *st = SL_CONTAINER_OF(t, struct ip_addr_st, t);
	const struct sl_cfg_addr *a = &s->cfg.addrs[st - s->ast];

	if (st->state == SLUICE_ADDR_TENTATIVE && st->left > 0) {
		st->left--;
		dad_probe(sq, a);
		sl_timer_set(&sq->wheel, t, sq->now + s->cfg.tun.ip_dad_interval);
		return;
	}
	if (st->state == SLUICE_ADDR_TENTATIVE) {
		st->state = SLUICE_ADDR_READY;
		st->left = ANNOUNCE_NUM;
		ip_bump(sq->ip); /* a new source address, a new local destination */
		if (a->linklocal)
			ip_mld_again(sq, a->ifidx);
	}
	if (st->state != SLUICE_ADDR_READY || st->left == 0)
		return;
	st->left--;
	announce(sq, a);
	if (st->left > 0)
		sl_timer_set(&sq->wheel, t, sq->now + ANNOUNCE_INTERVAL);
}

void ip_dad_duplicate(struct sluice_squeue *sq, uint32_t row)
{
	struct ip_addr_st *st = &sq->ip->snap->ast[row];

	st->state = SLUICE_ADDR_DUPLICATE;
	sl_timer_cancel(&sq->wheel, &st->t);
	SL_COUNT(sq, addr_dad_failed);
	sl_log(&sq->stack->log, sq->now, SL_LOG_WARN,
	    "interface %s: an address is already used by another station",
	    sq->ip->snap->cfg.ifs[sq->ip->snap->cfg.addrs[row].ifidx].name);
}

/*
 * RFC 5227 2.4 (b): one announcement at most per interval; we never give the address up. RFC 4862
 * 5.4.4 leaves open what to do about IPv6: the same.
 */
void ip_defend(struct sluice_squeue *sq, uint32_t row, bool answer)
{
	struct ip_snap *s = sq->ip->snap;
	const struct sl_cfg_addr *a = &s->cfg.addrs[row];
	struct ip_addr_st *st = &s->ast[row];

	SL_COUNT(sq, addr_conflicts);
	if (!answer ||
	    (st->defended != 0 && sq->now + 1 - st->defended < s->cfg.tun.ip_defend_interval))
		return;
	st->defended = sq->now + 1;
	sl_log(&sq->stack->log, sq->now, SL_LOG_WARN,
	    "interface %s: another station uses an address of ours", s->cfg.ifs[a->ifidx].name);
	if (sl_addr_is4(&a->addr))
		ip_arp_send(sq, a->ifidx, 1, NULL, &a->addr, NULL, &a->addr);
	else
		ip_nd_announce(sq, a->ifidx, &a->addr);
}
