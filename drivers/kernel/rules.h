/* SPDX-License-Identifier: BSD-3-Clause */
/* kernel, private: rules.c says whose a frame is, kernel.c moves it. */
#ifndef SL_DRIVERS_KERNEL_RULES_H
#define SL_DRIVERS_KERNEL_RULES_H

#include <sluice/driver.h>

struct rte_mbuf;

/** An immutable set; queues read it without a lock. */
struct kernel_rules {
	struct kernel_rules *next; /* set aside until no queue can be looking at it */
	uint64_t *seen;            /* passes of each queue when it was set aside */
	unsigned int n;
	struct sluice_kernel_rule rule[];
};

enum kernel_whose {
	KERNEL_STACK,
	KERNEL_KERNEL,
	KERNEL_BOTH
};

/** Whose is this frame (L2)? Reads headers, changes nothing. */
enum kernel_whose kernel_classify(const struct kernel_rules *r, const struct rte_mbuf *m);

#endif
