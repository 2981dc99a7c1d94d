/* SPDX-License-Identifier: BSD-3-Clause */
/* What a configuration file says, checked and complete: plain values, nothing of it runs. */
#ifndef PROXY_CONFIG_H
#define PROXY_CONFIG_H

#include "options.h"

#define NAME_LEN 64
#define CONFIG_MAX_ROWS 1024 /* sections of each kind */
#define CONFIG_MAX_BYTES (4u << 20)

enum balance {
	BALANCE_ROUNDROBIN,
	BALANCE_LEASTCONN,
	BALANCE_HASH
};
enum hook_kind {
	HOOK_NONE,
	HOOK_SNI,
	HOOK_HOST
};
enum send_proxy {
	SEND_PROXY_OFF,
	SEND_PROXY_V1,
	SEND_PROXY_V2
};

/** Local addresses to connect from, first .. first + n - 1. n 0: the stack chooses. */
struct source_range {
	struct sluice_addr first;
	uint32_t n;
};

#define X(name, kind, unit, min, max, def, doc) uint64_t name;
struct global_config {
	PROXY_GLOBAL_OPTIONS(X)
};

struct listener_config {
	PROXY_LISTENER_OPTIONS(X)
	char name[NAME_LEN];
	struct sockaddr_storage addr; /* with the port */
	int pool;                     /* index, -1: none (only with a hook) */
	int line;                     /* of the section in the file */
	char pool_name[NAME_LEN];
};

struct pool_config {
	PROXY_POOL_OPTIONS(X)
	char name[NAME_LEN];
	struct source_range source[2]; /* IPv4, IPv6 */
	int line;
};

struct backend_config {
	PROXY_BACKEND_OPTIONS(X)
	char name[NAME_LEN];
	struct sockaddr_storage addr;
	int pool;
	int line;
	char pool_name[NAME_LEN];
};
#undef X

/** Sessions of a listener with a hook that ask for this host go to this pool. */
struct route_config {
	char name[NAME_LEN];
	char host[256]; /* lower case; "*.example.org" stands for all below it */
	int listener, pool;
	int line;
	char listener_name[NAME_LEN], pool_name[NAME_LEN];
};

struct config {
	struct global_config global;
	struct listener_config *listener;
	struct pool_config *pool;
	struct backend_config *backend;
	struct route_config *route;
	unsigned int nlisteners, npools, nbackends, nroutes;
	bool has_stack; /* the file has sections that are the stack's */
};

/**
 * Read a file's text. 0, or -errno (-EINVAL, -ENOMEM) after "name:line: reason" in err. Sections
 * that are not the proxy's are skipped: the stack reads them.
 */
int config_parse(
    const char *text, size_t len, const char *name, struct config **out, char *err, size_t errlen);
void config_free(struct config *c);
/** Change one value of a backend, but its port: 0, -ENOENT, -ERANGE, -EINVAL. */
int config_backend_set(struct backend_config *b, const char *name, const char *value);
/** One line for each option, for --help. */
void config_help(void (*line)(void *arg, const char *text), void *arg);

#endif
