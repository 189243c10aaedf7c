//! Every file of `testdata/`: what the scanner finds is what the server that wrote the file said it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rdbridge::snapshot::{ChecksumState, Function, Record, Snapshot};

use super::support::expected::{self, Expected, Kind};
use super::support::server::REQUIRED;

/// What the scanner counts.
#[derive(Debug, Default)]
struct Found {
    keys_per_db: BTreeMap<u64, u64>,
    rdb_types: BTreeMap<u8, u64>,
    types: BTreeMap<String, u64>,
    expires: u64,
    past: u64,
    functions: u64,
    idle: u64,
    freq: u64,
    with_template: u64,
    templates: u64,
    slots: u64,
    aux: BTreeSet<String>,
    checksum: Option<ChecksumState>,
    trailing: usize,
}

fn scan(data: &[u8]) -> rdbridge::Result<Found> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_millis() as i64;
    let mut found = Found::default();
    let mut records = Snapshot::parse(data)?.records();
    let mut end = None;
    while let Some(record) = records.next_record()? {
        match record {
            Record::Entry(entry) => {
                *found.keys_per_db.entry(entry.db).or_default() += 1;
                *found.rdb_types.entry(entry.value_type.0).or_default() += 1;
                found.expires += u64::from(entry.expire_at_ms.is_some());
                found.past += u64::from(entry.is_expired(now));
                found.idle += u64::from(entry.idle_seconds.is_some());
                found.freq += u64::from(entry.lfu_freq.is_some());
                found.with_template += u64::from(entry.template.is_some());
                let kind = entry.type_info().expect("a known type").kind;
                *found.types.entry(kind.to_string()).or_default() += 1;
            }
            Record::Aux { name, .. } => {
                let mut scratch = Vec::new();
                let name = String::from_utf8_lossy(name.bytes(&mut scratch)?).into_owned();
                if name == "slot-info" {
                    found.slots += 1;
                }
                found.aux.insert(name);
            }
            Record::Function(Function::Source { .. }) => found.functions += 1,
            Record::HashTemplate(_) => found.templates += 1,
            Record::SlotInfo { .. } => found.slots += 1,
            Record::End(e) => end = Some(e),
            _ => {}
        }
    }
    let end = end.expect("a sound file has an end");
    found.checksum = Some(end.checksum);
    found.trailing = end.trailing.len();
    Ok(found)
}

#[test]
fn the_scanner_counts_what_the_server_counted() {
    let rows = expected::all();
    for row in &rows {
        let data = fs::read(row.rdb()).expect("the file is there");
        assert!(data.starts_with(row.magic.as_bytes()), "{}", row.name);
        let found = scan(&data).unwrap_or_else(|e| panic!("{}: {e}", row.name));
        let (name, keys) = (&row.name, found.keys_per_db.values().sum::<u64>());
        assert_eq!(keys, row.keys, "keys of {name}");
        assert_eq!(found.keys_per_db, row.keys_per_db, "keys per db of {name}");
        assert_eq!(found.rdb_types, row.rdb_types, "RDB types of {name}");
        assert_eq!(found.expires, row.expires, "expiries of {name}");
        assert_eq!(found.past, row.past, "past expiries of {name}");
        assert_eq!(found.functions, row.functions, "functions of {name}");
        // The server calls a vector set by its own name; in the file it is a module's value.
        let types = row.types.iter().map(|(name, count)| {
            let name = if name == "vectorset" { "module" } else { name };
            (name.to_owned(), *count)
        });
        assert_eq!(found.types, types.collect(), "types of {name}");
        what_the_case_is_for(row, &found);
    }
    // Nothing of this may be true because a file is not there.
    for server in REQUIRED {
        assert!(rows.iter().any(|row| row.server == *server), "{server}");
    }
    assert!(rows.len() >= 248, "{} files", rows.len());
}

/// Each case exists for something that stands around the values: it is there.
fn what_the_case_is_for(row: &Expected, found: &Found) {
    let name = &row.name;
    let (product, version) = row.server.split_once('-').expect("product-version");
    let (major, minor) = row.server_version.split_once('.').expect("a version");
    let minor = minor.split('.').next().unwrap_or_default();
    let version_number = (
        major.parse::<u32>().expect("a number"),
        minor.parse::<u32>().expect("a number"),
    );
    assert!(row.server_version.starts_with(version), "{name}");
    match row.case() {
        "lru" => assert_eq!(found.idle, row.keys, "idle times of {name}"),
        "lfu" => assert_eq!(found.freq, row.keys, "frequencies of {name}"),
        "hash-templates" => {
            assert!(found.templates >= 3, "templates of {name}");
            assert!(found.with_template >= 20, "references of {name}");
        }
        "cluster" if product == "valkey" || version_number >= (8, 0) => {
            assert!(found.slots >= 10, "slots of {name}");
        }
        "replicated" => {
            assert!(found.aux.contains("repl-id"), "{name}");
            assert_eq!(found.aux.contains("lua"), version_number < (7, 0), "{name}");
        }
        "dbs-and-expiries" => assert_eq!(row.past, 9, "{name}"),
        _ => assert_eq!(found.idle + found.freq, 0, "{name}"),
    }
    match found.checksum {
        Some(ChecksumState::Disabled) => assert_eq!(row.case(), "no-checksum"),
        Some(ChecksumState::Verified(_)) => assert_ne!(row.case(), "no-checksum"),
        other => panic!("{name}: {other:?}"),
    }
    match row.kind {
        Kind::Aof => assert!(found.trailing > 0, "{name} has commands behind the RDB"),
        Kind::Rdb | Kind::AppendOnlyDir => assert_eq!(found.trailing, 0, "{name}"),
    }
}
