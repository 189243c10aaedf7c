//! What a real server wrote of everything that it can hold, and what it says of it.

use std::collections::BTreeMap;

use rdbridge::snapshot::Kind;
use redis::Value;

use super::super::support::contents::{Reading, read};
use super::super::support::random::Random;
use super::super::support::reading::{self, Detail};
use super::super::support::server::{Server, version_of};
use super::super::support::wire::Client;

/// Expiries are far away.
const FAR_MS: u64 = 4_000_000_000_000;

/// One server's dump.
pub(super) struct Source {
    pub(super) name: &'static str,
    pub(super) data: Vec<u8>,
    /// What its own server says that it holds.
    pub(super) held: Held,
}

/// What a server holds.
pub(super) struct Held {
    pub(super) reading: Reading,
    /// Streams once more, with the delivery times of their pending entries, where it tells them.
    pub(super) streams: BTreeMap<Vec<u8>, Vec<String>>,
    /// Names and sources of its function libraries.
    pub(super) libraries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Held {
    pub(super) fn by(server: &Server) -> Self {
        let reading = read(server);
        let mut connection = server.connect();
        let detail = Detail {
            counters: false,
            times: false,
        };
        let of_db_0 = reading.keys.iter().filter(|((db, _), _)| *db == 0);
        let streams = of_db_0.filter(|(_, key)| key.kind == "stream");
        let streams = streams.map(|((_, key), _)| {
            let name = server.name();
            let lines = reading::answered(&mut connection, name, key, Kind::Stream, detail);
            (key.clone(), lines)
        });
        Self {
            streams: streams.collect(),
            libraries: libraries(server),
            reading,
        }
    }
}

/// Whether a server has functions.
pub(super) fn has_functions(name: &str) -> bool {
    version_of(name).1 >= 7
}

fn libraries(server: &Server) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut libraries = BTreeMap::new();
    if !has_functions(server.name()) {
        return libraries;
    }
    let Value::Array(list) = server.run("FUNCTION LIST WITHCODE") else {
        panic!("a list of libraries");
    };
    for library in list {
        let Value::Array(fields) = library else {
            panic!("a library");
        };
        let field = |name: &str| {
            let is_it = |value: &Value| {
                matches!(value, Value::BulkString(found) if found == name.as_bytes())
                    || matches!(value, Value::SimpleString(found) if found == name)
            };
            let mut pairs = fields.chunks(2);
            match pairs.find(|pair| is_it(&pair[0])).map(|pair| &pair[1]) {
                Some(Value::BulkString(text)) => text.clone(),
                other => panic!("{name}: {other:?}"),
            }
        };
        libraries.insert(field("library_name"), field("library_code"));
    }
    libraries
}

/// Lets the server `name` write everything that it can hold.
///
/// What stands in front of the `/` of a key's name says where it can exist: what is not in `super::ELSEWHERE` can everywhere.
pub(super) fn source(name: &'static str) -> Source {
    let server = Server::setup(name).with_debug().start();
    let mut filling = Filling {
        client: Client::connect(server.port()),
        version: version_of(name),
        commands: Vec::new(),
        random: Random::new(4, "matrix", 0),
    };
    filling.texts();
    filling.lists();
    filling.sets();
    filling.hashes();
    filling.zsets();
    filling.streams();
    filling.own_types();
    filling.functions();
    filling.other_dbs();
    filling.run(&["SAVE"]);
    filling.flush();
    Source {
        name,
        data: std::fs::read(server.dir().join("dump.rdb")).expect("a dump"),
        held: Held::by(&server),
    }
}

struct Filling {
    client: Client,
    version: (&'static str, u32, u32),
    commands: Vec<Vec<Vec<u8>>>,
    random: Random,
}

/// Integers at the edges of every width that an encoding has.
fn integers() -> Vec<String> {
    let edges: [i64; 14] = [
        0,
        1,
        12,
        13,
        127,
        128,
        4095,
        4096,
        32_767,
        32_768,
        (1 << 23) - 1,
        1 << 23,
        i32::MAX as i64,
        i64::MAX - 1,
    ];
    let both = edges.into_iter().flat_map(|n| [n, -n - 1, n + 1]);
    both.map(|n| n.to_string()).collect()
}

impl Filling {
    fn is_redis_from(&self, major: u32, minor: u32) -> bool {
        let (product, ours, our_minor) = self.version;
        product == "redis" && (ours, our_minor) >= (major, minor)
    }

    fn run<W: AsRef<[u8]>>(&mut self, words: &[W]) {
        let words = words.iter().map(|word| word.as_ref().to_vec());
        self.commands.push(words.collect());
        if self.commands.len() >= 500 {
            self.flush();
        }
    }

    /// One command, its words with blanks between.
    fn say(&mut self, words: &str) {
        self.run(&words.split(' ').collect::<Vec<_>>());
    }

    /// One command with many words behind the first two.
    fn many(&mut self, command: &str, key: &str, words: impl IntoIterator<Item = String>) {
        let head = [command.to_owned(), key.to_owned()];
        self.run(&head.into_iter().chain(words).collect::<Vec<_>>());
    }

    fn flush(&mut self) {
        let commands = std::mem::take(&mut self.commands);
        let replies = self.client.ask(&commands);
        for (command, reply) in commands.iter().zip(replies) {
            let refused = matches!(&reply, Value::SimpleString(text) if text.starts_with('-'));
            let words = || String::from_utf8_lossy(&command.join(&b' ')).into_owned();
            assert!(
                !refused,
                "{:?} says {reply:?} to {:.200}",
                self.version,
                words()
            );
        }
    }

    /// Bytes that do not compress.
    fn noise(&mut self, bytes: usize) -> Vec<u8> {
        let numbers = (0..bytes.div_ceil(8)).flat_map(|_| self.random.number().to_le_bytes());
        numbers.take(bytes).collect()
    }

    fn texts(&mut self) {
        for (nth, number) in integers().iter().enumerate() {
            self.say(&format!("SET text/integer:{nth} {number}"));
        }
        self.run(&["SET", "text/empty", ""]);
        for length in [1usize, 44, 45, 63, 64, 16_383, 16_384, 300_000] {
            let noise = self.noise(length);
            let noisy = format!("text/noise:{length}");
            self.run(&[&b"SET"[..], noisy.as_bytes(), &noise]);
            self.say(&format!("SET text/same:{length} {}", "x".repeat(length)));
        }
        let far = self.noise(3000);
        let far = [&far[..], &[b'-'; 5100], &far].concat();
        self.run(&[&b"SET"[..], b"text/far", &far]);
        self.run(&[&b"SET"[..], b"text/\0key}{\r\n\xff", b"binary"]);
        self.run(&[&b"SET"[..], b"", b"the key without a name"]);
        self.say("SET 70000 an-integer");
        self.say(&format!("SET text/{} long", "k".repeat(5000)));
        self.say("SETBIT text/bitmap 20000 1");
        self.say("PFADD text/sparse 1 2 3");
        let numbers = (0..1200).map(|n: i32| n.to_string());
        self.many("PFADD", "text/dense", numbers);
        self.say(&format!("SET text/expires x PX {}", 9_000_000_000u64));
        self.say(&format!("PEXPIREAT text/expires {FAR_MS}"));
    }

    fn lists(&mut self) {
        self.say("RPUSH list/one a");
        self.run(&["RPUSH", "list/empties", "", "", ""]);
        self.many("RPUSH", "list/integers", integers());
        self.say("RPUSH list/almost 007 -0 +5 1e3 9223372036854775808");
        for length in [1usize, 62, 63, 64, 127, 128, 253, 254, 4095, 4096] {
            self.say(&format!(
                "RPUSH list/widths {} {length}",
                "w".repeat(length)
            ));
        }
        let noise = self.noise(9000);
        let large = vec![b'b'; 70_000];
        self.run(&[
            &b"RPUSH"[..],
            b"list/large",
            b"before",
            &large,
            &noise,
            b"after",
        ]);
        self.say("CONFIG SET list-max-ziplist-size 32");
        self.many("RPUSH", "list/nodes", (0..400).map(|n| n.to_string()));
        self.say("CONFIG SET list-compress-depth 1");
        let text = |n: usize| format!("the same text again and again {}", n % 7);
        self.many("RPUSH", "list/compressed", (0..200).map(text));
        self.say("CONFIG SET list-compress-depth 0");
        if self.version.1 >= 7 {
            self.say("CONFIG SET list-max-ziplist-size 2");
            self.say("DEBUG QUICKLIST-PACKED-THRESHOLD 100b");
            let plain = "p".repeat(5000);
            self.say(&format!("RPUSH list/plain packed 17 {plain} 18 tail"));
            self.say("DEBUG QUICKLIST-PACKED-THRESHOLD 0b");
        }
        self.say("CONFIG SET list-max-ziplist-size -2");
        self.say("RPUSH list/expires a b c");
        self.say(&format!("PEXPIREAT list/expires {}", FAR_MS + 1));
    }

    fn sets(&mut self) {
        self.say("SADD set/16 -32768 -1 0 1 32767");
        self.say("SADD set/32 -2147483648 0 32768");
        self.say("SADD set/64 -9223372036854775808 0 9223372036854775807");
        self.many(
            "SADD",
            "set/table-of-integers",
            (0..700).map(|n| (n * 3).to_string()),
        );
        self.say("SADD set/small a b c 1 2 007");
        let member = |n: i32| format!("member-{n}");
        self.many("SADD", "set/large", (0..300).map(member));
        self.say(&format!("SADD set/long short {}", "m".repeat(300)));
        self.say("SADD set/expires a b");
        self.say(&format!("PEXPIREAT set/expires {}", FAR_MS + 2));
    }

    fn hashes(&mut self) {
        self.run(&["HMSET", "hash/empties", "", "", "f", ""]);
        let pairs = integers().into_iter().enumerate();
        let pairs = pairs.flat_map(|(nth, n)| [format!("f{nth}"), n]);
        self.many("HMSET", "hash/integers", pairs);
        self.say("HMSET hash/small name Ada age 36 7 seven");
        let pairs = (0..600).flat_map(|n: i32| [format!("field-{n}"), (n * n).to_string()]);
        self.many("HMSET", "hash/large", pairs);
        let noise = self.noise(200);
        self.run(&[&b"HMSET"[..], b"hash/long", b"body", &noise, b"", b"x"]);
        self.say("HMSET hash/expires a 1 b 2");
        self.say(&format!("PEXPIREAT hash/expires {}", FAR_MS + 3));
    }

    fn zsets(&mut self) {
        const SCORES: [&str; 12] = [
            "0",
            "-1",
            "2.5",
            "3.0000000000000004",
            "0.1",
            "1e20",
            "-1e-300",
            "5e-324",
            "9007199254740993",
            "1.7976931348623157e308",
            "inf",
            "-inf",
        ];
        let pairs = |long: &str| -> Vec<String> {
            let pairs = SCORES.iter().enumerate();
            let pairs = pairs.flat_map(|(n, score)| [(*score).to_owned(), format!("m{n}{long}")]);
            pairs.collect()
        };
        self.many("ZADD", "zset/small", pairs(""));
        self.many("ZADD", "zset/long", pairs(&"x".repeat(100)));
        self.say("ZADD zset/equal 1 b 1 a 1 c 1 aa");
        let pairs = (0..300).flat_map(|n| [format!("{:.3}", f64::from(n) / 8.0), format!("m{n}")]);
        self.many("ZADD", "zset/large", pairs);
        self.say("GEOADD zset/places 13.361389 38.115556 Palermo 15.087269 37.502669 Catania");
        self.say("ZADD zset/expires 1 a");
        self.say(&format!("PEXPIREAT zset/expires {}", FAR_MS + 4));
    }

    fn streams(&mut self) {
        for n in 0..250 {
            let id = format!("{}-{n}", 1000 + n / 3);
            self.say(&format!(
                "XADD stream/many {id} temperature {} text t{n}",
                n - 100
            ));
        }
        self.say("XDEL stream/many 1016-50 1040-120");
        self.say("XGROUP CREATE stream/many readers 0");
        self.say("XREADGROUP GROUP readers alice COUNT 130 STREAMS stream/many >");
        self.say("XREADGROUP GROUP readers bob COUNT 20 STREAMS stream/many >");
        self.say("XACK stream/many readers 1010-30 1010-31 1050-150");
        for (id, times) in [("1020-60", 1), ("1020-61", 7), ("1020-62", 1000)] {
            self.say(&format!(
                "XCLAIM stream/many readers carol 0 {id} TIME 1700000000000 RETRYCOUNT {times} JUSTID"
            ));
        }
        // Still pending, and no longer in the stream.
        self.say("XDEL stream/many 1013-40 1046-140");
        self.say("XREADGROUP GROUP readers idle COUNT 1 STREAMS stream/many 999999-0");
        self.say("XGROUP CREATE stream/many late $");
        self.say("XADD stream/fields 5-1 a 1");
        self.say("XADD stream/fields 6-1 a 2");
        self.say("XADD stream/fields 7-1 a 3 b 4");
        self.say(&format!("XADD stream/fields 8-1 long {}", "v".repeat(5000)));
        self.say("XADD stream/emptied 7-0 a 1");
        self.say("XGROUP CREATE stream/emptied g 0");
        self.say("XREADGROUP GROUP g al STREAMS stream/emptied >");
        self.say("XDEL stream/emptied 7-0");
        self.say("XGROUP CREATE stream/waiting first 0 MKSTREAM");
        self.say("XADD stream/set-id 1-0 a 1");
        self.say("XSETID stream/set-id 900-5");
        self.say("XADD stream/expires 1-1 a 1");
        self.say(&format!("PEXPIREAT stream/expires {}", FAR_MS + 5));
    }

    /// What only some servers have.
    fn own_types(&mut self) {
        let (product, major, _) = self.version;
        if self.is_redis_from(7, 4) || product == "valkey" && major >= 9 {
            self.say("HMSET field-expiry/small a 1 b 2 c 3");
            self.say(&format!(
                "HPEXPIREAT field-expiry/small {FAR_MS} FIELDS 2 a c"
            ));
            let pairs = (0..600).flat_map(|n: i32| [format!("f{n}"), n.to_string()]);
            self.many("HMSET", "field-expiry/large", pairs);
            for n in (0..600).step_by(7) {
                let at = FAR_MS + n;
                self.say(&format!("HPEXPIREAT field-expiry/large {at} FIELDS 1 f{n}"));
            }
            // Had some, and has them no more: nothing to lose.
            self.say("HMSET hash/persisted a 1 b 2");
            self.say(&format!("HPEXPIREAT hash/persisted {FAR_MS} FIELDS 1 a"));
            self.say("HPERSIST hash/persisted FIELDS 1 a");
        }
        if self.is_redis_from(8, 0) {
            self.say("VADD vectors/plain VALUES 3 0.5 -0.25 1 alone");
            for n in 0..20 {
                let (x, y) = (f64::from(n) / 10.0, f64::from(n % 7));
                self.say(&format!("VADD vectors/many VALUES 3 {x} {y} 1 element-{n}"));
            }
            self.say("VSETATTR vectors/many element-3 {\"year\":1950}");
        }
        if self.is_redis_from(8, 6) {
            self.say("XADD idempotency/set 1-1 f v");
            self.say("XCFGSET idempotency/set IDMP-DURATION 86400 IDMP-MAXSIZE 500");
        }
        if self.is_redis_from(8, 8) {
            for n in 0..10 {
                self.say(&format!("XADD nacked/some {}-0 n {n}", 10 + n));
            }
            self.say("XGROUP CREATE nacked/some g 0");
            self.say("XREADGROUP GROUP g al COUNT 6 STREAMS nacked/some >");
            self.say("XNACK nacked/some g FAIL IDS 2 11-0 13-0");
            self.many("ARSET", "array/dense", (0..301).map(|n| n.to_string()));
            self.say("ARSET array/far 0 first");
            self.say("ARSET array/far 9223372036854775808 far");
        }
        if self.is_redis_from(8, 10) {
            self.say("CONFIG SET hash-min-template-entries 2");
            for n in 0..12 {
                self.say(&format!(
                    "HMSET template/user:{n} name n{n} mail m{n} age {n}"
                ));
            }
            for n in 0..3 {
                let long = "z".repeat(300);
                self.say(&format!(
                    "HMSET template/page:{n} body b{n} mail {long} n {n}"
                ));
            }
            self.say("CONFIG SET hash-min-template-entries 0");
        }
    }

    fn functions(&mut self) {
        if self.version.1 >= 7 {
            for (name, padding) in [("short", 0), ("long", 60)] {
                let code = format!(
                    "#!lua name={name}\n-- {}\nredis.register_function('{name}', function(keys) return redis.call('GET', keys[1]) end)\n",
                    "padding ".repeat(padding)
                );
                self.run(&["FUNCTION", "LOAD", &code]);
            }
        }
    }

    fn other_dbs(&mut self) {
        for db in [1, 9] {
            self.say(&format!("SELECT {db}"));
            self.say(&format!("SET text/same-name in-{db}"));
            self.say("RPUSH list/in-another-db a b");
            self.say("ZADD zset/in-another-db 1.5 a");
            self.say(&format!("PEXPIREAT zset/in-another-db {}", FAR_MS + db));
        }
    }
}
