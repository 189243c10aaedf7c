//! What a user may do, tried without storing anything.

use super::reaction::{Asked, Reaction, Situation, react};
use crate::error::{Escaped, Result};
use crate::resp::{Arg, Connection};

/// A payload that no server takes: shorter than any footer, so that none looks into it.
pub const NO_PAYLOAD: &[u8] = b"x";

/// A name that no pattern for the keys of some application should admit.
const STRANGE: &[u8] = b"~rdbridge~whose~";

/// Why no function library can be loaded, in the server's words: asked with a library without source, which is refused by whoever
/// may load one.
///
/// # Errors
/// The connection fails.
pub fn functions_closed(connection: &mut Connection) -> Result<Option<String>> {
    let reply = connection.request(&["FUNCTION", "LOAD", ""].map(Arg::from))?;
    let closed = react(&reply, Asked::Restore, Situation::default()) == Reaction::RoadClosed;
    let words = reply.error().filter(|_| closed);
    Ok(words.map(|words| Escaped(words).to_string()))
}

/// Whether the user may write some names only (an ACL key pattern), as far as that can be found out with `RESTORE`.
///
/// # Errors
/// The connection fails.
pub fn has_key_patterns(connection: &mut Connection) -> Result<bool> {
    let reply = connection.request(&[
        Arg::from("RESTORE"),
        Arg::Bytes(STRANGE),
        Arg::from("0"),
        Arg::Bytes(NO_PAYLOAD),
    ])?;
    let says_key = reply
        .error()
        .is_some_and(|words| words.starts_with(b"NOPERM"));
    Ok(says_key && react(&reply, Asked::Restore, Situation::default()) == Reaction::KeyFails)
}
