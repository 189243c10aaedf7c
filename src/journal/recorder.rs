//! Keeps the record of a load that is under way, from several threads, and writes it down.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::file::JournalFile;
use super::ledger::{Ledger, Miss};
use super::lifetimes::Lifetimes;
use super::ranges::Ranges;
use super::record::{Counted, Phase, Progress, Record};
use crate::error::Result;
use crate::outcome::Tally;
use crate::time::Timestamp;
use crate::value::commands::LossCounts;

/// What of the acknowledged the destination keeps if it fails over or starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// Nothing can be said now.
    Unknown,
    /// Everything up to `covered` of a stream of changes that is `now` long.
    Offset {
        /// The length of the stream when this was asked, bytes.
        now: u64,
        /// What every replica has of it.
        covered: u64,
    },
    /// What was acknowledged before this moment, seconds of Unix time: a snapshot on its disk.
    SavedBefore(u64),
    /// What was acknowledged so long ago.
    After(Duration),
    /// All of it, at once.
    AtOnce,
}

/// A state of the acknowledged that waits to be settled.
#[derive(Debug)]
struct Checkpoint {
    progress: Progress,
    /// The length of each shard's stream of changes, asked after the progress was made.
    offsets: Vec<Option<u64>>,
    taken: Instant,
    unix_seconds: u64,
}

/// Checkpoints that may wait.
const WAITING: usize = 64;

/// Keeps the record of a load.
#[derive(Debug)]
pub struct Recorder {
    inner: Mutex<Inner>,
    file: Option<JournalFile>,
}

#[derive(Debug)]
struct Inner {
    record: Record,
    /// Sent in this process or one before, and not known to be there.
    doubtful: Ranges,
    waiting: VecDeque<Checkpoint>,
    ledger: Option<Ledger>,
    started: Instant,
    elapsed_before_ms: u64,
}

impl Recorder {
    /// Goes on from `record`, or begins with it. Without a `file` everything is kept for this process only.
    #[must_use]
    pub fn new(mut record: Record, file: Option<JournalFile>, ledger: Option<Ledger>) -> Self {
        let doubtful = record.uncertain();
        record.phase = Phase::Running;
        record.uncertain = None;
        record.stopped = None;
        if record.staging.is_empty() {
            record.staging = new_staging();
        }
        Self {
            inner: Mutex::new(Inner {
                doubtful,
                waiting: VecDeque::new(),
                ledger,
                started: Instant::now(),
                elapsed_before_ms: record.elapsed_ms,
                record,
            }),
            file,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // What a thread that panicked left is whole: ranges and counts are changed together.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the journal is.
    #[must_use]
    pub fn path(&self) -> Option<&std::path::Path> {
        self.file.as_ref().map(JournalFile::path)
    }

    /// The record as it stands.
    #[must_use]
    pub fn record(&self) -> Record {
        let inner = self.inner();
        let mut record = inner.record.clone();
        record.uncertain = Some(inner.doubtful.clone());
        record
    }

    /// What is finished, and what is doubtful: a pass leaves out the one and asks about the other.
    #[must_use]
    pub fn standing(&self) -> (Ranges, Ranges) {
        let inner = self.inner();
        (
            inner.record.acknowledged.finished.clone(),
            inner.doubtful.clone(),
        )
    }

    /// What the names of staging keys are made of ([`Record::staging`]).
    #[must_use]
    pub fn staging(&self) -> String {
        self.inner().record.staging.clone()
    }

    /// How many entries are finished.
    #[must_use]
    pub fn finished_total(&self) -> u64 {
        self.inner().record.acknowledged.finished.total()
    }

    /// The part of the acknowledged that the destination keeps for sure.
    #[must_use]
    pub fn settled(&self) -> Progress {
        self.inner().record.settled.clone()
    }

    /// The outcomes of what is finished.
    #[must_use]
    pub fn outcomes(&self) -> Tally {
        self.inner().record.acknowledged.outcomes
    }

    /// The same entries, counted better.
    pub fn set_outcomes(&self, outcomes: Tally) {
        self.inner().record.acknowledged.outcomes = outcomes;
    }

    /// Nothing at or behind this position may be sent before [`Recorder::reserve`] moved it.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.inner().record.sent
    }

    /// Writes down that this run works on it, before it sends anything: if it is killed, everything below
    /// [`Recorder::sent`] that is not finished may have been sent, however exactly the run before knew.
    ///
    /// # Errors
    /// The journal cannot be written: nothing must be sent then.
    pub fn begin(&self) -> Result<()> {
        let mut inner = self.inner();
        self.write(&mut inner)
    }

    /// Before anything at or behind the old mark is sent: moves it to `upto`, durably.
    ///
    /// # Errors
    /// The journal cannot be written: nothing must be sent then.
    pub fn reserve(&self, upto: u64) -> Result<()> {
        let mut inner = self.inner();
        let upto = upto.min(inner.record.total());
        if upto <= inner.record.sent {
            return Ok(());
        }
        let before = inner.record.sent;
        inner.record.sent = upto;
        let written = self.write(&mut inner);
        if written.is_err() {
            inner.record.sent = before;
        }
        written
    }

    /// These entries have their outcomes; of those that were restored, how long they live.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn finished(
        &self,
        positions: &Ranges,
        outcomes: &Tally,
        lifetimes: &Lifetimes,
        misses: &[Miss],
    ) -> Result<()> {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let acknowledged = &mut inner.record.acknowledged;
        acknowledged.add(positions, outcomes, lifetimes);
        inner.doubtful.remove_all(positions);
        let Some(ledger) = &mut inner.ledger else {
            return Ok(());
        };
        misses.iter().try_for_each(|miss| ledger.add(miss))?;
        inner.record.acknowledged.ledger = ledger.length();
        Ok(())
    }

    /// What finished entries lost on their way.
    pub fn lost(&self, losses: &LossCounts) {
        self.inner().record.acknowledged.losses.merge(losses);
    }

    /// These were sent, and it is not known whether they arrived.
    pub fn doubt(&self, positions: &Ranges) {
        let mut inner = self.inner();
        inner.doubtful.insert_all(positions);
    }

    /// Function libraries as far as they went.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn functions(&self, counted: Counted) -> Result<()> {
        let mut inner = self.inner();
        inner.record.functions = counted;
        self.write(&mut inner)
    }

    /// Product, process and evictions, as they are known now.
    pub fn destination(&self, product: String, run_ids: BTreeMap<String, String>, evicted: u64) {
        let mut inner = self.inner();
        inner.record.product = product;
        inner.record.run_ids = run_ids;
        inner.record.evicted = evicted;
    }

    /// The acknowledged as it is now, to be handed to [`Recorder::settle`] when the destination was asked *after* this.
    #[must_use]
    pub fn acknowledged(&self) -> Progress {
        self.inner().record.acknowledged.clone()
    }

    /// Takes in what each shard of the destination keeps, always in the same order, and writes the journal.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn settle(&self, acknowledged: Progress, covers: &[Cover]) -> Result<()> {
        let mut inner = self.inner();
        let same = |checkpoint: &Checkpoint| checkpoint.progress == acknowledged;
        if inner.waiting.len() < WAITING && !inner.waiting.back().is_some_and(same) {
            inner.waiting.push_back(Checkpoint {
                progress: acknowledged,
                offsets: covers
                    .iter()
                    .map(|cover| match cover {
                        Cover::Offset { now, .. } => Some(*now),
                        _ => None,
                    })
                    .collect(),
                taken: Instant::now(),
                unix_seconds: unix_now().as_secs(),
            });
        }
        while let Some(first) = inner.waiting.front() {
            let covers_it = |(shard, cover): (usize, &Cover)| match *cover {
                Cover::Unknown => false,
                Cover::Offset { covered, .. } => {
                    let at = first.offsets.get(shard).copied().flatten();
                    at.is_some_and(|at| at <= covered)
                }
                Cover::SavedBefore(then) => first.unix_seconds < then,
                Cover::After(wait) => first.taken.elapsed() >= wait,
                Cover::AtOnce => true,
            };
            if covers.is_empty() || !covers.iter().enumerate().all(covers_it) {
                break;
            }
            if let Some(first) = inner.waiting.pop_front() {
                inner.record.settled = first.progress;
            }
        }
        self.write(&mut inner)
    }

    /// The destination failed over or started again: what was acknowledged and not settled is doubtful again.
    /// Gives how many entries that are.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn forget_unsettled(&self) -> Result<u64> {
        let mut inner = self.inner();
        inner.waiting.clear();
        let before = inner.record.acknowledged.finished.total();
        inner.record.uncertain = Some(std::mem::take(&mut inner.doubtful));
        inner.record.forget_unsettled();
        inner.doubtful = inner.record.uncertain.take().unwrap_or_default();
        let forgotten = before.saturating_sub(inner.record.acknowledged.finished.total());
        self.cut_ledger(&mut inner)?;
        Ok(forgotten)
    }

    /// What was read of the inputs since `good` was acknowledged may be wrong: what was acknowledged later is doubtful. Gives all
    /// that is.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn suspect(&self, good: &Progress) -> Result<Ranges> {
        let mut inner = self.inner();
        inner.waiting.clear();
        let mut later = inner.record.acknowledged.finished.clone();
        later.remove_all(&good.finished);
        inner.doubtful.insert_all(&later);
        inner.record.acknowledged = good.clone();
        if inner.record.settled.finished.total() > good.finished.total() {
            inner.record.settled = good.clone();
        }
        self.cut_ledger(&mut inner)?;
        Ok(inner.doubtful.clone())
    }

    /// Takes the lines out of the ledger that are of entries which are not finished any more, and writes the journal.
    fn cut_ledger(&self, inner: &mut Inner) -> Result<()> {
        // Those that did not arrive are tried again: their lines go when the journal counts them no more, for what is longer
        // than the journal says is cut off anyway, and what is shorter is refused.
        let lines = inner.record.acknowledged.ledger;
        if let Some(ledger) = &mut inner.ledger {
            ledger.count_to(lines);
        }
        self.write(inner)?;
        if let Some(ledger) = &mut inner.ledger {
            ledger.cut()?;
        }
        Ok(())
    }

    /// Writes the last word of this run.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn end(&self, phase: Phase, stopped: Option<String>) -> Result<Record> {
        let mut inner = self.inner();
        inner.record.phase = phase;
        inner.record.stopped = stopped;
        let doubtful = inner.doubtful.clone();
        inner.record.uncertain = Some(doubtful);
        self.write(&mut inner)?;
        Ok(inner.record.clone())
    }

    fn write(&self, inner: &mut Inner) -> Result<()> {
        inner.record.elapsed_ms = inner
            .elapsed_before_ms
            .saturating_add(u64::try_from(inner.started.elapsed().as_millis()).unwrap_or(u64::MAX));
        let Some(file) = &self.file else {
            return Ok(());
        };
        // The ledger first: a journal must not count lines that are not there.
        if let Some(ledger) = &mut inner.ledger {
            inner.record.ledger = Some(ledger.sync()?);
        }
        let now = i64::try_from(unix_now().as_millis()).unwrap_or(i64::MAX);
        inner.record.written = Timestamp(now).rfc3339();
        file.write(&inner.record)
    }
}

/// Twelve digits that no other load has.
fn new_staging() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let seed = (std::process::id(), unix_now().as_nanos());
    let number = RandomState::new().hash_one(seed);
    format!("{:012x}", number >> 16)
}

fn unix_now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
