"""What rondo-server delivers, against nginx with the same files, with wrk: over 64 connections for as long as a run lasts.

    ranges of 64 KiB    of random packs, at random places
    whole packs         of 8 MiB, the size at which the writer closes one

The files are random bytes in the page cache; both servers write an access log; nginx has a worker for each processor. The two
take turns, and what is compared is of one turn: ratios are medians of the turns. wrk runs on the same processors: each request costs it
as much as the server, so a busy machine shows in both. Processor time is the server's alone.
"""
import contextlib
import os
import re

from harness import MIB, Failure, median, read_memory_peak

CONNECTIONS = 64
PACKS, PACK_SIZE, RANGE = 24, 8 * MIB, 64 << 10
TURNS, SECONDS = 5, 2
UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}

SCRIPT = """
local threads = 0
function setup(thread) thread:set("id", threads); threads = threads + 1 end
function init() math.randomseed(id + 1) end
function request()
  local i = math.random(0, %d)
  local name = string.format("%%02x%%062d", i, i)
  local path = "/objects/" .. name:sub(1, 2) .. "/" .. name
  local at = math.random(0, %d) * %d
  return wrk.format("GET", path, %s)
end
"""
RANGE_HEADER = '{["Range"] = string.format("bytes=%%d-%%d", at, at + %d)}' % (RANGE - 1)


def make_site(bench):
    site = bench.fresh("server-site")
    for i in range(PACKS):
        name = f"{i:02x}{i:062d}"
        folder = site / "objects" / name[:2]
        folder.mkdir(parents=True)
        (folder / name).write_bytes(os.urandom(PACK_SIZE))
    (site / "catalog.rondo").write_text("rondo-catalog 1\n")
    return site


def processor_seconds(pids):
    """What processes have taken so far; the fields of proc(5)'s stat that follow the name."""
    fields = [open(f"/proc/{pid}/stat").read().rpartition(")")[2].split() for pid in pids]
    return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")


def descendants(pid):
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            found += map(int, open(f"/proc/{parent}/task/{parent}/children").read().split())
    return found


def measure(bench, script, port, pids):
    """Requests and bytes in a second, and the server's processor milliseconds for a GiB."""
    before = processor_seconds(pids)
    said = bench.output(["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--timeout", "30s", "-s", script, f"http://127.0.0.1:{port}/"])
    spent = processor_seconds(pids) - before
    if re.search(r"Non-2xx|Socket errors", said):
        raise Failure(f"wrk at port {port}: {said}")
    requests = float(re.search(r"Requests/sec: +([0-9.]+)", said)[1])
    number, unit = re.search(r"Transfer/sec: +([0-9.]+)([KMG]?B)", said).groups()
    total = float(re.search(r"requests in ([0-9.]+)s", said)[1]) * float(number) * UNITS[unit]
    return requests, float(number) * UNITS[unit], 1000 * spent / (total / (1 << 30))


def run(bench):
    bench.say("rondo-server against nginx")
    site = make_site(bench)
    kinds = {"ranges of 64 KiB": RANGE_HEADER, "whole packs": "nil"}
    rows, ratios, memory = [], {}, []
    with bench.serve_site(site) as (ours, _), bench.serve_files(site, workers="auto") as (theirs, _):
        rondo, nginx = (p.pid for p in bench.processes[-2:])
        servers = {"rondo-server": (ours, [rondo]), "nginx": (theirs, descendants(nginx))}
        for kind, header in kinds.items():
            script = bench.fresh("request.lua")
            script.write_text(SCRIPT % (PACKS - 1, PACK_SIZE // RANGE - 1, RANGE, header))
            turns = []
            for _ in range(TURNS):
                turns.append({name: measure(bench, script, port, pids) for name, (port, pids) in servers.items()})
                memory.append(read_memory_peak(rondo))
            for name in servers:
                requests, rate, cost = (median([turn[name][i] for turn in turns]) for i in range(3))
                rows.append([kind, name, f"{requests:.0f}", f"{rate / MIB:.0f}", f"{cost:.0f}"])
                bench.record("server", kind=kind, server=name, requests=requests, bytes=rate, cpu_ms_per_gib=cost)
            ratios[kind] = [median([turn["rondo-server"][i] / turn["nginx"][i] for turn in turns]) for i in range(3)]
            rows.append([kind, "ratio"] + [f"{value:.2f}" for value in ratios[kind]])
    bench.print_table(f"rondo-server and nginx, {CONNECTIONS} connections",
                      ["", "", "requests/s", "MiB/s", "processor ms/GiB"], rows,
                      [f"rondo-server's memory peak: {memory[0] / MIB:.1f} MiB after the first turn, {memory[-1] / MIB:.1f} MiB at the end"])
    for kind, ratio in ratios.items():
        bench.judge(f"rondo-server, {kind}: requests/s of nginx's", ratio[0], "≥", 0.8)
        bench.judge(f"rondo-server, {kind}: bytes/s of nginx's", ratio[1], "≥", 0.8)
    bench.judge("rondo-server's memory peak, MiB", memory[-1] / MIB, "≤", 32)
    bench.record("server-memory", first=memory[0], last=memory[-1])
