//! The one place where a file becomes memory. L0; used by `input` for dumps and by `spool` for its own temporary files.
//!
//! *Contract.* A mapped file must not be cut short in place while it is mapped: reading a page that is no longer there
//! ends the process by `SIGBUS`, which no error value can stand for. Nor should it be written to: the bytes would change
//! under a reader that has already checked them. Both are fair demands on a dump: Redis and Valkey write `temp-<pid>.rdb`,
//! sync it and rename it over the old name (`rdbSave` in `rdb.c`), so an open map keeps the old file, whole and
//! unchanged. A spool is an unlinked file of this process that nothing else can name, so it cannot be broken from
//! outside. For a file that others may rewrite in place (a network file system, a copy still under way) the caller copies
//! to a spool first: `--no-mmap`.
//!
//! *Memory.* The pages belong to the page cache: the kernel takes them back when it needs them, so a mapped file of any
//! size does not count towards this program's own memory (`RssAnon`). A file on a tmpfs is the exception.

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::Mmap;

use crate::error::{Error, ErrorKind, Result};
use crate::units::ByteCount;

/// The bytes of a file, read-only, for as long as this value lives. The file itself may be closed, renamed or unlinked
/// meanwhile, but not cut short (see the module's contract).
#[derive(Debug)]
pub struct Mapped {
    /// `None` for an empty file: there is nothing to map.
    map: Option<Mmap>,
}

/// How the bytes will be read; a hint for the kernel's read-ahead, without effect on what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// From front to back, once: read ahead far, and let go what was read.
    Sequential,
    /// Here and there: read nothing ahead.
    Random,
    /// Soon and wholly: begin reading it now.
    WillNeed,
    /// Nothing known.
    Normal,
}

impl Mapped {
    /// Maps the first `len` bytes of `file`, which must hold at least that many.
    ///
    /// The caller takes over the module's contract for `file`.
    ///
    /// # Errors
    /// `Limit` where the address space does not hold `len` bytes; `Io` where the file system cannot map files (FUSE,
    /// `/proc`): the caller may then copy to a spool, see [`cannot_be_mapped`].
    pub fn new(file: &File, len: u64) -> Result<Self> {
        if len == 0 {
            return Ok(Self { map: None });
        }
        let bytes = usize::try_from(len)
            .ok()
            .filter(|bytes| isize::try_from(*bytes).is_ok())
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Limit,
                    format!(
                        "{} do not fit into the address space of a {}-bit program",
                        ByteCount(len),
                        usize::BITS
                    ),
                )
            })?;
        #[expect(
            unsafe_code,
            reason = "mapping a file is unsafe in any Rust program; this is the only place where that is done"
        )]
        // SAFETY: the map is read-only and private to this value, and `Mmap` unmaps it on drop. What the compiler cannot
        // check is that nobody cuts or rewrites the file meanwhile: that is this module's contract, stated above, passed
        // on in `Input`'s documentation and in the README, and watched by `Input::changed_since_open`.
        let mapped = unsafe { memmap2::MmapOptions::new().len(bytes).map(file) };
        match mapped {
            Ok(map) => Ok(Self { map: Some(map) }),
            // ENOMEM: RLIMIT_AS, vm.max_map_count, or no room in the address space.
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => Err(Error::new(
                ErrorKind::Limit,
                format!("no address space to map {}", ByteCount(len)),
            )
            .with_source(error)
            .with_hint("raise the limit of virtual memory (`ulimit -v unlimited`): mapped files need addresses, not memory")),
            Err(error) => Err(Error::io("cannot be mapped into memory", error)),
        }
    }

    /// Tells the kernel how the bytes will be read. A refusal is not an error: it is only a hint.
    pub fn advise(&self, advice: Advice) {
        if let Some(map) = &self.map {
            let _ = map.advise(match advice {
                Advice::Sequential => memmap2::Advice::Sequential,
                Advice::Random => memmap2::Advice::Random,
                Advice::WillNeed => memmap2::Advice::WillNeed,
                Advice::Normal => memmap2::Advice::Normal,
            });
        }
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }
}

/// Whether an error of [`Mapped::new`] says that this *file* cannot be mapped, so that copying it to a spool helps.
#[must_use]
pub fn cannot_be_mapped(error: &Error) -> bool {
    error.kind() == ErrorKind::Io
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_map_shows_the_bytes_and_outlives_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dump.rdb");
        std::fs::write(&path, b"REDIS0011").unwrap();
        let mapped = Mapped::new(&File::open(&path).unwrap(), 9).unwrap();
        // What Redis does: another file takes the name.
        std::fs::write(dir.path().join("temp"), b"another").unwrap();
        std::fs::rename(dir.path().join("temp"), &path).unwrap();
        assert_eq!(&*mapped, b"REDIS0011");
        mapped.advise(Advice::Sequential);
        mapped.advise(Advice::WillNeed);
    }

    #[test]
    fn an_empty_file_is_an_empty_slice() {
        let file = tempfile::tempfile().unwrap();
        let mapped = Mapped::new(&file, 0).unwrap();
        mapped.advise(Advice::Sequential);
        assert!(mapped.is_empty());
    }

    #[test]
    fn only_the_asked_length_is_shown() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        assert_eq!(&*Mapped::new(&file, 4).unwrap(), b"0123");
    }

    #[test]
    fn more_than_the_address_space_is_a_limit_with_a_hint() {
        let file = tempfile::tempfile().unwrap();
        let error = Mapped::new(&file, u64::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        // 2^60 bytes: a valid length, but no 64-bit system has so many addresses.
        let error = Mapped::new(&file, 1 << 60).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.hint().is_some() || usize::BITS == 32, "{error}");
        assert!(!cannot_be_mapped(&error));
    }

    #[test]
    fn a_file_that_cannot_be_mapped_is_told_apart() {
        // A directory opens, but has no pages.
        let error = Mapped::new(&File::open("/").unwrap(), 1).unwrap_err();
        assert!(cannot_be_mapped(&error), "{error}");
    }
}
