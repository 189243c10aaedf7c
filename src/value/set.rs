//! Sets: plain (type 2), intset (11), listpack (20), and Dragonfly's set with an expiry for each member (32).

use super::decoder::{Decoder, Part, expect_end, tell};
use super::element::Element;
use super::findings::{Findings, Strict};
use super::hash::df_expiry;
use super::packed::{Encoding, Packed};
use super::positions::Positions;
use crate::error::Result;
use crate::snapshot::{Dialect, ValueType};
use crate::wire::{Cursor, length};

/// A set that is being walked, in the order of the file.
#[derive(Debug)]
pub struct Set<'d, F: Findings = Strict> {
    decoder: &'d mut Decoder<F>,
    cursor: Cursor<'d>,
    left: u64,
    packed: Option<Packed<'d>>,
    with_expiry: bool,
    body: Cursor<'d>,
    position: u64,
    done: bool,
}

/// A member of a set.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The member.
    pub member: Element<'a>,
    /// When it expires, in milliseconds of Unix time. Dragonfly only.
    pub expire_at_ms: Option<i64>,
    pub(super) position: u64,
}

impl<'d, F: Findings> Set<'d, F> {
    pub(super) fn open(
        decoder: &'d mut Decoder<F>,
        mut cursor: Cursor<'d>,
        value_type: ValueType,
        dialect: Dialect,
    ) -> Result<Self> {
        let body = cursor;
        let encoding = match value_type {
            ValueType::SET_INTSET => Some(Encoding::Intset),
            ValueType::SET_LISTPACK => Some(Encoding::Listpack),
            _ => None,
        };
        let with_expiry =
            value_type == ValueType::DF_SET_WITH_EXPIRY && dialect == Dialect::Dragonfly;
        let (left, packed) = match encoding {
            Some(encoding) => (0, decoder.open_packed(&mut cursor, encoding)?),
            None => {
                let count = length::read(&mut cursor)?;
                cursor.expect_room(count, if with_expiry { 2 } else { 1 }, "members")?;
                (count, None)
            }
        };
        Ok(Self {
            decoder,
            cursor,
            left,
            packed,
            with_expiry,
            body,
            position: 0,
            done: false,
        })
    }

    /// The next member; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` where the bytes cannot be read, and what the findings answer.
    #[inline]
    pub fn next_member(&mut self) -> Result<Option<Member<'_>>> {
        match self.step() {
            Ok(Some((part, expire_at_ms))) => {
                let [text, ..] = &self.decoder.text;
                Ok(Some(Member {
                    member: part.element(&self.decoder.blob, text),
                    expire_at_ms,
                    position: self.position,
                }))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.done = true;
                Err(error)
            }
        }
    }

    #[inline]
    pub(super) fn step(&mut self) -> Result<Option<(Part<'d>, Option<i64>)>> {
        if self.done {
            return Ok(None);
        }
        if let Some(packed) = &mut self.packed {
            match packed.next(&self.decoder.blob, &mut self.decoder.findings) {
                Ok(Some(item)) => {
                    self.position = packed.last() as u64;
                    return Ok(Some((Part::Packed(packed.blob(), item), None)));
                }
                Ok(None) => {}
                Err(error) => tell(&mut self.decoder.findings, error)?,
            }
        }
        let [text, more, _] = &mut self.decoder.text;
        let findings = &mut self.decoder.findings;
        while self.left > 0 {
            self.left = self.left.wrapping_sub(1);
            self.position = self.cursor.offset();
            let member = Part::read(&mut self.cursor, text, findings)?;
            let expiry = if self.with_expiry {
                df_expiry(&mut self.cursor, more, findings)?
            } else {
                None
            };
            if let Some(member) = member {
                let expiry = expiry.and_then(|at| self.decoder.expiries.arrives(at));
                return Ok(Some((member, expiry)));
            }
        }
        self.done = true;
        expect_end(&self.cursor, findings)?;
        Ok(None)
    }

    /// How many members there are, as claimed.
    pub(super) fn claimed(&self) -> u64 {
        match &self.packed {
            Some(packed) => packed.claimed().unwrap_or(0),
            None => self.left,
        }
    }

    pub(super) fn positions(&self) -> Positions<'d> {
        Positions::of(self.packed, self.body)
    }

    pub(super) fn decoder(&mut self) -> &mut Decoder<F> {
        self.decoder
    }

    /// The buffers that parts refer to.
    pub(super) fn held(&self) -> &Decoder<F> {
        self.decoder
    }
}
