"""The reads of a boot over a slow link, with no thinking time: Rondo against other ways to a remote disk.

Every way starts from nothing: the time runs from before its first command to the end of the last read. Bytes are those that came over the link,
protocol included. "Download" fetches the whole disk (zstd -3), decompresses it, and reads the file. The limit: the blocks that the boot reads, each once,
in its order, compressed as Rondo does, over the link's bandwidth, and four round trips (connection, catalog, manifest, first data).
"""
import shutil
import sys
import time

import boot
import pieces
from harness import HERE, MIB, median

RTT_MS = 20
MBIT = 100
RUNS = 3  # of the quick ways; the others run once


def replay(bench, trace, path):
    bench.command([sys.executable, HERE / "replay.py", trace, path])


def through_rondo(bench, port, trace, fresh=True):
    start = time.monotonic()
    with bench.rondo_mount(f"http://127.0.0.1:{port}/debian", fresh) as folder:
        replay(bench, trace, folder / "disk")
        seconds = time.monotonic() - start
    return seconds


def through_download(bench, port, trace):
    file = bench.work / "download"
    start = time.monotonic()
    bench.command(["curl", "-sS", "--fail", "-o", f"{file}.zst", f"http://127.0.0.1:{port}/disk.zst"])
    bench.command(["zstd", "-q", "-d", "-f", "--sparse", f"{file}.zst", "-o", file])
    replay(bench, trace, file)
    return time.monotonic() - start


def wait_for_mount(bench, path):
    bench.wait_for(f"a mount on {path}", lambda: any(line.split()[4] == str(path) for line in open("/proc/self/mountinfo")))


def through_process(bench, arguments, point, path, trace):
    """A program that stays in the foreground while it serves a mount on `point`."""
    start = time.monotonic()
    process = bench.start(arguments, bench.work / "mount.log")
    try:
        wait_for_mount(bench, point)
        try:
            replay(bench, trace, path)
            return time.monotonic() - start
        finally:
            bench.unmount(point)
    finally:
        bench.stop(process)


def through_nbdkit(bench, port, trace, filters):
    folder = bench.work / "nbd"
    folder.mkdir(exist_ok=True)
    return through_process(bench, ["nbdfuse", folder, "--command", "nbdkit", "-s", *[f"--filter={f}" for f in filters], "curl",
                                   f"http://127.0.0.1:{port}/disk"], folder, folder / "nbd", trace)


def through_qemu(bench, port, trace):
    file = bench.work / "qemu"
    file.touch()
    return through_process(bench, ["qemu-storage-daemon", "--blockdev",
                                   f"driver=http,node-name=remote,url=http://127.0.0.1:{port}/disk,readahead=262144,read-only=on",
                                   "--export", f"type=fuse,id=export,node-name=remote,mountpoint={file},writable=off"],
                           file, file, trace)


def over_link(bench, server, way, *arguments):
    """(seconds, bytes, requests) of one run of a way."""
    port, requests = server
    before = len(requests())
    with bench.slow_link(port, RTT_MS, MBIT) as (link_port, counts):
        seconds = way(bench, link_port, *arguments)
    return seconds, counts["bytes"], len(requests()) - before


def run(bench):
    image = bench.image()
    disk, trace = image / "disk", boot.record_trace(bench, image)
    site, files = bench.work / "site", bench.work / "files"
    shutil.rmtree(site, ignore_errors=True)
    bench.publish(disk, site)
    files.mkdir()
    (files / "disk").symlink_to(disk)
    bench.command(["zstd", "-q", "-3", "-T0", disk, "-o", files / "disk.zst"])
    bench.command(["cat", disk])
    results = []

    def measure(name, runs, server, way, *arguments):
        bench.say(f"a boot's reads: {name}")
        measured = [over_link(bench, server, way, *arguments) for _ in range(runs)]
        results.append((name, median([m[0] for m in measured]), *measured[-1][1:]))

    with bench.serve_site(site) as server:
        measure("rondo mount", RUNS, server, through_rondo, trace)
        measure("rondo mount, again from the cache", RUNS, server, through_rondo, trace, False)
    with bench.serve_files(files) as server:
        measure("download and decompress", RUNS, server, through_download, trace)
        measure("nbdkit curl, cache; nbdfuse", 1, server, through_nbdkit, trace, ["cache"])
        measure("nbdkit curl, cache, readahead; nbdfuse", 1, server, through_nbdkit, trace, ["readahead", "cache"])
        measure("qemu HTTP, 256 KiB read-ahead; FUSE", 1, server, through_qemu, trace)
    start = time.monotonic()
    replay(bench, trace, disk)
    results.append(("local file", time.monotonic() - start, 0, 0))
    least = pieces.boot_limit(disk, boot.read_trace(trace))
    results.append(("the limit", least * 8 / (MBIT * 1e6) + 4 * RTT_MS / 1e3, least, 1))

    reads = boot.read_trace(trace)
    total = sum(length for _, length in reads)
    for name, seconds, size, requests in results:
        bench.record("replay", way=name, seconds=seconds, bytes=size, requests=requests, rtt_ms=RTT_MS, mbit=MBIT)
    rondo = results[0][1]
    bench.print_table(f"The reads of a boot ({len(reads)} reads, {total / MIB:.1f} MiB) at {RTT_MS} ms and {MBIT} Mbit/s",
                      ["", "seconds", "times Rondo's", "MB fetched", "requests"],
                      [[name, f"{seconds:.2f}", f"{seconds / rondo:.2f}", f"{size / 1e6:.1f}", requests]
                       for name, seconds, size, requests in results])
