#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs sluice-testtcp for figures.sh and prints what it found as a Markdown table."""
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

PROGRAM, RUNS, SECONDS, SOCKETS = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]

RR = ["--engine", "rr", "--size", "64"]
STREAM = ["--engine", "stream", "--connections", "1"]
# name, field, scale, unit, options, options of sluice alone
ROWS = [
    ("rr, 64 B, 1 connection", "transactions_per_s", 1e6, "M/s", RR + ["--connections", "1"], []),
    ("rr, 64 B, 64 connections", "transactions_per_s", 1e6, "M/s", RR + ["--connections", "64"], []),
    ("rr, 64 B, 64 connections, passes of one burst", "transactions_per_s", 1e6, "M/s", RR + ["--connections", "64"],
     ["--tunable", "squeue.rx_budget=32"]),
    ("stream, 1500-byte frames, software checksums", "gbit_per_s", 1, "Gbit/s", STREAM, []),
    ("stream, 64 KB segments, no checksums, every byte read", "gbit_per_s", 1, "Gbit/s", STREAM + ["--verify"],
     ["--tso", "--checksum", "off"]),
]


def run(lcores, options):
    """One run; its JSON. A run that failed ends the whole."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        words = [PROGRAM, "--no-huge", "--no-pci", "--no-telemetry", "-m", "1024", "-l", lcores, "--",
                 "--role", "both", "--json", out.name] + options
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            sys.exit(" ".join(words) + "\n" + done.stdout.decode())
        return json.load(open(out.name))


def shown(results, field, scale, unit):
    """Median and range of a field, and the median of the middle latency where there is one."""
    values = [r[field] / scale for r in results]
    text = f"{statistics.median(values):.3g} {unit} ({min(values):.3g} to {max(values):.3g})"
    if "rr" in results[0]["mode"]:
        text += f", p50 {statistics.median(r['latency_ns']['p50'] for r in results) / 1e3:.3g} us"
    return statistics.median(values), text


def row(name, field, scale, unit, options, only, lcores):
    """Sluice and the kernel in turns, so that a busy minute of the machine hits both."""
    got = {"sluice": [], "kernel": []}
    timing = ["--duration", SECONDS + "s", "--warmup", "200ms"]
    for _ in range(RUNS):
        for stack, results in got.items():
            extra = only if stack == "sluice" else []
            results.append(run(lcores, timing + options + extra + ["--stack", stack]))
    ours, text = shown(got["sluice"], field, scale, unit)
    theirs, text2 = shown(got["kernel"], field, scale, unit)
    where = "one for both" if "," not in lcores else "one each"
    print(f"| {name} | {where} | {text} | {text2} | {ours / theirs:.1f} |", flush=True)


# As bench_sockets names them, and whether a larger value is the better one.
CALLS = [
    ("call idle", "synchronous call (`getsockopt`), idle squeue", False),
    ("call busy", "the same, squeue saturated by a stream", False),
    ("send 1", "`sendmsg` of 64 B, 1 thread", True),
    ("send 4", "`sendmsg` of 64 B, 4 threads", True),
]


def sockets():
    """Calls of control threads: sluice and the kernel in each run, one row per measurement."""
    got = {}
    for _ in range(RUNS):
        for stack in ("sluice", "kernel"):
            words = [SOCKETS, str(round(float(SECONDS) * 1000)), stack]
            done = subprocess.run(words, stdout=subprocess.PIPE, check=True)
            for line in done.stdout.decode().splitlines():
                name, stack, value, unit = line.split("\t")
                got.setdefault((name, stack), []).append((float(value), unit))
    print("\n| control threads | sluice | kernel | ratio |\n|---|---|---|---|")
    medians = {}
    for name, text, larger in CALLS:
        cells = []
        for stack in ("sluice", "kernel"):
            values = [v for v, _ in got[name, stack]]
            medians[name, stack] = statistics.median(values)
            low, mid, high = (f"{float(f'{v:.3g}'):g}" for v in (min(values), medians[name, stack], max(values)))
            cells.append(f"{mid} {got[name, stack][0][1]} ({low} to {high})")
        ratio = medians[name, "sluice"] / medians[name, "kernel"]
        print(f"| {text} | {cells[0]} | {cells[1]} | {ratio if larger else 1 / ratio:.2f} |", flush=True)
    print("\nOf its rate with 1 thread, 4 threads together reach "
          f"{medians['send 4', 'sluice'] / medians['send 1', 'sluice']:.2f} on sluice, "
          f"{medians['send 4', 'kernel'] / medians['send 1', 'kernel']:.2f} on the kernel.")


def machine():
    """The processor's name, its number of cores, the kernel, and how busy others keep it."""
    cpu = platform.processor()
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    load = os.getloadavg()[0]
    return f"{cpu}, {os.cpu_count()} cores, Linux {platform.release()}, load average {load:.1f} at start"


print(f"{machine()}; median (range) of {RUNS} runs of {SECONDS} s\n")
print("| load | lcores | sluice | kernel | ratio |\n|---|---|---|---|---|", flush=True)
for one in ROWS:
    for cores in ("0", "0,1") if os.cpu_count() > 1 else ("0",):
        row(*one, cores)
idle = run("0", ["--engine", "idle", "--connections", "100000", "--duration", "1s", "--local",
                 "10.0.0.11-10.0.0.14"])
print(f"\nAn idle connection takes {idle['bytes_per_connection']} bytes of the stack's memory, all "
      "tables included (100,000 open; without mbufs, of which it holds none).")
sockets()
