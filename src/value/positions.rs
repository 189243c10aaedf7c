//! Finding an element of a collection again by the position at which a walk met it.

use super::decoder::Decoder;
use super::element::Element;
use super::findings::{Finding, Findings};
use super::packed::{Hold, Packed};
use super::template::Names;
use super::unique::{Unique, same};
use super::validate::Keyed;
use crate::error::{Place, Result};
use crate::wire::{Cursor, Str};

/// What positions of one collection refer to: bytes of its packed blob, or offsets in the input.
#[derive(Debug, Clone, Copy)]
pub(super) enum Positions<'d> {
    Packed(Packed<'d>),
    Strings(Cursor<'d>),
    Names(Names<'d>),
}

impl<'d> Positions<'d> {
    pub(super) fn of(packed: Option<Packed<'d>>, body: Cursor<'d>) -> Self {
        match packed {
            Some(packed) => Positions::Packed(packed),
            None => Positions::Strings(body),
        }
    }

    /// The element at a position; `text` takes it where it is compressed.
    pub(super) fn element<'s>(
        &self,
        blob: &'s Hold,
        names_blob: &'s Hold,
        position: u64,
        text: &'s mut Vec<u8>,
    ) -> Result<Option<Element<'s>>>
    where
        'd: 's,
    {
        match self {
            Positions::Packed(packed) => Ok(packed.element_at(blob, position)),
            Positions::Names(names) => names
                .positions()
                .element(names_blob, names_blob, position, text),
            Positions::Strings(body) => {
                let mut cursor = *body;
                cursor.skip(position.saturating_sub(body.offset()))?;
                Element::of(Str::read(&mut cursor)?, text).map(Some)
            }
        }
    }

    /// The place of a position, for a message.
    pub(super) fn place(&self, position: u64) -> Place {
        match self {
            Positions::Packed(packed) => {
                packed.place(usize::try_from(position).unwrap_or(usize::MAX))
            }
            Positions::Names(names) => names.positions().place(position),
            Positions::Strings(_) => Place::at(position),
        }
    }
}

impl<F: Findings> Decoder<F> {
    /// Ends a collection whose keys were noted in `unique`, and tells those that occur twice.
    pub(super) fn tell_twice(&mut self, unique: &mut Unique, keyed: &Keyed<'_>) -> Result<()> {
        let Keyed {
            positions,
            rule,
            what,
        } = keyed;
        let (mut left, mut right) = (Vec::new(), Vec::new());
        let (blob, names) = (&self.blob, &self.names);
        let (mut twice, count) = unique.finish(|a, b| {
            let a = positions.element(blob, names, a, &mut left)?;
            let b = positions.element(blob, names, b, &mut right)?;
            match (a, b) {
                (Some(a), Some(b)) => same(&a, &b),
                _ => Ok(false),
            }
        })?;
        twice.sort_unstable_by_key(|(_, again)| *again);
        let more = count.saturating_sub(twice.len() as u64);
        let last = twice.len().saturating_sub(1);
        for (number, (first, again)) in twice.into_iter().enumerate() {
            let place = positions.place(again);
            let before = positions.place(first);
            let before = before.inside.map_or(before.offset, |(_, byte)| byte);
            let finding = Finding {
                rule: *rule,
                place,
                what: format!("the same {what} stood at {before} before").into(),
            };
            if number == last && more > 0 {
                self.findings.found_times(finding, more.saturating_add(1))?;
            } else {
                self.findings.found(finding)?;
            }
        }
        Ok(())
    }
}
