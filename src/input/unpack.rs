//! From a source that cannot be mapped to a spool that can: copied or unpacked in one pass, and judged as soon as its first
//! bytes are there.

use std::io::Read;

use super::content::{self, Content, HEAD, Packing};
use super::feed::Feed;
use super::{OnProgress, Options, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::spool::{Spool, SpooledBytes};

/// The progress is told after so many bytes in the spool.
const TELL: u64 = 4 * 1024 * 1024;

/// What is to be spooled.
pub(super) struct Job<'a> {
    /// The input's name, for the progress.
    pub(super) name: &'a str,
    /// The file as a word of a shell's command line, for hints.
    pub(super) word: &'a str,
    pub(super) packing: Packing,
    /// Bytes that the source has.
    pub(super) of: Option<u64>,
    /// Bytes that the spool will take at least.
    pub(super) need: Option<u64>,
    pub(super) options: &'a Options,
}

/// Copies or unpacks `feed` into a spool.
///
/// # Errors
/// Those of the spool, of the packing, and of the source; `Corrupt` where no RDB file comes out, told as soon as that shows.
pub(super) fn to_spool<R: Read>(
    feed: &mut Feed<R>,
    job: &Job<'_>,
    progress: &mut OnProgress<'_>,
) -> Result<SpooledBytes> {
    let mut spool = Spool::create(&job.options.spool_dir, job.need)?;
    // The first unpacked bytes, until there are enough of them to judge. A plain source was judged before.
    let mut head = Vec::new();
    let mut judged = job.packing == Packing::Plain;
    let mut tell_at = TELL;
    let mut take = |piece: &[u8], read: u64| {
        if !judged {
            head.extend_from_slice(piece.get(..HEAD - head.len()).unwrap_or(piece));
            if head.len() == HEAD {
                judge(&head, job)?;
                judged = true;
            }
        }
        spool.append(piece)?;
        if spool.written() >= tell_at {
            tell_at = spool.written() + TELL;
            progress(&Progress {
                input: job.name,
                read,
                of: job.of,
                spooled: spool.written(),
            })?;
        }
        Ok(())
    };
    inflate(feed, job, &mut take)?;
    if !judged {
        judge(&head, job)?;
    }
    spool.finish()
}

/// The first bytes (up to [`HEAD`]) of what is packed in `feed`.
#[cfg(feature = "compression")]
pub(super) fn first_bytes<R: Read>(feed: &mut Feed<R>, packing: Packing) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let result = super::inflate::inflate(feed, packing, &mut |piece, _| {
        head.extend_from_slice(piece.get(..HEAD - head.len()).unwrap_or(piece));
        match head.len() {
            // Ends the unpacking; the error itself is of no interest.
            HEAD => Err(Error::new(ErrorKind::Interrupted, "enough")),
            _ => Ok(()),
        }
    });
    match result {
        Err(error) if head.len() < HEAD => Err(error),
        _ => Ok(head),
    }
}

/// Without decompressors nothing can be said about what is packed.
#[cfg(not(feature = "compression"))]
pub(super) fn first_bytes<R: Read>(_: &mut Feed<R>, packing: Packing) -> Result<Vec<u8>> {
    Err(not_built_in(packing))
}

/// Whether the first unpacked bytes are those of an RDB file.
fn judge(head: &[u8], job: &Job<'_>) -> Result<()> {
    let outer = job.packing;
    match content::recognise(head) {
        Content::Dump(Packing::Plain) => Ok(()),
        Content::Dump(inner) => Err(content::nested(outer, inner, job.word, job.options)),
        Content::Other(guess) => Err(content::no_dump_inside(outer, head, &guess)),
    }
}

#[cfg(feature = "compression")]
fn inflate<R: Read>(
    feed: &mut Feed<R>,
    job: &Job<'_>,
    take: &mut dyn FnMut(&[u8], u64) -> Result<()>,
) -> Result<()> {
    super::inflate::inflate(feed, job.packing, take).map_err(|error| match error.kind() {
        ErrorKind::Limit if error.hint().is_none() => {
            error.with_hint(content::wide_window_hint(job.word, job.options))
        }
        _ => error,
    })
}

#[cfg(not(feature = "compression"))]
fn inflate<R: Read>(
    feed: &mut Feed<R>,
    job: &Job<'_>,
    take: &mut dyn FnMut(&[u8], u64) -> Result<()>,
) -> Result<()> {
    match job.packing {
        Packing::Plain => feed.pass_on(take),
        packing => Err(not_built_in(packing).with_hint(content::unpack_hint(
            packing,
            job.word,
            job.options,
        ))),
    }
}

#[cfg(not(feature = "compression"))]
fn not_built_in(packing: Packing) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "is packed ({packing}), and this program was built without the feature `compression`"
        ),
    )
}
