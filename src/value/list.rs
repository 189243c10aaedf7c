//! Lists: plain (type 1), ziplist (10), quicklist of ziplists (14), quicklist of listpacks and plain elements (18).
//!
//! # Bytes
//! | type | body |
//! |---|---|
//! | 1 | count, that many strings |
//! | 10 | a ziplist |
//! | 14 | count, that many ziplists |
//! | 18 | count, and for each node its container (1: the string is the element, 2: it is a listpack) and a string |
//!
//! A node that is damaged inside does not hide the ones behind it.

use super::decoder::{Decoder, Part, expect_end, tell};
use super::element::Element;
use super::findings::{Finding, Findings, Rule, Strict};
use super::packed::{Encoding, Packed};
use crate::error::Result;
use crate::snapshot::ValueType;
use crate::wire::{Cursor, Str, length};

/// A list that is being walked from its head to its tail.
#[derive(Debug)]
pub struct List<'d, F: Findings = Strict> {
    decoder: &'d mut Decoder<F>,
    cursor: Cursor<'d>,
    form: Form,
    /// Elements or nodes that were not begun yet.
    left: u64,
    node: Option<Packed<'d>>,
    done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Ziplist,
    Quicklist,
    Quicklist2,
}

impl<'d, F: Findings> List<'d, F> {
    pub(super) fn open(
        decoder: &'d mut Decoder<F>,
        mut cursor: Cursor<'d>,
        value_type: ValueType,
    ) -> Result<Self> {
        let form = match value_type {
            ValueType::LIST => Form::Plain,
            ValueType::LIST_ZIPLIST => Form::Ziplist,
            ValueType::LIST_QUICKLIST => Form::Quicklist,
            _ => Form::Quicklist2,
        };
        let left = match form {
            Form::Ziplist => 1,
            _ => length::read(&mut cursor)?,
        };
        cursor.expect_room(
            left,
            if form == Form::Quicklist2 { 2 } else { 1 },
            if form == Form::Plain {
                "elements"
            } else {
                "nodes"
            },
        )?;
        Ok(Self {
            decoder,
            cursor,
            form,
            left,
            node: None,
            done: false,
        })
    }

    /// The next element; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` where the bytes cannot be read, `Limit` and `Io` of the spool, and what the findings answer.
    #[inline]
    pub fn next_element(&mut self) -> Result<Option<Element<'_>>> {
        match self.step() {
            Ok(Some(part)) => {
                let [text, ..] = &self.decoder.text;
                Ok(Some(part.element(&self.decoder.blob, text)))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.done = true;
                Err(error)
            }
        }
    }

    #[inline]
    pub(super) fn step(&mut self) -> Result<Option<Part<'d>>> {
        if self.done {
            return Ok(None);
        }
        loop {
            if let Some(node) = &mut self.node {
                match node.next(&self.decoder.blob, &mut self.decoder.findings) {
                    Ok(Some(item)) => return Ok(Some(Part::Packed(node.blob(), item))),
                    Ok(None) => self.end_node()?,
                    Err(error) => {
                        self.node = None;
                        tell(&mut self.decoder.findings, error)?;
                    }
                }
                continue;
            }
            if self.left == 0 {
                self.done = true;
                expect_end(&self.cursor, &mut self.decoder.findings)?;
                return Ok(None);
            }
            self.left = self.left.wrapping_sub(1);
            if let Some(part) = self.begin_item()? {
                return Ok(Some(part));
            }
        }
    }

    /// Reads the next plain element, or opens the next node.
    fn begin_item(&mut self) -> Result<Option<Part<'d>>> {
        let [text, ..] = &mut self.decoder.text;
        let findings = &mut self.decoder.findings;
        let encoding = match self.form {
            Form::Plain => return Part::read(&mut self.cursor, text, findings),
            Form::Ziplist | Form::Quicklist => Encoding::Ziplist,
            Form::Quicklist2 => {
                let place = self.cursor.place();
                match length::read(&mut self.cursor)? {
                    1 => {
                        let place = self.cursor.place();
                        let part = Part::read(&mut self.cursor, text, findings)?;
                        if matches!(part, Some(Part::Raw([]))) {
                            findings.found(Finding {
                                rule: Rule::QuicklistContainer,
                                place,
                                what: "a plain node holds an empty string".into(),
                            })?;
                        }
                        return Ok(part);
                    }
                    2 => {}
                    other => {
                        findings.found(Finding {
                            rule: Rule::QuicklistContainer,
                            place,
                            what: format!(
                                "a node has container {other}; known are 1 (plain) and 2 (listpack)"
                            )
                            .into(),
                        })?;
                        Str::skip(&mut self.cursor)?;
                        return Ok(None);
                    }
                }
                Encoding::Listpack
            }
        };
        self.node = self.decoder.open_packed(&mut self.cursor, encoding)?;
        Ok(None)
    }

    pub(super) fn decoder(&mut self) -> &mut Decoder<F> {
        self.decoder
    }

    /// The buffers that parts refer to.
    pub(super) fn held(&self) -> &Decoder<F> {
        self.decoder
    }

    #[cold]
    fn empty_node(&mut self, node: &Packed<'d>) -> Result<()> {
        self.decoder.findings.found(Finding {
            rule: Rule::EmptyNode,
            place: node.place(0),
            what: "a node holds no elements".into(),
        })
    }

    fn end_node(&mut self) -> Result<()> {
        if let Some(node) = self.node.take()
            && node.seen() == 0
            && self.form != Form::Ziplist
        {
            self.empty_node(&node)?;
        }
        Ok(())
    }
}

impl<F: Findings> Decoder<F> {
    /// Opens the blob at the cursor. `None` where it cannot be read, which was told then.
    pub(super) fn open_packed<'d>(
        &mut self,
        cursor: &mut Cursor<'d>,
        encoding: Encoding,
    ) -> Result<Option<Packed<'d>>> {
        let offset = cursor.offset();
        let string = Str::read(cursor)?;
        let opened = Packed::open(
            string,
            offset,
            encoding,
            &mut self.blob,
            self.spool_dir.as_deref(),
            &mut self.findings,
        );
        match opened {
            Ok(packed) => Ok(Some(packed)),
            Err(error) => tell(&mut self.findings, error).map(|()| None),
        }
    }
}
