//! How long restored keys live: what a destination must still hold of them, whatever expired meanwhile.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Octaves that are told apart: the last one begins after 34 years.
const OCTAVES: usize = 32;

/// How many keys live for ever, and how many of the others for how long, counted from the run's instant: by the octave of
/// their seconds, so that it stays small however many they are. Keys that can go at any time are in none of these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// Keys without an expiry.
    forever: u64,
    /// Keys by the number of binary digits that their seconds have.
    octaves: [u64; OCTAVES],
}

impl Lifetimes {
    /// Counts a key; `lives_ms` are the milliseconds from the run's instant to its expiry, if it has one.
    #[inline]
    pub fn add(&mut self, lives_ms: Option<i64>) {
        let Some(lives_ms) = lives_ms else {
            self.forever = self.forever.saturating_add(1);
            return;
        };
        let seconds = u64::try_from(lives_ms / 1000).unwrap_or(0);
        let octave = (u64::BITS - seconds.leading_zeros()) as usize;
        if let Some(count) = self.octaves.get_mut(octave.min(OCTAVES - 1)) {
            *count = count.saturating_add(1);
        }
    }

    /// Adds those of other keys.
    pub fn merge(&mut self, other: &Lifetimes) {
        self.forever = self.forever.saturating_add(other.forever);
        for (count, more) in self.octaves.iter_mut().zip(&other.octaves) {
            *count = count.saturating_add(*more);
        }
    }

    /// Keys without an expiry.
    #[must_use]
    pub fn forever(&self) -> u64 {
        self.forever
    }

    /// Keys that have certainly not expired `after_ms` milliseconds behind the run's instant.
    #[must_use]
    pub fn living(&self, after_ms: i64) -> u64 {
        let seconds = u64::try_from(after_ms / 1000).unwrap_or(0);
        let later = self.octaves.iter().enumerate();
        later
            .filter(|(octave, _)| begins(*octave) > seconds)
            .fold(self.forever, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// All keys that were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        let counts = self.octaves.iter();
        counts.fold(self.forever, |sum, count| sum.saturating_add(*count))
    }
}

/// The seconds with which an octave begins.
fn begins(octave: usize) -> u64 {
    match octave {
        0 => 0,
        _ => 1 << (octave - 1),
    }
}

/// `{"forever": 54000, "64": 7}`: what there is, octaves by the seconds that they begin with.
impl Serialize for Lifetimes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let octaves = self.octaves.iter().enumerate();
        let named = octaves.map(|(octave, count)| (begins(octave).to_string(), *count));
        let forever = [("forever".to_owned(), self.forever)];
        serializer.collect_map(
            forever
                .into_iter()
                .chain(named)
                .filter(|(_, count)| *count > 0),
        )
    }
}

impl<'de> Deserialize<'de> for Lifetimes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut lifetimes = Lifetimes::default();
        for (name, count) in BTreeMap::<String, u64>::deserialize(deserializer)? {
            let octave = (0..OCTAVES).find(|octave| begins(*octave).to_string() == name);
            let slot = match octave {
                _ if name == "forever" => Some(&mut lifetimes.forever),
                Some(octave) => lifetimes.octaves.get_mut(octave),
                None => None,
            };
            let slot = slot.ok_or_else(|| {
                serde::de::Error::custom(format!("no lifetime is called {name:?}"))
            })?;
            *slot = count;
        }
        Ok(lifetimes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_counts_as_living_until_its_octave_begins_and_never_behind_its_expiry() {
        for seconds in [0, 1, 2, 59, 60, 3600, 86_400, 1 << 31, 1 << 40] {
            let mut lifetimes = Lifetimes::default();
            lifetimes.add(Some(seconds * 1000 + 999));
            assert_eq!(lifetimes.total(), 1);
            assert_eq!(lifetimes.living(seconds * 1000 + 1000), 0, "{seconds}");
            let half = seconds.min(1 << 31) / 2 - 1;
            if half >= 0 {
                assert_eq!(lifetimes.living(half * 1000), 1, "{seconds}");
            }
        }
        let mut lifetimes = Lifetimes::default();
        lifetimes.add(None);
        lifetimes.add(Some(-5));
        lifetimes.add(Some(i64::MIN));
        assert_eq!((lifetimes.living(i64::MAX), lifetimes.total()), (1, 3));
        let mut sum = lifetimes;
        sum.merge(&lifetimes);
        assert_eq!((sum.forever(), sum.total()), (2, 6));
    }

    #[test]
    fn they_survive_json() {
        let mut lifetimes = Lifetimes::default();
        let json = |lifetimes: &Lifetimes| serde_json::to_string(lifetimes).unwrap();
        assert_eq!(json(&lifetimes), "{}");
        lifetimes.add(None);
        (0..62).for_each(|digits| lifetimes.add(Some(1 << digits)));
        let read: Lifetimes = serde_json::from_str(&json(&lifetimes)).unwrap();
        assert_eq!((read, read.total()), (lifetimes, 63));
        assert!(serde_json::from_str::<Lifetimes>(r#"{"3":1}"#).is_err());
    }
}
