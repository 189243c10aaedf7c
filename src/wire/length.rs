//! The length prefix: 6, 14, 32 or 64 bits, or the special forms of strings (`rdbLoadLenByRef`, `rdbSaveLen` of `rdb.c`).
//!
//! | first byte | bytes in all | value |
//! |---|---|---|
//! | `00`–`3f` | 1 | the low 6 bits |
//! | `40`–`7f` | 2 | 14 bits, big endian |
//! | `80` | 5 | 32 bits, big endian |
//! | `81` | 9 | 64 bits, big endian |
//! | `c0`–`ff` | 1 | special, only where a string is expected: the low 6 bits are its code |
//!
//! Longer forms than needed are legal, as every server takes them. `82`–`bf` are never written.
//! Where a count is expected, servers take `c0|n` silently as `n`; we call it corrupt, as no writer makes it.

use super::cursor::Cursor;
use crate::error::{Error, Result};

/// What stands where a string is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// That many bytes follow.
    Length(u64),
    /// A special form with this code (0–63).
    Special(u8),
}

/// Reads a length prefix in string position, where the special forms are legal.
///
/// # Errors
/// `Corrupt` for `82`–`bf`, or where the bytes end.
#[inline]
pub fn read_prefix(cursor: &mut Cursor<'_>) -> Result<Prefix> {
    // Nearly every length of a real file is one of these two; the rest stays out of the callers' loops.
    match *cursor.rest() {
        [first @ 0..=0x3f, ..] => {
            cursor.skip(1)?;
            Ok(Prefix::Length(u64::from(first)))
        }
        [first @ 0x40..=0x7f, second, ..] => {
            cursor.skip(2)?;
            Ok(Prefix::Length(
                u64::from(first & 0x3f) << 8 | u64::from(second),
            ))
        }
        _ => read_rare_prefix(cursor),
    }
}

#[inline(never)]
fn read_rare_prefix(cursor: &mut Cursor<'_>) -> Result<Prefix> {
    let start = *cursor;
    let first = cursor.u8()?;
    match first {
        0x00..=0x3f => Ok(Prefix::Length(u64::from(first))),
        0x40..=0x7f => Ok(Prefix::Length(
            u64::from(first & 0x3f) << 8 | u64::from(cursor.u8()?),
        )),
        0x80 => Ok(Prefix::Length(u64::from(cursor.u32_be()?))),
        0x81 => Ok(Prefix::Length(cursor.u64_be()?)),
        0x82..=0xbf => Err(bad_prefix(start, first)),
        0xc0..=0xff => Ok(Prefix::Special(first & 0x3f)),
    }
}

/// Reads a length, count or number.
///
/// # Errors
/// `Corrupt` for `82`–`bf`, for a special form, or where the bytes end.
#[inline]
pub fn read(cursor: &mut Cursor<'_>) -> Result<u64> {
    match read_prefix(cursor)? {
        Prefix::Length(length) => Ok(length),
        Prefix::Special(code) => Err(special_as_number(cursor, code)),
    }
}

#[cold]
fn bad_prefix(at: Cursor<'_>, first: u8) -> Error {
    Error::corrupt(at.place(), format!("byte {first:#04x} begins no length"))
}

#[cold]
fn special_as_number(behind: &Cursor<'_>, code: u8) -> Error {
    Error::corrupt(
        // The form is one byte.
        behind.place_of(behind.offset().saturating_sub(1)),
        format!("special string form {code} where a number is expected"),
    )
}

/// Appends the shortest form of `length`, as `rdbSaveLen` does.
pub fn write(out: &mut Vec<u8>, length: u64) {
    if let Ok(small) = u8::try_from(length)
        && small < 0x40
    {
        out.push(small);
    } else if let Ok(medium) = u16::try_from(length)
        && medium < 0x4000
    {
        out.extend_from_slice(&(medium | 0x4000).to_be_bytes());
    } else if let Ok(large) = u32::try_from(length) {
        out.push(0x80);
        out.extend_from_slice(&large.to_be_bytes());
    } else {
        out.push(0x81);
        out.extend_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_both_ways() {
        for (value, bytes) in [
            (0u64, &[0x00u8][..]),
            (5, &[0x05]),
            (63, &[0x3f]),
            (64, &[0x40, 0x40]),
            (700, &[0x42, 0xbc]),
            (16383, &[0x7f, 0xff]),
            (16384, &[0x80, 0, 0, 0x40, 0]),
            (u64::from(u32::MAX), &[0x80, 0xff, 0xff, 0xff, 0xff]),
            (1 << 32, &[0x81, 0, 0, 0, 1, 0, 0, 0, 0]),
            (
                u64::MAX,
                &[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            ),
        ] {
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!(out, bytes);
            let mut c = Cursor::new(bytes, 0);
            assert_eq!(read(&mut c).unwrap(), value);
            assert!(c.is_empty());
            for cut in 0..bytes.len() {
                assert!(read(&mut Cursor::new(&bytes[..cut], 0)).is_err());
            }
        }
    }

    #[test]
    fn longer_forms_than_needed_are_read() {
        for bytes in [
            &[0x40u8, 1][..],
            &[0x80, 0, 0, 0, 1],
            &[0x81, 0, 0, 0, 0, 0, 0, 0, 1],
        ] {
            assert_eq!(read(&mut Cursor::new(bytes, 0)).unwrap(), 1);
        }
    }

    #[test]
    fn what_no_writer_makes_is_refused_with_its_place() {
        for first in 0x82..=0xbfu8 {
            assert!(read_prefix(&mut Cursor::new(&[first; 16], 0)).is_err());
        }
        let error = read(&mut Cursor::new(&[0xc0, 5], 40)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "offset 40 (0x28): special string form 0 where a number is expected"
        );
        assert_eq!(
            read_prefix(&mut Cursor::new(&[0xc3], 0)).unwrap(),
            Prefix::Special(3)
        );
    }
}
