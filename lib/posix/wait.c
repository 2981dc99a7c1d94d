/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sleeping and waking. A sleeper announces itself, looks once more, and sleeps on a number that
 * every wake-up moves; a waker changes something, looks for sleepers, and pays for a system call
 * only when there are any. Announcement and look are sequentially consistent on both sides: one of
 * the two sees the other.
 */
#include <posix/so.h>

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t sl_wq_deadline(uint64_t ns)
{
	return ns == 0 ? UINT64_MAX : clock_ns() + ns;
}

uint32_t sl_wq_enter(struct sl_wq *w)
{
	atomic_fetch_add(&w->sleepers, 1);
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load(&w->seq);
}

void sl_wq_leave(struct sl_wq *w)
{
	atomic_fetch_sub(&w->sleepers, 1);
}

int sl_wq_wait(struct sl_wq *w, uint32_t seq, uint64_t deadline)
{
	struct timespec ts = {
	    .tv_sec = (time_t)(deadline / 1000000000), .tv_nsec = (long)(deadline % 1000000000)};

	/* Absolute time, so that a call that goes on after a signal does not wait anew. */
	if (syscall(SYS_futex, &w->seq, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, seq,
		deadline == UINT64_MAX ? NULL : &ts, NULL, FUTEX_BITSET_MATCH_ANY) == 0)
		return 0;
	return errno == EINTR ? -EINTR : errno == ETIMEDOUT ? -ETIMEDOUT : 0;
}

bool sl_wq_wake(struct sl_wq *w)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (SL_LIKELY(atomic_load_explicit(&w->sleepers, memory_order_relaxed) == 0))
		return false;
	atomic_fetch_add(&w->seq, 1);
	syscall(SYS_futex, &w->seq, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT32_MAX, NULL, NULL, 0);
	return true;
}
