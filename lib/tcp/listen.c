/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listeners: a group with one shard per squeue. The group (address, backlog, what eagers inherit)
 * is shared; its counts are atomics; each squeue finds it in a private array. A SYN is answered on
 * the squeue where it arrives.
 *
 * Listening is two-phase: all memory and all call slots, those of the later close included, are
 * taken first; then shards are installed by entries that cannot fail. Closing goes the same way
 * back: each squeue drops its shard, half-open entries and unaccepted eagers and reports home; the
 * last report ends the listener.
 *
 * Several groups may have one address and port (SO_REUSEPORT). A SYN's tuple then draws a number with
 * each of them, and the highest has it: on every squeue the same, and one that joins or leaves takes
 * tuples from, or gives them to, the others alike without changing what any two others share. What is
 * half-open or established holds its own group and is not asked again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <tcp/tcp_int.h>

/* ---- shards of one squeue ---- */

static bool group_covers(const struct sl_group *g, const struct sluice_addr *a)
{
	if (!sl_addr_any(&g->addr))
		return sl_addr_eq(&g->addr, a);
	return sl_addr_is4(a) ? !g->is6 || !g->v6only : g->is6;
}

/* The number that a tuple draws with a group (rendezvous hashing). */
static uint64_t draw(const struct sl_group *g, uint64_t hash)
{
	uint64_t x = (hash ^ g->salt) * 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
	return x ^ x >> 32;
}

struct sl_group *sl_listener_find(struct sluice_squeue *sq, const struct sl_key *key)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_group *best = NULL;
	uint64_t hash = 0;

	for (uint32_t i = 0; i < t->nlisteners; i++) {
		struct sl_group *g = t->listeners[i];
		bool exact = !sl_addr_any(&g->addr); /* the better match */

		if (g->port != key->lport || g->vrf != key->vrf || !group_covers(g, &key->laddr))
			continue;
		if (best != NULL && exact == !sl_addr_any(&best->addr)) {
			if (hash == 0)
				hash = sl_conntab_hash(&t->tab, key);
			if (draw(g, hash) > draw(best, hash))
				best = g;
		} else if (best == NULL || exact) {
			best = g;
		}
	}
	return best;
}

int64_t sl_listen_add(struct sluice_squeue *sq, struct sl_group *g)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	if (t->nlisteners == t->cap_listeners) {
		uint32_t cap = t->cap_listeners == 0 ? 16 : t->cap_listeners * 2;
		struct sl_group **p = realloc(t->listeners, cap * sizeof(*p));

		if (p == NULL) {
			SL_COUNT(sq, tcp_conn_nomem);
			return -ENOMEM;
		}
		t->listeners = p;
		t->cap_listeners = cap;
	}
	t->listeners[t->nlisteners++] = g;
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	return 0;
}

static bool shard_remove(struct sluice_squeue *sq, struct sl_group *g)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	for (uint32_t i = 0; i < t->nlisteners; i++) {
		if (t->listeners[i] == g) {
			t->listeners[i] = t->listeners[--t->nlisteners];
			return true;
		}
	}
	return false;
}

static void drop_child(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_group *g)
{
	if (c->group != g || !(c->flags & SL_C_ACCEPT_PENDING) || c->state == SLUICE_CLOSED)
		return;
	(void)sl_output_ctl(sq, c, sl_rst_seq(c), SL_TH_RST | SL_TH_ACK);
	sl_conn_drop(sq, c, ECONNABORTED);
}

/* What arrived through the group and was not accepted goes with it; also what a parked squeue handed
 * over. What is on its way yet finds `closing` where it arrives. */
static void drop_children(struct sluice_squeue *sq, struct sl_group *g)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_half *h, *next;

	for (h = t->half_head; h != NULL; h = next) {
		next = h->next;
		if (h->group == g) {
			SL_COUNT(sq, tcp_halfopen_drop);
			sl_half_free(sq, h);
		}
	}
	if (atomic_load_explicit(&g->pending, memory_order_relaxed) == 0)
		return;
	for (uint32_t i = sl_slab_next(&t->conns, 0); i != 0; i = sl_slab_next(&t->conns, i)) {
		struct sl_conn *c = sl_slab_get(&t->conns, i);

		/* Those that are elsewhere are not ours to look at. */
		if (sl_door_owner(c->door) == sq->id)
			drop_child(sq, c, g);
	}
	for (struct sl_conn *c = t->guests; c != NULL; c = c->door->transit->guest_next)
		drop_child(sq, c, g);
}

static void group_free(struct sl_group *g)
{
	struct sl_inherit *h = g->inherit, *older;

	for (; h != NULL; h = older) {
		older = h->older;
		free(h);
	}
	free(g);
}

void sl_group_unref(struct sl_group *g)
{
	/* acq_rel: the last one to let go sees all writes of those before, and frees. */
	if (atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) == 1)
		group_free(g);
}

/* ---- listen ---- */

/* Slots for adding, removing and reporting, per squeue but the home one. */
static int reserve_slots(struct sluice_squeue *sq, struct sl_group *g, uint32_t *add)
{
	unsigned int n = sq->stack->nsq;

	if (n == 1)
		return 0;
	if (sl_calls_reserve(sq->stack, n, add) < 0)
		return -ENOBUFS;
	if (sl_calls_reserve(sq->stack, n, g->del_slot) < 0) {
		sl_calls_unreserve(sq->stack, n, add);
		return -ENOBUFS;
	}
	if (sl_calls_reserve(sq->stack, n, g->ack_slot) < 0) {
		sl_calls_unreserve(sq->stack, n, add);
		sl_calls_unreserve(sq->stack, n, g->del_slot);
		return -ENOBUFS;
	}
	return 0;
}

static void install_elsewhere(struct sluice_squeue *sq, struct sl_group *g, const uint32_t *add)
{
	struct sluice_args args = {{(uintptr_t)g}};

	if (sq->stack->nsq == 1)
		return;
	for (unsigned int i = 0; i < sq->stack->nsq; i++) {
		if (i == sq->id)
			continue;
		g->acks_left++;
		sl_post_reserved(sq->stack, i, add[i], SL_OP_LISTEN_ADD, g->handle, &args);
	}
	/* The slots of the home squeue itself are not needed. */
	sl_calls_unreserve(sq->stack, 1, &add[sq->id]);
	sl_calls_unreserve(sq->stack, 1, &g->del_slot[sq->id]);
	sl_calls_unreserve(sq->stack, 1, &g->ack_slot[sq->id]);
}

static struct sl_group *group_new(struct sluice_squeue *sq, struct sl_conn *c, uint32_t backlog)
{
	struct sl_group *g = calloc(1, sizeof(*g));

	if (g == NULL)
		return NULL;
	g->st = sq->stack;
	g->handle = sl_conn_handle(sq, c);
	g->salt = sl_siphash13(&sq->stack->secret_table, &g->handle, sizeof(g->handle));
	g->addr = c->key.laddr;
	g->port = c->key.lport;
	g->vrf = c->key.vrf;
	g->is6 = sl_conn_door(sq, c)->pub.family == AF_INET6 && !sl_addr_is4(&c->key.laddr);
	g->v6only = c->opt != NULL && c->opt->v6only;
	g->up = c->up;
	g->up_arg = c->up_arg;
	atomic_init(&g->backlog, backlog);
	atomic_init(&g->refs, 1); /* the listening connection's */
	if (sl_conn_to_group(c, g) < 0) {
		free(g);
		return NULL;
	}
	return g;
}

int sl_tcp_do_listen(struct sluice_squeue *sq, struct sl_conn *c, int backlog)
{
	uint32_t most = (uint32_t)sq->tun.tcp_backlog_max,
		 want = backlog < 1 ? 1 : (uint32_t)backlog;
	uint32_t add[SL_MAX_SQUEUES];
	struct sl_group *g;
	int rc;

	if (want > most)
		want = most;
	if (c->state == SLUICE_LISTEN) {
		atomic_store_explicit(&c->group->backlog, want, memory_order_relaxed);
		sl_up_opctl(sq, c, SLUICE_OPCTL_ENAB_ACCEPT, want);
		return 0;
	}
	if (c->state == SLUICE_IDLE) {
		struct sluice_addr any = {.q = {0, 0}};

		if (sl_conn_door(sq, c)->pub.family == AF_INET)
			any = sl_addr4(0);
		rc = sl_tcp_do_bind(sq, c, &any, 0);
		if (rc < 0)
			return rc;
	}
	if (c->state != SLUICE_BOUND)
		return -EINVAL;
	g = group_new(sq, c, want);
	if (g == NULL)
		return -ENOBUFS;
	rc = reserve_slots(sq, g, add);
	if (rc == 0 && sl_listen_add(sq, g) < 0) {
		if (sq->stack->nsq > 1) {
			sl_calls_unreserve(sq->stack, sq->stack->nsq, add);
			sl_calls_unreserve(sq->stack, sq->stack->nsq, g->del_slot);
			sl_calls_unreserve(sq->stack, sq->stack->nsq, g->ack_slot);
		}
		rc = -ENOBUFS;
	}
	if (rc < 0) {
		group_free(g);
		return rc;
	}
	c->group = g;
	install_elsewhere(sq, g, add);
	sl_conn_state(sq, c, SLUICE_LISTEN);
	sl_conn_publish(sq, c);
	sl_up_opctl(sq, c, SLUICE_OPCTL_ENAB_ACCEPT, want);
	return 0;
}

/* ---- the way back ---- */

static void listener_ended(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_group *g = c->group;

	c->group = NULL;
	sl_group_unref(g);
	sl_conn_drop(sq, c, 0);
}

#define LISTEN_DEL_ACK 1 /* a[1]: a squeue reports that it has let go */

int64_t sl_listen_del(struct sluice_squeue *sq, struct sl_group *g)
{
	struct sluice_args ack = {{(uintptr_t)g, LISTEN_DEL_ACK}};
	uint32_t slot = g->ack_slot[sq->id], home = SL_HANDLE_SQ(g->handle);
	struct sluice_stack *st = g->st;
	sluice_conn_t handle = g->handle;

	if (shard_remove(sq, g)) {
		drop_children(sq, g);
		sl_group_unref(g);
	}
	sl_post_reserved(st, home, slot, SL_OP_LISTEN_DEL, handle, &ack);
	return 0;
}

int64_t sl_listen_del_ack(struct sluice_squeue *sq, struct sl_group *g)
{
	struct sl_conn *c = sl_conn_get(sq, g->handle);

	if (c != NULL && --g->acks_left == 0)
		listener_ended(sq, c);
	return 0;
}

void sl_tcp_unlisten(struct sluice_squeue *sq, struct sl_conn *c)
{
	struct sl_group *g = c->group;

	if (atomic_exchange(&g->closing, true))
		return;
	if (shard_remove(sq, g)) {
		drop_children(sq, g);
		sl_group_unref(g); /* the shard's; the connection's own is still held */
	}
	sl_tcp_do_unbind(sq, c);
	for (unsigned int i = 0; i < sq->stack->nsq; i++) {
		struct sluice_args args = {{(uintptr_t)g, 0}};

		if (i != sq->id)
			sl_post_reserved(
			    sq->stack, i, g->del_slot[i], SL_OP_LISTEN_DEL, g->handle, &args);
	}
	if (g->acks_left == 0)
		listener_ended(sq, c);
}
