//! Streams in a lower form, by their metadata alone: nodes stay where they are in the input, lists of pending entries are
//! copied whole, and only what the lower form has no field for is left out.
//!
//! | left out | below form | |
//! |---|---|---|
//! | nacked entries, which are taken out of their group's list too | 5 | meaning |
//! | idempotency settings and records | 4 | meaning, unless they are what every stream has |
//! | consumers' active times | 3 | bookkeeping |
//! | first ID, largest deleted ID, entries added, entries read | 2 | bookkeeping |
//!
//! A stream in its own form is one with its counters mended: newer servers refuse a length that is not the number of entries,
//! and more entries read than were ever added, which older ones wrote.

use super::{Form, Writing};
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::{Entry, ValueType};
use crate::value::commands::Loss;
use crate::value::{Decoder, Value};
use crate::wire::{Cursor, Str, length};

/// Which of the five forms a stream has.
pub(super) fn form(form: Form) -> Option<u8> {
    Some(match form.value_type {
        ValueType::STREAM_LISTPACKS => 1,
        ValueType::STREAM_LISTPACKS_2 => 2,
        ValueType::STREAM_LISTPACKS_3 => 3,
        ValueType::STREAM_LISTPACKS_4 => 4,
        ValueType::STREAM_LISTPACKS_5 => 5,
        _ => return None,
    })
}

/// The settings of a stream that nobody configured (`CONFIG_STREAM_IDMP_*`): seconds, and entries a producer.
const IDMP_DEFAULT: (u64, u64) = (100, 100);

/// Nacked entries of a group that are taken out of its list at most: 1 MiB of IDs.
const MOST_NACKED: u64 = 1 << 16;

/// How many entries a group has read, where nobody knows: −1 as an unsigned number.
const UNKNOWN: u64 = u64::MAX;

type Id = [u8; 16];

/// Counters, as they should be.
#[derive(Debug, Clone, Copy)]
struct Mended {
    /// Live entries.
    length: u64,
    /// Entries ever added.
    added: u64,
}

/// Counts the live entries of a stream.
pub(super) fn live_entries(decoder: &mut Decoder, entry: &Entry<'_>) -> Result<u64> {
    let Value::Stream(mut stream) = decoder.decode(entry)? else {
        return Ok(0);
    };
    let mut live = 0u64;
    while stream.next_entry()?.is_some() {
        live = live.saturating_add(1);
    }
    Ok(live)
}

/// Writes everything behind the nodes; gives the nodes with their count, which stay. `None` where meaning would be lost. With
/// the number of `live` entries the counters are mended.
pub(super) fn encode<'a>(
    entry: &Entry<'a>,
    (from, to): (u8, u8),
    live: Option<u64>,
    writing: &mut Writing<'_>,
) -> Result<Option<&'a [u8]>> {
    let mut cursor = Cursor::new(entry.value, entry.value_offset);
    let kept = passed(&mut cursor, |cursor| {
        let nodes = length::read(cursor)?;
        cursor.expect_room(nodes, 18, "nodes")?;
        (0..nodes).try_for_each(|_| Str::skip(cursor).and_then(|()| Str::skip(cursor)))
    })?;
    let length = length::read(&mut cursor)?;
    let mut mended = live.map(|length| Mended {
        length,
        added: length,
    });
    writing.body.length(live.unwrap_or(length))?;
    // The last ID.
    copy(&mut cursor, writing, |cursor| numbers(cursor, 2))?;
    if from >= 2 {
        // First and largest deleted ID.
        let ids = passed(&mut cursor, |cursor| numbers(cursor, 4))?;
        let mut added = length::read(&mut cursor)?;
        if let Some(mended) = &mut mended {
            mended.added = mended.added.max(added);
            added = mended.added;
        }
        if to >= 2 {
            writing.body.bytes(ids)?;
            writing.body.length(added)?;
        } else {
            writing.losses.add(Loss::StreamCounters);
        }
    }
    if mended.is_some_and(|mended| mended.length != length) {
        writing.losses.add(Loss::StreamCounters);
    }
    let groups = length::read(&mut cursor)?;
    cursor.expect_room(groups, 5, "groups")?;
    writing.body.length(groups)?;
    for _ in 0..groups {
        group(&mut cursor, from, to, mended, writing)?;
        if !writing.may_go_on() {
            return Ok(None);
        }
    }
    if from >= 4 {
        if to >= 4 {
            writing.body.bytes(cursor.rest())?;
            return Ok(Some(kept));
        }
        idempotency(&mut cursor, writing)?;
    }
    if !cursor.is_empty() {
        return Err(Error::corrupt(
            cursor.place(),
            format!(
                "{} bytes stand behind the end of the value",
                cursor.remaining()
            ),
        ));
    }
    Ok(writing.may_go_on().then_some(kept))
}

fn group(
    cursor: &mut Cursor<'_>,
    from: u8,
    to: u8,
    mended: Option<Mended>,
    writing: &mut Writing<'_>,
) -> Result<()> {
    // Name and last ID.
    copy(cursor, writing, |cursor| {
        Str::skip(cursor)?;
        numbers(cursor, 2)
    })?;
    if from >= 2 {
        let mut read = length::read(cursor)?;
        if let Some(Mended { added, .. }) = mended
            && read > added
            && read != UNKNOWN
        {
            read = added;
            writing.losses.add(Loss::StreamCounters);
        }
        if to >= 2 {
            writing.body.length(read)?;
        }
    }
    let count = length::read(cursor)?;
    cursor.expect_room(count, 25, "pending entries")?;
    let pending_at = *cursor;
    let pending = passed(cursor, |cursor| {
        (0..count).try_for_each(|_| pending_id(cursor).map(|_| ()))
    })?;
    let consumers_at = *cursor;
    let consumers = passed(cursor, |cursor| skip_consumers(cursor, from, to, writing))?;
    let mut nacked = 0;
    if from >= 5 {
        nacked = length::read(cursor)?;
        cursor.expect_room(nacked, 16, "nacked entries")?;
    }
    let nacked_ids = passed(cursor, |cursor| cursor.skip(nacked.saturating_mul(16)))?;
    if nacked == 0 || to >= 5 {
        writing.body.length(count)?;
        writing.body.bytes(pending)?;
    } else {
        writing.losses.add(Loss::Nacked);
        if !writing.may_go_on() {
            return Ok(());
        }
        without(pending_at, count, nacked_ids, writing)?;
    }
    if from >= 3 && to < 3 {
        without_active_times(consumers_at, writing)?;
    } else {
        writing.body.bytes(consumers)?;
    }
    if to >= 5 {
        writing.body.length(nacked)?;
        writing.body.bytes(nacked_ids)?;
    }
    Ok(())
}

/// Moves over `count` numbers.
fn numbers(cursor: &mut Cursor<'_>, count: u32) -> Result<()> {
    (0..count).try_for_each(|_| length::read(cursor).map(|_| ()))
}

/// The bytes that `pass` moves over.
fn passed<'a>(
    cursor: &mut Cursor<'a>,
    pass: impl FnOnce(&mut Cursor<'a>) -> Result<()>,
) -> Result<&'a [u8]> {
    let bytes = cursor.rest();
    pass(cursor)?;
    let used = bytes.len().saturating_sub(cursor.rest().len());
    Ok(bytes.get(..used).unwrap_or_default())
}

/// Copies the bytes that `pass` moves over.
fn copy<'a>(
    cursor: &mut Cursor<'a>,
    writing: &mut Writing<'_>,
    pass: impl FnOnce(&mut Cursor<'a>) -> Result<()>,
) -> Result<()> {
    let bytes = passed(cursor, pass)?;
    writing.body.bytes(bytes)
}

/// Moves over a pending entry: ID, time and count of deliveries.
fn pending_id(cursor: &mut Cursor<'_>) -> Result<Id> {
    let id = cursor.array()?;
    cursor.skip(8)?;
    length::read(cursor)?;
    Ok(id)
}

/// Moves over the consumers of a group, and tells where one would lose its active time.
fn skip_consumers(
    cursor: &mut Cursor<'_>,
    from: u8,
    to: u8,
    writing: &mut Writing<'_>,
) -> Result<()> {
    let count = length::read(cursor)?;
    cursor.expect_room(count, if from >= 3 { 18 } else { 10 }, "consumers")?;
    for _ in 0..count {
        Str::skip(cursor)?;
        let seen = cursor.i64_le()?;
        // A server that does not find it puts the seen time.
        if from >= 3 && cursor.i64_le()? != seen && to < 3 {
            writing.losses.add(Loss::ConsumerTimes);
        }
        skip_owned(cursor)?;
    }
    Ok(())
}

fn skip_owned(cursor: &mut Cursor<'_>) -> Result<()> {
    let owned = length::read(cursor)?;
    cursor.expect_room(owned, 16, "pending entries of a consumer")?;
    cursor.skip(owned.saturating_mul(16))
}

/// Writes the consumers at `cursor` without their active times.
fn without_active_times(mut cursor: Cursor<'_>, writing: &mut Writing<'_>) -> Result<()> {
    let count = length::read(&mut cursor)?;
    writing.body.length(count)?;
    for _ in 0..count {
        copy(&mut cursor, writing, |cursor| {
            Str::skip(cursor)?;
            cursor.skip(8)
        })?;
        cursor.skip(8)?;
        copy(&mut cursor, writing, skip_owned)?;
    }
    Ok(())
}

/// Writes the `count` pending entries at `cursor` without those whose IDs are in `nacked`: nobody owns these, and a form that
/// does not know them has no place for pending entries without an owner.
fn without(
    mut cursor: Cursor<'_>,
    count: u64,
    nacked: &[u8],
    writing: &mut Writing<'_>,
) -> Result<()> {
    let mut ids: Vec<Id> = Vec::new();
    if nacked.len() as u64 / 16 > MOST_NACKED {
        return Err(Error::new(
            ErrorKind::Limit,
            format!("more than {MOST_NACKED} nacked entries in one group are not taken out"),
        )
        .or_place(cursor.place()));
    }
    ids.extend(nacked.as_chunks::<16>().0);
    ids.sort_unstable();
    let is_nacked = |id: &Id| ids.binary_search(id).is_ok();
    let mut left = 0u64;
    let mut walk = cursor;
    for _ in 0..count {
        if !is_nacked(&pending_id(&mut walk)?) {
            left = left.saturating_add(1);
        }
    }
    writing.body.length(left)?;
    for _ in 0..count {
        let mut id = Id::default();
        let bytes = passed(&mut cursor, |cursor| {
            id = pending_id(cursor)?;
            Ok(())
        })?;
        if !is_nacked(&id) {
            writing.body.bytes(bytes)?;
        }
    }
    Ok(())
}

/// Moves over the idempotency records, and tells what is lost with them.
fn idempotency(cursor: &mut Cursor<'_>, writing: &mut Writing<'_>) -> Result<()> {
    let settings = (length::read(cursor)?, length::read(cursor)?);
    let producers = length::read(cursor)?;
    cursor.expect_room(producers, 2, "producers")?;
    if settings != IDMP_DEFAULT || producers > 0 {
        writing.losses.add(Loss::Idempotency);
    }
    for _ in 0..producers {
        Str::skip(cursor)?;
        let records = length::read(cursor)?;
        cursor.expect_room(records, 3, "records of a producer")?;
        for _ in 0..records {
            Str::skip(cursor)?;
            numbers(cursor, 2)?;
        }
    }
    if (length::read(cursor)?, length::read(cursor)?) != (0, 0) {
        writing.losses.add(Loss::IdempotencyCounters);
    }
    Ok(())
}
