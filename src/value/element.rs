//! One element of a value: an integer, borrowed bytes, or a compressed string too long to be held.

use crate::error::{ErrorKind, Result};
use crate::wire::string::{Lzf, Str};
use crate::wire::{double, lzf};

/// What a list, set, hash, sorted set, stream or array is made of. Two elements are the same where their logical bytes are:
/// the integer 5 and the text `5` are one member.
#[derive(Debug, Clone, Copy)]
pub enum Element<'a> {
    /// An integer whose decimal text is the element.
    Int(i64),
    /// The bytes themselves: in the input, in a decompressed blob, or in the decoder's buffer.
    Bytes(&'a [u8]),
    /// A compressed string of more than [`Str::MAX_BUFFERED`] bytes: walk its [`Element::pieces`].
    Long(Lzf<'a>),
}

/// Room for the decimal text of an integer.
pub type IntText = itoa::Buffer;

impl<'a> Element<'a> {
    /// The string as an element: short compressed strings are decompressed into `scratch`.
    ///
    /// # Errors
    /// `Corrupt` where the compressed bytes lie.
    #[inline]
    pub fn of<'data: 'a>(string: Str<'data>, scratch: &'a mut Vec<u8>) -> Result<Self> {
        match string {
            Str::Raw(bytes) => Ok(Element::Bytes(bytes)),
            Str::Int(value) => Ok(Element::Int(i64::from(value))),
            Str::Lzf(packed) if is_long(&packed)? => Ok(Element::Long(packed)),
            Str::Lzf(packed) => packed.bytes(scratch).map(Element::Bytes),
        }
    }

    /// Bytes of the logical string.
    #[must_use]
    #[inline]
    pub fn len(&self) -> u64 {
        match self {
            Element::Int(value) => IntText::new().format(*value).len() as u64,
            Element::Bytes(bytes) => bytes.len() as u64,
            Element::Long(packed) => packed.ulen,
        }
    }

    /// Whether the logical string is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Element::Bytes([]))
    }

    /// The logical bytes in one slice, unless the element is long. An integer is written to `text`.
    #[must_use]
    #[inline]
    pub fn short<'s>(&self, text: &'s mut IntText) -> Option<&'s [u8]>
    where
        'a: 's,
    {
        match *self {
            Element::Int(value) => Some(text.format(value).as_bytes()),
            Element::Bytes(bytes) => Some(bytes),
            Element::Long(_) => None,
        }
    }

    /// The logical bytes piece by piece, in flat memory whatever their length.
    #[must_use]
    pub fn pieces(&self) -> Pieces<'a> {
        Pieces(match *self {
            Element::Int(value) => PiecesKind::Int(value),
            Element::Bytes(bytes) => PiecesKind::Bytes(bytes),
            Element::Long(packed) => PiecesKind::Lzf(packed.stream()),
        })
    }

    /// Hands the logical bytes to `take`, in pieces of any size.
    ///
    /// # Errors
    /// `Corrupt` where a long string's compressed bytes lie, and what `take` answers.
    #[inline]
    pub fn write_to(&self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match *self {
            Element::Int(value) => take(IntText::new().format(value).as_bytes()),
            Element::Bytes(bytes) => take(bytes),
            Element::Long(packed) => {
                let mut stream = packed.stream();
                while let Some(piece) = stream.next_piece()? {
                    take(piece)?;
                }
                Ok(())
            }
        }
    }

    /// Appends the logical bytes to `out`. Meant for elements that the caller knows to be short.
    ///
    /// # Errors
    /// As [`Element::write_to`].
    pub fn append_to(&self, out: &mut Vec<u8>) -> Result<()> {
        self.write_to(|piece| {
            out.extend_from_slice(piece);
            Ok(())
        })
    }

    /// The element as a sorted set's score, as servers read one from a packed encoding; `None` where it is no number.
    #[must_use]
    #[inline]
    pub fn score(&self) -> Option<f64> {
        match *self {
            // A server casts in the same way (`zzlGetScore`).
            #[expect(clippy::cast_precision_loss, reason = "the same cast as the server's")]
            Element::Int(value) => Some(value as f64),
            Element::Bytes(text) => double::parse(text),
            Element::Long(_) => None,
        }
    }

    /// The element as a number, where it is one by its encoding or its canonical text.
    #[must_use]
    pub fn int(&self) -> Option<i64> {
        match *self {
            Element::Int(value) => Some(value),
            Element::Bytes(text) => canonical_int(text),
            Element::Long(_) => None,
        }
    }
}

/// Whether a compressed string is too long for a buffer.
///
/// # Errors
/// `Corrupt` where it claims more than its bytes could make: nothing may rely on its length then.
#[inline]
pub(super) fn is_long(packed: &Lzf<'_>) -> Result<bool> {
    if packed.ulen <= Str::MAX_BUFFERED {
        return Ok(false);
    }
    match packed.bytes(&mut Vec::new()) {
        Err(error) if error.kind() == ErrorKind::Limit => Ok(true),
        Err(error) => Err(error),
        Ok(_) => Ok(false),
    }
}

/// The integer whose canonical decimal text is `bytes`, if it has 64 bits.
#[must_use]
pub fn canonical_int(bytes: &[u8]) -> Option<i64> {
    let (first, digits) = match bytes {
        [b'-', digits @ ..] => (digits.first()?, digits),
        digits => (digits.first()?, digits),
    };
    if !first.is_ascii_digit() || digits.len() > 19 {
        return None;
    }
    let value: i64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (IntText::new().format(value).as_bytes() == bytes).then_some(value)
}

/// The logical bytes of an [`Element`], piece by piece.
#[derive(Debug, Clone)]
pub struct Pieces<'a>(PiecesKind<'a>);

#[derive(Debug, Clone)]
enum PiecesKind<'a> {
    Int(i64),
    Text([u8; 20], usize),
    Bytes(&'a [u8]),
    Lzf(lzf::Stream<'a>),
    Done,
}

impl Pieces<'_> {
    /// The next piece, never empty; `None` at the end. Fused after an error.
    ///
    /// # Errors
    /// `Corrupt` where compressed bytes lie.
    pub fn next_piece(&mut self) -> Result<Option<&[u8]>> {
        match self.0 {
            PiecesKind::Int(value) => {
                let mut buffer = IntText::new();
                let digits = buffer.format(value).as_bytes();
                let mut text = [0u8; 20];
                for (to, from) in text.iter_mut().zip(digits) {
                    *to = *from;
                }
                self.0 = PiecesKind::Text(text, digits.len());
            }
            PiecesKind::Bytes(bytes) => {
                self.0 = PiecesKind::Done;
                return Ok((!bytes.is_empty()).then_some(bytes));
            }
            PiecesKind::Text(..) => self.0 = PiecesKind::Done,
            PiecesKind::Lzf(_) | PiecesKind::Done => {}
        }
        match &mut self.0 {
            PiecesKind::Text(text, length) => Ok(text.get(..*length)),
            PiecesKind::Lzf(stream) => stream.next_piece(),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Cursor, length};

    fn joined(element: Element<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        element.append_to(&mut out).unwrap();
        let mut pieces = element.pieces();
        let mut again = Vec::new();
        while let Some(piece) = pieces.next_piece().unwrap() {
            assert!(!piece.is_empty());
            again.extend_from_slice(piece);
        }
        assert!(pieces.next_piece().unwrap().is_none(), "fused at the end");
        assert_eq!(out, again);
        assert_eq!(element.len(), out.len() as u64);
        assert_eq!(element.is_empty(), out.is_empty());
        if let Some(short) = element.short(&mut IntText::new()) {
            assert_eq!(short, out);
        }
        out
    }

    #[test]
    fn each_kind_gives_its_logical_bytes() {
        for value in [0, 7, -1, i64::MAX, i64::MIN] {
            assert_eq!(joined(Element::Int(value)), value.to_string().as_bytes());
        }
        assert_eq!(joined(Element::Bytes(b"")), b"");
        assert_eq!(joined(Element::Bytes(b"a\0b")), b"a\0b");
        let long = b"0123456789".repeat(200_000);
        let packed = ::lzf::compress(&long).unwrap();
        let mut bytes = vec![0xc3];
        length::write(&mut bytes, packed.len() as u64);
        length::write(&mut bytes, long.len() as u64);
        bytes.extend_from_slice(&packed);
        let string = Str::read(&mut Cursor::new(&bytes, 0)).unwrap();
        let mut scratch = Vec::new();
        let element = Element::of(string, &mut scratch).unwrap();
        assert!(matches!(element, Element::Long(_)));
        assert!(joined(element) == long);
        assert!(scratch.is_empty(), "a long string is never buffered");
    }

    #[test]
    fn only_canonical_texts_are_integers() {
        for (text, value) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("007", None),
            ("-0", None),
            ("+5", None),
            ("", None),
            ("-", None),
            (" 1", None),
            ("1.0", None),
        ] {
            assert_eq!(canonical_int(text.as_bytes()), value, "{text:?}");
        }
    }
}
