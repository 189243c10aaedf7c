//! Waiting for another thread without going to sleep at once.
//!
//! A thread that sleeps must be woken, and on a virtual machine so must its core: that takes about as long as a batch takes to
//! be made. With three threads on two cores a fifth of the cores' time went so. To look again instead, and to give way to the
//! others in between, costs nothing as long as the others are our own threads. Where other processes want the cores, too, they
//! get them for a whole slice of the scheduler's time each time we give way (measured: 2.4 times the wall time), so then it is
//! slept, and tried again only now and then.

use std::thread;
use std::time::{Duration, Instant};

/// Looks before the thread goes to sleep.
const LOOKS: u32 = 30;

/// Our own threads have less work than this waiting for them; a slice of the scheduler's is longer.
const CROWDED: Duration = Duration::from_micros(1500);

/// Waits that are slept through where the cores are wanted by others, at first; each time that is seen again, twice as many.
const SLEEPS: u32 = 64;

/// How one thread waits.
#[derive(Debug)]
pub(super) struct Patience {
    /// So many waits are slept through.
    sleeps: u32,
    /// So many the next time.
    next: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            sleeps: 0,
            next: SLEEPS,
        }
    }
}

impl Patience {
    /// What `look` finds, if it finds something soon.
    pub(super) fn soon<T>(&mut self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let found = look();
        if found.is_some() {
            return found;
        }
        if self.sleeps > 0 {
            self.sleeps = self.sleeps.saturating_sub(1);
            return None;
        }
        let mut before = Instant::now();
        for _ in 1..LOOKS {
            thread::yield_now();
            let found = look();
            let now = Instant::now();
            if now.duration_since(before) >= CROWDED {
                self.sleeps = self.next;
                self.next = self.next.saturating_mul(2);
                return found;
            }
            if found.is_some() {
                return found;
            }
            before = now;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_until_something_is_there_and_gives_up() {
        for there_at in 1..=3 {
            let mut looks = 0;
            let mut patience = Patience::default();
            // A crowded machine may end it early.
            let found = patience.soon(|| {
                looks += 1;
                (looks == there_at).then_some(looks)
            });
            assert!(found == Some(there_at) || patience.sleeps > 0);
        }
        assert_eq!(Patience::default().soon(|| None::<()>), None);
    }

    #[test]
    fn where_giving_way_takes_long_it_is_slept_for_a_while() {
        let mut patience = Patience::default();
        let mut looks = 0;
        let mut wait = |patience: &mut Patience| {
            looks = 0;
            let found = patience.soon(|| {
                looks += 1;
                // As if somebody else had had the core.
                if looks > 1 {
                    thread::sleep(2 * CROWDED);
                }
                None::<()>
            });
            assert_eq!(found, None);
            looks
        };
        for sleeps in [SLEEPS, 2 * SLEEPS] {
            assert_eq!(wait(&mut patience), 2);
            for _ in 0..sleeps {
                assert_eq!(wait(&mut patience), 1);
            }
        }
        assert_eq!(wait(&mut patience), 2);
    }
}
