#!/usr/bin/env python3
"""Runs rdbridge and its rivals alternately and prints the medians of the ratios. Called by compare.sh; standard library only.

Time is wall time of the whole process. CPU is user + system of the process. Memory is the peak of RssAnon + RssShmem, read
every 5 ms: mapped pages of the dump belong to the page cache, not to the process.
"""
import argparse, json, os, pathlib, platform, shutil, socket, statistics, subprocess, sys, tempfile, threading, time

import made

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/rdbridge"
SERVERS = pathlib.Path(os.environ.get("RDBRIDGE_SERVERS", pathlib.Path.home() / ".cache/rdbridge/servers"))
REDIS = SERVERS / "redis-7.0"


class Run:
    def __init__(self, wall, cpu, memory):
        self.wall, self.cpu, self.memory = wall, cpu, memory


def own_memory(pid):
    """RssAnon + RssShmem of a process and its children, in bytes."""
    total = 0
    try:
        for line in open(f"/proc/{pid}/status"):
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return total


def run(command, stdin=None, stdout=subprocess.DEVNULL, fine=(0,)):
    """One process, measured. `fine` are the exit codes that mean that it did its work."""
    source = open(stdin, "rb") if stdin else subprocess.DEVNULL
    sink = open(stdout, "wb") if isinstance(stdout, (str, pathlib.Path)) else stdout
    errors = tempfile.TemporaryFile()
    begin = time.perf_counter()
    process = subprocess.Popen([str(c) for c in command], stdin=source, stdout=sink, stderr=errors)
    peak, done = [0], threading.Event()

    def watch():
        while not done.is_set():
            peak[0] = max(peak[0], own_memory(process.pid))
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    done.set()
    watcher.join()
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    if code not in fine:
        errors.seek(0)
        sys.exit(f"{' '.join(map(str, command))} ended with {code}: {errors.read()[-2000:].decode(errors='replace')}")
    return Run(wall, usage.ru_utime + usage.ru_stime, peak[0])


class Server:
    """A scratch redis-server on a free loopback port, without persistence."""

    def __init__(self, *extra):
        # A cluster's nodes talk to each other 10,000 ports above.
        self.port = 65536
        while self.port > 55000:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        self.dir = tempfile.mkdtemp(prefix="rdbridge-bench-")
        self.process = subprocess.Popen(
            [str(REDIS / "redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.dir,
             "--databases", "16", *extra], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait()

    def wait(self, limit=120):
        end = time.time() + limit
        while time.time() < end:
            if self.cli("PING") == "PONG":
                return
            time.sleep(0.02)
        sys.exit("a scratch server did not start")

    def cli(self, *words):
        got = subprocess.run([str(REDIS / "redis-cli"), "-p", str(self.port), *words], capture_output=True, text=True)
        return got.stdout.strip()

    def cpu(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def keys(self):
        return sum(int(line.split("keys=")[1].split(",")[0]) for line in self.cli("INFO", "keyspace").splitlines() if "keys=" in line)

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def alternate(runs, first, second):
    """Runs both alternately; first one of each warms the page cache and is not counted."""
    first(), second()
    pairs = []
    for n in range(runs):
        # The order changes, so that neither always has the cache of the other.
        pairs.append((first(), second()) if n % 2 == 0 else tuple(reversed((second(), first()))))
    return [a for a, _ in pairs], [b for _, b in pairs]


def median(values):
    return statistics.median(values)


def spread(values):
    return f"{min(values):.2f}–{max(values):.2f}"


ROWS = []


def row(work, dump, rival, ours, theirs, budget, faster=True):
    """`faster`: the ratio is how many times faster we are; else our time over theirs."""
    ratios = [t.wall / o.wall if faster else o.wall / t.wall for o, t in zip(ours, theirs)]
    ROWS.append((work, dump, rival, f"{median([o.wall for o in ours]):.3f} s", f"{median([t.wall for t in theirs]):.3f} s",
                 f"{median(ratios):.2f} × ({spread(ratios)})", budget, f"{median([o.cpu for o in ours]):.2f} s",
                 f"{max(o.memory for o in ours) / 2**20:.1f} MiB", f"{max(t.memory for t in theirs) / 2**20:.0f} MiB"))
    print("  " + " | ".join(ROWS[-1]), file=sys.stderr)


def load_rows(runs, dump, path):
    """`load` against `redis-cli --pipe` of the text that was made before."""
    text = pathlib.Path(tempfile.gettempdir()) / f"rdbridge-{dump}.restore"
    run([OURS, "export", "--format", "restore", "--quiet", path], stdout=text)
    server_cpu = []

    def into(command, stdin=None):
        server = Server("--proto-max-bulk-len", "2gb", "--client-query-buffer-limit", "3gb")
        try:
            got = run([c.format(port=server.port) if isinstance(c, str) else c for c in command], stdin=stdin)
            got.keys = server.keys()
            got.server = server.cpu()
            return got
        finally:
            server.stop()

    ours = lambda: into([OURS, "load", "--restart", "--quiet", path, "--to", "redis://127.0.0.1:{port}"])
    pipe = lambda: into([REDIS / "redis-cli", "-p", "{port}", "--pipe"], stdin=text)
    mine, theirs = alternate(runs, ours, pipe)
    if len({m.keys for m in mine + theirs}) != 1:
        sys.exit(f"the two loads of {dump} ended with different numbers of keys")
    row("load", dump, "redis-cli --pipe of the text made before", mine, theirs, "≤ 1.03 ×", faster=False)
    # What only copies a text that was made before into the socket is the measure of what a share means on this machine.
    shares = [[r.cpu / r.server for r in runs] for runs in (mine, theirs)]
    ratios = [o / t for o, t in zip(*shares)]
    ROWS.append(("load: own CPU over the server's", dump, "redis-cli --pipe, likewise", *(f"{median(s) * 100:.1f} %" for s in shares),
                 f"{median(ratios):.2f} × ({spread(ratios)})", "≤ 10 %", "", "", ""))
    text.unlink()


def into_fresh(command):
    """One process with a server of its own, whose address stands for {url}."""
    server = Server("--proto-max-bulk-len", "2gb", "--client-query-buffer-limit", "3gb")
    try:
        return run([c.replace("{url}", f"redis://127.0.0.1:{server.port}") if isinstance(c, str) else c for c in command])
    finally:
        server.stop()


def journal_rows(runs, dump, path):
    """What the journal costs: the same load with one and without."""
    load = [OURS, "load", "--quiet", path, "--to", "{url}"]
    kept, none = alternate(runs, lambda: into_fresh([*load, "--restart"]), lambda: into_fresh([*load, "--no-journal"]))
    row("load with its journal", dump, "our load with --no-journal", kept, none, "≤ 1.02 ×", faster=False)


def start_up_rows(runs, dump, path):
    """How long a server takes that loads the file itself, where it may."""

    def start_up():
        with tempfile.TemporaryDirectory(prefix="rdbridge-bench-") as place:
            (pathlib.Path(place) / "dump.rdb").symlink_to(path)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            begin = time.perf_counter()
            process = subprocess.Popen([str(REDIS / "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                                        "--dir", place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while subprocess.run([str(REDIS / "redis-cli"), "-p", str(port), "PING"], capture_output=True, text=True).stdout.strip() != "PONG":
                time.sleep(0.01)
            wall = time.perf_counter() - begin
            memory = own_memory(process.pid)
            process.kill()
            process.wait()
            return Run(wall, 0, memory)

    mine, theirs = alternate(runs, lambda: into_fresh([OURS, "load", "--restart", "--quiet", path, "--to", "{url}"]), start_up)
    row("load", dump, "a server that loads the file at its start", mine, theirs, "", faster=False)


def compare_rows(runs, dump, path):
    """`compare` against the load that went before it, each pair into a fresh server."""
    loads, compares = [], []
    # The first pair warms the page cache and is not counted.
    for n in range(runs + 1):
        server = Server("--proto-max-bulk-len", "2gb", "--client-query-buffer-limit", "3gb")
        try:
            to = ["--quiet", path, "--to", f"redis://127.0.0.1:{server.port}"]
            pair = run([OURS, "load", "--restart", *to]), run([OURS, "compare", *to])
        finally:
            server.stop()
        if n > 0:
            loads.append(pair[0])
            compares.append(pair[1])
    row("compare", dump, "our load", compares, loads, "≤ 1.6 ×" if dump == "medium" else "≤ 1.2 ×", faster=False)


def made_dump(bench, name, size, make):
    """A dump of benches/made.py, which is kept under a name that says its size."""
    path = bench / f"{name}-{size}.rdb"
    if not path.exists():
        bench.mkdir(parents=True, exist_ok=True)
        make(path, size)
    return path


def reencode_rows(runs, bench, scale):
    """Small keys that an older server takes in an older form only, on one core."""
    keys = int(2_000_000 * scale)
    path = made_dump(bench, "small-hashes", keys, made.small_hashes)
    export = [OURS, "export", "--format", "restore", "--quiet", path]
    one_core = lambda *more: run(["taskset", "-c", "0", *export, *more])
    mine, raw = alternate(runs, lambda: one_core("--target", "redis-6.2"), lambda: one_core("--target", "redis-7.0"))
    row("re-encode (export --format restore), one core", path.stem, "the same keys raw", mine, raw, "", faster=False)
    rates = [keys / m.wall / 1e3 for m in mine]
    ROWS.append(("re-encode: small keys a second, one core", path.stem, "", "", "", f"{median(rates):.0f} k ({min(rates):.0f}–{max(rates):.0f})",
                 "≥ 400 k", "", "", ""))


def command_rows(runs, bench, scale):
    """A long list where RESTORE is switched off, against `redis-cli --pipe` of the same commands, made before."""
    path = made_dump(bench, "long-list", int((1 << 30) * scale), made.long_list)
    text = pathlib.Path(tempfile.gettempdir()) / f"rdbridge-{path.stem}.resp"
    run([OURS, "export", "--format", "resp", "--quiet", path], stdout=text)
    elements = []

    def into(command, stdin=None):
        server = Server("--rename-command", "RESTORE", "")
        try:
            got = run([c.replace("{port}", str(server.port)) if isinstance(c, str) else c for c in command], stdin=stdin)
            elements.append(server.cli("LLEN", "list"))
            return got
        finally:
            server.stop()

    ours = lambda: into([OURS, "load", "--restart", "--quiet", path, "--to", "redis://127.0.0.1:{port}"])
    pipe = lambda: into([REDIS / "redis-cli", "-p", "{port}", "--pipe"], stdin=text)
    mine, theirs = alternate(runs, ours, pipe)
    text.unlink()
    if len(set(elements)) != 1 or elements[0] == "0":
        sys.exit(f"the two loads of the list ended with different lengths: {sorted(set(elements))}")
    row("load by commands", path.stem, "redis-cli --pipe of the same commands", mine, theirs, "≥ 0.8 ×")


class Cluster:
    """Three masters on loopback with all slots between them."""

    def __init__(self):
        self.nodes = []
        try:
            for _ in range(3):
                self.nodes.append(Server("--cluster-enabled", "yes"))
            first = self.nodes[0]
            for n, node in enumerate(self.nodes):
                node.cli("CLUSTER", "ADDSLOTSRANGE", str(n * 16384 // 3), str((n + 1) * 16384 // 3 - 1))
                first.cli("CLUSTER", "MEET", "127.0.0.1", str(node.port))
            end = time.time() + 60
            while not all(self.is_whole(node) for node in self.nodes):
                if time.time() > end:
                    sys.exit("a scratch cluster did not come together")
                time.sleep(0.05)
        except BaseException:
            self.stop()
            raise

    @staticmethod
    def is_whole(node):
        info = node.cli("CLUSTER", "INFO")
        return "cluster_state:ok" in info and "cluster_slots_ok:16384" in info and "cluster_known_nodes:3" in info

    @property
    def port(self):
        return self.nodes[0].port

    def cpu(self):
        return sum(node.cpu() for node in self.nodes)

    def keys(self):
        return sum(node.keys() for node in self.nodes)

    def stop(self):
        for node in self.nodes:
            node.stop()


def shard_rows(runs, bench, scale):
    """Three shards on this machine against one server: the same work for the servers in all."""
    keys = int(2_000_000 * scale)
    path = made_dump(bench, "small-hashes", keys, made.small_hashes)

    def into(start):
        to = start()
        try:
            before = to.cpu()
            got = run([OURS, "load", "--restart", "--quiet", path, "--to", f"redis://127.0.0.1:{to.port}"])
            got.server = to.cpu() - before
            if to.keys() != keys:
                sys.exit(f"{to.keys()} of {keys} keys arrived")
            return got
        finally:
            to.stop()

    three, one = alternate(runs, lambda: into(Cluster), lambda: into(Server))
    row("load into three shards", path.stem, "our load into one server", three, one, "≤ 1 ×", faster=False)
    shares = [t.server / o.server for t, o in zip(three, one)]
    ROWS.append(("three shards: CPU of the servers over that of one", path.stem, "", "", "", f"{median(shares):.2f} × ({spread(shares)})", "", "", "", ""))


def cold(path, command, run=run):
    """One process that finds nothing of the file in memory, but waits for the disk."""
    file = os.open(path, os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)
    return run(command)


def cold_rows(runs, dump, path):
    """The disk's own rate is that of dd."""
    dd = ["dd", f"if={path}", "of=/dev/null", "bs=1M", "status=none"]
    for work in (["info", path], ["check", "--quiet", path], ["export", "--format", "restore", "--quiet", path]):
        mine, theirs = alternate(runs, lambda: cold(path, [OURS, *work]), lambda: cold(path, dd))
        row(f"{work[0]}, page cache dropped", dump, "dd of the file, likewise", mine, theirs,
            "" if work[0] == "export" else "the disk's rate")


class Room:
    """A control group whose processes share so many bytes of memory, pages of files included (Linux, as root)."""

    def __init__(self, bytes):
        v1, v2 = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
        root, limit = (v1, "memory.limit_in_bytes") if v1.is_dir() else (v2, "memory.max")
        self.path = root / f"rdbridge-bench-{os.getpid()}"
        self.path.mkdir()
        try:
            (self.path / limit).write_text(str(bytes))
        except OSError:
            self.path.rmdir()
            raise

    def around(self, command):
        """The command, which begins with going in there."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', self.path / "cgroup.procs", *command]

    def leave(self):
        self.path.rmdir()


ROOM = 64 << 20


def limited_rows(runs, dump, path):
    """A dump that is many times larger than the memory that it may use."""
    try:
        room = Room(ROOM)
    except OSError as error:
        print(f"compare: no rows with limited memory: {error}", file=sys.stderr)
        return
    try:
        # Pages that are in memory already are on nobody's account.
        load_by = lambda ours: cold(path, [*ours, "load", "--restart", "--quiet", path, "--to", "{url}"], into_fresh)
        dd = room.around(["dd", f"if={path}", "of=/dev/null", "bs=1M", "status=none"])
        mine, theirs = alternate(runs, lambda: cold(path, room.around([OURS, "info", path])), lambda: cold(path, dd))
        row(f"info in a cgroup of {ROOM >> 20} MiB, page cache dropped", dump, "dd of the file, likewise", mine, theirs, "the disk's rate")
        mine, theirs = alternate(runs, lambda: load_by(room.around([OURS])), lambda: load_by([OURS]))
        row(f"load in a cgroup of {ROOM >> 20} MiB", dump, "our load with all memory", mine, theirs, "≤ 1.05 ×", faster=False)
    finally:
        room.leave()


def merged(before, now):
    """The table as it was, with the rows that were measured now in the place of those of the same name."""
    rows = lambda text: [line for line in text.strip().splitlines() if line.startswith("| ")][2:]
    name = lambda line: tuple(cell.strip() for cell in line.split("|")[1:4])
    new = {name(line): line for line in rows(now)}
    kept = [new.pop(name(line), line) for line in rows(before)]
    table, _, words = now.partition("\n\n")
    old_words = before.strip().partition("\n\n")[2]
    changed = ", ".join(dict.fromkeys(f"{work} of {dump}" for work, dump, _ in map(name, rows(now))))
    return "\n".join([*table.splitlines()[:2], *kept, *new.values()]) + f"\n\n{old_words}\n\nA later run measured {changed}: {words[0].lower()}{words[1:]}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bench", type=pathlib.Path, required=True)
    parser.add_argument("--rivals", type=pathlib.Path, required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dumps", default="medium,large,big,gig")
    parser.add_argument("--only", default="info,check,export,load,journal,start-up,compare,cold,limited,memory,reencode,commands,shards", help="which rows: %(default)s")
    parser.add_argument("--scale", type=float, default=1.0, help="how large the dumps are that reencode, commands and shards make: 1 is what the table wants")
    parser.add_argument("--write-readme", action="store_true")
    parser.add_argument("--keep", action="store_true", help="with --write-readme: rows that this run does not measure stay as they are")
    options = parser.parse_args()
    # Every load keeps its journal, as it does by default, and none goes on from another.
    journals = tempfile.TemporaryDirectory(prefix="rdbridge-bench-")
    os.environ["RDBRIDGE_JOURNAL_DIR"] = journals.name
    only, dumps = options.only.split(","), options.dumps.split(",")
    rdb = options.rivals / "bin/rdb"
    c_parser = os.environ.get("RDB_CLI")
    for dump in [d for d in ("medium", "large", "big") if d in dumps]:
        path = options.bench / f"{dump}.rdb"
        judge = lambda: run([REDIS / "redis-check-rdb", path])
        if "info" in only:
            mine, theirs = alternate(options.runs, lambda: run([OURS, "info", path]), judge)
            row("info (scan and CRC)", dump, "redis-check-rdb", mine, theirs, "≥ 20 ×" if dump == "medium" else "≥ 10 ×")
            if dump == "large":
                keys = json.loads(subprocess.run([OURS, "info", "--json", path], capture_output=True, check=True).stdout)["inputs"][0]["info"]["keys"]
                rate = keys / median([m.wall for m in mine]) / 1e6
                ROWS.append(("info: small keys a second", dump, "", "", "", f"{rate:.1f} M", "≥ 12 M", "", "", ""))
        if "check" in only:
            mine, theirs = alternate(options.runs, lambda: run([OURS, "check", "--quiet", path]), judge)
            row("check (every value decoded)", dump, "redis-check-rdb", mine, theirs, "≥ 10 ×" if dump != "large" else "")
        if "export" in only:
            restore = lambda: run([OURS, "export", "--format", "restore", "--quiet", path])
            ndjson = lambda: run([OURS, "export", "--format", "ndjson", "--quiet", path])
            if c_parser:
                mine, theirs = alternate(options.runs, restore, lambda: run([c_parser, path, "-l", "/dev/null", "resp", "-r", "-t", "7.2", "-o", "/dev/null"]))
                row("export --format restore", dump, "the C parser", mine, theirs, "≥ 10 ×")
                # It needs minutes for large.
                if dump != "large":
                    mine, theirs = alternate(options.runs, ndjson, lambda: run([c_parser, path, "-l", "/dev/null", "json", "-o", "/dev/null"]))
                    row("export --format ndjson", dump, "the C parser", mine, theirs, "≥ 15 ×")
            elif dump == "medium":
                mine, theirs = alternate(options.runs, restore, judge)
                row("export --format restore", dump, "redis-check-rdb (RDB_CLI not given)", mine, theirs, "")
            if rdb.exists() and dump != "large":
                mine, theirs = alternate(options.runs, ndjson, lambda: run([rdb, "--format", "json", path]))
                row("export --format ndjson", dump, "the crate rdb 0.4", mine, theirs, "≥ 8 ×")
        if "load" in only and dump != "big":
            load_rows(options.runs if dump == "medium" else max(2, options.runs // 2), dump, path)
        if "journal" in only and dump == "medium":
            journal_rows(options.runs, dump, path)
        if "start-up" in only and dump == "medium":
            start_up_rows(options.runs, dump, path)
        if "compare" in only and dump != "big":
            compare_rows(options.runs if dump == "medium" else max(2, options.runs // 2), dump, path)
        if "cold" in only and dump == "large":
            cold_rows(options.runs, dump, path)
        if "limited" in only and dump == "large":
            limited_rows(max(2, options.runs // 2), dump, path)
    if "memory" in only and "gig" in dumps:
        for name in ("gig-random", "gig-text"):
            path = options.bench / f"{name}.rdb"
            server = Server("--proto-max-bulk-len", "2gb", "--client-query-buffer-limit", "3gb")
            for work in (["info", path], ["check", "--quiet", path], ["export", "--format", "ndjson", "--quiet", path],
                         ["load", "--restart", "--quiet", path, "--to", f"redis://127.0.0.1:{server.port}"],
                         ["compare", "--quiet", path, "--to", f"redis://127.0.0.1:{server.port}"]):
                got = run([OURS, *work])
                ROWS.append((work[0], name, "", f"{got.wall:.3f} s", "", "", "≤ 32 MiB + 4 a connection", f"{got.cpu:.2f} s",
                             f"{got.memory / 2**20:.1f} MiB", ""))
            server.stop()
    for name, rows in (("reencode", reencode_rows), ("commands", command_rows), ("shards", shard_rows)):
        if name in only:
            rows(options.runs if name == "reencode" else max(2, options.runs // 2), options.bench, options.scale)
    table = [("work", "dump", "rival", "rdbridge", "rival", "ratio (spread)", "budget", "own CPU", "own memory", "rival's memory")]
    table += [("---",) * 10] + ROWS
    text = "\n".join("| " + " | ".join(line) + " |" for line in table)
    cpu = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    text += f"\n\nMeasured on {os.cpu_count()} cores ({cpu}), {platform.system()} {platform.release()}, page cache warm unless said otherwise, {options.runs} pairs each ({max(2, options.runs // 2)} of the loads of large, by commands and into shards), alternating."
    print(text)
    if options.write_readme:
        readme = ROOT / "README.md"
        whole = readme.read_text()
        begin, end = "<!-- benches/compare.sh -->", "<!-- end -->"
        if begin not in whole or end not in whole:
            sys.exit("README.md has no place for the table")
        head, rest = whole.split(begin, 1)
        before, tail = rest.split(end, 1)
        if options.keep:
            text = merged(before, text)
        new = readme.with_suffix(".md.new")
        new.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
        new.replace(readme)


if __name__ == "__main__":
    main()
