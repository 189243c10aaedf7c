//! The same key twice in one database: servers abort when they load such a file ("Duplicated key found in RDB file").

use std::path::Path;

use super::finding::{Finding, Severity};
use crate::error::{EntryContext, Result};
use crate::fingerprint::{FingerprintKey, Fingerprints, Record, Sorter};
use crate::snapshot::{Dialect, Entry, Snapshot};
use crate::wire::Str;

/// All keys so far, as fingerprints.
#[derive(Debug)]
pub(super) struct Keys {
    set: Fingerprints,
    key: FingerprintKey,
}

impl Keys {
    pub(super) fn new(spool_dir: &Path) -> Self {
        let key = FingerprintKey::random();
        Self {
            set: Fingerprints::new(spool_dir, &key),
            key,
        }
    }

    /// Adds an entry. A key whose compressed bytes lie has no name that could be compared: it is left out.
    pub(super) fn add(&mut self, entry: &Entry<'_>) -> Result<()> {
        let mut pieces = self.key.pieces(entry.db);
        let mut decoded = entry.key.pieces();
        loop {
            match decoded.next_piece() {
                Ok(Some(piece)) => pieces.push(piece),
                Ok(None) => break,
                Err(_) => return Ok(()),
            }
        }
        self.set.add_fingerprint(pieces.finish(), entry.offset)
    }

    /// Tells every repetition, in file order. `db_of` says which database the record at an offset belongs to.
    pub(super) fn report(
        self,
        snapshot: &Snapshot<'_>,
        dialect: Dialect,
        dbs: &DbMap,
        spool_dir: &Path,
        found: &mut dyn FnMut(Finding) -> Result<()>,
    ) -> Result<u64> {
        let sorted = self.set.finish()?;
        let mut again = Sorter::new(spool_dir, Fingerprints::IN_MEMORY);
        sorted.duplicates(
            |a, b| {
                Ok(dbs.db_at(a) == dbs.db_at(b)
                    && equal(snapshot.key_at(a, dialect)?, snapshot.key_at(b, dialect)?)?)
            },
            |first, other| {
                again.push(Record {
                    order: other,
                    payload: first,
                })
            },
        )?;
        let again = again.finish()?;
        for record in again.iter() {
            let key = snapshot.key_at(record.order, dialect)?;
            let db = dbs.db_at(record.order);
            found(
                Finding::new(
                    Severity::Fault,
                    "duplicate-key",
                    format!(
                        "the same key stands at offset {} already: every server refuses to load such a file",
                        record.payload
                    ),
                )
                .at(record.order)
                .of(EntryContext {
                    db,
                    key: key.preview(EntryContext::KEY_SHOWN),
                    type_name: "key".into(),
                }),
            )?;
        }
        Ok(again.len())
    }
}

/// Compares the logical bytes of two keys in flat memory.
fn equal(a: Str<'_>, b: Str<'_>) -> Result<bool> {
    match (a, b) {
        (Str::Raw(a), Str::Raw(b)) => Ok(a == b),
        (Str::Raw(plain), packed) | (packed, Str::Raw(plain)) => {
            let mut pieces = packed.pieces();
            let mut rest = plain;
            while let Some(piece) = pieces.next_piece()? {
                match rest.strip_prefix(piece) {
                    Some(behind) => rest = behind,
                    None => return Ok(false),
                }
            }
            Ok(rest.is_empty())
        }
        (a, b) => {
            // The pieces of both are short here, so those left over may be copied.
            let (mut left, mut right) = (a.pieces(), b.pieces());
            let (mut rest_left, mut rest_right) = (Vec::new(), Vec::new());
            loop {
                if rest_left.is_empty() {
                    rest_left.extend_from_slice(left.next_piece()?.unwrap_or_default());
                }
                if rest_right.is_empty() {
                    rest_right.extend_from_slice(right.next_piece()?.unwrap_or_default());
                }
                let common = rest_left.len().min(rest_right.len());
                if common == 0 {
                    return Ok(rest_left.len() == rest_right.len());
                }
                if rest_left.get(..common) != rest_right.get(..common) {
                    return Ok(false);
                }
                rest_left.drain(..common);
                rest_right.drain(..common);
            }
        }
    }
}

/// Which database an offset belongs to: the places where it changes. Bounded, since only changes are noted.
#[derive(Debug, Default)]
pub(super) struct DbMap {
    changes: Vec<(u64, u64)>,
}

impl DbMap {
    /// The most changes that are noted: 16 MB. A file with more of them is no server's work.
    pub(super) const MOST: usize = 1 << 20;

    /// From `offset` on, keys belong to `db`. `false` where that cannot be noted any more.
    pub(super) fn change(&mut self, offset: u64, db: u64) -> bool {
        if self.changes.last().is_some_and(|(_, last)| *last == db) {
            return true;
        }
        if self.changes.len() >= Self::MOST {
            return false;
        }
        self.changes.push((offset, db));
        true
    }

    fn db_at(&self, offset: u64) -> u64 {
        let behind = self.changes.partition_point(|(from, _)| *from <= offset);
        behind
            .checked_sub(1)
            .and_then(|at| self.changes.get(at))
            .map_or(0, |(_, db)| *db)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::string::Lzf;

    #[test]
    fn keys_are_compared_by_their_logical_bytes() {
        let text = b"0123456789".repeat(3000);
        let mut changed = text.clone();
        changed[29_998] ^= 1;
        let packed = lzf::compress(&text).unwrap();
        let packed_changed = lzf::compress(&changed).unwrap();
        let long = Str::Lzf(Lzf {
            compressed: &packed,
            ulen: text.len() as u64,
            offset: 0,
        });
        let other = Str::Lzf(Lzf {
            compressed: &packed_changed,
            ulen: text.len() as u64,
            offset: 0,
        });
        for (a, b, same) in [
            (Str::Raw(b"5"), Str::Int(5), true),
            (Str::Int(-5), Str::Raw(b"-5"), true),
            (Str::Int(5), Str::Raw(b"05"), false),
            (Str::Int(5), Str::Int(5), true),
            (Str::Raw(&text), long, true),
            (long, Str::Raw(&changed), false),
            (Str::Raw(&text[1..]), long, false),
            (long, long, true),
            (long, other, false),
            (Str::Int(5), long, false),
            (Str::Raw(b""), Str::Raw(b""), true),
        ] {
            assert_eq!(equal(a, b).unwrap(), same);
            assert_eq!(equal(b, a).unwrap(), same);
        }
    }

    #[test]
    fn databases_by_offset() {
        let mut map = DbMap::default();
        for (offset, db) in [(20, 0), (30, 0), (50, 7), (90, 0)] {
            assert!(map.change(offset, db));
        }
        assert_eq!(map.changes.len(), 3);
        for (offset, db) in [(10, 0), (20, 0), (49, 0), (50, 7), (89, 7), (1000, 0)] {
            assert_eq!(map.db_at(offset), db, "{offset}");
        }
    }
}
