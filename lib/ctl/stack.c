/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making a stack of its layers, and taking it apart. Here, and only here, the layers are introduced
 * to each other: a lower layer calls a higher one through a table of hooks that it gets at birth.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <ctl/ctl_int.h>
#include <posix/so.h>
#include <sock/sock_int.h>

/* ---- hooks ---- */

static int64_t stack_op(
    struct sluice_squeue *sq, enum sl_op op, sluice_conn_t c, const struct sluice_args *args)
{
	switch (op) {
	case SL_OP_CONFIG:
		return sl_snapshot_op(sq, (struct sl_cfg *)(uintptr_t)args->a[0]);
	case SL_OP_ADDR_STATE:
		return sl_ip_addr_state(
		    sq, (uint16_t)args->a[0], (const struct sluice_addr *)(uintptr_t)args->a[1]);
	case SL_OP_PARK:
		return sl_drain_op(sq, args->a[0] != 0);
	case SL_OP_DETACH:
		return sl_so_op_detach(sq, c, args);
	case SL_OP_ATTACH:
		return sl_so_op_attach(sq, c, args);
	case SL_OP_MISC:
		return 0;
	default:
		return sl_sock_op(sq, op, c, args);
	}
}

static unsigned int stack_output(struct sluice_squeue *sq, unsigned int budget)
{
	unsigned int n = sl_tcp_output(sq, budget);

	return n + sl_ip_run_local(sq);
}

static unsigned int stack_deferred(struct sluice_squeue *sq)
{
	unsigned int n = sl_sock_zcopy_run(sq);

	n += sl_up_run_deferred(sq);
	if (SL_UNLIKELY(sq->tcp->retry))
		sl_move_retry(sq);
	return n;
}

static bool stack_pending(const struct sluice_squeue *sq)
{
	return sl_output_pending(sq) || sl_ip_local_pending(sq) || sl_sock_zcopy_pending(sq);
}

static const struct sl_hooks hooks = {
    .input = sl_ip_input,
    .data = sl_sock_data,
    .bell = sl_sock_bell,
    .note = sl_move_note,
    .op = stack_op,
    .output = stack_output,
    .deferred = stack_deferred,
    .pending = stack_pending,
};

static const struct sl_ip_hooks ip_hooks = {
    .tcp_input = sl_tcp_input,
    .tcp_icmp = sl_tcp_icmp,
    .flow_ready = sl_flow_is_ready,
    .tcp_owner = sl_tcp_owner,
};

/* ---- memory ---- */

static void *libc_alloc(void *arg, size_t size, size_t align)
{
	return aligned_alloc(align, (size + align - 1) & ~(align - 1));
}

static void libc_free(void *arg, void *p, size_t size)
{
	free(p);
}

/* ---- create ---- */

static const char *check_params(const struct sluice_stack_params *p)
{
	size_t len = p->name == NULL ? 0 : strlen(p->name);

	if (p->size != sizeof(*p))
		return "size";
	if (len == 0 || len > 31 ||
	    strspn(p->name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != len)
		return "name";
	if (p->nsqueues < 1 || p->nsqueues > SL_MAX_SQUEUES)
		return "nsqueues";
	if (p->max_connections < 16 || p->max_connections > 0xffffff)
		return "max_connections";
	if (p->hdr_pool == NULL || rte_pktmbuf_data_room_size(p->hdr_pool) < 384)
		return "hdr_pool";
	if (p->data_pool != NULL &&
	    rte_pktmbuf_data_room_size(p->data_pool) <= RTE_PKTMBUF_HEADROOM)
		return "data_pool"; /* no room for one byte: a copy would never end */
	if ((p->mem_alloc == NULL) != (p->mem_free == NULL))
		return "mem_alloc";
	if (p->tunables != NULL) {
		for (unsigned int i = 0; i < SLUICE_NTUNABLES; i++) {
			const struct sluice_tunable_info *info = sluice_tunable_info(i);
			uint64_t v = ((const uint64_t *)(const void *)p->tunables)[i];

			if (v < info->min || v > info->max)
				return info->name;
		}
	}
	return NULL;
}

static int seed_secrets(struct sluice_stack *st)
{
	uint64_t seed = st->params.seed;
	struct sl_sipkey *keys[] = {
	    &st->secret_table, &st->secret_iss, &st->secret_port, &st->secret_ts};

	if (seed == 0 && getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return -EIO;
	sl_rng_seed(&st->rng, seed, 0);
	for (unsigned int i = 0; i < 4; i++) {
		keys[i]->k[0] = sl_rng_u64(&st->rng);
		keys[i]->k[1] = sl_rng_u64(&st->rng);
		/* 64 bits of seed are not enough for four secrets of 128: without a seed they come
		 * from the system. */
		if (st->params.seed == 0 &&
		    getrandom(keys[i], sizeof(*keys[i]), 0) != sizeof(*keys[i]))
			return -EIO;
	}
	return 0;
}

static int make_squeues(struct sluice_stack *st)
{
	int rc;

	for (unsigned int i = 0; i < st->params.nsqueues; i++) {
		struct sluice_squeue *sq;

		rc = sl_squeue_create(st, i, &hooks, &sq);
		if (rc < 0)
			return rc;
		st->sq[i] = sq;
		st->nsq = i + 1;
		sl_rng_seed(&sq->rng, sl_rng_u64(&st->rng), i + 1);
		rc = sl_ip_create(sq, &ip_hooks);
		if (rc == 0)
			rc = sl_tcp_create(sq);
		if (rc == 0)
			rc = sl_sock_create(sq);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static void free_stack(struct sluice_stack *st, struct sluice_leaks *leaks)
{
	struct sluice_leaks local = {.size = sizeof(local)};

	sl_move_all_home(st);
	for (unsigned int i = 0; i < st->nsq; i++) {
		if (st->sq[i]->tcp == NULL)
			continue;
		sl_sock_destroy(st->sq[i]);
		sl_tcp_destroy(st->sq[i], &local);
	}
	for (unsigned int i = 0; i < st->nsq; i++) {
		/* Entries that were never run first: a configuration among them still needs its
		 * layer. */
		if (st->sq[i]->ip != NULL)
			sl_ip_destroy(st->sq[i]);
		local.timers += sl_app_timers(st->sq[i]);
	}
	for (unsigned int i = 0; i < st->nsq; i++)
		sl_squeue_cancel(st->sq[i], &local.calls);
	for (unsigned int i = 0; i < st->nsq; i++)
		sl_squeue_destroy(st->sq[i], &local.calls);
	local.sockets = sl_posix_destroy(st);
	sl_stash_drop_all(st);
	if (st->tcp_master != NULL)
		sl_tcp_master_destroy(st);
	sl_ctl_destroy(st);
	for (unsigned int i = 0; i < st->nports; i++)
		st->port[i].ops->destroy(st->port[i].ctx);
	if (st->calls != NULL)
		sl_calls_fini(st);
	pthread_mutex_destroy(&st->lock);
	pthread_mutex_destroy(&st->reset_lock);
	if (leaks != NULL)
		*leaks = local;
	free(st);
}

int sluice_stack_create(
    const struct sluice_stack_params *p, struct sluice_stack **out, const char **why)
{
	const char *bad = check_params(p);
	struct sluice_stack *st;
	int rc;

	if (why != NULL)
		*why = bad;
	if (bad != NULL)
		return -EINVAL;
	st = aligned_alloc(64, (sizeof(*st) + 63) & ~(size_t)63);
	if (st == NULL)
		return -ENOMEM;
	memset(st, 0, sizeof(*st));
	st->params = *p;
	strcpy(st->name, p->name);
	st->params.name = st->name;
	st->params.tunables = NULL;
	if (st->params.data_pool == NULL)
		st->params.data_pool = p->hdr_pool;
	if (p->tunables != NULL)
		st->tun = *p->tunables;
	else
		sluice_tunables_default(&st->tun);
	st->log.fn = p->log;
	st->log.arg = p->log_arg;
	st->mem.alloc = p->mem_alloc != NULL ? p->mem_alloc : libc_alloc;
	st->mem.free = p->mem_free != NULL ? p->mem_free : libc_free;
	st->mem.arg = p->mem_arg;
	pthread_mutex_init(&st->lock, NULL);
	pthread_mutex_init(&st->reset_lock, NULL);

	rc = seed_secrets(st);
	if (rc == 0)
		rc = sl_calls_init(st);
	if (rc == 0)
		rc = sl_tcp_master_create(st);
	if (rc == 0)
		rc = sl_posix_create(st);
	if (rc == 0)
		rc = make_squeues(st);
	if (rc == 0)
		rc = sl_ctl_create(st);
	if (rc < 0) {
		free_stack(st, NULL);
		return rc;
	}
	*out = st;
	return 0;
}

int sluice_stack_destroy(struct sluice_stack *st, struct sluice_leaks *leaks)
{
	for (unsigned int i = 0; i < st->nsq; i++) {
		/* A squeue that this thread polls is released here: it cannot be inside a pass and
		 * here at once. */
		if (sl_on_squeue(st->sq[i])) {
			if (st->sq[i]->in_pass)
				return -EBUSY;
		} else if (atomic_load(&st->sq[i]->owner) != 0) {
			return -EBUSY;
		}
	}
	for (unsigned int i = 0; i < st->nsq; i++) {
		struct sluice_squeue *sq = st->sq[i];

		if (st->app.fini != NULL && atomic_load(&st->running))
			st->app.fini(sq, st->app.arg);
		if (sl_on_squeue(sq))
			sluice_squeue_release(sq);
	}
	free_stack(st, leaks);
	return 0;
}

int sluice_stack_memory(const struct sluice_stack *st, struct sluice_memory *m)
{
	if (m == NULL || m->size != sizeof(*m))
		return -EINVAL;
	m->slabs = m->doors = m->tables = 0;
	for (unsigned int i = 0; i < st->nsq; i++) {
		const struct sluice_squeue *sq = st->sq[i];

		const struct sl_slab *conns = &sq->tcp->conns;
		uint64_t chunks = __atomic_load_n(&conns->nchunks, __ATOMIC_RELAXED);

		m->slabs += __atomic_load_n(&conns->bytes, __ATOMIC_RELAXED);
		m->tables += sq->tcp->tab.bytes;
		m->doors += (chunks << conns->per_shift) * sizeof(struct sl_door);
	}
	return 0;
}

const char *sluice_stack_name(const struct sluice_stack *st)
{
	return st->name;
}

unsigned int sluice_stack_nsqueues(const struct sluice_stack *st)
{
	return st->nsq;
}

/* ---- ports ---- */

int sluice_port_add(struct sluice_stack *st, struct sluice_driver d)
{
	struct sluice_port_info info = {.size = sizeof(info)};
	unsigned int n = st->nports;
	int rc;

	if (d.ops == NULL || d.ops->size < sizeof(*d.ops) || d.ops->rx == NULL ||
	    d.ops->tx == NULL || d.ops->info == NULL || d.ops->destroy == NULL)
		return -EINVAL;
	if (atomic_load(&st->running))
		return -EBUSY;
	if (n == SL_MAX_PORTS)
		return -ENOSPC;
	rc = d.ops->info(d.ctx, &info);
	if (rc < 0)
		return rc;
	if (info.nqueues == 0 || info.nqueues > SLUICE_PORT_QUEUES || info.mtu < 68)
		return -EINVAL;
	for (unsigned int i = 0; i < st->nsq; i++) {
		rc = sl_squeue_add_port(st->sq[i], n, d, &info);
		if (rc < 0) {
			while (i-- > 0)
				sl_squeue_drop_port(st->sq[i]);
			return rc;
		}
	}
	st->port[n] = d;
	st->nports = n + 1;
	return (int)n;
}

int sluice_port_info(
    const struct sluice_stack *st, unsigned int port, struct sluice_port_info *info)
{
	if (port >= st->nports)
		return -ENOENT;
	return st->port[port].ops->info(st->port[port].ctx, info);
}

int sluice_port_stats(
    const struct sluice_stack *st, unsigned int port, struct sluice_port_stats *stats)
{
	if (port >= st->nports)
		return -ENOENT;
	memset(stats, 0, sizeof(*stats));
	stats->size = sizeof(*stats);
	if (st->port[port].ops->stats != NULL)
		st->port[port].ops->stats(st->port[port].ctx, stats);
	return 0;
}

unsigned int sluice_input(struct sluice_squeue *sq, unsigned int port, struct rte_mbuf **pkts,
    unsigned int n, uint64_t now)
{
	if (now > sq->now)
		sq->now = now;
	return sl_ip_input_push(sq, port, pkts, n);
}
