//! Which of many hashes occur twice, in one pass over them and little memory: they are spread over partitions by their first
//! bits, spooled, and each partition is then looked through with a table of its own.
//!
//! Only hashes are kept, 8 bytes each. What they stood for is found by a second walk, which is needed only where a hash
//! occurs twice: for strings that all differ, practically never.

use std::path::Path;

use crate::error::Result;
use crate::spool::{Spool, SpooledBytes};

/// Number of partitions.
const PARTITIONS: usize = 256;

/// Hashes of one partition that go to the spool together.
const CHUNK: usize = 512;

/// Hashes that are being collected: about 1 MiB, whatever their number.
#[derive(Debug)]
pub(super) struct Partitions {
    /// Room for one chunk of each partition.
    chunks: Vec<u64>,
    fill: Vec<u16>,
    spool: Spool,
    /// The partition of each chunk in the spool.
    owners: Vec<u8>,
}

impl Partitions {
    pub(super) fn new(dir: &Path) -> Result<Self> {
        Ok(Self {
            chunks: vec![0; PARTITIONS.saturating_mul(CHUNK)],
            fill: vec![0; PARTITIONS],
            spool: Spool::create(dir, None)?,
            owners: Vec::new(),
        })
    }

    #[inline]
    pub(super) fn push(&mut self, hash: u64) -> Result<()> {
        let [partition, ..] = hash.to_be_bytes();
        let start = usize::from(partition).wrapping_mul(CHUNK);
        let Some(fill) = self.fill.get_mut(usize::from(partition)) else {
            return Ok(());
        };
        if let Some(place) = self.chunks.get_mut(start.wrapping_add(usize::from(*fill))) {
            *place = hash;
        }
        *fill = fill.wrapping_add(1);
        if usize::from(*fill) == CHUNK {
            *fill = 0;
            return self.spool_chunk(partition);
        }
        Ok(())
    }

    fn spool_chunk(&mut self, partition: u8) -> Result<()> {
        let start = usize::from(partition).wrapping_mul(CHUNK);
        let chunk = self.chunks.get(start..start.wrapping_add(CHUNK));
        let mut bytes = [0u8; CHUNK * 8];
        let (places, _) = bytes.as_chunks_mut::<8>();
        for (place, hash) in places.iter_mut().zip(chunk.unwrap_or_default()) {
            *place = hash.to_le_bytes();
        }
        self.owners.push(partition);
        self.spool.append(&bytes)
    }

    /// The hashes that occurred more than once; `None` where they are more than `most`.
    pub(super) fn finish(self, most: usize) -> Result<Option<Vec<u64>>> {
        let spooled: SpooledBytes = self.spool.finish()?;
        let (all, _) = spooled.as_chunks::<8>();
        let mut twice = Vec::new();
        let mut table: Vec<u64> = Vec::new();
        for partition in 0..=u8::MAX {
            let start = usize::from(partition).wrapping_mul(CHUNK);
            let fill = self.fill.get(usize::from(partition)).copied().unwrap_or(0);
            let rest = self
                .chunks
                .get(start..start.wrapping_add(usize::from(fill)))
                .unwrap_or_default();
            let chunks = self.owners.iter().filter(|owner| **owner == partition);
            let count = chunks
                .count()
                .saturating_mul(CHUNK)
                .saturating_add(rest.len());
            table.clear();
            table.resize(count.saturating_mul(2).next_power_of_two(), 0);
            let spooled = self
                .owners
                .iter()
                .enumerate()
                .filter(|(_, owner)| **owner == partition)
                .filter_map(|(number, _)| {
                    let from = number.checked_mul(CHUNK)?;
                    all.get(from..from.checked_add(CHUNK)?)
                })
                .flatten()
                .map(|hash| u64::from_le_bytes(*hash));
            for hash in spooled.chain(rest.iter().copied()) {
                if !insert(&mut table, hash) {
                    if twice.len() >= most {
                        return Ok(None);
                    }
                    twice.push(hash);
                }
            }
        }
        twice.sort_unstable();
        twice.dedup();
        Ok(Some(twice))
    }
}

/// Puts a hash into a table that is at most half full. `false` where it is there already. Zero marks an empty slot, so the
/// hash 0 counts as 1: two different strings that share a hash cost a second walk, nothing else.
#[inline]
fn insert(table: &mut [u64], hash: u64) -> bool {
    let hash = hash.max(1);
    let mask = table.len().wrapping_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "masked to the table's size"
    )]
    let mut slot = hash as usize & mask;
    loop {
        match table.get_mut(slot) {
            Some(empty @ 0) => {
                *empty = hash;
                return true;
            }
            Some(other) if *other == hash => return false,
            Some(_) => slot = slot.wrapping_add(1) & mask,
            None => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(i: u64) -> u64 {
        i.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn finds_what_occurs_twice() {
        let dir = tempfile::tempdir().unwrap();
        for count in [0u64, 1, 300, 200_000] {
            let mut all = Partitions::new(dir.path()).unwrap();
            for i in 0..count {
                all.push(hash(i)).unwrap();
            }
            let mut again: Vec<u64> = (0..count).step_by(977).map(hash).collect();
            for hash in &again {
                all.push(*hash).unwrap();
                all.push(*hash).unwrap();
            }
            again.sort_unstable();
            let found = all.finish(10_000).unwrap().unwrap();
            // Hash 0 is also the number zero, which stands for one.
            assert_eq!(found, again, "{count}");
        }
    }

    #[test]
    fn too_many_are_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = Partitions::new(dir.path()).unwrap();
        for i in 0..2000 {
            all.push(hash(i % 1000 + 1)).unwrap();
        }
        assert!(all.finish(999).unwrap().is_none());
    }
}
