/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A squeue made by hand for the tests of the IP layer: one stack struct, up to two ports whose
 * transmitted frames are kept, hooks that record. No EAL. sl_tx_push and sl_forward are the test's
 * own.
 */
#ifndef IPT_H
#define IPT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ip/ip_priv.h>

#include "mpool.h"

#define IPT_KEEP 4096

struct ipt {
	struct sluice_stack st;
	struct sluice_squeue sq;
	struct rte_mempool *mp;
	struct sl_cfg_if ifs[8];
	struct sl_cfg_addr addrs[64];
	struct sl_cfg_route routes[2048];
	struct sl_cfg_neigh neighs[8];
	struct sl_cfg cfg;
	struct rte_mbuf *out[IPT_KEEP]; /* staged frames */
	uint16_t outport[IPT_KEEP];
	unsigned int nout;
	struct sl_pkt in[IPT_KEEP]; /* segments that TCP got */
	unsigned int nin, nbatches;
	struct sl_icmp_err err[64];
	unsigned int nerr;
	unsigned int nready, nfailed; /* flow_ready with 0, with an error */
	struct rte_mbuf *fwd[64];
	unsigned int fwd_to[64], nfwd;
	unsigned int nforeign;
	bool take_foreign;
	int owner; /* what tcp_owner says */
	uint32_t tx_limit;
};

extern struct ipt *ipt; /* the one under test */

struct ipt *ipt_new(uint32_t caps, unsigned int nsq);
/** Ends the test's stack: every mbuf must be back. */
void ipt_free(struct ipt *t);
void ipt_clear(struct ipt *t);  /* frees what was captured */
void ipt_config(struct ipt *t); /* installs t->cfg with t->ifs... */
void ipt_advance(struct ipt *t, uint64_t ns);
struct sluice_addr ipt_addr(const char *text);
int ipt_if(struct ipt *t, uint16_t port, uint16_t v0, uint16_t v1, uint32_t vrf);
void ipt_addr_add(struct ipt *t, uint16_t ifidx, const char *addr, uint8_t plen);
void ipt_route_add(
    struct ipt *t, uint32_t vrf, const char *prefix, uint8_t plen, const char *via, uint16_t ifidx);
/** Input of raw bytes in an exact mbuf. */
void ipt_rx(struct ipt *t, unsigned int port, const void *b, uint32_t len);
/** Builders; they return the frame's length. */
uint32_t ipt_eth(uint8_t *b, const uint8_t *dst, uint16_t type);
uint32_t ipt_arp(uint8_t *b, uint16_t op, const uint8_t *sha, const char *spa, const char *tpa);
uint32_t ipt_tcp(
    uint8_t *b, const char *src, const char *dst, uint16_t sport, uint16_t dport, uint32_t paylen);
uint32_t ipt_ip(
    uint8_t *b, const char *src, const char *dst, uint8_t proto, const void *l4, uint32_t len);
void ipt_fix4(uint8_t *ip); /* IPv4 header checksum anew */
void ipt_icmp6_sum(uint8_t *ip6);
struct sl_key ipt_key(uint32_t vrf, const char *l, uint16_t lport, const char *r, uint16_t rport);
/** A TCP segment ready for sl_flow_send. */
struct rte_mbuf *ipt_seg(struct ipt *t, uint32_t paylen, unsigned int segs);

extern const uint8_t ipt_mac[6], ipt_peer[6], ipt_bcast[6];

#endif
