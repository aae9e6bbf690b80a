# The tests of overlay_mount.sh: each makes an overlay in a folder of its own, starts rondo-overlay over a plain file,
# and plays its supervisor at the other end of the control socket.
import ctypes, hashlib, mmap, os, random, resource, shutil, signal, socket, struct, subprocess, sys, tempfile, threading, time

PROGRAM = os.path.join(os.environ.get("BUILD", "build"), "rondo-overlay")
BLOCK = 4096
BASE_SIZE = (8 << 20) + 1234
SIZE = 16 << 20
MANIFEST = hashlib.sha256(b"a manifest").digest()
SEED = int(os.environ.get("RONDO_TEST_SEED", "20261123"))
top = tempfile.mkdtemp(prefix="rondo-overlay-test.")
rng = random.Random(SEED)
base_bytes = rng.randbytes(BASE_SIZE)
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
PUNCH, ZERO, KEEP = 2, 16, 1


def create_overlay(folder, size=SIZE, manifest=MANIFEST):
    """The two files, by the format's description alone."""
    head = b"RONDOOV1" + struct.pack("<IIQ", 1, 0, size // BLOCK) + manifest + bytes(16)
    pages = -(-size // BLOCK // 16384)
    with open(folder + "/disk.map", "wb") as f:
        f.write(head + hashlib.sha256(head).digest())
        f.truncate(4096 + pages * 4096)
    with open(folder + "/disk.data", "wb") as f:
        f.truncate(size)


class Machine:
    """One instance: its folder, and while it runs rondo-overlay and the supervisor's end of the socket."""

    def __init__(self, name, folder=None):
        self.root = os.path.join(top, name)
        os.mkdir(self.root)
        self.folder = folder or self.root + "/instance"
        self.mount = self.root + "/mnt"
        self.base = self.root + "/base"
        self.disk = self.mount + "/disk"
        os.makedirs(self.folder, exist_ok=True)
        os.mkdir(self.mount)
        with open(self.base, "wb") as f:
            f.write(base_bytes)
        create_overlay(self.folder)
        self.process = None

    def start(self, *options, manifest=MANIFEST, prefix=(), inherited=()):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        base = os.open(self.base, os.O_RDONLY)
        self.log = open(self.root + "/log", "ab")
        self.process = subprocess.Popen(
            [*prefix, PROGRAM, "--dir", self.folder, "--mount", self.mount, "--manifest", manifest.hex(), "--base-fd",
             str(base), "--control-fd", str(theirs.fileno()), *options],
            pass_fds=(base, theirs.fileno(), *inherited), stderr=self.log)
        theirs.close()
        os.close(base)
        self.control = ours
        return self

    def hear(self, seconds=10):
        self.control.settimeout(seconds)
        return self.control.recv(8192).decode()

    def expect(self, start, seconds=10):
        text = self.hear(seconds)
        assert text.startswith(start), f"expected {start!r}, heard {text!r}"
        return text

    def silent(self, seconds):
        try:
            text = self.hear(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"heard {text!r}")

    def ready(self, *options):
        self.start(*options)
        self.expect("ready")
        return self

    def end(self, how="quit"):
        if how == "quit":
            self.control.send(b"quit")
        elif how == "gone":
            self.control.close()
        else:
            self.process.send_signal(how)
        code = self.process.wait(20)
        self.control.close()
        self.process = None
        return code

    def mounted(self):
        with open("/proc/self/mountinfo") as f:
            return any(line.split()[4] == self.mount for line in f)

    def said(self):
        with open(self.root + "/log") as f:
            return f.read()

    def clean(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.mounted():
            subprocess.run(["fusermount3", "-uz", self.mount], check=False)


def write(m, offset, data, sync=False):
    fd = os.open(m.disk, os.O_RDWR)
    try:
        assert os.pwrite(fd, data, offset) == len(data)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def read(m, offset, n):
    fd = os.open(m.disk, os.O_RDONLY)
    try:
        return os.pread(fd, n, offset)
    finally:
        os.close(fd)


def fallocate(m, mode, offset, n):
    fd = os.open(m.disk, os.O_RDWR)
    try:
        return 0 if libc.fallocate(fd, mode, offset, n) == 0 else ctypes.get_errno()
    finally:
        os.close(fd)


def fresh():
    return bytearray(base_bytes + bytes(SIZE - BASE_SIZE))


def in_thread(function, *arguments):
    result = {}

    def run():
        try:
            result["value"] = function(*arguments)
        except OSError as e:
            result["error"] = e.errno

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.result = result
    return thread


def errno_of(function, *arguments):
    try:
        function(*arguments)
    except OSError as e:
        return e.errno
    return 0


tests = []


def test(function):
    tests.append(function)
    return function


@test
def the_disk_reads_as_its_base_and_zeros(m):
    m.ready()
    assert os.listdir(m.mount) == ["disk"]
    st = os.stat(m.disk)
    assert st.st_size == SIZE and st.st_mode & 0o777 == 0o600 and st.st_uid == os.geteuid()
    assert read(m, 0, SIZE) == fresh()
    assert m.end() == 0 and not m.mounted()


@test
def writes_read_back_and_the_base_stays(m):
    m.ready()
    model = fresh()
    for _ in range(300):
        n = rng.choice((1, 100, 511, 512, 4096, 5000, 65536, 300000))
        offset = rng.randrange(SIZE - n)
        data = rng.randbytes(n)
        write(m, offset, data)
        model[offset : offset + n] = data
    assert read(m, 0, SIZE) == model
    m.control.send(b"counts")
    counts = dict(f.split("=") for f in m.expect("counts ").split()[1:])
    assert int(counts["data_blocks"]) > 300 and counts["zero_blocks"] == "0"
    assert m.end() == 0
    m.ready()
    assert read(m, 0, SIZE) == model
    assert m.end() == 0
    with open(m.base, "rb") as f:
        assert f.read() == base_bytes


@test
def holes_and_zeroes_are_exact(m):
    m.ready()
    model = fresh()
    for mode, offset, n in ((PUNCH | KEEP, 8192, 8192), (PUNCH | KEEP, 100, 9000), (ZERO, 50000, 1), (ZERO | KEEP, 70000, 70000)):
        assert fallocate(m, mode, offset, n) == 0
        model[offset : offset + n] = bytes(n)
    assert fallocate(m, PUNCH | KEEP, SIZE - 100, 5000) == 0
    assert fallocate(m, ZERO, SIZE - 100, 5000) == 27  # EFBIG
    for mode in (0, KEEP, 8, 32):
        assert fallocate(m, mode, 0, 4096) == 95, mode  # EOPNOTSUPP
    assert read(m, 0, SIZE) == model
    write(m, 0, bytes(1 << 20), sync=True)
    before = os.stat(m.folder + "/disk.data").st_blocks
    assert fallocate(m, PUNCH | KEEP, 0, 1 << 20) == 0
    assert os.stat(m.folder + "/disk.data").st_blocks <= before - 2048
    assert m.end() == 0


@test
def the_disk_cannot_be_resized_or_replaced(m):
    m.ready()
    assert errno_of(os.truncate, m.disk, 0) == 1
    assert errno_of(os.truncate, m.disk, SIZE * 2) == 1
    os.truncate(m.disk, SIZE)
    assert errno_of(os.open, m.disk, os.O_RDWR | os.O_TRUNC) == 1
    assert os.stat(m.disk).st_size == SIZE
    assert errno_of(os.chmod, m.disk, 0o666) == 1
    assert errno_of(os.unlink, m.disk) != 0
    assert errno_of(os.mkdir, m.mount + "/x") != 0
    assert errno_of(write, m, SIZE - 10, bytes(11)) == 27
    assert errno_of(write, m, SIZE, bytes(1)) == 27
    assert read(m, SIZE - 10, 100) == bytes(10) and read(m, SIZE, 10) == b""
    fd = os.open(m.disk, os.O_RDWR)
    try:
        mmap.mmap(fd, 4096, mmap.MAP_SHARED)
        raise AssertionError("a shared mapping was made")
    except OSError:
        pass
    os.close(fd)
    assert m.end() == 0


@test
def what_was_synced_survives_kill_9(m):
    m.ready()
    stable, later = rng.randbytes(70000), rng.randbytes(5000)
    write(m, 12345, stable, sync=True)
    write(m, 1 << 20, later)
    m.process.kill()
    m.process.wait()
    assert errno_of(os.stat, m.disk) == 107  # ENOTCONN: the dead mount
    m.ready()  # detaches it by itself
    model = fresh()
    model[12345 : 12345 + 70000] = stable
    assert read(m, 0, 1 << 20) == model[: 1 << 20]
    for at in range(0, 8192, 4096):
        block = read(m, (1 << 20) + at, 4096)
        new = bytearray(model[(1 << 20) + at : (1 << 20) + at + 4096])
        old = bytes(new)
        part = later[at : at + 4096]
        new[: len(part)] = part
        assert block in (old, bytes(new))
    assert m.end() == 0


@test
def with_write_through_nothing_needs_a_sync(m):
    m.ready("--write-through")
    write(m, 5000, b"unsynced")
    m.process.kill()
    m.process.wait()
    m.ready()
    assert read(m, 5000, 8) == b"unsynced"
    assert m.end() == 0


@test
def it_ends_with_its_supervisor(m):
    for how in ("quit", "gone", signal.SIGTERM):
        m.ready()
        write(m, 0, str(how).encode())
        m.process.send_signal(signal.SIGINT)
        m.process.send_signal(signal.SIGHUP)
        assert read(m, 0, 2) == str(how).encode()[:2]
        assert m.end(how) == 0, how
        assert not m.mounted()
    m.ready()
    fd = os.open(m.disk, os.O_RDWR)  # an open file does not hold it up
    started = time.monotonic()
    assert m.end() == 0 and time.monotonic() - started < 3 and not m.mounted()
    assert errno_of(os.pread, fd, 10, 0) == 107  # ENOTCONN
    errno_of(os.close, fd)
    m.ready()
    subprocess.run(["fusermount3", "-uz", m.mount], check=True)  # from outside: an error, said aloud
    assert m.process.wait(10) == 1 and "unmounted" in m.said()


@test
def a_second_start_is_busy(m):
    m.ready()
    first, control = m.process, m.control
    m.start()
    assert m.process.wait(10) == 10 and "in use" in m.said()
    m.process, m.control = first, control
    assert read(m, 0, 100) == base_bytes[:100]
    assert m.end() == 0


@test
def what_does_not_fit_is_refused_with_its_exit_code(m):
    other = hashlib.sha256(b"another").digest()
    m.start(manifest=other)
    assert m.process.wait(10) == 7
    assert MANIFEST.hex() in m.said() and other.hex() in m.said()
    with open(m.folder + "/disk.map", "r+b") as f:
        f.seek(20)
        f.write(b"\xff")
    m.start()
    assert m.process.wait(10) == 5 and "damaged" in m.said()
    shutil.rmtree(m.folder)
    m.start()
    assert m.process.wait(10) == 3
    os.mkdir(m.folder)
    m.start()
    assert m.process.wait(10) == 3
    create_overlay(m.folder)
    m.start("--on-outage", "sulk")
    assert m.process.wait(10) == 2
    m.start("--nonsense")
    assert m.process.wait(10) == 2
    os.rmdir(m.mount)
    m.start()
    assert m.process.wait(10) == 3
    os.mkdir(m.mount)
    if os.geteuid() == 0:
        hidden = ["unshare", "-m", "sh", "-c", 'mount --bind /dev/null /dev/fuse && exec "$@"', "sh"]
        m.start(prefix=hidden)
        assert m.process.wait(10) == 9 and "rondo doctor" in m.said()
    m.ready()
    assert m.end() == 0


@test
def an_outage_pauses_and_ends_by_itself(m):
    m.ready()
    write(m, 0, b"local" * 1000, sync=True)
    os.truncate(m.base, 1 << 20)
    at = 4 << 20
    reads = [in_thread(read, m, at + i * 8192, 4096) for i in range(80)]  # all in flight at once
    partial = in_thread(write, m, (5 << 20) + 7, b"merged")
    m.expect("outage ")
    m.silent(1.5)  # said once
    started = time.monotonic()
    assert read(m, 0, 5000) == b"local" * 1000 and read(m, 1 << 19, 99) == base_bytes[1 << 19 : (1 << 19) + 99]
    assert time.monotonic() - started < 0.5
    assert all(t.is_alive() for t in reads) and partial.is_alive()
    with open(m.base, "r+b") as f:
        f.seek(1 << 20)
        f.write(base_bytes[1 << 20 :])
    m.expect("recovered")
    for i, t in enumerate(reads):
        t.join(5)
        assert t.result["value"] == base_bytes[at + i * 8192 : at + i * 8192 + 4096]
    partial.join(5)
    block = bytearray(base_bytes[5 << 20 : (5 << 20) + 4096])
    block[7:13] = b"merged"
    assert read(m, 5 << 20, 4096) == block
    m.silent(0.5)
    assert m.end() == 0


@test
def a_new_base_descriptor_ends_an_outage(m):
    m.ready()
    os.truncate(m.base, 0)
    t = in_thread(read, m, 4096, 4096)
    m.expect("outage ")
    with open(m.root + "/short", "wb") as f:
        f.write(b"too short")
    with open(m.root + "/new", "wb") as f:
        f.write(base_bytes)
    for name in ("short", "new"):
        fd = os.open(m.root + "/" + name, os.O_RDONLY)
        socket.send_fds(m.control, [b"base"], [fd])
        os.close(fd)
    assert "instead of" in m.expect("error ")
    m.expect("recovered", 2)
    t.join(5)
    assert t.result["value"] == base_bytes[4096:8192]
    assert m.end() == 0


@test
def reads_of_the_base_are_recorded(m):
    with tempfile.TemporaryFile() as file:
        m.start("--record-fd", str(file.fileno()), inherited=(file.fileno(),))
        m.expect("ready")
        assert read(m, 8192, 4096) == base_bytes[8192:12288]
        write(m, 0, bytes(8192))
        read(m, 0, 4096)  # what was written is not the base's
        read(m, 4096, 16384)  # the rest of this is
        read(m, SIZE - 4096, 4096)  # there is no base
        assert m.end() == 0
        file.seek(0)
        assert file.read() == struct.pack("=4Q", 8192, 4096, 8192, 12288)
    for wrong in ("0", "999"):
        m.start("--record-fd", wrong)
        assert m.process.wait(10) == 2


@test
def a_short_outage_is_not_mentioned(m):
    m.ready("--outage-after", "5")
    os.truncate(m.base, 0)
    t = in_thread(read, m, 4096, 4096)
    m.silent(1)
    with open(m.base, "r+b") as f:
        f.write(base_bytes)
    t.join(5)
    assert t.result["value"] == base_bytes[4096:8192]
    m.silent(0.3)
    assert m.end() == 0


@test
def with_on_outage_error_the_request_fails_alone(m):
    m.ready("--on-outage", "error")
    os.truncate(m.base, 0)
    assert errno_of(read, m, 4096, 4096) == 5
    write(m, 8192, bytes(4096))
    with open(m.base, "r+b") as f:
        f.write(base_bytes)
    assert read(m, 4096, 4096) == base_bytes[4096:8192]
    m.silent(0.2)
    assert m.end() == 0


@test
def whoever_takes_it_over_finds_little(m):
    m.ready()
    write(m, 4096, b"x" * 4096)
    pid = m.process.pid

    def of_threads(field):
        return {line.split()[1] for t in os.listdir(f"/proc/{pid}/task") for line in open(f"/proc/{pid}/task/{t}/status")
                if line.startswith(field + ":")}
    assert of_threads("Seccomp") == {"2"} and of_threads("NoNewPrivs") == {"1"}
    assert of_threads("CapEff") | of_threads("CapPrm") == {"0" * 16}
    assert [line.split()[4:6] for line in open(f"/proc/{pid}/limits") if line.startswith("Max core")] == [["0", "0"]]
    beside, = open(f"/proc/{pid}/task/{pid}/children").read().split()  # it unmounts, and has no file of ours
    assert open(f"/proc/{beside}/comm").read() == "rondo-unmount\n"
    assert sorted(os.listdir(f"/proc/{beside}/fd")) == ["0", "1", "2", "3"]
    assert m.end() == 0
    assert not os.path.exists(f"/proc/{beside}")


@test
def held_reads_do_not_hold_up_the_end(m):
    m.ready()
    write(m, 1 << 20, b"kept")
    os.truncate(m.base, 0)
    reads = [in_thread(read, m, i << 16, 4096) for i in range(10)]
    m.expect("outage ")
    started = time.monotonic()
    assert m.end() == 0 and time.monotonic() - started < 3
    for t in reads:
        t.join(5)
        assert t.result["error"] in (5, 103, 107), t.result  # EIO; or the mount was gone first
    with open(m.base, "r+b") as f:
        f.write(base_bytes)
    m.ready()
    assert read(m, 1 << 20, 4) == b"kept"
    assert m.end() == 0


@test
def let_go_fails_held_requests_and_serves_on(m):
    m.ready()
    write(m, 1 << 20, b"local")
    os.truncate(m.base, 0)
    t = in_thread(read, m, 0, 4096)
    m.expect("outage ")
    m.control.send(b"let-go")
    t.join(5)
    assert t.result["error"] == 5
    assert errno_of(read, m, 8192, 4096) == 5
    assert read(m, 1 << 20, 5) == b"local"
    write(m, 1 << 20, b"later", sync=True)
    assert m.end() == 0


@test
def an_engine_that_waits_can_be_switched_off(m):
    qemu = shutil.which("qemu-system-x86_64")
    if not qemu:
        return "needs qemu-system-x86_64"
    m.ready()
    os.truncate(m.base, 0)
    engine = subprocess.Popen(
        [qemu, "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none", "-qmp", "stdio", "-blockdev",
         "driver=raw,node-name=disk,cache.direct=on,file.driver=file,file.cache.direct=on,file.filename=" + m.disk,
         "-device", "virtio-blk-pci,drive=disk"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        m.expect("outage ", 60)  # the firmware reads the boot sector
        engine.stdin.write(b'{"execute":"qmp_capabilities"}\n{"execute":"stop"}\n{"execute":"quit"}\n')
        engine.stdin.flush()
        time.sleep(1)
        assert engine.poll() is None
        m.control.send(b"let-go")
        assert engine.wait(20) == 0
    finally:
        engine.kill()
        m.control.send(b"let-go")
        engine.communicate()
    assert m.end() == 0


@test
def a_full_disk_holds_the_write_until_there_is_space(m):  # TRUST T20
    if os.geteuid() != 0:
        return "needs root for a small file system"
    small = m.root + "/small"
    os.mkdir(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        m.folder = small
        create_overlay(small)
        m.ready()
        model = fresh()
        filler = os.open(small + "/filler", os.O_CREAT | os.O_RDWR, 0o600)
        os.posix_fallocate(filler, 0, 700 << 10)
        data = rng.randbytes(512 << 10)
        model[4096 : 4096 + len(data)] = data
        t = in_thread(write, m, 4096, data, True)
        assert m.expect("no-space ") == "no-space " + small
        m.silent(1.5)
        assert t.is_alive()
        assert read(m, 9 << 20, 10) == bytes(10)  # reads go on
        os.ftruncate(filler, 0)
        m.expect("space")
        t.join(5)
        assert "error" not in t.result
        assert read(m, 0, SIZE) == model
        os.posix_fallocate(filler, 0, 300 << 10)
        t = in_thread(write, m, 3 << 20, rng.randbytes(512 << 10))
        m.expect("no-space ")
        assert m.end() == 0  # held, never acknowledged: fails
        t.join(5)
        assert t.result["error"] in (5, 103, 107)
        os.close(filler)
        os.unlink(small + "/filler")
        m.ready()
        assert read(m, 0, 3 << 20) == model[: 3 << 20]
        assert m.end() == 0
    finally:
        m.clean()
        subprocess.run(["umount", "-l", small], check=True)


@test
def a_failed_flush_is_said_once_and_final(m):  # rule 4
    m.ready()
    write(m, 0, b"stable", sync=True)
    resource.prlimit(m.process.pid, resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
    fd = os.open(m.disk, os.O_RDWR)
    os.pwrite(fd, b"lost", 100)  # in place: no map bit changes, and the flush needs none
    os.fsync(fd)
    os.close(fd)
    # The next one changes the map, whose write goes beyond the limit
    assert fallocate(m, PUNCH | KEEP, 8192, 4096) == 0
    assert errno_of(write, m, 0, b"x", True) == 5
    assert "disk.map" in m.expect("failed ")
    resource.prlimit(m.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert errno_of(write, m, 0, b"x", True) == 5
    assert errno_of(read, m, 0, 10) == 5
    m.silent(0.2)
    assert m.end() == 1
    m.ready()
    assert read(m, 1, 5) == b"table"
    assert m.end() == 0


def qemu_io(m, *commands, options=()):
    arguments = ["qemu-io", "-f", "raw", "-t", "none", "-d", "unmap", *options, m.disk]
    for c in commands:
        arguments += ["-c", c]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "failed" not in done.stdout and "error" not in done.stdout.lower(), done.stdout + done.stderr


@test
def qemu_writes_discards_and_verifies(m):
    if not shutil.which("qemu-io"):
        return "needs qemu-io"
    with open(m.base, "r+b") as f:  # qemu reads whole sectors
        f.truncate(8 << 20)
    m.ready()
    model = fresh()
    model[8 << 20 :] = bytes(SIZE - (8 << 20))
    for options in ((), ("-n",), ("-i", "io_uring")):
        if options and options[0] == "-i" and subprocess.run(
                ["qemu-io", "-f", "raw", "-t", "none", *options, m.disk, "-c", "read 0 512"], capture_output=True).returncode:
            continue
        commands = []
        for _ in range(120):
            n = rng.choice((512, 4096, 16384, 131072))
            offset = rng.randrange((SIZE - n) // 512) * 512
            pattern = rng.randrange(1, 256)
            kind = rng.randrange(6)
            if kind == 0:
                commands += [f"discard {offset} {n}"]
                model[offset : offset + n] = bytes(n)
            elif kind == 1:
                commands += [f"write -z -u {offset} {n}"]
                model[offset : offset + n] = bytes(n)
            elif kind == 2:
                commands += [f"write -f -P {pattern} {offset} {n}"]
                model[offset : offset + n] = bytes([pattern]) * n
                commands += [f"read -P {pattern} {offset} {n}"]
            else:
                commands += [f"write -P {pattern} {offset} {n}"]
                model[offset : offset + n] = bytes([pattern]) * n
        parallel = []  # many requests in flight, on ranges of their own
        for i in range(64):
            parallel += [f"aio_write -P {i + 1} {i * 131072 + 1024} 100352"]
            model[i * 131072 + 1024 : i * 131072 + 101376] = bytes([i + 1]) * 100352
        qemu_io(m, *commands, *parallel, "aio_flush", "flush", options=options)
        assert read(m, 0, SIZE) == model, options
    assert m.end() == 0
    m.ready()
    assert read(m, 0, SIZE) == model
    assert m.end() == 0


def main():
    print(f"# seed {SEED}")
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, function in enumerate(tests, 1):
        name = function.__name__.replace("_", " ")
        m = Machine(function.__name__)
        try:
            skipped = function(m)
            print(f"ok {number} - {name}" + (f" # SKIP {skipped}" if skipped else ""), flush=True)
        except Exception as e:
            failed += 1
            print(f"not ok {number} - {name}")
            where = e.__traceback__
            while where.tb_next and where.tb_next.tb_frame.f_code.co_filename == __file__:
                where = where.tb_next
            print(f"# line {where.tb_lineno}: {type(e).__name__} {str(e)[:2000]}".replace("\n", "\n# "))
            log = m.said() if os.path.exists(m.root + "/log") else ""
            print("# " + log[-1500:].replace("\n", "\n# "), flush=True)
        finally:
            m.clean()
    shutil.rmtree(top, ignore_errors=True)
    sys.exit(1 if failed else 0)


main()
