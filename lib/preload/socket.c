/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Life of the program's TCP sockets: from a kernel socket of which nothing is known to one of the
 * stack, or back to the kernel for good.
 *
 *	socket      NEW: the kernel's socket answers; options are remembered
 *	bind        to an address of the kernel: KERNEL. To one of ours: BOUND, and remembered
 *	listen      BOUND to LATE, until somebody waits for it; to OWN when the dataplane runs
 *	connect     to an address of ours: OWN. Else KERNEL, where the bind is made up for
 *	accept      gives OWN ones, each with a kernel socket for its number
 */
#include "preload.h"

#include <fcntl.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>
#include <netinet/in.h>

static uint32_t state_of(const struct slp_file *f)
{
	return atomic_load_explicit(&f->state, memory_order_acquire);
}

static void set_state(struct slp_file *f, enum slp_state s)
{
	atomic_store_explicit(&f->state, s, memory_order_release);
}

int slp_use(struct slp_file *f, int fd, bool activate)
{
	uint32_t s = state_of(f);

	if (f->kind != SLP_SOCKET)
		return 1;
	if (s == SLP_LATE && activate)
		return slp_activate(f, fd);
	if (s != SLP_OWN)
		return 1;
	if (SLP_UNLIKELY(f->epoch != slp_epoch || !slp_running())) {
		int rc = slp_start(); /* says why not */

		return rc < 0 ? rc : -ENETDOWN;
	}
	return 0;
}

struct slp_file *slp_own(int fd, int *rc)
{
	struct slp_file *f = slp_get(fd);

	*rc = 1;
	if (f == NULL)
		return NULL;
	if (SLP_UNLIKELY(f->kind == SLP_INTERNAL))
		*rc = -EBADF;
	else
		*rc = slp_use(f, fd, true);
	if (SLP_LIKELY(*rc == 0))
		return f;
	slp_put(f);
	return NULL;
}

/* ---- to the dataplane ---- */

static void replay_options(struct slp_file *f, int so)
{
	for (const struct slp_opt *o = f->opts; o != NULL; o = o->next) {
		int rc = slp_eng->setsockopt(slp_st, so, o->level, o->name, o->val, o->len);

		if (rc < 0)
			slp_log(LOG_DEBUG, "option %d of level %d has no effect: %s", o->name,
			    o->level, strerror(-rc));
	}
	slp_opt_free(f);
}

/* A socket of the stack takes over. Under the file's lock. */
static int take_over(struct slp_file *f, int fd, bool listening)
{
	int flags = slp_real()->fcntl(fd, F_GETFL), so, rc = 0;

	so = slp_eng->socket(slp_st, f->domain,
	    SOCK_STREAM | (flags >= 0 && (flags & O_NONBLOCK) ? SOCK_NONBLOCK : 0), 0);
	if (so < 0)
		return so;
	replay_options(f, so);
	if (f->local_len > 0)
		rc = slp_eng->bind(slp_st, so, (struct sockaddr *)&f->local, f->local_len);
	if (rc == 0 && listening)
		rc = slp_eng->listen(slp_st, so, f->backlog);
	if (rc < 0) {
		(void)slp_eng->close(slp_st, so);
		return rc;
	}
	f->so = so;
	f->epoch = slp_epoch;
	set_state(f, SLP_OWN);
	return 0;
}

/* 0 also when another thread has done it. */
static int to_dataplane(struct slp_file *f, int fd, bool listening)
{
	int rc = slp_start();

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&f->lock);
	rc = state_of(f) >= SLP_OWN ? 0 : take_over(f, fd, listening);
	pthread_mutex_unlock(&f->lock);
	if (rc == 0)
		slp_epoll_move(f);
	return rc;
}

int slp_activate(struct slp_file *f, int fd)
{
	int rc = to_dataplane(f, fd, true);

	if (rc < 0)
		slp_log(LOG_ERR, "listening on port %d: %s",
		    ntohs(((struct sockaddr_in *)&f->local)->sin_port), strerror(-rc));
	return rc;
}

/* ---- to the kernel ---- */

/* For good; what was remembered is made up for. Under the file's lock. 0 or -1 and errno. */
static int to_kernel(struct slp_file *f, int fd)
{
	if (state_of(f) == SLP_BOUND &&
	    slp_real()->bind(fd, (struct sockaddr *)&f->local, f->local_len) != 0)
		return -1;
	slp_opt_free(f);
	set_state(f, SLP_KERNEL);
	return 0;
}

/* ---- socket ---- */

SLP_EXPORT int socket(int domain, int type, int protocol)
{
	int fd = slp_real()->socket(domain, type, protocol), saved = errno;
	int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct slp_file *f;

	if (fd < 0 || slp_inside || !slp_enabled() || kind != SOCK_STREAM ||
	    (domain != AF_INET && domain != AF_INET6) || (protocol != 0 && protocol != IPPROTO_TCP))
		return fd;
	f = slp_file_new(SLP_SOCKET);
	if (f == NULL)
		return fd;
	f->domain = domain;
	if (slp_install(fd, f) != 0)
		slp_put(f);
	errno = saved;
	return fd;
}

/* ---- bind ---- */

static uint16_t port_of(const struct slp_file *f)
{
	/* At the same place in both families. */
	return f->local_len > 0 ? ((const struct sockaddr_in *)&f->local)->sin_port : 0;
}

static bool is_any(const struct slp_file *f)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&f->local;

	if (f->local_len == 0)
		return true;
	if (f->local.ss_family == AF_INET)
		return ((const struct sockaddr_in *)&f->local)->sin_addr.s_addr == INADDR_ANY;
	return IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
}

/* Under the file's lock: 1: real bind, 2: to the dataplane now. */
static int bind_locked(struct slp_file *f, int fd, const struct sockaddr *sa, socklen_t len)
{
	if (state_of(f) == SLP_BOUND)
		return -EINVAL;
	if (state_of(f) != SLP_NEW)
		return 1;
	if (!slp_ours(SLP_LISTEN, sa, len) || sa->sa_family != f->domain)
		return to_kernel(f, fd), 1;
	if (len > sizeof(f->local))
		len = sizeof(f->local);
	memcpy(&f->local, sa, len);
	f->local_len = len;
	set_state(f, SLP_BOUND);
	/* Bound to nothing: it is the other end's address that will show whose it is. */
	if (is_any(f) && port_of(f) == 0)
		return 0;
	return slp_start_early || slp_running() ? 2 : 0;
}

static void unbind(struct slp_file *f)
{
	pthread_mutex_lock(&f->lock);
	if (state_of(f) == SLP_BOUND) {
		f->local_len = 0;
		set_state(f, SLP_NEW);
	}
	pthread_mutex_unlock(&f->lock);
}

SLP_EXPORT int bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct slp_file *f = slp_get(fd);
	int rc;

	if (f == NULL)
		return slp_real()->bind(fd, sa, len);
	rc = slp_use(f, fd, true);
	if (rc == 0) {
		rc = slp_eng->bind(slp_st, f->so, sa, len);
	} else if (rc == 1 && f->kind == SLP_SOCKET) {
		pthread_mutex_lock(&f->lock);
		rc = bind_locked(f, fd, sa, len);
		pthread_mutex_unlock(&f->lock);
		if (rc == 2 && (rc = to_dataplane(f, fd, false)) < 0)
			unbind(f);
	}
	rc = rc == 1 ? slp_real()->bind(fd, sa, len) : slp_ret(rc);
	slp_put(f);
	return rc;
}

/* ---- listen ---- */

static bool has_option(const struct slp_file *f, int level, int name)
{
	for (const struct slp_opt *o = f->opts; o != NULL; o = o->next)
		if (o->level == level && o->name == name)
			return *(const int *)(const void *)o->val != 0;
	return false;
}

struct clash {
	const struct slp_file *f;
	bool found;
};

/* What the stack would say of two listeners; it is not asked before it runs. */
static void look_for_clash(int fd, struct slp_file *o, void *arg)
{
	struct clash *c = arg;
	const struct slp_file *f = c->f;

	if (o == f || o->kind != SLP_SOCKET || state_of(o) != SLP_LATE || port_of(f) == 0 ||
	    port_of(o) != port_of(f) || o->domain != f->domain)
		return;
	if (has_option(f, SOL_SOCKET, SO_REUSEPORT) && has_option(o, SOL_SOCKET, SO_REUSEPORT))
		return;
	if (is_any(f) || is_any(o) || memcmp(&f->local, &o->local, f->local_len) == 0)
		c->found = true;
}

/* Listening without a bind: whose would the address be? */
static bool unbound_ours(const struct slp_file *f)
{
	struct sockaddr_storage any = {.ss_family = (sa_family_t)f->domain};

	return slp_ours(SLP_LISTEN, (struct sockaddr *)&any, sizeof(any));
}

/* Under the file's lock. As bind_locked. */
static int listen_locked(struct slp_file *f, int fd, int backlog)
{
	struct clash c = {.f = f};
	uint32_t s = state_of(f);

	if (s > SLP_LATE)
		return 1;
	if (s == SLP_NEW && !unbound_ours(f))
		return to_kernel(f, fd), 1;
	f->backlog = backlog;
	if (slp_start_early || slp_running())
		return 2;
	slp_each(look_for_clash, &c);
	if (c.found)
		return -EADDRINUSE;
	set_state(f, SLP_LATE);
	return 0;
}

SLP_EXPORT int listen(int fd, int backlog)
{
	struct slp_file *f = slp_get(fd);
	int rc;

	if (f == NULL)
		return slp_real()->listen(fd, backlog);
	rc = slp_use(f, fd, false);
	if (rc == 0) {
		rc = slp_eng->listen(slp_st, f->so, backlog);
	} else if (rc == 1 && f->kind == SLP_SOCKET) {
		pthread_mutex_lock(&f->lock);
		rc = listen_locked(f, fd, backlog);
		pthread_mutex_unlock(&f->lock);
		if (rc == 2)
			rc = to_dataplane(f, fd, true);
	}
	rc = rc == 1 ? slp_real()->listen(fd, backlog) : slp_ret(rc);
	slp_put(f);
	return rc;
}

/* ---- connect ---- */

SLP_EXPORT int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct slp_file *f = slp_get(fd);
	int rc;

	if (f == NULL)
		return slp_real()->connect(fd, sa, len);
	rc = slp_use(f, fd, true);
	if (rc == 1 && f->kind == SLP_SOCKET && state_of(f) != SLP_KERNEL) {
		if (slp_ours(SLP_CONNECT, sa, len)) {
			rc = to_dataplane(f, fd, false);
		} else {
			pthread_mutex_lock(&f->lock);
			rc = to_kernel(f, fd) != 0 ? -errno : 1;
			pthread_mutex_unlock(&f->lock);
		}
	}
	if (rc == 0)
		rc = slp_eng->connect(slp_st, f->so, sa, len);
	rc = rc == 1 ? slp_real()->connect(fd, sa, len) : slp_ret(rc);
	slp_put(f);
	return rc;
}

/* ---- accept ---- */

/* The number of a new connection: the kernel gives it before there is one, so that a program
 * without free descriptors loses nothing. */
static int place_holder(const struct slp_file *l, int flags, struct slp_file **out)
{
	int fd = slp_real()->socket(l->domain, SOCK_STREAM | flags, 0);

	if (fd < 0)
		return -errno;
	*out = slp_file_new(SLP_SOCKET);
	if (*out == NULL) {
		(void)slp_real()->close(fd);
		return -ENOMEM;
	}
	(*out)->domain = l->domain;
	return fd;
}

static int accept_own(struct slp_file *l, struct sockaddr *sa, socklen_t *len, int flags)
{
	struct pollfd p = {.fd = l->so, .events = POLLIN};
	struct slp_file *f = NULL;
	int fd, so;

	if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	/* Nothing there is the usual end of a loop: no place holder for that. */
	if ((slp_eng->fcntl(slp_st, l->so, F_GETFL, 0) & O_NONBLOCK) &&
	    slp_eng->poll(slp_st, &p, 1, 0) == 0)
		return -EAGAIN;
	fd = place_holder(l, flags, &f);
	if (fd < 0)
		return fd;
	so = slp_eng->accept4(slp_st, l->so, sa, len, flags);
	if (so < 0) {
		(void)slp_real()->close(fd);
		slp_put(f);
		return so;
	}
	f->so = so;
	set_state(f, SLP_OWN);
	if (slp_install(fd, f) != 0) {
		(void)slp_real()->close(fd);
		slp_put(f);
		return -EMFILE;
	}
	return fd;
}

SLP_EXPORT int accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);

	if (f == NULL)
		return rc == 1 ? slp_real()->accept4(fd, sa, len, flags) : slp_ret(rc);
	rc = slp_ret(accept_own(f, sa, len, flags));
	slp_put(f);
	return rc;
}

SLP_EXPORT int accept(int fd, struct sockaddr *sa, socklen_t *len)
{
	return accept4(fd, sa, len, 0);
}

SLP_EXPORT int shutdown(int fd, int how)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);

	if (f == NULL)
		return rc == 1 ? slp_real()->shutdown(fd, how) : slp_ret(rc);
	rc = slp_ret(slp_eng->shutdown(slp_st, f->so, how));
	slp_put(f);
	return rc;
}

/* ---- names ---- */

static void give_name(const struct slp_file *f, struct sockaddr *sa, socklen_t *len)
{
	memcpy(sa, &f->local, *len < f->local_len ? *len : f->local_len);
	*len = f->local_len;
}

SLP_EXPORT int getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	struct slp_file *f = slp_get(fd);
	int rc;

	if (f == NULL)
		return slp_real()->getsockname(fd, sa, len);
	rc = slp_use(f, fd, false);
	/* A port that nobody has chosen yet is the stack's to choose. */
	if (rc == 1 && (state_of(f) == SLP_BOUND || state_of(f) == SLP_LATE) && port_of(f) == 0)
		rc = to_dataplane(f, fd, state_of(f) == SLP_LATE);
	if (rc == 0)
		rc = slp_ret(slp_eng->getsockname(slp_st, f->so, sa, len));
	else if (rc < 0)
		rc = slp_ret(rc);
	else if ((state_of(f) == SLP_BOUND || state_of(f) == SLP_LATE) && sa != NULL && len != NULL)
		give_name(f, sa, len), rc = 0;
	else
		rc = slp_real()->getsockname(fd, sa, len);
	slp_put(f);
	return rc;
}

SLP_EXPORT int getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);

	if (f == NULL)
		return rc == 1 ? slp_real()->getpeername(fd, sa, len) : slp_ret(rc);
	rc = slp_ret(slp_eng->getpeername(slp_st, f->so, sa, len));
	slp_put(f);
	return rc;
}

/* ---- close ---- */

static bool internal(int fd)
{
	struct slp_file *f = slp_get(fd);
	bool yes = f != NULL && f->kind == SLP_INTERNAL;

	if (f != NULL)
		slp_put(f);
	return yes;
}

SLP_EXPORT int close(int fd)
{
	struct slp_file *f;
	int rc;

	if (internal(fd))
		return slp_ret(-EBADF);
	f = slp_remove(fd);
	rc = slp_real()->close(fd);
	if (f != NULL) {
		int saved = errno;

		slp_put(f);
		errno = saved;
	}
	return rc;
}

/* The table's part of a range: those that are the program's go. */
static void forget_range(unsigned int first, unsigned int last)
{
	for (int fd = slp_next((int)first, last); fd >= 0; fd = slp_next(fd + 1, last)) {
		struct slp_file *f;

		if (internal(fd))
			continue;
		f = slp_remove(fd);
		if (f != NULL)
			slp_put(f);
	}
}

/* The kernel's part, around what is ours. */
static int close_kernels(unsigned int first, unsigned int last, int flags)
{
	for (int fd = slp_next((int)first, last); fd >= 0; fd = slp_next(fd + 1, last)) {
		if (!internal(fd))
			continue;
		if ((unsigned int)fd > first &&
		    slp_real()->close_range(first, (unsigned int)fd - 1, flags) != 0)
			return -1;
		first = (unsigned int)fd + 1;
	}
	return first > last ? 0 : slp_real()->close_range(first, last, flags);
}

SLP_EXPORT int close_range(unsigned int first, unsigned int last, int flags)
{
	if (slp_inside || first > last || first > INT32_MAX)
		return slp_real()->close_range(first, last, flags);
	if (!(flags & (int)CLOSE_RANGE_CLOEXEC))
		forget_range(first, last);
	return close_kernels(first, last, flags);
}

SLP_EXPORT void closefrom(int first)
{
	(void)close_range(first < 0 ? 0 : (unsigned int)first, ~0U, 0);
}

/* ---- dup ---- */

/* n is a new number of old. */
static int duplicated(int n, struct slp_file *f)
{
	if (f == NULL)
		return n;
	if (n < 0 || slp_install(n, f) != 0) {
		int saved = errno;

		slp_put(f);
		errno = saved;
	}
	return n;
}

SLP_EXPORT int dup(int fd)
{
	struct slp_file *f = slp_get(fd);

	return duplicated(slp_real()->dup(fd), f);
}

SLP_EXPORT int dup3(int fd, int to, int flags)
{
	struct slp_file *f, *gone;
	int rc;

	if (fd == to || slp_inside || slp_real()->fcntl(fd, F_GETFD) < 0)
		return slp_real()->dup3(fd, to, flags);
	gone = slp_get(to);
	if (gone != NULL && gone->kind == SLP_INTERNAL && slp_internal_move(to, gone) != 0) {
		slp_put(gone);
		return slp_ret(-EMFILE);
	}
	if (gone != NULL)
		slp_put(gone);
	f = slp_get(fd);
	gone = slp_remove(to);
	rc = duplicated(slp_real()->dup3(fd, to, flags), f);
	if (gone != NULL)
		slp_put(gone);
	return rc;
}

SLP_EXPORT int dup2(int fd, int to)
{
	return fd == to ? slp_real()->dup2(fd, to) : dup3(fd, to, 0);
}
