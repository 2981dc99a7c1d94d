/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses and routes of a kernel's interface, mirrored onto an interface of the stack: what an
 * administrator or a DHCP client does to the one holds for the other.
 *
 * The kernel tells by rtnetlink that something has changed; what it then is, is asked anew and whole, and
 * the difference to what was mirrored before becomes one transaction. So a message that was lost or
 * came late changes nothing. What the user configured by himself is left alone: only what was
 * mirrored is removed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <ctl/ctl_int.h>

#define ROWS_MAX 4096
#define DUMP_TRIES 5 /* the kernel says when a table changed while it was being read */
#define PREFIX_LEN 56

struct row {
	bool route;
	char prefix[PREFIX_LEN];    /* address or prefix, with its length */
	char via[INET6_ADDRSTRLEN]; /* of a route; "" on link */
};

struct rows {
	struct row *r;
	uint32_t n, cap;
};

struct sluice_mirror {
	struct sluice_stack *st;
	unsigned int ifindex; /* of the kernel's */
	char ifname[IF_NAMESIZE];
	uint32_t vrf;
	int watch; /* what has changed */
	int ask;
	uint32_t seq;
	bool stale; /* the last run failed: the next one tries again, also when nothing was said */
	struct rows have;
};

/* ---- asking ---- */

static int rows_add(struct rows *rs, const struct row *r)
{
	if (rs->n == ROWS_MAX)
		return -ENOSPC;
	if (rs->n == rs->cap) {
		uint32_t cap = rs->cap == 0 ? 16 : rs->cap * 2;
		struct row *p = realloc(rs->r, cap * sizeof(*p));

		if (p == NULL)
			return -ENOMEM;
		rs->r = p;
		rs->cap = cap;
	}
	rs->r[rs->n++] = *r;
	return 0;
}

static void put_prefix(struct row *r, int family, const void *addr, unsigned int len)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(family, addr, text, sizeof(text));
	snprintf(r->prefix, sizeof(r->prefix), "%s/%u", text, len);
}

/* The attributes of interest, by type up to `max`. */
static void attributes(struct rtattr *a, int len, struct rtattr **out, unsigned short max)
{
	memset(out, 0, (max + 1u) * sizeof(*out));
	for (; RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type <= max)
			out[a->rta_type] = a;
}

static int take_addr(const struct sluice_mirror *m, struct nlmsghdr *h, struct rows *rs)
{
	struct ifaddrmsg *i = NLMSG_DATA(h);
	struct rtattr *a[IFA_MAX + 1];
	struct row r = {.route = false};

	if (i->ifa_index != m->ifindex || i->ifa_scope >= RT_SCOPE_LINK ||
	    (i->ifa_family != AF_INET && i->ifa_family != AF_INET6) ||
	    (i->ifa_flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)))
		return 0;
	attributes(IFA_RTA(i), (int)IFA_PAYLOAD(h), a, IFA_MAX);
	/* Of a point-to-point link IFA_ADDRESS is the other end's. */
	if (a[IFA_LOCAL] == NULL)
		a[IFA_LOCAL] = a[IFA_ADDRESS];
	if (a[IFA_LOCAL] == NULL)
		return 0;
	put_prefix(&r, i->ifa_family, RTA_DATA(a[IFA_LOCAL]), i->ifa_prefixlen);
	return rows_add(rs, &r);
}

static int take_route(const struct sluice_mirror *m, struct nlmsghdr *h, struct rows *rs)
{
	static const uint8_t zero[16];
	struct rtmsg *t = NLMSG_DATA(h);
	struct rtattr *a[RTA_MAX + 1];
	struct row r = {.route = true};
	uint32_t oif;

	/* Those that the kernel makes for an address the stack makes as well. */
	if (t->rtm_table != RT_TABLE_MAIN || t->rtm_type != RTN_UNICAST ||
	    t->rtm_protocol == RTPROT_KERNEL || (t->rtm_flags & RTM_F_CLONED) ||
	    (t->rtm_family != AF_INET && t->rtm_family != AF_INET6))
		return 0;
	attributes(RTM_RTA(t), (int)RTM_PAYLOAD(h), a, RTA_MAX);
	if (a[RTA_OIF] == NULL)
		return 0;
	memcpy(&oif, RTA_DATA(a[RTA_OIF]), sizeof(oif));
	if (oif != m->ifindex)
		return 0;
	put_prefix(
	    &r, t->rtm_family, a[RTA_DST] != NULL ? RTA_DATA(a[RTA_DST]) : zero, t->rtm_dst_len);
	if (a[RTA_GATEWAY] != NULL)
		inet_ntop(t->rtm_family, RTA_DATA(a[RTA_GATEWAY]), r.via, sizeof(r.via));
	/* The same prefix with another metric: the first one is the better. */
	for (uint32_t i = 0; i < rs->n; i++)
		if (rs->r[i].route && strcmp(rs->r[i].prefix, r.prefix) == 0)
			return 0;
	return rows_add(rs, &r);
}

/* The messages of one datagram. 1: the dump is over; 0: more follows. *again: what was read is no
 * picture of one moment. */
static int take_datagram(
    const struct sluice_mirror *m, void *buf, int len, struct rows *rs, bool *again)
{
	for (struct nlmsghdr *h = buf; NLMSG_OK(h, (unsigned int)len); h = NLMSG_NEXT(h, len)) {
		int rc = 0;

		if (h->nlmsg_seq != m->seq)
			continue;
		*again |= (h->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
		if (h->nlmsg_type == NLMSG_DONE)
			return 1;
		if (h->nlmsg_type == NLMSG_ERROR)
			return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
		if (h->nlmsg_type == RTM_NEWADDR)
			rc = take_addr(m, h, rs);
		else if (h->nlmsg_type == RTM_NEWROUTE)
			rc = take_route(m, h, rs);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int dump(struct sluice_mirror *m, uint16_t type, struct rows *rs, bool *again)
{
	static const size_t room = 32768;
	struct {
		struct nlmsghdr h;
		struct rtmsg t; /* as long as ifaddrmsg at least; family 0: both */
	} ask = {.h = {.nlmsg_len = sizeof(ask),
		     .nlmsg_type = type,
		     .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		     .nlmsg_seq = ++m->seq}};
	char *buf = malloc(room);
	int rc = buf == NULL ? -ENOMEM : 0;

	if (rc == 0 && send(m->ask, &ask, sizeof(ask), 0) < 0)
		rc = -errno;
	while (rc == 0) {
		ssize_t n = recv(m->ask, buf, room, 0);

		if (n < 0 && errno == EINTR)
			continue;
		rc = n < 0 ? -errno : take_datagram(m, buf, (int)n, rs, again);
	}
	free(buf);
	return rc < 0 ? rc : 0;
}

static int ask_all(struct sluice_mirror *m, struct rows *rs)
{
	int rc = -EAGAIN;

	for (int i = 0; i < DUMP_TRIES && rc == -EAGAIN; i++) {
		bool again = false;

		rs->n = 0;
		rc = dump(m, RTM_GETADDR, rs, &again);
		if (rc == 0)
			rc = dump(m, RTM_GETROUTE, rs, &again);
		if (rc == 0 && again)
			rc = -EAGAIN;
	}
	return rc;
}

/* ---- applying ---- */

static bool has(const struct rows *rs, const struct row *r)
{
	for (uint32_t i = 0; i < rs->n; i++)
		if (rs->r[i].route == r->route && strcmp(rs->r[i].prefix, r->prefix) == 0 &&
		    strcmp(rs->r[i].via, r->via) == 0)
			return true;
	return false;
}

static int drop(struct sluice_mirror *m, struct sluice_txn *t, const struct row *r)
{
	int rc = r->route ? sluice_route_del(t, m->vrf, r->prefix)
			  : sluice_addr_del(t, m->ifname, r->prefix);

	return rc == -ENOENT ? 0 : rc; /* the user was faster */
}

static int add(struct sluice_mirror *m, struct sluice_txn *t, const struct row *r)
{
	return r->route ? sluice_route_add(
			      t, m->vrf, r->prefix, r->via[0] != '\0' ? r->via : NULL, m->ifname)
			: sluice_addr_add(t, m->ifname, r->prefix, false);
}

/* From what is mirrored to `want`; what is there already, by the user's hand, does not become ours. The
 * number of changes. */
static int apply(struct sluice_mirror *m, struct rows *want)
{
	struct sluice_txn *t;
	int n = 0, rc = sluice_txn_begin(m->st, &t);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < m->have.n && rc >= 0; i++) {
		if (has(want, &m->have.r[i]))
			continue;
		rc = drop(m, t, &m->have.r[i]);
		n++;
	}
	for (uint32_t i = 0; i < want->n && rc >= 0; i++) {
		if (has(&m->have, &want->r[i]))
			continue;
		rc = add(m, t, &want->r[i]);
		if (rc == -EEXIST) {
			want->r[i--] = want->r[--want->n];
			rc = 0;
			continue;
		}
		n++;
	}
	if (rc < 0 || n == 0) {
		sluice_txn_abort(t);
		return rc < 0 ? rc : 0;
	}
	rc = sluice_txn_commit(t, NULL);
	return rc < 0 ? rc : n;
}

static int synchronise(struct sluice_mirror *m)
{
	struct rows want = {.n = 0};
	int rc = ask_all(m, &want);

	if (rc == 0)
		rc = apply(m, &want);
	m->stale = rc < 0;
	if (rc < 0) {
		free(want.r);
		return rc;
	}
	free(m->have.r);
	m->have = want;
	return rc;
}

/* ---- public ---- */

static int open_socket(uint32_t groups)
{
	struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = groups};
	int fd = socket(
	    AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | (groups != 0 ? SOCK_NONBLOCK : 0), NETLINK_ROUTE);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
		close(fd);
		fd = -1;
	}
	return fd >= 0 ? fd : -errno;
}

int sluice_mirror_open(struct sluice_stack *st, const char *kernel_if, const char *ifname,
    uint32_t vrf, struct sluice_mirror **out)
{
	struct sluice_mirror *m;
	int rc;

	if (strlen(ifname) >= sizeof(m->ifname))
		return -EINVAL;
	rc = sluice_if_index(st, ifname);
	if (rc < 0)
		return rc;
	if (if_nametoindex(kernel_if) == 0)
		return -ENODEV;
	m = calloc(1, sizeof(*m));
	if (m == NULL)
		return -ENOMEM;
	m->st = st;
	m->vrf = vrf;
	m->ifindex = if_nametoindex(kernel_if);
	snprintf(m->ifname, sizeof(m->ifname), "%s", ifname);
	/* Watch first: what changes while we ask is asked for once more. */
	m->watch = open_socket(
	    RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE);
	m->ask = open_socket(0);
	rc = m->watch < 0 ? m->watch : m->ask < 0 ? m->ask : synchronise(m);
	if (rc < 0) {
		sluice_mirror_close(m);
		return rc;
	}
	*out = m;
	return 0;
}

int sluice_mirror_fd(const struct sluice_mirror *m)
{
	return m->watch;
}

int sluice_mirror_run(struct sluice_mirror *m)
{
	char buf[8192];
	bool changed = m->stale;

	/* What was missed for want of room (ENOBUFS) has changed something too. */
	while (recv(m->watch, buf, sizeof(buf), 0) >= 0 || errno == ENOBUFS || errno == EINTR)
		changed = true;
	return changed ? synchronise(m) : 0;
}

void sluice_mirror_close(struct sluice_mirror *m)
{
	if (m == NULL)
		return;
	if (m->watch >= 0)
		close(m->watch);
	if (m->ask >= 0)
		close(m->ask);
	free(m->have.r);
	free(m);
}
