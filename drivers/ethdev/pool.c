/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pools of packets: last in, first out, and without gaps.
 *
 * What a pool's cache does not hold lies by default in a ring, first in, first out: so all buffers
 * of a pool take turns, and each one that comes is in no cache any more, however few are in use.
 * From a stack the same few come again and again. Where the platform has pools of its own (in
 * hardware), these stay.
 *
 * A packet pool keeps each buffer within one stretch of contiguous IO addresses. Without hugepages
 * such a stretch is a 4 KiB page, so a 2.3 KiB object is alone in its page. net_af_xdp registers
 * objects * object size bytes as its UMEM: buffers beyond that are refused by the kernel one by
 * one, and the queue runs dry. A pool for devices that see virtual addresses needs no such
 * stretches.
 */
#include <string.h>

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>

#include <sluice/driver.h>

static const char *pool_ops(void)
{
	const char *best = rte_mbuf_best_mempool_ops();

	return strcmp(best, "ring_mp_mc") == 0 ? "stack" : best;
}

static int fill(struct rte_mempool *mp, uint16_t room)
{
	struct rte_pktmbuf_pool_private priv = {.mbuf_data_room_size = room};
	int rc = rte_mempool_set_ops_byname(mp, pool_ops(), NULL);

	if (rc < 0) /* that driver is not there */
		rc = rte_mempool_set_ops_byname(mp, rte_mbuf_best_mempool_ops(), NULL);
	if (rc < 0)
		return rc;
	rte_pktmbuf_pool_init(mp, &priv);
	rc = rte_mempool_populate_default(mp);
	if (rc < 0)
		return rc;
	rte_mempool_obj_iter(mp, rte_pktmbuf_init, NULL);
	return 0;
}

struct rte_mempool *sluice_ethdev_pool(
    const char *name, unsigned int n, unsigned int cache, uint16_t room, int socket)
{
	struct rte_mempool *mp;
	int rc;

	if (rte_eal_has_hugepages()) {
		mp = rte_pktmbuf_pool_create_by_ops(name, n, cache, 0, room, socket, pool_ops());
		return mp != NULL ? mp : rte_pktmbuf_pool_create(name, n, cache, 0, room, socket);
	}
	mp = rte_mempool_create_empty(name, n, (unsigned int)sizeof(struct rte_mbuf) + room, cache,
	    sizeof(struct rte_pktmbuf_pool_private), socket,
	    RTE_MEMPOOL_F_NO_IOVA_CONTIG | RTE_MEMPOOL_F_NO_SPREAD);
	if (mp == NULL)
		return NULL;
	rc = fill(mp, room);
	if (rc < 0) {
		rte_mempool_free(mp);
		rte_errno = -rc;
		return NULL;
	}
	return mp;
}
