//! Newer dumps into older servers: every key whose type the server knows arrives, equal in meaning; every other one is refused
//! by name, with the server's version.

use std::collections::BTreeMap;

use rdbridge::outcome::Outcome;
use rdbridge::snapshot::{Dialect, Entry, Snapshot, ValueType};

use super::oracle::{Loader, empty};
use super::support::contents::{CLOCK_TOLERANCE_MS, Reading, differs_in_meaning, read};
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
fn knows(name: &str, value_type: ValueType, dialect: Dialect) -> bool {
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

#[test]
fn newer_dumps_into_servers_before_7() {
    newer_into(|major| major < 7);
}

#[test]
fn newer_dumps_into_7_and_later() {
    newer_into(|major| major >= 7);
}

fn newer_into(wanted: impl Fn(u32) -> bool) {
    let destinations: Vec<Server> = server::all()
        .into_iter()
        .filter(|name| wanted(version_of(name).1))
        .map(Server::start)
        .collect();
    let samples = samples::all();
    let mut figures = BTreeMap::<&str, (u64, u64)>::new();
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
                let (restored, refused) = figures.entry(destination.name()).or_default();
                match load(&destination.url(), &sample.data, options()) {
                    Ok(loaded) => {
                        *restored += loaded.restored();
                        *refused += loaded.count(Outcome::Refused);
                        let found = faults_of(sample, reading, destination, &loaded);
                        faults.extend(found.into_iter().map(|what| {
                            format!("{} into {}: {what}", sample.name, destination.name())
                        }));
                    }
                    Err(error) => faults.push(format!(
                        "{} into {}: {error}",
                        sample.name,
                        destination.name()
                    )),
                }
            }
        }
    }
    for (name, (restored, refused)) in &figures {
        say_aloud(&format!(
            "{name}: {restored} keys of newer dumps restored, {refused} refused"
        ));
        assert!(*restored > 0 || name.ends_with("8.10"), "{name}");
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
    let (mut restored, mut scratch) = (0, Vec::new());
    for entry in snapshot.entries() {
        let entry: Entry<'_> = entry.expect("a sound entry");
        let key = entry.key.bytes(&mut scratch).expect("a name").to_vec();
        let id = (entry.db, key);
        let type_name = entry.value_type.name(entry.dialect);
        let refusal = loaded.events.iter().find(|event| {
            event.ordinal == entry.ordinal
                && matches!(event.outcome, Outcome::Refused | Outcome::Failed)
        });
        match (reading.keys.get(&id), there.keys.get(&id), refusal) {
            // Past its time.
            (None, None, _) => {}
            (None, Some(_), _) => faults.push(format!("{id:?} should not be there")),
            (Some(_), held, Some(refusal)) => {
                if held.is_some() {
                    faults.push(format!("{id:?} was refused, and is there"));
                }
                if knows(name, entry.value_type, entry.dialect) {
                    faults.push(format!("{id:?}, {type_name}, could go: {}", refusal.reason));
                }
                // References to templates would go as what they refer to.
                let sent_as = type_name.trim_end_matches("-ref").to_owned();
                let names = [sent_as, format!("{product} {major}.{minor}")];
                let is_module = entry.value_type == ValueType::MODULE_2;
                if !is_module && !names.iter().all(|n| refusal.reason.contains(n.as_str())) {
                    faults.push(format!(
                        "{id:?} is refused without {names:?}: {}",
                        refusal.reason
                    ));
                }
            }
            (Some(_), None, None) => faults.push(format!("{id:?}, {type_name}, is not there")),
            (Some(expected), Some(held), None) => {
                restored += 1;
                if !knows(name, entry.value_type, entry.dialect) {
                    faults.push(format!("{id:?}, {type_name}, is there against the table"));
                }
                let what = differs_in_meaning(expected, held, CLOCK_TOLERANCE_MS);
                faults.extend(what.map(|what| format!("{id:?}: {what}")));
            }
        }
    }
    // A hash whose fields are all past their time is taken and gone at once.
    let gone = u64::from(sample.name.ends_with("hash-field-ttl-past.rdb"));
    let counted = loaded.restored();
    if counted > restored + gone || counted < restored || restored != there.keys.len() as u64 {
        faults.push(format!(
            "{restored} of the dump are there, {counted} were counted, {} are held",
            there.keys.len()
        ));
    }
    faults
}
