//! What came out for each entry: one of these, counted.

use serde::Serialize;
use serde::ser::SerializeMap as _;

/// What came out for one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The destination holds the same.
    Same,
    /// The same meaning; the bookkeeping differs.
    SameBut,
    /// The key is there, and means something else.
    Different,
    /// The key is not there, and nothing explains that.
    Gone,
    /// The key is not there; the destination has evicted keys, and may have evicted this one.
    PerhapsEvicted,
    /// The key is not there, since its time has come.
    ExpiredMeanwhile,
    /// It could not be compared.
    NotComparable,
    /// Its time was past at the run's instant, and such keys are not loaded.
    Expired,
    /// A collection without elements, which is no key.
    Empty,
    /// The selection left it out.
    NotSelected,
    /// The sample left it out.
    NotSampled,
    /// The run ended before.
    NotReached,
}

impl Outcome {
    /// All outcomes, in the order in which reports list them.
    pub const ALL: [Outcome; 12] = [
        Outcome::Same,
        Outcome::SameBut,
        Outcome::Different,
        Outcome::Gone,
        Outcome::PerhapsEvicted,
        Outcome::ExpiredMeanwhile,
        Outcome::NotComparable,
        Outcome::Expired,
        Outcome::Empty,
        Outcome::NotSelected,
        Outcome::NotSampled,
        Outcome::NotReached,
    ];

    /// In words, for tables.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Same => "the same",
            Outcome::SameBut => "the same, other bookkeeping",
            Outcome::Different => "different",
            Outcome::Gone => "missing",
            Outcome::PerhapsEvicted => "missing, perhaps evicted",
            Outcome::ExpiredMeanwhile => "expired meanwhile",
            Outcome::NotComparable => "not comparable",
            Outcome::Expired => "expired, not expected",
            Outcome::Empty => "empty collection, not expected",
            Outcome::NotSelected => "not selected",
            Outcome::NotSampled => "not in the sample",
            Outcome::NotReached => "not reached",
        }
    }

    /// A stable name for machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Same => "same",
            Outcome::SameBut => "same_but_bookkeeping",
            Outcome::Different => "different",
            Outcome::Gone => "missing",
            Outcome::PerhapsEvicted => "missing_perhaps_evicted",
            Outcome::ExpiredMeanwhile => "expired_meanwhile",
            Outcome::NotComparable => "not_comparable",
            Outcome::Expired => "expired",
            Outcome::Empty => "empty",
            Outcome::NotSelected => "not_selected",
            Outcome::NotSampled => "not_sampled",
            Outcome::NotReached => "not_reached",
        }
    }

    /// Whether it is not proven that the destination holds what it should: exit code 1.
    #[must_use]
    pub fn is_finding(self) -> bool {
        matches!(
            self,
            Outcome::Different
                | Outcome::Gone
                | Outcome::PerhapsEvicted
                | Outcome::NotComparable
                | Outcome::NotReached
        )
    }

    fn index(self) -> usize {
        Outcome::ALL.iter().position(|o| *o == self).unwrap_or(0)
    }
}

/// Entries by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [u64; Outcome::ALL.len()],
}

impl Tally {
    /// Counts entries.
    pub fn add(&mut self, outcome: Outcome, entries: u64) {
        if let Some(count) = self.counts.get_mut(outcome.index()) {
            *count = count.saturating_add(entries);
        }
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Tally) {
        for (outcome, count) in other.iter() {
            self.add(outcome, count);
        }
    }

    /// How many entries had this outcome.
    #[must_use]
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.counts.get(outcome.index()).copied().unwrap_or(0)
    }

    /// All outcomes with their counts, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        Outcome::ALL.into_iter().zip(self.counts.iter().copied())
    }

    /// The sum: must equal the entries that the scanner counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Entries that were held against the destination.
    #[must_use]
    pub fn compared(&self) -> u64 {
        [
            Outcome::Same,
            Outcome::SameBut,
            Outcome::Different,
            Outcome::Gone,
            Outcome::PerhapsEvicted,
            Outcome::ExpiredMeanwhile,
            Outcome::NotComparable,
        ]
        .into_iter()
        .fold(0, |sum, outcome| sum.saturating_add(self.get(outcome)))
    }

    /// Entries of which it is not proven that they are there.
    #[must_use]
    pub fn findings(&self) -> u64 {
        self.iter()
            .filter(|(outcome, _)| outcome.is_finding())
            .fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}

impl Serialize for Tally {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Outcome::ALL.len()))?;
        for (outcome, count) in self.iter() {
            map.serialize_entry(outcome.name(), &count)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted_apart_and_the_sum_is_exact() {
        let mut tally = Tally::default();
        for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
            tally.add(outcome, i as u64 + 1);
        }
        for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(tally.get(outcome), i as u64 + 1);
        }
        assert_eq!(tally.total(), 78);
        assert_eq!(tally.findings(), 3 + 4 + 5 + 7 + 12);
        assert_eq!(tally.compared(), 1 + 2 + 3 + 4 + 5 + 6 + 7);
    }
}
