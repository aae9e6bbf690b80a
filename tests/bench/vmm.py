"""What a boot costs a VMM: exits, memory beside the guest's own, in the lab (tests/lab/run_svm), the same for all.

Exits are counted by the lab kernel's trace points: all exits out of the guest, and those that went on to the VMM. The guest is Debian's
kernel with an initramfs of BusyBox, quiet and verbose on its serial console, until a line of its init; and Debian, quiet, to its login prompt,
on rondo-vmm alone, since that takes long.
Memory is the anonymous memory of the VMM's process, guest memory excluded. Counts differ a little from boot to boot; the
seconds, those of an emulated machine, say nothing about a real one.

rondo-vmm is compared with qemu, and with kvmtool where there is one: $KVMTOOL, or lkvm in PATH (no Debian 12 package has it).
"""
import os
import shutil
import subprocess

from harness import ROOT, Failure

LAB = ROOT / "tests/lab"
LONG = "Debian, quiet"
MARKER = "userspace is reached"
SECONDS = 600  # of the lab's clock, for a boot
QEMU_FILES = ["/usr/share/qemu/" + name for name in ("kvmvapic.bin", "linuxboot_dma.bin", "pvh.bin", "bios-microvm.bin")]
QEMU_FILES.append("/usr/share/seabios/bios-256k.bin")


def rondo(memory, cmdline, disk):
    return ["rondo-vmm", "--kernel", "/guest/kernel", "--initrd", "/guest/initrd", "--memory", f"{memory}M", "--cmdline", cmdline,
            *(["--disk", "/dev/disk0"] if disk else [])]


def kvmtool(memory, cmdline, disk):
    return [os.path.basename(kvmtool_program()), "run", "-k", "/guest/kernel", "-i", "/guest/initrd", "-m", str(memory), "-c", "1",
            "--name", "guest", "--console", "serial", "-n", "mode=none", "-p", cmdline, *(["--disk", "/dev/disk0"] if disk else [])]


def qemu(machine):
    def command(memory, cmdline, disk):
        return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", machine + ",accel=kvm",
                "-cpu", "host", "-m", str(memory), "-kernel", "/guest/kernel", "-initrd", "/guest/initrd", "-append", cmdline,
                "-serial", "stdio",
                *(["-drive", "if=virtio,format=raw,file=/dev/disk0"] if disk else [])]
    return command


def kvmtool_program():
    return os.environ.get("KVMTOOL") or shutil.which("lkvm")


def machines(bench):
    """Name, command, options for the lab."""
    qemu_lab = ["--program", "qemu-system-x86_64"]
    for file in QEMU_FILES:
        qemu_lab += ["--file", f"{file}:{file}"]
    found = [("rondo-vmm", rondo, ["--program", bench.build / "rondo-vmm"])]
    if kvmtool_program():
        found.append(("kvmtool", kvmtool, ["--program", kvmtool_program()]))
    found.append(("qemu, q35", qemu("q35"), qemu_lab))
    # Without a clock chip, Linux asks for one 40,000 times before it gives up.
    found.append(("qemu, microvm", qemu("microvm,pcie=on,rtc=on"), qemu_lab))
    return found


def boot(bench, name, command, lab, kernel, initrd, marker, memory, cmdline, disk=None):
    """The figures that watch_boot prints, by their names."""
    bench.say(f"{name}: {cmdline}")
    text = bench.output([LAB / "run_svm", *lab, "--file", f"{kernel}:/guest/kernel", "--file", f"{initrd}:/guest/initrd",
                         *(["--disk", disk] if disk else []), "--time-limit", str(SECONDS + 300), LAB / "watch_boot", marker, str(SECONDS),
                         *command(memory, cmdline, disk)])
    figures = {}
    for line in text.splitlines():
        key, _, value = line.rpartition(" ")
        figures[key] = value
    if "exits" not in figures or "own" not in figures:
        raise Failure(f"{name}: no figures: {text[-1000:]}")
    return figures


def run(bench):
    kernel = bench.output([LAB / "cached"], BUILD=str(bench.build)).splitlines()[-1]
    initrd = bench.work / "lab-initrd"
    make = f'. tests/lab/lib.sh; lab_kernel={kernel}; TMPDIR={bench.work}; lab_guest_initrd {initrd} "echo {MARKER}; sleep 1000"'
    subprocess.run(["bash", "-c", make], cwd=ROOT, check=True)
    image = bench.image()
    guests = [
        ("initramfs, quiet", kernel, initrd, MARKER, 256, "console=ttyS0 quiet panic=-1", None),
        ("initramfs, verbose", kernel, initrd, MARKER, 256, "console=ttyS0 panic=-1", None),
        (LONG, image / "kernel", image / "initrd", "login:", 512,
         "console=ttyS0 root=/dev/vda rw quiet systemd.default_device_timeout_sec=600", image / "disk"),
    ]
    rows = []
    asked = [(guest, machine) for guest in guests for machine in machines(bench) if guest[0] != LONG or machine[0] == "rondo-vmm"]
    for (guest, *what), (name, command, lab) in asked:
        try:
            figures = boot(bench, name, command, lab, *what)
        except Failure as failure:
            bench.say(str(failure))
            rows.append([guest, name, "-", "-", "-", "-", "-"])
            continue
        by_reason = {key: int(value) for key, value in figures.items() if key.startswith("user-exit ")}
        bench.record("vmm", guest=guest, vmm=name, **figures)
        rows.append([guest, name, figures["exits"], figures["user"], by_reason.get("user-exit 2", 0), by_reason.get("user-exit 6", 0),
                     f"{int(figures['own']) / 1024:.1f}"])
    notes = [] if kvmtool_program() else ["kvmtool is not among them: set KVMTOOL to its lkvm"]
    bench.print_table("A boot, in the lab on SVM", ["guest", "VMM", "exits", "to the VMM", "ports", "memory accesses", "own MiB"], rows, notes)
    if any("-" in row for row in rows):
        raise Failure("some VMM has not booted a guest")
