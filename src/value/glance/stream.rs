//! Streams at a glance: what [`walk_stream`](super::super::validate_stream::walk_stream) asks of the forms without
//! idempotency records, as long as all is well.

use super::{Glance, Got, Items, blob};
use crate::value::stream::StreamId;
use crate::wire::{Cursor, Str, length};

/// Pending entries of one group, at most: 1 MiB of IDs.
const MOST_PENDING: u64 = 64 * 1024;

/// The pending entries of a group, and which of them have an owner.
#[derive(Debug, Default)]
pub(super) struct PendingIds {
    ids: Vec<StreamId>,
    is_owned: Vec<bool>,
}

impl Glance {
    /// The number of live entries.
    pub(super) fn stream(&mut self, cursor: &mut Cursor<'_>, form: u8) -> Option<u64> {
        let mut live = 0u64;
        let (mut last, mut last_node) = (None, None);
        for _ in 0..length::read(cursor).ok()? {
            let Ok(Str::Raw(master)) = Str::read(cursor) else {
                return None;
            };
            let master = StreamId::from_bytes(master.try_into().ok()?);
            if last_node.replace(master) >= Some(master) {
                return None;
            }
            let more = node(blob(cursor, &mut self.text)?, master, &mut last)?;
            live = live.wrapping_add(more);
        }
        let length = length::read(cursor).ok()?;
        let last_id = StreamId::read(cursor).ok()?;
        let mut added = u64::MAX;
        if form >= 2 {
            // The first entry, and the last that was deleted.
            StreamId::read(cursor).ok()?;
            StreamId::read(cursor).ok()?;
            added = length::read(cursor).ok()?;
        }
        if length != live || added < length || last > Some(last_id) {
            return None;
        }
        self.groups(cursor, form, added)?;
        Some(live)
    }

    fn groups(&mut self, cursor: &mut Cursor<'_>, form: u8, added: u64) -> Option<()> {
        let groups = length::read(cursor).ok()?;
        self.seen.begin(groups)?;
        for _ in 0..groups {
            self.seen.add(name(cursor)?.hash()?)?;
            StreamId::read(cursor).ok()?;
            if form >= 2 {
                let read = length::read(cursor).ok()?;
                if read > added && read != u64::MAX {
                    return None;
                }
            }
            self.pending.read(cursor)?;
            let consumers = length::read(cursor).ok()?;
            self.seen_inside.begin(consumers)?;
            for _ in 0..consumers {
                self.seen_inside.add(name(cursor)?.hash()?)?;
                // When it was seen, and when it was active.
                cursor.skip(if form >= 3 { 16 } else { 8 }).ok()?;
                self.pending.read_owned(cursor)?;
            }
            if !self.pending.is_owned.iter().all(|is_owned| *is_owned) {
                return None;
            }
        }
        Some(())
    }
}

impl PendingIds {
    /// Reads a group's list, which must rise.
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        self.ids.clear();
        let count = length::read(cursor).ok()?;
        if count > MOST_PENDING {
            return None;
        }
        for _ in 0..count {
            let id = StreamId::from_bytes(cursor.array().ok()?);
            // When it was delivered, and how often.
            cursor.skip(8).ok()?;
            length::read(cursor).ok()?;
            if self.ids.last() >= Some(&id) {
                return None;
            }
            self.ids.push(id);
        }
        self.is_owned.clear();
        self.is_owned.resize(self.ids.len(), false);
        Some(())
    }

    /// Reads the list of a consumer: IDs of the group that have no owner yet.
    fn read_owned(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let mut expected = 0usize;
        for _ in 0..length::read(cursor).ok()? {
            let id = StreamId::from_bytes(cursor.array().ok()?);
            // Mostly one behind the other.
            let at = match self.ids.get(expected) {
                Some(next) if *next == id => expected,
                _ => self.ids.binary_search(&id).ok()?,
            };
            if std::mem::replace(self.is_owned.get_mut(at)?, true) {
                return None;
            }
            expected = at.wrapping_add(1);
        }
        Some(())
    }
}

/// The name of a group or consumer.
fn name<'data>(cursor: &mut Cursor<'data>) -> Option<Got<'data>> {
    match Str::read(cursor).ok()? {
        Str::Raw(bytes) => Some(Got::Text(bytes)),
        Str::Int(value) => Some(Got::Int(i64::from(value))),
        Str::Lzf(_) => None,
    }
}

/// Walks a node, whose IDs must rise from `last` on. Gives the number of its live entries.
fn node(blob: &[u8], master: StreamId, last: &mut Option<StreamId>) -> Option<u64> {
    let (mut items, count) = Items::of(blob)?;
    let claimed = (items.int()?, items.int()?);
    let fields = u64::try_from(items.int()?).ok()?;
    items.skip(fields)?;
    if items.int()? != 0 {
        return None;
    }
    let mut seen = fields.wrapping_add(4);
    let (mut live, mut deleted) = (0i64, 0i64);
    while let Some(flags) = items.next()? {
        let Got::Int(flags @ 0..=3) = flags else {
            return None;
        };
        let (ms, seq) = (items.int()?, items.int()?);
        let id = StreamId {
            ms: master.ms.wrapping_add(ms.cast_unsigned()),
            seq: master.seq.wrapping_add(seq.cast_unsigned()),
        };
        if last.replace(id) >= Some(id) {
            return None;
        }
        let written = if flags & 2 != 0 {
            items.skip(fields)?;
            fields.checked_add(3)?
        } else {
            let pairs = u64::try_from(items.int()?).ok()?;
            let strings = pairs.checked_mul(2)?;
            items.skip(strings)?;
            strings.checked_add(4)?
        };
        if u64::try_from(items.int()?) != Ok(written) {
            return None;
        }
        seen = seen.wrapping_add(written).wrapping_add(1);
        if flags & 1 != 0 {
            deleted = deleted.wrapping_add(1);
        } else {
            live = live.wrapping_add(1);
        }
    }
    (claimed == (live, deleted) && items.are(count, seen)).then_some(live.cast_unsigned())
}

impl Items<'_> {
    /// The next entry, an integer that is written as one.
    #[inline]
    fn int(&mut self) -> Option<i64> {
        match self.next()?? {
            Got::Int(value) => Some(value),
            Got::Text(_) => None,
        }
    }

    /// Moves over entries.
    #[inline]
    fn skip(&mut self, count: u64) -> Option<()> {
        for _ in 0..count {
            self.next()??;
        }
        Some(())
    }
}
