//! Entries handed to other threads by the million: a spot of 48 bytes says where one stands, and the other thread reads it
//! again. That costs less than moving the 240 bytes of an [`Entry`] from one core to another: its bytes must come to the other
//! core anyway.

use std::num::NonZeroU64;

use super::codes::Dialect;
use super::entry::Entry;
use super::reader::Records;
use super::template::Template;
use super::{Options, Snapshot};
use crate::error::Result;

/// Where an entry stands, with what the reader knew there: see [`Records::spot`] and [`Again`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// [`Entry::offset`].
    pub offset: u64,
    /// [`Entry::end`].
    pub end: u64,
    /// [`Entry::db`].
    pub db: u64,
    pub(super) ordinal: u64,
    pub(super) template_at: Option<NonZeroU64>,
    /// Whose meaning of the ambiguous numbers held at `offset`.
    pub(super) dialect: Dialect,
}

impl Spot {
    pub(super) fn of(entry: &Entry<'_>, dialect: Dialect) -> Self {
        let template_at = match entry.template {
            None => None,
            Some(template) => NonZeroU64::new(template.offset),
        };
        Self {
            offset: entry.offset,
            end: entry.end(),
            db: entry.db,
            ordinal: entry.ordinal,
            template_at,
            dialect,
        }
    }

    /// [`Entry::record_len`].
    #[must_use]
    pub fn record_len(&self) -> u64 {
        self.end.saturating_sub(self.offset)
    }
}

/// Reads entries of a snapshot again, in any order.
#[derive(Debug, Clone)]
pub struct Again<'data> {
    data: &'data [u8],
    records: Records<'data>,
    /// Of the last entry that had one: those behind it mostly have the same.
    template: Option<Template<'data>>,
}

impl<'data> Snapshot<'data> {
    /// For reading again what [`Records::spot`] remembers.
    #[must_use]
    pub fn again(&self) -> Again<'data> {
        let options = Options {
            verify_checksum: false,
            ..self.options
        };
        Again {
            data: self.data,
            records: Records::new(self.data, self.header, options),
            template: None,
        }
    }
}

impl<'data> Again<'data> {
    /// The entry at `spot`: the same as at first, as long as the bytes are.
    ///
    /// # Errors
    /// As [`Records::next_record`]; `Corrupt` where no entry begins there any more.
    #[inline]
    pub fn entry(&mut self, spot: &Spot) -> Result<&Entry<'data>> {
        let template = match spot.template_at {
            None => None,
            Some(at) => Some(self.template(at.get())?),
        };
        self.records.lend_again(spot, template)
    }

    fn template(&mut self, at: u64) -> Result<Template<'data>> {
        match self.template {
            Some(template) if template.offset == at => Ok(template),
            _ => Ok(*self.template.insert(Template::at(self.data, at)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Lent;

    /// Every entry of `file` that can be read, read again from behind.
    fn read_again(file: &[u8]) -> usize {
        let Ok(snapshot) = Snapshot::parse(file) else {
            return 0;
        };
        let mut records = snapshot.unverified_records();
        let mut met = Vec::new();
        while let Ok(Some(record)) = records.lend() {
            if let Lent::Entry(entry) = record {
                let entry = *entry;
                let spot = records.spot();
                assert_eq!(
                    (spot.end, spot.record_len()),
                    (entry.end(), entry.record_len())
                );
                met.push((entry, spot));
            }
        }
        let mut again = snapshot.again();
        for (entry, spot) in met.iter().rev() {
            assert_eq!(again.entry(spot).unwrap(), entry);
        }
        met.len()
    }

    fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
        let mut all = Vec::new();
        for file in std::fs::read_dir(dir).unwrap() {
            let path = file.unwrap().path();
            match path.is_dir() {
                true => all.extend(files(&path)),
                false => all.push(path),
            }
        }
        all
    }

    #[test]
    fn all_entries_are_the_same_again() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
        let read: usize = files(&dir)
            .iter()
            .map(|path| read_again(&std::fs::read(path).unwrap()))
            .sum();
        assert!(read > 5000, "{read}");
    }

    #[test]
    fn what_stands_around_a_key_belongs_to_it_again() {
        let key = b"\x00\x01k\x01v";
        let sub_expires = b"\xfa\x13keydb-subexpire-key\x01f\xfa\x14keydb-subexpire-when\x01\x31";
        let template = b"\xf2\x07\x01\x01f";
        let ttl = b"\xfc\x88\x13\0\0\0\0\0\0";
        for (head, parts, entries) in [
            (&b"REDIS0009"[..], &[&key[..], b"\xfe\x03", key][..], 2),
            (b"REDIS0009", &[ttl, b"\xfe\x03", b"\xf8\x05", key, key], 2),
            (b"REDIS0009", &[b"\xf9\x07", key, key, ttl, key], 3),
            (b"REDIS0009", &[ttl, key, sub_expires, key, sub_expires], 2),
            (b"REDIS0013", &[b"\xf3\x01abcd\x00", key, key], 2),
            // The dialect changes in front of a key, and other records stand there.
            (b"REDIS0009", &[ttl, b"\xfa\x06df-ver\x031.0", key, key], 2),
            (
                b"REDIS0009",
                &[
                    b"\xfa\x06df-ver\x031.0",
                    b"\xdc\x01\0\0\0",
                    key,
                    b"\xfb\x01\x00",
                    key,
                ],
                2,
            ),
            (b"REDIS0014", &[template, ttl, template, key], 0),
        ] {
            let file = [head, &parts.concat(), b"\xff\0\0\0\0\0\0\0\0"].concat();
            assert_eq!(read_again(&file), entries, "{parts:?}");
        }
    }

    #[test]
    fn where_other_bytes_stand_now_is_an_error_or_another_entry_and_no_end() {
        let file = b"REDIS0009\xfc\x88\x13\0\0\0\0\0\0\x00\x01k\x05value\xff\0\0\0\0\0\0\0\0";
        let snapshot = Snapshot::parse(file).unwrap();
        let mut records = snapshot.records();
        assert!(matches!(records.lend(), Ok(Some(Lent::Entry(_)))));
        let spot = records.spot();
        let (mut same, mut other, mut errors) = (0, 0, 0);
        for at in 9..file.len() {
            for byte in [0, 1, 0x40, 0x80, 0xc3, 0xfa, 0xfc, 0xff] {
                let mut changed = file.to_vec();
                changed[at] = byte;
                let snapshot = Snapshot::parse(&changed).unwrap();
                match snapshot.again().entry(&spot) {
                    Ok(entry) if entry.value == b"\x05value" => same += 1,
                    Ok(_) => other += 1,
                    Err(_) => errors += 1,
                }
            }
        }
        assert!(same > 0 && other > 0 && errors > 0);
        for end in [0, u64::MAX] {
            let lies = Spot { end, ..spot };
            let mut again = snapshot.again();
            let read = again.entry(&lies);
            assert!(read.is_err() || read.unwrap().value.is_empty());
        }
    }
}
