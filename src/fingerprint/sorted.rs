//! Sorting more pairs of numbers than memory holds: runs that are sorted in memory, written one behind the other into one
//! spool, and merged while they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::spool::{Spool, SpooledBytes};

/// A pair: sorted by `order`, then by `payload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// A fingerprint, or whatever else the pairs are sorted by.
    pub order: u64,
    /// The caller's number.
    pub payload: u64,
}

impl Record {
    /// Bytes of a record in a spool: both numbers, little endian.
    pub(super) const BYTES: usize = 16;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        (u128::from(self.payload) << 64 | u128::from(self.order)).to_le_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let both = u128::from_le_bytes(bytes);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the two halves of a u128, taken apart as they were put together"
        )]
        Self {
            order: both as u64,
            payload: (both >> 64) as u64,
        }
    }
}

/// Pairs that are being collected.
#[derive(Debug)]
pub struct Sorter {
    /// The current run, not sorted yet.
    records: Vec<Record>,
    /// How many records the current run may hold.
    in_memory: usize,
    spool: Option<Spool>,
    /// For each finished run the number of records in the spool behind its last one.
    run_ends: Vec<u64>,
    spooled: u64,
    dir: PathBuf,
}

impl Sorter {
    /// Keeps up to `in_memory` pairs (at least one) in memory, and makes a spool in `dir` when they are more.
    #[must_use]
    pub fn new(dir: &Path, in_memory: usize) -> Self {
        Self {
            records: Vec::new(),
            in_memory: in_memory.max(1),
            spool: None,
            run_ends: Vec::new(),
            spooled: 0,
            dir: dir.to_owned(),
        }
    }

    /// Adds a pair.
    ///
    /// # Errors
    /// `Limit` and `Io` of the spool.
    pub fn push(&mut self, record: Record) -> Result<()> {
        if self.records.len() == self.records.capacity() {
            if self.records.len() >= self.in_memory {
                self.end_run()?;
            } else {
                // Doubling, but never past the bound: the bound is a promise about memory.
                let more = self.records.len().max(64);
                let room = self.in_memory - self.records.len();
                self.records.reserve_exact(more.min(room));
            }
        }
        self.records.push(record);
        Ok(())
    }

    /// How many pairs were added.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.spooled + self.records.len() as u64
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends collecting.
    ///
    /// # Errors
    /// `Limit` and `Io` of the spool.
    pub fn finish(mut self) -> Result<Sorted> {
        if self.spool.is_some() {
            self.end_run()?;
        }
        let storage = match self.spool {
            None => {
                self.records.sort_unstable();
                Storage::Memory(self.records)
            }
            Some(spool) => {
                // Given back before the reader of the runs begins: it may want the memory.
                drop(self.records);
                Storage::Runs {
                    bytes: spool.finish()?,
                    run_ends: self.run_ends,
                }
            }
        };
        Ok(Sorted { storage })
    }

    /// Sorts the records in memory and appends them to the spool as a run.
    fn end_run(&mut self) -> Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(Spool::create(&self.dir, None)?),
        };
        self.records.sort_unstable();
        for record in &self.records {
            spool.append(&record.to_bytes())?;
        }
        self.spooled += self.records.len() as u64;
        self.run_ends.push(self.spooled);
        self.records.clear();
        Ok(())
    }
}

/// Pairs in order.
#[derive(Debug)]
pub struct Sorted {
    storage: Storage,
}

#[derive(Debug)]
enum Storage {
    Memory(Vec<Record>),
    Runs {
        bytes: SpooledBytes,
        run_ends: Vec<u64>,
    },
}

impl Sorted {
    /// All pairs in order, from the first. May be asked for more than once.
    #[must_use]
    pub fn iter(&self) -> Merge<'_> {
        match &self.storage {
            Storage::Memory(records) => Merge {
                memory: records.iter(),
                heads: BinaryHeap::new(),
            },
            Storage::Runs { bytes, run_ends } => {
                let mut heads = BinaryHeap::with_capacity(run_ends.len());
                let mut rest: &[u8] = bytes;
                let mut begin = 0;
                for end in run_ends {
                    let size = usize::try_from((end - begin) * Record::BYTES as u64)
                        .map_or(rest.len(), |size| size.min(rest.len()));
                    let (run, behind) = rest.split_at(size);
                    if let Some((first, tail)) = run.split_first_chunk() {
                        heads.push(Reverse(Head {
                            record: Record::from_bytes(*first),
                            tail,
                        }));
                    }
                    rest = behind;
                    begin = *end;
                }
                Merge {
                    memory: [].iter(),
                    heads,
                }
            }
        }
    }

    /// The last pair whose order is not above `order`. Takes a search in each run.
    #[must_use]
    pub fn last_up_to(&self, order: u64) -> Option<Record> {
        match &self.storage {
            Storage::Memory(records) => {
                let behind = records.partition_point(|record| record.order <= order);
                behind
                    .checked_sub(1)
                    .and_then(|at| records.get(at))
                    .copied()
            }
            Storage::Runs { bytes, run_ends } => {
                let (records, _) = bytes.as_chunks();
                let mut begin = 0;
                let runs = run_ends.iter().map(|end| {
                    let end = usize::try_from(*end).unwrap_or(usize::MAX);
                    let run = records.get(begin..end).unwrap_or_default();
                    begin = end;
                    run
                });
                runs.filter_map(|run: &[[u8; Record::BYTES]]| {
                    let behind =
                        run.partition_point(|bytes| Record::from_bytes(*bytes).order <= order);
                    run.get(behind.checked_sub(1)?)
                })
                .map(|bytes| Record::from_bytes(*bytes))
                .max()
            }
        }
    }

    /// How many pairs there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.storage {
            Storage::Memory(records) => records.len() as u64,
            Storage::Runs { run_ends, .. } => run_ends.last().copied().unwrap_or(0),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pairs as one array in memory, or the sorted set back where they are more than that.
    pub(super) fn into_memory(self) -> std::result::Result<Vec<Record>, Self> {
        match self.storage {
            Storage::Memory(records) => Ok(records),
            storage => Err(Self { storage }),
        }
    }

    /// Merges the runs into one, in a second spool.
    pub(super) fn merged(&self, dir: &Path) -> Result<SpooledBytes> {
        let mut spool = Spool::create(dir, Some(self.len() * Record::BYTES as u64))?;
        for record in self {
            spool.append(&record.to_bytes())?;
        }
        spool.finish()
    }
}

impl<'a> IntoIterator for &'a Sorted {
    type Item = Record;
    type IntoIter = Merge<'a>;

    fn into_iter(self) -> Merge<'a> {
        self.iter()
    }
}

/// The pairs of a [`Sorted`] in order. Holds one pair of each run.
#[derive(Debug)]
pub struct Merge<'a> {
    memory: std::slice::Iter<'a, Record>,
    heads: BinaryHeap<Reverse<Head<'a>>>,
}

/// The foremost record of a run and the bytes of those behind it. The smallest head of all comes next.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head<'a> {
    record: Record,
    /// Only of interest for the order where two heads are equal, and then any order is right.
    tail: &'a [u8],
}

impl Iterator for Merge<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if let Some(record) = self.memory.next() {
            return Some(*record);
        }
        let mut head = self.heads.peek_mut()?;
        let record = head.0.record;
        match head.0.tail.split_first_chunk() {
            Some((next, tail)) => {
                head.0 = Head {
                    record: Record::from_bytes(*next),
                    tail,
                };
            }
            None => {
                PeekMut::pop(head);
            }
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_survives_its_bytes() {
        for (order, payload) in [(0, 0), (1, u64::MAX), (u64::MAX, 1), (1 << 63, 0x0102)] {
            let record = Record { order, payload };
            assert_eq!(Record::from_bytes(record.to_bytes()), record);
        }
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_a_sort(
            pairs in proptest::collection::vec((0u64..50, any::<u64>()), 0..200),
            in_memory in 0usize..40,
        ) {
            let mut sorter = Sorter::new(&std::env::temp_dir(), in_memory);
            let mut model = Vec::new();
            for &(order, payload) in &pairs {
                sorter.push(Record { order, payload }).unwrap();
                model.push(Record { order, payload });
                prop_assert!(sorter.records.capacity() <= in_memory.max(1));
            }
            prop_assert_eq!(sorter.len(), pairs.len() as u64);
            prop_assert_eq!(sorter.spool.is_some(), pairs.len() > in_memory.max(1));
            let sorted = sorter.finish().unwrap();
            model.sort_unstable();
            prop_assert_eq!(sorted.len(), pairs.len() as u64);
            prop_assert_eq!(&sorted.iter().collect::<Vec<_>>(), &model);
            prop_assert_eq!(&sorted.iter().collect::<Vec<_>>(), &model, "a second time");
            for order in 0..52 {
                let last = model.iter().rfind(|record| record.order <= order);
                prop_assert_eq!(sorted.last_up_to(order), last.copied());
            }
        }
    }

    #[test]
    fn a_spool_that_cannot_be_made_is_an_error_and_not_a_loss() {
        let mut sorter = Sorter::new(Path::new("/nonexistent"), 2);
        let record = Record {
            order: 1,
            payload: 2,
        };
        sorter.push(record).unwrap();
        sorter.push(record).unwrap();
        let error = sorter.push(record).unwrap_err();
        assert!(error.to_string().contains("/nonexistent"), "{error}");
    }
}
