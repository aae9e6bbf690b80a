"""What rondo-vmm's start and a disk request cost, beside other VMMs; and how long its source is. Exits: vmm.py.

All VMMs boot the same guest, Debian's cloud kernel with 256 MiB and one processor, in one run of the SVM lab (tests/lab/run_svm), where
the kernel's own trace points count system calls of all of them alike: vmm_lab.sh says how. Times there are a software
emulation's, good for a ratio. The start-up time that counts is measured on this host, where it has a /dev/kvm.

kvmtool is among them if a program lkvm is in PATH, or $KVMTOOL names it (Debian 12 has no package of it).
"""
import os
import pathlib
import re
import shutil
import socket
import subprocess

import harness

VMMS = {"rondo-vmm": "rondo-vmm", "kvmtool": "kvmtool", "q35": "qemu, q35", "microvm": "qemu, microvm"}
FIRMWARE = [*(f"/usr/share/seabios/{name}" for name in ("bios-256k.bin", "bios-microvm.bin")),
            *(f"/usr/share/qemu/{name}" for name in ("linuxboot_dma.bin", "kvmvapic.bin", "pvh.bin"))]
LAB_SECONDS = 1500
STARTS = 9
CALLS = {"0": "read", "1": "write", "10": "mprotect", "14": "rt_sigprocmask", "16": "ioctl", "17": "pread", "202": "futex",
         "228": "clock_gettime", "232": "epoll_wait", "271": "ppoll", "286": "timerfd_settime", "295": "preadv"}


def make_initrd(bench, kernel):
    """The guest's: BusyBox and virtio's modules, as all guests in the lab have them, and what it shall do."""
    tree, initrd = bench.work / "guest", bench.work / "guest.initrd"
    (tree / "usr/bin").mkdir(parents=True)
    for folder in ("proc", "sys", "dev"):
        (tree / folder).mkdir()
    shutil.copy(harness.HERE / "vmm_guest_init.sh", tree / "init")
    bench.command(["cc", "-std=c17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static",
                   "-o", tree / "usr/bin/read_at_depth", harness.HERE / "read_at_depth.c"])
    own = subprocess.run("find . -mindepth 1 | cpio -o -H newc --quiet --owner=0:0", shell=True, cwd=tree, capture_output=True,
                         check=True).stdout
    initrd.write_bytes((kernel.parent / "guest.cpio").read_bytes() + own)
    return initrd


def make_tiny_guest(bench):
    """A kernel that does at once what the first letter of its command line says."""
    guest = bench.work / "tiny-guest"
    bench.command(["cc", "-c", "-o", f"{guest}.o", harness.ROOT / "tests/e2e/vmm_guest.S"])
    bench.command(["ld", "-Ttext-segment", "0x200000", "-e", "begin", "-o", guest, f"{guest}.o"])
    return guest


def run_lab(bench, kernel):
    """{vmm: {key: value or {number: value}}} of what vmm_lab.sh prints."""
    kvmtool = os.environ.get("KVMTOOL") or shutil.which("lkvm")
    vmms = [v for v in VMMS if v != "kvmtool" or kvmtool]
    bench.say(f"in the lab: {', '.join(vmms)}")
    options = ["--memory", "2048", "--cpus", "2", "--time-limit", LAB_SECONDS, "--results", bench.keep / "vmm-costs",
               "--program", bench.build / "rondo-vmm", "--program", "qemu-system-x86_64",
               "--file", f"{kernel}:/guest/kernel", "--file", f"{make_initrd(bench, kernel)}:/guest/initrd", "--file", f"{make_tiny_guest(bench)}:/guest/tiny",
               # The processor's own clock, as hosts have it: reading another one is a system call each time.
               "--append", "tsc=reliable clocksource=tsc"]
    for path in FIRMWARE:
        options += ["--file", f"{path}:{path}"]
    if kvmtool:
        options += ["--program", kvmtool]
    said = bench.output([harness.ROOT / "tests/lab/run_svm", *options, harness.HERE / "vmm_lab.sh", *vmms], BUILD=str(bench.build))
    figures = {vmm: {} for vmm in vmms}
    for vmm, key, *values in (line.split(None, 3) for line in said.splitlines() if line.split(None, 1)[:1] and
                              line.split(None, 1)[0] in VMMS):
        if key == "failed":
            bench.say(f"{vmm} did not get to this: {' '.join(values)}")
        elif len(values) == 2:
            figures[vmm].setdefault(key, {})[values[0]] = int(values[1])
        else:
            figures[vmm][key] = int(values[0])
    return figures


def start_once(bench, options):
    """Processor time in milliseconds of all threads of rondo-vmm, from exec to a machine that has not begun."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with its:
            process = subprocess.Popen([bench.build / "rondo-vmm", "--memory", "256M", "--paused", "--control", f"fd:{its.fileno()}",
                                        "--cmdline", "o", *map(str, options)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       pass_fds=[its.fileno()])
        bench.processes.append(process)
        ours.settimeout(60)
        try:
            if ours.recv(8192) != b"ready":
                raise harness.Failure("rondo-vmm does not start here")
            tasks = pathlib.Path(f"/proc/{process.pid}/task").glob("*/schedstat")
            return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6
        finally:
            process.kill()
            bench.stop(process)


def measure_starts(bench, debian):
    """Medians of milliseconds on this host; {} where it has no KVM."""
    try:
        open("/dev/kvm", "r+b", buffering=0).close()
    except OSError as error:
        bench.say(f"no start-up time: /dev/kvm: {error.strerror}")
        return {}
    guest = make_tiny_guest(bench)
    disk = bench.work / "tiny-disk"
    disk.write_bytes(bytes(1 << 20))
    tiny = ["--kernel", guest]
    ways = {"a disk": [*tiny, "--disk", disk], "no disk": tiny, "a disk, no sandbox": [*tiny, "--disk", disk, "--no-sandbox"],
            "no disk, no sandbox": [*tiny, "--no-sandbox"],
            "a disk, Debian's kernel (14 MB)": ["--kernel", debian, "--disk", disk]}
    times = {way: [] for way in ways}
    for _ in range(STARTS):
        for way, options in ways.items():
            times[way].append(start_once(bench, options))
    return {way: harness.median(values) for way, values in times.items()}


def count_lines():
    """(lines, lines of code) of vmm/: code is what is neither blank nor comment."""
    files = [p.read_text() for p in sorted((harness.ROOT / "vmm").glob("*.[ch]"))]
    bare = [re.sub(r"/\*.*?\*/", "", text, flags=re.S) for text in files]
    code = sum(bool(re.sub(r"//.*", "", line).strip()) for text in bare for line in text.splitlines())
    return sum(len(text.splitlines()) for text in files), code


def run(bench):
    lines, code = count_lines()
    bench.record("vmm-source", lines=lines, code=code)
    print(f"\nvmm/: {lines} lines, {code} of them neither blank nor comment")
    kernel = pathlib.Path(bench.output([harness.ROOT / "tests/lab/cached"], BUILD=str(bench.build)).splitlines()[-1])
    starts = measure_starts(bench, kernel)
    if starts:
        for way, ms in starts.items():
            bench.record("vmm-start", way=way, milliseconds=round(ms, 2))
        bench.print_table("rondo-vmm's processor time before the guest's first instruction, on this host", ["", "ms"],
                          [[way, f"{ms:.1f}"] for way, ms in starts.items()],
                          [f"medians of {STARTS}; a kernel of a few bytes, unless it says otherwise"])
    rows, missing = [], False
    for vmm, f in run_lab(bench, kernel).items():
        bench.record("vmm-costs", vmm=vmm, **f)
        missing |= not f.get("requests")
        per = f"{f['calls'] / f['requests']:.2f}" if f.get("requests") else "-"
        start = f"{f['startup'] / 1e6:.0f}" if "startup" in f else "-"
        rows.append([VMMS[vmm], per, f.get("own", "-"), f.get("memory", "-"), start])
        calls = sorted(f.get("call", {}).items(), key=lambda item: -item[1])
        bench.say(f"{vmm}: " + ", ".join(f"{CALLS.get(number, 'call ' + number)} {n}" for number, n in calls[:8]))
    bench.print_table("Reads of 4 KiB with 32 in flight, in the lab on SVM", ["", "calls a read", "own KiB", "with programs", "start ms"],
                      rows, ["own: anonymous memory after the reads, the guest's excluded; with programs and libraries: PSS",
                             "start: processor time before the guest's first instruction, emulated"])
    if missing:
        raise harness.Failure("some VMM's guest has not read its disk: see vmm-costs/*.failed in the folder of results.json")
