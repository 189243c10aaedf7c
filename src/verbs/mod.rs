//! What can be done with a dump. Each verb is a function over a [`crate::snapshot::Snapshot`] that returns what it found as
//! data; none prints, and none knows another.

pub mod export;
pub mod load;

use crate::error::Result;

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Bytes from the start of the input.
    pub offset: u64,
    /// Entries read so far.
    pub entries: u64,
}

/// Called now and then (about once in a megabyte of input). An error ends the run: that is how it is interrupted.
pub type Watch<'a> = dyn FnMut(Position) -> Result<()> + 'a;

/// Bytes between two calls of a [`Watch`].
const WATCH_EVERY: u64 = 1 << 20;

/// Decides when a [`Watch`] is due.
#[derive(Debug, Default)]
struct Ticker {
    next: u64,
}

impl Ticker {
    #[inline]
    fn tick(&mut self, watch: &mut Watch<'_>, offset: u64, entries: u64) -> Result<()> {
        if offset < self.next {
            return Ok(());
        }
        self.next = offset.saturating_add(WATCH_EVERY);
        watch(Position { offset, entries })
    }
}
