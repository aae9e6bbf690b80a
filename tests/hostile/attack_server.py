#!/usr/bin/env python3
"""A web server that serves a folder, and misbehaves as a script says.

    attack_server.py DIR [--port N] [--bind ADDRESS] [--log FILE] [--script FILE] [--rule 'RULE']...

Prints "ready PORT" when it listens. Rules given with --rule come before those of the script; the script is read again
whenever the file changes, so that a test can change the server's mind. Every request adds one line to the log, before
it is answered:

    GET /objects/ab/ab… bytes=0-4095 flip        (method, path, range or "-", what the server does)

A rule is one line; the first one that fits a request decides, and without one the server behaves:

    PATTERN [SELECTOR=…]… ACTION [KEY=VALUE]…    # the pattern is a shell's, over the whole path: /objects/*

Selectors (all must hold; a rule counts the requests that fit its pattern)
    nth=N        every N-th of them only
    share=N      those paths of which the CRC-32 is divisible by N, always the same ones
    first=N      the first N only           after=N   not the first N
    up=S down=S  for S seconds not, then for S seconds, and so on, since the server's start
    range=yes|no only requests with, or without, a Range header

Actions
    serve                     as a good server would (for exceptions, before a general rule)
    flip [at=OFF,OFF…] [step=N]   one bit wrong: at these offsets of the file, or in every N-th byte of it, or (with
                              neither) in the middle of what is sent
    truncate to=N             the file ends after N bytes, honestly declared
    cut at=N                  the right head, N bytes of body, then the connection is closed
    reset [at=N]              N bytes of body (without it, not even a head), then RST
    wrong-range [shift=N]     a 206 of other bytes than were asked for, N further (4096), and says so
    lying-range [shift=N]     the same, but claims to send what was asked for
    no-content-range          a 206 that does not say what it is
    no-ranges                 200 and the whole file, whatever the range
    extra [bytes=N]           N bytes (1) more than asked for, without Content-Length
    endless                   a chunked body without end
    huge [length=N]           that Content-Length (2**62), and zeros without end
    headers                   header lines without end
    gzip [size=N]             Content-Encoding: gzip, the body N zeros (1 GiB), compressed
    slow rate=R               R bytes of body a second (may be below 1)
    slow-headers rate=R       the same, with the head
    silent                    no answer, the connection stays open
    status code=N [retry-after=N]
    redirect to=URL           {path} in it is the path asked for; "self" makes a loop
    stale from=DIR            the file of that folder instead, as an old mirror has it
    latency ms=N              a good answer, later
    garbage                   no HTTP
"""
import argparse
import fnmatch
import os
import socket
import socketserver
import struct
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler

PIECE = 65536
SELECTORS = {"nth", "share", "first", "after", "up", "down", "range"}
ACTIONS = {
    "serve": (), "flip": ("at", "step"), "truncate": ("to",), "cut": ("at",), "reset": ("at",),
    "wrong-range": ("shift",), "lying-range": ("shift",), "no-content-range": (), "no-ranges": (),
    "extra": ("bytes",), "endless": (), "huge": ("length",), "headers": (), "gzip": ("size",), "slow": ("rate",),
    "slow-headers": ("rate",), "silent": (), "status": ("code", "retry-after"), "redirect": ("to",),
    "stale": ("from",), "latency": ("ms",), "garbage": (),
}
NEEDED = {"truncate": "to", "cut": "at", "slow": "rate", "slow-headers": "rate", "status": "code", "redirect": "to",
          "stale": "from", "latency": "ms"}


class Rule:
    def __init__(self, text):
        words = text.split()
        self.pattern, self.selectors, self.action, self.values = words[0], {}, None, {}
        for word in words[1:]:
            key, equals, value = word.partition("=")
            if self.action is None and not equals:
                if key not in ACTIONS:
                    raise ValueError(f"no action {key!r} in rule {text!r}")
                self.action = key
            elif self.action is None and key in SELECTORS:
                self.selectors[key] = value if key == "range" else float(value)
            elif self.action is not None and equals and key in ACTIONS[self.action]:
                self.values[key] = value
            else:
                raise ValueError(f"cannot use {word!r} in rule {text!r}")
        if self.action is None:
            raise ValueError(f"no action in rule {text!r}")
        if self.action in NEEDED and NEEDED[self.action] not in self.values:
            raise ValueError(f"{self.action} needs {NEEDED[self.action]}= in rule {text!r}")
        self.count = 0

    def fits(self, path, has_range, now):
        if not fnmatch.fnmatchcase(path, self.pattern):
            return False
        s = self.selectors
        if "range" in s and (s["range"] == "yes") != has_range:
            return False
        self.count += 1
        if "nth" in s and self.count % int(s["nth"]) != 0:
            return False
        if "share" in s and zlib.crc32(path.encode()) % int(s["share"]) != 0:
            return False
        if self.count > s.get("first", self.count) or self.count <= s.get("after", 0):
            return False
        if "down" in s:
            up = s.get("up", s["down"])
            return now % (up + s["down"]) >= up
        return True

    def number(self, key, default):
        return int(self.values.get(key, default))


def parse_rules(lines):
    texts = (line.split("#", 1)[0].strip() for line in lines)
    return [Rule(text) for text in texts if text]


class Script:
    """The rules in force. One lock, for the counters and for reading the file again."""

    def __init__(self, fixed, path):
        self.fixed, self.path, self.stamp, self.read = parse_rules(fixed), path, None, []
        self.lock = threading.Lock()
        self.started = time.monotonic()
        self.refresh()

    def refresh(self):
        if self.path is None:
            return
        st = os.stat(self.path)
        stamp = (st.st_mtime_ns, st.st_size, st.st_ino)
        if stamp != self.stamp:
            with open(self.path, encoding="utf-8") as f:
                self.read = parse_rules(f)
            self.stamp = stamp

    def choose(self, path, has_range):
        with self.lock:
            self.refresh()
            now = time.monotonic() - self.started
            for rule in self.fixed + self.read:
                if rule.fits(path, has_range, now):
                    return rule
        return Rule("* serve")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "attack"
    sys_version = ""
    timeout = 300
    disable_nagle_algorithm = True  # head and body are written apart

    def log_message(self, *_):  # the log is ours
        pass

    def do_GET(self):
        self.answer()

    def do_HEAD(self):
        self.answer()

    def answer(self):
        wanted = self.headers.get("Range")
        rule = self.server.script.choose(self.path, wanted is not None)
        action = rule.action if self.command == "GET" else "no-head"
        self.server.note(f"{self.command} {self.path} {wanted or '-'} {action}")
        self.close_connection = self.headers.get("Connection", "").lower() == "close"
        try:
            getattr(self, "do_" + action.replace("-", "_"))(rule)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True

    # What a good server does

    def open_file(self, folder=None):
        """The file asked for, or None after the answer 404."""
        root = os.path.realpath(folder or self.server.folder)
        path = os.path.realpath(root + self.path.split("?")[0])
        if not path.startswith(root + "/") or not os.path.isfile(path):
            self.send_plain(404)
            return None
        return open(path, "rb")

    def part(self, size):
        """(status, first, end) of what the Range header asks for."""
        text = self.headers.get("Range", "")
        if not text.startswith("bytes=") or "," in text:
            return 200, 0, size
        first, _, last = text[6:].partition("-")
        if not first.isdigit() or not (last.isdigit() or not last):
            return 200, 0, size
        first, end = int(first), min(int(last) + 1 if last else size, size)
        return (416, 0, 0) if first >= size or end <= first else (206, first, end)

    def send_plain(self, status, fields=(), body=b""):
        self.send_head(status, [("Content-Length", len(body)), *fields])
        self.wfile.write(body)

    def send_head(self, status, fields):
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, str(value))
        self.end_headers()

    def head_of(self, status, first, end, size):
        fields = [("Content-Length", end - first), ("Accept-Ranges", "bytes")]
        if status == 206:
            fields.append(("Content-Range", f"bytes {first}-{end - 1}/{size}"))
        return fields

    def send_file(self, folder=None, change=None, limit=None, forced=None, size=None, body_change=None):
        """Answers with the file. change(offset, bytes) may alter it, `limit` ends the body early, `forced` replaces
        (status, first, end), `size` claims another length of the file, body_change(fields) alters the head."""
        f = self.open_file(folder)
        if f is None:
            return
        with f:
            st = os.fstat(f.fileno())
            size = st.st_size if size is None else min(size, st.st_size)
            etag = f'"{st.st_mtime_ns:x}-{size:x}"'
            if self.headers.get("If-None-Match") == etag:
                self.send_head(304, [("ETag", etag)])
                return
            status, first, end = forced(size) if forced else self.part(size)
            if status == 416:
                self.send_plain(416, [("Content-Range", f"bytes */{size}")])
                return
            fields = self.head_of(status, first, end, size) + [("ETag", etag)]
            self.send_head(status, body_change(fields) if body_change else fields)
            if limit is not None:
                end = min(end, first + limit)
            f.seek(first)
            while first < end:
                piece = f.read(min(PIECE, end - first))
                if not piece:
                    break
                self.wfile.write(change(first, piece, end) if change else piece)
                first += len(piece)
        if limit is not None:
            self.close_connection = True

    def do_serve(self, _):
        self.send_file()

    def do_no_head(self, _):
        self.send_plain(501)

    def do_stale(self, rule):
        self.send_file(folder=rule.values["from"])

    def do_latency(self, rule):
        time.sleep(rule.number("ms", 0) / 1000)
        self.send_file()

    # Wrong bytes

    def do_flip(self, rule):
        at = {int(offset) for offset in rule.values.get("at", "").split(",") if offset}
        step = rule.number("step", 0)
        middle = None

        def change(offset, piece, end):
            nonlocal middle
            changed = bytearray(piece)
            places = [o - offset for o in at]
            if step:
                places += range(-offset % step, len(piece), step)
            elif not at:
                middle = (offset + end) // 2 if middle is None else middle
                places.append(middle - offset)
            for place in places:
                if 0 <= place < len(piece):
                    changed[place] ^= 1
            return changed

        self.send_file(change=change)

    def do_truncate(self, rule):
        self.send_file(size=rule.number("to", 0))

    def do_cut(self, rule):
        self.send_file(limit=rule.number("at", 0))

    def do_reset(self, rule):
        if "at" in rule.values:
            self.send_file(limit=rule.number("at", 0))
            self.wfile.flush()
            time.sleep(0.05)  # an RST may overtake what was sent
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.reset(self.connection)
        self.close_connection = True

    # Wrong ranges

    def shifted(self, rule):
        def forced(size):
            status, first, end = self.part(size)
            shift = rule.number("shift", 4096)
            if status != 206 or end + shift > size or first + shift < 0:
                return status, first, end
            return status, first + shift, end + shift

        return forced

    def do_wrong_range(self, rule):
        self.send_file(forced=self.shifted(rule))

    def do_lying_range(self, rule):
        def claim(fields):
            size = next(v for k, v in fields if k == "Content-Range").rpartition("/")[2]
            _, first, end = self.part(int(size))
            return [(k, f"bytes {first}-{end - 1}/{size}" if k == "Content-Range" else v) for k, v in fields]

        self.send_file(forced=self.shifted(rule), body_change=claim if self.headers.get("Range") else None)

    def do_no_content_range(self, _):
        self.send_file(body_change=lambda fields: [f for f in fields if f[0] != "Content-Range"])

    def do_no_ranges(self, _):
        self.send_file(forced=lambda size: (200, 0, size))

    # Too much

    def do_extra(self, rule):
        self.send_file(body_change=lambda fields: [f for f in fields if f[0] != "Content-Length"])
        self.wfile.write(b"\0" * rule.number("bytes", 1))
        self.close_connection = True

    def do_endless(self, _):
        self.send_head(200, [("Transfer-Encoding", "chunked")])
        while True:
            self.wfile.write(b"10000\r\n" + b"\0" * PIECE + b"\r\n")

    def do_huge(self, rule):
        self.send_head(200, [("Content-Length", rule.number("length", 2**62))])
        while True:
            self.wfile.write(b"\0" * PIECE)

    def do_headers(self, _):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            self.wfile.write(b"X-Padding: " + b"x" * 100 + b"\r\n")

    def do_gzip(self, rule):
        self.send_head(200, [("Content-Encoding", "gzip"), ("Connection", "close")])
        left, packer, zeros = rule.number("size", 1 << 30), zlib.compressobj(9, zlib.DEFLATED, 31), b"\0" * (1 << 20)
        while left > 0:
            self.wfile.write(packer.compress(zeros[:left]))
            left -= len(zeros)
        self.wfile.write(packer.flush())
        self.close_connection = True

    # Too slow

    def do_slow(self, rule):
        def change(_, piece, end):
            self.drip(piece, float(rule.values["rate"]))
            return b""

        self.send_file(change=change)

    def do_slow_headers(self, rule):
        self.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", float(rule.values["rate"]))

    def drip(self, text, rate):
        step = max(1, int(rate / 10))
        for i in range(0, len(text), step):
            self.wfile.write(text[i:i + step])
            time.sleep(min(step, len(text) - i) / rate)

    def do_silent(self, _):
        while self.connection.recv(4096):
            pass
        self.close_connection = True

    # Elsewhere, nowhere

    def do_status(self, rule):
        retry = [("Retry-After", rule.values["retry-after"])] if "retry-after" in rule.values else []
        self.send_plain(rule.number("code", 500), retry, b"" if rule.number("code", 500) == 304 else b"no\n")

    def do_redirect(self, rule):
        to = rule.values["to"].replace("{path}", self.path)
        self.send_plain(302, [("Location", self.path if to == "self" else to)])

    def do_garbage(self, _):
        self.wfile.write(b"\x16\x03\x01 this is no HTTP\r\n\0\xff" * 10)
        self.close_connection = True


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, arguments):
        self.folder, self.script = arguments.directory, Script(arguments.rule, arguments.script)
        self.log = os.open(arguments.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if arguments.log else -1
        self.resets = set()
        super().__init__((arguments.bind, arguments.port), Handler)

    def note(self, line):
        if self.log >= 0:
            os.write(self.log, (line + "\n").encode("utf-8", "backslashreplace"))

    def reset(self, connection):
        self.resets.add(connection)

    def shutdown_request(self, request):
        # The orderly end (FIN) would come before the RST that SO_LINGER promises.
        if request in self.resets:
            self.resets.discard(request)
            request.close()
        else:
            super().shutdown_request(request)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):  # clients may leave; mistakes of ours are shown
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--log")
    parser.add_argument("--script")
    parser.add_argument("--rule", action="append", default=[])
    arguments = parser.parse_args()
    try:
        server = Server(arguments)
    except (OSError, ValueError) as problem:
        sys.exit(f"attack_server.py: {problem}")
    with server:
        print(f"ready {server.server_address[1]}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


main()
