/* SPDX-License-Identifier: BSD-3-Clause */
/* A port that receives nothing and hands all that is sent to a function: the stack's input comes
 * through sluice_input. */
#ifndef TEST_SINK_H
#define TEST_SINK_H

#include <sluice/sluice.h>

struct sink {
	struct sluice_port_info info; /* size, link and socket are filled in; nqueues: 1 when 0 */
	bool stuck;                   /* takes nothing */
	void (*took)(void *arg, struct rte_mbuf *m); /* looks; the sink frees */
	void *arg;
};

/** The sink must outlive the stack that it is added to. */
struct sluice_driver sink_driver(struct sink *s);

#endif
