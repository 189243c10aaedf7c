//! A key's value as lines of text, read from a server by its typed commands, and decoded by the library from a file: two
//! ways to the same text.

use redis::{Connection, Value as Reply};

use rdbridge::snapshot::{Entry, Kind};
use rdbridge::value::{ArrayValue, Decoder, Element, Value};

use super::server::version_of;

/// What of a stream is compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Detail {
    /// Entries-added, first and largest deleted ID, entries-read.
    pub(crate) counters: bool,
    /// Seen and active times of consumers.
    pub(crate) times: bool,
}

fn escaped(bytes: &[u8]) -> String {
    rdbridge::error::Escaped(bytes).to_string()
}

fn text_of(element: &Element<'_>) -> String {
    let mut out = Vec::new();
    element.append_to(&mut out).expect("a sound element");
    escaped(&out)
}

/// −0 and 0 are one score.
fn score_text(score: f64) -> String {
    format!("{:?}", if score == 0.0 { 0.0 } else { score })
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// The value that the library decodes. Fields that are past at `now_ms` are left out, as servers leave them out. `None` for
/// a kind that has no typed reading.
pub(crate) fn decoded(
    decoder: &mut Decoder,
    entry: &Entry<'_>,
    now_ms: i64,
    detail: Detail,
) -> Option<Vec<String>> {
    let value = decoder
        .decode(entry)
        .unwrap_or_else(|e| panic!("decodes: {e}"));
    Some(match value {
        Value::String(element) => vec![text_of(&element)],
        Value::List(mut list) => {
            let mut lines = Vec::new();
            while let Some(element) = list.next_element().expect("a sound list") {
                lines.push(text_of(&element));
            }
            lines
        }
        Value::Set(mut set) => {
            let mut lines = Vec::new();
            while let Some(found) = set.next_member().expect("a sound set") {
                lines.push(text_of(&found.member));
            }
            sorted(lines)
        }
        Value::Zset(mut zset) => {
            let mut lines = Vec::new();
            while let Some(found) = zset.next_scored().expect("a sound sorted set") {
                lines.push(format!(
                    "{} {}",
                    text_of(&found.member),
                    score_text(found.score)
                ));
            }
            sorted(lines)
        }
        Value::Hash(mut hash) => {
            let mut lines = Vec::new();
            while let Some(found) = hash.next_field().expect("a sound hash") {
                if found.expire_at_ms.is_some_and(|at| at < now_ms) {
                    continue;
                }
                lines.push(format!(
                    "{} = {} until {}",
                    text_of(&found.field),
                    text_of(&found.value),
                    found.expire_at_ms.unwrap_or(-1)
                ));
            }
            sorted(lines)
        }
        Value::Stream(mut stream) => {
            let mut lines = Vec::new();
            while let Some(entry) = stream.next_entry().expect("a sound stream") {
                let mut line = format!("entry {}", entry.id);
                while let Some((name, value)) = stream.next_field().expect("a sound entry") {
                    line += &format!(" {} {}", text_of(&name), text_of(&value));
                }
                lines.push(line);
            }
            let meta = stream.metadata().expect("sound counters");
            lines.push(format!("length {} last {}", meta.length, meta.last_id));
            if detail.counters
                && let (Some(deleted), Some(added)) = (meta.max_deleted_id, meta.entries_added)
            {
                lines.push(format!("deleted {deleted} added {added}"));
            }
            while let Some(group) = stream.next_group().expect("a sound group") {
                let name = text_of(&group.name);
                let read = group.entries_read.filter(|_| detail.counters);
                lines.push(format!("group {name} last {} read {read:?}", group.last_id));
                let mut pending = Vec::new();
                let mut consumers = Vec::new();
                while let Some(consumer) = stream.next_consumer().expect("a sound consumer") {
                    let who = text_of(&consumer.name);
                    let mut line = format!("consumer {who}");
                    if detail.times {
                        line += &format!(
                            " seen {} active {}",
                            consumer.seen_at_ms,
                            consumer.active_at_ms.unwrap_or(-1)
                        );
                    }
                    consumers.push(line);
                    while let Some(owned) = stream.next_owned().expect("a sound owned entry") {
                        pending.push((
                            owned.id,
                            format!(
                                "pending {} of {who} at {} times {}",
                                owned.id, owned.delivered_at_ms, owned.delivery_count
                            ),
                        ));
                    }
                }
                while let Some(nacked) = stream.next_nacked().expect("a sound nacked entry") {
                    pending.push((
                        nacked.id,
                        format!(
                            "pending {} of \"\" at {} times {}",
                            nacked.id, nacked.delivered_at_ms, nacked.delivery_count
                        ),
                    ));
                }
                pending.sort();
                lines.extend(pending.into_iter().map(|(_, line)| line));
                lines.extend(sorted(consumers));
            }
            lines
        }
        Value::Array(mut array) => {
            let mut lines = Vec::new();
            while let Some(item) = array.next_item().expect("a sound array") {
                let value = match item.value {
                    ArrayValue::Element(element) => text_of(&element),
                    // As its server shows it: `1.0` for a whole number.
                    ArrayValue::Double(value) => escaped(format!("{value:?}").as_bytes()),
                };
                lines.push(format!("{} {value}", item.index));
            }
            lines
        }
        _ => return None,
    })
}

fn ask(connection: &mut Connection, words: &[&[u8]]) -> Reply {
    let mut command = redis::cmd(std::str::from_utf8(words[0]).expect("a name"));
    for word in &words[1..] {
        command.arg(*word);
    }
    command
        .query(connection)
        .unwrap_or_else(|e| panic!("{:?}: {e}", escaped(words[0])))
}

fn items(reply: Reply) -> Vec<Reply> {
    match reply {
        Reply::Array(items) => items,
        Reply::Nil => Vec::new(),
        other => panic!("an array was expected, not {other:?}"),
    }
}

fn bytes(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::BulkString(bytes) => bytes.clone(),
        Reply::SimpleString(text) => text.clone().into_bytes(),
        Reply::Int(value) => value.to_string().into_bytes(),
        Reply::Nil => Vec::new(),
        other => panic!("bytes were expected, not {other:?}"),
    }
}

fn shown(reply: &Reply) -> String {
    escaped(&bytes(reply))
}

fn bare(reply: &Reply) -> String {
    String::from_utf8_lossy(&bytes(reply)).into_owned()
}

/// The value that the server named `server` answers.
pub(crate) fn answered(
    connection: &mut Connection,
    server: &str,
    key: &[u8],
    kind: Kind,
    detail: Detail,
) -> Vec<String> {
    let (product, major, minor) = version_of(server);
    match kind {
        Kind::String => vec![shown(&ask(connection, &[b"GET", key]))],
        Kind::List => items(ask(connection, &[b"LRANGE", key, b"0", b"-1"]))
            .iter()
            .map(shown)
            .collect(),
        Kind::Set => sorted(
            items(ask(connection, &[b"SMEMBERS", key]))
                .iter()
                .map(shown)
                .collect(),
        ),
        Kind::ZSet => {
            let reply = items(ask(
                connection,
                &[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
            ));
            sorted(
                reply
                    .chunks(2)
                    .map(|pair| {
                        let score: f64 = bare(&pair[1]).parse().expect("a score");
                        format!("{} {}", shown(&pair[0]), score_text(score))
                    })
                    .collect(),
            )
        }
        Kind::Hash => {
            let with_times = match product {
                "redis" => (major, minor) >= (7, 4),
                _ => (major, minor) >= (9, 0),
            };
            let reply = items(ask(connection, &[b"HGETALL", key]));
            let mut lines = Vec::new();
            for chunk in reply.chunks(1000) {
                let fields: Vec<Vec<u8>> = chunk.iter().step_by(2).map(bytes).collect();
                let times: Vec<i64> = if with_times {
                    let count = fields.len().to_string();
                    let mut words: Vec<&[u8]> =
                        vec![b"HPEXPIRETIME", key, b"FIELDS", count.as_bytes()];
                    words.extend(fields.iter().map(Vec::as_slice));
                    items(ask(connection, &words))
                        .iter()
                        .map(|time| bare(time).parse().expect("a time"))
                        .collect()
                } else {
                    vec![-1; fields.len()]
                };
                for (pair, time) in chunk.chunks(2).zip(times) {
                    lines.push(format!(
                        "{} = {} until {time}",
                        shown(&pair[0]),
                        shown(&pair[1])
                    ));
                }
            }
            sorted(lines)
        }
        Kind::Stream => stream(connection, key, detail, (major, minor)),
        Kind::Array => items(ask(
            connection,
            &[b"ARSCAN", key, b"0", b"18446744073709551614"],
        ))
        .into_iter()
        .map(|pair| {
            let pair = items(pair);
            format!("{} {}", bare(&pair[0]), shown(&pair[1]))
        })
        .collect(),
        other => panic!("no typed reading for {other}"),
    }
}

fn stream(
    connection: &mut Connection,
    key: &[u8],
    detail: Detail,
    version: (u32, u32),
) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in items(ask(connection, &[b"XRANGE", key, b"-", b"+"])) {
        let entry = items(entry);
        let mut line = format!("entry {}", bare(&entry[0]));
        for word in items(entry[1].clone()) {
            line += &format!(" {}", shown(&word));
        }
        lines.push(line);
    }
    if version < (6, 0) {
        return stream_before_full(connection, key, lines);
    }
    let full = items(ask(
        connection,
        &[b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"],
    ));
    let field = |map: &[Reply], name: &str| -> Option<Reply> {
        map.chunks(2)
            .find(|pair| bare(&pair[0]) == name)
            .map(|pair| pair[1].clone())
    };
    lines.push(format!(
        "length {} last {}",
        bare(&field(&full, "length").expect("length")),
        bare(&field(&full, "last-generated-id").expect("last-generated-id"))
    ));
    if detail.counters
        && let (Some(deleted), Some(added)) = (
            field(&full, "max-deleted-entry-id"),
            field(&full, "entries-added"),
        )
    {
        lines.push(format!("deleted {} added {}", bare(&deleted), bare(&added)));
    }
    for group in items(field(&full, "groups").expect("groups")) {
        let group = items(group);
        let read = field(&group, "entries-read")
            .filter(|read| detail.counters && !matches!(read, Reply::Nil))
            .map(|read| bare(&read).parse::<u64>().expect("a number"));
        lines.push(format!(
            "group {} last {} read {read:?}",
            shown(&field(&group, "name").expect("name")),
            bare(&field(&group, "last-delivered-id").expect("last-delivered-id"))
        ));
        for pending in items(field(&group, "pending").expect("pending")) {
            let pending = items(pending);
            lines.push(format!(
                "pending {} of {} at {} times {}",
                bare(&pending[0]),
                shown(&pending[1]),
                bare(&pending[2]),
                bare(&pending[3])
            ));
        }
        let mut consumers = Vec::new();
        for consumer in items(field(&group, "consumers").expect("consumers")) {
            let consumer = items(consumer);
            let mut line = format!(
                "consumer {}",
                shown(&field(&consumer, "name").expect("name"))
            );
            if detail.times {
                line += &format!(
                    " seen {} active {}",
                    bare(&field(&consumer, "seen-time").expect("seen-time")),
                    field(&consumer, "active-time").map_or("-1".into(), |time| bare(&time))
                );
            }
            consumers.push(line);
        }
        lines.extend(sorted(consumers));
    }
    lines
}

/// Redis 5.0 has no `XINFO STREAM FULL`.
fn stream_before_full(
    connection: &mut Connection,
    key: &[u8],
    mut lines: Vec<String>,
) -> Vec<String> {
    let field = |map: &[Reply], name: &str| -> Reply {
        map.chunks(2)
            .find(|pair| bare(&pair[0]) == name)
            .map(|pair| pair[1].clone())
            .expect("the field")
    };
    let info = items(ask(connection, &[b"XINFO", b"STREAM", key]));
    lines.push(format!(
        "length {} last {}",
        bare(&field(&info, "length")),
        bare(&field(&info, "last-generated-id"))
    ));
    for group in items(ask(connection, &[b"XINFO", b"GROUPS", key])) {
        let group = items(group);
        let name = bytes(&field(&group, "name"));
        lines.push(format!(
            "group {} last {} read None",
            escaped(&name),
            bare(&field(&group, "last-delivered-id"))
        ));
        let pending = items(ask(
            connection,
            &[b"XPENDING", key, &name, b"-", b"+", b"1000000"],
        ));
        for pending in pending {
            let pending = items(pending);
            lines.push(format!(
                "pending {} of {} times {}",
                bare(&pending[0]),
                shown(&pending[1]),
                bare(&pending[3])
            ));
        }
        let consumers = items(ask(connection, &[b"XINFO", b"CONSUMERS", key, &name]));
        lines.extend(sorted(
            consumers
                .into_iter()
                .map(|consumer| format!("consumer {}", shown(&field(&items(consumer), "name"))))
                .collect(),
        ));
    }
    lines
}

/// Takes away what Redis 5.0 cannot say: when pending entries were delivered.
pub(crate) fn without_delivery_times(lines: Vec<String>) -> Vec<String> {
    lines
        .into_iter()
        .map(
            |line| match (line.starts_with("pending "), line.find(" at ")) {
                (true, Some(at)) => {
                    let rest = line[at + 4..]
                        .find(' ')
                        .map_or("", |end| &line[at + 4 + end..]);
                    format!("{}{rest}", &line[..at])
                }
                _ => line,
            },
        )
        .collect()
}
