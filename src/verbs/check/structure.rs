//! Oddities of the container: what servers of some versions refuse, and what is not as a server writes it.

use std::collections::{BTreeSet, HashSet};

use super::finding::{Finding, Severity, Warnings};
use crate::error::{ErrorKind, Escaped, Result};
use crate::input::{Tail, classify_tail};
use crate::snapshot::{
    ChecksumState, Dialect, End, Entry, Function, Header, ModuleId, Producer, Record, Records,
    ValueType,
};
use crate::units::ByteCount;
use crate::verbs::{tail_fate, tail_words};
use crate::wire::{Cursor, Str, length};

/// Aux fields that some server writes (`rdbSaveInfoAuxFields` and its forks).
const KNOWN_AUX: &[&[u8]] = &[
    b"redis-ver",
    b"valkey-ver",
    b"redis-bits",
    b"ctime",
    b"used-mem",
    b"aof-preamble",
    b"aof-base",
    b"repl-stream-db",
    b"repl-id",
    b"repl-offset",
    b"lua",
    b"slot-info",
    b"cluster-asm-task",
    b"df-ver",
    b"snapshot-id",
    b"shard-id",
    b"shard-count",
    b"table-mem",
    b"search-index",
    b"search-synonyms",
    b"mvcc-tstamp",
    b"keydb-subexpire-key",
    b"keydb-subexpire-when",
    b"repl-masters",
    b"big-used-ram",
    b"big-used-disk",
    b"big-ram-overhead",
    b"big-used-data",
    b"bigdb-ram-keys",
    b"bigdb-disk-keys",
];

/// The `databases` setting of a server that was not configured.
const DEFAULT_DATABASES: u64 = 16;

/// More databases or bytes of library names than this are not remembered.
const MOST_DBS: usize = 1 << 16;
const MOST_NAME_BYTES: usize = 1 << 20;

/// Reads along and remembers what must be compared later.
#[derive(Debug)]
pub(super) struct Structure {
    header: Header,
    pub(super) producer: Producer,
    pub(super) warnings: Warnings,
    dbs: BTreeSet<u64>,
    section: Section,
    libraries: HashSet<Vec<u8>>,
    library_bytes: usize,
    keys: u64,
    pub(super) functions: u64,
}

/// Keys since the last `SELECTDB`, and what `RESIZEDB` promised of them.
#[derive(Debug, Default)]
struct Section {
    db: u64,
    hint: Option<(u64, u64)>,
    keys: u64,
    expires: u64,
}

impl Structure {
    pub(super) fn new(header: Header) -> Self {
        Self {
            header,
            producer: Producer::new(header),
            warnings: Warnings::default(),
            dbs: BTreeSet::new(),
            section: Section::default(),
            libraries: HashSet::new(),
            library_bytes: 0,
            keys: 0,
            functions: 0,
        }
    }

    fn warn(&mut self, code: &str, offset: u64, what: impl FnOnce() -> String) {
        self.warnings.add(code, || {
            Finding::new(Severity::Warning, "", what()).at(offset)
        });
    }

    fn warn_of(&mut self, code: &str, entry: &Entry<'_>, what: impl FnOnce() -> String) {
        self.warnings.add(code, || {
            Finding::new(Severity::Warning, "", what())
                .at(entry.offset)
                .of(entry.context())
        });
    }

    /// An entry. Nearly every one passes with a few comparisons.
    #[inline]
    pub(super) fn entry(&mut self, entry: &Entry<'_>) {
        self.keys = self.keys.saturating_add(1);
        self.section.keys = self.section.keys.saturating_add(1);
        self.section.expires = self
            .section
            .expires
            .saturating_add(u64::from(entry.expire_at_ms.is_some()));
        let usual = entry.value_type != ValueType::MODULE_2
            && entry.value_type.0 < 22
            && entry.dialect != Dialect::Dragonfly
            && entry.db < DEFAULT_DATABASES
            && entry.sub_expires.is_empty()
            && (entry.idle_seconds.is_none() || entry.lfu_freq.is_none());
        if !usual {
            self.unusual_entry(entry);
        }
    }

    #[cold]
    fn unusual_entry(&mut self, entry: &Entry<'_>) {
        if entry.db >= DEFAULT_DATABASES {
            self.warn_of("db-number", entry, || {
                format!(
                    "database {}: a server with the default `databases 16` refuses the whole file",
                    entry.db
                )
            });
        }
        if entry.idle_seconds.is_some() && entry.lfu_freq.is_some() {
            self.warn_of("idle-and-freq", entry, || {
                "both an idle time and an access frequency, which no server writes".to_owned()
            });
        }
        if !entry.sub_expires.is_empty() {
            self.warn_of("keydb-sub-expires", entry, || {
                "expiries of single members, which only KeyDB has; other servers drop them silently"
                    .to_owned()
            });
        }
        match (entry.value_type, entry.dialect) {
            (ValueType::MODULE_2, _) => {
                if let Ok(id) = length::read(&mut Cursor::new(entry.value, entry.value_offset)) {
                    let module = ModuleId(id);
                    self.warn_of(&format!("module-{}", module.name()), entry, || {
                        format!("a value of the module type {module}: a server without that module refuses the whole file")
                    });
                }
            }
            (ValueType::HASH_METADATA_PRE_GA | ValueType(23), Dialect::Redis) => {
                self.warn_of("hash-ttl-pre-ga", entry, || {
                    "field expiries as release candidates of redis 7.4 wrote them; only redis from 7.4 reads them"
                        .to_owned()
                });
            }
            (ValueType(20 | 30..=32), Dialect::Dragonfly) => {
                self.warn_of("dragonfly-type", entry, || {
                    "a type that only Dragonfly reads; other servers refuse the file or misread it"
                        .to_owned()
                });
            }
            _ => {}
        }
    }

    /// Any record but an entry.
    ///
    /// # Errors
    /// What `found` returns.
    pub(super) fn record(
        &mut self,
        record: &Record<'_>,
        found: &mut dyn FnMut(Finding) -> Result<()>,
    ) -> Result<()> {
        match record {
            Record::Aux {
                name,
                value,
                offset,
            } => {
                self.producer.learn(name, value);
                let bytes = name.preview(64);
                if !KNOWN_AUX.contains(&bytes.as_slice()) && bytes.first() != Some(&b'%') {
                    let shown = Escaped(&bytes).to_string();
                    self.warn(&format!("aux-{}", shown.trim_matches('"')), *offset, || {
                        format!("aux field {shown} is not one that a known server writes; servers ignore it")
                    });
                }
                for (part, text) in [("name", name), ("value", value)] {
                    check_string(
                        *text,
                        || format!("the {part} of an aux field"),
                        *offset,
                        found,
                    )?;
                }
            }
            Record::SelectDb { db } => {
                self.end_section();
                self.section.db = *db;
                if self.dbs.contains(db) {
                    self.warn_here("db-twice", || {
                        format!(
                            "database {db} is selected again; servers take that, but none writes it"
                        )
                    });
                } else if self.dbs.last().is_some_and(|last| last > db) {
                    self.warn_here("db-order", || {
                        "the databases do not rise; servers take that, but none writes it"
                            .to_owned()
                    });
                }
                if self.dbs.len() < MOST_DBS {
                    self.dbs.insert(*db);
                }
            }
            Record::ResizeDb { keys, expires } => self.section.hint = Some((*keys, *expires)),
            Record::Function(function) => self.function(function, found)?,
            Record::ModuleAux { module, offset, .. } => {
                self.warn(&format!("module-aux-{}", module.name()), *offset, || {
                    format!("data of the module {module} that belongs to no key: a server without that module refuses the whole file")
                });
            }
            Record::SlotImport { job, .. } => {
                let shown = Escaped(&job.preview(64)).to_string();
                self.warn_here("slot-import", || {
                    format!("a slot import ({shown}) was under way when the file was written: its slots may be incomplete")
                });
            }
            Record::Other { opcode, offset } => {
                self.warn(&format!("opcode-{}", opcode.0), *offset, || {
                    match opcode.name(Dialect::Dragonfly) {
                        Some(name) => {
                            format!("opcode {} ({name}), which other servers refuse", opcode.0)
                        }
                        None => format!("opcode {}", opcode.0),
                    }
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn warn_here(&mut self, code: &str, what: impl FnOnce() -> String) {
        self.warnings
            .add(code, || Finding::new(Severity::Warning, "", what()));
    }

    fn function(
        &mut self,
        function: &Function<'_>,
        found: &mut dyn FnMut(Finding) -> Result<()>,
    ) -> Result<()> {
        self.functions = self.functions.saturating_add(1);
        let offset = function.offset();
        if self.keys > 0 {
            self.warn("functions-late", offset, || {
                "a function library behind keys; servers take that, but none writes it".to_owned()
            });
        }
        if matches!(function, Function::PreGa { .. }) {
            self.warn("function-pre-ga", offset, || {
                "a function library as release candidates of redis 7.0 wrote it: redis 7.0 reads it, redis from 7.2 and valkey refuse the whole file"
                    .to_owned()
            });
        }
        check_string(
            function.code(),
            || "the source of a function library".to_owned(),
            offset,
            found,
        )?;
        let name = match function.name() {
            Ok(Some(name)) => name,
            Ok(None) => {
                return found(
                    Finding::new(
                        Severity::Fault,
                        "function-name",
                        "a function library without a name in its first line (#!lua name=…): every server refuses the whole file",
                    )
                    .at(offset),
                );
            }
            // Damage: told with the source.
            Err(_) => return Ok(()),
        };
        let shown = Escaped(&name).to_string();
        if self.library_bytes.saturating_add(name.len()) > MOST_NAME_BYTES {
            self.warn("function-names", offset, || {
                "more function libraries than any server has: their names were not all compared"
                    .to_owned()
            });
            return Ok(());
        }
        self.library_bytes = self.library_bytes.saturating_add(name.len());
        if !self.libraries.insert(name) {
            found(
                Finding::new(
                    Severity::Fault,
                    "function-twice",
                    format!("the function library {shown} stands twice: every server refuses the whole file"),
                )
                .at(offset),
            )?;
        }
        Ok(())
    }

    fn end_section(&mut self) {
        let section = std::mem::take(&mut self.section);
        let Some((keys, expires)) = section.hint else {
            return;
        };
        if (keys, expires) != (section.keys, section.expires) {
            self.warn_here("resize-hint", || {
                format!(
                    "database {} was announced with {keys} keys, {expires} of them with expiry, and has {} and {}; servers only use this to reserve memory",
                    section.db, section.keys, section.expires
                )
            });
        }
    }

    /// The end of the file.
    ///
    /// # Errors
    /// What `found` returns.
    pub(super) fn end(
        &mut self,
        end: &End<'_>,
        records: &Records<'_>,
        strict: bool,
        found: &mut dyn FnMut(Finding) -> Result<()>,
    ) -> Result<()> {
        self.end_section();
        match end.checksum {
            ChecksumState::None => {
                let version = self.header.version;
                self.warn("checksum-none", end.offset, || {
                    format!("a file of version {version} has no checksum: damage that leaves the structure whole cannot be seen")
                });
            }
            ChecksumState::Disabled => self.warn("checksum-disabled", end.offset, || {
                "the checksum is zero: the server ran with `rdbchecksum no`, and damage that leaves the structure whole cannot be seen"
                    .to_owned()
            }),
            ChecksumState::Verified(_) | ChecksumState::NotVerified(_) => {}
        }
        if records.enterprise_opcodes() > 0 {
            self.warn_here("enterprise-opcodes", || {
                format!(
                    "{} opcodes of Redis Enterprise: other servers refuse the whole file, but its keys can be replayed",
                    records.enterprise_opcodes()
                )
            });
        }
        if records.has_pending_attributes() {
            self.warn("attributes-without-key", end.offset, || {
                "attributes of a key stand at the end, and no key follows".to_owned()
            });
        }
        if self.producer.product == "dragonfly" {
            self.warn_here("dragonfly", || "written by Dragonfly".to_owned());
        }
        let tail = classify_tail(end.trailing);
        if tail != Tail::None {
            let crc = if self.header.has_crc() { 9 } else { 1 };
            let what = format!(
                "{} behind the end: {}; {}",
                ByteCount(end.trailing.len() as u64),
                tail_words(tail),
                tail_fate(tail)
            );
            let code = "trailing-bytes";
            let offset = end.offset.saturating_add(crc);
            if strict {
                found(Finding::new(Severity::Fault, code, what).at(offset))?;
            } else {
                self.warn(code, offset, || what);
            }
        }
        Ok(())
    }
}

/// A string outside of values: where it is compressed, it is decoded.
fn check_string(
    text: Str<'_>,
    what: impl FnOnce() -> String,
    offset: u64,
    found: &mut dyn FnMut(Finding) -> Result<()>,
) -> Result<()> {
    if !matches!(text, Str::Lzf(_)) {
        return Ok(());
    }
    let mut pieces = text.pieces();
    loop {
        match pieces.next_piece() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let mut finding = Finding::from_error(Severity::Fault, "string", &error);
                finding.what = format!("{} is damaged: {}", what(), finding.what).into();
                if finding.place.is_none() {
                    finding = finding.at(offset);
                }
                return found(finding);
            }
            Err(error) => return Err(error),
        }
    }
}
