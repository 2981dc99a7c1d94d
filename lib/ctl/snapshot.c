/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From what was configured to what squeues read: an immutable snapshot per squeue, swapped between
 * two passes. No reader ever locks, and nobody waits for a grace period: the squeue that installs a
 * snapshot frees the one before.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_mbuf.h>

#include <ctl/ctl_int.h>

static void prefix_mask(struct sluice_addr *a, uint8_t plen)
{
	for (unsigned int i = 0; i < 16; i++) {
		unsigned int keep = plen > 8 * i ? plen - 8 * i : 0;

		if (keep < 8)
			a->b[i] &= (uint8_t)(0xff00 >> keep);
	}
}

static bool prefix_has(const struct sluice_addr *prefix, uint8_t plen, const struct sluice_addr *a)
{
	struct sluice_addr x = *a, p = *prefix;

	prefix_mask(&x, plen);
	prefix_mask(&p, plen);
	return sl_addr_eq(&x, &p);
}

/* VRF, family (the mapped prefix sorts IPv4 apart), then the longest prefix first: the first match
 * is the best one. */
static int route_cmp(const void *pa, const void *pb)
{
	const struct sl_cfg_route *a = pa, *b = pb;

	if (a->vrf != b->vrf)
		return a->vrf < b->vrf ? -1 : 1;
	if (a->plen != b->plen)
		return a->plen > b->plen ? -1 : 1;
	return memcmp(&a->prefix, &b->prefix, sizeof(a->prefix));
}

/* RFC 4291 appendix A: the modified EUI-64 of the MAC under fe80::/64. */
static struct sluice_addr link_local(const uint8_t mac[6])
{
	struct sluice_addr a = {.b = {0xfe, 0x80}};

	a.b[8] = mac[0] ^ 2;
	a.b[9] = mac[1];
	a.b[10] = mac[2];
	a.b[11] = 0xff;
	a.b[12] = 0xfe;
	a.b[13] = mac[3];
	a.b[14] = mac[4];
	a.b[15] = mac[5];
	return a;
}

#define L2_MOST 22 /* Ethernet and two tags */

/* The largest packet that can leave: a port that sends no chains gets each in one buffer of ours. */
static uint16_t port_mtu(const struct sluice_stack *st, const struct sluice_port_info *info)
{
	uint32_t hdr = rte_pktmbuf_data_room_size(st->params.hdr_pool),
		 data = rte_pktmbuf_data_room_size(st->params.data_pool), room = RTE_MAX(hdr, data);

	if ((info->caps & SLUICE_CAP_TX_MULTISEG) ||
	    room >= RTE_PKTMBUF_HEADROOM + L2_MOST + (uint32_t)info->mtu)
		return info->mtu;
	return (uint16_t)(room - RTE_PKTMBUF_HEADROOM - L2_MOST);
}

static int build_ifs(
    struct sluice_stack *st, const struct sl_model *m, struct sl_cfg *out, char *why, size_t whylen)
{
	out->ifs = calloc(SL_IP_MAX_IFS, sizeof(*out->ifs));
	if (out->ifs == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < SL_IP_MAX_IFS; i++) {
		struct sl_cfg_if *f = &out->ifs[i];
		struct sluice_port_info info = {.size = sizeof(info)};

		if (!m->ifs[i].used)
			continue;
		out->nifs = i + 1;
		*f = m->ifs[i];
		if (f->port == SL_IP_PORT_NONE) {
			if (f->mtu == 0)
				f->mtu = 65535;
			continue;
		}
		if (sluice_port_info(st, f->port, &info) < 0) {
			snprintf(why, whylen, "interface %s: no port %u", f->name, f->port);
			return -EINVAL;
		}
		if (f->mtu > port_mtu(st, &info)) {
			snprintf(why, whylen, "interface %s: mtu %u is more than the port's %u",
			    f->name, f->mtu, port_mtu(st, &info));
			return -EINVAL;
		}
		if (f->mtu == 0)
			f->mtu = port_mtu(st, &info);
		memcpy(f->mac, info.mac, sizeof(f->mac));
		f->l3 = (info.caps & SLUICE_CAP_L3) != 0;
	}
	return 0;
}

static bool if_wants_ll(const struct sl_model *m, uint32_t ifidx)
{
	for (uint32_t i = 0; i < m->naddrs; i++)
		if (m->addrs[i].ifidx == ifidx && !sl_addr_is4(&m->addrs[i].addr))
			return true;
	return false;
}

/* Addresses, and the link-local one of each Ethernet interface that has an IPv6 address (RFC
 * 4291 2.8). */
static int build_addrs(const struct sl_model *m, struct sl_cfg *out)
{
	out->addrs = calloc(m->naddrs + SL_IP_MAX_IFS, sizeof(*out->addrs));
	if (out->addrs == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->naddrs; i++)
		out->addrs[out->naddrs++] = (struct sl_cfg_addr){.addr = m->addrs[i].addr,
		    .plen = m->addrs[i].plen,
		    .on_prefix = m->addrs[i].on_prefix,
		    .linklocal =
			m->addrs[i].addr.b[0] == 0xfe && (m->addrs[i].addr.b[1] & 0xc0) == 0x80,
		    .ifidx = m->addrs[i].ifidx};
	for (uint32_t i = 0; i < out->nifs; i++) {
		const struct sl_cfg_if *f = &out->ifs[i];

		if (f->used && f->port != SL_IP_PORT_NONE && !f->l3 && if_wants_ll(m, i))
			out->addrs[out->naddrs++] = (struct sl_cfg_addr){.addr = link_local(f->mac),
			    .plen = 64,
			    .linklocal = true,
			    .ifidx = (uint16_t)i};
	}
	return 0;
}

/* The interface on whose link `via` lies, by the longest of its prefixes. */
static int find_link(const struct sl_cfg *c, uint32_t vrf, const struct sluice_addr *via)
{
	int best = -1;
	uint8_t best_len = 0;

	for (uint32_t i = 0; i < c->naddrs; i++) {
		const struct sl_cfg_addr *a = &c->addrs[i];

		if (c->ifs[a->ifidx].vrf == vrf && !a->linklocal &&
		    prefix_has(&a->addr, a->plen, via) && (best < 0 || a->plen > best_len)) {
			best = a->ifidx;
			best_len = a->plen;
		}
	}
	return best;
}

static int build_routes(const struct sl_model *m, struct sl_cfg *out, char *why, size_t whylen)
{
	out->routes = calloc(m->nroutes + out->naddrs + 1, sizeof(*out->routes));
	if (out->routes == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->nroutes; i++) {
		struct sl_cfg_route r = m->routes[i];

		if (r.ifidx == SL_IF_AUTO) {
			int link = find_link(out, r.vrf, &r.via);

			if (link < 0) {
				snprintf(why, whylen,
				    "a route's gateway lies on no interface of VRF %u", r.vrf);
				return -ENETUNREACH;
			}
			r.ifidx = (uint16_t)link;
		}
		out->routes[out->nroutes++] = r;
	}
	for (uint32_t i = 0; i < out->naddrs; i++) {
		const struct sl_cfg_addr *a = &out->addrs[i];
		struct sl_cfg_route r = {.prefix = a->addr,
		    .plen = a->plen,
		    .ifidx = a->ifidx,
		    .vrf = out->ifs[a->ifidx].vrf};

		/* A whole local prefix has no neighbours; link-local destinations need a scope, not
		 * a route. */
		if (a->on_prefix || a->linklocal || out->ifs[a->ifidx].port == SL_IP_PORT_NONE)
			continue;
		prefix_mask(&r.prefix, r.plen);
		out->routes[out->nroutes++] = r;
	}
	qsort(out->routes, out->nroutes, sizeof(*out->routes), route_cmp);
	return 0;
}

int sl_snapshot_build(
    struct sluice_stack *st, const struct sl_model *m, struct sl_cfg *out, char *why, size_t whylen)
{
	int rc;

	memset(out, 0, sizeof(*out));
	out->tun = m->tun;
	if (m->tun.tcp_port_min > m->tun.tcp_port_max) {
		snprintf(why, whylen, "tcp.port_min is above tcp.port_max");
		return -EINVAL;
	}
	if (m->tun.tcp_rto_min > m->tun.tcp_rto_max) {
		snprintf(why, whylen, "tcp.rto_min is above tcp.rto_max");
		return -EINVAL;
	}
	rc = build_ifs(st, m, out, why, whylen);
	if (rc == 0)
		rc = build_addrs(m, out);
	if (rc == 0)
		rc = build_routes(m, out, why, whylen);
	if (rc == 0) {
		out->neighs = calloc(m->nneighs + 1, sizeof(*out->neighs));
		out->vrfs = calloc(m->nvrfs + 1, sizeof(*out->vrfs));
		if (out->neighs == NULL || out->vrfs == NULL)
			rc = -ENOMEM;
	}
	if (rc < 0) {
		if (rc == -ENOMEM)
			snprintf(why, whylen, "out of memory");
		sl_snapshot_free(out);
		return rc;
	}
	if (m->nneighs > 0)
		memcpy(out->neighs, m->neighs, m->nneighs * sizeof(*m->neighs));
	out->nneighs = m->nneighs;
	out->vrfs[out->nvrfs++] = 0;
	for (uint32_t i = 0; i < m->nvrfs; i++)
		out->vrfs[out->nvrfs++] = m->vrfs[i];
	return 0;
}

void sl_snapshot_free(struct sl_cfg *cfg)
{
	free(cfg->ifs);
	free(cfg->addrs);
	free(cfg->routes);
	free(cfg->neighs);
	free(cfg->vrfs);
	memset(cfg, 0, sizeof(*cfg));
}

int64_t sl_snapshot_op(struct sluice_squeue *sq, struct sl_cfg *cfg)
{
	uint32_t gen = cfg->generation;

	sq->tun = cfg->tun;
	sl_ip_config(sq, cfg);
	SL_COUNT(sq, ctl_applied);
	/* Pairs with the acquire in wait_installed: who sees the generation sees a squeue that
	 * works by it. */
	atomic_store_explicit(&sl_ctl_of(sq->stack)->installed[sq->id], gen, memory_order_release);
	return 0;
}

static void wait_installed(struct sluice_stack *st, uint32_t gen)
{
	for (unsigned int i = 0; i < st->nsq; i++) {
		while (atomic_load_explicit(&sl_ctl_of(st)->installed[i], memory_order_acquire) !=
		       gen) {
			struct sluice_args none = {{0}};

			/* An empty call behind the posted one: it also runs the entries of a squeue
			 * that nobody polls. */
			if (sl_synch_call(st, i, SL_OP_MISC, SLUICE_CONN_NONE, &none) < 0)
				usleep(100);
		}
	}
}

int sl_snapshot_install(struct sluice_stack *st, const struct sl_model *m, char *why, size_t whylen)
{
	struct sl_ctl *ctl = sl_ctl_of(st);
	struct sl_cfg cfg, *copy[SL_MAX_SQUEUES];
	uint32_t slots[SL_MAX_SQUEUES];
	unsigned int n = 0;
	int rc = sl_snapshot_build(st, m, &cfg, why, whylen);

	if (rc < 0)
		return rc;
	cfg.generation = ctl->generation + 1;
	rc = sl_calls_reserve(st, st->nsq, slots);
	if (rc < 0) {
		snprintf(why, whylen, "no call slot is free");
		sl_snapshot_free(&cfg);
		return rc;
	}
	for (; n < st->nsq; n++) {
		copy[n] = sl_cfg_copy(&cfg);
		if (copy[n] == NULL)
			break;
	}
	sl_snapshot_free(&cfg);
	if (n < st->nsq) {
		while (n > 0)
			free(copy[--n]);
		sl_calls_unreserve(st, st->nsq, slots);
		snprintf(why, whylen, "out of memory");
		return -ENOMEM;
	}
	ctl->generation++;
	for (unsigned int i = 0; i < st->nsq; i++) {
		struct sluice_args args = {{(uintptr_t)copy[i]}};

		sl_post_reserved(st, i, slots[i], SL_OP_CONFIG, SLUICE_CONN_NONE, &args);
	}
	wait_installed(st, ctl->generation);
	return 0;
}
