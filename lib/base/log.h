/* SPDX-License-Identifier: BSD-3-Clause */
/* The library prints nothing: lines go to the callback of the stack's parameters, at most 10 a
 * second per stack. */
#ifndef SL_BASE_LOG_H
#define SL_BASE_LOG_H

#include <stdint.h>

enum sl_log_level {
	SL_LOG_ERR = 3,
	SL_LOG_WARN = 4,
	SL_LOG_INFO = 6,
	SL_LOG_DEBUG = 7
};

struct sl_log {
	void (*fn)(void *arg, int level, const char *line);
	void *arg;
	_Atomic uint64_t window; /* second of the current rate window */
	_Atomic uint32_t in_window;
	_Atomic uint64_t suppressed;
};

/** Any thread. `now` in ns decides the rate window. */
void sl_log(struct sl_log *l, uint64_t now, enum sl_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
