//! `check`: is this file whole, and what would servers say to it?
//!
//! Damage of the container ends the reading, since RDB has no point to go on from: it is the outcome's `fatal`. Damage
//! inside something that has a length is a fault: told as it is met, and the next record follows. What the format allows but
//! some server refuses is a warning, told once for each kind with the number of times.

mod duplicates;
mod finding;
mod structure;
mod value;

use std::path::PathBuf;

use serde::Serialize;

pub use finding::{Finding, Severity};

use self::duplicates::{DbMap, Keys};
use self::structure::Structure;
use super::{Ticker, Watch};
use crate::error::{Error, ErrorKind, Result};
use crate::select::Selection;
use crate::snapshot::{
    ChecksumState, Dialect, Header, Producer, Record, Snapshot, ValueType, Version,
};

/// What is checked, beyond checksum and structure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes behind the end are a fault. Default: a warning.
    pub strict: bool,
    /// Look for keys that stand twice in one database (16 bytes a key, spooled above a million keys).
    pub duplicates: bool,
    /// Where spools go.
    pub spool_dir: PathBuf,
}

/// The result for one input.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// How many faults were told.
    pub faults: u64,
    /// The first warning of each kind, with their number.
    pub warnings: Vec<Finding>,
    /// Why the file could not be read to its end.
    pub fatal: Option<Finding>,
    /// What was read.
    pub totals: Totals,
    /// Who wrote the file.
    pub producer: Producer,
}

impl Outcome {
    /// The outcome of an input whose header cannot be read.
    #[must_use]
    pub fn unreadable(error: &Error) -> Self {
        let code = match error.kind() {
            ErrorKind::Unsupported => "unsupported",
            _ => "damaged",
        };
        Self {
            faults: 0,
            warnings: Vec::new(),
            fatal: Some(Finding::from_error(Severity::Fatal, code, error)),
            totals: Totals {
                checksum: "not-reached",
                ..Totals::default()
            },
            producer: Producer::new(Header {
                version: Version(0),
                dialect: Dialect::Redis,
            }),
        }
    }

    /// Whether nothing is wrong; warnings may be there.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults == 0 && self.fatal.is_none()
    }
}

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Bytes, up to the end or to the damage.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Entries that the selection admitted: only their keys and values were looked at.
    pub selected: u64,
    /// Function libraries.
    pub functions: u64,
    /// `verified`, `disabled` (zero in the file), `none` (before version 5), or `not-reached`.
    pub checksum: &'static str,
}

/// Checks one input. Faults go to `found` as they are met.
///
/// # Errors
/// Not for damage, which is data here: what `found` and `watch` return, and `Limit` or `Io` of a spool.
pub fn check(
    snapshot: &Snapshot<'_>,
    options: &Options,
    selection: &mut Selection,
    found: &mut dyn FnMut(Finding) -> Result<()>,
    watch: &mut Watch<'_>,
) -> Result<Outcome> {
    let mut faults = 0u64;
    let mut tell = |finding: Finding| {
        faults = faults.saturating_add(1);
        found(finding)
    };
    let mut structure = Structure::new(snapshot.header());
    let mut totals = Totals {
        checksum: "not-reached",
        ..Totals::default()
    };
    let mut keys = options.duplicates.then(|| Keys::new(&options.spool_dir));
    let mut dbs = DbMap::default();
    let mut scratch = Vec::new();
    let mut ticker = Ticker::default();
    let mut fatal = None;

    let mut records = snapshot.records();
    loop {
        ticker.tick(watch, records.offset(), records.entries_seen())?;
        let record = match records.next_record() {
            Ok(Some(record)) => record,
            Ok(None) => break,
            Err(error) => {
                let code = match error.kind() {
                    ErrorKind::Corrupt if error.what().starts_with("wrong checksum") => "checksum",
                    ErrorKind::Corrupt => "damaged",
                    ErrorKind::Unsupported => "unsupported",
                    _ => return Err(error),
                };
                totals.bytes = error.place().map_or(records.offset(), |place| place.offset);
                fatal = Some(Finding::from_error(Severity::Fatal, code, &error));
                break;
            }
        };
        match record {
            Record::Entry(entry) => {
                structure.entry(&entry);
                if entry.value_type == ValueType::HASH_TMPL_LP_REF
                    && entry.dialect == Dialect::Redis
                    && entry.template.is_none()
                {
                    tell(
                        Finding::new(
                            Severity::Fault,
                            "template",
                            "the hash names a template that the file does not have",
                        )
                        .at(entry.value_offset)
                        .of(entry.context()),
                    )?;
                }
                if let Some(set) = &mut keys {
                    if dbs.change(entry.offset, entry.db) {
                        set.add(&entry)?;
                    } else {
                        keys = None;
                        structure.warnings.add("duplicates-not-searched", || {
                            Finding::new(
                                Severity::Warning,
                                "",
                                "the databases change too often to look for duplicate keys",
                            )
                        });
                    }
                }
                let selected = match selection.admits(&entry, &mut scratch) {
                    Ok(selected) => selected,
                    // The name lies: that is what the check of the key says.
                    Err(error) if error.kind() == ErrorKind::Corrupt => true,
                    Err(error) => return Err(error),
                };
                if selected {
                    totals.selected = totals.selected.saturating_add(1);
                    value::check_value(&entry, &mut structure.warnings, &mut tell)?;
                }
            }
            Record::End(end) => {
                totals.checksum = match end.checksum {
                    ChecksumState::None => "none",
                    ChecksumState::Disabled => "disabled",
                    ChecksumState::Verified(_) => "verified",
                    ChecksumState::NotVerified(_) => "not-verified",
                };
                totals.bytes = snapshot.data().len() as u64;
                structure.end(&end, &records, options.strict, &mut tell)?;
            }
            other => structure.record(&other, &mut tell)?,
        }
    }
    totals.entries = records.entries_seen();
    totals.functions = structure.functions;
    if let Some(set) = keys {
        set.report(
            snapshot,
            records.dialect(),
            &dbs,
            &options.spool_dir,
            &mut tell,
        )?;
    }
    Ok(Outcome {
        faults,
        warnings: structure.warnings.into_list(),
        fatal,
        totals,
        producer: structure.producer,
    })
}
