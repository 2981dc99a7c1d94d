/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames for the tests of the drivers, each with a number in its last four bytes. */
#ifndef TEST_DRIVERS_FRAMES_H
#define TEST_DRIVERS_FRAMES_H

#include <sluice/driver.h>

#include <stdint.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_mbuf.h>

enum fr_kind {
	FR_TCP4,
	FR_TCP6,
	FR_UDP4,
	FR_FRAG4,
	FR_ICMP4,
	FR_ARP,
	FR_ND
};

struct fr {
	enum fr_kind kind;
	uint32_t src, dst; /* last words of the addresses */
	uint16_t sport, dport;
	uint8_t vlans;
	bool raw;
	uint16_t len; /* of the frame, at least 80 */
	uint32_t id;
};

static inline struct sluice_addr fr_addr(bool v6, uint32_t last)
{
	struct sluice_addr a;

	memset(&a, 0, sizeof(a));
	if (v6)
		a.b[0] = 0xfd;
	else
		a.w[2] = RTE_BE32(0xffff);
	a.w[3] = rte_cpu_to_be_32(last);
	return a;
}

static inline void fr_put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* Writes f->len bytes. */
static inline void fr_bytes(const struct fr *f, uint8_t *b)
{
	bool v6 = f->kind == FR_TCP6 || f->kind == FR_ND;
	struct sluice_addr s = fr_addr(v6, f->src), d = fr_addr(v6, f->dst);
	uint8_t *p = b;

	for (uint16_t i = 0; i < f->len; i++)
		b[i] = (uint8_t)(i * 7);
	if (!f->raw) {
		p += 12;
		for (int i = 0; i < f->vlans; i++, p += 4) {
			fr_put16(p, 0x8100);
			fr_put16(p + 2, 5);
		}
		fr_put16(p, f->kind == FR_ARP ? 0x0806 : v6 ? 0x86dd : 0x0800);
		p += 2;
	}
	if (f->kind != FR_ARP && !v6) {
		memset(p, 0, 20);
		p[0] = 0x45;
		if (f->kind == FR_FRAG4)
			fr_put16(p + 6, 0x2000);
		p[9] = f->kind == FR_ICMP4 ? 1 : f->kind == FR_UDP4 ? 17 : 6;
		memcpy(p + 12, &s.w[3], 4);
		memcpy(p + 16, &d.w[3], 4);
		p += 20;
	} else if (v6) {
		memset(p, 0, 40);
		p[0] = 0x60;
		p[6] = f->kind == FR_ND ? 58 : 6;
		memcpy(p + 8, s.b, 16);
		memcpy(p + 24, d.b, 16);
		p += 40;
	}
	if (f->kind == FR_ND) {
		p[0] = 135;
	} else {
		fr_put16(p, f->sport);
		fr_put16(p + 2, f->dport);
	}
	memcpy(b + f->len - 4, &f->id, 4);
}

/* Spread over segments of at most `seg` bytes. */
static inline struct rte_mbuf *fr_make(struct rte_mempool *mp, const struct fr *f, uint16_t seg)
{
	uint8_t b[2048];
	struct rte_mbuf *head = NULL;

	fr_bytes(f, b);
	for (uint16_t off = 0; off < f->len; off = (uint16_t)(off + seg)) {
		uint16_t n = RTE_MIN(seg, (uint16_t)(f->len - off));
		struct rte_mbuf *m = rte_pktmbuf_alloc(mp);

		if (!m)
			abort();
		memcpy(rte_pktmbuf_append(m, n), b + off, n);
		if (!head)
			head = m;
		else if (rte_pktmbuf_chain(head, m))
			abort();
	}
	return head;
}

static inline struct rte_mbuf *fr_tcp(struct rte_mempool *mp, uint32_t id)
{
	struct fr f = {
	    .kind = FR_TCP4, .src = 1, .dst = 2, .sport = 3, .dport = 4, .len = 100, .id = id};

	return fr_make(mp, &f, 2000);
}

static inline uint32_t fr_id(const struct rte_mbuf *m)
{
	uint8_t b[4];
	uint32_t id;

	memcpy(&id, rte_pktmbuf_read(m, m->pkt_len - 4, 4, b), 4);
	return id;
}

#endif
