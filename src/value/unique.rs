//! Which strings of one collection occur twice: exactly, in a bounded table, and through the disk above it.
//!
//! A string is noted by a keyed hash and a position by which it is found again. Equal hashes are only a hint: the bytes
//! are compared before anything is told. A collection too large for the table is walked once with its hashes alone
//! ([`super::partition`]), and a second time only if one of them occurs twice.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;

use super::element::{Element, IntText};
use super::partition::{Partitions, mark};
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::{FingerprintKey, Fingerprints};

/// Notes the strings of one collection.
#[derive(Debug)]
pub(super) struct Unique {
    seed: u64,
    key: FingerprintKey,
    /// Hash and position of each string, in the order of their coming.
    marks: Vec<(u64, u64)>,
    /// Open addressing: 1 + the number of a mark, or 0.
    table: Vec<u32>,
    /// Positions of two strings with the same hash.
    hints: Vec<(u64, u64)>,
    spill: Option<Fingerprints>,
    /// The collection can be walked again.
    can_repeat: bool,
    partitions: Option<Partitions>,
    /// In the second walk: the marks of the hashes that matter, rising.
    suspects: Option<Vec<u64>>,
    /// In that walk: how many more occurred again than there are hints.
    more: u64,
}

impl Default for Unique {
    fn default() -> Self {
        let state = RandomState::new();
        let mut hasher = state.build_hasher();
        hasher.write_u64(1);
        Self {
            seed: hasher.finish() | 1,
            key: FingerprintKey::random(),
            marks: Vec::new(),
            table: Vec::new(),
            hints: Vec::new(),
            spill: None,
            can_repeat: false,
            partitions: None,
            suspects: None,
            more: 0,
        }
    }
}

/// Two positions with the same string.
pub(super) type Twice = (u64, u64);

impl Unique {
    /// How many strings are noted in memory: 16 bytes and two slots of 4 bytes each.
    pub(super) const IN_TABLE: usize = 64 * 1024;
    /// How many of the spilled ones are in memory: 16 bytes each.
    const IN_MEMORY: usize = 256 * 1024;
    /// Strings from this length on are hashed piece by piece, since they may be compressed in one place and not in another.
    const LONG: u64 = 4096;
    /// How many hashes that occur twice are held, 8 bytes each. Where they are more, the second walk notes everything.
    const MOST_SUSPECTS: usize = 64 * 1024;
    /// How many pairs are told of one collection.
    const MOST_TOLD: usize = 1000;

    /// Begins a collection of about `count` strings, as claimed. With `can_repeat` the caller asks
    /// [`Unique::wants_second_walk`] before it ends.
    #[inline]
    pub(super) fn begin(&mut self, count: u64, can_repeat: bool) {
        self.can_repeat = can_repeat;
        self.partitions = None;
        self.suspects = None;
        self.more = 0;
        self.clear(count);
    }

    #[inline]
    fn clear(&mut self, count: u64) {
        let count = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .clamp(8, Self::IN_TABLE);
        self.marks.clear();
        self.hints.clear();
        self.spill = None;
        self.table.clear();
        self.table
            .resize(count.saturating_mul(2).next_power_of_two(), 0);
    }

    /// Notes `element`, which stands at `position`.
    #[inline]
    pub(super) fn note(
        &mut self,
        element: &Element<'_>,
        position: u64,
        spool_dir: Option<&Path>,
    ) -> Result<()> {
        self.note_in(0, element, position, spool_dir)
    }

    /// Notes `element` of a part of the collection: equal strings of different parts are different.
    #[inline]
    pub(super) fn note_in(
        &mut self,
        part: u64,
        element: &Element<'_>,
        position: u64,
        spool_dir: Option<&Path>,
    ) -> Result<()> {
        let mut text = IntText::new();
        let hash = match element.short(&mut text) {
            Some(bytes) if (bytes.len() as u64) < Self::LONG => self.hash(part, bytes),
            _ => self.fingerprint(part, element)?,
        };
        if let Some(partitions) = &mut self.partitions {
            return partitions.push(hash);
        }
        if let Some(suspects) = &self.suspects {
            if suspects.binary_search(&mark(hash)).is_ok() {
                self.note_suspect(self.fingerprint(part, element)?, position);
            }
            return Ok(());
        }
        if self.spill.is_some() || self.marks.len() >= Self::IN_TABLE {
            return self.spill(hash, position, spool_dir);
        }
        if self.marks.len().saturating_mul(2) >= self.table.len() {
            self.grow();
        }
        self.insert(hash, position);
        Ok(())
    }

    fn fingerprint(&self, part: u64, element: &Element<'_>) -> Result<u64> {
        let mut pieces = self.key.pieces(part);
        element.write_to(|piece| {
            pieces.push(piece);
            Ok(())
        })?;
        Ok(pieces.finish())
    }

    /// In the second walk: a string that shares its hash with another one, or is the same again. Its fingerprint is a hash
    /// of another kind, so equal ones of the few different strings here are the same string; those that are told have their
    /// bytes compared all the same. A value may repeat a member as often as it likes: only as many as are told are kept.
    fn note_suspect(&mut self, fingerprint: u64, position: u64) {
        match self.first_of(fingerprint) {
            Some(first) if self.hints.len() < Self::MOST_TOLD => self.hints.push((first, position)),
            Some(_) => self.more = self.more.saturating_add(1),
            None => {
                if self.marks.len().saturating_mul(2) >= self.table.len() {
                    self.grow();
                }
                self.insert(fingerprint, position);
            }
        }
    }

    /// The position that was noted first with this hash.
    fn first_of(&self, hash: u64) -> Option<u64> {
        let mask = self.table.len().wrapping_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "masked to the table's size"
        )]
        let mut slot = hash as usize & mask;
        loop {
            let number = self.table.get(slot).filter(|number| **number != 0)?;
            let (other, first) = self.marks.get((*number as usize).wrapping_sub(1))?;
            if *other == hash {
                return Some(*first);
            }
            slot = slot.wrapping_add(1) & mask;
        }
    }

    #[inline]
    fn insert(&mut self, hash: u64, position: u64) {
        let mask = self.table.len().wrapping_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "masked to the table's size"
        )]
        let mut slot = hash as usize & mask;
        loop {
            match self.table.get_mut(slot) {
                Some(empty @ 0) => {
                    self.marks.push((hash, position));
                    *empty = u32::try_from(self.marks.len()).unwrap_or(0);
                    return;
                }
                Some(mark) => {
                    if let Some((other, first)) = self.marks.get((*mark as usize).wrapping_sub(1))
                        && *other == hash
                    {
                        self.hints.push((*first, position));
                        // Counts for the limit of the table, but is not found again.
                        self.marks.push((hash, position));
                        return;
                    }
                }
                None => return,
            }
            slot = slot.wrapping_add(1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let size = self.table.len().saturating_mul(2);
        self.table.clear();
        self.table.resize(size, 0);
        if self.suspects.is_none() {
            // They come again with the marks.
            self.hints.clear();
        }
        let marks = std::mem::take(&mut self.marks);
        self.marks.reserve(marks.len().saturating_mul(2));
        for (hash, position) in marks {
            self.insert(hash, position);
        }
    }

    /// Ends the first walk. `true` where the collection must be walked again, and the same strings noted once more.
    pub(super) fn wants_second_walk(&mut self) -> Result<bool> {
        let Some(partitions) = self.partitions.take() else {
            return Ok(false);
        };
        self.can_repeat = false;
        match partitions.finish(Self::MOST_SUSPECTS)? {
            Some(suspects) if suspects.is_empty() => {
                self.clear(0);
                Ok(false)
            }
            suspects => {
                self.clear(suspects.as_ref().map_or(u64::MAX, |s| s.len() as u64));
                self.suspects = suspects;
                Ok(true)
            }
        }
    }

    #[cold]
    fn spill(&mut self, hash: u64, position: u64, spool_dir: Option<&Path>) -> Result<()> {
        if self.can_repeat
            && let Some(dir) = spool_dir
        {
            let mut partitions = Partitions::new(dir)?;
            for (hash, _) in self.marks.drain(..) {
                partitions.push(hash)?;
            }
            partitions.push(hash)?;
            self.partitions = Some(partitions);
            return Ok(());
        }
        let spill = match &mut self.spill {
            Some(spill) => spill,
            None => {
                let Some(dir) = spool_dir else {
                    return Err(Error::new(
                        ErrorKind::Limit,
                        format!(
                            "more than {} elements need a spool to be checked for duplicates, and the decoder has no directory for one",
                            Self::IN_TABLE
                        ),
                    ));
                };
                let spill =
                    self.spill
                        .insert(Fingerprints::with_memory(dir, &self.key, Self::IN_MEMORY));
                for (hash, position) in self.marks.drain(..) {
                    spill.add_fingerprint(hash, position)?;
                }
                spill
            }
        };
        spill.add_fingerprint(hash, position)
    }

    /// A keyed hash of short strings: 8 bytes at a time, multiplied to 128 bits and folded.
    #[inline]
    fn hash(&self, part: u64, bytes: &[u8]) -> u64 {
        let mut hash = self.seed ^ part.rotate_left(32) ^ (bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            hash = fold(hash ^ u64::from_le_bytes(*word), self.seed);
        }
        let mut last = [0u8; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        fold(
            fold(hash ^ u64::from_le_bytes(last), self.seed),
            0x9e37_79b9_7f4a_7c15,
        )
    }

    /// Ends the collection: the positions of strings that occur again, each with the first of its kind, in no order. At most
    /// a thousand are listed; the number says how many there are.
    ///
    /// `same` compares the strings at two positions.
    pub(super) fn finish(
        &mut self,
        mut same: impl FnMut(u64, u64) -> Result<bool>,
    ) -> Result<(Vec<Twice>, u64)> {
        let (mut told, mut count) = (Vec::new(), self.more);
        let mut tell = |first, again| {
            count = count.saturating_add(1);
            if told.len() < Self::MOST_TOLD {
                told.push((first, again));
            }
        };
        if let Some(spill) = self.spill.take() {
            let sorted = spill.finish()?;
            sorted.duplicates(same, |first, again| {
                tell(first, again);
                Ok(())
            })?;
            return Ok((told, count));
        }
        if self.hints.is_empty() {
            return Ok((told, count));
        }
        // Strings that share a hash with another one and are different: none, but for an accident.
        let mut accidents: Vec<u64> = Vec::new();
        for (first, again) in std::mem::take(&mut self.hints) {
            if same(first, again)? {
                tell(first, again);
                continue;
            }
            let mut known = None;
            for other in &accidents {
                if same(*other, again)? {
                    known = Some(*other);
                    break;
                }
            }
            match known {
                Some(other) => tell(other, again),
                None => accidents.push(again),
            }
        }
        Ok((told, count))
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "both halves are folded together"
    )]
    {
        product as u64 ^ (product >> 64) as u64
    }
}

/// Whether two elements are the same string, however they are encoded.
pub(super) fn same(a: &Element<'_>, b: &Element<'_>) -> Result<bool> {
    let (mut text_a, mut text_b) = (IntText::new(), IntText::new());
    if let (Some(a), Some(b)) = (a.short(&mut text_a), b.short(&mut text_b)) {
        return Ok(a == b);
    }
    if a.len() != b.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (a.pieces(), b.pieces());
    let (mut rest, mut other): (&[u8], &[u8]) = (&[], &[]);
    loop {
        if rest.is_empty() {
            rest = left.next_piece()?.unwrap_or_default();
        }
        if other.is_empty() {
            other = right.next_piece()?.unwrap_or_default();
        }
        let common = rest.len().min(other.len());
        if common == 0 {
            return Ok(rest.is_empty() && other.is_empty());
        }
        let (Some((a, more)), Some((b, others))) = (
            rest.split_at_checked(common),
            other.split_at_checked(common),
        ) else {
            return Ok(false);
        };
        if a != b {
            return Ok(false);
        }
        (rest, other) = (more, others);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(texts: &[String], dir: Option<&Path>) -> Result<(Vec<Twice>, u64)> {
        let once = run_with(texts, dir, false);
        let twice = run_with(texts, dir, true);
        match (&once, &twice) {
            (Ok((a, n)), Ok((b, m))) => {
                assert_eq!(n, m, "both ways count the same");
                assert_eq!(a.len(), b.len());
            }
            (a, b) => assert_eq!(a.is_ok(), b.is_ok()),
        }
        twice
    }

    fn run_with(
        texts: &[String],
        dir: Option<&Path>,
        can_repeat: bool,
    ) -> Result<(Vec<Twice>, u64)> {
        let mut unique = Unique::default();
        unique.begin(4, can_repeat);
        loop {
            for (i, text) in texts.iter().enumerate() {
                unique.note(&Element::Bytes(text.as_bytes()), i as u64, dir)?;
            }
            if !unique.wants_second_walk()? {
                break;
            }
        }
        unique.finish(|a, b| Ok(texts[a as usize] == texts[b as usize]))
    }

    #[test]
    fn finds_what_occurs_again_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for count in [0usize, 1, 5, 100, 5000, Unique::IN_TABLE + 10, 400_000] {
            let mut texts: Vec<String> = (0..count).map(|i| format!("member:{i}")).collect();
            let (told, number) = run(&texts, Some(dir.path())).unwrap();
            assert_eq!((told.len(), number), (0, 0), "{count}");
            if count < 2 {
                continue;
            }
            texts[count - 1] = texts[0].clone();
            let (told, number) = run(&texts, Some(dir.path())).unwrap();
            assert_eq!((told, number), (vec![(0, count as u64 - 1)], 1));
        }
    }

    #[test]
    fn many_equal_ones_are_counted_and_listed_up_to_a_limit() {
        let texts = vec!["x".to_owned(); 5000];
        let (told, number) = run(&texts, None).unwrap();
        assert_eq!((told.len(), number), (1000, 4999));
        let dir = tempfile::tempdir().unwrap();
        let texts = vec!["x".to_owned(); 500_000];
        let (told, number) = run(&texts, Some(dir.path())).unwrap();
        assert_eq!((told.len(), number), (1000, 499_999));
        assert_eq!((told[0], told[999]), ((0, 1), (0, 1000)));
        // 70 different ones, not side by side.
        let texts: Vec<String> = (0..200_000)
            .map(|i| if i < 100_000 { i } else { i % 70 }.to_string())
            .collect();
        let (told, number) = run(&texts, Some(dir.path())).unwrap();
        assert_eq!((told.len(), number), (1000, 100_000));
        let texts: Vec<String> = (0..300_000).map(|i| (i / 2).to_string()).collect();
        let (told, number) = run(&texts, Some(dir.path())).unwrap();
        assert_eq!(
            (told.len(), number),
            (1000, 150_000),
            "more suspects than are held"
        );
    }

    #[test]
    fn without_a_directory_the_limit_is_said() {
        let texts: Vec<String> = (0..Unique::IN_TABLE + 1).map(|i| i.to_string()).collect();
        assert_eq!(run(&texts, None).unwrap_err().kind(), ErrorKind::Limit);
    }

    #[test]
    fn the_encoding_of_a_string_does_not_matter() {
        let mut unique = Unique::default();
        unique.begin(2, false);
        unique.note(&Element::Int(5), 0, None).unwrap();
        unique.note(&Element::Bytes(b"5"), 1, None).unwrap();
        let (told, _) = unique.finish(|_, _| Ok(true)).unwrap();
        assert_eq!(told, [(0, 1)]);
        assert!(same(&Element::Int(5), &Element::Bytes(b"5")).unwrap());
        assert!(!same(&Element::Int(5), &Element::Bytes(b"05")).unwrap());

        let long = b"abcdefgh".repeat(300_000);
        let packed = ::lzf::compress(&long).unwrap();
        let lzf = |ulen: usize| {
            Element::Long(crate::wire::string::Lzf {
                compressed: &packed,
                ulen: ulen as u64,
                offset: 0,
            })
        };
        let mut unique = Unique::default();
        unique.begin(2, false);
        unique.note(&Element::Bytes(&long), 0, None).unwrap();
        unique.note(&lzf(long.len()), 1, None).unwrap();
        assert_eq!(unique.finish(|_, _| Ok(true)).unwrap().1, 1);
        assert!(same(&Element::Bytes(&long), &lzf(long.len())).unwrap());
        let mut other = long.clone();
        *other.last_mut().unwrap() ^= 1;
        assert!(!same(&Element::Bytes(&other), &lzf(long.len())).unwrap());
    }
}
