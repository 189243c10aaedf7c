//! The RDB string: raw bytes, an integer, or LZF (`rdbGenericLoadStringObject`).
//!
//! Keys, members, fields, aux values, function sources and packed blobs are all such strings, so none of them may be taken
//! for plain bytes. A [`Str`] borrows what stands in the file and decodes only when asked.

use super::cursor::Cursor;
use super::length::{self, Prefix};
use super::lzf;
use crate::error::{Error, ErrorKind, Place, Result};

/// A string as it stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Str<'data> {
    /// The bytes themselves.
    Raw(&'data [u8]),
    /// An integer whose decimal text is the string.
    Int(i32),
    /// Compressed bytes.
    Lzf(Lzf<'data>),
}

/// A compressed string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lzf<'data> {
    /// The compressed bytes.
    pub compressed: &'data [u8],
    /// The length that the file claims for the decompressed string.
    pub ulen: u64,
    /// Where the string's record begins in the input.
    pub offset: u64,
}

impl<'data> Str<'data> {
    /// A compressed string longer than this is not decompressed into one buffer by [`Str::bytes`]: walk its
    /// [`Str::pieces`].
    pub const MAX_BUFFERED: u64 = 1 << 20;

    /// Reads a string. Nothing is decompressed, and what a compressed string claims is judged only when it is decoded: its
    /// extent is sound whatever it claims, so such damage is local to the string.
    ///
    /// # Errors
    /// `Corrupt` where the bytes end or the form is none that a server writes.
    #[inline]
    pub fn read(cursor: &mut Cursor<'data>) -> Result<Self> {
        match length::read_prefix(cursor)? {
            Prefix::Length(length) => cursor.take(length).map(Str::Raw),
            Prefix::Special(code) => Self::read_special(cursor, code),
        }
    }

    /// As [`Str::read`], to where the string is kept: nearly all are raw, and then its parts are written there one by one. To
    /// be moved they would have to be read in wider pieces than they were written in, which processors wait for.
    ///
    /// # Errors
    /// As [`Str::read`]; what is kept is the same then.
    #[inline]
    pub fn read_to(cursor: &mut Cursor<'data>, kept: &mut Self) -> Result<()> {
        match length::read_prefix(cursor)? {
            Prefix::Length(length) => *kept = Str::Raw(cursor.take(length)?),
            Prefix::Special(code) => *kept = Self::read_special(cursor, code)?,
        }
        Ok(())
    }

    #[inline(never)]
    fn read_special(cursor: &mut Cursor<'data>, code: u8) -> Result<Self> {
        // The form is one byte.
        let offset = cursor.offset().saturating_sub(1);
        match code {
            0 => cursor
                .u8()
                .map(|b| Str::Int(i32::from(i8::from_le_bytes([b])))),
            1 => cursor
                .array()
                .map(|b| Str::Int(i32::from(i16::from_le_bytes(b)))),
            2 => cursor.array().map(|b| Str::Int(i32::from_le_bytes(b))),
            3 => {
                let clen = length::read(cursor)?;
                let ulen = length::read(cursor)?;
                let compressed = cursor.take(clen)?;
                Ok(Str::Lzf(Lzf {
                    compressed,
                    ulen,
                    offset,
                }))
            }
            _ => Err(unknown_form(cursor.place_of(offset), code)),
        }
    }

    /// Moves over a string, as fast as its length can be found.
    ///
    /// # Errors
    /// `Corrupt` where the bytes end or the form is none that a server writes.
    #[inline]
    pub fn skip(cursor: &mut Cursor<'data>) -> Result<()> {
        match length::read_prefix(cursor)? {
            Prefix::Length(length) => cursor.skip(length),
            Prefix::Special(code) => Self::skip_special(cursor, code),
        }
    }

    #[inline(never)]
    fn skip_special(cursor: &mut Cursor<'data>, code: u8) -> Result<()> {
        let offset = cursor.offset().saturating_sub(1);
        match code {
            0 => cursor.skip(1),
            1 => cursor.skip(2),
            2 => cursor.skip(4),
            3 => {
                let clen = length::read(cursor)?;
                length::read(cursor)?;
                cursor.skip(clen)
            }
            _ => Err(unknown_form(cursor.place_of(offset), code)),
        }
    }

    /// The length of the logical string in bytes, as claimed.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Str::Raw(bytes) => bytes.len() as u64,
            Str::Int(value) => itoa::Buffer::new().format(*value).len() as u64,
            Str::Lzf(packed) => packed.ulen,
        }
    }

    /// Whether the logical string is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The logical bytes: borrowed from the file where they stand there, else written to `scratch` (which is cleared).
    ///
    /// # Errors
    /// `Corrupt` where the compressed bytes lie. `Limit` for a compressed string over [`Str::MAX_BUFFERED`].
    #[inline]
    pub fn bytes<'s>(&self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8]>
    where
        'data: 's,
    {
        match self {
            Str::Raw(bytes) => Ok(bytes),
            Str::Int(value) => {
                scratch.clear();
                scratch.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes());
                Ok(scratch)
            }
            Str::Lzf(packed) => packed.bytes(scratch),
        }
    }

    /// The logical bytes piece by piece, in flat memory whatever their length.
    #[must_use]
    pub fn pieces(&self) -> Pieces<'data> {
        Pieces(match *self {
            Str::Raw(bytes) => PiecesKind::Raw(bytes),
            Str::Int(value) => {
                let mut buffer = itoa::Buffer::new();
                let text = buffer.format(value).as_bytes();
                let mut owned = [0u8; 11];
                for (to, from) in owned.iter_mut().zip(text) {
                    *to = *from;
                }
                PiecesKind::Int(owned, text.len())
            }
            Str::Lzf(packed) => PiecesKind::Lzf(packed.stream()),
        })
    }

    /// At most `limit` of the first logical bytes, for showing in a message: damage is shown as far as it decodes.
    #[must_use]
    pub fn preview(&self, limit: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut pieces = self.pieces();
        while out.len() < limit
            && let Ok(Some(piece)) = pieces.next_piece()
        {
            let room = limit.saturating_sub(out.len());
            out.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
        out
    }

    /// The first logical bytes, as many as `room` has: for a header that is believed, without decompressing what is behind it.
    #[must_use]
    pub fn head<'s>(&self, room: &'s mut [u8]) -> &'s [u8]
    where
        'data: 's,
    {
        match *self {
            Str::Raw(bytes) => bytes.get(..room.len()).unwrap_or(bytes),
            Str::Int(value) => {
                let mut digits = itoa::Buffer::new();
                let digits = digits.format(value).as_bytes();
                let length = digits.len().min(room.len());
                for (to, from) in room.iter_mut().zip(digits) {
                    *to = *from;
                }
                room.get(..length).unwrap_or_default()
            }
            Str::Lzf(packed) => lzf::head(packed.compressed, room),
        }
    }

    /// Appends `bytes` as a raw string.
    pub fn write_raw(out: &mut Vec<u8>, bytes: &[u8]) {
        length::write(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }

    /// Appends `bytes` in the shortest form that a server would choose: an integer where they are its canonical text, LZF
    /// where `compress` is set and it pays, else raw.
    pub fn write(out: &mut Vec<u8>, bytes: &[u8], compress: bool) {
        if let Some(value) = canonical_i32(bytes) {
            if let Ok(value) = i8::try_from(value) {
                out.push(0xc0);
                out.extend_from_slice(&value.to_le_bytes());
            } else if let Ok(value) = i16::try_from(value) {
                out.push(0xc1);
                out.extend_from_slice(&value.to_le_bytes());
            } else {
                out.push(0xc2);
                out.extend_from_slice(&value.to_le_bytes());
            }
        } else if compress && let Some(packed) = lzf::compress(bytes) {
            out.push(0xc3);
            length::write(out, packed.len() as u64);
            length::write(out, bytes.len() as u64);
            out.extend_from_slice(&packed);
        } else {
            Self::write_raw(out, bytes);
        }
    }
}

/// The integer whose canonical decimal text is `bytes`, if it has 32 bits.
fn canonical_i32(bytes: &[u8]) -> Option<i32> {
    if bytes.len() > 11 {
        return None;
    }
    let value: i32 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (itoa::Buffer::new().format(value).as_bytes() == bytes).then_some(value)
}

impl<'data> Lzf<'data> {
    /// A decoder that walks the string in flat memory.
    #[must_use]
    pub fn stream(&self) -> lzf::Stream<'data> {
        lzf::Stream::new(self.compressed, self.ulen, self.offset)
    }

    /// Decompresses into `scratch`, which is overwritten.
    ///
    /// # Errors
    /// As [`Str::bytes`].
    pub fn bytes<'s>(&self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8]> {
        if !lzf::plausible(self.compressed.len() as u64, self.ulen) {
            return Err(implausible(
                Place::at(self.offset),
                self.compressed.len() as u64,
                self.ulen,
            ));
        }
        let length = usize::try_from(self.ulen)
            .ok()
            .filter(|_| self.ulen <= Str::MAX_BUFFERED);
        let Some(length) = length else {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "a compressed string of {} bytes is too long for one buffer of {}",
                    self.ulen,
                    Str::MAX_BUFFERED
                ),
            )
            .or_place(Place::at(self.offset)));
        };
        match lzf::decompress_into(self.compressed, scratch, length, self.offset) {
            Ok(()) => Ok(scratch),
            Err(error) => {
                scratch.clear();
                Err(error)
            }
        }
    }
}

/// The logical bytes of a [`Str`], piece by piece.
#[derive(Debug, Clone)]
pub struct Pieces<'data>(PiecesKind<'data>);

#[derive(Debug, Clone)]
enum PiecesKind<'data> {
    Raw(&'data [u8]),
    Int([u8; 11], usize),
    Lzf(lzf::Stream<'data>),
    Done,
    /// What `Int` leaves behind, so that its text can still be borrowed.
    IntDone([u8; 11]),
}

impl Pieces<'_> {
    /// The next piece, never empty; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` where compressed bytes lie.
    pub fn next_piece(&mut self) -> Result<Option<&[u8]>> {
        match self.0 {
            PiecesKind::Raw(bytes) => {
                self.0 = PiecesKind::Done;
                return Ok((!bytes.is_empty()).then_some(bytes));
            }
            PiecesKind::Int(text, length) => {
                self.0 = PiecesKind::IntDone(text);
                let PiecesKind::IntDone(text) = &self.0 else {
                    return Ok(None);
                };
                return Ok(text.get(..length));
            }
            PiecesKind::IntDone(_) => {
                self.0 = PiecesKind::Done;
                return Ok(None);
            }
            PiecesKind::Done => return Ok(None),
            PiecesKind::Lzf(_) => {}
        }
        match &mut self.0 {
            PiecesKind::Lzf(stream) => stream.next_piece(),
            _ => Ok(None),
        }
    }
}

#[cold]
fn unknown_form(place: Place, code: u8) -> Error {
    Error::corrupt(
        place,
        format!("special string form {code} is unknown; servers write 0 to 3"),
    )
}

#[cold]
fn implausible(place: Place, clen: u64, ulen: u64) -> Error {
    Error::corrupt(
        place,
        format!("{clen} compressed bytes claim to make {ulen}, more than LZF can"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Vec<u8> {
        let mut c = Cursor::new(bytes, 0);
        let s = Str::read(&mut c).unwrap();
        assert!(c.is_empty());
        let mut c = Cursor::new(bytes, 0);
        Str::skip(&mut c).unwrap();
        assert!(c.is_empty(), "skip and read agree");
        let mut scratch = Vec::new();
        let whole = s.bytes(&mut scratch).unwrap().to_vec();
        assert_eq!(s.len(), whole.len() as u64);
        assert_eq!(s.preview(usize::MAX), whole);
        let mut pieces = s.pieces();
        let mut joined = Vec::new();
        while let Some(piece) = pieces.next_piece().unwrap() {
            assert!(!piece.is_empty());
            joined.extend_from_slice(piece);
        }
        assert!(pieces.next_piece().unwrap().is_none());
        assert_eq!(joined, whole);
        whole
    }

    #[test]
    fn every_form() {
        assert_eq!(text(b"\x05hello"), b"hello");
        assert_eq!(text(b"\x00"), b"");
        assert_eq!(
            text(b"\x80\x00\x00\x00\x01x"),
            b"x",
            "a longer length than needed"
        );
        assert_eq!(text(&[0xc0, 0xff]), b"-1");
        assert_eq!(text(&[0xc0, 0x80]), b"-128");
        assert_eq!(text(&[0xc1, 0x39, 0x30]), b"12345");
        assert_eq!(text(&[0xc1, 0x00, 0x80]), b"-32768");
        assert_eq!(
            text(&[0xc2, 5, 0, 0, 0]),
            b"5",
            "a wider integer than needed"
        );
        assert_eq!(text(&[0xc2, 0, 0, 0, 0x80]), b"-2147483648");
        assert_eq!(
            text(&[0xc3, 5, 30, 0x00, 0x61, 0xe0, 0x14, 0x00]),
            [b'a'; 30]
        );
        assert_eq!(
            text(&[0xc3, 0, 0]),
            b"",
            "empty and compressed, as 7.0 takes it"
        );
    }

    #[test]
    fn hostile_forms_are_errors_before_anything_is_reserved() {
        for bytes in [
            &b"\x05hell"[..],
            &[0xc4],
            &[0xff],
            &[0xc2, 1, 2, 3],
            &[0xc3, 5, 30, 0, 0],
            &[0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert!(Str::read(&mut Cursor::new(bytes, 0)).is_err(), "{bytes:?}");
            assert!(Str::skip(&mut Cursor::new(bytes, 0)).is_err(), "{bytes:?}");
        }
        let bomb = [
            0xc3, 1, 0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0,
        ];
        let claims = Str::read(&mut Cursor::new(&bomb, 0)).unwrap();
        let mut scratch = Vec::new();
        let error = claims.bytes(&mut scratch).unwrap_err();
        assert!(error.to_string().contains("more than LZF can"), "{error}");
        assert_eq!(scratch.capacity(), 0);
        assert!(
            Str::skip(&mut Cursor::new(&bomb, 0)).is_ok(),
            "its extent is known"
        );
    }

    #[test]
    fn a_long_compressed_string_is_walked_not_buffered() {
        let long = vec![b'x'; 3 << 20];
        let packed = ::lzf::compress(&long).unwrap();
        let mut bytes = vec![0xc3];
        length::write(&mut bytes, packed.len() as u64);
        length::write(&mut bytes, long.len() as u64);
        bytes.extend_from_slice(&packed);
        let s = Str::read(&mut Cursor::new(&bytes, 9)).unwrap();
        let error = s.bytes(&mut Vec::new()).unwrap_err();
        assert_eq!(
            (error.kind(), error.place()),
            (ErrorKind::Limit, Some(Place::at(9)))
        );
        let mut total = 0;
        let mut pieces = s.pieces();
        while let Some(piece) = pieces.next_piece().unwrap() {
            assert!(piece.iter().all(|b| *b == b'x'));
            total += piece.len();
        }
        assert_eq!(total, long.len());
    }

    #[test]
    fn writing_chooses_as_servers_do_and_reads_back() {
        for (bytes, first) in [
            (&b"5"[..], 0xc0u8),
            (b"-128", 0xc0),
            (b"128", 0xc1),
            (b"-2147483648", 0xc2),
            (b"2147483648", 10),
            (b"007", 3),
            (b"+5", 2),
            (b"-0", 2),
            (b"", 0),
            (&[b'a'; 30], 0xc3),
            (&[b'a'; 20], 20),
        ] {
            let mut out = Vec::new();
            Str::write(&mut out, bytes, true);
            assert_eq!(out[0], first, "{bytes:?}");
            assert_eq!(text(&out), bytes);
        }
    }
}
