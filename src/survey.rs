//! What a dump holds, as far as a destination must know it before the first write: one fold over the records.
//!
//! Flat memory: databases, modules and functions are counted apart up to a bound, and a file that goes over it is refused by
//! name, since no server makes such a file.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::payload::payload_type;
use crate::snapshot::{ChecksumState, Dialect, Entry, ModuleId, Producer, Record, ValueType};
use crate::transform::Transform;
use crate::wire::{Cursor, length};

const DIALECTS: [Dialect; 3] = [Dialect::Redis, Dialect::Valkey, Dialect::Dragonfly];

/// The most databases, modules or functions that one dump may hold.
const MOST: usize = 1 << 16;

/// Everything that a destination must be asked about.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Entries of the file.
    pub entries: u64,
    /// Entries that the selection admits.
    pub selected: u64,
    /// Selected entries by database.
    pub dbs: BTreeMap<u64, u64>,
    /// Selected entries by dialect and type byte.
    types: Box<[[u64; 256]; DIALECTS.len()]>,
    /// Selected values of modules, by module.
    pub modules: BTreeMap<ModuleId, u64>,
    /// Selected entries with key metadata.
    pub with_key_meta: u64,
    /// Selected entries with an idle time.
    pub with_idle: u64,
    /// Selected entries with an LFU counter.
    pub with_freq: u64,
    /// Selected entries with an expiry.
    pub with_expiry: u64,
    /// Selected entries whose time, as it arrives, is past at the instant.
    pub expired: u64,
    /// Bytes of the selected values, as they stand in the file.
    pub value_bytes: u64,
    /// Bytes of the largest selected value.
    pub largest_value: u64,
    /// The first, second, fourth, eighth, … selected key, each with its database in the file and its name at the destination: names to try whether the user's rights cover
    /// any. At most 64, of at most 1 KiB each.
    pub samples: Vec<(u64, Vec<u8>)>,
    /// Where the records of function libraries begin, in bytes from the start of the input: see [`crate::snapshot::Function::at`].
    pub functions: Vec<u64>,
    /// Module data that belongs to no key, by module.
    pub module_aux: BTreeMap<ModuleId, u64>,
    /// Cached Lua scripts (aux `lua`).
    pub scripts: u64,
    /// Who wrote the file.
    pub producer: Producer,
    /// What is known of the checksum, once the end of the file was reached.
    pub checksum: Option<ChecksumState>,
    /// Bytes behind the end of the RDB part.
    pub trailing: u64,
    transform: Transform,
}

impl Survey {
    /// An empty survey of a file that `producer` (what its header says so far) wrote.
    #[must_use]
    pub fn new(producer: Producer) -> Self {
        Self {
            entries: 0,
            selected: 0,
            dbs: BTreeMap::new(),
            types: Box::new([[0; 256]; DIALECTS.len()]),
            modules: BTreeMap::new(),
            with_key_meta: 0,
            with_idle: 0,
            with_freq: 0,
            with_expiry: 0,
            expired: 0,
            value_bytes: 0,
            largest_value: 0,
            samples: Vec::new(),
            functions: Vec::new(),
            module_aux: BTreeMap::new(),
            scripts: 0,
            producer,
            checksum: None,
            trailing: 0,
            transform: Transform::default(),
        }
    }

    /// The same of keys that arrive under other names, or with other expiries.
    #[must_use]
    pub fn arriving(self, transform: &Transform) -> Self {
        Self {
            transform: transform.clone(),
            ..self
        }
    }

    /// The first selected key that is short enough to be asked about, of any of these dumps; else a name of ours.
    #[must_use]
    pub fn sample(surveys: &[Self]) -> &[u8] {
        let samples = surveys.iter().flat_map(|survey| &survey.samples);
        samples
            .map(|(_, key)| key.as_slice())
            .next()
            .unwrap_or(b"rdbridge")
    }

    /// Takes in a record that is no entry; entries go to [`Survey::add`].
    ///
    /// # Errors
    /// `Limit` for more modules or functions than any server has.
    pub fn learn(&mut self, record: &Record<'_>) -> Result<()> {
        match record {
            Record::Aux { name, value, .. } => {
                if name.preview(4) == b"lua" {
                    self.scripts = self.scripts.saturating_add(1);
                }
                self.producer.learn(name, value);
            }
            Record::Function(function) => {
                bound(self.functions.len(), "function libraries")?;
                self.functions.push(function.offset());
            }
            Record::ModuleAux { module, .. } => {
                bound(self.module_aux.len(), "modules")?;
                let count = self.module_aux.entry(*module).or_default();
                *count = count.saturating_add(1);
            }
            Record::End(end) => {
                self.checksum = Some(end.checksum);
                self.trailing = end.trailing.len() as u64;
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes in an entry; `selected` is the selection's answer, `now_ms` the run's instant.
    ///
    /// # Errors
    /// `Limit` for more databases or modules than any server has. `Corrupt` where a module's id cannot be read.
    pub fn add(&mut self, entry: &Entry<'_>, selected: bool, now_ms: i64) -> Result<()> {
        self.entries = self.entries.saturating_add(1);
        if !selected {
            return Ok(());
        }
        self.selected = self.selected.saturating_add(1);
        match self.dbs.get_mut(&entry.db) {
            Some(count) => *count = count.saturating_add(1),
            None => {
                bound(self.dbs.len(), "databases")?;
                self.dbs.insert(entry.db, 1);
            }
        }
        let by_type = DIALECTS
            .iter()
            .zip(self.types.iter_mut())
            .find(|(dialect, _)| **dialect == entry.dialect);
        if let Some(count) =
            by_type.and_then(|(_, types)| types.get_mut(usize::from(entry.value_type.0)))
        {
            *count = count.saturating_add(1);
        }
        if entry.value_type == ValueType::MODULE_2 {
            let id = ModuleId(length::read(&mut Cursor::new(
                entry.value,
                entry.value_offset,
            ))?);
            bound(self.modules.len(), "modules")?;
            let count = self.modules.entry(id).or_default();
            *count = count.saturating_add(1);
        }
        let Transform { names, expiries } = &self.transform;
        let expire_at_ms = entry.expire_at_ms.and_then(|at| expiries.arrives(at));
        let is_expired = expire_at_ms.is_some_and(|at| at <= now_ms);
        let size = entry.value.len() as u64;
        self.value_bytes = self.value_bytes.saturating_add(size);
        self.largest_value = self.largest_value.max(size);
        for (count, present) in [
            (&mut self.with_key_meta, entry.key_meta.is_some()),
            (&mut self.with_idle, entry.idle_seconds.is_some()),
            (&mut self.with_freq, entry.lfu_freq.is_some()),
            (&mut self.with_expiry, entry.expire_at_ms.is_some()),
            (&mut self.expired, is_expired),
        ] {
            *count = count.saturating_add(u64::from(present));
        }
        if self.selected.is_power_of_two() {
            let name = names.preview(entry.db, &entry.key, 1024);
            self.samples.push((entry.db, name));
        }
        Ok(())
    }

    /// Selected entries by type, as the file names it; types without entries are left out.
    pub fn types(&self) -> impl Iterator<Item = (Dialect, ValueType, u64)> + '_ {
        DIALECTS
            .into_iter()
            .zip(self.types.iter())
            .flat_map(|(dialect, counts)| {
                (0..=u8::MAX)
                    .zip(counts)
                    .filter(|(_, count)| **count > 0)
                    .map(move |(number, count)| (dialect, ValueType(number), *count))
            })
    }

    /// The types that payloads of the selected entries carry, without repetition.
    #[must_use]
    pub fn payload_types(&self) -> Vec<(Dialect, ValueType)> {
        let mut types: Vec<_> = self
            .types()
            .map(|(dialect, value_type, _)| (dialect, payload_type(value_type, dialect)))
            .collect();
        types.sort_by_key(|(dialect, value_type)| (*dialect as u8, *value_type));
        types.dedup();
        types
    }

    /// Bytes of memory that a server needs for the selected part: the writer's own account of the whole, by share; without
    /// one, the file's bytes and a flat cost per key.
    #[must_use]
    pub fn estimated_memory(&self) -> u64 {
        let by_size = self
            .value_bytes
            .saturating_add(self.selected.saturating_mul(64));
        match self.producer.used_mem {
            Some(used) if self.entries > 0 => {
                let share = u128::from(used) * u128::from(self.selected) / u128::from(self.entries);
                u64::try_from(share)
                    .unwrap_or(u64::MAX)
                    .max(by_size.min(used))
            }
            _ => by_size,
        }
    }

    /// Whether the file has a checksum that was verified. A file without one can be damaged without anybody seeing it.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        matches!(self.checksum, Some(ChecksumState::Verified(_)))
    }
}

fn bound(have: usize, what: &str) -> Result<()> {
    if have < MOST {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Limit,
        format!("more than {MOST} {what} in one dump: no server makes such a file"),
    ))
}
