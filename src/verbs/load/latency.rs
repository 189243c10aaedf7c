//! What the destination's other clients feel: a `PING` on a connection of its own, less the shortest time that one ever took.
//! Where that grows too long the window shrinks by half, where not it widens a little.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Watcher;
use super::links::Links;
use super::shards::Shards;
use super::stop::Stop;
use crate::error::{Error, Result};
use crate::pace::Pace;
use crate::resp::Arg;

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

/// What was said of it, once for a load.
#[derive(Debug, Default)]
pub(super) struct Said(AtomicBool);

/// What measuring needs to know.
pub(super) struct Run<'run> {
    pub(super) shards: &'run Shards,
    pub(super) allowed: Duration,
    pub(super) pace: &'run Pace,
    pub(super) stop: &'run Stop,
    pub(super) done: &'run AtomicBool,
    pub(super) watcher: &'run dyn Watcher,
    pub(super) said: &'run Said,
}

/// Measures and adjusts until the pass is done; without connections of its own the window stays small, which is said. In a
/// cluster the slowest shard counts.
pub(super) fn run(run: &Run<'_>) {
    let mut window = START;
    run.pace.bound(window);
    let mut links = Links::to(run.shards);
    // Of each shard, the shortest time that an answer took.
    let mut shortest = vec![Duration::MAX; run.shards.list().len()];
    let is_over = || run.done.load(Ordering::Acquire) || run.stop.is_set();
    while !is_over() {
        if links.may_ask() {
            window = match longest(&mut links, &mut shortest) {
                Ok(delay) => {
                    links.answered();
                    next(window, delay, run.allowed)
                }
                Err(error) => {
                    // What is lost is opened anew at once: only where that fails it is worth a word.
                    if links.failed().0 > 1 && !is_over() {
                        say_blind(run, &error);
                    }
                    START
                }
            };
            run.pace.bound(window);
        }
        std::thread::sleep(EVERY);
    }
}

/// How much longer than its shortest time an answer takes now, of the slowest shard.
fn longest(links: &mut Links<'_>, shortest: &mut [Duration]) -> Result<Duration> {
    let mut longest = Duration::ZERO;
    for (link, shortest) in links.each().iter_mut().zip(shortest) {
        let connection = link.open()?;
        let asked = Instant::now();
        connection.request(&[Arg::from("PING")])?;
        let took = asked.elapsed();
        *shortest = took.min(*shortest);
        longest = longest.max(took.saturating_sub(*shortest));
    }
    Ok(longest)
}

fn say_blind(run: &Run<'_>, error: &Error) {
    if !run.said.0.swap(true, Ordering::Relaxed) {
        run.watcher.note(&format!(
            "what other clients wait for cannot be measured now: no more than {START} commands are under way until it can ({}; --max-latency)",
            error.what()
        ));
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
