//! The name of a key in one slice, whatever its length.
//!
//! A name has up to 512 MB, and a server writes one that compresses as a few kilobytes. What is too long for a buffer is
//! inflated into a spool and mapped. Such names are rare, so each is inflated anew whenever it is asked for.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::spool::{Spool, SpooledBytes};
use crate::wire::Str;

/// Where names are decompressed.
#[derive(Debug, Default)]
pub struct NameRoom {
    buffer: Vec<u8>,
    spool_dir: Option<PathBuf>,
    spooled: Option<SpooledBytes>,
}

impl NameRoom {
    /// Long names go to spools in `spool_dir`; without it they are an error of kind `Limit`.
    #[must_use]
    pub fn new(spool_dir: Option<&Path>) -> Self {
        Self {
            spool_dir: spool_dir.map(Path::to_owned),
            ..Self::default()
        }
    }

    /// The logical bytes of `name`: borrowed from the file where they stand there.
    ///
    /// # Errors
    /// `Corrupt` where compressed bytes lie; `Limit` and `Io` of the spool.
    #[inline]
    pub fn bytes<'s, 'data: 's>(&'s mut self, name: &Str<'data>) -> Result<&'s [u8]> {
        match name {
            Str::Lzf(packed) if packed.ulen > Str::MAX_BUFFERED => self.inflate(name),
            name => name.bytes(&mut self.buffer),
        }
    }

    /// Room for a name that is made, not read; what was in it is gone.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    #[cold]
    fn inflate<'s, 'data: 's>(&'s mut self, name: &Str<'data>) -> Result<&'s [u8]> {
        // The space of the last one is free before this one takes its own.
        self.spooled = None;
        let Some(dir) = &self.spool_dir else {
            return name.bytes(&mut self.buffer);
        };
        let mut spool = Spool::create(dir, None)?;
        let mut pieces = name.pieces();
        while let Some(piece) = pieces.next_piece()? {
            spool.append(piece)?;
        }
        Ok(self.spooled.insert(spool.finish()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::wire::Cursor;

    #[test]
    fn names_of_any_length_and_form() {
        let long = b"a long name ".repeat(200_000);
        let mut room = NameRoom::new(Some(&std::env::temp_dir()));
        for name in [&b""[..], b"k", b"17", &long, b"again", &long] {
            for compress in [false, true] {
                let mut written = Vec::new();
                Str::write(&mut written, name, compress);
                let read = Str::read(&mut Cursor::new(&written, 0)).unwrap();
                assert!(room.bytes(&read).unwrap() == name);
                let is_packed = matches!(read, Str::Lzf(packed) if packed.ulen > Str::MAX_BUFFERED);
                assert_eq!(is_packed, compress && name.len() > 100);
                if is_packed {
                    let error = NameRoom::default().bytes(&read).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Limit);
                    let Str::Lzf(mut lying) = read else { continue };
                    lying.ulen += 1;
                    let error = room.bytes(&Str::Lzf(lying)).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Corrupt);
                }
            }
        }
    }
}
