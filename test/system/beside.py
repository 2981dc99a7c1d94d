#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The kernel's traffic beside a stack on one port.

beside.py serve           echoes TCP on port 2222 and UDP on port 9000; says "ready"
beside.py use ADDR        one TCP session with numbered lines, a datagram and now and then a new connection between
                          two of them, until SIGTERM; then prints "tcp LINES udp SENT LOST new CONNECTIONS slowest MS"

Wrong bytes, or a session that ends, are an error."""
import signal
import socket
import sys
import threading
import time

TCP, UDP = 2222, 9000


def echo(conn):
    with conn:
        while data := conn.recv(65536):
            conn.sendall(data)


def accept(listener):
    while True:
        threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()


def serve():
    listener = socket.create_server(("0.0.0.0", TCP), backlog=16)
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("0.0.0.0", UDP))
        print("ready", flush=True)
        while True:
            data, peer = s.recvfrom(65536)
            s.sendto(data, peer)


def exchange(conn, text):
    line = (text * 20 + "\n").encode()
    conn.sendall(line)
    got = b""
    while len(got) < len(line):
        part = conn.recv(65536)
        if not part:
            sys.exit("the session ended")
        got += part
    if got != line:
        sys.exit(f"sent {line!r}, came {got!r}")


def datagram(s, addr, n):
    text = b"%d" % n * 50
    s.sendto(text, (addr, UDP))
    try:
        while s.recv(65536) != text:
            pass  # an answer that came too late
    except TimeoutError:
        return False
    return True


def use(addr):
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    sent = lost = new = 0
    slowest = 0.0
    with socket.create_connection((addr, TCP), 10) as conn, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        conn.settimeout(20)
        s.settimeout(1)
        print("ready", flush=True)
        while not stop:
            begin = time.monotonic()
            exchange(conn, f"session {sent}")
            slowest = max(slowest, time.monotonic() - begin)
            lost += not datagram(s, addr, sent)
            if sent % 8 == 0:
                with socket.create_connection((addr, TCP), 10) as one:
                    one.settimeout(20)
                    exchange(one, f"new {new}")
                new += 1
            sent += 1
            time.sleep(0.01)
    print("tcp", sent, "udp", sent, lost, "new", new, "slowest", round(slowest * 1000), flush=True)


serve() if sys.argv[1] == "serve" else use(sys.argv[2])
