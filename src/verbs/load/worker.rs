//! One connection of a load: entries come in batches, become commands, and end in outcomes as their replies come.
//!
//! What is known of an entry goes to the recorder when a mark has proven that the reply was its own; until then it is
//! *pending* here. Where replies between two marks differ, the mark does not prove that: these keys are looked at. Where the connection fails, what is pending or under way is doubtful, and what was not begun is simply not
//! finished: the next pass sends it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Mutex, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::again::passing;
use super::build::Builder;
use super::growth::Growth;
use super::interval::{Interval, Said};
use super::limits::Limits;
use super::measure::Worked;
use super::pacing;
use super::pass::Far;
use super::read_back::{self, Questions, ToRead};
use super::shards::{Redirect, Redirects, Shards};
use super::stop::{Stop, Why};
use super::strange::{Strange, Verdict};
use super::{KeyEvent, OnConflict, Verified, Watcher, doubtful, expires_in_parts};
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::journal::{Lifetimes, Miss, Ranges, Recorder};
use crate::meaning::Abilities;
use crate::name_room::NameRoom;
use crate::outcome::{Outcome, Tally};
use crate::pace::Pace;
use crate::replay::{Decision, Heavy, Ladder, Policies, Restore, Step, Terms, Usual};
use crate::resp::{Answer, Arg, End, Pipeline, Reply, Sink};
use crate::snapshot::{Entry, EntryPlace, Snapshot, ValueType};
use crate::target::{Asked, Elsewhere, Reaction, Situation, react};
use crate::value::Decoder;
use crate::value::commands::{Loss, LossCounts, Losses};
use crate::wire::{Cursor, Str};

/// What all connections of a pass share.
pub(super) struct Shared<'run, 'data> {
    pub(super) snapshot: &'run Snapshot<'data>,
    pub(super) input: u32,
    pub(super) input_name: &'run str,
    /// The position of the input's first entry.
    pub(super) base: u64,
    pub(super) terms: &'run Terms,
    pub(super) policies: &'run Policies,
    pub(super) on_conflict: OnConflict,
    pub(super) watcher: &'run dyn Watcher,
    pub(super) stop: &'run Stop,
    pub(super) recorder: &'run Recorder,
    /// Answers of all inputs.
    pub(super) acknowledged: &'run AtomicU64,
    pub(super) far: &'run Far,
    pub(super) shards: &'run Shards,
    /// What nodes of a cluster sent on.
    pub(super) redirects: &'run Redirects,
    /// Keys that were refused in words that are not known.
    pub(super) strange: &'run Strange,
    /// Values that were too large.
    pub(super) limits: &'run Limits,
    /// `RESTORE` was closed to us while the load ran, in the destination's words.
    pub(super) restore_closed: &'run OnceLock<String>,
    /// Values are walked, and damaged ones refused, before they are sent.
    pub(super) walk: bool,
    pub(super) spool_dir: &'run Path,
    /// What may be asked about doubtful entries, where there are any.
    pub(super) abilities: Option<&'run Abilities>,
    /// The same where it was not asked yet, and for what to ask it.
    pub(super) questions: &'run Questions,
    /// How fast it may go.
    pub(super) pace: &'run Pace,
    /// What was stored is read back.
    pub(super) verify: bool,
    /// The first key that does not arrive ends the run.
    pub(super) fail_fast: bool,
    /// What came out of that.
    pub(super) verified: &'run Mutex<Verified>,
    /// How much was done, to be held against the growth of the destination.
    pub(super) growth: &'run Growth,
    /// Entries that may be sent before the journal is written again.
    pub(super) ahead: u64,
    /// What the names of staging keys are made of.
    pub(super) staging: &'run str,
}

impl Shared<'_, '_> {
    /// Whether keys that are renamed must lie in one slot.
    pub(super) fn slotted(&self) -> bool {
        self.shards.is_cluster()
    }
}

/// What became of a value that was built under another name, or written by one command.
#[derive(Debug)]
pub(super) enum Built {
    Stored,
    Exists,
    /// Its time came.
    Expired,
    /// The server's words.
    Failed(String),
    /// The same, in words that are not known.
    FailedStrangely(String),
    /// Its payload was refused in these words: it goes by the next step.
    NextRoad(String),
    /// Nothing was stored: its slot is served elsewhere, as these words say.
    Moved(Vec<u8>),
}

/// Entries for a connection.
pub(super) struct Batch<'data> {
    pub(super) entries: Vec<Entry<'data>>,
    pub(super) how: How,
    /// Dropped when everything that was handed to the connection before is answered.
    pub(super) answered: Option<SyncSender<()>>,
}

/// How entries are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum How {
    /// For the first time, or again where they are known not to have arrived.
    #[default]
    Fresh,
    /// They may be at the destination already, from an earlier pass: it is asked before anything is sent.
    Doubtful,
    /// Their slot is being moved here: each behind an `ASKING`, in this form.
    Asking(Step),
}

/// What a command under way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// A write.
    Plain,
    /// The `ASKING` before one: its answer is no outcome.
    Asking,
    /// The write behind it.
    BehindAsking,
}

/// What is remembered of a command under way: enough to name its key again, not more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) place: EntryPlace,
    /// Where the type byte stands; the key's string is behind it.
    type_offset: u64,
    /// `i64::MAX` where it never expires.
    pub(super) expire_at_ms: i64,
    /// Its elements expire by themselves, and the key with the last of them.
    expires_in_parts: bool,
    /// Bytes of its value in the file.
    pub(super) bytes: u64,
    /// In which form it went.
    pub(super) step: Step,
    /// The form that was sent last, if any was.
    pub(super) tried: Option<Step>,
    /// What does not arrive with it.
    pub(super) losses: Losses,
    sent: Sent,
}

impl Ticket {
    pub(super) fn of(entry: &Entry<'_>) -> Self {
        Self {
            place: entry.place(),
            type_offset: entry.type_offset,
            expire_at_ms: entry.expire_at_ms.unwrap_or(i64::MAX),
            expires_in_parts: expires_in_parts(entry.value_type, entry.dialect),
            bytes: entry.value.len() as u64,
            step: Step::RAW,
            tried: None,
            losses: Losses::default(),
            sent: Sent::Plain,
        }
    }
}

/// A key whose `RESTORE` was refused: it goes once more, by another step.
#[derive(Debug)]
struct Again {
    ticket: Ticket,
    /// The server's words, where they are about this key.
    words: String,
    next: Step,
}

/// Failures in words that are not known, in a row, after which it is no longer about single keys.
const STRANGE_IN_A_ROW: usize = 100;

/// Runs one connection until the channel closes or the pass stops.
pub(super) fn run<'data>(
    shared: &Shared<'_, 'data>,
    shard: usize,
    pipeline: Pipeline<Ticket>,
    batches: &Receiver<Batch<'data>>,
) {
    let mut worker = Worker::begin(shared, shard, pipeline);
    loop {
        match batches.recv_timeout(pacing::IDLE) {
            Ok(batch) => worker.take(batch),
            Err(RecvTimeoutError::Timeout) => worker.keep_open(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    worker.finish();
}

/// One connection, and what it is doing.
pub(super) struct Worker<'s, 'data> {
    shared: &'s Shared<'s, 'data>,
    pipeline: Pipeline<Ticket>,
    replies: Replies<'s, 'data>,
    sender: Sender,
    /// A look-up broke off.
    abandoned: bool,
    /// Entries that came one by one since it was looked whether it is time to log in again.
    since_login: u32,
}

impl<'s, 'data> Worker<'s, 'data> {
    pub(super) fn begin(
        shared: &'s Shared<'s, 'data>,
        shard: usize,
        pipeline: Pipeline<Ticket>,
    ) -> Self {
        let replies = Replies {
            shared,
            shard,
            pending: Pending::default(),
            interval: Interval::default(),
            flushed_ms: 0,
            most_pending: KEPT_BACK.min(pipeline.farthest_marks().into()),
            asking_refused: false,
            prove: pipeline.proves_places(),
            strange: Vec::new(),
            stored: 0,
            broken: false,
            again: Vec::new(),
            to_read: Vec::new(),
            has_unplaced: false,
            now_ms: i64::MAX,
            answered: 0,
            answered_offset: 0,
            answered_bytes: 0,
        };
        Self {
            shared,
            pipeline,
            replies,
            sender: Sender {
                key: NameRoom::new(Some(shared.spool_dir)),
                walker: shared.walk.then(|| Decoder::new(Some(shared.spool_dir))),
                ladder: Ladder::new(Some(shared.spool_dir)),
                builder: Builder::new(shared.spool_dir),
            },
            abandoned: false,
            since_login: 0,
        }
    }

    /// Sends a batch; what ends the pass is told to its [`Stop`].
    pub(super) fn take(&mut self, mut batch: Batch<'data>) {
        let Self {
            shared,
            pipeline,
            replies,
            sender,
            abandoned,
            ..
        } = self;
        if shared.stop.is_set() {
            // Not finished: that is all there is to say of them.
            return;
        }
        if batch.answered.is_some() {
            if let Err(error) = sender.finish(pipeline, replies) {
                *abandoned |= breaks_off(pipeline, &error);
                failed(shared, pipeline, error);
            }
            return;
        }
        if let Err(error) = pipeline.renew_login(replies) {
            failed(shared, pipeline, error);
            return;
        }
        by_database(&mut batch.entries, pipeline.db(), shared.policies);
        let (from, asking) = match batch.how {
            How::Asking(step) => (step, true),
            _ => (Step::RAW, false),
        };
        let entries = match batch.how {
            How::Doubtful => {
                let settled = doubtful::settle(shared, batch.entries, pipeline, replies);
                // Its replies may still come, and nothing else is under way: there is nothing to wait for.
                *abandoned = settled.is_err();
                settled.map(|mut entries| {
                    by_database(&mut entries, pipeline.db(), shared.policies);
                    entries
                })
            }
            _ => Ok(batch.entries),
        };
        let sent = entries.and_then(|entries| {
            entries
                .iter()
                .try_for_each(|entry| match shared.stop.is_set() {
                    true => Ok(()),
                    false => sender.take(entry, from, asking, pipeline, replies),
                })
        });
        if let Err(error) = sent {
            *abandoned |= breaks_off(pipeline, &error);
            failed(shared, pipeline, error);
        }
    }

    /// Whether what goes to the database `db` of the file needs no other one to be chosen first.
    #[inline]
    pub(super) fn is_in(&self, db: u64) -> bool {
        self.pipeline.db() == self.shared.policies.db_map.get(db)
    }

    /// Sends one entry for the first time: as [`Worker::take`] with a batch of it alone, without moving it.
    #[inline]
    pub(super) fn take_one(&mut self, entry: &Entry<'data>) {
        if self.shared.stop.is_set() {
            return;
        }
        let (pipeline, replies) = (&mut self.pipeline, &mut self.replies);
        self.since_login = self.since_login.saturating_add(1);
        let sent = match self.since_login >= LOGIN_EVERY {
            true => {
                self.since_login = 0;
                pipeline.renew_login(replies)
            }
            false => Ok(()),
        };
        let sent = sent.and_then(|()| self.sender.take(entry, Step::RAW, false, pipeline, replies));
        if let Err(error) = sent {
            self.abandoned |= breaks_off(pipeline, &error);
            failed(self.shared, pipeline, error);
        }
    }

    /// Uses the connection where it was idle for long.
    pub(super) fn keep_open(&mut self) {
        if !self.shared.stop.is_set()
            && let Err(error) = pacing::keep_open(&mut self.pipeline, &mut self.replies)
        {
            failed(self.shared, &self.pipeline, error);
        }
    }

    /// Waits for what is under way, and says what is known of it.
    pub(super) fn finish(self) {
        let Self {
            shared,
            mut pipeline,
            mut replies,
            mut sender,
            abandoned,
            ..
        } = self;
        if !abandoned && let Err(error) = sender.finish(&mut pipeline, &mut replies) {
            failed(shared, &pipeline, error);
        }
        replies.tell_answered();
        replies.strange_ended();
        let out_of_step =
            replies.broken || pipeline.end() == Some(End::OutOfStep) || !pipeline.is_proven();
        if out_of_step && !replies.prove {
            let mut answered = std::mem::take(&mut replies.pending.answered);
            answered.close();
            shared.recorder.doubt(&answered.positions);
        }
        let mut unknown = match out_of_step || replies.interval.is_mixed() {
            // Replies were lost, doubled or moved since the last mark, or that was refused, or it never came and they differ:
            // what they said of their keys may have been said of others.
            true => replies.unplaced(),
            // The connection ended in its place: what came before was proven by what it was, or by the last mark.
            false => {
                replies.believe();
                Ranges::default()
            }
        };
        replies.flush();
        unknown.insert_all(&replies.unread());
        let mut closed = pipeline.end() == Some(End::Lost);
        for (ticket, sent) in pipeline.unanswered() {
            if std::mem::take(&mut closed) {
                let position = shared.base.saturating_add(ticket.place.ordinal);
                shared.limits.closed_upon(position, ticket.bytes);
            }
            if sent && ticket.sent != Sent::Asking {
                let position = shared.base.saturating_add(ticket.place.ordinal);
                unknown.insert(position..position.saturating_add(1));
            }
        }
        shared.recorder.doubt(&unknown);
    }
}

/// Puts the entries of one database together, those of the `current` one first: each change of the database waits for every
/// reply that is due, since what is sent behind a refused `SELECT` would land in the wrong one. Where two databases become
/// one, the order of its entries stays.
fn by_database(entries: &mut [Entry<'_>], current: u64, policies: &Policies) {
    let db = |entry: &Entry<'_>| policies.db_map.get(entry.db);
    if !entries.is_sorted_by_key(|entry| entry.db) {
        entries.sort_by_key(|entry| (db(entry) != current, db(entry)));
    }
}

/// Whether an error may have broken off a look at keys, whose replies still come: they are replies to nobody then, and the
/// connection is not used any more.
fn breaks_off(pipeline: &Pipeline<Ticket>, error: &Error) -> bool {
    pipeline.end().is_none() && passing(error).is_some()
}

/// Ends the pass for an error of sending. What the replies found wrong was said before.
pub(super) fn failed(shared: &Shared<'_, '_>, pipeline: &Pipeline<Ticket>, error: Error) {
    match pipeline.end() {
        _ if error.kind() == ErrorKind::Interrupted => shared.stop.set(error),
        Some(End::Lost | End::TimedOut) => shared.stop.pause(error, Why::Lost),
        // A network that mixes replies up does not become better by going on.
        Some(End::OutOfStep) => shared.stop.set(error),
        None if shared.stop.is_set() => {}
        // A question beside the keys was refused: a database could not be chosen, a value not be read.
        None => match passing(&error) {
            Some(why) => shared.stop.pause(error, why),
            None => shared.stop.set(error),
        },
    }
}

/// Values of so many bytes are looked at more closely.
const LARGEST_USUAL: usize = 16 * 1024;

/// What a connection sends with.
struct Sender {
    key: NameRoom,
    walker: Option<Decoder>,
    ladder: Ladder,
    builder: Builder,
}

/// So many entries go between two looks at whether it is time to log in again.
const LOGIN_EVERY: u32 = 128;

impl Sender {
    /// Sends an entry when it is its time, and what is to be done behind it.
    #[inline]
    fn take<'data>(
        &mut self,
        entry: &Entry<'data>,
        from: Step,
        asking: bool,
        pipeline: &mut Pipeline<Ticket>,
        replies: &mut Replies<'_, 'data>,
    ) -> Result<()> {
        let shared = replies.shared;
        pacing::wait(shared, entry, pipeline, replies)?;
        let is_sent = from == Step::RAW && !asking && self.send_usual(entry, pipeline, replies)?;
        if !is_sent {
            self.send(entry, from, None, asking, pipeline, replies)?;
        }
        if !replies.again.is_empty() {
            self.send_again(pipeline, replies)?;
        }
        match read_back::is_due(shared, replies) {
            true => self.read_back(pipeline, replies),
            false => Ok(()),
        }
    }

    /// Sends an entry as nearly all are: what [`Sender::send`] would do in several steps, in one. `false`, with nothing done,
    /// where it is not one of these.
    #[inline]
    fn send_usual<'data>(
        &mut self,
        entry: &Entry<'data>,
        pipeline: &mut Pipeline<Ticket>,
        replies: &mut Replies<'_, 'data>,
    ) -> Result<bool> {
        let shared = replies.shared;
        let (terms, policies) = (shared.terms, shared.policies);
        if self.walker.is_some()
            || entry.value.len() >= LARGEST_USUAL
            || terms.stages_payloads(policies)
            || shared.restore_closed.get().is_some()
            || pipeline.db() != policies.db_map.get(entry.db)
            || !pipeline.has_usual_names()
        {
            return Ok(false);
        }
        let Ok(key) = policies.name_of(entry, &mut self.key) else {
            return Ok(false);
        };
        let Some(usual) = Usual::of(entry, terms, policies, key) else {
            return Ok(false);
        };
        // Changed where it was made: to be moved so soon, it would have to be waited for.
        let mut ticket = Ticket::of(entry);
        ticket.expire_at_ms = usual.expire_at_ms.unwrap_or(i64::MAX);
        ticket.losses = usual.losses;
        ticket.tried = Some(Step::RAW);
        let write = |out: &mut Vec<u8>| usual.pack(out);
        pipeline
            .push_packed(ticket, usual.most(), write, replies)
            .map(|()| true)
    }

    /// Sends an entry in the form of step `from`, or of one behind it. `refused` are the step that the server refused before,
    /// and its words.
    fn send<'data>(
        &mut self,
        entry: &Entry<'data>,
        from: Step,
        refused: Option<(Step, &str)>,
        asking: bool,
        pipeline: &mut Pipeline<Ticket>,
        replies: &mut Replies<'_, 'data>,
    ) -> Result<()> {
        let shared = replies.shared;
        let words = refused.map_or("", |(_, words)| words);
        let ticket = Ticket {
            tried: refused.map(|(step, _)| step),
            ..Ticket::of(entry)
        };
        let closed = shared.restore_closed.get();
        let from = match closed {
            None => from,
            Some(_) => Step::COMMANDS,
        };
        let decided = self
            .ladder
            .decide(entry, shared.terms, shared.policies, from);
        let restore = match decided {
            Decision::Send(restore) => restore,
            Decision::Commands(mut by) => {
                let ticket = Ticket {
                    expire_at_ms: by.expire_at_ms.unwrap_or(i64::MAX),
                    step: Step::COMMANDS,
                    ..ticket
                };
                if let Some(closed) = closed {
                    by.why = closed_to_us(closed).into();
                }
                let bytes = entry.value.len() as u64;
                let by_surprise = !words.is_empty() || closed.is_some();
                let words = (words.to_owned(), by_surprise);
                self.builder.push(ticket, by, words, bytes);
                return match self.builder.is_full() {
                    true => self.build(pipeline, replies),
                    false => Ok(()),
                };
            }
            Decision::Skip(outcome, reason) => {
                let (outcome, reason) = after(words, outcome, &reason);
                replies.decided(&ticket, outcome, &reason);
                return Ok(());
            }
        };
        let ticket = Ticket {
            expire_at_ms: restore.expire_at_ms.unwrap_or(i64::MAX),
            step: restore.step,
            losses: restore.losses,
            ..ticket
        };
        let walked = self.walker.as_mut().map(|walker| walker.validate(entry));
        if let Some(Err(error)) = walked {
            replies.decided(
                &ticket,
                Outcome::Refused,
                &format!("its value cannot be walked: {error}"),
            );
            return Ok(());
        }
        let key = match shared.policies.name_of(entry, &mut self.key) {
            Ok(key) => key,
            Err(error) => {
                replies.decided(
                    &ticket,
                    Outcome::Refused,
                    &format!("its name cannot be read: {error}"),
                );
                return Ok(());
            }
        };
        if shared.terms.stages_payloads(shared.policies) {
            let bytes = entry.value.len() as u64;
            self.builder.push_payload(ticket, restore.db, bytes);
            return match self.builder.is_full() {
                true => self.build(pipeline, replies),
                false => Ok(()),
            };
        }
        pipeline.select(restore.db, replies)?;
        let ticket = Ticket {
            tried: Some(restore.step),
            ..ticket
        };
        let ticket = match asking {
            false => ticket,
            true => {
                let ticket = Ticket {
                    sent: Sent::Asking,
                    ..ticket
                };
                // Keys that are on their way cannot be looked at here, so each has its own marks; none between the two, as the
                // node would have forgotten by then what was asked.
                pipeline.mark_here()?;
                pipeline.push_ahead(ticket, &[Arg::from("ASKING")], replies)?;
                Ticket {
                    sent: Sent::BehindAsking,
                    ..ticket
                }
            }
        };
        if let Some(heavy) = restore.heavy
            && !asking
            && shared.terms.pauses.wants(heavy)
        {
            return send_measured(&restore, key, ticket, heavy, pipeline, replies);
        }
        // Asking the clock costs as much as packing a small key.
        let now_ms = if restore.asks_time() {
            replies.there_ms()
        } else {
            0
        };
        restore.with_args("RESTORE", key, now_ms, |args| {
            pipeline.push(ticket, args, replies)
        })?;
        match asking {
            true => pipeline.mark_here(),
            false => Ok(()),
        }
    }

    /// Sends what was refused by the next step of the ladder. Its bytes are read from the input again.
    #[inline]
    fn send_again(
        &mut self,
        pipeline: &mut Pipeline<Ticket>,
        replies: &mut Replies<'_, '_>,
    ) -> Result<()> {
        while let Some(Again {
            ticket,
            words,
            next,
        }) = replies.again.pop()
        {
            match replies.shared.snapshot.entry_at(&ticket.place) {
                Ok(entry) => {
                    let asking = ticket.sent == Sent::BehindAsking;
                    let refused = Some((ticket.step, words.as_str()));
                    self.send(&entry, next, refused, asking, pipeline, replies)?;
                }
                Err(error) => {
                    replies.decided(&ticket, Outcome::Failed, &format!("{words}; {error}"));
                }
            }
        }
        Ok(())
    }

    /// Reads all replies, and sends again what these refuse. What is left of it when the pass stops is not finished.
    fn finish(
        &mut self,
        pipeline: &mut Pipeline<Ticket>,
        replies: &mut Replies<'_, '_>,
    ) -> Result<()> {
        loop {
            let drained = pipeline.drain(replies);
            if replies.shared.stop.is_set() {
                // What was said in one breath with the words that ended the pass may be true of other keys.
                if pipeline.end().is_none() && replies.has_unplaced {
                    drop(read_back::look(replies.shared, pipeline, replies)?);
                }
                return drained;
            }
            drained?;
            if !replies.again.is_empty() {
                self.send_again(pipeline, replies)?;
            } else if !self.builder.is_empty() {
                self.build(pipeline, replies)?;
            } else if !replies.to_read.is_empty() {
                self.read_back(pipeline, replies)?;
            } else {
                return Ok(());
            }
        }
    }

    /// Writes what goes by plain commands, and sends what turns out not to.
    #[cold]
    fn build(
        &mut self,
        pipeline: &mut Pipeline<Ticket>,
        replies: &mut Replies<'_, '_>,
    ) -> Result<()> {
        let shared = replies.shared;
        for ticket in self.builder.run(shared, pipeline, replies)? {
            let entry = shared.snapshot.entry_at(&ticket.place)?;
            self.send(&entry, Step::WHOLE, None, false, pipeline, replies)?;
        }
        Ok(())
    }

    /// Looks at the keys that wait for it, and sends what turns out not to be there.
    #[cold]
    fn read_back<'data>(
        &mut self,
        pipeline: &mut Pipeline<Ticket>,
        replies: &mut Replies<'_, 'data>,
    ) -> Result<()> {
        for (entry, step) in read_back::look(replies.shared, pipeline, replies)? {
            self.send(&entry, step, None, false, pipeline, replies)?;
        }
        Ok(())
    }
}

/// Sends a large payload alone, and learns from what the destination says of how long it worked on it.
#[cold]
fn send_measured(
    restore: &Restore<'_>,
    key: &[u8],
    ticket: Ticket,
    heavy: Heavy,
    pipeline: &mut Pipeline<Ticket>,
    replies: &mut Replies<'_, '_>,
) -> Result<()> {
    let pauses = &replies.shared.terms.pauses;
    let before = Worked::ask(pipeline.idle_connection(replies)?)?;
    let (stored, now_ms) = (replies.stored, replies.there_ms());
    restore.with_args("RESTORE", key, now_ms, |args| {
        pipeline.push(ticket, args, replies)
    })?;
    let Some(before) = before else {
        pauses.are_hidden();
        return Ok(());
    };
    let after = Worked::ask(pipeline.idle_connection(replies)?)?;
    // One that is refused costs nothing.
    if replies.stored > stored
        && let Some(took) = after.and_then(|after| after.since(before))
    {
        pauses.learn(heavy, took);
    }
    Ok(())
}

/// Why a key does not go by `RESTORE` any more.
fn closed_to_us(words: &str) -> String {
    format!("RESTORE is closed to us: the destination says {words}")
}

/// What becomes of a key that is not sent: a failure, where the destination has refused it before in these words.
pub(super) fn after(words: &str, outcome: Outcome, reason: &str) -> (Outcome, String) {
    match (words, reason) {
        ("", reason) => (outcome, reason.to_owned()),
        (words, "") => (Outcome::Failed, words.to_owned()),
        (words, reason) => (Outcome::Failed, format!("{words}; {reason}")),
    }
}

/// Milliseconds of Unix time by our clock: for what depends on the moment of sending, not for the run's instant.
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Entries with outcomes that the recorder does not know yet.
#[derive(Debug, Default)]
struct Group {
    positions: Ranges,
    /// The range that grows: entries mostly end in order.
    run: std::ops::Range<u64>,
    outcomes: Tally,
    lifetimes: Lifetimes,
    losses: LossCounts,
    listed: Vec<Listed>,
}

impl Group {
    /// Adds an entry of a run whose instant is `instant_ms`.
    #[inline]
    fn add(&mut self, position: u64, outcome: Outcome, ticket: &Ticket, instant_ms: i64) {
        self.outcomes.add(outcome);
        if matches!(outcome, Outcome::Restored(_)) && !ticket.expires_in_parts {
            self.lifetimes.add(match ticket.expire_at_ms {
                i64::MAX => None,
                at => Some(at.saturating_sub(instant_ms)),
            });
        }
        if position == self.run.end {
            self.run.end = position.saturating_add(1);
        } else {
            self.positions.insert(self.run.clone());
            self.run = position..position.saturating_add(1);
        }
    }

    fn close(&mut self) {
        self.positions.insert(std::mem::take(&mut self.run));
    }

    fn kept_bytes(&self) -> usize {
        self.listed.last().map_or(0, |_| {
            self.listed
                .iter()
                .fold(0usize, |sum, l| sum.saturating_add(l.key.len()))
        })
    }
}

/// An entry that a person would want to know by name.
#[derive(Debug)]
struct Listed {
    ticket: Ticket,
    value_type: ValueType,
    key: Vec<u8>,
    outcome: Outcome,
    reason: String,
}

/// Whether a refusal is known to be this key's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// No mark came since.
    Open,
    Proven,
    /// Replies of its interval differ.
    Unplaced,
}

#[derive(Debug, Default)]
struct Pending {
    /// What replies said.
    answered: Group,
    /// What was known without any.
    decided: Group,
}

/// Entries that are kept back at most.
const KEPT_BACK: u64 = 512;

/// How long they are kept back at most while replies come, milliseconds.
const KEPT_MS: i64 = 50;

/// Bytes of names and words that are kept back at most.
const KEPT_BYTES: usize = 256 * 1024;

/// Bytes of a name that are kept while its entry is pending.
const LONGEST_NAME: usize = 64 * 1024;

/// Judges replies and counts outcomes.
pub(super) struct Replies<'s, 'data> {
    shared: &'s Shared<'s, 'data>,
    shard: usize,
    pending: Pending,
    /// What was said since the last mark.
    interval: Interval,
    /// When the recorder was told last.
    flushed_ms: i64,
    /// So many proven entries it is not told of at the most.
    most_pending: u64,
    /// The last `ASKING` was refused.
    asking_refused: bool,
    /// Marks prove which reply is whose.
    prove: bool,
    /// Keys that were refused in words that are not known, since the last one that was not: too many are about the service,
    /// not about them.
    strange: Vec<(Ticket, String, Place)>,
    /// So many were stored.
    stored: u64,
    /// A reply came that no RESTORE is answered by: which reply belongs to which key is not known any more.
    broken: bool,
    /// Keys whose payloads were refused since the last one was sent.
    again: Vec<Again>,
    /// Keys whose values at the destination are to be read.
    pub(super) to_read: Vec<ToRead>,
    /// Of some of these it is not known which reply was theirs.
    pub(super) has_unplaced: bool,
    /// When the replies that are being taken had come.
    now_ms: i64,
    /// How many were taken that the others do not know of yet, and the offset of the last one's entry.
    answered: u64,
    answered_offset: u64,
    /// Bytes of the values of these.
    answered_bytes: u64,
}

impl Sink<Ticket> for Replies<'_, '_> {
    fn received(&mut self) {
        self.now_ms = self.there_ms();
    }

    fn taken(&mut self) {
        self.tell_answered();
    }

    fn answered(&mut self, ticket: Ticket, answer: Answer<'_>) -> Result<()> {
        if ticket.sent == Sent::Asking {
            // Refused or not, the write behind it is answered.
            self.asking_refused = answer != Answer::Ok;
            return Ok(());
        }
        self.answered = self.answered.saturating_add(1);
        self.answered_offset = ticket.place.offset;
        self.answered_bytes = self.answered_bytes.saturating_add(ticket.bytes);
        if self.broken {
            let position = self.position(&ticket);
            self.shared
                .recorder
                .doubt(&Ranges::of(position..position.saturating_add(1)));
            return Ok(());
        }
        if answer == Answer::Ok {
            if !self.strange.is_empty() {
                self.strange_ended();
            }
            if ticket.sent == Sent::BehindAsking && self.asking_refused {
                return self.out_of_step(&ticket, "an OK behind a refused ASKING");
            }
            let expired = ticket.expire_at_ms != i64::MAX && ticket.expire_at_ms <= self.now_ms;
            self.interval.ok();
            self.said(ticket, Said::Stored { expired });
            return Ok(());
        }
        self.refused(ticket, answer)
    }

    fn proven(&mut self) {
        if self.broken {
            return;
        }
        match self.interval.is_mixed() {
            true => self.look_at_them(),
            false => self.believe(),
        }
        // Each time costs as much as some keys: where a mark follows each, not each time.
        if self.pending.answered.outcomes.total() >= self.most_pending
            || self.pending.answered.kept_bytes() >= KEPT_BYTES
            || self.now_ms.saturating_sub(self.flushed_ms) >= KEPT_MS
        {
            self.flush();
        }
    }

    fn refused_mark(&mut self, refusal: &Reply<'_>) -> Result<()> {
        let words = String::from_utf8_lossy(refusal.error().unwrap_or_default()).into_owned();
        let reaction = react(refusal, Asked::Restore, Situation::default());
        Err(self.stop(&words, advice(reaction), Why::of(reaction)))
    }
}

impl<'data> Replies<'_, 'data> {
    /// Lets the other threads know how far this one is.
    fn tell_answered(&mut self) {
        let answered = std::mem::take(&mut self.answered);
        if answered > 0 {
            self.shared
                .acknowledged
                .fetch_add(answered, Ordering::Relaxed);
            self.shared.far.settle(answered, self.answered_offset);
            let bytes = std::mem::take(&mut self.answered_bytes);
            self.shared.growth.add(answered, bytes);
        }
    }

    /// What the clock of the destination shows now: keys expire by that one.
    pub(super) fn there_ms(&self) -> i64 {
        let shard = self.shared.shards.list().get(self.shard);
        let ahead_ms = shard.and_then(|shard| shard.clock_ahead_ms);
        now_ms().saturating_add(ahead_ms.unwrap_or(0))
    }

    pub(super) fn on_conflict(&self) -> OnConflict {
        self.shared.on_conflict
    }

    fn position(&self, ticket: &Ticket) -> u64 {
        self.shared.base.saturating_add(ticket.place.ordinal)
    }

    /// A reply said so; it is to be proven.
    #[inline]
    fn pending_answer(&mut self, ticket: &Ticket, outcome: Outcome) {
        let (position, instant_ms) = (self.position(ticket), self.shared.policies.now_ms);
        let answered = &mut self.pending.answered;
        answered.add(position, outcome, ticket, instant_ms);
    }

    /// What a reply says of its key: believed when a mark has shown that it is its own.
    #[inline]
    fn said(&mut self, ticket: Ticket, said: Said) {
        match self.prove {
            true => self.interval.push(&ticket, said),
            false => self.believe_one(&ticket, said),
        }
    }

    /// The replies since the last mark are those of their keys.
    #[inline]
    fn believe(&mut self) {
        let mut told = self.interval.take();
        for (ticket, said) in told.drain() {
            self.believe_one(ticket, said);
        }
        self.interval.reuse(told);
        self.place_strange(Place::Proven);
    }

    #[inline]
    fn believe_one(&mut self, ticket: &Ticket, said: Said) {
        match said {
            Said::Stored { expired } => self.stored(ticket, expired),
            Said::Existed => self.existed(ticket),
            Said::Failed(words) => self.ended(ticket, Outcome::Failed, &words),
            Said::Again { words, next } => self.goes_again(ticket, words, next),
            Said::Nothing => {}
        }
    }

    /// The replies since the last mark differ: which is whose is not known, so what the destination holds is read.
    #[cold]
    fn look_at_them(&mut self) {
        for (ticket, said) in self.interval.take().drain() {
            self.to_read.push(ToRead::unplaced(ticket, said));
        }
        self.has_unplaced = true;
        self.place_strange(Place::Unplaced);
    }

    #[inline]
    fn place_strange(&mut self, place: Place) {
        for (_, _, open) in &mut self.strange {
            if *open == Place::Open {
                *open = place;
            }
        }
    }

    /// Keys of which something was said that may be true of another one, when the connection ends.
    fn unplaced(&mut self) -> Ranges {
        self.place_strange(Place::Unplaced);
        let told = self.interval.take();
        let strange = self.strange.iter();
        let strange = strange.filter(|(.., place)| *place == Place::Unplaced);
        let mut unplaced = Ranges::default();
        for ticket in told.tickets().chain(strange.map(|(ticket, ..)| ticket)) {
            let position = self.position(ticket);
            unplaced.insert(position..position.saturating_add(1));
        }
        unplaced
    }

    /// The destination said OK.
    #[inline]
    fn stored(&mut self, ticket: &Ticket, expired: bool) {
        self.stored = self.stored.wrapping_add(1);
        let outcome = match expired {
            true => Outcome::ExpiredOnArrival,
            false => Outcome::Restored(ticket.step.road()),
        };
        if self.shared.verify && ticket.sent == Sent::BehindAsking {
            self.not_read_back(ticket, outcome);
            return;
        }
        if self.shared.verify && !expired && !ticket.losses.any_meaning() {
            self.to_read.push(ToRead::stored(ticket));
            return;
        }
        self.pending_answer(ticket, outcome);
        if !ticket.losses.is_empty() {
            self.without(ticket, outcome);
        }
        self.kept_back();
    }

    /// A node that a slot is being moved to tells of its keys only behind `ASKING`.
    #[cold]
    fn not_read_back(&mut self, ticket: &Ticket, outcome: Outcome) {
        const WORDS: &str = "its slot was being moved, so it was not read back";
        if let Ok(mut verified) = self.shared.verified.lock() {
            verified.not_comparable = verified.not_comparable.saturating_add(1);
        }
        let listed = self.named(ticket, outcome, WORDS);
        self.pending_answer(ticket, outcome);
        self.pending.answered.losses.add(ticket.losses);
        self.pending.answered.listed.push(listed);
        self.kept_back();
    }

    /// Counts what did not arrive with a key, and lists the key where it was more than bookkeeping.
    #[cold]
    fn without(&mut self, ticket: &Ticket, outcome: Outcome) {
        self.pending.answered.losses.add(ticket.losses);
        if ticket.losses.any_meaning() {
            let lost = ticket.losses.iter().filter(|loss| loss.is_meaning());
            let names: Vec<&str> = lost.map(Loss::name).collect();
            let listed = self.named(ticket, outcome, &format!("without {}", names.join(", ")));
            self.pending.answered.listed.push(listed);
        }
    }

    /// Where no mark will come, what is pending is told after a while.
    #[inline]
    fn kept_back(&mut self) {
        if !self.prove && self.pending.answered.outcomes.total() >= KEPT_BACK {
            self.flush();
        }
    }

    /// Tells the recorder what is pending.
    fn flush(&mut self) {
        self.flushed_ms = self.now_ms;
        let mut answered = std::mem::take(&mut self.pending.answered);
        self.record(&mut answered);
        self.flush_decided();
    }

    fn flush_decided(&mut self) {
        let mut decided = std::mem::take(&mut self.pending.decided);
        self.record(&mut decided);
    }

    fn record(&mut self, group: &mut Group) {
        group.close();
        if group.positions.is_empty() {
            return;
        }
        let shared = self.shared;
        let misses: Vec<Miss> = group
            .listed
            .iter()
            .filter(|listed| listed.outcome.is_finding())
            .map(|listed| self.miss(listed))
            .collect();
        if !group.losses.is_empty() {
            shared.recorder.lost(&group.losses);
        }
        let told =
            shared
                .recorder
                .finished(&group.positions, &group.outcomes, &group.lifetimes, &misses);
        if let Err(error) = told {
            shared.stop.set(error);
        }
        for listed in &group.listed {
            shared.watcher.key(&KeyEvent {
                input: shared.input,
                ordinal: listed.ticket.place.ordinal,
                offset: listed.ticket.place.offset,
                db: listed.ticket.place.db,
                key: listed.key.get(..4096).unwrap_or(&listed.key),
                outcome: listed.outcome,
                reason: &listed.reason,
            });
        }
    }

    fn miss(&self, listed: &Listed) -> Miss {
        let names = &self.shared.policies.transform.names;
        // Of a longer one only the beginning is here.
        let whole = !names.is_identity() && listed.key.len() < LONGEST_NAME;
        let (key, db) = (Str::Raw(&listed.key), listed.ticket.place.db);
        let there = |room: &mut Vec<u8>| names.of(db, &key, room).ok().map(<[u8]>::to_vec);
        Miss {
            key_there: whole.then(|| there(&mut Vec::new())).flatten(),
            input: self.shared.input_name.to_owned(),
            db: listed.ticket.place.db,
            key: listed.key.clone(),
            value_type: listed
                .value_type
                .name(listed.ticket.place.dialect)
                .into_owned(),
            bytes: listed.ticket.bytes,
            offset: listed.ticket.place.offset,
            road: listed.ticket.tried.map(Step::road),
            outcome: listed.outcome.name(),
            reason: listed.reason.clone(),
        }
    }

    #[cold]
    fn refused(&mut self, ticket: Ticket, answer: Answer<'_>) -> Result<()> {
        let reply = answer.reply();
        let words = match reply.error() {
            Some(words) => String::from_utf8_lossy(words).into_owned(),
            None => reply.shown(),
        };
        self.interval.words(words.as_bytes());
        match react(&reply, Asked::Restore, Situation::default()) {
            Reaction::Done => {
                self.said(ticket, Said::Stored { expired: false });
                Ok(())
            }
            Reaction::KeyExists => {
                self.strange_ended();
                self.said(ticket, Said::Existed);
                self.abort()
            }
            Reaction::NextRoad(_) => {
                self.once_more(ticket, words, ticket.step.next());
                Ok(())
            }
            // It lacks an option that each of our payloads needs: another form changes nothing.
            Reaction::OlderForm => {
                self.once_more(ticket, words, Step::COMMANDS);
                Ok(())
            }
            Reaction::RoadClosed => {
                self.closed(&words);
                self.once_more(ticket, String::new(), Step::COMMANDS);
                Ok(())
            }
            Reaction::Moved(elsewhere) if self.shared.shards.is_cluster() => {
                self.sent_on(&ticket, elsewhere, false, &words)
            }
            Reaction::Ask(elsewhere) if self.shared.shards.is_cluster() => {
                self.sent_on(&ticket, elsewhere, true, &words)
            }
            Reaction::KeyFails => {
                self.fails(ticket, words);
                Ok(())
            }
            Reaction::KeyFailsStrangely => self.strangely(&ticket, words, Place::Open),
            Reaction::TooLarge => {
                const ADVICE: &str =
                    "raise proto-max-bulk-len there, or leave the key out with --max-size";
                // It goes again by the next road, with the limit that was learned. What is large behind a key or an
                // element, and not its value, cannot.
                let why = match self.shared.limits.refused(ticket.bytes) {
                    true => {
                        self.said(ticket, Said::Nothing);
                        Some(Why::Lost)
                    }
                    false => {
                        self.fails(ticket, words.clone());
                        None
                    }
                };
                Err(self.stop(&words, ADVICE, why))
            }
            Reaction::OutOfStep => self.out_of_step(&ticket, &format!("{words} to RESTORE")),
            // The command was not executed, and none behind it will be: nothing is known to be wrong with this key, and it is
            // not finished.
            reaction => {
                self.said(ticket, Said::Nothing);
                Err(self.stop(&words, advice(reaction), Why::of(reaction)))
            }
        }
    }

    /// A key goes again, by another step: its answer is still to come.
    fn once_more(&mut self, ticket: Ticket, words: String, next: Step) {
        self.answered = self.answered.saturating_sub(1);
        self.said(ticket, Said::Again { words, next });
    }

    /// `RESTORE` is closed to us from now on, for this run.
    fn closed(&self, words: &str) {
        let words = Escaped(words.as_bytes()).to_string();
        if self.shared.restore_closed.set(words.clone()).is_ok() {
            self.shared.watcher.note(&format!(
                "the destination does not let us RESTORE any more ({words}): the keys that are left go by plain commands, \
                 which is slower; what would open it again, for the next run: {}",
                advice(Reaction::RoadClosed)
            ));
        }
    }

    /// A reply came that belongs to no such command.
    #[cold]
    fn out_of_step(&mut self, ticket: &Ticket, words: &str) -> Result<()> {
        self.broken = true;
        let position = self.position(ticket);
        self.shared
            .recorder
            .doubt(&Ranges::of(position..position.saturating_add(1)));
        Err(self.stop(
            words,
            "something between here and the server drops, repeats or reorders replies",
            None,
        ))
    }

    /// The server will not have this key.
    fn fails(&mut self, ticket: Ticket, words: String) {
        self.stop_if_wanted(Outcome::Failed);
        self.said(ticket, Said::Failed(words));
    }

    /// A node serves the key's slot no more, or is about to: it was not stored, and goes where the node says.
    fn sent_on(
        &mut self,
        ticket: &Ticket,
        Elsewhere { slot, node }: Elsewhere<'_>,
        ask: bool,
        words: &str,
    ) -> Result<()> {
        let Shared {
            redirects, shards, ..
        } = self.shared;
        let count = if ask {
            &redirects.asked
        } else {
            &redirects.moved
        };
        count.fetch_add(1, Ordering::Relaxed);
        let shard = match shards.index_of(node, self.shard) {
            Some((_, Some(shard))) => shard,
            other => {
                if let Some((node, _)) = other {
                    redirects.add_unknown(node);
                }
                let advice =
                    "if that is an address that cannot be reached from here: --node-map A=B";
                return Err(self.stop(words, advice, Some(Why::Moved)));
            }
        };
        if !ask {
            shards.moved(slot, shard);
        }
        // Its answer is still to come.
        self.answered = self.answered.saturating_sub(1);
        redirects.add(Redirect {
            place: ticket.place,
            step: ticket.step,
            ask: ask.then_some(shard),
        });
        Ok(())
    }

    /// A key failed in words that are not known.
    fn strangely(&mut self, ticket: &Ticket, words: String, place: Place) -> Result<()> {
        if self.shared.fail_fast {
            match place {
                Place::Open => self.fails(*ticket, words),
                _ => self.ended(ticket, Outcome::Failed, &words),
            }
            return Ok(());
        }
        const ADVICE: &str = "is a quota of the service used up?";
        // Those of the present row are not finished where it ends here: they go again with the next pass, or the next run.
        let answered = self.shared.acknowledged.load(Ordering::Relaxed);
        let of_a_minute = match self.shared.strange.add(Instant::now(), answered) {
            Verdict::Key => None,
            Verdict::Pause(refused, of) => Some((refused, of, Some(Why::Busy))),
            Verdict::Stop(refused, of) => Some((refused, of, None)),
        };
        if let Some((refused, of, why)) = of_a_minute {
            self.strange.clear();
            let words = format!("{words}, and the like to {refused} of the last {of} keys");
            return Err(self.stop(&words, ADVICE, why));
        }
        if self.strange.len() < STRANGE_IN_A_ROW {
            self.strange.push((*ticket, words.clone(), place));
        }
        if self.strange.len() < STRANGE_IN_A_ROW {
            return Ok(());
        }
        let words = format!("{words}, to {STRANGE_IN_A_ROW} keys in a row");
        Err(self.stop(&words, ADVICE, Some(Why::Busy)))
    }

    /// A key that was built.
    pub(super) fn built(&mut self, ticket: &Ticket, end: Built) -> Result<()> {
        self.answered = self.answered.saturating_add(1);
        self.answered_offset = ticket.place.offset;
        self.answered_bytes = self.answered_bytes.saturating_add(ticket.bytes);
        match end {
            Built::Stored => {
                self.strange_ended();
                let expired =
                    ticket.expire_at_ms != i64::MAX && ticket.expire_at_ms <= self.there_ms();
                self.stored(ticket, expired);
                Ok(())
            }
            Built::Exists => {
                self.strange_ended();
                self.existed(ticket);
                self.abort()
            }
            Built::Expired => {
                self.ended(ticket, Outcome::ExpiredOnArrival, "");
                Ok(())
            }
            Built::Failed(words) => {
                self.ended(ticket, Outcome::Failed, &words);
                Ok(())
            }
            Built::FailedStrangely(words) => self.strangely(ticket, words, Place::Proven),
            Built::NextRoad(words) => {
                // A mark has proven it.
                self.answered = self.answered.saturating_sub(1);
                self.goes_again(ticket, words, ticket.step.next());
                Ok(())
            }
            Built::Moved(words) => {
                match react(&Reply::Error(&words), Asked::Write, Situation::default()) {
                    Reaction::Moved(elsewhere) => {
                        let words = Escaped(&words).to_string();
                        self.sent_on(ticket, elsewhere, false, &words)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// All that were built were told, and a mark has proven it.
    pub(super) fn built_all(&mut self) {
        self.tell_answered();
        self.flush();
    }

    /// The destination said that it has the key.
    fn existed(&mut self, ticket: &Ticket) {
        const WORDS: &str = super::EXISTS;
        match self.shared.on_conflict {
            OnConflict::Skip => self.ended(ticket, Outcome::Existing, ""),
            OnConflict::Same if ticket.sent == Sent::BehindAsking => {
                let words = format!("{WORDS}, and its slot is being moved: it was not compared");
                self.ended(ticket, Outcome::Conflict, &words);
            }
            OnConflict::Same => self.to_read.push(ToRead::existed(ticket)),
            OnConflict::Fail | OnConflict::Replace | OnConflict::Abort => {
                self.ended(ticket, Outcome::Conflict, WORDS);
            }
        }
    }

    /// Ends the run at a key that exists, where that is wanted.
    fn abort(&self) -> Result<()> {
        if self.shared.on_conflict != OnConflict::Abort {
            return Ok(());
        }
        self.shared
            .stop
            .set(Error::new(ErrorKind::Destination, super::ABORTED));
        Err(said_already())
    }

    /// Ends the pass, for good or for a while.
    pub(super) fn stop(&self, words: &str, advice: &'static str, why: Option<Why>) -> Error {
        let words = Escaped(words.as_bytes()).to_string();
        // Where it is tried again, it has not.
        let stopped = why.map_or("; the load stopped", |_| "");
        let error = Error::new(
            ErrorKind::Destination,
            format!("the destination says {words}{stopped}"),
        )
        .with_hint(advice);
        match why {
            Some(why) => self.shared.stop.pause(error, why),
            None => self.shared.stop.set(error),
        }
        said_already()
    }

    /// Refusals in words that are not known were about these keys alone, unless they were too many.
    #[cold]
    fn strange_ended(&mut self) {
        if self.strange.len() >= STRANGE_IN_A_ROW {
            return;
        }
        for (ticket, words, place) in std::mem::take(&mut self.strange) {
            match place {
                Place::Open => self.said(ticket, Said::Failed(words)),
                Place::Proven => self.ended(&ticket, Outcome::Failed, &words),
                Place::Unplaced => {
                    self.has_unplaced = true;
                    self.to_read
                        .push(ToRead::unplaced(&ticket, Said::Failed(words)));
                }
            }
        }
    }

    /// An entry that a reply ended.
    fn ended(&mut self, ticket: &Ticket, outcome: Outcome, reason: &str) {
        let listed = self.listed(ticket, outcome, reason);
        self.pending_answer(ticket, outcome);
        self.pending.answered.listed.extend(listed);
        self.kept_back();
    }

    /// An entry that ended without having been sent.
    pub(super) fn decided(&mut self, ticket: &Ticket, outcome: Outcome, reason: &str) {
        let position = self.position(ticket);
        let listed = self.listed(ticket, outcome, reason);
        self.shared.far.settle(1, ticket.place.offset);
        self.shared.growth.add(1, ticket.bytes);
        let group = &mut self.pending.decided;
        group.add(position, outcome, ticket, self.shared.policies.now_ms);
        group.listed.extend(listed);
        if group.outcomes.total() >= KEPT_BACK || group.kept_bytes() >= KEPT_BYTES {
            self.flush_decided();
        }
    }

    /// An entry goes by another step of the ladder.
    pub(super) fn goes_again(&mut self, ticket: &Ticket, words: String, next: Step) {
        self.again.push(Again {
            ticket: *ticket,
            words,
            next,
        });
    }

    /// An entry that was answered before and whose value at the destination was read. `told`: by name, whatever came out.
    pub(super) fn read(&mut self, ticket: &Ticket, outcome: Outcome, reason: &str, told: bool) {
        let position = self.position(ticket);
        let listed = match told {
            true => Some(self.named(ticket, outcome, reason)),
            false => self.listed(ticket, outcome, reason),
        };
        let group = &mut self.pending.decided;
        group.add(position, outcome, ticket, self.shared.policies.now_ms);
        if matches!(outcome, Outcome::Restored(_)) && !ticket.losses.is_empty() {
            group.losses.add(ticket.losses);
        }
        group.listed.extend(listed);
        if group.outcomes.total() >= KEPT_BACK || group.kept_bytes() >= KEPT_BYTES {
            self.flush_decided();
        }
    }

    /// What was stored and not read back, when the connection ends: to be looked up by the next pass. What existed is simply
    /// sent again, unless it is not known whose answers those were.
    fn unread(&mut self) -> Ranges {
        let mut unread = Ranges::default();
        for waiting in std::mem::take(&mut self.to_read) {
            if waiting.may_be_there() || self.broken {
                let position = self.position(&waiting.ticket);
                unread.insert(position..position.saturating_add(1));
            }
        }
        unread
    }

    /// What is told of an entry that a person would want to know by name.
    fn listed(&self, ticket: &Ticket, outcome: Outcome, reason: &str) -> Option<Listed> {
        if !(outcome.is_finding() || outcome == Outcome::Empty) {
            return None;
        }
        self.stop_if_wanted(outcome);
        Some(self.named(ticket, outcome, reason))
    }

    /// Ends the run at a key that did not arrive, where that is wanted.
    fn stop_if_wanted(&self, outcome: Outcome) {
        if self.shared.fail_fast
            && matches!(
                outcome,
                Outcome::Refused
                    | Outcome::Failed
                    | Outcome::ReadBackDifferent
                    | Outcome::Uncertain
            )
        {
            let error = Error::new(ErrorKind::Destination, super::FAILED_FAST);
            self.shared.stop.set(error);
        }
    }

    fn named(&self, ticket: &Ticket, outcome: Outcome, reason: &str) -> Listed {
        let start = usize::try_from(ticket.type_offset).unwrap_or(usize::MAX);
        let bytes = self.shared.snapshot.data().get(start..).unwrap_or_default();
        let mut cursor = Cursor::new(bytes, ticket.type_offset);
        let value_type = cursor.u8().unwrap_or_default();
        let key = Str::read(&mut cursor)
            .map(|key| key.preview(LONGEST_NAME))
            .unwrap_or_default();
        Listed {
            ticket: *ticket,
            value_type: ValueType(value_type),
            key,
            outcome,
            reason: reason.to_owned(),
        }
    }
}

/// The pass has ended with a reason: this only unwinds.
fn said_already() -> Error {
    Error::new(ErrorKind::Destination, "the load stopped")
}

/// What to do about an answer that stops a load.
pub(super) fn advice(reaction: Reaction<'_>) -> &'static str {
    match reaction {
        Reaction::RoadClosed => {
            "the user needs the right to RESTORE (in Redis' words: ACL SETUSER … +restore)"
        }
        Reaction::Retry(_) => "wait until the destination can write again",
        Reaction::Pause(crate::target::Pause::OutOfMemory) => "give the destination more memory",
        Reaction::Pause(crate::target::Pause::CannotSave) => {
            "the destination cannot write to its disk: mend that first"
        }
        Reaction::Moved(_) | Reaction::Ask(_) => {
            "the destination is a node of a cluster: say --cluster auto"
        }
        Reaction::FindMaster => "it became a replica: load into the master",
        Reaction::Login => "log in with a user and password that hold for the whole load",
        _ => "nothing more was sent",
    }
}
