/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The preload library: the big picture.
 *
 * It stands between a program and its C library. A TCP socket of the program begins as what the
 * program asked for, a kernel socket; when an address (bind, connect) shows that it is sluice's, a
 * socket of the stack takes over, and the kernel's socket stays as the place holder of the number:
 * so fstat, dup, close-on-exec, select's limits and /proc see what they expect, and whoever gets
 * at the descriptor behind our back finds a socket that is not connected. Descriptors that are not
 * in the table (table.c) go to the C library after one load.
 *
 *	real.c    the C library's functions
 *	table.c   descriptor -> file, references
 *	rules.c   whose is an address
 *	socket.c  life: socket, bind, listen, connect, accept, dup, close
 *	io.c      bytes: read, write, send, recv, sendfile, splice
 *	option.c  options, ioctl, fcntl, names
 *	ready.c   poll, select, epoll, over both kinds at once
 *	stdio.c   FILE on a socket
 *	start.c   here: configuration, the dataplane's thread, fork and exit
 *
 * The dataplane starts late: with the first connect, or with the first accept or wait on a
 * listener. So a program that listens and then forks (a daemon, a master with one worker) has it in
 * the process that serves. It runs on a thread that left the process's descriptor table: what DPDK
 * opens can neither be closed by the program, nor is it inherited by its children. What both sides
 * must have, eventfds to wake sleepers in the kernel, is handed over a socket pair.
 *
 * A child of a process whose dataplane runs does not have it: what it inherited gives ENETDOWN, and
 * its memory is not even mapped there.
 */
#include "preload.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>

const struct slp_engine *slp_eng;
struct sluice_stack *slp_st;
bool slp_start_early;

static struct slp_rules rules;
static char *words; /* the configuration, NULL: none */
static char *engine_path;
static int log_level = LOG_NOTICE;
static unsigned int linger_ms = 2000;

enum phase {
	PHASE_NONE,
	PHASE_STARTING,
	PHASE_UP,
	PHASE_FAILED,
	PHASE_INHERITED, /* the parent has it */
	PHASE_ENDED
};
static _Atomic int phase;
static int failed_with;
static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t lcore_thread;
static sem_t lcore_told; /* posted when it is up, or has ended */
static volatile int lcore_stop;
static int lcore_rc;
static volatile sig_atomic_t dying; /* the signal */
static pid_t owner;                 /* a child made without fork() thinks that it is we */

/* ---- log ---- */

static void log_line(int level, const char *line)
{
	struct stat st;
	char buf[600];
	int n;

	/* A program that closed its stderr may have a socket or a file of its own there. */
	if (level > log_level || fstat(STDERR_FILENO, &st) != 0 || S_ISSOCK(st.st_mode))
		return;
	n = snprintf(buf, sizeof(buf), "sluice-run[%d]: %s\n", (int)getpid(), line);
	if (n > 0)
		(void)!slp_real()->write(
		    STDERR_FILENO, buf, (size_t)n < sizeof(buf) ? (size_t)n : sizeof(buf) - 1);
}

void slp_log(int level, const char *fmt, ...)
{
	int saved = errno;
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_line(level, line);
	errno = saved;
}

/* ---- configuration ---- */

bool slp_enabled(void)
{
	return words != NULL;
}

bool slp_ours(enum slp_dir dir, const struct sockaddr *sa, socklen_t len)
{
	return words != NULL && slp_rules_match(&rules, dir, sa, len);
}

static int configure_line(const char *key, const char *val)
{
	struct slp_rule r;

	if (strcmp(key, "engine") == 0) {
		engine_path = strdup(val);
		return engine_path != NULL ? 0 : -ENOMEM;
	}
	if (strcmp(key, "rule") == 0)
		return slp_rule_parse(val, &r) != 0 ? -EINVAL : slp_rules_add(&rules, &r);
	if (strcmp(key, "start") == 0)
		slp_start_early = strcmp(val, "bind") == 0;
	else if (strcmp(key, "log") == 0)
		log_level = atoi(val);
	else if (strcmp(key, "linger") == 0)
		linger_ms = (unsigned int)atoi(val);
	return 0; /* the engine's */
}

static int configure(const char *text)
{
	char *copy = strdup(text), *save = NULL, *line, *val;
	int rc = copy != NULL ? 0 : -ENOMEM;

	for (line = copy != NULL ? strtok_r(copy, "\n", &save) : NULL; line != NULL && rc == 0;
	     line = strtok_r(NULL, "\n", &save)) {
		val = strchr(line, ' ');
		if (val != NULL)
			*val++ = '\0';
		rc = configure_line(line, val != NULL ? val : "");
		if (rc != 0)
			slp_log(LOG_ERR, "%s %s: not understood", line, val != NULL ? val : "");
	}
	free(copy);
	return rc;
}

/* ---- the dataplane's thread ---- */

/* The program's end of the pair over which descriptors go, and the other one: behind unshare it
 * has the first number after stdio. */
static _Atomic int hand_over = -1;
#define LCORE_HAND_OVER 3

static int out_of_the_way(int fd)
{
	struct rlimit rl = {.rlim_cur = 1024};

	(void)getrlimit(RLIMIT_NOFILE, &rl);
	if (rl.rlim_cur > 1u << 20)
		rl.rlim_cur = 1u << 20;
	return slp_real()->fcntl(fd, F_DUPFD_CLOEXEC, (int)(rl.rlim_cur - rl.rlim_cur / 4));
}

void slp_internal(int fd, _Atomic int *where)
{
	int high = out_of_the_way(fd);
	struct slp_file *f = slp_file_new(SLP_INTERNAL);

	if (high >= 0) {
		(void)slp_real()->close(fd);
		fd = high;
	}
	atomic_store(where, fd);
	if (f == NULL)
		return; /* it works, but for programs that close what is not theirs */
	f->where = where;
	if (slp_install(fd, f) != 0)
		slp_put(f);
}

int slp_internal_move(int fd, struct slp_file *f)
{
	int high = out_of_the_way(fd);

	if (high < 0)
		return -errno;
	slp_ref(f);
	if (slp_install(high, f) != 0)
		slp_put(f);
	atomic_store(f->where, high);
	return 0;
}

static void internal_close(int fd)
{
	struct slp_file *f = slp_remove(fd);

	if (f != NULL)
		slp_put(f);
	(void)slp_real()->close(fd);
}

/* A table of its own, with nothing of the program's but stderr. */
static int own_descriptors(int pair)
{
	int null;

	if (unshare(CLONE_FILES) != 0)
		return -errno;
	if (pair != LCORE_HAND_OVER && slp_real()->dup2(pair, LCORE_HAND_OVER) < 0)
		return -errno;
	(void)slp_real()->close_range(LCORE_HAND_OVER + 1, ~0U, 0);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return -errno;
	(void)slp_real()->dup2(null, STDIN_FILENO);
	(void)slp_real()->dup2(null, STDOUT_FILENO);
	if (fcntl(STDERR_FILENO, F_GETFD) < 0)
		(void)slp_real()->dup2(null, STDERR_FILENO);
	return 0;
}

static void up(struct sluice_stack *st)
{
	slp_st = st;
	lcore_rc = 0;
	sem_post(&lcore_told);
}

static void down_one(int fd, struct slp_file *f, void *arg)
{
	if (f->kind == SLP_SOCKET && atomic_load(&f->state) == SLP_OWN)
		(void)slp_eng->close(slp_st, f->so);
}

/* Whatever is still open when the process ends. On the dataplane's thread. */
static void down(void)
{
	slp_inside = 0; /* the table is the program's */
	slp_each(down_one, NULL);
	slp_inside = 1;
}

static void *lcore(void *arg)
{
	int rc;

	slp_inside = 1;
	(void)pthread_setname_np(pthread_self(), "sluice-lcore0");
	rc = own_descriptors((int)(intptr_t)arg);
	if (rc == 0)
		rc = slp_eng->run(words, &lcore_stop, up, down, log_line);
	else
		slp_log(LOG_ERR, "a descriptor table of its own: %s", strerror(-rc));
	lcore_rc = rc;
	if (dying != 0) {
		sigset_t set;

		(void)signal(dying, SIG_DFL);
		sigemptyset(&set);
		sigaddset(&set, dying);
		(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
		(void)kill(getpid(), dying);
	}
	sem_post(&lcore_told);
	return NULL;
}

/* Signals are the program's. */
static int spawn(int pair)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &old);
	rc = -slp_real()->pthread_create(&lcore_thread, NULL, lcore, (void *)(intptr_t)pair);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

static int load_engine(void)
{
	const struct slp_engine *(*get)(void);
	void *lib = dlopen(engine_path != NULL ? engine_path : "libsluice-engine.so", RTLD_NOW);

	if (lib == NULL) {
		slp_log(LOG_ERR, "%s", dlerror());
		return -ENETDOWN;
	}
	*(void **)&get = dlsym(lib, SLP_ENGINE_SYMBOL);
	slp_eng = get != NULL ? get() : NULL;
	if (slp_eng == NULL || slp_eng->abi != SLP_ENGINE_ABI) {
		slp_log(LOG_ERR, "%s does not belong to this preload library", engine_path);
		return -ENETDOWN;
	}
	return 0;
}

static void wait_told(void)
{
	while (sem_wait(&lcore_told) != 0)
		;
}

static void at_exit(void);
static void catch_ends(void);

static int start_locked(void)
{
	int pair[2], rc = load_engine();

	if (rc != 0)
		return rc;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return -errno;
	sem_init(&lcore_told, 0, 0);
	rc = spawn(pair[1]);
	if (rc == 0) {
		wait_told();
		rc = lcore_rc;
	}
	(void)slp_real()->close(pair[1]);
	if (rc != 0) {
		(void)slp_real()->close(pair[0]);
		slp_log(LOG_ERR, "the dataplane does not start: %s", strerror(-rc));
		return rc;
	}
	slp_internal(pair[0], &hand_over);
	owner = getpid();
	catch_ends();
	(void)atexit(at_exit);
	return 0;
}

bool slp_running(void)
{
	return atomic_load_explicit(&phase, memory_order_acquire) == PHASE_UP;
}

static void activate_late(int fd, struct slp_file *f, void *arg)
{
	if (f->kind == SLP_SOCKET && atomic_load(&f->state) == SLP_LATE)
		(void)slp_activate(f, fd);
}

static int refuse(int ph)
{
	static _Atomic bool said;

	if (ph == PHASE_FAILED)
		return -failed_with;
	if (ph == PHASE_INHERITED && !atomic_exchange(&said, true))
		slp_log(LOG_ERR, "the dataplane is the parent's: this child cannot use its sockets,"
				 " nor start one of its own");
	return -ENETDOWN;
}

int slp_start(void)
{
	int ph = atomic_load_explicit(&phase, memory_order_acquire), rc;
	bool fresh = false;

	if (SLP_LIKELY(ph == PHASE_UP))
		return 0;
	pthread_mutex_lock(&start_lock);
	ph = atomic_load(&phase);
	if (ph == PHASE_NONE) {
		atomic_store(&phase, PHASE_STARTING);
		rc = start_locked();
		failed_with = -rc;
		fresh = rc == 0;
		atomic_store_explicit(
		    &phase, rc == 0 ? PHASE_UP : PHASE_FAILED, memory_order_release);
	} else {
		rc = ph == PHASE_UP ? 0 : refuse(ph);
	}
	pthread_mutex_unlock(&start_lock);
	if (fresh) /* whoever may connect to them finds them */
		slp_each(activate_late, NULL);
	return rc;
}

/* ---- descriptors that both have ---- */

static pthread_mutex_t adopt_lock = PTHREAD_MUTEX_INITIALIZER;

/* On the dataplane's thread. */
static int64_t adopt(uint64_t arg)
{
	union {
		struct cmsghdr hdr;
		char buf[CMSG_SPACE(sizeof(int))];
	} c;
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr m = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c)};
	int fd = -1;

	if (slp_real()->recvmsg(LCORE_HAND_OVER, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) == 1 &&
	    CMSG_FIRSTHDR(&m) != NULL)
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static int64_t disown(uint64_t fd)
{
	return slp_real()->close((int)fd);
}

static int give(int fd)
{
	union {
		struct cmsghdr hdr;
		char buf[CMSG_SPACE(sizeof(int))];
	} c = {.hdr = {.cmsg_len = CMSG_LEN(sizeof(int)),
		   .cmsg_level = SOL_SOCKET,
		   .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {(char[1]){0}, 1};
	struct msghdr m = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c)};
	int theirs = -1;

	memcpy(CMSG_DATA(&c.hdr), &fd, sizeof(fd));
	pthread_mutex_lock(&adopt_lock);
	if (slp_real()->sendmsg(hand_over, &m, MSG_NOSIGNAL) == 1)
		theirs = (int)slp_eng->call(adopt, 0);
	pthread_mutex_unlock(&adopt_lock);
	return theirs;
}

int slp_waker_open(struct slp_waker *w)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	w->lcore_fd = give(fd);
	if (w->lcore_fd < 0) {
		(void)slp_real()->close(fd);
		return -ENFILE;
	}
	slp_internal(fd, &w->fd);
	return 0;
}

void slp_waker_close(struct slp_waker *w)
{
	int fd = atomic_exchange(&w->fd, -1);

	if (fd < 0)
		return;
	internal_close(fd);
	if (slp_running())
		(void)slp_eng->call(disown, (uint64_t)w->lcore_fd);
}

/* ---- fork ---- */

static void in_child(void)
{
	int ph = atomic_load(&phase);

	slp_epoch++;
	pthread_mutex_init(&start_lock, NULL);
	pthread_mutex_init(&adopt_lock, NULL);
	slp_table_child();
	hand_over = -1;
	if (ph == PHASE_UP || ph == PHASE_STARTING)
		atomic_store(&phase, PHASE_INHERITED);
}

/* A child that shares our memory would close our sockets with its own. */
SLP_EXPORT pid_t vfork(void)
{
	return fork();
}

/* What the EAL starts is the dataplane's, too. */
struct thread_start {
	void *(*fn)(void *);
	void *arg;
};

static void *inside_thread(void *arg)
{
	struct thread_start s = *(struct thread_start *)arg;

	free(arg);
	slp_inside = 1;
	return s.fn(s.arg);
}

SLP_EXPORT int pthread_create(
    pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	struct thread_start *s;
	int rc;

	if (SLP_LIKELY(!slp_inside))
		return slp_real()->pthread_create(t, attr, fn, arg);
	s = malloc(sizeof(*s));
	if (s == NULL)
		return EAGAIN;
	*s = (struct thread_start){fn, arg};
	rc = slp_real()->pthread_create(t, attr, inside_thread, s);
	if (rc != 0)
		free(s);
	return rc;
}

/* ---- the end ---- */

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

struct conns {
	sluice_conn_t *c;
	size_t n, room;
};

static void close_one(int fd, struct slp_file *f, void *arg)
{
	struct conns *cs = arg;

	if (f->kind != SLP_SOCKET || atomic_load(&f->state) != SLP_OWN || f->epoch != slp_epoch)
		return;
	if (cs->n == cs->room) {
		sluice_conn_t *p = realloc(cs->c, (cs->room + 1024) * sizeof(*p));

		if (p == NULL)
			return;
		cs->c = p;
		cs->room += 1024;
	}
	cs->c[cs->n++] = slp_eng->conn(slp_st, f->so);
	(void)slp_eng->close(slp_st, f->so);
}

/* Those that the peer does not have all of yet move to the front; returns how many. */
static size_t unfinished(struct conns *cs)
{
	enum sluice_state s;
	size_t n = 0;

	for (size_t i = 0; i < cs->n; i++)
		if (slp_eng->getstate(slp_st, cs->c[i], &s) == 0 && s > SLUICE_LISTEN &&
		    s < SLUICE_FIN_WAIT_2)
			cs->c[n++] = cs->c[i];
	return n;
}

/* The kernel goes on sending for a process that has ended; nobody would for us. */
static void finish(struct conns *cs)
{
	struct timespec ms = {0, 1000000};
	uint64_t end = now_ms() + linger_ms;

	while ((cs->n = unfinished(cs)) > 0 && now_ms() < end)
		nanosleep(&ms, NULL);
	for (size_t i = 0; i < cs->n; i++)
		(void)slp_eng->abort(slp_st, cs->c[i]);
}

static void at_exit(void)
{
	struct conns cs = {0};
	struct timespec ts;

	if (slp_inside || !slp_running() || getpid() != owner)
		return;
	slp_each(close_one, &cs);
	finish(&cs);
	free(cs.c);
	atomic_store(&phase, PHASE_ENDED);
	lcore_stop = 1;
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += 3;
	while (sem_timedwait(&lcore_told, &ts) != 0 && errno == EINTR)
		;
}

SLP_EXPORT void _exit(int status)
{
	at_exit();
	slp_real()->_exit(status);
	__builtin_unreachable();
}

SLP_EXPORT void _Exit(int status)
{
	_exit(status);
}

/* A signal that kills: the peers are told before. The dataplane's thread raises it again. */
static void on_end(int sig)
{
	struct timespec ts = {3, 0};

	if (getpid() == owner) {
		dying = sig;
		lcore_stop = 1;
		while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
			;
	}
	(void)signal(sig, SIG_DFL);
	(void)raise(sig);
}

static void catch_ends(void)
{
	static const int ends[] = {SIGHUP, SIGINT, SIGTERM};
	struct sigaction sa = {.sa_handler = on_end}, old;

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (sigaction(ends[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			(void)sigaction(ends[i], &sa, NULL);
}

/* ---- begin ---- */

static void release(struct slp_file *f)
{
	if (f->epoch != slp_epoch || !slp_running())
		return;
	if (f->kind == SLP_SOCKET && f->state == SLP_OWN) {
		(void)slp_eng->close(slp_st, f->so);
	} else if (f->kind == SLP_EPOLL && f->ep >= 0) {
		(void)slp_eng->close(slp_st, f->ep);
		slp_waker_close(&f->waker);
	}
}

__attribute__((constructor)) static void begin(void)
{
	const char *text = getenv("SLUICE_PRELOAD");
	struct rlimit rl = {.rlim_max = 1024};
	uint64_t max;

	(void)slp_real();
	if (text == NULL || words != NULL)
		return;
	(void)getrlimit(RLIMIT_NOFILE, &rl);
	max = rl.rlim_max > 1u << 20 ? 1u << 20 : rl.rlim_max;
	if (configure(text) != 0 || slp_table_init((unsigned int)max) != 0 ||
	    pthread_atfork(NULL, NULL, in_child) != 0) {
		slp_log(LOG_ERR, "the program runs on the kernel's TCP");
		return;
	}
	slp_on_release = release;
	words = strdup(text);
}
