//! Values that are read with nothing else under way: large ones window by window, and what only a payload of any size shows.

use std::collections::VecDeque;

use super::comparer::{Bench, Comparer, Look};
use super::dump::{self, Decoders};
use super::found::{Spot, What};
use super::replies::{
    Head, PAYLOAD, cardinality, differs, expiry_command, is_local, refusal, unreadable,
    unreadable_name,
};
use super::typed::{self, Judged};
use super::walk::Walk;
use super::{Bookkeeping, Verdict, Wanted, now_ms, stream};
use crate::error::Result;
use crate::name_room::NameRoom;
use crate::resp::Token;
use crate::snapshot::{Dialect, Entry, Kind, ValueType};
use crate::spool::Spool;
use crate::value::Element;
use crate::wire::{Cursor, Str};

/// Bytes of one range of a long string.
const RANGE: u64 = 256 * 1024;

impl<'data, T> Comparer<'_, 'data, T> {
    pub(super) fn alone(&mut self, wanted: Wanted<'data>, ticket: T) -> Result<()> {
        match self.alone_verdict(&wanted) {
            Ok(verdict) => self.judged.push_back((wanted, ticket, verdict)),
            // Values are walked before what they lead to is asked: nothing is due.
            Err(error) if is_local(&error) => {
                self.judged.push_back((wanted, ticket, unreadable(&error)));
            }
            Err(error) => {
                self.closer.push_back((wanted, ticket, Look::ByType));
                return Err(error);
            }
        }
        self.since_mark = self.since_mark.saturating_add(1);
        Ok(())
    }

    fn alone_verdict(&mut self, wanted: &Wanted<'data>) -> Result<Verdict> {
        let entry = &wanted.entry;
        let mut room = NameRoom::new(Some(&self.bench.spool_dir));
        let names = &self.bench.transform.names;
        let key = match names.in_room(entry.db, &entry.key, &mut room) {
            Ok(key) => key,
            Err(error) => return Ok(unreadable_name(&error)),
        };
        let asked_at_ms = self.asked_at_ms();
        self.talk.command(&[b"TYPE", key])?;
        self.talk.command(&[cardinality(entry), key])?;
        self.talk.command(&[expiry_command(self.abilities), key])?;
        self.talk.flush()?;
        let head = self.head(asked_at_ms)?;
        let mut judged = Judged::default();
        let mut books = Bookkeeping::default();
        if !head.is(entry) {
            return self.conclude(wanted, &head, judged, books);
        }
        let kind = entry.type_info().map(|info| info.kind);
        let by_dump = matches!(kind, Some(Kind::Module | Kind::Array))
            || is_path_hash(entry)
            || self.abilities.dump && (is_newer_stream(entry) || entry.key_meta.is_some());
        if by_dump && let Some(verdict) = self.spooled(wanted, key)? {
            return self.conclude_value(wanted, &head, verdict);
        }
        let now = now_ms().saturating_add(self.abilities.clock_ahead_ms);
        match kind {
            Some(Kind::String) => self.ranges(entry, key, &head, &mut judged)?,
            Some(Kind::Stream) => {
                stream::readable(&mut self.bench.decoders.mine, entry)?;
                books = stream::compare(
                    &mut self.talk,
                    key,
                    entry,
                    &mut self.bench.decoders,
                    &mut judged,
                )?;
            }
            Some(Kind::Module | Kind::Array) => judged.refuse(b"its payload cannot be read"),
            _ if is_path_hash(entry) => judged.refuse(b"its payload cannot be read"),
            _ => self.windows(entry, key, now, &mut judged)?,
        }
        self.conclude(wanted, &head, judged, books)
    }

    /// A collection, window by window.
    fn windows(
        &mut self,
        entry: &Entry<'_>,
        key: &[u8],
        now_ms: i64,
        judged: &mut Judged,
    ) -> Result<()> {
        /// What may be under way for one key.
        const UNDER_WAY: u64 = 512 * 1024;
        let Bench {
            decoders: Decoders { mine, theirs, .. },
            gathered,
            times,
            ..
        } = &mut *self.bench;
        let (Some(mut ahead), Some(mut own)) = (
            Walk::of(theirs.decode(entry)?),
            Walk::of(mine.decode(entry)?),
        ) else {
            judged.refuse(b"no reader for its type");
            return Ok(());
        };
        let mut windows: VecDeque<typed::Window> = VecDeque::new();
        let (mut at, mut ended, mut bytes) = (0u64, false, 0u64);
        let mut failed = None;
        loop {
            while !ended && !judged.is_over() && bytes < UNDER_WAY {
                match typed::ask(
                    &mut self.talk,
                    gathered,
                    self.abilities,
                    key,
                    &mut ahead,
                    &mut at,
                ) {
                    Ok(window) => {
                        ended = window.last;
                        bytes = bytes.saturating_add(window.bytes);
                        windows.push_back(window);
                    }
                    Err(error) if is_local(&error) => {
                        ended = true;
                        failed = Some(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            self.talk.flush()?;
            let Some(window) = windows.pop_front() else {
                break;
            };
            bytes = bytes.saturating_sub(window.bytes);
            if judged.refused.is_some() {
                self.talk.skip_replies(window.replies)?;
                continue;
            }
            typed::judge(
                &mut self.talk,
                self.abilities,
                &mut own,
                &window,
                now_ms,
                times,
                judged,
            )?;
        }
        if !ended {
            judged.found.more = true;
        }
        failed.map_or(Ok(()), Err)
    }

    /// A long string, range by range.
    fn ranges(
        &mut self,
        entry: &Entry<'_>,
        key: &[u8],
        head: &Head,
        judged: &mut Judged,
    ) -> Result<()> {
        let string = Str::read(&mut Cursor::new(entry.value, entry.value_offset))?;
        let element = Element::of(string, &mut self.bench.text)?;
        // Read once before anything is asked: in the middle of a reply nothing can be given up.
        element.write_to(|_| Ok(()))?;
        let len = element.len();
        judged.elements = len;
        if head.card != Some(len) {
            return Ok(());
        }
        let mut bytes = super::bytes::Bytes::of(&element);
        let (mut asked, mut at) = (0u64, 0u64);
        while at < len {
            while asked < len && asked.saturating_sub(at) < RANGE.saturating_mul(4) {
                let end = asked.saturating_add(RANGE).min(len);
                self.talk.begin(4);
                self.talk.arg(b"GETRANGE")?;
                self.talk.arg(key)?;
                self.talk.arg_number(asked)?;
                self.talk.arg_number(end.saturating_sub(1))?;
                asked = end;
            }
            self.talk.flush()?;
            let length = at.saturating_add(RANGE).min(len).saturating_sub(at);
            let mut position = at;
            match self.talk.token()? {
                Token::Text(there) if there == length => {
                    while let Some(piece) = self.talk.piece()? {
                        if judged.found.is_empty()
                            && let Some(differs) = bytes.differs(piece)?
                        {
                            let differs = position.saturating_add(differs);
                            judged.found.add(
                                What::Value,
                                Spot::Byte(differs),
                                format!("byte {differs} of {len} differs"),
                            );
                        }
                        position = position.saturating_add(piece.len() as u64);
                    }
                }
                Token::Text(_) | Token::Nil => {
                    judged.refuse(b"it changed while it was read");
                }
                Token::Error(words) => judged.refuse(words),
                _ => {
                    return Err(self
                        .talk
                        .out_of_step("a text was asked for, and something else came"));
                }
            }
            at = at.saturating_add(length);
            if !judged.found.is_empty() || judged.refused.is_some() {
                // What was asked for comes all the same.
                let left = asked.saturating_sub(at).div_ceil(RANGE);
                return self.talk.skip_replies(left);
            }
        }
        Ok(())
    }

    /// A payload of any size.
    fn spooled(&mut self, wanted: &Wanted<'_>, key: &[u8]) -> Result<Option<Verdict>> {
        self.talk.command(&[b"DUMP", key])?;
        self.talk.flush()?;
        let length = match self.talk.token()? {
            Token::Text(length) => length,
            Token::Nil => return Ok(Some(Verdict::Missing)),
            Token::Error(words) => return refusal(words).map(Some),
            _ => {
                return Err(self
                    .talk
                    .out_of_step("a payload was asked for, and something else came"));
            }
        };
        let own = wanted.entry.value.len() as u64;
        if length > own.saturating_mul(2).saturating_add(PAYLOAD) {
            self.talk.finish()?;
            return Ok(Some(differs(
                What::Value,
                format!("{own} bytes in the file, a payload of {length} at the destination"),
            )));
        }
        let mut spool = Spool::create(&self.bench.spool_dir, Some(length))?;
        while let Some(piece) = self.talk.piece()? {
            spool.append(piece)?;
        }
        let payload = spool.finish()?;
        let now = now_ms().saturating_add(self.abilities.clock_ahead_ms);
        dump::judge(wanted, &payload, &mut self.bench.decoders, now)
    }
}

pub(super) fn is_path_hash(entry: &Entry<'_>) -> bool {
    entry.value_type == ValueType::PATH_HASH && entry.dialect == Dialect::Valkey
}

/// Streams that may hold what no command shows.
fn is_newer_stream(entry: &Entry<'_>) -> bool {
    entry.dialect == Dialect::Redis
        && matches!(
            entry.value_type,
            ValueType::STREAM_LISTPACKS_4 | ValueType::STREAM_LISTPACKS_5
        )
}
