/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drives the plug-in the way packetdrill does, without packetdrill: loads it, injects packets of a peer
 * that is made here, looks at what comes out, and makes socket calls meanwhile, blocking ones on a
 * second thread. Every pointer of the table is used. `drive PLUGIN`; exit status 1 and a line on
 * stderr when something is not as it should be.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <netinet/tcp.h>

#include "interface.h"
#include "octets.h"

#define CHECK(c)                                                                             \
	do {                                                                                 \
		if (!(c)) {                                                                  \
			fprintf(stderr, "drive.c:%d: %s (errno %d)\n", __LINE__, #c, errno); \
			exit(1);                                                             \
		}                                                                            \
	} while (0)

static struct packetdrill_interface pd;
#define U (pd.userdata)

enum {
	FIN = 1,
	SYN = 2,
	RST = 4,
	PSH = 8,
	ACK = 16
};

#define LOCAL 0xc0a80001u /* 192.168.0.1 */
#define PEER 0xc0000201u  /* 192.0.2.1 */

/* ---- the peer ---- */

struct peer {
	uint16_t lport, port; /* the stack's, the peer's */
	uint32_t seq, ack;    /* of the next segment */
};

static void inject(struct peer *p, uint8_t flags, const char *data)
{
	uint8_t b[1500] = {0x45};
	uint32_t len = data != NULL ? (uint32_t)strlen(data) : 0, opts = flags & SYN ? 4 : 0;
	uint32_t tcp = 20 + opts + len, acc;

	put16(b + 2, (uint16_t)(20 + tcp));
	b[8] = 64;
	b[9] = IPPROTO_TCP;
	put32(b + 12, PEER);
	put32(b + 16, LOCAL);
	put16(b + 10, sum16_end(sum16(b, 20, 0)));
	put16(b + 20, p->port);
	put16(b + 22, p->lport);
	put32(b + 24, p->seq);
	put32(b + 28, p->ack);
	b[32] = (uint8_t)((20 + opts) / 4 << 4);
	b[33] = flags;
	put16(b + 34, 65535);
	if (opts > 0) {
		b[40] = 2; /* MSS 1000 */
		b[41] = 4;
		put16(b + 42, 1000);
	}
	if (len > 0)
		memcpy(b + 40 + opts, data, len);
	acc = sum16(b + 12, 8, IPPROTO_TCP + tcp);
	put16(b + 36, sum16_end(sum16(b + 20, tcp, acc)));
	p->seq += len + !!(flags & SYN) + !!(flags & FIN);
	CHECK(pd.netdev_send(U, b, 20 + tcp) == 0);
}

struct seen {
	uint8_t flags;
	uint32_t seq, ack, len;
	uint16_t sport, dport;
	uint8_t opts[40];
	unsigned int nopts;
	char data[1500];
};

/* What the stack sends next; false: nothing for 2 s. */
static bool expect(struct seen *s)
{
	uint8_t b[2048];
	size_t n = sizeof(b);
	long long us = 0;
	unsigned int th;

	CHECK(pd.netdev_receive(U, b, &n, &us) == 0);
	CHECK(us > 1000000000ll);
	if (n == 0)
		return false;
	CHECK(b[0] == 0x45 && get32(b + 12) == LOCAL && get32(b + 16) == PEER);
	CHECK(get16(b + 2) == n);
	memset(s, 0, sizeof(*s));
	th = (b[32] >> 4) * 4u;
	s->sport = get16(b + 20);
	s->dport = get16(b + 22);
	s->seq = get32(b + 24);
	s->ack = get32(b + 28);
	s->flags = b[33];
	s->len = (uint32_t)n - 20 - th;
	s->nopts = th - 20;
	memcpy(s->opts, b + 40, s->nopts);
	memcpy(s->data, b + 20 + th, s->len);
	return true;
}

/* The next one with text, or a FIN: pure ACKs are passed over. */
static void expect_text(struct peer *p, struct seen *s, uint8_t flags, const char *text)
{
	do {
		CHECK(expect(s));
	} while (s->len == 0 && !(s->flags & (SYN | FIN | RST)));
	CHECK((s->flags & flags) == flags);
	CHECK(s->len == strlen(text) && memcmp(s->data, text, s->len) == 0);
	p->ack = s->seq + s->len + !!(s->flags & (SYN | FIN));
	inject(p, ACK, NULL);
}

/* ---- calls on a thread of their own ---- */

struct blocked {
	int fd, result;
	char buf[64];
	enum {
		DO_ACCEPT,
		DO_READ,
		DO_CONNECT
	} what;
	pthread_t thread;
};

static void *block(void *arg)
{
	struct sockaddr_in a = {
	    .sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = htonl(PEER)};
	struct blocked *b = arg;
	socklen_t len = sizeof(a);

	if (b->what == DO_ACCEPT)
		b->result = pd.accept(U, b->fd, (struct sockaddr *)&a, &len);
	else if (b->what == DO_READ)
		b->result = (int)pd.read(U, b->fd, b->buf, sizeof(b->buf));
	else
		b->result = pd.connect(U, b->fd, (struct sockaddr *)&a, sizeof(a));
	return NULL;
}

static void begin(struct blocked *b)
{
	CHECK(pthread_create(&b->thread, NULL, block, b) == 0);
	CHECK(pd.usleep(U, 20000) == 0);
}

static int end(struct blocked *b)
{
	pthread_join(b->thread, NULL);
	return b->result;
}

/* ---- scenes ---- */

static int passive_open(struct peer *p)
{
	static const uint8_t mss[] = {2, 4, 0x05, 0xb4};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(8080)};
	struct blocked acc = {.what = DO_ACCEPT};
	int one = 1, fd = pd.socket(U, AF_INET, SOCK_STREAM, IPPROTO_TCP);
	struct seen s;

	CHECK(fd >= 0 && fcntl(fd, F_GETFD) >= 0); /* one of the kernel's */
	CHECK(pd.setsockopt(U, fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
	CHECK(pd.bind(U, fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	CHECK(pd.listen(U, fd, 1) == 0);
	acc.fd = fd;
	begin(&acc);
	*p = (struct peer){.lport = 8080, .port = 40000, .seq = 1000};
	inject(p, SYN, NULL);
	CHECK(expect(&s));
	CHECK(s.flags == (SYN | ACK) && s.ack == 1001 && s.sport == 8080);
	CHECK(s.nopts == 4 && memcmp(s.opts, mss, 4) == 0);
	p->ack = s.seq + 1;
	inject(p, ACK, NULL);
	CHECK(end(&acc) >= 0);
	CHECK(pd.close(U, fd) == 0);
	return acc.result;
}

static void data_both_ways(struct peer *p, int fd)
{
	struct iovec v[2] = {{(char[]){"ab"}, 2}, {(char[]){"cde"}, 3}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	struct blocked rd = {.what = DO_READ, .fd = fd};
	char x[16], y[16];
	struct iovec in[2] = {{x, 2}, {y, 16}};
	struct msghdr mi = {.msg_iov = in, .msg_iovlen = 2};
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	struct seen s;

	begin(&rd);
	inject(p, PSH | ACK, "hello");
	CHECK(end(&rd) == 5 && memcmp(rd.buf, "hello", 5) == 0);
	CHECK(expect(&s) && s.flags == ACK && s.ack == p->seq); /* at once: quick ACKs */
	CHECK(pd.write(U, fd, "one", 3) == 3);
	expect_text(p, &s, PSH | ACK, "one");
	CHECK(pd.writev(U, fd, v, 2) == 5);
	expect_text(p, &s, PSH | ACK, "abcde");
	CHECK(pd.send(U, fd, "two", 3, 0) == 3);
	expect_text(p, &s, PSH | ACK, "two");
	CHECK(pd.sendto(U, fd, "three", 5, 0, NULL, 0) == 5);
	expect_text(p, &s, PSH | ACK, "three");
	m.msg_iovlen = 1;
	CHECK(pd.sendmsg(U, fd, &m, 0) == 2);
	expect_text(p, &s, PSH | ACK, "ab");
	inject(p, PSH | ACK, "xyz");
	CHECK(pd.readv(U, fd, in, 2) == 3 && x[0] == 'x' && y[0] == 'z');
	inject(p, PSH | ACK, "xyz");
	CHECK(pd.recvmsg(U, fd, &mi, 0) == 3);
	inject(p, PSH | ACK, "q");
	CHECK(pd.recv(U, fd, x, sizeof(x), 0) == 1 && x[0] == 'q');
	inject(p, PSH | ACK, "r");
	CHECK(pd.recvfrom(U, fd, x, sizeof(x), 0, (struct sockaddr *)&from, &len) == 1);
}

static void readiness(struct peer *p, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = 77}, got;
	struct pollfd pf = {.fd = fd, .events = POLLIN | POLLOUT};
	int ep = pd.epoll_create(U, 1), n = -1, flags, pp[2];
	char x[8];

	CHECK(ep >= 0);
	CHECK(pd.epoll_ctl(U, ep, EPOLL_CTL_ADD, fd, &ev) == 0);
	CHECK(pd.epoll_wait(U, ep, &got, 1, 0) == 0);
	CHECK(pd.poll(U, &pf, 1, 0) == 1 && pf.revents == POLLOUT);
	inject(p, PSH | ACK, "abc");
	CHECK(pd.epoll_wait(U, ep, &got, 1, 5000) == 1 && got.data.fd == 77);
	CHECK(pd.poll(U, &pf, 1, 5000) == 1 && (pf.revents & POLLIN));
	CHECK(pd.ioctl(U, fd, FIONREAD, &n) == 0 && n == 3);
	/* Through a pipe of the kernel's, and back out. */
	CHECK(pd.pipe(U, pp) == 0);
	CHECK(pd.splice(U, fd, NULL, pp[1], NULL, 3, 0) == 3);
	CHECK(read(pp[0], x, 3) == 3 && memcmp(x, "abc", 3) == 0);
	CHECK(pd.write(U, pp[1], "p", 1) == 1 && pd.read(U, pp[0], x, 1) == 1);
	flags = pd.fcntl(U, fd, F_GETFL, 0);
	CHECK(flags >= 0 && pd.fcntl(U, fd, F_SETFL, flags | O_NONBLOCK) == 0);
	CHECK(pd.read(U, fd, x, 1) == -1 && errno == EAGAIN);
	CHECK(pd.fcntl(U, fd, F_SETFL, flags) == 0);
	CHECK(pd.close(U, pp[0]) == 0 && pd.close(U, pp[1]) == 0 && pd.close(U, ep) == 0);
	CHECK(pd.close(U, ep) == -1 && errno == EBADF);
}

static void info(int fd)
{
	struct tcp_info ti;
	socklen_t len = sizeof(ti);
	struct timeval a, b;

	memset(&ti, 0, sizeof(ti));
	CHECK(pd.getsockopt(U, fd, IPPROTO_TCP, TCP_INFO, &ti, &len) == 0);
	CHECK(ti.tcpi_state == TCP_ESTABLISHED && ti.tcpi_snd_mss == 1000);
	CHECK(ti.tcpi_snd_cwnd >= 10);
	CHECK(pd.gettimeofday(U, &a, NULL) == 0 && pd.usleep(U, 1000) == 0);
	CHECK(pd.gettimeofday(U, &b, NULL) == 0);
	CHECK((b.tv_sec - a.tv_sec) * 1000000 + b.tv_usec - a.tv_usec >= 1000);
}

static void closing(struct peer *p, int fd)
{
	struct seen s;
	char x[4];

	CHECK(pd.shutdown(U, fd, SHUT_WR) == 0);
	expect_text(p, &s, FIN | ACK, "");
	inject(p, FIN | ACK, NULL);
	do {
		CHECK(expect(&s));
	} while (s.ack != p->seq);
	CHECK(pd.read(U, fd, x, 1) == 0);
	CHECK(pd.close(U, fd) == 0);
	CHECK(pd.read(U, fd, x, 1) == -1 && errno == EBADF);
}

/* SYN options in the order that scripts for Linux expect: mss, sackOK, timestamps, nop, wscale. */
static void active_open(void)
{
	struct blocked c = {.what = DO_CONNECT};
	struct peer p = {.port = 8080, .seq = 5000};
	struct seen s;

	c.fd = pd.socket(U, AF_INET, SOCK_STREAM, 0);
	CHECK(c.fd >= 0);
	begin(&c);
	do {
		CHECK(expect(&s));
	} while (!(s.flags & SYN));
	CHECK(s.flags == SYN && s.dport == 8080 && s.nopts == 20);
	CHECK(s.opts[0] == 2 && s.opts[4] == 4 && s.opts[6] == 8 && s.opts[16] == 1 &&
	      s.opts[17] == 3);
	p.lport = s.sport;
	p.ack = s.seq + 1;
	inject(&p, SYN | ACK, NULL);
	CHECK(end(&c) == 0);
	CHECK(expect(&s) && s.flags == ACK && s.ack == 5001);
	inject(&p, RST | ACK, NULL);
	CHECK(pd.read(U, c.fd, &(char){0}, 1) == -1 && errno == ECONNRESET);
	/* Left open: the tool closes what is left by itself. */
	CHECK(close(c.fd) == 0);
}

int main(int argc, char **argv)
{
	void (*init)(const char *flags, struct packetdrill_interface *out);
	struct peer p;
	struct seen s;
	void *so;
	int fd;

	CHECK(argc == 2);
	so = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	if (so == NULL)
		fprintf(stderr, "%s\n", dlerror());
	CHECK(so != NULL);
	init = (void (*)(const char *, struct packetdrill_interface *))dlsym(
	    so, "packetdrill_interface_init");
	CHECK(init != NULL);
	for (int round = 0; round < 2; round++) {
		init(round == 0 ? NULL : "tcp.rto_min=300ms,tcp.time_wait=100ms", &pd);
		for (unsigned int i = 0; i < sizeof(pd) / sizeof(void *); i++)
			CHECK(((void **)&pd)[i] != NULL);
		CHECK(sizeof(pd) / sizeof(void *) == 33);
		fd = passive_open(&p);
		data_both_ways(&p, fd);
		readiness(&p, fd);
		info(fd);
		closing(&p, fd);
		while (round == 0 && expect(&s)) /* what is on its way; then 2 s of silence */
			;
		active_open();
		pd.free(U);
	}
	/* Not closed: what DPDK's constructors have allocated would look lost. */
	return 0;
}
