//! Streams: entries by `XADD`, groups by `XGROUP`, pending entries by `XCLAIM`, counters by `XSETID`.
//!
//! A pending entry may belong to a stream entry that is deleted. `XCLAIM … FORCE` creates nothing for an ID that does not
//! exist, so such an ID is added as a dummy in its place among the entries, claimed, and deleted again at the end: `XDEL`
//! keeps what is pending. `XSETID` puts the counters right before and after.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::decoder::{Decoder, Part};
use super::super::element::Element;
use super::super::findings::{Findings, Lenient};
use super::super::packed::{Hold, Item, Packed};
use super::super::stream_groups::Pending;
use super::super::{Stream, StreamId, StreamMeta, listpack};
use super::{Arg, Batch, Loss, Losses, Slot, Vocabulary};
use crate::error::Result;
use crate::wire::{Cursor, Str, length};

/// The fields of one stream entry, which can be walked again.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct FieldWalk<'d> {
    packed: Packed<'d>,
    left: u64,
    name_at: Option<usize>,
}

impl<'d> FieldWalk<'d> {
    pub(in super::super) fn new(packed: Packed<'d>, left: u64, name_at: Option<usize>) -> Self {
        Self {
            packed,
            left,
            name_at,
        }
    }

    /// The next field and its value. The walk was made once before without an error.
    pub(super) fn next<'s>(&mut self, hold: &'s Hold) -> Option<(Element<'s>, Element<'s>)>
    where
        'd: 's,
    {
        self.left = self.left.checked_sub(1)?;
        let bytes = self.packed.bytes(hold);
        let name: Item = match &mut self.name_at {
            Some(at) => {
                let step = listpack::step(bytes, *at).ok()??;
                *at = step.next;
                step.item
            }
            None => self.packed.next(hold, &mut Lenient).ok()??,
        };
        let value = self.packed.next(hold, &mut Lenient).ok()??;
        Some((name.element(bytes), value.element(bytes)))
    }
}

/// All IDs that the groups' pending entries and the idempotency records of a stream name, rising.
#[derive(Debug, Default)]
struct Named<'d> {
    lists: Vec<(Cursor<'d>, u64, bool)>,
    heap: BinaryHeap<Reverse<(StreamId, usize)>>,
    /// Some list falls, or there are too many: what is named cannot be told in order.
    incomplete: bool,
}

impl<'d> Named<'d> {
    /// Lists that are merged at most: about 6 MiB.
    const MOST: usize = 64 * 1024;

    fn add(&mut self, list: Cursor<'d>, count: u64, records: bool) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        if self.lists.len() >= Self::MOST {
            self.incomplete = true;
            return Ok(());
        }
        self.lists.push((list, count, records));
        self.pull(self.lists.len().wrapping_sub(1), None)
    }

    fn pull(&mut self, number: usize, before: Option<StreamId>) -> Result<()> {
        let Some((cursor, left, records)) = self.lists.get_mut(number) else {
            return Ok(());
        };
        if *left == 0 {
            return Ok(());
        }
        *left = left.wrapping_sub(1);
        let id = if *records {
            Str::skip(cursor)?;
            StreamId::read(cursor)?
        } else {
            let id = StreamId::from_bytes(cursor.array()?);
            cursor.skip(8)?;
            length::read(cursor)?;
            id
        };
        if before.is_some_and(|before| before > id) {
            self.incomplete = true;
            *left = 0;
            return Ok(());
        }
        self.heap.push(Reverse((id, number)));
        Ok(())
    }

    fn peek(&self) -> Option<StreamId> {
        self.heap.peek().map(|Reverse((id, _))| *id)
    }

    /// Takes away everything that names `id`.
    fn pass(&mut self, id: StreamId) -> Result<()> {
        while let Some(Reverse((next, number))) = self.heap.peek().copied()
            && next <= id
        {
            self.heap.pop();
            self.pull(number, Some(next))?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Entries,
    Dummies,
    Empty,
    DropGroup,
    SetId,
    Groups,
    Consumers,
    Owned,
    Nacked,
    Settings,
    Records,
    Delete,
    SetIdAgain,
    Done,
}

/// The commands of a stream.
#[derive(Debug)]
pub(super) struct StreamCommands<'d, F: Findings> {
    stream: Stream<'d, F>,
    named: Named<'d>,
    stage: Stage,
    /// An entry that was read while a dummy had to stand before it.
    held: Option<(StreamId, FieldWalk<'d>, u64, u64)>,
    last_added: Option<StreamId>,
    dummies: Vec<StreamId>,
    deleted: usize,
    meta: Option<StreamMeta>,
    group: Name<'d>,
    consumer: Name<'d>,
    pending: Option<Pending>,
}

/// A name that outlives the buffer that it was read into.
#[derive(Debug, Default)]
enum Name<'d> {
    #[default]
    None,
    Part(Part<'d>),
    Copied(Vec<u8>),
}

impl<'d> Name<'d> {
    fn keep(part: Part<'d>, text: &[u8]) -> Self {
        match part {
            Part::Text => Name::Copied(text.to_vec()),
            other => Name::Part(other),
        }
    }

    fn push(&self, batch: &mut Batch<'d>) {
        match self {
            Name::None => batch.copied(b""),
            Name::Copied(bytes) => batch.copied(bytes),
            Name::Part(part) => {
                let nowhere = Hold::EMPTY;
                let element = part.element(&nowhere, &[]);
                batch.part(*part, Slot::First, &element);
            }
        }
    }
}

impl<'d, F: Findings> StreamCommands<'d, F> {
    /// Dummies that are remembered at most: 4 MiB.
    const MOST_DUMMIES: usize = 256 * 1024;

    pub(super) fn new(stream: Stream<'d, F>) -> Result<Self> {
        let mut named = Named::default();
        stream.named_ids(|list, count, records| named.add(list, count, records))?;
        Ok(Self {
            stream,
            named,
            stage: Stage::Entries,
            held: None,
            last_added: None,
            dummies: Vec::new(),
            deleted: 0,
            meta: None,
            group: Name::None,
            consumer: Name::None,
            pending: None,
        })
    }

    pub(super) fn decoder(&self) -> &Decoder<F> {
        self.stream.decoder
    }

    pub(super) fn step(
        &mut self,
        batch: &mut Batch<'d>,
        vocabulary: &Vocabulary,
        losses: &mut Losses,
    ) -> Result<bool> {
        loop {
            let put = match self.stage {
                Stage::Entries => self.entry(batch, losses)?,
                Stage::Dummies => self.dummy_behind(batch, losses)?,
                Stage::Empty => self.empty(batch)?,
                Stage::DropGroup => {
                    self.stage = Stage::SetId;
                    batch.begin_without_key("XGROUP");
                    batch.word("DESTROY");
                    batch.key();
                    batch.word("g");
                    true
                }
                Stage::SetId => {
                    self.stage = Stage::Groups;
                    self.set_id(batch, vocabulary, losses, self.dummies.len() as u64)
                }
                Stage::Groups => self.group(batch, vocabulary, losses)?,
                Stage::Consumers => self.consumer(batch, vocabulary, losses)?,
                Stage::Owned => self.owned(batch, losses)?,
                Stage::Nacked => self.nacked(batch, vocabulary, losses)?,
                Stage::Settings => self.settings(batch, vocabulary, losses)?,
                Stage::Records => self.record(batch, losses)?,
                Stage::Delete => self.delete(batch),
                Stage::SetIdAgain => {
                    self.stage = Stage::Done;
                    self.set_id(batch, vocabulary, losses, 0)
                }
                Stage::Done => return Ok(false),
            };
            if put {
                return Ok(true);
            }
        }
    }

    /// The next entry, or the dummy that must stand before it.
    fn entry(&mut self, batch: &mut Batch<'d>, losses: &mut Losses) -> Result<bool> {
        if self.held.is_none()
            && let Some(entry) = self.stream.next_entry()?
        {
            let fields = self.stream.field_walk();
            let mut count = 0u64;
            let mut bytes = 0u64;
            while let Some((name, value)) = self.stream.next_field()? {
                count = count.wrapping_add(2);
                bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
            }
            self.held = fields.map(|fields| (entry.id, fields, count, bytes));
        }
        let Some((id, fields, count, bytes)) = self.held else {
            self.stage = Stage::Dummies;
            return Ok(false);
        };
        while let Some(named) = self.named.peek() {
            if named >= id {
                break;
            }
            self.named.pass(named)?;
            if self.dummy(named, batch, losses) {
                return Ok(true);
            }
        }
        self.named.pass(id)?;
        self.held = None;
        self.last_added = Some(id);
        batch.begin("XADD");
        batch.id(id);
        batch.push(Arg::Fields(fields), bytes);
        // The fields count for themselves.
        batch.argc = batch.argc.wrapping_sub(1).wrapping_add(count);
        Ok(true)
    }

    /// Puts a dummy at `id`. `false` where it cannot be.
    fn dummy(&mut self, id: StreamId, batch: &mut Batch<'d>, losses: &mut Losses) -> bool {
        let possible = id != StreamId::default() && self.last_added.is_none_or(|last| last < id);
        if !possible || self.dummies.len() >= Self::MOST_DUMMIES {
            losses.add(Loss::PendingDeleted);
            return false;
        }
        self.dummies.push(id);
        self.last_added = Some(id);
        batch.begin("XADD");
        batch.id(id);
        batch.word("-");
        batch.word("-");
        true
    }

    fn dummy_behind(&mut self, batch: &mut Batch<'d>, losses: &mut Losses) -> Result<bool> {
        while let Some(named) = self.named.peek() {
            self.named.pass(named)?;
            if self.dummy(named, batch, losses) {
                return Ok(true);
            }
        }
        if self.named.incomplete {
            losses.add(Loss::PendingDeleted);
        }
        self.stage = Stage::Empty;
        Ok(false)
    }

    /// A stream without entries: only a group makes it.
    fn empty(&mut self, batch: &mut Batch<'d>) -> Result<bool> {
        self.meta = Some(self.stream.metadata()?);
        self.stage = Stage::SetId;
        if self.last_added.is_some() {
            return Ok(false);
        }
        self.stage = Stage::DropGroup;
        batch.begin_without_key("XGROUP");
        batch.word("CREATE");
        batch.key();
        batch.word("g");
        batch.word("$");
        batch.word("MKSTREAM");
        Ok(true)
    }

    fn group(
        &mut self,
        batch: &mut Batch<'d>,
        vocabulary: &Vocabulary,
        losses: &mut Losses,
    ) -> Result<bool> {
        let Some((name, last_id, entries_read, _)) = self.stream.read_group()? else {
            self.stage = Stage::Settings;
            return Ok(false);
        };
        let [text, ..] = &self.stream.decoder.text;
        self.group = Name::keep(name, text);
        batch.begin_without_key("XGROUP");
        batch.word("CREATE");
        batch.key();
        self.group.push(batch);
        batch.id(last_id);
        if let Some(read) = entries_read {
            let added = self.meta.and_then(|meta| meta.entries_added);
            if added.is_some_and(|added| read > added) {
                // A server puts the smaller number.
                losses.add(Loss::StreamCounters);
            }
            if vocabulary.stream_counters {
                batch.word("ENTRIESREAD");
                batch.number(read);
            } else {
                losses.add(Loss::StreamCounters);
            }
        }
        self.stage = Stage::Consumers;
        Ok(true)
    }

    fn consumer(
        &mut self,
        batch: &mut Batch<'d>,
        vocabulary: &Vocabulary,
        losses: &mut Losses,
    ) -> Result<bool> {
        let Some((name, _, _, owned)) = self.stream.read_consumer()? else {
            self.stage = Stage::Nacked;
            return Ok(false);
        };
        losses.add(Loss::ConsumerTimes);
        let [text, ..] = &self.stream.decoder.text;
        self.consumer = Name::keep(name, text);
        self.stage = Stage::Owned;
        if owned > 0 {
            // Claiming makes the consumer.
            return Ok(false);
        }
        if vocabulary.create_consumer {
            batch.begin_without_key("XGROUP");
            batch.word("CREATECONSUMER");
            batch.key();
            self.group.push(batch);
            self.consumer.push(batch);
        } else {
            // Asking for its pending entries makes a consumer, and delivers nothing.
            batch.begin_without_key("XREADGROUP");
            batch.word("GROUP");
            self.group.push(batch);
            self.consumer.push(batch);
            batch.word("STREAMS");
            batch.key();
            batch.word("0");
        }
        Ok(true)
    }

    /// `XCLAIM` for pending entries in a row that share time and count.
    fn owned(&mut self, batch: &mut Batch<'d>, losses: &mut Losses) -> Result<bool> {
        let Some(first) = self.next_pending(Stream::next_owned)? else {
            self.stage = Stage::Consumers;
            return Ok(false);
        };
        if first.delivered_at_ms < 0 {
            losses.add(Loss::DeliveryTimes);
        }
        batch.begin("XCLAIM");
        self.group.push(batch);
        self.consumer.push(batch);
        batch.word("0");
        batch.id(first.id);
        while batch.args.len().saturating_add(8) < batch.limits.args
            && let Some(next) = self.next_pending(Stream::next_owned)?
        {
            if (next.delivered_at_ms, next.delivery_count)
                != (first.delivered_at_ms, first.delivery_count)
            {
                self.pending = Some(next);
                break;
            }
            batch.id(next.id);
        }
        batch.word("TIME");
        batch.int(first.delivered_at_ms.max(0));
        batch.word("RETRYCOUNT");
        batch.number(first.delivery_count);
        batch.word("FORCE");
        batch.word("JUSTID");
        Ok(true)
    }

    fn next_pending(
        &mut self,
        read: impl FnOnce(&mut Stream<'d, F>) -> Result<Option<Pending>>,
    ) -> Result<Option<Pending>> {
        match self.pending.take() {
            Some(pending) => Ok(Some(pending)),
            None => read(&mut self.stream),
        }
    }

    /// `XNACK` for pending entries that nobody owns.
    fn nacked(
        &mut self,
        batch: &mut Batch<'d>,
        vocabulary: &Vocabulary,
        losses: &mut Losses,
    ) -> Result<bool> {
        let Some(first) = self.next_pending(Stream::next_nacked)? else {
            self.stage = Stage::Groups;
            return Ok(false);
        };
        if !vocabulary.nack {
            losses.add(Loss::Nacked);
            return Ok(false);
        }
        if first.delivered_at_ms != 0 {
            losses.add(Loss::DeliveryTimes);
        }
        batch.begin("XNACK");
        self.group.push(batch);
        batch.word("SILENT");
        batch.word("IDS");
        let count_at = batch.args.len();
        batch.int(0);
        batch.id(first.id);
        let mut count = 1i64;
        while batch.args.len().saturating_add(6) < batch.limits.args
            && let Some(next) = self.next_pending(Stream::next_nacked)?
        {
            if next.delivery_count != first.delivery_count {
                self.pending = Some(next);
                break;
            }
            batch.id(next.id);
            count = count.wrapping_add(1);
        }
        batch.set_int(count_at, count);
        batch.word("RETRYCOUNT");
        batch.number(first.delivery_count);
        batch.word("FORCE");
        Ok(true)
    }

    fn settings(
        &mut self,
        batch: &mut Batch<'d>,
        vocabulary: &Vocabulary,
        losses: &mut Losses,
    ) -> Result<bool> {
        let settings = self.stream.idempotency()?;
        self.stage = Stage::Delete;
        let Some(settings) = settings else {
            return Ok(false);
        };
        if !vocabulary.idempotency {
            // What every stream has says nothing.
            if (settings.duration_seconds, settings.max_entries) != (100, 100)
                || settings.producers > 0
            {
                losses.add(Loss::Idempotency);
            }
            return Ok(false);
        }
        self.stage = Stage::Records;
        batch.begin("XCFGSET");
        batch.word("IDMP-DURATION");
        batch.number(settings.duration_seconds);
        batch.word("IDMP-MAXSIZE");
        batch.number(settings.max_entries);
        Ok(true)
    }

    fn record(&mut self, batch: &mut Batch<'d>, losses: &mut Losses) -> Result<bool> {
        loop {
            if let Some((iid, id)) = self.stream.read_iid()? {
                batch.begin("XIDMPRECORD");
                self.consumer.push(batch);
                let decoder = &*self.stream.decoder;
                let [text, ..] = &decoder.text;
                let element = iid.element(&decoder.blob, text);
                batch.part(iid, Slot::First, &element);
                batch.id(id);
                return Ok(true);
            }
            let Some((name, _)) = self.stream.read_producer()? else {
                break;
            };
            let [text, ..] = &self.stream.decoder.text;
            self.consumer = Name::keep(name, text);
        }
        if let Some(totals) = self.stream.idempotency_totals()?
            && (totals.added, totals.duplicates) != (0, 0)
        {
            losses.add(Loss::IdempotencyCounters);
        }
        self.stage = Stage::Delete;
        Ok(false)
    }

    fn delete(&mut self, batch: &mut Batch<'d>) -> bool {
        batch.begin("XDEL");
        while batch.args.len() < batch.limits.args
            && let Some(id) = self.dummies.get(self.deleted)
        {
            batch.id(*id);
            self.deleted = self.deleted.wrapping_add(1);
        }
        if batch.has_elements() {
            return true;
        }
        self.stage = if self.dummies.is_empty() {
            Stage::Done
        } else {
            Stage::SetIdAgain
        };
        false
    }

    /// `XSETID`: before the groups, since what a group has read is held against what was added; and once more when dummies
    /// were deleted.
    fn set_id(
        &self,
        batch: &mut Batch<'d>,
        vocabulary: &Vocabulary,
        losses: &mut Losses,
        dummies: u64,
    ) -> bool {
        let Some(meta) = self.meta else {
            return false;
        };
        let added = meta.entries_added.unwrap_or(meta.length);
        let deleted = meta.max_deleted_id.unwrap_or_default();
        // A server refuses a last ID below what the stream has, and fewer entries ever added than there are.
        let last_id = meta
            .last_id
            .max(self.last_added.unwrap_or_default())
            .max(deleted);
        let entries = self.stream.walked_entries().unwrap_or(0);
        batch.begin("XSETID");
        batch.id(last_id);
        if vocabulary.stream_counters {
            batch.word("ENTRIESADDED");
            batch.number(added.max(entries.saturating_add(dummies)));
            batch.word("MAXDELETEDID");
            batch.id(deleted);
            // The dummies were deleted, and zero cannot be set again.
            if deleted == StreamId::default() && !self.dummies.is_empty() {
                losses.add(Loss::StreamCounters);
            }
        } else if meta.entries_added.is_some() {
            losses.add(Loss::StreamCounters);
        }
        true
    }
}
