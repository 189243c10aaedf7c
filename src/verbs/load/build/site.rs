//! A connection on which values are written: commands go out as long as few bytes are unanswered, and each reply is tied to the
//! value that it belongs to.

use std::collections::VecDeque;

use crate::error::Result;
use crate::resp::{Arg, Connection, Talk, Token};
use crate::value::commands::Command;

/// Bytes of commands that may be unanswered. A server works on them one by one, so others wait for one command at the most.
const BYTES: u64 = 1 << 20;

/// Commands that may be unanswered.
const COMMANDS: usize = 1024;

/// What the destination said to a command, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// `+OK` or another word.
    Ok,
    Nil,
    Number(i64),
    /// A text or a list.
    More,
    Error(Vec<u8>),
}

/// A connection, and whose replies are due.
pub(super) struct Site<'c> {
    pub(super) talk: Talk<'c>,
    due: VecDeque<(usize, u64)>,
    bytes: u64,
    /// Commands that may be unanswered.
    most: usize,
}

/// Takes the replies, each with the number of its value.
pub(super) trait Hears {
    /// A command of value `of` was answered.
    fn heard(&mut self, of: usize, said: Said);
}

impl<'c> Site<'c> {
    /// Takes a connection that has nothing under way. `most` commands may be unanswered at a time, if there is a bound.
    pub(super) fn new(connection: &'c mut Connection, most: Option<usize>) -> Result<Self> {
        Ok(Self {
            talk: Talk::new(connection)?,
            due: VecDeque::new(),
            bytes: 0,
            most: most.unwrap_or(COMMANDS).clamp(1, COMMANDS),
        })
    }

    /// Goes to a database: everything is answered first.
    pub(super) fn select(&mut self, db: u64, ears: &mut impl Hears) -> Result<()> {
        if db == self.talk.db() {
            return Ok(());
        }
        self.drain(ears)?;
        self.talk.select(db)
    }

    /// Sends a command of short arguments for value `of`.
    pub(super) fn command(
        &mut self,
        of: usize,
        args: &[&[u8]],
        ears: &mut impl Hears,
    ) -> Result<()> {
        self.talk.command(args)?;
        let bytes = args.iter().map(|arg| arg.len() as u64).sum();
        self.sent(of, bytes, ears)
    }

    /// Sends a command of value `of`, with `more` arguments behind its own.
    pub(super) fn write(
        &mut self,
        of: usize,
        command: &Command<'_>,
        more: &[&[u8]],
        ears: &mut impl Hears,
    ) -> Result<()> {
        self.talk
            .begin(command.argc().saturating_add(more.len() as u64));
        let mut text = itoa::Buffer::new();
        for arg in command.args() {
            match arg.short(&mut text) {
                Some(bytes) => self.talk.arg(bytes)?,
                None => {
                    self.talk.begin_arg(arg.len());
                    arg.write_to(|piece| self.talk.arg_piece(piece))?;
                    self.talk.end_arg()?;
                }
            }
        }
        for arg in more {
            self.talk.arg(arg)?;
        }
        self.sent(of, command.bytes(), ears)
    }

    /// Sends a command whose arguments may be large, for value `of`.
    pub(super) fn args(
        &mut self,
        of: usize,
        args: &[Arg<'_>],
        ears: &mut impl Hears,
    ) -> Result<()> {
        self.talk.begin(args.len() as u64);
        for arg in args {
            match arg {
                Arg::Bytes(bytes) => self.talk.arg(bytes)?,
                Arg::Pieces(pieces) => {
                    self.talk.begin_arg(arg.len() as u64);
                    for piece in *pieces {
                        self.talk.arg_piece(piece)?;
                    }
                    self.talk.end_arg()?;
                }
            }
        }
        let bytes = args.iter().map(|arg| arg.len() as u64).sum();
        self.sent(of, bytes, ears)
    }

    fn sent(&mut self, of: usize, bytes: u64, ears: &mut impl Hears) -> Result<()> {
        self.due.push_back((of, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        if self.due.len() < self.most && self.bytes < BYTES {
            return Ok(());
        }
        if self.talk.login_is_due() {
            self.drain(ears)?;
            return self.talk.renew_login();
        }
        // Half of it stays under way, so that neither side waits for the other.
        self.talk.flush()?;
        while self.due.len() > self.most / 2 || self.bytes > BYTES / 2 {
            self.take_one(ears)?;
        }
        Ok(())
    }

    /// Takes all replies that are due.
    pub(super) fn drain(&mut self, ears: &mut impl Hears) -> Result<()> {
        self.talk.flush()?;
        while !self.due.is_empty() {
            self.take_one(ears)?;
        }
        self.talk.finish()
    }

    fn take_one(&mut self, ears: &mut impl Hears) -> Result<()> {
        let Some((of, bytes)) = self.due.pop_front() else {
            return Ok(());
        };
        self.bytes = self.bytes.saturating_sub(bytes);
        let said = match self.talk.token()? {
            Token::Simple(_) => Said::Ok,
            Token::Error(words) => Said::Error(words.to_vec()),
            Token::Integer(number) => Said::Number(number),
            Token::Nil => Said::Nil,
            Token::Text(_) => Said::More,
            Token::Array(elements) => {
                self.talk.skip_replies(elements)?;
                Said::More
            }
        };
        ears.heard(of, said);
        Ok(())
    }

    /// Proves that all replies so far were those of their commands.
    pub(super) fn prove(&mut self, ears: &mut impl Hears) -> Result<()> {
        self.drain(ears)?;
        match self.talk.mark()? {
            Some(number) => {
                self.talk.flush()?;
                self.talk.expect_mark(number)
            }
            None => Ok(()),
        }
    }
}
