#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Coverage of a gcov build that ran all tests: lines of lib/, branches of lib/tcp. --html DIR writes a report besides.
# Exit status 1 below the limits (85 % of the lines, 80 % of the branches).
set -euo pipefail
cd "$(dirname "$0")/.."

html=
case "${1:-}" in
'') ;;
--html) html=${2:?--html needs a directory}; mkdir -p "$html" ;;
*) echo "Usage: coverage.sh [--html DIR]"; [ "$1" = --help ] && exit 0; exit 2 ;;
esac

scripts/setup.sh test
dir="build/coverage"
# Assertions are left out: the branch of an assertion that fails cannot be covered, and each would count as one.
opts=(-Db_coverage=true -Db_ndebug=true -Dbench=false -Doptimization=0 -Ddebug_checks=false)
if [ -f $dir/build.ninja ]; then
	meson configure $dir "${opts[@]}" >/dev/null
else
	mkdir -p build
	CC=gcc meson setup $dir "${opts[@]}" >build/coverage.log 2>&1 || { cat build/coverage.log; exit 1; }
	rm -f build/coverage.log
fi
ninja -C $dir --quiet
find $dir -name '*.gcda' -delete
status=0
meson test -C $dir --no-rebuild --no-suite style --print-errorlogs || status=1

gcov=(gcovr -r . --object-directory "$dir" -j 2 --exclude-unreachable-branches)
[ -z "$html" ] || "${gcov[@]}" --filter lib/ --html-details "$html/index.html" $dir >/dev/null

# share FILTER METRIC: covered, total and percentage over the files of the filter.
share() {
	"${gcov[@]}" --filter "$1" --json-summary-pretty -o $dir/summary.json $dir >/dev/null
	python3 - "$2" $dir/summary.json <<-'END'
	import json, sys
	s = json.load(open(sys.argv[2]))
	m = sys.argv[1]
	done, total = s[m + "_covered"], s[m + "_total"]
	print(done, total, "%.1f" % (100.0 * done / total if total else 0.0))
	END
}
read -r lines lines_all lines_pc < <(share lib/ line)
read -r branches branches_all branches_pc < <(share lib/tcp/ branch)
echo "line coverage of lib: $lines_pc % ($lines of $lines_all)"
echo "branch coverage of lib/tcp: $branches_pc % ($branches of $branches_all)"
python3 -c "import sys; sys.exit(float(sys.argv[1]) < 85 or float(sys.argv[2]) < 80)" "$lines_pc" "$branches_pc" ||
    status=1
exit $status
