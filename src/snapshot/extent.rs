//! Where a value ends, without decoding it: one table from type to shape, the only place that must know all types.
//!
//! A count is compared with the bytes that remain before its loop begins, with the least bytes that one item can have, so
//! every loop is bounded by the input. What stands inside packed blobs is not looked at, except for the two numbers that a
//! template needs.

use super::codes::{Dialect, ValueType};
use super::template::{Template, Templates};
use crate::error::{Error, Place, Result};
use crate::wire::{Cursor, Str, double, length};

/// The layout of a value's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One string: plain, or a packed blob.
    Blob,
    /// A count, and this many strings for each.
    Strings(u64),
    /// A count; a string and a score as text for each.
    ScoresText,
    /// A count; a string and 8 bytes for each.
    ScoresBinary,
    /// A count; two strings and 8 bytes for each.
    HashTimes,
    /// A count; a length and a string for each.
    Quicklist2,
    /// Eight bytes where the flag says so, a count; a length and two strings for each.
    HashMetadata { min_expire: bool },
    /// Eight bytes and a blob.
    BlobBehindTime,
    /// A count of paths; a string, a count, and that many pairs of strings for each.
    PathHash,
    /// A stream of form 1 to 5.
    Stream(u8),
    /// A sparse array.
    Array,
    /// Field names and values; the flag says that each value is a string of its own.
    Template { array: bool },
    /// Values whose names stand in a template of the file, as a blob.
    TemplateBlobRef,
    /// Values whose names stand in a template of the file, as strings.
    TemplateArrayRef,
    /// A module's opcodes.
    Module,
}

/// The table.
fn shape(value_type: ValueType, dialect: Dialect) -> Option<Shape> {
    Some(match (value_type.0, dialect) {
        (0 | 9..=13 | 16 | 17 | 20, _) => Shape::Blob,
        (1 | 2 | 14, _) => Shape::Strings(1),
        (3, _) => Shape::ScoresText,
        (4, _) => Shape::Strings(2),
        (5, _) => Shape::ScoresBinary,
        (7, _) => Shape::Module,
        (15, _) => Shape::Stream(1),
        (18, _) => Shape::Quicklist2,
        (19, _) => Shape::Stream(2),
        (21, _) => Shape::Stream(3),
        (22, Dialect::Redis) => Shape::HashMetadata { min_expire: false },
        (23, Dialect::Redis) => Shape::Blob,
        (22, Dialect::Valkey) => Shape::HashTimes,
        (23, Dialect::Valkey) => Shape::PathHash,
        (24, Dialect::Redis) => Shape::HashMetadata { min_expire: true },
        (25, Dialect::Redis) => Shape::BlobBehindTime,
        (26, Dialect::Redis) => Shape::Stream(4),
        (27, Dialect::Redis) => Shape::Stream(5),
        (28, Dialect::Redis) => Shape::Array,
        (29, Dialect::Redis) => Shape::Template { array: false },
        (30, Dialect::Redis) => Shape::TemplateBlobRef,
        (31, Dialect::Redis) => Shape::Template { array: true },
        (32, Dialect::Redis) => Shape::TemplateArrayRef,
        (30, Dialect::Dragonfly) => Shape::Blob,
        (31, Dialect::Dragonfly) => Shape::Strings(3),
        (32, Dialect::Dragonfly) => Shape::Strings(2),
        _ => return None,
    })
}

/// Whether a value of this type is one string, whatever the dialect: nearly all are.
#[inline]
pub(super) fn is_blob(value_type: ValueType) -> bool {
    const BLOBS: u32 = 1 | 0x1f << 9 | 1 << 16 | 1 << 17 | 1 << 20;
    BLOBS
        .checked_shr(u32::from(value_type.0))
        .is_some_and(|bits| bits & 1 == 1)
}

/// Moves behind the value of `value_type` at the cursor. Returns the template that a hash of type 30 or 32 refers to.
///
/// # Errors
/// `Corrupt` where the bytes end, a count cannot be true or a form is none that a server writes. `Unsupported` for a type
/// that is not in the table; `at` is the place of its number.
#[inline]
pub(super) fn skip_value<'data>(
    cursor: &mut Cursor<'data>,
    value_type: ValueType,
    dialect: Dialect,
    templates: &Templates<'data>,
    at: Place,
) -> Result<Option<Template<'data>>> {
    let Some(shape) = shape(value_type, dialect) else {
        return Err(unknown_type(value_type, dialect, at));
    };
    match shape {
        Shape::Blob => Str::skip(cursor)?,
        Shape::Strings(each) => {
            skip_items(cursor, each, |c| (0..each).try_for_each(|_| Str::skip(c)))?
        }
        Shape::ScoresText => skip_items(cursor, 2, |c| {
            Str::skip(c)?;
            double::skip_text(c)
        })?,
        Shape::ScoresBinary => skip_items(cursor, 9, |c| {
            Str::skip(c)?;
            c.skip(8)
        })?,
        Shape::HashTimes => skip_items(cursor, 10, |c| {
            Str::skip(c)?;
            Str::skip(c)?;
            c.skip(8)
        })?,
        Shape::Quicklist2 => skip_items(cursor, 2, |c| {
            length::read(c)?;
            Str::skip(c)
        })?,
        Shape::HashMetadata { min_expire } => {
            cursor.skip(if min_expire { 8 } else { 0 })?;
            skip_items(cursor, 3, |c| {
                length::read(c)?;
                Str::skip(c)?;
                Str::skip(c)
            })?;
        }
        Shape::BlobBehindTime => {
            cursor.skip(8)?;
            Str::skip(cursor)?;
        }
        Shape::PathHash => skip_items(cursor, 4, |c| {
            Str::skip(c)?;
            skip_items(c, 2, |c| {
                Str::skip(c)?;
                Str::skip(c)
            })
        })?,
        Shape::Stream(form) => skip_stream(cursor, form)?,
        Shape::Array => skip_array(cursor)?,
        Shape::Template { array } => skip_template(cursor, array)?,
        Shape::TemplateBlobRef => {
            return Ok(blob_template_id(Str::read(cursor)?).and_then(|id| templates.get(id)));
        }
        Shape::TemplateArrayRef => return skip_template_array(cursor, templates).map(Some),
        Shape::Module => {
            length::read(cursor)?;
            skip_module_opcodes(cursor)?;
        }
    }
    Ok(None)
}

/// A count, and that many items of at least `min_bytes` each.
#[inline]
fn skip_items<'data>(
    cursor: &mut Cursor<'data>,
    min_bytes: u64,
    mut item: impl FnMut(&mut Cursor<'data>) -> Result<()>,
) -> Result<()> {
    let count = length::read(cursor)?;
    cursor.expect_room(count, min_bytes, "items")?;
    for _ in 0..count {
        item(cursor)?;
    }
    Ok(())
}

fn skip_lengths(cursor: &mut Cursor<'_>, count: u32) -> Result<()> {
    (0..count).try_for_each(|_| length::read(cursor).map(|_| ()))
}

fn skip_fixed(cursor: &mut Cursor<'_>, each: u64, what: &'static str) -> Result<()> {
    let count = length::read(cursor)?;
    cursor.expect_room(count, each, what)?;
    cursor.skip(count.saturating_mul(each))
}

/// The parts of a stream in their order (`rdbSaveObject`, `OBJ_STREAM`).
fn skip_stream(cursor: &mut Cursor<'_>, form: u8) -> Result<()> {
    skip_items(cursor, 18, |c| {
        Str::skip(c)?;
        Str::skip(c)
    })?;
    // Length and last ID; first ID, last deleted ID and entries added.
    skip_lengths(cursor, if form >= 2 { 8 } else { 3 })?;
    skip_items(cursor, 5, |c| {
        Str::skip(c)?;
        skip_lengths(c, if form >= 2 { 3 } else { 2 })?;
        skip_items(c, 25, |c| {
            c.skip(24)?;
            length::read(c).map(|_| ())
        })?;
        skip_items(c, if form >= 3 { 18 } else { 10 }, |c| {
            Str::skip(c)?;
            c.skip(if form >= 3 { 16 } else { 8 })?;
            skip_fixed(c, 16, "pending entries of a consumer")
        })?;
        if form >= 5 {
            skip_fixed(c, 16, "nacked entries")
        } else {
            Ok(())
        }
    })?;
    if form >= 4 {
        skip_lengths(cursor, 2)?;
        skip_items(cursor, 2, |c| {
            Str::skip(c)?;
            skip_items(c, 3, |c| {
                Str::skip(c)?;
                skip_lengths(c, 2)
            })
        })?;
        skip_lengths(cursor, 2)?;
    }
    Ok(())
}

fn skip_array(cursor: &mut Cursor<'_>) -> Result<()> {
    let count = length::read(cursor)?;
    if length::read(cursor)? != 0 {
        length::read(cursor)?;
    }
    cursor.expect_room(count, 3, "elements of an array")?;
    for _ in 0..count {
        length::read(cursor)?;
        let place = cursor.place();
        match length::read(cursor)? {
            0 | 3 => Str::skip(cursor)?,
            1 | 2 => cursor.skip(8)?,
            tag => {
                return Err(Error::corrupt(
                    place,
                    format!("array element of unknown form {tag}"),
                ));
            }
        }
    }
    Ok(())
}

fn skip_template(cursor: &mut Cursor<'_>, array: bool) -> Result<()> {
    let place = cursor.place();
    let fields = match length::read(cursor)? {
        0 => {
            let names_place = cursor.place();
            let names = Str::read(cursor)?;
            if array {
                listpack_count(&names, names_place)?
            } else {
                0
            }
        }
        1 => {
            let count = length::read(cursor)?;
            cursor.expect_room(count, 1, "fields of a hash template")?;
            (0..count).try_for_each(|_| Str::skip(cursor))?;
            count
        }
        format => {
            return Err(Error::corrupt(
                place,
                format!("hash template with field names of unknown form {format}"),
            ));
        }
    };
    if !array {
        return Str::skip(cursor);
    }
    cursor.expect_room(fields, 1, "values of a hash template")?;
    (0..fields).try_for_each(|_| Str::skip(cursor))
}

fn skip_template_array<'data>(
    cursor: &mut Cursor<'data>,
    templates: &Templates<'data>,
) -> Result<Template<'data>> {
    let place = cursor.place();
    let id = length::read(cursor)?;
    let Some(template) = templates.get(id) else {
        return Err(Error::corrupt(
            place,
            format!("hash refers to template {id}, which the file did not define before"),
        ));
    };
    cursor.expect_room(template.fields, 1, "values of a hash template")?;
    (0..template.fields).try_for_each(|_| Str::skip(cursor))?;
    Ok(template)
}

/// How many entries a listpack has, by its header.
fn listpack_count(blob: &Str<'_>, place: Place) -> Result<u64> {
    match blob.preview(6).get(4..6) {
        Some(&[low, high]) if (low, high) != (0xff, 0xff) => {
            Ok(u64::from(u16::from_le_bytes([low, high])))
        }
        _ => Err(Error::corrupt(
            place,
            "the number of a hash template's fields cannot be told",
        )),
    }
}

/// The template id that stands first in the listpack of a type 30 hash; `None` where no unsigned integer does.
fn blob_template_id(blob: Str<'_>) -> Option<u64> {
    let head = blob.preview(6 + 9);
    let (&first, rest) = head.get(6..)?.split_first()?;
    let number = match first {
        0..=0x7f => i64::from(first),
        0xc0..=0xdf => {
            let value = i64::from(first & 0x1f) << 8 | i64::from(*rest.first()?);
            if value >= 4096 {
                value.wrapping_sub(8192)
            } else {
                value
            }
        }
        0xf1 => i64::from(i16::from_le_bytes(*rest.first_chunk()?)),
        0xf2 => {
            i64::from(i32::from_le_bytes([0, *rest.first()?, *rest.get(1)?, *rest.get(2)?]) >> 8)
        }
        0xf3 => i64::from(i32::from_le_bytes(*rest.first_chunk()?)),
        0xf4 => i64::from_le_bytes(*rest.first_chunk()?),
        _ => return None,
    };
    u64::try_from(number).ok()
}

/// Module opcodes up to and including `EOF` (0).
pub(super) fn skip_module_opcodes(cursor: &mut Cursor<'_>) -> Result<()> {
    loop {
        let place = cursor.place();
        match length::read(cursor)? {
            0 => return Ok(()),
            1 | 2 => {
                length::read(cursor)?;
            }
            3 => cursor.skip(4)?,
            4 => cursor.skip(8)?,
            5 => Str::skip(cursor)?,
            opcode => {
                return Err(Error::corrupt(
                    place,
                    format!("module opcode {opcode} is unknown; modules write 0 to 5"),
                ));
            }
        }
    }
}

#[cold]
fn unknown_type(value_type: ValueType, dialect: Dialect, at: Place) -> Error {
    Error::unsupported(
        at,
        format!(
            "value type {}: {}",
            value_type.0,
            value_type.why_unknown(dialect)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(value_type: u8, dialect: Dialect, body: &[u8]) -> Result<u64> {
        let mut c = Cursor::new(body, 0);
        skip_value(
            &mut c,
            ValueType(value_type),
            dialect,
            &Templates::default(),
            Place::at(0),
        )
        .map(|_| c.offset())
    }

    #[test]
    fn the_table_knows_exactly_the_named_types() {
        for dialect in [Dialect::Redis, Dialect::Valkey, Dialect::Dragonfly] {
            for n in 0..=255 {
                assert_eq!(
                    shape(ValueType(n), dialect).is_some(),
                    ValueType(n).info(dialect).is_some(),
                    "{n} {dialect:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_one_string_everywhere_is_what_the_table_says() {
        for n in 0..=255 {
            let everywhere = [Dialect::Redis, Dialect::Valkey, Dialect::Dragonfly]
                .iter()
                .all(|dialect| shape(ValueType(n), *dialect) == Some(Shape::Blob));
            assert_eq!(is_blob(ValueType(n)), everywhere, "{n}");
        }
    }

    #[test]
    fn every_cut_of_a_body_is_an_error() {
        let pel = [
            &[1u8][..],
            &[0; 24],
            &[3],
            &[1],
            b"\x02c1",
            &[0; 8],
            &[1],
            &[0; 16],
        ]
        .concat();
        let stream = [
            &[1u8, 16][..],
            &[0; 16],
            b"\x02lp",
            &[2, 2, 0],
            &[1],
            b"\x02g1",
            &[1, 1],
            &pel,
        ]
        .concat();
        for (value_type, dialect, body) in [
            (0, Dialect::Redis, b"\x05hello".to_vec()),
            (1, Dialect::Redis, b"\x02\x01a\xc0\x05".to_vec()),
            (3, Dialect::Redis, b"\x02\x01a\x031.5\x01b\xfe".to_vec()),
            (4, Dialect::Redis, b"\x01\x01f\x01v".to_vec()),
            (5, Dialect::Redis, [&b"\x01\x01a"[..], &[0; 8]].concat()),
            (
                7,
                Dialect::Redis,
                [
                    &b"\x81"[..],
                    &[1; 8],
                    b"\x01\x05\x02\x06\x03\x00\x00\x00\x00\x05\x01x\x00",
                ]
                .concat(),
            ),
            (18, Dialect::Redis, b"\x02\x01\x01a\x02\x02lp".to_vec()),
            (15, Dialect::Redis, stream),
            (22, Dialect::Redis, b"\x01\x05\x01f\x01v".to_vec()),
            (
                22,
                Dialect::Valkey,
                [&b"\x01\x01f\x01v"[..], &[0xff; 8]].concat(),
            ),
            (23, Dialect::Valkey, b"\x01\x01p\x01\x01f\x01v".to_vec()),
            (
                24,
                Dialect::Redis,
                [&[0u8; 8][..], b"\x01\x05\x01f\x01v"].concat(),
            ),
            (25, Dialect::Redis, [&[0u8; 8][..], b"\x02lp"].concat()),
            (
                28,
                Dialect::Redis,
                [&b"\x02\x01\x07\x00\x00\x01a\x05\x02"[..], &[0; 8]].concat(),
            ),
            (29, Dialect::Redis, b"\x01\x01\x01f\x02lp".to_vec()),
            (
                31,
                Dialect::Redis,
                b"\x01\x02\x01f\x01g\xc0\x01\xc0\x02".to_vec(),
            ),
            (
                31,
                Dialect::Redis,
                b"\x00\x07\x07\x00\x00\x00\x01\x00\xff\xc0\x01".to_vec(),
            ),
        ] {
            let whole = [&body[..], b"next record"].concat();
            assert_eq!(
                extent(value_type, dialect, &whole).unwrap(),
                body.len() as u64,
                "type {value_type}"
            );
            for cut in 0..body.len() {
                assert!(
                    extent(value_type, dialect, &body[..cut]).is_err(),
                    "type {value_type} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn claims_are_bounded_before_the_loop() {
        let bomb = b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00";
        for value_type in [1, 2, 3, 4, 5, 14, 15, 18, 19, 21, 22, 26, 27, 28, 31] {
            let error = extent(value_type, Dialect::Redis, bomb)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("claimed")
                    || error.contains("remain")
                    || error.contains("unknown form"),
                "{error}"
            );
        }
    }

    #[test]
    fn template_ids_of_every_width() {
        let id = |entry: &[u8]| blob_template_id(Str::Raw(&[&[0; 6][..], entry].concat()));
        assert_eq!(id(&[0x05]), Some(5));
        assert_eq!(id(&[0xc1, 0x00]), Some(256));
        assert_eq!(id(&[0xf1, 0x00, 0x10]), Some(4096));
        assert_eq!(id(&[0xf2, 0x00, 0x00, 0x01]), Some(65536));
        assert_eq!(id(&[0xf3, 0, 0, 0, 1]), Some(1 << 24));
        assert_eq!(id(&[0xf4, 0, 0, 0, 0, 1, 0, 0, 0]), Some(1 << 32));
        assert_eq!(id(&[0xdf, 0xff]), None, "negative");
        assert_eq!(id(&[0x81, b'x']), None, "a string");
        assert_eq!(id(&[]), None);
    }
}
