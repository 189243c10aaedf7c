//! Keys that did not arrive, one JSON object a line: what a person mends, and what `--keys-from` takes back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::error::{Error, ErrorKind, Result, unshown};
use crate::json::push_string;
use crate::outcome::Road;

/// What each line begins with.
const BEGIN: &[u8; 6] = b"{\"db\":";

/// One key that did not arrive.
#[derive(Debug, Clone)]
pub struct Miss {
    /// The name of its input.
    pub input: String,
    /// Its database in the file.
    pub db: u64,
    /// Its whole name in the file.
    pub key: Vec<u8>,
    /// What it is called at the destination, if otherwise.
    pub key_there: Option<Vec<u8>>,
    /// The name of its type.
    pub value_type: String,
    /// Bytes of its value in the file.
    pub bytes: u64,
    /// Where its record begins.
    pub offset: u64,
    /// The way that it went last; `None` where it was never sent.
    pub road: Option<Road>,
    /// [`crate::outcome::Outcome::name`].
    pub outcome: &'static str,
    /// The server's words, or ours.
    pub reason: String,
}

/// A ledger that is being written. Its lines count only up to the length that the journal names.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: BufWriter<File>,
    length: u64,
    line: Vec<u8>,
}

impl Ledger {
    /// Opens `path` for a load that wrote `length` bytes of it before (`None` for a new one): what stands behind them was not
    /// acknowledged and is cut off.
    ///
    /// # Errors
    /// `Io`; `Usage` where a new ledger would overwrite a file that is there, or an old one is shorter than it should be.
    pub fn open(path: &Path, length: Option<u64>) -> Result<Self> {
        let failed = |error| cannot(path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let has = file.metadata().map_err(failed)?.len();
        if length.is_none() && has > 0 {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("the ledger {} is there already", path.display()),
            )
            .with_hint("name another with --failures, or move it away"));
        }
        let length = length.unwrap_or(0);
        if has < length {
            return Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "the ledger {} has {has} bytes, and the journal says that {length} were written",
                    path.display()
                ),
            )
            .with_hint("put it back where it was, or begin anew with --restart"));
        }
        if has > 0 {
            let begins = begins_as_ledger(&file).map_err(failed)?;
            if !begins || !ends_a_line(&file, length).map_err(failed)? {
                // Cutting would destroy what is not ours.
                return Err(no_ledger(path));
            }
        }
        if has > length {
            file.set_len(length).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(length)).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            length,
            line: Vec::new(),
        })
    }

    /// Removes a ledger that an earlier load wrote, for a load that begins anew.
    ///
    /// # Errors
    /// `Usage` where the file is there and is no ledger; `Io`.
    pub fn forget(path: &Path) -> Result<()> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(cannot(path, error)),
            Ok(there) if there.is_file() && there.len() == 0 => return Ok(()),
            Ok(_) => {}
        }
        if !File::open(path).is_ok_and(|file| begins_as_ledger(&file).unwrap_or(false)) {
            return Err(no_ledger(path));
        }
        fs::remove_file(path).map_err(|error| cannot(path, error))
    }

    /// Adds a line.
    ///
    /// # Errors
    /// `Io`, or a full disk.
    pub fn add(&mut self, miss: &Miss) -> Result<()> {
        self.line.clear();
        self.line.extend_from_slice(BEGIN);
        let mut number = itoa::Buffer::new();
        self.line
            .extend_from_slice(number.format(miss.db).as_bytes());
        self.line.extend_from_slice(b",\"key\":");
        push_string(&mut self.line, &miss.key);
        if let Some(key) = &miss.key_there {
            self.line.extend_from_slice(b",\"key_there\":");
            push_string(&mut self.line, key);
        }
        self.line.extend_from_slice(b",\"input\":");
        push_string(&mut self.line, &unshown(&miss.input));
        let rest = json!({
            "type": miss.value_type,
            "bytes": miss.bytes,
            "offset": miss.offset,
            "road": miss.road.map(Road::name),
            "outcome": miss.outcome,
            "reason": miss.reason,
        })
        .to_string();
        self.line.push(b',');
        self.line
            .extend_from_slice(rest.get(1..).unwrap_or_default().as_bytes());
        self.line.push(b'\n');
        self.file
            .write_all(&self.line)
            .map_err(|error| cannot(&self.path, error))?;
        self.length = self.length.saturating_add(self.line.len() as u64);
        Ok(())
    }

    /// How long it is with all lines that count, bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Lines behind `length` count no more. [`Ledger::cut`] must follow before the next one is added.
    pub fn count_to(&mut self, length: u64) {
        self.length = self.length.min(length);
    }

    /// Takes off what counts no more.
    ///
    /// # Errors
    /// `Io`.
    pub fn cut(&mut self) -> Result<()> {
        let length = self.length;
        let cut = self.file.flush().and_then(|()| {
            let file = self.file.get_mut();
            file.set_len(length)?;
            file.seek(SeekFrom::Start(length)).map(drop)
        });
        cut.map_err(|error| cannot(&self.path, error))
    }

    /// Makes all lines durable, and says how long it is.
    ///
    /// # Errors
    /// `Io`, or a full disk.
    pub fn sync(&mut self) -> Result<u64> {
        let synced = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_data());
        synced.map_err(|error| cannot(&self.path, error))?;
        Ok(self.length)
    }
}

/// Whether the first line is one of a ledger.
fn begins_as_ledger(file: &File) -> io::Result<bool> {
    let mut head = [0; BEGIN.len()];
    match file.read_exact_at(&mut head, 0) {
        Ok(()) => Ok(head == *BEGIN),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a line ends at `length`.
fn ends_a_line(file: &File, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1) else {
        return Ok(true);
    };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

#[cold]
fn no_ledger(path: &Path) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!(
            "{} is there already and is not the ledger of this load",
            path.display()
        ),
    )
    .with_hint("name another file with --failures")
}

#[cold]
fn cannot(path: &Path, error: io::Error) -> Error {
    Error::io(
        format!("the ledger {} cannot be written", path.display()),
        error,
    )
    .with_hint("make room there, or name another place with --failures")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn miss(key: &[u8]) -> Miss {
        Miss {
            key_there: None,
            input: "dump.rdb".into(),
            db: 3,
            key: key.to_vec(),
            value_type: "hash-listpack".into(),
            bytes: 77,
            offset: 1234,
            road: Some(Road::Raw),
            outcome: "conflict",
            reason: "the destination has \"it\"".into(),
        }
    }

    #[test]
    fn lines_behind_the_length_that_counts_are_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("failures.ndjson");
        let mut ledger = Ledger::open(&path, None).unwrap();
        ledger.add(&miss(b"one")).unwrap();
        let length = ledger.sync().unwrap();
        ledger.add(&miss(b"two")).unwrap();
        ledger.sync().unwrap();
        drop(ledger);
        assert_eq!(
            Ledger::open(&path, None).unwrap_err().kind(),
            ErrorKind::Usage
        );
        let mut ledger = Ledger::open(&path, Some(length)).unwrap();
        ledger.add(&miss(b"\xff")).unwrap();
        ledger.sync().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["key"], &lines[0]["db"], &lines[0]["offset"]),
            (&json!("one"), &json!(3), &json!(1234))
        );
        assert_eq!(lines[1]["key"]["base64"], json!("/w=="));
        assert_eq!(lines[0]["road"], json!("raw"));
        assert_eq!(lines[0]["reason"], json!("the destination has \"it\""));
        let error = Ledger::open(&path, Some(1 << 30)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    }

    /// The wrong file was named when a load was begun again: not one byte of it is lost.
    #[test]
    fn a_file_that_is_no_ledger_is_not_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accounts.csv");
        let ours = dir.path().join("failures.ndjson");
        let mut ledger = Ledger::open(&ours, None).unwrap();
        ledger.add(&miss(b"one")).unwrap();
        let length = ledger.sync().unwrap();
        let other = "name,sum\n".repeat(100);
        for (text, length) in [(other.as_str(), 0), (&other, length), ("{\"db\":7}\n{}", 5)] {
            std::fs::write(&path, text).unwrap();
            let error = Ledger::open(&path, Some(length)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        // The rest of a line that was being written when the load was killed is cut off all the same.
        let torn = [std::fs::read(&ours).unwrap(), b"{\"db\":0,\"ke".to_vec()].concat();
        std::fs::write(&ours, &torn).unwrap();
        drop(Ledger::open(&ours, Some(length)).unwrap());
        assert_eq!(std::fs::metadata(&ours).unwrap().len(), length);
        drop(Ledger::open(&ours, Some(0)).unwrap());
        assert_eq!(std::fs::metadata(&ours).unwrap().len(), 0);
    }
}
