//! Opening what a user names: files, directories of shard dumps, standard input; plain or packed; as one borrowed slice.
//!
//! *What comes out.* [`Input::bytes`] is the whole RDB file as `&[u8]`. A plain regular file is mapped. What cannot be
//! mapped (a pipe) or read as it stands (gzip, zstd, LZ4 frames, Valkey's `VCS` envelope, all known by their first bytes) is
//! copied or unpacked in one pass into a spool, which is mapped. So there is one parser, over bytes in memory, and this
//! program's own memory stays flat.
//!
//! *Offsets.* Offsets of a packed input's errors are offsets in the packed file and are called *compressed*; all others are
//! those of the RDB file.
//!
//! *The file under us.* A mapped file must not be cut short or written to in place while it is open; see [`crate::mapped`].
//! [`Input::changed_since_open`] tells whether it was. `map: false` copies to the spool instead.
//!
//! *What is refused.* Devices, sockets, packings inside packings, remote addresses: each with what to do instead. Whether
//! the bytes are a sound RDB file is for `snapshot` to say: here only the magic is looked at.

mod aof;
mod content;
mod directory;
mod fact;
mod feed;
mod frames;
mod identity;
#[cfg(feature = "compression")]
mod inflate;
mod inputs;
mod remote;
mod source;
mod tail;
mod unpack;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

pub use aof::Increments;
pub use content::Packing;
pub use fact::{Fact, Why};
pub use identity::{Change, Identity, Stamp};
pub use inputs::{Inputs, Need};
pub use source::{Input, Source, SpoolNeed};
pub use tail::{Tail, classify_tail};

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::{Escaped, Result};

/// How inputs are opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Where spools are made.
    pub spool_dir: PathBuf,
    /// Whether plain regular files are mapped; otherwise they are copied to a spool.
    pub map: bool,
    /// How the user called the program, for the lines that a message proposes: `rdbridge load`.
    pub command: String,
    /// Set when the user wants to stop: a pipe that gives nothing is then not waited for any more.
    pub interrupted: Option<Arc<AtomicBool>>,
}

impl Options {
    /// Maps what can be mapped, and makes spools in `spool_dir`.
    #[must_use]
    pub fn new(spool_dir: impl Into<PathBuf>) -> Self {
        Self {
            spool_dir: spool_dir.into(),
            map: true,
            command: "rdbridge".to_owned(),
            interrupted: None,
        }
    }

    /// The line that feeds this program from another one.
    fn piped(&self, producer: &str) -> String {
        format!("{producer} | {} - …", self.command)
    }
}

/// How far the copying or unpacking of an input has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The input's name.
    pub input: &'a str,
    /// Bytes read from the source.
    pub read: u64,
    /// Bytes that the source has, where that is known.
    pub of: Option<u64>,
    /// Bytes in the spool.
    pub spooled: u64,
}

/// Is told of the progress now and then, and may stop it by an error (of kind `Interrupted`, say).
pub type OnProgress<'a> = dyn FnMut(&Progress<'_>) -> Result<()> + 'a;

/// A path as messages show it: as it is, or escaped where it could disturb a terminal or is no UTF-8.
fn shown(path: &Path) -> String {
    let escaped = Escaped(path.as_os_str().as_encoded_bytes()).to_string();
    match path.to_str() {
        Some(text) if escaped.get(1..escaped.len() - 1) == Some(text) => text.to_owned(),
        _ => escaped,
    }
}

/// Text as one word of a shell's command line.
fn shell_word(text: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+:,@%=".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("'{}'", text.replace('\'', "'\\''")))
    }
}

/// A path as one word of a shell's command line; a stand-in where it cannot be typed.
fn shell_path(path: &Path) -> Cow<'_, str> {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => shell_word(text),
        _ => Cow::Borrowed("FILE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_are_shown_so_that_no_terminal_minds() {
        assert_eq!(shown(Path::new("/srv/dump 1.rdb")), "/srv/dump 1.rdb");
        assert_eq!(shown(Path::new("日本.rdb")), "日本.rdb");
        assert_eq!(shown(Path::new("a\x1b[31m")), "\"a\\x1b[31m\"");
        let odd = Path::new(OsStr::from_bytes(b"a\xff"));
        assert_eq!(shown(odd), "\"a\\xff\"");
        assert_eq!(shell_path(odd), "FILE");
        assert_eq!(shell_path(Path::new("it's.gz")), "'it'\\''s.gz'");
        assert_eq!(shell_path(Path::new("/srv/a-1.gz")), "/srv/a-1.gz");
    }
}
