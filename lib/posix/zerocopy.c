/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MSG_ZEROCOPY. A call that took something has a number, in the order in which calls end; when all
 * pieces of its memory are free again, the number goes to the socket's error queue, where
 * recvmsg(MSG_ERRQUEUE) finds it as a range, the way Linux reports it.
 *
 * Whether memory is really used where it lies is the tunable sock.zerocopy: a port that reads it by
 * its own bus needs it mapped there, which no socket call can know. When it is off, bytes are copied
 * and the report says so (SO_EE_CODE_ZEROCOPY_COPIED), as Linux does where it had to copy.
 */
#include <posix/so.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <linux/errqueue.h>

/* Pieces in flight, and one for the call itself until it knows its number. */
struct sl_zc_call {
	struct sl_zc_call *next;
	_Atomic uint32_t left;
	uint32_t id;
	bool copied;
};

static void finish(struct sl_so *so, struct sl_zc_call *z)
{
	uintptr_t head;

	if (atomic_fetch_sub_explicit(&z->left, 1, memory_order_acq_rel) != 1)
		return;
	head = atomic_load_explicit(&so->zc_done, memory_order_relaxed);
	do {
		z->next = (struct sl_zc_call *)head;
	} while (!atomic_compare_exchange_weak_explicit(
	    &so->zc_done, &head, (uintptr_t)z, memory_order_release, memory_order_relaxed));
	atomic_fetch_add_explicit(&so->zc_ready, 1, memory_order_release);
	sl_so_notify(so, EPOLLERR);
}

struct sl_zc_call *sl_so_zc_begin(struct sl_so *so)
{
	struct sl_zc_call *z = calloc(1, sizeof(*z));

	if (z == NULL)
		return NULL;
	z->left = 1;
	z->copied = __atomic_load_n(&so->st->tun.sock_zerocopy, __ATOMIC_RELAXED) == 0;
	return z;
}

#define PIECE 65024u /* what sluice_send_external takes at once */

ssize_t sl_so_zc_send(
    struct sl_so *so, struct sl_zc_call *z, const void *buf, size_t len, unsigned int flags)
{
	sluice_conn_t c = atomic_load_explicit(&so->conn, memory_order_acquire);
	int rc;

	if (z->copied)
		return sluice_send_copy(so->st, c, buf, len, flags);
	if (len > PIECE) {
		len = PIECE;
		flags = (flags & ~SLUICE_MSG_OOB) | SLUICE_MSG_MORE;
	}
	atomic_fetch_add_explicit(&z->left, 1, memory_order_relaxed);
	rc = sluice_send_external(so->st, c, (void *)(uintptr_t)buf, 0, len, z, flags);
	if (rc == 0)
		return (ssize_t)len;
	atomic_fetch_sub_explicit(&z->left, 1, memory_order_relaxed);
	return rc;
}

void sl_so_zc_end(struct sl_so *so, struct sl_zc_call *z, bool took)
{
	if (!took) {
		free(z); /* no piece is out */
		return;
	}
	z->id = atomic_fetch_add_explicit(&so->zc_next, 1, memory_order_relaxed);
	finish(so, z);
}

void sl_so_zc_notify(struct sl_so *so, void *cookie)
{
	finish(so, cookie);
}

/* rx_lock is held. */
static void refill(struct sl_so *so)
{
	struct sl_zc_call *z = (struct sl_zc_call *)atomic_exchange_explicit(
			      &so->zc_done, 0, memory_order_acquire),
			  *next, *oldest = NULL, **tail = &so->zc_head;

	for (; z != NULL; z = next) {
		next = z->next;
		z->next = oldest;
		oldest = z;
	}
	while (*tail != NULL)
		tail = &(*tail)->next;
	*tail = oldest;
}

/* The first range of numbers that follow each other. rx_lock is held. */
static bool take_range(struct sl_so *so, uint32_t *lo, uint32_t *hi, bool *copied)
{
	struct sl_zc_call *z;

	refill(so);
	z = so->zc_head;
	if (z == NULL)
		return false;
	*lo = *hi = z->id;
	*copied = z->copied;
	do {
		*hi = z->id;
		so->zc_head = z->next;
		free(z);
		atomic_fetch_sub_explicit(&so->zc_ready, 1, memory_order_relaxed);
		z = so->zc_head;
	} while (z != NULL && z->id == *hi + 1 && z->copied == *copied);
	return true;
}

static void put_report(struct sl_so *so, struct msghdr *msg, uint32_t lo, uint32_t hi, bool copied)
{
	struct {
		struct sock_extended_err e;
		struct sockaddr_in6 offender; /* of nobody, as with Linux */
	} r = {.e = {.ee_origin = SO_EE_ORIGIN_ZEROCOPY,
		   .ee_code = copied ? SO_EE_CODE_ZEROCOPY_COPIED : 0,
		   .ee_info = lo,
		   .ee_data = hi}};
	bool v6 = so->family == AF_INET6;
	size_t len = sizeof(r.e) + (v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
	struct cmsghdr *cm = CMSG_FIRSTHDR(msg);

	msg->msg_flags = MSG_ERRQUEUE;
	if (cm == NULL || msg->msg_controllen < CMSG_LEN(len)) {
		msg->msg_flags |= MSG_CTRUNC;
		msg->msg_controllen = 0;
		return;
	}
	cm->cmsg_level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
	cm->cmsg_type = v6 ? IPV6_RECVERR : IP_RECVERR;
	cm->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(cm), &r, len);
	msg->msg_controllen = RTE_MIN(msg->msg_controllen, CMSG_SPACE(len));
}

ssize_t sl_so_zc_recv(struct sl_so *so, struct msghdr *msg)
{
	uint32_t lo, hi;
	bool copied, got;

	if (!sl_so_rx_lock(so))
		return -EAGAIN;
	got = take_range(so, &lo, &hi, &copied);
	pthread_mutex_unlock(&so->rx_lock);
	if (!got)
		return -EAGAIN;
	put_report(so, msg, lo, hi, copied);
	msg->msg_namelen = 0;
	return 0;
}

void sl_so_zc_free(struct sl_so *so)
{
	struct sl_zc_call *z;

	refill(so);
	while ((z = so->zc_head) != NULL) {
		so->zc_head = z->next;
		free(z);
	}
}
