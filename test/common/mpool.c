/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pool is a real rte_mempool as far as the inline functions of rte_mbuf.h look into it: header,
 * mbuf pool private area, no cache, and an ops table entry of ours. There is nothing behind it but
 * malloc: a get makes the object, a put frees it. An object is one allocation
 *
 *	[ rte_mempool_objhdr, padded to a cache line | rte_mbuf | buffer, headroom included ]
 *
 * that ends with the last byte of the buffer. rte_pktmbuf_detach() reads the object header (for the
 * IO address). The counts are atomic: squeue tests allocate and free on several threads.
 */
#include "mpool.h"

#include <errno.h>
#include <rte_mempool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TP_HDR 64
#define TP_OPS_NAME "test_libc"

_Static_assert(sizeof(struct rte_mempool_objhdr) <= TP_HDR, "the mbuf must stay on a cache line");

struct tp_state {
	_Atomic uint32_t out;
	_Atomic uint32_t limit; /* 0: none */
	_Atomic uint32_t fail;  /* allocations until the one that fails, 0: none */
};

static struct tp_state *tp_state(const struct rte_mempool *mp)
{
	return mp->pool_data;
}

/* One object whose buffer has buf_len bytes, or NULL. It is not counted here. */
static struct rte_mbuf *tp_object(struct rte_mempool *mp, uint16_t buf_len)
{
	struct rte_mempool_objhdr *hdr;
	struct rte_mbuf *m;
	void *mem;

	if (posix_memalign(&mem, TP_HDR, TP_HDR + sizeof(*m) + buf_len) != 0)
		return NULL;
	memset(mem, 0, TP_HDR + sizeof(*m));
	m = (struct rte_mbuf *)((char *)mem + TP_HDR);
	hdr = rte_mempool_get_header(m);
	hdr->mp = mp;
	hdr->iova = (uintptr_t)m;
	m->buf_addr = (char *)(m + 1);
	m->buf_iova = (uintptr_t)m->buf_addr;
	m->buf_len = buf_len;
	m->data_off = RTE_MIN((uint16_t)RTE_PKTMBUF_HEADROOM, buf_len);
	m->pool = mp;
	m->nb_segs = 1;
	m->port = RTE_MBUF_PORT_INVALID;
	rte_mbuf_refcnt_set(m, 1);
	return m;
}

/* What rte_pktmbuf_free() guarantees of an mbuf that it gives back; a raw put by hand must keep it
 * too. */
static void tp_check_put(const struct rte_mempool *mp, const struct rte_mbuf *m)
{
	if (m->pool == mp && rte_mbuf_refcnt_read(m) == 1 && m->next == NULL && m->nb_segs == 1 &&
	    RTE_MBUF_DIRECT(m))
		return;
	fprintf(stderr,
	    "mbuf %p put back wrong: pool %p (is %p) refcnt %u next %p segs %u flags %#lx\n",
	    (const void *)m, (const void *)mp, (const void *)m->pool, rte_mbuf_refcnt_read(m),
	    (const void *)m->next, m->nb_segs, (unsigned long)m->ol_flags);
	abort();
}

/* Take n from what may still go out; all or nothing. */
static bool tp_reserve(struct tp_state *s, uint32_t n)
{
	uint32_t fail = s->fail, out = s->out, limit;

	while (fail != 0)
		if (atomic_compare_exchange_weak(&s->fail, &fail, fail - 1)) {
			if (fail == 1)
				return false;
			break;
		}
	do {
		limit = s->limit;
		if (limit != 0 && (out >= limit || n > limit - out))
			return false;
	} while (!atomic_compare_exchange_weak(&s->out, &out, out + n));
	return true;
}

static void tp_free_object(void *obj)
{
	free((char *)obj - TP_HDR);
}

static int tp_op_alloc(struct rte_mempool *mp)
{
	return -ENOTSUP; /* only tp_create() makes such pools */
}

static void tp_op_free(struct rte_mempool *mp)
{
}

static int tp_op_enqueue(struct rte_mempool *mp, void *const *objs, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		tp_check_put(mp, objs[i]);
		tp_free_object(objs[i]);
	}
	tp_state(mp)->out -= n;
	return 0;
}

static int tp_op_dequeue(struct rte_mempool *mp, void **objs, unsigned int n)
{
	if (!tp_reserve(tp_state(mp), n))
		return -ENOBUFS;
	for (unsigned int i = 0; i < n; i++) {
		objs[i] = tp_object(mp, (uint16_t)(mp->elt_size - sizeof(struct rte_mbuf)));
		if (objs[i] == NULL) {
			while (i-- > 0)
				tp_free_object(objs[i]);
			tp_state(mp)->out -= n;
			return -ENOBUFS;
		}
	}
	return 0;
}

static unsigned int tp_op_count(const struct rte_mempool *mp)
{
	uint32_t out = tp_state(mp)->out;

	return out < mp->size ? mp->size - out : 0;
}

static const struct rte_mempool_ops tp_ops = {
    .name = TP_OPS_NAME,
    .alloc = tp_op_alloc,
    .free = tp_op_free,
    .enqueue = tp_op_enqueue,
    .dequeue = tp_op_dequeue,
    .get_count = tp_op_count,
};

RTE_MEMPOOL_REGISTER_OPS(tp_ops)

struct rte_mempool *tp_create(uint16_t data_room, uint32_t limit)
{
	size_t size = sizeof(struct rte_mempool) + sizeof(struct rte_pktmbuf_pool_private);
	struct rte_pktmbuf_pool_private *priv;
	struct rte_mempool *mp;
	struct tp_state *s;
	void *mem;

	s = calloc(1, sizeof(*s));
	if (s == NULL || posix_memalign(&mem, RTE_CACHE_LINE_SIZE, size) != 0) {
		free(s);
		return NULL;
	}
	memset(mem, 0, size);
	mp = mem;
	snprintf(mp->name, sizeof(mp->name), "tp%p", mem);
	mp->elt_size = sizeof(struct rte_mbuf) + data_room;
	mp->header_size = TP_HDR;
	mp->private_data_size = sizeof(*priv);
	mp->socket_id = SOCKET_ID_ANY;
	STAILQ_INIT(&mp->elt_list);
	STAILQ_INIT(&mp->mem_list);
	priv = rte_mempool_get_priv(mp);
	priv->mbuf_data_room_size = data_room;
	if (rte_mempool_set_ops_byname(mp, TP_OPS_NAME, NULL) != 0) {
		free(s);
		free(mem);
		return NULL;
	}
	mp->flags = RTE_MEMPOOL_F_POOL_CREATED | RTE_MEMPOOL_F_NON_IO;
	mp->pool_data = s;
	tp_set_limit(mp, limit);
	return mp;
}

uint32_t tp_destroy(struct rte_mempool *mp)
{
	uint32_t out;

	if (mp == NULL)
		return 0;
	out = tp_state(mp)->out;
	free(mp->pool_data);
	free(mp);
	return out;
}

uint32_t tp_out(const struct rte_mempool *mp)
{
	return tp_state(mp)->out;
}

void tp_fail_nth(struct rte_mempool *mp, uint32_t n)
{
	tp_state(mp)->fail = n;
}

void tp_set_limit(struct rte_mempool *mp, uint32_t limit)
{
	tp_state(mp)->limit = limit;
	mp->size = limit != 0 ? limit : UINT32_MAX;
	mp->populated_size = mp->size;
}

struct rte_mbuf *tp_exact(struct rte_mempool *mp, const void *data, uint16_t len, uint16_t headroom)
{
	struct rte_mbuf *m;

	if ((uint32_t)len + headroom > UINT16_MAX || !tp_reserve(tp_state(mp), 1))
		return NULL;
	m = tp_object(mp, (uint16_t)(headroom + len));
	if (m == NULL) {
		tp_state(mp)->out--;
		return NULL;
	}
	m->data_off = headroom;
	m->data_len = len;
	m->pkt_len = len;
	if (len != 0)
		memcpy(rte_pktmbuf_mtod(m, void *), data, len);
	return m;
}
