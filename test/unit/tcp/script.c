/* SPDX-License-Identifier: BSD-3-Clause */
/* The stack sends into a driver that takes everything apart; a raw IP port needs no neighbours. */
#include "script.h"

#include "octets.h"

#define PEER_IP 0x0a000009u
#define OUR_IP 0x0a000001u

uint8_t script_byte(uint32_t at, bool of_peer)
{
	return (uint8_t)(at * 31 + (at >> 8) + (of_peer ? 101 : 7));
}

/* ---- what the stack sends ---- */

static void read_options(struct script *s, struct out *o, const uint8_t *p, const uint8_t *end)
{
	o->wscale = -1;
	while (p < end && *p != 0) {
		if (*p == 1) {
			p++;
			continue;
		}
		assert_true(end - p >= 2 && p[1] >= 2 && p[1] <= end - p);
		switch (*p) {
		case 2:
			o->mss = get16(p + 2);
			break;
		case 3:
			o->wscale = p[2];
			break;
		case 4:
			o->sack_ok = true;
			break;
		case 5:
			for (unsigned int i = 2; i < p[1]; i += 8, o->nsack++) {
				o->sack[o->nsack][0] = get32(p + i) - s->isn;
				o->sack[o->nsack][1] = get32(p + i + 4) - s->isn;
			}
			break;
		case 8:
			o->ts = true;
			o->tsval = get32(p + 2);
			o->tsecr = get32(p + 6);
			s->last_tsval = o->tsval;
			break;
		default:
			fail_msg("option %u sent", *p);
		}
		p += p[1];
	}
}

static void capture(void *arg, struct rte_mbuf *m)
{
	struct script *s = arg;
	static uint8_t pkt[65536];
	const uint8_t *p = rte_pktmbuf_read(m, 0, m->pkt_len, pkt), *th;
	struct out *o = &s->out[s->nout];
	uint32_t hl, thl, tcp_len;

	if (s->deaf)
		return;
	assert_non_null(p);
	assert_int_equal(p[0] >> 4, 4);
	hl = (p[0] & 15u) * 4;
	if (p[9] != IPPROTO_TCP)
		return;
	assert_int_equal(sum16_end(sum16(p, hl, 0)), 0);
	assert_int_equal(get16(p + 2), m->pkt_len);
	th = p + hl;
	tcp_len = m->pkt_len - hl;
	assert_int_equal(sum16_end(sum16(th, tcp_len, sum16(p + 12, 8, IPPROTO_TCP + tcp_len))), 0);
	thl = (th[12] >> 4) * 4u;
	assert_true(thl >= 20 && thl <= tcp_len);
	assert_true(s->nout < SCRIPT_OUT);
	memset(o, 0, sizeof(*o));
	o->at = s->now;
	o->flags = th[13];
	o->ttl = p[8];
	o->tos = p[1];
	o->id = get16(p + 4);
	o->src = get32(p + 12);
	o->sport = get16(th);
	o->dport = get16(th + 2);
	o->raw_seq = get32(th + 4);
	o->raw_ack = get32(th + 8);
	if (o->flags & S)
		s->iss = o->raw_seq;
	o->seq = o->raw_seq - s->iss;
	o->ack = o->raw_ack - s->isn;
	o->wnd = get16(th + 14);
	o->urp = get16(th + 18);
	o->len = tcp_len - thl;
	read_options(s, o, th + 20, th + thl);
	if (!(o->flags & (S | R)))
		for (uint32_t i = 0; i < o->len; i++)
			assert_int_equal(th[thl + i], script_byte(o->seq - 1 + i, false));
	s->nout++;
}

/* ---- the application ---- */

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct script *s = arg;

	if (s->refuse)
		return -ECONNREFUSED;
	s->accepted++;
	s->c = s->eager = eager;
	s->up = true;
	return 0;
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	((struct script *)arg)->connected++;
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	struct script *s = arg;

	s->gone = true;
	s->err = err;
}

static void on_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	if (op == SLUICE_OPCTL_SHUT_RECV)
		((struct script *)arg)->eof = true;
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct script *s = arg;
	struct iovec iov[8];
	int n;

	assert_true(avail > 0);
	while (!s->hold && (n = sluice_peek(s->st, c, iov, 8)) > 0) {
		size_t all = 0;

		for (int i = 0; i < n; i++)
			for (size_t k = 0; k < iov[i].iov_len; k++, all++)
				assert_int_equal(((uint8_t *)iov[i].iov_base)[k],
				    script_byte((uint32_t)(s->got + all), true));
		s->got += all;
		assert_int_equal(sluice_consume(s->st, c, all), 0);
	}
	return s->no_space ? -ENOSPC : 0;
}

static void on_full(void *arg, sluice_conn_t c, bool full)
{
	((struct script *)arg)->full = full;
}

static void on_oob(void *arg, sluice_conn_t c, size_t mark)
{
	struct script *s = arg;

	s->oob++;
	s->mark = mark;
}

static void on_error(void *arg, sluice_conn_t c, int err)
{
	((struct script *)arg)->soft = err;
}

static void on_closed(void *arg, sluice_conn_t c)
{
	struct script *s = arg;

	if (c == s->c)
		s->closed = true;
}

const struct sluice_upcalls script_upcalls = {.size = sizeof(script_upcalls),
    .newconn = on_newconn,
    .connected = on_connected,
    .disconnected = on_disconnected,
    .opctl = on_opctl,
    .recv = on_recv,
    .txq_full = on_full,
    .signal_oob = on_oob,
    .set_error = on_error,
    .closed = on_closed};

/* ---- set-up ---- */

void script_tunables(struct sluice_tunables *t)
{
	sluice_tunables_default(t);
	t->tcp_quickack = 0;
}

struct script *script_start(const struct sluice_tunables *tun)
{
	struct script *s = calloc(1, sizeof(*s));
	struct sluice_tunables t;
	struct sluice_stack_params sp = {
	    .size = sizeof(sp), .name = "script", .nsqueues = 1, .max_connections = 64, .seed = 42};
	struct sluice_if_params ifp = {
	    .size = sizeof(ifp), .name = "p0", .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_txn *txn;

	assert_non_null(s);
	s->out = calloc(SCRIPT_OUT, sizeof(*s->out));
	assert_non_null(s->out);
	script_tunables(&t);
	sp.tunables = tun != NULL ? tun : &t;
	s->pool = tp_create(2048, 0);
	sp.hdr_pool = s->pool;
	s->now = SLUICE_SEC(1000);
	s->ts = s->sack = true;
	s->wscale = 7;
	s->mss = 1460;
	s->wnd = 60000;
	s->sport = 5555;
	s->dport = 80;
	s->isn = 0xfffffff0u; /* wraps soon */
	assert_int_equal(sluice_stack_create(&sp, &s->st, NULL), 0);
	s->port = (struct sink){
	    .info = {.caps = SLUICE_CAP_L3 | SLUICE_CAP_TX_MULTISEG | SLUICE_CAP_TX_INDIRECT,
		.mtu = 1500},
	    .took = capture,
	    .arg = s};
	assert_int_equal(sluice_port_add(s->st, sink_driver(&s->port)), 0);
	assert_int_equal(sluice_txn_begin(s->st, &txn), 0);
	assert_int_equal(sluice_if_add(txn, &ifp), 0);
	assert_int_equal(sluice_addr_add(txn, "p0", "10.0.0.1/24", false), 0);
	assert_int_equal(sluice_addr_add(txn, "p0", "10.0.0.2/24", false), 0);
	assert_int_equal(sluice_addr_add(txn, "p0", "10.0.0.3/24", false), 0);
	assert_int_equal(sluice_txn_commit(txn, NULL), 0);
	s->sq = sluice_squeue(s->st, 0);
	script_settle(s);
	return s;
}

void script_stop(struct script *s)
{
	struct sluice_leaks l = {.size = sizeof(l)};

	s->port.stuck = false;
	script_settle(s);
	assert_int_equal(sluice_squeue_release(s->sq), 0);
	assert_int_equal(sluice_stack_destroy(s->st, &l), 0);
	assert_int_equal(l.records, 0);
	assert_int_equal(l.calls, 0);
	assert_int_equal(tp_out(s->pool), 0);
	tp_destroy(s->pool);
	free(s->out);
	free(s);
}

void script_settle(struct script *s)
{
	for (int i = 0; i < 1000; i++)
		if (sluice_squeue_poll(s->sq, s->now, 0) <= 0)
			return;
}

void script_run(struct script *s, uint64_t ns)
{
	uint64_t end = s->now + ns;

	script_settle(s);
	for (int i = 0; i < 100000; i++) {
		uint64_t next = sluice_squeue_next(s->sq);

		if (next > end)
			break;
		s->now = next > s->now ? next : s->now + 1000;
		script_settle(s);
	}
	s->now = end;
	script_settle(s);
}

/* ---- segments in ---- */

void script_raw(struct script *s, const void *pkt, uint16_t len)
{
	struct rte_mbuf *m = s->roomy ? rte_pktmbuf_alloc(s->pool) : tp_exact(s->pool, pkt, len, 0);

	assert_non_null(m);
	if (s->roomy)
		memcpy(rte_pktmbuf_append(m, len), pkt, len);
	assert_int_equal(sluice_input(s->sq, 0, &m, 1, s->now), 0);
	script_settle(s);
}

static uint32_t write_options(struct script *s, const struct seg *g, uint8_t *p)
{
	uint8_t *start = p;
	bool syn = (g->flags & S) != 0;

	if (g->raw != NULL) {
		memcpy(p, g->raw, g->rawlen);
		return g->rawlen;
	}
	if (syn && (g->mss != 0 || s->mss != 0)) {
		*p++ = 2;
		*p++ = 4;
		put16(p, g->mss != 0 ? g->mss : s->mss);
		p += 2;
	}
	if (syn && s->sack) {
		*p++ = 4;
		*p++ = 2;
	}
	if (syn && s->wscale >= 0) {
		*p++ = 3;
		*p++ = 3;
		*p++ = (uint8_t)s->wscale;
	}
	if (s->ts && !g->no_ts) {
		*p++ = 8;
		*p++ = 10;
		put32(p, (uint32_t)(s->now / 1000000) - (uint32_t)g->ts_back);
		put32(p + 4, g->ecr != 0 ? g->ecr : g->flags & A ? s->last_tsval : 0);
		p += 8;
	}
	if (g->nsack > 0) {
		*p++ = 5;
		*p++ = (uint8_t)(2 + 8 * g->nsack);
		for (unsigned int i = 0; i < g->nsack; i++, p += 8) {
			put32(p, g->sack[i][0] + s->iss);
			put32(p + 4, g->sack[i][1] + s->iss);
		}
	}
	while ((p - start) % 4 != 0)
		*p++ = 1;
	return (uint32_t)(p - start);
}

static uint16_t build(struct script *s, const struct seg *g, uint8_t *b)
{
	uint8_t *th = b + 20;
	uint32_t opt, tcp_len, total;

	memset(b, 0, 40);
	opt = write_options(s, g, th + 20);
	assert_true(opt <= 40);
	tcp_len = 20 + opt + g->len;
	total = 20 + tcp_len;
	b[0] = 0x45;
	put16(b + 2, (uint16_t)total);
	b[8] = 64;
	b[9] = IPPROTO_TCP;
	put32(b + 12, PEER_IP);
	put32(b + 16, OUR_IP);
	put16(b + 10, sum16_end(sum16(b, 20, 0)));
	put16(th, g->sport != 0 ? g->sport : s->sport);
	put16(th + 2, s->dport);
	put32(th + 4, g->seq + s->isn);
	put32(th + 8, g->flags & A ? g->ack + s->iss : 0);
	th[12] = g->doff != 0 ? (uint8_t)(g->doff << 4) : (uint8_t)((20 + opt) << 2);
	th[13] = g->flags;
	put16(th + 14, g->wnd < 0 ? 0 : g->wnd == 0 ? s->wnd : (uint16_t)g->wnd);
	put16(th + 18, g->urp);
	for (uint32_t i = 0; i < g->len; i++)
		th[20 + opt + i] = script_byte(g->seq + !!(g->flags & S) - 1 + i, true);
	put16(th + 16,
	    (uint16_t)(sum16_end(sum16(th, tcp_len, sum16(b + 12, 8, IPPROTO_TCP + tcp_len))) ^
		       (g->bad_cksum ? 0x0100 : 0)));
	return (uint16_t)total;
}

void script_in(struct script *s, const struct seg *g)
{
	static uint8_t b[65536];

	script_raw(s, b, build(s, g, b));
}

void script_icmp(struct script *s, uint8_t type, uint8_t code, uint32_t seq, uint16_t mtu)
{
	uint8_t b[20 + 8 + 28] = {0x45}, *q = b + 28;

	put16(b + 2, sizeof(b));
	b[8] = 64;
	b[9] = IPPROTO_ICMP;
	put32(b + 12, PEER_IP);
	put32(b + 16, OUR_IP);
	put16(b + 10, sum16_end(sum16(b, 20, 0)));
	b[20] = type;
	b[21] = code;
	put16(b + 26, mtu);
	q[0] = 0x45;
	put16(q + 2, 1500);
	q[8] = 60;
	q[9] = IPPROTO_TCP;
	put32(q + 12, OUR_IP);
	put32(q + 16, PEER_IP);
	put16(q + 20, s->dport);
	put16(q + 22, s->sport);
	put32(q + 24, s->iss + seq);
	put16(b + 22, sum16_end(sum16(b + 20, sizeof(b) - 20, 0)));
	script_raw(s, b, sizeof(b));
}

/* ---- what came out ---- */

struct out *script_out(struct script *s)
{
	if (s->next >= s->nout)
		fail_msg("nothing was sent");
	return &s->out[s->next++];
}

void script_none(struct script *s)
{
	if (s->next < s->nout)
		fail_msg("sent: flags %#x seq %u ack %u len %u", s->out[s->next].flags,
		    s->out[s->next].seq, s->out[s->next].ack, s->out[s->next].len);
	script_forget(s);
}

void script_forget(struct script *s)
{
	s->next = s->nout = 0;
}

/* ---- connections ---- */

static sluice_conn_t make(struct script *s)
{
	sluice_conn_t c;

	assert_int_equal(sluice_create(s->st, AF_INET, SOCK_STREAM, 0, 0, 0, &c), 0);
	assert_int_equal(sluice_activate(s->st, c, &script_upcalls, s), 0);
	return c;
}

void script_listen(struct script *s)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(s->dport)};

	s->listener = make(s);
	assert_int_equal(sluice_bind(s->st, s->listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(sluice_listen(s->st, s->listener, 16), 0);
	script_settle(s);
}

void script_accept(struct script *s)
{
	int before = s->accepted;

	if (s->listener == 0)
		script_listen(s);
	IN(s, .flags = S);
	WANT(s, S | A, 0, 1, 0);
	IN(s, .flags = A, .seq = 1, .ack = 1);
	assert_int_equal(s->accepted, before + 1);
	assert_int_equal(sluice_accept(s->st, s->listener, s->c), 0);
	script_none(s);
	STATE(s, ESTABLISHED);
}

void script_connect_syn(struct script *s)
{
	struct sockaddr_in a = {
	    .sin_family = AF_INET, .sin_port = htons(s->sport), .sin_addr.s_addr = htonl(PEER_IP)};
	struct out *o;

	s->c = make(s);
	assert_int_equal(
	    sluice_connect(s->st, s->c, (struct sockaddr *)&a, sizeof(a), NULL), -EINPROGRESS);
	script_settle(s);
	o = script_out(s);
	assert_int_equal(o->flags, S);
	assert_int_equal(o->dport, s->sport);
	s->dport = o->sport;
}

void script_connect(struct script *s)
{
	script_connect_syn(s);
	IN(s, .flags = S | A, .ack = 1);
	WANT(s, A, 1, 1, 0);
	STATE(s, ESTABLISHED);
	assert_int_equal(s->connected, 1);
}

void script_say(struct script *s, size_t n, unsigned int flags)
{
	uint8_t *b = malloc(n);

	assert_non_null(b);
	for (size_t i = 0; i < n; i++)
		b[i] = script_byte((uint32_t)(s->said + i), false);
	assert_int_equal(sluice_send_copy(s->st, s->c, b, n, flags), n);
	free(b);
	s->said += n;
	script_settle(s);
}

struct sl_conn *script_conn(struct script *s)
{
	return sl_conn_get(s->sq, s->c);
}

uint64_t script_ctr(struct script *s, size_t offset)
{
	struct sluice_counters c;
	uint64_t v;

	sluice_counters_sum(s->st, &c);
	memcpy(&v, (char *)&c + offset, sizeof(v));
	return v;
}

enum sluice_state script_state(struct script *s)
{
	enum sluice_state v;

	return sluice_getstate(s->st, s->c, &v) == 0 ? v : SLUICE_CLOSED;
}
