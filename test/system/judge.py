#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""judge.py CAPTURE OURS BYTES DROPS: what tshark says of one captured connection between OURS (an address) and a kernel.

Fails on: a malformed packet, a bad IP or TCP checksum, a segment with bytes beyond the window that the other side has
offered, a window whose right edge moved left (RFC 9293 3.8.6), acknowledgements of bytes never sent, more retransmissions
of ours than DROPS, or a capture that does not hold BYTES."""
import subprocess
import sys

FIELDS = [
    "frame.number", "ip.src", "ipv6.src", "tcp.seq", "tcp.ack", "tcp.len", "tcp.window_size", "tcp.flags.syn",
    "tcp.flags.ack", "tcp.flags.reset", "tcp.checksum.status", "ip.checksum.status", "_ws.malformed",
    "tcp.analysis.retransmission", "tcp.analysis.fast_retransmission", "tcp.analysis.spurious_retransmission",
    "tcp.analysis.lost_segment",
]
BAD = "0"  # of a checksum's status


def packets(path):
    cmd = ["tshark", "-n", "-r", path, "-T", "fields", "-E", "separator=;", "-E", "occurrence=f",
           "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-o", "tcp.relative_sequence_numbers:TRUE",
           "-o", "tcp.desegment_tcp_streams:FALSE"]
    for f in FIELDS:
        cmd += ["-e", f]
    with subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as p:
        for line in p.stdout:
            yield dict(zip(FIELDS, line.rstrip("\n").split(";")))
    if p.returncode != 0:
        raise SystemExit("judge: tshark failed")


def main():
    path, ours, size, drops = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    faults = []
    retrans = {True: 0, False: 0}
    edge = {}    # by sender: highest right edge that it offered
    sent = {}    # by sender: highest byte sent
    count = 0
    kernel_sums = 0

    def fault(p, text):
        faults.append(f"frame {p['frame.number']}: {text}")

    for p in packets(path):
        count += 1
        src = (p["ip.src"] or p["ipv6.src"]) == ours
        if p["_ws.malformed"]:
            fault(p, "malformed")
        if not p["tcp.seq"]:
            continue
        # The kernel's own segments are captured before its device: now and then one whose checksum is not filled in yet.
        # What arrives with a bad one is dropped and counted by sluice, whose sums are what is judged.
        if BAD in (p["tcp.checksum.status"], p["ip.checksum.status"]):
            if src:
                fault(p, f"bad checksum, {p['tcp.len']} bytes at {p['tcp.seq']}")
            else:
                kernel_sums += 1
        if p["tcp.flags.reset"] in ("1", "True"):
            fault(p, "reset")
        if src and p["tcp.analysis.lost_segment"] and not drops:
            fault(p, "a segment before this one is missing")
        if any(p["tcp.analysis." + k] for k in ("retransmission", "fast_retransmission", "spurious_retransmission")):
            retrans[src] += 1
        seq, length = int(p["tcp.seq"]), int(p["tcp.len"])
        end = seq + length
        # One byte beyond a closed window is a probe (RFC 9293 3.8.6.1).
        if length > 1 and (not src) in edge and end > edge[not src]:
            fault(p, f"{end - edge[not src]} bytes beyond the window")
        sent[src] = max(sent.get(src, 0), end)
        if p["tcp.flags.ack"] not in ("1", "True"):
            continue
        ack, window = int(p["tcp.ack"]), int(p["tcp.window_size"])
        if (not src) in sent and ack > sent[not src] + 1:
            fault(p, "acknowledges bytes never sent")
        # The edge may seem to move left by less than one unit of the window scale, which rounds down.
        if src and src in edge and ack + window < edge[src] - (1 << 14) and p["tcp.flags.syn"] not in ("1", "True"):
            fault(p, f"right edge of the window moved left by {edge[src] - ack - window}")
        edge[src] = max(edge.get(src, 0), ack + window)

    if max(sent.values(), default=0) < size:
        print(f"judge: only {max(sent.values(), default=0)} bytes were captured: this proves nothing")
        return 3
    if retrans[True] > drops:
        faults.append(f"{retrans[True]} retransmissions, {drops} drops")
    print(f"judge: {count} packets, {retrans[True]} retransmissions of sluice, {retrans[False]} of the kernel, "
          f"{kernel_sums} unfilled checksums of the kernel,"
          f" {drops} drops, {len(faults)} faults")
    for f in faults[:20]:
        print(" ", f)
    return 1 if faults else 0


sys.exit(main())
