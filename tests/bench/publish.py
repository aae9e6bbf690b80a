"""Publishing the Debian disk: `rondo publish` to a new site, against `casync make` to a new store.

Pairs, one after the other, and in both orders, so that other work on the machine meets both alike. The disk was read before, so it comes
from memory. rondo publish waits until its packs are on stable storage; casync does not. "On disk" is what the site takes of its
file system, which gives whole blocks to each file and folder.
"""
import shutil

from harness import MIB, median, space_taken, tree_size

PAIRS = 3


def run(bench):
    disk = bench.image() / "disk"
    site, store = bench.work / "site", bench.work / "casync"
    bench.command(["cat", disk])
    timings = {"rondo": [], "casync": []}
    bench.key()

    def rondo():
        shutil.rmtree(site, ignore_errors=True)
        timings["rondo"].append(bench.publish(disk, site))

    def casync():
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir()
        timings["casync"].append(bench.command(["casync", "make", f"--store={store}/store.castr", store / "disk.caibx", disk]))

    for pair in range(PAIRS):
        bench.say(f"publishing, pair {pair + 1} of {PAIRS}")
        for one in (rondo, casync) if pair % 2 == 0 else (casync, rondo):
            one()
    rows = []
    for name, path in (("rondo", site), ("casync", store)):
        size, files = tree_size(path)
        seconds, cpu = (median([getattr(t, what) for t in timings[name]]) for what in ("seconds", "cpu"))
        memory = max(t.memory for t in timings[name])
        taken = space_taken(path)
        bench.record("publish", tool=name, seconds=seconds, cpu=cpu, memory=memory, site_bytes=size, site_taken=taken, files=files)
        rows.append([{"rondo": "rondo publish", "casync": "casync make"}[name], f"{seconds:.1f}", f"{cpu:.1f}", f"{memory / MIB:.0f}",
                     f"{size / MIB:.1f}", f"{taken / MIB:.1f}", files])
    pairs = list(zip(timings["rondo"], timings["casync"]))
    ratios = {what: median([getattr(a, what) / getattr(b, what) for a, b in pairs]) for what in ("seconds", "cpu")}
    ratios["size"] = tree_size(site)[0] / tree_size(store)[0]
    ratios["taken"] = space_taken(site) / space_taken(store)
    bench.record("publish", ratios=ratios)
    rows.append(["ratio", f"{ratios['seconds']:.2f}", f"{ratios['cpu']:.2f}", "", f"{ratios['size']:.2f}", f"{ratios['taken']:.2f}", ""])
    bench.print_table(f"Publishing the Debian disk (medians of {PAIRS} pairs)",
                      ["", "seconds", "CPU seconds", "memory MiB", "site MiB", "on disk", "files"], rows)
