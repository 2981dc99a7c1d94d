/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the preload library needs of a dataplane: the only thing that it and the engine
 * (app/run/engine.c) know of each other. The engine brings DPDK into the process and is loaded when
 * a program first uses a socket that is to be sluice's; a program that never does stays small.
 */
#ifndef SLP_ENGINE_H
#define SLP_ENGINE_H

#include <sluice/conn.h>
#include <sluice/socket.h>

#define SLP_ENGINE_ABI 1
#define SLP_ENGINE_SYMBOL "sluice_preload_engine"

/** Calls that go to the library as they are: X(name in the table, function). */
#define SLP_ENGINE_CALLS(X)                     \
	X(socket, sluice_so_socket)             \
	X(bind, sluice_so_bind)                 \
	X(listen, sluice_so_listen)             \
	X(connect, sluice_so_connect)           \
	X(accept4, sluice_so_accept4)           \
	X(getsockname, sluice_so_getsockname)   \
	X(getpeername, sluice_so_getpeername)   \
	X(conn, sluice_so_conn)                 \
	X(send, sluice_so_send)                 \
	X(sendmsg, sluice_so_sendmsg)           \
	X(recv, sluice_so_recv)                 \
	X(recvmsg, sluice_so_recvmsg)           \
	X(shutdown, sluice_so_shutdown)         \
	X(close, sluice_so_close)               \
	X(getstate, sluice_getstate)            \
	X(abort, sluice_abort)                  \
	X(sendable, sluice_sendable)            \
	X(getsockopt, sluice_so_getsockopt)     \
	X(setsockopt, sluice_so_setsockopt)     \
	X(fcntl, sluice_so_fcntl)               \
	X(ioctl, sluice_so_ioctl)               \
	X(poll, sluice_so_poll)                 \
	X(epoll_create, sluice_so_epoll_create) \
	X(epoll_ctl, sluice_so_epoll_ctl)       \
	X(epoll_wait, sluice_so_epoll_wait)     \
	X(epoll_wake, sluice_so_epoll_wake)

struct slp_engine {
	uint32_t abi;
	/**
	 * The life of the dataplane, on a thread of its own whose descriptors nobody else sees:
	 * starts the EAL and the stack as `words` say (lines "key value", see app/run/engine.c),
	 * calls up(st), polls until *stop is set, calls down(), and gives what that did some
	 * milliseconds to leave. 0, or -errno after a line by log when it did not start. Once.
	 */
	int (*run)(const char *words, const volatile int *stop, void (*up)(struct sluice_stack *st),
	    void (*down)(void), void (*log)(int level, const char *line));
	/** fn(arg) on the thread of run, between two passes; returns what fn returns. */
	int64_t (*call)(int64_t (*fn)(uint64_t arg), uint64_t arg);
#define X(name, function) __typeof__(&function) name;
	SLP_ENGINE_CALLS(X)
#undef X
};

#endif
