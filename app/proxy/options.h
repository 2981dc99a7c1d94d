/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tables of what can be set and of what is counted. Structs, parser, --help and the printed
 * statistics are all made from them.
 */
#ifndef PROXY_OPTIONS_H
#define PROXY_OPTIONS_H

#include <sluice/sluice.h>

/*
 * Entries of the configuration file whose value is a number, a time or a word:
 * X(name, kind, "unit", min, max, default, "what it does"). All are held as u64; times in ns.
 * Entries that are names or addresses stand in config.c.
 */
/* clang-format off */
#define PROXY_GLOBAL_OPTIONS(X) \
	X(max_sessions, NUMBER, "sessions", 1, 4194304, 32768, "sessions at once; more are refused by a reset") \
	X(drain_time, TIME, "ns", 0, SLUICE_SEC(86400), SLUICE_SEC(30), "at SIGTERM live sessions have this long, then they are reset") \
	X(lcores, NUMBER, "lcores", 0, 64, 0, "so many of the EAL's lcores serve, the first; the others sleep, and what is on them is served by these; 0: all") \
	X(memory_low, NUMBER, "percent", 0, 90, 15, "with fewer free receive buffers nothing is accepted and the longest stalled sessions are reset; 0: never")

#define PROXY_LISTENER_OPTIONS(X) \
	X(port, NUMBER, "port", 0, 65535, 0, "TCP port; must be given") \
	X(backlog, NUMBER, "connections", 1, 1048576, 4096, "handshakes at once") \
	X(vrf, NUMBER, "id", 0, 4294967295, 0, "VRF of clients") \
	X(max_connections, NUMBER, "sessions", 0, 4194304, 0, "sessions of this listener at once; 0: no limit of its own") \
	X(max_per_source, NUMBER, "sessions", 0, 4194304, 0, "sessions of one client address at once; 0: no limit") \
	X(accept_proxy, SWITCH, "bool", 0, 1, 0, "clients must begin with a PROXY header, version 1 or 2") \
	X(hook, HOOK, "hook", 0, 2, 0, "what chooses the pool by first bytes: none, sni, host") \
	X(first_bytes, NUMBER, "bytes", 128, 16384, 8192, "what a hook or a PROXY header may take at most") \
	X(first_timeout, TIME, "ns", SLUICE_MS(1), SLUICE_SEC(3600), SLUICE_SEC(5), "time for a hook and a PROXY header to be decided") \
	X(idle_timeout, TIME, "ns", SLUICE_MS(1), SLUICE_SEC(604800), SLUICE_SEC(300), "a session in which nothing moves is reset after this") \
	X(linger_timeout, TIME, "ns", SLUICE_MS(1), SLUICE_SEC(604800), SLUICE_SEC(120), "both sides have sent all: the rest must be acknowledged within this, or is dropped by a reset") \
	X(half_closed_timeout, TIME, "ns", SLUICE_MS(1), SLUICE_SEC(604800), SLUICE_SEC(60), "the same, once one side has sent its FIN")

#define PROXY_POOL_OPTIONS(X) \
	X(balance, BALANCE, "algorithm", 0, 2, 0, "roundrobin, leastconn, or hash (of the client's address, consistent)") \
	X(vrf, NUMBER, "id", 0, 4294967295, 0, "VRF of backends") \
	X(connect_timeout, TIME, "ns", SLUICE_MS(1), SLUICE_SEC(3600), SLUICE_SEC(5), "time for one connect") \
	X(retries, NUMBER, "tries", 0, 64, 2, "connects after the first one that failed, on another backend when there is one") \
	X(retry_delay, TIME, "ns", SLUICE_MS(1), SLUICE_SEC(60), SLUICE_MS(100), "wait before a connect to the same backend again, or while no port is free") \
	X(send_proxy, PROXYV, "version", 0, 2, 0, "PROXY header sent to backends: off, v1, v2") \
	X(health_interval, TIME, "ns", 0, SLUICE_SEC(3600), 0, "a connect checks each backend this often; 0: never, all count as up") \
	X(health_timeout, TIME, "ns", SLUICE_MS(1), SLUICE_SEC(3600), SLUICE_SEC(1), "time for such a connect") \
	X(rise, NUMBER, "checks", 1, 100, 2, "good checks in a row that bring a backend up") \
	X(fall, NUMBER, "checks", 1, 100, 3, "failed checks in a row that take a backend down") \
	X(slow_start, TIME, "ns", 0, SLUICE_SEC(86400), 0, "a backend that came up gets its whole weight after this, growing evenly")

#define PROXY_BACKEND_OPTIONS(X) \
	X(port, NUMBER, "port", 0, 65535, 0, "TCP port; must be given") \
	X(weight, NUMBER, "parts", 0, 256, 1, "share of new sessions; 0: none, live ones go on") \
	X(max_connections, NUMBER, "sessions", 0, 4194304, 0, "sessions of this backend at once; 0: no limit")

/* Why a session ended: X(name, "what the access log says"). */
#define PROXY_REASONS(X) \
	X(DONE, "done") /* both sides have sent their FIN */ \
	X(CLIENT_RESET, "client-reset") /* or timed out: the client's connection failed */ \
	X(BACKEND_RESET, "backend-reset") \
	X(IDLE, "idle") \
	X(HALF_CLOSED, "half-closed") \
	X(LINGER, "linger") /* both had sent all; what was under way was not acknowledged in time */ \
	X(FIRST_TIMEOUT, "first-timeout") \
	X(FIRST_BAD, "first-bad") /* not what the hook or the PROXY header wants, or too long */ \
	X(SOURCE_LIMIT, "source-limit") /* found behind a PROXY header */ \
	X(NO_ROUTE, "no-route") \
	X(NO_BACKEND, "no-backend") \
	X(CONNECT_FAILED, "connect-failed") \
	X(NO_PORT, "no-port") /* local addresses or ports to connect from had run out */ \
	X(MEMORY, "memory") \
	X(DRAIN, "drain") \
	X(STOP, "stop")

#define PROXY_COUNTERS(X) \
	X(accepted, "sessions begun") \
	X(open, "sessions now (a level)") \
	X(refused_sessions, "clients refused: max_sessions") \
	X(refused_listener, "clients refused: max_connections of the listener") \
	X(refused_source, "clients refused: max_per_source") \
	X(refused_memory, "clients refused: receive buffers short, or no memory") \
	X(connects, "connects to backends begun") \
	X(connect_failed, "connects to backends that failed or timed out") \
	X(retries, "connects that followed a failed one") \
	X(port_waits, "connects put off: no local port was free") \
	X(relayed, "sessions that reached their backend") \
	X(bytes_to_backend, "bytes from clients to backends, PROXY headers not counted") \
	X(bytes_to_client, "bytes from backends to clients") \
	X(stalls, "times a side did not take what the other one sent") \
	X(starved, "moves put off: no buffer was free") \
	X(checks, "health checks made") \
	X(checks_failed, "health checks that failed") \
	X(backends_down, "times a backend was taken down") \
	X(backends_up, "times a backend came up again") \
	X(reloads, "configurations applied") \
	X(reloads_refused, "configurations refused; the old one stands") \
	X(log_dropped, "lines of the access log lost: nobody took them")
/* clang-format on */

enum option_kind {
	KIND_NUMBER,
	KIND_TIME,
	KIND_SWITCH,
	KIND_BALANCE,
	KIND_HOOK,
	KIND_PROXYV
};

enum reason {
#define X(name, text) REASON_##name,
	PROXY_REASONS(X)
#undef X
	NREASONS
};

struct proxy_counters {
#define X(name, doc) uint64_t name;
	PROXY_COUNTERS(X)
#undef X
	uint64_t ended[NREASONS];
};

#endif
