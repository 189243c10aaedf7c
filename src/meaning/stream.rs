//! Streams read by type: entries by `XRANGE`, the rest by `XINFO STREAM`, `XINFO GROUPS`, `XINFO CONSUMERS` and `XPENDING`, each
//! bounded by what the file has.

use super::Bookkeeping;
use super::bytes::{judge_reply, reply_differs};
use super::dump::Decoders;
use super::found::{Spot, What};
use super::stream_owners::owners;
use super::typed::Judged;
use crate::error::Result;
use crate::resp::{Talk, Token};
use crate::snapshot::Entry;
use crate::value::{Decoder, Element, Lenient, Stream, StreamId, Value};

/// Entries, or pending entries, in one range.
pub(super) const ENTRIES: usize = 200;

/// Bytes of entries in one range, about.
const BYTES: u64 = 128 * 1024;

/// The longest name of a group or consumer that is asked for: it is held in memory.
const LONGEST_NAME: u64 = 1 << 20;

/// Compares everything but number of entries and expiry.
pub(super) fn compare(
    talk: &mut Talk<'_>,
    key: &[u8],
    entry: &Entry<'_>,
    decoders: &mut Decoders,
    judged: &mut Judged,
) -> Result<Bookkeeping> {
    let mut books = Bookkeeping::default();
    let Decoders { mine, theirs, .. } = decoders;
    {
        let (Value::Stream(ahead), Value::Stream(own)) =
            (theirs.decode(entry)?, mine.decode(entry)?)
        else {
            return Ok(books);
        };
        entries(talk, key, ahead, own, judged)?;
    }
    if judged.is_over() {
        return Ok(books);
    }
    if let Value::Stream(mut own) = mine.decode(entry)? {
        metadata(talk, key, &mut own, judged, &mut books)?;
        groups(talk, key, &mut own, judged, &mut books)?;
    }
    if !judged.found.is_empty() || judged.refused.is_some() {
        // Groups that are others are not looked into.
        return Ok(books);
    }
    if let (Value::Stream(mut ahead), Value::Stream(mut own)) =
        (theirs.decode(entry)?, mine.decode(entry)?)
    {
        owners(talk, key, &mut ahead, &mut own, judged)?;
        if own
            .idempotency()?
            .is_some_and(|settings| settings.producers > 0)
        {
            judged.refuse(b"it has idempotency records, which only DUMP shows");
        }
    }
    Ok(books)
}

/// Walks everything behind the entries once: in the middle of a reply nothing can be given up.
pub(super) fn readable(decoder: &mut Decoder<Lenient>, entry: &Entry<'_>) -> Result<()> {
    let Value::Stream(mut stream) = decoder.decode(entry)? else {
        return Ok(());
    };
    while stream.next_group()?.is_some() {
        while stream.next_consumer()?.is_some() {
            while stream.next_owned()?.is_some() {}
        }
        while stream.next_nacked()?.is_some() {}
    }
    Ok(())
}

pub(super) fn id_text(id: StreamId) -> String {
    id.to_string()
}

/// Entries with their fields, range by range.
fn entries(
    talk: &mut Talk<'_>,
    key: &[u8],
    mut ahead: Stream<'_, Lenient>,
    mut own: Stream<'_, Lenient>,
    judged: &mut Judged,
) -> Result<()> {
    while !judged.is_over() {
        let (mut count, mut bytes, mut first, mut last) = (0usize, 0u64, None, StreamId::default());
        while count < ENTRIES && bytes < BYTES {
            let Some(entry) = ahead.next_entry()? else {
                break;
            };
            first.get_or_insert(entry.id);
            last = entry.id;
            count = count.saturating_add(1);
            while let Some((name, value)) = ahead.next_field()? {
                bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
            }
        }
        let Some(first) = first else { return Ok(()) };
        talk.begin(6);
        for arg in [
            &b"XRANGE"[..],
            key,
            id_text(first).as_bytes(),
            id_text(last).as_bytes(),
            b"COUNT",
        ] {
            talk.arg(arg)?;
        }
        // One more than there should be.
        talk.arg_number((count as u64).saturating_add(1))?;
        talk.flush()?;
        let there = match talk.token()? {
            Token::Array(there) => there,
            Token::Error(words) => {
                judged.refuse(words);
                return Ok(());
            }
            Token::Nil => 0,
            _ => return Err(talk.out_of_step("entries were asked for, and something else came")),
        };
        let mut read = 0u64;
        for _ in 0..count {
            let Some(entry) = own.next_entry()? else {
                break;
            };
            judged.elements = judged.elements.saturating_add(1);
            if read >= there {
                judged.found.add(
                    What::Value,
                    Spot::Entry(entry.id),
                    "missing at the destination",
                );
                break;
            }
            read = read.saturating_add(1);
            if !one_entry(talk, entry.id, entry.fields, &mut own, judged)? {
                break;
            }
        }
        if read < there {
            if judged.found.is_empty() {
                judged.found.add(
                    What::Value,
                    Spot::Entry(last),
                    "the destination has other entries before it",
                );
            }
            talk.skip_replies(there.saturating_sub(read))?;
        }
        if !judged.found.is_empty() {
            // Behind the first entry that is another one, the two are out of step.
            judged.found.more = true;
            return Ok(());
        }
    }
    Ok(())
}

/// Judges one entry of a range; `false` where it is another one.
fn one_entry(
    talk: &mut Talk<'_>,
    id: StreamId,
    fields: u64,
    own: &mut Stream<'_, Lenient>,
    judged: &mut Judged,
) -> Result<bool> {
    if talk.token()? != Token::Array(2) {
        return Err(talk.out_of_step("an entry of a stream was expected"));
    }
    let theirs = stream_id(talk)?;
    if theirs != Some(id) {
        talk.skip_reply()?;
        judged.found.add(
            What::Value,
            Spot::Entry(id),
            "another entry stands in its place",
        );
        return Ok(false);
    }
    let items = match talk.token()? {
        Token::Array(items) => items,
        Token::Nil => 0,
        _ => return Err(talk.out_of_step("the fields of an entry were expected")),
    };
    if items != fields.saturating_mul(2) {
        talk.skip_replies(items)?;
        judged.found.add(
            What::Value,
            Spot::Entry(id),
            format!(
                "{fields} fields in the file, {} at the destination",
                items / 2
            ),
        );
        return Ok(false);
    }
    let mut left = items;
    while left > 0 {
        let Some((name, value)) = own.next_field()? else {
            break;
        };
        for mine in [name, value] {
            left = left.saturating_sub(1);
            match talk.token()? {
                Token::Text(length) => {
                    judge_reply(talk, length, &mine, || Spot::Entry(id), &mut judged.found)?;
                }
                _ => return Err(talk.out_of_step("a field of an entry was expected")),
            }
        }
    }
    talk.skip_replies(left)?;
    Ok(true)
}

/// The ID that is due as a text; `None` where it is none.
pub(super) fn stream_id(talk: &mut Talk<'_>) -> Result<Option<StreamId>> {
    match talk.token()? {
        Token::Text(length) if length <= 41 => Ok(parse_id(talk.whole()?)),
        Token::Text(_) => Ok(None),
        _ => Err(talk.out_of_step("the ID of an entry was expected")),
    }
}

fn parse_id(text: &[u8]) -> Option<StreamId> {
    let (ms, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some(StreamId {
        ms: ms.parse().ok()?,
        seq: seq.parse().ok()?,
    })
}

/// Reads a reply of names and values, and calls `value` for each name with the value's token not taken yet; it answers
/// whether it took it. `false` where the server refused.
fn map(
    talk: &mut Talk<'_>,
    judged: &mut Judged,
    value: impl FnMut(&mut Talk<'_>, &[u8]) -> Result<bool>,
) -> Result<bool> {
    match talk.token()? {
        Token::Array(items) => map_items(talk, items, value).map(|()| true),
        Token::Error(words) => {
            judged.refuse(words);
            Ok(false)
        }
        _ => Err(talk.out_of_step("names and values were expected")),
    }
}

pub(super) fn map_items(
    talk: &mut Talk<'_>,
    items: u64,
    mut value: impl FnMut(&mut Talk<'_>, &[u8]) -> Result<bool>,
) -> Result<()> {
    for _ in 0..items / 2 {
        let name = match talk.token()? {
            Token::Text(length) if length <= 64 => talk.whole()?.to_vec(),
            _ => return Err(talk.out_of_step("a name was expected")),
        };
        if !value(talk, &name)? {
            talk.skip_reply()?;
        }
    }
    talk.skip_replies(items % 2)
}

fn metadata(
    talk: &mut Talk<'_>,
    key: &[u8],
    own: &mut Stream<'_, Lenient>,
    judged: &mut Judged,
    books: &mut Bookkeeping,
) -> Result<()> {
    let meta = own.metadata()?;
    talk.command(&[b"XINFO", b"STREAM", key])?;
    talk.flush()?;
    let (mut last, mut added, mut deleted) = (None, None, None);
    let answered = map(talk, judged, |talk, name| {
        match name {
            b"last-generated-id" => last = stream_id(talk)?,
            b"max-deleted-entry-id" => deleted = stream_id(talk)?,
            b"entries-added" => {
                if let Token::Integer(count) = talk.token()? {
                    added = u64::try_from(count).ok();
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if !answered {
        return Ok(());
    }
    if last != Some(meta.last_id) {
        let theirs = last.map_or_else(|| "none".to_owned(), id_text);
        judged.found.add(
            What::LastId,
            Spot::Key,
            format!("{} in the file, {theirs} at the destination", meta.last_id),
        );
    }
    let unequal = |a: Option<u64>, b: Option<u64>| matches!((a, b), (Some(a), Some(b)) if a != b);
    books.note(
        Bookkeeping::ENTRIES_ADDED,
        unequal(meta.entries_added, added),
    );
    books.note(
        Bookkeeping::MAX_DELETED,
        matches!((meta.max_deleted_id, deleted), (Some(a), Some(b)) if a != b),
    );
    Ok(())
}

/// The groups by themselves: names, last IDs, numbers of pending entries.
fn groups(
    talk: &mut Talk<'_>,
    key: &[u8],
    own: &mut Stream<'_, Lenient>,
    judged: &mut Judged,
    books: &mut Bookkeeping,
) -> Result<()> {
    if judged.refused.is_some() {
        return Ok(());
    }
    talk.command(&[b"XINFO", b"GROUPS", key])?;
    talk.flush()?;
    let there = match talk.token()? {
        Token::Array(there) => there,
        Token::Nil => 0,
        Token::Error(words) => {
            judged.refuse(words);
            return Ok(());
        }
        _ => return Err(talk.out_of_step("groups were asked for, and something else came")),
    };
    let mut left = there;
    while left > 0 {
        let Some(group) = own.next_group()? else {
            break;
        };
        left = left.saturating_sub(1);
        let Token::Array(items) = talk.token()? else {
            return Err(talk.out_of_step("a group was expected"));
        };
        let spot = || Spot::Group(Spot::name(&group.name));
        let (mut other, mut last, mut read, mut pending) = (true, None, None, None);
        map_items(talk, items, |talk, name| {
            match name {
                b"name" => other = !names(talk, &group.name)?,
                b"last-delivered-id" => last = stream_id(talk)?,
                b"pending" => {
                    if let Token::Integer(count) = talk.token()? {
                        pending = u64::try_from(count).ok();
                    }
                }
                b"entries-read" => {
                    if let Token::Integer(count) = talk.token()? {
                        read = u64::try_from(count).ok();
                    }
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if other {
            judged
                .found
                .add(What::Group, spot(), "missing at the destination");
            judged.found.more = true;
            break;
        }
        if last != Some(group.last_id) {
            let theirs = last.map_or_else(|| "none".to_owned(), id_text);
            judged.found.add(
                What::Group,
                spot(),
                format!(
                    "last delivered {} in the file, {theirs} at the destination",
                    group.last_id
                ),
            );
        }
        if pending != Some(group.pending) {
            judged.found.add(
                What::Pending,
                spot(),
                format!(
                    "{} pending in the file, {} at the destination",
                    group.pending,
                    pending.map_or_else(|| "an unknown number".to_owned(), |n| n.to_string())
                ),
            );
        }
        books.note(
            Bookkeeping::ENTRIES_READ,
            matches!((group.entries_read, read), (Some(a), Some(b)) if a != b),
        );
    }
    if judged.found.is_empty() {
        let mut lacking = None;
        if let Some(group) = own.next_group()? {
            lacking = Some(Spot::name(&group.name));
        }
        match lacking {
            Some(name) if left == 0 => {
                judged
                    .found
                    .add(What::Group, Spot::Group(name), "missing at the destination");
            }
            _ if left > 0 => judged.found.add(
                What::Group,
                Spot::Key,
                format!("the destination has {left} more"),
            ),
            _ => {}
        }
    }
    talk.skip_replies(left)
}

/// Whether the text that is due is this name.
pub(super) fn names(talk: &mut Talk<'_>, name: &Element<'_>) -> Result<bool> {
    match talk.token()? {
        Token::Text(length) => Ok(reply_differs(talk, length, name)?.is_none()),
        _ => Err(talk.out_of_step("a name was expected")),
    }
}

/// The name as it is sent; `None` where it is too long to be held.
pub(super) fn held(name: &Element<'_>) -> Result<Option<Vec<u8>>> {
    if name.len() > LONGEST_NAME {
        return Ok(None);
    }
    let mut text = Vec::new();
    name.append_to(&mut text)?;
    Ok(Some(text))
}
