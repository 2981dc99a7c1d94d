/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A peer that sends what costs most: tiny segments, never the one that is missing, in the worst
 * order. Work is counted in bytes that the stack moves (the linker sends its memmove here), memory
 * in mbufs.
 */
#include "script.h"

static size_t moved, moved_most;

void *__real_memmove(void *to, const void *from, size_t n);
void *__wrap_memmove(void *to, const void *from, size_t n);

void *__wrap_memmove(void *to, const void *from, size_t n)
{
	moved += n;
	if (n > moved_most)
		moved_most = n;
	return __real_memmove(to, from, n);
}

/* Another connection of the same squeue goes on, whatever the first one gets. */
struct flow {
	uint16_t sport;
	uint32_t isn, iss, seq, last_tsval;
	sluice_conn_t c;
};

static void swap(struct script *s, struct flow *f)
{
	struct flow now = {s->sport, s->isn, s->iss, 0, s->last_tsval, s->c};

	s->sport = f->sport;
	s->isn = f->isn;
	s->iss = f->iss;
	s->last_tsval = f->last_tsval;
	s->c = f->c;
	now.seq = f->seq;
	*f = now;
}

static void serves_other(struct script *s, struct flow *other, uint32_t *sent)
{
	size_t got = s->got;

	swap(s, other);
	s->got = *sent;
	IN(s, .flags = A | P, .seq = 1 + *sent, .ack = 1, .len = 100);
	*sent += 100;
	assert_int_equal(script_conn(s)->rcv_nxt - s->isn, 1 + *sent);
	assert_int_equal(script_conn(s)->rcvq_bytes, 0);
	swap(s, other);
	assert_int_equal(s->got, *sent);
	s->got = got;
	script_forget(s);
}

static void two(struct script *s, struct flow *other)
{
	script_accept(s);
	*other = (struct flow){.sport = 6666, .isn = 77};
	swap(s, other);
	script_accept(s);
	swap(s, other);
	script_forget(s);
}

/* SegmentSmack: one byte in every two, from behind, and never the first. */
static void tiny_segments_from_behind(void **state)
{
	struct sluice_tunables t;
	struct flow other;
	struct script *s;
	uint32_t sent = 0, base, holes = 20000;
	size_t n = 0;

	script_tunables(&t);
	s = script_start(&t);
	two(s, &other);
	base = tp_out(s->pool);
	moved = moved_most = 0;
	for (uint32_t i = holes; i > 0; i--, n++) {
		IN(s, .flags = A, .seq = 1 + 2 * i, .ack = 1, .len = 1);
		script_forget(s);
		if (i % 1000 == 0)
			serves_other(s, &other, &sent);
	}
	assert_int_equal(sent, 2000);
	assert_int_equal(sl_rcv_ooo_bytes(script_conn(s)), t.tcp_ooo_holes);
	assert_int_equal(CTR(s, tcp_ooo_drop), holes - t.tcp_ooo_holes);
	/* Memory: a buffer for each that is kept. Work: never more than the row of blocks. */
	assert_true(tp_out(s->pool) - base <= t.tcp_ooo_holes);
	assert_true(moved_most <= t.tcp_ooo_holes * 64);
	assert_true(moved <= n * t.tcp_ooo_holes * 64);
	/* The missing bytes come: what was kept counts, what was dropped comes again. */
	for (uint32_t i = 0; i <= holes; i++) {
		IN(s, .flags = A, .seq = 1 + 2 * i, .ack = 1, .len = 2);
		script_forget(s);
	}
	assert_int_equal(script_conn(s)->rcv_nxt - s->isn, 1 + 2 * holes + 2);
	assert_int_equal(sl_rcv_ooo_bytes(script_conn(s)), 0);
	assert_int_equal(tp_out(s->pool), base);
	script_stop(s);
}

/* The same without holes between: runs that grow are not counted against the number of runs, but
 * segments are. */
static void tiny_segments_in_one_run(void **state)
{
	struct sluice_tunables t;
	struct script *s;
	uint32_t base;

	script_tunables(&t);
	s = script_start(&t);
	script_accept(s);
	base = tp_out(s->pool);
	for (uint32_t i = 0; i < 20000; i++) {
		IN(s, .flags = A, .seq = 3 + i, .ack = 1, .len = 1);
		script_forget(s);
	}
	assert_int_equal(sl_rcv_ooo_bytes(script_conn(s)), t.tcp_ooo_max);
	assert_true(tp_out(s->pool) - base <= t.tcp_ooo_max);
	script_stop(s);
}

/* Nobody reads, one byte a segment: buffers are charged, copied together, and the window closes. */
static void tiny_segments_unread(void **state)
{
	struct sluice_tunables t;
	struct script *s;
	uint32_t base, i;

	script_tunables(&t);
	t.tcp_rcvbuf = 65536;
	s = script_start(&t);
	script_accept(s);
	s->hold = s->roomy = true;
	base = tp_out(s->pool);
	for (i = 0; i < 100000; i++) {
		IN(s, .flags = A, .seq = 1 + i, .ack = 1, .len = 1);
		script_forget(s);
		if (script_conn(s)->rcv_nxt - s->isn < 2 + i)
			break; /* the window is closed */
	}
	assert_true(i <= 65536);
	/* Buffers of two kilobytes, no more of them than four receive buffers are worth. */
	assert_true((tp_out(s->pool) - base) * 2048 <= 5 * t.tcp_rcvbuf);
	assert_true(script_conn(s)->rcvq_charge <= 5 * t.tcp_rcvbuf);
	assert_true(CTR(s, tcp_rx_compact) > 60000);
	script_stop(s);
}

/* A window scale of 14 on either side with small buffers. */
static void large_scale_small_buffer(void **state)
{
	struct sluice_tunables t;
	struct script *s;

	script_tunables(&t);
	t.tcp_rcvbuf = 2048;
	t.tcp_sndbuf = 2048;
	t.tcp_nodelay = 1;
	s = script_start(&t);
	s->wscale = 14;
	script_accept(s);
	script_say(s, 2000, 0);
	script_forget(s);
	IN(s, .flags = A, .seq = 1, .ack = 2001, .wnd = 65535); /* 1 GiB */
	assert_int_equal(script_conn(s)->snd_wnd, 65535u << 14);
	for (uint32_t i = 0; i < 10; i++)
		IN(s, .flags = A, .seq = 1 + 1000 * i, .ack = 2001, .len = 1000);
	assert_int_equal(s->got, 10000);
	script_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tiny_segments_from_behind),
	    cmocka_unit_test(tiny_segments_in_one_run),
	    cmocka_unit_test(tiny_segments_unread),
	    cmocka_unit_test(large_scale_small_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
