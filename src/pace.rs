//! How fast a destination may be worked on: rates over all connections, a hold, and a bound of what is under way. L0.
//!
//! Rates are kept by debt: what is sent is booked, time pays it off, and who finds a debt waits before more is sent. So a
//! single value of any size goes, and the pause behind it is as long as it is large.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The most in one second, over all connections. `None`: no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Keys.
    pub keys: Option<u64>,
    /// Bytes of keys and values, as they stand in the file.
    pub bytes: Option<u64>,
    /// Commands.
    pub commands: Option<u64>,
}

/// What one step costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Keys.
    pub keys: u64,
    /// Bytes.
    pub bytes: u64,
    /// Commands.
    pub commands: u64,
}

/// A smaller debt is not worth a pause: waking up costs more.
const WORTH: Duration = Duration::from_millis(50);

/// So much time that was not used is kept: a pause of ours, or of the network, is made good by a little more speed.
const CREDIT: f64 = 0.25;

/// One rate.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    /// Seconds of work that were sent too early, and when that was so; negative where there is credit.
    debt: Mutex<(f64, Instant)>,
}

impl Bucket {
    fn new(per_second: u64) -> Self {
        Self {
            per_second: per_second.max(1) as f64,
            debt: Mutex::new((0.0, Instant::now())),
        }
    }

    fn book(&self, amount: u64, now: Instant) -> Duration {
        let Ok(mut debt) = self.debt.lock() else {
            return Duration::ZERO;
        };
        let paid = now.saturating_duration_since(debt.1).as_secs_f64();
        let left = (debt.0 - paid).max(-CREDIT) + amount as f64 / self.per_second;
        *debt = (left, now);
        Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(Duration::from_secs(86_400))
    }
}

/// The speed of one run, shared by its connections.
#[derive(Debug, Default)]
pub struct Pace {
    keys: Option<Bucket>,
    bytes: Option<Bucket>,
    commands: Option<Bucket>,
    held: AtomicBool,
    /// Commands that may be under way; 0 where there is no bound.
    window: AtomicUsize,
}

impl Pace {
    /// Begins without debts.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self {
            keys: rates.keys.map(Bucket::new),
            bytes: rates.bytes.map(Bucket::new),
            commands: rates.commands.map(Bucket::new),
            held: AtomicBool::new(false),
            window: AtomicUsize::new(0),
        }
    }

    /// Books a step, and says how long to wait before the next one, where that is worth a pause.
    #[inline]
    pub fn book(&self, cost: Cost) -> Option<Duration> {
        if self.keys.is_none() && self.bytes.is_none() && self.commands.is_none() {
            return None;
        }
        let now = Instant::now();
        [
            (&self.keys, cost.keys),
            (&self.bytes, cost.bytes),
            (&self.commands, cost.commands),
        ]
        .into_iter()
        .filter_map(|(bucket, amount)| Some(bucket.as_ref()?.book(amount, now)))
        .max()
        .filter(|debt| *debt >= WORTH)
    }

    /// Whether there is any bound: then much at once is to be avoided.
    #[must_use]
    pub fn is_gentle(&self) -> bool {
        self.keys.is_some()
            || self.bytes.is_some()
            || self.commands.is_some()
            || self.window().is_some()
    }

    /// Nothing is to be sent until this is taken back.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Release);
    }

    /// Whether nothing is to be sent now.
    #[inline]
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Bounds the commands under way on a connection.
    pub fn bound(&self, commands: usize) {
        self.window.store(commands, Ordering::Relaxed);
    }

    /// That bound, if there is one.
    #[inline]
    #[must_use]
    pub fn window(&self) -> Option<usize> {
        match self.window.load(Ordering::Relaxed) {
            0 => None,
            commands => Some(commands),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debts_are_paid_by_time_and_credit_is_bounded() {
        let bucket = Bucket::new(1000);
        let begin = bucket.debt.lock().unwrap().1;
        let after = |ms: u64| begin + Duration::from_millis(ms);
        let ms = |debt: Duration| debt.as_micros() / 1000;
        assert_eq!(ms(bucket.book(100, after(0))), 100);
        assert_eq!(ms(bucket.book(100, after(50))), 150);
        // A second of nothing is worth a quarter of one.
        assert_eq!(ms(bucket.book(0, after(2000))), 0);
        assert_eq!(ms(bucket.book(300, after(2000))), 50);
    }

    #[test]
    fn the_tightest_rate_counts() {
        let pace = Pace::new(Rates {
            keys: Some(1000),
            bytes: Some(100),
            commands: None,
        });
        let cost = |bytes| Cost {
            keys: 1,
            bytes,
            commands: 1,
        };
        assert_eq!(pace.book(cost(1)), None, "not worth a pause");
        assert!(pace.book(cost(200)).unwrap() > Duration::from_secs(1));
        assert_eq!(Pace::new(Rates::default()).book(cost(u64::MAX)), None);
        assert!(pace.book(cost(u64::MAX)).unwrap() >= Duration::from_secs(86_400));
    }
}
