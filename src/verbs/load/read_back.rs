//! Values at the destination that are read while a load runs: those of keys that existed, under [`OnConflict::Same`], under
//! [`Options::verify`] those that were just stored, and those of keys whose replies may have changed places
//! ([`super::interval`]).
//!
//! They wait until a good number has come together: then everything under way is answered, a mark has proven which answer was
//! whose, and they are asked for in one go on the connection that wrote them.
//!
//! [`OnConflict::Same`]: super::OnConflict::Same
//! [`Options::verify`]: super::Options::verify

use std::sync::OnceLock;

use super::interval::Said;
use super::pacing;
use super::worker::{Replies, Shared, Ticket};
use super::{EXISTS, OnConflict};
use crate::error::{Error, ErrorKind, Result};
use crate::meaning::{Abilities, Bench, Comparer, Expiry, Verdict, Wanted, no_touch};
use crate::outcome::Outcome;
use crate::replay::Step;
use crate::resp::{Connection, Pipeline};
use crate::snapshot::Entry;

/// By how much a key's expiry may differ from the file's and still be the one that was sent: before 5.0 it goes as what is
/// left of it.
const TTL_TOLERANCE_MS: i64 = 2000;

/// So many keys are looked at together, and so many where the destination is not to be worked hard.
const MANY: usize = 4096;
const FEW: usize = 256;

/// Whether enough keys wait for it, or one that may end the run.
#[inline]
pub(super) fn is_due(shared: &Shared<'_, '_>, replies: &Replies<'_, '_>) -> bool {
    let waiting = replies.to_read.len();
    waiting >= FEW && (waiting >= MANY || shared.pace.is_gentle())
        || replies.has_unplaced && shared.fail_fast
}

/// A key whose value at the destination is to be read.
#[derive(Debug)]
pub(super) struct ToRead {
    pub(super) ticket: Ticket,
    why: Why,
}

/// Why it is to be read, and what the destination said.
#[derive(Debug)]
enum Why {
    /// OK, which is to be verified.
    Stored,
    /// It has the key: is it the same?
    Existed,
    /// This, or this was said of another key.
    Unplaced(Said),
}

impl ToRead {
    pub(super) fn stored(ticket: &Ticket) -> Self {
        Self::new(ticket, Why::Stored)
    }

    pub(super) fn existed(ticket: &Ticket) -> Self {
        Self::new(ticket, Why::Existed)
    }

    pub(super) fn unplaced(ticket: &Ticket, said: Said) -> Self {
        Self::new(ticket, Why::Unplaced(said))
    }

    fn new(ticket: &Ticket, why: Why) -> Self {
        Self {
            ticket: *ticket,
            why,
        }
    }

    /// Whether this load may have stored it.
    pub(super) fn may_be_there(&self) -> bool {
        !matches!(self.why, Why::Existed)
    }
}

/// How to find out what may be asked about keys: done when the first one is to be looked at.
#[derive(Debug)]
pub(super) struct Questions {
    sample: Vec<u8>,
    clock_ahead_ms: i64,
    found: OnceLock<Abilities>,
}

impl Questions {
    pub(super) fn new(sample: Vec<u8>, clock_ahead_ms: i64) -> Self {
        Self {
            sample,
            clock_ahead_ms,
            found: OnceLock::new(),
        }
    }

    /// Asks.
    ///
    /// # Errors
    /// As [`Abilities::ask`].
    pub(super) fn ask(&self, connection: &mut Connection) -> Result<Abilities> {
        Abilities::ask(
            connection,
            &self.sample,
            self.clock_ahead_ms,
            TTL_TOLERANCE_MS,
        )
    }

    /// Whether the destination lets us look at keys at all.
    ///
    /// # Errors
    /// The connection fails.
    pub(super) fn may_look(&self, connection: &mut Connection) -> Result<bool> {
        Ok(Abilities::lacking(connection, &self.sample)?.is_none())
    }

    /// Asks, unless it is known.
    fn known(&self, connection: &mut Connection) -> Result<&Abilities> {
        // Reading is not to count as access: the keys have the idle times of the dump.
        no_touch(connection)?;
        match self.found.get() {
            Some(found) => Ok(found),
            None => {
                let found = self.ask(connection)?;
                Ok(self.found.get_or_init(|| found))
            }
        }
    }
}

/// What is known of a key after a look.
struct Seen<'data> {
    entry: Entry<'data>,
    of: usize,
    verdict: Verdict,
}

/// Reads the values of all keys that wait for it. Those that are to be sent once more are given back: they had existed and are
/// gone, or never arrived.
///
/// # Errors
/// The connection fails: then all of them go on waiting, and the next pass looks at them.
pub(super) fn look<'data>(
    shared: &Shared<'_, 'data>,
    pipeline: &mut Pipeline<Ticket>,
    replies: &mut Replies<'_, 'data>,
) -> Result<Vec<(Entry<'data>, Step)>> {
    let (keys, bytes) = (replies.to_read.len() as u64, replies.to_read.iter());
    let bytes = bytes.fold(0u64, |sum, waiting| {
        sum.saturating_add(waiting.ticket.bytes)
    });
    pacing::wait_to_read(shared, keys, bytes, pipeline, replies)?;
    let connection = pipeline.idle_connection(replies)?;
    let abilities = match shared.abilities {
        Some(abilities) => abilities,
        None => match shared.questions.known(connection) {
            Ok(abilities) => abilities,
            Err(error) if may_not_read(&error, connection) => {
                return nothing_is_known(shared, replies);
            }
            Err(error) => return Err(error),
        },
    };
    let mut bench = Bench::new(shared.spool_dir).arriving(&shared.policies.transform);
    let mut seen = Vec::with_capacity(replies.to_read.len());
    let mut comparer = Comparer::new(connection, abilities, &mut bench)?;
    let mut judged = |wanted: Wanted<'data>, of: usize, verdict: Verdict| {
        let entry = wanted.entry;
        seen.push(Seen { entry, of, verdict });
        Ok(())
    };
    for (of, waiting) in replies.to_read.iter().enumerate() {
        let ticket = &waiting.ticket;
        let wanted = Wanted {
            entry: shared.snapshot.entry_at(&ticket.place)?,
            db: shared.policies.db_map.get(ticket.place.db),
            expiry: match ticket.expire_at_ms {
                i64::MAX => Expiry::Never,
                at => Expiry::At(at),
            },
        };
        comparer.push(wanted, of, &mut judged)?;
    }
    comparer.drain(&mut judged)?;
    drop(comparer);
    replies.has_unplaced = false;
    let mut waiting: Vec<_> = std::mem::take(&mut replies.to_read)
        .into_iter()
        .map(Some)
        .collect();
    let (mut gone, mut same, mut not_comparable) = (Vec::new(), 0u64, 0u64);
    let contradicted = seen.iter().any(|seen| {
        let why = waiting.get(seen.of).and_then(Option::as_ref);
        let why = why.map(|waiting| &waiting.why);
        matches!(
            (why, &seen.verdict),
            (
                Some(Why::Unplaced(Said::Stored { .. })),
                Verdict::Different(_)
            )
        )
    });
    for Seen { entry, of, verdict } in seen {
        let Some(ToRead { ticket, why }) = waiting.get_mut(of).and_then(Option::take) else {
            continue;
        };
        let restored = Outcome::Restored(ticket.step.road());
        match (why, verdict) {
            (Why::Unplaced(said), verdict) => {
                let is_same = verdict.is_same();
                if matches!(said, Said::Stored { .. }) && is_same {
                    same = same.saturating_add(1);
                }
                if unplaced(replies, &ticket, said, verdict, contradicted) {
                    gone.push((entry, ticket.step));
                }
            }
            (Why::Stored, Verdict::Same | Verdict::SameBut(_)) => {
                same = same.saturating_add(1);
                replies.read(&ticket, restored, "", false);
            }
            (Why::Stored, Verdict::Different(found)) => {
                replies.read(
                    &ticket,
                    Outcome::ReadBackDifferent,
                    &found.to_string(),
                    false,
                );
            }
            (Why::Stored, Verdict::Missing) => {
                let words = "the destination said OK, and does not have it any more";
                replies.read(&ticket, Outcome::ReadBackDifferent, words, false);
            }
            (Why::Stored, Verdict::NotComparable(reason)) => {
                not_comparable = not_comparable.saturating_add(1);
                let words = format!("read back, and cannot be compared: {reason}");
                replies.read(&ticket, restored, &words, true);
            }
            (Why::Existed, Verdict::Same | Verdict::SameBut(_)) => {
                replies.read(&ticket, Outcome::AlreadyThere, "", false);
            }
            (Why::Existed, Verdict::Different(found)) => {
                let words = format!("{EXISTS}, and it differs: {found}");
                replies.read(&ticket, Outcome::Conflict, &words, false);
            }
            (Why::Existed, Verdict::Missing) => gone.push((entry, ticket.step)),
            (Why::Existed, Verdict::NotComparable(reason)) => {
                let words = format!("{EXISTS}, and it cannot be compared: {reason}");
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

/// What is to be believed of a key whose reply may have been another's, now that it is known what the destination holds.
/// `contradicted`: an OK was said of a key that holds something else. `true`: it is to be sent once more, behind a mark of its
/// own.
fn unplaced(
    replies: &mut Replies<'_, '_>,
    ticket: &Ticket,
    said: Said,
    verdict: Verdict,
    contradicted: bool,
) -> bool {
    let on_conflict = replies.on_conflict();
    let existed = match on_conflict {
        // Said of a key that this load may have stored itself.
        _ if contradicted && verdict.is_same() => (Outcome::AlreadyThere, ""),
        OnConflict::Skip => (Outcome::Existing, ""),
        OnConflict::Same => (Outcome::AlreadyThere, ""),
        OnConflict::Fail | OnConflict::Abort | OnConflict::Replace => (Outcome::Conflict, EXISTS),
    };
    let restored = Outcome::Restored(ticket.step.road());
    match (said, verdict) {
        (Said::Nothing, Verdict::Missing | Verdict::Different(_) | Verdict::Expired) => {}
        (_, Verdict::Expired) | (Said::Stored { expired: true }, Verdict::Missing) => {
            replies.read(ticket, Outcome::ExpiredOnArrival, "", false);
        }
        (Said::Existed, Verdict::Same | Verdict::SameBut(_)) => {
            replies.read(ticket, existed.0, existed.1, false);
        }
        (Said::Existed, Verdict::Different(found)) if on_conflict == OnConflict::Same => {
            let words = format!("{EXISTS}, and it differs: {found}");
            replies.read(ticket, Outcome::Conflict, &words, false);
        }
        (Said::Existed, Verdict::Different(_)) => {
            replies.read(ticket, existed.0, existed.1, false);
        }
        // Whatever was said, it is there as it was sent.
        (_, Verdict::Same | Verdict::SameBut(_)) => replies.read(ticket, restored, "", false),
        (Said::Stored { .. }, Verdict::Different(found)) => {
            let words = format!(
                "the destination said OK, and holds something else ({found}): replies changed places, or somebody else wrote it"
            );
            replies.read(ticket, Outcome::ReadBackDifferent, &words, false);
        }
        (Said::Again { words, next }, Verdict::Missing | Verdict::Different(_)) => {
            replies.goes_again(ticket, words, next);
        }
        (Said::Failed(_), Verdict::Missing | Verdict::Different(_) | Verdict::NotComparable(_))
        | (Said::Stored { .. } | Said::Existed, Verdict::Missing) => return true,
        // What it overwrites is what it was to overwrite.
        (Said::Stored { .. }, Verdict::NotComparable(_)) if on_conflict == OnConflict::Replace => {
            return true;
        }
        (_, Verdict::NotComparable(reason)) => {
            let words = format!("{UNPLACED}, and it cannot be compared: {reason}");
            replies.read(ticket, Outcome::Uncertain, &words, false);
        }
    }
    false
}

/// Why a key is looked at.
const UNPLACED: &str = "its reply came among others that said different things";

/// Whether the destination answers and will not be read.
fn may_not_read(error: &Error, connection: &Connection) -> bool {
    connection.end().is_none()
        && error.kind() == ErrorKind::Destination
        && super::again::passing(error).is_none()
}

/// Nobody can say of the keys that wait what became of them. Under `replace` they are sent once more.
fn nothing_is_known<'data>(
    shared: &Shared<'_, 'data>,
    replies: &mut Replies<'_, 'data>,
) -> Result<Vec<(Entry<'data>, Step)>> {
    let words = format!("{UNPLACED}, and the destination does not let it be read");
    let mut again = Vec::new();
    replies.has_unplaced = false;
    for ToRead { ticket, why } in std::mem::take(&mut replies.to_read) {
        match why {
            Why::Unplaced(Said::Nothing) => {}
            _ if shared.on_conflict == OnConflict::Replace => {
                again.push((shared.snapshot.entry_at(&ticket.place)?, ticket.step));
            }
            _ => replies.read(&ticket, Outcome::Uncertain, &words, false),
        }
    }
    Ok(again)
}
