"""The shared rondo-cloop, through its control socket. Run by cloop_mount.sh; prints "ok WHAT" and "not ok WHAT"."""
import errno
import hashlib
import mmap
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

from cloop_client import Client, Gone, Refused, start

site, manifest, disk = os.environ["SITE"], os.environ["MANIFEST"], os.environ["DISK"]
server = int(os.environ["SERVER"])
tmp, runtime, cache = os.environ["TMPDIR"], os.environ["RONDO_RUNTIME"], os.environ["RONDO_CACHE"]
log_path = tmp + "/cloop.log"
log = open(log_path, "a")
with open(disk, "rb") as f:
    disk_bytes = f.read()


def check(condition, what):
    print(("ok " if condition else "not ok ") + what, flush=True)


def refused(code, what, function, *arguments):
    try:
        function(*arguments)
    except Refused as e:
        check(e.code == code, f"{what} ({e.sentence})" if e.code == code else f"{what}: {e}")
        return e.sentence
    check(False, what + ": it was not refused")
    return ""


def fails(function, *arguments):
    try:
        function(*arguments)
    except OSError as e:
        return e.errno
    return 0


def is_mounted(path=runtime + "/mnt"):
    with open("/proc/self/mountinfo") as mounts:
        return any(line.split()[4] == path for line in mounts)


def read_direct(path, offset, size):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, size) as m:  # aligned
            n = os.preadv(fd, [m], offset)
            return m[:n]
    finally:
        os.close(fd)


def wait_until(seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# Opening, and what is refused.
process = start("--wait", "3", log=log)
refused(errno.EBUSY, "a second rondo-cloop for the same folder is refused", start)
client = Client()
folder = client.open(manifest, site)
check(folder == os.path.realpath(runtime) + "/mnt/" + manifest, "the folder bears the manifest's name")
check(open(folder + "/disk", "rb").read() == disk_bytes, "the disk is right")
check(sorted(os.listdir(folder)) == ["disk", "initrd", "kernel", "manifest"], "the members are listed")
check(os.listdir(runtime + "/mnt") == [manifest], "the root lists what is open")
check(client.open(manifest, site) == folder, "opening again is the same")
mount = subprocess.run(["rondo", "mount", site + "image", folder], capture_output=True, text=True)
check(mount.returncode == 10 and "is not empty" in mount.stderr,
      "a folder in a FUSE file system is not taken for the root of one: " + mount.stderr.strip())
wrong = "0" * 63 + "1"
refused(errno.ENOENT, "a version that is nowhere", client.open, wrong, site)
check(fails(os.stat, runtime + "/mnt/" + wrong) == errno.ENOENT, "has no folder")
os.makedirs(f"{tmp}/liar/objects/00")
with open(f"{tmp}/liar/objects/00/{wrong}", "wb") as f:
    f.write(disk_bytes[:5000])
refused(errno.EBADMSG, "bytes that do not hash to the name", client.open, wrong, tmp + "/liar")
check(fails(os.stat, runtime + "/mnt/" + wrong) == errno.ENOENT, "have no folder either")
refused(errno.EINVAL, "no hash", client.open, "nonsense", site)
refused(errno.EINVAL, "an unknown message", client.ask, "dance")
refused(errno.EINVAL, "a relative folder as a source", client.open, wrong, "some/folder")
refused(errno.EINVAL, "17 sources", client.open, wrong, *(f"{site}{i}/" for i in range(17)))
for what, first in (("a rate", f"keep pull\n{wrong}"), ("an owner", f"keep 0\n{wrong}"), ("a rate that is a number", f"keep -1 pull\n{wrong}"),
                    ("a rate that is none too large", f"keep {2 ** 64} pull\n{wrong}"), ("a version", "keep 0 pull"),
                    ("an owner with an absolute path", f"keep 0 some/folder\n{wrong}"), ("a hash", "keep 0 pull\nnonsense")):
    refused(errno.EINVAL, f"to keep without {what}", client.ask, f"{first}\n{site}" if "\n" in first else first)
refused(errno.EINVAL, "an owner in the own mount", client.ask, f"keep 0 {folder}\n{wrong}\n{site}")
refused(errno.EINVAL, "a handover of nothing", client.ask, "handover")
refused(errno.EINVAL, "a source in the own mount", client.open, wrong, folder)
os.symlink(runtime + "/mnt", tmp + "/link")
refused(errno.EINVAL, "a source that leads there by a symbolic link", client.open, wrong, tmp + "/link/" + manifest)
check(client.open(manifest, site, tmp + "/liar", "http://127.0.0.1:1/") == folder, "more sources can be added")
for i in range(40):
    os.symlink(f"{tmp}/site", f"{tmp}/elsewhere{i}")
    client.open(manifest, f"{tmp}/elsewhere{i}")
check(client.open(manifest, site) == folder, "and more and more, one after the other")
counts = client.counts()
check(counts["requests"] > 0 and counts["bytes"] > 0 and counts["wrong"] == 1, f"it counts: {counts}")

# Many versions: the table is bounded, what is open stays.
text = open(folder + "/manifest").read()
many = tmp + "/many"
names = []
for i in range(300):
    bytes_ = re.sub("(?m)^serial .*", f"serial {i + 2}", text).encode()
    name = hashlib.sha256(bytes_).hexdigest()
    os.makedirs(f"{many}/objects/{name[:2]}", exist_ok=True)
    with open(f"{many}/objects/{name[:2]}/{name}", "wb") as f:
        f.write(bytes_)
    names.append(name)
shutil.copytree(f"{tmp}/site/objects", f"{many}/objects", dirs_exist_ok=True)
first = Client()
held_folder = first.open(names[0], many)
held_file = open(first.open(names[1], many) + "/disk", "rb")
first.close()
first = Client()
first.open(names[0], many)
for name in names[2:]:
    other = Client()
    other.open(name, many)
    other.close()
check(len(os.listdir(runtime + "/mnt")) == 256, "the table of versions is full, not fuller")
check(manifest in os.listdir(runtime + "/mnt") and names[0] in os.listdir(runtime + "/mnt"), "what is open is in it")
check(names[2] not in os.listdir(runtime + "/mnt"), "what was used least recently is not")
check(fails(os.stat, f"{runtime}/mnt/{names[2]}/disk") in (0, errno.ENOENT, errno.ESTALE) and
      fails(os.open, f"{runtime}/mnt/{names[2]}/disk", os.O_RDONLY) in (errno.ENOENT, errno.ESTALE), "nor can it be opened")
held_file.seek(1 << 20)
check(held_file.read(65536) == disk_bytes[1 << 20:(1 << 20) + 65536], "an open file keeps its version, without a connection")
other = Client()
again = other.open(names[2], many)
check(open(again + "/disk", "rb").read(8192) == disk_bytes[:8192], "what was given up can be opened again")
held_file.close()

# Clients do not wait for each other.
hole = socket.socket()
hole.bind(("127.0.0.1", 0))
hole.listen(16)
slow = threading.Thread(target=lambda: refused(errno.ENETUNREACH, "a source that never answers", Client().open, wrong,
                                                f"http://127.0.0.1:{hole.getsockname()[1]}/"))
slow.start()
time.sleep(0.3)
begin = time.monotonic()
Client().open(names[3], many)
check(slow.is_alive() and time.monotonic() - begin < 1, "meanwhile others are served")
slow.join()
hole.close()
first.close()
other.close()

# The end, when nobody needs it.
client.ask("quit")
check(not wait_until(1, lambda: process.poll() is not None), "quit waits for the versions that are open")
client.close()
check(wait_until(10, lambda: process.poll() == 0), "then it ends")
check(not is_mounted() and not os.path.exists(runtime + "/cloop.sock"), "and leaves no mount and no socket")

# No network: an error, never wrong bytes; and back again. Many reads at once.
shutil.rmtree(cache)
process = start("--wait", "2", "--idle", "1", log=log)
client = Client()
folder = client.open(manifest, site)
session = client.hold()
os.kill(server, signal.SIGSTOP)
kib = os.fstat(session.state).st_blocks // 2
check(2048 <= kib < 2048 + 128, f"beside the slots, its state takes memory for the versions alone that it has: {kib} KiB")
results = {}


def read_one(i):
    offset = i * 262144
    try:
        results[i] = read_direct(folder + "/disk", offset, 4096) == disk_bytes[offset:offset + 4096]
    except OSError as e:
        results[i] = e.errno


threads = [threading.Thread(target=read_one, args=(i,)) for i in range(72)]
for t in threads:
    t.start()
outstanding = wait_until(1.5, lambda: session.outstanding() >= 64)
check(outstanding, f"many reads wait at once: {session.outstanding()}")
check(os.stat(folder + "/kernel").st_size == 300001, "and do not keep others waiting")
for t in threads:
    t.join()
check(set(results.values()) <= {True, errno.EIO} and errno.EIO in results.values(),
      f"each is right, or EIO: {sorted(map(str, set(results.values())))}")
log.flush()
text = open(log_path).read()
said = [line for line in text.splitlines() if "disk of image 1 at byte" in line]
check(any("chunk" in line for line in said), f"the log says which byte and which chunk: {said[:1]}")
fd = os.open(folder + "/disk", os.O_RDONLY)
time.sleep(1.1)  # for so long a failure is remembered
begin = time.monotonic()
check(fails(os.pread, fd, 4096, 7 * 131072) == errno.EIO and 1.5 < time.monotonic() - begin < 3.5,
      f"a read that the kernel does page by page once it has failed takes the waiting time once: {time.monotonic() - begin:.1f} s")
os.close(fd)
os.kill(server, signal.SIGCONT)
time.sleep(1.1)
check(open(folder + "/disk", "rb").read() == disk_bytes, "with the network back, everything can be read")

# Idle.
f = open(folder + "/disk", "rb")
session.close()
client.close()
check(not wait_until(2.5, lambda: process.poll() is not None), "an open file keeps it alive")
f.close()
check(wait_until(10, lambda: process.poll() == 0), "idle, it ends")
check(not is_mounted() and not os.path.exists(runtime + "/cloop.sock"), "with its mount")

process = start("--idle", "1", log=log)
os.unlink(runtime + "/cloop.sock")
check(wait_until(10, lambda: process.poll() == 0) and not is_mounted(), "it does so without its socket's name, too")

# SIGTERM.
process = start(log=log)
client = Client()
process.send_signal(signal.SIGTERM)
check(wait_until(10, lambda: process.poll() == 0) and not is_mounted(), "SIGTERM ends it, with its mount, when no version is open")
client.close()
process = start(log=log)
client = Client()
f = open(client.open(manifest, site) + "/disk", "rb")
session = client.hold()
process.send_signal(signal.SIGTERM)
check(wait_until(10, lambda: process.poll() == 0) and is_mounted(), "when a held one is, its mount waits for a successor")
process = start(*session.arguments(), "--idle", "1", fds=session.fds(), log=log)
check(f.read() == disk_bytes, "who goes on with it")
f.close()
client.close()
session.close()
check(wait_until(10, lambda: process.poll() == 0) and not is_mounted(), "and ends when idle")
process = start(log=log)
client = Client()
f = open(client.open(manifest, site) + "/disk", "rb")
process.send_signal(signal.SIGTERM)
check(wait_until(10, lambda: process.poll() == 0) and not is_mounted(), "when nobody holds it, its mount goes")
check(fails(os.pread, f.fileno(), 4096, 0) != 0, "and its files fail")
f.close()
client.close()

# Where it cannot run.
refused(errno.EINVAL, "a cache in the own mount",
        lambda: start(env=dict(os.environ, RONDO_CACHE=runtime + "/mnt/cache"), log=log))
process = start(log=log)
subprocess.run(["umount", runtime + "/mnt"], check=True)
check(wait_until(10, lambda: process.poll() == 0), "when its mount is taken away, it ends")
try:
    Client()
    check(False, "and nobody answers")
except (OSError, Gone):
    check(True, "and nobody answers")
