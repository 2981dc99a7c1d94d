/* SPDX-License-Identifier: BSD-3-Clause */
/* Words of a command line to numbers and addresses: all strict, so that a typing error is an error
 * and not a zero. */
#include "parse.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** The digits at the front of text; *end points behind them. */
static int leading_number(const char *text, uint64_t *value, const char **end)
{
	char *e;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL; /* strtoull would take signs and blanks */
	errno = 0;
	*value = strtoull(text, &e, 0);
	if (errno != 0)
		return -ERANGE;
	*end = e;
	return 0;
}

int app_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	const char *end;
	uint64_t v;
	int rc = leading_number(text, &v, &end);

	if (rc != 0)
		return rc;
	if (*end != '\0')
		return -EINVAL;
	if (v < min || v > max)
		return -ERANGE;
	*value = v;
	return 0;
}

int app_parse_size(const char *text, uint64_t max, uint64_t *value)
{
	static const char suffix[] = "kmg";
	const char *end, *s;
	unsigned int shift = 0;
	uint64_t v;
	int rc = leading_number(text, &v, &end);

	if (rc != 0)
		return rc;
	if (*end != '\0') {
		s = strchr(suffix, tolower((unsigned char)*end));
		if (s == NULL || end[1] != '\0')
			return -EINVAL;
		shift = 10 * (unsigned int)(s - suffix + 1);
	}
	if (v > max >> shift)
		return -ERANGE;
	*value = v << shift;
	return 0;
}

int app_parse_sizes(const char *text, uint64_t max, uint64_t *req, uint64_t *resp, bool *both)
{
	const char *comma = strchr(text, ',');
	char first[32];
	uint64_t a, b = 0;
	int rc;

	if (comma == NULL) {
		*both = false;
		return app_parse_size(text, max, req);
	}
	if ((size_t)(comma - text) >= sizeof(first))
		return -EINVAL;
	memcpy(first, text, (size_t)(comma - text));
	first[comma - text] = '\0';
	rc = app_parse_size(first, max, &a);
	if (rc == 0)
		rc = app_parse_size(comma + 1, max, &b);
	if (rc != 0)
		return rc;
	*req = a;
	*resp = b;
	*both = true;
	return 0;
}

int app_parse_time(const char *text, uint64_t *ns)
{
	static const struct {
		const char *name;
		double ns;
	} unit[] = {{"", 1e9}, {"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"min", 60e9}};
	char *end;
	double v;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	v = strtod(text, &end);
	for (size_t i = 0; i < sizeof(unit) / sizeof(unit[0]); i++) {
		if (strcmp(end, unit[i].name) != 0)
			continue;
		v *= unit[i].ns;
		if (!(v < 9e18))
			return -ERANGE;
		*ns = (uint64_t)(v + 0.5);
		return 0;
	}
	return -EINVAL;
}

int app_parse_bool(const char *text, bool *value)
{
	if (strcmp(text, "on") == 0 || strcmp(text, "yes") == 0 || strcmp(text, "1") == 0)
		*value = true;
	else if (strcmp(text, "off") == 0 || strcmp(text, "no") == 0 || strcmp(text, "0") == 0)
		*value = false;
	else
		return -EINVAL;
	return 0;
}

int app_parse_addr(const char *text, uint16_t port, struct sockaddr_storage *ss)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	memset(ss, 0, sizeof(*ss));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		return 0;
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		return 0;
	}
	return -EINVAL;
}

/** The last 32 bits of an address: ranges and steps work on them. */
static uint32_t *low_word(struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET)
		return &((struct sockaddr_in *)ss)->sin_addr.s_addr;
	return &((struct sockaddr_in6 *)ss)->sin6_addr.s6_addr32[3];
}

void app_addr_add(struct sockaddr_storage *ss, uint32_t i)
{
	uint32_t *w = low_word(ss);

	*w = htonl(ntohl(*w) + i);
}

void app_addr_set_port(struct sockaddr_storage *ss, uint16_t port)
{
	if (ss->ss_family == AF_INET)
		((struct sockaddr_in *)ss)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)ss)->sin6_port = htons(port);
}

int app_parse_range(const char *text, uint32_t max, struct sockaddr_storage *first, uint32_t *n)
{
	const char *dash = strchr(text, '-');
	char a[INET6_ADDRSTRLEN];
	struct sockaddr_storage last, probe;
	uint32_t lo, hi;

	if (dash == NULL) {
		*n = 1;
		return app_parse_addr(text, 0, first);
	}
	if ((size_t)(dash - text) >= sizeof(a))
		return -EINVAL;
	memcpy(a, text, (size_t)(dash - text));
	a[dash - text] = '\0';
	if (app_parse_addr(a, 0, first) != 0 || app_parse_addr(dash + 1, 0, &last) != 0 ||
	    first->ss_family != last.ss_family)
		return -EINVAL;
	lo = ntohl(*low_word(first));
	hi = ntohl(*low_word(&last));
	probe = *first;
	*low_word(&probe) = *low_word(&last);
	if (hi < lo || memcmp(&probe, &last, sizeof(last)) != 0)
		return -EINVAL;
	if (hi - lo >= max)
		return -ERANGE;
	*n = hi - lo + 1;
	return 0;
}

static int parse_ports(const char *text, uint16_t port[2])
{
	char first[8];
	const char *dash = strchr(text, '-');
	uint64_t p, q;
	int n = snprintf(first, sizeof(first), "%.*s", dash != NULL ? (int)(dash - text) : 7, text);

	if (n >= (int)sizeof(first) || app_parse_u64(first, 1, 65535, &p) != 0 ||
	    app_parse_u64(dash != NULL ? dash + 1 : text, 1, 65535, &q) != 0 || q < p)
		return -EINVAL;
	port[0] = (uint16_t)p;
	port[1] = (uint16_t)q;
	return 0;
}

/** Copy the addresses of a span without brackets; *ports points behind the colon or is NULL. */
static int split_span(const char *text, char *addrs, size_t room, const char **ports)
{
	const char *close = strrchr(text, ']'), *end;
	size_t n = 0;

	if (close != NULL ? text[0] != '[' : strchr(text, '[') != NULL)
		return -EINVAL;
	end = close != NULL ? close + 1 : text + strlen(text);
	if (close == NULL && strchr(text, ':') == strrchr(text, ':') && strchr(text, ':') != NULL)
		end = strchr(text, ':'); /* one colon: IPv4 with ports */
	if (*end != '\0' && *end != ':')
		return -EINVAL;
	*ports = *end == ':' ? end + 1 : NULL;
	for (const char *p = text; p < end; p++) {
		if (*p == '[' || *p == ']')
			continue;
		if (n + 1 == room)
			return -EINVAL;
		addrs[n++] = *p;
	}
	addrs[n] = '\0';
	return 0;
}

int app_parse_span(const char *text, uint32_t max, struct app_span *span)
{
	char addrs[2 * INET6_ADDRSTRLEN + 2];
	struct app_span s = {.n = 0};
	const char *ports;
	int rc = split_span(text, addrs, sizeof(addrs), &ports);

	if (rc == 0)
		rc = app_parse_range(addrs, max, &s.first, &s.n);
	if (rc == 0 && text[0] == '[' && s.first.ss_family == AF_INET)
		rc = -EINVAL;
	if (rc == 0 && ports != NULL)
		rc = parse_ports(ports, s.port);
	if (rc == 0)
		*span = s;
	return rc;
}

uint32_t app_span_ports(const struct app_span *span)
{
	return 1u + span->port[1] - span->port[0];
}

void app_span_at(const struct app_span *span, uint64_t i, struct sockaddr_storage *ss)
{
	uint16_t port = (uint16_t)(span->port[0] + i / span->n % app_span_ports(span));

	*ss = span->first;
	app_addr_add(ss, (uint32_t)(i % span->n));
	app_addr_set_port(ss, port);
}

int app_parse_prefix(const char *text, struct sockaddr_storage *ss, unsigned int *len)
{
	const char *slash = strchr(text, '/');
	char a[INET6_ADDRSTRLEN];
	uint64_t bits;

	if (slash == NULL || (size_t)(slash - text) >= sizeof(a))
		return -EINVAL;
	memcpy(a, text, (size_t)(slash - text));
	a[slash - text] = '\0';
	if (app_parse_addr(a, 0, ss) != 0)
		return -EINVAL;
	if (app_parse_u64(slash + 1, 0, ss->ss_family == AF_INET ? 32 : 128, &bits) != 0)
		return -EINVAL;
	*len = (unsigned int)bits;
	return 0;
}

const char *app_addr_text(const struct sockaddr_storage *ss, char *buf, size_t len)
{
	const void *a = ss->ss_family == AF_INET
			    ? (const void *)&((const struct sockaddr_in *)ss)->sin_addr
			    : (const void *)&((const struct sockaddr_in6 *)ss)->sin6_addr;

	if (inet_ntop(ss->ss_family, a, buf, (socklen_t)len) == NULL)
		snprintf(buf, len, "?");
	return buf;
}

socklen_t app_addr_len(const struct sockaddr_storage *ss)
{
	return ss->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}
