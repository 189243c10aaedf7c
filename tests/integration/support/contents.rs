//! Everything that a server holds, read as a client reads it, so that two servers can be laid side by side.

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;

use super::server::{Server, version_of};
use super::wire::Client;

/// All keys of a server by database, and its function libraries.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Reading {
    pub(crate) keys: BTreeMap<(u64, Vec<u8>), Key>,
    /// `FUNCTION LIST WITHCODE`, sorted.
    pub(crate) functions: Vec<String>,
    /// `DBSIZE` of each database that has keys.
    pub(crate) sizes: BTreeMap<u64, i64>,
}

/// One key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    /// `TYPE`.
    pub(crate) kind: String,
    /// Absolute, milliseconds. Before 7.0 as the server's clock and `PTTL` give it, so by some milliseconds wrong.
    pub(crate) expires: Option<i64>,
    /// What it means, in a form that does not depend on the server's version.
    pub(crate) meaning: Meaning,
    /// What only servers of one version can be compared by.
    pub(crate) own: Own,
}

/// How this server holds a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Own {
    /// `OBJECT ENCODING`.
    pub(crate) encoding: String,
    /// `DEBUG DIGEST-VALUE`, where the server has it.
    pub(crate) digest: Option<String>,
    /// Streams: `XINFO STREAM … FULL COUNT 0` (6.0 and later). Vector sets and arrays: what their own commands tell.
    pub(crate) details: Vec<String>,
    /// `OBJECT IDLETIME`, seconds.
    pub(crate) idle: Option<i64>,
    /// `OBJECT FREQ`.
    pub(crate) freq: Option<i64>,
}

/// A value as it is meant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Meaning {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    /// Field, value, and the field's expiry in milliseconds where it has one.
    Hash(BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>),
    /// Members with the bits of their scores.
    Zset(Vec<(Vec<u8>, u64)>),
    Stream(Stream),
    /// Types that only one line of servers has: what their commands answer.
    Other(Vec<String>),
}

/// A stream with everything that all versions tell of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Stream {
    /// `XRANGE - +`.
    pub(crate) entries: Vec<String>,
    pub(crate) last_id: String,
    pub(crate) groups: BTreeMap<Vec<u8>, Group>,
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Group {
    pub(crate) last_id: String,
    /// ID, consumer, deliveries.
    pub(crate) pending: Vec<(String, String, i64)>,
    pub(crate) consumers: BTreeSet<Vec<u8>>,
}

/// Reads everything. Idle times and frequencies are asked first, since reading touches keys.
pub(crate) fn read(server: &Server) -> Reading {
    Reader {
        client: Client::connect(server.port()),
        version: version_of(server.name()),
    }
    .read()
}

struct Reader<'n> {
    client: Client,
    version: (&'n str, u32, u32),
}

/// Commands in one go.
const BATCH: usize = 2000;

impl Reader<'_> {
    fn is_from(&self, redis: (u32, u32), valkey: (u32, u32)) -> bool {
        let (product, major, minor) = self.version;
        (major, minor) >= if product == "valkey" { valkey } else { redis }
    }

    fn ask(&mut self, commands: &[Command]) -> Vec<Value> {
        let mut answers = Vec::with_capacity(commands.len());
        for batch in commands.chunks(BATCH) {
            answers.extend(self.client.ask(batch));
        }
        assert_eq!(answers.len(), commands.len());
        answers
    }

    fn ask_one(&mut self, command: Command) -> Value {
        self.ask(&[command]).remove(0)
    }

    fn read(mut self) -> Reading {
        let mut reading = Reading::default();
        for (db, size) in self.dbs() {
            reading.sizes.insert(db, size);
            self.ask_one(plain(["SELECT", &db.to_string()]));
            for (name, key) in self.read_db() {
                reading.keys.insert((db, name), key);
            }
        }
        if self.is_from((7, 0), (7, 2)) {
            let libraries = self.ask_one(plain(["FUNCTION", "LIST", "WITHCODE"]));
            reading.functions = array(libraries).iter().map(library).collect();
            reading.functions.sort();
        }
        reading
    }

    fn dbs(&mut self) -> Vec<(u64, i64)> {
        let info = text(&self.ask_one(plain(["INFO", "keyspace"])));
        let dbs: Vec<u64> = info
            .lines()
            .filter_map(|line| line.strip_prefix("db")?.split(':').next()?.parse().ok())
            .collect();
        dbs.into_iter()
            .map(|db| {
                let commands = [plain(["SELECT", &db.to_string()]), plain(["DBSIZE"])];
                (db, int(&self.ask(&commands)[1]))
            })
            .collect()
    }

    fn read_db(&mut self) -> Vec<(Vec<u8>, Key)> {
        let names: Vec<Vec<u8>> = array(self.ask_one(plain(["KEYS", "*"])))
            .into_iter()
            .map(bytes)
            .collect();
        let each = |words: &[&str], reader: &mut Self| {
            let commands: Vec<Command> =
                names.iter().map(|name| on_key(words, name, &[])).collect();
            reader.ask(&commands)
        };
        let idle = each(&["OBJECT", "IDLETIME"], self);
        let freq = if self.is_from((4, 0), (7, 2)) {
            each(&["OBJECT", "FREQ"], self)
        } else {
            vec![Value::Nil; names.len()]
        };
        let encoding = each(&["OBJECT", "ENCODING"], self);
        let kinds = each(&["TYPE"], self);
        // A digest of an array walks all of its 2^64 indices.
        let has_arrays = kinds.iter().any(|kind| text(kind) == "array");
        let digest = if self.is_from((5, 0), (7, 2)) && !has_arrays {
            each(&["DEBUG", "DIGEST-VALUE"], self)
        } else {
            vec![Value::Nil; names.len()]
        };
        let expires = if self.is_from((7, 0), (7, 2)) {
            each(&["PEXPIRETIME"], self)
        } else {
            // One by one, so that the clock is read right before.
            names
                .iter()
                .map(|name| {
                    let left = on_key(&["PTTL"], name, &[]);
                    let answers = self.ask(&[plain(["TIME"]), left]);
                    let time: Vec<i64> = array(answers[0].clone())
                        .iter()
                        .map(|v| text(v).parse().expect("a number"))
                        .collect();
                    match int(&answers[1]) {
                        left @ 0.. => Value::Int(time[0] * 1000 + time[1] / 1000 + left),
                        none => Value::Int(none),
                    }
                })
                .collect()
        };
        let mut keys = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let kind = text(&kinds[i]);
            // Its time came while this was read.
            if kind == "none" {
                continue;
            }
            let (meaning, details) = self.read_value(name, &kind);
            // All its fields are past their time, and the server has not removed it yet.
            if meaning == Meaning::Hash(BTreeMap::new()) {
                continue;
            }
            keys.push((
                name.clone(),
                Key {
                    kind,
                    expires: Some(int(&expires[i])).filter(|at| *at >= 0),
                    meaning,
                    own: Own {
                        encoding: text(&encoding[i]),
                        digest: digest_text(&digest[i]),
                        details,
                        idle: number(&idle[i]),
                        freq: number(&freq[i]),
                    },
                },
            ));
        }
        keys
    }

    fn read_value(&mut self, name: &[u8], kind: &str) -> (Meaning, Vec<String>) {
        let on = |words: &[&str], behind: &[&str]| {
            let behind: Vec<&[u8]> = behind.iter().map(|word| word.as_bytes()).collect();
            on_key(words, name, &behind)
        };
        let none = Vec::new();
        match kind {
            "string" => (Meaning::Text(bytes(self.ask_one(on(&["GET"], &[])))), none),
            "list" => {
                let all = self.ask_one(on(&["LRANGE"], &["0", "-1"]));
                (
                    Meaning::List(array(all).into_iter().map(bytes).collect()),
                    none,
                )
            }
            "set" => {
                let all = self.ask_one(on(&["SMEMBERS"], &[]));
                (
                    Meaning::Set(array(all).into_iter().map(bytes).collect()),
                    none,
                )
            }
            "hash" => (self.read_hash(name), none),
            "zset" => {
                let all = array(self.ask_one(on(&["ZRANGE"], &["0", "-1", "WITHSCORES"])));
                let pairs = all.chunks(2).map(|pair| {
                    let score: f64 = text(&pair[1]).parse().expect("a score");
                    (bytes(pair[0].clone()), score.to_bits())
                });
                (Meaning::Zset(pairs.collect()), none)
            }
            "stream" => {
                let details = if self.is_from((6, 0), (7, 2)) {
                    let full = self.ask_one(on(&["XINFO", "STREAM"], &["FULL", "COUNT", "0"]));
                    vec![shown(&full)]
                } else {
                    none
                };
                (Meaning::Stream(self.read_stream(name)), details)
            }
            "array" => {
                let commands = [
                    on(&["ARSCAN"], &["0", "18446744073709551614"]),
                    on(&["ARLEN"], &[]),
                    on(&["ARCOUNT"], &[]),
                    on(&["ARNEXT"], &[]),
                    on(&["ARINFO"], &[]),
                ];
                let answers: Vec<String> = self.ask(&commands).iter().map(shown).collect();
                assert!(!answers[0].contains("ERR"), "{}", answers[0]);
                (Meaning::Other(answers), none)
            }
            "vectorset" => (self.read_vectors(name), none),
            other => panic!("no reader for type {other}"),
        }
    }

    fn read_hash(&mut self, name: &[u8]) -> Meaning {
        let pairs = array(self.ask_one(on_key(&["HGETALL"], name, &[])));
        let mut hash: BTreeMap<_, _> = pairs
            .chunks(2)
            .map(|pair| (bytes(pair[0].clone()), (bytes(pair[1].clone()), None)))
            .collect();
        if self.is_from((7, 4), (9, 0)) && !hash.is_empty() {
            let fields: Vec<Vec<u8>> = hash.keys().cloned().collect();
            let count = fields.len().to_string();
            let mut times = on_key(&["HPEXPIRETIME"], name, &[b"FIELDS", count.as_bytes()]);
            times.extend(fields.iter().cloned());
            let times = array(self.ask_one(times));
            assert_eq!(times.len(), fields.len());
            for (field, at) in fields.iter().zip(&times) {
                if let (Some(slot), at @ 0..) = (hash.get_mut(field), int(at)) {
                    slot.1 = Some(at);
                }
            }
        }
        Meaning::Hash(hash)
    }

    fn read_stream(&mut self, name: &[u8]) -> Stream {
        let on = |words: &[&str], behind: &[&[u8]]| on_key(words, name, behind);
        let answers = self.ask(&[
            on(&["XRANGE"], &[b"-", b"+"]),
            on(&["XINFO", "STREAM"], &[]),
            on(&["XINFO", "GROUPS"], &[]),
        ]);
        let mut stream = Stream {
            entries: array(answers[0].clone()).iter().map(shown).collect(),
            last_id: text(&field(&answers[1], "last-generated-id")),
            groups: BTreeMap::new(),
        };
        for group in array(answers[2].clone()) {
            let group_name = bytes(field(&group, "name"));
            let pending = int(&field(&group, "pending")).max(1).to_string();
            let answers = self.ask(&[
                on(
                    &["XPENDING"],
                    &[&group_name, b"-", b"+", pending.as_bytes()],
                ),
                on(&["XINFO", "CONSUMERS"], &[&group_name]),
            ]);
            let pending = array(answers[0].clone()).into_iter().map(|entry| {
                let entry = array(entry);
                (text(&entry[0]), text(&entry[1]), int(&entry[3]))
            });
            let consumers = array(answers[1].clone());
            stream.groups.insert(
                group_name,
                Group {
                    last_id: text(&field(&group, "last-delivered-id")),
                    pending: pending.collect(),
                    consumers: consumers.iter().map(|c| bytes(field(c, "name"))).collect(),
                },
            );
        }
        stream
    }

    fn read_vectors(&mut self, name: &[u8]) -> Meaning {
        let on = |word: &str, behind: &[&[u8]]| on_key(&[word], name, behind);
        let answers = self.ask(&[
            on("VCARD", &[]),
            on("VDIM", &[]),
            on("VRANDMEMBER", &[b"1000000"]),
        ]);
        let mut members: Vec<Vec<u8>> = array(answers[2].clone()).into_iter().map(bytes).collect();
        members.sort();
        let mut told = vec![shown(&answers[0]), shown(&answers[1])];
        for member in &members {
            let answers = self.ask(&[
                on("VEMB", &[member, b"RAW"]),
                on("VGETATTR", &[member]),
                on("VLINKS", &[member]),
            ]);
            told.push(format!(
                "{}: {}",
                shown(&Value::BulkString(member.clone())),
                shown(&answers[0])
            ));
            told.push(shown(&answers[1]));
            // Neighbours have no order.
            for level in array(answers[2].clone()) {
                let mut links: Vec<String> = array(level).iter().map(shown).collect();
                links.sort();
                told.push(links.join(" "));
            }
        }
        Meaning::Other(told)
    }
}

/// The differences between two readings, in words; `None` for keys that are equal.
pub(crate) fn differences(
    left: &Reading,
    right: &Reading,
    mut differ: impl FnMut(&Key, &Key) -> Option<String>,
) -> Vec<String> {
    let mut found = Vec::new();
    let names: BTreeSet<_> = left.keys.keys().chain(right.keys.keys()).collect();
    for id @ (db, name) in names {
        let what = match (left.keys.get(id), right.keys.get(id)) {
            (Some(l), Some(r)) => differ(l, r),
            (Some(_), None) => Some("only on the left".to_owned()),
            _ => Some("only on the right".to_owned()),
        };
        if let Some(what) = what {
            found.push(format!(
                "db {db} {}: {what}",
                rdbridge::error::Escaped(name)
            ));
        }
    }
    found
}

/// What may lie between two readings of one moment on servers that only tell what is left of an expiry, milliseconds.
pub(crate) const CLOCK_TOLERANCE_MS: i64 = 2000;

/// Whether two servers of any versions hold the same.
pub(crate) fn differs_in_meaning(left: &Key, right: &Key, tolerance_ms: i64) -> Option<String> {
    let far = match (left.expires, right.expires) {
        (Some(l), Some(r)) => (l - r).abs() > tolerance_ms,
        (l, r) => l != r,
    };
    if left.kind != right.kind {
        Some(format!("{} and {}", left.kind, right.kind))
    } else if far {
        Some(format!(
            "expires {:?} and {:?}",
            left.expires, right.expires
        ))
    } else if left.meaning != right.meaning {
        Some(format!(
            "{} and {}",
            short(&left.meaning),
            short(&right.meaning)
        ))
    } else {
        None
    }
}

fn short(meaning: &Meaning) -> String {
    format!("{meaning:?}").chars().take(300).collect()
}

/// The words of a command.
type Command = Vec<Vec<u8>>;

/// A command without a key.
fn plain<W: AsRef<str>>(words: impl AsRef<[W]>) -> Command {
    let words = words.as_ref().iter();
    words
        .map(|word| word.as_ref().as_bytes().to_vec())
        .collect()
}

/// `WORDS… key BEHIND…`.
fn on_key(words: &[&str], key: &[u8], behind: &[&[u8]]) -> Command {
    let mut command = plain(words);
    command.push(key.to_vec());
    command.extend(behind.iter().map(|word| word.to_vec()));
    command
}

fn field(fields: &Value, name: &str) -> Value {
    let fields = array(fields.clone());
    fields
        .chunks(2)
        .find(|pair| text(&pair[0]) == name)
        .map_or_else(|| panic!("no field {name}"), |pair| pair[1].clone())
}

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        Value::Nil => Vec::new(),
        other => panic!("not an array: {other:?}"),
    }
}

fn bytes(value: Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) => text.into_bytes(),
        other => panic!("not a string: {other:?}"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Nil => "-".to_owned(),
        Value::Int(n) => n.to_string(),
        other => String::from_utf8_lossy(&bytes(other.clone())).into_owned(),
    }
}

fn int(value: &Value) -> i64 {
    match value {
        Value::Int(n) => *n,
        other => panic!("not a number: {other:?}"),
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        _ => None,
    }
}

/// `DEBUG DIGEST-VALUE` answers by a list of one.
fn digest_text(value: &Value) -> Option<String> {
    match value {
        Value::Array(values) => values.first().and_then(digest_text),
        Value::SimpleString(text) if !text.starts_with('-') => Some(text.clone()),
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

/// A function library; its functions and their flags come in no order.
fn library(value: &Value) -> String {
    fn sorted(value: &Value) -> String {
        match value {
            Value::Array(values) => {
                let mut parts: Vec<String> = values.iter().map(sorted).collect();
                parts.sort();
                format!("[{}]", parts.join(" "))
            }
            other => shown(other),
        }
    }
    let fields = array(value.clone());
    let parts = fields
        .chunks(2)
        .map(|pair| format!("{}={}", text(&pair[0]), sorted(&pair[1])));
    parts.collect::<Vec<_>>().join(" ")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(values) => {
            let parts: Vec<String> = values.iter().map(shown).collect();
            format!("[{}]", parts.join(" "))
        }
        Value::BulkString(bytes) => rdbridge::error::Escaped(bytes).to_string(),
        other => format!("{other:?}"),
    }
}
