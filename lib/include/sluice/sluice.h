/* SPDX-License-Identifier: BSD-3-Clause */
/* Everything that a user of the library needs. */
#ifndef SLUICE_H
#define SLUICE_H

#include <sluice/config.h>
#include <sluice/conn.h>
#include <sluice/counters.h>
#include <sluice/driver.h>
#include <sluice/socket.h>
#include <sluice/squeue.h>
#include <sluice/stack.h>
#include <sluice/tunables.h>
#include <sluice/types.h>

#endif
