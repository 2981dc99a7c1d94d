/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside of the IP layer: shared by its files, seen by nobody else. See ip.c for the big picture.
 */
#ifndef SL_IP_PRIV_H
#define SL_IP_PRIV_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mbuf.h>

#include <base/pkt.h>
#include <ip/ip_int.h>

#define ETH_HLEN 14
#define L2_MAX 22 /* Ethernet and two tags */
#define TYPE_IP4 0x0800
#define TYPE_ARP 0x0806
#define TYPE_IP6 0x86dd
#define TYPE_VLAN 0x8100
#define TYPE_QINQ 0x88a8
#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_FRAG 44
#define PROTO_ICMP6 58
#define IP4_HLEN 20
#define IP6_HLEN 40
#define IP6_FRAG_HLEN 8
#define IP6_MIN_MTU 1280

/* ---- unaligned big-endian fields of packets ---- */
static inline uint16_t rd16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}
static inline uint32_t rd32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void wr16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}
static inline void wr32(uint8_t *p, uint32_t v)
{
	wr16(p, (uint16_t)(v >> 16));
	wr16(p + 2, (uint16_t)v);
}
static inline struct sluice_addr rd_addr4(const uint8_t *p)
{
	uint32_t be;

	memcpy(&be, p, 4);
	return sl_addr4(be);
}
static inline struct sluice_addr rd_addr6(const uint8_t *p)
{
	struct sluice_addr a;

	memcpy(&a, p, 16);
	return a;
}

/* ---- snapshot: what sl_cfg_copy makes; the derived tables lie behind the configuration ---- */

/* State of a configured address. Lives in the snapshot, handed over when a new one is installed. */
struct ip_addr_st {
	struct sl_timer t; /* next probe or announcement */
	uint64_t defended; /* last defence, ns + 1; 0 never */
	uint8_t state;     /* enum sluice_addr_state */
	uint8_t left;      /* probes still to send, then announcements */
};

/* Routes of one VRF and prefix length: a sorted run, searched by halves. */
struct ip_rgroup {
	uint32_t vrf, first, n;
	uint8_t plen;
};

/* A gateway that a route names, sorted by interface and address, each once. */
struct ip_gateway {
	struct sluice_addr addr;
	uint32_t ifidx;
};

struct ip_snap {
	struct sl_cfg cfg;      /* first: the snapshot is freed through it */
	struct ip_addr_st *ast; /* per address */
	uint32_t *ahash;        /* address number + 1, 0 empty; open addressing */
	uint32_t ahash_mask;
	uint32_t *aprefix; /* numbers of the addresses that stand for whole prefixes */
	uint32_t naprefix;
	uint16_t *ifhash; /* ifidx + 1 by (port, tags) */
	uint32_t ifhash_mask;
	struct ip_rgroup *rgroups; /* by VRF, longest first */
	uint32_t nrgroups;
	struct ip_gateway *gateways;
	uint32_t ngateways;
};

/* ---- neighbours ---- */
enum neigh_state {
	NEIGH_FREE,
	NEIGH_INCOMPLETE, /* asked, no answer yet */
	NEIGH_STALE,      /* usable; the next packet starts a probe */
	NEIGH_PROBE,      /* usable; asked whether it is still there */
	NEIGH_REACHABLE,
	NEIGH_PERMANENT,
};
#define NEIGH_CHUNK_SHIFT 8
#define NEIGH_CHUNK (1u << NEIGH_CHUNK_SHIFT)
#define NEIGH_IDX_BITS 20
#define NEIGH_IDX_MASK ((1u << NEIGH_IDX_BITS) - 1)
#define NEIGH_CHUNKS ((1u << NEIGH_IDX_BITS) / NEIGH_CHUNK)

/*
 * What flows keep (sl_flow.nh) is the slot's number and 12 bits of its generation, so that a freed
 * slot is recognised without a reference count; when the 12 bits wrap, sl_ip.generation moves and
 * every flow routes again.
 */
struct neigh {
	uint8_t l2[L2_MAX]; /* ready to be copied in front of a packet; EtherType by family */
	uint8_t l2len;
	uint8_t state;
	uint16_t ifidx, port;
	uint16_t sgen; /* 12 bits */
	uint8_t tries;
	uint32_t idx, hnext;
	struct sluice_addr addr;
	uint64_t used, confirmed;
	struct sl_flow *wait;
	struct sl_timer t;
};

/* Rate limit: at most `rate` a second, bursts up to a tenth of that (at least 1). */
struct ip_bucket {
	uint64_t last;   /* ns */
	uint64_t credit; /* events * 1e9 */
};

struct ip_reasm; /* reasm.c */

/* Reports that an interface owes (mld.c). */
struct ip_mld {
	uint64_t at;       /* next report, ns; 0 none */
	uint64_t v1_until; /* a querier of version 1 is present */
	uint8_t left;      /* state changes still to tell */
	bool asked;        /* a query waits for its answer */
};

struct sl_ip {
	const struct sl_ip_hooks *hooks;
	struct ip_snap *snap;
	uint32_t generation; /* never 0: zeroed flows are out of date */
	uint32_t pmtu_gen;   /* flows routed before this forget a lowered path MTU */
	uint64_t pmtu_since; /* first lowering since the last expiry, ns + 1; 0 none */
	struct sl_timer pmtu_timer;

	struct neigh **chunk;
	uint32_t *nhash;
	uint32_t nhash_mask;
	uint32_t nslots, nfree_head, nused, nhand;

	/* IP packets to ourselves, linked by sl_pkt_next */
	struct rte_mbuf *local_head, *local_tail;
	uint32_t nlocal;

	struct ip_bucket icmp_bucket, echo_bucket;
	struct ip_reasm *reasm; /* per VRF, made with the first fragment */
	struct sl_timer frag_timer;
	uint32_t frag_id; /* IPv4, of the next packet sent in fragments */

	struct sl_timer mld_timer;
	struct ip_mld mld[SL_IP_MAX_IFS];
};

/* ---- a packet on its way in ---- */
/** What was last asked about an address: the packets of a burst mostly have the same ones. */
struct ip_memo {
	struct sluice_addr addr;
	uint32_t vrf;
	bool set, local;
};

struct ip_in {
	struct sluice_squeue *sq;
	struct rte_mbuf **back; /* push mode: foreign frames collect here; else NULL */
	unsigned int nback, npkts;
	unsigned int port;
	bool forwarded;
	uint16_t vlan[2]; /* of the frame before, whose interface was ifx; -1: none yet */
	int ifx;
	struct ip_memo dst, src;
	/* Of ip_fast4: the interface of untagged frames, -1 none (never another one, as ifx may be);
	 * its MAC as a word; and the IPv4 source and destination on it that were found good. */
	int plain;
	uint64_t mac, pair;
	bool pair_set;
	struct sl_pkt pkts[SL_BURST];
};
struct ip_pkt {
	struct rte_mbuf *m;
	uint32_t off; /* of the IP header */
	uint32_t vrf;
	uint16_t ifidx;
	uint8_t flags; /* SL_PKT_* */
	bool l2multi;  /* came in a multicast or broadcast frame */
	bool reasm;    /* put together from fragments: no frame to give back */
	bool whole;    /* put together just now: nobody has asked yet whose it is */
	bool trusted;  /* checksums need no check: local or a perfect port */
	uint8_t ttl, tos, proto;
	uint16_t l4len; /* bytes behind the IP header, padding excluded */
	uint32_t l4off;
	uint8_t smac[6];
	struct sluice_addr src, dst;
};

/*
 * Packets that go to another squeue without an Ethernet header (local delivery, reassembled ones)
 * carry this in packet_type, and VRF and interface in the two words of sl_pkt_word. Plain frames
 * carry 0 there.
 */
#define IP_MARK 0x51000000u
#define IP_MARK_LOCAL 1u

/* ip.c */
void ip_drop(struct sluice_squeue *sq, struct rte_mbuf *m, uint64_t *counter);
bool ip_foreign(struct ip_in *in, struct rte_mbuf *m, uint64_t *counter);
bool ip_pull_slow(struct sluice_squeue *sq, struct rte_mbuf **m, uint32_t need);
/** Make the first `need` bytes contiguous. False: shorter than that, or no memory (the packet is
 * still whole). */
static inline bool ip_pull(struct sluice_squeue *sq, struct rte_mbuf **m, uint32_t need)
{
	return SL_LIKELY((*m)->data_len >= need) || ip_pull_slow(sq, m, need);
}
void ip_in_flush(struct ip_in *in);
/** Hand a packet to another squeue and count the cause. Takes p->m. */
void ip_forward(struct ip_in *in, const struct ip_pkt *p, unsigned int to, uint64_t *cause);
/** sl_ip_is_local, remembered in *memo for the next packet of the burst. */
static inline bool ip_is_local(
    struct sluice_squeue *sq, struct ip_memo *memo, uint32_t vrf, const struct sluice_addr *a)
{
	if (SL_UNLIKELY(!memo->set || memo->vrf != vrf || !sl_addr_eq(&memo->addr, a)))
		*memo = (struct ip_memo){*a, vrf, true, sl_ip_is_local(sq, vrf, a)};
	return memo->local;
}
void ip_tcp(struct ip_in *in, struct ip_pkt *p);
bool ip_rate(struct ip_bucket *b, uint64_t now, uint64_t rate);
void ip_bump(struct sl_ip *ip);
struct rte_mempool *ip_data_pool(const struct sluice_squeue *sq);
/* snap.c */
bool ip_is_gateway(const struct ip_snap *s, uint16_t ifidx, const struct sluice_addr *a);
bool ip_prefix_has(
    const struct sluice_addr *prefix, unsigned int plen, const struct sluice_addr *a);
int ip_find_if(const struct ip_snap *s, unsigned int port, uint16_t v0, uint16_t v1);
/** Address row of (vrf, a), of interface ifidx (-1 any), in any state; -1. Prefixes included. */
int ip_find_addr(const struct ip_snap *s, uint32_t vrf, int ifidx, const struct sluice_addr *a);
/* ipv4.c */
bool ip_fast4(struct ip_in *in, struct rte_mbuf *m, uint32_t caps);
/* eth.c */
void ip_eth_input(struct ip_in *in, struct rte_mbuf *m);
void ip_marked_input(struct ip_in *in, struct rte_mbuf *m);
unsigned int ip_eth_header(
    const struct sl_cfg_if *f, const uint8_t dst[6], uint16_t type, uint8_t *l2);
/* ipv4.c, ipv6.c, icmp.c, reasm.c */
void ip_input4(struct ip_in *in, struct ip_pkt *p);
void ip_input6(struct ip_in *in, struct ip_pkt *p);
void ip_not_ours(struct ip_in *in, struct ip_pkt *p, uint64_t *counter);
void ip_refuse(struct ip_in *in, struct ip_pkt *p, uint8_t type, uint8_t code);
void ip_trim(struct ip_pkt *p, uint32_t total);
/** Walk extension headers in b[0..len): offset of the payload, its protocol in *proto; -1
 * malformed. *frag: offset of a fragment header, 0 none. */
int ip6_walk(const uint8_t *b, uint32_t len, uint8_t *proto, uint32_t *frag, bool *truncated);
void ip_icmp4(struct ip_in *in, struct ip_pkt *p);
void ip_icmp6(struct ip_in *in, struct ip_pkt *p);
/** Send an ICMP error about p (RFC 1122 3.2.2, RFC 4443 2.4), unless the rules or the rate limit
 * forbid. Does not take p->m. */
void ip_icmp_error(struct sluice_squeue *sq, const struct ip_pkt *p, uint8_t type, uint8_t code);
struct rte_mbuf *ip_reasm(struct ip_in *in, struct ip_pkt *p, uint32_t hdr_len, uint32_t frag_off);
/** Give up what has not become whole in time. */
void ip_reasm_timer(struct sluice_squeue *sq);
void ip_reasm_fini(struct sl_ip *ip);
/* arp.c, nd.c */
void ip_arp_input(struct ip_in *in, struct rte_mbuf *m, uint32_t off, uint16_t ifidx);
void ip_arp_send(struct sluice_squeue *sq, uint16_t ifidx, uint16_t op, const uint8_t dmac[6],
    const struct sluice_addr *spa, const uint8_t tha[6], const struct sluice_addr *tpa);
void ip_nd_input(struct ip_in *in, struct ip_pkt *p);
void ip_nd_solicit(struct sluice_squeue *sq, uint16_t ifidx, const struct sluice_addr *target,
    const uint8_t *dmac, bool dad);
/** Unsolicited advertisement to all nodes (RFC 4861 7.2.6). */
void ip_nd_announce(struct sluice_squeue *sq, uint16_t ifidx, const struct sluice_addr *a);
/* Another station sends from one of our addresses. */
void ip_nd_conflict(struct ip_in *in, const struct ip_pkt *p);
/** The solicited-node group of an address. */
struct sluice_addr ip_solicited_node(const struct sluice_addr *a);
/* mld.c */
void ip_mld_input(struct ip_in *in, struct ip_pkt *p);
void ip_mld_config(struct sluice_squeue *sq, const struct ip_snap *old);
/** Tell an interface's groups again soon: a source address became ready. */
void ip_mld_again(struct sluice_squeue *sq, uint16_t ifidx);
void ip_mld_timer(struct sluice_squeue *sq);
/* neigh.c */
int ip_neigh_init(struct sluice_squeue *sq);
void ip_neigh_fini(struct sluice_squeue *sq);
void ip_neigh_config(struct sluice_squeue *sq, const struct ip_snap *old);
struct neigh *ip_neigh_find(
    struct sl_ip *ip, const struct sluice_squeue *sq, uint16_t ifidx, const struct sluice_addr *a);
/** Found or made (then asked for). NULL: table full, counted. */
struct neigh *ip_neigh_get(struct sluice_squeue *sq, uint16_t ifidx, const struct sluice_addr *a);
/** A link-layer address was heard. create: make a stale entry; solicited: it answers us. */
void ip_neigh_learn(struct sluice_squeue *sq, uint16_t ifidx, const struct sluice_addr *a,
    const uint8_t mac[6], bool create, bool solicited, bool override);
void ip_neigh_probe(struct sluice_squeue *sq, struct neigh *n);
void ip_neigh_timer(void *arg, struct sl_timer *t);
static inline struct neigh *ip_neigh_at(const struct sl_ip *ip, uint32_t idx)
{
	return ip->chunk[idx >> NEIGH_CHUNK_SHIFT] + (idx & (NEIGH_CHUNK - 1));
}
static inline uint32_t ip_neigh_name(const struct neigh *n)
{
	return (uint32_t)n->sgen << NEIGH_IDX_BITS | n->idx;
}
/** The neighbour that a flow names, NULL when its slot has been freed since. */
static inline struct neigh *ip_neigh_of(const struct sl_ip *ip, uint32_t nh)
{
	struct neigh *n = ip_neigh_at(ip, nh & NEIGH_IDX_MASK);

	return SL_LIKELY(n->state > NEIGH_INCOMPLETE && n->sgen == nh >> NEIGH_IDX_BITS) ? n : NULL;
}
/* dad.c */
void ip_dad_config(struct sluice_squeue *sq, const struct ip_snap *old);
void ip_dad_timer(struct sluice_squeue *sq, struct sl_timer *t);
void ip_dad_stop(struct sluice_squeue *sq);
void ip_dad_duplicate(struct sluice_squeue *sq, uint32_t row);
void ip_defend(struct sluice_squeue *sq, uint32_t row, bool answer);
/* route.c */
const struct sl_cfg_route *ip_route(
    const struct ip_snap *s, uint32_t vrf, const struct sluice_addr *dst);
int ip_route_flow(struct sluice_squeue *sq, struct sl_flow *f, const struct sl_key *key,
    struct sluice_addr *hop, int scope);
bool ip_on_link(const struct ip_snap *s, uint16_t ifidx, const struct sluice_addr *a);
/* cksum.c: one's complement sums (RFC 1071) in host arithmetic on network-order words. Words of any
 * size fold to the same. */
static inline uint64_t ip_sum_add(uint64_t s, uint64_t w)
{
	s += w;
	return s + (s < w); /* the carry comes round */
}
/** To 16 bits: each half is added to the other at once, the upper one of the result is the sum. */
static inline uint16_t ip_fold(uint64_t s)
{
	uint32_t h;

	s += s << 32 | s >> 32;
	h = (uint32_t)(s >> 32);
	h += h << 16 | h >> 16;
	return (uint16_t)(h >> 16);
}
static inline uint64_t ip_word(const uint8_t *b)
{
	uint64_t w;

	memcpy(&w, b, 8);
	return w;
}
struct ip_block {
	uint64_t w[4];
} __attribute__((packed)); /* anywhere */
/** s and 32 bytes more. Compilers make four instructions of a word and its carry, and one will do;
 * where the sanitizers look on, they are to see the reads. */
static inline uint64_t ip_sum32(uint64_t s, const uint8_t *b)
{
#if defined(__x86_64__) && !defined(SLUICE_DEBUG_CHECKS)
	const struct ip_block *p = (const struct ip_block *)(const void *)b;

	__asm__("addq %1, %0\n\tadcq %2, %0\n\tadcq %3, %0\n\tadcq %4, %0\n\tadcq $0, %0"
		: "+&r"(s)
		: "m"(p->w[0]), "m"(p->w[1]), "m"(p->w[2]), "m"(p->w[3])
		: "cc");
	return s;
#else
	s = ip_sum_add(ip_sum_add(s, ip_word(b)), ip_word(b + 8));
	return ip_sum_add(ip_sum_add(s, ip_word(b + 16)), ip_word(b + 24));
#endif
}
/** The last len bytes, less than 32. */
static inline uint64_t ip_sum_tail(uint64_t s, const uint8_t *b, uint32_t len)
{
	uint64_t rest = 0;
	uint32_t w4;
	uint16_t w2;

	for (; len >= 8; len -= 8, b += 8)
		s = ip_sum_add(s, ip_word(b));
	if (len & 4) {
		memcpy(&w4, b, 4);
		rest = w4;
		b += 4;
	}
	if (len & 2) {
		memcpy(&w2, b, 2);
		rest += w2;
		b += 2;
	}
	if (len & 1)
		rest += *b;
	return ip_sum_add(s, rest);
}
/** len bytes; fewer instructions than ip_sum_long below IP_SUM_SHORT. */
static inline uint64_t ip_sum_short(const uint8_t *b, uint32_t len)
{
	const uint8_t *end = b + (len & ~31u);
	uint64_t s = 0;

	for (; b != end; b += 32)
		s = ip_sum32(s, b);
	return SL_UNLIKELY(len & 31) ? ip_sum_tail(s, b, len & 31) : s;
}
#define IP_SUM_SHORT 256u
uint64_t ip_sum_long(const uint8_t *b, uint32_t len);
static inline uint64_t ip_sum(const uint8_t *b, uint32_t len)
{
	return len < IP_SUM_SHORT ? ip_sum_short(b, len) : ip_sum_long(b, len);
}
/** Of the pseudo-header. */
static inline uint64_t ip_pseudo4(uint32_t src, uint32_t dst, uint8_t proto, uint32_t len)
{
	return (uint64_t)src + dst + htons(proto) + htonl(len);
}
uint32_t ip_pseudo(
    const struct sluice_addr *s, const struct sluice_addr *d, uint8_t proto, uint32_t len);
/** The sum of an IPv4 header without options: 0xffff when it verifies. */
static inline uint16_t ip_sum_header(const uint8_t *h)
{
	uint32_t w[5];

	memcpy(w, h, sizeof(w));
	return ip_fold((uint64_t)w[0] + w[1] + w[2] + w[3] + w[4]);
}
/** Checksum over m from off, len bytes, added to sum: 0xffff when it verifies. */
uint16_t ip_sum_mbuf(const struct rte_mbuf *m, uint32_t off, uint32_t len, uint32_t sum);
/* output.c */
/** A stateless packet of `proto`, m begins at its header; ip_out_no_route and ip_out_no_neigh are
 * counted. Takes m. */
void ip_send(struct sluice_squeue *sq, uint32_t vrf, int scope, const struct sluice_addr *src,
    const struct sluice_addr *dst, uint8_t proto, uint8_t tos, struct rte_mbuf *m);
/** Prepend a finished L2 header and stage; a full port drops and counts. */
void ip_push(struct sluice_squeue *sq, uint16_t port, struct rte_mbuf *m);
void ip_put6(uint8_t *h, const struct sluice_addr *s, const struct sluice_addr *d, uint8_t proto,
    uint8_t hops, uint32_t len);
/* steer.c */
/** NULL: a packet of this key stays here. Else it belongs to squeue *to, and this counts why. */
uint64_t *ip_elsewhere(struct sluice_squeue *sq, unsigned int port, const struct sl_key *key,
    bool forwarded, unsigned int *to);
/** True: the fragment (ID in network order) went to the squeue where its packet becomes whole. */
bool ip_frag_elsewhere(struct ip_in *in, const struct ip_pkt *p, uint32_t id);
void ip_copy_to_others(struct sluice_squeue *sq, unsigned int port, const struct rte_mbuf *m);

#endif
