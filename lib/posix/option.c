/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Socket options and ioctls. Most belong to the connection and go down; what the socket itself
 * keeps stands in one table here. Values and lengths are Linux's.
 */
#include <posix/so.h>

#include <errno.h>
#include <string.h>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/time.h>

/* ---- the socket's own ---- */

enum own {
	OWN_ERROR,
	OWN_RCVTIMEO,
	OWN_SNDTIMEO,
	OWN_RCVLOWAT,
};

struct own_row {
	int name;
	enum own id;
	socklen_t len;
};

/* All of SOL_SOCKET. */
static const struct own_row table[] = {
    {SO_ERROR, OWN_ERROR, sizeof(int)},
    {SO_RCVTIMEO, OWN_RCVTIMEO, sizeof(struct timeval)},
    {SO_SNDTIMEO, OWN_SNDTIMEO, sizeof(struct timeval)},
    {SO_RCVLOWAT, OWN_RCVLOWAT, sizeof(int)},
};

static const struct own_row *find(int level, int name)
{
	for (size_t i = 0; level == SOL_SOCKET && i < RTE_DIM(table); i++)
		if (table[i].name == name)
			return &table[i];
	return NULL;
}

static struct timeval to_timeval(uint64_t ns)
{
	return (struct timeval){
	    .tv_sec = (time_t)(ns / 1000000000), .tv_usec = (suseconds_t)(ns % 1000000000 / 1000)};
}

static void own_get(struct sl_so *so, const struct own_row *r, void *val, socklen_t *len)
{
	struct timeval tv = {0};
	int v = 0;

	switch (r->id) {
	case OWN_ERROR:
		v = -sl_so_take_error(so);
		break;
	case OWN_RCVLOWAT:
		v = (int)atomic_load(&so->rcvlowat);
		break;
	case OWN_RCVTIMEO:
		tv = to_timeval(atomic_load(&so->rcvtimeo));
		break;
	case OWN_SNDTIMEO:
		tv = to_timeval(atomic_load(&so->sndtimeo));
		break;
	}
	if (*len > r->len)
		*len = r->len;
	memcpy(val, r->len == sizeof(tv) ? (const void *)&tv : &v, *len);
}

static int set_timeo(_Atomic uint64_t *at, const void *val)
{
	struct timeval tv;

	memcpy(&tv, val, sizeof(tv));
	if (tv.tv_usec < 0 || tv.tv_usec >= 1000000)
		return -EDOM;
	/* Negative: no wait is asked for, which Linux rounds to the shortest one. */
	if (tv.tv_sec < 0)
		atomic_store(at, 1);
	else if (tv.tv_sec > 1000000000) /* 31 years are for ever */
		atomic_store(at, 0);
	else
		atomic_store(at, (uint64_t)tv.tv_sec * 1000000000 + (uint64_t)tv.tv_usec * 1000);
	return 0;
}

static int own_set(struct sl_so *so, const struct own_row *r, const void *val, socklen_t len)
{
	int v;

	if (len < r->len)
		return -EINVAL;
	switch (r->id) {
	case OWN_RCVTIMEO:
		return set_timeo(&so->rcvtimeo, val);
	case OWN_SNDTIMEO:
		return set_timeo(&so->sndtimeo, val);
	case OWN_RCVLOWAT:
		memcpy(&v, val, sizeof(v));
		atomic_store(&so->rcvlowat, v < 0 ? INT32_MAX : v == 0 ? 1u : (uint32_t)v);
		sl_so_notify(so, EPOLLIN);
		return 0;
	default:
		return -ENOPROTOOPT; /* SO_ERROR cannot be set */
	}
}

/* ---- both kinds ---- */

int sluice_so_getsockopt(
    struct sluice_stack *st, int fd, int level, int name, void *val, socklen_t *len)
{
	const struct own_row *r = find(level, name);
	struct sl_so *so = sl_so_get(st, fd);
	int rc = 0;

	if (so == NULL)
		return -EBADF;
	if (val == NULL || len == NULL)
		rc = -EFAULT;
	else if (r != NULL)
		own_get(so, r, val, len);
	else
		rc = sluice_getsockopt(st, atomic_load(&so->conn), level, name, val, len);
	sl_so_put(so);
	return rc;
}

/* What the socket must know of an option that the connection took. */
static void learn(struct sl_so *so, int level, int name, const void *val)
{
	int v;

	if (level != SOL_SOCKET || (name != SO_RCVBUF && name != SO_OOBINLINE))
		return;
	memcpy(&v, val, sizeof(v));
	if (name == SO_RCVBUF)
		atomic_store(&so->rcvbuf, (uint32_t)v);
	else if (v)
		sl_so_set(so, SL_SO_OOBINLINE);
	else
		sl_so_clear(so, SL_SO_OOBINLINE);
}

int sluice_so_setsockopt(
    struct sluice_stack *st, int fd, int level, int name, const void *val, socklen_t len)
{
	const struct own_row *r = find(level, name);
	struct sl_so *so = sl_so_get(st, fd);
	int rc;

	if (so == NULL)
		return -EBADF;
	if (val == NULL) {
		rc = -EFAULT;
	} else if (r != NULL) {
		rc = own_set(so, r, val, len);
	} else {
		rc = sluice_setsockopt(st, atomic_load(&so->conn), level, name, val, len);
		if (rc == 0)
			learn(so, level, name, val);
	}
	sl_so_put(so);
	return rc;
}

/* ---- ioctl ---- */

static int queued(struct sl_so *so, bool unsent, int *out)
{
	struct sluice_conn_info info = {.size = sizeof(info)};
	int rc = sluice_conn_info(so->st, atomic_load(&so->conn), &info);

	if (sl_so_state(so) & SL_SO_LISTENING)
		return -EINVAL;
	if (rc < 0)
		return rc == -EBADF ? -EINVAL : rc;
	*out = (int)(unsent ? info.sndq - RTE_MIN(info.sndq, info.flight) : info.sndq);
	return 0;
}

/* Bytes that one read can get: an urgent byte that is not inline is none of them. */
static int readable_now(struct sl_so *so, int *out)
{
	uint64_t n = sl_so_rx_bytes(so);

	if (sl_so_state(so) & SL_SO_LISTENING)
		return -EINVAL;
	*out = n > INT32_MAX ? INT32_MAX : (int)n;
	return 0;
}

int sluice_so_ioctl(struct sluice_stack *st, int fd, unsigned long request, int *arg)
{
	struct sl_so *so = sl_so_get(st, fd);
	int rc = 0;

	if (so == NULL)
		return -EBADF;
	if (arg == NULL) {
		sl_so_put(so);
		return -EFAULT;
	}
	switch (request) {
	case FIONBIO:
		if (*arg)
			sl_so_set(so, SL_SO_NONBLOCK);
		else
			sl_so_clear(so, SL_SO_NONBLOCK);
		break;
	case FIOASYNC:
		break;
	case FIONREAD:
		rc = readable_now(so, arg);
		break;
	case SIOCATMARK:
		*arg = (sl_so_state(so) & SL_SO_OOB) &&
		       atomic_load(&so->urgent) == atomic_load(&so->rx_read);
		break;
	case SIOCOUTQ:
	case SIOCOUTQNSD:
		rc = queued(so, request == SIOCOUTQNSD, arg);
		break;
	default:
		rc = -ENOTTY;
		break;
	}
	sl_so_put(so);
	return rc;
}
