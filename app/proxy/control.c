/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control thread: it waits for signals, reads configuration files, and writes the access log.
 * All that may wait is done here; what it wants of the proxy goes to its squeues as operations.
 */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <rte_telemetry.h>

#define DUMP_LEN (256u << 10)

/* ---- operations: the control thread's wishes, on a squeue ---- */

static struct proxy *here(struct program *g, const struct sluice_squeue *sq)
{
	return &g->proxy.of[sluice_squeue_id(sq)];
}

static int64_t do_change(
    struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *a, void *arg)
{
	return proxy_change(
	    here(arg, sq), (enum change_step)a->a[0], (const struct change *)(uintptr_t)a->a[1]);
}

static int64_t do_drain(
    struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *a, void *arg)
{
	proxy_drain(here(arg, sq));
	return 0;
}

static int64_t do_stop(
    struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *a, void *arg)
{
	proxy_stop(here(arg, sq));
	return 0;
}

static int64_t do_dump(
    struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *a, void *arg)
{
	return (int64_t)proxy_dump(here(arg, sq), (char *)(uintptr_t)a->a[0], a->a[1]);
}

static int64_t do_set(
    struct sluice_squeue *sq, sluice_conn_t c, const struct sluice_args *a, void *arg)
{
	char **word = (char **)(uintptr_t)a->a[0];

	return proxy_set(here(arg, sq), word[0], word[1], word[2], word[3]);
}

static const struct {
	const char *name;
	sluice_op_fn fn;
} ops[NOPS] = {
    [OP_CHANGE] = {"proxy_change", do_change},
    [OP_DRAIN] = {"proxy_drain", do_drain},
    [OP_STOP] = {"proxy_stop", do_stop},
    [OP_DUMP] = {"proxy_dump", do_dump},
    [OP_SET] = {"proxy_set", do_set},
};

static int64_t call(struct program *g, unsigned int squeue, enum op op, uint64_t a0, uint64_t a1)
{
	struct sluice_args args = {{a0, a1}};

	return sluice_synch_call(g->stack.st, squeue, g->tag[op], SLUICE_CONN_NONE, &args);
}

/* On each squeue, one after the other. The first result that is not 0. */
static int64_t call_all(struct program *g, enum op op, uint64_t a0, uint64_t a1)
{
	int64_t rc = 0;

	for (unsigned int i = 0; i < g->proxy.n; i++) {
		int64_t one = call(g, i, op, a0, a1);

		rc = rc != 0 ? rc : one;
	}
	return rc;
}

static int run_step(void *arg, struct proxy *p, enum change_step step, const struct change *ch)
{
	return (int)call(arg, p->id, OP_CHANGE, step, (uintptr_t)ch);
}

/* ---- configuration ---- */

/* The file as it is now, in a file in memory, so that the proxy and the stack read the same one.
 * Returns its descriptor and its text, or -errno. */
static int read_file(const char *path, char **text, size_t *len)
{
	int in = open(path, O_RDONLY | O_CLOEXEC), out = -1, rc = 0;
	size_t n = 0;
	ssize_t got;
	char *p;

	if (in < 0)
		return -errno;
	p = malloc(CONFIG_MAX_BYTES);
	if (p == NULL)
		rc = -ENOMEM;
	while (rc == 0 && (got = read(in, p + n, CONFIG_MAX_BYTES - n)) != 0) {
		if (got < 0)
			rc = -errno;
		else if ((n += (size_t)got) == CONFIG_MAX_BYTES)
			rc = -EFBIG;
	}
	close(in);
	if (rc == 0) {
		out = memfd_create("sluice-proxy", MFD_CLOEXEC);
		if (out < 0 || write(out, p, n) != (ssize_t)n)
			rc = -errno;
	}
	if (rc != 0) {
		if (out >= 0)
			close(out);
		free(p);
		return rc;
	}
	*text = p;
	*len = n;
	return out;
}

/* Give the stack its sections. */
static int load_stack(struct program *g, int fd, const char *name)
{
	char path[32], err[256] = "";
	int rc;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rc = sluice_config_load(g->stack.st, path, err, sizeof(err), NULL, NULL);
	if (rc != 0) /* the name that people know instead of the one that was read */
		app_err("%s%s", name,
		    strncmp(err, path, strlen(path)) == 0 ? err + strlen(path) : strerror(-rc));
	return rc;
}

/* How long a new address may stay tentative, and a little more. */
static uint64_t address_wait(const struct sluice_stack *st)
{
	uint64_t probes = 0, interval = 0;

	(void)sluice_tunable_get(st, "ip.dad_probes", &probes);
	(void)sluice_tunable_get(st, "ip.dad_interval", &interval);
	return probes * interval + SLUICE_SEC(1);
}

/* An address that the stack got a moment ago cannot be listened on before duplicate address
 * detection is over. */
static int apply_patiently(struct program *g, const struct config *c, char *err, size_t len)
{
	uint64_t wait = address_wait(g->stack.st);
	struct timespec pause = {.tv_nsec = (long)SLUICE_MS(100)};
	int rc;

	for (uint64_t waited = 0;; waited += SLUICE_MS(100)) {
		rc = proxy_apply(&g->proxy, c, err, len, run_step, g);
		if (rc != -EADDRNOTAVAIL || waited >= wait)
			return rc;
		nanosleep(&pause, NULL);
	}
}

static int apply(struct program *g, const struct config *c, int fd)
{
	char err[256] = "";
	int rc = 0;

	if (c->has_stack && g->o.app.naddr != 0) {
		app_err("%s:0: has sections of the stack, and so --addr and --route have no place",
		    g->o.app.config);
		return -EINVAL;
	}
	if (c->has_stack)
		rc = load_stack(g, fd, g->o.app.config);
	if (rc != 0)
		return rc;
	rc = apply_patiently(g, c, err, sizeof(err));
	if (rc != 0) {
		app_err("%s:%s", g->o.app.config, err[0] != '\0' ? err : strerror(-rc));
		if (c->has_stack && g->good >= 0)
			(void)load_stack(g, g->good, "the former configuration");
	}
	return rc;
}

/* The first n squeues run, the others are parked: their lcores sleep (run_squeue in main.c). */
static void run_lcores(struct program *g, uint64_t n)
{
	int rc;

	for (unsigned int i = 0; i < g->proxy.n; i++) {
		if (n == 0 || i < n)
			rc = sluice_squeue_unpark(g->stack.st, i);
		else
			rc = sluice_squeue_park(g->stack.st, i);
		if (rc != 0 && rc != -EALREADY)
			app_err("lcores: squeue %u stays as it is: %s", i, strerror(-rc));
	}
}

/* All of the file, or nothing of it. 0 or -errno after a message. */
static int load_config(struct program *g)
{
	char err[256], *text = NULL;
	struct config *c = NULL;
	size_t len = 0;
	int fd = read_file(g->o.app.config, &text, &len), rc;

	if (fd < 0) {
		app_err("%s:0: %s", g->o.app.config, strerror(-fd));
		return fd;
	}
	rc = config_parse(text, len, g->o.app.config, &c, err, sizeof(err));
	free(text);
	if (rc != 0)
		app_err("%s", err);
	else
		rc = apply(g, c, fd);
	if (rc == 0)
		run_lcores(g, c->global.lcores);
	config_free(c);
	if (rc != 0) {
		close(fd);
		return rc;
	}
	if (g->good >= 0)
		close(g->good);
	g->good = fd;
	return 0;
}

/* ---- what is told ---- */

/* A new file of the same name, for those who rotate them. */
static void reopen_log(struct program *g)
{
	FILE *f;

	if (g->log == NULL || g->log == stdout)
		return;
	f = fopen(g->o.log, "ae");
	if (f == NULL) {
		app_err("%s: %s; the log goes on in the old file", g->o.log, strerror(errno));
		return;
	}
	fclose(g->log);
	g->log = f;
}

static void write_log(struct program *g)
{
	struct access_record r;
	char line[400], stamp[40];
	time_t t = time(NULL);
	struct tm tm;

	if (g->log == NULL)
		return;
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
	for (unsigned int i = 0; i < g->proxy.n; i++)
		while (access_pop(&g->proxy.of[i].log, &r)) {
			access_line(&r, line, sizeof(line));
			fprintf(g->log, "%s %s", stamp, line);
		}
	fflush(g->log);
}

static const char *const counter_name[] = {
#define X(name, doc) #name,
    PROXY_COUNTERS(X)
#undef X
};

void print_counters(struct program *g, bool with_dump)
{
	struct proxy_counters n;
	struct sluice_counters c;
	const uint64_t *v = (const uint64_t *)&n;

	proxy_counters_get(&g->proxy, &n);
	sluice_counters_sum(g->stack.st, &c);
	for (size_t i = 0; i < RTE_DIM(counter_name); i++)
		if (v[i] != 0)
			printf("%s %llu\n", counter_name[i], (unsigned long long)v[i]);
	for (unsigned int i = 0; i < NREASONS; i++)
		if (n.ended[i] != 0)
			printf("ended %s %llu\n", reason_text((enum reason)i),
			    (unsigned long long)n.ended[i]);
	for (size_t i = 0; i < SLUICE_NCOUNTERS; i++)
		if (((const uint64_t *)&c)[i] != 0)
			printf("stack %s %llu\n", sluice_counter_name((unsigned int)i),
			    (unsigned long long)((const uint64_t *)&c)[i]);
	if (with_dump) {
		char *buf = malloc(DUMP_LEN);

		if (buf != NULL && call(g, 0, OP_DUMP, (uintptr_t)buf, DUMP_LEN) > 0)
			fputs(buf, stdout);
		free(buf);
	}
	fflush(stdout);
}

static struct program *telemetry_of; /* rte_telemetry's callbacks have no argument */

static int telemetry_counters(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct proxy_counters n;

	rte_tel_data_start_dict(d);
	proxy_counters_get(&telemetry_of->proxy, &n);
	for (size_t i = 0; i < RTE_DIM(counter_name); i++)
		rte_tel_data_add_dict_u64(d, counter_name[i], ((const uint64_t *)&n)[i]);
	for (unsigned int i = 0; i < NREASONS; i++) {
		char name[RTE_TEL_MAX_STRING_LEN];

		snprintf(name, sizeof(name), "ended_%s", reason_text((enum reason)i));
		for (char *p = name; *p != '\0'; p++)
			if (*p == '-')
				*p = '_';
		rte_tel_data_add_dict_u64(d, name, n.ended[i]);
	}
	return 0;
}

/* "POOL/BACKEND,NAME=VALUE" in four words, in place. */
static bool set_words(char *text, char *word[4])
{
	static const char sep[3] = {'/', ',', '='};

	word[0] = text;
	for (unsigned int i = 0; i < 3; i++) {
		char *end = strchr(word[i], sep[i]);

		if (end == NULL)
			return false;
		*end = '\0';
		word[i + 1] = end + 1;
	}
	return true;
}

static int telemetry_set(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct program *g = telemetry_of;
	char text[256], *word[4];
	int rc = -EINVAL;

	snprintf(text, sizeof(text), "%s", params != NULL ? params : "");
	if (!set_words(text, word))
		return -EINVAL;
	pthread_mutex_lock(&g->lock);
	if (g->serves)
		rc = (int)call_all(g, OP_SET, (uintptr_t)word, 0);
	pthread_mutex_unlock(&g->lock);
	rte_tel_data_start_dict(d);
	rte_tel_data_add_dict_string(d, "result", rc == 0 ? "ok" : strerror(-rc));
	return 0;
}

/* ---- the control thread ---- */

void control_ends(struct program *g)
{
	pthread_mutex_lock(&g->lock);
	g->serves = false;
	pthread_mutex_unlock(&g->lock);
}

void control_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR1);
}

/* Reset what is left, and give the squeues time to say so to the peers. */
static void end_now(struct program *g)
{
	struct timespec ms = {.tv_nsec = 1000000};

	control_ends(g);
	call_all(g, OP_STOP, 0, 0);
	for (unsigned int i = 0; i < 1000 && SHARED_GET(g->proxy.open) > 0; i++)
		nanosleep(&ms, NULL);
	app_end();
}

void *control(void *arg)
{
	struct program *g = arg;
	struct timespec period = {.tv_nsec = 50000000};
	bool draining = false;
	sigset_t set;

	control_signals(&set);
	g->rc = load_config(g);
	if (g->rc != 0) {
		app_end();
		return NULL;
	}
	g->serves = true;
	printf("sluice-proxy: ready\n");
	fflush(stdout);
	while (__atomic_load_n(&app_stop, __ATOMIC_ACQUIRE) == 0) {
		int sig = sigtimedwait(&set, NULL, &period);

		if (sig == SIGHUP)
			reopen_log(g);
		if ((sig == SIGINT || sig == SIGTERM) && draining)
			end_now(g);
		else if (sig == SIGINT || sig == SIGTERM)
			draining = call_all(g, OP_DRAIN, 0, 0) == 0;
		else if (sig == SIGHUP && load_config(g) == 0)
			app_err("%s applied", g->o.app.config);
		else if (sig == SIGUSR1)
			print_counters(g, true);
		if (draining && SHARED_GET(g->proxy.open) == 0)
			end_now(g);
		write_log(g);
		app_ports_serve(g->stack.st);
		app_mirror_serve(&g->mirror);
	}
	write_log(g);
	return NULL;
}

int control_register(struct program *g)
{
	for (unsigned int i = 0; i < NOPS; i++) {
		g->tag[i] = sluice_op_register(g->stack.st, ops[i].name, ops[i].fn, g);
		if (g->tag[i] < 0)
			return g->tag[i];
	}
	telemetry_of = g;
	if (rte_telemetry_register_cmd("/sluice_proxy/counters", telemetry_counters,
		"Counters of the proxy. No parameters.") != 0)
		app_err("no telemetry");
	if (rte_telemetry_register_cmd("/sluice_proxy/set", telemetry_set,
		"Changes a backend until the next reload: POOL/BACKEND,NAME=VALUE, as in the "
		"file.") != 0)
		app_err("no telemetry");
	return 0;
}
