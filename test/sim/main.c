/* SPDX-License-Identifier: BSD-3-Clause */
/* sim: runs seeds, sums what they exercised, and says whether the sum bit. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim.h"

static const char usage[] =
    "sim --seed N | --seeds A..B   run one seed, or a range\n"
    "  --squeues N    squeues per stack (default: 1 on even seeds, 2 on odd ones)\n"
    "  --jobs J       processes (default 1)\n"
    "  --verbose      the stacks' log, and the sum of counters\n"
    "  --must-bite    fail unless the sum shows every impairment, edge and recovery (1,000 seeds "
    "do)\n"
    "A failing seed prints its reason; `sim --seed N` replays it.\n";

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

static int need(const char *what, uint64_t have, uint64_t want)
{
	printf("  %-44s %12lu%s\n", what, (unsigned long)have, have >= want ? "" : "   TOO FEW");
	return have >= want ? 0 : 1;
}

static int bite(const struct sim_sum *s)
{
	int bad = 0;

	bad += need("packets lost by the link", s->impair.lost, 100);
	bad += need("packets duplicated", s->impair.duplicated, 100);
	bad += need("packets reordered", s->impair.reordered, 100);
	bad += need("packets corrupted", s->impair.corrupted, 100);
	bad += need("packets truncated", s->impair.truncated, 10);
	bad += need("packets dropped by a full queue", s->impair.queue_drops, 10);
	bad += need("retransmission time-outs", s->ctr.tcp_rto, 100);
	bad += need("fast recoveries", s->ctr.tcp_recoveries, 100);
	bad += need("zero windows", s->ctr.tcp_zero_window, 100);
	bad += need("sequence wraps", s->ctr.tcp_seq_wraps, 10);
	for (size_t i = 0; i < sizeof(diagram) / sizeof(diagram[0]); i++) {
		char what[64];

		snprintf(what, sizeof(what), "%s -> %s", sluice_state_name(diagram[i].from),
		    sluice_state_name(diagram[i].to));
		bad += need(what, s->edge[diagram[i].from][diagram[i].to], 1);
	}
	return bad;
}

static void add(struct sim_sum *to, const struct sim_sum *from)
{
	const uint64_t *f = (const uint64_t *)(const void *)from;
	uint64_t *t = (uint64_t *)(void *)to;

	for (size_t i = 0; i < sizeof(*to) / sizeof(uint64_t); i++)
		t[i] += f[i];
}

static void run_range(
    uint64_t a, uint64_t b, uint64_t step, const struct sim_options *o, struct sim_sum *sum)
{
	for (uint64_t seed = a; seed <= b; seed += step)
		(void)sim_run(seed, o, sum);
}

static bool run_jobs(
    uint64_t a, uint64_t b, unsigned int jobs, const struct sim_options *o, struct sim_sum *sum)
{
	struct sim_sum *part = mmap(
	    NULL, jobs * sizeof(*part), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool ok = true;

	if (part == MAP_FAILED)
		return false;
	for (unsigned int j = 0; j < jobs; j++) {
		pid_t pid = fork();

		if (pid == 0) {
			run_range(a + j, b, jobs, o, &part[j]);
			exit(0);
		}
	}
	for (unsigned int j = 0; j < jobs; j++) {
		int status;

		if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
			ok = false; /* a crash, or a sanitizer's report */
	}
	for (unsigned int j = 0; j < jobs; j++)
		add(sum, &part[j]);
	munmap(part, jobs * sizeof(*part));
	return ok;
}

static void print_counters(const struct sim_sum *s)
{
	for (unsigned int i = 0; i < SLUICE_NCOUNTERS; i++) {
		uint64_t v = ((const uint64_t *)(const void *)&s->ctr)[i];

		if (v != 0)
			printf("  %-28s %12lu  %s\n", sluice_counter_name(i), (unsigned long)v,
			    sluice_counter_doc(i));
	}
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {{"seed", 1, NULL, 's'}, {"seeds", 1, NULL, 'r'},
	    {"squeues", 1, NULL, 'q'}, {"jobs", 1, NULL, 'j'}, {"verbose", 0, NULL, 'v'},
	    {"must-bite", 0, NULL, 'b'}, {"help", 0, NULL, 'h'}, {NULL, 0, NULL, 0}};
	struct sim_options o = {0};
	static struct sim_sum sum;
	unsigned long a = 1, b = 0;
	unsigned int jobs = 1;
	bool must = false, ok;
	int c;

	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		switch (c) {
		case 's':
			a = b = strtoul(optarg, NULL, 10);
			break;
		case 'r':
			if (sscanf(optarg, "%lu..%lu", &a, &b) != 2) {
				fputs(usage, stderr);
				return 2;
			}
			break;
		case 'q':
			o.squeues = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'j':
			jobs = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'v':
			o.verbose = true;
			break;
		case 'b':
			must = true;
			break;
		default:
			fputs(usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 2;
		}
	}
	if (b < a || o.squeues > SIM_MAX_SQ || jobs == 0 || jobs > 64) {
		fputs(usage, stderr);
		return 2;
	}
	ok = run_jobs(a, b, jobs, &o, &sum);
	printf("%lu seeds, %lu failed: %lu connections, %lu bytes, %lu s of virtual time\n",
	    (unsigned long)sum.seeds, (unsigned long)sum.failed, (unsigned long)sum.conns,
	    (unsigned long)sum.bytes, (unsigned long)(sum.virtual_ms / 1000));
	if (o.verbose)
		print_counters(&sum);
	if (must && bite(&sum) != 0)
		ok = false;
	return ok && sum.failed == 0 && sum.seeds == b - a + 1 ? 0 : 1;
}
