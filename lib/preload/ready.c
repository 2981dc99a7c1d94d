/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Waiting for descriptors of both kinds at once.
 *
 * An epoll instance of the program is the kernel's, and has beside it an instance of the stack and
 * an eventfd, made when the first socket of the dataplane is added. A wait takes what the stack has
 * ready; when there is nothing it says "armed", looks once more, and sleeps in the kernel, where
 * the eventfd stands among the others (edge-triggered, so nobody has to read it). Whoever makes
 * something ready writes to the eventfd once, and only when somebody is armed. A thread that was
 * woken wakes the next one when there may be more: level-triggered sockets stay ready, and in the
 * kernel other sleepers would see that, too.
 *
 * poll and select with descriptors of the dataplane alone sleep in the stack. With both kinds they
 * use an instance and an eventfd of the thread, which are kept for its next call.
 */
#include "preload.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- time ---- */

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Until a deadline; negative: for ever. */
static int64_t left_ns(int64_t deadline)
{
	int64_t n;

	if (deadline < 0)
		return -1;
	n = deadline - now_ns();
	return n > 0 ? n : 0;
}

static int64_t deadline_of(int64_t timeout_ns)
{
	return timeout_ns < 0 || timeout_ns > INT64_MAX / 2 ? -1 : now_ns() + timeout_ns;
}

static int to_ms(int64_t ns)
{
	if (ns < 0)
		return -1;
	ns = (ns + 999999) / 1000000;
	return ns > INT_MAX ? INT_MAX : (int)ns;
}

static int64_t of_ms(int ms)
{
	return ms < 0 ? -1 : (int64_t)ms * 1000000;
}

/* ---- wakers ---- */

static void waker_write(struct slp_waker *w)
{
	int saved = errno, fd = slp_inside ? w->lcore_fd : atomic_load(&w->fd);
	uint64_t one = 1;

	(void)!slp_real()->write(fd, &one, sizeof(one));
	errno = saved;
}

/* On whatever thread made something ready. */
static void wake(void *arg)
{
	struct slp_waker *w = arg;

	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&w->armed, memory_order_relaxed) == 0 &&
	    !atomic_load_explicit(&w->always, memory_order_relaxed))
		return;
	if (atomic_exchange(&w->armed, 0) != 0 || atomic_load(&w->always))
		waker_write(w);
}

static void arm(struct slp_waker *w)
{
	atomic_fetch_add(&w->sleepers, 1);
	atomic_store(&w->armed, 1);
	atomic_thread_fence(memory_order_seq_cst);
}

static void disarm(struct slp_waker *w)
{
	/* The others still sleep; what was written for them may have come to us. */
	atomic_store(&w->armed, atomic_fetch_sub(&w->sleepers, 1) > 1);
	atomic_thread_fence(memory_order_seq_cst);
}

/* ---- epoll: instances ---- */

void slp_epoll_new(int fd)
{
	struct slp_file *f;
	int saved = errno;

	if (fd < 0 || slp_inside || !slp_enabled())
		return;
	f = slp_file_new(SLP_EPOLL);
	if (f != NULL && slp_install(fd, f) != 0)
		slp_put(f);
	errno = saved;
}

SLP_EXPORT int epoll_create(int size)
{
	int fd = slp_real()->epoll_create(size);

	slp_epoll_new(fd);
	return fd;
}

SLP_EXPORT int epoll_create1(int flags)
{
	int fd = slp_real()->epoll_create1(flags);

	slp_epoll_new(fd);
	return fd;
}

/* The stack's half of an instance. Under its lock. */
static int pair_up(struct slp_file *e, int epfd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = &e->waker};
	int ep, rc;

	ep = slp_eng->epoll_create(slp_st);
	if (ep < 0)
		return ep;
	rc = slp_waker_open(&e->waker);
	if (rc == 0 &&
	    slp_real()->epoll_ctl(epfd, EPOLL_CTL_ADD, atomic_load(&e->waker.fd), &ev) != 0)
		rc = -errno;
	if (rc == 0)
		rc = slp_eng->epoll_wake(slp_st, ep, wake, &e->waker);
	if (rc < 0) {
		slp_waker_close(&e->waker);
		(void)slp_eng->close(slp_st, ep);
		return rc;
	}
	atomic_store_explicit(&e->ep, ep, memory_order_release);
	return 0;
}

static int paired(struct slp_file *e, int epfd)
{
	int rc = 0;

	if (atomic_load_explicit(&e->ep, memory_order_acquire) >= 0)
		return 0;
	pthread_mutex_lock(&e->lock);
	if (atomic_load(&e->ep) < 0)
		rc = pair_up(e, epfd);
	pthread_mutex_unlock(&e->lock);
	return rc;
}

static void waker_read(struct slp_waker *w)
{
	int saved = errno;
	uint64_t count;

	(void)!slp_real()->read(atomic_load(&w->fd), &count, sizeof(count));
	errno = saved;
}

/* Somebody waits for the instance itself: from now on the eventfd's count says whether the stack's
 * half is ready. */
static void nest(struct slp_file *e)
{
	struct pollfd p = {.fd = atomic_load(&e->ep), .events = POLLIN};

	if (e->kind != SLP_EPOLL)
		return;
	atomic_store(&e->waker.always, true);
	if (p.fd < 0)
		return;
	waker_read(&e->waker);
	if (slp_eng->poll(slp_st, &p, 1, 0) > 0)
		waker_write(&e->waker);
}

/* ---- epoll_ctl ---- */

static int ctl_own(struct slp_file *e, int epfd, int op, struct slp_file *f, struct epoll_event *ev)
{
	int rc = op == EPOLL_CTL_DEL && atomic_load(&e->ep) < 0 ? -ENOENT : paired(e, epfd);

	if (rc == 0)
		rc = slp_eng->epoll_ctl(slp_st, atomic_load(&e->ep), op, f->so, ev);
	return rc;
}

/* The kernel's; a socket of which nothing is known may be ours later. */
static int ctl_kernel(
    struct slp_file *e, int epfd, int op, int fd, struct slp_file *f, struct epoll_event *ev)
{
	int rc = slp_real()->epoll_ctl(epfd, op, fd, ev);

	if (rc != 0 || e == NULL)
		return rc;
	if (op == EPOLL_CTL_ADD)
		atomic_fetch_add(&e->nkernel, 1);
	else if (op == EPOLL_CTL_DEL)
		atomic_fetch_sub(&e->nkernel, 1);
	if (f == NULL || f->kind != SLP_SOCKET || atomic_load(&f->state) >= SLP_OWN)
		return 0;
	pthread_mutex_lock(&f->lock);
	if (op == EPOLL_CTL_DEL) {
		f->reg_ep = -1;
	} else {
		f->reg_ep = epfd;
		f->reg_fd = fd;
		f->reg_ev = *ev;
	}
	pthread_mutex_unlock(&f->lock);
	return 0;
}

SLP_EXPORT int epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	struct slp_file *e = slp_get(epfd), *f = slp_get(fd);
	int rc = 1;

	if (f != NULL && f->kind == SLP_INTERNAL)
		rc = -EBADF;
	else if (f != NULL && f->kind == SLP_EPOLL)
		nest(f);
	else if (f != NULL && e != NULL && e->kind == SLP_EPOLL)
		rc = slp_use(f, fd, op == EPOLL_CTL_ADD);
	if (rc == 0)
		rc = slp_ret(ctl_own(e, epfd, op, f, ev));
	else if (rc == 1)
		rc = ctl_kernel(e, epfd, op, fd, f, ev);
	else
		rc = slp_ret(rc);
	if (e != NULL)
		slp_put(e);
	if (f != NULL)
		slp_put(f);
	return rc;
}

void slp_epoll_move(struct slp_file *f)
{
	struct slp_file *e;
	int epfd, fd;

	pthread_mutex_lock(&f->lock);
	epfd = f->reg_ep;
	fd = f->reg_fd;
	f->reg_ep = -1;
	pthread_mutex_unlock(&f->lock);
	if (epfd < 0 || slp_real()->epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL) != 0)
		return;
	e = slp_get(epfd);
	if (e == NULL)
		return;
	atomic_fetch_sub(&e->nkernel, 1);
	(void)ctl_own(e, epfd, EPOLL_CTL_ADD, f, &f->reg_ev);
	slp_put(e);
}

/* ---- epoll_wait ---- */

struct waiting {
	struct slp_file *e;
	int epfd, max;
	struct epoll_event *evs;
	const sigset_t *mask;
	bool woken; /* the eventfd was among them */
};

/* Of the stack, behind the n that are there. */
static int take_own(struct waiting *w, int n)
{
	int rc;

	if (n >= w->max)
		return n;
	rc = slp_eng->epoll_wait(slp_st, atomic_load(&w->e->ep), w->evs + n, w->max - n, 0);
	if (rc <= 0)
		return n;
	/* For other sleepers, and for who waits for the instance. */
	if (atomic_load(&w->e->waker.sleepers) > 0 || atomic_load(&w->e->waker.always))
		waker_write(&w->e->waker);
	w->e->kernel_first = n + rc == w->max;
	return n + rc;
}

/* Of the kernel, behind the n that are there. -1 and errno. */
static int take_kernel(struct waiting *w, int n, int64_t timeout_ns)
{
	int got, out = n;

	if (n >= w->max)
		return n;
	got = slp_real()->epoll_pwait(w->epfd, w->evs + n, w->max - n, to_ms(timeout_ns), w->mask);
	if (got < 0)
		return n > 0 ? n : -1;
	for (int i = n; i < n + got; i++) {
		if (w->evs[i].data.ptr == &w->e->waker)
			w->woken = true;
		else
			w->evs[out++] = w->evs[i];
	}
	return out;
}

/* What is ready now. */
static int take_both(struct waiting *w)
{
	bool kernel = atomic_load(&w->e->nkernel) > 0 || atomic_load(&w->e->waker.always);
	int n = 0;

	if (kernel && w->e->kernel_first) {
		w->e->kernel_first = false;
		n = take_kernel(w, 0, 0);
		return n < 0 ? n : take_own(w, n);
	}
	n = take_own(w, 0);
	return kernel ? take_kernel(w, n, 0) : n;
}

static int wait_both(struct waiting *w, int64_t timeout_ns)
{
	int64_t deadline = deadline_of(timeout_ns);
	int n = take_both(w);

	while (n == 0 && timeout_ns != 0) {
		arm(&w->e->waker);
		n = take_own(w, 0);
		if (n == 0)
			n = take_kernel(w, 0, left_ns(deadline));
		disarm(&w->e->waker);
		if (n >= 0)
			n = take_own(w, n);
		if (n == 0 && left_ns(deadline) == 0)
			break;
	}
	return n;
}

static int do_epoll_wait(
    int epfd, struct epoll_event *evs, int max, int64_t timeout_ns, const sigset_t *mask)
{
	struct waiting w = {.epfd = epfd, .max = max, .evs = evs, .mask = mask};
	int n;

	w.e = slp_get(epfd);
	if (w.e != NULL && w.e->kind == SLP_EPOLL && max > 0 && evs != NULL &&
	    atomic_load_explicit(&w.e->ep, memory_order_acquire) >= 0)
		n = wait_both(&w, timeout_ns);
	else
		n = slp_real()->epoll_pwait(epfd, evs, max, to_ms(timeout_ns), mask);
	if (w.e != NULL)
		slp_put(w.e);
	return n;
}

SLP_EXPORT int epoll_wait(int epfd, struct epoll_event *evs, int max, int timeout)
{
	return do_epoll_wait(epfd, evs, max, of_ms(timeout), NULL);
}

SLP_EXPORT int epoll_pwait(
    int epfd, struct epoll_event *evs, int max, int timeout, const sigset_t *mask)
{
	return do_epoll_wait(epfd, evs, max, of_ms(timeout), mask);
}

SLP_EXPORT int epoll_pwait2(int epfd, struct epoll_event *evs, int max,
    const struct timespec *timeout, const sigset_t *mask)
{
	return do_epoll_wait(epfd, evs, max,
	    timeout == NULL ? -1 : (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_nsec, mask);
}

/* ---- poll ---- */

/* What a thread needs to wait for both kinds. */
struct poller {
	int ep;
	bool busy; /* a signal handler may poll, too */
	struct slp_waker waker;
};
static pthread_key_t poller_key;
static pthread_once_t poller_once = PTHREAD_ONCE_INIT;

static void poller_free(void *arg)
{
	struct poller *p = arg;

	slp_waker_close(&p->waker);
	if (slp_running())
		(void)slp_eng->close(slp_st, p->ep);
	free(p);
}

static void poller_key_make(void)
{
	(void)pthread_key_create(&poller_key, poller_free);
}

static struct poller *poller_new(void)
{
	struct poller *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->waker.fd = p->waker.lcore_fd = -1;
	p->ep = slp_eng->epoll_create(slp_st);
	if (p->ep < 0 || slp_waker_open(&p->waker) != 0 ||
	    slp_eng->epoll_wake(slp_st, p->ep, wake, &p->waker) != 0) {
		if (p->ep >= 0)
			poller_free(p);
		else
			free(p);
		return NULL;
	}
	return p;
}

static struct poller *poller_get(void)
{
	struct poller *p;

	(void)pthread_once(&poller_once, poller_key_make);
	p = pthread_getspecific(poller_key);
	if (p != NULL && p->busy)
		return poller_new();
	if (p == NULL) {
		p = poller_new();
		if (p != NULL && pthread_setspecific(poller_key, p) != 0) {
			poller_free(p);
			p = NULL;
		}
	}
	if (p != NULL)
		p->busy = true;
	return p;
}

static void poller_put(struct poller *p)
{
	if (pthread_getspecific(poller_key) == p)
		p->busy = false;
	else
		poller_free(p);
}

/* One call. own and kernel have the caller's order; each holds -1 where the other has a number. */
struct polling {
	struct pollfd *fds, *own, *kernel;
	struct slp_file **files;
	nfds_t n, nown, nkernel;
	const sigset_t *mask;
};

static int revents(struct polling *p)
{
	int found = 0;

	for (nfds_t i = 0; i < p->n; i++) {
		p->fds[i].revents = (short)(p->own[i].revents | p->kernel[i].revents);
		found += p->fds[i].revents != 0;
	}
	return found;
}

static int look_own(struct polling *p)
{
	int rc = slp_eng->poll(slp_st, p->own, p->n, 0);

	return rc < 0 ? 0 : rc;
}

static int look_kernel(struct polling *p, nfds_t n, int64_t timeout_ns)
{
	struct timespec ts = {timeout_ns / 1000000000, timeout_ns % 1000000000};

	return slp_real()->ppoll(p->kernel, n, timeout_ns < 0 ? NULL : &ts, p->mask);
}

static void watch(struct polling *p, int ep, int op)
{
	for (nfds_t i = 0; i < p->n; i++) {
		struct epoll_event ev = {.events = (uint16_t)p->own[i].events};

		if (p->own[i].fd < 0)
			continue;
		if (slp_eng->epoll_ctl(slp_st, ep, op, p->own[i].fd, &ev) != -EEXIST)
			continue;
		/* It stands there twice: for all that either wants. */
		ev.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP;
		(void)slp_eng->epoll_ctl(slp_st, ep, EPOLL_CTL_MOD, p->own[i].fd, &ev);
	}
}

/* The eventfd stands behind the kernel's. */
static int sleep_both(struct polling *p, struct poller *t, int64_t deadline)
{
	struct epoll_event ev;
	uint64_t count;
	int rc;

	p->kernel[p->n] = (struct pollfd){.fd = atomic_load(&t->waker.fd), .events = POLLIN};
	do {
		/* The list of what is ready is not needed: it is looked at by number. */
		while (slp_eng->epoll_wait(slp_st, t->ep, &ev, 1, 0) > 0 && !look_own(p))
			;
		arm(&t->waker);
		if (look_own(p) > 0)
			rc = look_kernel(p, p->n, 0);
		else
			rc = look_kernel(p, p->n + 1, left_ns(deadline));
		disarm(&t->waker);
		if (rc < 0)
			return -errno;
		(void)!slp_real()->read(atomic_load(&t->waker.fd), &count, sizeof(count));
		p->kernel[p->n].revents = 0;
		(void)look_own(p);
		rc = revents(p);
	} while (rc == 0 && left_ns(deadline) != 0);
	return rc;
}

static int poll_both(struct polling *p, int64_t timeout_ns)
{
	int64_t deadline = deadline_of(timeout_ns);
	struct poller *t;
	int rc;

	if (p->nkernel == 0 && p->mask == NULL) {
		rc = slp_eng->poll(slp_st, p->own, p->n, to_ms(timeout_ns));
		return rc < 0 ? rc : revents(p);
	}
	(void)look_own(p);
	if (look_kernel(p, p->n, 0) < 0)
		return -errno;
	rc = revents(p);
	if (rc > 0 || timeout_ns == 0)
		return rc;
	t = poller_get();
	if (t == NULL)
		return -ENOMEM;
	watch(p, t->ep, EPOLL_CTL_ADD);
	rc = sleep_both(p, t, deadline);
	watch(p, t->ep, EPOLL_CTL_DEL);
	poller_put(t);
	return rc;
}

/* Whose is each? Files are held until the end, so that numbers mean the same all the time. */
static int sort_out(struct polling *p)
{
	int rc;

	for (nfds_t i = 0; i < p->n; i++) {
		struct slp_file *f = p->fds[i].fd < 0 ? NULL : slp_get(p->fds[i].fd);

		p->files[i] = f;
		p->own[i] = p->kernel[i] = p->fds[i];
		p->own[i].revents = p->kernel[i].revents = 0;
		p->own[i].fd = -1;
		if (f != NULL && f->kind == SLP_EPOLL)
			nest(f);
		rc = f == NULL                 ? 1
		     : f->kind == SLP_INTERNAL ? -EBADF
					       : slp_use(f, p->fds[i].fd, true);
		if (rc == 0) {
			p->own[i].fd = f->so;
			p->kernel[i].fd = -1;
			p->nown++;
		} else if (p->fds[i].fd >= 0) {
			p->nkernel++;
		}
	}
	return 0;
}

#define POLL_FEW 64

static int poll_some(struct pollfd *fds, nfds_t n, int64_t timeout_ns, const sigset_t *mask)
{
	struct pollfd few[2 * POLL_FEW + 1];
	struct slp_file *few_files[POLL_FEW];
	struct polling p = {.fds = fds, .n = n, .mask = mask, .own = few, .files = few_files};
	struct timespec ts = {timeout_ns / 1000000000, timeout_ns % 1000000000};
	int rc;

	if (n > POLL_FEW) {
		p.own = malloc((2 * n + 1) * sizeof(*p.own));
		p.files = malloc(n * sizeof(struct slp_file *));
	}
	if (p.own == NULL || p.files == NULL) {
		rc = -ENOMEM;
	} else {
		p.kernel = p.own + n;
		(void)sort_out(&p);
		if (p.nown > 0)
			rc = poll_both(&p, timeout_ns);
		else
			rc = slp_real()->ppoll(fds, n, timeout_ns < 0 ? NULL : &ts, mask);
		for (nfds_t i = 0; i < n; i++)
			if (p.files[i] != NULL)
				slp_put(p.files[i]);
	}
	if (n > POLL_FEW) {
		int saved = errno;

		free(p.own);
		free(p.files);
		errno = saved;
	}
	return rc == -1 ? -1 : slp_ret(rc);
}

/* Can there be anything of ours? */
static bool plain(nfds_t n)
{
	return slp_inside || !slp_enabled() || n == 0 || n > 1u << 20;
}

static int64_t of_timespec(const struct timespec *t)
{
	return t == NULL ? -1 : (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

SLP_EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	if (plain(n) || fds == NULL)
		return slp_real()->poll(fds, n, timeout);
	return poll_some(fds, n, of_ms(timeout), NULL);
}

SLP_EXPORT int ppoll(
    struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	if (plain(n) || fds == NULL)
		return slp_real()->ppoll(fds, n, timeout, mask);
	return poll_some(fds, n, of_timespec(timeout), mask);
}

__attribute__((noreturn)) void __chk_fail(void);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
    size_t room);

SLP_EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room)
{
	if (room / sizeof(*fds) < n)
		__chk_fail();
	return poll(fds, n, timeout);
}

SLP_EXPORT int __ppoll_chk(
    struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask, size_t room)
{
	if (room / sizeof(*fds) < n)
		__chk_fail();
	return ppoll(fds, n, timeout, mask);
}

/* ---- select ---- */

#define SEL_IN (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR)
#define SEL_OUT (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR)
#define SEL_EX POLLPRI

static bool in_set(int fd, const fd_set *set)
{
	return set != NULL && FD_ISSET(fd, set);
}

static bool any_own(int n, const fd_set *in, const fd_set *out, const fd_set *ex)
{
	unsigned int last = (unsigned int)n - 1;

	for (int fd = slp_next(0, last); fd >= 0; fd = slp_next(fd + 1, last))
		if (in_set(fd, in) || in_set(fd, out) || in_set(fd, ex))
			return true;
	return false;
}

static nfds_t from_sets(
    struct pollfd *p, int n, const fd_set *in, const fd_set *out, const fd_set *ex)
{
	nfds_t k = 0;

	for (int fd = 0; fd < n; fd++) {
		int ev = (in_set(fd, in) ? POLLIN : 0) | (in_set(fd, out) ? POLLOUT : 0) |
			 (in_set(fd, ex) ? POLLPRI : 0);

		if (ev != 0)
			p[k++] = (struct pollfd){.fd = fd, .events = (short)ev};
	}
	return k;
}

static int to_set(int fd, fd_set *set, bool wanted, bool holds)
{
	if (!wanted || !holds)
		return 0;
	FD_SET(fd, set);
	return 1;
}

static void clear(int n, fd_set *set)
{
	/* Only what the caller has: its sets may be longer or shorter than the type. */
	for (int fd = 0; set != NULL && fd < n; fd++)
		FD_CLR(fd, set);
}

static int to_sets(const struct pollfd *p, nfds_t k, int n, fd_set *in, fd_set *out, fd_set *ex)
{
	int found = 0;

	for (nfds_t i = 0; i < k; i++)
		if (p[i].revents & POLLNVAL)
			return -EBADF;
	clear(n, in);
	clear(n, out);
	clear(n, ex);
	for (nfds_t i = 0; i < k; i++) {
		int ev = p[i].events, rev = p[i].revents;

		found += to_set(p[i].fd, in, ev & POLLIN, rev & SEL_IN) +
			 to_set(p[i].fd, out, ev & POLLOUT, rev & SEL_OUT) +
			 to_set(p[i].fd, ex, ev & POLLPRI, rev & SEL_EX);
	}
	return found;
}

static int select_some(
    int n, fd_set *in, fd_set *out, fd_set *ex, int64_t timeout_ns, const sigset_t *mask)
{
	struct pollfd p[FD_SETSIZE];
	nfds_t k = from_sets(p, n, in, out, ex);
	int rc = poll_some(p, k, timeout_ns, mask);

	return rc < 0 ? -1 : slp_ret(to_sets(p, k, n, in, out, ex));
}

SLP_EXPORT int select(int n, fd_set *in, fd_set *out, fd_set *ex, struct timeval *timeout)
{
	int64_t ns = -1, deadline;
	int rc;

	if (n <= 0 || n > FD_SETSIZE || plain((nfds_t)n) || !any_own(n, in, out, ex) ||
	    (timeout != NULL && (timeout->tv_sec < 0 || timeout->tv_usec < 0)))
		return slp_real()->select(n, in, out, ex, timeout);
	if (timeout != NULL)
		ns = (int64_t)timeout->tv_sec * 1000000000 + (int64_t)timeout->tv_usec * 1000;
	deadline = deadline_of(ns);
	rc = select_some(n, in, out, ex, ns, NULL);
	if (timeout != NULL && deadline >= 0) { /* Linux says what is left */
		ns = left_ns(deadline);
		timeout->tv_sec = ns / 1000000000;
		timeout->tv_usec = ns % 1000000000 / 1000;
	}
	return rc;
}

SLP_EXPORT int pselect(int n, fd_set *in, fd_set *out, fd_set *ex, const struct timespec *timeout,
    const sigset_t *mask)
{
	if (n <= 0 || n > FD_SETSIZE || plain((nfds_t)n) || !any_own(n, in, out, ex) ||
	    (timeout != NULL && (timeout->tv_sec < 0 || timeout->tv_nsec < 0)))
		return slp_real()->pselect(n, in, out, ex, timeout, mask);
	return select_some(n, in, out, ex, of_timespec(timeout), mask);
}
