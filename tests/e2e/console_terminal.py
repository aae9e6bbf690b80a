"""A person at a terminal: console_terminal.py URL (session | hangup). Prints what went wrong and exits 1, or exits 0."""
import os
import pty
import select
import subprocess
import sys
import termios
import time

url, what = sys.argv[1], sys.argv[2]


class Terminal:
    """A command on a pseudo-terminal of its own, typed at and read."""

    def __init__(self, *command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)
        self.before = termios.tcgetattr(self.fd)

    def type(self, text):
        os.write(self.fd, text)

    def want(self, text, seconds=90):
        seen, end = b"", time.monotonic() + seconds
        while text not in seen and time.monotonic() < end:
            if select.select([self.fd], [], [], 0.5)[0]:
                try:
                    seen += os.read(self.fd, 4096)
                except OSError:
                    break
        if text not in seen:
            sys.exit(f"not shown: {text!r}; but: {seen[-300:]!r}")

    def end(self):
        status = os.waitpid(self.pid, 0)[1]
        if os.waitstatus_to_exitcode(status) != 0:
            sys.exit(f"exit status {status}")


def same_terminal(t):
    if termios.tcgetattr(t.fd) != t.before:
        sys.exit("the terminal is not as it was")


t = Terminal("rondo", "run", url, "--net", "none")
t.want(b"login: ")
if what == "hangup":
    os.close(t.fd)
    t.end()
    sys.exit()
t.type(b"root\r")
t.want(b"# ")
t.type(b"echo typed-$((40 + 2))\r")
t.want(b"typed-42")
t.type(b"sleep 100\r")
time.sleep(1)
t.type(b"\x03")  # is the guest's, not ours
t.want(b"# ")
t.type(b"\x1d")
t.want(b"come back with: rondo console tiny")
same_terminal(t)
t.end()
if b"running" not in subprocess.run(["rondo", "ps"], capture_output=True).stdout:
    sys.exit("the machine does not run on")
t = Terminal("rondo", "console", "tiny")
t.want(b"Ctrl-] leaves")
t.type(b"\r")
t.want(b"# ")
t.type(b"poweroff\r")
t.want(b"tiny is off")
same_terminal(t)
t.end()
