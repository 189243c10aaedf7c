//! The field names of a templated hash (types 29 to 32): in front of its values, or in a template of the file.

use super::decoder::{Decoder, Part};
use super::findings::{Findings, Lenient};
use super::hash::no_template;
use super::packed::{Encoding, Hold, Packed};
use super::positions::Positions;
use crate::error::{Error, Result};
use crate::snapshot::{Entry, ValueType};
use crate::wire::{Cursor, Str, length};

/// A walk over field names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'d> {
    /// Where names that are strings stand.
    cursor: Cursor<'d>,
    body: Cursor<'d>,
    left: u64,
    count: u64,
    packed: Option<Packed<'d>>,
}

impl<'d> Names<'d> {
    pub(super) fn open<F: Findings>(
        decoder: &mut Decoder<F>,
        cursor: &mut Cursor<'d>,
        entry: &Entry<'d>,
    ) -> Result<Self> {
        let strings = |cursor: Cursor<'d>, count: u64| Names {
            cursor,
            body: cursor,
            left: count,
            count,
            packed: None,
        };
        if matches!(
            entry.value_type,
            ValueType::HASH_TMPL_LP_REF | ValueType::HASH_TMPL_ARRAY_REF
        ) {
            let Some(template) = entry.template else {
                return Err(no_template(cursor.place()));
            };
            if entry.value_type == ValueType::HASH_TMPL_ARRAY_REF {
                length::read(cursor)?;
            }
            return Ok(strings(template.names(), template.fields));
        }
        let place = cursor.place();
        match length::read(cursor)? {
            0 => {
                let offset = cursor.offset();
                let packed = Packed::open(
                    Str::read(cursor)?,
                    offset,
                    Encoding::Listpack,
                    &mut decoder.names,
                    decoder.spool_dir.as_deref(),
                    &mut decoder.findings,
                )?;
                Ok(Names {
                    cursor: *cursor,
                    body: *cursor,
                    left: 0,
                    // The header's count; where it has none, the names are counted.
                    count: match packed.claimed() {
                        Some(count) => count,
                        None => count(packed, &decoder.names)?,
                    },
                    packed: Some(packed),
                })
            }
            1 => {
                let count = length::read(cursor)?;
                cursor.expect_room(count, 1, "fields of a hash template")?;
                let names = strings(*cursor, count);
                for _ in 0..count {
                    Str::skip(cursor)?;
                }
                Ok(names)
            }
            other => Err(Error::corrupt(
                place,
                format!("hash template with field names of unknown form {other}"),
            )),
        }
    }

    /// How many names there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The next name; `Some(None)` for one that cannot be read, which was told.
    #[expect(
        clippy::option_option,
        reason = "the end and a gap are different things"
    )]
    pub(super) fn next<F: Findings>(
        &mut self,
        hold: &Hold,
        text: &mut Vec<u8>,
        findings: &mut F,
    ) -> Result<Option<Option<Part<'d>>>> {
        if let Some(packed) = &mut self.packed {
            let item = packed.next(hold, findings)?;
            return Ok(item.map(|item| Some(Part::Packed(packed.blob(), item))));
        }
        if self.left == 0 {
            return Ok(None);
        }
        self.left = self.left.wrapping_sub(1);
        Part::read(&mut self.cursor, text, findings).map(Some)
    }

    /// The position of the next name.
    pub(super) fn position(&self) -> u64 {
        match &self.packed {
            Some(packed) => packed.at() as u64,
            None => self.cursor.offset(),
        }
    }

    /// What the positions of names refer to.
    pub(super) fn positions(&self) -> Positions<'d> {
        Positions::of(self.packed, self.body)
    }
}

/// Counts the names of a listpack that does not say how many it has.
fn count(mut packed: Packed<'_>, hold: &Hold) -> Result<u64> {
    while packed.next(hold, &mut Lenient)?.is_some() {}
    Ok(packed.seen())
}
