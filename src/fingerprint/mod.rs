//! Questions of uniqueness and membership over any number of byte strings, in flat memory. L0; uses `spool` and `error`.
//!
//! Every string becomes a keyed 64-bit fingerprint beside a *payload* of the caller's choice: a number by which the caller
//! finds the string again (an offset, an ordinal). The pairs are sorted in memory up to [`Fingerprints::IN_MEMORY`] of
//! them, above that as sorted runs in one spool that are merged while they are read. Equal strings then stand side by
//! side: [`Sorted::duplicates`] finds those that occur again, [`Members`] answers whether a string is in the set.
//!
//! *Exactness.* Equal fingerprints are only a hint. Every hit is confirmed by the caller, who compares the bytes
//! themselves, so a collision costs time and never an answer. The fingerprint is SipHash-1-3 under a key that is drawn at
//! random for each run: a file cannot be made so that its keys collide. It means nothing outside the process and is never
//! written anywhere but into the spool.
//!
//! *Memory.* 16 bytes a pair, at most 16 MB by default; what is spooled is mapped and belongs to the page cache.

mod duplicates;
mod members;
mod sorted;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;

pub use members::Members;
pub use sorted::{Merge, Record, Sorted, Sorter};

use crate::error::Result;

/// The random key of a run's fingerprints. Two sets that are held against each other need clones of one key.
#[derive(Debug, Clone)]
pub struct FingerprintKey {
    state: RandomState,
    /// Which bits of a fingerprint are kept; all of them, except in tests that want collisions.
    mask: u64,
}

impl FingerprintKey {
    /// Draws a key.
    #[must_use]
    pub fn random() -> Self {
        Self {
            state: RandomState::new(),
            mask: u64::MAX,
        }
    }

    /// A key whose fingerprints collide often: only the bits of `mask` differ.
    #[cfg(test)]
    fn colliding(mask: u64) -> Self {
        Self {
            mask,
            ..Self::random()
        }
    }

    /// The fingerprint of `bytes` in `domain`: equal bytes of different domains (database numbers, kinds of element) are
    /// different strings.
    #[must_use]
    pub fn of(&self, domain: u64, bytes: &[u8]) -> u64 {
        let mut pieces = self.pieces(domain);
        pieces.push(bytes);
        pieces.finish()
    }

    /// The same for bytes that come in pieces, however they are cut.
    #[must_use]
    pub fn pieces(&self, domain: u64) -> Pieces {
        let mut hasher = self.state.build_hasher();
        hasher.write(&domain.to_le_bytes());
        Pieces {
            hasher,
            mask: self.mask,
        }
    }
}

/// The fingerprint of bytes that come in pieces.
#[derive(Debug, Clone)]
pub struct Pieces {
    hasher: std::hash::DefaultHasher,
    mask: u64,
}

impl Pieces {
    /// The next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    /// The fingerprint of all that was pushed.
    #[must_use]
    pub fn finish(&self) -> u64 {
        self.hasher.finish() & self.mask
    }
}

/// A set of strings that is being collected.
#[derive(Debug)]
pub struct Fingerprints {
    key: FingerprintKey,
    sorter: Sorter,
}

impl Fingerprints {
    /// How many pairs are kept in memory (16 bytes each) before they go to a spool, unless the caller says otherwise.
    pub const IN_MEMORY: usize = 1_000_000;

    /// An empty set, whose spool lies in `dir` should one be needed.
    #[must_use]
    pub fn new(dir: &Path, key: &FingerprintKey) -> Self {
        Self::with_memory(dir, key, Self::IN_MEMORY)
    }

    /// The same with another number of pairs in memory, for several sets at a time.
    #[must_use]
    pub fn with_memory(dir: &Path, key: &FingerprintKey, pairs: usize) -> Self {
        Self {
            key: key.clone(),
            sorter: Sorter::new(dir, pairs),
        }
    }

    /// Adds `bytes` of `domain`. By `payload` the caller finds them again.
    ///
    /// # Errors
    /// `Limit` and `Io` of the spool.
    pub fn add(&mut self, domain: u64, bytes: &[u8], payload: u64) -> Result<()> {
        self.add_fingerprint(self.key.of(domain, bytes), payload)
    }

    /// Adds a string whose fingerprint the caller has made with the same key.
    ///
    /// # Errors
    /// `Limit` and `Io` of the spool.
    pub fn add_fingerprint(&mut self, fingerprint: u64, payload: u64) -> Result<()> {
        self.sorter.push(Record {
            order: fingerprint,
            payload,
        })
    }

    /// How many strings were added.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.sorter.len()
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
    pub fn finish(self) -> Result<Sorted> {
        self.sorter.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_domains_and_keys() {
        let key = FingerprintKey::random();
        let whole = key.of(3, b"user:17");
        for cut in 0..=7 {
            let (a, b) = b"user:17".split_at(cut);
            let mut pieces = key.pieces(3);
            pieces.push(a);
            pieces.push(b"");
            pieces.push(b);
            assert_eq!(pieces.finish(), whole, "cut at {cut}");
        }
        assert_eq!(key.clone().of(3, b"user:17"), whole);
        assert_ne!(key.of(4, b"user:17"), whole);
        assert_ne!(key.of(3, b"user:18"), whole);
        assert_ne!(key.of(3, b"user:17\0"), whole);
        assert_ne!(FingerprintKey::random().of(3, b"user:17"), whole);
    }
}
