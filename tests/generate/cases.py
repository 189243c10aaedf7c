"""The data sets of testdata/: one function per case, run against every server that can write it.

A case's first line of documentation goes into testdata/README.md. Values are the same on every run (the random generator is
seeded with the case's name); the order of keys in a file and the times of "now" are not.
"""
import random
import struct
import time

from redis_process import Client, ReplyError, encode

FAR_MS = 2_000_000_000_000          # 2033-05-18: expiries are absolute and far away
STREAM_MS = 1_700_000_000_000       # delivery times of pending entries
SOON_MS = 2_500                     # "past" expiries: alive when saved, over whenever the file is read later
INTS = sorted({s * b + d for b in (0, 1, 12, 13, 127, 128, 255, 256, 4095, 4096, 32767, 32768, 65535, 2 ** 23 - 1, 2 ** 23,
                                   2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 63 - 1) for s in (1, -1) for d in (0, 1, -1)
               if -2 ** 63 <= s * b + d < 2 ** 63})
SCORES = ("0", "-0", "1", "-1", "2.5", "3.0000000000000004", "0.1", "1e20", "1e300", "-1e-300", "5e-324", "9007199254740993",
          "1.7976931348623157e308", "inf", "-inf")
CASES = []


class Case:
    def __init__(self, function, since, before, product, args, needs, kind):
        self.function, self.since, self.before, self.product = function, since, before, product
        self.args, self.needs, self.kind = args, needs, kind
        self.name = function.__name__.replace("_", "-")
        self.doc = " ".join((function.__doc__ or "").split())

    def fits(self, product, version):
        return self.since <= version < self.before and self.product in (None, product)


def case(since=(0, 0), before=(99, 0), product=None, args=(), needs=None, kind="rdb"):
    """Registers a case. `needs`: a command that the server must know. `kind`: rdb, aof or appendonlydir."""
    def register(function):
        CASES.append(Case(function, since, before, product, args, needs, kind))
        return function
    return register


class Session:
    """What a case gets: the client, the version, and a generator seeded with the case's name."""

    def __init__(self, server, seed):
        self.server, self.c, self.version, self.product = server, server.client, server.version, server.product
        self.random = random.Random(seed)

    def config(self, **settings):
        """CONFIG SET of those names that this server has."""
        for name, value in settings.items():
            name = name.replace("_", "-")
            if self.c.has_config(name):
                self.c("CONFIG", "SET", name, value)

    def noise(self, n):
        return self.random.randbytes(n)

    def words(self, n):
        return " ".join(self.random.choices("alpha bravo charlie delta echo foxtrot golf hotel india".split(), k=n))


# ---- types and encodings ---------------------------------------------------------------------------------------------

@case()
def empty(s):
    """A data set without any key: aux fields only."""


@case()
def strings(s):
    """Strings: every integer width and its edges, raw, LZF (short, long runs, far references), empty, bitmaps,
    HyperLogLogs; keys that are empty, binary, UTF-8, integers, very long."""
    c = s.c
    c("SET", b"", "value of the empty key")
    c("SET", "empty", b"")
    for n in INTS:
        c("SET", "int:%d" % n, n)
    for text in ("007", "+1", " 1", "1.0", "-0", "--1", "12345678901", "9223372036854775808", "2147483648"):
        c("SET", "notint:" + text, text)
    for n in (1, 12, 19, 20, 21, 43, 44, 45, 63, 64, 65, 127, 128):
        c("SET", "same:%d" % n, b"x" * n)
        c("SET", "noise:%d" % n, s.noise(n))
    for n in (16383, 16384):
        c("SET", "same:%d" % n, b"y" * n)
    c("SET", "noise:16384", s.noise(16384))
    c("SET", "same:1000000", b"z" * 1_000_000)
    far = s.noise(3000)
    c("SET", "lzf:far", far + b"-" * 5100 + far)             # a reference 8,100 bytes back, near the window's 8,192
    c("SET", "lzf:text", s.words(300))
    c("SET", "lzf:json", '[%s]' % ",".join('{"id":%d,"ok":true}' % i for i in range(120)))
    c("SET", b"bin\x00key\r\n\xff", bytes(range(256)))
    c("SET", "ключ:日本:🔑", "значение")
    c("SET", b"k" * 5000, "a key that is stored compressed")
    c("SET", s.noise(300), "a key of 300 random bytes")
    for n in (12345, -7, 0, 70000, 2 ** 31):
        c("SET", n, "a key that is an integer")
    c("SETBIT", "bitmap", 20_000, 1)
    if c.has("PFADD"):
        c("PFADD", "hll:sparse", 1, 2, 3)
        c("PFADD", "hll:dense", *range(1200))
    c("APPEND", "appended", "first ")
    c("APPEND", "appended", "second")


@case()
def lists(s):
    """Lists: ziplist/listpack with every integer and string width, several quicklist nodes, nodes stored compressed,
    PLAIN nodes (7.0 and later), linked lists (before 3.2)."""
    c = s.c
    c("RPUSH", "one", "a")
    c("RPUSH", "empty-strings", b"", b"", b"")
    c("RPUSH", "ints", *INTS)
    c("RPUSH", "almost-ints", "007", "-0", "+5", "1e3", "9223372036854775808", "-9223372036854775809")
    for n in (1, 62, 63, 64, 65, 127, 128, 253, 254, 255, 4095, 4096, 16383, 16384):
        c("RPUSH", "widths", b"w" * n, n)                     # also back lengths of one to three bytes, prevlens of 1 and 5
    c("RPUSH", "binary", bytes(range(256)), s.noise(40), b"\x00\xff")
    s.config(list_max_ziplist_size=32, list_max_ziplist_entries=32)
    c("RPUSH", "many", *range(400))                           # 13 nodes, or a linked list before 3.2
    c("RPUSH", "many-texts", *("item-%d" % i for i in range(100)))
    c("RPUSH", "duplicates", *("same" for _ in range(90)))
    s.config(list_compress_depth=1)
    c("RPUSH", "compressed", *("the same text again and again %d" % (i % 7) for i in range(200)))
    s.config(list_compress_depth=0, list_max_ziplist_size=-2, list_max_ziplist_entries=128)
    c("RPUSH", "big-element", "before", b"b" * 70_000, s.noise(9000), "after")
    if s.version >= (7, 0):
        # With a small node size it becomes a quicklist at all: since 7.2 a list begins as one listpack of up to 8 KiB.
        s.config(list_max_ziplist_size=2)
        c("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "100b")
        c("RPUSH", "plain", "packed", 17, s.noise(150), b"p" * 5000, 18, s.noise(101), "tail")
        c("RPUSH", "plain-only", b"q" * 9000)
        c("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "0b")
        s.config(list_max_ziplist_size=-2)


@case()
def sets(s):
    """Sets: intsets of 16, 32 and 64 bits with their edges, listpacks (7.2 and later), hash tables by size and by count."""
    c = s.c
    c("SADD", "intset:16", -32768, -1, 0, 1, 32767)
    c("SADD", "intset:32", -2 ** 31, -32769, 0, 32768, 2 ** 31 - 1)
    c("SADD", "intset:64", -2 ** 63, -2 ** 31 - 1, 0, 2 ** 31, 2 ** 63 - 1)
    c("SADD", "intset:one", 5)
    c("SADD", "intset:300", *range(300))
    c("SADD", "intset:wide", 2 ** 40, *range(20))
    c("SREM", "intset:wide", 2 ** 40)                         # the width never shrinks
    c("SADD", "small", "a", "b", "c", 1, 2, "007", b"")
    c("SADD", "one", "member")
    c("SADD", "binary", bytes(range(256)), b"\x00", b"\xff\xfe")
    c("SADD", "big-member", "short", b"m" * 300, s.noise(65))
    c("SADD", "many", *("member-%d" % i for i in range(160)))
    s.config(set_max_intset_entries=16, set_max_listpack_entries=16)
    c("SADD", "ints-in-table", *INTS)
    s.config(set_max_intset_entries=512, set_max_listpack_entries=128)


@case()
def hashes(s):
    """Hashes: ziplist/listpack with every width, hash tables by value size and by count, empty fields and values."""
    c = s.c
    c("HMSET", "one", "f", "v")
    c("HMSET", "empty", b"", b"", "f", b"", b"x", b"")
    c("HMSET", "ints", *(x for n in INTS[:60] for x in ("f%d" % n, n)))
    c("HMSET", "int-fields", *(x for n in (0, 1, -1, 300, 70000, 2 ** 40) for x in (n, "value %d" % n)))
    c("HMSET", "widths", *(x for n in (1, 12, 62, 63, 64) for x in (b"f" * n, b"v" * n)))
    c("HMSET", "user:17", "name", "Ada Lovelace", "email", "ada@example.org", "age", 36, "city", "Łódź")
    c("HMSET", "big-value", "body", b"v" * 65, "html", "<p>%s</p>" % s.words(200), "raw", s.noise(200))
    c("HMSET", "big-field", b"f" * 400, "v", s.noise(70), b"")
    c("HMSET", "many", *(x for i in range(560) for x in ("field-%d" % i, i * i)))
    c("HINCRBYFLOAT", "floats", "pi", "3.14159")


@case()
def zsets(s):
    """Sorted sets: ziplist/listpack and skip list, both with every kind of score (infinite, subnormal, above 2^53,
    negative zero), equal scores, geo."""
    c = s.c
    scored = [x for n, score in enumerate(SCORES) for x in (score, "m%d" % n)]
    c("ZADD", "scores", *scored)
    c("ZADD", "scores:big", *scored, "7", b"x" * 100)         # one long member makes it a skip list
    c("ZADD", "one", 1, "a")
    c("ZADD", "ints", *(x for n in INTS if abs(n) < 2 ** 53 for x in (n, n)))
    c("ZADD", "equal", *(x for m in ("b", "a", "", "c", "aa") for x in (1, m)))
    c("ZADD", "many", *(x for i in range(200) for x in ("%.3f" % (i / 8), "member-%d" % i)))
    c("ZADD", "binary", 1, bytes(range(256)), 2, b"\x00", 3, b"\xff")
    c("ZADD", "leaderboard", *(x for i in range(50) for x in (i * 7919 % 1000, "player:%d" % i)))
    if c.has("GEOADD"):
        c("GEOADD", "geo", "13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania")


@case(since=(5, 0))
def streams(s):
    """Streams: several nodes, tombstones, trimmed heads, same and different fields, all value widths, extreme IDs,
    groups with more than 100 pending entries, a pending entry whose ID is deleted, a consumer with nothing pending,
    groups on empty streams, an emptied stream, changed counters (7.0 and later)."""
    c = s.c
    for i in range(250):
        c("XADD", "many", "%d-%d" % (1000 + i // 3, i), "temperature", i - 100, "humidity", i * 1000)
    c("XTRIM", "many", "MAXLEN", 230)                         # exact: leaves tombstones in the first node
    for i in (50, 51, 120, 249):
        c("XDEL", "many", "%d-%d" % (1000 + i // 3, i))
    c("XGROUP", "CREATE", "many", "readers", "0")
    c("XREADGROUP", "GROUP", "readers", "alice", "COUNT", 130, "STREAMS", "many", ">")
    c("XREADGROUP", "GROUP", "readers", "bob", "COUNT", 20, "STREAMS", "many", ">")
    for i in (30, 31, 150):
        c("XACK", "many", "readers", "%d-%d" % (1000 + i // 3, i))
    for i in (40, 160):                                       # still pending, but no longer in the stream
        c("XDEL", "many", "%d-%d" % (1000 + i // 3, i))
    for i, times in ((60, 1), (61, 7), (62, 1000)):
        c("XCLAIM", "many", "readers", "carol", 0, "%d-%d" % (1000 + i // 3, i), "TIME", STREAM_MS, "RETRYCOUNT", times, "JUSTID")
    if s.version >= (6, 2):
        c("XGROUP", "CREATECONSUMER", "many", "readers", "idle")
    else:
        c("XREADGROUP", "GROUP", "readers", "idle", "COUNT", 1, "STREAMS", "many", "999999-0")
    c("XGROUP", "CREATE", "many", "late", "$")
    c("XGROUP", "CREATE", "many", "middle", "1040-120")
    for k, fields in enumerate(((b"a", 1), ("a", 2), ("a", 3, "b", 4), (b"", b""), ("a", b"v" * 5000), ("a", -2 ** 63))):
        c("XADD", "fields", "%d-1" % (5 + k), *fields)
    c("XADD", "fields", "20-1", *(x for j in range(150) for x in ("f%d" % j, "v%d" % (j % 5))))
    c("XADD", "ints", "1-1", *(x for n in INTS for x in ("n", n)))
    c("XADD", "widths", "1-1", *(x for n in (63, 64, 127, 128, 4095, 4096) for x in (b"w" * n, b"x" * n)))
    c("XADD", "ids", "5-100", "f", 1)
    c("XADD", "ids", "6-1", "f", 2)                           # the sequence's difference to the node's ID is negative
    c("XADD", "ids", "5000000000-0", "f", 3)
    c("XADD", "ids", "18446744073709551615-18446744073709551614", "f", 4)
    c("XADD", "emptied", "5-1", "a", 1)
    c("XDEL", "emptied", "5-1")
    c("XGROUP", "CREATE", "group-on-nothing", "waiting", "0", "MKSTREAM")
    c("XGROUP", "CREATE", "group-on-nothing", "second", "$")
    c("XADD", "emptied-group", "7-0", "a", 1)
    c("XGROUP", "CREATE", "emptied-group", "g", "0")
    c("XREADGROUP", "GROUP", "g", "al", "STREAMS", "emptied-group", ">")
    c("XDEL", "emptied-group", "7-0")                         # pending, in a stream without entries
    c("XADD", "set-id", "1-0", "a", 1)
    c("XSETID", "set-id", "900-5")
    if s.version >= (7, 0):
        c("XSETID", "set-id", "900-6", "ENTRIESADDED", 1000, "MAXDELETEDID", "899-1")
        c("XGROUP", "CREATE", "set-id", "counted", "0", "ENTRIESREAD", 17)
        c("XGROUP", "CREATE", "set-id", "uncounted", "500-0")
    s.config(stream_node_max_entries=3)
    for i in range(10):
        c("XADD", "small-nodes", "%d-0" % (i + 1), "f%d" % (i % 2), i)
    c("XDEL", "small-nodes", "1-0", "2-0", "3-0", "5-0")      # a node without a live entry goes, one with some stays
    s.config(stream_node_max_entries=100)


@case(since=(8, 6), product="redis", needs="XCFGSET")
def streams_idempotent(s):
    """Streams with idempotent producers (8.6) and entries that were given back, so that nobody owns them (8.8)."""
    c = s.c
    for j in range(12):
        c("XADD", "idmp", "IDMP", "producer-%d" % (j % 3), "iid-%d" % j, "*", "f", j)
    c("XADD", "idmp", "IDMP", "producer-0", "iid-0", "*", "f", "a duplicate, not added")
    c("XCFGSET", "idmp", "IDMP-DURATION", 86400, "IDMP-MAXSIZE", 500)
    c("XADD", "plain", "1-1", "f", "v")
    if c.has("XNACK"):
        for j in range(10):
            c("XADD", "nack", "%d-0" % (10 + j), "j", j)
        c("XGROUP", "CREATE", "nack", "g", "0")
        c("XREADGROUP", "GROUP", "g", "al", "COUNT", 6, "STREAMS", "nack", ">")
        c("XREADGROUP", "GROUP", "g", "bo", "COUNT", 2, "STREAMS", "nack", ">")
        c("XNACK", "nack", "g", "FAIL", "IDS", 3, "11-0", "13-0", "16-0")


@case(since=(7, 4), product="redis", needs="HPEXPIREAT")
def hash_field_ttl(s):
    """Hashes whose fields expire, far away: listpack and hash table forms, some, all and no longer any fields with a TTL."""
    hash_field_ttl_keys(s)


@case(since=(9, 0), product="valkey", needs="HPEXPIREAT")
def hash_field_ttl_valkey(s):
    """Hashes whose fields expire, far away: Valkey's own form; some, all and no longer any fields with a TTL."""
    hash_field_ttl_keys(s)


def hash_field_ttl_keys(s):
    c = s.c

    def at(key, ms, *fields):
        c("HPEXPIREAT", key, ms, "FIELDS", len(fields), *fields)

    c("HMSET", "small", *(x for j in range(6) for x in ("f%d" % j, "v%d" % j)))
    at("small", FAR_MS + 5000, "f1")
    at("small", FAR_MS + 1, "f3")
    at("small", FAR_MS + 5000, "f4")
    c("HMSET", "all", "a", 1, "b", 2)
    at("all", FAR_MS, "a", "b")
    c("HMSET", "persisted", "a", 1, "b", 2)
    at("persisted", FAR_MS, "a")
    c("HPERSIST", "persisted", "FIELDS", 1, "a")
    c("HMSET", "big", *(x for j in range(600) for x in ("f%d" % j, j)))
    for j in range(0, 600, 7):
        at("big", FAR_MS + j, "f%d" % j)
    c("HMSET", "big-value", "short", "v", "long", b"l" * 200, b"", b"")
    at("big-value", FAR_MS + 77, "long")
    at("big-value", FAR_MS + 2 ** 40, b"")
    c("HMSET", "big-persisted", "long", b"l" * 200, "other", 5)
    at("big-persisted", FAR_MS, "long")
    c("HPERSIST", "big-persisted", "FIELDS", 1, "long")
    c("HMSET", "key-and-field", "f", 1, "g", 2)
    at("key-and-field", FAR_MS, "f")
    c("PEXPIREAT", "key-and-field", FAR_MS + 10 ** 9)
    c("HMSET", "plain", "no", "ttl")


@case(since=(7, 4), needs="HPEXPIREAT")
def hash_field_ttl_past(s):
    """Hashes with fields whose time was over soon after the file was written: a part of them, and all of them."""
    c = s.c
    soon = int(time.time() * 1000) + SOON_MS
    c("HMSET", "some-fields", "keeps", 1, "goes", 2, "stays", 3)
    c("HPEXPIREAT", "some-fields", soon, "FIELDS", 1, "goes")
    c("HPEXPIREAT", "some-fields", FAR_MS, "FIELDS", 1, "stays")
    c("HMSET", "all-fields", "a", 1, "b", 2)
    c("HPEXPIREAT", "all-fields", soon, "FIELDS", 2, "a", "b")
    c("HMSET", "big-some-fields", "keeps", b"k" * 200, "goes", 2)
    c("HPEXPIREAT", "big-some-fields", soon, "FIELDS", 1, "goes")
    c("SET", "plain", "a key without fields")


@case(since=(8, 10), product="redis")
def hash_templates(s):
    """Hash templates (8.10): opcode 242, hashes as references to a template in packed and unpacked form."""
    c = s.c
    c("CONFIG", "SET", "hash-min-template-entries", 2)
    for j in range(12):
        c("HMSET", "user:%d" % j, "name", "n%d" % j, "mail", "m%d@example.org" % j, "age", j)
    for j in range(4):
        c("HMSET", "point:%d" % j, "x", j, "y", -j * 70000, "label", b"" if j % 2 else "point %d" % j)
    for j in range(3):
        c("HMSET", "page:%d" % j, "body", s.words(40 + j), "mail", b"z" * 300, "n", 2 ** 40 + j)
    c("HMSET", "wide", *(x for j in range(60) for x in ("column-%03d" % j, j * 3)))
    c("PEXPIREAT", "user:3", FAR_MS)
    c("HMSET", "single", "only", "one field: below the limit")
    c("CONFIG", "SET", "hash-min-template-entries", 0)
    c("HMSET", "plain", "written", "without", "a", "template")


@case(since=(8, 8), product="redis", needs="ARSET")
def arrays(s):
    """Arrays (8.8): dense, sparse, huge indices, an insert position, every kind of element."""
    c = s.c
    c("ARSET", "mixed", 0, "a", 12, "3.5", b"x" * 100, b"", -5, 2 ** 63 - 1, "1e300", "seven77", "eight888")
    c("ARSET", "far", 0, "first")
    c("ARSET", "far", 1_000_000, "far")
    c("ARSET", "far", 2 ** 63, "very far")
    c("ARSET", "dense", 0, *range(300))
    c("ARINSERT", "inserted", "one", "two", "three")
    for j in range(0, 9000, 450):
        c("ARSET", "sparse", j, "at %d" % j)
    c("ARSET", "one", 5, "alone")


@case(since=(8, 0), product="redis", needs="VADD")
def vector_sets(s):
    """Vector sets of core Redis 8, which are module values (type 7): all quantizations, attributes, one element."""
    c = s.c
    for name, options in (("int8", ()), ("float", ("NOQUANT",)), ("binary", ("BIN",))):
        for j in range(20):
            vector = struct.pack("<8f", *(s.random.uniform(-1, 1) for _ in range(8)))
            c("VADD", "vectors:" + name, "FP32", vector, "element-%d" % j, *options)
    c("VSETATTR", "vectors:int8", "element-3", '{"year": 1950}')
    c("VADD", "vectors:one", "VALUES", 3, "0.5", "-0.25", "1", "alone")
    c("SET", "plain", "beside the vector sets")


# ---- what stands around the values -----------------------------------------------------------------------------------

def some_of_each(s, prefix=""):
    """A few keys of every type that the server has, small."""
    c, p = s.c, prefix
    c("SET", p + "string", "hello")
    c("SET", p + "string:int", 4711)
    c("SET", p + "string:long", "the quick brown fox jumps over the lazy dog, again and again; " * 12)
    c("RPUSH", p + "list", *("item %d" % i for i in range(30)), *range(30))
    c("SADD", p + "set:ints", *range(0, 5000, 100))
    c("SADD", p + "set", *("member-%d" % i for i in range(20)))
    c("SADD", p + "set:big", *("member-%d" % i for i in range(150)))
    c("HMSET", p + "hash", *(x for i in range(20) for x in ("field-%d" % i, "value %d" % i)))
    c("HMSET", p + "hash:big", "text", "some long text " * 20, "number", 5)
    c("ZADD", p + "zset", *(x for i in range(20) for x in (i * 1.5, "member-%d" % i)))
    c("ZADD", p + "zset:big", *(x for i in range(140) for x in (i / 4, "member-%d" % i)))
    if s.version >= (5, 0):
        for i in range(12):
            c("XADD", p + "stream", "%d-0" % (100 + i), "n", i, "text", "entry %d" % i)
        c("XGROUP", "CREATE", p + "stream", "g", "0")
        c("XREADGROUP", "GROUP", "g", "al", "COUNT", 5, "STREAMS", p + "stream", ">")


@case()
def dbs_and_expiries(s):
    """Five dbs with gaps (0, 1, 5, 9, 15); expiries far away, just below and above 32 bits of seconds, and past (over
    soon after the file was written) on keys of several types."""
    c = s.c
    for db, n in ((0, 12), (1, 3), (5, 1), (9, 40), (15, 2)):
        c("SELECT", db)
        for i in range(n):
            c("SET", "db%d:key:%d" % (db, i), "value %d in db %d" % (i, db))
            if i % 3 == 1:
                c("PEXPIREAT", "db%d:key:%d" % (db, i), FAR_MS + i * 1001)
    c("SELECT", 0)
    c("SET", "same-name", "in db 0")
    c("SELECT", 15)
    c("SET", "same-name", "in db 15")
    c("SELECT", 1)
    for name, ms in (("max-i32-seconds", 2147483647000), ("above-i32-seconds", 2147483648001), ("year-3000", 32503680000000),
                     ("odd-milliseconds", FAR_MS + 7), ("max-2^53", 2 ** 53)):
        c("SET", "expiry:" + name, "x")
        c("PEXPIREAT", "expiry:" + name, ms)
    some_of_each(s, "ttl:")
    for key in ("list", "hash", "zset", "set:ints", "hash:big"):
        c("PEXPIREAT", "ttl:" + key, FAR_MS + len(key))
    c("SELECT", 9)
    soon = int(time.time() * 1000) + SOON_MS
    for i in range(7):
        c("SET", "past:%d" % i, "gone")
        c("PEXPIREAT", "past:%d" % i, soon)
    c("RPUSH", "past:list", "a", "b")
    c("HMSET", "past:hash", "f", "v")
    c("PEXPIREAT", "past:list", soon)
    c("PEXPIREAT", "past:hash", soon)


def with_meta(s, option, values):
    """Copies of keys with a set idle time or frequency, which only RESTORE can give them."""
    c = s.c
    some_of_each(s)
    for key in ("string", "list", "hash", "zset:big"):
        payload = c("DUMP", key)
        for n in values:
            c("RESTORE", "%s:%s:%d" % (key, option.lower(), n), FAR_MS if n % 2 else 0, payload, "ABSTTL", option, n)


@case(since=(5, 0))
def lru(s):
    """Idle times (opcode 248): maxmemory-policy allkeys-lru; some keys with an expiry as well."""
    s.config(maxmemory_policy="allkeys-lru")
    with_meta(s, "IDLETIME", (0, 5, 70, 20_001, 1_000_000))


@case(since=(5, 0))
def lfu(s):
    """Frequencies (opcode 249): maxmemory-policy allkeys-lfu; some keys with an expiry as well."""
    s.config(maxmemory_policy="allkeys-lfu")
    with_meta(s, "FREQ", (0, 1, 5, 100, 255))


FUNCTIONS = (
    "#!lua name=mylib\nredis.register_function('myget', function(keys, args) return redis.call('GET', keys[1]) end)\n",
    "#!lua name=counters\n-- %s\nlocal function bump(keys) return redis.call('INCR', keys[1]) end\n"
    "redis.register_function('bump', bump)\n"
    "redis.register_function{function_name='one', callback=function() return 1 end, flags={'no-writes'}}\n" % ("padding " * 60),
)


@case(since=(7, 0))
def functions(s):
    """Two function libraries (opcode 245), one of them long enough to be compressed, and some keys."""
    for source in FUNCTIONS:
        s.c("FUNCTION", "LOAD", source)
    s.c("SET", "counter", 41)
    s.c("SET", "greeting", "hello")


@case(since=(7, 0))
def functions_only(s):
    """Function libraries and not a single key."""
    for source in FUNCTIONS:
        s.c("FUNCTION", "LOAD", source)


@case(since=(5, 0))
def replicated(s):
    """A master with a replica: aux fields repl-stream-db, repl-id, repl-offset; before 7.0 also cached Lua scripts (aux lua)."""
    c = s.c
    if s.version < (7, 0):
        c("SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])")
        c("SCRIPT", "LOAD", "-- %s\nreturn {KEYS[1], ARGV[1], 17}" % ("a long comment " * 20))
    s.config(repl_diskless_sync_delay=0)
    # Half a replica is enough: the server makes its backlog as soon as one asks.
    s.replica = Client(s.server.port)
    s.replica.socket.sendall(encode(("PSYNC", "?", "-1")))
    for _ in range(1000):
        info = c.info()
        if info["connected_slaves"] == "1" and info["rdb_bgsave_in_progress"] == "0" and info["rdb_last_bgsave_status"] == "ok" \
                and "state=wait_bgsave" not in info.get("slave0", ""):
            break
        time.sleep(0.01)
    some_of_each(s)


@case(args=("--rdbchecksum", "no"))
def no_checksum(s):
    """`rdbchecksum no`: the last eight bytes are zero."""
    some_of_each(s)


@case(args=("--rdbcompression", "no"))
def no_compression(s):
    """`rdbcompression no`: no LZF anywhere."""
    some_of_each(s)
    s.c("SET", "would-compress", b"c" * 3000)


@case(since=(3, 0), args=("--cluster-enabled", "yes"))
def cluster(s):
    """One node of a cluster that owns all slots: slot hints (opcode 244 in Redis 7.4 and later, aux slot-info in Valkey 8
    and later), keys with hash tags."""
    c = s.c
    c("CLUSTER", "ADDSLOTS", *range(16384))
    for _ in range(1000):
        if b"cluster_state:ok" in c("CLUSTER", "INFO"):
            break
        time.sleep(0.01)
    some_of_each(s)
    for tag in ("a", "b", "user1000"):
        for i in range(3):
            c("SET", "{%s}:key:%d" % (tag, i), i)
    c("SET", "{}empty-tag", 1)
    c("SET", "no}tag{", 2)
    c("PEXPIREAT", "{a}:key:1", FAR_MS)


@case(since=(5, 0), before=(7, 0), args=("--appendonly", "yes", "--aof-use-rdb-preamble", "yes"), kind="aof")
def aof_preamble(s):
    """An AOF that begins with an RDB (aux aof-preamble 1) and goes on with commands that are newer than it."""
    aof(s)


@case(since=(7, 0), args=("--appendonly", "yes"), kind="appendonlydir")
def multi_part_aof(s):
    """A multi-part AOF, appendonlydir/: manifest, base file (an RDB with aux aof-base 1) and an increment with newer commands."""
    aof(s)


def aof(s):
    c = s.c
    some_of_each(s)
    c("SET", "changed", "before the rewrite")
    c("BGREWRITEAOF")
    while True:
        info = c.info("persistence")
        if info["aof_rewrite_in_progress"] == "0" and info["aof_rewrite_scheduled"] == "0":
            break
        time.sleep(0.01)
    if info["aof_last_bgrewrite_status"] != "ok":
        raise ReplyError("the rewrite failed")
    s.before_tail()
    c("SET", "changed", "after the rewrite")
    c("SET", "new", "only in the commands")
    c("DEL", "set")
