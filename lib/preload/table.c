/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which descriptors are ours: an array of pointers, one per number, that is only touched page by
 * page as numbers are used. A number that is the kernel's costs its callers one load.
 *
 * A call takes a reference and then looks whether the number still names the file: the memory of
 * files is type-stable, so a reference that came too late hits another file, is seen by the second
 * look and given back. Descriptors hold a reference each; so close() in one thread does not pull a
 * socket away under a call in another, which goes on with what it began on. That is the kernel's
 * way, too: the connection is closed when the last of both is gone.
 *
 * The kernel gives a number out again as soon as it is closed. So the table lets go of a number
 * before the kernel does, and takes it in after the kernel has.
 */
#include "preload.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Atomic(struct slp_file *) *table;
static unsigned int table_size;
static _Atomic int highest = -1;

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct slp_file *pool;

void (*slp_on_release)(struct slp_file *f);
uint32_t slp_epoch;

int slp_table_init(unsigned int max)
{
	void *p = mmap(NULL, max * sizeof(table[0]), PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	table = p;
	table_size = max;
	return 0;
}

/* ---- files ---- */

static struct slp_file *pool_take(void)
{
	struct slp_file *f;

	pthread_mutex_lock(&pool_lock);
	f = pool;
	if (f != NULL)
		pool = f->next;
	pthread_mutex_unlock(&pool_lock);
	if (f == NULL) {
		f = calloc(1, sizeof(*f));
		if (f != NULL)
			pthread_mutex_init(&f->lock, NULL);
	}
	return f;
}

struct slp_file *slp_file_new(enum slp_kind kind)
{
	struct slp_file *f = pool_take();

	if (f == NULL)
		return NULL;
	f->kind = kind;
	f->so = -1;
	f->domain = f->backlog = 0;
	f->local_len = 0;
	f->opts = NULL;
	f->where = NULL;
	f->epoch = slp_epoch;
	f->reg_ep = f->reg_fd = -1;
	f->kernel_first = false;
	f->waker = (struct slp_waker){.fd = -1, .lcore_fd = -1};
	atomic_store_explicit(&f->ep, -1, memory_order_relaxed);
	atomic_store_explicit(&f->nkernel, 0, memory_order_relaxed);
	atomic_store_explicit(&f->state, SLP_NEW, memory_order_relaxed);
	atomic_store_explicit(&f->refs, 1, memory_order_release);
	return f;
}

void slp_ref(struct slp_file *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}

void slp_put(struct slp_file *f)
{
	if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (slp_on_release != NULL)
		slp_on_release(f);
	slp_opt_free(f);
	pthread_mutex_lock(&pool_lock);
	f->next = pool;
	pool = f;
	pthread_mutex_unlock(&pool_lock);
}

/* ---- descriptors ---- */

struct slp_file *slp_get(int fd)
{
	struct slp_file *f;
	uint32_t refs;

	if (SLP_UNLIKELY((unsigned int)fd >= table_size) || slp_inside)
		return NULL;
	while ((f = atomic_load_explicit(&table[fd], memory_order_acquire)) != NULL) {
		refs = atomic_load_explicit(&f->refs, memory_order_relaxed);
		while (refs != 0 && !atomic_compare_exchange_weak_explicit(&f->refs, &refs,
					refs + 1, memory_order_acquire, memory_order_relaxed))
			;
		if (refs == 0)
			continue; /* it has gone since: look again */
		if (SLP_LIKELY(atomic_load_explicit(&table[fd], memory_order_acquire) == f))
			return f;
		slp_put(f);
	}
	return NULL;
}

int slp_install(int fd, struct slp_file *f)
{
	struct slp_file *old;
	int top = atomic_load_explicit(&highest, memory_order_relaxed);

	if ((unsigned int)fd >= table_size)
		return -EMFILE;
	while (top < fd && !atomic_compare_exchange_weak(&highest, &top, fd))
		;
	old = atomic_exchange_explicit(&table[fd], f, memory_order_acq_rel);
	if (old != NULL)
		slp_put(old);
	return 0;
}

struct slp_file *slp_remove(int fd)
{
	if ((unsigned int)fd >= table_size || slp_inside ||
	    atomic_load_explicit(&table[fd], memory_order_relaxed) == NULL)
		return NULL;
	return atomic_exchange_explicit(&table[fd], NULL, memory_order_acq_rel);
}

int slp_next(int fd, unsigned int last)
{
	for (int top = atomic_load(&highest); fd <= top && (unsigned int)fd <= last; fd++)
		if (atomic_load_explicit(&table[fd], memory_order_relaxed) != NULL)
			return fd;
	return -1;
}

void slp_each(void (*fn)(int fd, struct slp_file *f, void *arg), void *arg)
{
	for (int fd = slp_next(0, ~0U); fd >= 0; fd = slp_next(fd + 1, ~0U)) {
		struct slp_file *f = slp_get(fd);

		if (f == NULL)
			continue;
		fn(fd, f, arg);
		slp_put(f);
	}
}

void slp_table_child(void)
{
	pthread_mutex_init(&pool_lock, NULL);
	for (int fd = slp_next(0, ~0U); fd >= 0; fd = slp_next(fd + 1, ~0U)) {
		struct slp_file *f = atomic_load(&table[fd]);

		pthread_mutex_init(&f->lock, NULL);
		if (f->kind == SLP_EPOLL) { /* what it had of the dataplane is the parent's */
			atomic_store(&f->ep, -1);
			f->waker = (struct slp_waker){.fd = -1, .lcore_fd = -1};
			f->epoch = slp_epoch;
		}
		if (f->kind != SLP_INTERNAL)
			continue;
		atomic_store(&table[fd], NULL);
		(void)slp_real()->close(fd);
		slp_put(f);
	}
}

/* ---- options ---- */

int slp_opt_add(struct slp_file *f, int level, int name, const void *val, socklen_t len)
{
	struct slp_opt **at = &f->opts, *o;

	/* A later value of the same option takes the place of the earlier one, at the end. */
	while (*at != NULL) {
		o = *at;
		if (o->level == level && o->name == name) {
			*at = o->next;
			free(o);
			continue;
		}
		at = &o->next;
	}
	o = malloc(sizeof(*o) + len);
	if (o == NULL)
		return -ENOMEM;
	o->next = NULL;
	o->level = level;
	o->name = name;
	o->len = len;
	memcpy(o->val, val, len);
	*at = o;
	return 0;
}

void slp_opt_free(struct slp_file *f)
{
	struct slp_opt *o;

	while ((o = f->opts) != NULL) {
		f->opts = o->next;
		free(o);
	}
}
