//! `info`: what is in a file, in one pass and flat memory.

mod counts;
mod scripts;
mod servers;
mod slots;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

pub use counts::{Big, Count, Database, TypeCount, Types};
pub use scripts::Script;
pub use servers::{Loadable, RawShare};

use self::counts::Counter;
use self::scripts::Scripts;
use self::servers::Demands;
use self::slots::Slots;
use super::{Ticker, Watch, is_wrong_checksum, tail_name};
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::input::{Tail, classify_tail};
use crate::select::Selection;
use crate::snapshot::{
    ChecksumState, Dialect, Entry, Function, Lent, ModuleId, Producer, Record, Snapshot, ValueType,
};
use crate::time::Timestamp;
use crate::wire::{Cursor, Str, length};

/// How an overview is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The run's one instant: what is expired is judged by it.
    pub now: Timestamp,
    /// How many of the largest values are named.
    pub top: usize,
}

/// At most so many aux fields, libraries and modules are listed; the rest is counted.
const MOST_LISTED: usize = 1000;

/// What is in a file.
#[derive(Debug, Serialize)]
pub struct Info {
    /// `REDIS` or `VALKEY` with the version's digits.
    pub magic: String,
    /// The version.
    pub rdb_version: u16,
    /// Bytes of the file, inflated.
    pub bytes: u64,
    /// Who wrote it and when.
    pub producer: Producer,
    /// `verified`, `wrong`, `disabled` (zero in the file), `none` (before version 5), or `not-reached`.
    pub checksum: &'static str,
    /// Aux fields in the order of the file.
    pub aux: Vec<Aux>,
    /// Entries that the selection admitted.
    pub keys: u64,
    /// Entries that it left out.
    pub not_selected: u64,
    /// Sums over all databases.
    pub total: Database,
    /// By database.
    pub databases: Vec<Database>,
    /// Databases beyond those listed, counted together.
    pub databases_left_off: Option<Database>,
    /// By type and encoding.
    pub types: Vec<TypeCount>,
    /// The largest values.
    pub biggest: Vec<Big>,
    /// Function libraries.
    pub functions: Vec<Library>,
    /// How many there are, those that are not listed included.
    pub function_count: u64,
    /// Values of modules.
    pub modules: Vec<ModuleCount>,
    /// Data of modules that belongs to no key.
    pub module_aux: Vec<ModuleCount>,
    /// Cached Lua scripts.
    pub scripts: Count,
    /// The first hundred of them.
    pub script_list: Vec<Script>,
    /// Keys with metadata of Redis 8.6.
    pub with_key_meta: u64,
    /// Keys with members that expire by themselves (KeyDB).
    pub with_sub_expires: u64,
    /// Hash templates of Redis 8.10.
    pub hash_templates: u64,
    /// The slots that a cluster node noted, as ranges.
    pub slots: Option<String>,
    /// What stands behind the end.
    pub trailing: Trailing,
    /// Where the file can be loaded.
    pub loadable: Loadable,
    /// Why the file could not be read to its end: everything above is what stands before that place.
    #[serde(serialize_with = "as_text")]
    pub damage: Option<Error>,
}

/// An aux field, escaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Aux {
    /// Its name.
    pub name: String,
    /// At most 256 bytes of its value.
    pub value: String,
}

/// A function library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Library {
    /// Its name, escaped; `None` where its first line has none or is damaged.
    pub name: Option<String>,
    /// `lua`.
    pub engine: Option<String>,
    /// Bytes of its source.
    pub bytes: u64,
    /// As release candidates of 7.0 wrote it.
    pub pre_ga: bool,
}

/// Values or data of one module type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleCount {
    /// The nine characters of the type's name.
    pub name: String,
    /// The version of its encoding.
    pub version: u16,
    /// Values (or records) and bytes.
    #[serde(flatten)]
    pub count: Count,
}

/// What stands behind the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Trailing {
    /// Bytes.
    pub bytes: u64,
    /// What they seem to be.
    #[serde(serialize_with = "tail_as_name")]
    pub kind: Tail,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn tail_as_name<S: Serializer>(tail: &Tail, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(tail_name(*tail))
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn as_text<S: Serializer>(error: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_some(&error.as_ref().map(ToString::to_string))
}

/// Reads one input to its end, or to the damage that stops it.
///
/// # Errors
/// Not for damage, which is data here: what `watch` returns, and what the selection fails with.
pub fn info(
    snapshot: &Snapshot<'_>,
    options: &Options,
    selection: &mut Selection,
    watch: &mut Watch<'_>,
) -> Result<Info> {
    let mut overview = Overview::new(snapshot, options);
    let dialect = snapshot.read(|records| {
        let mut ticker = Ticker::default();
        let mut scratch = Vec::new();
        loop {
            ticker.tick(watch, records.offset(), records.entries_seen())?;
            match records.lend() {
                Ok(Some(Lent::Entry(entry))) => {
                    // A damaged name counts: `check` says what is wrong with it.
                    match selection.admits(entry, &mut scratch) {
                        Ok(false) => {
                            overview.not_selected = overview.not_selected.saturating_add(1);
                            continue;
                        }
                        Ok(true) => {}
                        Err(error) if error.kind() == ErrorKind::Corrupt => {}
                        Err(error) => return Err(error),
                    }
                    overview.entry(entry);
                }
                Ok(Some(Lent::Other(record))) => overview.record(&record),
                Ok(None) => break,
                Err(error) => {
                    if is_wrong_checksum(&error) {
                        overview.checksum = "wrong";
                    }
                    overview.damage = Some(error);
                    break;
                }
            }
        }
        overview.enterprise = records.enterprise_opcodes() > 0;
        Ok(records.dialect())
    })?;
    Ok(overview.finish(dialect))
}

/// An overview that is being made.
struct Overview<'data> {
    snapshot: Snapshot<'data>,
    counter: Counter<'data>,
    producer: Producer,
    checksum: &'static str,
    aux: Vec<Aux>,
    not_selected: u64,
    functions: Vec<Library>,
    function_count: u64,
    pre_ga_functions: bool,
    modules: Modules,
    module_aux: Modules,
    scripts: Scripts,
    with_key_meta: u64,
    with_sub_expires: u64,
    hash_templates: u64,
    slots: Slots,
    trailing: Trailing,
    enterprise: bool,
    damage: Option<Error>,
}

impl<'data> Overview<'data> {
    fn new(snapshot: &Snapshot<'data>, options: &Options) -> Self {
        Self {
            snapshot: *snapshot,
            counter: Counter::new(options.now, options.top),
            producer: Producer::new(snapshot.header()),
            checksum: "not-reached",
            aux: Vec::new(),
            not_selected: 0,
            functions: Vec::new(),
            function_count: 0,
            pre_ga_functions: false,
            modules: Modules::default(),
            module_aux: Modules::default(),
            scripts: Scripts::default(),
            with_key_meta: 0,
            with_sub_expires: 0,
            hash_templates: 0,
            slots: Slots::default(),
            trailing: Trailing {
                bytes: 0,
                kind: Tail::None,
            },
            enterprise: false,
            damage: None,
        }
    }

    #[inline]
    fn entry(&mut self, entry: &Entry<'data>) {
        self.counter.add(entry);
        if entry.value_type == ValueType::MODULE_2
            || entry.key_meta.is_some()
            || !entry.sub_expires.is_empty()
            || entry.slot.is_some()
        {
            self.rare_entry(entry);
        }
    }

    #[cold]
    fn rare_entry(&mut self, entry: &Entry<'data>) {
        if entry.value_type == ValueType::MODULE_2
            && let Ok(id) = length::read(&mut Cursor::new(entry.value, entry.value_offset))
        {
            self.modules.add(ModuleId(id), entry.value.len() as u64);
        }
        self.with_key_meta = self
            .with_key_meta
            .saturating_add(u64::from(entry.key_meta.is_some()));
        self.with_sub_expires = self
            .with_sub_expires
            .saturating_add(u64::from(!entry.sub_expires.is_empty()));
        if let Some(slot) = entry.slot {
            self.slots.add(slot);
        }
    }

    fn record(&mut self, record: &Record<'data>) {
        match record {
            Record::Aux { name, value, .. } => self.aux(name, value),
            Record::Function(function) => self.function(function),
            Record::ModuleAux { module, bytes, .. } => {
                self.module_aux.add(*module, bytes.len() as u64);
            }
            Record::HashTemplate(_) => {
                self.hash_templates = self.hash_templates.saturating_add(1);
            }
            Record::SlotInfo { slot, .. } => self.slots.add(*slot),
            Record::End(end) => {
                self.checksum = match end.checksum {
                    ChecksumState::None => "none",
                    ChecksumState::Disabled => "disabled",
                    ChecksumState::Verified(_) => "verified",
                    ChecksumState::NotVerified(_) => "not-verified",
                };
                self.trailing = Trailing {
                    bytes: end.trailing.len() as u64,
                    kind: classify_tail(end.trailing),
                };
            }
            _ => {}
        }
    }

    fn aux(&mut self, name: &Str<'_>, value: &Str<'_>) {
        self.producer.learn(name, value);
        let bytes = name.preview(64);
        match bytes.as_slice() {
            b"lua" => {
                self.scripts.add(value);
                return;
            }
            b"slot-info" => {
                // Slot, keys, keys with expiry.
                let text = value.preview(64);
                let digits = text.split(|b| *b == b',').next().unwrap_or_default();
                if let Some(slot) = std::str::from_utf8(digits)
                    .ok()
                    .and_then(|d| d.parse().ok())
                {
                    self.slots.add(slot);
                }
                return;
            }
            // Stand with single keys.
            b"mvcc-tstamp" | b"keydb-subexpire-key" | b"keydb-subexpire-when" => return,
            _ => {}
        }
        if self.aux.len() < MOST_LISTED {
            self.aux.push(Aux {
                name: bare(&bytes),
                value: bare(&value.preview(256)),
            });
        }
    }

    fn function(&mut self, function: &Function<'_>) {
        self.function_count = self.function_count.saturating_add(1);
        let pre_ga = matches!(function, Function::PreGa { .. });
        self.pre_ga_functions |= pre_ga;
        if self.functions.len() < MOST_LISTED {
            let name = |bytes: Result<Option<Vec<u8>>>| {
                bytes
                    .ok()
                    .flatten()
                    .map(|bytes| bare(bytes.get(..256).unwrap_or(&bytes)))
            };
            self.functions.push(Library {
                name: name(function.name()),
                engine: name(function.engine()),
                bytes: function.code().len(),
                pre_ga,
            });
        }
    }

    fn finish(self, dialect: Dialect) -> Info {
        let header = self.snapshot.header();
        let counted = self.counter.finish(dialect);
        let mut modules: Vec<String> = self
            .modules
            .0
            .keys()
            .chain(self.module_aux.0.keys())
            .map(|module| module.name())
            .collect();
        modules.sort_unstable();
        modules.dedup();
        let loadable = servers::loadable(
            header,
            &counted.types,
            &modules,
            Demands {
                pre_ga_functions: self.pre_ga_functions,
                dragonfly: dialect == Dialect::Dragonfly,
                enterprise: self.enterprise,
                highest_db: counted.highest_db,
            },
        );
        let magic = self.snapshot.data().get(..9).unwrap_or_default();
        Info {
            magic: String::from_utf8_lossy(magic).into_owned(),
            rdb_version: header.version.0,
            bytes: self.snapshot.data().len() as u64,
            producer: self.producer,
            checksum: self.checksum,
            aux: self.aux,
            keys: counted.total.count.keys,
            not_selected: self.not_selected,
            total: counted.total,
            databases: counted.databases,
            databases_left_off: counted.databases_left_off,
            types: counted.types.list(),
            biggest: counted.biggest,
            functions: self.functions,
            function_count: self.function_count,
            modules: self.modules.list(),
            module_aux: self.module_aux.list(),
            scripts: self.scripts.count,
            script_list: self.scripts.listed,
            with_key_meta: self.with_key_meta,
            with_sub_expires: self.with_sub_expires,
            hash_templates: self.hash_templates,
            slots: self.slots.ranges(),
            trailing: self.trailing,
            loadable,
            damage: self.damage,
        }
    }
}

/// Counts by module type.
#[derive(Debug, Default)]
struct Modules(BTreeMap<ModuleId, Count>);

impl Modules {
    fn add(&mut self, module: ModuleId, bytes: u64) {
        if self.0.len() >= MOST_LISTED && !self.0.contains_key(&module) {
            return;
        }
        let count = self.0.entry(module).or_default();
        count.keys = count.keys.saturating_add(1);
        count.bytes = count.bytes.saturating_add(bytes);
    }

    fn list(&self) -> Vec<ModuleCount> {
        self.0
            .iter()
            .map(|(module, count)| ModuleCount {
                name: module.name(),
                version: module.version(),
                count: *count,
            })
            .collect()
    }
}

/// Escaped, without the quotes.
fn bare(bytes: &[u8]) -> String {
    let quoted = Escaped(bytes).to_string();
    quoted
        .strip_prefix('"')
        .and_then(|q| q.strip_suffix('"'))
        .unwrap_or(&quoted)
        .to_owned()
}
