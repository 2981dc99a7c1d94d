/* SPDX-License-Identifier: BSD-3-Clause */
/* ethdev, private: setup.c makes a port ready and finds out what it does, ethdev.c moves packets,
 * intr.c lets lcores sleep. */
#ifndef SL_DRIVERS_ETHDEV_H
#define SL_DRIVERS_ETHDEV_H

#include <sluice/driver.h>

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>

#define ETHDEV_KEY_LEN 40     /* Toeplitz over IPv6 addresses and ports uses no more */
#define ETHDEV_KEY_MAX 64     /* what a port may want */
#define ETHDEV_RETA_MAX 2048u /* entries */

/* Written by the queue's owner, read by anybody. */
struct ethdev_q {
	/* Packets the port cannot send: refused by prepare, too long to linearise */
	alignas(64) uint64_t tx_errors;
	uint64_t linearized;
	uint64_t nomem;  /* times that linearising had to wait for a buffer */
	bool no_cleanup; /* the port does not offer tx_done_cleanup */
	int epfd;        /* epoll instance with the queue's interrupt; 0: none */
};

struct ethdev {
	struct sluice_driver_ops ops;
	struct sluice_ethdev_params p; /* as created; its rss_key is in `key` */
	uint16_t port_id, nq, mtu;
	bool ours;         /* set up here, so destroy stops and closes it */
	bool allmulti_set; /* switched on here, so destroy switches it off on an adopted port */
	bool started;
	bool l3;
	/* The port hands over the sender's mbuf as it was: its transmit marks go off here */
	bool clean_rx;
	bool keeps; /* what it sent, until it sends more, and cannot be told to let go */
	bool callbacks;
	bool intr; /* each queue has an interrupt */
	uint32_t caps, tso_max;
	uint16_t seg_max; /* most mbufs of a chain, 0: no limit */
	struct rte_mempool *rx_pool;
	/* Where packets arrive; reta_size 0: unknown. */
	uint8_t key[ETHDEV_KEY_MAX];
	uint8_t key_len;
	uint16_t reta_size;
	uint16_t *reta;             /* as it was after start: the stack's idea of who owns what */
	pthread_mutex_t table_lock; /* the port's table, between spread and reset */
	bool down;                  /* being reset, under the lock */
	uint16_t *reta_now;         /* as it is: spread; relaxed atomics */
	uint64_t rss_hf;
	/* Set by the port's callbacks on any thread, taken by events(). */
	atomic_bool reset, removed;
	atomic_bool link_up; /* what was reported last */
	struct ethdev_q *q;
};

/** Configure, start; or look at what an adopted port has. Fills caps, mtu, steering. 0 or -errno.
 */
int ethdev_setup(struct ethdev *d, const struct sluice_ethdev_params *p);
/** The reset of the driver interface. */
int ethdev_reset(void *ctx);

/* intr.c: after the start, where interrupts were asked for; before the stop. */
void ethdev_intr_init(struct ethdev *d);
void ethdev_intr_fini(struct ethdev *d);
int ethdev_arm(void *ctx, uint16_t qid, int *fds, unsigned int max);
void ethdev_disarm(void *ctx, uint16_t qid);

#endif
