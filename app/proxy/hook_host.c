/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host that an HTTP/1 request names (RFC 9112 3.2): of an absolute target, else of the Host
 * field. The whole head is wanted, and read strictly: a second Host field, a folded line or a blank
 * before the colon could mean one host to us and another one to the backend. Only the first request
 * of a connection chooses.
 */
#include "proxy.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

bool hook_name(const uint8_t *p, size_t n, char host[HOST_LEN])
{
	if (n > 0 && p[n - 1] == '.')
		n--;
	if (n == 0 || n >= HOST_LEN)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!isalnum(p[i]) && strchr("-_.:[]", p[i]) == NULL)
			return false;
		host[i] = (char)tolower(p[i]);
	}
	host[n] = '\0';
	return memchr(host, '\0', n) == NULL;
}

/* "example.org:8080" or "[2001:db8::1]:80" without the port. */
static bool host_port(const uint8_t *p, size_t n, char host[HOST_LEN])
{
	const uint8_t *end = n > 0 && p[0] == '[' ? memchr(p, ']', n) : memchr(p, ':', n);
	size_t len = n;

	if (n > 0 && p[0] == '[') {
		if (end == NULL)
			return false;
		end++;
		if ((size_t)(end - p) < n && *end != ':')
			return false;
	}
	if (end != NULL)
		len = (size_t)(end - p);
	for (size_t i = len + 1; i < n; i++)
		if (!isdigit(p[i]))
			return false;
	return hook_name(p, len, host);
}

/* The length of a line without CR LF; false: it is not whole, or has a bare CR or LF, or a NUL. */
static enum verdict line_end(const uint8_t *p, size_t n, size_t *len)
{
	const uint8_t *lf = memchr(p, '\n', n);
	size_t l;

	if (lf == NULL)
		return memchr(p, '\0', n) != NULL ? VERDICT_BAD : VERDICT_MORE;
	l = (size_t)(lf - p);
	if (l == 0 || p[l - 1] != '\r' || memchr(p, '\0', l) != NULL ||
	    memchr(p, '\r', l - 1) != NULL)
		return VERDICT_BAD;
	*len = l - 1;
	return VERDICT_NAME;
}

/* "GET http://host/ HTTP/1.1". NAME: an absolute target; NONE: another target. */
static enum verdict request_line(const uint8_t *p, size_t n, char host[HOST_LEN])
{
	const uint8_t *sp = memchr(p, ' ', n), *target, *end;

	if (sp == NULL || sp == p)
		return VERDICT_BAD;
	for (const uint8_t *q = p; q < sp; q++)
		if (!isalpha(*q) && *q != '-')
			return VERDICT_BAD;
	target = sp + 1;
	end = memchr(target, ' ', (size_t)(p + n - target));
	if (end == NULL || end == target || (size_t)(p + n - end) != sizeof(" HTTP/1.1") - 1 ||
	    (memcmp(end, " HTTP/1.1", 9) != 0 && memcmp(end, " HTTP/1.0", 9) != 0))
		return VERDICT_BAD;
	if (end - target > 7 && strncasecmp((const char *)target, "http://", 7) == 0) {
		const uint8_t *h = target + 7;
		size_t len = 0;

		while (h + len < end && strchr("/?#", h[len]) == NULL)
			len++;
		return host_port(h, len, host) ? VERDICT_NAME : VERDICT_BAD;
	}
	return VERDICT_NONE;
}

static enum verdict field(const uint8_t *p, size_t n, char host[HOST_LEN])
{
	const uint8_t *colon = memchr(p, ':', n), *v;
	size_t len;

	if (colon == NULL || colon == p || p[0] == ' ' || p[0] == '\t' || colon[-1] == ' ' ||
	    colon[-1] == '\t')
		return VERDICT_BAD;
	if (colon - p != 4 || strncasecmp((const char *)p, "Host", 4) != 0)
		return VERDICT_NONE;
	v = colon + 1;
	len = n - 5;
	while (len > 0 && (*v == ' ' || *v == '\t'))
		v++, len--;
	while (len > 0 && (v[len - 1] == ' ' || v[len - 1] == '\t'))
		len--;
	return host_port(v, len, host) ? VERDICT_NAME : VERDICT_BAD;
}

enum verdict hook_host(const uint8_t *p, size_t n, char host[HOST_LEN])
{
	bool absolute = false, seen = false;
	char name[HOST_LEN];
	size_t at = 0, len;

	host[0] = '\0';
	for (unsigned int line = 0;; line++, at += len + 2) {
		enum verdict v = line_end(p + at, n - at, &len);

		if (v != VERDICT_NAME)
			return v;
		if (len == 0 && line > 0)
			return absolute || seen ? VERDICT_NAME : VERDICT_NONE;
		v = line == 0 ? request_line(p + at, len, name) : field(p + at, len, name);
		if (v == VERDICT_BAD || (v == VERDICT_NAME && line > 0 && seen))
			return VERDICT_BAD;
		if (v == VERDICT_NAME && !absolute)
			strcpy(host, name);
		if (v == VERDICT_NAME && line == 0)
			absolute = true;
		else if (v == VERDICT_NAME)
			seen = true;
	}
}
