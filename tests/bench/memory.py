"""What bounds memory and work whatever the disk's size: rondo-cloop's memory, and a sparse disk of 1 TiB.

The memory is the most that rondo-cloop had in use (VmHWM) when the reads were done. The sparse disk holds 1 GiB of random bytes, in 1,024
places spread over it; publishing it is compared with publishing the same bytes as one dense file. The requests are
those after the catalog's up to the first byte of data, at the farthest end of the disk.
"""
import os
import shutil

from harness import MIB, Failure, read_memory_peak, tree_size

READERS = 4
SPARSE_SIZE = 1 << 40
PLACES = 1024
PAIRS = 3


def read_whole(bench):
    disk, site = bench.image() / "disk", bench.work / "site"
    shutil.rmtree(site, ignore_errors=True)
    bench.publish(disk, site)
    bench.say(f"{READERS} readers of the whole disk")
    with bench.serve_site(site) as (port, _):
        with bench.rondo_mount(f"http://127.0.0.1:{port}/debian") as folder:
            readers = [bench.start(["cat", folder / "disk"]) for _ in range(READERS)]
            failed = [reader for reader in readers if reader.wait() != 0]
            for reader in readers:
                bench.stop(reader)
            if failed:
                raise Failure(f"{len(failed)} of {READERS} readers failed")
            memory = read_memory_peak(bench.find_cloop(folder))
    shutil.rmtree(site)
    return memory, disk.stat().st_size


def make_sparse(dense, sparse):
    piece = os.path.getsize(dense) // PLACES
    with open(dense, "rb", buffering=0) as source, open(sparse, "wb", buffering=0) as target:
        target.truncate(SPARSE_SIZE)
        for i in range(PLACES):
            # The last piece ends the disk; the others are not at a segment's beginning each time.
            target.seek((i + 1) * (SPARSE_SIZE // PLACES) - piece)
            target.write(source.read(piece))


def publish_both(bench, dense, sparse):
    """Seconds and CPU seconds of publishing each, medians; the sparse disk's site is left."""
    site = bench.work / "site"
    timings = {dense: [], sparse: []}
    for _ in range(PAIRS):
        for disk in (dense, sparse):
            shutil.rmtree(site, ignore_errors=True)
            timings[disk].append(bench.publish(disk, site))
    return timings[dense], timings[sparse]


def first_byte(bench):
    """Requests after the catalog's up to the first byte of data, and memory then and after a read in each place."""
    with bench.serve_site(bench.work / "site") as (port, requests):
        with bench.rondo_mount(f"http://127.0.0.1:{port}/debian") as folder:
            fd = os.open(folder / "disk", os.O_RDONLY)
            os.pread(fd, 4096, SPARSE_SIZE - 4096)
            lines, first = requests(), read_memory_peak(bench.find_cloop(folder))
            for i in range(PLACES):
                os.pread(fd, 4096, (i + 1) * (SPARSE_SIZE // PLACES) - 4096)
            os.close(fd)
            memory = read_memory_peak(bench.find_cloop(folder))
    catalog = next(i for i, line in enumerate(lines) if "/catalog.rondo " in line)
    return len(lines) - catalog - 1, first, memory


def run(bench):
    memory, size = read_whole(bench)
    dense, sparse = bench.work / "dense", bench.work / "sparse"
    with open(dense, "wb", buffering=0) as target, open("/dev/urandom", "rb", buffering=0) as source:
        for _ in range(1024):
            target.write(source.read(MIB))
    make_sparse(dense, sparse)
    bench.say("a sparse disk of 1 TiB")
    timings = publish_both(bench, dense, sparse)
    ratio = sorted(s.seconds / d.seconds for d, s in zip(*timings))[PAIRS // 2]
    cpu_ratio = sorted(s.cpu / d.cpu for d, s in zip(*timings))[PAIRS // 2]
    extra = tree_size(bench.work / "site")[0] - dense.stat().st_size
    requests, first_memory, sparse_memory = first_byte(bench)
    for path in (dense, sparse):
        path.unlink()
    bench.record("memory", readers=READERS, bytes=size, cloop_memory=memory, sparse_publish_ratio=ratio, sparse_cpu_ratio=cpu_ratio,
                 sparse_requests=requests, sparse_first_memory=first_memory, sparse_cloop_memory=sparse_memory, sparse_site_extra=extra,
                 sparse_publish_memory=max(t.memory for t in timings[1]))
    bench.print_table("Memory, and a sparse disk", ["", "figure"], [
        [f"rondo-cloop, {READERS} readers of the whole {size / MIB:.0f} MiB, MiB", f"{memory / MIB:.0f}"],
        ["1 TiB with 1 GiB of data: seconds to publish, over those of 1 GiB dense", f"{ratio:.2f}"],
        ["CPU seconds, likewise", f"{cpu_ratio:.2f}"],
        ["site, beyond the data, MiB", f"{extra / MIB:.1f}"],
        ["rondo publish, MiB of memory", f"{max(t.memory for t in timings[1]) / MIB:.0f}"],
        ["requests from the catalog to the first byte of data", requests],
        ["rondo-cloop at that byte, MiB", f"{first_memory / MIB:.0f}"],
        [f"rondo-cloop after reads in {PLACES} places, MiB", f"{sparse_memory / MIB:.0f}"],
    ])
