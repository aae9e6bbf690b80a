"""Seconds to the login prompt, from a URL over a slow link and from a local raw disk, in the same machine.

`rondo run` starts from nothing (no cache, no memory of the site), over 20 ms and 100 Mbit/s, in qemu's software emulation, without a
network for the guest; the time runs from the start of the command until the console shows the text that the image says it is ready
by. The local boot has the same arguments of qemu, taken from that machine, with a copy of the disk, the kernel and the initrd as
files. Both by turns. $RONDO_BENCH_PAIRS pairs (3), medians.

Then the same once more from the cache, after `rondo pull` has fetched the rest of the version (without --no-keep the machine does that by
itself): its requests, and the processor time of Rondo's processes (rondo-cloop, rondo-overlay, the supervisor and the command) against qemu's
when the prompt is there.
"""
import contextlib
import os
import pathlib
import re
import select
import socket
import subprocess
import time

from harness import Failure, median, read_conf
from replay_boot import LINKS, MAIN

PAIRS = int(os.environ.get("RONDO_BENCH_PAIRS", 3))
BOOT_SECONDS = 300
TICK = os.sysconf("SC_CLK_TCK")


def wait_for_text(process, text):
    """Reads a process's output until it has a text; returns the time."""
    seen, end, wanted = b"", time.monotonic() + BOOT_SECONDS, text.encode()
    while select.select([process.stdout], [], [], max(0, end - time.monotonic()))[0]:
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            break
        seen = seen[-len(wanted):] + data
        if wanted in seen:
            return time.monotonic()
    raise Failure(f"the machine did not say {text!r} within {BOOT_SECONDS} s; at last: {seen[-500:]!r}")


def machine_processes(environment):
    """[(name, arguments, CPU seconds)] of all processes with this environment's runtime folder."""
    ours = f"RONDO_RUNTIME={environment['RONDO_RUNTIME']}".encode()
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if not entry.name.isdigit() or ours not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            arguments = (entry / "cmdline").read_bytes().decode().split("\0")[:-1]
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            found.append((os.path.basename(os.readlink(entry / "exe")), arguments, (int(fields[11]) + int(fields[12])) / TICK))
    return found


def boot_url(bench, url, ready, folder, requests):
    """(seconds, the machine's processes when it was ready, requests until then), with cache and memory in a folder.

    Its rondo-cloop is a new one. What it reads after its prompt, and when it is switched off, is not a part of the boot.
    """
    runtime = bench.runtime / f"run.{next(bench.numbers)}"
    more = {"RONDO_RUNTIME": str(runtime), "RONDO_HOME": str(folder / "home"), "RONDO_CACHE": str(folder / "cache")}
    environment = {**bench.environment, **more}
    before = len(requests())
    start = time.monotonic()
    process = subprocess.Popen(["rondo", "run", url, "--engine", "qemu", "--net", "none", "--no-keep"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=open(bench.work / "run.err", "wb"), env=environment)
    bench.processes.append(process)
    try:
        seconds = wait_for_text(process, ready) - start
        processes, count = machine_processes(environment), len(requests()) - before
    except Failure as failure:
        raise Failure(f"{failure}\n{(bench.work / 'run.err').read_text()}") from failure
    finally:
        with contextlib.suppress(Failure):
            bench.command(["rondo", "stop", "debian", "--timeout", "0"], **more)
        bench.stop(process)
    bench.command(["rondo", "rm", "debian"], **more)
    bench.unmount(runtime / "mnt")
    return seconds, processes, count


def boot_local(bench, arguments, files, ready):
    ours, its = socket.socketpair()
    with ours, its:
        changed = [re.sub(r"^socket,id=control,fd=\d+$", f"socket,id=control,fd={its.fileno()}", word) for word in arguments]
        for option, name in (("-kernel", "kernel"), ("-initrd", "initrd")):
            changed[changed.index(option) + 1] = str(files[name])
        changed = [re.sub(r",filename=.*", f",filename={files['disk']}", word) for word in changed]
        start = time.monotonic()
        process = subprocess.Popen(changed, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   pass_fds=[its.fileno()], env=bench.environment)
        bench.processes.append(process)
        try:
            return wait_for_text(process, ready) - start
        finally:
            bench.stop(process)


def run(bench):
    image, site = bench.image(), bench.boot_site()
    ready, disk = read_conf(image)["ready"], bench.fresh("disk")
    files = {"kernel": image / "kernel", "initrd": image / "initrd", "disk": disk}
    cold, local, counts = [], [], []
    arguments = []  # of qemu
    folder = None

    def boot_cold(port, requests):
        nonlocal arguments, folder
        folder = bench.fresh("rondo")
        folder.mkdir()
        with bench.slow_link(port, *LINKS[MAIN]) as (link_port, carried):
            seconds, processes, count = boot_url(bench, f"http://127.0.0.1:{link_port}/debian", ready, folder, requests)
        cold.append(seconds)
        counts.append((carried["bytes"], count))
        arguments = next((a for name, a, _ in processes if name.startswith("qemu-system")), None)
        if not arguments:
            raise Failure("the machine has no qemu")

    def boot_raw():
        bench.command(["cp", "--sparse=always", image / "disk", disk])
        local.append(boot_local(bench, arguments, files, ready))

    with bench.serve_site(site) as (port, requests):
        for pair in range(PAIRS):
            bench.say(f"to the login prompt: pair {pair + 1} of {PAIRS}")
            boot_cold(port, requests)
            boot_raw()
        bench.say("to the login prompt, from the cache")
        with bench.slow_link(port, *LINKS[MAIN]) as (link_port, _):
            url = f"http://127.0.0.1:{link_port}/debian"
            bench.command(["rondo", "pull", url], RONDO_HOME=str(folder / "home"), RONDO_CACHE=str(folder / "cache"),
                          RONDO_RUNTIME=str(bench.runtime / f"pull.{next(bench.numbers)}"))
            warm_seconds, processes, warm_requests = boot_url(bench, url, ready, folder, requests)
    disk.unlink()
    cpu = {}
    for name, _, seconds in processes:
        cpu[name] = cpu.get(name, 0) + seconds
    engine = sum(seconds for name, seconds in cpu.items() if name.startswith("qemu-system"))
    own = sum(seconds for name, seconds in cpu.items() if name.startswith("rondo"))
    ratio = median([a / b for a, b in zip(cold, local)])
    bench.record("login", cold=cold, local=local, ratio=ratio, bytes=counts[-1][0], requests=counts[-1][1], warm=warm_seconds,
                 warm_requests=warm_requests, warm_cpu=cpu)
    bench.print_table(f"To the login prompt, in software emulation (medians of {PAIRS} pairs by turns)", ["", "seconds", "MB", "requests"], [
        [f"rondo run, cold, {MAIN}", f"{median(cold):.1f}", f"{counts[-1][0] / 1e6:.1f}", counts[-1][1]],
        ["qemu, a local raw disk", f"{median(local):.1f}", "", ""],
        ["rondo run, from the cache", f"{warm_seconds:.1f}", "", warm_requests]],
        ["CPU seconds, from the cache: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in sorted(cpu.items()))])
    bench.judge("to the login prompt, cold, of a local disk's", ratio, "≤", 1.15)
    bench.judge("requests from the cache", warm_requests, "≤", 0)
    bench.judge("Rondo's own CPU, of the engine's, per cent", 100 * own / engine, "≤", 3)
