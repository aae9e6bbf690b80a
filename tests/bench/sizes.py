"""What a boot fetches and what an update stores: Rondo, casync, pieces of one size.

Boot: the recorded reads, replayed from a fresh mount over HTTP (requests and bytes by the server's log); for the others the pieces
that these reads touch, and the list of pieces.

Updates: the image is the system of today; the old image is built by the same recipe from the packages before the updates (*.pref here). "Rebuilt": the image
is published after the old one. "In place": first the old disk's own file system gets the new tree, by rsync through fuse2fs, as
a package manager would write it (new files, renamed over the old ones); that disk is published after the old one.
"""
import hashlib
import os
import re
import shutil
import sys

import boot
import pieces
from harness import HERE, MIB, ROOT, Failure, tree_size

UPDATES = {"before-updates": "all", "before-updates-but-kernel": "no kernel"}
SIZES = {"64 KiB pieces, zstd": 65536, "256 KiB pieces, zstd": 262144}


def build_old(bench, name):
    """The disk of the old image, built again if the recipe or the new image changed."""
    folder, stamp = bench.keep / name, bench.keep / f"{name}.stamp"
    preferences = HERE / f"{name}.pref"
    images = os.environ.get("RONDO_TEST_IMAGES") or bench.build / "images"
    wanted = (bench.build / images / "debian.stamp").read_text() + hashlib.sha256(preferences.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        bench.say(f"an old image: {name}")
        stamp.unlink(missing_ok=True)
        bench.command([ROOT / "appliances/build", "debian", folder], RONDO_APT_PREFERENCES=str(preferences))
        stamp.write_text(wanted)
    return folder / "disk"


def list_packages(bench, disk):
    status = bench.output(["debugfs", "-R", "cat /var/lib/dpkg/status", disk])
    return set(re.findall(r"^Package: (.*)\n(?:.+\n)*?Version: (.*)\n", status, re.MULTILINE))


def update_in_place(bench, old, new):
    """A copy of the old disk with the new one's files."""
    disk = bench.work / "in-place"
    bench.command(["cp", "--sparse=always", old, disk])
    source, target = bench.work / "from", bench.work / "to"
    for folder in (source, target):
        folder.mkdir(exist_ok=True)
    bench.command(["fuse2fs", "-o", "ro", new, source])
    bench.command(["fuse2fs", disk, target])
    bench.command(["rsync", "-aHAX", "--checksum", "--whole-file", "--delete", f"{source}/", f"{target}/"])
    bench.unmount(target)
    bench.unmount(source)
    # The file system is on the disk when fuse2fs has ended, which e2fsck tells by opening it alone.
    bench.wait_for("a clean file system", lambda: is_clean(bench, disk), 30)
    bench.command(["fallocate", "--dig-holes", disk])
    return disk


def is_clean(bench, disk):
    try:
        bench.command(["e2fsck", "-fn", disk])
        return True
    except Failure:
        return False


def new_bytes(bench, old, disks):
    """For each disk: what publishing it adds to a store that has the old one, by scheme."""
    added = {"Rondo": [], "casync": [], **{name: [] for name in SIZES}}
    site, store = bench.work / "site", bench.work / "casync"
    folders = [site, store]

    def casync(disk, index):
        bench.command(["casync", "make", f"--store={store}/store.castr", store / index, disk])

    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    store.mkdir()
    bench.publish(old, site, "1")
    casync(old, "old.caibx")
    before = [tree_size(folder)[0] for folder in folders]
    for disk in disks:
        for folder in folders:
            bench.command(["cp", "-a", folder, f"{folder}.old"])
        bench.publish(disk, site, "2")
        casync(disk, "new.caibx")
        for name, folder, size in zip(("Rondo", "casync"), folders, before):
            added[name].append(tree_size(folder)[0] - size)
            shutil.rmtree(folder)
            os.rename(f"{folder}.old", folder)
    for name, size in SIZES.items():
        parts = pieces.Pieces(old, size)
        for disk in disks:
            now = pieces.Pieces(disk, size)
            added[name].append(now.stored(now.new_since(parts)) + now.index_bytes())
    return added


def boot_fetches(bench, disk, trace_path):
    """Bytes and requests of the boot, by scheme."""
    trace = boot.read_trace(trace_path)
    site, store = bench.work / "site", bench.work / "casync"
    shutil.rmtree(site, ignore_errors=True)
    shutil.rmtree(store, ignore_errors=True)
    store.mkdir()
    bench.publish(disk, site)
    bench.command(["casync", "make", f"--store={store}/store.castr", store / "disk.caibx", disk])
    fetched = {}
    with bench.serve_site(site) as (port, requests):
        with bench.rondo_mount(f"http://127.0.0.1:{port}/debian") as folder:
            bench.command([sys.executable, HERE / "replay.py", trace_path, folder / "disk"])
            lines = requests()
    fetched["Rondo"] = sum(int(line.split()[5]) for line in lines), len(lines)
    fetched["casync"] = pieces.casync_boot(store / "disk.caibx", store / "store.castr", trace)
    for name, size in SIZES.items():
        parts = pieces.Pieces(disk, size)
        touched = parts.touched(trace)
        fetched[name] = parts.stored(touched) + parts.index_bytes(), len(touched) + 1
    fetched["each block once, zstd"] = pieces.boot_limit(disk, trace), 1
    return fetched


def run(bench):
    image = bench.image()
    disk = image / "disk"
    trace = boot.record_trace(bench, image)
    bench.say("what a boot fetches")
    fetched = boot_fetches(bench, disk, trace)
    updates, notes = {}, []
    for name, what in UPDATES.items():
        old = build_old(bench, name)
        newer = list_packages(bench, disk) - list_packages(bench, old)
        notes.append(f"{what}: {len(newer)} packages are newer")
        if newer:
            bench.say(f"what an update stores: {what}")
            updates[name] = new_bytes(bench, old, [update_in_place(bench, old, disk), disk])
            (bench.work / "in-place").unlink()
        bench.record("sizes", update=name, newer_packages=len(newer))
    header = ["", "boot", "requests"] + [f"{UPDATES[name]}: {how}" for name in updates for how in ("in place", "rebuilt")]
    rows = []
    for scheme, (size, requests) in fetched.items():
        added = [size for name in updates for size in updates[name].get(scheme, [])]
        rows.append([scheme, f"{size / MIB:.1f}", requests] + ([f"{n / MIB:.1f}" for n in added] or [""] * 2 * len(updates)))
        bench.record("sizes", scheme=scheme, boot_bytes=size, boot_requests=requests,
                     new_bytes={name: dict(zip(("in_place", "rebuilt"), updates[name][scheme])) for name in updates if scheme in updates[name]})
    bench.print_table("What a boot fetches, and what an update stores (MiB)", header, rows, notes)
