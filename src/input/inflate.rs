//! Taking one packing off, in one pass, with every check that the packing offers: gzip's CRC and length, the checksums of
//! zstd and LZ4, the end marks of all. Memory is the decoder's window and two buffers, whatever the file claims.
//!
//! What is wrong with packed data is told at the *compressed* offset, since that is where the file is damaged.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use lz4_flex::frame::FrameDecoder;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::content::Packing;
use super::feed::Feed;
use super::frames;
use crate::error::{Error, ErrorKind, Result};
use crate::units::ByteCount;

/// Unpacked bytes are handed on in pieces of at most this size.
const PIECE: usize = 128 * 1024;

/// The widest zstd window that is taken: 2^27 bytes, as zstd's own command takes without being asked, and as its levels up
/// to 22 write. The window is the one thing about an input that costs memory.
const WINDOW_BITS: u32 = 27;

/// Unpacks all of `feed` into `take`, up to the end of the last member or frame. Bytes behind it stay in `feed`; `take`
/// is told with each piece how many packed bytes were read so far.
///
/// # Errors
/// `Corrupt` for data that are damaged or cut, with the compressed offset; `Limit` for a window that is too wide;
/// `Unsupported` for frames that need a dictionary; `Io` where the source cannot be read; whatever `take` returns.
pub(super) fn inflate<R: Read>(
    feed: &mut Feed<R>,
    packing: Packing,
    take: &mut dyn FnMut(&[u8], u64) -> Result<()>,
) -> Result<()> {
    match packing {
        Packing::Plain => feed.pass_on(take),
        Packing::Gzip => gzip(feed, take),
        Packing::Zstd => zstd(feed, take, false),
        Packing::Lz4 => lz4(feed, take, false),
        Packing::VcsZstd => {
            envelope(feed, frames::ZSTD_MAGIC).and_then(|()| zstd(feed, take, true))
        }
        Packing::VcsLz4 => envelope(feed, frames::LZ4_MAGIC).and_then(|()| lz4(feed, take, true)),
    }
}

/// Steps over Valkey's envelope, whose bytes the recognition has judged, to the frame in it.
fn envelope<R: Read>(feed: &mut Feed<R>, magic: [u8; 4]) -> Result<()> {
    let mut header = [0; frames::ENVELOPE];
    feed.read_exact(&mut header)
        .map_err(|error| fault(feed, "VCS", error))?;
    match next_frame(feed, "VCS", magic)? {
        Some(_) => Ok(()),
        None => {
            let error = match feed.peek(magic.len()) {
                Ok(rest) if magic.starts_with(rest) => return Err(cut(feed, "VCS")),
                Ok(_) => {
                    io::Error::new(io::ErrorKind::InvalidData, "no frame follows the envelope")
                }
                Err(error) => error,
            };
            Err(fault(feed, "VCS", error))
        }
    }
}

fn gzip<R: Read>(feed: &mut Feed<R>, take: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let mut member = GzDecoder::new(&mut *feed);
        loop {
            match member.read(&mut piece) {
                Ok(0) => break,
                Ok(len) => take(&piece[..len], member.get_ref().offset())?,
                Err(error) => return Err(fault(member.get_ref(), "gzip", error)),
            }
        }
        let next = feed.peek(2).map(|magic| magic == [0x1f, 0x8b]);
        if !next.map_err(|error| fault(feed, "gzip", error))? {
            return Ok(());
        }
    }
}

fn zstd<R: Read>(
    feed: &mut Feed<R>,
    take: &mut dyn FnMut(&[u8], u64) -> Result<()>,
    one_frame: bool,
) -> Result<()> {
    let set_up = |error| Error::io("zstd cannot be set up", error);
    let mut piece = vec![0; PIECE];
    let mut decoder = Decoder::new().map_err(set_up)?;
    decoder
        .set_parameter(DParameter::WindowLogMax(WINDOW_BITS))
        .map_err(set_up)?;
    while let Some(head) = next_frame(feed, "zstd", frames::ZSTD_MAGIC)? {
        if let Some(header) = frames::zstd_header(&head)
            && header.window > 1 << WINDOW_BITS
        {
            return Err(too_wide(feed.offset(), header.window));
        }
        decoder.reinit().map_err(set_up)?;
        loop {
            let ready = match feed.fill_buf() {
                Ok(ready) => ready,
                Err(error) => return Err(fault(feed, "zstd", error)),
            };
            let at_end = ready.is_empty();
            let mut input = InBuffer::around(ready);
            let mut output = OutBuffer::around(&mut piece[..]);
            let result = decoder.run(&mut input, &mut output);
            let (used, made) = (input.pos(), output.pos());
            feed.consume(used);
            let still_needed = result.map_err(|error| fault(feed, "zstd", error))?;
            take(&piece[..made], feed.offset())?;
            if still_needed == 0 {
                break;
            }
            if at_end && made == 0 {
                return Err(fault(feed, "zstd", io::ErrorKind::UnexpectedEof.into()));
            }
        }
        if one_frame {
            break;
        }
    }
    Ok(())
}

fn lz4<R: Read>(
    feed: &mut Feed<R>,
    take: &mut dyn FnMut(&[u8], u64) -> Result<()>,
    one_frame: bool,
) -> Result<()> {
    let mut piece = vec![0; PIECE];
    while let Some(head) = next_frame(feed, "LZ4", frames::LZ4_MAGIC)? {
        let Some(header) = frames::lz4_header(&head) else {
            return Err(cut(feed, "LZ4"));
        };
        if header.dictionary {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the LZ4 frame needs a dictionary, which is not in the file",
            ));
        }
        let mut frame = FrameDecoder::new(Lz4Frame::new(feed, header));
        loop {
            match frame.read(&mut piece) {
                // The decoder answers so at the end mark, but also at an empty block and where the file is cut between
                // two blocks.
                Ok(0) => match frame.get_ref() {
                    frame if frame.ended() => break,
                    frame if frame.feed.asked_past_end() => {
                        return Err(fault(
                            frame.feed,
                            "LZ4",
                            io::ErrorKind::UnexpectedEof.into(),
                        ));
                    }
                    _ => {}
                },
                Ok(len) => take(&piece[..len], frame.get_ref().feed.offset())?,
                Err(error) => return Err(fault(frame.get_ref().feed, "LZ4", error)),
            }
        }
        if one_frame {
            break;
        }
    }
    Ok(())
}

/// Steps over skippable frames to the next frame with content and shows its header; `None` where there is none.
fn next_frame<R: Read>(
    feed: &mut Feed<R>,
    name: &'static str,
    magic: [u8; 4],
) -> Result<Option<Vec<u8>>> {
    loop {
        let head = match feed.peek(frames::LONGEST_HEADER) {
            Ok(head) => head.to_vec(),
            Err(error) => return Err(fault(feed, name, error)),
        };
        if head.starts_with(&magic) {
            return Ok(Some(head));
        }
        if !frames::skippable(&head) {
            return Ok(None);
        }
        let Some(size) = head.get(4..).and_then(|size| size.first_chunk()) else {
            return Err(cut(feed, name));
        };
        let whole = 8 + u64::from(u32::from_le_bytes(*size));
        match io::copy(&mut feed.by_ref().take(whole), &mut io::sink()) {
            Ok(skipped) if skipped == whole => {}
            Ok(_) => return Err(cut(feed, name)),
            Err(error) => return Err(fault(feed, name, error)),
        }
    }
}

/// Hands an LZ4 frame to its decoder and no byte more, and knows whether its end mark was reached: the decoder itself ends
/// without an error in a file that is cut between two blocks.
struct Lz4Frame<'a, R> {
    feed: &'a mut Feed<R>,
    header: frames::Lz4Header,
    part: Part,
}

/// Where in an LZ4 frame the next byte stands.
enum Part {
    /// So many bytes are left of the frame's header or of a block with its checksum.
    Bytes(u64),
    /// Among the four bytes of a block's size, little endian.
    Size([u8; 4], usize),
    /// So many bytes are left of the content checksum, behind the end mark.
    Ending(u64),
}

impl<'a, R: Read> Lz4Frame<'a, R> {
    fn new(feed: &'a mut Feed<R>, header: frames::Lz4Header) -> Self {
        Self {
            feed,
            header,
            part: Part::Bytes(header.len as u64),
        }
    }

    fn ended(&self) -> bool {
        matches!(self.part, Part::Ending(0))
    }

    /// What follows a block's size; the highest bit says that the block is not compressed.
    fn behind(&self, size: [u8; 4]) -> Part {
        match u32::from_le_bytes(size) {
            0 => Part::Ending(4 * u64::from(self.header.content_checksum)),
            size => Part::Bytes(
                u64::from(size & 0x7fff_ffff) + 4 * u64::from(self.header.block_checksums),
            ),
        }
    }
}

impl<R: Read> Read for Lz4Frame<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Part::Bytes(0) = self.part {
            self.part = Part::Size([0; 4], 0);
        }
        let room = out.len();
        let left = match &self.part {
            Part::Bytes(left) | Part::Ending(left) => usize::try_from(*left).unwrap_or(room),
            Part::Size(_, got) => 4 - got,
        };
        let read = self.feed.read(&mut out[..room.min(left)])?;
        match &mut self.part {
            Part::Bytes(left) | Part::Ending(left) => *left -= read as u64,
            Part::Size(size, got) => {
                size[*got..*got + read].copy_from_slice(&out[..read]);
                *got += read;
                if *got == 4 {
                    let size = *size;
                    self.part = self.behind(size);
                }
            }
        }
        Ok(read)
    }
}

/// The source ends inside a header, of which nothing was taken yet.
#[cold]
fn cut<R: Read>(feed: &mut Feed<R>, name: &'static str) -> Error {
    let left = feed.peek(frames::LONGEST_HEADER).map_or(0, <[u8]>::len);
    feed.consume(left);
    fault(feed, name, io::ErrorKind::UnexpectedEof.into())
}

/// What a decoder or the source said, in words.
#[cold]
fn fault<R: Read>(feed: &Feed<R>, name: &'static str, error: io::Error) -> Error {
    if feed.failed() {
        return feed.unreadable(error);
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Error::new(
            ErrorKind::Corrupt,
            format!(
                "the {name} data end too early, at compressed offset {}",
                feed.offset()
            ),
        )
        .with_hint(FETCH_AGAIN);
    }
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "the {name} data are damaged at or before compressed offset {}",
            feed.offset()
        ),
    )
    .with_source(error)
    .with_hint(FETCH_AGAIN)
}

const FETCH_AGAIN: &str = "copy or download the file again";

#[cold]
fn too_wide(offset: u64, window: u64) -> Error {
    Error::new(
        ErrorKind::Limit,
        format!(
            "the zstd frame at compressed offset {offset} wants a window of {}, and the limit is {}",
            ByteCount(window),
            ByteCount(1 << WINDOW_BITS),
        ),
    )
}
