//! Which positions are finished: disjoint ranges, joined where they touch.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

/// A set of numbers as disjoint ranges that do not touch. Its size is that of its gaps, not of its members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Beginning → end (exclusive).
    by_start: BTreeMap<u64, u64>,
}

impl Ranges {
    /// All of `range`.
    #[must_use]
    pub fn of(range: Range<u64>) -> Self {
        let mut ranges = Self::default();
        ranges.insert(range);
        ranges
    }

    /// Adds a range; what is there already stays once.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        if let Some((&before, &until)) = self.by_start.range(..=start).next_back()
            && until >= start
        {
            start = before;
            end = end.max(until);
        }
        while let Some((&next, &until)) = self.by_start.range(start..=end).next() {
            end = end.max(until);
            self.by_start.remove(&next);
        }
        self.by_start.insert(start, end);
    }

    /// Adds all of another set.
    pub fn insert_all(&mut self, other: &Ranges) {
        for range in other.iter() {
            self.insert(range);
        }
    }

    /// Takes a range away.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        if let Some((&before, &until)) = self.by_start.range(..range.start).next_back()
            && until > range.start
        {
            self.by_start.insert(before, range.start);
            if until > range.end {
                self.by_start.insert(range.end, until);
            }
        }
        while let Some((&next, &until)) = self.by_start.range(range.clone()).next() {
            self.by_start.remove(&next);
            if until > range.end {
                self.by_start.insert(range.end, until);
            }
        }
    }

    /// Takes all of another set away.
    pub fn remove_all(&mut self, other: &Ranges) {
        for range in other.iter() {
            self.remove(range);
        }
    }

    /// Whether `number` is in it.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        self.by_start
            .range(..=number)
            .next_back()
            .is_some_and(|(_, end)| number < *end)
    }

    /// The first number that is not in it.
    #[must_use]
    pub fn low_mark(&self) -> u64 {
        self.by_start.get(&0).copied().unwrap_or(0)
    }

    /// The number behind its last one.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.by_start.last_key_value().map_or(0, |(_, end)| *end)
    }

    /// How many numbers it holds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.iter()
            .fold(0, |sum, range| sum.saturating_add(range.end - range.start))
    }

    /// How many ranges it is made of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_start.len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// The ranges, rising.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.by_start.iter().map(|(start, end)| *start..*end)
    }
}

impl Serialize for Ranges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.by_start.iter())
    }
}

impl<'de> Deserialize<'de> for Ranges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(u64, u64)>::deserialize(deserializer)?;
        let mut ranges = Self::default();
        for (start, end) in pairs {
            if start >= end || start < ranges.end() {
                return Err(D::Error::custom(format!(
                    "the range {start}..{end} is empty or not behind the one before"
                )));
            }
            ranges.insert(start..end);
        }
        Ok(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn ranges_that_touch_are_one() {
        let mut ranges = Ranges::default();
        ranges.insert(5..7);
        ranges.insert(0..2);
        assert_eq!((ranges.len(), ranges.low_mark(), ranges.end()), (2, 2, 7));
        ranges.insert(2..5);
        assert_eq!((ranges.len(), ranges.low_mark()), (1, 7));
        ranges.insert(3..3);
        assert_eq!(ranges.total(), 7);
    }

    #[test]
    fn what_a_journal_must_not_say_is_refused() {
        for bad in ["[[3,3]]", "[[4,2]]", "[[0,5],[3,9]]", "[[5,6],[0,1]]"] {
            assert!(serde_json::from_str::<Ranges>(bad).is_err(), "{bad}");
        }
        let text = serde_json::to_string(&Ranges::of(3..9)).unwrap();
        assert_eq!(text, "[[3,9]]");
        assert_eq!(
            serde_json::from_str::<Ranges>(&text).unwrap(),
            Ranges::of(3..9)
        );
    }

    proptest! {
        #[test]
        fn a_set_of_ranges_is_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..20), 0..40)) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (add, start, length) in steps {
                let range = start..start + length;
                if add {
                    ranges.insert(range.clone());
                    model.extend(range);
                } else {
                    ranges.remove(range.clone());
                    model.retain(|n| !range.contains(n));
                }
                prop_assert_eq!(ranges.total(), model.len() as u64);
                for n in 0..90 {
                    prop_assert_eq!(ranges.contains(n), model.contains(&n));
                }
                let all: Vec<_> = ranges.iter().collect();
                prop_assert!(all.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", all);
            }
        }
    }
}
