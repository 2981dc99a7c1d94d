/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stacks of this process in DPDK's telemetry (dpdk-telemetry.py), which calls from a thread of
 * its own: all that is read here may be read by any thread, and a lock keeps a stack from going
 * while it is.
 *
 *	/sluice/stacks              names
 *	/sluice/counters,STACK      those that are not 0
 *	/sluice/tunables,STACK
 *	/sluice/squeue,STACK,N      work and cycles of each stage of a squeue, entries per tag
 */
#include "app.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <rte_telemetry.h>

#define MAX_STACKS 4

/* rte_telemetry's callbacks have no argument, and cannot be taken back. */
static struct sluice_stack *stacks[MAX_STACKS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The stack that the parameters name (none: the first), and what follows its name. */
static struct sluice_stack *named(const char *params, const char **rest)
{
	size_t n = params != NULL ? strcspn(params, ",") : 0;

	if (rest != NULL)
		*rest = params != NULL && params[n] == ',' ? params + n + 1 : "0";
	for (unsigned int i = 0; i < MAX_STACKS; i++) {
		const char *name = stacks[i] != NULL ? sluice_stack_name(stacks[i]) : NULL;

		if (name != NULL &&
		    (n == 0 || (strlen(name) == n && strncmp(name, params, n) == 0)))
			return stacks[i];
	}
	return NULL;
}

static int list_stacks(struct rte_tel_data *d)
{
	rte_tel_data_start_array(d, RTE_TEL_STRING_VAL);
	for (unsigned int i = 0; i < MAX_STACKS; i++)
		if (stacks[i] != NULL)
			rte_tel_data_add_array_string(d, sluice_stack_name(stacks[i]));
	return 0;
}

static int list_counters(struct sluice_stack *st, struct rte_tel_data *d)
{
	struct sluice_counters c;

	sluice_counters_sum(st, &c);
	rte_tel_data_start_dict(d);
	for (unsigned int i = 0; i < SLUICE_NCOUNTERS; i++)
		if (((const uint64_t *)&c)[i] != 0)
			rte_tel_data_add_dict_u64(
			    d, sluice_counter_name(i), ((const uint64_t *)&c)[i]);
	return 0;
}

/* Telemetry's names are letters, digits, '_' and '/'. */
static void tel_name(char *to, size_t len, const char *prefix, const char *name)
{
	snprintf(to, len, "%s%s", prefix, name);
	for (; *to != '\0'; to++)
		if (*to == '.' || *to == '-' || *to == ' ')
			*to = '_';
}

static int list_tunables(struct sluice_stack *st, struct rte_tel_data *d)
{
	const struct sluice_tunable_info *t;
	char name[RTE_TEL_MAX_STRING_LEN];
	uint64_t v;

	rte_tel_data_start_dict(d);
	for (unsigned int i = 0; (t = sluice_tunable_info(i)) != NULL; i++)
		if (sluice_tunable_get(st, t->name, &v) == 0) {
			tel_name(name, sizeof(name), "", t->name);
			rte_tel_data_add_dict_u64(d, name, v);
		}
	return 0;
}

static int list_squeue(struct sluice_stack *st, const char *number, struct rte_tel_data *d)
{
	char *end, name[RTE_TEL_MAX_STRING_LEN];
	unsigned long k = strtoul(number, &end, 10);
	struct sluice_squeue *sq = k < 256 ? sluice_squeue(st, (unsigned int)k) : NULL;
	struct sluice_squeue_stats s = {.size = sizeof(s)};

	if (sq == NULL || *end != '\0')
		return -EINVAL;
	sluice_squeue_stats(sq, &s);
	rte_tel_data_start_dict(d);
	rte_tel_data_add_dict_u64(d, "busy_cycles", s.busy_cycles);
	rte_tel_data_add_dict_u64(d, "idle_cycles", s.idle_cycles);
	for (unsigned int i = 0; i < SLUICE_NSTAGES; i++) {
		tel_name(name, sizeof(name), "items_", sluice_stage_name((enum sluice_stage)i));
		rte_tel_data_add_dict_u64(d, name, s.stage_items[i]);
		tel_name(name, sizeof(name), "cycles_", sluice_stage_name((enum sluice_stage)i));
		rte_tel_data_add_dict_u64(d, name, s.stage_cycles[i]);
	}
	for (unsigned int i = 0; i < sizeof(s.tag_count) / sizeof(s.tag_count[0]); i++)
		if (s.tag_count[i] != 0 && sluice_tag_name(st, i) != NULL) {
			tel_name(name, sizeof(name), "entries_", sluice_tag_name(st, i));
			rte_tel_data_add_dict_u64(d, name, s.tag_count[i]);
		}
	return 0;
}

static int on_command(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct sluice_stack *st;
	const char *rest;
	int rc = -EINVAL;

	pthread_mutex_lock(&lock);
	st = named(params, &rest);
	if (strcmp(cmd, "/sluice/stacks") == 0)
		rc = list_stacks(d);
	else if (st == NULL)
		rc = -ENOENT;
	else if (strcmp(cmd, "/sluice/counters") == 0)
		rc = list_counters(st, d);
	else if (strcmp(cmd, "/sluice/tunables") == 0)
		rc = list_tunables(st, d);
	else
		rc = list_squeue(st, rest, d);
	pthread_mutex_unlock(&lock);
	return rc;
}

static void register_commands(void)
{
	static const char *const command[][2] = {
	    {"/sluice/stacks", "Names of the stacks of this process. No parameters."},
	    {"/sluice/counters", "Counters of a stack that are not 0. Parameter: its name."},
	    {"/sluice/tunables", "Tunables of a stack. Parameter: its name."},
	    {"/sluice/squeue", "Stages and entries of a squeue. Parameters: stack, number."}};

	for (unsigned int i = 0; i < sizeof(command) / sizeof(command[0]); i++)
		if (rte_telemetry_register_cmd(command[i][0], on_command, command[i][1]) != 0)
			app_err("no telemetry: %s", command[i][0]);
}

void app_telemetry_add(struct sluice_stack *st)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, register_commands);
	pthread_mutex_lock(&lock);
	for (unsigned int i = 0; i < MAX_STACKS; i++)
		if (stacks[i] == NULL) {
			stacks[i] = st;
			break;
		}
	pthread_mutex_unlock(&lock);
}

void app_telemetry_remove(const struct sluice_stack *st)
{
	pthread_mutex_lock(&lock);
	for (unsigned int i = 0; i < MAX_STACKS; i++)
		if (stacks[i] == st)
			stacks[i] = NULL;
	pthread_mutex_unlock(&lock);
}
