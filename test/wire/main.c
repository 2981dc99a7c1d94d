/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs wire scripts, each in a process of its own so that a crash or a hang is one script's
 * failure, and reports as TAP. A script that is expected to fail is a TODO of TAP: it must fail,
 * and not before its expect-fail line.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wire.h"

#define SCRIPT_SECONDS 60 /* of real time: no script waits, so only a hang takes so long */

struct list {
	char *path[2048];
	int n;
};

static void usage(FILE *f)
{
	fprintf(f, "Usage: wire [-v] [-l] [-x] [-q N] FILE|FOLDER...\n\n"
		   "  -v  print every packet and event\n"
		   "  -l  list the scripts that are expected to fail, with their reasons, and run "
		   "nothing\n"
		   "  -x  scripts that are wrong: each must fail for the reason that it gives\n"
		   "  -q  the stack has N squeues, 1 to 8, and packets arrive at any of them\n");
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool collect(struct list *l, const char *path)
{
	struct dirent *e;
	struct stat sb;
	DIR *d;
	int first = l->n;

	if (stat(path, &sb) != 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return false;
	}
	if (!S_ISDIR(sb.st_mode)) {
		l->path[l->n++] = strdup(path);
		return true;
	}
	d = opendir(path);
	while (d != NULL && (e = readdir(d)) != NULL && l->n < 2048) {
		size_t len = strlen(e->d_name);

		if (len > 5 && strcmp(e->d_name + len - 5, ".wire") == 0 &&
		    asprintf(&l->path[l->n], "%s/%s", path, e->d_name) > 0)
			l->n++;
	}
	if (d != NULL)
		closedir(d);
	qsort(&l->path[first], (size_t)(l->n - first), sizeof(l->path[0]), by_name);
	return true;
}

static char *read_all(const char *path)
{
	FILE *f = fopen(path, "r");
	char *b = calloc(1, 1 << 18);
	size_t n;

	if (f == NULL || b == NULL) {
		free(b);
		if (f != NULL)
			fclose(f);
		return NULL;
	}
	n = fread(b, 1, (1 << 18) - 1, f);
	fclose(f);
	b[n] = '\0';
	return b;
}

static void comment(const char *text)
{
	printf("# ");
	for (; *text != '\0'; text++) {
		putchar(*text);
		if (*text == '\n')
			printf("# ");
	}
	putchar('\n');
}

enum outcome {
	PASSED,
	FAILED,
	FAILED_AS_EXPECTED,
	TOO_EARLY,
	CRASHED
};

static enum outcome run_one(const struct wire_script *sc, bool ipv6, bool verbose, bool must_fail)
{
	char why[1024] = "";
	int line = 0, status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return CRASHED;
	if (pid == 0) {
		alarm(SCRIPT_SECONDS);
		if (wire_run(sc, ipv6, verbose, why, sizeof(why), &line)) {
			fflush(stdout);
			_exit(must_fail ? FAILED : PASSED);
		}
		comment(why);
		fflush(stdout);
		if (must_fail)
			_exit(sc->reason != NULL && strstr(why, sc->reason) != NULL ? PASSED
										    : FAILED);
		if (sc->reason == NULL)
			_exit(FAILED);
		_exit(line >= sc->fail_line ? FAILED_AS_EXPECTED : TOO_EARLY);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return CRASHED;
	return WIFEXITED(status) && WEXITSTATUS(status) <= TOO_EARLY
		   ? (enum outcome)WEXITSTATUS(status)
		   : CRASHED;
}

int main(int argc, char **argv)
{
	static struct list l;
	bool verbose = false, only_list = false, must_fail = false;
	int opt, row = 0, count[CRASHED + 1] = {0}, bad = 0, expected = 0;

	while ((opt = getopt(argc, argv, "vlxhq:")) != -1) {
		switch (opt) {
		case 'v':
			verbose = true;
			break;
		case 'l':
			only_list = true;
			break;
		case 'x':
			must_fail = true;
			break;
		case 'q':
			wire_squeues = (unsigned int)atoi(optarg);
			if (wire_squeues < 1 || wire_squeues > 8) {
				usage(stderr);
				return 2;
			}
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	for (int i = optind; i < argc; i++)
		if (!collect(&l, argv[i]))
			return 2;
	if (l.n == 0) {
		usage(stderr);
		return 2;
	}
	for (int i = 0; i < l.n; i++) {
		struct wire_script sc;
		char *text = read_all(l.path[i]);

		if (text != NULL && must_fail && !wire_parse(&sc, l.path[i], text)) {
			bool right = sc.reason != NULL && strstr(sc.error, sc.reason) != NULL;

			printf("%sok %d - %s\n", right ? "" : "not ", ++row, l.path[i]);
			comment(sc.error);
			bad += !right;
			wire_script_free(&sc);
			continue;
		}
		if (text == NULL || (!must_fail && !wire_parse(&sc, l.path[i], text))) {
			printf("not ok %d - %s\n", ++row, l.path[i]);
			comment(text == NULL ? "cannot be read" : sc.error);
			bad++;
			continue;
		}
		if (only_list) {
			if (sc.reason != NULL)
				printf("%s: %s\n", sc.path, sc.reason);
			wire_script_free(&sc);
			continue;
		}
		for (int v6 = 0; v6 < 2; v6++) {
			const char *name = strstr(sc.path, "wire/");
			enum outcome o;
			bool todo;

			if (!(v6 ? sc.ip6 : sc.ip4) ||
			    (sc.squeues != 0 && wire_squeues > sc.squeues))
				continue;
			if (must_fail)
				sc.fail_line = 0;
			o = run_one(&sc, v6 != 0, verbose, must_fail);
			count[o]++;
			todo = sc.reason != NULL && !must_fail;
			expected += todo;
			if (o == CRASHED)
				comment("the script's process died");
			if (o == TOO_EARLY)
				comment("it failed before its expect-fail line");
			if (o == PASSED && todo)
				comment("it passed: take the expect-fail line out");
			if (o == FAILED && must_fail)
				comment("it passed, or failed with another text than it says");
			bad +=
			    o == FAILED || o == TOO_EARLY || o == CRASHED || (o == PASSED && todo);
			todo = todo && (o == PASSED || o == FAILED_AS_EXPECTED);
			printf("%sok %d - %s %s: %s%s%s\n", o == PASSED ? "" : "not ", ++row,
			    name != NULL ? name + 5 : sc.path, v6 ? "ipv6" : "ipv4", sc.title,
			    todo ? " # TODO " : "", todo ? sc.reason : "");
		}
		wire_script_free(&sc);
	}
	if (only_list)
		return bad > 0;
	printf("# %d passed, %d failed as expected of %d, %d bad\n1..%d\n", count[PASSED],
	    count[FAILED_AS_EXPECTED], expected, bad, row);
	for (int i = 0; i < l.n; i++)
		free(l.path[i]);
	return bad > 0;
}
