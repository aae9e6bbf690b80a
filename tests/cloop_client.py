"""A client of rondo-cloop's control socket (docs/protocol.md), and a holder of its session, for tests.

    cloop_client.py kill PID | quit | counts

It shares no code with Rondo. State memfd: fuse-cloop/state.h, of which only the header's first words are used here.
"""
import array
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import time

READ = 15  # FUSE_READ of <linux/fuse.h>


class Refused(Exception):
    def __init__(self, code, sentence):
        super().__init__(f"error {code}: {sentence}")
        self.code = code
        self.sentence = sentence


class Gone(Exception):
    pass


def start(*arguments, fds=(), env=None, log=None):
    """Starts rondo-cloop and waits for its word: None, or Refused. Returns the process."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    process = subprocess.Popen(
        [os.environ["BUILD"] + "/rondo-cloop", "--ready-fd", str(writer), *arguments],
        pass_fds=(writer, *fds), env=env, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True)
    os.close(writer)
    with os.fdopen(reader) as f:
        word = f.readline().strip()
    if word == "ok":
        return process
    process.wait()
    if word.startswith("error "):
        _, code, sentence = word.split(" ", 2)
        raise Refused(int(code), sentence)
    raise Gone(f"it said {word!r}")


class Client:
    def __init__(self, path=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(60)
        self.socket.connect(path or os.environ["RONDO_RUNTIME"] + "/cloop.sock")

    def pid(self):
        bytes_ = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return struct.unpack("iII", bytes_)[0]

    def ask(self, text, fds=()):
        """Returns (what follows "ok", descriptors)."""
        try:
            socket.send_fds(self.socket, [text.encode()], list(fds))
            answer, received, _, _ = socket.recv_fds(self.socket, 8192, 4)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Gone(str(e)) from e
        if not answer:
            raise Gone("end of the connection")
        answer = answer.decode()
        if answer == "ok" or answer.startswith("ok "):
            return answer[3:], list(received)
        _, code, sentence = answer.split(" ", 2)
        raise Refused(int(code), sentence)

    def open(self, manifest, *sources):
        return self.ask("\n".join(["open " + manifest, *sources]))[0]

    def hold(self):
        return Session(*self.ask("hold")[1])

    def handover(self, session):
        return self.ask("handover", session.fds())[0]

    def counts(self):
        return {k: int(v) for k, v in (w.split("=") for w in self.ask("counts")[0].split())}

    def close(self):
        self.socket.close()


class Session:
    """The two descriptors of a session."""

    def __init__(self, fuse, state):
        self.fuse, self.state = fuse, state

    def fds(self):
        return [self.fuse, self.state]

    def arguments(self):
        return ["--session-fd", str(self.fuse), "--state-fd", str(self.state)]

    def close(self):
        os.close(self.fuse)
        os.close(self.state)

    def outstanding(self):
        """How many READ requests stand in the slots, read and not answered."""
        with mmap.mmap(self.state, 0, mmap.MAP_SHARED, mmap.PROT_READ) as m:
            _, _, count, size, used_at, slots_at = struct.unpack_from("8sIIIII", m)
            used = array.array("I", m[used_at:used_at + 4 * count])
            requests = [struct.unpack_from("IIQ", m, slots_at + i * size) for i in range(count) if used[i]]
            return sum(1 for _, opcode, unique in requests if opcode == READ and unique)


def state_of(pid):
    """The state memfd of a running rondo-cloop."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{fd}"
        if os.readlink(path).startswith("/memfd:rondo-cloop"):
            return os.open(path, os.O_RDWR)
    raise Gone("it has no state")


def kill(pid):
    """Kills a rondo-cloop; returns how many reads it had not answered."""
    os.kill(pid, signal.SIGSTOP)  # so that what is counted is what is killed
    try:
        while True:
            with open(f"/proc/{pid}/stat") as f:
                if f.read().rsplit(") ", 1)[1][0] in "TZ":
                    break
            time.sleep(0.001)
        state = state_of(pid)
        try:
            return Session(-1, state).outstanding()
        finally:
            os.close(state)
    except (OSError, Gone):
        return 0
    finally:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[1] == "kill":  # PID: prints how many reads were outstanding
        print(kill(int(sys.argv[2])))
    elif sys.argv[1] == "quit":  # the rondo-cloop of RONDO_RUNTIME, once it is not in use any more
        Client().ask("quit")
    elif sys.argv[1] == "counts":
        print(*(f"{k}={v}" for k, v in Client().counts().items()))
