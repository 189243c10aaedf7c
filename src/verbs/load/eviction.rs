//! Keys that the destination evicts are lost behind `+OK`: its counter is read before, at intervals and after.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::worker::Stop;
use crate::error::{Error, ErrorKind, Result};
use crate::resp::{Arg, Connection, Connector};

/// How often the counter is read.
const EVERY: Duration = Duration::from_millis(100);

/// How often the end of the run is looked for.
const NAP: Duration = Duration::from_millis(20);

/// The counter, `None` where the destination hides it.
pub(super) fn evicted_keys(connection: &mut Connection) -> Result<Option<u64>> {
    let reply = connection.request(&[Arg::from("INFO"), Arg::from("stats")])?;
    Ok(reply.text().and_then(|text| {
        text.split(|b| *b == b'\n')
            .find_map(|line| line.strip_prefix(b"evicted_keys:"))
            .and_then(|number| std::str::from_utf8(number).ok()?.trim().parse().ok())
    }))
}

/// What a watch over the counter found.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Keys evicted since the run began.
    pub(super) grown: AtomicU64,
    /// The counter could not be read at least once: what was evicted then is not known.
    pub(super) blind: AtomicBool,
}

impl Watch {
    /// Watches until `done`. Where keys were evicted and that is not `allowed`, the run stops.
    pub(super) fn run(
        &self,
        connector: &Connector,
        before: u64,
        allowed: bool,
        stop: &Stop,
        done: &AtomicBool,
    ) {
        let mut connection = None;
        let mut last = Instant::now();
        while !done.load(Ordering::Acquire) {
            std::thread::sleep(NAP);
            if last.elapsed() < EVERY {
                continue;
            }
            last = Instant::now();
            // Not before: where the destination allows few connections, those that write come first.
            let opened = match connection.take() {
                Some(opened) => Ok(opened),
                None => connector.connect(),
            };
            let counted = opened.and_then(|opened| evicted_keys(connection.insert(opened)));
            match counted {
                Ok(Some(now)) => self.judge(now, before, allowed, stop),
                Ok(None) => self.blind.store(true, Ordering::Relaxed),
                Err(_) => {
                    // The count at the end still tells, only later.
                    self.blind.store(true, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    /// Takes in a value of the counter.
    pub(super) fn judge(&self, now: u64, before: u64, allowed: bool, stop: &Stop) {
        let grown = now.saturating_sub(before);
        self.grown.store(grown, Ordering::Relaxed);
        if grown > 0 && !allowed && !stop.is_set() {
            stop.set(evicts(grown));
        }
    }
}

/// Why a load does not count as done where keys were evicted.
pub(super) fn evicts(grown: u64) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("the destination evicted {grown} key{} since the load began: keys are lost behind its OK", if grown == 1 { "" } else { "s" }),
    )
    .with_hint("give it more memory or the policy noeviction, then start with an empty one; --allow-eviction goes on all the same")
}
