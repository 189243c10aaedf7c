//! Counting entries: arrays indexed by type byte, nothing hashed, nothing allocated for a key.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Escaped;
use crate::reencode::{Form, older_forms};
use crate::snapshot::{Dialect, Entry, Kind, ValueType};
use crate::time::Timestamp;

/// One more than the largest type byte: above, opcodes begin.
const TYPES: usize = 101;

/// Keys and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Entries.
    pub keys: u64,
    /// Bytes of their records: attributes, type, key and value, as they stand in the file.
    pub bytes: u64,
}

impl Count {
    #[inline]
    fn add(&mut self, bytes: u64) {
        self.keys = self.keys.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn merge(&mut self, other: Count) {
        self.keys = self.keys.saturating_add(other.keys);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Counts by type byte.
#[derive(Debug, Clone)]
pub struct Types {
    dialect: Dialect,
    counts: Box<[Count; TYPES]>,
    /// Entries among them with key metadata, which exist since RDB 13.
    with_meta: Box<[u64; TYPES]>,
}

impl Default for Types {
    fn default() -> Self {
        Self {
            dialect: Dialect::Redis,
            counts: Box::new([Count::default(); TYPES]),
            with_meta: Box::new([0; TYPES]),
        }
    }
}

/// One line of the table of types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TypeCount {
    /// The type byte.
    pub number: u8,
    /// Type and encoding in one word.
    pub name: String,
    /// As `TYPE key` answers.
    pub kind: &'static str,
    /// How it is stored.
    pub encoding: &'static str,
    /// Entries and bytes.
    #[serde(flatten)]
    pub count: Count,
}

impl Types {
    #[inline]
    fn add(&mut self, entry: &Entry<'_>, bytes: u64) {
        let at = usize::from(entry.value_type.0);
        if let Some(count) = self.counts.get_mut(at) {
            count.add(bytes);
        }
        if entry.key_meta.is_some()
            && let Some(count) = self.with_meta.get_mut(at)
        {
            *count = count.saturating_add(1);
        }
    }

    /// The types that occur, by kind and then by number.
    #[must_use]
    pub fn list(&self) -> Vec<TypeCount> {
        let mut list: Vec<_> = self
            .occurring()
            .map(|(value_type, count, _)| {
                let info = value_type.info(self.dialect);
                TypeCount {
                    number: value_type.0,
                    name: value_type.name(self.dialect).into_owned(),
                    kind: info.map_or("unknown", |info| info.kind.name()),
                    encoding: info.map_or("unknown", |info| info.encoding),
                    count,
                }
            })
            .collect();
        list.sort_by_key(|line| {
            let kind = Kind::ALL.iter().position(|kind| kind.name() == line.kind);
            (kind.unwrap_or(usize::MAX), line.number)
        });
        list
    }

    /// Keys whose type `known` does not accept, but an older form of it that has room for their meaning. (Of streams that
    /// use what newer forms brought, some may still be refused.)
    pub(super) fn keys_with_older_form(&self, known: impl Fn(u16) -> bool) -> u64 {
        let since = |form: Form| form.value_type.info(form.dialect).map(|info| info.since);
        let keys = self
            .occurring()
            .filter_map(|(value_type, count, with_meta)| {
                let form = Form {
                    value_type,
                    dialect: self.dialect,
                };
                if since(form).is_none_or(&known) {
                    return None;
                }
                older_forms(form)
                    .iter()
                    .filter(|older| !older.forgets_expiries_of(form))
                    .any(|older| since(*older).is_some_and(&known))
                    .then(|| count.keys.saturating_sub(with_meta))
            });
        keys.fold(0, u64::saturating_add)
    }

    /// Keys whose type exists since an RDB version that `known` accepts. Values of modules are not among them.
    pub(super) fn keys_where(&self, known: impl Fn(u16) -> bool) -> u64 {
        self.occurring()
            .filter_map(|(value_type, count, with_meta)| {
                let info = value_type.info(self.dialect)?;
                if info.kind == Kind::Module
                    || self.dialect == Dialect::Dragonfly && info.since == 9 && value_type.0 >= 20
                {
                    return None;
                }
                let plain = count.keys.saturating_sub(with_meta);
                let since = info.since;
                Some(
                    if known(since) { plain } else { 0 }.saturating_add(if known(since.max(13)) {
                        with_meta
                    } else {
                        0
                    }),
                )
            })
            .sum()
    }

    fn occurring(&self) -> impl Iterator<Item = (ValueType, Count, u64)> + '_ {
        (0u8..)
            .zip(self.counts.iter().zip(self.with_meta.iter()))
            .filter(|(_, (count, _))| count.keys > 0)
            .map(|(number, (count, meta))| (ValueType(number), *count, *meta))
    }
}

/// One database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Database {
    /// Its number.
    pub db: u64,
    /// Entries and bytes.
    #[serde(flatten)]
    pub count: Count,
    /// Keys with an expiry.
    pub expires: u64,
    /// Keys among them whose time was past at the run's instant.
    pub expired: u64,
    /// Keys with an idle time.
    pub with_idle: u64,
    /// Keys with an access frequency.
    pub with_freq: u64,
}

impl Database {
    fn merge(&mut self, other: &Database) {
        self.count.merge(other.count);
        self.expires = self.expires.saturating_add(other.expires);
        self.expired = self.expired.saturating_add(other.expired);
        self.with_idle = self.with_idle.saturating_add(other.with_idle);
        self.with_freq = self.with_freq.saturating_add(other.with_freq);
    }
}

/// A key with a large value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Big {
    /// Its database.
    pub db: u64,
    /// Its name, escaped (without quotes), at most 128 bytes of it.
    pub key: String,
    /// Type and encoding in one word.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Bytes of the value in the file.
    pub bytes: u64,
    /// Where its record begins.
    pub offset: u64,
}

/// All that is counted for each entry.
#[derive(Debug)]
pub(super) struct Counter<'data> {
    now: Timestamp,
    /// The database that entries come from now; merged into `databases` when another one begins.
    current: Database,
    types: Types,
    databases: BTreeMap<u64, Database>,
    left_off: Option<Database>,
    top: usize,
    /// The largest values, the smallest of them last.
    biggest: Vec<Entry<'data>>,
    /// A value must be larger than this to be among them.
    threshold: usize,
}

impl<'data> Counter<'data> {
    /// More databases than this are counted together.
    const MOST_DBS: usize = 4096;

    pub(super) fn new(now: Timestamp, top: usize) -> Self {
        Self {
            now,
            current: Database::default(),
            types: Types::default(),
            databases: BTreeMap::new(),
            left_off: None,
            top,
            biggest: Vec::new(),
            threshold: if top == 0 { usize::MAX } else { 0 },
        }
    }

    #[inline]
    pub(super) fn add(&mut self, entry: &Entry<'data>) {
        if entry.db != self.current.db {
            self.change_db(entry.db);
        }
        let bytes = entry.record_len();
        self.types.add(entry, bytes);
        let db = &mut self.current;
        db.count.add(bytes);
        db.expires = db
            .expires
            .saturating_add(u64::from(entry.expire_at_ms.is_some()));
        db.expired = db
            .expired
            .saturating_add(u64::from(entry.is_expired(self.now.0)));
        db.with_idle = db
            .with_idle
            .saturating_add(u64::from(entry.idle_seconds.is_some()));
        db.with_freq = db
            .with_freq
            .saturating_add(u64::from(entry.lfu_freq.is_some()));
        if entry.value.len() > self.threshold {
            self.keep(entry);
        }
    }

    #[cold]
    fn change_db(&mut self, db: u64) {
        let done = std::mem::take(&mut self.current);
        self.current.db = db;
        if done.count.keys == 0 {
            return;
        }
        if let Some(known) = self.databases.get_mut(&done.db) {
            known.merge(&done);
        } else if self.databases.len() < Self::MOST_DBS {
            self.databases.insert(done.db, done);
        } else {
            self.left_off.get_or_insert_default().merge(&done);
        }
    }

    fn keep(&mut self, entry: &Entry<'data>) {
        let at = self
            .biggest
            .partition_point(|kept| kept.value.len() >= entry.value.len());
        self.biggest.insert(at, *entry);
        self.biggest.truncate(self.top);
        if self.biggest.len() == self.top {
            self.threshold = self.biggest.last().map_or(0, |kept| kept.value.len());
        }
    }

    /// Ends counting.
    pub(super) fn finish(mut self, dialect: Dialect) -> Counted {
        self.change_db(0);
        self.types.dialect = dialect;
        let mut total = Database::default();
        for db in self.databases.values().chain(&self.left_off) {
            total.merge(db);
        }
        Counted {
            total,
            highest_db: self.databases.keys().next_back().copied().unwrap_or(0),
            databases: self.databases.into_values().collect(),
            databases_left_off: self.left_off,
            biggest: self.biggest.iter().map(big).collect(),
            types: self.types,
        }
    }
}

fn big(entry: &Entry<'_>) -> Big {
    let context = entry.context();
    let quoted = Escaped(&context.key).to_string();
    let bare = quoted
        .strip_prefix('"')
        .and_then(|q| q.strip_suffix('"'))
        .unwrap_or(&quoted);
    Big {
        db: entry.db,
        key: bare.to_owned(),
        type_name: context.type_name.into_owned(),
        bytes: entry.value.len() as u64,
        offset: entry.offset,
    }
}

/// The sums.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) total: Database,
    pub(super) highest_db: u64,
    pub(super) databases: Vec<Database>,
    pub(super) databases_left_off: Option<Database>,
    pub(super) biggest: Vec<Big>,
    pub(super) types: Types,
}
