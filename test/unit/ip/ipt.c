/* SPDX-License-Identifier: BSD-3-Clause */
#include "ipt.h"

#include <arpa/inet.h>

const uint8_t ipt_mac[6] = {2, 0, 0, 0, 0, 1}, ipt_peer[6] = {2, 0, 0, 0, 0, 2};
const uint8_t ipt_bcast[6] = {255, 255, 255, 255, 255, 255};
struct ipt *ipt;

bool sl_tx_push(struct sluice_squeue *sq, unsigned int port, struct rte_mbuf *m)
{
	if (ipt->nout >= ipt->tx_limit)
		return false;
	ipt->outport[ipt->nout] = (uint16_t)port;
	ipt->out[ipt->nout++] = m;
	return true;
}

void sl_forward(struct sluice_squeue *sq, unsigned int to, unsigned int port, struct rte_mbuf *m)
{
	assert_true(ipt->nfwd < 64);
	ipt->fwd_to[ipt->nfwd] = to;
	ipt->fwd[ipt->nfwd++] = m;
}

static void tcp_input(struct sluice_squeue *sq, struct sl_pkt *pkts, unsigned int n)
{
	ipt->nbatches++;
	for (unsigned int i = 0; i < n; i++) {
		assert_true(ipt->nin < IPT_KEEP);
		assert_true(pkts[i].m->pkt_len == pkts[i].len);
		ipt->in[ipt->nin++] = pkts[i];
	}
}

static void tcp_icmp(struct sluice_squeue *sq, const struct sl_icmp_err *e)
{
	ipt->err[ipt->nerr++] = *e;
}

static void flow_ready(struct sluice_squeue *sq, struct sl_flow *f, int err)
{
	assert_null(f->wpprev);
	if (err == 0)
		ipt->nready++;
	else
		ipt->nfailed++;
}

static int tcp_owner(struct sluice_squeue *sq, const struct sl_key *key)
{
	return ipt->owner;
}

static const struct sl_ip_hooks hooks = {tcp_input, tcp_icmp, flow_ready, tcp_owner};

static bool foreign(void *arg, struct sluice_squeue *sq, unsigned int port, struct rte_mbuf *m)
{
	ipt->nforeign++;
	if (ipt->take_foreign)
		rte_pktmbuf_free(m);
	return ipt->take_foreign;
}

struct ipt *ipt_new(uint32_t caps, unsigned int nsq)
{
	struct ipt *t = aligned_alloc(64, (sizeof(*t) + 63) & ~(size_t)63);

	memset(t, 0, sizeof(*t));
	ipt = t;
	t->owner = -1;
	t->tx_limit = IPT_KEEP;
	t->mp = tp_create(2048 + RTE_PKTMBUF_HEADROOM, 0);
	t->st.params.hdr_pool = t->mp;
	t->st.params.foreign = foreign;
	t->st.nsq = nsq;
	t->sq.stack = &t->st;
	t->st.sq[0] = &t->sq;
	sluice_tunables_default(&t->sq.tun);
	t->sq.tun.ip_dad_probes = 0;
	t->sq.tun.ip_mld = 0;
	sl_rng_seed(&t->sq.rng, 1, 0);
	t->sq.now = SLUICE_SEC(100);
	sl_wheel_init(&t->sq.wheel, t->sq.now);
	t->sq.nports = 2;
	for (unsigned int i = 0; i < 2; i++) {
		t->sq.port[i].info =
		    (struct sluice_port_info){.caps = caps, .mtu = 9000, .nqueues = (uint16_t)nsq};
		t->sq.port[i].txq = calloc(1, sizeof(struct sl_txq));
	}
	assert_int_equal(sl_ip_create(&t->sq, &hooks), 0);
	return t;
}

void ipt_clear(struct ipt *t)
{
	for (unsigned int i = 0; i < t->nout; i++)
		rte_pktmbuf_free(t->out[i]);
	for (unsigned int i = 0; i < t->nin; i++)
		rte_pktmbuf_free(t->in[i].m);
	for (unsigned int i = 0; i < t->nfwd; i++)
		rte_pktmbuf_free(t->fwd[i]);
	t->nout = t->nin = t->nfwd = t->nerr = t->nbatches = 0;
}

void ipt_free(struct ipt *t)
{
	ipt_clear(t);
	sl_ip_destroy(&t->sq);
	assert_int_equal(t->sq.wheel.count, 0);
	assert_int_equal(tp_destroy(t->mp), 0);
	free(t->sq.port[0].txq);
	free(t->sq.port[1].txq);
	free(t);
}

void ipt_config(struct ipt *t)
{
	struct sl_cfg *c;

	t->cfg.ifs = t->ifs;
	t->cfg.addrs = t->addrs;
	t->cfg.routes = t->routes;
	t->cfg.neighs = t->neighs;
	t->cfg.tun = t->sq.tun;
	c = sl_cfg_copy(&t->cfg);
	assert_non_null(c);
	sl_ip_config(&t->sq, c);
}

void ipt_advance(struct ipt *t, uint64_t ns)
{
	uint64_t end = t->sq.now + ns;

	while (t->sq.now < end) {
		t->sq.now = RTE_MIN(end, t->sq.now + SLUICE_MS(10));
		sl_wheel_advance(&t->sq.wheel, t->sq.now, 100000);
	}
}

struct sluice_addr ipt_addr(const char *text)
{
	struct sluice_addr a = {.q = {0, 0}};
	uint32_t be;

	if (inet_pton(AF_INET, text, &be) == 1)
		return sl_addr4(be);
	assert_int_equal(inet_pton(AF_INET6, text, &a), 1);
	return a;
}

int ipt_if(struct ipt *t, uint16_t port, uint16_t v0, uint16_t v1, uint32_t vrf)
{
	struct sl_cfg_if *f = &t->ifs[t->cfg.nifs];

	*f = (struct sl_cfg_if){
	    .port = port, .vlan = {v0, v1}, .mtu = 1500, .vrf = vrf, .used = true};
	memcpy(f->mac, ipt_mac, 6);
	if (port < 2)
		f->l3 = (t->sq.port[port].info.caps & SLUICE_CAP_L3) != 0;
	return (int)t->cfg.nifs++;
}

void ipt_route_add(
    struct ipt *t, uint32_t vrf, const char *prefix, uint8_t plen, const char *via, uint16_t ifidx)
{
	struct sl_cfg_route *r = &t->routes[t->cfg.nroutes++];

	*r = (struct sl_cfg_route){
	    .prefix = ipt_addr(prefix), .vrf = vrf, .ifidx = ifidx, .plen = plen};
	if (sl_addr_is4(&r->prefix))
		r->plen = (uint8_t)(plen + 96);
	if (via != NULL)
		r->via = ipt_addr(via);
}

void ipt_addr_add(struct ipt *t, uint16_t ifidx, const char *addr, uint8_t plen)
{
	struct sl_cfg_addr *a = &t->addrs[t->cfg.naddrs++];
	struct sl_cfg_route *r = &t->routes[t->cfg.nroutes];

	*a = (struct sl_cfg_addr){.addr = ipt_addr(addr), .plen = plen, .ifidx = ifidx};
	if (sl_addr_is4(&a->addr))
		a->plen = (uint8_t)(plen + 96);
	a->linklocal = a->addr.b[0] == 0xfe;
	if (a->linklocal || t->ifs[ifidx].port == SL_IP_PORT_NONE)
		return;
	*r = (struct sl_cfg_route){
	    .prefix = a->addr, .plen = a->plen, .ifidx = ifidx, .vrf = t->ifs[ifidx].vrf};
	for (unsigned int i = a->plen; i < 128; i++)
		r->prefix.b[i / 8] &= (uint8_t) ~(0x80 >> (i % 8));
	t->cfg.nroutes++;
}

void ipt_rx(struct ipt *t, unsigned int port, const void *b, uint32_t len)
{
	struct rte_mbuf *m = tp_exact(t->mp, b, (uint16_t)len, 0);

	sl_ip_input(&t->sq, port, &m, 1, false);
}

uint32_t ipt_eth(uint8_t *b, const uint8_t *dst, uint16_t type)
{
	memcpy(b, dst, 6);
	memcpy(b + 6, ipt_peer, 6);
	wr16(b + 12, type);
	return 14;
}

uint32_t ipt_arp(uint8_t *b, uint16_t op, const uint8_t *sha, const char *spa, const char *tpa)
{
	uint8_t *a = b + ipt_eth(b, ipt_bcast, TYPE_ARP);
	struct sluice_addr s = ipt_addr(spa), d = ipt_addr(tpa);

	memset(a, 0, 28);
	wr16(a, 1);
	wr16(a + 2, TYPE_IP4);
	a[4] = 6;
	a[5] = 4;
	wr16(a + 6, op);
	memcpy(a + 8, sha, 6);
	memcpy(a + 14, &s.b[12], 4);
	memcpy(a + 24, &d.b[12], 4);
	return 42;
}

void ipt_fix4(uint8_t *h)
{
	uint32_t s = 0;

	wr16(h + 10, 0);
	for (unsigned int i = 0; i < (h[0] & 15u) * 4; i += 2)
		s += rd16(h + i);
	wr16(h + 10, (uint16_t)~ip_fold(s));
}

uint32_t ipt_ip(
    uint8_t *b, const char *src, const char *dst, uint8_t proto, const void *l4, uint32_t len)
{
	struct sluice_addr s = ipt_addr(src), d = ipt_addr(dst);
	uint8_t *h;

	if (!sl_addr_is4(&s)) {
		h = b + ipt_eth(b, ipt_mac, TYPE_IP6);
		ip_put6(h, &s, &d, proto, 255, len);
		memmove(h + 40, l4, len);
		return 14 + 40 + len;
	}
	h = b + ipt_eth(b, ipt_mac, TYPE_IP4);
	memset(h, 0, 20);
	h[0] = 0x45;
	wr16(h + 2, (uint16_t)(20 + len));
	h[8] = 64;
	h[9] = proto;
	memcpy(h + 12, &s.b[12], 4);
	memcpy(h + 16, &d.b[12], 4);
	ipt_fix4(h);
	memmove(h + 20, l4, len);
	return 14 + 20 + len;
}

/* Sum by the definition, byte pairs in network order: independent of the code under test. */
static uint16_t slow_sum(const struct sluice_addr *s, const struct sluice_addr *d, uint8_t proto,
    const uint8_t *p, uint32_t len)
{
	unsigned int from = sl_addr_is4(s) ? 12 : 0;
	uint32_t sum = proto + len;

	for (unsigned int i = from; i < 16; i += 2)
		sum += rd16(&s->b[i]) + rd16(&d->b[i]);
	for (uint32_t i = 0; i + 1 < len; i += 2)
		sum += rd16(p + i);
	if (len & 1)
		sum += (uint32_t)p[len - 1] << 8;
	return (uint16_t)~ip_fold(sum);
}

void ipt_icmp6_sum(uint8_t *h)
{
	struct sluice_addr s = rd_addr6(h + 8), d = rd_addr6(h + 24);

	wr16(h + 42, 0);
	wr16(h + 42, slow_sum(&s, &d, PROTO_ICMP6, h + 40, rd16(h + 4)));
}

uint32_t ipt_tcp(
    uint8_t *b, const char *src, const char *dst, uint16_t sport, uint16_t dport, uint32_t paylen)
{
	struct sluice_addr s = ipt_addr(src), d = ipt_addr(dst);
	uint8_t th[20 + 9000];

	memset(th, 0, 20);
	wr16(th, sport);
	wr16(th + 2, dport);
	wr32(th + 4, 1000);
	th[12] = 0x50;
	th[13] = 0x10;
	for (uint32_t i = 0; i < paylen; i++)
		th[20 + i] = (uint8_t)(i * 7);
	wr16(th + 16, slow_sum(&s, &d, PROTO_TCP, th, 20 + paylen));
	return ipt_ip(b, src, dst, PROTO_TCP, th, 20 + paylen);
}

struct sl_key ipt_key(uint32_t vrf, const char *l, uint16_t lport, const char *r, uint16_t rport)
{
	struct sl_key k = {.laddr = ipt_addr(l),
	    .raddr = ipt_addr(r),
	    .lport = htons(lport),
	    .rport = htons(rport),
	    .vrf = vrf};

	return k;
}

struct rte_mbuf *ipt_seg(struct ipt *t, uint32_t paylen, unsigned int segs)
{
	struct rte_mbuf *m = sl_hdr_alloc(&t->sq), *last = m;
	uint8_t *th = (uint8_t *)rte_pktmbuf_append(m, 20);

	memset(th, 0, 20);
	wr16(th, 1);
	th[12] = 0x50;
	for (unsigned int i = 0; i < segs; i++) {
		uint32_t n = i + 1 < segs ? paylen / segs : paylen - (segs - 1) * (paylen / segs);
		struct rte_mbuf *s = i == 0 && segs == 1 ? m : rte_pktmbuf_alloc(t->mp);
		uint8_t *p = (uint8_t *)rte_pktmbuf_append(s, (uint16_t)n);

		for (uint32_t j = 0; j < n; j++)
			p[j] = (uint8_t)(j * 13 + i);
		if (s != m) {
			last->next = s;
			last = s;
			m->nb_segs++;
			m->pkt_len += n;
		}
	}
	return m;
}
