/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The access log. A disk must never hold up an lcore, so the squeue only puts a record into a ring
 * of fixed size, and a thread that may wait turns records into lines. When nobody takes them, lines
 * are lost and counted.
 */
#include "proxy.h"
#include "../common/parse.h"

#include <errno.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

int access_init(struct access_log *a)
{
	a->head = a->tail = 0;
	a->rec = calloc(ACCESS_RECORDS, sizeof(*a->rec));
	return a->rec == NULL ? -ENOMEM : 0;
}

void access_fini(struct access_log *a)
{
	free(a->rec);
	a->rec = NULL;
}

bool access_push(struct access_log *a, const struct access_record *r)
{
	/* Acquire and release pair with access_pop: a slot is written only after it was read. */
	if (a->head - __atomic_load_n(&a->tail, __ATOMIC_ACQUIRE) == ACCESS_RECORDS)
		return false;
	a->rec[a->head % ACCESS_RECORDS] = *r;
	__atomic_store_n(&a->head, a->head + 1, __ATOMIC_RELEASE);
	return true;
}

bool access_pop(struct access_log *a, struct access_record *r)
{
	if (__atomic_load_n(&a->head, __ATOMIC_ACQUIRE) == a->tail)
		return false;
	*r = a->rec[a->tail % ACCESS_RECORDS];
	__atomic_store_n(&a->tail, a->tail + 1, __ATOMIC_RELEASE);
	return true;
}

const char *reason_text(enum reason r)
{
	static const char *const text[NREASONS] = {
#define X(name, word) [REASON_##name] = word,
	    PROXY_REASONS(X)
#undef X
	};

	return r < NREASONS ? text[r] : "?";
}

int access_line(const struct access_record *r, char *buf, size_t len)
{
	char a[INET6_ADDRSTRLEN];
	uint16_t port = r->client.ss_family == AF_INET
			    ? ((const struct sockaddr_in *)&r->client)->sin_port
			    : ((const struct sockaddr_in6 *)&r->client)->sin6_port;
	bool six = r->client.ss_family == AF_INET6;
	int n;

	n = snprintf(buf, len,
	    "%s%s%s:%u %s %s to_backend=%llu to_client=%llu ms=%.3f retries=%u end=%s\n",
	    six ? "[" : "", app_addr_text(&r->client, a, sizeof(a)), six ? "]" : "", ntohs(port),
	    r->listener, r->backend, (unsigned long long)r->to_backend,
	    (unsigned long long)r->to_client, (double)r->duration * 1e-6, r->retries,
	    reason_text(r->reason));
	return n < 0 ? 0 : n < (int)len ? n : (int)len - 1;
}
