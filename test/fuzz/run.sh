#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# run.sh FUZZER CORPUS: a libFuzzer target for SLUICE_FUZZ_SECONDS (120), on from what earlier runs found in this build
# folder. An input that fails stays in its folder `found`.
set -euo pipefail
fuzzer=$1 corpus=$2
name=${fuzzer##*/fuzz_}
root=${MESON_BUILD_ROOT:-.}
mkdir -p "$root/corpus/$name" "$root/found"
if "$fuzzer" -max_total_time="${SLUICE_FUZZ_SECONDS:-120}" -timeout=30 -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix="$root/found/$name-" "$root/corpus/$name" "$corpus"; then
	exit 0
fi
echo "fuzz_$name failed; the input (the newest of $root/found/$name-*) runs again with: replay_$name FILE" >&2
exit 1
