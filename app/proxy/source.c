/* SPDX-License-Identifier: BSD-3-Clause */
/* Sessions per client address and listener. An entry lives while it counts something, so there are
 * never more than sessions. The hash has a secret: clients choose their addresses. */
#include "proxy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <rte_jhash.h>

#define BUCKETS 16384

struct source {
	LIST_ENTRY(source) chain;
	struct {
		const void *listener;
		uint8_t addr[16];
	} key;
	uint32_t count;
};

int sources_init(struct sources *t, uint32_t seed)
{
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

struct source *source_get(
    struct sources *t, const void *listener, const struct sockaddr_storage *ss, uint64_t limit)
{
	struct source want = {.key.listener = listener}, *s;
	struct source_chain *head;

	if (ss->ss_family == AF_INET)
		memcpy(want.key.addr, &((const struct sockaddr_in *)ss)->sin_addr, 4);
	else
		memcpy(want.key.addr, &((const struct sockaddr_in6 *)ss)->sin6_addr, 16);
	head = &t->bucket[rte_jhash(&want.key, sizeof(want.key), t->seed) & t->mask];
	LIST_FOREACH (s, head, chain)
		if (memcmp(&s->key, &want.key, sizeof(want.key)) == 0) {
			if (s->count >= limit)
				return NULL;
			s->count++;
			return s;
		}
	s = malloc(sizeof(*s));
	if (s == NULL)
		return NULL;
	*s = want;
	s->count = 1;
	LIST_INSERT_HEAD(head, s, chain);
	t->n++;
	return s;
}

void source_put(struct sources *t, struct source *s)
{
	if (s == NULL || --s->count > 0)
		return;
	LIST_REMOVE(s, chain);
	t->n--;
	free(s);
}
