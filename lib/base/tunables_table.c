/* SPDX-License-Identifier: BSD-3-Clause */
/* Rows, defaults and the parser of the tunables, made from the table in the public header. */
#include <sluice/tunables.h>

#include <errno.h>
#include <string.h>

static const struct sluice_tunable_info rows[] = {
#define X(field, name, scope, unit, min, max, def, doc) {name, unit, doc, min, max, def, #scope[0]},
    SLUICE_TUNABLES(X)
#undef X
};
_Static_assert(sizeof(rows) / sizeof(rows[0]) == SLUICE_NTUNABLES, "a row per tunable");

/* Words and suffixes hold for one unit; unit NULL: for every unit that has no suffixes of its own.
 */
struct word {
	const char *unit, *text;
	uint64_t value;
};

static const struct word words[] = {
    {"bool", "on", 1},
    {"bool", "off", 0},
    {"bool", "yes", 1},
    {"bool", "no", 0},
    {"bool", "true", 1},
    {"bool", "false", 0},
    {"algorithm", "newreno", 0},
    {"algorithm", "cubic", 1},
};

static const struct word suffixes[] = {
    {"ns", "ns", 1},
    {"ns", "us", 1000},
    {"ns", "ms", 1000000},
    {"ns", "s", 1000000000},
    {"ns", "min", 60000000000},
    {NULL, "k", 1ull << 10},
    {NULL, "m", 1ull << 20},
    {NULL, "g", 1ull << 30},
};

#define NELEM(a) (sizeof(a) / sizeof((a)[0]))

const struct sluice_tunable_info *sluice_tunable_info(unsigned int i)
{
	return i < SLUICE_NTUNABLES ? &rows[i] : NULL;
}

int sluice_tunable_find(const char *name)
{
	if (name == NULL)
		return -ENOENT;
	for (unsigned int i = 0; i < SLUICE_NTUNABLES; i++)
		if (strcmp(rows[i].name, name) == 0)
			return (int)i;
	return -ENOENT;
}

void sluice_tunables_default(struct sluice_tunables *t)
{
#define X(field, name, scope, unit, min, max, def, doc) t->field = def;
	SLUICE_TUNABLES(X)
#undef X
}

/* What a suffix multiplies by; 0 when the unit has no such suffix. */
static uint64_t suffix_factor(const char *unit, const char *text)
{
	bool is_time = strcmp(unit, "ns") == 0;

	if (*text == '\0')
		return 1;
	if (strcmp(unit, "bool") == 0 || strcmp(unit, "algorithm") == 0)
		return 0;
	for (size_t i = 0; i < NELEM(suffixes); i++)
		if ((suffixes[i].unit != NULL) == is_time && strcmp(suffixes[i].text, text) == 0)
			return suffixes[i].value;
	return 0;
}

/* Digits and a suffix: no sign, no blanks, no fraction. */
static int parse_number(const char *unit, const char *text, uint64_t *value)
{
	const char *p = text;
	bool over = false;
	uint64_t v = 0, factor;

	for (; *p >= '0' && *p <= '9'; p++)
		over |= __builtin_mul_overflow(v, 10, &v) ||
			__builtin_add_overflow(v, (uint64_t)(*p - '0'), &v);
	if (p == text)
		return -EINVAL;
	factor = suffix_factor(unit, p);
	if (factor == 0)
		return -EINVAL;
	if (over || __builtin_mul_overflow(v, factor, &v))
		return -ERANGE;
	*value = v;
	return 0;
}

int sluice_tunable_parse(unsigned int i, const char *text, uint64_t *value)
{
	uint64_t v;
	int rc;

	if (i >= SLUICE_NTUNABLES)
		return -ENOENT;
	if (text == NULL || value == NULL)
		return -EINVAL;
	for (size_t w = 0; w < NELEM(words); w++)
		if (strcmp(words[w].unit, rows[i].unit) == 0 && strcmp(words[w].text, text) == 0) {
			*value = words[w].value;
			return 0;
		}
	rc = parse_number(rows[i].unit, text, &v);
	if (rc != 0)
		return rc;
	if (v < rows[i].min || v > rows[i].max)
		return -ERANGE;
	*value = v;
	return 0;
}
