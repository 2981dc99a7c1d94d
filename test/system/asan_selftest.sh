#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# asan_selftest.sh PROGRAM: each planted fault must end the program with the report that names it.
set -euo pipefail
unset ASAN_OPTIONS

"$1" none || { echo "the program dies without a fault"; exit 1; }

# fault NAME REPORT
fault() {
	local out
	if out=$("$program" "$1" 2>&1); then
		echo "$1 was not noticed"
		exit 1
	fi
	if ! grep -q "ERROR: AddressSanitizer: $2" <<<"$out"; then
		echo "$1: another end than a report of $2:"
		echo "$out"
		exit 1
	fi
	echo "$1: reported"
}

program=$1
fault use-after-free heap-use-after-free
fault use-after-free-data heap-use-after-free
fault past-frame heap-buffer-overflow
