//! A connection that waits because it is not to be faster: everything under way is answered first, and it is kept open.

use std::time::{Duration, Instant};

use super::worker::{Replies, Shared, Ticket};
use crate::error::Result;
use crate::pace::Cost;
use crate::resp::Pipeline;
use crate::snapshot::Entry;

/// How often it is looked whether to go on.
const NAP: Duration = Duration::from_millis(10);

/// A connection on which nothing was sent for so long is used once: providers cut idle ones.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// Books an entry that is about to be sent, and waits as long as it takes.
///
/// # Errors
/// The connection fails.
#[inline]
pub(super) fn wait(
    shared: &Shared<'_, '_>,
    entry: &Entry<'_>,
    pipeline: &mut Pipeline<Ticket>,
    replies: &mut Replies<'_, '_>,
) -> Result<()> {
    let cost = Cost {
        keys: 1,
        bytes: (entry.value.len() as u64).saturating_add(entry.key.len()),
        commands: 1,
    };
    wait_for(shared, cost, pipeline, replies)
}

/// Books `keys` of `bytes` that are about to be read at the destination, and waits likewise.
///
/// # Errors
/// The connection fails.
pub(super) fn wait_to_read(
    shared: &Shared<'_, '_>,
    keys: u64,
    bytes: u64,
    pipeline: &mut Pipeline<Ticket>,
    replies: &mut Replies<'_, '_>,
) -> Result<()> {
    let cost = Cost {
        keys,
        bytes,
        // Value and expiry.
        commands: keys.saturating_mul(2),
    };
    wait_for(shared, cost, pipeline, replies)
}

#[inline]
fn wait_for(
    shared: &Shared<'_, '_>,
    cost: Cost,
    pipeline: &mut Pipeline<Ticket>,
    replies: &mut Replies<'_, '_>,
) -> Result<()> {
    let debt = shared.pace.book(cost);
    if let Some(commands) = shared.pace.window() {
        pipeline.bound(commands);
    }
    if debt.is_none() && !shared.pace.is_held() {
        return Ok(());
    }
    let until = Instant::now() + debt.unwrap_or_default();
    pipeline.drain(replies)?;
    while !shared.stop.is_set() && (shared.pace.is_held() || Instant::now() < until) {
        std::thread::sleep(
            NAP.min(
                until
                    .saturating_duration_since(Instant::now())
                    .max(NAP / 10),
            ),
        );
        keep_open(pipeline, replies)?;
    }
    Ok(())
}

/// Books one of the many commands of a value, and waits as long as it takes; `settle` is called before that.
///
/// # Errors
/// Those of `settle`.
pub(super) fn between_commands(
    shared: &Shared<'_, '_>,
    settle: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let debt = shared.pace.book(Cost {
        keys: 0,
        bytes: 0,
        commands: 1,
    });
    if debt.is_none() && !shared.pace.is_held() {
        return Ok(());
    }
    settle()?;
    let until = Instant::now() + debt.unwrap_or_default();
    while !shared.stop.is_set() && (shared.pace.is_held() || Instant::now() < until) {
        std::thread::sleep(NAP);
    }
    Ok(())
}

/// Uses a connection that was idle for long.
///
/// # Errors
/// The connection fails.
pub(super) fn keep_open(
    pipeline: &mut Pipeline<Ticket>,
    replies: &mut Replies<'_, '_>,
) -> Result<()> {
    pipeline.renew_login(replies)?;
    if pipeline.idle() >= IDLE {
        pipeline.idle_connection(replies)?.prove()?;
    }
    Ok(())
}
