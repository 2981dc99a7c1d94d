/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HTTP/1.1 to a server that is not ours, hidden from the engines: the request, repeated without
 * end, takes the place of the payload pattern, and each complete response counts as one byte
 * received. So rr is GET with keep-alive (with pipelining, --depth), crr a connection for each GET.
 *
 * Bodies end by Content-Length or chunks. A status other than 2xx, or what is no HTTP, is an error
 * in the data. A server that says "Connection: close" (nginx does after 1,000 requests) is obeyed,
 * and the connection replaced.
 */
#include "testtcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FNV_START 14695981039346656037ull
#define FNV_PRIME 1099511628211ull

enum state {
	ST_STATUS,
	ST_HEADER,
	ST_BODY,
	ST_CHUNK,     /* the line with a chunk's size */
	ST_CHUNK_END, /* the empty line behind a chunk */
	ST_TRAILER
};

struct http {
	enum state state;
	uint64_t left; /* of the body or the chunk */
	uint64_t sum;  /* hash of the body */
	uint32_t done; /* responses complete and not yet told */
	bool has_length, chunked, last, bad;
	uint16_t len;
	char line[254]; /* the begin of longer lines */
};

struct http *http_new(void)
{
	return calloc(1, sizeof(struct http));
}

int http_make(struct config *cfg, const struct endpoint *ep, bool keep_alive)
{
	char text[1500], host[INET6_ADDRSTRLEN];
	bool v6 = ep->servers.first.ss_family == AF_INET6;
	int n;

	app_addr_text(&ep->servers.first, host, sizeof(host));
	n = snprintf(text, sizeof(text),
	    "GET %s HTTP/1.1\r\nHost: %s%s%s:%u\r\nUser-Agent: sluice-testtcp\r\n%s\r\n", cfg->path,
	    v6 ? "[" : "", host, v6 ? "]" : "", ep->servers.port[0],
	    keep_alive ? "" : "Connection: close\r\n");
	if (n >= (int)sizeof(text))
		return -E2BIG;
	pattern_set(text, (uint32_t)n);
	cfg->req = (uint64_t)n;
	cfg->resp = 1;
	return 0;
}

static void fail(struct conn *c, const char *what)
{
	struct stats *s = &c->sh->stats;

	if (s->errors++ < 5)
		app_err("http: %s: \"%s\"", what, c->http->line);
	c->http->bad = true;
}

static void response_done(struct conn *c)
{
	struct http *h = c->http;
	struct shard *sh = c->sh;

	h->done++;
	h->state = ST_STATUS;
	if (!sh->cfg->verify)
		return;
	if (sh->http_sum == 0)
		sh->http_sum = h->sum;
	if (sh->http_sum != h->sum)
		fail(c, "a body differs from the first one");
}

static void status_line(struct conn *c)
{
	struct http *h = c->http;

	if (strncmp(h->line, "HTTP/1.", 7) != 0 || h->len < 12 || h->line[8] != ' ') {
		fail(c, "no HTTP");
	} else if (h->line[9] == '1') {
		h->state = ST_TRAILER; /* 100 Continue and its like: the response follows */
		return;
	} else if (h->line[9] != '2') {
		fail(c, "refused");
	}
	h->has_length = h->chunked = false;
	h->last = h->line[7] == '0';
	h->left = 0;
	h->sum = FNV_START;
	h->state = ST_HEADER;
}

static void header_line(struct conn *c)
{
	struct http *h = c->http;
	const char *value = strchr(h->line, ':');

	if (h->len == 0) {
		if (!h->has_length && !h->chunked)
			fail(c, "neither Content-Length nor chunks");
		h->state = h->chunked ? ST_CHUNK : ST_BODY;
		if (h->state == ST_BODY && h->left == 0)
			response_done(c);
		return;
	}
	if (value == NULL) {
		fail(c, "no header");
		return;
	}
	value += 1 + strspn(value + 1, " \t");
	if (strncasecmp(h->line, "content-length:", 15) == 0) {
		h->has_length = app_parse_u64(value, 0, UINT64_MAX, &h->left) == 0;
	} else if (strncasecmp(h->line, "transfer-encoding:", 18) == 0) {
		h->chunked = strcasecmp(value, "chunked") == 0;
	} else if (strncasecmp(h->line, "connection:", 11) == 0) {
		h->last = strcasecmp(value, "close") == 0 ||
			  (h->last && strcasecmp(value, "keep-alive") != 0);
	}
}

static void line_done(struct conn *c)
{
	struct http *h = c->http;
	char *end;

	if (h->len > 0 && h->line[h->len - 1] == '\r')
		h->len--;
	h->line[h->len] = '\0';
	switch (h->state) {
	case ST_STATUS:
		status_line(c);
		break;
	case ST_HEADER:
		header_line(c);
		break;
	case ST_CHUNK:
		h->left = strtoull(h->line, &end, 16);
		if (end == h->line)
			fail(c, "no chunk size");
		h->state = h->left != 0 ? ST_BODY : ST_TRAILER;
		break;
	case ST_CHUNK_END:
		h->state = ST_CHUNK;
		break;
	case ST_TRAILER:
		if (h->len != 0)
			break;
		if (h->chunked)
			response_done(c);
		h->state = ST_STATUS;
		break;
	case ST_BODY:
		break;
	}
	h->len = 0;
}

static size_t body(struct conn *c, const uint8_t *p, size_t n)
{
	struct http *h = c->http;

	if (n > h->left)
		n = (size_t)h->left;
	h->left -= n;
	for (size_t i = 0; c->sh->cfg->verify && i < n; i++)
		h->sum = (h->sum ^ p[i]) * FNV_PRIME;
	if (h->left != 0)
		return n;
	if (h->chunked)
		h->state = ST_CHUNK_END;
	else
		response_done(c);
	return n;
}

void http_check(struct conn *c, const uint8_t *p, size_t n)
{
	struct http *h = c->http;

	while (n != 0 && !h->bad) {
		size_t part = 1;

		if (h->state == ST_BODY) {
			part = body(c, p, n);
		} else if (*p == '\n') {
			line_done(c);
		} else if (h->len < sizeof(h->line) - 1) {
			h->line[h->len++] = (char)*p;
		}
		p += part;
		n -= part;
	}
}

static void received(struct conn *c, size_t n)
{
	struct http *h = c->http;
	bool last = h->last && h->done != 0 && h->state == ST_STATUS && !c->sh->engine->reopen;

	n = h->done;
	h->done = 0;
	if (last)
		c->blocked = true; /* the engine's next request is not sent */
	c->sh->engine->client.received(c, n);
	if (h->bad)
		conn_lost(c, EPROTO);
	else if (last)
		conn_close(c);
}

const struct engine_role *http_role(const struct engine_role *of)
{
	static struct engine_role role;

	role = *of;
	role.received = received;
	return &role;
}
