/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Socket options and ioctls: beside the kernel's, which say what is right; inherited; what they do;
 * and the document that lists them. `test_posix_option --print` writes that document.
 */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/tcp.h>

#include <cmocka.h>

#include "live.h"
#include "mpool.h"

#define PORT LIVE_PORT

#define L live_one
#define lfd live_lfd

#define C (L.st[0])
#define S (L.st[1])
#define DIM(a) (sizeof(a) / sizeof((a)[0]))

/* ---- beside the kernel ---- */

/* What is not compared, and why. */
static const struct {
	const char *name;
	bool set, get, value; /* not the result of set, of get, not what is read back */
	const char *why;
} apart[] = {
    {"SO_INCOMING_CPU", true, false, true, "the squeue's number; the kernel lets it be set"},
    {"SO_BUSY_POLL", true, false, true, "the kernel wants CAP_NET_ADMIN, or is built without"},
    {"SO_SNDBUF", false, false, true, "other smallest and largest sizes"},
    {"SO_RCVBUF", false, false, true, "other smallest and largest sizes"},
    {"SO_RCVLOWAT", false, false, true, "kept as set; the kernel cuts it when it is set"},
    {"SO_PRIORITY", true, false, true, "beyond 6 the kernel wants CAP_NET_ADMIN"},
    {"SO_MARK", true, false, true, "the kernel wants CAP_NET_ADMIN, and takes all 32 bits"},
    {"TCP_FASTOPEN", false, false, true, "net.core.somaxconn is the most there"},
    {"SO_DEBUG", true, false, true, "the kernel wants CAP_NET_ADMIN"},
    {"SO_LINGER", false, false, true, "at most 65534 s"},
    {"TCP_CONGESTION", true, true, true, "a list of its own; test of its own"},
    {"TCP_MAXSEG", true, false, true, "up to 65495; 0 there keeps what was"},
    {"TCP_LINGER2", false, false, true, "the kernel's largest is 120 s, -1 turns it off"},
    {"TCP_KEEPIDLE", false, false, true, "a tunable is the default"},
    {"TCP_SYNCNT", false, false, true, "a tunable is the default"},
    {"TCP_INFO", false, false, true, "figures of a stack"},
    {"TCP_QUICKACK", false, false, true, "counts down here"},
    {"TCP_DEFER_ACCEPT", false, false, true, "seconds here, rounded to SYN-ACK time-outs there"},
    {"TCP_WINDOW_CLAMP", false, false, true, "other smallest size; follows SO_RCVBUF there"},
    {"TCP_NOTSENT_LOWAT", false, false, true, "no negative values"},
    {"TCP_TIMESTAMP", true, false, true, "a clock"},
    {"IP_MTU_DISCOVER", true, false, true, "path MTU discovery is never off"},
    {"IPV6_MTU_DISCOVER", true, false, true, "path MTU discovery is never off"},
    {"IPV6_MTU", true, false, true, "read-only here"},
    {"IPV6_DONTFRAG", false, false, true, "never fragments"},
    {"IPV6_UNICAST_HOPS", true, false, true, "0 hops are refused"},
    {"IP_TOS", false, false, true, "precedence needs CAP_NET_ADMIN there on some kernels"},
};

static unsigned int apart_of(const char *name)
{
	for (unsigned int i = 0; i < DIM(apart); i++)
		if (strcmp(apart[i].name, name) == 0)
			return i;
	return DIM(apart);
}

static unsigned int differences;

static void differ(const struct sluice_option_info *o, const char *what, int v, socklen_t len,
    int kernel, int ours)
{
	print_error(
	    "%s: %s %d, length %u: kernel %d, here %d\n", o->text, what, v, len, kernel, ours);
	differences++;
}

static int result(int rc)
{
	return rc < 0 ? -errno : rc;
}

static void one_get(int k, int fd, const struct sluice_option_info *o, socklen_t len, int v,
    const char *after, bool rc_too, bool value_too)
{
	unsigned char a[256], b[256];
	socklen_t la = len, lb = len;
	int ra, rb;

	memset(a, 0, sizeof(a));
	memset(b, 0, sizeof(b));
	ra = result(getsockopt(k, o->level, o->name, a, &la));
	rb = sluice_so_getsockopt(C, fd, o->level, o->name, b, &lb);
	if (rc_too && ra != rb)
		differ(o, after, v, len, ra, rb);
	if (rc_too && ra == 0 && rb == 0 && la != lb && strcmp(o->form, "INFO") != 0)
		differ(o, "length of get after", v, len, (int)la, (int)lb);
	if (value_too && ra == 0 && rb == 0 && memcmp(a, b, la) != 0)
		differ(o, "value after", v, len, *(int *)a, *(int *)b);
}

/* Fresh sockets for each value: what an earlier one did must not hide a difference. */
static void one_option(int family, const struct sluice_option_info *o)
{
	static const int values[] = {
	    0, 1, -1, 2, 3, 64, 87, 88, 127, 128, 255, 256, 32767, 32768, 100000, INT_MIN, INT_MAX};
	static const socklen_t lens[] = {4, 0, 1, 2, 3, 5, 8, 15, 16, 17, 40};
	unsigned int x = apart_of(o->text);
	bool set = x == DIM(apart) || !apart[x].set, get = x == DIM(apart) || !apart[x].get,
	     value = x == DIM(apart) || !apart[x].value;

	for (unsigned int i = 0; i < DIM(values); i++) {
		for (unsigned int n = 0; n < DIM(lens); n++) {
			int k = socket(family, SOCK_STREAM, 0), ra, rb;
			int fd = sluice_so_socket(C, family, SOCK_STREAM, 0);
			int b[10] = {values[i], values[i], values[i], values[i]};
			socklen_t len = lens[n];

			assert_true(k >= 0 && fd >= 0);
			if (i == 0)
				one_get(k, fd, o, len, 0, "get of a fresh one, after", get, value);
			ra = result(setsockopt(k, o->level, o->name, b, len));
			rb = sluice_so_setsockopt(C, fd, o->level, o->name, b, len);
			if (set && ra != rb)
				differ(o, "set", values[i], len, ra, rb);
			/* What was set in another way reads otherwise. */
			if (ra == rb && n == 0)
				one_get(k, fd, o, 4, values[i], "get after", get, value);
			close(k);
			assert_int_equal(sluice_so_close(C, fd), 0);
			if (i > 1 && n > 0)
				break; /* lengths with two values are enough */
		}
	}
}

/* There is a row of sockets too: that one counts. */
static bool shadowed(unsigned int i)
{
	const struct sluice_option_info *o = sluice_option_info(i), *p;

	while ((p = sluice_option_info(++i)) != NULL)
		if (p->level == o->level && p->name == o->name)
			return true;
	return false;
}

static void as_the_kernel(void **state)
{
	const struct sluice_option_info *o;

	for (unsigned int i = 0; (o = sluice_option_info(i)) != NULL; i++) {
		if (o->name >= 0x5300 || shadowed(i))
			continue;
		if (o->level != IPPROTO_IPV6)
			one_option(AF_INET, o);
		one_option(AF_INET6, o);
	}
	assert_int_equal(differences, 0);
}

static void strangers(void **state)
{
	static const struct {
		int level, name;
	} t[] = {{SOL_SOCKET, 9999}, {IPPROTO_TCP, 9999}, {IPPROTO_IP, 9999}, {IPPROTO_IPV6, 9999},
	    {IPPROTO_UDP, 1}, {77, 1}, {SOL_SOCKET, SO_TYPE}, {SOL_SOCKET, SO_ERROR},
	    {SOL_SOCKET, SO_ACCEPTCONN}, {IPPROTO_TCP, TCP_INFO}};
	int k = socket(AF_INET, SOCK_STREAM, 0);
	int fd = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0), one = 1;

	for (unsigned int i = 0; i < DIM(t); i++) {
		int v = 0;
		socklen_t len = sizeof(v), klen = sizeof(v);
		int rk = result(setsockopt(k, t[i].level, t[i].name, &one, sizeof(one)));
		int gk = result(getsockopt(k, t[i].level, t[i].name, &v, &klen));

		if (sluice_so_setsockopt(C, fd, t[i].level, t[i].name, &one, sizeof(one)) != rk ||
		    sluice_so_getsockopt(C, fd, t[i].level, t[i].name, &v, &len) != gk) {
			print_error(
			    "level %d name %d: kernel %d, %d\n", t[i].level, t[i].name, rk, gk);
			fail();
		}
	}
	close(k);
	assert_int_equal(sluice_so_close(C, fd), 0);
	assert_int_equal(sluice_so_setsockopt(C, fd, SOL_SOCKET, SO_KEEPALIVE, &one, 4), -EBADF);
}

/* ---- inheritance ---- */

static void set_int(struct sluice_stack *st, int fd, int level, int name, int v)
{
	assert_int_equal(sluice_so_setsockopt(st, fd, level, name, &v, sizeof(v)), 0);
}

static int get_int(struct sluice_stack *st, int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	assert_int_equal(sluice_so_getsockopt(st, fd, level, name, &v, &len), 0);
	return v;
}

/* Every number that the table says is inherited: set on a socket that listens already. */
static void inherited(void **state)
{
	const struct sluice_option_info *o;
	int c, s;

	for (unsigned int i = 0; (o = sluice_option_info(i)) != NULL; i++) {
		bool number = strcmp(o->form, "INT") == 0 || strcmp(o->form, "CLAMP") == 0 ||
			      strcmp(o->form, "BOOL") == 0;
		int was, v, want;

		if (!number || !o->writable || shadowed(i) || o->level == IPPROTO_IPV6 ||
		    o->name == TCP_DEFER_ACCEPT ||
		    (o->level == IPPROTO_TCP && o->name == TCP_MAXSEG) ||
		    (o->level == IPPROTO_IP && o->name == IP_MINTTL))
			continue; /* those have tests of what they do */
		was = get_int(S, lfd, o->level, o->name);
		v = strcmp(o->form, "BOOL") == 0 ? !was
		    : o->level == SOL_SOCKET     ? was / 2 + (was == 0 || was == 1 ? 1 : 0)
						 : was + 1;
		if (o->level == IPPROTO_TCP && o->name == TCP_WINDOW_CLAMP)
			v = 30000;
		if (o->level == IPPROTO_IP && o->name == IP_TOS)
			v = 0x20;
		if (o->level == IPPROTO_IP && o->name == IP_MTU_DISCOVER)
			v = was;
		set_int(S, lfd, o->level, o->name, v);
		want = get_int(S, lfd, o->level, o->name);
		live_pair(&L, lfd, PORT, &c, &s);
		if (!o->inherited)
			want = o->level == IPPROTO_TCP && o->name == TCP_QUICKACK
				   ? get_int(S, s, o->level, o->name)
				   : was;
		if (get_int(S, s, o->level, o->name) != want)
			print_error("%s\n", o->text);
		assert_int_equal(get_int(S, s, o->level, o->name), want);
		assert_int_equal(sluice_so_close(C, c), 0);
		assert_int_equal(sluice_so_close(S, s), 0);
		set_int(S, lfd, o->level, o->name,
		    o->name == TCP_WINDOW_CLAMP && o->level == IPPROTO_TCP ? 60000
		    : o->level == SOL_SOCKET && (o->name == SO_SNDBUF || o->name == SO_RCVBUF)
			? was / 2
			: was);
	}
}

/* ---- what they do ---- */

static void fastopen(void **state)
{
	int c, s, n = 5;

	set_int(S, lfd, IPPROTO_TCP, TCP_FASTOPEN, n);
	live_pair(&L, lfd, PORT, &c, &s);
	assert_int_equal(
	    sluice_so_setsockopt(S, s, IPPROTO_TCP, TCP_FASTOPEN, &n, sizeof(n)), -EINVAL);
	assert_int_equal(
	    sluice_so_setsockopt(C, c, IPPROTO_TCP, TCP_FASTOPEN, &n, sizeof(n)), -EINVAL);
	assert_int_equal(sluice_so_close(C, c), 0);
	assert_int_equal(sluice_so_close(S, s), 0);
	set_int(S, lfd, IPPROTO_TCP, TCP_FASTOPEN, 0);
}

static void defer_accept(void **state)
{
	struct pollfd p = {.fd = lfd, .events = POLLIN};
	int a, b, c, s;
	struct sockaddr_in sa = live_addr(1, PORT);
	char x[4];

	set_int(S, lfd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1);
	a = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0);
	assert_int_equal(sluice_so_connect(C, a, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(sluice_so_poll(S, &p, 1, 50), 0);
	assert_int_equal(sluice_so_send(C, a, "hi", 2, 0), 2);
	assert_int_equal(sluice_so_poll(S, &p, 1, 5000), 1);
	s = sluice_so_accept4(S, lfd, NULL, NULL, 0);
	assert_true(s >= 0);
	assert_int_equal(sluice_so_recv(S, s, x, 4, 0), 2);
	assert_int_equal(sluice_so_close(S, s), 0);
	assert_int_equal(sluice_so_close(C, a), 0);
	/* One that ends unseen; one that says nothing is given out after the time. */
	b = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0);
	assert_int_equal(sluice_so_connect(C, b, (struct sockaddr *)&sa, sizeof(sa)), 0);
	c = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0);
	assert_int_equal(sluice_so_connect(C, c, (struct sockaddr *)&sa, sizeof(sa)), 0);
	live_nap(20);
	assert_int_equal(sluice_so_setsockopt(C, b, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
			     sizeof(struct linger)),
	    0);
	assert_int_equal(sluice_so_close(C, b), 0);
	live_nap(20);
	assert_int_equal(sluice_so_poll(S, &p, 1, 0), 0);
	assert_int_equal(sluice_so_poll(S, &p, 1, 5000), 1);
	s = sluice_so_accept4(S, lfd, NULL, NULL, 0);
	assert_true(s >= 0);
	assert_int_equal(sluice_so_fcntl(S, lfd, 4 /* F_SETFL */, 04000), 0);
	assert_int_equal(sluice_so_accept4(S, lfd, NULL, NULL, 0), -EAGAIN);
	assert_int_equal(sluice_so_close(S, s), 0);
	assert_int_equal(sluice_so_close(C, c), 0);
	/* The end of the stream counts as data. */
	a = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0);
	assert_int_equal(sluice_so_connect(C, a, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(sluice_so_shutdown(C, a, SHUT_WR), 0);
	assert_int_equal(sluice_so_poll(S, &p, 1, 500), 1);
	/* And one that still waits when the listener goes. */
	c = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0);
	assert_int_equal(sluice_so_connect(C, c, (struct sockaddr *)&sa, sizeof(sa)), 0);
	live_nap(20);
	assert_int_equal(sluice_so_close(S, lfd), 0);
	lfd = live_listen(&L, PORT + 1, 1);
	assert_int_equal(sluice_so_recv(C, c, x, 4, 0), -ECONNRESET);
	assert_int_equal(sluice_so_recv(C, a, x, 4, 0), -ECONNRESET);
	assert_int_equal(sluice_so_close(C, a), 0);
	assert_int_equal(sluice_so_close(C, c), 0);
}

static void busy_poll(void **state)
{
	int c, s;
	char x;

	live_pair(&L, lfd, PORT, &c, &s);
	set_int(C, c, SOL_SOCKET, SO_BUSY_POLL, 2000);
	assert_int_equal(sluice_so_send(S, s, "x", 1, 0), 1);
	assert_int_equal(sluice_so_recv(C, c, &x, 1, 0), 1);
	assert_int_equal(sluice_so_setsockopt(C, c, SOL_SOCKET, SO_RCVTIMEO,
			     &(struct timeval){0, 20000}, sizeof(struct timeval)),
	    0);
	assert_int_equal(sluice_so_recv(C, c, &x, 1, 0), -EAGAIN);
	assert_int_equal(sluice_so_close(C, c), 0);
	assert_int_equal(sluice_so_close(S, s), 0);
}

static void congestion_by_name(void **state)
{
	int fd = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0);
	char name[16] = "";
	socklen_t len = sizeof(name);

	assert_int_equal(sluice_so_setsockopt(C, fd, IPPROTO_TCP, TCP_CONGESTION, "newreno", 7), 0);
	assert_int_equal(sluice_so_getsockopt(C, fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
	assert_string_equal(name, "newreno");
	assert_int_equal(
	    sluice_so_setsockopt(C, fd, IPPROTO_TCP, TCP_CONGESTION, "nobody", 6), -ENOENT);
	assert_int_equal(sluice_so_close(C, fd), 0);
}

/* ---- administrative abort ---- */

static void abort_by_pattern(void **state)
{
	struct sluice_conn_pattern p = {.size = sizeof(p),
	    .vrf = SLUICE_ANY_VRF,
	    .min_state = SLUICE_ESTABLISHED,
	    .max_state = SLUICE_TIME_WAIT};
	int c[4], s[4];
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	char x;

	for (int i = 0; i < 4; i++)
		live_pair(&L, lfd, PORT, &c[i], &s[i]);
	p.size = 1;
	assert_int_equal(sluice_abort_matching(S, &p), -EINVAL);
	p.size = sizeof(p);
	p.local_port = PORT + 7;
	assert_int_equal(sluice_abort_matching(S, &p), 0);
	p.local_port = PORT;
	p.min_state = SLUICE_FIN_WAIT_1;
	assert_int_equal(sluice_abort_matching(S, &p), 0);
	p.min_state = SLUICE_SYN_SENT;
	p.vrf = 3;
	assert_int_equal(sluice_abort_matching(S, &p), 0);
	p.vrf = 0;
	p.remote.w[2] = htonl(0xffff);
	p.remote.w[3] = htonl(0x0a000102); /* 10.0.1.2/24 */
	p.remote_plen = 120;
	assert_int_equal(sluice_abort_matching(S, &p), 0);
	/* One, by its port; then by a prefix of 23 bits those that are left. */
	assert_int_equal(sluice_so_getsockname(C, c[1], (struct sockaddr *)&a, &len), 0);
	p.remote_plen = 119;
	p.remote_port = ntohs(a.sin_port);
	assert_int_equal(sluice_abort_matching(S, &p), 1);
	assert_int_equal(sluice_so_recv(C, c[1], &x, 1, 0), -ECONNRESET);
	assert_int_equal(sluice_so_recv(S, s[1], &x, 1, 0), -ECONNABORTED);
	assert_int_equal(sluice_so_send(C, c[2], "x", 1, 0), 1);
	assert_int_equal(sluice_so_recv(S, s[2], &x, 1, 0), 1);
	p.remote_port = 0;
	assert_int_equal(sluice_abort_matching(S, &p), 3);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(sluice_so_close(C, c[i]), 0);
		assert_int_equal(sluice_so_close(S, s[i]), 0);
	}
	/* The listener is left alone. */
	live_pair(&L, lfd, PORT, &c[0], &s[0]);
	assert_int_equal(sluice_so_close(C, c[0]), 0);
	assert_int_equal(sluice_so_close(S, s[0]), 0);
}

/* ---- ioctl ---- */

static void interfaces(void **state)
{
	struct ifreq r = {.ifr_name = "wire0"}, list[4];
	struct ifconf ic = {.ifc_len = 0, .ifc_buf = NULL};
	struct sockaddr_in in;
	static const struct {
		unsigned long request;
		uint32_t want;
	} addr[] = {{SIOCGIFADDR, 0x0a000001}, {SIOCGIFDSTADDR, 0x0a000001},
	    {SIOCGIFNETMASK, 0xffffff00}, {SIOCGIFBRDADDR, 0x0a0000ff}};
	int fd = sluice_so_socket(C, AF_INET, SOCK_STREAM, 0), index;

	for (unsigned int i = 0; i < DIM(addr); i++) {
		assert_int_equal(sluice_so_ioctl(C, fd, addr[i].request, &r), 0);
		memcpy(&in, &r.ifr_addr, sizeof(in));
		assert_int_equal(in.sin_family, AF_INET);
		assert_int_equal(ntohl(in.sin_addr.s_addr), addr[i].want);
	}
	assert_int_equal(sluice_so_ioctl(C, fd, SIOCGIFMTU, &r), 0);
	assert_int_equal(r.ifr_mtu, 1500);
	assert_int_equal(sluice_so_ioctl(C, fd, SIOCGIFFLAGS, &r), 0);
	assert_int_equal(r.ifr_flags, IFF_UP | IFF_RUNNING | IFF_BROADCAST);
	assert_int_equal(sluice_so_ioctl(C, fd, SIOCGIFHWADDR, &r), 0);
	assert_int_equal(r.ifr_hwaddr.sa_family, ARPHRD_ETHER);
	assert_int_equal(sluice_so_ioctl(C, fd, SIOCGIFMETRIC, &r), 0);
	assert_int_equal(sluice_so_ioctl(C, fd, SIOCGIFINDEX, &r), 0);
	index = r.ifr_ifindex;
	assert_int_equal(index, sluice_if_index(C, "wire0"));
	memset(&r, 0, sizeof(r));
	r.ifr_ifindex = index;
	assert_int_equal(sluice_so_ioctl(C, fd, SIOCGIFNAME, &r), 0);
	assert_string_equal(r.ifr_name, "wire0");
	assert_int_equal(sluice_so_ioctl(C, fd, SIOCGIFCONF, &ic), 0);
	assert_int_equal(ic.ifc_len, sizeof(struct ifreq));
	ic = (struct ifconf){.ifc_len = sizeof(list), .ifc_req = list};
	assert_int_equal(sluice_so_ioctl(C, fd, SIOCGIFCONF, &ic), 0);
	assert_int_equal(ic.ifc_len, sizeof(struct ifreq));
	assert_string_equal(list[0].ifr_name, "wire0");
	ic.ifc_len = 3;
	assert_int_equal(sluice_so_ioctl(C, fd, SIOCGIFCONF, &ic), 0);
	assert_int_equal(ic.ifc_len, 0);
	snprintf(r.ifr_name, sizeof(r.ifr_name), "eth7");
	assert_int_equal(sluice_so_ioctl(C, fd, SIOCGIFADDR, &r), -ENODEV);
	assert_int_equal(sluice_so_ioctl(C, fd, 0x5401 /* TCGETS */, &r), -ENOTTY);
	assert_int_equal(sluice_so_ioctl(C, fd, FIOASYNC, &index), 0);
	assert_int_equal(sluice_so_ioctl(C, fd, FIONREAD, NULL), -EFAULT);
	assert_int_equal(sluice_so_close(C, fd), 0);
	assert_int_equal(sluice_so_ioctl(C, fd, SIOCGIFADDR, &r), -EBADF);
}

/* ---- the document ---- */

static void write_doc(FILE *f)
{
	static const struct {
		int level;
		const char *name;
	} levels[] = {{SOL_SOCKET, "SOL_SOCKET"}, {IPPROTO_TCP, "IPPROTO_TCP"},
	    {IPPROTO_IP, "IPPROTO_IP"}, {IPPROTO_IPV6, "IPPROTO_IPV6"}};
	const struct sluice_option_info *o;

	fputs("# Socket options\n\nWritten by `test_posix_option --print` from the table in "
	      "`lib/sock/option_table.h`; a test compares the two.\n\n"
	      "**type** INT: out of its range -EINVAL; CLAMP: brought into its range; BOOL: any "
	      "number. **inh**: accepted\nconnections begin with the listener's value, also when "
	      "it was set after `listen`. **call**: `squeue` is a synchronous call\non the "
	      "connection's squeue, `-` is answered in the caller's thread. **of**: `socket` rows "
	      "exist for `sluice_so_*` only;\na row of both kinds is answered by the socket "
	      "there.\n",
	    f);
	for (unsigned int l = 0; l < DIM(levels); l++) {
		fprintf(f,
		    "\n## %s\n| option | type | range | default | set | inh | call | of | meaning "
		    "|\n|---|---|---|---|---|---|---|---|---|\n",
		    levels[l].name);
		for (unsigned int i = 0; (o = sluice_option_info(i)) != NULL; i++) {
			char range[32] = "";

			if (o->level != levels[l].level)
				continue;
			if (o->min != o->max && o->min != INT_MIN)
				snprintf(range, sizeof(range), "%d..%d", o->min, o->max);
			fprintf(f, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", o->text,
			    o->form, range, o->def, o->writable ? "yes" : "",
			    o->inherited ? "yes" : "", o->synchronous ? "squeue" : "-",
			    o->socket ? "socket" : "conn", o->doc);
		}
	}
	fputs("\n## What differs from Linux\n| option | why |\n|---|---|\n", f);
	for (unsigned int i = 0; i < DIM(apart); i++)
		fprintf(f, "| %s | %s |\n", apart[i].name, apart[i].why);
	fputs("\nNot there (`-ENOPROTOOPT`), because a program that asks for it would miss it: "
	      "`TCP_FASTOPEN_CONNECT`, `TCP_MD5SIG`, `TCP_SAVE_SYN`,\n`TCP_REPAIR`, `TCP_ULP`, "
	      "`SO_MAX_PACING_RATE`, `SO_BINDTODEVICE`, `SO_DONTROUTE`, ancillary data. Solaris' "
	      "`TCP_ABORT_THRESHOLD` is `TCP_USER_TIMEOUT`,\n`TCP_KEEPALIVE_ABORT_THRESHOLD` is "
	      "`TCP_KEEPINTVL` times `TCP_KEEPCNT`; the names `SLUICE_TCP_*` are in "
	      "`sluice/conn.h`.\n",
	    f);
}

static char *slurp(FILE *f, size_t *n)
{
	char *b = calloc(1, 1 << 16);

	rewind(f);
	*n = fread(b, 1, (1 << 16) - 1, f);
	fclose(f);
	return b;
}

static void documented(void **state)
{
	FILE *is = fopen(OPTIONS_DOC, "r"), *want = tmpfile();
	char *a, *b;
	size_t na, nb;

	assert_non_null(is);
	assert_non_null(want);
	write_doc(want);
	a = slurp(is, &na);
	b = slurp(want, &nb);
	if (na != nb || memcmp(a, b, na) != 0)
		print_error(
		    "doc/options.md is not what the table says: test_posix_option --print\n");
	assert_int_equal(na, nb);
	assert_memory_equal(a, b, na);
	free(a);
	free(b);
}

#define T(f) cmocka_unit_test_setup_teardown(f, live_setup, live_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {T(as_the_kernel), T(strangers), T(inherited),
	    T(fastopen), T(defer_accept), T(busy_poll), T(congestion_by_name), T(abort_by_pattern),
	    T(interfaces), cmocka_unit_test(documented)};

	if (argc > 1 && strcmp(argv[1], "--print") == 0) {
		write_doc(stdout);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
