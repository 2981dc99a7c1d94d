/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plans as text, one item a line:
 *
 *	tun 0 tcp.sack 0
 *	link 0 0 1
 *	conn 0 0 0 0 0
 *	chain 0 0 5000
 *	lose 0 0 7
 *	blackout 20ms 0 1 500ms
 *
 * `#` begins a comment. The table SIM_OPS says what the words mean.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static const struct {
	const char *name, *args;
} ops[SIM_NOPS] = {
#define X(op, name, args) [SIM_##op] = {name, args},
    SIM_OPS(X)
#undef X
};

static const struct {
	const char *name;
	uint64_t ns;
} units[] = {{"s", SLUICE_SEC(1)}, {"ms", SLUICE_MS(1)}, {"us", 1000}, {"ns", 1}};

void sim_plan_add(
    struct sim_plan *p, enum sim_op op, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e)
{
	if (p->n == p->cap) {
		p->cap = p->cap == 0 ? 128 : p->cap * 2;
		p->v = realloc(p->v, p->cap * sizeof(p->v[0]));
		if (p->v == NULL)
			abort();
	}
	p->v[p->n++] = (struct sim_item){.op = (uint8_t)op, .a = {a, b, c, d, e}};
}

void sim_plan_free(struct sim_plan *p)
{
	free(p->v);
	*p = (struct sim_plan){0};
}

struct sim_plan sim_plan_copy(const struct sim_plan *p)
{
	struct sim_plan q = {.v = malloc((p->n + 1) * sizeof(p->v[0])), .n = p->n, .cap = p->n + 1};

	if (q.v == NULL)
		abort();
	memcpy(q.v, p->v, p->n * sizeof(p->v[0]));
	return q;
}

unsigned int sim_item_args(enum sim_op op)
{
	return (unsigned int)strlen(ops[op].args);
}

char sim_item_kind(enum sim_op op, unsigned int arg)
{
	return ops[op].args[arg];
}

/* ---- out ---- */

static int put_time(char *buf, size_t len, uint64_t ns)
{
	unsigned int u = 0;

	while (ns % units[u].ns != 0)
		u++;
	return snprintf(buf, len, " %lu%s", (unsigned long)(ns / units[u].ns), units[u].name);
}

void sim_item_text(const struct sim_item *it, char *buf, size_t len)
{
	size_t n = (size_t)snprintf(buf, len, "%s", ops[it->op].name);

	for (unsigned int i = 0; ops[it->op].args[i] != '\0' && n < len; i++) {
		char kind = ops[it->op].args[i];

		if (kind == 't')
			n += (size_t)put_time(buf + n, len - n, (uint64_t)it->a[i]);
		else if (kind == 'k')
			n += (size_t)snprintf(buf + n, len - n, " %s",
			    sluice_tunable_info((unsigned int)it->a[i])->name);
		else
			n += (size_t)snprintf(buf + n, len - n, " %ld", (long)it->a[i]);
	}
}

void sim_plan_write(FILE *f, const struct sim_plan *p)
{
	char line[128];

	for (unsigned int i = 0; i < p->n; i++) {
		sim_item_text(&p->v[i], line, sizeof(line));
		fprintf(f, "%s\n", line);
	}
}

/* ---- in ---- */

static bool number(const char *w, char kind, int64_t *v)
{
	char *end;
	int i;

	if (kind == 'k') {
		i = sluice_tunable_find(w);
		*v = i;
		return i >= 0;
	}
	*v = strtoll(w, &end, 10);
	if (end == w || *v < 0)
		return false;
	if (kind != 't')
		return *end == '\0';
	for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
		if (strcmp(end, units[u].name) == 0) {
			*v *= (int64_t)units[u].ns;
			return true;
		}
	}
	return false;
}

static bool read_line(char *line, struct sim_plan *p)
{
	int64_t a[SIM_ARGS] = {0};
	char *save = NULL, *w, *hash = strchr(line, '#');
	unsigned int op = 0, n = 0;

	if (hash != NULL)
		*hash = '\0';
	w = strtok_r(line, " \t\r\n", &save);
	if (w == NULL)
		return true;
	while (op < SIM_NOPS && strcmp(w, ops[op].name) != 0)
		op++;
	if (op == SIM_NOPS)
		return false;
	while ((w = strtok_r(NULL, " \t\r\n", &save)) != NULL) {
		if (ops[op].args[n] == '\0' || !number(w, ops[op].args[n], &a[n]))
			return false;
		n++;
	}
	if (ops[op].args[n] != '\0')
		return false;
	sim_plan_add(p, (enum sim_op)op, a[0], a[1], a[2], a[3], a[4]);
	return true;
}

int sim_plan_read(FILE *f, struct sim_plan *p)
{
	char line[256];

	for (int n = 1; fgets(line, sizeof(line), f) != NULL; n++)
		if (!read_line(line, p))
			return n;
	return 0;
}
