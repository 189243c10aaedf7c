//! Streams: an object whose members stand in the order of the file, so that it is written in one walk.

use super::collections::{forms, pair};
use super::text::{Commas, Text};
use crate::error::Result;
use crate::value::{Element, Findings, Stream, StreamId};

pub(super) fn stream<F: Findings>(
    text: &mut Text<'_, '_>,
    stream: &mut Stream<'_, F>,
) -> Result<()> {
    text.push(b"{\"entries\":[");
    let walked = entries(text, stream);
    text.push(b"]");
    let walked = walked.and_then(|()| behind_entries(text, stream));
    text.push(b"}");
    walked
}

fn entries<F: Findings>(text: &mut Text<'_, '_>, stream: &mut Stream<'_, F>) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(entry) = stream.next_entry()? {
        commas.next(text);
        text.push(b"[");
        text.stream_id(entry.id);
        text.push(b",[");
        let walked = fields(text, stream);
        text.push(b"]]");
        walked?;
        text.room()?;
    }
    Ok(())
}

fn fields<F: Findings>(text: &mut Text<'_, '_>, stream: &mut Stream<'_, F>) -> Result<()> {
    let mut commas = Commas::default();
    while let Some((field, value)) = stream.next_field()? {
        let Some(forms) = forms(text, &field, &value)? else {
            continue;
        };
        commas.next(text);
        text.push(b"[");
        pair(text, (&field, &value), forms)?;
        text.push(b"]");
    }
    Ok(())
}

fn behind_entries<F: Findings>(text: &mut Text<'_, '_>, stream: &mut Stream<'_, F>) -> Result<()> {
    let meta = stream.metadata()?;
    text.push(b",\"length\":");
    text.integer(meta.length);
    id_member(text, b",\"last_id\":", Some(meta.last_id));
    id_member(text, b",\"first_id\":", meta.first_id);
    id_member(text, b",\"max_deleted_id\":", meta.max_deleted_id);
    if let Some(added) = meta.entries_added {
        text.push(b",\"entries_added\":");
        text.integer(added);
    }
    text.push(b",\"groups\":[");
    let walked = groups(text, stream);
    text.push(b"]");
    walked?;
    idempotency(text, stream)
}

fn id_member(text: &mut Text<'_, '_>, name: &[u8], id: Option<StreamId>) {
    if let Some(id) = id {
        text.push(name);
        text.stream_id(id);
    }
}

/// A name, which is `null` where it cannot be decoded: what belongs to it is written all the same.
fn name(text: &mut Text<'_, '_>, name: &Element<'_>) -> Result<()> {
    match text.form(name)? {
        Some(form) => text.element(name, form),
        None => {
            text.push(b"null");
            Ok(())
        }
    }
}

fn groups<F: Findings>(text: &mut Text<'_, '_>, stream: &mut Stream<'_, F>) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(group) = stream.next_group()? {
        commas.next(text);
        text.push(b"{\"name\":");
        name(text, &group.name)?;
        id_member(text, b",\"last_id\":", Some(group.last_id));
        if let Some(read) = group.entries_read {
            text.push(b",\"entries_read\":");
            text.integer(read);
        }
        let walked = parts_of_group(text, stream);
        text.push(b"}");
        walked?;
    }
    Ok(())
}

fn parts_of_group<F: Findings>(text: &mut Text<'_, '_>, stream: &mut Stream<'_, F>) -> Result<()> {
    text.push(b",\"pending\":[");
    let walked = pending(text, stream);
    text.push(b"],\"consumers\":[");
    let walked = walked.and_then(|()| consumers(text, stream));
    text.push(b"]");
    walked?;
    let mut any = false;
    let walked = nacked(text, stream, &mut any);
    if any {
        text.push(b"]");
    }
    walked
}

fn pending<F: Findings>(text: &mut Text<'_, '_>, stream: &mut Stream<'_, F>) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(pending) = stream.next_pending()? {
        commas.next(text);
        text.push(b"[");
        text.stream_id(pending.id);
        text.push(b",");
        text.integer(pending.delivered_at_ms);
        text.push(b",");
        text.integer(pending.delivery_count);
        text.push(b"]");
        text.room()?;
    }
    Ok(())
}

fn consumers<F: Findings>(text: &mut Text<'_, '_>, stream: &mut Stream<'_, F>) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(consumer) = stream.next_consumer()? {
        commas.next(text);
        text.push(b"{\"name\":");
        name(text, &consumer.name)?;
        text.push(b",\"seen_at_ms\":");
        text.integer(consumer.seen_at_ms);
        if let Some(active) = consumer.active_at_ms {
            text.push(b",\"active_at_ms\":");
            text.integer(active);
        }
        text.push(b",\"pending\":[");
        let walked = owned(text, stream);
        text.push(b"]}");
        walked?;
    }
    Ok(())
}

fn owned<F: Findings>(text: &mut Text<'_, '_>, stream: &mut Stream<'_, F>) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(pending) = stream.next_owned()? {
        commas.next(text);
        text.stream_id(pending.id);
        text.room()?;
    }
    Ok(())
}

/// Writes the member `nacked` where there is any, but for its closing bracket.
fn nacked<F: Findings>(
    text: &mut Text<'_, '_>,
    stream: &mut Stream<'_, F>,
    any: &mut bool,
) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(pending) = stream.next_nacked()? {
        if !*any {
            *any = true;
            text.push(b",\"nacked\":[");
        }
        commas.next(text);
        text.stream_id(pending.id);
        text.room()?;
    }
    Ok(())
}

fn idempotency<F: Findings>(text: &mut Text<'_, '_>, stream: &mut Stream<'_, F>) -> Result<()> {
    let Some(settings) = stream.idempotency()? else {
        return Ok(());
    };
    text.push(b",\"idempotency\":{\"duration_seconds\":");
    text.integer(settings.duration_seconds);
    text.push(b",\"max_entries\":");
    text.integer(settings.max_entries);
    text.push(b",\"producers\":[");
    let walked = producers(text, stream);
    text.push(b"]");
    let walked = walked.and_then(|()| {
        if let Some(totals) = stream.idempotency_totals()? {
            text.push(b",\"added\":");
            text.integer(totals.added);
            text.push(b",\"duplicates\":");
            text.integer(totals.duplicates);
        }
        Ok(())
    });
    text.push(b"}");
    walked
}

fn producers<F: Findings>(text: &mut Text<'_, '_>, stream: &mut Stream<'_, F>) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(producer) = stream.next_producer()? {
        commas.next(text);
        text.push(b"{\"id\":");
        name(text, &producer.id)?;
        text.push(b",\"records\":[");
        let walked = records(text, stream);
        text.push(b"]}");
        walked?;
    }
    Ok(())
}

fn records<F: Findings>(text: &mut Text<'_, '_>, stream: &mut Stream<'_, F>) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(record) = stream.next_iid()? {
        let Some(form) = text.form(&record.iid)? else {
            continue;
        };
        commas.next(text);
        text.push(b"[");
        text.element(&record.iid, form)?;
        text.push(b",");
        text.stream_id(record.id);
        text.push(b"]");
    }
    Ok(())
}
