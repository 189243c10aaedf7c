//! Hash templates: field names that hashes of Redis 8.10 share (`HASH_TEMPLATE` records, types 30 and 32).
//!
//! A template record is: id, number of fields, that many strings, ascending by length and then by bytes. Templates stand
//! before the first key that refers to them, and are remembered as spans of the file.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::wire::{Cursor, Str, length};

/// Field names that stand in the file once, for many hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template<'data> {
    /// The id that hashes refer to.
    pub id: u64,
    /// Where its record stands behind the opcode, in bytes from the start of the input.
    pub offset: u64,
    /// How many fields every hash of this template has; at least 1.
    pub fields: u64,
    /// The field names: exactly `fields` strings behind each other, as they stand in the file.
    pub names: &'data [u8],
    /// Where `names` begins, in bytes from the start of the input.
    pub names_offset: u64,
}

impl<'data> Template<'data> {
    /// Reads the names one after the other.
    #[must_use]
    pub fn names(&self) -> Cursor<'data> {
        Cursor::new(self.names, self.names_offset)
    }

    /// Reads the template whose [`Template::offset`] this is.
    pub(super) fn at(data: &'data [u8], offset: u64) -> Result<Self> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        Self::read(&mut Cursor::new(
            data.get(start..).unwrap_or_default(),
            offset,
        ))
    }

    pub(super) fn read(cursor: &mut Cursor<'data>) -> Result<Self> {
        let offset = cursor.offset();
        let id = length::read(cursor)?;
        let place = cursor.place();
        let fields = length::read(cursor)?;
        if fields == 0 {
            return Err(Error::corrupt(
                place,
                format!("hash template {id} has no fields"),
            ));
        }
        cursor.expect_room(fields, 1, "fields of a hash template")?;
        let names_offset = cursor.offset();
        let start = cursor.rest();
        for _ in 0..fields {
            Str::skip(cursor)?;
        }
        let used = start.len().saturating_sub(cursor.rest().len());
        Ok(Self {
            id,
            offset,
            fields,
            names: start.get(..used).unwrap_or_default(),
            names_offset,
        })
    }
}

/// The templates of one file, by id.
#[derive(Debug, Clone, Default)]
pub(super) struct Templates<'data> {
    by_id: HashMap<u64, Template<'data>>,
}

impl<'data> Templates<'data> {
    /// The most templates that one file may have: 64 Ki of them take about 4 MiB.
    const MOST: usize = 1 << 16;

    pub(super) fn add(&mut self, template: Template<'data>, at: Cursor<'data>) -> Result<()> {
        if self.by_id.len() >= Self::MOST {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("more than {} hash templates in one file", Self::MOST),
            )
            .or_place(at.place()));
        }
        if self.by_id.insert(template.id, template).is_some() {
            return Err(Error::corrupt(
                at.place(),
                format!("hash template {} is defined twice", template.id),
            ));
        }
        Ok(())
    }

    pub(super) fn get(&self, id: u64) -> Option<Template<'data>> {
        self.by_id.get(&id).copied()
    }
}
