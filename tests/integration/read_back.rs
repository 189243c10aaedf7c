//! What the destination holds is read while a load runs: keys that existed (`--on-conflict same`), and keys that were just
//! written (`--verify`).

use std::thread;
use std::time::Duration;

use super::support::command::{Dir, run};
use super::support::dump::{Crc, Dump, length, string};
use super::support::server::Server;
use super::support::wire::Client;

/// A day ahead of any run of this test.
const LATER: i64 = 4_000_000_000_000;

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

fn field(name: &str, value: &str) -> Vec<u8> {
    [string(name), string(value)].concat()
}

#[test]
fn an_equal_value_is_already_there_and_a_different_one_a_conflict() {
    let mut dump = Dump::redis(7).select_db(0);
    for i in 0..5000 {
        dump = dump.string_key(format!("bulk:{i}"), format!("value {i}"));
    }
    let hash = |a: &str| [length(2), field("a", a), field("b", "2")].concat();
    let data = dump
        .string_key("equal", "text")
        .string_key("other-text", "text")
        .key(4, "equal-hash", hash("1"))
        .key(4, "other-hash", hash("1"))
        .expire_ms(LATER)
        .string_key("other-expiry", "text")
        .select_db(3)
        .string_key("equal", "in 3")
        .finish(Crc::Right);
    let server = Server::start("redis-7.0");
    let mut client = Client::connect(server.port());
    // A hash in another order, and as a hash table: it means the same.
    let long = "x".repeat(70);
    let set: Vec<Vec<Vec<u8>>> = [
        "SET equal text".to_owned(),
        "SET other-text Text".to_owned(),
        format!("HSET equal-hash b 2 a 1 c {long}"),
        "HDEL equal-hash c".to_owned(),
        "HSET other-hash a 1 b 3".to_owned(),
        format!("SET other-expiry text PXAT {}", LATER + 60_000),
        "SET bulk:7 other".to_owned(),
        "SELECT 3".to_owned(),
        "SET equal in-4".to_owned(),
    ]
    .iter()
    .map(|line| words(line))
    .collect();
    client.ask(&set);
    let dir = Dir::new();
    let file = dir.file("dump.rdb", data);
    let url = server.url();
    let load = |more: &[&str]| {
        let args = [
            "load",
            &file,
            "--to",
            &url,
            "--json",
            "--on-conflict",
            "same",
        ];
        run(args.iter().chain(more))
    };
    let first = load(&[]);
    let outcomes = &first.ends_with(1).json()["outcomes"];
    assert_eq!(outcomes["already_there"], 2, "{first:?}");
    assert_eq!(outcomes["conflict"], 5, "{first:?}");
    assert_eq!(outcomes["restored_raw"], 4999, "{first:?}");
    assert_eq!(first.json()["adds_up"], true);
    for (key, how) in [
        ("\"other-text\" in db 0", "value"),
        ("\"other-hash\" in db 0", "field \"b\""),
        ("\"other-expiry\" in db 0", "expiry"),
        ("\"bulk:7\" in db 0", "value"),
        ("\"equal\" in db 3", "value"),
    ] {
        let told = first
            .stderr
            .lines()
            .find(|line| line.contains(&format!(": {key}: ")));
        assert!(
            told.is_some_and(|line| line.contains(how)),
            "{key}: {first:?}"
        );
    }
    assert_eq!(
        server.run("GET other-text"),
        "Text".to_owned().into_bytes().into_value()
    );
    // Without a journal everything is looked at again: what the first run wrote is there.
    for more in [&["--restart"][..], &["--restart", "--connections", "3"]] {
        let again = load(more);
        let outcomes = &again.ends_with(1).json()["outcomes"];
        assert_eq!(outcomes["already_there"], 5001, "{again:?}");
        assert_eq!(outcomes["conflict"], 5, "{again:?}");
    }
    server.run("FLUSHALL");
    assert_eq!(
        load(&["--restart"]).ends_with(0).json()["outcomes"]["restored_raw"],
        5006
    );
    let again = load(&["--restart"]);
    assert_eq!(again.ends_with(0).json()["outcomes"]["already_there"], 5006);
}

/// For comparing with replies.
trait IntoValue {
    fn into_value(self) -> redis::Value;
}

impl IntoValue for Vec<u8> {
    fn into_value(self) -> redis::Value {
        redis::Value::BulkString(self)
    }
}

#[test]
fn what_is_changed_behind_a_load_is_found_by_reading_back() {
    let server = Server::start("redis-7.0");
    let list = |elements: &[&str]| {
        let strings: Vec<u8> = elements.iter().flat_map(string).collect();
        [length(elements.len() as u64), strings].concat()
    };
    let mut dump = Dump::redis(7)
        .select_db(0)
        .idle(5000)
        .string_key("idle", "since long")
        .key(1, "taken-from", list(&["one", "two"]))
        .key(1, "emptied", list(&["one"]));
    for i in 0..9000 {
        dump = dump
            .expire_ms(LATER)
            .string_key(format!("bulk:{i}"), format!("value {i}"));
    }
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump.finish(Crc::Right));
    for connections in ["1", "2"] {
        server.run("FLUSHALL");
        // Blocked clients are served as soon as the key is there: before anything can be read back.
        let takers: Vec<_> = ["taken-from", "emptied"]
            .into_iter()
            .map(|key| {
                let port = server.port();
                thread::spawn(move || {
                    Client::connect(port).ask(&[words(&format!("BLPOP {key} 20"))])
                })
            })
            .collect();
        while server.info("blocked_clients").as_deref() != Some("2") {
            thread::sleep(Duration::from_millis(10));
        }
        let ran = run([
            "load",
            &file,
            "--to",
            &server.url(),
            "--verify",
            "--json",
            "--connections",
            connections,
        ]);
        let report = ran.ends_with(1).json();
        assert_eq!(report["outcomes"]["restored_raw"], 9001, "{ran:?}");
        assert_eq!(report["outcomes"]["read_back_different"], 2, "{ran:?}");
        assert_eq!(report["verified"]["same"], 9001, "{ran:?}");
        assert_eq!(report["verified"]["not_comparable"], 0, "{ran:?}");
        assert_eq!(report["adds_up"], true);
        let told = |key: &str, words: &str| {
            let line = ran
                .stderr
                .lines()
                .find(|line| line.contains(&format!(": \"{key}\" in db 0: ")));
            assert!(
                line.is_some_and(|line| line.contains(words)),
                "{key}: {ran:?}"
            );
        };
        told("taken-from", "read back different: ");
        told("emptied", "does not have it any more");
        for taker in takers {
            taker.join().expect("it was served");
        }
    }
    server.run("FLUSHALL");
    let ran = run([
        "load",
        &file,
        "--to",
        &server.url(),
        "--verify",
        "--restart",
    ]);
    ran.ends_with(0);
    assert!(
        ran.stdout
            .contains("read back: 9,003 keys equal to the input, 0 different"),
        "{ran:?}"
    );
}

#[test]
fn a_load_compares_afterwards_and_its_report_can_be_signed() {
    let server = Server::start("redis-7.0");
    let list = [length(1), string("one")].concat();
    let dump = Dump::redis(7)
        .select_db(1)
        .key(1, "emptied", list)
        .string_key("text", "value")
        .expire_ms(LATER)
        .string_key("later", "value");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump.finish(Crc::Right));
    let url = server.url();
    let args = ["load", &file, "--to", &url, "--map-db", "1:2", "--compare"];
    let json = args.iter().chain(&["--json"]);
    let ran = run(json.clone());
    let report = ran.ends_with(0).json();
    assert_eq!(report["compare"]["outcomes"]["same"], 3, "{ran:?}");
    assert_eq!(
        report["compare"]["digests"], report["compare"]["destination_digests"],
        "{ran:?}"
    );
    assert_eq!(report["compare"]["digests"]["keys"], 3, "{ran:?}");
    // A report that can be signed: which input, where to, how, and when.
    let size = std::fs::metadata(&file).expect("there").len();
    assert_eq!(report["input_digests"][0]["size"], size);
    assert_eq!(report["destination_address"], url);
    assert_eq!(report["options"]["--map-db"], "1:2");
    assert_eq!(report["options"]["--on-conflict"], "fail");
    let compared = run(["compare", &file, "--to", &url, "--map-db", "1:2", "--json"]);
    let compared = compared.ends_with(0).json();
    for same in ["input_digests", "destination_address", "destination"] {
        assert_eq!(compared[same], report[same], "{same}");
    }
    assert_eq!(compared["options"]["--map-db"], "1:2");
    assert_eq!(compared["digests"], report["compare"]["digests"]);
    // What is lost between the two is found.
    server.run("FLUSHALL");
    let port = server.port();
    let taker = thread::spawn(move || {
        Client::connect(port).ask(&[words("SELECT 2"), words("BLPOP emptied 20")])
    });
    while server.info("blocked_clients").as_deref() != Some("1") {
        thread::sleep(Duration::from_millis(10));
    }
    let ran = run(args.iter().chain(&["--restart"]));
    ran.ends_with(1);
    assert!(
        ran.stdout.contains("compared: 3 keys in 1 input"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("\"emptied\" in db 1: "), "{ran:?}");
    taker.join().expect("it was served");
}
