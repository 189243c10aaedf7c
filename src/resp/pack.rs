//! Commands to bytes: always an array of length-prefixed bulk strings, never the inline form, so no byte of a key or value
//! can be taken for syntax.
//!
//! *Bytes*: `*argc\r\n`, then for each argument `$length\r\n`, the bytes, `\r\n`.
//!
//! An argument may come in pieces that stand apart in memory ([`Arg::Pieces`]: type byte, the value's own bytes in the
//! map, footer). Small pieces are copied behind each other; a piece of at least [`LARGE`] bytes is handed to
//! [`Out::large`] as it stands, so a payload of hundreds of megabytes goes from the map to the socket uncopied.

use crate::error::{Error, ErrorKind, Result};

/// Arguments in one command, at most: providers refuse long ones (3,999 at one of them), and one command is one pause.
pub const MAX_ARGUMENTS: usize = 1000;

/// From this size on a piece is written from where it stands. Below, one copy is cheaper than another system call.
pub const LARGE: usize = 32 * 1024;

/// One argument of a command.
#[derive(Debug, Clone, Copy)]
pub enum Arg<'a> {
    /// Bytes in one piece.
    Bytes(&'a [u8]),
    /// Bytes in several pieces, sent one after another as one argument.
    Pieces(&'a [&'a [u8]]),
}

impl Arg<'_> {
    /// Bytes of the argument itself.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Arg::Bytes(bytes) => bytes.len(),
            Arg::Pieces(pieces) => pieces
                .iter()
                .fold(0, |sum, piece| sum.saturating_add(piece.len())),
        }
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Arg::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Arg<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Arg::Bytes(bytes)
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Arg::Bytes(text.as_bytes())
    }
}

/// Where the bytes of a command go.
pub trait Out {
    /// Takes a copy of `bytes`.
    fn copy(&mut self, bytes: &[u8]);

    /// Sends or takes `piece` (of at least [`LARGE`] bytes) behind everything copied so far; done with it on return.
    ///
    /// # Errors
    /// Whatever sending can end in.
    fn large(&mut self, piece: &[u8]) -> Result<()>;

    /// Called behind each argument: whoever sends may do so now, where much was copied. A command of a thousand arguments
    /// need not stand in memory whole.
    ///
    /// # Errors
    /// Whatever sending can end in.
    fn between(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Out for Vec<u8> {
    #[inline]
    fn copy(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn large(&mut self, piece: &[u8]) -> Result<()> {
        self.extend_from_slice(piece);
        Ok(())
    }
}

/// Writes one command.
///
/// # Errors
/// No argument or more than [`MAX_ARGUMENTS`] (nothing is written then), and whatever `out` ends in.
pub fn command(out: &mut impl Out, args: &[Arg<'_>]) -> Result<()> {
    if args.is_empty() || args.len() > MAX_ARGUMENTS {
        return Err(Error::new(
            ErrorKind::Limit,
            format!(
                "a command of {} arguments; 1 to {MAX_ARGUMENTS} are sent",
                args.len()
            ),
        ));
    }
    header(out, b'*', args.len());
    for arg in args {
        header(out, b'$', arg.len());
        match arg {
            Arg::Bytes(bytes) => piece(out, bytes)?,
            Arg::Pieces(pieces) => {
                for bytes in *pieces {
                    piece(out, bytes)?;
                }
            }
        }
        out.copy(b"\r\n");
        out.between()?;
    }
    Ok(())
}

/// How many bytes [`command`] will write.
#[must_use]
#[inline]
pub fn packed_len(args: &[Arg<'_>]) -> usize {
    args.iter().fold(header_len(args.len()), |sum, arg| {
        let len = arg.len();
        sum.saturating_add(header_len(len))
            .saturating_add(len)
            .saturating_add(2)
    })
}

#[inline]
fn piece(out: &mut impl Out, bytes: &[u8]) -> Result<()> {
    match bytes {
        [] => {}
        // A type byte.
        [one] => out.copy(&[*one]),
        _ if bytes.len() >= LARGE => return out.large(bytes),
        _ => out.copy(bytes),
    }
    Ok(())
}

/// Numbers below 1,000 are written in pieces whose length is known beforehand: that is two thirds of the work of a command.
#[inline]
fn header(out: &mut impl Out, sign: u8, number: usize) {
    #[expect(clippy::cast_possible_truncation, reason = "one digit")]
    let digit = |number: usize| b'0'.wrapping_add((number % 10) as u8);
    match number {
        0..=9 => out.copy(&[sign, digit(number), b'\r', b'\n']),
        10..=99 => out.copy(&[sign, digit(number / 10), digit(number), b'\r', b'\n']),
        100..=999 => out.copy(&[
            sign,
            digit(number / 100),
            digit(number / 10),
            digit(number),
            b'\r',
            b'\n',
        ]),
        _ => long_header(out, sign, number),
    }
}

#[inline(never)]
fn long_header(out: &mut impl Out, sign: u8, number: usize) {
    out.copy(&[sign]);
    out.copy(itoa::Buffer::new().format(number).as_bytes());
    out.copy(b"\r\n");
}

#[inline]
fn header_len(number: usize) -> usize {
    match number {
        0..=9 => return 4,
        10..=99 => return 5,
        100..=999 => return 6,
        _ => {}
    }
    let digits = number.checked_ilog10().unwrap_or(0) as usize;
    digits.saturating_add(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_bytes_for_bytes() {
        let mut out = Vec::new();
        let payload: [&[u8]; 3] = [b"\x00", b"\x05hel\r\n", b"\x06\x00"];
        let args = [
            Arg::from("RESTORE"),
            Arg::from(b"k\r\n*"),
            Arg::from("0"),
            Arg::Pieces(&payload),
            Arg::from(""),
        ];
        command(&mut out, &args).unwrap();
        assert_eq!(
            out,
            b"*5\r\n$7\r\nRESTORE\r\n$4\r\nk\r\n*\r\n$1\r\n0\r\n$9\r\n\x00\x05hel\r\n\x06\x00\r\n$0\r\n\r\n"
        );
        assert_eq!(packed_len(&args), out.len());
    }

    #[test]
    fn large_pieces_are_not_copied() {
        struct Seen(Vec<u8>, Vec<*const u8>);
        impl Out for Seen {
            fn copy(&mut self, bytes: &[u8]) {
                self.0.extend_from_slice(bytes);
            }
            fn large(&mut self, piece: &[u8]) -> Result<()> {
                self.1.push(piece.as_ptr());
                self.0.extend_from_slice(piece);
                Ok(())
            }
        }
        let value = vec![7u8; LARGE];
        let pieces: [&[u8]; 3] = [b"\x12", &value, b"footer"];
        let args = [
            Arg::from("RESTORE"),
            Arg::Pieces(&pieces),
            Arg::from("REPLACE"),
        ];
        let mut seen = Seen(Vec::new(), Vec::new());
        command(&mut seen, &args).unwrap();
        assert_eq!(seen.1, [value.as_ptr()]);
        let mut flat = Vec::new();
        command(&mut flat, &args).unwrap();
        assert_eq!(seen.0, flat);
        assert_eq!(packed_len(&args), flat.len());
    }

    #[test]
    fn lengths_of_every_width_agree() {
        for len in [0, 1, 9, 10, 99, 100, 999, 1000, 12_345, 100_000] {
            let value = vec![b'x'; len];
            let args = [Arg::Bytes(&value)];
            let mut out = Vec::new();
            command(&mut out, &args).unwrap();
            assert_eq!(packed_len(&args), out.len());
        }
    }

    #[test]
    fn argument_counts_are_bounded() {
        let many = vec![Arg::from("x"); MAX_ARGUMENTS + 1];
        let mut out = Vec::new();
        assert!(command(&mut out, &many).is_err());
        assert!(command(&mut out, &[]).is_err());
        assert!(
            out.is_empty(),
            "nothing is written of a command that is refused"
        );
        assert!(command(&mut out, &many[..MAX_ARGUMENTS]).is_ok());
    }
}
