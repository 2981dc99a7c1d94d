/* SPDX-License-Identifier: BSD-3-Clause */
/* The send queue against the stream that was put in: append, attach by reference and by copy,
 * split, acknowledge; and the credit that the producer sees. */
#include "script.h"

static uint32_t x = 3;

static uint32_t rnd(uint32_t n)
{
	x = x * 1664525 + 1013904223;
	return (x >> 8) % n;
}

struct sq_model {
	struct script *s;
	struct sluice_squeue *sq;
	struct sl_conn *c;
	uint32_t put, sent; /* bytes ever */
};

static void open_model(struct sq_model *q, uint32_t base)
{
	q->s = script_start(NULL);
	q->sq = q->s->sq;
	q->c = sl_conn_alloc(q->sq, AF_INET, 0);
	assert_non_null(q->c);
	q->c->snd_una = q->c->snd_nxt = q->c->snd_max = base;
	q->put = q->sent = 0;
}

static void append(struct sq_model *q, uint32_t len, unsigned int parts)
{
	struct rte_mbuf *head = NULL;
	uint8_t b[8192];

	for (uint32_t i = 0; i < len; i++)
		b[i] = script_byte(q->put + i, false);
	for (unsigned int k = 0; k < parts; k++) {
		uint32_t from = len * k / parts, to = len * (k + 1) / parts;
		struct rte_mbuf *m = tp_exact(q->s->pool, b + from, (uint16_t)(to - from), 0);

		if (head == NULL)
			head = m;
		else
			assert_int_equal(rte_pktmbuf_chain(head, m), 0);
	}
	atomic_fetch_add(&sl_conn_door(q->sq, q->c)->queued, len);
	sl_sendq_append(q->sq, q->c, head, len, 0);
	q->put += len;
}

/* As splice does it: small pieces go into the room behind the queue's last byte, the rest is a chain
 * of its own. Buffers have room here. */
static void absorb(struct sq_model *q, uint32_t len, unsigned int parts)
{
	struct rte_mbuf *head = NULL;
	uint32_t n, before = q->c->sndq_bytes;
	unsigned int segs = 0;

	for (unsigned int k = 0; k < parts; k++) {
		uint32_t from = len * k / parts, to = len * (k + 1) / parts;
		struct rte_mbuf *m = rte_pktmbuf_alloc(q->s->pool);
		uint8_t *b = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(to - from));

		for (uint32_t i = from; i < to; i++)
			b[i - from] = script_byte(q->put + i, false);
		if (head == NULL)
			head = m;
		else
			assert_int_equal(rte_pktmbuf_chain(head, m), 0);
	}
	atomic_fetch_add(&sl_conn_door(q->sq, q->c)->queued, len);
	n = before > 0 ? sl_sendq_absorb(q->sq, q->c, &head) : 0;
	assert_int_equal(q->c->sndq_bytes, before + n);
	if (head != NULL) {
		for (const struct rte_mbuf *m = head; m != NULL; m = m->next)
			segs++;
		assert_int_equal(head->pkt_len, len - n);
		assert_int_equal(head->nb_segs, segs);
		sl_sendq_append(q->sq, q->c, head, len - n, 0);
	}
	assert_true(head != NULL || n == len);
	q->put += len;
}

/* What a transmission of these bytes would carry. */
static void check_bytes(struct sq_model *q, struct sl_rec *r, uint32_t una_off)
{
	struct rte_mbuf *hdr = rte_pktmbuf_alloc(q->s->pool);
	uint32_t off = r->start - q->c->snd_una + una_off, len = r->end - r->start, at = 0;

	assert_non_null(rte_pktmbuf_append(hdr, 20));
	assert_int_equal(sl_sendq_attach(q->sq, q->c, hdr, r->m, r->off, len), 0);
	assert_int_equal(hdr->pkt_len, 20 + len);
	rte_mbuf_sanity_check(hdr, 1);
	for (const struct rte_mbuf *m = hdr; m != NULL; m = m->next) {
		for (uint32_t i = m == hdr ? 20 : 0; i < m->data_len; i++, at++)
			assert_int_equal(*rte_pktmbuf_mtod_offset(m, const uint8_t *, i),
			    script_byte(off + at, false));
		if (m != hdr)
			assert_false(RTE_MBUF_DIRECT(m)); /* by reference, unless short */
	}
	assert_int_equal(hdr->nb_segs == 1, len <= q->sq->tun.tcp_copy_below);
	assert_int_equal(at, len);
	rte_pktmbuf_free(hdr);
}

static uint32_t held(struct sq_model *q)
{
	struct sl_door *d = sl_conn_door(q->sq, q->c);

	return atomic_load(&d->queued) - atomic_load(&d->pub.credit);
}

static void send_some(struct sq_model *q, uint32_t len)
{
	struct sl_conn *c = q->c;

	len = RTE_MIN(len, q->put - q->sent);
	if (len == 0)
		return;
	assert_non_null(
	    sl_rec_add(q->sq, c, c->snd_nxt, c->snd_nxt + len, c->snd_m, c->snd_off, 0));
	c->snd_nxt = c->snd_max = c->snd_nxt + len;
	q->sent += len;
	/* The cursor of output. */
	c->snd_off += len;
	while (c->snd_m != NULL && c->snd_off >= c->snd_m->data_len) {
		c->snd_off -= c->snd_m->data_len;
		c->snd_m = c->snd_m->next;
	}
}

static void random_stream(void **state)
{
	for (int round = 0; round < 4; round++) {
		struct sq_model q;
		uint32_t acked = 0, base = round % 2 ? 0xffffc000u : 77;

		open_model(&q, base);
		for (int i = 0; i < 2000; i++) {
			struct sl_rec *r;
			uint32_t n;

			switch (rnd(4)) {
			case 0:
				n = 1 + rnd(rnd(2) ? 4000 : 50);
				if (rnd(3) == 0)
					absorb(&q, 1 + n % 700, 1 + rnd(n > 8 ? 4 : 1));
				else
					append(&q, n, 1 + rnd(n > 8 ? 4 : 1));
				break;
			case 1:
				send_some(&q, 1 + rnd(1500));
				break;
			case 2:
				for (r = q.c->rec_head; r != NULL && rnd(4) != 0; r = r->next)
					;
				if (r == NULL || r->end - r->start < 2)
					break;
				n = 1 + rnd(r->end - r->start - 1);
				assert_non_null(sl_rec_split(q.sq, q.c, r, r->start + n));
				break;
			default:
				n = rnd(q.sent - acked + 1);
				while (
				    (r = q.c->rec_head) != NULL && seq_le(r->end, q.c->snd_una + n))
					sl_rec_unlink(q.sq, q.c, r);
				if (r != NULL && seq_lt(r->start, q.c->snd_una + n))
					sl_rec_trim(q.c, r, q.c->snd_una + n);
				sl_sendq_acked(q.sq, q.c, q.c->snd_una + n);
				acked += n;
			}
			assert_int_equal(held(&q), q.put - acked);
			assert_int_equal(q.c->sndq_bytes, q.put - acked);
			assert_int_equal(q.c->snd_una, base + acked);
			n = q.c->snd_una;
			for (r = q.c->rec_head; r != NULL; r = r->next) {
				assert_int_equal(r->start, n);
				n = r->end;
				if (rnd(20) == 0)
					check_bytes(&q, r, acked);
			}
			assert_int_equal(n, q.c->snd_max);
		}
		sl_sendq_clear(q.sq, q.c);
		assert_int_equal(held(&q), 0);
		assert_int_equal(tp_out(q.s->pool), 0);
		sl_conn_free(q.sq, q.c);
		script_stop(q.s);
	}
}

static void no_buffer(void **state)
{
	struct sq_model q;
	struct rte_mbuf *hdr;

	open_model(&q, 1);
	append(&q, 3000, 3);
	hdr = rte_pktmbuf_alloc(q.s->pool);
	tp_fail_nth(q.s->pool, 2); /* the second piece */
	assert_int_equal(sl_sendq_attach(q.sq, q.c, hdr, q.c->sndq_head, 0, 3000), -ENOBUFS);
	rte_pktmbuf_free(hdr);
	assert_int_equal(tp_out(q.s->pool), 3);
	assert_int_equal(q.sq->ctr.port_tx_nomem, 1);
	sl_conn_free(q.sq, q.c);
	script_stop(q.s);
}

static void no_record(void **state)
{
	struct sluice_tunables t;
	struct script *s;

	script_tunables(&t);
	t.tcp_rec_max = 64;
	t.tcp_nodelay = 1;
	t.tcp_init_cwnd = 1000;
	s = script_start(&t);
	script_accept(s);
	for (int i = 0; i < 100; i++)
		script_say(s, 10, 0);
	assert_true(CTR(s, tcp_rec_nomem) > 0);
	assert_true(s->nout < 100);
	/* It goes on when there are records again. */
	for (int i = 0; i < 20; i++)
		IN(s, .flags = A, .seq = 1, .ack = script_conn(s)->snd_max - s->iss);
	assert_int_equal(script_conn(s)->snd_una - s->iss, 1001);
	script_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_stream),
	    cmocka_unit_test(no_buffer),
	    cmocka_unit_test(no_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
