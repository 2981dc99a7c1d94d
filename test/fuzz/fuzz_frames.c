/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A sequence of frames, calls and steps of time against peers in states that the input chooses. Most
 * frames are segments of a template whose numbers are relative to what the stack last sent, with
 * checksums made right, so that changes reach the state machine; some are raw.
 *
 * The input: limits, behaviour of the application, a byte for each of four peers (host.h), then
 * operations.
 */
#include <rte_ip.h>

#include "host.h"

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

/* One fragment: n bytes of the segment from `at` on, and whether more follow. */
static void give_fragment(
    struct fuzz *f, bool v6, uint16_t id, const uint8_t *whole, uint16_t at, uint16_t n, bool more)
{
	uint16_t fo = (uint16_t)(v6 ? at | more : at / 8 | (more ? 0x2000 : 0));
	struct rte_ipv4_hdr *h = (struct rte_ipv4_hdr *)(f->frame + 14);
	uint8_t *p;

	if (v6) {
		p = ip_hdr(f, true, IPPROTO_FRAGMENT, (uint16_t)(8 + n));
		memset(p, 0, 8);
		p[0] = IPPROTO_TCP;
		p[2] = (uint8_t)(fo >> 8), p[3] = (uint8_t)fo;
		p[6] = (uint8_t)(id >> 8), p[7] = (uint8_t)id;
		memcpy(p + 8, whole + at, n);
	} else {
		memcpy(ip_hdr(f, false, IPPROTO_TCP, n), whole + at, n);
		h->packet_id = rte_cpu_to_be_16(id);
		h->fragment_offset = rte_cpu_to_be_16(fo);
		h->hdr_checksum = 0;
		h->hdr_checksum = (uint16_t)~rte_raw_cksum(h, 20);
	}
	give(f, 0);
}

/* Fragments of a data segment, in an order and with holes and overlaps that the input says. */
static void op_frag(struct fuzz *f, uint8_t arg)
{
	const struct peer *r = &f->peer[arg % NPEERS];
	uint16_t total, id = u16(f), step = (uint16_t)(8 * (1 + u8(f) % 64)), len = u16(f) % 1400;
	uint8_t whole[MAX_FRAME], order = u8(f);

	(void)segment(f, r, F_ACK, r->snd, r->rcv, 1000, syn_opts, 0, len);
	total = (uint16_t)(f->len - (r->v6 ? 54 : 34));
	memcpy(whole, f->frame + f->len - total, total);
	for (uint16_t i = 0; i < 16; i++) {
		uint16_t k = order & 1 ? (uint16_t)(15 - i) : i, at = (uint16_t)(k * step), n;

		if (at >= total || (order & 0x80 && k == (order >> 1 & 15)))
			continue;
		n = (uint16_t)RTE_MIN(step + (order & 0x40 ? 8 : 0), total - at);
		give_fragment(f, r->v6, id, whole, at, n, at + n < total);
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
		f->port.stuck = what & 1;
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

static void step(struct fuzz *f)
{
	uint8_t b = u8(f), arg = u8(f);

	f->hold = b & 0x40;
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
	uint8_t limits = size > 0 ? data[0] : 0, behave = size > 1 ? data[1] : 0;

	fuzz_start(f, data, size, limits);
	for (unsigned int i = 0; i < 4 && i + 2 < size; i++) {
		f->end = data; /* opening takes nothing from the input */
		fuzz_peer(f, i, data[i + 2]);
		f->end = data + size;
	}
	f->p += RTE_MIN(size, (size_t)6);
	f->behave = behave;
	if (limits & 128)
		tp_set_limit(f->pool, tp_out(f->pool) + 8 + behave);
	while (f->p < f->end)
		step(f);
	fuzz_stop(f);
	return 0;
}

bool fuzz_report(void)
{
	return fuzz_states() && fuzz_reassembled();
}
