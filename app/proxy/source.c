/* SPDX-License-Identifier: BSD-3-Clause */
/* Sessions per client address and listener, of all squeues: a client's connections spread over them.
 * An entry lives while it counts something, so there are never more than sessions. The hash has a
 * secret: clients choose their addresses. */
#include "proxy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <rte_jhash.h>

#define BUCKETS 16384

struct source {
	LIST_ENTRY(source) chain;
	struct {
		const void *door;
		uint8_t addr[16];
	} key;
	uint32_t count;
};

int sources_init(struct sources *t, uint32_t seed)
{
	rte_spinlock_init(&t->lock);
	t->bucket = calloc(BUCKETS, sizeof(*t->bucket));
	t->mask = BUCKETS - 1;
	t->seed = seed;
	t->n = 0;
	return t->bucket == NULL ? -ENOMEM : 0;
}

void sources_fini(struct sources *t)
{
	free(t->bucket);
	t->bucket = NULL;
}

/* Under the lock. */
static struct source *find(const struct sources *t, const struct source *want, uint32_t hash)
{
	struct source *s;

	LIST_FOREACH (s, &t->bucket[hash], chain)
		if (memcmp(&s->key, &want->key, sizeof(want->key)) == 0)
			return s;
	return NULL;
}

struct source *source_get(
    struct sources *t, const void *door, const struct sockaddr_storage *ss, uint64_t limit)
{
	struct source *fresh = calloc(1, sizeof(*fresh)), *s; /* never under the lock */
	uint32_t hash;

	if (fresh == NULL)
		return NULL;
	fresh->key.door = door;
	if (ss->ss_family == AF_INET)
		memcpy(fresh->key.addr, &((const struct sockaddr_in *)ss)->sin_addr, 4);
	else
		memcpy(fresh->key.addr, &((const struct sockaddr_in6 *)ss)->sin6_addr, 16);
	hash = rte_jhash(&fresh->key, sizeof(fresh->key), t->seed) & t->mask;
	rte_spinlock_lock(&t->lock);
	s = find(t, fresh, hash);
	if (s == NULL) {
		s = fresh;
		fresh = NULL;
		LIST_INSERT_HEAD(&t->bucket[hash], s, chain);
		t->n++;
	}
	if (s->count < limit)
		s->count++;
	else
		s = NULL;
	rte_spinlock_unlock(&t->lock);
	free(fresh);
	return s;
}

void source_put(struct sources *t, struct source *s)
{
	if (s == NULL)
		return;
	rte_spinlock_lock(&t->lock);
	if (--s->count > 0) {
		s = NULL;
	} else {
		LIST_REMOVE(s, chain);
		t->n--;
	}
	rte_spinlock_unlock(&t->lock);
	free(s);
}
