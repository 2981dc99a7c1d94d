/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Readiness: poll and epoll.
 *
 * A watch ties a socket to an epoll instance. It stands in the socket's list, which only grows
 * while the socket lives, so that a squeue may walk it at any time without a lock; a watch that was
 * removed stays there, of nobody, and is used again. On a change whoever made it pushes the watch
 * to the instance's ready list, at most once (QUEUED), and wakes who sleeps there.
 *
 * epoll_wait takes watches off the ready list and asks the socket what holds now: so what is
 * reported is true when it is reported, however old the change. A level-triggered one that was
 * reported goes back to the list; an edge-triggered one waits for the next change. QUEUED is taken
 * off before the socket is asked: a change in between queues it again.
 *
 * Instances and watches are type-stable: a squeue that still holds an instance's number when that
 * was closed pushes into a list of nobody, which is emptied when the number is used again. The
 * flags OWNED and QUEUED say who still has a watch; who takes the last one off gives it back. Which
 * instance a watch is of changes under that instance's lock only.
 *
 * poll is an instance for one call.
 */
#include <posix/so.h>

#include <errno.h>

#define EV_FLAGS (EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP)
#define EV_ALWAYS (EPOLLERR | EPOLLHUP)

/* ---- what holds ---- */

/* Not being refused now: else asks to be told of room. */
static bool writable(struct sl_so *so, uint32_t s)
{
	sluice_conn_t c = atomic_load_explicit(&so->conn, memory_order_acquire);

	if (s & SL_SO_FULL)
		return false;
	if (sluice_sendable(so->st, c) != 0)
		return true;
	if (!(atomic_fetch_or(&so->state, SL_SO_ROOM) & SL_SO_ROOM))
		(void)sl_ring(so->st, c, SL_BELL_ROOM);
	return false;
}

uint32_t sl_so_events(struct sl_so *so)
{
	uint32_t s = sl_so_state(so), ev = 0;

	if (s & SL_SO_LISTENING)
		return atomic_load_explicit(&so->accepted_n, memory_order_acquire) > 0
			   ? EPOLLIN | EPOLLRDNORM
			   : 0;
	if (atomic_load_explicit(&so->error, memory_order_relaxed) != 0 ||
	    atomic_load_explicit(&so->zc_ready, memory_order_acquire) != 0)
		ev |= EPOLLERR;
	if (s & SL_SO_CONNECTING)
		return ev;
	if (!(s & (SL_SO_CONNECTED | SL_SO_DEAD)))
		return ev | EPOLLOUT | EPOLLWRNORM | EPOLLHUP;
	if (s & (SL_SO_EOF | SL_SO_RD_SHUT))
		ev |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
	else if (sl_so_rx_bytes(so) >= sl_so_lowat(so) + sl_so_at_urgent(so))
		ev |= EPOLLIN | EPOLLRDNORM;
	if ((s & (SL_SO_OOB | SL_SO_OOB_READ)) == SL_SO_OOB)
		ev |= EPOLLPRI;
	if ((s & (SL_SO_DEAD | SL_SO_WR_SHUT)) || writable(so, s))
		ev |= EPOLLOUT | EPOLLWRNORM;
	if ((s & SL_SO_DEAD) || ((s & SL_SO_WR_SHUT) && (s & (SL_SO_EOF | SL_SO_RD_SHUT))))
		ev |= EPOLLHUP;
	return ev;
}

/* ---- instances ---- */

static struct sl_ep *ep_get(struct sluice_stack *st, int fd)
{
	struct sl_ep *ep;
	uint32_t life;

	if (fd < 0 || !(fd & SL_EP_FD))
		return NULL;
	ep = sl_tpool_get(&sl_posix_of(st)->eps, (uint32_t)(fd & ~SL_EP_FD) + 1);
	if (ep == NULL)
		return NULL;
	life = atomic_load_explicit(&ep->life, memory_order_relaxed);
	do {
		if (!(life & SL_SO_OPEN))
			return NULL;
	} while (!atomic_compare_exchange_weak_explicit(
	    &ep->life, &life, life + 1, memory_order_acquire, memory_order_relaxed));
	return ep;
}

static struct sl_watch *watch_of(struct sluice_stack *st, uint32_t id)
{
	return sl_tpool_get(&sl_posix_of(st)->watches, id);
}

/* Takes a flag off; who takes the last one gives the watch back. */
static void watch_drop(struct sluice_stack *st, struct sl_watch *w, uint32_t flag)
{
	uint32_t was = atomic_fetch_and_explicit(&w->flags, ~flag, memory_order_acq_rel);

	if ((was & ~flag) == 0)
		sl_tpool_free(&sl_posix_of(st)->watches, w->idx);
}

static void ready_push(struct sl_ep *ep, struct sl_watch *w)
{
	uint32_t head = atomic_load_explicit(&ep->ready_in, memory_order_relaxed);

	do {
		atomic_store_explicit(&w->ready_next, head, memory_order_relaxed);
	} while (!atomic_compare_exchange_weak_explicit(
	    &ep->ready_in, &head, w->idx, memory_order_release, memory_order_relaxed));
}

/* Queue the watch unless it is; returns whether somebody slept. */
static bool ready(struct sl_ep *ep, struct sl_watch *w)
{
	uint32_t was = atomic_fetch_or_explicit(&w->flags, SL_WATCH_QUEUED, memory_order_acq_rel);
	sl_ep_wake_fn wake;

	if (!(was & SL_WATCH_QUEUED))
		ready_push(ep, w);
	if (sl_wq_wake(&ep->wq))
		return true;
	wake = atomic_load_explicit(&ep->wake, memory_order_acquire);
	if (!(was & SL_WATCH_QUEUED) && wake != NULL)
		wake(atomic_load_explicit(&ep->wake_arg, memory_order_relaxed));
	return false;
}

/* The oldest ready watch, QUEUED taken off; NULL: none. The lock is held. */
static struct sl_watch *ready_pop(struct sluice_stack *st, struct sl_ep *ep)
{
	for (;;) {
		struct sl_watch *w;
		uint32_t id = ep->ready_head, was;

		if (id == 0) {
			id = atomic_exchange_explicit(&ep->ready_in, 0, memory_order_acquire);
			ep->ready_tail = id;
			while (id != 0) {
				w = watch_of(st, id);
				id = atomic_load_explicit(&w->ready_next, memory_order_relaxed);
				atomic_store_explicit(
				    &w->ready_next, ep->ready_head, memory_order_relaxed);
				ep->ready_head = w->idx;
			}
			id = ep->ready_head;
			if (id == 0)
				return NULL;
		}
		w = watch_of(st, id);
		ep->ready_head = atomic_load_explicit(&w->ready_next, memory_order_relaxed);
		was = atomic_fetch_and_explicit(
		    &w->flags, ~(uint32_t)SL_WATCH_QUEUED, memory_order_seq_cst);
		if (!(was & SL_WATCH_OWNED))
			sl_tpool_free(&sl_posix_of(st)->watches, w->idx);
		else if (atomic_load_explicit(&w->ep, memory_order_acquire) == ep->idx)
			return w;
	}
}

int sluice_so_epoll_create(struct sluice_stack *st)
{
	uint32_t idx;
	struct sl_ep *ep = sl_tpool_alloc(&sl_posix_of(st)->eps, &idx);

	if (ep == NULL)
		return -ENFILE;
	if (ep->idx == 0) { /* fresh memory; the lock outlives the instance, like it */
		ep->idx = idx;
		pthread_mutex_init(&ep->lock, NULL);
	}
	atomic_store_explicit(&ep->wake, NULL, memory_order_relaxed);
	while (ready_pop(st, ep) != NULL) /* of an earlier life */
		;
	atomic_store_explicit(&ep->life, SL_SO_OPEN | 1, memory_order_release);
	return (int)(idx - 1) | SL_EP_FD;
}

static void ep_put(struct sluice_stack *st, struct sl_ep *ep)
{
	if (atomic_fetch_sub_explicit(&ep->life, 1, memory_order_acq_rel) != 1)
		return;
	while (ready_pop(st, ep) != NULL)
		;
	sl_tpool_free(&sl_posix_of(st)->eps, ep->idx);
}

/* ---- an instance's watches, under its lock ---- */

static void ep_link(struct sluice_stack *st, struct sl_ep *ep, struct sl_watch *w)
{
	w->ep_next = ep->first;
	w->ep_prev = 0;
	if (ep->first != 0)
		watch_of(st, ep->first)->ep_prev = w->idx;
	ep->first = w->idx;
	atomic_store_explicit(&w->ep, ep->idx, memory_order_release);
}

static void ep_unlink(struct sluice_stack *st, struct sl_ep *ep, struct sl_watch *w)
{
	if (w->ep_prev != 0)
		watch_of(st, w->ep_prev)->ep_next = w->ep_next;
	else
		ep->first = w->ep_next;
	if (w->ep_next != 0)
		watch_of(st, w->ep_next)->ep_prev = w->ep_prev;
	atomic_store_explicit(&w->ep, 0, memory_order_release);
}

/* ---- a socket's watches ---- */

/* The watch of this instance; *spare: one of nobody. watch_lock is held. */
static struct sl_watch *find(struct sl_so *so, uint32_t ep, struct sl_watch **spare)
{
	uint32_t id = atomic_load_explicit(&so->watches, memory_order_relaxed);

	*spare = NULL;
	while (id != 0) {
		struct sl_watch *w = watch_of(so->st, id);
		uint32_t of = atomic_load_explicit(&w->ep, memory_order_relaxed);

		if (of == ep)
			return w;
		if (of == 0 && !(atomic_load(&w->flags) & SL_WATCH_QUEUED))
			*spare = w;
		id = w->next;
	}
	return NULL;
}

/* Both locks are held. */
static int watch_add(
    struct sl_ep *ep, struct sl_so *so, const struct epoll_event *ev, struct sl_watch *spare)
{
	struct sl_watch *w = spare;
	uint32_t idx;

	if (w == NULL) {
		w = sl_tpool_alloc(&sl_posix_of(so->st)->watches, &idx);
		if (w == NULL)
			return -ENOSPC;
		w->idx = idx;
		w->next = atomic_load_explicit(&so->watches, memory_order_relaxed);
		atomic_store_explicit(&w->flags, SL_WATCH_OWNED, memory_order_relaxed);
	}
	w->so = so->idx;
	w->data = ev->data;
	atomic_store_explicit(&w->mask, ev->events | EV_ALWAYS, memory_order_relaxed);
	ep_link(so->st, ep, w);
	if (spare == NULL)
		atomic_store_explicit(&so->watches, w->idx, memory_order_release);
	return 0;
}

/* Leaves the instance if it is still of it; instance's lock is taken here. */
static void watch_leave(struct sluice_stack *st, struct sl_watch *w)
{
	uint32_t id = atomic_load_explicit(&w->ep, memory_order_acquire);
	struct sl_ep *ep = id == 0 ? NULL : sl_tpool_get(&sl_posix_of(st)->eps, id);

	if (ep == NULL)
		return;
	pthread_mutex_lock(&ep->lock);
	if (atomic_load_explicit(&w->ep, memory_order_relaxed) == id)
		ep_unlink(st, ep, w);
	pthread_mutex_unlock(&ep->lock);
}

void sl_so_unwatch(struct sl_so *so)
{
	uint32_t id = atomic_load_explicit(&so->watches, memory_order_acquire), of;
	struct sl_ep *ep;

	for (; id != 0; id = watch_of(so->st, id)->next) {
		of = atomic_load_explicit(&watch_of(so->st, id)->ep, memory_order_acquire);
		watch_leave(so->st, watch_of(so->st, id));
		/* Who sits in poll finds that there is no such descriptor. For epoll that is no event:
		 * nothing is queued, and `wake` is not called. */
		ep = of != 0 ? sl_tpool_get(&sl_posix_of(so->st)->eps, of) : NULL;
		if (ep != NULL)
			(void)sl_wq_wake(&ep->wq);
	}
}

void sl_so_watch_free(struct sl_so *so)
{
	uint32_t id = atomic_exchange(&so->watches, 0), next;

	for (; id != 0; id = next) {
		struct sl_watch *w = watch_of(so->st, id);

		next = w->next;
		SL_CHECK(atomic_load(&w->ep) == 0);
		watch_drop(so->st, w, SL_WATCH_OWNED);
	}
}

/* ---- telling ---- */

static bool wants(const struct sl_watch *w, uint32_t events)
{
	uint32_t mask = atomic_load_explicit(&w->mask, memory_order_relaxed);

	events |= (events & EPOLLIN ? EPOLLRDNORM : 0) | (events & EPOLLOUT ? EPOLLWRNORM : 0);
	return (mask & ~EV_FLAGS & events) != 0;
}

void sl_so_notify(struct sl_so *so, uint32_t events)
{
	uint32_t id = atomic_load_explicit(&so->watches, memory_order_acquire);
	bool served = false; /* of the exclusive ones, one that slept was woken */

	for (; id != 0; id = watch_of(so->st, id)->next) {
		struct sl_watch *w = watch_of(so->st, id);
		uint32_t of = atomic_load_explicit(&w->ep, memory_order_acquire);
		bool exclusive =
		    (atomic_load_explicit(&w->mask, memory_order_relaxed) & EPOLLEXCLUSIVE) != 0;

		if (of == 0 || !wants(w, events) || (exclusive && served))
			continue;
		if (ready(sl_tpool_get(&sl_posix_of(so->st)->eps, of), w) && exclusive)
			served = true;
	}
}

/* ---- epoll_ctl ---- */

static int ctl_locked(struct sl_ep *ep, struct sl_so *so, int op, const struct epoll_event *ev)
{
	struct sl_watch *spare, *w = find(so, ep->idx, &spare);

	switch (op) {
	case EPOLL_CTL_ADD:
		return w != NULL ? -EEXIST : watch_add(ep, so, ev, spare);
	case EPOLL_CTL_MOD:
		if (w == NULL)
			return -ENOENT;
		if ((ev->events | atomic_load(&w->mask)) & EPOLLEXCLUSIVE)
			return -EINVAL;
		w->data = ev->data;
		atomic_store_explicit(&w->mask, ev->events | EV_ALWAYS, memory_order_release);
		return 0;
	case EPOLL_CTL_DEL:
		if (w == NULL)
			return -ENOENT;
		ep_unlink(so->st, ep, w);
		return 0;
	default:
		return -EINVAL;
	}
}

static int ctl(struct sl_ep *ep, struct sl_so *so, int op, const struct epoll_event *ev)
{
	int rc;

	pthread_mutex_lock(&ep->lock);
	pthread_mutex_lock(&so->watch_lock);
	rc = ctl_locked(ep, so, op, ev);
	pthread_mutex_unlock(&so->watch_lock);
	pthread_mutex_unlock(&ep->lock);
	if (rc < 0 || op == EPOLL_CTL_DEL)
		return rc;
	/* Closed while it was added: close has looked at the list before, so it leaves here. */
	atomic_thread_fence(memory_order_seq_cst);
	if (sl_so_state(so) & SL_SO_CLOSED)
		sl_so_unwatch(so);
	/* What holds already counts as news, for both kinds of trigger. */
	sl_so_notify(so, sl_so_events(so));
	return 0;
}

int sluice_so_epoll_ctl(struct sluice_stack *st, int epfd, int op, int fd, struct epoll_event *ev)
{
	struct sl_ep *ep = ep_get(st, epfd);
	struct sl_so *so = sl_so_get(st, fd), *other;
	int rc;

	if (ep == NULL) {
		other = sl_so_get(st, epfd); /* a socket is no instance */
		rc = other != NULL ? -EINVAL : -EBADF;
		if (other != NULL)
			sl_so_put(other);
	} else if (so == NULL)
		rc = fd == epfd ? -EINVAL : -EBADF;
	else if (op != EPOLL_CTL_DEL && ev == NULL)
		rc = -EFAULT;
	else
		rc = ctl(ep, so, op, ev);
	if (so != NULL)
		sl_so_put(so);
	if (ep != NULL)
		ep_put(st, ep);
	return rc;
}

int sluice_so_epoll_wake(struct sluice_stack *st, int epfd, void (*wake)(void *arg), void *arg)
{
	struct sl_ep *ep = ep_get(st, epfd);

	if (ep == NULL)
		return -EBADF;
	atomic_store_explicit(&ep->wake_arg, arg, memory_order_relaxed);
	atomic_store_explicit(&ep->wake, wake, memory_order_release);
	ep_put(st, ep);
	return 0;
}

int sl_ep_close(struct sluice_stack *st, int fd)
{
	struct sl_ep *ep = ep_get(st, fd);

	if (ep == NULL)
		return -EBADF;
	if ((atomic_fetch_and(&ep->life, ~SL_SO_OPEN) & SL_SO_OPEN) == 0) {
		ep_put(st, ep);
		return -EBADF;
	}
	sl_wq_wake(&ep->wq);
	pthread_mutex_lock(&ep->lock);
	while (ep->first != 0)
		ep_unlink(st, ep, watch_of(st, ep->first));
	pthread_mutex_unlock(&ep->lock);
	ep_put(st, ep);
	ep_put(st, ep);
	return 0;
}

/* ---- epoll_wait ---- */

/* Reports one watch: false when nothing that it wants holds. The lock is held. */
static bool report(
    struct sluice_stack *st, struct sl_watch *w, struct epoll_event *out, bool *again)
{
	struct sl_so *so = sl_so_get(st, (int)w->so - 1);
	uint32_t mask = atomic_load_explicit(&w->mask, memory_order_acquire), ev;

	*again = false;
	if (so == NULL)
		return false;
	ev = sl_so_events(so) & mask & ~(uint32_t)EV_FLAGS;
	sl_so_put(so);
	if (ev == 0)
		return false;
	*out = (struct epoll_event){.events = ev, .data = w->data};
	if (mask & EPOLLONESHOT)
		atomic_store_explicit(&w->mask, mask & EV_FLAGS, memory_order_relaxed);
	*again = !(mask & (EPOLLET | EPOLLONESHOT));
	return true;
}

/* Those that go on being ready: back into the list, behind what came meanwhile. */
static void put_back(struct sluice_stack *st, struct sl_ep *ep, uint32_t list)
{
	while (list != 0) {
		struct sl_watch *w = watch_of(st, list);

		list = atomic_load_explicit(&w->ready_next, memory_order_relaxed);
		if (ep->ready_head == 0) {
			ep->ready_head = w->idx;
		} else {
			struct sl_watch *tail = watch_of(st, ep->ready_tail);

			atomic_store_explicit(&tail->ready_next, w->idx, memory_order_relaxed);
		}
		ep->ready_tail = w->idx;
		atomic_store_explicit(&w->ready_next, 0, memory_order_relaxed);
	}
}

static int collect(struct sluice_stack *st, struct sl_ep *ep, struct epoll_event *evs, int max)
{
	uint32_t back = 0, back_tail = 0;
	int n = 0;

	while (n < max) {
		struct sl_watch *w = ready_pop(st, ep);
		bool again;

		if (w == NULL)
			break;
		if (!report(st, w, &evs[n], &again))
			continue;
		n++;
		/* It may have been queued again since; then it is in the list already. */
		if (!again || (atomic_fetch_or(&w->flags, SL_WATCH_QUEUED) & SL_WATCH_QUEUED) != 0)
			continue;
		atomic_store_explicit(&w->ready_next, 0, memory_order_relaxed);
		if (back == 0)
			back = w->idx;
		else
			atomic_store_explicit(
			    &watch_of(st, back_tail)->ready_next, w->idx, memory_order_relaxed);
		back_tail = w->idx;
	}
	put_back(st, ep, back);
	return n;
}

/* The lock is not held while asleep. */
static int ep_wait(
    struct sluice_stack *st, struct sl_ep *ep, struct epoll_event *evs, int max, int timeout)
{
	uint64_t deadline = timeout < 0 ? UINT64_MAX : sl_wq_deadline(SLUICE_MS((uint64_t)timeout));
	bool wait = timeout != 0 && !sl_thread_polls();
	uint32_t seq = wait ? sl_wq_enter(&ep->wq) : 0;
	int n = 0, rc = 0;

	/* Who only looks is no sleeper: for it nobody is woken, and `wake` is called. */
	for (;;) {
		if (!(atomic_load(&ep->life) & SL_SO_OPEN)) {
			n = -EBADF;
			break;
		}
		if (sl_thread_polls()) {
			if (pthread_mutex_trylock(&ep->lock) != 0)
				break;
		} else {
			pthread_mutex_lock(&ep->lock);
		}
		n = collect(st, ep, evs, max);
		pthread_mutex_unlock(&ep->lock);
		if (n > 0 || !wait || rc < 0)
			break;
		rc = sl_wq_wait(&ep->wq, seq, deadline);
		if (rc == -EINTR) {
			n = -EINTR;
			break;
		}
		seq = atomic_load(&ep->wq.seq);
	}
	if (wait)
		sl_wq_leave(&ep->wq);
	return n;
}

int sluice_so_epoll_wait(
    struct sluice_stack *st, int epfd, struct epoll_event *evs, int max, int timeout)
{
	struct sl_ep *ep;
	int rc;

	if (max <= 0)
		return -EINVAL;
	if (evs == NULL)
		return -EFAULT;
	ep = ep_get(st, epfd);
	if (ep == NULL)
		return -EBADF;
	rc = ep_wait(st, ep, evs, max, timeout);
	ep_put(st, ep);
	return rc;
}

/* ---- poll ---- */

/* Would epoll_wait report something? What does not hold any more leaves the list, as it would there. */
static bool ep_ready(struct sluice_stack *st, struct sl_ep *ep)
{
	struct sl_watch *w;
	bool found = false;

	if (pthread_mutex_trylock(&ep->lock) != 0) {
		if (sl_thread_polls())
			return false;
		pthread_mutex_lock(&ep->lock);
	}
	while (!found && (w = ready_pop(st, ep)) != NULL) {
		struct sl_so *so = sl_so_get(st, (int)w->so - 1);

		if (so == NULL)
			continue;
		found = wants(w, sl_so_events(so));
		sl_so_put(so);
		if (!found || (atomic_fetch_or(&w->flags, SL_WATCH_QUEUED) & SL_WATCH_QUEUED) != 0)
			continue;
		atomic_store_explicit(&w->ready_next, ep->ready_head, memory_order_relaxed);
		if (ep->ready_head == 0)
			ep->ready_tail = w->idx;
		ep->ready_head = w->idx;
	}
	pthread_mutex_unlock(&ep->lock);
	return found;
}

static uint32_t ep_events(struct sluice_stack *st, int fd)
{
	struct sl_ep *ep = ep_get(st, fd);
	bool found;

	if (ep == NULL)
		return POLLNVAL;
	found = ep_ready(st, ep);
	ep_put(st, ep);
	return found ? EPOLLIN | EPOLLRDNORM : 0;
}

/* What holds now; returns how many have something. */
static int poll_look(struct sluice_stack *st, struct pollfd *fds, nfds_t n)
{
	int ready_n = 0;

	for (nfds_t i = 0; i < n; i++) {
		struct sl_so *so;

		fds[i].revents = 0;
		if (fds[i].fd < 0)
			continue;
		so = sl_so_get(st, fds[i].fd);
		if (so == NULL) {
			fds[i].revents = POLLNVAL;
			if (fds[i].fd & SL_EP_FD)
				fds[i].revents =
				    (short)(ep_events(st, fds[i].fd) &
					    ((uint32_t)(uint16_t)fds[i].events | POLLNVAL));
		} else {
			fds[i].revents = (short)(sl_so_events(so) &
						 ((uint32_t)(uint16_t)fds[i].events | EV_ALWAYS));
			sl_so_put(so);
		}
		ready_n += fds[i].revents != 0;
	}
	return ready_n;
}

/* An instance that watches all of them; a descriptor that stands there twice is watched for all. */
static int poll_watch(struct sluice_stack *st, int ep, const struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++) {
		struct epoll_event ev = {.events = (uint16_t)fds[i].events};
		int rc;

		if (fds[i].fd < 0)
			continue;
		rc = sluice_so_epoll_ctl(st, ep, EPOLL_CTL_ADD, fds[i].fd, &ev);
		if (rc == -EEXIST) {
			ev.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP;
			rc = sluice_so_epoll_ctl(st, ep, EPOLL_CTL_MOD, fds[i].fd, &ev);
		}
		if (rc < 0 && rc != -EBADF) /* closed meanwhile: the look tells */
			return -ENOMEM;
	}
	return 0;
}

/* The lock is not needed: what is ready is asked of the sockets, the instance only wakes. */
static int poll_wait(
    struct sluice_stack *st, struct sl_ep *ep, struct pollfd *fds, nfds_t n, uint64_t deadline)
{
	uint32_t seq = sl_wq_enter(&ep->wq);
	int found, rc = 0;

	/* What was ready may be gone when it is looked at: another thread has read it. */
	while ((found = poll_look(st, fds, n)) == 0 && rc == 0) {
		rc = sl_wq_wait(&ep->wq, seq, deadline);
		seq = atomic_load(&ep->wq.seq);
	}
	sl_wq_leave(&ep->wq);
	return found == 0 && rc == -EINTR ? rc : found;
}

int sluice_so_poll(struct sluice_stack *st, struct pollfd *fds, nfds_t n, int timeout)
{
	uint64_t deadline = timeout < 0 ? UINT64_MAX : sl_wq_deadline(SLUICE_MS((uint64_t)timeout));
	int found = poll_look(st, fds, n), fd, rc;
	struct sl_ep *ep;

	if (found > 0 || timeout == 0 || sl_thread_polls())
		return found;
	fd = sluice_so_epoll_create(st);
	if (fd < 0)
		return -ENOMEM;
	rc = poll_watch(st, fd, fds, n);
	ep = ep_get(st, fd);
	if (rc == 0 && ep != NULL)
		rc = poll_wait(st, ep, fds, n, deadline);
	if (ep != NULL)
		ep_put(st, ep);
	(void)sluice_so_close(st, fd);
	return rc;
}
