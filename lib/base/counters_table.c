/* SPDX-License-Identifier: BSD-3-Clause */
/* Names and documentation of the counters, made from the table in the public header. */
#include <sluice/counters.h>

static const struct {
	const char *name, *doc;
} rows[] = {
#define X(name, doc) {#name, doc},
    SLUICE_COUNTERS(X)
#undef X
};
_Static_assert(sizeof(rows) / sizeof(rows[0]) == SLUICE_NCOUNTERS, "a row per counter");

const char *sluice_counter_name(unsigned int i)
{
	return i < SLUICE_NCOUNTERS ? rows[i].name : NULL;
}

const char *sluice_counter_doc(unsigned int i)
{
	return i < SLUICE_NCOUNTERS ? rows[i].doc : NULL;
}
