//! Keys that stand more than once in the dump, or get the name of another one at the destination: only one of their values can be left at the destination.
//!
//! No server writes such a file, and every server refuses to load one, so the search must cost nothing where it finds
//! nothing: under `replace` it runs beside the load, under the other policies only where some key existed. What it finds is
//! counted rightly afterwards. Of a key that stands *n* times and was sent *n* times, *n* − 1
//! entries are duplicates, whichever came first: under `fail` and `skip` they were answered `BUSYKEY`, under `replace` they
//! were overwritten.

use std::path::Path;

use super::worker::Shared;
use super::{KeyEvent, OnConflict};
use crate::duplicates::{KeySet, Repetitions};
use crate::error::Result;
use crate::fingerprint::{Record as Pair, Sorted, Sorter};
use crate::outcome::{Outcome, Road, Tally};
use crate::replay::{Decision, Ladder, Policies, Step, arrival};
use crate::select::Selection;
use crate::snapshot::{Entry, EntryPlace, Lent, Record, Snapshot};

/// Pairs of offsets that are sorted in memory (1 MB each time); more of them go through a spool.
const IN_MEMORY: usize = 1 << 16;

/// Looks through the whole dump.
pub(super) fn find(
    snapshot: &Snapshot<'_>,
    policies: &Policies,
    spool_dir: &Path,
) -> Result<Repetitions> {
    let mut keys = KeySet::new(spool_dir).arriving(&policies.transform.names, &policies.db_map);
    let mut records = snapshot.unverified_records();
    while let Some(record) = records.lend()? {
        if let Lent::Entry(entry) = record {
            keys.add(entry)?;
        }
    }
    keys.finish(snapshot, records.dialect(), spool_dir)
}

/// Counts entries as duplicates that were counted as what their replies said.
///
/// # Errors
/// Those of the spool and of the selection; `Corrupt` where `snapshot` is not what the entries came from.
pub(super) fn reclassify(
    repetitions: &Repetitions,
    shared: &Shared<'_, '_>,
    snapshot: &Snapshot<'_>,
    selection: &mut Selection,
    tally: &mut Tally,
    spool_dir: &Path,
) -> Result<()> {
    let renamed = shared.policies.transform.names.may_merge();
    let same = match renamed || !shared.policies.db_map.is_identity() {
        true => "a key that has the same name at the destination",
        false => "the same key",
    };
    let mut ladder = Ladder::new(Some(spool_dir));
    let mut decided =
        |entry: &Entry<'_>| match ladder.decide(entry, shared.terms, shared.policies, Step::RAW) {
            Decision::Send(restore) => Some(restore.road()),
            Decision::Commands(_) => Some(Road::Commands),
            Decision::Skip(..) => None,
        };
    // All entries of keys that stand more than once, in file order, each with the first of its key.
    let mut concerned = Sorter::new(spool_dir, IN_MEMORY);
    for again in repetitions.iter() {
        for order in [again.first, again.offset] {
            concerned.push(Pair {
                order,
                payload: again.first,
            })?;
        }
    }
    // Those of them that were sent, by the first of their key, then in file order.
    let mut sent = Sorter::new(spool_dir, IN_MEMORY);
    let mut scratch = Vec::new();
    each(snapshot, &concerned.finish()?, |entry, first| {
        if selection.admits(entry, &mut scratch)? && decided(entry).is_some() {
            sent.push(Pair {
                order: first,
                payload: entry.offset,
            })?;
        }
        Ok(())
    })?;
    // All but one of each key, in file order again.
    let mut duplicates = Sorter::new(spool_dir, IN_MEMORY);
    let mut before = None;
    for pair in &sent.finish()? {
        if before == Some(pair.order) {
            duplicates.push(Pair {
                order: pair.payload,
                payload: pair.order,
            })?;
        }
        before = Some(pair.order);
    }
    each(snapshot, &duplicates.finish()?, |entry, first| {
        let counted_as = match shared.on_conflict {
            OnConflict::Fail | OnConflict::Abort => Outcome::Conflict,
            OnConflict::Same if is_equal(snapshot, shared.policies, entry, first) => {
                Outcome::AlreadyThere
            }
            OnConflict::Same => Outcome::Conflict,
            OnConflict::Skip => Outcome::Existing,
            OnConflict::Replace => Outcome::Restored(decided(entry).unwrap_or(Road::Raw)),
        };
        // A run that ended early may not have come so far.
        if tally.get(counted_as) == 0 {
            return Ok(());
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
            reason: &format!("{same} stands at offset {first} of the input; one of the two values is at the destination"),
        });
        Ok(())
    })
}

/// Whether the value is, byte for byte, that of the first entry of its key: what the destination was found to hold.
fn is_equal(snapshot: &Snapshot<'_>, policies: &Policies, entry: &Entry<'_>, first: u64) -> bool {
    let place = EntryPlace {
        offset: first,
        ..entry.place()
    };
    snapshot.entry_at(&place).is_ok_and(|first| {
        first.value_type == entry.value_type
            && first.value == entry.value
            && arrival(&first, policies) == arrival(entry, policies)
    })
}

/// Calls `found` for the entries whose offsets are in `pairs`, once each, with the payload.
fn each(
    snapshot: &Snapshot<'_>,
    pairs: &Sorted,
    mut found: impl FnMut(&Entry<'_>, u64) -> Result<()>,
) -> Result<()> {
    let mut pairs = pairs.iter();
    let mut next = pairs.next();
    let mut records = snapshot.unverified_records();
    while let Some(pair) = next {
        match records.next_record()? {
            Some(Record::Entry(entry)) if entry.offset == pair.order => {
                found(&entry, pair.payload)?;
                // A first entry stands there once for each that repeats it.
                next = pairs.find(|behind| behind.order != pair.order);
            }
            Some(_) => {}
            None => return Ok(()),
        }
    }
    Ok(())
}
