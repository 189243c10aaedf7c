//! Streams: nodes of entries, then counters, consumer groups and idempotency records (types 15, 19, 21, 26, 27).
//!
//! # Bytes
//! In this order; the forms 1 to 5 are the five types:
//! * count of nodes; for each a string of 16 bytes (the master ID, big endian) and a listpack;
//! * length, last ID; from form 2 on first ID, last deleted ID, entries ever added;
//! * count of groups; for each its name, last ID, from form 2 on entries read (−1: unknown), its pending entries, its
//!   consumers with what they own, in form 5 its nacked entries ([`super::stream_groups`]);
//! * from form 4 on the idempotency records ([`super::stream_idmp`]).
//!
//! A node's listpack begins with the master entry: live entries, deleted entries, number of fields, the field names, 0. Then
//! for each entry: flags (1: deleted, 2: the master's fields), distances of milliseconds and sequence number from the master
//! ID, the values (and names, behind their number, without flag 2), and how many items the entry has.
//!
//! # Order
//! A walk goes forward only: entries with their fields, metadata, groups with their parts, idempotency. Each method moves
//! over what was left unread before it.

use std::fmt;

use super::commands::FieldWalk;
use super::decoder::{Decoder, tell};
use super::element::Element;
use super::findings::{Finding, Findings, Rule, Strict};
use super::packed::{Encoding, Packed};
use super::stream_groups::PendingIndex;
use super::{listpack, packed};
use crate::error::{Error, Place, Result};
use crate::snapshot::ValueType;
use crate::wire::{Cursor, Str, length};

/// The ID of a stream entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId {
    /// Milliseconds of Unix time, by convention.
    pub ms: u64,
    /// The number within the millisecond.
    pub seq: u64,
}

impl StreamId {
    /// The ID as 16 bytes, big endian: how node keys and pending lists have it.
    #[must_use]
    #[inline]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of a u128")]
        Self {
            ms: (both >> 64) as u64,
            seq: both as u64,
        }
    }

    /// The inverse of [`StreamId::from_bytes`].
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// Two length-encoded numbers.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
        Ok(Self {
            ms: length::read(cursor)?,
            seq: length::read(cursor)?,
        })
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// One entry; its fields follow by [`Stream::next_field`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its ID.
    pub id: StreamId,
    /// How many fields it claims to have.
    pub fields: u64,
    /// Whether it is a tombstone: deleted, but its node was not rewritten yet.
    pub deleted: bool,
}

/// What a stream says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamMeta {
    /// Live entries, as noted.
    pub length: u64,
    /// The last ID that was ever given out.
    pub last_id: StreamId,
    /// The first live entry (from form 2).
    pub first_id: Option<StreamId>,
    /// The largest ID that was ever deleted (from form 2).
    pub max_deleted_id: Option<StreamId>,
    /// How many entries were ever added (from form 2).
    pub entries_added: Option<u64>,
    /// Number of consumer groups.
    pub groups: u64,
}

/// Where a walk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Entries,
    Groups,
    Pending,
    Consumers,
    Owned,
    Nacked,
    Idempotency,
    Producers,
    Iids,
    Done,
}

/// A stream that is being walked.
#[derive(Debug)]
pub struct Stream<'d, F: Findings = Strict> {
    pub(super) decoder: &'d mut Decoder<F>,
    pub(super) cursor: Cursor<'d>,
    pub(super) form: u8,
    pub(super) phase: Phase,
    nodes_left: u64,
    /// The key of the node that was opened last.
    last_node: Option<StreamId>,
    node: Option<Node<'d>>,
    entry: Option<Fields>,
    /// Live entries that were walked, and the last ID of any; `None` when nodes were skipped.
    walked: Option<(u64, Option<StreamId>)>,
    meta: Option<StreamMeta>,
    pub(super) groups_left: u64,
    pub(super) left: Left,
    pub(super) pending: PendingIndex<'d>,
    /// Where the name that was read last begins.
    pub(super) name_at: u64,
    body: Cursor<'d>,
}

/// Items of the current group or producer that were not read yet.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) pending: u64,
    pub(super) pending_at: u64,
    pub(super) consumers: u64,
    pub(super) owned: u64,
    pub(super) nacked: u64,
    pub(super) producers: u64,
    pub(super) iids: u64,
}

#[derive(Debug)]
struct Node<'d> {
    packed: Packed<'d>,
    master: StreamId,
    claimed_live: i64,
    claimed_deleted: i64,
    live: i64,
    deleted: i64,
    fields: u64,
    /// Position of the first field name of the master entry.
    names_at: usize,
}

/// The fields of the current entry.
#[derive(Debug, Clone, Copy)]
struct Fields {
    left: u64,
    /// Items that the entry has had so far, which the number behind it must say.
    items: i64,
    /// Position of the next name in the master entry, where the entry has the master's fields.
    name_at: Option<usize>,
}

impl<'d, F: Findings> Stream<'d, F> {
    pub(super) fn open(
        decoder: &'d mut Decoder<F>,
        mut cursor: Cursor<'d>,
        value_type: ValueType,
    ) -> Result<Self> {
        let body = cursor;
        let nodes_left = length::read(&mut cursor)?;
        cursor.expect_room(nodes_left, 18, "nodes")?;
        Ok(Self {
            decoder,
            cursor,
            form: match value_type {
                ValueType::STREAM_LISTPACKS => 1,
                ValueType::STREAM_LISTPACKS_2 => 2,
                ValueType::STREAM_LISTPACKS_3 => 3,
                ValueType::STREAM_LISTPACKS_4 => 4,
                _ => 5,
            },
            phase: Phase::Entries,
            nodes_left,
            last_node: None,
            node: None,
            entry: None,
            walked: Some((0, None)),
            meta: None,
            groups_left: 0,
            left: Left::default(),
            pending: PendingIndex::default(),
            name_at: 0,
            body,
        })
    }

    /// The next live entry; `None` behind the last one. What was left of the entry before is moved over.
    ///
    /// # Errors
    /// `Corrupt` where the bytes cannot be read, and what the findings answer.
    #[inline]
    pub fn next_entry(&mut self) -> Result<Option<StreamEntry>> {
        loop {
            match self.next_record()? {
                Some(entry) if entry.deleted => {}
                other => return Ok(other),
            }
        }
    }

    /// The next entry, tombstones included.
    ///
    /// # Errors
    /// As [`Stream::next_entry`].
    pub fn next_record(&mut self) -> Result<Option<StreamEntry>> {
        if self.phase != Phase::Entries {
            return Ok(None);
        }
        while self.next_pair()?.is_some() {}
        loop {
            if self.node.is_some() {
                match self.begin_entry() {
                    Ok(Some(entry)) => return Ok(Some(entry)),
                    Ok(None) => self.node = None,
                    Err(error) => self.give_up_node(error)?,
                }
                continue;
            }
            if self.nodes_left == 0 {
                return Ok(None);
            }
            self.nodes_left = self.nodes_left.wrapping_sub(1);
            if let Err(error) = self.open_node() {
                self.phase = Phase::Done;
                return Err(error);
            }
        }
    }

    /// The next field of the current entry, with its value; `None` behind the last one.
    ///
    /// # Errors
    /// As [`Stream::next_entry`].
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<(Element<'_>, Element<'_>)>> {
        let Some((name, value)) = self.next_pair()? else {
            return Ok(None);
        };
        let Some(node) = &self.node else {
            return Ok(None);
        };
        let bytes = node.packed.bytes(&self.decoder.blob);
        Ok(Some((name.element(bytes), value.element(bytes))))
    }

    /// The next field as positions. Damage gives up the node.
    #[inline]
    fn next_pair(&mut self) -> Result<Option<(packed::Item, packed::Item)>> {
        if self.entry.is_none() {
            return Ok(None);
        }
        match self.read_pair() {
            Ok(pair) => Ok(pair),
            Err(error) => self.give_up_node(error).map(|()| None),
        }
    }

    #[cold]
    fn give_up_node(&mut self, error: Error) -> Result<()> {
        self.node = None;
        self.entry = None;
        self.walked = None;
        match tell(&mut self.decoder.findings, error) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.phase = Phase::Done;
                Err(error)
            }
        }
    }

    /// Reads the next node's key and the master entry of its listpack.
    fn open_node(&mut self) -> Result<()> {
        let place = self.cursor.place();
        let key = Str::read(&mut self.cursor)?;
        let [text, ..] = &mut self.decoder.text;
        let master = match key.bytes(text).ok().and_then(|key| key.try_into().ok()) {
            Some(bytes) => StreamId::from_bytes(bytes),
            None => {
                self.decoder.findings.found(Finding {
                    rule: Rule::StreamNodeKey,
                    place,
                    what: format!("a node's key has {} bytes, an ID has 16", key.len()).into(),
                })?;
                self.walked = None;
                return Str::skip(&mut self.cursor);
            }
        };
        // Servers write them in the order of their keys; at the same key twice they give up the whole file.
        if let Some(before) = self.last_node.replace(master)
            && master <= before
        {
            self.decoder.findings.found(Finding {
                rule: Rule::StreamOrder,
                place,
                what: format!("node {master} stands behind node {before}").into(),
            })?;
        }
        let Some(packed) = self
            .decoder
            .open_packed(&mut self.cursor, Encoding::Listpack)?
        else {
            self.walked = None;
            return Ok(());
        };
        let mut node = Node {
            packed,
            master,
            claimed_live: 0,
            claimed_deleted: 0,
            live: 0,
            deleted: 0,
            fields: 0,
            names_at: 0,
        };
        match self.read_master(&mut node) {
            Ok(()) => {
                self.node = Some(node);
                Ok(())
            }
            Err(error) => self.give_up_node(error),
        }
    }

    fn read_master(&mut self, node: &mut Node<'d>) -> Result<()> {
        let (hold, findings) = (&self.decoder.blob, &mut self.decoder.findings);
        node.claimed_live = int(&mut node.packed, hold, findings)?;
        node.claimed_deleted = int(&mut node.packed, hold, findings)?;
        let fields = int(&mut node.packed, hold, findings)?;
        node.fields = u64::try_from(fields)
            .map_err(|_| damage(node.packed.last_place(), format!("{fields} field names")))?;
        node.names_at = node.packed.at();
        for _ in 0..node.fields {
            item(&mut node.packed, hold, findings)?;
        }
        match int(&mut node.packed, hold, findings)? {
            0 => Ok(()),
            other => Err(damage(
                node.packed.last_place(),
                format!("{other} stands where the master entry ends with 0"),
            )),
        }
    }

    /// Reads flags and ID of the next entry; `None` at the end of the node.
    #[inline]
    fn begin_entry(&mut self) -> Result<Option<StreamEntry>> {
        let Some(node) = &mut self.node else {
            return Ok(None);
        };
        let (hold, findings) = (&self.decoder.blob, &mut self.decoder.findings);
        let Some(flags) = node.packed.next(hold, findings)? else {
            end_node(node, findings)?;
            return Ok(None);
        };
        let place = node.packed.last();
        let flags = as_int(flags, &node.packed, hold)?;
        let ms = int(&mut node.packed, hold, findings)?;
        let seq = int(&mut node.packed, hold, findings)?;
        let id = StreamId {
            ms: node.master.ms.wrapping_add(ms.cast_unsigned()),
            seq: node.master.seq.wrapping_add(seq.cast_unsigned()),
        };
        if flags & !3 != 0 {
            return Err(damage(
                node.packed.place(place),
                format!("entry flags {flags}; known are 1 (deleted) and 2 (same fields)"),
            ));
        }
        let (fields, items, name_at) = if flags & 2 != 0 {
            (node.fields, 3, Some(node.names_at))
        } else {
            let fields = int(&mut node.packed, hold, findings)?;
            let fields = u64::try_from(fields)
                .map_err(|_| damage(node.packed.last_place(), format!("{fields} fields")))?;
            (fields, 4, None)
        };
        let deleted = flags & 1 != 0;
        if deleted {
            node.deleted = node.deleted.wrapping_add(1);
        } else {
            node.live = node.live.wrapping_add(1);
        }
        if let Some((live, last)) = &mut self.walked {
            *live = live.wrapping_add(u64::from(!deleted));
            let before = last.replace(id);
            if before.is_some_and(|before| before >= id) {
                not_rising(node.packed.place(place), id, before, findings)?;
            }
        }
        self.entry = Some(Fields {
            left: fields,
            items,
            name_at,
        });
        Ok(Some(StreamEntry {
            id,
            fields,
            deleted,
        }))
    }

    #[inline]
    fn read_pair(&mut self) -> Result<Option<(packed::Item, packed::Item)>> {
        let (Some(node), Some(entry)) = (&mut self.node, &mut self.entry) else {
            return Ok(None);
        };
        let (hold, findings) = (&self.decoder.blob, &mut self.decoder.findings);
        if entry.left == 0 {
            let items = entry.items;
            self.entry = None;
            let written = int(&mut node.packed, hold, findings)?;
            if written != items {
                findings.found(Finding {
                    rule: Rule::StreamItemCount,
                    place: node.packed.last_place(),
                    what: format!("an entry of {items} items says behind it that it has {written}")
                        .into(),
                })?;
            }
            return Ok(None);
        }
        entry.left = entry.left.wrapping_sub(1);
        let name = match &mut entry.name_at {
            Some(at) => match listpack::step(node.packed.bytes(hold), *at) {
                Ok(Some(step)) => {
                    *at = step.next;
                    entry.items = entry.items.wrapping_add(1);
                    step.item
                }
                // These names were read before, when the node was opened.
                _ => return Err(damage(node.packed.place(*at), "the field names end".into())),
            },
            None => {
                entry.items = entry.items.wrapping_add(2);
                item(&mut node.packed, hold, findings)?
            }
        };
        let value = item(&mut node.packed, hold, findings)?;
        Ok(Some((name, value)))
    }

    /// The fields of the entry that was begun last, for a second walk over them.
    pub(super) fn field_walk(&self) -> Option<FieldWalk<'d>> {
        let (node, entry) = (self.node.as_ref()?, self.entry?);
        Some(FieldWalk::new(node.packed, entry.left, entry.name_at))
    }

    /// Length, IDs and number of groups. Entries that were not read yet are moved over, undecoded.
    ///
    /// # Errors
    /// `Corrupt` where the bytes cannot be read, and what the findings answer.
    pub fn metadata(&mut self) -> Result<StreamMeta> {
        if let Some(meta) = self.meta {
            return Ok(meta);
        }
        match self.read_metadata() {
            Ok(meta) => {
                self.meta = Some(meta);
                self.phase = Phase::Groups;
                Ok(meta)
            }
            Err(error) => {
                self.phase = Phase::Done;
                Err(error)
            }
        }
    }

    fn read_metadata(&mut self) -> Result<StreamMeta> {
        if self.phase != Phase::Entries {
            return Err(Error::corrupt(
                self.cursor.place(),
                "the stream could not be read up to here",
            ));
        }
        while self.next_pair()?.is_some() {}
        if self.nodes_left > 0 || self.node.is_some() {
            self.walked = None;
            self.node = None;
        }
        for _ in 0..std::mem::take(&mut self.nodes_left) {
            Str::skip(&mut self.cursor)?;
            Str::skip(&mut self.cursor)?;
        }
        let cursor = &mut self.cursor;
        let length_place = cursor.place();
        let length = length::read(cursor)?;
        let last_place = cursor.place();
        let last_id = StreamId::read(cursor)?;
        let (mut first_id, mut max_deleted_id, mut entries_added) = (None, None, None);
        let mut added_place = last_place;
        if self.form >= 2 {
            first_id = Some(StreamId::read(cursor)?);
            max_deleted_id = Some(StreamId::read(cursor)?);
            added_place = cursor.place();
            entries_added = Some(length::read(cursor)?);
        }
        let groups = length::read(cursor)?;
        cursor.expect_room(groups, 5, "groups")?;
        self.groups_left = groups;
        let findings = &mut self.decoder.findings;
        if let Some((live, last)) = self.walked {
            if live != length {
                findings.found(Finding {
                    rule: Rule::StreamLength,
                    place: length_place,
                    what: format!("length {length}, but {live} live entries").into(),
                })?;
            }
            if let Some(last) = last
                && last > last_id
            {
                findings.found(Finding {
                    rule: Rule::StreamLastId,
                    place: last_place,
                    what: format!("last ID {last_id}, but an entry has {last}").into(),
                })?;
            }
        }
        if let Some(added) = entries_added
            && added < length
        {
            findings.found(Finding {
                rule: Rule::StreamEntriesAdded,
                place: added_place,
                what: format!("{added} entries ever added, but length {length}").into(),
            })?;
        }
        Ok(StreamMeta {
            length,
            last_id,
            first_id,
            max_deleted_id,
            entries_added,
            groups,
        })
    }

    /// The whole value.
    pub(super) fn body(&self) -> Cursor<'d> {
        self.body
    }

    /// How many live entries were walked; `None` where entries were moved over or could not be read.
    #[must_use]
    pub fn walked_entries(&self) -> Option<u64> {
        self.walked.map(|(live, _)| live)
    }
}

/// The next item of a node, which must be there.
#[inline]
fn item<F: Findings>(
    packed: &mut Packed<'_>,
    hold: &packed::Hold,
    findings: &mut F,
) -> Result<packed::Item> {
    match packed.next(hold, findings)? {
        Some(item) => Ok(item),
        None => Err(damage(
            packed.last_place(),
            "the node ends inside an entry".into(),
        )),
    }
}

#[inline]
fn int<F: Findings>(packed: &mut Packed<'_>, hold: &packed::Hold, findings: &mut F) -> Result<i64> {
    let item = item(packed, hold, findings)?;
    as_int(item, packed, hold)
}

#[inline]
fn as_int(item: packed::Item, packed: &Packed<'_>, hold: &packed::Hold) -> Result<i64> {
    if let packed::Item::Int(value) = item {
        return Ok(value);
    }
    item.element(packed.bytes(hold)).int().ok_or_else(|| {
        damage(
            packed.last_place(),
            "a string where a number is expected".into(),
        )
    })
}

#[cold]
fn damage(place: Place, what: String) -> Error {
    Error::corrupt(place, what)
}

#[cold]
fn not_rising<F: Findings>(
    place: Place,
    id: StreamId,
    before: Option<StreamId>,
    findings: &mut F,
) -> Result<()> {
    findings.found(Finding {
        rule: Rule::StreamOrder,
        place,
        what: format!("entry {id} stands behind {}", before.unwrap_or_default()).into(),
    })
}

fn end_node<F: Findings>(node: &Node<'_>, findings: &mut F) -> Result<()> {
    if (node.live, node.deleted) == (node.claimed_live, node.claimed_deleted) {
        return Ok(());
    }
    findings.found(Finding {
        rule: Rule::StreamNodeCount,
        place: node.packed.place(listpack::HEADER),
        what: format!(
            "node {} claims {} live and {} deleted entries, it has {} and {}",
            node.master, node.claimed_live, node.claimed_deleted, node.live, node.deleted
        )
        .into(),
    })
}
