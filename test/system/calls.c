/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every call that programs make on sockets, each with its result on a line of its own. preload.sh
 * runs it on the kernel's sockets and under sluice-run, and the lines must be equal: so nothing in
 * them depends on addresses, ports, descriptors or time. What must be woken waits for ever: who runs
 * this sets a limit.
 *
 *	calls peer PORT            the other end, always on the kernel: see calls.h
 *	calls run ADDR PORT LOCAL  all steps, against that peer; LOCAL is an address of ours
 *	calls leave HOW ADDR PORT  connects, sends LEAVE_BYTES and ends by HOW (exit, _exit, kill)
 *	calls inherit ADDR PORT    what a child has of its parent's sockets (only under sluice-run)
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/errqueue.h>

#include "calls.h"

/* ---- saying ---- */

static struct sockaddr_in to, me;

static void say(const char *what, long long rc)
{
	if (rc < 0)
		printf("%s: %lld %s\n", what, rc, strerrorname_np(errno));
	else
		printf("%s: %lld\n", what, rc);
	fflush(stdout);
}

static void say_bytes(const char *what, ssize_t n, const char *buf)
{
	if (n <= 0)
		say(what, n);
	else
		printf("%s: %zd \"%.*s\"\n", what, n, (int)n, buf);
}

static int dial(char what)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 ||
	    write(fd, &what, 1) != 1) {
		say("dial", -1);
		exit(1);
	}
	return fd;
}

static ssize_t read_all(int fd, char *buf, size_t n)
{
	return recv(fd, buf, n, MSG_WAITALL);
}

/* ---- steps ---- */

/* Each completed call is told once; whether the bytes were copied is the stack's affair. */
static void step_zerocopy(void)
{
	static char out[100000], back[sizeof(out)];
	int fd = dial(DO_ECHO), on = 1;
	unsigned int told = 0;

	say("SO_ZEROCOPY", setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)));
	memset(out, 'z', sizeof(out));
	say("send", send(fd, out, 30000, MSG_ZEROCOPY));
	say("send", send(fd, out + 30000, 70000, MSG_ZEROCOPY));
	say("read_all", read_all(fd, back, sizeof(back)));
	say("same", memcmp(out, back, sizeof(out)));
	while (told < 2) {
		char ctl[256];
		struct msghdr m = {.msg_control = ctl, .msg_controllen = sizeof(ctl)};
		struct pollfd p = {.fd = fd};
		struct sock_extended_err *e;
		struct cmsghdr *cm;

		if (poll(&p, 1, 5000) != 1 || !(p.revents & POLLERR) ||
		    recvmsg(fd, &m, MSG_ERRQUEUE) != 0 || !(m.msg_flags & MSG_ERRQUEUE) ||
		    (cm = CMSG_FIRSTHDR(&m)) == NULL)
			break;
		e = (struct sock_extended_err *)(void *)CMSG_DATA(cm);
		if (cm->cmsg_level != IPPROTO_IP || cm->cmsg_type != IP_RECVERR ||
		    e->ee_origin != SO_EE_ORIGIN_ZEROCOPY || e->ee_info != told)
			break;
		told = e->ee_data + 1;
	}
	say("told", (int)told);
	say("error queue", recvmsg(fd, &(struct msghdr){0}, MSG_ERRQUEUE));
	say("close", close(fd));
}

static void step_bytes(void)
{
	char buf[64] = "", b2[64], abc[] = "abc", defg[] = "defg";
	struct iovec iov[2] = {{abc, 3}, {defg, 4}}, in[2] = {{buf, 2}, {b2, 5}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2}, mi = {.msg_iov = in, .msg_iovlen = 2};
	struct mmsghdr mm[2] = {{.msg_hdr = m}, {.msg_hdr = m}};
	void *volatile nowhere = NULL;
	int fd = dial(DO_ECHO), n = 0;

	say("write", write(fd, "one", 3));
	say_bytes("read", read_all(fd, buf, 3), buf);
	say("send more", send(fd, "tw", 2, MSG_MORE));
	say("sendto", sendto(fd, "o", 1, 0, NULL, 0));
	say_bytes("peek", recv(fd, buf, 3, MSG_PEEK | MSG_WAITALL), buf);
	say("FIONREAD", ioctl(fd, FIONREAD, &n));
	say("bytes", n);
	say_bytes("recvfrom", recvfrom(fd, buf, sizeof(buf), 0, NULL, NULL), buf);
	say("dontwait", recv(fd, buf, 1, MSG_DONTWAIT));
	say("write", write(fd, "E", 1));
	usleep(20000);
	say("error queue", recv(fd, buf, 1, MSG_ERRQUEUE));
	say("not taken", read(fd, buf, 1));
	say("writev", writev(fd, iov, 2));
	usleep(20000);
	say("readv", readv(fd, in, 2));
	printf("%.2s %.5s\n", buf, b2);
	say("sendmsg", sendmsg(fd, &m, 0));
	say("recvmsg", recvmsg(fd, &mi, MSG_WAITALL));
	say("sendmmsg", sendmmsg(fd, mm, 2, 0));
	say("read_all", read_all(fd, buf, 14));
	say("sendmsg", sendmsg(fd, &m, 0));
	mm[0].msg_hdr = mm[1].msg_hdr = mi;
	say("recvmmsg", recvmmsg(fd, mm, 1, MSG_WAITFORONE, NULL) == 1 ? (int)mm[0].msg_len : -1);
	say("zero write", write(fd, "", 0));
	say("write", write(fd, "N", 1));
	usleep(20000);
	say("null", recv(fd, nowhere, 1, 0));
	say_bytes("still there", read(fd, buf, 1), buf);
	say("dprintf", dprintf(fd, "%d-%s\n", 42, "x"));
	say_bytes("trunc", recv(fd, buf, 3, MSG_TRUNC | MSG_WAITALL), "...");
	say("rest", read_all(fd, buf, 2));
	say("shutdown", shutdown(fd, SHUT_WR));
	say("end", read(fd, buf, 1));
	say("after", write(fd, "x", 1));
	say("close", close(fd));
	say("closed", close(fd));
	say("closed read", read(fd, buf, 1));
}

static void step_names(void)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	struct stat st;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), v = 7;

	say("fstat", fstat(fd, &st));
	say("is socket", S_ISSOCK(st.st_mode));
	say("cloexec", fcntl(fd, F_GETFD));
	say("getpeername", getpeername(fd, (struct sockaddr *)&a, &len));
	say("nodelay", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &v, sizeof(v)));
	say("connect", connect(fd, (struct sockaddr *)&to, sizeof(to)));
	len = sizeof(a);
	say("getpeername", getpeername(fd, (struct sockaddr *)&a, &len));
	say("is peer", len == sizeof(a) && a.sin_port == to.sin_port &&
			   a.sin_addr.s_addr == to.sin_addr.s_addr);
	len = sizeof(a);
	say("getsockname", getsockname(fd, (struct sockaddr *)&a, &len));
	say("has port", len == sizeof(a) && a.sin_family == AF_INET && a.sin_port != 0);
	len = sizeof(v);
	say("kept", getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &v, &len));
	say("value", v != 0);
	say("type", getsockopt(fd, SOL_SOCKET, SO_TYPE, &v, &len) == 0 ? v : -1);
	say("domain", getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &v, &len) == 0 ? v : -1);
	say("error", getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len) == 0 ? v : -1);
	say("unknown", getsockopt(fd, IPPROTO_TCP, 12345, &v, &len));
	say("again", connect(fd, (struct sockaddr *)&to, sizeof(to)));
	say("isatty", isatty(fd));
	say("lseek", lseek(fd, 0, SEEK_CUR));
	say("close", close(fd));
}

static void step_flags(void)
{
	int fd = dial(DO_ECHO), on = 1;
	char b;

	say("flags", fcntl(fd, F_GETFL) & O_NONBLOCK);
	say("FIONBIO", ioctl(fd, FIONBIO, &on));
	say("flags", fcntl(fd, F_GETFL) & O_NONBLOCK ? 1 : 0);
	say("read", read(fd, &b, 1));
	say("setfl", fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK));
	say("write", write(fd, "q", 1));
	say_bytes("read", read(fd, &b, 1), &b);
	close(fd);
}

static void step_dup(void)
{
	int fd = dial(DO_ECHO), d = dup(fd), e, k = open("/dev/null", O_RDONLY);
	char buf[8];

	say("dup write", write(d, "1", 1));
	say_bytes("read", read(fd, buf, 1), buf);
	say("dup2", dup2(fd, k) == k);
	close(fd);
	close(d);
	say("write", write(k, "2", 1));
	say_bytes("read", read(k, buf, 1), buf);
	e = fcntl(k, F_DUPFD_CLOEXEC, 200);
	say("number", e >= 200);
	say("cloexec", fcntl(e, F_GETFD));
	say("dup3", dup3(e, k, O_CLOEXEC) == k);
	say("cloexec", fcntl(k, F_GETFD));
	close(k);
	say("write", write(e, "3", 1));
	say_bytes("read", read(e, buf, 1), buf);
	/* The other end sees the end only with the last one. */
	close(e);
	say("gone", fcntl(e, F_GETFD));
}

static void *write_later(void *arg)
{
	usleep(50000);
	put(*(int *)arg, "w", 1);
	(void)!write(*(int *)arg, "w", 1);
	return NULL;
}

static void after_50ms(int fd, pthread_t *t)
{
	static int at;

	at = fd;
	pthread_create(t, NULL, write_later, &at);
}

static void step_poll(void)
{
	struct timespec ts = {5, 0};
	struct pollfd p[3];
	int fd = dial(DO_ECHO), pipes[2];
	pthread_t t;
	char buf[4];

	(void)!pipe(pipes);
	p[0] = (struct pollfd){.fd = fd, .events = POLLIN};
	p[1] = (struct pollfd){.fd = pipes[0], .events = POLLIN};
	p[2] = (struct pollfd){.fd = -1, .events = POLLIN};
	say("poll one", poll(p, 1, 10));
	say("poll both", poll(p, 3, 10));
	after_50ms(pipes[1], &t);
	say("poll pipe", poll(p, 3, -1));
	printf("%x %x\n", p[0].revents, p[1].revents);
	pthread_join(t, NULL);
	(void)!read(pipes[0], buf, 2);
	after_50ms(fd, &t);
	say("poll socket", poll(p, 3, -1));
	printf("%x %x\n", p[0].revents, p[1].revents);
	pthread_join(t, NULL);
	say("read", read_all(fd, buf, 2));
	(void)!write(pipes[1], "x", 1);
	(void)!write(fd, "y", 1);
	usleep(50000);
	say("ppoll both", ppoll(p, 3, &ts, NULL));
	printf("%x %x\n", p[0].revents, p[1].revents);
	p[0].events = POLLOUT;
	say("poll out", poll(p, 1, 0));
	shutdown(fd, SHUT_WR);
	(void)!read(fd, buf, 1);
	usleep(50000);
	p[0].events = POLLIN | POLLRDHUP;
	say("poll end", poll(p, 1, 5000));
	printf("%x\n", p[0].revents);
	p[1].fd = 999;
	say("poll bad", poll(p, 2, 0));
	printf("%x\n", p[1].revents);
	close(fd);
	close(pipes[0]);
	close(pipes[1]);
}

static int sel(int a, int b, struct timeval *tv, fd_set *in)
{
	FD_ZERO(in);
	FD_SET(a, in);
	FD_SET(b, in);
	return select((a > b ? a : b) + 1, in, NULL, NULL, tv);
}

static void step_select(void)
{
	struct timeval tv = {0, 10000};
	struct timespec ts = {5, 0};
	int fd = dial(DO_ECHO), pipes[2];
	fd_set in, out;
	pthread_t t;
	char buf[4];

	(void)!pipe(pipes);
	say("select none", sel(fd, pipes[0], &tv, &in));
	say("left", tv.tv_sec * 1000000 + tv.tv_usec);
	after_50ms(pipes[1], &t);
	tv.tv_sec = 5;
	say("select pipe", sel(fd, pipes[0], &tv, &in));
	printf("%d %d\n", FD_ISSET(fd, &in) != 0, FD_ISSET(pipes[0], &in) != 0);
	say("some left", tv.tv_sec == 4);
	pthread_join(t, NULL);
	(void)!read(pipes[0], buf, 2);
	after_50ms(fd, &t);
	say("select socket", sel(fd, pipes[0], &tv, &in));
	printf("%d %d\n", FD_ISSET(fd, &in) != 0, FD_ISSET(pipes[0], &in) != 0);
	pthread_join(t, NULL);
	say("read", read_all(fd, buf, 2));
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_SET(fd, &in);
	FD_SET(fd, &out);
	say("pselect", pselect(fd + 1, &in, &out, NULL, &ts, NULL));
	printf("%d %d\n", FD_ISSET(fd, &in) != 0, FD_ISSET(fd, &out) != 0);
	close(fd);
	FD_ZERO(&in);
	FD_SET(fd, &in);
	say("select bad", select(fd + 1, &in, NULL, NULL, &tv));
	close(pipes[0]);
	close(pipes[1]);
}

static void add(int ep, int fd, uint32_t events, uint64_t name)
{
	struct epoll_event ev = {.events = events, .data.u64 = name};

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) != 0)
		say("epoll_ctl", -1);
}

static int by_name(const void *a, const void *b)
{
	const struct epoll_event *x = a, *y = b;

	return x->data.u64 < y->data.u64 ? -1 : x->data.u64 > y->data.u64;
}

static void waits(const char *what, int ep, int timeout)
{
	struct epoll_event ev[8];
	int n = epoll_wait(ep, ev, 8, timeout);

	say(what, n);
	if (n > 0)
		qsort(ev, (size_t)n, sizeof(ev[0]), by_name);
	for (int i = 0; i < n; i++)
		printf("  %d: %x\n", (int)ev[i].data.u64, ev[i].events);
}

static void step_epoll(void)
{
	int ep = epoll_create1(EPOLL_CLOEXEC), efd = eventfd(0, EFD_NONBLOCK), pipes[2];
	int fd = dial(DO_ECHO), et = dial(DO_ECHO), one = dial(DO_ECHO);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 5};
	struct pollfd p = {.fd = ep, .events = POLLIN};
	uint64_t v = 1;
	pthread_t t;
	char buf[8];

	(void)!pipe(pipes);
	add(ep, fd, EPOLLIN, 1);
	add(ep, pipes[0], EPOLLIN, 2);
	add(ep, et, EPOLLIN | EPOLLET | EPOLLRDHUP, 3);
	add(ep, efd, EPOLLIN, 4);
	add(ep, one, EPOLLIN | EPOLLONESHOT, 5);
	waits("none", ep, 10);
	after_50ms(pipes[1], &t);
	waits("pipe", ep, -1);
	pthread_join(t, NULL);
	(void)!read(pipes[0], buf, 2);
	after_50ms(fd, &t);
	waits("socket", ep, -1);
	pthread_join(t, NULL);
	usleep(30000);
	waits("level", ep, 0);
	say("read", read_all(fd, buf, 2));
	waits("gone", ep, 0);
	(void)!write(efd, &v, sizeof(v));
	(void)!write(et, "a", 1);
	(void)!write(one, "b", 1);
	usleep(50000);
	waits("three", ep, 1000);
	waits("only level", ep, 0);
	(void)!read(efd, &v, sizeof(v));
	say("rearm", epoll_ctl(ep, EPOLL_CTL_MOD, one, &ev));
	waits("again", ep, 1000);
	(void)!write(et, "c", 1);
	usleep(50000);
	waits("edge", ep, 1000);
	say("exists", epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	say("del", epoll_ctl(ep, EPOLL_CTL_DEL, one, NULL));
	say("not there", epoll_ctl(ep, EPOLL_CTL_DEL, one, NULL));
	/* Who waits for the instance itself. */
	say("poll epoll", poll(&p, 1, 10));
	after_50ms(fd, &t);
	say("poll epoll", poll(&p, 1, -1));
	pthread_join(t, NULL);
	shutdown(et, SHUT_WR);
	usleep(50000);
	waits("end", ep, 1000);
	close(et);
	close(fd);
	close(one);
	waits("closed", ep, 10);
	close(ep);
	close(efd);
	close(pipes[0]);
	close(pipes[1]);
}

/* Added before anybody can know whose it will be. */
static void step_epoll_early(void)
{
	int ep = epoll_create(1), fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), v;
	struct epoll_event ev = {.events = EPOLLOUT, .data.u64 = 9};
	socklen_t len = sizeof(v);

	add(ep, fd, EPOLLIN | EPOLLOUT, 9);
	say("connect", connect(fd, (struct sockaddr *)&to, sizeof(to)));
	waits("out", ep, -1);
	say("error", getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len) == 0 ? v : -1);
	say("mod", epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev));
	waits("out", ep, 1000);
	close(fd);
	close(ep);
}

static void step_connect(void)
{
	struct sockaddr_in nobody = to;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), v = -1;
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	socklen_t len = sizeof(v);

	nobody.sin_port = htons(1);
	say("connect", connect(fd, (struct sockaddr *)&nobody, sizeof(nobody)));
	say("poll", poll(&p, 1, 5000));
	printf("%x\n", p.revents);
	say("error", getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len) == 0 ? v : -1);
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	say("refused", connect(fd, (struct sockaddr *)&nobody, sizeof(nobody)));
	say("then", connect(fd, (struct sockaddr *)&to, sizeof(to)));
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	say("unconnected write", send(fd, "x", 1, MSG_NOSIGNAL));
	say("unconnected read", read(fd, &v, 1));
	say("short", connect(fd, (struct sockaddr *)&to, 3));
	close(fd);
}

static int ask_back(struct sockaddr_in *a)
{
	int fd = dial(DO_CALL);

	put(fd, &a->sin_port, 2);
	return fd;
}

static void step_accept(void)
{
	int l = socket(AF_INET, SOCK_STREAM, 0), a, b, ask, v = 0;
	struct sockaddr_in name = me, from;
	socklen_t len = sizeof(name);
	struct pollfd p = {.fd = l, .events = POLLIN};
	char buf[8];

	say("accept", accept(l, NULL, NULL));
	say("bind", bind(l, (struct sockaddr *)&name, sizeof(name)));
	say("twice", bind(l, (struct sockaddr *)&name, sizeof(name)));
	say("listen", listen(l, 8));
	say("getsockname", getsockname(l, (struct sockaddr *)&name, &len));
	say("has port", name.sin_port != 0);
	len = sizeof(v);
	say("accepts", getsockopt(l, SOL_SOCKET, SO_ACCEPTCONN, &v, &len) == 0 ? v : -1);
	fcntl(l, F_SETFL, O_NONBLOCK);
	say("nobody", accept4(l, NULL, NULL, SOCK_CLOEXEC));
	say("poll", poll(&p, 1, 0));
	ask = ask_back(&name);
	say("poll", poll(&p, 1, -1));
	len = sizeof(from);
	a = accept4(l, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	say("accept4", a >= 0);
	say("from", from.sin_family == AF_INET && from.sin_port != 0 && len == sizeof(from));
	printf("%d %d\n", fcntl(a, F_GETFD), fcntl(a, F_GETFL) & O_NONBLOCK ? 1 : 0);
	fcntl(a, F_SETFL, 0);
	say_bytes("read", read_all(a, buf, 5), buf);
	say("write", write(a, "back", 4));
	say_bytes("read", read_all(a, buf, 4), buf);
	fcntl(l, F_SETFL, 0);
	b = ask_back(&name);
	v = accept(l, NULL, NULL);
	say("accept", v >= 0);
	say("listen again", listen(l, 4));
	close(l);
	say("lives", read_all(v, buf, 5));
	close(v);
	close(a);
	close(b);
	close(ask);
}

static void step_files(void)
{
	char name[] = "/tmp/sluice-calls.XXXXXX", buf[40000], got[40000];
	int file = mkstemp(name), fd = dial(DO_ECHO), pipes[2];
	off_t off = 5;

	unlink(name);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (char)(i * 7 + i / 256);
	(void)!write(file, buf, sizeof(buf));
	say("sendfile", sendfile(fd, file, &off, 1000));
	say("off", off);
	say("read", read_all(fd, got, 1000));
	say("same", memcmp(got, buf + 5, 1000) == 0);
	lseek(file, 100, SEEK_SET);
	say("sendfile all", sendfile(fd, file, NULL, 1 << 20));
	say("at", lseek(file, 0, SEEK_CUR));
	say("read", read_all(fd, got, sizeof(buf) - 100));
	say("same", memcmp(got, buf + 100, sizeof(buf) - 100) == 0);
	say("at end", sendfile(fd, file, NULL, 10));
	say("not a file", sendfile(file, fd, NULL, 10));
	(void)!pipe(pipes);
	(void)!write(pipes[1], "through", 7);
	say("splice", splice(pipes[0], NULL, fd, NULL, 100, 0));
	usleep(50000);
	say("splice", splice(fd, NULL, pipes[1], NULL, 100, SPLICE_F_MOVE));
	say_bytes("read", read(pipes[0], got, 100), got);
	say("nothing", splice(pipes[0], NULL, fd, NULL, 100, SPLICE_F_NONBLOCK));
	close(pipes[0]);
	close(pipes[1]);
	close(file);
	close(fd);
}

static _Atomic int signals;

static void on_signal(int sig)
{
	atomic_fetch_add(&signals, 1);
}

static void step_pipe_signal(void)
{
	struct sigaction sa = {.sa_handler = on_signal};
	int fd = dial(DO_RESET);

	sigaction(SIGPIPE, &sa, NULL);
	put(fd, "x", 1);
	usleep(50000);
	say("reset", read(fd, &(char){0}, 1));
	say("nosignal", send(fd, "x", 1, MSG_NOSIGNAL));
	say("signals", atomic_exchange(&signals, 0));
	say("write", write(fd, "x", 1));
	say("signals", atomic_exchange(&signals, 0));
	close(fd);
	fd = dial(DO_END);
	say("bye", read_all(fd, (char[4]){0}, 4));
	say("end", read(fd, &(char){0}, 1));
	close(fd);
}

struct kick {
	pthread_t whom;
	_Atomic bool stop;
};

static void *kick(void *arg)
{
	struct kick *k = arg;

	while (!atomic_load(&k->stop)) {
		usleep(30000);
		pthread_kill(k->whom, SIGUSR1);
	}
	return NULL;
}

static void step_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal};
	int fd = dial(DO_ECHO), ep = epoll_create1(0), l = socket(AF_INET, SOCK_STREAM, 0);
	struct kick k = {.whom = pthread_self()};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct timeval tv = {5, 0};
	fd_set in;
	pthread_t t;
	char b;

	sigaction(SIGUSR1, &sa, NULL);
	(void)bind(l, (struct sockaddr *)&me, sizeof(me));
	(void)listen(l, 1);
	add(ep, fd, EPOLLIN, 1);
	pthread_create(&t, NULL, kick, &k);
	say("read", read(fd, &b, 1));
	say("recv", recv(fd, &b, 1, MSG_WAITALL));
	say("poll", poll(&p, 1, 5000));
	say("select", sel(fd, l, &tv, &in));
	say("epoll", epoll_wait(ep, &(struct epoll_event){0}, 1, 5000));
	say("accept", accept(l, NULL, NULL));
	atomic_store(&k.stop, true);
	pthread_join(t, NULL);
	tv = (struct timeval){0, 50000};
	say("timeo", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	say("timed out", read(fd, &b, 1));
	close(fd);
	close(l);
	close(ep);
}

static void step_stdio(void)
{
	int fd = dial(DO_ECHO);
	FILE *f = fdopen(fd, "r+");
	char line[64];

	say("fileno", f != NULL && fileno(f) == fd);
	say("fprintf", fprintf(f, "line %d\n", 1));
	say("fflush", fflush(f));
	printf("%s", fgets(line, sizeof(line), f) != NULL ? line : "nothing\n");
	say("fclose", fclose(f));
	say("closed", fcntl(fd, F_GETFD));
}

static void step_wrong(void)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	int pipes[2], fd = socket(AF_INET, SOCK_STREAM, 0), u = socket(AF_INET, SOCK_DGRAM, 0);
	int pair[2], v;
	socklen_t len = sizeof(v);
	char b;

	(void)!pipe(pipes);
	say("recv pipe", recv(pipes[0], &b, 1, 0));
	say("listen pipe", listen(pipes[0], 1));
	say("getsockopt pipe", getsockopt(pipes[0], SOL_SOCKET, SO_ERROR, &v, &len));
	say("bad fd", recv(-1, &b, 1, 0));
	say("bad fd", write(12345, &b, 1));
	say("family", bind(fd, (struct sockaddr *)&six, sizeof(six)));
	say("shutdown", shutdown(fd, SHUT_RDWR));
	say("udp", u >= 0);
	say("udp listen", listen(u, 1));
	say("pair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	say("pair write", write(pair[0], "p", 1));
	say("pair read", read(pair[1], &b, 1));
	say("type", socket(AF_INET, 77, 0));
	say("protocol", socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	close(fd);
	close(u);
	close(pair[0]);
	close(pair[1]);
	close(pipes[0]);
	close(pipes[1]);
}

struct blocked {
	int fd;
	ssize_t n;
	int err;
	char buf[8];
};

static void *block(void *arg)
{
	struct blocked *b = arg;

	b->n = read(b->fd, b->buf, sizeof(b->buf));
	return NULL;
}

/* The one that is blocked keeps what it waits for, as a system call would. */
static void step_close_blocked(void)
{
	struct blocked b = {.fd = dial(DO_SLOW)};
	pthread_t t;

	pthread_create(&t, NULL, block, &b);
	usleep(30000);
	say("close", close(b.fd));
	pthread_join(t, NULL);
	say_bytes("blocked", b.n, b.buf);
}

/* ---- time-outs, and a shutdown while another thread is blocked ---- */

/* Fills whatever there is until the answer is an error: the echo has nobody who reads it. */
static void *fill(void *arg)
{
	struct blocked *b = arg;
	static char much[65536];

	while ((b->n = write(b->fd, much, sizeof(much))) > 0)
		;
	b->err = errno;
	return NULL;
}

static void *block_accept(void *arg)
{
	struct blocked *b = arg;

	b->n = accept(b->fd, NULL, NULL);
	b->err = errno;
	return NULL;
}

static void *block_poll(void *arg)
{
	struct blocked *b = arg;
	struct pollfd p = {.fd = b->fd, .events = POLLIN};

	b->n = poll(&p, 1, 5000);
	b->err = p.revents;
	return NULL;
}

/* The answer is the same for who comes too late to be blocked. */
static void shut_while(const char *what, void *(*fn)(void *), int fd, int how)
{
	struct blocked b = {.fd = fd};
	pthread_t t;

	pthread_create(&t, NULL, fn, &b);
	usleep(30000);
	say(what, shutdown(fd, how));
	pthread_join(t, NULL);
	if (fn == block_poll)
		printf("blocked: %zd, %x\n", b.n, (unsigned int)b.err);
	else
		say("blocked", (errno = b.err, b.n));
}

static void step_blocking(void)
{
	struct timeval tv = {0, 50000};
	int fd = dial(DO_ECHO), l = socket(AF_INET, SOCK_STREAM, 0);
	struct blocked b = {.fd = fd};

	(void)bind(l, (struct sockaddr *)&me, sizeof(me));
	(void)listen(l, 1);
	say("SO_RCVTIMEO", setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	say("accept", accept(l, NULL, NULL));
	say("SO_SNDTIMEO", setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)));
	(void)fill(&b);
	say("write", (errno = b.err, b.n));
	tv.tv_usec = 0;
	(void)setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	shut_while("shutdown of who accepts", block_accept, l, SHUT_RD);
	shut_while("shutdown of who writes", fill, fd, SHUT_WR);
	close(fd);
	close(l);
	fd = dial(DO_ECHO);
	shut_while("shutdown of who reads", block, fd, SHUT_RD);
	close(fd);
	fd = dial(DO_ECHO);
	shut_while("shutdown of who polls", block_poll, fd, SHUT_RDWR);
	close(fd);
}

#define MANY 300

static void step_many(void)
{
	static int fd[MANY];
	int ep = epoll_create1(0), ok = 0;
	struct epoll_event ev[64];
	bool done[MANY] = {false};

	for (int i = 0; i < MANY; i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(fd[i], (struct sockaddr *)&to, sizeof(to));
		add(ep, fd[i], EPOLLOUT, (uint64_t)i);
	}
	while (ok < MANY) {
		int n = epoll_wait(ep, ev, 64, 10000);

		if (n <= 0)
			break;
		for (int i = 0; i < n; i++) {
			int k = (int)ev[i].data.u64;
			char b[2];

			if (ev[i].events & EPOLLOUT) {
				ev[i].events = EPOLLIN;
				(void)epoll_ctl(ep, EPOLL_CTL_MOD, fd[k], &ev[i]);
				put(fd[k], "ez", 2);
			} else if (!done[k] && read(fd[k], b, 2) == 1) {
				done[k] = true;
				ok++;
			}
		}
	}
	say("all", ok);
	for (int i = 0; i < MANY; i++)
		close(fd[i]);
	close(ep);
}

/* Descriptors that the program does not know to be there must survive this. */
static void step_close_all(void)
{
	int fd = dial(DO_ECHO), ep = epoll_create1(0), n = (int)sysconf(_SC_OPEN_MAX);
	pthread_t t;

	add(ep, fd, EPOLLIN, 1);
	say("none", epoll_wait(ep, &(struct epoll_event){0}, 1, 0));
	(void)epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
	fd = dup2(fd, 60);
	ep = dup2(ep, 61);
	say("close_range", close_range(3, 59, 0));
	say("close_range", close_range(62, ~0U, 0));
	for (int i = 62; i < n && i < 5000; i++)
		close(i);
	for (int i = 62; i < n && i < 1100; i++)
		(void)dup2(0, i);
	closefrom(62);
	(void)close_range(62, ~0U, 0);
	waits("none", ep, 10);
	after_50ms(fd, &t);
	(void)epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN});
	waits("lives", ep, -1);
	pthread_join(t, NULL);
	closefrom(3);
	say("gone", fcntl(60, F_GETFD));
	fd = dial(DO_ECHO);
	say("new", fd);
	close(fd);
}

static void step_exec(void)
{
	int fd = dial(DO_ECHO), st;
	char b;
	pid_t pid = vfork();

	if (pid == 0) {
		close(fd);
		for (int i = 3; i < 100; i++)
			close(i);
		execl("/bin/true", "true", (char *)NULL);
		_exit(127);
	}
	say("waitpid", waitpid(pid, &st, 0) == pid ? WEXITSTATUS(st) : -1);
	say("system", system("exit 3") >> 8);
	say("write", write(fd, "k", 1));
	say_bytes("read", read(fd, &b, 1), &b);
	close(fd);
}

static const struct {
	const char *name;
	void (*fn)(void);
} steps[] = {
    {"wrong", step_wrong},
    {"bytes", step_bytes},
    {"zerocopy", step_zerocopy},
    {"names", step_names},
    {"flags", step_flags},
    {"dup", step_dup},
    {"poll", step_poll},
    {"select", step_select},
    {"epoll", step_epoll},
    {"early", step_epoll_early},
    {"connect", step_connect},
    {"accept", step_accept},
    {"files", step_files},
    {"reset", step_pipe_signal},
    {"signals", step_signals},
    {"stdio", step_stdio},
    {"blocked", step_close_blocked},
    {"blocking", step_blocking},
    {"many", step_many},
    {"exec", step_exec},
    {"close all", step_close_all},
};

static int run(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	/* Before any use: a child may have a dataplane of its own, or the parent. */
	if (fork() == 0)
		_exit(0);
	wait(NULL);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		printf("== %s\n", steps[i].name);
		steps[i].fn();
	}
	return 0;
}

/* ---- ends ---- */

static int leave(const char *how)
{
	static char buf[LEAVE_BYTES];
	int fd = dial(DO_LEAVE);
	size_t at = 0;

	while (at < sizeof(buf)) {
		ssize_t n = write(fd, buf + at, sizeof(buf) - at);

		if (n < 0)
			return 1;
		at += (size_t)n;
	}
	if (strcmp(how, "_exit") == 0)
		_exit(0);
	if (strcmp(how, "kill") == 0) {
		usleep(100000); /* the rest is on its way */
		kill(getpid(), SIGTERM);
	}
	return 0;
}

static int inherit(void)
{
	int fd = dial(DO_ECHO), ok = 1, st;
	char b = 0;
	pid_t pid = fork();

	if (pid == 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		ok = write(fd, "x", 1) == -1 && errno == ENETDOWN;
		ok &= read(fd, &b, 1) == -1 && errno == ENETDOWN;
		ok &= poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP));
		close(fd);
		fd = socket(AF_INET, SOCK_STREAM, 0);
		ok &= connect(fd, (struct sockaddr *)&to, sizeof(to)) == -1 && errno == ENETDOWN;
		exit(ok ? 0 : 1);
	}
	ok = waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 0;
	/* One that no handler of fork() has told; it must end, and by its signal. */
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0)
		exit(raise(SIGTERM));
	ok &= waitpid(pid, &st, 0) == pid && WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM;
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0)
		exit(3);
	ok &= waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 3;
	ok &= write(fd, "y", 1) == 1 && read(fd, &b, 1) == 1 && b == 'y';
	printf("child %d, parent %c\n", st, b);
	return ok ? 0 : 1;
}

static void address(struct sockaddr_in *a, const char *addr, const char *port)
{
	a->sin_family = AF_INET;
	a->sin_port = htons((uint16_t)atoi(port));
	inet_pton(AF_INET, addr, &a->sin_addr);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "peer") == 0)
		return peer((uint16_t)atoi(argv[2]));
	if (argc < 4)
		return 2;
	address(&to, argv[argc == 5 && strcmp(argv[1], "leave") == 0 ? 3 : 2],
	    argv[argc == 5 && strcmp(argv[1], "leave") == 0 ? 4 : 3]);
	if (argc == 5)
		address(&me, argv[4], "0");
	if (strcmp(argv[1], "leave") == 0)
		return leave(argv[2]);
	return strcmp(argv[1], "inherit") == 0 ? inherit() : run();
}
