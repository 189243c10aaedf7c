//! By what an input is known again, and whether the file changed under us.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crc_fast::{CrcAlgorithm, Digest};

use crate::units::ByteCount;

/// So many bytes at each end of the RDB file go into [`Identity::ends`].
const END: usize = 64 * 1024;

/// By what an input is known again: in a later run (a journal), and between two passes of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The path as it was named; `None` for standard input.
    pub path: Option<PathBuf>,
    /// Bytes of the RDB file (unpacked).
    pub size: u64,
    /// CRC-64 over its first and last 64 KiB; the footer's checksum over the whole file is among them.
    pub ends: u64,
    /// The file as the system knows it; `None` where it was no regular file.
    pub stamp: Option<Stamp>,
}

/// A regular file as the system knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Bytes as stored.
    pub size: u64,
    /// Last modification: seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    /// The device that holds the file.
    pub device: u64,
    /// The file's number on it.
    pub inode: u64,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// How `now` differs, where it is the same file.
    pub(super) fn changed(self, now: Self) -> Option<Change> {
        ((self.size, self.modified) != (now.size, now.modified))
            .then_some(Change { before: self, now })
    }

    /// Whether both are one file.
    pub(super) fn same_file(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl Identity {
    pub(super) fn of(path: Option<PathBuf>, bytes: &[u8], stamp: Option<Stamp>) -> Self {
        let mut ends = Digest::new(CrcAlgorithm::Crc64Redis);
        ends.update(&bytes[..bytes.len().min(END)]);
        ends.update(&bytes[bytes.len().saturating_sub(END)..]);
        Self {
            path,
            size: bytes.len() as u64,
            ends: ends.finalize(),
            stamp,
        }
    }

    /// Whether both have the same bytes, as far as size and ends tell, wherever the file lies now.
    #[must_use]
    pub fn same_bytes(&self, other: &Self) -> bool {
        (self.size, self.ends) == (other.size, other.ends)
    }
}

/// How an open file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When it was opened.
    pub before: Stamp,
    /// Now.
    pub now: Stamp,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the file was written to while it was open: ")?;
        if self.before.size == self.now.size {
            write!(f, "{} as before, but modified", ByteCount(self.now.size))
        } else {
            write!(
                f,
                "{} before, {} now",
                ByteCount(self.before.size),
                ByteCount(self.now.size)
            )
        }
    }
}
