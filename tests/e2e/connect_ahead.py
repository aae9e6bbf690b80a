"""connect_ahead.py FOLDER LOG: a server that answers for a manifest only when other connections stand, and logs which of its
connections asked for what.

It prints "ready PORT". Each line of the log: the connection's number, the connections so far, the path."""
import os
import re
import socket
import sys
import threading

folder, log = sys.argv[1], open(sys.argv[2], "a", buffering=1)
first_connections, wait_seconds = 4, 10  # the one that asks, and three
changed = threading.Condition()
count = 0


def serve(connection, number):
    with connection, connection.makefile("rb") as lines:
        while True:
            head = []
            while (line := lines.readline()).strip():
                head.append(line.decode())
            if not head:
                return
            path = head[0].split()[1].lstrip("/")
            with open(os.path.join(folder, path), "rb") as f:
                body = f.read()
            with changed:
                if body.startswith(b"rondo-manifest "):
                    changed.wait_for(lambda: count >= first_connections, wait_seconds)
                print(number, count, path, file=log)
            status, field = "200 OK", ""
            wanted = re.search(r"^Range: bytes=(\d+)-(\d+)", "".join(head), re.M | re.I)
            if wanted:
                first, last, size = int(wanted[1]), int(wanted[2]), len(body)
                status, field = "206 Partial Content", f"Content-Range: bytes {first}-{last}/{size}\r\n"
                body = body[first:last + 1]
            try:
                connection.sendall(f"HTTP/1.1 {status}\r\n{field}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            except OSError:
                return


listener = socket.create_server(("127.0.0.1", 0))
print("ready", listener.getsockname()[1], flush=True)
while True:
    accepted = listener.accept()[0]
    with changed:
        count += 1
        changed.notify_all()
    threading.Thread(target=serve, args=(accepted, count), daemon=True).start()
