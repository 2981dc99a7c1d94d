/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receive interrupts, for lcores that sleep. Each queue has an epoll instance of its own with the
 * interrupt's descriptor in it: EAL takes the event off again as the port's driver wants it
 * (rte_epoll_wait), and whoever sleeps needs to know one descriptor only. It is edge-triggered: after
 * arm has taken off what stood there, the next packet makes it readable.
 *
 * With DPDK 22.11 net_vhost and net_virtio have them, and net_tap, whose descriptor tells without being
 * switched on; net_memif, net_af_xdp, net_af_packet, net_bonding, net_ring and net_null have none.
 */
#include "ethdev.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <rte_epoll.h>
#include <rte_interrupts.h>

void ethdev_intr_fini(struct ethdev *d)
{
	for (uint16_t q = 0; q < d->nq; q++) {
		if (d->q[q].epfd <= 0)
			continue;
		/* The stop looks for it in the instance. */
		if (d->intr)
			(void)rte_eth_dev_rx_intr_ctl_q(
			    d->port_id, q, d->q[q].epfd, RTE_INTR_EVENT_DEL, NULL);
		close(d->q[q].epfd);
		d->q[q].epfd = 0;
	}
	d->intr = false;
}

/* Asked for all the same, EAL would log an error. */
static bool has_none(const struct ethdev *d)
{
	static const char *const none[] = {"net_af_packet", "net_af_xdp", "net_bonding",
	    "net_memif", "net_null", "net_pcap", "net_ring"};
	struct rte_eth_dev_info info;

	if (rte_eth_dev_info_get(d->port_id, &info) != 0 || info.driver_name == NULL)
		return true;
	for (size_t i = 0; i < RTE_DIM(none); i++)
		if (strcmp(info.driver_name, none[i]) == 0)
			return true;
	return false;
}

void ethdev_intr_init(struct ethdev *d)
{
	if (has_none(d))
		return;
	for (uint16_t q = 0; q < d->nq; q++) {
		d->q[q].epfd = epoll_create1(EPOLL_CLOEXEC);
		if (d->q[q].epfd < 0 || rte_eth_dev_rx_intr_ctl_q(d->port_id, q, d->q[q].epfd,
					    RTE_INTR_EVENT_ADD, NULL) != 0) {
			ethdev_intr_fini(d);
			return;
		}
	}
	d->intr = true;
}

int ethdev_arm(void *ctx, uint16_t qid, int *fds, unsigned int max)
{
	struct ethdev *d = ctx;
	struct rte_epoll_event ev;
	int rc;

	if (!d->intr || max == 0)
		return -ENOTSUP;
	rc = rte_eth_dev_rx_intr_enable(d->port_id, qid);
	if (rc != 0 && rc != -ENOTSUP)
		return rc;
	while (rte_epoll_wait(d->q[qid].epfd, &ev, 1, 0) > 0)
		;
	fds[0] = d->q[qid].epfd;
	return 1;
}

void ethdev_disarm(void *ctx, uint16_t qid)
{
	struct ethdev *d = ctx;

	if (d->intr)
		(void)rte_eth_dev_rx_intr_disable(d->port_id, qid);
}
