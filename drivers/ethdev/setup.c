/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making a DPDK port ready. What we would like is asked for as far as the port says that it offers
 * it; ports that then refuse all the same are asked again for less, in the order of what is missed
 * least: receive interrupts, the RSS key (some take none), LRO, TSO, checksums. Whatever is not in force in the end is
 * not among the capabilities, and the stack does it in software.
 */
#include "ethdev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <rte_errno.h>
#include <rte_mbuf.h>

#define ETHDEV_DESC 1024
#define ETHDEV_RX_CKSUM (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM)
#define ETHDEV_TX_CKSUM (RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM)
#define ETHDEV_RSS_HF                                                                   \
	(RTE_ETH_RSS_IP | RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP | \
	    RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP)
/* Payload of one TSO packet: 64 KiB with room for headers, as network cards limit the whole packet.
 */
#define ETHDEV_TSO_MAX 65280u

/* What is given up step by step when a port refuses its configuration. */
enum ethdev_ask {
	ASK_ALL,
	ASK_NO_INTR,
	ASK_NO_KEY,
	ASK_NO_LRO,
	ASK_NO_TSO,
	ASK_NO_CKSUM,
	ASK_END
};

static void ethdev_want(const struct ethdev *d, const struct sluice_ethdev_params *p,
    const struct rte_eth_dev_info *info, enum ethdev_ask ask, struct rte_eth_conf *c)
{
	uint64_t rx = RTE_ETH_RX_OFFLOAD_SCATTER, tx = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;

	memset(c, 0, sizeof(*c));
	/* Chains cost the port no work of its own: they stay with no_offload too. */
	if (!p->no_offload) {
		if (ask < ASK_NO_CKSUM) {
			rx |= ETHDEV_RX_CKSUM;
			tx |= ETHDEV_TX_CKSUM;
		}
		if (ask < ASK_NO_TSO && (info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_TCP_CKSUM))
			tx |= RTE_ETH_TX_OFFLOAD_TCP_TSO;
		if (ask < ASK_NO_LRO && p->lro)
			rx |= RTE_ETH_RX_OFFLOAD_TCP_LRO;
		tx |= RTE_ETH_TX_OFFLOAD_VLAN_INSERT;
	}
	c->rxmode.offloads = rx & info->rx_offload_capa;
	c->txmode.offloads = tx & info->tx_offload_capa;
	if (c->rxmode.offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO)
		c->rxmode.max_lro_pkt_size = info->max_lro_pkt_size;
	c->rxmode.mtu = p->mtu;
	if (info->dev_flags && (*info->dev_flags & RTE_ETH_DEV_INTR_LSC))
		c->intr_conf.lsc = 1;
	if (info->dev_flags && (*info->dev_flags & RTE_ETH_DEV_INTR_RMV))
		c->intr_conf.rmv = 1;
	c->intr_conf.rxq = p->rx_intr && ask < ASK_NO_INTR;
	if (d->nq > 1 && (info->flow_type_rss_offloads & ETHDEV_RSS_HF)) {
		c->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		c->rx_adv_conf.rss_conf.rss_hf = info->flow_type_rss_offloads & ETHDEV_RSS_HF;
		if (ask < ASK_NO_KEY) {
			c->rx_adv_conf.rss_conf.rss_key = (uint8_t *)(uintptr_t)d->key;
			c->rx_adv_conf.rss_conf.rss_key_len = d->key_len;
		}
	}
}

static int ethdev_make_key(
    struct ethdev *d, const uint8_t *key, const struct rte_eth_dev_info *info)
{
	d->key_len = info->hash_key_size ? info->hash_key_size : ETHDEV_KEY_LEN;
	if (d->key_len > ETHDEV_KEY_MAX)
		d->key_len = ETHDEV_KEY_MAX;
	if (getrandom(d->key, sizeof(d->key), 0) != sizeof(d->key))
		return -EIO;
	if (key)
		memcpy(d->key, key, ETHDEV_KEY_LEN);
	return 0;
}

static int ethdev_queues(struct ethdev *d, const struct sluice_ethdev_params *p,
    const struct rte_eth_dev_info *info, const struct rte_eth_conf *c)
{
	struct rte_eth_rxconf rxc = info->default_rxconf;
	struct rte_eth_txconf txc = info->default_txconf;
	uint16_t rxd = p->rxd ? p->rxd : ETHDEV_DESC, txd = p->txd ? p->txd : ETHDEV_DESC;
	int socket = rte_eth_dev_socket_id(d->port_id), rc;

	if (socket < 0)
		socket = SOCKET_ID_ANY;
	rc = rte_eth_dev_adjust_nb_rx_tx_desc(d->port_id, &rxd, &txd);
	if (rc)
		return rc;
	rxc.offloads = c->rxmode.offloads;
	txc.offloads = c->txmode.offloads;
	for (uint16_t q = 0; q < d->nq; q++) {
		rc = rte_eth_rx_queue_setup(
		    d->port_id, q, rxd, (unsigned int)socket, &rxc, p->rx_pool);
		if (!rc)
			rc = rte_eth_tx_queue_setup(d->port_id, q, txd, (unsigned int)socket, &txc);
		if (rc)
			return rc;
	}
	return 0;
}

static int ethdev_start(
    struct ethdev *d, const struct sluice_ethdev_params *p, const struct rte_eth_dev_info *info)
{
	struct rte_eth_conf c;
	int rc = -EINVAL;

	for (int ask = ASK_ALL; ask < ASK_END && rc; ask++) {
		ethdev_want(d, p, info, ask, &c);
		rc = rte_eth_dev_configure(d->port_id, d->nq, d->nq, &c);
		if (rc == -EBUSY || rc == -ENODEV)
			return rc;
		if (rc)
			continue;
		if (p->mtu) {
			rc = rte_eth_dev_set_mtu(d->port_id, p->mtu);
			/* A port without a notion of it carries what it is given. */
			if (rc && rc != -ENOTSUP)
				return rc;
		}
		rc = ethdev_queues(d, p, info, &c);
		if (!rc)
			rc = rte_eth_dev_start(d->port_id);
	}
	d->started = !rc;
	return rc;
}

/* Neighbour discovery comes to multicast addresses that follow from ours: all of them, or the port
 * would need a list. */
static void ethdev_multicast(struct ethdev *d)
{
	if (d->l3 || rte_eth_promiscuous_get(d->port_id) == 1 ||
	    rte_eth_allmulticast_get(d->port_id) == 1)
		return;
	if (rte_eth_allmulticast_enable(d->port_id) == 0)
		d->allmulti_set = true;
	else if (d->ours)
		rte_eth_promiscuous_enable(d->port_id);
}

/* Offloads in force: of the port, and of its first queue. */
static void ethdev_offloads(
    const struct ethdev *d, const struct rte_eth_conf *c, uint64_t *rx, uint64_t *tx)
{
	struct rte_eth_rxq_info ri;
	struct rte_eth_txq_info ti;

	*rx = c->rxmode.offloads;
	*tx = c->txmode.offloads;
	if (rte_eth_rx_queue_info_get(d->port_id, 0, &ri) == 0)
		*rx |= ri.conf.offloads;
	if (rte_eth_tx_queue_info_get(d->port_id, 0, &ti) == 0)
		*tx |= ti.conf.offloads;
}

static void ethdev_caps(struct ethdev *d, const struct sluice_ethdev_params *p,
    const struct rte_eth_dev_info *info, uint64_t rx, uint64_t tx)
{
	const char *drv = info->driver_name ? info->driver_name : "";
	bool xdp = !strcmp(drv, "net_af_xdp"), tap = !strcmp(drv, "net_tap");

	d->caps = d->l3 ? SLUICE_CAP_L3 : 0;
	/* net_af_xdp sends the first segment's own memory, whatever the mbuf says. */
	if (!xdp)
		d->caps |= SLUICE_CAP_TX_INDIRECT;
	if ((tx & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) && !xdp)
		d->caps |= SLUICE_CAP_TX_MULTISEG;
	if (rx & RTE_ETH_RX_OFFLOAD_TCP_LRO)
		d->caps |= SLUICE_CAP_RX_LRO;
	d->clean_rx = !strcmp(drv, "net_ring");

	if (p->no_offload)
		return;
	if ((rx & ETHDEV_RX_CKSUM) == ETHDEV_RX_CKSUM)
		d->caps |= SLUICE_CAP_RX_CKSUM;
	if (tx & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM)
		d->caps |= SLUICE_CAP_TX_IP4_CKSUM;
	/*
	 * Not on net_tap, which sums in software, part by part of a chain: wrongly behind a part of
	 * odd length. It also segments in software, with limits of its own, and a packet beyond
	 * them stays at the head of its queue for ever.
	 */
	if ((tx & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) && !tap)
		d->caps |= SLUICE_CAP_TX_L4_CKSUM;
	if ((tx & RTE_ETH_TX_OFFLOAD_VLAN_INSERT) && !d->l3)
		d->caps |= SLUICE_CAP_TX_VLAN;
	if ((tx & RTE_ETH_TX_OFFLOAD_TCP_TSO) && (tx & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) && !tap) {
		d->caps |= SLUICE_CAP_TX_TSO;
		d->tso_max = ETHDEV_TSO_MAX;
	}
}

/* Key and table as the port has them now; without either, packets arrive where nobody can tell. */
static int ethdev_rss(
    struct ethdev *d, const struct rte_eth_dev_info *info, const struct rte_eth_conf *c)
{
	struct rte_eth_rss_reta_entry64 r[ETHDEV_RETA_MAX / RTE_ETH_RETA_GROUP_SIZE];
	struct rte_eth_rss_conf conf = {.rss_key = d->key, .rss_key_len = sizeof(d->key)};
	uint16_t size = info->reta_size;

	if (d->nq < 2 || !size || size > ETHDEV_RETA_MAX ||
	    !(c->rxmode.mq_mode & RTE_ETH_MQ_RX_RSS_FLAG))
		return 0;
	if (info->hash_key_size > sizeof(d->key) ||
	    rte_eth_dev_rss_hash_conf_get(d->port_id, &conf) ||
	    (conf.rss_key_len && conf.rss_key_len < ETHDEV_KEY_LEN))
		return 0;
	memset(r, 0, sizeof(r));
	for (uint16_t i = 0; i < size; i += RTE_ETH_RETA_GROUP_SIZE)
		r[i / RTE_ETH_RETA_GROUP_SIZE].mask = UINT64_MAX;
	if (rte_eth_dev_rss_reta_query(d->port_id, r, size))
		return 0;
	d->reta = calloc(size, sizeof(d->reta[0]));
	d->reta_now = calloc(size, sizeof(d->reta_now[0]));
	if (!d->reta || !d->reta_now)
		return -ENOMEM;
	for (uint16_t i = 0; i < size; i++)
		d->reta[i] = d->reta_now[i] =
		    r[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE];
	d->reta_size = size;
	d->rss_hf = conf.rss_hf;
	return 0;
}

/* Ports that cannot be told to let go, other than those that have copied or handed on a packet when tx
 * returns. */
static bool ethdev_keeps(const struct ethdev *d, const struct rte_eth_dev_info *info)
{
	static const char *const at_once[] = {"net_af_packet", "net_memif", "net_null", "net_pcap",
	    "net_ring", "net_tap", "net_vhost"};

	for (size_t i = 0; i < RTE_DIM(at_once); i++)
		if (info->driver_name != NULL && strcmp(info->driver_name, at_once[i]) == 0)
			return false;
	return rte_eth_tx_done_cleanup(d->port_id, 0, 0) == -ENOTSUP;
}

static int ethdev_find_pool(struct ethdev *d, struct rte_mempool *pool)
{
	struct rte_eth_rxq_info ri;

	d->rx_pool = pool;
	/* Some drivers do not say; then copies come from the pool of the packet itself. */
	if (!pool && rte_eth_rx_queue_info_get(d->port_id, 0, &ri) == 0)
		d->rx_pool = ri.mp;
	return 0;
}

int ethdev_setup(struct ethdev *d, const struct sluice_ethdev_params *p)
{
	struct rte_eth_dev_info info;
	struct rte_eth_conf conf;
	uint64_t rx, tx;
	uint16_t mtu;
	int rc = rte_eth_dev_info_get(d->port_id, &info);

	if (rc)
		return rc;
	if (d->ours) {
		if (d->nq > info.max_rx_queues || d->nq > info.max_tx_queues)
			return -EINVAL;
		rc = ethdev_make_key(d, p->rss_key, &info);
		if (!rc)
			rc = ethdev_start(d, p, &info);
	} else if (d->nq > info.nb_rx_queues || d->nq > info.nb_tx_queues) {
		rc = -EINVAL;
	}
	if (!rc)
		rc = rte_eth_dev_info_get(d->port_id, &info);
	if (!rc)
		rc = rte_eth_dev_conf_get(d->port_id, &conf);
	if (!rc)
		rc = rte_eth_dev_get_mtu(d->port_id, &mtu);
	if (rc)
		return rc;
	d->mtu = p->mtu && (d->ours || p->mtu < mtu) ? p->mtu : mtu;
	d->seg_max = info.tx_desc_lim.nb_seg_max == UINT16_MAX ? 0 : info.tx_desc_lim.nb_seg_max;
	ethdev_offloads(d, &conf, &rx, &tx);
	ethdev_caps(d, p, &info, rx, tx);
	d->keeps = ethdev_keeps(d, &info);
	ethdev_multicast(d);
	ethdev_find_pool(d, p->rx_pool);
	return ethdev_rss(d, &info, &conf);
}

/* The table as it was: a tuple's place must not change. Where the port does not take it, packets arrive
 * elsewhere than steer says, and are handed on. */
static void ethdev_reta_again(struct ethdev *d)
{
	struct rte_eth_rss_reta_entry64 r[ETHDEV_RETA_MAX / RTE_ETH_RETA_GROUP_SIZE];

	if (!d->reta_size)
		return;
	for (uint16_t i = 0; i < d->reta_size; i++) {
		r[i / RTE_ETH_RETA_GROUP_SIZE].mask = UINT64_MAX;
		r[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] = d->reta_now[i];
	}
	(void)rte_eth_dev_rss_reta_update(d->port_id, r, d->reta_size);
}

int ethdev_reset(void *ctx)
{
	struct ethdev *d = ctx;
	struct rte_eth_dev_info info;
	int rc;

	pthread_mutex_lock(&d->table_lock);
	d->down = true;
	pthread_mutex_unlock(&d->table_lock);
	ethdev_intr_fini(d);
	if (d->started)
		rte_eth_dev_stop(d->port_id);
	d->started = false;
	/* Ports that ask for it need it; for others the stop is all there is. */
	rc = rte_eth_dev_reset(d->port_id);
	if (rc && rc != -ENOTSUP)
		return rc;
	rc = rte_eth_dev_info_get(d->port_id, &info);
	if (!rc)
		rc = ethdev_start(d, &d->p, &info);
	if (rc)
		return rc;
	for (uint16_t q = 0; q < d->nq; q++)
		d->q[q].no_cleanup = false;
	ethdev_multicast(d);
	pthread_mutex_lock(&d->table_lock);
	ethdev_reta_again(d);
	d->down = false;
	pthread_mutex_unlock(&d->table_lock);
	if (d->p.rx_intr)
		ethdev_intr_init(d);
	return 0;
}
