"""How long rondo-server takes for searches among 10,000 images with 10 versions each (many_images.c): the API and the page, over one kept
connection, one question after the other, in an order that is the same each time.

Each kind of question has others in it each time, so that no answer is one that was given before. What is measured is the time from the
request to the last byte, this client's own included, and the processor time that the server takes for the API's; beside it stands
/healthz, which the same server answers without asking the index: what that takes more than a fraction of a millisecond is what else the
machine has to do. Where it may (as root), all of it runs before other work, in the real-time class.
"""
import http.client
import pathlib
import random
import re
import time
import urllib.parse

from harness import Failure, median

IMAGES, VERSIONS = 10000, 10
ROUNDS = 60
PAGE_BYTES, MILLISECONDS = 50000, 20
SYSTEMS = ["Debian", "Debian GNU/Linux 13", "Ubuntu", "Alpine Linux", "Fedora Linux 42", "freebsd", "OpenBSD 7.7"]


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Server:
    def __init__(self, process, port):
        self.tasks = pathlib.Path(f"/proc/{process.pid}/task")
        self.connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(self, path, **query):
        """The answer's bytes and the milliseconds that it took."""
        target = path + ("?" + urllib.parse.urlencode(query) if query else "")
        start = time.monotonic()
        self.connection.request("GET", target)
        answer = self.connection.getresponse()
        body = answer.read()
        taken = 1000 * (time.monotonic() - start)
        if answer.status != 200:
            raise Failure(f"{target}: {answer.status} {body[:200]}")
        return body, taken


    def processor_ms(self):
        return sum(int(t.read_text().split()[0]) for t in self.tasks.glob("*/schedstat")) / 1e6


def read_words(server, chance):
    """Words that occur, often and seldom, as the texts have them, and each image's name."""
    words, names = set(), []
    for offset in chance.sample(range(0, IMAGES - 100, 100), 20):
        text = server.ask("/api/v1/images", limit=100, offset=offset)[0].decode()
        names += re.findall(r'"name": "([^"]+)", "version"', text)
        for title in re.findall(r'"(?:title|summary)": "([^"]+)"', text):
            words.update(title.split())
    return sorted(words), sorted(names)


def questions(words, names, chance):
    word = lambda: chance.choice(words)  # noqa: E731
    common = ["caba", "daba", "faba", "gaba", "haba", "ca", "linux"]
    return {
        "one word": lambda: {"q": word()},
        "two words": lambda: {"q": f"{word()} {word()}"},
        "the beginning of a word": lambda: {"q": word()[:chance.randint(1, 4)]},
        "a name": lambda: {"q": chance.choice(names)},
        "in nearly all images": lambda: {"q": "linux"},
        "in nearly all, and a word": lambda: {"q": f"linux {word()}"},
        "two in thousands": lambda: {"q": f"{chance.choice(common)} {chance.choice(common)}"},
        "in nearly all, page 2 to 450": lambda: {"q": "linux", "offset": 20 * chance.randint(1, 450)},
        "in nearly all, of a system": lambda: {"q": "linux", "os": chance.choice(SYSTEMS)},
        "in nearly all, below a size": lambda: {"q": "linux", "max_size": f"{chance.randint(100, 1000)}M"},
        "in nearly all, newest first": lambda: {"q": "linux", "sort": "age", "offset": 20 * chance.randint(0, 100)},
        "a system": lambda: {"os": chance.choice(SYSTEMS), "offset": 20 * chance.randint(0, 20)},
        "all, page 1 to 500": lambda: {"offset": 20 * chance.randint(0, 499)},
        "nothing that there is": lambda: {"q": f"zq{chance.randint(0, 1 << 30)}"},
    }


def run(bench):
    bench.say(f"a site of {IMAGES} images")
    state, site, out = bench.fresh("many-state"), bench.fresh("many-site"), bench.fresh("many-server")
    (state / "index").mkdir(parents=True)
    state.chmod(0o700)
    bench.command([bench.build / "tests/bench/many_images", site, state / "index/index.db", IMAGES, VERSIONS])
    with bench.before_others("search"):
        process = bench.start(["rondo-server", "--listen", "127.0.0.1:0", "--state", state, site], out)
        try:
            said = bench.wait_for("rondo-server", lambda: "listening on " in out.read_text() and out.read_text(), 120)
            measure(bench, Server(process, int(said.split("listening on ")[1].split()[0].rstrip("/").rsplit(":", 1)[1])))
        finally:
            bench.stop(process)


def measure(bench, server):
    chance = random.Random(1)
    words, names = read_words(server, chance)
    kinds = questions(words, names, chance)
    taken, pages, spent, sizes, idle = {}, {}, {}, [], []
    for turn in range(ROUNDS + 2):
        for kind, make in kinds.items():
            query = make()
            before = server.processor_ms()
            api = server.ask("/api/v1/search", **query)[1]
            processor = server.processor_ms() - before
            page = server.ask("/search", **query)
            nothing = server.ask("/healthz")[1]
            if turn < 2:  # prepared statements, pages of the file
                continue
            taken.setdefault(kind, []).append(api)
            spent.setdefault(kind, []).append(processor)
            pages.setdefault(kind, []).append(page[1])
            idle.append(nothing)
            sizes.append(len(page[0]))
    for name in chance.sample(names, 50):
        sizes.append(len(server.ask(f"/images/{name}/")[0]))
    front = server.ask("/")[0].decode()
    sizes.append(len(front))
    tables = (taken, pages, spent)
    every = [[value for values in t.values() for value in values] for t in tables]
    shown = lambda columns: [f"{f(values):.1f}" for values in columns for f in (median, lambda v: percentile(v, 0.99))]  # noqa: E731
    rows = [[kind, *shown(t[kind] for t in tables)] for kind in kinds]
    rows += [["all", *shown(every)], ["/healthz", *shown([idle]), "", "", "", ""]]
    bench.print_table(f"Searches among {IMAGES} images with {VERSIONS} versions each, milliseconds",
                      ["", "API, median", "p99", "page, median", "p99", "processor for the API, median", "p99"], rows,
                      [f"{len(every[0])} questions; the first word in nearly all images is \"linux\""])
    bench.record("search", api=[median(every[0]), percentile(every[0], 0.99)], page=[median(every[1]), percentile(every[1], 0.99)],
                 idle=[median(idle), percentile(idle, 0.99)], page_bytes=max(sizes),
                 processor=[median(every[2]), percentile(every[2], 0.99)],
                 kinds={kind: [percentile(t[kind], 0.99) for t in tables] for kind in kinds})
    # What a browser must have before it shows anything: style sheets and scripts that it has to wait for.
    waits = re.findall(r'<link[^>]*rel="?stylesheet|<script(?![^>]*\b(?:defer|async|type="?module))[^>]*\bsrc|@import', front)
    bench.judge("search, API: p99 in milliseconds", percentile(every[0], 0.99), "≤", MILLISECONDS)
    bench.judge("search, page: p99 in milliseconds", percentile(every[1], 0.99), "≤", MILLISECONDS)
    bench.judge("the longest page, bytes", max(sizes), "≤", PAGE_BYTES)
    bench.judge("requests for a page's first sight", 1 + len(waits), "≤", 1)
