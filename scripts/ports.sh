#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The table of doc/ports.md: sluice-testtcp on one lcore and on two over each kind of port that needs no network card.
# Root, for network namespaces of its own. Figures mean something on an idle machine only.
#
# usage: scripts/ports.sh [SECONDS]     (of each run; default: 3)
#   BUILD=DIR  a release build to use (default: build/release, made when absent)
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build/release}

[ -d "$build" ] || meson setup "$build" --buildtype=release -Db_lto=true >/dev/null
ninja -C "$build" app/testtcp/sluice-testtcp >/dev/null
exec test/system/ports.sh all "$build/app/testtcp/sluice-testtcp" --table "${1:-3}"
