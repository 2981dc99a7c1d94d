/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fuzz target as an ordinary test: every file of a corpus folder, then `runs` inputs made from a
 * seed, some at random and some by changing a corpus file. Input number i depends on nothing but
 * seed, i and the corpus, so a failure is run again with --from i --runs 1.
 *
 *	replay_x [--runs n] [--from i] [--seed s] [--save file] [--must-reach] [folder | file]...
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

#define MAX_BYTES 4096
#define MAX_FILES 512

struct input {
	char path[512];
	uint8_t *data;
	size_t size;
};

struct replay {
	struct input files[MAX_FILES];
	unsigned int nfiles;
	uint64_t seed, from, runs;
	const char *save;
	bool must_reach;
};

static uint64_t next(uint64_t *s)
{
	uint64_t z = (*s += 0x9e3779b97f4a7c15u);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static int add_file(struct replay *r, const char *path)
{
	struct input *in = &r->files[r->nfiles];
	FILE *f;

	if (r->nfiles == MAX_FILES || (f = fopen(path, "rb")) == NULL)
		return -1;
	in->data = malloc(MAX_BYTES);
	if (in->data == NULL) {
		fclose(f);
		return -1;
	}
	in->size = fread(in->data, 1, MAX_BYTES, f);
	snprintf(in->path, sizeof(in->path), "%s", path);
	fclose(f);
	r->nfiles++;
	return 0;
}

/* Files in the order of their names: readdir has none, and the numbers of inputs hang on it. */
static int add_path(struct replay *r, const char *path)
{
	struct dirent **list;
	struct stat sb;
	char sub[512];
	int n, rc = 0;

	if (stat(path, &sb) != 0)
		return -1;
	if (!S_ISDIR(sb.st_mode))
		return add_file(r, path);
	n = scandir(path, &list, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		if (list[i]->d_name[0] != '.' && rc == 0) {
			snprintf(sub, sizeof(sub), "%s/%s", path, list[i]->d_name);
			rc = add_file(r, sub);
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	return n < 0 ? -1 : rc;
}

static size_t change(const struct replay *r, uint64_t *s, uint8_t *out)
{
	const struct input *in = &r->files[next(s) % r->nfiles];
	size_t size = in->size, k = 1 + next(s) % 8;

	memcpy(out, in->data, size);
	for (; k > 0 && size > 0; k--) {
		size_t at = next(s) % size, n = 1 + next(s) % 16, to = next(s) % size;

		switch (next(s) % 5) {
		case 0:
			out[at] ^= (uint8_t)(1u << next(s) % 8);
			break;
		case 1:
			out[at] = (uint8_t)next(s);
			break;
		case 2: /* a piece again at another place */
			if (at + n <= size && to + n <= size)
				memmove(out + to, out + at, n);
			break;
		case 3: /* without a piece */
			if (at + n <= size) {
				memmove(out + at, out + at + n, size - at - n);
				size -= n;
			}
			break;
		default: /* a piece more */
			if (size + n <= MAX_BYTES) {
				memmove(out + at + n, out + at, size - at);
				for (size_t i = 0; i < n; i++)
					out[at + i] = (uint8_t)next(s);
				size += n;
			}
			break;
		}
	}
	return size;
}

static size_t make(const struct replay *r, uint64_t i, uint8_t *out)
{
	uint64_t s = r->seed * 0x100000001b3u + i;
	size_t size;

	if (r->nfiles > 0 && next(&s) % 2 == 0)
		return change(r, &s, out);
	size = next(&s) % (next(&s) % 4 == 0 ? 2048 : 256);
	for (size_t k = 0; k < size; k++)
		out[k] = (uint8_t)next(&s);
	return size;
}

/* A copy of exactly this size, so that reading past it is seen. */
static void run(const struct replay *r, const uint8_t *data, size_t size)
{
	uint8_t *p = malloc(size > 0 ? size : 1);

	if (p == NULL)
		abort();
	memcpy(p, data, size);
	if (r->save != NULL) {
		FILE *f = fopen(r->save, "wb");

		if (f != NULL) {
			fwrite(p, 1, size, f);
			fclose(f);
		}
	}
	LLVMFuzzerTestOneInput(p, size);
	free(p);
}

int main(int argc, char **argv)
{
	static struct replay r = {.seed = 1};
	static uint8_t buf[MAX_BYTES];
	bool reached;

	for (int i = 1; i < argc; i++) {
		bool more = i + 1 < argc;

		if (more && strcmp(argv[i], "--runs") == 0) {
			r.runs = strtoull(argv[++i], NULL, 0);
		} else if (more && strcmp(argv[i], "--from") == 0) {
			r.from = strtoull(argv[++i], NULL, 0);
		} else if (more && strcmp(argv[i], "--seed") == 0) {
			r.seed = strtoull(argv[++i], NULL, 0);
		} else if (more && strcmp(argv[i], "--save") == 0) {
			r.save = argv[++i];
		} else if (strcmp(argv[i], "--must-reach") == 0) {
			r.must_reach = true;
		} else if (add_path(&r, argv[i]) != 0) {
			fprintf(stderr, "%s: cannot read\n", argv[i]);
			return 2;
		}
	}
	if (r.from == 0)
		for (unsigned int i = 0; i < r.nfiles; i++)
			run(&r, r.files[i].data, r.files[i].size);
	for (uint64_t i = r.from; i < r.from + r.runs; i++) {
		fuzz_input_number = i;
		run(&r, buf, make(&r, i, buf));
	}
	printf("%u files, %llu made inputs\n", r.nfiles, (unsigned long long)r.runs);
	reached = fuzz_report();
	for (unsigned int i = 0; i < r.nfiles; i++)
		free(r.files[i].data);
	if (r.must_reach && !reached) {
		fprintf(stderr, "the corpus does not reach all that it must\n");
		return 1;
	}
	return 0;
}
