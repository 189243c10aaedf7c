//! What a load has done so far, kept where it survives the process: so that the same command goes on.
//!
//! Every entry of a run has a *position*: its number over all inputs in order. The journal knows three marks of them:
//!
//! - **sent**: nothing at or behind it has been given to a connection. It is moved, durably, *before* anything is sent
//!   behind the old one; so after a crash everything below it that is not finished is uncertain, and nothing above it is.
//! - **acknowledged** ([`Progress`]): the finished positions with the outcomes they had, in one piece, so that counters
//!   never tell of other entries than the ranges do.
//! - **settled**: an earlier state of the acknowledged, which the destination has on a replica or on its disk. After a
//!   failover only this counts; what was acknowledged later is uncertain again.
//!
//! [`Ranges`] is the set of positions, [`Record`] what the file says, [`JournalFile`] the file: replaced atomically,
//! checksummed, locked against a second run.

mod file;
mod ledger;
mod lifetimes;
mod ranges;
mod record;
mod recorder;

pub use file::JournalFile;
pub use ledger::{Ledger, Miss};
pub use lifetimes::Lifetimes;
pub use ranges::Ranges;
pub use record::{Counted, InputId, Phase, Progress, Record};
pub use recorder::{Cover, Recorder};
