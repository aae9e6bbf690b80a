"""What a boot reads, over three links, with no thinking time: Rondo against other ways to a remote disk.

The kernel and the initrd are read whole, then the disk as in a recorded boot (boot.py). It is not the boot that made the image's profile: `rondo publish
--profile auto` has booted by itself for that. Every way starts from nothing: the time runs from before its first command to the end of the
last read. Bytes are those that came over the link, protocol included; requests are lines of the server's log.

    download      the whole disk (zstd -3), decompressed while it comes, then read from the file
    qemu, nbdkit  their HTTP drivers, each served through FUSE with what made it quickest here, and with their defaults; kernel and initrd by curl before
    casync        the pieces that the reads touch, one by one on one connection, as `casync mkdev` would fetch them (it cannot run here: it
                  needs a network block device in the kernel); nothing is decompressed or checked, so this is less than it would take
    the limit     kernel, initrd, and the disk's blocks that are read, each once, in their order, compressed as Rondo does, over the
                  link's bandwidth, and four round trips (connection, catalog, manifest, first data)

On slower links the other ways, which wait most of the time, run side by side, each with a link of its own; Rondo runs alone.
"""
import concurrent.futures
import functools
import http.client
import sys
import time

import boot
import pieces
from harness import HERE, MIB, Failure, median

LINKS = {"1 ms, 1 Gbit/s": (1, 1000), "20 ms, 100 Mbit/s": (20, 100), "100 ms, 25 Mbit/s": (100, 25)}
SIDE_BY_SIDE = {"1 ms, 1 Gbit/s": 1, "20 ms, 100 Mbit/s": 3, "100 ms, 25 Mbit/s": 7}  # of the other ways
MAIN = "20 ms, 100 Mbit/s"
SIZES = [65536, 262144]  # of pieces, to compare with
RUNS = 3  # of Rondo; the others run once
PLAIN = ["nbdkit curl, cache", "qemu HTTP, 256 KiB read-ahead"]  # the others have options found by trying


def replay(bench, trace, disk, folder):
    bench.command([sys.executable, HERE / "replay.py", trace, disk, folder / "kernel", folder / "initrd"])


def through_rondo(bench, trace, port, fresh=True):
    start = time.monotonic()
    with bench.rondo_mount(f"http://127.0.0.1:{port}/debian", fresh) as folder:
        replay(bench, trace, folder / "disk", folder)
        return time.monotonic() - start


def fetch_kernel(bench, port, folder):
    folder.mkdir()
    names = ["kernel", "initrd"]
    bench.command(["curl", "-sS", "--fail", *[word for name in names for word in
                                              ("-o", folder / name, f"http://127.0.0.1:{port}/{name}")]])


def through_download(bench, trace, port):
    folder = bench.fresh("download")
    start = time.monotonic()
    fetch_kernel(bench, port, folder)
    pipe = 'set -o pipefail; curl -sS --fail "$1" | zstd -q -d --sparse -o "$2"'
    bench.command(["bash", "-c", pipe, "bash", f"http://127.0.0.1:{port}/disk.zst", folder / "disk"])
    replay(bench, trace, folder / "disk", folder)
    seconds = time.monotonic() - start
    (folder / "disk").unlink()
    return seconds


def through_process(bench, trace, arguments, point, path, folder):
    """A program that stays in the foreground while it serves a mount on `point`."""
    process = bench.start(arguments, bench.fresh("mount.log"))
    try:
        bench.wait_for(f"a mount on {point}", lambda: any(line.split()[4] == str(point) for line in open("/proc/self/mountinfo")))
        try:
            replay(bench, trace, path, folder)
            return time.monotonic()
        finally:
            bench.unmount(point)
    finally:
        bench.stop(process)


def through_nbdkit(bench, trace, port, filters, options):
    folder, point = bench.fresh("nbdkit"), bench.fresh("nbd")
    point.mkdir()
    start = time.monotonic()
    fetch_kernel(bench, port, folder)
    return through_process(bench, trace, ["nbdfuse", point, "--command", "nbdkit", "-s", *[f"--filter={f}" for f in filters],
                                          "curl", f"http://127.0.0.1:{port}/disk", *options],
                           point, point / "nbd", folder) - start


def through_qemu(bench, trace, port, copy_on_read):
    folder, point = bench.fresh("qemu"), bench.fresh("qemu.disk")
    point.touch()
    start = time.monotonic()
    fetch_kernel(bench, port, folder)
    nodes = [f"driver=http,node-name=remote,url=http://127.0.0.1:{port}/disk,readahead=262144,read-only=on"]
    if copy_on_read:
        bench.command(["qemu-img", "create", "-q", "-f", "qcow2", folder / "local", str(bench.image().joinpath("disk").stat().st_size)])
        nodes += [f"driver=qcow2,node-name=local,file.driver=file,file.filename={folder}/local,backing=remote",
                  "driver=copy-on-read,node-name=copy,file=local"]
    export = "copy" if copy_on_read else "remote"
    return through_process(bench, trace, ["qemu-storage-daemon", *[word for node in nodes for word in ("--blockdev", node)],
                                          "--export", f"type=fuse,id=export,node-name={export},mountpoint={point},writable=off"],
                           point, point, folder) - start


def through_casync(bench, trace, port, index):
    folder = bench.fresh("casync")
    start = time.monotonic()
    fetch_kernel(bench, port, folder)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for path in ["disk.caibx", *(f"store.castr/{name[:4]}/{name}.cacnk" for name in pieces.casync_pieces(index, boot.read_trace(trace)))]:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        if answer.status != 200 or not answer.read():
            raise Failure(f"casync: {path}: {answer.status}")
    connection.close()
    return time.monotonic() - start


def over_link(bench, serve, link, way):
    """(seconds, bytes, requests) of one run of a way, with a server and a link of its own."""
    with serve() as (port, requests):
        with bench.slow_link(port, *link) as (link_port, counts):
            seconds = way(link_port)
        return seconds, counts["bytes"], len(requests())


def again_from_cache(bench, serve, link, trace):
    """The same of a second mount, everything being in the cache."""
    with serve() as (port, requests):
        with bench.slow_link(port, *link) as (link_port, _):
            through_rondo(bench, trace, link_port)
            before = len(requests())
            seconds = through_rondo(bench, trace, link_port, False)
        lines = requests()[before:]
        return seconds, sum(int(line.split()[5]) for line in lines), len(lines)


def make_files(bench):
    """What the other ways fetch."""
    files = bench.fresh("files")
    files.mkdir()
    store = bench.casync_store()
    for name, path in [*((name, bench.image() / name) for name in ("disk", "kernel", "initrd")),
                       *((name, store / name) for name in ("disk.caibx", "store.castr"))]:
        (files / name).symlink_to(path)
    bench.command(["zstd", "-q", "-3", "-T0", bench.image() / "disk", "-o", files / "disk.zst"])
    bench.command(["cat", bench.image() / "disk"])
    return files


def lazy_ways(bench, trace):
    part = functools.partial
    return {
        "nbdkit curl, cache": part(through_nbdkit, bench, trace, filters=["cache"], options=[]),
        "nbdkit curl, cache of what is read, 256 KiB": part(through_nbdkit, bench, trace, filters=["cache"],
                                              options=["cache-on-read=true", "cache-min-block-size=256K"]),
        "qemu HTTP, 256 KiB read-ahead": part(through_qemu, bench, trace, copy_on_read=False),
        "the same, copy-on-read": part(through_qemu, bench, trace, copy_on_read=True),
        "casync's pieces, one by one": part(through_casync, bench, trace, index=bench.casync_store() / "disk.caibx"),
    }


def measure_link(bench, name, trace, site, files):
    """{way: (seconds, bytes, requests)} on one link."""
    link = LINKS[name]
    bench.say(f"a boot's reads at {name}: rondo mount")
    serve = functools.partial(bench.serve_site, site)
    rondo = sorted(over_link(bench, serve, link, functools.partial(through_rondo, bench, trace)) for _ in range(RUNS))
    results = {"rondo mount": rondo[RUNS // 2]}
    if name == MAIN:
        results["the same, again from the cache"] = again_from_cache(bench, serve, link, trace)
    ways = {"download, decompress": functools.partial(through_download, bench, trace), **lazy_ways(bench, trace)}
    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE[name]) as pool:
        def measure(way):
            bench.say(f"a boot's reads at {name}: {way}")
            return over_link(bench, functools.partial(bench.serve_files, files), link, ways[way])
        results.update(zip(ways, pool.map(measure, ways)))
    return results


def print_link(bench, name, results, least, about):
    rtt, mbit = LINKS[name]
    limit = least * 8 / (mbit * 1e6) + 4 * rtt / 1e3
    results["the limit"] = limit, least, ""
    rondo = results["rondo mount"][0]
    for way, (seconds, size, requests) in results.items():
        bench.record("replay", link=name, way=way, seconds=seconds, bytes=size, requests=requests)
    lazy = min(results[way][0] for way in lazy_ways(bench, None) if "casync" not in way)
    plain = min(results[way][0] for way in PLAIN)
    ratios = {"of the limit": rondo / limit, "download": results["download, decompress"][0] / rondo, "best lazy": lazy / rondo,
              "best lazy with its defaults": plain / rondo}
    bench.record("replay", link=name, ratios=ratios)
    rows = [[way, f"{seconds:.2f}", f"{seconds / rondo:.2f}", f"{size / 1e6:.1f}", requests]
            for way, (seconds, size, requests) in results.items()]
    bench.print_table(f"What a boot reads ({about}), at {name}", ["", "seconds", "of Rondo's", "MB", "requests"], rows)
    if rtt > 1:
        bench.judge(f"a boot's reads at {name}, of the limit", ratios["of the limit"], "≤", 1.25)
    if name == MAIN:
        bench.judge("whole download, of Rondo's seconds", ratios["download"], "≥", 3)
        bench.judge("the best lazy way, with its defaults, of Rondo's", ratios["best lazy with its defaults"], "≥", 8)
        bench.judge("the best lazy way, with the best options found, of Rondo's", ratios["best lazy"], "≥", 8)


def print_bytes(bench, trace, rondo, least):
    """Bytes and requests of a boot, by ways to cut the members."""
    image, reads = bench.image(), boot.read_trace(trace)
    members, store = [image / "kernel", image / "initrd"], bench.casync_store()
    fetched = {"Rondo": rondo[1:]}
    for size in SIZES:
        parts = pieces.Pieces(image / "disk", size)
        touched = parts.touched(reads)
        fetched[f"pieces of {size // 1024} KiB, zstd"] = (
            parts.stored(touched) + parts.index_bytes() + pieces.whole_files(members, size),
            len(touched) + 1 + sum((member.stat().st_size + size - 1) // size for member in members))
    names = pieces.casync_pieces(store / "disk.caibx", reads)
    stored = [store / "disk.caibx", *(store / "store.castr" / name[:4] / f"{name}.cacnk" for name in names)]
    fetched["casync, kernel and initrd as they are"] = sum(path.stat().st_size for path in [*stored, *members]), len([*stored, *members])
    fetched["each block once, zstd"] = least, ""
    for way, (size, requests) in fetched.items():
        bench.record("boot-bytes", way=way, bytes=size, requests=requests)
    bench.print_table("Bytes and requests of a boot, kernel and initrd included", ["", "MB", "requests"],
                      [[way, f"{size / 1e6:.1f}", requests] for way, (size, requests) in fetched.items()])
    bench.judge("a boot's bytes, of what pieces of 256 KiB need", rondo[1] / fetched["pieces of 256 KiB, zstd"][0], "≤", 0.85)
    bench.judge("a boot's requests", rondo[2], "≤", 24)


def run(bench):
    trace = boot.record_trace(bench)
    site, files, image = bench.boot_site(), make_files(bench), bench.image()
    reads = boot.read_trace(trace)
    fixed = pieces.whole_files([image / "kernel", image / "initrd"])
    about = f"{len(reads)} reads of {sum(length for _, length in reads) / MIB:.1f} MiB; kernel and initrd"
    least = pieces.boot_limit(image / "disk", reads) + fixed
    for name in LINKS:
        results = measure_link(bench, name, trace, site, files)
        print_link(bench, name, results, least, about)
        if name == MAIN:
            main = results["rondo mount"]
    print_bytes(bench, trace, main, least)
