//! The replies of a server (RESP2), found in a growing buffer without being copied.
//!
//! *Bytes*: `+text\r\n`, `-error\r\n`, `:integer\r\n`, `$length\r\n` then the bytes then `\r\n` (`$-1` is nil), `*count\r\n` then the
//! elements (`*-1` is nil). RESP3 is never asked for, so any other first byte means that the two sides are out of step.
//!
//! *Incremental*: [`Scanner`] looks at each byte once, however the reply is cut by reads. It says where the reply ends,
//! that more is needed, or that a bulk is too large to be collected. [`Reply::parse`] then borrows from the buffer;
//! nothing is allocated, an array is walked lazily.
//!
//! *Refuses*: lines, bulks, counts and depth over [`Limits`]. A length is a claim: nothing is reserved for it.

use crate::error::{Error, ErrorKind, Escaped};

/// What a reply may be at most. The defaults fit every control command; a destination that answers more is not one.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one `+`, `-` or `:` line.
    pub line: usize,
    /// Bytes of a whole reply that is collected in memory. A top-level bulk above it is left to the caller to spool.
    pub collected: usize,
    /// Bytes of one bulk, spooled ones included.
    pub bulk: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line: 64 * 1024,
            collected: 2 * 1024 * 1024,
            bulk: 4 * 1024 * 1024 * 1024,
        }
    }
}

/// Arrays inside arrays, at most. `COMMAND` of Redis 8 nests six deep; nothing that is asked here more than four.
const DEPTH: usize = 16;

/// Length lines: a sign and 19 digits.
const NUMBER_LINE: usize = 20;

/// One reply, borrowed from the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'b> {
    /// `+text`, without its sign.
    Simple(&'b [u8]),
    /// `-CODE text`, the server's own words without the sign.
    Error(&'b [u8]),
    /// `:n`.
    Integer(i64),
    /// `$n`.
    Bulk(&'b [u8]),
    /// `$-1` or `*-1`.
    Nil,
    /// `*n`.
    Array(Array<'b>),
}

/// The elements of an array reply, walked on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array<'b> {
    count: u64,
    body: &'b [u8],
}

impl<'b> Array<'b> {
    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The elements in order.
    #[must_use]
    pub fn iter(&self) -> Elements<'b> {
        Elements {
            left: self.count,
            rest: self.body,
        }
    }
}

impl<'b> IntoIterator for Array<'b> {
    type Item = Reply<'b>;
    type IntoIter = Elements<'b>;
    fn into_iter(self) -> Elements<'b> {
        self.iter()
    }
}

/// Iterator over the elements of an [`Array`].
#[derive(Debug, Clone)]
pub struct Elements<'b> {
    left: u64,
    rest: &'b [u8],
}

impl<'b> Iterator for Elements<'b> {
    type Item = Reply<'b>;

    fn next(&mut self) -> Option<Reply<'b>> {
        self.left = self.left.checked_sub(1)?;
        let (reply, rest) = split_reply(self.rest)?;
        self.rest = rest;
        Some(reply)
    }
}

impl<'b> Reply<'b> {
    /// Reads one reply that a [`Scanner`] found to be complete: `bytes` is exactly that reply. `None` if it is not.
    #[must_use]
    pub fn parse(bytes: &'b [u8]) -> Option<Self> {
        match split_reply(bytes)? {
            (reply, []) => Some(reply),
            _ => None,
        }
    }

    /// Whether this is `+OK`.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Reply::Simple(b"OK"))
    }

    /// The bytes of a bulk or simple string.
    #[must_use]
    pub fn text(&self) -> Option<&'b [u8]> {
        match *self {
            Reply::Simple(text) | Reply::Bulk(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, also where it came as text (as in `CONFIG GET`).
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match *self {
            Reply::Integer(n) => Some(n),
            Reply::Simple(text) | Reply::Bulk(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The elements of an array reply.
    #[must_use]
    pub fn array(&self) -> Option<Array<'b>> {
        match *self {
            Reply::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The server's own words, if this is an error.
    #[must_use]
    pub fn error(&self) -> Option<&'b [u8]> {
        match *self {
            Reply::Error(words) => Some(words),
            _ => None,
        }
    }

    /// A short description for messages, safe for a terminal.
    #[must_use]
    pub fn shown(&self) -> String {
        match *self {
            Reply::Simple(text) => format!("status {}", Escaped(head(text))),
            Reply::Error(text) => format!("error {}", Escaped(head(text))),
            Reply::Integer(n) => format!("integer {n}"),
            Reply::Bulk(text) => format!("string of {} bytes {}", text.len(), Escaped(head(text))),
            Reply::Nil => "nil".to_owned(),
            Reply::Array(array) => format!("array of {}", array.len()),
        }
    }
}

/// What the bytes so far amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanned {
    /// The reply is the first so many bytes.
    Complete(usize),
    /// More bytes are needed.
    Incomplete,
    /// A top-level bulk that is not to be collected: after `header` bytes come `length` bytes and `\r\n`.
    LargeBulk {
        /// Bytes of the `$length\r\n` line.
        header: usize,
        /// Bytes of the string.
        length: u64,
    },
}

/// Finds the end of one reply in a buffer that grows at its end. Start a new one for each reply.
#[derive(Debug, Clone, Default)]
pub struct Scanner {
    /// Bytes of the reply that are settled.
    position: usize,
    /// Elements still missing at each open level.
    open: [u64; DEPTH],
    depth: usize,
}

impl Scanner {
    /// Goes on where the last call stopped; `bytes` starts with the reply's first byte and has only grown since.
    ///
    /// # Errors
    /// Bytes that are no RESP2, or a claim over `limits`.
    pub fn scan(&mut self, bytes: &[u8], limits: &Limits) -> Result<Scanned, Error> {
        loop {
            let rest = bytes.get(self.position..).unwrap_or_default();
            let Some((&kind, after)) = rest.split_first() else {
                return Ok(Scanned::Incomplete);
            };
            if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
                return Err(nonsense("no reply begins like this", rest));
            }
            let longest = if matches!(kind, b'+' | b'-') {
                limits.line
            } else {
                NUMBER_LINE
            };
            let Some(line) = line_of(after, longest).map_err(|what| nonsense(what, rest))? else {
                return Ok(Scanned::Incomplete);
            };
            // The sign, the line and its two end bytes.
            let mut size = line.len().saturating_add(3);
            let mut opened = 0;
            match kind {
                b'+' | b'-' => {}
                b':' => {
                    number(line).ok_or_else(|| nonsense("not an integer", rest))?;
                }
                b'$' => match number(line) {
                    Some(-1) => {}
                    Some(n) => {
                        let length =
                            u64::try_from(n).map_err(|_| nonsense("negative length", rest))?;
                        if length > limits.bulk {
                            return Err(too_large(length, limits.bulk));
                        }
                        let room = limits.collected.saturating_sub(self.position);
                        match usize::try_from(length) {
                            Ok(length) if length <= room => {
                                let end = size.saturating_add(length);
                                let Some(tail) =
                                    rest.get(end..).and_then(|tail| tail.first_chunk())
                                else {
                                    return Ok(Scanned::Incomplete);
                                };
                                if tail != b"\r\n" {
                                    return Err(nonsense(
                                        "a string does not end where its length says",
                                        rest.get(end..).unwrap_or_default(),
                                    ));
                                }
                                size = end.saturating_add(2);
                            }
                            _ if self.depth == 0 => {
                                return Ok(Scanned::LargeBulk {
                                    header: size,
                                    length,
                                });
                            }
                            _ => return Err(too_large(length, room as u64)),
                        }
                    }
                    None => return Err(nonsense("not a length", rest)),
                },
                _ => match number(line) {
                    Some(-1) => {}
                    Some(n) => {
                        opened = u64::try_from(n).map_err(|_| nonsense("negative count", rest))?;
                        // The smallest element is `+\r\n`.
                        if opened > (limits.collected as u64) / 3 {
                            return Err(nonsense("too many elements", rest));
                        }
                    }
                    None => return Err(nonsense("not a count", rest)),
                },
            }
            self.position = self.position.saturating_add(size);
            if self.position > limits.collected {
                return Err(too_large(self.position as u64, limits.collected as u64));
            }
            if opened > 0 {
                let level = self
                    .open
                    .get_mut(self.depth)
                    .ok_or_else(|| nonsense("arrays nested too deep", rest))?;
                *level = opened;
                self.depth = self.depth.saturating_add(1);
                continue;
            }
            // One element is complete; close every level that it completes.
            loop {
                let Some(level) = self
                    .depth
                    .checked_sub(1)
                    .and_then(|top| self.open.get_mut(top))
                else {
                    return Ok(Scanned::Complete(self.position));
                };
                *level = level.saturating_sub(1);
                if *level > 0 {
                    break;
                }
                self.depth = self.depth.saturating_sub(1);
            }
        }
    }
}

/// How many `+OK\r\n` stand at the head of `bytes`, one after another. The fast path: a pipelined replay gets little else.
#[must_use]
pub fn count_ok_run(bytes: &[u8]) -> usize {
    const ONE: &[u8; 5] = b"+OK\r\n";
    const SIXTEEN: &[u8; 80] = b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n\
                                 +OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n";
    let mut count = 0usize;
    let mut rest = bytes;
    while let Some(tail) = rest.strip_prefix(SIXTEEN.as_slice()) {
        rest = tail;
        count = count.saturating_add(16);
    }
    while let Some(tail) = rest.strip_prefix(ONE.as_slice()) {
        rest = tail;
        count = count.saturating_add(1);
    }
    count
}

/// The error for bytes that no server of this protocol sends, with the first of them shown.
#[cold]
pub(crate) fn nonsense(what: &str, bytes: &[u8]) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!(
            "destination answers nonsense ({what}): {}",
            Escaped(head(bytes))
        ),
    )
    .with_hint(
        "is this the port of a Redis-compatible server, and is TLS (rediss://) spoken there?",
    )
}

#[cold]
fn too_large(length: u64, limit: u64) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("destination answers with {length} bytes where at most {limit} are taken"),
    )
}

/// What of a long text is shown in a message.
fn head(bytes: &[u8]) -> &[u8] {
    bytes.get(..64).unwrap_or(bytes)
}

/// The line at the head of `bytes` without its `\r\n`; `None` if its end has not come yet.
fn line_of(bytes: &[u8], longest: usize) -> Result<Option<&[u8]>, &'static str> {
    let window = bytes.get(..longest.saturating_add(1)).unwrap_or(bytes);
    let Some(end) = window.iter().position(|&b| b == b'\r' || b == b'\n') else {
        return if bytes.len() > longest {
            Err("a line without an end")
        } else {
            Ok(None)
        };
    };
    match bytes.get(end..).unwrap_or_default() {
        [b'\r', b'\n', ..] => Ok(bytes.get(..end)),
        [b'\r'] => Ok(None),
        _ => Err("a line with a stray end byte"),
    }
}

/// A decimal i64: an optional minus and digits, nothing else.
fn number(line: &[u8]) -> Option<i64> {
    let digits = line.strip_prefix(b"-").unwrap_or(line);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(line).ok()?.parse().ok()
}

/// The reply at the head of `bytes` and what follows. Only for bytes that were scanned.
fn split_reply(bytes: &[u8]) -> Option<(Reply<'_>, &[u8])> {
    const SCANNED: Limits = Limits {
        line: usize::MAX,
        collected: usize::MAX,
        bulk: u64::MAX,
    };
    let (&kind, after) = bytes.split_first()?;
    let line = line_of(after, usize::MAX).ok()??;
    let body = after.get(line.len().checked_add(2)?..)?;
    Some(match kind {
        b'+' => (Reply::Simple(line), body),
        b'-' => (Reply::Error(line), body),
        b':' => (Reply::Integer(number(line)?), body),
        b'$' => match usize::try_from(number(line)?) {
            Ok(length) => (
                Reply::Bulk(body.get(..length)?),
                body.get(length.checked_add(2)?..)?,
            ),
            Err(_) => (Reply::Nil, body),
        },
        b'*' => match u64::try_from(number(line)?) {
            Ok(count) => {
                let Ok(Scanned::Complete(whole)) = Scanner::default().scan(bytes, &SCANNED) else {
                    return None;
                };
                let rest = bytes.get(whole..)?;
                let elements = body.get(..body.len().checked_sub(rest.len())?)?;
                (
                    Reply::Array(Array {
                        count,
                        body: elements,
                    }),
                    rest,
                )
            }
            Err(_) => (Reply::Nil, body),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<Scanned, Error> {
        Scanner::default().scan(bytes, &Limits::default())
    }

    const SAMPLES: &[&[u8]] = &[
        b"+OK\r\n",
        b"+\r\n",
        b"-ERR Bad data format\r\n",
        b":-9223372036854775808\r\n",
        b"$0\r\n\r\n",
        b"$5\r\na\r\nbc\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*3\r\n:1\r\n*2\r\n$1\r\nx\r\n*0\r\n+end\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n:7\r\n",
    ];

    #[test]
    fn every_prefix_is_incomplete_and_the_whole_is_complete() {
        for sample in SAMPLES {
            for cut in 0..sample.len() {
                assert_eq!(
                    scan(&sample[..cut]).unwrap(),
                    Scanned::Incomplete,
                    "{cut} of {}",
                    Escaped(sample)
                );
            }
            let mut more = sample.to_vec();
            more.extend_from_slice(b"garbage");
            assert_eq!(scan(&more).unwrap(), Scanned::Complete(sample.len()));
            // One scanner, fed byte by byte, says the same.
            let mut scanner = Scanner::default();
            for cut in 0..sample.len() {
                assert_eq!(
                    scanner.scan(&sample[..cut], &Limits::default()).unwrap(),
                    Scanned::Incomplete
                );
            }
            assert_eq!(
                scanner.scan(sample, &Limits::default()).unwrap(),
                Scanned::Complete(sample.len())
            );
            assert!(Reply::parse(sample).is_some());
        }
    }

    #[test]
    fn replies_are_read_as_written() {
        assert!(Reply::parse(b"+OK\r\n").unwrap().is_ok());
        assert_eq!(Reply::parse(b":12\r\n").unwrap().integer(), Some(12));
        assert_eq!(Reply::parse(b"$2\r\n16\r\n").unwrap().integer(), Some(16));
        assert_eq!(Reply::parse(b"$-1\r\n"), Some(Reply::Nil));
        assert_eq!(
            Reply::parse(b"-ERR x y\r\n").unwrap().error(),
            Some(&b"ERR x y"[..])
        );
        let nested = Reply::parse(b"*3\r\n:1\r\n*2\r\n$1\r\nx\r\n*0\r\n+end\r\n").unwrap();
        let elements: Vec<_> = nested.array().unwrap().iter().collect();
        assert_eq!(elements.len(), 3);
        assert_eq!(elements[0], Reply::Integer(1));
        let inner: Vec<_> = elements[1].array().unwrap().iter().collect();
        assert_eq!(inner[0], Reply::Bulk(b"x"));
        assert!(inner[1].array().unwrap().is_empty());
        assert_eq!(elements[2], Reply::Simple(b"end"));
    }

    #[test]
    fn nonsense_is_said_with_its_first_bytes() {
        for (bytes, expected) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], "HTTP/1.1 400"),
            (b"\x15\x03\x03\x00\x02\x02\x16", "\\x15"),
            (b"%1\r\n+a\r\n+b\r\n", "no reply begins"),
            (b":12a\r\n", "not an integer"),
            (b"$x\r\n", "not a length"),
            (b"$-2\r\n", "negative length"),
            (b"*-2\r\n", "negative count"),
            (b"*99999999\r\n", "too many elements"),
            (b"$1\r\nab\r\n", "does not end"),
            (b"+a\nb\r\n", "stray"),
            (b"$123456789012345678901234567890\r\n", "without an end"),
        ] {
            let error = scan(bytes).unwrap_err().to_string();
            assert!(error.contains("answers nonsense"), "{error}");
            assert!(error.contains(expected), "{error}");
        }
        let deep = b"*1\r\n".repeat(DEPTH + 1);
        assert!(scan(&deep).unwrap_err().to_string().contains("too deep"));
        let endless = [&b"-"[..], &vec![b'x'; 70_000]].concat();
        assert!(
            scan(&endless)
                .unwrap_err()
                .to_string()
                .contains("without an end")
        );
    }

    #[test]
    fn large_bulks_are_not_collected_and_larger_ones_refused() {
        assert_eq!(
            scan(b"$3000000\r\nabc").unwrap(),
            Scanned::LargeBulk {
                header: 10,
                length: 3_000_000
            }
        );
        assert!(scan(b"$9999999999999\r\n").is_err());
        assert!(scan(b"*1\r\n$3000000\r\n").is_err(), "a nested one");
        let many = [
            &b"*3\r\n"[..],
            b"$1000000\r\n",
            &vec![0; 1_000_000],
            b"\r\n$1900000\r\n",
        ]
        .concat();
        assert!(scan(&many).is_err(), "the whole counts, not one element");
    }

    #[test]
    fn ok_runs_are_counted_exactly() {
        for n in [0, 1, 2, 7, 15, 16, 17, 31, 32, 33, 1000] {
            let mut bytes = b"+OK\r\n".repeat(n);
            assert_eq!(count_ok_run(&bytes), n);
            bytes.extend_from_slice(b"+OK\r");
            assert_eq!(count_ok_run(&bytes), n);
            bytes.extend_from_slice(b"\n-ERR\r\n+OK\r\n");
            assert_eq!(count_ok_run(&bytes), n + 1);
        }
    }

    #[test]
    fn no_bytes_make_the_scanner_panic_or_overrun() {
        // xorshift: deterministic, small alphabets so that deep states are reached.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let alphabet = b"+-:$*0123456789\r\n\r\n\r\nOKx";
        let mut complete = 0;
        for _ in 0..60_000 {
            let mut bytes = Vec::new();
            for _ in 0..24 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.push(alphabet[(state % alphabet.len() as u64) as usize]);
            }
            if let Ok(Scanned::Complete(n)) = scan(&bytes) {
                complete += 1;
                assert!(n <= bytes.len());
                assert!(Reply::parse(&bytes[..n]).is_some());
            }
        }
        assert!(
            complete > 100,
            "{complete} complete replies among the random ones"
        );
    }
}
