//! Several inputs, in the order in which they were named, opened one by one.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fact::Fact;
use super::identity::{Identity, Stamp};
use super::source::{Input, Source, SpoolNeed};
use super::{OnProgress, Options, directory, remote, shown};
use crate::error::{Error, ErrorKind, Result};
use crate::spool::Disk;
use crate::units::ByteCount;

/// So many mapped files stay open between two passes; each takes a descriptor.
const KEPT_OPEN: usize = 256;

/// What a packed file is thought to hold where it does not say: so many times its own size.
const GUESSED_RATIO: u64 = 10;

/// All inputs of a run.
#[derive(Debug)]
pub struct Inputs {
    sources: Vec<Source>,
    /// What came out at the first opening, and the input itself where it is kept for the next.
    opened: Vec<Opened>,
    facts: Vec<Fact>,
    need: Need,
    options: Options,
}

#[derive(Debug, Clone, Default)]
struct Opened {
    identity: Option<Identity>,
    kept: Option<Arc<Input>>,
}

/// What reading all inputs needs, as far as that can be known before they are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// How many inputs there are.
    pub inputs: usize,
    /// Bytes as stored of those that are regular files.
    pub stored: u64,
    /// How many need a spool.
    pub spooled: usize,
    /// How many of these do not say how large they are.
    pub unknown: usize,
    /// Bytes of spool that all of them need at least.
    pub at_least: u64,
    /// Bytes of spool that the largest of them needs at least.
    pub largest: u64,
    /// Whether the spools of all are kept until the end; else one is dropped before the next is made.
    pub keeps_all: bool,
    /// Where the spools lie.
    pub dir: PathBuf,
    /// What is known of the file system there.
    pub disk: Option<Disk>,
}

impl Inputs {
    /// Finds what `paths` name: files, directories, `-` for standard input. Files are not opened to be read yet: whether each
    /// is a dump is said by [`Inputs::open`].
    ///
    /// # Errors
    /// `Usage` for no path at all, an address, `-` or one file twice, a directory without dumps; `Io` for a directory that
    /// cannot be read.
    pub fn find<P: AsRef<Path>>(paths: &[P], options: Options) -> Result<Self> {
        let mut sources: Vec<Source> = Vec::new();
        let mut facts = Vec::new();
        let mut files: HashMap<(u64, u64), (Stamp, String)> = HashMap::new();
        let mut has_stdin = false;
        for path in paths {
            let path = path.as_ref();
            if path == Path::new("-") {
                if has_stdin {
                    return Err(Error::new(
                        ErrorKind::Usage,
                        "standard input (`-`) is named twice",
                    ));
                }
                has_stdin = true;
                sources.push(Source::stdin());
                continue;
            }
            if let Some(error) = remote::refuse(path, &options) {
                return Err(error);
            }
            let new = match path.is_dir() {
                true => {
                    let listing = directory::list(path)?;
                    facts.extend(listing.facts);
                    listing.sources
                }
                false => vec![Source::file(path)],
            };
            for source in new {
                if let Some((stamp, name)) = stamp_of(&source)
                    && let Some((other, first)) = files.insert((stamp.device, stamp.inode), (stamp, name))
                    // Some file systems give one number to several files: those differ in more than the number.
                    && other == stamp
                {
                    return Err(Error::new(
                        ErrorKind::Usage,
                        format!("is the same file as {first}"),
                    )
                    .or_input(source.name())
                    .with_hint("name it once"));
                }
                sources.push(source);
            }
        }
        if sources.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "no input is named")
                .with_hint("name a dump, a directory of dumps, or `-` for standard input"));
        }
        let need = Need::of(&sources, &options);
        Ok(Self {
            opened: vec![Opened::default(); sources.len()],
            sources,
            facts,
            need,
            options,
        })
    }

    /// What was found, in order.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// What should be said about how they were found.
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// What reading them needs; to be said before the first is opened where a spool is among it.
    #[must_use]
    pub fn need(&self) -> &Need {
        &self.need
    }

    /// How many there are; never 0.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Always `false`: without an input there is no value of this type.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Opens the input at `index`. It may be asked for again for another pass: it is then kept from the first time, or
    /// opened again and held against what it was.
    ///
    /// Drop what is returned before the next one is opened: else two spools take room at a time.
    ///
    /// # Errors
    /// As [`Source::open`]; `Corrupt` where it is not the file any more that it was the first time; `Usage` where there is
    /// no input of that number.
    pub fn open(&mut self, index: usize, progress: &mut OnProgress<'_>) -> Result<Arc<Input>> {
        let (Some(source), Some(opened)) = (self.sources.get(index), self.opened.get(index)) else {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("there is no input number {index}"),
            ));
        };
        if let Some(kept) = &opened.kept {
            return Ok(Arc::clone(kept));
        }
        let known = opened.identity.clone();
        let source = source.clone();
        let input = match source.open(&self.options, progress) {
            // The estimate was too low: what is kept for a later pass gives its room back, and can be made again.
            Err(error)
                if error.kind() == ErrorKind::Limit
                    && source.can_be_reopened()
                    && self.drop_spools() =>
            {
                source.open(&self.options, progress)
            }
            opened => opened,
        }?;
        if let Some(known) = known
            && known != *input.identity()
        {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "is not the file any more that was read before in this run",
            )
            .or_input(source.name())
            .with_hint("copy the dump to a place where nothing replaces it"));
        }
        let input = Arc::new(input);
        let keep = if !source.can_be_reopened() {
            true
        } else if input.is_spooled() {
            self.need.keeps_all
        } else {
            let open = self.opened.iter().filter(|opened| opened.kept.is_some());
            open.count() < KEPT_OPEN
        };
        if let Some(opened) = self.opened.get_mut(index) {
            opened.identity = Some(input.identity().clone());
            opened.kept = keep.then(|| Arc::clone(&input));
        }
        Ok(input)
    }

    /// Drops the spools that nobody uses and that can be made again, and keeps none from now on. Whether there were any.
    fn drop_spools(&mut self) -> bool {
        self.need.keeps_all = false;
        let mut any = false;
        for (source, opened) in self.sources.iter().zip(&mut self.opened) {
            let unused = opened
                .kept
                .as_ref()
                .is_some_and(|kept| kept.is_spooled() && Arc::strong_count(kept) == 1);
            if unused && source.can_be_reopened() {
                opened.kept = None;
                any = true;
            }
        }
        any
    }
}

fn stamp_of(source: &Source) -> Option<(Stamp, String)> {
    let path = source.path()?;
    let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some((Stamp::of(&metadata), shown(path)))
}

impl Need {
    fn of(sources: &[Source], options: &Options) -> Self {
        let mut need = Self {
            inputs: sources.len(),
            stored: 0,
            spooled: 0,
            unknown: 0,
            at_least: 0,
            largest: 0,
            keeps_all: false,
            dir: options.spool_dir.clone(),
            disk: None,
        };
        let mut guessed: u64 = 0;
        for source in sources {
            match source.look(options) {
                Some((stored, SpoolNeed::Nothing)) => {
                    need.stored = need.stored.saturating_add(stored)
                }
                Some((stored, SpoolNeed::AtLeast(bytes))) => {
                    need.stored = need.stored.saturating_add(stored);
                    need.spooled += 1;
                    need.at_least = need.at_least.saturating_add(bytes);
                    need.largest = need.largest.max(bytes);
                    guessed = guessed.saturating_add(bytes);
                }
                Some((stored, SpoolNeed::Unknown)) => {
                    need.stored = need.stored.saturating_add(stored);
                    need.spooled += 1;
                    need.unknown += 1;
                    guessed = guessed.saturating_add(stored.saturating_mul(GUESSED_RATIO));
                }
                // A stream, or something that opening will refuse.
                None if source
                    .path()
                    .is_some_and(|path| path.is_file() || !path.exists()) => {}
                None => {
                    need.spooled += 1;
                    need.unknown += 1;
                }
            }
        }
        if need.spooled > 0 {
            need.disk = Disk::of(&options.spool_dir).ok();
        }
        need.keeps_all = need.disk.is_some_and(|disk| guessed <= disk.spendable());
        need
    }
}

/// One line for before the work, where `spooled` is not 0.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inputs {
            1 => f.write_str("the input goes")?,
            inputs => write!(f, "{} of {inputs} inputs go", self.spooled)?,
        }
        write!(f, " through a spool in {}: ", shown(&self.dir))?;
        match (self.spooled == self.unknown, self.unknown) {
            (true, _) => f.write_str("size not known")?,
            (false, 0) => write!(f, "at least {}", ByteCount(self.at_least))?,
            (false, n) => write!(
                f,
                "at least {}, and {n} of unknown size",
                ByteCount(self.at_least)
            )?,
        }
        if self.spooled > 1 {
            f.write_str(if self.keeps_all {
                ", all at a time"
            } else {
                ", one at a time"
            })?;
        }
        match self.disk {
            Some(disk) if disk.in_memory => write!(
                f,
                " ({} free, in memory: it is a tmpfs)",
                ByteCount(disk.free)
            ),
            Some(disk) => write!(f, " ({} free)", ByteCount(disk.free)),
            None => Ok(()),
        }
    }
}
