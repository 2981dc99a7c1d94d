/* SPDX-License-Identifier: BSD-3-Clause */
/* sim: runs seeds and cases, sums what they exercised, says whether the sum bit, and shrinks what
 * failed. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

static const char usage[] =
    "sim --seed N | --seeds A..B | --case FILE... | --plan N | --selftest\n"
    "  --seed N       one seed; --verbose prints a trace, --pcap FILE a capture of what arrived\n"
    "  --seeds A..B   a range; --jobs J processes, --progress a line every few seconds\n"
    "  --long A..B    the range instead, when SLUICE_LONG is set in the environment\n"
    "  --case FILE... plans that are written out (test/sim/cases); --verbose, --pcap as above\n"
    "  --plan N       print the plan of a seed\n"
    "  --squeues N    squeues per stack (default: by seed)\n"
    "  --summary      what was exercised: states, edges, counters, impairments, checks\n"
    "  --must-bite    fail unless the sum shows every impairment, edge and recovery (1,000 seeds "
    "do)\n"
    "  --shrink MS    make the plan of the first failures small, for so long each (default 20000; "
    "0: do not)\n"
    "  --out DIR      where sim-SEED.case is written (default: the working directory)\n"
    "  --selftest     each check can fail, and the shrinker shrinks\n";

struct edge {
	enum sluice_state from, to;
};

/* RFC 9293 figure 5. CLOSED before an open is IDLE or BOUND here. LISTEN to SYN_SENT (send on a
 * listener) is not offered. */
static const struct edge diagram[] = {{SLUICE_BOUND, SLUICE_LISTEN}, {SLUICE_LISTEN, SLUICE_CLOSED},
    {SLUICE_IDLE, SLUICE_SYN_SENT}, {SLUICE_BOUND, SLUICE_SYN_SENT},
    {SLUICE_SYN_SENT, SLUICE_CLOSED}, {SLUICE_LISTEN, SLUICE_SYN_RCVD},
    {SLUICE_SYN_SENT, SLUICE_SYN_RCVD}, {SLUICE_SYN_SENT, SLUICE_ESTABLISHED},
    {SLUICE_SYN_RCVD, SLUICE_ESTABLISHED}, {SLUICE_SYN_RCVD, SLUICE_FIN_WAIT_1},
    {SLUICE_SYN_RCVD, SLUICE_LISTEN}, {SLUICE_ESTABLISHED, SLUICE_FIN_WAIT_1},
    {SLUICE_ESTABLISHED, SLUICE_CLOSE_WAIT}, {SLUICE_FIN_WAIT_1, SLUICE_FIN_WAIT_2},
    {SLUICE_FIN_WAIT_1, SLUICE_CLOSING}, {SLUICE_FIN_WAIT_1, SLUICE_TIME_WAIT},
    {SLUICE_FIN_WAIT_2, SLUICE_TIME_WAIT}, {SLUICE_CLOSING, SLUICE_TIME_WAIT},
    {SLUICE_CLOSE_WAIT, SLUICE_LAST_ACK}, {SLUICE_LAST_ACK, SLUICE_CLOSED},
    {SLUICE_TIME_WAIT, SLUICE_CLOSED}};

static const char *const impair_names[] = {"packets", "lost", "duplicated", "reordered",
    "corrupted", "truncated", "delayed", "dropped by a full queue"};

/* Effects that a run of many seeds must show, by the item of the plan that brings them about. */
static const enum sim_op effects[] = {SIM_CAPS, SIM_TXPART, SIM_RXPART, SIM_DEPTH, SIM_PMTU,
    SIM_BLACKOUT, SIM_LOSEFLAG, SIM_SET, SIM_LIMIT, SIM_FAILNTH, SIM_ADDR, SIM_ROUTE, SIM_UNLISTEN,
    SIM_ICMP, SIM_CALL, SIM_SCRATCH, SIM_SCALL, SIM_CHAIN, SIM_COPY, SIM_EXT, SIM_OOB, SIM_MORE,
    SIM_WPAUSE, SIM_WAITEND, SIM_CLOSE, SIM_ABORT, SIM_TAKE, SIM_CONSUME, SIM_RPAUSE, SIM_NOSPACE,
    SIM_SHUTRD, SIM_PIPE, SIM_EARLYSHUT, SIM_CLOSEAT, SIM_ABORTAT, SIM_REFUSE, SIM_ACCEPTAT,
    SIM_MOVES, SIM_PARKS, SIM_STEER};

static const char *op_name(enum sim_op op)
{
	static char buf[64];
	struct sim_item it = {.op = (uint8_t)op};

	sim_item_text(&it, buf, sizeof(buf));
	buf[strcspn(buf, " ")] = '\0';
	return buf;
}

static int need(const char *what, uint64_t have, uint64_t want)
{
	printf("  %-44s %12lu%s\n", what, (unsigned long)have, have >= want ? "" : "   TOO FEW");
	return have >= want ? 0 : 1;
}

static int bite(const struct sim_sum *s)
{
	int bad = 0;
	char what[96];

	for (unsigned int i = 1; i < 8; i++)
		bad += need(impair_names[i], s->impair[i], i == 5 || i == 7 ? 10 : 100);
	bad += need("retransmission time-outs", s->ctr.tcp_rto, 100);
	bad += need("fast recoveries", s->ctr.tcp_recoveries, 100);
	bad += need("zero windows", s->ctr.tcp_zero_window, 100);
	bad += need("sequence wraps", s->ctr.tcp_seq_wraps, 10);
	for (size_t i = 0; i < sizeof(diagram) / sizeof(diagram[0]); i++) {
		snprintf(what, sizeof(what), "%s -> %s", sluice_state_name(diagram[i].from),
		    sluice_state_name(diagram[i].to));
		bad += need(what, s->edge[diagram[i].from][diagram[i].to], 1);
	}
	for (size_t i = 0; i < sizeof(effects) / sizeof(effects[0]); i++) {
		snprintf(what, sizeof(what), "took effect: %s", op_name(effects[i]));
		bad += need(what, s->done[effects[i]], 1);
	}
	for (unsigned int i = 0; i < SIM_NCHECKS; i++) {
		if (i == SIM_CK_CRASH || i == SIM_CK_PLAN)
			continue;
		snprintf(what, sizeof(what), "check made: %s", sim_check_name((enum sim_check)i));
		bad += need(what, s->ran[i], 100);
	}
	return bad;
}

static void summary(const struct sim_sum *s)
{
	static const char *const docs[SIM_NCHECKS] = {
#define X(ck, name, doc) [SIM_CK_##ck] = doc,
	    SIM_CHECKS(X)
#undef X
	};

	printf("checks made:\n");
	for (unsigned int i = 0; i < SIM_NCHECKS; i++)
		if (s->ran[i] != 0)
			printf("  %-18s %12lu  %s\n", sim_check_name((enum sim_check)i),
			    (unsigned long)s->ran[i], docs[i]);
	printf("  the model doubted %lu times, and left %lu connections to bounds\n",
	    (unsigned long)s->model_doubt, (unsigned long)s->model_loose);
	printf("packets:\n");
	for (unsigned int i = 0; i < 8; i++)
		printf("  %-28s %12lu\n", impair_names[i], (unsigned long)s->impair[i]);
	printf("items of plans, and how often they took effect (where that is counted):\n");
	for (unsigned int i = 0; i < SIM_NOPS; i++)
		if (s->op[i] != 0)
			printf("  %-28s %12lu %12lu\n", op_name((enum sim_op)i),
			    (unsigned long)s->op[i], (unsigned long)s->done[i]);
	printf("edges:\n");
	for (unsigned int x = 0; x < SLUICE_NSTATES; x++)
		for (unsigned int y = 0; y < SLUICE_NSTATES; y++)
			if (s->edge[x][y] != 0)
				printf("  %-14s -> %-14s %12lu\n",
				    sluice_state_name((enum sluice_state)x),
				    sluice_state_name((enum sluice_state)y),
				    (unsigned long)s->edge[x][y]);
	printf("counters:\n");
	for (unsigned int i = 0; i < SLUICE_NCOUNTERS; i++) {
		uint64_t v = ((const uint64_t *)(const void *)&s->ctr)[i];

		if (v != 0)
			printf("  %-28s %12lu  %s\n", sluice_counter_name(i), (unsigned long)v,
			    sluice_counter_doc(i));
	}
}

static void add(struct sim_sum *to, const struct sim_sum *from)
{
	const uint64_t *f = (const uint64_t *)(const void *)from;
	uint64_t *t = (uint64_t *)(void *)to;

	for (size_t i = 0; i < sizeof(*to) / sizeof(uint64_t); i++)
		t[i] += f[i];
}

/* ---- ranges ---- */

#define MOST_FAILURES 64

struct failure {
	uint64_t seed;
	enum sim_check ck;
	char why[256];
};
struct job { /* shared with the process that does it */
	struct sim_sum sum;
	uint64_t next; /* the seed that runs, or the next one */
	uint64_t nfailures;
	struct failure failure[MOST_FAILURES];
	pid_t pid;
};
struct range {
	uint64_t a, b;
	unsigned int jobs, squeues;
	bool progress;
	struct job *job;
	uint32_t *us; /* real time of each seed */
};

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static uint64_t clock_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void note_failure(struct job *j, uint64_t seed, enum sim_check ck, const char *why)
{
	if (j->nfailures < MOST_FAILURES) {
		struct failure *f = &j->failure[j->nfailures];

		f->seed = seed;
		f->ck = ck;
		snprintf(f->why, sizeof(f->why), "%s", why);
	}
	j->nfailures++;
}

static void work(const struct range *r, struct job *j)
{
	static const struct sim_options o;

	for (; j->next <= r->b; j->next += r->jobs) {
		struct sim_plan p = {0};
		uint64_t t = clock_us();
		enum sim_check ck;
		char why[256];

		sim_plan_of_seed(&p, j->next, r->squeues);
		if (sim_run(&p, &o, &j->sum, &ck, why) != 0)
			note_failure(j, j->next, ck, why);
		sim_plan_free(&p);
		r->us[j->next - r->a] = (uint32_t)(clock_us() - t);
	}
}

static void start(const struct range *r, struct job *j)
{
	fflush(NULL);
	j->pid = fork();
	if (j->pid == 0) {
		work(r, j);
		exit(0);
	}
	if (j->pid < 0)
		abort();
}

/* A job has ended: all done, or the seed that it was at has ended it. True: it goes on. */
static bool ended(const struct range *r, struct job *j, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return false;
	note_failure(j, RTE_MIN(j->next, r->b), SIM_CK_CRASH, "it ended by itself, see above");
	j->sum.seeds++;
	j->sum.failed++;
	j->next += r->jobs;
	if (j->next > r->b)
		return false;
	start(r, j);
	return true;
}

static void progress(const struct range *r)
{
	uint64_t done = 0, failed = 0;

	for (unsigned int i = 0; i < r->jobs; i++) {
		done += r->job[i].sum.seeds;
		failed += r->job[i].nfailures;
	}
	fprintf(stderr, "%lu of %lu seeds, %lu failed\n", (unsigned long)done,
	    (unsigned long)(r->b - r->a + 1), (unsigned long)failed);
}

static void run_range(struct range *r)
{
	unsigned int left = r->jobs;
	time_t shown = time(NULL);

	for (unsigned int i = 0; i < r->jobs; i++) {
		r->job[i].next = r->a + i;
		start(r, &r->job[i]);
	}
	while (left > 0) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid == 0) {
			usleep(20000);
		} else if (pid > 0) {
			for (unsigned int i = 0; i < r->jobs; i++)
				if (r->job[i].pid == pid && !ended(r, &r->job[i], status))
					left--;
		} else if (errno != EINTR) {
			break;
		}
		if (r->progress && time(NULL) - shown >= 5) {
			shown = time(NULL);
			progress(r);
		}
	}
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void write_case(const char *dir, const struct failure *f, const struct sim_plan *p)
{
	char path[512];
	FILE *out;

	snprintf(path, sizeof(path), "%s/sim-%lu.case", dir, (unsigned long)f->seed);
	out = fopen(path, "w");
	if (out == NULL) {
		perror(path);
		return;
	}
	fprintf(out, "# seed %lu once failed: %s: %s\n", (unsigned long)f->seed,
	    sim_check_name(f->ck), f->why);
	sim_plan_write(out, p);
	fclose(out);
	printf("  written to %s\n", path);
}

static void shrink(const struct range *r, const struct failure *f, unsigned int ms, const char *dir)
{
	struct sim_plan p = {0};
	struct sim_outcome o;
	unsigned int before, runs;
	struct failure now = *f;

	sim_plan_of_seed(&p, f->seed, r->squeues);
	before = p.n;
	o = sim_try(&p, true);
	if (!o.failed) {
		printf("  seed %lu alone does not fail\n", (unsigned long)f->seed);
		sim_plan_free(&p);
		return;
	}
	now.ck = o.ck;
	snprintf(now.why, sizeof(now.why), "%s", o.why);
	runs = sim_shrink(&p, o.ck, ms);
	printf("  seed %lu: %s: %s: from %u items to %u in %u runs\n", (unsigned long)f->seed,
	    sim_check_name(o.ck), o.why, before, p.n, runs);
	write_case(dir, &now, &p);
	sim_plan_free(&p);
}

static int do_seeds(struct range *r, bool must, bool sums, unsigned int ms, const char *dir)
{
	static struct sim_sum sum;
	uint64_t n = r->b - r->a + 1, shown = 0;
	bool ok;

	r->job = shared(r->jobs * sizeof(*r->job));
	r->us = shared(n * sizeof(*r->us));
	run_range(r);
	for (unsigned int i = 0; i < r->jobs; i++)
		add(&sum, &r->job[i].sum);
	qsort(r->us, n, sizeof(*r->us), by_value);
	printf(
	    "%lu seeds, %lu failed: %lu connections (%lu cut), %lu bytes, %lu passes, %lu s of "
	    "virtual time; processor time of a seed: median %.2f ms, 99 %% %.1f ms, most %.1f ms\n",
	    (unsigned long)sum.seeds, (unsigned long)sum.failed, (unsigned long)sum.conns,
	    (unsigned long)sum.cut, (unsigned long)sum.bytes, (unsigned long)sum.passes,
	    (unsigned long)(sum.virtual_ms / 1000), r->us[n / 2] / 1000.0,
	    r->us[n * 99 / 100] / 1000.0, r->us[n - 1] / 1000.0);
	if (sums)
		summary(&sum);
	for (unsigned int i = 0; i < r->jobs; i++) {
		const struct job *j = &r->job[i];

		for (unsigned int k = 0; k < RTE_MIN(j->nfailures, MOST_FAILURES); k++) {
			printf("seed %lu: %s: %s\n", (unsigned long)j->failure[k].seed,
			    sim_check_name(j->failure[k].ck), j->failure[k].why);
			if (ms > 0 && shown++ < 3)
				shrink(r, &j->failure[k], ms, dir);
		}
	}
	ok = !must || bite(&sum) == 0;
	return ok && sum.failed == 0 && sum.seeds == n ? 0 : 1;
}

/* ---- one plan ---- */

static int do_plan(
    const struct sim_plan *p, const char *name, const struct sim_options *o, bool sums)
{
	static struct sim_sum sum;
	enum sim_check ck;
	char why[256];
	int rc = sim_run(p, o, &sum, &ck, why);

	printf("%s: %s%s%s\n", name, rc == 0 ? "ok" : sim_check_name(ck), rc == 0 ? "" : ": ",
	    rc == 0 ? "" : why);
	if (sums)
		summary(&sum);
	return rc == 0 ? 0 : 1;
}

static int do_cases(char **files, int n, const struct sim_options *o, bool sums)
{
	int bad = n == 0;

	for (int i = 0; i < n; i++) {
		struct sim_plan p = {0};
		FILE *f = fopen(files[i], "r");
		int line = f == NULL ? -1 : sim_plan_read(f, &p);

		if (f == NULL) {
			perror(files[i]);
			bad++;
		} else if (line != 0) {
			printf("%s:%d: not an item\n", files[i], line);
			bad++;
		} else {
			bad += do_plan(&p, files[i], o, sums);
		}
		if (f != NULL)
			fclose(f);
		sim_plan_free(&p);
	}
	return bad != 0;
}

static int do_seed(
    const struct range *r, const struct sim_options *o, bool sums, unsigned int ms, const char *dir)
{
	struct failure f = {.seed = r->a};
	struct sim_plan p = {0};
	char name[32];
	int rc;

	snprintf(name, sizeof(name), "seed %lu", (unsigned long)r->a);
	sim_plan_of_seed(&p, r->a, r->squeues);
	rc = do_plan(&p, name, o, sums);
	sim_plan_free(&p);
	if (rc != 0 && ms > 0)
		shrink(r, &f, ms, dir);
	return rc;
}

enum mode {
	MODE_NONE,
	MODE_SEED,
	MODE_SEEDS,
	MODE_CASE,
	MODE_PLAN,
	MODE_SELFTEST
};

int main(int argc, char **argv)
{
	static const struct option opts[] = {{"seed", 1, NULL, 's'}, {"seeds", 1, NULL, 'r'},
	    {"case", 0, NULL, 'c'}, {"plan", 1, NULL, 'P'}, {"selftest", 0, NULL, 'S'},
	    {"squeues", 1, NULL, 'q'}, {"jobs", 1, NULL, 'j'}, {"verbose", 0, NULL, 'v'},
	    {"must-bite", 0, NULL, 'b'}, {"summary", 0, NULL, 'm'}, {"pcap", 1, NULL, 'p'},
	    {"long", 1, NULL, 'L'}, {"progress", 0, NULL, 'g'}, {"shrink", 1, NULL, 'k'},
	    {"out", 1, NULL, 'o'}, {"help", 0, NULL, 'h'}, {NULL, 0, NULL, 0}};
	struct sim_options o = {0};
	struct range r = {.a = 1, .b = 0, .jobs = 1};
	struct sim_plan p = {0};
	enum mode mode = MODE_NONE;
	unsigned int ms = 20000;
	const char *dir = ".";
	bool must = false, sums = false;
	int c;

	while ((c = getopt_long(argc, argv, "v", opts, NULL)) != -1) {
		switch (c) {
		case 's':
		case 'P':
			mode = c == 's' ? MODE_SEED : MODE_PLAN;
			r.a = r.b = strtoul(optarg, NULL, 10);
			break;
		case 'r':
			mode = sscanf(optarg, "%lu..%lu", &r.a, &r.b) == 2 ? MODE_SEEDS : MODE_NONE;
			break;
		case 'L':
			if (getenv("SLUICE_LONG") != NULL &&
			    sscanf(optarg, "%lu..%lu", &r.a, &r.b) != 2)
				mode = MODE_NONE;
			break;
		case 'c':
			mode = MODE_CASE;
			break;
		case 'S':
			mode = MODE_SELFTEST;
			break;
		case 'q':
			r.squeues = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'j':
			r.jobs = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'v':
			o.verbose = true;
			break;
		case 'b':
			must = true;
			break;
		case 'm':
			sums = true;
			break;
		case 'p':
			o.pcap = optarg;
			break;
		case 'g':
			r.progress = true;
			break;
		case 'k':
			ms = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'o':
			dir = optarg;
			break;
		default:
			fputs(usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 2;
		}
	}
	if (mode == MODE_NONE || r.squeues > SIM_MAX_SQ || r.jobs == 0 || r.jobs > 64 ||
	    (mode == MODE_SEEDS && r.b < r.a)) {
		fputs(usage, stderr);
		return 2;
	}
	switch (mode) {
	case MODE_SEED:
		return do_seed(&r, &o, sums, ms, dir);
	case MODE_SEEDS:
		return do_seeds(&r, must, sums, ms, dir);
	case MODE_CASE:
		return do_cases(argv + optind, argc - optind, &o, sums);
	case MODE_PLAN:
		sim_plan_of_seed(&p, r.a, r.squeues);
		sim_plan_write(stdout, &p);
		sim_plan_free(&p);
		return 0;
	default:
		return sim_selftest();
	}
}
