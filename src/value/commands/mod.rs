//! A value as plain write commands, for destinations that do not take its bytes: `SET`, `RPUSH`, `SADD`, `ZADD`, `HSET`,
//! `XADD` and what follows them.
//!
//! Commands are pulled one at a time. Their arguments are borrowed from the input or the decoder and can be read as often
//! as needed until the next pull; their number and size are known before the first one is read, so that a writer can frame
//! them without holding them. A command has at most [`Limits::args`] arguments and about [`Limits::bytes`] bytes, except
//! where one element (a stream entry with many fields, a string of gigabytes) is itself larger.
//!
//! What commands cannot carry is collected as [`Losses`] while they are pulled. Nothing here deletes or checks what the
//! destination holds under the key, and nothing is sent: the order of the commands is the whole contract.

mod loss;
mod plain;
mod score;
mod stream;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use loss::{Loss, LossCounts, Losses};
pub(crate) use score::write as write_score;
pub use vocabulary::Vocabulary;

use self::plain::{ArrayCommands, Collection, LongString};
pub(super) use self::stream::FieldWalk;
use self::stream::StreamCommands;
use super::decoder::{Decoder, Part, Value};
use super::element::Element;
use super::findings::{Exact, Findings, Strict};
use super::packed::Hold;
use super::stream::StreamId;
use super::subexpire::sub_expires;
use crate::error::{Error, Result};
use crate::snapshot::{Entry, Kind};
use crate::transform::Expiries;
use crate::wire::Str;
use crate::wire::string::Lzf;

/// How large a command may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Arguments of one command, its name included.
    pub args: usize,
    /// Bytes of all arguments of one command.
    pub bytes: u64,
    /// Bytes of one argument: a longer string is written by `SET` and many `APPEND`.
    pub argument: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            args: 1000,
            bytes: 64 * 1024,
            argument: u64::MAX,
        }
    }
}

/// One write command.
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    args: &'a [Arg<'a>],
    argc: u64,
    bytes: u64,
    room: Room<'a>,
}

/// Where arguments that are not in the input stand.
#[derive(Debug, Clone, Copy)]
struct Room<'a> {
    key: Element<'a>,
    buffer: &'a [u8],
    blob: &'a Hold,
    names: &'a Hold,
    text: &'a [Vec<u8>; 3],
}

impl<'a> Command<'a> {
    /// The command's name in capitals.
    #[must_use]
    pub fn name(&self) -> &'a str {
        match self.args.first() {
            Some(Arg::Word(word)) => word,
            _ => "",
        }
    }

    /// Number of arguments, the name included.
    #[must_use]
    pub fn argc(&self) -> u64 {
        self.argc
    }

    /// Bytes of all arguments together, without any framing.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The arguments, the name first: exactly [`Command::argc`].
    #[must_use]
    pub fn args(&self) -> Args<'a> {
        Args {
            command: *self,
            at: 0,
            fields: None,
            value: None,
        }
    }
}

/// An argument, as it is kept.
#[derive(Debug, Clone, Copy)]
enum Arg<'d> {
    Word(&'static str),
    Key,
    Raw(&'d [u8]),
    Int(i64),
    Long(Lzf<'d>),
    /// In the command's own buffer.
    Copied(usize, usize),
    /// Too large to be copied: where the decoder has it.
    Lent(Part<'d>, Slot),
    /// All fields and values of the current stream entry.
    Fields(FieldWalk<'d>),
}

/// Which of the decoder's buffers a part refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    First,
    Second,
    /// A name in the template's own blob.
    Name,
}

/// The arguments of a command.
#[derive(Debug, Clone)]
pub struct Args<'a> {
    command: Command<'a>,
    at: usize,
    fields: Option<FieldWalk<'a>>,
    value: Option<Element<'a>>,
}

impl<'a> Iterator for Args<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        loop {
            if let Some(value) = self.value.take() {
                return Some(value);
            }
            let room = self.command.room;
            if let Some(fields) = &mut self.fields {
                match fields.next(room.blob) {
                    Some((name, value)) => {
                        self.value = Some(value);
                        return Some(name);
                    }
                    None => self.fields = None,
                }
            }
            let arg = self.command.args.get(self.at)?;
            self.at = self.at.wrapping_add(1);
            return Some(match *arg {
                Arg::Word(word) => Element::Bytes(word.as_bytes()),
                Arg::Key => room.key,
                Arg::Raw(bytes) => Element::Bytes(bytes),
                Arg::Int(value) => Element::Int(value),
                Arg::Long(packed) => Element::Long(packed),
                Arg::Copied(from, to) => {
                    Element::Bytes(room.buffer.get(from..to).unwrap_or_default())
                }
                Arg::Lent(part, slot) => room.element(part, slot),
                Arg::Fields(fields) => {
                    self.fields = Some(fields);
                    continue;
                }
            });
        }
    }
}

impl<'a> Room<'a> {
    fn element(&self, part: Part<'a>, slot: Slot) -> Element<'a> {
        let [first, second, _] = self.text;
        match slot {
            Slot::First => part.element(self.blob, first),
            Slot::Second => part.element(self.blob, second),
            Slot::Name => part.element(self.names, first),
        }
    }
}

/// A command that is being put together.
#[derive(Debug)]
struct Batch<'d> {
    args: Vec<Arg<'d>>,
    buffer: Vec<u8>,
    argc: u64,
    bytes: u64,
    key: Element<'d>,
    limits: Limits,
    /// Arguments that stand in front of the first element.
    head: usize,
}

impl<'d> Batch<'d> {
    /// Parts that are not in the input are copied up to this size.
    const COPY: u64 = 16 * 1024;

    fn begin(&mut self, name: &'static str) {
        self.begin_without_key(name);
        self.key();
        self.head = self.args.len();
    }

    fn key(&mut self) {
        self.push(Arg::Key, self.key.len());
    }

    fn begin_without_key(&mut self, name: &'static str) {
        self.args.clear();
        self.buffer.clear();
        self.argc = 0;
        self.bytes = 0;
        self.word(name);
    }

    fn word(&mut self, word: &'static str) {
        self.push(Arg::Word(word), word.len() as u64);
    }

    fn int(&mut self, value: i64) {
        self.push(Arg::Int(value), Element::Int(value).len());
    }

    /// Puts another number in the place of one that was added before.
    fn set_int(&mut self, at: usize, value: i64) {
        if let Some(arg) = self.args.get_mut(at)
            && let Arg::Int(before) = *arg
        {
            *arg = Arg::Int(value);
            self.bytes = self
                .bytes
                .saturating_sub(Element::Int(before).len())
                .saturating_add(Element::Int(value).len());
        }
    }

    fn number(&mut self, value: u64) {
        let mut text = itoa::Buffer::new();
        self.copied(text.format(value).as_bytes());
    }

    fn id(&mut self, id: StreamId) {
        let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
        let from = self.buffer.len();
        self.buffer.extend_from_slice(ms.format(id.ms).as_bytes());
        self.buffer.push(b'-');
        self.buffer.extend_from_slice(seq.format(id.seq).as_bytes());
        self.end_copy(from);
    }

    fn score(&mut self, score: f64) {
        let from = self.buffer.len();
        score::write(&mut self.buffer, score);
        self.end_copy(from);
    }

    /// The text that its server shows, so that it becomes the same element again: `1.0` is another one than `1`.
    fn array_double(&mut self, value: f64) {
        let from = self.buffer.len();
        crate::wire::double::push_server_text(&mut self.buffer, value);
        self.end_copy(from);
    }

    fn copied(&mut self, bytes: &[u8]) {
        let from = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        self.end_copy(from);
    }

    fn end_copy(&mut self, from: usize) {
        let to = self.buffer.len();
        self.push(Arg::Copied(from, to), to.saturating_sub(from) as u64);
    }

    fn push(&mut self, arg: Arg<'d>, bytes: u64) {
        self.args.push(arg);
        self.argc = self.argc.wrapping_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Adds a part of the value; `element` is what it stands for.
    fn part(&mut self, part: Part<'d>, slot: Slot, element: &Element<'_>) {
        let length = element.len();
        match (part, element) {
            (Part::Raw(bytes), _) => self.push(Arg::Raw(bytes), length),
            (Part::Int(value), _) => self.push(Arg::Int(value), length),
            (_, Element::Int(value)) => self.push(Arg::Int(*value), length),
            (Part::Long(packed), _) => self.push(Arg::Long(packed), length),
            (Part::Packed(super::packed::Blob::Raw(blob), item), _) => {
                self.push(Arg::Raw(item.bytes(blob)), length);
            }
            (_, Element::Bytes(bytes)) if length <= Self::COPY => self.copied(bytes),
            (part, _) => self.push(Arg::Lent(part, slot), length),
        }
    }

    /// Whether elements of `bytes` bytes and `args` arguments still fit; the first ones always do.
    fn fits(&self, args: usize, bytes: u64) -> bool {
        self.args.len() <= self.head
            || (self.args.len().saturating_add(args) <= self.limits.args
                && self.bytes.saturating_add(bytes) <= self.limits.bytes)
    }

    /// Whether anything stands behind the head.
    fn has_elements(&self) -> bool {
        self.args.len() > self.head
    }
}

/// Whether a part lies in a buffer that the next one overwrites, and is too large to be copied.
fn is_lent(part: &Part<'_>, length: u64) -> bool {
    match part {
        Part::Raw(_) | Part::Int(_) | Part::Long(_) => false,
        Part::Packed(super::packed::Blob::Raw(_), _) => false,
        Part::Text | Part::Packed(..) => length > Batch::COPY,
    }
}

/// The commands of one value, in the order in which they must be sent.
#[derive(Debug)]
pub struct Commands<'d, F: Findings = Strict> {
    source: Source<'d, F>,
    batch: Batch<'d>,
    vocabulary: Vocabulary,
    losses: Losses,
    expire_at_ms: Option<i64>,
    inside: Expiries,
    sub_expires: &'d [u8],
    stage: Stage,
}

#[derive(Debug)]
enum Source<'d, F: Findings> {
    /// A string, by `SET`; JSON by its own command.
    Whole(Element<'d>, &'static str),
    /// A string that is longer than an argument may be.
    Long(Box<LongString<'d>>),
    Collection(Box<Collection<'d, F>>),
    Stream(Box<StreamCommands<'d, F>>),
    Array(Box<ArrayCommands<'d, F>>),
    /// Commands cannot carry it.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Value,
    SubExpires,
    Expiry,
    Done,
}

/// What is written besides the value.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'k> {
    /// The name of the key at the destination.
    pub key: Element<'k>,
    /// Its expiry in milliseconds of Unix time, set by the last command.
    pub expire_at_ms: Option<i64>,
    /// What becomes of the expiries of its fields and members.
    pub inside: Expiries,
}

impl<'d, F: Findings> Commands<'d, F> {
    /// Begins with the value of `entry`, which is to arrive as `arrival` says.
    ///
    /// # Errors
    /// As [`Decoder::decode`], with the entry.
    pub fn new(
        decoder: &'d mut Decoder<F>,
        entry: &Entry<'d>,
        arrival: Arrival<'d>,
        vocabulary: Vocabulary,
        limits: Limits,
    ) -> Result<Self> {
        let mut losses = Losses::default();
        if entry.key_meta.is_some() {
            losses.add(Loss::KeyMetadata);
        }
        if entry.idle_seconds.is_some() || entry.lfu_freq.is_some() {
            losses.add(Loss::AccessTimes);
        }
        if entry.df_flags.is_some_and(|flags| flags != 0) {
            losses.add(Loss::KeyFlags);
        }
        let kind = entry.type_info().map(|info| info.kind);
        decoder.set_expiries(arrival.inside);
        let source = match decoder.decode(entry)? {
            Value::String(element) if element.len() > limits.argument => {
                Source::Long(Box::new(LongString::new(element, limits.argument)))
            }
            Value::String(element) => Source::Whole(element, "SET"),
            Value::Json(element) if vocabulary.json => Source::Whole(element, "JSON.SET"),
            Value::Stream(stream) if vocabulary.streams => Source::Stream(Box::new(
                StreamCommands::new(stream).map_err(|error| named(error, entry))?,
            )),
            Value::Array(array) if vocabulary.arrays => {
                Source::Array(Box::new(ArrayCommands::new(array)))
            }
            Value::Json(_) | Value::Stream(_) | Value::Array(_) | Value::Module(_) => {
                losses.add(match kind {
                    Some(Kind::Module) => Loss::ModuleValue,
                    Some(Kind::Stream) => Loss::Stream,
                    Some(Kind::Array) => Loss::Array,
                    _ => Loss::Json,
                });
                Source::Nothing
            }
            Value::List(list) => Source::Collection(Box::new(Collection::List(list, None))),
            Value::Set(set) => Source::Collection(Box::new(Collection::Set(set, None))),
            Value::Zset(zset) => Source::Collection(Box::new(Collection::Zset(zset, None))),
            Value::Hash(hash) if hash.has_paths() => {
                losses.add(Loss::PathHash);
                Source::Nothing
            }
            Value::Hash(hash) => Source::Collection(Box::new(Collection::hash(hash))),
        };
        Ok(Self {
            source,
            batch: Batch {
                args: Vec::new(),
                buffer: Vec::new(),
                argc: 0,
                bytes: 0,
                key: arrival.key,
                limits,
                head: 0,
            },
            vocabulary,
            losses,
            expire_at_ms: arrival.expire_at_ms,
            inside: arrival.inside,
            sub_expires: match arrival.inside.strips() {
                true => &[],
                false => entry.sub_expires,
            },
            stage: Stage::Value,
        })
    }

    /// What the commands pulled so far do not carry; complete when there are no more. A value of which nothing can be
    /// carried has no commands at all, and its loss is known at once.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// The next command; `None` at the end. Fused after an error.
    ///
    /// # Errors
    /// As the walk over the value.
    pub fn next_command(&mut self) -> Result<Option<Command<'_>>> {
        match self.step() {
            Ok(true) => Ok(self.command()),
            Ok(false) => Ok(None),
            Err(error) => {
                self.stage = Stage::Done;
                Err(error)
            }
        }
    }

    fn step(&mut self) -> Result<bool> {
        let Self {
            batch,
            vocabulary,
            losses,
            ..
        } = self;
        if self.stage == Stage::Value {
            let more = match &mut self.source {
                Source::Nothing => {
                    self.stage = Stage::Done;
                    return Ok(false);
                }
                Source::Whole(element, name) => {
                    batch.begin(name);
                    if *name == "JSON.SET" {
                        batch.word("$");
                    }
                    let length = element.len();
                    batch.push(
                        match *element {
                            Element::Int(value) => Arg::Int(value),
                            Element::Bytes(bytes) => Arg::Raw(bytes),
                            Element::Long(packed) => Arg::Long(packed),
                        },
                        length,
                    );
                    self.stage = Stage::SubExpires;
                    return Ok(true);
                }
                Source::Long(string) => string.step(batch)?,
                Source::Collection(collection) => collection.step(batch, vocabulary, losses)?,
                Source::Stream(stream) => stream.step(batch, vocabulary, losses)?,
                Source::Array(array) => array.step(batch)?,
            };
            if more {
                return Ok(true);
            }
            self.stage = Stage::SubExpires;
        }
        if self.stage == Stage::SubExpires {
            if let Some((member, at, rest)) = sub_expires(self.sub_expires)? {
                self.sub_expires = rest;
                let at = self.inside.arrives(at).unwrap_or(at);
                if let Some(command) = vocabulary.member_expiry {
                    batch.begin(command);
                    let mut text = Vec::new();
                    match member {
                        Str::Raw(bytes) => batch.push(Arg::Raw(bytes), bytes.len() as u64),
                        Str::Int(value) => batch.int(i64::from(value)),
                        Str::Lzf(packed) => match Part::compressed(packed, &mut text)? {
                            Part::Long(packed) => batch.push(Arg::Long(packed), packed.ulen),
                            _ => batch.copied(&text),
                        },
                    }
                    batch.int(at);
                    return Ok(true);
                }
                losses.add(Loss::MemberExpiry);
            }
            self.stage = Stage::Expiry;
        }
        if self.stage == Stage::Expiry {
            self.stage = Stage::Done;
            if let Some(at) = self.expire_at_ms {
                batch.begin("PEXPIREAT");
                batch.int(at);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn command(&self) -> Option<Command<'_>> {
        let decoder = match &self.source {
            Source::Collection(collection) => Some(collection.decoder()),
            Source::Stream(stream) => Some(stream.decoder()),
            Source::Array(array) => Some(array.decoder()),
            Source::Whole(..) | Source::Long(_) | Source::Nothing => None,
        };
        static NO_TEXT: [Vec<u8>; 3] = [Vec::new(), Vec::new(), Vec::new()];
        static NO_BLOB: Hold = Hold::EMPTY;
        let (blob, names, text) = match decoder {
            Some(decoder) => (&decoder.blob, &decoder.names, &decoder.text),
            None => (&NO_BLOB, &NO_BLOB, &NO_TEXT),
        };
        Some(Command {
            args: &self.batch.args,
            argc: self.batch.argc,
            bytes: self.batch.bytes,
            room: Room {
                key: self.batch.key,
                buffer: &self.batch.buffer,
                blob,
                names,
                text,
            },
        })
    }
}

impl Decoder<Exact> {
    /// Walks a value whose commands would make another one of it where it is damaged: members, fields and groups that stand
    /// twice would silently become one. What else is wrong, its commands tell while they are pulled.
    ///
    /// # Errors
    /// `Corrupt` for what is damaged, `Unsupported` for what commands cannot write, both with the entry; `Limit` and `Io` of
    /// a spool.
    pub fn demand_distinct(&mut self, entry: &Entry<'_>) -> Result<()> {
        match entry.type_info().map(|info| info.kind) {
            Some(Kind::Set | Kind::ZSet | Kind::Hash | Kind::Stream) => {
                self.validate(entry).map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// Pulls all commands of a value and reads all their arguments.
#[cfg(test)]
pub(super) fn walk_all<F: Findings>(decoder: &mut Decoder<F>, entry: &Entry<'_>) {
    let arrival = Arrival {
        key: Element::Bytes(b"k"),
        expire_at_ms: None,
        inside: Expiries::default(),
    };
    let words = Vocabulary::redis(8, 10);
    let Ok(mut commands) = Commands::new(decoder, entry, arrival, words, Limits::default()) else {
        return;
    };
    while let Ok(Some(command)) = commands.next_command() {
        assert_eq!(command.args().count() as u64, command.argc());
        let bytes: u64 = command.args().map(|arg| arg.len()).sum();
        assert_eq!(bytes, command.bytes());
    }
}

fn named(error: Error, entry: &Entry<'_>) -> Error {
    error.or_entry(|| entry.context())
}
