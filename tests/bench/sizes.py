"""What an update stores, and what its users fetch: Rondo, casync, pieces of one size.

The image is the system of today; the old image is built by the same recipe from the packages before the updates (*.pref here). "Rebuilt": the image
is published after the old one. "In place": first the old disk's own file system gets the new tree, by rsync through fuse2fs, as
a package manager would write it (new files, renamed over the old ones); that disk is published after the old one.

Fetched, by the server's log: `rondo pull` of the new version by a client that has pulled the old one, and `casync extract` of the new disk with the old
one as its seed.
"""
import hashlib
import os
import re
import shutil

import pieces
from harness import HERE, MIB, ROOT, Failure, tree_size

UPDATES = {"before-updates": "a kernel among them", "before-updates-but-kernel": "no kernel"}
HOW = ["in place", "rebuilt"]
TARGETS = {"in place": 0.55, "rebuilt": 0.5}  # about 30 packages; less is gained where little is new
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


def pull(bench, url, client):
    bench.command(["rondo", "pull", url], RONDO_CACHE=str(client / "cache"), RONDO_HOME=str(client / "home"))


def rondo_fetches(bench, site, client):
    """Bytes and requests of a pull of version 2 by a copy of a client."""
    mine = bench.fresh("client")
    bench.command(["cp", "-a", client, mine])
    with bench.serve_site(site) as (port, requests):
        pull(bench, f"http://127.0.0.1:{port}/debian:2", mine)
        lines = requests()
    shutil.rmtree(mine)
    return sum(int(line.split()[5]) for line in lines), len(lines)


def said_by_diff(bench, site):
    """The bytes that `rondo diff` says a holder of version 1 fetches for version 2."""
    home = bench.fresh("client")
    text = bench.output(["rondo", "diff", f"{site}/debian:1", f"{site}/debian:2", "--json"], RONDO_CACHE=str(home / "cache"),
                        RONDO_HOME=str(home / "home"))
    return int(re.search(r'"fetch_bytes": *(\d+)', text)[1])


def casync_fetches(bench, store, seed):
    with bench.serve_files(store) as (port, requests):
        bench.command(["casync", "extract", f"--store=http://127.0.0.1:{port}/store.castr", f"--seed={seed}", "--seed-output=no",
                       f"http://127.0.0.1:{port}/new.caibx", bench.work / "extracted"])
        lines = requests()
    (bench.work / "extracted").unlink()
    return sum(int(line.split()[9]) for line in lines), len(lines)


def measure_update(bench, old, disks):
    """{scheme: [bytes added to a store that has the old disk, for each disk]}, the same of (bytes, requests) that are fetched, and what
    `rondo diff` says of that."""
    added = {"Rondo": [], "casync": [], **{name: [] for name in SIZES}}
    fetched, said = {"Rondo": [], "casync": []}, []
    site, store, client = bench.fresh("site"), bench.fresh("casync"), bench.fresh("client")
    folders = [site, store]

    def casync(disk, index):
        bench.command(["casync", "make", f"--store={store}/store.castr", store / index, disk])

    store.mkdir()
    client.mkdir()
    bench.publish(old, site, "1")
    casync(old, "old.caibx")
    with bench.serve_site(site) as (port, _):
        pull(bench, f"http://127.0.0.1:{port}/debian:1", client)
    before = [tree_size(folder)[0] for folder in folders]
    for disk in disks:
        for folder in folders:
            bench.command(["cp", "-a", folder, f"{folder}.old"])
        bench.publish(disk, site, "2")
        casync(disk, "new.caibx")
        fetched["Rondo"].append(rondo_fetches(bench, site, client))
        said.append(said_by_diff(bench, site))
        fetched["casync"].append(casync_fetches(bench, store, old))
        for name, folder, size in zip(("Rondo", "casync"), folders, before):
            added[name].append(tree_size(folder)[0] - size)
            shutil.rmtree(folder)
            os.rename(f"{folder}.old", folder)
    for folder in (*folders, client):
        shutil.rmtree(folder)
    for name, size in SIZES.items():
        parts = pieces.Pieces(old, size)
        for disk in disks:
            now = pieces.Pieces(disk, size)
            added[name].append(now.stored(now.new_since(parts)) + now.index_bytes())
    return added, fetched, said


def run(bench):
    disk = bench.image() / "disk"
    for name, what in UPDATES.items():
        old = build_old(bench, name)
        newer = len(list_packages(bench, disk) - list_packages(bench, old))
        bench.record("update", update=name, newer_packages=newer)
        if not newer:
            bench.say(f"no package is newer than in {name}")
            continue
        bench.say(f"what an update stores: {what}")
        added, fetched, said = measure_update(bench, old, [update_in_place(bench, old, disk), disk])
        (bench.work / "in-place").unlink()
        for how, size in zip(HOW, said):
            bench.record("update", update=name, scheme="rondo diff", how=how, fetched=size)
        rows = []
        for scheme, sizes in added.items():
            fetches = fetched.get(scheme, [])
            for how, size in zip(HOW, sizes):
                bench.record("update", update=name, scheme=scheme, how=how, stored=size)
            for how, (size, requests) in zip(HOW, fetches):
                bench.record("update", update=name, scheme=scheme, how=how, fetched=size, requests=requests)
            rows.append([scheme, *[f"{size / MIB:.1f}" for size in sizes],
                         *([f"{size / MIB:.1f} in {requests}" for size, requests in fetches] or ["", ""])])
        bench.print_table(f"An update of {newer} packages, {what}, MiB", ["", *[f"stored, {how}" for how in HOW],
                                                                      *[f"fetched, {how}" for how in HOW]], rows,
                          ["rondo diff says: " + ", ".join(f"{how} {size / MIB:.1f}" for how, size in zip(HOW, said))])
        for i, how in enumerate(HOW):
            bench.judge(f"bytes that an update stores ({what}; {how}), of casync's", added["Rondo"][i] / added["casync"][i], "≤", TARGETS[how])
        for i, how in enumerate(HOW):
            bench.judge(f"bytes that it fetches ({what}; {how}), of casync's", fetched["Rondo"][i][0] / fetched["casync"][i][0], "≤",
                        TARGETS[how])
