/* SPDX-License-Identifier: BSD-3-Clause */
/* calls: what the program that makes the calls and its peer agree on. */
#ifndef CALLS_H
#define CALLS_H

#include <stddef.h>
#include <stdint.h>

#define LEAVE_BYTES 300000

/** The first byte of a connection says what the peer does. */
enum {
	DO_ECHO = 'e',
	DO_COUNT = 'c', /* reads to the end and answers with the number, as text */
	DO_RESET = 'r', /* reads one byte more, then resets */
	DO_END = 'f',   /* sends "bye" and closes */
	DO_CALL = 'b',  /* reads a port (2 bytes), connects back to it, sends "hello", echoes */
	DO_SLOW = 's',  /* sends "late" 100 ms later, echoes */
	DO_LEAVE = 'l'  /* counts and says on stdout how it ended */
};

/** Sends, and raises no signal. */
void put(int fd, const void *p, size_t n);
/** Serves for ever, on the kernel's sockets. 1: the port cannot be had. */
int peer(uint16_t port);

#endif
