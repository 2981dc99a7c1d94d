/* SPDX-License-Identifier: BSD-3-Clause */
/* The other end of calls.c: a thread for each connection. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <sys/socket.h>

#include "calls.h"

void put(int fd, const void *p, size_t n)
{
	if (send(fd, p, n, MSG_NOSIGNAL) != (ssize_t)n)
		return;
}

static void echo(int fd)
{
	char buf[8192];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		put(fd, buf, (size_t)n);
}

static uint64_t count(int fd, int *err)
{
	char buf[65536];
	uint64_t sum = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		sum += (uint64_t)n;
	*err = n < 0 ? errno : 0;
	return sum;
}

static void call_back(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	uint16_t port;
	int s;

	if (recv(fd, &port, sizeof(port), MSG_WAITALL) != sizeof(port) ||
	    getpeername(fd, (struct sockaddr *)&ss, &len) != 0)
		return;
	((struct sockaddr_in *)&ss)->sin_port = port;
	s = socket(ss.ss_family, SOCK_STREAM, 0);
	if (connect(s, (struct sockaddr *)&ss, len) == 0) {
		put(s, "hello", 5);
		echo(s);
	}
	close(s);
}

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg, err;
	struct linger lg = {1, 0};
	char what, text[32];
	uint64_t n;

	if (read(fd, &what, 1) != 1)
		what = 0;
	switch (what) {
	case DO_SLOW:
		usleep(100000);
		put(fd, "late", 4);
		/* fall through */
	case DO_ECHO:
		echo(fd);
		break;
	case DO_COUNT:
		n = count(fd, &err);
		put(fd, text, (size_t)snprintf(text, sizeof(text), "%llu", (unsigned long long)n));
		break;
	case DO_RESET:
		(void)!read(fd, text, 1);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg));
		break;
	case DO_END:
		put(fd, "bye", 3);
		break;
	case DO_CALL:
		call_back(fd);
		break;
	case DO_LEAVE:
		n = count(fd, &err);
		printf("left after %llu: %s\n", (unsigned long long)n,
		    err == 0 ? "end" : strerror(err));
		fflush(stdout);
		break;
	}
	close(fd);
	return NULL;
}

int peer(uint16_t port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int l = socket(AF_INET6, SOCK_STREAM, 0), one = 1;
	pthread_t t;

	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(l, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(l, 1024) != 0)
		return 1;
	printf("peer\n");
	fflush(stdout);
	for (;;) {
		int fd = accept(l, NULL, NULL);

		if (fd >= 0 && pthread_create(&t, NULL, serve, (void *)(intptr_t)fd) == 0)
			pthread_detach(t);
	}
}
