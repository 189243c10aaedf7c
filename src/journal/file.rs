//! The journal as a file: three parts, text, replaced as a whole.
//!
//! ```text
//! rdbridge journal 1
//! { … the record as JSON … }
//! crc64 0123456789abcdef
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::record::Record;
use crate::error::{Error, ErrorKind, Result};
use crate::wire::crc64;

/// The first line.
const TITLE: &str = "rdbridge journal 1\n";

/// What the last line begins with.
const SEAL: &str = "crc64 ";

/// A journal is bounded by the gaps in what is finished; a larger one is none.
const LONGEST: u64 = 64 << 20;

/// A journal's file, locked for this process until it is dropped.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    lock_path: PathBuf,
    /// The lock is on a file beside the journal, since the journal itself is replaced.
    _lock: File,
}

/// For so long a lock that another process has is asked for again.
const DYING: Duration = Duration::from_secs(1);

impl JournalFile {
    /// Locks the journal at `path`, whether it exists or not.
    ///
    /// # Errors
    /// `Usage` where another process holds it; `Io` where nothing can be written there.
    pub fn lock(path: &Path) -> Result<Self> {
        let lock_path = beside(path, ".lock");
        let begun = Instant::now();
        loop {
            let lock = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&lock_path)
                .map_err(|error| cannot(path, "written", error))?;
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                // A load that was killed a moment ago holds it until the system is done with it.
                Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < DYING => {
                    std::thread::sleep(DYING / 50);
                    continue;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(Error::new(
                        ErrorKind::Usage,
                        format!("another load works with the journal {}", path.display()),
                    )
                    .with_hint("wait for it, or give this one its own with --journal"));
                }
                Err(error) => return Err(cannot(path, "locked", error.into())),
            }
            // The one who had it may have removed the name meanwhile: then this lock is on nothing.
            let held = lock
                .metadata()
                .map_err(|error| cannot(path, "locked", error))?;
            match fs::metadata(&lock_path) {
                Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => {
                    return Ok(Self {
                        path: path.to_owned(),
                        lock_path,
                        _lock: lock,
                    });
                }
                _ => {}
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a journal, locked or not; `None` where there is none.
    ///
    /// # Errors
    /// `Usage` where it is no regular file, `Io` where it cannot be read, `Corrupt` where it is no whole journal,
    /// `Unsupported` where it is one of another version.
    pub fn read(path: &Path) -> Result<Option<Record>> {
        let mut text = Vec::new();
        // A pipe would be waited for without end, and a device's name be given to a file.
        if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("{} is no regular file, so it is no journal", path.display()),
            )
            .with_hint("name another one with --journal"));
        }
        match File::open(path) {
            Ok(file) => {
                file.take(LONGEST)
                    .read_to_end(&mut text)
                    .map_err(|error| cannot(path, "read", error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot(path, "read", error)),
        }
        parse(&text)
            .map(Some)
            .map_err(|error| error.or_input(path.display().to_string()))
    }

    /// Puts `record` in the place of what is there: after a crash the file holds one or the other, whole.
    ///
    /// # Errors
    /// `Io`, or `Limit` for a full disk; the old one stands then.
    pub fn write(&self, record: &Record) -> Result<()> {
        let failed = |error| cannot(&self.path, "written", error);
        let text = print(record).map_err(|error| failed(error.into()))?;
        let partial = beside(&self.path, ".part");
        let result = (|| {
            // Never through a link that somebody left there.
            match fs::remove_file(&partial) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&partial)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&partial, &self.path)?;
            // The name, too, must survive.
            match self.path.parent() {
                Some(dir) if dir != Path::new("") => File::open(dir)?.sync_all(),
                _ => File::open(".")?.sync_all(),
            }
        })();
        result.map_err(|error| {
            let _ = fs::remove_file(&partial);
            failed(error)
        })
    }
}

impl Drop for JournalFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.lock_path);
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn print(record: &Record) -> serde_json::Result<Vec<u8>> {
    let mut text = TITLE.as_bytes().to_vec();
    serde_json::to_writer_pretty(&mut text, record)?;
    text.push(b'\n');
    let seal = format!("{SEAL}{:016x}\n", crc64::checksum(&text));
    text.extend_from_slice(seal.as_bytes());
    Ok(text)
}

fn parse(text: &[u8]) -> Result<Record> {
    let damaged = |what: &str| {
        Error::new(ErrorKind::Corrupt, format!("the journal is damaged: {what}"))
            .with_hint("load with --restart, which forgets it, under --on-conflict skip: what is there already stays")
    };
    let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
    if !text.starts_with(TITLE.as_bytes()) {
        return Err(
            match line
                .strip_prefix(b"rdbridge journal ")
                .and_then(|v| std::str::from_utf8(v).ok())
            {
                Some(version) if text.len() > line.len() => Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the journal has version {}, this program writes 1",
                        version.escape_debug()
                    ),
                )
                .with_hint("go on with the rdbridge that wrote it, or forget it with --restart"),
                _ if text.is_empty() => damaged("it is empty"),
                _ => Error::new(ErrorKind::Usage, "this file is no journal of rdbridge")
                    .with_hint("name another with --journal"),
            },
        );
    }
    let cut = || damaged("its end is missing");
    let body_end = text
        .strip_suffix(b"\n")
        .and_then(|t| t.iter().rposition(|b| *b == b'\n'))
        .map(|newline| newline + 1)
        .ok_or_else(cut)?;
    let (body, seal) = text.split_at(body_end);
    let seal = std::str::from_utf8(seal)
        .ok()
        .and_then(|seal| seal.trim_end().strip_prefix(SEAL))
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .ok_or_else(cut)?;
    if seal != crc64::checksum(body) {
        return Err(damaged("its checksum does not fit"));
    }
    let json = body.get(TITLE.len()..).unwrap_or_default();
    let record: Record =
        serde_json::from_slice(json).map_err(|error| damaged(&error.to_string()))?;
    match record.fault() {
        Some(fault) => Err(damaged(fault)),
        None => Ok(record),
    }
}

#[cold]
fn cannot(path: &Path, what: &str, error: io::Error) -> Error {
    Error::io(
        format!("the journal {} cannot be {what}", path.display()),
        error,
    )
    .with_hint("put it elsewhere with --journal PATH, or go without it with --no-journal: then a load that breaks off starts from the beginning")
}

#[cfg(test)]
mod tests;
