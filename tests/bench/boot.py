"""The block reads of a boot, recorded once for each image: an "OFFSET LENGTH" line for each read (see replay.py).

qemu (software emulation, two processors), with the devices that Rondo gives a machine, boots a copy of the disk through nbdkit's log
filter up to the text that says that it is ready. Reads of what the guest itself wrote are in it too; they are few, since the guest keeps what it wrote in memory.
"""
import re
import shutil
import sys

from harness import HERE, Failure, read_conf

BOOT_SECONDS = 300


def read_trace(path):
    return [tuple(map(int, line.split())) for line in open(path)]


def record_trace(bench):
    """The path of the Debian image's trace, made anew if the image is another one."""
    image = bench.image()
    trace, stamp = bench.keep / "boot.trace", bench.keep / "boot.trace.stamp"
    disk = (image / "disk").stat()
    wanted = f"{disk.st_ino} {disk.st_mtime_ns} {disk.st_ctime_ns}\n"
    if trace.exists() and stamp.exists() and stamp.read_text() == wanted:
        return trace
    stamp.unlink(missing_ok=True)
    bench.say("recording a boot")
    conf, copy, log, console = read_conf(image), bench.work / "disk", bench.work / "reads", bench.work / "console"
    bench.command(["cp", "--sparse=always", image / "disk", copy])
    address = bench.runtime / "nbd"
    nbdkit = bench.start(["nbdkit", "--foreground", "--unix", address, "--filter=log", "file", copy, f"logfile={log}"])
    bench.wait_for("nbdkit", address.exists)
    qemu = bench.start(["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-machine", "q35,usb=off,vmport=off",
                        "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", conf["memory"], "-display", "none",
                        "-no-reboot", "-serial", f"file:{console}", "-kernel", image / "kernel", "-initrd", image / "initrd",
                        "-append", conf["cmdline"] + " no_timer_check", "-device", "virtio-rng-pci",
                        "-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net,romfile=",
                        "-drive", f"file=nbd+unix:///?socket={address},format=raw,if=none,id=disk",
                        "-device", "virtio-blk-pci,drive=disk,serial=rondo,physical_block_size=4096"], bench.work / "qemu.log")

    def is_ready():
        if qemu.poll() is not None:
            raise Failure("qemu ended: " + (bench.work / "qemu.log.err").read_text())
        return console.exists() and re.search(re.escape(conf["ready"]), console.read_text(errors="replace"))

    bench.wait_for("the boot", is_ready, BOOT_SECONDS)
    bench.stop(qemu)
    bench.stop(nbdkit)
    new = bench.work / "trace"
    new.write_text(bench.output([sys.executable, HERE / "replay.py", "--trace", log]))
    copy.unlink()
    shutil.move(new, trace)
    stamp.write_text(wanted)
    return trace
