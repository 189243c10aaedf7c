//! Which entries a run is about: one predicate, shared by every verb, on entries that are not decoded (of their values at most
//! counts and headers are read).
//!
//! Conditions of different kinds must all hold; of several patterns for a key, one must. What is excluded is never admitted.
//! Keys are bytes; a size is that of the value's bytes in the file; times are judged at the run's one instant.
//!
//! A key whose compressed name lies is admitted as long as no condition asks for its name.

mod glob;
mod ledger_line;
mod names;
mod numbers;
mod slot;
mod slots;
mod spelling;
mod ttl;

use std::path::PathBuf;
use std::str::FromStr;

use regex::bytes::Regex;

pub use glob::Glob;
pub use names::{Asked, Missing, Names};
pub use numbers::Numbers;
pub use slot::{SLOTS, hashed_part, slot_of, slot_of_name, steer};
pub use slots::SlotSet;
pub use ttl::{Moment, TtlFilter};

use crate::error::{Error, ErrorKind, Result};
use crate::name_room::NameRoom;
use crate::snapshot::{Entry, Kind, ModuleId, ValueType};
use crate::time::Timestamp;
use crate::value::{Decoder, Lenient};
use crate::wire::{Cursor, Str, length};

/// What was asked for. The default asks for everything.
#[derive(Debug, Default)]
pub struct Criteria {
    /// Only these databases.
    pub dbs: Option<Numbers>,
    /// Not these databases.
    pub exclude_dbs: Option<Numbers>,
    /// Only keys that fit one of these; all where it is empty.
    pub keys: Vec<KeyPattern>,
    /// No keys that fit one of these.
    pub exclude_keys: Vec<KeyPattern>,
    /// Only these types; all where it is empty.
    pub types: Vec<TypeName>,
    /// Not these types.
    pub exclude_types: Vec<TypeName>,
    /// Values of at least so many bytes in the file.
    pub min_size: Option<u64>,
    /// Values of at most so many bytes in the file.
    pub max_size: Option<u64>,
    /// Values of at least so many elements, as [`Decoder::count`] counts them. Modules' values have none.
    pub min_elements: Option<u64>,
    /// Values of at most so many elements.
    pub max_elements: Option<u64>,
    /// Only keys with such an expiry.
    pub ttl: Option<TtlFilter>,
    /// Only keys of these cluster slots.
    pub slots: Option<Numbers>,
    /// No keys of these cluster slots.
    pub exclude_slots: Option<Numbers>,
    /// Only keys in this list.
    pub names: Option<Names>,
}

impl Criteria {
    /// The bounds that [`TtlFilter::Between`] sets in a run at `now`.
    fn expires_within(&self, now: Timestamp) -> (i64, i64) {
        match self.ttl {
            Some(TtlFilter::Between { from, to }) => (
                from.map_or(i64::MIN, |m| m.resolve(now)),
                to.map_or(i64::MAX, |m| m.resolve(now)),
            ),
            _ => (i64::MIN, i64::MAX),
        }
    }
}

/// A pattern for a key's bytes.
#[derive(Debug, Clone)]
pub enum KeyPattern {
    /// As `KEYS` takes it; for the whole key.
    Glob(Glob),
    /// A regular expression; found anywhere in the key unless it is anchored.
    Regex(Regex),
}

impl KeyPattern {
    fn matches(&self, key: &[u8]) -> bool {
        match self {
            KeyPattern::Glob(glob) => glob.matches(key),
            KeyPattern::Regex(regex) => regex.is_match(key),
        }
    }
}

/// A type as typed: a logical kind, or the name of a module's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeName {
    /// `string`, `list`, …, `module`.
    Kind(Kind),
    /// Nine characters, as in [`ModuleId::name`].
    Module(String),
}

impl TypeName {
    fn is(&self, entry: &Entry<'_>) -> bool {
        match self {
            TypeName::Kind(kind) => entry.type_info().is_some_and(|info| info.kind == *kind),
            TypeName::Module(name) => {
                entry.value_type == ValueType::MODULE_2
                    && length::read(&mut Cursor::new(entry.value, 0))
                        .is_ok_and(|id| ModuleId(id).name() == *name)
            }
        }
    }
}

impl FromStr for TypeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(kind) = Kind::from_name(text) {
            return Ok(TypeName::Kind(kind));
        }
        let is_module = text.len() == 9
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if is_module {
            return Ok(TypeName::Module(text.to_owned()));
        }
        Err(format!(
            "{text:?} is no type; there are {}, and the names of module types, which have nine characters",
            Kind::ALL.map(Kind::name).join(", ")
        ))
    }
}

/// The predicate.
#[derive(Debug)]
pub struct Selection {
    criteria: Criteria,
    /// `TtlFilter::Between`, resolved.
    expires_from: i64,
    expires_to: i64,
    /// Some condition asks for the key's name.
    asks_name: bool,
    /// Nothing is asked at all.
    all: bool,
    /// For each input the slots that a newer one has; empty where none has any.
    newer: Vec<SlotSet>,
    /// A key's slot is what Redis Enterprise noted.
    newer_by_notes: bool,
    /// The input that entries come from.
    input: usize,
    /// The last entry was asked for, and a newer input has its slot.
    left_to_newer: bool,
    spool_dir: PathBuf,
    /// What counts elements, from the first time on that it is asked to.
    counter: Option<Box<Decoder<Lenient>>>,
}

impl Selection {
    /// The predicate for a run at `now`. `spool_dir` takes names that are compressed and over [`Str::MAX_BUFFERED`].
    ///
    /// # Errors
    /// `Usage` for a slot that no cluster has.
    pub fn new(criteria: Criteria, now: Timestamp, spool_dir: PathBuf) -> Result<Self> {
        for slots in [&criteria.slots, &criteria.exclude_slots] {
            if let Some(max) = slots.as_ref().and_then(Numbers::max)
                && max >= u64::from(SLOTS)
            {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("there is no slot {max}: a cluster has 0 to {}", SLOTS - 1),
                ));
            }
        }
        let (expires_from, expires_to) = criteria.expires_within(now);
        let asks_name = !criteria.keys.is_empty()
            || !criteria.exclude_keys.is_empty()
            || criteria.slots.is_some()
            || criteria.exclude_slots.is_some()
            || criteria.names.is_some();
        let all = !asks_name
            && criteria.dbs.is_none()
            && criteria.exclude_dbs.is_none()
            && criteria.types.is_empty()
            && criteria.exclude_types.is_empty()
            && criteria.min_size.is_none()
            && criteria.max_size.is_none()
            && criteria.min_elements.is_none()
            && criteria.max_elements.is_none()
            && criteria.ttl.is_none();
        Ok(Self {
            criteria,
            expires_from,
            expires_to,
            asks_name,
            all,
            newer: Vec::new(),
            newer_by_notes: false,
            input: 0,
            left_to_newer: false,
            spool_dir,
            counter: None,
        })
    }

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self {
            criteria: Criteria::default(),
            expires_from: i64::MIN,
            expires_to: i64::MAX,
            asks_name: false,
            all: true,
            newer: Vec::new(),
            newer_by_notes: false,
            input: 0,
            left_to_newer: false,
            spool_dir: PathBuf::new(),
            counter: None,
        }
    }

    /// The same for a run at another instant, which a destination's clock can turn out to be.
    pub fn at(&mut self, now: Timestamp) {
        (self.expires_from, self.expires_to) = self.criteria.expires_within(now);
    }

    /// Whether everything was asked for.
    #[must_use]
    #[inline]
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// Whether keys of database `db` can be admitted at all.
    #[must_use]
    pub fn admits_db(&self, db: u64) -> bool {
        self.criteria
            .dbs
            .as_ref()
            .is_none_or(|dbs| dbs.contains(db))
            && !self
                .criteria
                .exclude_dbs
                .as_ref()
                .is_some_and(|dbs| dbs.contains(db))
    }

    /// Whether `entry` is asked for. `scratch` is overwritten where its name has to be decoded.
    ///
    /// # Errors
    /// `Corrupt` where a condition asks for a name whose compressed bytes lie, or for the elements of a value whose head
    /// cannot be read: the entry's own fault, the next one can still be judged. `Limit` and `Io` where a spool was needed.
    #[inline]
    pub fn admits(&mut self, entry: &Entry<'_>, scratch: &mut Vec<u8>) -> Result<bool> {
        if self.all && self.newer.is_empty() {
            return Ok(true);
        }
        let asked = self.all || self.judge(entry, scratch)?;
        self.left_to_newer = asked && self.newer_has(entry, scratch);
        Ok(asked && !self.left_to_newer)
    }

    /// For each input the slots whose keys are left out of it, since another input has them and is newer. With `by_notes` a
    /// key's slot is the one that Redis Enterprise noted, not that of its name.
    pub fn leave_to_newer(&mut self, slots: Vec<SlotSet>, by_notes: bool) {
        self.newer_by_notes = by_notes;
        self.newer = match slots.iter().all(SlotSet::is_empty) {
            true => Vec::new(),
            false => slots,
        };
    }

    /// The entries that follow are those of this input.
    pub fn in_input(&mut self, input: u32) {
        self.input = usize::try_from(input).unwrap_or(usize::MAX);
    }

    /// Whether the last entry was asked for and not admitted, since a newer input has its slot.
    #[must_use]
    pub fn left_to_newer(&self) -> bool {
        self.left_to_newer
    }

    /// A name that cannot be read has no slot.
    fn newer_has(&self, entry: &Entry<'_>, scratch: &mut Vec<u8>) -> bool {
        let slots = self.newer.get(self.input);
        slots.is_some_and(|slots| {
            if self.newer_by_notes {
                let noted = entry.slot.and_then(|slot| u16::try_from(slot).ok());
                return noted.is_some_and(|slot| slots.contains(slot));
            }
            let slot = slot_of_name(&entry.key, scratch);
            slot.is_ok_and(|slot| slots.contains(slot))
        })
    }

    /// The list of names, where one was given.
    #[must_use]
    pub fn names(&self) -> Option<&Names> {
        self.criteria.names.as_ref()
    }

    /// Ends a run that asked for a list of names: those that no entry had. `None` where no list was given.
    ///
    /// # Errors
    /// `Limit` and `Io` of a spool.
    pub fn missing(self) -> Result<Option<Missing>> {
        self.criteria.names.map(Names::missing).transpose()
    }

    fn judge(&mut self, entry: &Entry<'_>, scratch: &mut Vec<u8>) -> Result<bool> {
        if !self.admits_db(entry.db) || !self.admits_unnamed(entry) {
            return Ok(false);
        }
        Ok((!self.asks_name || self.admits_key(entry, scratch)?) && self.admits_elements(entry)?)
    }

    fn admits_key(&mut self, entry: &Entry<'_>, scratch: &mut Vec<u8>) -> Result<bool> {
        let with_key = |error: Error| error.or_entry(|| entry.context());
        match entry.key {
            // A name of many megabytes that was compressed: flat memory needs a place outside of it.
            Str::Lzf(packed) if packed.ulen > Str::MAX_BUFFERED => {
                let mut room = NameRoom::new(Some(&self.spool_dir));
                self.admits_name(entry.db, room.bytes(&entry.key).map_err(with_key)?)
            }
            key => {
                let name = key.bytes(scratch).map_err(with_key)?;
                self.admits_name(entry.db, name)
            }
        }
    }

    /// The conditions on the number of elements.
    fn admits_elements(&mut self, entry: &Entry<'_>) -> Result<bool> {
        let (min, max) = (self.criteria.min_elements, self.criteria.max_elements);
        if min.is_none() && max.is_none() {
            return Ok(true);
        }
        if entry.value_type == ValueType::MODULE_2 {
            return Ok(false);
        }
        let spool_dir = &self.spool_dir;
        let count = self
            .counter
            .get_or_insert_with(|| Box::new(Decoder::with_findings(Some(spool_dir), Lenient)))
            .count(entry)?;
        Ok(min.is_none_or(|min| min <= count) && max.is_none_or(|max| count <= max))
    }

    /// The conditions that need no name.
    fn admits_unnamed(&self, entry: &Entry<'_>) -> bool {
        let asked = &self.criteria;
        let size = entry.value.len() as u64;
        if asked.min_size.is_some_and(|min| size < min)
            || asked.max_size.is_some_and(|max| size > max)
        {
            return false;
        }
        let in_time = match (asked.ttl, entry.expire_at_ms) {
            (None, _) | (Some(TtlFilter::Any), Some(_)) | (Some(TtlFilter::None), None) => true,
            (Some(TtlFilter::Between { .. }), Some(at)) => {
                self.expires_from <= at && at < self.expires_to
            }
            _ => false,
        };
        in_time
            && (asked.types.is_empty() || asked.types.iter().any(|t| t.is(entry)))
            && !asked.exclude_types.iter().any(|t| t.is(entry))
    }

    fn admits_name(&mut self, db: u64, name: &[u8]) -> Result<bool> {
        let asked = &mut self.criteria;
        // First, so that a name that was asked for counts as met whatever else is asked of it.
        if let Some(names) = &mut asked.names
            && !names.meet(db, name)?
        {
            return Ok(false);
        }
        if asked.slots.is_some() || asked.exclude_slots.is_some() {
            let slot = u64::from(slot_of(name));
            let excluded =
                |slots: &Option<Numbers>| slots.as_ref().is_some_and(|s| s.contains(slot));
            if excluded(&asked.exclude_slots) || (asked.slots.is_some() && !excluded(&asked.slots))
            {
                return Ok(false);
            }
        }
        Ok(
            (asked.keys.is_empty() || asked.keys.iter().any(|p| p.matches(name)))
                && !asked.exclude_keys.iter().any(|p| p.matches(name)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Dialect;

    fn entry<'a>(key: Str<'a>, value_type: u8, value: &'a [u8]) -> Entry<'a> {
        Entry {
            ordinal: 0,
            offset: 9,
            db: 0,
            dialect: Dialect::Redis,
            value_type: ValueType(value_type),
            key,
            value,
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

    const NOW: Timestamp = Timestamp(1_000_000);

    fn selection(change: impl FnOnce(&mut Criteria)) -> Selection {
        let mut criteria = Criteria::default();
        change(&mut criteria);
        Selection::new(criteria, NOW, std::env::temp_dir()).unwrap()
    }

    fn admits(selection: &mut Selection, entry: &Entry<'_>) -> bool {
        selection.admits(entry, &mut Vec::new()).unwrap()
    }

    fn glob(pattern: &str) -> KeyPattern {
        KeyPattern::Glob(Glob::new(pattern.as_bytes()))
    }

    #[test]
    fn nothing_asked_admits_everything_even_a_name_that_lies() {
        let lies = Str::Lzf(crate::wire::string::Lzf {
            compressed: b"\x00a",
            ulen: 50,
            offset: 10,
        });
        let damaged = entry(lies, 0, b"\x01v");
        let mut all = selection(|_| {});
        assert!(all.is_all() && admits(&mut all, &damaged));
        let mut by_type = selection(|c| c.types = vec!["string".parse().unwrap()]);
        assert!(!by_type.is_all() && admits(&mut by_type, &damaged));
        let mut by_name = selection(|c| c.keys = vec![glob("a*")]);
        let error = by_name.admits(&damaged, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(
            error.entry().is_some() && error.place().is_some(),
            "{error}"
        );
        // The next one is judged as ever.
        assert!(admits(&mut by_name, &entry(Str::Raw(b"ab"), 0, b"")));
    }

    #[test]
    fn elements_are_counted_by_heads() {
        let string = entry(Str::Raw(b"s"), 0, b"\x03abc");
        let list = entry(Str::Raw(b"l"), 1, b"\x03\x01a\x01b\x01c");
        let module = entry(Str::Raw(b"m"), 7, b"\x05\x02\x07\x00");
        let broken = entry(Str::Raw(b"b"), 16, b"\x01a");
        for (min, max, of_string, of_list) in [
            (Some(1), None, true, true),
            (Some(2), None, false, true),
            (None, Some(2), true, false),
            (Some(3), Some(3), false, true),
            (Some(4), Some(u64::MAX), false, false),
            (None, Some(0), false, false),
        ] {
            let mut selection = selection(|c| (c.min_elements, c.max_elements) = (min, max));
            assert!(!selection.is_all());
            let answers = (
                admits(&mut selection, &string),
                admits(&mut selection, &list),
            );
            assert_eq!(answers, (of_string, of_list), "{min:?} {max:?}");
            assert!(
                !admits(&mut selection, &module),
                "what modules write is no element"
            );
            let error = selection.admits(&broken, &mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.entry().is_some(), "{error}");
        }
    }

    #[test]
    fn each_condition() {
        let plain = entry(Str::Raw(b"user:1"), 0, b"\x03abc");
        let mut other = plain;
        other.db = 3;
        other.key = Str::Int(17);
        other.value_type = ValueType(16);
        other.value = &[0; 100];
        other.expire_at_ms = Some(NOW.0 + 5000);
        type Change = fn(&mut Criteria);
        let cases: &[(Change, bool, bool)] = &[
            (|c| c.dbs = Some("0".parse().unwrap()), true, false),
            (
                |c| c.exclude_dbs = Some("0,1".parse().unwrap()),
                false,
                true,
            ),
            (|c| c.keys = vec![glob("user:*")], true, false),
            (|c| c.keys = vec![glob("x"), glob("1?")], false, true),
            (
                |c| c.keys = vec![KeyPattern::Regex(Regex::new("^(1|u)").unwrap())],
                true,
                true,
            ),
            (|c| c.exclude_keys = vec![glob("*7")], true, false),
            (
                |c| c.types = vec!["hash".parse().unwrap(), "list".parse().unwrap()],
                false,
                true,
            ),
            (
                |c| c.exclude_types = vec!["hash".parse().unwrap()],
                true,
                false,
            ),
            (|c| c.min_size = Some(4), true, true),
            (|c| c.min_size = Some(5), false, true),
            (|c| c.max_size = Some(99), true, false),
            (|c| c.ttl = Some(TtlFilter::Any), false, true),
            (|c| c.ttl = Some(TtlFilter::None), true, false),
            (|c| c.ttl = Some("..5s".parse().unwrap()), false, false),
            (|c| c.ttl = Some("5s..".parse().unwrap()), false, true),
            (|c| c.slots = Some("0-16383".parse().unwrap()), true, true),
            (
                |c| c.slots = Some(slot_of(b"17").to_string().parse().unwrap()),
                false,
                true,
            ),
            (
                |c| c.exclude_slots = Some(slot_of(b"17").to_string().parse().unwrap()),
                true,
                false,
            ),
            (
                |c| {
                    c.dbs = Some("0-3".parse().unwrap());
                    c.min_size = Some(5);
                },
                false,
                true,
            ),
        ];
        for (i, (change, first, second)) in cases.iter().enumerate() {
            let mut selection = selection(change);
            assert_eq!(
                (
                    admits(&mut selection, &plain),
                    admits(&mut selection, &other)
                ),
                (*first, *second),
                "case {i}"
            );
        }
    }

    #[test]
    fn modules_go_by_their_type_name() {
        // "vectorset" version 0, as an RDB length of 64 bits.
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let id = b"vectorset".iter().fold(0u64, |id, c| {
            id << 6 | alphabet.iter().position(|a| a == c).unwrap() as u64
        }) << 10;
        let value = [&[0x81][..], &id.to_be_bytes(), &[0]].concat();
        let module = entry(Str::Raw(b"v"), 7, &value);
        let mut by_name = selection(|c| c.types = vec!["vectorset".parse().unwrap()]);
        assert!(admits(&mut by_name, &module));
        assert!(!admits(&mut by_name, &entry(Str::Raw(b"v"), 0, b"")));
        let mut by_kind = selection(|c| c.types = vec!["module".parse().unwrap()]);
        assert!(admits(&mut by_kind, &module));
        assert!(
            "vector"
                .parse::<TypeName>()
                .unwrap_err()
                .contains("string, list")
        );
    }

    #[test]
    fn a_compressed_name_of_many_megabytes_is_judged() {
        let name = b"long name ".repeat(300_000);
        let packed = lzf::compress(&name).unwrap();
        let key = Str::Lzf(crate::wire::string::Lzf {
            compressed: &packed,
            ulen: name.len() as u64,
            offset: 0,
        });
        let long = entry(key, 0, b"");
        assert!(admits(
            &mut selection(|c| c.keys = vec![glob("long*name ")]),
            &long
        ));
        let slot = slot_of(&name).to_string().parse().unwrap();
        assert!(admits(&mut selection(|c| c.slots = Some(slot)), &long));
        assert!(!admits(
            &mut selection(|c| c.keys = vec![glob("short*")]),
            &long
        ));
    }

    #[test]
    fn a_list_of_names() {
        let names = Names::read(b"a\nb\nc\n".to_vec(), false, &std::env::temp_dir()).unwrap();
        let mut selection = selection(|c| {
            c.names = Some(names);
            c.exclude_keys = vec![glob("b")];
        });
        assert!(admits(&mut selection, &entry(Str::Raw(b"a"), 0, b"")));
        assert!(!admits(&mut selection, &entry(Str::Raw(b"b"), 0, b"")));
        assert!(!admits(&mut selection, &entry(Str::Raw(b"d"), 0, b"")));
        let missing = selection.missing().unwrap().unwrap();
        let never = Asked {
            db: None,
            key: b"c".to_vec(),
            bytes: 1,
        };
        assert_eq!(missing.names().collect::<Vec<_>>(), [never]);
    }

    #[test]
    fn a_slot_that_no_cluster_has() {
        let criteria = Criteria {
            slots: Some("0-16384".parse().unwrap()),
            ..Criteria::default()
        };
        let error = Selection::new(criteria, NOW, PathBuf::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no slot 16384: a cluster has 0 to 16383"
        );
    }
}
