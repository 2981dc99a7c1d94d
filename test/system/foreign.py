#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Servers that are not ours, for testtcp --proto: foreign.py echo|liar|discard|http|chunked PORT [KEEPALIVE].

http answers KEEPALIVE requests of a connection (without it: all), the last one with "Connection: close". GET /missing
is answered with 404. liar echoes each byte inverted. On SIGTERM prints "seen CONNECTIONS BYTES ADDRESSES FIRSTPORT LASTPORT" of its clients."""
import asyncio
import signal
import sys

BODY = b"0123456789abcdef" * 64
seen = {"connections": 0, "bytes": 0, "addresses": set(), "ports": set()}


class Base(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        address = transport.get_extra_info("peername")
        seen["connections"] += 1
        seen["addresses"].add(address[0])
        seen["ports"].add(address[1])

    def data_received(self, data):
        seen["bytes"] += len(data)
        self.take(data)


class Echo(Base):
    def take(self, data):
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


class Liar(Base):
    def take(self, data):
        self.transport.write(bytes(255 - b for b in data))


class Discard(Base):
    def take(self, data):
        pass


class Http(Base):
    chunked = False
    keepalive = 1 << 60

    def connection_made(self, transport):
        super().connection_made(transport)
        self.buffer = b""
        self.left = self.keepalive

    def body(self):
        if not self.chunked:
            return b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
        cut = len(BODY) // 3
        return b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (
            cut, BODY[:cut], len(BODY) - cut, BODY[cut:])

    def take(self, data):
        self.buffer += data
        while self.left and b"\r\n\r\n" in self.buffer:
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            self.left -= 1
            last = not self.left or b"connection: close" in head.lower()
            close = b"Connection: close\r\n" if last else b""
            if head.startswith(b"GET /missing"):
                self.transport.write(b"HTTP/1.1 404 Not Found\r\n%sContent-Length: 0\r\n\r\n" % close)
            else:
                self.transport.write(b"HTTP/1.1 200 OK\r\n" + close + self.body())
            if last:
                self.left = 0
                self.transport.close()


class Chunked(Http):
    chunked = True


async def main():
    kind = {"echo": Echo, "liar": Liar, "discard": Discard, "http": Http, "chunked": Chunked}[sys.argv[1]]
    if len(sys.argv) > 3:
        Http.keepalive = int(sys.argv[3])
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(kind, None, int(sys.argv[2]), backlog=1024)
    print("ready", flush=True)
    await stop.wait()
    server.close()
    print("seen", seen["connections"], seen["bytes"], len(seen["addresses"]), min(seen["ports"], default=0),
          max(seen["ports"], default=0), flush=True)


asyncio.run(main())
