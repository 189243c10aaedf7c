//! Entries made by hand, and values shown as text, for the tests of this layer.

use super::*;
use crate::error::Result;
use crate::snapshot::{Dialect, Entry, Template, ValueType};
use crate::wire::Str;

/// An entry with that type and body, as a dump at offset 0 would have it behind 100 bytes.
pub(crate) fn entry(value_type: u8, dialect: Dialect, body: &[u8]) -> Entry<'_> {
    Entry {
        ordinal: 0,
        offset: 90,
        type_offset: 94,
        db: 0,
        dialect,
        value_type: ValueType(value_type),
        key: Str::Raw(b"key"),
        value: body,
        value_offset: 100,
        expire_at_ms: None,
        idle_seconds: None,
        lfu_freq: None,
        slot: None,
        key_meta: None,
        template: None,
        sub_expires: b"",
        df_flags: None,
    }
}

/// The same with a template of the file.
pub(crate) fn templated<'a>(value_type: u8, body: &'a [u8], names: &'a [u8]) -> Entry<'a> {
    Entry {
        template: Some(Template {
            id: 5,
            offset: 40,
            fields: 2,
            names,
            names_offset: 50,
        }),
        ..entry(value_type, Dialect::Redis, body)
    }
}

pub(super) fn text(element: &Element<'_>) -> Result<String> {
    let mut out = Vec::new();
    element.append_to(&mut out)?;
    Ok(if out.len() > 60 {
        format!("<{} bytes>", out.len())
    } else {
        String::from_utf8_lossy(&out).into_owned()
    })
}

fn until(expire: Option<i64>) -> String {
    expire.map_or(String::new(), |at| format!("@{at}"))
}

/// The whole value in one line.
pub(crate) fn show<F: Findings>(decoder: &mut Decoder<F>, entry: &Entry<'_>) -> Result<String> {
    let mut out: Vec<String> = Vec::new();
    match decoder.decode(entry)? {
        Value::String(element) | Value::Json(element) => out.push(text(&element)?),
        Value::List(mut list) => {
            while let Some(element) = list.next_element()? {
                out.push(text(&element)?);
            }
            assert!(list.next_element()?.is_none());
        }
        Value::Set(mut set) => {
            while let Some(found) = set.next_member()? {
                out.push(text(&found.member)? + &until(found.expire_at_ms));
            }
            assert!(set.next_member()?.is_none());
        }
        Value::Zset(mut zset) => {
            while let Some(found) = zset.next_scored()? {
                out.push(format!("{}:{:?}", text(&found.member)?, found.score));
            }
            assert!(zset.next_scored()?.is_none());
        }
        Value::Hash(mut hash) => {
            while let Some(found) = hash.next_field()? {
                let path = match &found.path {
                    Some(path) => text(path)? + "/",
                    None => String::new(),
                };
                out.push(format!(
                    "{path}{}={}{}",
                    text(&found.field)?,
                    text(&found.value)?,
                    until(found.expire_at_ms)
                ));
            }
            assert!(hash.next_field()?.is_none());
        }
        Value::Stream(stream) => return show_stream(stream),
        Value::Array(mut array) => {
            while let Some(item) = array.next_item()? {
                out.push(match item.value {
                    ArrayValue::Element(element) => format!("{}:{}", item.index, text(&element)?),
                    ArrayValue::Double(value) => format!("{}:{value:?}", item.index),
                });
            }
        }
        Value::Module(mut module) => {
            out.push(module.id().to_string());
            while let Some(item) = module.next_item()? {
                out.push(match item {
                    ModuleItem::Signed(value) => format!("s{value}"),
                    ModuleItem::Unsigned(value) => format!("u{value}"),
                    ModuleItem::Float(value) => format!("f{value}"),
                    ModuleItem::Double(value) => format!("d{value}"),
                    ModuleItem::String(element) => text(&element)?,
                });
            }
        }
    }
    Ok(out.join(" "))
}

fn show_stream<F: Findings>(mut stream: Stream<'_, F>) -> Result<String> {
    let mut out = Vec::new();
    while let Some(entry) = stream.next_record()? {
        let mut fields = Vec::new();
        while let Some((name, value)) = stream.next_field()? {
            fields.push(format!("{}={}", text(&name)?, text(&value)?));
        }
        let mark = if entry.deleted { "x" } else { "" };
        out.push(format!("{mark}{}{{{}}}", entry.id, fields.join(",")));
    }
    let meta = stream.metadata()?;
    out.push(format!("len={} last={}", meta.length, meta.last_id));
    if let (Some(first), Some(deleted), Some(added)) =
        (meta.first_id, meta.max_deleted_id, meta.entries_added)
    {
        out.push(format!("first={first} maxdel={deleted} added={added}"));
    }
    loop {
        let Some(group) = stream.next_group()? else {
            break;
        };
        let name = text(&group.name)?;
        out.push(format!(
            "group {name} last={} read={:?}",
            group.last_id, group.entries_read
        ));
        while let Some(pending) = stream.next_pending()? {
            out.push(format!(
                "p:{}@{}x{}",
                pending.id, pending.delivered_at_ms, pending.delivery_count
            ));
        }
        loop {
            let Some(consumer) = stream.next_consumer()? else {
                break;
            };
            let name = text(&consumer.name)?;
            out.push(format!(
                "consumer {name} seen={} active={:?}",
                consumer.seen_at_ms, consumer.active_at_ms
            ));
            while let Some(pending) = stream.next_owned()? {
                out.push(format!("o:{}x{}", pending.id, pending.delivery_count));
            }
        }
        while let Some(pending) = stream.next_nacked()? {
            out.push(format!("n:{}x{}", pending.id, pending.delivery_count));
        }
    }
    if let Some(idmp) = stream.idempotency()? {
        out.push(format!(
            "idmp {}s {}",
            idmp.duration_seconds, idmp.max_entries
        ));
        loop {
            let Some(producer) = stream.next_producer()? else {
                break;
            };
            out.push(format!("producer {}", text(&producer.id)?));
            while let Some(iid) = stream.next_iid()? {
                out.push(format!("{}={}", text(&iid.iid)?, iid.id));
            }
        }
        let totals = stream.idempotency_totals()?.unwrap();
        out.push(format!("added={} dup={}", totals.added, totals.duplicates));
    }
    Ok(out.join(" "))
}

/// Everything that a whole walk tells, one line each, with the rule's name in front; and what it counted.
pub(super) fn judged(entry: &Entry<'_>) -> (Vec<String>, Summary) {
    let dir = tempfile::tempdir().unwrap();
    let mut decoder = Decoder::with_findings(Some(dir.path()), Vec::new());
    let summary = decoder.validate(entry).unwrap();
    let told = decoder
        .into_findings()
        .into_iter()
        .map(|finding: Finding| format!("{}: {}: {}", finding.rule, finding.place, finding.what))
        .collect();
    (told, summary)
}
