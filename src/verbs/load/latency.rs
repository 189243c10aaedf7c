//! What the destination's other clients feel: a `PING` on a connection of its own, less the shortest time that one ever took.
//! Where that grows too long the window shrinks by half, where not it widens a little.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::shards::{Shard, Shards};
use super::stop::Stop;
use crate::error::Result;
use crate::pace::Pace;
use crate::resp::{Arg, Connection};

/// Between two questions.
const EVERY: Duration = Duration::from_millis(20);

/// Commands under way at the start, by how many more they become, and at the most.
const START: usize = 16;
const MORE: usize = 8;
const MOST: usize = 32 * 1024;

/// Additive increase, multiplicative decrease.
fn next(window: usize, delay: Duration, allowed: Duration) -> usize {
    match delay > allowed {
        true => (window / 2).max(1),
        false => window.saturating_add(MORE).min(MOST),
    }
}

/// A shard, the connection to it once there is one, and the shortest time that an answer took.
struct Asked<'run> {
    shard: &'run Shard,
    connection: Option<Connection>,
    shortest: Duration,
}

impl Asked<'_> {
    /// How much longer than the shortest time an answer takes now.
    fn delay(&mut self) -> Result<Duration> {
        let open = match &mut self.connection {
            Some(open) => open,
            None => self.connection.insert(self.shard.connector.connect()?),
        };
        let asked = Instant::now();
        open.request(&[Arg::from("PING")])?;
        let took = asked.elapsed();
        self.shortest = self.shortest.min(took);
        Ok(took.saturating_sub(self.shortest))
    }
}

/// Measures and adjusts until the pass is done; without connections of its own the window stays small. In a cluster the
/// slowest shard counts.
pub(super) fn run(shards: &Shards, allowed: Duration, pace: &Pace, stop: &Stop, done: &AtomicBool) {
    let mut window = START;
    pace.bound(window);
    let mut asked: Vec<Asked<'_>> = shards
        .list()
        .iter()
        .map(|shard| Asked {
            shard,
            connection: None,
            shortest: Duration::MAX,
        })
        .collect();
    while !done.load(Ordering::Acquire) && !stop.is_set() {
        let delays = asked.iter_mut().map(Asked::delay);
        let longest = delays
            .into_iter()
            .try_fold(Duration::ZERO, |longest, delay| {
                delay.map(|delay| longest.max(delay))
            });
        window = match longest {
            Ok(delay) => next(window, delay, allowed),
            Err(_) => {
                for shard in &mut asked {
                    shard.connection = None;
                }
                START
            }
        };
        pace.bound(window);
        std::thread::sleep(EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_halves_under_delay_and_grows_slowly_without() {
        let (short, long) = (Duration::from_millis(1), Duration::from_millis(9));
        let allowed = Duration::from_millis(5);
        assert_eq!(next(100, long, allowed), 50);
        assert_eq!(next(1, long, allowed), 1);
        assert_eq!(next(100, short, allowed), 108);
        assert_eq!(next(MOST, short, allowed), MOST);
    }
}
