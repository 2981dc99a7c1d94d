#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Put small faults (mutants) into lib/tcp, one at a time, and see which the fast tests notice.

All happens in a copy of the tree. The library becomes one shared object that all test programs are
linked with once, so a mutant costs one compilation, one link and as many tests as it survives. A
mutant that does not compile, or whose object code is the original's, is replaced by another one.
The tests run in order of their speed; the first that fails has killed the mutant. A program that
runs much longer than on the original (an endless loop) counts as killed, "timeout".

The result names each mutant: K killed (by which test), S survived, A survived and answered in
doc/mutants.md (a row with the same file, function, line and mutant gives the reason).
"""
import argparse
import collections
import concurrent.futures
import hashlib
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time

FILES = ["input", "output", "recovery", "rcvq", "options", "timewait", "half", "open", "timers",
         "rtt", "sendq"]
TESTS = re.compile(r"^(unit_tcp_|unit_sock_|unit_hostile_|wire_|fuzz_|sim_)")
LEFT_OUT = {"wire_selftest",       # tests the runner, not the library
            "wire_matrix",         # a million cells for each survivor
            "fuzz_ini", "fuzz_ip6",
            "unit_sock_attack",    # counts allocations of the library linked statically
            "unit_sock_threads",   # real time
            "unit_hostile_pool", "unit_hostile_secrets",  # seconds for each survivor
            "unit_tcp_conntab",    # of a file that is not mutated; both are linked with parts
            "unit_tcp_cc"}
SIM = ["--seeds", "1..100", "--jobs", "1"]  # instead of its own arguments
FUZZ_RUNS = "100"                           # besides the corpus

# ---- finding places ----

TOKEN = re.compile(r"""
    (?P<skip>\s+|//[^\n]*|/\*.*?\*/|^[ \t]*\#(?:\\\n|[^\n])*)
  | (?P<str>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
  | (?P<num>0[xX][0-9a-fA-F]+[uUlL]*|\d[\d.]*[uUlL]*)
  | (?P<id>[A-Za-z_]\w*)
  | (?P<op>->|\+\+|--|<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.(){}\[\]])
""", re.X | re.S | re.M)

FLIP = {"==": ["!="], "!=": ["=="], "<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="],
        ">=": [">", "<"]}
FLIP_CALL = {"seq_lt": "seq_le", "seq_le": "seq_lt", "seq_gt": "seq_ge", "seq_ge": "seq_gt",
             "seq_max": "seq_min", "seq_min": "seq_max", "RTE_MIN": "RTE_MAX", "RTE_MAX": "RTE_MIN"}
SWAP = {"true": "false", "false": "true",
        "SL_TH_FIN": "SL_TH_SYN", "SL_TH_SYN": "SL_TH_FIN", "SL_TH_RST": "SL_TH_ACK",
        "SL_TH_ACK": "SL_TH_PUSH", "SL_TH_PUSH": "SL_TH_URG", "SL_TH_URG": "SL_TH_PUSH",
        "SLUICE_SYN_SENT": "SLUICE_SYN_RCVD", "SLUICE_SYN_RCVD": "SLUICE_ESTABLISHED",
        "SLUICE_ESTABLISHED": "SLUICE_CLOSE_WAIT", "SLUICE_CLOSE_WAIT": "SLUICE_FIN_WAIT_1",
        "SLUICE_FIN_WAIT_1": "SLUICE_FIN_WAIT_2", "SLUICE_FIN_WAIT_2": "SLUICE_CLOSING",
        "SLUICE_CLOSING": "SLUICE_LAST_ACK", "SLUICE_LAST_ACK": "SLUICE_TIME_WAIT",
        "SLUICE_TIME_WAIT": "SLUICE_CLOSED",
        "ECONNRESET": "ETIMEDOUT", "ECONNREFUSED": "ECONNRESET", "ETIMEDOUT": "ECONNRESET",
        "ECONNABORTED": "ECONNRESET"}
KEYWORDS = {"return", "if", "else", "for", "while", "do", "switch", "case", "default", "goto",
            "break", "continue", "static", "const", "struct", "enum", "union", "unsigned", "signed",
            "int", "char", "short", "long", "bool", "void", "extern", "sizeof", "typedef"}
# What these say changes no behaviour, or is an assertion: nothing inside is mutated.
INERT = {"SL_CHECK", "sl_conn_check", "_Static_assert", "static_assert", "rte_prefetch0", "rte_prefetch1",
         "rte_prefetch2", "fetch_ahead"}


class Tok:
    __slots__ = ("kind", "text", "at", "end", "depth", "braces")

    def __init__(self, kind, text, at):
        self.kind, self.text, self.at, self.end = kind, text, at, at + len(text)
        self.depth = self.braces = 0


def tokens(src):
    out, depth, braces = [], 0, 0
    for m in TOKEN.finditer(src):
        kind = m.lastgroup
        if kind == "skip":
            continue
        t = Tok(kind, m.group(), m.start())
        if t.text in (")", "]"):
            depth -= 1
        elif t.text == "}":
            braces -= 1
        t.depth, t.braces = depth, braces
        if t.text in ("(", "["):
            depth += 1
        elif t.text == "{":
            braces += 1
        out.append(t)
    return out


def closing(toks, i):
    """Index of the bracket that closes toks[i]."""
    for k in range(i + 1, len(toks)):
        if toks[k].text in (")", "]", "}") and toks[k].depth == toks[i].depth and \
           toks[k].braces == toks[i].braces:
            return k
    return len(toks) - 1


def inert_ranges(toks):
    """What stands in the brackets of an inert call; of an inert function, its body too."""
    out = []
    for i, t in enumerate(toks[:-1]):
        if t.text in INERT and toks[i + 1].text == "(":
            k = closing(toks, i + 1)
            if toks[k + 1].text == "{":
                k = closing(toks, k + 1)
            out.append((t.at, toks[k].end))
    return out


def binary(toks, i):
    """Is the operator at i one between two values?"""
    p = toks[i - 1]
    return p.kind in ("num", "str") or p.text in (")", "]") or \
        (p.kind == "id" and p.text not in KEYWORDS)


def declares(toks, i):
    """Does a declaration begin here: `type name`, `type *name`?"""
    k = i
    while k < len(toks) and toks[k].kind == "id":
        k += 1
    if k - i >= 2:
        return True
    return toks[k].text == "*" and k - i == 1 and toks[k + 1].kind == "id" and \
        toks[k + 2].text in ("=", ";", ",", "[")


def statements(toks):
    """(begin, end) of each expression statement, `break` and `continue`."""
    for i in range(1, len(toks)):
        t, p = toks[i], toks[i - 1]
        if t.depth != 0 or t.braces == 0:
            continue
        starts = p.text in (";", "{", "}", "else", ":") or \
            (p.text == ")" and opens_control(toks, i - 1))
        if not starts or t.text in ("{", "}", ";"):
            continue
        if t.kind == "id" and t.text in KEYWORDS - {"break", "continue"}:
            continue
        if t.text not in ("break", "continue") and declares(toks, i):
            continue
        for k in range(i, len(toks)):
            if toks[k].text in ("{", "}") and toks[k].depth == 0:
                break
            if toks[k].text == ";" and toks[k].depth == 0:
                if p.text != ":" or toks[i + 1].text != ",":
                    yield t.at, toks[k].end, t.text
                break


def opens_control(toks, k):
    """Is the bracket that closes at k that of if, for or while?"""
    depth = 0
    for j in range(k, -1, -1):
        if toks[j].text == ")":
            depth += 1
        elif toks[j].text == "(":
            depth -= 1
            if depth == 0:
                return j > 0 and toks[j - 1].text in ("if", "for", "while", "switch")
    return False


def conditions(toks):
    """(begin, end) of what stands in the brackets of if and while."""
    for i, t in enumerate(toks[:-1]):
        if t.text in ("if", "while") and toks[i + 1].text == "(":
            yield toks[i + 1].end, toks[closing(toks, i + 1)].at


def other_number(text):
    m = re.match(r"(0[xX][0-9a-fA-F]+|\d+)([uUlL]*)$", text)
    if not m:
        return []
    v, suffix = int(m.group(1), 0), m.group(2)
    return [("off-by-one", "%d%s" % (v + 1, suffix))] + \
        ([("off-by-one", "%d%s" % (v - 1, suffix))] if v > 0 else []) + \
        ([("constant", "0" + suffix)] if v > 1 else [])


def sizes_array(toks, i):
    """Is this the size in a declaration, `uint8_t opts[40]`? A larger array changes nothing."""
    return toks[i - 1].text == "[" and toks[i + 1].text == "]" and \
        toks[i - 3].kind == "id" and toks[i - 3].text != "return"


def mutants_of(src):
    """All mutants of a file: (operator, begin, end, new text)."""
    toks = tokens(src)
    inert = inert_ranges(toks)
    out = []
    for i, t in enumerate(toks):
        if t.braces == 0 or i + 1 >= len(toks):
            continue  # tables and prototypes outside functions
        if t.text in FLIP and binary(toks, i):
            out += [("comparison", t.at, t.end, n) for n in FLIP[t.text]]
        elif t.text in FLIP_CALL:
            out.append(("comparison", t.at, t.end, FLIP_CALL[t.text]))
        elif t.text in ("&&", "||"):
            out.append(("logic", t.at, t.end, "||" if t.text == "&&" else "&&"))
        elif t.text in ("+", "-") and binary(toks, i):
            out.append(("arithmetic", t.at, t.end, "-" if t.text == "+" else "+"))
        elif t.text in ("+=", "-="):
            out.append(("arithmetic", t.at, t.end, "-=" if t.text == "+=" else "+="))
        elif t.kind == "num" and not sizes_array(toks, i):
            out += [(op, t.at, t.end, n) for op, n in other_number(t.text)]
        elif t.text in SWAP:
            out.append(("constant", t.at, t.end, SWAP[t.text]))
    out += [("statement", a, b, ";") for a, b, _ in statements(toks)]
    out += [("negation", a, b, "!(" + src[a:b] + ")") for a, b in conditions(toks)]
    return [m for m in out if not any(a <= m[1] < b for a, b in inert)]


def line_of(src, at):
    return src.count("\n", 0, at) + 1


def function_at(src, at):
    """The name of the function around: its line begins at the margin and the brace follows."""
    names = re.findall(r"^(?:[a-z_][\w \t]*[ \t*])(\w+)\([^;{]*\)\n\{", src[:at], re.M)
    return names[-1] if names else "-"


def one_line(text):
    return re.sub(r"\s+", " ", text).strip()


class Mutant:
    def __init__(self, name, src, spec):
        self.file, self.op, self.at, self.end, self.new = (name,) + spec
        self.text = src[:self.at] + self.keep_lines(src) + src[self.end:]
        self.line, self.function = line_of(src, self.at), function_at(src, self.at)
        a = src.rfind("\n", 0, self.at) + 1
        b = src.find("\n", self.end)
        self.old_line = one_line(src[a:b])
        self.new_line = one_line(src[a:self.at] + self.new + src[self.end:b])
        self.state, self.by = "?", ""

    def keep_lines(self, src):
        """Lines keep their numbers: assertions have them in the object code."""
        lost = src.count("\n", self.at, self.end) - self.new.count("\n")
        return self.new + "\n" * lost

    def place(self):
        return "%s.c, %s" % (self.file, self.function), self.old_line, self.new_line

    def key(self):
        return self.file + ".c", self.old_line, self.new_line


# ---- the copy and its programs ----

def run(cmd, cwd, **kw):
    r = subprocess.run(cmd, cwd=cwd, capture_output=True, text=True, **kw)
    if r.returncode != 0:
        sys.exit("mutate: %s\n%s%s" % (cmd if isinstance(cmd, str) else shlex.join(cmd),
                                       r.stdout, r.stderr))
    return r.stdout


class Tree:
    """A copy of the working tree, built once: compile commands of the library, programs that take
    it as a shared object from the folder that LD_LIBRARY_PATH names."""

    def __init__(self, root, work, jobs):
        self.src, self.build = os.path.join(work, "src"), os.path.join(work, "build")
        self.orig = os.path.join(work, "orig")
        stamp, now = os.path.join(work, "stamp"), self.copy(root)
        self.fresh = os.path.exists(stamp) and open(stamp).read() == now
        if not self.fresh:
            shutil.rmtree(self.orig, ignore_errors=True)
            os.makedirs(self.orig)
        if not os.path.exists(os.path.join(self.build, "build.ninja")):
            run(["meson", "setup", self.build, self.src, "-Dbuildtype=plain", "-Doptimization=1",
                 "-Ddebug_checks=true", "-Dbench=false", "-Dwerror=false"], self.src,
                env=dict(os.environ, CC="gcc"))
        elif not self.fresh:
            run(["meson", "setup", "--reconfigure", self.build], self.src)
        self.commands = {}
        for c in json.load(open(os.path.join(self.build, "compile_commands.json"))):
            self.commands[os.path.relpath(os.path.join(c["directory"], c["file"]), self.src)] = c
        self.objects = {}  # of the library: source -> object
        self.compile_library(jobs)
        if not self.fresh:
            self.link(self.orig, {})
        self.tests = self.link_tests()
        with open(stamp, "w") as f:
            f.write(now)

    def copy(self, root):
        """The tree as it is now, without what git ignores; returns a digest of all of it."""
        h = hashlib.sha256()
        names = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], root)
        shutil.rmtree(self.src, ignore_errors=True)
        for n in sorted(names.split("\0")):
            if n and os.path.isfile(os.path.join(root, n)):
                to = os.path.join(self.src, n)
                os.makedirs(os.path.dirname(to), exist_ok=True)
                shutil.copy2(os.path.join(root, n), to)
                if n.startswith(("lib/", "drivers/", "test/")) and not n.endswith(".wire") and \
                   "/corpus/" not in n:
                    with open(to, "rb") as f:
                        h.update(n.encode() + b"\0" + f.read())
        return h.hexdigest()

    def command(self, source, out, text=None):
        """As meson compiles it, but each symbol can be seen from outside and nothing depends on the
        object's name."""
        c = self.commands[source]
        args, o = [], iter(shlex.split(c["command"]))
        for a in o:
            if a in ("-o", "-MF", "-MQ"):
                next(o)
            elif a not in ("-MD", "-fvisibility=hidden", "-c", c["file"]):
                args.append(a)
        args += ["-fno-semantic-interposition", "-w", "-c", "-o", out]
        if text is None:
            args.append(c["file"])
        else:  # from a pipe, with the file's own folder for includes
            args += ["-iquote", os.path.dirname(os.path.join(self.src, source)), "-x", "c", "-"]
        return args

    def compile_library(self, jobs):
        for s in sorted(self.commands):
            if s.startswith(("lib/", "drivers/")) and not s.startswith("lib/preload/"):
                self.objects[s] = os.path.join(self.orig, s.replace("/", "_") + ".o")
        if self.fresh:
            return
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            texts = {s: open(os.path.join(self.src, s)).read() for s in self.objects}
            for s, ok in zip(texts, pool.map(
                    lambda s: self.compile(s, texts[s], self.objects[s]), texts)):
                if not ok:
                    sys.exit("mutate: %s does not compile" % s)

    def compile(self, source, text, out):
        marker = '# 1 "%s"\n' % source
        r = subprocess.run(self.command(source, out, text), cwd=self.build, text=True,
                           input=marker + text, capture_output=True)
        return r.returncode == 0

    def link(self, where, instead):
        objs = [instead.get(s, o) for s, o in self.objects.items()]
        libs = shlex.split(run(["pkg-config", "--libs", "libdpdk"], self.src)) + ["-lnuma"]
        run(["gcc", "-shared", "-o", os.path.join(where, "libsl.so")] + objs + libs, self.build)

    def link_tests(self):
        """The programs of the fast tests, as meson links them but with the shared object."""
        tests, linked = [], {}
        all_tests = json.loads(run(["meson", "introspect", "--tests", self.build], self.src))
        for t in all_tests:
            if not TESTS.match(t["name"]) or t["name"] in LEFT_OUT or \
               not t["cmd"][0].startswith(self.build):  # a script
                continue
            exe, args = t["cmd"][0], t["cmd"][1:]
            if t["name"].startswith("sim_") and os.path.basename(exe) == "sim":
                if any(n == "sim" for n, _ in tests):
                    continue
                t["name"], args = "sim", SIM
            if "--runs" in args:
                args[args.index("--runs") + 1] = FUZZ_RUNS
            if exe not in linked:
                linked[exe] = self.link_test(os.path.relpath(exe, self.build))
            tests.append((t["name"], [linked[exe]] + args))
        return tests

    def link_test(self, target):
        out = os.path.join(self.orig, os.path.basename(target))
        if self.fresh:
            return out
        text = run(["ninja", "-t", "commands", "-s", target], self.build)
        args = shlex.split(text.strip().splitlines()[-1])
        needed = [a for a in args if a.endswith(".o") or (a.endswith(".a") and "test/" in a)]
        run(["ninja"] + needed, self.build)
        keep = [a for a in args if not (a.endswith((".a", ".so")) and
                                        a.startswith(("lib/", "drivers/")))]
        keep = [a for a in keep if "rpath" not in a]
        keep[keep.index("-o") + 1] = out
        libs = shlex.split(run(["pkg-config", "--libs", "libdpdk"], self.src))
        run(keep + ["-L" + self.orig, "-Wl,--no-as-needed", "-lsl"] + libs, self.build)
        return out


def digest(path):
    """Of the code and data: the compiler writes nothing else without -g."""
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).digest()


def run_test(cmd, where, cpu, wall):
    """None when it passes, else why not. `cpu` and `wall` in seconds."""
    def limits():
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu), int(cpu) + 1))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.setsid()
    p = subprocess.Popen(cmd, cwd=where, preexec_fn=limits, text=True, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
                         env=dict(os.environ, LD_LIBRARY_PATH=where))
    try:
        out, _ = p.communicate(timeout=wall)
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, 9)
        p.communicate()
        return "timeout"
    failed = re.search(r"^not ok (?!.*# (?:TODO|SKIP)).*$", out, re.M)
    if p.returncode in (-24, -9):
        return "timeout"
    if p.returncode != 0 or failed:
        return failed.group()[:100] if failed else "status %d" % p.returncode
    return None


class Bench:
    def __init__(self, tree):
        self.tree = tree
        self.tests = []  # (name, command, CPU seconds)
        for name, cmd in tree.tests:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            why = run_test(cmd, tree.orig, 120, 600)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if why is not None:
                sys.exit("mutate: %s fails without any mutant: %s" % (name, why))
            took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            self.tests.append((name, cmd, took))
        self.tests.sort(key=lambda t: t[2])

    def try_one(self, m, where):
        """Compile, link and test. False: to be replaced by another one."""
        source = "lib/tcp/%s.c" % m.file
        obj = os.path.join(where, "mutant.o")
        if not self.tree.compile(source, m.text, obj):
            m.state = "not compiled"
            return False
        if digest(obj) == digest(self.tree.objects[source]):
            m.state = "same code"
            return False
        self.tree.link(where, {source: obj})
        for name, cmd, took in self.tests:
            why = run_test(cmd, where, 3 + 10 * took, 60 + 100 * took)
            if why is not None:
                m.state, m.by = "K", "%s (%s)" % (name, why)
                return True
        m.state = "S"
        return True


# ---- answers and the report ----

def answers(path):
    """Rows `| file.c, function | original | mutant | reason |` of doc/mutants.md."""
    out = {}
    if os.path.exists(path):
        for line in open(path):
            cells = re.split(r"(?<!\\)\|", line.strip())
            if len(cells) >= 6 and ".c, " in cells[1]:
                c = [x.strip().strip("`").replace("\\|", "|") for x in cells[1:5]]
                out[(c[0], c[1], c[2])] = c[3]
    return out


def earlier(path):
    """Keys of the survivors of an earlier result."""
    keys, text = set(), open(path).read()
    for m in re.finditer(r"^[SA] (\w+\.c):\d+ .*\n    - (.*)\n    \+ (.*)$", text, re.M):
        keys.add(m.groups())
    return keys


def report(path, args, done, replaced, bench, seconds):
    killed = [m for m in done if m.state == "K"]
    alive = [m for m in done if m.state != "K"]
    with open(path, "w") as f:
        f.write("mutants %d, killed %d (%.1f %%), survived %d, of these answered %d\n" % (
            len(done), len(killed), 100.0 * len(killed) / max(1, len(done)), len(alive),
            sum(m.state == "A" for m in alive)))
        f.write("seed %d; replaced: %d not compiled, %d same object code; %d s\n" % (
            args.seed, replaced["not compiled"], replaced["same code"], seconds))
        f.write("tests, by speed: %s\n\n" % ", ".join(
            "%s %.2f s" % (n, t) for n, _, t in bench.tests))
        for what, of in (("file", lambda m: m.file + ".c"), ("operator", lambda m: m.op)):
            f.write("%-14s %8s %8s %8s\n" % (what, "mutants", "killed", "survived"))
            for k in sorted({of(m) for m in done}):
                n = sum(of(m) == k for m in done)
                d = sum(of(m) == k for m in killed)
                f.write("%-14s %8d %8d %8d\n" % (k, n, d, n - d))
            f.write("\n")
        for group in (alive, killed):
            for m in sorted(group, key=lambda m: (m.file, m.line)):
                f.write("%s %s.c:%d %s, %s %s\n    - %s\n    + %s\n" % (
                    m.state, m.file, m.line, m.function, m.op, m.by, m.old_line, m.new_line))
            f.write("\n")


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--count", type=int, default=300, help="mutants (300)")
    p.add_argument("--seed", type=int, default=1, help="which ones (1)")
    p.add_argument("--jobs", type=int, default=1, help="how many at a time (1)")
    p.add_argument("--file", action="append", choices=FILES, help="only this file of lib/tcp; again for more")
    p.add_argument("--again", metavar="RESULT", help="only the survivors of an earlier result")
    p.add_argument("--work", metavar="FOLDER", help="build there and leave it: the next run with the same sources need not build")
    p.add_argument("--out", default="build/mutants.txt", help="the result (build/mutants.txt)")
    p.add_argument("--list", action="store_true", help="say how many mutants there could be; run nothing")
    args = p.parse_args()
    root = os.getcwd()
    files = args.file or FILES

    every = []
    for name in files:
        src = open("lib/tcp/%s.c" % name).read()
        every += [Mutant(name, src, spec) for spec in mutants_of(src)]
    if args.list:
        for name in files:
            print("%-12s %5d" % (name + ".c", sum(m.file == name for m in every)))
        return 0
    # Each by its own number, so that a change of one line leaves the choice among the others alone.
    seen = collections.Counter()
    for m in every:
        m.number = hashlib.sha256(("%d %d %s" % (
            args.seed, seen[m.key()], " ".join(m.key()))).encode()).digest()
        seen[m.key()] += 1
    every.sort(key=lambda m: m.number)
    if args.again:
        keys = earlier(args.again)
        every = [m for m in every if m.key() in keys]
        args.count = len(every)

    work = os.path.abspath(args.work) if args.work else tempfile.mkdtemp(prefix="sluice-mutate.")
    os.makedirs(work, exist_ok=True)
    start = time.monotonic()
    try:
        bench = Bench(Tree(root, work, args.jobs))
        print("mutate: built and timed in %d s; %d mutants possible, %d wanted" % (
            time.monotonic() - start, len(every), args.count), flush=True)
        done, replaced = [], {"not compiled": 0, "same code": 0}
        known, lock, queue = answers("doc/mutants.md"), threading.Lock(), iter(every)

        def work_on(number):
            where = os.path.join(work, "job%d" % number)
            os.makedirs(where, exist_ok=True)
            while True:
                with lock:
                    m = next(queue, None)
                    if m is None or len(done) >= args.count:
                        return
                ok = bench.try_one(m, where)
                if m.state == "S" and m.place() in known:
                    m.state = "A"
                with lock:
                    if not ok:
                        replaced[m.state] += 1
                        continue
                    if len(done) < args.count:
                        done.append(m)
                    print("%4d %s %s.c:%d %s%s" % (
                        len(done), m.state, m.file, m.line, m.op,
                        "" if m.state == "K" else "\n    - %s\n    + %s" % (m.old_line, m.new_line)),
                        flush=True)
                    report(args.out, args, done, replaced, bench, time.monotonic() - start)

        os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            for f in [pool.submit(work_on, i) for i in range(args.jobs)]:
                f.result()
        report(args.out, args, done, replaced, bench, time.monotonic() - start)
        print(open(args.out).readline().strip())
        print("mutate: %s" % args.out)
    finally:
        if not args.work:
            shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
