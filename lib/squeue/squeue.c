/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * squeues, the big picture.
 *
 * A squeue is a place where work is done one thing at a time. Everything that a connection owns is
 * touched only there, so nothing above needs a lock. Work comes in by three ways: packets of the
 * squeue's own NIC queues, packets forwarded by other squeues (SPSC rings, tx.c), and entries made
 * by any thread (entry.c). Timers (the wheel) are work that the squeue left for itself.
 *
 * Who may touch a squeue is one word, `owner`: the address of a thread-local of the owning thread.
 *  - A thread that polls takes it with its first poll and keeps it until sluice_squeue_release().
 *  - A synchronous call that finds nobody takes it for its own duration, and runs there.
 *  - synch_enter lends it: the poller stays `owner`, `holder` says who has it (hold.c). While lent,
 *    the poller touches only what sq_priv.h lists as its own.
 * Taking is an acquire, giving back a release, so all plain state travels with the word.
 *
 * A synchronous caller that finds a temporary owner may not be forgotten when that one leaves: it
 * pushes its entry and then tries to take the squeue itself, while a leaving owner gives the word
 * back and then looks for waiting entries. Both orders are sequentially consistent, so at least one
 * of the two sees the other (sl_unown, sl_synch_call).
 *
 * A thread that has a squeue in any way never waits for another one: the other's owner might be
 * waiting for it, or might be itself. Such a call gets -EXDEV.
 *
 * Files: squeue.c life and ownership; entry.c doors, calls and their list; mail.c entries of
 * connections that have moved; loop.c the pass and run(); sleep.c; park.c squeues that are parked;
 * hold.c synch_enter; tx.c staging and forwarding; reset.c; apptimer.c; wheel.c.
 */
#include "sq_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- threads ---- */

/* The only variable that is not of a stack: how many squeues this thread has. Its address names it.
 */
static _Thread_local uint32_t self_owned;

uintptr_t sl_self(void)
{
	return (uintptr_t)&self_owned;
}

void sl_self_add(int n)
{
	self_owned += (uint32_t)n;
}

bool sl_thread_polls(void)
{
	return self_owned != 0;
}

bool sl_on_squeue(const struct sluice_squeue *sq)
{
	/* Relaxed: these words can only become or stop being ours by our own doing. */
	uintptr_t me = sl_self();
	uintptr_t holder = atomic_load_explicit(&sq->priv->holder, memory_order_relaxed);

	if (holder != 0)
		return holder == me;
	return atomic_load_explicit(&sq->owner, memory_order_relaxed) == me;
}

bool sl_try_own(struct sluice_squeue *sq)
{
	uintptr_t none = 0;

	/* Acquires what the last owner released in sl_unown; sequentially consistent: see there. */
	if (!atomic_compare_exchange_strong(&sq->owner, &none, sl_self()))
		return false;
	self_owned++;
	return true;
}

void sl_sq_run_waiting(struct sluice_squeue *sq)
{
	sq->in_pass = true;
	sl_entries_drain(sq);
	sq->hooks->deferred(sq);
	sl_fwd_publish(sq);
	sq->in_pass = false;
}

/* Give the squeue up. Outside a pass. Nobody who waits may be left behind. */
void sl_unown(struct sluice_squeue *sq)
{
	struct sluice_stack *st = sq->stack;
	struct sl_sq_priv *p = sq->priv;
	uint64_t handed = 0;

	for (;;) {
		if (atomic_load(&p->waiters) != 0) {
			sl_sq_run_waiting(sq);
			if (p->enter != 0) {
				handed |= p->handed;
				p->handed = 0;
				/* The squeue goes over to the first of those that asked for it. */
				self_owned--;
				sl_hold_grant(sq);
				break;
			}
		}
		handed |= p->handed;
		p->handed = 0;
		self_owned--;
		atomic_store(&sq->owner, 0); /* releases; pairs with sl_try_own */
		if (atomic_load(&sq->entries) == 0 || atomic_load(&p->waiters) == 0)
			break;
		if (!sl_try_own(sq))
			break; /* the one who has it now has the duty too */
	}
	if (SL_UNLIKELY(handed != 0))
		sl_handed_help(st, handed);
}

int sluice_squeue_release(struct sluice_squeue *sq)
{
	struct sl_sq_priv *p = sq->priv;

	if (atomic_load_explicit(&sq->owner, memory_order_relaxed) != sl_self() || !p->polled)
		return -EPERM;
	if (atomic_load_explicit(&p->holder, memory_order_acquire) != 0 || sq->in_pass)
		return -EBUSY;
	p->polled = false;
	p->tsc_start = 0;
	sl_unown(sq);
	return 0;
}

/* ---- memory ---- */

void *sl_sq_alloc(struct sluice_stack *st, size_t size)
{
	void *m;

	size = (size + 63) & ~(size_t)63;
	m = st->mem.alloc != NULL ? st->mem.alloc(st->mem.arg, size, 64) : aligned_alloc(64, size);
	if (m != NULL)
		memset(m, 0, size);
	return m;
}

void sl_sq_free(struct sluice_stack *st, void *m, size_t size)
{
	if (m == NULL)
		return;
	if (st->mem.free != NULL)
		st->mem.free(st->mem.arg, m, (size + 63) & ~(size_t)63);
	else
		free(m);
}

/* ---- life ---- */

int sl_squeue_create(struct sluice_stack *st, unsigned int id, const struct sl_hooks *hooks,
    struct sluice_squeue **out)
{
	struct sluice_squeue *sq = sl_sq_alloc(st, sizeof(*sq));
	struct sl_sq_priv *p = sl_sq_alloc(st, sizeof(*p));
	void *doors = MAP_FAILED;
	int rc = -ENOMEM;

	if (sq == NULL || p == NULL)
		goto fail;
	sq->stack = st;
	sq->hooks = hooks;
	sq->id = sq->from = (uint16_t)id;
	sq->tun = st->tun;
	sq->priv = p;
	p->one_cpu = sysconf(_SC_NPROCESSORS_ONLN) == 1;
	/* Reserved, and touched as slots are used: a door outlives every connection in its slot. */
	p->doors_len = ((size_t)st->params.max_connections + 1) * sizeof(struct sl_door);
	doors = mmap(NULL, p->doors_len, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (doors == MAP_FAILED)
		goto fail;
	sq->doors = doors;
	sl_wheel_init(&sq->wheel, 0);
	rc = sl_app_timers_init(sq);
	if (rc < 0)
		goto fail;
	rc = sl_fwd_create(sq);
	if (rc < 0) {
		sl_app_timers_fini(sq);
		goto fail;
	}
	*out = sq;
	return 0;
fail:
	if (doors != MAP_FAILED)
		munmap(doors, p->doors_len);
	sl_sq_free(st, p, sizeof(*p));
	sl_sq_free(st, sq, sizeof(*sq));
	return rc;
}

static void free_list(struct rte_mbuf *m)
{
	while (m != NULL) {
		struct rte_mbuf *next = sl_pkt_next(m);

		rte_pktmbuf_free(m);
		m = next;
	}
}

void sl_squeue_cancel(struct sluice_squeue *sq, uint64_t *calls)
{
	*calls += sl_entries_cancel(sq);
}

void sl_squeue_destroy(struct sluice_squeue *sq, uint64_t *calls)
{
	struct sluice_stack *st = sq->stack;
	struct sl_sq_priv *p = sq->priv;

	sl_squeue_cancel(sq, calls);
	for (unsigned int i = 0; i < sq->nports; i++) {
		struct sl_txq *t = sq->port[i].txq;

		for (unsigned int k = 0; k < t->n; k++)
			rte_pktmbuf_free(t->pkts[k]);
		sl_sq_free(st, t, sizeof(*t));
		free_list(p->backlog[i].head);
	}
	sl_fwd_destroy(sq);
	sl_app_timers_fini(sq);
	sl_sleep_fini(sq);
	munmap(sq->doors, p->doors_len);
	sl_sq_free(st, p, sizeof(*p));
	sl_sq_free(st, sq, sizeof(*sq));
}

int sl_squeue_add_port(struct sluice_squeue *sq, unsigned int n, struct sluice_driver d,
    const struct sluice_port_info *info)
{
	struct sl_sqport *port = &sq->port[n];

	if (n != sq->nports || n >= SL_MAX_PORTS || info->nqueues == 0)
		return -EINVAL;
	port->txq = sl_sq_alloc(sq->stack, sizeof(*port->txq));
	if (port->txq == NULL)
		return -ENOMEM;
	port->drv = d;
	port->info = *info;
	sq->priv->nqueues[n] = info->nqueues;
	port->queue = sq->id < info->nqueues ? sq->id : -1;
	port->via = sq->id % info->nqueues;
	sq->nports++;
	return 0;
}

void sl_squeue_drop_port(struct sluice_squeue *sq)
{
	struct sl_sqport *port = &sq->port[--sq->nports];

	SL_CHECK(port->txq->n == 0);
	sl_sq_free(sq->stack, port->txq, sizeof(*port->txq));
	memset(port, 0, sizeof(*port));
	sq->priv->nqueues[sq->nports] = 0;
}

/* ---- registration, before the first poll ---- */

int sluice_op_register(struct sluice_stack *st, const char *name, sluice_op_fn fn, void *arg)
{
	struct sl_op_reg *op;
	int rc;

	if (name == NULL || fn == NULL || name[0] == '\0' || strlen(name) >= sizeof(op->name))
		return -EINVAL;
	pthread_mutex_lock(&st->lock);
	if (atomic_load(&st->running)) {
		rc = -EBUSY;
	} else if (st->nops == SLUICE_MAX_OPS) {
		rc = -ENOSPC;
	} else {
		op = &st->op[st->nops];
		strcpy(op->name, name);
		op->fn = fn;
		op->arg = arg;
		rc = (int)st->nops++;
	}
	pthread_mutex_unlock(&st->lock);
	return rc;
}

int sluice_app_register(struct sluice_stack *st, const struct sluice_app *app)
{
	int rc = 0;

	if (app->size != sizeof(*app))
		return -EINVAL;
	pthread_mutex_lock(&st->lock);
	if (atomic_load(&st->running) || st->app.size != 0)
		rc = -EBUSY;
	else
		st->app = *app;
	pthread_mutex_unlock(&st->lock);
	return rc;
}

/* ---- what anybody may ask ---- */

struct sluice_squeue *sluice_squeue(struct sluice_stack *st, unsigned int id)
{
	return id < st->nsq ? st->sq[id] : NULL;
}

unsigned int sluice_squeue_id(const struct sluice_squeue *sq)
{
	return sq->id;
}

struct sluice_stack *sluice_squeue_stack(const struct sluice_squeue *sq)
{
	return sq->stack;
}

uint64_t sluice_squeue_now(const struct sluice_squeue *sq)
{
	return sq->now;
}

static void read_words(uint64_t *out, const uint64_t *in, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = __atomic_load_n(&in[i], __ATOMIC_RELAXED);
}

void sluice_counters_get(const struct sluice_squeue *sq, struct sluice_counters *out)
{
	read_words((uint64_t *)out, (const uint64_t *)&sq->ctr, SLUICE_NCOUNTERS);
}

void sluice_counters_sum(const struct sluice_stack *st, struct sluice_counters *out)
{
	uint64_t *sum = (uint64_t *)out;

	memset(out, 0, sizeof(*out));
	for (unsigned int i = 0; i < st->nsq; i++) {
		struct sluice_counters one;

		sluice_counters_get(st->sq[i], &one);
		for (size_t k = 0; k < SLUICE_NCOUNTERS; k++)
			sum[k] += ((const uint64_t *)&one)[k];
	}
	/* Refusals are counted by threads that own no squeue. */
	out->sq_calls_exdev += atomic_load_explicit(&st->exdev, memory_order_relaxed);
	out->sq_call_slots_empty += atomic_load_explicit(&st->slots_empty, memory_order_relaxed);
	out->sq_stale += atomic_load_explicit(&st->calls_stale, memory_order_relaxed);
	out->sq_rings_late += atomic_load_explicit(&st->rings_late, memory_order_relaxed);
}

void sluice_squeue_stats(const struct sluice_squeue *sq, struct sluice_squeue_stats *out)
{
	const size_t words = (sizeof(*out) - sizeof(out->size)) / sizeof(uint64_t);

	_Static_assert(sizeof(out->size) == sizeof(uint64_t), "all members are words");
	read_words(&out->stage_items[0], &sq->priv->st.stage_items[0], words);
	out->size = sizeof(*out);
}

const char *sluice_stage_name(enum sluice_stage s)
{
	static const char *const name[SLUICE_NSTAGES] = {
	    "rx", "input", "entries", "timers", "app", "output", "tx"};

	return (unsigned int)s < SLUICE_NSTAGES ? name[s] : NULL;
}

const char *sluice_tag_name(const struct sluice_stack *st, unsigned int tag)
{
	static const char *const name[] = {
#define X(t, n) [t] = n,
	    SL_OPS(X)
#undef X
	};

	_Static_assert(SL_OP_NLIB <= SL_OP_USER, "tags of the library and of the user overlap");
	if (tag < SL_OP_NLIB)
		return name[tag];
	if (tag >= SL_OP_USER && tag - SL_OP_USER < st->nops)
		return st->op[tag - SL_OP_USER].name;
	return NULL;
}
