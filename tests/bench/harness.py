"""What the stages of the measurements share: commands timed, servers, the slow link, mounts, and the results.

A stage is a module with run(bench). It may leave processes and mounts behind: Bench.clean_up ends every process that it
started, by its id, and unmounts what lies in its folders. All that stages write lies in three folders:

    bench.keep      $BUILD/bench: what the next run can use again (images, the trace of a boot), and results.json
    bench.work      in bench.keep; removed at the end
    bench.runtime   in TMPDIR, with a short name, for sockets; removed at the end
"""
import contextlib
import datetime
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MIB = 1 << 20


class Failure(Exception):
    """A measurement could not be made; its text says why."""


def median(values):
    return statistics.median(values)


def read_conf(image):
    return dict(line.split(" ", 1) for line in (image / "appliance.conf").read_text().splitlines())


def tree_size(path):
    """Bytes and number of the files below path."""
    sizes = [(pathlib.Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names]
    return sum(sizes), len(sizes)


def space_taken(path):
    """Bytes of the disk that path takes, folders included."""
    return sum(os.lstat(os.path.join(folder, name)).st_blocks * 512 for folder, _, names in os.walk(path) for name in [".", *names])


def read_memory_peak(pid):
    """The most memory that a process has had in use, in bytes."""
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise Failure(f"process {pid} has no VmHWM")


class Timing:
    def __init__(self, seconds, cpu, memory):
        self.seconds, self.cpu, self.memory = seconds, cpu, memory


class MemoryWatch(threading.Thread):
    """Follows the memory peak of a child until it ends. (Its rusage would not do: ru_maxrss begins with what its parent had.)"""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.ended = pid, 0, threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(0.02):
            with contextlib.suppress(OSError, Failure):
                self.peak = max(self.peak, read_memory_peak(self.pid))

    def end(self):
        self.ended.set()
        self.join()
        return self.peak


class Bench:
    def __init__(self, build):
        self.build = build
        self.keep = build / "bench"
        self.keep.mkdir(parents=True, exist_ok=True)
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="work.", dir=self.keep))
        self.runtime = pathlib.Path(tempfile.mkdtemp(prefix="rondo-bench."))
        self.processes = []
        self.made = {}  # what stages share: see shared()
        self.numbers = itertools.count()
        self.judged = []  # what judge() has said
        self.results = open(self.keep / "results.json", "w")
        self.environment = dict(os.environ, PATH=f"{build}:{os.environ['PATH']}:/usr/sbin:/sbin", LC_ALL="C.UTF-8",
                                RONDO_HOME=str(self.runtime / "home"), RONDO_CACHE=str(self.work / "cache"),
                                RONDO_RUNTIME=str(self.runtime / "run"), XDG_CONFIG_HOME=str(self.runtime / "config"),
                                no_proxy="127.0.0.1,localhost", NO_COLOR="1")
        self.environment.pop("RONDO_SITE", None)

    def fresh(self, name):
        """A path in bench.work that nobody else has."""
        return self.work / f"{name}.{next(self.numbers)}"

    def shared(self, name, make):
        """What make() returns, made once for all stages of this run."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    # --- results

    def say(self, text):
        print(f"bench: {text}", file=sys.stderr, flush=True)

    def record(self, table, **values):
        """One line of results.json."""
        json.dump({"table": table, **values}, self.results)
        self.results.write("\n")
        self.results.flush()

    def record_machine(self):
        model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        revision = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
        machine = {"date": datetime.date.today().isoformat(), "processors": len(os.sched_getaffinity(0)), "model": model,
                   "memory": memory, "kernel": os.uname().release, "revision": revision.stdout.strip()}
        self.record("machine", **machine)
        print("{date}; {processors} processors ({model}), {0} MiB, Linux {kernel}; Rondo {revision}".format(
            memory // MIB, **machine))

    def print_table(self, title, header, rows, notes=()):
        """rows of texts; the first column is left-aligned, the others right-aligned."""
        rows = [[str(cell) for cell in row] for row in [header, *rows]]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        print(f"\n{title}\n")
        for i, row in enumerate(rows):
            print("  ".join(cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths))).rstrip())
            if i == 0:
                print("  ".join("-" * w for w in widths))
        for note in notes:
            print(f"  {note}")
        sys.stdout.flush()

    def judge(self, what, value, relation, target):
        """A figure against its target, in the output, in results.json, and in the list that ends the run."""
        reached = value is not None and (value <= target if relation == "≤" else value >= target)
        figure = "not measured" if value is None else f"{value:.2f}".removesuffix(".00")
        self.judged.append([what, figure, f"{relation} {target}", "" if reached else "not reached"])
        self.record("target", what=what, value=value, relation=relation, target=target, reached=reached)
        print(f"  {what}: {figure} (target {relation} {target}{'' if reached else '; not reached'})", flush=True)

    # --- commands

    def command(self, arguments, **more):
        """Runs a command to its end and returns a Timing; a failure ends the stage and shows what the command said."""
        return self.output_and_timing(arguments, **more)[1]

    def output(self, arguments, **more):
        """What a command prints."""
        return self.output_and_timing(arguments, **more)[0]

    def output_and_timing(self, arguments, **more):
        log = self.fresh("command")
        with open(log, "wb") as out:
            start = time.monotonic()
            process = subprocess.Popen([str(a) for a in arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       env={**self.environment, **more})
            self.processes.append(process)
            watch = MemoryWatch(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - start
            memory = watch.end()
        process.returncode = os.waitstatus_to_exitcode(status)
        self.processes.remove(process)
        said = log.read_bytes().decode(errors="replace")
        log.unlink()
        if process.returncode != 0:
            raise Failure(f"{' '.join(map(str, arguments))}: exit code {process.returncode}\n{said[-2000:]}")
        return said, Timing(seconds, usage.ru_utime + usage.ru_stime, memory)

    def start(self, arguments, log=None, **more):
        """Starts a process in the background, its output in `log` and its complaints in `log`.err; returns it."""
        with open(log or os.devnull, "wb") as out, open(f"{log}.err" if log else os.devnull, "wb") as errors:
            process = subprocess.Popen([str(a) for a in arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
                                       env={**self.environment, **more})
        self.processes.append(process)
        return process

    def stop(self, process):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.remove(process)

    def wait_for(self, what, condition, seconds=30):
        end = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > end:
                raise Failure(f"{what}: not within {seconds} s")
            time.sleep(0.005)
        return value

    @contextlib.contextmanager
    def before_others(self, stage):
        """Who is started here goes before whoever else wants the processors: where it may, which it yields."""
        try:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        except PermissionError:
            self.say(f"{stage}: not as root, so other work on this machine counts")
            yield False
            return
        try:
            yield True
        finally:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

    # --- servers: each yields (port, requests), where requests() are the log's lines so far

    @contextlib.contextmanager
    def serve_site(self, site):
        """rondo serve. A log line's sixth field is the bytes sent."""
        log, out = self.fresh("site.log"), self.fresh("site.out")
        process = self.start(["rondo", "serve", site, "--listen", "127.0.0.1:0", "--log", log], out)
        said = self.wait_for("rondo serve", lambda: "listening on " in out.read_text() and out.read_text())
        try:
            port = said.split("listening on ")[1].split()[0].rstrip("/").rsplit(":", 1)[1]
            yield int(port), lambda: log.read_text().splitlines()
        finally:
            self.stop(process)

    @contextlib.contextmanager
    def serve_files(self, folder, workers=None):
        """nginx, for what other tools fetch: they need a server of any file, with ranges. One process, or so many workers."""
        base = self.fresh("nginx")
        base.mkdir()
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        temporary = "".join(f"{kind}_temp_path {base}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        processes = f"user root; worker_processes {workers};" if workers else "master_process off;"
        (base / "conf").write_text(f"daemon off; {processes} pid {base}/pid; error_log {base}/error.log;\nevents {{ }}\n"
                                   f"http {{ access_log {base}/access.log; sendfile on; keepalive_requests 1000000; {temporary}"
                                   f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n")
        process = self.start(["nginx", "-e", base / "error.log", "-c", base / "conf", "-p", base], base / "out")
        self.wait_for("nginx", lambda: (base / "pid").exists())
        try:
            yield port, lambda: (base / "access.log").read_text().splitlines()
        finally:
            self.stop(process)

    @contextlib.contextmanager
    def slow_link(self, port, rtt_ms, mbit):
        """relay before a port; yields (its port, counts), where counts gets "connections" and "bytes" at its end."""
        log, counts = self.fresh("relay"), {}
        process = self.start([self.build / "tests/bench/relay", 0, port, rtt_ms, mbit], log)
        self.wait_for("relay", lambda: log.read_text().endswith("\n"))
        try:
            yield int(log.read_text()), counts
        finally:
            self.stop(process)
        counts["connections"], _, counts["bytes"] = map(int, log.read_text().splitlines()[-1].split())

    # --- mounts

    def find_cloop(self, folder):
        """The id of the rondo-cloop that serves a mount."""
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    words = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                    if os.path.basename(words[0]) == b"rondo-cloop" and os.fsencode(folder) in words and \
                            pathlib.Path(f"/proc/{entry}/comm").read_text() == "rondo-cloop\n":  # not a process beside it
                        return int(entry)
        raise Failure(f"no rondo-cloop serves {folder}")

    @contextlib.contextmanager
    def rondo_mount(self, image, fresh=True):
        """rondo mount, with an empty cache and no memory of the site if `fresh`; yields the folder."""
        if fresh:
            for path in (self.environment["RONDO_CACHE"], self.environment["RONDO_HOME"]):
                shutil.rmtree(path, ignore_errors=True)
        folder = self.work / "mount"
        folder.mkdir(exist_ok=True)
        self.command(["rondo", "mount", image, folder])
        pid = self.find_cloop(folder)
        try:
            yield folder
        finally:
            self.unmount(folder)
        self.wait_for("the end of rondo-cloop", lambda: not os.path.exists(f"/proc/{pid}"))

    def unmount(self, path):
        # A reader that just ended, or the kernel's own, may hold it for a moment more.
        self.wait_for(f"unmounting {path}", lambda: subprocess.run(
            ["fusermount3", "-u", str(path)], stderr=subprocess.DEVNULL, check=False).returncode == 0, 10)

    def clean_up(self):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        mounts = [line.split()[4] for line in open("/proc/self/mountinfo")]
        for path in reversed([m for m in mounts if m.startswith((f"{self.work}/", f"{self.runtime}/"))]):
            subprocess.run(["fusermount3", "-uz", path], check=False)
        for process in reversed(list(self.processes)):
            self.stop(process)
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.rmtree(self.runtime, ignore_errors=True)
        self.results.close()

    # --- images

    def key(self):
        """A key to publish with."""
        key = self.work / "key"
        if not key.exists():
            self.command(["rondo", "key", "new", key])
        return key

    def publish(self, disk, site, version="1", *more):
        return self.command(["rondo", "publish", "--name", "debian", "--version", version, "--disk", disk,
                             "--key", self.key(), "--to", site, *more])

    def image(self):
        """The built Debian image's folder: disk, kernel, initrd, appliance.conf."""
        def make():
            self.say("the Debian image")
            return pathlib.Path(self.output([ROOT / "tests/images.sh", "debian"], BUILD=str(self.build)).splitlines()[-1])
        return self.shared("image", make)

    def publish_image(self, image, site, version="1", *more):
        """All of an image, as its builder does."""
        conf = read_conf(image)
        return self.publish(image / "disk", site, version, "--kernel", image / "kernel", "--initrd", image / "initrd", "--cmdline",
                            conf["cmdline"], "--memory", conf["memory"], "--ready", conf["ready"], *more)

    def boot_site(self):
        """The folder of a site with the Debian image, published with a profile of its boot."""
        def make():
            self.say("publishing the Debian image, with a recorded boot")
            site = self.work / "boot-site"
            timing = self.publish_image(self.image(), site, "1", "--profile", "auto")
            self.record("boot-site", seconds=timing.seconds, cpu=timing.cpu, bytes=tree_size(site)[0])
            return site
        return self.shared("boot site", make)

    def casync_store(self):
        """A folder with disk.caibx and store.castr: the Debian disk, made by casync make."""
        def make():
            self.say("casync make")
            store = self.work / "casync-store"
            store.mkdir()
            self.command(["casync", "make", f"--store={store}/store.castr", store / "disk.caibx", self.image() / "disk"])
            return store
        return self.shared("casync store", make)
