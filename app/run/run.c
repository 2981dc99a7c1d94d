/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sluice-run: starts a program with the preload library in front of its C library. All that the
 * library must know is worked out and checked here, and goes to it in one environment variable of
 * lines "key value" (engine.c has the list; "rule" and the rest are lib/preload/start.c's).
 */
#include "common/app.h"
#include "common/options.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_cfgfile.h>
#include <rte_common.h>

#include "preload/preload.h"

struct options {
	struct app_options app;
	const char *vdev[APP_MAX_WORDS], *eal[APP_MAX_WORDS];
	unsigned int nvdev, neal;
	const char *rules, *start;
	uint64_t memory, linger, cpu;
	bool huge, cpu_given;
};

static void usage(FILE *to)
{
	fprintf(to,
	    "Usage: sluice-run [options] -- program [argument...]\n"
	    "TCP sockets of the program live on sluice where the rules say so; all else stays with "
	    "the kernel.\n\n"
	    "  --vdev ARGS          DPDK virtual device, such as net_af_packet0,iface=veth1; may "
	    "be "
	    "repeated\n"
	    "  --addr A/LEN         address of the port, IPv4 or IPv6; up to 64 times\n"
	    "  --route PREFIX via GW  route; up to 16 times\n"
	    "  --config FILE        addresses, routes, tunables from an ini file instead\n"
	    "  --rules FILE         whose an address is; rules stand before the usual ones. A "
	    "line:\n"
	    "                       sluice|kernel connect|listen|both ADDRESS[/LEN]|* "
	    "[PORT[-PORT]]\n"
	    "  --start use|bind     start the dataplane when a socket is used (default: a program "
	    "may\n"
	    "                       listen and then fork), or with the first bind\n"
	    "  --linger TIME        at exit, how long data may still be sent (default: 2s)\n"
	    "  --idle spin|yield|sleep  what the idle dataplane does (default: sleep)\n"
	    "  --cpu N              CPU of the dataplane's thread (default: any)\n"
	    "  --memory MB          of the dataplane (default: 256)\n"
	    "  --huge on|off        in hugepages (default: off)\n"
	    "  --eal WORD           an argument of the EAL, such as --eal=-a --eal=0000:03:00.0; "
	    "may "
	    "be repeated\n"
	    "  --connections N      most connections at once (default: 65536)\n"
	    "  --mbufs N            buffers for data; headers get twice as many (default: 16384)\n"
	    "  --rxd N, --txd N     descriptors of the port's queues (default: 1024)\n"
	    "  --mtu N              MTU to set (default: the port's)\n"
	    "  --offload on|off     use the port's checksum and segmentation offloads (default: "
	    "on)\n"
	    "  --tunable NAME=VALUE set a tunable of the stack; may be "
	    "repeated\n" APP_OPT_KERNEL_HELP(
		"all of TCP") "  --force              take also a port over the interface of the "
			      "default route\n"
			      "  --verbose            say more on stderr\n"
			      "  --help               this text\n"
			      "\nExample:\n"
			      "  sluice-run --vdev net_af_packet0,iface=veth1 --addr 10.0.0.2/24 "
			      "-- redis-server\n");
}

enum {
	OPT_VDEV = APP_OPT_OWN,
	OPT_RULES,
	OPT_START,
	OPT_LINGER,
	OPT_CPU,
	OPT_MEMORY,
	OPT_HUGE,
	OPT_EAL
};

static const struct option longopts[] = {
    APP_OPT_ROWS,
    {"vdev", required_argument, NULL, OPT_VDEV},
    {"rules", required_argument, NULL, OPT_RULES},
    {"start", required_argument, NULL, OPT_START},
    {"linger", required_argument, NULL, OPT_LINGER},
    {"cpu", required_argument, NULL, OPT_CPU},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"huge", required_argument, NULL, OPT_HUGE},
    {"eal", required_argument, NULL, OPT_EAL},
    {NULL, 0, NULL, 0},
};

static int push(const char **list, unsigned int *n, const char *word)
{
	if (strpbrk(word, "\n") != NULL)
		return -EINVAL;
	if (*n == APP_MAX_WORDS)
		return -ENOSPC;
	list[(*n)++] = word;
	return 0;
}

static int parse_own(void *arg, int opt, const char *text)
{
	struct options *o = arg;

	switch (opt) {
	case OPT_VDEV:
		return push(o->vdev, &o->nvdev, text);
	case OPT_EAL:
		return push(o->eal, &o->neal, text);
	case OPT_RULES:
		o->rules = text;
		return 0;
	case OPT_START:
		o->start = text;
		return strcmp(text, "use") == 0 || strcmp(text, "bind") == 0 ? 0 : -EINVAL;
	case OPT_LINGER:
		return app_parse_time(text, &o->linger);
	case OPT_CPU:
		o->cpu_given = true;
		return app_parse_u64(text, 0, CPU_SETSIZE - 1, &o->cpu);
	case OPT_MEMORY:
		return app_parse_u64(text, 32, 1 << 20, &o->memory);
	default:
		return app_parse_bool(text, &o->huge);
	}
}

/* ---- the words ---- */

struct words {
	char *text;
	size_t len, room;
	bool failed;
};

static void add(struct words *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct words *w, const char *fmt, ...)
{
	char line[PATH_MAX + 64];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(line)) {
		w->failed = true;
		return;
	}
	if (w->len + (size_t)n + 2 > w->room) {
		char *p = realloc(w->text, 2 * w->room + (size_t)n + 256);

		if (p == NULL) {
			w->failed = true;
			return;
		}
		w->text = p;
		w->room = 2 * w->room + (size_t)n + 256;
	}
	memcpy(w->text + w->len, line, (size_t)n);
	w->len += (size_t)n;
	w->text[w->len++] = '\n';
	w->text[w->len] = '\0';
}

/* All CPUs that we may use, as the EAL wants one lcore on several: 0@(0-1,3). */
static void add_lcores(struct words *w, const struct options *o)
{
	char list[1024] = "";
	size_t at = 0;
	cpu_set_t set;

	if (o->cpu_given) {
		add(w, "eal --lcores=0@%u", (unsigned int)o->cpu);
		return;
	}
	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return;
	for (int i = 0; i < CPU_SETSIZE && at + 8 < sizeof(list); i++)
		if (CPU_ISSET(i, &set))
			at += (size_t)snprintf(
			    list + at, sizeof(list) - at, "%s%d", at > 0 ? "," : "", i);
	add(w, "eal --lcores=0@(%s)", list);
}

static void add_eal(struct words *w, const struct options *o)
{
	add(w, "eal sluice-run");
	add(w, "eal --no-telemetry");
	add(w, "eal --log-level=4"); /* warnings */
	if (o->huge) {
		add(w, "eal --in-memory");
	} else {
		add(w, "eal --no-huge");
		add(w, "eal --no-shconf");
	}
	add(w, "eal -m");
	add(w, "eal %u", (unsigned int)o->memory);
	add_lcores(w, o);
	if (o->neal == 0)
		add(w, "eal --no-pci");
	for (unsigned int i = 0; i < o->nvdev; i++)
		add(w, "eal --vdev=%s", o->vdev[i]);
	for (unsigned int i = 0; i < o->neal; i++)
		add(w, "eal %s", o->eal[i]);
	/* Whatever names ports names what one process has at a time. */
	add(w, "claim %s%s", o->nvdev > 0 ? o->vdev[0] : "",
	    o->neal > 0 ? o->eal[o->neal - 1] : "");
}

static void add_stack(struct words *w, const struct options *o)
{
	const struct app_options *a = &o->app;
	char path[PATH_MAX];

	add(w, "connections %llu", (unsigned long long)a->connections);
	add(w, "mbufs %llu", (unsigned long long)a->mbufs);
	add(w, "rxd %llu", (unsigned long long)a->rxd);
	add(w, "txd %llu", (unsigned long long)a->txd);
	add(w, "mtu %llu", (unsigned long long)a->mtu);
	add(w, "offload %d", a->offload);
	add(w, "idle %d", (int)app_idle(a, 0));
	for (unsigned int i = 0; i < a->ntunable; i++)
		add(w, "tunable %s", a->tunable[i]);
	for (unsigned int i = 0; i < a->naddr; i++)
		add(w, "addr %s", a->addr[i]);
	for (unsigned int i = 0; i < a->nroute; i++)
		add(w, "route %s %s", a->route[i].prefix, a->route[i].via);
	/* The program may change its directory before it is read. */
	if (a->config != NULL)
		add(w, "config %s", realpath(a->config, path) != NULL ? path : a->config);
	if (a->kernel_port != NULL)
		add(w, "kernel %s", a->kernel_port);
	if (a->kernel_rules != NULL)
		add(w, "kernel-rules %s", a->kernel_rules);
	if (app_force)
		add(w, "force 1");
	add(w, "start %s", o->start);
	add(w, "linger %llu", (unsigned long long)(o->linger / 1000000));
	add(w, "log %d", app_log_level);
}

/* ---- rules ---- */

static int add_rule(struct words *w, const char *text)
{
	struct slp_rule r;

	if (slp_rule_parse(text, &r) != 0)
		return -EINVAL;
	add(w, "rule %s", text);
	return 0;
}

static int add_rule_file(struct words *w, const char *path)
{
	char line[256];
	unsigned int n = 0;
	FILE *f = fopen(path, "re");
	int rc = 0;

	if (f == NULL) {
		app_err("%s: %s", path, strerror(errno));
		return -errno;
	}
	while (rc == 0 && fgets(line, sizeof(line), f) != NULL) {
		n++;
		line[strcspn(line, "#\n")] = '\0';
		if (line[strspn(line, " \t")] == '\0')
			continue;
		rc = add_rule(w, line);
		if (rc != 0)
			app_err("%s:%u: a rule is \"sluice|kernel connect|listen|both "
				"ADDRESS[/LEN]|* [PORT[-PORT]]\"",
			    path, n);
	}
	fclose(f);
	return rc;
}

/* What an address of ours reaches: itself for listeners, its prefix for the other end. */
static int add_reach(struct words *w, const char *addr)
{
	char line[128];
	size_t n = strcspn(addr, "/");
	int rc;

	snprintf(line, sizeof(line), "sluice listen %.*s", (int)n, addr);
	rc = add_rule(w, line);
	snprintf(line, sizeof(line), "sluice connect %s", addr);
	return rc != 0 ? rc : add_rule(w, line);
}

/* Addresses and routes of an ini file, which the stack will read and check itself. */
static int add_ini_entry(struct words *w, const char *section, struct rte_cfgfile_entry *e)
{
	bool route = strncmp(section, "route ", 6) == 0;
	char line[CFG_VALUE_LEN + 32], *save = NULL;
	int rc = 0;

	if (route ? strcmp(e->name, "prefix") != 0
		  : strncmp(section, "interface ", 10) != 0 ||
			(strcmp(e->name, "address") != 0 && strcmp(e->name, "any_address") != 0))
		return 0;
	for (char *a = strtok_r(e->value, ", \t", &save); a != NULL && rc == 0;
	     a = strtok_r(NULL, ", \t", &save)) {
		if (!route && e->name[1] != 'n') {
			rc = add_reach(w, a);
			continue;
		}
		snprintf(line, sizeof(line), "sluice %s %s", route ? "connect" : "both", a);
		rc = add_rule(w, line);
	}
	return rc;
}

static int add_ini(struct words *w, const char *path)
{
	struct rte_cfgfile *f = rte_cfgfile_load(path, 0);
	int nsec = f != NULL ? rte_cfgfile_num_sections(f, NULL, 0) : 0, rc = 0;

	if (f == NULL) {
		app_err("%s: cannot be read", path);
		return -EINVAL;
	}
	for (int i = 0; i < nsec && rc == 0; i++) {
		char name[CFG_NAME_LEN];
		int n = rte_cfgfile_section_num_entries_by_index(f, name, i);
		struct rte_cfgfile_entry *e = n > 0 ? calloc((size_t)n, sizeof(*e)) : NULL;

		if (e == NULL)
			continue;
		n = rte_cfgfile_section_entries_by_index(f, i, name, e, n);
		for (int k = 0; k < n && rc == 0; k++)
			rc = add_ini_entry(w, name, &e[k]);
		free(e);
	}
	rte_cfgfile_close(f);
	if (rc != 0)
		app_err("%s: an address is not understood", path);
	return rc;
}

static int add_rules(struct words *w, const struct options *o)
{
	static const char *const first[] = {"kernel both 127.0.0.0/8", "kernel both ::1"};
	static const char *const last[] = {"sluice listen 0.0.0.0", "sluice listen ::"};
	int rc = o->rules != NULL ? add_rule_file(w, o->rules) : 0;

	for (size_t i = 0; i < RTE_DIM(first) && rc == 0; i++)
		rc = add_rule(w, first[i]);
	if (rc == 0 && o->app.config != NULL)
		rc = add_ini(w, o->app.config);
	for (unsigned int i = 0; i < o->app.naddr && rc == 0; i++)
		rc = add_reach(w, o->app.addr[i]);
	for (unsigned int i = 0; i < o->app.nroute && rc == 0; i++) {
		char line[128];

		snprintf(line, sizeof(line), "sluice connect %s", o->app.route[i].prefix);
		rc = add_rule(w, line);
	}
	for (size_t i = 0; i < RTE_DIM(last) && rc == 0; i++)
		rc = add_rule(w, last[i]);
	return rc;
}

/* ---- the libraries ---- */

/* Beside the program in a build directory, else where they were installed. */
static int find(const char *name, const char *build_dir, char *out)
{
	char self[PATH_MAX], path[2 * PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = '\0';
		*strrchr(self, '/') = '\0';
		snprintf(path, sizeof(path), "%s/%s/%s", self, build_dir, name);
		if (access(path, R_OK) == 0 && realpath(path, out) != NULL)
			return 0;
	}
	snprintf(path, sizeof(path), "%s/%s", SLUICE_RUN_LIBDIR, name);
	if (access(path, R_OK) == 0 && realpath(path, out) != NULL)
		return 0;
	app_err("%s is neither in the build directory nor in %s", name, SLUICE_RUN_LIBDIR);
	return -ENOENT;
}

/* DPDK keeps thread-local storage of the kind that must be there when a thread is made; what the
 * dynamic linker leaves free for libraries that come later is less. */
static int static_tls(void)
{
	static const char want[] = "glibc.rtld.optional_static_tls=16384";
	const char *before = getenv("GLIBC_TUNABLES");
	char all[PATH_MAX];

	if (before != NULL && strstr(before, "optional_static_tls") != NULL)
		return 0;
	snprintf(all, sizeof(all), "%s%s%s", before != NULL ? before : "",
	    before != NULL ? ":" : "", want);
	return setenv("GLIBC_TUNABLES", all, 1);
}

static int set_environment(struct words *w)
{
	const char *before = getenv("LD_PRELOAD");
	char lib[PATH_MAX], engine[PATH_MAX], all[3 * PATH_MAX];

	if (find("libsluice-preload.so", "../../lib/preload", lib) != 0 ||
	    find("libsluice-engine.so", ".", engine) != 0)
		return -ENOENT;
	add(w, "engine %s", engine);
	if (w->failed || static_tls() != 0 || setenv("SLUICE_PRELOAD", w->text, 1) != 0)
		return -ENOMEM;
	/* In front of others (but a sanitizer must be the first). */
	snprintf(all, sizeof(all), "%s%s%s", lib, before != NULL ? ":" : "",
	    before != NULL ? before : "");
	return setenv("LD_PRELOAD", all, 1);
}

/* ---- main ---- */

static int parse(struct options *o, int argc, char **argv)
{
	struct sluice_tunables t;
	struct app_options *a = &o->app;

	*o = (struct options){.app = {.connections = 65536, .mbufs = 16384, .offload = true},
	    .start = "use",
	    .memory = 256,
	    .linger = SLUICE_SEC(2)};
	app_log_level = 4;
	if (app_options_parse(a, &t, argc, argv, longopts, parse_own, o) != 0)
		return -EINVAL;
	if (a->config != NULL && (a->naddr != 0 || a->nroute != 0)) {
		app_err("--config replaces --addr and --route");
		return -EINVAL;
	}
	if (a->mirror != NULL) {
		app_err("--mirror needs a control thread, which sluice-run has not");
		return -EINVAL;
	}
	if (a->config == NULL && a->naddr == 0) {
		app_err("an address is needed: --addr A/LEN, or --config FILE");
		return -EINVAL;
	}
	if (o->nvdev == 0 && o->neal == 0) {
		app_err("a port is needed: --vdev ARGS, or --eal");
		return -EINVAL;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct options o;
	struct words w = {0};
	int cut = 1;

	app_name = "sluice-run";
	while (cut < argc && strcmp(argv[cut], "--") != 0) {
		if (strcmp(argv[cut], "--help") == 0 || strcmp(argv[cut], "-h") == 0) {
			usage(stdout);
			return 0;
		}
		cut++;
	}
	if (cut + 1 >= argc) {
		usage(stderr);
		return APP_EXIT_USAGE;
	}
	if (parse(&o, cut, argv) != 0)
		return APP_EXIT_USAGE;
	add_eal(&w, &o);
	add_stack(&w, &o);
	if (add_rules(&w, &o) != 0 || set_environment(&w) != 0)
		return APP_EXIT_FAIL;
	execvp(argv[cut + 1], argv + cut + 1);
	app_err("%s: %s", argv[cut + 1], strerror(errno));
	return 127;
}
