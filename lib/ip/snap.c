/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Snapshots. The control side fills a plain struct sl_cfg; sl_cfg_copy makes of it one block of
 * memory that also holds every table the squeue will look into: address hash, interface hash, route
 * groups, address states. All memory is taken there, on the control thread, so that installing a
 * snapshot cannot fail.
 */
#include "ip_priv.h"

static uint32_t mix(uint64_t x)
{
	x *= 0x9e3779b97f4a7c15ull;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	return (uint32_t)(x >> 32);
}

/* Unkeyed: what is stored is our own configuration, so nobody else can make its chains long. */
static uint32_t addr_hash(uint32_t vrf, const struct sluice_addr *a)
{
	return mix(a->q[0] * 3 ^ a->q[1] ^ (uint64_t)vrf << 20);
}

static uint32_t if_hash(unsigned int port, uint16_t v0, uint16_t v1)
{
	return mix((uint64_t)port << 32 | (uint32_t)v0 << 16 | v1);
}

static uint32_t pow2_above(uint32_t n)
{
	uint32_t p = 16;

	while (p < n)
		p *= 2;
	return p;
}

bool ip_prefix_has(const struct sluice_addr *prefix, unsigned int plen, const struct sluice_addr *a)
{
	unsigned int bytes = plen / 8, bits = plen % 8;

	if (bytes > 0 && memcmp(prefix->b, a->b, bytes) != 0)
		return false;
	return bits == 0 || ((prefix->b[bytes] ^ a->b[bytes]) & (0xff00 >> bits) & 0xff) == 0;
}

static int route_cmp(const void *pa, const void *pb)
{
	const struct sl_cfg_route *a = pa, *b = pb;

	if (a->vrf != b->vrf)
		return a->vrf < b->vrf ? -1 : 1;
	if (a->plen != b->plen)
		return a->plen > b->plen ? -1 : 1;
	return memcmp(&a->prefix, &b->prefix, sizeof(a->prefix));
}

static void build_routes(struct ip_snap *s)
{
	const struct sl_cfg_route *r = s->cfg.routes;
	struct ip_rgroup *g = NULL;

	if (s->cfg.nroutes > 0)
		qsort(s->cfg.routes, s->cfg.nroutes, sizeof(*r), route_cmp);
	for (uint32_t i = 0; i < s->cfg.nroutes; i++) {
		if (g == NULL || g->vrf != r[i].vrf || g->plen != r[i].plen) {
			g = &s->rgroups[s->nrgroups++];
			*g = (struct ip_rgroup){.vrf = r[i].vrf, .first = i, .plen = r[i].plen};
		}
		g->n++;
	}
}

static int gateway_cmp(const void *pa, const void *pb)
{
	const struct ip_gateway *a = pa, *b = pb;

	if (a->ifidx != b->ifidx)
		return a->ifidx < b->ifidx ? -1 : 1;
	return memcmp(&a->addr, &b->addr, sizeof(a->addr));
}

static void build_gateways(struct ip_snap *s)
{
	struct ip_gateway *g = s->gateways;
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->cfg.nroutes; i++)
		if (!sl_addr_any(&s->cfg.routes[i].via))
			g[n++] = (struct ip_gateway){s->cfg.routes[i].via, s->cfg.routes[i].ifidx};
	if (n > 0)
		qsort(g, n, sizeof(*g), gateway_cmp);
	for (uint32_t i = 0; i < n; i++)
		if (s->ngateways == 0 || gateway_cmp(&g[s->ngateways - 1], &g[i]) != 0)
			g[s->ngateways++] = g[i];
}

bool ip_is_gateway(const struct ip_snap *s, uint16_t ifidx, const struct sluice_addr *a)
{
	struct ip_gateway want = {*a, ifidx};

	return s->ngateways > 0 &&
	       bsearch(&want, s->gateways, s->ngateways, sizeof(want), gateway_cmp) != NULL;
}

static void build_hashes(struct ip_snap *s)
{
	const struct sl_cfg *c = &s->cfg;

	for (uint32_t i = 0; i < c->naddrs; i++) {
		const struct sl_cfg_addr *a = &c->addrs[i];
		uint32_t h = addr_hash(c->ifs[a->ifidx].vrf, &a->addr);

		while (s->ahash[h & s->ahash_mask] != 0)
			h++;
		s->ahash[h & s->ahash_mask] = i + 1;
		if (a->on_prefix)
			s->aprefix[s->naprefix++] = i;
	}
	for (uint32_t i = 0; i < c->nifs; i++) {
		const struct sl_cfg_if *f = &c->ifs[i];
		uint32_t h = if_hash(f->port, f->vlan[0], f->vlan[1]);

		if (!f->used || f->port == SL_IP_PORT_NONE)
			continue;
		while (s->ifhash[h & s->ifhash_mask] != 0)
			h++;
		s->ifhash[h & s->ifhash_mask] = (uint16_t)(i + 1);
	}
}

static void *carve(char **p, size_t bytes)
{
	void *r = *p;

	*p += (bytes + 15) & ~(size_t)15;
	return r;
}

static void *carve_copy(char **p, const void *src, size_t bytes)
{
	void *r = carve(p, bytes);

	if (bytes > 0)
		memcpy(r, src, bytes);
	return r;
}

struct sl_cfg *sl_cfg_copy(const struct sl_cfg *c)
{
	uint32_t nah = pow2_above(c->naddrs * 4), nih = pow2_above(c->nifs * 4);
	size_t sizes[] = {sizeof(struct ip_snap), c->nifs * sizeof(*c->ifs),
	    c->naddrs * sizeof(*c->addrs), c->nroutes * sizeof(*c->routes),
	    c->nneighs * sizeof(*c->neighs), c->nvrfs * sizeof(*c->vrfs),
	    c->naddrs * sizeof(struct ip_addr_st), nah * sizeof(uint32_t),
	    c->naddrs * sizeof(uint32_t), nih * sizeof(uint16_t),
	    c->nroutes * sizeof(struct ip_rgroup), c->nroutes * sizeof(struct ip_gateway)};
	size_t total = 0;
	struct ip_snap *s;
	char *p;

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		total += (sizes[i] + 15) & ~(size_t)15;
	p = calloc(1, total);
	if (p == NULL)
		return NULL;
	s = carve(&p, sizes[0]);
	s->cfg = *c;
	s->cfg.ifs = carve_copy(&p, c->ifs, sizes[1]);
	s->cfg.addrs = carve_copy(&p, c->addrs, sizes[2]);
	s->cfg.routes = carve_copy(&p, c->routes, sizes[3]);
	s->cfg.neighs = carve_copy(&p, c->neighs, sizes[4]);
	s->cfg.vrfs = carve_copy(&p, c->vrfs, sizes[5]);
	s->ast = carve(&p, sizes[6]);
	s->ahash = carve(&p, sizes[7]);
	s->ahash_mask = nah - 1;
	s->aprefix = carve(&p, sizes[8]);
	s->ifhash = carve(&p, sizes[9]);
	s->ifhash_mask = nih - 1;
	s->rgroups = carve(&p, sizes[10]);
	s->gateways = carve(&p, sizes[11]);
	build_routes(s);
	build_gateways(s);
	build_hashes(s);
	return &s->cfg;
}

int ip_find_if(const struct ip_snap *s, unsigned int port, uint16_t v0, uint16_t v1)
{
	uint32_t h = if_hash(port, v0, v1);

	for (;; h++) {
		uint16_t i = s->ifhash[h & s->ifhash_mask];
		const struct sl_cfg_if *f;

		if (i == 0)
			return -1;
		f = &s->cfg.ifs[i - 1];
		if (f->port == port && f->vlan[0] == v0 && f->vlan[1] == v1)
			return i - 1;
	}
}

int ip_find_addr(const struct ip_snap *s, uint32_t vrf, int ifidx, const struct sluice_addr *a)
{
	unsigned int zone = sl_addr_zone(a);
	struct sluice_addr plain;
	uint32_t h;

	if (SL_UNLIKELY(zone != 0)) {
		if (ifidx >= 0 && (unsigned int)ifidx + 1 != zone)
			return -1;
		ifidx = (int)zone - 1;
		plain = sl_addr_zoned(*a, 0);
		a = &plain;
	}
	h = addr_hash(vrf, a);

	for (;; h++) {
		uint32_t i = s->ahash[h & s->ahash_mask];
		const struct sl_cfg_addr *r;

		if (i == 0)
			break;
		r = &s->cfg.addrs[i - 1];
		if (sl_addr_eq(&r->addr, a) && s->cfg.ifs[r->ifidx].vrf == vrf &&
		    (ifidx < 0 || r->ifidx == ifidx))
			return (int)(i - 1);
	}
	for (uint32_t j = 0; j < s->naprefix; j++) {
		const struct sl_cfg_addr *r = &s->cfg.addrs[s->aprefix[j]];

		if (s->cfg.ifs[r->ifidx].vrf == vrf && (ifidx < 0 || r->ifidx == ifidx) &&
		    ip_prefix_has(&r->addr, r->plen, a))
			return (int)s->aprefix[j];
	}
	return -1;
}
