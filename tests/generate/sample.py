"""testdata/sample.rdb: the data of a small shop, as a first thing to load, with names that a person can read."""
import json
import random

from cases import FAR_MS, STREAM_MS

PRODUCTS = ("teapot", "kettle", "mug", "saucer", "spoon", "tray", "coffee-mill", "french-press", "thermos", "jug", "sugar-bowl",
            "milk-frother", "espresso-cup", "strainer", "biscuit-tin", "honey-dipper", "infuser", "gooseneck", "scale", "napkin")
FIRST = "Ada Grace Linus Barbara Edsger Donald Margaret Ken Dennis Radia Frances Alan Katherine Tim Shafi Leslie".split()
LAST = "Lovelace Hopper Liskov Dijkstra Knuth Hamilton Thompson Perlman Allen Turing Johnson Goldwasser Lamport".split()
CITIES = (("Lisbon", -9.1393, 38.7223), ("Łódź", 19.4560, 51.7592), ("São Paulo", -46.6333, -23.5505), ("Kyōto", 135.7681, 35.0116),
          ("Nairobi", 36.8219, -1.2921), ("Montréal", -73.5673, 45.5017), ("Wellington", 174.7762, -41.2865))
LIBRARY = """#!lua name=shop
-- How many of a product are left, as a number.
redis.register_function{
  function_name = 'stock',
  callback = function(keys, args) return tonumber(redis.call('HGET', keys[1], 'stock')) end,
  flags = { 'no-writes' }
}
"""


def make_sample(c):
    """Fills an empty server."""
    r = random.Random("sample")
    day = 86_400_000
    c("FUNCTION", "LOAD", LIBRARY)
    c("SET", "shop:name", "The Tea Chest")
    c("SET", "shop:orders:next", 1337)
    c("SET", "shop:banner", "Free shipping on teapots this week! 🫖")
    for i, name in enumerate(PRODUCTS):
        key = "product:%d" % (i + 1)
        c("HSET", key, "name", name, "price", "%.2f" % (3 + r.random() * 40), "stock", r.randrange(200), "colour",
          r.choice(("white", "blue", "green", "red")))
        c("SADD", "products:%s" % r.choice(("kitchen", "table", "gifts")), i + 1)
        c("SET", "page:/product/%s" % name, "<html><body><h1>%s</h1>%s</body></html>" % (
            name, "".join("<p>%s</p>" % t for t in ["A fine %s for every day." % name] * 6)))
        c("PEXPIREAT", "page:/product/%s" % name, FAR_MS + i * day)
        c("ZADD", "bestsellers", r.randrange(2000), name)
    for i in range(1, 501):
        name = "%s %s" % (r.choice(FIRST), r.choice(LAST))
        city = r.choice(CITIES)[0]
        c("HSET", "user:%d" % i, "name", name, "email", "user%d@example.org" % i, "city", city, "orders", r.randrange(40),
          "since", STREAM_MS // 1000 - r.randrange(10 ** 8))
        c("ZADD", "users:by-orders", r.randrange(40), "user:%d" % i)
        if i % 3 == 0:
            session = json.dumps({"user": i, "ip": "10.0.%d.%d" % (r.randrange(256), r.randrange(256)), "theme": r.choice(
                ("dark", "light")), "csrf": "%032x" % r.getrandbits(128)})
            c("SET", "session:%024x" % r.getrandbits(96), session, "PXAT", FAR_MS + i * 60_000)
        if i % 10 == 0:
            c("RPUSH", "cart:%d" % i, *(r.choice(PRODUCTS) for _ in range(r.randrange(1, 6))))
            c("PEXPIREAT", "cart:%d" % i, FAR_MS + 7 * day)
        if i % 7 == 0:
            c("SADD", "wishlist:%d" % i, *r.sample(PRODUCTS, r.randrange(1, 9)))
    for name, lon, lat in CITIES:
        c("GEOADD", "shops", lon, lat, name)
    c("RPUSH", "queue:mail", *(json.dumps({"to": "user%d@example.org" % r.randrange(1, 501), "template": r.choice(
        ("welcome", "shipped", "invoice"))}) for _ in range(250)))
    c("RPUSH", "recent:searches", *(r.choice(PRODUCTS) for _ in range(40)))
    c("SADD", "orders:open", *r.sample(range(1000, 1337), 120))
    c("SADD", "newsletter", *("user%d@example.org" % i for i in r.sample(range(1, 501), 180)))
    c("HSET", "stock:history", *(x for d in range(365) for x in ("2025-%03d" % (d + 1), r.randrange(5000))))
    for d in range(1, 31):
        for _ in range(20):
            c("SETBIT", "active:2025-11-%02d" % d, r.randrange(500), 1)
        c("SET", "visits:2025-11-%02d" % d, r.randrange(10 ** 6))
    c("PFADD", "visitors:2025-11", *("visitor-%d" % i for i in range(2500)))
    t = STREAM_MS
    for i in range(400):
        t += r.randrange(60_000)
        c("XADD", "events", "%d-0" % t, "kind", r.choice(("view", "cart", "order", "return")), "user", r.randrange(1, 501),
          "product", r.choice(PRODUCTS))
    c("XGROUP", "CREATE", "events", "billing", "0")
    c("XREADGROUP", "GROUP", "billing", "worker-1", "COUNT", 25, "STREAMS", "events", ">")
    c("XREADGROUP", "GROUP", "billing", "worker-2", "COUNT", 10, "STREAMS", "events", ">")
    c("XGROUP", "CREATE", "events", "statistics", "$")
    c("SELECT", 3)
    for i in range(60):
        c("SET", "ratelimit:10.0.0.%d" % i, r.randrange(100), "PXAT", FAR_MS + i * 1000)
    c("HSET", "config", "maintenance", "off", "currency", "EUR", "vat", "0.21")
    c("ZADD", "jobs:scheduled", *(x for i in range(40) for x in (FAR_MS + i * 3_600_000, "reindex:%d" % i)))
    c("SELECT", 0)
