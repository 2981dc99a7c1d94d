#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Measures the tables of README.md: testtcp on sluice over the in-memory wire, and on kernel sockets
# over loopback, in turns, the median of some short runs; then calls of control threads in the same
# way (test/bench/bench_sockets.c). No NIC, hugepage or root is needed.
#
# usage: scripts/figures.sh [RUNS [SECONDS]]     (default: 5 runs of 1 second)
#   BUILD=DIR  a release build to use (default: build/release, made when absent)
set -eu
cd "$(dirname "$0")/.."
runs=${1:-5} secs=${2:-1}
build=${BUILD:-build/release}

[ -d "$build" ] || meson setup "$build" --buildtype=release -Db_lto=true >/dev/null
ninja -C "$build" app/testtcp/sluice-testtcp test/bench/bench_sockets >/dev/null
exec python3 scripts/figures.py "$build/app/testtcp/sluice-testtcp" "$runs" "$secs" "$build/test/bench/bench_sockets"
