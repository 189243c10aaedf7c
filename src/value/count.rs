//! How many elements a value has, as far as possible without walking it: from counts and headers.

use super::decoder::{Decoder, Value};
use super::findings::Findings;
use super::{intset, listpack, ziplist, zipmap};
use crate::error::Result;
use crate::snapshot::{Dialect, Entry, ValueType};
use crate::wire::{Cursor, Str, length};

impl<F: Findings> Decoder<F> {
    /// The number of elements of a value: list elements, members, fields, live stream entries, array elements; 1 for strings and
    /// JSON, and for a module's value the values that it wrote.
    ///
    /// Counts and headers are believed: a value of a million elements is counted by a few bytes. Where a header says that the
    /// count is unknown, the value is walked. That the claims are true is told by [`Decoder::validate`].
    ///
    /// # Errors
    /// `Corrupt` where the bytes cannot be read, with the entry; for a value that must be walked, as its walk.
    pub fn count(&mut self, entry: &Entry<'_>) -> Result<u64> {
        let counted = match claimed(entry) {
            Ok(Some(count)) => return Ok(count),
            Ok(None) => self.count_by_walking(entry),
            Err(error) => Err(error),
        };
        counted.map_err(|error| error.or_entry(|| entry.context()))
    }

    fn count_by_walking(&mut self, entry: &Entry<'_>) -> Result<u64> {
        let mut count = 0u64;
        let mut one = || count = count.wrapping_add(1);
        match self.decode(entry)? {
            Value::String(_) | Value::Json(_) => one(),
            Value::List(mut list) => {
                while list.next_element()?.is_some() {
                    one();
                }
            }
            Value::Set(mut set) => {
                while set.next_member()?.is_some() {
                    one();
                }
            }
            Value::Zset(mut zset) => {
                while zset.next_scored()?.is_some() {
                    one();
                }
            }
            Value::Hash(mut hash) => {
                while hash.next_field()?.is_some() {
                    one();
                }
            }
            Value::Stream(mut stream) => return Ok(stream.metadata()?.length),
            Value::Array(array) => return Ok(array.count()),
            Value::Module(mut module) => {
                while module.next_item()?.is_some() {
                    one();
                }
            }
        }
        Ok(count)
    }
}

/// The count as counts and headers say it; `None` where only a walk tells.
pub(super) fn claimed(entry: &Entry<'_>) -> Result<Option<u64>> {
    let mut cursor = Cursor::new(entry.value, entry.value_offset);
    let cursor = &mut cursor;
    let redis = entry.dialect == Dialect::Redis;
    let room = &mut Head::default();
    Ok(match entry.value_type {
        ValueType::STRING => Some(1),
        ValueType::LIST
        | ValueType::SET
        | ValueType::ZSET
        | ValueType::HASH
        | ValueType::ZSET_2 => Some(length::read(cursor)?),
        ValueType::HASH_ZIPMAP => zipmap::count(head(cursor, room)?).map(u64::from),
        ValueType::LIST_ZIPLIST => ziplist_count(cursor)?,
        ValueType::ZSET_ZIPLIST | ValueType::HASH_ZIPLIST => halved(ziplist_count(cursor)?),
        ValueType::SET_INTSET => intset::header(head(cursor, room)?)
            .ok()
            .map(|header| u64::from(header.count)),
        ValueType::HASH_LISTPACK | ValueType::ZSET_LISTPACK => halved(listpack_count(cursor)?),
        ValueType::SET_LISTPACK if entry.dialect != Dialect::Dragonfly => listpack_count(cursor)?,
        ValueType::LIST_QUICKLIST => nodes(cursor, |cursor| ziplist_count(cursor))?,
        ValueType::LIST_QUICKLIST_2 => nodes(cursor, |cursor| match length::read(cursor)? {
            2 => listpack_count(cursor),
            _ => Str::skip(cursor).map(|()| Some(1)),
        })?,
        ValueType::HASH_METADATA_PRE_GA if redis => Some(length::read(cursor)?),
        ValueType::HASH_2 if entry.dialect == Dialect::Valkey => Some(length::read(cursor)?),
        ValueType::HASH_LISTPACK_EX_PRE_GA if redis => thirds(listpack_count(cursor)?),
        ValueType::HASH_METADATA if redis => {
            cursor.skip(8)?;
            Some(length::read(cursor)?)
        }
        ValueType::HASH_LISTPACK_EX if redis => {
            cursor.skip(8)?;
            thirds(listpack_count(cursor)?)
        }
        ValueType::HASH_TMPL_LP_REF | ValueType::HASH_TMPL_ARRAY_REF if redis => {
            entry.template.map(|template| template.fields)
        }
        ValueType::DF_HASH_WITH_EXPIRY | ValueType::DF_SET_WITH_EXPIRY
            if entry.dialect == Dialect::Dragonfly =>
        {
            Some(length::read(cursor)?)
        }
        _ => None,
    })
}

/// Room for the largest header and one byte more, since a blob is never without its end byte.
type Head = [u8; ziplist::HEADER + 1];

/// The first bytes of the blob at the cursor.
fn head<'h, 'd: 'h>(cursor: &mut Cursor<'d>, room: &'h mut Head) -> Result<&'h [u8]> {
    Ok(Str::read(cursor)?.head(room))
}

fn listpack_count(cursor: &mut Cursor<'_>) -> Result<Option<u64>> {
    Ok(listpack::header(head(cursor, &mut Head::default())?)
        .ok()
        .filter(|header| header.count != listpack::COUNT_UNKNOWN)
        .map(|header| u64::from(header.count)))
}

fn ziplist_count(cursor: &mut Cursor<'_>) -> Result<Option<u64>> {
    Ok(ziplist::header(head(cursor, &mut Head::default())?)
        .ok()
        .filter(|header| header.count != ziplist::COUNT_UNKNOWN)
        .map(|header| u64::from(header.count)))
}

fn halved(count: Option<u64>) -> Option<u64> {
    count.map(|count| count / 2)
}

fn thirds(count: Option<u64>) -> Option<u64> {
    count.map(|count| count / 3)
}

/// The sum over all nodes, unless one of them does not say.
fn nodes<'d>(
    cursor: &mut Cursor<'d>,
    mut node: impl FnMut(&mut Cursor<'d>) -> Result<Option<u64>>,
) -> Result<Option<u64>> {
    let count = length::read(cursor)?;
    cursor.expect_room(count, 1, "nodes")?;
    let mut sum = 0u64;
    for _ in 0..count {
        match node(cursor)? {
            Some(elements) => sum = sum.saturating_add(elements),
            None => return Ok(None),
        }
    }
    Ok(Some(sum))
}
