/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Buffers of threads that send from outside of the EAL.
 *
 * DPDK's pools keep a cache for each lcore; every other thread takes each single buffer from what
 * all share. So such a thread has a stash for each stack that it sends on: filled from the pool
 * with one operation, emptied one by one without any. An eighth of the pool at most lies in
 * stashes; a thread that comes too late goes to the pool each time.
 *
 * A stash is in two lists: its thread's, which only that thread walks, and its stack's. Whoever
 * ends first gives the buffers back: the thread when it exits, the stack when it is destroyed; the
 * memory is the thread's. The lock is for beginnings and ends alone. In a child of fork the pool may
 * not even be mapped, so there a stash is just forgotten.
 */
#include <stdlib.h>
#include <unistd.h>

#include <sock/sock_int.h>

struct sl_stash {
	_Atomic(struct sluice_stack *) st; /* NULL: it is gone */
	struct sl_stash *mine_next;
	struct sl_stash *next, **pprev; /* of the stack */
	struct rte_mempool *pool;
	pid_t pid;
	uint32_t n, cap;
	void *m[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* only for its destructor */
static bool have_key;
static _Thread_local struct sl_stash *mine;

/* Leaves its stack. The lock is held. */
static void give_back(struct sl_stash *s)
{
	struct sluice_stack *st = atomic_load_explicit(&s->st, memory_order_relaxed);

	if (st == NULL)
		return;
	if (s->n > 0)
		rte_mempool_put_bulk(s->pool, s->m, s->n);
	s->n = 0;
	st->stashed -= s->cap;
	*s->pprev = s->next;
	if (s->next != NULL)
		s->next->pprev = s->pprev;
	atomic_store_explicit(&s->st, NULL, memory_order_relaxed);
}

static void thread_ends(void *arg)
{
	struct sl_stash *s = mine, *next;

	mine = NULL;
	for (; s != NULL; s = next) {
		next = s->mine_next;
		if (s->pid == getpid()) {
			pthread_mutex_lock(&lock);
			give_back(s);
			pthread_mutex_unlock(&lock);
		}
		free(s);
	}
}

static void make_key(void)
{
	have_key = pthread_key_create(&key, thread_ends) == 0;
}

/* Those whose stack is gone. */
static void sweep(void)
{
	struct sl_stash **p = &mine, *s;

	while ((s = *p) != NULL) {
		if (atomic_load_explicit(&s->st, memory_order_relaxed) != NULL) {
			p = &s->mine_next;
			continue;
		}
		*p = s->mine_next;
		free(s);
	}
}

/* NULL: this thread does without. */
static struct sl_stash *make(struct sluice_stack *st)
{
	struct rte_mempool *pool = st->params.data_pool;
	uint32_t cap = (uint32_t)__atomic_load_n(&st->tun.sock_stash, __ATOMIC_RELAXED);
	struct sl_stash *s;

	/* It has a cache already? One without a place tells the next call that there is none. */
	if (rte_mempool_default_cache(pool, rte_lcore_id()) != NULL)
		cap = 0;
	s = malloc(sizeof(*s) + cap * sizeof(s->m[0]));
	if (s == NULL)
		return NULL;
	pthread_once(&once, make_key);
	if (!have_key || pthread_setspecific(key, s) != 0) {
		free(s);
		return NULL;
	}
	sweep();
	pthread_mutex_lock(&lock);
	if (st->stashed + cap > pool->size / 8)
		cap = 0;
	st->stashed += cap;
	s->pool = pool;
	s->pid = getpid();
	s->cap = cap;
	s->n = 0;
	s->next = st->stashes;
	s->pprev = &st->stashes;
	if (s->next != NULL)
		s->next->pprev = &s->next;
	st->stashes = s;
	atomic_init(&s->st, st);
	pthread_mutex_unlock(&lock);
	s->mine_next = mine;
	mine = s;
	return s;
}

static struct sl_stash *stash_of(struct sluice_stack *st)
{
	struct sl_stash *s = mine;

	while (s != NULL && atomic_load_explicit(&s->st, memory_order_relaxed) != st)
		s = s->mine_next;
	return SL_LIKELY(s != NULL) ? s : make(st);
}

struct rte_mbuf *sl_stash_alloc(struct sluice_stack *st)
{
	struct sl_stash *s = stash_of(st);
	struct rte_mbuf *m;

	if (SL_UNLIKELY(s == NULL || s->cap == 0))
		return rte_pktmbuf_alloc(st->params.data_pool);
	if (SL_UNLIKELY(s->n == 0)) {
		if (rte_mempool_get_bulk(s->pool, s->m, s->cap) < 0)
			return rte_pktmbuf_alloc(s->pool);
		s->n = s->cap;
	}
	m = s->m[--s->n];
	/* What comes next was last in the cache of the CPU that freed it. */
	if (SL_LIKELY(s->n > 0)) {
		const char *next = s->m[s->n - 1];

		rte_prefetch0(next);
		rte_prefetch0(next + 64);
		rte_prefetch0(next + sizeof(*m) + RTE_PKTMBUF_HEADROOM);
	}
	rte_pktmbuf_reset(m);
	return m;
}

void sl_stash_drop_all(struct sluice_stack *st)
{
	pthread_mutex_lock(&lock);
	while (st->stashes != NULL)
		give_back(st->stashes);
	pthread_mutex_unlock(&lock);
}
