//! What the destination lets us ask, found out with a key that does not exist.

use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::resp::{Arg, Connection, Reply};

/// Commands that not every server knows and not every user may run, and its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each one is a command that is open to us or not"
)]
pub struct Abilities {
    /// `DUMP` is open to us.
    pub dump: bool,
    /// `PEXPIRETIME` (7.0).
    pub pexpiretime: bool,
    /// `SMISMEMBER` (6.2).
    pub smismember: bool,
    /// `ZMSCORE` (6.2).
    pub zmscore: bool,
    /// `HPEXPIRETIME` (Redis 7.4, Valkey 9.0).
    pub hpexpiretime: bool,
    /// The destination's clock less ours, milliseconds.
    pub clock_ahead_ms: i64,
    /// By how much expiries may differ, milliseconds.
    pub ttl_tolerance_ms: i64,
}

impl Abilities {
    /// Asks. `sample` is the name of a key that we may read; the key that is asked for has a longer name, so that nothing is
    /// read, and a permission for names that begin so is enough.
    ///
    /// # Errors
    /// The connection fails; `Destination` where the destination does not let us read at all.
    pub fn ask(
        connection: &mut Connection,
        sample: &[u8],
        clock_ahead_ms: i64,
        ttl_tolerance_ms: i64,
    ) -> Result<Self> {
        if let Some(command) = Self::lacking(connection, sample)? {
            return Err(Error::new(
                ErrorKind::Destination,
                format!("the destination does not let us run {command}"),
            )
            .with_hint("the user needs the right to read (ACL SETUSER … +@read)"));
        }
        let nothing = [sample, b"~rdbridge~nothing"].concat();
        let key = Arg::Bytes(&nothing);
        let mut knows = |args: &[Arg<'_>]| is_open(connection, args);
        Ok(Self {
            dump: knows(&[Arg::from("DUMP"), key])?,
            pexpiretime: knows(&[Arg::from("PEXPIRETIME"), key])?,
            smismember: knows(&[Arg::from("SMISMEMBER"), key, Arg::from("m")])?,
            zmscore: knows(&[Arg::from("ZMSCORE"), key, Arg::from("m")])?,
            hpexpiretime: knows(&[
                Arg::from("HPEXPIRETIME"),
                key,
                Arg::from("FIELDS"),
                Arg::from("1"),
                Arg::from("f"),
            ])?,
            clock_ahead_ms,
            ttl_tolerance_ms,
        })
    }
}

impl Abilities {
    /// The first command that is closed to us of those without which nothing can be compared. `sample` as for
    /// [`Abilities::ask`].
    ///
    /// # Errors
    /// The connection fails.
    pub fn lacking(connection: &mut Connection, sample: &[u8]) -> Result<Option<&'static str>> {
        let nothing = [sample, b"~rdbridge~nothing"].concat();
        for command in ["TYPE", "PTTL"] {
            if !is_open(connection, &[Arg::from(command), Arg::Bytes(&nothing)])? {
                return Ok(Some(command));
            }
        }
        Ok(None)
    }
}

fn is_open(connection: &mut Connection, args: &[Arg<'_>]) -> Result<bool> {
    Ok(match connection.request(args)? {
        Reply::Error(words) => !is_closed(words)?,
        _ => true,
    })
}

/// Whether a command is not known, or not ours to run. That a *key* is closed says nothing of the command.
fn is_closed(words: &[u8]) -> Result<bool> {
    let text = String::from_utf8_lossy(words).to_ascii_lowercase();
    if text.starts_with("err unknown command") || text.starts_with("err unknown subcommand") {
        return Ok(true);
    }
    if text.starts_with("noperm") {
        return Ok(text.contains("command"));
    }
    const OF_THE_SERVER: [&str; 6] = [
        "noauth",
        "loading",
        "busy ",
        "masterdown",
        "clusterdown",
        "tryagain",
    ];
    if OF_THE_SERVER.iter().any(|begin| text.starts_with(begin)) {
        return Err(Error::new(
            ErrorKind::Destination,
            format!("the destination says {}", Escaped(words)),
        ));
    }
    // Providers word their refusals as they like; a key's own state is never in the way, since it does not exist.
    Ok(!text.starts_with("moved") && !text.starts_with("ask ") && !text.starts_with("wrongtype"))
}

/// Asks the server not to count what this connection reads as accesses (7.2): idle times and frequencies stay as they are.
/// `false` where it does not.
///
/// # Errors
/// The connection fails.
pub fn no_touch(connection: &mut Connection) -> Result<bool> {
    Ok(connection
        .request(&[Arg::from("CLIENT"), Arg::from("NO-TOUCH"), Arg::from("ON")])?
        .is_ok())
}
