//! KeyDB's expiries of members and fields: aux records behind the value that they belong to.
//!
//! # Bytes
//! `fa` and two strings, twice for each: `keydb-subexpire-key` with the member, `keydb-subexpire-when` with decimal
//! milliseconds of Unix time.

use super::element::canonical_int;
use crate::error::{Error, Result};
use crate::wire::{Cursor, Str};

/// The first member and its expiry in `records` (as [`crate::snapshot::Entry::sub_expires`] has them), and the records
/// behind it; `None` where there are none.
///
/// # Errors
/// `Corrupt` where the records cannot be read; offsets count from their first byte.
pub fn sub_expires(records: &[u8]) -> Result<Option<(Str<'_>, i64, &[u8])>> {
    if records.is_empty() {
        return Ok(None);
    }
    let mut cursor = Cursor::nested(records, "member expiries", 0);
    let member = field(&mut cursor, b"keydb-subexpire-key")?;
    let place = cursor.place();
    let when = field(&mut cursor, b"keydb-subexpire-when")?;
    let when = match when {
        Str::Int(value) => Some(i64::from(value)),
        other => canonical_int(other.bytes(&mut Vec::new())?),
    };
    match when {
        Some(when) => Ok(Some((member, when, cursor.rest()))),
        None => Err(Error::corrupt(
            place,
            "a member's expiry is no number of milliseconds",
        )),
    }
}

fn field<'d>(cursor: &mut Cursor<'d>, name: &'static [u8]) -> Result<Str<'d>> {
    let place = cursor.place();
    let opcode = cursor.u8()?;
    let found = Str::read(cursor)?;
    if opcode == 0xfa && found.bytes(&mut Vec::new())? == name {
        return Str::read(cursor);
    }
    Err(Error::corrupt(
        place,
        format!("an aux field {} was expected", crate::error::Escaped(name)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_one_behind_the_other() {
        let mut records = Vec::new();
        for (member, when) in [("m1", "1700000000000"), ("m2", "5")] {
            for (name, value) in [
                ("keydb-subexpire-key", member),
                ("keydb-subexpire-when", when),
            ] {
                records.push(0xfa);
                Str::write_raw(&mut records, name.as_bytes());
                Str::write(&mut records, value.as_bytes(), false);
            }
        }
        let (member, at, rest) = sub_expires(&records).unwrap().unwrap();
        assert_eq!((member, at), (Str::Raw(b"m1"), 1_700_000_000_000));
        let (member, at, rest) = sub_expires(rest).unwrap().unwrap();
        assert_eq!((member, at, rest), (Str::Raw(b"m2"), 5, &b""[..]));
        assert!(sub_expires(rest).unwrap().is_none());
        for cut in 1..records.len() {
            let mut rest = &records[..cut];
            while let Ok(Some((_, _, more))) = sub_expires(rest) {
                rest = more;
            }
        }
        assert!(sub_expires(b"\xfa\x01a\x01b").is_err());
    }
}
