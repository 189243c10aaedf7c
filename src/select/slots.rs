//! Sets of cluster slots.

use super::slot::SLOTS;

const WORDS: usize = SLOTS as usize / 64;

/// A set of slots; 2 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet(Box<[u64; WORDS]>);

impl Default for SlotSet {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl std::fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SlotSet({self})")
    }
}

impl SlotSet {
    /// Adds a slot; `false` for one that no cluster has.
    pub fn insert(&mut self, slot: u64) -> bool {
        let word = usize::try_from(slot / 64).unwrap_or(usize::MAX);
        match self.0.get_mut(word) {
            Some(word) => *word |= 1 << (slot % 64),
            None => return false,
        }
        true
    }

    /// Whether `slot` is in it.
    #[must_use]
    #[inline]
    pub fn contains(&self, slot: u16) -> bool {
        let word = self.0.get(usize::from(slot / 64)).copied().unwrap_or(0);
        word >> (slot % 64) & 1 == 1
    }

    /// How many slots are in it.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The slots that are in both.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> Self {
        let mut shared = self.clone();
        for (mine, theirs) in shared.0.iter_mut().zip(other.0.iter()) {
            *mine &= theirs;
        }
        shared
    }

    /// Adds all slots of another set.
    pub fn extend(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0.iter()) {
            *mine |= theirs;
        }
    }

    /// The slots that are not in it.
    #[must_use]
    pub fn others(&self) -> Self {
        let mut others = self.clone();
        for word in others.0.iter_mut() {
            *word = !*word;
        }
        others
    }

    /// The slots in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..SLOTS).filter(|slot| self.contains(*slot))
    }

    /// The slots as ranges, first and last, as long as can be.
    pub fn ranges(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        let mut slots = self.iter().peekable();
        std::iter::from_fn(move || {
            let first = slots.next()?;
            let mut last = first;
            while let Some(next) = slots.next_if_eq(&last.saturating_add(1)) {
                last = next;
            }
            Some((first, last))
        })
    }

    /// How many there are and which: `3 slots (12, 45-46)`; of many ranges the first.
    #[must_use]
    pub fn words(&self) -> String {
        const SHOWN: usize = 8;
        let ranges: Vec<String> = self.ranges().take(SHOWN + 1).map(range_words).collect();
        let more = if ranges.len() > SHOWN { ", …" } else { "" };
        let shown = ranges.get(..SHOWN).unwrap_or(&ranges).join(", ");
        match self.len() {
            1 => format!("1 slot ({shown})"),
            many => format!("{many} slots ({shown}{more})"),
        }
    }
}

fn range_words((first, last): (u16, u16)) -> String {
    match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    }
}

/// `0-5460, 7000`.
impl std::fmt::Display for SlotSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, range) in self.ranges().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{}", range_words(range))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_know_what_is_in_them() {
        let mut set = SlotSet::default();
        assert!(set.is_empty() && set.to_string().is_empty());
        for slot in [0u64, 1, 2, 63, 64, 7000, 16_382, 16_383] {
            assert!(set.insert(slot));
        }
        assert!(!set.insert(16_384) && !set.insert(u64::MAX));
        assert_eq!(set.len(), 8);
        assert_eq!(set.to_string(), "0-2, 63-64, 7000, 16382-16383");
        assert_eq!(set.words(), "8 slots (0-2, 63-64, 7000, 16382-16383)");
        assert_eq!(
            set.others().to_string(),
            "3-62, 65-6999, 7001-16381",
            "{set:?}"
        );
        let mut other = SlotSet::default();
        other.insert(63);
        other.insert(100);
        assert_eq!(set.shared_with(&other).words(), "1 slot (63)");
        set.extend(&other);
        assert!(set.contains(100) && set.len() == 9 && !set.contains(99));
        let mut even = SlotSet::default();
        (0..16_384).step_by(2).for_each(|slot| {
            even.insert(slot);
        });
        assert_eq!(even.words(), "8192 slots (0, 2, 4, 6, 8, 10, 12, 14, …)");
        assert_eq!(even.others().others(), even);
    }
}
