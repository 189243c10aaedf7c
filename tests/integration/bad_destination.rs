//! Destinations that lie, answer with errors, refuse what they should take, or break off, by the command: the exit code is
//! right, the sums add up, and at the real server behind them nothing is lost or doubled.

use std::collections::BTreeMap;

use redis::Value;
use serde_json::Value as Json;

use super::support::command::{Dir, Ran, run};
use super::support::dump::{Crc, Dump, length, string};
use super::support::meddler::{Deed, Meddler, error};
use super::support::proxy::{Fault, On, Proxy};
use super::support::say_aloud;
use super::support::server::Server;
use super::support::wire::Client;

const STRINGS: usize = 20;
/// Some values that show whether a part of them came twice.
const ELEMENTS: usize = 40;
const KEYS: u64 = STRINGS as u64 + 2;

fn dump() -> Vec<u8> {
    let strings = (0..STRINGS).fold(Dump::redis(6).select_db(0), |dump, i| {
        dump.string_key(format!("k{i}"), format!("value {i}"))
    });
    let elements = |all: &dyn Fn(usize) -> Vec<u8>| {
        let elements = (0..ELEMENTS).map(all).collect::<Vec<_>>().concat();
        [length(ELEMENTS as u64), elements].concat()
    };
    strings
        .key(1, "list", elements(&|i| string(format!("e{i}"))))
        .key(
            4,
            "hash",
            elements(&|i| [string(format!("f{i}")), string("v")].concat()),
        )
        .finish(Crc::Right)
}

/// A real server, and the dump that is loaded into it by ways that are not.
struct Bench {
    server: Server,
    file: String,
    _dir: Dir,
}

impl Bench {
    fn new(server: Server) -> Self {
        let dir = Dir::new();
        Self {
            server,
            file: dir.file("dump.rdb", dump()),
            _dir: dir,
        }
    }

    fn empty(&self) {
        self.server.run("FLUSHALL");
    }

    fn load(&self, url: &str, more: &[&str]) -> Ran {
        let args = ["load", &self.file, "--to", url, "--json", "--no-journal"];
        run([&args[..], more].concat())
    }

    /// How many keys of the dump are there: each as it should be, and nothing else.
    fn there(&self, what: &str) -> u64 {
        let mut client = Client::connect(self.server.port());
        let words = |text: String| text.split(' ').map(|w| w.as_bytes().to_vec()).collect();
        let mut asked: Vec<Vec<Vec<u8>>> =
            (0..STRINGS).map(|i| words(format!("GET k{i}"))).collect();
        asked.extend(["LLEN list", "HLEN hash", "DBSIZE"].map(|text| words(text.to_owned())));
        let mut replies = client.ask(&asked);
        let size = replies.pop();
        let mut count = 0;
        for (i, reply) in replies.iter().enumerate() {
            let wanted = match i {
                ..STRINGS => Value::BulkString(format!("value {i}").into_bytes()),
                _ => Value::Int(ELEMENTS as i64),
            };
            if *reply == wanted {
                count += 1;
            } else {
                assert!(
                    matches!(reply, Value::Nil | Value::Int(0)),
                    "{what}: {reply:?} at {i}"
                );
            }
        }
        assert_eq!(
            size,
            Some(Value::Int(count)),
            "{what}: other keys are there, too"
        );
        u64::try_from(count).expect("a count")
    }

    /// What holds whatever the way did.
    fn is_honest(&self, ran: &Ran, what: &str) -> u64 {
        let what = format!("{what}: {ran:?}");
        let there = self.there(&what);
        assert!(matches!(ran.code, 0 | 1 | 4), "{what}");
        assert!(!ran.stderr.contains("panicked"), "{what}");
        if ran.code == 0 {
            assert_eq!(there, KEYS, "{what}");
        }
        let json = ran.json();
        let Some(outcomes) = json.get("outcomes") else {
            assert_eq!((there, ran.code), (0, 4), "it did not begin, {what}");
            return there;
        };
        assert_eq!(json["adds_up"], true, "{what}");
        let (restored, uncertain) = (restored(outcomes), outcomes["uncertain"].as_u64());
        let most = restored + uncertain.unwrap_or(0);
        assert!(
            restored <= there && there <= most,
            "{there} are there, {what}"
        );
        there
    }
}

fn restored(outcomes: &Json) -> u64 {
    let roads = ["restored_raw", "restored_reencoded", "restored_commands"];
    roads
        .iter()
        .filter_map(|road| outcomes[road].as_u64())
        .sum()
}

/// By one version of another product, and by its own of another age: what it takes is found out all the same.
#[test]
fn a_server_that_lies_about_its_version_gets_what_it_can_take() {
    let source = Server::start("redis-8.2");
    for words in [
        "RPUSH list a b",
        "HSET hash f v",
        "ZADD zset 1 a 2 b",
        "SADD set a b",
        "XADD stream 1-1 f v",
        "SET text value",
    ] {
        source.run(words);
    }
    source.run("SAVE");
    let file = source.dir().join("dump.rdb");
    let file = file.to_str().expect("UTF-8");
    for (name, truth, lie) in [
        // Newer than it is, and older.
        ("redis-6.2", "6.2.", "8.2."),
        ("redis-5.0", "5.0.", "7.2."),
        ("redis-8.2", "8.2.", "5.0."),
        ("valkey-9.1", "9.1.", "8.0."),
        // Its twin.
        ("valkey-9.1", "server_name:valkey", "server_name:redisx"),
    ] {
        let server = Server::start(name);
        let way = Meddler::start(server.port(), move |_, words| match &words[0][..] {
            b"HELLO" | b"INFO" => Deed::Instead(truth, lie),
            _ => Deed::Pass,
        });
        let what = format!("{name} says {lie}");
        let url = way.url();
        let plan = run(["plan", file, "--to", &url, "--json"]);
        plan.ends_with(0);
        let loaded = run(["load", file, "--to", &url, "--json", "--no-journal"]);
        loaded.ends_with(0);
        let load = loaded.json();
        assert_eq!(restored(&load["outcomes"]), 6, "{what}: {load:#}");
        let compared = run(["compare", file, "--to", &server.url(), "--json", "--extra"]);
        compared.ends_with(0);
        assert_eq!(
            compared.json()["outcomes"]["same"],
            6,
            "{what}: {compared:?}"
        );
    }
}

#[test]
fn any_question_may_be_answered_with_an_error() {
    let bench = Bench::new(Server::start("redis-7.0"));
    let way = Meddler::start(bench.server.port(), |_, _| Deed::Pass);
    bench.load(&way.url(), &[]).ends_with(0);
    assert_eq!(bench.there("no fault"), KEYS);
    let commands = way.commands();
    let mut codes: BTreeMap<i32, u32> = BTreeMap::new();
    let mut judge = |what: String, way: &Meddler| {
        bench.empty();
        let ran = bench.load(&way.url(), &["--retry-for", "0"]);
        bench.is_honest(&ran, &what);
        *codes.entry(ran.code).or_default() += 1;
    };
    let port = bench.server.port();
    const WORDS: [&str; 2] = ["ERR no", "NOPERM this user has no permissions to do that"];
    for n in 0..commands.len() {
        let way = Meddler::start(port, move |number, _| match number == n {
            true => error(WORDS[n % 2]),
            false => Deed::Pass,
        });
        judge(format!("{} ({n}) is refused", commands[n]), &way);
    }
    // And all that have one name.
    let mut names = commands;
    names.sort_unstable();
    names.dedup();
    for (n, name) in names.into_iter().enumerate() {
        let refused = name.clone();
        let way = Meddler::start(port, move |_, words| match words[0] == refused.as_bytes() {
            true => error(WORDS[n % 2]),
            false => Deed::Pass,
        });
        judge(format!("every {name} is refused"), &way);
    }
    say_aloud(&format!(
        "questions answered with errors; exit codes: {codes:?}"
    ));
    assert!(codes[&0] > 10, "{codes:?}");
}

#[test]
fn payloads_that_are_refused_for_no_reason_go_by_the_next_road() {
    let bench = Bench::new(Server::start("redis-7.0"));
    for words in [
        "ERR Bad data format",
        "ERR DUMP payload version or checksum are wrong",
    ] {
        bench.empty();
        let way = Meddler::start(bench.server.port(), move |_, given| {
            let is_ours =
                given[0] == b"RESTORE" && [&b"list"[..], b"hash"].contains(&&given[1][..]);
            match is_ours {
                true => error(words),
                false => Deed::Pass,
            }
        });
        let ran = bench.load(&way.url(), &[]);
        ran.ends_with(0);
        assert_eq!(bench.is_honest(&ran, words), KEYS, "{ran:?}");
        let outcomes = &ran.json()["outcomes"];
        assert_eq!(outcomes["restored_commands"], 2, "{words}: {ran:?}");
        assert_eq!(outcomes["restored_raw"], STRINGS, "{words}: {ran:?}");
    }
}

#[test]
fn a_proxy_that_knows_few_commands_is_enough_or_said_to_be_too_little() {
    const WRITES: &[&str] = &[
        "SELECT",
        "SET",
        "RPUSH",
        "HSET",
        "EXISTS",
        "RENAMENX",
        "LLEN",
        "HLEN",
        "UNLINK",
        "PEXPIREAT",
    ];
    let bench = Bench::new(Server::start("redis-7.0"));
    for (known, code, road) in [
        (&["RESTORE"][..], 0, "restored_raw"),
        (&["RESTORE", "INFO", "PING"], 0, "restored_raw"),
        (WRITES, 0, "restored_commands"),
        (&["PING", "GET"], 4, ""),
        (&[], 4, ""),
    ] {
        bench.empty();
        let way = Meddler::start(bench.server.port(), move |_, words| {
            let name = String::from_utf8_lossy(&words[0]).into_owned();
            match known.contains(&name.as_str()) {
                true => Deed::Pass,
                false => error(&format!("ERR unknown command '{name}'")),
            }
        });
        let ran = bench.load(&way.url(), &[]);
        let what = format!("{known:?}");
        assert_eq!(ran.code, code, "{what}: {ran:?}");
        let there = bench.is_honest(&ran, &what);
        assert_eq!(there, if code == 0 { KEYS } else { 0 }, "{what}: {ran:?}");
        if code == 0 {
            assert_eq!(ran.json()["outcomes"][road], KEYS, "{what}: {ran:?}");
        }
    }
}

/// Every byte of the beginnings, and some of the rest, on both roads: the connection ends there, and the next one does not.
#[test]
fn a_connection_that_ends_at_any_byte_is_made_up_for() {
    const DENSE: u64 = 24;
    let mut codes: BTreeMap<(&str, i32), u32> = BTreeMap::new();
    for (road, server) in [
        ("raw", Server::start("redis-7.0")),
        (
            "commands",
            Server::setup("redis-7.0")
                .with("rename-command", ["RESTORE", ""])
                .start(),
        ),
    ] {
        let bench = Bench::new(server);
        for on in [On::Questions, On::Data] {
            let places = (0..DENSE).chain((DENSE..1200).step_by(97));
            for place in places {
                for fault in [Fault::CutCommands(place), Fault::CutReplies(place)] {
                    bench.empty();
                    let port = bench.server.port();
                    let proxy = Proxy::sequence(port, on, vec![fault.clone()]);
                    let ran = bench.load(&proxy.url(), &[]);
                    let what = format!("{road}, {on:?}, {fault:?}");
                    let there = bench.is_honest(&ran, &what);
                    assert!(proxy.fired() == 1 || place >= DENSE, "{what}");
                    match on {
                        // Nothing was written yet: to say so is enough.
                        On::Questions => assert!([0, KEYS].contains(&there), "{what}"),
                        On::Data => assert_eq!(there, KEYS, "{what}: {ran:?}"),
                    }
                    *codes.entry((road, ran.code)).or_default() += 1;
                }
            }
        }
    }
    say_aloud(&format!("connections cut; road and exit code: {codes:?}"));
}
