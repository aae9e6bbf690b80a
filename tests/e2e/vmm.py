# The tests of vmm.sh: vmm.py KERNEL, the guest of vmm_guest.S.
import hashlib, os, re, signal, socket, struct, subprocess, sys, tempfile, time

PROGRAM = os.path.join(os.environ.get("BUILD", "build"), "rondo-vmm")
KERNEL = sys.argv[1]
top = tempfile.mkdtemp(prefix="vmm.")
count = failures = 0


def ok(condition, name, detail=""):
    global count, failures
    count += 1
    print(("ok" if condition else "not ok"), count, "-", name, flush=True)
    if not condition:
        failures += 1
        print("# " + str(detail).replace("\n", "\n# "), flush=True)


class Machine:
    """A running rondo-vmm with the test as its supervisor and as the other end of its console."""

    def __init__(self, deed, *options, control=True, pass_fds=(), memory="16M"):
        self.control, control_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.console, console_end = socket.socketpair()
        arguments = ["--kernel", KERNEL, "--memory", memory, "--cmdline", deed, "--console", f"fd:{console_end.fileno()}"]
        if control:
            arguments += ["--control", f"fd:{control_end.fileno()}"]
        self.process = subprocess.Popen([PROGRAM, *arguments, *options], stderr=subprocess.PIPE,
                                        pass_fds=(control_end.fileno(), console_end.fileno(), *pass_fds))
        control_end.close()
        console_end.close()
        self.control.settimeout(20)
        self.console.settimeout(20)

    def say(self, text):
        self.control.send(text.encode())

    def hear(self):
        return self.control.recv(8192).decode()

    def ask(self, text):
        self.say(text)
        return self.hear()

    def wait(self, seconds=20):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "it does not end"

    def output_until(self, text):
        out = b""
        while text not in out:
            piece = self.console.recv(4096)
            if not piece:
                break
            out += piece
        return out

    def drain(self, seconds):
        """What comes within that time."""
        out, end = b"", time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.console.settimeout(left)
            try:
                out += self.console.recv(65536)
            except TimeoutError:
                break
        self.console.settimeout(20)
        return out

    def finish(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        self.control.close()
        self.console.close()


def run(*arguments, **more):
    done = subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, **more)
    return done.returncode, done.stdout, done.stderr


def exit_codes():
    for deed, code, event, what in (("o", 0, "powered-off", "a guest that switches itself off"),
                                    ("r", 20, "reset", "a reset by the keyboard controller"),
                                    ("R", 20, "reset", "a reset by ACPI"), ("P", 21, "panicked", "a panic"),
                                    ("t", 22, "triple-fault", "a triple fault")):
        m = Machine(deed + " says so")
        ok(m.hear() == "ready", f"{what}: ready comes first")
        heard = m.hear()
        ok(heard == "event " + event, f"{what}: the supervisor hears event {event}", heard)
        is_code = m.wait()
        ok(is_code == code, f"{what}: exit code {code}", is_code)
        ok(m.output_until(b"\0") == (deed + " says so").encode(), f"{what}: the console has all that was written")
        m.finish()
    m = Machine("b")
    m.hear()
    heard = m.hear()
    ok(heard.startswith("broken ") and "KVM" in heard, "what KVM cannot do: the supervisor hears why", heard)
    ok(m.wait() == 1, "and exit code 1")
    m.finish()


def standard_streams():
    done = subprocess.run([PROGRAM, "--kernel", KERNEL, "--memory", "16M", "--cmdline", "e"], input=b"typed q", capture_output=True,
                          timeout=60)
    ok((done.returncode, done.stdout) == (0, b"etyped q"), "without --console it is standard input and output", done)
    ok(done.stderr == b"", "and nothing else is said", done.stderr)


def pause_and_resume():
    m = Machine("s", "--cpus", "2")
    ok(m.hear() == "ready", "a machine with two processors is ready")
    ok(m.ask("status") == "status running", "it runs")
    m.output_until(b"....")
    ok(m.ask("pause") == "paused", "pause")
    m.drain(0.3)
    ok(m.drain(0.5) == b"", "paused, it does nothing")
    ok(m.ask("status") == "status paused", "and says so")
    ok(m.ask("pause") == "paused", "pausing twice is pausing once")
    ok(m.ask("resume") == "resumed", "resume")
    ok(m.output_until(b"....").endswith(b"."), "it goes on")
    statistics = m.ask("statistics")
    ok(statistics.startswith("statistics\n") and int(re.search(r"^exits\.port (\d+)$", statistics, re.M)[1]) > 0,
       "statistics count exits", statistics)
    heard = m.ask("dance")
    ok(heard.startswith("error "), "an unknown message is answered", heard)
    heard = m.ask("base")
    ok(heard.startswith("error "), "base without a descriptor too", heard)
    with open(os.devnull, "rb") as nothing:
        socket.send_fds(m.control, [b"base"], [nothing.fileno()])
    heard = m.hear()
    ok(heard.startswith("error ") and "this machine" in heard, "and with one, where there is no overlay", heard)
    ok(m.ask("quit") == "event stopped", "quit ends it at once")
    ok(m.wait() == 0, "with exit code 0")
    m.finish()
    m = Machine("o", "--paused")
    ok(m.hear() == "ready", "--paused: ready")
    ok(m.drain(0.3) == b"", "nothing runs")
    ok(m.ask("status") == "status paused", "it is paused")
    ok(m.ask("resume") == "resumed" and m.output_until(b"o") == b"o" and m.wait() == 0, "until it is resumed")
    m.finish()


def ends():
    m = Machine("w")
    m.output_until(b"w")
    m.hear()
    m.say("power")
    heard = m.hear()
    ok(heard == "event powered-off" and m.wait() == 0, "power presses the button, and the guest switches off", heard)
    m.finish()
    m = Machine("h")
    m.hear()
    m.output_until(b"h")
    m.control.close()
    ok(m.wait() == 0, "a supervisor that goes takes the machine with it")
    m.finish()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        m = Machine("w", control=False)
        m.output_until(b"w")
        m.process.send_signal(number)
        ok(m.wait() == 0, f"{number.name} presses the button")
        m.finish()
    m = Machine("h", control=False)
    m.output_until(b"h")
    m.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    ok(m.process.poll() is None, "a guest that does not care stays")
    m.process.send_signal(signal.SIGTERM)
    ok(m.wait() == 0, "until the second signal")
    m.finish()
    m = Machine("s")
    m.hear()
    m.console.close()
    time.sleep(0.3)
    ok(m.ask("status") == "status running", "a console that goes away does no harm")
    m.finish()


def refused():
    folder = top + "/"
    open(folder + "empty", "w").close()
    with open(folder + "rubbish", "wb") as f:
        f.write(os.urandom(100000))
    cases = [
        (["--kernel", folder + "nothing"], 3, "nothing"),
        (["--kernel", folder + "empty"], 5, "empty"),
        (["--kernel", folder + "rubbish"], 5, "rubbish"),
        (["--kernel", top], None, top),
        (["--kernel", KERNEL, "--initrd", folder + "nothing"], 3, "nothing"),
        (["--kernel", KERNEL, "--disk", folder + "nothing"], 3, "nothing"),
        (["--kernel", KERNEL, "--kvm", folder + "nothing"], 9, "rondo doctor"),
        (["--kernel", KERNEL, "--kvm", os.devnull], 9, "not KVM's device"),
        (["--kernel", KERNEL, "--memory", "1T"], None, "1.0 TiB"),
        (["--kernel", KERNEL, "--memory", "15M"], 2, "--memory"),
        (["--kernel", KERNEL, "--memory", "17M"], 2, "--memory"),
        (["--kernel", KERNEL, "--memory", "much"], 2, "--memory"),
        (["--kernel", KERNEL, "--cpus", "0"], 2, "--cpus"),
        (["--kernel", KERNEL, "--cpus", "33"], 2, "--cpus"),
        (["--kernel", KERNEL, "--cmdline", "x" * 4096], 2, "--cmdline"),
        (["--kernel", KERNEL, "--kernel", KERNEL], 2, "twice"),
        (["--kernel", KERNEL, "--net", "user"], 2, "--net"),
        (["--kernel", KERNEL, "--net", "tap:fd:77"], 2, "77"),
        (["--kernel", KERNEL, "--console", "fd:1"], 2, "fd:1|descriptor 1"),
        (["--kernel", KERNEL, "--console", "terminal"], 2, "fd:N"),
        (["--kernel", KERNEL, "--paused"], 2, "--control"),
        (["--kernel", KERNEL, "--on-outage", "error"], 2, "--overlay"),
        (["--kernel", KERNEL, "--on-outage", "maybe"], 2, "pause or error"),
        (["--kernel", KERNEL, "--overlay", top], 2, "DIR,base=FILE"),
        (["--kernel", KERNEL, "--overlay", f"{top},base={KERNEL},manifest=abc"], 2, "64 hexadecimal"),
        (["--kernel", KERNEL, "--overlay", f"{top},base={KERNEL},manifest={'0' * 64}"], None, top),
        (["--kernel", KERNEL, "--unheard-of"], 2, "unknown"),
        (["--kernel", KERNEL, "argument"], 2, "argument"),
        (["--probe", "--cpus", "2"], 2, "--cpus"),
        (["--probe", "--version"], 2, "alone"),
        (["--paused=yes"], 2, "takes no value"),
        (["--kernel"], 2, "lacks its value"),
        ([], 2, "--kernel"),
    ]
    for arguments, code, words in cases:
        got, out, err = run(*arguments)
        shown = " ".join(a if len(a) < 200 else a[:20] + "…" for a in arguments) or "nothing"
        good = (got == code or code is None and 0 < got < 128) and re.search(words, err) and out == ""
        ok(good, f"refused with {code or 'a code'} and words: {shown.replace(top, 'TMP').replace(KERNEL, 'KERNEL')}", (got, err))
    if os.geteuid() == 0:
        os.chmod(top, 0o755)
        readable = folder + "kernel"
        with open(readable, "wb") as f, open(KERNEL, "rb") as g:
            f.write(g.read())
        fake = folder + "kvm"
        open(fake, "w").close()
        os.chmod(fake, 0)
        got, out, err = as_nobody(readable, fake)
        ok(got == 9 and "usermod -aG" in err, "a device that may not be opened: 9, and the group to join", (got, err))


def reckless():
    """TRUST T24: any width at any address; with devices behind them."""
    with open(top + "/disk", "wb") as f:
        f.truncate(1 << 20)
    for deed, what in (("p", "every port"), ("m", "every corner of the memory without RAM")):
        ours, theirs = socket.socketpair()
        m = Machine(deed, "--disk", top + "/disk", "--net", f"passt:fd:{theirs.fileno()}", pass_fds=(theirs.fileno(),))
        theirs.close()
        m.console.settimeout(120)
        output = b""
        while piece := m.console.recv(65536):
            output += piece
        ok(m.wait(100) == 0 and output.endswith(b"survived"), f"a guest reads and writes {what}, and goes on", output[-200:])
        ours.close()
        m.finish()


def create_layer(folder, name, size, manifest, below):
    """The two files, by the format's description alone."""
    head = b"RONDOOV1" + struct.pack("<IIQ", 1, 0, size // 4096) + manifest + below.to_bytes(16, "big")
    with open(f"{folder}/{name}.map", "wb") as f:
        f.write(head + hashlib.sha256(head).digest())
        f.truncate(4096 + -(-size // 4096 // 16384) * 4096)
    with open(f"{folder}/{name}.data", "wb") as f:
        f.truncate(size)


def create_overlay(folder, size, manifest):
    os.mkdir(folder)
    create_layer(folder, "disk", size, manifest, 0)


def add_layers(folder, size, manifest, count):
    """So many over the first, each a snapshot but the top."""
    for n in range(2, count + 2):
        create_layer(folder, f"layer-{n:032x}", size, manifest, n - 1)
    with open(folder + "/layers", "w") as f:
        f.write(f"rondo-layers 1\ntop {count + 1:032x}\n")
        f.writelines(f"snapshot {n:032x} 2026-11-23T10:00:00Z s{n}\n" for n in range(count, 0, -1))


def overlays():
    folder, base, size = top + "/overlay", top + "/base", 8 << 20
    manifest = hashlib.sha256(b"a manifest").digest()
    create_overlay(folder, size, manifest)
    with open(base, "wb") as f:
        f.truncate(size)
    option = f"{folder},base={base},manifest={manifest.hex()}"
    m = Machine("s", "--overlay", option)
    ok(m.hear() == "ready", "a machine with an overlay is ready")
    got, out, err = run("--kernel", KERNEL, "--overlay", option)
    ok(got == 10 and folder in err, "its overlay is in use for anybody else: 10", (got, err))
    statistics = m.ask("statistics")
    ok("block.reads 0\n" in statistics, "statistics tell of the disk", statistics)
    with open(base, "rb") as again:
        socket.send_fds(m.control, [b"base"], [again.fileno()])
    ok(m.ask("status") == "status running", "a base may be handed in anew")
    with open(KERNEL, "rb") as other:
        socket.send_fds(m.control, [b"base"], [other.fileno()])
    heard = m.hear()
    ok(heard.startswith("error "), "but not another one", heard)
    for name, below, taken in ((7, 1, False), (8, 1, True), (9, 8, True)):
        create_layer(folder, f"layer-{name:032x}", size, manifest, below)
        files = [os.open(f"{folder}/layer-{name:032x}.{kind}", os.O_RDWR) for kind in ("data", "map")]
        socket.send_fds(m.control, [f"snapshot {name:032x}".encode()], files)
        heard = m.hear()
        ok(heard == "snapshot held", "its changes are held for a snapshot", heard)
        m.say("snapshot taken" if taken else "snapshot failed")
        ok(m.ask("status") == "status running", "and it goes on")
        socket.send_fds(m.control, [f"snapshot {name:032x}".encode()], files)
        heard = m.hear()
        ok(heard.startswith("snapshot error 22 " if taken else "snapshot held"), "with the layer that it has then", heard)
        m.say("snapshot failed")
        for file in files:
            os.close(file)
    ok(m.ask("quit") == "event stopped" and m.wait() == 0, "it ends with its overlay closed")
    m.finish()
    add_layers(folder, size, manifest, 63)
    m = Machine("s", "--overlay", option)
    ok(m.hear() == "ready", "a machine with as many layers as there may be is ready, too")
    ok(m.ask("quit") == "event stopped" and m.wait() == 0, "and ends")
    m.finish()
    got, out, err = run("--kernel", KERNEL, "--overlay", option.replace(manifest.hex(), "0" * 64))
    ok(got == 7 and folder in err, "an overlay of another version is refused: 7", (got, err))
    with open(f"{folder}/layer-{64:032x}.map", "r+b") as f:
        f.write(b"nonsense")
    got, out, err = run("--kernel", KERNEL, "--overlay", option)
    ok(got == 5 and folder in err, "a damaged one: 5", (got, err))


def as_nobody(kernel, kvm):
    kernel_fd = os.open(kernel, os.O_RDONLY)
    program = os.open(PROGRAM, os.O_RDONLY)
    done = subprocess.run(["rondo-vmm", "--kernel", f"fd:{kernel_fd}", "--kvm", kvm], executable=f"/proc/self/fd/{program}",
                          pass_fds=(kernel_fd, program), user=65534, group=65534, extra_groups=[], capture_output=True, text=True,
                          timeout=60)
    os.close(kernel_fd)
    os.close(program)
    return done.returncode, done.stdout, done.stderr


def other_actions():
    got, out, err = run("--version")
    ok(got == 0 and re.fullmatch(r"rondo-vmm \S+\n", out), "--version", out)
    got, out, err = run("--help")
    ok(got == 0 and out.startswith("usage: rondo-vmm"), "--help", out)
    began = time.monotonic()
    got, out, err = run("--probe")
    ok(got in (0, 9) and (out + err).count("\n") == 1, "--probe answers with 0 or 9 and one line", (got, out, err))
    print(f"# it took {time.monotonic() - began:.3f} s: {(out + err).strip()}")


def footprint():
    # The sandbox hides its memory from everybody but root.
    m = Machine("s", "--cpus", "4", *(() if os.geteuid() == 0 else ("--no-sandbox",)), memory="512M")
    m.hear()
    m.output_until(b"....")
    own, large = 0, False
    with open(f"/proc/{m.process.pid}/smaps") as f:
        for line in f:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                begin, end = (int(x, 16) for x in line.split()[0].split("-"))
                large = end - begin >= 256 << 20
            elif line.startswith("Private_Dirty:") and not large:
                own += int(line.split()[1])
    ok(own <= 4096, "beside the guest's memory it uses at most 4 MiB", f"{own} KiB")
    print(f"# {own} KiB")
    m.finish()


def confinement():
    m = Machine("s", "--cpus", "4")
    m.hear()
    m.output_until(b"....")
    with open(f"/proc/{m.process.pid}/status") as f:
        status = f.read()
    ok("NoNewPrivs:\t1" in status and "Seccomp:\t2" in status, "the main thread is in the sandbox", status)
    threads = os.listdir(f"/proc/{m.process.pid}/task")
    filters = [re.search(r"^Seccomp:\t(\d)", open(f"/proc/{m.process.pid}/task/{t}/status").read(), re.M)[1] for t in threads]
    names = {open(f"/proc/{m.process.pid}/task/{t}/comm").read().strip(): f for t, f in zip(threads, filters)}
    vcpus = [n for n in names if n.startswith("vcpu ")]
    ok(len(vcpus) == 4 and all(names[n] == "2" for n in vcpus), "and so is each vCPU's", names)
    m.finish()


for test in (exit_codes, standard_streams, pause_and_resume, ends, reckless, overlays, refused, other_actions, footprint, confinement):
    try:
        test()
    except Exception as e:
        ok(False, f"{test.__name__} comes to its end", repr(e))
print(f"1..{count}")
sys.exit(1 if failures else 0)
