//! What can be done with a dump. Each verb is a function over a [`crate::snapshot::Snapshot`] that returns what it found as
//! data; none prints, and none knows another.

pub mod check;
pub mod compare;
mod ending;
pub mod export;
pub mod get;
pub mod info;
pub mod keys;
pub mod load;
mod name;
mod ordered;
mod patience;
pub mod plan;
mod queue;
mod sample;
pub mod shard_dumps;
mod topology;
mod walk;

pub use ending::Ending;
pub use walk::Trust;

use crate::error::{Error, ErrorKind, Result};
use crate::input::Tail;

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

/// What stands behind the end of a file, in words that follow "so many bytes behind the end: ".
#[must_use]
pub fn tail_words(tail: Tail) -> &'static str {
    match tail {
        Tail::None => "nothing",
        Tail::Commands => "commands of an append-only file, which are newer than the dump",
        Tail::EofMark {
            commands_follow: false,
        } => "the end mark of a diskless transfer",
        Tail::EofMark {
            commands_follow: true,
        } => "the end mark of a diskless transfer, and commands that are newer than the dump",
        Tail::AnotherDump => "another RDB file, which no server reads",
        Tail::Zeros => "zero bytes",
        _ => "garbage",
    }
}

/// What servers do with what stands behind the end.
#[must_use]
pub fn tail_fate(tail: Tail) -> &'static str {
    match tail.holds_writes() {
        true => {
            "a server that takes the file for its append-only file replays them, one that takes it for a dump does not read them"
        }
        false => "servers ignore them",
    }
}

/// Whether this is what the reader says of a checksum that does not fit.
pub(crate) fn is_wrong_checksum(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt && error.what().starts_with("wrong checksum")
}

/// The same as a stable name for machines.
#[must_use]
pub fn tail_name(tail: Tail) -> &'static str {
    match tail {
        Tail::None => "none",
        Tail::Commands => "commands",
        Tail::EofMark {
            commands_follow: false,
        } => "eof-mark",
        Tail::EofMark {
            commands_follow: true,
        } => "eof-mark-and-commands",
        Tail::AnotherDump => "another-dump",
        Tail::Zeros => "zeros",
        _ => "garbage",
    }
}
