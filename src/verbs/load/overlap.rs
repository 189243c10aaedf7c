//! The same key in several inputs, or in databases that become one: only one of the values can be left at the destination,
//! and which one would be an accident. Looked for before the first write, in flat memory.

use super::Options;
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::{FingerprintKey, Fingerprints};
use crate::replay::{DbMap, ExpiredPolicy};
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
}

/// The names of all keys that will be sent.
#[derive(Debug)]
pub struct Overlaps {
    names: Fingerprints,
    key: FingerprintKey,
    db_map: DbMap,
    now_ms: i64,
    drops_expired: bool,
    dialects: Vec<Dialect>,
    /// Databases become one: a name may then stand twice in a single input, too.
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
            db_map: options.policies.db_map.clone(),
            now_ms: options.policies.now_ms,
            drops_expired: options.policies.expired == ExpiredPolicy::Drop,
            dialects: Vec::new(),
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
        while let Some(record) = records.next_record()? {
            let Record::Entry(entry) = record else {
                continue;
            };
            ticker.tick(watch, entry.end(), records.entries_seen())?;
            let dropped =
                self.drops_expired && entry.expire_at_ms.is_some_and(|at| at <= self.now_ms);
            if dropped || !selection.admits(&entry, &mut scratch)? {
                continue;
            }
            if entry.offset >> OFFSET_BITS != 0 || input >> (64 - OFFSET_BITS) != 0 {
                return Err(Error::new(
                    ErrorKind::Limit,
                    "so much input cannot be searched for keys that stand twice",
                )
                .with_hint("load the inputs one after the other"));
            }
            let mut name = self.key.pieces(self.db_map.get(entry.db));
            let mut pieces = entry.key.pieces();
            // A name that cannot be read is refused when its turn comes.
            while let Ok(Some(piece)) = pieces.next_piece() {
                name.push(piece);
            }
            self.names
                .add_fingerprint(name.finish(), input << OFFSET_BITS | entry.offset)?;
        }
        self.dialects.push(records.dialect());
        Ok(())
    }

    /// Refuses the load where a key stands twice. `name_of` gives the name of an entry, `title` says in words where
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
            }
        };
        self.names.finish()?.duplicates(
            |a, b| {
                let (a, b) = (place(a), place(b));
                if a.input == b.input && !self.merging {
                    return Ok(false);
                }
                Ok(name_of(a)? == name_of(b)?)
            },
            |first, again| Err(overlap(place(first), place(again), &title)),
        )
    }
}

#[cold]
fn overlap(first: Where, again: Where, title: &dyn Fn(Where) -> String) -> Error {
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
