/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose is a frame? ARP, neighbour and multicast-listener discovery are both's: both have neighbours
 * to learn. IP packets go by the first rule that fits destination address, protocol and destination
 * port; ICMP errors by what they quote, read backwards, so that an error reaches whoever sent the
 * packet. What fits no rule, and all that is not IP, is the kernel's: it knows more than we.
 *
 * A fragment that is not the first one has no ports. A rule with ports fits it all the same, so all
 * parts of a packet go one way when the rules of a protocol agree for an address; TCP, which
 * takes care not to be fragmented, is the only protocol that rules usually divide by port.
 */
#include "rules.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

#include "../frame.h"

#define EXT_MOST 6    /* IPv6 extension headers looked through */
#define LOOK_MOST 128 /* bytes of headers, from the network header on */

struct tuple {
	uint8_t proto;
	bool ports;               /* port is known */
	struct sluice_addr local; /* v4-mapped */
	uint16_t port;            /* local, host order */
};

static struct sluice_addr map4(const uint8_t *p)
{
	struct sluice_addr a = {.q = {0, 0}};

	a.w[2] = RTE_BE32(0xffff);
	memcpy(&a.b[12], p, 4);
	return a;
}

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* ---- reading ---- */

/* The upper protocol behind extension headers: its offset, or 0. *frag: not the first fragment. */
static uint32_t walk6(const uint8_t *h, uint32_t len, uint8_t *proto, bool *frag)
{
	uint32_t off = 40;

	*proto = h[6];
	for (int i = 0; i < EXT_MOST; i++) {
		if (*proto != 0 && *proto != 43 && *proto != 44 && *proto != 60)
			return off;
		if (off + 8 > len)
			return 0;
		if (*proto == 44) {
			*frag = (be16(h + off + 2) & 0xfff8) != 0;
			*proto = h[off];
			return off + 8;
		}
		*proto = h[off];
		off += (h[off + 1] + 1u) * 8;
	}
	return 0;
}

/* Network and transport header at h; `back`: the tuple of a packet that went out. */
static bool read_tuple(const uint8_t *h, uint32_t len, bool back, struct tuple *t, uint32_t *l4)
{
	bool frag = false;

	if (len < 20)
		return false;
	if (h[0] >> 4 == 4) {
		t->proto = h[9];
		t->local = map4(h + (back ? 12 : 16));
		frag = (be16(h + 6) & 0x1fff) != 0;
		*l4 = (h[0] & 15u) * 4;
	} else {
		if (len < 40)
			return false;
		memcpy(&t->local, h + (back ? 8 : 24), 16);
		*l4 = walk6(h, len, &t->proto, &frag);
		if (*l4 == 0)
			return true; /* by address and protocol alone */
	}
	t->ports = (t->proto == IPPROTO_TCP || t->proto == IPPROTO_UDP) && !frag && *l4 + 4 <= len;
	if (t->ports)
		t->port = be16(h + *l4 + (back ? 0 : 2));
	return true;
}

/* An ICMP error: what it quotes. */
static bool quotes(const struct tuple *t, const uint8_t *l4)
{
	if (t->proto == IPPROTO_ICMP)
		return l4[0] == 3 || l4[0] == 11 || l4[0] == 12;
	return t->proto == IPPROTO_ICMPV6 && l4[0] >= 1 && l4[0] <= 4;
}

/* ---- matching ---- */

static bool covers(const struct sluice_kernel_rule *r, const struct sluice_addr *a)
{
	unsigned int bytes = r->plen / 8u, bits = r->plen % 8u;

	if (memcmp(&r->addr, a, bytes) != 0)
		return false;
	return bits == 0 || (r->addr.b[bytes] ^ a->b[bytes]) >> (8 - bits) == 0;
}

static bool fits(const struct sluice_kernel_rule *r, const struct tuple *t)
{
	if (r->proto != 0 && r->proto != t->proto &&
	    !(r->proto == IPPROTO_ICMP && t->proto == IPPROTO_ICMPV6))
		return false;
	if (r->port_last != 0 && t->ports && (t->port < r->port_first || t->port > r->port_last))
		return false;
	return covers(r, &t->local);
}

static enum kernel_whose decide(const struct kernel_rules *r, const struct tuple *t)
{
	for (unsigned int i = 0; i < r->n; i++)
		if (fits(&r->rule[i], t))
			return r->rule[i].to_kernel ? KERNEL_KERNEL : KERNEL_STACK;
	return KERNEL_KERNEL;
}

enum kernel_whose kernel_classify(const struct kernel_rules *r, const struct rte_mbuf *m)
{
	uint8_t copy[LOOK_MOST];
	struct tuple t = {.ports = false};
	uint32_t off, len, l4 = 0;
	uint16_t type = sl_frame_l3(m, false, &off);
	const uint8_t *h;

	if (type == RTE_ETHER_TYPE_ARP)
		return KERNEL_BOTH;
	if (type != RTE_ETHER_TYPE_IPV4 && type != RTE_ETHER_TYPE_IPV6)
		return KERNEL_KERNEL;
	len = RTE_MIN(m->pkt_len - off, (uint32_t)LOOK_MOST);
	h = rte_pktmbuf_read(m, off, len, copy);
	if (h == NULL || !read_tuple(h, len, false, &t, &l4))
		return KERNEL_KERNEL;
	if (l4 != 0 && l4 + 8 <= len) {
		if (t.proto == IPPROTO_ICMPV6 && h[l4] >= 130 && h[l4] <= 137)
			return KERNEL_BOTH;
		if (quotes(&t, h + l4)) {
			struct tuple q = {.ports = false};
			uint32_t ql4;

			if (read_tuple(h + l4 + 8, len - l4 - 8, true, &q, &ql4))
				return decide(r, &q);
		}
	}
	return decide(r, &t);
}

/* ---- text ---- */

static const char *const protos[] = {"any", "tcp", "udp", "icmp"};
static const uint8_t numbers[] = {0, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP};

static int parse_proto(const char *w, uint8_t *out)
{
	char *end;
	unsigned long v;

	for (size_t i = 0; i < RTE_DIM(protos); i++) {
		if (strcmp(w, protos[i]) == 0) {
			*out = numbers[i];
			return 0;
		}
	}
	v = strtoul(w, &end, 10);
	if (!isdigit((unsigned char)*w) || *end != '\0' || v == 0 || v > 255)
		return -EINVAL;
	*out = (uint8_t)v;
	return 0;
}

static int parse_prefix(char *w, struct sluice_kernel_rule *r)
{
	char *slash = strchr(w, '/'), *end;
	unsigned long plen, most = strchr(w, ':') != NULL ? 128 : 32;
	uint8_t b[16];

	if (slash != NULL)
		*slash = '\0';
	if (inet_pton(most == 32 ? AF_INET : AF_INET6, w, b) != 1)
		return -EINVAL;
	plen = slash != NULL ? strtoul(slash + 1, &end, 10) : most;
	if (slash != NULL && (!isdigit((unsigned char)slash[1]) || *end != '\0' || plen > most))
		return -EINVAL;
	if (most == 32)
		r->addr = map4(b);
	else
		memcpy(&r->addr, b, 16);
	r->plen = (uint8_t)(plen + (128 - most));
	return 0;
}

static int parse_ports(const char *w, struct sluice_kernel_rule *r)
{
	char *end;
	unsigned long a = strtoul(w, &end, 10), b = a;

	if (*end == '-')
		b = isdigit((unsigned char)end[1]) ? strtoul(end + 1, &end, 10) : 0;
	if (*end != '\0' || a == 0 || a > b || b > 65535)
		return -EINVAL;
	if (r->proto != IPPROTO_TCP && r->proto != IPPROTO_UDP)
		return -EINVAL;
	r->port_first = (uint16_t)a;
	r->port_last = (uint16_t)b;
	return 0;
}

int sluice_kernel_rule_parse(const char *text, struct sluice_kernel_rule *out)
{
	struct sluice_kernel_rule r = {.proto = 0};
	char buf[128], *save, *w;
	int rc = 0;

	if (strlen(text) >= sizeof(buf))
		return -EINVAL;
	strcpy(buf, text);
	w = strtok_r(buf, " \t", &save);
	if (w == NULL || (strcmp(w, "stack") != 0 && strcmp(w, "kernel") != 0))
		return -EINVAL;
	r.to_kernel = w[0] == 'k';
	w = strtok_r(NULL, " \t", &save);
	if (w == NULL || parse_proto(w, &r.proto) < 0)
		return -EINVAL;
	w = strtok_r(NULL, " \t", &save);
	if (w != NULL && strpbrk(w, ".:") != NULL) {
		rc = parse_prefix(w, &r);
		w = strtok_r(NULL, " \t", &save);
	}
	if (rc == 0 && w != NULL) {
		rc = isdigit((unsigned char)*w) ? parse_ports(w, &r) : -EINVAL;
		w = strtok_r(NULL, " \t", &save);
	}
	if (rc < 0 || w != NULL)
		return -EINVAL;
	*out = r;
	return 0;
}
