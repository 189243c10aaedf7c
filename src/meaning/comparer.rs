//! Many keys under way on one connection: asked in file order, judged as the replies come.

use std::collections::VecDeque;
use std::path::Path;

use super::bytes::reply_differs;
use super::dump::{self, Decoders};
use super::found::{Differences, Spot, What};
use super::typed::{self, Gathered, Judged};
use super::walk::Walk;
use super::{Abilities, Bookkeeping, Expiry, Verdict, Wanted, alike, now_ms, stream};
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::resp::{Connection, Talk, Token};
use crate::snapshot::{Dialect, Entry, Kind, ValueType};
use crate::spool::Spool;
use crate::value::{Decoder, Element, Lenient, Value};
use crate::wire::{Cursor, Str};

/// Values of at most so many bytes in the file are asked for whole, many at a time.
pub const SMALL: u64 = 256 * 1024;

/// Keys that are under way at most.
const KEYS: usize = 8192;

/// Bytes of replies that are under way at most, as the file lets us expect them: the server has to hold them meanwhile.
const REPLIES: u64 = 4 << 20;

/// A payload that is collected at most; a longer one is not what the file has.
const PAYLOAD: u64 = 2 << 20;

/// Commands between two marks, about.
const MARK_EVERY: u32 = 512;

/// Keys that wait for a closer look, at most.
const CLOSER: usize = 64;

/// Bytes of one range of a long string.
const RANGE: u64 = 256 * 1024;

/// The buffers of a comparison, which outlive single connections.
#[derive(Debug)]
pub struct Bench {
    decoders: Decoders,
    gathered: Gathered,
    key: Vec<u8>,
    text: Vec<u8>,
    times: Vec<i64>,
    spool_dir: std::path::PathBuf,
}

impl Bench {
    /// What is too large to be held goes to spools in `spool_dir`.
    #[must_use]
    pub fn new(spool_dir: &Path) -> Self {
        let decoder = || Decoder::with_findings(Some(spool_dir), Lenient);
        Self {
            decoders: Decoders {
                mine: decoder(),
                theirs: decoder(),
                prints: alike::Prints::new(),
            },
            gathered: Gathered::default(),
            key: Vec::new(),
            text: Vec::new(),
            times: Vec::new(),
            spool_dir: spool_dir.to_owned(),
        }
    }
}

/// How a key is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// A string, whole.
    Text,
    /// `DUMP`.
    Dump,
    /// By type, in one window.
    Typed,
    /// By type, or by a payload of any size, with nothing else under way.
    Alone,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one in hundreds is a mark; a box for each key would cost more"
)]
enum Due<'data, T> {
    Key {
        wanted: Wanted<'data>,
        ticket: T,
        plan: Plan,
        bytes: u64,
        asked_at_ms: i64,
        window: Option<typed::Window>,
    },
    Mark(u64),
}

/// Compares entries with what the destination holds.
#[derive(Debug)]
pub struct Comparer<'c, 'data, T> {
    talk: Talk<'c>,
    abilities: &'c Abilities,
    bench: &'c mut Bench,
    due: VecDeque<Due<'data, T>>,
    keys: usize,
    bytes: u64,
    since_mark: u32,
    marks: bool,
    /// Judged; the first `proven` of them by replies that a mark showed to be their own.
    judged: VecDeque<(Wanted<'data>, T, Verdict)>,
    proven: usize,
    closer: VecDeque<(Wanted<'data>, T)>,
}

/// What the destination said of a key's expiry: the earliest and the latest instant that it can mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    NoKey,
    Never,
    Between(i64, i64),
}

/// Compares one entry. The connection has nothing under way, before and after.
///
/// # Errors
/// The connection fails; `Corrupt` never: a value that cannot be read is [`Verdict::NotComparable`].
pub fn compare_one(
    connection: &mut Connection,
    abilities: &Abilities,
    bench: &mut Bench,
    wanted: &Wanted<'_>,
) -> Result<Verdict> {
    let mut verdict = None;
    let mut comparer = Comparer::new(connection, abilities, bench)?;
    let mut sink = |_, (), found| {
        verdict = Some(found);
        Ok(())
    };
    comparer.push(*wanted, (), &mut sink)?;
    comparer.drain(&mut sink)?;
    drop(comparer);
    Ok(verdict.unwrap_or(Verdict::NotComparable(
        "no answer was taken for it".to_owned(),
    )))
}

impl<'c, 'data, T> Comparer<'c, 'data, T> {
    /// Takes a connection that has nothing under way; [`Comparer::drain`] leaves it so.
    ///
    /// # Errors
    /// The connection is over, or out of step.
    pub fn new(
        connection: &'c mut Connection,
        abilities: &'c Abilities,
        bench: &'c mut Bench,
    ) -> Result<Self> {
        let marks = connection.prove()?;
        Ok(Self {
            talk: Talk::new(connection)?,
            abilities,
            bench,
            due: VecDeque::new(),
            keys: 0,
            bytes: 0,
            since_mark: 0,
            marks,
            judged: VecDeque::new(),
            proven: 0,
            closer: VecDeque::new(),
        })
    }

    /// Asks for an entry, when there is room. Verdicts of earlier ones go to `sink` meanwhile, in any order.
    ///
    /// # Errors
    /// The connection fails: [`Comparer::into_unanswered`] has this entry, too. And `sink`'s own.
    pub fn push(
        &mut self,
        wanted: Wanted<'data>,
        ticket: T,
        sink: &mut impl FnMut(Wanted<'data>, T, Verdict) -> Result<()>,
    ) -> Result<()> {
        match self.plan(&wanted.entry, false) {
            Ok(plan) => self.send(wanted, ticket, plan)?,
            Err(reason) => {
                self.judged
                    .push_back((wanted, ticket, Verdict::NotComparable(reason)));
            }
        }
        while self.closer.len() >= CLOSER {
            self.look_closer()?;
        }
        self.deliver(sink)
    }

    /// Waits for all verdicts.
    ///
    /// # Errors
    /// As [`Comparer::push`].
    pub fn drain(
        &mut self,
        sink: &mut impl FnMut(Wanted<'data>, T, Verdict) -> Result<()>,
    ) -> Result<()> {
        loop {
            self.settle()?;
            if self.closer.is_empty() {
                break;
            }
            self.look_closer()?;
        }
        self.deliver(sink)
    }

    /// The entries without a verdict, when the connection has failed.
    pub fn into_unanswered(self) -> impl Iterator<Item = (Wanted<'data>, T)> {
        let judged = self
            .judged
            .into_iter()
            .map(|(wanted, ticket, _)| (wanted, ticket));
        let due = self.due.into_iter().filter_map(|due| match due {
            Due::Key { wanted, ticket, .. } => Some((wanted, ticket)),
            Due::Mark(_) => None,
        });
        judged.chain(due).chain(self.closer)
    }

    /// Hands out what is proven.
    fn deliver(
        &mut self,
        sink: &mut impl FnMut(Wanted<'data>, T, Verdict) -> Result<()>,
    ) -> Result<()> {
        if !self.marks {
            self.proven = self.judged.len();
        }
        while self.proven > 0 {
            self.proven = self.proven.saturating_sub(1);
            let Some((wanted, ticket, verdict)) = self.judged.pop_front() else {
                break;
            };
            sink(wanted, ticket, verdict)?;
        }
        Ok(())
    }

    /// How an entry is asked for; in words why it cannot be.
    fn plan(&mut self, entry: &Entry<'_>, closer: bool) -> std::result::Result<Plan, String> {
        if !entry.sub_expires.is_empty() {
            return Err(
                "its members have expiries of their own (KeyDB), which cannot be asked for"
                    .to_owned(),
            );
        }
        let Some(info) = entry.type_info() else {
            return Err(format!("type {} is not known", entry.value_type.0));
        };
        let small = entry.value.len() as u64 <= SMALL;
        let whole = if small && !closer {
            Plan::Dump
        } else {
            Plan::Alone
        };
        match info.kind {
            Kind::String => {
                let text = Str::read(&mut Cursor::new(entry.value, entry.value_offset));
                let len = text.map_or(u64::MAX, |text| text.len());
                Ok(if len <= SMALL && !closer {
                    Plan::Text
                } else {
                    Plan::Alone
                })
            }
            Kind::Json => Err("Dragonfly's JSON cannot be asked for".to_owned()),
            Kind::Module | Kind::Array if self.abilities.dump => Ok(whole),
            Kind::Module | Kind::Array => Err(format!(
                "a value of type {} is compared by DUMP, which the destination does not let us run",
                info.kind
            )),
            _ if self.abilities.dump && small && !closer => Ok(Plan::Dump),
            Kind::Hash if is_path_hash(entry) && self.abilities.dump => Ok(whole),
            Kind::Hash if is_path_hash(entry) => Err(
                "a path hash is compared by DUMP, which the destination does not let us run"
                    .to_owned(),
            ),
            Kind::Stream => Ok(Plan::Alone),
            _ => {
                let count = self.bench.decoders.mine.count(entry).unwrap_or(u64::MAX);
                Ok(if small && count < typed::ELEMENTS as u64 {
                    Plan::Typed
                } else {
                    Plan::Alone
                })
            }
        }
    }

    /// Asks for an entry. Where this fails, the entry is among the unanswered.
    fn send(&mut self, wanted: Wanted<'data>, ticket: T, plan: Plan) -> Result<()> {
        let bytes = match plan {
            Plan::Text => Str::read(&mut Cursor::new(wanted.entry.value, 0))
                .map_or(0, |text| text.len())
                .saturating_add(32),
            _ => wanted
                .entry
                .value
                .len()
                .saturating_add(
                    wanted
                        .entry
                        .template
                        .map_or(0, |template| template.names.len()),
                )
                .saturating_add(64) as u64,
        };
        if let Err(error) = self.make_room(&wanted, plan, bytes) {
            self.closer.push_back((wanted, ticket));
            return Err(error);
        }
        if matches!(plan, Plan::Alone) {
            return self.alone(wanted, ticket);
        }
        if let Err(error) = wanted.entry.key.bytes(&mut self.bench.key).map(|_| ()) {
            self.judged
                .push_back((wanted, ticket, unreadable_name(&error)));
            return Ok(());
        }
        let mut window = None;
        let written = self.write(&wanted.entry, plan, &mut window);
        if let Err(error) = &written
            && is_local(error)
        {
            // Nothing was written: a walk ends before its window is sent.
            self.judged.push_back((wanted, ticket, unreadable(error)));
            return Ok(());
        }
        self.keys = self.keys.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.due.push_back(Due::Key {
            wanted,
            ticket,
            plan,
            bytes,
            asked_at_ms: self.asked_at_ms(),
            window,
        });
        written?;
        self.since_mark = self.since_mark.saturating_add(2);
        if self.since_mark >= MARK_EVERY {
            self.mark()?;
        }
        Ok(())
    }

    fn make_room(&mut self, wanted: &Wanted<'_>, plan: Plan, bytes: u64) -> Result<()> {
        while self.keys >= KEYS || self.keys > 0 && self.bytes.saturating_add(bytes) > REPLIES {
            self.listen()?;
        }
        if plan == Plan::Alone || wanted.db != self.talk.db() {
            self.settle()?;
            self.talk.select(wanted.db)?;
        }
        Ok(())
    }

    /// The clock is asked only where an expiry comes as what is left of it.
    fn asked_at_ms(&self) -> i64 {
        if self.abilities.pexpiretime {
            0
        } else {
            now_ms()
        }
    }

    fn write(
        &mut self,
        entry: &Entry<'data>,
        plan: Plan,
        window: &mut Option<typed::Window>,
    ) -> Result<()> {
        let Bench {
            decoders,
            gathered,
            key: scratch,
            ..
        } = &mut *self.bench;
        let key = entry.key.bytes(scratch)?;
        let talk = &mut self.talk;
        match plan {
            Plan::Text => {
                let len = Str::read(&mut Cursor::new(entry.value, entry.value_offset))?.len();
                talk.begin(4);
                talk.arg(b"GETRANGE")?;
                talk.arg(key)?;
                talk.arg(b"0")?;
                // One byte more than there should be.
                talk.arg_number(len)?;
            }
            Plan::Typed => {
                let Some(mut walk) = Walk::of(decoders.theirs.decode(entry)?) else {
                    return Ok(());
                };
                *window = Some(typed::ask(
                    talk,
                    gathered,
                    self.abilities,
                    key,
                    &mut walk,
                    &mut 0,
                )?);
                talk.command(&[b"TYPE", key])?;
                talk.command(&[cardinality(entry), key])?;
            }
            Plan::Dump | Plan::Alone => talk.command(&[b"DUMP", key])?,
        }
        talk.command(&[expiry_command(self.abilities), key])
    }

    fn mark(&mut self) -> Result<()> {
        self.since_mark = 0;
        if let Some(number) = self.talk.mark()? {
            self.due.push_back(Due::Mark(number));
        }
        Ok(())
    }

    /// Takes all replies that are due; a mark proves them.
    fn settle(&mut self) -> Result<()> {
        if self.since_mark > 0 {
            self.mark()?;
        }
        self.talk.flush()?;
        while !self.due.is_empty() {
            self.listen()?;
        }
        self.proven = self.judged.len();
        self.talk.finish()
    }

    /// Takes the replies to whatever was asked first.
    fn listen(&mut self) -> Result<()> {
        match self.due.pop_front() {
            None => Ok(()),
            Some(Due::Mark(number)) => {
                self.talk.expect_mark(number)?;
                self.proven = self.judged.len();
                Ok(())
            }
            Some(Due::Key {
                wanted,
                ticket,
                plan,
                bytes,
                asked_at_ms,
                window,
            }) => {
                self.keys = self.keys.saturating_sub(1);
                self.bytes = self.bytes.saturating_sub(bytes);
                let answered = match plan {
                    Plan::Text => self.text(&wanted, asked_at_ms),
                    Plan::Typed => self.typed(&wanted, asked_at_ms, window),
                    Plan::Dump | Plan::Alone => self.payload(&wanted, asked_at_ms),
                };
                match answered {
                    Ok(Some(verdict)) => self.judged.push_back((wanted, ticket, verdict)),
                    Ok(None) => self.closer.push_back((wanted, ticket)),
                    Err(error) => {
                        self.closer.push_back((wanted, ticket));
                        return Err(error);
                    }
                }
                Ok(())
            }
        }
    }

    /// Reads by type what looked different.
    fn look_closer(&mut self) -> Result<()> {
        for _ in 0..self.closer.len() {
            let Some((wanted, ticket)) = self.closer.pop_front() else {
                break;
            };
            match self.plan(&wanted.entry, true) {
                Ok(plan) => self.send(wanted, ticket, plan)?,
                Err(reason) => {
                    self.judged
                        .push_back((wanted, ticket, Verdict::NotComparable(reason)));
                }
            }
        }
        Ok(())
    }

    // ---- replies ----

    /// A string, then its expiry.
    fn text(&mut self, wanted: &Wanted<'_>, asked_at_ms: i64) -> Result<Option<Verdict>> {
        let entry = &wanted.entry;
        let value = match self.talk.token()? {
            Token::Text(length) => {
                let string = Str::read(&mut Cursor::new(entry.value, entry.value_offset))?;
                match Element::of(string, &mut self.bench.text) {
                    Ok(element) => match reply_differs(&mut self.talk, length, &element)? {
                        None => Some(Verdict::Same),
                        // What was asked for ends one byte behind the file's.
                        Some(_) if length > element.len() => Some(differs(
                            What::Value,
                            format!(
                                "{} bytes in the file, more at the destination",
                                element.len()
                            ),
                        )),
                        Some(how) => Some(differs(What::Value, how)),
                    },
                    Err(error) => Some(unreadable(&error)),
                }
            }
            Token::Error(words) if words.starts_with(b"WRONGTYPE") || words.starts_with(WRONG) => {
                None
            }
            Token::Error(words) => Some(refusal(words)?),
            _ => {
                return Err(self
                    .talk
                    .out_of_step("a text was asked for, and something else came"));
            }
        };
        self.with_expiry(wanted, value, asked_at_ms)
    }

    /// A payload, then the key's expiry.
    fn payload(&mut self, wanted: &Wanted<'_>, asked_at_ms: i64) -> Result<Option<Verdict>> {
        let now = now_ms().saturating_add(self.abilities.clock_ahead_ms);
        let value = match self.talk.token()? {
            Token::Text(length) if length <= PAYLOAD => {
                let payload = self.talk.whole()?;
                match dump::judge(wanted, payload, &mut self.bench.decoders, now) {
                    Ok(value) => value,
                    Err(error) if is_local(&error) => Some(unreadable(&error)),
                    Err(error) => return Err(error),
                }
            }
            Token::Text(_) | Token::Nil => None,
            Token::Error(words) => Some(refusal(words)?),
            _ => {
                return Err(self
                    .talk
                    .out_of_step("a payload was asked for, and something else came"));
            }
        };
        self.with_expiry(wanted, value, asked_at_ms)
    }

    /// A window that is the whole value, then type, cardinality and expiry.
    fn typed(
        &mut self,
        wanted: &Wanted<'_>,
        asked_at_ms: i64,
        window: Option<typed::Window>,
    ) -> Result<Option<Verdict>> {
        let Some(window) = window else {
            return Err(self.talk.out_of_step("a value was not asked for"));
        };
        let mut judged = Judged::default();
        let now = now_ms().saturating_add(self.abilities.clock_ahead_ms);
        if window.last
            && let Some(mut walk) = Walk::of(self.bench.decoders.mine.decode(&wanted.entry)?)
        {
            typed::judge(
                &mut self.talk,
                self.abilities,
                &mut walk,
                &window,
                now,
                &mut self.bench.times,
                &mut judged,
            )?;
        } else {
            self.talk.skip_replies(window.replies)?;
        }
        let head = self.head(asked_at_ms)?;
        if !window.last && matches!(head.told, Ok(told) if told != Told::NoKey) {
            return Ok(None);
        }
        self.conclude(wanted, &head, judged, Bookkeeping::default())
            .map(Some)
    }

    fn with_expiry(
        &mut self,
        wanted: &Wanted<'_>,
        value: Option<Verdict>,
        asked_at_ms: i64,
    ) -> Result<Option<Verdict>> {
        let told = match self.told(asked_at_ms)? {
            Ok(Told::NoKey) => return self.missing(wanted).map(Some),
            Ok(told) => told,
            Err(words) => return refusal(words.as_bytes()).map(Some),
        };
        let Some(value) = value else { return Ok(None) };
        Ok(Some(
            match expiry_differs(self.abilities, wanted.expiry, told) {
                None => value,
                Some(how) => match value {
                    Verdict::NotComparable(_) => value,
                    Verdict::Different(mut found) => {
                        found.add(What::Expiry, Spot::Key, how);
                        Verdict::Different(found)
                    }
                    _ => differs(What::Expiry, how),
                },
            },
        ))
    }

    /// The reply to a question for the expiry; `Err` with the server's words.
    fn told(&mut self, asked_at_ms: i64) -> Result<std::result::Result<Told, String>> {
        let number = match self.talk.token()? {
            Token::Integer(number) => number,
            Token::Error(words) => return Ok(Err(String::from_utf8_lossy(words).into_owned())),
            _ => {
                return Err(self
                    .talk
                    .out_of_step("an expiry was asked for, and no number came"));
            }
        };
        Ok(Ok(match number {
            -2 => Told::NoKey,
            ..0 => Told::Never,
            at if self.abilities.pexpiretime => Told::Between(at, at),
            left => {
                let ahead = self.abilities.clock_ahead_ms;
                let since = |instant: i64| left.saturating_add(instant).saturating_add(ahead);
                Told::Between(since(asked_at_ms), since(now_ms()))
            }
        }))
    }

    /// A key that is not there, and perhaps should not be any more.
    fn missing(&mut self, wanted: &Wanted<'_>) -> Result<Verdict> {
        let now = now_ms()
            .saturating_add(self.abilities.clock_ahead_ms)
            .saturating_add(self.abilities.ttl_tolerance_ms);
        let gone = match wanted.expiry {
            Expiry::At(at) => at <= now,
            // Counted from an instant before ours.
            Expiry::Until(_) => true,
            Expiry::Never => false,
        };
        if gone {
            return Ok(Verdict::Expired);
        }
        // A hash goes with its last field.
        if let Ok(value @ Value::Hash(_)) = self.bench.decoders.mine.decode(&wanted.entry)
            && let Some(mut walk) = Walk::of(value)
        {
            let mut fields = 0u64;
            loop {
                match walk.next() {
                    Ok(Some(item)) if item.expire_at_ms.is_some_and(|at| at <= now) => {
                        fields = fields.saturating_add(1);
                    }
                    Ok(None) if fields > 0 => return Ok(Verdict::Expired),
                    _ => break,
                }
            }
        }
        Ok(Verdict::Missing)
    }

    // ---- alone on the connection ----

    fn alone(&mut self, wanted: Wanted<'data>, ticket: T) -> Result<()> {
        match self.alone_verdict(&wanted) {
            Ok(verdict) => self.judged.push_back((wanted, ticket, verdict)),
            // Values are walked before what they lead to is asked: nothing is due.
            Err(error) if is_local(&error) => {
                self.judged.push_back((wanted, ticket, unreadable(&error)));
            }
            Err(error) => {
                self.closer.push_back((wanted, ticket));
                return Err(error);
            }
        }
        self.since_mark = self.since_mark.saturating_add(1);
        Ok(())
    }

    fn alone_verdict(&mut self, wanted: &Wanted<'data>) -> Result<Verdict> {
        let entry = &wanted.entry;
        let key = match entry.key.bytes(&mut self.bench.key) {
            Ok(key) => key.to_vec(),
            Err(error) => return Ok(unreadable_name(&error)),
        };
        let asked_at_ms = self.asked_at_ms();
        self.talk.command(&[b"TYPE", &key])?;
        self.talk.command(&[cardinality(entry), &key])?;
        self.talk.command(&[expiry_command(self.abilities), &key])?;
        self.talk.flush()?;
        let head = self.head(asked_at_ms)?;
        let mut judged = Judged::default();
        let mut books = Bookkeeping::default();
        if !head.is(entry) {
            return self.conclude(wanted, &head, judged, books);
        }
        let kind = entry.type_info().map(|info| info.kind);
        let by_dump = matches!(kind, Some(Kind::Module | Kind::Array))
            || is_path_hash(entry)
            || self.abilities.dump && is_newer_stream(entry);
        if by_dump && let Some(verdict) = self.spooled(wanted, &key)? {
            return self.conclude_value(wanted, &head, verdict);
        }
        let now = now_ms().saturating_add(self.abilities.clock_ahead_ms);
        match kind {
            Some(Kind::String) => self.ranges(entry, &key, &head, &mut judged)?,
            Some(Kind::Stream) => {
                stream::readable(&mut self.bench.decoders.mine, entry)?;
                books = stream::compare(
                    &mut self.talk,
                    &key,
                    entry,
                    &mut self.bench.decoders,
                    &mut judged,
                )?;
            }
            _ if by_dump => judged.refuse(b"its payload cannot be read"),
            _ => self.windows(entry, &key, now, &mut judged)?,
        }
        self.conclude(wanted, &head, judged, books)
    }

    /// A collection, window by window.
    fn windows(
        &mut self,
        entry: &Entry<'_>,
        key: &[u8],
        now_ms: i64,
        judged: &mut Judged,
    ) -> Result<()> {
        /// What may be under way for one key.
        const UNDER_WAY: u64 = 512 * 1024;
        let Bench {
            decoders: Decoders { mine, theirs, .. },
            gathered,
            times,
            ..
        } = &mut *self.bench;
        let (Some(mut ahead), Some(mut own)) = (
            Walk::of(theirs.decode(entry)?),
            Walk::of(mine.decode(entry)?),
        ) else {
            judged.refuse(b"no reader for its type");
            return Ok(());
        };
        let mut windows: VecDeque<typed::Window> = VecDeque::new();
        let (mut at, mut ended, mut bytes) = (0u64, false, 0u64);
        let mut failed = None;
        loop {
            while !ended && !judged.is_over() && bytes < UNDER_WAY {
                match typed::ask(
                    &mut self.talk,
                    gathered,
                    self.abilities,
                    key,
                    &mut ahead,
                    &mut at,
                ) {
                    Ok(window) => {
                        ended = window.last;
                        bytes = bytes.saturating_add(window.bytes);
                        windows.push_back(window);
                    }
                    Err(error) if is_local(&error) => {
                        ended = true;
                        failed = Some(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            self.talk.flush()?;
            let Some(window) = windows.pop_front() else {
                break;
            };
            bytes = bytes.saturating_sub(window.bytes);
            if judged.refused.is_some() {
                self.talk.skip_replies(window.replies)?;
                continue;
            }
            typed::judge(
                &mut self.talk,
                self.abilities,
                &mut own,
                &window,
                now_ms,
                times,
                judged,
            )?;
        }
        if !ended {
            judged.found.more = true;
        }
        failed.map_or(Ok(()), Err)
    }

    /// A long string, range by range.
    fn ranges(
        &mut self,
        entry: &Entry<'_>,
        key: &[u8],
        head: &Head,
        judged: &mut Judged,
    ) -> Result<()> {
        let string = Str::read(&mut Cursor::new(entry.value, entry.value_offset))?;
        let element = Element::of(string, &mut self.bench.text)?;
        // Read once before anything is asked: in the middle of a reply nothing can be given up.
        element.write_to(|_| Ok(()))?;
        let len = element.len();
        judged.elements = len;
        if head.card != Some(len) {
            return Ok(());
        }
        let mut bytes = super::bytes::Bytes::of(&element);
        let (mut asked, mut at) = (0u64, 0u64);
        while at < len {
            while asked < len && asked.saturating_sub(at) < RANGE.saturating_mul(4) {
                let end = asked.saturating_add(RANGE).min(len);
                self.talk.begin(4);
                self.talk.arg(b"GETRANGE")?;
                self.talk.arg(key)?;
                self.talk.arg_number(asked)?;
                self.talk.arg_number(end.saturating_sub(1))?;
                asked = end;
            }
            self.talk.flush()?;
            let length = at.saturating_add(RANGE).min(len).saturating_sub(at);
            let mut position = at;
            match self.talk.token()? {
                Token::Text(there) if there == length => {
                    while let Some(piece) = self.talk.piece()? {
                        if judged.found.is_empty()
                            && let Some(differs) = bytes.differs(piece)?
                        {
                            let differs = position.saturating_add(differs);
                            judged.found.add(
                                What::Value,
                                Spot::Byte(differs),
                                format!("byte {differs} of {len} differs"),
                            );
                        }
                        position = position.saturating_add(piece.len() as u64);
                    }
                }
                Token::Text(_) | Token::Nil => {
                    judged.refuse(b"it changed while it was read");
                }
                Token::Error(words) => judged.refuse(words),
                _ => {
                    return Err(self
                        .talk
                        .out_of_step("a text was asked for, and something else came"));
                }
            }
            at = at.saturating_add(length);
            if !judged.found.is_empty() || judged.refused.is_some() {
                // What was asked for comes all the same.
                let left = asked.saturating_sub(at).div_ceil(RANGE);
                return self.talk.skip_replies(left);
            }
        }
        Ok(())
    }

    /// A payload of any size.
    fn spooled(&mut self, wanted: &Wanted<'_>, key: &[u8]) -> Result<Option<Verdict>> {
        self.talk.command(&[b"DUMP", key])?;
        self.talk.flush()?;
        let length = match self.talk.token()? {
            Token::Text(length) => length,
            Token::Nil => return Ok(Some(Verdict::Missing)),
            Token::Error(words) => return refusal(words).map(Some),
            _ => {
                return Err(self
                    .talk
                    .out_of_step("a payload was asked for, and something else came"));
            }
        };
        let own = wanted.entry.value.len() as u64;
        if length > own.saturating_mul(2).saturating_add(PAYLOAD) {
            self.talk.finish()?;
            return Ok(Some(differs(
                What::Value,
                format!("{own} bytes in the file, a payload of {length} at the destination"),
            )));
        }
        let mut spool = Spool::create(&self.bench.spool_dir, Some(length))?;
        while let Some(piece) = self.talk.piece()? {
            spool.append(piece)?;
        }
        let payload = spool.finish()?;
        let now = now_ms().saturating_add(self.abilities.clock_ahead_ms);
        dump::judge(wanted, &payload, &mut self.bench.decoders, now)
    }

    /// Type, cardinality and expiry.
    fn head(&mut self, asked_at_ms: i64) -> Result<Head> {
        let kind = match self.talk.token()? {
            Token::Simple(kind) => Ok(String::from_utf8_lossy(kind).into_owned()),
            Token::Error(words) => Err(String::from_utf8_lossy(words).into_owned()),
            _ => {
                return Err(self
                    .talk
                    .out_of_step("a type was asked for, and something else came"));
            }
        };
        let card = match self.talk.token()? {
            Token::Integer(count) => u64::try_from(count).ok(),
            _ => None,
        };
        self.talk.finish()?;
        let told = self.told(asked_at_ms)?;
        Ok(Head { kind, card, told })
    }

    /// The verdict from all that was read.
    fn conclude(
        &mut self,
        wanted: &Wanted<'_>,
        head: &Head,
        mut judged: Judged,
        books: Bookkeeping,
    ) -> Result<Verdict> {
        let entry = &wanted.entry;
        let kind = match &head.kind {
            Ok(kind) => kind,
            Err(words) => return refusal(words.as_bytes()),
        };
        if head.told == Ok(Told::NoKey) || kind == "none" {
            return self.missing(wanted);
        }
        if !head.is(entry) {
            let own = entry.type_info().map_or("unknown", |info| info.kind.name());
            return Ok(differs(
                What::Type,
                format!("{own} in the file, {kind} at the destination"),
            ));
        }
        if let Some(words) = judged.refused {
            return refusal(words.as_bytes());
        }
        if !judged.found.is_full() && !judged.found.more {
            let least = judged.elements.saturating_sub(judged.expired);
            match head.card {
                Some(card) if card < least || card > judged.elements => judged.found.add(
                    What::Count,
                    Spot::Key,
                    format!(
                        "{} {} in the file, {card} at the destination",
                        judged.elements,
                        unit(entry)
                    ),
                ),
                _ => {}
            }
        }
        let value = if !judged.found.is_empty() {
            Verdict::Different(judged.found)
        } else if books.is_empty() {
            Verdict::Same
        } else {
            Verdict::SameBut(books)
        };
        self.conclude_value(wanted, head, value)
    }

    fn conclude_value(
        &mut self,
        wanted: &Wanted<'_>,
        head: &Head,
        value: Verdict,
    ) -> Result<Verdict> {
        let told = match &head.told {
            Ok(told) => *told,
            Err(words) => return refusal(words.as_bytes()),
        };
        if value == Verdict::Missing {
            return self.missing(wanted);
        }
        Ok(match expiry_differs(self.abilities, wanted.expiry, told) {
            None => value,
            Some(how) => match value {
                Verdict::NotComparable(_) => value,
                Verdict::Different(mut found) => {
                    found.add(What::Expiry, Spot::Key, how);
                    Verdict::Different(found)
                }
                _ => differs(What::Expiry, how),
            },
        })
    }
}

/// What is asked of every key that is read by type.
#[derive(Debug)]
struct Head {
    /// `TYPE`, or the server's words.
    kind: std::result::Result<String, String>,
    /// Bytes or elements.
    card: Option<u64>,
    told: std::result::Result<Told, String>,
}

impl Head {
    /// Whether the key is there and has the entry's type.
    fn is(&self, entry: &Entry<'_>) -> bool {
        let Ok(kind) = &self.kind else { return false };
        match entry.type_info().map(|info| info.kind) {
            // A module's type has a name of its own.
            Some(Kind::Module) => !matches!(
                kind.as_str(),
                "none" | "string" | "list" | "set" | "zset" | "hash" | "stream" | "array"
            ),
            Some(own) => kind == own.name(),
            None => false,
        }
    }
}

/// How Redis 2.8 begins to say that a key has another type.
const WRONG: &[u8] = b"ERR Operation against a key holding the wrong kind";

fn cardinality(entry: &Entry<'_>) -> &'static [u8] {
    match entry.type_info().map(|info| info.kind) {
        Some(Kind::String) => b"STRLEN",
        Some(Kind::List) => b"LLEN",
        Some(Kind::Set) => b"SCARD",
        Some(Kind::ZSet) => b"ZCARD",
        Some(Kind::Hash) => b"HLEN",
        Some(Kind::Stream) => b"XLEN",
        // Nothing is counted there.
        _ => b"EXISTS",
    }
}

fn unit(entry: &Entry<'_>) -> &'static str {
    match entry.type_info().map(|info| info.kind) {
        Some(Kind::String) => "bytes",
        Some(Kind::Hash) => "fields",
        Some(Kind::Set | Kind::ZSet) => "members",
        Some(Kind::Stream) => "entries",
        _ => "elements",
    }
}

fn expiry_command(abilities: &Abilities) -> &'static [u8] {
    if abilities.pexpiretime {
        b"PEXPIRETIME"
    } else {
        b"PTTL"
    }
}

fn is_path_hash(entry: &Entry<'_>) -> bool {
    entry.value_type == ValueType::PATH_HASH && entry.dialect == Dialect::Valkey
}

/// Streams that may hold what no command shows.
fn is_newer_stream(entry: &Entry<'_>) -> bool {
    entry.dialect == Dialect::Redis
        && matches!(
            entry.value_type,
            ValueType::STREAM_LISTPACKS_4 | ValueType::STREAM_LISTPACKS_5
        )
}

fn expiry_differs(abilities: &Abilities, wanted: Expiry, told: Told) -> Option<String> {
    let tolerance = abilities.ttl_tolerance_ms;
    let (own, same) = match (wanted, told) {
        (Expiry::Never, told) => ("no expiry".to_owned(), told == Told::Never),
        (Expiry::At(at), Told::Between(least, most)) => (
            format!("expires at {at} ms"),
            at >= least.saturating_sub(tolerance) && at <= most.saturating_add(tolerance),
        ),
        (Expiry::At(at), _) => (format!("expires at {at} ms"), false),
        (Expiry::Until(at), Told::Between(least, _)) => (
            format!("expires at {at} ms or before"),
            least <= at.saturating_add(tolerance),
        ),
        (Expiry::Until(at), _) => (format!("expires at {at} ms or before"), false),
    };
    if same {
        return None;
    }
    let theirs = match told {
        Told::Between(_, at) => format!("expires at {at} ms"),
        _ => "no expiry".to_owned(),
    };
    Some(format!("{own} by the file, {theirs} at the destination"))
}

fn differs(what: What, how: String) -> Verdict {
    let mut found = Differences::default();
    found.add(what, Spot::Key, how);
    Verdict::Different(found)
}

/// Whether an error is about a value in the file alone.
fn is_local(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported)
}

fn unreadable(error: &Error) -> Verdict {
    Verdict::NotComparable(format!("its value in the file cannot be read: {error}"))
}

fn unreadable_name(error: &Error) -> Verdict {
    Verdict::NotComparable(format!("its name cannot be read: {error}"))
}

/// What a refusal means: some are about the server, all others about this key.
fn refusal(words: &[u8]) -> Result<Verdict> {
    const OF_THE_SERVER: [&[u8]; 4] = [b"LOADING", b"NOAUTH", b"MASTERDOWN", b"CLUSTERDOWN"];
    let shown = Escaped(words.get(..256).unwrap_or(words)).to_string();
    if OF_THE_SERVER.iter().any(|begin| words.starts_with(begin)) {
        return Err(Error::new(
            ErrorKind::Destination,
            format!("the destination says {shown}; the comparison stopped"),
        ));
    }
    Ok(Verdict::NotComparable(format!(
        "the destination says {shown}"
    )))
}
