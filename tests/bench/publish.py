"""Publishing the Debian disk: `rondo publish` to a new site, with each codec, against `casync make` to a new store (zstd).

By turns, in both orders, so that other work on the machine meets all alike. No boot is recorded. The disk was read before, so it comes
from memory. rondo publish waits until its packs are on stable storage; casync does not. "On disk" is what the site takes of its
file system, which gives whole blocks to each file and folder.
"""
import functools
import shutil

from harness import MIB, median, space_taken, tree_size

TURNS = 3


def run(bench):
    disk = bench.image() / "disk"
    bench.command(["cat", disk])
    bench.key()
    rondo = functools.partial(bench.publish, disk)
    folders = {name: bench.fresh("published") for name in ("zstd", "LZ4-HC 9", "casync")}
    ways = {
        "zstd": lambda folder: rondo(folder, "1", "--profile", "none"),
        "LZ4-HC 9": lambda folder: rondo(folder, "1", "--profile", "none", "--codec", "lz4"),
        "casync": lambda folder: bench.command(["casync", "make", f"--store={folder}/store.castr", folder / "disk.caibx", disk]),
    }
    timings = {name: [] for name in ways}
    for turn in range(TURNS):
        bench.say(f"publishing, turn {turn + 1} of {TURNS}")
        for name in list(ways) if turn % 2 == 0 else reversed(ways):
            shutil.rmtree(folders[name], ignore_errors=True)
            folders[name].mkdir()
            timings[name].append(ways[name](folders[name]))
    rows, ratios = [], {}
    store = tree_size(folders["casync"])[0]
    for name, folder in folders.items():
        size, files = tree_size(folder)
        taken, memory = space_taken(folder), max(t.memory for t in timings[name])
        seconds, cpu = (median([getattr(t, what) for t in timings[name]]) for what in ("seconds", "cpu"))
        ratios[name] = median([t.seconds / c.seconds for t, c in zip(timings[name], timings["casync"])])
        cpu_ratio = median([t.cpu / c.cpu for t, c in zip(timings[name], timings["casync"])])
        bench.record("publish", way=name, seconds=seconds, cpu=cpu, memory=memory, site_bytes=size, site_taken=taken, files=files,
                     seconds_ratio=ratios[name], cpu_ratio=cpu_ratio)
        rows.append(["casync make" if name == "casync" else f"rondo publish, {name}", f"{seconds:.1f}", f"{ratios[name]:.2f}", f"{cpu:.1f}",
                     f"{memory / MIB:.0f}", f"{size / MIB:.1f}", f"{size / store:.2f}", f"{taken / MIB:.1f}", files])
    bench.print_table(f"Publishing the Debian disk (medians of {TURNS} turns)",
                      ["", "seconds", "of casync's", "CPU seconds", "memory MiB", "site MiB", "of casync's", "on disk", "files"], rows)
    for name in ("LZ4-HC 9", "zstd"):
        bench.judge(f"publishing with {name}, of casync's seconds", ratios[name], "≤", 1)
    bench.judge("the site (zstd), of casync's bytes", tree_size(folders["zstd"])[0] / store, "≤", 1.05)
    for folder in folders.values():
        shutil.rmtree(folder)
