//! `check`: is this file whole, and what would servers say to it?
//!
//! Damage of the container ends the reading, since RDB has no point to go on from: it is the outcome's `fatal`. Damage
//! inside something that has a length is a fault: told as it is met, and the next record follows. What the format allows but
//! some server refuses is a warning, told once for each kind with the number of times.
//!
//! One thread scans and verifies the checksum, others walk values, the caller's tells: faults come in the order of the file.

mod deep;
mod finding;
mod structure;
mod turn;
mod value;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde::Serialize;

pub use finding::{Finding, Severity};

use self::deep::{Feeder, Shared};
use self::structure::Structure;
use super::{Position, Watch, is_wrong_checksum};
use crate::duplicates::KeySet;
use crate::error::{EntryContext, Error, ErrorKind, Result};
use crate::select::Selection;
use crate::snapshot::{ChecksumState, Dialect, Header, Lent, Producer, Record, Snapshot, Version};
use crate::value::is_plain_string;
use crate::verbs::queue::Queue;

/// What is checked, beyond checksum and structure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Walk every value. Default of the command: yes.
    pub values: bool,
    /// Bytes behind the end are a fault. Default: a warning.
    pub strict: bool,
    /// Look for keys that stand twice in one database (16 bytes a key, spooled above a million keys).
    pub duplicates: bool,
    /// Threads that walk values; at least 1.
    pub threads: usize,
    /// Where spools go.
    pub spool_dir: PathBuf,
}

/// The result for one input.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// How many faults there are.
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
    /// Elements of values that were walked.
    pub elements: u64,
    /// Function libraries.
    pub functions: u64,
    /// `verified`, `wrong`, `disabled` (zero in the file), `none` (before version 5), or `not-reached`.
    pub checksum: &'static str,
}

/// How often the caller's thread looks up while nothing is told.
const LOOK_UP: Duration = Duration::from_millis(50);

/// Findings that wait to be told.
const UNTOLD: usize = 64;

/// Checks one input. Faults go to `found` as they are met, in the order of the file.
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
    let shared = Shared::default();
    let mut faults = 0u64;
    let mut tell = |finding: Finding| {
        faults = faults.saturating_add(finding.times);
        found(finding)
    };
    let batches = Queue::new(deep::QUEUE);
    let scanned = std::thread::scope(|scope| {
        let (told, heard) = sync_channel(UNTOLD);
        // The threads must see the end of the queue when this is left, for whatever reason.
        let _ends = batches.abandoned_at_end();
        let mut walkers = Vec::new();
        if options.values {
            for _ in 0..options.threads.max(1) {
                let (shared, batches, told) = (&shared, &batches, told.clone());
                walkers.push(scope.spawn(move || {
                    deep::walk(snapshot, shared, batches, told, &options.spool_dir)
                }));
            }
        }
        let batches = options.values.then_some(&batches);
        let shared_by_scan = &shared;
        let scanner = scope.spawn(move || {
            let _ends = batches.map(Queue::abandoned_on_panic);
            let mut feeder = Feeder::new(shared_by_scan, batches, told);
            let scanned = scan(snapshot, options, selection, &mut feeder, shared_by_scan);
            feeder.close();
            scanned
        });
        listen(&shared, &heard, &mut tell, watch);
        // Whoever still has something to tell must not wait for us.
        drop(heard);
        let scanned = scanner.join();
        let walked: Vec<_> = walkers.into_iter().map(|walker| walker.join()).collect();
        let mut scanned = scanned.map_err(|_| lost_thread())??;
        for warnings in walked {
            scanned
                .structure
                .warnings
                .merge(warnings.map_err(|_| lost_thread())?);
        }
        Ok(scanned)
    });
    drop(batches);
    // The reason for stopping stands here; the scan may only have seen that it was to stop.
    let elements = shared.into_result()?;
    let mut scanned: Scanned = scanned?;
    if let Some(keys) = scanned.keys.take() {
        for again in keys
            .finish(snapshot, scanned.dialect, &options.spool_dir)?
            .iter()
        {
            let key = snapshot.key_at(again.offset, scanned.dialect)?;
            tell(
                Finding::new(
                    Severity::Fault,
                    "duplicate-key",
                    format!(
                        "the same key stands at offset {} already: every server refuses to load such a file",
                        again.first
                    ),
                )
                .at(again.offset)
                .of(EntryContext { db: again.db, key: key.preview(EntryContext::KEY_SHOWN), type_name: "key".into() }),
            )?;
        }
    }
    scanned.totals.elements = scanned.totals.elements.saturating_add(elements);
    scanned.totals.functions = scanned.structure.functions;
    Ok(Outcome {
        faults,
        warnings: scanned.structure.warnings.into_list(),
        fatal: scanned.fatal,
        totals: scanned.totals,
        producer: scanned.structure.producer,
    })
}

#[cold]
fn lost_thread() -> Error {
    Error::new(ErrorKind::Limit, "a thread of the check ended unexpectedly")
}

/// Passes on findings and progress until all threads are done, or until the caller has had enough.
fn listen(
    shared: &Shared,
    heard: &Receiver<Finding>,
    tell: &mut dyn FnMut(Finding) -> Result<()>,
    watch: &mut Watch<'_>,
) {
    let position = || Position {
        offset: shared.offset.load(Ordering::Relaxed),
        entries: shared.entries.load(Ordering::Relaxed),
    };
    loop {
        let listened = match heard.recv_timeout(LOOK_UP) {
            Ok(finding) => tell(finding).and_then(|()| watch(position())),
            Err(RecvTimeoutError::Timeout) => watch(position()),
            Err(RecvTimeoutError::Disconnected) => match watch(position()) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = listened {
            shared.fail(error);
            return;
        }
    }
}

/// What the scanning thread found out.
struct Scanned {
    structure: Structure,
    totals: Totals,
    fatal: Option<Finding>,
    keys: Option<KeySet>,
    dialect: Dialect,
}

/// Bytes between two notes of the position.
const NOTE_EVERY: u64 = 1 << 20;

fn scan(
    snapshot: &Snapshot<'_>,
    options: &Options,
    selection: &mut Selection,
    feeder: &mut Feeder<'_, '_>,
    shared: &Shared,
) -> Result<Scanned> {
    let mut structure = Structure::new(snapshot.header());
    let mut totals = Totals {
        checksum: "not-reached",
        ..Totals::default()
    };
    let mut keys = options.duplicates.then(|| KeySet::new(&options.spool_dir));
    let (mut scratch, mut noted, mut fatal) = (Vec::new(), 0, None);
    let mut records = snapshot.records();
    loop {
        let offset = records.offset();
        if offset >= noted {
            noted = offset.saturating_add(NOTE_EVERY);
            shared.offset.store(offset, Ordering::Relaxed);
            shared
                .entries
                .store(records.entries_seen(), Ordering::Relaxed);
            if shared.is_stopped() {
                break;
            }
        }
        // Matched where it is made: to move what is lent would cost more than to find it.
        match records.lend() {
            Ok(None) => break,
            Err(error) => {
                totals.bytes = error.place().map_or(offset, |place| place.offset);
                if is_wrong_checksum(&error) {
                    totals.checksum = "wrong";
                }
                fatal = Some(fatal_finding(error)?);
                break;
            }
            Ok(Some(Lent::Entry(entry))) => {
                structure.entry(entry);
                if let Some(set) = &mut keys {
                    set.add(entry)?;
                }
                let selected = match selection.admits(entry, &mut scratch) {
                    Ok(selected) => selected,
                    // The name lies: that is what the check of the key says.
                    Err(error) if error.kind() == ErrorKind::Corrupt => true,
                    Err(error) => return Err(error),
                };
                if !selected {
                    continue;
                }
                totals.selected = totals.selected.saturating_add(1);
                if options.values && is_plain_string(entry) {
                    // Its end was found: there is nothing else to look at.
                    totals.elements = totals.elements.saturating_add(1);
                } else if options.values {
                    feeder.push(records.spot());
                } else {
                    value::check_shallow(entry, &mut |finding| feeder.tell(finding))?;
                }
            }
            Ok(Some(Lent::Other(Record::End(end)))) => {
                totals.checksum = match end.checksum {
                    ChecksumState::None => "none",
                    ChecksumState::Disabled => "disabled",
                    ChecksumState::Verified(_) => "verified",
                    ChecksumState::NotVerified(_) => "not-verified",
                };
                totals.bytes = snapshot.data().len() as u64;
                let mut tell = |finding| feeder.tell(finding);
                structure.end(&end, &records, options.strict, &mut tell)?;
            }
            Ok(Some(Lent::Other(other))) => {
                structure.record(&other, &mut |finding| feeder.tell(finding))?;
            }
        }
    }
    totals.entries = records.entries_seen();
    Ok(Scanned {
        structure,
        totals,
        fatal,
        keys,
        dialect: records.dialect(),
    })
}

/// # Errors
/// The error itself where it is none of the file's.
fn fatal_finding(error: Error) -> Result<Finding> {
    let code = match error.kind() {
        _ if is_wrong_checksum(&error) => "checksum",
        ErrorKind::Corrupt => "damaged",
        ErrorKind::Unsupported => "unsupported",
        // Bounds that only a hostile file reaches, such as the number of hash templates.
        ErrorKind::Limit => "limit",
        _ => return Err(error),
    };
    Ok(Finding::from_error(Severity::Fatal, code, &error))
}
