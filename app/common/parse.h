/* SPDX-License-Identifier: BSD-3-Clause */
/* Words of a command line to numbers and addresses. Pure functions: 0 or -errno, nothing is
 * printed. */
#ifndef APP_PARSE_H
#define APP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/** Decimal or 0x number in min..max. -EINVAL: not a number, -ERANGE. */
int app_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *value);
/** Bytes: "64", "64k", "1m", "2g" (powers of 1024). -EINVAL, -ERANGE beyond max. */
int app_parse_size(const char *text, uint64_t max, uint64_t *value);
/** "REQ" or "REQ,RESP", each a size up to max; without RESP it is left alone and *both is false. */
int app_parse_sizes(const char *text, uint64_t max, uint64_t *req, uint64_t *resp, bool *both);
/** Seconds, or with a suffix "500us", "20ms", "10s", "2min"; fractions allowed ("0.5"). Result in
 * ns. */
int app_parse_time(const char *text, uint64_t *ns);
/** "on" or "off" (also yes/no, 1/0). */
int app_parse_bool(const char *text, bool *value);

/** An IPv4 or IPv6 address with a port into *ss. -EINVAL. */
int app_parse_addr(const char *text, uint16_t port, struct sockaddr_storage *ss);
/** "A" or "A-B": first address and how many; -EINVAL for mixed families or B < A, -ERANGE for more
 * than max. */
int app_parse_range(const char *text, uint32_t max, struct sockaddr_storage *first, uint32_t *n);
/** Addresses, each with the same ports; port[0] 0: no ports were given. */
struct app_span {
	struct sockaddr_storage first;
	uint32_t n;
	uint16_t port[2]; /* first and last */
};
/** "A[-B][:P[-Q]]"; with ports IPv6 addresses stand in brackets, "[A-B]:P" or "[A]-[B]:P". -EINVAL,
 * -ERANGE for more than max addresses. */
int app_parse_span(const char *text, uint32_t max, struct app_span *span);
/** How many ports: 1 without any. */
uint32_t app_span_ports(const struct app_span *span);
/** Member i, i counted modulo all: first through the addresses, then to the next port. */
void app_span_at(const struct app_span *span, uint64_t i, struct sockaddr_storage *ss);
/** "A/len": *ss gets the address, *len the prefix length. -EINVAL without or with a wrong length.
 */
int app_parse_prefix(const char *text, struct sockaddr_storage *ss, unsigned int *len);
/** Address number i of a range. */
void app_addr_add(struct sockaddr_storage *ss, uint32_t i);
void app_addr_set_port(struct sockaddr_storage *ss, uint16_t port);
/** Address without port as text, at least INET6_ADDRSTRLEN bytes. Returns buf. */
const char *app_addr_text(const struct sockaddr_storage *ss, char *buf, size_t len);
socklen_t app_addr_len(const struct sockaddr_storage *ss);

#endif
