/* SPDX-License-Identifier: BSD-3-Clause */
/* What main.c (start) and control.c (the control thread) share: the program as a whole. */
#ifndef PROXY_CONTROL_H
#define PROXY_CONTROL_H

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "proxy.h"
#include "../common/options.h"

#define MAX_PORTS 2

struct options {
	struct app_options app;
	const char *log;
	uint64_t port_id[MAX_PORTS];
	unsigned int nports;
	uint64_t rx_mbufs;
};

/** What the control thread wants of a squeue. */
enum op {
	OP_CHANGE,
	OP_DRAIN,
	OP_STOP,
	OP_DUMP,
	OP_SET,
	NOPS
};

struct program {
	struct options o;
	struct app_stack stack;
	struct proxy_group proxy;
	int tag[NOPS];
	int good;  /* memory file with the configuration that holds, -1: none */
	FILE *log; /* NULL: none */
	int rc;
	struct app_mirror mirror;
	pthread_mutex_t lock; /* of what follows, against the telemetry's threads */
	bool serves;          /* the squeues run, and will until this is false */
};

/** Register the operations, before the first pass. 0 or -errno. */
int control_register(struct program *g);
/** The thread; its argument is the program. It sets app_stop at its end, and g->rc. */
void *control(void *g);
/** From here on nothing but the control thread and main may call the squeues. */
void control_ends(struct program *g);
/** Signals that are the control thread's. */
void control_signals(sigset_t *set);
/** Counters that are not 0, and listeners and backends (while the squeues run). */
void print_counters(struct program *g, bool with_dump);

#endif
