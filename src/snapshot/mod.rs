//! The container: from the bytes of an RDB file to its records, by pulling.
//!
//! # Bytes
//! ```text
//! magic(9)  { opcode arguments | attribute* type key value }*  EOF  crc64(8, from version 5)
//! ```
//! This is `rdbSaveRio`'s order of parts, but like the server's loader this reader takes any opcode anywhere. A value is found
//! without being decoded: [`Entry::value`] is a slice of the input, which a DUMP payload takes as it is.
//!
//! # Offsets
//! All count from the input's first byte, behind any decompression.
//!
//! # Refuses
//! A bad length here is fatal, since RDB has no point to go on from. What stands inside values is not judged here.
//! Numbers that are not proven end with an error that names offset, number and the file's version.
//!
//! ```
//! use rdbridge::snapshot::Snapshot;
//!
//! // The smallest useful file: one key "k" with the value "v" in database 0.
//! let file = b"REDIS0009\xfe\x00\x00\x01k\x01v\xff\xf1\xc3\xf1\x2d\x87\xe2\xaf\x85";
//! let snapshot = Snapshot::parse(file)?;
//! let mut scratch = Vec::new();
//! for entry in snapshot.entries() {
//!     let entry = entry?;
//!     assert_eq!(entry.key.bytes(&mut scratch)?, b"k");
//!     assert_eq!((entry.db, entry.value, entry.value_offset), (0, &b"\x01v"[..], 14));
//! }
//! # Ok::<(), rdbridge::Error>(())
//! ```
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

mod ahead;
mod codes;
mod entry;
mod extent;
mod function;
mod header;
mod producer;
mod reader;
mod spot;
mod template;

pub use codes::{Dialect, Kind, ModuleId, Opcode, TypeInfo, ValueType, Version};
pub use entry::{Entry, EntryId, EntryPlace};
pub use header::Header;
pub use producer::Producer;
pub use reader::{ChecksumState, End, Entries, Function, Lent, Record, Records};
pub use spot::{Again, Spot};
pub use template::Template;

use crate::error::Result;
use crate::wire::{Cursor, Str};

/// How a snapshot is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Compute the CRC while reading, and end with an error where it differs. Default: `true`.
    pub verify_checksum: bool,
    /// Read files of versions newer than the newest proven one. Default: `false`.
    pub accept_newer: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            verify_checksum: true,
            accept_newer: false,
        }
    }
}

/// An RDB file in memory.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'data> {
    data: &'data [u8],
    header: Header,
    options: Options,
}

impl<'data> Snapshot<'data> {
    /// Reads the header of `data` with default [`Options`].
    ///
    /// # Errors
    /// As [`Header::read`].
    pub fn parse(data: &'data [u8]) -> Result<Self> {
        Self::with_options(data, Options::default())
    }

    /// Reads the header of `data`.
    ///
    /// # Errors
    /// As [`Header::read`].
    pub fn with_options(data: &'data [u8], options: Options) -> Result<Self> {
        let header = Header::read(&mut Cursor::new(data, 0), options.accept_newer)?;
        Ok(Self {
            data,
            header,
            options,
        })
    }

    /// Magic and version.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    /// The whole input.
    #[must_use]
    pub fn data(&self) -> &'data [u8] {
        self.data
    }

    /// All records in file order, the last one is [`Record::End`].
    #[must_use]
    pub fn records(&self) -> Records<'data> {
        Records::new(self.data, self.header, self.options)
    }

    /// All records without a look at the checksum: for a second pass over bytes whose checksum was verified.
    #[must_use]
    pub fn unverified_records(&self) -> Records<'data> {
        Records::new(
            self.data,
            self.header,
            Options {
                verify_checksum: false,
                ..self.options
            },
        )
    }

    /// The keys only, in file order. With [`Options::verify_checksum`] a wrong CRC is the last item.
    #[must_use]
    pub fn entries(&self) -> Entries<'data> {
        Entries(self.records())
    }

    /// The key of the entry whose record begins at `offset`, as [`crate::snapshot::Entry::offset`] says: for looking at a key
    /// again without keeping it. `dialect` is the entry's.
    ///
    /// # Errors
    /// As [`Records::next_record`]; an offset that is none of this file's entries gives an error or a meaningless key.
    pub fn key_at(&self, offset: u64, dialect: Dialect) -> Result<Str<'data>> {
        self.records().key_at(offset, dialect)
    }

    /// The entry at `place`, once more: for another look at a key that was not kept. Only its own record is read (and the one
    /// of its hash template).
    ///
    /// # Errors
    /// As [`Records::next_record`]; `Corrupt` where no entry begins there.
    pub fn entry_at(&self, place: &EntryPlace) -> Result<Entry<'data>> {
        self.unverified_records().entry_at(place)
    }

    /// What the aux fields in front of the first key say of the server that wrote the file.
    ///
    /// # Errors
    /// As [`Records::next_record`].
    pub fn producer(&self) -> Result<Producer> {
        let mut records = Records::new(
            self.data,
            self.header,
            Options {
                verify_checksum: false,
                ..self.options
            },
        );
        let mut producer = Producer::new(self.header);
        loop {
            match records.next_record()? {
                Some(Record::Aux { name, value, .. }) => producer.learn(&name, &value),
                Some(Record::Entry(_) | Record::End(_)) | None => return Ok(producer),
                Some(_) => {}
            }
        }
    }
}
