//! Why a pass ends early, and whether another one may follow.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::target::{Pause, Reaction};

/// Why the destination cannot be written to now, but may be later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The connection is gone.
    Lost,
    /// It asks to wait: loading, busy, without its master, without enough replicas.
    Busy,
    /// It became a replica.
    Replica,
    /// A cluster's keys go to a node that was not one of its masters.
    Moved,
    /// The login has run out.
    Login,
    /// It has no memory left.
    Memory,
    /// It cannot save to its disk.
    Disk,
}

impl Why {
    /// What a reaction to an answer means for the whole run; `None` where waiting would not help.
    pub(super) fn of(reaction: Reaction<'_>) -> Option<Self> {
        match reaction {
            Reaction::Retry(_) => Some(Why::Busy),
            Reaction::FindMaster => Some(Why::Replica),
            Reaction::Login => Some(Why::Login),
            Reaction::Pause(Pause::OutOfMemory) => Some(Why::Memory),
            Reaction::Pause(Pause::CannotSave) => Some(Why::Disk),
            _ => None,
        }
    }

    /// Whether somebody has to act there, which takes longer than a network does.
    #[must_use]
    pub fn needs_somebody(self) -> bool {
        matches!(self, Why::Memory | Why::Disk)
    }
}

/// An end of a pass.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) error: Error,
    /// Another pass may follow.
    pub(super) why: Option<Why>,
}

/// Ends a pass from any thread, with the first reason given; a reason for good goes before one for a while.
#[derive(Debug, Default)]
pub(super) struct Stop {
    flag: AtomicBool,
    ended: Mutex<Option<Ended>>,
}

impl Stop {
    /// Ends the run.
    pub(super) fn set(&self, error: Error) {
        if let Ok(mut ended) = self.ended.lock()
            && ended.as_ref().is_none_or(|before| before.why.is_some())
        {
            *ended = Some(Ended { error, why: None });
        }
        self.flag.store(true, Ordering::Release);
    }

    /// Ends the pass.
    pub(super) fn pause(&self, error: Error, why: Why) {
        if let Ok(mut ended) = self.ended.lock()
            && ended.is_none()
        {
            *ended = Some(Ended {
                error,
                why: Some(why),
            });
        }
        self.flag.store(true, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    pub(super) fn take(&self) -> Option<Ended> {
        self.ended.lock().ok().and_then(|mut ended| ended.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_reason_for_good_goes_before_one_for_a_while() {
        let error = |words: &'static str| Error::new(ErrorKind::Destination, words);
        let stop = Stop::default();
        assert!(!stop.is_set());
        stop.pause(error("lost"), Why::Lost);
        stop.pause(error("busy"), Why::Busy);
        stop.set(error("first for good"));
        stop.set(error("second for good"));
        assert!(stop.is_set());
        let ended = stop.take().unwrap();
        assert_eq!(ended.error.to_string(), "first for good");
        assert_eq!(ended.why, None);
    }
}
