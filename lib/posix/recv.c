/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receiving. The squeue puts chains in front of rx_in with one compare-and-swap; whoever holds
 * rx_lock takes the whole list with one exchange, turns it round and reads from its own end. So a
 * reader never waits for the squeue, nor the squeue for a reader that was stopped.
 *
 * Flow control: when what was not read has reached SO_RCVBUF, in bytes or in buffers that hold
 * them, the squeue sets FLOW, leaves what comes with the connection and says "no space"; the reader,
 * when it is down to half, takes FLOW off and rings, and the squeue hands over the rest. Both look
 * again after they wrote, so the window cannot stay closed on an empty queue.
 *
 * The urgent byte stays in the chains. Without SO_OOBINLINE a reader stops before it and later
 * passes over it; MSG_OOB copies it from where it lies.
 */
#include <posix/so.h>

#include <errno.h>
#include <string.h>

/* ---- the squeue's side ---- */

/* Buffers may be held up to four times what they carry at best: small segments fill a queue too. */
#define CHARGE_FACTOR 4

static bool above(const struct sl_so *so, uint64_t limit)
{
	return sl_so_rx_bytes(so) >= limit ||
	       atomic_load_explicit(&so->rx_charge, memory_order_relaxed) >= CHARGE_FACTOR * limit;
}

static bool queue_full(const struct sl_so *so)
{
	return above(so, atomic_load_explicit(&so->rcvbuf, memory_order_relaxed));
}

static bool queue_low(const struct sl_so *so)
{
	return !above(so, atomic_load_explicit(&so->rcvbuf, memory_order_relaxed) / 2 + 1);
}

bool sl_so_rx_space(struct sl_so *so)
{
	if (SL_LIKELY(!queue_full(so)))
		return true;
	sl_so_set(so, SL_SO_FLOW);
	atomic_thread_fence(memory_order_seq_cst);
	return queue_low(so) && sl_so_clear(so, SL_SO_FLOW) != 0;
}

void sl_so_rx_push(struct sl_so *so, struct rte_mbuf *m, uint32_t len)
{
	uintptr_t head = atomic_load_explicit(&so->rx_in, memory_order_relaxed);
	uint64_t charge = 0;

	for (const struct rte_mbuf *s = m; s != NULL; s = s->next)
		charge += s->buf_len;
	atomic_fetch_add_explicit(&so->rx_charge, charge, memory_order_relaxed);
	do {
		sl_pkt_set_next(m, (struct rte_mbuf *)head);
	} while (!atomic_compare_exchange_weak_explicit(
	    &so->rx_in, &head, (uintptr_t)m, memory_order_release, memory_order_relaxed));
	atomic_fetch_add_explicit(&so->rx_pushed, len, memory_order_release);
	sl_wq_wake(&so->rx);
	sl_so_notify(so, EPOLLIN);
}

void sl_so_rx_free(struct sl_so *so)
{
	struct rte_mbuf *m = (struct rte_mbuf *)atomic_exchange(&so->rx_in, 0), *next;

	for (; m != NULL; m = next) {
		next = sl_pkt_next(m);
		rte_pktmbuf_free(m);
	}
	for (m = so->rx_head; m != NULL; m = next) {
		next = sl_pkt_next(m);
		rte_pktmbuf_free(m);
	}
	so->rx_head = so->rx_last = NULL;
}

void sl_so_rx_purge(struct sl_so *so)
{
	pthread_mutex_lock(&so->rx_lock);
	sl_so_rx_free(so);
	so->rx_off = 0;
	atomic_store(&so->rx_charge, 0);
	atomic_store(&so->rx_read, atomic_load(&so->rx_pushed));
	pthread_mutex_unlock(&so->rx_lock);
}

/* ---- the readers' side: rx_lock is held ---- */

/* Takes what the squeue has pushed. */
static void refill(struct sl_so *so)
{
	struct rte_mbuf *m, *next, *oldest = NULL, *newest;

	if (atomic_load_explicit(&so->rx_in, memory_order_relaxed) == 0)
		return;
	newest = m =
	    (struct rte_mbuf *)atomic_exchange_explicit(&so->rx_in, 0, memory_order_acquire);
	for (; m != NULL; m = next) {
		next = sl_pkt_next(m);
		sl_pkt_set_next(m, oldest);
		oldest = m;
	}
	if (so->rx_head == NULL)
		so->rx_head = oldest;
	else
		sl_pkt_set_next(so->rx_last, oldest);
	so->rx_last = newest;
}

/* One step of a walk over the bytes: the vector at (m, off), and the next place. */
struct place {
	struct rte_mbuf *pkt, *m; /* chain, and mbuf in it */
	uint32_t off;
};

static struct place first_place(const struct sl_so *so)
{
	return (struct place){so->rx_head, so->rx_head, so->rx_off};
}

static bool step(struct place *p)
{
	p->off = 0;
	p->m = p->m->next;
	if (p->m == NULL) {
		p->pkt = sl_pkt_next(p->pkt);
		p->m = p->pkt;
	}
	return p->m != NULL;
}

/* The head mbuf is read: it leaves the queue, and the rest of its chain stands for the chain. */
static struct rte_mbuf *pop_head(struct sl_so *so)
{
	struct rte_mbuf *m = so->rx_head, *rest = m->next, *next = sl_pkt_next(m);

	if (rest != NULL) {
		rest->nb_segs = (uint16_t)(m->nb_segs - 1);
		sl_pkt_set_next(rest, next);
		if (so->rx_last == m)
			so->rx_last = rest;
	} else if (next == NULL) {
		so->rx_last = NULL;
	}
	so->rx_head = rest != NULL ? rest : next;
	so->rx_off = 0;
	atomic_fetch_sub_explicit(&so->rx_charge, m->buf_len, memory_order_relaxed);
	m->next = NULL;
	m->nb_segs = 1;
	return m;
}

#define FREE_BULK \
	32 /* a thread outside of the EAL has no cache of the pool: it gives back many at once */

/* n bytes are read. */
static void advance(struct sl_so *so, uint64_t n)
{
	struct rte_mbuf *read[FREE_BULK];
	unsigned int nread = 0;
	uint64_t left = n;

	while (left > 0) {
		uint32_t have = so->rx_head->data_len - so->rx_off;

		if (left < have) {
			so->rx_off += (uint32_t)left;
			break;
		}
		left -= have;
		read[nread++] = pop_head(so);
		if (nread == FREE_BULK) {
			rte_pktmbuf_free_bulk(read, nread);
			nread = 0;
		}
	}
	if (nread > 0)
		rte_pktmbuf_free_bulk(read, nread);
	atomic_fetch_add_explicit(&so->rx_read, n, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
	if (SL_UNLIKELY(sl_so_state(so) & SL_SO_FLOW) && queue_low(so) &&
	    sl_so_clear(so, SL_SO_FLOW) != 0)
		(void)sluice_clr_flowctrl(so->st, atomic_load(&so->conn));
}

struct rte_mbuf *sl_so_rx_reclaim(struct sl_so *so)
{
	struct rte_mbuf *first, *m, *next, *tail = NULL;

	refill(so);
	/* An urgent byte that no read would get: it must not come back as one of the stream's. */
	if (SL_UNLIKELY(sl_so_clear(so, SL_SO_SKIP)) && so->rx_head != NULL &&
	    atomic_load(&so->skip_at) == atomic_load(&so->rx_read))
		advance(so, 1);
	first = so->rx_head;
	if (first != NULL) {
		first->data_off = (uint16_t)(first->data_off + so->rx_off);
		first->data_len = (uint16_t)(first->data_len - so->rx_off);
	}
	for (m = first; m != NULL; m = next) {
		next = sl_pkt_next(m);
		if (tail != NULL)
			tail->next = m;
		tail = rte_pktmbuf_lastseg(m);
	}
	so->rx_head = so->rx_last = NULL;
	so->rx_off = 0;
	atomic_store(&so->rx_charge, 0);
	atomic_store(&so->rx_read, atomic_load(&so->rx_pushed));
	return first;
}

/* Bytes before the urgent one; *at: the next byte is it. UINT64_MAX: none is ahead. */
static uint64_t before_urgent(struct sl_so *so)
{
	uint32_t s = sl_so_state(so);
	uint64_t mark = atomic_load_explicit(&so->urgent, memory_order_relaxed),
		 read = atomic_load_explicit(&so->rx_read, memory_order_relaxed);

	if (SL_LIKELY(!(s & SL_SO_OOB)))
		return UINT64_MAX;
	return mark < read ? UINT64_MAX : mark - read;
}

/*
 * Where a reader must stop now. Passes over an urgent byte that is next, unless it is inline: for one
 * that only peeks, *skip says so, and nothing changes.
 */
static uint64_t readable(struct sl_so *so, uint64_t copied, bool peek, uint32_t *skip)
{
	/* Counted first: what the squeue pushes between the two is there and not counted yet. */
	uint64_t have = sl_so_rx_bytes(so), stop;

	*skip = 0;
	refill(so);
	if (SL_UNLIKELY(sl_so_state(so) & SL_SO_SKIP) && have > 0) {
		sl_so_clear(so, SL_SO_SKIP);
		if (atomic_load(&so->skip_at) == atomic_load(&so->rx_read)) {
			advance(so, 1);
			have--;
		}
	}
	stop = before_urgent(so);
	if (SL_LIKELY(stop == UINT64_MAX))
		return have;
	if (stop > 0)
		return RTE_MIN(have, stop);
	/* The mark ends a read that has something; the next one goes on behind it. */
	if (copied > 0 || have == 0)
		return 0;
	if (peek) {
		*skip = !(sl_so_state(so) & SL_SO_OOBINLINE);
		return have - *skip;
	}
	sl_so_clear(so, SL_SO_OOB);
	if (!(sl_so_state(so) & SL_SO_OOBINLINE)) {
		advance(so, 1);
		have--;
	}
	return have;
}

/* Copies n bytes from the front, but for the first `pass`, into the vectors, from byte `done` of them
 * on. */
static void copy_out(
    struct sl_so *so, uint32_t pass, const struct iovec *iov, uint64_t done, uint64_t n)
{
	struct place p = first_place(so);
	uint64_t skip = done;

	for (; pass > 0; pass--)
		while (++p.off >= p.m->data_len && step(&p) && p.m->data_len == 0)
			;

	while (skip >= iov->iov_len) {
		skip -= iov->iov_len;
		iov++;
	}
	while (n > 0) {
		uint64_t take = RTE_MIN(n, (uint64_t)(p.m->data_len - p.off));

		take = RTE_MIN(take, (uint64_t)iov->iov_len - skip);
		memcpy((char *)iov->iov_base + skip,
		    rte_pktmbuf_mtod_offset(p.m, const char *, p.off), take);
		n -= take;
		skip += take;
		p.off += (uint32_t)take;
		while (n > 0 && skip == iov->iov_len) {
			skip = 0;
			iov++;
		}
		if (p.off == p.m->data_len && n > 0)
			step(&p);
	}
}

/* ---- the call ---- */

struct request {
	const struct iovec *iov;
	uint64_t want, done;
	int flags;
	bool at_mark; /* stopped before the urgent byte: no read goes past it */
};

/* Takes what is there. rx_lock is held. */
static void take(struct sl_so *so, struct request *r)
{
	while (r->done < r->want) {
		bool peek = (r->flags & MSG_PEEK) != 0;
		uint32_t skip;
		uint64_t n = RTE_MIN(readable(so, r->done, peek, &skip), r->want - r->done);

		if (n == 0)
			break;
		if (!(r->flags & MSG_TRUNC))
			copy_out(so, skip, r->iov, r->done, n);
		r->done += n;
		if (peek)
			break;
		advance(so, n);
	}
	r->at_mark = r->done > 0 && before_urgent(so) == (r->flags & MSG_PEEK ? r->done : 0);
}

/*
 * What a reader is told when there is nothing: 1 means wait. The end of the stream and errors come
 * after all that was queued: `s` was read before the last look at the queue.
 */
static int nothing(struct sl_so *so, uint32_t s)
{
	int rc;

	if (s & SL_SO_CLOSED)
		return -EBADF;
	if (s & SL_SO_FIN)
		return 0;
	rc = s & SL_SO_DEAD ? sl_so_take_error(so) : 0;
	if (rc < 0)
		return rc;
	if (s & (SL_SO_EOF | SL_SO_RD_SHUT))
		return 0;
	if (!(s & (SL_SO_CONNECTED | SL_SO_CONNECTING)))
		return -ENOTCONN;
	return 1;
}

/* Has enough come for this request to return? */
static bool satisfied(const struct sl_so *so, const struct request *r)
{
	uint32_t low = sl_so_lowat(so);
	uint64_t need = r->flags & MSG_WAITALL ? r->want : RTE_MIN((uint64_t)low, r->want);

	if (SL_UNLIKELY(r->want == 0)) /* any byte will do, and stays */
		return sl_so_rx_bytes(so) > 0;
	return r->at_mark || r->done >= RTE_MAX(need, (uint64_t)1);
}

bool sl_so_rx_lock(struct sl_so *so)
{
	if (sl_thread_polls())
		return pthread_mutex_trylock(&so->rx_lock) == 0;
	pthread_mutex_lock(&so->rx_lock);
	return true;
}

/* One look. False: there is more to wait for, and *n is what there is so far; else *n is the answer.
 */
static bool attempt(struct sl_so *so, struct request *r, ssize_t *n)
{
	uint32_t s = sl_so_state(so);
	int rc = 0;

	if (!sl_so_rx_lock(so)) {
		*n = -EAGAIN;
		return true;
	}
	if (r->flags & MSG_PEEK)
		r->done = 0;
	take(so, r);
	if (!satisfied(so, r) && (r->done == 0 || sl_so_may_wait(so, r->flags)))
		rc = r->done == 0 || !(s & SL_SO_DEAD) ? nothing(so, s) : 0;
	pthread_mutex_unlock(&so->rx_lock);
	*n = r->done > 0 ? (ssize_t)r->done : rc < 0 ? rc : 0;
	return rc != 1;
}

/* SO_BUSY_POLL: looks for something new before it lets the squeue pay for a wake-up. */
static void look_out(struct sl_so *so, uint32_t us)
{
	uint64_t until = sl_wq_deadline((uint64_t)us * 1000),
		 was = atomic_load_explicit(&so->rx_pushed, memory_order_relaxed);
	uint32_t s = sl_so_state(so);

	while (atomic_load_explicit(&so->rx_pushed, memory_order_acquire) == was &&
	       sl_so_state(so) == s && sl_wq_deadline(1) < until)
		rte_pause();
}

static ssize_t recv_wait(struct sl_so *so, struct request *r)
{
	uint64_t deadline = sl_wq_deadline(atomic_load(&so->rcvtimeo));
	uint32_t busy = atomic_load_explicit(&so->busy_poll, memory_order_relaxed), seq;
	ssize_t n;
	int rc;

	if (busy > 0)
		look_out(so, busy);
	seq = sl_wq_enter(&so->rx);

	while (!attempt(so, r, &n)) {
		rc = sl_wq_wait(&so->rx, seq, deadline);
		if (rc < 0) {
			n = r->done > 0 ? (ssize_t)r->done : rc == -ETIMEDOUT ? -EAGAIN : rc;
			break;
		}
		seq = atomic_load(&so->rx.seq);
	}
	sl_wq_leave(&so->rx);
	return n;
}

/* The urgent byte by itself. */
static ssize_t recv_oob(struct sl_so *so, const struct request *r)
{
	struct place p;
	uint64_t have, n;
	ssize_t rc = -EINVAL;
	uint32_t s;

	if (!sl_so_rx_lock(so))
		return -EAGAIN;
	have = sl_so_rx_bytes(so); /* counted before it is taken, as in readable */
	refill(so);
	n = before_urgent(so);
	s = sl_so_state(so);
	if (n != UINT64_MAX && !(s & (SL_SO_OOBINLINE | SL_SO_OOB_READ))) {
		rc = -EAGAIN; /* announced, not here yet */
		if ((s & SL_SO_DEAD) && !(s & SL_SO_FIN)) {
			rc = -ENOTCONN;
			n = UINT64_MAX;
		}
		if (n < have) {
			for (p = first_place(so); n >= p.m->data_len - p.off;) {
				n -= p.m->data_len - p.off;
				step(&p);
			}
			if (r->want > 0 && !(r->flags & MSG_TRUNC))
				*(char *)r->iov[0].iov_base =
				    *rte_pktmbuf_mtod_offset(p.m, const char *, p.off + n);
			rc = r->want > 0;
			if (!(r->flags & MSG_PEEK))
				sl_so_set(so, SL_SO_OOB_READ);
		}
	}
	pthread_mutex_unlock(&so->rx_lock);
	return rc;
}

static ssize_t do_recv(struct sluice_stack *st, int fd, struct request *r)
{
	struct sl_so *so = sl_so_get(st, fd);
	ssize_t n;

	if (so == NULL)
		return -EBADF;
	if (sl_so_state(so) & SL_SO_LISTENING) {
		n = -ENOTCONN;
	} else if (r->flags & MSG_OOB) {
		n = recv_oob(so, r);
	} else {
		if (!attempt(so, r, &n)) {
			if (sl_so_may_wait(so, r->flags))
				n = recv_wait(so, r);
			else if (n == 0)
				n = -EAGAIN;
		}
	}
	sl_so_put(so);
	return n;
}

static ssize_t recv_errqueue(struct sluice_stack *st, int fd, struct msghdr *msg)
{
	struct sl_so *so = sl_so_get(st, fd);
	ssize_t n;

	if (so == NULL)
		return -EBADF;
	n = sl_so_zc_recv(so, msg);
	sl_so_put(so);
	return n;
}

ssize_t sluice_so_recv(struct sluice_stack *st, int fd, void *buf, size_t len, int flags)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct request r = {.iov = &iov, .want = len, .flags = flags};

	if (flags & MSG_ERRQUEUE)
		return recv_errqueue(st, fd, &(struct msghdr){0});
	return do_recv(st, fd, &r);
}

ssize_t sluice_so_recvmsg(struct sluice_stack *st, int fd, struct msghdr *msg, int flags)
{
	struct request r = {.iov = msg->msg_iov, .flags = flags};
	ssize_t n;

	if (msg->msg_iovlen > 1024)
		return -EMSGSIZE;
	if (flags & MSG_ERRQUEUE)
		return recv_errqueue(st, fd, msg);
	for (size_t i = 0; i < msg->msg_iovlen; i++)
		r.want += msg->msg_iov[i].iov_len;
	n = do_recv(st, fd, &r);
	if (n >= 0) {
		msg->msg_namelen = 0;
		msg->msg_controllen = 0;
		msg->msg_flags = flags & MSG_OOB;
	}
	return n;
}
