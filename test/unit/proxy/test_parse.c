/* SPDX-License-Identifier: BSD-3-Clause */
/* What strangers send: the PROXY header, a ClientHello, an HTTP head. Each good one is also given
 * byte by byte, cut short, and with each of its bytes changed, in memory that ends where the bytes
 * do. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <arpa/inet.h>

#include "../../../app/proxy/proxy.h"

/* ---- PROXY ---- */

/* A copy without a byte behind it, so that the address sanitizer sees a read beyond. */
static int parse(const void *p, size_t n, struct proxy_header *h)
{
	uint8_t *copy = malloc(n > 0 ? n : 1);
	int rc;

	memcpy(copy, p, n);
	rc = proxyproto_parse(copy, n, h);
	free(copy);
	return rc;
}

static void is4(const struct sockaddr_storage *ss, const char *addr, uint16_t port)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)ss;

	assert_int_equal(ss->ss_family, AF_INET);
	assert_int_equal(in->sin_addr.s_addr, inet_addr(addr));
	assert_int_equal(ntohs(in->sin_port), port);
}

static void is6(const struct sockaddr_storage *ss, const char *addr, uint16_t port)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
	struct in6_addr a;

	assert_int_equal(inet_pton(AF_INET6, addr, &a), 1);
	assert_int_equal(ss->ss_family, AF_INET6);
	assert_memory_equal(&in6->sin6_addr, &a, 16);
	assert_int_equal(ntohs(in6->sin6_port), port);
}

/* Complete at its last byte and not before, and what follows is not its business. */
static void whole(const void *p, size_t n)
{
	struct proxy_header h;
	uint8_t more[700];

	for (size_t i = 0; i < n; i++)
		if (parse(p, i, &h) != 0)
			fail_msg("of %zu bytes %zu are not undecided", n, i);
	assert_int_equal(parse(p, n, &h), n);
	memcpy(more, p, n);
	memset(more + n, 'x', 50);
	assert_int_equal(parse(more, n + 50, &h), n);
}

static void test_v1(void **state)
{
	static const char four[] = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
			  six[] = "PROXY TCP6 2001:db8::1 ::1 65535 0\r\n",
			  unknown[] = "PROXY UNKNOWN\r\n",
			  unknown_more[] = "PROXY UNKNOWN whatever  it is 1\r\n";
	struct proxy_header h;

	whole(four, strlen(four));
	assert_int_equal(parse(four, strlen(four), &h), strlen(four));
	assert_false(h.local);
	is4(&h.src, "192.0.2.1", 56324);
	is4(&h.dst, "198.51.100.2", 443);
	whole(six, strlen(six));
	assert_int_equal(parse(six, strlen(six), &h), strlen(six));
	is6(&h.src, "2001:db8::1", 65535);
	is6(&h.dst, "::1", 0);
	whole(unknown, strlen(unknown));
	assert_int_equal(parse(unknown_more, strlen(unknown_more), &h), strlen(unknown_more));
	assert_true(h.local);
}

static void test_v1_bad(void **state)
{
	static const char *const bad[] = {"GET / HTTP/1.1\r\n", "PROXZ", "PROXY\r\n", "PROXY \r\n",
	    "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 999999 2\r\n",
	    "PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
	    "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", "PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
	    "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
	    "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r",
	    "PROXY TCP4 1.2.3.4 1.2.3.4\t1 2\r\n"};
	struct proxy_header h;
	char line[300];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (parse(bad[i], strlen(bad[i]), &h) != -EINVAL)
			fail_msg("taken: %s", bad[i]);
	assert_int_equal(parse("PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n", 34, &h), -EINVAL);
	/* Longer than any line may be. */
	memset(line, '1', sizeof(line));
	memcpy(line, "PROXY UNKNOWN ", 14);
	assert_int_equal(parse(line, 106, &h), 0);
	assert_int_equal(parse(line, 107, &h), -EINVAL);
	memcpy(line + 105, "\r\n", 2);
	assert_int_equal(parse(line, 107, &h), 107);
	memcpy(line + 105, "1\r\n", 3);
	assert_int_equal(parse(line, 108, &h), -EINVAL);
}

static size_t v2(uint8_t *out, uint8_t cmd, uint8_t fam, const void *body, size_t len)
{
	memcpy(out, "\r\n\r\n\0\r\nQUIT\n", 12);
	out[12] = cmd;
	out[13] = fam;
	out[14] = (uint8_t)(len >> 8);
	out[15] = (uint8_t)len;
	memcpy(out + 16, body, len);
	return 16 + len;
}

static void test_v2(void **state)
{
	static const uint8_t four[] = {192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 1, 187},
			     four_tlv[] = {192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 1, 187, 0x04,
				 0, 3, 1, 2, 3, 0x01, 0, 0},
			     six[36] = {0x20, 1, [15] = 1, [16] = 0xfd, [31] = 2, 0, 80, 1, 0};
	struct proxy_header h;
	uint8_t b[200];
	size_t n = v2(b, 0x21, 0x11, four, 12);

	whole(b, n);
	assert_int_equal(parse(b, n, &h), n);
	is4(&h.src, "192.0.2.1", 0xdc04);
	is4(&h.dst, "198.51.100.2", 443);
	n = v2(b, 0x21, 0x11, four_tlv, sizeof(four_tlv));
	whole(b, n);
	n = v2(b, 0x21, 0x21, six, sizeof(six));
	whole(b, n);
	assert_int_equal(parse(b, n, &h), n);
	is6(&h.src, "2001::1", 80);
	is6(&h.dst, "fd00::2", 256);
	n = v2(b, 0x20, 0x00, four, 0);
	whole(b, n);
	assert_int_equal(parse(b, n, &h), n);
	assert_true(h.local);
	n = v2(b, 0x20, 0x11, four, 12); /* LOCAL: addresses are there and not to be used */
	assert_int_equal(parse(b, n, &h), n);
	assert_true(h.local);
	n = v2(b, 0x21, 0x00, four, 5);
	assert_int_equal(parse(b, n, &h), n);
	assert_true(h.local);
}

static void test_v2_bad(void **state)
{
	static const uint8_t four[12] = {1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2};
	struct proxy_header h;
	uint8_t b[200], body[60] = {0};
	size_t n;

	n = v2(b, 0x22, 0x11, four, 12); /* command */
	assert_int_equal(parse(b, n, &h), -EINVAL);
	n = v2(b, 0x11, 0x11, four, 12); /* version */
	assert_int_equal(parse(b, n, &h), -EINVAL);
	for (unsigned int fam = 1; fam < 256; fam++) {
		n = v2(b, 0x21, (uint8_t)fam, body, 40);
		/* 40 - 12 and 40 - 36 zero bytes are TLVs of type 0 and length 0 and one byte too
		 * many. */
		assert_int_equal(parse(b, n, &h), -EINVAL);
	}
	n = v2(b, 0x21, 0x11, four, 11); /* too short for its addresses */
	assert_int_equal(parse(b, n, &h), -EINVAL);
	n = v2(b, 0x21, 0x21, body, 35);
	assert_int_equal(parse(b, n, &h), -EINVAL);
	memcpy(body, four, 12);
	for (size_t len = 13; len < 15; len++) { /* half a TLV */
		n = v2(b, 0x21, 0x11, body, len);
		assert_int_equal(parse(b, n, &h), -EINVAL);
	}
	body[12] = 1;
	body[14] = 9; /* a TLV that is longer than the header */
	n = v2(b, 0x21, 0x11, body, 20);
	assert_int_equal(parse(b, n, &h), -EINVAL);
	/* The signature must be all there: the first wrong byte ends it. */
	n = v2(b, 0x21, 0x11, four, 12);
	for (size_t i = 0; i < 12; i++) {
		b[i] ^= 0x40;
		assert_int_equal(parse(b, i + 1, &h), -EINVAL);
		b[i] ^= 0x40;
	}
}

/** The check value of CRC-32C over a header whose checksum was computed by another program. */
static void test_v2_checksum(void **state)
{
	uint8_t body[12 + 7] = {127, 0, 0, 1, 127, 0, 0, 1, 0x30, 0x39, 0, 80, 0x03, 0, 4};
	static const uint8_t crc[4] = {0xd6, 0x41, 0x75, 0xaf};
	struct proxy_header h;
	uint8_t b[100];
	size_t n;

	memcpy(body + 15, crc, 4);
	n = v2(b, 0x21, 0x11, body, sizeof(body));
	whole(b, n);
	for (size_t i = 16; i < n; i++) { /* any change shows, but to another kind of TLV */
		if (i == 28)
			continue;
		b[i] ^= 1;
		assert_int_equal(parse(b, n, &h), -EINVAL);
		b[i] ^= 1;
	}
}

/** What we make, we read. */
static void test_round_trip(void **state)
{
	struct sockaddr_storage four[2], six[2];
	struct proxy_header h;
	uint8_t b[PROXY_HEADER_MAX];

	memset(four, 0, sizeof(four));
	memset(six, 0, sizeof(six));
	for (int i = 0; i < 2; i++) {
		struct sockaddr_in *in = (struct sockaddr_in *)&four[i];
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&six[i];

		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(0xfffefdfcu - (uint32_t)i);
		in->sin_port = htons((uint16_t)(65535 - i));
		in6->sin6_family = AF_INET6;
		memset(&in6->sin6_addr, 0xf1 + i, 16);
		in6->sin6_port = htons((uint16_t)(65535 - i));
	}
	for (int v = SEND_PROXY_V1; v <= SEND_PROXY_V2; v++) {
		size_t n = proxyproto_make(b, (enum send_proxy)v, &four[0], &four[1]);

		assert_true(n < sizeof(b));
		assert_int_equal(parse(b, n, &h), n);
		assert_memory_equal(&h.src, &four[0], sizeof(h.src));
		assert_memory_equal(&h.dst, &four[1], sizeof(h.dst));
		n = proxyproto_make(b, (enum send_proxy)v, &six[0], &six[1]);
		assert_true(n < sizeof(b));
		assert_int_equal(parse(b, n, &h), n);
		assert_memory_equal(&h.src, &six[0], sizeof(h.src));
		assert_memory_equal(&h.dst, &six[1], sizeof(h.dst));
	}
}

/* ---- hooks ---- */

typedef enum verdict (*hook_fn)(const uint8_t *p, size_t n, char host[HOST_LEN]);

static enum verdict look(hook_fn fn, const void *p, size_t n, char host[HOST_LEN])
{
	uint8_t *copy = malloc(n > 0 ? n : 1);
	enum verdict v;

	memcpy(copy, p, n);
	memset(host, '#', HOST_LEN);
	v = fn(copy, n, host);
	free(copy);
	if (v == VERDICT_NAME)
		assert_non_null(memchr(host, '\0', HOST_LEN));
	return v;
}

/* Undecided until its last byte, then this; and whatever byte of it changes, nothing bad happens.
 */
static void whole_hook(hook_fn fn, const uint8_t *p, size_t n, enum verdict want, const char *name)
{
	char host[HOST_LEN];
	uint8_t b[2000];

	for (size_t i = 0; i < n; i++)
		if (look(fn, p, i, host) != VERDICT_MORE)
			fail_msg("decided by %zu of %zu bytes", i, n);
	assert_int_equal(look(fn, p, n, host), want);
	if (want == VERDICT_NAME)
		assert_string_equal(host, name);
	assert_true(n <= sizeof(b));
	for (size_t i = 0; i < n; i++)
		for (unsigned int v = 0; v < 256; v++) {
			memcpy(b, p, n);
			b[i] = (uint8_t)v;
			(void)look(fn, b, n, host);
		}
}

/* A ClientHello with these extensions, in records of at most `rec` bytes. */
static size_t hello(uint8_t *out, const uint8_t *ext, size_t len, size_t rec)
{
	uint8_t m[1500] = {1, 0, 0, 0, 3, 3};
	size_t n = 6 + 32, at = 0;

	m[n++] = 4; /* session id */
	n += 4;
	m[n++] = 0; /* suites */
	m[n++] = 2;
	m[n++] = 0x13;
	m[n++] = 1;
	m[n++] = 1; /* compression */
	m[n++] = 0;
	if (ext != NULL) {
		m[n++] = (uint8_t)(len >> 8);
		m[n++] = (uint8_t)len;
		memcpy(m + n, ext, len);
		n += len;
	}
	m[2] = (uint8_t)((n - 4) >> 8);
	m[3] = (uint8_t)(n - 4);
	for (size_t i = 0; i < n; i += rec) {
		size_t k = n - i < rec ? n - i : rec;

		out[at++] = 22;
		out[at++] = 3;
		out[at++] = 1;
		out[at++] = (uint8_t)(k >> 8);
		out[at++] = (uint8_t)k;
		memcpy(out + at, m + i, k);
		at += k;
	}
	return at;
}

#define SNI(n) 0, 0, 0, (n) + 5, 0, (n) + 3, 0, 0, (n)

static void test_sni(void **state)
{
	static const uint8_t ext[] = {0, 43, 0, 3, 2, 3, 4, SNI(15), 'w', 'W', 'w', '.', 'e', 'x',
	    'A', 'm', 'p', 'l', 'e', '.', 'o', 'r', 'g', 0, 23, 0, 0};
	static const uint8_t other[] = {0, 23, 0, 0};
	uint8_t b[2000];
	size_t n;

	n = hello(b, ext, sizeof(ext), 16384);
	whole_hook(hook_sni, b, n, VERDICT_NAME, "www.example.org");
	for (size_t rec = 1; rec < 60; rec += 7) { /* cut anywhere */
		char host[HOST_LEN];

		n = hello(b, ext, sizeof(ext), rec);
		assert_int_equal(look(hook_sni, b, n, host), VERDICT_NAME);
		assert_string_equal(host, "www.example.org");
		assert_int_equal(look(hook_sni, b, n - 1, host), VERDICT_MORE);
	}
	n = hello(b, other, sizeof(other), 16384);
	whole_hook(hook_sni, b, n, VERDICT_NONE, NULL);
	n = hello(b, NULL, 0, 16384);
	whole_hook(hook_sni, b, n, VERDICT_NONE, NULL);
}

static void test_sni_bad(void **state)
{
	static const uint8_t twice[] = {SNI(1), 'a', SNI(1), 'b'}, empty[] = {SNI(0)},
			     two_names[] = {0, 0, 0, 10, 0, 8, 0, 0, 1, 'a', 0, 0, 1, 'b'},
			     type[] = {0, 0, 0, 6, 0, 4, 1, 0, 1, 'a'},
			     nul[] = {SNI(3), 'a', 0, 'b'}, space[] = {SNI(3), 'a', ' ', 'b'},
			     beyond[] = {0, 0, 0, 9, 0, 4, 0, 0, 1, 'a'},
			     trail[] = {0, 0, 0, 7, 0, 4, 0, 0, 1, 'a', 'x'};
	static const struct {
		const uint8_t *p;
		size_t n;
	} bad[] = {{twice, sizeof(twice)}, {empty, sizeof(empty)}, {two_names, sizeof(two_names)},
	    {type, sizeof(type)}, {nul, sizeof(nul)}, {space, sizeof(space)},
	    {beyond, sizeof(beyond)}, {trail, sizeof(trail)}};
	static const uint8_t alert[] = {21, 3, 1, 0, 2, 1, 0}, http[] = "GET / HTTP/1.1\r\n",
			     zero[] = {22, 3, 1, 0, 0}, large[] = {22, 3, 1, 0x40, 1},
			     server[] = {22, 3, 1, 0, 1, 2},
			     huge[] = {22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff};
	char host[HOST_LEN];
	uint8_t b[2000];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		size_t n = hello(b, bad[i].p, bad[i].n, 16384);

		if (look(hook_sni, b, n, host) != VERDICT_BAD)
			fail_msg("case %zu", i);
	}
	assert_int_equal(look(hook_sni, alert, sizeof(alert), host), VERDICT_BAD);
	assert_int_equal(look(hook_sni, http, 1, host), VERDICT_BAD);
	assert_int_equal(look(hook_sni, zero, sizeof(zero), host), VERDICT_BAD);
	assert_int_equal(look(hook_sni, large, sizeof(large), host), VERDICT_BAD);
	assert_int_equal(look(hook_sni, server, sizeof(server), host), VERDICT_BAD);
	assert_int_equal(look(hook_sni, huge, sizeof(huge), host), VERDICT_BAD);
}

static void test_host(void **state)
{
	static const struct {
		const char *head;
		enum verdict want;
		const char *name;
	} good[] = {
	    {"GET / HTTP/1.1\r\nHost: Www.Example.ORG\r\n\r\n", VERDICT_NAME, "www.example.org"},
	    {"POST /a?b HTTP/1.1\r\nA: b\r\nhost:x.y.:8080 \r\nC:\r\n\r\n", VERDICT_NAME, "x.y"},
	    {"GET / HTTP/1.1\r\nHost: [2001:DB8::1]:80\r\n\r\n", VERDICT_NAME, "[2001:db8::1]"},
	    {"GET http://a.b:80/c HTTP/1.1\r\nHost: d.e\r\n\r\n", VERDICT_NAME, "a.b"},
	    {"GET http://a.b HTTP/1.0\r\n\r\n", VERDICT_NAME, "a.b"},
	    {"GET / HTTP/1.0\r\nX-Host: a\r\nHostX: b\r\n\r\n", VERDICT_NONE, NULL},
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		whole_hook(hook_host, (const uint8_t *)good[i].head, strlen(good[i].head),
		    good[i].want, good[i].name);
}

static void test_host_bad(void **state)
{
	static const char *const bad[] = {"GET / HTTP/1.1\nHost: a\n\n", "\r\n", "GET /\r\n",
	    "GET / HTTP/2.0\r\n", "GET  / HTTP/1.1\r\n", "G@T / HTTP/1.1\r\n",
	    "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
	    "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "GET / HTTP/1.1\r\nA: b\r\n folded: a\r\n\r\n",
	    "GET / HTTP/1.1\r\nnocolon\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\r\n",
	    "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
	    "GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
	    "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", "GET http:/// HTTP/1.1\r\n",
	    "GET / HTTP/1.1\r\nHo\rst: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"};
	char host[HOST_LEN], head[600];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (look(hook_host, bad[i], strlen(bad[i]), host) != VERDICT_BAD)
			fail_msg("taken: %s", bad[i]);
	assert_int_equal(look(hook_host, "GET\0", 4, host), VERDICT_BAD);
	/* A name that fits, and one that does not. */
	for (int len = 254; len <= 257; len++) {
		snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: %0*d\r\n\r\n", len, 1);
		assert_int_equal(look(hook_host, head, strlen(head), host),
		    len <= 255 ? VERDICT_NAME : VERDICT_BAD);
	}
}

/** Bytes without sense, and mixes of sensible beginnings with them. */
static void test_noise(void **state)
{
	static const char *const begin[] = {"", "PROXY TCP4 ", "\r\n\r\n\0\r\nQUIT\n\x21\x11",
	    "GET / HTTP/1.1\r\nHost", "\x16\x03\x01"};
	static const size_t length[] = {0, 11, 14, 20, 3};
	struct proxy_header h;
	char host[HOST_LEN];
	uint64_t r = 88172645463325252ull;

	for (int round = 0; round < 20000; round++) {
		size_t b = (size_t)round % 5, n = length[b] + r % 200;
		uint8_t buf[300];

		for (size_t i = 0; i < sizeof(buf); i++) {
			r ^= r << 13;
			r ^= r >> 7;
			r ^= r << 17;
			buf[i] = (uint8_t)(r >> 24 & (round & 8 ? 0xff : 0x0f));
		}
		memcpy(buf, begin[b], length[b]);
		assert_true(parse(buf, n, &h) <= (int)n);
		(void)look(hook_sni, buf, n, host);
		(void)look(hook_host, buf, n, host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_v1),
	    cmocka_unit_test(test_v1_bad),
	    cmocka_unit_test(test_v2),
	    cmocka_unit_test(test_v2_bad),
	    cmocka_unit_test(test_v2_checksum),
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_sni),
	    cmocka_unit_test(test_sni_bad),
	    cmocka_unit_test(test_host),
	    cmocka_unit_test(test_host_bad),
	    cmocka_unit_test(test_noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
