/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A network card with receive-side scaling over a one-queue driver: Toeplitz over the tuple with
 * rte_softrss, an indirection table, fragments by addresses alone, all else at queue 0. It may lie
 * about its key, keep it to itself, or do as it likes. One thread polls all queues.
 */
#ifndef TEST_RSSNIC_H
#define TEST_RSSNIC_H

#include <sluice/driver.h>

enum rssnic_mode {
	RSSNIC_RIGHT,   /* packets arrive where steer() says */
	RSSNIC_WRONG,   /* steer() has another key than the card */
	RSSNIC_UNKNOWN, /* steer() does not know */
	RSSNIC_RANDOM,  /* steer() says something, packets arrive anywhere */
	RSSNIC_MODES
};

/** Takes `lower`, whose queue 0 carries all. */
struct sluice_driver rssnic_create(
    struct sluice_driver lower, uint16_t nqueues, enum rssnic_mode mode, uint64_t seed);

#endif
