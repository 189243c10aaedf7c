//! Sparse arrays (type 28, Redis 8.8).
//!
//! # Bytes
//! Count (never 0), a flag, the insertion index where the flag is 1, and for each element its index, a tag and its data: 0 a
//! string, 1 `i64LE`, 2 a binary double, 3 a string of at most 7 bytes. Written by rising index. An index may be huge: it says
//! nothing of memory.

use super::decoder::{Decoder, Part, expect_end};
use super::element::Element;
use super::findings::{Finding, Findings, Rule, Strict};
use crate::error::{Error, Result};
use crate::wire::{Cursor, double, length};

/// An array that is being walked by rising index.
#[derive(Debug)]
pub struct Array<'d, F: Findings = Strict> {
    decoder: &'d mut Decoder<F>,
    cursor: Cursor<'d>,
    count: u64,
    insert_index: Option<u64>,
    left: u64,
    before: Option<u64>,
    done: bool,
}

/// What stands at an index.
#[derive(Debug, Clone, Copy)]
pub enum ArrayValue<'a> {
    /// A string or an integer.
    Element(Element<'a>),
    /// A double.
    Double(f64),
}

/// An element of an array.
#[derive(Debug, Clone, Copy)]
pub struct ArrayItem<'a> {
    /// Its index.
    pub index: u64,
    /// What stands there.
    pub value: ArrayValue<'a>,
}

/// A value before it is handed out.
#[derive(Debug, Clone, Copy)]
pub(super) enum ArrayRaw<'d> {
    Part(Part<'d>),
    Double(f64),
}

impl<'d, F: Findings> Array<'d, F> {
    pub(super) fn open(decoder: &'d mut Decoder<F>, mut cursor: Cursor<'d>) -> Result<Self> {
        let count = length::read(&mut cursor)?;
        let place = cursor.place();
        let insert_index = match length::read(&mut cursor)? {
            0 => None,
            1 => Some(length::read(&mut cursor)?),
            other => {
                decoder.findings.found(Finding {
                    rule: Rule::ArrayItem,
                    place,
                    what: format!("the insertion flag is {other}; servers write 0 or 1").into(),
                })?;
                Some(length::read(&mut cursor)?)
            }
        };
        cursor.expect_room(count, 3, "elements of an array")?;
        Ok(Self {
            decoder,
            cursor,
            count,
            insert_index,
            left: count,
            before: None,
            done: false,
        })
    }

    /// How many elements there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Where `ARINSERT` goes on, where it was used.
    #[must_use]
    pub fn insert_index(&self) -> Option<u64> {
        self.insert_index
    }

    /// The next element; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` where the bytes cannot be read, and what the findings answer.
    pub fn next_item(&mut self) -> Result<Option<ArrayItem<'_>>> {
        match self.step() {
            Ok(Some((index, raw))) => {
                let [text, ..] = &self.decoder.text;
                let value = match raw {
                    ArrayRaw::Part(part) => {
                        ArrayValue::Element(part.element(&self.decoder.blob, text))
                    }
                    ArrayRaw::Double(value) => ArrayValue::Double(value),
                };
                Ok(Some(ArrayItem { index, value }))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.done = true;
                Err(error)
            }
        }
    }

    pub(super) fn decoder(&mut self) -> &mut Decoder<F> {
        self.decoder
    }

    /// The buffers that parts refer to.
    pub(super) fn held(&self) -> &Decoder<F> {
        self.decoder
    }

    pub(super) fn step(&mut self) -> Result<Option<(u64, ArrayRaw<'d>)>> {
        let [text, ..] = &mut self.decoder.text;
        let findings = &mut self.decoder.findings;
        while self.left > 0 && !self.done {
            self.left = self.left.wrapping_sub(1);
            let place = self.cursor.place();
            let index = length::read(&mut self.cursor)?;
            if index == u64::MAX || self.before.is_some_and(|before| before >= index) {
                findings.found(Finding {
                    rule: Rule::ArrayItem,
                    place,
                    what: match self.before {
                        Some(before) => format!("index {index} stands behind {before}"),
                        None => format!("index {index} is none"),
                    }
                    .into(),
                })?;
            }
            self.before = Some(index);
            let place = self.cursor.place();
            let raw = match length::read(&mut self.cursor)? {
                tag @ (0 | 3) => {
                    let place = self.cursor.place();
                    let Some(part) = Part::read(&mut self.cursor, text, findings)? else {
                        continue;
                    };
                    if tag == 3
                        && let Part::Raw(bytes) = part
                        && bytes.len() > 7
                    {
                        findings.found(Finding {
                            rule: Rule::ArrayItem,
                            place,
                            what: format!("a short string of {} bytes; at most 7", bytes.len())
                                .into(),
                        })?;
                    }
                    ArrayRaw::Part(part)
                }
                1 => ArrayRaw::Part(Part::Int(self.cursor.i64_le()?)),
                2 => ArrayRaw::Double(double::read_binary(&mut self.cursor)?),
                other => {
                    return Err(Error::corrupt(
                        place,
                        format!("array element of unknown form {other}"),
                    ));
                }
            };
            return Ok(Some((index, raw)));
        }
        if !self.done {
            self.done = true;
            expect_end(&self.cursor, findings)?;
        }
        Ok(None)
    }
}
