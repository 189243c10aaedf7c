//! How much a value makes of itself, by its headers alone: the bytes of its strings once they are decompressed, and how many
//! elements there are. Claims are believed; nothing is decompressed and nothing is kept.

use super::count::claimed;
use crate::error::Result;
use crate::snapshot::{Dialect, Entry, Kind};
use crate::wire::{Cursor, Str, double, length};

/// What a server has to make of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bulk {
    /// Bytes of its strings or packed blobs, decompressed.
    pub bytes: u64,
    /// Its elements; 0 where headers do not tell.
    pub elements: u64,
}

/// The bulk of a value. Where its bytes cannot be read, what they are in the input.
#[must_use]
pub fn bulk(entry: &Entry<'_>) -> Bulk {
    let as_it_is = entry.value.len() as u64;
    let elements = claimed(entry).ok().flatten();
    match strings(entry) {
        Ok(Strings {
            bytes,
            elements: of,
        }) => Bulk {
            bytes: bytes.max(as_it_is),
            elements: elements.or(of).unwrap_or(0),
        },
        Err(_) => Bulk {
            bytes: as_it_is,
            elements: elements.unwrap_or(0),
        },
    }
}

#[derive(Debug, Clone, Copy)]
struct Strings {
    bytes: u64,
    /// Elements, where only the walk tells.
    elements: Option<u64>,
}

fn strings(entry: &Entry<'_>) -> Result<Strings> {
    let mut cursor = Cursor::new(entry.value, entry.value_offset);
    let cursor = &mut cursor;
    let mut bytes = 0u64;
    let mut string = |cursor: &mut Cursor<'_>| -> Result<()> {
        bytes = bytes.saturating_add(Str::read(cursor)?.len());
        Ok(())
    };
    let mut elements = None;
    match (entry.value_type.0, entry.dialect) {
        (1 | 2 | 14, _) => items(cursor, 1, string)?,
        (3, _) => items(cursor, 2, |c| {
            string(c)?;
            double::skip_text(c)
        })?,
        (4, _) | (32, Dialect::Dragonfly) => items(cursor, 2, |c| {
            string(c)?;
            string(c)
        })?,
        (5, _) => items(cursor, 9, |c| {
            string(c)?;
            c.skip(8)
        })?,
        (18, _) => items(cursor, 2, |c| {
            length::read(c)?;
            string(c)
        })?,
        (22, Dialect::Valkey) => items(cursor, 10, |c| {
            string(c)?;
            string(c)?;
            c.skip(8)
        })?,
        (22 | 24, Dialect::Redis) => {
            if entry.value_type.0 == 24 {
                cursor.skip(8)?;
            }
            items(cursor, 3, |c| {
                length::read(c)?;
                string(c)?;
                string(c)
            })?;
        }
        (25, Dialect::Redis) => {
            cursor.skip(8)?;
            string(cursor)?;
        }
        _ if entry.type_info().map(|info| info.kind) == Some(Kind::Stream) => {
            items(cursor, 18, |c| {
                string(c)?;
                string(c)
            })?;
            elements = Some(length::read(cursor)?);
        }
        (28, Dialect::Redis) => elements = Some(length::read(cursor)?),
        (9..=13 | 16 | 17 | 20 | 23, _) => string(cursor)?,
        // Templates are small, a module's value is its own.
        _ => {}
    }
    Ok(Strings { bytes, elements })
}

fn items<'d>(
    cursor: &mut Cursor<'d>,
    least: u64,
    mut item: impl FnMut(&mut Cursor<'d>) -> Result<()>,
) -> Result<()> {
    let count = length::read(cursor)?;
    cursor.expect_room(count, least, "items")?;
    (0..count).try_for_each(|_| item(cursor))
}

#[cfg(test)]
mod tests {
    use super::super::test_support::entry;
    use super::*;

    fn of(value_type: u8, dialect: Dialect, body: &[u8]) -> Bulk {
        bulk(&entry(value_type, dialect, body))
    }

    #[test]
    fn what_is_compressed_counts_as_what_it_becomes() {
        let long = vec![b'x'; 3000];
        let mut hash = vec![100];
        hash.splice(.., [0x40, 100]);
        for i in 0..100 {
            Str::write(&mut hash, format!("field {i:02}").as_bytes(), false);
            Str::write(&mut hash, &long, true);
        }
        assert!(hash.len() < 10_000);
        let expected = Bulk {
            bytes: 100 * (8 + 3000),
            elements: 100,
        };
        assert_eq!(of(4, Dialect::Redis, &hash), expected);
        // One blob whose header says what is in it.
        let mut blob = vec![0; 4000];
        blob[4..6].copy_from_slice(&[20, 0]);
        let mut body = Vec::new();
        Str::write(&mut body, &blob, true);
        let expected = Bulk {
            bytes: 4000,
            elements: 20,
        };
        assert_eq!(of(20, Dialect::Redis, &body), expected);
        // A node and its listpack; then the length.
        let mut stream = vec![1];
        Str::write(&mut stream, &[0; 16], false);
        Str::write(&mut stream, &blob, true);
        stream.push(7);
        let expected = Bulk {
            bytes: 4016,
            elements: 7,
        };
        assert_eq!(of(21, Dialect::Redis, &stream), expected);
        let zset = [&b"\x02\x01a"[..], &[0; 8], b"\x01b", &[0; 8]].concat();
        let expected = Bulk {
            bytes: zset.len() as u64,
            elements: 2,
        };
        assert_eq!(of(5, Dialect::Redis, &zset), expected);
    }

    #[test]
    fn lies_cost_nothing() {
        for value_type in 0..=40 {
            for dialect in [Dialect::Redis, Dialect::Valkey, Dialect::Dragonfly] {
                for body in [
                    &b""[..],
                    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
                    b"\xc3\x01\x81\xff\xff\xff\xff\xff\xff\xff\xffx",
                ] {
                    let _ = of(value_type, dialect, body);
                }
            }
        }
    }
}
