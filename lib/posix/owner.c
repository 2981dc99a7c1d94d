/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection changes its owner: from a socket to event callbacks, and back.
 *
 * It happens on the connection's squeue, in one operation among its entries: what a thread has sent
 * before stays before. Bytes that the squeue has pushed up and nobody has read go back to the front
 * of the connection's receive queue, from where the new owner is told of them, as of everything else
 * that holds (sl_up_change). What is in the send queue stays there.
 *
 * The thread that gives a socket away holds rx_lock while it waits for the operation, so no reader
 * is half-way, and the squeue may touch the readers' side. The descriptor has ended before, so it is
 * this thread and no close() that speaks for the socket; if the operation is refused, it lives again.
 */
#include <posix/so.h>

#include <errno.h>

#include <tcp/tcp_int.h>

/* The connection, if it can change its owner: 0, or -errno. */
static int find(struct sluice_squeue *sq, sluice_conn_t h, struct sl_conn **out)
{
	struct sl_conn *c = sl_conn_get(sq, h);

	if (c == NULL || (c->flags & SL_C_CLOSED_BY_APP))
		return -EBADF;
	if (c->state < SLUICE_ESTABLISHED &&
	    (c->state != SLUICE_CLOSED || atomic_load(&sl_conn_door(sq, c)->pub.connid) == 0))
		return -ENOTCONN;
	/* Their cookies are the old owner's. */
	if (c->zc_out > 0)
		return -EBUSY;
	*out = c;
	return 0;
}

int64_t sl_so_op_detach(struct sluice_squeue *sq, sluice_conn_t h, const struct sluice_args *args)
{
	struct sl_so *so = (struct sl_so *)(uintptr_t)args->a[0];
	struct rte_mbuf *unread;
	struct sl_conn *c;
	int rc = find(sq, h, &c);

	if (rc < 0)
		return rc;
	sl_so_set(so, SL_SO_CLOSED);
	atomic_store_explicit(&so->conn, SLUICE_CONN_NONE, memory_order_release);
	unread = sl_so_rx_reclaim(so);
	if (unread != NULL)
		sl_rcv_unread(c, unread);
	sl_up_change(sq, c, (const struct sluice_upcalls *)(uintptr_t)args->a[1],
	    (void *)(uintptr_t)args->a[2]);
	return 0;
}

int64_t sl_so_op_attach(struct sluice_squeue *sq, sluice_conn_t h, const struct sluice_args *args)
{
	struct sl_so *so = (struct sl_so *)(uintptr_t)args->a[0];
	struct sl_conn *c;
	int rc = find(sq, h, &c);

	if (rc < 0)
		return rc;
	if (c->up == NULL || c->up == &sl_so_upcalls)
		return -EINVAL;
	so->family = sl_conn_door(sq, c)->pub.family;
	so->vrf = c->key.vrf;
	sl_so_set(so, SL_SO_CONNECTED | SL_SO_TOLD |
			  (c->flags & SL_C_OOBINLINE ? SL_SO_OOBINLINE : 0) |
			  (c->flags & SL_C_FIN_QUEUED ? SL_SO_WR_SHUT : 0));
	sl_up_change(sq, c, &sl_so_upcalls, so);
	return 0;
}

/* ---- the caller's half ---- */

/* rx_lock is held. */
static int hand_over(
    struct sl_so *so, const struct sluice_upcalls *up, void *arg, sluice_conn_t *out)
{
	struct sluice_args args = {{(uintptr_t)so, (uintptr_t)up, (uintptr_t)arg}};
	uint32_t s = sl_so_state(so);
	int rc;

	if (s & SL_SO_LISTENING)
		return -EINVAL;
	if (!(s & SL_SO_CONNECTED))
		return -ENOTCONN;
	if (!sl_so_end(so))
		return -EBADF;
	/* Before the first upcall. */
	*out = atomic_load(&so->conn);
	rc = (int)sl_conn_call(so->st, SL_OP_DETACH, *out, &args);
	if (rc < 0) {
		*out = SLUICE_CONN_NONE;
		atomic_fetch_or_explicit(&so->life, SL_SO_OPEN, memory_order_release);
	}
	return rc;
}

int sluice_so_detach(
    struct sluice_stack *st, int fd, const struct sluice_upcalls *up, void *arg, sluice_conn_t *c)
{
	struct sl_so *so;
	int rc;

	if (up == NULL || up->size != sizeof(*up) || c == NULL)
		return -EINVAL;
	so = sl_so_get(st, fd);
	if (so == NULL)
		return -EBADF;
	rc = -EAGAIN;
	if (sl_so_rx_lock(so)) {
		rc = hand_over(so, up, arg, c);
		pthread_mutex_unlock(&so->rx_lock);
	}
	if (rc == 0) {
		sl_wq_wake(&so->rx);
		sl_wq_wake(&so->tx);
		sl_so_unwatch(so);
		sl_so_put(so); /* the connection's */
		sl_so_put(so); /* the descriptor's */
	}
	sl_so_put(so);
	return rc;
}

int sluice_so_attach(struct sluice_stack *st, sluice_conn_t c)
{
	struct sl_so *so = sl_so_new(st);
	struct sluice_args args = {{(uintptr_t)so}};
	int rc;

	if (so == NULL)
		return -ENFILE;
	sl_so_ref(so); /* the connection's */
	atomic_store_explicit(&so->conn, c, memory_order_release);
	rc = (int)sl_conn_call(st, SL_OP_ATTACH, c, &args);
	if (rc == 0)
		return (int)so->idx - 1;
	sl_so_put(so);
	if (sl_so_end(so))
		sl_so_put(so);
	return rc;
}
