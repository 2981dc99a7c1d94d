/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration file to values. Syntax is that of the stack's own ini file (rte_cfgfile:
 * [section], name = value, ; comment), and both may be one file: the proxy's sections begin with
 * "proxy", all others are the stack's.
 *
 * It is read here and not by rte_cfgfile, which keeps no line numbers: whoever writes such a file
 * wants to know where it is wrong. Names are looked up when all has been read, so sections may
 * stand in any order.
 */
#include "config.h"
#include "../common/parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_LEN 1024

struct option {
	const char *name, *unit, *doc;
	enum option_kind kind;
	uint64_t min, max, def;
};

#define X(name, kind, unit, min, max, def, doc) {#name, unit, doc, KIND_##kind, min, max, def},
static const struct option global_options[] = {PROXY_GLOBAL_OPTIONS(X)};
static const struct option listener_options[] = {PROXY_LISTENER_OPTIONS(X)};
static const struct option pool_options[] = {PROXY_POOL_OPTIONS(X)};
static const struct option backend_options[] = {PROXY_BACKEND_OPTIONS(X)};
#undef X

enum section {
	SECTION_GLOBAL,
	SECTION_LISTENER,
	SECTION_POOL,
	SECTION_BACKEND,
	SECTION_ROUTE,
	NSECTIONS,
	SECTION_STACK /* somebody else's */
};

/* Options of a section stand at the front of its struct, in the order of the table, all u64. */
static const struct {
	const char *name;
	const struct option *option;
	unsigned int noptions;
	size_t size;
} section_info[NSECTIONS] = {
#define DIM(a) (sizeof(a) / sizeof(a[0]))
    {"proxy.global", global_options, DIM(global_options), sizeof(struct global_config)},
    {"proxy.listener", listener_options, DIM(listener_options), sizeof(struct listener_config)},
    {"proxy.pool", pool_options, DIM(pool_options), sizeof(struct pool_config)},
    {"proxy.backend", backend_options, DIM(backend_options), sizeof(struct backend_config)},
    {"proxy.route", NULL, 0, sizeof(struct route_config)},
};

static const struct {
	enum option_kind kind;
	const char *text;
	uint64_t value;
} words[] = {
    {KIND_BALANCE, "roundrobin", BALANCE_ROUNDROBIN},
    {KIND_BALANCE, "leastconn", BALANCE_LEASTCONN},
    {KIND_BALANCE, "hash", BALANCE_HASH},
    {KIND_HOOK, "none", HOOK_NONE},
    {KIND_HOOK, "sni", HOOK_SNI},
    {KIND_HOOK, "host", HOOK_HOST},
    {KIND_PROXYV, "off", SEND_PROXY_OFF},
    {KIND_PROXYV, "v1", SEND_PROXY_V1},
    {KIND_PROXYV, "v2", SEND_PROXY_V2},
};

struct parser {
	const char *file;
	char *err;
	size_t errlen;
	struct config *c;
	enum section section;
	void *row;     /* of the present section */
	uint64_t seen; /* which entries this section has had */
	int line;
};

static int fail(struct parser *ps, int line, const char *what, const char *word)
{
	snprintf(ps->err, ps->errlen, "%s:%d: %s%s%s", ps->file, line, word != NULL ? word : "",
	    word != NULL ? ": " : "", what);
	return -EINVAL;
}

/* ---- values ---- */

static int parse_word(const struct option *o, const char *text, uint64_t *v)
{
	for (size_t i = 0; i < DIM(words); i++)
		if (words[i].kind == o->kind && strcmp(words[i].text, text) == 0) {
			*v = words[i].value;
			return 0;
		}
	return -EINVAL;
}

static int parse_value(const struct option *o, const char *text, uint64_t *v)
{
	bool on = false;
	int rc;

	switch (o->kind) {
	case KIND_NUMBER:
		return app_parse_u64(text, o->min, o->max, v);
	case KIND_TIME:
		rc = app_parse_time(text, v);
		return rc == 0 && (*v < o->min || *v > o->max) ? -ERANGE : rc;
	case KIND_SWITCH:
		rc = app_parse_bool(text, &on);
		*v = on;
		return rc;
	default:
		return parse_word(o, text, v);
	}
}

static struct sluice_addr to_addr(const struct sockaddr_storage *ss)
{
	struct sluice_addr a = {.b = {[10] = 0xff, [11] = 0xff}};

	if (ss->ss_family == AF_INET)
		memcpy(&a.b[12], &((const struct sockaddr_in *)ss)->sin_addr, 4);
	else
		memcpy(a.b, &((const struct sockaddr_in6 *)ss)->sin6_addr, 16);
	return a;
}

/* "A-B" of either family, or both, with a comma. */
static int parse_sources(char *text, struct source_range out[2])
{
	char *save = NULL;

	for (char *w = strtok_r(text, ", \t", &save); w != NULL;
	     w = strtok_r(NULL, ", \t", &save)) {
		struct sockaddr_storage ss;
		uint32_t n;
		int rc = app_parse_range(w, 65536, &ss, &n);
		struct source_range *r = &out[ss.ss_family == AF_INET6];

		if (rc != 0)
			return rc;
		if (r->n != 0)
			return -EEXIST;
		r->first = to_addr(&ss);
		r->n = n;
	}
	return 0;
}

static int parse_host(const char *text, char host[256])
{
	const char *name = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
	size_t len = strlen(text);

	if (*name == '\0' || len > 253 ||
	    name[strspn(name, "-_.0123456789"
			      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")])
		return -EINVAL;
	for (size_t i = 0; i <= len; i++)
		host[i] = (char)tolower((unsigned char)text[i]);
	return 0;
}

static int copy_name(char dst[NAME_LEN], const char *text)
{
	if (*text == '\0' || strlen(text) >= NAME_LEN)
		return -EINVAL;
	strcpy(dst, text);
	return 0;
}

/* Entries that are no plain values. -ENOENT: no such entry in this section. */
static int text_entry(struct parser *ps, const char *key, char *value, unsigned int *bit)
{
	struct listener_config *l = ps->row;
	struct pool_config *pl = ps->row;
	struct backend_config *b = ps->row;
	struct route_config *r = ps->row;

	*bit = 60;
	if (strcmp(key, "pool") == 0) {
		*bit = 61;
		if (ps->section == SECTION_LISTENER)
			return copy_name(l->pool_name, value);
		if (ps->section == SECTION_BACKEND)
			return copy_name(b->pool_name, value);
		if (ps->section == SECTION_ROUTE)
			return copy_name(r->pool_name, value);
	}
	if (strcmp(key, "address") == 0 && ps->section == SECTION_LISTENER)
		return app_parse_addr(value, 0, &l->addr);
	if (strcmp(key, "address") == 0 && ps->section == SECTION_BACKEND)
		return app_parse_addr(value, 0, &b->addr);
	if (strcmp(key, "sources") == 0 && ps->section == SECTION_POOL)
		return parse_sources(value, pl->source);
	if (strcmp(key, "host") == 0 && ps->section == SECTION_ROUTE)
		return parse_host(value, r->host);
	*bit = 62;
	if (strcmp(key, "listener") == 0 && ps->section == SECTION_ROUTE)
		return copy_name(r->listener_name, value);
	return -ENOENT;
}

static const char *reason(int rc)
{
	switch (rc) {
	case -ERANGE:
		return "out of range";
	case -ENOENT:
		return "no such entry in this section";
	case -EEXIST:
		return "given twice";
	default:
		return "not a valid value";
	}
}

static int entry(struct parser *ps, const char *key, char *value)
{
	const struct option *o = section_info[ps->section].option;
	unsigned int n = section_info[ps->section].noptions, bit;
	char what[160];
	int rc;

	for (bit = 0; bit < n && strcmp(o[bit].name, key) != 0; bit++)
		;
	if (bit < n) {
		rc = parse_value(&o[bit], value, (uint64_t *)ps->row + bit);
		if (rc == -ERANGE) {
			snprintf(what, sizeof(what), "out of range %llu..%llu %s",
			    (unsigned long long)o[bit].min, (unsigned long long)o[bit].max,
			    o[bit].unit);
			return fail(ps, ps->line, what, key);
		}
	} else {
		rc = text_entry(ps, key, value, &bit);
	}
	if (rc == 0 && (ps->seen >> bit & 1) != 0)
		rc = -EEXIST;
	if (rc != 0)
		return fail(ps, ps->line, reason(rc), key);
	ps->seen |= 1ull << bit;
	return 0;
}

/* ---- sections ---- */

static void *row_add(void **rows, unsigned int *n, size_t size)
{
	char *p;

	if (*n == CONFIG_MAX_ROWS)
		return NULL;
	if ((*n & (*n - 1)) == 0) { /* 0 and powers of two: the room is used up */
		p = realloc(*rows, (*n == 0 ? 1 : 2 * *n) * size);
		if (p == NULL)
			return NULL;
		*rows = p;
	}
	p = (char *)*rows + (*n)++ * size;
	memset(p, 0, size);
	return p;
}

static void set_defaults(enum section s, void *row)
{
	for (unsigned int i = 0; i < section_info[s].noptions; i++)
		((uint64_t *)row)[i] = section_info[s].option[i].def;
}

static void *make_row(struct config *c, enum section s)
{
	size_t size = section_info[s].size;

	switch (s) {
	case SECTION_LISTENER:
		return row_add((void **)&c->listener, &c->nlisteners, size);
	case SECTION_POOL:
		return row_add((void **)&c->pool, &c->npools, size);
	case SECTION_BACKEND:
		return row_add((void **)&c->backend, &c->nbackends, size);
	case SECTION_ROUTE:
		return row_add((void **)&c->route, &c->nroutes, size);
	default:
		return &c->global;
	}
}

static enum section section_of(const char *kind)
{
	for (unsigned int i = 0; i < NSECTIONS; i++)
		if (strcmp(kind, section_info[i].name) == 0)
			return (enum section)i;
	return SECTION_STACK;
}

/* "proxy.pool web" */
static int section(struct parser *ps, char *text)
{
	char *name = text + strcspn(text, " \t");
	void *row;

	ps->seen = 0;
	if (*name != '\0')
		*name++ = '\0';
	name += strspn(name, " \t");
	ps->section = section_of(text);
	if (ps->section == SECTION_STACK) {
		if (strncmp(text, "proxy", 5) == 0)
			return fail(ps, ps->line, "unknown section", text);
		ps->c->has_stack = true;
		return 0;
	}
	if (ps->section == SECTION_GLOBAL) {
		ps->row = &ps->c->global;
		return *name == '\0' ? 0 : fail(ps, ps->line, "has no name", text);
	}
	row = ps->row = make_row(ps->c, ps->section);
	if (row == NULL)
		return fail(ps, ps->line, "too many, or no memory", text);
	set_defaults(ps->section, row);
	switch (ps->section) {
	case SECTION_LISTENER:
		((struct listener_config *)row)->line = ps->line;
		app_parse_addr("::", 0, &((struct listener_config *)row)->addr);
		return copy_name(((struct listener_config *)row)->name, name) == 0
			   ? 0
			   : fail(ps, ps->line, "needs a name", text);
	case SECTION_POOL:
		((struct pool_config *)row)->line = ps->line;
		return copy_name(((struct pool_config *)row)->name, name) == 0
			   ? 0
			   : fail(ps, ps->line, "needs a name", text);
	case SECTION_BACKEND:
		((struct backend_config *)row)->line = ps->line;
		return copy_name(((struct backend_config *)row)->name, name) == 0
			   ? 0
			   : fail(ps, ps->line, "needs a name", text);
	default:
		((struct route_config *)row)->line = ps->line;
		return copy_name(((struct route_config *)row)->name, name) == 0
			   ? 0
			   : fail(ps, ps->line, "needs a name", text);
	}
}

static char *trim(char *s)
{
	size_t n;

	s += strspn(s, " \t\r");
	for (n = strlen(s); n > 0 && strchr(" \t\r", s[n - 1]) != NULL;)
		s[--n] = '\0';
	return s;
}

static int one_line(struct parser *ps, char *text)
{
	char *eq, *end;

	text[strcspn(text, ";")] = '\0';
	text = trim(text);
	if (*text == '\0')
		return 0;
	if (*text == '[') {
		end = strchr(text, ']');
		if (end == NULL || end[1] != '\0' || end == text + 1)
			return fail(ps, ps->line, "a section is [name]", NULL);
		*end = '\0';
		return section(ps, trim(text + 1));
	}
	if (ps->section == SECTION_STACK)
		return 0;
	if (ps->section == NSECTIONS)
		return fail(ps, ps->line, "entry before the first section", NULL);
	eq = strchr(text, '=');
	if (eq == NULL || eq == text)
		return fail(ps, ps->line, "not `name = value`", NULL);
	*eq = '\0';
	return entry(ps, trim(text), trim(eq + 1));
}

/* ---- what refers to what ---- */

static int find_pool(const struct config *c, const char *name)
{
	for (unsigned int i = 0; i < c->npools; i++)
		if (strcmp(c->pool[i].name, name) == 0)
			return (int)i;
	return -1;
}

static int find_listener(const struct config *c, const char *name)
{
	for (unsigned int i = 0; i < c->nlisteners; i++)
		if (strcmp(c->listener[i].name, name) == 0)
			return (int)i;
	return -1;
}

static void set_port(struct sockaddr_storage *ss, uint64_t port)
{
	if (ss->ss_family == AF_INET)
		((struct sockaddr_in *)ss)->sin_port = htons((uint16_t)port);
	else
		((struct sockaddr_in6 *)ss)->sin6_port = htons((uint16_t)port);
}

static int check_listener(struct parser *ps, unsigned int i)
{
	struct config *c = ps->c;
	struct listener_config *l = &c->listener[i];

	if (l->port == 0)
		return fail(ps, l->line, "listener without port", l->name);
	set_port(&l->addr, l->port);
	if (find_listener(c, l->name) != (int)i)
		return fail(ps, l->line, "a listener of this name stands above", l->name);
	for (unsigned int k = 0; k < i; k++)
		if (c->listener[k].vrf == l->vrf &&
		    memcmp(&c->listener[k].addr, &l->addr, sizeof(l->addr)) == 0)
			return fail(ps, l->line, "another listener has this address", l->name);
	l->pool = l->pool_name[0] != '\0' ? find_pool(c, l->pool_name) : -1;
	if (l->pool < 0 && (l->pool_name[0] != '\0' || l->hook == HOOK_NONE))
		return fail(ps, l->line, "its pool does not exist", l->name);
	return 0;
}

static int check_backend(struct parser *ps, unsigned int i)
{
	struct config *c = ps->c;
	struct backend_config *b = &c->backend[i];
	const struct pool_config *pl;
	bool six = b->addr.ss_family == AF_INET6;

	if (b->port == 0 || b->addr.ss_family == 0)
		return fail(ps, b->line, "backend without address or port", b->name);
	set_port(&b->addr, b->port);
	b->pool = find_pool(c, b->pool_name);
	if (b->pool < 0)
		return fail(ps, b->line, "its pool does not exist", b->name);
	for (unsigned int k = 0; k < i; k++)
		if (c->backend[k].pool == b->pool && strcmp(c->backend[k].name, b->name) == 0)
			return fail(ps, b->line, "a backend of this name stands above in its pool",
			    b->name);
	pl = &c->pool[b->pool];
	if (pl->source[!six].n != 0 && pl->source[six].n == 0)
		return fail(ps, b->line, "the pool's sources are all of the other family", b->name);
	return 0;
}

static int check_route(struct parser *ps, unsigned int i)
{
	struct config *c = ps->c;
	struct route_config *r = &c->route[i];

	r->listener = find_listener(c, r->listener_name);
	r->pool = find_pool(c, r->pool_name);
	if (r->host[0] == '\0')
		return fail(ps, r->line, "route without host", r->name);
	if (r->listener < 0 || r->pool < 0)
		return fail(ps, r->line, "its listener or pool does not exist", r->name);
	if (c->listener[r->listener].hook == HOOK_NONE)
		return fail(ps, r->line, "its listener has no hook", r->name);
	for (unsigned int k = 0; k < i; k++)
		if (c->route[k].listener == r->listener && strcmp(c->route[k].host, r->host) == 0)
			return fail(ps, r->line, "a route of this host stands above", r->name);
	return 0;
}

static int check(struct parser *ps)
{
	int rc = 0;

	for (unsigned int i = 0; i < ps->c->npools && rc == 0; i++)
		if (find_pool(ps->c, ps->c->pool[i].name) != (int)i)
			rc = fail(ps, ps->c->pool[i].line, "a pool of this name stands above",
			    ps->c->pool[i].name);
	for (unsigned int i = 0; i < ps->c->nlisteners && rc == 0; i++)
		rc = check_listener(ps, i);
	for (unsigned int i = 0; i < ps->c->nbackends && rc == 0; i++)
		rc = check_backend(ps, i);
	for (unsigned int i = 0; i < ps->c->nroutes && rc == 0; i++)
		rc = check_route(ps, i);
	return rc;
}

int config_parse(
    const char *text, size_t len, const char *name, struct config **out, char *err, size_t errlen)
{
	struct parser ps = {.file = name, .err = err, .errlen = errlen, .section = NSECTIONS};
	char line[LINE_MAX_LEN];
	int rc = 0;

	err[0] = '\0';
	ps.c = calloc(1, sizeof(*ps.c));
	if (ps.c == NULL) {
		snprintf(err, errlen, "%s:0: no memory", name);
		return -ENOMEM;
	}
	set_defaults(SECTION_GLOBAL, &ps.c->global);
	for (size_t at = 0; at < len && rc == 0;) {
		const char *nl = memchr(text + at, '\n', len - at);
		size_t n = nl != NULL ? (size_t)(nl - text) - at : len - at;

		ps.line++;
		if (n >= sizeof(line) || memchr(text + at, '\0', n) != NULL) {
			rc = fail(&ps, ps.line, "line too long, or not text", NULL);
			break;
		}
		memcpy(line, text + at, n);
		line[n] = '\0';
		rc = one_line(&ps, line);
		at += n + 1;
	}
	if (rc == 0)
		rc = check(&ps);
	if (rc != 0) {
		config_free(ps.c);
		return rc;
	}
	*out = ps.c;
	return 0;
}

void config_free(struct config *c)
{
	if (c == NULL)
		return;
	free(c->listener);
	free(c->pool);
	free(c->backend);
	free(c->route);
	free(c);
}

int config_backend_set(struct backend_config *b, const char *name, const char *value)
{
	const struct option *o = backend_options;
	unsigned int i = 0;
	uint64_t v;
	int rc;

	while (i < DIM(backend_options) && strcmp(o[i].name, name) != 0)
		i++;
	if (i == DIM(backend_options) || strcmp(name, "port") == 0)
		return -ENOENT;
	rc = parse_value(&o[i], value, &v);
	if (rc == 0)
		((uint64_t *)b)[i] = v;
	return rc;
}

/* ---- help ---- */

/* A default as the file would say it. */
static const char *value_text(const struct option *o, uint64_t v, char *buf, size_t len)
{
	for (size_t i = 0; i < DIM(words); i++)
		if (words[i].kind == o->kind && words[i].value == v)
			return words[i].text;
	if (o->kind == KIND_SWITCH)
		return v != 0 ? "on" : "off";
	if (o->kind == KIND_TIME && v >= 1000000000 && v % 1000000000 == 0)
		snprintf(buf, len, "%llus", (unsigned long long)(v / 1000000000));
	else if (o->kind == KIND_TIME)
		snprintf(buf, len, "%llums", (unsigned long long)(v / 1000000));
	else
		snprintf(buf, len, "%llu", (unsigned long long)v);
	return buf;
}

void config_help(void (*line)(void *arg, const char *text), void *arg)
{
	static const char *const also[NSECTIONS] = {"", "  address (default ::), pool",
	    "  sources (A-B; one range of each family)", "  pool, address",
	    "  listener, host (name, or *.name), pool"};
	char buf[400], a[32], b[32], c[32];

	for (unsigned int s = 0; s < NSECTIONS; s++) {
		snprintf(buf, sizeof(buf), "[%s%s]%s", section_info[s].name,
		    s == SECTION_GLOBAL ? "" : " NAME", also[s]);
		line(arg, buf);
		for (unsigned int i = 0; i < section_info[s].noptions; i++) {
			const struct option *o = &section_info[s].option[i];

			if (o->kind == KIND_NUMBER || o->kind == KIND_TIME)
				snprintf(buf, sizeof(buf), "  %-20s %s..%s %s, default %s: %s",
				    o->name, value_text(o, o->min, a, sizeof(a)),
				    value_text(o, o->max, b, sizeof(b)),
				    o->kind == KIND_TIME ? "" : o->unit,
				    value_text(o, o->def, c, sizeof(c)), o->doc);
			else
				snprintf(buf, sizeof(buf), "  %-20s default %s: %s", o->name,
				    value_text(o, o->def, c, sizeof(c)), o->doc);
			line(arg, buf);
		}
	}
}
