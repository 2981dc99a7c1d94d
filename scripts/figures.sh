#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Measures the table of README.md: testtcp on sluice over the in-memory wire, and on kernel sockets
# over loopback, in turns, the median of some short runs. No NIC, hugepage or root is needed.
#
# usage: scripts/figures.sh [RUNS [SECONDS]]     (default: 5 runs of 1 second)
#   BUILD=DIR  a release build to use (default: build/release, made when absent)
set -eu
cd "$(dirname "$0")/.."
runs=${1:-5} secs=${2:-1}
build=${BUILD:-build/release}

[ -d "$build" ] || meson setup "$build" --buildtype=release -Db_lto=true >/dev/null
ninja -C "$build" app/testtcp/sluice-testtcp >/dev/null
exec python3 scripts/figures.py "$build/app/testtcp/sluice-testtcp" "$runs" "$secs"
