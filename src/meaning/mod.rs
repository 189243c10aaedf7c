//! Whether the destination holds under a key what an entry of a dump means. L4a; asks, never writes.
//!
//! # What is compared
//! *Meaning*: type, value, expiry, expiries of fields, and of streams the entries, last ID, groups, consumers and who owes
//! which pending entry, delivered how often. *Bookkeeping* (entries ever added, largest deleted ID, entries read, times at
//! which consumers were seen and entries delivered) is told apart: [`Verdict::SameBut`]. Encodings mean nothing. Scores are
//! compared as numbers to the last bit, except that −0 is 0.
//!
//! # How
//! Strings by `GET`, long ones by ranges; other values of up to [`SMALL`] bytes by `DUMP`, whose bytes are
//! the file's own in most cases, and are decoded otherwise. Larger values, those that look different, and all where `DUMP`
//! is closed to us, are read by type: equal cardinality, and batches of `SMISMEMBER`, `HMGET`, `ZMSCORE` (their singular
//! forms where the server is older) for the elements that the file has; lists and streams by ranges. Where everything that
//! the file has is there, and there is not more, nothing else can be there.
//!
//! Many keys are asked for in one round trip. What is under way is bounded by the bytes of the replies that the *file* lets
//! us expect; what really comes, of any size, is taken in flat memory.
//!
//! [`digest`] makes one number of what many keys mean.
//!
//! # Use
//! [`Abilities::ask`] once, [`no_touch`] on each connection, then [`Comparer::push`] for many entries or [`compare_one`] for
//! one. A connection that fails gives back what was not answered ([`Comparer::into_unanswered`]): asking again harms nobody.
#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

mod abilities;
mod alike;
mod alone;
mod bytes;
mod comparer;
pub mod digest;
mod dump;
mod found;
mod replies;
mod stream;
mod stream_owners;
mod typed;
mod walk;

pub use abilities::{Abilities, no_touch};
pub use comparer::{Bench, Comparer, SMALL, compare_one};
pub use found::{Difference, Differences, Spot, What};

use std::time::{SystemTime, UNIX_EPOCH};

use crate::snapshot::Entry;

/// An entry, and under which circumstances it should have arrived.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'data> {
    /// The entry.
    pub entry: Entry<'data>,
    /// The destination's database.
    pub db: u64,
    /// The expiry that it should have there.
    pub expiry: Expiry,
}

/// The expiry that a key should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// None.
    Never,
    /// This one, milliseconds of Unix time.
    At(i64),
    /// Some expiry, not later than this: it was counted from an instant that is not known.
    Until(i64),
}

/// What came out of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The destination holds the same.
    Same,
    /// The same meaning; these parts of the bookkeeping differ.
    SameBut(Bookkeeping),
    /// There is no such key.
    Missing,
    /// There is no such key, and its time has come.
    Expired,
    /// The key is there, and means something else.
    Different(Differences),
    /// Nothing is known, for this reason.
    NotComparable(String),
}

impl Verdict {
    /// Whether the destination holds the same meaning.
    #[must_use]
    pub fn is_same(&self) -> bool {
        matches!(self, Verdict::Same | Verdict::SameBut(_))
    }
}

/// Parts of a value that carry no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bookkeeping(u8);

impl Bookkeeping {
    /// Entries ever added to a stream.
    pub const ENTRIES_ADDED: Self = Self(1);
    /// The largest ID that was deleted from a stream.
    pub const MAX_DELETED: Self = Self(2);
    /// Entries that a group has read.
    pub const ENTRIES_READ: Self = Self(4);
    /// When consumers were heard of.
    pub const SEEN_TIMES: Self = Self(8);
    /// When pending entries were delivered.
    pub const DELIVERY_TIMES: Self = Self(16);
    /// Settings and counters of idempotency records where there are no records.
    pub const IDEMPOTENCY: Self = Self(32);
    /// Which elements of a vector set are linked as neighbours.
    pub const VECTOR_LINKS: Self = Self(64);

    const ALL: [(Self, &'static str); 7] = [
        (Self::ENTRIES_ADDED, "entries-added"),
        (Self::MAX_DELETED, "max-deleted-id"),
        (Self::ENTRIES_READ, "entries-read"),
        (Self::SEEN_TIMES, "consumer-times"),
        (Self::DELIVERY_TIMES, "delivery-times"),
        (Self::IDEMPOTENCY, "idempotency-settings"),
        (Self::VECTOR_LINKS, "vector-links"),
    ];

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of what differs.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::ALL
            .into_iter()
            .filter(move |(part, _)| self.0 & part.0 != 0)
            .map(|(_, name)| name)
    }

    fn note(&mut self, part: Self, differs: bool) {
        if differs {
            self.0 |= part.0;
        }
    }
}

/// Milliseconds of Unix time: for what depends on the moment of reading, not for a run's instant.
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
