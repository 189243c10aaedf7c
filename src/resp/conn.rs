//! A connection to a server: login, single requests, and the two-way step that a pipelined sender is built on.
//!
//! - [`Connector`] knows the address, the time-outs and where the secret comes from, and makes a [`Connection`] as often as
//!   needed.
//! - [`Connection::request`] sends one command and waits for its reply, borrowed from the receive buffer.
//! - [`Connection`] is a [`redis::ConnectionLike`], so `redis::cmd("INFO").query(&mut connection)` works.
//! - [`Connection::exchange`], [`Connection::scan`], [`Connection::reply`] and [`Connection::consume`] are the raw parts.
//!
//! Any time-out, any error of the socket and any reply that does not fit ends the connection for good: a reply that comes
//! late must never be taken for the answer to a later command.

use std::fmt;
use std::io::{self, IoSlice, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::address::Address;
use super::login::{Login, Reauth};
use super::mark::{MarkKind, Marks};
use super::pack::{self, Arg, Out};
use super::rename::Renames;
use super::reply::{Limits, Reply, Scanned, Scanner, nonsense};
use super::secret::{Secret, SecretSource};
use super::sentinel;
use super::stream::{Stream, StreamOptions};
use crate::error::{Error, ErrorKind, Escaped, Result};

/// Everything that is needed to connect, again and again.
#[derive(Clone)]
pub struct Connector {
    /// Where, as whom, which database.
    pub address: Address,
    /// Time-outs and TLS.
    pub options: StreamOptions,
    /// Asked at each connect; what it gives goes before the address's own password.
    pub secret: Option<SecretSource>,
    /// The address is a sentinel's, which is asked at each connect where the master of this name is.
    pub sentinel: Option<String>,
    /// Commands that have other names there.
    pub renames: Renames,
    /// When open connections log in again, if they do.
    pub reauth: Option<Reauth>,
    /// Is told every command before it is sent, without secrets and without marks.
    pub trace: Option<Trace>,
}

/// Sees the arguments of each command.
pub type Trace = Arc<dyn Fn(&[Arg<'_>]) + Send + Sync>;

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("address", &self.address)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// A connector with the default time-outs and no secret but the address's own.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            options: StreamOptions::default(),
            secret: None,
            sentinel: None,
            renames: Renames::default(),
            reauth: None,
            trace: None,
        }
    }

    /// Connects, logs in, and selects the address's database: of the master that the sentinel names, where it is one's.
    ///
    /// # Errors
    /// Kind `Destination` with the server's own words where it refuses; the secret is in none of them.
    pub fn connect(&self) -> Result<Connection> {
        match &self.sentinel {
            None => self.connect_to(&self.address),
            Some(name) => sentinel::connect(self, name),
        }
    }

    /// The same without a login, as sentinels mostly want none.
    pub(super) fn connect_plainly(&self) -> Result<Connection> {
        self.open(&self.address, None, None)
    }

    pub(super) fn connect_to(&self, address: &Address) -> Result<Connection> {
        let secret = match &self.secret {
            Some(source) => source()?,
            None => None,
        }
        .or_else(|| address.password.clone());
        let mut connection = self.open(address, address.user.as_deref(), secret.as_ref())?;
        let reauth = self.reauth.clone();
        connection.login = reauth.map(|reauth| Login::new(reauth, address.user.clone()));
        if let Some(db) = address.db {
            connection.select(db)?;
        }
        Ok(connection)
    }

    fn open(
        &self,
        address: &Address,
        user: Option<&str>,
        secret: Option<&Secret>,
    ) -> Result<Connection> {
        let stream = Stream::connect(&address.endpoint, &self.options)?;
        let mut connection = Connection {
            stream,
            name: address.to_string(),
            trace: self.trace.clone(),
            renames: self.renames.clone(),
            login: None,
            io_timeout: self.options.io_timeout,
            interrupted: self.options.interrupted.clone(),
            interrupted_at: None,
            limits: Limits::default(),
            inbox: Inbox::default(),
            handed_out: 0,
            scanner: Scanner::default(),
            outbox: Vec::new(),
            end: None,
            write_error: None,
            quiet_since: Instant::now(),
            quiet_bytes: 0,
            heard: false,
            last_exchange: Instant::now(),
            last_sent: Instant::now(),
            written_at_end: 0,
            db: 0,
            marks: Marks::new(MarkKind::Echo),
            marks_tried: false,
        };
        connection.log_in(user, secret)?;
        Ok(connection)
    }
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The server or the network closed it.
    Lost,
    /// Nothing moved for the whole I/O time-out.
    TimedOut,
    /// What came is no reply, or not the reply that was due.
    OutOfStep,
}

/// A logged-in connection.
pub struct Connection {
    stream: Stream,
    name: String,
    trace: Option<Trace>,
    renames: Renames,
    login: Option<Login>,
    io_timeout: Duration,
    interrupted: Option<Arc<AtomicBool>>,
    /// When the interrupt was noticed.
    interrupted_at: Option<Instant>,
    limits: Limits,
    inbox: Inbox,
    /// Bytes at the head of the inbox that the last `request` handed out.
    handed_out: usize,
    scanner: Scanner,
    outbox: Vec<u8>,
    end: Option<End>,
    write_error: Option<io::Error>,
    quiet_since: Instant,
    quiet_bytes: usize,
    /// Something was ever received.
    heard: bool,
    last_exchange: Instant,
    last_sent: Instant,
    written_at_end: usize,
    db: u64,
    marks: Marks,
    marks_tried: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("name", &self.name)
            .field("db", &self.db)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// How often an interrupt is looked for while nothing moves.
const NAP: Duration = Duration::from_millis(100);

/// So many received bytes count as progress even if no reply is complete: a server that sends one byte a minute is one
/// that does not answer.
const PROGRESS: usize = 16 * 1024;

/// So many bytes of a request are gathered before they are sent.
const OUTBOX: usize = 256 * 1024;

impl Connection {
    /// Sends one command and waits for its reply.
    ///
    /// An error *reply* is a value here; see [`Connection::expect_ok`].
    ///
    /// # Errors
    /// The connection is or gets lost, times out, or answers nonsense or more than [`Limits::collected`] bytes.
    pub fn request(&mut self, args: &[Arg<'_>]) -> Result<Reply<'_>> {
        self.renew_login()?;
        self.send_request(args)
    }

    /// Whether it is time to log in again ([`Connection::renew_login`]).
    #[must_use]
    #[inline]
    pub fn login_is_due(&self) -> bool {
        self.login.as_ref().is_some_and(Login::is_due)
    }

    /// Logs in again where it is time, with a secret that is read anew: only with nothing under way. Where the secret cannot
    /// be read, the login stays as it is.
    ///
    /// # Errors
    /// As [`Connection::request`]; the server refuses the login, which ends the connection.
    pub fn renew_login(&mut self) -> Result<()> {
        if !self.login_is_due() {
            return Ok(());
        }
        let Some(mut login) = self.login.take() else {
            return Ok(());
        };
        let secret = login.secret();
        let logged_in = match &secret {
            Ok(Some(secret)) => self.log_in(login.user.as_deref(), Some(secret)),
            _ => Ok(()),
        };
        self.login = Some(login);
        secret?;
        logged_in.map_err(|error| self.fail(End::Lost, error))
    }

    fn send_request(&mut self, args: &[Arg<'_>]) -> Result<Reply<'_>> {
        self.begin_request()?;
        self.traced(args);
        let renames = self.renames.clone();
        let renamed = renames.applied(args);
        pack::command(&mut Direct(self), renamed.as_deref().unwrap_or(args))
            .and_then(|()| self.flush_outbox())
            .and_then(|()| self.await_reply())
            .and_then(|scanned| match scanned {
                Scanned::Complete(len) => {
                    self.handed_out = len;
                    Ok(())
                }
                _ => Err(self.fail(
                    End::OutOfStep,
                    nonsense("a reply larger than any asked for", self.inbox.filled()),
                )),
            })?;
        self.reply(self.handed_out)
    }

    /// Tells the trace of a command. What stands behind `AUTH` is nobody's business.
    #[inline]
    pub(super) fn traced(&self, args: &[Arg<'_>]) {
        let Some(trace) = &self.trace else { return };
        let renamed = self.renames.applied(args);
        let sent = renamed.as_deref().unwrap_or(args);
        match (args, sent) {
            ([Arg::Bytes(word), ..], [command, ..]) if word.eq_ignore_ascii_case(b"AUTH") => {
                trace(&[*command, Arg::from("(secret)")]);
            }
            _ => trace(sent),
        }
    }

    /// Like [`Connection::request`], for a reply that may be a string of any size: a large one is written to `sink` as it
    /// comes, in flat memory. `Ok(Ok(bytes))` says how many were written, `Ok(Err(reply))` is any other or smaller reply.
    ///
    /// # Errors
    /// As `request`; and `sink`'s own, which end the connection, since the rest of the string is unread.
    pub fn request_into(
        &mut self,
        args: &[Arg<'_>],
        sink: &mut dyn Write,
    ) -> Result<Result<u64, Reply<'_>>> {
        self.begin_request()?;
        let renames = self.renames.clone();
        let renamed = renames.applied(args);
        pack::command(&mut Direct(self), renamed.as_deref().unwrap_or(args))?;
        self.flush_outbox()?;
        match self.await_reply()? {
            Scanned::LargeBulk { header, length } => {
                self.consume(header);
                self.take_bulk(length, sink)?;
                Ok(Ok(length))
            }
            Scanned::Complete(len) => {
                self.handed_out = len;
                self.reply(len).map(Err)
            }
            Scanned::Incomplete => Err(self.out_of_step("the end of a reply is missing")),
        }
    }

    /// Sends a command that must be answered with `+OK`.
    ///
    /// # Errors
    /// As [`Connection::request`], and any other reply, in the server's words after `what`.
    pub fn expect_ok(&mut self, what: &str, args: &[Arg<'_>]) -> Result<()> {
        let name = self.name.clone();
        match self.request(args)? {
            reply if reply.is_ok() => Ok(()),
            Reply::Error(words) => Err(refused(&name, what, words)),
            other => Err(Error::new(
                ErrorKind::Destination,
                format!("{name}: {what}: unexpected answer, {}", other.shown()),
            )),
        }
    }

    /// Switches to database `db`; sends nothing if it is the current one (`SELECT` is closed at some providers, and 0 is
    /// where every connection starts).
    ///
    /// # Errors
    /// As [`Connection::expect_ok`].
    pub fn select(&mut self, db: u64) -> Result<()> {
        if db != self.db {
            let mut digits = itoa::Buffer::new();
            let number = digits.format(db);
            self.expect_ok(
                &format!("SELECT {db}"),
                &[Arg::from("SELECT"), Arg::from(number)],
            )?;
            self.db = db;
        }
        Ok(())
    }

    /// Proves that the connection is in step: a mark comes back as the very next reply. `false` where this server answers
    /// no kind of mark (see [`Marks`]).
    ///
    /// # Errors
    /// As [`Connection::request`]; out of step.
    pub fn prove(&mut self) -> Result<bool> {
        if !self.marks_tried {
            for kind in [MarkKind::Echo, MarkKind::UnknownCommand] {
                self.marks.set_kind(kind);
                let number = self.send_mark()?;
                if self.mark_came(number)? {
                    self.marks_tried = true;
                    return Ok(true);
                }
                if let Reply::Error(words) = self.reply(self.handed_out)?
                    && is_full(words)
                {
                    return Err(refused(&self.name, "connecting", words).with_hint(FULL));
                }
                // An error is a refusal; anything else is somebody else's reply.
                if !matches!(self.reply(self.handed_out)?, Reply::Error(_)) {
                    return Err(self.out_of_step("a mark was answered by another reply"));
                }
            }
            self.marks.set_kind(MarkKind::None);
            self.marks_tried = true;
        }
        if self.marks.kind() == MarkKind::None {
            return Ok(false);
        }
        let number = self.send_mark()?;
        if self.mark_came(number)? {
            Ok(true)
        } else {
            Err(self.out_of_step("a mark was answered by another reply"))
        }
    }

    fn send_mark(&mut self) -> Result<u64> {
        self.begin_request()?;
        let mut packed = Vec::new();
        let number = self.marks.send(&mut packed)?;
        self.outbox.extend_from_slice(&packed);
        self.flush_outbox()?;
        Ok(number)
    }

    fn mark_came(&mut self, number: u64) -> Result<bool> {
        let Scanned::Complete(len) = self.await_reply()? else {
            return Err(self.out_of_step("a mark was answered by another reply"));
        };
        self.handed_out = len;
        Ok(self.marks.answers(number, &self.reply(len)?))
    }

    /// The address, without its password.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Commands that have other names there.
    #[must_use]
    pub fn renames(&self) -> &Renames {
        &self.renames
    }

    /// The current database.
    #[must_use]
    pub fn db(&self) -> u64 {
        self.db
    }

    /// Why the connection is over, if it is.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Bytes that the last call of [`Connection::exchange`] wrote before it ended in an error: the destination may have got
    /// them.
    #[must_use]
    pub fn written_at_end(&self) -> usize {
        self.written_at_end
    }

    /// For how long nothing was sent. Providers cut idle connections.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.last_sent.elapsed()
    }

    /// The marks of this connection; of kind `None` until [`Connection::prove`] found out which work.
    #[must_use]
    pub fn marks(&mut self) -> Option<&mut Marks> {
        (self.marks_tried && self.marks.kind() != MarkKind::None).then_some(&mut self.marks)
    }

    /// The marks of this connection, to judge replies by.
    #[must_use]
    pub fn marks_sent(&self) -> &Marks {
        &self.marks
    }

    /// What replies may be at most.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    // ---- the raw parts ----

    /// One step in both directions: writes what goes of `out` and receives what is there. If neither moved and `wait` is
    /// given, sleeps until something does. Gives the number of bytes written.
    ///
    /// Before each call all complete replies must have been taken from the inbox: when the server closes, what is then
    /// still there is not looked at.
    ///
    /// # Errors
    /// The connection is over: closed, reset, or timed out.
    pub fn exchange(&mut self, out: [&[u8]; 2], wait: bool) -> Result<usize> {
        self.still_open()?;
        // The caller was elsewhere (a slow disk, a suspended process): that is not the server's silence.
        let now = Instant::now();
        if now.duration_since(self.last_exchange) > Duration::from_secs(1) {
            self.patience();
        }
        self.last_exchange = now;
        let wants_write = out.iter().any(|part| !part.is_empty());
        loop {
            let mut written = 0;
            if wants_write && self.write_error.is_none() {
                match self.stream.try_write(&out.map(IoSlice::new)) {
                    Ok(0) => self.write_error = Some(io::ErrorKind::WriteZero.into()),
                    Ok(count) => written = count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // The server's last words may still be on their way in: read before giving up.
                    Err(error) => self.write_error = Some(error),
                }
            }
            // Whatever comes next: so much is on its way.
            self.written_at_end = written;
            let received = match self.stream.try_read(self.inbox.space(&self.limits)) {
                Ok(0) => {
                    let error = self.write_error.take();
                    return Err(self.lost(error));
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Some(error) = self.write_error.take() {
                        return Err(self.lost(Some(error)));
                    }
                    0
                }
                Err(error) => return Err(self.lost(Some(error))),
            };
            self.last_exchange = Instant::now();
            self.inbox.received(received);
            self.heard |= received > 0;
            self.quiet_bytes = self.quiet_bytes.saturating_add(received);
            if written > 0 {
                self.last_sent = Instant::now();
            }
            if written > 0 || self.quiet_bytes >= PROGRESS {
                self.patience();
            }
            if written > 0 || received > 0 || !wait {
                self.written_at_end = 0;
                return Ok(written);
            }
            let left = self.io_timeout.saturating_sub(self.quiet_since.elapsed());
            if let Some(error) = self.interrupt() {
                return Err(error);
            }
            let nap = match self.interrupted {
                Some(_) => left.min(NAP),
                None => left,
            };
            let moved = !left.is_zero()
                && match self.stream.wait(wants_write, nap) {
                    Ok(moved) => moved || nap < left,
                    Err(error) => return Err(self.lost(Some(error))),
                };
            if !moved {
                let seconds = self.io_timeout.as_secs_f32();
                let doing = if wants_write { "takes" } else { "answers" };
                let name = self.name.clone();
                return Err(self.fail(
                    End::TimedOut,
                    Error::new(
                        ErrorKind::Destination,
                        format!("{name}: the destination {doing} nothing for {seconds} s"),
                    ),
                ));
            }
        }
    }

    /// Nothing moves, and the user wants to stop: a short wait for what is on its way, and then the end.
    fn interrupt(&mut self) -> Option<Error> {
        if !self.interrupted.as_ref()?.load(Ordering::Relaxed) {
            return None;
        }
        let since = *self.interrupted_at.get_or_insert_with(Instant::now);
        let silent = since.elapsed().min(self.quiet_since.elapsed());
        if silent < StreamOptions::LAST_WAIT {
            return None;
        }
        let name = self.name.clone();
        Some(self.fail(
            End::TimedOut,
            Error::new(
                ErrorKind::Interrupted,
                format!("{name}: interrupted while the destination answered nothing"),
            ),
        ))
    }

    /// Starts the I/O time-out anew: to be called where a wait begins, and at each complete reply.
    pub fn patience(&mut self) {
        self.quiet_since = Instant::now();
        self.quiet_bytes = 0;
    }

    /// Looks for a complete reply at the head of the inbox.
    ///
    /// # Errors
    /// Nonsense, or claims over the limits; the connection is over then.
    pub fn scan(&mut self) -> Result<Scanned> {
        match self.scanner.scan(self.inbox.filled(), &self.limits) {
            Ok(scanned) => Ok(scanned),
            Err(error) => {
                let name = self.name.clone();
                let error = Error::new(error.kind(), format!("{name}: {}", error.what()))
                    .with_hint(
                        error
                            .hint()
                            .map_or("the connection was closed".to_owned(), str::to_owned),
                    );
                Err(self.fail(End::OutOfStep, error))
            }
        }
    }

    /// The bytes received and not yet consumed.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        self.inbox.filled()
    }

    /// The reply that [`Connection::scan`] found to be the first `len` bytes.
    ///
    /// # Errors
    /// None for bytes that were scanned.
    pub fn reply(&self, len: usize) -> Result<Reply<'_>> {
        let bytes = self.inbox.filled();
        bytes
            .get(..len)
            .and_then(Reply::parse)
            .ok_or_else(|| nonsense("a reply cannot be read", bytes))
    }

    /// Takes `len` bytes off the inbox.
    pub fn consume(&mut self, len: usize) {
        self.inbox.consume(len);
        self.scanner = Scanner::default();
    }

    /// Receives the `length` bytes of a large bulk (its header is consumed) and the line end, and writes them to `sink`.
    ///
    /// # Errors
    /// As [`Connection::exchange`]; `sink`'s own.
    pub fn take_bulk(&mut self, length: u64, sink: &mut dyn Write) -> Result<()> {
        let mut left = length;
        while left > 0 {
            let filled = self.inbox.filled();
            let take = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(filled.len());
            if take == 0 {
                self.exchange([&[], &[]], true)?;
                continue;
            }
            if let Err(error) = sink.write_all(filled.get(..take).unwrap_or_default()) {
                let error = crate::spool::unwrap_io(error, "a large reply cannot be spooled");
                return Err(self.fail(End::OutOfStep, error));
            }
            self.consume(take);
            left = left.saturating_sub(take as u64);
        }
        while self.inbox.filled().len() < 2 {
            self.exchange([&[], &[]], true)?;
        }
        if !self.inbox.filled().starts_with(b"\r\n") {
            return Err(self.out_of_step("a string does not end where its length says"));
        }
        self.consume(2);
        Ok(())
    }

    /// Ends the connection because its replies do not fit its commands.
    #[cold]
    pub fn out_of_step(&mut self, what: &str) -> Error {
        let name = self.name.clone();
        let seen = self.inbox.filled();
        let seen = Escaped(seen.get(..64).unwrap_or(seen)).to_string();
        self.fail(
            End::OutOfStep,
            Error::new(
                ErrorKind::Destination,
                format!("{name}: replies do not fit the commands sent ({what}); next bytes {seen}"),
            )
            .with_hint("something between here and the server drops, repeats or reorders replies"),
        )
    }

    /// Ends the connection because the reply of `len` bytes came before its command was sent whole: the server refuses
    /// the rest of it. (What is sent of it cannot be taken back.)
    #[cold]
    pub fn premature(&mut self, len: usize) -> Error {
        let words = match self.reply(len) {
            Ok(Reply::Error(words)) => Escaped(words).to_string(),
            Ok(other) => other.shown(),
            Err(_) => String::new(),
        };
        let name = self.name.clone();
        let mut error = Error::new(
            ErrorKind::Destination,
            format!("{name}: the destination refused a command before it was sent whole: {words}"),
        );
        if words.contains("invalid bulk length") {
            error = error
                .with_hint("raise proto-max-bulk-len there, or leave the key out with --max-size");
        }
        self.fail(End::Lost, error)
    }

    #[cold]
    fn fail(&mut self, end: End, error: Error) -> Error {
        self.end.get_or_insert(end);
        self.stream.shut_down();
        error
    }

    #[cold]
    fn lost(&mut self, cause: Option<io::Error>) -> Error {
        let cut = if self.inbox.filled().is_empty() {
            ""
        } else {
            " in the middle of a reply"
        };
        let error = Error::new(
            ErrorKind::Destination,
            match cause {
                None => format!("{}: the destination closed the connection{cut}", self.name),
                Some(_) => format!("{}: the connection was lost{cut}", self.name),
            },
        );
        let error = match cause {
            Some(cause) => error.with_source(cause),
            None => error,
        };
        // What speaks TLS alone closes without a word.
        let error = match self.heard || self.stream.is_encrypted() {
            true => error,
            false => error.with_hint(
                "it said nothing at all: does a Redis-compatible server listen there, and does it want TLS (rediss://)?",
            ),
        };
        self.fail(End::Lost, error)
    }

    fn still_open(&self) -> Result<()> {
        match self.end {
            None => Ok(()),
            Some(_) => Err(Error::new(
                ErrorKind::Destination,
                format!("{}: the connection is over", self.name),
            )),
        }
    }

    // ---- requests ----

    /// Nothing is under way: takes the reply that was handed out last off the inbox, and starts the time-out anew.
    pub(super) fn begin_request(&mut self) -> Result<()> {
        self.still_open()?;
        let handed_out = std::mem::take(&mut self.handed_out);
        self.consume(handed_out);
        if !self.inbox.filled().is_empty() {
            return Err(self.out_of_step("a reply that nobody asked for"));
        }
        self.outbox.clear();
        self.patience();
        Ok(())
    }

    /// Sends the outbox, then `piece`.
    fn send_all(&mut self, piece: &[u8]) -> Result<()> {
        let outbox = std::mem::take(&mut self.outbox);
        let mut parts = [outbox.as_slice(), piece];
        let mut result = Ok(());
        while parts.iter().any(|part| !part.is_empty()) {
            match self.exchange(parts, true) {
                Ok(written) => advance(&mut parts, written),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            if parts.iter().all(|part| part.is_empty()) || self.inbox.filled().is_empty() {
                continue;
            }
            // A reply before the command is whole: the server refuses the rest and is about to close.
            match self.scan() {
                Ok(Scanned::Complete(len)) => {
                    result = Err(self.premature(len));
                    break;
                }
                Ok(_) => {}
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.outbox = outbox;
        self.outbox.clear();
        result
    }

    fn flush_outbox(&mut self) -> Result<()> {
        self.send_all(&[])
    }

    fn await_reply(&mut self) -> Result<Scanned> {
        loop {
            match self.scan()? {
                Scanned::Incomplete => {
                    self.exchange([&[], &[]], true)?;
                }
                found => return Ok(found),
            }
        }
    }

    fn log_in(&mut self, user: Option<&str>, secret: Option<&Secret>) -> Result<()> {
        let name = self.name.clone();
        let Some(secret) = secret else {
            if let Some(user) = user {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!(
                        "{name}: the address names the user {user:?}, and there is no password"
                    ),
                ));
            }
            return Ok(());
        };
        let password = Arg::Bytes(secret.reveal());
        let reply = match user {
            Some(user) => self.send_request(&[Arg::from("AUTH"), Arg::from(user), password])?,
            None => self.send_request(&[Arg::from("AUTH"), password])?,
        };
        match reply {
            reply if reply.is_ok() => Ok(()),
            // A server that does not know AUTH repeats its arguments.
            Reply::Error(words) => {
                Err(refused(&name, "login refused", &scrubbed(words, secret)).with_hint(
                    if words.starts_with(b"ERR wrong number of arguments") {
                        "the destination knows no user names (Redis before 6.0): leave the user out of the address"
                    } else if words.starts_with(b"ERR Client sent AUTH")
                        || words.starts_with(b"ERR AUTH <password> called without")
                    {
                        "the destination has no password: leave it out"
                    } else if is_full(words) {
                        FULL
                    } else {
                        "check user and password"
                    },
                ))
            }
            _ => Err(self.out_of_step("the login was answered by neither OK nor an error")),
        }
    }
}

/// A server that has as many clients as it takes says so to whatever comes first, and closes.
pub(crate) fn is_full(words: &[u8]) -> bool {
    words.starts_with(b"ERR max number of clients")
}

/// What helps there.
pub(crate) const FULL: &str =
    "use fewer --connections, close other clients, or raise maxclients there";

/// Takes `written` bytes off the front of `parts`.
pub(crate) fn advance(parts: &mut [&[u8]; 2], written: usize) {
    let mut left = written;
    for part in parts {
        let here = left.min(part.len());
        *part = part.get(here..).unwrap_or_default();
        left = left.saturating_sub(here);
    }
}

fn scrubbed(words: &[u8], secret: &Secret) -> Vec<u8> {
    let secret = secret.reveal();
    let mut rest = words;
    let mut out = Vec::with_capacity(words.len());
    while let Some((&first, tail)) = rest.split_first() {
        if !secret.is_empty()
            && let Some(after) = rest.strip_prefix(secret)
        {
            out.extend_from_slice(b"***");
            rest = after;
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

/// The error for a refusal, in the server's own words.
#[cold]
fn refused(name: &str, what: &str, words: &[u8]) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("{name}: {what}: the server says {}", Escaped(words)),
    )
}

/// Packs a request into the connection's outbox; large pieces go straight to the socket.
struct Direct<'c>(&'c mut Connection);

impl Out for Direct<'_> {
    fn copy(&mut self, bytes: &[u8]) {
        self.0.outbox.extend_from_slice(bytes);
    }

    fn large(&mut self, piece: &[u8]) -> Result<()> {
        self.0.send_all(piece)
    }

    fn between(&mut self) -> Result<()> {
        if self.0.outbox.len() >= OUTBOX {
            self.0.send_all(&[])?;
        }
        Ok(())
    }
}

/// The receive buffer: received bytes stand in `start..end`.
#[derive(Debug, Default)]
struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// One read's worth, and the size that the buffer falls back to.
    const READ: usize = 64 * 1024;

    fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    fn consume(&mut self, len: usize) {
        self.start = self.start.saturating_add(len).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > 4 * Self::READ {
                self.bytes = Vec::new();
            }
        }
    }

    /// Room for a read, never none: what is there is moved to the front first, then the buffer grows, up to one collected
    /// reply and one read (the scanner ends the connection before more is needed).
    fn space(&mut self, limits: &Limits) -> &mut [u8] {
        if self.start > 0 && self.bytes.len().saturating_sub(self.end) < Self::READ / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end = self.end.saturating_sub(self.start);
            self.start = 0;
        }
        let wanted = self.end.saturating_add(Self::READ / 2);
        if self.bytes.len() < wanted {
            let most = limits
                .collected
                .saturating_add(limits.line)
                .saturating_add(Self::READ);
            let grown = self.bytes.len().saturating_mul(2).clamp(Self::READ, most);
            self.bytes.resize(grown.max(wanted), 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    fn received(&mut self, len: usize) {
        self.end = self.end.saturating_add(len).min(self.bytes.len());
    }
}

/// So that the `redis` crate's commands, values and conversions work over our stream.
impl redis::ConnectionLike for Connection {
    fn req_packed_command(&mut self, cmd: &[u8]) -> redis::RedisResult<redis::Value> {
        let mut values = self.req_packed_commands(cmd, 0, 1)?;
        values
            .pop()
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "no reply").into())
    }

    fn req_packed_commands(
        &mut self,
        cmd: &[u8],
        offset: usize,
        count: usize,
    ) -> redis::RedisResult<Vec<redis::Value>> {
        let run = |connection: &mut Self| -> Result<Vec<redis::RedisResult<redis::Value>>> {
            connection.begin_request()?;
            let mut parts = [cmd, &[][..]];
            let mut values = Vec::new();
            let total = offset.saturating_add(count);
            while values.len() < total || !parts.iter().all(|part| part.is_empty()) {
                match connection.scan()? {
                    Scanned::Complete(len) if values.len() < total => {
                        let bytes = connection.inbox.filled().get(..len).unwrap_or_default();
                        values.push(redis::parse_redis_value(bytes));
                        connection.consume(len);
                        connection.patience();
                    }
                    Scanned::Incomplete => {
                        let written = connection.exchange(parts, true)?;
                        advance(&mut parts, written);
                    }
                    _ => {
                        return Err(connection.out_of_step("a reply larger than any asked for"));
                    }
                }
            }
            Ok(values)
        };
        run(self)
            .map_err(|error| redis::RedisError::from(io::Error::other(error)))?
            .into_iter()
            .skip(offset)
            .collect()
    }

    fn get_db(&self) -> i64 {
        i64::try_from(self.db).unwrap_or(i64::MAX)
    }

    fn check_connection(&mut self) -> bool {
        matches!(
            self.request(&[Arg::from("PING")]),
            Ok(Reply::Simple(b"PONG"))
        )
    }

    fn is_open(&self) -> bool {
        self.end.is_none()
    }
}
