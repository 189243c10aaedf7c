//! Refusals in words that nobody knows: about single keys, or about the service?
//!
//! A hundred in a row are about the service (a quota that is used up, say), which each connection sees by itself. Fewer, among
//! others that arrive, would fail key by key without end: where they are more than one in a hundred of a minute's keys, the
//! load pauses, and stops where the next minute is no better.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is looked at.
const MINUTE: Duration = Duration::from_secs(60);

/// Fewer in a minute are never too many.
const FEWEST: u64 = 100;

/// What a further refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Of this key.
    Key,
    /// Too many of the last minute's keys: so many of so many.
    Pause(u64, u64),
    /// The same once more.
    Stop(u64, u64),
}

/// What came in the present minute.
#[derive(Debug, Clone, Copy)]
struct Present {
    since: Instant,
    /// Keys that were answered before it began.
    answered_before: u64,
    refused: u64,
    /// The minute before was paused for.
    paused: bool,
}

/// All connections of a load, over all its passes.
#[derive(Debug, Default)]
pub(super) struct Strange(Mutex<Option<Present>>);

impl Strange {
    /// One more; `answered` is how many keys the load's connections had an answer for in all.
    pub(super) fn add(&self, now: Instant, answered: u64) -> Verdict {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let anew = |refused, paused| Present {
            since: now,
            answered_before: answered,
            refused,
            paused,
        };
        let present = guard.get_or_insert_with(|| anew(0, false));
        let age = now.saturating_duration_since(present.since);
        if age < MINUTE {
            present.refused = present.refused.saturating_add(1);
            return Verdict::Key;
        }
        let keys = answered.saturating_sub(present.answered_before);
        let refused = present.refused;
        // One that comes after a long silence says nothing of the last minute alone, but of all since.
        let too_many = refused >= FEWEST && refused >= keys / 100;
        let verdict = match (too_many, present.paused) {
            (false, _) => Verdict::Key,
            (true, false) => Verdict::Pause(refused, keys),
            (true, true) => Verdict::Stop(refused, keys),
        };
        *present = anew(1, too_many);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays minutes with so many refused among so many answered; what the first refusal of the minute after says.
    fn play(minutes: &[(u64, u64)]) -> Vec<Verdict> {
        let strange = Strange::default();
        let start = Instant::now();
        let mut answered = 0;
        let mut said = Vec::new();
        for (n, (refused, of)) in minutes.iter().enumerate() {
            let begins = start + MINUTE * u32::try_from(n).unwrap();
            let mut first = Verdict::Key;
            for m in 0..*refused {
                let verdict = strange.add(begins, answered);
                if m == 0 {
                    first = verdict;
                } else {
                    assert_eq!(verdict, Verdict::Key, "inside a minute");
                }
            }
            said.push(first);
            answered += of;
        }
        said
    }

    #[test]
    fn a_hundredth_of_a_minute_pauses_and_of_the_next_one_stops() {
        let (key, bad) = (Verdict::Key, (1000, 50_000));
        let pause = Verdict::Pause(1000, 50_000);
        let stop = Verdict::Stop(1000, 50_000);
        assert_eq!(play(&[bad, bad, bad]), [key, pause, stop]);
        let fine = (10, 50_000);
        assert_eq!(play(&[bad, fine, bad, bad]), [key, pause, key, pause]);
        // Fewer than a hundred, or fewer than one in a hundred.
        assert_eq!(play(&[(99, 99), (99, 99)]), [key, key]);
        assert_eq!(play(&[(499, 50_000), (499, 50_000)]), [key, key]);
    }
}
