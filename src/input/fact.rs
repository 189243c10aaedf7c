//! What a user should know about an input beside its bytes. The verbs decide what follows from it.

use std::fmt;
use std::path::PathBuf;

use super::aof::Increments;
use super::content::Packing;
use super::shown;
use crate::units::ByteCount;

/// Something worth saying about an input, or about how inputs were found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// The input is the base of an append-only file whose increments hold newer writes. A replay of the base alone loses
    /// them.
    AofIncrements(Increments),
    /// Beside the dump lies a directory of an append-only file, which may hold newer writes.
    AofBeside {
        /// The directory of the append-only file.
        dir: PathBuf,
    },
    /// The bytes were copied or unpacked into a spool.
    Spooled {
        /// Why the file itself was not mapped.
        why: Why,
        /// Bytes in the spool.
        bytes: u64,
        /// Where it lies.
        dir: PathBuf,
        /// Whether that is memory (tmpfs), and not a disk.
        in_memory: bool,
    },
    /// Bytes behind the last member or frame of a packed file, which were not read.
    BehindPacked {
        /// The compressed offset at which they begin.
        offset: u64,
        /// How many there are, where that is known.
        bytes: Option<u64>,
    },
    /// What a directory holds beside dumps.
    Ignored {
        /// The directory.
        dir: PathBuf,
        /// How many entries are no dumps.
        others: u64,
        /// How many entries are hidden (a name that begins with a dot) and were not looked at.
        hidden: u64,
        /// The names of the first few that are no dumps, with the reason where it is not just that.
        names: Vec<String>,
    },
    /// The path now names another file than the one that is open.
    Replaced {
        /// The path.
        path: PathBuf,
    },
}

/// Why a spool was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// The file is packed.
    Packed(Packing),
    /// It is a pipe.
    Stream,
    /// The file system cannot map it.
    CannotBeMapped,
    /// The caller asked for it (`--no-mmap`).
    Asked,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packed(packing) => write!(f, "{packing}, unpacked"),
            Self::Stream => f.write_str("a stream, copied"),
            Self::CannotBeMapped => f.write_str("on a file system that cannot map it, copied"),
            Self::Asked => f.write_str("copied"),
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AofIncrements(increments) => write!(f, "{increments}"),
            Self::AofBeside { dir } => write!(
                f,
                "beside it lies an append-only file, which may hold newer writes: {}",
                shown(dir)
            ),
            Self::Spooled {
                why,
                bytes,
                dir,
                in_memory,
            } => {
                write!(
                    f,
                    "{why} to a spool in {}: {}",
                    shown(dir),
                    ByteCount(*bytes)
                )?;
                match in_memory {
                    true => f.write_str(
                        " of memory (it is a tmpfs; `--spool-dir DIR` names another place)",
                    ),
                    false => Ok(()),
                }
            }
            Self::BehindPacked { offset, bytes } => {
                match bytes {
                    Some(bytes) => write!(f, "{}", ByteCount(*bytes))?,
                    None => f.write_str("bytes")?,
                }
                write!(
                    f,
                    " behind the packed data, at compressed offset {offset}, were not read"
                )
            }
            Self::Ignored {
                dir,
                others,
                hidden,
                names,
            } => {
                write!(f, "in {}: ", shown(dir))?;
                if *others > 0 {
                    write!(f, "{others} not taken ({}", names.join(", "))?;
                    f.write_str(if (names.len() as u64) < *others {
                        ", …)"
                    } else {
                        ")"
                    })?;
                }
                if *others > 0 && *hidden > 0 {
                    f.write_str(", ")?;
                }
                match hidden {
                    0 => Ok(()),
                    hidden => write!(f, "{hidden} hidden and not looked at"),
                }
            }
            Self::Replaced { path } => write!(
                f,
                "{} now names another file; the one that was opened is read to its end",
                shown(path)
            ),
        }
    }
}
