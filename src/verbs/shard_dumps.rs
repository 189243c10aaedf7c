//! The dumps of a cluster's shards, taken together as one job: no two may share a slot, all are of about one time, and slots
//! that none covers are worth a word.
//!
//! What a dump *covers* is known from its keys alone: the slots in which any stands. (Some servers name the slots of a dump in
//! records of their own; those, too, are slots with keys.) A slot without keys may be empty, so only gaps that chance does not
//! explain are told.
//!
//! A key's slot is that of its name. Redis Enterprise may hash otherwise and notes the slot of each key: where all inputs have
//! such notes, these count.

use super::{Ticker, Watch};
use crate::error::Result;
use crate::select::{SLOTS, Selection, SlotSet, slot_of_name};
use crate::snapshot::{Record, Snapshot};

/// Dumps of one cluster lie no further apart, in seconds.
pub const MOST_APART: i64 = 3600;

/// The slots of one dump.
#[derive(Debug, Clone, Default)]
pub struct ShardDump {
    /// When it was taken (aux `ctime`), seconds of Unix time.
    pub taken: Option<i64>,
    /// Slots in which a selected key stands.
    pub selected: SlotSet,
    /// Slots in which any key stands, or that a record names.
    pub covered: SlotSet,
    /// The same two sets by the notes of Redis Enterprise, as long as every key has one.
    noted: Option<[SlotSet; 2]>,
}

impl ShardDump {
    /// Reads which slots the keys of a dump stand in, that was taken at `taken`. A name that cannot be read has no slot.
    ///
    /// # Errors
    /// Those of the reader, the selection and `watch`.
    pub fn read(
        snapshot: &Snapshot<'_>,
        taken: Option<i64>,
        selection: &mut Selection,
        watch: &mut Watch<'_>,
    ) -> Result<Self> {
        let mut dump = Self {
            taken,
            noted: Some(Default::default()),
            ..Self::default()
        };
        let mut records = snapshot.unverified_records();
        let (mut ticker, mut scratch) = (Ticker::default(), Vec::new());
        while let Some(record) = records.next_record()? {
            match record {
                Record::Entry(entry) => {
                    ticker.tick(watch, entry.end(), records.entries_seen())?;
                    let selected = selection.admits(&entry, &mut scratch)?;
                    dump.note(entry.slot, selected);
                    let Ok(slot) = slot_of_name(&entry.key, &mut scratch) else {
                        continue;
                    };
                    let slot = u64::from(slot);
                    dump.covered.insert(slot);
                    if selected {
                        dump.selected.insert(slot);
                    }
                }
                Record::SlotInfo { slot, .. } => {
                    dump.covered.insert(slot);
                }
                // Valkey's: slot, keys, keys with an expiry.
                Record::Aux { name, value, .. } if name.preview(16) == b"slot-info" => {
                    let value = String::from_utf8_lossy(&value.preview(64)).into_owned();
                    let slot = value.split(',').next().and_then(|slot| slot.parse().ok());
                    dump.covered.insert(slot.unwrap_or(u64::MAX));
                }
                _ => {}
            }
        }
        Ok(dump)
    }

    fn note(&mut self, slot: Option<u64>, selected: bool) {
        let kept = match (&mut self.noted, slot) {
            (Some([chosen, all]), Some(slot)) => {
                all.insert(slot) && (!selected || chosen.insert(slot))
            }
            _ => false,
        };
        if !kept {
            self.noted = None;
        }
    }
}

/// Takes the slots that Redis Enterprise noted for those of the names, where all dumps note those of all their keys. Whether it
/// is so.
pub fn by_notes(dumps: &mut [ShardDump]) -> bool {
    let some = dumps.iter().any(|dump| !dump.covered.is_empty());
    let all = some && dumps.iter().all(|dump| dump.noted.is_some());
    if all {
        for dump in dumps {
            if let Some([selected, covered]) = dump.noted.take() {
                (dump.selected, dump.covered) = (selected, covered);
            }
        }
    }
    all
}

/// Two inputs, by number, and the slots in which selected keys of both stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The earlier one, from 0.
    pub first: usize,
    /// The later one.
    pub second: usize,
    /// Never empty.
    pub slots: SlotSet,
}

/// All pairs of inputs that share slots.
#[must_use]
pub fn shared(dumps: &[ShardDump]) -> Vec<Shared> {
    let mut list = Vec::new();
    for (second, dump) in dumps.iter().enumerate() {
        for (first, other) in dumps.iter().take(second).enumerate() {
            let slots = other.selected.shared_with(&dump.selected);
            if !slots.is_empty() {
                list.push(Shared {
                    first,
                    second,
                    slots,
                });
            }
        }
    }
    list
}

/// The oldest and the youngest dump, where they lie more than [`MOST_APART`] apart. Those that do not say when they were taken
/// are not judged.
#[must_use]
pub fn too_far_apart(dumps: &[ShardDump]) -> Option<(usize, usize)> {
    let dated = || {
        dumps
            .iter()
            .enumerate()
            .filter_map(|(n, dump)| Some((dump.taken?, n)))
    };
    let (oldest, youngest) = (dated().min()?, dated().max()?);
    (youngest.0.saturating_sub(oldest.0) > MOST_APART).then_some((oldest.1, youngest.1))
}

/// For each input the slots that a younger one has, too: their keys are to be left out of it.
///
/// # Errors
/// The first two that share slots, and of which neither is known to be younger.
pub fn left_to_newer(dumps: &[ShardDump]) -> std::result::Result<Vec<SlotSet>, Shared> {
    let mut left = vec![SlotSet::default(); dumps.len()];
    let taken = |n: usize| dumps.get(n).and_then(|dump| dump.taken);
    for pair in shared(dumps) {
        let older = match (taken(pair.first), taken(pair.second)) {
            (Some(first), Some(second)) if first < second => pair.first,
            (Some(first), Some(second)) if first > second => pair.second,
            _ => return Err(pair),
        };
        if let Some(left) = left.get_mut(older) {
            left.extend(&pair.slots);
        }
    }
    Ok(left)
}

/// Slots that no dump covers, where a gap is so long that chance does not explain it: of random keys that leave as many slots
/// empty as these do, fewer than one set in a thousand has such a gap anywhere.
#[must_use]
pub fn gaps(dumps: &[ShardDump]) -> SlotSet {
    const CHANCE: f64 = 0.001;
    let mut covered = SlotSet::default();
    for dump in dumps {
        covered.extend(&dump.covered);
    }
    let empty = covered.others();
    let mut gaps = SlotSet::default();
    if empty.is_empty() || covered.is_empty() {
        return gaps;
    }
    let share = f64::from(empty.len()) / f64::from(SLOTS);
    let longest = (f64::from(SLOTS) / CHANCE).ln() / -share.ln();
    for (first, last) in empty.ranges() {
        if f64::from(last.saturating_sub(first).saturating_add(1)) >= longest {
            (first..=last).for_each(|slot| {
                gaps.insert(slot.into());
            });
        }
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(taken: impl Into<Option<i64>>, slots: impl IntoIterator<Item = u16>) -> ShardDump {
        let mut dump = ShardDump {
            taken: taken.into(),
            ..ShardDump::default()
        };
        for slot in slots {
            dump.selected.insert(slot.into());
            dump.covered.insert(slot.into());
        }
        dump
    }

    #[test]
    fn the_younger_dump_has_a_shared_slot() {
        let dumps = [
            dump(100, 0..10),
            dump(300, 5..20),
            dump(200, [7, 19, 50]),
            dump(None, [60]),
        ];
        let pairs: Vec<_> = shared(&dumps)
            .into_iter()
            .map(|pair| (pair.first, pair.second, pair.slots.to_string()))
            .collect();
        assert_eq!(
            pairs,
            [
                (0, 1, "5-9".to_owned()),
                (0, 2, "7".to_owned()),
                (1, 2, "7, 19".to_owned())
            ]
        );
        let left: Vec<_> = left_to_newer(&dumps)
            .expect("all are dated")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(left, ["5-9", "", "7, 19", ""]);
        for (a, b) in [(Some(1), Some(1)), (None, Some(1)), (None, None)] {
            let pair = left_to_newer(&[dump(a, [1, 2]), dump(b, [2, 3])]).expect_err("a tie");
            assert_eq!(
                (pair.first, pair.second, pair.slots.words()),
                (0, 1, "1 slot (2)".to_owned())
            );
        }
    }

    #[test]
    fn notes_count_where_all_keys_have_one() {
        let noted = |slots: &[Option<u64>]| {
            let mut dump = ShardDump {
                noted: Some(Default::default()),
                ..dump(0, [1, 2])
            };
            slots.iter().for_each(|slot| dump.note(*slot, true));
            dump
        };
        let mut both = [noted(&[Some(1)]), noted(&[Some(7), Some(9)])];
        assert!(by_notes(&mut both));
        assert_eq!(both[1].selected.to_string(), "7, 9");
        assert!(shared(&both).is_empty());
        for second in [&[Some(7), None][..], &[Some(16_384)]] {
            let mut one = [noted(&[Some(1)]), noted(second)];
            assert!(!by_notes(&mut one));
            assert_eq!(shared(&one).len(), 1);
        }
    }

    #[test]
    fn an_hour_is_the_limit() {
        assert_eq!(
            too_far_apart(&[dump(0, []), dump(None, []), dump(3600, [])]),
            None
        );
        assert_eq!(
            too_far_apart(&[dump(5000, []), dump(1, []), dump(3602, [])]),
            Some((1, 0))
        );
        assert_eq!(
            too_far_apart(&[dump(i64::MIN, []), dump(i64::MAX, [])]),
            Some((0, 1))
        );
        assert_eq!(too_far_apart(&[]), None);
    }

    #[test]
    fn only_gaps_that_chance_does_not_explain_are_told() {
        let third = |n: u16| 5461 * n..5461 * (n + 1);
        // Dense shards, one missing.
        let found = gaps(&[dump(0, third(0)), dump(0, third(2))]);
        assert_eq!(found.to_string(), "5461-10921");
        // Sparse ones: a third of the slots at random.
        let sparse = |slots: std::ops::Range<u16>| {
            slots.filter(|slot| crate::wire::crc64::checksum(&slot.to_le_bytes()).is_multiple_of(3))
        };
        let found = gaps(&[dump(0, sparse(third(0))), dump(0, sparse(third(1)))]);
        let (first, last) = found.ranges().next().expect("a gap");
        assert!(found.ranges().count() == 1 && (10_900..10_940).contains(&first) && last == 16_383);
        assert!(gaps(&[dump(0, sparse(0..SLOTS))]).is_empty());
        // A handful of keys proves nothing; nor do none, nor all.
        assert!(gaps(&[dump(0, [1, 2, 3]), dump(0, [9000, 9001])]).is_empty());
        assert!(gaps(&[]).is_empty() && gaps(&[dump(0, [])]).is_empty());
        assert!(gaps(&[dump(0, 0..SLOTS)]).is_empty());
    }
}
