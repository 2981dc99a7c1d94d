#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Instructions per segment and per exchange, counted by callgrind: they do not depend on the machine's load, so a
# change of a few is a change of the code. Prints them beside the reference (instructions.txt).
#
# usage: test/bench/instructions.sh [BUILD_DIR] [--update]
#   BUILD_DIR  a release build with tests (default: build/count, made when absent, without link-time optimization)
#   --update   write the new counts into instructions.txt
set -eu
cd "$(dirname "$0")/../.."
build=build/count update=no
for a in "$@"; do
	case $a in
	--update) update=yes ;;
	*) build=$a ;;
	esac
done
ref=test/bench/instructions.txt
rounds=500

[ -d "$build" ] || meson setup "$build" --buildtype=release >/dev/null
ninja -C "$build" test/bench/insn >/dev/null
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# count FUNCTION MODE CHECKSUMS BURST: instructions within FUNCTION per round
count()
{
	valgrind --tool=callgrind --collect-atstart=no --toggle-collect="$1" \
		--callgrind-out-file="$tmp/out" "$build/test/bench/insn" "$2" "$3" "$4" $rounds >"$tmp/log" 2>&1 ||
		{ cat "$tmp/log" >&2; exit 1; }
	awk -v r=$rounds '/^(summary|totals):/ { n = $2 } END { printf "%.0f\n", n / r }' "$tmp/out"
}

{
	for burst in 1 32; do
		for what in receive send; do
			n=$(count insn_$what stream port $burst)
			echo "$what $burst $((n / burst))"
		done
	done
	for what in receive send; do
		n=$(count insn_$what stream software 32)
		echo "$what-software 32 $((n / 32))"
	done
	for burst in 1 64; do
		n=$(count insn_rr rr software $burst)
		echo "rr $burst $((n / burst))"
	done
	for what in send pass freed; do
		n=$(count insn_so_$what sockets port 32)
		echo "socket-$what 32 $((n / 32))"
	done
	echo "idle 1 $(count insn_idle stream port 1)"
} >"$tmp/new"

echo "instructions: of a segment of 1448 bytes (checksums by the port, or in software); of an exchange of 64 bytes each"
echo "way, both stacks and the calls of both users together (checksums in software); of a message of 64 bytes that a"
echo "thread sends by a socket: its call, the pass that takes it, the one that frees it; of a pass without work"
awk 'NR == FNR { if ($1 !~ /^#/) old[$1 " " $2] = $3; next }
	{ o = old[$1 " " $2]
	  name = $1 == "idle" ? "pass without work" : $1 == "rr" ? $1 ", connections " $2 : $1 ", burst of " $2
	  printf "%-30s %6d", name, $3
	  if (o) printf "   reference %6d   %+.1f %%", o, ($3 - o) * 100 / o
	  printf "\n" }' "$(if [ -f $ref ]; then echo $ref; else echo /dev/null; fi)" "$tmp/new"
if [ $update = yes ]; then
	{
		echo "# Instructions per segment (rr: per exchange): what, burst or connections, count. Written by test/bench/instructions.sh --update"
		echo "# $(cc --version | head -1); DPDK $(pkg-config --modversion libdpdk); release build"
		cat "$tmp/new"
	} >$ref
fi
