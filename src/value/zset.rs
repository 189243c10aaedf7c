//! Sorted sets: scores as text (type 3), binary scores (5), ziplist (12), listpack (17).
//!
//! # Bytes
//! | type | body |
//! |---|---|
//! | 3 | count; a string and a score as text for each |
//! | 5 | count; a string and 8 bytes (IEEE-754, little endian) for each |
//! | 12, 17 | a ziplist or listpack: member, score, member, score, … in the order of the scores |
//!
//! In 12 and 17 a score is an integer or a text; its digits differ between server versions, so only its value counts.

use std::cmp::Ordering;

use super::decoder::{Decoder, Part, expect_end, tell};
use super::element::{Element, IntText};
use super::findings::{Finding, Findings, Rule, Strict};
use super::packed::{Encoding, Item, Packed};
use super::positions::Positions;
use crate::error::Result;
use crate::snapshot::ValueType;
use crate::wire::{Cursor, double, length};

/// A sorted set that is being walked, in the order of the file.
#[derive(Debug)]
pub struct Zset<'d, F: Findings = Strict> {
    decoder: &'d mut Decoder<F>,
    cursor: Cursor<'d>,
    left: u64,
    packed: Option<Packed<'d>>,
    text_scores: bool,
    /// Score and member that were read last from a packed encoding.
    before: Option<(f64, Item)>,
    body: Cursor<'d>,
    position: u64,
    done: bool,
}

/// A member and its score.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// The member.
    pub member: Element<'a>,
    /// Its score, bit for bit where the file has it in binary. NaN where the file's score is none (which was told).
    pub score: f64,
    pub(super) position: u64,
}

impl<'d, F: Findings> Zset<'d, F> {
    pub(super) fn open(
        decoder: &'d mut Decoder<F>,
        mut cursor: Cursor<'d>,
        value_type: ValueType,
    ) -> Result<Self> {
        let body = cursor;
        let text_scores = value_type == ValueType::ZSET;
        let encoding = match value_type {
            ValueType::ZSET_ZIPLIST => Some(Encoding::Ziplist),
            ValueType::ZSET_LISTPACK => Some(Encoding::Listpack),
            _ => None,
        };
        let (left, packed) = match encoding {
            Some(encoding) => (0, decoder.open_packed(&mut cursor, encoding)?),
            None => {
                let count = length::read(&mut cursor)?;
                cursor.expect_room(count, if text_scores { 2 } else { 9 }, "members")?;
                (count, None)
            }
        };
        Ok(Self {
            decoder,
            cursor,
            left,
            packed,
            text_scores,
            before: None,
            body,
            position: 0,
            done: false,
        })
    }

    /// The next member with its score; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` where the bytes cannot be read, and what the findings answer.
    #[inline]
    pub fn next_scored(&mut self) -> Result<Option<Scored<'_>>> {
        match self.step() {
            Ok(Some((part, score))) => {
                let [text, ..] = &self.decoder.text;
                Ok(Some(Scored {
                    member: part.element(&self.decoder.blob, text),
                    score,
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
    pub(super) fn step(&mut self) -> Result<Option<(Part<'d>, f64)>> {
        if self.done {
            return Ok(None);
        }
        if self.packed.is_some() {
            return self.step_packed();
        }
        let [text, ..] = &mut self.decoder.text;
        let findings = &mut self.decoder.findings;
        while self.left > 0 {
            self.left = self.left.wrapping_sub(1);
            self.position = self.cursor.offset();
            let member = Part::read(&mut self.cursor, text, findings)?;
            let place = self.cursor.place();
            let score = if self.text_scores {
                let before = self.cursor.remaining();
                match double::read_text(&mut self.cursor) {
                    Ok(score) => score,
                    // The text was read, but is no number.
                    Err(error) if self.cursor.remaining().saturating_add(1) < before => {
                        findings.found(Finding {
                            rule: Rule::ScoreNan,
                            place,
                            what: error.what().to_owned().into(),
                        })?;
                        if let Some(member) = member {
                            return Ok(Some((member, f64::NAN)));
                        }
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            } else {
                double::read_binary(&mut self.cursor)?
            };
            if score.is_nan() {
                findings.found(Finding {
                    rule: Rule::ScoreNan,
                    place,
                    what: "score is NaN".into(),
                })?;
            }
            if let Some(member) = member {
                return Ok(Some((member, score)));
            }
        }
        self.done = true;
        expect_end(&self.cursor, findings)?;
        Ok(None)
    }

    fn step_packed(&mut self) -> Result<Option<(Part<'d>, f64)>> {
        match self.read_packed() {
            Ok(Some(pair)) => Ok(Some(pair)),
            Ok(None) => {
                self.done = true;
                expect_end(&self.cursor, &mut self.decoder.findings)?;
                Ok(None)
            }
            Err(error) => {
                self.done = true;
                tell(&mut self.decoder.findings, error)?;
                Ok(None)
            }
        }
    }

    #[inline]
    fn read_packed(&mut self) -> Result<Option<(Part<'d>, f64)>> {
        let Some(packed) = &mut self.packed else {
            return Ok(None);
        };
        let (hold, findings) = (&self.decoder.blob, &mut self.decoder.findings);
        let Some(member) = packed.next(hold, findings)? else {
            return Ok(None);
        };
        self.position = packed.last() as u64;
        let Some(score_item) = packed.next(hold, findings)? else {
            findings.found(Finding {
                rule: Rule::OddItems,
                place: packed.last_place(),
                what: "the last member has no score".into(),
            })?;
            return Ok(None);
        };
        let bytes = packed.bytes(hold);
        let score = match score_item.element(bytes).score() {
            Some(score) => score,
            None => {
                findings.found(no_number(packed, score_item, bytes))?;
                f64::NAN
            }
        };
        if let Some((before, member_before)) = self.before
            && !in_order(before, member_before, score, member, bytes)
        {
            findings.found(Finding {
                rule: Rule::ZsetOrder,
                place: packed.last_place(),
                what: format!("score {score} stands behind {before}").into(),
            })?;
        }
        self.before = Some((score, member));
        Ok(Some((Part::Packed(packed.blob(), member), score)))
    }

    /// How many members there are, as claimed.
    pub(super) fn claimed(&self) -> u64 {
        match &self.packed {
            Some(packed) => packed.claimed().unwrap_or(0) / 2,
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

#[cold]
fn no_number(packed: &Packed<'_>, score: Item, bytes: &[u8]) -> Finding {
    let shown = score.bytes(bytes);
    let shown = shown.get(..40).unwrap_or(shown);
    Finding {
        rule: Rule::ScoreNan,
        place: packed.last_place(),
        what: format!("score {} is no number", crate::error::Escaped(shown)).into(),
    }
}

/// Whether a server would keep the two in this order: by score, then by the member's bytes.
#[inline]
fn in_order(before: f64, member_before: Item, score: f64, member: Item, blob: &[u8]) -> bool {
    match before.partial_cmp(&score) {
        Some(Ordering::Less) | None => true,
        Some(Ordering::Greater) => false,
        Some(Ordering::Equal) => {
            let (mut a, mut b) = (IntText::new(), IntText::new());
            let before = member_before.element(blob);
            let now = member.element(blob);
            before.short(&mut a) <= now.short(&mut b)
        }
    }
}
