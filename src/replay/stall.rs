//! For how long a server does nothing else while it takes a payload: it makes a whole value before it answers.
//!
//! What counts is not the payload but what becomes of it: its strings decompressed, and each element, for which a server
//! allocates and searches. The figures by type are a beginning, measured with `RESTORE` on Redis 7.0 on a busy machine: of a million
//! members of 16 bytes a set took 0.5 s, a hash with short values 0.9 s, a sorted set 1.8 s, a list 0.4 s; of 60,000 fields with values of
//! 3,000 bytes, 3.8 MiB as a payload, a hash took 0.4 to 0.9 s. What a destination really takes is learned from it
//! ([`Pauses::learn`]), by type.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::snapshot::{Entry, Kind};
use crate::value::{Bulk, bulk};

/// A payload of so few bytes is no matter, whatever its type and however much is compressed in it.
pub(super) const NEVER: u64 = 16 * 1024;

/// Payloads that are expected to take less are not worth being measured.
const WORTH_MEASURING_US: u64 = 5000;

/// So many of each type are measured at first, and of the rest one among this many.
const AT_FIRST: u32 = 4;
const THEN_EVERY: u32 = 16;

/// How far off the beginning's figures may be found to be.
const LEAST: f32 = 0.1;
const MOST: f32 = 10.0;

/// A payload that may hold the destination: by what it is judged and learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heavy {
    nth: usize,
    /// By the beginning's figures, microseconds.
    first_us: u64,
}

/// What was learned of a destination, by type: how many times longer a value takes there than the beginning's figures say.
#[derive(Debug, Default)]
pub struct Pauses {
    /// As the bits of a number; 0 where nothing was learned.
    factors: [AtomicU32; KINDS],
    measured: [AtomicU32; KINDS],
    /// The destination does not tell how long a command took.
    hidden: AtomicBool,
}

const KINDS: usize = 6;

/// Nanoseconds for a kibibyte, and for an element.
const FIGURES: [(u64, u64); KINDS] = [
    (8_000, 400),    // set
    (5_000, 800),    // hash
    (10_000, 1_500), // sorted set
    (5_000, 250),    // list
    (5_000, 700),    // stream
    (5_000, 500),    // array
];

/// What commands would write in one piece, too, is in none.
fn nth(kind: Kind) -> Option<usize> {
    Some(match kind {
        Kind::Set => 0,
        Kind::Hash => 1,
        Kind::ZSet => 2,
        Kind::List => 3,
        Kind::Stream => 4,
        Kind::Array => 5,
        Kind::String | Kind::Module | Kind::Json => return None,
    })
}

/// What the value of `entry` is to a server, if it can hold one at all.
pub(super) fn heavy(entry: &Entry<'_>) -> Option<Heavy> {
    let nth = nth(entry.type_info()?.kind)?;
    let (a_kibibyte, an_element) = FIGURES.get(nth)?;
    let Bulk { bytes, elements } = bulk(entry);
    let nanos = (bytes / 1024)
        .saturating_mul(*a_kibibyte)
        .saturating_add(elements.saturating_mul(*an_element));
    Some(Heavy {
        nth,
        first_us: nanos / 1000,
    })
}

impl Pauses {
    /// The pause that a payload makes, milliseconds.
    #[must_use]
    pub fn expected_ms(&self, heavy: Heavy) -> u64 {
        let us = heavy.first_us as f32 * self.factor(heavy.nth);
        // Far below what a float holds exactly, or far above every limit.
        (us / 1000.0) as u64
    }

    fn factor(&self, nth: usize) -> f32 {
        match self
            .factors
            .get(nth)
            .map(|bits| bits.load(Ordering::Relaxed))
        {
            None | Some(0) => 1.0,
            Some(bits) => f32::from_bits(bits),
        }
    }

    /// Whether the time of this payload is to be measured.
    #[must_use]
    pub fn wants(&self, heavy: Heavy) -> bool {
        if heavy.first_us < WORTH_MEASURING_US || self.hidden.load(Ordering::Relaxed) {
            return false;
        }
        self.measured.get(heavy.nth).is_some_and(|measured| {
            let before = measured.fetch_add(1, Ordering::Relaxed);
            before < AT_FIRST || before.is_multiple_of(THEN_EVERY)
        })
    }

    /// The destination took so long for a payload.
    pub fn learn(&self, heavy: Heavy, took: Duration) {
        let Some(factor) = self.factors.get(heavy.nth) else {
            return;
        };
        let found = took.as_micros() as f32 / heavy.first_us.max(1) as f32;
        let found = found.clamp(LEAST, MOST);
        let next = match factor.load(Ordering::Relaxed) {
            0 => found,
            before => (f32::from_bits(before) + found) / 2.0,
        };
        factor.store(next.to_bits(), Ordering::Relaxed);
    }

    /// The destination does not tell how long a command took: nothing more is to be measured.
    pub fn are_hidden(&self) {
        self.hidden.store(true, Ordering::Relaxed);
    }
}

/// The longest pause that one value may make, milliseconds, where the destination held so many `keys` before: `wanted`, else half
/// a second, or 50 ms where somebody may use it.
#[must_use]
pub fn max_stall_ms(wanted: Option<Duration>, keys: Option<u64>) -> u64 {
    match (wanted, keys) {
        (Some(most), _) => u64::try_from(most.as_millis()).unwrap_or(u64::MAX),
        (None, Some(0)) => 500,
        (None, _) => 50,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_destination_takes_is_learned_by_type() {
        let pauses = Pauses::default();
        let set = Heavy {
            nth: 0,
            first_us: 20_000,
        };
        let hash = Heavy { nth: 1, ..set };
        assert_eq!(pauses.expected_ms(set), 20);
        pauses.learn(set, Duration::from_millis(60));
        assert_eq!(
            (pauses.expected_ms(set), pauses.expected_ms(hash)),
            (60, 20)
        );
        pauses.learn(set, Duration::from_millis(20));
        assert_eq!(pauses.expected_ms(set), 40);
        // One that was asleep meanwhile is not believed.
        pauses.learn(hash, Duration::from_secs(3600));
        assert_eq!(pauses.expected_ms(hash), 200);
        let wanted = (0..100).filter(|_| pauses.wants(set)).count();
        assert_eq!(wanted, 4 + 6);
        let small = Heavy {
            first_us: 100,
            ..set
        };
        assert!(!pauses.wants(small));
        pauses.are_hidden();
        assert!((0..100).all(|_| !pauses.wants(hash)));
    }
}
