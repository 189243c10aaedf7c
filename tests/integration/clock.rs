//! Keys expire by the destination's clock, which need not be ours.

use std::time::{SystemTime, UNIX_EPOCH};

use redis::Value;

use super::support::command::{Dir, run};
use super::support::dump::{Crc, Dump};
use super::support::recorder::{Persona, Recorder};
use super::support::server::Server;

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs() as i64
}

/// Two keys: `early` is over in ten minutes, `late` in two hours.
fn dump() -> Vec<u8> {
    let at = |seconds| (now_s() + seconds) * 1000;
    Dump::redis(7)
        .select_db(0)
        .expire_ms(at(600))
        .string_key("early", "new")
        .expire_ms(at(7200))
        .string_key("late", "new")
        .finish(Crc::Right)
}

#[test]
fn replace_deletes_nothing_where_the_destination_is_ahead() {
    let server = Server::setup("redis-7.0").with_clock_ahead(3600).start();
    for name in ["early", "late"] {
        server.run(&format!("SET {name} old"));
    }
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let journal = dir.path().join("journal");
    let (url, journal) = (server.url(), journal.to_str().expect("UTF-8"));
    let policy = ["--to", &url, "--json", "--on-conflict", "replace"];
    let planned = run([&["plan", file.as_str()][..], &policy].concat());
    let planned = planned.json();
    let ran = run([&["load", file.as_str(), "--journal", journal][..], &policy].concat());
    let report = ran.ends_with(0).json();
    assert_eq!(server.run("GET early"), Value::BulkString(b"old".to_vec()));
    assert_eq!(server.run("GET late"), Value::BulkString(b"new".to_vec()));
    assert_eq!(report["outcomes"]["expired"], 1, "{ran:?}");
    assert_eq!(report["outcomes"]["restored_raw"], 1, "{ran:?}");
    assert_eq!(planned["servers"][0]["outcomes"]["expired"], 1, "{planned}");
    assert_eq!(planned["inputs"][0]["expired"], 1, "{planned}");
    let ahead = report["clock_ahead_ms"].as_i64().expect("a number");
    assert!((3_598_000..3_602_000).contains(&ahead), "{ran:?}");
    assert!(
        ran.stderr.contains("the destination's clock is +3600.")
            || ran.stderr.contains("the destination's clock is +3599."),
        "{ran:?}"
    );
    let status = run(["load", "--status", journal, "--json"]);
    let kept = status.ends_with(0).json()["clock_ahead_ms"].as_i64();
    assert!(
        kept.is_some_and(|kept| (kept - ahead).abs() < 1000),
        "{status:?}"
    );
}

#[test]
fn what_lives_there_still_is_sent_where_the_destination_is_behind() {
    let server = Server::setup("redis-7.0").with_clock_ahead(-3600).start();
    let dir = Dir::new();
    let dump = Dump::redis(7)
        .select_db(0)
        .expire_ms((now_s() - 600) * 1000)
        .string_key("k", "v")
        .finish(Crc::Right);
    let file = dir.file("dump.rdb", dump);
    let ran = run(["load", &file, "--to", &server.url(), "--json"]);
    let report = ran.ends_with(0).json();
    assert_eq!(report["outcomes"]["restored_raw"], 1, "{ran:?}");
    assert_eq!(server.run("GET k"), Value::BulkString(b"v".to_vec()));
}

/// It was not over at the run's instant, and it is when it comes.
#[test]
fn what_is_over_when_it_arrives_is_counted_so_by_the_clock_there() {
    let server = Server::setup("redis-7.0").with_clock_ahead(3600).start();
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let now = now_s().to_string();
    let ran = run([
        "load",
        &file,
        "--to",
        &server.url(),
        "--json",
        "--now",
        &now,
    ]);
    let report = ran.ends_with(0).json();
    assert_eq!(report["outcomes"]["expired_on_arrival"], 1, "{ran:?}");
    assert_eq!(report["outcomes"]["restored_raw"], 1, "{ran:?}");
}

/// A server that knows no absolute expiry gets what is left of it by its own clock: this one shows the year 2027.
#[test]
fn what_is_left_of_an_expiry_is_reckoned_by_the_clock_there() {
    let server = Recorder::start(Persona {
        product: "redis",
        version: "3.2.12",
        takes: |footer| footer == 7,
        says: |_| None,
    });
    let dir = Dir::new();
    let dump = Dump::redis(7)
        .select_db(0)
        .expire_ms(1_800_000_100_000)
        .string_key("k", "v")
        .finish(Crc::Right);
    let file = dir.file("dump.rdb", dump);
    run(["load", &file, "--to", &server.url(), "--json"]);
    let sent = server.take();
    let left: Vec<i64> = sent
        .iter()
        .map(|key| key.ttl.parse().expect("a number"))
        .collect();
    assert!(matches!(left.as_slice(), [60_000..=100_000]), "{sent:?}");
}
