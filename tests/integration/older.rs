//! Dumps into servers that do not read such files: newer into older, Redis into Valkey and back. Every key whose meaning can
//! exist there arrives, equal by typed reading: raw where the server knows its type, else in an older form. Every other one
//! is refused by name, with the server's version and what would be lost. (Dumps that a server reads by itself are the
//! oracle's: all their keys go raw.)

use std::collections::BTreeMap;

use rdbridge::outcome::Outcome;
use rdbridge::snapshot::{Dialect, Entry, Snapshot, ValueType};
use rdbridge::value::commands::Loss;
use rdbridge::value::{Decoder, Value};

use super::oracle::{Loader, empty};
use super::support::contents::{
    CLOCK_TOLERANCE_MS, Key, Meaning, Reading, differs_in_meaning, read,
};
use super::support::dump::{Crc, Dump};
use super::support::loading::{Loaded, load, options};
use super::support::samples::{self, Sample};
use super::support::say_aloud;
use super::support::server::{self, Server, version_of};

/// One server for each version of the format, to make the dumps and to say what they hold.
const SOURCES: &[&str] = &[
    "redis-3.2",
    "redis-6.2",
    "redis-7.0",
    "valkey-8.1",
    "redis-8.0",
    "redis-8.6",
    "redis-8.10",
    "valkey-9.0",
];

/// Whether `RESTORE` of this type works there, as measured (docs of the format, 6.1).
pub(crate) fn knows(name: &str, value_type: ValueType, dialect: Dialect) -> bool {
    let (product, major, minor) = version_of(name);
    let valkey = product == "valkey";
    let redis_from = |from| !valkey && (major, minor) >= from;
    let all_from = |from| valkey || (major, minor) >= from;
    match (value_type.0, dialect) {
        (0..=4 | 9..=13, _) => true,
        (14, _) => all_from((3, 2)),
        (5, _) => all_from((4, 0)),
        (15, _) => all_from((5, 0)),
        (16..=19, _) => all_from((7, 0)),
        (20 | 21, _) => all_from((7, 2)),
        (22, Dialect::Valkey) => valkey && major >= 9,
        (22..=25, Dialect::Redis) => redis_from((7, 4)),
        (26, Dialect::Redis) => redis_from((8, 6)),
        (27 | 28, Dialect::Redis) => redis_from((8, 8)),
        (29..=32, Dialect::Redis) => redis_from((8, 10)),
        // Vector sets; those that 8.0 gets are all from 8.2 on, and it knows only its own.
        (7, Dialect::Redis) => redis_from((8, 2)),
        other => panic!("no row for {other:?}"),
    }
}

/// How a key must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    Raw,
    Reencoded,
    /// Nothing of it can exist there.
    Not,
    /// It would lose this.
    Without(Loss),
}

/// By what the source's own server says of the value (and for what no server says plainly, by its decoder).
fn goes(name: &str, entry: &Entry<'_>, value: &Key) -> Goes {
    if knows(name, entry.value_type, entry.dialect) {
        return Goes::Raw;
    }
    let (product, major, minor) = version_of(name);
    let from = |redis, valkey| (major, minor) >= if product == "valkey" { valkey } else { redis };
    match &value.meaning {
        Meaning::List(_) | Meaning::Set(_) | Meaning::Zset(_) => Goes::Reencoded,
        Meaning::Hash(fields) => {
            let expires = fields.values().any(|(_, at)| at.is_some());
            if expires && !from((7, 4), (9, 0)) {
                Goes::Without(Loss::FieldExpiry)
            } else {
                Goes::Reencoded
            }
        }
        Meaning::Stream(_) if !from((5, 0), (7, 2)) => Goes::Not,
        Meaning::Stream(_) => match stream_of_its_own(entry) {
            (true, _) if !from((8, 8), (99, 0)) => Goes::Without(Loss::Nacked),
            (_, true) if !from((8, 6), (99, 0)) => Goes::Without(Loss::Idempotency),
            _ => Goes::Reencoded,
        },
        Meaning::Text(_) | Meaning::Other(_) => Goes::Not,
    }
}

/// Whether a stream has nacked entries, and idempotency that somebody configured or used.
fn stream_of_its_own(entry: &Entry<'_>) -> (bool, bool) {
    let mut decoder = Decoder::new(None);
    let Value::Stream(mut stream) = decoder.decode(entry).expect("a sound stream") else {
        panic!("no stream");
    };
    let mut nacked = false;
    while stream.next_group().expect("a sound group").is_some() {
        nacked |= stream.next_nacked().expect("sound").is_some();
    }
    let settings = stream.idempotency().expect("sound");
    let used =
        settings.is_some_and(|s| (s.duration_seconds, s.max_entries, s.producers) != (100, 100, 0));
    (nacked, used)
}

#[test]
fn newer_dumps_into_servers_before_7() {
    newer_into(|major| major < 7);
}

#[test]
fn newer_dumps_into_7_and_later() {
    newer_into(|major| major >= 7);
}

/// Keys by how they went.
#[derive(Debug, Default)]
struct Figures {
    raw: u64,
    reencoded: u64,
    refused: u64,
}

fn newer_into(wanted: impl Fn(u32) -> bool) {
    let destinations: Vec<Server> = server::all()
        .into_iter()
        .filter(|name| wanted(version_of(name).1))
        .map(Server::start)
        .collect();
    let samples = samples::all();
    let mut figures = BTreeMap::<&str, Figures>::new();
    let mut faults = Vec::new();
    for source in SOURCES {
        if server::program(source, "server").is_none() {
            continue;
        }
        let mut loader = None;
        for sample in samples.iter().filter(|s| source_of(s) == Some(source)) {
            let mut reading = None;
            for destination in &destinations {
                if sample.is_read_by(destination.name()) {
                    continue;
                }
                let reading = reading.get_or_insert_with(|| {
                    let loader = loader.get_or_insert_with(|| Loader::new(source));
                    loader
                        .load(sample, false)
                        .ok()
                        .map(|()| read(&loader.server))
                });
                // Files with values of modules that this source has not either.
                let Some(reading) = reading else { break };
                empty(destination);
                let counted = figures.entry(destination.name()).or_default();
                let name = format!("{} into {}", sample.name, destination.name());
                match load(&destination.url(), &sample.data, options()) {
                    Ok(loaded) => {
                        counted.raw += loaded.restored_raw();
                        counted.reencoded += loaded.restored() - loaded.restored_raw();
                        counted.refused += loaded.count(Outcome::Refused);
                        let found = faults_of(sample, reading, destination, &loaded);
                        faults.extend(found.into_iter().map(|what| format!("{name}: {what}")));
                    }
                    Err(error) => faults.push(format!("{name}: {error}")),
                }
            }
        }
    }
    for (name, figures) in &figures {
        let Figures {
            raw,
            reencoded,
            refused,
        } = figures;
        say_aloud(&format!(
            "{name}: of dumps that it does not read itself {raw} keys restored raw, {reencoded} re-encoded, {refused} refused"
        ));
        assert!(
            *raw > 0 && *reencoded > 0 || name.ends_with("8.10"),
            "{name}"
        );
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// Who says what a file holds: its own server, or for a file of the corpus the newest that reads it.
fn source_of(sample: &Sample) -> Option<&'static str> {
    let source = SOURCES.iter().copied().find(|name| match &sample.home {
        Some(home) => home == name,
        None => sample.is_read_by(name),
    })?;
    Some(source)
}

fn faults_of(
    sample: &Sample,
    reading: &Reading,
    destination: &Server,
    loaded: &Loaded,
) -> Vec<String> {
    let name = destination.name();
    let (product, major, minor) = version_of(name);
    let mut faults = Vec::new();
    if !loaded.stopped().is_empty() {
        faults.push(loaded.stopped());
    }
    let there = read(destination);
    let snapshot = Snapshot::parse(&sample.data).expect("a sound file");
    let (mut raw, mut reencoded, mut scratch) = (0, 0, Vec::new());
    for entry in snapshot.entries() {
        let entry: Entry<'_> = entry.expect("a sound entry");
        let key = entry.key.bytes(&mut scratch).expect("a name").to_vec();
        let id = (entry.db, key);
        let type_name = entry.value_type.name(entry.dialect);
        let refusal = loaded.events.iter().find(|event| {
            event.ordinal == entry.ordinal
                && matches!(event.outcome, Outcome::Refused | Outcome::Failed)
        });
        let Some(expected) = reading.keys.get(&id) else {
            // Past its time.
            if there.keys.contains_key(&id) {
                faults.push(format!("{id:?} should not be there"));
            }
            continue;
        };
        let goes = goes(name, &entry, expected);
        match (there.keys.get(&id), refusal, goes) {
            (held, Some(refusal), Goes::Not | Goes::Without(_)) => {
                if held.is_some() {
                    faults.push(format!("{id:?} was refused, and is there"));
                }
                // References to templates would go as what they refer to.
                let mut names = vec![
                    type_name.trim_end_matches("-ref").to_owned(),
                    format!("{product} {major}.{minor}"),
                ];
                if let Goes::Without(loss) = goes {
                    names.push(format!("would lose {loss} (--allow-loss {loss}"));
                }
                let is_module = entry.value_type == ValueType::MODULE_2;
                if !is_module && !names.iter().all(|n| refusal.reason.contains(n.as_str())) {
                    faults.push(format!(
                        "{id:?} is refused without {names:?}: {}",
                        refusal.reason
                    ));
                }
            }
            (_, Some(refusal), _) => {
                faults.push(format!("{id:?}, {type_name}, could go: {}", refusal.reason));
            }
            (None, None, _) => faults.push(format!("{id:?}, {type_name}, is not there")),
            (Some(_), None, Goes::Not | Goes::Without(_)) => {
                faults.push(format!("{id:?}, {type_name}, is there against the table"));
            }
            (Some(held), None, Goes::Raw | Goes::Reencoded) => {
                if goes == Goes::Raw {
                    raw += 1;
                } else {
                    reencoded += 1;
                }
                let what = differs_in_meaning(expected, held, CLOCK_TOLERANCE_MS);
                faults.extend(what.map(|what| format!("{id:?}: {what}")));
            }
        }
    }
    // A hash whose fields are all past their time is taken and gone at once.
    let gone = u64::from(sample.name.ends_with("hash-field-ttl-past.rdb"));
    let counted = (
        loaded.restored_raw(),
        loaded.restored() - loaded.restored_raw(),
    );
    let fits = |counted: u64, found: u64| (found..=found + gone).contains(&counted);
    if !fits(counted.0, raw) || !fits(counted.1, reencoded) {
        faults.push(format!(
            "{raw} raw and {reencoded} re-encoded of the dump are there, {counted:?} were counted"
        ));
    }
    if raw + reencoded != there.keys.len() as u64 {
        faults.push(format!(
            "{} of the dump are there, {} are held",
            raw + reencoded,
            there.keys.len()
        ));
    }
    faults
}

/// Entries 1-1 {f:v} and 2-0 {g:w}, and a `length` beside them.
fn stream_of_length(length: u8) -> Vec<u8> {
    const NODE: &[u8] = b"\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\
        \x2e\x2e\0\0\0\x11\0\x02\x01\0\x01\x01\x01\x81f\x02\0\x01\
        \x02\x01\0\x01\0\x01\x81v\x02\x04\x01\
        \0\x01\x01\x01\xdf\xff\x02\x01\x01\x81g\x02\x81w\x02\x06\x01\xff";
    // Last, first and largest deleted ID, entries added, groups.
    [&[1], NODE, &[length, 2, 0, 1, 1, 0, 0, 2, 0]].concat()
}

/// Old servers wrote streams whose length is not the number of their entries; new ones refuse them.
#[test]
fn a_payload_that_is_refused_goes_once_more_in_another_form() {
    let file = Dump::redis(10)
        .aux("redis-ver", "7.0.15")
        .key(19, "sound", stream_of_length(2))
        .key(19, "wrong", stream_of_length(9))
        .string_key("k", "v")
        .finish(Crc::Right);
    let mut refusing = 0;
    for name in server::all() {
        let (product, major, minor) = version_of(name);
        let strict = match product {
            "valkey" => (major, minor) >= (9, 1),
            _ => (major, minor) >= (8, 8),
        };
        if major < 7 {
            continue;
        }
        let destination = Server::start(name);
        let loaded = load(&destination.url(), &file, options()).expect("it can be used");
        assert_eq!(loaded.restored(), 3, "{name}: {:?}", loaded.events);
        assert_eq!(loaded.restored_raw(), if strict { 2 } else { 3 }, "{name}");
        let lost = loaded.report.losses.get(Loss::StreamCounters);
        assert_eq!(lost, u64::from(strict), "{name}");
        let there = read(&destination);
        let value = |key: &str| there.keys[&(0, key.as_bytes().to_vec())].meaning.clone();
        assert_eq!(value("wrong"), value("sound"), "{name}");
        refusing += u32::from(strict);
    }
    assert!(refusing >= 1, "redis-8.10 is required");
}

/// What would lose meaning goes where that is allowed by name, and is listed.
#[test]
fn allowed_losses_are_listed() {
    let ahead = 4_000_000_000_000i64.to_le_bytes();
    let fields = [&b"\x02\x01f\x01a"[..], &ahead, b"\x01g\x01b", &[0xff; 8]].concat();
    let file = Dump::valkey(80)
        .key(22, "sessions", fields)
        .idle(70)
        .string_key("k", "v")
        .finish(Crc::Right);
    let destination = Server::start("redis-7.0");
    let refused = load(&destination.url(), &file, options()).expect("it can be used");
    assert_eq!(
        (refused.restored(), refused.count(Outcome::Refused)),
        (1, 1)
    );
    let reason = &refused.events[0].reason;
    assert!(
        reason.contains("as hash it would lose field-expiry (--allow-loss field-expiry"),
        "{reason}"
    );
    empty(&destination);
    let mut allowing = options();
    allowing.policies.allow_loss = [Loss::FieldExpiry].into_iter().collect();
    let loaded = load(&destination.url(), &file, allowing).expect("it can be used");
    assert_eq!((loaded.restored_raw(), loaded.restored()), (1, 2));
    assert!(loaded.report.is_clean());
    let [event] = &loaded.events[..] else {
        panic!("{:?}", loaded.events)
    };
    assert_eq!(
        (&event.key[..], event.reason.as_str()),
        (&b"sessions"[..], "without field-expiry")
    );
    assert_eq!(
        loaded.report.losses.iter().collect::<Vec<_>>(),
        [(Loss::FieldExpiry, 1)]
    );
    let there = read(&destination);
    let Meaning::Hash(fields) = &there.keys[&(0, b"sessions".to_vec())].meaning else {
        panic!("a hash")
    };
    assert_eq!(fields.len(), 2);
}
