//! A stream's consumer groups: pending entries, consumers with what they own, nacked entries.
//!
//! # Bytes
//! * name, last ID, from form 2 on entries read (−1: unknown);
//! * count of pending entries; 16 bytes of ID (big endian), 8 bytes of delivery time, a count of deliveries for each;
//! * count of consumers; name, 8 bytes of seen time, from form 3 on 8 bytes of active time (−1: never), count of owned
//!   entries, 16 bytes of ID for each;
//! * in form 5: count of nacked entries, 16 bytes of ID for each.
//!
//! A consumer has only IDs; time and count of deliveries stand in the group's list. They are looked up there, by an index of
//! bounded size over a list that rises.

use super::decoder::{Part, expect_end};
use super::element::Element;
use super::findings::{Finding, Findings, Rule};
use super::stream::{Phase, Stream, StreamId};
use crate::error::{Place, Result};
use crate::wire::{Cursor, Str, length};

/// A consumer group.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// Its name.
    pub name: Element<'a>,
    /// The last ID that was delivered.
    pub last_id: StreamId,
    /// How many entries it has read; `None` where it is unknown or the form does not say.
    pub entries_read: Option<u64>,
    /// How many entries are pending, as claimed.
    pub pending: u64,
    pub(super) position: u64,
}

/// An entry that was delivered and not acknowledged. Its ID need not exist in the stream any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Its ID.
    pub id: StreamId,
    /// When it was delivered last, in milliseconds of Unix time.
    pub delivered_at_ms: i64,
    /// How often it was delivered.
    pub delivery_count: u64,
    /// Its number in the group's list, from 0.
    pub index: u64,
}

/// A consumer of a group.
#[derive(Debug, Clone, Copy)]
pub struct Consumer<'a> {
    /// Its name.
    pub name: Element<'a>,
    /// When it was heard of last, in milliseconds of Unix time.
    pub seen_at_ms: i64,
    /// When it last got or acknowledged something, in milliseconds of Unix time; `None` for never, or where the form does
    /// not say.
    pub active_at_ms: Option<i64>,
    /// How many pending entries it owns, as claimed.
    pub pending: u64,
    pub(super) position: u64,
}

/// Finds pending entries by their ID in a list that rises.
#[derive(Debug, Default)]
pub(super) struct PendingIndex<'d> {
    /// The group's list.
    list: Option<(Cursor<'d>, u64)>,
    /// Every `stride`-th entry: its ID, and the list from there on.
    marks: Vec<(StreamId, Cursor<'d>, u64)>,
    /// Where the last hit stands, since IDs are mostly looked up in rising order.
    hint: Option<(StreamId, Cursor<'d>, u64)>,
    built: bool,
    stride: u64,
}

impl<'d> PendingIndex<'d> {
    /// How many marks an index has at most.
    const MARKS: u64 = 16 * 1024;
    /// A list that does not rise is searched through only up to this length.
    const UNSORTED: u64 = 1024;

    fn begin(&mut self, list: Cursor<'d>, count: u64) {
        self.list = Some((list, count));
        self.marks.clear();
        self.hint = None;
        self.built = false;
    }

    /// Walks the list once.
    fn build<F: Findings>(&mut self, findings: &mut F) -> Result<()> {
        self.built = true;
        let Some((mut cursor, count)) = self.list else {
            return Ok(());
        };
        self.stride = (count / Self::MARKS).max(16);
        let mut before: Option<StreamId> = None;
        for index in 0..count {
            let at = cursor;
            let pending = read_pending(&mut cursor, index)?;
            if before.is_some_and(|before| before >= pending.id) {
                findings.found(Finding {
                    rule: Rule::PendingOrder,
                    place: at.place(),
                    what: format!(
                        "pending entry {} stands behind {}",
                        pending.id,
                        before.unwrap_or_default()
                    )
                    .into(),
                })?;
                // From here on, only searching through helps.
                self.marks.clear();
                self.stride = u64::MAX;
            }
            before = Some(pending.id);
            if self.stride != u64::MAX && index.checked_rem(self.stride) == Some(0) {
                self.marks.push((pending.id, at, index));
            }
        }
        Ok(())
    }

    fn find<F: Findings>(&mut self, id: StreamId, findings: &mut F) -> Result<Option<Pending>> {
        if !self.built {
            self.build(findings)?;
        }
        let Some((list, count)) = self.list else {
            return Ok(None);
        };
        if self.stride == u64::MAX {
            return search(list, 0, count.min(Self::UNSORTED), |pending| {
                (pending.id == id).then_some(true)
            })
            .map(|hit| hit.map(|(pending, _)| pending));
        }
        // A little behind the last hit, else from the mark before.
        let from_hint = self
            .hint
            .filter(|(last, ..)| *last <= id)
            .map(|(_, cursor, index)| (cursor, index));
        let stop = |pending: &Pending| (pending.id >= id).then_some(pending.id == id);
        if let Some((cursor, index)) = from_hint {
            let until = count.min(index.saturating_add(self.stride));
            if let Some((pending, at)) = search(cursor, index, until, stop)? {
                if pending.id == id {
                    self.hint = Some((id, at, pending.index));
                    return Ok(Some(pending));
                }
                return Ok(None);
            }
        }
        let mark = self.marks.partition_point(|(first, ..)| *first <= id);
        let Some((_, cursor, index)) = mark.checked_sub(1).and_then(|mark| self.marks.get(mark))
        else {
            return Ok(None);
        };
        let until = count.min(index.saturating_add(self.stride));
        match search(*cursor, *index, until, stop)? {
            Some((pending, at)) if pending.id == id => {
                self.hint = Some((id, at, pending.index));
                Ok(Some(pending))
            }
            _ => Ok(None),
        }
    }
}

/// Reads entries `index..until` until `stop` answers.
fn search<'d>(
    mut cursor: Cursor<'d>,
    index: u64,
    until: u64,
    stop: impl Fn(&Pending) -> Option<bool>,
) -> Result<Option<(Pending, Cursor<'d>)>> {
    for index in index..until {
        let at = cursor;
        let pending = read_pending(&mut cursor, index)?;
        if stop(&pending).is_some() {
            return Ok(Some((pending, at)));
        }
    }
    Ok(None)
}

#[inline]
fn read_pending(cursor: &mut Cursor<'_>, index: u64) -> Result<Pending> {
    Ok(Pending {
        id: StreamId::from_bytes(cursor.array()?),
        delivered_at_ms: cursor.i64_le()?,
        delivery_count: length::read(cursor)?,
        index,
    })
}

impl<'d, F: Findings> Stream<'d, F> {
    /// Ends the walk where the bytes of the container cannot be read.
    #[inline]
    pub(super) fn fused<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.phase = Phase::Done;
        }
        result
    }

    /// The next group; `None` behind the last one.
    ///
    /// # Errors
    /// `Corrupt` where the bytes cannot be read, and what the findings answer.
    pub fn next_group(&mut self) -> Result<Option<Group<'_>>> {
        let read = self.read_group();
        let Some((name, last_id, entries_read, pending)) = self.fused(read)? else {
            return Ok(None);
        };
        let [text, ..] = &self.decoder.text;
        Ok(Some(Group {
            name: name.element(&self.decoder.blob, text),
            last_id,
            entries_read,
            pending,
            position: self.name_at,
        }))
    }

    #[expect(clippy::type_complexity, reason = "the parts of a group, used once")]
    pub(super) fn read_group(&mut self) -> Result<Option<(Part<'d>, StreamId, Option<u64>, u64)>> {
        if self.phase == Phase::Entries {
            self.metadata()?;
        }
        self.end_group()?;
        if self.phase != Phase::Groups {
            return Ok(None);
        }
        if self.groups_left == 0 {
            self.end_groups()?;
            return Ok(None);
        }
        self.groups_left = self.groups_left.wrapping_sub(1);
        let added = self.metadata()?.entries_added;
        let name = self.read_name()?;
        let last_id = StreamId::read(&mut self.cursor)?;
        let mut entries_read = None;
        if self.form >= 2 {
            let place = self.cursor.place();
            // −1 is written as an unsigned number: not known.
            entries_read = Some(length::read(&mut self.cursor)?).filter(|read| *read != u64::MAX);
            if let (Some(read), Some(added)) = (entries_read, added)
                && read > added
            {
                self.decoder.findings.found(Finding {
                    rule: Rule::StreamEntriesRead,
                    place,
                    what: format!("a group has read {read} entries of {added} ever added").into(),
                })?;
            }
        }
        let pending = length::read(&mut self.cursor)?;
        self.cursor.expect_room(pending, 25, "pending entries")?;
        self.left.pending = pending;
        self.left.pending_at = 0;
        self.pending.begin(self.cursor, pending);
        self.phase = Phase::Pending;
        Ok(Some((name, last_id, entries_read, pending)))
    }

    /// A name that must be readable: without it, what belongs to it is lost.
    pub(super) fn read_name(&mut self) -> Result<Part<'d>> {
        let [text, ..] = &mut self.decoder.text;
        self.name_at = self.cursor.offset();
        match Str::read(&mut self.cursor)? {
            Str::Raw(bytes) => Ok(Part::Raw(bytes)),
            Str::Int(value) => Ok(Part::Int(i64::from(value))),
            Str::Lzf(packed) => Part::compressed(packed, text),
        }
    }

    /// The next pending entry of the current group; `None` behind the last one.
    ///
    /// # Errors
    /// As [`Stream::next_group`].
    pub fn next_pending(&mut self) -> Result<Option<Pending>> {
        if self.phase != Phase::Pending || self.left.pending == 0 {
            return Ok(None);
        }
        self.left.pending = self.left.pending.wrapping_sub(1);
        let index = self.left.pending_at;
        self.left.pending_at = index.wrapping_add(1);
        let pending = read_pending(&mut self.cursor, index);
        self.fused(pending).map(Some)
    }

    /// The next consumer of the current group; `None` behind the last one.
    ///
    /// # Errors
    /// As [`Stream::next_group`].
    pub fn next_consumer(&mut self) -> Result<Option<Consumer<'_>>> {
        let read = self.read_consumer();
        let Some((name, seen_at_ms, active_at_ms, pending)) = self.fused(read)? else {
            return Ok(None);
        };
        let [text, ..] = &self.decoder.text;
        Ok(Some(Consumer {
            name: name.element(&self.decoder.blob, text),
            seen_at_ms,
            active_at_ms,
            pending,
            position: self.name_at,
        }))
    }

    #[expect(clippy::type_complexity, reason = "the parts of a consumer, used once")]
    pub(super) fn read_consumer(&mut self) -> Result<Option<(Part<'d>, i64, Option<i64>, u64)>> {
        if self.phase == Phase::Pending {
            while self.left.pending > 0 {
                self.left.pending = self.left.pending.wrapping_sub(1);
                self.cursor.skip(24)?;
                length::read(&mut self.cursor)?;
            }
            self.left.consumers = length::read(&mut self.cursor)?;
            let least = if self.form >= 3 { 18 } else { 10 };
            self.cursor
                .expect_room(self.left.consumers, least, "consumers")?;
            self.phase = Phase::Consumers;
        }
        if self.phase == Phase::Owned {
            self.cursor.skip(self.left.owned.saturating_mul(16))?;
            self.left.owned = 0;
            self.phase = Phase::Consumers;
        }
        if self.phase != Phase::Consumers {
            return Ok(None);
        }
        if self.left.consumers == 0 {
            self.phase = Phase::Groups;
            if self.form >= 5 {
                self.left.nacked = length::read(&mut self.cursor)?;
                self.cursor
                    .expect_room(self.left.nacked, 16, "nacked entries")?;
                self.phase = Phase::Nacked;
            }
            return Ok(None);
        }
        self.left.consumers = self.left.consumers.wrapping_sub(1);
        let name = self.read_name()?;
        let seen = self.cursor.i64_le()?;
        let active = match self.form {
            0..=2 => None,
            _ => Some(self.cursor.i64_le()?).filter(|time| *time != -1),
        };
        let owned = length::read(&mut self.cursor)?;
        self.cursor
            .expect_room(owned, 16, "pending entries of a consumer")?;
        self.left.owned = owned;
        self.phase = Phase::Owned;
        Ok(Some((name, seen, active, owned)))
    }

    /// The next pending entry that the current consumer owns, with what the group notes of it; `None` behind the last one.
    /// An ID that the group does not have is told and moved over.
    ///
    /// # Errors
    /// As [`Stream::next_group`].
    pub fn next_owned(&mut self) -> Result<Option<Pending>> {
        if self.phase != Phase::Owned {
            return Ok(None);
        }
        while self.left.owned > 0 {
            self.left.owned = self.left.owned.wrapping_sub(1);
            let found = self.read_owned("a consumer owns");
            if let Some(pending) = self.fused(found)? {
                return Ok(Some(pending));
            }
        }
        Ok(None)
    }

    /// The next nacked entry of the current group (Redis 8.8): pending, but owned by nobody. `None` behind the last one.
    /// Consumers that were not read yet are moved over.
    ///
    /// # Errors
    /// As [`Stream::next_group`].
    pub fn next_nacked(&mut self) -> Result<Option<Pending>> {
        while matches!(self.phase, Phase::Pending | Phase::Consumers | Phase::Owned) {
            let read = self.read_consumer();
            self.fused(read)?;
        }
        if self.phase != Phase::Nacked {
            return Ok(None);
        }
        while self.left.nacked > 0 {
            self.left.nacked = self.left.nacked.wrapping_sub(1);
            let found = self.read_owned("nacked is");
            if let Some(pending) = self.fused(found)? {
                return Ok(Some(pending));
            }
        }
        Ok(None)
    }

    fn read_owned(&mut self, who: &'static str) -> Result<Option<Pending>> {
        let place = self.cursor.place();
        let id = StreamId::from_bytes(self.cursor.array()?);
        let findings = &mut self.decoder.findings;
        match self.pending.find(id, findings)? {
            Some(pending) => Ok(Some(pending)),
            None => {
                unknown_pending(who, id, place, findings)?;
                Ok(None)
            }
        }
    }

    /// Calls `list` for every list of IDs behind the entries, without moving: pending entries of each group, and (`true`)
    /// records of each producer.
    pub(super) fn named_ids(
        &self,
        mut list: impl FnMut(Cursor<'d>, u64, bool) -> Result<()>,
    ) -> Result<()> {
        let mut cursor = self.body();
        let nodes = length::read(&mut cursor)?;
        for _ in 0..nodes {
            Str::skip(&mut cursor)?;
            Str::skip(&mut cursor)?;
        }
        let lengths = |cursor: &mut Cursor<'d>, count: u32| {
            (0..count).try_for_each(|_| length::read(cursor).map(|_| ()))
        };
        lengths(&mut cursor, if self.form >= 2 { 8 } else { 3 })?;
        for _ in 0..length::read(&mut cursor)? {
            Str::skip(&mut cursor)?;
            lengths(&mut cursor, if self.form >= 2 { 3 } else { 2 })?;
            let pending = length::read(&mut cursor)?;
            list(cursor, pending, false)?;
            for _ in 0..pending {
                cursor.skip(24)?;
                length::read(&mut cursor)?;
            }
            for _ in 0..length::read(&mut cursor)? {
                Str::skip(&mut cursor)?;
                cursor.skip(if self.form >= 3 { 16 } else { 8 })?;
                let owned = length::read(&mut cursor)?;
                cursor.skip(owned.saturating_mul(16))?;
            }
            if self.form >= 5 {
                let nacked = length::read(&mut cursor)?;
                cursor.skip(nacked.saturating_mul(16))?;
            }
        }
        if self.form >= 4 {
            lengths(&mut cursor, 2)?;
            for _ in 0..length::read(&mut cursor)? {
                Str::skip(&mut cursor)?;
                let records = length::read(&mut cursor)?;
                list(cursor, records, true)?;
                for _ in 0..records {
                    Str::skip(&mut cursor)?;
                    lengths(&mut cursor, 2)?;
                }
            }
        }
        Ok(())
    }

    /// Looks whether the pending entries of the current group rise.
    pub(super) fn check_pending_order(&mut self) -> Result<()> {
        if self.pending.built {
            return Ok(());
        }
        let built = self.pending.build(&mut self.decoder.findings);
        self.fused(built)
    }

    /// ID and place of the pending entry with that number.
    pub(super) fn pending_at(&self, index: u64) -> Result<(StreamId, Place)> {
        let Some((mut cursor, _)) = self.pending.list else {
            return Ok((StreamId::default(), self.cursor.place()));
        };
        let mut at = 0;
        if let Some((_, mark, number)) = index
            .checked_div(self.pending.stride)
            .and_then(|mark| self.pending.marks.get(usize::try_from(mark).ok()?))
        {
            (cursor, at) = (*mark, *number);
        }
        loop {
            let place = cursor.place();
            let pending = read_pending(&mut cursor, at)?;
            if at >= index {
                return Ok((pending.id, place));
            }
            at = at.saturating_add(1);
        }
    }

    /// Moves behind the current group.
    pub(super) fn end_group(&mut self) -> Result<()> {
        while matches!(self.phase, Phase::Pending | Phase::Consumers | Phase::Owned) {
            self.read_consumer()?;
        }
        if self.phase == Phase::Nacked {
            self.cursor.skip(self.left.nacked.saturating_mul(16))?;
            self.left.nacked = 0;
            self.phase = Phase::Groups;
        }
        Ok(())
    }

    fn end_groups(&mut self) -> Result<()> {
        if self.form >= 4 {
            self.phase = Phase::Idempotency;
            return Ok(());
        }
        self.phase = Phase::Done;
        expect_end(&self.cursor, &mut self.decoder.findings)
    }
}

#[cold]
fn unknown_pending<F: Findings>(
    who: &'static str,
    id: StreamId,
    place: Place,
    findings: &mut F,
) -> Result<()> {
    findings.found(Finding {
        rule: Rule::PendingUnknown,
        place,
        what: format!("{who} {id}, which is not pending in its group").into(),
    })
}
