/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options that programs with one stack and one configuration share, and the loop over a command
 * line. A program adds its own to the table and to the parser, and says all of them in its --help.
 */
#ifndef APP_OPTIONS_H
#define APP_OPTIONS_H

#include <getopt.h>

#include "app.h"

#define APP_MAX_WORDS 64
#define APP_MAX_IDLE 64

struct app_options {
	const char *config;
	const char *addr[APP_MAX_WORDS], *tunable[APP_MAX_WORDS];
	struct app_route route[16];
	unsigned int naddr, ntunable, nroute;
	uint64_t connections, mbufs, rxd, txd, mtu;
	enum sluice_idle idle[APP_MAX_IDLE]; /* of each lcore, see app_idle */
	unsigned int nidle;
	bool offload;
	const char *kernel_port, *kernel_rules; /* as given, see app_options_kernel */
	const char *mirror;
};

/** Values of the shared options in a getopt_long table; a program's own begin at APP_OPT_OWN. */
enum app_opt {
	APP_OPT_CONFIG = 1,
	APP_OPT_ADDR,
	APP_OPT_ROUTE,
	APP_OPT_CONNECTIONS,
	APP_OPT_MBUFS,
	APP_OPT_RXD,
	APP_OPT_TXD,
	APP_OPT_MTU,
	APP_OPT_OFFLOAD,
	APP_OPT_IDLE,
	APP_OPT_TUNABLE,
	APP_OPT_FORCE,
	APP_OPT_KERNEL,
	APP_OPT_KERNEL_RULES,
	APP_OPT_MIRROR,
	APP_OPT_VERBOSE,
	APP_OPT_OWN
};

/* clang-format off */
#define APP_OPT_ROWS \
	{"config", required_argument, NULL, APP_OPT_CONFIG}, \
	{"addr", required_argument, NULL, APP_OPT_ADDR}, \
	{"route", required_argument, NULL, APP_OPT_ROUTE}, \
	{"connections", required_argument, NULL, APP_OPT_CONNECTIONS}, \
	{"mbufs", required_argument, NULL, APP_OPT_MBUFS}, \
	{"rxd", required_argument, NULL, APP_OPT_RXD}, \
	{"txd", required_argument, NULL, APP_OPT_TXD}, \
	{"mtu", required_argument, NULL, APP_OPT_MTU}, \
	{"offload", required_argument, NULL, APP_OPT_OFFLOAD}, \
	{"idle", required_argument, NULL, APP_OPT_IDLE}, \
	{"tunable", required_argument, NULL, APP_OPT_TUNABLE}, \
	{"force", no_argument, NULL, APP_OPT_FORCE}, \
	{"kernel", required_argument, NULL, APP_OPT_KERNEL}, \
	{"kernel-rules", required_argument, NULL, APP_OPT_KERNEL_RULES}, \
	{"mirror", required_argument, NULL, APP_OPT_MIRROR}, \
	{"verbose", no_argument, NULL, APP_OPT_VERBOSE}
/* clang-format on */

/** What --help says of the options of doc/kernel.md. */
#define APP_OPT_KERNEL_HELP(who)                                                                  \
	"  --kernel PORT        the port is shared with the kernel, whose device is behind this " \
	"DPDK "                                                                                   \
	"port, such as a\n"                                                                       \
	"                       net_tap (doc/kernel.md)\n"                                        \
	"  --kernel-rules RULE,...  whose packets are whose: stack|kernel "                       \
	"any|tcp|udp|icmp|NUMBER "                                                                \
	"[ADDRESS[/LEN]]\n"                                                                       \
	"                       [PORT[-PORT]] (default: " who " is the stack's)\n"
#define APP_OPT_MIRROR_HELP                                                                \
	"  --mirror DEV[=IF]    addresses and routes of the kernel's device are those of " \
	"interface IF "                                                                    \
	"(default: net0)\n"                                                                \
	"                       as well, also when they change\n"

/**
 * The kernel beside us, as asked for: k->port is -1 when it was not. Without rules of the user's TCP to
 * these ports is the stack's; n == 0: all of TCP. 0, or -EINVAL after a message.
 */
int app_options_kernel(
    const struct app_options *o, const uint16_t *port, unsigned int n, struct app_kernel *k);

/**
 * Reads all options: shared ones into *o (which holds the defaults), others by own(arg, option,
 * text), which returns 0, -EINVAL, -ERANGE or -ENOSPC (given too often); then the tunables into *t.
 * 0, or -EINVAL after a message.
 */
int app_options_parse(struct app_options *o, struct sluice_tunables *t, int argc, char **argv,
    const struct option *table, int (*own)(void *arg, int opt, const char *text), void *arg);

/** Policy of the i-th lcore: the i-th word of --idle, or its last. */
static inline enum sluice_idle app_idle(const struct app_options *o, unsigned int i)
{
	return o->nidle == 0 ? SLUICE_IDLE_SLEEP : o->idle[i < o->nidle ? i : o->nidle - 1];
}

/** Does any lcore sleep? Then ports are asked for receive interrupts. */
static inline bool app_idle_sleeps(const struct app_options *o)
{
	bool sleeps = o->nidle == 0;

	for (unsigned int i = 0; i < o->nidle; i++)
		sleeps |= o->idle[i] == SLUICE_IDLE_SLEEP;
	return sleeps;
}

#endif
