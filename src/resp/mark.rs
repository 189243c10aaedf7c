//! Marks: commands whose reply nobody else can get, so that a reply proves its own place in the stream.
//!
//! Replies carry no number. If a proxy or a bug drops, doubles or reorders one, every later reply is tied to the wrong
//! command, and a stream of `+OK` does not show it. A mark does: `ECHO` of a text that is used once. A user who may only
//! `RESTORE` is refused `ECHO` in words that are the same each time; there a command *name* that is used once serves,
//! since a server repeats the name of a command that it does not know, and does so before it asks for permissions.
//!
//! What marks cannot show: two replies *between* the same two marks that changed places. Where all of them are alike, that
//! changes nothing; where they are not, whoever reads them has to look closer.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};

use super::pack::{self, Arg, Out};
use super::reply::Reply;
use crate::error::Result;

/// How this server can be made to answer a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkKind {
    /// `ECHO text`.
    Echo,
    /// The text as the name of an unknown command.
    UnknownCommand,
    /// Neither works here: places cannot be proven.
    None,
}

/// The marks of one connection.
#[derive(Debug)]
pub struct Marks {
    nonce: u64,
    next: u64,
    kind: MarkKind,
}

impl Marks {
    /// Marks of a kind, different from those of every other connection.
    #[must_use]
    pub fn new(kind: MarkKind) -> Self {
        Self {
            nonce: RandomState::new().build_hasher().finish(),
            next: 0,
            kind,
        }
    }

    /// The kind in use.
    #[must_use]
    pub fn kind(&self) -> MarkKind {
        self.kind
    }

    pub(super) fn set_kind(&mut self, kind: MarkKind) {
        self.kind = kind;
    }

    /// Writes the next mark's command and gives its number.
    ///
    /// # Errors
    /// What `out` ends in.
    pub fn send(&mut self, out: &mut impl Out) -> Result<u64> {
        let number = self.next;
        self.next = number.wrapping_add(1);
        let text = self.text(number);
        match self.kind {
            MarkKind::Echo | MarkKind::None => {
                pack::command(out, &[Arg::from("ECHO"), Arg::from(text.as_str())])?;
            }
            MarkKind::UnknownCommand => pack::command(out, &[Arg::from(text.as_str())])?,
        }
        Ok(number)
    }

    /// Whether `reply` is the answer to mark `number` and to nothing else.
    #[must_use]
    pub fn answers(&self, number: u64, reply: &Reply<'_>) -> bool {
        let text = self.text(number);
        match (self.kind, reply) {
            (MarkKind::Echo, Reply::Bulk(bytes)) => *bytes == text.as_bytes(),
            (MarkKind::UnknownCommand, Reply::Error(words)) => contains(words, text.as_bytes()),
            _ => false,
        }
    }

    /// Whether `reply` answers some mark of this connection: where none is due, the streams are out of step.
    #[must_use]
    pub fn is_mark(&self, reply: &Reply<'_>) -> bool {
        let prefix = format!("rdbridge-{:016x}-", self.nonce);
        match reply {
            Reply::Bulk(bytes) => bytes.starts_with(prefix.as_bytes()),
            Reply::Error(words) => contains(words, prefix.as_bytes()),
            _ => false,
        }
    }

    /// Without the last letter, number 1 would be found in number 12.
    fn text(&self, number: u64) -> String {
        format!("rdbridge-{:016x}-{number}x", self.nonce)
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_answered_by_its_own_text_only() {
        let mut marks = Marks::new(MarkKind::Echo);
        let mut out = Vec::new();
        let first = marks.send(&mut out).unwrap();
        let second = marks.send(&mut out).unwrap();
        let text = marks.text(first);
        assert!(marks.answers(first, &Reply::Bulk(text.as_bytes())));
        assert!(!marks.answers(second, &Reply::Bulk(text.as_bytes())));
        assert!(marks.is_mark(&Reply::Bulk(text.as_bytes())));
        assert!(!marks.answers(first, &Reply::Simple(b"OK")));
        let other = Marks::new(MarkKind::Echo);
        assert!(!other.is_mark(&Reply::Bulk(text.as_bytes())));
        let mut named = Marks::new(MarkKind::UnknownCommand);
        let number = named.send(&mut out).unwrap();
        let words = format!("ERR unknown command '{}', with args", named.text(number));
        assert!(named.answers(number, &Reply::Error(words.as_bytes())));
        assert!(!named.answers(number, &Reply::Error(b"NOPERM x")));
    }
}
