#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The kernel's end of the system tests: peer.py listen PORT | connect ADDR PORT, then send FILE | recv FILE.

One connection. The sender shuts its side after the last byte and waits for the other's end of stream; the receiver
reads to the end of stream. Prints "ready" when it listens, and the bytes moved at the end."""
import os
import socket
import sys

CHUNK = 1 << 20


def open_connection(args):
    if args[0] == "listen":
        s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        s.bind(("::", int(args[1])))
        s.listen(8)
        print("ready", flush=True)
        conn, _ = s.accept()
        s.close()
        return conn, args[2:]
    return socket.create_connection((args[1], int(args[2])), timeout=30), args[3:]


def main():
    conn, (what, path) = open_connection(sys.argv[1:])
    conn.settimeout(None)
    total = 0
    if what == "send":
        with open(path, "rb") as f:
            total = os.fstat(f.fileno()).st_size
            conn.sendfile(f)
        conn.shutdown(socket.SHUT_WR)
        if conn.recv(1):
            raise SystemExit("peer: bytes came that nobody sent")
    else:
        buf = memoryview(bytearray(CHUNK))
        with open(path, "wb", buffering=0) as f:
            while n := conn.recv_into(buf):
                f.write(buf[:n])
                total += n
    conn.close()
    print("bytes", total, flush=True)


main()
