//! What `DUMP` answers, held against an entry: by its bytes, else decoded.

use super::alike::{Likeness, Prints};
use super::found::{Differences, Spot, What};
use super::{Verdict, Wanted};
use crate::error::Result;
use crate::payload::{FOOTER, Payload};
use crate::snapshot::{Dialect, Entry, Kind, ModuleId, ValueType};
use crate::value::{Decoder, Lenient, Value};
use crate::wire::{Cursor, length};

/// The opcode in front of key metadata.
const KEY_META: u8 = 243;

/// The first version of Valkey's own numbering.
const VALKEY: u16 = 80;

/// Decoders of both sides, and what they are compared with.
#[derive(Debug)]
pub(super) struct Decoders {
    pub(super) mine: Decoder<Lenient>,
    pub(super) theirs: Decoder<Lenient>,
    pub(super) prints: Prints,
    /// Expiries inside of values arrive as they stand in the file.
    pub(super) as_they_are: bool,
}

/// Holds a payload against the entry. `None` where reading by type must tell more.
pub(super) fn judge(
    wanted: &Wanted<'_>,
    payload: &[u8],
    decoders: &mut Decoders,
    now_ms: i64,
) -> Result<Option<Verdict>> {
    let entry = &wanted.entry;
    let Some((content, footer)) = payload.split_last_chunk::<FOOTER>() else {
        return Ok(None);
    };
    let [low, high, ..] = *footer;
    let dialect = if u16::from_le_bytes([low, high]) >= VALKEY {
        Dialect::Valkey
    } else {
        Dialect::Redis
    };
    // Below this number a type is the same one everywhere, but for Dragonfly's.
    let one_type = entry.value_type < ValueType::HASH_2 || entry.dialect == dialect;
    if one_type
        && (decoders.as_they_are || !may_have_expiries_inside(entry))
        && entry.dialect != Dialect::Dragonfly
        && let Ok(own) = Payload::unsealed(entry)
        && own.content_is(content)
    {
        return Ok(Some(Verdict::Same));
    }
    let (meta, value) = match entry.key_meta {
        Some(meta) => match content.strip_prefix(meta) {
            Some(value) => (true, value),
            None => (false, content),
        },
        None => (content.first() != Some(&KEY_META), content),
    };
    if !meta {
        let mut found = Differences::default();
        let how = match (entry.key_meta, content.first()) {
            (None, _) => "the destination has key metadata, the file has none",
            (_, Some(&KEY_META)) => "the key metadata are others",
            _ => "the destination has no key metadata",
        };
        found.add(What::Metadata, Spot::Key, how);
        return Ok(Some(Verdict::Different(found)));
    }
    let Some((&value_type, body)) = value.split_first() else {
        return Ok(None);
    };
    let theirs = Entry {
        dialect,
        value_type: ValueType(value_type),
        value: body,
        value_offset: 1,
        offset: 0,
        template: None,
        key_meta: None,
        sub_expires: &[],
        ..*entry
    };
    if theirs.type_info().map(|info| info.kind) != entry.type_info().map(|info| info.kind) {
        return Ok(None);
    }
    let mine = decoders.mine.decode(entry)?;
    // What the destination gives may be anything.
    let Ok(value) = decoders.theirs.decode(&theirs) else {
        return Ok(None);
    };
    Ok(match decoders.prints.compare(mine, value, now_ms) {
        Ok(Likeness::Alike(books)) if books.is_empty() => Some(Verdict::Same),
        Ok(Likeness::Alike(books)) => Some(Verdict::SameBut(books)),
        Ok(Likeness::Unlike) if is_vector_set(entry) => {
            match (
                decoders.mine.decode(entry)?,
                decoders.theirs.decode(&theirs)?,
            ) {
                (Value::Module(mine), Value::Module(theirs)) => {
                    match decoders.prints.vector_sets(mine, theirs)? {
                        Likeness::Alike(books) => Some(Verdict::SameBut(books)),
                        Likeness::Unlike => Some(others()),
                        Likeness::TooMany => only_by_dump(entry),
                    }
                }
                _ => only_by_dump(entry),
            }
        }
        Ok(Likeness::Unlike) => only_by_dump(entry),
        Ok(Likeness::TooMany) => None,
        // Theirs or ours: reading by type will tell.
        Err(error) => match only_by_dump(entry) {
            Some(_) => return Err(error),
            None => None,
        },
    })
}

/// Whether its fields or members can have expiries of their own.
fn may_have_expiries_inside(entry: &Entry<'_>) -> bool {
    let kind = entry.type_info().map(|info| info.kind);
    matches!(kind, Some(Kind::Hash | Kind::Set)) && entry.value_type >= ValueType::HASH_2
}

/// For types that no command reads whole, the verdict where their payloads differ.
fn only_by_dump(entry: &Entry<'_>) -> Option<Verdict> {
    match entry.type_info()?.kind {
        Kind::Module => Some(Verdict::NotComparable(
            "a module's value is compared by what the module wrote, and that differs".to_owned(),
        )),
        Kind::Array | Kind::Json => Some(others()),
        _ => None,
    }
}

fn others() -> Verdict {
    let mut found = Differences::default();
    found.add(What::Value, Spot::Key, "the elements are others");
    Verdict::Different(found)
}

fn is_vector_set(entry: &Entry<'_>) -> bool {
    let id = length::read(&mut Cursor::new(entry.value, entry.value_offset));
    id.is_ok_and(|id| ModuleId(id).name() == "vectorset")
}
