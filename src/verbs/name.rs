//! Key names for verbs that show or compare them: in one slice, whatever their length, and escaped.

use std::fmt::Write as _;
use std::path::Path;

use crate::error::{Error, Escaped, Result};
use crate::json::{PIECE, Spill, is_plain};
use crate::name_room::NameRoom;
use crate::snapshot::Entry;
use crate::wire::Str;

/// Hands the name of `entry` to `take`. A compressed one of more than a megabyte is spooled in `spool_dir` meanwhile.
///
/// # Errors
/// `Corrupt`, with the entry, where the name is compressed and lies; `Limit` and `Io` of the spool; what `take` answers.
pub(super) fn with_name<T>(
    entry: &Entry<'_>,
    scratch: &mut Vec<u8>,
    spool_dir: &Path,
    take: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<T> {
    let of_entry = |error: Error| error.or_entry(|| entry.context());
    match entry.key {
        Str::Lzf(packed) if packed.ulen > Str::MAX_BUFFERED => {
            let mut room = NameRoom::new(Some(spool_dir));
            take(room.bytes(&entry.key).map_err(of_entry)?)
        }
        key => take(key.bytes(scratch).map_err(of_entry)?),
    }
}

/// Appends a name as [`Escaped`] writes it, without the quotes: [`crate::error::unescape`] reads it back.
///
/// # Errors
/// What `spill` answers.
pub(super) fn push_escaped(out: &mut Vec<u8>, spill: &mut Spill<'_>, name: &[u8]) -> Result<()> {
    for piece in name.chunks(PIECE) {
        if is_plain(piece) {
            out.extend_from_slice(piece);
        } else {
            // A character that stands on both sides of the cut is escaped byte by byte, which reads back the same.
            let mut quoted = String::new();
            let _ = write!(quoted, "{}", Escaped(piece));
            let inner = quoted
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
                .unwrap_or(&quoted);
            out.extend_from_slice(inner.as_bytes());
        }
        if out.len() >= PIECE {
            spill(out)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::unescape;

    #[test]
    fn names_of_any_bytes_and_length_read_back() {
        let long = "größer \" \\ \x7f".repeat(20_000);
        let plain = "x".repeat(200_000);
        for name in [
            &b"user:1"[..],
            b"",
            b"\x7f",
            b"a\"b\\c\n\0\xff",
            "größer".as_bytes(),
            long.as_bytes(),
            plain.as_bytes(),
        ] {
            let (mut out, mut all) = (Vec::new(), Vec::new());
            push_escaped(
                &mut out,
                &mut |full| {
                    all.append(full);
                    Ok(())
                },
                name,
            )
            .unwrap();
            all.append(&mut out);
            assert!(unescape(&all).unwrap() == name);
            let quoted = [b"\"", &all[..], b"\""].concat();
            assert!(unescape(&quoted).unwrap() == name);
            assert!(all.iter().all(|byte| !byte.is_ascii_control()));
            if name.len() < 50 {
                assert_eq!(quoted, Escaped(name).to_string().as_bytes());
            }
        }
    }
}
