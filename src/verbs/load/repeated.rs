//! Keys that stand more than once in the dump: only one of their values can be left at the destination.
//!
//! No server writes such a file, and every server refuses to load one, so the search must cost nothing where it finds
//! nothing: under `replace` it runs beside the load, under the other policies only where some key existed. What it finds is
//! counted rightly afterwards. Of a key that stands *n* times and was sent *n* times, *n* − 1
//! entries are duplicates, whichever came first: under `fail` and `skip` they were answered `BUSYKEY`, under `replace` they
//! were overwritten.

use std::collections::HashMap;
use std::path::Path;

use super::worker::Shared;
use super::{KeyEvent, OnConflict};
use crate::duplicates::{KeySet, Repetitions};
use crate::error::{Error, ErrorKind, Result};
use crate::outcome::{Outcome, Road, Tally};
use crate::replay::{Decision, decide};
use crate::select::Selection;
use crate::snapshot::{Record, Snapshot};

/// Repetitions whose offsets are held in memory at most.
const MOST: u64 = 1 << 18;

/// Looks through the whole dump.
pub(super) fn find(snapshot: &Snapshot<'_>, spool_dir: &Path) -> Result<Repetitions> {
    let mut keys = KeySet::new(spool_dir);
    let mut records = snapshot.unverified_records();
    while let Some(record) = records.next_record()? {
        if let Record::Entry(entry) = record {
            keys.add(&entry)?;
        }
    }
    keys.finish(snapshot, records.dialect(), spool_dir)
}

/// Counts entries as duplicates that were counted as what their replies said.
pub(super) fn reclassify(
    repetitions: &Repetitions,
    shared: &Shared<'_>,
    snapshot: &Snapshot<'_>,
    selection: &mut Selection,
    tally: &mut Tally,
) -> Result<()> {
    if repetitions.len() > MOST {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "{} entries repeat a key of the input: no server loads such a file",
                repetitions.len()
            ),
        )
        .with_hint("see `rdbridge check --duplicates`"));
    }
    let first_of: HashMap<u64, u64> = repetitions
        .iter()
        .flat_map(|again| [(again.first, again.first), (again.offset, again.first)])
        .collect();
    let counted_as = match shared.on_conflict {
        OnConflict::Fail | OnConflict::Abort => Outcome::Conflict,
        OnConflict::Skip => Outcome::Existing,
        OnConflict::Replace => Outcome::Restored(Road::Raw),
    };
    let mut sent: HashMap<u64, u64> = HashMap::new();
    let mut records = snapshot.unverified_records();
    let mut scratch = Vec::new();
    while let Some(record) = records.next_record()? {
        let Record::Entry(entry) = record else {
            continue;
        };
        let Some(first) = first_of.get(&entry.offset) else {
            continue;
        };
        let goes = selection.admits(&entry, &mut scratch)?
            && matches!(
                decide(&entry, shared.terms, shared.policies),
                Decision::Send(_)
            );
        if !goes {
            continue;
        }
        let before = sent.entry(*first).or_default();
        *before = before.saturating_add(1);
        if *before == 1 {
            continue;
        }
        // A run that ended early may not have come so far.
        if tally.get(counted_as) == 0 {
            continue;
        }
        tally.reclassify(counted_as, Outcome::Duplicate);
        let key = entry.key.preview(4096);
        shared.watcher.key(&KeyEvent {
            input: shared.input,
            ordinal: entry.ordinal,
            offset: entry.offset,
            db: entry.db,
            key: &key,
            outcome: Outcome::Duplicate,
            reason: &format!("the same key stands at offset {first} of the input; one of the two values is at the destination"),
        });
    }
    Ok(())
}
