/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Socket options and ioctls. What the socket itself keeps are the socket rows of the table of options
 * (sock/option_table.h); the rest belongs to the connection and goes down. Lengths, and what is done
 * with values out of range, are Linux's, also for those that go down.
 */
#include <posix/so.h>

#include <errno.h>
#include <limits.h>
#include <string.h>

#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#include <sock/option_table.h>
#include <sock/sock_int.h>

struct row {
	int level, name;
	enum sl_opt_form form;
	int min, max;
	int (*get)(struct sl_so *so, int id);
	int (*set)(struct sl_so *so, int id, int v);
	int id;
};

/* ---- numbers ---- */

static int get_error(struct sl_so *so, int id)
{
	return -sl_so_take_error(so);
}

static int get_flag(struct sl_so *so, int flag)
{
	return (atomic_load(&so->kept) & (uint32_t)flag) != 0;
}

static int set_flag(struct sl_so *so, int flag, int v)
{
	if (v)
		atomic_fetch_or(&so->kept, (uint32_t)flag);
	else
		atomic_fetch_and(&so->kept, ~(uint32_t)flag);
	return 0;
}

/* Read back doubled, as Linux does: there the other half is for what buffers cost. */
static int get_buf(struct sl_so *so, int name)
{
	int v = 0, rc;
	socklen_t len = sizeof(v);

	rc = sluice_getsockopt(so->st, atomic_load(&so->conn), SOL_SOCKET, name, &v, &len);
	return rc < 0 ? rc : v > INT_MAX / 2 ? INT_MAX : 2 * v;
}

static int set_buf(struct sl_so *so, int name, int v)
{
	int rc = sluice_setsockopt(so->st, atomic_load(&so->conn), SOL_SOCKET, name, &v, sizeof(v));

	if (rc == 0 && name == SO_RCVBUF)
		atomic_store(&so->rcvbuf, (uint32_t)v);
	return rc;
}

static int get_lowat(struct sl_so *so, int id)
{
	return (int)atomic_load(&so->rcvlowat);
}

static int set_lowat(struct sl_so *so, int id, int v)
{
	atomic_store(&so->rcvlowat, v < 0 ? INT_MAX : v == 0 ? 1u : (uint32_t)v);
	sl_so_notify(so, EPOLLIN);
	return 0;
}

static int get_sndlowat(struct sl_so *so, int id)
{
	return 1;
}

static int get_busy(struct sl_so *so, int id)
{
	return (int)atomic_load(&so->busy_poll);
}

static int set_busy(struct sl_so *so, int id, int v)
{
	atomic_store(&so->busy_poll, (uint32_t)v);
	return 0;
}

static int get_defer(struct sl_so *so, int id)
{
	return (int)atomic_load(&so->defer);
}

static int set_defer(struct sl_so *so, int id, int v)
{
	atomic_store(&so->defer, (uint32_t)v);
	return 0;
}

static int get_number(struct sl_so *so, int which)
{
	return atomic_load(&so->number[which]);
}

static int set_number(struct sl_so *so, int which, int v)
{
	atomic_store(&so->number[which], v);
	return 0;
}

static int get_no_napi(struct sl_so *so, int id)
{
	return 0;
}

static int set_fastopen(struct sl_so *so, int which, int v)
{
	return sl_so_state(so) & (SL_SO_CONNECTED | SL_SO_CONNECTING) ? -EINVAL
								      : set_number(so, which, v);
}

#define ROW(level, name, form, min, max, def, inh, where, get, set, id, doc) \
	{level, name, SL_OPT_##form, min, max, get, set, id},
static const struct row table[] = {SL_SOCKET_OPTIONS(ROW)};
#undef ROW

static const struct row *find(int level, int name)
{
	for (size_t i = 0; i < RTE_DIM(table); i++)
		if (table[i].level == level && table[i].name == name)
			return &table[i];
	return NULL;
}

void sl_so_inherit(struct sl_so *so, struct sl_so *listener)
{
	atomic_store(&so->rcvbuf, atomic_load(&listener->rcvbuf));
	atomic_store(&so->rcvlowat, atomic_load(&listener->rcvlowat));
	atomic_store(&so->rcvtimeo, atomic_load(&listener->rcvtimeo));
	atomic_store(&so->sndtimeo, atomic_load(&listener->sndtimeo));
	atomic_store(&so->kept, atomic_load(&listener->kept));
	atomic_store(&so->busy_poll, atomic_load(&listener->busy_poll));
	atomic_store(&so->defer, atomic_load(&listener->defer));
	atomic_store(&so->number[SL_SON_MARK], atomic_load(&listener->number[SL_SON_MARK]));
	sl_so_set(so, sl_so_state(listener) & SL_SO_OOBINLINE);
}

/* ---- times ---- */

static struct timeval to_timeval(uint64_t ns)
{
	return (struct timeval){
	    .tv_sec = (time_t)(ns / 1000000000), .tv_usec = (suseconds_t)(ns % 1000000000 / 1000)};
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

/* ---- the socket's own ---- */

static int own_get(struct sl_so *so, const struct row *r, void *val, socklen_t *len)
{
	struct timeval tv;
	int v;

	if (r->form == SL_OPT_TIMEVAL) {
		tv = to_timeval(atomic_load(r->id == 0 ? &so->rcvtimeo : &so->sndtimeo));
		*len = RTE_MIN(*len, (socklen_t)sizeof(tv));
		memcpy(val, &tv, *len);
		return 0;
	}
	v = r->get(so, r->id);
	if (v < 0)
		return v;
	*len = RTE_MIN(*len, (socklen_t)sizeof(v));
	memcpy(val, &v, *len);
	return 0;
}

static int own_set(struct sl_so *so, const struct row *r, const void *val, socklen_t len)
{
	int v, rc;

	if (r->form == SL_OPT_TIMEVAL)
		return len < sizeof(struct timeval)
			   ? -EINVAL
			   : set_timeo(r->id == 0 ? &so->rcvtimeo : &so->sndtimeo, val);
	if (r->set == NULL)
		return -ENOPROTOOPT;
	if (len < sizeof(v))
		return -EINVAL;
	memcpy(&v, val, sizeof(v));
	/* Of a buffer's size Linux sees the bits: a negative one is large. */
	if (r->form == SL_OPT_CLAMP && r->min > INT_MIN && r->get == get_buf && v < 0)
		v = r->max;
	rc = sl_opt_check(r->form, r->min, r->max, &v);
	return rc < 0 ? rc : r->set(so, r->id, v);
}

/* ---- the connection's, as Linux has them ---- */

static bool ip_level(int level)
{
	return level == IPPROTO_IP || level == IPPROTO_IPV6;
}

/* Where Linux wants an int before it looks at the name. */
static bool too_short(int level, int name, socklen_t len)
{
	return len < sizeof(int) &&
	       (level == SOL_SOCKET || (level == IPPROTO_TCP && name != TCP_CONGESTION));
}

/* A byte is enough room for the small numbers of the IP level. */
static int down_get(struct sl_so *so, int level, int name, void *val, socklen_t *len)
{
	socklen_t full = sizeof(int);
	sluice_conn_t c = atomic_load(&so->conn);
	int v, rc;

	if (so->family == AF_INET && level != SOL_SOCKET && level != IPPROTO_TCP &&
	    level != IPPROTO_IP)
		return -EOPNOTSUPP;
	if (level != IPPROTO_IP || *len >= sizeof(int) || *len == 0)
		return sluice_getsockopt(so->st, c, level, name, val, len);
	rc = sluice_getsockopt(so->st, c, level, name, &v, &full);
	if (rc < 0)
		return rc;
	*len = v >= 0 && v <= 255 ? 1 : *len;
	memcpy(val, &v, *len);
	return 0;
}

static int down_set(struct sl_so *so, int level, int name, const void *val, socklen_t len)
{
	struct linger lg;
	uint8_t byte = 0;
	int v;

	if (level == SOL_SOCKET && name == SO_LINGER && len >= sizeof(lg)) {
		memcpy(&lg, val, sizeof(lg));
		if (lg.l_linger < 0) /* longer than for ever */
			lg.l_linger = INT_MAX;
		val = &lg;
		len = sizeof(lg);
	} else if ((level == IPPROTO_IP && len < sizeof(v) && (len > 0 || name == IP_TOS)) ||
		   (level == IPPROTO_IPV6 && name == IPV6_DONTFRAG && len < sizeof(v))) {
		if (len > 0)
			memcpy(&byte, val, 1);
		v = byte;
		val = &v;
		len = sizeof(v);
	} else if (len > sizeof(int) && (level == SOL_SOCKET || ip_level(level) ||
					    (level == IPPROTO_TCP && name != TCP_CONGESTION))) {
		len = sizeof(int);
	}
	return sluice_setsockopt(so->st, atomic_load(&so->conn), level, name, val, len);
}

/* What the socket must know of an option that the connection took. */
static void learn(struct sl_so *so, int level, int name, const void *val)
{
	int v;

	if (level != SOL_SOCKET || name != SO_OOBINLINE)
		return;
	memcpy(&v, val, sizeof(v));
	if (v)
		sl_so_set(so, SL_SO_OOBINLINE);
	else
		sl_so_clear(so, SL_SO_OOBINLINE);
}

/* ---- the calls ---- */

int sluice_so_getsockopt(
    struct sluice_stack *st, int fd, int level, int name, void *val, socklen_t *len)
{
	const struct row *r = find(level, name);
	struct sl_so *so = sl_so_get(st, fd);
	int rc;

	if (so == NULL)
		return -EBADF;
	if (val == NULL || len == NULL)
		rc = -EFAULT;
	else if (*len > INT_MAX)
		rc = -EINVAL;
	else if (r != NULL)
		rc = own_get(so, r, val, len);
	else
		rc = down_get(so, level, name, val, len);
	sl_so_put(so);
	return rc;
}

int sluice_so_setsockopt(
    struct sluice_stack *st, int fd, int level, int name, const void *val, socklen_t len)
{
	const struct row *r = find(level, name);
	struct sl_so *so = sl_so_get(st, fd);
	int rc;

	if (so == NULL)
		return -EBADF;
	if (len > INT_MAX || too_short(level, name, len)) {
		rc = -EINVAL;
	} else if (val == NULL) {
		rc = -EFAULT;
	} else if (r != NULL) {
		rc = own_set(so, r, val, len);
	} else {
		rc = down_set(so, level, name, val, len);
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

/* Bytes that one read can get: it stops before an urgent byte that is not inline. */
static int readable_now(struct sl_so *so, int *out)
{
	uint64_t n = sl_so_rx_bytes(so), mark = atomic_load(&so->urgent),
		 read = atomic_load(&so->rx_read);
	uint32_t s = sl_so_state(so);

	if (s & SL_SO_LISTENING)
		return -EINVAL;
	if ((s & SL_SO_SKIP) && n > 0 && atomic_load(&so->skip_at) == read) {
		read++;
		n--;
	}
	if ((s & SL_SO_OOB) && !(s & SL_SO_OOBINLINE) && mark >= read && mark - read < n)
		n = mark - read;
	*out = n > INT32_MAX ? INT32_MAX : (int)n;
	return 0;
}

/* ---- interfaces ---- */

#define MAX_IFS 256

static void fill_addr(struct sockaddr *sa, uint32_t addr)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = addr};

	memcpy(sa, &in, sizeof(in));
}

/* Those that have an IPv4 address, as Linux lists them. ifc_buf NULL: how much room they need. */
static int ifconf(struct ifconf *ic, const struct sl_if_report *f, int n)
{
	int room = ic->ifc_buf == NULL ? INT_MAX : ic->ifc_len / (int)sizeof(struct ifreq), k = 0;

	for (int i = 0; i < n && k < room; i++) {
		if (f[i].addr4 == 0)
			continue;
		if (ic->ifc_buf != NULL) {
			struct ifreq *r = &ic->ifc_req[k];

			memset(r, 0, sizeof(*r));
			memcpy(r->ifr_name, f[i].name, sizeof(r->ifr_name));
			fill_addr(&r->ifr_addr, f[i].addr4);
		}
		k++;
	}
	ic->ifc_len = k * (int)sizeof(struct ifreq);
	return 0;
}

static int fill_ifreq(const struct sl_if_report *f, unsigned long request, struct ifreq *r)
{
	switch (request) {
	case SIOCGIFNAME:
		memcpy(r->ifr_name, f->name, sizeof(r->ifr_name));
		return 0;
	case SIOCGIFINDEX:
		r->ifr_ifindex = f->index;
		return 0;
	case SIOCGIFMTU:
		r->ifr_mtu = f->mtu;
		return 0;
	case SIOCGIFFLAGS:
		r->ifr_flags = (short)((f->up ? IFF_UP | IFF_RUNNING : 0) |
				       (f->l3 || !f->up ? IFF_NOARP : IFF_BROADCAST));
		return 0;
	case SIOCGIFMETRIC:
		r->ifr_metric = 0;
		return 0;
	case SIOCGIFHWADDR:
		r->ifr_hwaddr.sa_family = f->l3 || !f->up ? ARPHRD_NONE : ARPHRD_ETHER;
		memcpy(r->ifr_hwaddr.sa_data, f->mac, sizeof(f->mac));
		return 0;
	default:
		break;
	}
	if (f->addr4 == 0)
		return -EADDRNOTAVAIL;
	fill_addr(&r->ifr_addr, request == SIOCGIFNETMASK   ? f->mask4
				: request == SIOCGIFBRDADDR ? f->addr4 | ~f->mask4
							    : f->addr4);
	return 0;
}

static bool if_request(unsigned long request)
{
	static const unsigned long known[] = {SIOCGIFNAME, SIOCGIFINDEX, SIOCGIFMTU, SIOCGIFFLAGS,
	    SIOCGIFMETRIC, SIOCGIFHWADDR, SIOCGIFADDR, SIOCGIFNETMASK, SIOCGIFBRDADDR,
	    SIOCGIFDSTADDR, SIOCGIFCONF};

	for (size_t i = 0; i < RTE_DIM(known); i++)
		if (known[i] == request)
			return true;
	return false;
}

static int interfaces(struct sl_so *so, unsigned long request, void *arg)
{
	struct sl_if_report f[MAX_IFS];
	int n = sl_sock_interfaces(so->st, f, MAX_IFS);
	struct ifreq *r = arg;

	if (n < 0)
		return n;
	n = RTE_MIN(n, MAX_IFS);
	if (request == SIOCGIFCONF)
		return ifconf(arg, f, n);
	for (int i = 0; i < n; i++) {
		if (request == SIOCGIFNAME
			? f[i].index == r->ifr_ifindex
			: strncmp(f[i].name, r->ifr_name, sizeof(f[i].name)) == 0)
			return fill_ifreq(&f[i], request, r);
	}
	return -ENODEV;
}

/* ---- the call ---- */

static int int_request(struct sl_so *so, unsigned long request, int *arg)
{
	switch (request) {
	case FIONBIO:
		if (*arg)
			sl_so_set(so, SL_SO_NONBLOCK);
		else
			sl_so_clear(so, SL_SO_NONBLOCK);
		return 0;
	case FIOASYNC:
		return 0;
	case FIONREAD:
		return readable_now(so, arg);
	case SIOCATMARK:
		*arg = (sl_so_state(so) & SL_SO_OOB) &&
		       atomic_load(&so->urgent) == atomic_load(&so->rx_read);
		return 0;
	case SIOCOUTQ:
	case SIOCOUTQNSD:
		return queued(so, request == SIOCOUTQNSD, arg);
	default:
		return -ENOTTY;
	}
}

int sluice_so_ioctl(struct sluice_stack *st, int fd, unsigned long request, void *arg)
{
	struct sl_so *so = sl_so_get(st, fd);
	int rc;

	if (so == NULL)
		return -EBADF;
	if (arg == NULL)
		rc = -EFAULT;
	else if (if_request(request))
		rc = interfaces(so, request, arg);
	else
		rc = int_request(so, request, arg);
	sl_so_put(so);
	return rc;
}
