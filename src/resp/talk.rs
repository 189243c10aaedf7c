//! Commands whose arguments are sent in pieces, and replies that are taken in pieces: for values of any size, in flat memory.
//!
//! The caller writes as many commands as it likes and takes their replies in the same order, token by token: an array says how
//! many tokens follow, a text is taken piece by piece. How much is under way is the caller's choice, who knows how large the
//! replies can be; whatever the server really answers, nothing is collected here but one line or what
//! [`Talk::whole`] is asked for.

use super::conn::Connection;
use super::pack::LARGE;
use super::reply::Reply;
use crate::error::{Error, ErrorKind, Escaped, Result};

/// So many bytes of commands are gathered before they are handed to the socket.
const BATCH: usize = 64 * 1024;

/// Bytes of replies that may come in while a command is still being sent. Who answers more is not a server that was asked.
const UNREAD: usize = 32 << 20;

/// Bytes of a line: what servers put into `+` and `-` replies is shorter.
const LINE: usize = 64 * 1024;

/// The beginning of a reply, or of an element of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'b> {
    /// `+text`.
    Simple(&'b [u8]),
    /// `-CODE text`, without the sign.
    Error(&'b [u8]),
    /// `:n`.
    Integer(i64),
    /// `$-1` or `*-1`.
    Nil,
    /// `*n`: so many tokens (with all that belongs to them) follow.
    Array(u64),
    /// `$n`: a text of so many bytes, to be taken by [`Talk::piece`] or [`Talk::whole`]; what is not taken is passed over.
    Text(u64),
}

/// A connection on which much is asked at a time.
#[derive(Debug)]
pub struct Talk<'c> {
    connection: &'c mut Connection,
    out: Vec<u8>,
    sent: usize,
    /// Bytes at the head of the inbox that were handed out.
    handed: usize,
    /// Bytes of the current text that were not handed out yet.
    text_left: Option<u64>,
    moved: bool,
    /// The next argument is a command's name.
    names: bool,
}

impl<'c> Talk<'c> {
    /// Takes a connection that has nothing under way.
    ///
    /// # Errors
    /// The connection is over, or holds a reply that nobody asked for.
    pub fn new(connection: &'c mut Connection) -> Result<Self> {
        connection.renew_login()?;
        connection.begin_request()?;
        Ok(Self {
            connection,
            out: Vec::new(),
            sent: 0,
            handed: 0,
            text_left: None,
            moved: true,
            names: false,
        })
    }

    /// The database that commands go to.
    #[must_use]
    pub fn db(&self) -> u64 {
        self.connection.db()
    }

    /// Switches the database. All replies must have been taken.
    ///
    /// # Errors
    /// As [`Connection::select`].
    pub fn select(&mut self, db: u64) -> Result<()> {
        if db == self.connection.db() {
            return Ok(());
        }
        self.flush()?;
        self.finish_token()?;
        self.connection.select(db)?;
        self.connection.begin_request()
    }

    /// Whether it is time for [`Talk::renew_login`].
    #[must_use]
    #[inline]
    pub fn login_is_due(&self) -> bool {
        self.connection.login_is_due()
    }

    /// Logs in again. All replies must have been taken.
    ///
    /// # Errors
    /// As [`Connection::renew_login`].
    pub fn renew_login(&mut self) -> Result<()> {
        self.flush()?;
        self.finish_token()?;
        self.connection.renew_login()?;
        self.connection.begin_request()
    }

    // ---- asking ----

    /// Begins a command of `args` arguments, its name included; exactly so many must follow.
    pub fn begin(&mut self, args: u64) {
        self.names = true;
        self.number(b'*', args);
    }

    /// An argument in one piece.
    ///
    /// # Errors
    /// The connection fails.
    pub fn arg(&mut self, bytes: &[u8]) -> Result<()> {
        if std::mem::take(&mut self.names) && !self.connection.renames().is_empty() {
            let renames = self.connection.renames().clone();
            return self.arg(renames.of(bytes));
        }
        self.begin_arg(bytes.len() as u64);
        self.arg_piece(bytes)?;
        self.end_arg()
    }

    /// A number as an argument.
    ///
    /// # Errors
    /// The connection fails.
    pub fn arg_number(&mut self, number: u64) -> Result<()> {
        self.arg(itoa::Buffer::new().format(number).as_bytes())
    }

    /// Begins an argument of `len` bytes, which follow in pieces.
    pub fn begin_arg(&mut self, len: u64) {
        self.number(b'$', len);
    }

    /// The next piece of the argument.
    ///
    /// # Errors
    /// The connection fails.
    pub fn arg_piece(&mut self, piece: &[u8]) -> Result<()> {
        if piece.len() < LARGE {
            self.out.extend_from_slice(piece);
            return Ok(());
        }
        self.flush()?;
        let mut rest = piece;
        while !rest.is_empty() {
            let written = self.connection.exchange([rest, &[]], true)?;
            self.moved = true;
            rest = rest.get(written..).unwrap_or_default();
            self.mind_unread()?;
        }
        Ok(())
    }

    /// Ends the argument.
    ///
    /// # Errors
    /// The connection fails.
    pub fn end_arg(&mut self) -> Result<()> {
        self.out.extend_from_slice(b"\r\n");
        self.between()
    }

    /// Arguments that were packed before, as [`super::pack`] does it: how many they are stands in [`Talk::begin`].
    ///
    /// # Errors
    /// The connection fails.
    pub fn packed(&mut self, args: &[u8]) -> Result<()> {
        self.arg_piece(args)?;
        self.between()
    }

    /// Two commands of one argument, the same for both: each in front of it stands as it goes over the wire. For what is
    /// asked millions of times.
    ///
    /// # Errors
    /// The connection fails.
    pub fn twice(&mut self, first: &[u8], second: &[u8], arg: &[u8]) -> Result<()> {
        if !self.connection.renames().is_empty() {
            for command in [first, second] {
                // Behind the number of arguments and the length of its name.
                let name = command.split(|byte| *byte == b'\n').nth(2);
                let name = name.and_then(|line| line.strip_suffix(b"\r"));
                self.command(&[name.unwrap_or_default(), arg])?;
            }
            return Ok(());
        }
        if arg.len() >= LARGE {
            for command in [first, second] {
                self.out.extend_from_slice(command);
                self.arg(arg)?;
            }
            return Ok(());
        }
        self.out.extend_from_slice(first);
        let begin = self.out.len();
        self.number(b'$', arg.len() as u64);
        self.out.extend_from_slice(arg);
        self.out.extend_from_slice(b"\r\n");
        let end = self.out.len();
        self.out.extend_from_slice(second);
        self.out.extend_from_within(begin..end);
        self.between()
    }

    /// A whole command of short arguments.
    ///
    /// # Errors
    /// The connection fails.
    pub fn command(&mut self, args: &[&[u8]]) -> Result<()> {
        self.begin(args.len() as u64);
        for arg in args {
            self.arg(arg)?;
        }
        Ok(())
    }

    /// Sends a mark (see [`super::mark`]); `None` where this server answers none.
    ///
    /// # Errors
    /// The connection fails.
    pub fn mark(&mut self) -> Result<Option<u64>> {
        match self.connection.marks() {
            Some(marks) => marks.send(&mut self.out).map(Some),
            None => Ok(None),
        }
    }

    fn between(&mut self) -> Result<()> {
        if self.out.len().saturating_sub(self.sent) >= BATCH {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands everything to the network.
    ///
    /// # Errors
    /// The connection fails.
    pub fn flush(&mut self) -> Result<()> {
        while self.sent < self.out.len() {
            self.pump()?;
            self.mind_unread()?;
        }
        Ok(())
    }

    fn number(&mut self, sign: u8, number: u64) {
        self.out.push(sign);
        self.out
            .extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// One step in both directions.
    fn pump(&mut self) -> Result<()> {
        let waiting = self.out.get(self.sent..).unwrap_or_default();
        let written = self.connection.exchange([waiting, &[]], true)?;
        self.sent = self.sent.saturating_add(written);
        if self.sent >= self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        self.moved = true;
        Ok(())
    }

    fn mind_unread(&mut self) -> Result<()> {
        if self.connection.received().len() > UNREAD {
            return Err(self
                .connection
                .out_of_step("more replies than can be due came while a command was sent"));
        }
        Ok(())
    }

    // ---- listening ----

    /// The next token of the replies that are due. What was left of a text is passed over.
    ///
    /// # Errors
    /// The connection fails, or what comes is no reply.
    pub fn token(&mut self) -> Result<Token<'_>> {
        self.finish_token()?;
        let (length, number) = loop {
            let received = self.connection.received();
            match line_end(received) {
                Ok(Some(end)) => {
                    let line = received.get(1..end).unwrap_or_default();
                    let number = match received.first() {
                        Some(b'+' | b'-') => None,
                        Some(b':' | b'$' | b'*') => match number_of(line) {
                            Some(number) => Some(number),
                            None => return Err(self.nonsense("not a number")),
                        },
                        _ => return Err(self.nonsense("no reply begins like this")),
                    };
                    break (end.saturating_add(2), number);
                }
                Ok(None) => self.pump()?,
                Err(what) => return Err(self.nonsense(what)),
            }
        };
        if std::mem::take(&mut self.moved) {
            self.connection.patience();
        }
        let kind = self.connection.received().first().copied();
        match (kind, number) {
            (Some(b'$'), Some(number)) => {
                self.connection.consume(length);
                match u64::try_from(number) {
                    Ok(bytes) => {
                        self.text_left = Some(bytes);
                        Ok(Token::Text(bytes))
                    }
                    Err(_) if number == -1 => Ok(Token::Nil),
                    Err(_) => Err(self.nonsense("a negative length")),
                }
            }
            (Some(b'*'), Some(number)) => {
                self.connection.consume(length);
                match u64::try_from(number) {
                    Ok(count) => Ok(Token::Array(count)),
                    Err(_) if number == -1 => Ok(Token::Nil),
                    Err(_) => Err(self.nonsense("a negative count")),
                }
            }
            (_, Some(number)) => {
                self.connection.consume(length);
                Ok(Token::Integer(number))
            }
            (kind, None) => {
                self.handed = length;
                let line = self
                    .connection
                    .received()
                    .get(1..length.saturating_sub(2))
                    .unwrap_or_default();
                Ok(if kind == Some(b'+') {
                    Token::Simple(line)
                } else {
                    Token::Error(line)
                })
            }
        }
    }

    /// The next piece of the current text, never empty; `None` behind its end.
    ///
    /// # Errors
    /// The connection fails.
    pub fn piece(&mut self) -> Result<Option<&[u8]>> {
        self.take_handed();
        let Some(left @ 1..) = self.text_left else {
            self.finish_token()?;
            return Ok(None);
        };
        while self.connection.received().is_empty() {
            self.pump()?;
        }
        let there = self.connection.received().len();
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(there);
        self.handed = take;
        self.text_left = Some(left.saturating_sub(take as u64));
        Ok(self.connection.received().get(..take))
    }

    /// All of the current text at once. For texts that the caller found to be short, by their [`Token::Text`]: they are
    /// collected.
    ///
    /// # Errors
    /// The connection fails.
    pub fn whole(&mut self) -> Result<&[u8]> {
        self.take_handed();
        let left = usize::try_from(self.text_left.unwrap_or(0)).unwrap_or(usize::MAX);
        while self.connection.received().len() < left {
            self.pump()?;
        }
        self.handed = left;
        self.text_left = Some(0);
        Ok(self.connection.received().get(..left).unwrap_or_default())
    }

    /// Passes over the whole reply whose beginning is the next token.
    ///
    /// # Errors
    /// The connection fails, or what comes is no reply.
    pub fn skip_reply(&mut self) -> Result<()> {
        let mut due = 1u64;
        while due > 0 {
            due = due.saturating_sub(1);
            if let Token::Array(more) = self.token()? {
                due = due.saturating_add(more);
            }
        }
        self.finish_token()
    }

    /// Passes over `replies` whole replies.
    ///
    /// # Errors
    /// As [`Talk::skip_reply`].
    pub fn skip_replies(&mut self, replies: u64) -> Result<()> {
        for _ in 0..replies {
            self.skip_reply()?;
        }
        Ok(())
    }

    /// Takes the reply to mark `number`, which proves that every reply so far belongs to its command.
    ///
    /// # Errors
    /// The connection fails, or another reply comes: then it is over.
    pub fn expect_mark(&mut self, number: u64) -> Result<()> {
        const LONGEST: u64 = 4096;
        let (is_error, text) = match self.token()? {
            Token::Error(words) => (true, words.to_vec()),
            Token::Text(length) if length <= LONGEST => (false, self.whole()?.to_vec()),
            _ => (true, Vec::new()),
        };
        let reply = if is_error {
            Reply::Error(&text)
        } else {
            Reply::Bulk(&text)
        };
        if self.connection.marks_sent().answers(number, &reply) {
            return self.finish_token();
        }
        if is_error && (text.starts_with(b"BUSY ") || text.starts_with(b"LOADING ")) {
            // It refuses everything for a while: nothing is proven, and nothing is out of step.
            self.finish_token()?;
            return Err(Error::new(
                ErrorKind::Destination,
                format!("the destination says {}", Escaped(&text)),
            ));
        }
        Err(self.out_of_step("a mark was answered by another reply"))
    }

    /// Ends the connection because what came does not fit what was asked.
    #[cold]
    pub fn out_of_step(&mut self, what: &str) -> Error {
        self.connection.out_of_step(what)
    }

    fn take_handed(&mut self) {
        let handed = std::mem::take(&mut self.handed);
        if handed > 0 {
            self.connection.consume(handed);
        }
    }

    /// Passes over what is left of the current token: to be called when the last reply was taken and the connection is to be
    /// used by others.
    ///
    /// # Errors
    /// The connection fails.
    pub fn finish(&mut self) -> Result<()> {
        self.finish_token()
    }

    fn finish_token(&mut self) -> Result<()> {
        self.take_handed();
        let Some(mut left) = self.text_left.take() else {
            return Ok(());
        };
        while left > 0 {
            while self.connection.received().is_empty() {
                self.pump()?;
            }
            let there = self.connection.received().len();
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(there);
            self.connection.consume(take);
            left = left.saturating_sub(take as u64);
            // A long text that comes is progress.
            self.connection.patience();
        }
        while self.connection.received().len() < 2 {
            self.pump()?;
        }
        if !self.connection.received().starts_with(b"\r\n") {
            return Err(self.nonsense("a text does not end where its length says"));
        }
        self.connection.consume(2);
        Ok(())
    }

    #[cold]
    fn nonsense(&mut self, what: &'static str) -> Error {
        let seen = self.connection.received();
        let seen = Escaped(seen.get(..64).unwrap_or(seen)).to_string();
        let name = self.connection.name().to_owned();
        // The connection is over, in other words than "out of step": nothing shows that a reply was lost.
        drop(self.connection.out_of_step(what));
        Error::new(
            ErrorKind::Destination,
            format!("{name}: destination answers nonsense ({what}): {seen}"),
        )
        .with_hint(
            "is this the port of a Redis-compatible server, and is TLS (rediss://) spoken there?",
        )
    }
}

/// Where the line at the head of `bytes` ends (its `\r`); `None` if its end has not come yet.
fn line_end(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    let longest = match bytes.first() {
        Some(b'+' | b'-') | None => LINE,
        // A sign and 19 digits.
        Some(_) => 21,
    };
    let window = bytes.get(..longest.saturating_add(2)).unwrap_or(bytes);
    match window.iter().position(|&b| b == b'\r' || b == b'\n') {
        None if bytes.len() > longest => Err("a line without an end"),
        None => Ok(None),
        Some(at) => match bytes.get(at..).unwrap_or_default() {
            [b'\r', b'\n', ..] => Ok(Some(at)),
            [b'\r'] => Ok(None),
            _ => Err("a line with a stray end byte"),
        },
    }
}

/// A decimal i64: an optional minus and digits, nothing else.
fn number_of(line: &[u8]) -> Option<i64> {
    let (negative, digits) = match line {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut number = 0i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        let digit = i64::from(digit.wrapping_sub(b'0'));
        number = number.checked_mul(10)?;
        number = if negative {
            number.checked_sub(digit)?
        } else {
            number.checked_add(digit)?
        };
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lines() {
        for (text, number) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("+1", None),
            ("1x", None),
        ] {
            assert_eq!(number_of(text.as_bytes()), number, "{text}");
        }
        assert_eq!(line_end(b":12\r\n"), Ok(Some(3)));
        assert_eq!(line_end(b":12\r"), Ok(None));
        assert_eq!(line_end(b""), Ok(None));
        assert!(line_end(b":12\n").is_err());
        assert!(line_end(b":0123456789012345678901234").is_err());
        assert_eq!(line_end(b"-0123456789012345678901234"), Ok(None));
    }
}
