#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""testtcp.py TESTTCP MANY: sluice-testtcp over memory and over loopback: engines, options, each field of the JSON against
its type, its range and the others, the exit status. Needs neither root nor network. MANY connections run in one go to
one address and port, on sluice."""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile

PROGRAM, MANY = sys.argv[1], 200000 if "SLUICE_LONG" in os.environ else int(sys.argv[2])
HERE = os.path.dirname(os.path.abspath(__file__))
PORT = 20000 + os.getpid() % 10000  # of the kernel's servers
CPUS = sorted(os.sched_getaffinity(0))
CPU = str(CPUS[os.getpid() % len(CPUS)])  # tests run side by side
EAL = ["--no-huge", "--no-pci", "--no-telemetry", "--no-shconf", "-m", "512", "--log-level", "error",
       "--file-prefix", f"testtcp{os.getpid()}"]
SHORT = ["--duration", "300ms", "--warmup", "50ms"]
LINE = re.compile(r" *[\d.]+s (open|warmup|measure|drain|close) +conns \d+  trans/s \d+  conn/s \d+  Gbit/s [\d.]+  "
                  r"retrans \d+  drops port \d+ pool \d+  busy \d+%")

# Each field: a type, or a list of values that it may have, or a check; None: null is allowed too.
U, F, S, B = int, float, str, bool
SPAN = {"first": S, "last": S, "ports": (None, [U])}
FIELDS = {
    "schema": ["sluice-testtcp/1"],
    "environment": {"sluice": S, "dpdk": S, "compiler": S, "kernel": S, "cpu": S, "tsc_hz": U, "options": [S]},
    "mode": ["rr", "stream", "connect", "crr", "idle"], "role": ["server", "client", "both"],
    "stack": ["sluice", "kernel"], "link": ["wire", "port", "loopback", "kernel"],
    "proto": ["own", "echo", "discard", "http"], "clients": (None, SPAN), "servers": SPAN,
    "checksum": B, "verify": B, "connections": U, "active": U, "depth": U, "rate": U, "ramp": U, "size": [U],
    "seconds": F, "opening_seconds": F, "transactions": U, "transactions_per_s": F, "connections_per_s": F,
    "gbit_per_s": F,
    "latency_ns": {"count": U, "min": U, "p50": U, "p99": U, "p999": U, "max": U, "histogram": [[U]]},
    "cycles_per_transaction": F, "retransmits": U, "drops": U, "drops_port": U, "drops_pool": U,
    "bytes_per_connection": U, "lost": U, "wrong_bytes": U, "refused": U,
    "close": {"first": ["client", "server"], "with": ["fin", "rst"]},
    "time_wait": {"held_by": ["client", "server", "none"], "seconds": (U, F), "reused": (None, U), "evicted": (None, U)},
    "ports_exhausted": U,
    "ports": [{"role": ["server", "client"], "mtu": U, "queues": U, "caps": U, "rx_packets": U, "rx_bytes": U,
               "tx_packets": U, "tx_bytes": U, "rx_missed": U, "rx_nomem": U, "rx_errors": U, "tx_errors": U}],
    "lcores": [{"lcore": U, "role": ["server", "client"], "busy_cycles": U, "total_cycles": U, "busy": F,
                "stages": dict}],
    "intervals": [{"t": F, "transactions_per_s": F, "connections_per_s": F, "gbit_per_s": F, "retransmits": U,
                   "drops": U, "drops_port": U, "drops_pool": U, "connections": U, "busy": F}],
}


SERVERS = []


class Wrong(Exception):
    pass


def must(what, truth):
    if not truth:
        raise Wrong(what)


def conforms(name, value, form):
    """The value is of that form, with all of its fields and no others."""
    if isinstance(form, tuple):
        forms = [f for f in form if f is not None]
        if value is None:
            return must(f"{name} is null", None in form)
        form = next((f for f in forms if isinstance(f, type) and isinstance(value, f)), forms[-1])
    if isinstance(form, dict):
        must(f"{name}: fields {sorted(value)} for {sorted(form)}", sorted(value) == sorted(form))
        for k, f in form.items():
            conforms(f"{name}.{k}", value[k], f)
    elif isinstance(form, list) and isinstance(form[0], str):
        must(f"{name}: {value}", value in form)
    elif isinstance(form, list):
        must(f"{name} is no array", isinstance(value, list))
        for i, v in enumerate(value):
            conforms(f"{name}[{i}]", v, form[0])
    else:
        must(f"{name}: {value!r} is no {form.__name__}", type(value) is form)
        must(f"{name}: {value!r} is negative", not isinstance(value, (int, float)) or value >= 0)
    return None


def hangs_together(r):
    """Fields against each other."""
    lat = r["latency_ns"]
    must("histogram does not sum up to count", sum(n for _, n in lat["histogram"]) == lat["count"])
    lows = [low for low, _ in lat["histogram"]]
    must("histogram is not in order", lows == sorted(set(lows)))
    order = [lat[k] for k in ("min", "p50", "p99", "p999", "max")]
    must(f"quantiles are not in order: {order}", order == sorted(order))
    if lat["count"]:
        must("min and max lie outside the histogram", lows[0] <= lat["min"] and lows[-1] <= lat["max"])
    must("drops are not the sum", r["drops"] == r["drops_port"] + r["drops_pool"])
    if r["seconds"]:
        rate = r["transactions"] / r["seconds"]
        must(f"{rate} transactions a second, {r['transactions_per_s']} said",
             abs(rate - r["transactions_per_s"]) <= 0.01 * rate + 1)
    if r["seconds"] and r["mode"] in ("rr", "crr") and r["proto"] in ("own", "echo") and r["role"] != "server":
        gbit = r["transactions_per_s"] * sum(r["size"]) * 8e-9
        slack = 2 * max(r["connections"] if not r["active"] else r["active"], 1) * r["depth"] * sum(r["size"]) * 8e-9
        must(f"{gbit} Gbit/s of transactions, {r['gbit_per_s']} said",
             abs(gbit - r["gbit_per_s"]) <= 0.02 * gbit + slack / r["seconds"] + 1e-4)
        must("latencies are not one for each transaction",
             abs(lat["count"] - r["transactions"]) <= 2 * r["connections"] * r["depth"])
    must("busy cycles", all(0 <= l["busy_cycles"] <= l["total_cycles"] and
                            abs(l["busy"] * l["total_cycles"] - l["busy_cycles"]) <= 1e-3 * l["total_cycles"]
                            for l in r["lcores"]))
    if r["transactions"]:
        cycles = sum(l["busy_cycles"] for l in r["lcores"]) / r["transactions"]
        must("cycles per transaction", abs(cycles - r["cycles_per_transaction"]) <= 0.01 * cycles + 1)
    must("intervals are not in order", [i["t"] for i in r["intervals"]] == sorted(i["t"] for i in r["intervals"]))
    held = {"fin": r["close"]["first"], "rst": "none"}[r["close"]["with"]]
    must("TIME_WAIT is held by the wrong side", r["time_wait"]["held_by"] == held)
    must("DPDK ports of a kernel run", r["stack"] == "sluice" or r["ports"] == [])
    by_port = sum(p[k] for p in r["ports"] for k in ("rx_missed", "rx_errors", "tx_errors"))
    must("drops of the ports", r["drops_port"] >= by_port and (r["mode"] != "rr" or r["drops_port"] == by_port))
    must("drops of the pools", r["drops_pool"] >= sum(p["rx_nomem"] for p in r["ports"]))
    if r["link"] == "wire":
        a, b = r["ports"]
        must("a wire loses packets", (a["tx_packets"], a["tx_bytes"]) == (b["rx_packets"], b["rx_bytes"]) and
             (b["tx_packets"], b["tx_bytes"]) == (a["rx_packets"], a["rx_bytes"]))
        must("stages of a squeue", all(l["stages"] for l in r["lcores"]))


def run(options, status=0, lcores="0@" + CPU):
    """One run: its JSON (None where it did not come so far) and what it printed."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        words = [PROGRAM] + EAL + ["--lcores", lcores, "--"] + options + ["--json", out.name]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=240)
        text = done.stdout.decode()
        try:
            must(f"exit status {done.returncode}, not {status}", done.returncode == status)
            raw = out.read()
            if not raw:
                return None, text
            r = json.loads(raw)
            conforms("json", r, FIELDS)
            hangs_together(r)
            must("the command line is not there", r["environment"]["options"] == words[1:])
            return r, text
        except Wrong:
            print(" ".join(words), "\n" + text)
            raise


class Server:
    """A server that is not ours, on loopback."""

    def __init__(self, *args):
        self.process = subprocess.Popen([sys.executable, HERE + "/foreign.py", args[0], str(PORT), *args[1:]],
                                        stdout=subprocess.PIPE)
        SERVERS.append(self.process)
        must("the foreign server does not start", self.process.stdout.readline() == b"ready\n")

    def seen(self):
        self.process.send_signal(signal.SIGTERM)
        words = self.process.stdout.readline().split()
        self.process.wait()
        return dict(zip(("connections", "bytes", "addresses", "first", "last"), map(int, words[1:])))


def test_engines():
    for stack in ("sluice", "kernel"):
        base = ["--stack", stack, "--port", str(PORT), "--verify"] + SHORT
        r, _ = run(base + ["--engine", "rr", "--connections", "8", "--size", "100,1000", "--depth", "3"])
        must("no latency", r["latency_ns"]["count"] > 0 and r["size"] == [100, 1000] and r["depth"] == 3)
        r, _ = run(base + ["--engine", "stream", "--connections", "2", "--size", "30000,20000"])
        must("nothing streamed", r["gbit_per_s"] > 0 and r["transactions"] > 0)
        r, _ = run(base + ["--engine", "connect", "--connections", "8"])
        must("nothing connected", r["connections_per_s"] > 0 and r["time_wait"]["held_by"] == "server")
        r, _ = run(base + ["--engine", "idle", "--connections", "100"])
        must("not each answered twice", r["latency_ns"]["count"] == 200)
        print(f"{stack}: rr, stream, connect, idle")


def test_crr():
    for stack in ("sluice", "kernel"):
        for close in ("client", "server"):
            for how in ("fin", "rst"):
                r, text = run(["--stack", stack, "--port", str(PORT), "--engine", "crr", "--connections", "8",
                               "--verify", "--close", close, "--close-with", how] + SHORT)
                must("no connections", r["connections_per_s"] > 0 and r["transactions"] > 0)
                must("the end is not told", f"closed first by the {close} with {how}; TIME_WAIT " +
                     (f"60 s at the {close}" if how == "fin" else "none") in text)
                must("60 s", r["time_wait"]["seconds"] == 60)
        print(f"{stack}: crr, closed by either side with FIN and RST")


def test_many():
    """Far more connections than ports, to one address and port, the opener closing first."""
    for close in ("client", "server"):
        r, text = run(["--engine", "crr", "--active", "64", "--connections", str(MANY), "--verify", "--close", close])
        must("not all ran", r["transactions"] == MANY == r["latency_ns"]["count"])
        must("ports ran out", r["ports_exhausted"] == 0 and r["refused"] == 0 and "PORTS LIMIT" not in text)
        must("no tuple was reused", r["time_wait"]["reused"] >= MANY - 32768 and r["time_wait"]["evicted"] == 0)
        print(f"{MANY} connections to one address and port, {close} first: {r['time_wait']['reused']} tuples reused, "
              f"{r['connections_per_s']:.0f} a second")
    r, text = run(["--engine", "crr", "--connections", "8", "--clients", "10.0.0.1:40000-40019", "--verify",
                   "--tunable", "tcp.time_wait_reuse=2s"] + SHORT)
    must("20 ports gave other than 20 connections", r["latency_ns"]["count"] <= 20 and r["ports_exhausted"] > 0)
    must("it is not said that ports limit", "PORTS LIMIT THIS RUN" in text)
    r, text = run(["--stack", "kernel", "--engine", "crr", "--connections", "64", "--verify", "--servers",
                   f"127.0.0.1:{PORT}", "--clients", "127.0.0.1:40000-40009"] + SHORT)
    must("it is not said that the kernel's ports limit", r["ports_exhausted"] > 0 and "PORTS LIMIT" in text)


def test_ranges():
    for stack, clients, servers in (
            ("sluice", "10.0.0.10-10.0.0.19:1000-1099", "10.0.0.20-10.0.0.29:80-89"),
            ("sluice", "[fd00::10-fd00::4000]:1000-1099", "[fd00::5000-fd00::5fff]:80-81"),
            ("kernel", "127.0.1.1-127.0.1.9:40000-40999", f"127.0.2.1-127.0.2.3:{PORT}-{PORT + 3}")):
        r, _ = run(["--stack", stack, "--engine", "crr", "--active", "8", "--connections", "1000", "--verify",
                    "--clients", clients, "--servers", servers])
        must("not all ran", r["transactions"] == 1000)
        ports = r["servers"]["ports"]
        must("the ranges are not told", clients.strip("[").startswith(r["clients"]["first"]) and
             servers.endswith(f":{ports[0]}-{ports[1]}"))
    server = Server("echo")
    run(["--role", "client", "--stack", "kernel", "--engine", "crr", "--active", "8", "--connections", "400",
         "--clients", "127.0.1.1-127.0.1.4:40000-40099", "--servers", f"127.0.0.1:{PORT}", "--proto", "echo"])
    seen = server.seen()
    must(f"clients seen: {seen}", (seen["connections"], seen["addresses"], seen["first"], seen["last"]) ==
         (400, 4, 40000, 40099))
    print("ranges of clients and servers")


def test_load():
    r, _ = run(["--engine", "rr", "--connections", "200", "--active", "10", "--verify"] + SHORT)
    must("active", r["active"] == 10 and r["latency_ns"]["count"] > 0)
    r, _ = run(["--engine", "rr", "--connections", "10", "--rate", "2000/s", "--verify", "--duration", "1s",
                "--warmup", "100ms"])
    must(f"open loop: {r['transactions']} of 2000", 1000 <= r["transactions"] <= 3000 and r["rate"] == 2000)
    r, _ = run(["--engine", "crr", "--connections", "50", "--rate", "1000", "--verify", "--duration", "1s"])
    must(f"open loop: {r['connections_per_s']} connections a second", 500 <= r["connections_per_s"] <= 1500)
    r, text = run(["--engine", "rr", "--connections", "300", "--ramp", "200/s", "--verify"] + SHORT)
    must(f"the ramp took {r['opening_seconds']} s", 1.4 <= r["opening_seconds"] and r["ramp"] == 200)
    lines = [l for l in text.splitlines() if LINE.fullmatch(l)]
    must("a line a second, while it opens too", lines and " open " in lines[0])
    r, text = run(["--engine", "rr", "--duration", "2500ms", "--warmup", "0"])
    lines = [l for l in text.splitlines() if LINE.fullmatch(l)]
    must("a line a second", 1 <= len(lines) <= 4 and 1 <= len(r["intervals"]) <= 3)
    print("ramp, rate, active, a line a second")


def test_options():
    r, _ = run(["--mtu", "9000", "--rxd", "256", "--txd", "512", "--burst", "8", "--mbufs", "8k", "--checksum", "off",
                "--idle", "yield", "--tunable", "tcp.sndbuf=64k", "--engine", "stream", "--size", "8000"] + SHORT)
    must("mtu", all(p["mtu"] == 9000 for p in r["ports"]) and r["checksum"] is False)
    r, _ = run(["--tso", "--offload", "on", "--engine", "stream", "--verify"] + SHORT)
    must("tso", r["checksum"] is True and r["ports"][0]["tx_bytes"] + r["ports"][1]["tx_bytes"] > 0)
    r, _ = run(["--nat", "--verify", "--vrf", "7", "--connections", "4"] + SHORT)
    plain, _ = run(["--verify", "--size", "100"] + SHORT)
    for words in (["--client-vlan", "5", "--server-vlan", "5"], ["--client-vlan", "5,6", "--server-vlan", "5,6"]):
        r, _ = run(words + ["--verify", "--size", "100"] + SHORT)
        more = [x["ports"][0]["tx_bytes"] / x["ports"][0]["tx_packets"] for x in (plain, r)]
        must(f"tags: {more} bytes a packet", abs(more[1] - more[0] - 4 * len(words[1].split(","))) < 0.5)
    if len(os.sched_getaffinity(0)) > 1:
        cpus = sorted(os.sched_getaffinity(0))
        r, _ = run(["--connections", "8", "--verify"] + SHORT, lcores=f"0@{cpus[0]},1@{cpus[1]}")
        must("an lcore for each end", sorted((l["lcore"], l["role"]) for l in r["lcores"]) ==
             [(0, "client"), (1, "server")])
    done = subprocess.run([PROGRAM, "--help"], stdout=subprocess.PIPE, check=True)
    for word in ("--ramp N/s", "--clients A[-B][:P-Q]", "crr", "--close-with fin|rst", "--no-huge"):
        must(f"--help does not tell {word}", word in done.stdout.decode())
    for words in (["--bogus"], ["--engine", "none"], ["--engine", "stream", "--rate", "5"], ["--close", "client"],
                  ["--engine", "crr", "--depth", "2"], ["--tunable", "no.such=1"], ["--size", "0"], ["--proto", "echo"],
                  ["--role", "client", "--stack", "kernel", "--peer", "::1", "--proto", "discard"]):
        r, _ = run(words, status=2)
        must(f"{words} ran", r is None)
    print("options, --help, mistakes")


def test_lcores():
    cpus = [CPUS[(os.getpid() + i) % len(CPUS)] for i in range(2)]
    lcores = f"0@{cpus[0]},1@{cpus[0]},2@{cpus[1]},3@{cpus[1]}"
    for words in (["rr", "--connections", "100"], ["crr", "--connections", "16", "--close-with", "rst"]):
        _, text = run(["--verify", "--lcore-cycle", "10ms", "--idle", "yield", "--duration", "500ms", "--warmup", "50ms",
                       "--engine"] + words, lcores=lcores)
        times = re.search(r"lcores left and came back (\d+) times", text)
        must("no lcore left", times and int(times.group(1)) > 2)
    print("lcores leave and come back")


def test_foreign():
    at = ["--role", "client", "--stack", "kernel", "--servers", f"127.0.0.1:{PORT}"]
    server = Server("echo")
    for words in (["rr", "--connections", "4", "--size", "3000"], ["crr", "--connections", "4"],
                  ["stream", "--size", "5000"], ["idle", "--connections", "20"]):
        r, _ = run(at + ["--proto", "echo", "--verify", "--engine"] + words + SHORT)
        must("nothing came back", r["mode"] == "idle" or r["transactions"] > 0)
    server.seen()
    server = Server("discard")
    r, _ = run(at + ["--proto", "discard", "--engine", "stream"] + SHORT)
    seen = server.seen()
    sent = r["gbit_per_s"] * 1e9 / 8 * r["seconds"]
    must(f"{seen['bytes']} bytes arrived, {sent} sent", seen["bytes"] >= 0.99 * sent > 0 and r["transactions"] > 0)
    for kind in ("http", "chunked"):
        server = Server(kind, "7")
        http = at + ["--proto", "http", "--verify", "--path", "/file"]
        r, _ = run(http + ["--engine", "rr", "--connections", "4"] + SHORT)
        must("no answers", r["transactions"] > 0)
        r, _ = run(http + ["--engine", "crr", "--connections", "4"] + SHORT)
        must("the server closes first", r["close"]["first"] == "server" and r["transactions"] > 0)
        r, _ = run(http + ["--engine", "crr", "--active", "4", "--connections", "100", "--close", "client"])
        must("not all answered", r["transactions"] == 100)
        server.seen()
    print("echo, discard, http of others")


def test_faults():
    """Exit status 1, and the field that says why."""
    at = ["--role", "client", "--stack", "kernel", "--servers", f"127.0.0.1:{PORT}"]
    server = Server("http")
    r, text = run(at + ["--proto", "http", "--path", "/missing"] + SHORT, status=1)
    must("404 is no error", r["wrong_bytes"] > 0 and "404" in text)
    # It waits for the end of a header that never comes.
    r, text = run(at + ["--proto", "echo", "--engine", "crr", "--size", "64,64"] + SHORT + ["--drain", "500ms"], status=1)
    must("an answer that never comes is no error", "not answered within 0.5 s" in text and r["transactions"] == 0)
    server.seen()
    server = Server("liar")
    r, _ = run(at + ["--proto", "echo", "--engine", "crr", "--size", "64,64", "--verify"] + SHORT, status=1)
    must("other bytes are no error", r["wrong_bytes"] > 0)
    server.seen()
    server = Server("echo")
    r, _ = run(at + ["--verify", "--connections", "2"] + SHORT, status=1)
    must("an echo is not our server's response", r["wrong_bytes"] > 0)
    server.seen()
    server = Server("http", "1")
    r, _ = run(at + ["--proto", "http", "--engine", "crr", "--close", "client", "--connections", "2"] + SHORT)
    server.seen()
    print("faults are told")


def test_prompt():
    """Commands by a pipe, each when the answer to the one before is there."""
    for engine in ("rr", "stream", "crr"):
        words = [PROGRAM] + EAL + ["--lcores", "0@" + CPU, "--", "--interactive", "--verify", "--connections", "8", "--engine",
                                   engine]
        p = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        SERVERS.append(p)
        said = []

        def order(command, expected):
            p.stdin.write(command + "\n")
            p.stdin.flush()
            while True:
                line = p.stdout.readline()
                said.append(line)
                must(f"{engine}: no \"{expected}\" after {command}:\n" + "".join(said), line)
                if re.search(expected, line):
                    return line

        order("help", "set rate N")
        order("stop", "nothing is being measured")
        while "8 established" not in order("show conns", r"client 0: \d+ connections") and engine != "crr":
            pass
        for _ in range(2):
            order("start", "start")
            line = order("show stats", r"measure conns ")
            while re.search(r"trans/s 0 ", line):
                line = order("show stats", r"measure conns ")
            order("stop", rf"sluice {engine}: [1-9]\d* trans/s")
            order("show stats", r"pause   conns")
            while not re.search(r"trans/s 0 ", order("show stats", r"pause   conns")):
                pass  # what was queued arrives still; after that nothing does
        if engine == "rr":
            order("set rate 3000", "set rate")
            order("start", "start")
            order("set rate 1", "stop first")
            order("stop", "sluice rr: ")
        if engine == "rr":  # the one that exists has a place and an owner, a made-up one has no owner
            order("show steering 127.1.1.1 1 127.1.1.2 2", r"client: one squeue, queue -1, squeue 0, no connection")
            order("show steering 10.0.0.1 1 fd00::1 2", r"client: Invalid argument")
        order("bogus", "Bad arguments|not found|Command")
        p.stdin.write("quit\n")
        p.stdin.close()
        rest = p.stdout.read()
        must(f"{engine}: exit status {p.wait()} after quit: {rest}", p.wait() == 0)
    print("prompt: rr, stream, crr")


def test_doc():
    """Each field stands in doc/testtcp.md."""
    with open(HERE + "/../../doc/testtcp.md", encoding="utf-8") as f:
        text = f.read()

    def names(form):
        if isinstance(form, dict):
            for k, v in form.items():
                yield k
                yield from names(v)
        elif isinstance(form, (list, tuple)):
            for v in form:
                yield from names(v)

    for name in set(names(FIELDS)) - {"schema"}:
        must(f"{name} is not documented", f"`{name}`" in text or f"`{name}[]`" in text)


TESTS = [test_doc, test_engines, test_crr, test_many, test_ranges, test_load, test_options, test_lcores, test_foreign, test_faults,
         test_prompt]
names = sys.argv[3:]
try:
    for t in TESTS:
        if not names or t.__name__[5:] in names:
            t()
except Wrong as e:
    sys.exit(f"FAILED: {e}")
finally:
    for p in SERVERS:
        p.kill()
