/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sluice_config_load on any bytes: it loads, or it refuses with a reason and changes nothing (no
 * tunable, no listener); a file that was loaded loads again without any change; an empty file takes
 * all listeners back; and the stack comes down whole.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_log.h>

#include <sluice/sluice.h>

#include "fuzz.h"
#include "mpool.h"

uint64_t fuzz_input_number;
static unsigned int loaded, refused;

/* The listeners as a program would have them: told of, less taken back. */
struct seen {
	unsigned int calls;
	long open;
};

static int on_listener(void *arg, const struct sluice_ini_listener *l, bool add)
{
	struct seen *s = arg;

	FUZZ_MUST(l->name != NULL && l->port != 0);
	if (add && ++s->calls % 8 == 7)
		return -EADDRINUSE;
	s->open += add ? 1 : -1;
	FUZZ_MUST(s->open >= 0);
	return 0;
}

/* All tunables in one number. */
static uint64_t tunables_sum(struct sluice_stack *st)
{
	uint64_t sum = 0, v;

	for (unsigned int i = 0; i < SLUICE_NTUNABLES; i++) {
		FUZZ_MUST(sluice_tunable_get(st, sluice_tunable_info(i)->name, &v) == 0);
		sum = sum * 1000003 + v;
	}
	return sum;
}

static void write_all(int fd, const uint8_t *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, data, size);

		FUZZ_MUST(n > 0);
		data += n;
		size -= (size_t)n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sluice_stack_params p = {
	    .size = sizeof(p), .name = "ini", .nsqueues = 2, .max_connections = 16, .seed = 1};
	struct sluice_wire_params wp = {.size = sizeof(wp), .nqueues = {1, 1}, .depth = 64};
	struct sluice_leaks l = {.size = sizeof(l)};
	struct rte_mempool *pool = tp_create(2048, 0);
	struct sluice_driver wire[2];
	struct sluice_stack *st;
	char path[64], err[160];
	struct seen seen = {0};
	uint64_t before;
	long open;
	int fd, rc;

	rte_log_set_global_level(RTE_LOG_EMERG);
	p.hdr_pool = pool;
	FUZZ_MUST(pool != NULL && sluice_stack_create(&p, &st, NULL) == 0);
	FUZZ_MUST(sluice_wire_create(&wp, wire) == 0);
	FUZZ_MUST(sluice_port_add(st, wire[0]) == 0);
	fd = memfd_create("ini", 0);
	FUZZ_MUST(fd >= 0);
	write_all(fd, data, size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	before = tunables_sum(st);
	memset(err, 'x', sizeof(err));
	rc = sluice_config_load(st, path, err, sizeof(err), on_listener, &seen);
	*(rc < 0 ? &refused : &loaded) += 1;
	if (rc < 0) {
		FUZZ_MUST(memchr(err, '\0', sizeof(err)) != NULL && err[0] != '\0');
		FUZZ_MUST(tunables_sum(st) == before && seen.open == 0);
	} else {
		open = seen.open, seen.calls = 7; /* one more would be seen */
		before = tunables_sum(st);
		rc = sluice_config_load(st, path, err, sizeof(err), on_listener, &seen);
		FUZZ_MUST(rc == 0 && seen.open == open && seen.calls == 7);
		FUZZ_MUST(tunables_sum(st) == before);
		rc = sluice_config_load(st, "/dev/null", err, sizeof(err), on_listener, &seen);
		FUZZ_MUST(rc == 0 && seen.open == 0);
	}
	for (unsigned int i = 0; i < 4; i++) {
		FUZZ_MUST(sluice_squeue_poll(sluice_squeue(st, 0), SLUICE_SEC(1) + i, 0) >= 0);
		FUZZ_MUST(sluice_squeue_poll(sluice_squeue(st, 1), SLUICE_SEC(1) + i, 0) >= 0);
	}
	close(fd);
	FUZZ_MUST(sluice_stack_destroy(st, &l) == 0 && l.records == 0 && l.connections == 0);
	wire[1].ops->destroy(wire[1].ctx);
	FUZZ_MUST(tp_out(pool) == 0);
	tp_destroy(pool);
	return 0;
}

bool fuzz_report(void)
{
	printf("loaded %u, refused %u\n", loaded, refused);
	return loaded > 0 && refused > 0;
}
