//! A position in borrowed bytes that cannot leave them.

use crate::error::{Error, Place, Result};

/// Reads forward through `&'data [u8]` and knows where in the input it stands.
///
/// A cursor over the input itself has offsets from the input's first byte. A cursor over a nested blob ([`Cursor::nested`])
/// reports the blob's offset in the input and the byte inside the blob, since behind an LZF string the input's offsets stop
/// meaning anything.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'data> {
    rest: &'data [u8],
    /// Offset of the byte behind `rest`: the offset of the next byte is `end - rest.len()`. Kept this way so that taking
    /// bytes changes one field only.
    end: u64,
    blob: Option<(&'static str, u64)>,
}

impl<'data> Cursor<'data> {
    /// A cursor at the first byte of `data`, which stands at `offset` of the input.
    #[must_use]
    pub fn new(data: &'data [u8], offset: u64) -> Self {
        Self {
            rest: data,
            end: offset.saturating_add(data.len() as u64),
            blob: None,
        }
    }

    /// A cursor over the content of a blob called `name`, whose record begins at `blob_offset` of the input.
    #[must_use]
    pub fn nested(data: &'data [u8], name: &'static str, blob_offset: u64) -> Self {
        Self {
            rest: data,
            end: data.len() as u64,
            blob: Some((name, blob_offset)),
        }
    }

    /// Bytes from the start of the input (or of the nested blob) to the next byte.
    #[must_use]
    #[inline]
    pub fn offset(&self) -> u64 {
        self.end.wrapping_sub(self.rest.len() as u64)
    }

    /// The place of the next byte, for an error.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place_of(self.offset())
    }

    /// The place of the byte at `offset`, as [`Cursor::offset`] counts.
    #[must_use]
    pub fn place_of(&self, offset: u64) -> Place {
        match self.blob {
            Some((name, blob_offset)) => Place::inside(blob_offset, name, offset),
            None => Place::at(offset),
        }
    }

    /// The bytes that were not read yet.
    #[must_use]
    #[inline]
    pub fn rest(&self) -> &'data [u8] {
        self.rest
    }

    /// How many bytes were not read yet.
    #[must_use]
    #[inline]
    pub fn remaining(&self) -> u64 {
        self.rest.len() as u64
    }

    /// Whether everything was read.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Moves behind everything: what a fused iterator does after an error.
    pub fn exhaust(&mut self) {
        self.rest = &[];
    }

    /// The next byte, without moving.
    #[must_use]
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// `Corrupt` where fewer remain; nothing is consumed then.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(*head)
            }
            None => Err(self.short(N as u64)),
        }
    }

    /// The next `count` bytes, borrowed. `count` is a claim of the file.
    ///
    /// # Errors
    /// `Corrupt` where fewer remain; nothing is consumed then.
    #[inline]
    pub fn take(&mut self, count: u64) -> Result<&'data [u8]> {
        match usize::try_from(count)
            .ok()
            .and_then(|count| self.rest.split_at_checked(count))
        {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => Err(self.short(count)),
        }
    }

    /// Moves over `count` bytes.
    ///
    /// # Errors
    /// As [`Cursor::take`].
    #[inline]
    pub fn skip(&mut self, count: u64) -> Result<()> {
        self.take(count).map(|_| ())
    }

    /// One byte. Errors as [`Cursor::array`], like all the following.
    #[inline]
    pub fn u8(&mut self) -> Result<u8> {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                Ok(byte)
            }
            None => Err(self.short(1)),
        }
    }

    /// 16 bits, little endian.
    #[inline]
    pub fn u16_le(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// 32 bits, little endian.
    #[inline]
    pub fn u32_le(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// 64 bits, little endian.
    #[inline]
    pub fn u64_le(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// 64 bits signed, little endian.
    #[inline]
    pub fn i64_le(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// 32 bits, big endian.
    #[inline]
    pub fn u32_be(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// 64 bits, big endian.
    #[inline]
    pub fn u64_be(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Fails unless `count` things of at least `min_bytes` each could stand in what remains: the guard before any loop or
    /// reservation that a count from the file drives.
    ///
    /// # Errors
    /// `Corrupt`, at the place of the cursor.
    #[inline]
    pub fn expect_room(&self, count: u64, min_bytes: u64, what: &'static str) -> Result<()> {
        if count
            .checked_mul(min_bytes)
            .is_some_and(|bytes| bytes <= self.remaining())
        {
            return Ok(());
        }
        Err(self.no_room(count, min_bytes, what))
    }

    #[cold]
    fn no_room(&self, count: u64, min_bytes: u64, what: &'static str) -> Error {
        Error::corrupt(
            self.place(),
            format!(
                "{count} {what} claimed, at least {min_bytes} byte{} each, but only {} remain",
                if min_bytes == 1 { "" } else { "s" },
                self.remaining()
            ),
        )
    }

    #[cold]
    fn short(&self, wanted: u64) -> Error {
        let needed = format!("{wanted} more bytes needed, {} remain", self.remaining());
        match self.blob {
            Some(_) => Error::corrupt(self.place(), needed),
            None => Error::corrupt(
                self.place(),
                format!("unexpected end of the input: {needed}"),
            )
            .with_hint(CUT),
        }
    }
}

/// What to do about a file that ends too early.
pub const CUT: &str = "get the file again, or take another backup: it is cut off or damaged";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_width_and_order() {
        let data: Vec<u8> = (1..=40).collect();
        let mut c = Cursor::new(&data, 100);
        assert_eq!(c.u8().unwrap(), 1);
        assert_eq!(c.u16_le().unwrap(), 0x0302);
        assert_eq!(c.u32_le().unwrap(), 0x0706_0504);
        assert_eq!(c.u64_le().unwrap(), 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(c.u32_be().unwrap(), 0x1011_1213);
        assert_eq!(c.u64_be().unwrap(), 0x1415_1617_1819_1a1b);
        assert_eq!((c.offset(), c.remaining()), (127, 13));
        assert_eq!(c.take(3).unwrap(), [28, 29, 30]);
        assert_eq!(c.peek(), Some(31));
    }

    #[test]
    fn never_leaves_its_bytes_and_says_where() {
        let mut c = Cursor::new(b"abc", 10);
        c.u8().unwrap();
        for claim in [3, u64::MAX, 1 << 63] {
            let error = c.take(claim).unwrap_err();
            assert_eq!(error.place(), Some(Place::at(11)));
            assert!(
                error
                    .to_string()
                    .contains(&format!("{claim} more bytes needed, 2 remain")),
                "{error}"
            );
        }
        assert_eq!(c.take(2).unwrap(), b"bc", "a failed read consumes nothing");
        assert!(c.u8().is_err() && c.u64_le().is_err() && c.array::<1>().is_err());
        assert!(c.take(0).unwrap().is_empty());
    }

    #[test]
    fn a_nested_cursor_names_its_blob() {
        let mut c = Cursor::nested(b"xy", "listpack", 77);
        c.skip(2).unwrap();
        assert_eq!(
            c.u8().unwrap_err().place(),
            Some(Place::inside(77, "listpack", 2))
        );
    }

    #[test]
    fn a_count_is_compared_with_what_could_stand_there() {
        let c = Cursor::new(&[0; 20], 0);
        assert!(c.expect_room(10, 2, "fields").is_ok());
        assert!(c.expect_room(11, 2, "fields").is_err());
        assert!(
            c.expect_room(u64::MAX, 2, "fields").is_err(),
            "the product overflows"
        );
        assert!(c.expect_room(0, 100, "fields").is_ok());
    }
}
