//! Whether strings that come one by one are in a set, and which of the set never came.
//!
//! The set is one sorted array, in memory or mapped from a spool, with a small index over the leading bits of the
//! fingerprints. A question costs one look into the index and a search among a few neighbours; on a set that was spooled it
//! touches one or two pages, so the set may be larger than memory and the questions still come in any order, in one pass.

use std::path::{Path, PathBuf};

use super::FingerprintKey;
use super::sorted::{Record, Sorted, Sorter};
use crate::error::Result;
use crate::mapped::Advice;
use crate::spool::SpooledBytes;

/// The index has at most 2^16 places: 512 kB.
const INDEX_BITS: u32 = 16;

/// Up to this many members, which of them were met is kept as bits in memory (8 MB); above, as numbers in a sorter.
const BITS_IN_MEMORY: u64 = 1 << 26;

/// A set that can be asked.
#[derive(Debug)]
pub struct Members {
    key: FingerprintKey,
    table: Table,
    /// Where in the table the fingerprints begin that have the place's number as their leading bits.
    index: Vec<u64>,
    /// How many leading bits the index looks at.
    index_bits: u32,
    met: Met,
    dir: PathBuf,
}

#[derive(Debug)]
enum Table {
    Memory(Vec<Record>),
    Spooled(SpooledBytes),
}

/// Which members were met.
#[derive(Debug)]
enum Met {
    Bits(Vec<u64>),
    /// Positions in the table, possibly many times.
    Positions(Sorter),
}

impl Members {
    /// Makes a set of `sorted`, whose fingerprints were made with `key`. What does not fit in memory is merged into a spool
    /// in `dir`, which takes as much room there as the runs of `sorted` themselves.
    ///
    /// # Errors
    /// `Limit` and `Io` of the spool.
    pub fn build(sorted: Sorted, key: &FingerprintKey, dir: &Path) -> Result<Self> {
        let len = sorted.len();
        let met = if len <= BITS_IN_MEMORY {
            Met::Bits(vec![0; usize::try_from(len.div_ceil(64)).unwrap_or(0)])
        } else {
            Met::Positions(Sorter::new(dir, BITS_IN_MEMORY as usize / 128))
        };
        Self::with_met(sorted, key, dir, met)
    }

    fn with_met(sorted: Sorted, key: &FingerprintKey, dir: &Path, met: Met) -> Result<Self> {
        let len = sorted.len();
        // About eight members a place.
        let index_bits = len
            .checked_ilog2()
            .unwrap_or(0)
            .saturating_sub(3)
            .min(INDEX_BITS);
        let mut index = Vec::with_capacity((1 << index_bits) + 1);
        for (position, record) in (0u64..).zip(&sorted) {
            let place = leading(record.order, index_bits);
            while index.len() <= place {
                index.push(position);
            }
        }
        index.resize((1 << index_bits) + 1, len);
        let table = match sorted.into_memory() {
            Ok(records) => Table::Memory(records),
            Err(runs) => {
                let bytes = runs.merged(dir)?;
                bytes.advise(Advice::Random);
                Table::Spooled(bytes)
            }
        };
        Ok(Self {
            key: key.clone(),
            table,
            index,
            index_bits,
            met,
            dir: dir.to_owned(),
        })
    }

    /// Whether `bytes` of `domain` are in the set: the smallest payload of that string. All its occurrences count as met.
    ///
    /// `same(payload)` says whether the member with that payload is really this string, domain included.
    ///
    /// # Errors
    /// Whatever `same` returns; `Limit` and `Io` of a spool.
    pub fn find(
        &mut self,
        domain: u64,
        bytes: &[u8],
        same: impl FnMut(u64) -> Result<bool>,
    ) -> Result<Option<u64>> {
        self.find_fingerprint(self.key.of(domain, bytes), same)
    }

    /// The same for a string whose fingerprint the caller has made with the set's key.
    ///
    /// # Errors
    /// Whatever `same` returns; `Limit` and `Io` of a spool.
    pub fn find_fingerprint(
        &mut self,
        fingerprint: u64,
        mut same: impl FnMut(u64) -> Result<bool>,
    ) -> Result<Option<u64>> {
        let mut found = None;
        let mut position = self.first_not_below(fingerprint);
        while let Some(record) = self.table.get(position)
            && record.order == fingerprint
        {
            if same(record.payload)? {
                found.get_or_insert(record.payload);
                if self.met.is_marked(position) {
                    // So are all others of this string: one that is repeated on both sides is no product of two numbers.
                    break;
                }
                self.met.mark(position)?;
            }
            position += 1;
        }
        Ok(found)
    }

    /// How many strings the set has, repetitions included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.table.len()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends asking: the payloads that were never met, in rising order (each as the `order` of a record).
    ///
    /// # Errors
    /// `Limit` and `Io` of a spool.
    pub fn never_met(self) -> Result<Sorted> {
        let mut never = Sorter::new(&self.dir, super::Fingerprints::IN_MEMORY);
        let mut add = |record: Record| {
            never.push(Record {
                order: record.payload,
                payload: record.payload,
            })
        };
        match self.met {
            Met::Bits(words) => {
                for position in 0..self.table.len() {
                    let (word, bit) = bit_of(position);
                    if words.get(word).is_none_or(|word| word & bit == 0)
                        && let Some(record) = self.table.get(position)
                    {
                        add(record)?;
                    }
                }
            }
            Met::Positions(sorter) => {
                let met = sorter.finish()?;
                let mut met = met.iter().map(|record| record.order).peekable();
                for position in 0..self.table.len() {
                    let mut was_met = false;
                    while met.next_if_eq(&position).is_some() {
                        was_met = true;
                    }
                    if !was_met && let Some(record) = self.table.get(position) {
                        add(record)?;
                    }
                }
            }
        }
        never.finish()
    }

    /// The position of the first record whose fingerprint is not below `fingerprint`.
    fn first_not_below(&self, fingerprint: u64) -> u64 {
        let place = leading(fingerprint, self.index_bits);
        let begin = self.index.get(place).copied().unwrap_or(0);
        let mut end = self.index.get(place + 1).copied().unwrap_or(0);
        let mut begin = begin.min(end);
        while begin < end {
            let middle = begin.midpoint(end);
            if self
                .table
                .get(middle)
                .is_some_and(|record| record.order < fingerprint)
            {
                begin = middle + 1;
            } else {
                end = middle;
            }
        }
        begin
    }
}

/// The `bits` leading bits of a fingerprint.
fn leading(fingerprint: u64, bits: u32) -> usize {
    usize::try_from(fingerprint.checked_shr(64 - bits).unwrap_or(0)).unwrap_or(usize::MAX)
}

/// The word and the bit in it that stand for `position`.
fn bit_of(position: u64) -> (usize, u64) {
    (
        usize::try_from(position / 64).unwrap_or(usize::MAX),
        1 << (position % 64),
    )
}

impl Table {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(records) => records.len() as u64,
            Self::Spooled(bytes) => (bytes.len() / Record::BYTES) as u64,
        }
    }

    fn get(&self, position: u64) -> Option<Record> {
        let position = usize::try_from(position).ok()?;
        match self {
            Self::Memory(records) => records.get(position).copied(),
            Self::Spooled(bytes) => bytes
                .get(position.checked_mul(Record::BYTES)?..)?
                .first_chunk()
                .map(|bytes| Record::from_bytes(*bytes)),
        }
    }
}

impl Met {
    /// Whether that is known without a search.
    fn is_marked(&self, position: u64) -> bool {
        match self {
            Self::Bits(words) => {
                let (word, bit) = bit_of(position);
                words.get(word).is_some_and(|word| word & bit != 0)
            }
            Self::Positions(_) => false,
        }
    }

    fn mark(&mut self, position: u64) -> Result<()> {
        match self {
            Self::Bits(words) => {
                let (word, bit) = bit_of(position);
                if let Some(word) = words.get_mut(word) {
                    *word |= bit;
                }
                Ok(())
            }
            Self::Positions(sorter) => sorter.push(Record {
                order: position,
                payload: 0,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Fingerprints;
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    proptest! {
        #[test]
        fn answers_are_those_of_a_hash_map(
            members in proptest::collection::vec((0u64..2, "[ab]{0,5}"), 0..120),
            asked in proptest::collection::vec((0u64..2, "[ab]{0,5}"), 0..120),
            in_memory in 1usize..150,
            mask in proptest::sample::select(vec![0u64, 1, 0xff << 56, 1 << 63, u64::MAX]),
            positions in any::<bool>(),
        ) {
            let dir = std::env::temp_dir();
            let key = FingerprintKey::colliding(mask);
            let mut set = Fingerprints::with_memory(&dir, &key, in_memory);
            let mut model: HashMap<&(u64, String), u64> = HashMap::new();
            for (payload, member) in (0u64..).zip(&members) {
                set.add(member.0, member.1.as_bytes(), payload).unwrap();
                model.entry(member).or_insert(payload);
            }
            let sorted = set.finish().unwrap();
            let mut set = if positions {
                // As above 2^26 members, with spooling from the fifth position on.
                Members::with_met(sorted, &key, &dir, Met::Positions(Sorter::new(&dir, 4)))
            } else {
                Members::build(sorted, &key, &dir)
            }.unwrap();
            prop_assert_eq!(set.len(), members.len() as u64);
            prop_assert_eq!(matches!(set.table, Table::Spooled(_)), members.len() > in_memory);
            for string in &asked {
                let answer = set.find(
                    string.0,
                    string.1.as_bytes(),
                    |payload| Ok(members[payload as usize] == *string),
                ).unwrap();
                prop_assert_eq!(answer, model.get(string).copied());
            }
            let asked: HashSet<_> = asked.iter().collect();
            let expected: Vec<u64> = (0u64..).zip(&members)
                .filter(|(_, member)| !asked.contains(member))
                .map(|(payload, _)| payload)
                .collect();
            let never: Vec<u64> = set.never_met().unwrap().iter().map(|record| record.order).collect();
            prop_assert_eq!(never, expected);
        }
    }

    #[test]
    fn an_empty_set_knows_nothing() {
        let dir = std::env::temp_dir();
        let key = FingerprintKey::random();
        let sorted = Fingerprints::new(&dir, &key).finish().unwrap();
        let mut set = Members::build(sorted, &key, &dir).unwrap();
        assert!(set.is_empty());
        assert_eq!(set.find(0, b"k", |_| Ok(true)).unwrap(), None);
        assert!(set.never_met().unwrap().is_empty());
    }

    #[test]
    fn a_name_that_is_repeated_and_asked_for_again_is_compared_once() {
        let dir = std::env::temp_dir();
        let key = FingerprintKey::random();
        let mut set = Fingerprints::new(&dir, &key);
        for payload in 0..1000 {
            set.add(0, b"again", payload).unwrap();
        }
        let mut set = Members::build(set.finish().unwrap(), &key, &dir).unwrap();
        let mut compared = 0;
        for _ in 0..100 {
            let found = set.find(0, b"again", |_| {
                compared += 1;
                Ok(true)
            });
            assert_eq!(found.unwrap(), Some(0));
        }
        assert_eq!(compared, 1000 + 99);
        assert!(set.never_met().unwrap().is_empty());
    }

    #[test]
    fn the_index_fits_sets_of_every_size() {
        let dir = std::env::temp_dir();
        let key = FingerprintKey::random();
        for len in [1u64, 2, 7, 8, 9, 1000, 70_000] {
            let mut set = Fingerprints::with_memory(&dir, &key, 5000);
            for i in 0..len {
                set.add(0, &i.to_le_bytes(), i).unwrap();
            }
            let mut set = Members::build(set.finish().unwrap(), &key, &dir).unwrap();
            for i in 0..len {
                let answer = set.find(0, &i.to_le_bytes(), |payload| Ok(payload == i));
                assert_eq!(answer.unwrap(), Some(i), "{i} of {len}");
            }
            assert_eq!(set.find(0, b"another", |_| Ok(false)).unwrap(), None);
            assert!(set.never_met().unwrap().is_empty());
        }
    }
}
