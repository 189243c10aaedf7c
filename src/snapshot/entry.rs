//! One key as it stands in the file: borrowed, undecoded, with everything that belongs to it.

use super::codes::{Dialect, TypeInfo, ValueType};
use super::template::Template;
use crate::error::EntryContext;
use crate::wire::Str;

/// Which entry of a run: how outcomes, ledgers and replies name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId {
    /// The number of the input in the run, from 0.
    pub input: u32,
    /// The number of the entry in its input, from 0, in file order.
    pub ordinal: u64,
    /// Where its record begins, in bytes from the start of the (decompressed) input.
    pub offset: u64,
}

/// Where an entry stands, together with what its own bytes do not say: enough to read it again without the records before
/// it. See [`crate::snapshot::Snapshot::entry_at`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryPlace {
    /// [`Entry::ordinal`].
    pub ordinal: u64,
    /// [`Entry::offset`].
    pub offset: u64,
    /// [`Entry::db`].
    pub db: u64,
    /// [`Entry::dialect`].
    pub dialect: Dialect,
    /// [`Template::offset`] of the template that it refers to.
    pub template_at: Option<u64>,
}

/// A key with its value and attributes. Everything borrows from the input; nothing is decoded.
///
/// Attributes stand in front of the type byte and belong to the next key only, even where `SELECTDB` or aux fields stand in
/// between. The last one of a repeated attribute holds, as in `rdbLoadRio`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'data> {
    /// The number of the entry in its input, from 0, in file order.
    pub ordinal: u64,
    /// Where the record begins (its first attribute, or its type byte), in bytes from the start of the input.
    pub offset: u64,
    /// The database it belongs to.
    pub db: u64,
    /// Whose meaning of the type number holds.
    pub dialect: Dialect,
    /// The type byte.
    pub value_type: ValueType,
    /// The key, as it stands in the file: it may be an integer or compressed.
    pub key: Str<'data>,
    /// The value: exactly the bytes between the key and the next record, without the type byte.
    pub value: &'data [u8],
    /// Where `value` begins, in bytes from the start of the input.
    pub value_offset: u64,
    /// Where the type byte stands, in bytes from the start of the input; the key's string begins one byte behind it.
    pub type_offset: u64,
    /// Absolute expiry in milliseconds of Unix time. `None` where there is none, and for −1, which servers load as none. Zero
    /// and negative times are in the past.
    pub expire_at_ms: Option<i64>,
    /// Seconds since the last access, where the server kept an LRU clock.
    pub idle_seconds: Option<u64>,
    /// The logarithmic counter of accesses, where the server kept LFU counters.
    pub lfu_freq: Option<u8>,
    /// The hash slot that Redis Enterprise noted.
    pub slot: Option<u64>,
    /// Redis 8.6 key metadata: the whole `KEY_META` record verbatim, its opcode included. It stands at the head of a DUMP
    /// payload in the same form.
    pub key_meta: Option<&'data [u8]>,
    /// The field names of a hash of type 30 or 32. `None` for type 30 where its listpack names no known template.
    pub template: Option<Template<'data>>,
    /// KeyDB: the aux records `keydb-subexpire-key` and `keydb-subexpire-when` that stand behind the value, verbatim; empty
    /// elsewhere.
    pub sub_expires: &'data [u8],
    /// Dragonfly: the flags of `DF_MASK`. Bit 0: sticky; bit 1: the memcache flags are set.
    pub df_flags: Option<u32>,
}

impl<'data> Entry<'data> {
    /// What a reader writes its entries to.
    pub(super) fn blank(dialect: Dialect) -> Self {
        Self {
            ordinal: 0,
            offset: 0,
            db: 0,
            dialect,
            value_type: ValueType(0),
            key: Str::Raw(&[]),
            value: &[],
            value_offset: 0,
            type_offset: 0,
            expire_at_ms: None,
            idle_seconds: None,
            lfu_freq: None,
            slot: None,
            key_meta: None,
            template: None,
            sub_expires: &[],
            df_flags: None,
        }
    }

    /// Takes off what most entries do not have.
    #[inline]
    pub(super) fn forget_attributes(&mut self) {
        self.expire_at_ms = None;
        self.idle_seconds = None;
        self.lfu_freq = None;
        self.slot = None;
        self.key_meta = None;
        self.template = None;
        self.sub_expires = &[];
        self.df_flags = None;
    }

    /// The identity of this entry in input number `input` of a run.
    #[must_use]
    pub fn id(&self, input: u32) -> EntryId {
        EntryId {
            input,
            ordinal: self.ordinal,
            offset: self.offset,
        }
    }

    /// Where it stands, for reading it again.
    #[must_use]
    pub fn place(&self) -> EntryPlace {
        EntryPlace {
            ordinal: self.ordinal,
            offset: self.offset,
            db: self.db,
            dialect: self.dialect,
            template_at: self.template.map(|template| template.offset),
        }
    }

    /// What is known of the type.
    #[must_use]
    pub fn type_info(&self) -> Option<TypeInfo> {
        self.value_type.info(self.dialect)
    }

    /// Offset of the first byte behind the value, in bytes from the start of the input.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.value_offset.saturating_add(self.value.len() as u64)
    }

    /// Bytes of the whole record: attributes, type, key and value.
    #[must_use]
    pub fn record_len(&self) -> u64 {
        self.end().saturating_sub(self.offset)
    }

    /// Whether the key is past its time at `now_ms`, as a server that loads the file judges it: strictly before now.
    #[must_use]
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expire_at_ms.is_some_and(|at| at < now_ms)
    }

    /// What an error about this entry says of it.
    #[must_use]
    pub fn context(&self) -> EntryContext {
        EntryContext {
            db: self.db,
            key: self.key.preview(EntryContext::KEY_SHOWN),
            type_name: self.value_type.name(self.dialect),
        }
    }
}
