//! Long strings, lists, sets, sorted sets, hashes and arrays.

use super::super::decoder::{Decoder, Part};
use super::super::element::{Element, Pieces};
use super::super::findings::Findings;
use super::super::hash::Start as HashStart;
use super::super::{Array, ArrayRaw, Hash, List, Set, Zset};
use super::{Arg, Batch, Loss, Losses, Slot, Vocabulary, is_lent};
use crate::error::Result;

/// Bytes of one part of a long string: a server copies each into the string, and grows that by a mebibyte at a time.
const PART: u64 = 512 * 1024;

/// A string that is written in parts: the first by `SET`, the others by `APPEND`.
#[derive(Debug)]
pub(super) struct LongString<'d> {
    rest: Rest<'d>,
    part: u64,
    begun: bool,
}

#[derive(Debug)]
enum Rest<'d> {
    /// As it stands in the input.
    Raw(&'d [u8]),
    /// To be decompressed.
    Packed(Pieces<'d>),
}

impl<'d> LongString<'d> {
    /// `most` bytes may stand in one argument.
    pub(super) fn new(element: Element<'d>, most: u64) -> Self {
        Self {
            rest: match element {
                Element::Bytes(bytes) => Rest::Raw(bytes),
                other => Rest::Packed(other.pieces()),
            },
            part: PART.min(most).max(1),
            begun: false,
        }
    }

    pub(super) fn step(&mut self, batch: &mut Batch<'d>) -> Result<bool> {
        batch.begin(match std::mem::replace(&mut self.begun, true) {
            false => "SET",
            true => "APPEND",
        });
        let part = usize::try_from(self.part).unwrap_or(usize::MAX);
        match &mut self.rest {
            Rest::Raw(rest) => {
                let (now, later) = rest.split_at(part.min(rest.len()));
                *rest = later;
                if !now.is_empty() {
                    batch.push(Arg::Raw(now), now.len() as u64);
                }
            }
            Rest::Packed(pieces) => {
                let from = batch.buffer.len();
                // A piece has a few kilobytes.
                while batch.buffer.len().saturating_sub(from) < part / 2 {
                    match pieces.next_piece()? {
                        Some(piece) => batch.buffer.extend_from_slice(piece),
                        None => break,
                    }
                }
                if batch.buffer.len() > from {
                    batch.end_copy(from);
                }
            }
        }
        Ok(batch.has_elements())
    }
}

/// A collection that is written element by element.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and behind a box")]
pub(super) enum Collection<'d, F: Findings> {
    List(List<'d, F>, Held<Part<'d>>),
    Set(Set<'d, F>, Held<Part<'d>>),
    Zset(Zset<'d, F>, Held<(Part<'d>, f64)>),
    Hash(HashCommands<'d, F>),
}

/// An element that was read, but did not fit into the command before.
type Held<T> = Option<T>;

/// What became of an element.
enum Added {
    /// It stands in the command, and more may follow.
    Yes,
    /// It stands in the command, and nothing may be read before the command is written.
    Last,
    /// It goes into the next command.
    No,
}

/// Adds the parts of one element, unless they do not fit any more, or must stand alone and have company.
fn add<'d, const N: usize>(
    batch: &mut Batch<'d>,
    parts: [(Part<'d>, Slot, Element<'_>); N],
    in_front: impl FnOnce(&mut Batch<'d>),
) -> Added {
    let mut bytes = 0u64;
    let mut lent = false;
    for (part, _, element) in &parts {
        let length = element.len();
        bytes = bytes.saturating_add(length);
        lent |= is_lent(part, length);
    }
    if batch.has_elements() && (lent || !batch.fits(N, bytes)) {
        return Added::No;
    }
    in_front(batch);
    for (part, slot, element) in parts {
        batch.part(part, slot, &element);
    }
    if lent { Added::Last } else { Added::Yes }
}

fn first<'s, 'd: 's, F: Findings>(
    decoder: &'s Decoder<F>,
    part: Part<'d>,
) -> (Part<'d>, Slot, Element<'s>) {
    let [text, ..] = &decoder.text;
    (part, Slot::First, part.element(&decoder.blob, text))
}

impl<'d, F: Findings> Collection<'d, F> {
    pub(super) fn hash(hash: Hash<'d, F>) -> Self {
        Collection::Hash(HashCommands {
            start: hash.start(),
            hash,
            held: None,
            any_expiry: false,
            second_walk: false,
        })
    }

    pub(super) fn decoder(&self) -> &Decoder<F> {
        match self {
            Collection::List(list, _) => list.held(),
            Collection::Set(set, _) => set.held(),
            Collection::Zset(zset, _) => zset.held(),
            Collection::Hash(hash) => hash.hash.held(),
        }
    }

    /// Puts the next command together. `false` where there is none.
    pub(super) fn step(
        &mut self,
        batch: &mut Batch<'d>,
        vocabulary: &Vocabulary,
        losses: &mut Losses,
    ) -> Result<bool> {
        match self {
            Collection::List(list, held) => {
                batch.begin("RPUSH");
                while let Some(part) = take(held, || list.step())? {
                    match add(batch, [first(list.held(), part)], |_| ()) {
                        Added::Yes => {}
                        Added::Last => break,
                        Added::No => {
                            *held = Some(part);
                            break;
                        }
                    }
                }
            }
            Collection::Set(set, held) => {
                batch.begin("SADD");
                while let Some(part) = take(held, || {
                    Ok(set.step()?.map(|(part, expiry)| {
                        if expiry.is_some() {
                            losses.add(Loss::MemberExpiry);
                        }
                        part
                    }))
                })? {
                    match add(batch, [first(set.held(), part)], |_| ()) {
                        Added::Yes => {}
                        Added::Last => break,
                        Added::No => {
                            *held = Some(part);
                            break;
                        }
                    }
                }
            }
            Collection::Zset(zset, held) => {
                batch.begin("ZADD");
                while let Some((part, score)) = take(held, || zset.step())? {
                    match add(batch, [first(zset.held(), part)], |batch| {
                        batch.score(score);
                    }) {
                        Added::Yes => {}
                        Added::Last => break,
                        Added::No => {
                            *held = Some((part, score));
                            break;
                        }
                    }
                }
            }
            Collection::Hash(hash) => return hash.step(batch, vocabulary, losses),
        }
        Ok(batch.has_elements())
    }
}

#[inline]
fn take<T>(held: &mut Held<T>, read: impl FnOnce() -> Result<Option<T>>) -> Result<Option<T>> {
    match held.take() {
        Some(item) => Ok(Some(item)),
        None => read(),
    }
}

/// A hash: first its fields, then the expiries of those that have one.
#[derive(Debug)]
pub(super) struct HashCommands<'d, F: Findings> {
    hash: Hash<'d, F>,
    start: HashStart<'d>,
    held: Held<(Part<'d>, Part<'d>, Option<i64>)>,
    any_expiry: bool,
    second_walk: bool,
}

impl<'d, F: Findings> HashCommands<'d, F> {
    fn step(
        &mut self,
        batch: &mut Batch<'d>,
        vocabulary: &Vocabulary,
        losses: &mut Losses,
    ) -> Result<bool> {
        if !self.second_walk {
            if self.fields(batch, vocabulary)? {
                return Ok(true);
            }
            if !self.any_expiry {
                return Ok(false);
            }
            if !vocabulary.field_expiry && vocabulary.member_expiry.is_none() {
                losses.add(Loss::FieldExpiry);
                return Ok(false);
            }
            self.second_walk = true;
            self.any_expiry = false;
            self.hash.rewind(&self.start);
        }
        match vocabulary
            .member_expiry
            .filter(|_| !vocabulary.field_expiry)
        {
            Some(command) => self.next_expiry(batch, command),
            None => self.expiries(batch),
        }
    }

    fn fields(&mut self, batch: &mut Batch<'d>, vocabulary: &Vocabulary) -> Result<bool> {
        let hash = &mut self.hash;
        batch.begin(if vocabulary.hset_many {
            "HSET"
        } else {
            "HMSET"
        });
        while let Some(field) = take(&mut self.held, || hash.step())? {
            let (name, value, expiry) = field;
            let parts = [
                name_of(hash, name),
                (value, Slot::Second, {
                    let decoder = hash.held();
                    let [_, more, _] = &decoder.text;
                    value.element(&decoder.blob, more)
                }),
            ];
            match add(batch, parts, |_| ()) {
                Added::Yes => {}
                Added::Last => {
                    self.any_expiry |= expiry.is_some();
                    break;
                }
                Added::No => {
                    self.held = Some(field);
                    break;
                }
            }
            self.any_expiry |= expiry.is_some();
        }
        Ok(batch.has_elements())
    }

    /// `PEXPIREMEMBERAT key field ms` for the next field with an expiry.
    fn next_expiry(&mut self, batch: &mut Batch<'d>, command: &'static str) -> Result<bool> {
        let hash = &mut self.hash;
        while let Some((name, _, expiry)) = hash.step()? {
            if let Some(expiry) = expiry {
                batch.begin(command);
                let (name, slot, element) = name_of(hash, name);
                batch.part(name, slot, &element);
                batch.int(expiry);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `HPEXPIREAT key ms FIELDS n field…` for fields in a row that share their time.
    fn expiries(&mut self, batch: &mut Batch<'d>) -> Result<bool> {
        let hash = &mut self.hash;
        let mut shared = None;
        let mut count = 0u64;
        let mut count_at = 0;
        while let Some(field) = take(&mut self.held, || hash.step())? {
            let (name, value, Some(expiry)) = field else {
                continue;
            };
            match shared {
                None => {
                    batch.begin("HPEXPIREAT");
                    batch.int(expiry);
                    batch.word("FIELDS");
                    // Room for the number, which is known behind the last field.
                    count_at = batch.args.len();
                    batch.int(0);
                    batch.head = batch.args.len();
                    shared = Some(expiry);
                }
                Some(time) if time != expiry => {
                    self.held = Some((name, value, Some(expiry)));
                    break;
                }
                Some(_) => {}
            }
            match add(batch, [name_of(hash, name)], |_| ()) {
                Added::Yes => count = count.wrapping_add(1),
                Added::Last => {
                    count = count.wrapping_add(1);
                    break;
                }
                Added::No => {
                    self.held = Some((name, value, Some(expiry)));
                    break;
                }
            }
        }
        if shared.is_none() {
            return Ok(false);
        }
        batch.set_int(count_at, i64::try_from(count).unwrap_or(i64::MAX));
        Ok(true)
    }
}

fn name_of<'s, 'd, F: Findings>(
    hash: &'s Hash<'d, F>,
    name: Part<'d>,
) -> (Part<'d>, Slot, Element<'s>) {
    let decoder = hash.held();
    let [text, ..] = &decoder.text;
    if hash.names_apart() {
        (name, Slot::Name, name.element(&decoder.names, text))
    } else {
        (name, Slot::First, name.element(&decoder.blob, text))
    }
}

/// An array: its elements, then where insertion goes on.
#[derive(Debug)]
pub(super) struct ArrayCommands<'d, F: Findings> {
    array: Array<'d, F>,
    held: Held<(u64, ArrayRaw<'d>)>,
    insert_index: Option<u64>,
}

impl<'d, F: Findings> ArrayCommands<'d, F> {
    pub(super) fn new(array: Array<'d, F>) -> Self {
        Self {
            insert_index: array.insert_index(),
            array,
            held: None,
        }
    }

    pub(super) fn decoder(&self) -> &Decoder<F> {
        self.array.held()
    }

    pub(super) fn step(&mut self, batch: &mut Batch<'d>) -> Result<bool> {
        let array = &mut self.array;
        batch.begin("ARMSET");
        while let Some((index, raw)) = take(&mut self.held, || array.step())? {
            let added = match raw {
                ArrayRaw::Part(part) => add(batch, [first(array.held(), part)], |batch| {
                    batch.number(index);
                }),
                ArrayRaw::Double(value) if batch.fits(2, 45) => {
                    batch.number(index);
                    batch.array_double(value);
                    Added::Yes
                }
                ArrayRaw::Double(_) => Added::No,
            };
            match added {
                Added::Yes => {}
                Added::Last => break,
                Added::No => {
                    self.held = Some((index, raw));
                    break;
                }
            }
        }
        if batch.has_elements() {
            return Ok(true);
        }
        match self.insert_index.take() {
            // The file has the index that was inserted last, the command wants the next one.
            Some(last) => {
                batch.begin("ARSEEK");
                batch.number(last.saturating_add(1));
                Ok(true)
            }
            None => Ok(false),
        }
    }
}
