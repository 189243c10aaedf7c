//! What became of each entry: exactly one outcome each, and the counts add up.

use serde::Serialize;

/// How a key reached its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Road {
    /// `RESTORE` of the value's own bytes.
    Raw,
    /// `RESTORE` of the value in an older form.
    Reencoded,
    /// Plain write commands.
    Commands,
}

impl Road {
    /// The name in machine-readable output: it does not change.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Road::Raw => "raw",
            Road::Reencoded => "reencoded",
            Road::Commands => "commands",
        }
    }
}

/// The one outcome of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// The destination said that it holds the key now.
    Restored(Road),
    /// The selection left it out.
    NotSelected,
    /// It is of an older input: a newer one has its slot.
    LeftToNewer,
    /// Its time was past at the run's instant, and the policy drops such keys.
    Expired,
    /// The destination said OK, but its time came while it was on its way: the destination may hold nothing.
    ExpiredOnArrival,
    /// The destination had the key, and the policy leaves it alone without a word.
    Existing,
    /// The destination had the key with an equal value, and the policy asked for that. Nothing was touched.
    AlreadyThere,
    /// The destination had the key, and the policy calls that a conflict. Nothing was touched.
    Conflict,
    /// The same key stands earlier in the input.
    Duplicate,
    /// A collection without elements, which is no key.
    Empty,
    /// It was not sent, because it could not arrive whole: the reason is listed.
    Refused,
    /// The destination refused it, in words that are listed.
    Failed,
    /// The destination said OK, and what was read back afterwards is not what was sent.
    ReadBackDifferent,
    /// It was sent and no reply came back: it may be there or not.
    Uncertain,
    /// The run ended before its turn came.
    NotReached,
}

impl Outcome {
    /// All outcomes, in the order in which tables list them.
    pub const ALL: [Outcome; 17] = [
        Outcome::Restored(Road::Raw),
        Outcome::Restored(Road::Reencoded),
        Outcome::Restored(Road::Commands),
        Outcome::NotSelected,
        Outcome::LeftToNewer,
        Outcome::Expired,
        Outcome::ExpiredOnArrival,
        Outcome::Existing,
        Outcome::AlreadyThere,
        Outcome::Conflict,
        Outcome::Duplicate,
        Outcome::Empty,
        Outcome::Refused,
        Outcome::Failed,
        Outcome::ReadBackDifferent,
        Outcome::Uncertain,
        Outcome::NotReached,
    ];

    /// The words of the closing table.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Restored(Road::Raw) => "restored, raw",
            Outcome::Restored(Road::Reencoded) => "restored, re-encoded",
            Outcome::Restored(Road::Commands) => "restored, by commands",
            Outcome::NotSelected => "not selected",
            Outcome::LeftToNewer => "left out, a newer input has the slot",
            Outcome::Expired => "expired, dropped",
            Outcome::ExpiredOnArrival => "expired while under way",
            Outcome::Existing => "existing, left alone",
            Outcome::AlreadyThere => "already there, equal",
            Outcome::Conflict => "conflict, left alone",
            Outcome::Duplicate => "duplicate in the input",
            Outcome::Empty => "empty collection",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::ReadBackDifferent => "read back different",
            Outcome::Uncertain => "uncertain",
            Outcome::NotReached => "not reached",
        }
    }

    /// The name in machine-readable output: it does not change.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Restored(Road::Raw) => "restored_raw",
            Outcome::Restored(Road::Reencoded) => "restored_reencoded",
            Outcome::Restored(Road::Commands) => "restored_commands",
            Outcome::NotSelected => "not_selected",
            Outcome::LeftToNewer => "left_to_newer",
            Outcome::Expired => "expired",
            Outcome::ExpiredOnArrival => "expired_on_arrival",
            Outcome::Existing => "existing",
            Outcome::AlreadyThere => "already_there",
            Outcome::Conflict => "conflict",
            Outcome::Duplicate => "duplicate",
            Outcome::Empty => "empty",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::ReadBackDifferent => "read_back_different",
            Outcome::Uncertain => "uncertain",
            Outcome::NotReached => "not_reached",
        }
    }

    /// The outcome of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Outcome> {
        Outcome::ALL
            .into_iter()
            .find(|outcome| outcome.name() == name)
    }

    /// Whether the run did not do with this entry what its user wanted: exit code 1.
    #[must_use]
    pub fn is_finding(self) -> bool {
        matches!(
            self,
            Outcome::Conflict
                | Outcome::Duplicate
                | Outcome::Refused
                | Outcome::Failed
                | Outcome::ReadBackDifferent
                | Outcome::Uncertain
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
    /// Counts one entry.
    pub fn add(&mut self, outcome: Outcome) {
        self.add_many(outcome, 1);
    }

    /// Counts `entries` entries of the same outcome.
    pub fn add_many(&mut self, outcome: Outcome, entries: u64) {
        if let Some(count) = self.counts.get_mut(outcome.index()) {
            *count = count.saturating_add(entries);
        }
    }

    /// Takes one entry from one outcome to another: for what is known better later.
    pub fn reclassify(&mut self, from: Outcome, to: Outcome) {
        if let Some(count) = self.counts.get_mut(from.index())
            && *count > 0
        {
            *count = count.saturating_sub(1);
            self.add(to);
        }
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Tally) {
        for (outcome, count) in other.iter() {
            self.add_many(outcome, count);
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

    /// The sum over all outcomes: must equal the entries that the scanner counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Whether any entry had an outcome that its user did not want.
    #[must_use]
    pub fn has_findings(&self) -> bool {
        self.iter()
            .any(|(outcome, count)| outcome.is_finding() && count > 0)
    }
}

impl Serialize for Tally {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(Some(Outcome::ALL.len()))?;
        for (outcome, count) in self.iter() {
            map.serialize_entry(outcome.name(), &count)?;
        }
        map.end()
    }
}

impl<'de> serde::Deserialize<'de> for Tally {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let counts = std::collections::BTreeMap::<String, u64>::deserialize(deserializer)?;
        let mut tally = Tally::default();
        for (name, count) in counts {
            let outcome = Outcome::from_name(&name)
                .ok_or_else(|| D::Error::custom(format!("no outcome is called {name:?}")))?;
            tally.add_many(outcome, count);
        }
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted_apart_and_the_sum_is_exact() {
        let mut tally = Tally::default();
        for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
            tally.add_many(outcome, i as u64 + 1);
        }
        for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(tally.get(outcome), i as u64 + 1);
        }
        assert_eq!(tally.total(), 153);
        tally.reclassify(Outcome::Conflict, Outcome::Duplicate);
        assert_eq!(
            (
                tally.get(Outcome::Conflict),
                tally.get(Outcome::Duplicate),
                tally.total()
            ),
            (9, 12, 153)
        );
    }

    #[test]
    fn a_tally_survives_json() {
        let mut tally = Tally::default();
        for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(Outcome::from_name(outcome.name()), Some(outcome));
            tally.add_many(outcome, i as u64);
        }
        let text = serde_json::to_string(&tally).unwrap();
        assert_eq!(serde_json::from_str::<Tally>(&text).unwrap(), tally);
        assert!(serde_json::from_str::<Tally>(r#"{"restored_by_magic":1}"#).is_err());
    }

    #[test]
    fn only_wanted_outcomes_are_no_finding() {
        let mut tally = Tally::default();
        for outcome in [
            Outcome::Restored(Road::Raw),
            Outcome::Expired,
            Outcome::Existing,
            Outcome::AlreadyThere,
            Outcome::NotSelected,
            Outcome::LeftToNewer,
        ] {
            tally.add(outcome);
        }
        assert!(!tally.has_findings());
        tally.add(Outcome::Uncertain);
        assert!(tally.has_findings());
    }
}
