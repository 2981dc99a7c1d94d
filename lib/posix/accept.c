/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accepting. The handshake completes on the eager's squeue, which makes the socket right there and
 * pushes it to the listener's accept queue, as data is pushed to a reader. What arrives before
 * accept waits in the new socket. The listener's backlog credit goes back when it is accepted.
 */
#include <posix/so.h>

#include <errno.h>

static void queue_push(struct sl_so *listener, struct sl_so *so)
{
	uint32_t head = atomic_load_explicit(&listener->acc_in, memory_order_relaxed);

	do {
		so->acc_next = head;
	} while (!atomic_compare_exchange_weak_explicit(
	    &listener->acc_in, &head, so->idx, memory_order_release, memory_order_relaxed));
	atomic_fetch_add_explicit(&listener->accepted_n, 1, memory_order_release);
}

static void announce(struct sl_so *l, struct sl_so *so)
{
	queue_push(l, so);
	/* A listener that was closed meanwhile flushes its queue once more. */
	atomic_thread_fence(memory_order_seq_cst);
	if (sl_so_state(l) & SL_SO_CLOSED)
		sl_so_accept_flush(l);
	sl_wq_wake(&l->rx);
	sl_so_notify(l, EPOLLIN);
}

/* ---- TCP_DEFER_ACCEPT ---- */

static void defer_over(struct sluice_squeue *sq, void *arg)
{
	struct sl_so *so = arg, *l = so->defer_of;

	if (sl_so_clear(so, SL_SO_DEFERRED) != 0) {
		announce(l, so);
		sl_so_put(l);
	}
	sl_so_put(so);
}

/* The squeue that makes newconn: not always the one where the connection was born. */
static uint32_t here(struct sluice_stack *st, sluice_conn_t eager)
{
	return sl_door_owner(sl_door_of(st, eager));
}

/* False: the listener gets it at once. */
static bool defer(struct sl_so *so, struct sl_so *l, sluice_conn_t eager)
{
	uint32_t s = atomic_load_explicit(&l->defer, memory_order_relaxed);
	struct sluice_squeue *sq = so->st->sq[here(so->st, eager)];

	if (s == 0 || sluice_timer_start(sq, sluice_squeue_now(sq) + SLUICE_SEC((uint64_t)s),
			  defer_over, so, &so->defer_timer) < 0)
		return false;
	so->defer_of = l;
	so->defer_sq = (uint8_t)sq->id;
	sl_so_ref(l);
	sl_so_ref(so); /* the timer's */
	sl_so_set(so, SL_SO_DEFERRED);
	return true;
}

int sl_so_newconn(void *arg, sluice_conn_t listener, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct sl_so *l = arg, *so;

	if (sl_so_state(l) & SL_SO_CLOSED)
		return -ECONNABORTED;
	so = sl_so_new(l->st);
	if (so == NULL) {
		SL_COUNT(l->st->sq[here(l->st, eager)], sock_refused);
		return -ENFILE;
	}
	so->family = l->family;
	so->vrf = l->vrf;
	so->listener = listener;
	atomic_store_explicit(&so->conn, eager, memory_order_release);
	sl_so_inherit(so, l);
	sl_so_set(so, SL_SO_CONNECTED | SL_SO_TOLD | SL_SO_UNACCEPTED);
	sl_so_ref(
	    so); /* the connection's; the first is the accept queue's, then the descriptor's */
	*up_arg = so;
	*up = &sl_so_upcalls;
	if (!defer(so, l, eager))
		announce(l, so);
	return 0;
}

void sl_so_undefer(struct sl_so *so, bool give)
{
	struct sl_so *l = so->defer_of;
	struct sluice_squeue *sq = so->st->sq[so->defer_sq];

	if (sl_so_clear(so, SL_SO_DEFERRED) == 0)
		return; /* the timer was first */
	/* A timer of a squeue that the connection has left fires there, and finds it done. */
	if (sl_on_squeue(sq) && sluice_timer_stop(sq, so->defer_timer) == 0)
		sl_so_put(so);
	if (give) {
		announce(l, so);
	} else {
		(void)sluice_close(so->st, atomic_load(&so->conn));
		if (sl_so_end(so))
			sl_so_put(so);
	}
	sl_so_put(l);
}

/* The oldest; rx_lock is held. */
static struct sl_so *queue_pop(struct sl_so *l)
{
	struct sl_tpool *pool = &sl_posix_of(l->st)->sos;
	struct sl_so *so;

	if (l->acc_head == 0) {
		uint32_t id = atomic_exchange_explicit(&l->acc_in, 0, memory_order_acquire);

		while (id != 0) {
			uint32_t next;

			so = sl_tpool_get(pool, id);
			next = so->acc_next;
			so->acc_next = l->acc_head;
			l->acc_head = id;
			id = next;
		}
	}
	if (l->acc_head == 0)
		return NULL;
	so = sl_tpool_get(pool, l->acc_head);
	l->acc_head = so->acc_next;
	atomic_fetch_sub_explicit(&l->accepted_n, 1, memory_order_relaxed);
	sl_so_clear(so, SL_SO_UNACCEPTED);
	return so;
}

/* Runs on a squeue too, where a thread in accept may hold the lock: that thread looks at CLOSED
 * when it has popped, so nothing stays behind. */
void sl_so_accept_flush(struct sl_so *l)
{
	struct sl_so *so;

	for (;;) {
		if (pthread_mutex_trylock(&l->rx_lock) != 0)
			return;
		so = queue_pop(l);
		pthread_mutex_unlock(&l->rx_lock);
		if (so == NULL)
			return;
		(void)sluice_abort(l->st, atomic_load(&so->conn));
		if (sl_so_end(so))
			sl_so_put(so);
	}
}

/* 1: nothing there. */
static int attempt(struct sl_so *l, struct sl_so **out)
{
	uint32_t s = sl_so_state(l);

	if (s & SL_SO_CLOSED)
		return -EBADF;
	if (!(s & SL_SO_LISTENING))
		return -EINVAL;
	if (sl_thread_polls()) {
		if (pthread_mutex_trylock(&l->rx_lock) != 0)
			return 1;
	} else {
		pthread_mutex_lock(&l->rx_lock);
	}
	*out = queue_pop(l);
	pthread_mutex_unlock(&l->rx_lock);
	if (sl_so_state(l) & SL_SO_CLOSED)
		sl_so_accept_flush(l);
	return *out != NULL ? 0 : 1;
}

static int accept_wait(struct sl_so *l, struct sl_so **out)
{
	uint64_t deadline = sl_wq_deadline(atomic_load(&l->rcvtimeo));
	uint32_t seq = sl_wq_enter(&l->rx);
	int rc;

	while ((rc = attempt(l, out)) == 1) {
		rc = sl_wq_wait(&l->rx, seq, deadline);
		if (rc < 0) {
			rc = rc == -ETIMEDOUT ? -EAGAIN : rc;
			break;
		}
		seq = atomic_load(&l->rx.seq);
	}
	sl_wq_leave(&l->rx);
	return rc;
}

int sluice_so_accept4(
    struct sluice_stack *st, int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	struct sl_so *l, *so = NULL;
	int rc;

	if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	l = sl_so_get(st, fd);
	if (l == NULL)
		return -EBADF;
	rc = attempt(l, &so);
	if (rc == 1)
		rc = sl_so_may_wait(l, 0) ? accept_wait(l, &so) : -EAGAIN;
	sl_so_put(l);
	if (rc < 0)
		return rc;
	if (flags & SOCK_NONBLOCK)
		sl_so_set(so, SL_SO_NONBLOCK);
	/* One that was reset meanwhile is given out all the same, as by Linux: the first read tells. */
	(void)sluice_accept(st, so->listener, atomic_load(&so->conn));
	if (sa != NULL && len != NULL &&
	    sluice_getpeername(st, atomic_load(&so->conn), sa, len) < 0)
		*len = 0;
	return (int)so->idx - 1;
}
