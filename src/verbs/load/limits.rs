//! What the destination takes in one command, where it does not say: learned from what it refuses.
//!
//! `proto-max-bulk-len` may be hidden, and what stands before a service may take less of it. It says so, or closes the connection
//! (as a server does over its `client-query-buffer-limit`). Half of what was refused is the limit from then on, for the rest of
//! the run: what is larger goes by plain commands, or is refused by name.

use std::sync::{Mutex, PoisonError};

/// Smaller commands are not closed upon for their size.
const LARGE: u64 = 512 * 1024;

/// A limit below this is none that anything could be loaded with.
const LEAST: u64 = 16 * 1024;

/// What was refused for its size in a pass, and the passes before.
#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// The size of the smallest value that was refused since the last look.
    refused: Option<u64>,
    /// The first value, at this position, that had no answer when a connection was closed.
    unanswered: Option<u64>,
}

impl Limits {
    /// The destination's words were that a command with a value of so many bytes is too large. Gives whether going on makes
    /// sense.
    pub(super) fn refused(&self, bytes: u64) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.refuse(bytes)
    }

    /// The connection was closed before the value at `position` was answered, though all before it were. A network ends anywhere;
    /// whoever ends at the same large value twice means it.
    pub(super) fn closed_upon(&self, position: u64, bytes: u64) {
        if bytes < LARGE {
            return;
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.unanswered.replace(position) == Some(position) {
            seen.refuse(bytes);
        }
    }

    /// The limit that was learned since the last look, bytes.
    pub(super) fn learned(&self) -> Option<u64> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.refused.take().map(|bytes| bytes / 2)
    }
}

impl Seen {
    fn refuse(&mut self, bytes: u64) -> bool {
        let makes_sense = bytes / 2 >= LEAST;
        if makes_sense {
            self.refused = Some(self.refused.map_or(bytes, |before| before.min(bytes)));
        }
        makes_sense
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_halves_and_what_is_closed_upon_twice() {
        let limits = Limits::default();
        assert_eq!(limits.learned(), None);
        assert!(limits.refused(100 << 20) && limits.refused(80 << 20));
        assert!(limits.refused(90 << 20));
        assert_eq!(limits.learned(), Some(40 << 20));
        assert_eq!(limits.learned(), None, "once");
        // No value could go under such a limit.
        assert!(!limits.refused(30_000));
        assert_eq!(limits.learned(), None);

        limits.closed_upon(7, 10 << 20);
        limits.closed_upon(8, 10 << 20);
        limits.closed_upon(7, 10 << 20);
        assert_eq!(limits.learned(), None, "never twice at one in a row");
        limits.closed_upon(7, 10 << 20);
        assert_eq!(limits.learned(), Some(5 << 20));
        limits.closed_upon(9, 100);
        limits.closed_upon(9, 100);
        assert_eq!(limits.learned(), None, "a small one is no reason");
    }
}
