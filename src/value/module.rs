//! Module values (type 7) and key metadata (opcode 243): exact opcodes, opaque content.
//!
//! # Bytes
//! A module value is the module's id, then opcodes, each a length: 0 the end, 1 a signed and 2 an unsigned integer (a length), 3 a
//! float, 4 a double (little endian), 5 a string. What they mean only the module knows.
//!
//! Key metadata is the opcode 243, a count of at most 7, and for each class 4 bytes (24 bits name, 5 bits version, 3 bits
//! flags) and module opcodes.

use super::decoder::{Decoder, Part, expect_end};
use super::element::Element;
use super::findings::{Findings, Strict};
use crate::error::{Error, Result};
use crate::snapshot::ModuleId;
use crate::wire::{Cursor, Str, double, length};

/// One value that a module wrote.
#[derive(Debug, Clone, Copy)]
pub enum ModuleItem<'a> {
    /// A signed integer.
    Signed(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// A single-precision number, bit for bit.
    Float(f32),
    /// A double-precision number, bit for bit.
    Double(f64),
    /// A string.
    String(Element<'a>),
}

/// A module's value that is being walked.
#[derive(Debug)]
pub struct ModuleValue<'d, F: Findings = Strict> {
    decoder: &'d mut Decoder<F>,
    cursor: Cursor<'d>,
    id: ModuleId,
    done: bool,
}

enum Raw<'d> {
    Ready(ModuleItem<'d>),
    String(Part<'d>),
}

impl<'d, F: Findings> ModuleValue<'d, F> {
    pub(super) fn open(decoder: &'d mut Decoder<F>, mut cursor: Cursor<'d>) -> Result<Self> {
        let id = ModuleId(length::read(&mut cursor)?);
        Ok(Self {
            decoder,
            cursor,
            id,
            done: false,
        })
    }

    /// Which module type wrote the value, and the version of its encoding.
    #[must_use]
    pub fn id(&self) -> ModuleId {
        self.id
    }

    /// The next value; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` where the bytes cannot be read, and what the findings answer.
    pub fn next_item(&mut self) -> Result<Option<ModuleItem<'_>>> {
        match self.step() {
            Ok(Some(Raw::Ready(item))) => Ok(Some(item)),
            Ok(Some(Raw::String(part))) => {
                let [text, ..] = &self.decoder.text;
                Ok(Some(ModuleItem::String(
                    part.element(&self.decoder.blob, text),
                )))
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

    /// Where the walk stands, to go on from here again.
    pub(super) fn start(&self) -> Cursor<'d> {
        self.cursor
    }

    pub(super) fn rewind(&mut self, to: Cursor<'d>) {
        (self.cursor, self.done) = (to, false);
    }

    fn step(&mut self) -> Result<Option<Raw<'d>>> {
        while !self.done {
            let place = self.cursor.place();
            let opcode = length::read(&mut self.cursor)?;
            let item = match opcode {
                0 => {
                    self.done = true;
                    expect_end(&self.cursor, &mut self.decoder.findings)?;
                    break;
                }
                5 => {
                    let [text, ..] = &mut self.decoder.text;
                    match Part::read(&mut self.cursor, text, &mut self.decoder.findings)? {
                        Some(part) => return Ok(Some(Raw::String(part))),
                        None => continue,
                    }
                }
                1..=4 => read_number(&mut self.cursor, opcode)?,
                other => {
                    return Err(Error::corrupt(
                        place,
                        format!("module opcode {other} is unknown; modules write 0 to 5"),
                    ));
                }
            };
            return Ok(Some(Raw::Ready(item)));
        }
        Ok(None)
    }
}

/// What stands behind the opcodes 1 to 4.
fn read_number<'a>(cursor: &mut Cursor<'_>, opcode: u64) -> Result<ModuleItem<'a>> {
    Ok(match opcode {
        1 => ModuleItem::Signed(length::read(cursor)?.cast_signed()),
        2 => ModuleItem::Unsigned(length::read(cursor)?),
        3 => ModuleItem::Float(f32::from_le_bytes(cursor.array()?)),
        _ => ModuleItem::Double(double::read_binary(cursor)?),
    })
}

/// A class of key metadata (Redis 8.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaClass {
    /// The class's 32 bits: 24 bits name, 5 bits version, 3 bits flags.
    pub spec: u32,
}

impl MetaClass {
    const ALPHABET: &'static [u8; 64] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    /// The four characters of its name.
    #[must_use]
    pub fn name(self) -> String {
        [26u32, 20, 14, 8]
            .into_iter()
            .map(|shift| {
                let index = (self.spec >> shift & 0x3f) as usize;
                char::from(*Self::ALPHABET.get(index).unwrap_or(&b'?'))
            })
            .collect()
    }

    /// The version of its encoding.
    #[must_use]
    pub fn version(self) -> u32 {
        self.spec >> 3 & 0x1f
    }

    /// Its flags.
    #[must_use]
    pub fn flags(self) -> u32 {
        self.spec & 7
    }
}

/// Walks the classes of a `KEY_META` record, as [`crate::snapshot::Entry::key_meta`] has it, and calls `class` for each with
/// its opcodes, the end included.
///
/// # Errors
/// `Corrupt` where the bytes cannot be read; `offset` is where the record begins in the input. And what `class` answers.
pub fn key_meta_classes<'d>(
    record: &'d [u8],
    offset: u64,
    mut class: impl FnMut(MetaClass, &'d [u8]) -> Result<()>,
) -> Result<()> {
    let mut cursor = Cursor::new(record, offset);
    cursor.skip(1)?;
    let place = cursor.place();
    let count = length::read(&mut cursor)?;
    if count > 7 {
        return Err(Error::corrupt(
            place,
            format!("{count} classes of key metadata; servers write at most 7"),
        ));
    }
    for _ in 0..count {
        let spec = cursor.u32_le()?;
        let start = cursor.rest();
        loop {
            let place = cursor.place();
            match length::read(&mut cursor)? {
                0 => break,
                5 => Str::skip(&mut cursor)?,
                opcode @ 1..=4 => {
                    read_number(&mut cursor, opcode)?;
                }
                other => {
                    return Err(Error::corrupt(
                        place,
                        format!("module opcode {other} is unknown; modules write 0 to 5"),
                    ));
                }
            }
        }
        let used = start.len().saturating_sub(cursor.rest().len());
        class(MetaClass { spec }, start.get(..used).unwrap_or_default())?;
    }
    if cursor.is_empty() {
        return Ok(());
    }
    Err(Error::corrupt(
        cursor.place(),
        format!("{} bytes stand behind the key metadata", cursor.remaining()),
    ))
}
