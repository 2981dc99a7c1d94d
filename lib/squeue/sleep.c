/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How an idle squeue sleeps, and what wakes it: an entry, a packet that another squeue hands over,
 * a packet of a port that can tell, the next timer; and the end of the longest sleep, since squeue 0
 * asks for events of ports, and run() for its end.
 *
 * Producers. The sleeper says in `sleeping` that it sleeps, then looks for work; a producer makes its
 * entry, then looks whether somebody sleeps. Both pairs are sequentially consistent, so one of the
 * two sees the other (sl_sq_kick). Only one producer of many pays for the system call: who turns the
 * word to SL_SLEEP_NOT.
 *
 * Ports. A sleeper asks its ports to tell (arm), polls once more, since what came before is told by
 * nobody, and only then sleeps, now on descriptors: those of the ports and an eventfd. Ports stay
 * armed over sleeps that end for another reason, until there is work: an interrupt per packet of a
 * busy port would cost both sides. When one port cannot tell, or has too many descriptors, sleeps are
 * as short as squeue.idle_sleep says, and without any descriptor they are on the futex, which also
 * works where threads do not share their descriptors (sluice-run).
 */
#include "sq_priv.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

void sl_sq_wake(struct sluice_squeue *sq)
{
	uint32_t was = atomic_fetch_and(&sq->sleeping, SL_SLEEP_PARKED);
	uint32_t how = was & ~(uint32_t)SL_SLEEP_PARKED;
	struct sluice_squeue *keeper;

	if (how == SL_SLEEP_FUTEX)
		sl_futex(&sq->sleeping, FUTEX_WAKE, 1, UINT64_MAX);
	else if (how == SL_SLEEP_FDS_TOO)
		(void)eventfd_write(sq->priv->sleep.eventfd - 1, 1);
	if ((was & SL_SLEEP_PARKED) == 0)
		return;
	keeper = atomic_load(&sq->priv->keeper);
	if (keeper != NULL)
		sl_sq_kick(keeper);
}

/* All queues that this squeue polls of a port. */
static bool arm_port(struct sluice_squeue *sq, unsigned int port)
{
	const struct sluice_driver *d = &sq->port[port].drv;
	struct sl_sleep *s = &sq->priv->sleep;
	uint32_t was = s->nfds;

	for (unsigned int q = sq->id; q < sq->priv->nqueues[port];
	     q += sq->stack->params.nsqueues) {
		int n = -ENOTSUP;

		if (d->ops->arm != NULL)
			n = d->ops->arm(
			    d->ctx, (uint16_t)q, s->fd + s->nfds, SL_SLEEP_FDS - s->nfds);
		if (n < 0) {
			s->nfds = was;
			return false;
		}
		s->nfds += (uint32_t)n;
		s->ports |= 1ull << port;
	}
	return true;
}

static void ports_arm(struct sluice_squeue *sq)
{
	struct sl_sleep *s = &sq->priv->sleep;

	s->nfds = 0;
	s->ports = 0;
	s->all = true;
	s->armed = true;
	for (unsigned int port = 0; port < sq->nports; port++)
		s->all &= arm_port(sq, port);
	if (s->nfds > 0 && s->eventfd == 0)
		s->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) + 1;
	if (s->nfds > 0 && s->eventfd == 0) {
		s->nfds = 0;
		s->all = false;
	}
}

void sl_ports_disarm(struct sluice_squeue *sq)
{
	struct sl_sleep *s = &sq->priv->sleep;

	for (unsigned int port = 0; port < sq->nports; port++) {
		const struct sluice_driver *d = &sq->port[port].drv;

		if ((s->ports & 1ull << port) == 0 || d->ops->disarm == NULL)
			continue;
		for (unsigned int q = sq->id; q < sq->priv->nqueues[port];
		     q += sq->stack->params.nsqueues)
			d->ops->disarm(d->ctx, (uint16_t)q);
	}
	s->armed = false;
}

/* Sleep on the ports' descriptors; did one of them end it? */
static bool wait_fds(struct sluice_squeue *sq, uint64_t span)
{
	const struct sl_sleep *s = &sq->priv->sleep;
	struct timespec ts = {
	    .tv_sec = (time_t)(span / 1000000000), .tv_nsec = (long)(span % 1000000000)};
	struct pollfd p[SL_SLEEP_FDS + 1];
	bool packet = false;
	eventfd_t n;

	for (uint32_t i = 0; i < s->nfds; i++)
		p[i] = (struct pollfd){.fd = s->fd[i], .events = POLLIN};
	p[s->nfds] = (struct pollfd){.fd = s->eventfd - 1, .events = POLLIN};
	if (ppoll(p, s->nfds + 1, &ts, NULL) <= 0)
		return false;
	for (uint32_t i = 0; i < s->nfds; i++)
		packet |= p[i].revents != 0;
	if (p[s->nfds].revents != 0)
		(void)eventfd_read(s->eventfd - 1, &n);
	return packet;
}

static bool nothing_came(struct sluice_squeue *sq)
{
	return atomic_load(&sq->entries) == 0 && atomic_load(&sq->arrivals) == 0 &&
	       atomic_load(&sq->priv->fwd_pending) == 0 && !sl_wards_pending(sq);
}

void sl_idle_sleep(struct sluice_squeue *sq, uint64_t now)
{
	struct sl_sleep *s = &sq->priv->sleep;
	uint64_t next = sluice_squeue_next(sq), span;
	bool packet = false, alone;
	uint32_t word;

	if (next <= now)
		return;
	if (!s->armed) {
		ports_arm(sq);
		if (s->nfds > 0)
			return; /* polled once more first */
	}
	/* Queues of the squeues that it looks after do not tell. */
	alone = atomic_load_explicit(&sq->wards, memory_order_relaxed) == 0;
	span = s->all && alone ? sq->tun.sq_idle_max : sq->tun.sq_idle_sleep;
	if (next - now < span)
		span = next - now;
	word = s->nfds > 0 ? SL_SLEEP_FDS_TOO : SL_SLEEP_FUTEX;
	word |= atomic_fetch_or(&sq->sleeping, word);
	if (nothing_came(sq)) {
		SL_COUNT(sq, sq_sleeps);
		if (s->nfds > 0)
			packet = wait_fds(sq, span);
		else
			sl_futex(&sq->sleeping, FUTEX_WAIT, word, span);
	}
	if ((atomic_fetch_and(&sq->sleeping, SL_SLEEP_PARKED) & ~(uint32_t)SL_SLEEP_PARKED) ==
	    SL_SLEEP_NOT)
		SL_COUNT(sq, sq_wakeups);
	if (packet) {
		SL_COUNT(sq, sq_wakeups_rx);
		sl_ports_disarm(sq); /* and anew before the next sleep: this descriptor has told */
	}
}

void sl_sleep_fini(struct sluice_squeue *sq)
{
	if (sq->priv->sleep.eventfd > 0)
		close(sq->priv->sleep.eventfd - 1);
}
