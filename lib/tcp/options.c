/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP options (RFC 9293 3.1, RFC 7323, RFC 2018): parsed within their bounds whatever their lengths
 * claim, and written. */
#include <string.h>

#include <tcp/tcp_int.h>

enum {
	OPT_END = 0,
	OPT_NOP = 1,
	OPT_MSS = 2,
	OPT_WSCALE = 3,
	OPT_SACK_OK = 4,
	OPT_SACK = 5,
	OPT_TS = 8
};

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return ntohl(v);
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htonl(v);
	memcpy(p, &v, sizeof(v));
}

static void parse_sack(const uint8_t *p, unsigned int len, struct sl_opts *o)
{
	for (unsigned int i = 0; i + 8 <= len && o->nsack < SL_MAX_SACK; i += 8) {
		o->sack[o->nsack].start = get32(p + i);
		o->sack[o->nsack++].end = get32(p + i + 4);
	}
}

/* One option whose length (with kind and length octets) is good. False: a length that its kind does
 * not have. */
static bool parse_one(const uint8_t *p, unsigned int len, bool syn, struct sl_opts *o)
{
	switch (p[0]) {
	case OPT_MSS:
		if (len != 4)
			return false;
		if (syn)
			o->mss = (uint16_t)(p[2] << 8 | p[3]);
		return true;
	case OPT_WSCALE:
		if (len != 3)
			return false;
		if (syn) {
			o->has_wscale = true;
			o->wscale = p[2] > 14 ? 14 : p[2]; /* RFC 7323 2.3 */
		}
		return true;
	case OPT_SACK_OK:
		if (len != 2)
			return false;
		o->sack_ok = syn;
		return true;
	case OPT_SACK:
		if (len < 10 || (len - 2) % 8 != 0)
			return false;
		if (!syn)
			parse_sack(p + 2, len - 2, o);
		return true;
	case OPT_TS:
		if (len != 10)
			return false;
		if (!o->has_ts) { /* of two the first counts */
			o->has_ts = true;
			o->tsval = get32(p + 2);
			o->tsecr = get32(p + 6);
		}
		return true;
	default:
		return true; /* unknown: skipped by its length (RFC 9293 MUST-6) */
	}
}

void sl_opts_parse_any(
    struct sluice_squeue *sq, const uint8_t *th, unsigned int th_len, bool syn, struct sl_opts *o)
{
	const uint8_t *p = th + 20, *end = th + th_len;

	while (p < end && *p != OPT_END) {
		if (*p == OPT_NOP) {
			p++;
			continue;
		}
		/* A length below two would never end the loop, one beyond the header would read
		 * past it (MUST-7). */
		if (end - p < 2 || p[1] < 2 || p[1] > end - p || !parse_one(p, p[1], syn, o)) {
			SL_COUNT(sq, tcp_in_bad_opts);
			return;
		}
		p += p[1];
	}
}

static unsigned int put_ts(uint8_t *p, uint32_t tsval, uint32_t tsecr)
{
	p[0] = OPT_TS;
	p[1] = 10;
	put32(p + 2, tsval);
	put32(p + 6, tsecr);
	return 10;
}

unsigned int sl_opts_syn(uint8_t *p, uint16_t mss, bool sack, bool ts, uint32_t tsval,
    uint32_t tsecr, bool wscale, uint8_t shift)
{
	uint8_t *start = p;

	*p++ = OPT_MSS;
	*p++ = 4;
	*p++ = (uint8_t)(mss >> 8);
	*p++ = (uint8_t)mss;
	if (sack) {
		*p++ = OPT_SACK_OK;
		*p++ = 2;
	}
	if (ts) {
		if (!sack) {
			*p++ = OPT_NOP;
			*p++ = OPT_NOP;
		}
		p += put_ts(p, tsval, tsecr);
	} else if (sack) {
		*p++ = OPT_NOP;
		*p++ = OPT_NOP;
	}
	if (wscale) {
		*p++ = OPT_NOP;
		*p++ = OPT_WSCALE;
		*p++ = 3;
		*p++ = shift;
	}
	return (unsigned int)(p - start);
}

/* Blocks that go beside a timestamp: three, else four (RFC 2018 section 3). */
static unsigned int sack_room(const struct sl_conn *c)
{
	if (!(c->flags & SL_C_SACK) || c->ooo == NULL)
		return 0;
	return c->flags & SL_C_TS ? 3 : 4;
}

unsigned int sl_opts_sack(const struct sl_conn *c, uint8_t *p, uint32_t tsval)
{
	unsigned int len = sl_opts_ts(c, p, tsval), n = sack_room(c);
	uint32_t blk[SL_MAX_SACK][2];

	if (n > 0)
		n = sl_rcv_sack(c, n, blk);
	if (n == 0)
		return len;
	p += len;
	p[0] = p[1] = OPT_NOP;
	p[2] = OPT_SACK;
	p[3] = (uint8_t)(2 + 8 * n);
	for (unsigned int i = 0; i < n; i++) {
		put32(p + 4 + 8 * i, blk[i][0]);
		put32(p + 8 + 8 * i, blk[i][1]);
	}
	return len + 4 + 8 * n;
}

unsigned int sl_opts_len(const struct sl_conn *c)
{
	unsigned int len = c->flags & SL_C_TS ? 12 : 0, n = sack_room(c);
	uint32_t blk[SL_MAX_SACK][2];

	if (n > 0)
		n = sl_rcv_sack(c, n, blk);
	return n > 0 ? len + 4 + 8 * n : len;
}
