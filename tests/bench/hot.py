"""Reads of what is all in rondo-cloop's cache, against a local file, and against the plainest FUSE file system over it.

    sequential, out of the page cache    256 MiB that were read before
    sequential, nothing decoded          each time through a new mount: nothing of the disk is in the mount's page cache or decoded; the
                                         cache's files are in the page cache. Of the whole disk, and of its data
    random 4 KiB                         past the page cache: in a window of 64 MiB, over the data, over the whole disk; through a mount that
                                         was new before it served as many reads as the window has blocks

Ways are read in turns, and what is compared is of one turn: ratios are medians of the turns. Processor seconds are rondo-cloop's alone.
Where it may (as root), all of it runs before other work, in the real-time class: else what a decoder and a reader get of busy processors
is what is measured.
"""
import contextlib
import os
import shutil

from harness import HERE, MIB, Failure, median

RUNS = 3  # of reads that need new mounts
TURNS = 7
READERS = 4
WINDOW = 64 * MIB
READS_FIRST = WINDOW // 4096
READS = 3000  # in a turn
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
        # In a session of its own, as rondo-cloop is: the kernel may share out its processors by sessions (sched_autogroup).
        process = self.bench.start(["setsid", self.bench.work / "plain_fuse", self.disk, folder], self.bench.work / "plain.log")
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

    def cpu(self, mount):
        """Processor seconds of the rondo-cloop that serves a mount, so far."""
        words = open(f"/proc/{self.bench.find_cloop(mount)}/stat").read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def read_undecoded(self, image, lists):
        """Seconds through rondo, plain FUSE and the file itself, each with nothing of the mount in the page cache; processor seconds."""
        with self.rondo(image) as path:
            rondo = self.read("sequential", lists, path)
            cpu = self.cpu(path.parent)
        with self.plain() as path:
            plain = self.read("sequential", lists, path)
        return rondo, plain, self.read("sequential", lists, self.disk), cpu

    def read_randomly(self, image, ranges):
        """A list of the same, without processor seconds, of READS each."""
        with self.rondo(image) as rondo, self.plain() as plain:
            for path in (rondo, plain):
                self.read("random", [ranges], path, READS_FIRST, 1)
            return [tuple(self.read("random", [ranges], path, READS, seed) for path in (rondo, plain, self.disk))
                    for seed in range(2, TURNS + 2)]


def run(bench):
    disk, site = bench.image() / "disk", bench.work / "site"
    compile_tools(bench)
    shutil.rmtree(site, ignore_errors=True)
    bench.publish(disk, site)
    hot = Hot(bench, disk)
    data, whole, warm = find_data(disk), [(0, hot.size)], [(0, 256 * MIB)]
    rows, speeds = [], {}

    def report(name, amount, turns):
        speed, plain, local = (median([f(t) for t in turns]) for f in
                               (lambda t: amount / t[0] / 1e9, lambda t: t[1] / t[0], lambda t: t[2] / t[0]))
        cpu = median([t[3] / amount * 1e9 for t in turns]) if len(turns[0]) > 3 else None
        bench.record("hot", reads=name, bytes=amount, gb_per_second=speed, of_plain_fuse=plain, of_local_file=local, cpu_seconds_per_gb=cpu,
                     real_time=alone)
        speeds[name] = speed, plain, local
        rows.append([name, f"{speed:.2f}", f"{plain:.2f}", f"{local:.2f}", "" if cpu is None else f"{cpu:.2f}"])

    with bench.before_others("hot") as alone, bench.serve_site(site) as (port, _):
        image = f"http://127.0.0.1:{port}/debian"
        with bench.rondo_mount(image) as folder:
            bench.command(["cat", folder / "disk", disk])
            with hot.plain() as path:
                bench.say("hot: sequential, out of the page cache")
                paths = (folder / "disk", path, disk)
                for p in paths:
                    hot.read("sequential", [warm], p)
                turns = [tuple(hot.read("sequential", [warm], p) for p in paths) for _ in range(TURNS)]
        report("sequential, out of the page cache", total(warm), turns)
        for name, lists in (("sequential, nothing decoded, the whole disk", [whole]), ("sequential, nothing decoded, its data", [data]),
                            (f"{READERS} readers of that, a part each", share_out(data))):
            bench.say(f"hot: {name}")
            report(name, sum(map(total, lists)), [hot.read_undecoded(image, lists) for _ in range(RUNS)])
        for name, ranges in (("random 4 KiB in 64 MiB", fullest_window(data, hot.size)), ("random 4 KiB in its data", data),
                             ("random 4 KiB in the whole disk", whole)):
            bench.say(f"hot: {name}")
            report(name, READS * 4096, hot.read_randomly(image, ranges))
    shutil.rmtree(site)
    bench.print_table("Reads of what is in the cache", ["", "GB/s", "of plain FUSE's speed", "of a local file's", "processor s/GB"], rows)
    bench.judge("warm sequential read, of a local file's speed", speeds["sequential, out of the page cache"][2], "≥", 0.7)
    bench.judge("sequential read of chunks not decoded, GB/s", speeds["sequential, nothing decoded, its data"][0], "≥", 1)
    bench.judge("random 4 KiB in 64 MiB, of plain FUSE's speed", speeds["random 4 KiB in 64 MiB"][1], "≥", 0.6)
    bench.judge("random 4 KiB in the whole disk, of plain FUSE's speed", speeds["random 4 KiB in the whole disk"][1], "≥", 0.2)
