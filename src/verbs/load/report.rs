//! What became of a load.

use std::path::PathBuf;
use std::time::Duration;

use super::{FunctionReport, LookedUp, ScriptReport};
use crate::error::{Error, ErrorKind};
use crate::outcome::Tally;
use crate::value::commands::LossCounts;

/// What was read back ([`Options::verify`](super::Options::verify)). What differs has an outcome of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Keys that the destination holds as they were sent.
    pub same: u64,
    /// Keys that it said OK to and that cannot be compared.
    pub not_comparable: u64,
}

/// What became of a load.
#[derive(Debug)]
pub struct Report {
    /// Entries that the scanner read.
    pub entries: u64,
    /// Their outcomes.
    pub tally: Tally,
    /// What restored keys lost on their way: bookkeeping, and meaning that was allowed to be lost.
    pub losses: LossCounts,
    /// What this run read back, where that was wanted.
    pub verified: Option<Verified>,
    /// Function libraries.
    pub functions: FunctionReport,
    /// Cached Lua scripts.
    pub scripts: ScriptReport,
    /// Keys that the destination evicted during the load; `None` where it hides that.
    pub evicted: Option<u64>,
    /// From the first question to the last reply of this run.
    pub elapsed: Duration,
    /// The same of all runs that worked on it.
    pub all_runs: Duration,
    /// Runs that worked on it, this one among them.
    pub runs: u32,
    /// How often it had to wait for the destination.
    pub pauses: u64,
    /// The longest time in which nothing was sent, because the destination could not take it or its replicas were behind.
    pub longest_stall: Duration,
    /// How far its replicas were behind at the most, bytes; `None` where none was seen.
    pub largest_lag: Option<u64>,
    /// What was looked up of the keys that an earlier run restored, if it restored any.
    pub looked_up: Option<LookedUp>,
    /// How many keys the destination holds, where these are fewer than must be there of those that were restored.
    pub shrunk_to: Option<u64>,
    /// Entries that a failover or restart of the destination cannot lose, as far as it tells.
    pub settled: u64,
    /// Shards of the destination: 1 where it is no cluster.
    pub shards: usize,
    /// The destination's clock less ours, milliseconds: of several shards that of the one that is the furthest ahead; `None`
    /// where it does not tell.
    pub clock_ahead_ms: Option<i64>,
    /// How often the nodes of a cluster answered `MOVED`, and `ASK`.
    pub redirected: (u64, u64),
    /// Its journal.
    pub journal: Option<PathBuf>,
    /// Why it ended early, if it did.
    pub stopped: Option<Error>,
    /// It ended at a key, as [`OnConflict::Abort`](super::OnConflict::Abort) or [`Options::fail_fast`](super::Options::fail_fast) says: a finding, not a fault of the destination.
    pub aborted: bool,
}

impl Report {
    /// Whether every entry that was read has exactly one outcome.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.tally.total() == self.entries
    }

    /// Whether everything that was wanted was done.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.adds_up()
            && self.stopped.is_none()
            && !self.tally.has_findings()
            && self.verified.unwrap_or_default().not_comparable == 0
            && self.functions.failed.is_empty()
            && self.functions.refused == 0
            && self.scripts.failed == 0
            && self.evicted.unwrap_or(0) == 0
            && self.shrunk_to.is_none()
            && self.looked_up.is_none_or(|looked_up| looked_up.asked > 0)
    }
}

/// The reason of an early end, with what was done and how to go on.
#[cold]
pub(super) fn told(error: Error, acknowledged: u64, journal: bool) -> Error {
    const SKIP: &str =
        "load again with --on-conflict skip, which leaves alone what is there, to go on";
    let go_on = if journal {
        "the same command goes on"
    } else {
        SKIP
    };
    match error.kind() {
        ErrorKind::Interrupted => Error::new(
            ErrorKind::Interrupted,
            format!(
                "interrupted: the destination has acknowledged {}",
                crate::units::keys(acknowledged)
            ),
        )
        .with_hint(go_on),
        ErrorKind::Destination if error.hint().is_none() => error.with_hint(format!(
            "{} acknowledged; {go_on}",
            crate::units::keys(acknowledged)
        )),
        _ => error,
    }
}
