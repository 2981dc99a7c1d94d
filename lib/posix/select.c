/* SPDX-License-Identifier: BSD-3-Clause */
/* select is a poll of those descriptors that stand in a set. */
#include <posix/so.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/time.h>

/* What Linux's select means by readable, writable and exceptional. */
#define SET_IN (POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR)
#define SET_OUT (POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR)
#define SET_EX POLLPRI

static bool in_set(int fd, const fd_set *set)
{
	return set != NULL && FD_ISSET(fd, set);
}

static unsigned int gather(
    struct pollfd *p, int nfds, const fd_set *in, const fd_set *out, const fd_set *ex)
{
	unsigned int n = 0;

	for (int fd = 0; fd < nfds; fd++) {
		short want = (short)((in_set(fd, in) ? POLLIN | POLLRDNORM : 0) |
				     (in_set(fd, out) ? POLLOUT | POLLWRNORM : 0) |
				     (in_set(fd, ex) ? POLLPRI : 0));

		if (want != 0)
			p[n++] = (struct pollfd){.fd = fd, .events = want};
	}
	return n;
}

static int keep(fd_set *set, int fd, bool on)
{
	if (set == NULL || !FD_ISSET(fd, set))
		return 0;
	if (!on)
		FD_CLR(fd, set);
	return on;
}

/* The sets become what is ready; returns how many bits are left, -EBADF. */
static int scatter(const struct pollfd *p, unsigned int n, fd_set *in, fd_set *out, fd_set *ex)
{
	int bits = 0;

	for (unsigned int i = 0; i < n; i++)
		if (p[i].revents & POLLNVAL)
			return -EBADF;
	for (unsigned int i = 0; i < n; i++) {
		bits += keep(in, p[i].fd, p[i].revents & SET_IN);
		bits += keep(out, p[i].fd, p[i].revents & SET_OUT);
		bits += keep(ex, p[i].fd, p[i].revents & SET_EX);
	}
	return bits;
}

/* Rounded up: never too early. -1: for ever. */
static int to_ms(const struct timeval *tv)
{
	uint64_t ms;

	if (tv == NULL)
		return -1;
	if (tv->tv_sec > INT32_MAX / 1000)
		return -1;
	ms = (uint64_t)tv->tv_sec * 1000 + ((uint64_t)tv->tv_usec + 999) / 1000;
	return ms > INT32_MAX ? -1 : (int)ms;
}

/* As Linux: what is left of the time. */
static void time_left(struct timeval *tv, uint64_t deadline)
{
	uint64_t now = sl_wq_deadline(1), us = now >= deadline ? 0 : (deadline - now) / 1000;

	*tv = (struct timeval){(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
}

int sluice_so_select(
    struct sluice_stack *st, int nfds, fd_set *in, fd_set *out, fd_set *ex, struct timeval *timeout)
{
	struct pollfd *p;
	uint64_t deadline = 0;
	unsigned int n;
	int rc;

	if (nfds < 0 || (timeout != NULL && (timeout->tv_sec < 0 || timeout->tv_usec < 0)))
		return -EINVAL;
	if (nfds > FD_SETSIZE)
		nfds = FD_SETSIZE;
	if (timeout != NULL && to_ms(timeout) > 0)
		deadline = sl_wq_deadline(
		    SLUICE_SEC((uint64_t)timeout->tv_sec) + (uint64_t)timeout->tv_usec * 1000);
	p = calloc((size_t)nfds + 1, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	n = gather(p, nfds, in, out, ex);
	rc = sluice_so_poll(st, p, n, to_ms(timeout));
	if (rc >= 0)
		rc = scatter(p, n, in, out, ex);
	if (deadline != 0)
		time_left(timeout, deadline);
	free(p);
	return rc;
}
