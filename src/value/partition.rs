//! Which of many hashes occur twice, in one pass over them and little memory: they are spread over partitions by their first
//! bits, spooled, and each partition is then looked through with one table.
//!
//! Only hashes are kept, 8 bytes each. What they stood for is found by a second walk, which is needed only where a hash
//! occurs twice: for strings that all differ, practically never.
//!
//! Memory depends on nothing that a file says. Equal hashes fall into one partition however many they are, so the table is
//! sized by the *different* ones that it has met; a partition with more of these than a table may hold is spread once more,
//! by the bits that follow.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::spool::{Spool, SpooledBytes};

/// Number of partitions.
const PARTITIONS: usize = 256;

/// Hashes of one partition that go to the spool together.
const CHUNK: usize = 512;

/// How many different hashes one table holds at most, in twice as many places of 8 bytes.
const MOST_DIFFERENT: usize = 256 * 1024;

/// What is kept of a hash: it may share its mark with another one, which costs a second walk and nothing else.
#[inline]
pub(super) fn mark(hash: u64) -> u64 {
    (hash & !TOLD).max(2)
}

/// The bit of a place in a table that no mark has: this one occurred again, and that was told.
const TOLD: u64 = 1;

/// Hashes that are being collected: about 1 MiB, whatever their number.
#[derive(Debug)]
pub(super) struct Partitions {
    /// Which byte of a hash says its partition, from the front.
    level: usize,
    /// Room for one chunk of each partition.
    chunks: Vec<u64>,
    fill: Vec<u16>,
    spool: Spool,
    /// The partition of each chunk in the spool.
    owners: Vec<u8>,
    dir: PathBuf,
}

impl Partitions {
    pub(super) fn new(dir: &Path) -> Result<Self> {
        Self::by_byte(0, dir)
    }

    fn by_byte(level: usize, dir: &Path) -> Result<Self> {
        Ok(Self {
            level,
            chunks: vec![0; PARTITIONS.saturating_mul(CHUNK)],
            fill: vec![0; PARTITIONS],
            spool: Spool::create(dir, None)?,
            owners: Vec::new(),
            dir: dir.to_owned(),
        })
    }

    #[inline]
    pub(super) fn push(&mut self, hash: u64) -> Result<()> {
        let [partition, ..] = hash.to_be_bytes();
        self.push_into(partition, hash)
    }

    #[inline]
    fn push_into(&mut self, partition: u8, hash: u64) -> Result<()> {
        let start = usize::from(partition).wrapping_mul(CHUNK);
        let Some(fill) = self.fill.get_mut(usize::from(partition)) else {
            return Ok(());
        };
        if let Some(place) = self.chunks.get_mut(start.wrapping_add(usize::from(*fill))) {
            *place = hash;
        }
        *fill = fill.wrapping_add(1);
        if usize::from(*fill) == CHUNK {
            return self.spool_chunk(partition);
        }
        Ok(())
    }

    /// A chunk is full: it goes to the spool, unless most of it is one hash over and over. Of such a run two are enough.
    fn spool_chunk(&mut self, partition: u8) -> Result<()> {
        let start = usize::from(partition).wrapping_mul(CHUNK);
        let (Some(chunk), Some(fill)) = (
            self.chunks.get_mut(start..start.wrapping_add(CHUNK)),
            self.fill.get_mut(usize::from(partition)),
        ) else {
            return Ok(());
        };
        let needless = chunk
            .windows(3)
            .filter(|three| matches!(three, [a, b, c] if a == b && b == c))
            .count();
        if needless >= CHUNK / 2 {
            let (mut kept, mut last) = (0, [None; 2]);
            for at in 0..CHUNK {
                let hash = chunk.get(at).copied();
                if last != [hash; 2]
                    && let Some(place) = chunk.get_mut(kept)
                {
                    *place = hash.unwrap_or_default();
                    kept = kept.wrapping_add(1);
                }
                last = [last[1], hash];
            }
            *fill = u16::try_from(kept).unwrap_or(0);
            return Ok(());
        }
        *fill = 0;
        let mut bytes = [0u8; CHUNK * 8];
        let (places, _) = bytes.as_chunks_mut::<8>();
        for (place, hash) in places.iter_mut().zip(chunk) {
            *place = hash.to_le_bytes();
        }
        self.owners.push(partition);
        self.spool.append(&bytes)
    }

    /// The marks of the hashes that occurred more than once, rising; `None` where they are more than `most`.
    pub(super) fn finish(self, most: usize) -> Result<Option<Vec<u64>>> {
        let mut twice = Twice {
            marks: Vec::new(),
            most,
        };
        if !self.look_through(&mut Table::default(), &mut twice)? {
            return Ok(None);
        }
        twice.marks.sort_unstable();
        twice.marks.dedup();
        Ok(Some(twice.marks))
    }

    /// `false` where too many occur twice.
    fn look_through(self, table: &mut Table, twice: &mut Twice) -> Result<bool> {
        let Self {
            level,
            chunks,
            fill,
            spool,
            owners,
            dir,
        } = self;
        let spooled: SpooledBytes = spool.finish()?;
        let (all, _) = spooled.as_chunks::<8>();
        for partition in 0..=u8::MAX {
            let start = usize::from(partition).wrapping_mul(CHUNK);
            let fill = fill.get(usize::from(partition)).copied().unwrap_or(0);
            let rest = chunks
                .get(start..start.wrapping_add(usize::from(fill)))
                .unwrap_or_default();
            let spooled = owners
                .iter()
                .enumerate()
                .filter(|(_, owner)| **owner == partition)
                .filter_map(|(number, _)| {
                    let from = number.checked_mul(CHUNK)?;
                    all.get(from..from.checked_add(CHUNK)?)
                })
                .flatten()
                .map(|hash| u64::from_le_bytes(*hash));
            let hashes = spooled.chain(rest.iter().copied());
            let told = twice.marks.len();
            table.clear();
            let mut fits = true;
            for hash in hashes.clone() {
                match table.note(mark(hash)) {
                    Noted::New | Noted::Again => {}
                    Noted::Second if twice.marks.len() < twice.most => twice.marks.push(mark(hash)),
                    Noted::Second => return Ok(false),
                    Noted::Full => {
                        fits = false;
                        break;
                    }
                }
            }
            // Behind the last byte all hashes of a partition are equal, and always fit.
            let next = level.wrapping_add(1);
            if fits || next >= size_of::<u64>() {
                continue;
            }
            twice.marks.truncate(told);
            let mut finer = Self::by_byte(next, &dir)?;
            for hash in hashes {
                let byte = hash.to_be_bytes().get(next).copied().unwrap_or(0);
                finer.push_into(byte, hash)?;
            }
            if !finer.look_through(table, twice)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Marks that occur again, each once.
#[derive(Debug)]
struct Twice {
    marks: Vec<u64>,
    most: usize,
}

/// Open addressing over marks, at most half full. Zero is an empty place.
#[derive(Debug, Default)]
struct Table {
    places: Vec<u64>,
    used: usize,
}

/// What a table says to a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noted {
    New,
    /// It is there already, for the first time.
    Second,
    /// As many times before.
    Again,
    /// It is new, and there is no place left.
    Full,
}

impl Table {
    const LEAST: usize = 1024;

    /// Forgets all marks. The places stay: the next partition is about as large.
    fn clear(&mut self) {
        self.used = 0;
        self.places.fill(0);
        if self.places.is_empty() {
            self.places.resize(Self::LEAST, 0);
        }
    }

    #[inline]
    fn note(&mut self, mark: u64) -> Noted {
        let Some(place) = find(&mut self.places, mark) else {
            return Noted::Full;
        };
        match *place {
            0 => {
                *place = mark;
                self.used = self.used.wrapping_add(1);
                if self.used.wrapping_mul(2) >= self.places.len() {
                    return self.grow();
                }
                Noted::New
            }
            seen if seen & TOLD != 0 => Noted::Again,
            _ => {
                *place |= TOLD;
                Noted::Second
            }
        }
    }

    /// Half of the places are taken: makes twice as many, up to a limit.
    #[cold]
    fn grow(&mut self) -> Noted {
        if self.used >= MOST_DIFFERENT {
            return Noted::Full;
        }
        let mut places = vec![0; self.places.len().saturating_mul(2)];
        for seen in self.places.iter().filter(|seen| **seen != 0) {
            if let Some(place) = find(&mut places, seen & !TOLD) {
                *place = *seen;
            }
        }
        self.places = places;
        Noted::New
    }
}

/// The place of a mark: its own, or the empty one where it belongs.
#[inline]
fn find(places: &mut [u64], mark: u64) -> Option<&mut u64> {
    let mask = places.len().wrapping_sub(1);
    let mut at = (mark >> 1) as usize & mask;
    while let Some(seen) = places.get(at)
        && *seen != 0
        && *seen & !TOLD != mark
    {
        at = at.wrapping_add(1) & mask;
    }
    places.get_mut(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(i: u64) -> u64 {
        i.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    fn sorted(hashes: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut marks: Vec<u64> = hashes.map(mark).collect();
        marks.sort_unstable();
        marks
    }

    #[test]
    fn finds_what_occurs_twice() {
        let dir = tempfile::tempdir().unwrap();
        for count in [0u64, 1, 300, 200_000] {
            let mut all = Partitions::new(dir.path()).unwrap();
            for i in 0..count {
                all.push(hash(i)).unwrap();
            }
            let again = || (0..count).step_by(977).map(hash);
            for hash in again() {
                all.push(hash).unwrap();
                all.push(hash).unwrap();
            }
            let found = all.finish(10_000).unwrap().unwrap();
            assert_eq!(found, sorted(again()), "{count}");
        }
    }

    #[test]
    fn too_many_are_said() {
        let dir = tempfile::tempdir().unwrap();
        for (most, fits) in [(999, false), (1000, true)] {
            let mut all = Partitions::new(dir.path()).unwrap();
            for i in 0..2000 {
                all.push(hash(i % 1000 + 1)).unwrap();
            }
            assert_eq!(all.finish(most).unwrap().is_some(), fits, "{most}");
        }
    }

    #[test]
    fn equal_hashes_take_neither_memory_nor_disk() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = Partitions::new(dir.path()).unwrap();
        for i in 0..1_000_000 {
            // In one partition, and now and then another one between them.
            all.push(7).unwrap();
            if i % 100_000 == 0 {
                all.push(9 + i).unwrap();
            }
        }
        assert!(all.spool.written() < 100_000, "{}", all.spool.written());
        assert_eq!(all.finish(10).unwrap().unwrap(), [mark(7)]);
        // Not side by side: on disk, but the table sees what differs.
        let mut all = Partitions::new(dir.path()).unwrap();
        for i in 0..600_000 {
            all.push(1000 + i % 500 * 2).unwrap();
        }
        assert!(all.spool.written() > 4_000_000);
        let mut table = Table::default();
        let mut twice = Twice {
            marks: Vec::new(),
            most: 500,
        };
        assert!(all.look_through(&mut table, &mut twice).unwrap());
        assert_eq!((twice.marks.len(), table.places.len()), (500, 1024));
    }

    #[test]
    fn a_partition_with_more_than_a_table_holds_is_spread_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = Partitions::new(dir.path()).unwrap();
        // All in one partition, by their first two bytes even.
        let crowded = |i: u64| hash(i) >> 16;
        let count = 2 * MOST_DIFFERENT as u64;
        for i in 0..count {
            all.push(crowded(i)).unwrap();
        }
        for i in (0..count).step_by(5000) {
            all.push(crowded(i)).unwrap();
        }
        let mut table = Table::default();
        let mut twice = Twice {
            marks: Vec::new(),
            most: 1000,
        };
        assert!(all.look_through(&mut table, &mut twice).unwrap());
        assert_eq!(table.places.len(), 2 * MOST_DIFFERENT);
        twice.marks.sort_unstable();
        assert_eq!(twice.marks, sorted((0..count).step_by(5000).map(crowded)));
    }
}
