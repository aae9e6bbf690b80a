#!/usr/bin/env python3
# A client of "Try it in the browser", by hand, for T33_consoles.sh:  T33_consoles.py PORT WHAT [ARGUMENT…]
#
#   token NAME [ORIGIN [FORWARDED]]   prints the status of the request for a token, and the token or the error
#   open TOKEN [HEADER=VALUE…]        prints the status of the request for the socket ("Origin=" leaves a header out)
#   frames TOKEN HEX…                 opens, sends the bytes, and prints how the server closes: its status, or "gone"
#   shell TOKEN COMMAND WANTED        opens, logs in as root, types the command, and prints "shown" when WANTED appears
#                                     in what it shows; then waits for a line on standard input, and for how it is closed
#   hold TOKEN                        opens, prints "open", shows what comes, until the server closes
import base64, os, re, socket, struct, sys

port, what, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
own = f"http://127.0.0.1:{port}"


def request(lines, body=False):
    s = socket.create_connection(("127.0.0.1", port), timeout=200)
    s.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        piece = s.recv(65536)
        if not piece:
            return s, "gone", "", b""
        head += piece
    head, _, rest = head.partition(b"\r\n\r\n")
    if body:
        length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
        while len(rest) < length:
            rest += s.recv(65536)
    return s, int(head.split()[1]), head.decode(), rest


def ask(token, **changes):
    headers = {
        "Host": f"127.0.0.1:{port}",
        "Origin": own,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }
    headers.update((k.replace("_", "-"), v) for k, v in changes.items())
    target = "/api/v1/try/socket" + (f"?token={token}" if token else "")
    return request([f"GET {target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items() if v)])


class Stream:
    def __init__(self, token):
        self.socket, status, _, self.bytes = ask(token)
        if status != 101:
            sys.exit(f"status {status}")

    def need(self, n):
        while len(self.bytes) < n:
            piece = self.socket.recv(65536)
            if not piece:
                return False
            self.bytes += piece
        return True

    def frame(self):  # opcode and payload, or None at the end
        if not self.need(2):
            return None
        first, length = self.bytes[0], self.bytes[1]
        assert first & 0x70 == 0 and first & 0x80 and length < 0x80 and length != 127, self.bytes[:4]
        head = 2
        if length == 126:
            self.need(4)
            head, length = 4, struct.unpack(">H", self.bytes[2:4])[0]
        if not self.need(head + length):
            return None
        payload, self.bytes = self.bytes[head : head + length], self.bytes[head + length :]
        if first & 15 == 9:
            self.send(10, payload)
        return first & 15, payload

    def send(self, opcode, payload):
        mask = os.urandom(4)
        assert len(payload) < 126
        data = bytes(c ^ mask[i % 4] for i, c in enumerate(payload))
        self.socket.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + data)

    def closing(self, show=False):  # how it is closed, what is shown before
        shown = b""
        while True:
            try:
                frame = self.frame()
            except ConnectionResetError:
                frame = None
            if frame is None:
                return "gone", shown
            if frame[0] == 2:
                shown += frame[1]
                if show:
                    print(frame[1].decode(errors="replace"), flush=True)
            if frame[0] == 8:
                return struct.unpack(">H", frame[1][:2])[0], shown

    def wait(self, text):
        shown = b""
        while text not in shown:
            frame = self.frame()
            if frame is None or frame[0] == 8:
                sys.exit(f"closed; shown was {shown!r}")
            if frame[0] == 2:
                shown += frame[1]


if what == "token":
    name, origin = arguments[0], arguments[1] if len(arguments) > 1 else own
    lines = [f"POST /api/v1/try/{name} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Length: 0"]
    lines += [f"Origin: {origin}"] if origin else []
    lines += [f"X-Forwarded-For: {arguments[2]}"] if len(arguments) > 2 else []
    _, status, _, body = request(lines, body=True)
    print(status, re.search(r'"(?:token|error)": "([^"]*)"', body.decode()).group(1))
elif what == "open":
    s, status, head, _ = ask(arguments[0], **dict(a.replace("-", "_").split("=", 1) for a in arguments[1:]))
    print(status, *re.findall(r"(?im)^sec-websocket-version: (\S+)", head))
elif what == "frames":
    stream = Stream(arguments[0])
    stream.socket.sendall(b"".join(bytes.fromhex(a) for a in arguments[1:]))
    print(stream.closing()[0])
elif what == "hold":
    stream = Stream(arguments[0])
    print("open", flush=True)
    print("closed", stream.closing(show=True)[0])
elif what == "shell":
    stream = Stream(arguments[0])
    stream.wait(b"login:")
    stream.send(2, b"root\r")
    stream.wait(b"# ")
    stream.send(2, arguments[1].encode() + b"\r")
    stream.wait(arguments[2].encode())
    print("shown", flush=True)
    if not sys.stdin.readline():
        sys.exit()
    print("closed", stream.closing()[0])
