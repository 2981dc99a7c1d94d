/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * First bytes: some listeners must see how a client begins before they know where it goes. The
 * bytes are looked at where they lie, in the receive queue. A PROXY header is consumed; what a hook
 * looks at stays and goes to the backend unchanged, with all that follows.
 *
 * Both are bounded: by first_bytes, by first_timeout (session.c), and by the number of pieces that
 * the bytes may come in.
 */
#include "proxy.h"

#include <string.h>

#define PIECES 1024
#define FIRST_MAX 16384 /* of the option first_bytes */

/* The readable bytes up to max as one piece: *p points into the queue, or to buf. False: too many
 * pieces. */
static bool gather(struct session *s, size_t max, uint8_t *buf, const uint8_t **p, size_t *n)
{
	struct iovec iov[PIECES];
	ssize_t readable = sluice_readable(s->p->st, s->client.c);
	int k = sluice_peek(s->p->st, s->client.c, iov, PIECES);
	size_t got = 0;

	*p = buf;
	if (k == 1) {
		*p = iov[0].iov_base;
		got = iov[0].iov_len < max ? iov[0].iov_len : max;
	}
	for (int i = 0; k > 1 && i < k && got < max; i++) {
		size_t piece = iov[i].iov_len < max - got ? iov[i].iov_len : max - got;

		memcpy(buf + got, iov[i].iov_base, piece);
		got += piece;
	}
	*n = got;
	return readable <= 0 || got == (size_t)readable || got == max;
}

/* The PROXY header. True when it is behind us. */
static bool header(struct session *s, const uint8_t *p, size_t n)
{
	struct listener *l = s->l;
	struct proxy_header h;
	int len = proxyproto_parse(p, n, &h);

	if (len == 0 && n < l->cfg.first_bytes && !s->client.eof)
		return false;
	if (len <= 0) {
		session_end(s, REASON_FIRST_BAD);
		return false;
	}
	sluice_consume(s->p->st, s->client.c, (size_t)len);
	s->header_due = false;
	if (!h.local) {
		s->src = h.src;
		s->dst = h.dst;
	}
	if (l->cfg.max_per_source != 0) {
		s->source =
		    source_get(&s->p->group->sources, l->door, &s->src, l->cfg.max_per_source);
		if (s->source == NULL) {
			COUNT(s->p, refused_source);
			session_end(s, REASON_SOURCE_LIMIT);
			return false;
		}
	}
	return true;
}

static void choose(struct session *s, const uint8_t *p, size_t n)
{
	char host[HOST_LEN] = "";
	enum verdict v = VERDICT_NONE;
	struct pool *pl;

	if (s->l->cfg.hook == HOOK_SNI)
		v = hook_sni(p, n, host);
	else if (s->l->cfg.hook == HOOK_HOST)
		v = hook_host(p, n, host);
	if (v == VERDICT_MORE && n < s->l->cfg.first_bytes && !s->client.eof)
		return;
	if (v == VERDICT_MORE || v == VERDICT_BAD) {
		session_end(s, REASON_FIRST_BAD);
		return;
	}
	pl = v == VERDICT_NAME ? listener_route(s->l, host) : s->l->pool;
	if (pl == NULL)
		session_end(s, REASON_NO_ROUTE);
	else
		connect_begin(s, pl);
}

void first_run(struct session *s)
{
	uint8_t buf[FIRST_MAX];
	size_t max = s->l->cfg.first_bytes, n;
	const uint8_t *p;
	bool whole = gather(s, max, buf, &p, &n);

	if (s->header_due) {
		if (!header(s, p, n))
			return;
		whole = gather(s, max, buf, &p, &n);
	}
	if (!whole)
		session_end(s, REASON_FIRST_BAD);
	else
		choose(s, p, n);
}
