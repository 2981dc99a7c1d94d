/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transactions. Each call checks its argument against the private model, so that errors come where
 * they were made; what depends on several rows (gateways, MTUs) is checked by commit, which changes
 * everything or nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ctl/ctl_int.h>

int sl_ctl_create(struct sluice_stack *st)
{
	struct sl_ctl *ctl = calloc(1, sizeof(*ctl));
	int rc;

	if (ctl == NULL)
		return -ENOMEM;
	sl_model_init(&ctl->model);
	ctl->model.tun = st->tun;
	st->ctl = ctl;
	rc = sl_snapshot_install(st, &ctl->model, ctl->why, sizeof(ctl->why));
	if (rc < 0) {
		sl_ctl_destroy(st);
		return rc;
	}
	return 0;
}

void sl_ctl_destroy(struct sluice_stack *st)
{
	struct sl_ctl *ctl = st->ctl;

	if (ctl == NULL)
		return;
	sl_model_fini(&ctl->model);
	free(ctl->listeners);
	free(ctl);
	st->ctl = NULL;
}

/* A thread that polls one squeue while another thread polls the next must not wait for that one (it
 * may be waited for). */
static bool must_not_wait(struct sluice_stack *st)
{
	if (!sl_thread_polls())
		return false;
	for (unsigned int i = 0; i < st->nsq; i++) {
		if (sl_on_squeue(st->sq[i]) ? st->sq[i]->in_pass
					    : atomic_load(&st->sq[i]->owner) != 0)
			return true;
	}
	return false;
}

int sl_txn_open(struct sluice_stack *st, struct sluice_txn **out)
{
	struct sl_ctl *ctl = sl_ctl_of(st);
	struct sluice_txn *t;
	int rc;

	if (must_not_wait(st)) {
		atomic_fetch_add_explicit(&st->exdev, 1, memory_order_relaxed);
		return -EXDEV;
	}
	if (atomic_exchange(&ctl->busy, true))
		return -EBUSY;
	t = malloc(sizeof(*t));
	if (t == NULL) {
		atomic_store(&ctl->busy, false);
		return -ENOMEM;
	}
	t->st = st;
	rc = sl_model_copy(&t->model, &ctl->model);
	if (rc < 0) {
		free(t);
		atomic_store(&ctl->busy, false);
		return rc;
	}
	*out = t;
	return 0;
}

int sluice_txn_begin(struct sluice_stack *st, struct sluice_txn **t)
{
	return sl_txn_open(st, t);
}

void sluice_txn_abort(struct sluice_txn *t)
{
	struct sl_ctl *ctl = sl_ctl_of(t->st);

	sl_model_fini(&t->model);
	free(t);
	atomic_store(&ctl->busy, false);
}

/* Word by word: waiting callers read squeue.spin without the lock. */
static void publish_tunables(struct sluice_stack *st, const struct sluice_tunables *tun)
{
	const uint64_t *from = (const uint64_t *)(const void *)tun;
	uint64_t *to = (uint64_t *)(void *)&st->tun;

	for (unsigned int i = 0; i < SLUICE_NTUNABLES; i++)
		__atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
}

int sluice_txn_commit(struct sluice_txn *t, const char **why)
{
	struct sluice_stack *st = t->st;
	struct sl_ctl *ctl = sl_ctl_of(st);
	int rc;

	ctl->why[0] = '\0';
	rc = sl_snapshot_install(st, &t->model, ctl->why, sizeof(ctl->why));
	if (why != NULL)
		*why = ctl->why;
	if (rc < 0) {
		sluice_txn_abort(t);
		return rc;
	}
	sl_model_fini(&ctl->model);
	ctl->model = t->model;
	/* Readers of sluice_tunable_get take the same lock. */
	pthread_mutex_lock(&st->lock);
	publish_tunables(st, &ctl->model.tun);
	pthread_mutex_unlock(&st->lock);
	free(t);
	atomic_store(&ctl->busy, false);
	return 0;
}

/* ---- rows ---- */

/* One more row at the end of an array of the model; the array may move. */
static void *add_row(void *array, uint32_t *n, size_t size)
{
	void **rows = array;
	char *p;

	if (*n >= SL_MODEL_MAX) {
		errno = ENOSPC;
		return NULL;
	}
	p = realloc(*rows, (*n + 1) * size);
	if (p == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	*rows = p;
	return memset(p + (*n)++ * size, 0, size);
}

static void del_row(void *array, uint32_t *n, uint32_t i, size_t size)
{
	char *rows = array;

	memmove(rows + i * size, rows + (i + 1) * size, (*n - i - 1) * size);
	(*n)--;
}

static bool vrf_known(const struct sl_model *m, uint32_t vrf)
{
	for (uint32_t i = 0; i < m->nvrfs; i++)
		if (m->vrfs[i] == vrf)
			return true;
	return vrf == 0;
}

int sluice_vrf_add(struct sluice_txn *t, uint32_t vrf)
{
	uint32_t *row;

	if (vrf_known(&t->model, vrf))
		return -EEXIST;
	row = add_row(&t->model.vrfs, &t->model.nvrfs, sizeof(*row));
	if (row == NULL)
		return -errno;
	*row = vrf;
	return 0;
}

int sluice_vrf_del(struct sluice_txn *t, uint32_t vrf)
{
	struct sl_model *m = &t->model;

	if (vrf == 0)
		return -EINVAL;
	for (uint32_t i = 0; i < SL_IP_MAX_IFS; i++)
		if (m->ifs[i].used && m->ifs[i].vrf == vrf)
			return -EBUSY;
	for (uint32_t i = 0; i < m->nvrfs; i++) {
		if (m->vrfs[i] == vrf) {
			del_row(m->vrfs, &m->nvrfs, i, sizeof(*m->vrfs));
			return 0;
		}
	}
	return -ENOENT;
}

static bool vlan_ok(const uint16_t vlan[2])
{
	if (vlan[0] == SLUICE_VLAN_NONE)
		return vlan[1] == SLUICE_VLAN_NONE;
	return vlan[0] > 0 && vlan[0] < 4095 &&
	       (vlan[1] == SLUICE_VLAN_NONE || (vlan[1] > 0 && vlan[1] < 4095));
}

int sluice_if_add(struct sluice_txn *t, const struct sluice_if_params *p)
{
	struct sl_model *m = &t->model;
	struct sl_cfg_if *row = NULL;
	size_t len;

	if (p->size != sizeof(*p) || p->name == NULL || !vrf_known(m, p->vrf) || !vlan_ok(p->vlan))
		return -EINVAL;
	len = strlen(p->name);
	if (len == 0 || len >= sizeof(row->name) || (!p->virt && p->port >= t->st->nports) ||
	    (p->mtu != 0 && p->mtu < 68))
		return -EINVAL;
	if (sl_model_if(m, p->name) >= 0)
		return -EEXIST;
	for (uint32_t i = 0; i < SL_IP_MAX_IFS; i++) {
		struct sl_cfg_if *f = &m->ifs[i];

		if (f->used && !p->virt && f->port == p->port && f->vlan[0] == p->vlan[0] &&
		    f->vlan[1] == p->vlan[1])
			return -EEXIST;
		/* The row that bore this name keeps its index: what refers to it stays right across
		 * a reload. */
		if (!f->used && (row == NULL || strcmp(f->name, p->name) == 0))
			row = f;
	}
	if (row == NULL)
		return -ENOSPC;
	memset(row, 0, sizeof(*row));
	memcpy(row->name, p->name, len + 1);
	row->port = p->virt ? SL_IP_PORT_NONE : (uint16_t)p->port;
	row->vlan[0] = p->vlan[0];
	row->vlan[1] = p->vlan[1];
	row->mtu = p->mtu;
	row->vrf = p->vrf;
	row->used = true;
	return 0;
}

int sluice_if_del(struct sluice_txn *t, const char *name)
{
	struct sl_model *m = &t->model;
	int i = sl_model_if(m, name);

	if (i < 0)
		return i;
	for (uint32_t k = 0; k < m->naddrs; k++)
		if (m->addrs[k].ifidx == i)
			return -EBUSY;
	for (uint32_t k = 0; k < m->nroutes; k++)
		if (m->routes[k].ifidx == i)
			return -EBUSY;
	for (uint32_t k = 0; k < m->nneighs; k++)
		if (m->neighs[k].ifidx == i)
			return -EBUSY;
	m->ifs[i].used = false;
	return 0;
}

static int find_addr(const struct sl_model *m, int ifidx, const struct sluice_addr *a)
{
	for (uint32_t i = 0; i < m->naddrs; i++)
		if (m->addrs[i].ifidx == ifidx && sl_addr_eq(&m->addrs[i].addr, a))
			return (int)i;
	return -ENOENT;
}

int sluice_addr_add(struct sluice_txn *t, const char *ifname, const char *addr, bool on_prefix)
{
	struct sl_model *m = &t->model;
	int i = sl_model_if(m, ifname);
	struct sl_model_addr *row;
	struct sluice_addr a;
	uint8_t plen;

	if (i < 0)
		return i;
	if (sl_parse_prefix(addr, &a, &plen) < 0 || sl_addr_any(&a) || sl_addr_multicast(&a))
		return -EINVAL;
	if (find_addr(m, i, &a) >= 0)
		return -EEXIST;
	row = add_row(&m->addrs, &m->naddrs, sizeof(*row));
	if (row == NULL)
		return -errno;
	*row = (struct sl_model_addr){
	    .addr = a, .plen = plen, .on_prefix = on_prefix, .ifidx = (uint16_t)i};
	return 0;
}

int sluice_addr_del(struct sluice_txn *t, const char *ifname, const char *addr)
{
	struct sl_model *m = &t->model;
	int i = sl_model_if(m, ifname), k;
	struct sluice_addr a;
	uint8_t plen;

	if (i < 0)
		return i;
	if (sl_parse_prefix(addr, &a, &plen) < 0)
		return -EINVAL;
	k = find_addr(m, i, &a);
	if (k < 0)
		return k;
	del_row(m->addrs, &m->naddrs, (uint32_t)k, sizeof(*m->addrs));
	return 0;
}

static int find_route(
    const struct sl_model *m, uint32_t vrf, const struct sluice_addr *prefix, uint8_t plen)
{
	for (uint32_t i = 0; i < m->nroutes; i++)
		if (m->routes[i].vrf == vrf && m->routes[i].plen == plen &&
		    sl_addr_eq(&m->routes[i].prefix, prefix))
			return (int)i;
	return -ENOENT;
}

/* Bits beyond the prefix length must be zero: a typing error otherwise. */
static bool prefix_clean(const struct sluice_addr *a, uint8_t plen)
{
	for (unsigned int bit = plen; bit < 128; bit++)
		if (a->b[bit / 8] & (0x80 >> bit % 8))
			return false;
	return true;
}

int sluice_route_add(
    struct sluice_txn *t, uint32_t vrf, const char *prefix, const char *via, const char *ifname)
{
	struct sl_model *m = &t->model;
	struct sl_cfg_route r = {.vrf = vrf, .ifidx = SL_IF_AUTO}, *row;
	int i = 0;

	if (!vrf_known(m, vrf) || (via == NULL && ifname == NULL))
		return -EINVAL;
	if (sl_parse_prefix(prefix, &r.prefix, &r.plen) < 0 || !prefix_clean(&r.prefix, r.plen))
		return -EINVAL;
	if (via != NULL && (sl_parse_addr(via, &r.via) < 0 || sl_addr_any(&r.via)))
		return -EINVAL;
	/* The prefix of an IPv4 route is mapped, of length 96 and more; families must agree. */
	if (via != NULL && sl_addr_is4(&r.via) != (r.plen >= 96 && sl_addr_is4(&r.prefix)))
		return -EINVAL;
	if (ifname != NULL) {
		i = sl_model_if(m, ifname);
		if (i < 0)
			return i;
		if (m->ifs[i].vrf != vrf)
			return -EINVAL;
		r.ifidx = (uint16_t)i;
	}
	if (find_route(m, vrf, &r.prefix, r.plen) >= 0)
		return -EEXIST;
	row = add_row(&m->routes, &m->nroutes, sizeof(*row));
	if (row == NULL)
		return -errno;
	*row = r;
	return 0;
}

int sluice_route_del(struct sluice_txn *t, uint32_t vrf, const char *prefix)
{
	struct sl_model *m = &t->model;
	struct sluice_addr a;
	uint8_t plen;
	int i;

	if (sl_parse_prefix(prefix, &a, &plen) < 0)
		return -EINVAL;
	i = find_route(m, vrf, &a, plen);
	if (i < 0)
		return i;
	del_row(m->routes, &m->nroutes, (uint32_t)i, sizeof(*m->routes));
	return 0;
}

static int find_neigh(const struct sl_model *m, int ifidx, const struct sluice_addr *a)
{
	for (uint32_t i = 0; i < m->nneighs; i++)
		if (m->neighs[i].ifidx == ifidx && sl_addr_eq(&m->neighs[i].addr, a))
			return (int)i;
	return -ENOENT;
}

int sluice_neigh_add(
    struct sluice_txn *t, const char *ifname, const char *addr, const uint8_t mac[6])
{
	struct sl_model *m = &t->model;
	int i = sl_model_if(m, ifname);
	struct sl_cfg_neigh *row;
	struct sluice_addr a;

	if (i < 0)
		return i;
	if (sl_parse_addr(addr, &a) < 0 || (mac[0] & 1) != 0)
		return -EINVAL;
	if (find_neigh(m, i, &a) >= 0)
		return -EEXIST;
	row = add_row(&m->neighs, &m->nneighs, sizeof(*row));
	if (row == NULL)
		return -errno;
	row->addr = a;
	memcpy(row->mac, mac, sizeof(row->mac));
	row->ifidx = (uint16_t)i;
	return 0;
}

int sluice_neigh_del(struct sluice_txn *t, const char *ifname, const char *addr)
{
	struct sl_model *m = &t->model;
	int i = sl_model_if(m, ifname), k;
	struct sluice_addr a;

	if (i < 0)
		return i;
	if (sl_parse_addr(addr, &a) < 0)
		return -EINVAL;
	k = find_neigh(m, i, &a);
	if (k < 0)
		return k;
	del_row(m->neighs, &m->nneighs, (uint32_t)k, sizeof(*m->neighs));
	return 0;
}

/* ---- tunables: the struct is an array of u64 in the order of the table ---- */

static uint64_t *tunable_at(struct sluice_tunables *t, unsigned int i)
{
	return (uint64_t *)(void *)t + i;
}

int sluice_tunable_set(struct sluice_txn *t, const char *name, uint64_t value)
{
	int i = sluice_tunable_find(name);
	const struct sluice_tunable_info *info;

	if (i < 0)
		return i;
	info = sluice_tunable_info((unsigned int)i);
	if (value < info->min || value > info->max)
		return -ERANGE;
	if (info->scope == 'S' && value != *tunable_at(&t->model.tun, (unsigned int)i))
		return -EBUSY;
	*tunable_at(&t->model.tun, (unsigned int)i) = value;
	return 0;
}

int sluice_tunable_set_text(struct sluice_txn *t, const char *name, const char *value)
{
	int i = sluice_tunable_find(name);
	uint64_t v;
	int rc;

	if (i < 0)
		return i;
	rc = sluice_tunable_parse((unsigned int)i, value, &v);
	return rc < 0 ? rc : sluice_tunable_set(t, name, v);
}

int sluice_tunable_get(const struct sluice_stack *cst, const char *name, uint64_t *value)
{
	struct sluice_stack *st =
	    (struct sluice_stack *)(uintptr_t)cst; /* the lock is logically mutable */
	int i = sluice_tunable_find(name);

	if (i < 0)
		return i;
	pthread_mutex_lock(&st->lock);
	*value = *tunable_at(&st->tun, (unsigned int)i);
	pthread_mutex_unlock(&st->lock);
	return 0;
}

/* The model is a transaction's to change: hold the place of one while reading it. */
static int present_if(struct sluice_stack *st, const char *name)
{
	struct sl_ctl *ctl = sl_ctl_of(st);
	int i;

	if (atomic_exchange(&ctl->busy, true))
		return -EBUSY;
	i = sl_model_if(&ctl->model, name);
	atomic_store(&ctl->busy, false);
	return i;
}

int sluice_if_index(struct sluice_stack *st, const char *name)
{
	int i = present_if(st, name);

	return i < 0 ? i : i + 1;
}

int sluice_addr_state(
    struct sluice_stack *st, const char *ifname, const char *addr, enum sluice_addr_state *state)
{
	struct sluice_addr a;
	struct sluice_args args;
	uint8_t plen;
	int64_t rc;
	int i;

	if (sl_parse_prefix(addr, &a, &plen) < 0)
		return -EINVAL;
	i = present_if(st, ifname);
	if (i < 0)
		return i;
	args = (struct sluice_args){{(uint64_t)i, (uintptr_t)&a}};
	rc = sl_synch_call(st, 0, SL_OP_ADDR_STATE, SLUICE_CONN_NONE, &args);
	if (rc < 0)
		return (int)rc;
	*state = (enum sluice_addr_state)rc;
	return 0;
}
