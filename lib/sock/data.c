/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Data calls. Sending works from any thread: on the connection's squeue the chain goes straight to
 * the send queue, elsewhere to the squeue's entries. Reading is for the squeue: the receive queue
 * is the connection's own.
 *
 * Send credit: `queued` (other threads) minus `credit` (the squeue, which also takes from it for
 * what is sent there: no locked instruction) is what the send buffer holds. A
 * chain is taken while that is below sndbuf, so a buffer overshoots by one chain at most, and a
 * chain larger than the buffer can be sent.
 *
 * External memory: each send_external carries a small record whose reference count is the mbufs'
 * own; when the last mbuf lets go, on whatever thread that is, the record goes to a list of the
 * squeue, which makes the upcall.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sock/sock_int.h>

/* ---- credit ---- */

/* Bytes in the send buffer. A push into an ended life may make the difference negative for a
 * moment: that is none. */
static uint32_t held(const struct sl_door *d)
{
	/* Acquire: credit must not be newer than queued; a too small answer only refuses too late
	 * by one chain. */
	uint32_t credit = atomic_load_explicit(&d->pub.credit, memory_order_acquire);
	int32_t n = (int32_t)(atomic_load_explicit(&d->queued, memory_order_relaxed) - credit);

	return n > 0 ? (uint32_t)n : 0;
}

/* A handle looked up once for a call: its door, the squeue that owns it, and, on that squeue, the
 * connection. */
struct target {
	struct sl_door *d;
	struct sluice_squeue *sq;
	struct sl_conn *c; /* NULL: the caller is not on the squeue */
};

/* False: stale or no handle at all. */
static inline bool find(struct sluice_stack *st, sluice_conn_t h, struct target *t)
{
	struct sl_door *d = sl_door_of(st, h);
	uint32_t owner;
	uint64_t w;

	if (SL_UNLIKELY(d == NULL))
		return false;
	w = atomic_load_explicit(&d->word, memory_order_acquire);
	if (SL_UNLIKELY((uint32_t)(w >> 32) != SL_HANDLE_GEN(h) || !(w & SL_BELL_OPEN)))
		return false;
	owner = sl_door_owner(d);
	t->d = d;
	t->c = NULL;
	if (SL_UNLIKELY(owner == SL_NOBODY)) {
		t->sq = st->sq[SL_HANDLE_SQ(h)];
		return true;
	}
	t->sq = st->sq[owner];
	if (sl_on_squeue(t->sq))
		t->c = sl_conn_named(t->sq, SL_NAME(t->sq, SL_HANDLE_SQ(h), SL_HANDLE_IDX(h)));
	return true;
}

/* The seed's rule, from the published line: no entry is made for what cannot be sent. */
static inline int send_state(const struct sl_door *d)
{
	enum sluice_state s =
	    (enum sluice_state)atomic_load_explicit(&d->pub.state, memory_order_acquire);

	if (SL_UNLIKELY(s < SLUICE_ESTABLISHED)) {
		if (s == SLUICE_SYN_SENT)
			return -ENOTCONN;
		return atomic_load_explicit(&d->pub.connid, memory_order_relaxed) != 0 ? -EPIPE
										       : -ENOTCONN;
	}
	if (SL_UNLIKELY(
		s > SLUICE_CLOSE_WAIT || atomic_load_explicit(&d->pub.shut, memory_order_relaxed)))
		return -EPIPE;
	return 0;
}

/* ---- append, on the squeue ---- */

/* A small piece goes into the last buffer of the queue, where it fits: many of them in a segment cost
 * one copy and one buffer, and none until the peer has acknowledged them. */
static bool absorb(struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf *m, uint32_t flags)
{
	if (m->next != NULL || c->sndq_tail == NULL || (flags & (SLUICE_MSG_OOB | SL_MSG_ZC)) != 0)
		return false;
	(void)sl_sendq_absorb(sq, c, &m);
	if (m != NULL)
		return false;
	if (flags & SLUICE_MSG_MORE)
		c->flags |= SL_C_MSG_MORE;
	else
		c->flags &= ~SL_C_MSG_MORE;
	return true;
}

void sl_sock_append(struct sluice_squeue *sq, struct sl_conn *c, struct rte_mbuf *m, uint32_t flags)
{
	uint32_t len = m->pkt_len;
	bool dead;

	if (flags & SL_MSG_ZC)
		c->zc_out++;
	dead = c->flags & (SL_C_CLOSED_BY_APP | SL_C_FIN_QUEUED) ||
	       (c->state != SLUICE_ESTABLISHED && c->state != SLUICE_CLOSE_WAIT);

	if (dead) {
		/* It was accepted when the connection still stood: as with data in flight at a
		 * reset, it is gone. */
		sl_sendq_give_credit(sq, c, len);
		rte_pktmbuf_free(m);
		SL_COUNT(sq, tcp_send_after_end);
		return;
	}
	if (SL_LIKELY(len > sq->tun.tcp_copy_below) || !absorb(sq, c, m, flags))
		sl_sendq_append(sq, c, m, len, flags);
	sl_output_schedule(sq, c);
}

/* Has the buffer reached its limit? Told once, until it has drained. */
static void check_full(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (!(c->flags & SL_C_TXQ_FULL) && held(sl_conn_door(sq, c)) >= sl_sendq_limit(c)) {
		c->flags |= SL_C_TXQ_FULL;
		sl_up(sq, c, SL_D_TXQ_FULL);
	}
}

void sl_sock_sent(struct sluice_squeue *sq, struct sl_conn *c, bool refused)
{
	/* A refused sender waits for txq_full(false), also when there is room again by now: it must
	 * come. */
	if (refused)
		SL_COUNT(sq, tcp_send_eagain);
	if (refused && !(c->flags & SL_C_TXQ_FULL)) {
		c->flags |= SL_C_TXQ_FULL;
		sl_up(sq, c, SL_D_TXQ_FULL);
	}
	check_full(sq, c);
	sl_sendq_room(sq, c);
}

/* No room. Counted on the squeue, whose counters have one writer; from elsewhere the bell carries
 * it there. */
static void refuse(struct sluice_stack *st, sluice_conn_t h, const struct target *t)
{
	if (t->c != NULL)
		sl_sock_sent(t->sq, t->c, true);
	else
		(void)sl_ring(st, h, SL_BELL_ROOM);
}

/* There is room for the chain. */
static inline int give(struct sluice_stack *st, sluice_conn_t h, const struct target *t,
    struct rte_mbuf *m, unsigned int flags)
{
	/* Per connection sends keep one order: not past what others have sent before. */
	if (t->c == NULL || sl_door_has_chains(t->d))
		return sl_chain_push(st, h, m, m->pkt_len, flags);
	sl_sendq_take_credit(t->sq, t->c, m->pkt_len);
	sl_sock_append(t->sq, t->c, m, flags);
	check_full(t->sq, t->c);
	return 0;
}

/* `t` has been found and may send. */
static int send_chain(struct sluice_stack *st, sluice_conn_t h, const struct target *t,
    struct rte_mbuf *m, unsigned int flags)
{
	struct sl_door *d = t->d;

	if (m->pkt_len == 0) {
		rte_pktmbuf_free(m);
		return 0;
	}
	if (held(d) >= atomic_load_explicit(&d->pub.sndbuf, memory_order_relaxed)) {
		refuse(st, h, t);
		return -EAGAIN;
	}
	return give(st, h, t, m, flags);
}

/* What the caller says must not look like our own flag: `closed` would wait for a zcopy_notify that
 * never comes. */
int sluice_send(struct sluice_stack *st, sluice_conn_t h, struct rte_mbuf *m, unsigned int flags)
{
	struct target t;
	int rc;

	if (!find(st, h, &t))
		return -EBADF;
	rc = send_state(t.d);
	if (rc < 0)
		return rc;
	return send_chain(st, h, &t, m, flags & (SLUICE_MSG_OOB | SLUICE_MSG_MORE));
}

ssize_t sluice_sendable(struct sluice_stack *st, sluice_conn_t h)
{
	struct target t;
	uint32_t have, limit;
	int rc;

	if (!find(st, h, &t))
		return -EBADF;
	rc = send_state(t.d);
	if (rc < 0)
		return rc;
	have = held(t.d);
	limit = atomic_load_explicit(&t.d->pub.sndbuf, memory_order_relaxed);
	return have < limit ? limit - have : 0;
}

/* A chain with the first bytes of `data`, of all `len` if there are buffers; NULL without any. */
static struct rte_mbuf *copied(
    struct sluice_stack *st, const struct target *t, const void *data, size_t len)
{
	struct rte_mbuf *head = NULL, *tail = NULL, *m;
	size_t done = 0, n;

	while (done < len) {
		m = t->c != NULL ? rte_pktmbuf_alloc(st->params.data_pool) : sl_stash_alloc(st);
		if (SL_UNLIKELY(m == NULL))
			break;
		n = RTE_MIN(len - done, (size_t)rte_pktmbuf_tailroom(m));
		memcpy(rte_pktmbuf_append(m, (uint16_t)n), (const char *)data + done, n);
		done += n;
		if (head == NULL) {
			head = m;
		} else {
			tail->next = m;
			head->nb_segs++;
			head->pkt_len += (uint32_t)n;
		}
		tail = m;
		if (head->nb_segs == UINT16_MAX)
			break;
	}
	return head;
}

ssize_t sluice_send_copy(
    struct sluice_stack *st, sluice_conn_t h, const void *data, size_t len, unsigned int flags)
{
	struct rte_mbuf *head;
	struct target t;
	uint32_t have, limit;
	int rc;

	if (!find(st, h, &t))
		return -EBADF;
	rc = send_state(t.d);
	if (rc < 0 || len == 0)
		return rc;
	have = held(t.d);
	limit = atomic_load_explicit(&t.d->pub.sndbuf, memory_order_relaxed);
	if (have >= limit) {
		refuse(st, h, &t);
		return -EAGAIN;
	}
	head = copied(st, &t, data, RTE_MIN(len, (size_t)(limit - have)));
	if (SL_UNLIKELY(head == NULL))
		return -ENOBUFS;
	/* A part was taken: more follows, whatever the caller said. */
	flags = head->pkt_len < len ? flags | SLUICE_MSG_MORE : flags;
	len = head->pkt_len;
	rc = give(st, h, &t, head, flags & (SLUICE_MSG_OOB | SLUICE_MSG_MORE));
	if (SL_UNLIKELY(rc < 0)) {
		rte_pktmbuf_free(head);
		return rc;
	}
	return (ssize_t)len;
}

/* ---- external memory ---- */

/*
 * Finished records of one squeue. Of its own life: a driver, or another stack's receive queue, may
 * let go of the memory after this stack is gone. Counted: one for the squeue, one for each record.
 */
struct sl_zc {
	_Atomic uintptr_t done; /* newest first */
	_Atomic uint64_t refs;
	_Atomic bool dead; /* the squeue is gone: nobody to tell */
};

struct zc_record {
	struct rte_mbuf_ext_shared_info shinfo;
	struct zc_record *next;
	struct sl_zc *zc;
	sluice_conn_t conn;
	void *cookie;
};

static void zc_unref(struct sl_zc *zc)
{
	if (atomic_fetch_sub_explicit(&zc->refs, 1, memory_order_acq_rel) == 1)
		free(zc);
}

static void zc_sweep(struct sl_zc *zc)
{
	struct zc_record *z = (struct zc_record *)atomic_exchange(&zc->done, 0), *next;

	for (; z != NULL; z = next) {
		next = z->next;
		free(z);
		zc_unref(zc);
	}
}

static void zc_push(struct sl_zc *zc, struct zc_record *z)
{
	uintptr_t old = atomic_load_explicit(&zc->done, memory_order_relaxed);

	do {
		z->next = (struct zc_record *)old;
		/* Sequentially consistent, like the store of `dead`: one of the two sides sees the
		 * other and sweeps. */
	} while (!atomic_compare_exchange_weak(&zc->done, &old, (uintptr_t)z));
}

/* The last reference to the memory is gone; any thread. */
static void zc_free(void *addr, void *opaque)
{
	struct zc_record *z = opaque;
	struct sl_zc *zc = z->zc;

	atomic_fetch_add_explicit(&zc->refs, 1, memory_order_relaxed);
	zc_push(zc, z);
	if (atomic_load(&zc->dead))
		zc_sweep(zc);
	zc_unref(zc);
}

/* The connection has moved: by way of the squeue where it was born, which knows where it is, or will
 * know soon. */
static void zc_pass_on(struct sluice_squeue *sq, struct zc_record *z)
{
	struct sluice_stack *st = sq->stack;
	unsigned int to = SL_HANDLE_SQ(z->conn);
	uint32_t away = to == sq->id ? sl_door_of(st, z->conn)->away : 0;
	struct sl_zc *was = z->zc;

	if (away != 0 && !(away & SL_AWAY_HELD))
		to = SL_AWAY_SQ(away);
	z->zc = sl_tcp_of(st->sq[to])->zc;
	atomic_fetch_add_explicit(&z->zc->refs, 1, memory_order_relaxed);
	zc_push(z->zc, z);
	zc_unref(was);
}

static void zc_notify(struct sluice_squeue *sq, struct zc_record *z)
{
	struct sl_conn *c = sl_conn_get(sq, z->conn);

	if (SL_UNLIKELY(c == NULL && sl_handle_live(sq->stack, z->conn))) {
		zc_pass_on(sq, z);
		return;
	}
	if (c != NULL && c->up != NULL && c->up->zcopy_notify != NULL) {
		sl_upcall_begin(sq);
		c->up->zcopy_notify(c->up_arg, z->conn, z->cookie);
		sl_upcall_end(sq);
	}
	if (c != NULL && --c->zc_out == 0)
		sl_up_zcopy_done(sq, c); /* `closed` may have waited for this */
	zc_unref(z->zc);
	free(z);
}

bool sl_sock_zcopy_pending(const struct sluice_squeue *sq)
{
	return atomic_load_explicit(&sq->tcp->zc->done, memory_order_relaxed) != 0;
}

unsigned int sl_sock_zcopy_run(struct sluice_squeue *sq)
{
	struct sl_zc *zc = sl_tcp_of(sq)->zc;
	struct zc_record *z, *next, *fifo = NULL;
	unsigned int n = 0;

	if (atomic_load_explicit(&zc->done, memory_order_relaxed) == 0)
		return 0;
	z = (struct zc_record *)atomic_exchange_explicit(&zc->done, 0, memory_order_acquire);
	for (; z != NULL; z = next) {
		next = z->next;
		z->next = fifo;
		fifo = z;
	}
	for (z = fifo; z != NULL; z = next, n++) {
		next = z->next;
		zc_notify(sq, z);
	}
	return n;
}

int sl_sock_create(struct sluice_squeue *sq)
{
	struct sl_zc *zc = calloc(1, sizeof(*zc));

	if (zc == NULL)
		return -ENOMEM;
	atomic_init(&zc->refs, 1);
	sl_tcp_of(sq)->zc = zc;
	return 0;
}

void sl_sock_destroy(struct sluice_squeue *sq)
{
	struct sl_zc *zc = sl_tcp_of(sq)->zc;

	if (zc == NULL)
		return;
	sl_tcp_of(sq)->zc = NULL;
	atomic_store(&zc->dead, true);
	zc_sweep(zc);
	zc_unref(zc);
}

int sluice_send_external(struct sluice_stack *st, sluice_conn_t h, void *buf, uint64_t iova,
    size_t len, void *cookie, unsigned int flags)
{
	struct zc_record *z;
	struct rte_mbuf *m;
	struct target t;
	int rc;

	if (!find(st, h, &t))
		return -EBADF;
	rc = send_state(t.d);
	if (rc < 0)
		return rc;
	if (len == 0 || len > UINT16_MAX - 128)
		return -EINVAL;
	m = rte_pktmbuf_alloc(st->params.hdr_pool);
	z = malloc(sizeof(*z));
	if (m == NULL || z == NULL) {
		rte_pktmbuf_free(m);
		free(z);
		return -ENOBUFS;
	}
	z->zc = sl_tcp_of(t.sq)->zc;
	z->conn = h;
	z->cookie = cookie;
	z->shinfo.free_cb = zc_free;
	z->shinfo.fcb_opaque = z;
	rte_mbuf_ext_refcnt_set(&z->shinfo, 1);
	rte_pktmbuf_attach_extbuf(
	    m, buf, iova != 0 ? iova : (uintptr_t)buf, (uint16_t)len, &z->shinfo);
	m->data_off = 0;
	m->data_len = (uint16_t)len;
	m->pkt_len = (uint32_t)len;
	atomic_fetch_add_explicit(&z->zc->refs, 1, memory_order_relaxed);
	rc = send_chain(st, h, &t, m, (flags & (SLUICE_MSG_OOB | SLUICE_MSG_MORE)) | SL_MSG_ZC);
	if (rc < 0) {
		/* Nobody is told of a send that failed: with one reference more the mbuf does not
		 * call back. */
		rte_mbuf_ext_refcnt_update(&z->shinfo, 1);
		rte_pktmbuf_free(m);
		zc_unref(z->zc);
		free(z);
	}
	return rc;
}

/* ---- reading, on the squeue ---- */

static inline int reader(struct sluice_stack *st, sluice_conn_t h, struct target *t)
{
	if (!find(st, h, t))
		return -EBADF;
	return t->c == NULL ? -EPERM : 0;
}

ssize_t sluice_readable(struct sluice_stack *st, sluice_conn_t h)
{
	struct target t;
	int rc = reader(st, h, &t);

	return rc < 0 ? rc : (ssize_t)t.c->rcvq_bytes;
}

int sluice_peek(struct sluice_stack *st, sluice_conn_t h, struct iovec *iov, int n)
{
	struct target t;
	int rc = reader(st, h, &t), i = 0;

	if (rc < 0)
		return rc;
	for (struct rte_mbuf *m = t.c->rcvq_head; m != NULL && i < n; m = m->next) {
		if (m->data_len == 0)
			continue;
		iov[i].iov_base = rte_pktmbuf_mtod(m, void *);
		iov[i++].iov_len = m->data_len;
	}
	return i;
}

int sluice_consume(struct sluice_stack *st, sluice_conn_t h, size_t n)
{
	struct target t;
	int rc = reader(st, h, &t);

	if (rc < 0)
		return rc;
	if (n > t.c->rcvq_bytes)
		return -EINVAL;
	sl_rcv_consume(t.sq, t.c, n);
	sl_rcv_opened(t.sq, t.c);
	return 0;
}

ssize_t sluice_take(struct sluice_stack *st, sluice_conn_t h, size_t max, struct rte_mbuf **m)
{
	struct target t;
	uint32_t len = 0;
	int rc = reader(st, h, &t);

	*m = NULL;
	if (rc < 0)
		return rc;
	if (t.c->rcvq_bytes == 0 || max == 0)
		return 0;
	*m = sl_rcv_take(t.sq, t.c, max, &len);
	sl_rcv_opened(t.sq, t.c);
	return len;
}

/*
 * What was received goes to a send queue. The receive queue charges for buffers, the send queue for
 * bytes: a peer that sends one byte a segment must not make each of them hold a buffer until
 * another peer acknowledges it. So small pieces share buffers.
 */
static int splice_chain(
    struct sluice_stack *st, sluice_conn_t h, const struct target *t, struct rte_mbuf *m)
{
	bool behind = sl_door_has_chains(t->d); /* what waits there comes first */

	while (!behind && m != NULL && m->pkt_len / m->nb_segs <= t->sq->tun.tcp_copy_below) {
		struct rte_mbuf *rest;
		uint32_t n = sl_sendq_absorb(t->sq, t->c, &m);

		if (n > 0) {
			sl_sendq_take_credit(t->sq, t->c, n);
			t->c->flags &= ~SL_C_MSG_MORE;
			sl_output_schedule(t->sq, t->c);
			check_full(t->sq, t->c);
		}
		if (m == NULL || m->next == NULL)
			break;
		/* The next one begins a new buffer at the end of the queue. */
		rest = m->next;
		rest->pkt_len = m->pkt_len - m->data_len;
		rest->nb_segs = (uint16_t)(m->nb_segs - 1);
		m->next = NULL;
		m->nb_segs = 1;
		m->pkt_len = m->data_len;
		if (send_chain(st, h, t, m, 0) < 0) {
			rte_pktmbuf_free(rest);
			rte_pktmbuf_free(m);
			return -EPIPE;
		}
		m = rest;
	}
	if (m == NULL)
		return 0;
	if (send_chain(st, h, t, m, 0) < 0) {
		rte_pktmbuf_free(m);
		return -EPIPE;
	}
	return 0;
}

ssize_t sluice_splice(struct sluice_stack *st, sluice_conn_t from, sluice_conn_t to, size_t n)
{
	struct rte_mbuf *m;
	struct target f, t;
	ssize_t room, len;
	int rc = reader(st, from, &f);

	if (rc == 0)
		rc = reader(st, to, &t);
	if (rc < 0)
		return rc;
	if (SL_UNLIKELY(f.c->spliced != to || t.c->spliced != from)) {
		f.c->spliced = to;
		t.c->spliced = from;
	}
	room = sluice_sendable(st, to);
	if (room <= 0)
		return room < 0 ? room : -EAGAIN;
	len = sluice_take(st, from, n < (size_t)room ? n : (size_t)room, &m);
	if (len <= 0)
		return len;
	/* Cannot be refused: state and credit were looked at above, on the squeue of both. */
	rc = splice_chain(st, to, &t, m);
	return rc < 0 ? rc : len;
}
