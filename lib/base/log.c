/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lines are limited by the second: the first LINES_PER_SECOND of each second of the caller's clock
 * pass, the rest are counted, and the first line of a later second is preceded by how many were not
 * shown. Squeues of one stack may log at the same time, hence the atomics; nothing is ordered by
 * them, so a line may fall on the wrong side of a second.
 */
#include <base/log.h>

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#define LINES_PER_SECOND 10
#define LINE_MAX_LEN 256

void sl_log(struct sl_log *l, uint64_t now, enum sl_log_level level, const char *fmt, ...)
{
	uint64_t sec = now / 1000000000ull, win, lost;
	char line[LINE_MAX_LEN];
	va_list ap;

	if (l == NULL || l->fn == NULL)
		return;
	win = atomic_load_explicit(&l->window, memory_order_relaxed);
	/* Only the thread that moves the window on opens it again. */
	if (sec > win && atomic_compare_exchange_strong(&l->window, &win, sec)) {
		atomic_store(&l->in_window, 0);
		lost = atomic_exchange(&l->suppressed, 0);
		if (lost != 0) {
			snprintf(line, sizeof(line), "%llu lines were not shown",
			    (unsigned long long)lost);
			l->fn(l->arg, SL_LOG_WARN, line);
		}
	}
	if (atomic_fetch_add(&l->in_window, 1) >= LINES_PER_SECOND) {
		atomic_fetch_sub(&l->in_window, 1);
		atomic_fetch_add(&l->suppressed, 1);
		return;
	}
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	l->fn(l->arg, level, line);
}
