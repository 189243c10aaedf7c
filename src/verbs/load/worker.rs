//! One connection of a load: entries come in batches, become commands, and end in outcomes as their replies come.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Far, KeyEvent, OnConflict, Watcher};
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::outcome::{Outcome, Road, Tally};
use crate::replay::{self, Decision, Policies, Terms};
use crate::resp::{Answer, Connection, End, Pipeline, Sink, WindowOptions};
use crate::snapshot::Entry;
use crate::target::{Asked, Reaction, Situation, react};
use crate::value::Decoder;
use crate::wire::{Cursor, Str};

/// What all connections of a run share.
pub(super) struct Shared<'run> {
    pub(super) data: &'run [u8],
    pub(super) input: u32,
    pub(super) terms: &'run Terms,
    pub(super) policies: &'run Policies,
    pub(super) on_conflict: OnConflict,
    pub(super) watcher: &'run dyn Watcher,
    pub(super) stop: &'run Stop,
    /// Of all inputs.
    pub(super) acknowledged: &'run AtomicU64,
    pub(super) far: &'run Far,
    /// Values are walked, and damaged ones refused, before they are sent.
    pub(super) walk: bool,
    pub(super) spool_dir: Option<&'run Path>,
}

/// Ends a run from any thread, with the first reason given.
#[derive(Debug, Default)]
pub(super) struct Stop {
    flag: AtomicBool,
    reason: Mutex<Option<Error>>,
}

impl Stop {
    pub(super) fn set(&self, error: Error) {
        if let Ok(mut reason) = self.reason.lock() {
            reason.get_or_insert(error);
        }
        self.flag.store(true, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    pub(super) fn take(&self) -> Option<Error> {
        self.reason.lock().ok().and_then(|mut reason| reason.take())
    }
}

/// What is remembered of a command under way: enough to name its key again, not more.
#[derive(Debug, Clone, Copy)]
struct Ticket {
    ordinal: u64,
    offset: u64,
    /// Where the type byte stands; the key's string is behind it.
    type_offset: u64,
    /// `i64::MAX` where it never expires.
    expire_at_ms: i64,
    db: u64,
}

/// Failures in words that are not known, in a row, after which it is no longer about single keys.
const STRANGE_IN_A_ROW: u32 = 100;

/// Runs one connection until the channel closes or the run stops. All entries that came through the channel are counted in the
/// tally that it returns.
pub(super) fn run<'data>(
    shared: &Shared<'data>,
    connection: Connection,
    window: WindowOptions,
    batches: &Receiver<Vec<Entry<'data>>>,
) -> Tally {
    let mut replies = Replies {
        shared,
        tally: Tally::default(),
        proven: Tally::default(),
        strange: 0,
        broken: false,
    };
    let mut pipeline = match Pipeline::new(connection, window) {
        Ok(pipeline) => Some(pipeline),
        Err(error) => {
            shared.stop.set(error);
            None
        }
    };
    let mut key = Vec::new();
    let mut walker = shared.walk.then(|| Decoder::new(shared.spool_dir));
    for batch in batches {
        for entry in &batch {
            match &mut pipeline {
                Some(pipeline) if !shared.stop.is_set() => {
                    if let Err(error) =
                        send(entry, pipeline, &mut replies, &mut key, walker.as_mut())
                    {
                        shared.stop.set(error);
                    }
                }
                _ => replies.tally.add(Outcome::NotReached),
            }
        }
    }
    let Some(mut pipeline) = pipeline else {
        return replies.tally;
    };
    if let Err(error) = pipeline.drain(&mut replies) {
        shared.stop.set(error);
    }
    if replies.broken || pipeline.end() == Some(End::OutOfStep) {
        replies.doubt();
    }
    for (ticket, sent) in pipeline.unanswered() {
        if sent {
            replies.end(
                ticket,
                Outcome::Uncertain,
                "it was sent, and no reply came back",
            );
        } else {
            replies.tally.add(Outcome::NotReached);
        }
    }
    replies.tally
}

fn send<'data>(
    entry: &Entry<'data>,
    pipeline: &mut Pipeline<Ticket>,
    replies: &mut Replies<'_, 'data>,
    key: &mut Vec<u8>,
    walker: Option<&mut Decoder>,
) -> Result<()> {
    let shared = replies.shared;
    let ticket = Ticket {
        ordinal: entry.ordinal,
        offset: entry.offset,
        type_offset: entry.type_offset,
        expire_at_ms: entry.expire_at_ms.unwrap_or(i64::MAX),
        db: entry.db,
    };
    let restore = match replay::decide(entry, shared.terms, shared.policies) {
        Decision::Send(restore) => restore,
        Decision::Skip(outcome, reason) => {
            replies.end(ticket, outcome, &reason);
            shared.far.settle(ticket.offset);
            return Ok(());
        }
    };
    let ticket = Ticket {
        expire_at_ms: restore.expire_at_ms.unwrap_or(i64::MAX),
        ..ticket
    };
    if let Some(Err(error)) = walker.map(|walker| walker.validate(entry)) {
        replies.end(
            ticket,
            Outcome::Refused,
            &format!("its value cannot be walked: {error}"),
        );
        shared.far.settle(ticket.offset);
        return Ok(());
    }
    let key = match entry.key.bytes(key) {
        Ok(key) => key,
        Err(error) => {
            replies.end(
                ticket,
                Outcome::Refused,
                &format!("its name cannot be read: {error}"),
            );
            return Ok(());
        }
    };
    if let Err(error) = pipeline.select(restore.db, replies) {
        replies.tally.add(Outcome::NotReached);
        return Err(error);
    }
    restore.with_args("RESTORE", key, now_ms(), |args| {
        pipeline.push(ticket, args, replies)
    })
}

/// Milliseconds of Unix time: for what depends on the moment of sending, not for the run's instant.
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Judges replies and counts outcomes.
struct Replies<'s, 'data> {
    shared: &'s Shared<'data>,
    tally: Tally,
    /// The tally when the last mark came back.
    proven: Tally,
    strange: u32,
    /// A reply came that no RESTORE is answered by: which reply belongs to which key is not known any more.
    broken: bool,
}

/// Why nothing is known of an entry although a reply came.
const OUT_OF_STEP: &str = "the replies do not fit the commands, so its own is not known";

impl Sink<Ticket> for Replies<'_, '_> {
    fn answered(&mut self, ticket: Ticket, answer: Answer<'_>) -> Result<()> {
        self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.shared.far.settle(ticket.offset);
        if self.broken {
            self.end(ticket, Outcome::Uncertain, OUT_OF_STEP);
            return Ok(());
        }
        if answer == Answer::Ok {
            self.strange = 0;
            let expired = ticket.expire_at_ms != i64::MAX && ticket.expire_at_ms <= now_ms();
            self.tally.add(if expired {
                Outcome::ExpiredOnArrival
            } else {
                Outcome::Restored(Road::Raw)
            });
            return Ok(());
        }
        self.refused(ticket, answer)
    }

    fn proven(&mut self) {
        if !self.broken {
            self.proven = self.tally;
        }
    }
}

impl Replies<'_, '_> {
    /// Replies were lost, doubled or moved since the last mark: what they said of their keys may have been said of others.
    fn doubt(&mut self) {
        for (outcome, count) in self.proven.iter() {
            let by_reply = matches!(
                outcome,
                Outcome::Restored(_)
                    | Outcome::ExpiredOnArrival
                    | Outcome::Existing
                    | Outcome::Conflict
                    | Outcome::Failed
            );
            if by_reply {
                for _ in count..self.tally.get(outcome) {
                    self.tally.reclassify(outcome, Outcome::Uncertain);
                }
            }
        }
    }

    #[cold]
    fn refused(&mut self, ticket: Ticket, answer: Answer<'_>) -> Result<()> {
        let reply = answer.reply();
        let words = match reply.error() {
            Some(words) => String::from_utf8_lossy(words).into_owned(),
            None => reply.shown(),
        };
        match react(&reply, Asked::Restore, Situation::default()) {
            Reaction::Done => {
                self.tally.add(Outcome::Restored(Road::Raw));
                Ok(())
            }
            Reaction::KeyExists => self.exists(ticket),
            Reaction::KeyFails | Reaction::NextRoad(_) | Reaction::OlderForm => {
                self.end(ticket, Outcome::Failed, &words);
                Ok(())
            }
            Reaction::KeyFailsStrangely => {
                self.end(ticket, Outcome::Failed, &words);
                self.strange = self.strange.saturating_add(1);
                if self.strange < STRANGE_IN_A_ROW {
                    return Ok(());
                }
                Err(self.stop(
                    &format!("{STRANGE_IN_A_ROW} keys in a row were refused: {words}"),
                    "a quota of the service?",
                ))
            }
            Reaction::TooLarge => {
                self.end(ticket, Outcome::Failed, &words);
                Err(self.stop(
                    &words,
                    "raise proto-max-bulk-len there, or leave the key out with --max-size",
                ))
            }
            Reaction::OutOfStep => {
                self.broken = true;
                self.end(ticket, Outcome::Uncertain, OUT_OF_STEP);
                Err(self.stop(
                    &format!("{words} to RESTORE"),
                    "something between here and the server drops, repeats or reorders replies",
                ))
            }
            reaction => {
                // The command was not executed, and none behind it will be: nothing is known to be wrong with this key.
                self.tally.add(Outcome::NotReached);
                Err(self.stop(&words, advice(reaction)))
            }
        }
    }

    fn exists(&mut self, ticket: Ticket) -> Result<()> {
        match self.shared.on_conflict {
            OnConflict::Skip => {
                self.tally.add(Outcome::Existing);
                Ok(())
            }
            OnConflict::Fail | OnConflict::Replace => {
                self.end(ticket, Outcome::Conflict, "the destination has this key");
                Ok(())
            }
            OnConflict::Abort => {
                self.end(ticket, Outcome::Conflict, "the destination has this key");
                Err(Error::new(ErrorKind::Destination, super::ABORTED))
            }
        }
    }

    fn stop(&self, words: &str, advice: &'static str) -> Error {
        let words = Escaped(words.as_bytes()).to_string();
        Error::new(
            ErrorKind::Destination,
            format!("the destination says {words}; the load stopped"),
        )
        .with_hint(advice)
    }

    /// Counts an outcome, and tells the watcher where a person would want to know which key it was.
    fn end(&mut self, ticket: Ticket, outcome: Outcome, reason: &str) {
        self.tally.add(outcome);
        if !(outcome.is_finding() || outcome == Outcome::Empty) {
            return;
        }
        let start = usize::try_from(ticket.type_offset).unwrap_or(usize::MAX);
        let bytes = self.shared.data.get(start..).unwrap_or_default();
        let mut cursor = Cursor::new(bytes, ticket.type_offset);
        let key = cursor
            .u8()
            .and_then(|_| Str::read(&mut cursor))
            .map(|key| key.preview(4096))
            .unwrap_or_default();
        self.shared.watcher.key(&KeyEvent {
            input: self.shared.input,
            ordinal: ticket.ordinal,
            offset: ticket.offset,
            db: ticket.db,
            key: &key,
            outcome,
            reason,
        });
    }
}

/// What to do about an answer that stops a load.
fn advice(reaction: Reaction<'_>) -> &'static str {
    match reaction {
        Reaction::RoadClosed => {
            "the user needs the right to RESTORE (in Redis' words: ACL SETUSER … +restore)"
        }
        Reaction::Retry(_) => {
            "wait until the destination can write again, then load with --on-conflict skip"
        }
        Reaction::Pause(crate::target::Pause::OutOfMemory) => {
            "give the destination more memory, then load again with --on-conflict skip"
        }
        Reaction::Pause(crate::target::Pause::CannotSave) => {
            "the destination cannot write to its disk: mend that first"
        }
        Reaction::Moved(_) | Reaction::Ask(_) => {
            "the destination is a cluster, which this version does not load into"
        }
        Reaction::FindMaster => "it became a replica: load into the master",
        Reaction::Login => "log in with a user and password that hold for the whole load",
        _ => "nothing more was sent",
    }
}
