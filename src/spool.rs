//! Unlinked temporary files that are written once and then read as mapped bytes. L0.
//!
//! Whatever must not be held in memory goes here: an inflated input, a bulk reply of a server, sorted fingerprints. The
//! file has no name (`O_TMPFILE`, or unlinked at once), is readable by this user only, and its space is given back when
//! the value is dropped or the process ends in any way.
//!
//! The directory is the caller's choice: this crate reads no environment. A spool never fills a file system to the last
//! block, since a database on the same disk would stop saving: [`Disk::spendable`] says what it may take.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::mapped::{Advice, Mapped};
use crate::units::ByteCount;

/// Small appends are collected up to this many bytes before they are written.
const BUFFER: usize = 64 * 1024;

/// After at most this many bytes the free space is asked for again: others write to the same disk.
const RECHECK: u64 = 64 * 1024 * 1024;

/// After at least this many, however little is free.
const RECHECK_LEAST: u64 = 256 * 1024;

/// What is known of the file system that a directory lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that a user without privileges may still write.
    pub free: u64,
    /// Bytes of the whole file system.
    pub size: u64,
    /// Whether it lies in memory (tmpfs, ramfs): a spool there takes memory, not disk.
    pub in_memory: bool,
}

impl Disk {
    /// Asks the system about the file system of `dir`.
    ///
    /// # Errors
    /// `Io` where `dir` does not exist or cannot be reached.
    pub fn of(dir: &Path) -> Result<Self> {
        let asked = rustix::fs::statvfs(dir)
            .map_err(|errno| unusable(dir, "cannot be used", errno.into()))?;
        Ok(Self {
            free: asked.f_bavail.saturating_mul(asked.f_frsize),
            size: asked.f_blocks.saturating_mul(asked.f_frsize),
            in_memory: lies_in_memory(dir),
        })
    }

    /// What spools may take: the free space less 1 % of the file system (at most 256 MB), which stays for others.
    /// Everything where the file system does not say its size (some in user space do not): then only the writing shows.
    #[must_use]
    pub fn spendable(&self) -> u64 {
        if self.size == 0 {
            return u64::MAX;
        }
        self.free.saturating_sub((self.size / 100).min(256_000_000))
    }
}

/// Whether `dir` lies on a file system that keeps its files in memory.
#[cfg(target_os = "linux")]
fn lies_in_memory(dir: &Path) -> bool {
    // TMPFS_MAGIC and RAMFS_MAGIC of linux/magic.h. The field's width and sign differ between architectures; both
    // numbers are 32 bits wide.
    rustix::fs::statfs(dir).is_ok_and(|asked| {
        matches!(
            i128::from(asked.f_type) & 0xffff_ffff,
            0x0102_1994 | 0x8584_58f6
        )
    })
}

/// Only Linux keeps `/tmp` in memory without another sign of it.
#[cfg(not(target_os = "linux"))]
fn lies_in_memory(_: &Path) -> bool {
    false
}

/// A spool that is being written. [`Spool::finish`] turns it into bytes.
#[derive(Debug)]
pub struct Spool {
    file: File,
    /// Appended, not yet in the file.
    buffer: Vec<u8>,
    /// Bytes appended so far, those in `buffer` included.
    written: u64,
    /// The value of `written` at which the free space is asked for again.
    recheck_at: u64,
    /// Whether a write was refused: what the file holds is then not known.
    failed: bool,
    need: Option<u64>,
    dir: PathBuf,
}

impl Spool {
    /// Makes a spool in `dir`. `need` is how many bytes it will take at least, where that is known.
    ///
    /// # Errors
    /// `Limit` with both numbers where `need` is more than [`Disk::spendable`]; `Io` where no file can be made in `dir`.
    pub fn create(dir: &Path, need: Option<u64>) -> Result<Self> {
        if let Some(need) = need {
            let disk = Disk::of(dir)?;
            if need > disk.spendable() {
                return Err(too_small(dir, need, disk));
            }
        }
        let file = tempfile::tempfile_in(dir)
            .map_err(|error| unusable(dir, "takes no temporary file", error))?;
        Ok(Self {
            file,
            buffer: Vec::new(),
            written: 0,
            recheck_at: RECHECK_LEAST,
            failed: false,
            need,
            dir: dir.to_owned(),
        })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// `Limit` with both numbers when the disk or a quota is full; `Io` for what else the system refuses.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush_buffer()?;
        }
        if bytes.len() >= BUFFER {
            self.write_out(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        self.written += bytes.len() as u64;
        if self.written >= self.recheck_at {
            self.look_for_room()?;
        }
        Ok(())
    }

    /// Bytes appended so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The directory that the spool lies in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends writing and maps what was written.
    ///
    /// # Errors
    /// As [`Spool::append`], and `Limit` where the address space is too small.
    pub fn finish(mut self) -> Result<SpooledBytes> {
        self.flush_buffer()?;
        let mapped = Mapped::new(&self.file, self.written)?;
        Ok(SpooledBytes { mapped })
    }

    fn flush_buffer(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write_out(&buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    fn write_out(&mut self, bytes: &[u8]) -> Result<()> {
        if self.failed {
            // After half a write nobody knows what the file holds: nothing is ever read from it.
            return Err(Error::new(
                ErrorKind::Io,
                format!("the spool in {} failed before", self.dir.display()),
            ));
        }
        self.file.write_all(bytes).map_err(|error| {
            self.failed = true;
            self.refused(error)
        })
    }

    /// Asks for the free space again.
    fn look_for_room(&mut self) -> Result<()> {
        match Disk::of(&self.dir) {
            Ok(disk) => self.go_on_with(disk),
            // Whoever wrote so far may go on: a full disk shows by itself.
            Err(_) => {
                self.recheck_at = self.written + RECHECK;
                Ok(())
            }
        }
    }

    /// Judges the free space, and sets when to ask again: the sooner the less there is.
    fn go_on_with(&mut self, disk: Disk) -> Result<()> {
        let room = disk.spendable();
        if room == 0 {
            self.failed = true;
            return Err(self.full(ByteCount(disk.free).to_string()));
        }
        self.recheck_at = self.written + (room / 4).clamp(RECHECK_LEAST, RECHECK);
        Ok(())
    }

    /// The system refused a write: a full disk is told with both numbers.
    #[cold]
    fn refused(&self, error: io::Error) -> Error {
        if !matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        ) {
            return Error::io(
                format!("the spool in {} cannot be written", self.dir.display()),
                error,
            );
        }
        let free = match Disk::of(&self.dir) {
            Ok(disk) => ByteCount(disk.free).to_string(),
            Err(_) => "an unknown number of bytes".to_owned(),
        };
        self.full(free).with_source(error)
    }

    #[cold]
    fn full(&self, free: String) -> Error {
        let need = match self.need {
            Some(need) if need > self.written => format!(" of at least {}", ByteCount(need)),
            _ => String::new(),
        };
        Error::new(
            ErrorKind::Limit,
            format!(
                "the spool in {} is full: {}{need} written, {free} free",
                self.dir.display(),
                ByteCount(self.written),
            ),
        )
        .with_hint(MORE_ROOM)
    }
}

/// What to do about a spool that has no room.
const MORE_ROOM: &str =
    "free some space there, or name a directory with more of it: `--spool-dir DIR`";

/// A need that is known before the first byte is written.
#[cold]
fn too_small(dir: &Path, need: u64, disk: Disk) -> Error {
    let kept = disk.free.saturating_sub(disk.spendable());
    Error::new(
        ErrorKind::Limit,
        format!(
            "the spool in {} needs at least {}, and {} are free (of which {} are left to others)",
            dir.display(),
            ByteCount(need),
            ByteCount(disk.free),
            ByteCount(kept).short(),
        ),
    )
    .with_hint(MORE_ROOM)
}

#[cold]
fn unusable(dir: &Path, what: &str, error: io::Error) -> Error {
    Error::io(
        format!("the spool directory {} {what}", dir.display()),
        error,
    )
    .with_hint("name another one: `--spool-dir DIR`")
}

/// For writers that know only `Write`. An error of [`Spool::append`] travels inside the `io::Error`: [`unwrap_io`] takes
/// it out again.
impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // What is in the buffer is ours to write when we like: nobody else can read this file.
        Ok(())
    }
}

/// Takes the spool's own error out of an `io::Error` that passed through `Write`; any other becomes `Io` with `what`.
#[must_use]
pub fn unwrap_io(error: io::Error, what: &'static str) -> Error {
    error
        .downcast::<Error>()
        .unwrap_or_else(|error| Error::io(what, error))
}

/// What a finished spool holds. The space on disk is given back when this is dropped.
#[derive(Debug)]
pub struct SpooledBytes {
    mapped: Mapped,
}

impl SpooledBytes {
    /// Tells the kernel how the bytes will be read.
    pub fn advise(&self, advice: Advice) {
        self.mapped.advise(advice);
    }
}

impl Deref for SpooledBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.mapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_what_is_read() {
        let dir = tempfile::tempdir().unwrap();
        // Around the buffer's edges: nothing, small pieces, exactly the buffer, more than it.
        for sizes in [
            &[][..],
            &[0, 1],
            &[BUFFER],
            &[BUFFER - 1, 1, 1],
            &[1, BUFFER, 7, BUFFER * 3 + 1, BUFFER - 1],
        ] {
            let mut spool = Spool::create(dir.path(), Some(1)).unwrap();
            let mut model = Vec::new();
            for (i, &size) in sizes.iter().enumerate() {
                let piece = vec![i as u8 + 1; size];
                spool.append(&piece).unwrap();
                model.extend_from_slice(&piece);
                assert_eq!(spool.written(), model.len() as u64);
            }
            let bytes = spool.finish().unwrap();
            assert!(*bytes == model[..], "sizes {sizes:?}");
        }
    }

    #[test]
    fn the_file_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(dir.path(), None).unwrap();
        spool.append(&vec![1; BUFFER * 2]).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let bytes = spool.finish().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        drop(dir);
        assert_eq!(bytes.len(), BUFFER * 2);
    }

    #[test]
    fn a_need_that_cannot_be_met_is_said_with_both_numbers_before_the_first_byte() {
        let dir = tempfile::tempdir().unwrap();
        let error = Spool::create(dir.path(), Some(1 << 62)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        let text = error.to_string();
        assert!(text.contains("4611686018427387904 bytes"), "{text}");
        assert!(text.contains("free"), "{text}");
        assert!(text.contains("--spool-dir"), "{text}");
    }

    #[test]
    fn a_full_disk_is_said_with_both_numbers() {
        // `/dev/full` answers every write as a full disk does.
        let on_full_disk = || Spool {
            file: File::options().write(true).open("/dev/full").unwrap(),
            buffer: Vec::new(),
            written: 0,
            recheck_at: RECHECK,
            failed: false,
            need: Some(1_000_000),
            dir: std::env::temp_dir(),
        };
        let mut spool = on_full_disk();
        spool.append(&[7; 1000]).unwrap();
        let error = spool.append(&vec![7; BUFFER]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        let text = error.to_string();
        assert!(
            text.contains("is full: 1000 bytes of at least 1.0 MB (1000000 bytes) written"),
            "{text}"
        );
        assert!(
            text.contains(" free: ") && text.contains("--spool-dir"),
            "{text}"
        );
        // The same error survives the way through `Write`.
        let error = on_full_disk().write_all(&vec![7; BUFFER]).unwrap_err();
        assert_eq!(unwrap_io(error, "writing").kind(), ErrorKind::Limit);
        // What is left in the buffer is written at the end.
        let mut small = on_full_disk();
        small.append(b"k").unwrap();
        assert_eq!(small.finish().unwrap_err().kind(), ErrorKind::Limit);
        // And a spool that failed stays so: half of a write may be in the file.
        spool.file = tempfile::tempfile().unwrap();
        let error = spool.finish().unwrap_err();
        assert!(error.to_string().contains("failed before"), "{error}");
    }

    #[test]
    fn the_last_of_the_disk_is_left_to_others() {
        let mut spool = Spool::create(&std::env::temp_dir(), None).unwrap();
        spool.append(b"k").unwrap();
        let mut disk = Disk {
            free: 1_000_000_000_000,
            size: 2_000_000_000_000,
            in_memory: false,
        };
        spool.go_on_with(disk).unwrap();
        assert_eq!(spool.recheck_at, 1 + RECHECK);
        disk.free = 257_000_000;
        spool.go_on_with(disk).unwrap();
        assert_eq!(spool.recheck_at, 1 + RECHECK_LEAST);
        disk.free = 256_000_000;
        let error = spool.go_on_with(disk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(
            error
                .to_string()
                .contains("is full: 1 byte written, 256.0 MB (256000000 bytes) free;"),
            "{error}"
        );
        assert!(spool.finish().is_err());
    }

    #[test]
    fn a_directory_that_is_none_is_said() {
        for dir in ["/nonexistent/spool", "/dev/null"] {
            for need in [None, Some(1)] {
                let error = Spool::create(Path::new(dir), need).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Io);
                assert!(error.to_string().contains(dir), "{error}");
            }
        }
    }

    #[test]
    fn a_part_of_the_disk_is_left_to_others() {
        let mut disk = Disk {
            free: 300_000_000,
            size: 1_000_000_000_000,
            in_memory: false,
        };
        assert_eq!(disk.spendable(), 44_000_000);
        disk.size = 1_000_000_000;
        assert_eq!(disk.spendable(), 290_000_000);
        disk.free = 9_000_000;
        assert_eq!(disk.spendable(), 0);
        disk.size = 0;
        assert_eq!(disk.spendable(), u64::MAX);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_told_from_disk() {
        let disk = Disk::of(Path::new("/dev/shm")).unwrap();
        assert!(disk.in_memory, "{disk:?}");
        assert!(disk.spendable() <= disk.free && disk.free <= disk.size);
        assert!(!Disk::of(Path::new("/proc")).unwrap().in_memory);
    }
}
