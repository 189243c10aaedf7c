//! Between two passes: waiting, connecting again, and asking whether it is still the same destination.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, Instant};

use super::read_back::Questions;
use super::shards::{Found, Shards, lost_one};
use super::standing::Standing;
use super::stop::{Ended, Why};
use super::{Load, Watcher};
use crate::error::{Error, ErrorKind, Result};
use crate::resp::Connection;
use crate::verbs::{Position, Watch};

/// The first pause.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10);

/// How often the caller is asked whether to go on.
const NAP: Duration = Duration::from_millis(50);

/// A destination that cannot be written to.
#[derive(Debug)]
pub(super) struct Trouble {
    since: Instant,
    tries: u32,
    /// How many entries were finished when it began: more of them end it.
    finished: u64,
    logins: u32,
}

/// What is told about a pause.
#[derive(Debug, Clone, Copy)]
pub struct PauseEvent<'a> {
    /// Why nothing can be sent now.
    pub reason: &'a Error,
    /// How long until the next try.
    pub wait: Duration,
    /// Which try comes next, from 1.
    pub attempt: u32,
    /// How much longer it will be tried.
    pub left: Duration,
}

impl Load {
    /// Whether another pass over the inputs is to follow: waits and connects again where the last one ended for a while.
    /// Gives `false` where everything is done, or the run has ended.
    pub fn again(&mut self, watcher: &dyn Watcher, watch: &mut Watch<'_>) -> bool {
        if self.only_looks {
            return false;
        }
        if self.interrupted.is_none() && self.stopped.is_none() {
            self.interrupted = self.failed_over_at_last();
        }
        while let Some(Ended {
            error,
            why: Some(why),
        }) = self.interrupted.take()
        {
            if self.stopped.is_some() {
                return false;
            }
            let finished = self.recorder.finished_total();
            let trouble = match &mut self.trouble {
                Some(trouble) if trouble.finished == finished => trouble,
                other => other.insert(Trouble {
                    since: Instant::now(),
                    tries: 0,
                    finished,
                    logins: 0,
                }),
            };
            let limit = match why.needs_somebody() {
                true => self.options.wait_for,
                false => self.options.retry_for,
            };
            let spent = trouble.since.elapsed();
            trouble.logins = trouble.logins.saturating_add(u32::from(why == Why::Login));
            if spent >= limit || trouble.logins > 1 {
                self.stopped = Some(gave_up(error, trouble));
                return false;
            }
            let trouble_began = trouble.since;
            let wait = pause(trouble.tries).min(limit.saturating_sub(spent));
            trouble.tries = trouble.tries.saturating_add(1);
            watcher.pause(&PauseEvent {
                reason: &error,
                wait,
                attempt: trouble.tries,
                left: limit.saturating_sub(spent),
            });
            self.pauses = self.pauses.saturating_add(1);
            if let Err(error) = sleep(wait, watch) {
                self.stopped = Some(error);
                return false;
            }
            self.longest_pause = self.longest_pause.max(trouble_began.elapsed());
            match self.reconnect(watcher) {
                Ok(()) => return true,
                Err(ended) if ended.why.is_some() => self.interrupted = Some(ended),
                Err(ended) => {
                    self.stopped = Some(ended.error);
                    return false;
                }
            }
        }
        false
    }

    /// Whether what took the last keys is there no more, with what it had acknowledged: no key was left to find out by.
    fn failed_over_at_last(&self) -> Option<Ended> {
        let found = match self.another_master() {
            // Several servers may answer behind one address: then their names say nothing.
            Ok(Some(first)) if !self.shards.is_cluster() => {
                let again = self.another_master();
                again.map(|second| second.filter(|second| *second == first))
            }
            found => found,
        };
        match found {
            Ok(found) => {
                let (address, _) = found?;
                Some(Ended {
                    error: failed_over(&address),
                    why: Some(Why::Lost),
                })
            }
            // It answered all that was sent, but may be failing over.
            Err(ended) if !self.options.retry_for.is_zero() => ended.why.is_some().then_some(ended),
            Err(_) => None,
        }
    }

    /// The first shard that is another process than it was, and which one.
    fn another_master(&self) -> Result<Option<(String, Option<String>)>, Ended> {
        for shard in self.shards.list() {
            let mut connection = shard.connector.connect().map_err(judge_connecting)?;
            let standing =
                Standing::ask(&mut connection).map_err(|error| judge_asking(&connection, error))?;
            if let Some(standing) = standing.filter(|standing| shard.fails_over(standing)) {
                let address = shard.connector.address.to_string();
                return Ok(Some((address, standing.run_id)));
            }
        }
        Ok(None)
    }

    /// Connects and asks everything anew that may have changed.
    pub(super) fn reconnect(&mut self, watcher: &dyn Watcher) -> Result<(), Ended> {
        let for_good = |error: Error| Ended { error, why: None };
        let sample = self.sample.clone().unwrap_or_default();
        let Found {
            shards,
            mut connections,
            facts,
            ..
        } = Shards::find(
            &self.connector,
            Some(&self.shards),
            &self.also,
            (&self.dbs, &sample),
            &self.options,
        )?;
        if (facts.product, facts.version) != (self.facts.product, self.facts.version) {
            let error = Error::new(
                ErrorKind::Destination,
                format!(
                    "the destination was {} and is {} now",
                    self.facts.name(),
                    facts.name()
                ),
            )
            .with_hint("the same command goes on with what it is now");
            return Err(for_good(error));
        }
        self.missing_keys(&facts).map_err(for_good)?;
        if lost_one(&self.shards.run_ids(), &shards.run_ids()) || self.shrank(&facts) {
            let forgotten = self.recorder.forget_unsettled().map_err(for_good)?;
            watcher.restarted(forgotten);
        }
        if self.shards.run_ids() != shards.run_ids() {
            self.functions_may_be_lost();
        }
        self.facts = facts;
        self.shards = shards;
        match connections.get_mut(self.shards.of_key(&sample)) {
            Some(connection) => self
                .ask_abilities(connection)
                .map_err(|error| judge_asking(connection, error)),
            None => Ok(()),
        }
    }

    /// What may be asked about doubtful keys, and about those that are read back.
    pub(super) fn ask_abilities(&mut self, connection: &mut Connection) -> Result<()> {
        if self.recorder.standing().1.is_empty() && !self.options.reads_back() {
            return Ok(());
        }
        self.abilities = Some(self.questions().ask(connection)?);
        Ok(())
    }

    /// How to find out what may be asked about keys.
    pub(super) fn questions(&self) -> Questions {
        Questions::new(
            self.sample.clone().unwrap_or_default(),
            self.facts.clock_ahead_ms.unwrap_or(0),
        )
    }
}

/// The error where a master is not what it was.
#[cold]
pub(super) fn failed_over(address: &str) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("{address} is not the master any more that it was"),
    )
}

/// Words of servers that pass, and what they mean.
const PASSING: [(&str, Why); 11] = [
    ("LOADING ", Why::Busy),
    ("MASTERDOWN ", Why::Busy),
    ("BUSY ", Why::Busy),
    ("TRYAGAIN ", Why::Busy),
    ("CLUSTERDOWN ", Why::Busy),
    ("NOREPLICAS ", Why::Busy),
    ("READONLY ", Why::Replica),
    ("OOM ", Why::Memory),
    ("MISCONF ", Why::Disk),
    // To whoever asks, not writes: the map is asked for anew, or the slot has moved when it is tried again.
    ("\"MOVED ", Why::Busy),
    ("\"ASK ", Why::Busy),
];

/// Why a refusal in a server's words may go away, if it may.
pub(super) fn passing(error: &Error) -> Option<Why> {
    passes(&error.to_string())
}

/// The same of the words alone.
pub(super) fn passes(words: &str) -> Option<Why> {
    PASSING
        .iter()
        .find(|(code, _)| words.contains(code))
        .map(|(_, why)| *why)
}

/// Whether an error of connecting may go away. The destination was there before, so what is not a plain refusal does.
pub(super) fn judge_connecting(error: Error) -> Ended {
    let words = error.to_string();
    let says = |codes: &[&str]| codes.iter().any(|code| words.contains(code));
    let why = if says(&[
        "WRONGPASS",
        "NOAUTH",
        "invalid password",
        "invalid username",
    ]) {
        Some(Why::Login)
    } else if error.kind() != ErrorKind::Destination && error.io_error().is_none()
        || says(&["NOPERM", "max number of clients", "certificate"])
    {
        None
    } else {
        passing(&error).or(Some(Why::Lost))
    };
    Ended { error, why }
}

/// Whether an error of asking may go away.
pub(super) fn judge_asking(connection: &Connection, error: Error) -> Ended {
    let why = if connection.end().is_some() && error.kind() != ErrorKind::Interrupted {
        Some(Why::Lost)
    } else {
        passing(&error)
    };
    Ended { error, why }
}

/// Doubles up to a cap, less up to a half by chance: many loads must not come back at one instant.
fn pause(tries: u32) -> Duration {
    let full = FIRST
        .saturating_mul(1u32.checked_shl(tries.min(16)).unwrap_or(u32::MAX))
        .min(LONGEST);
    let chance = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    full - full.mul_f64((chance % 1024) as f64 / 2048.0)
}

fn sleep(wait: Duration, watch: &mut Watch<'_>) -> Result<()> {
    let begun = Instant::now();
    loop {
        // The position is of no file: nothing moved.
        watch(Position {
            offset: 0,
            entries: 0,
        })?;
        let left = wait.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(NAP));
    }
}

fn gave_up(error: Error, trouble: &Trouble) -> Error {
    match trouble.tries {
        0 => error,
        tries => {
            let words = format!(
                "gave up after {tries} {} in {:.0} s: {}",
                if tries == 1 { "try" } else { "tries" },
                trouble.since.elapsed().as_secs_f64(),
                error.what()
            );
            let gave_up = Error::new(error.kind(), words);
            match error.hint() {
                Some(hint) => gave_up.with_hint(hint.to_owned()),
                None => gave_up,
            }
        }
    }
}
