/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table that packetdrill asks a shared object for with packetdrill_interface_init: 33 pointers in
 * this order. userdata is the first argument of each call; a call that fails returns -1 and sets
 * errno.
 */
#ifndef TEST_PACKETDRILL_INTERFACE_H
#define TEST_PACKETDRILL_INTERFACE_H

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

struct packetdrill_interface {
	void *userdata;
	void (*free)(void *u);
	int (*socket)(void *u, int domain, int type, int protocol);
	int (*bind)(void *u, int fd, const struct sockaddr *a, socklen_t len);
	int (*listen)(void *u, int fd, int backlog);
	int (*accept)(void *u, int fd, struct sockaddr *a, socklen_t *len);
	int (*connect)(void *u, int fd, const struct sockaddr *a, socklen_t len);
	ssize_t (*read)(void *u, int fd, void *b, size_t n);
	ssize_t (*readv)(void *u, int fd, const struct iovec *v, int n);
	ssize_t (*recv)(void *u, int fd, void *b, size_t n, int flags);
	ssize_t (*recvfrom)(
	    void *u, int fd, void *b, size_t n, int flags, struct sockaddr *a, socklen_t *len);
	ssize_t (*recvmsg)(void *u, int fd, struct msghdr *m, int flags);
	ssize_t (*write)(void *u, int fd, const void *b, size_t n);
	ssize_t (*writev)(void *u, int fd, const struct iovec *v, int n);
	ssize_t (*send)(void *u, int fd, const void *b, size_t n, int flags);
	ssize_t (*sendto)(void *u, int fd, const void *b, size_t n, int flags,
	    const struct sockaddr *a, socklen_t len);
	ssize_t (*sendmsg)(void *u, int fd, const struct msghdr *m, int flags);
	int (*fcntl)(void *u, int fd, int cmd, ...);
	int (*ioctl)(void *u, int fd, unsigned long request, ...);
	int (*close)(void *u, int fd);
	int (*shutdown)(void *u, int fd, int how);
	int (*getsockopt)(void *u, int fd, int level, int name, void *v, socklen_t *len);
	int (*setsockopt)(void *u, int fd, int level, int name, const void *v, socklen_t len);
	int (*poll)(void *u, struct pollfd *p, nfds_t n, int timeout);
	/** A packet for the stack: raw IP. 0. */
	int (*netdev_send)(void *u, const void *b, size_t n);
	/** A packet of the stack; *n: room, then its length, 0 when none came for 2 s. */
	int (*netdev_receive)(void *u, void *b, size_t *n, long long *time_us);
	int (*usleep)(void *u, useconds_t us);
	int (*gettimeofday)(void *u, struct timeval *tv, struct timezone *tz);
	int (*epoll_create)(void *u, int size);
	int (*epoll_ctl)(void *u, int ep, int op, int fd, struct epoll_event *ev);
	int (*epoll_wait)(void *u, int ep, struct epoll_event *ev, int max, int timeout);
	int (*pipe)(void *u, int fd[2]);
	int (*splice)(void *u, int in, loff_t *in_off, int out, loff_t *out_off, size_t n,
	    unsigned int flags);
};

/** flags: NULL, or "name=value,..." of tunables. Ends the process, with a line on stderr, when there is
 * no stack to be had: the table has no place for an error. */
void packetdrill_interface_init(const char *flags, struct packetdrill_interface *out);

#endif
