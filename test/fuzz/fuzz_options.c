/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TCP options: what the parser makes of any bytes is compared with a second, plain reading of RFC
 * 9293 3.1, RFC 7323 and RFC 2018, from a header that ends where its buffer ends. Then segments with
 * these options run into a connection, and, as a SYN, into a listener.
 *
 * The input: the peer's place (host.h), flags and length of data of the segment, up to 40 bytes of
 * options.
 */
#include <arpa/inet.h>

#include <tcp/tcp_int.h>

#include "host.h"

static uint32_t be(const uint8_t *p, unsigned int n)
{
	uint32_t v = 0;

	for (; n > 0; n--)
		v = v << 8 | *p++;
	return v;
}

/* The reference. False: malformed somewhere; what stood before it counts. */
static bool reading(const uint8_t *p, unsigned int n, bool syn, struct sl_opts *o)
{
	/* Length of each kind that has one of its own; SACK has several. */
	static const uint8_t fixed[256] = {[2] = 4, [3] = 3, [4] = 2, [8] = 10};
	unsigned int i, len;

	memset(o, 0, sizeof(*o));
	for (i = 0; i < n; i += len) {
		uint8_t kind = p[i];

		if (kind == 0)
			return true;
		len = 1;
		if (kind == 1)
			continue;
		if (i + 1 == n)
			return false;
		len = p[i + 1];
		if (len < 2 || len > n - i || (fixed[kind] != 0 && len != fixed[kind]))
			return false;
		if (kind == 5 && len != 10 && len != 18 && len != 26 && len != 34)
			return false;
		if (syn && kind == 2)
			o->mss = (uint16_t)be(p + i + 2, 2);
		if (syn && kind == 3) {
			o->has_wscale = true;
			o->wscale = p[i + 2] < 14 ? p[i + 2] : 14;
		}
		if (syn && kind == 4)
			o->sack_ok = true;
		for (unsigned int k = 2; !syn && kind == 5 && k < len && o->nsack < SL_MAX_SACK;
		     k += 8) {
			o->sack[o->nsack].start = be(p + i + k, 4);
			o->sack[o->nsack++].end = be(p + i + k + 4, 4);
		}
		if (kind == 8 && !o->has_ts) {
			o->has_ts = true;
			o->tsval = be(p + i + 2, 4);
			o->tsecr = be(p + i + 6, 4);
		}
	}
	return true;
}

static void compare(struct fuzz *f, const uint8_t *opts, unsigned int n, bool syn)
{
	struct sluice_counters a, b;
	struct sl_opts got, want;
	uint8_t *th = malloc(20 + n);
	bool good;

	FUZZ_MUST(th != NULL);
	memset(th, 0xff, 20);
	memcpy(th + 20, opts, n);
	sluice_counters_get(f->sq, &a);
	sl_opts_parse(f->sq, th, 20 + n, syn, &got);
	sluice_counters_get(f->sq, &b);
	free(th);
	good = reading(opts, n, syn, &want);
	FUZZ_MUST(b.tcp_in_bad_opts - a.tcp_in_bad_opts == !good);
	FUZZ_MUST(got.mss == want.mss && got.has_wscale == want.has_wscale);
	FUZZ_MUST(got.wscale == want.wscale && got.sack_ok == want.sack_ok);
	FUZZ_MUST(got.has_ts == want.has_ts && got.tsval == want.tsval && got.tsecr == want.tsecr);
	FUZZ_MUST(got.nsack == want.nsack);
	for (unsigned int i = 0; i < got.nsack; i++)
		FUZZ_MUST(
		    got.sack[i].start == want.sack[i].start && got.sack[i].end == want.sack[i].end);
}

/* SACK blocks in front of the options count from what the stack sent, so that they meet data. */
static void make_relative(uint8_t *o, unsigned int n, uint32_t base)
{
	if (n < 12 || o[0] != 1 || o[1] != 1 || o[2] != 5)
		return;
	for (unsigned int k = 4; k + 4 <= n && k + 2 < o[3] + 2u; k += 4) {
		uint32_t v = htonl(base + be(o + k, 4));

		memcpy(o + k, &v, 4);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz fuzz;
	struct fuzz *f = &fuzz;
	struct peer *r = &f->peer[0], *other = &f->peer[1];
	uint8_t opts[40] = {0}, n, flags, len;

	if (size < 3 || size - 3 > sizeof(opts))
		return -1;
	flags = data[1], len = data[2];
	n = (uint8_t)(size - 3);
	memcpy(opts, data + 3, n);
	n = (uint8_t)((n + 3) & ~3);
	fuzz_start(f, data, 0, 0);
	fuzz_peer(f, 0, data[0]);
	compare(f, opts, n, false);
	compare(f, opts, n, true);
	make_relative(opts, n, r->rcv - 4000);
	(void)segment(f, r, flags, r->snd, r->rcv, 1000, opts, n, len);
	give(f, flags >> 6);
	poll_some(f);
	*other = *r;
	other->rport = 2000, other->c = SLUICE_CONN_NONE, other->lport = r->v6 ? 81 : 80;
	(void)segment(f, other, F_SYN, 7000, 0, 1000, opts, n, 0);
	give(f, 0);
	poll_some(f);
	(void)segment(f, other, F_ACK, other->snd, other->rcv, 1000, opts, n, 100);
	give(f, 0);
	f->now += SLUICE_MS(500);
	poll_some(f);
	fuzz_stop(f);
	return 0;
}

bool fuzz_report(void)
{
	return fuzz_states();
}
