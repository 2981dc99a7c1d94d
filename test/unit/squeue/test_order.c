/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of entries, against the simplest model there is: everything runs in the order in which
 * it was asked for. Chains, posts, rings and synchronous calls on a few connections are mixed by a
 * seed, with polls of small budgets in between, lives that end, and calls from inside the pass.
 * Then the same from several threads, each of which must find its own order (also under the thread
 * sanitizer).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <base/pkt.h>
#include <mpool.h>
#include <squeue/squeue_int.h>

#define CONNS 6
#define MAXP 4
#define ASKS 8192
#define RINGS 256
#define PER_THREAD 6000

enum what {
	W_CHAIN,
	W_POST,
	W_RING,
	W_CALL
};

/* Something that was asked for. */
struct ask {
	enum what what;
	uint32_t conn; /* CONNS: none */
	uint32_t n;    /* running number, or the bit that was rung */
};

static struct {
	struct sluice_stack st;
	struct sluice_squeue *sq;
	struct rte_mempool *mp;
	sluice_conn_t c[CONNS];
	int tag;
	/* one thread: what must still come, in this order */
	struct ask exp[ASKS];
	uint32_t nexp, n, seed, rng;
	struct ask last; /* that came */
	uint64_t ran[4], nested;
	bool threads;
} * f;

/* ---- threads: each action of a producer has the next number, whatever it is ---- */

static struct prod {
	_Atomic uint32_t done;
	uint32_t errors;
	uint32_t ring_no[RINGS]; /* the number of its k-th ring */
	uint32_t rings_run;
	pthread_t t;
} prod[MAXP];

static void ran_of(uint32_t who, uint32_t n)
{
	if (atomic_load_explicit(&prod[who].done, memory_order_relaxed) != n)
		prod[who].errors++;
	atomic_store_explicit(&prod[who].done, n + 1, memory_order_relaxed);
}

/* ---- the model ---- */

static void forget(uint32_t i)
{
	f->nexp--;
	memmove(&f->exp[i], &f->exp[i + 1], (f->nexp - i) * sizeof(f->exp[0]));
}

/* A ring asked for again with nothing in between may run once or twice. */
static void ask(enum what what, uint32_t conn, uint32_t n)
{
	struct ask a = {what, conn, n};

	if (what == W_RING && f->nexp > 0 && memcmp(&f->exp[f->nexp - 1], &a, sizeof(a)) == 0)
		return;
	assert_true(f->nexp < ASKS);
	f->exp[f->nexp++] = a;
}

static void came(enum what what, uint32_t conn, uint32_t n)
{
	struct ask a = {what, conn, n};

	f->ran[what]++;
	if (f->nexp > 0 && memcmp(&f->exp[0], &a, sizeof(a)) == 0)
		forget(0);
	else if (what != W_RING || memcmp(&f->last, &a, sizeof(a)) != 0)
		fail_msg("seed %u: came %d/%u/%u, expected %d/%u/%u", f->seed, what, conn, n,
		    f->exp[0].what, f->exp[0].conn, f->exp[0].n);
	f->last = a;
}

static void h_data(struct sluice_squeue *sq, uint32_t idx, struct rte_mbuf *m, uint32_t flags)
{
	uint32_t v[2];

	memcpy(v, rte_pktmbuf_mtod(m, void *), 8);
	rte_pktmbuf_free(m);
	if (f->threads)
		ran_of(v[0], v[1]);
	else
		came(W_CHAIN, idx - 1, v[1]);
}

static void h_bell(struct sluice_squeue *sq, uint32_t idx, uint32_t bits)
{
	if (f->threads)
		ran_of(idx - 1, prod[idx - 1].ring_no[prod[idx - 1].rings_run++ % RINGS]);
	else
		came(W_RING, idx - 1, bits);
}

static void h_input(
    struct sluice_squeue *sq, unsigned int port, struct rte_mbuf **pkts, unsigned int n, bool fwd)
{
}

static int64_t h_op(
    struct sluice_squeue *sq, enum sl_op op, sluice_conn_t c, const struct sluice_args *args)
{
	return 0;
}

static unsigned int h_output(struct sluice_squeue *sq, unsigned int budget)
{
	return 0;
}

static unsigned int h_deferred(struct sluice_squeue *sq)
{
	return 0;
}

static bool h_pending(const struct sluice_squeue *sq)
{
	return false;
}

static const struct sl_hooks hooks = {
    h_input, h_data, h_bell, h_op, h_output, h_deferred, h_pending};

static void push_chain(uint32_t conn, uint32_t who, uint32_t n)
{
	struct rte_mbuf *m;
	uint32_t v[2] = {who, n};

	while ((m = rte_pktmbuf_alloc(f->mp)) == NULL)
		sched_yield();
	memcpy(rte_pktmbuf_append(m, sizeof(v)), v, sizeof(v));
	assert_int_equal(sl_chain_push(&f->st, f->c[conn], m, sizeof(v), 0), 0);
}

/* In the middle of a pass: a chain, a ring, and a call on the same connection, which comes after
 * all that there was for it, and before the rest. */
static void nest(uint32_t conn)
{
	struct ask mine[ASKS];
	struct sluice_args a = {{W_CALL, conn, ++f->n}};
	uint32_t n = 0;

	push_chain(conn, 0, ++f->n);
	ask(W_CHAIN, conn, f->n);
	sl_ring(&f->st, f->c[conn], SL_BELL_FLOWCTRL);
	ask(W_RING, conn, SL_BELL_FLOWCTRL);
	for (uint32_t i = 0; i < f->nexp;) {
		if (f->exp[i].conn != conn) {
			i++;
			continue;
		}
		mine[n++] = f->exp[i];
		forget(i);
	}
	assert_true(f->nexp + n < ASKS);
	memmove(&f->exp[n + 1], &f->exp[0], f->nexp * sizeof(f->exp[0]));
	memcpy(&f->exp[0], mine, n * sizeof(f->exp[0]));
	f->exp[n] = (struct ask){W_CALL, CONNS, (uint32_t)a.a[2]};
	f->nexp += n + 1;
	assert_int_equal(sluice_synch_call(&f->st, 0, f->tag, f->c[conn], &a), 0);
	f->nested++;
}

/* a[0] kind, a[1] connection to nest on (posts) or producer, a[2] number. */
static int64_t op_run(
    struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *args, void *arg)
{
	if (f->threads) {
		ran_of((uint32_t)args->a[1], (uint32_t)args->a[2]);
		return 0;
	}
	came((enum what)args->a[0], CONNS, (uint32_t)args->a[2]);
	if (args->a[0] == W_POST && args->a[1] < CONNS)
		nest((uint32_t)args->a[1]);
	return 0;
}

static void make(uint32_t slots, bool threads)
{
	f = aligned_alloc(64, (sizeof(*f) + 63) & ~(size_t)63);
	memset(f, 0, sizeof(*f));
	memset(prod, 0, sizeof(prod));
	f->threads = threads;
	f->mp = tp_create(256, 0);
	f->st.params.nsqueues = 1;
	f->st.params.max_connections = 64;
	sluice_tunables_default(&f->st.tun);
	f->st.tun.sq_call_slots = slots;
	pthread_mutex_init(&f->st.lock, NULL);
	assert_int_equal(sl_calls_init(&f->st), 0);
	assert_int_equal(sl_squeue_create(&f->st, 0, &hooks, &f->sq), 0);
	f->st.sq[f->st.nsq++] = f->sq;
	f->tag = sluice_op_register(&f->st, "run", op_run, NULL);
	for (uint32_t i = 0; i < CONNS; i++)
		f->c[i] = SL_HANDLE(0, i + 1, sl_door_open(f->sq, i + 1));
}

static void unmake(void)
{
	uint64_t calls = 0;

	sl_squeue_destroy(f->sq, &calls);
	assert_int_equal(calls, 0);
	sl_calls_fini(&f->st);
	pthread_mutex_destroy(&f->st.lock);
	assert_int_equal(tp_destroy(f->mp), 0);
	free(f);
	f = NULL;
}

static uint32_t rnd(void)
{
	f->rng ^= f->rng << 13;
	f->rng ^= f->rng >> 17;
	f->rng ^= f->rng << 5;
	return f->rng;
}

static struct sluice_counters sum(void)
{
	struct sluice_counters c;

	sluice_counters_sum(&f->st, &c);
	return c;
}

static void poll_once(uint32_t budget)
{
	f->sq->tun.sq_entry_budget = budget;
	assert_true(sluice_squeue_poll(f->sq, f->sq->now + 1000, 0) >= 0);
}

/* What was asked of the old life is gone with it. */
static void new_life(uint32_t conn)
{
	sl_door_close(f->sq, conn + 1);
	f->c[conn] = SL_HANDLE(0, conn + 1, sl_door_open(f->sq, conn + 1));
	for (uint32_t i = 0; i < f->nexp;)
		if (f->exp[i].conn == conn)
			forget(i);
		else
			i++;
	if (f->last.conn == conn)
		memset(&f->last, 0xff, sizeof(f->last));
}

static void step(uint32_t r)
{
	static const uint32_t bit[4] = {
	    SL_BELL_SHUT_WR, SL_BELL_FLOWCTRL, SL_BELL_CLOSE, SL_BELL_FLOWCTRL};
	uint32_t conn = (r >> 8) % CONNS, b = bit[(r >> 12) % 4];
	struct sluice_args a = {{W_POST, CONNS, ++f->n}};

	switch (r % 16) {
	case 0 ... 4:
		push_chain(conn, 0, f->n);
		ask(W_CHAIN, conn, f->n);
		break;
	case 5 ... 8:
		assert_int_equal(sl_ring(&f->st, f->c[conn], b), 0);
		ask(W_RING, conn, b);
		break;
	case 9 ... 11:
		if (r >> 28 == 0)
			a.a[1] = conn;
		assert_int_equal(sluice_post(&f->st, 0, f->tag, 0, &a), 0);
		ask(W_POST, CONNS, f->n);
		break;
	case 12:
		if (r >> 30 != 0)
			break;
		a.a[0] = W_CALL;
		ask(W_CALL, CONNS, f->n);
		assert_int_equal(sluice_synch_call(&f->st, 0, f->tag, f->c[conn], &a), 0);
		assert_int_equal(f->nexp, 0);
		break;
	case 13:
		if (r >> 28 == 0)
			new_life(conn);
		break;
	default:
		poll_once(1 + (r >> 16) % 6);
	}
}

static void model(void **state)
{
	uint64_t ran[4] = {0}, nested = 0, stale = 0;

	for (uint32_t seed = 1; seed <= 300; seed++) {
		make(4096, false);
		f->seed = seed;
		f->rng = seed * 2654435761u;
		poll_once(1);
		for (int i = 0; i < 2000; i++)
			step(rnd());
		poll_once(100000);
		poll_once(100000);
		assert_int_equal(f->nexp, 0);
		for (uint32_t i = 1; i <= CONNS; i++) {
			struct sl_door *d = &f->sq->doors[i];

			assert_false(sl_door_has_chains(d));
			assert_int_equal(atomic_load(&d->word) &
					     ((SL_BELL_QUEUED << SL_NODES) - 1) &
					     ~(uint64_t)SL_BELL_LATE,
			    0);
		}
		for (int i = 0; i < 4; i++)
			ran[i] += f->ran[i];
		nested += f->nested;
		stale += sum().sq_stale;
		assert_int_equal(sum().sq_rings_late, 0);
		sluice_squeue_release(f->sq);
		unmake();
	}
	for (int i = 0; i < 4; i++)
		assert_true(ran[i] > 1000);
	assert_true(nested > 1000 && stale > 1000);
}

/* Without call slots a ring that comes again is never early and never lost. */
static void no_slots(void **state)
{
	struct sluice_args a = {{W_POST, CONNS, 1}};
	uint32_t slots[4];

	make(4, false);
	poll_once(1);
	assert_int_equal(sl_calls_reserve(&f->st, 4, slots), 0);
	sl_ring(&f->st, f->c[0], SL_BELL_FLOWCTRL);
	ask(W_RING, 0, SL_BELL_FLOWCTRL);
	sl_post_reserved(&f->st, 0, slots[0], SL_OP_USER, 0, &a);
	ask(W_POST, CONNS, 1);
	sl_ring(&f->st, f->c[0], SL_BELL_FLOWCTRL); /* late: at the end */
	a.a[2] = 2;
	sl_post_reserved(&f->st, 0, slots[1], SL_OP_USER, 0, &a);
	ask(W_POST, CONNS, 2);
	/* things that are asked once keep their places */
	sl_ring(&f->st, f->c[0], SL_BELL_SHUT_WR);
	ask(W_RING, 0, SL_BELL_SHUT_WR);
	a.a[2] = 3;
	sl_post_reserved(&f->st, 0, slots[2], SL_OP_USER, 0, &a);
	ask(W_POST, CONNS, 3);
	sl_ring(&f->st, f->c[0], SL_BELL_CLOSE | SL_BELL_CLOSED_ONCE);
	ask(W_RING, 0, SL_BELL_CLOSE);
	a.a[2] = 4;
	sl_post_reserved(&f->st, 0, slots[3], SL_OP_USER, 0, &a);
	ask(W_POST, CONNS, 4);
	sl_ring(&f->st, f->c[0], SL_BELL_ABORT | SL_BELL_ABORTED_ONCE);
	ask(W_RING, 0, SL_BELL_ABORT);
	ask(W_RING, 0, SL_BELL_FLOWCTRL);
	poll_once(100);
	assert_int_equal(f->nexp, 0);
	assert_int_equal(sum().sq_rings_late, 1);
	assert_int_equal(sum().sq_call_slots_empty, 1);
	sluice_squeue_release(f->sq);
	unmake();
}

/* ---- threads ---- */

static volatile int stop;

static void *squeue_thread(void *arg)
{
	return (void *)(intptr_t)sluice_squeue_run(f->sq, SLUICE_IDLE_YIELD, &stop, NULL);
}

/* Everything a producer asks for has the next number and must run as that. */
static void *producer(void *arg)
{
	uint32_t who = (uint32_t)(uintptr_t)arg, s = who * 77 + 1, rings = 0;
	struct prod *p = &prod[who];
	bool rang = false;

	for (uint32_t n = 0; n < PER_THREAD; n++) {
		struct sluice_args a = {{0, who, n}};

		/* No more in flight than there are slots, and numbers of rings. */
		while (n - atomic_load_explicit(&p->done, memory_order_relaxed) >= RINGS / 2)
			sched_yield();
		s = s * 1664525 + 1013904223;
		switch (s >> 29) {
		case 0 ... 2:
			push_chain((s >> 8) % CONNS, who, n);
			rang = false;
			break;
		case 3 ... 4:
			if (rang) { /* would share a place */
				n--;
				break;
			}
			p->ring_no[rings++ % RINGS] = n;
			if (sl_ring(&f->st, f->c[who], SL_BELL_FLOWCTRL) != 0)
				p->errors++;
			rang = true;
			break;
		case 5:
			if ((s >> 12) % 16 == 0) {
				if (sluice_synch_call(&f->st, 0, f->tag, f->c[0], &a) != 0 ||
				    atomic_load(&p->done) != n + 1)
					p->errors++;
				rang = false;
				break;
			}
			/* fall through */
		default:
			if (sluice_post(&f->st, 0, f->tag, 0, &a) != 0)
				p->errors++;
			rang = false;
		}
	}
	return NULL;
}

static void threads(void **state)
{
	pthread_t sq;
	void *rc;

	make(MAXP * RINGS, true);
	__atomic_store_n(&stop, 0, __ATOMIC_RELEASE);
	pthread_create(&sq, NULL, squeue_thread, NULL);
	for (uintptr_t i = 0; i < MAXP; i++)
		pthread_create(&prod[i].t, NULL, producer, (void *)i);
	for (int i = 0; i < MAXP; i++)
		pthread_join(prod[i].t, NULL);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	pthread_join(sq, &rc);
	assert_null(rc);
	poll_once(100000);
	for (int i = 0; i < MAXP; i++) {
		assert_int_equal(prod[i].errors, 0);
		assert_int_equal(atomic_load(&prod[i].done), PER_THREAD);
		assert_true(prod[i].rings_run > PER_THREAD / 10);
	}
	assert_int_equal(sum().sq_rings_late, 0);
	sluice_squeue_release(f->sq);
	unmake();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(model),
	    cmocka_unit_test(no_slots),
	    cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
