//! The bytes of a value that is being written: in a buffer, and beyond its bound in a spool.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::spool::{Spool, SpooledBytes};
use crate::value::Element;
use crate::wire::string::Lzf;
use crate::wire::{Str, length};

/// What is held in memory.
const BUFFERED: usize = 1 << 20;
/// A piece of at least this many bytes goes to the spool without a copy in between.
const LARGE: usize = 32 * 1024;
/// Strings between these two are tried to be compressed: below, what it saves is not worth its time; above, only strings
/// come that their writer did not compress.
const COMPRESS: std::ops::RangeInclusive<usize> = 4096..=(1 << 20);

/// A body that is being written; used again and again.
#[derive(Debug)]
pub(super) struct Body {
    buffer: Vec<u8>,
    spool: Option<Spool>,
    spooled: Option<SpooledBytes>,
    dir: Option<PathBuf>,
    /// Bytes that went to the spool.
    spilled: u64,
    most: u64,
}

impl Body {
    pub(super) fn new(dir: Option<&Path>) -> Self {
        Self {
            buffer: Vec::new(),
            spool: None,
            spooled: None,
            dir: dir.map(Path::to_owned),
            spilled: 0,
            most: u64::MAX,
        }
    }

    /// Forgets what was written before.
    pub(super) fn begin(&mut self, most: u64) {
        self.buffer.clear();
        self.spool = None;
        self.spooled = None;
        self.spilled = 0;
        self.most = most;
    }

    /// Appends an element as a string.
    #[inline]
    pub(super) fn element(&mut self, element: &Element<'_>) -> Result<()> {
        match *element {
            Element::Int(value) => match i32::try_from(value) {
                Ok(value) => self.int(value),
                Err(_) => Str::write_raw(
                    &mut self.buffer,
                    itoa::Buffer::new().format(value).as_bytes(),
                ),
            },
            Element::Bytes(bytes) => return self.string(bytes),
            Element::Long(packed) => return self.compressed(&packed),
        }
        self.bound()
    }

    fn int(&mut self, value: i32) {
        if let Ok(value) = i8::try_from(value) {
            self.buffer.push(0xc0);
            self.buffer.extend_from_slice(&value.to_le_bytes());
        } else if let Ok(value) = i16::try_from(value) {
            self.buffer.push(0xc1);
            self.buffer.extend_from_slice(&value.to_le_bytes());
        } else {
            self.buffer.push(0xc2);
            self.buffer.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Appends a string.
    #[inline]
    pub(super) fn string(&mut self, bytes: &[u8]) -> Result<()> {
        match bytes.len() {
            // Only so short ones can be numbers.
            0..=11 => Str::write(&mut self.buffer, bytes, false),
            length if COMPRESS.contains(&length) => Str::write(&mut self.buffer, bytes, true),
            length => {
                length::write(&mut self.buffer, length as u64);
                return self.bytes(bytes);
            }
        }
        self.bound()
    }

    /// Appends a compressed string as it is.
    fn compressed(&mut self, packed: &Lzf<'_>) -> Result<()> {
        self.buffer.push(0xc3);
        length::write(&mut self.buffer, packed.compressed.len() as u64);
        length::write(&mut self.buffer, packed.ulen);
        self.bytes(packed.compressed)
    }

    /// Appends a number.
    #[inline]
    pub(super) fn length(&mut self, number: u64) -> Result<()> {
        length::write(&mut self.buffer, number);
        self.bound()
    }

    /// Appends bytes as they are.
    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() >= LARGE && self.buffer.len().saturating_add(bytes.len()) > BUFFERED {
            self.spill()?;
            self.spilled = self.spilled.saturating_add(bytes.len() as u64);
            if let Some(spool) = &mut self.spool {
                spool.append(bytes)?;
            }
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        self.bound()
    }

    /// Keeps the buffer and the whole within their bounds.
    #[inline]
    fn bound(&mut self) -> Result<()> {
        if self.buffer.len() > BUFFERED {
            self.spill()?;
        }
        if self.written() > self.most {
            return Err(too_large(self.most));
        }
        Ok(())
    }

    fn written(&self) -> u64 {
        self.spilled.saturating_add(self.buffer.len() as u64)
    }

    /// Moves the buffer to the spool.
    #[cold]
    fn spill(&mut self) -> Result<()> {
        let spool = match &mut self.spool {
            Some(spool) => spool,
            None => {
                let Some(dir) = &self.dir else {
                    return Err(Error::new(
                        ErrorKind::Limit,
                        format!(
                            "a value of more than {BUFFERED} bytes needs a spool to be re-encoded, and there is no directory for one"
                        ),
                    ));
                };
                self.spool.insert(Spool::create(dir, None)?)
            }
        };
        spool.append(&self.buffer)?;
        self.spilled = self.spilled.saturating_add(self.buffer.len() as u64);
        self.buffer.clear();
        Ok(())
    }

    /// All that was written.
    pub(super) fn finish(&mut self) -> Result<&[u8]> {
        if self.written() > self.most {
            return Err(too_large(self.most));
        }
        if self.spool.is_none() {
            return Ok(&self.buffer);
        }
        self.spill()?;
        match self.spool.take() {
            Some(spool) => Ok(self.spooled.insert(spool.finish()?)),
            None => Ok(&self.buffer),
        }
    }
}

#[cold]
fn too_large(most: u64) -> Error {
    Error::new(
        ErrorKind::Limit,
        format!(
            "its older form has more than {most} bytes, the most that the destination takes in one argument"
        ),
    )
}
