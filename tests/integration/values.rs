//! Values decoded from real files: nothing is told of what servers wrote, and what servers refuse is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rdbridge::snapshot::{Dialect, Entry, Kind, Record, Snapshot, ValueType};
use rdbridge::value::commands::{Arrival, Commands, Limits, Loss, Losses, Vocabulary};
use rdbridge::value::{Decoder, Element, Finding, Severity};
use rdbridge::wire::Str;

use super::support::reading::{Detail, answered, decoded, without_delivery_times};
use super::support::server::{Server, all, version_of};
use super::support::{corpus_dir, expected};

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for item in fs::read_dir(dir).expect("a readable directory") {
        let path = item.expect("a readable directory").path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|end| end == "rdb") {
            found.push(path);
        }
    }
    found.sort();
}

/// Everything that a walk over every value of a file tells.
fn told(data: &[u8]) -> rdbridge::Result<(u64, Vec<Finding>)> {
    let spool = std::env::temp_dir();
    let mut decoder = Decoder::with_findings(Some(&spool), Vec::new());
    let mut entries = 0;
    let mut records = Snapshot::parse(data)?.records();
    while let Some(record) = records.next_record()? {
        if let Record::Entry(entry) = record {
            decoder.validate(&entry)?;
            entries += 1;
        }
    }
    Ok((entries, decoder.into_findings()))
}

#[test]
fn nothing_is_told_of_what_servers_wrote() {
    let mut entries = 0;
    for row in expected::all() {
        let data = fs::read(row.rdb()).expect("the file is there");
        let (count, findings) = told(&data).unwrap_or_else(|e| panic!("{}: {e}", row.name));
        assert_eq!(findings, [], "{}", row.name);
        entries += count;
    }
    assert!(entries > 5_000, "{entries} values were walked");
}

/// Files of the corpus in which something is to be told: their path's end, and the rule.
const ODD_VALUES: &[(&str, &str)] = &[];

#[test]
fn the_corpus_is_sound_but_for_what_is_known() {
    let Some(corpus) = corpus_dir() else { return };
    let mut files = Vec::new();
    files_below(&corpus.join("valid"), &mut files);
    let mut wrong = Vec::new();
    for path in &files {
        let data = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        match told(&data) {
            Err(error) => wrong.push(format!("{}: {error}", path.display())),
            Ok((_, findings)) => {
                for finding in findings {
                    let known = ODD_VALUES.iter().any(|(end, rule)| {
                        path.to_string_lossy().ends_with(end) && finding.rule.name() == *rule
                    });
                    if !known {
                        wrong.push(format!("{}: {}: {finding}", path.display(), finding.rule));
                    }
                }
            }
        }
    }
    assert!(files.len() > 50, "{} files", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex digits"))
        .collect()
}

/// Vectors that we judge in another way than the servers, and why.
const JUDGED_OTHERWISE: &[(&str, &str)] = &[];

#[test]
fn dump_payloads_are_judged_as_servers_judge_them() {
    let Some(corpus) = corpus_dir() else { return };
    let table = fs::read_to_string(corpus.join("DUMP-VECTORS.tsv")).expect("the table is there");
    let mut lines = table.lines();
    let columns: BTreeMap<&str, usize> = lines
        .next()
        .expect("a head line")
        .split('\t')
        .enumerate()
        .map(|(i, name)| (name, i))
        .collect();
    let mut wrong = Vec::new();
    let mut judged = 0;
    for line in lines {
        let cells: Vec<&str> = line.split('\t').collect();
        let payload = hex(cells[columns["hex"]]);
        let (body, _footer) = payload.split_at(payload.len() - 10);
        // The newest server that knows each type; a refused footer says nothing of the value.
        let verdicts: Vec<bool> = ["redis-8.10", "valkey-9.1", "redis-7.0", "redis-6.2"]
            .iter()
            .map(|server| cells[columns[server]])
            .filter(|verdict| !verdict.contains("version or checksum"))
            .map(|verdict| verdict.starts_with("ok") || verdict.contains(": ok"))
            .collect();
        let accepted = verdicts.first().copied().expect("some server judged it");
        let entry = Entry {
            ordinal: 0,
            offset: 0,
            type_offset: 0,
            db: 0,
            dialect: Dialect::Redis,
            value_type: ValueType(body[0]),
            key: Str::Raw(b"key"),
            value: &body[1..],
            value_offset: 1,
            expire_at_ms: None,
            idle_seconds: None,
            lfu_freq: None,
            slot: None,
            key_meta: None,
            template: None,
            sub_expires: b"",
            df_flags: None,
        };
        let mut decoder = Decoder::with_findings(None, Vec::new());
        decoder.validate(&entry).expect("a verdict");
        let findings = decoder.into_findings();
        let sound = findings
            .iter()
            .all(|finding| finding.severity() == Severity::Warning);
        judged += 1;
        let name = cells[columns["sha256"]];
        let known = JUDGED_OTHERWISE.iter().any(|(vector, _)| *vector == name);
        if (sound != accepted) != known {
            let shown: Vec<String> = findings
                .iter()
                .map(|f| format!("{}: {f}", f.rule))
                .collect();
            wrong.push(format!(
                "{name} ({}, {}): servers {}, we tell [{}]",
                cells[columns["type"]],
                cells[columns["test"]],
                if accepted { "accept it" } else { "refuse it" },
                shown.join(" | ")
            ));
        }
    }
    assert_eq!(judged, 59);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_millis() as i64
}

fn entries(data: &[u8]) -> Vec<Entry<'_>> {
    Snapshot::parse(data)
        .expect("a sound header")
        .entries()
        .collect::<rdbridge::Result<_>>()
        .expect("a sound file")
}

fn vocabulary(server: &str) -> Vocabulary {
    let (product, major, minor) = version_of(server);
    let (major, minor) = (major as u16, minor as u16);
    match product {
        "redis" => Vocabulary::redis(major, minor),
        _ => Vocabulary::valkey(major, minor),
    }
}

/// Sends the commands of one entry, and says what they do not carry.
fn replay(connection: &mut redis::Connection, entry: &Entry<'_>, words: Vocabulary) -> Losses {
    let mut decoder = Decoder::new(Some(&std::env::temp_dir()));
    let mut name = Vec::new();
    let key = Element::of(entry.key, &mut name).expect("a sound key");
    let arrival = Arrival {
        inside: rdbridge::transform::Expiries::default(),
        key,
        expire_at_ms: entry.expire_at_ms,
    };
    let mut commands = Commands::new(&mut decoder, entry, arrival, words, Limits::default())
        .unwrap_or_else(|e| panic!("{e}"));
    let mut pipeline = redis::pipe();
    let mut sent = 0;
    while let Some(command) = commands.next_command().unwrap_or_else(|e| panic!("{e}")) {
        let mut ours = redis::Cmd::new();
        let (mut argc, mut bytes) = (0, 0);
        for argument in command.args() {
            let mut text = Vec::new();
            argument.append_to(&mut text).expect("a sound argument");
            argc += 1;
            bytes += text.len() as u64;
            ours.arg(text);
        }
        assert_eq!(
            (argc, bytes),
            (command.argc(), command.bytes()),
            "{}",
            command.name()
        );
        assert!(argc <= 1000 || command.name() == "XADD");
        pipeline.add_command(ours).ignore();
        sent += 1;
        if sent % 500 == 0 {
            pipeline
                .exec(connection)
                .unwrap_or_else(|e| panic!("{}: {e}", entry.context()));
            pipeline = redis::pipe();
        }
    }
    pipeline
        .exec(connection)
        .unwrap_or_else(|e| panic!("{}: {e}", entry.context()));
    commands.losses()
}

/// What the streams of a server must show, so that the comparison is worth something.
#[derive(Debug, Default, PartialEq, Eq)]
struct Streams {
    over_100_entries: bool,
    over_100_pending: bool,
    pending_of_a_deleted_entry: bool,
    consumer_with_nothing_pending: bool,
}

impl Streams {
    const ALL: Self = Self {
        over_100_entries: true,
        over_100_pending: true,
        pending_of_a_deleted_entry: true,
        consumer_with_nothing_pending: true,
    };

    fn look_at(&mut self, lines: &[String]) {
        let second = |line: &'_ String| line.split(' ').nth(1).map(str::to_owned);
        let begins = |word: &'static str| lines.iter().filter(move |line| line.starts_with(word));
        let entries: BTreeSet<_> = begins("entry ").filter_map(second).collect();
        self.over_100_entries |= entries.len() > 100;
        self.over_100_pending |= begins("pending ").count() > 100;
        self.pending_of_a_deleted_entry |= begins("pending ")
            .filter_map(second)
            .any(|id| !entries.contains(&id));
        self.consumer_with_nothing_pending |= begins("consumer ")
            .filter_map(second)
            .any(|name| !begins("pending ").any(|line| line.contains(&format!(" of {name} "))));
    }
}

/// Loads each file of one server by start-up: every key's value is what the library decodes; and the library's commands,
/// sent to an empty server of the same version, make the same value again.
fn agrees(server: &'static str) {
    let empty = Server::start(server);
    let mut target = empty.connect();
    let mut words = vocabulary(server);
    // 8.6 has it from 8.6.2 on, which two numbers do not tell.
    let known: Vec<redis::Value> = redis::cmd("COMMAND")
        .arg(&["INFO", "XIDMPRECORD"])
        .query(&mut target)
        .expect("COMMAND INFO");
    words.idempotency |= matches!(known.first(), Some(redis::Value::Array(_)));
    let spool = std::env::temp_dir();
    let (product, major, _) = version_of(server);
    let mut compared = 0;
    let mut streams = Streams::default();
    let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
    for row in expected::all()
        .iter()
        .filter(|row| row.server == server && row.kind == expected::Kind::Rdb)
    {
        let data = fs::read(row.rdb()).expect("the file is there");
        let loaded = Server::setup(server).with_rdb(row.rdb()).start();
        let mut source = loaded.connect();
        redis::cmd("FLUSHALL").exec(&mut target).expect("FLUSHALL");
        let mut db = 0;
        let now = now_ms();
        for entry in entries(&data) {
            if entry.is_expired(now + 60_000) {
                continue;
            }
            if entry.db != db {
                db = entry.db;
                redis::cmd("SELECT")
                    .arg(db)
                    .exec(&mut source)
                    .expect("SELECT");
                redis::cmd("SELECT")
                    .arg(db)
                    .exec(&mut target)
                    .expect("SELECT");
            }
            let kind = entry.type_info().expect("a known type").kind;
            let mut name = Vec::new();
            let key = entry.key.bytes(&mut name).expect("a sound key").to_vec();
            let form_1 = entry.value_type == ValueType::STREAM_LISTPACKS;
            let detail = Detail {
                counters: !form_1,
                times: !matches!(
                    entry.value_type,
                    ValueType::STREAM_LISTPACKS | ValueType::STREAM_LISTPACKS_2
                ),
            };
            let mut decoder = Decoder::new(Some(&spool));
            let Some(ours) = decoded(&mut decoder, &entry, now, detail) else {
                continue;
            };
            let adjust = |lines: Vec<String>| {
                if (product, major) == ("redis", 5) {
                    without_delivery_times(lines)
                } else {
                    lines
                }
            };
            if kind == Kind::Stream {
                streams.look_at(&ours);
            }
            let theirs = answered(&mut source, server, &key, kind, detail);
            assert_eq!(adjust(ours), theirs, "{}: {}", row.name, entry.context());
            *kinds.entry(kind).or_default() += 1;
            compared += 1;

            let losses = replay(&mut target, &entry, words);
            assert!(!losses.any_meaning(), "{}: {losses:?}", entry.context());
            let detail = Detail {
                times: false,
                counters: detail.counters && !losses.has(Loss::StreamCounters),
            };
            assert_eq!(
                answered(&mut target, server, &key, kind, detail),
                answered(&mut source, server, &key, kind, detail),
                "{}: {} by commands",
                row.name,
                entry.context()
            );
            let at = |connection: &mut redis::Connection| -> i64 {
                redis::cmd("PTTL")
                    .arg(&key)
                    .query(connection)
                    .expect("PTTL")
            };
            let (there, here) = (at(&mut source), at(&mut target));
            assert!(
                (there - here).abs() < 10_000,
                "{}: {there} {here}",
                entry.context()
            );
        }
    }
    assert!(compared > 100, "{server}: {compared} keys");
    for kind in [Kind::String, Kind::List, Kind::Set, Kind::ZSet, Kind::Hash] {
        assert!(kinds.contains_key(&kind), "{server}: no {kind}");
    }
    if words.streams {
        assert_eq!(streams, Streams::ALL, "{server}: what its streams show");
    }
    assert_eq!(words.arrays, kinds.contains_key(&Kind::Array), "{server}");
}

#[test]
fn values_and_commands_agree_with_every_server() {
    // Two at a time: each has two servers running.
    let servers = all();
    std::thread::scope(|scope| {
        for start in 0..2 {
            let mine = servers.iter().skip(start).step_by(2);
            scope.spawn(move || mine.for_each(|server| agrees(server)));
        }
    });
}
