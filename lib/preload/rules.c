/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose is an address? Rules are read from the first to the last; the first that holds decides.
 * sluice-run puts the user's rules in front and the usual ones behind: loopback is the kernel's;
 * what the interface's addresses and routes reach is sluice's. Pure functions.
 */
#include "preload.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

/* ---- text ---- */

/* The next word of *at into out, "" at the end. False: too long. */
static bool word(const char **at, char *out, size_t len)
{
	size_t n = 0;

	while (isblank((unsigned char)**at))
		(*at)++;
	for (; **at != '\0' && !isspace((unsigned char)**at); (*at)++) {
		if (n + 1 >= len)
			return false;
		out[n++] = **at;
	}
	out[n] = '\0';
	return true;
}

static int parse_num(const char *text, unsigned long max, char end, unsigned long *v)
{
	char *e;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	*v = strtoul(text, &e, 10);
	return *e != end || *v > max ? -EINVAL : 0;
}

static int parse_prefix(char *text, struct slp_rule *r)
{
	char *slash = strchr(text, '/');
	unsigned long len = 128;
	unsigned int top;

	if (strcmp(text, "*") == 0) {
		r->any = true;
		return 0;
	}
	if (slash != NULL)
		*slash = '\0';
	if (inet_pton(AF_INET, text, r->addr + 12) == 1) {
		memcpy(r->addr, mapped, sizeof(mapped));
		top = 96;
	} else if (inet_pton(AF_INET6, text, r->addr) == 1) {
		top = 0;
	} else {
		return -EINVAL;
	}
	if (slash == NULL)
		len = 128 - top;
	else if (parse_num(slash + 1, 128 - top, '\0', &len) != 0)
		return -EINVAL;
	r->plen = (uint8_t)(len + top);
	return 0;
}

static int parse_ports(const char *text, struct slp_rule *r)
{
	const char *dash = strchr(text, '-');
	unsigned long a, b;

	r->port[0] = 0;
	r->port[1] = UINT16_MAX;
	if (*text == '\0')
		return 0;
	if (parse_num(text, UINT16_MAX, dash != NULL ? '-' : '\0', &a) != 0)
		return -EINVAL;
	b = a;
	if (dash != NULL && parse_num(dash + 1, UINT16_MAX, '\0', &b) != 0)
		return -EINVAL;
	r->port[0] = (uint16_t)a;
	r->port[1] = (uint16_t)b;
	return a > b ? -EINVAL : 0;
}

int slp_rule_parse(const char *text, struct slp_rule *r)
{
	char act[8], dir[8], addr[64], port[16], rest[2];

	memset(r, 0, sizeof(*r));
	if (!word(&text, act, sizeof(act)) || !word(&text, dir, sizeof(dir)) ||
	    !word(&text, addr, sizeof(addr)) || !word(&text, port, sizeof(port)) ||
	    !word(&text, rest, sizeof(rest)) || rest[0] != '\0')
		return -EINVAL;
	if (strcmp(act, "sluice") == 0)
		r->sluice = true;
	else if (strcmp(act, "kernel") != 0)
		return -EINVAL;
	if (strcmp(dir, "connect") == 0)
		r->dirs = SLP_CONNECT;
	else if (strcmp(dir, "listen") == 0)
		r->dirs = SLP_LISTEN;
	else if (strcmp(dir, "both") == 0)
		r->dirs = SLP_CONNECT | SLP_LISTEN;
	else
		return -EINVAL;
	return parse_prefix(addr, r) != 0 ? -EINVAL : parse_ports(port, r);
}

int slp_rules_add(struct slp_rules *rs, const struct slp_rule *r)
{
	struct slp_rule *p = realloc(rs->rule, (rs->n + 1) * sizeof(*p));

	if (p == NULL)
		return -ENOMEM;
	rs->rule = p;
	p[rs->n++] = *r;
	return 0;
}

void slp_rules_free(struct slp_rules *rs)
{
	free(rs->rule);
	*rs = (struct slp_rules){0};
}

/* ---- addresses ---- */

/* v4-mapped address and port. False: neither family, or too short. */
static bool split(const struct sockaddr *sa, socklen_t len, uint8_t addr[16], uint16_t *port)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (sa == NULL || len < sizeof(sa->sa_family))
		return false;
	if (sa->sa_family == AF_INET && len >= sizeof(in)) {
		memcpy(&in, sa, sizeof(in));
		memcpy(addr, mapped, sizeof(mapped));
		memcpy(addr + 12, &in.sin_addr, 4);
		*port = ntohs(in.sin_port);
		return true;
	}
	if (sa->sa_family == AF_INET6 && len >= sizeof(in6)) {
		memcpy(&in6, sa, sizeof(in6));
		memcpy(addr, &in6.sin6_addr, 16);
		*port = ntohs(in6.sin6_port);
		return true;
	}
	return false;
}

static bool in_prefix(const uint8_t a[16], const uint8_t p[16], unsigned int len)
{
	if (memcmp(a, p, len / 8) != 0)
		return false;
	return len % 8 == 0 || ((a[len / 8] ^ p[len / 8]) >> (8 - len % 8)) == 0;
}

bool slp_rules_match(
    const struct slp_rules *rs, enum slp_dir dir, const struct sockaddr *sa, socklen_t len)
{
	uint8_t addr[16];
	uint16_t port;

	if (!split(sa, len, addr, &port))
		return false;
	for (unsigned int i = 0; i < rs->n; i++) {
		const struct slp_rule *r = &rs->rule[i];

		if ((r->dirs & dir) && port >= r->port[0] && port <= r->port[1] &&
		    (r->any || in_prefix(addr, r->addr, r->plen)))
			return r->sluice;
	}
	return false;
}
