/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls and frames on a connected pair: two stacks, and between them a network that does what the
 * input says: it delivers, loses, doubles, reorders, cuts short and changes frames. As long as no
 * changed frame was given right checksums (forged), what one side reads must be what the other
 * wrote, to the byte, whatever happens. At the end the network is perfect: both sides shut down, and
 * each connection that has not ended in an error must bring all bytes and the end of both streams.
 *
 * The input: limits, then operations.
 */
#include <string.h>

#include <netinet/tcp.h>
#include <rte_ip.h>
#include <rte_log.h>
#include <rte_tcp.h>

#include <sluice/sluice.h>
#include <tcp/tcp_int.h>

#include "fuzz.h"
#include "mpool.h"
#include "sent.h"

#define QUEUE 64u /* frames that the network holds in each direction */

uint64_t fuzz_input_number;

static uint64_t finished, failed;

struct pair;

struct side {
	struct pair *p;
	struct sluice_stack *st;
	struct sluice_squeue *sq;
	struct rte_mempool *pool;
	sluice_conn_t c, listener;
	struct rte_mbuf *q[QUEUE]; /* sent, not delivered */
	unsigned int nq;
	uint64_t wrote, read;
	bool hold, stop;
	bool open, shut, end, error, closed;
	/* what it said on the wire */
	bool said;
	uint32_t ack, edge; /* the largest, each */
	int wscale;
};

struct pair {
	struct side s[2];
	uint64_t now;
	const uint8_t *in, *end;
	bool forged, aborted;
	bool calm; /* nothing was lost, late, or out of order; nobody ran out of anything */
};

static uint8_t u8(struct pair *p)
{
	return p->in < p->end ? *p->in++ : 0;
}

static uint16_t u16(struct pair *p)
{
	uint8_t hi = u8(p);

	return (uint16_t)(hi << 8 | u8(p));
}

/* Byte `at` of the stream that side `i` writes. */
static uint8_t pattern(unsigned int i, uint64_t at)
{
	return (uint8_t)(at * 7 + (at >> 8) * 13 + (at >> 16) + 101 * i);
}

static unsigned int number(const struct side *s)
{
	return (unsigned int)(s - s->p->s);
}

/* ---- what goes out ---- */

/* The acknowledgement never goes back, nor does the right edge (but by what scaling rounds), and
 * nothing is sent beyond the edge that the other side has shown, save one octet as a probe. */
static void check_stream(struct side *s, const struct sent *t)
{
	const struct side *to = &s->p->s[!number(s)];
	uint32_t edge;
	int shift = s->wscale >= 0 && to->wscale >= 0 ? s->wscale : 0;

	if (t->flags & RTE_TCP_SYN_FLAG) {
		s->wscale = t->wscale;
		return;
	}
	if ((t->flags & RTE_TCP_RST_FLAG) || s->p->forged || s->p->aborted)
		return;
	edge = t->ack + ((uint32_t)t->wnd << shift);
	if (s->said) {
		FUZZ_MUST(seq_ge(t->ack, s->ack));
		FUZZ_MUST(seq_gt(edge + (1u << shift), s->edge));
	}
	s->edge = s->said ? seq_max(s->edge, edge) : edge;
	s->ack = t->ack;
	s->said = true;
	if (to->said)
		FUZZ_MUST(seq_le(t->seq + t->len, to->edge + 1));
}

/* ---- the port: what is sent stands in the queue of the network ---- */

static uint16_t port_rx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	return 0;
}

static uint16_t port_tx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct side *s = ctx;
	uint16_t i;

	for (i = 0; i < n && s->nq < QUEUE && !s->stop; i++) {
		struct sent t;

		if (fuzz_sent(pkts[i], &t))
			check_stream(s, &t);
		s->q[s->nq++] = pkts[i];
	}
	return i;
}

static int port_info(void *ctx, struct sluice_port_info *info)
{
	struct side *s = ctx;

	*info = (struct sluice_port_info){.size = sizeof(*info),
	    .caps = SLUICE_CAP_TX_MULTISEG | SLUICE_CAP_TX_INDIRECT,
	    .mtu = 1500,
	    .nqueues = 1,
	    .mac = {2, 0, 0, 0, 0, (uint8_t)(1 + number(s))},
	    .link_up = true,
	    .socket = -1};
	return 0;
}

static void port_destroy(void *ctx)
{
}

static const struct sluice_driver_ops port_ops = {.size = sizeof(port_ops),
    .name = "fuzz",
    .rx = port_rx,
    .tx = port_tx,
    .info = port_info,
    .destroy = port_destroy};

/* ---- the application ---- */

static void read_some(struct side *s, size_t most)
{
	struct rte_mbuf *m = NULL;
	ssize_t n = sluice_readable(s->st, s->c);
	uint64_t other;

	if (n <= 0)
		return;
	n = sluice_take(s->st, s->c, RTE_MIN((size_t)n, most), &m);
	if (n <= 0) {
		FUZZ_MUST(m == NULL); /* no buffer for a part */
		return;
	}
	other = s->read;
	for (const struct rte_mbuf *k = m; k != NULL; k = k->next)
		for (uint16_t i = 0; i < k->data_len; i++, other++)
			FUZZ_MUST(s->p->forged || rte_pktmbuf_mtod(k, const uint8_t *)[i] ==
						      pattern(!number(s), other));
	FUZZ_MUST(other - s->read == (uint64_t)n);
	s->read = other;
	FUZZ_MUST(s->p->forged || s->read <= s->p->s[!number(s)].wrote);
	rte_pktmbuf_free(m);
}

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct side *s = arg;

	(void)sluice_accept(s->st, l, eager);
	if (s->open)
		return -ECONNREFUSED; /* a duplicated SYN, long after */
	s->c = eager;
	s->open = true;
	return 0;
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	struct side *s = arg;

	if (c == s->c)
		s->open = true;
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct side *s = arg;

	if (c == s->c && !s->hold)
		read_some(s, SIZE_MAX);
	return 0;
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	struct side *s = arg;

	if (c != s->c)
		return;
	FUZZ_MUST(!s->error && !s->closed);
	s->error = err != 0;
}

static void on_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	struct side *s = arg;

	if (c != s->c || op != SLUICE_OPCTL_SHUT_RECV)
		return;
	FUZZ_MUST(!s->end); /* once */
	s->end = true;
}

static void on_closed(void *arg, sluice_conn_t c)
{
	struct side *s = arg;

	if (c != s->c)
		return;
	FUZZ_MUST(!s->closed);
	s->closed = true;
}

static const struct sluice_upcalls ups = {.size = sizeof(ups),
    .newconn = on_newconn,
    .connected = on_connected,
    .disconnected = on_disconnected,
    .opctl = on_opctl,
    .recv = on_recv,
    .closed = on_closed};

/* ---- the network ---- */

static void poll_both(struct pair *p)
{
	for (unsigned int n = 0, work = 1; n < 64 && work > 0; n++) {
		work = 0;
		for (unsigned int i = 0; i < 2; i++) {
			int rc = sluice_squeue_poll(p->s[i].sq, p->now, 0);

			FUZZ_MUST(rc >= 0);
			work += (unsigned int)rc;
		}
	}
}

/* The frame at place `at` of side i's queue, taken out. */
static struct rte_mbuf *take_frame(struct side *s, unsigned int at)
{
	struct rte_mbuf *m = s->q[at];

	memmove(&s->q[at], &s->q[at + 1], (s->nq - at - 1) * sizeof(s->q[0]));
	s->nq--;
	return m;
}

/* Hand a copy over: what is on the wire is no longer the sender's memory. */
static void hand_over(struct side *from, const uint8_t *b, uint16_t len)
{
	struct side *to = &from->p->s[!number(from)];
	struct rte_mbuf *m = tp_exact(to->pool, b, len, 0);

	if (m != NULL && sluice_input(to->sq, 0, &m, 1, from->p->now) > 0)
		rte_pktmbuf_free(m);
}

static uint16_t bytes_of(struct rte_mbuf *m, uint8_t b[2048])
{
	const void *p = rte_pktmbuf_read(m, 0, m->pkt_len, b);

	FUZZ_MUST(p != NULL && m->pkt_len <= 2048);
	if (p != b)
		memcpy(b, p, m->pkt_len);
	return (uint16_t)m->pkt_len;
}

static void deliver(struct side *s, unsigned int at, bool keep)
{
	uint8_t b[2048];
	uint16_t len;

	if (s->nq == 0)
		return;
	at %= s->nq;
	len = bytes_of(s->q[at], b);
	if (!keep)
		rte_pktmbuf_free(take_frame(s, at));
	hand_over(s, b, len);
}

static void make_right(uint8_t *b, uint16_t len)
{
	struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(void *)(b + 14);

	if (len < 54 || rte_be_to_cpu_16(ip->total_length) + 14 != len || ip->version_ihl != 0x45 ||
	    ip->next_proto_id != IPPROTO_TCP)
		return;
	ip->hdr_checksum = 0;
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	b[50] = b[51] = 0;
	*(uint16_t *)(void *)(b + 50) = rte_ipv4_udptcp_cksum(ip, b + 34);
}

/* One that was changed: as noise does it (the checksum tells), or forged. */
static void change(struct pair *p, struct side *s, uint8_t how)
{
	uint8_t b[2048];
	uint16_t len;

	if (s->nq == 0)
		return;
	len = bytes_of(s->q[0], b);
	if (how & 1) {
		for (unsigned int n = 1 + (how >> 4 & 3); n > 0; n--)
			b[14 + u8(p) % RTE_MIN(len - 14, 80)] = u8(p);
		make_right(b, len);
		p->forged = true;
	} else if (how & 2) {
		len = (uint16_t)(14 + u16(p) % (len - 13));
	} else {
		b[14 + u16(p) % (len - 14)] ^= (uint8_t)(1u << (how >> 2 & 7));
	}
	if (how & 0x80)
		rte_pktmbuf_free(take_frame(s, 0));
	hand_over(s, b, len);
}

/* ---- operations ---- */

static void op_send(struct pair *p, struct side *s)
{
	uint8_t b[4096];
	size_t n = u16(p) % sizeof(b);
	uint8_t flags = u8(p);
	ssize_t rc;

	for (size_t i = 0; i < n; i++)
		b[i] = pattern(number(s), s->wrote + i);
	rc = sluice_send_copy(s->st, s->c, b, n, flags & (SLUICE_MSG_OOB | SLUICE_MSG_MORE));
	if (rc > 0)
		s->wrote += (uint64_t)rc;
}

static void op_call(struct pair *p, struct side *s, uint8_t what)
{
	int v;

	switch (what % 8) {
	case 0:
		s->hold = true;
		break;
	case 1:
		s->hold = false;
		read_some(s, SIZE_MAX);
		break;
	case 2:
		read_some(s, u16(p));
		break;
	case 3:
		s->shut |= sluice_shutdown(s->st, s->c, SHUT_WR) == 0;
		break;
	case 4:
		s->stop = !s->stop;
		p->calm = false;
		break;
	case 5:
		v = u8(p);
		(void)sluice_setsockopt(
		    s->st, s->c, IPPROTO_TCP, v & 1 ? TCP_NODELAY : TCP_CORK, &v, sizeof(v));
		break;
	case 6:
		tp_fail_nth(s->pool, u8(p));
		p->calm = false;
		break;
	default:
		if (u8(p) == 77) { /* seldom: it ends the story */
			(void)sluice_abort(s->st, s->c);
			p->aborted = true;
		}
		break;
	}
}

static void step(struct pair *p)
{
	uint8_t b = u8(p);
	struct side *s = &p->s[b >> 7];

	if ((b & 15) >= 5 && (b & 15) <= 9)
		p->calm = false;
	switch (b & 15) {
	case 0:
	case 1:
	case 2:
		op_send(p, s);
		break;
	case 3:
	case 4:
		op_call(p, s, b >> 4 & 7);
		break;
	case 5: /* up to a minute, finely at its low end */
		p->now += (uint64_t)(1 + (b >> 4 & 7)) << (u8(p) % 24) << 10;
		break;
	case 6: /* lost */
		if (s->nq > 0)
			rte_pktmbuf_free(take_frame(s, (b >> 4 & 7) % s->nq));
		break;
	case 7: /* twice */
		deliver(s, b >> 4 & 7, true);
		break;
	case 8: /* not the oldest */
		deliver(s, b >> 4 & 7, false);
		break;
	case 9:
		change(p, s, u8(p));
		break;
	case 10: /* all of one direction */
		while (s->nq > 0)
			deliver(s, 0, false);
		break;
	default:
		for (unsigned int n = 1 + (b >> 4 & 7); n > 0; n--)
			deliver(s, 0, false);
		break;
	}
	poll_both(p);
}

/* ---- life ---- */

static void start_side(struct pair *p, unsigned int i, uint8_t limits)
{
	struct side *s = &p->s[i];
	const uint8_t mac[6] = {2, 0, 0, 0, 0, (uint8_t)(2 - i)};
	struct sluice_if_params ifp = {
	    .size = sizeof(ifp), .name = "e0", .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_tunables tun;
	struct sluice_stack_params sp = {.size = sizeof(sp),
	    .name = "pair",
	    .nsqueues = 1,
	    .max_connections = 16,
	    .seed = 7 + i,
	    .tunables = &tun};
	struct sluice_txn *txn;

	sluice_tunables_default(&tun);
	tun.ip_dad_probes = 0;
	tun.sq_call_slots = 16;
	tun.tcp_sack = !(limits & 1);
	tun.tcp_timestamps = !(limits & 2);
	tun.tcp_wscale = !(limits & 4);
	if (limits & 8)
		tun.tcp_sndbuf = tun.tcp_rcvbuf = 4096;
	if (limits & 16)
		tun.tcp_rec_max = 64, tun.tcp_ooo_max = 2;
	if (limits & 32)
		tun.tcp_cc = 0, tun.tcp_delack = 0;
	s->p = p;
	s->pool = sp.hdr_pool = tp_create(2048, limits & 64 ? 300 : 0);
	FUZZ_MUST(s->pool != NULL && sluice_stack_create(&sp, &s->st, NULL) == 0);
	FUZZ_MUST(sluice_port_add(s->st, (struct sluice_driver){.ops = &port_ops, .ctx = s}) == 0);
	FUZZ_MUST(sluice_txn_begin(s->st, &txn) == 0 && sluice_if_add(txn, &ifp) == 0);
	FUZZ_MUST(sluice_addr_add(txn, "e0", i ? "10.0.0.2/24" : "10.0.0.1/24", false) == 0);
	FUZZ_MUST(sluice_neigh_add(txn, "e0", i ? "10.0.0.1" : "10.0.0.2", mac) == 0);
	FUZZ_MUST(sluice_txn_commit(txn, NULL) == 0);
	s->sq = sluice_squeue(s->st, 0);
	FUZZ_MUST(sluice_squeue_poll(s->sq, p->now, 0) >= 0);
}

static void connect_them(struct pair *p)
{
	struct side *a = &p->s[0], *b = &p->s[1];
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(80)};

	FUZZ_MUST(sluice_create(b->st, AF_INET, SOCK_STREAM, 0, 0, 0, &b->listener) == 0);
	FUZZ_MUST(sluice_activate(b->st, b->listener, &ups, b) == 0);
	FUZZ_MUST(sluice_bind(b->st, b->listener, (const void *)&sin, sizeof(sin)) == 0);
	FUZZ_MUST(sluice_listen(b->st, b->listener, 4) == 0);
	sin.sin_addr.s_addr = htonl(0x0a000002);
	FUZZ_MUST(sluice_create(a->st, AF_INET, SOCK_STREAM, 0, 0, 0, &a->c) == 0);
	FUZZ_MUST(sluice_activate(a->st, a->c, &ups, a) == 0);
	FUZZ_MUST(
	    sluice_connect(a->st, a->c, (const void *)&sin, sizeof(sin), NULL) == -EINPROGRESS);
	for (unsigned int i = 0; i < 4; i++) {
		poll_both(p);
		deliver(&p->s[i & 1], 0, false);
	}
	poll_both(p);
	FUZZ_MUST(a->open && b->open);
}

static bool over(const struct pair *p)
{
	const struct side *a = &p->s[0], *b = &p->s[1];

	return p->aborted || a->error || b->error ||
	       (a->end && b->end && a->read == b->wrote && b->read == a->wrote);
}

/* Nothing is lost any more: within ten minutes of virtual time all must have come. */
static void finish(struct pair *p)
{
	uint64_t until = p->now + SLUICE_SEC(600);

	for (unsigned int i = 0; i < 2; i++) {
		struct side *s = &p->s[i];

		s->hold = s->stop = false;
		tp_fail_nth(s->pool, 0);
		tp_set_limit(s->pool, 0);
		read_some(s, SIZE_MAX);
		(void)sluice_clr_flowctrl(s->st, s->c);
		if (!s->shut)
			(void)sluice_shutdown(s->st, s->c, SHUT_WR);
	}
	while (p->now < until && !over(p)) {
		uint64_t next;

		poll_both(p);
		for (unsigned int i = 0; i < 2; i++)
			while (p->s[i].nq > 0)
				deliver(&p->s[i], 0, false);
		poll_both(p);
		next = RTE_MIN(sluice_squeue_next(p->s[0].sq), sluice_squeue_next(p->s[1].sq));
		p->now = p->s[0].nq + p->s[1].nq > 0 ? p->now + 1000 : RTE_MAX(next, p->now + 1000);
	}
	FUZZ_MUST(p->forged || over(p));
	for (unsigned int i = 0; i < 2; i++) {
		struct sluice_counters n;

		sluice_counters_get(p->s[i].sq, &n);
		FUZZ_MUST(!p->calm || (n.tcp_retrans_segs == 0 && n.tcp_in_data_unorder_segs == 0));
	}
	*(p->aborted || p->s[0].error || p->s[1].error ? &failed : &finished) += 1;
}

static void stop_side(struct side *s)
{
	struct sluice_leaks l = {.size = sizeof(l)};

	for (unsigned int i = 0; i < s->nq; i++)
		rte_pktmbuf_free(s->q[i]);
	s->nq = 0;
	(void)sluice_close(s->st, s->c);
	(void)sluice_squeue_poll(s->sq, s->p->now, 0);
	for (unsigned int i = 0; i < s->nq; i++)
		rte_pktmbuf_free(s->q[i]);
	FUZZ_MUST(sluice_squeue_release(s->sq) == 0);
	s->nq = QUEUE; /* the port takes nothing more */
	FUZZ_MUST(sluice_stack_destroy(s->st, &l) == 0);
	FUZZ_MUST(l.records == 0 && l.timers == 0);
	FUZZ_MUST(tp_out(s->pool) == 0);
	tp_destroy(s->pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pair pair;
	struct pair *p = &pair;
	uint8_t limits;

	rte_log_set_global_level(RTE_LOG_EMERG);
	*p = (struct pair){.now = SLUICE_SEC(1), .in = data, .end = data + size};
	limits = u8(p);
	p->calm = !(limits & (16 | 64));
	start_side(p, 0, limits);
	start_side(p, 1, limits);
	connect_them(p);
	while (p->in < p->end)
		step(p);
	finish(p);
	stop_side(&p->s[0]);
	stop_side(&p->s[1]);
	return 0;
}

bool fuzz_report(void)
{
	printf("pairs that finished %llu, that ended in an error %llu\n",
	    (unsigned long long)finished, (unsigned long long)failed);
	return finished > 0 && failed > 0;
}
