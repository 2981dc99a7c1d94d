/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Start of an application. Its own options are read before the EAL starts, so that a mistake in
 * them, or --help, costs neither hugepages nor half a second.
 */
#include "app.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <rte_eal.h>
#include <rte_errno.h>

const char *app_name = "sluice";
volatile int app_stop;
uint64_t app_ns_per_cycle_q32;

void app_err(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", app_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void app_args_split(int argc, char **argv, struct app_args *out)
{
	int cut = argc;

	memset(out, 0, sizeof(*out));
	for (int i = 1; i < argc; i++) {
		if (cut == argc && strcmp(argv[i], "--") == 0)
			cut = i;
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			out->help = true;
	}
	out->none = argc <= 1;
	out->eal_argc = cut;
	out->eal_argv = argv;
	if (cut < argc) {
		argv[cut] = argv[0];
		out->argc = argc - cut;
		out->argv = argv + cut;
	} else {
		out->argc = 1;
		out->argv = argv;
	}
}

int app_eal_init(struct app_args *a)
{
	if (rte_eal_init(a->eal_argc, a->eal_argv) < 0) {
		int e = rte_errno != 0 ? rte_errno : EINVAL;

		app_err("the EAL does not start: %s (options before \"--\" are the EAL's)",
		    rte_strerror(e));
		return -e;
	}
	app_clock_init();
	return 0;
}

static void on_signal(int sig)
{
	app_stop = 1;
}

void app_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

void app_clock_init(void)
{
	app_ns_per_cycle_q32 =
	    (uint64_t)((((unsigned __int128)1000000000) << 32) / rte_get_tsc_hz());
}

uint64_t app_clock(void)
{
	return app_now();
}
