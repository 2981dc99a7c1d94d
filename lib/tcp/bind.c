/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bind table of the stack: who holds which local address and port. It is written rarely and by
 * any squeue, so it stands under the stack's mutex; an lcore only tries that mutex (-EAGAIN), it
 * never waits for a control thread. Giving back needs no mutex: the row is marked dead, and swept
 * by whoever holds the mutex next.
 *
 * Ephemeral ports of connects do not come here: a port is free for a connect when the four-tuple
 * is, which only the squeue's own table knows, and port choices of different squeues are disjoint
 * because they must steer home.
 *
 * SO_REUSEPORT: bindings that all ask for it may share address and port. Each tuple of theirs is one
 * listener's (listen.c), or that of the one connection that was opened from there: the tuple's place
 * knows who has it (open.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <tcp/tcp_int.h>

#define BIND_BUCKETS 4096

struct sl_binding {
	struct sl_binding *next;
	struct sluice_addr addr;
	uint32_t vrf;
	uint16_t port;     /* network order */
	bool v4, v6;       /* families it covers */
	bool share;        /* SO_REUSEPORT */
	_Atomic bool dead; /* given back: freed by the next who holds the mutex and passes by */
};

struct sl_tcp_master {
	struct sl_binding *bucket[BIND_BUCKETS]; /* by port */
};

int sl_tcp_master_create(struct sluice_stack *st)
{
	st->tcp_master = calloc(1, sizeof(struct sl_tcp_master));
	return st->tcp_master == NULL ? -ENOMEM : 0;
}

void sl_tcp_master_destroy(struct sluice_stack *st)
{
	struct sl_tcp_master *m = st->tcp_master;

	for (unsigned int i = 0; i < BIND_BUCKETS; i++) {
		while (m->bucket[i] != NULL) {
			struct sl_binding *b = m->bucket[i];

			m->bucket[i] = b->next;
			free(b);
		}
	}
	free(m);
	st->tcp_master = NULL;
}

static struct sl_binding **bucket_of(struct sl_tcp_master *m, uint16_t port)
{
	return &m->bucket[ntohs(port) % BIND_BUCKETS];
}

static bool conflicts(const struct sl_binding *a, const struct sl_binding *b)
{
	if (a->port != b->port || a->vrf != b->vrf || !((a->v4 && b->v4) || (a->v6 && b->v6)))
		return false;
	return sl_addr_any(&a->addr) || sl_addr_any(&b->addr) || sl_addr_eq(&a->addr, &b->addr);
}

/* Does a binding stand in the way of this one? One that shares, too, unless `alone`. Also sweeps the
 * bucket. Under the mutex. */
static bool taken(struct sl_tcp_master *m, const struct sl_binding *want, bool alone)
{
	struct sl_binding **p = bucket_of(m, want->port);

	while (*p != NULL) {
		struct sl_binding *b = *p;

		/* Acquire: pairs with the release of sl_tcp_do_unbind, after which nobody else
		 * knows the row. */
		if (atomic_load_explicit(&b->dead, memory_order_acquire)) {
			*p = b->next;
			free(b);
			continue;
		}
		if (b != want && conflicts(b, want) && (alone || !b->share || !want->share))
			return true;
		p = &b->next;
	}
	return false;
}

/* A port of the ephemeral range that conflicts with nothing, from a random start (RFC 6056
 * algorithm 1). */
static int pick_free(struct sluice_squeue *sq, struct sl_tcp_master *m, struct sl_binding *b)
{
	uint32_t lo = (uint32_t)sq->tun.tcp_port_min, n = (uint32_t)(sq->tun.tcp_port_max - lo + 1);
	uint32_t start = (uint32_t)sl_rng_below(&sq->rng, n);

	for (uint32_t i = 0; i < n; i++) {
		b->port = htons((uint16_t)(lo + (start + i) % n));
		if (!taken(m, b, true))
			return 0;
	}
	SL_COUNT(sq, tcp_ports_exhausted);
	return -EADDRNOTAVAIL;
}

static bool v6only(const struct sl_conn *c)
{
	return c->opt != NULL && c->opt->v6only;
}

/* Which families a binding of this connection to `a` covers. */
static void families(struct sluice_squeue *sq, const struct sl_conn *c, const struct sluice_addr *a,
    struct sl_binding *b)
{
	bool is6 = sl_conn_door(sq, c)->pub.family == AF_INET6;

	b->v4 = sl_addr_is4(a) || (is6 && sl_addr_any(a) && !v6only(c));
	b->v6 = !sl_addr_is4(a);
}

static int check_address(
    struct sluice_squeue *sq, const struct sl_conn *c, const struct sluice_addr *a)
{
	if (sl_addr_is4(a) && sl_conn_door(sq, c)->pub.family == AF_INET6 && v6only(c))
		return -EADDRNOTAVAIL;
	if (!sl_addr_any(a) && !sl_ip_is_local(sq, c->key.vrf, a))
		return -EADDRNOTAVAIL;
	return 0;
}

int sl_tcp_do_bind(
    struct sluice_squeue *sq, struct sl_conn *c, const struct sluice_addr *a, uint16_t port)
{
	struct sl_tcp_master *m = sq->stack->tcp_master;
	struct sl_binding *b;
	int rc;

	if (c->state != SLUICE_IDLE)
		return -EINVAL;
	rc = check_address(sq, c, a);
	if (rc < 0)
		return rc;
	if (port != 0 && ntohs(port) < sq->tun.tcp_privileged_port && !sq->stack->params.privileged)
		return -EACCES;
	b = calloc(1, sizeof(*b));
	if (b == NULL)
		return -ENOBUFS;
	b->addr = *a;
	b->vrf = c->key.vrf;
	b->port = port;
	b->share = c->reuseport;
	families(sq, c, a, b);
	if (pthread_mutex_trylock(&sq->stack->lock) != 0) {
		free(b);
		return -EAGAIN;
	}
	if (port == 0)
		rc = pick_free(sq, m, b);
	else if (taken(m, b, false))
		rc = -EADDRINUSE;
	if (rc == 0) {
		b->next = *bucket_of(m, b->port);
		*bucket_of(m, b->port) = b;
	}
	pthread_mutex_unlock(&sq->stack->lock);
	if (rc < 0) {
		free(b);
		return rc;
	}
	c->key.laddr = *a;
	c->key.lport = b->port;
	c->binding = b;
	c->flags |= SL_C_BOUND_PORT;
	sl_conn_state(sq, c, SLUICE_BOUND);
	sl_conn_publish(sq, c);
	return 0;
}

void sl_tcp_do_unbind(struct sluice_squeue *sq, struct sl_conn *c)
{
	if (!(c->flags & SL_C_BOUND_PORT))
		return;
	atomic_store_explicit(&c->binding->dead, true, memory_order_release);
	c->binding = NULL;
	c->flags &= ~SL_C_BOUND_PORT;
}

/* ---- ephemeral ports of connects ---- */

/*
 * RFC 6056 3.3.3: a hash of the destination under a secret (64 bits wide: CVE-2022-1012), and a
 * counter per hash bucket, so that a port comes again as late as can be. The hash is no offset but
 * the key of an order of all ports: one that a peer has seen does not tell the next.
 */
static uint64_t port_hash(struct sluice_squeue *sq, const struct sl_conn *c)
{
	struct sl_key k = c->key;

	k.lport = 0;
	return sl_siphash24(&sq->stack->secret_port, &k, sizeof(k));
}

/* Place number x of that order, x < n: a Feistel network over 16 bits, repeated until it ends below
 * n. */
static uint32_t port_at(const struct sluice_squeue *sq, uint64_t hash, uint32_t x, uint32_t n)
{
	do {
		for (uint32_t round = 0; round < 4; round++) {
			uint64_t in[2] = {hash, (uint64_t)round << 32 | (x & 0xff)};
			uint64_t f = sl_siphash13(&sq->stack->secret_port, in, sizeof(in));

			x = (x & 0xff) << 8 | ((x >> 8 ^ (uint32_t)f) & 0xff);
		}
	} while (x >= n);
	return x;
}

static bool steers_home(struct sluice_squeue *sq, const struct sl_conn *c)
{
	return sq->stack->nsq == 1 || sl_flow_steer(sq, &c->flow, &c->key) == sq->id;
}

/* Is the tuple free, or held by a TIME_WAIT entry that may go? Then *iss_min says above what to
 * begin. */
static bool tuple_free(struct sluice_squeue *sq, struct sl_conn *c, uint64_t hash)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	uint32_t ref = sl_conntab_lookup(&t->tab, &c->key, hash), iss_min, ts_min;

	if (ref == 0)
		return true;
	if (SL_REF_KIND(ref) != SL_REF_TW)
		return false;
	if (!sl_tw_reuse(sq, sl_slab_get(&t->tws, SL_REF_IDX(ref)), &iss_min, &ts_min))
		return false;
	c->iss = iss_min;
	return true;
}

int sl_tcp_pick_port(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	uint32_t lo = (uint32_t)sq->tun.tcp_port_min, n = (uint32_t)(sq->tun.tcp_port_max - lo + 1);
	uint64_t h = port_hash(sq, c);
	uint32_t *ctr = &t->port_next[h >> 56];
	bool self = sl_addr_eq(&c->key.laddr, &c->key.raddr);

	c->iss = 0;
	for (uint32_t i = 0; i < n; i++) {
		c->key.lport = htons((uint16_t)(lo + port_at(sq, h, (*ctr)++ % n, n)));
		if (self && c->key.lport == c->key.rport)
			continue;
		if (!steers_home(sq, c))
			continue;
		if (tuple_free(sq, c, sl_conntab_hash(&t->tab, &c->key)))
			return 0;
	}
	c->key.lport = 0;
	SL_COUNT(sq, tcp_ports_exhausted);
	return -EADDRNOTAVAIL;
}
