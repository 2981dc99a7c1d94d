/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the preload library. See start.c for the big picture. Prototypes stand under the file
 * that implements them.
 */
#ifndef SLP_PRELOAD_H
#define SLP_PRELOAD_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>

#include "engine.h"

#define SLP_EXPORT __attribute__((visibility("default")))
#define SLP_LIKELY(x) __builtin_expect(!!(x), 1)
#define SLP_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* ==== real.c: the C library's own functions ==== */

/* clang-format off */
#define SLP_REAL(X) \
	X(int, socket, (int, int, int)) \
	X(int, bind, (int, const struct sockaddr *, socklen_t)) \
	X(int, listen, (int, int)) \
	X(int, connect, (int, const struct sockaddr *, socklen_t)) \
	X(int, accept, (int, struct sockaddr *, socklen_t *)) \
	X(int, accept4, (int, struct sockaddr *, socklen_t *, int)) \
	X(int, getsockname, (int, struct sockaddr *, socklen_t *)) \
	X(int, getpeername, (int, struct sockaddr *, socklen_t *)) \
	X(int, getsockopt, (int, int, int, void *, socklen_t *)) \
	X(int, setsockopt, (int, int, int, const void *, socklen_t)) \
	X(int, shutdown, (int, int)) \
	X(int, close, (int)) \
	X(int, close_range, (unsigned int, unsigned int, int)) \
	X(int, dup, (int)) \
	X(int, dup2, (int, int)) \
	X(int, dup3, (int, int, int)) \
	X(int, fcntl, (int, int, ...)) \
	X(int, ioctl, (int, unsigned long, ...)) \
	X(ssize_t, read, (int, void *, size_t)) \
	X(ssize_t, readv, (int, const struct iovec *, int)) \
	X(ssize_t, recv, (int, void *, size_t, int)) \
	X(ssize_t, recvfrom, (int, void *, size_t, int, struct sockaddr *, socklen_t *)) \
	X(ssize_t, recvmsg, (int, struct msghdr *, int)) \
	X(int, recvmmsg, (int, struct mmsghdr *, unsigned int, int, struct timespec *)) \
	X(ssize_t, write, (int, const void *, size_t)) \
	X(ssize_t, writev, (int, const struct iovec *, int)) \
	X(ssize_t, send, (int, const void *, size_t, int)) \
	X(ssize_t, sendto, (int, const void *, size_t, int, const struct sockaddr *, socklen_t)) \
	X(ssize_t, sendmsg, (int, const struct msghdr *, int)) \
	X(int, sendmmsg, (int, struct mmsghdr *, unsigned int, int)) \
	X(ssize_t, pread64, (int, void *, size_t, off64_t)) \
	X(ssize_t, sendfile64, (int, int, off64_t *, size_t)) \
	X(ssize_t, splice, (int, off64_t *, int, off64_t *, size_t, unsigned int)) \
	X(int, poll, (struct pollfd *, nfds_t, int)) \
	X(int, ppoll, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *)) \
	X(int, select, (int, fd_set *, fd_set *, fd_set *, struct timeval *)) \
	X(int, pselect, (int, fd_set *, fd_set *, fd_set *, const struct timespec *, \
	    const sigset_t *)) \
	X(int, epoll_create, (int)) \
	X(int, epoll_create1, (int)) \
	X(int, epoll_ctl, (int, int, int, struct epoll_event *)) \
	X(int, epoll_pwait, (int, struct epoll_event *, int, int, const sigset_t *)) \
	X(FILE *, fdopen, (int, const char *)) \
	X(int, fileno, (FILE *)) \
	X(void, _exit, (int)) \
	X(int, pthread_create, (pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))
/* clang-format on */

#include <stdio.h>

struct slp_real {
#define X(type, name, args) type(*name) args;
	SLP_REAL(X)
#undef X
};
extern struct slp_real slp_real_table;
extern bool slp_real_loaded;
void slp_real_load(void);
/** Constructors of other libraries may come before ours. */
static inline const struct slp_real *slp_real(void)
{
	if (SLP_UNLIKELY(!slp_real_loaded))
		slp_real_load();
	return &slp_real_table;
}

/** Set on the dataplane's own threads, whose descriptors are not the program's. */
extern __thread int slp_inside;

/* ==== table.c: descriptors ==== */

enum slp_kind {
	SLP_SOCKET,
	SLP_EPOLL,
	SLP_INTERNAL /* a descriptor of ours: the program does not have it */
};

/** What a socket of the program is. It only moves down. */
enum slp_state {
	SLP_NEW,   /* nothing is known yet: the kernel answers */
	SLP_BOUND, /* has been told an address that may be sluice's */
	SLP_LATE,  /* listens, but the dataplane has not been started for it */
	SLP_OWN,   /* lives on the dataplane */
	SLP_KERNEL /* of the kernel, from now on */
};

/** An option that was set before the socket went to the dataplane. */
struct slp_opt {
	struct slp_opt *next; /* in the order in which they were set */
	int level, name;
	socklen_t len;
	unsigned char val[];
};

/** How the dataplane wakes a thread that sleeps in the kernel: an eventfd, once per sleep. */
struct slp_waker {
	_Atomic int fd;         /* the program's number of it; -1: none yet */
	int lcore_fd;           /* the dataplane thread's number */
	_Atomic uint32_t armed; /* somebody sleeps, or is about to */
	_Atomic uint32_t sleepers;
	_Atomic bool always; /* who sleeps cannot say so (an epoll in an epoll) */
};

/** What the kernel calls an open file description: several descriptors may name it. Memory is only
 * reused for its own kind, so a stale pointer reads a struct slp_file. */
struct slp_file {
	/* Descriptors, and calls under way: the last to go closes, as in the kernel; 0: free */
	_Atomic uint32_t refs;
	_Atomic uint32_t state;
	enum slp_kind kind;
	int so;         /* SLP_OWN: socket of the stack */
	uint32_t epoch; /* of whom: a child does not have its parent's */
	struct slp_file *next;
	pthread_mutex_t lock; /* for changes of state, and of what follows */
	/* Until the dataplane knows */
	int domain, backlog;
	struct sockaddr_storage local;
	socklen_t local_len;
	struct slp_opt *opts;
	int reg_ep, reg_fd; /* epoll instance that waits for it; -1 */
	struct epoll_event reg_ev;
	_Atomic int *where; /* SLP_INTERNAL: who must know its number */
	/* SLP_EPOLL */
	_Atomic int ep;           /* instance of the stack, -1: none yet */
	_Atomic uint32_t nkernel; /* of the kernel's descriptors, at least as many as there are */
	bool kernel_first;        /* ours filled the last call */
	struct slp_waker waker;
};

/** Room for descriptors below max. 0 or -errno. */
int slp_table_init(unsigned int max);
/** A file with one reference, for its descriptor; NULL without memory. Any thread. */
struct slp_file *slp_file_new(enum slp_kind kind);
/** File of a descriptor with one reference more; NULL: the kernel's. */
struct slp_file *slp_get(int fd);
void slp_put(struct slp_file *f);
void slp_ref(struct slp_file *f);
/** Hands the caller's reference to the descriptor; what stood there before is let go. */
int slp_install(int fd, struct slp_file *f);
/** Takes the descriptor out: its reference becomes the caller's. NULL: there was none. */
struct slp_file *slp_remove(int fd);
/** First descriptor of the table in fd..last; -1: none. */
int slp_next(int fd, unsigned int last);
/** Called for each file of the table, by who may not be disturbed (fork, exit). */
void slp_each(void (*fn)(int fd, struct slp_file *f, void *arg), void *arg);
/** In a child: what other threads of the parent held is free, descriptors of ours are closed, files
 * that the parent had on the dataplane stay as they are. */
void slp_table_child(void);
/** Told of a file that nobody has any more. */
extern void (*slp_on_release)(struct slp_file *f);
/** Remembers an option. 0 or -ENOMEM. Under the file's lock. */
int slp_opt_add(struct slp_file *f, int level, int name, const void *val, socklen_t len);
void slp_opt_free(struct slp_file *f);

/* ==== rules.c: whose is an address ==== */

enum slp_dir {
	SLP_CONNECT = 1, /* the other end's address */
	SLP_LISTEN = 2   /* our own; 0.0.0.0 and :: too */
};
struct slp_rule {
	bool sluice;
	uint8_t dirs;
	bool any; /* all addresses of both families */
	uint8_t addr[16];
	uint8_t plen; /* of the v4-mapped form */
	uint16_t port[2];
};
struct slp_rules {
	struct slp_rule *rule;
	unsigned int n;
};
/** One rule: "sluice|kernel connect|listen|both ADDRESS[/LEN]|* [PORT[-PORT]]". 0 or -EINVAL. */
int slp_rule_parse(const char *text, struct slp_rule *r);
int slp_rules_add(struct slp_rules *rs, const struct slp_rule *r);
void slp_rules_free(struct slp_rules *rs);
/** The first rule that holds decides; without one: the kernel. */
bool slp_rules_match(
    const struct slp_rules *rs, enum slp_dir dir, const struct sockaddr *sa, socklen_t len);

/* ==== start.c: the dataplane's life ==== */

/** Is there a configuration (from sluice-run)? */
bool slp_enabled(void);
/** Whose an address is; false without a configuration. */
bool slp_ours(enum slp_dir dir, const struct sockaddr *sa, socklen_t len);
/** Start the dataplane at bind, not only when a listener is first waited for. */
extern bool slp_start_early;
/** Counts the forks that this process has behind it. */
extern uint32_t slp_epoch;
/** Keeps a descriptor of ours from close(), under a number out of the way, which goes to *where. */
void slp_internal(int fd, _Atomic int *where);
/** The program wants number fd, where f, a descriptor of ours, is: it moves. 0 or -errno. */
int slp_internal_move(int fd, struct slp_file *f);
/** Starts the dataplane unless it runs. 0, or -errno after a line on stderr. */
int slp_start(void);
bool slp_running(void);
/** Of slp_start's success; any thread. */
extern const struct slp_engine *slp_eng;
extern struct sluice_stack *slp_st;
/** An eventfd that the dataplane's thread has, too. 0 or -errno. */
int slp_waker_open(struct slp_waker *w);
void slp_waker_close(struct slp_waker *w);
/** One line on stderr, when level (as syslog) is told. */
void slp_log(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ==== socket.c: life of sockets ==== */

/**
 * 0: f is on the dataplane and this process may use it. 1: the kernel's, or nobody's yet. Else
 * -errno. A late listener goes to the dataplane, when `activate` says so.
 */
int slp_use(struct slp_file *f, int fd, bool activate);
/** A listener of SLP_LATE goes to the dataplane. 0 or -errno. */
int slp_activate(struct slp_file *f, int fd);
/** File of a descriptor that is on the dataplane, with a reference: then *rc is 0. NULL: *rc is
 * -errno, or 1 for the kernel. */
struct slp_file *slp_own(int fd, int *rc);

/* ==== ready.c ==== */
void slp_epoll_new(int fd);
/** The socket has become sluice's: an epoll that waits for it must know. */
void slp_epoll_move(struct slp_file *f);

/** -errno to -1 and errno. */
static inline int slp_ret(int rc)
{
	if (SLP_LIKELY(rc >= 0))
		return rc;
	errno = -rc;
	return -1;
}
static inline ssize_t slp_retn(ssize_t rc)
{
	if (SLP_LIKELY(rc >= 0))
		return rc;
	errno = (int)-rc;
	return -1;
}

#endif
