/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which squeue gets a connection's packets. A port with a queue for every squeue is believed:
 * packets arrive where its `steer` says, and only connections that TCP knows to live elsewhere are
 * forwarded. Ports with fewer queues, and delivery to ourselves, spread by a keyed hash of ours,
 * which sender and receiver compute alike.
 */
#include "ip_priv.h"

static bool by_software(const struct sluice_squeue *sq, unsigned int port)
{
	return port >= sq->nports || sq->port[port].info.nqueues < sq->stack->nsq;
}

unsigned int sl_steer(struct sluice_squeue *sq, unsigned int port, const struct sl_key *key)
{
	unsigned int nsq = sq->stack->nsq;
	const struct sluice_driver *d;
	int q;

	if (nsq == 1)
		return 0;
	if (!by_software(sq, port)) {
		struct sluice_addr from = sl_addr_zoned(key->raddr, 0),
				   to = sl_addr_zoned(key->laddr, 0);

		d = &sq->port[port].drv;
		q = d->ops->steer != NULL
			? d->ops->steer(d->ctx, &from, &to, key->rport, key->lport)
			: -1;
		if (q >= 0)
			return (unsigned int)q % nsq;
	}
	return (unsigned int)(sl_siphash13(&sq->stack->secret_table, key, sizeof(*key)) % nsq);
}

bool ip_elsewhere(struct sluice_squeue *sq, unsigned int port, const struct sl_key *key,
    bool forwarded, unsigned int *to)
{
	const struct sl_ip_hooks *h = sq->ip->hooks;
	int o = h->tcp_owner != NULL ? h->tcp_owner(sq, key) : -1;

	/* What was forwarded goes on only to one who is known to own it: a bound port may have its
	 * forwarding entry where our hash sends its packets. */
	if (o < 0 && forwarded)
		return false;
	if (o < 0)
		o = by_software(sq, port) ? (int)sl_steer(sq, port, key) : sq->id;
	*to = (unsigned int)o;
	return (unsigned int)o < sq->stack->nsq && (unsigned int)o != sq->id;
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
