/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a plan that fails to a small one that fails by the same check. First chance is taken out:
 * one run notes what became of each packet, and the notes take the place of the probabilities. Then
 * items go, in halves, quarters and so on down to one (Zeller's ddmin, without complements); then
 * numbers become smaller; then all again until nothing changes. Each try is a process: a plan may
 * crash it.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

static uint64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The line of a crash's output that says most. */
static void crash_line(FILE *f, char *why, size_t len)
{
	static const char *const marks[] = {"check failed", "ERROR: AddressSanitizer",
	    "runtime error", "ERROR: LeakSanitizer", "put back wrong"};
	char line[512];

	rewind(f);
	snprintf(why, len, "it ended by itself");
	while (fgets(line, sizeof(line), f) != NULL)
		for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
			if (strstr(line, marks[i]) != NULL) {
				line[strcspn(line, "\n")] = '\0';
				snprintf(why, len, "%.200s", line);
				return;
			}
}

/* Runs in a child; with `record` the fates of packets go to that file. */
static void child(const struct sim_plan *p, struct sim_outcome *out, FILE *record, FILE *err)
{
	static struct sim_sum sum;
	struct sim_plan notes = {0};
	struct sim_options o = {.record = record != NULL ? &notes : NULL};

	if (err != NULL) {
		(void)dup2(fileno(err), 1);
		(void)dup2(fileno(err), 2);
	}
	alarm(60);
	out->failed = sim_run(p, &o, &sum, &out->ck, out->why) != 0;
	if (record != NULL) {
		sim_plan_write(record, &notes);
		fflush(record);
	}
	_exit(0);
}

static struct sim_outcome try_with(const struct sim_plan *p, FILE *record, bool quiet)
{
	struct sim_outcome *out = mmap(NULL, sizeof(*out), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0),
			   r;
	FILE *err = quiet ? tmpfile() : NULL;
	int status = 0;
	pid_t pid;

	if (out == MAP_FAILED)
		abort();
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		child(p, out, record, err);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		abort();
	r = *out;
	munmap(out, sizeof(*out));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		r.failed = true;
		r.ck = SIM_CK_CRASH;
		snprintf(r.why, sizeof(r.why), "it ended by itself");
		if (err != NULL)
			crash_line(err, r.why, sizeof(r.why));
	}
	if (err != NULL)
		fclose(err);
	return r;
}

struct sim_outcome sim_try(const struct sim_plan *p, bool quiet)
{
	return try_with(p, NULL, quiet);
}

/* ---- the search ---- */

struct shrink {
	struct sim_plan *p; /* the smallest that fails */
	enum sim_check ck;
	uint64_t until;
	unsigned int runs;
};

static bool fails(struct shrink *s, const struct sim_plan *p, FILE *record)
{
	struct sim_outcome r = try_with(p, record, true);

	s->runs++;
	return r.failed && r.ck == s->ck;
}

static void take(struct shrink *s, struct sim_plan *p)
{
	sim_plan_free(s->p);
	*s->p = *p;
}

static bool is_chance(unsigned int op)
{
	return op >= SIM_NOISE && op <= SIM_NTH && op != SIM_DELAY && op != SIM_QUEUE;
}

static void without_chance(struct shrink *s)
{
	FILE *f = tmpfile();
	struct sim_plan p = {0};

	if (f == NULL || !fails(s, s->p, f)) {
		if (f != NULL)
			fclose(f);
		return;
	}
	for (unsigned int i = 0; i < s->p->n; i++) {
		const struct sim_item *it = &s->p->v[i];

		if (!is_chance(it->op))
			sim_plan_add(&p, (enum sim_op)it->op, it->a[0], it->a[1], it->a[2],
			    it->a[3], it->a[4]);
	}
	rewind(f);
	if (sim_plan_read(f, &p) == 0 && fails(s, &p, NULL))
		take(s, &p);
	else
		sim_plan_free(&p);
	fclose(f);
}

/* One item in its place less: items [at, at + n). */
static struct sim_plan less(const struct sim_plan *p, unsigned int at, unsigned int n)
{
	struct sim_plan q = sim_plan_copy(p);

	memmove(&q.v[at], &q.v[at + n], (q.n - at - n) * sizeof(q.v[0]));
	q.n -= n;
	return q;
}

static bool fewer_items(struct shrink *s)
{
	bool any = false;

	for (unsigned int size = (s->p->n + 1) / 2; size > 0; size /= 2) {
		for (unsigned int at = 0; at < s->p->n && clock_ms() < s->until;) {
			unsigned int n = RTE_MIN(size, s->p->n - at);
			struct sim_plan q = less(s->p, at, n);

			if (fails(s, &q, NULL)) {
				take(s, &q);
				any = true;
			} else {
				sim_plan_free(&q);
				at += n;
			}
		}
	}
	return any;
}

static bool with_value(struct shrink *s, unsigned int i, unsigned int k, int64_t v)
{
	struct sim_plan q = sim_plan_copy(s->p);

	q.v[i].a[k] = v;
	if (fails(s, &q, NULL)) {
		take(s, &q);
		return true;
	}
	sim_plan_free(&q);
	return false;
}

static bool smaller_numbers(struct shrink *s)
{
	bool any = false;

	for (unsigned int i = 0; i < s->p->n; i++) {
		enum sim_op op = (enum sim_op)s->p->v[i].op; /* the plan itself is replaced */

		for (unsigned int k = 0; k < sim_item_args(op); k++) {
			char kind = sim_item_kind(op, k);

			if ((kind != 'n' && kind != 't') || (k == 0 && kind == 'n') ||
			    op == SIM_RATE) /* a link of one bit a second is no case */
				continue;
			if (s->p->v[i].a[k] > 1 && with_value(s, i, k, 1))
				any = true;
			while (s->p->v[i].a[k] > 3 && clock_ms() < s->until &&
			       with_value(s, i, k, s->p->v[i].a[k] / 2))
				any = true;
		}
	}
	return any;
}

unsigned int sim_shrink(struct sim_plan *p, enum sim_check ck, unsigned int ms)
{
	struct shrink s = {.p = p, .ck = ck, .until = clock_ms() + ms};

	without_chance(&s);
	while (clock_ms() < s.until) {
		bool any = fewer_items(&s);

		any |= smaller_numbers(&s);
		if (!any)
			break;
	}
	return s.runs;
}
