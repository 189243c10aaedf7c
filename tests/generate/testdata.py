#!/usr/bin/env python3
"""Makes testdata/: every case of cases.py on every server that can write it, expected.tsv and README.md beside them.

    testdata.py OUT [SERVER...]     (default: all servers that are there; README.md and expected.tsv cover what is in OUT)

Each file is loaded again by the server that wrote it, and the keys are counted.
"""
import os
import shutil
import sys
import time
from collections import Counter

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cases import CASES, SOON_MS, Session  # noqa: E402
from redis_process import ReplyError, Server, present  # noqa: E402
from sample import make_sample  # noqa: E402

SERVERS = ("redis-2.8", "redis-3.0", "redis-3.2", "redis-5.0", "redis-6.0", "redis-6.2", "redis-7.0", "redis-8.0", "redis-8.2",
           "redis-8.6", "redis-8.10", "valkey-8.0", "valkey-8.1", "valkey-9.0", "valkey-9.1")
COLUMNS = ("path", "kind", "magic", "server", "server_version", "keys", "keys_per_db", "expires", "past", "functions", "types",
           "rdb_types", "encodings")


def describe(c):
    """What the server says of its data: the columns of expected.tsv from `keys` on."""
    # The counts first: keys with a short time to live must still be there.
    spaces = {int(k[2:]): dict(x.split("=") for x in v.split(",")) for k, v in c.info("keyspace").items()}
    types, rdb_types, encodings, past = Counter(), Counter(), Counter(), 0
    for db in spaces:
        c("SELECT", db)
        for key in c("KEYS", "*"):
            kind = c("TYPE", key).decode()
            encoding = c("OBJECT", "ENCODING", key).decode()
            number = c("DUMP", key)[0]
            number = {29: 30, 31: 32}.get(number, number)     # in a file, hashes refer to their template
            types[kind] += 1
            rdb_types[number] += 1
            encodings["%s/%s" % (kind, encoding)] += 1
            past += 0 <= c("PTTL", key) < 3_600_000
    c("SELECT", 0)
    functions = len(c("FUNCTION", "LIST")) if c.has("FUNCTION") else 0
    return {
        "keys": sum(int(x["keys"]) for x in spaces.values()),
        "keys_per_db": ",".join("%d:%s" % (db, spaces[db]["keys"]) for db in sorted(spaces)) or "-",
        "expires": sum(int(x["expires"]) for x in spaces.values()),
        "past": past,
        "functions": functions,
        "types": joined(types), "rdb_types": joined(rdb_types), "encodings": joined(encodings),
    }


def joined(counter):
    return ",".join("%s:%d" % x for x in sorted(counter.items())) or "-"


def save(server, to):
    server.client("SAVE")
    shutil.copyfile(os.path.join(server.dir, "dump.rdb"), to)


def run_case(case, name, out):
    """Runs one case; returns its row of expected.tsv, or None if this server lacks what the case needs."""
    os.makedirs(os.path.join(out, name), exist_ok=True)
    path = os.path.join(name, case.name + {"rdb": ".rdb", "aof": ".aof", "appendonlydir": ""}[case.kind])
    to = os.path.join(out, path)
    shutil.rmtree(to, ignore_errors=True)
    with Server(name, case.args) as server:
        c = server.client
        if case.needs and not c.has(case.needs):
            return None
        session = Session(server, case.name)
        row = {}
        session.before_tail = lambda: row.update(describe(c))
        case.function(session)
        if case.kind == "rdb":
            save(server, to)
            row.update(describe(c))
        elif case.kind == "aof":
            shutil.copyfile(os.path.join(server.dir, "appendonly.aof"), to)
        else:
            shutil.copytree(os.path.join(server.dir, "appendonlydir"), to)
        info = c.info("server")
        row["server_version"] = info.get("valkey_version", info["redis_version"])
        loaded = c("DBSIZE") if case.kind != "rdb" else row["keys"] - row["past"]
    with open(rdb_of(to), "rb") as f:
        row["magic"] = f.read(9).decode()
    row.update(path=path, kind=case.kind, server=name)
    return row, loaded


def rdb_of(path):
    """The file with the RDB in it."""
    if os.path.isdir(path):
        return os.path.join(path, next(x for x in os.listdir(path) if x.endswith(".base.rdb")))
    return path


def check(row, loaded, out):
    """Loads a file into the server that wrote it and counts."""
    path = os.path.join(out, row["path"])
    args = ["--appendonly", "yes"] if row["kind"] != "rdb" else []
    if "/cluster." in row["path"]:
        args += ["--cluster-enabled", "yes"]
    server = Server(row["server"], args)
    if row["kind"] == "appendonlydir":
        shutil.copytree(path, os.path.join(server.dir, "appendonlydir"))
    else:
        shutil.copyfile(path, os.path.join(server.dir, {"rdb": "dump.rdb", "aof": "appendonly.aof"}[row["kind"]]))
    with server:
        got = sum(int(v.split(",")[0][5:]) for v in server.client.info("keyspace").values())
        functions = len(server.client("FUNCTION", "LIST")) if row["functions"] else 0
    # Of a hash whose fields are all past, some servers keep nothing.
    if got not in ((loaded, loaded - 1) if row["path"].endswith("/hash-field-ttl-past.rdb") else (loaded,)):
        raise SystemExit("%s: %d keys expected, the server loads %d" % (row["path"], loaded, got))
    if functions != row["functions"]:
        raise SystemExit("%s: %d libraries expected, the server loads %d" % (row["path"], row["functions"], functions))


def read_rows(out):
    try:
        with open(os.path.join(out, "expected.tsv")) as f:
            lines = [x.rstrip("\n").split("\t") for x in f if not x.startswith("#")]
        return [dict(zip(lines[0], x)) for x in lines[1:]]
    except OSError:
        return []


EXPECTED_HEAD = """\
# What the server that wrote each file said of its data when it was saved (made by tests/make-testdata.sh).
# keys, keys_per_db, expires: INFO keyspace. past: entries of the file whose time was over soon afterwards, so that a master does not load them.
# types: TYPE of every key. rdb_types: the type byte of every key's DUMP (hash templates: as in the file). encodings: OBJECT ENCODING.
# For kind aof and appendonlydir all of this is about the RDB part; the commands behind it change, add and delete keys.
"""

README_HEAD = """\
# testdata: small dumps made by real servers

Made by `bash tests/make-testdata.sh`, which starts the servers of `tests/servers.sh`, runs every case of `tests/generate/cases.py` on each
server that can write it, saves, and has the same server load the file again. The committed files are the truth: making them again gives the same
keys and values, but other bytes (hash seeds, times). `expected.tsv` holds, file by file, what the server itself said of its data.

`sample.rdb` (Redis 7.0, `tests/generate/sample.py`) is a small shop: sessions, users, carts, queues, leaderboards, an event stream, in dbs 0
and 3, one function library, expiries from 2033 on. It loads into any Redis from 7.0 and any Valkey.

Not here, because no server that can be had writes it: RDB 1 to 5, 8 and 14, zipmaps (type 9), zsets of type 5 in an RDB 8 file, pre-GA
modules and functions, key metadata (opcode 243, needs a module), slot imports (Valkey's opcode 243, only while slots move), KeyDB,
Dragonfly and Redis Enterprise. The corpus of other projects' files, where present, covers most of these.

Expiries called *past* lay {soon} ms ahead when the file was written, so they are over for every reader.

## Cases

| file | servers | what is in it |
|---|---|---|
"""


def write_readme(out, rows):
    with open(os.path.join(out, "README.md"), "w") as f:
        f.write(README_HEAD.format(soon=SOON_MS))
        for case in CASES:
            files = [r for r in rows if r["path"].rsplit("/", 1)[-1].split(".")[0] == case.name]
            if not files:
                continue
            suffix = {"rdb": ".rdb", "aof": ".aof", "appendonlydir": "/"}[case.kind]
            args = " Started with `%s`." % " ".join(case.args) if case.args else ""
            f.write("| `%s%s` | %s | %s%s |\n" % (case.name, suffix, ", ".join(r["server"] for r in files), case.doc, args))
        f.write("\nThe commands of a case are the function of that name in `tests/generate/cases.py`.\n\n## Files\n\n"
                "| file | server | magic | keys | expiries (past) | functions | RDB types (type:keys) |\n|---|---|---|---|---|---|---|\n")
        for r in rows:
            f.write("| `%s` | %s %s | %s | %s | %s (%s) | %s | %s |\n" % (
                r["path"], r["server"].split("-")[0], r["server_version"], r["magic"], r["keys"], r["expires"], r["past"],
                r["functions"], r["rdb_types"].replace(",", " ")))


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    out, wanted = sys.argv[1], sys.argv[2:] or SERVERS
    started = time.time()
    made = {}
    for name in wanted:
        if not present(name):
            print("*** %s is not there (tests/servers.sh %s): its files are left as they are" % (name, name))
            continue
        product, version = name.split("-")
        version = tuple(int(x) for x in version.split("."))
        shutil.rmtree(os.path.join(out, name), ignore_errors=True)
        done = []
        for case in CASES:
            if not case.fits(product, version):
                continue
            try:
                got = run_case(case, name, out)
            except ReplyError as e:
                raise SystemExit("%s, case %s: %s" % (name, case.name, e)) from e
            if got is None:
                print("*** %s has no %s: no %s" % (name, case.needs, case.name))
                continue
            made[got[0]["path"]] = got
            done.append(case.name)
        print("%s: %d files" % (name, len(done)), flush=True)
    if "redis-7.0" in wanted and present("redis-7.0"):
        with Server("redis-7.0") as server:
            make_sample(server.client)
            save(server, os.path.join(out, "sample.rdb"))
            row = describe(server.client)
            row.update(path="sample.rdb", kind="rdb", magic="REDIS0010", server="redis-7.0",
                       server_version=server.client.info("server")["redis_version"])
        made["sample.rdb"] = row, row["keys"]
    time.sleep(SOON_MS / 1000)                                # now the short expiries are past
    for row, loaded in made.values():
        check(row, loaded, out)
    print("%d files, each loaded again by its server; %.0f s" % (len(made), time.time() - started))

    rows = [r for r in read_rows(out) if r["path"] not in made and os.path.exists(os.path.join(out, r["path"]))]
    rows += [row for row, _ in made.values()]
    rows.sort(key=lambda r: (r["path"] != "sample.rdb", SERVERS.index(r["server"]), r["path"]))
    with open(os.path.join(out, "expected.tsv"), "w") as f:
        f.write(EXPECTED_HEAD + "\t".join(COLUMNS) + "\n")
        for r in rows:
            f.write("\t".join(str(r[x]) for x in COLUMNS) + "\n")
    write_readme(out, rows)


if __name__ == "__main__":
    main()
