#!/usr/bin/env python3
"""A site over HTTP that takes publications (docs/api.md), and lies as a script says.

    publish_server.py DIR --rondo PROGRAM --key SITEKEY [--log FILE] [--script FILE] [--keep FOLDER]

Prints "ready PORT" when it listens. It lists what is handed in with `rondo publish --signed`, and checks no signature: whom it
lets publish is not what it is for. The text of each session is written to FOLDER/session. Each request adds a line to the log
when it is over: method, path, bytes of body that came, status ("-": none). A rule of the script, which is read again for each
request, is a line `ENDPOINT ACTION [VALUE] [first=N]`; the endpoint is challenge, session, missing, objects, manifest or catalog;
the first N requests of it are treated so (all, without it). Actions:

    status N [TEXT]   this answer, with an error that says TEXT
    redirect URL      to there
    hang              no answer
    endless           an answer without end         headers   header lines without end
    garbage           no HTTP                       nonsense  200 and a text that means nothing
    cut N             the connection ends after N bytes of the body
    answer JSON       200 and that
    all [OFFSET]      missing: everything, and so much of it is there
    foreign           missing: objects that nobody asked for
    forget            objects: 201, and nothing is kept; manifest: 201, and nothing is listed
    after             objects, manifest: done as asked, and the connection ends without an answer
    stall             manifest: done as asked, and no answer
    rate N            objects: taken as they should be, N KiB a second
    wait              manifest: 202
    serial N          manifest: 409, for a version with that serial waits
    gate FILE         as it should be, once that file is there
"""
import argparse
import hashlib
import json
import os
import re
import secrets
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

PIECE = 16384
lock = threading.Lock()
partial = {}
busy = set()
counts = {}


def rule_for(endpoint):
    if not arguments.script or not os.path.exists(arguments.script):
        return None, ""
    with open(arguments.script, encoding="utf-8") as script:
        for line in script:
            words = line.rstrip("\n").split(" ")
            if words[0] != endpoint:
                continue
            first = [w for w in words if w.startswith("first=")]
            with lock:
                counts[line] = counts.get(line, 0) + 1
                if first and counts[line] > int(first[0][6:]):
                    continue
            return words[1], " ".join(w for w in words[2:] if w not in first)
    return None, ""


def path_of(name):
    return os.path.join(arguments.folder, "objects", name[:2], name)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    got, told = 0, "-"

    def log_message(self, *_):
        pass

    def parse_request(self):
        self.got, self.told = 0, "-"  # a connection brings several
        return super().parse_request()

    def note(self):
        if arguments.log:
            with lock, open(arguments.log, "a", encoding="utf-8") as log:
                log.write(f"{self.command} {self.path} {self.got} {self.told}\n")

    def answer(self, status, body=b"", headers=()):
        body = json.dumps(body).encode() if isinstance(body, dict) else body
        self.told = str(status)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for header in headers:
            self.send_header(*header)
        if self.got < int(self.headers.get("Content-Length", 0)):
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    def end(self):
        self.close_connection = True

    def body(self, most=None, sink=None):
        left, parts = int(self.headers.get("Content-Length", 0)), []
        while left and (most is None or self.got < most):
            piece = self.rfile.read1(min(left, PIECE, PIECE if most is None else most - self.got))
            if not piece:
                raise ConnectionError
            self.got += len(piece)
            left -= len(piece)
            if sink:
                sink(piece)
            else:
                parts.append(piece)
        return b"".join(parts)

    def misbehave(self, action, value):
        if action == "status":
            code, _, text = value.partition(" ")
            self.answer(int(code), {"error": text or "no", "next": "do something else"})
        elif action == "serial":
            self.answer(409, {"error": "it does not follow the newest", "serial": int(value)})
        elif action == "redirect":
            self.answer(307, b"", [("Location", value)])
        elif action == "hang":
            time.sleep(120)
            self.end()
        elif action == "gate":
            while not os.path.exists(value):
                time.sleep(0.02)
            return False
        elif action == "garbage":
            self.wfile.write(b"\x16\x03\x01 what\r\n\r\n")
            self.end()
        elif action == "nonsense":
            self.answer(200, b"\x00\xff{]" * 40)
        elif action == "answer":
            self.answer(200, value.encode())
        elif action in ("endless", "headers"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if action == "endless" else b""))
            piece = b"X: " + b"y" * 1000 + b"\r\n"
            while True:
                self.wfile.write(piece * 16)
        else:
            return False
        return True

    def missing(self, action, value):
        text = self.body().decode()
        lines = []
        for name, size in (line.split() for line in text.splitlines()):
            if action == "all":
                lines.append(f"{name} {size} {value or 0}")
            elif not os.path.exists(path_of(name)):
                lines.append(f"{name} {size} {len(partial.get(name, b''))}")
        if action == "foreign":
            lines.append(f"{'ab' * 32} 100 0")
        self.answer(200, "".join(line + "\n" for line in lines).encode())

    def put(self, name, action, value):
        with lock:
            if name in busy:
                self.answer(429, {"error": "it is being sent by another request"})
                return
            busy.add(name)
        try:
            self.put_part(name, action, value)
        finally:
            busy.discard(name)

    def put_part(self, name, action, value):
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", self.headers.get("Content-Range", ""))
        first = int(match[1]) if match else 0
        kept = partial.setdefault(name, bytearray())
        if first == 0:
            kept.clear()
        if first != len(kept):
            self.answer(409, {"error": "not where we are", "offset": len(kept)})
            return
        def keep(piece):
            kept.extend(piece)
            if action == "rate":
                time.sleep(len(piece) / 1024 / int(value))

        self.body(int(value) if action == "cut" else None, keep)
        if action == "cut":
            self.end()
            return
        if hashlib.sha256(kept).hexdigest() != name:
            partial.pop(name)
            self.answer(422, {"error": "the bytes do not match the name", "next": "send it again"})
            return
        partial.pop(name)
        if action != "forget":
            os.makedirs(os.path.dirname(path_of(name)), exist_ok=True)
            with open(path_of(name), "wb") as file:
                file.write(kept)
        if action == "after":
            self.end()
        else:
            self.answer(201)

    def manifest(self, tag, action):
        text = self.body()
        name = os.path.join(arguments.keep, "manifest")
        with lock:
            with open(name, "wb") as file:
                file.write(text)
            if action == "forget":
                self.answer(201, {"manifest": hashlib.sha256(text).hexdigest(), "number": 1})
                return
            if action == "wait":
                self.answer(202, {"pending": "1"})
                return
            done = subprocess.run([arguments.rondo, "publish", "--signed", name, "--to", arguments.folder, "--site-key", arguments.key,
                                   *(["--tag", tag] if tag else [])], capture_output=True, text=True, check=False)
        if action == "stall":
            time.sleep(120)
        if action in ("after", "stall"):
            self.end()
        elif done.returncode == 0:
            self.answer(201, {"manifest": hashlib.sha256(text).hexdigest(), "number": 1})
        else:
            self.answer(409 if "published" in done.stderr else 422, {"error": done.stderr.strip()})

    def do_POST(self):
        path, _, query = self.path.partition("?")
        endpoint = path.rsplit("/api/v1/publish/", 1)[-1]
        action, value = rule_for(endpoint)
        try:
            if action and self.misbehave(action, value):
                return
            if endpoint == "challenge":
                self.body()
                head = open(os.path.join(arguments.folder, "catalog.rondo"), encoding="utf-8").read().splitlines()
                self.answer(200, {"challenge": secrets.token_urlsafe(32), "site": head[1].split()[2], "id": head[2].split()[1], "seconds": 60})
            elif endpoint == "session":
                with open(os.path.join(arguments.keep, "session"), "wb") as file:
                    file.write(self.body())
                self.answer(200, {"token": secrets.token_urlsafe(32), "seconds": 3600, "quota_bytes": 1 << 40, "used_bytes": 0})
            elif endpoint == "missing":
                self.missing(action, value)
            elif endpoint == "manifest":
                tag = query.removeprefix("tag=").replace("%2B", "+")
                self.manifest(tag, action)
            else:
                self.answer(404, {"error": "no such thing"})
        finally:
            self.note()

    def do_PUT(self):
        action, value = rule_for("objects")
        try:
            if action and self.misbehave(action, value):
                return
            self.put(self.path.rsplit("/", 1)[-1], action, value)
        finally:
            self.note()

    def do_GET(self):
        try:
            if self.path.endswith("catalog.rondo"):
                action, value = rule_for("catalog")
                if action and self.misbehave(action, value):
                    return
            name = os.path.normpath(self.path).lstrip("/")
            try:
                with open(os.path.join(arguments.folder, name), "rb") as file:
                    whole = file.read()
            except OSError:
                self.answer(404)
                return
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if match and int(match[1]) < len(whole):
                first, last = int(match[1]), min(int(match[2]), len(whole) - 1)
                self.answer(206, whole[first:last + 1], [("Content-Range", f"bytes {first}-{last}/{len(whole)}")])
            else:
                self.answer(200, whole)
        finally:
            self.note()


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--rondo", required=True)
parser.add_argument("--key", required=True)
parser.add_argument("--log")
parser.add_argument("--script")
parser.add_argument("--keep", required=True)
arguments = parser.parse_args()
with Server(("127.0.0.1", 0), Handler) as server:
    print("ready", server.server_address[1], flush=True)
    server.serve_forever()
