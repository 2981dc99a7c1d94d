/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options, ioctl, fcntl. Before it is known whose a socket is the kernel's one answers, and what it
 * took is remembered for the stack. O_NONBLOCK is kept in both: in the kernel's, which descriptors
 * share as they should, and in the stack's, which acts on it.
 */
#include "preload.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>

/* ---- options ---- */

/* Requests that the stack does not have and that ask for nothing that could be missed: the place
 * holder keeps them, so that what was set can be read. */
static const struct {
	int level, name;
} hints[] = {
    {SOL_SOCKET, SO_DEBUG},
    {SOL_SOCKET, SO_DOMAIN},
    {SOL_SOCKET, SO_PROTOCOL},
    {SOL_SOCKET, SO_TYPE},
    {SOL_SOCKET, SO_PRIORITY},
    {SOL_SOCKET, SO_MARK},
    {SOL_SOCKET, SO_BUSY_POLL},
    {SOL_SOCKET, SO_TIMESTAMP},
    {SOL_SOCKET, SO_INCOMING_CPU},
    {SOL_SOCKET, SO_COOKIE},
    {SOL_SOCKET, SO_MAX_PACING_RATE},
    {IPPROTO_IP, IP_TOS},
    {IPPROTO_IP, IP_TTL},
    {IPPROTO_IP, IP_MTU_DISCOVER},
    {IPPROTO_IP, IP_RECVERR},
    {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT},
    {IPPROTO_IPV6, IPV6_TCLASS},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER},
    {IPPROTO_IPV6, IPV6_RECVERR},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT},
    {IPPROTO_TCP, TCP_FASTOPEN},
    {IPPROTO_TCP, TCP_LINGER2},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT},
    {IPPROTO_TCP, TCP_QUICKACK},
    {IPPROTO_TCP, TCP_SYNCNT},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP},
};

static bool is_hint(int level, int name)
{
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
		if (hints[i].level == level && hints[i].name == name)
			return true;
	return false;
}

SLP_EXPORT int getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	int rc;
	struct slp_file *f = slp_own(fd, &rc);

	if (f == NULL)
		return rc == 1 ? slp_real()->getsockopt(fd, level, name, val, len) : slp_ret(rc);
	rc = slp_eng->getsockopt(slp_st, f->so, level, name, val, len);
	slp_put(f);
	if (rc == -ENOPROTOOPT && is_hint(level, name))
		return slp_real()->getsockopt(fd, level, name, val, len);
	return slp_ret(rc);
}

/* The kernel takes it, and it is kept for later. */
static int remember(struct slp_file *f, int fd, int level, int name, const void *val, socklen_t len)
{
	int rc = slp_real()->setsockopt(fd, level, name, val, len);

	if (rc != 0 || f->kind != SLP_SOCKET)
		return rc;
	pthread_mutex_lock(&f->lock);
	if (atomic_load(&f->state) < SLP_OWN)
		(void)slp_opt_add(f, level, name, val, len);
	pthread_mutex_unlock(&f->lock);
	return 0;
}

SLP_EXPORT int setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	struct slp_file *f = slp_get(fd);
	int rc;

	if (f == NULL)
		return slp_real()->setsockopt(fd, level, name, val, len);
	rc = f->kind == SLP_INTERNAL ? -EBADF : slp_use(f, fd, false);
	if (rc == 0)
		rc = slp_eng->setsockopt(slp_st, f->so, level, name, val, len);
	if (rc == 1)
		rc = remember(f, fd, level, name, val, len);
	else if (rc == -ENOPROTOOPT && is_hint(level, name))
		rc = slp_real()->setsockopt(fd, level, name, val, len);
	else
		rc = slp_ret(rc);
	slp_put(f);
	return rc;
}

/* ---- ioctl ---- */

SLP_EXPORT int ioctl(int fd, unsigned long request, ...)
{
	struct slp_file *f;
	va_list ap;
	void *arg;
	int rc = 1;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	switch (request) {
	case FIONBIO:
		f = slp_get(fd);
		if (f != NULL && slp_use(f, fd, false) == 0)
			rc = slp_eng->ioctl(slp_st, f->so, request, arg);
		break;
	case FIONREAD:
	case SIOCATMARK:
	case SIOCOUTQ:
	case SIOCOUTQNSD:
		f = slp_own(fd, &rc);
		if (f != NULL)
			rc = slp_eng->ioctl(slp_st, f->so, request, arg);
		break;
	default:
		return slp_real()->ioctl(fd, request, arg);
	}
	if (f != NULL)
		slp_put(f);
	if (rc == 1 || (rc == 0 && request == FIONBIO))
		return slp_real()->ioctl(fd, request, arg);
	return slp_ret(rc);
}

SLP_EXPORT int sockatmark(int fd)
{
	int at = 0;

	return ioctl(fd, SIOCATMARK, &at) != 0 ? -1 : at;
}

/* ---- fcntl ---- */

static int fcntl_dup(int fd, int cmd, void *arg)
{
	struct slp_file *f = slp_get(fd);
	int n = slp_real()->fcntl(fd, cmd, arg);

	if (f == NULL)
		return n;
	if (n < 0 || slp_install(n, f) != 0)
		slp_put(f);
	return n;
}

static int fcntl_setfl(int fd, void *arg)
{
	struct slp_file *f;
	int rc = slp_real()->fcntl(fd, F_SETFL, arg);

	if (rc != 0)
		return rc;
	f = slp_get(fd);
	if (f == NULL)
		return 0;
	if (slp_use(f, fd, false) == 0)
		(void)slp_eng->fcntl(slp_st, f->so, F_SETFL, (int)(intptr_t)arg);
	slp_put(f);
	return 0;
}

static int do_fcntl(int fd, int cmd, void *arg)
{
	if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC)
		return fcntl_dup(fd, cmd, arg);
	if (cmd == F_SETFL)
		return fcntl_setfl(fd, arg);
	return slp_real()->fcntl(fd, cmd, arg);
}

/* The argument is an int or a pointer: the registers of both are the same here. */
SLP_EXPORT int fcntl(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return do_fcntl(fd, cmd, arg);
}

SLP_EXPORT int fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return do_fcntl(fd, cmd, arg);
}
