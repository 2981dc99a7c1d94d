/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets: the big picture.
 *
 * A socket is the upper half of a connection, as the socket layer is above the seed's TCP. The
 * connection's squeue makes upcalls; threads make calls; between the two stand a few words that
 * both sides change with single atomic operations, and no lock:
 *
 *	state	what the socket is (enum sl_so_state)
 *	rx_in	chains that the squeue took off the connection for us (recv.c)
 *	acc_in	connections that a listener's handshakes have made (accept.c)
 *	rx, tx	where threads sleep until there is something to read, or room to write (wait.c)
 *	watches	epoll instances that want to hear of changes (poll.c)
 *
 * Locks are taken by threads only, among themselves: so that two readers share one stream in order
 * (rx_lock), and who changes watches (watch_lock, struct sl_ep.lock). A squeue that runs a socket
 * call of its own lcore only tries them.
 *
 * Receiving: the recv upcall takes all that is readable and hands it over. At SO_RCVBUF it takes
 * nothing, says "no space" and TCP closes the window; the reader that has brought the queue down to
 * half rings clr_flowctrl, and the upcall comes again. So a socket holds at most two receive
 * buffers, one below and one above.
 *
 * Sending copies in the caller's thread and leaves the chain in the connection's inbox. Room is
 * told by txq_full(false), which comes only after somebody was refused, or asked for it.
 *
 * Life: the memory of a socket is type-stable (base/tpool.h), a descriptor is its index. The
 * descriptor, the connection and each call under way hold a reference; close() takes the bit OPEN
 * away, so that no new call finds it, and wakes those that sleep. The connection lets go with its
 * `closed` upcall: until then the descriptor's number is not given out again.
 */
#include <posix/so.h>

#include <errno.h>
#include <stdlib.h>

/* ---- upcalls ---- */

static void up_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	struct sl_so *so = arg;

	sl_so_set(so, SL_SO_CONNECTED);
	sl_so_clear(so, SL_SO_CONNECTING);
	sl_wq_wake(&so->tx);
	sl_so_notify(so, EPOLLOUT);
}

static void up_disconnected(void *arg, sluice_conn_t c, int err)
{
	struct sl_so *so = arg;

	uint32_t s = sl_so_state(so);

	/* As Linux: after the peer's FIN its RST says that it took no more. */
	if (err == ECONNRESET && (s & SL_SO_FIN))
		err = EPIPE;
	if (err != 0)
		atomic_store_explicit(&so->error, err, memory_order_release);
	sl_so_set(so, SL_SO_DEAD | SL_SO_EOF | (s & SL_SO_TOLD ? 0 : SL_SO_FAILED));
	sl_so_clear(so, SL_SO_CONNECTING | SL_SO_FULL | SL_SO_ROOM);
	if (SL_UNLIKELY(sl_so_state(so) & SL_SO_DEFERRED)) {
		sl_so_undefer(so, false); /* nobody has seen it */
		return;
	}
	sl_wq_wake(&so->rx);
	sl_wq_wake(&so->tx);
	sl_so_notify(so, EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLRDHUP | (err != 0 ? EPOLLERR : 0));
}

/* All that the connection has to read is the socket's. */
static void take(struct sl_so *so, sluice_conn_t c)
{
	struct rte_mbuf *m;
	ssize_t len = sluice_take(so->st, c, SIZE_MAX, &m);

	if (len > 0)
		sl_so_rx_push(so, m, (uint32_t)len);
}

/*
 * Data for a socket that is shut both ways: nobody will read it, and the peer must not believe that
 * somebody did (RFC 1122 4.2.2.13). As with Linux a reset, and an error here.
 */
static bool rejected(struct sl_so *so, sluice_conn_t c)
{
	static const struct sluice_args none;
	uint32_t both = SL_SO_RD_SHUT | SL_SO_WR_SHUT;

	if (SL_LIKELY((sl_so_state(so) & both) != both) || sluice_readable(so->st, c) <= 0)
		return false;
	return sl_conn_post(so->st, SL_OP_RESET, c, &none) == 0;
}

static void up_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	struct sl_so *so = arg;

	if (op == SLUICE_OPCTL_LINGERED)
		sl_wq_wake(&so->tx); /* a close that waits */
	if (op != SLUICE_OPCTL_SHUT_RECV)
		return;
	if (rejected(so, c))
		return;
	take(so, c); /* there is no recv upcall after this one */
	sl_so_set(so, SL_SO_EOF | SL_SO_FIN);
	if (SL_UNLIKELY(sl_so_state(so) & SL_SO_DEFERRED))
		sl_so_undefer(so, true);
	sl_wq_wake(&so->rx);
	/* HUP: when the other direction is shut too. */
	sl_so_notify(so, EPOLLIN | EPOLLRDHUP | EPOLLHUP);
}

static int up_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	if (rejected(arg, c))
		return 0;
	if (!sl_so_rx_space(arg))
		return -ENOSPC;
	take(arg, c);
	if (SL_UNLIKELY(sl_so_state(arg) & SL_SO_DEFERRED))
		sl_so_undefer(arg, true);
	return 0;
}

static void up_txq_full(void *arg, sluice_conn_t c, bool full)
{
	struct sl_so *so = arg;

	if (full) {
		sl_so_set(so, SL_SO_FULL);
		return;
	}
	sl_so_clear(so, SL_SO_FULL | SL_SO_ROOM);
	sl_wq_wake(&so->tx);
	sl_so_notify(so, EPOLLOUT);
}

static void up_signal_oob(void *arg, sluice_conn_t c, size_t mark)
{
	struct sl_so *so = arg;

	/* As Linux: an urgent byte that a reader stands before is lost when the next one is announced;
	 * one that is further off becomes part of the stream. */
	if (sl_so_at_urgent(so)) {
		atomic_store_explicit(&so->skip_at,
		    atomic_load_explicit(&so->urgent, memory_order_relaxed), memory_order_relaxed);
		sl_so_set(so, SL_SO_SKIP);
	}
	atomic_store_explicit(&so->urgent,
	    atomic_load_explicit(&so->rx_pushed, memory_order_relaxed) + mark,
	    memory_order_relaxed);
	sl_so_clear(so, SL_SO_OOB_READ);
	sl_so_set(so, SL_SO_OOB);
	sl_wq_wake(&so->rx);
	sl_so_notify(so, EPOLLPRI);
}

static void up_zcopy_notify(void *arg, sluice_conn_t c, void *cookie)
{
	sl_so_zc_notify(arg, cookie);
}

static void up_props(void *arg, sluice_conn_t c, size_t sndbuf, size_t rcvbuf, uint32_t mss)
{
	struct sl_so *so = arg;

	atomic_store_explicit(&so->rcvbuf, (uint32_t)rcvbuf, memory_order_relaxed);
}

static void up_closed(void *arg, sluice_conn_t c)
{
	struct sl_so *so = arg;

	/* Not of an earlier try to connect. */
	if (c == atomic_load_explicit(&so->conn, memory_order_relaxed))
		sl_so_set(so, SL_SO_DEAD);
	sl_wq_wake(&so->tx); /* a close that lingers */
	sl_so_put(so);
}

const struct sluice_upcalls sl_so_upcalls = {
    .size = sizeof(sl_so_upcalls),
    .newconn = sl_so_newconn,
    .connected = up_connected,
    .disconnected = up_disconnected,
    .opctl = up_opctl,
    .recv = up_recv,
    .txq_full = up_txq_full,
    .signal_oob = up_signal_oob,
    .zcopy_notify = up_zcopy_notify,
    .set_proto_props = up_props,
    .closed = up_closed,
};

/* ---- life ---- */

struct sl_so *sl_so_new(struct sluice_stack *st)
{
	uint32_t idx;
	struct sl_so *so = sl_tpool_alloc(&sl_posix_of(st)->sos, &idx);

	if (so == NULL)
		return NULL;
	SL_CHECK(atomic_load(&so->life) == 0);
	so->idx = idx;
	so->st = st;
	atomic_store_explicit(&so->state, 0, memory_order_relaxed);
	atomic_store_explicit(&so->conn, SLUICE_CONN_NONE, memory_order_relaxed);
	atomic_store_explicit(&so->error, 0, memory_order_relaxed);
	atomic_store_explicit(&so->watches, 0, memory_order_relaxed);
	atomic_store_explicit(&so->rx_in, 0, memory_order_relaxed);
	atomic_store_explicit(&so->rx_pushed, 0, memory_order_relaxed);
	atomic_store_explicit(&so->rx_charge, 0, memory_order_relaxed);
	atomic_store_explicit(&so->rx_read, 0, memory_order_relaxed);
	atomic_store_explicit(&so->accepted_n, 0, memory_order_relaxed);
	atomic_store_explicit(&so->acc_in, 0, memory_order_relaxed);
	atomic_store_explicit(&so->rcvbuf,
	    (uint32_t)__atomic_load_n(&st->tun.tcp_rcvbuf, __ATOMIC_RELAXED), memory_order_relaxed);
	atomic_store_explicit(&so->rcvlowat, 1, memory_order_relaxed);
	atomic_store_explicit(&so->rcvtimeo, 0, memory_order_relaxed);
	atomic_store_explicit(&so->sndtimeo, 0, memory_order_relaxed);
	atomic_store_explicit(&so->kept, 0, memory_order_relaxed);
	for (int i = 0; i < SL_SON_COUNT; i++)
		atomic_store_explicit(&so->number[i], 0, memory_order_relaxed);
	atomic_store_explicit(&so->busy_poll, 0, memory_order_relaxed);
	atomic_store_explicit(&so->defer, 0, memory_order_relaxed);
	atomic_store_explicit(&so->zc_next, 0, memory_order_relaxed);
	atomic_store_explicit(&so->zc_ready, 0, memory_order_relaxed);
	atomic_store_explicit(&so->zc_done, 0, memory_order_relaxed);
	so->zc_head = NULL;
	so->rx_head = so->rx_last = NULL;
	so->rx_off = 0;
	so->acc_head = so->acc_next = 0;
	so->listener = SLUICE_CONN_NONE;
	so->vrf = 0;
	pthread_mutex_init(&so->rx_lock, NULL);
	pthread_mutex_init(&so->watch_lock, NULL);
	atomic_store_explicit(&so->life, SL_SO_OPEN | 1, memory_order_release);
	return so;
}

struct sl_so *sl_so_get(struct sluice_stack *st, int fd)
{
	struct sl_so *so = fd < 0 ? NULL : sl_tpool_get(&sl_posix_of(st)->sos, (uint32_t)fd + 1);
	uint32_t life;

	if (so == NULL)
		return NULL;
	life = atomic_load_explicit(&so->life, memory_order_relaxed);
	do {
		if (!(life & SL_SO_OPEN))
			return NULL;
	} while (!atomic_compare_exchange_weak_explicit(
	    &so->life, &life, life + 1, memory_order_acquire, memory_order_relaxed));
	return so;
}

void sl_so_ref(struct sl_so *so)
{
	atomic_fetch_add_explicit(&so->life, 1, memory_order_relaxed);
}

void sl_so_put(struct sl_so *so)
{
	if (atomic_fetch_sub_explicit(&so->life, 1, memory_order_acq_rel) != 1)
		return;
	sl_so_rx_free(so);
	sl_so_zc_free(so);
	sl_so_watch_free(so);
	pthread_mutex_destroy(&so->rx_lock);
	pthread_mutex_destroy(&so->watch_lock);
	sl_tpool_free(&sl_posix_of(so->st)->sos, so->idx);
}

bool sl_so_end(struct sl_so *so)
{
	return (atomic_fetch_and_explicit(&so->life, ~SL_SO_OPEN, memory_order_acq_rel) &
		   SL_SO_OPEN) != 0;
}

bool sl_so_may_wait(const struct sl_so *so, int flags)
{
	return !(flags & MSG_DONTWAIT) && !(sl_so_state(so) & SL_SO_NONBLOCK) && !sl_thread_polls();
}

int sl_so_take_error(struct sl_so *so)
{
	if (SL_LIKELY(atomic_load_explicit(&so->error, memory_order_relaxed) == 0))
		return 0;
	return -atomic_exchange_explicit(&so->error, 0, memory_order_acq_rel);
}

/* ---- of a stack ---- */

int sl_posix_create(struct sluice_stack *st)
{
	struct sl_posix *p = calloc(1, sizeof(*p));
	uint32_t max = (uint32_t)st->tun.sock_max;

	if (p == NULL)
		return -ENOMEM;
	st->posix = p;
	if (sl_tpool_init(&p->sos, sizeof(struct sl_so), max, &st->mem) < 0 ||
	    sl_tpool_init(&p->watches, sizeof(struct sl_watch), 2 * max, &st->mem) < 0 ||
	    sl_tpool_init(&p->eps, sizeof(struct sl_ep), (uint32_t)st->tun.sock_epolls, &st->mem) <
		0)
		return -ENOMEM;
	return 0;
}

uint64_t sl_posix_destroy(struct sluice_stack *st)
{
	struct sl_posix *p = sl_posix_of(st);
	uint64_t open = 0;
	struct sl_so *so;
	struct sl_ep *ep;

	if (p == NULL)
		return 0;
	/* Their connections have gone with `closed`: what is left is held by its descriptor. */
	for (uint32_t i = 1; i <= p->sos.max_chunks * SL_TPOOL_CHUNK; i++) {
		so = p->sos.dir == NULL ? NULL : sl_tpool_get(&p->sos, i);
		if (so == NULL) {
			i += SL_TPOOL_CHUNK - 1;
			continue;
		}
		if (atomic_load(&so->life) == 0)
			continue;
		open += !(sl_so_state(so) & SL_SO_UNACCEPTED);
		if (sl_so_end(so))
			sl_so_put(so);
	}
	sl_tpool_fini(&p->sos);
	sl_tpool_fini(&p->watches);
	for (uint32_t i = 1; p->eps.dir != NULL && (ep = sl_tpool_get(&p->eps, i)) != NULL; i++)
		if (ep->idx != 0)
			pthread_mutex_destroy(&ep->lock);
	sl_tpool_fini(&p->eps);
	free(p);
	st->posix = NULL;
	return open;
}
