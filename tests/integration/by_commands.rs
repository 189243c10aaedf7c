//! Values by plain write commands: where `RESTORE` is closed, over what the destination takes in one argument, and where one
//! `RESTORE` would hold it for too long. They arrive equal, whole or not at all, and nothing half-built stays behind.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdbridge::outcome::{Outcome, Road};
use rdbridge::verbs::load::OnConflict;
use redis::Value;

use super::cluster;
use super::memory::dumps;
use super::plan;
use super::support::cluster::{Cluster, ask};
use super::support::command::{Dir, journal_dir, program, program_to_signal, run_with};
use super::support::contents::{differs_in_meaning, read};
use super::support::dump::{Crc, Dump, length, string};
use super::support::gate::Gate;
use super::support::loading::{Loaded, load, now_ms, options};
use super::support::proxy::{Fault, On, Proxy};
use super::support::random::Random;
use super::support::samples;
use super::support::say_aloud;
use super::support::server::Server;
use super::support::wire::Client;

const SERVERS: [&str; 5] = [
    "redis-6.0",
    "redis-6.2",
    "redis-7.0",
    "redis-8.10",
    "valkey-9.0",
];

const BY_COMMANDS: Outcome = Outcome::Restored(Road::Commands);

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Names that have to do with us.
fn staging(server: &Server) -> Vec<Value> {
    let mut client = Client::connect(server.port());
    match client.ask(&[words(&["KEYS", "*~rdbridge~*"])]).remove(0) {
        Value::Array(names) => names,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn nothing_is_left(server: &Server, case: &str) {
    let left = staging(server);
    assert!(left.is_empty(), "{case}: {left:?}");
}

/// Digits that do not repeat, so that no server compresses them.
fn digits(random: &mut Random, bytes: usize) -> String {
    (0..bytes.div_ceil(16))
        .map(|_| format!("{:016x}", random.number()))
        .collect()
}

#[test]
fn a_user_without_the_right_to_restore_gets_everything_that_commands_carry() {
    let samples = samples::all();
    for name in SERVERS {
        let server = Server::start(name);
        server.run("ACL SETUSER u on >p ~* +@all -restore");
        let url = format!("redis://u:p@127.0.0.1:{}", server.port());
        let (mut files, mut keys) = (0, 0);
        for sample in &samples {
            if sample.home.as_deref() != Some(name) {
                continue;
            }
            let case = format!("{} into {name}", sample.name);
            server.run("FLUSHALL");
            let mut options = options();
            options.verify = true;
            let loaded =
                load(&url, &sample.data, options).unwrap_or_else(|e| panic!("{case}: {e}"));
            assert_eq!(loaded.stopped(), "", "{case}");
            let refused = loaded.listed(Outcome::Refused);
            assert!(
                refused
                    .iter()
                    .all(|event| event.reason.contains("module-value")),
                "{case}: {refused:?}"
            );
            assert_eq!(loaded.restored(), loaded.count(BY_COMMANDS), "{case}");
            assert_eq!(
                loaded.count(Outcome::ReadBackDifferent) + loaded.count(Outcome::Failed),
                0,
                "{case}: {:?}",
                loaded.events
            );
            let verified = loaded.report.verified.expect("it was wanted");
            assert_eq!(verified.same, loaded.count(BY_COMMANDS), "{case}");
            assert_eq!(verified.not_comparable, 0, "{case}");
            nothing_is_left(&server, &case);
            // Read by another reader than ours: what its own server makes of the file.
            let home = Server::setup(name).with_rdb(&sample.path).start();
            let (theirs, ours) = (read(&home), read(&server));
            for (id, value) in &theirs.keys {
                let Some(held) = ours.keys.get(id) else {
                    let found = refused.iter().any(|event| event.key == id.1);
                    // Its time can have come meanwhile.
                    assert!(
                        found || value.expires.is_some(),
                        "{case}: {id:?} is missing"
                    );
                    continue;
                };
                assert_eq!(
                    differs_in_meaning(value, held, 2000),
                    None,
                    "{case}: {id:?}"
                );
            }
            (files, keys) = (files + 1, keys + loaded.count(BY_COMMANDS));
        }
        assert!(
            files >= 12 && keys > 300,
            "{name}: {files} files, {keys} keys"
        );
    }
}

/// One value of each type, each with a payload of more than 1 MiB, and some small ones.
fn large() -> Vec<u8> {
    let server = Server::setup("redis-6.2")
        .with("rdbcompression", ["no"])
        .start();
    let mut client = Client::connect(server.port());
    let mut random = Random::new(11, "large", 0);
    let mut commands = Vec::new();
    for i in 0..24_000u32 {
        let text = digits(&mut random, 48);
        let number = i.to_string();
        commands.push(words(&["RPUSH", "list", &text]));
        commands.push(words(&["SADD", "set", &text]));
        commands.push(words(&["ZADD", "zset", &format!("{number}.5"), &text]));
        commands.push(words(&["HSET", "hash", &number, &text]));
        commands.push(words(&[
            "XADD",
            "stream",
            &format!("{}-1", i + 1),
            "field",
            &text,
        ]));
    }
    commands.push(words(&["XGROUP", "CREATE", "stream", "group", "0"]));
    commands.push(words(&[
        "XREADGROUP",
        "GROUP",
        "group",
        "one",
        "COUNT",
        "300",
        "STREAMS",
        "stream",
        ">",
    ]));
    for key in ["list", "set", "zset", "hash", "stream"] {
        commands.push(words(&["PEXPIREAT", key, "4000000000000"]));
    }
    commands.push(words(&["RPUSH", "small", "a", "b"]));
    commands.push(words(&["SET", "text", &digits(&mut random, 900_000)]));
    commands.push(words(&["SAVE"]));
    client.ask(&commands);
    std::fs::read(server.dir().join("dump.rdb")).expect("a dump")
}

/// The destination's values, by which it is known what was touched.
fn lengths(server: &Server) -> Vec<Value> {
    Client::connect(server.port()).ask(&[
        words(&["LLEN", "list"]),
        words(&["SCARD", "set"]),
        words(&["ZCARD", "zset"]),
        words(&["HLEN", "hash"]),
        words(&["XLEN", "stream"]),
    ])
}

fn all_are(n: i64) -> Vec<Value> {
    vec![Value::Int(n); 5]
}

#[test]
fn values_over_the_limit_go_by_commands_under_every_policy() {
    let data = large();
    for name in SERVERS {
        let server = Server::setup(name)
            .with("proto-max-bulk-len", ["1048576"])
            .start();
        for on_conflict in [
            OnConflict::Fail,
            OnConflict::Skip,
            OnConflict::Replace,
            OnConflict::Same,
        ] {
            for there in [false, true] {
                let case = format!("{name}, {on_conflict:?}, there: {there}");
                server.run("FLUSHALL");
                if there {
                    server.run("RPUSH list old");
                    server.run("SADD set old");
                    server.run("ZADD zset 1 old");
                    server.run("HSET hash old 1");
                    server.run("XADD stream 1-1 old 1");
                }
                let mut options = options();
                options.on_conflict = on_conflict;
                options.verify = true;
                let loaded =
                    load(&server.url(), &data, options).unwrap_or_else(|e| panic!("{case}: {e}"));
                assert_eq!(loaded.stopped(), "", "{case}");
                assert_eq!(loaded.restored_raw(), 2, "{case}: {:?}", loaded.events);
                let (outcome, holds) = match (there, on_conflict) {
                    (false, _) | (_, OnConflict::Replace) => (BY_COMMANDS, 24_000),
                    (true, OnConflict::Skip) => (Outcome::Existing, 1),
                    (true, _) => (Outcome::Conflict, 1),
                };
                assert_eq!(loaded.count(outcome), 5, "{case}: {:?}", loaded.events);
                assert_eq!(lengths(&server), all_are(holds), "{case}");
                let verified = loaded.report.verified.expect("it was wanted");
                let stored = loaded.count(BY_COMMANDS) + 2;
                assert_eq!(
                    (verified.same, verified.not_comparable),
                    (stored, 0),
                    "{case}"
                );
                if holds > 1 {
                    let ttl = Client::connect(server.port()).ask(&[words(&["PTTL", "zset"])]);
                    let Value::Int(ttl) = ttl[0] else {
                        panic!("{ttl:?}")
                    };
                    assert!((now_ms() + ttl - 4_000_000_000_000).abs() < 5000, "{case}");
                }
                nothing_is_left(&server, &case);
            }
        }
        // What is there and equal is not touched.
        let mut options = options();
        options.on_conflict = OnConflict::Same;
        server.run("FLUSHALL");
        load(&server.url(), &data, options.clone()).expect("begins");
        let changes = server.info("rdb_changes_since_last_save");
        let again = load(&server.url(), &data, options).expect("begins");
        assert_eq!(
            again.count(Outcome::AlreadyThere),
            7,
            "{name}: {:?}",
            again.events
        );
        assert_eq!(
            server.info("rdb_changes_since_last_save"),
            changes,
            "{name}"
        );
    }
}

#[test]
fn a_string_or_an_element_that_no_command_carries_is_refused_by_name() {
    let mut random = Random::new(11, "long", 0);
    let long = digits(&mut random, 1_100_000);
    let fits = digits(&mut random, 1_048_576);
    let data = Dump::redis(9)
        .select_db(0)
        .string_key("long", &long)
        .string_key("fits", &fits)
        .key(1, "list", [length(2), string("a"), string(&long)].concat())
        .finish(Crc::Right);
    for name in ["redis-7.0", "valkey-9.0"] {
        let server = Server::setup(name)
            .with("proto-max-bulk-len", ["1048576"])
            .start();
        let loaded = load(&server.url(), &data, options()).expect("begins");
        let refused = loaded.listed(Outcome::Refused);
        let names: Vec<&[u8]> = refused.iter().map(|event| event.key.as_slice()).collect();
        assert_eq!(names, [b"long".as_slice(), b"list"], "{name}");
        for event in refused {
            assert!(
                event.reason.contains("1100000 bytes")
                    && event.reason.contains("proto-max-bulk-len"),
                "{name}: {event:?}"
            );
        }
        // Its payload is over the limit, and it is not.
        assert_eq!(loaded.count(BY_COMMANDS), 1, "{name}: {:?}", loaded.events);
        assert_eq!(server.run("STRLEN fits"), Value::Int(1_048_576), "{name}");
        assert_eq!(server.run("DBSIZE"), Value::Int(1), "{name}");
        server.run("CONFIG SET proto-max-bulk-len 2097152");
        let loaded = load(&server.url(), &data, options()).expect("begins");
        assert_eq!(loaded.restored_raw(), 2, "{name}: {:?}", loaded.events);
    }
}

/// A value and a command have limits of their own.
#[test]
fn a_string_over_the_limit_of_a_command_goes_in_parts() {
    let mut random = Random::new(19, "parts", 0);
    let noise: Vec<u8> = (0..2 << 20)
        .flat_map(|_| random.number().to_le_bytes())
        .collect();
    let fits = &noise[..7 << 20];
    let half: Vec<u8> = noise
        .chunks(12)
        .flat_map(|chunk| [chunk, &[b'-'; 12]].concat())
        .collect();
    let mut packed = Vec::new();
    rdbridge::wire::Str::write(&mut packed, &half, true);
    assert!(packed.len() > 8 << 20 && packed.len() < half.len());
    let data = Dump::redis(9)
        .select_db(0)
        .expire_ms(4_000_000_000_000)
        .string_key("noise", &noise)
        .string_key("fits", fits)
        .key(0, "packed", packed)
        .finish(Crc::Right);
    let server = Server::setup("redis-7.0")
        .with("proto-max-bulk-len", ["64mb"])
        .with("client-query-buffer-limit", ["8mb"])
        .start();
    let text = |key: &str| {
        let get = vec![b"GET".to_vec(), key.as_bytes().to_vec()];
        match Client::connect(server.port()).ask(&[get]).remove(0) {
            Value::BulkString(text) => text,
            other => panic!("{key}: {other:?}"),
        }
    };
    for on_conflict in [OnConflict::Fail, OnConflict::Replace] {
        let mut options = options();
        options.on_conflict = on_conflict;
        options.verify = true;
        if on_conflict == OnConflict::Replace {
            server.run("SET noise old");
        }
        let now = options.policies.now_ms;
        let planned = plan::plan(&server.url(), &data, now).expect("a plan");
        let loaded = load(&server.url(), &data, options).expect("begins");
        let case = format!("{on_conflict:?}: {:?} {}", loaded.events, loaded.stopped());
        assert_eq!(loaded.count(BY_COMMANDS), 2, "{case}");
        assert_eq!(loaded.restored_raw(), 1, "{case}");
        assert_eq!(plan::differs(&planned, &loaded), Vec::<String>::new());
        assert!(text("noise") == noise && text("packed") == half && text("fits") == fits);
        assert_eq!(
            server.run("PEXPIRETIME noise"),
            Value::Int(4_000_000_000_000)
        );
        nothing_is_left(&server, &case);
    }
    // What exists is found out before anything is built.
    let again = load(&server.url(), &data, options()).expect("begins");
    assert_eq!(again.count(Outcome::Conflict), 3, "{:?}", again.events);
}

/// Over what one command may have where the owner raised the limit of a value alone, and over every limit where not.
#[test]
fn strings_of_one_and_a_half_gigabytes() {
    if std::env::var_os("RDBRIDGE_LONG").is_none() {
        say_aloud("by commands: strings of 1.5 GB are loaded with RDBRIDGE_LONG=1 only");
        return;
    }
    const BYTES: usize = 1_500_000_000;
    let dir = Dir::new();
    let random = dumps::random_string(dir.path(), "random.rdb", BYTES);
    let text = dumps::compressed_string(dir.path(), BYTES as u64);
    let server = Server::start("redis-7.0");
    let ask = |verb: &str, file: &std::path::Path| {
        let mut command = program();
        command.arg(verb).arg(file);
        command.args(["--to", &server.url(), "--json", "--on-conflict", "replace"]);
        run_with(&mut command, b"")
    };
    // What a load does is what a plan has said before, with the same exit code.
    let load = |file: &std::path::Path| {
        let planned = ask("plan", file);
        let ran = ask("load", file);
        assert_eq!(planned.code, ran.code, "{planned:?} {ran:?}");
        let (said, done) = (planned.json(), ran.json());
        for (road, outcome) in [
            ("raw", "restored_raw"),
            ("by_commands", "restored_commands"),
            ("refused", "refused"),
        ] {
            assert_eq!(
                said["servers"][0][road]["keys"].as_u64(),
                done["outcomes"][outcome].as_u64().or(Some(0)),
                "{road}: {said} {done}"
            );
        }
        ran
    };
    let ran = load(&text);
    assert_eq!(ran.ends_with(0).json()["outcomes"]["restored_raw"], 1);
    let Value::Int(length) = server.run("STRLEN big") else {
        panic!("a number")
    };
    assert!(length > 1_400_000_000, "{length}");
    server.run("FLUSHALL");
    let ran = load(&random);
    assert_eq!(ran.ends_with(1).json()["outcomes"]["refused"], 1);
    assert!(ran.stderr.contains("raise proto-max-bulk-len"), "{ran:?}");
    server.run("CONFIG SET proto-max-bulk-len 2gb");
    let since = Instant::now();
    let ran = load(&random);
    assert_eq!(ran.ends_with(0).json()["outcomes"]["restored_commands"], 1);
    say_aloud(&format!(
        "by commands: a string of 1.5 GB took {:.1} s",
        since.elapsed().as_secs_f64()
    ));
    assert_eq!(server.run("STRLEN big"), Value::Int(BYTES as i64));
    let file = std::fs::read(&random).expect("a dump");
    let at = |from: usize| {
        let range = [from, from + 99].map(|at| at.to_string());
        server.run(&format!("GETRANGE big {} {}", range[0], range[1]))
    };
    for from in [0, 524_200, 777_777_777, BYTES - 100] {
        let Value::BulkString(part) = at(from) else {
            panic!("a text")
        };
        // Behind it stand a small key, the end of the file and its checksum.
        let begin = file.len() - 19 - BYTES + from;
        assert!(part == file[begin..begin + 100], "{from}");
    }
    nothing_is_left(&server, "1.5 GB");
}

#[test]
fn readers_see_the_whole_value_or_none() {
    let data = large();
    let server = Server::setup("redis-7.0")
        .with("proto-max-bulk-len", ["1048576"])
        .start();
    for replace in [false, true] {
        server.run("FLUSHALL");
        if replace {
            server.run("RPUSH list old");
            server.run("SADD set old");
            server.run("ZADD zset 1 old");
            server.run("HSET hash old 1");
            server.run("XADD stream 1-1 old 1");
        }
        let before = i64::from(replace);
        let done = AtomicBool::new(false);
        let (looks, half_built) = thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let mut client = Client::connect(server.port());
                let (mut looks, mut half_built) = (0u64, 0u64);
                while !done.load(Ordering::SeqCst) {
                    let replies = client.ask(&[
                        words(&["LLEN", "list"]),
                        words(&["SCARD", "set"]),
                        words(&["ZCARD", "zset"]),
                        words(&["HLEN", "hash"]),
                        words(&["XLEN", "stream"]),
                        words(&["KEYS", "*~rdbridge~*"]),
                    ]);
                    for reply in &replies[..5] {
                        assert!(
                            [Value::Int(before), Value::Int(24_000)].contains(reply),
                            "{replies:?}"
                        );
                    }
                    half_built += u64::from(replies[5] != Value::Array(Vec::new()));
                    looks += 1;
                }
                (looks, half_built)
            });
            let mut options = options();
            if replace {
                options.on_conflict = OnConflict::Replace;
            }
            let loaded = load(&server.url(), &data, options).expect("begins");
            done.store(true, Ordering::SeqCst);
            assert_eq!(loaded.count(BY_COMMANDS), 5, "{:?}", loaded.events);
            looking.join().expect("no half value")
        });
        assert!(
            looks > 10 && half_built > 3,
            "{looks} looks, {half_built} at work"
        );
        assert_eq!(lengths(&server), all_are(24_000));
    }
}

/// A list of so many elements that it takes a while: five million with `RDBRIDGE_LONG=1`, which take a minute in a build for tests.
fn long() -> i64 {
    match std::env::var_os("RDBRIDGE_LONG") {
        Some(_) => 5_000_000,
        None => {
            say_aloud(
                "by commands: lists of a million elements; of five million with RDBRIDGE_LONG=1",
            );
            1_000_000
        }
    }
}

fn long_list(elements: i64) -> Vec<u8> {
    let body = (0..elements).fold(length(elements as u64), |mut body, i| {
        body.extend(string(format!("element {i}")));
        body
    });
    Dump::redis(9)
        .select_db(0)
        .string_key("first", "1")
        .expire_ms(4_000_000_000_000)
        .key(1, "list", body)
        .string_key("last", "1")
        .finish(Crc::Right)
}

fn wait_until(case: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < Duration::from_secs(60), "{case}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn killed_in_the_middle_of_a_long_list_and_started_again_nothing_is_left() {
    let server = Server::setup("redis-7.0")
        .with("proto-max-bulk-len", ["1048576"])
        .start();
    let dir = Dir::new();
    let elements = long();
    let file = dir.file("dump.rdb", long_list(elements));
    for signal in ["-KILL", "-INT"] {
        server.run("FLUSHALL");
        // Somebody else's, though it looks like ours.
        server.run("SET list~rdbridge~0123456789ab~1 precious");
        let journals = journal_dir();
        let command = |more: &[&str]| {
            let mut command = program_to_signal();
            command
                .env("RDBRIDGE_JOURNAL_DIR", &journals)
                .args(["load", &file, "--to", &server.url(), "--json"])
                .args(more);
            command
        };
        let planned = run_with(
            program().args(["plan", &file, "--to", &server.url(), "--json"]),
            b"",
        );
        let said = planned.ends_with(0).json();
        assert_eq!(said["servers"][0]["by_commands"]["keys"], 1, "{said}");
        assert_eq!(said["servers"][0]["raw"]["keys"], 2, "{said}");
        let mut child = command(&[])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        wait_until("a staging key with some elements", || {
            staging(&server).iter().any(|name| {
                let Value::BulkString(name) = name else {
                    panic!("{name:?}")
                };
                name.as_slice() != b"list~rdbridge~0123456789ab~1"
                    && matches!(
                        Client::connect(server.port()).ask(&[vec![b"LLEN".to_vec(), name.clone()]])
                            [0],
                        Value::Int(50_000..)
                    )
            })
        });
        let ended = std::process::Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(ended.expect("kill runs").success());
        child.wait().expect("it ends");
        assert_eq!(server.run("EXISTS list"), Value::Int(0), "{signal}");
        // One who can still clean up does.
        let left = if signal == "-KILL" { 2 } else { 1 };
        assert_eq!(staging(&server).len(), left, "{signal}");
        let ran = run_with(&mut command(&[]), b"");
        ran.ends_with(0);
        let told = ran.json();
        assert_eq!(told["outcomes"]["restored_commands"], 1, "{told}");
        assert_eq!(told["outcomes"]["restored_raw"], 2, "{told}");
        assert_eq!(server.run("LLEN list"), Value::Int(elements), "{signal}");
        assert_eq!(
            server.run("LINDEX list 777777"),
            Value::BulkString(b"element 777777".to_vec())
        );
        assert_eq!(
            server.run("PEXPIRETIME list"),
            Value::Int(4_000_000_000_000)
        );
        assert_eq!(server.run("DBSIZE"), Value::Int(4), "{signal}");
        assert_eq!(
            server.run("GET list~rdbridge~0123456789ab~1"),
            Value::BulkString(b"precious".to_vec())
        );
    }
}

/// Strings, hashes and lists, with and without expiries, some of which exist already; `RESTORE` has another name there.
#[test]
fn a_network_that_breaks_off_anywhere_changes_nothing() {
    const KEYS: usize = 1500;
    let server = Server::setup("redis-7.0")
        .with("rename-command", ["RESTORE", "hidden"])
        .start();
    let data = (0..KEYS)
        .fold(Dump::redis(9).select_db(0), |dump, i| {
            let dump = match i % 7 {
                0 => dump.expire_ms(4_000_000_000_000 + i as i64),
                _ => dump,
            };
            let pair = [length(2), string(format!("a{i}")), string("b")].concat();
            match i % 3 {
                0 => dump.string_key(format!("k{i}"), format!("value {i}")),
                1 => dump.key(1, format!("k{i}"), pair),
                _ => dump.key(2, format!("k{i}"), pair),
            }
        })
        .finish(Crc::Right);
    let dir = Dir::new();
    let file = dir.file("dump.rdb", &data);
    let prepare = || {
        let mut client = Client::connect(server.port());
        client.ask(&[words(&["FLUSHALL"])]);
        let old: Vec<_> = (0..KEYS)
            .step_by(10)
            .map(|i| words(&["SET", &format!("k{i}"), "old"]))
            .collect();
        client.ask(&old);
    };
    let holds = |replace: bool, case: &str| {
        let mut client = Client::connect(server.port());
        for i in 0..KEYS {
            let key = format!("k{i}");
            let get = match i % 3 {
                _ if i % 10 == 0 && !replace => ["GET", &key].to_vec(),
                0 => ["GET", &key].to_vec(),
                1 => ["LRANGE", &key, "0", "-1"].to_vec(),
                _ => ["SMEMBERS", &key].to_vec(),
            };
            let replies = client.ask(&[words(&get), words(&["PEXPIRETIME", &key])]);
            let text = |text: String| Value::BulkString(text.into_bytes());
            let mut value = replies[0].clone();
            if let Value::Array(items) = &mut value {
                items.sort_by_key(|item| *item == text("b".to_owned()));
            }
            let pair = Value::Array(vec![text(format!("a{i}")), text("b".to_owned())]);
            let old = i % 10 == 0 && !replace;
            let wanted = match i % 3 {
                _ if old => text("old".to_owned()),
                0 => text(format!("value {i}")),
                _ => pair,
            };
            assert_eq!(value, wanted, "{case}: {key}");
            let expires = match i % 7 {
                0 if !old => 4_000_000_000_000 + i as i64,
                _ => -1,
            };
            assert_eq!(replies[1], Value::Int(expires), "{case}: {key}");
        }
        assert_eq!(server.run("DBSIZE"), Value::Int(KEYS as i64), "{case}");
    };
    let load = |proxy: &Proxy, replace: bool| {
        let policy = if replace { "replace" } else { "skip" };
        let mut command = program();
        command
            .args(["load", &file, "--to", &proxy.url(), "--json"])
            .args(["--on-conflict", policy, "--retry-for", "30"]);
        run_with(&mut command, b"")
    };
    let mut traffic = (0, 0);
    for replace in [false, true] {
        prepare();
        let proxy = Proxy::start(server.port(), On::Data, Fault::None);
        load(&proxy, replace).ends_with(0);
        holds(replace, "undisturbed");
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::SeqCst);
        traffic = (read(&proxy.traffic.commands), read(&proxy.traffic.replies));
    }
    for n in 0..16u64 {
        let mut random = Random::new(13, "breaks", n);
        let replace = n % 2 == 1;
        let (commands, replies) = (
            traffic.0 / 20 + random.number() % (traffic.0 * 8 / 10),
            traffic.1 / 20 + random.number() % (traffic.1 * 8 / 10),
        );
        let fault = match n % 4 {
            0 | 1 => Fault::CutCommands(commands),
            _ => Fault::CutReplies(replies),
        };
        let case = format!("{fault:?}, replace: {replace}");
        prepare();
        let proxy = Proxy::sequence(server.port(), On::Data, vec![fault]);
        let ran = load(&proxy, replace);
        ran.ends_with(0);
        assert_eq!(proxy.fired(), 1, "{case}");
        holds(replace, &case);
        let told = ran.json();
        assert_eq!(told["adds_up"], true, "{case}");
        let outcome = |name: &str| told["outcomes"][name].as_u64().expect("a count");
        assert_eq!(
            outcome("restored_commands") + outcome("existing"),
            KEYS as u64,
            "{case}: {told}"
        );
    }
}

#[test]
fn a_value_that_would_hold_the_destination_goes_by_commands() {
    let data = large();
    let server = Server::start("redis-7.0");
    let by_commands = |max_stall: Option<u64>| -> Loaded {
        let mut options = options();
        options.max_stall = max_stall.map(Duration::from_millis);
        load(&server.url(), &data, options).expect("begins")
    };
    // By the first figures: a sorted set takes 47 ms, a hash, a stream and a set 18 to 25, a list 12.
    for (max_stall, keys) in [
        (None, 0),
        (Some(1000), 0),
        (Some(35), 1),
        (Some(15), 4),
        (Some(0), 5),
    ] {
        server.run("FLUSHALL");
        let loaded = by_commands(max_stall);
        assert_eq!(loaded.count(BY_COMMANDS), keys, "{max_stall:?}");
        assert_eq!(loaded.restored(), 7, "{max_stall:?}");
        assert_eq!(lengths(&server), all_are(24_000));
        nothing_is_left(&server, &format!("{max_stall:?}"));
    }
}

/// Many fields whose values compress well: little in the file, much at the destination.
fn dense_hash(dump: Dump, key: &str, fields: u64) -> Dump {
    let text = b"abcdefghij".repeat(300);
    let mut body = length(fields);
    for i in 0..fields {
        body.extend(string(format!("field {i}")));
        rdbridge::wire::Str::write(&mut body, &text, true);
    }
    dump.key(4, key, body)
}

#[test]
fn what_is_small_in_the_file_and_large_at_the_destination_goes_by_commands() {
    let dump = dense_hash(Dump::redis(9).select_db(0), "hash", 8000);
    let data = dump.finish(Crc::Right);
    assert!(data.len() < 1 << 20, "{}", data.len());
    let server = Server::start("redis-7.0");
    for (max_stall, by_commands) in [(50, 1), (5000, 0)] {
        server.run("FLUSHALL");
        let mut options = options();
        options.max_stall = Some(Duration::from_millis(max_stall));
        let loaded = load(&server.url(), &data, options).expect("begins");
        assert_eq!(loaded.count(BY_COMMANDS), by_commands, "{max_stall}");
        assert_eq!(server.run("HLEN hash"), Value::Int(8000), "{max_stall}");
    }
}

/// A destination that says of itself that it is slow is believed, and one that says nothing is taken as usual.
#[test]
fn how_long_a_destination_takes_is_learned_from_it() {
    const HASHES: u64 = 6;
    let data = (0..HASHES)
        .fold(Dump::redis(9).select_db(0), |dump, i| {
            dense_hash(dump, &format!("hash{i}"), 1200)
        })
        .finish(Crc::Right);
    for says in [true, false] {
        let server = Server::start("redis-7.0");
        let calls = AtomicU64::new(0);
        let gate = Gate::start(server.port(), move |words| {
            match (&words[0][..], words.get(1).map(|word| &word[..])) {
                (b"RESTORE", Some(key)) if key.starts_with(b"hash") && words[3].len() > 1000 => {
                    calls.fetch_add(1, Ordering::SeqCst);
                    None
                }
                (b"INFO", Some(b"commandstats")) if says => {
                    let calls = calls.load(Ordering::SeqCst);
                    let usec = calls * 1_000_000;
                    let text =
                        format!("# Commandstats\r\ncmdstat_restore:calls={calls},usec={usec}\r\n");
                    Some(format!("${}\r\n{text}\r\n", text.len()).into_bytes())
                }
                (b"INFO", Some(b"commandstats")) => Some(b"-ERR nope\r\n".to_vec()),
                _ => None,
            }
        });
        let mut options = options();
        options.max_stall = Some(Duration::from_millis(60));
        let loaded = load(&gate.url(), &data, options).expect("begins");
        let raw = if says { 1 } else { HASHES };
        assert_eq!(loaded.restored_raw(), raw, "{:?}", loaded.report.tally);
        assert_eq!(loaded.count(BY_COMMANDS), HASHES - raw);
        assert_eq!(server.run("DBSIZE"), Value::Int(HASHES as i64));
    }
}

#[test]
fn a_user_who_may_neither_restore_nor_rename_is_told_before_anything_is_sent() {
    let server = Server::start("redis-7.0");
    server.run("ACL SETUSER u on >p ~* +@all -restore -renamenx -rename");
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let error = load(&url, &large(), options()).expect_err("nothing can be sent");
    assert!(
        error.to_string().contains("does not let us RESTORE"),
        "{error}"
    );
    // One command is missing: no key goes without it, and what was built is taken away.
    server.run("ACL SETUSER u +renamenx -zadd");
    let loaded = load(&url, &large(), options()).expect("begins");
    assert!(loaded.stopped().contains("zadd"), "{}", loaded.stopped());
    nothing_is_left(&server, "no zadd");
}

#[test]
fn a_value_that_somebody_empties_while_it_is_built_gets_no_name() {
    let data = long_list(1_000_000);
    let server = Server::setup("redis-7.0")
        .with("proto-max-bulk-len", ["1048576"])
        .start();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let emptying = scope.spawn(|| {
            let mut client = Client::connect(server.port());
            while !done.load(Ordering::SeqCst) {
                for name in staging(&server) {
                    let Value::BulkString(name) = name else {
                        panic!("{name:?}")
                    };
                    let replies = client.ask(&[vec![b"LLEN".to_vec(), name.clone()]]);
                    if matches!(replies[0], Value::Int(10_000..)) {
                        client.ask(&[vec![b"DEL".to_vec(), name]]);
                        return true;
                    }
                }
            }
            false
        });
        let loaded = load(&server.url(), &data, options()).expect("begins");
        done.store(true, Ordering::SeqCst);
        assert!(emptying.join().expect("no panic"), "it was too fast");
        let failed = loaded.listed(Outcome::Failed);
        assert_eq!(failed.len(), 1, "{:?}", loaded.events);
        assert!(
            failed[0].reason.contains("of 1000000 elements"),
            "{failed:?}"
        );
    });
    assert_eq!(server.run("EXISTS list"), Value::Int(0));
    nothing_is_left(&server, "emptied");
}

#[test]
fn what_commands_would_lose_goes_by_restore_and_the_pause_is_said() {
    let server = Server::start("redis-8.6");
    let mut client = Client::connect(server.port());
    let mut random = Random::new(17, "stream", 0);
    let mut commands: Vec<_> = (0..3000)
        .map(|_| words(&["XADD", "stream", "*", "f", &digits(&mut random, 480)]))
        .collect();
    commands.push(words(&["XCFGSET", "stream", "IDMP-DURATION", "50"]));
    commands.push(words(&["SAVE"]));
    client.ask(&commands);
    let dir = Dir::new();
    let data = std::fs::read(server.dir().join("dump.rdb")).expect("a dump");
    let file = dir.file("dump.rdb", data);
    server.run("FLUSHALL");
    let load = |more: &[&str]| {
        let mut command = program();
        command
            .args(["load", &file, "--to", &server.url(), "--json"])
            .args(["--max-stall", "0", "--on-conflict", "replace"])
            .args(more);
        run_with(&mut command, b"")
    };
    let ran = load(&[]);
    assert_eq!(ran.ends_with(0).json()["outcomes"]["restored_raw"], 1);
    assert!(
        ran.stderr
            .contains("\"stream\" goes by one RESTORE, which will hold the destination")
            && ran.stderr.contains("idempotency"),
        "{ran:?}"
    );
    // With leave to lose it, it does not.
    let ran = load(&["--allow-loss", "idempotency"]);
    assert_eq!(ran.ends_with(0).json()["outcomes"]["restored_commands"], 1);
    assert_eq!(server.run("XLEN stream"), Value::Int(3000));
    nothing_is_left(&server, "a stream");
}

#[test]
fn in_a_cluster_each_value_is_built_in_its_slot() {
    let cluster = Cluster::start("redis-7.0", 3, 0);
    for port in cluster.ports() {
        ask(port, "ACL SETUSER u on >p ~* +@all -restore");
    }
    let keys = cluster::keys(400);
    let pair = [length(2), string("a"), string("b")].concat();
    let data = keys
        .iter()
        .enumerate()
        .fold(Dump::redis(9).select_db(0), |dump, (n, key)| match n % 4 {
            0 => dump.string_key(key, "text"),
            1 => dump.expire_ms(4_000_000_000_000).key(1, key, &pair),
            _ => dump.key(1, key, &pair),
        })
        .finish(Crc::Right);
    let url = cluster.url().replace("redis://", "redis://u:p@");
    for conflicts in [false, true] {
        let loaded = load(&url, &data, options()).expect("begins");
        assert_eq!(loaded.stopped(), "");
        let outcome = if conflicts {
            Outcome::Conflict
        } else {
            BY_COMMANDS
        };
        assert_eq!(
            loaded.count(outcome),
            keys.len() as u64,
            "{:?}",
            loaded.events
        );
        let mut there = 0;
        for port in cluster.ports() {
            let mut client = Client::connect(port);
            for (n, key) in keys.iter().enumerate() {
                let replies = client.ask(&[
                    vec![b"TYPE".to_vec(), key.clone()],
                    vec![b"PEXPIRETIME".to_vec(), key.clone()],
                ]);
                if matches!(&replies[0], Value::SimpleString(words) if words.starts_with('-')) {
                    continue;
                }
                let kind = if n % 4 == 0 { "string" } else { "list" };
                assert_eq!(replies[0], Value::SimpleString(kind.to_owned()), "{n}");
                let expires = if n % 4 == 1 { 4_000_000_000_000 } else { -1 };
                assert_eq!(replies[1], Value::Int(expires), "{n}");
                there += 1;
            }
            assert_eq!(ask(port, "KEYS *~rdbridge~*"), Value::Array(Vec::new()));
        }
        assert_eq!(there, keys.len());
    }
}

#[test]
fn a_plan_says_what_the_load_then_does() {
    let dir = Dir::new();
    let file = dir.file("dump.rdb", large());
    let limited = Server::setup("redis-7.0")
        .with("proto-max-bulk-len", ["1048576"])
        .start();
    let closed = Server::start("redis-6.2");
    closed.run("ACL SETUSER u on >p ~* +@all -restore");
    let closed_url = format!("redis://u:p@127.0.0.1:{}", closed.port());
    for (url, keys) in [(limited.url(), 5), (closed_url, 7)] {
        let verb = |verb: &str| {
            let mut command = program();
            command.args([verb, &file, "--to", &url, "--json"]);
            let ran = run_with(&mut command, b"");
            ran.ends_with(0).json()
        };
        let (plan, load) = (verb("plan"), verb("load"));
        assert_eq!(plan["servers"][0]["by_commands"]["keys"], keys, "{plan}");
        assert_eq!(load["outcomes"]["restored_commands"], keys, "{load}");
    }
}
