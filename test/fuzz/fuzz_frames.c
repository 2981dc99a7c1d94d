/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stack that holds listeners, connections opened by either side, a half-open one and a TIME_WAIT
 * one is fed what the input says: frames, calls and steps of time. Most frames are segments of a
 * template whose numbers are relative to what the stack last sent, with checksums made right, so
 * that changes reach the state machine; some are raw. Every frame is an mbuf of exactly its size,
 * now and then cut into a chain. The end of each input asserts that all came back.
 *
 * The input: two bytes of set-up (behaviour of the application; limits), then operations.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>

#include <sluice/sluice.h>

#include "fuzz.h"
#include "mpool.h"

uint64_t fuzz_input_number;

#define NPEERS 8
#define MAX_FRAME 2048
#define OUR_MAC 2, 0, 0, 0, 0, 1
#define HER_MAC 2, 0, 0, 0, 0, 2

enum {
	F_FIN = 1,
	F_SYN = 2,
	F_RST = 4,
	F_PSH = 8,
	F_ACK = 16,
	F_URG = 32
};

/* One tuple as its peer sees it. snd: what the stack has acknowledged; rcv: behind the last byte it
 * sent. */
struct peer {
	bool v6, ts;
	uint16_t lport, rport; /* of the stack; of the peer */
	uint32_t snd, rcv, una, tsecr;
	sluice_conn_t c;
};

struct fuzz {
	struct sluice_stack *st;
	struct sluice_squeue *sq;
	struct rte_mempool *pool, *rxpool;
	uint64_t now;
	const uint8_t *p, *end;
	uint8_t behave;
	bool tx_stop;
	struct peer peer[NPEERS];
	sluice_conn_t listener[2], last_eager;
	unsigned int calls;
	char zc[512];
	uint8_t frame[MAX_FRAME];
	uint16_t len;
};

static const uint8_t syn_opts[] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7};

/* ---- the input ---- */

static uint8_t u8(struct fuzz *f)
{
	return f->p < f->end ? *f->p++ : 0;
}

static uint16_t u16(struct fuzz *f)
{
	uint16_t v = u8(f);

	return (uint16_t)(v << 8 | u8(f));
}

/* Small most of the time: 1, 2 or 4 bytes by the top bits of the first. */
static int32_t delta(struct fuzz *f)
{
	uint8_t b = u8(f);
	uint32_t v;

	if (b < 0x80)
		return (b & 0x40) != 0 ? b - 0x80 : b;
	if (b < 0xe0)
		return (int16_t)u16(f);
	v = (uint32_t)u16(f) << 16;
	return (int32_t)(v | u16(f));
}

/* ---- the port ---- */

static void seen(struct fuzz *f, const uint8_t *p, uint32_t len)
{
	uint16_t sport, dport, type, dlen;
	const struct rte_tcp_hdr *t;
	uint32_t seq, hl;
	bool v6;

	if (len < 54)
		return;
	type = (uint16_t)(p[12] << 8 | p[13]);
	v6 = type == RTE_ETHER_TYPE_IPV6;
	if (v6 ? len < 74 || p[20] != IPPROTO_TCP : p[23] != IPPROTO_TCP)
		return;
	t = (const struct rte_tcp_hdr *)(p + (v6 ? 54 : 34));
	dlen = (uint16_t)(v6 ? (p[18] << 8 | p[19]) : (p[16] << 8 | p[17]) - 20);
	hl = (t->data_off >> 4) * 4u;
	sport = rte_be_to_cpu_16(t->src_port);
	dport = rte_be_to_cpu_16(t->dst_port);
	seq = rte_be_to_cpu_32(t->sent_seq);
	for (unsigned int i = 0; i < NPEERS; i++) {
		struct peer *r = &f->peer[i];

		if (r->v6 != v6 || r->rport != dport || (r->lport != 0 && r->lport != sport))
			continue;
		r->lport = sport;
		r->rcv =
		    seq + dlen - hl + ((t->tcp_flags & F_SYN) != 0) + ((t->tcp_flags & F_FIN) != 0);
		if (t->tcp_flags & F_ACK)
			r->snd = rte_be_to_cpu_32(t->recv_ack);
		if (hl >= 32 && !(t->tcp_flags & F_SYN) && ((const uint8_t *)t)[23] == 10)
			memcpy(&r->tsecr, (const uint8_t *)t + 24, 4);
		break;
	}
}

static uint16_t port_rx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	return 0;
}

static uint16_t port_tx(void *ctx, uint16_t q, struct rte_mbuf **pkts, uint16_t n, uint64_t now)
{
	struct fuzz *f = ctx;
	uint8_t copy[128];

	if (f->tx_stop)
		return 0;
	for (uint16_t i = 0; i < n; i++) {
		uint32_t len = RTE_MIN(pkts[i]->pkt_len, (uint32_t)sizeof(copy));

		/* All of it: the sanitizer shall see what was handed out. */
		for (const struct rte_mbuf *m = pkts[i]; m != NULL; m = m->next)
			for (uint16_t k = 0; k < m->data_len; k++)
				f->calls += rte_pktmbuf_mtod(m, const uint8_t *)[k] == 0;
		if (rte_pktmbuf_read(pkts[i], 0, len, copy) != copy)
			memcpy(copy, rte_pktmbuf_mtod(pkts[i], void *), len);
		seen(f, copy, len);
		rte_pktmbuf_free(pkts[i]);
	}
	return n;
}

static int port_info(void *ctx, struct sluice_port_info *info)
{
	*info = (struct sluice_port_info){.size = sizeof(*info),
	    .caps = SLUICE_CAP_TX_MULTISEG | SLUICE_CAP_TX_INDIRECT,
	    .mtu = 1500,
	    .nqueues = 1,
	    .mac = {OUR_MAC},
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

/* ---- the application: upcalls that do what behave says ---- */

static void end_it(struct fuzz *f, sluice_conn_t c, unsigned int bit)
{
	if (f->behave & bit)
		(void)((f->behave & 0x80) ? sluice_abort(f->st, c) : sluice_close(f->st, c));
}

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct fuzz *f = arg;
	struct sockaddr_in6 a; /* the port lies where sockaddr_in has it */
	socklen_t len = sizeof(a);

	f->last_eager = eager;
	if (sluice_getpeername(f->st, eager, (struct sockaddr *)&a, &len) == 0) {
		unsigned int i = rte_be_to_cpu_16(a.sin6_port) - 1000u;

		if (i < NPEERS && f->peer[i].c == SLUICE_CONN_NONE)
			f->peer[i].c = eager;
	}
	(void)sluice_accept(f->st, l, eager);
	if ((f->behave & 0xc1) == 0xc1)
		return -ECONNREFUSED;
	return 0;
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct fuzz *f = arg;
	struct rte_mbuf *m = NULL;
	ssize_t n = sluice_readable(f->st, c);

	FUZZ_MUST(n >= 0 && (size_t)n == avail);
	if (++f->calls % 16 == 0)
		end_it(f, c, 1);
	switch (f->behave >> 1 & 7) {
	case 0: /* reads all */
		FUZZ_MUST(sluice_consume(f->st, c, avail) == 0);
		break;
	case 1: /* echoes */
		n = sluice_take(f->st, c, avail, &m);
		if (n > 0 && sluice_send(f->st, c, m, 0) != 0)
			rte_pktmbuf_free(m);
		break;
	case 2: /* to itself */
		(void)sluice_splice(f->st, c, c, avail);
		break;
	case 3: /* leaves it */
		break;
	case 4:
		FUZZ_MUST(sluice_consume(f->st, c, avail + 1) == -EINVAL);
		FUZZ_MUST(sluice_consume(f->st, c, avail / 2 + 1) == 0);
		break;
	case 5: /* to another */
		(void)sluice_splice(f->st, c, f->last_eager, avail);
		break;
	case 6: /* has no room */
		n = sluice_take(f->st, c, 1 + avail / 3, &m);
		rte_pktmbuf_free(m);
		return -ENOSPC;
	default:
		(void)sluice_send_copy(f->st, c, f->frame, sizeof(f->frame), 0);
		(void)sluice_consume(f->st, c, 1);
		break;
	}
	return 0;
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	end_it(arg, c, 0x10);
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	(void)sluice_close(((struct fuzz *)arg)->st, c);
}

static void on_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	if (op == SLUICE_OPCTL_SHUT_RECV)
		end_it(arg, c, 0x20);
}

static void on_full(void *arg, sluice_conn_t c, bool full)
{
	struct fuzz *f = arg;

	if (!full)
		(void)sluice_send_copy(f->st, c, f->frame, 700, 0);
	end_it(f, c, 0x40);
}

static void on_oob(void *arg, sluice_conn_t c, size_t mark)
{
	struct fuzz *f = arg;

	(void)sluice_consume(f->st, c, mark);
}

static void on_closed(void *arg, sluice_conn_t c)
{
	struct fuzz *f = arg;

	(void)sluice_close(f->st, c);
	(void)sluice_abort(f->st, c);
	for (unsigned int i = 0; i < NPEERS; i++)
		if (f->peer[i].c == c)
			f->peer[i].c = SLUICE_CONN_NONE;
}

static const struct sluice_upcalls ups = {.size = sizeof(ups),
    .newconn = on_newconn,
    .connected = on_connected,
    .disconnected = on_disconnected,
    .opctl = on_opctl,
    .recv = on_recv,
    .txq_full = on_full,
    .signal_oob = on_oob,
    .closed = on_closed};

/* ---- frames ---- */

static void give(struct fuzz *f, unsigned int cuts)
{
	struct rte_mbuf *m, *tail = NULL, *head = NULL;
	uint16_t at = 0, n = (uint16_t)(cuts > 0 ? f->len / (cuts + 1) : f->len);

	for (unsigned int i = 0; i <= cuts && (at < f->len || i == 0); i++) {
		if (i == cuts)
			n = (uint16_t)(f->len - at);
		m = tp_exact(f->rxpool, f->frame + at, n, 0);
		FUZZ_MUST(m != NULL);
		at = (uint16_t)(at + n);
		if (head == NULL) {
			head = m;
		} else {
			tail->next = m;
			head->nb_segs++;
			head->pkt_len += n;
		}
		tail = m;
	}
	for (unsigned int i = sluice_input(f->sq, 0, &head, 1, f->now); i > 0; i--)
		rte_pktmbuf_free(head);
}

static void poll_some(struct fuzz *f)
{
	for (unsigned int i = 0; i < 64; i++) {
		int rc = sluice_squeue_poll(f->sq, f->now, 0);

		FUZZ_MUST(rc >= 0);
		if (rc == 0)
			break;
	}
}

/* Checksums of f->frame as they should be, if it is what they are of. */
static void fix(struct fuzz *f)
{
	struct rte_ipv4_hdr *ip4 = (struct rte_ipv4_hdr *)(f->frame + 14);
	struct rte_ipv6_hdr *ip6 = (struct rte_ipv6_hdr *)(f->frame + 14);
	uint16_t type = (uint16_t)(f->frame[12] << 8 | f->frame[13]), l4, *cksum, off;
	uint8_t proto;

	if (type == RTE_ETHER_TYPE_IPV4 && f->len >= 34) {
		l4 = (uint16_t)((ip4->version_ihl & 15) * 4);
		if (l4 < 20 || 14 + l4 > f->len)
			return;
		ip4->hdr_checksum = 0;
		ip4->hdr_checksum = (uint16_t)~rte_raw_cksum(ip4, l4);
		proto = ip4->next_proto_id;
		if (rte_be_to_cpu_16(ip4->total_length) + 14 != f->len)
			return;
	} else if (type == RTE_ETHER_TYPE_IPV6 && f->len >= 54) {
		l4 = 40;
		proto = ip6->proto;
		if (rte_be_to_cpu_16(ip6->payload_len) + 54 != f->len)
			return;
	} else {
		return;
	}
	off = (uint16_t)(proto == IPPROTO_TCP ? 16 : 2);
	if (f->len < 14 + l4 + off + 2 ||
	    (proto != IPPROTO_TCP && proto != IPPROTO_ICMP && proto != IPPROTO_ICMPV6))
		return;
	cksum = (uint16_t *)(f->frame + 14 + l4 + off);
	*cksum = 0;
	if (proto == IPPROTO_ICMP)
		*cksum = (uint16_t)~rte_raw_cksum(f->frame + 14 + l4, f->len - 14u - l4);
	else
		*cksum = type == RTE_ETHER_TYPE_IPV4
			     ? rte_ipv4_udptcp_cksum(ip4, f->frame + 14 + l4)
			     : rte_ipv6_udptcp_cksum(ip6, f->frame + 14 + l4);
}

/* Ethernet and IP header for `len` bytes of `proto`; returns where those begin. */
static uint8_t *ip_hdr(struct fuzz *f, bool v6, uint8_t proto, uint16_t len)
{
	static const uint8_t eth[12] = {OUR_MAC, HER_MAC};
	uint8_t *p = f->frame;

	memcpy(p, eth, 12);
	memset(p + 12, 0, 42);
	if (v6) {
		p[12] = 0x86, p[13] = 0xdd, p[14] = 0x60;
		p[18] = (uint8_t)(len >> 8), p[19] = (uint8_t)len;
		p[20] = proto, p[21] = 255;
		p[22] = 0xfd, p[37] = 2;
		p[38] = 0xfd, p[53] = 1;
		f->len = (uint16_t)(54 + len);
		return p + 54;
	}
	p[12] = 8, p[14] = 0x45, p[23] = proto, p[22] = 64;
	p[16] = (uint8_t)((len + 20) >> 8), p[17] = (uint8_t)(len + 20);
	p[26] = 10, p[29] = 2;
	p[30] = 10, p[33] = 1;
	f->len = (uint16_t)(34 + len);
	return p + 34;
}

static uint8_t *segment(struct fuzz *f, const struct peer *r, uint8_t flags, uint32_t seq,
    uint32_t ack, uint16_t win, const uint8_t *opts, uint8_t optlen, uint16_t len)
{
	uint8_t *t = ip_hdr(f, r->v6, IPPROTO_TCP, (uint16_t)(20 + optlen + len));
	struct rte_tcp_hdr *h = (struct rte_tcp_hdr *)t;

	*h = (struct rte_tcp_hdr){.src_port = rte_cpu_to_be_16(r->rport),
	    .dst_port = rte_cpu_to_be_16(r->lport),
	    .sent_seq = rte_cpu_to_be_32(seq),
	    .recv_ack = rte_cpu_to_be_32(ack),
	    .data_off = (uint8_t)((20 + optlen) / 4 << 4),
	    .tcp_flags = flags,
	    .rx_win = rte_cpu_to_be_16(win)};
	memcpy(t + 20, opts, optlen);
	for (uint16_t i = 0; i < len; i++)
		t[20 + optlen + i] = (uint8_t)(seq + i);
	fix(f);
	return t;
}

/* Timestamp, and SACK blocks of what lies above `ack`, as the operation asks. */
static uint8_t options(struct fuzz *f, const struct peer *r, uint8_t what, uint8_t o[40])
{
	uint32_t ms = rte_cpu_to_be_32((uint32_t)(f->now / 1000000)), a, b;
	uint8_t n = 0, blocks;

	if (what & 1) {
		memcpy(o, "\1\1\10\12", 4);
		memcpy(o + 4, &ms, 4);
		memcpy(o + 8, &r->tsecr, 4);
		n = 12;
	}
	if (what & 2) {
		blocks = (uint8_t)(1 + (what >> 4) % 3);
		memcpy(o + n, "\1\1\5", 3);
		o[n + 3] = (uint8_t)(2 + 8 * blocks);
		n = (uint8_t)(n + 4);
		for (; blocks > 0; blocks--, n = (uint8_t)(n + 8)) {
			a = r->rcv - (uint32_t)delta(f);
			b = a + (uint32_t)delta(f);
			a = rte_cpu_to_be_32(a), b = rte_cpu_to_be_32(b);
			memcpy(o + n, &a, 4);
			memcpy(o + n + 4, &b, 4);
		}
	}
	if (what & 4) { /* any */
		uint8_t k = (uint8_t)(4 * (1 + (what >> 6)));

		for (; k > 0 && n < 40; k--)
			o[n++] = u8(f);
	}
	return n;
}

static void op_segment(struct fuzz *f, uint8_t arg)
{
	struct peer *r = &f->peer[arg % NPEERS];
	uint8_t opts[40], flags = u8(f), what = u8(f), optlen, how;
	uint32_t seq = r->snd + (uint32_t)delta(f), ack = r->rcv - (uint32_t)delta(f);
	uint16_t win = u16(f), len = u16(f) % 1461;
	uint8_t *t;

	optlen = options(f, r, r->ts ? what ^ 1 : what, opts);
	if (len + optlen > 1440)
		len = (uint16_t)(1440 - optlen);
	t = segment(f, r, flags, seq, ack, win, opts, optlen, len);
	how = u8(f);
	if (flags & F_URG)
		t[19] = u8(f);
	if (how & 1)
		t[12] = u8(f);
	if (how & 2)
		f->frame[14 + u8(f) % 40] = u8(f);
	if (how & 4)
		f->len = (uint16_t)RTE_MIN(f->len, 14 + u16(f) % 1500);
	fix(f);
	give(f, how >> 6);
}

static void op_raw(struct fuzz *f, uint8_t arg)
{
	uint16_t n = u16(f) % 1600;
	uint8_t how = u8(f);

	if (arg & 1)
		(void)ip_hdr(f, arg & 2, arg & 4 ? IPPROTO_TCP : u8(f), n);
	else
		f->len = n;
	for (uint16_t i = (arg & 1) ? 14 : 0; i < f->len && f->p < f->end; i++)
		f->frame[i] = (how & 2) ? (uint8_t)(f->frame[i] ^ u8(f)) : u8(f);
	if (how & 1)
		fix(f);
	give(f, how >> 6);
}

/* The last frame again, with bytes changed. */
static void op_again(struct fuzz *f, uint8_t arg)
{
	for (unsigned int i = arg & 7; i > 0 && f->len > 14; i--) {
		uint16_t at = (uint16_t)(12 + u8(f) % (f->len - 12));

		f->frame[at] = u8(f);
	}
	if (arg & 0x10)
		f->len = (uint16_t)RTE_MIN((unsigned int)f->len, 14u + u16(f) % 1500);
	if (arg & 0x20)
		fix(f);
	give(f, arg >> 6);
}

/* An ICMP error about a segment of ours. */
static void op_icmp(struct fuzz *f, uint8_t arg)
{
	const struct peer *r = &f->peer[arg % NPEERS];
	uint8_t type = u8(f), code = u8(f), quote[60], *p;
	uint32_t seq = rte_cpu_to_be_32(r->rcv - (uint32_t)delta(f));
	uint16_t mtu = u16(f), qlen = (uint16_t)(r->v6 ? 60 : 40), cut = u8(f);

	(void)ip_hdr(f, r->v6, IPPROTO_TCP, 20);
	memcpy(quote, f->frame + 14, qlen);
	if (r->v6) { /* ours to her */
		quote[23] = 1, quote[39] = 2;
	} else {
		quote[15] = 1, quote[19] = 2;
	}
	p = quote + qlen - 20;
	p[0] = (uint8_t)(r->lport >> 8), p[1] = (uint8_t)r->lport;
	p[2] = (uint8_t)(r->rport >> 8), p[3] = (uint8_t)r->rport;
	memcpy(p + 4, &seq, 4);
	if (arg & 0x80)
		quote[cut % qlen] ^= code;
	qlen = (uint16_t)(arg & 0x40 ? cut % qlen : qlen);
	p = ip_hdr(f, r->v6, r->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, (uint16_t)(8 + qlen));
	memset(p, 0, 8);
	p[0] = type, p[1] = code, p[6] = (uint8_t)(mtu >> 8), p[7] = (uint8_t)mtu;
	memcpy(p + 8, quote, qlen);
	fix(f);
	give(f, 0);
}

/* IPv4 fragments of a data segment, in an order and with holes that the input says. */
static void op_frag(struct fuzz *f, uint8_t arg)
{
	const struct peer *r = &f->peer[arg % NPEERS];
	uint16_t total, id = u16(f), step = (uint16_t)(8 * (1 + u8(f) % 64)), len = u16(f) % 1400;
	uint8_t whole[MAX_FRAME], order = u8(f);

	(void)segment(f, r, F_ACK, r->snd, r->rcv, 1000, syn_opts, 0, len);
	if (r->v6)
		return;
	memcpy(whole, f->frame, f->len);
	total = (uint16_t)(f->len - 34);
	for (uint16_t i = 0; i < 16; i++) {
		uint16_t k = order & 1 ? (uint16_t)(15 - i) : i, at = (uint16_t)(k * step), n, fo;

		if (at >= total || (order & 0x80 && k == (order >> 1 & 15)))
			continue;
		n = (uint16_t)RTE_MIN(step + (order & 0x40 ? 8 : 0), total - at);
		fo = (uint16_t)(at / 8 | (at + n < total ? 0x2000 : 0));
		memcpy(ip_hdr(f, false, IPPROTO_TCP, n), whole + 34 + at, n);
		f->frame[18] = (uint8_t)(id >> 8), f->frame[19] = (uint8_t)id;
		f->frame[20] = (uint8_t)(fo >> 8), f->frame[21] = (uint8_t)fo;
		((struct rte_ipv4_hdr *)(f->frame + 14))->hdr_checksum = 0;
		((struct rte_ipv4_hdr *)(f->frame + 14))->hdr_checksum =
		    (uint16_t)~rte_raw_cksum(f->frame + 14, 20);
		give(f, 0);
	}
}

/* ARP, or neighbour discovery whose body the input says. */
static void op_neigh(struct fuzz *f, uint8_t arg)
{
	uint8_t *p;

	if (arg & 1) {
		p = ip_hdr(f, true, IPPROTO_ICMPV6, (uint16_t)(24 + 8 * (arg >> 6)));
		memset(p, 0, 24 + 8 * (arg >> 6));
		p[0] = (uint8_t)(133 + (arg >> 1 & 3)), p[8] = 0xfd, p[23] = u8(f);
		p[24] = arg & 0x10 ? 1 : 2, p[25] = 1;
		for (unsigned int i = u8(f) % 8; i > 0; i--)
			p[4 + u8(f) % (20 + 8 * (arg >> 6))] = u8(f);
		fix(f);
	} else {
		(void)ip_hdr(f, false, 0, 8);
		memcpy(f->frame + 12, "\x08\x06\0\1\x08\0\6\4\0", 9);
		f->frame[21] = (uint8_t)(arg >> 1 & 3);
		for (unsigned int i = 22; i < 42; i++)
			f->frame[i] = 0;
		f->frame[28] = 10, f->frame[31] = u8(f), f->frame[38] = 10, f->frame[41] = u8(f);
		f->frame[27] = u8(f);
	}
	give(f, arg >> 5 & 1);
}

/* ---- calls ---- */

static void call_data(struct fuzz *f, sluice_conn_t c, uint8_t what)
{
	struct rte_mbuf *m = NULL;
	struct iovec iov[3];

	switch (what % 8) {
	case 0:
		(void)sluice_send_copy(f->st, c, f->frame, u16(f) % sizeof(f->frame), u8(f));
		break;
	case 1:
		(void)sluice_send_external(f->st, c, f->zc, 0, u16(f) % sizeof(f->zc), f, u8(f));
		break;
	case 2:
		(void)sluice_consume(f->st, c, u16(f));
		break;
	case 3:
		if (sluice_take(f->st, c, u16(f), &m) > 0 && sluice_send(f->st, c, m, 0) == 0)
			m = NULL;
		rte_pktmbuf_free(m);
		break;
	case 4:
		(void)sluice_splice(f->st, c, f->peer[u8(f) % NPEERS].c, u16(f));
		break;
	case 5:
		(void)sluice_peek(f->st, c, iov, 3);
		break;
	case 6:
		(void)sluice_clr_flowctrl(f->st, c);
		break;
	default:
		(void)sluice_shutdown(f->st, c, u8(f) % 3);
		break;
	}
}

static void connect_peer(struct fuzz *f, struct peer *r)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET,
	    .sin_port = rte_cpu_to_be_16(r->rport),
	    .sin_addr.s_addr = htonl(0x0a000002)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = rte_cpu_to_be_16(r->rport)};

	a6.sin6_addr.s6_addr[0] = 0xfd;
	a6.sin6_addr.s6_addr[15] = 2;
	if (r->c != SLUICE_CONN_NONE ||
	    sluice_create(f->st, r->v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0, 0, 0, &r->c) != 0)
		return;
	FUZZ_MUST(sluice_activate(f->st, r->c, &ups, f) == 0);
	r->lport = 0;
	(void)sluice_connect(f->st, r->c,
	    r->v6 ? (const struct sockaddr *)&a6 : (const struct sockaddr *)&a4,
	    r->v6 ? sizeof(a6) : sizeof(a4), NULL);
}

static void op_call(struct fuzz *f, uint8_t arg)
{
	struct peer *r = &f->peer[arg % NPEERS];
	struct sluice_conn_info info = {.size = sizeof(info)};
	uint8_t what = u8(f);
	int val = delta(f);
	socklen_t len = sizeof(val);

	switch (what >> 4) {
	case 0:
		(void)sluice_close(f->st, r->c);
		break;
	case 1:
		(void)sluice_abort(f->st, r->c);
		break;
	case 2:
		(void)sluice_setsockopt(f->st, r->c, IPPROTO_TCP, what & 15, &val, sizeof(val));
		break;
	case 3:
		(void)sluice_setsockopt(f->st, r->c, SOL_SOCKET, u8(f), &val, sizeof(val));
		(void)sluice_getsockopt(f->st, r->c, IPPROTO_TCP, what & 15, &val, &len);
		break;
	case 4:
		(void)sluice_conn_info(f->st, r->c, &info);
		break;
	case 5:
		connect_peer(f, r);
		break;
	case 6:
		f->tx_stop = what & 1;
		break;
	case 7:
		tp_fail_nth(f->pool, u8(f));
		break;
	case 8:
		if (val % 8 == 0)
			(void)sluice_close(f->st, f->listener[what & 1]);
		break;
	case 9:
		f->behave = u8(f);
		break;
	default:
		call_data(f, r->c, what);
		break;
	}
}

/* ---- set-up ---- */

static void set_up_stack(struct fuzz *f, uint8_t limits)
{
	static const uint8_t her_mac[6] = {HER_MAC};
	struct sluice_if_params ifp = {
	    .size = sizeof(ifp), .name = "e0", .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_tunables tun;
	struct sluice_stack_params sp = {.size = sizeof(sp),
	    .name = "fuzz",
	    .nsqueues = 1,
	    .max_connections = 16,
	    .hdr_pool = f->pool,
	    .seed = 7,
	    .tunables = &tun};
	struct sluice_txn *txn;

	sluice_tunables_default(&tun);
	tun.ip_dad_probes = 0;
	tun.sq_call_slots = 16;
	if (limits & 1)
		tun.tcp_rec_max = 64;
	if (limits & 2)
		tun.tcp_ooo_max = 1;
	if (limits & 4)
		tun.tcp_sndbuf = 2048, tun.tcp_rcvbuf = 2048;
	if (limits & 8)
		tun.tcp_time_wait_max = 1;
	if (limits & 16)
		tun.ip_neigh_max = 16, tun.tcp_delack = 0;
	if (limits & 32)
		tun.tcp_cc = 0, tun.tcp_copy_below = 0;
	if (limits & 64)
		tun.ip_frag_max = 1, tun.tcp_backlog_q0 = 1;
	FUZZ_MUST(sluice_stack_create(&sp, &f->st, NULL) == 0);
	FUZZ_MUST(sluice_port_add(f->st, (struct sluice_driver){.ops = &port_ops, .ctx = f}) == 0);
	FUZZ_MUST(sluice_txn_begin(f->st, &txn) == 0);
	FUZZ_MUST(sluice_if_add(txn, &ifp) == 0);
	FUZZ_MUST(sluice_addr_add(txn, "e0", "10.0.0.1/24", false) == 0);
	FUZZ_MUST(sluice_addr_add(txn, "e0", "fd00::1/64", false) == 0);
	FUZZ_MUST(sluice_neigh_add(txn, "e0", "10.0.0.2", her_mac) == 0);
	FUZZ_MUST(sluice_neigh_add(txn, "e0", "fd00::2", her_mac) == 0);
	FUZZ_MUST(sluice_txn_commit(txn, NULL) == 0);
	f->sq = sluice_squeue(f->st, 0);
	poll_some(f);
}

static void listen_on(struct fuzz *f, unsigned int i, int backlog)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(80)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(81)};
	const struct sockaddr *sa = i ? (const struct sockaddr *)&a6 : (const struct sockaddr *)&a4;

	FUZZ_MUST(sluice_create(f->st, sa->sa_family, SOCK_STREAM, 0, 0, 0, &f->listener[i]) == 0);
	FUZZ_MUST(sluice_activate(f->st, f->listener[i], &ups, f) == 0);
	FUZZ_MUST(sluice_bind(f->st, f->listener[i], sa, i ? sizeof(a6) : sizeof(a4)) == 0);
	FUZZ_MUST(sluice_listen(f->st, f->listener[i], backlog) == 0);
}

/* 0, 1: passive, IPv4 with all options and IPv6 with none; 2, 3: the same, active; 4: half open;
 * 5: TIME_WAIT; 6, 7: nothing yet. */
static void set_up_peers(struct fuzz *f)
{
	for (unsigned int i = 0; i < NPEERS; i++) {
		struct peer *r = &f->peer[i];
		uint8_t n = i & 1 ? 0 : sizeof(syn_opts);

		*r = (struct peer){.v6 = i & 1, .rport = (uint16_t)(1000 + i), .ts = !(i & 1)};
		if (i == 2 || i == 3) {
			connect_peer(f, r);
			poll_some(f);
			(void)segment(f, r, F_SYN | F_ACK, 5000, r->rcv, 60000, syn_opts, n, 0);
		} else {
			r->lport = i & 1 ? 81 : 80;
			r->snd = 5000;
			if (i > 5)
				continue;
			(void)segment(f, r, F_SYN, 5000, 0, 60000, syn_opts, n, 0);
		}
		give(f, 0);
		poll_some(f);
		if (i == 2 || i == 3 || i == 4)
			continue;
		n = options(f, r, r->ts, f->frame + 1024);
		(void)segment(f, r, F_ACK, r->snd, r->rcv, 60000, f->frame + 1024, n, 0);
		give(f, 0);
		poll_some(f);
	}
	if (f->peer[5].c == SLUICE_CONN_NONE)
		return;
	(void)sluice_close(f->st, f->peer[5].c);
	poll_some(f);
	(void)segment(
	    f, &f->peer[5], F_ACK | F_FIN, f->peer[5].snd, f->peer[5].rcv, 60000, syn_opts, 0, 0);
	give(f, 0);
	poll_some(f);
}

static void tear_down(struct fuzz *f)
{
	struct sluice_leaks l = {.size = sizeof(l)};

	f->tx_stop = false;
	tp_fail_nth(f->pool, 0);
	poll_some(f);
	FUZZ_MUST(sluice_squeue_release(f->sq) == 0);
	FUZZ_MUST(sluice_stack_destroy(f->st, &l) == 0);
	FUZZ_MUST(l.records == 0 && l.timers == 0);
	FUZZ_MUST(tp_out(f->pool) == 0 && tp_out(f->rxpool) == 0);
	tp_destroy(f->pool);
	tp_destroy(f->rxpool);
}

static void step(struct fuzz *f)
{
	uint8_t b = u8(f), arg = u8(f);

	switch (b % 16) {
	case 0:
		op_raw(f, arg);
		break;
	case 1:
		op_icmp(f, arg);
		break;
	case 2:
		op_frag(f, arg);
		break;
	case 3:
		op_neigh(f, arg);
		break;
	case 4:
	case 5:
		op_again(f, arg);
		break;
	case 6:
	case 7:
	case 8:
		op_call(f, arg);
		break;
	case 9:
		f->now += (uint64_t)(1 + (arg >> 6)) << (arg & 31) << 6;
		poll_some(f);
		break;
	default:
		op_segment(f, arg);
		break;
	}
	if (!(b & 0x80))
		poll_some(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz fuzz;
	struct fuzz *f = &fuzz;
	uint8_t limits;

	rte_log_set_global_level(RTE_LOG_EMERG);
	*f = (struct fuzz){.now = SLUICE_SEC(1), .p = data, .end = data + size};
	f->behave = 0;
	f->pool = tp_create(2048, 0);
	f->rxpool = tp_create(2048, 0);
	FUZZ_MUST(f->pool != NULL && f->rxpool != NULL);
	limits = u8(f);
	set_up_stack(f, limits);
	listen_on(f, 0, limits & 128 ? 1 : 16);
	listen_on(f, 1, limits & 128 ? 1 : 16);
	f->p = f->end; /* set-up takes nothing from the input */
	set_up_peers(f);
	f->p = data + (size > 0);
	f->behave = u8(f);
	if (limits & 128)
		tp_set_limit(f->pool, 8 + f->behave);
	while (f->p < f->end)
		step(f);
	tear_down(f);
	return 0;
}
