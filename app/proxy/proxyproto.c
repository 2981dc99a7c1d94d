/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The PROXY protocol, versions 1 (a line of text) and 2 (binary): who the client of a proxied
 * connection is. Read strictly, since what it says is believed: one form of each number, nothing
 * beyond the form, addresses of the family that was announced, TLVs that fill the header exactly,
 * and their checksum when there is one. Only TCP is known here, so other protocols are refused.
 */
#include "proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define V1_MAX 107 /* with CR LF, by the specification */
#define V2_HEAD 16
#define V2_LOCAL 0x20
#define V2_PROXY 0x21
#define V2_UNSPEC 0x00
#define V2_TCP4 0x11
#define V2_TCP6 0x21
#define TLV_CRC32C 0x03

static const uint8_t v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

/* ---- version 1 ---- */

/* Cut the next word off; words are separated by exactly one space. NULL: there is none. */
static char *word(char **p)
{
	char *w = *p, *end;

	if (w == NULL || *w == '\0' || *w == ' ')
		return NULL;
	end = strchr(w, ' ');
	if (end != NULL)
		*end++ = '\0';
	*p = end;
	return w;
}

/* Decimal without leading zeros, 0..65535. */
static bool v1_port(const char *w, uint16_t *port)
{
	unsigned int v = 0;

	if (w == NULL || w[0] == '\0' || (w[0] == '0' && w[1] != '\0') || strlen(w) > 5)
		return false;
	for (; *w != '\0'; w++) {
		if (*w < '0' || *w > '9')
			return false;
		v = 10 * v + (unsigned int)(*w - '0');
	}
	*port = htons((uint16_t)v);
	return v <= 65535;
}

static bool v1_address(int family, const char *w, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	ss->ss_family = (sa_family_t)family;
	if (w == NULL)
		return false;
	if (family == AF_INET)
		return inet_pton(family, w, &((struct sockaddr_in *)ss)->sin_addr) == 1;
	return inet_pton(family, w, &((struct sockaddr_in6 *)ss)->sin6_addr) == 1;
}

static uint16_t *port_of(struct sockaddr_storage *ss)
{
	return ss->ss_family == AF_INET ? &((struct sockaddr_in *)ss)->sin_port
					: &((struct sockaddr_in6 *)ss)->sin6_port;
}

static bool v1_line(char *line, struct proxy_header *h)
{
	char *p = line + 6, *proto = word(&p), *src, *dst, *sport, *dport;
	int family;

	if (proto != NULL && strcmp(proto, "UNKNOWN") == 0) {
		h->local = true; /* what follows is to be ignored */
		return true;
	}
	if (proto == NULL)
		return false;
	if (strcmp(proto, "TCP4") == 0)
		family = AF_INET;
	else if (strcmp(proto, "TCP6") == 0)
		family = AF_INET6;
	else
		return false;
	src = word(&p);
	dst = word(&p);
	sport = word(&p);
	dport = word(&p);
	return p == NULL && v1_address(family, src, &h->src) && v1_address(family, dst, &h->dst) &&
	       v1_port(sport, port_of(&h->src)) && v1_port(dport, port_of(&h->dst));
}

static int parse_v1(const uint8_t *p, size_t n, struct proxy_header *h)
{
	size_t most = n < V1_MAX ? n : V1_MAX;
	const uint8_t *cr = memchr(p, '\r', most);
	char line[V1_MAX + 1];
	size_t len;

	if (cr == NULL)
		return n < V1_MAX ? 0 : -EINVAL;
	len = (size_t)(cr - p);
	if (len + 2 > V1_MAX || memchr(p, '\0', len) != NULL)
		return -EINVAL;
	if (len + 1 == n)
		return 0;
	if (p[len + 1] != '\n')
		return -EINVAL;
	memcpy(line, p, len);
	line[len] = '\0';
	return v1_line(line, h) ? (int)len + 2 : -EINVAL;
}

/* ---- version 2 ---- */

/* CRC-32C, reflected. The header is short and has it rarely. */
static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t n)
{
	for (; n > 0; n--) {
		crc ^= *p++;
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return crc;
}

/* The header's checksum is made with its own four bytes as zero. */
static bool checksum_ok(const uint8_t *p, size_t len, size_t at)
{
	static const uint8_t zero[4];
	uint32_t crc = crc32c(~0u, p, at), want;

	crc = crc32c(crc, zero, 4);
	crc = ~crc32c(crc, p + at + 4, len - at - 4);
	memcpy(&want, p + at, 4);
	return crc == ntohl(want);
}

static bool tlvs_ok(const uint8_t *p, size_t len, size_t at)
{
	while (at < len) {
		size_t n;

		if (len - at < 3)
			return false;
		n = (size_t)p[at + 1] << 8 | p[at + 2];
		if (n > len - at - 3)
			return false;
		if (p[at] == TLV_CRC32C && (n != 4 || !checksum_ok(p, len, at + 3)))
			return false;
		at += 3 + n;
	}
	return true;
}

static void v2_address(
    struct sockaddr_storage *ss, int family, const uint8_t *addr, const uint8_t *port)
{
	memset(ss, 0, sizeof(*ss));
	ss->ss_family = (sa_family_t)family;
	if (family == AF_INET)
		memcpy(&((struct sockaddr_in *)ss)->sin_addr, addr, 4);
	else
		memcpy(&((struct sockaddr_in6 *)ss)->sin6_addr, addr, 16);
	memcpy(port_of(ss), port, 2);
}

static int parse_v2(const uint8_t *p, size_t n, struct proxy_header *h)
{
	size_t len, addrs;

	if (n < V2_HEAD)
		return 0;
	if (p[12] != V2_LOCAL && p[12] != V2_PROXY)
		return -EINVAL;
	len = V2_HEAD + ((size_t)p[14] << 8 | p[15]);
	addrs = p[13] == V2_TCP4 ? 12 : p[13] == V2_TCP6 ? 36 : 0;
	if (p[12] == V2_PROXY && addrs == 0 && p[13] != V2_UNSPEC)
		return -EINVAL;
	if (p[12] == V2_PROXY && len < V2_HEAD + addrs)
		return -EINVAL;
	if (n < len)
		return 0;
	if (p[12] == V2_LOCAL || p[13] == V2_UNSPEC) {
		h->local = true; /* the rest is to be skipped unread */
		return (int)len;
	}
	if (!tlvs_ok(p, len, V2_HEAD + addrs))
		return -EINVAL;
	if (p[13] == V2_TCP4) {
		v2_address(&h->src, AF_INET, p + 16, p + 24);
		v2_address(&h->dst, AF_INET, p + 20, p + 26);
	} else {
		v2_address(&h->src, AF_INET6, p + 16, p + 48);
		v2_address(&h->dst, AF_INET6, p + 32, p + 50);
	}
	return (int)len;
}

int proxyproto_parse(const uint8_t *p, size_t n, struct proxy_header *h)
{
	size_t sig = n < sizeof(v2_signature) ? n : sizeof(v2_signature), v1 = n < 6 ? n : 6;

	memset(h, 0, sizeof(*h));
	if (n == 0)
		return 0;
	if (memcmp(p, v2_signature, sig) == 0)
		return parse_v2(p, n, h);
	if (memcmp(p, "PROXY ", v1) == 0)
		return v1 < 6 ? 0 : parse_v1(p, n, h);
	return -EINVAL;
}

/* ---- making them ---- */

static size_t make_v1(
    uint8_t *out, const struct sockaddr_storage *src, const struct sockaddr_storage *dst)
{
	struct sockaddr_storage a = *src, b = *dst;
	bool six = src->ss_family == AF_INET6;
	char s[INET6_ADDRSTRLEN], d[INET6_ADDRSTRLEN];

	inet_ntop(a.ss_family,
	    six ? (const void *)&((struct sockaddr_in6 *)&a)->sin6_addr
		: (const void *)&((struct sockaddr_in *)&a)->sin_addr,
	    s, sizeof(s));
	inet_ntop(b.ss_family,
	    six ? (const void *)&((struct sockaddr_in6 *)&b)->sin6_addr
		: (const void *)&((struct sockaddr_in *)&b)->sin_addr,
	    d, sizeof(d));
	return (size_t)snprintf((char *)out, PROXY_HEADER_MAX, "PROXY TCP%c %s %s %u %u\r\n",
	    six ? '6' : '4', s, d, ntohs(*port_of(&a)), ntohs(*port_of(&b)));
}

static size_t put(uint8_t *out, size_t at, const void *p, size_t n)
{
	memcpy(out + at, p, n);
	return at + n;
}

static size_t make_v2(
    uint8_t *out, const struct sockaddr_storage *src, const struct sockaddr_storage *dst)
{
	struct sockaddr_storage a = *src, b = *dst;
	bool six = a.ss_family == AF_INET6;
	uint8_t head[4] = {V2_PROXY, six ? V2_TCP6 : V2_TCP4, 0, six ? 36 : 12};
	size_t n = put(out, 0, v2_signature, sizeof(v2_signature));

	n = put(out, n, head, sizeof(head));
	if (six) {
		n = put(out, n, &((struct sockaddr_in6 *)&a)->sin6_addr, 16);
		n = put(out, n, &((struct sockaddr_in6 *)&b)->sin6_addr, 16);
	} else {
		n = put(out, n, &((struct sockaddr_in *)&a)->sin_addr, 4);
		n = put(out, n, &((struct sockaddr_in *)&b)->sin_addr, 4);
	}
	n = put(out, n, port_of(&a), 2);
	return put(out, n, port_of(&b), 2);
}

size_t proxyproto_make(uint8_t out[PROXY_HEADER_MAX], enum send_proxy version,
    const struct sockaddr_storage *src, const struct sockaddr_storage *dst)
{
	return version == SEND_PROXY_V1 ? make_v1(out, src, dst) : make_v2(out, src, dst);
}
