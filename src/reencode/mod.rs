//! A value in an older form: the same elements in an encoding that a destination knows, still one `RESTORE`.
//!
//! | from | to |
//! |---|---|
//! | list: ziplist, quicklist, quicklist-2 | plain (1); for servers without it, quicklist-2 (18) |
//! | set: intset, listpack, Dragonfly's with expiries | plain (2) |
//! | sorted set: ziplist, listpack | binary scores (5), scores as text (3) |
//! | hash: zipmap, ziplist, listpack, templates | plain (4) |
//! | hash with field expiries: Redis', Valkey's, Dragonfly's | Redis' (24), Valkey's (22), plain (4) |
//! | stream, forms 5 to 2 | every lower form, by its metadata alone: the nodes stay where they are in the input |
//! | stream | its own form with its counters mended ([`mended_form`]) |
//!
//! Plain forms are enough: every server packs small collections again when it loads them.
//!
//! # Losses
//! What a form has no field for is told as [`Losses`], by the names that [`crate::value::commands`] uses. A loss of meaning
//! that is not allowed ends the work as soon as it is seen.
//!
//! # Memory
//! Elements go from the walk straight into a body: a buffer of 1 MiB, and for what is larger a spool, which is mapped.
#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::cast_possible_truncation
    )
)]

mod body;
mod form;
mod hash;
mod plain;
mod quicklist;
mod stream;
#[cfg(test)]
mod tests;

use std::path::Path;

use body::Body;
pub use form::{Form, may_have_expiries_inside, mended_form, older_forms};

use crate::error::{Error, Place, Result};
use crate::snapshot::{Entry, ValueType};
use crate::transform::Expiries;
use crate::value::commands::{Loss, Losses};
use crate::value::{Decoder, Value};
use crate::wire::length;

/// What decides about an encoding besides the form.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Losses of meaning that may happen. Bookkeeping may always be lost: it is told.
    pub allowed: Losses,
    /// The run's instant, milliseconds of Unix time. Fields that are past then are gone: a form without expiries leaves them
    /// out, as every server would.
    pub now_ms: i64,
    /// The most bytes that a body may have.
    pub most: u64,
    /// What becomes of the expiries of fields and members.
    pub inside: Expiries,
}

impl Terms {
    /// Whether a field is left out of a form that has room for its expiry: a time that was made past here is nothing that a
    /// server has to find out.
    fn leaves_out(&self, at: i64) -> bool {
        !self.inside.is_keep() && at <= self.now_ms
    }
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The value in its new form.
    Done(Reencoded<'a>),
    /// Nothing: the form has no room for these, and not all of their meaning may be lost.
    Loses(Losses),
}

/// A value in another form, in pieces that borrow from the input and from the [`Reencoder`].
#[derive(Debug, Clone, Copy)]
pub struct Reencoded<'a> {
    /// The form. A hash that has no field with an expiry becomes a plain one, whatever was asked for.
    pub form: Form,
    /// What stands first: counts, which are known last.
    head: Head,
    /// Bytes of the input that stayed as they are.
    pub kept: &'a [u8],
    /// What was written.
    pub body: &'a [u8],
    /// What the form has no field for.
    pub losses: Losses,
    /// Elements that were written; 0 for a stream, which may be empty.
    pub elements: u64,
}

impl Reencoded<'_> {
    /// The bytes in front of [`Reencoded::kept`] and [`Reencoded::body`].
    #[must_use]
    pub fn head(&self) -> &[u8] {
        self.head.bytes()
    }

    /// The whole body of the value, for tests and small values.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        [self.head(), self.kept, self.body].concat()
    }

    /// Whether nothing is left of a collection: all its elements were past their time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elements == 0 && self.kept.is_empty()
    }
}

/// At most a time and a count: 8 + 9 bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    bytes: [u8; 17],
    len: usize,
}

impl Head {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = *byte;
                self.len = self.len.saturating_add(1);
            }
        }
    }

    fn push_length(&mut self, count: u64) {
        let mut text = Vec::with_capacity(9);
        length::write(&mut text, count);
        self.push(&text);
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Writes values in other forms, one at a time, with buffers that are used again for the next one.
#[derive(Debug)]
pub struct Reencoder {
    decoder: Decoder,
    body: Body,
}

impl Reencoder {
    /// One that puts what is too large to be held into spools in `spool_dir`; without one, such a value is an error of kind
    /// `Limit`.
    #[must_use]
    pub fn new(spool_dir: Option<&Path>) -> Self {
        Self {
            decoder: Decoder::new(spool_dir),
            body: Body::new(spool_dir),
        }
    }

    /// Writes the value of `entry` in `form`, one of its [`older_forms`] or its [`mended_form`].
    ///
    /// # Errors
    /// `Corrupt` for a damaged value, `Limit` for a body of more than [`Terms::most`] bytes, `Limit` and `Io` of the spool,
    /// `Unsupported` for a form that is none of the value's. They name the entry.
    pub fn encode<'a>(
        &'a mut self,
        entry: &Entry<'a>,
        form: Form,
        terms: &Terms,
    ) -> Result<Outcome<'a>> {
        let entry = *entry;
        self.begin(&entry, form, terms)
            .map_err(|error| error.or_entry(|| entry.context()))
    }

    fn begin<'a>(
        &'a mut self,
        entry: &Entry<'a>,
        form: Form,
        terms: &Terms,
    ) -> Result<Outcome<'a>> {
        let Self { decoder, body } = self;
        body.begin(terms.most);
        decoder.set_expiries(terms.inside);
        let mut writing = Writing {
            body,
            losses: Losses::default(),
            terms,
        };
        if let (Some(from), Some(to)) = (stream::form(entry.form()), stream::form(form)) {
            let live = match from == to {
                true => Some(stream::live_entries(decoder, entry)?),
                false => None,
            };
            let kept = stream::encode(entry, (from, to), live, &mut writing)?;
            let losses = writing.losses;
            return Ok(match kept {
                None => Outcome::Loses(losses),
                Some(kept) => Outcome::Done(Reencoded {
                    form,
                    head: Head::default(),
                    kept,
                    body: body.finish()?,
                    losses,
                    elements: 0,
                }),
            });
        }
        let mut form = form;
        let mut times = None;
        if form::may_have_field_expiries(entry.form()) {
            let found = hash::field_expiries(decoder, entry, terms)?;
            if !found.any {
                form = Form::HASH;
            } else if form == Form::HASH {
                if found.any_ahead {
                    writing.losses.add(Loss::FieldExpiry);
                }
            } else {
                times = Some(found);
            }
        }
        if !writing.may_go_on() {
            return Ok(Outcome::Loses(writing.losses));
        }
        let mut head = Head::default();
        if let (Some(times), Form::HASH_METADATA) = (&times, form) {
            head.push(&times.smallest.to_le_bytes());
        }
        let elements = match (decoder.decode(entry)?, form.value_type) {
            (Value::List(list), ValueType::LIST) => plain::list(list, &mut writing)?,
            (Value::List(list), ValueType::LIST_QUICKLIST_2) => {
                let (nodes, elements) = quicklist::list(list, &mut writing)?;
                head.push_length(nodes);
                elements
            }
            (Value::Set(set), ValueType::SET) => plain::set(set, &mut writing)?,
            (Value::Zset(zset), ValueType::ZSET) => plain::zset(zset, true, &mut writing)?,
            (Value::Zset(zset), ValueType::ZSET_2) => plain::zset(zset, false, &mut writing)?,
            (Value::Hash(hash), ValueType::HASH) => hash::plain(hash, &mut writing)?,
            (Value::Hash(hash), _) if times.is_some() && form == Form::HASH_2 => {
                hash::times_behind(hash, &mut writing)?
            }
            (Value::Hash(hash), _) if form == Form::HASH_METADATA => {
                let smallest = times.map_or(0, |times| times.smallest);
                hash::times_before(hash, smallest, &mut writing)?
            }
            _ => {
                return Err(Error::unsupported(
                    Place::at(entry.offset),
                    format!(
                        "{} cannot be written as {}",
                        entry.value_type.name(entry.dialect),
                        form.name()
                    ),
                ));
            }
        };
        if form.value_type != ValueType::LIST_QUICKLIST_2 {
            head.push_length(elements);
        }
        let may_go_on = writing.may_go_on();
        let losses = writing.losses;
        if !may_go_on {
            return Ok(Outcome::Loses(losses));
        }
        Ok(Outcome::Done(Reencoded {
            form,
            head,
            kept: &[],
            body: body.finish()?,
            losses,
            elements,
        }))
    }
}

/// What the encoders write to.
struct Writing<'w> {
    body: &'w mut Body,
    losses: Losses,
    terms: &'w Terms,
}

impl Writing<'_> {
    /// Whether nothing was lost that may not be.
    fn may_go_on(&self) -> bool {
        self.losses
            .iter()
            .all(|loss| !loss.is_meaning() || (self.terms.allowed.has(loss) && !loss.is_whole()))
    }

    /// Whether a field with such an expiry is left out whatever the form.
    fn leaves_out(&self, expire_at_ms: Option<i64>) -> bool {
        expire_at_ms.is_some_and(|at| self.terms.leaves_out(at))
    }

    /// Whether an element's time is past at the run's instant.
    fn is_past(&self, at: i64) -> bool {
        at <= self.terms.now_ms
    }
}
