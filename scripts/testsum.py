#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Sum up meson test logs: testsum.py NAME=testlog.json... -> time per suite, tests skipped or failed, and a last line
"N passed, M failed". Exit status 1 when a test failed, or when a log holds no test at all."""
import collections
import json
import sys

GOOD = ("OK", "EXPECTEDFAIL")


def main():
    seconds = collections.Counter()
    tests = collections.Counter()
    passed = failed = 0
    notes = []
    for arg in sys.argv[1:]:
        build, path = arg.split("=", 1)
        ran = 0
        try:
            with open(path, encoding="utf-8") as log:
                rows = [json.loads(line) for line in log if line.strip()]
        except OSError:
            rows = []
        for row in rows:
            # "project:suite / name", suites joined by "+"; without a suite just "name".
            label, _, name = row["name"].rpartition(" / ")
            suite = label.partition(":")[2] or "(none)"
            ran += 1
            key = (build, suite)
            tests[key] += 1
            seconds[key] += row["duration"]
            if row["result"] in GOOD:
                passed += 1
            elif row["result"] == "SKIP":
                notes.append(f"skipped: {build}: {name}")
            else:
                failed += 1
                notes.append(f"failed:  {build}: {name} ({row['result']})")
        if ran == 0:
            failed += 1
            notes.append(f"failed:  {build}: no test ran")

    total = sum(seconds.values()) or 1.0
    print(f"{'build':<8} {'suite':<12} {'tests':>5} {'seconds':>9} {'share':>6}")
    for key, t in sorted(seconds.items(), key=lambda kv: -kv[1]):
        print(f"{key[0]:<8} {key[1]:<12} {tests[key]:>5} {t:>9.1f} {100 * t / total:>5.0f}%")
    for note in notes:
        print(note)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
