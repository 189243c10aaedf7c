//! The same key twice in one database of one dump: servers abort when they load such a file ("Duplicated key found in RDB
//! file"), and of a replay only one of the two values can be left.
//!
//! Flat memory: keys are fingerprinted, sorted on disk where they are many, and hits are confirmed by their bytes.

use std::path::Path;

use crate::error::Result;
use crate::fingerprint::{FingerprintKey, Fingerprints, Record, Sorted, Sorter};
use crate::snapshot::{Dialect, Entry, Snapshot};
use crate::transform::{DbMap, Naming};
use crate::wire::Str;

/// All keys so far, as fingerprints.
#[derive(Debug)]
pub struct KeySet {
    set: Fingerprints,
    key: FingerprintKey,
    dbs: DbChanges,
    names: Naming,
    db_map: DbMap,
    scratch: Vec<u8>,
}

impl KeySet {
    /// An empty set that spools into `spool_dir` where it gets large.
    #[must_use]
    pub fn new(spool_dir: &Path) -> Self {
        let key = FingerprintKey::random();
        Self {
            set: Fingerprints::new(spool_dir, &key),
            key,
            dbs: DbChanges::new(spool_dir, DbChanges::IN_MEMORY),
            names: Naming::default(),
            db_map: DbMap::default(),
            scratch: Vec::new(),
        }
    }

    /// The same of keys as they are called at a destination, in its databases.
    #[must_use]
    pub fn arriving(self, names: &Naming, db_map: &DbMap) -> Self {
        Self {
            names: names.clone(),
            db_map: db_map.clone(),
            ..self
        }
    }

    /// Adds an entry. A key whose compressed bytes lie has no name that could be compared: it is left out.
    ///
    /// # Errors
    /// Those of the spool.
    pub fn add(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.dbs.change(entry.offset, entry.db)?;
        let mut pieces = self.key.pieces(self.db_map.get(entry.db));
        if !self.names.is_identity() {
            // One that is too long to be renamed does not arrive.
            if let Ok(name) = self.names.of(entry.db, &entry.key, &mut self.scratch) {
                pieces.push(name);
                self.set.add_fingerprint(pieces.finish(), entry.offset)?;
            }
            return Ok(());
        }
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

    /// Finds what stands more than once. `dialect` is the one that the reader of `snapshot` ended with.
    ///
    /// # Errors
    /// Those of the spool; `Corrupt` where `snapshot` is not what the entries came from.
    pub fn finish(
        self,
        snapshot: &Snapshot<'_>,
        dialect: Dialect,
        spool_dir: &Path,
    ) -> Result<Repetitions> {
        let Self {
            set,
            dbs,
            names,
            db_map,
            ..
        } = self;
        let (sorted, dbs) = (set.finish()?, dbs.finish()?);
        // Beside the fingerprints, which may fill most of what a run may have.
        let mut again = Sorter::new(spool_dir, Fingerprints::IN_MEMORY / 4);
        sorted.duplicates(
            |a, b| {
                let (of_a, of_b) = (dbs.at(a), dbs.at(b));
                if db_map.get(of_a) != db_map.get(of_b) {
                    return Ok(false);
                }
                let (a, b) = (snapshot.key_at(a, dialect)?, snapshot.key_at(b, dialect)?);
                if names.is_identity() {
                    return equal(a, b);
                }
                let (mut mine, mut theirs) = (Vec::new(), Vec::new());
                Ok(names.of(of_a, &a, &mut mine)? == names.of(of_b, &b, &mut theirs)?)
            },
            |first, other| {
                again.push(Record {
                    order: other,
                    payload: first,
                })
            },
        )?;
        Ok(Repetitions {
            records: again.finish()?,
            dbs,
        })
    }
}

/// One entry whose key stands earlier in the same database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repetition {
    /// The database.
    pub db: u64,
    /// Where the first entry of that key begins.
    pub first: u64,
    /// Where this one begins.
    pub offset: u64,
}

/// All repetitions of a dump.
#[derive(Debug)]
pub struct Repetitions {
    records: Sorted,
    dbs: Databases,
}

impl Repetitions {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.records.len()
    }

    /// Whether every key stands once.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every repetition, in file order.
    pub fn iter(&self) -> impl Iterator<Item = Repetition> + '_ {
        self.records.iter().map(|record| Repetition {
            db: self.dbs.at(record.order),
            first: record.payload,
            offset: record.order,
        })
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

/// Which database an offset belongs to: the places where it changes, on disk where they are many.
#[derive(Debug)]
pub(crate) struct DbChanges {
    changes: Sorter,
    last: Option<u64>,
}

impl DbChanges {
    /// How many changes are kept in memory (1 MB). A server's dump has one for each database.
    pub(crate) const IN_MEMORY: usize = 1 << 16;

    pub(crate) fn new(spool_dir: &Path, in_memory: usize) -> Self {
        Self {
            changes: Sorter::new(spool_dir, in_memory),
            last: None,
        }
    }

    /// From `offset` on, keys belong to `db`.
    pub(crate) fn change(&mut self, offset: u64, db: u64) -> Result<()> {
        if self.last == Some(db) {
            return Ok(());
        }
        self.last = Some(db);
        self.changes.push(Record {
            order: offset,
            payload: db,
        })
    }

    pub(crate) fn finish(self) -> Result<Databases> {
        Ok(Databases(self.changes.finish()?))
    }
}

/// All changes of the database.
#[derive(Debug)]
pub(crate) struct Databases(Sorted);

impl Databases {
    pub(crate) fn at(&self, offset: u64) -> u64 {
        self.0.last_up_to(offset).map_or(0, |change| change.payload)
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
        for in_memory in [1, 2, 100] {
            let mut changes = DbChanges::new(&std::env::temp_dir(), in_memory);
            for (offset, db) in [(20, 0), (30, 0), (50, 7), (90, 0)] {
                changes.change(offset, db).unwrap();
            }
            assert_eq!(changes.changes.len(), 3);
            let dbs = changes.finish().unwrap();
            for (offset, db) in [(10, 0), (20, 0), (49, 0), (50, 7), (89, 7), (1000, 0)] {
                assert_eq!(dbs.at(offset), db, "{offset}");
            }
        }
    }
}
