"""Reads of what is all in rondo-cloop's cache, against a local file, and against the plainest FUSE file system over it.

    sequential, out of the page cache    the whole disk, read before
    sequential, nothing decoded          each reader through a new mount, or several readers through one: nothing of the disk is in the mount's
                                         page cache or decoded; the cache's files are in the page cache. Of the whole disk, and of its data
    random 4 KiB                         past the page cache, through a new mount: in a window of 64 MiB, over the data, over the whole disk.
                                         Filling the window's memory anew is part of it

Ways are read in turns, and what is compared is of one turn: ratios are medians of RUNS turns.
"""
import contextlib
import os
import shutil

from harness import HERE, MIB, Failure, median

RUNS = 3
READERS = 4
WINDOW = 64 * MIB
READS = {"window": 20000, "disk": 5000}
CFLAGS = ["-O2", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-DFUSE_USE_VERSION=314"]


def compile_tools(bench):
    fuse = bench.output(["pkg-config", "--cflags", "--libs", "fuse3"]).split()
    for name in ("hot_reads", "plain_fuse"):
        bench.command([os.environ.get("CC", "cc"), *CFLAGS, "-o", bench.work / name, HERE / f"{name}.c", *fuse])


def find_data(disk):
    """The ranges of a file that are no holes."""
    with open(disk, "rb") as file:
        size, at, ranges = os.fstat(file.fileno()).st_size, 0, []
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            ranges.append((start, at - start))
    return ranges


def cut(ranges, start, end):
    """What lies between two places."""
    parts = [(max(o, start), min(o + n, end)) for o, n in ranges]
    return [(a, b - a) for a, b in parts if a < b]


def total(ranges):
    return sum(length for _, length in ranges)


def fullest_window(ranges, size):
    return max((cut(ranges, at, at + WINDOW) for at in range(0, size, WINDOW)), key=total)


def share_out(ranges):
    """READERS lists of ranges, of about the same length, one behind the other."""
    shares, share = [[]], total(ranges) / READERS
    for offset, length in ranges:
        while total(shares[-1]) + length > share and len(shares) < READERS:
            part = int(share - total(shares[-1])) // MIB * MIB
            if part > 0:
                shares[-1].append((offset, part))
            offset, length = offset + max(part, 0), length - max(part, 0)
            shares.append([])
        if length > 0:
            shares[-1].append((offset, length))
    return [s for s in shares if s]


class Hot:
    def __init__(self, bench, disk):
        self.bench, self.disk, self.size = bench, disk, disk.stat().st_size
        self.lists = 0

    def start(self, how, ranges, path, *count):
        self.lists += 1
        text, log = self.bench.work / f"ranges.{self.lists}", self.bench.work / f"hot.{self.lists}"
        text.write_text("".join(f"{offset} {length}\n" for offset, length in ranges))
        return self.bench.start([self.bench.work / "hot_reads", how, text, path, *count], log), log

    def read(self, how, lists, path, *count):
        """Seconds that the slowest of the readers took: one for each list of ranges."""
        readers = [self.start(how, ranges, path, *count) for ranges in lists]
        for process, log in readers:
            if process.wait() != 0:
                raise Failure(f"reading {path}: {(log.parent / (log.name + '.err')).read_text()}")
            self.bench.stop(process)
        return max(float(log.read_text()) for _, log in readers)

    @contextlib.contextmanager
    def plain(self):
        folder = self.bench.work / "plain"
        folder.mkdir(exist_ok=True)
        process = self.bench.start([self.bench.work / "plain_fuse", self.disk, folder], self.bench.work / "plain.log")
        try:
            self.bench.wait_for("plain_fuse", lambda: (folder / "disk").exists())
            yield folder / "disk"
        finally:
            self.bench.unmount(folder)
            self.bench.stop(process)

    @contextlib.contextmanager
    def rondo(self, image):
        with self.bench.rondo_mount(image, False) as folder:
            yield folder / "disk"

    def turn(self, image, how, lists, *count):
        """Seconds through rondo, plain FUSE and the file itself, each with nothing of the mount in the page cache."""
        with self.rondo(image) as path:
            rondo = self.read(how, lists, path, *count)
        with self.plain() as path:
            plain = self.read(how, lists, path, *count)
        return rondo, plain, self.read(how, lists, self.disk, *count)


def run(bench):
    disk, site = bench.image() / "disk", bench.work / "site"
    compile_tools(bench)
    shutil.rmtree(site, ignore_errors=True)
    bench.publish(disk, site)
    hot = Hot(bench, disk)
    data, whole = find_data(disk), [(0, hot.size)]
    window = fullest_window(data, hot.size)
    cases = [("sequential, nothing decoded, the whole disk", "sequential", [whole]),
             ("sequential, nothing decoded, its data", "sequential", [data]),
             (f"{READERS} readers of it, a part each", "sequential", share_out(data)),
             ("random 4 KiB in 64 MiB", "random", [window], READS["window"]),
             ("random 4 KiB in its data", "random", [data], READS["disk"]),
             ("random 4 KiB in the whole disk", "random", [whole], READS["disk"])]
    rows, speeds = [], {}

    def report(name, amount, turns):
        speed = median([amount / t[0] for t in turns])
        plain, local = median([t[1] / t[0] for t in turns]), median([t[2] / t[0] for t in turns])
        bench.record("hot", reads=name, bytes=amount, bytes_per_second=speed, of_plain_fuse=plain, of_local_file=local)
        speeds[name] = speed / 1e9, plain, local
        rows.append([name, f"{speed / 1e9:.2f}", f"{plain:.2f}", f"{local:.2f}"])

    with bench.serve_site(site) as (port, _):
        image = f"http://127.0.0.1:{port}/debian"
        with bench.rondo_mount(image) as folder:
            bench.command(["cat", folder / "disk"])
            bench.command(["cat", disk])
            with hot.plain() as path:
                bench.command(["cat", path])
                bench.say("hot: sequential, out of the page cache")
                turns = [tuple(hot.read("sequential", [whole], p) for p in (folder / "disk", path, disk)) for _ in range(RUNS)]
        report("sequential, out of the page cache", hot.size, turns)
        for name, how, lists, *count in cases:
            bench.say(f"hot: {name}")
            amount = sum(map(total, lists)) if how == "sequential" else count[0] * 4096
            report(name, amount, [hot.turn(image, how, lists, *count) for _ in range(RUNS)])
    shutil.rmtree(site)
    bench.print_table("Reads of what is in the cache", ["", "GB/s", "of plain FUSE's speed", "of a local file's"], rows)
    bench.judge("warm sequential read, of a local file's speed", speeds["sequential, out of the page cache"][2], "≥", 0.7)
    bench.judge("sequential read of chunks not decoded, GB/s", speeds[cases[1][0]][0], "≥", 1)
    bench.judge("random 4 KiB in 64 MiB, of plain FUSE's speed", speeds[cases[3][0]][1], "≥", 0.6)
    bench.judge("random 4 KiB in the whole disk, of plain FUSE's speed", speeds[cases[5][0]][1], "≥", 0.2)
