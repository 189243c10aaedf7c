//! The same key in several inputs, in databases that become one, or names that become one: only one of the values can be left at the destination,
//! and which one would be an accident. Looked for before the first write, in flat memory.

use std::path::PathBuf;

use super::Options;
use crate::duplicates::{Databases, DbChanges};
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::{FingerprintKey, Fingerprints};
use crate::replay::{Policies, arrival};
use crate::select::Selection;
use crate::snapshot::{Dialect, Record, Snapshot};
use crate::verbs::{Ticker, Watch};

/// Bits of a payload that hold an offset; the others hold the number of the input.
const OFFSET_BITS: u32 = 48;

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Where {
    /// The number of the input, from 0.
    pub input: usize,
    /// Where its record begins.
    pub offset: u64,
    /// Whose meaning of the file's numbers holds.
    pub dialect: Dialect,
    /// Its database in the file.
    pub db: u64,
}

/// The names of all keys that will be sent.
#[derive(Debug)]
pub struct Overlaps {
    names: Fingerprints,
    key: FingerprintKey,
    policies: Policies,
    spool_dir: PathBuf,
    dialects: Vec<Dialect>,
    /// Of each input, which database its offsets belong to.
    dbs: Vec<Databases>,
    /// Keys may become one: a name may then stand twice in a single input, too.
    merging: bool,
}

impl Overlaps {
    /// No names yet. With `merging`, one input may overlap with itself.
    #[must_use]
    pub fn new(options: &Options, merging: bool) -> Self {
        let key = FingerprintKey::random();
        Self {
            names: Fingerprints::new(&options.spool_dir, &key),
            key,
            policies: options.policies.clone(),
            spool_dir: options.spool_dir.clone(),
            dialects: Vec::new(),
            dbs: Vec::new(),
            merging,
        }
    }

    /// Adds what will be sent of the next input.
    ///
    /// # Errors
    /// Those of the reader, the spool, the selection and `watch`; `Limit` for an input that is too large to be looked at.
    pub fn add(
        &mut self,
        snapshot: &Snapshot<'_>,
        selection: &mut Selection,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let input = self.dialects.len() as u64;
        selection.in_input(u32::try_from(input).unwrap_or(u32::MAX));
        let mut records = snapshot.unverified_records();
        let (mut ticker, mut scratch) = (Ticker::default(), Vec::new());
        let mut dbs = DbChanges::new(&self.spool_dir, DbChanges::IN_MEMORY);
        while let Some(record) = records.next_record()? {
            let Record::Entry(entry) = record else {
                continue;
            };
            ticker.tick(watch, entry.end(), records.entries_seen())?;
            if arrival(&entry, &self.policies).is_err()
                || !selection.admits(&entry, &mut scratch)?
            {
                continue;
            }
            if entry.offset >> OFFSET_BITS != 0 || input >> (64 - OFFSET_BITS) != 0 {
                return Err(Error::new(
                    ErrorKind::Limit,
                    "so much input cannot be searched for keys that stand twice",
                )
                .with_hint("load the inputs one after the other"));
            }
            dbs.change(entry.offset, entry.db)?;
            let mut name = self.key.pieces(self.policies.db_map.get(entry.db));
            let names = &self.policies.transform.names;
            if !names.is_identity() {
                // One that is too long to be renamed is refused when its turn comes.
                if let Ok(renamed) = names.of(entry.db, &entry.key, &mut scratch) {
                    name.push(renamed);
                    self.names
                        .add_fingerprint(name.finish(), input << OFFSET_BITS | entry.offset)?;
                }
                continue;
            }
            let mut pieces = entry.key.pieces();
            // A name that cannot be read is refused when its turn comes.
            while let Ok(Some(piece)) = pieces.next_piece() {
                name.push(piece);
            }
            self.names
                .add_fingerprint(name.finish(), input << OFFSET_BITS | entry.offset)?;
        }
        self.dialects.push(records.dialect());
        self.dbs.push(dbs.finish()?);
        Ok(())
    }

    /// Refuses the load where a key stands twice. `name_of` gives the name of an entry at the destination, `title` says in words where
    /// it stands.
    ///
    /// # Errors
    /// `Usage` with one key that overlaps; those of the spool and of `name_of`.
    pub fn refuse(
        self,
        mut name_of: impl FnMut(Where) -> Result<Vec<u8>>,
        title: impl Fn(Where) -> String,
    ) -> Result<()> {
        let place = |payload: u64| {
            let input = usize::try_from(payload >> OFFSET_BITS).unwrap_or(usize::MAX);
            Where {
                input,
                offset: payload & ((1 << OFFSET_BITS) - 1),
                dialect: self.dialects.get(input).copied().unwrap_or(Dialect::Redis),
                db: self
                    .dbs
                    .get(input)
                    .map_or(0, |dbs| dbs.at(payload & ((1 << OFFSET_BITS) - 1))),
            }
        };
        let db_map = &self.policies.db_map;
        self.names.finish()?.duplicates(
            |a, b| {
                let (a, b) = (place(a), place(b));
                if a.input == b.input && !self.merging {
                    return Ok(false);
                }
                Ok(db_map.get(a.db) == db_map.get(b.db) && name_of(a)? == name_of(b)?)
            },
            |first, again| {
                let renamed = self.policies.transform.names.may_merge();
                Err(overlap(place(first), place(again), renamed, &title))
            },
        )
    }
}

#[cold]
fn overlap(first: Where, again: Where, renamed: bool, title: &dyn Fn(Where) -> String) -> Error {
    if renamed {
        return Error::new(
            ErrorKind::Usage,
            format!(
                "two keys would have one name at the destination, {} and {}: only one of the two values can be loaded",
                title(first),
                title(again)
            ),
        )
        .with_hint("give --rename a text that keeps them apart, or choose one of them; where one input has both, --on-conflict fail and skip keep the first and count the second");
    }
    Error::new(
        ErrorKind::Usage,
        format!(
            "the same key stands twice, as {} and as {}: only one of the two values can be loaded",
            title(first),
            title(again)
        ),
    )
    .with_hint("load them one after the other, with --on-conflict skip to keep the first value or replace to keep the last")
}
