/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * IPv6 extension headers and options in front of a TCP segment. A second, plain reading of RFC 8200
 * (with the limits of lib/ip/ipv6.c) says whether the segment may arrive, and it must then, and else
 * not.
 *
 * The input: how (cuts of the buffer, bytes missing at the end, what the last header announces), the
 * number of headers, and for each: kind, length, and its octets.
 */
#include "host.h"

#define HOW_CUTS 3
#define HOW_SHORT 4  /* the packet ends early, its header says so */
#define HOW_CUT 8    /* the packet ends early, its header does not say so */
#define HOW_RAW 16   /* kinds as they come, not one of the four */
#define HOW_LAST 32  /* something else than TCP is announced */
#define HOW_TWICE 64 /* the same packet again */

static unsigned int arrived, refused;

enum verdict {
	REFUSED,
	ARRIVES,
	UNSURE /* fragments: the reassembly's business */
};

/* Options of one header, type and length octets cut off. */
static bool options_good(const uint8_t *p, unsigned int n)
{
	while (n > 0) {
		if (*p == 0) {
			p++, n--;
			continue;
		}
		if (n < 2 || n - 2 < p[1])
			return false;
		/* An unknown option whose top two bits are not zero discards the packet. */
		if (*p != 1 && *p != 5 && (*p & 0xc0) != 0)
			return false;
		n -= 2u + p[1];
		p += 2u + p[1];
	}
	return true;
}

/* n octets behind the fixed header, the first `ext` of them not TCP's. */
static enum verdict reading(const uint8_t *p, unsigned int n, unsigned int ext, uint8_t kind)
{
	unsigned int headers = 0, off = 0;

	for (; kind == 0 || kind == 43 || kind == 44 || kind == 60; headers++) {
		unsigned int len;

		if (headers == 8 || n - off < 8)
			return REFUSED;
		if (kind == 44)
			return UNSURE;
		len = 8 + 8u * p[off + 1];
		if (len > n - off || off + len > 512)
			return REFUSED;
		if (kind == 0 && headers > 0)
			return REFUSED;
		if (kind == 43 && p[off + 3] != 0)
			return REFUSED;
		if (kind != 43 && !options_good(p + off + 2, len - 2))
			return REFUSED;
		kind = p[off];
		off += len;
	}
	if (kind == 6 && off != ext)
		return UNSURE; /* anything as a segment */
	return kind == 6 && n - off >= 20 ? ARRIVES : REFUSED;
}

/* Extension headers at p, at most `room` bytes; returns their length, *first the kind of the first. */
static unsigned int chain(
    struct fuzz *f, uint8_t how, uint8_t *p, unsigned int room, uint8_t *first)
{
	static const uint8_t kinds[4] = {0, 43, 44, 60};
	uint8_t *link = first, count = u8(f) % 12;
	unsigned int off = 0;

	for (unsigned int i = 0; i < count; i++) {
		uint8_t kind = u8(f), len = u8(f);
		unsigned int n = 8 + 8u * (len & 7), octets = len >> 3;

		if (off + n > room)
			break;
		*link = how & HOW_RAW ? kind : kinds[kind % 4];
		memset(p + off, 0, n);
		p[off + 1] = (uint8_t)(len & 7);
		for (unsigned int k = 0; k < octets && k + 1 < n; k++)
			p[off + 1 + k + (k == 0 ? 1 : 0)] = u8(f);
		link = p + off;
		off += n;
	}
	*link = how & HOW_LAST ? u8(f) : 6;
	return off;
}

static bool give_and_see(struct fuzz *f, unsigned int cuts)
{
	struct sluice_counters a, b;

	sluice_counters_get(f->sq, &a);
	give(f, cuts);
	sluice_counters_get(f->sq, &b);
	poll_some(f);
	return b.tcp_in_segs > a.tcp_in_segs;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz fuzz;
	struct fuzz *f = &fuzz;
	uint8_t whole[MAX_FRAME], how, first = 6, *p;
	unsigned int n, cut = 0;
	enum verdict v;

	if (size > MAX_FRAME)
		return -1;
	fuzz_start(f, data, 0, 0);
	fuzz_peer(f, 0, AT_ESTABLISHED | PEER_V6);
	(void)segment(
	    f, &f->peer[0], F_ACK | F_PSH, f->peer[0].snd, f->peer[0].rcv, 1000, syn_opts, 0, 10);
	memcpy(whole, f->frame, f->len);
	f->p = data, f->end = data + size;
	how = u8(f);
	if (how & (HOW_SHORT | HOW_CUT))
		cut = u8(f);
	n = chain(f, how, whole + 512, 1024, &first);
	p = ip_hdr(f, true, first, (uint16_t)(n + 30)); /* TCP without options, ten bytes */
	memcpy(p + n, whole + 54, 30);
	memcpy(p, whole + 512, n);
	cut = RTE_MIN(cut, n + 30);
	f->len = (uint16_t)(f->len - cut);
	if (how & HOW_SHORT) {
		f->frame[18] = (uint8_t)((f->len - 54) >> 8);
		f->frame[19] = (uint8_t)(f->len - 54);
	}
	v = how & HOW_CUT && !(how & HOW_SHORT) && cut > 0 ? REFUSED
							   : reading(p, n + 30 - cut, n, first);
	if (cut > 0 && v == ARRIVES)
		v = UNSURE; /* its checksum is wrong now */
	for (unsigned int i = 0; i < (how & HOW_TWICE ? 2 : 1); i++) {
		bool came = give_and_see(f, how & HOW_CUTS);

		FUZZ_MUST(v == UNSURE || came == (v == ARRIVES));
		*(came ? &arrived : &refused) += 1;
	}
	fuzz_stop(f);
	return 0;
}

bool fuzz_report(void)
{
	printf("segments that arrived %u, that did not %u\n", arrived, refused);
	return arrived > 0 && refused > 0;
}
