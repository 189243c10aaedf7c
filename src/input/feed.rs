//! A source that is read once, from front to back, and knows how far it came: the compressed offset of every error.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Error, ErrorKind, Result};

/// Bytes that are read from the source at a time.
const BUFFER: usize = 128 * 1024;

/// A buffered reader with a look ahead and an offset.
pub(super) struct Feed<R> {
    reader: R,
    buffer: Box<[u8]>,
    begin: usize,
    end: usize,
    /// Bytes handed out so far.
    offset: u64,
    /// The reader's own error, told apart from what a decoder thinks of the bytes.
    failed: bool,
    /// Whether somebody asked for bytes when there were none left.
    asked_past_end: bool,
}

impl<R: Read> Feed<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            begin: 0,
            end: 0,
            offset: 0,
            failed: false,
            asked_past_end: false,
        }
    }

    /// The next `len` bytes (at most 4096) without taking them; fewer only where the source ends.
    pub(super) fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        let len = len.min(4096);
        if self.end - self.begin < len {
            self.buffer.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
            while self.end < len {
                match self.read_more()? {
                    0 => break,
                    read => self.end += read,
                }
            }
        }
        let shown = len.min(self.end - self.begin);
        Ok(&self.buffer[self.begin..self.begin + shown])
    }

    /// Bytes handed out so far: the offset of the next one.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Hands all that is left to `take`, which is told each time how many bytes were read so far.
    pub(super) fn pass_on(&mut self, take: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        loop {
            let offset = self.offset;
            let ready = match self.fill_buf() {
                Ok(ready) => ready,
                Err(error) => return Err(self.unreadable(error)),
            };
            let len = ready.len();
            if len == 0 {
                return Ok(());
            }
            take(ready, offset + len as u64)?;
            self.consume(len);
        }
    }

    /// The error for a source that failed.
    #[cold]
    pub(super) fn unreadable(&self, error: io::Error) -> Error {
        // A stream that was waited for may have been given up: that is told as it is.
        error.downcast::<Error>().unwrap_or_else(|error| {
            Error::io(format!("cannot be read behind byte {}", self.offset), error)
        })
    }

    /// Whether the source itself could not be read.
    #[cfg(any(test, feature = "compression"))]
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// Whether bytes were asked for that were not there any more.
    #[cfg(feature = "compression")]
    pub(super) fn asked_past_end(&self) -> bool {
        self.asked_past_end
    }

    /// Reads into the free part of the buffer; 0 at the end.
    fn read_more(&mut self) -> io::Result<usize> {
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
                Ok(read) => return Ok(read),
            }
        }
    }
}

impl<R: Read> BufRead for Feed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.begin == self.end {
            self.begin = 0;
            self.end = 0;
            self.end = self.read_more()?;
            self.asked_past_end |= self.end == 0;
        }
        Ok(&self.buffer[self.begin..self.end])
    }

    fn consume(&mut self, len: usize) {
        let len = len.min(self.end - self.begin);
        self.begin += len;
        self.offset += len as u64;
    }
}

impl<R: Read> Read for Feed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let len = ready.len().min(out.len());
        out[..len].copy_from_slice(&ready[..len]);
        self.consume(len);
        Ok(len)
    }
}

/// A pipe that is waited for in short naps, so that an interrupt is noticed while nothing comes.
pub(super) struct Patient {
    file: File,
    interrupted: Option<Arc<AtomicBool>>,
}

impl Patient {
    pub(super) fn new(file: File, interrupted: Option<Arc<AtomicBool>>) -> Self {
        Self { file, interrupted }
    }
}

impl Read for Patient {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(interrupted) = &self.interrupted {
            if interrupted.load(Ordering::Relaxed) {
                let error = Error::new(
                    ErrorKind::Interrupted,
                    "interrupted while the input was read",
                );
                return Err(io::Error::other(error));
            }
            let nap = Timespec {
                tv_sec: 0,
                tv_nsec: 100_000_000,
            };
            match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&nap)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                // What cannot be waited for is read at once.
                _ => break,
            }
        }
        self.file.read(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out one byte at a time, as a slow pipe does, with an interruption before each.
    struct Slow<'a>(&'a [u8], bool);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = out.len().min(1);
            self.0.read(&mut out[..len])
        }
    }

    #[test]
    fn looking_ahead_takes_nothing() {
        let mut feed = Feed::new(Slow(b"0123456789", false));
        assert_eq!(feed.peek(4).unwrap(), b"0123");
        assert_eq!(feed.peek(2).unwrap(), b"01");
        let mut two = [0; 2];
        feed.read_exact(&mut two).unwrap();
        assert_eq!((&two, feed.offset()), (b"01", 2));
        assert_eq!(feed.peek(100).unwrap(), b"23456789");
        let mut rest = Vec::new();
        feed.read_to_end(&mut rest).unwrap();
        assert_eq!((&rest[..], feed.offset()), (&b"23456789"[..], 10));
        assert_eq!(feed.peek(1).unwrap(), b"");
        assert!(!feed.failed());
    }

    #[test]
    fn the_whole_source_passes_whatever_the_cuts() {
        let bytes: Vec<u8> = (0..BUFFER * 2 + 77).map(|i| (i % 251) as u8).collect();
        let mut feed = Feed::new(&bytes[..]);
        let mut out = Vec::new();
        while !feed.peek(300).unwrap().is_empty() {
            let ahead = feed.peek(300).unwrap().to_vec();
            let mut piece = vec![0; ahead.len().min(257)];
            feed.read_exact(&mut piece).unwrap();
            assert!(ahead.starts_with(&piece));
            out.extend_from_slice(&piece);
            assert_eq!(feed.offset(), out.len() as u64);
        }
        assert!(out == bytes);
    }

    #[test]
    fn the_sources_own_failure_is_remembered() {
        let mut feed = Feed::new(std::fs::File::open("/").unwrap());
        assert!(feed.fill_buf().is_err() && feed.failed());
    }
}
