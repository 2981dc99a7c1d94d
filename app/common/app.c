/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Start of an application. Its own options are read before the EAL starts, so that a mistake in
 * them, or --help, costs neither hugepages nor half a second.
 */
#include "app.h"
#include "numa.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <numa.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>

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

/* What the process may run on: the EAL binds the main thread to its lcore. */
static cpu_set_t app_cpus;

int app_eal_init(struct app_args *a)
{
	CPU_ZERO(&app_cpus);
	(void)sched_getaffinity(0, sizeof(app_cpus), &app_cpus);
	if (rte_eal_init(a->eal_argc, a->eal_argv) < 0) {
		int e = rte_errno != 0 ? rte_errno : EINVAL;

		app_err("the EAL does not start: %s (options before \"--\" are the EAL's)",
		    rte_strerror(e));
		return -e;
	}
	app_clock_init();
	return 0;
}

static void cpus_of_node(int node, cpu_set_t *out)
{
	struct bitmask *m = numa_allocate_cpumask();

	CPU_ZERO(out);
	if (m != NULL && numa_node_to_cpus(node, m) == 0)
		for (unsigned int i = 0; i < m->size && i < CPU_SETSIZE; i++)
			if (numa_bitmask_isbitset(m, i))
				CPU_SET(i, out);
	numa_free_cpumask(m);
}

int app_control_thread(pthread_t *t, void *(*fn)(void *arg), void *arg)
{
	struct app_numa plan;
	cpu_set_t lcores, node, cpus;
	pthread_attr_t attr;
	unsigned int i;
	bool known;
	int rc = pthread_attr_init(&attr);

	if (rc != 0)
		return rc;
	CPU_ZERO(&lcores);
	RTE_LCORE_FOREACH(i)
	{
		cpus = rte_lcore_cpuset(i);
		CPU_OR(&lcores, &lcores, &cpus);
	}
	app_numa_here(&plan);
	known = numa_available() >= 0 && plan.control >= 0;
	if (known)
		cpus_of_node(plan.control, &node);
	app_numa_cpus(&app_cpus, &lcores, known ? &node : NULL, &cpus);
	if (CPU_COUNT(&cpus) > 0)
		(void)pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	rc = pthread_create(t, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	return rc;
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
