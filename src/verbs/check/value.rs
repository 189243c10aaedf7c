//! What can be said of one key and its value without walking it (`--shallow`).

use super::finding::{Finding, Severity};
use crate::error::{ErrorKind, Result};
use crate::snapshot::{Dialect, Entry, ValueType};
use crate::wire::{Cursor, Str, length};

/// Looks at one entry, and tells faults to `found`.
///
/// # Errors
/// What `found` returns.
pub(super) fn check_shallow(
    entry: &Entry<'_>,
    found: &mut dyn FnMut(Finding) -> Result<()>,
) -> Result<()> {
    check_key(entry, found)?;
    if is_visibly_empty(entry) {
        found(
            Finding::new(Severity::Fault, "empty", "the collection has no elements")
                .at(entry.value_offset)
                .of(entry.context()),
        )?;
    }
    if entry.value_type == ValueType::HASH_TMPL_LP_REF
        && entry.dialect == Dialect::Redis
        && entry.template.is_none()
    {
        found(no_template(entry))?;
    }
    Ok(())
}

/// A hash that names a template which the file does not have.
#[cold]
fn no_template(entry: &Entry<'_>) -> Finding {
    Finding::new(
        Severity::Fault,
        "template",
        "the hash names a template that the file does not have",
    )
    .at(entry.value_offset)
    .of(entry.context())
}

/// A name that is compressed is decoded: lengths that lie are a fault of this key only.
fn check_key(entry: &Entry<'_>, found: &mut dyn FnMut(Finding) -> Result<()>) -> Result<()> {
    if !matches!(entry.key, Str::Lzf(_)) {
        return Ok(());
    }
    let mut pieces = entry.key.pieces();
    loop {
        match pieces.next_piece() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let finding = Finding::from_error(Severity::Fault, "key-name", &error);
                return found(finding.of(entry.context()));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the value says of itself, without being decoded, that it has no elements. Streams without entries are legal.
fn is_visibly_empty(entry: &Entry<'_>) -> bool {
    let mut cursor = Cursor::new(entry.value, entry.value_offset);
    let counted = |mut cursor: Cursor<'_>| length::read(&mut cursor).is_ok_and(|count| count == 0);
    match entry.value_type {
        ValueType::LIST
        | ValueType::SET
        | ValueType::ZSET
        | ValueType::HASH
        | ValueType::ZSET_2
        | ValueType::LIST_QUICKLIST
        | ValueType::LIST_QUICKLIST_2 => counted(cursor),
        ValueType::HASH_METADATA => cursor.skip(8).is_ok() && counted(cursor),
        // The header of a packed encoding, where it is not compressed: an empty one is too short for that.
        ValueType::LIST_ZIPLIST | ValueType::ZSET_ZIPLIST | ValueType::HASH_ZIPLIST => {
            packed_is(&mut cursor, 11, b"\x0b\0\0\0\x0a\0\0\0\0\0\xff")
        }
        ValueType::HASH_LISTPACK | ValueType::ZSET_LISTPACK | ValueType::SET_LISTPACK => {
            packed_is(&mut cursor, 7, b"\x07\0\0\0\0\0\xff")
        }
        ValueType::SET_INTSET => match Str::read(&mut cursor) {
            Ok(Str::Raw(blob)) => blob.len() == 8 && blob.ends_with(&[0; 4]),
            _ => false,
        },
        ValueType::HASH_ZIPMAP => packed_is(&mut cursor, 2, b"\0\xff"),
        _ => false,
    }
}

fn packed_is(cursor: &mut Cursor<'_>, len: usize, empty: &[u8]) -> bool {
    match Str::read(cursor) {
        Ok(Str::Raw(blob)) => blob.len() == len && blob == empty,
        _ => false,
    }
}
