/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The applications: each end of a connection writes what its plan says, in that order, reads as it
 * says, in turn, checks every byte, and holds TCP to the order of upcalls. Nothing here is left to
 * chance.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mbuf.h>

#include "sim.h"

#define END_CHECK(e, ck, cond, fmt, ...) \
	SIM_CHECK((e)->sim, ck, cond, "conn %u side %u: " fmt, (e)->id, (e)->side, ##__VA_ARGS__)

static struct sim_pair *pair_of(const struct sim_end *e)
{
	return &e->sim->pair[e->id];
}

static void saw(struct sim_end *e, enum sluice_upcall up)
{
	static const char *const names[] = {"newconn", "connected", "disconnected", "opctl", "recv",
	    "txq_full", "signal_oob", "zcopy_notify", "set_error", "set_proto_props", "closed"};

	END_CHECK(e, SIM_CK_UPCALLS, !e->any_upcall || sluice_upcall_may_follow(e->last, up),
	    "%s after %s", names[up], names[e->last]);
	SIM_SAY(e->sim, "conn %u side %u: %s", e->id, e->side, names[up]);
	e->any_upcall = true;
	e->last = up;
}

/* Where it was born. */
static struct sluice_squeue *squeue_of(struct sim_end *e)
{
	return sluice_squeue(e->st, (unsigned int)(e->c >> 56));
}

/* On its way from squeue to squeue: nobody can read now; or at one that is parked, until it leaves. */
static bool travels(const struct sim_end *e)
{
	return sluice_conn_squeue(e->st, e->c) == -EAGAIN ||
	       (e->sim->parks[e->stack] != 0 && sluice_readable(e->st, e->c) == -EPERM);
}

/* The stream may be cut, and errors told: both ends, and those that carry it on. */
void sim_cut(struct sim_end *e)
{
	struct sim_pair *p = pair_of(e);

	if (p->cut)
		return;
	p->cut = true;
	for (unsigned int k = 0; k < 2; k++) {
		if (p->end[k].pipe_to != NULL)
			sim_cut(p->end[k].pipe_to);
		if (p->end[k].pipe_from != NULL)
			sim_cut(p->end[k].pipe_from);
	}
}

static void later(struct sim_end *e, uint64_t ns, sluice_timer_fn fn)
{
	struct sluice_squeue *sq = squeue_of(e);
	sluice_timer_t t;

	for (unsigned int i = 0; e->sim->gone[e->stack][sluice_squeue_id(sq)]; i++)
		sq = sluice_squeue(e->st, i);
	if (sluice_timer_start(sq, e->sim->now + ns, fn, e, &t) < 0)
		sim_fail(e->sim, SIM_CK_CALLS, "no timer");
}

/* ---- ending ---- */

static void do_shut(struct sim_end *e)
{
	int rc;

	if (e->shut || e->closing)
		return;
	e->shut = true;
	rc = sluice_shutdown(e->st, e->c, SHUT_WR);
	END_CHECK(e, SIM_CK_CALLS, rc == 0 || (rc == -ENOTCONN && e->ended), "shutdown: %d", rc);
}

static void do_close(struct sim_end *e, bool abortive)
{
	int rc;

	if (e->closing || e->closed || e->c == 0)
		return;
	if (abortive || e->linger == 0 || !e->eof || !e->up ||
	    (!e->ended && sluice_readable(e->st, e->c) != 0)) { /* less: it moves, nobody can say */
		/* What has not been read, or may still come, is lost. */
		if (abortive || e->linger == 0 || !e->up || e->rcv_shut ||
		    e->received < e->peer->to_send)
			sim_cut(e);
	}
	if (e->sent < e->to_send && e->peer->pipe_to != NULL)
		sim_cut(e);
	e->to_send = e->sent; /* what has not been written by now never is */
	e->closing = true;
	SIM_SAY(e->sim, "conn %u side %u: %s", e->id, e->side, abortive ? "abort()" : "close()");
	rc = abortive ? sluice_abort(e->st, e->c) : sluice_close(e->st, e->c);
	END_CHECK(e, SIM_CK_CALLS, rc == 0, "close: %d", rc);
}

static void try_close(struct sim_end *e)
{
	if (!e->eof || !e->shut || e->rpaused || e->wi < e->nw || sluice_readable(e->st, e->c) > 0)
		return;
	if (pair_of(e)->announced && !pair_of(e)->accepted && e->side == 1)
		return; /* not the user's yet */
	if (travels(e)) {
		e->retry = true;
		return;
	}
	do_close(e, false);
}

void sim_act(struct sim_end *e)
{
	e->act_set = false;
	if (e->c == 0 || e->closing || e->closed)
		return;
	e->sim->op_done[e->act_abort ? SIM_ABORTAT : SIM_CLOSEAT]++;
	do_close(e, e->act_abort);
}

/* ---- sending ---- */

static struct rte_mbuf *make_chain(struct sim_end *e, uint32_t len, uint64_t pieces)
{
	struct rte_mempool *mp = e->sim->pool[e->stack];
	struct rte_mbuf *head = NULL, *tail = NULL;

	for (uint32_t done = 0; done < len;) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(mp);
		uint32_t n = len - done;
		uint8_t *p;

		if (m == NULL) {
			rte_pktmbuf_free(head);
			return NULL;
		}
		n = RTE_MIN(n, (uint32_t)rte_pktmbuf_tailroom(m));
		if (n > 1 && pieces % 4 == 0)
			n = 1 + (uint32_t)(sim_hash(pieces, done) % n);
		p = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)n);
		for (uint32_t i = 0; i < n; i++)
			p[i] = sim_byte(e->key, e->sent + done + i);
		done += n;
		if (head == NULL) {
			head = m;
		} else {
			tail->next = m;
			head->nb_segs++;
			head->pkt_len += n;
		}
		tail = m;
	}
	return head;
}

static int write_chain(struct sim_end *e, uint32_t len, unsigned int flags)
{
	struct rte_mbuf *m = make_chain(e, len, sim_hash(e->key, e->wi));
	int rc;

	if (m == NULL)
		return -ENOBUFS;
	rc = sluice_send(e->st, e->c, m, flags);
	if (rc < 0)
		rte_pktmbuf_free(m);
	return rc < 0 ? rc : (int)len;
}

static int write_copy(struct sim_end *e, uint32_t len)
{
	uint8_t buf[4096];

	len = RTE_MIN(len, (uint32_t)sizeof(buf));
	for (uint32_t i = 0; i < len; i++)
		buf[i] = sim_byte(e->key, e->sent + i);
	return (int)sluice_send_copy(e->st, e->c, buf, len, 0);
}

static int write_ext(struct sim_end *e, uint32_t len)
{
	uint8_t *buf = malloc(len);
	int rc;

	if (buf == NULL)
		abort();
	for (uint32_t i = 0; i < len; i++)
		buf[i] = sim_byte(e->key, e->sent + i);
	rc = sluice_send_external(e->st, e->c, buf, 0, len, buf, 0);
	if (rc < 0) {
		free(buf);
		return rc;
	}
	e->ext_out++;
	return (int)len;
}

/* Bytes taken, or -errno. */
static int write_some(struct sim_end *e, const struct sim_item *it)
{
	uint32_t len = (uint32_t)((uint64_t)it->a[2] - e->woff);

	switch (it->op) {
	case SIM_COPY:
		return write_copy(e, len);
	case SIM_EXT:
		return write_ext(e, RTE_MIN(len, 60000u));
	case SIM_OOB:
		return write_chain(e, len, SLUICE_MSG_OOB);
	case SIM_MORE:
		return write_chain(e, len, SLUICE_MSG_MORE);
	default:
		return write_chain(e, len, 0);
	}
}

static void wake_writer(struct sluice_squeue *sq, void *arg)
{
	struct sim_end *e = arg;

	if (e->closed)
		return;
	e->wpaused = false;
	sim_pump(e);
}

static bool is_write(unsigned int op)
{
	return op == SIM_CHAIN || op == SIM_COPY || op == SIM_EXT || op == SIM_OOB ||
	       op == SIM_MORE;
}

/* True: the operation is over. */
static bool do_write(struct sim_end *e, const struct sim_item *it)
{
	int n = write_some(e, it);

	if (n < 0) {
		END_CHECK(e, SIM_CK_CALLS,
		    n == -EAGAIN || n == -ENOBUFS || e->ended || pair_of(e)->cut, "send: %d", n);
		e->retry = n == -ENOBUFS;
		return false;
	}
	e->sent += (uint64_t)n;
	e->woff += (uint64_t)n;
	if (e->woff < (uint64_t)it->a[2])
		return false;
	e->woff = 0;
	if (it->op == SIM_OOB && e->noob < RTE_DIM(e->oob))
		e->oob[e->noob++] = e->sent - 1;
	e->sim->op_done[it->op]++;
	return true;
}

static bool do_op(struct sim_end *e, const struct sim_item *it)
{
	switch (it->op) {
	case SIM_WPAUSE:
		e->wpaused = true;
		later(e, (uint64_t)it->a[2], wake_writer);
		break;
	case SIM_WAITEND:
		if (!e->eof)
			return false;
		break;
	case SIM_SHUT:
		do_shut(e);
		break;
	case SIM_CLOSE:
		do_close(e, false);
		break;
	case SIM_ABORT:
		do_close(e, true);
		break;
	default:
		return do_write(e, it);
	}
	e->sim->op_done[it->op]++;
	return true;
}

void sim_pump(struct sim_end *e)
{
	unsigned int stuck = 0;

	e->retry = false;
	while (e->up && !e->closing && !e->wpaused && e->wi < e->nw && stuck < 2) {
		const struct sim_item *it = e->w[e->wi];
		uint64_t was = e->sent;

		if ((e->shut || e->ended) &&
		    is_write(it->op)) { /* written after the end: refused */
			e->wi++;
			continue;
		}
		if (do_op(e, it)) {
			e->wi++;
			stuck = 0;
		} else if (e->sent == was) {
			stuck = 2;
		} else {
			stuck = 0;
		}
	}
	if (!e->up || e->closing || e->wpaused || e->wi < e->nw)
		return;
	if (e->pipe_from == NULL || (e->pipe_from->eof && e->pipe_from->noflow))
		do_shut(e);
	try_close(e);
}

/* ---- receiving ---- */

static void read_some(struct sim_end *e);

static void check_bytes(struct sim_end *e, const uint8_t *p, uint32_t n)
{
	uint64_t key = e->peer->key;
	uint32_t i = 0;

	while (i < n && p[i] == sim_byte(key, e->received + i))
		i++;
	END_CHECK(e, SIM_CK_STREAM, i == n, "wrong byte at %lu", (unsigned long)(e->received + i));
	e->received += n;
	END_CHECK(e, SIM_CK_STREAM, e->received <= e->peer->sent, "%lu bytes received, %lu sent",
	    (unsigned long)e->received, (unsigned long)e->peer->sent);
}

static void read_by_consume(struct sim_end *e, size_t most)
{
	struct iovec iov[8];
	int n = sluice_peek(e->st, e->c, iov, 8);
	size_t done = 0;

	for (int i = 0; i < n && done < most; i++) {
		size_t len = RTE_MIN(iov[i].iov_len, most - done);

		check_bytes(e, iov[i].iov_base, (uint32_t)len);
		done += len;
	}
	END_CHECK(e, SIM_CK_CALLS, done > 0 && sluice_consume(e->st, e->c, done) == 0,
	    "consume of %zu bytes that were peeked at", done);
}

static bool read_by_take(struct sim_end *e, size_t most)
{
	struct rte_mbuf *m;
	ssize_t len = sluice_take(e->st, e->c, most, &m), sum = 0;

	for (struct rte_mbuf *s = m; s != NULL; s = s->next) {
		check_bytes(e, rte_pktmbuf_mtod(s, uint8_t *), s->data_len);
		sum += s->data_len;
	}
	END_CHECK(e, SIM_CK_CALLS, len == sum && (m == NULL || m->pkt_len == (uint32_t)sum),
	    "take says %zd, the chain has %zd", len, sum);
	rte_pktmbuf_free(m);
	return len > 0;
}

/* Carry on to another connection; false: it takes nothing now. */
static bool read_by_pipe(struct sim_end *e)
{
	struct sim_end *to = e->pipe_to;
	ssize_t n;

	if (!to->up || to->closing || to->shut || to->ended) {
		if (to->closing || to->shut || to->ended) /* nobody takes it any more */
			return pair_of(e)->cut && read_by_take(e, SIZE_MAX);
		return false;
	}
	if (travels(to)) {
		e->reread = true;
		return false;
	}
	if (sluice_conn_squeue(e->st, e->c) == sluice_conn_squeue(to->st, to->c)) {
		n = sluice_splice(e->st, e->c, to->c, SIZE_MAX);
	} else {
		struct rte_mbuf *m;

		if (sluice_sendable(to->st, to->c) <= 0)
			return false;
		n = sluice_take(e->st, e->c, 4096, &m);
		if (n > 0 && sluice_send(to->st, to->c, m, 0) < 0) {
			rte_pktmbuf_free(m);
			sim_cut(e);
		}
	}
	END_CHECK(
	    e, SIM_CK_CALLS, n > 0 || n == -EAGAIN || n == 0 || pair_of(e)->cut, "splice: %zd", n);
	if (n <= 0)
		return false;
	e->received += (uint64_t)n;
	to->sent += (uint64_t)n;
	e->sim->op_done[SIM_PIPE]++;
	return true;
}

static void check_eof(struct sim_end *e)
{
	if (!e->eof || e->closed || (!e->closing && sluice_readable(e->st, e->c) > 0))
		return;
	if (!e->closing && travels(e)) {
		e->reread = true;
		return;
	}
	e->noflow = true;
	if (e->pipe_to != NULL)
		sim_pump(e->pipe_to);
	if (!e->closing)
		sim_pump(e);
}

static void wake_reader(struct sluice_squeue *sq, void *arg)
{
	struct sim_end *e = arg;

	if (e->closed)
		return;
	e->rpaused = false;
	if (!e->closing)
		(void)sluice_clr_flowctrl(e->st, e->c);
	read_some(e);
	check_eof(e);
}

static const struct sim_item *read_op(struct sim_end *e)
{
	for (unsigned int i = 0; i < e->nr; i++) {
		unsigned int k = e->ri++ % e->nr;
		bool once = e->r[k]->op != SIM_TAKE && e->r[k]->op != SIM_CONSUME;

		if (once && (e->once >> (k % 64) & 1))
			continue;
		if (once)
			e->once |= 1ull << (k % 64);
		return e->r[k];
	}
	return NULL;
}

static void pause_reader(struct sim_end *e, uint64_t ns)
{
	e->rpaused = true;
	later(e, ns, wake_reader);
}

static void read_some(struct sim_end *e)
{
	e->reread = false;
	while (!e->rpaused && !e->closing && e->c != 0) {
		ssize_t avail = sluice_readable(e->st, e->c);
		const struct sim_item *it;
		size_t most;
		bool more = true;

		if (travels(e)) {
			e->reread = true;
			break;
		}
		if (avail <= 0)
			break;
		if (e->pipe_to != NULL) {
			if (!read_by_pipe(e))
				break;
			continue;
		}
		it = read_op(e);
		most = it != NULL ? RTE_MIN((size_t)avail, (size_t)it->a[2]) : (size_t)avail;
		if (it == NULL || it->op == SIM_CONSUME)
			read_by_consume(e, most);
		else if (it->op == SIM_TAKE)
			more = read_by_take(e, most);
		else if (it->op == SIM_RPAUSE)
			pause_reader(e, (uint64_t)it->a[2]);
		else if (it->op == SIM_NOSPACE)
			e->pulled = (uint64_t)it->a[2];
		else if (it->op == SIM_SHUTRD) {
			e->rcv_shut = true;
			sim_cut(e);
			(void)sluice_shutdown(e->st, e->c, SHUT_RD);
		}
		if (it != NULL)
			e->sim->op_done[it->op]++;
		if (!more) { /* no buffer to copy a part into: the poll tries again */
			e->reread = true;
			break;
		}
	}
}

/* ---- upcalls ---- */

static int up_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct sim_end *e = arg;

	saw(e, SLUICE_UP_RECV);
	END_CHECK(e, SIM_CK_UPCALLS, !(e->eof && e->noflow), "recv after the end");
	read_some(e);
	sim_pump(e);
	if (e->pulled == 0 || e->closing)
		return 0;
	pause_reader(e, e->pulled);
	e->pulled = 0;
	return -ENOSPC;
}

static void up_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	struct sim_end *e = arg;

	saw(e, SLUICE_UP_OPCTL);
	if (op != SLUICE_OPCTL_SHUT_RECV)
		return;
	END_CHECK(e, SIM_CK_UPCALLS, !e->eof, "the end of the stream twice");
	e->eof = true;
	read_some(e);
	check_eof(e);
}

static void start(struct sim_end *e)
{
	e->up = true;
	sim_pump(e);
	if (e->pipe_from != NULL && e->pipe_from->c != 0 && !e->pipe_from->closed) {
		read_some(e->pipe_from);
		check_eof(e->pipe_from);
	}
}

static void up_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	struct sim_end *e = arg;

	saw(e, SLUICE_UP_CONNECTED);
	END_CHECK(e, SIM_CK_UPCALLS, !e->up, "connected twice");
	start(e);
}

/* An error must have a reason: something in the plan that may end a connection. */
static void up_disconnected(void *arg, sluice_conn_t c, int err)
{
	struct sim_end *e = arg;

	saw(e, SLUICE_UP_DISCONNECTED);
	SIM_SAY(e->sim, "conn %u side %u: error %d", e->id, e->side, err);
	e->ended = true;
	e->err = err;
	END_CHECK(e, SIM_CK_CAUSE, pair_of(e)->cut || !e->sim->calm,
	    "disconnected with %d, and nothing has happened", err);
	sim_cut(e);
	if (e->closing)
		return;
	e->closing = true;
	END_CHECK(e, SIM_CK_CALLS, sluice_close(e->st, c) == 0, "close after disconnected");
	for (unsigned int k = 0; k < 2; k++) {
		struct sim_end *o = k ? e->pipe_to : e->pipe_from;

		if (o != NULL && o->c != 0)
			do_close(o, true);
	}
}

static void up_txq_full(void *arg, sluice_conn_t c, bool full)
{
	struct sim_end *e = arg;

	saw(e, SLUICE_UP_TXQ_FULL);
	if (full)
		return;
	sim_pump(e);
	if (e->pipe_from != NULL && e->pipe_from->c != 0 && !e->pipe_from->closed) {
		read_some(e->pipe_from);
		check_eof(e->pipe_from);
	}
}

static void up_oob(void *arg, sluice_conn_t c, size_t mark)
{
	struct sim_end *e = arg;
	uint64_t at = e->received + mark;
	bool known = false;

	saw(e, SLUICE_UP_SIGNAL_OOB);
	for (unsigned int i = 0; i < e->peer->noob; i++)
		known |= e->peer->oob[i] == at || (mark == 0 && e->peer->oob[i] < at);
	END_CHECK(e, SIM_CK_URGENT,
	    known || e->peer->to_send > 60000 || e->peer->noob == RTE_DIM(e->oob),
	    "the mark is at %lu", (unsigned long)at);
}

static void up_zcopy(void *arg, sluice_conn_t c, void *cookie)
{
	struct sim_end *e = arg;

	saw(e, SLUICE_UP_ZCOPY_NOTIFY);
	END_CHECK(e, SIM_CK_UPCALLS, e->ext_out > 0, "zcopy_notify of nothing");
	e->ext_out--;
	free(cookie); /* a second time, or a use after this: the sanitizer's to find */
}

static void up_error(void *arg, sluice_conn_t c, int err)
{
	saw(arg, SLUICE_UP_SET_ERROR);
}

static void up_props(void *arg, sluice_conn_t c, size_t sndbuf, size_t rcvbuf, uint32_t mss)
{
	saw(arg, SLUICE_UP_SET_PROTO_PROPS);
}

static void up_closed(void *arg, sluice_conn_t c)
{
	struct sim_end *e = arg;

	saw(e, SLUICE_UP_CLOSED);
	END_CHECK(e, SIM_CK_UPCALLS, !e->closed, "closed twice");
	END_CHECK(e, SIM_CK_UPCALLS, e->closing, "closed without close()");
	END_CHECK(
	    e, SIM_CK_UPCALLS, e->ext_out == 0, "closed with %u external buffers out", e->ext_out);
	e->closed = true;
}

const struct sluice_upcalls sim_end_upcalls = {.size = sizeof(struct sluice_upcalls),
    .recv = up_recv,
    .opctl = up_opctl,
    .connected = up_connected,
    .disconnected = up_disconnected,
    .txq_full = up_txq_full,
    .signal_oob = up_oob,
    .zcopy_notify = up_zcopy,
    .set_error = up_error,
    .set_proto_props = up_props,
    .closed = up_closed};

/* ---- listeners ---- */

static void accept_now(struct sluice_squeue *sq, void *arg)
{
	struct sim_end *e = arg;
	struct sim *s = e->sim;

	if (e->closed || pair_of(e)->accepted)
		return;
	if (!s->unlistened[e->stack] && !e->closing) {
		int rc = sluice_accept(e->st, s->listener[e->stack], e->c);

		if (rc == -EXDEV && s->parks[e->stack] != 0) { /* a guest where nobody polls */
			later(e, SLUICE_MS(1), accept_now);
			return;
		}
		/* It may have come to its orderly end before. */
		END_CHECK(e, SIM_CK_CALLS,
		    rc == 0 || rc == -ECONNABORTED || pair_of(e)->cut || !s->calm, "accept: %d",
		    rc);
	}
	pair_of(e)->accepted = true;
	if (!e->closing) {
		read_some(e);
		check_eof(e);
		sim_pump(e);
	}
}

static struct sim_pair *pair_of_eager(
    struct sim *s, unsigned int stack, const struct sockaddr_in6 *peer)
{
	for (unsigned int i = 0; i < SIM_MAX_CONNS; i++) {
		struct sim_pair *p = &s->pair[i];
		struct sockaddr_in6 local;
		socklen_t len = sizeof(local);

		if (!p->opened || p->simul || p->end[1].c != 0 || p->end[0].c == 0 ||
		    p->end[1].stack != stack)
			continue;
		if (sluice_getsockname(
			p->end[0].st, p->end[0].c, (struct sockaddr *)&local, &len) == 0 &&
		    local.sin6_port == peer->sin6_port &&
		    memcmp(&local.sin6_addr, &peer->sin6_addr, sizeof(peer->sin6_addr)) == 0)
			return p;
	}
	return NULL;
}

static void begin_eager(struct sluice_squeue *sq, void *arg)
{
	struct sim_end *e = arg;

	if (!e->closed && !e->closing)
		start(e);
}

static int up_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct sim_listen *sl = arg;
	struct sim *s = sl->sim;
	struct sockaddr_in6 peer;
	socklen_t len = sizeof(peer);
	struct sim_pair *p;
	struct sim_end *e;

	SIM_CHECK(s, SIM_CK_UPCALLS, l == s->listener[sl->stack], "newconn of another listener");
	SIM_CHECK(s, SIM_CK_CALLS,
	    sluice_getpeername(s->st[sl->stack], eager, (struct sockaddr *)&peer, &len) == 0,
	    "an eager without a peer");
	p = pair_of_eager(s, sl->stack, &peer);
	if (p == NULL || p->refused) {
		if (p != NULL) {
			sim_cut(&p->end[0]);
			s->op_done[SIM_REFUSE]++;
		}
		return -ECONNREFUSED; /* or its client has given up */
	}
	e = &p->end[1];
	e->c = eager;
	p->announced = true;
	*up_arg = e;
	*up = &sim_end_upcalls;
	if (p->accept_after == 0) {
		p->accepted = true;
		(void)sluice_accept(s->st[sl->stack], l, eager);
	} else {
		s->op_done[SIM_ACCEPTAT]++;
		if (p->accept_after < SLUICE_SEC(3600))
			later(e, p->accept_after, accept_now);
	}
	later(e, 0, begin_eager);
	return 0;
}

static void listener_closed(void *arg, sluice_conn_t c)
{
	struct sim_listen *sl = arg;

	SIM_CHECK(sl->sim, SIM_CK_UPCALLS,
	    !sl->sim->listener_gone[sl->stack] && sl->sim->unlistened[sl->stack],
	    "a listener closed twice, or without close()");
	sl->sim->listener_gone[sl->stack] = true;
	/* What it has not accepted the user ends with it. */
	for (unsigned int i = 0; i < SIM_MAX_CONNS; i++) {
		struct sim_pair *p = &sl->sim->pair[i];

		if (p->announced && !p->accepted && p->end[1].stack == sl->stack)
			do_close(&p->end[1], true);
	}
}

const struct sluice_upcalls sim_listener_upcalls = {
    .size = sizeof(struct sluice_upcalls), .newconn = up_newconn, .closed = listener_closed};

/* ---- opening ---- */

struct sockaddr_in6 sim_addr(unsigned int link, unsigned int end, bool v6, uint16_t port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	if (v6) {
		a.sin6_addr.s6_addr[0] = 0xfd;
		a.sin6_addr.s6_addr[3] = (uint8_t)(link + 1);
		a.sin6_addr.s6_addr[15] = (uint8_t)(end + 1);
	} else {
		a.sin6_addr.s6_addr[10] = a.sin6_addr.s6_addr[11] = 0xff;
		a.sin6_addr.s6_addr[12] = 10;
		a.sin6_addr.s6_addr[14] = (uint8_t)(link + 1);
		a.sin6_addr.s6_addr[15] = (uint8_t)(end + 1);
	}
	return a;
}

static int open_end(struct sim_end *e, uint16_t lport, uint16_t rport)
{
	struct sim_pair *p = pair_of(e);
	unsigned int at = e->side == 0 ? p->from : !p->from;
	struct sockaddr_in6 l = sim_addr(p->link, at, p->v6, lport),
			    r = sim_addr(p->link, !at, p->v6, rport);
	struct linger lg = {.l_onoff = 1, .l_linger = e->linger};
	int on = 1, rc = sluice_create(e->st, AF_INET6, SOCK_STREAM, 0, 0, e->born, &e->c);

	if (rc < 0)
		return rc;
	rc = sluice_activate(e->st, e->c, &sim_end_upcalls, e);
	/* An abort's RST may be lost: without keepalive its peer would wait for ever, and rightly
	 * so. */
	if (rc == 0)
		rc = sluice_setsockopt(e->st, e->c, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (rc == 0 && e->linger >= 0)
		rc = sluice_setsockopt(e->st, e->c, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg));
	if (rc == 0 && lport != 0)
		rc = sluice_bind(e->st, e->c, (struct sockaddr *)&l, sizeof(l));
	if (rc == 0)
		rc = sluice_connect(e->st, e->c, (struct sockaddr *)&r, sizeof(r), NULL);
	return rc == -EINPROGRESS ? 0 : rc;
}

/* The SYN has not left yet: output runs later. */
static void near_wrap(struct sim_end *e, uint32_t below)
{
	struct sl_conn *c = sl_conn_get(squeue_of(e), e->c);

	if (c == NULL || c->state != SLUICE_SYN_SENT)
		return;
	c->iss = c->snd_una = c->snd_up = 0u - 1 - below;
	c->snd_nxt = c->snd_max = c->iss + 1;
}

static void open_failed(struct sim_end *e, int rc)
{
	SIM_CHECK(e->sim, SIM_CK_CALLS, !e->sim->calm, "conn %u: open %d", e->id, rc);
	sim_cut(e);
	e->ended = e->closing = true;
	if (e->c != 0)
		(void)sluice_abort(e->st, e->c);
}

void sim_open(struct sim *s, unsigned int i)
{
	struct sim_pair *p = &s->pair[i];
	struct sim_end *a = &p->end[0], *b = &p->end[1];
	int rc =
	    open_end(a, p->simul ? (uint16_t)(2000 + i) : 0, p->simul ? (uint16_t)(3000 + i) : 80);

	p->opened = true;
	SIM_SAY(s, "conn %u: opened: %d", i, rc);
	if (rc != 0) {
		open_failed(a, rc);
		b->closed = true;
		return;
	}
	if (s->unlistened[b->stack] && !p->simul)
		sim_cut(a);
	if (p->simul) {
		rc = open_end(b, (uint16_t)(3000 + i), (uint16_t)(2000 + i));
		if (rc != 0) {
			open_failed(b, rc);
			return;
		}
	}
	if (p->has_wrap)
		near_wrap(a, p->wrap);
	for (unsigned int k = 0; k < 2; k++) {
		struct sim_end *e = &p->end[k];

		if (e->early_shut && e->c != 0) {
			e->wi = e->nw;
			e->to_send = 0;
			do_shut(e);
			s->op_done[SIM_EARLYSHUT]++;
		}
		if (e->act_set)
			e->act_at += s->now;
	}
}

/* A pipe whose other connection is gone, or never comes, is of no use. */
void sim_check_pipe(struct sim_end *e)
{
	for (unsigned int k = 0; k < 2; k++) {
		struct sim_end *o = k ? e->pipe_to : e->pipe_from;

		if (o == NULL || !pair_of(o)->cut || e->closing || !e->up)
			continue;
		if (o->ended || o->closed || (o->c == 0 && o->peer->closed))
			do_close(e, true);
	}
}

bool sim_pair_ended(const struct sim *s, unsigned int i)
{
	const struct sim_pair *p = &s->pair[i];

	if (!p->used)
		return true;
	if (p->announced && !p->accepted && p->accept_after >= SLUICE_SEC(3600))
		return true; /* never accepted: the listener's end is its end */
	for (unsigned int k = 0; k < 2; k++)
		if (p->end[k].c != 0 && !p->end[k].closed)
			return false;
	/* A server's end may still come while its client waits. */
	return p->opened;
}

void sim_retry(struct sim_end *e)
{
	read_some(e);
	check_eof(e);
	sim_pump(e);
}
