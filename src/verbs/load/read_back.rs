//! Values at the destination that are read while a load runs: those of keys that existed, under [`OnConflict::Same`], and
//! under [`Options::verify`] those that were just stored.
//!
//! They wait until a good number has come together: then everything under way is answered, a mark has proven which answer was
//! whose, and they are asked for in one go on the connection that wrote them.
//!
//! [`OnConflict::Same`]: super::OnConflict::Same
//! [`Options::verify`]: super::Options::verify

use super::pacing;
use super::worker::{Replies, Shared, Ticket};
use crate::error::{Error, ErrorKind, Result};
use crate::meaning::{Bench, Comparer, Expiry, Verdict, Wanted};
use crate::outcome::Outcome;
use crate::pace::Pace;
use crate::replay::Step;
use crate::resp::Pipeline;
use crate::snapshot::Entry;

/// So many keys are looked at together, and so many where the destination is not to be worked hard.
const MANY: usize = 4096;
const FEW: usize = 256;

/// Whether enough keys wait for it.
#[inline]
pub(super) fn is_due(waiting: usize, pace: &Pace) -> bool {
    waiting >= FEW && (waiting >= MANY || pace.is_gentle())
}

/// A key whose value at the destination is to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ToRead {
    pub(super) ticket: Ticket,
    /// The destination said OK; else it said that it has the key.
    pub(super) stored: bool,
}

impl ToRead {
    pub(super) fn stored(ticket: &Ticket) -> Self {
        Self {
            ticket: *ticket,
            stored: true,
        }
    }

    pub(super) fn existed(ticket: &Ticket) -> Self {
        Self {
            ticket: *ticket,
            stored: false,
        }
    }
}

/// Reads the values of all keys that wait for it. Those that had existed and are gone are given back: to be sent once more.
///
/// # Errors
/// The connection fails: then all of them go on waiting, and the next pass looks at them.
pub(super) fn look<'data>(
    shared: &Shared<'_, 'data>,
    pipeline: &mut Pipeline<Ticket>,
    replies: &mut Replies<'_, 'data>,
) -> Result<Vec<(Entry<'data>, Step)>> {
    let Some(abilities) = shared.abilities else {
        return Err(Error::new(
            ErrorKind::Destination,
            "what the destination holds cannot be asked",
        ));
    };
    let (keys, bytes) = (replies.to_read.len() as u64, replies.to_read.iter());
    let bytes = bytes.fold(0u64, |sum, waiting| {
        sum.saturating_add(waiting.ticket.bytes)
    });
    pacing::wait_to_read(shared, keys, bytes, pipeline, replies)?;
    let connection = pipeline.idle_connection(replies)?;
    let mut bench = Bench::new(shared.spool_dir).arriving(&shared.policies.transform);
    let mut verdicts = Vec::with_capacity(replies.to_read.len());
    let mut comparer = Comparer::new(connection, abilities, &mut bench)?;
    let mut judged = |wanted: Wanted<'data>, waiting: ToRead, verdict: Verdict| {
        verdicts.push((wanted.entry, waiting, verdict));
        Ok(())
    };
    for waiting in &replies.to_read {
        let ticket = &waiting.ticket;
        let wanted = Wanted {
            entry: shared.snapshot.entry_at(&ticket.place)?,
            db: shared.policies.db_map.get(ticket.place.db),
            expiry: match ticket.expire_at_ms {
                i64::MAX => Expiry::Never,
                at => Expiry::At(at),
            },
        };
        comparer.push(wanted, *waiting, &mut judged)?;
    }
    comparer.drain(&mut judged)?;
    drop(comparer);
    replies.to_read.clear();
    let (mut gone, mut same, mut not_comparable) = (Vec::new(), 0u64, 0u64);
    for (entry, waiting, verdict) in verdicts {
        let ToRead { ticket, stored } = waiting;
        let restored = Outcome::Restored(ticket.step.road());
        match (stored, verdict) {
            (true, Verdict::Same | Verdict::SameBut(_)) => {
                same = same.saturating_add(1);
                replies.read(&ticket, restored, "", false);
            }
            (true, Verdict::Different(found)) => {
                replies.read(
                    &ticket,
                    Outcome::ReadBackDifferent,
                    &found.to_string(),
                    false,
                );
            }
            (true, Verdict::Missing) => {
                let words = "the destination said OK, and does not have it any more";
                replies.read(&ticket, Outcome::ReadBackDifferent, words, false);
            }
            (true, Verdict::NotComparable(reason)) => {
                not_comparable = not_comparable.saturating_add(1);
                let words = format!("read back, and cannot be compared: {reason}");
                replies.read(&ticket, restored, &words, true);
            }
            (false, Verdict::Same | Verdict::SameBut(_)) => {
                replies.read(&ticket, Outcome::AlreadyThere, "", false);
            }
            (false, Verdict::Different(found)) => {
                let words = format!("the destination has this key, and it differs: {found}");
                replies.read(&ticket, Outcome::Conflict, &words, false);
            }
            (false, Verdict::Missing) => gone.push((entry, ticket.step)),
            (false, Verdict::NotComparable(reason)) => {
                let words =
                    format!("the destination has this key, and it cannot be compared: {reason}");
                replies.read(&ticket, Outcome::Conflict, &words, false);
            }
            (_, Verdict::Expired) => replies.read(&ticket, Outcome::ExpiredOnArrival, "", false),
        }
    }
    if let Ok(mut verified) = shared.verified.lock() {
        verified.same = verified.same.saturating_add(same);
        verified.not_comparable = verified.not_comparable.saturating_add(not_comparable);
    }
    Ok(gone)
}
