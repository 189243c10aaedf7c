//! One input: named, and opened when it is needed.

use std::fs::{File, Metadata};
use std::io::{self, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use super::content::{self, Content, HEAD, Packing};
use super::fact::{Fact, Why};
use super::feed::{Feed, Patient};
use super::identity::{Change, Identity, Stamp};
use super::unpack::{self, Job};
use super::{OnProgress, Options, aof, frames, shell_path, shown};
use crate::error::{Error, ErrorKind, Result};
use crate::mapped::{self, Advice, Mapped};
use crate::spool::{Disk, SpooledBytes};

/// An input as it was named. Nothing is open yet.
#[derive(Debug, Clone)]
pub struct Source {
    /// `None` for standard input.
    path: Option<PathBuf>,
    name: String,
    facts: Vec<Fact>,
}

/// How many bytes of a spool an input needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpoolNeed {
    /// None: the file is mapped.
    Nothing,
    /// So many, as the file says. gzip counts modulo 2^32 and by member, the others by frame.
    AtLeast(u64),
    /// It is packed or a stream, and says nothing.
    Unknown,
}

impl Source {
    /// The file at `path`, whatever it is. An RDB file that is the base of an append-only file has its increments among
    /// the facts.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let increments =
            aof::increments_of(&path).filter(|increments| !increments.files.is_empty());
        Self {
            name: shown(&path),
            facts: increments.map(Fact::AofIncrements).into_iter().collect(),
            path: Some(path),
        }
    }

    /// Standard input. A dump that was redirected from a regular file is mapped, a pipe is copied to a spool.
    #[must_use]
    pub fn stdin() -> Self {
        Self {
            path: None,
            name: "standard input".to_owned(),
            facts: Vec::new(),
        }
    }

    pub(super) fn with_facts(mut self, facts: Vec<Fact>) -> Self {
        self.facts = facts;
        self
    }

    /// The name for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path; `None` for standard input.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What is known before it is opened.
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// Opens it: maps it, or copies or unpacks it to a spool, which may take as long as reading all of it.
    ///
    /// # Errors
    /// With the input's name. `Io` where it cannot be opened or read; `Corrupt` where it is no RDB file, or packed data are
    /// damaged; `Usage` for a directory or an address; `Unsupported` for a packing that is not known; `Limit` where the spool
    /// has no room; whatever `progress` returns.
    pub fn open(&self, options: &Options, progress: &mut OnProgress<'_>) -> Result<Input> {
        let opened = match &self.path {
            Some(path) => self.open_path(path, options, progress),
            None => self.open_stdin(options, progress),
        };
        let mut input = opened.map_err(|error| error.or_input(&*self.name))?;
        input.facts.splice(0..0, self.facts.iter().cloned());
        Ok(input)
    }

    fn open_path(
        &self,
        path: &Path,
        options: &Options,
        progress: &mut OnProgress<'_>,
    ) -> Result<Input> {
        // Before the file is opened: to open a device can have effects, and a socket cannot be opened at all.
        let metadata = match path.metadata() {
            Ok(metadata) => metadata,
            Err(error) => {
                return Err(super::remote::refuse(path, options)
                    .unwrap_or_else(|| unopened(error, path, options)));
            }
        };
        readable_kind(&metadata)?;
        let file = File::open(path).map_err(|error| unopened(error, path, options))?;
        let metadata = file
            .metadata()
            .map_err(|error| unopened(error, path, options))?;
        readable_kind(&metadata)?;
        self.open_file(file, &metadata, options, progress)
    }

    fn open_stdin(&self, options: &Options, progress: &mut OnProgress<'_>) -> Result<Input> {
        let refused = |error| Error::io("cannot be read", error);
        // A descriptor of its own: what std's buffer may hold already is none of ours, and it is dropped as a file is.
        let mut file = io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map(File::from)
            .map_err(refused)?;
        let metadata = file.metadata().map_err(refused)?;
        if io::IsTerminal::is_terminal(&file) {
            return Err(
                Error::new(ErrorKind::Usage, "is a terminal").with_hint(format!(
                    "pipe a dump into it (`{}`) or name a file",
                    options.piped("cat dump.rdb")
                )),
            );
        }
        if metadata.is_dir() {
            return Err(
                Error::new(ErrorKind::Usage, "is a directory").with_hint("name it as a path")
            );
        }
        // A redirected file that something else has read from is taken from there on, as a stream.
        let at_start =
            metadata.is_file() && file.stream_position().is_ok_and(|position| position == 0);
        if at_start {
            return self.open_file(file, &metadata, options, progress);
        }
        self.open_stream(file, options, progress)
    }

    fn open_file(
        &self,
        file: File,
        metadata: &Metadata,
        options: &Options,
        progress: &mut OnProgress<'_>,
    ) -> Result<Input> {
        // A regular file without a size may still give bytes (`/proc`, some file systems in user space).
        if !metadata.is_file() || metadata.len() == 0 {
            return self.open_stream(file, options, progress);
        }
        let stamp = Stamp::of(metadata);
        let head = head_of(&file).map_err(|error| Error::io("cannot be read", error))?;
        let packing = self.recognise(&head, options)?;
        let mut why = match packing {
            Packing::Plain => Why::Asked,
            packed => Why::Packed(packed),
        };
        if packing == Packing::Plain && options.map {
            match Mapped::new(&file, stamp.size) {
                Ok(mapped) => {
                    mapped.advise(Advice::Sequential);
                    let identity = Identity::of(self.path.clone(), &mapped, Some(stamp));
                    return Ok(Input {
                        name: self.name.clone(),
                        bytes: Bytes::Mapped(mapped, file),
                        packing,
                        identity,
                        facts: Vec::new(),
                    });
                }
                Err(error) if mapped::cannot_be_mapped(&error) => why = Why::CannotBeMapped,
                Err(error) => return Err(error),
            }
        }
        let need = match need_of(&file, &head, packing, stamp.size, options) {
            SpoolNeed::AtLeast(need) => Some(need),
            SpoolNeed::Nothing | SpoolNeed::Unknown => None,
        };
        let mut feed = Feed::new(&file);
        let word = self.word();
        let job = Job {
            name: &self.name,
            word: &word,
            packing,
            of: Some(stamp.size),
            need,
            options,
        };
        let bytes = unpack::to_spool(&mut feed, &job, progress)?;
        let behind = stamp.size.saturating_sub(feed.offset());
        // The copy is worth nothing if the file was written to meanwhile.
        let now = file
            .metadata()
            .map_err(|error| Error::io("cannot be read", error))?;
        if let Some(change) = stamp.changed(Stamp::of(&now)) {
            return Err(Error::new(ErrorKind::Corrupt, change.to_string())
                .with_hint("wait until it is complete, then try again"));
        }
        let behind = (behind > 0).then_some((feed.offset(), Some(behind)));
        Ok(self.spooled(bytes, packing, why, Some(stamp), behind, options))
    }

    fn open_stream(
        &self,
        file: File,
        options: &Options,
        progress: &mut OnProgress<'_>,
    ) -> Result<Input> {
        let mut feed = Feed::new(Patient::new(file, options.interrupted.clone()));
        let head = match feed.peek(HEAD) {
            Ok(head) => head.to_vec(),
            Err(error) => return Err(feed.unreadable(error)),
        };
        let packing = self.recognise(&head, options)?;
        let why = match packing {
            Packing::Plain => Why::Stream,
            packed => Why::Packed(packed),
        };
        let word = self.word();
        let job = Job {
            name: &self.name,
            word: &word,
            packing,
            of: None,
            need: match claim(&head, packing) {
                SpoolNeed::AtLeast(need) => Some(need),
                SpoolNeed::Nothing | SpoolNeed::Unknown => None,
            },
            options,
        };
        let bytes = unpack::to_spool(&mut feed, &job, progress)?;
        let more = feed.peek(1).is_ok_and(|more| !more.is_empty());
        let behind = more.then_some((feed.offset(), None));
        Ok(self.spooled(bytes, packing, why, None, behind, options))
    }

    fn spooled(
        &self,
        bytes: SpooledBytes,
        packing: Packing,
        why: Why,
        stamp: Option<Stamp>,
        behind: Option<(u64, Option<u64>)>,
        options: &Options,
    ) -> Input {
        bytes.advise(Advice::Sequential);
        let mut facts = vec![Fact::Spooled {
            why,
            bytes: bytes.len() as u64,
            dir: options.spool_dir.clone(),
            in_memory: Disk::of(&options.spool_dir).is_ok_and(|disk| disk.in_memory),
        }];
        facts.extend(behind.map(|(offset, bytes)| Fact::BehindPacked { offset, bytes }));
        Input {
            name: self.name.clone(),
            identity: Identity::of(self.path.clone(), &bytes, stamp),
            bytes: Bytes::Spooled(bytes),
            packing,
            facts,
        }
    }

    fn recognise(&self, head: &[u8], options: &Options) -> Result<Packing> {
        match content::recognise(head) {
            Content::Dump(packing) => Ok(packing),
            Content::Other(_) if head.is_empty() => Err(Error::new(ErrorKind::Corrupt, "is empty")
                .with_hint(
                    "whatever should have written it did not: copy or download the dump again",
                )),
            Content::Other(guess) => Err(content::no_dump(head, &guess, &self.word(), options)),
        }
    }

    /// The input as a word of a shell's command line.
    fn word(&self) -> String {
        match &self.path {
            Some(path) => shell_path(path).into_owned(),
            None => "FILE".to_owned(),
        }
    }

    /// Looks, without reading on, at what opening it will need: bytes as stored, and bytes of a spool. `None` where that
    /// cannot be known before it is opened; opening then says why.
    pub(super) fn look(&self, options: &Options) -> Option<(u64, SpoolNeed)> {
        let path = self.path.as_deref()?;
        if !path.metadata().ok()?.is_file() {
            return None;
        }
        let file = File::open(path).ok()?;
        let size = file.metadata().ok()?.len();
        let head = head_of(&file).ok()?;
        let Content::Dump(packing) = content::recognise(&head) else {
            return None;
        };
        Some((size, need_of(&file, &head, packing, size, options)))
    }

    /// Whether it can be opened a second time: a pipe cannot.
    pub(super) fn can_be_reopened(&self) -> bool {
        self.path.as_deref().is_some_and(Path::is_file)
    }
}

/// The first [`HEAD`] bytes, wherever the file is being read.
pub(super) fn head_of(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD];
    let mut len = 0;
    while len < HEAD {
        match file.read_at(&mut head[len..], len as u64) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(len);
    Ok(head)
}

/// What a regular file needs of a spool.
fn need_of(file: &File, head: &[u8], packing: Packing, size: u64, options: &Options) -> SpoolNeed {
    match packing {
        Packing::Plain if options.map => SpoolNeed::Nothing,
        Packing::Plain => SpoolNeed::AtLeast(size),
        Packing::Gzip => {
            // The last four bytes are the size of the last member modulo 2^32. Deflate packs at most 1 to 1032: a claim
            // above that is no size, but what stands behind the last member.
            let mut last = [0; 4];
            let read = file.read_exact_at(&mut last, size.saturating_sub(4));
            match u64::from(u32::from_le_bytes(last)) {
                claim if read.is_ok() && claim / 1032 <= size => SpoolNeed::AtLeast(claim),
                _ => SpoolNeed::Unknown,
            }
        }
        _ => claim(head, packing),
    }
}

/// What the first bytes of a packed source claim about its content.
fn claim(head: &[u8], packing: Packing) -> SpoolNeed {
    let inside = head.get(frames::ENVELOPE..).unwrap_or(&[]);
    let content = match packing {
        Packing::Plain | Packing::Gzip => None,
        Packing::Zstd => frames::zstd_header(head).and_then(|header| header.content),
        Packing::VcsZstd => frames::zstd_header(inside).and_then(|header| header.content),
        Packing::Lz4 => frames::lz4_header(head).and_then(|header| header.content),
        Packing::VcsLz4 => frames::lz4_header(inside).and_then(|header| header.content),
    };
    content.map_or(SpoolNeed::Unknown, SpoolNeed::AtLeast)
}

/// Regular files and pipes are read; other kinds are named.
fn readable_kind(metadata: &Metadata) -> Result<()> {
    let kind = metadata.file_type();
    let (what, hint) = if kind.is_file() || kind.is_fifo() {
        return Ok(());
    } else if kind.is_dir() {
        ("is a directory", "name the files in it")
    } else if kind.is_socket() {
        (
            "is a socket, where a server listens",
            "a server is a destination: `--to URL`",
        )
    } else if kind.is_block_device() {
        (
            "is a block device",
            "name a file, or `-` for standard input",
        )
    } else {
        let hint = "name a file, or `-` for standard input";
        return Err(Error::new(ErrorKind::Corrupt, "is a device").with_hint(hint));
    };
    Err(Error::new(ErrorKind::Usage, what).with_hint(hint))
}

/// The error for a file that the system does not open.
#[cold]
fn unopened(error: io::Error, path: &Path, options: &Options) -> Error {
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    let error = Error::io("cannot be opened", error);
    match denied {
        true => {
            let line = options.piped(&format!("sudo cat {}", shell_path(path)));
            error.with_hint(format!(
                "servers keep their dumps to their own user: `{line}`"
            ))
        }
        false => error,
    }
}

/// An open input: the bytes of one RDB file.
#[derive(Debug)]
pub struct Input {
    name: String,
    bytes: Bytes,
    packing: Packing,
    identity: Identity,
    facts: Vec<Fact>,
}

#[derive(Debug)]
enum Bytes {
    /// The file stays open, so that it can be asked whether it changed.
    Mapped(Mapped, File),
    Spooled(SpooledBytes),
    Owned(Vec<u8>),
}

impl Input {
    /// Opens the file at `path`, or standard input for `-`.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let path = path.as_ref();
        let source = match path == Path::new("-") {
            true => Source::stdin(),
            false => Source::file(path),
        };
        source.open(options, &mut |_| Ok(()))
    }

    /// Bytes that are in memory already. They are taken as they are: nothing is recognised or unpacked.
    #[must_use]
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self {
            name: name.into(),
            identity: Identity::of(None, &bytes, None),
            bytes: Bytes::Owned(bytes),
            packing: Packing::Plain,
            facts: Vec::new(),
        }
    }

    /// The RDB file, from its magic to whatever stands behind its end.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(mapped, _) => mapped,
            Bytes::Spooled(spooled) => spooled,
            Bytes::Owned(owned) => owned,
        }
    }

    /// The name for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it was packed.
    #[must_use]
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// By what it is known again.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What should be said about it.
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// The increments of an append-only file that belong to this base and can hold newer writes.
    #[must_use]
    pub fn newer_writes(&self) -> Option<&super::Increments> {
        self.facts.iter().find_map(|fact| match fact {
            Fact::AofIncrements(increments) if increments.hold_writes() => Some(increments),
            _ => None,
        })
    }

    /// Whether the bytes lie in a spool, and not in the file itself.
    #[must_use]
    pub fn is_spooled(&self) -> bool {
        matches!(self.bytes, Bytes::Spooled(_))
    }

    /// Whether the mapped file was written to or cut since it was opened: what was read since then is suspect. A spool
    /// cannot change.
    ///
    /// # Errors
    /// `Io` where the system does not answer for the open file.
    pub fn changed_since_open(&self) -> Result<Option<Change>> {
        let (Bytes::Mapped(_, file), Some(stamp)) = (&self.bytes, self.identity.stamp) else {
            return Ok(None);
        };
        match file.metadata() {
            Ok(now) => Ok(stamp.changed(Stamp::of(&now))),
            Err(error) => Err(
                Error::io("the open file cannot be asked for its size", error)
                    .or_input(&*self.name),
            ),
        }
    }

    /// [`Fact::Replaced`] where the path now names another file, or none. The open one is still whole.
    #[must_use]
    pub fn replaced(&self) -> Option<Fact> {
        let (path, stamp) = (self.identity.path.as_ref()?, self.identity.stamp?);
        let same = path
            .metadata()
            .is_ok_and(|now| stamp.same_file(Stamp::of(&now)));
        (!same).then(|| Fact::Replaced { path: path.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_may_not_be_read_comes_with_a_way_out() {
        let mut options = Options::new("/tmp");
        options.command = "rdbridge info".to_owned();
        let path = Path::new("/var/lib/redis/dump.rdb");
        let error = unopened(io::ErrorKind::PermissionDenied.into(), path, &options);
        assert_eq!(
            error.to_string(),
            "cannot be opened: permission denied; servers keep their dumps to their own user: \
             `sudo cat /var/lib/redis/dump.rdb | rdbridge info - …`"
        );
        let error = unopened(io::ErrorKind::NotFound.into(), path, &options);
        assert_eq!(error.hint(), None);
    }
}
