/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which squeue gets a connection's packets, when they may arrive at any.
 *
 * Each tuple has one *place*, a function of the tuple and of the port's kind alone, which every squeue
 * computes alike and nobody has to remember:
 *	known	the port has a queue for every squeue and says at which one a tuple arrives: there
 *	soft	the port has fewer queues than squeues, cannot say (no key, no table, or nothing about
 *		this protocol), or the packet comes from ourselves: by a keyed hash of our own
 * A packet belongs to the squeue whose table knows its connection; one that the table of the squeue
 * where it arrives does not know goes to the tuple's place; and what was handed over once is handed
 * on only by a forwarding entry. Active opens choose ports whose place is their own squeue, eagers
 * are made at the place, and whoever lives elsewhere (a bound port, a moved connection) has a
 * forwarding entry there. So nothing that a port does can lose a connection: not a key that it
 * reports and does not use, not steering that changes, not two queues that share a flow. It only
 * costs forwarding, and each cause has its counter.
 *
 * The place is asked for only when the table is at a loss. Where steering is right that is once per
 * connection that comes from outside.
 *
 * Fragments are spread by ports after rules of their own, if any. On a port of several queues they
 * meet at a squeue that follows from addresses and ID, and go on from there when they are whole.
 */
#include "ip_priv.h"

/* The port's queue at which packets of this tuple arrive, -1: nobody can tell. Now: as long as some
 * squeues are parked, of which the place knows nothing. */
static int known_queue(
    struct sluice_squeue *sq, unsigned int port, const struct sl_key *key, bool now)
{
	struct sluice_addr from = sl_addr_zoned(key->raddr, 0), to = sl_addr_zoned(key->laddr, 0);
	const struct sluice_driver *d;

	if (port >= sq->nports)
		return -1;
	d = &sq->port[port].drv;
	if (sq->port[port].info.nqueues < sq->stack->nsq || d->ops->steer == NULL)
		return -1;
	return now && d->ops->arrives != NULL
		   ? d->ops->arrives(d->ctx, &from, &to, key->rport, key->lport)
		   : d->ops->steer(d->ctx, &from, &to, key->rport, key->lport);
}

static unsigned int place(
    struct sluice_squeue *sq, unsigned int port, const struct sl_key *key, int *queue)
{
	unsigned int nsq = sq->stack->nsq;

	*queue = known_queue(sq, port, key, false);
	if (*queue >= 0)
		return (unsigned int)*queue % nsq;
	return (unsigned int)(sl_siphash13(&sq->stack->secret_table, key, sizeof(*key)) % nsq);
}

unsigned int sl_steer(struct sluice_squeue *sq, unsigned int port, const struct sl_key *key)
{
	int queue;

	return sq->stack->nsq == 1 ? 0 : place(sq, port, key, &queue);
}

unsigned int sl_flow_steer(
    struct sluice_squeue *sq, const struct sl_flow *f, const struct sl_key *key)
{
	/* What we send to ourselves comes back by no port, whatever interface has the address. */
	return sl_steer(sq,
	    f->state == SL_FLOW_LOCAL ? SL_IP_PORT_NONE : sl_ip_cfg(sq)->ifs[f->ifidx].port, key);
}

unsigned int sl_flow_queues(struct sluice_squeue *sq, const struct sl_flow *f)
{
	unsigned int port =
	    f->state == SL_FLOW_LOCAL ? SL_IP_PORT_NONE : sl_ip_cfg(sq)->ifs[f->ifidx].port;

	return port < sq->nports ? sq->port[port].info.nqueues : 0;
}

int sl_flow_arrives(struct sluice_squeue *sq, const struct sl_flow *f, const struct sl_key *key)
{
	int queue = f->state == SL_FLOW_LOCAL
			? -1
			: known_queue(sq, sl_ip_cfg(sq)->ifs[f->ifidx].port, key, true);

	return queue < 0 ? -1 : (int)((unsigned int)queue % sq->stack->nsq);
}

int64_t sl_steer_show(struct sluice_squeue *sq, unsigned int port, const struct sl_key *key)
{
	const struct sl_ip_hooks *h = sq->ip->hooks;
	int owner = h->tcp_owner != NULL ? h->tcp_owner(sq, key) : -1, queue;

	owner = owner < SL_OWNER_LATE ? owner : owner - SL_OWNER_LATE;
	unsigned int to = place(sq, port, key, &queue);

	return SL_STEER_SHOWN(owner, to, queue);
}

uint64_t *ip_elsewhere(struct sluice_squeue *sq, unsigned int port, const struct sl_key *key,
    bool forwarded, unsigned int *to)
{
	const struct sl_ip_hooks *h = sq->ip->hooks;
	int o = h->tcp_owner != NULL ? h->tcp_owner(sq, key) : -1, queue;
	uint64_t *cause = &sq->ctr.steer_owner;

	if (SL_UNLIKELY(o >= SL_OWNER_LATE)) {
		o -= SL_OWNER_LATE;
		SL_COUNT(sq, sq_moves_late);
	}
	*to = (unsigned int)o;
	if (o < 0) {
		if (forwarded)
			return NULL;
		*to = place(sq, port, key, &queue);
		cause = queue < 0 ? &sq->ctr.steer_soft : &sq->ctr.steer_wrong;
	}
	return *to < sq->stack->nsq && *to != sq->id ? cause : NULL;
}

bool ip_frag_elsewhere(struct ip_in *in, const struct ip_pkt *p, uint32_t id)
{
	struct sluice_squeue *sq = in->sq;
	struct {
		struct sluice_addr src, dst;
		uint32_t id, vrf;
	} k = {p->src, p->dst, id, p->vrf};
	unsigned int to;

	/* One queue: they all arrive here. */
	if (sq->stack->nsq == 1 || in->forwarded || p->reasm || in->port >= sq->nports ||
	    sq->port[in->port].info.nqueues == 1)
		return false;
	to = (unsigned int)(sl_siphash13(&sq->stack->secret_table, &k, sizeof(k)) % sq->stack->nsq);
	if (to == sq->id)
		return false;
	ip_forward(in, p, to, &sq->ctr.steer_frag);
	return true;
}

/* ARP and ND teach every squeue its neighbours; only the one that received them answers. */
void ip_copy_to_others(struct sluice_squeue *sq, unsigned int port, const struct rte_mbuf *m)
{
	for (unsigned int i = 0; i < sq->stack->nsq; i++) {
		struct rte_mbuf *c;

		if (i == sq->id)
			continue;
		c = rte_pktmbuf_copy(m, ip_data_pool(sq), 0, UINT32_MAX);
		if (c == NULL) {
			SL_COUNT(sq, port_tx_nomem);
			continue;
		}
		c->packet_type = 0;
		sl_forward(sq, i, port, c);
	}
}
