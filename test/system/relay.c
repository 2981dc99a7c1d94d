/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * relay EAL-OPTIONS: a wire between DPDK ports 0 and 1, one queue each, until it is killed. What a
 * test kills and starts again between two stacks, to see what becomes of their connections.
 */
#include <stdio.h>
#include <sched.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#define BURST 32

static int set_up(uint16_t port, struct rte_mempool *mp)
{
	struct rte_eth_conf conf = {.rxmode.mq_mode = RTE_ETH_MQ_RX_NONE};

	return rte_eth_dev_configure(port, 1, 1, &conf) != 0 ||
	       rte_eth_rx_queue_setup(port, 0, 1024, SOCKET_ID_ANY, NULL, mp) != 0 ||
	       rte_eth_tx_queue_setup(port, 0, 1024, SOCKET_ID_ANY, NULL) != 0 ||
	       rte_eth_dev_start(port) != 0;
}

static unsigned int move(uint16_t from, uint16_t to)
{
	struct rte_mbuf *m[BURST];
	uint16_t n = rte_eth_rx_burst(from, 0, m, BURST);
	uint16_t sent = n > 0 ? rte_eth_tx_burst(to, 0, m, n) : 0;

	rte_pktmbuf_free_bulk(m + sent, n - sent);
	return n;
}

int main(int argc, char **argv)
{
	struct rte_mempool *mp;

	if (rte_eal_init(argc, argv) < 0)
		return 1;
	mp = rte_pktmbuf_pool_create("relay", 8191, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (mp == NULL || rte_eth_dev_count_avail() < 2 || set_up(0, mp) || set_up(1, mp))
		return 1;
	puts("ready");
	fflush(stdout);
	for (;;)
		if (move(0, 1) + move(1, 0) == 0)
			sched_yield();
}
