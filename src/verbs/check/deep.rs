//! Walking values on all cores, while another thread scans.

use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use super::finding::{Finding, Severity, Warnings};
use super::turn::{Turn, Turns};
use crate::error::{EntryContext, Error, ErrorKind, Place, Result};
use crate::snapshot::{Dialect, Entry, Snapshot, Spot, ValueType};
use crate::value::{self, Decoder, Findings};
use crate::verbs::patience::Patience;
use crate::verbs::queue::Queue;
use crate::wire::Str;

/// Entries that go to a thread together, at most.
const BATCH: usize = 512;

/// Bytes of values that go to a thread together: a few large ones should not wait for each other.
const BATCH_BYTES: u64 = 1 << 20;

/// Batches that wait for a thread.
pub(super) const QUEUE: usize = 8;

/// Entries, and their turn in the order of the file: it is over when the batch is dropped, whoever drops it.
#[derive(Debug)]
pub(super) struct Batch<'run> {
    turn: Turn<'run>,
    entries: Vec<Spot>,
}

/// What all threads of one check share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The order of findings.
    turns: Turns,
    /// Nobody listens any more.
    stop: AtomicBool,
    /// What ended the run, the first reason.
    error: Mutex<Option<Error>>,
    /// Elements walked.
    elements: AtomicU64,
    /// How far the scan is.
    pub(super) offset: AtomicU64,
    /// Entries scanned.
    pub(super) entries: AtomicU64,
}

impl Shared {
    pub(super) fn fail(&self, error: Error) {
        self.error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The reason for ending early, once all threads are gone.
    pub(super) fn into_result(self) -> Result<u64> {
        match self
            .error
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Some(error) => Err(error),
            None => Ok(self.elements.into_inner()),
        }
    }
}

/// Collects entries into batches, on the scanning thread.
#[derive(Debug)]
pub(super) struct Feeder<'q, 'run> {
    shared: &'run Shared,
    /// `None`: values are not walked.
    batches: Option<&'q Queue<Batch<'run>>>,
    told: SyncSender<Finding>,
    number: u64,
    entries: Vec<Spot>,
    bytes: u64,
    patience: Patience,
}

impl<'q, 'run> Feeder<'q, 'run> {
    pub(super) fn new(
        shared: &'run Shared,
        batches: Option<&'q Queue<Batch<'run>>>,
        told: SyncSender<Finding>,
    ) -> Self {
        Self {
            shared,
            batches,
            told,
            number: 0,
            entries: Vec::new(),
            bytes: 0,
            patience: Patience::default(),
        }
    }

    /// Hands out an entry.
    #[inline]
    pub(super) fn push(&mut self, entry: Spot) {
        if self.batches.is_none() {
            return;
        }
        self.entries.push(entry);
        self.bytes = self.bytes.saturating_add(entry.record_len());
        if self.entries.len() >= BATCH || self.bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        let number = self.take_number();
        let Some(batches) = &self.batches else {
            return;
        };
        let batch = Batch {
            turn: self.shared.turns.finish_at_end(number),
            entries: std::mem::replace(&mut self.entries, Vec::with_capacity(BATCH)),
        };
        self.bytes = 0;
        // It is taken unless a thread has panicked, which its join reports.
        if !batches.push(batch, &mut self.patience) {
            self.shared.stop.store(true, Ordering::Relaxed);
        }
    }

    fn take_number(&mut self) -> u64 {
        let number = self.number;
        self.number = number.saturating_add(1);
        number
    }

    /// Tells a finding of the scanning thread in its place.
    ///
    /// # Errors
    /// `Interrupted` where nobody listens any more.
    pub(super) fn tell(&mut self, finding: Finding) -> Result<()> {
        self.flush();
        let number = self.take_number();
        if !self.shared.is_stopped() {
            self.shared.turns.wait_for(number);
        }
        let sent = self.told.send(finding);
        self.shared.turns.finish(number);
        sent.map_err(|_| nobody_listens())
    }

    /// No more entries.
    pub(super) fn close(mut self) {
        self.flush();
        if let Some(batches) = self.batches {
            batches.close();
        }
    }
}

#[cold]
fn nobody_listens() -> Error {
    Error::new(ErrorKind::Interrupted, "the check was stopped")
}

/// Walks the values of batches until there are no more. Gives the warnings.
pub(super) fn walk(
    snapshot: &Snapshot<'_>,
    shared: &Shared,
    batches: &Queue<Batch<'_>>,
    told: SyncSender<Finding>,
    spool_dir: &Path,
) -> Warnings {
    let mut decoder = Decoder::with_findings(
        Some(spool_dir),
        Teller {
            shared,
            told,
            batch: 0,
            has_turn: false,
            entry: None,
            faults: 0,
            rest: 0,
            rest_at: None,
            warnings: Warnings::default(),
        },
    );
    let mut again = snapshot.again();
    let _abandons = batches.abandoned_on_panic();
    let mut patience = Patience::default();
    loop {
        let Some(batch) = batches.pop(&mut patience) else {
            return decoder.into_findings().warnings;
        };
        let teller = decoder.findings();
        (teller.batch, teller.has_turn) = (batch.turn.batch(), false);
        let mut elements = 0u64;
        for spot in &batch.entries {
            if shared.is_stopped() {
                break;
            }
            let walked = again.entry(spot).and_then(|entry| {
                decoder.findings().begin(entry);
                let summary = decoder.validate(entry)?;
                decoder.findings().end().map(|()| summary)
            });
            match walked {
                Ok(summary) => elements = elements.saturating_add(summary.elements),
                Err(error) => shared.fail(error),
            }
        }
        shared.elements.fetch_add(elements, Ordering::Relaxed);
    }
}

/// What a finding says of its entry.
#[derive(Debug, Clone, Copy)]
struct Brief<'data> {
    db: u64,
    key: Str<'data>,
    value_type: ValueType,
    dialect: Dialect,
}

impl<'data> Brief<'data> {
    fn of(entry: &Entry<'data>) -> Self {
        Self {
            db: entry.db,
            key: entry.key,
            value_type: entry.value_type,
            dialect: entry.dialect,
        }
    }

    #[cold]
    fn context(&self) -> EntryContext {
        EntryContext {
            db: self.db,
            key: self.key.preview(EntryContext::KEY_SHOWN),
            type_name: self.value_type.name(self.dialect),
        }
    }
}

/// Hears of broken rules in the values of one batch.
struct Teller<'data, 'run> {
    shared: &'run Shared,
    told: SyncSender<Finding>,
    batch: u64,
    has_turn: bool,
    entry: Option<Brief<'data>>,
    /// Faults of this entry that were told one by one.
    faults: u64,
    /// Those that are only counted, and where the first of them is.
    rest: u64,
    rest_at: Option<Place>,
    warnings: Warnings,
}

impl<'data> Teller<'data, '_> {
    #[inline]
    fn begin(&mut self, entry: &Entry<'data>) {
        self.entry = Some(Brief::of(entry));
        (self.faults, self.rest, self.rest_at) = (0, 0, None);
    }

    /// The entry is walked: tells how many of its faults were only counted.
    #[inline]
    fn end(&mut self) -> Result<()> {
        match self.rest {
            0 => Ok(()),
            rest => self.tell(Finding {
                place: self.rest_at,
                entry: self.entry.as_ref().map(Brief::context),
                ..Finding::rest(rest)
            }),
        }
    }

    #[cold]
    fn tell(&mut self, finding: Finding) -> Result<()> {
        if !self.has_turn {
            self.shared.turns.wait_for(self.batch);
            self.has_turn = true;
        }
        self.told.send(finding).map_err(|_| nobody_listens())
    }
}

impl Findings for Teller<'_, '_> {
    #[cold]
    fn found(&mut self, finding: value::Finding) -> Result<()> {
        self.found_times(finding, 1)
    }

    #[cold]
    fn found_times(&mut self, finding: value::Finding, times: u64) -> Result<()> {
        let context = || self.entry.as_ref().map(Brief::context);
        match finding.severity() {
            value::Severity::Warning => {
                let servers = finding.rule.servers().unwrap_or_default();
                let told = || Finding {
                    place: Some(finding.place),
                    entry: context(),
                    ..Finding::new(
                        Severity::Warning,
                        finding.rule.name(),
                        format!("{}: {servers}", finding.what),
                    )
                };
                self.warnings.add_times(finding.rule.name(), times, told);
                Ok(())
            }
            // One damaged length can make a fault of each of a hundred million members.
            value::Severity::Fault if self.faults >= Finding::MOST_OF_ONE_VALUE => {
                self.rest = self.rest.saturating_add(times);
                self.rest_at.get_or_insert(finding.place);
                Ok(())
            }
            value::Severity::Fault => {
                self.faults = self.faults.saturating_add(1);
                let told = Finding {
                    place: Some(finding.place),
                    entry: context(),
                    times,
                    ..Finding::new(Severity::Fault, finding.rule.name(), finding.what)
                };
                self.tell(told)
            }
        }
    }

    #[cold]
    fn unreadable(&mut self, error: Error) -> Result<()> {
        let finding = value::unreadable(error)?;
        self.found(finding)
    }
}
