/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults on purpose: does the address sanitizer see them inside our packets? asan_selftest.sh wants
 * each of these to die with a report; "none" is the control and must live.
 */
#include <stdio.h>
#include <string.h>
#include <rte_mbuf.h>
#include "mpool.h"

static volatile uint8_t sink;

/** Read a header field of an mbuf, and a byte of its data, after it went back to its pool. */
static void use_after_free(struct rte_mempool *mp, bool data)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(mp);
	uint8_t *p = (uint8_t *)rte_pktmbuf_append(m, 64);

	memset(p, 0, 64);
	rte_pktmbuf_free(m);
	sink = data ? *(volatile uint8_t *)p : (uint8_t) * (volatile uint16_t *)&m->data_len;
}

/** Read the first byte behind a frame (or its last one). */
static void read_frame(struct rte_mempool *mp, uint16_t offset)
{
	uint8_t frame[60] = {0};
	struct rte_mbuf *m = tp_exact(mp, frame, sizeof(frame), 0);

	sink = *rte_pktmbuf_mtod_offset(m, volatile uint8_t *, offset);
	rte_pktmbuf_free(m);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	struct rte_mempool *mp = tp_create(2048, 0);

	if (strcmp(what, "none") == 0) {
		read_frame(mp, 59);
	} else if (strcmp(what, "use-after-free") == 0) {
		use_after_free(mp, false);
	} else if (strcmp(what, "use-after-free-data") == 0) {
		use_after_free(mp, true);
	} else if (strcmp(what, "past-frame") == 0) {
		read_frame(mp, 60);
	} else {
		fprintf(stderr,
		    "asan_selftest: none, use-after-free, use-after-free-data or past-frame\n");
		return 2;
	}
	return tp_destroy(mp) == 0 ? 0 : 1;
}
