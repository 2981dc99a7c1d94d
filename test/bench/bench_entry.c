/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two entry paths of the design, side by side: the list that lib/squeue has (compare-and-swap
 * in front, taken whole, turned round) and the alternative, one SPSC ring per producer. Each moves
 * 32-bit ids from 1 or 2 producer threads to one consumer, in flights of at most 256 per producer;
 * then one id at a time there and back, as a synchronous call does. Who finds nothing yields.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define IDS 256
#define ROUNDS 2000000u

struct ring {
	_Atomic uint32_t tail __attribute__((aligned(64)));
	_Atomic uint32_t head __attribute__((aligned(64)));
	uint32_t slot[1024];
};

static struct bench {
	_Atomic uint32_t list __attribute__((aligned(64)));
	struct ring ring[2];
	struct {
		uint32_t next;
		_Atomic uint32_t busy;
	} __attribute__((aligned(64))) obj[2 * IDS + 1];
	int use_ring, flight;
	uint32_t total;
} b;

static void put(unsigned int who, uint32_t id)
{
	if (b.use_ring) {
		struct ring *r = &b.ring[who];
		uint32_t t = atomic_load_explicit(&r->tail, memory_order_relaxed);

		r->slot[t & 1023] = id;
		atomic_store(&r->tail, t + 1); /* seq_cst as in the list: a sleeper must see it */
		return;
	}
	uint32_t head = atomic_load_explicit(&b.list, memory_order_relaxed);

	do {
		b.obj[id].next = head;
	} while (!atomic_compare_exchange_weak(&b.list, &head, id));
}

static void run(uint32_t id)
{
	atomic_store_explicit(&b.obj[id].busy, 0, memory_order_release);
}

static uint32_t drain(unsigned int producers)
{
	uint32_t n = 0;

	if (b.use_ring) {
		for (unsigned int i = 0; i < producers; i++) {
			struct ring *r = &b.ring[i];
			uint32_t h = atomic_load_explicit(&r->head, memory_order_relaxed);
			uint32_t t = atomic_load_explicit(&r->tail, memory_order_acquire);

			for (; h != t; h++, n++)
				run(r->slot[h & 1023]);
			atomic_store_explicit(&r->head, h, memory_order_release);
		}
		return n;
	}
	if (atomic_load_explicit(&b.list, memory_order_relaxed) == 0)
		return 0;
	uint32_t id = atomic_exchange_explicit(&b.list, 0, memory_order_acquire), rev = 0, next;

	for (; id != 0; id = next) {
		next = b.obj[id].next;
		b.obj[id].next = rev;
		rev = id;
	}
	for (; rev != 0; rev = next, n++) {
		next = b.obj[rev].next;
		run(rev);
	}
	return n;
}

static void *producer(void *arg)
{
	unsigned int who = (unsigned int)(uintptr_t)arg;

	for (uint32_t i = 0; i < b.total; i++) {
		uint32_t id = 1 + who * IDS + i % (uint32_t)b.flight;

		while (atomic_load_explicit(&b.obj[id].busy, memory_order_acquire))
			sched_yield();
		atomic_store_explicit(&b.obj[id].busy, 1, memory_order_relaxed);
		put(who, id);
	}
	return NULL;
}

static double measure(int use_ring, unsigned int producers, int flight, uint32_t total)
{
	pthread_t t[2];
	struct timespec a, z;
	uint64_t done = 0;

	b.use_ring = use_ring;
	b.flight = flight;
	b.total = total;
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (unsigned int i = 0; i < producers; i++)
		pthread_create(&t[i], NULL, producer, (void *)(uintptr_t)i);
	while (done < (uint64_t)producers * total) {
		uint32_t n = drain(producers);

		done += n;
		if (n == 0)
			sched_yield();
	}
	for (unsigned int i = 0; i < producers; i++)
		pthread_join(t[i], NULL);
	clock_gettime(CLOCK_MONOTONIC, &z);
	return ((double)(z.tv_sec - a.tv_sec) * 1e9 + (double)(z.tv_nsec - a.tv_nsec)) /
	       (double)(producers * (uint64_t)total);
}

int main(void)
{
	static const char *const name[] = {"list", "ring"};

	for (int flight = IDS; flight > 0; flight -= IDS - 1) {
		for (unsigned int producers = 1; producers <= 2; producers++) {
			double best[2] = {1e9, 1e9};

			for (int round = 0; round < 3; round++)
				for (int k = 0; k < 2; k++) {
					double ns = measure(k, producers, flight,
					    flight == 1 ? ROUNDS / 10 : ROUNDS);

					if (ns < best[k])
						best[k] = ns;
				}
			for (int k = 0; k < 2; k++)
				printf("%s, %u producer(s), %s: %.1f ns an entry\n", name[k],
				    producers, flight == 1 ? "one at a time" : "256 in flight",
				    best[k]);
			if (flight == 1 && producers == 2)
				return 0;
		}
		if (flight == 1)
			break;
	}
	return 0;
}
