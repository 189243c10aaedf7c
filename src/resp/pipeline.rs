//! Many commands under way on one connection, each reply tied to its command.
//!
//! One thread writes and reads: the socket never blocks, so the next batch goes out while replies of the last one come in,
//! and neither side can wait for the other for ever.
//!
//! - **Tickets.** Each command carries a ticket of the caller's; it comes back with the reply, in the order of sending.
//!   When the connection dies, [`Pipeline::unanswered`] gives the rest, and says of each whether any byte of it was sent.
//! - **The window** bounds commands and bytes that are under way. It starts small and doubles while the rate grows with it:
//!   a server 80 ms away needs tens of thousands of commands under way, one next door a few hundred.
//! - **Marks.** Every so many commands ([`WindowOptions::mark_every`]), and at the end, a mark proves that no reply was dropped, doubled or moved
//!   across it (see [`super::mark`]). Two replies between the same two marks can still have changed places, which matters
//!   where they say different things: [`Pipeline::mark_closely`] puts the marks closer together the nearer the last reply
//!   lies that was not `+OK`, so that refusals in number are each held by a mark of their own.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::conn::{Connection, End};
use super::pack::{self, Arg, Out};
use super::reply::{Reply, Scanned, count_ok_run};
use crate::error::{Error, Result};

/// Commands between two marks.
const MARK_EVERY: u32 = 512;

/// Where marks stand closely, each of so many commands has its own at first and behind each reply that is not `+OK`: about what
/// is sent before the first replies come.
const EACH: u32 = 512;

/// Behind these, marks are as far apart as this part of the commands since. So much of what is sent may have to be looked at
/// again for a refusal among them, and not more.
const CALM_PART: u32 = 8;

/// Bytes that are gathered before they are handed to the socket.
const BATCH: usize = 128 * 1024;

/// With so many commands under way the server has work for a while: it is not worth waking up for each of its replies.
const BUSY: usize = 1024;

/// How long it is left alone then: for this part of what is under way at the rate of late, within bounds.
const NAP_PART: f64 = 1.0 / 8.0;
const NAP: Duration = Duration::from_micros(500);
const LONGEST_NAP: Duration = Duration::from_millis(4);

/// What the server said to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'r> {
    /// `+OK`.
    Ok,
    /// Anything else.
    Other(Reply<'r>),
}

impl<'r> Answer<'r> {
    /// The answer as a reply.
    #[must_use]
    pub fn reply(self) -> Reply<'r> {
        match self {
            Answer::Ok => Reply::Simple(b"OK"),
            Answer::Other(reply) => reply,
        }
    }
}

/// Takes each answer, in the order of sending.
pub trait Sink<T> {
    /// The command of `ticket` was answered.
    ///
    /// # Errors
    /// Whatever makes it useless to send more. [`Pipeline::push`] and [`Pipeline::drain`] give the first such error back; the
    /// answers to what is under way go on coming here.
    fn answered(&mut self, ticket: T, answer: Answer<'_>) -> Result<()>;

    /// Replies have come and follow now: to look at the clock once for all of them.
    fn received(&mut self) {}

    /// All replies that have come were taken.
    fn taken(&mut self) {}

    /// A mark came back in its place: every answer so far belongs to its ticket. Answers behind the last mark are to be
    /// doubted where the connection ends as [`End::OutOfStep`].
    fn proven(&mut self) {}

    /// A mark was refused, since the server refuses everything for a while. Answers behind the last mark that came back are
    /// to be doubted unless another one proves them ([`Pipeline::is_proven`]).
    ///
    /// # Errors
    /// As [`Sink::answered`].
    fn refused_mark(&mut self, _refusal: &Reply<'_>) -> Result<()> {
        Ok(())
    }
}

impl<T, F: FnMut(T, Answer<'_>) -> Result<()>> Sink<T> for F {
    fn answered(&mut self, ticket: T, answer: Answer<'_>) -> Result<()> {
        self(ticket, answer)
    }
}

/// How much may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowOptions {
    /// Commands at the start.
    pub commands: usize,
    /// Bytes at the start.
    pub bytes: u64,
    /// Commands at the most: a ticket of each is held in memory.
    pub most_commands: usize,
    /// Commands between two marks.
    pub mark_every: u32,
    /// Bytes at the most. Servers cut a client whose unread input passes `client-query-buffer-limit`, 1 GiB by default.
    pub most_bytes: u64,
}

impl Default for WindowOptions {
    fn default() -> Self {
        Self {
            commands: 512,
            bytes: 1 << 20,
            most_commands: 32 * 1024,
            mark_every: MARK_EVERY,
            most_bytes: 64 << 20,
        }
    }
}

/// A connection with many commands under way.
#[derive(Debug)]
pub struct Pipeline<T> {
    connection: Connection,
    /// Bytes that wait for the socket, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// Bytes of the stream before `out`.
    stream_before_out: u64,
    slots: VecDeque<Slot<T>>,
    under_way: u64,
    window: Window,
    since_mark: u32,
    marks: bool,
    /// Where marks stand closely: commands sent since the last reply that was not `+OK`.
    calm: Option<u32>,
    /// Commands between two marks at the most.
    farthest: u32,
    /// A mark stands behind each command.
    marks_each: bool,
    /// The sink's first error since it was last given back. A command is never cut in the middle because of it.
    refusal: Option<Error>,
    /// Tickets whose commands were not begun.
    never_sent: Vec<T>,
    /// The last mark that was answered came back.
    proven: bool,
}

#[derive(Debug)]
struct Slot<T> {
    due: Due<T>,
    /// Where its command begins in the stream, and its bytes.
    begin: u64,
    bytes: u64,
}

#[derive(Debug)]
enum Due<T> {
    Command(T),
    Mark(u64),
}

impl<T> Pipeline<T> {
    /// Takes over a connection that has nothing under way.
    ///
    /// # Errors
    /// Those of [`Connection::prove`], which finds out what marks the server answers.
    pub fn new(mut connection: Connection, options: WindowOptions) -> Result<Self> {
        let marks = connection.prove()?;
        Ok(Self {
            connection,
            out: Vec::with_capacity(BATCH),
            sent: 0,
            stream_before_out: 0,
            slots: VecDeque::new(),
            under_way: 0,
            window: Window::new(options),
            since_mark: 0,
            marks,
            calm: None,
            farthest: options.mark_every,
            marks_each: false,
            refusal: None,
            never_sent: Vec::new(),
            proven: true,
        })
    }

    /// Whether the last mark that was answered came back: not where the server refused it.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// From now on marks stand the closer the nearer the last reply is that was not `+OK`: behind each command at first.
    pub fn mark_closely(&mut self) {
        self.calm = Some(0);
    }

    /// From now on a mark stands behind each command.
    pub fn mark_each(&mut self) {
        self.marks_each = true;
    }

    /// Commands between two marks at the most.
    #[must_use]
    pub fn farthest_marks(&self) -> u32 {
        self.farthest
    }

    /// Commands until the next mark.
    #[inline]
    fn mark_distance(&self) -> u32 {
        if self.marks_each {
            return 1;
        }
        self.calm.map_or(self.farthest, |calm| {
            (calm.saturating_sub(EACH) / CALM_PART).clamp(1, self.farthest.max(1))
        })
    }

    /// Whether the server answers marks, so that replies prove their places.
    #[must_use]
    pub fn proves_places(&self) -> bool {
        self.marks
    }

    /// Commands that may be under way now.
    #[must_use]
    pub fn window_commands(&self) -> usize {
        self.window.commands
    }

    /// The database that commands go to.
    #[must_use]
    pub fn db(&self) -> u64 {
        self.connection.db()
    }

    /// Sends a command, when the window has room for it. Replies to earlier ones go to `sink` meanwhile.
    ///
    /// # Errors
    /// The connection is over: the ticket is among the unanswered ones then. Or `sink` said stop: then the command may still
    /// be under way, and its answer goes to the sink like all others.
    pub fn push(&mut self, ticket: T, args: &[Arg<'_>], sink: &mut impl Sink<T>) -> Result<()> {
        self.put(ticket, args, sink)?;
        self.go_on(sink)
    }

    fn put(&mut self, ticket: T, args: &[Arg<'_>], sink: &mut impl Sink<T>) -> Result<()> {
        let renames = self.connection.renames().clone();
        let renamed = renames.applied(args);
        let sent = renamed.as_deref().unwrap_or(args);
        let bytes = pack::packed_len(sent) as u64;
        if let Err(error) = self.make_room(bytes, sink) {
            self.never_sent.push(ticket);
            return Err(error);
        }
        self.connection.traced(args);
        let begin = self.stream_end();
        let written = pack::command(
            &mut Writer {
                pipeline: self,
                sink,
            },
            sent,
        );
        self.sent_one(ticket, begin, bytes);
        written
    }

    /// As [`Pipeline::push`], for a command that the next one needs directly before it: no mark follows.
    ///
    /// # Errors
    /// As [`Pipeline::push`].
    pub fn push_ahead(
        &mut self,
        ticket: T,
        args: &[Arg<'_>],
        sink: &mut impl Sink<T>,
    ) -> Result<()> {
        self.put(ticket, args, sink)?;
        self.since_mark = self.since_mark.saturating_add(1);
        Ok(())
    }

    /// Puts a mark here, unless one stands here.
    ///
    /// # Errors
    /// None while the connection is open.
    pub fn mark_here(&mut self) -> Result<()> {
        match self.since_mark {
            0 => Ok(()),
            _ => self.mark(),
        }
    }

    /// Its reply is due.
    #[inline]
    fn sent_one(&mut self, ticket: T, begin: u64, bytes: u64) {
        self.slots.push_back(Slot {
            due: Due::Command(ticket),
            begin,
            bytes,
        });
        self.under_way = self.under_way.saturating_add(bytes);
        self.calm = self.calm.map(|calm| calm.saturating_add(1));
    }

    /// What is to be done behind each command.
    #[inline]
    fn go_on(&mut self, sink: &mut impl Sink<T>) -> Result<()> {
        self.since_mark = self.since_mark.saturating_add(1);
        if self.since_mark >= self.mark_distance() {
            self.mark()?;
        }
        if self.waiting() >= BATCH {
            // Where the socket is full, each reply would end a wait: it is let alone first.
            self.pump(false, sink)?;
            while self.waiting() >= BATCH {
                self.nap();
                self.pump(true, sink)?;
            }
        }
        self.refusal.take().map_or(Ok(()), Err)
    }

    /// Whether every command has its usual name there, so that one may pack itself.
    #[must_use]
    #[inline]
    pub fn has_usual_names(&self) -> bool {
        self.connection.renames().is_empty()
    }

    /// Logs in again where it is time: everything under way is answered first.
    ///
    /// # Errors
    /// As [`Pipeline::drain`] and [`Connection::renew_login`].
    #[inline]
    pub fn renew_login(&mut self, sink: &mut impl Sink<T>) -> Result<()> {
        match self.connection.login_is_due() {
            true => self.idle_connection(sink)?.renew_login(),
            false => Ok(()),
        }
    }

    /// Sends a small command that packs itself: `write` appends it whole, at most `most` bytes.
    ///
    /// # Errors
    /// As [`Pipeline::push`].
    #[inline]
    pub fn push_packed(
        &mut self,
        ticket: T,
        most: usize,
        write: impl FnOnce(&mut Vec<u8>),
        sink: &mut impl Sink<T>,
    ) -> Result<()> {
        if let Err(error) = self.make_room(most as u64, sink) {
            self.never_sent.push(ticket);
            return Err(error);
        }
        let begin = self.stream_end();
        write(&mut self.out);
        let bytes = self.stream_end().saturating_sub(begin);
        self.sent_one(ticket, begin, bytes);
        self.go_on(sink)
    }

    /// Whether a command of `bytes` more would leave the window within these bounds.
    #[inline]
    fn fits(&self, bytes: u64, commands: usize, all_bytes: u64) -> bool {
        self.slots.is_empty()
            || self.slots.len() < commands && self.under_way.saturating_add(bytes) <= all_bytes
    }

    /// Waits until the window has room for `bytes` more: a quarter of it, since each waking up costs more than a command.
    #[inline]
    fn make_room(&mut self, bytes: u64, sink: &mut impl Sink<T>) -> Result<()> {
        if self.slots.is_empty() && self.waiting() == 0 {
            self.connection.begin_request()?;
        }
        if self.fits(bytes, self.window.commands, self.window.bytes) {
            return Ok(());
        }
        self.await_room(bytes, sink)
    }

    #[cold]
    fn await_room(&mut self, bytes: u64, sink: &mut impl Sink<T>) -> Result<()> {
        let (commands, all_bytes) = (self.window.commands, self.window.bytes);
        let commands = commands.saturating_sub(commands / 4).max(1);
        let all_bytes = match all_bytes / 4 {
            quarter if bytes <= quarter => all_bytes.saturating_sub(quarter),
            _ => all_bytes,
        };
        while !self.fits(bytes, commands, all_bytes) {
            self.window.was_full = true;
            if self.waiting() == 0 {
                self.nap();
            }
            self.pump(true, sink)?;
            if let Some(refusal) = self.refusal.take() {
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Lets a busy server work: what it answers meanwhile is then taken at once.
    fn nap(&self) {
        if self.slots.len() >= BUSY {
            let nap = self.window.lasts(self.slots.len()).mul_f64(NAP_PART);
            std::thread::sleep(nap.clamp(NAP, LONGEST_NAP));
        }
    }

    /// Sends everything and waits for all replies; a last mark proves that they were all.
    ///
    /// # Errors
    /// As [`Pipeline::push`].
    pub fn drain(&mut self, sink: &mut impl Sink<T>) -> Result<()> {
        self.mark_here()?;
        while self.waiting() > 0 || !self.slots.is_empty() {
            self.pump(true, sink)?;
        }
        self.refusal.take().map_or(Ok(()), Err)
    }

    /// Switches the database: everything under way is answered first, since what is sent behind a refused `SELECT` would
    /// land in the wrong one.
    ///
    /// # Errors
    /// As [`Pipeline::drain`] and [`Connection::select`].
    pub fn select(&mut self, db: u64, sink: &mut impl Sink<T>) -> Result<()> {
        if db == self.connection.db() {
            return Ok(());
        }
        self.drain(sink)?;
        self.connection.select(db)
    }

    /// Why the connection is over, if it is.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.connection.end()
    }

    /// For how long nothing was sent.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.connection.idle()
    }

    /// From now on at most so many commands are under way, and bytes as if these were of 1 KiB each.
    pub fn bound(&mut self, commands: usize) {
        let commands = commands.max(1);
        self.window.options.most_commands = commands;
        self.window.options.most_bytes = (commands as u64).saturating_mul(1024).min(64 << 20);
        // It was chosen for how long others wait, not for the rate: there is nothing to find out by growing.
        self.window.commands = commands;
        self.window.bytes = self.window.options.most_bytes;
    }

    /// Commands whose replies are due.
    #[must_use]
    pub fn due(&self) -> usize {
        self.slots.len()
    }

    /// The connection, for requests of one command: only with nothing under way.
    ///
    /// # Errors
    /// As [`Pipeline::drain`].
    pub fn idle_connection(&mut self, sink: &mut impl Sink<T>) -> Result<&mut Connection> {
        self.drain(sink)?;
        Ok(&mut self.connection)
    }

    /// The tickets whose replies never came, in the order of sending. With each: whether any byte of its command was handed
    /// to the network. If not, the destination cannot have executed it; if so, nobody knows.
    pub fn unanswered(self) -> impl Iterator<Item = (T, bool)> {
        let handed = self
            .stream_before_out
            .saturating_add(self.sent as u64)
            .saturating_add(self.connection.written_at_end() as u64);
        let under_way = self
            .slots
            .into_iter()
            .filter_map(move |slot| match slot.due {
                Due::Command(ticket) => Some((ticket, slot.begin < handed)),
                Due::Mark(_) => None,
            });
        under_way.chain(self.never_sent.into_iter().map(|ticket| (ticket, false)))
    }

    /// Bytes of the stream so far, with what still waits for the socket.
    fn stream_end(&self) -> u64 {
        self.stream_before_out.saturating_add(self.out.len() as u64)
    }

    fn waiting(&self) -> usize {
        self.out.len().saturating_sub(self.sent)
    }

    fn mark(&mut self) -> Result<()> {
        self.since_mark = 0;
        let begin = self.stream_end();
        if let Some(marks) = self.connection.marks() {
            let number = marks.send(&mut self.out)?;
            let bytes = self.stream_end().saturating_sub(begin);
            self.slots.push_back(Slot {
                due: Due::Mark(number),
                begin,
                bytes,
            });
            self.under_way = self.under_way.saturating_add(bytes);
        }
        Ok(())
    }

    /// One step of both directions.
    fn pump(&mut self, wait: bool, sink: &mut impl Sink<T>) -> Result<()> {
        self.step(&[], wait, sink).map(|_| ())
    }

    /// Writes what waits and then of `large`, takes in what came. Gives how many bytes of `large` were written.
    fn step(&mut self, large: &[u8], wait: bool, sink: &mut impl Sink<T>) -> Result<usize> {
        let waiting = self.out.get(self.sent..).unwrap_or_default();
        let behind = waiting.len();
        let written = self.connection.exchange([waiting, large], wait)?;
        let of_out = written.min(behind);
        self.sent = self.sent.saturating_add(of_out);
        if self.sent == self.out.len() {
            self.stream_before_out = self.stream_before_out.saturating_add(self.out.len() as u64);
            self.out.clear();
            self.sent = 0;
        } else if self.sent >= BATCH {
            // A socket that is always full is never written empty: what is sent must not stay in front for ever.
            self.stream_before_out = self.stream_before_out.saturating_add(self.sent as u64);
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        let of_large = written.saturating_sub(of_out);
        self.stream_before_out = self.stream_before_out.saturating_add(of_large as u64);
        self.take_replies(sink)?;
        Ok(of_large)
    }

    fn take_replies(&mut self, sink: &mut impl Sink<T>) -> Result<()> {
        if self.connection.received().is_empty() {
            return Ok(());
        }
        sink.received();
        loop {
            let run = count_ok_run(self.connection.received());
            if run > 0 {
                let mut taken = 0usize;
                while taken < run
                    && let Some(Slot { due, bytes, .. }) = self.slots.pop_front()
                {
                    let Due::Command(ticket) = due else {
                        return Err(self.connection.out_of_step("a mark was answered by +OK"));
                    };
                    self.under_way = self.under_way.saturating_sub(bytes);
                    self.window.answered(bytes);
                    taken = taken.saturating_add(1);
                    if let Err(error) = sink.answered(ticket, Answer::Ok) {
                        self.refusal.get_or_insert(error);
                    }
                }
                if taken == 0 {
                    return Err(self.unasked());
                }
                self.connection.consume(taken.saturating_mul(5));
                self.connection.patience();
                continue;
            }
            let length = match self.connection.scan()? {
                Scanned::Incomplete => {
                    sink.taken();
                    return Ok(());
                }
                Scanned::Complete(length) => length,
                Scanned::LargeBulk { .. } => {
                    return Err(self
                        .connection
                        .out_of_step("a reply larger than any asked for"));
                }
            };
            self.take_one(length, sink)?;
            self.connection.consume(length);
            self.connection.patience();
        }
    }

    fn take_one(&mut self, length: usize, sink: &mut impl Sink<T>) -> Result<()> {
        let Some(front) = self.slots.front() else {
            return Err(self.connection.premature(length));
        };
        let reply = self.connection.reply(length)?;
        if let Due::Mark(number) = front.due {
            let came_back = self.connection.marks_sent().answers(number, &reply);
            if !came_back && !refuses_everything(&reply) {
                return Err(self
                    .connection
                    .out_of_step("a mark was answered by another reply"));
            }
            self.proven = came_back;
            if came_back {
                sink.proven();
            } else if let Err(error) = sink.refused_mark(&reply) {
                self.refusal.get_or_insert(error);
            }
            self.settle();
            return Ok(());
        }
        if self.connection.marks_sent().is_mark(&reply) {
            return Err(self
                .connection
                .out_of_step("the answer to a mark came too early"));
        }
        let slot = self.slots.pop_front();
        if let Some(slot) = slot {
            self.window.answered(slot.bytes);
            self.under_way = self.under_way.saturating_sub(slot.bytes);
            self.calm = self.calm.map(|_| 0);
            if let Due::Command(ticket) = slot.due
                && let Err(error) = sink.answered(ticket, Answer::Other(reply))
            {
                self.refusal.get_or_insert(error);
            }
        }
        Ok(())
    }

    /// Takes the slot in front; its ticket, if it is a command's.
    fn settle(&mut self) -> Option<T> {
        let slot = self.slots.pop_front()?;
        self.under_way = self.under_way.saturating_sub(slot.bytes);
        match slot.due {
            Due::Command(ticket) => {
                self.window.answered(slot.bytes);
                Some(ticket)
            }
            Due::Mark(_) => None,
        }
    }

    #[cold]
    fn unasked(&mut self) -> Error {
        self.connection.out_of_step("more replies than commands")
    }
}

/// Words in which a server refuses any command for a while, marks among them.
fn refuses_everything(reply: &Reply<'_>) -> bool {
    const WORDS: [&[u8]; 4] = [b"BUSY ", b"LOADING ", b"MASTERDOWN ", b"NOAUTH "];
    reply
        .error()
        .is_some_and(|words| WORDS.iter().any(|begin| words.starts_with(begin)))
}

/// Packs a command into the pipeline's buffer; large pieces go from where they stand.
struct Writer<'p, T, S> {
    pipeline: &'p mut Pipeline<T>,
    sink: &'p mut S,
}

impl<T, S: Sink<T>> Out for Writer<'_, T, S> {
    #[inline]
    fn copy(&mut self, bytes: &[u8]) {
        self.pipeline.out.extend_from_slice(bytes);
    }

    fn large(&mut self, piece: &[u8]) -> Result<()> {
        let mut rest = piece;
        while !rest.is_empty() {
            let written = self.pipeline.step(rest, true, self.sink)?;
            rest = rest.get(written..).unwrap_or_default();
            if written == 0 {
                self.pipeline.nap();
            }
        }
        Ok(())
    }

    fn between(&mut self) -> Result<()> {
        while self.pipeline.waiting() >= 4 * BATCH {
            self.pipeline.pump(true, self.sink)?;
        }
        Ok(())
    }
}

/// How much may be under way, and whether more would help.
#[derive(Debug)]
struct Window {
    commands: usize,
    bytes: u64,
    options: WindowOptions,
    /// The window held the sender up since the epoch began: a larger one could help.
    was_full: bool,
    epoch: Instant,
    /// Commands answered in this epoch, and their bytes.
    answered: u64,
    answered_bytes: u64,
    /// Commands a second of the last epoch.
    rate: f64,
    /// Epochs to wait before the next try, after one that did not help.
    rest: u32,
}

/// An epoch is long enough to measure a rate in, and to fill the window a few times.
const EPOCH: Duration = Duration::from_millis(50);

/// A doubled window must raise the rate by this much to count as help.
const HELP: f64 = 1.05;

/// Epochs between two tries where the last one did not help.
const REST: u32 = 20;

impl Window {
    fn new(options: WindowOptions) -> Self {
        Self {
            commands: options.commands.clamp(1, options.most_commands.max(1)),
            bytes: options.bytes,
            options,
            was_full: false,
            epoch: Instant::now(),
            answered: 0,
            answered_bytes: 0,
            rate: 0.0,
            rest: 0,
        }
    }

    /// For how long the server has work with so many commands, as far as that is known.
    fn lasts(&self, commands: usize) -> Duration {
        Duration::try_from_secs_f64(commands as f64 / self.rate).unwrap_or_default()
    }

    #[inline]
    fn answered(&mut self, bytes: u64) {
        self.answered = self.answered.saturating_add(1);
        self.answered_bytes = self.answered_bytes.saturating_add(bytes);
        // Asking the clock for every reply would cost more than counting it. Two windows' worth, by whichever bound is met.
        if self.answered >= (self.commands as u64).saturating_mul(2)
            || self.answered_bytes >= self.bytes.saturating_mul(2)
        {
            self.judge();
        }
    }

    fn judge(&mut self) {
        let elapsed = self.epoch.elapsed();
        if elapsed < EPOCH {
            return;
        }
        let rate = self.answered as f64 / elapsed.as_secs_f64();
        if self.was_full && (rate > self.rate * HELP || self.rest == 0) {
            self.commands = self
                .commands
                .saturating_mul(2)
                .min(self.options.most_commands);
            self.bytes = self.bytes.saturating_mul(2).min(self.options.most_bytes);
            self.rest = if rate > self.rate * HELP { 0 } else { REST };
        } else {
            self.rest = self.rest.saturating_sub(1);
        }
        self.rate = rate;
        self.was_full = false;
        self.answered = 0;
        self.answered_bytes = 0;
        self.epoch = Instant::now();
    }
}

#[cfg(test)]
mod tests;
