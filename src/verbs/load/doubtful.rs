//! Entries that were sent and whose replies never came: the destination is asked what it holds before anything is sent again.

use super::pacing;
use super::worker::{Replies, Shared, Ticket};
use super::{OnConflict, build};
use crate::error::{Error, ErrorKind, Result};
use crate::meaning::{Bench, Comparer, Expiry, Verdict, Wanted};
use crate::outcome::Outcome;
use crate::replay::{Decision, Ladder, Step};
use crate::resp::Pipeline;
use crate::snapshot::Entry;

/// Asks about each entry and gives back those that are to be sent. The others have their outcomes.
///
/// # Errors
/// The connection fails, or a slot moved meanwhile: all of them stay doubtful, and are asked for where they went.
pub(super) fn settle<'data>(
    shared: &Shared<'_, 'data>,
    entries: Vec<Entry<'data>>,
    pipeline: &mut Pipeline<Ticket>,
    replies: &mut Replies<'_, 'data>,
) -> Result<Vec<Entry<'data>>> {
    let Some(abilities) = shared.abilities else {
        return Err(Error::new(
            ErrorKind::Destination,
            "what the destination holds cannot be asked",
        ));
    };
    let mut to_send = Vec::new();
    let mut bench = Bench::new(shared.spool_dir).arriving(&shared.policies.transform);
    let bytes = entries.iter().fold(0u64, |sum, entry| {
        sum.saturating_add(entry.value.len() as u64)
    });
    pacing::wait_to_read(shared, entries.len() as u64, bytes, pipeline, replies)?;
    let connection = pipeline.idle_connection(replies)?;
    let mut verdicts = Vec::with_capacity(entries.len());
    let mut ladder = Ladder::new(Some(shared.spool_dir));
    let mut asked = Vec::with_capacity(entries.len());
    let mut built = Vec::new();
    for entry in &entries {
        let decided = ladder.decide(entry, shared.terms, shared.policies, Step::RAW);
        let (db, expire_at_ms, step) = match decided {
            Decision::Send(restore) => {
                if shared.terms.stages_payloads(shared.policies) {
                    built.push((*entry, restore.db));
                }
                (restore.db, restore.expire_at_ms, restore.step)
            }
            Decision::Commands(by) => {
                built.push((*entry, by.db));
                (by.db, by.expire_at_ms, Step::COMMANDS)
            }
            Decision::Skip(..) => {
                // Nothing was sent of it, whatever the journal had to assume.
                to_send.push(*entry);
                continue;
            }
        };
        let wanted = Wanted {
            entry: *entry,
            db,
            expiry: expire_at_ms.map_or(Expiry::Never, Expiry::At),
        };
        let mut ticket = Ticket::of(entry);
        ticket.expire_at_ms = expire_at_ms.unwrap_or(i64::MAX);
        ticket.step = step;
        ticket.tried = Some(step);
        asked.push((wanted, ticket));
    }
    if !built.is_empty() {
        // What was half-built is of no use to anybody.
        build::clear(shared, connection, &built)?;
    }
    let mut comparer = Comparer::new(connection, abilities, &mut bench)?;
    for (wanted, ticket) in asked {
        comparer.push(
            wanted,
            ticket,
            &mut |wanted: Wanted<'data>, ticket, verdict| {
                verdicts.push((wanted.entry, ticket, verdict));
                Ok(())
            },
        )?;
    }
    comparer.drain(&mut |wanted: Wanted<'data>, ticket, verdict| {
        verdicts.push((wanted.entry, ticket, verdict));
        Ok(())
    })?;
    drop(comparer);
    for (entry, ticket, verdict) in verdicts {
        match verdict {
            Verdict::Same | Verdict::SameBut(_) => {
                if shared.verify
                    && let Ok(mut verified) = shared.verified.lock()
                {
                    verified.same = verified.same.saturating_add(1);
                }
                replies.decided(&ticket, Outcome::Restored(ticket.step.road()), "");
            }
            Verdict::Missing => to_send.push(entry),
            Verdict::Expired => replies.decided(&ticket, Outcome::ExpiredOnArrival, ""),
            Verdict::Different(_) => match shared.on_conflict {
                OnConflict::Replace => to_send.push(entry),
                OnConflict::Skip => replies.decided(&ticket, Outcome::Existing, ""),
                OnConflict::Fail | OnConflict::Abort | OnConflict::Same => {
                    replies.decided(&ticket, Outcome::Conflict, "the destination has this key");
                }
            },
            Verdict::NotComparable(reason) => replies.decided(
                &ticket,
                Outcome::Uncertain,
                &format!("it was sent, no reply came back, and it cannot be compared: {reason}"),
            ),
        }
    }
    to_send.sort_by_key(|entry| entry.ordinal);
    Ok(to_send)
}
