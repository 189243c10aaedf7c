//! `compare` finds what was changed at the destination, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use redis::Value;

use super::support::command::{Dir, Ran, program, run, run_with};
use super::support::dump::Dump;
use super::support::loading::now_ms;
use super::support::proxy::{Fault, On, Proxy};
use super::support::server::{Server, version_of};
use super::support::wire;

/// Far away, and the same on every run.
const FAR_MS: i64 = 2_000_000_000_000;

/// Runs commands given as words.
fn feed(server: &Server, commands: &[Vec<Vec<u8>>]) {
    let mut client = wire::Client::connect(server.port());
    for (command, answer) in commands.iter().zip(client.ask(commands)) {
        if let redis::Value::SimpleString(text) = &answer {
            assert!(
                !text.starts_with('-'),
                "{}: {text}",
                String::from_utf8_lossy(&command[0])
            );
        }
    }
}

fn words<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> Vec<Vec<u8>> {
    words
        .into_iter()
        .map(|word| word.as_ref().to_vec())
        .collect()
}

fn line(text: &str) -> Vec<Vec<u8>> {
    words(text.split(' '))
}

/// Text that does not compress away, and is not alike.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b'a' + u8::try_from(state % 26).expect("a letter")
        })
        .collect()
}

/// A data set of every kind in small and in large: each name twice, the second to be left alone.
fn fill(server: &Server) {
    let mut all = Vec::new();
    for copy in ["x", "y"] {
        let name = |kind: &str| format!("{kind}:{copy}");
        let plain = |kind: &str, rest: &str| line(&rest.replace("KEY", &name(kind)));
        all.push(plain("string", "SET KEY hello-world"));
        all.push(plain("number", "SET KEY 12345"));
        all.push(words([
            b"SET".to_vec(),
            name("text").into_bytes(),
            noise(1, 100_000),
        ]));
        all.push(words([
            b"SET".to_vec(),
            name("long").into_bytes(),
            noise(2, 700_000),
        ]));
        all.push(words([
            b"SET".to_vec(),
            name("packed").into_bytes(),
            b"0123456789".repeat(150_000),
        ]));
        all.push(plain("list", "RPUSH KEY a b c 4 5"));
        all.push(plain("set", "SADD KEY a b c"));
        all.push(plain("intset", "SADD KEY 1 2 3 400"));
        all.push(plain("zset", "ZADD KEY 1 a 2.5 b 3.0000000000000004 c"));
        all.push(plain("hash", "HSET KEY f1 v1 f2 v2 f3 v3"));
        all.push(line(
            &format!("SET {} v PXAT 0", name("ttl"))
                .replace("PXAT 0", &format!("PX {}", FAR_MS - now_ms())),
        ));
        all.push(line(&format!("PEXPIREAT {} {FAR_MS}", name("ttl"))));
        all.push(line(&format!("SET {} v", name("near"))));
        all.push(line(&format!("PEXPIREAT {} {FAR_MS}", name("near"))));
        for i in 0..3000 {
            all.push(line(&format!("RPUSH {} element-{i}", name("list-large"))));
            all.push(line(&format!("SADD {} member-{i}", name("set-large"))));
            all.push(line(&format!(
                "ZADD {} {i}.5 member-{i}",
                name("zset-large")
            )));
            all.push(words([
                b"HSET".to_vec(),
                name("hash-large").into_bytes(),
                format!("field-{i}").into_bytes(),
                noise(i, 120),
            ]));
        }
        // Few fields, and more than one window of values.
        for i in 0..300 {
            all.push(words([
                b"HSET".to_vec(),
                name("hash-wide").into_bytes(),
                format!("field-{i}").into_bytes(),
                noise(i + 5000, 700),
            ]));
        }
        for i in 1..=300 {
            all.push(line(&format!(
                "XADD {} {i}-1 field value-{i}",
                name("stream")
            )));
        }
        all.push(plain("stream", "XGROUP CREATE KEY group 0"));
        all.push(plain(
            "stream",
            "XREADGROUP GROUP group alice COUNT 150 STREAMS KEY >",
        ));
        all.push(plain(
            "stream",
            "XREADGROUP GROUP group bob COUNT 20 STREAMS KEY >",
        ));
        all.push(plain("stream-entry", "XADD KEY 1-1 a b"));
        all.push(plain("stream-entry", "XADD KEY 2-1 a b"));
        all.push(plain("stream-last", "XADD KEY 1-1 a b"));
        all.push(plain("swollen-string", "SET KEY v"));
        all.push(plain("swollen-hash", "HSET KEY f1 v1 f2 v2 f3 v3"));
        all.push(line(&format!(
            "RPUSH {}{}",
            name("swollen-list"),
            " element".repeat(3000)
        )));
        all.push(plain("missing", "SET KEY v"));
        all.push(plain("type", "SET KEY v"));
    }
    feed(server, &all);
}

/// What is changed at the destination, and how it must be told: key, and what differs (nothing: the key is missing).
fn plant(server: &Server) -> BTreeMap<String, &'static str> {
    let mut expected = BTreeMap::new();
    let mut all = Vec::new();
    let mut plant = |key: &str, what: &'static str, commands: &[String]| {
        expected.insert(key.to_owned(), what);
        all.extend(commands.iter().map(|text| line(text)));
    };
    let to = |text: &str| text.to_owned();
    plant("string:x", "value", &[to("SETRANGE string:x 4 O")]);
    plant("number:x", "value", &[to("INCR number:x")]);
    plant("text:x", "value", &[to("SETRANGE text:x 99999 .")]);
    plant("long:x", "value", &[to("SETRANGE long:x 600000 .")]);
    plant("packed:x", "value", &[to("SETRANGE packed:x 1499999 .")]);
    plant("list:x", "value", &[to("LSET list:x 2 C")]);
    plant("set:x", "value", &[to("SREM set:x b"), to("SADD set:x B")]);
    plant("intset:x", "count", &[to("SADD intset:x 5")]);
    plant("zset:x", "value", &[to("ZADD zset:x 3.000000000000001 c")]);
    plant("hash:x", "value", &[to("HSET hash:x f2 V2")]);
    plant(
        "ttl:x",
        "expiry",
        &[format!("PEXPIREAT ttl:x {}", FAR_MS + 5000)],
    );
    // Within the tolerance: nothing is to be told.
    all_near(server);
    plant(
        "list-large:x",
        "value",
        &[to("LSET list-large:x 1777 other")],
    );
    plant(
        "set-large:x",
        "value",
        &[
            to("SREM set-large:x member-1234"),
            to("SADD set-large:x other"),
        ],
    );
    plant(
        "zset-large:x",
        "value",
        &[to("ZADD zset-large:x 2222.500000000001 member-2222")],
    );
    plant(
        "hash-large:x",
        "value",
        &[to("HSET hash-large:x field-2999 other")],
    );
    plant(
        "hash-wide:x",
        "value",
        &[to("HSET hash-wide:x field-299 other")],
    );
    plant("stream:x", "pending", &[to("XACK stream:x group 7-1")]);
    plant(
        "stream-entry:x",
        "value",
        &[
            to("XDEL stream-entry:x 1-1"),
            to("XADD stream-entry:x 3-1 a b"),
        ],
    );
    plant(
        "stream-last:x",
        "last-id",
        &[to("XSETID stream-last:x 9-9")],
    );
    plant("missing:x", "", &[to("DEL missing:x")]);
    plant("type:x", "type", &[to("DEL type:x"), to("RPUSH type:x v")]);
    plant("extra", "extra", &[to("SET extra v")]);
    // Far more than the file lets us expect, in a string, in a field of a small hash, and in an element of a large list.
    let huge = noise(9, 5_000_000);
    let lengths: [(&str, Vec<&str>); 3] = [
        ("swollen-string:x", vec!["SET", "swollen-string:x"]),
        ("swollen-hash:x", vec!["HSET", "swollen-hash:x", "f2"]),
        ("swollen-list:x", vec!["LSET", "swollen-list:x", "2500"]),
    ];
    for (key, command) in lengths {
        expected.insert(key.to_owned(), "value");
        let mut command = words(command);
        command.push(huge.clone());
        all.push(command);
    }
    feed(server, &all);
    expected
}

fn all_near(server: &Server) {
    feed(
        server,
        &[line(&format!("PEXPIREAT near:x {}", FAR_MS + 500))],
    );
}

fn compare(file: &str, url: &str, rest: &[&str]) -> Ran {
    let mut args = vec!["compare", file, "--to", url, "--quiet"];
    args.extend(rest);
    run(args)
}

/// The keys that a list of differences names, each with what differs.
fn told(path: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(path).expect("a list of differences");
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        let key = line["key"].as_str().expect("a name").to_owned();
        let what = keys.entry(key).or_default();
        match line["outcome"].as_str().expect("an outcome") {
            "different" => what.extend(
                line["differences"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .map(|one| one["what"].as_str().expect("a name").to_owned()),
            ),
            "missing" => {}
            other => {
                what.insert(other.to_owned());
            }
        }
    }
    keys
}

/// Loads the file, compares, changes things, compares again: by all commands, and as a user without `DUMP`.
fn finds_what_was_planted(name: &'static str, file: &str, dir: &Dir) {
    let server = Server::start(name);
    let loaded = run(["load", file, "--to", &server.url(), "--quiet", "--json"]);
    let loaded = loaded.ends_with(0).json();
    let mut ways = vec![server.url()];
    let (product, major, _) = version_of(name);
    if major >= 6 {
        server.run("ACL SETUSER reader on >secret ~* +@all -dump");
        ways.push(server.url().replace("redis://", "redis://reader:secret@"));
    }
    let list = dir.path().join(format!("{name}.ndjson"));
    let list = list.to_str().expect("a path in UTF-8");
    // The load knows them from the file alone.
    assert!(loaded["digests"].is_object(), "{loaded}");
    let mut digests = BTreeSet::from([loaded["digests"].to_string()]);
    for url in &ways {
        let same = compare(file, url, &["--extra", "--json", "--differences", list]);
        let json = same.ends_with(0).json();
        assert_eq!(
            json["entries"],
            json["outcomes"]["same"].as_u64().unwrap_or(0)
                + json["outcomes"]["same_but_bookkeeping"]
                    .as_u64()
                    .unwrap_or(0),
            "{name} {url}: {json}"
        );
        assert_eq!(told(list), BTreeMap::new());
        // The file's, whatever the server and the way.
        assert_eq!(json["digests"], json["destination_digests"], "{json}");
        assert_eq!(json["digests"]["keys"], json["entries"], "{json}");
        digests.insert(json["digests"].to_string());
        assert_eq!(digests.len(), 1, "{digests:?}");
        assert_eq!(json["adds_up"], true);
    }
    let mut expected = plant(&server);
    // From Redis 7.4 and Valkey 9 on.
    let knows_field_ttls = major >= if product == "valkey" { 9 } else { 8 };
    assert_eq!(field_ttl(&server).is_ok(), knows_field_ttls, "{name}");
    if knows_field_ttls {
        expected.insert("hash:y".to_owned(), "field-expiry");
    }
    for url in &ways {
        let ran = compare(
            file,
            url,
            &[
                "--extra",
                "--json",
                "--differences",
                list,
                "--connections",
                "2",
            ],
        );
        let json = ran.ends_with(1).json();
        assert_eq!(json["adds_up"], true, "{json}");
        assert_eq!(json["extra"], 1, "{json}");
        assert!(digests.contains(&json["digests"].to_string()), "{json}");
        assert!(json["destination_digests"].is_null(), "{json}");
        let found = told(list);
        for (key, what) in &expected {
            let whats = found.get(key);
            let hit = whats
                .is_some_and(|whats| what.is_empty() && whats.is_empty() || whats.contains(*what));
            assert!(
                hit,
                "{name} {url}: {key} should differ in {what:?}, told: {whats:?}"
            );
        }
        let others: Vec<_> = found
            .keys()
            .filter(|key| !expected.contains_key(*key))
            .collect();
        assert!(
            others.is_empty(),
            "{name} {url}: nobody changed {others:?}: {found:?}"
        );
    }
}

fn field_ttl(server: &Server) -> redis::RedisResult<()> {
    redis::cmd("HPEXPIREAT")
        .arg("hash:y")
        .arg(FAR_MS)
        .arg(&["FIELDS", "1", "f1"])
        .exec(&mut server.connect())
}

/// The file of a server that was filled.
fn saved(server: &Server, dir: &Dir) -> String {
    fill(server);
    server.run("SAVE");
    let bytes = std::fs::read(server.dir().join("dump.rdb")).expect("a dump");
    dir.file("dump.rdb", bytes)
}

#[test]
fn each_planted_difference_is_found_and_nothing_else() {
    let dir = Dir::new();
    let source = Server::start("redis-6.2");
    let file = saved(&source, &dir);
    drop(source);
    for name in [
        "redis-5.0",
        "redis-6.2",
        "redis-7.0",
        "redis-8.10",
        "valkey-8.1",
        "valkey-9.0",
    ] {
        finds_what_was_planted(name, &file, &dir);
    }
}

#[test]
fn newer_encodings_are_compared_as_well() {
    let dir = Dir::new();
    let source = Server::start("redis-8.2");
    let file = saved(&source, &dir);
    drop(source);
    for name in ["redis-8.2", "redis-8.10"] {
        finds_what_was_planted(name, &file, &dir);
    }
}

/// Idle times stay where the server can; elsewhere the user is asked.
#[test]
fn reading_is_no_access() {
    let dir = Dir::new();
    for (name, untouched) in [
        ("redis-8.0", true),
        ("valkey-8.1", true),
        ("redis-7.0", false),
    ] {
        let server = Server::start(name);
        feed(
            &server,
            &[
                line("SET string v"),
                line("RPUSH list a b"),
                words([b"SET".to_vec(), b"long".to_vec(), noise(3, 400_000)]),
            ],
        );
        // What a server keeps: seconds, in the file only with a policy that needs them.
        server.run("CONFIG SET maxmemory-policy allkeys-lru");
        server.run("SAVE");
        let file = dir.file(
            "idle.rdb",
            std::fs::read(server.dir().join("dump.rdb")).expect("a dump"),
        );
        let dumps = |key: &str| -> Vec<u8> {
            redis::cmd("DUMP")
                .arg(key)
                .query(&mut server.connect())
                .expect("DUMP")
        };
        for key in ["string", "list", "long"] {
            let payload = dumps(key);
            redis::cmd("RESTORE")
                .arg(key)
                .arg(0)
                .arg(payload)
                .arg(&["REPLACE", "IDLETIME", "5000"])
                .exec(&mut server.connect())
                .expect("RESTORE");
        }
        let ran = compare(&file, &server.url(), &[]);
        if untouched {
            ran.ends_with(0);
        } else {
            ran.ends_with(2);
            assert!(ran.stderr.contains("--touch"), "{ran:?}");
        }
        for key in ["string", "list", "long"] {
            let redis::Value::Int(idle) = server.run(&format!("OBJECT IDLETIME {key}")) else {
                panic!("{name}: no idle time of {key}");
            };
            assert!(idle >= 5000, "{name}: {key} was idle for {idle} s only");
        }
        compare(&file, &server.url(), &["--touch"]).ends_with(0);
    }
}

/// Keys whose time comes are no difference; keys that are mapped are looked for where they went.
#[test]
fn expired_dropped_mapped_and_sampled_keys() {
    let dir = Dir::new();
    let soon = now_ms() + 1500;
    let mut dump = Dump::redis(6).select_db(0).string_key("stays", "v");
    for i in 0..200 {
        dump = dump.string_key(format!("k{i}"), format!("v{i}"));
    }
    let dump = dump
        .expire_ms(soon)
        .string_key("soon", "v")
        .expire_ms(1000)
        .string_key("past", "v");
    let file = dir.file("dump.rdb", dump.finish(super::support::dump::Crc::Right));
    let server = Server::start("redis-7.0");
    let journal = dir.path().join("load.journal").display().to_string();
    run([
        "load",
        &file,
        "--to",
        &server.url(),
        "--quiet",
        "--map-db",
        "0:3",
        "--journal",
        &journal,
    ])
    .ends_with(0);
    while now_ms() < soon + 50 {
        thread::sleep(Duration::from_millis(50));
    }
    // By an instant before, by one behind the expiry, and by the load's own, which its journal knows.
    let (before, behind) = ((soon - 1000).to_string(), (soon + 10).to_string());
    for (rest, expired, meanwhile) in [
        (vec!["--now", &before], 1, 1),
        (vec!["--now", &behind], 2, 0),
        (vec!["--journal", &journal], 1, 1),
    ] {
        let mut args = vec!["--map-db", "0:3", "--json", "--extra"];
        args.extend(rest);
        let ran = compare(&file, &server.url(), &args);
        let outcomes = &ran.ends_with(0).json()["outcomes"];
        assert_eq!(outcomes["same"], 201, "{outcomes}");
        assert_eq!(outcomes["expired_meanwhile"], meanwhile, "{outcomes}");
        assert_eq!(outcomes["expired"], expired, "{outcomes}");
    }
    // In the database that they did not go to.
    let ran = compare(&file, &server.url(), &["--json", "--extra"]);
    let json = ran.ends_with(1).json();
    assert_eq!(
        (&json["outcomes"]["missing"], &json["extra"]),
        (&201.into(), &201.into()),
        "{json}"
    );
    assert!(
        ran.stderr
            .contains("and 302 more keys; --differences FILE writes them all"),
        "{}",
        ran.stderr
    );
    let ran = compare(
        &file,
        &server.url(),
        &["--map-db", "0:3", "--json", "--sample", "50"],
    );
    let json = ran.ends_with(0).json();
    let (compared, left) = (
        json["sample"]["compared"].as_u64().expect("a number"),
        json["outcomes"]["not_sampled"].as_u64().expect("a number"),
    );
    assert!(
        (50..150).contains(&compared) && compared + left == 201,
        "{json}"
    );
    assert!(
        json["sample"]["differ_at_most"].as_u64().expect("a number") <= 13,
        "{json}"
    );
    let ran = compare(
        &file,
        &server.url(),
        &["--map-db", "0:3", "--match", "k1*", "--json"],
    );
    assert_eq!(ran.ends_with(0).json()["outcomes"]["same"], 111);
}

/// Expiries that were counted from the load's instant are known by its journal, to the tolerance; one of another load says
/// nothing.
#[test]
fn a_comparison_takes_the_instant_from_the_journal() {
    let dir = Dir::new();
    let dump = |value: &str| {
        Dump::redis(6)
            .select_db(0)
            .expire_ms(1000)
            .string_key("past", value)
            .expire_ms(1000)
            .string_key("other", "v")
            .finish(super::support::dump::Crc::Right)
    };
    let file = dir.file("dump.rdb", dump("v"));
    let journal = dir.path().join("load.journal").display().to_string();
    let server = Server::start("redis-7.0");
    let url = server.url();
    let load = ["load", &file, "--to", &url, "--expired", "ttl=100"];
    run(load.into_iter().chain(["--journal", &journal])).ends_with(0);
    thread::sleep(Duration::from_millis(2500));
    let named = ["--json", "--expired", "ttl=100", "--journal", &journal];
    let ran = compare(&file, &url, &named);
    assert_eq!(ran.ends_with(0).json()["outcomes"]["same"], 2, "{ran:?}");
    // Five seconds too early: without the instant that is an expiry which a load may have set.
    server.run("EXPIRE past 92");
    let ran = compare(&file, &url, &["--json", "--expired", "ttl=100"]);
    assert_eq!(ran.ends_with(0).json()["outcomes"]["same"], 2, "{ran:?}");
    let ran = compare(&file, &url, &named);
    let found = ran.ends_with(1).json();
    assert_eq!(found["outcomes"]["different"], 1, "{ran:?}");
    assert_eq!(found["outcomes"]["same"], 1, "{ran:?}");
    // Found without being named.
    server.run("DEL past other");
    let beside = |args: &[&str]| {
        let mut program = program();
        run_with(program.env_remove("RDBRIDGE_JOURNAL_DIR").args(args), b"")
    };
    beside(&load).ends_with(0);
    thread::sleep(Duration::from_millis(1500));
    server.run("EXPIRE past 92");
    let unnamed = [
        "compare",
        &file,
        "--to",
        &url,
        "--json",
        "--expired",
        "ttl=100",
    ];
    let ran = beside(&unnamed);
    let found = ran.ends_with(1).json();
    assert_eq!(found["outcomes"]["different"], 1, "{ran:?}");
    assert!(ran.stderr.contains("says its journal"), "{ran:?}");
    // Of another dump under the same name: not meant, and refused where it is.
    dir.file("dump.rdb", dump("w"));
    let ran = beside(&unnamed);
    assert_eq!(ran.ends_with(1).json()["outcomes"]["same"], 1, "{ran:?}");
    assert!(!ran.stderr.contains("says its journal"), "{ran:?}");
    let ran = compare(&file, &url, &named);
    ran.ends_with(2);
    assert!(ran.stderr.contains("is of another load"), "{ran:?}");
}

/// As long as it is to be tried, a destination that is away is asked again; not at all where that is not wanted.
#[test]
fn a_destination_that_is_away_is_asked_again_for_as_long_as_said() {
    let (dir, server) = (Dir::new(), Server::start("redis-7.0"));
    feed(&server, &[line("SET a 1"), line("SET b 2")]);
    let file = saved(&server, &dir);
    let away = || Proxy::sequence(server.port(), On::Data, vec![Fault::CutReplies(1); 5]);
    let ran = compare(&file, &away().url(), &["--json"]);
    let entries = ran.ends_with(0).json()["entries"].clone();
    assert_eq!(ran.json()["outcomes"]["same"], entries, "{ran:?}");
    for time in ["0", "1s"] {
        let begun = std::time::Instant::now();
        let ran = compare(&file, &away().url(), &["--json", "--retry-for", time]);
        let found = ran.ends_with(4).json();
        assert_eq!(found["outcomes"]["not_reached"], entries, "{ran:?}");
        assert_eq!(found["adds_up"], true, "{ran:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{ran:?}");
    }
}

/// What differs is read again: a replica that follows, a key that is written meanwhile.
#[test]
fn differing_keys_are_read_again() {
    let dir = Dir::new();
    let dump = Dump::redis(6)
        .select_db(0)
        .string_key("late", "v")
        .string_key("other", "v");
    let file = dir.file("dump.rdb", dump.finish(super::support::dump::Crc::Right));
    let server = Server::start("valkey-8.1");
    server.run("SET other w");
    let url = server.url();
    let ran = thread::scope(|scope| {
        let ran = scope.spawn(|| compare(&file, &url, &["--rounds", "3", "--json"]));
        thread::sleep(Duration::from_millis(700));
        server.run("SET late v");
        ran.join().expect("it ran")
    });
    let json = ran.ends_with(1).json();
    assert_eq!(
        (&json["outcomes"]["same"], &json["outcomes"]["different"]),
        (&1.into(), &1.into()),
        "{json}"
    );
    assert!(json["read_again"].as_u64() >= Some(3), "{json}");
}

/// Whatever answers: words, soon, and no key is called the same.
#[test]
fn odd_answers_end_in_words() {
    let dir = Dir::new();
    let dump = Dump::redis(6)
        .select_db(0)
        .string_key("a", "v")
        .string_key("b", "v");
    let file = dir.file("dump.rdb", dump.finish(super::support::dump::Crc::Right));
    let answers: [&[u8]; 8] = [
        b"+OK\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"$5\r\nab",
        b"*9223372036854775807\r\n",
        b"-ERR no\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ];
    thread::scope(|scope| {
        for answer in answers {
            let file = &file;
            scope.spawn(move || {
                let port = always(answer);
                let url = format!("redis://127.0.0.1:{port}");
                let ran = compare(file, &url, &["--io-timeout", "1", "--json"]);
                assert!([1, 4].contains(&ran.code), "{ran:?}");
                if ran.code == 4 {
                    assert!(ran.stderr.contains("rdbridge: "), "{ran:?}");
                } else {
                    let json = ran.json();
                    assert_eq!(json["outcomes"]["same"], 0, "{ran:?}");
                    assert_eq!(json["adds_up"], true, "{ran:?}");
                }
            });
        }
    });
}

/// A server that answers every command alike, for a while.
fn always(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            thread::spawn(move || {
                let mut held = Vec::new();
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = socket.read(&mut bytes) {
                    held.extend_from_slice(&bytes[..count]);
                    while let Some((_, length)) =
                        (!held.is_empty()).then(|| wire::command(&held)).flatten()
                    {
                        held.drain(..length);
                        if socket.write_all(answer).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    port
}

/// Reading again harms nobody: whatever happens to two connections, the third one comes to the end, and no verdict is made
/// from replies that were lost, doubled or put in another's place.
#[test]
fn what_a_broken_connection_left_open_is_asked_again() {
    let dir = Dir::new();
    let server = Server::start("redis-7.0");
    let many: Vec<_> = (0..4000)
        .map(|i| line(&format!("SET many:{i} value-{i}")))
        .collect();
    feed(&server, &many);
    let file = saved(&server, &dir);
    let whole = Proxy::start(server.port(), On::Data, Fault::None);
    let json = compare(&file, &whole.url(), &["--json"])
        .ends_with(0)
        .json();
    let entries = json["entries"].as_u64().expect("a number");
    let total =
        |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::SeqCst);
    let (commands, bytes, replies) = (
        total(&whole.traffic.commands),
        total(&whole.traffic.replies),
        total(&whole.traffic.reply_count),
    );
    assert!(
        replies > 2 * entries,
        "{replies} replies for {entries} keys"
    );
    let mut fired = 0;
    for part in [1, 3] {
        let at = |all: u64| all * part / 4;
        for fault in [
            Fault::CutCommands(at(commands)),
            Fault::CutReplies(at(bytes)),
            Fault::Drop(at(replies)),
            Fault::Double(at(replies)),
            Fault::Instead(at(replies), b"+OK\r\n".to_vec()),
        ] {
            let proxy =
                Proxy::sequence(server.port(), On::Data, vec![fault.clone(), fault.clone()]);
            // A reply that never comes may be the only one that is due.
            let ran = compare(&file, &proxy.url(), &["--json", "--io-timeout", "3"]);
            let json = ran.ends_with(0).json();
            assert_eq!(json["outcomes"]["same"], entries, "{fault:?}: {ran:?}");
            assert_eq!(json["adds_up"], true, "{fault:?}: {ran:?}");
            fired += usize::from(proxy.fired() > 0);
        }
    }
    // Without end: words, and what is not known is counted so.
    assert!(fired >= 9, "only {fired} of 10 faults happened");
    let proxy = Proxy::sequence(
        server.port(),
        On::Data,
        vec![Fault::CutReplies(bytes / 8); 20],
    );
    // A reply that never comes may be the only one that is due.
    let ran = compare(&file, &proxy.url(), &["--json", "--io-timeout", "3"]);
    let json = ran.json();
    assert!([0, 4].contains(&ran.code), "{ran:?}");
    assert_eq!(json["adds_up"], true, "{json}");
}

/// Expiries of fields that are lost or shifted, in small hashes and in one that is not read by `DUMP`, within one product and
/// from one to another; and an expiry that a key lost.
#[test]
fn lost_and_shifted_expiries_of_fields_are_found() {
    let dir = Dir::new();
    let source = Server::start("redis-8.0");
    let mut filled = Vec::new();
    for name in ["lost", "shifted", "kept"] {
        for (size, fields) in [("small", 3), ("large", 20_000)] {
            let key = format!("{size}:{name}");
            let mut command = vec![b"HSET".to_vec(), key.clone().into_bytes()];
            for field in 0..fields {
                command.push(format!("f{field}").into_bytes());
                command.push(format!("value {field}").into_bytes());
            }
            filled.push(command);
            filled.push(line(&format!("HPEXPIREAT {key} {FAR_MS} FIELDS 2 f1 f2")));
        }
    }
    filled.push(line(&format!("SET persisted v PXAT {FAR_MS}")));
    feed(&source, &filled);
    source.run("SAVE");
    let bytes = std::fs::read(source.dir().join("dump.rdb")).expect("a dump");
    let file = dir.file("dump.rdb", bytes);
    for name in ["redis-8.0", "valkey-9.0"] {
        let server = Server::start(name);
        let url = server.url();
        run(["load", &file, "--to", &url, "--quiet"]).ends_with(0);
        compare(&file, &url, &["--extra"]).ends_with(0);
        let shifted = FAR_MS + 5000;
        for size in ["small", "large"] {
            for planted in [
                format!("HPERSIST {size}:lost FIELDS 1 f1"),
                format!("HPEXPIREAT {size}:shifted {shifted} FIELDS 1 f2"),
            ] {
                let done = server.run(&planted);
                assert_eq!(done, Value::Array(vec![Value::Int(1)]), "{name} {planted}");
            }
        }
        assert_eq!(server.run("PERSIST persisted"), Value::Int(1), "{name}");
        let list = dir.path().join(format!("{name}.ndjson"));
        let list = list.to_str().expect("a path in UTF-8");
        compare(&file, &url, &["--extra", "--differences", list]).ends_with(1);
        let field = BTreeSet::from(["field-expiry".to_owned()]);
        let mut expected: BTreeMap<String, BTreeSet<String>> =
            ["small:lost", "small:shifted", "large:lost", "large:shifted"]
                .into_iter()
                .map(|key| (key.to_owned(), field.clone()))
                .collect();
        expected.insert(
            "persisted".to_owned(),
            BTreeSet::from(["expiry".to_owned()]),
        );
        assert_eq!(told(list), expected, "{name}");
    }
}
