//! Whether a destination holds fewer keys than it must: something that nobody told of took them away.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Load;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Progress;
use crate::target::{Facts, Held};
use crate::units::keys;

/// By how much two clocks may differ beyond what is known: a key whose expiry is no further away says nothing.
pub(super) const MARGIN_MS: i64 = 60_000;

impl Load {
    /// What time it is at the destination, as far as that is known: milliseconds of Unix time.
    pub(super) fn now_there_ms(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        now.saturating_add(self.facts.clock_ahead_ms.unwrap_or(0))
    }

    /// How many of the keys that were restored cannot have gone by themselves: those without an expiry, and all of them.
    fn must_be_there(&self, progress: &Progress) -> (u64, u64) {
        let lifetimes = &progress.lifetimes;
        let since_ms = self
            .now_there_ms()
            .saturating_sub(self.options.policies.now_ms);
        // A key that stands in the dump more than once was counted each time. An evicted one is told of elsewhere.
        let repeated = lifetimes.total().saturating_sub(progress.restored());
        let gone = repeated
            .saturating_add(self.evicted)
            .saturating_add(self.evicted_earlier);
        let living = lifetimes.living(since_ms.saturating_add(MARGIN_MS));
        (
            lifetimes.forever().saturating_sub(gone),
            living.saturating_sub(gone),
        )
    }

    /// Whether fewer keys are there than must be of those that `progress` calls restored.
    pub(super) fn lacks(&self, progress: &Progress, held: Held) -> bool {
        let (forever, living) = self.must_be_there(progress);
        let lasting = held.lasting.unwrap_or(u64::MAX);
        held.keys < living || held.keys < progress.restored() && lasting < forever
    }

    /// Whether the destination holds fewer keys than were restored.
    pub(super) fn shrank(&self, facts: &Facts) -> bool {
        let held = facts.held();
        held.is_some_and(|held| self.lacks(&self.recorder.acknowledged(), held))
    }

    /// A destination that holds fewer keys than it kept for sure was emptied, or is another one.
    pub(super) fn missing_keys(&self, facts: &Facts) -> Result<()> {
        let settled = self.recorder.settled();
        match facts.held() {
            Some(held) if self.lacks(&settled, held) => Err(Error::new(
                ErrorKind::Destination,
                format!(
                    "{}: it was emptied, or is another one",
                    self.both_numbers(&settled, held, "were restored and kept")
                ),
            )
            .with_hint("if that is meant, begin anew with --restart")),
            _ => Ok(()),
        }
    }

    /// What is there, and what must be.
    pub(super) fn both_numbers(&self, progress: &Progress, held: Held, were: &str) -> String {
        let (_, living) = self.must_be_there(progress);
        let restored = progress.restored();
        let of_them = match living < restored {
            true => format!(", {living} of which cannot have expired"),
            false => String::new(),
        };
        format!(
            "the destination holds {}, and {restored} {were}{of_them}",
            keys(held.keys)
        )
    }
}
