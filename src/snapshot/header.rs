//! Magic and version: the first nine bytes.
//!
//! `REDIS` and four digits, or `VALKEY` and three. Servers read the digits with `atoi`, so some take `REDIS   9`; no writer
//! makes that, and we want digits.

use super::codes::{Dialect, Version};
use crate::error::{Error, Escaped, Place, Result};
use crate::wire::{CUT, Cursor};

/// The first nine bytes, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The digits.
    pub version: Version,
    /// Whose numbers hold: Valkey for the magic `VALKEY`, else Redis (aux fields may say more later).
    pub dialect: Dialect,
}

impl Header {
    /// Bytes of a header.
    pub const LENGTH: u64 = 9;

    /// Reads a header.
    ///
    /// # Errors
    /// `Corrupt` for an empty input, another magic, or no digits. `Unsupported` for a version newer than the newest one that
    /// this program was proven with, unless `accept_newer`.
    pub fn read(cursor: &mut Cursor<'_>, accept_newer: bool) -> Result<Self> {
        let place = cursor.place();
        if cursor.is_empty() {
            return Err(Error::corrupt(
                place,
                "the input is empty; an RDB file begins with REDIS or VALKEY",
            )
            .with_hint(CUT));
        }
        let found = cursor.rest().get(..9).unwrap_or(cursor.rest());
        let (dialect, digits) = if let Some(digits) = found.strip_prefix(b"VALKEY") {
            (Dialect::Valkey, digits)
        } else if let Some(digits) = found.strip_prefix(b"REDIS") {
            (Dialect::Redis, digits)
        } else {
            return Err(not_an_rdb(place, found));
        };
        cursor.array::<9>()?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Error::corrupt(
                place,
                format!("{} is no RDB version", Escaped(found)),
            ));
        }
        let version = digits.iter().fold(0u16, |v, d| {
            v.wrapping_mul(10)
                .wrapping_add(u16::from(d.wrapping_sub(b'0')))
        });
        let header = Self {
            version: Version(version),
            dialect,
        };
        header.judge(place, accept_newer)?;
        Ok(header)
    }

    fn judge(self, place: Place, accept_newer: bool) -> Result<()> {
        let (newest, who) = match self.dialect {
            Dialect::Valkey => (Version::NEWEST_VALKEY, "VALKEY"),
            _ => (Version::NEWEST_REDIS, "REDIS"),
        };
        if self.version.0 == 0
            || self.dialect == Dialect::Valkey && self.version < Version::OLDEST_VALKEY
        {
            return Err(Error::corrupt(
                place,
                format!("no server writes {who} files of version {}", self.version),
            ));
        }
        if self.version > newest && !accept_newer {
            return Err(Error::unsupported(
                place,
                format!("{who} RDB version {} is newer than the newest known one, {newest}", self.version),
            )
            .with_hint("get a newer rdbridge, or read it at your own risk with --accept-newer: numbers may mean something else there"));
        }
        Ok(())
    }

    /// Whether 8 bytes of CRC follow `EOF`.
    #[must_use]
    pub fn has_crc(self) -> bool {
        self.version >= Version::FIRST_WITH_CRC
    }
}

#[cold]
fn not_an_rdb(place: Place, found: &[u8]) -> Error {
    Error::corrupt(
        place,
        format!(
            "begins with {}, not with REDIS or VALKEY: no RDB file",
            Escaped(found)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Header> {
        Header::read(&mut Cursor::new(bytes, 0), false)
    }

    #[test]
    fn every_known_version() {
        for v in 1..=15u16 {
            let header = read(format!("REDIS{v:04}").as_bytes()).unwrap();
            assert_eq!(
                (header.version.0, header.dialect, header.has_crc()),
                (v, Dialect::Redis, v >= 5)
            );
        }
        for v in 80..=81u16 {
            let header = read(format!("VALKEY{v:03}").as_bytes()).unwrap();
            assert_eq!((header.version.0, header.dialect), (v, Dialect::Valkey));
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        for (bytes, says) in [
            (&b""[..], "the input is empty"),
            (b"REDIS00", "9 more bytes needed, 7 remain"),
            (b"REDIS   9", "is no RDB version"),
            (b"REDIS0000", "no server writes"),
            (b"VALKEY011", "no server writes"),
            (b"REDIS0016", "newer than the newest known one, 15"),
            (b"REDIS0080", "newer than the newest known one, 15"),
            (b"VALKEY082", "newer than the newest known one, 81"),
            (b"*3\r\n$3\r\nSET", "begins with \"*3\\r\\n$3\\r\\nS\""),
            (b"PK", "begins with \"PK\""),
        ] {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(
            Header::read(&mut Cursor::new(b"REDIS0016", 0), true)
                .unwrap()
                .version,
            Version(16)
        );
    }
}
