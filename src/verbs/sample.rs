//! A part of the keys, drawn at random, and what it says of all of them.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};

/// Which entries are drawn.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    seed: RandomState,
    /// Entries whose number falls below are drawn.
    below: u64,
}

impl Sample {
    /// Draws each entry with this probability, `0.0..=1.0`.
    pub(super) fn new(share: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of all numbers of 64 bits; the cast saturates"
        )]
        let below = (share.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
        Self {
            seed: RandomState::new(),
            below,
        }
    }

    /// Whether an entry is drawn: the same answer in every round.
    pub(super) fn has(&self, input: u32, ordinal: u64) -> bool {
        let mut hasher = self.seed.build_hasher();
        hasher.write_u32(input);
        hasher.write_u64(ordinal);
        hasher.finish() <= self.below
    }
}

/// How many of `all` keys differ at most, with 95 % confidence, where `differing` of `compared` ones did that were drawn at
/// random.
///
/// The number of differing keys in a sample is taken as Poisson distributed, which gives more than the exact (binomial)
/// distribution and so errs on the side of doubt: none among *n* means at most 3 in *n* ("rule of three").
#[must_use]
pub fn most_that_differ(all: u64, compared: u64, differing: u64) -> u64 {
    if compared == 0 {
        return all;
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate; the cast saturates"
    )]
    let estimate = (poisson_limit(differing) / compared as f64 * all as f64).ceil() as u64;
    // What was compared and did not differ is not among them.
    estimate.min(all.saturating_sub(compared.saturating_sub(differing)))
}

/// The mean at which so few events, or fewer, have a probability of 5 %.
fn poisson_limit(events: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let k = events as f64;
    if events > 500 {
        // The sum below begins with a number that a double cannot hold any more.
        return k + 1.645 * k.sqrt() + 2.0;
    }
    let at_most = |mean: f64| {
        let (mut term, mut sum) = ((-mean).exp(), 0.0);
        let mut i = 0.0;
        loop {
            sum += term;
            i += 1.0;
            if i > k {
                return sum;
            }
            term *= mean / i;
        }
    };
    let (mut low, mut high) = (k, k + 10.0 + 4.0 * k.sqrt());
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(middle) > 0.05 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_those_of_the_tables() {
        // Upper 95 % limits of a Poisson mean.
        for (events, limit) in [
            (0, 2.996),
            (1, 4.744),
            (2, 6.296),
            (10, 16.962),
            (50, 63.287),
        ] {
            assert!((poisson_limit(events) - limit).abs() < 0.01, "{events}");
        }
        let (near, far) = (poisson_limit(500), poisson_limit(501));
        assert!(near < far && far < near + 5.0, "{near} {far}");
    }

    #[test]
    fn a_sample_bounds_all_keys() {
        assert_eq!(most_that_differ(1_000_000, 10_000, 0), 300);
        assert_eq!(most_that_differ(100, 100, 0), 0);
        assert_eq!(most_that_differ(100, 100, 7), 7);
        assert_eq!(most_that_differ(100, 0, 0), 100);
    }

    #[test]
    fn about_the_share_is_drawn() {
        for (share, least, most) in [(0.0, 0, 1), (0.1, 800, 1200), (1.0, 10_000, 10_000)] {
            let sample = Sample::new(share);
            let drawn = (0..10_000).filter(|n| sample.has(1, *n)).count();
            assert!((least..=most).contains(&drawn), "{share}: {drawn}");
            assert!((0..100).all(|n| sample.has(0, n) == sample.has(0, n)));
        }
    }
}
