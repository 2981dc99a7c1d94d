#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Build in every way that must hold and run all tests:
#   gcc     as users build it, warnings are errors: all suites
#   asan    clang with address and undefined behaviour sanitizers, fuzz corpora replayed: all suites but style
#   clang   clang as users build it, warnings are errors: library and programs, compiled only
#   tsan    clang with the thread sanitizer: suite tsan
#   fuzz    with --long: clang, libFuzzer, sanitizers: each fuzz target for SLUICE_FUZZ_SECONDS (120)
# Gcc, asan and clang are compiled first, then all tests run at the same time, each build's in its own order: the system
# tests, one after another in a build, leave most of a core idle. What a build's tests say is printed when they have ended.
# The last line is "N passed, M failed", summed over the builds; exit status 1 when anything failed.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
	cat <<-END
	Usage: test.sh [--long] [--programs] [--only BUILD]... [--no-setup]

	  --long        1 GiB transfers and more seeds (SLUICE_LONG=1), time-outs times 40
	  --programs    only unmodified programs under sluice-run, more of them and for longer (build gcc)
	  --only BUILD  gcc, asan, clang, tsan or fuzz, instead of the first four (all five with --long)
	  --no-setup    do not look for missing packages
	END
}

long=
programs=
setup=1
only=
while [ $# -gt 0 ]; do
	case "$1" in
	--long) long=1 ;;
	--programs) programs=1 ;;
	--only) only="$only ${2:?--only needs a build}"; shift ;;
	--no-setup) setup= ;;
	-h | --help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done
only=${only:-gcc asan clang tsan${long:+ fuzz}}
for b in $only; do
	case "$b" in gcc | asan | clang | tsan | fuzz) ;; *) usage >&2; exit 2 ;; esac
done

suites=()
if [ -n "$programs" ]; then
	only=gcc
	suites=(--suite programs)
	export SLUICE_PROGRAMS=1
fi
[ -z "$setup" ] || scripts/setup.sh "$([ -z "$programs" ] && echo test || echo programs)"

start=$SECONDS
logs=()
multiplier=4 # meson's 30 s are for a test that has the machine to itself
if [ -n "$long" ]; then
	export SLUICE_LONG=1
	multiplier=40
fi

# Sanitizers of clang 14 map fixed shadow ranges, which a kernel with 32 bits of mmap randomness may have taken.
wrap=()
if setarch -R true 2>/dev/null; then
	wrap=(setarch -R)
fi
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_stack_use_after_return=1:strict_string_checks=1"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-}:print_stacktrace=1:halt_on_error=1"
export TSAN_OPTIONS="${TSAN_OPTIONS:-}:halt_on_error=1:second_deadlock_stack=1"
export LSAN_OPTIONS="${LSAN_OPTIONS:-}:suppressions=$PWD/test/system/lsan.supp:print_suppressions=0"

# configure NAME CC OPTION...: options are set again on each run, so that a build directory never keeps old ones.
configure() {
	local dir=build/$1 cc=$2
	shift 2
	if [ -f "$dir/build.ninja" ]; then
		meson configure "$dir" "$@" >/dev/null
	else
		CC=$cc meson setup "$dir" "$@" >"$dir.log" 2>&1 || { cat "$dir.log"; exit 1; }
		rm -f "$dir.log"
	fi
}

compile() {
	local t0=$SECONDS
	ninja -C "build/$1" --quiet
	echo "$1: compiled in $((SECONDS - t0)) s"
}

pids=()
# run NAME MESON-TEST-OPTION...: in the background; goes on after a failure; the sum at the end tells. Meson compiles
# first what the chosen tests need.
run() {
	local dir=build/$1
	shift
	rm -f "$dir/meson-logs/testlog.json"
	"${wrap[@]}" meson test -C "$dir" --print-errorlogs --timeout-multiplier "$multiplier" "$@" \
	    >"$dir/meson-logs/test.out" 2>&1 &
	pids+=("$!")
	logs+=("${dir#build/}=$dir/meson-logs/testlog.json")
}

# A test run that is stopped takes what it started along: meson ends its tests when it is asked to.
stop() {
	[ ${#pids[@]} -eq 0 ] || kill -INT "${pids[@]}" 2>/dev/null || true
	wait
	exit 130
}
trap stop INT TERM

mkdir -p build
for b in $only; do
	case "$b" in
	gcc)
		configure gcc gcc --werror
		compile gcc
		;;
	asan)
		configure asan clang --werror -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1
		compile asan
		;;
	clang)
		configure clang clang --werror -Dtests=false
		compile clang
		;;
	tsan)
		configure tsan clang --werror -Db_sanitize=thread -Db_lundef=false -Doptimization=1 -Dbench=false
		;;
	fuzz)
		configure fuzz clang --werror -Db_sanitize=address,undefined -Db_lundef=false \
		    -Doptimization=1 -Dlibfuzzer=true -Dbench=false
		;;
	esac
done

for b in $only; do
	case "$b" in
	gcc) run gcc "${suites[@]}" ;;
	asan) run asan --no-suite style ;;
	tsan) run tsan --suite tsan ;;
	fuzz) run fuzz --suite fuzzing ;;
	esac
done
for i in "${!pids[@]}"; do
	wait "${pids[$i]}" || true
	echo "== ${logs[$i]%%=*}: $((SECONDS - start)) s after the start"
	cat "build/${logs[$i]%%=*}/meson-logs/test.out"
done
trap - INT TERM

echo "== sum"
echo "total $((SECONDS - start)) s"
[ ${#logs[@]} -gt 0 ] || exit 0
python3 scripts/testsum.py "${logs[@]}"
