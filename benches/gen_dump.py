#!/usr/bin/env python3
"""Fills a running server with one of the benchmark profiles: realistic, seeded, standard library only.

    gen_dump.py --port 7010 --profile medium [--seed 1] [--scale 1.0] [--out FILE]

medium     1.06 million keys of all types, small and some large; an RDB of about 256 MB
large      10 million small keys; about 1.5 GB
big        7 keys: a 200 MB string, a list of 5 million, hash, set and sorted set of 3 million, an int set and a
           stream of 1 million; about 550 MB
list       one list of 10 million elements; about 200 MB
gig-random one string of 1 GiB that does not compress  (the server needs proto-max-bulk-len above 1 GiB)
gig-text   one string of 1 GiB that does               (likewise)

The same profile, seed and scale give the same keys and values on every run; the file's bytes differ (the server's hash
seed decides the order). --out: SAVE, then move the server's RDB file there.
"""
import argparse
import os
import random
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "generate"))
from redis_process import Client, Pipe  # noqa: E402

FAR_MS = 2_000_000_000_000          # 2033-05-18: expiries are absolute and far away
STREAM_MS = 1_700_000_000_000
WORDS = ("alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa "
         "quebec romeo sierra tango uniform victor whiskey xray yankee zulu").split()
AGENTS = (b"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101", b"Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
          b"curl/8.5.0", b"okhttp/4.12.0", b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X)")
LANGUAGES = (b"en", b"de", b"fr", b"ja")

# kind: relative share of the keys
MIXED = {
    "medium": dict(keys=1_060_000, dbs=(0, 1, 6), expiring=0.3, mix=dict(
        session=42, counter=12, token=8, page=2, blob=0.6, bitmap=0.2, hll=0.3, hash=14, bighash=0.03, list=5, biglist=0.03,
        intset=3, set=3, bigset=0.03, zset=5, geo=0.5, bigzset=0.03, stream=1, bigstream=0.02)),
    "large": dict(keys=10_000_000, dbs=(0, 1), expiring=0.4, mix=dict(
        session=48, counter=16, token=16, page=0.4, blob=0.1, hash=9, list=3, intset=2, set=2, zset=3, stream=0.3,
        bighash=0.0005, biglist=0.0005, bigset=0.0005, bigzset=0.0005)),
}
SINGLE = {
    "big": dict(string=200 << 20, hash=3_000_000, list=5_000_000, set=3_000_000, zset=3_000_000, intset=1_000_000,
                stream=1_000_000),
    "list": dict(list=10_000_000),
    "gig-random": dict(random_string=1 << 30),
    "gig-text": dict(text_string=1 << 30),
}


class Maker:
    """Makes keys: each method adds one key's commands to the pipe and returns the key."""

    def __init__(self, seed, pipe):
        self.r = random.Random(seed)
        self.random, self.bits = self.r.random, self.r.getrandbits
        self.add = pipe.add

    def below(self, n):
        return int(self.random() * n)

    def between(self, low, high):
        return low + int(self.random() * (high - low))

    def one_of(self, things):
        return things[int(self.random() * len(things))]

    def hex(self, digits):
        return b"%0*x" % (digits, self.bits(4 * digits))

    def words(self, n):
        return " ".join(self.r.choices(WORDS, k=n)).encode()

    def score(self):
        kind = self.below(3)
        if kind == 0:
            return b"%d" % self.between(-1000, 100_000)
        return b"%.3f" % (self.random() * 1000) if kind == 1 else b"%.17g" % self.random()

    def chunks(self, verb, key, n, item, per=500):
        """One collection of n items, a few hundred a command."""
        for at in range(0, n, per):
            args = []
            for j in range(at, min(n, at + per)):
                args.extend(item(j))
            self.add(verb, key, *args)
        return key

    # small keys
    def session(self, i):
        key, b = b"sess:" + self.hex(24), self.below
        self.add(b"SET", key, b'{"uid":%d,"csrf":"%s","ip":"10.%d.%d.%d","ua":"%s","cart":[%d,%d],"seen":%d,"lang":"%s"}' % (
            b(10_000_000), self.hex(32), b(256), b(256), b(256), self.one_of(AGENTS), b(9999), b(9999),
            STREAM_MS // 1000 + b(10 ** 7), self.one_of(LANGUAGES)))
        return key

    def counter(self, i):
        key = b"counter:page:%d" % i
        n = self.bits(self.one_of((3, 7, 8, 15, 16, 31, 32, 62)))
        self.add(b"SET", key, b"%d" % (n if self.below(4) else -n))
        return key

    def token(self, i):
        key = b"tok:%d" % i
        self.add(b"SET", key, self.hex(40))
        return key

    def page(self, i):
        key = b"page:%d:html" % i
        self.add(b"SET", key, b"<li>%s</li>" % self.words(12) * self.between(2, 60))
        return key

    def blob(self, i):
        key = b"blob:%d" % i
        self.add(b"SET", key, self.r.randbytes(self.one_of((60, 300, 4000, 17000))))
        return key

    def bitmap(self, i):
        key = b"bits:day:%d" % i
        for _ in range(8):
            self.add(b"SETBIT", key, self.below(20_000), 1)
        return key

    def hll(self, i):
        key = b"uniq:%d" % i
        self.add(b"PFADD", key, *(b"v%d" % self.below(10 ** 6) for _ in range(self.one_of((5, 40, 1500)))))
        return key

    def hash(self, i):
        key = b"user:%d" % i
        args = [b"name", self.words(2), b"email", b"u%d@example.org" % i, b"age", b"%d" % self.below(99), b"created",
                b"%d" % (STREAM_MS // 1000 + self.below(10 ** 7))]
        for j in range(self.below(6)):
            args += (b"attr%d" % j, self.hex(self.one_of((4, 12, 30))))
        self.add(b"HSET", key, *args)
        return key

    def list(self, i):
        key = b"queue:%d" % i
        self.add(b"RPUSH", key, *(b"job-%d" % self.below(10 ** 9) if self.random() < .7 else b"%d" % self.below(10 ** 6)
                                  for _ in range(self.between(1, 16))))
        return key

    def intset(self, i):
        key, bits = b"ids:%d" % i, self.one_of((12, 12, 28, 50))
        self.add(b"SADD", key, *(b"%d" % self.bits(bits) for _ in range(self.between(1, 40))))
        return key

    def set(self, i):
        key = b"tags:%d" % i
        self.add(b"SADD", key, *("%s-%d" % (self.one_of(WORDS), self.below(50)) for _ in range(self.between(1, 12))))
        return key

    def zset(self, i):
        key = b"board:%d" % i
        args = []
        for j in range(self.between(1, 14)):
            args += (self.score(), b"player-%d" % j)
        self.add(b"ZADD", key, *args)
        return key

    def geo(self, i):
        key = b"geo:%d" % i
        args = []
        for j in range(self.between(1, 10)):
            args += (b"%.6f" % (self.random() * 340 - 170), b"%.6f" % (self.random() * 160 - 80), b"shop-%d" % j)
        self.add(b"GEOADD", key, *args)
        return key

    def stream(self, i, low=1, high=30):
        key = b"events:%d" % i
        ms, ids = STREAM_MS + i, []
        for j in range(self.between(low, high)):
            ms += self.below(900)
            ids.append(b"%d-%d" % (ms, j))
            fields = [b"type", self.one_of(WORDS), b"v", b"%d" % self.below(10 ** 6)]
            if self.random() < .1:
                fields += (b"note", self.words(4))
            self.add(b"XADD", key, ids[-1], *fields)
        if self.random() < .6:
            self.add(b"XGROUP", b"CREATE", key, b"workers", b"0")
            for who in (b"w-1", b"w-2"):
                self.add(b"XGROUP", b"CREATECONSUMER", key, b"workers", who)
                # XCLAIM with explicit times makes pending entries that are the same on every run.
                for x in [x for x in ids if self.random() < .3][:50]:
                    self.add(b"XCLAIM", key, b"workers", who, b"0", x, b"TIME", STREAM_MS, b"RETRYCOUNT", self.between(1, 5),
                             b"FORCE", b"JUSTID")
            if self.random() < .3:
                self.add(b"XGROUP", b"CREATE", key, b"audit", ids[len(ids) // 2])
        for x in ids[1:]:
            if self.random() < .03:
                self.add(b"XDEL", key, x)
        return key

    # larger ones
    def bighash(self, i):
        return self.chunks(b"HSET", b"index:%d" % i, self.between(200, 4000), lambda j: (b"f:%d" % j, self.hex(20)))

    def biglist(self, i):
        return self.chunks(b"RPUSH", b"log:%d" % i, self.between(500, 5000), lambda j: (
            b"%d GET /%s 200" % (STREAM_MS + j, self.words(3).replace(b" ", b"/")),))

    def bigset(self, i):
        return self.chunks(b"SADD", b"followers:%d" % i, self.between(600, 5000), lambda j: (b"u:" + self.hex(10),))

    def bigzset(self, i):
        return self.chunks(b"ZADD", b"rank:%d" % i, self.between(200, 5000), lambda j: (self.score(), b"m:%d" % j))

    def bigstream(self, i):
        return self.stream(i, 300, 3000)

    # the huge ones of the profiles with few keys
    def huge(self, kind, n):
        if kind == "string":
            self.string(b"big:string", n, lambda size: self.r.randbytes(size))
        elif kind == "random_string":
            self.string(b"gig:random", n, lambda size: self.r.randbytes(size))
        elif kind == "text_string":
            text = b"".join(b'{"id":%d,"name":"%s"},\n' % (j, self.words(2)) for j in range(2000)) * 30
            self.string(b"gig:text", n, lambda size: text[:size])
        elif kind == "hash":
            self.chunks(b"HSET", b"big:hash", n, lambda j: (b"field:%d" % j, self.hex(20)))
        elif kind == "list":
            self.chunks(b"RPUSH", b"big:list", n, lambda j: (b"item-" + self.hex(16),))
        elif kind == "set":
            self.chunks(b"SADD", b"big:set", n, lambda j: (b"m:" + self.hex(16),))
        elif kind == "zset":
            self.chunks(b"ZADD", b"big:zset", n, lambda j: (b"%.6f" % (self.random() * 1e6), b"member:%d" % j))
        elif kind == "intset":
            self.chunks(b"SADD", b"big:intset-grown", n, lambda j: (b"%d" % self.bits(40),))
        elif kind == "stream":
            for j in range(n):
                self.add(b"XADD", b"big:stream", b"%d-0" % (STREAM_MS + j), b"sensor", b"%d" % self.below(1000), b"v", self.hex(8))
            self.add(b"XGROUP", b"CREATE", b"big:stream", b"g", b"0")

    def string(self, key, n, piece):
        self.add(b"SETRANGE", key, n - 1, b"\0")               # room at once: no growing in steps
        for at in range(0, n, 1 << 20):
            self.add(b"SETRANGE", key, at, piece(min(1 << 20, n - at)))


def fill_mixed(maker, pipe, profile, scale, say):
    kinds = sorted(profile["mix"])
    weights = [profile["mix"][x] for x in kinds]
    makers = [getattr(maker, x) for x in kinds]
    total, dbs = int(profile["keys"] * scale), profile["dbs"]
    # Every db has a third of the keys of the one before; the first has the rest.
    shares = [total // 3 ** n for n in range(1, len(dbs))]
    shares.insert(0, total - sum(shares))
    made, started = 0, time.time()
    for db, count in zip(dbs, shares):
        pipe.add("SELECT", db)
        for make in maker.r.choices(makers, weights, k=count):
            key = make(made)
            if maker.random() < profile["expiring"]:
                pipe.add(b"PEXPIREAT", key, FAR_MS + maker.below(10 ** 10))
            made += 1
            if made % 1_000_000 == 0:
                say("  %d keys, %.0f s" % (made, time.time() - started))
    pipe.flush()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--profile", choices=(*MIXED, *SINGLE), required=True)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--scale", type=float, default=1.0, help="multiply the number of keys, or the sizes of huge ones")
    p.add_argument("--out")
    a = p.parse_args()

    def say(text):
        print(text, file=sys.stderr, flush=True)

    c = Client(a.port)
    c("FLUSHALL")
    started = time.time()
    pipe = Pipe(a.port)
    maker = Maker(a.seed, pipe)
    if a.profile in MIXED:
        fill_mixed(maker, pipe, MIXED[a.profile], a.scale, say)
    else:
        for kind, n in SINGLE[a.profile].items():
            maker.huge(kind, max(1, int(n * a.scale)))
        pipe.flush()
    filled = time.time()
    say("%s: filled in %.1f s, %d commands, %s" % (a.profile, filled - started, pipe.commands, ", ".join(
        "%s %s" % (k, v.split(",")[0]) for k, v in c.info("keyspace").items())))
    if a.out:
        c("SAVE")
        saved = os.path.join(c("CONFIG", "GET", "dir")[1].decode(), c("CONFIG", "GET", "dbfilename")[1].decode())
        shutil.move(saved, a.out + ".new")
        os.replace(a.out + ".new", a.out)
        say("%s: saved in %.1f s, %d bytes" % (a.profile, time.time() - filled, os.path.getsize(a.out)))


if __name__ == "__main__":
    main()
