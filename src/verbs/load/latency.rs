//! What the destination's other clients feel: a `PING` on a connection of its own, less the shortest time that one ever took.
//! Where that grows too long the window shrinks by half, where not it widens a little.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::stop::Stop;
use crate::error::Result;
use crate::pace::Pace;
use crate::resp::{Arg, Connection, Connector};

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

/// Measures and adjusts until the pass is done; without a connection of its own the window stays small.
pub(super) fn run(
    connector: &Connector,
    allowed: Duration,
    pace: &Pace,
    stop: &Stop,
    done: &AtomicBool,
) {
    let mut window = START;
    pace.bound(window);
    let mut shortest = Duration::MAX;
    let mut connection: Option<Connection> = None;
    while !done.load(Ordering::Acquire) && !stop.is_set() {
        match ask(connector, &mut connection) {
            Ok(took) => {
                shortest = shortest.min(took);
                window = next(window, took.saturating_sub(shortest), allowed);
            }
            Err(_) => {
                connection = None;
                window = START;
            }
        }
        pace.bound(window);
        std::thread::sleep(EVERY);
    }
}

fn ask(connector: &Connector, connection: &mut Option<Connection>) -> Result<Duration> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(connector.connect()?),
    };
    let asked = Instant::now();
    open.request(&[Arg::from("PING")])?;
    Ok(asked.elapsed())
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
