"""The client's part of boot_stream.sh."""
import os
import re
import shutil
import time

from cloop_client import Client, kill, start

site, manifest, folder = os.environ["SITE"], os.environ["MANIFEST"], os.environ["FOLDER"]
tmp, cache = os.environ["TMPDIR"], os.environ["RONDO_CACHE"]
log = open(tmp + "/cloop.log", "a")
with open(tmp + "/disk", "rb") as f:
    disk = f.read()
with open(tmp + "/kernel", "rb") as f:
    kernel = f.read()
with open(tmp + "/profile") as f:
    reads = [(m[1], int(m[2]) << 12, int(m[3]) << 12) for m in re.finditer(r"^read (\w+) (\d+) (\d+)$", f.read(), re.M)]
with open(f"{folder}/objects/{manifest[:2]}/{manifest}") as f:
    boot = [(name, int(size)) for name, size in re.findall(r"^boot (\w+) (\d+)$", f.read(), re.M)]
boot_bytes = sum(size for _, size in boot)


def check(condition, what):
    print(("ok " if condition else "not ok ") + what, flush=True)


def wait_until(seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def rules(*lines):
    with open(os.environ["RULES"] + ".new", "w") as f:
        f.writelines(line + "\n" for line in lines)
    os.rename(os.environ["RULES"] + ".new", os.environ["RULES"])


def requests():
    with open(os.environ["REQUESTS"]) as f:
        return [line.split()[1] for line in f]


def is_kept(name):
    return os.path.exists(f"{cache}/objects/{name[:2]}/{name}")


def all_kept():
    return all(is_kept(name) for name, _ in boot)


def reads_are_right(path):
    for member, offset, length in reads:
        fd = os.open(f"{path}/{member}", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # as a guest's base is read
        right = os.pread(fd, length, offset) == (disk if member == "disk" else kernel)[offset:offset + length]
        os.close(fd)
        if not right:
            return False
    return True


def end(client, process):
    client.ask("quit")
    client.close()
    process.wait(20)


check(len(boot) >= 4 and boot_bytes > 4 << 20, f"the profile became {len(boot)} boot packs, {boot_bytes} bytes")
if len(boot) < 4:
    raise SystemExit(1)

# A boot.
process = start("--wait", "5", log=log)
client = Client()
path = client.open(manifest, site)
check(wait_until(30, all_kept), "the boot packs come by themselves")
check(reads_are_right(path), "what a boot reads is right")
counts = client.counts()
check(counts["requests"] == 1 + len(boot), f"all of it took a request for the manifest, and one for each pack ({counts['requests']})")
check(counts["stream_bytes"] == boot_bytes and counts["chunks_fetched"] == 0, "and nothing else was fetched")
second = Client()
second.open(manifest, site)
check(client.counts()["requests"] == counts["requests"], "a second opening fetches nothing")
second.close()
end(client, process)

# An outage in the middle.
shutil.rmtree(cache)
rules("/objects/* slow rate=3000000")
process = start("--wait", "20", log=log)
client = Client()
path = client.open(manifest, site)
check(wait_until(30, lambda: client.counts()["stream_bytes"] > boot_bytes // 3), "a slow stream is on its way")
rules("/* reset")
time.sleep(1)
check(not all_kept(), "an outage ends it")
rules()
check(reads_are_right(path), "reads are right when the server is back")
check(wait_until(60, all_kept), "the stream went on by itself")
check(client.counts()["failures"] > 0, "after failures")
end(client, process)

# rondo-cloop is killed in the middle.
shutil.rmtree(cache)
rules("/objects/* slow rate=3000000")
process = start("--wait", "20", log=log)
client = Client()
path = client.open(manifest, site)
session = client.hold()
fd = os.open(path + "/disk", os.O_RDONLY)
check(wait_until(30, lambda: is_kept(boot[2][0])), "some packs have come")
kill(process.pid)
process.wait()
before = [name for name, _ in boot if is_kept(name)]
check(len(before) < len(boot), "rondo-cloop dies in the middle")
rules()
asked = len(requests())
process = start("--wait", "20", *session.arguments(), fds=session.fds(), log=log)
client = Client()
client.open(manifest, site)
check(os.pread(fd, 4096, 12 << 20) == disk[12 << 20:(12 << 20) + 4096], "an open file is read on")
check(wait_until(30, all_kept), "the successor goes on with the stream")
again = [name for name in before if any(name in path for path in requests()[asked:])]
check(not again, "and asks for nothing that was there")
check(reads_are_right(path), "what a boot reads is right")
os.close(fd)

# Keeping the rest.
client.ask(f"keep 0 pull\n{manifest}\n{site}")
check(wait_until(60, lambda: client.counts()["kept"] == 1), "the rest is fetched, and kept")
counts = client.counts()
check(counts["keep_have"] == counts["keep_all"] > boot_bytes, "as its counts say")
check(os.path.exists(f"{cache}/pins/{manifest}"), "it is pinned")
session.close()
end(client, process)
rules("/* reset")
process = start("--wait", "5", log=log)
client = Client()
path = client.open(manifest)
with open(path + "/disk", "rb") as f:
    check(f.read() == disk, "and all of it is there without a source")
f = None
end(client, process)
