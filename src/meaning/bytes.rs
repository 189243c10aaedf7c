//! The logical bytes of an element, held against bytes that come in pieces.

use super::found::{Differences, Spot, What};
use crate::error::Result;
use crate::resp::Talk;
use crate::value::{Element, IntText, Pieces};

/// An element that is read from its beginning.
#[derive(Debug)]
pub(super) enum Bytes<'a> {
    Slice(&'a [u8]),
    /// A number's text, and how far it was read.
    Number(i64, usize),
    /// Pieces of a long string; the current one from the position on.
    Long(Pieces<'a>, Vec<u8>, usize),
}

impl<'a> Bytes<'a> {
    pub(super) fn of(element: &Element<'a>) -> Self {
        match *element {
            Element::Bytes(bytes) => Bytes::Slice(bytes),
            Element::Int(value) => Bytes::Number(value, 0),
            Element::Long(_) => Bytes::Long(element.pieces(), Vec::new(), 0),
        }
    }

    /// Whether the next bytes are `theirs`; if not, which of them is the first that is not.
    pub(super) fn differs(&mut self, theirs: &[u8]) -> Result<Option<u64>> {
        match self {
            Bytes::Slice(rest) => {
                let (head, tail) = rest.split_at(theirs.len().min(rest.len()));
                *rest = tail;
                Ok(unequal_at(head, theirs))
            }
            Bytes::Number(value, at) => {
                let mut text = IntText::new();
                let text = text.format(*value).as_bytes();
                let rest = text.get(*at..).unwrap_or_default();
                let head = rest.get(..theirs.len()).unwrap_or(rest);
                *at = at.saturating_add(head.len());
                Ok(unequal_at(head, theirs))
            }
            Bytes::Long(pieces, held, at) => {
                let mut done = 0usize;
                while done < theirs.len() {
                    if *at >= held.len() {
                        let Some(piece) = pieces.next_piece()? else {
                            return Ok(Some(done as u64));
                        };
                        held.clear();
                        held.extend_from_slice(piece);
                        *at = 0;
                    }
                    let rest = held.get(*at..).unwrap_or_default();
                    let theirs = theirs.get(done..).unwrap_or_default();
                    let length = rest.len().min(theirs.len());
                    let (mine, theirs) = (
                        rest.get(..length).unwrap_or_default(),
                        theirs.get(..length).unwrap_or_default(),
                    );
                    if let Some(position) = unequal_at(mine, theirs) {
                        return Ok(Some((done as u64).saturating_add(position)));
                    }
                    *at = at.saturating_add(length);
                    done = done.saturating_add(length);
                }
                Ok(None)
            }
        }
    }
}

/// The first position at which two slices differ, lengths included.
pub(super) fn unequal_at(mine: &[u8], theirs: &[u8]) -> Option<u64> {
    if mine == theirs {
        return None;
    }
    let same = mine.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    Some(same as u64)
}

/// Whether two elements are the same.
pub(super) fn same(mine: &Element<'_>, theirs: &Element<'_>) -> Result<bool> {
    let (mut a, mut b) = (IntText::new(), IntText::new());
    if let (Some(mine), Some(theirs)) = (mine.short(&mut a), theirs.short(&mut b)) {
        return Ok(mine == theirs);
    }
    if mine.len() != theirs.len() {
        return Ok(false);
    }
    let mut mine = Bytes::of(mine);
    let mut same = true;
    theirs.write_to(|piece| {
        same = same && mine.differs(piece)?.is_none();
        Ok(())
    })?;
    Ok(same)
}

/// Holds a text reply of `length` bytes, whose token was taken, against an element. `None` where they are the same, else in
/// words how they differ.
pub(super) fn reply_differs(
    talk: &mut Talk<'_>,
    length: u64,
    mine: &Element<'_>,
) -> Result<Option<String>> {
    let own = mine.len();
    if own != length {
        return Ok(Some(format!(
            "{own} bytes in the file, {length} at the destination"
        )));
    }
    let mut mine = Bytes::of(mine);
    let mut at = 0u64;
    while let Some(piece) = talk.piece()? {
        let position = match mine.differs(piece) {
            Ok(position) => position,
            // The rest of the reply is passed over like any other.
            Err(error) => return Ok(Some(format!("the file's own cannot be read: {error}"))),
        };
        if let Some(position) = position {
            return Ok(Some(format!(
                "byte {} of {own} differs",
                at.saturating_add(position)
            )));
        }
        at = at.saturating_add(piece.len() as u64);
    }
    Ok(None)
}

/// Notes that a reply differs, if it does.
pub(super) fn judge_reply(
    talk: &mut Talk<'_>,
    length: u64,
    mine: &Element<'_>,
    spot: impl FnOnce() -> Spot,
    found: &mut Differences,
) -> Result<()> {
    if let Some(how) = reply_differs(talk, length, mine)? {
        found.add(What::Value, spot(), how);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_held_against_pieces_of_any_cut() {
        for element in [Element::Bytes(b"12345678"), Element::Int(12_345_678)] {
            for cut in 0..=8 {
                let mut bytes = Bytes::of(&element);
                let (a, b) = b"12345678".split_at(cut);
                assert_eq!(bytes.differs(a).unwrap(), None);
                assert_eq!(bytes.differs(b).unwrap(), None);
                assert_eq!(bytes.differs(b"9").unwrap(), Some(0));
            }
            let mut bytes = Bytes::of(&element);
            assert_eq!(bytes.differs(b"1234X678").unwrap(), Some(4));
        }
        assert!(same(&Element::Int(5), &Element::Bytes(b"5")).unwrap());
        assert!(!same(&Element::Int(5), &Element::Bytes(b"05")).unwrap());
        assert_eq!(unequal_at(b"ab", b"abc"), Some(2));
    }
}
