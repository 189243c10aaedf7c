//! Every required server's dump into every required server: newer into older, Redis into Valkey and back. What can exist there
//! arrives, equal by typed reading in value, expiry, field expiries, groups and pending entries; everything else is refused by
//! name. What can exist where, and which share of each dump goes raw, stands here in tables.

mod source;

use std::collections::BTreeMap;
use std::time::Instant;

use rdbridge::outcome::Outcome;
use rdbridge::snapshot::{Entry, Snapshot, ValueType};

use self::source::{Held, Source, has_functions, source};
use super::older::knows;
use super::oracle::empty;
use super::plan;
use super::support::contents::{CLOCK_TOLERANCE_MS, differs_in_meaning};
use super::support::loading::{Loaded, load, options};
use super::support::reading::without_delivery_times;
use super::support::say_aloud;
use super::support::server::{REQUIRED, Server, version_of};

/// Where keys of one kind can exist.
type Row = (&'static str, Version, Option<Version>, &'static str);
type Version = (u32, u32);

/// What stands in front of the `/` of names of keys that cannot exist everywhere: the first Redis and the first Valkey that
/// have them, and what their refusal says. Everything else can be in every server from 5.0 on.
const ELSEWHERE: &[Row] = &[
    (
        "field-expiry",
        (7, 4),
        Some((9, 0)),
        "would lose field-expiry",
    ),
    ("idempotency", (8, 6), None, "would lose idempotency"),
    ("nacked", (8, 8), None, "would lose nacked-entries"),
    ("array", (8, 8), None, "array"),
    ("vectors", (8, 0), None, "module"),
];

/// How many keys of each dump go as they are: a row for each source, a column for each destination, both as in [`SERVERS`].
#[rustfmt::skip]
const RAW: [[u64; 10]; 10] = [
    [109, 109, 109, 109, 109, 109, 109, 109, 109, 109], // redis-5.0
    [109, 109, 109, 109, 109, 109, 109, 109, 109, 109], // redis-6.0
    [109, 109, 109, 109, 109, 109, 109, 109, 109, 109], // redis-6.2
    [82, 82, 82, 110, 110, 110, 110, 110, 110, 110], // redis-7.0
    [80, 80, 80, 102, 115, 115, 115, 110, 110, 110], // redis-8.0
    [80, 80, 80, 102, 113, 115, 115, 110, 110, 110], // redis-8.2
    [80, 80, 80, 102, 107, 109, 134, 104, 104, 104], // redis-8.10
    [80, 80, 80, 102, 110, 110, 110, 110, 110, 110], // valkey-8.0
    [80, 80, 80, 102, 110, 110, 110, 110, 110, 110], // valkey-8.1
    [81, 81, 81, 103, 111, 111, 111, 111, 111, 113], // valkey-9.0
];

const SERVERS: [&str; 10] = [
    "redis-5.0",
    "redis-6.0",
    "redis-6.2",
    "redis-7.0",
    "redis-8.0",
    "redis-8.2",
    "redis-8.10",
    "valkey-8.0",
    "valkey-8.1",
    "valkey-9.0",
];

fn place(name: &str) -> usize {
    let found = SERVERS.iter().position(|server| *server == name);
    found.unwrap_or_else(|| panic!("{name} has no row"))
}

/// What the refusal of a key must say; `None` where it can exist.
fn refusal(key: &[u8], from: &str, to: &str) -> Option<&'static str> {
    let key = String::from_utf8_lossy(key).into_owned();
    let (class, _) = key.split_once('/')?;
    let (_, redis, valkey, words) = ELSEWHERE.iter().find(|row| row.0 == class)?;
    let (product, major, minor) = version_of(to);
    // Those of 8.2 have another version inside, which only the server's own answer tells.
    if class == "vectors" && version_of(from) >= ("redis", 8, 2) && to == "redis-8.0" {
        return Some("Bad data format");
    }
    let first = match product {
        "valkey" => *valkey,
        _ => Some(*redis),
    };
    match first {
        Some(first) if (major, minor) >= first => None,
        _ => Some(words),
    }
}

#[test]
fn every_dump_goes_into_every_server() {
    let started = Instant::now();
    let sources: Vec<Source> = REQUIRED.iter().copied().map(source).collect();
    let written = started.elapsed();
    let mut faults = Vec::new();
    let mut raw = BTreeMap::new();
    let (mut pairs, mut keys) = (0, 0);
    for name in REQUIRED {
        let destination = Server::setup(name).with_debug().start();
        for source in &sources {
            let pair = format!("{} into {name}", source.name);
            let (found, restored_raw, restored) = replay(source, &destination);
            faults.extend(found.into_iter().map(|what| format!("{pair}: {what}")));
            raw.insert((source.name, *name), restored_raw);
            (pairs, keys) = (pairs + 1, keys + restored);
            let wanted = RAW[place(source.name)][place(name)];
            if restored_raw != wanted {
                faults.push(format!("{pair}: {restored_raw} keys raw, not {wanted}"));
            }
        }
    }
    let row = |source: &Source| -> String {
        let cells = REQUIRED
            .iter()
            .map(|name| raw[&(source.name, *name)].to_string());
        format!("{} {}", source.name, cells.collect::<Vec<_>>().join(", "))
    };
    say_aloud(&format!(
        "matrix: {pairs} pairs of servers, {keys} keys arrived, in {:.1} s ({:.1} s of them to write the dumps); raw of them:\n{}",
        started.elapsed().as_secs_f64(),
        written.as_secs_f64(),
        sources.iter().map(row).collect::<Vec<_>>().join("\n")
    ));
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert_eq!(pairs, REQUIRED.len() * REQUIRED.len());
}

/// One dump into one server: what is wrong, and how many keys went raw and in all.
fn replay(source: &Source, destination: &Server) -> (Vec<String>, u64, u64) {
    let name = destination.name();
    empty(destination);
    let options = options();
    let planned = plan::plan(&destination.url(), &source.data, options.policies.now_ms);
    let loaded = match load(&destination.url(), &source.data, options) {
        Ok(loaded) => loaded,
        Err(error) => return (vec![error.to_string()], 0, 0),
    };
    let mut faults: Vec<String> = loaded
        .report
        .stopped
        .iter()
        .map(ToString::to_string)
        .collect();
    match planned {
        Ok(planned) => faults.extend(plan::differs(&planned, &loaded)),
        Err(error) => faults.push(format!("no plan: {error}")),
    }
    let there = Held::by(destination);
    faults.extend(differences(source, name, &there, &loaded));
    let (raw, reencoded) = roads(source, name);
    let counted = (
        loaded.restored_raw(),
        loaded.restored() - loaded.restored_raw(),
    );
    if counted != (raw, reencoded) {
        faults.push(format!(
            "{counted:?} raw and otherwise, by its types {raw} and {reencoded}"
        ));
    }
    (faults, loaded.restored_raw(), loaded.restored())
}

/// How many keys go raw by what `RESTORE` takes there, as measured, and how many in another form.
fn roads(source: &Source, to: &str) -> (u64, u64) {
    let snapshot = Snapshot::parse(&source.data).expect("a sound dump");
    let (mut raw, mut reencoded, mut scratch) = (0, 0, Vec::new());
    for entry in snapshot.entries() {
        let entry: Entry<'_> = entry.expect("a sound entry");
        let key = entry.key.bytes(&mut scratch).expect("a name");
        if refusal(key, source.name, to).is_some() {
            continue;
        }
        let is_module = entry.value_type == ValueType::MODULE_2;
        match is_module || knows(to, entry.value_type, entry.dialect) {
            true => raw += 1,
            false => reencoded += 1,
        }
    }
    (raw, reencoded)
}

fn differences(source: &Source, name: &str, there: &Held, loaded: &Loaded) -> Vec<String> {
    let mut faults = Vec::new();
    let (_, from, _) = version_of(source.name);
    let (_, to, _) = version_of(name);
    let tolerance = if from.min(to) >= 7 {
        0
    } else {
        CLOCK_TOLERANCE_MS
    };
    let mut listed = loaded.listed(Outcome::Refused);
    listed.extend(loaded.listed(Outcome::Failed));
    let mut refused = 0;
    for (id @ (db, key), wanted) in &source.held.reading.keys {
        let shown = format!("{} in db {db}", rdbridge::error::Escaped(key));
        let held = there.reading.keys.get(id);
        if let Some(words) = refusal(key, source.name, name) {
            refused += 1;
            let event = listed.iter().find(|event| event.key == *key);
            match event {
                None => faults.push(format!("{shown} was not refused")),
                Some(event) if !event.reason.contains(words) => {
                    faults.push(format!(
                        "{shown} is refused without {words:?}: {}",
                        event.reason
                    ));
                }
                Some(_) => {}
            }
            if held.is_some() {
                faults.push(format!("{shown} is there"));
            }
            continue;
        }
        let Some(held) = held else {
            let event = loaded.events.iter().find(|event| event.key == *key);
            faults.push(format!("{shown} is not there: {event:?}"));
            continue;
        };
        let what = differs_in_meaning(wanted, held, tolerance);
        faults.extend(what.map(|what| format!("{shown}: {what}")));
    }
    if listed.len() != refused || loaded.events.len() != refused {
        faults.push(format!("{refused} to be refused: {:?}", loaded.events));
    }
    if there.reading.keys.len() + refused != source.held.reading.keys.len() {
        faults.push("there is more than the dump holds".to_owned());
    }
    for (key, wanted) in &source.held.streams {
        let Some(held) = there.streams.get(key) else {
            continue;
        };
        let (mut wanted, mut held) = (wanted.clone(), held.clone());
        if from.min(to) < 6 {
            (wanted, held) = (without_delivery_times(wanted), without_delivery_times(held));
        }
        if wanted != held {
            let differing = wanted
                .iter()
                .zip(&held)
                .find(|(wanted, held)| wanted != held);
            let key = rdbridge::error::Escaped(key);
            faults.push(format!("{key}: {differing:?}"));
        }
    }
    let functions = &loaded.report.functions;
    let found = source.held.libraries.len() as u64;
    let (refused, libraries) = match has_functions(name) {
        true => (0, source.held.libraries.clone()),
        false => (found, BTreeMap::new()),
    };
    if functions.found != found || functions.refused != refused || there.libraries != libraries {
        faults.push(format!("functions: {functions:?}, {:?}", there.libraries));
    }
    faults
}

/// What the tests above must have seen to mean anything.
#[test]
fn every_source_writes_every_type_that_it_has() {
    for name in REQUIRED {
        let source = source(name);
        let mut classes = BTreeMap::<String, u32>::new();
        for (_, key) in source.held.reading.keys.keys() {
            let key = String::from_utf8_lossy(key).into_owned();
            let class = key.split_once('/').map_or("", |(class, _)| class);
            *classes.entry(class.to_owned()).or_default() += 1;
        }
        let (product, major, minor) = version_of(name);
        let mut wanted = vec!["text", "list", "set", "hash", "zset", "stream"];
        for (class, redis, valkey, _) in ELSEWHERE {
            let first = if product == "valkey" {
                *valkey
            } else {
                Some(*redis)
            };
            wanted.extend(
                first
                    .filter(|first| (major, minor) >= *first)
                    .map(|_| *class),
            );
        }
        for class in wanted {
            assert!(classes.contains_key(class), "{name}: {class}: {classes:?}");
        }
        assert_eq!(
            !source.held.libraries.is_empty(),
            has_functions(name),
            "{name}"
        );
        let pending = source.held.streams.values().flatten();
        assert!(pending.filter(|line| line.starts_with("pending")).count() > 100);
    }
}
