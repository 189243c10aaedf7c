//! Users who may not do everything: a load does all it can, says once what is closed and what stands in for it, and ends with
//! the right code; a plan says the same beforehand.

use redis::Value;
use serde_json::Value as Json;

use super::support::command::{Dir, Ran, run};
use super::support::dump::{Crc, Dump, length, string};
use super::support::server::{Server, version_of};

const SERVERS: [&str; 4] = ["redis-6.2", "redis-7.0", "redis-8.10", "valkey-9.1"];

const LIBRARY: &str = "#!lua name=ours\nredis.register_function('ours', function() return 1 end)";

/// Keys of the dump.
const KEYS: u64 = 64;

/// Strings, some with an expiry, one value of each other kind, and a library where the server knows any.
fn dump(name: &str, prefixes: &[&str]) -> Vec<u8> {
    let start = match version_of(name) {
        ("redis", ..7, _) => Dump::redis(7),
        _ => Dump::redis(7).function(LIBRARY),
    };
    let two = |kind: u8| match kind {
        // A score is a length and its digits.
        3 => [
            length(2),
            string("a"),
            vec![1, b'1'],
            string("b"),
            vec![1, b'2'],
        ]
        .concat(),
        4 => [length(1), string("f"), string("v")].concat(),
        _ => [length(2), string("a"), string("b")].concat(),
    };
    (0..KEYS)
        .fold(start.select_db(0), |dump, i| {
            let prefix = prefixes[i as usize % prefixes.len()];
            let key = format!("{prefix}{i}");
            match i {
                4..8 => dump.key(i as u8 - 3, key, two(i as u8 - 3)),
                8..16 => dump.expire_ms(4_000_000_000_000).string_key(key, "fades"),
                _ => dump.string_key(key, format!("value {i}")),
            }
        })
        .finish(Crc::Right)
}

struct Bench {
    server: Server,
    url: String,
    file: String,
    _dir: Dir,
}

impl Bench {
    fn new(name: &'static str, rights: &str, prefixes: &[&str]) -> Self {
        let server = Server::start(name);
        server.run(&format!("ACL SETUSER u on >p {rights}"));
        let dir = Dir::new();
        Self {
            url: format!("redis://u:p@127.0.0.1:{}", server.port()),
            file: dir.file("dump.rdb", dump(name, prefixes)),
            server,
            _dir: dir,
        }
    }

    fn go(&self, verb: &str) -> (Ran, Json) {
        let ran = run([verb, &self.file, "--to", &self.url, "--json"]);
        let json = ran.json();
        (ran, json)
    }

    fn size(&self) -> Value {
        self.server.run("DBSIZE")
    }
}

/// The outcomes of a plan and of a load, without those that never happened.
fn outcomes(counts: &Json) -> Vec<(String, u64)> {
    let counts = counts.as_object().expect("outcomes");
    counts
        .iter()
        .map(|(name, count)| (name.clone(), count.as_u64().expect("a number")))
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[test]
fn each_command_that_is_denied_is_done_without() {
    for name in SERVERS {
        let has_functions = version_of(name) >= ("redis", 7, 0);
        for (denied, says) in [
            ("restore", "does not let us RESTORE"),
            ("function", "1 function library will not be loaded"),
            ("info", "INFO is closed to us"),
            ("config", "CONFIG GET"),
            ("command", ""),
            ("time", "TIME is closed to us"),
            ("del", ""),
        ] {
            if denied == "function" && !has_functions {
                continue;
            }
            let case = format!("{name} without {denied}");
            let bench = Bench::new(name, &format!("~* +@all -{denied}"), &["k"]);
            let (planned, plan) = bench.go("plan");
            assert_eq!(bench.size(), Value::Int(0), "{case}: nothing is stored");
            let (loaded, load) = bench.go("load");
            let code = i32::from(denied == "function");
            loaded.ends_with(code);
            assert_eq!(planned.code, code, "{case}: {planned:?}");
            let road = match denied {
                "restore" => "restored_commands",
                _ => "restored_raw",
            };
            let all = vec![(road.to_owned(), KEYS)];
            assert_eq!(outcomes(&load["outcomes"]), all, "{case}");
            assert_eq!(outcomes(&plan["servers"][0]["outcomes"]), all, "{case}");
            assert_eq!(bench.size(), Value::Int(KEYS as i64), "{case}");
            if has_functions {
                let arrives = u64::from(denied != "function");
                assert_eq!(load["functions"]["loaded"], arrives, "{case}: {load:#}");
            }
            if !says.is_empty() {
                let times = loaded.stderr.matches(says).count();
                assert_eq!(times, 1, "{case}, {says}: {}", loaded.stderr);
            }
            if ["function", "info", "config", "time"].contains(&denied) {
                let closed = plan["destination"]["closed"].to_string();
                assert!(
                    closed.to_ascii_lowercase().contains(denied),
                    "{case}: {closed}"
                );
            }
        }
    }
}

#[test]
fn keys_that_a_pattern_does_not_admit_are_told_before_and_fail_by_name() {
    for name in SERVERS {
        let bench = Bench::new(name, "~open:* +@all", &["open:", "closed:"]);
        // Whether the destination is empty makes no difference.
        for there in [false, true] {
            let case = format!("{name}, {there}");
            bench.server.run("FLUSHALL");
            if there {
                bench.server.run("SET other x");
            }
            let (planned, plan) = bench.go("plan");
            let (loaded, load) = bench.go("load");
            loaded.ends_with(1);
            assert_eq!(planned.code, 1, "{case}: {planned:?}");
            assert_eq!(plan["existing"]["closed"], KEYS / 2, "{case}: {plan:#}");
            assert_eq!(load["outcomes"]["failed"], KEYS / 2, "{case}: {load:#}");
            assert_eq!(
                load["outcomes"]["restored_raw"],
                KEYS / 2,
                "{case}: {load:#}"
            );
        }
    }
}

#[test]
fn a_user_who_may_do_nothing_is_told_before_anything_is_read() {
    for name in SERVERS {
        let bench = Bench::new(name, "~* +@all -@write", &["k"]);
        let (planned, _) = bench.go("plan");
        planned.ends_with(4);
        let (loaded, _) = bench.go("load");
        loaded.ends_with(4);
        assert!(
            loaded.stderr.contains("does not let us RESTORE"),
            "{name}: {}",
            loaded.stderr
        );
        assert_eq!(bench.size(), Value::Int(0), "{name}");
    }
}
