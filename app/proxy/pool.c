/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pools and backends at run time, as one squeue sees them. They are counted: the configuration holds one reference, each
 * session on them another. So a new configuration can drop a backend at once while its sessions
 * live on to their own end.
 */
#include "proxy.h"

#include <stdlib.h>
#include <string.h>

struct backend *backend_new(const struct backend_config *cfg, struct share *share)
{
	struct backend *b = calloc(1, sizeof(*b));

	if (b != NULL && share == NULL) {
		share = calloc(1, sizeof(*share));
		if (share != NULL)
			share->up = true; /* until a check says otherwise */
	}
	if (b == NULL || share == NULL) {
		free(b);
		return NULL;
	}
	SHARED_ADD(share->refs, 1);
	b->share = share;
	b->cfg = *cfg;
	b->refs = 1;
	return b;
}

void backend_ref(struct backend *b)
{
	b->refs++;
}

void backend_unref(struct backend *b)
{
	if (--b->refs != 0)
		return;
	if (shared_unref(&b->share->refs))
		free(b->share);
	free(b);
}

bool backend_same(const struct backend *b, const struct backend_config *cfg)
{
	return strcmp(b->cfg.name, cfg->name) == 0 &&
	       memcmp(&b->cfg.addr, &cfg->addr, sizeof(cfg->addr)) == 0;
}

struct pool *pool_new(const struct pool_config *cfg)
{
	struct pool *pl = calloc(1, sizeof(*pl));

	if (pl == NULL)
		return NULL;
	pl->cfg = *cfg;
	pl->refs = 1;
	return pl;
}

void pool_ref(struct pool *pl)
{
	pl->refs++;
}

void pool_unref(struct pool *pl)
{
	if (--pl->refs != 0)
		return;
	for (unsigned int i = 0; i < pl->nbackends; i++) {
		pl->backend[i]->pool = NULL;
		backend_unref(pl->backend[i]);
	}
	free(pl->backend);
	free(pl);
}
