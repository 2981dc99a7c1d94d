/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets: made from a script's description, taken apart, compared with one, printed. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "octets.h"
#include "wire.h"

#define PEER4 "10.0.0.9"
#define OURS4 "10.0.0.1"
#define PEER6 "fd00::9"
#define OURS6 "fd00::1"

uint8_t wire_byte(uint32_t at, bool of_peer)
{
	return (uint8_t)(at * 31 + (at >> 8) * 7 + (of_peer ? 101 : 7));
}

static uint32_t val(const struct wire_spec *p, enum wire_field f, uint32_t otherwise)
{
	return p->f[f].set ? (uint32_t)p->f[f].lo : otherwise;
}

/* ---- in ---- */

bool wire_has_opt(const struct wire_world *w, enum wire_opt_kind kind)
{
	for (int i = 0; i < w->cfg.npeer; i++)
		if (w->cfg.peer[i].kind == kind)
			return true;
	return false;
}

static uint32_t peer_tsval(const struct wire_world *w)
{
	return (uint32_t)((w->now - w->t0) / 1000000) + 1000;
}

static uint8_t *write_ts(
    struct wire_world *w, struct wire_flow *f, const struct wire_opt *o, bool ack, uint8_t *b)
{
	bool val_given = o->n > 0 && o->v[0] != WIRE_ANY,
	     ecr_given = o->n > 1 && o->v[1] != WIRE_ANY;

	b[0] = 8;
	b[1] = 10;
	put32(b + 2, val_given ? (uint32_t)o->v[0] : peer_tsval(w));
	put32(b + 6, ecr_given ? (uint32_t)o->v[1] + f->ts_base : ack ? f->last_tsval : 0);
	return b + 10;
}

static uint8_t *write_opt(
    struct wire_world *w, struct wire_flow *f, const struct wire_opt *o, bool ack, uint8_t *b)
{
	switch (o->kind) {
	case WO_MSS:
		b[0] = 2;
		b[1] = 4;
		put16(b + 2, (uint16_t)o->v[0]);
		return b + 4;
	case WO_WSCALE:
		b[0] = b[1] = 3;
		b[2] = (uint8_t)o->v[0];
		return b + 3;
	case WO_SACKOK:
		b[0] = 4;
		b[1] = 2;
		return b + 2;
	case WO_SACK:
		b[0] = 5;
		b[1] = (uint8_t)(2 + 4 * o->n);
		for (int i = 0; i < o->n; i++)
			put32(b + 2 + 4 * i, (uint32_t)o->v[i] + f->iss);
		return b + 2 + 4 * o->n;
	case WO_TS:
		return write_ts(w, f, o, ack, b);
	default:
		for (int i = 0; i < o->n; i++)
			b[i] = (uint8_t)o->v[i];
		return b + o->n;
	}
}

/* Returns their length, a multiple of four, at most 40 (the parser sees to that). */
static uint32_t write_options(
    struct wire_world *w, struct wire_flow *f, const struct wire_spec *p, uint8_t *b)
{
	static const struct wire_opt ts = {.kind = WO_TS};
	bool ack = (p->flags & SL_TH_ACK) != 0;
	uint8_t *at = b;

	if (p->opts) {
		for (int i = 0; i < p->nopt; i++)
			at = write_opt(w, f, &p->opt[i], ack, at);
	} else if (p->flags & SL_TH_SYN) {
		for (int i = 0; i < w->cfg.npeer; i++)
			at = write_opt(w, f, &w->cfg.peer[i], ack, at);
	} else if (wire_has_opt(w, WO_TS)) {
		at = write_opt(w, f, &ts, ack, at);
	}
	while ((at - b) % 4 != 0)
		*at++ = 1;
	return (uint32_t)(at - b);
}

/* The IP header in front of `len` bytes of `proto`. Returns its length; *acc: sum of the pseudo
 * header. */
static uint32_t write_ip(const struct wire_world *w, uint8_t *b, bool from_peer, const char *src,
    const char *dst, uint8_t proto, uint32_t len, uint8_t ttl, uint8_t tos, uint32_t *acc)
{
	bool v6 = w->cfg.ipv6;
	const char *peer = v6 ? PEER6 : PEER4, *ours = v6 ? OURS6 : OURS4;
	uint8_t *s = b + (v6 ? 8 : 12), *d = b + (v6 ? 24 : 16);

	memset(b, 0, v6 ? 40 : 20);
	(void)inet_pton(v6 ? AF_INET6 : AF_INET, src != NULL ? src : from_peer ? peer : ours, s);
	(void)inet_pton(v6 ? AF_INET6 : AF_INET, dst != NULL ? dst : from_peer ? ours : peer, d);
	*acc = sum16(s, v6 ? 32 : 8, proto + len);
	if (v6) {
		b[0] = (uint8_t)(0x60 | tos >> 4);
		b[1] = (uint8_t)(tos << 4);
		put16(b + 4, (uint16_t)len);
		b[6] = proto;
		b[7] = ttl;
		return 40;
	}
	b[0] = 0x45;
	b[1] = tos;
	put16(b + 2, (uint16_t)(20 + len));
	b[8] = ttl;
	b[9] = proto;
	put16(b + 10, sum16_end(sum16(b, 20, 0)));
	return 20;
}

static uint16_t build_icmp(struct wire_world *w, const struct wire_spec *p, uint8_t *b)
{
	struct wire_flow *f = wire_flow(w, (uint16_t)val(p, WF_port, WIRE_PEER_PORT));
	uint32_t qlen = val(p, WF_quotelen, 8), ip = w->cfg.ipv6 ? 40 : 20, len = 8 + ip + qlen,
		 acc;
	uint8_t *m = b + ip, *q = m + 8 + ip, th[64] = {0};

	memset(m, 0, len);
	m[0] = p->type;
	m[1] = p->code;
	put32(m + 4, val(p, WF_mtu, 0));
	/* What a router would quote: our packet, and the beginning of its TCP header. */
	(void)write_ip(w, m + 8, false, NULL, p->src, IPPROTO_TCP, 1480, 60, 0, &acc);
	put16(th, (uint16_t)val(p, WF_to, f->port));
	put16(th + 2, f->peer_port);
	put32(th + 4, f->iss + val(p, WF_quote, 0));
	memcpy(q, th, qlen);
	(void)write_ip(w, b, true, p->src, p->dst, w->cfg.ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, len,
	    64, 0, &acc);
	put16(m + 2, sum16_end(sum16(m, len, w->cfg.ipv6 ? acc : 0)) ^ (p->badsum ? 0x0100 : 0));
	return (uint16_t)(ip + len);
}

/* Four bytes of option behind the IP header. Returns the packet's new length. */
static uint16_t add_ip_option(struct wire_world *w, uint8_t *b, uint16_t len, uint8_t kind)
{
	uint32_t ip = w->cfg.ipv6 ? 40 : 20, n = w->cfg.ipv6 ? 8 : 4;
	uint8_t *o = b + ip;

	memmove(o + n, o, len - ip);
	memset(o, 0, n);
	if (w->cfg.ipv6) {
		o[0] = b[6]; /* a destination options header: next, length, option */
		o[2] = kind;
		o[3] = 4;
		b[6] = 60;
		put16(b + 4, (uint16_t)(len - 40 + 8));
		return (uint16_t)(len + 8);
	}
	o[0] = kind;
	o[1] = 4;
	o[2] = 4; /* where a route is recorded: full */
	b[0] = 0x46;
	put16(b + 2, (uint16_t)(len + 4));
	put16(b + 10, 0);
	put16(b + 10, sum16_end(sum16(b, 24, 0)));
	return (uint16_t)(len + 4);
}

uint16_t wire_fragment(const struct wire_world *w, const uint8_t *b, uint16_t len, uint16_t size,
    unsigned int n, uint8_t *to)
{
	uint32_t ip = w->cfg.ipv6 ? 40 : (b[0] & 15) * 4u, off = n * (size & ~7u), left;
	bool more;

	if (off >= len - ip)
		return 0;
	left = len - ip - off;
	more = left > (size & ~7u);
	left = more ? size & ~7u : left;
	memcpy(to, b, ip);
	if (w->cfg.ipv6) {
		memset(to + 40, 0, 8);
		to[40] = to[6];
		to[6] = 44;
		put16(to + 42, (uint16_t)(off | more));
		to[47] = 77; /* identification */
		memcpy(to + 48, b + 40 + off, left);
		put16(to + 4, (uint16_t)(8 + left));
		return (uint16_t)(48 + left);
	}
	memcpy(to + ip, b + ip + off, left);
	put16(to + 2, (uint16_t)(ip + left));
	to[5] = 77;
	put16(to + 6, (uint16_t)(off / 8 | (more ? 0x2000 : 0)));
	put16(to + 10, 0);
	put16(to + 10, sum16_end(sum16(to, ip, 0)));
	return (uint16_t)(ip + left);
}

uint16_t wire_build(struct wire_world *w, const struct wire_spec *p, uint8_t *b, size_t room)
{
	struct wire_flow *f = wire_flow(w, (uint16_t)val(p, WF_port, WIRE_PEER_PORT));
	uint32_t ip = w->cfg.ipv6 ? 40 : 20, opt, len = val(p, WF_len, 0), tcp, acc, seq;
	uint8_t *th = b + ip;

	if (p->icmp)
		return build_icmp(w, p, b);
	f->isn += val(p, WF_rebase, 0);
	if (p->f[WF_to].set && !f->have_iss)
		f->port = (uint16_t)p->f[WF_to].lo;
	memset(th, 0, 20);
	opt = write_options(w, f, p, th + 20);
	tcp = 20 + opt + len;
	if (ip + tcp > room)
		return 0;
	seq = val(p, WF_seq, 0);
	put16(th, f->peer_port);
	put16(th + 2, (uint16_t)val(p, WF_to, f->port));
	put32(th + 4, f->isn + seq);
	put32(th + 8, p->flags & SL_TH_ACK || p->f[WF_ack].set ? f->iss + val(p, WF_ack, 0) : 0);
	th[12] = (uint8_t)(val(p, WF_doff, (20 + opt) / 4) << 4 | val(p, WF_rsv, 0));
	th[13] = p->flags;
	put16(th + 14, (uint16_t)val(p, WF_win, w->cfg.peer_win));
	put16(th + 18, (uint16_t)val(p, WF_urg, 0));
	for (uint32_t i = 0; i < len; i++)
		th[20 + opt + i] = p->f[WF_fill].set
				       ? (uint8_t)p->f[WF_fill].lo
				       : wire_byte(seq + !!(p->flags & SL_TH_SYN) - 1 + i, true);
	tcp -= val(p, WF_cut, 0);
	(void)write_ip(w, b, true, p->src, p->dst, IPPROTO_TCP, tcp, (uint8_t)val(p, WF_ttl, 64),
	    (uint8_t)val(p, WF_tos, 0), &acc);
	put16(th + 16, sum16_end(sum16(th, tcp, acc)) ^ (p->badsum ? 0x0100 : 0));
	if (p->f[WF_ipopt].set)
		return add_ip_option(w, b, (uint16_t)(ip + tcp), (uint8_t)val(p, WF_ipopt, 0));
	return (uint16_t)(ip + tcp);
}

/* ---- out ---- */

static const char *read_options(
    struct wire_flow *f, struct wire_pkt *o, const uint8_t *p, const uint8_t *end)
{
	o->wscale = -1;
	while (p < end && *p != 0) {
		if (*p == 1) {
			p++;
			continue;
		}
		if (end - p < 2 || p[1] < 2 || p[1] > end - p)
			return "an option of the stack has a wrong length";
		switch (*p) {
		case 2:
			o->mss = get16(p + 2);
			break;
		case 3:
			o->wscale = p[2];
			break;
		case 4:
			o->sackok = true;
			break;
		case 5:
			if ((p[1] - 2) % 8 != 0 || p[1] > 34)
				return "a SACK option of the stack has a wrong length";
			for (unsigned int i = 2; i < p[1]; i += 8, o->nsack++) {
				o->sack[o->nsack][0] = get32(p + i) - f->isn;
				o->sack[o->nsack][1] = get32(p + i + 4) - f->isn;
			}
			break;
		case 8:
			o->ts = true;
			f->last_tsval = get32(p + 2);
			if (!f->have_ts || (o->flags & SL_TH_SYN && o->syn_changed))
				f->ts_base = f->last_tsval;
			f->have_ts = true;
			o->tsval = f->last_tsval - f->ts_base;
			o->tsecr = get32(p + 6);
			break;
		default:
			return "the stack sent an option that it does not know";
		}
		p += p[1];
	}
	for (; p < end; p++) /* RFC 9293 MUST-69 */
		if (*p != 0)
			return "the padding behind the stack's options is not zero";
	return NULL;
}

static const char *capture_icmp(
    struct wire_world *w, const uint8_t *m, uint32_t len, struct wire_pkt *o)
{
	uint32_t ip = w->cfg.ipv6 ? 40 : 20;

	o->icmp = true;
	if (len < 8)
		return "an ICMP message of the stack is too short";
	o->type = m[0];
	o->code = m[1];
	o->mtu = get32(m + 4);
	if (len >= 8 + ip + 8)
		o->seq = get32(m + 8 + ip + 4);
	return NULL;
}

static const char *capture_tcp(
    struct wire_world *w, const uint8_t *th, uint32_t len, struct wire_pkt *o)
{
	uint32_t thl = len >= 20 ? (th[12] >> 4) * 4u : 0;
	struct wire_flow *f;
	const char *why;

	if (thl < 20 || thl > len)
		return "a TCP header of the stack has a wrong length";
	o->flags = th[13];
	o->rsv = th[12] & 15;
	o->port = get16(th);
	o->peer_port = get16(th + 2);
	f = wire_flow(w, o->peer_port);
	o->raw_seq = get32(th + 4);
	o->raw_ack = get32(th + 8);
	if (o->flags & SL_TH_SYN) {
		o->syn_changed = f->have_iss && f->iss != o->raw_seq;
		f->iss = o->raw_seq;
		f->have_iss = true;
		if (!(o->flags & SL_TH_ACK))
			f->port = o->port;
	}
	o->seq = o->raw_seq - f->iss;
	o->ack = o->flags & SL_TH_ACK ? o->raw_ack - f->isn : 0;
	o->win = get16(th + 14);
	o->urg = get16(th + 18);
	o->len = len - thl;
	why = read_options(f, o, th + 20, th + thl);
	if (!(o->flags & (SL_TH_SYN | SL_TH_RST)))
		for (uint32_t i = 0; i < o->len; i++)
			o->bad_payload |= th[thl + i] != wire_byte(o->seq - 1 + i, false);
	if (why == NULL && o->bad_payload)
		why = "the stack sent a byte that its user did not send there";
	return why;
}

const char *wire_capture(struct wire_world *w, const uint8_t *p, uint32_t len, struct wire_pkt *o)
{
	bool v6 = w->cfg.ipv6;
	uint32_t ip = v6 ? 40 : 20, l4;
	uint8_t proto;

	*o = (struct wire_pkt){.at = w->now, .wscale = -1};
	if (len < ip || p[0] >> 4 != (v6 ? 6 : 4) || (!v6 && p[0] != 0x45))
		return "the stack sent an IP header that is wrong";
	l4 = len - ip;
	proto = v6 ? p[6] : p[9];
	o->ttl = v6 ? p[7] : p[8];
	o->id = v6 ? 0 : get16(p + 4);
	o->df = !v6 && (p[6] & 0x40) != 0;
	o->tos = v6 ? (uint8_t)(p[0] << 4 | p[1] >> 4) : p[1];
	if (v6 ? get16(p + 4) != l4 : get16(p + 2) != len)
		return "the stack sent an IP header with a wrong length";
	if (!v6 && sum16_end(sum16(p, 20, 0)) != 0)
		return "the stack sent a wrong IPv4 header checksum";
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6) {
		if (sum16_end(sum16(p + ip, l4, v6 ? sum16(p + 8, 32, proto + l4) : 0)) != 0)
			return "the stack sent a wrong ICMP checksum";
		return capture_icmp(w, p + ip, l4, o);
	}
	if (proto != IPPROTO_TCP)
		return "the stack sent a packet of an unknown protocol";
	if (sum16_end(sum16(p + ip, l4, sum16(p + (v6 ? 8 : 12), v6 ? 32 : 8, proto + l4))) != 0)
		return "the stack sent a wrong TCP checksum";
	return capture_tcp(w, p + ip, l4, o);
}

/* ---- comparing ---- */

static bool off(const struct wire_spec *p, enum wire_field f, uint32_t v)
{
	const struct wire_val *r = &p->f[f];

	return r->set && v - (uint32_t)r->lo > (uint32_t)(r->hi - r->lo);
}

static const struct wire_opt *find_opt(const struct wire_spec *p, enum wire_opt_kind kind)
{
	for (int i = 0; i < p->nopt; i++)
		if (p->opt[i].kind == kind)
			return &p->opt[i];
	return NULL;
}

static bool opt_off(const struct wire_opt *o, int i, uint32_t v)
{
	return i < o->n && o->v[i] != WIRE_ANY && (uint32_t)o->v[i] != v;
}

static const char *differs_sack(const struct wire_opt *o, const struct wire_pkt *k)
{
	if ((o == NULL || o->absent) && k->nsack > 0)
		return "SACK blocks that were not expected";
	if (o == NULL || o->absent)
		return NULL;
	if (o->n != 2 * k->nsack)
		return "number of SACK blocks";
	for (int i = 0; i < o->n; i++)
		if (opt_off(o, i, k->sack[i / 2][i % 2]))
			return "SACK blocks";
	return NULL;
}

static const char *differs_opts(
    const struct wire_world *w, const struct wire_spec *p, const struct wire_pkt *k)
{
	const struct wire_opt *o;

	o = find_opt(p, WO_MSS);
	if (o != NULL && (o->absent ? k->mss != 0 : k->mss == 0 || opt_off(o, 0, k->mss)))
		return "MSS option";
	o = find_opt(p, WO_WSCALE);
	if (o != NULL &&
	    (o->absent ? k->wscale >= 0 : k->wscale < 0 || opt_off(o, 0, (uint32_t)k->wscale)))
		return "window scale option";
	o = find_opt(p, WO_SACKOK);
	if (o != NULL && o->absent == k->sackok)
		return "SACK-permitted option";
	o = find_opt(p, WO_TS);
	if (o != NULL &&
	    (o->absent ? k->ts : !k->ts || opt_off(o, 0, k->tsval) || opt_off(o, 1, k->tsecr)))
		return "timestamps option";
	/* RFC 7323 3.2: once agreed on, in every segment but RST. */
	if (o == NULL && !(k->flags & (SL_TH_SYN | SL_TH_RST)) && w->cfg.tun.tcp_timestamps &&
	    wire_has_opt(w, WO_TS) != k->ts)
		return k->ts ? "timestamps that were not agreed on"
			     : "no timestamps, though agreed on";
	return differs_sack(find_opt(p, WO_SACK), k);
}

const char *wire_differs(
    const struct wire_world *w, const struct wire_spec *p, const struct wire_pkt *k)
{
	uint8_t ignored = p->flags & SL_TH_PUSH ? 0 : SL_TH_PUSH;

	if (p->icmp != k->icmp)
		return p->icmp ? "not ICMP" : "ICMP";
	if (off(p, WF_ttl, k->ttl))
		return "TTL";
	if (off(p, WF_tos, k->tos))
		return "TOS";
	if (off(p, WF_df, k->df) || off(p, WF_id, k->id))
		return "DF or identification";
	if (p->icmp)
		return p->type != k->type || p->code != k->code ? "type or code"
		       : off(p, WF_mtu, k->mtu)                 ? "MTU"
								: NULL;
	if ((k->flags & ~ignored) != p->flags || (k->flags & p->clear) != 0)
		return "flags";
	if (k->rsv != val(p, WF_rsv, 0)) /* reserved: zero unless a script says otherwise */
		return "reserved bits";
	if (p->f[WF_port].set ? off(p, WF_port, k->peer_port) : k->peer_port != WIRE_PEER_PORT)
		return "port of the peer";
	if (off(p, WF_to, k->port))
		return "port of the stack";
	if ((p->flags & SL_TH_SYN) && k->syn_changed != p->newiss)
		return p->newiss ? "the same initial sequence number as before"
				 : "initial sequence number changed";
	if (off(p, WF_seq, k->seq) || off(p, WF_abs, k->raw_seq))
		return "sequence number";
	if (p->f[WF_len].set ? off(p, WF_len, k->len) : k->len != 0)
		return "length";
	if (off(p, WF_ack, k->ack))
		return "acknowledgement number";
	if (off(p, WF_win, k->win))
		return "window";
	if (off(p, WF_urg, k->urg))
		return "urgent pointer";
	return differs_opts(w, p, k);
}

/* ---- printing ---- */

void wire_flags_text(uint8_t flags, char *b, size_t len)
{
	static const char *const names[] = {"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};
	static const int order[] = {1, 0, 2, 3, 5, 6, 7, 4};
	size_t n = 0;

	if (flags == 0)
		(void)snprintf(b, len, "NULL");
	for (int i = 0; i < 8; i++)
		if (flags & 1u << order[i] && n < len)
			n += (size_t)snprintf(
			    b + n, len - n, "%s%s", n > 0 ? "+" : "", names[order[i]]);
}

void wire_pkt_text(const struct wire_pkt *o, char *b, size_t len)
{
	char flags[64];
	FILE *f = fmemopen(b, len, "w");

	if (f == NULL)
		return;
	if (o->icmp) {
		fprintf(f, "icmp %u/%u mtu %u", o->type, o->code, o->mtu);
		fclose(f);
		return;
	}
	wire_flags_text(o->flags, flags, sizeof(flags));
	fprintf(f, "%s %d", flags, (int32_t)o->seq);
	if (o->len > 0)
		fprintf(f, ":%d", (int32_t)(o->seq + o->len));
	if (o->flags & SL_TH_ACK)
		fprintf(f, " ack %d", (int32_t)o->ack);
	fprintf(f, " win %u", o->win);
	if (o->flags & SL_TH_URG)
		fprintf(f, " urg %u", o->urg);
	if (o->peer_port != WIRE_PEER_PORT)
		fprintf(f, " port %u", o->peer_port);
	if (o->port != WIRE_PORT)
		fprintf(f, " to %u", o->port);
	if (o->tos != 0)
		fprintf(f, " tos %u", o->tos);
	if (o->rsv != 0)
		fprintf(f, " rsv %u", o->rsv);
	fprintf(f, " [");
	if (o->mss != 0)
		fprintf(f, " mss %u", o->mss);
	if (o->sackok)
		fprintf(f, " sackok");
	if (o->wscale >= 0)
		fprintf(f, " wscale %d", o->wscale);
	if (o->ts)
		fprintf(f, " ts %u %u", o->tsval, o->tsecr);
	for (int i = 0; i < o->nsack; i++)
		fprintf(f, "%s%d:%d", i == 0 ? " sack " : " ", (int32_t)o->sack[i][0],
		    (int32_t)o->sack[i][1]);
	fprintf(f, " ]%s", o->syn_changed ? " (new initial number)" : "");
	fclose(f);
}
