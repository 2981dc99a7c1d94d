/* SPDX-License-Identifier: BSD-3-Clause */
/* Many connections with something to send and a port that is full: who waits for it, in which order,
 * and that nobody else does. */
#include "script.h"

#include "duo.h"

#define N 800

struct side {
	struct sluice_stack *st;
	size_t got;
	int up, n, closed, gone;
	sluice_conn_t eager[N + 1];
};

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct side *s = arg;

	s->eager[s->n++] = eager;
	return sluice_accept(s->st, l, eager);
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	((struct side *)arg)->up++;
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct side *s = arg;

	s->got += avail;
	assert_int_equal(sluice_consume(s->st, c, avail), 0);
	return 0;
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	((struct side *)arg)->gone++;
}

static void on_closed(void *arg, sluice_conn_t c)
{
	((struct side *)arg)->closed++;
}

static const struct sluice_upcalls up = {.size = sizeof(up),
    .newconn = on_newconn,
    .connected = on_connected,
    .recv = on_recv,
    .disconnected = on_disconnected,
    .closed = on_closed};

/* A second wire, of few packets: 10.1.0.1 and 10.1.0.2. */
static void second_wire(struct duo *d)
{
	struct sluice_wire_params wp = {
	    .size = sizeof(wp), .latency = 10000, .depth = 64, .nqueues = {1, 1}};
	struct sluice_if_params ifp = {.size = sizeof(ifp),
	    .name = "wire1",
	    .port = 1,
	    .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_driver wire[2];
	struct sluice_txn *txn;
	const char *why = NULL;

	assert_int_equal(sluice_wire_create(&wp, wire), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(sluice_port_add(d->st[i], wire[i]), 1);
		assert_int_equal(sluice_txn_begin(d->st[i], &txn), 0);
		assert_int_equal(sluice_if_add(txn, &ifp), 0);
		assert_int_equal(
		    sluice_addr_add(txn, "wire1", i == 0 ? "10.1.0.1/24" : "10.1.0.2/24", false),
		    0);
		assert_int_equal(sluice_txn_commit(txn, &why), 0);
	}
}

static void routes_change(struct duo *d)
{
	struct sluice_txn *txn;
	const char *why = NULL;

	assert_int_equal(sluice_txn_begin(d->st[0], &txn), 0);
	assert_int_equal(sluice_addr_add(txn, "wire1", "10.1.0.77/24", false), 0);
	assert_int_equal(sluice_txn_commit(txn, &why), 0);
}

static void route_by_wire0(struct duo *d)
{
	struct sluice_txn *txn;
	const char *why = NULL;

	assert_int_equal(sluice_txn_begin(d->st[0], &txn), 0);
	assert_int_equal(sluice_route_add(txn, 0, "10.1.0.2/32", "10.0.0.2", NULL), 0);
	assert_int_equal(sluice_txn_commit(txn, &why), 0);
}

static sluice_conn_t opened(struct side *s, const struct sockaddr_in *to)
{
	sluice_conn_t c;

	assert_int_equal(sluice_create(s->st, AF_INET, SOCK_STREAM, 0, 0, 0, &c), 0);
	assert_int_equal(sluice_activate(s->st, c, &up, s), 0);
	assert_int_equal(
	    sluice_connect(s->st, c, (const struct sockaddr *)to, sizeof(*to), NULL), -EINPROGRESS);
	return c;
}

static void poll_a(struct duo *d)
{
	assert_true(sluice_squeue_poll(sluice_squeue(d->st[0], 0), d->now, 0) >= 0);
}

/* The waiting ones of port 1, in order; how many. */
static uint32_t waiting(const struct sl_tcp *t, uint32_t idx[])
{
	uint32_t n = 0;

	for (const struct sl_conn *c = t->held[1].head; c != NULL; c = c->out_next)
		idx[n++] = c->idx;
	return n;
}

static void a_full_port(void **state)
{
	static struct side a, b;
	struct duo d = {0};
	struct duo_params p = {.seed = 4, .max_connections = 2 * N};
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(80)}, to = at;
	static uint32_t before[N], after[N];
	static char text[1000];
	sluice_conn_t l, other, c[N];
	struct sl_tcp *t;
	uint32_t n, left, extra = 0;
	uint64_t sent;

	duo_start(&d, &p);
	second_wire(&d);
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	a.st = d.st[0];
	b.st = d.st[1];
	t = sl_tcp_of(sluice_squeue(a.st, 0));
	assert_int_equal(sluice_create(b.st, AF_INET, SOCK_STREAM, 0, 0, 0, &l), 0);
	assert_int_equal(sluice_activate(b.st, l, &up, &b), 0);
	assert_int_equal(sluice_bind(b.st, l, (void *)&at, sizeof(at)), 0);
	assert_int_equal(sluice_listen(b.st, l, N + 1), 0);
	duo_settle(&d);
	to.sin_addr.s_addr = htonl(0x0a010002);
	for (int i = 0; i < N; i++)
		c[i] = opened(&a, &to);
	to.sin_addr.s_addr = htonl(0x0a000002);
	other = opened(&a, &to);
	duo_run(&d, SLUICE_SEC(2));
	assert_int_equal(a.up, N + 1);

	/* The peer reads nothing from the wire for a while. */
	for (int i = 0; i < N; i++)
		assert_int_equal(sluice_send_copy(a.st, c[i], text, sizeof(text), 0), sizeof(text));
	for (int i = 0; i < 10; i++)
		poll_a(&d);
	n = waiting(t, before);
	assert_null(t->out.head);
	assert_in_range(n, N / 8, N - 64);
	assert_true(sl_output_pending(sluice_squeue(a.st, 0)));
	sent = sluice_squeue(a.st, 0)->ctr.tcp_out_segs;
	poll_a(&d);
	assert_int_equal(waiting(t, after), n);
	assert_memory_equal(before, after, n * sizeof(before[0]));
	assert_int_equal(sluice_squeue(a.st, 0)->ctr.tcp_out_segs, sent);

	/* Who goes out by the other port does not wait for this one. */
	assert_int_equal(sluice_send_copy(a.st, other, text, sizeof(text), 0), sizeof(text));
	poll_a(&d);
	assert_int_equal(sluice_squeue(a.st, 0)->ctr.tcp_out_segs, sent + 1);
	assert_null(t->out.head);

	/* From the front, the middle and the end of the list: an abort has its RST to send. */
	for (uint32_t i = 0; i < 3; i++) {
		struct sl_conn *x = t->held[1].head;

		for (uint32_t k = 0; k < i * (n / 2) && x->out_next != NULL; k++)
			x = x->out_next;
		assert_int_equal(sluice_abort(a.st, sl_conn_handle(sluice_squeue(a.st, 0), x)), 0);
		poll_a(&d);
	}
	assert_int_equal(waiting(t, after), n - 3);
	/* Behind the last comes the next: one that had sent all it had. */
	for (int i = 0; i < N && waiting(t, after) == n - 3; i++) {
		if (sluice_send_copy(a.st, c[i], text, sizeof(text), 0) == sizeof(text))
			extra++;
		poll_a(&d);
	}
	n++;
	assert_int_equal(waiting(t, after), n - 3);

	/* Other routes: each asks anew which port is its own. The order stays. */
	memcpy(before, after, sizeof(before));
	routes_change(&d);
	poll_a(&d);
	assert_int_equal(waiting(t, after), n - 3);
	assert_memory_equal(before, after, (n - 3) * sizeof(before[0]));

	/* Room for some: those that came first. */
	d.now += 20000;
	assert_true(sluice_squeue_poll(sluice_squeue(d.st[1], 0), d.now, 0) >= 0);
	poll_a(&d); /* what was staged goes, */
	poll_a(&d); /* and there is room again */
	left = waiting(t, after);
	assert_in_range(left, 1, n - 4);
	assert_memory_equal(before + (n - 3 - left), after, left * sizeof(before[0]));

	/* Their way is another port now, which has room. */
	route_by_wire0(&d);
	poll_a(&d);
	assert_int_equal(waiting(t, after), 0);
	duo_run(&d, SLUICE_SEC(5));
	assert_int_equal(b.got, (N + 1 - 3 + extra) * sizeof(text));
	assert_false(sl_output_pending(sluice_squeue(a.st, 0)));

	for (int i = 0; i < N; i++)
		(void)sluice_close(a.st, c[i]);
	assert_int_equal(sluice_close(a.st, other), 0);
	for (int i = 0; i < b.n; i++)
		assert_int_equal(sluice_close(b.st, b.eager[i]), 0);
	assert_int_equal(sluice_close(b.st, l), 0);
	duo_run(&d, SLUICE_SEC(200));
	assert_int_equal(b.closed, N + 2);
	assert_int_equal(duo_stop(&d), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_full_port)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
