//! The dumps of a cluster's shards in one job: what is refused before the first write, what the newer one has, what none has.

use rdbridge::select::slot_of;
use redis::Value;

use super::support::cluster::{Cluster, get_all};
use super::support::command::{Dir, Ran, run};
use super::support::dump::{Crc, Dump};
use super::support::server::Server;

/// 2026-11-20 00:00 UTC.
const THEN: i64 = 1_795_132_800;

/// Names whose slots lie in one of three even parts.
fn names(part: usize) -> Vec<String> {
    (0..3000)
        .map(|n| format!("k{n}"))
        .filter(|name| usize::from(slot_of(name.as_bytes())) * 3 / 16_384 == part)
        .collect()
}

fn dump(taken: i64, names: &[String], value: &str) -> Vec<u8> {
    let start = Dump::redis(7).aux("ctime", taken.to_string()).select_db(0);
    let add = |dump: Dump, name: &String| dump.string_key(name, format!("{value} of {name}"));
    names.iter().fold(start, add).finish(Crc::Right)
}

fn go(verb: &str, inputs: &[&str], url: &str, more: &[&str]) -> Ran {
    let words = [&[verb], inputs, &["--to", url, "--json"], more].concat();
    run(words)
}

/// Both verbs refuse it, in words that say all of `says`, and nothing is stored.
#[track_caller]
fn refused(inputs: &[&str], url: &str, says: &[&str]) {
    for verb in ["plan", "load"] {
        let ran = go(verb, inputs, url, &[]);
        ran.ends_with(2);
        for says in says {
            assert!(ran.stderr.contains(says), "{verb}, {says}: {}", ran.stderr);
        }
    }
}

fn size(server: &Server) -> Value {
    server.run("DBSIZE")
}

fn utf8(dir: &Dir) -> &str {
    dir.path().to_str().expect("UTF-8")
}

#[test]
fn shards_in_a_directory_are_whole_apart_and_of_one_hour() {
    let parts = [names(0), names(1), names(2)];
    let server = Server::start("redis-7.0");
    let url = server.url();
    let dir = Dir::new();
    for (n, part) in parts.iter().enumerate() {
        dir.file(&format!("shard-{n}.rdb"), dump(THEN + n as i64, part, "v"));
    }
    // Whole: nothing is said of slots.
    let all = utf8(&dir);
    for verb in ["plan", "load"] {
        let ran = go(verb, &[all], &url, &[]);
        ran.ends_with(0);
        assert!(ran.json()["slots_without_keys"].is_null(), "{ran:?}");
    }
    assert_eq!(size(&server), Value::Int(3000));
    server.run("FLUSHALL");

    // One is missing: that is told, and is no finding.
    let gap = Dir::new();
    gap.file("shard-0.rdb", dump(THEN, &parts[0], "v"));
    gap.file("shard-2.rdb", dump(THEN, &parts[2], "v"));
    for verb in ["plan", "load"] {
        let ran = go(verb, &[utf8(&gap)], &url, &[]);
        ran.ends_with(0);
        let slots = ran.json()["slots_without_keys"].clone();
        let (first, last) = slots
            .as_str()
            .and_then(|slots| slots.split_once('-'))
            .unwrap_or_else(|| panic!("one range: {slots}"));
        let number = |text: &str| text.parse::<u16>().expect("a slot");
        assert!((5400..5470).contains(&number(first)), "{slots}");
        assert!((10_920..10_990).contains(&number(last)), "{slots}");
        assert!(
            ran.stderr.contains("is the dump of a shard missing"),
            "{ran:?}"
        );
    }
    server.run("FLUSHALL");

    // Two share slots: no key stands twice, and yet these are not what they seem.
    let (half, other): (Vec<_>, Vec<_>) = parts[0]
        .iter()
        .cloned()
        .partition(|name| name.ends_with(|last: char| last.is_ascii_digit() && last < '5'));
    let shares = |name: &String| {
        let slot = slot_of(name.as_bytes());
        other.iter().any(|other| slot_of(other.as_bytes()) == slot)
    };
    let shared = half.iter().filter(|name| shares(name)).count() as u64;
    assert!(shared > 10, "{shared} names");
    let twice = Dir::new();
    let (old, new) = (
        twice.file("a.rdb", dump(THEN, &half, "old")),
        twice.file("b.rdb", dump(THEN + 7, &other, "new")),
    );
    twice.file("c.rdb", dump(THEN, &parts[1], "v"));
    refused(
        &[utf8(&twice)],
        &url,
        &[
            "have no slot in common, but ",
            &format!("{old} (taken 2026-11-20T00:00:00"),
            &format!("{new} (taken 2026-11-20T00:00:07"),
            " share ",
            "--newest-wins takes the younger file for each shared slot",
            "name the files instead of their directory",
        ],
    );
    assert_eq!(size(&server), Value::Int(0));
    // The younger one has the slot; the others of the older one arrive.
    for verb in ["plan", "load"] {
        let ran = go(verb, &[utf8(&twice)], &url, &["--newest-wins"]);
        ran.ends_with(0);
        let json = ran.json();
        let outcomes = match verb {
            "plan" => &json["servers"][0]["outcomes"],
            _ => &json["outcomes"],
        };
        assert_eq!(outcomes["left_to_newer"], shared, "{json:#}");
        let arrive = (half.len() + other.len() + parts[1].len()) as u64 - shared;
        assert_eq!(outcomes["restored_raw"], arrive, "{json:#}");
        assert!(
            ran.stderr.contains(&format!("the keys of {old}"))
                && ran.stderr.contains("are left out: a newer input has them"),
            "{ran:?}"
        );
    }
    for name in &half {
        let held = server.run(&format!("EXISTS {name}"));
        assert_eq!(held, Value::Int(i64::from(!shares(name))), "{name}");
    }
    go("compare", &[utf8(&twice)], &url, &["--newest-wins"]).ends_with(0);
    go("compare", &[utf8(&twice)], &url, &[]).ends_with(1);
    server.run("FLUSHALL");

    // Named one by one for a server that is no cluster, they may be anything that has no key twice.
    let ran = go("load", &[&old, &new], &url, &["--newest-wins"]);
    ran.ends_with(0);
    assert!(ran.stderr.contains("has nothing to decide"), "{ran:?}");
    assert_eq!(size(&server), Value::Int((half.len() + other.len()) as i64));
    server.run("FLUSHALL");

    // Over an hour apart.
    let apart = Dir::new();
    let early = apart.file("a.rdb", dump(THEN, &parts[0], "v"));
    let late = apart.file("b.rdb", dump(THEN + 3601, &parts[1], "v"));
    apart.file("c.rdb", dump(THEN + 1800, &parts[2], "v"));
    refused(
        &[utf8(&apart)],
        &url,
        &["over an hour apart: ", &early, &late, "--newest-wins"],
    );
    assert_eq!(size(&server), Value::Int(0));
    go("load", &[utf8(&apart)], &url, &["--newest-wins"]).ends_with(0);
    assert_eq!(size(&server), Value::Int(3000));
}

#[test]
fn of_two_shards_of_one_second_none_is_the_newer() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let names = names(0);
    for name in ["a.rdb", "b.rdb"] {
        dir.file(name, dump(THEN, &names, name));
    }
    let ran = go("load", &[utf8(&dir)], &server.url(), &["--newest-wins"]);
    ran.ends_with(2);
    assert!(
        ran.stderr.contains("neither is known to be the newer one"),
        "{ran:?}"
    );
    assert_eq!(size(&server), Value::Int(0));
}

#[test]
fn what_goes_into_a_cluster_is_taken_for_its_shards() {
    let cluster = Cluster::start("redis-7.0", 2, 0);
    let dir = Dir::new();
    let names = names(0);
    let old = dir.file("old.rdb", dump(THEN, &names, "old"));
    let new = dir.file("new.rdb", dump(THEN + 60, &names[..500], "new"));
    refused(
        &[&old, &new],
        &cluster.url(),
        &["have no slot in common", "load them one after the other"],
    );
    let ran = go("load", &[&old, &new], &cluster.url(), &["--newest-wins"]);
    ran.ends_with(0);
    let keys: Vec<Vec<u8>> = names.iter().map(|name| name.clone().into_bytes()).collect();
    let younger: Vec<u16> = keys[..500].iter().map(|key| slot_of(key)).collect();
    for (n, (key, got)) in keys
        .iter()
        .zip(get_all(&cluster.ports(), &keys))
        .enumerate()
    {
        let wanted = match (n < 500, younger.contains(&slot_of(key))) {
            (true, _) => Value::BulkString(format!("new of {}", names[n]).into_bytes()),
            (false, true) => Value::Nil,
            (false, false) => Value::BulkString(format!("old of {}", names[n]).into_bytes()),
        };
        assert_eq!(got, wanted, "{}", names[n]);
    }
}
